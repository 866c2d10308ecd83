//! `rekey` and `union`: how a file is cut into slices, and what is told when it cannot be.

use super::avsc::{Schemas, errors};
use crate::load;
use crate::plan::Plan;
use expect_test::expect;
use ws_stream::repartition::format_hash;
use ws_stream::spec::{From, Lateness, OpSpec, Topology};

const SOURCES: &str = "topology: t
sources:
  readings: { topic: bin.telemetry, event_time: observed_at, idle_after: 30s, max_skew: off }
  emptied: { topic: collection.event, event_time: observed_at, idle_after: never }
tables:
  devices: { topic: ref.device, key: device_id, valid_from: valid_from, global: true }
";

fn file(stages: &str, sinks: &str) -> String {
    format!("{SOURCES}stages:\n{stages}sinks:\n{sinks}")
}

fn plan(text: &str) -> Plan {
    load("t.yaml", text, &Schemas, &|_| None).unwrap_or_else(|e| panic!("{e}"))
}

fn names(t: &Topology) -> (Vec<&str>, Vec<&str>, Vec<&str>) {
    (t.inputs.iter().map(|i| i.id.as_str()).collect(), t.stages.iter().map(|s| s.id.as_str()).collect(), t.sinks.iter().map(|s| &*s.topic).collect())
}

const BY_CONTAINER: &str = "  - id: placed
    from: readings
    join: { table: devices, on: device_id, take: [container_id], missing: { unmatched: unknown_device } }
  - id: by_container
    from: placed
    rekey: { key: container_id, partitions: 6 }
  - id: hourly
    from: by_container
    group_by: container_id
    window: { tumbling: 1h }
    select: { container_id: container_id, top: max(filling_level) }
";

#[test]
fn a_file_is_cut_at_rekey_and_only_wanted_columns_go_through() {
    let plan = plan(&file(BY_CONTAINER, "  device.seen: { from: placed, format: json }\n  container.top: { from: hourly, format: json, key: container_id }\n"));
    let slices: Vec<&Topology> = plan.slices().collect();
    assert_eq!(slices.iter().map(|s| &*s.name).collect::<Vec<_>>(), ["t", "t.by_container"]);
    assert_eq!(names(slices[0]), (vec!["readings"], vec!["placed"], vec!["device.seen"]));
    assert_eq!(names(slices[1]), (vec!["by_container.read"], vec!["hourly"], vec!["container.top"]));
    let rekey = &slices[0].rekeys[0];
    assert_eq!(
        (&*rekey.topic, rekey.key.as_str(), rekey.partitions, &rekey.from),
        ("ws.t.by_container.repartition", "container_id", Some(6), &vec![From::Stage(0)])
    );
    let columns: Vec<&str> = rekey.schema.fields().iter().map(|f| f.name().as_str()).collect();
    assert_eq!(columns, ["filling_level", "container_id"]);
    let read = &slices[1].inputs[0];
    let rekeyed = read.rekeyed.as_ref().unwrap();
    assert_eq!((rekeyed.format_hash, &*rekeyed.counted_by), (format_hash("container_id", &rekey.schema, &["bin.telemetry".into()]), "bin.telemetry"));
    assert!(matches!(read.time.lateness, Lateness::Watermark) && slices[1].tables.is_empty() && slices[0].tables.len() == 1);
    assert_eq!((slices[0].inputs[0].idle_after_ms, slices[0].inputs[0].max_skew_ms), (Some(30_000), None));
}

