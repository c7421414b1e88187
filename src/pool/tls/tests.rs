use std::path::Path;

use rustls::SupportedProtocolVersion;
use rustls::sign::CertifiedKey;
use tokio::io::{DuplexStream, duplex};
use tokio_rustls::TlsAcceptor;

use super::testing::{Authority, Folder, self_signed};
use super::*;

/// A server that answers SSLRequest with `answer`, then does a handshake with the given certificate and sends a byte.
async fn serve(
    mut stream: DuplexStream,
    answer: u8,
    identity: Option<(Arc<CertifiedKey>, &'static SupportedProtocolVersion)>,
) -> std::io::Result<()> {
    let mut request = [0; 8];
    stream.read_exact(&mut request).await?;
    assert_eq!(request, [0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f]);
    stream.write_all(&[answer]).await?;
    let Some((identity, version)) = identity else { return Ok(()) };
    let config = rustls::ServerConfig::builder_with_provider(files::provider())
        .with_protocol_versions(&[version])
        .unwrap()
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(identity)));
    let mut stream = TlsAcceptor::from(Arc::new(config)).accept(stream).await?;
    stream.write_all(b"x").await?;
    stream.flush().await
}

fn settings(mode: SslMode, root_ca: Option<&Path>) -> TlsSettings {
    TlsSettings { mode, root_ca: root_ca.map(Path::to_owned), ..TlsSettings::default() }
}

/// Connects by the way that has TLS, with both versions; returns the end-point hash, or the text of the error.
async fn connect(
    tls: &ServerTls,
    host: &str,
    answer: u8,
    identity: Option<&(PathBuf, PathBuf)>,
) -> Result<Option<EndPointHash>, String> {
    let identity =
        identity.map(|(certificate, key)| files::identity(certificate, key, &files::provider()).unwrap());
    let old = connect_by(tls, host, answer, identity.clone(), &rustls::version::TLS12).await;
    let new = connect_by(tls, host, answer, identity, &rustls::version::TLS13).await;
    assert_eq!(old, new, "TLS 1.2 and 1.3 differ");
    new
}

async fn connect_by(
    tls: &ServerTls,
    host: &str,
    answer: u8,
    identity: Option<Arc<CertifiedKey>>,
    version: &'static SupportedProtocolVersion,
) -> Result<Option<EndPointHash>, String> {
    let attempt = *tls.attempts().iter().find(|attempt| **attempt != Attempt::Plain).expect("a way with TLS");
    let (ours, theirs) = duplex(16 << 10);
    let identity = identity.map(|identity| (identity, version));
    let (secured, _) = tokio::join!(tls.secure(ours, host, attempt), serve(theirs, answer, identity));
    match secured {
        Ok(Secured::Plain(_)) => Err("plain".to_owned()),
        Ok(Secured::Tls { mut stream, end_point }) => {
            assert_eq!(stream.read_u8().await.unwrap(), b'x');
            Ok(end_point)
        }
        Err(error) => Err(error.to_string()),
    }
}

#[tokio::test]
async fn every_mode_checks_what_libpq_checks() {
    use SslMode::{Allow, Prefer, Require, VerifyCa, VerifyFull};
    let folder = Folder::new();
    let (authority, stranger) = (Authority::new(), Authority::new());
    let root = authority.write(&folder, "root.crt");
    let other = stranger.write(&folder, "other.crt");
    let server = authority.issue(&folder, "server", "somebody", &["db.example", "10.0.0.1"]);
    let (root, other) = (Some(root.as_path()), Some(other.as_path()));
    for (mode, roots, host, passes) in [
        (Allow, None, "db.example", true),
        (Prefer, None, "db.example", true),
        (Prefer, other, "db.example", true),
        (Require, None, "wrong.example", true),
        (Require, root, "wrong.example", true),
        (Require, other, "db.example", false),
        (VerifyCa, root, "wrong.example", true),
        (VerifyCa, other, "db.example", false),
        (VerifyFull, root, "db.example", true),
        (VerifyFull, root, "10.0.0.1", true),
        (VerifyFull, root, "10.0.0.2", false),
        (VerifyFull, root, "wrong.example", false),
        (VerifyFull, root, "somebody", false),
        (VerifyFull, other, "db.example", false),
        (Require, None, "no name, this", true),
        (VerifyFull, root, "no name, this", false),
    ] {
        let tls = ServerTls::load(&settings(mode, roots)).unwrap();
        let end_point = connect(&tls, host, b'S', Some(&server)).await;
        assert_eq!(end_point.is_ok(), passes, "{mode:?} {host}: {end_point:?}");
        if let Ok(end_point) = end_point {
            let shown = files::certificates(&server.0).unwrap().certificates;
            assert_eq!(end_point, EndPointHash::of_certificate(&shown[0]));
            assert!(end_point.is_some());
        }
    }
}

