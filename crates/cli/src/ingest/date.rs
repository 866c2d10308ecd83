//! Dates and times as files write them → UTC milliseconds. What a file leaves out (time zone, hour of the day) the
//! mapping must say: a guess would move every reading by hours without anybody noticing.

use chrono::format::{Fixed, Item, Numeric, Parsed, StrftimeItems, parse};
use chrono::{DateTime, NaiveDateTime, NaiveTime, TimeDelta, TimeZone as _};
use chrono_tz::Tz;

/// Names that stand for a way of writing, besides patterns such as `%d-%m-%Y`.
pub const NAMES: [&str; 5] = ["iso", "unix_s", "unix_ms", "unix_us", "unix_ns"];

/// How a column writes moments.
#[derive(Clone, Debug)]
pub struct DateFormat {
    form: Form,
    zone: Option<Tz>,
    at: Option<NaiveTime>,
}

#[derive(Clone, Debug)]
enum Form {
    Iso,
    /// Units of so many nanoseconds.
    Unix(i128),
    Pattern(String, Vec<Item<'static>>),
}

impl Default for DateFormat {
    fn default() -> Self {
        DateFormat { form: Form::Iso, zone: None, at: None }
    }
}

impl DateFormat {
    /// A format by name or pattern. `zone` is for moments written without one, `at` for dates without a time.
    ///
    /// # Errors
    /// What is wrong, and what to write.
    pub fn new(form: &str, zone: Option<Tz>, at: Option<NaiveTime>) -> Result<DateFormat, (String, String)> {
        let form = match form {
            "iso" => Form::Iso,
            "unix_s" => Form::Unix(1_000_000_000),
            "unix_ms" => Form::Unix(1_000_000),
            "unix_us" => Form::Unix(1_000),
            "unix_ns" => Form::Unix(1),
            pattern => Form::Pattern(pattern.to_owned(), items(pattern, zone, at)?),
        };
        Ok(DateFormat { form, zone, at })
    }

    /// UTC milliseconds of a text.
    ///
    /// # Errors
    /// Why it cannot be read.
    pub fn parse_ms(&self, text: &str) -> Result<i64, String> {
        match &self.form {
            Form::Iso => self.iso(text),
            Form::Unix(nanos) => {
                let fail = || format!("`{text}` is not a number of seconds since 1970");
                match text.parse::<i64>() {
                    Ok(n) => i64::try_from(i128::from(n) * nanos / 1_000_000).map_err(|_| fail()),
                    Err(_) => {
                        let n: f64 = text.parse().map_err(|_| fail())?;
                        let ms = n * (*nanos as f64) / 1e6;
                        (ms.abs() < 9e15).then_some(ms.round() as i64).ok_or_else(fail)
                    }
                }
            }
            Form::Pattern(pattern, items) => {
                let fail = |why: &dyn std::fmt::Display| format!("`{text}` is not a date of the form `{pattern}`: {why}");
                let mut parsed = Parsed::new();
                parse(&mut parsed, text, items.iter()).map_err(|e| fail(&e))?;
                if parsed.offset().is_some() || parsed.timestamp().is_some() {
                    let moment = match parsed.offset() {
                        Some(_) => parsed.to_datetime().map(|t| t.timestamp_millis()),
                        None => parsed.to_naive_datetime_with_offset(0).map(|t| t.and_utc().timestamp_millis()),
                    };
                    return moment.map_err(|e| fail(&e));
                }
                let date = parsed.to_naive_date().map_err(|e| fail(&e))?;
                let time = match self.at {
                    Some(at) => at,
                    None => parsed.to_naive_time().map_err(|e| fail(&e))?,
                };
                self.local_ms(date.and_time(time), text)
            }
        }
    }

    /// UTC milliseconds of a number.
    ///
    /// # Errors
    /// When the format is a written one.
    pub fn number_ms(&self, number: &str) -> Result<i64, String> {
        match &self.form {
            Form::Unix(_) => self.parse_ms(number),
            Form::Iso => Err(format!("`{number}` is a number: say its unit with `date: unix_s` or `date: unix_ms`")),
            Form::Pattern(..) => self.parse_ms(number),
        }
    }

