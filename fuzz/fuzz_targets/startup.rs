//! The first packet of a connection.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    bellwether::wire::exercise::first_packet(data);
    bellwether::proxy::exercise::first_packet(data);
});
