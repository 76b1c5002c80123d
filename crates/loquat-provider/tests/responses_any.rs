//! Of a Responses stream whose events come in any order, numbered and named in any way, that comes which can be asked of any body:
//! one ending, the same for every split. The fuzz target `responses` asks the same; what it finds is a case here.

mod support;

#[path = "support/hostile_responses.rs"]
mod hostile_responses;

use proptest::{collection::vec, prelude::*};

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_events_come_to_one_ending(input in vec(any::<u8>(), 0..400)) {
        hostile_responses::check(&input);
    }
}
