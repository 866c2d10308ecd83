//! `wastestream evaluate`: what topologies find, judged. `traffic` plays a simulated city through the topology and compares with
//! the city's truth; `stops` plays a file of positions through a mapping and tells the stops and drives in it.

mod measure;
pub mod stops;
pub mod traffic;

use crate::Failure;
use clap::Subcommand;

/// What is judged.
#[derive(Subcommand)]
pub enum EvaluateCommand {
    /// Matching and speeds of roads, against the truth of a simulated city
    Traffic(traffic::TrafficArgs),
    /// Stops and drives in a file of positions, by a mapping; it needs no road network
    Stops(stops::StopsArgs),
}

/// Runs a command.
pub fn run(command: EvaluateCommand) -> Result<(), Failure> {
    match command {
        EvaluateCommand::Traffic(args) => traffic::run(&args),
        EvaluateCommand::Stops(args) => stops::run(&args),
    }
}
