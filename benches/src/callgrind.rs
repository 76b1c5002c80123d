//! What a program does outside the kernel, counted by callgrind in a process of its own: this program with other arguments.

use std::process::Command;

/// Of one run, or of one operation. None of it depends on the processor, or on who else is using it.
#[derive(Debug, Clone, Copy)]
pub struct Counts {
    pub instructions: f64,
    /// Lines of 64 bytes of memory that were not in a first cache of 32 KiB when they were asked for. Where that many times more is
    /// touched between two turns of the same thing, it is what each turn touches.
    pub data_lines: f64,
}

impl Counts {
    /// Of each of so many operations, where the other run did so many fewer.
    #[must_use]
    pub fn each_beyond(self, fewer: Self, operations: f64) -> Self {
        Self {
            instructions: (self.instructions - fewer.instructions) / operations,
            data_lines: (self.data_lines - fewer.data_lines) / operations,
        }
    }
}

/// Instructions of this program, run with those arguments. The kernel's are not among them, nor those of its children.
pub fn instructions(arguments: &[&str]) -> f64 {
    collected(&[], arguments)[0]
}

/// The same, and what its caches would have missed: slower, by half.
pub fn counts(arguments: &[&str]) -> Counts {
    let caches = ["--cache-sim=yes", "--I1=32768,8,64", "--D1=32768,8,64", "--LL=1048576,16,64"];
    // In callgrind's order: instructions, reads, writes, and what of the three missed.
    match collected(&caches, arguments)[..] {
        [instructions, _, _, _, read, written, ..] => Counts { instructions, data_lines: read + written },
        _ => panic!("callgrind counts the caches' misses"),
    }
}

fn collected(options: &[&str], arguments: &[&str]) -> Vec<f64> {
    let program = std::env::current_exe().expect("this program");
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .args(options)
        .arg(program)
        .args(arguments)
        .output()
        .expect("valgrind is installed: it counts the instructions");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let collected = said.lines().find_map(|line| line.split("Collected :").nth(1));
    let numbers =
        collected.map(|line| line.split_whitespace().map(|number| number.parse().expect("a number")));
    numbers.unwrap_or_else(|| panic!("no count from callgrind: {said}")).collect()
}
