//! Decisions on small stories, and the invariant that every prediction ends once on random ones.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};

use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng, rngs::SmallRng};

use super::*;

const H: i64 = HOUR_MS;
const DAY: i64 = 24 * H;

fn prediction(id: &str, question: Question, at_ms: i64, due_ms: i64) -> Prediction {
    Prediction {
        id: id.into(),
        topic: "bin.forecast".into(),
        target: format!("{question:?}"),
        tenant: "t".into(),
        question,
        at_ms,
        due_ms,
        level: Some(0.3),
        quantiles: [Some(0.4), Some(0.5), Some(0.6)],
        baseline: Some(0.3),
        place: "c1".into(),
        interval_ms: H,
        holdout: false,
        rung: "model".into(),
        model_version: "v1".into(),
    }
}

fn level(at_ms: i64) -> Prediction {
    prediction(&format!("p{at_ms}"), Question::Level, at_ms, at_ms + DAY)
}

fn churn(id: &str, holdout: bool) -> Prediction {
    Prediction { quantiles: [None, Some(0.2), None], holdout, ..prediction(id, Question::Event, 0, 90 * DAY) }
}

fn reading(level: f64) -> Fact {
    Fact::Reading { level, place: "c1".into(), emptied_ms: None }
}

/// Feeds facts in the order given, goes through bytes after each, and lets everything settle.
fn told(predictions: &[Prediction], facts: &[(i64, Fact)]) -> Vec<Ended> {
    let rules = Rules::default();
    let mut book = Book::default();
    for prediction in predictions {
        assert_eq!(book.predict(prediction.clone(), &rules), None);
    }
    for (at_ms, fact) in facts {
        book.tell(*at_ms, fact.clone(), format!("e{at_ms}"));
        book = Book::read(&book.write()).unwrap();
    }
    let next_ms = book.next_ms(&rules).unwrap();
    assert_eq!(book.advance(next_ms - 1, &rules), [], "nothing ends before it has settled");
    book.advance(1_000 * DAY, &rules)
}

fn one(prediction: Prediction, facts: &[(i64, Fact)]) -> Ended {
    told(&[prediction], facts).pop().unwrap()
}

fn actual(ended: &Ended) -> f64 {
    let End::Labelled { actual, .. } = ended.end else { panic!("{ended:?}") };
    actual
}

fn censored(ended: &Ended) -> (&str, Option<f64>) {
    let End::Censored { reason, bound, .. } = &ended.end else { panic!("{ended:?}") };
    (reason, *bound)
}

#[test]
fn a_level_is_read_between_the_readings_around_its_moment() {
    let ended = one(level(0), &[(22 * H, reading(0.40)), (26 * H, reading(0.52))]);
    assert!((actual(&ended) - 0.46).abs() < 1e-12 && ended.covered() == Some(true) && (ended.error().unwrap() + 0.04).abs() < 1e-12);
    assert_eq!((ended.at_ms, &ended.end), (26 * H, &End::Labelled { actual: actual(&ended), by: Some(format!("e{}", 26 * H)) }));
    // One reading must be near; one that is exact is enough.
    assert_eq!(actual(&one(level(0), &[(24 * H, reading(0.7))])), 0.7);
    assert_eq!(actual(&one(level(0), &[(26 * H, reading(0.7))])), 0.7);
    assert_eq!(one(level(0), &[(18 * H, reading(0.5)), (28 * H, reading(0.7))]).end, End::Expired);
    // A daily sensor's readings may be further apart, and it is waited for.
    let daily = Prediction { interval_ms: DAY, ..level(0) };
    assert!((actual(&one(daily, &[(18 * H, reading(0.4)), (42 * H, reading(0.8))])) - 0.5).abs() < 1e-12);
}

#[test]
fn the_order_of_arrival_changes_nothing() {
    let mut facts =
        vec![(20 * H, reading(0.7)), (23 * H, reading(0.75)), (25 * H, Fact::Reading { level: 0.02, place: "c1".into(), emptied_ms: Some(23 * H + 1) })];
    let first = one(level(0), &facts);
    assert_eq!(censored(&first), ("emptied", Some(0.75)), "a label behind the truck would be a lie, also when its report comes last");
    let mut random = SmallRng::seed_from_u64(1);
    for _ in 0..6 {
        facts.shuffle(&mut random);
        assert_eq!(one(level(0), &facts), first);
    }
}

