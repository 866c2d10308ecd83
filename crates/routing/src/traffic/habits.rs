//! What is typical: running means that are drawn towards the level above them until they have seen enough.

use crate::bytes::{Reader, Writer};
use crate::roads::HOURS_PER_WEEK;
use std::collections::BTreeMap;

/// Imaginary samples that a level lends to the one below it.
const LENT_CLASS: f32 = 6.0;
const LENT_DAY_HOUR: f32 = 6.0;
const LENT_WEEK_HOUR: f32 = 10.0;
const LENT_SEGMENT: f32 = 3.0;
const LENT_SEGMENT_HOUR: f32 = 5.0;
/// Samples after which the old ones fade: means follow changes of the city.
const CLASS_MEMORY: f32 = 2_000.0;
const HOUR_MEMORY: f32 = 200.0;
const SEGMENT_MEMORY: f32 = 80.0;
const SEGMENT_HOUR_MEMORY: f32 = 25.0;
/// Kinds of day by hours: working days, weekends.
const DAY_HOURS: usize = 48;

/// A running mean that forgets.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(super) struct Mean {
    pub count: f32,
    pub mean: f32,
}

impl Mean {
    fn add(&mut self, value: f64, memory: f32) {
        self.count = (self.count + 1.0).min(memory);
        self.mean += (value as f32 - self.mean) / self.count;
    }

    /// Drawn towards a value by lent samples.
    fn towards(&self, value: f64, lent: f32) -> f64 {
        f64::from((self.count * self.mean + lent * value as f32) / (self.count + lent))
    }

    fn put(&self, to: &mut Writer) {
        to.f32(self.count);
        to.f32(self.mean);
    }

    fn get(from: &mut Reader<'_>) -> Option<Mean> {
        let mean = Mean { count: from.f32()?, mean: from.f32()? };
        (mean.count.is_finite() && mean.mean.is_finite()).then_some(mean)
    }
}

/// Hour of the kind of day that an hour of the week falls into: 0–23 working day, 24–47 weekend.
fn day_hour(hour: usize) -> usize {
    hour % 24 + if hour / 24 >= 5 { 24 } else { 0 }
}

/// The hours of a class of roads in an area.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct ClassHabits {
    all: Mean,
    day_hours: Vec<Mean>,
    week_hours: Vec<Mean>,
}

impl Default for ClassHabits {
    fn default() -> ClassHabits {
        ClassHabits { all: Mean::default(), day_hours: vec![Mean::default(); DAY_HOURS], week_hours: vec![Mean::default(); HOURS_PER_WEEK] }
    }
}

/// A segment's own deviation from its class, in one direction.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct EdgeHabits {
    all: Mean,
    /// By hour of the kind of day; only those that were driven.
    hours: BTreeMap<u8, Mean>,
    /// Vehicles that drove it, as many as privacy asks for.
    pub vehicles: Vec<u64>,
}

impl ClassHabits {
    /// Logarithm of the share of free flow that the class has in an hour of the week.
    pub(super) fn typical(&self, hour: usize) -> f64 {
        let class = self.all.towards(0.0, LENT_CLASS);
        let day = self.day_hours[day_hour(hour)].towards(class, LENT_DAY_HOUR);
        self.week_hours[hour].towards(day, LENT_WEEK_HOUR)
    }

    pub(super) fn add(&mut self, hour: usize, value: f64) {
        self.all.add(value, CLASS_MEMORY);
        self.day_hours[day_hour(hour)].add(value, HOUR_MEMORY);
        self.week_hours[hour].add(value, HOUR_MEMORY);
    }

    /// Samples of an hour of the kind of day.
    pub(super) fn samples(&self, hour: usize) -> f32 {
        self.day_hours[day_hour(hour)].count
    }

    pub(super) fn put(&self, to: &mut Writer) {
        self.all.put(to);
        for means in [&self.day_hours, &self.week_hours] {
            let known = means.iter().enumerate().filter(|(_, mean)| mean.count > 0.0);
            to.u16(known.clone().count() as u16);
            for (index, mean) in known {
                to.u8(index as u8);
                mean.put(to);
            }
        }
    }

    pub(super) fn get(from: &mut Reader<'_>) -> Option<ClassHabits> {
        let mut habits = ClassHabits { all: Mean::get(from)?, ..ClassHabits::default() };
        for means in [&mut habits.day_hours, &mut habits.week_hours] {
            for _ in 0..from.count(means.len())? {
                let index = usize::from(from.u8()?);
                *means.get_mut(index)? = Mean::get(from)?;
            }
        }
        Some(habits)
    }
}

impl EdgeHabits {
    /// Logarithm of what the segment has of its class's speed in an hour.
    pub(super) fn deviation(&self, hour: usize) -> f64 {
        let all = self.all.towards(0.0, LENT_SEGMENT);
        let own = self.hours.get(&(day_hour(hour) as u8)).map_or(0.0, |mean| mean.towards(0.0, LENT_SEGMENT_HOUR));
        all + own
    }

    /// Takes a sample as its difference from the class.
    pub(super) fn add(&mut self, hour: usize, difference: f64) {
        let all = self.all.towards(0.0, LENT_SEGMENT);
        self.all.add(difference, SEGMENT_MEMORY);
        self.hours.entry(day_hour(hour) as u8).or_default().add(difference - all, SEGMENT_HOUR_MEMORY);
    }

    pub(super) fn samples(&self) -> f32 {
        self.all.count
    }

    pub(super) fn put(&self, to: &mut Writer) {
        self.all.put(to);
        to.u16(self.hours.len() as u16);
        for (hour, mean) in &self.hours {
            to.u8(*hour);
            mean.put(to);
        }
        to.u16(self.vehicles.len() as u16);
        self.vehicles.iter().for_each(|vehicle| to.u64(*vehicle));
    }

    pub(super) fn get(from: &mut Reader<'_>, vehicles_max: usize) -> Option<EdgeHabits> {
        let mut habits = EdgeHabits { all: Mean::get(from)?, ..EdgeHabits::default() };
        for _ in 0..from.count(DAY_HOURS)? {
            let hour = from.u8().filter(|hour| usize::from(*hour) < DAY_HOURS)?;
            habits.hours.insert(hour, Mean::get(from)?);
        }
        for _ in 0..from.count(vehicles_max)? {
            habits.vehicles.push(from.u64()?);
        }
        Some(habits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_hour_borrows_from_its_day_and_its_class_until_it_knows_better() {
        let mut habits = ClassHabits::default();
        assert_eq!(habits.typical(8), 0.0, "free flow");
        for _ in 0..20 {
            habits.add(8, -0.7);
        }
        let tuesday = habits.typical(24 + 8);
        assert!(tuesday < -0.4, "Tuesday's rush hour is believed by Monday's: {tuesday}");
        assert!(habits.typical(15) < -0.2 && habits.typical(15) > tuesday, "other hours by the class alone");
        assert!(habits.typical(5 * 24 + 8) > tuesday, "Saturday is another kind of day");
        for _ in 0..150 {
            habits.add(24 + 8, -0.1);
        }
        assert!((habits.typical(24 + 8) + 0.1).abs() < 0.05);
    }

    #[test]
    fn old_samples_fade() {
        let mut habits = EdgeHabits::default();
        (0..500).for_each(|_| habits.add(9, 0.5));
        (0..200).for_each(|_| habits.add(9, -0.5));
        assert!(habits.deviation(9) < -0.3, "{}", habits.deviation(9));
    }
}
