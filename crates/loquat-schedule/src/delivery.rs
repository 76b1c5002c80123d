//! What an operation may say of its delivery when it was several attempts: that nothing was sent, or that a peer refused, is true
//! of the operation only where it is true of each.
//!
//! Whoever reads the error decides by it whether to ask elsewhere; of two attempts the first of which may have run, the second's
//! "connection refused" would have the request run twice.

use loquat_core::{Delivery, Error};

/// Whether the request may have been carried out in that attempt.
pub(crate) fn may_have_run(error: &Error) -> bool {
    // What may be sent again without harm has been refused, or asked for again by who knows.
    error.delivery() != Delivery::NotSent && !error.is_retryable()
}

/// The error of an operation that ends with `last`, where `before` is that of an attempt which may have run.
pub(crate) fn of_both(before: Option<Error>, last: Error) -> Error {
    let Some(before) = before.filter(|_| !may_have_run(&last)) else { return last };
    let last = match last.delivery() {
        Delivery::NotSent => last.with_delivery(before.delivery()),
        _ => last,
    };
    // A refusal says by its kind that nothing has run.
    match last.is_retryable() {
        true => before.map_message(|message| format!("{message}; then: {}", last.message())),
        false => last,
    }
}

#[cfg(test)]
mod tests {
    use loquat_core::ErrorKind;

    use super::*;

    #[test]
    fn nothing_that_may_have_run_is_told_as_if_it_had_not() {
        use {Delivery as D, ErrorKind as K};
        let error = |kind, delivery| Error::new(kind, format!("{kind:?}")).with_delivery(delivery);
        for (before, last, kind, delivery, message) in [
            (None, error(K::Connect, D::NotSent), K::Connect, D::NotSent, "Connect"),
            (None, error(K::Overloaded, D::MaybeSent), K::Overloaded, D::MaybeSent, "Overloaded"),
            (Some(D::MaybeSent), error(K::Connect, D::NotSent), K::Connect, D::MaybeSent, "Connect"),
            (Some(D::MaybeSent), error(K::Cancelled, D::NotSent), K::Cancelled, D::MaybeSent, "Cancelled"),
            (Some(D::MaybeSent), error(K::Timeout, D::MaybeSent), K::Timeout, D::MaybeSent, "Timeout"),
            (Some(D::MaybeSent), error(K::Server, D::Committed), K::Server, D::Committed, "Server"),
            (
                Some(D::MaybeSent),
                error(K::RateLimited, D::MaybeSent),
                K::Connection,
                D::MaybeSent,
                "Connection; then: RateLimited",
            ),
            (Some(D::Committed), error(K::Overloaded, D::NotSent), K::Overloaded, D::Committed, "Overloaded"),
        ] {
            let before = before.map(|delivery| error(K::Connection, delivery));
            let had_run = before.is_some();
            let told = of_both(before, last);
            assert_eq!((told.kind(), told.delivery(), told.message()), (kind, delivery, message));
            assert!(!had_run || !told.is_retryable(), "{told:?}");
        }
    }
}
