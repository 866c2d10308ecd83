//! What the pipeline said of containers and what sensors reported afterwards: by this it learns what its probabilities are
//! worth. Only events are looked at; a statement that nobody can check, because a truck came first, is dropped.

use super::reported::Reported;
use std::collections::BTreeMap;
use ws_city::Event;
use ws_routing::plan::Reliability;

/// A reading settles statements of so long before it.
const SETTLED_WITHIN_MS: i64 = 3 * 3_600_000;
/// Reported level at which a container counts as full.
const FULL: f64 = 1.0;

struct Statement {
    said_ms: i64,
    at_ms: i64,
    p_full: f64,
}

/// Statements that wait, and what became of the others.
#[derive(Default)]
pub struct Statements {
    waiting: BTreeMap<String, Vec<Statement>>,
    pub past: Reliability,
}

impl Statements {
    /// Says that a container is full at a time with a probability.
    pub fn say(&mut self, container_id: &str, said_ms: i64, at_ms: i64, p_full: f64) {
        self.waiting.entry(container_id.to_owned()).or_default().push(Statement { said_ms, at_ms, p_full });
    }

    /// Takes events after `reported` took them.
    pub fn hear(&mut self, events: &[Event], reported: &Reported) {
        for event in events {
            match event.topic {
                "bin.telemetry" => {
                    let (Some(at_ms), Some(level)) = (event.value["observed_at"].as_i64(), event.value["filling_level"].as_f64()) else { continue };
                    let Some(waiting) = reported.container_of(&event.key).and_then(|id| self.waiting.get_mut(id)) else { continue };
                    let past = &mut self.past;
                    waiting.retain(|statement| {
                        let due = statement.at_ms <= at_ms;
                        if due && at_ms < statement.at_ms + SETTLED_WITHIN_MS && (0.0..=1.2).contains(&level) {
                            past.note(statement.p_full, level >= FULL);
                        }
                        !due
                    });
                }
                "collection.event" => {
                    let (Some(id), Some(emptied_ms)) = (event.value["container_id"].as_str(), event.value["emptied_at"].as_i64()) else { continue };
                    let Some(waiting) = self.waiting.get_mut(id) else { continue };
                    // It was full before the truck came: that settles it as well.
                    let was_full = reported.level_before(id, emptied_ms).is_some_and(|level| level >= FULL);
                    let past = &mut self.past;
                    waiting.retain(|statement| {
                        let came_first = statement.said_ms < emptied_ms && emptied_ms < statement.at_ms;
                        if came_first && was_full {
                            past.note(statement.p_full, true);
                        }
                        !came_first
                    });
                }
                _ => {}
            }
        }
    }
}
