//! Durations as people write them.

use std::time::Duration;

use anyhow::{Context as _, Result, bail};

/// `100s`, `1.5s`, `250ms`, `40us`; a bare number is seconds.
pub(super) fn duration(text: &str) -> Result<Duration> {
    let digits = text.trim_end_matches(char::is_alphabetic);
    let scale = match &text[digits.len()..] {
        "s" | "" => 1.0,
        "ms" => 1e-3,
        "us" => 1e-6,
        unit => bail!("unknown unit `{unit}`: write s, ms or us"),
    };
    let number: f64 = digits
        .trim()
        .parse()
        .with_context(|| format!("`{digits}` is no number"))?;
    Duration::try_from_secs_f64(number * scale).with_context(|| format!("`{text}` is no duration"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_in_all_units() {
        let read = |text| duration(text).unwrap();
        assert_eq!(read("100s"), Duration::from_secs(100));
        assert_eq!(read("1.5"), Duration::from_millis(1500));
        assert_eq!(read("250ms"), Duration::from_millis(250));
        assert_eq!(read("40us"), Duration::from_micros(40));
        for text in ["", "ms", "-1s", "1h", "1 2s", "nan"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }
}