#[test]
fn an_emptying_before_the_moment_censors_and_one_after_does_not() {
    let emptied = |ms: i64| Fact::Reading { level: 0.05, place: "c1".into(), emptied_ms: Some(ms) };
    assert_eq!(one(level(0), &[(10 * H, reading(0.7)), (13 * H, emptied(12 * H))]).at_ms, 12 * H);
    let after = one(level(0), &[(23 * H, reading(0.8)), (25 * H, emptied(24 * H + 1))]);
    assert_eq!(actual(&after), 0.8, "the moment was before it, and the reading before it is near");
    assert_eq!(one(level(0), &[(17 * H, reading(0.8)), (25 * H, emptied(24 * H + 1))]).end, End::Expired, "what is behind it says nothing");
    // Before the prediction: known then.
    assert_eq!(actual(&one(level(0), &[(24 * H, Fact::Reading { level: 0.5, place: "c1".into(), emptied_ms: Some(-H) })])), 0.5);
}

#[test]
fn a_fall_that_nobody_reported_censors_too() {
    let ended = one(level(0), &[(8 * H, reading(0.8)), (9 * H, reading(0.05)), (24 * H, reading(0.4))]);
    assert_eq!((censored(&ended), ended.at_ms), (("emptied", Some(0.8)), 9 * H));
    assert_eq!(actual(&one(level(0), &[(8 * H, reading(0.5)), (9 * H, reading(0.45)), (24 * H, reading(0.6))])), 0.6, "a wobble is none");
}

#[test]
fn a_lost_sensor_censors_and_one_never_heard_of_expires() {
    let silent: Vec<_> = (3..40).map(|hour| (hour * H, Fact::Silent)).collect();
    assert_eq!(censored(&one(level(0), &silent)), ("sensor_lost", None));
    let other = Fact::Reading { level: 0.1, place: "c2".into(), emptied_ms: None };
    let moved = one(level(0), &[(5 * H, other), (24 * H, reading(0.6))]);
    assert_eq!((censored(&moved), moved.at_ms), (("sensor_lost", None), 5 * H));
    let expired = one(level(0), &[]);
    assert_eq!((expired.end, expired.at_ms), (End::Expired, 30 * H));
}

#[test]
fn an_overflow_before_the_visit_is_one_and_a_calm_bin_is_none() {
    let visit = |due_ms| prediction("o", Question::Overflow, 0, due_ms);
    assert_eq!(actual(&one(visit(20 * H), &[(10 * H, reading(0.9)), (12 * H, reading(1.0)), (19 * H, reading(1.0))])), 1.0);
    assert_eq!(actual(&one(visit(20 * H), &[(10 * H, reading(0.5)), (19 * H, reading(0.9)), (25 * H, reading(1.0))])), 0.0, "full after the visit");
    // Crossed on the way to a reading behind the visit.
    assert_eq!(actual(&one(visit(20 * H), &[(19 * H, reading(0.95)), (22 * H, reading(1.15))])), 1.0);
    let emptied = |ms: i64| (ms + H, Fact::Reading { level: 0.02, place: "c1".into(), emptied_ms: Some(ms) });
    assert_eq!(censored(&one(visit(20 * H), &[(10 * H, reading(0.6)), emptied(12 * H)])), ("emptied", Some(0.6)), "a truck that nobody had planned");
    let early = one(visit(20 * H), &[(17 * H, reading(0.8)), emptied(18 * H)]);
    assert_eq!((actual(&early), early.at_ms), (0.0, 18 * H), "a little early is on time");
    assert_eq!(one(visit(20 * H), &[(3 * H, reading(0.5))]).end, End::Expired);
    let full = one(Prediction { level: Some(1.0), ..visit(20 * H) }, &[]);
    assert_eq!((actual(&full), full.weight(&Rules::default())), (1.0, 0.0), "nothing to predict, nothing to learn");
}

#[test]
fn events_come_are_absent_or_end_otherwise_and_the_holdout_is_not_censored_by_treatment() {
    let heard = (85 * DAY, Fact::Heard);
    assert_eq!(actual(&one(churn("a", false), &[(40 * DAY, Fact::Came)])), 1.0);
    assert_eq!(censored(&one(churn("a", false), &[(40 * DAY, Fact::Ended("contract_ended".into()))])).0, "contract_ended");
    assert_eq!(censored(&one(churn("a", false), &[(40 * DAY, Fact::Treated), (60 * DAY, Fact::Came)])).0, "intervention");
    assert_eq!(actual(&one(churn("a", true), &[(40 * DAY, Fact::Treated), (60 * DAY, Fact::Came)])), 1.0);
    assert_eq!(actual(&one(churn("a", false), &[heard.clone(), (91 * DAY, Fact::Came)])), 0.0, "it came too late");
    assert_eq!(actual(&one(churn("a", false), &[heard.clone(), (0, Fact::Came)])), 0.0, "what was before says nothing");
    assert_eq!(actual(&one(churn("a", false), &[heard])), 0.0);
    assert_eq!(one(churn("a", false), &[(50 * DAY, Fact::Heard)]).end, End::Expired, "nobody knows whether it did not come");
    let both = [(40 * DAY, Fact::Ended("replaced".into())), (40 * DAY, Fact::Came)];
    assert_eq!(actual(&one(churn("a", false), &both)), 1.0);
}

