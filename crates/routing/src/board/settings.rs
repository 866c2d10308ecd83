//! Settings of the planner, from the texts under `with:` in the topology; everything has a default.

use super::BoardError;
use chrono_tz::Tz;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// How an area is planned.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Settings {
    /// New plans are in force at once; otherwise they are proposals until a person accepts them.
    pub automatic: bool,
    /// Sites that a schedule names for the day are mandatory even if their forecast says that they can wait.
    pub keep_schedule: bool,
    /// Zone of areas whose sites do not tell theirs.
    pub time_zone: String,
    /// Metres a second on the way, without a road network.
    pub speed_mps: f64,
    /// Metres driven for a metre as the crow flies, without a road network.
    pub detour: f64,
    /// Cost of a kilometre, minor units, where `ref.unit-cost` says nothing.
    pub km_minor: f64,
    /// Cost of a paid hour.
    pub hour_minor: f64,
    /// Cost of a truck that leaves the depot.
    pub truck_minor: f64,
    /// Cost of a container that overflows.
    pub overflow_minor: f64,
    /// Cost of a customer's request left for another day.
    pub missed_minor: f64,
    /// Cost of a site that changes its truck.
    pub change_minor: f64,
    /// A changed plan must save at least this much.
    pub gain_minor: f64,
    /// ... and at least this share of the cost.
    pub gain_share: f64,
    /// A plan whose times are off by so much is told anew.
    pub deviation_ms: i64,
    /// A truck on duty that nothing was heard of for so long is taken for lost.
    pub silent_ms: i64,
    /// A site that is not served has its next chance so long after the day's last shift.
    pub next_chance_ms: i64,
    /// Time at a site that does not tell its own.
    pub service_ms: i64,
    /// Most sites of a problem; the least urgent beyond are left out and told.
    pub max_sites: usize,
    /// A stop served later than planned by more is late.
    pub late_ms: i64,
    /// Plan for the cautious load instead of the likely one.
    pub cautious: bool,
    /// The caller's road network; kept for who judges.
    pub network: String,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            automatic: false,
            keep_schedule: false,
            time_zone: "UTC".into(),
            speed_mps: 7.0,
            detour: 1.35,
            km_minor: 200.0,
            hour_minor: 5_000.0,
            truck_minor: 3_000.0,
            overflow_minor: 6_000.0,
            missed_minor: 4_500.0,
            change_minor: 150.0,
            gain_minor: 500.0,
            gain_share: 0.01,
            deviation_ms: 15 * 60_000,
            silent_ms: 45 * 60_000,
            next_chance_ms: 24 * 3_600_000,
            service_ms: 180_000,
            max_sites: 1_500,
            late_ms: 15 * 60_000,
            cautious: false,
            network: String::new(),
        }
    }
}

impl Settings {
    /// Reads `with:`. Names that are the caller's own are left to it.
    ///
    /// # Errors
    /// A value that cannot be read, or an unknown name that is not in `others`.
    pub fn read(with: &BTreeMap<String, String>, others: &[&str]) -> Result<Settings, BoardError> {
        let mut s = Settings::default();
        for (name, text) in with {
            let fail = |why: &str| BoardError::Setting { name: name.clone(), why: format!("{text:?} is not {why}") };
            let number = || text.parse::<f64>().ok().filter(|x| x.is_finite() && *x >= 0.0).ok_or_else(|| fail("a number from 0 up"));
            let flag = || match text.as_str() {
                "true" => Ok(true),
                "false" => Ok(false),
                _ => Err(fail("true or false")),
            };
            let minutes = || number().map(|m| (m * 60_000.0) as i64);
            match name.as_str() {
                "automatic" => s.automatic = flag()?,
                "keep_schedule" => s.keep_schedule = flag()?,
                "cautious" => s.cautious = flag()?,
                "time_zone" => s.time_zone = text.parse::<Tz>().map_err(|_| fail("an IANA time zone"))?.name().to_string(),
                "speed_mps" => s.speed_mps = number()?.max(0.1),
                "detour" => s.detour = number()?.max(1.0),
                "km_minor" => s.km_minor = number()?,
                "hour_minor" => s.hour_minor = number()?,
                "truck_minor" => s.truck_minor = number()?,
                "overflow_minor" => s.overflow_minor = number()?,
                "missed_minor" => s.missed_minor = number()?,
                "change_minor" => s.change_minor = number()?,
                "gain_minor" => s.gain_minor = number()?,
                "gain_share" => s.gain_share = number()?,
                "deviation_min" => s.deviation_ms = minutes()?,
                "silent_min" => s.silent_ms = minutes()?,
                "late_min" => s.late_ms = minutes()?,
                "next_chance_h" => s.next_chance_ms = minutes()? * 60,
                "service_s" => s.service_ms = (number()? * 1e3) as i64,
                "max_sites" => s.max_sites = (number()? as usize).clamp(1, crate::plan::solve::MAX_NODES - 100),
                other if others.contains(&other) => {}
                _ => return Err(BoardError::Setting { name: name.clone(), why: "there is no such setting".into() }),
            }
        }
        Ok(s)
    }

    /// The same with the caller's road network.
    #[must_use]
    pub fn with_network(mut self, network: &str) -> Settings {
        self.network = network.to_string();
        self
    }

    /// The zone.
    pub fn zone(&self) -> Tz {
        self.time_zone.parse().unwrap_or(Tz::UTC)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn settings_are_read_and_mistakes_are_named() {
        let with = |pairs: &[(&str, &str)]| pairs.iter().map(|(k, v)| ((*k).to_string(), (*v).to_string())).collect::<BTreeMap<_, _>>();
        let s =
            Settings::read(&with(&[("automatic", "true"), ("time_zone", "Europe/Berlin"), ("deviation_min", "5"), ("network", "x")]), &["network"]).unwrap();
        assert!(s.automatic && s.deviation_ms == 300_000 && s.zone() == chrono_tz::Europe::Berlin);
        for (name, value, words) in
            [("automatic", "yes", "true or false"), ("time_zone", "Mars/Base", "IANA"), ("speed", "3", "no such setting"), ("detour", "-1", "from 0")]
        {
            let error = Settings::read(&with(&[(name, value)]), &[]).unwrap_err().to_string();
            assert!(error.contains(words) && error.contains(name), "{error}");
        }
    }
}
