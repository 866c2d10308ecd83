//! Training as a whole, on the small city of [`crate::testkit`].
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::sync::OnceLock;

use arrow::array::{Array, Float64Array, RecordBatch};
use ws_inference::{GbdtPredictor, ModelError, ModelStore};
use ws_stream::predict::Predictor;

use crate::evaluate::{EvaluateOptions, evaluate};
use crate::fill::{TrainOptions, TrainedModel, train_fill};
use crate::testkit::City;

const DAY_MS: i64 = 86_400_000;

fn city() -> &'static RecordBatch {
    static CITY: OnceLock<RecordBatch> = OnceLock::new();
    CITY.get_or_init(|| City::default().features(i64::MAX))
}

fn options() -> TrainOptions {
    TrainOptions { max_examples: 9000, trained_at_ms: 21 * DAY_MS, ..TrainOptions::default() }
}

fn trained() -> &'static TrainedModel {
    static MODEL: OnceLock<TrainedModel> = OnceLock::new();
    MODEL.get_or_init(|| train_fill(std::slice::from_ref(city()), &options()).unwrap())
}

fn columns(batch: &RecordBatch) -> Vec<Vec<Option<u64>>> {
    batch
        .columns()
        .iter()
        .map(|column| {
            let floats = column.as_any().downcast_ref::<Float64Array>().unwrap();
            floats.iter().map(|value| value.map(f64::to_bits)).collect()
        })
        .collect()
}

#[test]
fn the_model_beats_what_costs_nothing() {
    let evaluation = &trained().evaluation;
    println!("{evaluation}");
    for score in evaluation.levels.iter().filter(|score| [6.0, 24.0, 48.0].contains(&score.horizon_h)) {
        let [model, persistence, constant, heuristic] = score.pinball.map(Option::unwrap);
        assert!(!score.extrapolated && score.rows > 100, "{score:?}");
        assert!(model < persistence && model < constant && model < heuristic, "{score:?}");
        let mae = score.mae.map(Option::unwrap);
        assert!(mae[0] < mae[1] && mae[0] < mae[2], "{score:?}");
        let coverage = score.coverage[0].unwrap();
        let least = if score.with_faults { 0.6 } else { 0.7 };
        assert!((least..0.93).contains(&coverage), "{score:?}");
    }
    let overflow = &evaluation.overflow[1];
    assert!(!overflow.with_faults && overflow.rows > 300, "{overflow:?}");
    assert!(overflow.auc[0].unwrap() > overflow.auc[2].unwrap(), "{overflow:?}");
    assert!(overflow.brier[0].unwrap() < overflow.brier[2].unwrap(), "{overflow:?}");
    assert!(evaluation.hours_to_full.concordance.unwrap() > 0.75, "{:?}", evaluation.hours_to_full);
}

#[test]
fn every_question_ends_and_the_counts_add_up() {
    let evaluation = &trained().evaluation;
    let mut asked = Vec::new();
    for (_, counts) in &evaluation.outcomes {
        assert!(counts.adds_up(), "{counts:?}");
        asked.push(counts.asked);
    }
    assert!(evaluation.overflow_outcomes.adds_up());
    assert!(asked.windows(2).all(|pair| pair[0] == pair[1]) && asked[0] > 8000);
    let longest = evaluation.outcomes.last().unwrap().1;
    assert!(longest.censored > longest.labelled, "most containers are emptied within a week");
}

#[test]
fn training_again_gives_the_same_bytes_and_another_seed_does_not() {
    let files = trained().bundle.files().unwrap();
    let again = train_fill(std::slice::from_ref(city()), &options()).unwrap();
    assert_eq!(again.bundle.files().unwrap(), files);
    let other = train_fill(std::slice::from_ref(city()), &TrainOptions { seed: 2, ..options() }).unwrap();
    assert_ne!(other.bundle.manifest.version, trained().bundle.manifest.version);
}

#[test]
fn the_input_may_come_in_any_batches_and_order() {
    let (rows, middle) = (city().num_rows(), city().num_rows() / 3);
    let parts = [city().slice(middle, rows - middle), city().slice(0, middle)];
    let again = train_fill(&parts, &options()).unwrap();
    assert_eq!(again.bundle.manifest.version, trained().bundle.manifest.version);
}

#[test]
fn answers_do_not_depend_on_the_batch() {
    let mut predictor = trained().predictor().unwrap();
    let rows = city().slice(1000, 300);
    let whole = columns(&predictor.predict(&rows).unwrap().columns);
    for size in [1, 7, 64] {
        let mut pieced: Vec<Vec<Option<u64>>> = vec![Vec::new(); whole.len()];
        for start in (0..300).step_by(size) {
            let part = predictor.predict(&rows.slice(start, size.min(300 - start))).unwrap();
            for (all, more) in pieced.iter_mut().zip(columns(&part.columns)) {
                all.extend(more);
            }
        }
        assert_eq!(pieced, whole, "batches of {size}");
    }
}

