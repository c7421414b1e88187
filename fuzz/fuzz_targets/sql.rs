//! Texts of statements.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    bellwether::sql::exercise::text(data);
});
