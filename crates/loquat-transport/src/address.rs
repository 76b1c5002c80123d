//! Where names lead: who resolves them.
//!
//! Because a name may resolve to one thing when it is checked and to another when it is used, what is checked by an
//! [`AddressPolicy`](crate::AddressPolicy) is what is dialled, each time anew.

use std::{fmt, future::Future, io, net::SocketAddr, pin::Pin};

/// What [`Resolve::resolve`] returns.
pub type Resolving<'a> = Pin<Box<dyn Future<Output = io::Result<Vec<SocketAddr>>> + Send + 'a>>;

/// Turns names into addresses; asked again for every new connection.
pub trait Resolve: fmt::Debug + Send + Sync {
    /// The addresses of that host, best first; they are tried in that order, the families in turn. `host` is never an
    /// address itself. An empty answer and an error both fail the connection. The wait is part of
    /// [`Limits::connect`](crate::Limits::connect); dropping the future gives the look-up up.
    fn resolve<'a>(&'a self, host: &'a str, port: u16) -> Resolving<'a>;
}

/// The operating system's resolver, by way of tokio: the hosts file, then DNS. The default.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemResolver;

impl Resolve for SystemResolver {
    fn resolve<'a>(&'a self, host: &'a str, port: u16) -> Resolving<'a> {
        Box::pin(async move { Ok(tokio::net::lookup_host((host, port)).await?.collect()) })
    }
}
