//! Just enough of HTTP/1.1 (RFC 9112) to be a peer in a test: one request after the other, bodies with a length, replies in
//! chunks. Bounded all the same: a test that goes wrong must end.

use std::io;

use bytes::Bytes;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::{Fault, Reply};

/// Longest head of a request, in bytes.
const MAX_HEAD_BYTES: usize = 64 * 1024;
/// Longest body of a request, in bytes: room for pictures.
const MAX_BODY_BYTES: usize = 64 * 1024 * 1024;

/// A request as it came.
pub(crate) struct Received {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

/// The next request of a connection, `None` when the peer has closed it.
pub(crate) async fn receive(socket: &mut TcpStream, kept: &mut Vec<u8>) -> io::Result<Option<Received>> {
    let invalid = |why: &str| io::Error::new(io::ErrorKind::InvalidData, why.to_owned());
    let head_end = loop {
        if let Some(end) = kept.windows(4).position(|window| window == b"\r\n\r\n") {
            break end;
        }
        if kept.len() > MAX_HEAD_BYTES {
            return Err(invalid("the request's head is too long"));
        }
        if socket.read_buf(kept).await? == 0 {
            return Ok(None);
        }
    };
    let head = String::from_utf8_lossy(&kept[..head_end]).into_owned();
    let mut lines = head.split("\r\n");
    let mut words = lines.next().unwrap_or_default().split(' ');
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let headers: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    let named = |name: &str| headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str());
    if named("transfer-encoding").is_some() {
        return Err(invalid("this server reads bodies with a length only"));
    }
    let length = named("content-length").map_or(Ok(0), str::parse::<usize>);
    let length = length.ok().filter(|length| *length <= MAX_BODY_BYTES);
    let length = length.ok_or_else(|| invalid("the request's body is too long"))?;
    let start = head_end + 4;
    while kept.len() < start + length {
        if socket.read_buf(kept).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    let body = kept[start..start + length].to_vec();
    kept.drain(..start + length);
    Ok(Some(Received { method: method.to_owned(), path: path.to_owned(), headers, body }))
}

/// Sends a reply. Whether the connection is good for another.
pub(crate) async fn send(socket: &mut TcpStream, reply: &Reply) -> io::Result<bool> {
    if reply.faults.iter().any(|fault| matches!(fault, Fault::NoReply)) {
        return Ok(false);
    }
    let mut stream = Chunked::start(socket, reply.status, &reply.headers).await?;
    let mut faults: Vec<&Fault> = reply.faults.iter().collect();
    faults.sort_by_key(|fault| place(fault));
    let mut faults = faults.into_iter().peekable();
    let mut sent = 0;
    for piece in &reply.pieces {
        let mut piece = piece.clone();
        while let Some(fault) = faults.next_if(|fault| place(fault) <= sent + piece.len()) {
            let before = piece.split_to(place(fault) - sent);
            sent += before.len();
            stream.piece(before).await?;
            if let Some(is_good) = stream.fail(fault).await? {
                return Ok(is_good);
            }
        }
        sent += piece.len();
        stream.piece(piece).await?;
    }
    // What is placed beyond the end comes at the end.
    for fault in faults {
        if let Some(is_good) = stream.fail(fault).await? {
            return Ok(is_good);
        }
    }
    stream.finish().await?;
    Ok(true)
}

fn place(fault: &Fault) -> usize {
    match fault {
        Fault::Cut { after }
        | Fault::End { after }
        | Fault::Stall { after, .. }
        | Fault::Insert { after, .. } => *after,
        Fault::NoReply => 0,
    }
}

/// A body being sent in chunks (RFC 9112 §7.1), each piece at once.
pub(crate) struct Chunked<'a>(&'a mut TcpStream);

impl<'a> Chunked<'a> {
    pub(crate) async fn start(
        socket: &'a mut TcpStream,
        status: u16,
        headers: &[(String, String)],
    ) -> io::Result<Self> {
        socket.set_nodelay(true)?;
        let mut head = format!("HTTP/1.1 {status} Scripted\r\ntransfer-encoding: chunked\r\n");
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        socket.write_all((head + "\r\n").as_bytes()).await?;
        Ok(Self(socket))
    }

    pub(crate) async fn piece(&mut self, piece: Bytes) -> io::Result<()> {
        if piece.is_empty() {
            return Ok(());
        }
        let mut chunk = format!("{:x}\r\n", piece.len()).into_bytes();
        chunk.extend_from_slice(&piece);
        chunk.extend_from_slice(b"\r\n");
        self.0.write_all(&chunk).await
    }

    pub(crate) async fn finish(self) -> io::Result<()> {
        self.0.write_all(b"0\r\n\r\n").await
    }

    /// Does what the fault says. `Some` where that was the reply's end.
    async fn fail(&mut self, fault: &Fault) -> io::Result<Option<bool>> {
        match fault {
            Fault::Cut { .. } | Fault::NoReply => Ok(Some(false)),
            Fault::End { .. } => {
                self.0.write_all(b"0\r\n\r\n").await?;
                Ok(Some(true))
            }
            Fault::Stall { gate, .. } => {
                gate.pass().await;
                Ok(None)
            }
            Fault::Insert { bytes, .. } => {
                self.piece(Bytes::copy_from_slice(bytes)).await?;
                Ok(None)
            }
        }
    }
}
