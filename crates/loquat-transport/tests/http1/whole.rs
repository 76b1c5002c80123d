//! Whole answers, legal and not, in one piece, at every split in two, byte by byte, and cut off at every byte: ours says of them what
//! hyper's bare connection says, or one of the differences that `oracle.rs` lists with their reasons.

use std::collections::HashMap;

use bytes::Bytes;

use crate::{
    answer::{Asked, AskedMethod},
    oracle::{Case, DIFFERENCES, compare},
};

/// After the first line, which says 200, up to the empty line.
const FIELDS: &[&str] = &[
    "",
    "Content-Length: 5\r\n",
    "content-length:5\r\nA: b\r\n",
    "Content-Length: 0\r\n",
    "Content-Length: 5\r\nContent-Length: 5\r\n",
    "Content-Length: 5, 5\r\n",
    "Content-Length: 5\r\nContent-Length: 6\r\n",
    "Content-Length: 5, 6\r\n",
    "Content-Length: +5\r\n",
    "Content-Length: -5\r\n",
    "Content-Length: 5 5\r\n",
    "Content-Length: \r\n",
    "Content-Length: 5,\r\n",
    "Content-Length: 0x5\r\n",
    "Content-Length: 5\u{e9}\r\n",
    "Content-Length: 18446744073709551613\r\n",
    "Content-Length: 18446744073709551615\r\n",
    "Content-Length: 18446744073709551616\r\n",
    "Content-Length: 5\r\nConnection: close\r\n",
    "Content-Length: 5\r\nConnection: keep-alive, Close\r\n",
    "Content-Length: 5\r\nConnection: close\r\nConnection: keep-alive\r\n",
    "Content-Length: 5\r\nKeep-Alive: timeout=5\r\n",
    "Transfer-Encoding: chunked\r\n",
    "transfer-encoding: gzip, Chunked\r\n",
    "Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n",
    "Transfer-Encoding: chunked\r\nTransfer-Encoding: gzip\r\n",
    "Transfer-Encoding: chunked, gzip\r\n",
    "Transfer-Encoding: chunked, chunked\r\n",
    "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
    "Transfer-Encoding: chunked,\r\n",
    "Transfer-Encoding: xchunked\r\n",
    "Transfer-Encoding: chunkedx\r\n",
    "Transfer-Encoding: \"chunked\"\r\n",
    "Transfer-Encoding: chunked;a=b\r\n",
    "Transfer-Encoding:\tchunked\t\r\n",
    "Transfer-Encoding: identity\r\n",
    "Transfer-Encoding: \r\n",
    "Transfer-Encoding: chunked\u{e9}\r\n",
    "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
    "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
    "Content-Length: x\r\nTransfer-Encoding: chunked\r\n",
    "Content-Length: 5\r\nTransfer-Encoding: xchunked\r\n",
    // Fields themselves.
    "A : b\r\n",
    " A: b\r\n",
    "A\r\n",
    ": b\r\n",
    "A: b\r\n c\r\nContent-Length: 5\r\n",
    "A: b\r\n\tc\r\n",
    "A: \0\r\n",
    "A: b\x01\r\n",
    "A: b\x7f\r\n",
    "A: b\rc\r\n",
    "A\0: b\r\n",
    "A: b\nContent-Length: 5\n",
    "A: \u{e9}\u{20ac}\r\nContent-Length: 5\r\n",
    "A:\r\nA: \t \r\nA: c\r\nContent-Length: 5\r\n",
];

