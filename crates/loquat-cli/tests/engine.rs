//! The embedded engine's side of the program, as far as it needs no model: what `pull` does with what a server sends.
//! The engine's own tests run the model.
#![cfg(feature = "engine")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::io::Write as _;

use support::{Program, Server, response};

#[test]
fn what_is_no_model_is_not_kept() {
    let server = Server::start(|request, stream| {
        let answer = match request.path() {
            "/junk.gguf" => response("200 OK", "etag: \"1\"\r\n", &"junk".repeat(1000)),
            "/cut.gguf" => {
                response("200 OK", "etag: \"1\"\r\n", "GGUF").replace("length: 4", "length: 4000000")
            }
            _ => response("404 Not Found", "", ""),
        };
        drop(stream.write_all(answer.as_bytes()));
    });
    let pull = |path: &str| Program::new(["pull".to_owned(), format!("{}{path}", server.origin())]);

    let cache = tempfile::tempdir().unwrap();
    let program = pull("/junk.gguf").variable("LOQUAT_CACHE", cache.path().to_str().unwrap());
    program.run().check(1, "", &["pulling http://127.0.0.1", "0.0 MB", "error: ", "GGUF"]);
    let models = cache.path().join("models");
    assert_eq!(
        std::fs::read_dir(models)
            .unwrap()
            .filter(|f| f.as_ref().unwrap().path().ends_with("junk.gguf"))
            .count(),
        0
    );

    pull("/cut.gguf").run().check(5, "", &["stopped after 4 of 4000000 bytes", "run it again"]);
    pull("/none.gguf").run().check(4, "", &["none.gguf", "404"]);
    pull("/model.bin").run().check(2, "", &["model.gguf"]);
    Program::new(["pull", "nonsense"]).run().check(2, "", &["nonsense", "smollm2"]);
    Program::new(["pull", "http://192.0.2.1/m.gguf"]).run().check(2, "", &["plain HTTP"]);
}

#[test]
fn the_engine_says_what_it_lacks() {
    let program = Program::new(["chat", "-m", "engine:nothing", "hi"]);
    program.run().check(3, "", &["nothing", "loquat pull"]);
    // With nobody to fetch it, the default model is not there.
    let ran = Program::new(["chat", "hi"]).variable("PATH", "/nonexistent").run();
    ran.check(1, "", &["pip", "uv"]);
    let ran = Program::new(["models", "engine"]).run();
    ran.check(0, "engine  not pulled yet: the first use does, or `loquat pull`\n", &[]);
    Program::new(["chat", "-m", "/nonexistent/m.gguf", "hi"]).run().check(3, "", &["/nonexistent/m.gguf"]);
}
