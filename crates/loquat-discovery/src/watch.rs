//! Sources that tell of changes themselves: a list first, and then a stream of what changes, line by line.
//!
//! What two protocols share is here: listing, watching from the revision of the list, listing anew when the stream ends, is
//! silent for too long, says something that cannot be read, or says that it has forgotten. A stream that ends is no
//! error; one that cannot be opened is, and the table stays. Several changes that arrive together make one listing.

use std::{collections::BTreeMap, fmt, time::Duration};

use loquat_core::{BoxFuture, Context, Discover, Discovered, Listing, Result, Secret};
use loquat_json::{Limits, ndjson};
use loquat_transport::{Body, Bytes, Request, StatusCode};
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::{
    backoff::Backoff,
    fetch::{Fetcher, Token, authorize, unexpected},
    keep::Keeper,
    policy::unusable,
    poll::LONGEST,
};

/// What is known, by the source's own key. An entry of the source may hold several endpoints.
pub(crate) type Table = BTreeMap<String, Vec<Result<Discovered, String>>>;

/// What a line of the stream meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Line {
    /// The table may have changed.
    Changed,
    /// Nothing for us.
    Nothing,
    /// The source has forgotten what happened since: the list is needed again.
    Forgotten,
}

/// A protocol of lists and watches.
pub(crate) trait Protocol: Send + Sync {
    /// The question for a token, where there is no token of the operator's but a name and a password.
    fn login(&self) -> Result<Option<Request>> {
        Ok(None)
    }
    /// The token in the answer to that.
    fn token(&self, _: &[u8]) -> Result<Secret> {
        Err(unusable("nobody asked for a token"))
    }
    /// The question for the list.
    fn list(&self) -> Result<Request>;
    /// The list, and the revision it was taken at.
    fn listed(&self, body: &[u8]) -> Result<(Table, String)>;
    /// The question for what changes after that revision.
    fn watch(&self, revision: &str) -> Result<Request>;
    /// One line of the stream.
    fn line(&self, line: &str, table: &mut Table, revision: &mut String) -> Result<Line>;
}

/// A source that is listed and then watched.
pub struct Watched {
    protocol: Box<dyn Protocol>,
    fetcher: Fetcher,
    token: Token,
    /// How long a stream is read before everything is listed again.
    relist: Duration,
    table: Table,
    revision: String,
    stream: Option<Stream>,
    keeper: Keeper,
    backoff: Backoff,
    /// When it may be asked next, after a failure.
    due: Option<Instant>,
}

struct Stream {
    body: Body,
    lines: ndjson::Decoder,
    /// Of the last chunk, what was not read yet.
    rest: Bytes,
    opened: Instant,
    /// Until when lines are gathered, once one of them has changed the table.
    gather: Option<Instant>,
}

/// What lines that follow each other at once are gathered for, at most.
const GATHER: Duration = Duration::from_millis(20);
/// A stream that lasts shorter counts as a failure: whoever ends streams at once is not asked in a loop.
const LASTS: Duration = Duration::from_secs(1);

impl Watched {
    pub(crate) fn new(
        protocol: impl Protocol + 'static,
        fetcher: Fetcher,
        token: Token,
        relist: Duration,
    ) -> Self {
        let keeper = Keeper::new(fetcher.policy.accept_empty);
        Self {
            protocol: Box::new(protocol),
            fetcher,
            token,
            relist: relist.min(LONGEST),
            table: Table::new(),
            revision: String::new(),
            stream: None,
            keeper,
            backoff: Backoff::new(Duration::from_millis(250)),
            due: None,
        }
    }

    /// The list, and a stream of what changes after it.
    async fn begin(&mut self, context: &Context) -> Result<()> {
        let token = self.authenticated(context).await?;
        let mut request = self.protocol.list()?;
        authorize(&mut request, &token).await?;
        let fetched = self.fetcher.fetch(context, request).await?;
        if fetched.status != StatusCode::OK {
            return Err(unexpected(fetched.status));
        }
        let (table, revision) = self.protocol.listed(&fetched.body)?;
        let mut request = self.protocol.watch(&revision)?;
        authorize(&mut request, &token).await?;
        let response = self.fetcher.open(context, request).await?;
        if response.status != StatusCode::OK {
            return Err(unexpected(response.status));
        }
        let limits = Limits::default().with_max_event_bytes(self.fetcher.policy.max_body_bytes);
        let (lines, rest) = (ndjson::Decoder::new(limits), Bytes::new());
        self.stream = Some(Stream { body: response.body, lines, rest, opened: Instant::now(), gather: None });
        (self.table, self.revision) = (table, revision);
        Ok(())
    }

