//! The topologies that are shipped: they plan, their sinks fit, and their fixtures can be read.

use super::avsc::{Schemas, root};
use crate::fixture::{self, DEAD_LETTERS, Payload, Step};
use crate::plan::{Plan, load_file};
use ws_stream::spec::{AggFn, From, OpSpec, SinkFormat};

fn shipped(name: &str) -> Plan {
    load_file(&root().join("topologies").join(name), &Schemas, &|_| None).unwrap_or_else(|e| panic!("{e}"))
}

#[test]
fn bin_fill_plans() {
    let plan = shipped("bin-fill.yaml");
    let t = &plan.topology;
    let sinks: Vec<&str> = t.sinks.iter().map(|s| s.topic.as_ref()).collect();
    assert_eq!(sinks, ["bin.features", "bin.forecast", "bin.alert"]);
    assert!(t.sinks.iter().all(|s| s.key.as_deref() == Some("device_id") && s.format == SinkFormat::Avro));
    assert_eq!(t.models, ["fill-forecast"]);
    assert_eq!(&*t.dead_letters, "dlq.bin-fill");
    let trend = t.stages.iter().find(|s| s.id == "trend").unwrap();
    let OpSpec::Since { calls, carry, window, .. } = &trend.op else { panic!("{trend:?}") };
    assert_eq!(window.reset_at.as_deref(), Some("reset_at"));
    let slopes: Vec<Option<i64>> = calls.iter().filter(|c| c.function == AggFn::Slope).map(|c| c.horizon_ms.map(|h| h / 3_600_000)).collect();
    assert_eq!(slopes, [Some(6), Some(24), Some(72), Some(168), None]);
    assert!(carry.contains(&"filling_level".to_string()) && !carry.contains(&"reset_at".to_string()), "{carry:?}");
    // Stages come after what they read.
    for (i, stage) in t.stages.iter().enumerate() {
        assert!(stage.from.iter().all(|f| matches!(f, From::Input(_)) || matches!(f, From::Stage(s) if *s < i)), "{}", stage.id);
    }
}

#[test]
fn churn_and_maintenance_plan_with_their_parameters() {
    let churn = shipped("churn.yaml");
    assert_eq!(churn.slices().flat_map(|s| &s.models).collect::<Vec<_>>(), ["churn-risk"]);
    let sinks: Vec<&str> = churn.slices().flat_map(|s| &s.sinks).map(|s| s.topic.as_ref()).collect();
    assert_eq!(sinks, ["customer.features", "customer.churn-risk"]);
    let env = |name: &str| (name == "CHURN_HOLDOUT_SHARE").then(|| "lots".to_string());
    let error = load_file(&root().join("topologies/churn.yaml"), &Schemas, &env).unwrap_err().to_string();
    assert!(error.contains("lots"), "{error}");
    let maintenance = shipped("maintenance.yaml").topology;
    assert_eq!(maintenance.models, ["maintenance-risk"]);
    assert!(maintenance.inputs[0].schema.index_of("fault_codes").is_ok(), "lists arrive");
}

#[test]
fn only_used_columns_are_decoded() {
    let plan = shipped("bin-fill.yaml");
    let names: Vec<&str> = plan.topology.inputs[0].schema.fields().iter().map(|f| f.name().as_str()).collect();
    assert!(names.contains(&"battery_v") && names.contains(&"event_id"), "{names:?}");
    assert!(!names.contains(&"rssi_dbm") && !names.contains(&"raw_value"), "{names:?}");
    let devices: Vec<&str> = plan.topology.tables[0].schema.fields().iter().map(|f| f.name().as_str()).collect();
    assert_eq!(devices, ["device_id", "container_id", "valid_from", "valid_to", "report_interval_s"]);
    let hot = shipped("hot-bins.yaml");
    let names: Vec<&str> = hot.topology.inputs[0].schema.fields().iter().map(|f| f.name().as_str()).collect();
    assert_eq!(names, ["observed_at", "device_id", "temperature_degc"]);
}