#[tokio::test]
async fn certificates_made_by_hand_are_taken_as_libpq_takes_them() {
    let folder = Folder::new();
    let authority = Authority::new();
    let root = authority.write(&folder, "root.crt");
    let full = ServerTls::load(&settings(SslMode::VerifyFull, Some(&root))).unwrap();
    let by_common_name = authority.issue(&folder, "cn", "db.example", &[]);
    assert!(connect(&full, "db.example", b'S', Some(&by_common_name)).await.is_ok());
    assert!(connect(&full, "wrong.example", b'S', Some(&by_common_name)).await.is_err());

    let own = self_signed(&folder, "own", "db.example", false);
    assert!(connect(&full, "db.example", b'S', Some(&own)).await.is_err());
    let full = ServerTls::load(&settings(SslMode::VerifyFull, Some(&own.0))).unwrap();
    assert!(connect(&full, "db.example", b'S', Some(&own)).await.is_ok());
    assert!(connect(&full, "wrong.example", b'S', Some(&own)).await.is_err());

    let old = self_signed(&folder, "old", "db.example", true);
    let full = ServerTls::load(&settings(SslMode::VerifyFull, Some(&old.0))).unwrap();
    let error = connect(&full, "db.example", b'S', Some(&old)).await.unwrap_err();
    assert!(error.contains("expired"), "{error}");
}

#[tokio::test]
async fn certificates_of_version_1_are_checked_too() {
    let folder = Folder::new();
    let (authority, stranger) = (Authority::new(), Authority::new());
    let root = authority.write(&folder, "root.crt");
    let other = stranger.write(&folder, "other.crt");
    let server = authority.issue_v1(&folder, "server", "db.example");
    for (mode, root, host, passes) in [
        (SslMode::Require, None, "wrong.example", true),
        (SslMode::VerifyCa, Some(&root), "wrong.example", true),
        (SslMode::VerifyCa, Some(&other), "db.example", false),
        (SslMode::VerifyFull, Some(&root), "db.example", true),
        (SslMode::VerifyFull, Some(&root), "wrong.example", false),
    ] {
        let tls = ServerTls::load(&settings(mode, root.map(PathBuf::as_path))).unwrap();
        let end_point = connect(&tls, host, b'S', Some(&server)).await;
        assert_eq!(end_point.is_ok(), passes, "{mode:?} {host}: {end_point:?}");
    }
    // Another's key does not pass as this certificate's.
    let (_, key) = authority.issue_v1(&folder, "key", "db.example");
    let error = files::identity(&server.0, &key, &files::provider()).unwrap_err().to_string();
    assert!(error.contains("server.crt"), "{error}");
}

