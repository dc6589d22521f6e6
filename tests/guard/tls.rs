//! TLS, with a certificate made for the test.

use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::program::{Server, flywheel, stderr};

#[test]
fn a_server_with_a_certificate_speaks_tls_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let [certificate, key] = ["cert.pem", "key.pem"].map(|name| folder.path().join(name));
    std::fs::write(&certificate, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    let data = folder.path().join("store");
    let serve = |certificate: &std::path::Path, key: &std::path::Path| {
        let mut command = flywheel(&data);
        command.args(["serve", "--listen", "127.0.0.1:0", "--log", "error"]);
        command.arg("--tls-cert").arg(certificate).arg("--tls-key").arg(key);
        command
    };
    let swapped = serve(&key, &certificate).output().unwrap();
    assert!(!swapped.status.success() && stderr(&swapped).contains("TLS"), "{}", stderr(&swapped));
    let alone = flywheel(&data).args(["serve", "--tls-cert", "x"]).output().unwrap();
    assert_eq!(alone.status.code(), Some(2), "{}", stderr(&alone));

    let server = Server::start(&mut serve(&certificate, &key));
    assert!(server.url.starts_with("https://127.0.0.1:"), "{}", server.url);
    // The command line asks it, if it knows who vouches for it.
    let ask = |trusted: &std::path::Path| {
        let mut command = flywheel(&data);
        let url = server.url.replace("127.0.0.1", "localhost");
        command.args(["keys", "list", "--url", &url]).env("SSL_CERT_FILE", trusted).output().unwrap()
    };
    let told_to = ask(&certificate);
    assert!(told_to.status.success(), "{}", stderr(&told_to));
    assert!(!ask(&key).status.success(), "nobody vouches for it");
    let events = folder.path().join("events.ndjson");
    std::fs::write(&events, r#"{"event": "a", "user": "u", "time": "2024-03-01", "id": "1"}"#).unwrap();
    let import = |trusted: &std::path::Path| {
        let url = server.url.replace("127.0.0.1", "localhost");
        let mut command = flywheel(&data);
        command.args(["import", "--url", &url]).arg(&events).env("SSL_CERT_FILE", trusted).output().unwrap()
    };
    let told_to = import(&certificate);
    assert!(told_to.status.success(), "{}", stderr(&told_to));
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(&certificate).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let stream = tokio::net::TcpStream::connect(server.address()).await.unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        let mut stream = connector.connect(name, stream).await.unwrap();
        let request = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
        stream.write_all(request).await.unwrap();
        let mut text = String::new();
        // A server that closes without TLS's own farewell has said all it had to.
        let _ = stream.read_to_string(&mut text).await;
        assert!(text.starts_with("HTTP/1.1 200 OK\r\n"), "{text}");

        let mut plain = tokio::net::TcpStream::connect(server.address()).await.unwrap();
        plain.write_all(request).await.unwrap();
        let mut bytes = Vec::new();
        let _ = plain.read_to_end(&mut bytes).await;
        assert!(!bytes.starts_with(b"HTTP"), "nothing is told without TLS");
    });
}
