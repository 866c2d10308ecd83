//! Training of risks as a whole, on small made-up customers.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::sync::{Arc, OnceLock};

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Float64Array, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::Float64Type;
use rand::{Rng, SeedableRng, rngs::SmallRng};
use ws_inference::manifest::Decoder;
use ws_inference::{GbdtPredictor, ModelError};
use ws_stream::predict::Predictor;

use crate::churn::{churn_options, train_churn};
use crate::risk_facts::CustomerFacts;
use crate::risk_train::{RiskOptions, TrainedRisk};

const DAY_MS: i64 = 86_400_000;
const DAYS: i64 = 420;

/// Customers that leave for missed collections and price rises, with the hazard that made them.
struct Made {
    rows: RecordBatch,
    facts: CustomerFacts,
    truth: Vec<Vec<f64>>,
}

fn batch(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
    RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, column)| (name, column, true))).unwrap()
}

fn made(customers: usize, seed: u64) -> Made {
    let mut random = SmallRng::seed_from_u64(seed);
    let (mut ids, mut times, mut missed, mut rises, mut tenures, mut leak, mut truth) = (vec![], vec![], vec![], vec![], vec![], vec![], vec![]);
    let (mut who, mut what, mut when, mut wanted) = (vec![], vec![], vec![], vec![]);
    for customer in 0..customers {
        let service = random.random::<f64>();
        let (mut trouble, mut of_days, mut end) = (0.0f64, Vec::new(), None);
        let since = (random.random::<f64>() * 2000.0).floor();
        let rise = if random.random::<f64>() < 0.4 { 0.12 * random.random::<f64>() } else { 0.0 };
        let first = ids.len();
        for day in 0..DAYS {
            trouble *= 0.985;
            if random.random::<f64>() < 0.03 * service {
                trouble += 1.0;
            }
            let hazard = 0.0004 * (0.9 * trouble.min(4.0) + 9.0 * rise).exp();
            of_days.push(1.0 - (-hazard * 60.0f64).exp());
            if day % 7 == 0 {
                ids.push(format!("c{customer}"));
                times.push(day * DAY_MS);
                missed.push((trouble + 0.2 * random.random::<f64>()).floor());
                rises.push(rise);
                tenures.push(day as f64 + since);
            }
            if random.random::<f64>() < hazard {
                end = Some(day + 30);
                break;
            }
        }
        leak.extend((first..ids.len()).map(|at| end.map_or(999.0, |end| end as f64 - times[at] as f64 / DAY_MS as f64)));
        if let Some(end) = end {
            for (event, day) in [("notice_given", end - 30), ("ended", end)] {
                who.push(format!("c{customer}"));
                what.push(event);
                when.push(day * DAY_MS);
                wanted.push(customer % 10 != 0);
            }
        }
        truth.push(of_days);
    }
    let mut facts = CustomerFacts::default();
    facts
        .add_contracts(&batch(vec![
            ("customer_id", Arc::new(StringArray::from(who))),
            ("event", Arc::new(StringArray::from(what))),
            ("observed_at", Arc::new(Int64Array::from(when))),
            ("voluntary", Arc::new(BooleanArray::from(wanted))),
        ]))
        .unwrap();
    facts.known_until(DAYS * DAY_MS);
    let rows = batch(vec![
        ("customer_id", Arc::new(StringArray::from(ids))),
        ("observed_at", Arc::new(Int64Array::from(times.clone()))),
        ("received_at", Arc::new(Int64Array::from(times))),
        ("missed_90d", Arc::new(Float64Array::from(missed))),
        ("fee_change_365d", Arc::new(Float64Array::from(rises))),
        ("tenure_days", Arc::new(Float64Array::from(tenures))),
        ("days_to_contract_end", Arc::new(Float64Array::from(leak))),
    ]);
    Made { rows, facts, truth }
}

fn options() -> RiskOptions {
    let mut options = churn_options(1, DAYS * DAY_MS);
    options.candidates.truncate(2);
    options
}

fn train(made: &Made, options: &RiskOptions) -> Result<TrainedRisk, crate::TrainError> {
    let truth = |subject: &str, at_ms: i64| made.truth[subject[1..].parse::<usize>().unwrap()].get((at_ms / DAY_MS) as usize).copied();
    train_churn(std::slice::from_ref(&made.rows), &made.facts, &truth, options)
}

