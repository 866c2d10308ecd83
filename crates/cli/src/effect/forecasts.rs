//! What the pipeline knows: the city's events go through the `bin-fill` topology that serves, with a model trained on
//! another city's past, and the forecasts that come out are what this policy decides by. Nothing else is asked.

use crate::Failure;
use crate::demo::{encode, history_features};
use crate::edge::{FILL_MODEL, RegistryEdge};
use crate::plans;
use crate::train::fill_options;
use arrow::array::{Array, AsArray, Float64Array, RecordBatch, StringArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use ws_city::{CityConfig, Event};
use ws_log::avro::AvroDecoder;
use ws_log::registry::Registry;
use ws_models::{TrainedModel, train_fill};
use ws_routing::plan::Outlook;
use ws_runtime::models::Models;
use ws_runtime::replay::Replay;
use ws_stream::codec::Decode;
use ws_stream::records::Records;

/// Bins of the past that the model is trained on.
const TRAINING_BINS: usize = 300;
/// The model of a seed is trained on the past of the city with this many seeds more.
const TRAINING_SEED: u64 = 10_000;
const HOUR_MS: f64 = 3_600_000.0;
/// Columns of `bin.forecast` that are read, the container's id first.
const FORECAST: [&str; 9] = [
    "container_id",
    "observed_at",
    "filling_level",
    "level_6h_p50",
    "level_24h_p50",
    "level_48h_p50",
    "hours_to_full_p10",
    "hours_to_full_p50",
    "hours_to_full_p90",
];
/// Columns of `bin.features` that are read.
const FEATURES: [&str; 3] = ["container_id", "observed_at", "hours_since_emptied"];

/// A fill model that never saw the city that it is used in.
pub fn trained(city: &CityConfig, days: i64, registry: &Arc<Registry>) -> Result<TrainedModel, Failure> {
    let other = CityConfig { seed: city.seed + TRAINING_SEED, ..city.clone() };
    let past = history_features(&other, days, TRAINING_BINS, registry, &AtomicBool::new(false))?.ok_or("stopped")?;
    Ok(train_fill(past.batches(), &fill_options(other.seed, city.start_ms))?)
}

/// The newest forecast of a container.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Forecast {
    pub at_ms: i64,
    pub level: f64,
    /// Median levels in 6, 24 and 48 hours.
    pub levels: [f64; 3],
    /// p10, p50, p90; infinite when it is not known.
    pub hours_to_full: [f64; 3],
}

/// The topology at work.
pub struct Forecasts {
    replay: Replay,
    registry: Arc<Registry>,
    tables: BTreeSet<Arc<str>>,
    inputs: BTreeSet<Arc<str>>,
    forecasts: AvroDecoder,
    features: AvroDecoder,
    newest: BTreeMap<String, Forecast>,
    /// By container: when, hours since it was emptied then.
    emptied: BTreeMap<String, (i64, f64)>,
    /// The last cycle that was seen, hours from empty to full.
    cycle_h: BTreeMap<String, f64>,
}

impl Forecasts {
    /// Ready to hear the city's references.
    pub fn new(model: &TrainedModel, registry: &Arc<Registry>) -> Result<Forecasts, Failure> {
        let edge = RegistryEdge::new(registry.clone());
        let slices = plans::bin_fill(&edge)?.into_slices();
        let models = Models::default();
        models.put(FILL_MODEL, Box::new(model.predictor()?));
        let tables = slices.iter().flat_map(|slice| slice.tables.iter().map(|table| table.topic.clone())).collect();
        let inputs = slices.iter().flat_map(|slice| slice.inputs.iter().map(|input| input.topic.clone())).collect();
        Ok(Forecasts {
            replay: Replay::of_slices(&slices, Arc::new(edge), models, 0)?,
            forecasts: AvroDecoder::new(registry.clone(), "bin.forecast", Some(&FORECAST))?,
            features: AvroDecoder::new(registry.clone(), "bin.features", Some(&FEATURES))?,
            registry: registry.clone(),
            tables,
            inputs,
            newest: BTreeMap::new(),
            emptied: BTreeMap::new(),
            cycle_h: BTreeMap::new(),
        })
    }

    /// Takes events in the order of their arrival, references of the same step first.
    pub fn hear(&mut self, events: &[Event]) -> Result<(), Failure> {
        let read: Vec<Event> = events.iter().filter(|event| self.tables.contains(event.topic) || self.inputs.contains(event.topic)).cloned().collect();
        let Some(newest_ms) = read.iter().map(|event| event.received_at_ms).max() else { return Ok(()) };
        self.replay.set_now_ms(newest_ms);
        let (tables, streams): (Vec<_>, Vec<_>) = encode(&read, &self.registry, 1)?.into_iter().partition(|appends| self.tables.contains(&appends.topic));
        for appends in tables.into_iter().chain(streams) {
            let rows = (0..appends.rows.len()).map(|row| {
                let (key, value, _) = appends.row(row);
                (key, value, appends.rows[row].timestamp_ms)
            });
            self.replay.feed(&appends.topic, rows)?;
        }
        self.take()
    }

