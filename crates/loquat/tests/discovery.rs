//! A router that follows a source, and checks of health, through the whole client against real sockets.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};

use loquat::{
    Client, Context, Error, ErrorKind, ModelExt,
    core::{BoxFuture, Endpoint},
    discovery::{Discover, Discovered, HealthChecks, Listing},
    router::{
        EndpointSpec, GroupSpec, Members, Plan, RouteSpec,
        health::{Reason, State},
    },
    transport::{AddressPolicy, Config, Resolve, Resolving},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    sync::mpsc::{UnboundedReceiver, unbounded_channel},
};

/// A source that says what it is told to.
struct Told(UnboundedReceiver<Result<Listing, Error>>);

impl Discover for Told {
    fn next<'a>(&'a mut self, _: &'a Context) -> BoxFuture<'a, Result<Listing, Error>> {
        Box::pin(async move {
            match self.0.recv().await {
                Some(said) => said,
                None => std::future::pending().await,
            }
        })
    }
}

/// A model server that answers with its name, slowly, and says of its health what it is told to.
struct Peer {
    base_url: String,
    is_well: Arc<AtomicBool>,
    asked: Arc<Mutex<Vec<String>>>,
}

async fn peer(name: &'static str) -> Peer {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let base_url = format!("http://{}/v1", listener.local_addr().expect("bound"));
    let (is_well, asked) = (Arc::new(AtomicBool::new(true)), Arc::<Mutex<Vec<String>>>::default());
    let (well, log) = (is_well.clone(), asked.clone());
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let (well, log) = (well.clone(), log.clone());
            tokio::spawn(async move {
                let mut head = vec![0; 65_536];
                let length = socket.read(&mut head).await.unwrap_or(0);
                let head = String::from_utf8_lossy(&head[..length]).into_owned();
                let what = head.split(' ').take(2).collect::<Vec<_>>().join(" ");
                log.lock().expect("no panic").push(what.clone());
                let status = if well.load(SeqCst) { "200 OK" } else { "503 Loading" };
                let head = format!("HTTP/1.1 {status}\r\nconnection: close\r\n");
                if what == "GET /health" {
                    drop(socket.write_all(format!("{head}content-length: 0\r\n\r\n").as_bytes()).await);
                    return;
                }
                drop(
                    socket
                        .write_all(format!("{head}content-type: text/event-stream\r\n\r\n").as_bytes())
                        .await,
                );
                for piece in [name, "!", ""] {
                    let finish = if piece.is_empty() { "\"stop\"" } else { "null" };
                    let event = format!(
                        "data: {{\"choices\":[{{\"index\":0,\"delta\":{{\"content\":\"{piece}\"}},\"finish_reason\":{finish}}}]}}\n\n"
                    );
                    drop(socket.write_all(event.as_bytes()).await);
                    tokio::time::sleep(Duration::from_millis(30)).await;
                }
                drop(socket.write_all(b"data: [DONE]\n\n").await);
            });
        }
    });
    Peer { base_url, is_well, asked }
}

fn found(name: &str, peer: &Peer) -> Discovered {
    let mut found = Discovered::new(name, Endpoint::new("openai", &peer.base_url, "m"));
    found.tags = vec!["pool".to_owned(), "vision".to_owned()];
    found
}

async fn ask(router: &impl ModelExt) -> Result<String, Error> {
    router.chat("m").user("hi").send().await.map(|answer| answer.text())
}

