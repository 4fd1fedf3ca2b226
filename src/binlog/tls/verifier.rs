//! How much of a server's certificate is verified on the dump connection: nothing, its chain, or its name too.

use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{self, CryptoProvider};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};

/// A verifier that may pass over what it finds. The handshake's signatures are verified in any case.
#[derive(Debug)]
pub struct Verifier {
    provider: Arc<CryptoProvider>,
    checked: Checked,
}

#[derive(Debug)]
enum Checked {
    Nothing,
    Chain(Arc<WebPkiServerVerifier>),
    ChainAndName(Arc<WebPkiServerVerifier>),
}

impl Verifier {
    /// Takes any certificate.
    pub fn of_nothing(provider: Arc<CryptoProvider>) -> Verifier {
        Verifier { provider, checked: Checked::Nothing }
    }

    /// Takes a certificate that an authority signed, for whatever host.
    ///
    /// # Errors
    /// There is no authority.
    pub fn of_chain(
        provider: Arc<CryptoProvider>,
        roots: RootCertStore,
    ) -> Result<Verifier, Error> {
        let checked = Checked::Chain(web_pki(&provider, roots)?);
        Ok(Verifier { provider, checked })
    }

    /// Takes a certificate that an authority signed, for this host.
    ///
    /// # Errors
    /// There is no authority.
    pub fn of_name(provider: Arc<CryptoProvider>, roots: RootCertStore) -> Result<Verifier, Error> {
        let checked = Checked::ChainAndName(web_pki(&provider, roots)?);
        Ok(Verifier { provider, checked })
    }
}

fn web_pki(
    provider: &Arc<CryptoProvider>,
    roots: RootCertStore,
) -> Result<Arc<WebPkiServerVerifier>, Error> {
    WebPkiServerVerifier::builder_with_provider(roots.into(), provider.clone())
        .build()
        .map_err(|error| Error::General(error.to_string()))
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let verify = |web_pki: &WebPkiServerVerifier| {
            web_pki.verify_server_cert(end_entity, intermediates, name, ocsp_response, now)
        };
        match &self.checked {
            Checked::Nothing => Ok(ServerCertVerified::assertion()),
            Checked::ChainAndName(web_pki) => verify(web_pki),
            Checked::Chain(web_pki) => match verify(web_pki) {
                // The chain is verified before the name.
                Err(Error::InvalidCertificate(
                    CertificateError::NotValidForName
                    | CertificateError::NotValidForNameContext { .. },
                )) => Ok(ServerCertVerified::assertion()),
                verified => verified,
            },
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        crypto::verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        crypto::verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
