//! Messages of both directions.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    bellwether::wire::exercise::frames(data);
});