async fn until(what: &str, holds: impl Fn() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < Duration::from_secs(60), "not within a minute: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn tables_are_replaced_under_traffic_without_losing_a_request() {
    let (one, two) = (peer("one").await, peer("two").await);
    let (tell, told) = unbounded_channel();
    tell.send(Ok(Listing::new(vec![found("one", &one)]))).expect("listened to");
    let client = Client::builder().build().expect("a client");
    let group = GroupSpec::new(Members::Tagged(vec!["pool".to_owned()]));
    let plan = Plan::new().with_route(RouteSpec::new("m").with_group(group));
    let followed = client.follow(&Context::new(), plan, Told(told)).await.expect("a router");
    let router = followed.router().clone();
    assert_eq!(ask(&router).await.as_deref(), Ok("one!"));
    let live = router.table().nodes()[0].live.clone();

    let (lost, asked) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicUsize::new(0)));
    let goes_on = Arc::new(AtomicBool::new(true));
    let callers: Vec<_> = (0..8)
        .map(|_| {
            let (router, lost, asked, goes_on) =
                (router.clone(), lost.clone(), asked.clone(), goes_on.clone());
            tokio::spawn(async move {
                while goes_on.load(SeqCst) {
                    match ask(&router).await.as_deref() {
                        Ok("one!" | "two!") => drop(asked.fetch_add(1, SeqCst)),
                        other => lost.lock().expect("no panic").push(format!("{other:?}")),
                    }
                }
            })
        })
        .collect();
    let both = || Listing::new(vec![found("one", &one), found("two", &two)]);
    for round in 0..20 {
        let said = match round % 4 {
            0 => Ok(both()),
            1 => Err(Error::new(ErrorKind::Connect, "the registry is down")),
            2 => Ok(Listing::new(vec![found("two", &two)])),
            _ => Ok(Listing::new(vec![
                found("one", &one),
                Discovered::new("odd", Endpoint::new("nobody", "http://127.0.0.1:1", "m")),
            ])),
        };
        tell.send(said).expect("listened to");
        tokio::time::sleep(Duration::from_millis(40)).await;
    }
    tell.send(Ok(both())).expect("listened to");
    until("the last listing", || followed.status().listings == 17).await;
    assert_eq!(router.table().nodes().len(), 2);
    until("fifty answers", || asked.load(SeqCst) > 50).await;
    let kept = router.table().nodes()[0].live.clone();
    until("an answer of the one that came back", || kept.first_token(Instant::now()).is_some()).await;
    goes_on.store(false, SeqCst);
    for caller in callers {
        caller.await.expect("no panic");
    }
    assert_eq!(*lost.lock().expect("no panic"), Vec::<String>::new());
    let status = followed.status();
    assert_eq!((status.listings, status.failures), (17, 0));
    assert_eq!(status.error.map(|error| error.kind()), Some(ErrorKind::Connect));
    // One that left is drained; the same name at the same place later begins anew.
    assert!(matches!(live.state(Instant::now()), State::Draining { .. }), "{:?}", live.state(Instant::now()));

    // What stays keeps what was learnt of it.
    tell.send(Ok(Listing::new(vec![found("one", &one)]))).expect("listened to");
    until("the next listing", || router.table().nodes().len() == 1).await;
    assert!(Arc::ptr_eq(&kept, &router.table().nodes()[0].live));
    assert!(kept.first_token(Instant::now()).is_some());
}

#[tokio::test]
async fn what_a_source_says_is_down_is_not_asked() {
    let (one, two) = (peer("one").await, peer("two").await);
    let (tell, told) = unbounded_channel();
    let mut down = found("one", &one);
    down.is_up = Some(false);
    tell.send(Ok(Listing::new(vec![down, found("two", &two)]))).expect("listened to");
    let client = Client::builder().build().expect("a client");
    let followed = client.follow(&Context::new(), Plan::new(), Told(told)).await.expect("a router");
    for _ in 0..20 {
        assert_eq!(ask(followed.router()).await.as_deref(), Ok("two!"));
    }
    let state = followed.router().table().nodes()[0].live.state(Instant::now());
    assert!(matches!(state, State::Out { reason: Reason::Told, since: Some(_), .. }), "{state:?}");
    tell.send(Ok(Listing::new(vec![found("one", &one)]))).expect("listened to");
    until("the next listing", || followed.router().table().nodes().len() == 1).await;
    assert_eq!(ask(followed.router()).await.as_deref(), Ok("one!"));
}

#[tokio::test]
async fn the_first_listing_is_waited_for_no_longer_than_the_deadline() {
    let (_tell, told) = unbounded_channel();
    let client = Client::builder().build().expect("a client");
    let context = Context::new().with_timeout(Duration::from_millis(50));
    let error =
        client.follow(&context, Plan::new(), Told(told)).await.map(drop).expect_err("nothing is listed");
    assert_eq!(error.kind(), ErrorKind::Timeout);
}

#[tokio::test]
async fn checks_put_out_and_bring_back_without_a_generation() {
    let (one, two) = (peer("one").await, peer("two").await);
    let (tell, told) = unbounded_channel();
    tell.send(Ok(Listing::new(vec![found("one", &one), found("two", &two)]))).expect("listened to");
    let client = Client::builder().build().expect("a client");
    let followed = client.follow(&Context::new(), Plan::new(), Told(told)).await.expect("a router");
    let checks = HealthChecks::new().with_every(Duration::from_millis(10));
    let _watch = client.watch_health(followed.router(), checks);
    let live = followed.router().table().nodes()[0].live.clone();
    one.is_well.store(false, SeqCst);
    let is_out =
        || matches!(live.state(Instant::now()), State::Out { reason: Reason::Checks, since: Some(_), .. });
    until("out by checks", is_out).await;
    assert_eq!(ask(followed.router()).await.as_deref(), Ok("two!"));
    one.is_well.store(true, SeqCst);
    until("back by checks", || live.state(Instant::now()) == State::Up).await;
    let asked = one.asked.lock().expect("no panic").clone();
    assert!(asked.len() >= 5 && asked.iter().all(|what| what == "GET /health"), "{asked:?}");
}

