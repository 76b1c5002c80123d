//! Agreement with llama.cpp on the same file: fed its own greedy answers, the engine's most likely next token must be the
//! same at 95 % of the positions. `tests/llama/record.py` made the answers.

use std::path::Path;

use super::oracle::logits_from;
use crate::engine::Loaded;
use crate::sample::most_likely;
use loquat_core::{ChatRequest, Message};

#[derive(serde::Deserialize)]
struct Record {
    question: String,
    prompt_ids: Vec<u32>,
    answer_ids: Vec<u32>,
}

fn records() -> Vec<Record> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/llama/greedy.json");
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

#[test]
fn greedy_tokens_are_llama_cpps() {
    let Some(path) = super::real_model() else { return };
    let model = Loaded::read(&path, &super::config().with_threads(2)).unwrap();
    let (mut same, mut all) = (0, 0);
    for record in records() {
        let tokens = [record.prompt_ids.as_slice(), &record.answer_ids].concat();
        let answer_from = record.prompt_ids.len() - 1;
        let logits = logits_from(&model.weights, 2, &tokens[..tokens.len() - 1], answer_from, &[]);
        let ours = logits.iter().map(|logits| most_likely(logits));
        let agreeing = ours.zip(&record.answer_ids).filter(|(ours, theirs)| ours == *theirs).count();
        println!("{agreeing} of {}: {}", record.answer_ids.len(), record.question);
        same += agreeing;
        all += record.answer_ids.len();
    }
    println!("agreement: {same} of {all} positions, {:.2} %", same as f64 * 100.0 / all as f64);
    assert_eq!(all, 20 * 64);
    assert!(same * 100 >= all * 95, "agreement {same} of {all}, the bar is 95 %");
}

#[test]
fn prompts_are_tokenized_as_llama_cpp_does() {
    let Some(path) = super::real_model() else { return };
    let model = Loaded::read(&path, &super::config().with_threads(1)).unwrap();
    for record in records() {
        let request = ChatRequest::new("").with_message(Message::user(record.question.as_str()));
        assert_eq!(model.encode(&request).unwrap(), record.prompt_ids, "{}", record.question);
    }
}
