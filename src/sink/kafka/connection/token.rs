//! Tokens of SASL/OAUTHBEARER. Whenever librdkafka asks for one, it is read from a file, or made without a signature
//! for brokers in a test.
//!
//! `sasl.oauthbearer.config` says which: `token_file=/run/secrets/kafka-token`, a JSON Web Token that somebody
//! renews there, or librdkafka's own fields of an unsecured token: `principal=relay lifeSeconds=3600`.

use std::time::SystemTime;

use rdkafka::client::OAuthToken;

/// Before the path of the file.
pub const TOKEN_FILE: &str = "token_file=";

/// librdkafka's own default.
const LIFE_SECONDS: u64 = 3600;

/// Why there is no token. The token itself is a secret.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("sasl.oauthbearer.config has neither token_file= nor principal=")]
    NoSource,
    #[error("sasl.oauthbearer.config: lifeSeconds is no number")]
    LifeSeconds,
    #[error("read the token file {path}: {source}")]
    Read { path: String, source: std::io::Error },
    #[error("the token file {path} holds no JSON Web Token with exp")]
    NoToken { path: String },
}

/// The next token of a client with this `sasl.oauthbearer.config`.
///
/// # Errors
/// There is none.
pub fn generate(config: Option<&str>) -> Result<OAuthToken, Error> {
    let config = config.unwrap_or_default().trim();
    match config.strip_prefix(TOKEN_FILE) {
        Some(path) => read(path),
        None => unsecured(config, seconds_since_1970()),
    }
}

fn read(path: &str) -> Result<OAuthToken, Error> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| Error::Read { path: path.to_owned(), source })?;
    parse(text.trim()).ok_or_else(|| Error::NoToken { path: path.to_owned() })
}

/// The token itself has its expiry and its principal (RFC 7519).
fn parse(token: &str) -> Option<OAuthToken> {
    let claims = decode(token.split('.').nth(1)?)?;
    let claims: serde_json::Value = serde_json::from_slice(&claims).ok()?;
    let expires_at = claims.get("exp")?.as_f64()?;
    let principal = claims.get("sub").and_then(serde_json::Value::as_str).unwrap_or("relay");
    Some(OAuthToken {
        token: token.to_owned(),
        principal_name: principal.to_owned(),
        lifetime_ms: (expires_at * 1_000.0) as i64,
    })
}

/// The same token that librdkafka makes for its first login.
fn unsecured(config: &str, now_seconds: u64) -> Result<OAuthToken, Error> {
    let field = |name: &str| {
        config.split_whitespace().find_map(|field| field.strip_prefix(name)?.strip_prefix('='))
    };
    let principal = field("principal").ok_or(Error::NoSource)?;
    let life_seconds = match field("lifeSeconds") {
        Some(text) => text.parse().map_err(|_| Error::LifeSeconds)?,
        None => LIFE_SECONDS,
    };
    let expires_at = now_seconds.saturating_add(life_seconds);
    let mut claims = serde_json::Map::new();
    claims.insert(field("principalClaimName").unwrap_or("sub").to_owned(), principal.into());
    claims.insert("iat".to_owned(), now_seconds.into());
    claims.insert("exp".to_owned(), expires_at.into());
    if let Some(scope) = field("scope") {
        let scopes: Vec<_> = scope.split(',').collect();
        claims.insert(field("scopeClaimName").unwrap_or("scope").to_owned(), scopes.into());
    }
    let claims = serde_json::Value::Object(claims).to_string();
    Ok(OAuthToken {
        token: format!("{}.{}.", encode(br#"{"alg":"none"}"#), encode(claims.as_bytes())),
        principal_name: principal.to_owned(),
        lifetime_ms: i64::try_from(expires_at.saturating_mul(1_000)).unwrap_or(i64::MAX),
    })
}

fn seconds_since_1970() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// Base64 for URLs, without padding (RFC 4648, section 5).
fn encode(bytes: &[u8]) -> String {
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let byte = |index: usize| u32::from(chunk.get(index).copied().unwrap_or_default());
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for digit in 0..=chunk.len() {
            text.push(char::from(ALPHABET[(bits >> (18 - 6 * digit) & 63) as usize]));
        }
    }
    text
}

fn decode(text: &str) -> Option<Vec<u8>> {
    let (mut bytes, mut bits, mut count) = (Vec::new(), 0_u32, 0);
    for letter in text.trim_end_matches('=').bytes() {
        let digit = ALPHABET.iter().position(|it| *it == letter)?;
        bits = (bits & 0xff) << 6 | u32::try_from(digit).ok()?;
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count & 0xff) as u8);
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_unsecured_token_says_who_and_until_when() {
        let made = unsecured("principal=relay lifeSeconds=60 scope=a,b", 1_000).unwrap();
        assert_eq!((made.principal_name.as_str(), made.lifetime_ms), ("relay", 1_060_000));
        let claims = decode(made.token.split('.').nth(1).unwrap()).unwrap();
        let claims: serde_json::Value = serde_json::from_slice(&claims).unwrap();
        assert_eq!(
            claims,
            serde_json::json!({"sub": "relay", "iat": 1_000, "exp": 1_060, "scope": ["a", "b"]})
        );
        assert!(made.token.starts_with("eyJhbGciOiJub25lIn0.") && made.token.ends_with('.'));
        assert!(matches!(unsecured("scope=a", 0), Err(Error::NoSource)));
        assert!(matches!(unsecured("principal=a lifeSeconds=soon", 0), Err(Error::LifeSeconds)));
    }

    #[test]
    fn a_token_of_a_file_is_read_with_the_end_of_its_life() {
        let token = format!("{}.{}.c2ln", encode(b"{}"), encode(br#"{"sub":"me","exp":1700.5}"#));
        let read = parse(&token).unwrap();
        assert_eq!((read.principal_name.as_str(), read.lifetime_ms), ("me", 1_700_500));
        for broken in ["", "a", "a.b.c", "a.####.c", &format!("a.{}.c", encode(b"{}"))] {
            assert!(parse(broken).is_none(), "{broken}");
        }
        let missing = generate(Some("token_file=/nowhere/token")).err().unwrap().to_string();
        assert!(missing.starts_with("read the token file /nowhere/token"), "{missing}");
    }

    proptest! {
        #[test]
        fn what_was_encoded_is_decoded(bytes: Vec<u8>) {
            prop_assert_eq!(decode(&encode(&bytes)), Some(bytes));
        }

        #[test]
        fn no_text_makes_it_panic(text in "\\PC{0,40}") {
            let _ = (parse(&text), unsecured(&text, 7));
        }
    }
}
