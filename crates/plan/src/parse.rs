//! SQL text → syntax tree, and what can be said about the tree before types are known: unknown columns and functions,
//! subqueries, functions that are not the same on replay. Each complaint points into the text of the file.

use crate::aggregates;
use crate::errors::{Problems, did_you_mean};
use crate::file::Sql;
use crate::functions::{Functions, Known, instead_of};
use crate::yaml::Pos;
use arrow::datatypes::Schema;
use datafusion_sql::sqlparser::ast::{Expr, FunctionArguments, Ident, Spanned, VisitMut, VisitorMut};
use datafusion_sql::sqlparser::dialect::GenericDialect;
use datafusion_sql::sqlparser::parser::Parser;
use datafusion_sql::sqlparser::tokenizer::{Location, Token};
use std::ops::ControlFlow;
use ws_stream::batch;

/// Where an expression stands: decides which words are known and what hints say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Over the rows of a stage's input.
    Rows,
    /// The same, inside an aggregate.
    Argument,
    /// Over the result of a tumbling or hopping window.
    Window,
    /// Over the result of a since-window.
    Since,
}

/// Parses an expression. `columns` are those in scope: their exact names are columns even where SQL has a word like it.
pub fn parse(sql: &Sql, columns: &Schema, problems: &mut Problems) -> Option<Expr> {
    let text = sql.text.trim();
    if columns.index_of(text).is_ok() {
        return Some(Expr::Identifier(Ident::with_quote('"', text)));
    }
    let parsed = Parser::new(&GenericDialect {}).with_recursion_limit(64).try_with_sql(&sql.text).and_then(|mut p| {
        let expr = p.parse_expr()?;
        let next = p.next_token();
        if next.token == Token::EOF { Ok(expr) } else { p.expected("the end of the expression", next) }
    });
    match parsed {
        Ok(expr) => Some(expr),
        Err(error) => {
            let message = error.to_string();
            let message = message.strip_prefix("sql parser error: ").unwrap_or(&message).replace("found: EOF", "found: its end");
            let (message, location) = split_location(&message);
            let at = place(sql, location, problems);
            let hint = if message.contains("its end") && (text.contains('(') && text.matches('(').count() > text.matches(')').count()) {
                Some("a `)` is missing; inside { } a comma ends the field, so put the expression in quotes".to_string())
            } else {
                None
            };
            problems.push(at, format!("`{}` is not an SQL expression: {message}", short(text)), hint);
            None
        }
    }
}

/// Splits sqlparser's ` at Line: 1, Column: 5` off a message.
fn split_location(message: &str) -> (&str, Option<Location>) {
    let Some((text, location)) = message.rsplit_once(" at Line: ") else {
        return (message, None);
    };
    let parsed =
        location.split_once(", Column: ").and_then(|(line, column)| Some(Location { line: line.trim().parse().ok()?, column: column.trim().parse().ok()? }));
    (text, parsed)
}

/// Where a place in the expression stands in the file: exact for plain, quoted and `|` scalars, else the start.
pub fn place(sql: &Sql, location: Option<Location>, problems: &Problems) -> Pos {
    let Some(l) = location.filter(|l| l.line > 0) else {
        return sql.at;
    };
    let (line, column) = (u32::try_from(l.line).unwrap_or(1), u32::try_from(l.column).unwrap_or(1));
    if line > 1 {
        // Only block scalars (`|`) keep their line ends; they start at their first line's text.
        return Pos { line: sql.at.line + line - 1, column: sql.at.column + column - 1 };
    }
    let text = problems.line(sql.at.line).unwrap_or_default();
    let quoted = matches!(text.chars().nth((sql.at.column.max(1) - 1) as usize), Some('"' | '\''));
    let at = Pos { line: sql.at.line, column: sql.at.column + column - 1 + u32::from(quoted) };
    // A folded scalar is one line here and several in the file.
    if at.column as usize <= text.chars().count() { at } else { sql.at }
}

fn short(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if line.chars().count() > 60 { format!("{}…", line.chars().take(60).collect::<String>()) } else { line }
}

/// Checks a tree against the columns in scope and puts aliases in place (`event_time`). True when it may be planned.
pub fn check(tree: &mut Expr, sql: &Sql, columns: &Schema, place: Place, functions: &Functions, problems: &mut Problems) -> bool {
    let before = problems.count();
    let mut visitor = Check { sql, columns, at: place, functions, problems };
    let _ = VisitMut::visit(tree, &mut visitor);
    problems.count() == before
}

