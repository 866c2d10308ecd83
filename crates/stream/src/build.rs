//! From a checked stage to the operator that runs it.

use crate::op::infer::Infer;
use crate::op::{Absence, Apply, Changed, Dedup, Each, Join, Optimize, Select, Since, Window};
use crate::operator::{Operator, OperatorError};
use crate::spec::{OpSpec, StageSpec, Topology};
use crate::task::Edge;
use arrow::datatypes::SchemaRef;

/// A stage ready to run. Joins stand apart: their table belongs to the task or the worker.
pub enum Built {
    /// An operator.
    Op(Box<dyn Operator>),
    /// A join with the index of its table.
    Join(Box<Join>, usize),
}

/// Builds a stage for rows of `input`; `ident` is `<topology>/<stage>/<task>`.
pub fn build(spec: &StageSpec, input: &SchemaRef, topology: &Topology, ident: String, edge: &dyn Edge) -> Result<Built, OperatorError> {
    let (input, output) = (input.clone(), spec.schema.clone());
    Ok(Built::Op(match spec.op.clone() {
        OpSpec::Select { filter, otherwise, columns } => Box::new(Select::new(filter, otherwise, columns, input, output)?),
        OpSpec::Each { alternatives } => Box::new(Each::new(alternatives, input, output)?),
        OpSpec::Dedup { key, id, keep_ms } => Box::new(Dedup::new(&key, &id, keep_ms, input, output)?),
        OpSpec::Join { table, on, columns, missing } => {
            return Ok(Built::Join(Box::new(Join::new(&on, &columns, missing, &topology.tables[table], input, output)?), table));
        }
        OpSpec::Window { group_by, window, calls, columns } if topology.one_origin() => {
            Box::new(Window::new(&group_by, window, &calls, &columns, input, output)?)
        }
        OpSpec::Window { group_by, window, calls, columns } => Box::new(Window::of_many_origins(&group_by, window, &calls, &columns, input, output)?),
        OpSpec::Since { group_by, window, calls, carry, columns } => Box::new(Since::new(&group_by, window, &calls, &carry, &columns, input, output)?),
        OpSpec::Changed { key, of, first } => Box::new(Changed::new(&key, &of, first, input, output)?),
        OpSpec::Absence(absence) => Box::new(Absence::new(*absence, input, output)?),
        OpSpec::Apply(apply) => {
            let op = edge.operator(&apply.operator, &apply.with, &input).map_err(OperatorError::Edge)?;
            Box::new(Apply::new(apply, op, input, output)?)
        }
        OpSpec::Optimize(optimize) => {
            let accept = edge.acceptance(&optimize.solver);
            Box::new(Optimize::new(*optimize, format!("{}/{}", topology.name, spec.id), accept, input, output)?)
        }
        OpSpec::Infer(infer) => {
            let heuristic = edge.heuristic(&infer.model);
            Box::new(Infer::new(infer, ident, heuristic, &input)?)
        }
    }))
}