/// Who lists an endpoint does not decide whether a key may be read on the way to it.
#[tokio::test]
async fn a_source_does_not_let_a_key_into_the_open() {
    let endpoint = |host: &str| {
        let endpoint = Endpoint::new("openai", format!("http://{host}/v1"), "m").with_credential("planted");
        endpoint.with_plain_credential(true)
    };
    let (tell, told) = unbounded_channel();
    let listed = [("open", "192.0.2.1"), ("here", "127.0.0.1:1")];
    let listed = listed.map(|(name, host)| Discovered::new(name, endpoint(host)));
    tell.send(Ok(Listing::new(listed.into()))).expect("listened to");
    let client = Client::builder().build().expect("a client");
    let followed = client.follow(&Context::new(), Plan::new(), Told(told)).await.expect("a router");
    let table = followed.router().table();
    let names: Vec<_> = table.nodes().iter().map(|node| node.spec.name.as_str()).collect();
    assert_eq!(names, ["here"]);
    let refused = followed.status().refused.join("\n");
    assert!(refused.contains("endpoint `open`: refusing to send a credential over plain HTTP"), "{refused}");
    assert!(!refused.contains("planted"));
}

/// Whatever the name, it leads to this machine.
#[derive(Debug)]
struct ToHere;

impl Resolve for ToHere {
    fn resolve<'a>(&'a self, _: &'a str, port: u16) -> Resolving<'a> {
        Box::pin(async move { Ok(vec![([127, 0, 0, 1], port).into()]) })
    }
}

/// A listing may name whom it likes: a name is judged by where it leads, when it is dialled, whoever dials it and what for.
#[tokio::test]
async fn a_name_that_leads_inside_is_not_asked() {
    let inside = || AddressPolicy::PublicAnd(vec!["127.0.0.0/8".parse().expect("a network")]);
    let refused = || Err(ErrorKind::NotConfigured);
    let answered = || Ok("one!".to_owned());
    for (dials, allowed, answer) in [
        (AddressPolicy::PublicOnly, None, refused()),
        (AddressPolicy::PublicOnly, Some(AddressPolicy::Any), refused()),
        (AddressPolicy::PublicOnly, Some(inside()), refused()),
        (AddressPolicy::Any, Some(AddressPolicy::PublicOnly), refused()),
        (AddressPolicy::Any, Some(inside()), answered()),
        (AddressPolicy::Any, None, answered()),
    ] {
        let case = format!("{dials:?}, {allowed:?}");
        let one = peer("one").await;
        let mut listed = found("one", &one);
        listed.endpoint.base_url = one.base_url.replace("127.0.0.1", "models.example");
        listed.endpoint.addresses = allowed;
        let (tell, told) = unbounded_channel();
        tell.send(Ok(Listing::new(vec![listed]))).expect("listened to");
        let config = Config::default().with_resolver(ToHere).with_addresses(dials.clone());
        let client = Client::builder().transport(config).build().expect("a client");
        let followed = client.follow(&Context::new(), Plan::new(), Told(told)).await.expect("a router");
        assert_eq!(ask(followed.router()).await.map_err(|error| error.kind()), answer, "{case}");
        let checks = HealthChecks::new().with_every(Duration::from_millis(5));
        let watch = client.watch_health(followed.router(), checks);
        let asked = || one.asked.lock().expect("no panic").len();
        if answer.is_ok() {
            until("it is asked how it is", || asked() > 1).await;
        } else {
            let live = followed.router().table().nodes()[0].live.clone();
            let is_checked =
                || matches!(live.state(Instant::now()), State::Out { reason: Reason::Checks, .. });
            until("a check has failed", is_checked).await;
            assert_eq!(asked(), 0, "{case}");
        }
        drop(watch);

        // Who is in the plan may be anywhere all the same, over the same name.
        if dials == AddressPolicy::Any {
            let mut endpoint = found("own", &one).endpoint;
            endpoint.base_url = one.base_url.replace("127.0.0.1", "models.example");
            let plan = Plan::new().with_endpoint(EndpointSpec::new("own", endpoint)).with_chain("m", ["own"]);
            let router = client.router(&plan).expect("a router");
            assert_eq!(ask(&router).await.map_err(|error| error.kind()), answered(), "{case}");
        }
    }
}
