//! Two tenants of one Redis.

use std::sync::{Arc, Mutex};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

use super::{Node, bytes, standalone, support::redis_server::RedisServer, texts};

/// What went over a connection, there and back.
#[derive(Default)]
struct Overheard {
    there: Mutex<Vec<u8>>,
    back: Mutex<Vec<u8>>,
}

impl Overheard {
    /// Each command since the last look as its words, keys without their digests and values as nothing; and what Redis said to them.
    fn shapes(&self) -> (Vec<Vec<String>>, Vec<u8>) {
        let there = std::mem::take(&mut *self.there.lock().unwrap());
        let mut rest = there.as_slice();
        let mut commands = Vec::new();
        while !rest.is_empty() {
            let words = number(&mut rest, b'*');
            let words = (0..words).map(|_| {
                let length = number(&mut rest, b'$');
                let (word, more) = rest.split_at(length);
                rest = &more[2..];
                match std::str::from_utf8(word) {
                    Ok(key) if key.starts_with("loquat:") => format!("loquat:… of {}", key.len()),
                    Ok(millis) if millis.parse::<u64>().is_ok() => "millis".to_owned(),
                    _ if word.first() == Some(&b'L') => "value".to_owned(),
                    word => word.unwrap().to_owned(),
                }
            });
            commands.push(words.collect());
        }
        (commands, std::mem::take(&mut *self.back.lock().unwrap()))
    }
}

fn number(bytes: &mut &[u8], mark: u8) -> usize {
    assert_eq!(bytes.first(), Some(&mark));
    let end = bytes.iter().position(|byte| *byte == b'\r').unwrap();
    let number = std::str::from_utf8(&bytes[1..end]).unwrap().parse().unwrap();
    *bytes = &bytes[end + 2..];
    number
}

async fn overhearing(to: u16, overheard: Arc<Overheard>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        let (mut client, _) = listener.accept().await.unwrap();
        let mut server = TcpStream::connect(("127.0.0.1", to)).await.unwrap();
        let (mut asked, mut answered) = (vec![0; 16 << 10], vec![0; 16 << 10]);
        loop {
            // It is heard before it is handed on: who sees its effect finds it written down.
            tokio::select! {
                read = client.read(&mut asked) => {
                    let Ok(read @ 1..) = read else { break };
                    overheard.there.lock().unwrap().extend(&asked[..read]);
                    server.write_all(&asked[..read]).await.unwrap();
                }
                read = server.read(&mut answered) => {
                    let Ok(read @ 1..) = read else { break };
                    overheard.back.lock().unwrap().extend(&answered[..read]);
                    client.write_all(&answered[..read]).await.unwrap();
                }
            }
        }
    });
    port
}

/// What a tenant can time is what Redis is asked and what it answers: both are the same whether another has the texts or nobody has.
#[tokio::test]
async fn what_another_tenant_has_changes_nothing_that_could_be_timed() {
    let server = RedisServer::start(&[]);
    let overheard = Arc::new(Overheard::default());
    let port = overhearing(server.port, Arc::clone(&overheard)).await;
    let mut config = standalone(format!("redis://127.0.0.1:{port}"));
    config.near_values = 0;
    let victim = Node::new(config, "victim").await;
    let known = texts(0, 40);
    victim.check(&known).await;
    victim.written(40).await;
    let mut written = 40;
    // Of the same lengths, and nobody's.
    let unknown: Vec<String> = known.iter().map(|text| text.replace("message", "massage")).collect();
    // One alone is asked for in another way than many.
    for range in [0..1, 1..2, 2..40] {
        let mut seen = Vec::new();
        for texts in [&known[range.clone()], &unknown[range.clone()]] {
            // On the same connection, with the same counters, and all else as it was.
            let curious = Node::of(victim.remote.clone(), "curious");
            overheard.shapes();
            let before = curious.remote.stats();
            assert_eq!(curious.check(texts).await, bytes(texts), "nothing of it is there for this tenant");
            written += texts.len() as u64;
            curious.written(written).await;
            let after = curious.remote.stats();
            let counted = [
                after.asked - before.asked,
                after.hits - before.hits,
                after.hit_bytes - before.hit_bytes,
                after.misses - before.misses,
                after.disbelieved - before.disbelieved,
                after.failures - before.failures,
                after.refused - before.refused,
                after.unwritten - before.unwritten,
            ];
            seen.push((overheard.shapes(), counted));
        }
        let ((commands, answers), _) = &seen[0];
        assert_eq!(commands.len(), 1 + range.len(), "a question and what was written: {commands:?}");
        assert!(!answers.is_empty());
        assert_eq!(seen[0], seen[1]);
    }
    // The owner does find them: the look itself sees a difference where there is one.
    overheard.shapes();
    assert_eq!(Node::of(victim.remote.clone(), "victim").check(&known).await, 0);
    assert_eq!(overheard.shapes().0.len(), 1);
}
