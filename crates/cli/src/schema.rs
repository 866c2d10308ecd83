//! `wastestream schema`: what contracts this build carries.

use crate::{Failure, plans};
use clap::Subcommand;

/// Commands about schemas.
#[derive(Subcommand)]
pub enum SchemaCommand {
    /// Print the documentation of all topics (docs/topics.md is this)
    Docs,
    /// List subjects with version and id
    List,
}

/// Runs a command.
pub fn run(command: &SchemaCommand) -> Result<(), Failure> {
    let registry = plans::registry(None)?;
    match command {
        SchemaCommand::Docs => print!("{}", ws_log::schema_docs::topics_markdown(&registry)),
        SchemaCommand::List => {
            for subject in registry.subjects() {
                for r in registry.versions(subject) {
                    println!("{:>5}  v{}  {}", r.id, r.version, r.subject);
                }
            }
        }
    }
    Ok(())
}
