//! `pace`: what the fleet's own speeds (`road.speed`) say of driving, small enough for every board. Roads are grouped by how
//! fast they are when nothing is in the way; each group has a share of that speed for each hour of the week, and all roads
//! together have a live one for the next hour. It is keyed by tenant; planners multiply free flow by it.
//!
//! A share is a mean over rows, weighted by traversals; old ones fade as new ones come (a mean over about 400 traversals).

use super::row::Row;
use crate::roads::{HOURS_PER_WEEK, hour_of_week};
use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Field, Schema};
use chrono::{Offset, TimeZone};
use chrono_tz::Tz;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;
use ws_stream::batch;
use ws_stream::custom::{Cell, CustomContract, CustomError, CustomOp, KeyContext};

const MINUTE_MS: i64 = 60_000;
/// Roads slower than the first, the second, and the others, m/s: streets of homes, ways between quarters, main roads.
const GROUPS_BELOW_MPS: [f64; 2] = [9.0, 14.5];
const GROUPS: usize = GROUPS_BELOW_MPS.len() + 1;
/// Traversals that a share remembers.
const FADE: f64 = 400.0;
/// Longer windows tell of a day, not of an hour.
const WINDOW_MAX_MS: i64 = 60 * MINUTE_MS;
/// Rows tell what is live so long.
const LIVE_MS: i64 = 60 * MINUTE_MS;
/// Fewer traversals than this tell nothing live.
const LIVE_LEAST: f64 = 20.0;
/// Changes smaller than this, in points of a percent, are not told; nor more often than this.
const TELL_POINTS: i32 = 3;
const TELL_LIVE_POINTS: i32 = 5;
const TELL_EVERY_MS: i64 = 15 * MINUTE_MS;
/// Below the first all plans are asked again, above the second it is over, percent.
const SLOW: (u8, u8) = (75, 85);
/// Shares that are believed, percent.
const BELIEVED: (f64, f64) = (5.0, 200.0);
/// The row never expires: a newer one takes its place.
const NEVER_MS: i64 = 4_102_444_800_000;

/// Shares of free flow by group of roads and hour of the week, and what is live.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Pace {
    /// Percent, by group and hour; hours that nobody drove are absent.
    shares: Arc<BTreeMap<(usize, usize), u8>>,
    /// Percent of what is usual, and until when that is believed, UTC ms.
    live: Option<(u8, i64)>,
}

fn group(free_flow_mps: f64) -> usize {
    GROUPS_BELOW_MPS.iter().position(|below| free_flow_mps < *below).unwrap_or(GROUPS - 1)
}

fn mean(of: impl Iterator<Item = u8>) -> Option<f64> {
    let (n, sum) = of.fold((0_u32, 0.0), |(n, sum), p| (n + 1, sum + f64::from(p)));
    (n > 0).then(|| sum / f64::from(n))
}

impl Pace {
    /// Share of free flow on roads this fast in an hour of the week: as driven then, else in that hour of other days, else at other
    /// hours, else on other roads; 1 where nobody knows.
    pub fn share(&self, free_flow_mps: f64, hour: usize) -> f64 {
        let (group, hour) = (group(free_flow_mps), hour % HOURS_PER_WEEK);
        let of = |wanted: &dyn Fn(usize, usize) -> bool| mean(self.shares.iter().filter(|((g, h), _)| wanted(*g, *h)).map(|(_, p)| *p));
        let percent = match self.shares.get(&(group, hour)) {
            Some(p) => Some(f64::from(*p)),
            None => of(&|g, h| g == group && h % 24 == hour % 24).or_else(|| of(&|g, _| g == group)).or_else(|| of(&|_, _| true)),
        };
        percent.map_or(1.0, |p| p / 100.0)
    }

    /// Share of what is usual that is driven now, and until when that is believed, UTC ms.
    pub fn live(&self, at_ms: i64) -> Option<(f64, i64)> {
        self.live.filter(|(_, until_ms)| at_ms < *until_ms).map(|(p, until_ms)| (f64::from(p) / 100.0, until_ms))
    }

    /// As it is at a time: what was live once is left out.
    pub fn at(&self, at_ms: i64) -> Pace {
        Pace { shares: self.shares.clone(), live: self.live.filter(|(_, until_ms)| at_ms < *until_ms) }
    }

