//! What there is to see, as text: tables of a line each, their columns apart by tabs, so that people and programs read them.

use std::fmt::Write;

use super::head::Head;
#[cfg(feature = "stack")]
use crate::profile::{self, Profile, Turn, Wanted};
use crate::{Observer, TextFormat};

/// A response.
pub(super) struct Page {
    status: u16,
    content_type: &'static str,
    body: Vec<u8>,
}

const TEXT: &str = "text/plain; charset=utf-8";

impl Page {
    fn text(body: String) -> Self {
        Self { status: 200, content_type: TEXT, body: body.into() }
    }

    pub(super) fn error(status: u16, what: &str) -> Self {
        Self { status, content_type: TEXT, body: format!("{what}\n").into() }
    }

    pub(super) fn into_bytes(self) -> Vec<u8> {
        let reason = match self.status {
            200 => "OK",
            400 => "Bad Request",
            401 => "Unauthorized",
            403 => "Forbidden",
            404 => "Not Found",
            429 => "Too Many Requests",
            503 => "Service Unavailable",
            _ => "Error",
        };
        let mut head = format!(
            "HTTP/1.1 {} {reason}\r\nContent-Type: {}\r\nContent-Length: {}\r\n",
            self.status,
            self.content_type,
            self.body.len()
        );
        if self.status == 401 {
            head.push_str("WWW-Authenticate: Bearer\r\n");
        }
        head.push_str(
            "Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\nConnection: close\r\n\r\n",
        );
        let mut bytes = head.into_bytes();
        bytes.extend(self.body);
        bytes
    }
}

/// What there is for those who look inside.
const LIST: &[&str] = &[
    "/metrics",
    "/debug/contention",
    #[cfg(feature = "stack")]
    "/debug/pprof/heap",
    #[cfg(feature = "stack")]
    "/debug/pprof/profile",
    "/debug/runtime",
    "/debug/streams",
    "/debug/tasks",
];

pub(super) fn page(head: &Head, observer: &Observer, debug: bool) -> Page {
    match head.path.as_str() {
        "/metrics" => {
            let format = TextFormat::negotiated(&head.accept);
            let body = observer.metrics(format).into();
            Page { status: 200, content_type: format.content_type(), body }
        }
        "/debug/streams" if debug => Page::text(streams(observer)),
        "/debug/tasks" if debug => Page::text(tasks(observer)),
        "/debug/contention" if debug => Page::text(contention(observer)),
        "/debug/runtime" if debug => Page::text(runtime(observer)),
        #[cfg(feature = "stack")]
        "/debug/pprof/profile" if debug => processor(&head.query),
        #[cfg(feature = "stack")]
        "/debug/pprof/heap" if debug => heap(observer, &head.query),
        #[cfg(not(feature = "stack"))]
        "/debug/pprof/profile" | "/debug/pprof/heap" if debug => {
            Page::error(404, "no profiles: this program was built without the feature stack")
        }
        "/" if debug => Page::text(LIST.join("\n") + "\n"),
        "/" => Page::text("/metrics\n".into()),
        _ => Page::error(404, "no such page; / lists those there are"),
    }
}

/// Seconds to the millisecond.
fn seconds(duration: std::time::Duration) -> String {
    format!("{:.3}", duration.as_secs_f64())
}

