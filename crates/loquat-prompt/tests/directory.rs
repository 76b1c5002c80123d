//! A folder of templates that changes under a running program.
#![cfg(feature = "template")]

use std::{
    fs,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use loquat_prompt::template::{TemplateDirectory, TemplateErrorKind as Kind, Templates};
use serde_json::json;

#[test]
fn a_change_is_seen_and_a_mistake_keeps_the_old_set() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
    fs::create_dir(folder.path().join("mail")).unwrap();
    write("greet.hbs", "Hello {{> mail/name}}!");
    write("mail/name.hbs", "{{name}}");
    write(".hidden.hbs", "{{");
    write("readme.txt", "{{");
    let directory = TemplateDirectory::open(folder.path(), Templates::builder()).unwrap();
    let greet = || directory.current().render("greet", &json!({"name": "Ann"}));
    assert_eq!(greet().unwrap(), "Hello Ann!");
    assert_eq!(directory.current().names().collect::<Vec<_>>(), ["greet", "mail/name"]);
    assert!(!directory.refresh().unwrap(), "nothing has changed");

    write("greet.hbs", "Good evening {{> mail/name}}");
    assert!(directory.refresh().unwrap());
    assert_eq!(greet().unwrap(), "Good evening Ann");

    write("mail/name.hbs", "line\n{{#if name}}");
    let error = directory.refresh().unwrap_err();
    assert_eq!(error.kind(), Kind::Syntax);
    // The file, as a person would open it.
    assert!(
        error.to_string().starts_with(&format!("{}:", folder.path().join("mail/name.hbs").display())),
        "{error}"
    );
    assert_eq!(greet().unwrap(), "Good evening Ann", "the old set");
    assert!(directory.refresh().is_err(), "still wrong");

    write("mail/name.hbs", "{{nam}}");
    assert!(directory.refresh().unwrap());
    assert!(directory.last_error().is_none());
    let error = greet().unwrap_err().to_string();
    assert!(error.ends_with("name.hbs:1:1: the data hold no `nam`"), "{error}");

    fs::remove_file(folder.path().join("greet.hbs")).unwrap();
    assert!(directory.refresh().unwrap());
    assert_eq!(greet().unwrap_err().kind(), Kind::UnknownTemplate);
}

/// Without a change in a file: who moves a folder away and back changes none.
#[test]
fn a_folder_that_comes_back_is_right_again() {
    let place = tempfile::tempdir().unwrap();
    let (folder, away) = (place.path().join("templates"), place.path().join("away"));
    for source in [None, Some("Hello")] {
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir(&folder).unwrap();
        if let Some(source) = source {
            fs::write(folder.join("a.hbs"), source).unwrap();
        }
        let directory = TemplateDirectory::open(&folder, Templates::builder()).unwrap();
        fs::rename(&folder, &away).unwrap();
        assert_eq!(directory.refresh().unwrap_err().kind(), Kind::File);
        assert_eq!(directory.current().names().count(), usize::from(source.is_some()), "the old set");
        fs::rename(&away, &folder).unwrap();
        assert!(!directory.refresh().unwrap(), "as it was");
        assert!(directory.last_error().is_none());
        assert!(!directory.refresh().unwrap());
    }
}

#[test]
fn a_watch_looks_by_itself_and_ends_with_its_guard() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("a.hbs");
    fs::write(&file, "1").unwrap();
    let directory = Arc::new(TemplateDirectory::open(folder.path(), Templates::builder()).unwrap());
    let watch = directory.watch(Duration::from_millis(10)).unwrap();
    fs::write(&file, "changed").unwrap();
    let until = Instant::now() + Duration::from_secs(20);
    while directory.current().render("a", &()).unwrap() != "changed" {
        assert!(Instant::now() < until, "the change is not seen");
        thread::sleep(Duration::from_millis(5));
    }
    drop(watch);
    assert_eq!(Arc::strong_count(&directory), 1, "the thread has ended");
}

#[cfg(unix)]
#[test]
fn a_link_out_of_the_folder_is_refused() {
    let (folder, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    fs::write(outside.path().join("secret.hbs"), "secret").unwrap();
    std::os::unix::fs::symlink(outside.path().join("secret.hbs"), folder.path().join("a.hbs")).unwrap();
    let error = TemplateDirectory::open(folder.path(), Templates::builder()).unwrap_err();
    assert_eq!(error.kind(), Kind::File);
    assert!(error.to_string().contains("leads out of the folder"), "{error}");
    assert_eq!(
        TemplateDirectory::open(folder.path().join("none"), Templates::builder()).unwrap_err().kind(),
        Kind::File
    );
}

/// Neither is waited for, nor gone through without end.
#[cfg(unix)]
#[test]
fn pipes_and_circles_are_refused() {
    let check = |folder: &tempfile::TempDir, kind, what: &str| {
        let (sender, receiver) = std::sync::mpsc::channel();
        let path = folder.path().to_owned();
        thread::spawn(move || sender.send(TemplateDirectory::open(path, Templates::builder()).map(drop)));
        let opened = receiver.recv_timeout(Duration::from_secs(60)).expect("it comes to an end");
        let error = opened.expect_err("it is refused");
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.to_string().contains(what), "{error}");
    };
    let pipe = tempfile::tempdir().unwrap();
    let made = std::process::Command::new("mkfifo").arg(pipe.path().join("a.hbs")).status().unwrap();
    assert!(made.success());
    check(&pipe, Kind::File, "a.hbs: is no file");
    let circle = tempfile::tempdir().unwrap();
    for name in ["a", "b", "c", "d", "e", "f", "g"] {
        std::os::unix::fs::symlink(circle.path(), circle.path().join(name)).unwrap();
    }
    check(&circle, Kind::TooLarge, "more than");
}
