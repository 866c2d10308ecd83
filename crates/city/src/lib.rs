//! The simulated city: sensors, trucks, crews and customers that produce every fact topic, with ground truth beside it.
//!
//! One seed gives one stream of events. There is no clock, no thread and no I/O in here: the caller passes the time up to which
//! the city lives ([`City::advance`]) and gets what a broker would have received by then, in order of delivery. The faults of
//! real cities (missed scans, swapped devices, buffered uploads, wrong clocks, …) occur at the rates of [`FaultRates`];
//! [`City::truth`] tells what really happened, so that tests and backtests can measure.

mod billing;
mod calendar;
mod city;
mod config;
mod congestion;
mod customers;
mod dispatch;
mod driving;
mod events;
mod events_office;
mod events_vehicles;
mod faults;
mod fill;
mod fleet;
mod health;
mod layout;
mod loyalty;
mod radio;
mod references;
mod rng;
mod rounds;
mod sensors;
mod service;
mod streets;
mod trucks;
mod truth;
mod weather;
mod world;

#[cfg(test)]
mod tests_contract;
#[cfg(test)]
mod tests_dispatch;
#[cfg(test)]
mod tests_faults;
#[cfg(test)]
mod tests_life;
#[cfg(test)]
mod tests_roads;

pub use city::{City, Event};
pub use config::{CityConfig, Dispatch, FaultRates};
pub use dispatch::{DispatchError, PlannedRoute, PlannedVisit, Visit};
pub use driving::Drive;
pub use faults::{Fault, FaultKind};
pub use fleet::DutyDone;
pub use layout::{District, Stream};
pub use truth::{Emptying, Truth};
