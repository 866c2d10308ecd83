//! Tells the larger stages for people. Part of `draw`.

use crate::duration::format_ms;
use std::fmt::Write;
use ws_stream::expr::ExprRef;
use ws_stream::spec::{AbsenceSpec, ApplySpec, Clock, OptimizeSpec, When};

fn rows(what: &str, e: Option<&ExprRef>, out: &mut String) {
    if let Some(e) = e {
        let _ = writeln!(out, "  {what} where {}", words(e));
    }
}

fn words(e: &ExprRef) -> String {
    e.text().split_whitespace().collect::<Vec<_>>().join(" ")
}

fn moment(w: &When) -> String {
    match w {
        When::After(ms) => format!("{} after it", format_ms(*ms)),
        When::At(e) => format!("at {}", words(e)),
    }
}

fn settings(with: &std::collections::BTreeMap<String, String>, out: &mut String) {
    if !with.is_empty() {
        let _ = writeln!(out, "  with {}", with.iter().map(|(k, v)| format!("{k} = {v}")).collect::<Vec<_>>().join(", "));
    }
}

pub(crate) fn absence(s: &AbsenceSpec, out: &mut String) {
    let each = if s.each.is_empty() { "one expectation".to_string() } else { format!("one expectation per [{}]", s.each.join(", ")) };
    let _ = writeln!(out, "  per [{}] {each}, {} open at most", s.key.join(", "), s.max_open);
    match &s.opens {
        Some(e) => rows("opened by rows", Some(e), out),
        None if s.met.is_none() && s.cancel.is_none() => out.push_str("  opened, and put off, by every row\n"),
        None => out.push_str("  opened, and put off, by every other row\n"),
    }
    rows("met by rows", s.met.as_ref(), out);
    if let Some(n) = &s.not_before {
        let _ = writeln!(out, "  not met before {}", moment(n).replace("after it", "after its opening"));
    }
    rows("cancelled by rows", s.cancel.as_ref(), out);
    let clock = if s.clock == Clock::Event { "event time" } else { "processing time" };
    let _ = writeln!(out, "  absent {} ({clock})", moment(&s.due).replace("after it", "after its opening"));
    if let Some(every) = s.repeat_ms {
        let _ = writeln!(out, "  told again every {} for {}", format_ms(every), format_ms(s.give_up_ms));
    }
    let ends = [(s.emit.absent, "absent"), (s.emit.met, "met"), (s.emit.cancelled, "cancelled")];
    let _ = writeln!(out, "  emits {}", ends.iter().filter(|(on, _)| *on).map(|(_, w)| *w).collect::<Vec<_>>().join(", "));
    if !s.take.is_empty() {
        let taken: Vec<String> = s.take.iter().map(|(c, n)| if c == n { c.clone() } else { format!("{c} as {n}") }).collect();
        let _ = writeln!(out, "  takes {} of the closing row", taken.join(", "));
    }
}

pub(crate) fn apply(s: &ApplySpec, out: &mut String) {
    let _ = writeln!(out, "  operator {} per [{}], {} bytes of state at most", s.operator, s.key.join(", "), s.max_state_bytes);
    if !s.carry.is_empty() {
        let _ = writeln!(out, "  carries {}", s.carry.join(", "));
    }
    settings(&s.with, out);
}

pub(crate) fn optimize(s: &OptimizeSpec, out: &mut String) {
    let then = s.fallback.as_ref().map_or_else(String::new, |f| format!(", then {f}"));
    let _ = writeln!(out, "  solver {}{then} per [{}], then what there was, again after {}", s.solver, s.key.join(", "), format_ms(s.retry_ms));
    let until = s.valid_until.as_ref().map_or_else(String::new, |e| format!(" or until {}", words(e)));
    let _ = writeln!(out, "  a board of the newest row per [{}], for {}{until}, {} rows at most", s.entity.join(", "), format_ms(s.ttl_ms), s.max_rows);
    rows("taken off by rows", s.deleted.as_ref(), out);
    let t = &s.trigger;
    let _ =
        writeln!(out, "  asked after {} of quiet or {}, every {} at most", format_ms(t.debounce_ms), format_ms(t.max_wait_ms), format_ms(t.at_most_every_ms));
    rows("at once for rows", t.urgent.as_ref(), out);
    rows("not for rows", t.quiet.as_ref(), out);
    let iterations = s.iterations.map_or_else(String::new, |n| format!("{n} iterations or "));
    let _ = writeln!(
        out,
        "  {iterations}{} to think, {} to answer, {} calls under way at most, a memo of {} bytes at most",
        format_ms(s.budget_ms),
        format_ms(s.timeout_ms),
        s.max_calls,
        s.max_memo_bytes
    );
    settings(&s.with, out);
}
