//! Decisions on small stories, and the invariant that every prediction ends once on random ones.
#![allow(clippy::unwrap_used)]

use rand::seq::SliceRandom;
use rand::{SeedableRng, rngs::SmallRng};

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

/// Feeds facts in the order given, through bytes after each, and puts the prediction when its moment has settled.
fn told(prediction: Prediction, facts: &[(i64, Fact)]) -> Ended {
    let rules = Rules { keep_ms: 100 * DAY, ..Rules::default() };
    let mut book = Book::default();
    // Its publication was heard of.
    book.tell(prediction.at_ms, Fact::Heard, String::new());
    for (at_ms, fact) in facts {
        book.tell(*at_ms, fact.clone(), format!("e{at_ms}"));
        book = Book::read(&book.write()).unwrap();
    }
    let decided_ms = prediction.due_ms + (6 * H).max(prediction.interval_ms * 3 / 2);
    book.forget(decided_ms, &rules);
    book.end(prediction, decided_ms, &rules)
}

fn one(prediction: Prediction, facts: &[(i64, Fact)]) -> Ended {
    told(prediction, facts)
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
fn facts_go_when_nobody_needs_them_and_bytes_that_are_damaged_are_refused() {
    let rules = Rules::default();
    let mut book = Book::default();
    for hour in 0..3_000 {
        book.tell(hour * H, Fact::Reading { level: 0.5, place: "c1".into(), emptied_ms: Some(hour / 48 * 48 * H) }, format!("reading-{hour}"));
        book.tell(hour * H, Fact::Came, format!("{hour}"));
    }
    assert_eq!((book.readings.len(), book.happened.len()), (MOST_READINGS, MOST_FACTS));
    book.forget(2_999 * H, &rules);
    assert!(book.readings.len() < 40 && book.emptied.len() <= 6, "{} readings, {} emptyings", book.readings.len(), book.emptied.len());
    let bytes = book.write();
    assert!(bytes.len() < 4_000, "{} bytes", bytes.len());
    assert_eq!(Book::read(&bytes).unwrap(), book);
    for cut in 1..bytes.len() {
        assert!(Book::read(&bytes[..cut]).is_err(), "{cut}");
    }
    assert!(Book::read(&[9]).is_err() && Book::read(&[&bytes[..], &[0]].concat()).is_err());
    book.forget(book.over_ms(&rules).unwrap(), &rules);
    assert!(book.write().is_empty(), "a subject that nobody hears of leaves nothing behind");
}

#[test]
fn a_book_about_an_hourly_sensor_is_small() {
    let rules = Rules::default();
    let mut book = Book::default();
    for hour in 0..500 {
        let emptied_ms = Some((hour - hour % 24) * H);
        book.tell(
            hour * H + hour % 7 * 1_000,
            Fact::Reading { level: 0.04 * (hour % 24) as f64, place: "cont-0001".into(), emptied_ms },
            format!("bin-gw-0001-{hour:08}"),
        );
        book.forget(hour * H, &rules);
    }
    let bytes = book.write().len();
    assert!(bytes < 1_500, "{bytes} bytes are written with every reading");
}

#[test]
fn thinning_changes_no_answer() {
    // Three weeks of an hourly sensor that fills, overflows and is emptied, reported or not, and moves once.
    let facts: Vec<(i64, Fact)> = (0..500)
        .map(|hour: i64| {
            let (cycle, within) = (hour / 60, hour % 60);
            let place = if hour < 300 { "c1" } else { "c2" };
            let emptied_ms = (cycle % 2 == 0).then_some(cycle * 60 * H - 1);
            (hour * H, Fact::Reading { level: (0.02 * within as f64).min(1.0), place: place.into(), emptied_ms })
        })
        .collect();
    let (thin, all) = (Rules::default(), Rules { recent_ms: 100 * DAY, ..Rules::default() });
    let (mut thinned, mut whole) = (Book::default(), Book::default());
    let mut compared = 0;
    for (at_ms, fact) in &facts {
        for (book, rules) in [(&mut thinned, &thin), (&mut whole, &all)] {
            book.tell(*at_ms, fact.clone(), format!("e{at_ms}"));
            book.forget(*at_ms, rules);
        }
        for (question, horizon_ms) in [(Question::Level, DAY), (Question::Overflow, 20 * H), (Question::Overflow, 100 * H)] {
            let made_ms = at_ms - 6 * H - horizon_ms;
            if made_ms < 0 {
                continue;
            }
            let Fact::Reading { level, place, .. } = &facts[(made_ms / H) as usize].1 else { panic!() };
            let asked = Prediction { level: Some(*level), place: place.clone(), ..prediction("p", question, made_ms, made_ms + horizon_ms) };
            assert_eq!(thinned.end(asked.clone(), *at_ms, &thin), whole.end(asked, *at_ms, &all), "{question:?} at hour {}", made_ms / H);
            compared += 1;
        }
    }
    assert!(compared > 1_200 && thinned.readings.len() < whole.readings.len() / 2, "{compared}, {} of {}", thinned.readings.len(), whole.readings.len());
}
