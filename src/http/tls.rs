//! TLS, where the operator gave a certificate.

use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;

use crate::api::{Problem, ProblemClass};
use crate::io::read_outside;

/// Bytes of a file of certificates or of a key.
const PEM_SIZE_MAX: u64 = 1 << 20;

/// Gets ready to speak TLS 1.2 and 1.3 with a certificate chain and its key.
pub(super) fn acceptor(certificates: &Path, key: &Path) -> Result<TlsAcceptor, Problem> {
    let chain = CertificateDer::pem_slice_iter(&read(certificates)?).collect::<Result<Vec<_>, _>>();
    let chain = chain.map_err(|e| unusable(certificates, &e.to_string()))?;
    if chain.is_empty() {
        return Err(unusable(certificates, "it has no certificate"));
    }
    let private = PrivateKeyDer::from_pem_slice(&read(key)?).map_err(|e| unusable(key, &e.to_string()))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("the provider knows the default versions")
        .with_no_client_auth()
        .with_single_cert(chain, private);
    let mut config = config.map_err(|e| unusable(certificates, &e.to_string()))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

fn read(path: &Path) -> Result<Vec<u8>, Problem> {
    let mut bytes = Vec::new();
    let read = read_outside(path).and_then(|file| file.take(PEM_SIZE_MAX).read_to_end(&mut bytes));
    read.map_err(|e| Problem::new(ProblemClass::Io, format!("cannot read {}: {e}", path.display())))?;
    Ok(bytes)
}

fn unusable(path: &Path, reason: &str) -> Problem {
    Problem::invalid(format!("{} cannot be used for TLS: {reason}", path.display())).hint(
        "both files are PEM: the certificate first, then those that vouch for it; the key is not encrypted",
    )
}
