//! What may be served when, by RFC 9111 and RFC 5861. **Pure**: the time is an argument.
//!
//! `http-cache-semantics` knows the rules for whole resources and does not know ranges. So it is asked of a [`Head`], in
//! which an answer with a range stands as the answer with the whole.

use std::time::{Duration, SystemTime};

use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_cache_semantics::{CacheOptions, CachePolicy};
use url::Url;

use super::head::Head;

/// What may be done with what is known of a URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Served for so long.
    Fresh(Duration),
    /// Served while the origin is asked, under `stale-while-revalidate`.
    WhileAsking,
    /// The origin is asked first.
    Ask,
}

/// What may be served, if the origin need not be asked.
pub(crate) fn verdict(url: &Url, head: &Head, now: SystemTime) -> Verdict {
    let (left, over) = lifetime(url, head, now);
    if !left.is_zero() {
        return Verdict::Fresh(left);
    }
    let headers = head.headers();
    let may_wait = !forbids_stale(&headers)
        && seconds(&headers, "stale-while-revalidate").is_some_and(|allowed| over <= allowed);
    if may_wait {
        Verdict::WhileAsking
    } else {
        Verdict::Ask
    }
}

/// Whether it may be served though the origin cannot be asked: the answer allows it by `stale-if-error`, or whoever
/// reads does, for so long after it was fresh.
pub(crate) fn serves_on_error(url: &Url, head: &Head, now: SystemTime, reader: Duration) -> bool {
    let headers = head.headers();
    let (_, over) = lifetime(url, head, now);
    let allowed = seconds(&headers, "stale-if-error").unwrap_or_default();
    !forbids_stale(&headers) && over <= allowed.max(reader)
}

/// Whether an answer's bytes may stay when nobody reads them any more: RFC 9111, section 5.2.2.5.
pub(crate) fn may_be_kept(headers: &HeaderMap) -> bool {
    !has(headers, &["no-store"])
}

/// How long it stays fresh, and for how long it has not been.
fn lifetime(url: &Url, head: &Head, now: SystemTime) -> (Duration, Duration) {
    let headers = head.headers();
    let Some(policy) = policy(url, head, &headers) else {
        return (Duration::ZERO, Duration::MAX);
    };
    let says_nothing = !headers.contains_key("expires")
        && !headers.contains_key("pragma")
        && !has(
            &headers,
            &["max-age", "no-cache", "no-store", "must-revalidate"],
        );
    let mut on_arrival = policy.time_to_live(head.received());
    if says_nothing {
        on_arrival = on_arrival.clamp(UNSAID_MIN, UNSAID_MAX);
    }
    let kept = since(head.received(), now);
    (
        on_arrival.saturating_sub(kept),
        kept.saturating_sub(on_arrival),
    )
}

fn policy(url: &Url, head: &Head, headers: &HeaderMap) -> Option<CachePolicy> {
    let request = Request::builder()
        .method(Method::GET)
        .uri(url.as_str())
        .body(())
        .ok()?;
    let mut response = Response::builder()
        .status(StatusCode::from_u16(head.status).ok()?)
        .body(())
        .ok()?;
    *response.headers_mut() = headers.clone();
    let options = CacheOptions {
        // One user's, or one manager's for those who may read what it may.
        shared: false,
        ..CacheOptions::default()
    };
    let policy = CachePolicy::new_options(&request, &response, head.received(), options);
    Some(policy)
}

fn forbids_stale(headers: &HeaderMap) -> bool {
    has(headers, &["must-revalidate", "no-cache", "no-store"])
}

fn has(headers: &HeaderMap, names: &[&str]) -> bool {
    directives(headers)
        .any(|(name, _)| names.iter().any(|wanted| name.eq_ignore_ascii_case(wanted)))
}

fn seconds(headers: &HeaderMap, wanted: &str) -> Option<Duration> {
    let mut found = directives(headers).filter(|(name, _)| name.eq_ignore_ascii_case(wanted));
    let (_, value) = found.next()?;
    value
        .trim_matches('"')
        .parse()
        .ok()
        .map(Duration::from_secs)
}