    /// `live percent,until;` and for each group `hour:percent,…;`.
    fn write(&self) -> String {
        let mut text = self.live.map_or(String::new(), |(p, until_ms)| format!("{p},{until_ms}"));
        for group in 0..GROUPS {
            let hours: Vec<String> = self.shares.range((group, 0)..(group + 1, 0)).map(|((_, h), p)| format!("{h}:{p}")).collect();
            text = format!("{text};{}", hours.join(","));
        }
        text
    }

    /// Reads what [`Pacing`] wrote; `None` for anything else.
    pub fn read(text: &str) -> Option<Pace> {
        let mut parts = text.split(';');
        let live = match parts.next()? {
            "" => None,
            part => part.split_once(',').and_then(|(p, until_ms)| Some((p.parse().ok()?, until_ms.parse().ok()?))).map(Some)?,
        };
        let mut shares = BTreeMap::new();
        for group in 0..GROUPS {
            for pair in parts.next()?.split(',').filter(|p| !p.is_empty()) {
                let (hour, percent) = pair.split_once(':')?;
                let (hour, percent): (usize, u8) = (hour.parse().ok()?, percent.parse().ok()?);
                if hour >= HOURS_PER_WEEK || percent == 0 {
                    return None;
                }
                shares.insert((group, hour), percent);
            }
        }
        parts.next().is_none().then(|| Pace { shares: Arc::new(shares), live })
    }

    /// Whether it says something else than before that is worth telling.
    fn differs(&self, before: &Pace) -> bool {
        let apart = |a: u8, b: u8, points: i32| (i32::from(a) - i32::from(b)).abs() >= points;
        let live = |pace: &Pace| pace.live.map_or(100, |(p, _)| p);
        self.shares.iter().any(|(at, p)| before.shares.get(at).is_none_or(|b| apart(*p, *b, TELL_POINTS)))
            || apart(live(self), live(before), TELL_LIVE_POINTS)
            // What is believed for an hour is said again before it is not.
            || self.live.is_some_and(|(p, until_ms)| p.abs_diff(100) >= 5 && before.live.is_some_and(|(_, b)| until_ms - b > LIVE_MS / 2))
    }
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct State {
    /// Traversals and mean share, by group and hour: `group * 168 + hour`.
    shares: BTreeMap<usize, (f32, f32)>,
    /// By window's end: traversals, and the sum over them of speed over usual speed.
    recent: BTreeMap<i64, (f64, f64)>,
    told: String,
    told_ms: i64,
    slow: bool,
}

impl State {
    fn pace(&self) -> Pace {
        let percent = |share: f64| (share * 100.0).clamp(BELIEVED.0, BELIEVED.1).round() as u8;
        let shares = self.shares.iter().map(|(at, (_, share))| ((at / HOURS_PER_WEEK, at % HOURS_PER_WEEK), percent(f64::from(*share)))).collect();
        let (n, sum) = self.recent.values().fold((0.0, 0.0), |(n, sum), (m, s)| (n + m, sum + s));
        let until_ms = self.recent.keys().next_back().map(|end_ms| end_ms + LIVE_MS);
        let live = until_ms.filter(|_| n >= LIVE_LEAST).map(|until_ms| (percent(sum / n), until_ms));
        Pace { shares: Arc::new(shares), live }
    }
}

/// The operator.
#[derive(Debug)]
pub struct Pacing {
    zone: Tz,
}

impl Pacing {
    /// With `zone`, whose hours traffic follows; UTC where none is told.
    ///
    /// # Errors
    /// A zone or a setting that is not known.
    pub fn new(with: &BTreeMap<String, String>) -> Result<Pacing, String> {
        let mut zone = Tz::UTC;
        for (name, value) in with {
            match name.as_str() {
                "zone" => zone = value.parse().map_err(|_| format!("zone: {value:?} is no time zone: use a name like Europe/Berlin"))?,
                other => return Err(format!("there is no setting `{other}`: there is `zone`")),
            }
        }
        Ok(Pacing { zone })
    }