/// Whole heads.
const HEADS: &[&str] = &[
    "HTTP/1.1 200 OK\n\n",
    "HTTP/1.1 200 OK\r\n\n",
    "HTTP/1.1 200 OK\n\r\n",
    "HTTP/1.1 200 OK\r\r\n\r\n",
    "\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n",
    "\n\n\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n",
    "\rHTTP/1.1 200 OK\r\n\r\n",
    " HTTP/1.1 200 OK\r\n\r\n",
    "HTTP/1.1 200\r\nContent-Length: 5\r\n\r\n",
    "HTTP/1.1 200 \r\nContent-Length: 5\r\n\r\n",
    "HTTP/1.1  200 OK\r\n\r\n",
    "HTTP/1.1 200 \u{e9}\r\n\r\n",
    "HTTP/1.1 200 a\0b\r\n\r\n",
    "HTTP/1.1 20 OK\r\n\r\n",
    "HTTP/1.1 2000 OK\r\n\r\n",
    "HTTP/1.1 099 Low\r\n\r\n",
    "HTTP/1.1 999 High\r\nContent-Length: 5\r\n\r\n",
    "HTTP/1.1 +20 OK\r\n\r\n",
    "HTTP/1.1\r\n\r\n",
    "HTTP/1.1 204 No Content\r\n\r\n",
    "HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n",
    "HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n",
    "HTTP/1.1 304 Not Modified\r\nContent-Length: x\r\n\r\n",
    "HTTP/1.1 205 Reset\r\nContent-Length: 5\r\n\r\n",
    "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n",
    "HTTP/1.1 103 Hints\r\nA: b\r\n\r\nHTTP/1.1 103 Hints\r\n\r\nHTTP/1.1 204 None\r\n\r\n",
    "HTTP/1.1 100 Continue\r\nContent-Length: 5\r\nConnection: close\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n",
    "HTTP/1.1 100 Continue\r\n\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n",
    "HTTP/1.1 100 Continue\r\n\r\nnonsense\r\n\r\n",
    "HTTP/1.1 199 Odd\r\n\r\n",
    "HTTP/1.1 101 Switching\r\nUpgrade: other\r\n\r\n",
    "HTTP/1.0 200 OK\r\n\r\n",
    "HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\n",
    "HTTP/1.0 200 OK\r\nContent-Length: 5\r\nConnection: keep-alive\r\n\r\n",
    "HTTP/1.0 200 OK\r\nContent-Length: 5\r\nConnection: keep-alive\r\nConnection: close\r\n\r\n",
    "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
    "HTTP/1.2 200 OK\r\n\r\n",
    "HTTP/2 200 OK\r\n\r\n",
    "HTTP/0.9 200 OK\r\n\r\n",
    "http/1.1 200 OK\r\n\r\n",
    "ICY 200 OK\r\n\r\n",
    "SSH-2.0-OpenSSH_9\r\n\r\n",
    "<html>\r\n\r\n",
];

const CHUNKED: &str = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";

/// After a head that says `chunked`, or says something else.
pub(crate) const BODIES: &[&str] = &[
    "",
    "hello",
    "hello, and more",
    "5\r\nhello\r\n0\r\n\r\n",
    "05\r\nhello\r\n000\r\n\r\n",
    "b\r\nhello, worl\r\nA\r\nd. Goodbye\r\n2\r\n!\n\r\n0\r\n\r\n",
    "2\r\n\r\n\r\n2\r\n0\r\r\n0\r\n\r\n",
    "5;a=b\r\nhello\r\n3\r\nabc\r\n0\r\n\r\n",
    "3\r\nabc\r\n5 \t;a\r\nhello\r\n1\r\nd\r\n0\r\n\r\n",
    "3;\r\nabc\r\n0;last=\"\x01\"\r\n\r\n",
    "3;a\nb\r\nabc\r\n0\r\n\r\n",
    "3;a\rb\r\nabc\r\n0\r\n\r\n",
    "3 4\r\nabc\r\n0\r\n\r\n",
    "0\r\n\r\n",
    "0\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
    "3\r\nabc\r\n0\r\n\r\n and more",
    // The fields after it.
    "3\r\nabc\r\n0;last\r\nT: v\r\nU: w\r\n\r\n",
    "0\r\nT: v\r\nT: w\r\nt:\r\n\r\n and more",
    "0\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
    "3\r\nabc\r\n0\r\nno field\r\n\r\n",
    "0\r\nT : v\r\n\r\n",
    "0\r\nT: v\r\n w\r\n\r\n",
    "0\r\n T: v\r\n\r\n",
    "0\r\nT: \0\r\n\r\n",
    "0\r\nT: v\nU: w\r\n\r\n",
    "0\r\nT: v\n\nU: w\r\n\r\n",
    "0\r\n\nT: v\r\n\r\n",
    "0\r\nT: v\r\n\n",
    "0\r\nT: v\rw\r\n\r\n",
    "0\r\n\rT: v\r\n\r\n",
    // What is wrong with these is where a line ends.
    "3\nabc\r\n0\r\n\r\n",
    "3\r\rabc\r\n0\r\n\r\n",
    "3\r\nabc\n0\r\n\r\n",
    "3\r\nabc\r0\r\n\r\n",
    "3\r\nabc\r\n\r\n0\r\n\r\n",
    "\r\n3\r\nabc\r\n0\r\n\r\n",
    "3\r\nabc\r\n0\n\n",
    "3\r\nabc\r\n0\r\n\n",
    // And with these the size.
    "3\r\nabcdef\r\n0\r\n\r\n",
    "4\r\nabc\r\n0\r\n\r\n",
    "3\r\nabc\r\n-3\r\nabc\r\n0\r\n\r\n",
    "+3\r\nabc\r\n0\r\n\r\n",
    "0x3\r\nabc\r\n0\r\n\r\n",
    "3_0\r\nabc\r\n0\r\n\r\n",
    " 3\r\nabc\r\n0\r\n\r\n",
    ";a\r\nabc\r\n0\r\n\r\n",
    "g\r\nabc\r\n0\r\n\r\n",
    "3\r\nabc\r\n\r\n",
    "3\r\nabc\r\nfffffffffffffffff\r\nabc\r\n0\r\n\r\n",
    "ffffffffffffffff\r\nabc",
    "10000000000000000\r\nabc",
    "00000000000000000003\r\nabc\r\n0\r\n\r\n",
    // What follows never comes.
    "3\r\nabc\r\n10000000\r\nabc",
    "3\r\nabc\r\n3",
    "3\r\nabc\r",
];