    /// UTC milliseconds of a wall clock's reading without a zone.
    ///
    /// # Errors
    /// When the mapping gives no zone.
    pub fn wall_ms(&self, wall_ms: i64) -> Result<i64, String> {
        let local = DateTime::from_timestamp_millis(wall_ms).ok_or_else(|| format!("{wall_ms} ms is out of range"))?.naive_utc();
        self.local_ms(local, &local.to_string())
    }

    fn iso(&self, text: &str) -> Result<i64, String> {
        if let Ok(t) = DateTime::parse_from_rfc3339(text) {
            return Ok(t.timestamp_millis());
        }
        for pattern in ["%Y-%m-%dT%H:%M:%S%.f%#z", "%Y-%m-%d %H:%M:%S%.f%#z"] {
            if let Ok(t) = DateTime::parse_from_str(text, pattern) {
                return Ok(t.timestamp_millis());
            }
        }
        for pattern in ["%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%dT%H:%M", "%Y-%m-%d %H:%M"] {
            if let Ok(local) = NaiveDateTime::parse_from_str(text, pattern) {
                return self.local_ms(local, text);
            }
        }
        match (chrono::NaiveDate::parse_from_str(text, "%Y-%m-%d"), self.at) {
            (Ok(date), Some(at)) => self.local_ms(date.and_time(at), text),
            (Ok(_), None) => Err(format!("`{text}` has no time of day: say it with `at: \"12:00\"`")),
            _ => Err(format!("`{text}` is not a date such as 2024-01-31T12:00:00Z: describe it with `date: \"%d-%m-%Y …\"`")),
        }
    }

    /// A wall clock's reading that occurs twice is the first one; one that is skipped is the moment after the gap.
    fn local_ms(&self, local: NaiveDateTime, text: &str) -> Result<i64, String> {
        let zone = self.zone.ok_or_else(|| format!("`{text}` has no time zone: say it with `time_zone: Europe/Vienna`"))?;
        (0..=96)
            .find_map(|quarter| {
                let local = local.checked_add_signed(TimeDelta::minutes(15 * quarter))?;
                zone.from_local_datetime(&local).earliest()
            })
            .map(|t| t.timestamp_millis())
            .ok_or_else(|| format!("`{text}` does not exist in {zone}"))
    }
}

fn items(pattern: &str, zone: Option<Tz>, at: Option<NaiveTime>) -> Result<Vec<Item<'static>>, (String, String)> {
    let items = StrftimeItems::new(pattern).parse_to_owned().map_err(|_| {
        (
            format!("`{pattern}` is no date pattern"),
            format!("patterns are those of strftime, for example `%d-%m-%Y` or `%Y-%m-%dT%H:%M:%S`; or one of {}", NAMES.join(", ")),
        )
    })?;
    let has = |wanted: &[Numeric]| items.iter().any(|i| matches!(i, Item::Numeric(n, _) if wanted.contains(n)));
    let offset = items.iter().any(|i| {
        matches!(
            i,
            Item::Fixed(
                Fixed::TimezoneOffset | Fixed::TimezoneOffsetColon | Fixed::TimezoneOffsetColonZ | Fixed::TimezoneOffsetZ | Fixed::RFC3339 | Fixed::RFC2822
            ) | Item::Fixed(Fixed::Internal(_))
        )
    });
    let absolute = offset || has(&[Numeric::Timestamp]);
    let timed = absolute || has(&[Numeric::Hour, Numeric::Hour12]);
    if !items.iter().any(|i| matches!(i, Item::Numeric(..) | Item::Fixed(_))) {
        return Err((format!("`{pattern}` holds no part of a date"), format!("for example `%d-%m-%Y`; or one of {}", NAMES.join(", "))));
    }
    match (absolute || zone.is_some(), timed, at) {
        (false, _, _) => {
            Err((format!("dates of the form `{pattern}` have no time zone"), "add `time_zone: Europe/Vienna` here or at the top of the mapping".into()))
        }
        (true, false, None) => Err((format!("dates of the form `{pattern}` have no time of day"), "add `at: \"12:00\"`".into())),
        (true, true, Some(_)) => Err((format!("dates of the form `{pattern}` have a time of day"), "take `at` out".into())),
        _ => Ok(items),
    }
}

