//! How long connections are kept. Apart, since the rest of the pool is compiled once more by each of its models, without any connection
//! of the network.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use super::{Pool, Site};
use crate::{Http2Limits, PoolConfig, Url};

impl Site {
    /// Whether somebody has panicked under the lock, wherever that panic went.
    pub(crate) fn is_poisoned(&self) -> bool {
        self.state.is_poisoned()
    }
}

#[test]
fn connections_made_together_are_not_replaced_together() {
    let site = |age| {
        let config = PoolConfig::default().with_max_age(age);
        Site::new(config, &Http2Limits::default(), Arc::default(), None)
    };
    for endless in [None, Some(Duration::MAX)] {
        assert_eq!(site(endless).retire_at(), None);
    }
    let age = Duration::from_secs(1000);
    let site = site(Some(age));
    let begin = Instant::now();
    let ages: Vec<_> =
        (0..200).map(|_| site.retire_at().expect("an age").saturating_duration_since(begin)).collect();
    let end = begin.elapsed();
    let (least, most) = (ages.iter().min().expect("some"), ages.iter().max().expect("some"));
    assert!(*least > age * 4 / 5 && *most <= age + end, "{least:?} to {most:?}");
    // Of 200 draws the chance that all lie within half of the range is 10 to the power of -58.
    assert!(*most - *least > age / 10, "{least:?} to {most:?}");
}

/// By default, that is.
#[cfg(unix)]
#[tokio::test]
async fn a_hundred_connections_are_kept_for_ninety_seconds() {
    use tokio::{io::AsyncReadExt as _, net::UnixStream};

    use crate::{ConnectionInfo, HeadLimits, Protocol, connect::Link, http1::Http1, io::Stream};

    let site = Site::new(PoolConfig::default(), &Http2Limits::default(), Arc::default(), None);
    let mut peers = Vec::new();
    for _ in 0..101 {
        let (peer, socket) = UnixStream::pair().expect("a pair");
        let info = ConnectionInfo { peer: None, local: None, protocol: Protocol::Http1, reused: false };
        let link = Link { stream: Stream::unix(socket), info, forward: None };
        let ticket = site.spare(1000, Instant::now()).expect("room");
        site.rest(Box::new(Http1::new(link, &HeadLimits::default(), ticket.permit)));
        peers.push(peer);
    }
    assert_eq!(site.lock().idle.len(), 100);
    assert_eq!(peers[0].read(&mut [0]).await.expect("an end"), 0, "the oldest goes");
    let (now, mut expired) = (Instant::now(), Vec::new());
    site.sweep(now + Duration::from_secs(89), &mut expired);
    assert_eq!(expired.len(), 0);
    site.sweep(now + Duration::from_secs(90), &mut expired);
    assert_eq!(expired.len(), 100);
}

#[test]
fn an_early_close_is_remembered_for_ten_minutes_without_any_connection() {
    let begin = Instant::now();
    let at = |seconds| begin + Duration::from_secs(seconds);
    let pool = Pool::new(PoolConfig::default(), &Http2Limits::default());
    let [closes, other] =
        ["http://closes.example", "http://other.example"].map(|url| Url::parse(url).expect("valid"));
    let of = |url: &Url, seconds| pool.site(url.origin(), None, at(seconds));
    let site = Arc::downgrade(&{
        let site = of(&closes, 0);
        site.closed_early(Duration::from_secs(10));
        site
    });
    // Whoever asks for one sweeps the others.
    of(&other, 6);
    let learnt = site.upgrade().expect("kept").lock().early_close;
    assert_eq!(learnt.map(|(kept, _)| kept), Some(Duration::from_secs(8)));
    of(&other, 700);
    assert!(site.upgrade().is_none(), "and no longer");

    let site = of(&closes, 700);
    let lowered = |idle, before| site.lowered(Duration::from_secs(idle), before, at(700)).expect("one");
    let (second, minute) = (Duration::from_secs(1), Duration::from_secs(60));
    assert_eq!(lowered(75, None), (minute, at(700)));
    assert_eq!(lowered(75, Some((second, at(200)))), (second, at(700)));
    assert_eq!(lowered(75, Some((second, at(50)))), (minute, at(700)), "long ago");
}
