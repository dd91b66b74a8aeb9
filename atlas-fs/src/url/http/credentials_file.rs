//! [`read`]: credentials by host in TOML, for what netrc files have no words for. Pure: the text is handed in.
//!
//! ```toml
//! ["data.example.org"]
//! token = "s3cret"
//! ```
//!
//! What is wrong with a file is told by its line and in words of this module's own: those of the library show what is there, which may
//! be a secret.

use std::collections::BTreeMap;

use serde::Deserialize;
use toml::Spanned;
use url::Url;

use super::credentials::{Credential, Entry};

/// Where a file makes no sense, and why.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Wrong {
    /// From 1.
    pub(super) line: usize,
    pub(super) why: &'static str,
}

/// What is there for one host.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    token: Option<Spanned<String>>,
    user: Option<String>,
    password: Option<String>,
    #[serde(default)]
    plain_http: bool,
}

/// The entries by host, or by host and port.
pub(super) fn read(text: &str) -> Result<BTreeMap<String, Entry>, Wrong> {
    let at = |offset: usize, why| {
        let before = text.as_bytes().iter().take(offset);
        let line = before.filter(|byte| **byte == b'\n').count() + 1;
        Wrong { line, why }
    };
    let written: BTreeMap<Spanned<String>, Spanned<Written>> = toml::from_str(text)
        .map_err(|error| at(error.span().map_or(0, |span| span.start), FORM))?;
    // What is wrong first is told first.
    let mut written: Vec<_> = written.into_iter().collect();
    written.sort_by_key(|(name, _)| name.span().start);
    let mut entries = BTreeMap::new();
    for (name, written) in written {
        let Some(host) = host(name.get_ref()) else {
            return Err(at(name.span().start, HOST));
        };
        let credential = credential(written.get_ref());
        let credential = credential
            .map_err(|(offset, why)| at(offset.unwrap_or_else(|| name.span().start), why))?;
        let entry = Entry {
            credential,
            plain_http: written.get_ref().plain_http,
        };
        if entries.insert(host, entry).is_some() {
            return Err(at(name.span().start, TWICE));
        }
    }
    Ok(entries)
}

/// Who asks; or why that cannot be told, and where.
fn credential(written: &Written) -> Result<Credential, (Option<usize>, &'static str)> {
    match (&written.token, &written.user, &written.password) {
        (Some(token), None, None) => {
            let text = token.get_ref();
            if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
                return Err((Some(token.span().start), TOKEN));
            }
            Ok(Credential::Bearer(text.clone()))
        }
        (None, Some(user), Some(password)) => Ok(Credential::Basic {
            user: user.clone(),
            password: password.clone(),
        }),
        _ => Err((None, WHO)),
    }
}

/// A host as URLs have it, with its port if it has one; none if this is something else.
fn host(written: &str) -> Option<String> {
    if written.contains(['/', '\\', '@', '?', '#']) {
        return None;
    }
    // Each hides a port of its own.
    let [open, encrypted] =
        ["http", "https"].map(|scheme| Url::parse(&format!("{scheme}://{written}")).ok());
    let port = encrypted.as_ref()?.port().or(open?.port());
    let host = encrypted.as_ref()?.host_str()?.to_owned();
    Some(match port {
        Some(port) => format!("{host}:{port}"),
        None => host,
    })
}

const FORM: &str = "expected a host, as in `[\"data.example.org\"]`, and below it `token = \"...\"`, or `user = \"...\"` and \
    `password = \"...\"`; and `plain_http = true` if http may be used";
const HOST: &str = "a host is written as in `[\"data.example.org\"]`, with a port as in `[\"data.example.org:8443\"]`";
const TWICE: &str = "this host has an entry already";
const WHO: &str = "expected a `token`, or a `user` and a `password`, and not both";
const TOKEN: &str = "a token is of letters, digits and signs, without blanks";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_as_urls_have_them() {
        for (written, wanted) in [
            ("Data.Example.org", "data.example.org"),
            ("example.org:8443", "example.org:8443"),
            ("example.org:443", "example.org:443"),
            ("example.org:80", "example.org:80"),
            ("bücher.example", "xn--bcher-kva.example"),
            ("[::1]:8080", "[::1]:8080"),
        ] {
            assert_eq!(host(written).as_deref(), Some(wanted));
        }
        for wrong in [
            "",
            "https://example.org",
            "example.org/x",
            "me@example.org",
            "a b",
        ] {
            assert_eq!(host(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn what_is_wrong_is_told_by_its_line_and_shows_no_secret() {
        for (text, line, why) in [
            ("# mine\n[\"a.org\"]\ntoken = s3cret\n", 3, FORM),
            (
                "[\"a.org\"]\ntoken = \"s3cret\"\nplain_http = \"s3cret\"\n",
                3,
                FORM,
            ),
            ("[\"a.org\"]\n\ntokens = \"s3cret\"\n", 3, FORM),
            ("[a.org]\ntoken = \"s3cret\"\n", 1, FORM),
            ("\n[\"https://a.org\"]\ntoken = \"s3cret\"\n", 2, HOST),
            (
                "[\"a.org\"]\ntoken = \"s3cret\"\n[\"A.org\"]\ntoken = \"s3cret\"\n",
                3,
                TWICE,
            ),
            ("\n[\"a.org\"]\nuser = \"me\"\n", 2, WHO),
            (
                "[\"a.org\"]\nuser = \"me\"\npassword = \"x\"\ntoken = \"s3cret\"\n",
                1,
                WHO,
            ),
            ("[\"a.org\"]\ntoken = \"s3cret two\"\n", 2, TOKEN),
            ("[\"a.org\"]\ntoken = \"\"\n", 2, TOKEN),
        ] {
            let wrong = read(text).map(|_| ()).unwrap_err();
            assert_eq!(wrong, Wrong { line, why }, "{text}");
        }
        assert!(read("").unwrap().is_empty());
    }
}
