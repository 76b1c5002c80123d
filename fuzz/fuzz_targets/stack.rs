//! The walk over a copied stack: whatever the registers and the memory hold, it ends, within its bound, and reads nothing but the copy.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    loquat_observe::walk_hostile(input);
});
