//! Hundreds of token streams for many minutes, with everything going wrong that can, to see that nothing grows and nothing
//! is lost: `cargo xtask soak`.
//!
//! Every caller asks, reads to the end, and asks again, half of them on HTTP/1.1 and half on HTTP/2, past an admission gate
//! that is a little narrower than they are many. Four in ten streams meet a fault of the server's (a reset, a stall, garbage, an
//! end without a finish, GOAWAY, no head, a 503), one in four a caller that drops, cancels, hurries or dawdles; every
//! minute the server's process is killed and started again. What is drawn follows from `--seed`.
//!
//! It fails if memory grew between the first and the last part of the run; if an answer that was cut passed for whole; if
//! one took longer than its limits; and if at the end a task, a socket, a permit or an open file is left over.

mod fault;
mod gauge;
mod server;

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    net::{Ipv4Addr, SocketAddr},
    process::ExitCode,
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};

use fault::{Caller, Fault};
use loquat_benches::child;
use loquat_client::{GenerationLimits, HttpModel};
use loquat_core::{Answer, CancellationToken, ChatRequest, Context, Delta, Ending, Endpoint, Model};
use loquat_provider::OPENAI_CHAT;
use loquat_schedule::admission::{Admission, AdmissionPolicy, Admitted, Concurrency};
use loquat_transport::{Config, Http2Mode, Transport};
use server::Server;
use tokio::{
    runtime::Handle,
    task::{LocalSet, spawn_local},
    time::sleep,
};

/// No answer takes longer: every limit below, a queue's wait and a busy machine's slack.
const LONGEST: Duration = Duration::from_secs(20);
/// Allowed between the first and the last part of the run.
const GROWTH_FACTOR: f64 = 1.1;
const GROWTH_KIB: f64 = 4096.0;