#[test]
fn a_second_source_and_a_union_join_a_later_slice_and_unread_sources_none() {
    let stages = format!(
        "{BY_CONTAINER}  - id: levels\n    from: by_container\n    select: [container_id, filling_level]\n  - id: emptyings\n    from: emptied\n    select: {{ container_id: container_id, filling_level: 0.0 }}\n    where: container_id IS NOT NULL\n  - id: by_its_container\n    from: emptyings\n    rekey: container_id\n  - id: both\n    union: [levels, by_its_container]\n"
    );
    let plan = plan(&file(
        &stages,
        "  container.top: { from: hourly, format: json, key: container_id }\n  container.level: { from: both, format: json, key: container_id }\n",
    ));
    let slices: Vec<&Topology> = plan.slices().collect();
    assert_eq!(slices.iter().map(|s| &*s.name).collect::<Vec<_>>(), ["t", "t.emptied", "t.by_container"]);
    assert_eq!(names(slices[2]).0, ["by_container.read", "by_its_container.read"]);
    assert_eq!(slices[2].origins().iter().map(|t| &**t).collect::<Vec<_>>(), ["bin.telemetry", "collection.event"]);
    let both = slices[2].stages.iter().find(|s| s.id == "both").unwrap();
    assert!(both.from.len() == 2 && matches!(both.op, OpSpec::Select { filter: None, columns: None, .. }));
    assert_eq!(slices[1].inputs[0].idle_after_ms, None);
}

#[test]
fn without_rekey_nothing_is_cut_and_hashes_are_what_they_were() {
    let plan = plan(&file(
        "  - id: level\n    from: readings\n    where: filling_level > 0\n",
        "  a: { from: level, format: json }\n  b: { from: emptied, format: json }\n",
    ));
    assert!(plan.later.is_empty());
    assert_eq!(names(&plan.topology).0, ["readings", "emptied"]);
}

