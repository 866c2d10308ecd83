//! Settings of an operator as a topology writes them: texts by name, read into typed values with limits, and every problem told.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::ops::RangeInclusive;
use std::str::FromStr;
use ws_plan::duration::{format_ms, parse_ms};
use ws_plan::errors::did_you_mean;

/// Reads the settings of one operator.
pub struct Settings<'a> {
    with: &'a BTreeMap<String, String>,
    known: Vec<&'static str>,
    problems: Vec<String>,
}

impl<'a> Settings<'a> {
    /// Of these texts.
    pub fn new(with: &'a BTreeMap<String, String>) -> Settings<'a> {
        Settings { with, known: Vec::new(), problems: Vec::new() }
    }

    fn given(&mut self, name: &'static str) -> Option<&'a str> {
        self.known.push(name);
        self.with.get(name).map(|text| text.trim())
    }

    /// A value that can be parsed, within limits.
    pub fn value<T: FromStr + PartialOrd + Display>(&mut self, name: &'static str, into: &mut T, within: RangeInclusive<T>) {
        let Some(text) = self.given(name) else { return };
        match text.parse::<T>().ok().filter(|value| within.contains(value)) {
            Some(value) => *into = value,
            None => self.problems.push(format!("`{name}` is `{text}`: {} to {}", within.start(), within.end())),
        }
    }

    /// A duration, within limits.
    pub fn duration(&mut self, name: &'static str, into_ms: &mut i64, within_ms: RangeInclusive<i64>) {
        let Some(text) = self.given(name) else { return };
        match parse_ms(text).ok().filter(|ms| within_ms.contains(ms)) {
            Some(ms) => *into_ms = ms,
            None => self.problems.push(format!("`{name}` is `{text}`: {} to {}", format_ms(*within_ms.start()), format_ms(*within_ms.end()))),
        }
    }

    /// `true` or `false`.
    pub fn flag(&mut self, name: &'static str, into: &mut bool) {
        let Some(text) = self.given(name) else { return };
        match text.parse() {
            Ok(value) => *into = value,
            Err(_) => self.problems.push(format!("`{name}` is `{text}`: true or false")),
        }
    }

    /// A time zone.
    pub fn zone(&mut self, name: &'static str, into: &mut chrono_tz::Tz) {
        let Some(text) = self.given(name) else { return };
        match text.parse() {
            Ok(zone) => *into = zone,
            Err(_) => self.problems.push(format!("`{name}` is `{text}`: a time zone like Europe/Berlin")),
        }
    }

    /// Problems so far; names that nobody asked for are among them.
    ///
    /// # Errors
    /// All problems in one line.
    pub fn done(mut self) -> Result<(), String> {
        for name in self.with.keys().filter(|name| !self.known.contains(&name.as_str())) {
            let hint = did_you_mean(name, self.known.iter().copied()).map_or(String::new(), |hint| format!(" ({hint})"));
            self.problems.push(format!("there is no setting `{name}`{hint}"));
        }
        if self.problems.is_empty() { Ok(()) } else { Err(self.problems.join("; ")) }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn settings_are_typed_limited_and_named() {
        let with: BTreeMap<String, String> =
            [("gap", "5m"), ("sigma_m", "7.5"), ("odometer", "maybe"), ("zone", "Mars/Base"), ("vehicles", "1"), ("gapp", "1m")]
                .map(|(k, v)| (k.into(), v.into()))
                .into();
        let (mut gap_ms, mut sigma_m, mut odometer, mut zone, mut vehicles) = (0, 0.0, true, chrono_tz::UTC, 3usize);
        let mut s = Settings::new(&with);
        s.duration("gap", &mut gap_ms, 1_000..=600_000);
        s.value("sigma_m", &mut sigma_m, 1.0..=50.0);
        s.flag("odometer", &mut odometer);
        s.zone("zone", &mut zone);
        s.value("vehicles", &mut vehicles, 2..=64);
        assert_eq!((gap_ms, sigma_m, odometer, vehicles), (300_000, 7.5, true, 3));
        let problems = s.done().unwrap_err();
        for part in ["`odometer` is `maybe`", "`zone` is `Mars/Base`", "`vehicles` is `1`: 2 to 64", "no setting `gapp` (did you mean `gap`?)"] {
            assert!(problems.contains(part), "{part}: {problems}");
        }
    }
}