    /// What it needs and makes.
    pub fn contract() -> CustomContract {
        let inputs = [
            ("event_id", DataType::Utf8),
            ("window_start", DataType::Int64),
            ("window_end", DataType::Int64),
            ("samples", DataType::Int64),
            ("speed_mps", DataType::Float64),
            ("typical_mps", DataType::Float64),
            ("free_flow_mps", DataType::Float64),
        ];
        let outputs = [
            ("kind", DataType::Utf8),
            ("entity_id", DataType::Utf8),
            ("event_id", DataType::Utf8),
            ("pace", DataType::Utf8),
            ("expires_at", DataType::Int64),
            ("urgent", DataType::Boolean),
            ("quiet", DataType::Boolean),
        ];
        CustomContract {
            inputs: inputs.into_iter().map(|(n, t)| (n.to_string(), t)).collect(),
            outputs: Arc::new(Schema::new(outputs.into_iter().map(|(n, t)| Field::new(n, t, true)).collect::<Vec<_>>())),
        }
    }

    fn hour(&self, at_ms: i64) -> usize {
        let at = chrono::DateTime::<chrono::Utc>::from_timestamp_millis(at_ms).unwrap_or_default();
        hour_of_week(at_ms + i64::from(self.zone.offset_from_utc_datetime(&at.naive_utc()).fix().local_minus_utc()) * 1_000)
    }
}

impl CustomOp for Pacing {
    fn row(&mut self, cx: &mut KeyContext<'_>, rows: &RecordBatch, i: usize) -> Result<(), CustomError> {
        let mut state: State = match cx.state.is_empty() {
            true => State::default(),
            false => serde_json::from_slice(cx.state).map_err(|e| CustomError(format!("stored state: {e}")))?,
        };
        let (row, at_ms) = (Row::new(rows, i), batch::times(rows)[i]);
        let positive = |name: &str| row.number(name).filter(|v| *v > 0.0);
        let (Some(from_ms), Some(to_ms), Some(mps), Some(free_mps)) =
            (row.int("window_start"), row.int("window_end"), positive("speed_mps"), positive("free_flow_mps"))
        else {
            return Ok(());
        };
        if !(1..=WINDOW_MAX_MS).contains(&(to_ms - from_ms)) {
            return Ok(());
        }
        let n = positive("samples").unwrap_or(1.0).min(FADE);
        let at = group(free_mps) * HOURS_PER_WEEK + self.hour(from_ms + (to_ms - from_ms) / 2);
        let known = state.shares.entry(at).or_insert((0.0, 0.0));
        let weight = (f64::from(known.0) + n).min(FADE);
        let share = (mps / free_mps).clamp(BELIEVED.0 / 100.0, BELIEVED.1 / 100.0);
        *known = (weight as f32, (f64::from(known.1) + (share - f64::from(known.1)) * n / weight) as f32);
        if let Some(usual_mps) = positive("typical_mps") {
            let sum = state.recent.entry(to_ms).or_insert((0.0, 0.0));
            *sum = (sum.0 + n, sum.1 + n * (mps / usual_mps).clamp(0.05, 2.0));
        }
        let newest_ms = state.recent.keys().next_back().copied().unwrap_or(i64::MIN);
        state.recent.retain(|end_ms, _| *end_ms > newest_ms.saturating_sub(LIVE_MS));
        let (pace, told) = (state.pace(), Pace::read(&state.told));
        let live = pace.live.map_or(100, |(p, _)| p);
        let slows = !state.slow && live < SLOW.0;
        state.slow = live < SLOW.0 || (state.slow && live <= SLOW.1);
        let due = told.as_ref().is_none_or(|told| at_ms >= state.told_ms + TELL_EVERY_MS && pace.differs(told));
        if slows || due {
            let text = pace.write();
            state.told_ms = at_ms.max(state.told_ms);
            let said = [Some("pace"), Some("pace"), row.text("event_id"), Some(&text)].map(|t| t.map_or(Cell::Null, |t| Cell::Text(t.to_owned())));
            cx.emit(state.told_ms, said.into_iter().chain([Cell::Int(NEVER_MS), Cell::Bool(slows), Cell::Bool(!slows)]).collect());
            state.told = text;
        }
        *cx.state = serde_json::to_vec(&state).map_err(|e| CustomError(e.to_string()))?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::board::testing::rows;
    use serde_json::{Value, json};

    const HOUR_MS: i64 = 3_600_000;
    /// Monday 2026-11-02, midnight UTC.
    const MONDAY_MS: i64 = 1_793_577_600_000;

    fn speed(from_ms: i64, mps: f64, free_mps: f64, samples: i64) -> (i64, Value) {
        let to_ms = from_ms + 15 * MINUTE_MS;
        let id = format!("s{}", from_ms - MONDAY_MS);
        (
            to_ms,
            json!({"kind": "-", "entity_id": "-", "event_id": id, "window_start": from_ms, "window_end": to_ms, "samples": samples, "speed_mps": mps, "typical_mps": free_mps, "free_flow_mps": free_mps}),
        )
    }

    fn told(all: &[(i64, Value)]) -> Vec<(i64, Pace, bool)> {
        let (mut state, mut timer, mut out) = (Vec::new(), None, Vec::new());
        let batch = rows(all);
        let mut op = Pacing::new(&BTreeMap::new()).unwrap();
        for i in 0..batch.num_rows() {
            op.row(&mut KeyContext::new(b"t", &mut state, 0, &mut timer, &mut out), &batch, i).unwrap();
        }
        let text = |cell: &Cell| if let Cell::Text(t) = cell { t.clone() } else { panic!("{cell:?}") };
        out.iter().map(|(at_ms, cells)| (*at_ms, Pace::read(&text(&cells[3])).unwrap(), matches!(cells[5], Cell::Bool(true)))).collect()
    }

    #[test]
    fn shares_are_of_their_roads_and_hours_and_what_nobody_drove_is_guessed_from_the_nearest() {
        let all: Vec<_> = [(8, 5.0, 10.0), (9, 8.0, 10.0), (8, 14.0, 20.0)].map(|(h, mps, free)| speed(MONDAY_MS + h * HOUR_MS, mps, free, 30)).to_vec();
        let pace = told(&[all, vec![speed(MONDAY_MS + 10 * HOUR_MS, 9.0, 10.0, 30)]].concat()).pop().unwrap().1;
        let close = |a: f64, b: f64| assert!((a - b).abs() < 0.011, "{a} for {b}");
        close(pace.share(11.0, 8), 0.5);
        close(pace.share(11.0, 9), 0.8);
        close(pace.share(20.0, 8), 0.7);
        close(pace.share(11.0, 24 + 8), 0.5);
        close(pace.share(20.0, 3), 0.7);
        close(pace.share(5.0, 8), (0.5 + 0.8 + 0.9 + 0.7) / 4.0);
        close(Pace::default().share(5.0, 8), 1.0);
        assert_eq!(Pace::read(&pace.write()).unwrap(), pace);
    }

    #[test]
    fn small_changes_are_not_told_and_a_jam_at_once() {
        let at = |quarter: i64| MONDAY_MS + 8 * HOUR_MS + quarter * 15 * MINUTE_MS;
        let mut all = vec![speed(at(0), 10.0, 10.0, 100), speed(at(0), 9.9, 10.0, 10), speed(at(1), 9.9, 10.0, 10)];
        let said = told(&all);
        assert_eq!(said.len(), 1, "a point more or less is no news: {said:?}");
        all.push(speed(at(5), 4.0, 10.0, 60));
        let said = told(&all);
        let (at_ms, pace, urgent) = said.last().unwrap();
        assert!(*urgent && said.len() == 2, "{said:?}");
        let (share, until_ms) = pace.live(*at_ms).unwrap();
        assert!((share - 0.4).abs() < 0.01 && until_ms == at(6) + LIVE_MS, "older windows do not count: {share}");
        assert!(pace.live(until_ms).is_none() && pace.at(until_ms).live.is_none());
        all.push(speed(at(6), 3.5, 10.0, 60));
        assert!(!told(&all).iter().skip(2).any(|(_, _, urgent)| *urgent), "a jam that goes on is not told as a new one");
    }

    #[test]
    fn days_and_nonsense_teach_nothing() {
        let day = json!({"kind": "-", "entity_id": "-", "window_start": MONDAY_MS, "window_end": MONDAY_MS + 24 * HOUR_MS, "samples": 9, "speed_mps": 1.0, "free_flow_mps": 10.0});
        let none = json!({"kind": "-", "entity_id": "-", "window_start": MONDAY_MS, "window_end": MONDAY_MS + HOUR_MS, "samples": 9, "speed_mps": -1.0, "free_flow_mps": 10.0});
        assert!(told(&[(MONDAY_MS, day), (MONDAY_MS, none)]).is_empty());
        for text in ["", "x", ";;", "80;;;", ";8:0;;", ";168:50;;", ";;;;"] {
            assert!(Pace::read(text).is_none(), "{text}");
        }
        assert!(Pacing::new(&[("zone".into(), "Atlantis/Port".into())].into()).unwrap_err().contains("Atlantis"));
    }
}
