//! jemalloc as the program's allocator, and what it says of the memory that the program holds.
//!
//! It keeps account of who asked for memory only where the program is started so, by jemalloc's own variable: that costs
//! something with each allocation, and whoever does not look for memory should not pay it. <https://jemalloc.net/jemalloc.3.html>

use loquat::{
    Error, ErrorKind, Result,
    observe::{HeapStack, Observer},
};
use tikv_jemalloc_ctl::{epoch, stats};

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Shows what is allocated, and who holds it.
pub(crate) fn watch(observer: &Observer) {
    type Read = fn() -> tikv_jemalloc_ctl::Result<usize>;
    let gauges: [(&str, &str, Read); 2] = [
        (
            "loquat.memory.allocated",
            "What the program has asked for and not given back.",
            stats::allocated::read,
        ),
        ("loquat.memory.resident", "What the allocator holds of the system's memory.", stats::resident::read),
    ];
    for (name, help, read) in gauges {
        // The figures are of the moment when the epoch was last moved on.
        #[expect(clippy::cast_precision_loss, reason = "figures to look at")]
        let ask = move || epoch::advance().and_then(|_| read()).map_or(f64::NAN, |bytes| bytes as f64);
        observer.gauge((name, "By", help), &[], ask);
    }
    observer.watch_heap(held);
}

/// Who holds memory, by jemalloc's samples.
fn held() -> Result<Vec<HeapStack>> {
    let Some(control) = &*jemalloc_pprof::PROF_CTL else {
        let message = "jemalloc keeps no account of who holds memory: start the program with \
                       _RJEM_MALLOC_CONF=prof:true in its environment";
        return Err(Error::new(ErrorKind::NotConfigured, message));
    };
    let mut control = control
        .try_lock()
        .map_err(|_| Error::new(ErrorKind::Local, "another part of the program is at jemalloc's account"))?;
    let profile = control
        .dump_profile()
        .map_err(|cause| Error::new(ErrorKind::Local, format!("jemalloc gave no account: {cause}")))?;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "as an integer it saturates")]
    let stacks =
        profile.stacks.into_iter().map(|(stack, _)| HeapStack::new(stack.addrs, stack.weight as u64));
    Ok(stacks.collect())
}
