//! Takes the aggregate calls out of the expressions of a window stage: `slope(level, '24h') * 3600` becomes the call
//! `slope(level)` over the last 24 hours and the expression `agg0 * 3600` over its result. Equal calls are made once.

use crate::duration;
use crate::errors::Problems;
use crate::file::Sql;
use crate::parse::place;
use datafusion_sql::sqlparser::ast::{Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, Ident, Spanned, Value, VisitMut, VisitorMut};
use datafusion_sql::sqlparser::tokenizer::Location;
use std::ops::ControlFlow;
use ws_stream::spec::AggFn;

/// Names of the aggregates, for hints.
pub const NAMES: [&str; 11] = ["count", "sum", "avg", "min", "max", "first", "last", "previous", "stddev", "slope", "residual"];

/// The aggregate of a name in small letters.
pub fn function(name: &str) -> Option<AggFn> {
    Some(match name {
        "count" => AggFn::Count,
        "sum" => AggFn::Sum,
        "avg" | "mean" => AggFn::Avg,
        "min" => AggFn::Min,
        "max" => AggFn::Max,
        "first" | "first_value" => AggFn::First,
        "last" | "last_value" => AggFn::Last,
        "previous" => AggFn::Previous,
        "stddev" | "stddev_samp" => AggFn::Stddev,
        "slope" => AggFn::Slope,
        "residual" => AggFn::Residual,
        _ => return None,
    })
}

/// The name of an aggregate, the inverse of [`function`].
pub fn name(function: AggFn) -> &'static str {
    match function {
        AggFn::Count => "count",
        AggFn::Sum => "sum",
        AggFn::Avg => "avg",
        AggFn::Min => "min",
        AggFn::Max => "max",
        AggFn::First => "first",
        AggFn::Last => "last",
        AggFn::Previous => "previous",
        AggFn::Stddev => "stddev",
        AggFn::Slope => "slope",
        AggFn::Residual => "residual",
    }
}

/// A call found in an expression.
#[derive(Clone, Debug)]
pub struct Call {
    /// Function.
    pub function: AggFn,
    /// Argument over the stage's input.
    pub arg: Option<Expr>,
    /// Only the last so many milliseconds.
    pub horizon_ms: Option<i64>,
    /// The expression it was found in, for messages.
    pub sql: Sql,
    /// Text that tells equal calls from others.
    text: String,
}

/// The calls of one stage.
#[derive(Debug, Default)]
pub struct Calls {
    /// In order of appearance; the result of number i is the column `agg`i.
    pub list: Vec<Call>,
}

impl Calls {
    /// Replaces the aggregates in `tree` by columns `agg0`… and remembers the calls. `horizon` tells whether the
    /// window knows horizons. False when there were problems.
    pub fn extract(&mut self, tree: &mut Expr, sql: &Sql, horizon: bool, problems: &mut Problems) -> bool {
        let before = problems.count();
        let mut visitor = Extract { calls: self, sql, horizon, problems };
        let _ = VisitMut::visit(tree, &mut visitor);
        problems.count() == before
    }

    fn number(&mut self, call: Call) -> usize {
        match self.list.iter().position(|c| c.text == call.text) {
            Some(i) => i,
            None => {
                self.list.push(call);
                self.list.len() - 1
            }
        }
    }
}

/// Name of the column with the result of call `i`.
pub fn column(i: usize) -> String {
    format!("agg{i}")
}

struct Extract<'a> {
    calls: &'a mut Calls,
    sql: &'a Sql,
    horizon: bool,
    problems: &'a mut Problems,
}

