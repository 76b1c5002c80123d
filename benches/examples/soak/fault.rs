//! What can go wrong with a stream, and how often.

/// On the server's side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    None,
    /// The connection (HTTP/1.1) or the stream (HTTP/2) is reset in the middle.
    Reset,
    /// Nothing more comes, and nothing closes.
    Stall,
    /// An event that is no JSON and no UTF-8.
    Garbage,
    /// Bytes that are no HTTP; on HTTP/2 the whole connection goes.
    Unframed,
    /// An end without a finish.
    HalfClose,
    /// HTTP/2: the connection takes no more streams, those it has finish. HTTP/1.1: a reset.
    Goaway,
    /// No response at all.
    NoHead,
    /// A 503.
    Status,
}

const ALL: [(Fault, &str); 9] = [
    (Fault::None, "none"),
    (Fault::Reset, "reset"),
    (Fault::Stall, "stall"),
    (Fault::Garbage, "garbage"),
    (Fault::Unframed, "unframed"),
    (Fault::HalfClose, "half-close"),
    (Fault::Goaway, "goaway"),
    (Fault::NoHead, "no-head"),
    (Fault::Status, "status"),
];

impl Fault {
    pub fn name(self) -> &'static str {
        ALL.iter().find(|(fault, _)| *fault == self).map_or("none", |(_, name)| name)
    }

    pub fn named(name: &str) -> Self {
        ALL.iter().find(|(_, other)| *other == name).map_or(Self::None, |(fault, _)| *fault)
    }

    /// Six of ten streams are sound. A connection that goes with all its streams is rarer.
    pub fn drawn(random: u64) -> Self {
        match random % 1000 {
            0..80 => Self::Reset,
            80..130 => Self::Stall,
            130..210 => Self::Garbage,
            210..220 => Self::Unframed,
            220..300 => Self::HalfClose,
            300..310 => Self::Goaway,
            310..330 => Self::NoHead,
            330..400 => Self::Status,
            _ => Self::None,
        }
    }

    /// Whether an answer may pass for whole.
    pub fn may_finish(self, http2: bool) -> bool {
        self == Self::None || (self == Self::Goaway && http2)
    }
}

/// What the caller does to its own answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Caller {
    Reads,
    /// Drops it in the middle.
    Drops,
    /// Cancels its context in the middle.
    Cancels,
    /// Has little time.
    Hurries,
    /// Is slow to read.
    Dawdles,
}

impl Caller {
    pub fn drawn(random: u64) -> Self {
        match random % 100 {
            0..8 => Self::Drops,
            8..14 => Self::Cancels,
            14..20 => Self::Hurries,
            20..25 => Self::Dawdles,
            _ => Self::Reads,
        }
    }
}
