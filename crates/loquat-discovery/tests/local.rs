//! Sources without a server: a file that is swapped while it is watched, names that resolve anew.

mod support;

use std::{
    fs,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use loquat_discovery::{Dns, Policy, Template, WatchedFile};
use loquat_transport::{Resolve, Resolving};
use support::{is_quiet, names, next, next_good, policy};

const TICK: Duration = Duration::from_millis(20);

fn entries(names: &[&str]) -> String {
    let one = |name: &&str| format!(r#"{{"name":"{name}","base_url":"http://127.0.0.1:9/v1","model":"m"}}"#);
    format!("[{}]", names.iter().map(one).collect::<Vec<_>>().join(","))
}

#[tokio::test]
async fn a_file_is_followed_through_swaps_and_half_writes() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("endpoints.json");
    let mut source = WatchedFile::new(&path, policy()).with_interval(TICK).follow();
    assert!(next(&mut source).await.is_err(), "there is none yet");
    fs::write(&path, entries(&["a"])).expect("written");
    assert_eq!(names(&next_good(&mut source).await), ["a"]);
    fs::write(&path, &entries(&["a", "b"])[..30]).expect("half written");
    assert!(next(&mut source).await.is_err());
    fs::write(&path, entries(&["a", "b"])).expect("written");
    assert_eq!(names(&next_good(&mut source).await), ["a", "b"]);
    // As configuration is swapped in containers: another file by the same name, of the same length and maybe age.
    let other = folder.path().join("new");
    fs::write(&other, entries(&["a", "c"])).expect("written");
    fs::rename(&other, &path).expect("swapped");
    assert_eq!(names(&next_good(&mut source).await), ["a", "c"]);
    fs::remove_file(&path).expect("removed");
    assert!(next(&mut source).await.is_err(), "gone is a failure, not an empty listing");
    fs::write(&path, entries(&["a", "c"])).expect("written");
    assert!(is_quiet(&mut source, TICK * 20).await, "the same as before: no news");
}

#[derive(Debug, Clone)]
struct Scripted(Arc<Mutex<Vec<&'static str>>>);

impl Resolve for Scripted {
    fn resolve<'a>(&'a self, _: &'a str, port: u16) -> Resolving<'a> {
        let ips = self.0.lock().expect("no panic").clone();
        let to = move |ip: &str| SocketAddr::new(ip.parse().expect("an address"), port);
        Box::pin(async move {
            match ips.is_empty() {
                true => Err(std::io::Error::other("NXDOMAIN")),
                false => Ok(ips.into_iter().map(to).collect()),
            }
        })
    }
}

#[tokio::test]
async fn each_address_of_a_name_is_an_endpoint() {
    let answer = Arc::new(Mutex::new(vec!["10.1.0.1", "fd00::1", "10.1.0.1"]));
    let policy = Policy::new()
        .with_networks(["10.1.0.0/16".parse().expect("a network"), "fd00::/8".parse().expect("a network")]);
    let dns =
        Dns::new("models.test", 8000, Template::new("m"), policy).with_resolver(Scripted(answer.clone()));
    let mut source = dns.with_interval(TICK).follow();
    let listing = next(&mut source).await.expect("good");
    let urls: Vec<_> = listing.endpoints.iter().map(|found| found.endpoint.base_url.as_str()).collect();
    assert_eq!(urls, ["http://10.1.0.1:8000/v1", "http://[fd00::1]:8000/v1"]);
    *answer.lock().expect("no panic") = vec!["10.1.0.2", "169.254.169.254"];
    let listing = next(&mut source).await.expect("good");
    assert_eq!(
        (names(&listing), listing.refused.len()),
        (vec!["m at 10.1.0.2:8000"], 1),
        "metadata is not listed"
    );
    answer.lock().expect("no panic").clear();
    assert!(next(&mut source).await.is_err(), "a name that is gone is a failure");
}

#[tokio::test]
async fn the_system_resolves_localhost() {
    let mut source = Dns::new("localhost", 8000, Template::new("m"), policy()).follow();
    let listing = next(&mut source).await.expect("every system knows it");
    assert!(
        listing.endpoints.iter().any(|found| found.endpoint.base_url.contains("127.0.0.1")
            || found.endpoint.base_url.contains("[::1]"))
    );
}
