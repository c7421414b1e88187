//! The names in a certificate: whose it is, by the rules of `libpq` and of PostgreSQL's method `cert`.

use x509_cert::Certificate;
use x509_cert::der::asn1::ObjectIdentifier;
use x509_cert::der::{Decode, Tag, Tagged};
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;

/// What a login needs to know of the client's certificate. The TLS handshake has checked its chain: where there is a
/// certificate, it is valid.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientCertificate {
    /// The subject's first common name; `None` when it has none or one with a zero byte.
    pub common_name: Option<String>,
}

impl ClientCertificate {
    /// Reads a certificate, given as DER.
    pub fn read(der: &[u8]) -> Self {
        let certificate = Certificate::from_der(der).ok();
        ClientCertificate { common_name: certificate.as_ref().and_then(common_name) }
    }
}

/// Tells whether a server's certificate, given as DER, names `host` by its common name and has no alternative names
/// that would count instead.
///
/// Alternative names themselves are the TLS library's to check; it knows nothing of common names, which many
/// certificates made by hand for PostgreSQL still rely on (`pq_verify_peer_name_matches_certificate_guts` does).
pub fn names_host_by_common_name(der: &[u8], host: &str) -> bool {
    let Ok(certificate) = Certificate::from_der(der) else { return false };
    let Ok(alternatives) = certificate.tbs_certificate.get::<SubjectAltName>() else { return false };
    let alternatives = alternatives.map(|(_, names)| names.0).unwrap_or_default();
    let counts = |name: &GeneralName| matches!(name, GeneralName::DnsName(_) | GeneralName::IpAddress(_));
    !alternatives.iter().any(counts)
        && common_name(&certificate).is_some_and(|name| matches_host(&name, host))
}

/// `wildcard_certificate_match`: a star stands for one whole leading label.
fn matches_host(name: &str, host: &str) -> bool {
    match name.strip_prefix("*.") {
        Some(domain) => host
            .split_once('.')
            .is_some_and(|(label, rest)| !label.is_empty() && rest.eq_ignore_ascii_case(domain)),
        None => name.eq_ignore_ascii_case(host),
    }
}

/// The first common name of the subject, as `X509_NAME_get_text_by_NID` finds it.
fn common_name(certificate: &Certificate) -> Option<String> {
    const COMMON_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.3");
    let mut parts = certificate.tbs_certificate.subject.0.iter().flat_map(|part| part.0.iter());
    let value = &parts.find(|part| part.oid == COMMON_NAME)?.value;
    match value.tag() {
        Tag::Utf8String | Tag::PrintableString | Tag::Ia5String | Tag::TeletexString => {}
        _ => return None,
    }
    let text = std::str::from_utf8(value.value()).ok()?;
    // A zero byte would end the name early for whoever reads it in C (CVE-2009-4034).
    (!text.is_empty() && !text.contains('\0')).then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair};

    use super::*;

    fn certificate(names: &[&str], alternatives: &[&str]) -> Vec<u8> {
        let alternatives: Vec<_> = alternatives.iter().map(|name| (*name).to_owned()).collect();
        let mut parameters = CertificateParams::new(alternatives).unwrap();
        parameters.distinguished_name = DistinguishedName::new();
        for name in names {
            parameters.distinguished_name.push(DnType::CommonName, *name);
        }
        parameters.self_signed(&KeyPair::generate().unwrap()).unwrap().der().to_vec()
    }

    #[test]
    fn the_common_name_is_the_user() {
        let read = |names: &[&str]| ClientCertificate::read(&certificate(names, &[])).common_name;
        assert_eq!(read(&["ann"]).as_deref(), Some("ann"));
        assert_eq!(read(&[]), None);
        assert_eq!(read(&["ann\0bob"]), None);
        assert_eq!(ClientCertificate::read(b"junk").common_name, None);
    }

    #[test]
    fn the_common_name_counts_where_there_is_no_alternative() {
        let names = |name: &str, alternatives: &[&str], host: &str| {
            names_host_by_common_name(&certificate(&[name], alternatives), host)
        };
        assert!(names("db.example", &[], "DB.example"));
        assert!(names("*.example", &[], "db.example"));
        assert!(names("10.0.0.1", &[], "10.0.0.1"));
        assert!(!names("*.example", &[], "a.db.example"));
        assert!(!names("*.example", &[], ".example"));
        assert!(!names("db.example", &["other.example"], "db.example"));
        assert!(!names("db.example", &["10.0.0.1"], "db.example"));
        assert!(!names_host_by_common_name(b"junk", "db.example"));
    }
}