#[test]
fn the_graph_and_the_explanation_show_slices_and_the_topic_between_them() {
    let plan = plan(&file(BY_CONTAINER, "  container.top: { from: hourly, format: json, key: container_id }\n"));
    expect![[r#"
        flowchart LR
          subgraph slice0["t"]
          x0in0[/"bin.telemetry"/]
          x0table0[("ref.device")]
          x0s0["placed<br/><small>join</small>"]
          x0in0 --> x0s0
          x0table0 -.-> x0s0
          x0s0 -. unknown_device .-> dead
          end
          subgraph slice1["t.by_container"]
          x1s0["hourly<br/><small>window</small><br/><small>1h</small>"]
          x1out0[\"container.top"\]
          rekey_by_container --> x1s0
          x1s0 --> x1out0
          end
          rekey_by_container[/"ws.t.by_container.repartition<br/><small>container_id</small>"/]
          x0s0 --> rekey_by_container
          dead[\"dlq.t"\]
    "#]]
    .assert_eq(&plan.mermaid());
    let told = plan.explain();
    for line in [
        "stage by_container (rekey) from placed",
        "by container_id through ws.t.by_container.repartition, 6 partitions",
        "idle after 30s",
        "──── slice t.by_container",
        "source by_container.read from ws.t.by_container.repartition, the watermark of all tasks that write it",
    ] {
        assert!(told.contains(line), "{line}\n{told}");
    }
}

#[test]
fn mistakes_are_told_with_what_to_do() {
    let sinks = "  a: { from: last, format: json }\n";
    expect![[r#"
        t.yaml:10:12: rows are re-keyed by texts, `filling_level` is number
          10 |     rekey: filling_level
             |            ^
          hint: CAST(… AS VARCHAR) in a stage before: message keys are texts"#]]
    .assert_eq(&errors(&file("  - id: last\n    from: readings\n    rekey: filling_level\n", sinks)));
    expect![[r#"
        t.yaml:10:12: `rekey` takes one column
          10 |     rekey: [device_id, source]
             |            ^
          hint: put the parts together in a stage before: `add: { place: area || '/' || stream }`"#]]
    .assert_eq(&errors(&file("  - id: last\n    from: readings\n    rekey: [device_id, source]\n", sinks)));
    let union = "  - id: narrow
    from: readings
    select: [device_id]
  - id: last
    union: [narrow, readings]
";
    let told = errors(&file(union, sinks));
    assert!(told.starts_with("t.yaml:12:21: `narrow` and `readings` have different columns"), "{told}");
    assert!(told.contains("only in `narrow`: []; only in `readings`: [") && told.contains("filling_level (number)"), "{told}");
    // What came through a rekey cannot be put together with what did not: the slice would wait for itself.
    let circle = "  - id: again
    from: readings
    rekey: device_id
  - id: last
    union: [readings, again]
";
    expect![[r#"
        t.yaml:8:9: rows from before and from behind `again` come together in one stage
          8 |   - id: again
            |         ^
          hint: a slice would wait for its own watermark: let everything that is put together go through a `rekey`"#]]
    .assert_eq(&errors(&file(circle, sinks)));
    expect![[r#"
        t.yaml:12:23: `readings` and `again` are spread over tasks by different keys
          12 |     union: [readings, again]
             |                       ^
          hint: streams can be put together when they are keyed alike: `rekey:` one of them first"#]]
    .assert_eq(&errors(&file(&circle.replace("device_id", "source"), sinks)));
    let group = "  - id: last
    from: readings
    group_by: source
    window: { tumbling: 1h }
    select: { source: source, n: count() }
";
    expect![[r#"
        t.yaml:10:15: group_by [source] does not contain `device_id`, by which the rows are spread over tasks
          10 |     group_by: source
             |               ^
          hint: rows of one group would be counted apart: add `device_id`, put `rekey: …` before this stage, or read a topic that is keyed by the group"#]]
    .assert_eq(&errors(&file(group, sinks)));
    expect![[r#"
        t.yaml:10:39: `partitions` must be a whole number from 1 to 4096
          10 |     rekey: { key: source, partitions: 0 }
             |                                       ^"#]]
    .assert_eq(&errors(&file("  - id: last\n    from: readings\n    rekey: { key: source, partitions: 0 }\n", sinks)));
    expect![[r#"
        t.yaml:9:5: `from` beside `union`
          9 |     from: readings
            |     ^
          hint: `union: [a, b]` names the stages itself
        t.yaml:10:12: a `union` of one
          10 |     union: [readings]
             |            ^
          hint: name two stages or more, or leave it out"#]]
    .assert_eq(&errors(&file("  - id: last\n    from: readings\n    union: [readings]\n", sinks)));
}

const WIDE: &str = "  - id: levels
    from: readings
    select: [{ id: device_id }, { level: filling_level }]
  - id: visits
    from: emptied
    select: [{ id: container_id }, { outcome: outcome }]
  - id: all
    union: { of: [levels, visits], missing: nulls }
";

#[test]
fn a_union_may_fill_what_an_input_lacks_with_nulls() {
    let stages = format!("{WIDE}  - id: by_id\n    from: all\n    rekey: id\n");
    let plan = plan(&file(&stages, "  all.seen: { from: by_id, format: json }\n"));
    let rekey = &plan.slices().next().unwrap().rekeys[0];
    let columns: Vec<(&str, bool)> = rekey.schema.fields().iter().map(|f| (f.name().as_str(), f.is_nullable())).collect();
    assert_eq!(columns, [("id", false), ("level", true), ("outcome", true)]);
    let told = errors(&file(&WIDE.replace("{ outcome: outcome }", "{ level: outcome }"), "  all.seen: { from: all, format: json }\n"));
    assert!(told.contains("column `level` is number before `visits` and text in it"), "{told}");
    let told = errors(&file(
        &format!("{}  - id: once\n    from: all\n    dedup: {{ key: id, by: id, keep: 1d }}\n", WIDE.replace("id: container_id", "id: site_id")),
        "  all.seen: { from: once, format: json }\n",
    ));
    assert!(told.contains("(several keys)"), "state by key needs a rekey first: {told}");
    let told = errors(&file(&WIDE.replace("missing: nulls", "missing: zeros"), "  all.seen: { from: all, format: json }\n"));
    assert!(told.contains("missing: zeros"), "{told}");
}
