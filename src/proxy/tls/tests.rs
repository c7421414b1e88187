use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
use tokio_rustls::TlsConnector;

use super::*;
use crate::pool::tls::testing::{Authority, Folder};
use crate::pool::tls::{Attempt, Secured, ServerTls, SslMode, TlsSettings};

/// What a client of these tests does.
#[derive(Clone, Default)]
struct Client {
    root: PathBuf,
    identity: Option<(PathBuf, PathBuf)>,
    alpn: Option<&'static [u8]>,
    only_tls12: bool,
}

impl Client {
    fn config(&self) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        roots.add(files::certificates(&self.root).unwrap().certificates.remove(0)).unwrap();
        let versions: &[&rustls::SupportedProtocolVersion] =
            if self.only_tls12 { &[&rustls::version::TLS12] } else { files::VERSIONS };
        let provider = files::provider();
        let builder = ClientConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(versions)
            .unwrap()
            .with_root_certificates(roots);
        let mut config = match &self.identity {
            Some((certificate, key)) => {
                let identity = files::identity(certificate, key, &provider).unwrap();
                builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(identity)))
            }
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = self.alpn.iter().map(|name| name.to_vec()).collect();
        config
    }
}

/// Shakes hands, and passes a byte each way; returns what we know of the client.
async fn shake(
    tls: &ClientTls,
    client: &Client,
    start: Start,
) -> Result<(Option<EndPointHash>, Option<ClientCertificate>), String> {
    let (theirs, ours) = duplex(16 << 10);
    let connector = TlsConnector::from(Arc::new(client.config()));
    let name = ServerName::try_from("proxy.example").unwrap();
    let peer = async {
        let mut stream = connector.connect(name, theirs).await?;
        stream.write_all(b"a").await?;
        stream.read_u8().await
    };
    let us = async {
        let mut accepted = tls.accept(ours, start).await.map_err(|error| error.to_string())?;
        assert_eq!(accepted.stream.read_u8().await.map_err(|error| error.to_string())?, b'a');
        accepted.stream.write_all(b"b").await.unwrap();
        accepted.stream.flush().await.unwrap();
        Ok((accepted.end_point, accepted.certificate))
    };
    let (peer, us) = tokio::join!(peer, us);
    if us.is_ok() {
        assert_eq!(peer.unwrap(), b'b');
    }
    us
}

struct House {
    folder: Folder,
    authority: Authority,
    files: TlsFiles,
    client: Client,
}

fn house() -> House {
    let folder = Folder::new();
    let authority = Authority::new();
    let root = authority.write(&folder, "root.crt");
    let (certificate, key) = authority.issue(&folder, "proxy", "proxy", &["proxy.example"]);
    let files = TlsFiles { certificate, key, client_ca: None };
    House { folder, authority, files, client: Client { root, ..Client::default() } }
}

fn name(certificate: Option<ClientCertificate>) -> Option<String> {
    certificate.and_then(|certificate| certificate.common_name)
}

#[tokio::test]
async fn the_hash_is_that_of_the_certificate_shown() {
    let House { folder: _folder, files, client, .. } = house();
    let tls = ClientTls::load(&files).unwrap();
    let der = files::certificates(&files.certificate).unwrap().certificates;
    for only_tls12 in [false, true] {
        let client = Client { only_tls12, ..client.clone() };
        let (end_point, certificate) = shake(&tls, &client, Start::SslRequest).await.unwrap();
        assert_eq!(end_point, EndPointHash::of_certificate(&der[0]));
        assert!(end_point.is_some());
        assert_eq!(certificate, None);
    }
}

/// Our two halves against each other: towards servers, with a certificate of our own, and towards clients.
#[tokio::test]
async fn both_halves_agree_on_hash_and_client() {
    let House { folder, authority, mut files, client } = house();
    files.client_ca = Some(client.root.clone());
    let tls = ClientTls::load(&files).unwrap();
    let identity = authority.issue(&folder, "ann", "ann", &[]);
    let settings = TlsSettings {
        mode: SslMode::VerifyFull,
        root_ca: Some(client.root),
        identity: Some(identity),
        ..TlsSettings::default()
    };
    let server = ServerTls::load(&settings).unwrap();
    let (theirs, mut ours) = duplex(16 << 10);
    let us = async {
        let mut request = [0; 8];
        ours.read_exact(&mut request).await.unwrap();
        ours.write_all(b"S").await.unwrap();
        tls.accept(ours, Start::SslRequest).await.unwrap()
    };
    let (secured, us) = tokio::join!(server.secure(theirs, "proxy.example", Attempt::Tls), us);
    let Ok(Secured::Tls { end_point, .. }) = secured else { panic!("{secured:?}") };
    assert_eq!(end_point, us.end_point);
    assert_eq!(name(us.certificate).as_deref(), Some("ann"));
}

