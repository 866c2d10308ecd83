//! What the zones scenario expects: an alarm is a call for help that a tick with a full count meets and one with an
//! empty count withdraws; a device that says nothing for a while is told. Calls and what ends them come from two inputs,
//! one of them through a repartition topic: a worker reads them side by side, the undisturbed run one after the other, as
//! a back-log would be. Both must end every call alike, and as the plain rules at the end of this file say.

use crate::meter::{code, column};
use crate::scenario::{Decided, Decisions, Wrong};
use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Float64Type, Schema, SchemaRef};
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Arc;
use ws_stream::expr::ExprRef;
use ws_stream::op::absence_columns;
use ws_stream::spec::{AbsenceSpec, Clock, Endings, From, OpSpec, Otherwise, StageSpec, When};

/// Sink with ended calls.
pub const CALL: &str = "sim.call";
/// Sink with silent devices.
pub const QUIET: &str = "sim.quiet";

const DUE_MS: i64 = 30_000;
const NOT_BEFORE_MS: i64 = 2_000;
const REPEAT_MS: i64 = 20_000;
const GIVE_UP_MS: i64 = 50_000;
const QUIET_MS: i64 = 25_000;
/// The count of a tick that meets calls, and of one that withdraws them.
const FULL: f64 = 9.0;
const EMPTY: f64 = 0.0;

fn text<'a>(rows: &'a RecordBatch, name: &str) -> Result<&'a StringArray, String> {
    rows.column_by_name(name).and_then(|c| c.as_string_opt()).ok_or_else(|| format!("no text {name}"))
}

/// The call that a row is: an alarm's id.
fn call_of(rows: &RecordBatch) -> Result<ArrayRef, String> {
    let (device, id) = (text(rows, "device")?, text(rows, "id")?);
    let of = |i: usize| (device.is_valid(i) && device.value(i).starts_with("alarm")).then(|| id.value(i));
    Ok(Arc::new((0..rows.num_rows()).map(of).collect::<StringArray>()))
}

/// Ticks with this count.
fn counting(rows: &RecordBatch, wanted: f64) -> Result<ArrayRef, String> {
    let n = rows.column_by_name("n").and_then(|c| c.as_primitive_opt::<Float64Type>()).ok_or("no count")?;
    Ok(Arc::new(n.iter().map(|n| n.map(|n| n == wanted)).collect::<BooleanArray>()))
}

fn condition(text: &'static str, function: fn(&RecordBatch) -> Result<ArrayRef, String>) -> Option<ExprRef> {
    Some(code(text, DataType::Boolean, function))
}

/// The stages behind `from`, whose rows are `rows`; the first has number `first`, and the last two have rows to tell.
pub(crate) fn stages(from: From, first: usize, rows: &SchemaRef) -> Vec<StageSpec> {
    let user: Vec<Field> = ws_stream::batch::user_fields(rows).iter().map(|f| f.as_ref().clone()).collect();
    let with = |more: Vec<Field>| -> SchemaRef { ws_stream::batch::with_system(&Schema::new([user.clone(), more].concat())) };
    let call = Field::new("call", DataType::Utf8, true);
    let mut columns: Vec<_> = [("id", DataType::Utf8), ("device", DataType::Utf8), ("zone", DataType::Utf8), ("at", DataType::Int64), ("n", DataType::Float64)]
        .into_iter()
        .map(|(name, kind)| column(name, name, kind))
        .collect();
    columns.push(ws_stream::spec::Column { name: "call".into(), expr: code("call", DataType::Utf8, call_of) });
    let calls = AbsenceSpec {
        key: vec!["zone".into()],
        each: vec!["call".into()],
        opens: condition("call IS NOT NULL", |rows| Ok(Arc::new(text(rows, "call")?.iter().map(|c| Some(c.is_some())).collect::<BooleanArray>()))),
        met: condition("n = full", |rows| counting(rows, FULL)),
        cancel: condition("n = empty", |rows| counting(rows, EMPTY)),
        due: When::After(DUE_MS),
        not_before: Some(When::After(NOT_BEFORE_MS)),
        repeat_ms: Some(REPEAT_MS),
        give_up_ms: GIVE_UP_MS,
        clock: Clock::Event,
        emit: Endings { absent: true, met: true, cancelled: true },
        take: vec![("id".into(), "ended_by".into())],
        max_open: 1_000,
    };
    let quiet = AbsenceSpec {
        key: vec!["zone".into(), "device".into()],
        each: Vec::new(),
        opens: None,
        met: None,
        cancel: None,
        due: When::After(QUIET_MS),
        not_before: None,
        repeat_ms: None,
        emit: Endings { absent: true, met: false, cancelled: false },
        take: Vec::new(),
        ..calls.clone()
    };
    let mut told = vec![call.clone()];
    told.extend(absence_columns());
    told.push(Field::new("ended_by", DataType::Utf8, true));
    let stage = |id: &str, from: From, op: OpSpec, schema: SchemaRef| StageSpec { id: id.into(), from: vec![from], op, schema };
    let select = OpSpec::Select { filter: None, otherwise: Otherwise::Drop, columns: Some(columns) };
    vec![
        stage("noted", from, select, with(vec![call.clone()])),
        stage("calls", From::Stage(first), OpSpec::Absence(Box::new(calls)), with(told)),
        stage("quiet", From::Stage(first), OpSpec::Absence(Box::new(quiet)), with([vec![call], absence_columns()].concat())),
    ]
}