#[test]
fn quantiles_never_cross_and_levels_never_fall() {
    let mut predictor = trained().predictor().unwrap();
    let answer = predictor.predict(&city().slice(0, 5000)).unwrap().columns;
    let column = |name: &str| answer.column_by_name(name).unwrap().as_any().downcast_ref::<Float64Array>().unwrap().clone();
    let triples =
        ["level_6h", "level_24h", "level_48h", "hours_to_full"].map(|name| ["p10", "p50", "p90"].map(|quantile| column(&format!("{name}_{quantile}"))));
    let overflow = column("p_overflow");
    for row in 0..answer.num_rows() {
        for [low, middle, high] in &triples {
            assert!(low.value(row) <= middle.value(row) && middle.value(row) <= high.value(row));
        }
        for at in 0..3 {
            let levels = [&triples[0], &triples[1], &triples[2]].map(|triple| triple[at].value(row));
            assert!(levels[0] <= levels[1] && levels[1] <= levels[2], "{levels:?}");
            assert!(levels.iter().all(|level| (0.0..=1.0).contains(level)));
        }
        assert!(overflow.is_null(row) || (0.0..=1.0).contains(&overflow.value(row)));
    }
}

#[test]
fn rows_outside_the_declared_domain_are_declined() {
    let mut daily = City { bins: 1, days: 3, step_h: 24.0, ..City::default() };
    daily.seed = 9;
    let answer = trained().predictor().unwrap().predict(&daily.features(i64::MAX)).unwrap();
    assert_eq!(answer.declined.unwrap().true_count(), answer.columns.num_rows(), "a model of hourly sensors");
}

#[test]
fn a_planted_leak_is_caught() {
    let leaking = City { planted_leak: true, ..City::default() }.features(i64::MAX);
    let hinted = TrainOptions { extra_features: vec!["future_hint".to_owned()], ..options() };
    let error = train_fill(std::slice::from_ref(&leaking), &hinted).unwrap_err().to_string();
    assert!(error.contains("future_hint") && error.contains("know the future"), "{error}");
    assert!(train_fill(&[leaking], &options()).is_ok(), "the column is there and is not used");
}

#[test]
fn two_days_of_history_train_short_horizons_and_say_so() {
    let short = City { bins: 200, days: 2, ..City::default() }.features(i64::MAX);
    let model = train_fill(&[short], &options()).unwrap();
    println!("{}", model.evaluation);
    let manifest = &model.bundle.manifest;
    let ws_inference::manifest::Decoder::Fill { horizons, trained_to_h, .. } = &manifest.decoder else { panic!() };
    assert_eq!(*trained_to_h, 6.0);
    assert_eq!(horizons.iter().map(|horizon| horizon.hours).collect::<Vec<_>>(), [6.0, 24.0, 48.0]);
    let nothing = City { bins: 3, days: 1, ..City::default() }.features(i64::MAX);
    let error = train_fill(&[nothing], &options()).unwrap_err().to_string();
    assert!(error.contains("longer history"), "{error}");
}

#[test]
fn a_stored_model_answers_the_same_and_judges_later_data() {
    let folder = tempfile::tempdir().unwrap();
    let store = ModelStore::new(folder.path());
    let bundle = &trained().bundle;
    assert!(store.current("fill-forecast").unwrap().is_none());
    assert!(matches!(store.load_current("fill-forecast"), Err(ModelError::Missing { .. })));
    store.save(bundle).unwrap();
    store.save(bundle).unwrap();
    store.set_current("fill-forecast", &bundle.manifest.version).unwrap();
    let mut loaded = store.load_current("fill-forecast").unwrap();
    let rows = city().slice(2000, 200);
    let expected = columns(&trained().predictor().unwrap().predict(&rows).unwrap().columns);
    assert_eq!(columns(&loaded.predict(&rows).unwrap().columns), expected);
    assert_eq!(store.versions("fill-forecast").unwrap(), std::slice::from_ref(&bundle.manifest.version));

    let later = City { seed: 77, ..City::default() }.features(i64::MAX);
    let judged = evaluate(&loaded, &[later], &EvaluateOptions { from_ms: 10 * DAY_MS, ..Default::default() }).unwrap();
    let day = judged.levels.iter().find(|score| score.horizon_h == 24.0 && !score.with_faults).unwrap();
    assert!(day.mae[0] < day.mae[1] && day.mae[2].is_some(), "{judged}");
    assert!(judged.to_json().contains("\"with_faults\""));
}

#[test]
fn a_version_is_immutable_and_damage_is_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let store = ModelStore::new(folder.path());
    let mut other = trained().bundle.clone();
    let path = store.save(&other).unwrap();
    other.manifest.trained_at_ms += 1;
    assert!(matches!(store.save(&other), Err(ModelError::VersionTaken { .. })));
    // A leaf altered with its checksum mended: only the golden rows can tell.
    let mut forged = trained().bundle.clone();
    let text = forged.texts["rate_p50"].replacen("leaf_value=", "leaf_value=1", 1);
    forged.manifest.models.get_mut("rate_p50").unwrap().checksum = ws_inference::manifest::checksum(&text);
    forged.texts.insert("rate_p50".to_owned(), text);
    assert!(matches!(GbdtPredictor::new(&forged), Err(ModelError::Golden { .. })));
    std::fs::write(path.join("rate_p10.txt"), "tree\n").unwrap();
    let version = &other.manifest.version;
    let error = store.load("fill-forecast", version).err().unwrap().to_string();
    assert!(error.contains("checksum"), "{error}");
    assert!(store.set_current("fill-forecast", version).is_err(), "a damaged version never becomes current");
    assert!(store.load("fill-forecast", "../../etc").is_err());
}