fn main() -> ExitCode {
    if child::is_server() {
        server::serve();
        return ExitCode::SUCCESS;
    }
    let number = |name: &str, default: u64| {
        let mut arguments = std::env::args().skip_while(|argument| argument != name);
        arguments
            .nth(1)
            .map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name} takes a number")))
    };
    let seconds = number("--seconds", 60 * number("--minutes", 20));
    let (streams, seed) = (number("--streams", 500), number("--seed", 1));
    println!("{streams} streams for {seconds} s, seed {seed}");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let soak = Rc::new(Soak::new(Duration::from_secs(seconds), seed));
    LocalSet::new().block_on(&runtime, Rc::clone(&soak).run(streams));
    let failures = soak.failures.borrow();
    failures.iter().for_each(|failure| println!("FAILED: {failure}"));
    if failures.is_empty() {
        println!("nothing grew, nothing is left over");
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

struct Soak {
    lasts: Duration,
    began: Instant,
    seed: u64,
    /// By what was asked and how it ended.
    endings: RefCell<BTreeMap<String, u64>>,
    answers: Cell<u64>,
    chunks: Cell<u64>,
    failures: RefCell<Vec<String>>,
}

/// One protocol's way to the server.
struct Way {
    transport: Transport,
    address: SocketAddr,
    http2: bool,
}

impl Soak {
    fn new(lasts: Duration, seed: u64) -> Self {
        Self {
            lasts,
            began: Instant::now(),
            seed,
            endings: RefCell::default(),
            answers: Cell::default(),
            chunks: Cell::default(),
            failures: RefCell::default(),
        }
    }

    fn fail(&self, what: String) {
        let mut failures = self.failures.borrow_mut();
        if failures.len() < 100 {
            println!("FAILED: {what}");
            failures.push(what);
        }
    }

    fn is_over(&self) -> bool {
        self.began.elapsed() >= self.lasts
    }

    async fn run(self: Rc<Self>, streams: u64) {
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let mut server = Server::start(any, any);
        let (http1, http2) = (server.http1, server.http2);
        let way = |mode, address| {
            let transport = Transport::new(Config::new().with_http2(mode)).expect("a transport");
            Rc::new(Way { transport, address, http2: mode == Http2Mode::PriorKnowledge })
        };
        let ways = [way(Http2Mode::Never, http1), way(Http2Mode::PriorKnowledge, http2)];
        let narrow = u32::try_from(streams * 9 / 10).unwrap_or(u32::MAX).max(1);
        let policy = AdmissionPolicy::default()
            .with_concurrency(Concurrency::Fixed(narrow))
            .with_queue(streams as usize, Duration::from_secs(5));
        let admission = Arc::new(Admission::new(policy, Instant::now()));
        let files_before = gauge::files();
        let tasks_before = alive();

        let callers: Vec<_> = (0..streams)
            .map(|number| {
                let (soak, way) = (Rc::clone(&self), Rc::clone(&ways[(number % 2) as usize]));
                let admission = Arc::clone(&admission);
                spawn_local(async move {
                    let mut random = Random(soak.seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ number);
                    while !soak.is_over() {
                        soak.once(&way, &admission, &mut random).await;
                    }
                })
            })
            .collect();

        let mut memory = Vec::new();
        let mut next_kill = Duration::from_secs(60);
        while !self.is_over() {
            sleep(Duration::from_secs(10).min(self.lasts.saturating_sub(self.began.elapsed()))).await;
            memory.push(gauge::resident_kib() as f64);
            self.report(&ways, &admission);
            if self.began.elapsed() >= next_kill && !self.is_over() {
                next_kill = self.began.elapsed() + Duration::from_secs(60);
                drop(server); // with SIGKILL
                sleep(Duration::from_millis(500)).await;
                server = Server::start(http1, http2);
                println!("server killed and started again");
            }
        }
        for caller in callers {
            if caller.await.is_err() {
                self.fail("a caller panicked".into());
            }
        }
        self.check_memory(&memory);
        self.check_rest(ways, &admission, files_before, tasks_before).await;
        let endings = self.endings.borrow();
        endings.iter().for_each(|(what, count)| println!("{count:>9}  {what}"));
        drop(server);
    }

    /// One answer, from the question to whatever end it takes.
    async fn once(&self, way: &Way, admission: &Arc<Admission>, random: &mut Random) {
        let (fault, caller) = (Fault::drawn(random.next()), Caller::drawn(random.next()));
        let events = 10 + random.next() % 100;
        let base = format!("http://{}/{}/{events}", way.address, fault.name());
        let limits = GenerationLimits::default()
            .with_first_token(Duration::from_secs(2))
            .with_idle(Duration::from_secs(1))
            .with_total(Duration::from_secs(12));
        let model = HttpModel::new(way.transport.clone(), &OPENAI_CHAT, Endpoint::new("soak", base, "m"));
        let model = Admitted::new(model.expect("a model").with_limits(limits), Arc::clone(admission));
        let token = CancellationToken::new();
        let mut context = Context::new().with_cancellation(token.clone());
        if caller == Caller::Hurries {
            context = context.with_timeout(Duration::from_millis(random.next() % 1500));
        }
        let began = Instant::now();
        let request = Arc::new(ChatRequest::new("m").with_user("hello"));
        let ending = match model.infer(&context, request).await {
            Ok(answer) => self.read(answer, caller, events / 3, &token).await,
            Err(error) => format!("refused: {:?}", error.kind()),
        };
        if began.elapsed() > LONGEST {
            self.fail(format!("{fault:?} {caller:?} on {}: took {:?}", name(way), began.elapsed()));
        }
        if ending == "finished" && !fault.may_finish(way.http2) {
            self.fail(format!("{fault:?} {caller:?} on {}: passed for whole", name(way)));
        }
        self.answers.set(self.answers.get() + 1);
        let what = format!("{} {:<10} {caller:?}: {ending}", name(way), fault.name());
        *self.endings.borrow_mut().entry(what).or_default() += 1;
        if ending.starts_with("refused") {
            // As a caller would, who does not ask a dead server again at once.
            sleep(Duration::from_millis(20 + random.next() % 200)).await;
        }
    }

    async fn read(
        &self,
        mut answer: Answer,
        caller: Caller,
        until: u64,
        token: &CancellationToken,
    ) -> String {
        let mut read = 0;
        loop {
            match answer.next().await {
                Some(Delta::End(Ending::Finished { .. })) => return "finished".into(),
                Some(Delta::End(Ending::Truncated { .. })) => return "truncated".into(),
                Some(Delta::End(Ending::Failed(error))) => return format!("failed: {:?}", error.kind()),
                None => return "no ending".into(),
                Some(_) => {}
            }
            read += 1;
            self.chunks.set(self.chunks.get() + 1);
            match caller {
                Caller::Drops if read == until => return "dropped".into(),
                Caller::Cancels if read == until => token.cancel(),
                Caller::Dawdles if read % 4 == 0 => sleep(Duration::from_millis(200)).await,
                _ => {}
            }
        }
    }

    fn report(&self, ways: &[Rc<Way>; 2], admission: &Admission) {
        let (files, sockets) = gauge::files();
        let stats = ways.each_ref().map(|way| way.transport.stats());
        println!(
            "{:>5} s  memory {:>6} KiB  files {files:>4}  sockets {sockets:>4}  tasks {:>4}  h1 open {:>3} opened {:>6} \
             reused {:.0} %  h2 open {:>2} opened {:>4} reused {:.1} %  permits {:>3}  queue {:>2}  answers {:>7}  chunks {}",
            self.began.elapsed().as_secs(),
            gauge::resident_kib(),
            alive(),
            stats[0].http1_open,
            stats[0].http1_opened,
            stats[0].reuse_ratio() * 100.0,
            stats[1].http2_open,
            stats[1].http2_opened,
            stats[1].reuse_ratio() * 100.0,
            admission.in_flight(),
            admission.waiting(),
            self.answers.get(),
            self.chunks.get(),
        );
    }

    /// The last fifth of the run against the second: the first fills what is kept.
    fn check_memory(&self, memory: &[f64]) {
        let fifth = memory.len() / 5;
        if fifth < 3 {
            println!("too short to say whether memory grew");
            return;
        }
        let most = |part: &[f64]| part.iter().copied().fold(0.0, f64::max);
        let (early, late) = (most(&memory[fifth..2 * fifth]), most(&memory[memory.len() - fifth..]));
        println!("memory: {early:.0} KiB in the second fifth, {late:.0} KiB in the last");
        if late > early * GROWTH_FACTOR + GROWTH_KIB {
            self.fail(format!("memory grew from {early:.0} to {late:.0} KiB"));
        }
    }

    /// What is left when nobody asks any more, and when the transports are gone.
    async fn check_rest(
        &self,
        ways: [Rc<Way>; 2],
        admission: &Admission,
        files: (usize, usize),
        tasks: usize,
    ) {
        // Bodies that were dropped late are drained, connections say goodbye.
        sleep(Duration::from_secs(3)).await;
        self.report(&ways, admission);
        if admission.in_flight() != 0 || admission.waiting() != 0 {
            self.fail(format!(
                "{} permits and {} waiting are left",
                admission.in_flight(),
                admission.waiting()
            ));
        }
        let open: usize =
            ways.iter().map(|way| way.transport.stats()).map(|s| s.http1_open + s.http2_open).sum();
        let sockets = gauge::files().1 - files.1;
        if open != sockets {
            self.fail(format!("{sockets} sockets are open, the pools know of {open}"));
        }
        drop(ways);
        sleep(Duration::from_secs(2)).await;
        println!(
            "at the end: files {:?} (before {files:?}), tasks {} (before {tasks})",
            gauge::files(),
            alive()
        );
        if gauge::files() != files {
            self.fail(format!("files and sockets {:?} are open, {files:?} were before", gauge::files()));
        }
        if alive() != tasks {
            self.fail(format!("{} tasks are left", alive()));
        }
    }
}

fn name(way: &Way) -> &'static str {
    if way.http2 { "h2" } else { "h1" }
}

/// Tasks of the runtime; those of the local set are the callers and not among them.
fn alive() -> usize {
    Handle::current().metrics().num_alive_tasks()
}

/// xorshift64*
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.max(1);
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16
    }
}
