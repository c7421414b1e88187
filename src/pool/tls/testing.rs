//! Certificates and their files for tests of TLS in both directions.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, IsCa, KeyPair,
    SigningKey,
};

use crate::auth::certificate_v1::testing::as_version_1;

/// A folder that goes with its owner.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("bellwether-tls-{}-{number}", std::process::id()));
        std::fs::create_dir(&path).expect("a new folder below the temporary one");
        Folder(path)
    }

    /// Writes a file and returns its path.
    pub(crate) fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.join(name);
        std::fs::write(&path, text).expect("a file in our own folder");
        path
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// An authority.
pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    pub(crate) fn new() -> Self {
        let mut parameters = named("authority", &[]);
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Authority(CertifiedIssuer::self_signed(parameters, key()).expect("sound parameters"))
    }

    /// Writes the authority's own certificate.
    pub(crate) fn write(&self, folder: &Folder, name: &str) -> PathBuf {
        folder.write(name, &self.0.pem())
    }

    /// Makes a certificate for `common_name` and other names, and writes it and its key to `NAME.crt` and `NAME.key`.
    pub(crate) fn issue(
        &self,
        folder: &Folder,
        name: &str,
        common_name: &str,
        alternatives: &[&str],
    ) -> (PathBuf, PathBuf) {
        let key = key();
        let certificate =
            named(common_name, alternatives).signed_by(&key, &self.0).expect("sound parameters");
        write_pair(folder, name, &certificate.pem(), &key)
    }

    /// Makes a certificate of version 1, as `openssl x509 -req` does.
    pub(crate) fn issue_v1(&self, folder: &Folder, name: &str, common_name: &str) -> (PathBuf, PathBuf) {
        let key = key();
        let certificate = named(common_name, &[]).signed_by(&key, &self.0).expect("sound parameters");
        let sign = |part: &[u8]| self.0.key().sign(part).expect("a signature");
        let der = as_version_1(certificate.der(), sign);
        let text = STANDARD.encode(der);
        let pem = format!("-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n");
        write_pair(folder, name, &pem, &key)
    }
}

/// Makes a self-signed certificate that is marked as an authority, as OpenSSL makes them.
pub(crate) fn self_signed(folder: &Folder, name: &str, host: &str, expired: bool) -> (PathBuf, PathBuf) {
    let mut parameters = named(host, &[host]);
    parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    if expired {
        parameters.not_after = rcgen::date_time_ymd(2001, 1, 1);
    }
    let key = key();
    let certificate = parameters.self_signed(&key).expect("sound parameters");
    write_pair(folder, name, &certificate.pem(), &key)
}

fn write_pair(folder: &Folder, name: &str, certificate: &str, key: &KeyPair) -> (PathBuf, PathBuf) {
    let write = |ending: &str, text: &str| {
        folder.write(Path::new(name).with_extension(ending).to_str().unwrap(), text)
    };
    (write("crt", certificate), write("key", &key.serialize_pem()))
}

fn named(common_name: &str, alternatives: &[&str]) -> CertificateParams {
    let alternatives: Vec<_> = alternatives.iter().map(|name| (*name).to_owned()).collect();
    let mut parameters = CertificateParams::new(alternatives).expect("names of ASCII");
    parameters.distinguished_name = DistinguishedName::new();
    parameters.distinguished_name.push(DnType::CommonName, common_name);
    parameters
}

fn key() -> KeyPair {
    KeyPair::generate().expect("a key")
}
