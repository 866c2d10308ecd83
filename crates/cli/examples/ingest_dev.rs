//! Temporary: compiles the ingest module while the binary is being written.
#![allow(dead_code, clippy::disallowed_methods)]
#[path = "../src/edge.rs"]
mod edge;
#[path = "../src/evaluate_next_day.rs"]
mod evaluate_next_day;
#[path = "../src/ingest/mod.rs"]
mod ingest;
#[path = "../src/plans.rs"]
mod plans;
type Failure = Box<dyn std::error::Error + Send + Sync>;
fn main() -> Result<(), Failure> {
    let a: Vec<String> = std::env::args().collect();
    let r = evaluate_next_day::evaluate(a[1].as_ref(), &a[2], 1, plans::registry(None)?, &mut std::io::stderr())?;
    println!("{r}");
    Ok(())
}
