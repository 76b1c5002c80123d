//! All values at once, counted or removed: for people. What is counted and removed is known by its name's form, so that keys of
//! other programs, and of caches whose prefix begins alike, are let be, whatever they are called.

use std::collections::BTreeMap;

use loquat_core::{Error, ErrorKind, Result};
use tokio::time::timeout;

use super::{
    super::{
        codec::Kind,
        link::{self, Link},
    },
    MAX_BUDGET, Remote, lock,
};

impl Remote {
    /// Removes every value below the prefix from a standalone or sentinel-led server; how many. For `loquat cache clear`.
    ///
    /// # Errors
    /// Redis cannot be asked, does not answer within 5 s or, where that is longer, the budget, which each of the questions
    /// has, or is a cluster, whose nodes are cleared by its own tools.
    pub async fn clear(&self) -> Result<u64> {
        let mut link = self.whole_link().await?;
        let (mut cursor, mut removed) = (0, 0);
        loop {
            let keys;
            (cursor, keys) = self.scan(&mut link, cursor).await?;
            if !keys.is_empty() {
                let mut unlink = redis::cmd("UNLINK");
                for (_, key) in &keys {
                    unlink.arg(key);
                }
                removed += self.told::<u64>(&mut link, &unlink).await?;
            }
            if cursor == 0 {
                return Ok(removed);
            }
        }
    }

    /// How many values of each kind there are below the prefix (`tokens`, `count`, `fragment`, `answer`). Looks at every key of the
    /// server: for people, not for programs.
    ///
    /// # Errors
    /// As [`Remote::clear`].
    pub async fn inventory(&self) -> Result<BTreeMap<String, u64>> {
        let mut link = self.whole_link().await?;
        let (mut cursor, mut kinds) = (0, BTreeMap::new());
        loop {
            let keys;
            (cursor, keys) = self.scan(&mut link, cursor).await?;
            for (kind, _) in keys {
                *kinds.entry(kind.name().to_owned()).or_default() += 1;
            }
            if cursor == 0 {
                return Ok(kinds);
            }
        }
    }

    /// Some of the values' keys, and where to go on; from 0 to 0.
    async fn scan(&self, link: &mut Link, cursor: u64) -> Result<(u64, Vec<(Kind, Vec<u8>)>)> {
        let prefix = self.0.config.prefix.as_str();
        let mut scan = redis::cmd("SCAN");
        scan.arg(cursor).arg("MATCH").arg(format!("{}:*", literal(prefix))).arg("COUNT").arg(512);
        let (cursor, keys): (u64, Vec<Vec<u8>>) = self.told(link, &scan).await?;
        let ours = keys.into_iter().filter_map(|key| Some((kind(&key, prefix)?, key)));
        Ok((cursor, ours.collect()))
    }

    /// What the server says to one question. Who looks through a cache has more time than who looks a value up.
    async fn told<T: redis::FromRedisValue>(&self, link: &mut Link, command: &redis::Cmd) -> Result<T> {
        const LEAST: std::time::Duration = std::time::Duration::from_secs(5);
        let budget = self.0.config.budget.clamp(LEAST, MAX_BUDGET);
        let Ok(told) = timeout(budget, link.query(command)).await else {
            let what = format!("the remote cache has said nothing for {budget:?}");
            return Err(Error::new(ErrorKind::Timeout, what));
        };
        told.map_err(|error| {
            Error::new(ErrorKind::Connection, "the remote cache cannot be asked").with_source(error)
        })
    }

    /// A connection to a server that holds everything, made now if there is none.
    async fn whole_link(&self) -> Result<Link> {
        let link = lock(&self.0.state).link.clone().filter(|link| !link.is_lost());
        let link = match link {
            Some(link) => link,
            None => link::connect(&self.0.config).await?,
        };
        if link.is_cluster() {
            let what = "a cluster is looked through and cleared node by node, by its own tools";
            return Err(Error::new(ErrorKind::Unsupported, what));
        }
        Ok(link)
    }
}

/// A pattern of Redis that only this text matches.
fn literal(text: &str) -> String {
    text.chars()
        .flat_map(|c| matches!(c, '*' | '?' | '[' | ']' | '\\').then_some('\\').into_iter().chain([c]))
        .collect()
}

/// What lies under a key that [`Shelf`](super::super::codec::Shelf) has named; `None` for all others.
fn kind(key: &[u8], prefix: &str) -> Option<Kind> {
    let below = key.strip_prefix(prefix.as_bytes())?.strip_prefix(b":")?;
    let mut parts = below.split(|byte| *byte == b':');
    let (name, tenant, item) = (parts.next()?, parts.next()?, parts.next()?);
    let is_ours = tenant.len() == 16 && item.len() == 64 && parts.next().is_none();
    Kind::ALL.into_iter().find(|kind| is_ours && kind.name().as_bytes() == name)
}

#[cfg(test)]
mod tests {
    use super::{super::super::codec::Sealer, *};

    #[test]
    fn keys_of_ours_are_told_from_all_others() {
        let sealer = Sealer::new("0123456789abcdef", "a*");
        for of in Kind::ALL {
            let key = sealer.key(&sealer.shelf(of, "tenant"), &[b"item"]);
            assert_eq!(kind(key.as_bytes(), "a*"), Some(of));
            for other in ["a", "ab", "", "a*:tokens"] {
                assert_eq!(kind(key.as_bytes(), other), None, "{other}");
            }
            for other in
                [format!("{key}0"), format!("{key}:x"), key[..key.len() - 1].to_owned(), format!("x{key}")]
            {
                assert_eq!(kind(other.as_bytes(), "a*"), None, "{other}");
            }
        }
        assert_eq!(kind(b"a*:\xff\xfe", "a*"), None);
        assert_eq!(literal("a*[b]?\\"), "a\\*\\[b\\]\\?\\\\");
    }
}
