//! Messages for broken files, as a user reads them.

use super::avsc::{errors, staged};
use expect_test::{Expect, expect};

fn check(text: &str, expected: Expect) {
    expected.assert_eq(&errors(text));
}

#[test]
fn a_misspelt_field() {
    check(
        &staged("  - id: last\n    from: readings\n    wehre: filling_level > 1\n"),
        expect![[r#"
        t.yaml:9:5: unknown field `wehre` in a stage
          9 |     wehre: filling_level > 1
            |     ^
          hint: did you mean `where`?"#]],
    );
}

#[test]
fn an_unknown_column() {
    check(
        &staged("  - id: last\n    from: readings\n    where: filling_lvl > 1 AND batery_v < 3\n"),
        expect![[r#"
        t.yaml:9:12: unknown column `filling_lvl`
          9 |     where: filling_lvl > 1 AND batery_v < 3
            |            ^
          hint: did you mean `filling_level`?
        t.yaml:9:32: unknown column `batery_v`
          9 |     where: filling_lvl > 1 AND batery_v < 3
            |                                ^
          hint: did you mean `battery_v`?"#]],
    );
}

#[test]
fn a_bad_duration() {
    check(
        &staged("  - id: last\n    from: readings\n    dedup: { key: device_id, by: event_id, keep: 7 days }\n"),
        expect![[r#"
        t.yaml:9:50: `7 days` is not a duration
          9 |     dedup: { key: device_id, by: event_id, keep: 7 days }
            |                                                  ^
          hint: a number and a unit: 250ms, 10s, 15m, 6h, 14d"#]],
    );
}

#[test]
fn an_unknown_stage() {
    check(
        &staged("  - id: clean\n    from: raedings\n    where: filling_level > 0\n  - id: last\n    from: devices\n    where: filling_level > 0\n"),
        expect![[r#"
        t.yaml:8:11: unknown stage or source `raedings`
          8 |     from: raedings
            |           ^
          hint: did you mean `readings`?
        t.yaml:11:11: `devices` is a table, not a stream of rows
          11 |     from: devices
             |           ^
          hint: rows reach it with `join: { table: devices, … }`"#]],
    );
}

#[test]
fn a_circle() {
    check(
        &staged("  - id: a\n    from: last\n    where: filling_level > 0\n  - id: last\n    from: a\n    where: filling_level > 0\n"),
        expect![[r#"
        t.yaml:8:11: stages in a circle: a ← last ← a
          8 |     from: last
            |           ^
          hint: rows flow from sources to sinks; a stage cannot read what comes behind it"#]],
    );
}

#[test]
fn a_clock_in_a_since_window() {
    check(
        &staged(
            "  - id: last\n    from: readings\n    group_by: device_id\n    window: { since: { column: received_at } }\n    select:\n      device_id: device_id\n      silent_ms: now() - last_time\n",
        ),
        expect![[r#"
        t.yaml:13:18: `now` gives another result when the log is replayed
          13 |       silent_ms: now() - last_time
             |                  ^
          hint: use `row_time` (when this row is emitted) or `last_time` (the newest reading), both in event time, UTC ms"#]],
    );
}

#[test]
fn a_sink_that_does_not_fit() {
    let text = "topology: test
sources:
  readings: { topic: bin.telemetry, event_time: observed_at }
stages:
  - id: alerts
    from: readings
    select: [tenant, event_id, observed_at, sent_at, received_at, source, device_id, alert: \"'hot'\", state: temperature_degc, severity: raw_unit, mesage: \"'hot'\", site_id: \"'s'\"]
sinks:
  bin.alert: { from: alerts }
";
    check(
        text,
        expect![[r#"
        t.yaml:9:22: `bin.alert` needs a column `container_id` (text), which does not arrive
          9 |   bin.alert: { from: alerts }
            |                      ^
          hint: add it to the `select` of the stage
        t.yaml:9:22: `bin.alert` has `state` as text, what arrives is number
          9 |   bin.alert: { from: alerts }
            |                      ^
          hint: make it CAST(… AS VARCHAR) in the stage's `select`
        t.yaml:9:22: `bin.alert` needs a value in `severity`, what arrives may be null
          9 |   bin.alert: { from: alerts }
            |                      ^
          hint: `coalesce(severity, …)`, or a `where: severity IS NOT NULL` before
        t.yaml:9:22: `bin.alert` needs a column `message` (text), which does not arrive
          9 |   bin.alert: { from: alerts }
            |                      ^
          hint: add it to the `select` of the stage; did you mean `mesage`?"#]],
    );
}

#[test]
fn an_id_used_twice() {
    check(
        &staged("  - id: last\n    from: readings\n    where: filling_level > 0\n  - id: last\n    from: readings\n    where: filling_level > 1\n"),
        expect![[r#"
        t.yaml:10:9: the id `last` is used twice
          10 |   - id: last
             |         ^
          hint: the first one is in line 7; state belongs to an id, so each is used once"#]],
    );
}

#[test]
fn missing_parts() {
    check(
        "topology: test\nsources:\n  readings: { topic: bin.telemetry }\nstages:\n  - from: readings\n    where: filling_level > 0\n",
        expect![[r#"
        t.yaml:1:1: a topology lacks `sinks`
          1 | topology: test
            | ^
          hint: for example `sinks: { my.topic: { from: last_stage } }`
        t.yaml:3:13: source `readings` lacks `event_time`
          3 |   readings: { topic: bin.telemetry }
            |             ^
          hint: for example `event_time: observed_at`
        t.yaml:5:5: a stage lacks `id`
          5 |   - from: readings
            |     ^
          hint: for example `id: sane`"#]],
    );
}

#[test]
fn two_kinds_in_one_stage() {
    check(
        &staged(
            "  - id: last\n    from: readings\n    where: filling_level > 0\n    dedup: { key: device_id, by: event_id }\n  - id: b\n    from: readings\n    dedup: { key: device_id, by: event_id }\n    join: { table: devices, on: device_id, take: [model], missing: nulls }\n",
        ),
        expect![[r#"
        t.yaml:9:5: `where` does not go with `dedup`
          9 |     where: filling_level > 0
            |     ^
          hint: put `where` into a stage of its own, `from:` this one
        t.yaml:14:5: `dedup` and `join` in one stage
          14 |     join: { table: devices, on: device_id, take: [model], missing: nulls }
             |     ^
          hint: one stage does one thing: split it in two, the second with `from:` the first"#]],
    );
}

#[test]
fn texts_without_sql_quotes() {
    check(
        &staged("  - id: last\n    from: readings\n    select:\n      alert: 'fire'\n      kind: source = \"bin\"\n"),
        expect![[r#"
        t.yaml:10:15: unknown column `fire`
          10 |       alert: 'fire'
             |               ^
          hint: if a text is meant: "'fire'" (YAML's quotes around SQL's)
        t.yaml:11:22: unknown column `bin`
          11 |       kind: source = "bin"
             |                      ^
          hint: texts have single quotes in SQL: 'bin'"#]],
    );
}

#[test]
fn a_comma_in_braces() {
    check(
        &staged(
            "  - id: last\n    from: readings\n    group_by: device_id\n    window: { since: received_at }\n    select: { device_id: device_id, top: max(filling_level, '24h') }\n",
        ),
        expect![[r#"
        t.yaml:11:66: not valid YAML: invalid trailing content after single-quoted scalar
          11 |     select: { device_id: device_id, top: max(filling_level, '24h') }
             |                                                                  ^
          hint: a comma inside { } ends a field: put the expression in quotes or on a line of its own"#]],
    );
}

#[test]
fn neither_grouped_nor_aggregated_and_groups_across_tasks() {
    check(
        &staged(
            "  - id: last\n    from: readings\n    group_by: source\n    window: { tumbling: 1h }\n    select: { source: source, level: filling_level, n: count(), worst: max(max(battery_v)), nums: avg(raw_unit) }\n",
        ),
        expect![[r#"
        t.yaml:9:15: group_by [source] does not contain `device_id`, by which the rows are spread over tasks
          9 |     group_by: source
            |               ^
          hint: rows of one group would be counted apart: add `device_id`, put `rekey: …` before this stage, or read a topic that is keyed by the group
        t.yaml:11:38: column `filling_level` is neither grouped nor aggregated
          11 |     select: { source: source, level: filling_level, n: count(), worst: max(max(battery_v)), nums: avg(raw_unit) }
             |                                      ^
          hint: `last(filling_level)` or another aggregate, or add it to `group_by`
        t.yaml:11:76: aggregate `max` inside an aggregate
          11 |     select: { source: source, level: filling_level, n: count(), worst: max(max(battery_v)), nums: avg(raw_unit) }
             |                                                                            ^
          hint: an aggregate cannot stand inside another one
        t.yaml:11:99: a number is needed, this yields text
          11 |     select: { source: source, level: filling_level, n: count(), worst: max(max(battery_v)), nums: avg(raw_unit) }
             |                                                                                                   ^
          hint: aggregates work on numbers; columns named in `select` outside of aggregates are carried from the newest row"#]],
    );
}

#[test]
fn bad_sql() {
    check(
        &staged(
            "  - id: last\n    from: readings\n    select:\n      a: filling_level >\n      b: (filling_level + 1\n      c: squrt(filling_level)\n      d: source + 1\n      e: readings.source\n      f: (SELECT 1)\n      g: max(filling_level)\n      h: |\n        CASE WHEN filling_level > 1\n          THEN levl END\n",
        ),
        expect![[r#"
        t.yaml:10:10: `filling_level >` is not an SQL expression: Expected: an expression, found: its end
          10 |       a: filling_level >
             |          ^
        t.yaml:11:10: `(filling_level + 1` is not an SQL expression: Expected: ), found: its end
          11 |       b: (filling_level + 1
             |          ^
          hint: a `)` is missing; inside { } a comma ends the field, so put the expression in quotes
        t.yaml:12:10: unknown function `squrt`
          12 |       c: squrt(filling_level)
             |          ^
          hint: did you mean `sqrt`?
        t.yaml:13:10: Cannot coerce arithmetic expression Utf8 + Int64 to valid types
          13 |       d: source + 1
             |          ^
          hint: texts are joined with `||`
        t.yaml:14:10: `readings.source`: columns have no prefix here
          14 |       e: readings.source
             |          ^
          hint: write `source`; a join gives its columns their names with `take`
        t.yaml:15:11: a subquery in an expression
          15 |       f: (SELECT 1)
             |           ^
          hint: bring the columns in with a `join` stage
        t.yaml:16:10: aggregate `max` outside of a window
          16 |       g: max(filling_level)
             |          ^
          hint: aggregates stand in the `select` of a stage with `group_by:` and `window:`
        t.yaml:19:16: unknown column `levl`
          19 |           THEN levl END
             |                ^
          hint: there are `tenant`, `event_id`, `observed_at`, `sent_at`, `received_at`, `source`, `schema_version`, `device_id`, … (17 in all)"#]],
    );
}

#[test]
fn a_condition_that_is_none() {
    check(
        &staged("  - id: last\n    from: readings\n    where: filling_level + 1\n"),
        expect![[r#"
        t.yaml:9:12: the condition yields number, not true or false
          9 |     where: filling_level + 1
            |            ^
          hint: a comparison, e.g. `level > 0.9`"#]],
    );
}

#[test]
fn joins() {
    check(
        &staged(
            "  - id: a\n    from: readings\n    join: { table: device, on: device_id, take: [model], missing: nulls }\n  - id: b\n    from: readings\n    join: { table: devices, on: sequence, take: [modell, source, calibration_version], missing: { unmatched: Unknown Device } }\n  - id: last\n    from: readings\n    join: { table: devices, on: device_id, take: [model] }\n",
        ),
        expect![[r#"
        t.yaml:9:20: unknown table `device`
          9 |     join: { table: device, on: device_id, take: [model], missing: nulls }
            |                    ^
          hint: did you mean `devices`?
        t.yaml:12:33: `sequence` is integer, the table's key `device_id` is text
          12 |     join: { table: devices, on: sequence, take: [modell, source, calibration_version], missing: { unmatched: Unknown Device } }
             |                                 ^
          hint: CAST it in a stage before
        t.yaml:12:50: unknown column `modell`
          12 |     join: { table: devices, on: sequence, take: [modell, source, calibration_version], missing: { unmatched: Unknown Device } }
             |                                                  ^
          hint: did you mean `model`?
        t.yaml:12:58: the rows already have a column `source`
          12 |     join: { table: devices, on: sequence, take: [modell, source, calibration_version], missing: { unmatched: Unknown Device } }
             |                                                          ^
          hint: take it under another name: `take: [{ device_source: source }]`
        t.yaml:12:66: the rows already have a column `calibration_version`
          12 |     join: { table: devices, on: sequence, take: [modell, source, calibration_version], missing: { unmatched: Unknown Device } }
             |                                                                  ^
          hint: take it under another name: `take: [{ device_calibration_version: calibration_version }]`
        t.yaml:12:110: `Unknown Device` cannot be a reason
          12 |     join: { table: devices, on: sequence, take: [modell, source, calibration_version], missing: { unmatched: Unknown Device } }
             |                                                                                                              ^
          hint: a code of small letters, digits and `_`, at most 60: it is counted in metrics
        t.yaml:15:11: join lacks `missing`
          15 |     join: { table: devices, on: device_id, take: [model] }
             |           ^
          hint: `missing: nulls`, or `missing: { unmatched: a_reason }`: what happens to rows without a partner is a decision"#]],
    );
}

#[test]
fn models_and_ladders() {
    check(
        &staged(
            "  - id: last\n    from: readings\n    infer: { model: fil-forecast, key: device_id, ladder: [cached, heuristics, manual, cached], batch: 0 }\n",
        ),
        expect![[r#"
        t.yaml:9:21: unknown model `fil-forecast`
          9 |     infer: { model: fil-forecast, key: device_id, ladder: [cached, heuristics, manual, cached], batch: 0 }
            |                     ^
          hint: did you mean `fill-forecast`?
        t.yaml:9:68: unknown rung `heuristics`
          9 |     infer: { model: fil-forecast, key: device_id, ladder: [cached, heuristics, manual, cached], batch: 0 }
            |                                                                    ^
          hint: did you mean `heuristic`?
        t.yaml:9:80: the rung `manual` is not available yet
          9 |     infer: { model: fil-forecast, key: device_id, ladder: [cached, heuristics, manual, cached], batch: 0 }
            |                                                                                ^
          hint: one of `cached`, `heuristic`
        t.yaml:9:88: rung `cached` is written twice
          9 |     infer: { model: fil-forecast, key: device_id, ladder: [cached, heuristics, manual, cached], batch: 0 }
            |                                                                                        ^
        t.yaml:9:104: `batch` must be a whole number from 1 to 65536
          9 |     infer: { model: fil-forecast, key: device_id, ladder: [cached, heuristics, manual, cached], batch: 0 }
            |                                                                                                        ^"#]],
    );
}

#[test]
fn topics_and_variables() {
    check(
        "topology: Test\nsources:\n  readings: { topic: bin.telemtry, event_time: observed_at }\n  others: { topic: bin.telemetry, key: source, event_time: observedAt, lateness: late }\nsinks:\n  out: { from: \"${WHERE_FROM}\", format: xml }\n",
        expect![[r#"
            t.yaml:1:11: `Test` cannot name a topology
              1 | topology: Test
                |           ^
              hint: small letters, digits and `-`, at most 60: topics and state are named after it
            t.yaml:3:22: no schema for topic `bin.telemtry`
              3 |   readings: { topic: bin.telemtry, event_time: observed_at }
                |                      ^
              hint: did you mean `bin.telemetry` or `bin.alert`?
            t.yaml:4:40: topic `bin.telemetry` is keyed by `device_id`, not `source`
              4 |   others: { topic: bin.telemetry, key: source, event_time: observedAt, lateness: late }
                |                                        ^
              hint: key: device_id
            t.yaml:4:60: unknown column `observedAt`
              4 |   others: { topic: bin.telemetry, key: source, event_time: observedAt, lateness: late }
                |                                                            ^
              hint: did you mean `observed_at`?
            t.yaml:4:82: `late` is not a lateness rule
              4 |   others: { topic: bin.telemetry, key: source, event_time: observedAt, lateness: late }
                |                                                                                  ^
              hint: `watermark`, or `{ per_key: 72h }`
            t.yaml:6:3: no schema for topic `out`
              6 |   out: { from: "${WHERE_FROM}", format: xml }
                |   ^
              hint: there are `bin.alert`, `bin.features`, `bin.forecast`, `bin.telemetry`, `collection.event`, `consent.event`, `container.event`, `contamination.event`, … (54 in all) without a schema only `format: json` is possible
            t.yaml:6:16: the environment variable WHERE_FROM is not set
              6 |   out: { from: "${WHERE_FROM}", format: xml }
                |                ^
              hint: set it, or give a default: ${WHERE_FROM:-default}
            t.yaml:6:16: unknown stage or source ``
              6 |   out: { from: "${WHERE_FROM}", format: xml }
                |                ^
              hint: one of `others`, `readings`
            t.yaml:6:41: unknown format `xml`
              6 |   out: { from: "${WHERE_FROM}", format: xml }
                |                                         ^
              hint: one of `avro`, `json`"#]],
    );
}

#[test]
fn not_yaml() {
    check(
        "topology: test\nsources: { readings: [\n",
        expect![[r#"
        t.yaml:2:22: not valid YAML: unclosed bracket '['
          2 | sources: { readings: [
            |                      ^"#]],
    );
    check(
        "topology: test\nsources:\n\treadings: x\n",
        expect![[r#"
        t.yaml:3:2: not valid YAML: tabs disallowed within this context (block indentation)
          3 | 	readings: x
            | 	^
          hint: YAML is indented with spaces, not tabs"#]],
    );
    check(
        "topology: test\nsources: { readings: { topic: ${TOPIC:-bin.telemetry}, event_time: observed_at } }\n",
        expect![[r#"
        t.yaml:2:32: not valid YAML: while parsing a flow mapping, did not find expected ',' or '}'
          2 | sources: { readings: { topic: ${TOPIC:-bin.telemetry}, event_time: observed_at } }
            |                                ^
          hint: inside { } a variable needs quotes: "${NAME:-default}""#]],
    );
}

#[test]
fn streams_that_do_not_go_together() {
    check(
        &staged(
            "  - id: a\n    from: readings\n    select: [device_id, filling_level]\n  - id: b\n    from: readings\n    select: { device_id: device_id, filling_level: sequence }\n  - id: last\n    from: [a, b]\n    where: filling_level > 0\n",
        ),
        expect![[r#"
        t.yaml:14:15: `a` and `b` have different columns
          14 |     from: [a, b]
             |               ^
          hint: give both the same `select`; only in `a`: [filling_level (number)]; only in `b`: [filling_level (integer)]"#]],
    );
}

#[test]
fn alternatives_differ() {
    check(
        &staged(
            "  - id: last\n    from: readings\n    each:\n      - { alert: \"'hot'\", active: temperature_degc > 65 }\n      - { alert: \"'low'\", actve: battery_v < 3 }\n      - { alert: 1, active: battery_v < 3 }\n",
        ),
        expect![[r#"
        t.yaml:11:9: the alternatives of `each` have different columns
          11 |       - { alert: "'low'", actve: battery_v < 3 }
             |         ^
          hint: every item needs the same names in the same order; the difference: active, actve"#]],
    );
}

#[test]
fn limits_of_windows() {
    check(
        &staged(
            "  - id: a\n    from: readings\n    group_by: device_id\n    window: { hopping: 10m, every: 1h }\n    select: { n: count() }\n  - id: b\n    from: readings\n    group_by: device_id\n    window: { since: received_at, at_most: 28d, panes: 10s }\n    select: { n: count() }\n  - id: last\n    from: readings\n    group_by: filling_level\n    window: { since: received_at, at_most: 1d }\n    select: { n: \"count('7d')\" }\n  - id: d\n    from: readings\n    group_by: device_id\n    window: { since: received_at, at_most: 1d }\n    select: { n: \"count('7d')\" }\n",
        ),
        expect![[r#"
        t.yaml:10:13: windows of 10m every 1h leave gaps
          10 |     window: { hopping: 10m, every: 1h }
             |             ^
          hint: `every` is at most the length of the window
        t.yaml:15:13: 28d in panes of 10s are 241920 panes a key; 10000 is the limit
          15 |     window: { since: received_at, at_most: 28d, panes: 10s }
             |             ^
          hint: longer panes, or a smaller `at_most`
        t.yaml:19:15: group column `filling_level` is number
          19 |     group_by: filling_level
             |               ^
          hint: keys are texts, integers, true/false or bytes: a fraction is never twice the same
        t.yaml:26:18: the horizon 7d of `count` is longer than `at_most`, 1d
          26 |     select: { n: "count('7d')" }
             |                  ^"#]],
    );
}
