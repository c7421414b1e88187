//! Logins of both directions, SCRAM and the others.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    bellwether::auth::exercise::client_login(data);
    bellwether::auth::exercise::server_login(data);
    bellwether::auth::exercise::texts(data);
});
