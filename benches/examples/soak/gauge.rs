//! What a process holds: memory, open files, sockets. From `/proc`; nothing elsewhere.

use std::fs;

/// Resident memory in KiB.
pub fn resident_kib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

/// Open files, and how many of them are sockets.
pub fn files() -> (usize, usize) {
    let Ok(entries) = fs::read_dir("/proc/self/fd") else { return (0, 0) };
    entries.flatten().fold((0, 0), |(all, sockets), entry| {
        let target = fs::read_link(entry.path()).unwrap_or_default();
        (all + 1, sockets + usize::from(target.to_string_lossy().starts_with("socket:")))
    })
}
