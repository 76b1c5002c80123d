//! Counts the system calls that a client makes for what it receives, its peers' alike: the functions of the C library that
//! tokio's sockets and poller call are defined here, count, and ask the kernel themselves.
//!
//! A bench that wants them says `use loquat_benches::syscalls;` and calls [`counts`]: that makes the linker take these.

#![allow(
    unsafe_code,
    reason = "stands in for functions of the C library, with the C library's own signatures"
)]

use std::{
    ffi::{c_int, c_void},
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

static READS: AtomicU64 = AtomicU64::new(0);
static WRITES: AtomicU64 = AtomicU64::new(0);
static POLLS: AtomicU64 = AtomicU64::new(0);

/// Calls so far: `recv`, `send` and `writev`, `epoll_wait`.
#[derive(Debug, Clone, Copy, Default)]
pub struct Counts {
    pub reads: u64,
    pub writes: u64,
    pub polls: u64,
}

/// Of this process.
pub fn counts() -> Counts {
    Counts { reads: READS.load(Relaxed), writes: WRITES.load(Relaxed), polls: POLLS.load(Relaxed) }
}

// SAFETY (all four): the signature is the C library's; the arguments go to the kernel as they came, so what the caller
// promised of them still holds, and `syscall` sets `errno` as the function would.

/// recv(2)
#[unsafe(no_mangle)]
unsafe extern "C" fn recv(socket: c_int, buffer: *mut c_void, bytes: usize, flags: c_int) -> isize {
    READS.fetch_add(1, Relaxed);
    let none = std::ptr::null_mut::<c_void>();
    // SAFETY: see above.
    unsafe { libc::syscall(libc::SYS_recvfrom, socket, buffer, bytes, flags, none, none) as isize }
}

/// send(2)
#[unsafe(no_mangle)]
unsafe extern "C" fn send(socket: c_int, buffer: *const c_void, bytes: usize, flags: c_int) -> isize {
    WRITES.fetch_add(1, Relaxed);
    let none = std::ptr::null_mut::<c_void>();
    // SAFETY: see above.
    unsafe { libc::syscall(libc::SYS_sendto, socket, buffer, bytes, flags, none, 0) as isize }
}

/// writev(2)
#[unsafe(no_mangle)]
unsafe extern "C" fn writev(file: c_int, slices: *const c_void, count: c_int) -> isize {
    WRITES.fetch_add(1, Relaxed);
    // SAFETY: see above.
    unsafe { libc::syscall(libc::SYS_writev, file, slices, count) as isize }
}

/// epoll_wait(2)
#[unsafe(no_mangle)]
unsafe extern "C" fn epoll_wait(poll: c_int, events: *mut c_void, room: c_int, timeout: c_int) -> c_int {
    POLLS.fetch_add(1, Relaxed);
    let none = std::ptr::null_mut::<c_void>();
    // SAFETY: see above; without a mask of signals epoll_pwait is epoll_wait.
    unsafe { libc::syscall(libc::SYS_epoll_pwait, poll, events, room, timeout, none, 8_usize) as c_int }
}