#[test]
fn state_belongs_to_what_is_stateful() {
    let text = std::fs::read_to_string(root().join("topologies/bin-fill.yaml")).unwrap();
    let hash = |text: &str| crate::load("t.yaml", text, &Schemas, &|_| None).unwrap_or_else(|e| panic!("{e}")).topology.state_hash;
    let base = hash(&text);
    assert_eq!(base, hash(&text.replace("> 65", "> 70").replace("BETWEEN 0 AND 1.2", "BETWEEN 0 AND 1.1")), "filters may change");
    assert_ne!(base, hash(&text.replace("panes: 15m", "panes: 30m")), "panes may not");
    assert_ne!(base, hash(&text.replace("slope(filling_level, '6h')", "slope(filling_level, '5h')")), "aggregates may not");
}

#[test]
fn the_graph_shows_sources_tables_stages_and_side_outputs() {
    let graph = shipped("hot-bins.yaml").mermaid();
    expect_test::expect![[r#"
        flowchart LR
          in0[/"bin.telemetry"/]
          s0["measured<br/><small>filter</small>"]
          s1["hourly<br/><small>window</small><br/><small>1h</small>"]
          s2["hot<br/><small>filter</small>"]
          out0[\"bin.hot-hour"\]
          in0 --> s0
          s0 --> s1
          s1 --> s2
          s2 --> out0
    "#]]
    .assert_eq(&graph);
    let graph = shipped("bin-fill.yaml").mermaid();
    assert!(graph.contains("-.-> ") && graph.contains("-. unknown_device .-> dead"), "{graph}");
}

#[test]
fn the_plan_can_be_explained() {
    expect_test::expect![[r#"
        topology hot-bins   state 7f72a74ad0a23531   dead letters to dlq.hot-bins

        source readings from bin.telemetry
          event time observed_at, watermark 10m behind, values up to 65536 bytes
          rows behind the watermark are late
          rows more than 10m ahead of the log's time are dead letters
          columns observed_at: integer, device_id: text, temperature_degc: number?

        stage measured (filter) from readings
          where temperature_degc IS NOT NULL; others are counted as filtered
          → observed_at: integer, device_id: text, temperature_degc: number

        stage hourly (window) from measured
          by [device_id], 1h long, every 1h, final when the watermark passes the end
          agg0 = count()
          agg1 = max(temperature_degc)
          hour_start = window_start
          readings = count()
          max_temperature_degc = max(temperature_degc)
          → device_id: text, hour_start: integer, readings: integer, max_temperature_degc: number?

        stage hot (filter) from hourly
          where max_temperature_degc > 40; others are counted as filtered
          → device_id: text, hour_start: integer, readings: integer, max_temperature_degc: number

        sink bin.hot-hour from hot, JSON, key device_id
    "#]]
    .assert_eq(&shipped("hot-bins.yaml").explain());
}

#[test]
fn fixtures_read_and_name_what_exists() {
    use crate::contracts::Contracts;
    let mut seen = 0;
    for name in ["bin-fill", "hot-bins", "churn", "maintenance"] {
        let plan = shipped(&format!("{name}.yaml"));
        for entry in std::fs::read_dir(root().join(format!("topologies/{name}.fixtures"))).unwrap() {
            let fixture = fixture::parse_file(&entry.unwrap().path()).unwrap_or_else(|e| panic!("{e}"));
            seen += 1;
            for step in &fixture.steps {
                let Step::Push { topic, payload: Payload::Row(row), .. } = step else {
                    continue;
                };
                let contract = Schemas.topic(topic).unwrap_or_else(|| panic!("{}: {topic}", fixture.file));
                for (column, _) in row {
                    assert!(contract.schema.index_of(column).is_ok(), "{}: {topic} has no column {column}", fixture.file);
                }
                for field in contract.schema.fields() {
                    let given = row.iter().any(|(c, v)| c == field.name() && *v != fixture::Cell::Null);
                    assert!(given || field.is_nullable() || contract.defaults.contains(field.name()), "{}: {topic} needs {}", fixture.file, field.name());
                }
            }
            for (topic, _) in &fixture.expect {
                assert!(topic == DEAD_LETTERS || plan.slices().any(|t| t.sinks.iter().any(|s| *s.topic == **topic)), "{}: {topic}", fixture.file);
            }
        }
    }
    assert!(seen >= 5);
}
