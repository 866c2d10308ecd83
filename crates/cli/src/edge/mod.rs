//! What tasks and plans need from the edge: codecs by the schema registry, the rules behind models, custom operators, and
//! contracts.

mod network;
mod operators;
pub mod outcome;
mod roads;
pub mod route;
mod settings;

use network::Network;
pub use network::NetworkError;

use arrow::datatypes::{Schema, SchemaRef};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use ws_inference::{FillHeuristic, FillHeuristicOptions, RiskRule};
use ws_log::avro::{AvroDecoder, AvroEncoder, JsonEncoder};
use ws_log::registry::Registry;
use ws_plan::{Contracts, ModelContract, TopicContract};
use ws_routing::roads::RoadGraph;
use ws_stream::codec::{Decode, Encode};
use ws_stream::custom::{CustomContract, CustomOp};
use ws_stream::predict::Predictor;
use ws_stream::solve::{Accept, SolverContract};
use ws_stream::spec::{OpSpec, SinkFormat, Topology};
use ws_stream::task::Edge;

/// The model of the `bin-fill` topology.
pub const FILL_MODEL: &str = "fill-forecast";
/// The model of the `churn` topology.
pub const CHURN_MODEL: &str = "churn-risk";
/// The model of the `maintenance` topology.
pub const MAINTENANCE_MODEL: &str = "maintenance-risk";
/// All models that topologies may name.
pub const MODELS: [&str; 3] = [FILL_MODEL, CHURN_MODEL, MAINTENANCE_MODEL];

/// Codecs and contracts from one registry.
#[derive(Clone)]
pub struct RegistryEdge {
    registry: Arc<Registry>,
    roads: Arc<Network>,
}

impl RegistryEdge {
    /// Over a registry, without roads.
    pub fn new(registry: Arc<Registry>) -> Self {
        RegistryEdge { registry, roads: Arc::default() }
    }

    /// The same with a file of roads. It is read when the first operator asks for it, once for all who share this edge.
    pub fn with_roads(self, file: PathBuf) -> Self {
        RegistryEdge { roads: Network::shared(file), ..self }
    }

    /// The same with roads that are at hand.
    pub fn with_network(self, graph: Arc<RoadGraph>) -> Self {
        RegistryEdge { roads: Arc::new(Network::of_graph(graph)), ..self }
    }

    /// The roads.
    ///
    /// # Errors
    /// When none are named, or the file cannot be read.
    pub fn network(&self) -> Result<Arc<RoadGraph>, NetworkError> {
        self.roads.graph()
    }

    /// Reads what the operators of a topology work on, so that a process without it ends before its tasks start.
    ///
    /// # Errors
    /// When an operator needs roads and there are none.
    pub fn ready_for<'a>(&self, slices: impl IntoIterator<Item = &'a Arc<Topology>>) -> Result<(), NetworkError> {
        let on_roads = |op: &OpSpec| matches!(op, OpSpec::Apply(apply) if operators::needs_roads(&apply.operator));
        match slices.into_iter().flat_map(|slice| &slice.stages).any(|stage| on_roads(&stage.op)) {
            true => self.network().map(|_| ()),
            false => Ok(()),
        }
    }
}

impl Edge for RegistryEdge {
    fn decoder(&self, topic: &str, schema: &SchemaRef) -> Result<Box<dyn Decode>, String> {
        let columns: Vec<&str> = schema.fields().iter().map(|f| f.name().as_str()).collect();
        let decoder = AvroDecoder::new(self.registry.clone(), topic, Some(&columns)).map_err(|e| e.to_string())?;
        Ok(Box::new(decoder))
    }

    fn encoder(&self, topic: &str, format: &SinkFormat, schema: &SchemaRef) -> Result<Box<dyn Encode>, String> {
        Ok(match format {
            SinkFormat::Avro => Box::new(AvroEncoder::new(&self.registry, topic, schema).map_err(|e| e.to_string())?),
            SinkFormat::Json => Box::new(JsonEncoder::new(topic, schema).map_err(|e| e.to_string())?),
        })
    }

    fn heuristic(&self, model: &str) -> Option<Box<dyn Predictor>> {
        Some(match model {
            FILL_MODEL => Box::new(FillHeuristic::new(FillHeuristicOptions::default())),
            CHURN_MODEL => Box::new(RiskRule::churn()),
            MAINTENANCE_MODEL => Box::new(RiskRule::maintenance()),
            _ => return None,
        })
    }

    fn operator(&self, name: &str, with: &BTreeMap<String, String>, _input: &SchemaRef) -> Result<Box<dyn CustomOp>, String> {
        route::operator(name, with)
            .or_else(|| (name == outcome::OPERATOR).then(|| outcome::operator(with)))
            .unwrap_or_else(|| operators::build(name, with, self))
    }

    fn acceptance(&self, solver: &str) -> Option<Box<dyn Accept>> {
        route::acceptance(solver)
    }
}

impl Contracts for RegistryEdge {
    fn topic(&self, topic: &str) -> Option<TopicContract> {
        let registered = self.registry.for_topic(topic).ok()?;
        Some(TopicContract { schema: registered.columns(), key: registered.attribute("key").map(str::to_string), defaults: registered.defaults() })
    }

    fn model(&self, model: &str) -> Option<ModelContract> {
        let rule = self.heuristic(model)?;
        let plain: Vec<_> = rule.outputs().fields().iter().cloned().collect();
        Some(ModelContract { inputs: Vec::new(), outputs: Arc::new(Schema::new(plain)) })
    }

    fn operator(&self, operator: &str, with: &BTreeMap<String, String>) -> Option<Result<CustomContract, String>> {
        route::operator_contract(operator, with).or_else(|| outcome::contract(operator, with)).or_else(|| operators::contract(operator, with))
    }

    fn solver(&self, solver: &str) -> Option<SolverContract> {
        route::solver(solver)
    }

    fn operators(&self) -> Vec<String> {
        operators::NAMES.iter().chain(&route::OPERATORS).chain(&[outcome::OPERATOR]).map(|o| (*o).to_string()).collect()
    }

    fn solvers(&self) -> Vec<String> {
        vec![route::SOLVER.to_string(), route::QUICK_SOLVER.to_string()]
    }

    fn topics(&self) -> Vec<String> {
        self.registry.subjects().filter_map(|s| s.strip_suffix("-value")).map(str::to_string).collect()
    }

    fn models(&self) -> Vec<String> {
        MODELS.map(str::to_string).to_vec()
    }
}
