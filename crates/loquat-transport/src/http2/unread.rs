//! What a caller who has fallen behind has not read yet.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};

/// Frames below this are joined when the driver takes them over; larger ones are kept as they are, without a copy.
const SMALL: usize = 1024;
/// Joined frames are handed out in pieces of about this size.
const JOINED: usize = 16 * 1024;

/// What the driver has taken over. Its flow-control capacity is given back when it is read, so a window bounds it.
#[derive(Debug, Default)]
pub(super) struct Unread {
    pieces: VecDeque<Bytes>,
    joined: BytesMut,
    pub(super) bytes: usize,
}

impl Unread {
    pub(super) fn push(&mut self, data: Bytes) {
        self.bytes += data.len();
        if data.len() < SMALL {
            self.joined.extend_from_slice(&data);
        }
        if self.joined.len() >= JOINED || (data.len() >= SMALL && !self.joined.is_empty()) {
            self.pieces.push_back(self.joined.split().freeze());
        }
        if data.len() >= SMALL {
            self.pieces.push_back(data);
        }
    }

    pub(super) fn pop(&mut self) -> Option<Bytes> {
        if self.bytes == 0 {
            return None;
        }
        let data = self.pieces.pop_front().unwrap_or_else(|| self.joined.split().freeze());
        self.bytes -= data.len();
        Some(data)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_frames_are_joined_and_large_ones_are_not_copied() {
        let mut unread = Unread::default();
        let large = Bytes::from(vec![b'L'; 4000]);
        for _ in 0..3 {
            for _ in 0..20_000 {
                unread.push(Bytes::from_static(b"s"));
            }
            unread.push(large.clone());
        }
        unread.push(Bytes::from_static(b"end"));
        assert!(unread.pieces.len() <= 3 * 3, "{} pieces", unread.pieces.len());
        let (mut whole, mut shared) = (Vec::new(), 0);
        while let Some(data) = unread.pop() {
            shared += usize::from(data.as_ptr() == large.as_ptr());
            whole.extend_from_slice(&data);
        }
        let round = [vec![b's'; 20_000], vec![b'L'; 4000]].concat();
        assert_eq!(whole, [round.repeat(3), b"end".to_vec()].concat());
        assert_eq!((shared, unread.bytes), (3, 0));
    }
}
