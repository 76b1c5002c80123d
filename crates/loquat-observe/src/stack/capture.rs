//! Another thread's registers and the top of its stack, copied while it stands in a signal handler.
//!
//! The handler does three things that are safe in one: it compares a number, copies three registers, and asks the kernel to copy the
//! stack ([`process_vm_readv`](https://man7.org/linux/man-pages/man2/process_vm_readv.2.html)), which answers with an error where memory is
//! not mapped, instead of a fault. It walks nothing, allocates nothing and takes no lock: the walk is the business of the
//! thread that asked, from the copy ([`super::walk`]). So neither a broken stack nor a lock of the unwinder can hurt the
//! program that is looked at.
//!
//! One capture at a time, in one buffer. The signal is `SIGPROF`, and only where nobody else handles it.
#![allow(unsafe_code, reason = "signals and another thread's memory; see ARCHITECTURE.md")]

use std::{
    cell::UnsafeCell,
    mem::MaybeUninit,
    ptr,
    sync::{
        Mutex, OnceLock, PoisonError,
        atomic::{AtomicI32, AtomicU32, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

/// How much of a stack is copied: some two hundred frames of a debug build.
const STACK_BYTES: usize = 64 * 1024;
const PAGE: usize = 4096;
const PARTS: usize = STACK_BYTES / PAGE + 1;
/// How long the thread may take to stand in the handler: it does not while the kernel keeps it from running.
const PATIENCE: Duration = Duration::from_millis(100);

/// What a thread was at.
#[derive(Debug)]
pub(super) struct Copy {
    pub(super) ip: u64,
    pub(super) sp: u64,
    pub(super) bp: u64,
    /// The bytes from `sp` upwards, as many as could be had.
    pub(super) stack: Vec<u8>,
}

/// What the handler fills.
struct Slot(UnsafeCell<Raw>);

struct Raw {
    ip: u64,
    sp: u64,
    bp: u64,
    len: usize,
    stack: [u8; STACK_BYTES],
}

// SAFETY: it is written only by the handler that moved STATE from WANTED to FILLING, and read only by the holder of ASKING
// after it has seen FULL: never both at once.
unsafe impl Sync for Slot {}

static SLOT: Slot = Slot(UnsafeCell::new(Raw { ip: 0, sp: 0, bp: 0, len: 0, stack: [0; STACK_BYTES] }));
static STATE: AtomicU32 = AtomicU32::new(IDLE);
static WANTED_THREAD: AtomicI32 = AtomicI32::new(0);
static ASKING: Mutex<()> = Mutex::new(());

const IDLE: u32 = 0;
const WANTED: u32 = 1;
const FILLING: u32 = 2;
const FULL: u32 = 3;

/// This thread's number, as the kernel counts.
pub(super) fn this_thread() -> i32 {
    // SAFETY: it takes nothing and cannot fail.
    unsafe { libc::gettid() }
}

/// How long this thread has run; `None` where the system does not tell.
pub(super) fn processor_time() -> Option<Duration> {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is of the type that the call fills, and it fills nothing else.
    let told = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) } == 0;
    let (seconds, nanos) = (u64::try_from(time.tv_sec).ok()?, u32::try_from(time.tv_nsec).ok()?);
    told.then(|| Duration::new(seconds, nanos))
}

/// A copy of what that thread of this process is at; `None` where there is no such thread, it does not come to run within
/// 100 ms, or somebody else handles the signal.
pub(super) fn capture(tid: i32) -> Option<Copy> {
    static INSTALLED: OnceLock<bool> = OnceLock::new();
    if tid == this_thread() || !*INSTALLED.get_or_init(install) {
        return None;
    }
    let _one_at_a_time = ASKING.lock().unwrap_or_else(PoisonError::into_inner);
    // A handler that came too late for who asked last may still be at it.
    let _ = STATE.compare_exchange(FULL, IDLE, Ordering::Acquire, Ordering::Relaxed);
    if STATE.load(Ordering::Acquire) != IDLE {
        return None;
    }
    WANTED_THREAD.store(tid, Ordering::Relaxed);
    STATE.store(WANTED, Ordering::Release);
    // SAFETY: plain numbers; a thread that has ended makes an error. Its number cannot be another process's, as ours is given with it.
    let sent = unsafe { libc::syscall(libc::SYS_tgkill, libc::getpid(), tid, libc::SIGPROF) } == 0;
    let due = Instant::now() + PATIENCE;
    while sent && STATE.load(Ordering::Acquire) != FULL && Instant::now() < due {
        thread::sleep(Duration::from_micros(50));
    }
    if STATE.load(Ordering::Acquire) != FULL {
        let _ = STATE.compare_exchange(WANTED, IDLE, Ordering::AcqRel, Ordering::Relaxed);
        return None;
    }
    // SAFETY: FULL was seen with Acquire, so the handler is done, and no other begins before IDLE and WANTED are stored; the
    // lock is held until then.
    let raw = unsafe { &*SLOT.0.get() };
    let stack = raw.stack.get(..raw.len).unwrap_or_default().to_vec();
    let copy = Copy { ip: raw.ip, sp: raw.sp, bp: raw.bp, stack };
    STATE.store(IDLE, Ordering::Release);
    Some(copy)
}

/// Whether the handler is in place: not where the program has one of its own for that signal.
fn install() -> bool {
    let mut before = MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: asks only; `before` is of the type the call fills.
    if unsafe { libc::sigaction(libc::SIGPROF, ptr::null(), before.as_mut_ptr()) } != 0 {
        return false;
    }
    // SAFETY: zeroed is a valid value of this plain C structure, and the call has filled it.
    let before = unsafe { before.assume_init() };
    if before.sa_sigaction != libc::SIG_DFL {
        return false;
    }
    // SAFETY: as above.
    let mut action = unsafe { MaybeUninit::<libc::sigaction>::zeroed().assume_init() };
    let handler: extern "C" fn(i32, *mut libc::siginfo_t, *mut libc::c_void) = on_signal;
    action.sa_sigaction = handler as usize;
    action.sa_flags = libc::SA_SIGINFO | libc::SA_RESTART | libc::SA_ONSTACK;
    // SAFETY: `action` is whole, its handler is a function of the type that SA_SIGINFO asks for and does only what a handler may.
    unsafe { libc::sigaction(libc::SIGPROF, &raw const action, ptr::null_mut()) == 0 }
}

extern "C" fn on_signal(_: i32, _: *mut libc::siginfo_t, context: *mut libc::c_void) {
    // SAFETY: gettid and the errno's place may be asked for in a handler.
    let (thread, errno) = unsafe { (libc::gettid(), libc::__errno_location()) };
    if WANTED_THREAD.load(Ordering::Relaxed) != thread
        || STATE.compare_exchange(WANTED, FILLING, Ordering::AcqRel, Ordering::Relaxed).is_err()
    {
        return;
    }
    // SAFETY: the kernel gives a ucontext to a handler with SA_SIGINFO; the slot is ours between FILLING and FULL; errno is this
    // thread's, and is given back as it was.
    unsafe {
        let before = *errno;
        let registers = &(*context.cast::<libc::ucontext_t>()).uc_mcontext.gregs;
        let raw = &mut *SLOT.0.get();
        raw.ip = registers[libc::REG_RIP as usize].cast_unsigned();
        raw.sp = registers[libc::REG_RSP as usize].cast_unsigned();
        raw.bp = registers[libc::REG_RBP as usize].cast_unsigned();
        raw.len = copy_stack(usize::try_from(raw.sp).unwrap_or(0), &mut raw.stack);
        *errno = before;
    }
    STATE.store(FULL, Ordering::Release);
}

/// How many bytes from there on could be copied. By pages, since the kernel does not split a part.
fn copy_stack(from: usize, into: &mut [u8; STACK_BYTES]) -> usize {
    let mut parts = [libc::iovec { iov_base: ptr::null_mut(), iov_len: 0 }; PARTS];
    let (mut at, mut left) = (from, STACK_BYTES);
    for part in &mut parts {
        let len = (PAGE - at % PAGE).min(left);
        *part = libc::iovec { iov_base: at as *mut libc::c_void, iov_len: len };
        (at, left) = (at.wrapping_add(len), left - len);
    }
    let own = libc::iovec { iov_base: into.as_mut_ptr().cast(), iov_len: STACK_BYTES };
    // SAFETY: it writes into `into` alone, no more than its length; what it reads from it checks itself.
    let count = unsafe {
        libc::process_vm_readv(libc::getpid(), &raw const own, 1, parts.as_ptr(), PARTS as libc::c_ulong, 0)
    };
    usize::try_from(count).unwrap_or(0).min(STACK_BYTES)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::print_stdout, reason = "says what a copy costs")]

    use std::{hint, sync::mpsc};

    use super::*;

    /// Holds that much stack, lets the other end look, and goes back.
    fn hold<const BYTES: usize>(ready: &mpsc::Sender<i32>, go: &mpsc::Receiver<()>) {
        let held = hint::black_box([1_u8; BYTES]);
        ready.send(this_thread()).expect("somebody asks");
        go.recv().expect("it goes on");
        hint::black_box(held);
    }

    /// A copy has what the thread holds, and never more than its bound; how long one takes is printed.
    #[test]
    fn a_copy_is_as_large_as_the_stack_is_deep_and_no_larger_than_its_bound() {
        const DEEP: usize = 256 * 1024;
        type Holds = fn(&mpsc::Sender<i32>, &mpsc::Receiver<()>);
        // What lies above a stack may be readable, too.
        let depths: [(Holds, usize); 2] = [(hold::<8192>, 8192), (hold::<DEEP>, STACK_BYTES)];
        for (holds, least) in depths {
            let (ready, go) = (mpsc::channel(), mpsc::channel());
            let thread = thread::Builder::new().stack_size(1 << 22);
            let thread = thread.spawn(move || holds(&ready.0, &go.1)).expect("a thread");
            let tid = ready.1.recv().expect("it is ready");
            // A machine that is busy may keep the thread from running for longer than a capture waits.
            let copy = (0..1000).find_map(|_| capture(tid)).expect("a copy");
            assert!((least..=STACK_BYTES).contains(&copy.stack.len()), "{}, held {least}", copy.stack.len());
            let mut took: Vec<Duration> = (0..200)
                .map(|_| {
                    let mut into = [0; STACK_BYTES];
                    let from = usize::try_from(copy.sp).expect("64 bits");
                    let began = Instant::now();
                    assert!(copy_stack(from, &mut into) >= least);
                    began.elapsed()
                })
                .collect();
            took.sort();
            println!("{} bytes: {:?}, at most {:?}", copy.stack.len(), took[100], took[199]);
            go.0.send(()).expect("it waits");
            thread.join().expect("no panic");
        }
    }
}
