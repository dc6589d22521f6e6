//! Arguments that several commands take.

use std::net::{Ipv4Addr, SocketAddr};

/// Where a server listens unless it is told.
pub(super) const LISTEN_DEFAULT: &str = "127.0.0.1:7070";

/// Parses an address with its port; the machine itself may be called by its name.
pub(super) fn listen_address(text: &str) -> Result<SocketAddr, String> {
    if let Some(port) = text.strip_prefix("localhost:").and_then(|port| port.parse().ok()) {
        return Ok((Ipv4Addr::LOCALHOST, port).into());
    }
    text.parse().map_err(|_| "expected an address and a port, such as 127.0.0.1:7070".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_a_port() {
        assert_eq!(listen_address("localhost:0"), Ok("127.0.0.1:0".parse().unwrap()));
        assert_eq!(listen_address("[::1]:80"), Ok("[::1]:80".parse().unwrap()));
        for text in ["127.0.0.1", "7070", ":7070", "localhost", "localhost:x", "a.example:80"] {
            assert!(listen_address(text).is_err(), "{text}");
        }
    }
}