/// An accepted row, as the rules see it.
#[derive(Clone, Debug)]
pub(crate) struct Heard {
    pub(crate) zone: String,
    pub(crate) device: String,
    pub(crate) id: String,
    pub(crate) at: i64,
    pub(crate) n: f64,
}

/// What is to be told, by sink and zone: (when, in words).
pub(crate) type Told = BTreeMap<(&'static str, String), Vec<(i64, String)>>;

/// The rules: no two rows have the same time.
pub(crate) fn told(heard: &[Heard]) -> Told {
    let mut told = Told::new();
    for row in heard {
        let of_zone = || heard.iter().filter(|h| h.zone == row.zone);
        if row.device.starts_with("alarm") {
            let ends = |h: &&Heard| (h.n == FULL && h.at >= row.at + NOT_BEFORE_MS) || (h.n == EMPTY && h.at >= row.at);
            let end = of_zone().filter(ends).min_by_key(|h| h.at);
            let list = told.entry((CALL, row.zone.clone())).or_default();
            let due_ms = row.at + DUE_MS;
            match end {
                Some(h) if h.at <= due_ms => {
                    let how = if h.n == FULL { "met" } else { "cancelled" };
                    list.push((h.at, format!("{} {how} by {} 0", row.id, h.id)));
                }
                end => {
                    let times = (0..).map(|i| (i, due_ms + i * REPEAT_MS)).take_while(|(_, at)| *at <= due_ms + GIVE_UP_MS && end.is_none_or(|h| *at < h.at));
                    list.extend(times.map(|(i, at)| (at, format!("{} absent by  {i}", row.id))));
                }
            }
        }
        let next = of_zone().filter(|h| h.device == row.device && h.at > row.at).map(|h| h.at).min();
        if next.is_none_or(|next| next > row.at + QUIET_MS) {
            told.entry((QUIET, row.zone.clone())).or_default().push((row.at + QUIET_MS, format!("{} absent by  0", row.id)));
        }
    }
    told
}

/// Rows of a sink against the rules; what is told at `sure_ms` or later may still be missing.
fn check(sink: &'static str, wanted: &Told, sure_ms: i64, found: &Decisions) -> Vec<(Wrong, String)> {
    let mut wrong = Vec::new();
    let mut balance: BTreeMap<(&str, &str, i64), i64> = BTreeMap::new();
    for ((_, zone), list) in wanted.iter().filter(|(k, _)| k.0 == sink) {
        list.iter().for_each(|(at, what)| *balance.entry((zone, what, *at)).or_default() -= 1);
    }
    let mut lines = Vec::new();
    for (zone, rows) in found {
        for row in rows {
            let v: Value = serde_json::from_str(&row.fixed).unwrap_or_default();
            let text = |n: &str| v[n].as_str().unwrap_or_default().to_string();
            let number = |n: &str| v[n].as_i64().unwrap_or(i64::MIN);
            lines.push((zone.as_str(), format!("{} {} by {} {}", text("id"), text("ended"), text("ended_by"), number("repeats")), number("ended_at")));
        }
    }
    for pair in lines.windows(2).filter(|w| w[0].0 == w[1].0 && w[0].2 > w[1].2) {
        wrong.push((Wrong::Reordered, format!("{sink}: {:?} after {:?}", pair[1], pair[0])));
    }
    lines.iter().for_each(|(zone, what, at)| *balance.entry((zone, what, *at)).or_default() += 1);
    for ((zone, what, at), n) in balance {
        match n {
            0 => {}
            n if n > 0 => wrong.push((Wrong::Duplicate, format!("{sink}, by the rules: {n} too many of {zone}: {what} at {at}"))),
            _ if at < sure_ms => wrong.push((Wrong::Lost, format!("{sink}, by the rules: not told of {zone}: {what} at {at}"))),
            _ => {}
        }
    }
    wrong
}

/// Both sinks judged by the rules.
pub(crate) fn judged(heard: &[Heard], sure_ms: i64) -> Vec<Decided> {
    let wanted = Arc::new(told(heard));
    let of = |sink: &'static str| {
        let wanted = wanted.clone();
        Decided { sink: sink.into(), check: Arc::new(move |found: &Decisions| check(sink, &wanted, sure_ms, found)) }
    };
    vec![of(CALL), of(QUIET)]
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::scenario::Row;

    fn heard(zone: &str, device: &str, id: &str, at: i64, n: f64) -> Heard {
        Heard { zone: zone.into(), device: device.into(), id: id.into(), at, n }
    }

    #[test]
    fn the_rules_end_every_call_once_and_find_what_is_wrong() {
        let rows = [
            heard("z", "alarm-z", "a1", 0, 1_000.0),
            heard("z", "alarm-z", "a2", 20_000, 1_000.0),
            heard("z", "d1", "t1", 20_500, FULL),
            heard("y", "d2", "t2", 21_000, EMPTY),
            heard("z", "d1", "t3", 60_000, FULL),
        ];
        let all = told(&rows);
        let calls = vec![(20_500, "a1 met by t1 0".to_string()), (50_000, "a2 absent by  0".to_string())];
        assert_eq!(all[&(CALL, "z".to_string())], calls, "t1 is too early for a2, t3 too late, and ends its repeats");
        let quiet = ["t1", "t3"].map(|id| format!("{id} absent by  0"));
        let of_d1: Vec<_> = all[&(QUIET, "z".to_string())].iter().filter(|(_, l)| l.starts_with('t')).map(|(_, l)| l.clone()).collect();
        assert_eq!(of_d1, quiet);
        let row = |id: &str, how: &str, by: Option<&str>, at: i64| Row {
            fixed: serde_json::json!({"id": id, "ended": how, "ended_by": by, "ended_at": at, "repeats": 0}).to_string(),
            predicted: None,
        };
        let judge = |rows: Vec<Row>| check(CALL, &all, 100_000, &Decisions::from([("z".to_string(), rows)])).into_iter().map(|(w, _)| w).collect::<Vec<_>>();
        let (met, absent) = (row("a1", "met", Some("t1"), 20_500), row("a2", "absent", None, 50_000));
        assert_eq!(judge(vec![met.clone(), absent.clone()]), []);
        assert_eq!(judge(vec![absent.clone(), met.clone()]), [Wrong::Reordered]);
        assert_eq!(judge(vec![met.clone(), row("a2", "met", Some("t3"), 60_000)]), [Wrong::Lost, Wrong::Duplicate], "met by what came too late");
        assert_eq!(judge(vec![met.clone(), met, absent]), [Wrong::Duplicate]);
    }
}
