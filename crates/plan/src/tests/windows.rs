//! Window stages: how a `select` splits into aggregates and expressions over them.

use super::avsc::{plan, staged};
use arrow::datatypes::DataType;
use ws_stream::batch::user_fields;
use ws_stream::spec::{AggFn, OpSpec};

#[test]
fn equal_aggregates_are_computed_once() {
    let text = staged(
        "  - id: last\n    from: readings\n    group_by: device_id\n    window: { since: { drop: { of: filling_level, by: 0.2, to_at_most: 0.4 } } }\n    select:\n      - device_id\n      - battery_v\n      - spread: max(filling_level, '24h') - min(filling_level, '24h')\n      - top: max(filling_level, '24h')\n      - ever: max( filling_level )\n      - n: count()\n      - m: count(battery_v)\n      - age_ms: row_time - last_time\n",
    );
    let plan = plan(&text).unwrap_or_else(|e| panic!("{e}"));
    let stage = &plan.topology.stages[0];
    let OpSpec::Since { calls, carry, columns, window, .. } = &stage.op else { panic!() };
    let functions: Vec<(AggFn, Option<i64>)> = calls.iter().map(|c| (c.function, c.horizon_ms)).collect();
    let day = Some(86_400_000);
    assert_eq!(functions, [(AggFn::Max, day), (AggFn::Min, day), (AggFn::Max, None), (AggFn::Count, None), (AggFn::Count, None)]);
    assert_eq!(carry, &["device_id", "battery_v"]);
    assert!(calls[3].arg.is_none() && calls[4].arg.as_ref().unwrap().data_type() == DataType::Float64);
    assert_eq!(columns[3].expr.text(), "max(filling_level, '24h')");
    assert_eq!(window.at_most_ms, crate::defaults::SINCE_AT_MOST_MS);
    let types: Vec<String> = user_fields(&stage.schema).iter().map(|f| format!("{}:{}:{}", f.name(), f.data_type(), f.is_nullable())).collect();
    assert_eq!(
        types,
        [
            "device_id:Utf8:false",
            "battery_v:Float64:true",
            "spread:Float64:true",
            "top:Float64:true",
            "ever:Float64:true",
            "n:Int64:false",
            "m:Int64:false",
            "age_ms:Int64:false"
        ]
    );
}

#[test]
fn arguments_become_numbers() {
    let text = staged(
        "  - id: last\n    from: readings\n    group_by: [device_id]\n    window: { hopping: 1h, every: 10m }\n    select:\n      - device_id\n      - window_end\n      - share: avg(battery_v < 3.2)\n      - s: sum(sequence)\n      - units: count(raw_unit)\n",
    );
    let plan = plan(&text).unwrap_or_else(|e| panic!("{e}"));
    let OpSpec::Window { calls, window, .. } = &plan.topology.stages[0].op else { panic!() };
    assert!(calls.iter().all(|c| c.arg.as_ref().unwrap().data_type() == DataType::Float64));
    assert_eq!((window.size_ms, window.slide_ms), (3_600_000, 600_000));
}

#[test]
fn the_key_is_followed_through_renames() {
    let text = staged(
        "  - id: renamed\n    from: readings\n    select: { bin: device_id, filling_level: filling_level }\n  - id: last\n    from: renamed\n    group_by: bin\n    window: { tumbling: 1m }\n    select: { bin: bin, n: count() }\n",
    );
    plan(&text).unwrap_or_else(|e| panic!("{e}"));
}

#[test]
fn the_benchmark_of_the_peers_can_be_written() {
    use super::avsc::contract;
    use crate::contracts::{Contracts, ModelContract, TopicContract};
    struct Bench;
    impl Contracts for Bench {
        fn topic(&self, topic: &str) -> Option<TopicContract> {
            (topic == "bin-telemetry").then(|| contract(r#"{"fields":[{"name":"bin_id","type":"string"},{"name":"ts","type":"long"},{"name":"fill_pct","type":"double"},{"name":"temp_c","type":"float"},{"name":"battery_v","type":"float"}]}"#))
        }
        fn model(&self, _: &str) -> Option<ModelContract> {
            None
        }
        fn topics(&self) -> Vec<String> {
            vec!["bin-telemetry".into()]
        }
        fn models(&self) -> Vec<String> {
            Vec::new()
        }
    }
    let w1 = "topology: w1
sources:
  readings: { topic: \"${IN_TOPIC:-bin-telemetry}\", key: bin_id, event_time: ts, watermark_delay: 10s, future: off }
stages:
  - id: per_minute
    from: readings
    group_by: bin_id
    window: { tumbling: 1m }
    select: { bin_id: bin_id, window_start: window_start, count: count(), avg_fill: avg(fill_pct), max_fill: max(fill_pct) }
sinks:
  \"${OUT_TOPIC:-out}\": { from: per_minute, key: bin_id, format: json, lineage: false }
";
    let plan = crate::load("w1.yaml", w1, &Bench, &|name| (name == "OUT_TOPIC").then(|| "w1-out".to_string())).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(&*plan.topology.sinks[0].topic, "w1-out");
    assert!(!plan.topology.sinks[0].lineage);
    let names: Vec<&str> = plan.topology.inputs[0].schema.fields().iter().map(|f| f.name().as_str()).collect();
    assert_eq!(names, ["bin_id", "ts", "fill_pct"], "the other two columns are not decoded");
}
