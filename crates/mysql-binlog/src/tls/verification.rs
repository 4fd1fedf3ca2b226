//! Whether a server's certificate is of a known authority, and for the host that was asked for.
//!
//! OpenSSL decides while it shakes hands; what it refuses first is kept here, with the certificate, so that the
//! words can name it.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use openssl::asn1::{Asn1Time, Asn1TimeRef};
use openssl::error::ErrorStack;
use openssl::nid::Nid;
use openssl::ssl::{SslRef, SslVerifyMode};
use openssl::x509::verify::{X509CheckFlags, X509VerifyFlags};
use openssl::x509::{X509, X509Ref, X509StoreContextRef, X509VerifyResult};

use super::Error;
use crate::{TlsMode, TlsOptions};

// Results of a verification (OpenSSL's include/openssl/x509_vfy.h).
const UNABLE_TO_GET_ISSUER_CERT: i32 = 2;
const CERT_SIGNATURE_FAILURE: i32 = 7;
const CERT_NOT_YET_VALID: i32 = 9;
const CERT_HAS_EXPIRED: i32 = 10;
const DEPTH_ZERO_SELF_SIGNED_CERT: i32 = 18;
const SELF_SIGNED_CERT_IN_CHAIN: i32 = 19;
const UNABLE_TO_GET_ISSUER_CERT_LOCALLY: i32 = 20;
const UNABLE_TO_VERIFY_LEAF_SIGNATURE: i32 = 21;
const HOSTNAME_MISMATCH: i32 = 62;
const IP_ADDRESS_MISMATCH: i32 = 64;
const EE_KEY_TOO_SMALL: i32 = 66;
const CA_KEY_TOO_SMALL: i32 = 67;
const CA_MD_TOO_WEAK: i32 = 68;

const SECONDS_PER_DAY: i64 = 24 * 3600;

/// What a verification has refused so far.
pub struct Verification {
    refusal: Arc<Mutex<Option<Refusal>>>,
}

/// Why a certificate was refused.
pub struct Refusal {
    result: X509VerifyResult,
    /// 0 is the server's own certificate, more its authorities.
    depth: u32,
    certificate: Option<X509>,
}

impl Verification {
    /// Lets a connection verify its server.
    ///
    /// # Errors
    /// OpenSSL does not take the host as a name.
    pub fn set_up(ssl: &mut SslRef, mode: TlsMode, host: &str) -> Result<Self, ErrorStack> {
        let param = ssl.param_mut();
        // Whatever is in the file of authorities is trusted, be it no root.
        param.set_flags(X509VerifyFlags::PARTIAL_CHAIN)?;
        let address = host.parse::<IpAddr>().ok();
        if mode == TlsMode::VerifyIdentity {
            param.set_hostflags(X509CheckFlags::NO_PARTIAL_WILDCARDS);
            match address {
                Some(address) => param.set_ip(address)?,
                None => param.set_host(host)?,
            }
        }
        let refusal = Arc::new(Mutex::new(None));
        let noted = Arc::clone(&refusal);
        let host = host.to_owned();
        ssl.set_verify_callback(SslVerifyMode::PEER, move |is_right, context| {
            if is_right {
                return true;
            }
            if is_address_by_name(context, &host) {
                context.set_error(X509VerifyResult::OK);
                return true;
            }
            let mut noted = noted.lock().unwrap_or_else(PoisonError::into_inner);
            noted.get_or_insert_with(|| Refusal {
                result: context.error(),
                depth: context.error_depth(),
                certificate: context.current_cert().map(ToOwned::to_owned),
            });
            false
        });
        Ok(Verification { refusal })
    }

    pub fn into_refusal(self) -> Option<Refusal> {
        self.refusal.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// A certificate without alternative names is for the host in its common name, an address as well: so the MySQL
/// clients have it, and OpenSSL for names only.
fn is_address_by_name(context: &X509StoreContextRef, host: &str) -> bool {
    context.error().as_raw() == IP_ADDRESS_MISMATCH
        && context.current_cert().is_some_and(|certificate| {
            certificate.subject_alt_names().is_none()
                && common_name(certificate).as_deref() == Some(host)
        })
}

impl Refusal {
    pub fn explain(self, host: &str, options: &TlsOptions) -> Error {
        let ca = options.ca.clone().unwrap_or_default();
        let certificate = self.certificate.as_deref();
        let not_after = certificate.map_or(0, |it| seconds(it.not_after()));
        match self.result.as_raw() {
            UNABLE_TO_GET_ISSUER_CERT
            | CERT_SIGNATURE_FAILURE
            | DEPTH_ZERO_SELF_SIGNED_CERT
            | SELF_SIGNED_CERT_IN_CHAIN
            | UNABLE_TO_GET_ISSUER_CERT_LOCALLY
            | UNABLE_TO_VERIFY_LEAF_SIGNATURE => Error::UnknownIssuer { ca },
            HOSTNAME_MISMATCH | IP_ADDRESS_MISMATCH => Error::WrongName {
                host: host.to_owned(),
                presented: certificate.map(|it| presented(it, host)).unwrap_or_default(),
            },
            CERT_HAS_EXPIRED if self.depth == 0 => Error::Expired { not_after },
            CERT_HAS_EXPIRED => Error::AuthorityExpired {
                subject: certificate.and_then(common_name).unwrap_or_default(),
                not_after,
            },
            CERT_NOT_YET_VALID => Error::NotYetValid {
                not_before: certificate.map_or(0, |it| seconds(it.not_before())),
            },
            EE_KEY_TOO_SMALL | CA_KEY_TOO_SMALL | CA_MD_TOO_WEAK => {
                Error::Weak { why: self.result.error_string() }
            }
            _ => Error::Certificate { why: self.result.error_string() },
        }
    }
}

/// The hosts that a certificate is for: where it has no alternative names, a host name is compared to its common
/// name.
fn presented(certificate: &X509Ref, host: &str) -> Vec<String> {
    match certificate.subject_alt_names() {
        Some(names) => names
            .iter()
            .filter_map(|name| match (name.dnsname(), name.ipaddress()) {
                (Some(name), _) => Some(name.to_owned()),
                (None, Some(octets)) => Some(address(octets)?.to_string()),
                (None, None) => None,
            })
            .collect(),
        None if host.parse::<IpAddr>().is_ok() => Vec::new(),
        None => common_name(certificate).into_iter().collect(),
    }
}

fn address(octets: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(octets).map(IpAddr::from);
    v4.or_else(|_| <[u8; 16]>::try_from(octets).map(IpAddr::from)).ok()
}

fn common_name(certificate: &X509Ref) -> Option<String> {
    let entry = certificate.subject_name().entries_by_nid(Nid::COMMONNAME).last()?;
    entry.data().to_string().ok()
}

/// Seconds of Unix time.
fn seconds(time: &Asn1TimeRef) -> i64 {
    let since = Asn1Time::from_unix(0).and_then(|epoch| epoch.diff(time));
    since.map_or(0, |since| i64::from(since.days) * SECONDS_PER_DAY + i64::from(since.secs))
}
