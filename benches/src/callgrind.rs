//! Instructions, counted by callgrind in a process of its own: this program with other arguments.

use std::process::Command;

/// Instructions of this program, run with those arguments. The kernel's are not among them, nor those of its children.
pub fn instructions(arguments: &[&str]) -> f64 {
    let program = std::env::current_exe().expect("this program");
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(program)
        .args(arguments)
        .output()
        .expect("valgrind is installed: it counts the instructions");
    let said = String::from_utf8_lossy(&output.stderr);
    let collected = said.lines().find_map(|line| line.split("Collected :").nth(1)?.trim().parse().ok());
    collected.unwrap_or_else(|| panic!("no count from callgrind: {said}"))
}
