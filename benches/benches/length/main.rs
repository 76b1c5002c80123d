//! How long a program is that does the same: one question, a stream, tools in a loop, an answer that is a type. Ours are the
//! examples of the crate `loquat`, as they stand; the peers' are written as briefly as their documentation allows, in the same
//! formatting, and compiled with this bench. Lines with code on them are counted: no blank ones, no comments, no inner attributes.
//!
//! Where programs differ, it is in the peers' favour: ours bounds the loop of tools and runs calls side by side, and checks an
//! answer against its schema.

#![allow(dead_code, reason = "they are compiled, so that they are real; nobody is asked anything")]

use loquat_benches::side;

mod async_openai {
    pub mod chat;
    pub mod stream;
    pub mod structured;
    pub mod tools;
}
mod genai {
    pub mod chat;
    pub mod stream;
    pub mod structured;
    pub mod tools;
}
mod rig {
    pub mod chat;
    pub mod stream;
    pub mod structured;
    pub mod tools;
}

macro_rules! programs {
    ($($task:literal),*) => {
        [$((
            $task,
            [
                ("ours", include_str!(concat!("../../../crates/loquat/examples/", $task, ".rs"))),
                ("async-openai", include_str!(concat!("async_openai/", $task, ".rs"))),
                ("genai", include_str!(concat!("genai/", $task, ".rs"))),
                ("rig", include_str!(concat!("rig/", $task, ".rs"))),
            ],
        )),*]
    };
}

fn main() {
    let wanted: Vec<String> =
        std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    for (task, programs) in programs!["chat", "stream", "tools", "structured"] {
        if wanted.is_empty() || wanted.iter().any(|part| task.contains(part.as_str())) {
            for (who, program) in programs {
                side::figure(task, who, lines(program), "lines");
            }
        }
    }
}

fn lines(program: &str) -> f64 {
    let is_code = |line: &&str| {
        let line = line.trim();
        !line.is_empty() && !line.starts_with("//") && !line.starts_with("#![")
    };
    program.lines().filter(is_code).count() as f64
}
