//! The larger stages: what they plan to, what is told of them, and what is wrong with broken ones.

use super::avsc::{errors, plan, staged};
use expect_test::{Expect, expect};
use ws_stream::spec::{Clock, OpSpec, When};

fn check(text: &str, expected: Expect) {
    expected.assert_eq(&errors(text));
}

fn explained(stages: &str) -> String {
    let plan = plan(&staged(stages)).unwrap_or_else(|e| panic!("{e}"));
    let text = plan.explain();
    text[text.find("\nstage").unwrap()..text.find("\nsink").unwrap()].trim().to_string()
}

const SILENT: &str = "  - id: last
    from: readings
    absence: { key: device_id, after: 6h, repeat: 1d, give_up: 14d }
";

const VISITS: &str = "  - id: last
    from: readings
    absence:
      key: device_id
      each: event_id
      when: source = 'plan'
      due: received_at + 3600000
      met: source = 'truck'
      not_before: 10m
      cancel: source = 'office'
      emit: [absent, met]
      take: { served_level: filling_level }
      clock: processing
";

const SMOOTH: &str = "  - id: last
    from: readings
    apply: { operator: smoothing, key: device_id, carry: [tenant, source], with: { over: 5 } }
";

const ROUNDS: &str = "  - id: last
    from: readings
    optimize:
      solver: rounds
      fallback: nearest
      key: device_id
      entity: [source, event_id]
      deleted: source = 'gone'
      valid_until: received_at
      trigger: { debounce: 10s, urgent: filling_level > 1, quiet: source = 'plan' }
      iterations: 2000
      with: { speed: fast }
";

