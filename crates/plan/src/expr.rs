//! Syntax tree → planned expression: DataFusion resolves types, coerces, simplifies and builds the `PhysicalExpr`; what
//! comes out only evaluates. Results have engine types. A value that an expression cannot take (an integer divided by
//! zero, a text that is no number) fails the batch; the stages then ask row by row and end the bad ones as dead letters.

use crate::contracts::{engine_type, type_word};
use crate::errors::Problems;
use crate::file::Sql;
use crate::functions::Functions;
use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::datatypes::{DataType, Schema, SchemaRef, TimeUnit};
use datafusion_common::{DFSchema, DFSchemaRef, DataFusionError};
use datafusion_expr::execution_props::ExecutionProps;
use datafusion_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion_expr::simplify::SimplifyContext;
use datafusion_expr::{Expr as Logical, ExprSchemable, Operator, cast, lit, when};
use datafusion_optimizer::simplify_expressions::ExprSimplifier;
use datafusion_physical_expr::{PhysicalExpr, create_physical_expr};
use datafusion_sql::planner::{ParserOptions, PlannerContext, SqlToRel};
use datafusion_sql::sqlparser::ast;
use std::sync::Arc;
use ws_stream::expr::{Expr, ExprError, ExprRef};

/// Plans expressions; made once per topology.
#[derive(Debug)]
pub struct Planner {
    /// Functions known.
    pub functions: Functions,
}

/// What an expression must yield.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Want {
    /// Any engine type.
    Any,
    /// True or false.
    Boolean,
    /// A number, made Float64.
    Float,
    /// Nothing but whether it is null: made Float64, 1.0 where it is not null.
    Presence,
}

/// A planned expression and what it reads.
#[derive(Clone, Debug)]
pub struct Planned {
    /// Ready to evaluate.
    pub expr: ExprRef,
    /// Columns it reads.
    pub columns: Vec<String>,
    /// Set when it is a bare column.
    pub bare: Option<String>,
}

impl Planner {
    /// A planner.
    pub fn new() -> Self {
        Planner { functions: Functions::new() }
    }

    /// Plans a checked tree over `schema`. Problems are noted.
    pub fn plan(&self, tree: &ast::Expr, sql: &Sql, schema: &SchemaRef, want: Want, problems: &mut Problems) -> Option<Planned> {
        let text = sql.text.trim().to_string();
        if let (ast::Expr::Identifier(i), true) = (tree, want != Want::Presence)
            && let Some((index, field)) = schema.column_with_name(&i.value)
        {
            let fits = match want {
                Want::Boolean => *field.data_type() == DataType::Boolean,
                Want::Float => *field.data_type() == DataType::Float64,
                Want::Any | Want::Presence => true,
            };
            if fits {
                let expr = Arc::new(ColumnExpr { name: i.value.clone(), index, data_type: field.data_type().clone(), nullable: field.is_nullable(), text });
                return Some(Planned { expr, columns: vec![i.value.clone()], bare: Some(i.value.clone()) });
            }
        }
        match self.physical(tree, schema, want) {
            Ok((physical, data_type, nullable, columns)) => {
                let columns: Vec<(String, usize)> = columns.into_iter().filter_map(|c| schema.index_of(&c).ok().map(|i| (c, i))).collect();
                let names = columns.iter().map(|(c, _)| c.clone()).collect();
                let fields: Vec<_> = columns.iter().map(|(_, i)| schema.field(*i).clone()).collect();
                let expr = Arc::new(SqlExpr { physical, schema: Arc::new(Schema::new(fields)), columns, data_type, nullable, text });
                Some(Planned { expr, columns: names, bare: None })
            }
            Err(Refused { message, hint }) => {
                problems.push(sql.at, message, hint);
                None
            }
        }
    }

    #[allow(clippy::type_complexity)]
    fn physical(&self, tree: &ast::Expr, schema: &SchemaRef, want: Want) -> Result<(Arc<dyn PhysicalExpr>, DataType, bool, Vec<String>), Refused> {
        // Only the columns used, in the order of the schema: evaluation then needs no more than these.
        let mut used = crate::aggregates::columns_of(tree);
        used.retain(|c| schema.index_of(c).is_ok());
        used.sort_by_key(|c| schema.index_of(c).unwrap_or(usize::MAX));
        let fields: Vec<_> = used.iter().filter_map(|c| schema.field_with_name(c).ok().cloned()).collect();
        let scope: DFSchemaRef = Arc::new(DFSchema::try_from(Schema::new(fields))?);

        let options = ParserOptions::new().with_enable_ident_normalization(false).with_map_string_types_to_utf8view(false);
        let logical = SqlToRel::new_with_options(&self.functions, options).sql_to_expr(tree.clone(), &scope, &mut PlannerContext::new())?;
        let simplifier = ExprSimplifier::new(SimplifyContext::builder().with_schema(scope.clone()).build());
        let logical = simplifier.coerce(logical, &scope)?;
        let logical = wanted(logical, &scope, want)?;
        // Told before simplification: `coalesce` becomes a CASE, of which less is known.
        let may_be_null = nullable(&logical, &scope)?;
        let logical = simplifier.simplify(logical)?;
        let logical = simplifier.coerce(logical, &scope)?;
        let (data_type, nullable) = (logical.get_type(&scope)?, may_be_null && logical.nullable(scope.as_ref())?);
        let physical = create_physical_expr(&logical, &scope, &ExecutionProps::new(), &PhysicalPlanningContext::default())?;
        Ok((physical, data_type, nullable, used))
    }
}

