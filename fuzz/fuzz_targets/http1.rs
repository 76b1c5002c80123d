//! Answers of HTTP/1.1 against hyper's bare connection, in any pieces, cut off anywhere: status, fields, body, trailers, error or not,
//! and whether the connection may be used again.
#![no_main]

#[path = "../../crates/loquat-transport/src/http1/answer/mod.rs"]
#[allow(dead_code, reason = "the connection uses more of it than this")]
mod answer;
#[path = "../../crates/loquat-transport/tests/http1/oracle.rs"]
mod oracle;

use answer::{Asked, AskedMethod};
use bytes::Bytes;

// The first byte says what was asked and how it ends, the next two how long the first piece and the others are: 0 for all that is left.
libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let [how, first, others, bytes @ ..] = input else { return };
    let method = match how & 3 {
        0 => AskedMethod::Head,
        1 => AskedMethod::Connect,
        _ => AskedMethod::Other,
    };
    let asked = Asked { method, upgrades: how & 4 != 0, keeps: how & 8 == 0 };
    let mut left = Bytes::copy_from_slice(bytes);
    let mut pieces = Vec::new();
    while !left.is_empty() {
        let size = usize::from(if pieces.is_empty() { *first } else { *others });
        pieces.push(if size == 0 { left.split_off(0) } else { left.split_to(size.min(left.len())) });
    }
    oracle::compare(&oracle::Case { asked, pieces, closes: how & 16 != 0 });
});