/// An IANA time zone.
///
/// # Errors
/// What is wrong, and what to write.
pub fn zone(name: &str) -> Result<Tz, (String, String)> {
    name.parse().map_err(|_| {
        let near = ws_plan::errors::did_you_mean(name, chrono_tz::TZ_VARIANTS.iter().map(|z| z.name()));
        (
            format!("`{name}` is no time zone"),
            near.filter(|n| n.starts_with("did")).unwrap_or_else(|| "names are those of the IANA database, for example `Europe/Vienna`".into()),
        )
    })
}

/// A time of day, `12:00` or `12:00:30`.
///
/// # Errors
/// What is wrong, and what to write.
pub fn time_of_day(text: &str) -> Result<NaiveTime, (String, String)> {
    ["%H:%M", "%H:%M:%S"]
        .iter()
        .find_map(|p| NaiveTime::parse_from_str(text, p).ok())
        .ok_or_else(|| (format!("`{text}` is no time of day"), "in quotes, for example `at: \"12:00\"`".into()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn format(form: &str, zone_name: &str, at: &str) -> Result<DateFormat, (String, String)> {
        let zone = (!zone_name.is_empty()).then(|| zone(zone_name).unwrap());
        let at = (!at.is_empty()).then(|| time_of_day(at).unwrap());
        DateFormat::new(form, zone, at)
    }

    fn iso(ms: i64) -> String {
        DateTime::from_timestamp_millis(ms).unwrap().format("%Y-%m-%dT%H:%M:%SZ").to_string()
    }

    #[test]
    fn a_day_without_an_hour_takes_the_hour_and_zone_of_the_mapping() {
        let f = format("%d-%m-%Y", "Australia/Melbourne", "12:00").unwrap();
        assert_eq!(iso(f.parse_ms("13-08-2018").unwrap()), "2018-08-13T02:00:00Z");
        assert_eq!(iso(f.parse_ms("13-01-2019").unwrap()), "2019-01-13T01:00:00Z", "summer time");
        let wrong = f.parse_ms("31-02-2019").unwrap_err();
        assert!(wrong.contains("`31-02-2019` is not a date of the form `%d-%m-%Y`"), "{wrong}");
    }

    #[test]
    fn what_the_pattern_leaves_out_must_be_said() {
        assert!(format("%d-%m-%Y", "", "12:00").unwrap_err().0.contains("no time zone"));
        assert!(format("%d-%m-%Y", "Europe/Vienna", "").unwrap_err().0.contains("no time of day"));
        assert!(format("%Y-%m-%d %H:%M", "Europe/Vienna", "12:00").unwrap_err().0.contains("have a time of day"));
        assert!(format("%Y-%m-%d %H:%M %z", "", "").is_ok());
        assert!(format("%Q", "Europe/Vienna", "").unwrap_err().0.contains("no date pattern"));
        assert!(format("day", "Europe/Vienna", "").unwrap_err().0.contains("no part of a date"));
        assert!(zone("Europe/Viena").unwrap_err().1.contains("Europe/Vienna"));
        assert!(time_of_day("noon").is_err());
    }

    #[test]
    fn hours_that_occur_twice_or_never_are_settled() {
        let f = format("%Y-%m-%dT%H:%M:%S", "Europe/Vienna", "").unwrap();
        assert_eq!(iso(f.parse_ms("2024-10-27T02:30:00").unwrap()), "2024-10-27T00:30:00Z");
        assert_eq!(iso(f.parse_ms("2024-03-31T02:30:00").unwrap()), "2024-03-31T01:00:00Z");
    }

    #[test]
    fn iso_and_unix_need_no_pattern() {
        let f = DateFormat::default();
        for text in ["2024-01-31T12:00:00Z", "2024-01-31T13:00:00+01:00", "2024-01-31 13:00:00.000+0100"] {
            assert_eq!(iso(f.parse_ms(text).unwrap()), "2024-01-31T12:00:00Z", "{text}");
        }
        assert!(f.parse_ms("2024-01-31T12:00:00").unwrap_err().contains("time_zone"));
        assert!(f.number_ms("1706702400").unwrap_err().contains("unix_s"));
        assert_eq!(format("unix_s", "", "").unwrap().parse_ms("1706702400.5").unwrap(), 1_706_702_400_500);
        assert_eq!(format("unix_us", "", "").unwrap().number_ms("1706702400000000").unwrap(), 1_706_702_400_000);
        assert!(format("unix_s", "", "").unwrap().parse_ms("9223372036854775807").is_err());
    }
}
