//! The pages about the program itself, asked over the listener, of a real runtime and of real threads.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    sync::{Arc, atomic::AtomicBool, atomic::Ordering::Relaxed},
    thread,
    time::{Duration, Instant},
};

use loquat_observe::{
    Observer, RuntimeState, TextFormat, WorkerState,
    serve::{Server, ServerConfig},
};

fn get(address: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(address).expect("connects");
    write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").expect("writes");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("text");
    answer.split_once("\r\n\r\n").expect("a head").1.to_owned()
}

/// The lines below the first, by their columns.
fn rows(page: &str) -> Vec<Vec<&str>> {
    page.lines().skip(1).map(|line| line.split('\t').collect()).collect()
}

fn serving(observer: &Observer) -> (Server, SocketAddr) {
    let server = Server::bind(observer, ([127, 0, 0, 1], 0).into(), ServerConfig::default().with_debug());
    let server = server.expect("listens");
    let address = server.address().expect("an address");
    (server, address)
}

fn number(cell: &str) -> f64 {
    cell.parse().expect("a number")
}

#[test]
fn the_page_of_tasks_suspects_the_one_that_was_forgotten() {
    use std::task::{Context, Poll, Waker};

    let clock = Arc::new(loquat_core::test_util::ManualClock::new());
    let observer = Observer::builder().clock(clock.clone()).build();
    let (_server, address) = serving(&observer);
    let mut cx = Context::from_waker(Waker::noop());
    let never = || std::future::poll_fn(|_| Poll::Pending::<()>);
    let mut tasks = ["forgotten", "busy"].map(|name| Box::pin(observer.tasks().watch(name, never())));
    tasks.iter_mut().for_each(|task| assert!(task.as_mut().poll(&mut cx).is_pending()));
    clock.advance(Duration::from_secs(301));
    assert!(tasks[1].as_mut().poll(&mut cx).is_pending());
    let page = get(address, "/debug/tasks");
    let states: Vec<(&str, &str)> = rows(&page).iter().map(|row| (row[4], row[3])).collect();
    assert_eq!(states, [("forgotten", "leak?"), ("busy", "waiting")], "{page}");
    assert!(rows(&page).iter().all(|row| row[5].contains("diagnostics.rs:")), "{page}");
}

