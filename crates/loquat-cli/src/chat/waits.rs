//! What `-v` says while an answer is waited for: that it is asked for again, and when. Nothing that a peer said is in it.

use std::sync::Arc;

use loquat::{
    Context,
    core::{Event, Probe},
};

use crate::console::{Console, write_err};

struct Waits;

impl Probe for Waits {
    fn report(&self, event: &Event<'_>) {
        if let Event::Retry { wait, error, .. } = event {
            let status =
                error.status().map(|status| format!(" after HTTP status {status}")).unwrap_or_default();
            write_err(&format!("[retrying in {:.1} s{status}]\n", wait.as_secs_f64()));
        }
    }
}

/// The conditions of a request whose waits are told, where `-v` asked for it. An observer of its own hears them instead.
pub(super) fn told(context: Context, console: &Console) -> Context {
    if console.verbose { context.with_probe(Arc::new(Waits) as Arc<dyn Probe>) } else { context }
}