    fn take(&mut self) -> Result<(), Failure> {
        let features = rows_of(&mut self.features, &self.replay.take("bin.features"))?;
        for (id, row) in features {
            let (at_ms, since_h) = (row[0] as i64, row[1]);
            let known = self.emptied.entry(id).or_insert((i64::MIN, since_h));
            if at_ms >= known.0 {
                *known = (at_ms, since_h);
            }
        }
        let forecasts = rows_of(&mut self.forecasts, &self.replay.take("bin.forecast"))?;
        for (id, row) in forecasts {
            let at_ms = row[0] as i64;
            if self.newest.get(&id).is_some_and(|known| known.at_ms > at_ms) || row[5..8].iter().any(|hours| hours.is_nan()) {
                continue;
            }
            let forecast = Forecast { at_ms, level: row[1], levels: [row[2], row[3], row[4]], hours_to_full: [row[5], row[6], row[7]] };
            if let Some((_, since_h)) = self.emptied.get(&id).filter(|(known_ms, since_h)| *known_ms == at_ms && since_h.is_finite()) {
                self.cycle_h.insert(id.clone(), since_h + forecast.hours_to_full[1]);
            }
            self.newest.insert(id, forecast);
        }
        Ok(())
    }

    /// What is known of a container that a truck last emptied at `emptied_ms`, as far as reported.
    pub fn outlook(&self, container_id: &str, emptied_ms: Option<i64>) -> Option<Outlook> {
        let forecast = self.newest.get(container_id)?;
        let cycle_h = self.cycle_h.get(container_id).copied();
        match (emptied_ms, cycle_h) {
            // Nothing was heard of it since: it fills as it did before.
            (Some(emptied_ms), Some(cycle_h)) if emptied_ms > forecast.at_ms => {
                Some(Outlook { at_ms: emptied_ms, hours_to_full: [0.6 * cycle_h, cycle_h, 1.8 * cycle_h], cycle_h: Some(cycle_h) })
            }
            _ => Some(Outlook { at_ms: forecast.at_ms, hours_to_full: forecast.hours_to_full, cycle_h }),
        }
    }

    /// Its level at a time, the median.
    pub fn level(&self, container_id: &str, at_ms: i64, emptied_ms: Option<i64>) -> Option<f64> {
        let forecast = self.newest.get(container_id)?;
        if let Some(emptied_ms) = emptied_ms.filter(|emptied_ms| *emptied_ms > forecast.at_ms) {
            let cycle_h = self.cycle_h.get(container_id)?;
            return Some(((at_ms - emptied_ms) as f64 / HOUR_MS / cycle_h.max(1.0)).clamp(0.0, 1.0));
        }
        let hours = ((at_ms - forecast.at_ms) as f64 / HOUR_MS).max(0.0);
        let points = [(0.0, forecast.level), (6.0, forecast.levels[0]), (24.0, forecast.levels[1]), (48.0, forecast.levels[2])];
        let between = points.windows(2).find(|pair| hours <= pair[1].0);
        Some(between.map_or(points[3].1, |pair| pair[0].1 + (pair[1].1 - pair[0].1) * (hours - pair[0].0) / (pair[1].0 - pair[0].0)))
    }
}

/// Rows as the id in the first column and the other columns as numbers, NaN where there is none.
fn rows_of(decoder: &mut AvroDecoder, records: &Records) -> Result<Vec<(String, Vec<f64>)>, Failure> {
    if records.rows.is_empty() {
        return Ok(Vec::new());
    }
    let decoded = decoder.decode(records);
    if let Some(bad) = decoded.dead.first() {
        return Err(format!("an output of the topology cannot be read back: {}", bad.error).into());
    }
    let rows: &RecordBatch = &decoded.rows;
    let ids: &StringArray = rows.column(0).as_string();
    let numbers: Vec<Float64Array> = rows.columns()[1..]
        .iter()
        .map(|column| {
            // Times have no way to floating point but over integers.
            let plain = if column.data_type().is_temporal() { cast(column, &DataType::Int64)? } else { column.clone() };
            Ok(cast(&plain, &DataType::Float64)?.as_primitive::<Float64Type>().clone())
        })
        .collect::<Result<_, Failure>>()?;
    let number = |column: &Float64Array, row: usize| if column.is_null(row) { f64::NAN } else { column.value(row) };
    Ok((0..rows.num_rows()).map(|row| (ids.value(row).to_owned(), numbers.iter().map(|column| number(column, row)).collect())).collect())
}