/// A worker counts its busy time when it parks; so the one here works and parks all the time, while the other has nothing to do.
#[test]
fn a_busy_worker_is_told_from_an_idle_one() {
    let runtime = |name| {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        builder.worker_threads(1).thread_name(name).enable_time().build().expect("a runtime")
    };
    let observer = Observer::new();
    let (busy, idle) = (runtime("busy"), runtime("idle"));
    for (name, runtime) in [("busy", &busy), ("idle", &idle)] {
        let metrics = runtime.handle().metrics();
        observer.watch_runtime(name, move || {
            let worker = |index| {
                WorkerState::new(metrics.worker_total_busy_duration(index), metrics.worker_park_count(index))
            };
            RuntimeState::new((0..metrics.num_workers()).map(worker))
                .with_tasks(metrics.num_alive_tasks())
                .with_queue(metrics.global_queue_depth())
        });
    }
    let forgotten = idle.spawn(std::future::pending::<()>());
    let at_work = busy.spawn(async {
        loop {
            let until = Instant::now() + Duration::from_millis(9);
            while Instant::now() < until {
                std::hint::spin_loop();
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    });
    let (_server, address) = serving(&observer);
    // Other programs may have the processor for the time of a look; the tenth of ten shares it with nobody.
    let (mut page, mut part) = (String::new(), 0.0);
    for _ in 0..10 {
        page = get(address, "/debug/runtime");
        part = number(rows(&page)[0][2]);
        if part > 30.0 {
            break;
        }
    }
    let rows = rows(&page);
    assert_eq!((rows.len(), rows[0][0], rows[1][0]), (2, "busy", "idle"), "{page}");
    assert!(part > 30.0 && part <= 100.0 && number(rows[0][3]) > 1.0, "{page}");
    assert!(number(rows[1][2]) < 10.0, "{page}");
    assert_eq!((rows[1][6], rows[1][7]), ("1", "0"), "one task, none in the queue: {page}");

    let metrics = observer.metrics(TextFormat::Prometheus);
    for line in ["loquat_runtime_workers{runtime=\"busy\"} 1", "loquat_runtime_tasks{runtime=\"idle\"} 1"] {
        assert!(metrics.lines().any(|shown| shown == line), "no {line} in\n{metrics}");
    }
    at_work.abort();
    forgotten.abort();
}

#[test]
fn a_contended_lock_is_named_and_a_quiet_one_is_not() {
    let observer = Observer::new();
    let quiet = observer.locks().lock("quiet\tone", 0_u64);
    let hot = Arc::new(observer.locks().lock("hot", 0_u64));
    *quiet.lock() += 1;
    let over = Arc::new(AtomicBool::new(false));
    let threads: Vec<_> = (0..3)
        .map(|_| {
            let (hot, over) = (hot.clone(), over.clone());
            thread::spawn(move || {
                while !over.load(Relaxed) {
                    let mut guard = hot.lock();
                    *guard += 1;
                    thread::sleep(Duration::from_millis(3));
                }
            })
        })
        .collect();
    let (_server, address) = serving(&observer);
    let due = Instant::now() + Duration::from_secs(30);
    let page = loop {
        let page = get(address, "/debug/contention");
        // How many waits there are is the system's to say: a thread that gives a lock back often gets it again before those
        // that it has woken. That two of three stand there is not.
        if number(rows(&page)[0][4]) >= 1.0 && number(rows(&page)[0][6]) > 50.0 || Instant::now() > due {
            break page;
        }
        thread::sleep(Duration::from_millis(10));
    };
    over.store(true, Relaxed);
    threads.into_iter().for_each(|thread| thread.join().expect("no panic"));
    let rows = rows(&page);
    let (hot, quiet) = (&rows[0], &rows[1]);
    assert_eq!((hot[8], hot[7]), ("hot", "contended"), "{page}");
    assert!(number(hot[3]) >= 1.0 && number(hot[4]) >= 1.0 && number(hot[6]) > 50.0, "{page}");
    assert_eq!((quiet[8], quiet[7], quiet[0], quiet[1]), ("quiet one", "ok", "1", "0"), "{page}");
}

/// Eight clients that read a little now and then must not keep Prometheus out for hours.
#[test]
fn a_response_that_is_read_too_slowly_is_given_up() {
    let observer = Observer::new();
    let long = "x".repeat(1 << 20);
    for number in 0..24 {
        let labels = [("number", &*number.to_string()), ("text", &*long)];
        observer.gauge(("test.large", "", "long labels"), &labels, || 1.0);
    }
    let mut config = ServerConfig::default();
    (config.max_connections, config.request_timeout) = (1, Duration::from_secs(1));
    let server = Server::bind(&observer, ([127, 0, 0, 1], 0).into(), config).expect("listens");
    let address = server.address().expect("an address");
    let ask = || {
        let mut stream = TcpStream::connect(address).expect("connects");
        stream.set_read_timeout(Some(Duration::from_secs(20))).expect("set");
        write!(stream, "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").and_then(|()| {
            let mut answer = String::new();
            stream.read_to_string(&mut answer).map(|_| !answer.is_empty())
        })
    };
    let mut slow = TcpStream::connect(address).expect("connects");
    write!(slow, "GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n").expect("writes");
    let mut piece = vec![0; 256 << 10];
    let (began, mut read) = (Instant::now(), 0);
    while !ask().unwrap_or(false) {
        // Some bytes in every second, so that no single write ever waits for as long.
        read += slow.read(&mut piece).unwrap_or(0);
        assert!(read < 8 << 20, "it may take all it likes, {:?} long", began.elapsed());
        assert!(began.elapsed() < Duration::from_secs(60), "nobody else is let in");
        thread::sleep(Duration::from_millis(200));
    }
}
