//! What goes wrong with a reply, and where in its bytes.

use std::{fmt, sync::Arc};

use tokio::sync::Semaphore;

/// What goes wrong with a reply's body. `after` counts bytes of it that are sent before.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Fault {
    /// The connection is closed in the middle of the body.
    Cut {
        /// Bytes sent before.
        after: usize,
    },
    /// The body ends there, in good order: what a proxy does that lost its upstream.
    End {
        /// Bytes sent before.
        after: usize,
    },
    /// Nothing more is sent until the gate is opened.
    Stall {
        /// Bytes sent before.
        after: usize,
        /// What holds it up.
        gate: Gate,
    },
    /// These bytes come between: garbage, an error event, half a character.
    Insert {
        /// Bytes sent before.
        after: usize,
        /// The bytes.
        bytes: Vec<u8>,
    },
    /// The connection is closed before a word is said.
    NoReply,
}

/// Holds a stalled reply up until it is opened; time is then what the test makes it.
#[derive(Clone)]
pub struct Gate(Arc<Semaphore>);

impl Gate {
    /// A closed one.
    pub fn new() -> Self {
        Self(Arc::new(Semaphore::new(0)))
    }

    /// Lets everybody through, now and later.
    pub fn open(&self) {
        self.0.close();
    }

    pub(crate) async fn pass(&self) {
        // A closed semaphore is an open gate: nobody ever adds permits.
        drop(self.0.acquire().await);
    }
}

impl Default for Gate {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Gate({})", if self.0.is_closed() { "open" } else { "closed" })
    }
}