    /// What to authenticate with from now on. Tokens end within minutes, so each list has a new one.
    async fn authenticated(&self, context: &Context) -> Result<Token> {
        let Some(request) = self.protocol.login()? else { return Ok(self.token.clone()) };
        let fetched = self.fetcher.fetch(context, request).await?;
        match fetched.status {
            StatusCode::OK => self.protocol.token(&fetched.body).map(Token::Bare),
            status => Err(unexpected(status)),
        }
    }

    /// Reads the stream until the table has changed (`true`) or the stream is over.
    async fn follow(&mut self) -> Result<bool> {
        let Some(stream) = &mut self.stream else { return Ok(false) };
        let ended = 'ended: loop {
            let mut input = &stream.rest[..];
            while let Some(event) = stream.lines.next(&mut input).map_err(garbled)? {
                match self.protocol.line(event.data, &mut self.table, &mut self.revision)? {
                    Line::Changed if endpoints(&self.table) > self.fetcher.policy.max_endpoints => {
                        return Err(unusable("it lists more endpoints than may be"));
                    }
                    Line::Changed => drop(stream.gather.get_or_insert(Instant::now() + GATHER)),
                    Line::Nothing => {}
                    Line::Forgotten => break 'ended stream.opened,
                }
            }
            stream.rest = Bytes::new();
            let until = stream.gather.unwrap_or(stream.opened + self.relist);
            match timeout_at(until, stream.body.chunk()).await {
                Ok(Some(Ok(chunk))) => stream.rest = chunk,
                Err(_) if stream.gather.take().is_some() => return Ok(true),
                // Over, lost, or long enough: what it missed the next list has.
                Ok(Some(Err(_)) | None) | Err(_) => break stream.opened,
            }
        };
        let changed = self.stream.take().is_some_and(|stream| stream.gather.is_some());
        if ended.elapsed() < LASTS {
            self.due = Some(Instant::now() + self.backoff.failed());
        } else {
            self.backoff.succeeded();
        }
        Ok(changed)
    }

    fn listing(&mut self) -> Result<Option<Listing>> {
        let listing = self.fetcher.policy.listing(self.table.values().flatten().cloned().collect())?;
        self.keeper.news(listing)
    }

    async fn step(&mut self, context: &Context) -> Result<Option<Listing>> {
        if self.stream.is_none() {
            if let Some(due) = self.due {
                sleep_until(due).await;
            }
            self.begin(context).await?;
        } else if !self.follow().await? {
            return Ok(None);
        }
        self.listing()
    }
}

impl Discover for Watched {
    fn next<'a>(&'a mut self, context: &'a Context) -> BoxFuture<'a, Result<Listing>> {
        Box::pin(async move {
            loop {
                match self.step(context).await {
                    Ok(Some(listing)) => return Ok(listing),
                    Ok(None) => {}
                    Err(error) => {
                        self.stream = None;
                        self.due = Some(Instant::now() + self.backoff.failed());
                        return Err(error);
                    }
                }
            }
        })
    }
}

impl fmt::Debug for Watched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watched")
            .field("entries", &self.table.len())
            .field("revision", &self.revision)
            .field("is_watching", &self.stream.is_some())
            .finish_non_exhaustive()
    }
}

/// How many there are: an entry may hold as many as a whole source.
fn endpoints(table: &Table) -> usize {
    table.values().map(Vec::len).sum()
}

fn garbled(cause: loquat_json::Error) -> loquat_core::Error {
    unusable("its stream of changes cannot be read").with_source(cause)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_bounded_and_not_what_holds_them() {
        let slice = || vec![Err("no".to_owned()); 700];
        let table = Table::from([("a".to_owned(), slice()), ("b".to_owned(), slice())]);
        assert_eq!(endpoints(&table), 1_400);
    }
}