/// What `require` relies on, and channel binding with it: a certificate is public, its key is not.
#[tokio::test]
async fn a_server_must_hold_the_key_of_its_certificate() {
    let folder = Folder::new();
    let authority = Authority::new();
    let certificates =
        [authority.issue(&folder, "new", "a", &["a"]), authority.issue_v1(&folder, "old", "a")];
    let provider = files::provider();
    let other = authority.issue(&folder, "other", "b", &["b"]);
    let key = files::identity(&other.0, &other.1, &provider).unwrap().key.clone();
    let tls = ServerTls::load(&settings(SslMode::Require, None)).unwrap();
    for (certificate, _) in certificates {
        let chain = files::certificates(&certificate).unwrap().certificates;
        let stolen = Arc::new(CertifiedKey::new(chain, key.clone()));
        for version in files::VERSIONS {
            let error = connect_by(&tls, "a", b'S', Some(stolen.clone()), version).await.unwrap_err();
            assert!(error.contains("BadSignature") || error.contains("bad signature"), "{error}");
        }
    }
}

#[tokio::test]
async fn a_server_without_tls_is_taken_or_not() {
    for (mode, taken) in [(SslMode::Prefer, true), (SslMode::Allow, false), (SslMode::Require, false)] {
        let tls = ServerTls::load(&settings(mode, None)).unwrap();
        let text = if taken { "plain" } else { "server does not support TLS, but it is required" };
        assert_eq!(connect(&tls, "db.example", b'N', None).await, Err(text.to_owned()));
        let error = connect(&tls, "db.example", b'E', None).await.unwrap_err();
        assert_eq!(error, "server answered SSLRequest with byte 0x45");
    }
    for tls in [ServerTls::disabled(), ServerTls::load(&settings(SslMode::Disable, None)).unwrap()] {
        assert_eq!(tls.attempts(), [Attempt::Plain]);
        let secured = tls.secure(duplex(1).0, "db.example", Attempt::Plain).await;
        assert!(matches!(secured, Ok(Secured::Plain(_))));
    }
}

#[tokio::test]
async fn files_are_read_again_and_bad_ones_change_nothing() {
    let folder = Folder::new();
    let server = self_signed(&folder, "server", "db.example", false);
    let authority = Authority::new();
    let root = authority.write(&folder, "root.crt");
    let mut wanted = settings(SslMode::VerifyCa, Some(&server.0));
    let tls = ServerTls::load(&wanted).unwrap();
    assert!(connect(&tls, "db.example", b'S', Some(&server)).await.is_ok());

    wanted.root_ca = Some(folder.write("junk.crt", "junk"));
    let error = tls.reload(&wanted).unwrap_err().to_string();
    assert!(error.contains("holds no certificate"), "{error}");
    assert!(connect(&tls, "db.example", b'S', Some(&server)).await.is_ok());
    wanted.root_ca = Some(root);
    tls.reload(&wanted).unwrap();
    assert!(connect(&tls, "db.example", b'S', Some(&server)).await.is_err());
}

#[test]
fn bad_files_are_named() {
    let folder = Folder::new();
    let authority = Authority::new();
    let (certificate, key) = authority.issue(&folder, "one", "one", &[]);
    let (_, other_key) = authority.issue(&folder, "two", "two", &[]);
    let root = authority.write(&folder, "root.crt");
    let load = |mode, root: Option<&Path>, identity| {
        let identity = TlsSettings { identity, ..settings(mode, root) };
        ServerTls::load(&identity).map(|_| ()).unwrap_err().to_string()
    };
    assert!(load(SslMode::VerifyFull, None, None).contains("need a file of root certificates"));
    assert!(load(SslMode::VerifyCa, None, None).contains("need a file of root certificates"));
    let missing = folder.path("missing.crt");
    assert!(load(SslMode::VerifyCa, Some(&missing), None).contains("missing.crt"));
    assert!(load(SslMode::VerifyCa, Some(&key), None).contains("holds no certificate"));
    let error = load(SslMode::VerifyCa, Some(&root), Some((certificate.clone(), other_key)));
    assert!(error.contains("one.crt"), "{error}");
    let error = load(SslMode::VerifyCa, Some(&root), Some((certificate.clone(), certificate)));
    assert!(error.contains("a private key"), "{error}");
}
