//! Where an observer is put: around a call, around each attempt, and in front of the pool's counters.

use std::sync::Arc;

use loquat_client::HttpModel;
use loquat_core::{Availability, Model};
use loquat_observe::{Observer, Place};
use loquat_transport::{Stats, Transport};

/// The model inside of its schedule, watched from either side of that, under its own name; `name` is that of one without.
pub(crate) fn wrap(
    observer: &Observer,
    model: HttpModel,
    name: &str,
    schedule: impl FnOnce(loquat_observe::Attempted<HttpModel>) -> Arc<dyn Model>,
) -> Arc<dyn Model> {
    let endpoint = model.endpoint();
    // What a route's schedule is known by is no model's name.
    let shown = if endpoint.model.is_empty() { name } else { &endpoint.model };
    let place = Place::new(endpoint.provider.as_str(), shown).with_base_url(&endpoint.base_url);
    let attempt = observer.attempt(model, place.clone());
    Arc::new(observer.operation(schedule(attempt), place))
}

/// The engine, which is asked directly.
#[cfg(feature = "engine")]
pub(crate) fn wrap_engine(observer: &Observer, model: impl Model + 'static, name: &str) -> Arc<dyn Model> {
    let place = Place::new("engine", name);
    Arc::new(observer.operation(observer.attempt(model, place.clone()), place))
}

/// An endpoint's breaker, by host and model.
pub(crate) fn watch(observer: &Observer, (base_url, name): &(String, String), word: &Arc<Availability>) {
    let place = Place::new("", name.as_str()).with_base_url(base_url);
    let host = place.server.map_or_else(String::new, |(host, port)| format!("{host}:{port}"));
    observer.watch_endpoint(format!("{host}/{name}"), word);
}

/// What the pool counts, read when somebody looks.
#[expect(clippy::cast_precision_loss, reason = "figures to look at")]
pub(crate) fn show_pool(observer: &Observer, transport: &Transport) {
    // A transport that several clients share tells one observer; the others have no row of it, rather than one of zeros.
    transport.watch_locks(|| observer.locks().probe("pool"));
    type Read = fn(&Stats) -> f64;
    let gauges: [(&str, Read); 2] =
        [("HTTP/1.1", |stats| stats.http1_open as f64), ("HTTP/2", |stats| stats.http2_open as f64)];
    for (protocol, read) in gauges {
        let transport = transport.clone();
        let about = ("loquat.pool.connections", "", "Connections open, idle ones included.");
        observer.gauge(about, &[("protocol", protocol)], move || read(&transport.stats()));
    }
    type Counter = ((&'static str, &'static str, &'static str), Read);
    let counters: [Counter; 5] = [
        (("loquat.pool.opened", "", "Connections made."), |stats| {
            (stats.http1_opened + stats.http2_opened) as f64
        }),
        (("loquat.pool.reused", "", "Requests over a connection that had carried another."), |stats| {
            stats.reused as f64
        }),
        (("loquat.pool.replaced", "", "Requests repeated because a connection was gone."), |stats| {
            stats.replaced as f64
        }),
        (("loquat.pool.waits", "", "Requests that waited for a connection or a free place."), |stats| {
            stats.waits as f64
        }),
        (("loquat.pool.waited", "s", "How long they waited, all together."), |stats| {
            stats.waited.as_secs_f64()
        }),
    ];
    for (about, read) in counters {
        let transport = transport.clone();
        observer.counter(about, &[], move || read(&transport.stats()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_two_observers_of_one_transport_the_first_has_its_locks() {
        let transport = Transport::new(loquat_transport::Config::default()).expect("made");
        let (first, second) = (Observer::new(), Observer::new());
        for observer in [&first, &second] {
            show_pool(observer, &transport);
        }
        let names = |observer: &Observer| {
            observer.locks().list().iter().map(|site| site.name.to_string()).collect::<Vec<_>>()
        };
        assert_eq!((names(&first), names(&second)), (vec!["pool".to_owned()], Vec::new()));
    }
}
