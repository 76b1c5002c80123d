//! What `--trace` and `--diagnostics` look through: an observer, where either asks for one.

use std::sync::{Arc, Mutex, PoisonError};

use loquat::{
    Result,
    observe::{
        CallTrace, Keep, Observer, Sampling,
        serve::{Server, ServerConfig},
    },
};

use super::args::OutputArgs;
use crate::console::Console;

/// Columns of a waterfall where the terminal does not say (`COLUMNS`).
const COLUMNS: usize = 110;

/// The observer of a run, and the operation that ended last.
pub(super) struct Watch {
    last: Option<Arc<Last>>,
    observer: Option<Observer>,
    _server: Option<Server>,
}

#[derive(Default)]
struct Last(Mutex<Option<Arc<CallTrace>>>);

impl Keep for Last {
    fn keep(&self, call: &Arc<CallTrace>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(call.clone());
    }
}

impl Watch {
    /// # Errors
    /// The address cannot be listened at.
    pub(super) fn new(args: &OutputArgs, console: &Console) -> Result<Self> {
        let last = args.trace.then(Arc::<Last>::default);
        let mut builder = Observer::builder();
        if let Some(last) = &last {
            // Kept at its end, whatever it came to; not announced to the provider as recorded.
            let all = Sampling::default().with_ratio(0.0).with_slower_than(std::time::Duration::ZERO);
            builder = builder.sampling(all).keep(last.clone());
        }
        let observer = (args.trace || args.diagnostics.is_some()).then(|| builder.build());
        let server = match (&observer, args.diagnostics) {
            (Some(observer), Some(address)) => {
                let server = Server::bind(observer, address, ServerConfig::default().with_debug())?;
                if let Some(address) = server.address() {
                    console.note(&format!("[diagnostics at http://{address}/, see `loquat top {address}`]"));
                }
                Some(server)
            }
            _ => None,
        };
        Ok(Self { last, observer, _server: server })
    }

    pub(super) fn observer(&self) -> Option<Observer> {
        self.observer.clone()
    }

    /// Shows the operation that has just ended.
    pub(super) fn tell(&self, console: &Console) {
        let Some(last) = &self.last else { return };
        let call = last.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        let columns = std::env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok());
        if let Some(call) = call {
            console.note(&call.waterfall(columns.unwrap_or(COLUMNS).saturating_sub(4)));
        }
    }
}