#[test]
fn repeats_are_not_taken_twice_and_the_bound_expires_the_oldest() {
    let rules = Rules { max_open: 3, ..Rules::default() };
    let mut book = Book::default();
    for at_ms in [2, 0, 1] {
        assert_eq!(book.predict(level(at_ms), &rules), None);
        assert_eq!(book.predict(level(at_ms), &rules), None, "a repeat");
    }
    let overflow = Prediction { target: "overflow".into(), ..level(2) };
    let ended = book.predict(overflow, &rules).unwrap();
    assert_eq!((ended.of.at_ms, ended.end, book.open().len()), (0, End::Expired, 3), "another target of one prediction is another question");
}

#[test]
fn facts_go_when_nobody_needs_them_and_bytes_that_are_damaged_are_refused() {
    let rules = Rules::default();
    let mut book = Book::default();
    for hour in 0..3_000 {
        book.tell(hour * H, reading(0.5), "x".repeat(40));
        book.tell(hour * H, Fact::Came, format!("{hour}"));
    }
    assert_eq!((book.readings.len(), book.happened.len()), (MOST_READINGS, MOST_FACTS));
    book.predict(level(2_990 * H), &rules);
    book.advance(2_999 * H, &rules);
    assert!(book.readings.len() <= 35, "{}", book.readings.len());
    let bytes = book.write();
    assert_eq!(Book::read(&bytes).unwrap(), book);
    for cut in 1..bytes.len() {
        assert!(Book::read(&bytes[..cut]).is_err(), "{cut}");
    }
    assert!(Book::read(&[9]).is_err() && Book::read(&[&bytes[..], &[0]].concat()).is_err());
    assert_eq!(book.advance(4_000 * H, &rules).len(), 1);
    assert!(book.write().is_empty(), "an idle subject leaves nothing behind");
}

#[test]
fn whatever_happens_the_counts_add_up_and_every_prediction_ends_once() {
    let rules = Rules { max_open: 20, ..Rules::default() };
    let mut random = SmallRng::seed_from_u64(11);
    let mut books: BTreeMap<u32, Vec<u8>> = BTreeMap::new();
    let (mut ids, mut made, mut ends) = (BTreeSet::new(), 0u64, [0u64; 3]);
    let mut end = |ended: Vec<Ended>| {
        for ended in ended {
            assert!(ids.insert(ended.of.id.clone()), "{} ended twice", ended.of.id);
            ends[match ended.end {
                End::Labelled { .. } => 0,
                End::Censored { .. } => 1,
                End::Expired => 2,
            }] += 1;
        }
    };
    for step in 0..20_000i64 {
        let now_ms = step * H / 8;
        let at_ms = now_ms - random.random_range(0..10) * H;
        let subject = random.random_range(0..20u32);
        let mut book = Book::read(books.get(&subject).map_or(&[][..], |bytes| bytes)).unwrap();
        match random.random_range(0..8u32) {
            0..=3 => {
                made += 1;
                let question = [Question::Level, Question::Overflow, Question::Event][random.random_range(0..3usize)];
                let horizon_ms = random.random_range(1..60) * H;
                end(book.predict(prediction(&format!("p{step}"), question, at_ms, at_ms + horizon_ms), &rules).into_iter().collect());
            }
            4 => {
                let emptied_ms = random.random_bool(0.2).then_some(at_ms - H / 2);
                book.tell(at_ms, Fact::Reading { level: random.random(), place: format!("c{}", random.random_range(1..3)), emptied_ms }, format!("e{step}"));
            }
            5 => book.tell(
                at_ms,
                [Fact::Came, Fact::Ended("replaced".into()), Fact::Treated, Fact::Heard, Fact::Silent][random.random_range(0..5usize)].clone(),
                format!("e{step}"),
            ),
            _ => end(book.advance(now_ms - 12 * H, &rules)),
        }
        books.insert(subject, book.write());
        if step % 1_000 == 0 {
            let open: usize = books.values().map(|bytes| Book::read(bytes).unwrap().open().len()).sum();
            assert!(open <= 20 * rules.max_open);
        }
    }
    let open: u64 = books.values().map(|bytes| Book::read(bytes).unwrap().open().len() as u64).sum();
    assert!(open > 0);
    for bytes in books.values_mut() {
        let mut book = Book::read(bytes).unwrap();
        end(book.advance(i64::MAX, &rules));
        *bytes = book.write();
    }
    assert_eq!(ends.iter().sum::<u64>(), made, "{ends:?}");
    assert!(ends.iter().all(|count| *count > 100), "{ends:?}");
    assert!(books.values().all(Vec::is_empty));
}