impl Extract<'_> {
    fn call(&mut self, function: AggFn, f: &Function) -> Option<Call> {
        let name = f.name.to_string().to_lowercase();
        let at = place(self.sql, Some(f.name.span().start), self.problems);
        let FunctionArguments::List(list) = &f.args else {
            self.problems.hint(at, format!("`{name}` needs parentheses"), "for example `count()` or `avg(level)`");
            return None;
        };
        if list.duplicate_treatment.is_some() || !list.clauses.is_empty() || f.filter.is_some() || !f.within_group.is_empty() {
            self.problems.hint(
                at,
                format!("`{name}` takes no DISTINCT, FILTER or ORDER BY"),
                "to restrict it, put the condition inside: `avg(CASE WHEN hot THEN level END)`",
            );
            return None;
        }
        if function == AggFn::Count && f.over.is_some() || f.over.is_some() {
            self.problems.hint(at, format!("`{name}(…) OVER` in a window stage"), "the stage's `group_by` and `window` say what it runs over");
            return None;
        }
        let mut args: Vec<Option<Expr>> = Vec::new();
        for arg in &list.args {
            match arg {
                FunctionArg::Unnamed(FunctionArgExpr::Expr(e)) => args.push(Some(e.clone())),
                FunctionArg::Unnamed(FunctionArgExpr::Wildcard) if function == AggFn::Count => args.push(None),
                _ => {
                    self.problems.add(at, format!("an argument of `{name}` is not an expression"));
                    return None;
                }
            }
        }
        let horizon_ms = match args.last().and_then(|a| a.as_ref()).and_then(text_literal) {
            Some(text) if args.len() > 1 || function == AggFn::Count => {
                args.pop();
                match duration::parse_ms(&text) {
                    Ok(ms) if ms > 0 && self.horizon => Some(ms),
                    Ok(ms) if ms > 0 => {
                        self.problems.hint(
                            at,
                            format!("`{name}` with a horizon in a tumbling or hopping window"),
                            "horizons like '24h' belong to `since` windows; here the window is the horizon",
                        );
                        return None;
                    }
                    Ok(_) => {
                        self.problems.add(at, format!("the horizon of `{name}` must be longer than 0"));
                        return None;
                    }
                    Err(message) => {
                        self.problems.hint(at, format!("the horizon of `{name}`: {message}"), "a number and a unit, e.g. '24h'");
                        return None;
                    }
                }
            }
            _ => None,
        };
        let arg = match (args.len(), function) {
            (0, AggFn::Count) => None,
            (1, _) => args.remove(0),
            (n, _) => {
                self.problems.hint(at, format!("`{name}` with {n} arguments"), format!("`{name}(column)`, or `{name}(column, '24h')` in a `since` window"));
                return None;
            }
        };
        let text = format!("{function:?}|{}|{horizon_ms:?}", arg.as_ref().map(ToString::to_string).unwrap_or_default());
        Some(Call { function, arg, horizon_ms, sql: self.sql.clone(), text })
    }
}

impl VisitorMut for Extract<'_> {
    type Break = ();

    // From the outside in: a nested aggregate stays in the argument, where the check of the argument refuses it.
    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        let Expr::Function(f) = expr else {
            return ControlFlow::Continue(());
        };
        let Some(function) = function(&f.name.to_string().to_lowercase()) else {
            return ControlFlow::Continue(());
        };
        match self.call(function, f) {
            Some(call) => {
                let i = self.calls.number(call);
                *expr = Expr::Identifier(Ident::new(column(i)));
                ControlFlow::Continue(())
            }
            None => ControlFlow::Break(()),
        }
    }
}

fn text_literal(e: &Expr) -> Option<String> {
    match e {
        Expr::Value(v) => match &v.value {
            Value::SingleQuotedString(s) => Some(s.clone()),
            _ => None,
        },
        _ => None,
    }
}

/// All columns that a tree mentions, each with its first place in the expression.
pub fn mentions(tree: &Expr) -> Vec<(String, Location)> {
    struct Names(Vec<(String, Location)>);
    impl VisitorMut for Names {
        type Break = ();
        fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
            if let Expr::Identifier(i) = expr
                && !self.0.iter().any(|(n, _)| *n == i.value)
            {
                self.0.push((i.value.clone(), i.span.start));
            }
            ControlFlow::Continue(())
        }
    }
    let mut names = Names(Vec::new());
    let _ = VisitMut::visit(&mut tree.clone(), &mut names);
    names.0
}

/// The names alone.
pub fn columns_of(tree: &Expr) -> Vec<String> {
    mentions(tree).into_iter().map(|(n, _)| n).collect()
}
