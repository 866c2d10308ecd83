//! `wastestream effect`: what the pipeline is worth, in a simulated city: the same city, weather and waste for each policy,
//! the same trucks and shifts, and kilometres, hours and visits compared where the containers overflow equally often.
//!
//! A policy decides each morning which sites are visited that day ([`policy`]); what it may know of the city are the
//! events that the city sends ([`town`], [`reported`], [`forecasts`]). Only the clairvoyant gets the truth. Routes come from one
//! solver and pass one checker, and the city's trucks drive them ([`day`]). [`compare`] makes the tables of the runs.

mod compare;
mod day;
mod forecasts;
mod policy;
mod reported;
mod run;
mod settings;
mod statements;
mod stats;
#[cfg(test)]
mod tests;
mod town;
mod write;

pub use settings::EffectArgs;

use crate::Failure;
use run::{Job, RunRecord, Runner};
use settings::Settings;
use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

/// Runs what is missing, prints the tables, writes the files.
pub fn run(args: &EffectArgs) -> Result<(), Failure> {
    let settings = Settings::of(args)?;
    let kept = write::Kept::open(&args.out, &settings, args.fresh)?;
    let missing: VecDeque<(u64, Vec<Job>)> = settings
        .seeds()
        .map(|seed| (seed, settings.jobs().into_iter().filter(|job| !kept.has(seed, job)).collect::<Vec<_>>()))
        .filter(|(_, jobs)| !jobs.is_empty())
        .collect();
    let total: usize = missing.iter().map(|(_, jobs)| jobs.len()).sum();
    if total > 0 {
        eprintln!(
            "{total} runs of {} + {} days, {} bins, {} trucks; finished runs are kept in {}",
            settings.warmup_days,
            settings.days,
            settings.bins,
            settings.trucks,
            args.out.display()
        );
        work(&settings, args, missing, total, &kept)?;
    }
    let records = kept.records();
    let report = compare::report(&settings, &records)?;
    println!("{report}");
    write::tables(&args.out, &settings, &records, &report)?;
    if let Some(file) = &args.markdown {
        write::into_markdown(file, &report)?;
        eprintln!("figures written into {}", file.display());
    }
    Ok(())
}

/// Seeds in threads; each thread takes the next seed with all its runs.
fn work(settings: &Settings, args: &EffectArgs, missing: VecDeque<(u64, Vec<Job>)>, total: usize, kept: &write::Kept) -> Result<(), Failure> {
    let started = Instant::now();
    let queue = Mutex::new(missing);
    let done = Mutex::new(0_usize);
    let over = || args.minutes.is_some_and(|minutes| started.elapsed().as_secs_f64() > minutes * 60.0);
    let thread = || -> Result<(), Failure> {
        loop {
            let next = queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
            let Some((seed, jobs)) = next else { return Ok(()) };
            let mut runner = Runner::new(settings.clone(), seed)?;
            for job in jobs {
                if over() {
                    return Ok(());
                }
                let began = Instant::now();
                let record: RunRecord = runner.run(&job)?;
                kept.add(&record)?;
                let mut done = done.lock().unwrap_or_else(PoisonError::into_inner);
                *done += 1;
                eprintln!(
                    "[{:4.0} s] {done:4}/{total} seed {seed:3} {:<14} {:>7.2}: {:6.0} km {:5.0} h {:5} visits {:6.1} overflow bin-days, {:.1} s",
                    started.elapsed().as_secs_f64(),
                    record.policy,
                    record.knob,
                    record.km,
                    record.hours,
                    record.visits,
                    record.overflow_days,
                    began.elapsed().as_secs_f64()
                );
            }
        }
    };
    let results: Vec<Result<(), Failure>> = std::thread::scope(|scope| {
        let handles: Vec<_> = (0..args.threads.max(1)).map(|_| scope.spawn(thread)).collect();
        handles.into_iter().map(|handle| handle.join().unwrap_or_else(|_| Err("a thread panicked; see above".into()))).collect()
    });
    results.into_iter().collect::<Result<(), Failure>>()?;
    if over() {
        eprintln!("the time given is over; the same command goes on from here");
    }
    Ok(())
}
