//! Points in time as listings write them. Where they leave out the zone, UTC is meant: nginx's default, and as good a guess as any for others.

use std::time::SystemTime;

/// `26-Nov-2026 17:01` of nginx, `2026-11-26 17:01` of Apache, in two words.
pub(super) fn of_words(date: &str, time: &str) -> Option<SystemTime> {
    let time = if time.len() == "17:01".len() {
        format!("{time}:00")
    } else {
        time.to_owned()
    };
    let iso = if date.as_bytes().first()?.is_ascii_digit() && date.as_bytes().get(4) == Some(&b'-')
    {
        date.to_owned()
    } else {
        let mut parts = date.splitn(3, '-');
        let (day, month, year) = (parts.next()?, parts.next()?, parts.next()?);
        let month = MONTHS.iter().position(|name| *name == month)? + 1;
        format!("{year}-{month:02}-{day}")
    };
    humantime::parse_rfc3339_weak(&format!("{iso} {time}")).ok()
}

/// `2026-11-26T17:01:00Z`.
pub(super) fn iso(text: &str) -> Option<SystemTime> {
    humantime::parse_rfc3339_weak(text.trim()).ok()
}

/// `Thu, 26 Nov 2026 17:01:00 GMT`.
pub(super) fn http(text: &str) -> Option<SystemTime> {
    httpdate::parse_http_date(text.trim()).ok()
}

const MONTHS: [&str; 12] = [
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_forms_mean_the_same() {
        let at = http("Thu, 26 Nov 2026 17:01:00 GMT");
        assert!(at.is_some());
        assert_eq!(of_words("26-Nov-2026", "17:01"), at);
        assert_eq!(of_words("2026-11-26", "17:01"), at);
        assert_eq!(of_words("2026-11-26", "17:01:00"), at);
        assert_eq!(iso("2026-11-26T17:01:00Z"), at);
        for (date, time) in [
            ("26-Foo-2026", "17:01"),
            ("", ""),
            ("2026", "x"),
            ("a-b", "1"),
        ] {
            assert_eq!(of_words(date, time), None);
        }
    }
}
