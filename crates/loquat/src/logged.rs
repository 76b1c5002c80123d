//! [`Logged`]: operations as lines of a log, by `tracing`, to whichever subscriber the program has.
//!
//! It installs none and makes no spans of `tracing`'s: those would have to be entered at every poll, which costs more than the rest of
//! watching. A line is written where an operation ends, of what was noted down of it; who logs slowly gives `tracing` a
//! subscriber that writes on a thread of its own. What was asked and answered is in no line, nor are a provider's words.

use std::sync::Arc;

use loquat_core::ErrorKind;
use loquat_observe::{AttemptTrace, CallTrace, Keep, Outcome};
use tracing::{debug, info, warn};

/// Writes a line for each operation that is kept, and at level `DEBUG` one for each of its attempts. Failures are `WARN`, the rest, and
/// what its caller gave up, `INFO`. The target is `loquat`. For
/// [`ObserverBuilder::keep`](loquat_observe::ObserverBuilder::keep):
///
/// ```
/// use std::sync::Arc;
///
/// use loquat::{Logged, observe::{Observer, Sampling}};
///
/// let observer = Observer::builder().sampling(Sampling::all()).keep(Arc::new(Logged)).build();
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct Logged;

fn server(place: &loquat_observe::Place) -> String {
    place.server.as_ref().map_or_else(String::new, |(host, port)| format!("{host}:{port}"))
}

fn attempt(number: usize, attempt: &AttemptTrace, trace_id: &str) {
    debug!(
        target: "loquat",
        trace_id,
        attempt = number,
        server = server(&attempt.place),
        status = attempt.head.as_ref().map(|head| head.status),
        took_s = attempt.ended.saturating_sub(attempt.started).as_secs_f64(),
        error = attempt.outcome.error_type(),
        "attempt"
    );
}

impl Keep for Logged {
    fn keep(&self, call: &Arc<CallTrace>) {
        let trace_id = format!("{:032x}", u128::from_be_bytes(call.trace.trace_id()));
        for (index, one) in call.attempts.iter().enumerate() {
            attempt(index + 1, one, &trace_id);
        }
        macro_rules! line {
            ($level:ident, $words:literal) => {
                $level!(
                    target: "loquat",
                    trace_id,
                    provider = &*call.place.provider,
                    model = &*call.place.model,
                    attempts = call.attempts.len(),
                    took_s = call.took.as_secs_f64(),
                    first_token_s = call.first_chunk.map(|first| first.as_secs_f64()),
                    input_tokens = call.usage.input_tokens,
                    output_tokens = call.usage.output_tokens,
                    error = call.outcome.error_type(),
                    $words
                )
            };
        }
        match call.outcome {
            Outcome::Finished => line!(info, "finished"),
            Outcome::Failed(ErrorKind::Cancelled, _) => line!(info, "given up by its caller"),
            _ => line!(warn, "failed"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use loquat_core::{ChatRequest, Context, Ending, Error, FinishReason, Model, OwnedDelta, Usage};
    use loquat_observe::{Observer, Place, Sampling};
    use loquat_testing::model::Scripted;
    use tracing::{
        Event, Metadata, Subscriber,
        field::{Field, Visit},
        span::{Attributes, Id, Record},
    };

    use super::*;

    /// Keeps lines as text.
    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<String>>>);

    struct Text(String);

    impl Visit for Text {
        fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
            self.0 += &format!(" {field}={value:?}");
        }
    }

    impl Subscriber for Lines {
        fn enabled(&self, metadata: &Metadata<'_>) -> bool {
            metadata.target() == "loquat"
        }

        fn new_span(&self, _: &Attributes<'_>) -> Id {
            Id::from_u64(1)
        }

        fn record(&self, _: &Id, _: &Record<'_>) {}

        fn record_follows_from(&self, _: &Id, _: &Id) {}

        fn event(&self, event: &Event<'_>) {
            let mut text = Text(event.metadata().level().to_string());
            event.record(&mut text);
            self.0.lock().expect("not poisoned").push(text.0);
        }

        fn enter(&self, _: &Id) {}

        fn exit(&self, _: &Id) {}
    }

    #[test]
    fn each_operation_is_a_line_without_what_was_said() {
        let lines = Lines::default();
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        tracing::subscriber::with_default(lines.clone(), || {
            let observer = Observer::builder().sampling(Sampling::all()).keep(Arc::new(Logged)).build();
            let text = OwnedDelta::Text { choice: 0, text: "planted answer".into() };
            let mut usage = Usage::default();
            (usage.input_tokens, usage.output_tokens) = (3, 5);
            let end = OwnedDelta::End(Ending::Finished { reason: FinishReason::Stop, usage });
            let server = Scripted::new()
                .then(Ok(vec![text.clone(), end]))
                .then(Err(Error::new(ErrorKind::Overloaded, "planted words").with_status(503)))
                .then(Ok(vec![text]));
            let place = Place::new("openai", "gpt-5").with_base_url("https://planted:planted@api.example/");
            let model = observer.operation(observer.attempt(server, place.clone()), place);
            let request = Arc::new(ChatRequest::new("gpt-5").with_user("planted question"));
            runtime.block_on(async {
                let context = Context::new();
                let ask = || model.infer(&context, request.clone());
                let _ = ask().await.expect("answered").collect().await;
                assert!(ask().await.is_err());
                drop(ask().await.expect("answered, and given up"));
            });
        });
        let lines = lines.0.lock().expect("not poisoned").clone();
        let of = |level: &str| lines.iter().filter(|line| line.starts_with(level)).collect::<Vec<_>>();
        assert_eq!((of("DEBUG").len(), of("INFO").len(), of("WARN").len()), (3, 2, 1), "{lines:?}");
        let [done, given_up] = of("INFO")[..] else { panic!("two") };
        for words in
            ["message=finished", "model=\"gpt-5\"", "attempts=1", "input_tokens=3", "output_tokens=5"]
        {
            assert!(done.contains(words), "{words}: {done}");
        }
        assert!(given_up.contains("given up by its caller"), "{given_up}");
        assert!(of("WARN")[0].contains("error=\"overloaded\""), "{lines:?}");
        assert!(of("DEBUG")[1].contains("status=503") || of("DEBUG")[1].contains("error=\"overloaded\""));
        assert!(of("DEBUG").iter().all(|line| line.contains("server=\"api.example:443\"")), "{lines:?}");
        assert!(!lines.concat().contains("planted"), "{lines:?}");
    }
}
