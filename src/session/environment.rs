//! Which settings decide what a text means: part of a shared statement's identity.

use super::parameters::Settings;

/// Settings under which a text may be parsed to something else: how names are found, how strings end, and how the
/// literals in it are read, which PostgreSQL does once, when the statement is prepared.
const PARSING: [&str; 13] = [
    "array_nulls",
    "backslash_quote",
    "client_encoding",
    "datestyle",
    "intervalstyle",
    "lc_monetary",
    "role",
    "search_path",
    "session_authorization",
    "standard_conforming_strings",
    "timezone",
    "transform_null_equals",
    "xmloption",
];

/// Tells whether a text may be parsed to something else under another value of setting `name`.
pub(super) fn changes_parsing(name: &str) -> bool {
    PARSING.contains(&name)
}

/// Hashes the settings under which SQL text is parsed (FNV-1a). 0 when none of them differs from the server's.
pub(super) fn environment(settings: &Settings) -> u64 {
    let mut hash = 0u64;
    for (name, value) in settings.iter().filter(|(name, _)| changes_parsing(name)) {
        for byte in name.bytes().chain([b'=']).chain(value.bytes()).chain([0]) {
            hash = (if hash == 0 { 0xcbf2_9ce4_8422_2325 } else { hash } ^ u64::from(byte))
                .wrapping_mul(0x0100_0000_01b3);
        }
    }
    hash
}