const ASKED: [Asked; 5] = [
    Asked { method: AskedMethod::Other, upgrades: false, keeps: true },
    Asked { method: AskedMethod::Other, upgrades: true, keeps: true },
    Asked { method: AskedMethod::Other, upgrades: false, keeps: false },
    Asked { method: AskedMethod::Head, upgrades: false, keeps: true },
    Asked { method: AskedMethod::Connect, upgrades: false, keeps: true },
];

/// How often each difference was met, by its reason.
#[derive(Default)]
struct Met(HashMap<&'static str, usize>);

impl Met {
    fn compare(&mut self, asked: Asked, pieces: &[&[u8]], closes: bool) {
        let pieces =
            pieces.iter().filter(|piece| !piece.is_empty()).map(|piece| Bytes::copy_from_slice(piece));
        if let Some(difference) = compare(&Case { asked, pieces: pieces.collect(), closes }) {
            *self.0.entry(difference.reason).or_default() += 1;
        }
    }

    /// In one piece, in every two, and byte by byte; cut off at every byte.
    fn every_way(&mut self, asked: Asked, text: &str) {
        let bytes = text.as_bytes();
        for at in 0..=bytes.len() {
            self.compare(asked, &[&bytes[..at], &bytes[at..]], false);
            self.compare(asked, &[&bytes[..at]], true);
        }
        let single: Vec<_> = bytes.chunks(1).collect();
        self.compare(asked, &single, false);
        self.compare(asked, &single, true);
    }
}

#[test]
fn an_answer_is_what_hyper_says_it_is_in_any_pieces() {
    let mut met = Met::default();
    for body in BODIES {
        met.every_way(ASKED[0], &[CHUNKED, body].concat());
    }
    for fields in FIELDS {
        for body in ["hello", BODIES[5]] {
            met.every_way(ASKED[0], &["HTTP/1.1 200 OK\r\n", fields, "\r\n", body].concat());
        }
    }
    for head in HEADS {
        met.every_way(ASKED[0], &[head, "hello"].concat());
    }
    for asked in &ASKED[1..] {
        for head in HEADS {
            met.every_way(*asked, head);
        }
        for fields in FIELDS {
            let text = ["HTTP/1.1 200 OK\r\n", fields, "\r\nhello"].concat();
            met.compare(*asked, &[text.as_bytes()], false);
        }
    }
    // Many fields, in the head and after the body; a size that is filled up.
    for many in [99, 100, 101] {
        let fields = "A: b\r\n".repeat(many);
        met.compare(ASKED[0], &[format!("HTTP/1.1 200 OK\r\n{fields}\r\n").as_bytes()], true);
        met.compare(ASKED[0], &[format!("{CHUNKED}0\r\n{fields}\r\n").as_bytes()], true);
    }
    for bytes in [16_370, 16_375, 16_376, 16_377, 16_378, 16_379, 16_380, 16_381, 16_382, 16_383, 16_384] {
        let long = "x".repeat(bytes);
        met.compare(ASKED[0], &[format!("{CHUNKED}0\r\nA: {long}\r\n\r\n").as_bytes()], true);
        met.compare(ASKED[0], &[format!("{CHUNKED}1;{long}\r\na\r\n0\r\n\r\n").as_bytes()], true);
    }
    for lines in [31, 33] {
        met.compare(ASKED[0], &[("\r\n".repeat(lines) + "HTTP/1.1 204 None\r\n\r\n").as_bytes()], false);
    }
    for padded in [1000, 2000] {
        for text in ["0".repeat(padded) + "1", "1".to_owned() + &" ".repeat(padded)] {
            met.compare(ASKED[0], &[format!("{CHUNKED}{text}\r\na\r\n0\r\n\r\n").as_bytes()], true);
        }
    }
    // A difference that nothing shows is none.
    for difference in DIFFERENCES {
        assert!(met.0.contains_key(difference.reason), "{}", difference.reason);
    }
}
