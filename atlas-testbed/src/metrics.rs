//! A manager's metrics, as it serves them over HTTP.

use std::collections::BTreeMap;
use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};

use crate::running::PATIENCE;

/// Numbers by their names, without the prefix `atlas_`.
#[derive(Clone, Debug, PartialEq)]
pub struct Metrics(BTreeMap<String, u64>);

impl Metrics {
    /// One of them, as `workers` or `closures_lent_total`.
    ///
    /// # Panics
    ///
    /// There is no such number.
    #[must_use]
    #[track_caller]
    pub fn get(&self, name: &str) -> u64 {
        let value = self.0.get(name);
        *value.unwrap_or_else(|| panic!("there is no metric {name} among {:?}", self.0.keys()))
    }

    /// Reads what a manager serves; none while it does not answer.
    pub(crate) fn of(address: SocketAddr) -> Option<Self> {
        let text = fetch(address, "/metrics").ok()?;
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        let numbers = lines.filter_map(|line| {
            let (name, value) = line.split_once(' ')?;
            let name = name.strip_prefix("atlas_")?;
            Some((name.to_owned(), value.parse().ok()?))
        });
        Some(Self(numbers.collect())).filter(|metrics| !metrics.0.is_empty())
    }
}

/// The body of an answer over HTTP; an error unless all went well.
pub(crate) fn fetch(address: SocketAddr, path: &str) -> io::Result<String> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let body = answer
        .strip_prefix("HTTP/1.1 200 ")
        .and_then(|rest| rest.split_once("\r\n\r\n"));
    let (_, body) = body.ok_or_else(|| io::Error::other(answer.clone()))?;
    Ok(body.to_owned())
}