fn directives(headers: &HeaderMap) -> impl Iterator<Item = (&str, &str)> {
    let values = headers.get_all("cache-control").into_iter();
    let texts = values.filter_map(|value| value.to_str().ok());
    texts.flat_map(|text| text.split(',')).map(|directive| {
        let (name, value) = directive.split_once('=').unwrap_or((directive, ""));
        (name.trim(), value.trim())
    })
}

fn since(then: SystemTime, now: SystemTime) -> Duration {
    now.duration_since(then).unwrap_or_default()
}

/// For how long an answer is fresh that says nothing of it: RFC 9111, section 4.2.2, leaves that to the cache. At least for what one command
/// takes that looks at a file and then reads it.
const UNSAID_MIN: Duration = Duration::from_secs(5);
/// At most for a minute. A tenth of the file's age, as browsers have it, would hide the change of an old file for weeks.
const UNSAID_MAX: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::url::head::Asked;

    fn head(cache_control: Option<&str>, status: u16) -> (Url, Head, SystemTime) {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        let mut headers = HeaderMap::new();
        headers.insert("date", httpdate::fmt_http_date(now).parse().unwrap());
        if let Some(value) = cache_control {
            headers.insert("cache-control", value.parse().unwrap());
        }
        let head = Head::of(status, &headers, Asked::Whole, now);
        (Url::parse("http://example.org/x").unwrap(), head, now)
    }

    fn after(now: SystemTime, seconds: u64) -> SystemTime {
        now + Duration::from_secs(seconds)
    }

    #[test]
    fn what_has_a_max_age_is_served_that_long() {
        let (url, head, now) = head(Some("max-age=60"), 200);
        assert_eq!(
            verdict(&url, &head, after(now, 10)),
            Verdict::Fresh(Duration::from_secs(50))
        );
        assert_eq!(verdict(&url, &head, after(now, 61)), Verdict::Ask);
    }

    #[test]
    fn stale_answers_are_served_as_rfc_5861_says() {
        let (url, head, now) = head(
            Some("max-age=60, stale-while-revalidate=30, stale-if-error=300"),
            200,
        );
        assert_eq!(verdict(&url, &head, after(now, 85)), Verdict::WhileAsking);
        assert_eq!(verdict(&url, &head, after(now, 95)), Verdict::Ask);
        assert!(serves_on_error(
            &url,
            &head,
            after(now, 350),
            Duration::ZERO
        ));
        assert!(!serves_on_error(
            &url,
            &head,
            after(now, 370),
            Duration::ZERO
        ));
        assert!(serves_on_error(
            &url,
            &head,
            after(now, 370),
            Duration::from_secs(3600)
        ));
    }

    #[test]
    fn who_must_be_asked_is_asked() {
        let (url, head, now) = head(Some("no-cache, stale-while-revalidate=30"), 200);
        assert_eq!(verdict(&url, &head, now), Verdict::Ask);
        let hour = Duration::from_secs(3600);
        assert!(!serves_on_error(&url, &head, now, hour));
        let (url, head, now) = self::head(Some("max-age=1, must-revalidate"), 200);
        assert!(!serves_on_error(&url, &head, after(now, 5), hour));
    }

    #[test]
    fn what_says_nothing_is_served_for_a_moment_and_so_is_that_there_is_nothing() {
        for status in [200, 404] {
            let (url, head, now) = head(None, status);
            assert!(
                matches!(verdict(&url, &head, after(now, 2)), Verdict::Fresh(_)),
                "{status}"
            );
            assert_eq!(
                verdict(&url, &head, after(now, 6)),
                Verdict::Ask,
                "{status}"
            );
        }
    }

    #[test]
    fn that_a_file_is_old_does_not_hide_its_change_for_long() {
        let (url, _, now) = head(None, 200);
        let year = Duration::from_secs(365 * 24 * 3600);
        let mut headers = HeaderMap::new();
        headers.insert("date", httpdate::fmt_http_date(now).parse().unwrap());
        let modified = httpdate::fmt_http_date(now - year).parse().unwrap();
        headers.insert("last-modified", modified);
        let head = Head::of(200, &headers, Asked::Whole, now);
        assert!(matches!(
            verdict(&url, &head, after(now, 50)),
            Verdict::Fresh(_)
        ));
        assert_eq!(verdict(&url, &head, after(now, 61)), Verdict::Ask);
    }
}
