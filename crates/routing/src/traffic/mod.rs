//! Speeds of roads from the fleet's own drives: what is typical by hour of the week, and how today differs.
//!
//! Drives are gathered by *area* (a square of about 1.5 km), because one segment alone sees too few trucks: the streets of
//! a class in an area share their hours, and a segment has a deviation of its own on top. All means are of the logarithm
//! of speed over free flow, each drawn towards the level above it by a number of imaginary samples:
//!
//! ```text
//! free flow ← class ← class by working day or weekend and hour ← class by hour of the week
//!           ← segment ← segment by working day or weekend and hour
//! ```
//!
//! A closed window (15 minutes) becomes a row of `road.speed` for each segment and direction that enough vehicles drove.
//! What too few drove waits for the window above it (an hour, a day), so that nothing is published that tells of one
//! driver. [`SpeedBook`] is the other end: it folds such rows into speeds for routes.
//!
//! Pure: time comes with the drives and as a watermark; the state of an area has a byte form.

mod area;
mod book;
mod habits;
mod options;
mod stage;
mod state;
#[cfg(test)]
mod tests;
mod windows;

pub use area::{Traffic, area_of};
pub use book::SpeedBook;
pub use options::{Passage, SpeedRow, TrafficOptions};
pub use stage::TrafficStage;
pub use state::{AreaState, AreaStateError};
