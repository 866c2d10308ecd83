//! What expressions yield, evaluated on batches as the engine would.

use super::avsc::{errors, plan, staged};
use arrow::array::{Array, ArrayRef, BooleanArray, Float64Array, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema};
use arrow::util::display::array_value_to_string;
use std::sync::Arc;
use ws_stream::expr::{ExprError, ExprRef};
use ws_stream::spec::OpSpec;

/// Six readings: levels 0.5, NaN, 7.3, -0.0, 1.2, and -0.1; battery null in the second, sequences 0..6.
fn rows(names: &[String]) -> RecordBatch {
    let levels = [0.5, f64::NAN, 7.3, -0.0, 1.2, -0.1];
    let column = |name: &str| -> (ArrayRef, bool) {
        match name {
            "__time" | "observed_at" => (Arc::new(Int64Array::from_iter_values((0..6).map(|i| 1_793_606_400_000 + i * 3_600_000))), false),
            "__offset" => (Arc::new(Int64Array::from_iter_values(0..6)), false),
            "__late" => (Arc::new(BooleanArray::from(vec![false; 6])), false),
            "filling_level" => (Arc::new(Float64Array::from_iter_values(levels)), false),
            "battery_v" => (Arc::new(Float64Array::from(vec![Some(3.6), None, Some(3.1), Some(3.0), Some(3.5), Some(3.2)])), true),
            "sequence" => (Arc::new(Int64Array::from_iter((0..6).map(|i| (i != 5).then_some(i)))), true),
            "raw_unit" => (Arc::new(StringArray::from(vec![Some("cm"), Some("%"), Some("12"), None, Some("x"), Some("7")])), true),
            "device_id" => (Arc::new(StringArray::from_iter_values((0..6).map(|i| format!("d{i}")))), false),
            other => panic!("{other}"),
        }
    };
    let made: Vec<(ArrayRef, bool)> = names.iter().map(|n| column(n)).collect();
    let fields: Vec<Field> = names.iter().zip(&made).map(|(n, (a, nullable))| Field::new(n, a.data_type().clone(), *nullable)).collect();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), made.into_iter().map(|(a, _)| a).collect()).unwrap()
}

fn planned(sql: &str) -> (ExprRef, RecordBatch) {
    let text = staged(&format!("  - id: last\n    from: readings\n    select:\n      device_id: device_id\n      x: |\n        {sql}\n"));
    let plan = plan(&text).unwrap_or_else(|e| panic!("{e}"));
    let OpSpec::Select { columns: Some(columns), .. } = &plan.topology.stages[0].op else { panic!() };
    let schema = ws_stream::batch::with_system(&plan.topology.inputs[0].schema);
    let names: Vec<String> = schema.fields().iter().map(|f| f.name().clone()).collect();
    (columns[1].expr.clone(), rows(&names))
}

fn try_values(sql: &str) -> Result<String, ExprError> {
    let (expr, rows) = planned(sql);
    let array = expr.evaluate(&rows)?;
    assert_eq!(array.len(), rows.num_rows());
    assert_eq!(*array.data_type(), expr.data_type(), "{sql}");
    assert!(expr.nullable() || array.null_count() == 0, "{sql}");
    Ok((0..array.len()).map(|i| if array.is_null(i) { "-".into() } else { array_value_to_string(&array, i).unwrap() }).collect::<Vec<_>>().join(" "))
}

fn values(sql: &str) -> String {
    try_values(sql).unwrap()
}

#[test]
fn a_range_refuses_nan_and_takes_both_zeros() {
    assert_eq!(values("filling_level BETWEEN 0 AND 1.2"), "true false false true true false");
    assert_eq!(values("filling_level >= 0 AND filling_level <= 1.2"), "true false false true true false");
}

#[test]
fn nulls_stay_null_until_told_otherwise() {
    assert_eq!(values("battery_v < 3.2"), "false - true true false false");
    assert_eq!(values("coalesce(battery_v < 3.2, false)"), "false false true true false false");
    assert_eq!(values("CASE WHEN battery_v < 3.2 THEN 'low' END"), "- - low low - -");
}

