//! What the program says to the shell that called it.

use std::process::ExitCode;

use loquat::{Error, ErrorKind, FinishReason};

/// The exit codes, as `--help` shows them.
pub(crate) const EXIT_CODES: &str = "\
Exit codes:
  0    finished (or the reader of the output went away)
  1    another failure: of the provider (HTTP 5xx, an error in mid-stream) or of this machine
  2    usage: a flag or value that cannot be used, a named file or folder that cannot be read
       or says what cannot be used
  3    not configured: an unknown model or provider, a missing key
  4    the provider refused: HTTP 4xx, a quota, a prompt that is too long, a filter that cut
  5    network: no connection, TLS, proxy, connection lost, a limit in time
  6    truncated, also by the limit of tokens: what was printed, if anything, is a part
  130  interrupted by Ctrl-C";

/// How the program ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Exit {
    Finished = 0,
    Other = 1,
    Usage = 2,
    NotConfigured = 3,
    Refused = 4,
    Network = 5,
    Truncated = 6,
    Interrupted = 130,
}

impl Exit {
    /// The code of that error.
    pub(crate) fn of(error: &Error) -> Self {
        use ErrorKind as K;
        match error.kind() {
            K::NotConfigured => Self::NotConfigured,
            // Without a status nobody refused it: it could not be sent as it was asked for.
            K::InvalidRequest | K::Unsupported if error.status().is_none() => Self::Usage,
            K::InvalidRequest
            | K::Authentication
            | K::Permission
            | K::NotFound
            | K::RateLimited
            | K::QuotaExceeded
            | K::ContextLength
            | K::ContentFiltered
            | K::Unsupported => Self::Refused,
            K::Connect | K::Tls | K::Proxy | K::Connection | K::Timeout => Self::Network,
            K::Truncated => Self::Truncated,
            K::Cancelled => Self::Interrupted,
            _ => Self::Other,
        }
    }

    /// The code of an answer that finished for that reason.
    pub(crate) fn of_reason(reason: &FinishReason) -> Self {
        match reason {
            FinishReason::Length => Self::Truncated,
            FinishReason::ContentFilter | FinishReason::Refusal => Self::Refused,
            _ => Self::Finished,
        }
    }

    /// The code as a number.
    pub(crate) fn code(self) -> u8 {
        self as u8
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_its_documented_code() {
        use ErrorKind as K;
        let refused = |kind| Exit::of(&Error::new(kind, "").with_status(400));
        assert_eq!(refused(K::InvalidRequest), Exit::Refused);
        for (kind, code) in [
            (K::InvalidRequest, 2),
            (K::NotConfigured, 3),
            (K::Authentication, 4),
            (K::RateLimited, 4),
            (K::ContextLength, 4),
            (K::Overloaded, 1),
            (K::Server, 1),
            (K::Protocol, 1),
            (K::TooLarge, 1),
            (K::Connect, 5),
            (K::Tls, 5),
            (K::Timeout, 5),
            (K::Truncated, 6),
            (K::Cancelled, 130),
            (K::Local, 1),
        ] {
            assert_eq!(Exit::of(&Error::new(kind, "")).code(), code, "{kind:?}");
            assert!(EXIT_CODES.contains(&format!("\n  {code} ")), "{code}");
        }
    }
}
