//! What `--trace`, `--diagnostics` and `--otlp` look through: an observer, where one of them asks for one.

use std::{
    env,
    future::Future,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use loquat::{
    Collecting, Result,
    observe::{
        CallTrace, Keep, Observer, Sampling,
        export::Exporter,
        serve::{Server, ServerConfig},
        tasks::{TaskState, Watchdog, WatchdogConfig},
    },
    transport::{Config, Http2Mode},
};

use super::args::OutputArgs;
use crate::{
    connect::shown_url,
    console::{Console, write_err},
    neutral,
};

/// Columns of a waterfall where the terminal does not say (`COLUMNS`).
const COLUMNS: usize = 110;
/// How long the end of the program waits for a collector: a person waits for the prompt meanwhile.
const LAST_FLUSH: Duration = Duration::from_secs(5);
/// How often a collector is tried, for the same reason.
const ATTEMPTS: u32 = 2;

/// The observer of a run, and the operation that ended last.
pub(super) struct Watch {
    last: Option<Arc<Last>>,
    observer: Option<Observer>,
    collector: Option<(Exporter, String)>,
    _server: Option<Server>,
    _watchdog: Option<Watchdog>,
}

#[derive(Default)]
struct Last(Mutex<Option<Arc<CallTrace>>>);

impl Keep for Last {
    fn keep(&self, call: &Arc<CallTrace>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(call.clone());
    }
}

impl Watch {
    /// `transport` is the way to a collector.
    ///
    /// # Errors
    /// The address cannot be listened at, or the collector's is none.
    pub(super) fn new(args: &OutputArgs, transport: Config, console: &Console) -> Result<Self> {
        let last = args.trace.then(Arc::<Last>::default);
        // What is known of the provider's server says nothing of the collector's.
        let collector = collector(args.otlp.as_deref(), transport.with_http2(Http2Mode::Auto))?;
        let mut builder = Observer::builder();
        if let Some((exporter, _)) = &collector {
            builder = builder.sampling(Sampling::all()).export(exporter.clone());
        } else if last.is_some() {
            // Kept at its end, whatever it came to; not announced to the provider as recorded.
            let all = Sampling::default().with_ratio(0.0).with_slower_than(Duration::ZERO);
            builder = builder.sampling(all);
        }
        if let Some(last) = &last {
            builder = builder.keep(last.clone());
        }
        let is_wanted = args.trace || args.diagnostics.is_some() || collector.is_some();
        let observer = is_wanted.then(|| builder.build());
        #[cfg(all(feature = "jemalloc", not(target_env = "msvc")))]
        observer.iter().for_each(crate::memory::watch);
        let (server, watchdog) = match (&observer, args.diagnostics) {
            (Some(observer), Some(address)) => {
                let server = Server::bind(observer, address, ServerConfig::default().with_debug())?;
                if let Some(address) = server.address() {
                    console.note(&format!("[diagnostics at http://{address}/, see `loquat top {address}`]"));
                }
                let watchdog = Watchdog::start(observer.tasks(), WatchdogConfig::default(), |task| {
                    write_err(&format!("{}\n", neutral::paragraph(&held(task))));
                })?;
                (Some(server), Some(watchdog))
            }
            _ => (None, None),
        };
        Ok(Self { last, observer, collector, _server: server, _watchdog: watchdog })
    }

    /// Shows the runtime that all goes on in.
    pub(super) fn runtime(&self, runtime: &tokio::runtime::Runtime) {
        if let Some(observer) = &self.observer {
            loquat::watch_runtime(observer, "main", runtime.handle());
        }
    }

    /// The same future, as a task of that name where somebody looks. It is shown with the place that asks, so it is no `async fn`, whose
    /// body has no caller's place.
    #[track_caller]
    pub(super) fn task<F: Future>(
        &self,
        name: &'static str,
        future: F,
    ) -> impl Future<Output = F::Output> + use<F> {
        let watched = match &self.observer {
            Some(observer) => Ok(observer.tasks().watch(name, future)),
            None => Err(future),
        };
        async move {
            match watched {
                Ok(watched) => watched.await,
                Err(future) => future.await,
            }
        }
    }

    pub(super) fn observer(&self) -> Option<Observer> {
        self.observer.clone()
    }

    /// Shows the operation that has just ended.
    pub(super) fn tell(&self, console: &Console) {
        let Some(last) = &self.last else { return };
        let call = last.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        let columns = env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok());
        if let Some(call) = call {
            console.note(&call.waterfall(columns.unwrap_or(COLUMNS).saturating_sub(4)));
        }
    }

    /// The program ends: waits for the collector, not for long, and says what it did not get.
    pub(super) fn end(&self, console: &Console) {
        let Some((exporter, address)) = &self.collector else { return };
        exporter.flush(LAST_FLUSH);
        let lost = exporter.dropped() + exporter.pending();
        if lost > 0 {
            let all = lost + exporter.exported();
            console.note(&format!("[the collector at {address} did not get {lost} of {all} calls]"));
        }
    }
}

/// Most functions shown of where a task stands.
const MAX_FRAMES: usize = 8;

/// What a person is told of a task that holds the program's thread, or has held it: a poll that came back before anybody saw it is told
/// afterwards. Time in which the thread had no processor is the machine's doing, and said so.
fn held(task: &TaskState) -> String {
    let verb = if task.is_polling { "has held its thread for" } else { "held its thread for" };
    let mut text = format!("[{} {verb} {} ms", task.name, task.idle.as_millis());
    let waited = task.waited.unwrap_or_default().as_millis();
    if waited > 0 {
        text += &format!(", without a processor for {waited} of them");
    }
    let frames: Vec<&str> = task.stack.iter().take(MAX_FRAMES).map(String::as_str).collect();
    if !frames.is_empty() {
        text += &format!(", in {}", frames.join(" < "));
    }
    text + "]"
}

/// Where `--otlp` or the environment says, and how a person is told where that is.
fn collector(otlp: Option<&str>, transport: Config) -> Result<Option<(Exporter, String)>> {
    if otlp == Some("off") {
        return Ok(None);
    }
    let Some(mut collecting) = Collecting::from_variables(otlp, "loquat", |name| env::var(name).ok())? else {
        return Ok(None);
    };
    collecting.export.max_attempts = ATTEMPTS;
    let shown = shown_url(&collecting.endpoint);
    Ok(Some((collecting.exporter(transport)?, shown)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_that_holds_its_thread_and_one_that_did() {
        let observer = Observer::new();
        let _watched = observer.tasks().watch("chat", async {});
        let [mut task] = observer.tasks().list().try_into().expect("one");
        let millis = Duration::from_millis;
        let stack = ["read", "turn"].map(str::to_owned);
        for (is_polling, idle, waited, stack, said) in [
            (true, 60, None, &[][..], "[chat has held its thread for 60 ms]"),
            (true, 60, Some(0), &stack, "[chat has held its thread for 60 ms, in read < turn]"),
            (false, 80, Some(0), &[], "[chat held its thread for 80 ms]"),
            (
                false,
                95,
                Some(15),
                &[],
                "[chat held its thread for 95 ms, without a processor for 15 of them]",
            ),
        ] {
            (task.is_polling, task.idle, task.waited) = (is_polling, millis(idle), waited.map(millis));
            task.stack = stack.to_vec();
            assert_eq!(held(&task), said);
        }
        task.stack = (0..20).map(|frame| frame.to_string()).collect();
        assert!(held(&task).ends_with(", in 0 < 1 < 2 < 3 < 4 < 5 < 6 < 7]"), "{}", held(&task));
    }
}