impl Default for Planner {
    fn default() -> Self {
        Self::new()
    }
}

/// Why an expression cannot be planned.
struct Refused {
    message: String,
    hint: Option<String>,
}

impl From<DataFusionError> for Refused {
    fn from(e: DataFusionError) -> Self {
        let text = e.strip_backtrace();
        let text = text.lines().next().unwrap_or_default();
        let text = ["Error during planning: ", "Schema error: ", "This feature is not implemented: ", "Optimizer rule 'simplify_expressions' failed"]
            .iter()
            .fold(text, |t, p| t.strip_prefix(p).unwrap_or(t));
        let hint = if text.contains("Int64 + Utf8") || text.contains("Utf8 + Int64") {
            Some("texts are joined with `||`".into())
        } else if text.contains("coerce") || text.contains("signature") {
            Some("change a type with CAST(x AS DOUBLE), CAST(x AS BIGINT), CAST(x AS VARCHAR); times are integers, UTC ms: to_timestamp_millis(t) for date functions".into())
        } else {
            None
        };
        Refused { message: text.to_string(), hint }
    }
}

/// Adds the cast to the type that is wanted, or refuses.
fn wanted(e: Logical, scope: &DFSchema, want: Want) -> Result<Logical, Refused> {
    let found = e.get_type(scope)?;
    let refuse = |message: String, hint: &str| Err(Refused { message, hint: Some(hint.to_string()) });
    match want {
        Want::Presence => Ok(when(e.is_not_null(), lit(1.0f64)).end()?),
        Want::Boolean if matches!(found, DataType::Boolean) => Ok(e),
        Want::Boolean if found == DataType::Null => Ok(cast(e, DataType::Boolean)),
        Want::Boolean => refuse(format!("the condition yields {}, not true or false", word(&found)), "a comparison, e.g. `level > 0.9`"),
        Want::Float if found == DataType::Float64 => Ok(e),
        Want::Float if found.is_numeric() || found == DataType::Boolean || found == DataType::Null => Ok(cast(e, DataType::Float64)),
        Want::Float => refuse(
            format!("a number is needed, this yields {}", word(&found)),
            "aggregates work on numbers; columns named in `select` outside of aggregates are carried from the newest row",
        ),
        Want::Any => match &found {
            DataType::Null => refuse("the type of NULL is not known".into(), "give it one: CAST(NULL AS DOUBLE)"),
            DataType::Timestamp(TimeUnit::Millisecond, _) => Ok(cast(e, DataType::Int64)),
            DataType::Timestamp(_, zone) => Ok(cast(cast(e, DataType::Timestamp(TimeUnit::Millisecond, zone.clone())), DataType::Int64)),
            DataType::Date32 | DataType::Date64 => Ok(cast(cast(e, DataType::Timestamp(TimeUnit::Millisecond, None)), DataType::Int64)),
            DataType::Decimal32(..) | DataType::Decimal64(..) | DataType::Decimal128(..) | DataType::Decimal256(..) => Ok(cast(e, DataType::Float64)),
            DataType::UInt64 => Ok(cast(e, DataType::Int64)),
            other => match engine_type(other) {
                Some(t) if t == *other => Ok(e),
                Some(t) => Ok(cast(e, t)),
                None => refuse(format!("the expression yields {other}"), "columns are integers, numbers, true/false, texts, bytes"),
            },
        },
    }
}

/// Functions that give null only where an argument is null.
const STRICT: [&str; 24] = [
    "abs",
    "ceil",
    "floor",
    "round",
    "trunc",
    "signum",
    "sqrt",
    "power",
    "exp",
    "ln",
    "log10",
    "sin",
    "cos",
    "upper",
    "lower",
    "btrim",
    "ltrim",
    "rtrim",
    "substr",
    "replace",
    "character_length",
    "to_timestamp_millis",
    "date_part",
    "date_trunc",
];

