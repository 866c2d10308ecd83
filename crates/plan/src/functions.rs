//! The scalar functions that expressions may use: DataFusion's, as long as they give the same result for the same
//! row for ever. Whatever reads a clock or a generator is refused with what to use instead (ENGINE §7).

use crate::hash_share::HashShare;
use crate::list_text::ListText;
use arrow::datatypes::{DataType, SchemaRef};
use datafusion_common::config::ConfigOptions;
use datafusion_common::{Result, TableReference, plan_err};
use datafusion_expr::planner::{ContextProvider, ExprPlanner};
use datafusion_expr::{AggregateUDF, HigherOrderUDF, ScalarUDF, TableSource, Volatility, WindowUDF};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Functions by name (aliases included), as the SQL planner asks for them.
pub struct Functions {
    by_name: BTreeMap<String, Arc<ScalarUDF>>,
    planners: Vec<Arc<dyn ExprPlanner>>,
    options: ConfigOptions,
}

impl std::fmt::Debug for Functions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Functions({})", self.by_name.len())
    }
}

/// What the name of a function stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Known {
    /// The same result for the same arguments, always.
    Immutable,
    /// Depends on a clock, a generator or the session.
    Unstable,
    /// Nobody knows it.
    No,
}

impl Functions {
    /// All of them.
    pub fn new() -> Self {
        let mut by_name = BTreeMap::new();
        for udf in datafusion_functions::all_default_functions() {
            by_name.insert(udf.name().to_string(), udf.clone());
            for alias in udf.aliases() {
                by_name.insert(alias.clone(), udf.clone());
            }
        }
        by_name.insert(HashShare::NAME.to_string(), Arc::new(ScalarUDF::new_from_impl(HashShare::new())));
        by_name.insert(ListText::NAME.to_string(), Arc::new(ScalarUDF::new_from_impl(ListText::new())));
        let planners: Vec<Arc<dyn ExprPlanner>> = vec![
            Arc::new(datafusion_functions::core::planner::CoreFunctionPlanner::default()),
            Arc::new(datafusion_functions::datetime::planner::DatetimeFunctionPlanner),
            Arc::new(datafusion_functions::unicode::planner::UnicodeFunctionPlanner),
        ];
        Functions { by_name, planners, options: ConfigOptions::default() }
    }

    /// What is this name?
    pub fn lookup(&self, name: &str) -> Known {
        match self.by_name.get(name) {
            Some(f) if f.signature().volatility == Volatility::Immutable => Known::Immutable,
            Some(_) => Known::Unstable,
            // Words of SQL that are functions without parentheses.
            None if matches!(name, "current_timestamp" | "current_time" | "current_date" | "localtime" | "localtimestamp" | "rand" | "newid") => {
                Known::Unstable
            }
            None => Known::No,
        }
    }

    /// All names, for hints.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.by_name.keys().map(String::as_str)
    }
}

/// What to write instead of a function that is not the same on replay. `emission` is true in since-windows.
pub fn instead_of(name: &str, emission: bool) -> String {
    match name {
        "random" | "rand" => "there is no randomness in a topology; for sampling take a hash of a column, e.g. `hash_share(event_id) < 0.1`".into(),
        "uuid" | "newid" => "build an id from the input, e.g. `event_id || ':f'`: it must be the same when the row is read again".into(),
        _ if emission => "use `row_time` (when this row is emitted) or `last_time` (the newest reading), both in event time, UTC ms".into(),
        _ => "use `event_time` (the row's event time, UTC ms), or a time column of the record".into(),
    }
}

impl ContextProvider for Functions {
    fn get_table_source(&self, name: TableReference) -> Result<Arc<dyn TableSource>> {
        plan_err!("there is no table `{name}` in an expression")
    }
    fn get_expr_planners(&self) -> &[Arc<dyn ExprPlanner>] {
        &self.planners
    }
    fn get_function_meta(&self, name: &str) -> Option<Arc<ScalarUDF>> {
        self.by_name.get(name).cloned()
    }
    fn get_higher_order_meta(&self, _name: &str) -> Option<Arc<HigherOrderUDF>> {
        None
    }
    fn get_aggregate_meta(&self, _name: &str) -> Option<Arc<AggregateUDF>> {
        None
    }
    fn get_window_meta(&self, _name: &str) -> Option<Arc<WindowUDF>> {
        None
    }
    fn get_variable_type(&self, _names: &[String]) -> Option<DataType> {
        None
    }
    fn create_cte_work_table(&self, _name: &str, _schema: SchemaRef) -> Result<Arc<dyn TableSource>> {
        plan_err!("an expression has no tables")
    }
    fn options(&self) -> &ConfigOptions {
        &self.options
    }
    fn udf_names(&self) -> Vec<String> {
        self.by_name.keys().cloned().collect()
    }
    fn higher_order_function_names(&self) -> Vec<String> {
        Vec::new()
    }
    fn udaf_names(&self) -> Vec<String> {
        Vec::new()
    }
    fn udwf_names(&self) -> Vec<String> {
        Vec::new()
    }
}