/// In one column: no tab, no line end, nothing that moves a terminal's cursor; what is longer than a name is cut, as a
/// gateway's callers name models.
fn cell(text: &str) -> String {
    text.chars().take(MAX_CELL_CHARS).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

const MAX_CELL_CHARS: usize = 128;

/// Most lines of a table: more than a person reads, and a page of two megabytes at worst. The oldest come first, which are
/// the ones looked for.
const MAX_ROWS: usize = 1000;

/// A table of at most [`MAX_ROWS`] lines, and how many it leaves out.
fn table<T>(mut out: String, rows: &[T], mut row: impl FnMut(&mut String, &T)) -> String {
    rows.iter().take(MAX_ROWS).for_each(|one| row(&mut out, one));
    if let Some(more) = rows.len().checked_sub(MAX_ROWS).filter(|more| *more > 0) {
        // A String takes whatever is written.
        let _ = writeln!(out, "# and {more} more, all younger");
    }
    out
}

/// Since when a task that nobody polls is marked: ten times the longest wait between two tokens that is usual.
const LEAK_SUSPECT: std::time::Duration = std::time::Duration::from_secs(300);

fn tasks(observer: &Observer) -> String {
    let head = String::from("age_s\tidle_s\tpolls\tstate\tname\tlocation\n");
    table(head, &observer.tasks().list(), |out, task| {
        let state = match (task.is_polling, task.idle >= LEAK_SUSPECT) {
            (true, _) => "polling",
            (false, true) => "leak?",
            (false, false) => "waiting",
        };
        let _ = writeln!(
            out,
            "{}\t{}\t{}\t{state}\t{}\t{}",
            seconds(task.age),
            seconds(task.idle),
            task.polls,
            cell(&task.name),
            cell(&task.location)
        );
    })
}

/// The processor time of the next seconds.
#[cfg(feature = "stack")]
fn processor(query: &str) -> Page {
    let Some(wanted) = Wanted::parse(query) else {
        return Page::error(400, "seconds is 1 to 60, hz is 1 to 999");
    };
    let Some(turn) = Turn::take() else { return busy() };
    shown(&wanted.take(&turn), query)
}

/// Who holds memory now.
#[cfg(feature = "stack")]
fn heap(observer: &Observer, query: &str) -> Page {
    let Some(ask) = observer.0.heap.get() else { return Page::error(404, NO_HEAP) };
    let Some(turn) = Turn::take() else { return busy() };
    match profile::take_heap(&turn, &**ask) {
        Ok(profile) => shown(&profile, query),
        Err(error) => Page::error(503, &error.to_string()),
    }
}

/// What a program without an account of its memory says.
#[cfg(feature = "stack")]
const NO_HEAP: &str =
    "no heap profiles: this program was not built with jemalloc (or does not show what it keeps account of)";

#[cfg(feature = "stack")]
fn busy() -> Page {
    Page::error(429, "another profile is being taken")
}

/// `format=folded` for text, `format=svg` for a picture.
#[cfg(feature = "stack")]
fn shown(profile: &Profile, query: &str) -> Page {
    let wants = |format: &str| query.split('&').any(|pair| pair.strip_prefix("format=") == Some(format));
    if wants("folded") {
        return Page::text(profile.folded());
    }
    if wants("svg") {
        return Page { status: 200, content_type: "image/svg+xml", body: profile.svg().into() };
    }
    Page { status: 200, content_type: "application/octet-stream", body: profile.pprof() }
}

fn contention(observer: &Observer) -> String {
    let mut out =
        String::from("taken\twaits\twaiting\tover_1ms\twaited_s\tlongest_s\tshare_%\tstate\tname\n");
    for site in observer.locks().list() {
        let _ = writeln!(
            out,
            "{}\t{}\t{}\t{}\t{}\t{}\t{:.1}\t{}\t{}",
            site.taken,
            site.waits,
            site.waiting,
            site.long_waits,
            seconds(site.waited),
            seconds(site.longest),
            site.share * 100.0,
            if site.is_contended() { "contended" } else { "ok" },
            cell(&site.name)
        );
    }
    out
}

/// Over how long a worker's part of busy time is taken: as long as a person waits without noticing.
const RUNTIME_LOOK: std::time::Duration = std::time::Duration::from_millis(250);

fn runtime(observer: &Observer) -> String {
    let mut out = String::from("runtime\tworker\tbusy_%\tparks\tbusy_s\tparks_total\ttasks\tqueue\n");
    for look in observer.0.runtimes.look(RUNTIME_LOOK) {
        for (index, (worker, (part, parks))) in look.state.workers.iter().zip(&look.between).enumerate() {
            let _ = writeln!(
                out,
                "{}\t{index}\t{:.1}\t{parks}\t{}\t{}\t{}\t{}",
                cell(&look.name),
                part * 100.0,
                seconds(worker.busy),
                worker.parks,
                look.state.tasks,
                look.state.queue
            );
        }
    }
    out
}

fn streams(observer: &Observer) -> String {
    let head = String::from("age_s\tidle_s\tchunks\tprovider\tmodel\tserver\ttrace\n");
    table(head, &observer.streams(), |out, stream| {
        let place = stream.attempt.as_ref().unwrap_or(&stream.place);
        let server =
            place.server.as_ref().map_or_else(|| "-".to_owned(), |(host, port)| format!("{host}:{port}"));
        let _ = writeln!(
            out,
            "{}\t{}\t{}\t{}\t{}\t{}\t{:032x}",
            seconds(stream.age),
            seconds(stream.idle),
            stream.chunks,
            cell(&place.provider),
            cell(&place.model),
            cell(&server),
            u128::from_be_bytes(stream.trace_id)
        );
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_bounded_and_says_what_it_leaves_out() {
        let lines = |rows: usize| {
            let text =
                table("head\n".into(), &vec![(); rows], |out, ()| out.push_str(&cell(&"é\t".repeat(500))));
            (text.chars().count(), text.ends_with("# and 7 more, all younger\n"))
        };
        assert_eq!(lines(2), (5 + 2 * MAX_CELL_CHARS, false));
        assert_eq!(lines(MAX_ROWS), (5 + MAX_ROWS * MAX_CELL_CHARS, false));
        assert_eq!(lines(MAX_ROWS + 7), (5 + MAX_ROWS * MAX_CELL_CHARS + 26, true));
    }
}
