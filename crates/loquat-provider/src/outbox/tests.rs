//! What is kept of room once a text is gone.

use super::*;

/// One event's deltas, pulled; and the room that is left when the next event comes.
fn room_after(event: impl FnOnce(&mut Outbox)) -> (usize, usize) {
    let mut out = Outbox::new(DecodeLimits::default());
    event(&mut out);
    while out.advance() {}
    out.recycle();
    (out.scratch.capacity(), out.queue.capacity())
}

#[test]
fn the_room_of_a_long_text_is_given_back_with_the_next_event() {
    let text = "x".repeat(1024 * 1024);
    let texts: [fn(&mut Outbox, &str) -> Result<()>; 4] = [
        |out, text| out.say(Kind::Text, 0, text),
        |out, text| out.say(Kind::Reasoning, 3, text),
        |out, text| out.detail_text(0, "logprobs", text),
        |out, text| {
            let arguments = Some(Text::Plain(text));
            out.call(0, &CallPiece { arguments, ..CallPiece::default() })
        },
    ];
    for event in texts {
        let (bytes, _) = room_after(|out| {
            event(out, &text).expect("within max_answer_bytes");
            assert!(out.scratch.capacity() >= text.len(), "it was there");
        });
        assert!(bytes <= RETAINED_BYTES, "{bytes} bytes are kept");
    }
}

#[test]
fn the_room_of_a_text_that_is_not_long_stays() {
    let text = "x".repeat(RETAINED_BYTES / 2);
    let (bytes, _) = room_after(|out| out.say(Kind::Text, 0, &*text).expect("within max_answer_bytes"));
    assert!((text.len()..=RETAINED_BYTES).contains(&bytes), "{bytes} bytes are kept");
}

#[test]
fn the_room_of_many_deltas_is_given_back_with_the_next_event() {
    let (_, slots) = room_after(|out| {
        for _ in 0..10_000 {
            out.say(Kind::Text, 0, "x").expect("within max_answer_bytes");
        }
        assert!(out.queue.capacity() >= 10_000, "they were there");
    });
    assert!(slots <= RETAINED_SLOTS, "room for {slots} deltas is kept");
}

#[test]
fn an_answer_with_long_texts_leaves_nothing_for_the_next() {
    let mut out = Outbox::new(DecodeLimits::default());
    assert!(out.is_small());
    out.say(Kind::Text, 0, &*"x".repeat(SMALL_BYTES + 1)).expect("within max_answer_bytes");
    assert!(!out.is_small(), "it would be kept in the pool");
}

/// A struct that grows in its midst is not noticed otherwise: it works all the same, and slower where many streams take turns.
#[test]
#[cfg(target_pointer_width = "64")]
fn what_more_of_the_same_text_needs_are_three_lines_of_memory() {
    let lines = |end: usize| end.div_ceil(64);
    assert_eq!(lines(std::mem::offset_of!(Outbox, limits.max_answer_bytes) + 8), 3);
    assert_eq!(align_of::<Outbox>(), 64);
}