#[tokio::test]
async fn direct_tls_needs_alpn_and_any_alpn_must_be_ours() {
    let House { folder: _folder, files, client, .. } = house();
    let tls = ClientTls::load(&files).unwrap();
    let with = |alpn| Client { alpn, ..client.clone() };
    assert!(shake(&tls, &with(Some(ALPN)), Start::Direct).await.is_ok());
    assert!(shake(&tls, &with(Some(ALPN)), Start::SslRequest).await.is_ok());
    let error = shake(&tls, &with(None), Start::Direct).await.unwrap_err();
    assert!(error.contains("without ALPN"), "{error}");
    for start in [Start::Direct, Start::SslRequest] {
        let error = shake(&tls, &with(Some(b"http/1.1")), start).await.unwrap_err();
        assert!(error.contains("known protocol"), "{error}");
    }
}

#[tokio::test]
async fn client_certificates_are_asked_for_and_checked() {
    let House { folder, authority, mut files, client } = house();
    let ann = Some(authority.issue(&folder, "ann", "ann", &[]));
    let eve = Some(Authority::new().issue(&folder, "eve", "ann", &[]));
    let with =
        |identity: &Option<(PathBuf, PathBuf)>| Client { identity: identity.clone(), ..client.clone() };
    let tls = ClientTls::load(&files).unwrap();
    assert!(!tls.asks_for_certificates());
    assert_eq!(shake(&tls, &with(&ann), Start::SslRequest).await.unwrap().1, None);

    files.client_ca = Some(client.root.clone());
    tls.reload(&files).unwrap();
    assert!(tls.asks_for_certificates());
    assert_eq!(name(shake(&tls, &with(&ann), Start::SslRequest).await.unwrap().1).as_deref(), Some("ann"));
    // Whether one is needed is for the host rules to say.
    assert_eq!(shake(&tls, &with(&None), Start::SslRequest).await.unwrap().1, None);
    assert!(shake(&tls, &with(&eve), Start::SslRequest).await.is_err());

    // Of version 1, over both versions of TLS.
    let old = Some(authority.issue_v1(&folder, "old", "ann"));
    let eve = Some(Authority::new().issue_v1(&folder, "old-eve", "ann"));
    for only_tls12 in [false, true] {
        let with = |identity| Client { only_tls12, ..with(identity) };
        assert_eq!(
            name(shake(&tls, &with(&old), Start::SslRequest).await.unwrap().1).as_deref(),
            Some("ann")
        );
        assert!(shake(&tls, &with(&eve), Start::SslRequest).await.is_err());
    }
}

#[tokio::test]
async fn new_files_are_for_new_connections_and_bad_ones_change_nothing() {
    let House { folder, authority, files, client } = house();
    let tls = ClientTls::load(&files).unwrap();
    let before = shake(&tls, &client, Start::SslRequest).await.unwrap().0;

    let (open, ours) = duplex(16 << 10);
    let connector = TlsConnector::from(Arc::new(client.config()));
    let name = ServerName::try_from("proxy.example").unwrap();
    let (open, ours) = tokio::join!(connector.connect(name, open), tls.accept(ours, Start::SslRequest));
    let (mut open, mut ours) = (open.unwrap(), ours.unwrap().stream);

    let old = std::fs::read_to_string(&files.certificate).unwrap();
    for bad in ["", "junk", &old[..old.len() / 2]] {
        std::fs::write(&files.certificate, bad).unwrap();
        assert!(tls.reload(&files).is_err(), "{bad:?}");
        assert_eq!(shake(&tls, &client, Start::SslRequest).await.unwrap().0, before);
    }
    // The new certificate with the old key: somebody was half-way through.
    authority.issue(&folder, "next", "proxy", &["proxy.example"]);
    std::fs::copy(folder.path("next.crt"), &files.certificate).unwrap();
    assert!(tls.reload(&files).unwrap_err().to_string().contains("proxy.crt"));
    assert_eq!(shake(&tls, &client, Start::SslRequest).await.unwrap().0, before);

    std::fs::copy(folder.path("next.key"), &files.key).unwrap();
    tls.reload(&files).unwrap();
    let after = shake(&tls, &client, Start::SslRequest).await.unwrap().0;
    assert!(after.is_some() && after != before);

    open.write_all(b"still here").await.unwrap();
    let mut got = [0; 10];
    ours.read_exact(&mut got).await.unwrap();
    assert_eq!(&got, b"still here");
}

#[tokio::test]
async fn what_is_no_handshake_is_an_error() {
    let house = house();
    let tls = ClientTls::load(&house.files).unwrap();
    for bytes in [&b"GET / HTTP/1.1\r\n\r\n"[..], b"\x16\x03\x01\xff\xff", b""] {
        let (mut theirs, ours) = duplex(1024);
        theirs.write_all(bytes).await.unwrap();
        drop(theirs);
        assert!(tls.accept(ours, Start::Direct).await.is_err(), "{bytes:?}");
    }
}