struct Check<'a> {
    sql: &'a Sql,
    columns: &'a Schema,
    at: Place,
    functions: &'a Functions,
    problems: &'a mut Problems,
}

impl Check<'_> {
    fn note(&mut self, location: Location, message: String, hint: Option<String>) {
        let at = place(self.sql, Some(location), self.problems);
        self.problems.push(at, message, hint);
    }

    fn column(&mut self, ident: &mut Ident) {
        if self.columns.index_of(&ident.value).is_ok() {
            return;
        }
        let event_time = match self.at {
            Place::Since => "row_time",
            Place::Rows | Place::Argument | Place::Window => batch::TIME,
        };
        if ident.value == "event_time" && self.columns.index_of(event_time).is_ok() {
            ident.value = event_time.to_string();
            return;
        }
        if ident.value.eq_ignore_ascii_case("interval") || ident.value.starts_with("__") {
            let hint = if matches!(self.at, Place::Rows | Place::Argument) {
                None
            } else {
                Some("after a window these exist: the group columns, `window_start`, and the aggregates; in since-windows also `row_time`, `last_time`, `is_late`".to_string())
            };
            self.note(ident.span.start, format!("`{}` is not a column here", ident.value), hint);
            return;
        }
        let names: Vec<&str> = self.columns.fields().iter().map(|f| f.name().as_str()).filter(|n| !n.starts_with("__")).collect();
        let whole = self.sql.text.trim() == ident.value
            && self.problems.line(self.sql.at.line).is_some_and(|l| l.contains(&format!("'{}'", ident.value)) || l.contains(&format!("\"{}\"", ident.value)));
        let hint = if whole {
            Some(format!("if a text is meant: \"'{}'\" (YAML's quotes around SQL's)", ident.value))
        } else if ident.quote_style == Some('"') {
            Some(format!("texts have single quotes in SQL: '{}'", ident.value))
        } else {
            did_you_mean(&ident.value, names)
        };
        self.note(ident.span.start, format!("unknown column `{}`", ident.value), hint);
    }
}

impl VisitorMut for Check<'_> {
    type Break = ();

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        let start = expr.span().start;
        match expr {
            Expr::Identifier(ident) => self.column(ident),
            Expr::CompoundIdentifier(parts) => {
                let name = parts.iter().map(|p| p.value.as_str()).collect::<Vec<_>>().join(".");
                let last = parts.last().map(|p| p.value.clone()).unwrap_or_default();
                self.note(
                    start,
                    format!("`{name}`: columns have no prefix here"),
                    Some(format!("write `{last}`; a join gives its columns their names with `take`")),
                );
            }
            Expr::Subquery(_) | Expr::Exists { .. } | Expr::InSubquery { .. } => {
                self.note(start, "a subquery in an expression".into(), Some("bring the columns in with a `join` stage".into()));
                return ControlFlow::Break(());
            }
            Expr::Function(f) => {
                let name = f.name.to_string().to_lowercase();
                let at = f.name.span().start;
                if f.over.is_some() {
                    self.note(at, format!("`{name}(…) OVER` in an expression"), Some("windows are stages: `group_by:` with `window:`".into()));
                } else if aggregates::function(&name).is_some() {
                    let hint = if self.at == Place::Rows {
                        "aggregates stand in the `select` of a stage with `group_by:` and `window:`"
                    } else {
                        "an aggregate cannot stand inside another one"
                    };
                    self.note(
                        at,
                        format!("aggregate `{name}` {}", if self.at == Place::Rows { "outside of a window" } else { "inside an aggregate" }),
                        Some(hint.into()),
                    );
                } else {
                    match self.functions.lookup(&name) {
                        Known::Immutable => {}
                        Known::Unstable => {
                            self.note(at, format!("`{name}` gives another result when the log is replayed"), Some(instead_of(&name, self.at == Place::Since)))
                        }
                        Known::No if matches!(f.args, FunctionArguments::None) => self.note(at, format!("unknown column `{name}`"), None),
                        Known::No => {
                            let known: Vec<&str> = self
                                .functions
                                .names()
                                .chain(if self.at == Place::Rows { [].as_slice() } else { aggregates::NAMES.as_slice() }.iter().copied())
                                .collect();
                            self.note(at, format!("unknown function `{name}`"), did_you_mean(&name, known));
                        }
                    }
                }
            }
            _ => {}
        }
        ControlFlow::Continue(())
    }
}
