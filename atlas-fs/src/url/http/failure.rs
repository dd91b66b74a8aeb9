//! [`Failure`]: what went wrong with one attempt, and whether another may help.

use std::error::Error;
use std::io;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use url::Url;

use super::super::error::UrlError;
use super::super::head::text;
use super::super::options::Timeouts;

/// An attempt that failed.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) error: UrlError,
    /// Whether it may pass by itself.
    pub(crate) may_pass: bool,
    /// What the origin asks for.
    pub(crate) retry_after: Option<Duration>,
}

impl Failure {
    /// Nothing but an answer from others can help.
    pub(crate) fn for_good(error: UrlError) -> Self {
        Self {
            error,
            may_pass: false,
            retry_after: None,
        }
    }

    /// The origin contradicts itself, which a second answer may not.
    pub(crate) fn broken(url: &Url, what: impl Into<String>) -> Self {
        Self {
            error: UrlError::broken(url, what),
            may_pass: true,
            retry_after: None,
        }
    }

    pub(super) fn timed_out(url: &Url, doing: &'static str, after: Duration) -> Self {
        let url = Box::new(url.clone());
        Self {
            error: UrlError::TimedOut { url, doing, after },
            may_pass: true,
            retry_after: None,
        }
    }

    /// There is no answer.
    pub(super) fn of_request(url: &Url, error: reqwest::Error, timeouts: &Timeouts) -> Self {
        // Without its own copy of the URL.
        let error = error.without_url();
        let (is_redirect, is_timeout) = (error.is_redirect(), error.is_timeout());
        let (is_connect, is_builder) = (error.is_connect(), error.is_builder());
        let (tls, nonsense) = (is_tls(&error), nonsense(&error));
        let address = Box::new(url.clone());
        let source = Arc::new(error);
        if is_redirect {
            return Self::for_good(UrlError::Redirects {
                url: address,
                source,
            });
        }
        if is_builder {
            let reason = "no request can be made of it";
            return Self::for_good(UrlError::Name {
                url: address,
                reason,
            });
        }
        if tls {
            return Self::for_good(UrlError::Tls {
                url: address,
                source,
            });
        }
        if let Some(what) = nonsense {
            return Self::broken(url, what);
        }
        if is_timeout {
            let doing = if is_connect {
                "a connection"
            } else {
                "an answer"
            };
            return Self::timed_out(url, doing, timeouts.connect);
        }
        Self {
            error: UrlError::Unreachable {
                url: address,
                source,
            },
            may_pass: true,
            retry_after: None,
        }
    }

    /// The bytes end before their end.
    pub(super) fn of_body(url: &Url, error: reqwest::Error) -> Self {
        let error = error.without_url();
        let causes = std::iter::successors(error.source(), |&cause| cause.source());
        let what = causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"));
        Self::broken(url, what)
    }

    /// The answer is that there is none.
    pub(super) fn of_status(url: &Url, response: &reqwest::Response) -> Self {
        let status = response.status().as_u16();
        Self {
            error: UrlError::status_of(url, status),
            // RFC 9110, section 15: those that ask to come back, and those of servers that may recover.
            may_pass: matches!(status, 408 | 425 | 429 | 500 | 502 | 503 | 504),
            retry_after: text(response.headers(), "retry-after")
                .and_then(|after| retry_after(&after, SystemTime::now())),
        }
    }
}

/// In seconds, or as a date.
fn retry_after(value: &str, now: SystemTime) -> Option<Duration> {
    if let Ok(seconds) = value.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = httpdate::parse_http_date(value).ok()?;
    Some(date.duration_since(now).unwrap_or_default())
}

fn is_tls(error: &(dyn Error + 'static)) -> bool {
    let mut causes = std::iter::successors(Some(error), |&cause| cause.source());
    causes.any(|cause| {
        // The system's error shows what is in it by `get_ref` alone, and may hold another of its kind.
        let inner = cause
            .downcast_ref::<io::Error>()
            .and_then(io::Error::get_ref);
        cause.is::<rustls::Error>() || inner.is_some_and(|inner| is_tls(inner))
    })
}

/// What is wrong with an answer that is no HTTP.
fn nonsense(error: &(dyn Error + 'static)) -> Option<String> {
    let mut causes = std::iter::successors(Some(error), |&cause| cause.source());
    let wrong = causes.find_map(|cause| {
        let error = cause.downcast_ref::<hyper::Error>()?;
        error.is_parse().then_some(error)
    });
    wrong.map(|error| format!("an answer that is no HTTP: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_may_ask_for_a_pause_in_seconds_or_until_a_date() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
        assert_eq!(retry_after("7", now), Some(Duration::from_secs(7)));
        let date = httpdate::fmt_http_date(now + Duration::from_secs(9));
        assert_eq!(retry_after(&date, now), Some(Duration::from_secs(9)));
        assert_eq!(retry_after("soon", now), None);
    }
}
