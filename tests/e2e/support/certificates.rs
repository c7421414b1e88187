//! Certificates for the tests of TLS.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, IsCa, KeyPair, SanType,
};

/// An authority.
pub struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate and its key, PEM text.
pub struct Issued {
    pub certificate: String,
    pub key: String,
}

impl Authority {
    pub fn new(name: &str) -> Self {
        let mut parameters = named(name);
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Authority(CertifiedIssuer::self_signed(parameters, key()).expect("sound parameters"))
    }

    /// Its own certificate, PEM text.
    pub fn pem(&self) -> String {
        self.0.pem()
    }

    /// A certificate for `common_name`, good for `localhost` and 127.0.0.1 as well.
    pub fn issue(&self, common_name: &str) -> Issued {
        let mut parameters = named(common_name);
        parameters.subject_alt_names = vec![
            SanType::DnsName("localhost".try_into().expect("an ASCII name")),
            SanType::IpAddress([127, 0, 0, 1].into()),
        ];
        let key = key();
        let certificate = parameters.signed_by(&key, &self.0).expect("sound parameters");
        Issued { certificate: certificate.pem(), key: key.serialize_pem() }
    }
}

/// Writes a file. The proxy may run as another user than we do, and libpq wants a key that is its user's alone.
pub fn write(directory: &Path, name: &str, text: &str, mode: u32) {
    let path = directory.join(name);
    fs::write(&path, text).expect("the lab's directory is ours");
    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("the file is ours");
}

fn named(common_name: &str) -> CertificateParams {
    let mut parameters = CertificateParams::default();
    parameters.distinguished_name = DistinguishedName::new();
    parameters.distinguished_name.push(DnType::CommonName, common_name);
    parameters
}

fn key() -> KeyPair {
    KeyPair::generate().expect("a key")
}