fn customers() -> &'static Made {
    static MADE: OnceLock<Made> = OnceLock::new();
    MADE.get_or_init(|| made(900, 4))
}

fn trained() -> &'static TrainedRisk {
    static MODEL: OnceLock<TrainedRisk> = OnceLock::new();
    MODEL.get_or_init(|| train(customers(), &options()).unwrap())
}

#[test]
fn the_model_comes_near_the_truth_and_beats_the_dummy() {
    let report = &trained().report;
    println!("{report}");
    let truth = report.truth.unwrap();
    assert!(report.counts.adds_up() && report.counts.censored["contract_ended"] > 0 && report.counts.expired > 0 && report.counts.not_asked > 0);
    assert!(report.rows[0] + report.rows[1] < report.counts.labelled as usize, "rows whose horizon reaches over the boundary are in no part");
    assert!(report.model.auc > 0.62 && report.model.auc > truth.auc - 0.1, "{report}");
    assert!(report.model.brier < report.dummy.brier && report.model.lift_10 > 1.5, "{report}");
    assert!(report.model.calibration_error < 0.05, "{report}");
    assert!(report.strongest.iter().all(|(name, _)| name != "customer_id"));
    assert!(["missed_90d", "fee_change_365d"].contains(&report.strongest[0].0.as_str()), "{report}");
}

#[test]
fn a_planted_leak_is_refused_and_an_unused_one_is_not() {
    let mut leaking = options();
    leaking.features.push("days_to_contract_end".into());
    let error = train(customers(), &leaking).unwrap_err().to_string();
    assert!(error.contains("days_to_contract_end") && error.contains("know the future"), "{error}");
}

#[test]
fn training_again_gives_the_same_bytes() {
    let again = train(customers(), &options()).unwrap();
    assert_eq!(again.bundle.files().unwrap(), trained().bundle.files().unwrap());
}

#[test]
fn a_loaded_bundle_answers_row_by_row_with_risk_horizon_and_reasons() {
    let mut predictor = GbdtPredictor::new(&trained().bundle).unwrap();
    let rows = &customers().rows.slice(0, 300);
    let whole = predictor.predict(rows).unwrap().columns;
    let names: Vec<String> = whole.schema().fields().iter().map(|f| f.name().clone()).collect();
    assert_eq!(names, ["risk", "horizon_days", "drivers"]);
    let risks = whole.column(0).as_primitive::<Float64Type>().clone();
    assert!(risks.iter().all(|risk| (0.0..=1.0).contains(&risk.unwrap())));
    let mut told = 0;
    for row in 0..300 {
        let one = predictor.predict(&rows.slice(row, 1)).unwrap().columns;
        assert_eq!(one.column(0).as_primitive::<Float64Type>().value(0).to_bits(), risks.value(row).to_bits());
        let drivers = one.column(2).as_list::<i32>().value(0);
        let sizes: Vec<f64> = drivers.as_struct().column(1).as_primitive::<Float64Type>().iter().flatten().collect();
        assert!(sizes.iter().all(|size| *size > 0.0) && sizes.windows(2).all(|pair| pair[0] >= pair[1]), "{drivers:?}");
        told += usize::from(!drivers.is_empty());
    }
    assert!(told > 100);
    let Decoder::Risk { horizon_days, life, .. } = &trained().bundle.manifest.decoder else { panic!() };
    assert_eq!((*horizon_days, *life), (90, None));
}

#[test]
fn an_altered_bundle_is_refused_by_its_golden_rows() {
    let mut forged = trained().bundle.clone();
    // In front of the first leaf's digits, behind its sign.
    let sign = if forged.texts["score"].contains("leaf_value=-") { "leaf_value=-" } else { "leaf_value=" };
    let text = forged.texts["score"].replacen(sign, &format!("{sign}1"), 1);
    forged.manifest.models.get_mut("score").unwrap().checksum = ws_inference::manifest::checksum(&text);
    forged.texts.insert("score".to_owned(), text);
    assert!(matches!(GbdtPredictor::new(&forged), Err(ModelError::Golden { .. })));
}

#[test]
fn too_short_a_history_is_told_with_its_counts() {
    let few = made(8, 9);
    let error = train(&few, &options()).unwrap_err().to_string();
    assert!(error.contains("longer history") && error.contains("not asked"), "{error}");
    assert!(few.rows.column(0).len() > 50);
}
