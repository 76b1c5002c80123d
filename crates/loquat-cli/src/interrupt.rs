//! Ctrl-C: the first one ends the request, the second one the program.
//!
//! A thread of its own listens, so that the second one works whatever the rest is doing: waiting for a name server,
//! computing, writing to a pipe that nobody reads.

use std::sync::{Arc, Mutex, PoisonError};

use loquat::{Error, ErrorKind, Result, core::CancellationToken};

use crate::exit::Exit;

/// What the next Ctrl-C does.
#[derive(Debug, Default)]
enum Next {
    /// Ends the program.
    #[default]
    Quit,
    /// Ends that request; the one after it ends the program.
    Cancel(CancellationToken),
    /// Nothing: a line editor has the terminal and reads the key itself.
    Ignore,
}

/// The program's one listener for Ctrl-C.
#[derive(Debug, Clone)]
pub(crate) struct Interrupts(Arc<Mutex<Next>>);

impl Interrupts {
    /// Listens from now on.
    ///
    /// # Errors
    /// [`ErrorKind::Local`] where the system refuses a handler or a thread.
    pub(crate) fn listen() -> Result<Self> {
        let next = Arc::new(Mutex::new(Next::Quit));
        let handled = next.clone();
        ctrlc::set_handler(move || {
            let mut next = handled.lock().unwrap_or_else(PoisonError::into_inner);
            match &*next {
                Next::Quit => std::process::exit(i32::from(Exit::Interrupted.code())),
                Next::Cancel(token) => {
                    token.cancel();
                    *next = Next::Quit;
                }
                Next::Ignore => {}
            }
        })
        .map_err(|cause| Error::new(ErrorKind::Local, "cannot listen for Ctrl-C").with_source(cause))?;
        Ok(Self(next))
    }

    /// The next one ends that request.
    pub(crate) fn cancel(&self, token: &CancellationToken) {
        self.set(Next::Cancel(token.clone()));
    }

    /// The next one ends the program.
    pub(crate) fn quit(&self) {
        self.set(Next::Quit);
    }

    /// The next one does nothing.
    pub(crate) fn ignore(&self) {
        self.set(Next::Ignore);
    }

    fn set(&self, next: Next) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = next;
    }
}
