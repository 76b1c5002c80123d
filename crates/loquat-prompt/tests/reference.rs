//! The built-in vocabularies against Python's `tiktoken`, and those of files against Hugging Face's `tokenizers` and Mistral's
//! `mistral-common`, on much text of all sorts.
//!
//! `cargo xtask conformance tokens --megabytes 200` installs them and runs this, on the texts of the folder `LOQUAT_TEXT` (by
//! default the sources of all crates that cargo has downloaded), which take turns with generated ones. By itself it wants:
//!
//! - `LOQUAT_REFERENCE_PYTHON`, a Python with these packages; without it nothing is compared.
//! - `LOQUAT_RANKS`, the folder with the published `o200k_base.tiktoken` and `cl100k_base.tiktoken`.
//! - `LOQUAT_TOKENIZER_JSON`, paths of `tokenizer.json` and tekken files with `:` between them.
//! - `LOQUAT_TEXT`, a folder that is read to its depths, and `LOQUAT_REFERENCE_MB`, how much to compare of each vocabulary;
//!   `LOQUAT_REFERENCE_SEED`, for other texts than the last time.
#![cfg(feature = "tokens")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![allow(clippy::print_stdout, reason = "the runner reads the count from there")]

use std::{
    fs,
    io::{Read, Write},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use loquat_prompt::{
    Piece,
    tokenizer::{Tokenizer, cl100k_base, from_file, o200k_base},
};

/// Longest text, bytes: the reference takes time square to a word's length.
const MAX_TEXT_BYTES: usize = 100_000;

/// A generator with a seed (xorshift64): the same texts in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 33).unwrap() % limit.max(1)
    }

    fn text(&mut self) -> String {
        const ALPHABETS: [&str; 8] = [
            "abcdefghijklmnopqrstuvwxyz ABCDEFGHIJ'\n",
            " \t\r\n\u{a0}\u{2003}",
            "aA bB'sS'LL",
            "éßſǅʰ漢字かな한글ᄀ",
            "😀👍🏽🇩🇪\u{200d}\u{301}\u{300}",
            "0123456789１²Ⅳ",
            "!?.,;:/-=_()[]{}\"'\\",
            "абвгд ЁЖहिन्दी العربية",
        ];
        let from: String = (0..1 + self.below(3)).map(|_| ALPHABETS[self.below(ALPHABETS.len())]).collect();
        let from: Vec<char> = from.chars().collect();
        let length = self.below(2000);
        match self.below(4) {
            0 => (0..length)
                .filter_map(|_| char::from_u32(u32::try_from(self.below(0x11_0000)).unwrap()))
                .collect(),
            1 => {
                let unit: String = (0..1 + self.below(6)).map(|_| from[self.below(from.len())]).collect();
                unit.repeat(self.below(300))
            }
            _ => (0..length).map(|_| from[self.below(from.len())]).collect(),
        }
    }
}

fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    let mut entries: Vec<PathBuf> =
        fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    entries.sort();
    for path in entries {
        if path.is_symlink() {
            continue;
        } else if path.is_dir() {
            files(&path, found);
        } else {
            found.push(path);
        }
    }
}

fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is unset; see the head of this file"))
}

fn start(name: &str) -> Child {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/reference.py");
    let mut command = Command::new(variable("LOQUAT_REFERENCE_PYTHON"));
    command
        .args([script, &std::env::var("LOQUAT_RANKS").unwrap_or_default(), name])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    command.spawn().expect("the reference starts")
}

fn reference(child: &mut Child, text: &str) -> Option<Vec<u32>> {
    let input = child.stdin.as_mut().unwrap();
    input.write_all(&u32::try_from(text.len()).unwrap().to_le_bytes()).unwrap();
    input.write_all(text.as_bytes()).unwrap();
    input.flush().unwrap();
    let mut word = [0; 4];
    let output = child.stdout.as_mut().unwrap();
    output.read_exact(&mut word).expect("the reference answers");
    if word == [0xFF; 4] {
        return None;
    }
    let mut tokens = vec![0; u32::from_le_bytes(word) as usize * 4];
    output.read_exact(&mut tokens).unwrap();
    Some(tokens.as_chunks::<4>().0.iter().map(|bytes| u32::from_le_bytes(*bytes)).collect())
}

/// Compares with what goes by that name: a vocabulary of `tiktoken`, or a file.
fn compare(tokenizer: &dyn Tokenizer, reference_name: &str) {
    let budget = variable("LOQUAT_REFERENCE_MB").parse::<usize>().expect("a number") * 1_000_000;
    let mut paths = Vec::new();
    files(Path::new(&variable("LOQUAT_TEXT")), &mut paths);
    let mut child = start(reference_name);
    // Of the texts: another seed compares others.
    let seed = std::env::var("LOQUAT_REFERENCE_SEED")
        .map_or(20_261_123, |seed| seed.parse().expect("a number, not 0"));
    let mut random = Random(seed);
    let (mut bytes, mut passed, mut skipped, mut tokens) = (0, 0, 0, Vec::new());
    while bytes < budget {
        let mut text = if random.below(2) == 0 || paths.is_empty() {
            random.text()
        } else {
            String::from_utf8_lossy(&fs::read(&paths[random.below(paths.len())]).unwrap_or_default())
                .into_owned()
        };
        text.truncate(text.floor_char_boundary(MAX_TEXT_BYTES));
        bytes += text.len();
        tokens.clear();
        if reference_name.ends_with("tokenizer.json") {
            // There, text may write control tokens.
            tokenizer.encode_prompt(&[Piece::Markup(&text)], &mut tokens).unwrap();
        } else {
            tokenizer.encode(&text, &mut tokens).unwrap();
        }
        match reference(&mut child, &text) {
            Some(expected) => {
                let same = expected.iter().zip(&tokens).take_while(|(a, b)| a == b).count();
                if same < tokens.len() || same < expected.len() {
                    let around = |tokens: &[u32]| {
                        let around = tokens
                            .get(same.saturating_sub(5)..(same + 5).min(tokens.len()))
                            .unwrap_or_default();
                        format!("{around:?} {:?}", tokenizer.decode(around))
                    };
                    panic!(
                        "{}: differs: {} instead of {}",
                        tokenizer.name(),
                        around(&tokens),
                        around(&expected)
                    );
                }
                passed += 1;
            }
            None => skipped += 1,
        }
    }
    drop(child.stdin.take());
    child.wait().unwrap();
    println!("conformance: tokens-{} passed={passed} failed=0 skipped={skipped}", tokenizer.name());
    println!("{bytes} bytes");
}

#[test]
fn tokens_are_tiktokens() {
    if std::env::var_os("LOQUAT_REFERENCE_PYTHON").is_none() {
        eprintln!("skipped: LOQUAT_REFERENCE_PYTHON is unset");
        return;
    }
    compare(&*o200k_base().unwrap(), "o200k_base");
    compare(&*cl100k_base().unwrap(), "cl100k_base");
}

#[test]
fn tokens_are_those_of_files() {
    let Ok(paths) = std::env::var("LOQUAT_TOKENIZER_JSON") else {
        eprintln!("skipped: LOQUAT_TOKENIZER_JSON is unset");
        return;
    };
    for path in paths.split(':') {
        let file = Path::new(path);
        let json = fs::read(file).expect("the file is there");
        // The package's name, where it lies in one.
        let name = if file.ends_with("models/tokenizer.json") {
            file.ancestors().nth(2).and_then(Path::file_name)
        } else {
            file.file_stem()
        };
        let name = name.unwrap_or(file.as_os_str()).to_string_lossy();
        compare(&*from_file(&name, &json).unwrap(), path);
    }
}