#[test]
fn results_have_engine_types() {
    for (sql, data_type) in [
        ("CAST(sequence AS INT)", DataType::Int64),
        ("CAST(filling_level AS REAL)", DataType::Float64),
        ("1", DataType::Int64),
        ("1.5", DataType::Float64),
        ("'x'", DataType::Utf8),
        ("device_id || ':f'", DataType::Utf8),
        ("CAST(sequence AS VARCHAR)", DataType::Utf8),
        ("filling_level > 1", DataType::Boolean),
        ("to_timestamp_millis(observed_at)", DataType::Int64),
        ("date_trunc('day', to_timestamp_millis(observed_at))", DataType::Int64),
        ("date_part('hour', to_timestamp_millis(observed_at))", DataType::Int64),
        ("CAST(NULL AS DOUBLE)", DataType::Float64),
        ("upper(substr(device_id, 1, 1))", DataType::Utf8),
        ("least(filling_level, 1.0)", DataType::Float64),
        ("event_time", DataType::Int64),
    ] {
        assert_eq!(planned(sql).0.data_type(), data_type, "{sql}");
        values(sql);
    }
}

#[test]
fn times_are_integers_and_can_be_reckoned_with() {
    assert_eq!(values("(event_time % 86400000) / 3600000.0"), "8.0 9.0 10.0 11.0 12.0 13.0");
    // 2026-11-02 is a Monday.
    assert_eq!(values("(event_time / 86400000 + 3) % 7"), "0 0 0 0 0 0");
    assert_eq!(values("date_part('hour', to_timestamp_millis(observed_at))"), "8 9 10 11 12 13");
    assert_eq!(values("__offset"), "0 1 2 3 4 5");
}

#[test]
fn texts_join_and_null_makes_null() {
    assert_eq!(values("device_id || ':' || CAST(sequence AS VARCHAR)"), "d0:0 d1:1 d2:2 d3:3 d4:4 -");
    assert_eq!(values("raw_unit = 'cm' OR raw_unit IS NULL"), "true false false true false false");
}

#[test]
fn a_value_that_does_not_fit_fails_and_is_named() {
    let error = try_values("CAST(raw_unit AS BIGINT)").unwrap_err();
    assert!(error.to_string().contains("CAST(raw_unit AS BIGINT)") && error.to_string().contains("cm"), "{error}");
    assert_eq!(values("TRY_CAST(raw_unit AS BIGINT)"), "- - 12 - - 7");
    assert!(try_values("10 / sequence").is_err(), "an integer divided by zero");
    assert_eq!(values("10 / nullif(sequence, 0)"), "- 10 5 3 2 -");
    // Fractions do not fail.
    assert_eq!(values("1 / (filling_level - filling_level)"), "inf NaN inf inf inf inf");
}

#[test]
fn a_batch_with_other_column_places_is_read_by_name() {
    let (expr, rows) = planned("filling_level * 2");
    let mut order: Vec<usize> = (0..rows.num_columns()).rev().collect();
    let turned = rows.project(&order).unwrap();
    assert_eq!(&expr.evaluate(&rows).unwrap(), &expr.evaluate(&turned).unwrap());
    order.retain(|i| rows.schema().field(*i).name() != "filling_level");
    assert!(expr.evaluate(&rows.project(&order).unwrap()).unwrap_err().to_string().contains("filling_level"));
}

#[test]
fn what_changes_on_replay_is_refused_with_what_to_use() {
    for word in ["now()", "current_date", "current_timestamp", "current_date()", "random()", "uuid()", "CURRENT_TIME"] {
        let message = errors(&staged(&format!("  - id: last\n    from: readings\n    select:\n      x: {word}\n")));
        assert!(message.contains("t.yaml:10:10:") && message.contains("gives another result when the log is replayed"), "{word}: {message}");
        assert!(message.contains("event_time") || message.contains("event_id"), "{word}: {message}");
    }
}

#[test]
fn a_column_whose_name_is_a_word_of_sql_is_a_column() {
    let text = staged(
        "  - id: a\n    from: readings\n    select:\n      - device_id\n      - order: filling_level\n      - select: source\n  - id: last\n    from: a\n    select: [device_id, order, select]\n",
    );
    let plan = plan(&text).unwrap_or_else(|e| panic!("{e}"));
    let names: Vec<&str> = ws_stream::batch::user_fields(&plan.topology.stages[1].schema).iter().map(|f| f.name().as_str()).collect();
    assert_eq!(names, ["device_id", "order", "select"]);
}
