//! Client encodings in which a byte that looks like ASCII may be half of a letter.

/// Tells whether the server may read text in this `client_encoding` (as it reports it) otherwise than we do.
///
/// In these encodings the second byte of a letter can be a backslash or a letter of ASCII, and a text can be
/// valid UTF-8 besides: what is one string to us may be a string and a statement to the server. For this very
/// reason they exist on the client side only (<https://www.postgresql.org/docs/current/multibyte.html>, the
/// column "Server?"). A session in one of them must take a text with any byte above 127 for
/// [`Classified::unparsed`](super::Classified::unparsed).
pub fn hides_ascii(client_encoding: &str) -> bool {
    const CLIENT_ONLY: [&str; 7] = ["BIG5", "GB18030", "GBK", "JOHAB", "SHIFT_JIS_2004", "SJIS", "UHC"];
    CLIENT_ONLY.iter().any(|name| name.eq_ignore_ascii_case(client_encoding))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_client_side_encodings_hide_ascii() {
        assert!(hides_ascii("GBK") && hides_ascii("sjis"));
        assert!(!hides_ascii("UTF8") && !hides_ascii("LATIN1") && !hides_ascii("EUC_JP"));
    }
}