/// Can this be null? Sharper than DataFusion, which says yes for most functions: sinks refuse null where a value is needed.
fn nullable(e: &Logical, scope: &DFSchema) -> Result<bool, DataFusionError> {
    let any = |list: &[&Logical]| -> Result<bool, DataFusionError> {
        for e in list {
            if nullable(e, scope)? {
                return Ok(true);
            }
        }
        Ok(false)
    };
    match e {
        Logical::ScalarFunction(f) if matches!(f.name(), "coalesce" | "least" | "greatest") => {
            for arg in &f.args {
                if !nullable(arg, scope)? {
                    return Ok(false);
                }
            }
            Ok(true)
        }
        Logical::ScalarFunction(f) if f.name() == "concat" => Ok(false),
        Logical::ScalarFunction(f) if STRICT.contains(&f.name()) => any(&f.args.iter().collect::<Vec<_>>()),
        Logical::BinaryExpr(b) if !matches!(b.op, Operator::IsDistinctFrom | Operator::IsNotDistinctFrom) => any(&[&b.left, &b.right]),
        Logical::Cast(c) => nullable(&c.expr, scope),
        Logical::Not(e) | Logical::Negative(e) => nullable(e, scope),
        Logical::Between(b) => any(&[&b.expr, &b.low, &b.high]),
        Logical::InList(l) => Ok(nullable(&l.expr, scope)? || any(&l.list.iter().collect::<Vec<_>>())?),
        Logical::Case(c) => match &c.else_expr {
            None => Ok(true),
            Some(other) => Ok(nullable(other, scope)? || any(&c.when_then_expr.iter().map(|(_, then)| then.as_ref()).collect::<Vec<_>>())?),
        },
        other => other.nullable(scope),
    }
}

fn word(t: &DataType) -> String {
    engine_type(t).map_or_else(|| t.to_string(), |t| type_word(&t))
}

/// A column as it is.
#[derive(Debug)]
struct ColumnExpr {
    name: String,
    index: usize,
    data_type: DataType,
    nullable: bool,
    text: String,
}

impl Expr for ColumnExpr {
    fn evaluate(&self, rows: &RecordBatch) -> Result<ArrayRef, ExprError> {
        column(rows, &self.name, self.index).cloned().ok_or_else(|| missing(&self.text, &self.name))
    }
    fn data_type(&self) -> DataType {
        self.data_type.clone()
    }
    fn nullable(&self) -> bool {
        self.nullable
    }
    fn text(&self) -> &str {
        &self.text
    }
}

/// The column of a batch, at its expected place or wherever its name is.
fn column<'a>(rows: &'a RecordBatch, name: &str, index: usize) -> Option<&'a ArrayRef> {
    match rows.schema_ref().fields().get(index) {
        Some(f) if f.name() == name => Some(rows.column(index)),
        _ => rows.column_by_name(name),
    }
}

fn missing(text: &str, name: &str) -> ExprError {
    ExprError { expression: text.to_string(), message: format!("the batch has no column `{name}`") }
}

/// Anything else.
#[derive(Debug)]
struct SqlExpr {
    physical: Arc<dyn PhysicalExpr>,
    /// The columns used, in the order that `physical` counts them.
    schema: SchemaRef,
    columns: Vec<(String, usize)>,
    data_type: DataType,
    nullable: bool,
    text: String,
}

impl SqlExpr {
    fn error(&self, message: impl ToString) -> ExprError {
        ExprError { expression: self.text.clone(), message: message.to_string() }
    }

    fn run(&self, rows: &RecordBatch) -> Result<ArrayRef, ExprError> {
        let value = self.physical.evaluate(rows).and_then(|v| v.into_array(rows.num_rows())).map_err(|e| self.error(e.strip_backtrace()))?;
        if *value.data_type() == self.data_type { Ok(value) } else { arrow::compute::cast(&value, &self.data_type).map_err(|e| self.error(e)) }
    }
}

impl Expr for SqlExpr {
    fn evaluate(&self, rows: &RecordBatch) -> Result<ArrayRef, ExprError> {
        let mut columns = Vec::with_capacity(self.columns.len());
        for (name, index) in &self.columns {
            columns.push(column(rows, name, *index).cloned().ok_or_else(|| missing(&self.text, name))?);
        }
        let options = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
        let used = RecordBatch::try_new_with_options(self.schema.clone(), columns, &options).map_err(|e| self.error(e))?;
        self.run(&used)
    }
    fn data_type(&self) -> DataType {
        self.data_type.clone()
    }
    fn nullable(&self) -> bool {
        self.nullable
    }
    fn text(&self) -> &str {
        &self.text
    }
}
