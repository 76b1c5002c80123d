//! The proxy: it passes bytes on between a client and a server that both mean well, and does harm where it is told to.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::watch,
};

use crate::support::listen;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    ToServer,
    ToClient,
}

/// What happens to a connection.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Harm {
    None,
    /// Both ends are closed once so many bytes have gone that way, with a reset or with an end.
    Cut {
        way: Way,
        after: usize,
        reset: bool,
    },
    /// The same when the first bytes of the n-th answer come, of which the client gets none: the server has done its work, and
    /// nobody is told.
    CutAnswer {
        number: usize,
        reset: bool,
    },
    /// What goes that way after so many bytes is swallowed, and nobody is told.
    Swallow {
        way: Way,
        after: usize,
    },
    /// Passed on in pieces of so many bytes.
    Pieces(usize),
}

/// A running proxy. It ends with the test.
pub(crate) struct Relay {
    pub(crate) address: SocketAddr,
    open: Arc<AtomicUsize>,
    is_well: Arc<AtomicBool>,
    generation: watch::Sender<()>,
}

impl Relay {
    /// Before that server; the n-th connection is harmed so.
    pub(crate) async fn new(server: SocketAddr, harms: Vec<Harm>) -> Self {
        let (open, is_well) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
        let (generation, ended) = watch::channel(());
        let (now_open, well) = (Arc::clone(&open), Arc::clone(&is_well));
        let address = listen(move |number, client| {
            let (now_open, mut ended) = (Arc::clone(&now_open), ended.clone());
            let harm = if well.load(SeqCst) { Harm::None } else { harms[number % harms.len()] };
            async move {
                now_open.fetch_add(1, SeqCst);
                ended.mark_unchanged();
                tokio::select! {
                    () = pass(client, server, harm) => {}
                    _ = ended.changed() => {}
                }
                now_open.fetch_sub(1, SeqCst);
            }
        })
        .await;
        Self { address, open, is_well, generation }
    }

    /// Connections it holds.
    pub(crate) fn open(&self) -> usize {
        self.open.load(SeqCst)
    }

    /// Ends what it holds, and harms nobody from now on.
    pub(crate) fn heal(&self) {
        self.is_well.store(true, SeqCst);
        self.generation.send_replace(());
    }
}

async fn pass(mut client: TcpStream, server: SocketAddr, harm: Harm) {
    let Ok(mut server) = TcpStream::connect(server).await else { return };
    server.set_nodelay(true).expect("nodelay");
    let turns = Turns::default();
    let is_cut = {
        let (from_client, to_client) = client.split();
        let (from_server, to_server) = server.split();
        tokio::select! {
            is_cut = one_way(from_client, to_server, harm, Way::ToServer, &turns) => is_cut,
            is_cut = one_way(from_server, to_client, harm, Way::ToClient, &turns) => is_cut,
        }
    };
    if is_cut && matches!(harm, Harm::Cut { reset: true, .. } | Harm::CutAnswer { reset: true, .. }) {
        for socket in [&client, &server] {
            let _ = socket2::SockRef::from(socket).set_linger(Some(Duration::ZERO));
        }
    }
}

/// Who speaks: with each answer that begins, its number.
#[derive(Default)]
struct Turns {
    asked: AtomicBool,
    answers: AtomicUsize,
}

impl Turns {
    /// Whether that many answers have begun, now that bytes go that way.
    fn reach(&self, way: Way, number: usize) -> bool {
        match way {
            Way::ToServer => self.asked.store(true, SeqCst),
            Way::ToClient if self.asked.swap(false, SeqCst) => {
                return self.answers.fetch_add(1, SeqCst) + 1 == number;
            }
            Way::ToClient => {}
        }
        false
    }
}

/// Until one side ends (`false`) or the cut comes (`true`).
async fn one_way(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWriteExt + Unpin,
    harm: Harm,
    this: Way,
    turns: &Turns,
) -> bool {
    let (mut left, cuts) = match harm {
        Harm::Cut { way, after, .. } if way == this => (after, true),
        Harm::Swallow { way, after } if way == this => (after, false),
        _ => (usize::MAX, false),
    };
    let mut buffer = vec![0; if let Harm::Pieces(bytes) = harm { bytes } else { 4096 }];
    while !(cuts && left == 0) {
        let Ok(bytes @ 1..) = from.read(&mut buffer).await else { return false };
        if matches!(harm, Harm::CutAnswer { number, .. } if turns.reach(this, number)) {
            return true;
        }
        let passed = bytes.min(left);
        if to.write_all(&buffer[..passed]).await.is_err() {
            return false;
        }
        left -= passed;
        if matches!(harm, Harm::Pieces(_)) {
            tokio::task::yield_now().await;
        }
    }
    true
}
