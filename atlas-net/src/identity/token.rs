//! What an operator hands to a new node: where to go, whom to believe there, and the secret that lets it in.

use std::fmt;
use std::str::FromStr;

use atlas_proto::domain::Domain;
use data_encoding::BASE64URL_NOPAD;
use serde::{Deserialize, Serialize};

use super::certificate::Fingerprint;
use super::peer::Role;
use crate::crypto::{self, NoRandomness};

/// One line of text that lets nodes join a domain. It is a secret until it has expired or is used up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Token {
    /// The domain.
    pub domain: Domain,
    /// What the node will be there. The manager knows it, too, and its word counts.
    pub role: Role,
    /// Where the domain's manager may be reached, as `host:port`; the first that answers is taken.
    pub addresses: Vec<String>,
    /// Of the domain's authority: whoever answers without its signature is not told the secret.
    pub authority: Fingerprint,
    /// What the manager asks for.
    pub secret: Secret,
}

/// A number that nobody guesses. It is not shown by `{:?}`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Secret([u8; 16]);

/// Why a text is no token.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ParseTokenError {
    /// It begins otherwise.
    #[error(
        "this is no join token: one begins with `{PREFIX}`; copy the whole line that the manager printed"
    )]
    Prefix,
    /// A part is missing or changed.
    #[error(
        "the join token is incomplete or was changed: copy the whole line that the manager printed"
    )]
    Check,
    /// It was made by another version.
    #[error(
        "the join token was made by another version of Atlas: use the same version at the manager and here"
    )]
    Content,
    /// It says of no place where to go.
    #[error(
        "the join token has `{address}` as the manager's address: make a new one with addresses such as `manager.example.edu:7117`"
    )]
    Address {
        /// What it has; nothing, if there is none.
        address: String,
    },
}

impl Secret {
    /// A new one.
    ///
    /// # Errors
    ///
    /// The system gives no random numbers.
    pub fn generate() -> Result<Self, NoRandomness> {
        crypto::random().map(Self)
    }

    /// For who keeps it as something else than a part of a token.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; 16] {
        self.0
    }

    /// What a manager keeps of it. The secret is random, so that its hash needs no salt and no slowness.
    pub(crate) fn hash(&self) -> blake3::Hash {
        blake3::hash(&self.0)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = postcard::to_stdvec(self).map_err(|_| fmt::Error)?;
        bytes.extend(check(&bytes));
        write!(f, "{PREFIX}{}", BASE64URL_NOPAD.encode(&bytes))
    }
}

impl FromStr for Token {
    type Err = ParseTokenError;

    fn from_str(text: &str) -> Result<Self, ParseTokenError> {
        let encoded = text
            .trim()
            .strip_prefix(PREFIX)
            .ok_or(ParseTokenError::Prefix)?;
        let bytes = BASE64URL_NOPAD
            .decode(encoded.as_bytes())
            .map_err(|_| ParseTokenError::Check)?;
        let (content, sum) = bytes.split_last_chunk().ok_or(ParseTokenError::Check)?;
        if check(content) != *sum {
            return Err(ParseTokenError::Check);
        }
        let (token, rest): (Self, _) =
            postcard::take_from_bytes(content).map_err(|_| ParseTokenError::Content)?;
        if !rest.is_empty() {
            return Err(ParseTokenError::Content);
        }
        let wrong = token.addresses.iter().find(|address| !is_address(address));
        if wrong.is_some() || token.addresses.is_empty() {
            let address = wrong.cloned().unwrap_or_default();
            return Err(ParseTokenError::Address { address });
        }
        Ok(token)
    }
}

fn is_address(address: &str) -> bool {
    let parts = address.rsplit_once(':');
    parts.is_some_and(|(host, port)| {
        !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port > 0)
    })
}

/// Finds mistakes in copying; it protects nothing.
fn check(content: &[u8]) -> [u8; 4] {
    let [a, b, c, d, ..] = *blake3::hash(content).as_bytes();
    [a, b, c, d]
}

const PREFIX: &str = "atlas-join-1-";

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn token(addresses: &[&str]) -> Token {
        Token {
            domain: "cs.example.edu".parse().unwrap(),
            role: Role::Server,
            addresses: addresses.iter().map(ToString::to_string).collect(),
            authority: Fingerprint([7; 32]),
            secret: Secret([9; 16]),
        }
    }

    #[test]
    fn a_token_is_one_line_and_is_read_back() {
        let token = token(&["manager.cs.example.edu:7117", "[::1]:7117"]);
        let text = token.to_string();
        assert!(
            text.starts_with("atlas-join-1-") && !text.contains(char::is_whitespace),
            "{text}"
        );
        assert_eq!(format!(" {text}\n").parse(), Ok(token.clone()));
        assert!(!format!("{token:?}").contains('9'), "{token:?}");
    }

    #[test]
    fn what_is_no_token_is_refused_with_what_to_do() {
        let refused = |text: &str| text.parse::<Token>().unwrap_err().to_string();
        assert!(refused("hello").contains("begins with `atlas-join-1-`"));
        assert!(refused("atlas-join-1-").contains("copy the whole line"));
        assert!(refused("atlas-join-1-!!").contains("copy the whole line"));
        assert!(refused(&token(&[]).to_string()).contains("make a new one with addresses"));
        assert!(
            refused(&token(&["host"]).to_string()).contains("has `host` as the manager's address")
        );
        assert!(refused(&token(&[":1"]).to_string()).contains("`:1`"));
        let mut content = vec![0xff; 9];
        content.extend(check(&content));
        assert!(
            refused(&format!("{PREFIX}{}", BASE64URL_NOPAD.encode(&content)))
                .contains("another version")
        );
    }

    proptest! {
        #[test]
        fn a_changed_token_is_no_token(at in 13..120usize, to in "[A-Za-z0-9_-]") {
            let text = token(&["a.b:1"]).to_string();
            let at = at.min(text.len() - 1);
            let changed = format!("{}{to}{}", &text[..at], &text[at + 1..]);
            prop_assert_eq!(changed.parse::<Token>().is_ok(), changed == text);
        }

        #[test]
        fn any_text_is_refused_or_a_token(text in "(atlas-join-1-)?[A-Za-z0-9_-]{0,99}") {
            prop_assert!(text.parse::<Token>().is_err());
        }
    }
}
