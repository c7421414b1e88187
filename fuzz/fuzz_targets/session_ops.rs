//! One session, its client and its server.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    bellwether::session::exercise::operations(data);
});
