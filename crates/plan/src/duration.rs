//! Durations as people write them in topology files: `250ms`, `10s`, `15m`, `6h`, `14d`; also `1h30m`.

const UNITS: [(&str, i64); 5] = [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];

/// Longest duration accepted: 100 years. Sums of a few of them stay far from overflow.
pub const MAX_MS: i64 = 100 * 366 * 86_400_000;

/// Milliseconds of a duration, or what is wrong with it.
pub fn parse_ms(text: &str) -> Result<i64, String> {
    let fail = || format!("`{text}` is not a duration");
    let (mut rest, mut total, mut smallest) = (text.trim(), 0i64, i64::MAX);
    if rest.is_empty() {
        return Err(fail());
    }
    while !rest.is_empty() {
        let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let number: i64 = rest[..digits].parse().map_err(|_| fail())?;
        rest = &rest[digits..];
        let letters = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_alphabetic()).len();
        let (_, unit_ms) = UNITS.iter().find(|(name, _)| *name == &rest[..letters]).ok_or_else(fail)?;
        rest = &rest[letters..];
        if *unit_ms >= smallest {
            return Err(fail());
        }
        smallest = *unit_ms;
        total = number
            .checked_mul(*unit_ms)
            .and_then(|ms| total.checked_add(ms))
            .filter(|ms| *ms <= MAX_MS)
            .ok_or_else(|| format!("`{text}` is longer than 100 years"))?;
    }
    Ok(total)
}

/// A duration as short text, the inverse of [`parse_ms`].
pub fn format_ms(ms: i64) -> String {
    if ms == 0 {
        return "0s".to_string();
    }
    let (mut rest, mut out) = (ms.unsigned_abs(), String::from(if ms < 0 { "-" } else { "" }));
    for (name, unit_ms) in UNITS.iter().rev() {
        let n = rest / unit_ms.unsigned_abs();
        if n > 0 {
            out.push_str(&format!("{n}{name}"));
            rest %= unit_ms.unsigned_abs();
        }
    }
    out
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn units_and_sums() {
        for (text, ms) in [("250ms", 250), ("10s", 10_000), ("15m", 900_000), ("6h", 21_600_000), ("14d", 1_209_600_000), ("1h30m", 5_400_000), ("0s", 0)] {
            assert_eq!(parse_ms(text).unwrap(), ms, "{text}");
            assert_eq!(format_ms(ms), text);
        }
    }

    #[test]
    fn nonsense_is_refused() {
        for text in ["", "5", "m", "-5m", "5 m", "1.5h", "5min", "1m1h", "9999999999999d", "99999999999999999999s"] {
            assert!(parse_ms(text).is_err(), "{text}");
        }
    }
}