#[test]
fn they_are_told_in_words() {
    expect![[r#"
        stage last (absence) from readings
          per [device_id] one expectation, 1000 open at most
          opened, and put off, by every row
          absent 6h after its opening (event time)
          told again every 1d for 14d
          emits absent
          → tenant: text, event_id: text, observed_at: integer, sent_at: integer, received_at: integer, source: text, schema_version: integer, device_id: text, sequence: integer?, filling_level: number, raw_value: number?, raw_unit: text?, calibration_version: integer?, temperature_degc: number?, battery_v: number?, tilt_deg: number?, rssi_dbm: number?, ended: text, opened_at: integer, due_at: integer, ended_at: integer, repeats: integer"#]]
    .assert_eq(&explained(SILENT));
    let told = [VISITS, SMOOTH, ROUNDS].map(|s| explained(s).lines().filter(|l| !l.contains("→ tenant")).collect::<Vec<_>>().join("\n")).join("\n\n");
    expect![[r#"
        stage last (absence) from readings
          per [device_id] one expectation per [event_id], 1000 open at most
          opened by rows where source = 'plan'
          met by rows where source = 'truck'
          not met before 10m after its opening
          cancelled by rows where source = 'office'
          absent at received_at + 3600000 (processing time)
          emits absent, met
          takes filling_level as served_level of the closing row

        stage last (apply) from readings
          operator smoothing per [device_id], 65536 bytes of state at most
          carries tenant, source
          with over = 5
          → device_id: text, tenant: text, source: text, smooth: number?, rows: integer

        stage last (optimize) from readings
          solver rounds, then nearest per [device_id], then what there was, again after 1m
          a board of the newest row per [source, event_id], for 1d or until received_at, 20000 rows at most
          taken off by rows where source = 'gone'
          asked after 10s of quiet or 5m, every 2m at most
          at once for rows where filling_level > 1
          not for rows where source = 'plan'
          2000 iterations or 30s to think, 1m to answer, 4 calls under way at most, a memo of 262144 bytes at most
          with speed = fast
          → device_id: text, cost: number, stops: list of record(container_id, at), rung: text, solver: text, solver_version: text, seed: integer, iterations: integer, decision_id: text, decision_no: integer, decided_at: integer"#]].assert_eq(&told);
}

#[test]
fn they_plan_with_their_defaults_and_only_what_they_use() {
    let of = |text: &str| plan(&staged(text)).unwrap_or_else(|e| panic!("{e}")).topology;
    let OpSpec::Absence(a) = of(VISITS).stages[0].op.clone() else { panic!() };
    assert!(matches!(a.due, When::At(_)) && matches!(a.not_before, Some(When::After(600_000))) && a.clock == Clock::Processing);
    assert_eq!((a.emit.absent, a.emit.met, a.emit.cancelled, a.max_open), (true, true, false, 1_000));
    let t = of(SMOOTH);
    let names: Vec<&str> = t.stages[0].schema.fields().iter().skip(3).map(|f| f.name().as_str()).collect();
    assert_eq!(names, ["device_id", "tenant", "source", "smooth", "rows"]);
    let read: Vec<&str> = t.inputs[0].schema.fields().iter().map(|f| f.name().as_str()).collect();
    assert_eq!(read, ["tenant", "observed_at", "source", "device_id", "filling_level"], "nothing is decoded in vain");
    let t = of(ROUNDS);
    let OpSpec::Optimize(o) = &t.stages[0].op else { panic!() };
    assert_eq!((o.trigger.debounce_ms, o.trigger.max_wait_ms, o.timeout_ms, o.budget_ms, o.iterations), (10_000, 300_000, 60_000, 30_000, Some(2_000)));
    let stops = t.stages[0].schema.field_with_name("stops").unwrap().data_type().to_string();
    assert!(stops.contains("Struct") && stops.contains("container_id"), "{stops}");
}

#[test]
fn state_belongs_to_what_they_keep() {
    let hash = |text: &str| plan(&staged(text)).unwrap_or_else(|e| panic!("{e}")).topology.state_hash;
    assert_eq!(hash(SILENT), hash(&SILENT.replace("6h", "7h")), "durations may change");
    assert_ne!(hash(VISITS), hash(&VISITS.replace("each: event_id", "each: source")));
    assert_eq!(hash(ROUNDS), hash(&ROUNDS.replace("debounce: 10s", "debounce: 20s").replace("fallback: nearest", "ttl: 2d")));
    assert_ne!(hash(ROUNDS), hash(&ROUNDS.replace("[source, event_id]", "event_id")));
    assert_ne!(hash(SMOOTH), hash(&SMOOTH.replace("over: 5", "over: 6")), "an operator's state may depend on its settings");
}

#[test]
fn broken_absences() {
    check(
        &staged(
            "  - id: last\n    from: readings\n    absence: { key: device_id, after: 6h, due: observed_at, emit: [absent, met, cancelled, gone], not_before: 1h, clock: wall, take: [source], repeat: 30d }\n  - id: a\n    from: readings\n    absence: { key: source, due: source }\n  - id: b\n    from: readings\n    absence: { key: device_id }\n  - id: c\n    from: readings\n    absence: { key: device_id, after: 1h, met: source = 'x', each: filling_level, take: { source: tenant } }\n",
        ),
        expect![[r#"
            t.yaml:9:14: the rows already have a column `source`, which this stage adds
              9 |     absence: { key: device_id, after: 6h, due: observed_at, emit: [absent, met, cancelled, gone], not_before: 1h, clock: wall, take: [source], repeat: 30d }
                |              ^
              hint: leave it out in the stage before, or take it under another name
            t.yaml:9:43: `after` and `due` in one absence
              9 |     absence: { key: device_id, after: 6h, due: observed_at, emit: [absent, met, cancelled, gone], not_before: 1h, clock: wall, take: [source], repeat: 30d }
                |                                           ^
              hint: `after: 15m` counts from the opening row, `due: column` names the time itself
            t.yaml:9:76: `met` in `emit`, but no `met:`
              9 |     absence: { key: device_id, after: 6h, due: observed_at, emit: [absent, met, cancelled, gone], not_before: 1h, clock: wall, take: [source], repeat: 30d }
                |                                                                            ^
              hint: say which rows meet what is expected
            t.yaml:9:81: `cancelled` in `emit`, but no `cancel:`
              9 |     absence: { key: device_id, after: 6h, due: observed_at, emit: [absent, met, cancelled, gone], not_before: 1h, clock: wall, take: [source], repeat: 30d }
                |                                                                                 ^
              hint: say which rows cancel what is expected
            t.yaml:9:92: unknown ending `gone`
              9 |     absence: { key: device_id, after: 6h, due: observed_at, emit: [absent, met, cancelled, gone], not_before: 1h, clock: wall, take: [source], repeat: 30d }
                |                                                                                            ^
              hint: one of `absent`, `met`, `cancelled`
            t.yaml:9:111: `not_before` without `met`
              9 |     absence: { key: device_id, after: 6h, due: observed_at, emit: [absent, met, cancelled, gone], not_before: 1h, clock: wall, take: [source], repeat: 30d }
                |                                                                                                               ^
              hint: it says from when on a row meets what is expected
            t.yaml:9:122: unknown clock `wall`
              9 |     absence: { key: device_id, after: 6h, due: observed_at, emit: [absent, met, cancelled, gone], not_before: 1h, clock: wall, take: [source], repeat: 30d }
                |                                                                                                                          ^
              hint: one of `event`, `processing`
            t.yaml:9:135: `take` without `met` or `cancel`
              9 |     absence: { key: device_id, after: 6h, due: observed_at, emit: [absent, met, cancelled, gone], not_before: 1h, clock: wall, take: [source], repeat: 30d }
                |                                                                                                                                       ^
              hint: it takes columns of the row that closes an expectation
            t.yaml:9:152: `repeat` is longer than `give_up`
              9 |     absence: { key: device_id, after: 6h, due: observed_at, emit: [absent, met, cancelled, gone], not_before: 1h, clock: wall, take: [source], repeat: 30d }
                |                                                                                                                                                        ^
              hint: nothing would ever be told again: leave it out, or raise `give_up`
            t.yaml:12:21: the key [source] does not contain `device_id`, by which the rows are spread over tasks
              12 |     absence: { key: source, due: source }
                 |                     ^
              hint: rows of one group would be counted apart: add `device_id`, put `rekey: …` before this stage, or read a topic that is keyed by the group
            t.yaml:12:34: a time is needed, this yields text
              12 |     absence: { key: source, due: source }
                 |                                  ^
              hint: times are integers, UTC milliseconds
            t.yaml:15:14: absence lacks `after` or `due`
              15 |     absence: { key: device_id }
                 |              ^
              hint: for example `after: 15m`: how long nothing may come
            t.yaml:18:14: the rows already have a column `source`, which this stage adds
              18 |     absence: { key: device_id, after: 1h, met: source = 'x', each: filling_level, take: { source: tenant } }
                 |              ^
              hint: leave it out in the stage before, or take it under another name
            t.yaml:18:68: `each` `filling_level` is number
              18 |     absence: { key: device_id, after: 1h, met: source = 'x', each: filling_level, take: { source: tenant } }
                 |                                                                    ^
              hint: keys are texts, integers, true/false or bytes: a fraction is never twice the same"#]],
    );
}

#[test]
fn broken_operators_and_solvers() {
    check(
        &staged(
            "  - id: last\n    from: readings\n    apply: { operator: smothing, key: device_id }\n  - id: a\n    from: readings\n    apply: { operator: smoothing, key: device_id, with: { over: much }, carry: [tenent] }\n  - id: b\n    from: readings\n    select: [device_id, source, filling_level: source]\n  - id: c\n    from: b\n    apply: { operator: smoothing, key: source, with: { over: 3 } }\n",
        ),
        expect![[r#"
            t.yaml:9:24: unknown operator `smothing`
              9 |     apply: { operator: smothing, key: device_id }
                |                        ^
              hint: did you mean `smoothing`?
            t.yaml:12:24: operator `smoothing` does not take these settings: it needs `over`, a whole number
              12 |     apply: { operator: smoothing, key: device_id, with: { over: much }, carry: [tenent] }
                 |                        ^
            t.yaml:12:81: unknown column `tenent`
              12 |     apply: { operator: smoothing, key: device_id, with: { over: much }, carry: [tenent] }
                 |                                                                                 ^
              hint: did you mean `tenant`?
            t.yaml:18:24: operator `smoothing` needs `filling_level` as number, it is text
              18 |     apply: { operator: smoothing, key: source, with: { over: 3 } }
                 |                        ^
              hint: CAST it in the stage before
            t.yaml:18:40: the key [source] does not contain `device_id`, by which the rows are spread over tasks
              18 |     apply: { operator: smoothing, key: source, with: { over: 3 } }
                 |                                        ^
              hint: rows of one group would be counted apart: add `device_id`, put `rekey: …` before this stage, or read a topic that is keyed by the group"#]],
    );
    check(
        &staged(
            "  - id: last\n    from: readings\n    optimize: { solver: round, key: device_id, entity: event_id }\n  - id: a\n    from: readings\n    optimize: { solver: rounds, fallback: other, key: device_id, entity: filling_level, valid_until: source, trigger: { debounce: 10m, urgent: filling_level }, timeout: 5s, budget: 10s }\n  - id: b\n    from: readings\n    select: [device_id, event_id]\n  - id: c\n    from: b\n    optimize: { solver: rounds, key: device_id, entity: event_id, max_memo: 10000000 }\n",
        ),
        expect![[r#"
            t.yaml:9:25: unknown solver `round`
              9 |     optimize: { solver: round, key: device_id, entity: event_id }
                |                         ^
              hint: did you mean `rounds`?
            t.yaml:12:15: `budget` 10s is longer than `timeout` 5s
              12 |     optimize: { solver: rounds, fallback: other, key: device_id, entity: filling_level, valid_until: source, trigger: { debounce: 10m, urgent: filling_level }, timeout: 5s, budget: 10s }
                 |               ^
              hint: the solver must have ended before its call is given up
            t.yaml:12:43: solvers `rounds` and `other` make different columns
              12 |     optimize: { solver: rounds, fallback: other, key: device_id, entity: filling_level, valid_until: source, trigger: { debounce: 10m, urgent: filling_level }, timeout: 5s, budget: 10s }
                 |                                           ^
              hint: a fallback answers in place of the other: same columns
            t.yaml:12:74: entity column `filling_level` is number
              12 |     optimize: { solver: rounds, fallback: other, key: device_id, entity: filling_level, valid_until: source, trigger: { debounce: 10m, urgent: filling_level }, timeout: 5s, budget: 10s }
                 |                                                                          ^
              hint: keys are texts, integers, true/false or bytes: a fraction is never twice the same
            t.yaml:12:102: a time is needed, this yields text
              12 |     optimize: { solver: rounds, fallback: other, key: device_id, entity: filling_level, valid_until: source, trigger: { debounce: 10m, urgent: filling_level }, timeout: 5s, budget: 10s }
                 |                                                                                                      ^
              hint: times are integers, UTC milliseconds
            t.yaml:12:144: the condition yields number, not true or false
              12 |     optimize: { solver: rounds, fallback: other, key: device_id, entity: filling_level, valid_until: source, trigger: { debounce: 10m, urgent: filling_level }, timeout: 5s, budget: 10s }
                 |                                                                                                                                                ^
              hint: a comparison, e.g. `level > 0.9`
            t.yaml:18:25: solver `rounds` needs a column `filling_level` (number)
              18 |     optimize: { solver: rounds, key: device_id, entity: event_id, max_memo: 10000000 }
                 |                         ^
              hint: one of `device_id`, `event_id`
            t.yaml:18:77: `max_memo` must be a whole number from 1 to 393216
              18 |     optimize: { solver: rounds, key: device_id, entity: event_id, max_memo: 10000000 }
                 |                                                                             ^"#]],
    );
}

#[test]
fn nested_columns_pass_and_are_checked_against_sinks() {
    let plan = |sink: &str| {
        super::avsc::plan(&format!(
            "topology: test\nsources:\n  plans: {{ topic: route.plan, event_time: observed_at }}\nstages:\n  - id: last\n    from: plans\n    where: state = 'accepted'\nsinks:\n{sink}"
        ))
    };
    let ok = plan("  route.plan: { from: last }\n").unwrap_or_else(|e| panic!("{e}"));
    let routes = ok.topology.inputs[0].schema.field_with_name("routes").unwrap().clone();
    assert!(ws_stream::nested::is_nested(routes.data_type()), "{routes:?}");
    let json = plan("  out: { from: last, format: json, headers: [routes] }\n").unwrap_err().to_string();
    assert!(json.contains("header `routes` is list of record(vehicle_id, shift_id"), "{json}");
}
