//! Sharing tasks among members, handing over, and what survives.

use super::*;

/// Alone, a member gets every task exactly once, and the set stays as it is.
pub fn a_single_member_gets_all_tasks(log: &dyn Log, prefix: &str) {
    let mut worker = Worker::alone(log, &format!("{prefix}-single"), 4);
    assert_eq!(worker.owned, (0..4).map(TaskId).collect());
    for _ in 0..SILENCE_POLLS {
        let changes = worker.membership.poll().expect("polling the membership");
        assert_eq!(changes, [], "nothing changes while nobody comes or goes");
        worker.idle.rest();
    }
}

/// A second member gets about half; when it leaves, the first gets everything back at once.
pub fn two_members_share_and_leaving_hands_over(log: &dyn Log, prefix: &str) {
    let topology = format!("{prefix}-share");
    let mut a = Worker::alone(log, &topology, 4);
    let mut b = Worker::join(log, &topology, 1, 4);
    b.committer.open().expect("opening");
    settle(&mut [&mut a, &mut b], |w| w.iter().all(|w| w.owned.len() == 2), "each of two members owns two of four tasks");
    assert!(a.owned.is_disjoint(&b.owned));

    let task = *b.owned.first().expect("the second member owns a task");
    b.commit(&one(Epoch { task, incarnation: 1, number: 1, positions: vec![], appends: vec![] }));
    b.membership.leave().expect("leaving");
    settle(&mut [&mut a], |w| w[0].owned.len() == 4, "the member that stayed owns every task");
    assert_eq!(a.number(task), 1, "the successor reads what the predecessor committed");
    a.commit(&one(Epoch { task, incarnation: 2, number: 2, positions: vec![], appends: vec![] }));
    assert_eq!(a.number(task), 2);
}

/// A set with a task that another member owns is refused.
pub fn tasks_of_others_cannot_be_committed(log: &dyn Log, prefix: &str) {
    let out = topic(log, &format!("{prefix}.out"), 1);
    let topology = format!("{prefix}-others");
    let mut a = Worker::alone(log, &topology, 2);
    let mut b = Worker::join(log, &topology, 1, 2);
    b.committer.open().expect("opening");
    settle(&mut [&mut a, &mut b], |w| w.iter().all(|w| w.owned.len() == 1), "each of two members owns one task");
    let (mine, others) = (*a.owned.first().expect("a task"), *b.owned.first().expect("a task"));
    let set = EpochSet {
        losses: 0,
        id: 1,
        epochs: [mine, others].map(|task| Epoch { task, incarnation: 1, number: 1, positions: vec![], appends: vec![values(&out, 0, &["ghost"])] }).into(),
    };
    let outcome = a.committer.commit(&set);
    assert!(matches!(outcome, Outcome::Aborted(_)), "one task of the set is another member's: {outcome:?}");
    assert_eq!(b.number(others), 0);
    assert_eq!(texts(&all_visible(log, &TopicPartition::new(out, 0))), Vec::<String>::new());
}

/// Between being revoked and released, a task still commits; the successor gets it only afterwards.
pub fn a_revoked_task_can_finish_its_commit(log: &dyn Log, prefix: &str) {
    let topology = format!("{prefix}-finish");
    let mut a = Worker::alone(log, &topology, 2);
    let mut b = Worker::join(log, &topology, 1, 2);
    b.committer.open().expect("opening");
    let mut revoked = Vec::new();
    for _ in 0..PATIENCE_POLLS {
        b.follow();
        for change in a.membership.poll().expect("polling the membership") {
            match change {
                Ownership::Revoked(tasks) => revoked.extend(tasks),
                Ownership::Lost(tasks) => panic!("{tasks:?} were lost, not revoked"),
                Ownership::Assigned(_) => {}
            }
        }
        if !revoked.is_empty() {
            break;
        }
        a.idle.rest();
    }
    assert_eq!(revoked.len(), 1, "one of two tasks goes to the second member");
    // The group may be in the middle of its second round: an abort here is honest, and trying again is right.
    let set = one(Epoch { task: revoked[0], incarnation: 1, number: 1, positions: vec![], appends: vec![] });
    let mut outcome = a.committer.commit(&set);
    for _ in 0..PATIENCE_POLLS {
        if !matches!(outcome, Outcome::Aborted(_)) {
            break;
        }
        b.follow();
        a.idle.rest();
        outcome = a.committer.commit(&set);
    }
    assert_eq!(outcome, Outcome::Committed, "a revoked task must be able to finish");
    for _ in 0..SILENCE_POLLS {
        b.follow();
        assert!(!b.owned.contains(&revoked[0]), "the task went to the second member before it was released");
        a.idle.rest();
    }
    a.membership.release(&revoked).expect("releasing");
    a.owned.remove(&revoked[0]);
    let late = revoked[0];
    settle(&mut [&mut a, &mut b], |w| w[1].owned.contains(&late), "the released task goes to the second member");
    assert_eq!(b.number(late), 1, "the successor sees the last commit");
    let refused = a.committer.commit(&one(Epoch { task: late, incarnation: 1, number: 2, positions: vec![], appends: vec![] }));
    assert!(matches!(refused, Outcome::Aborted(_)), "a released task is not this member's any more: {refused:?}");
}

/// Topics, records, starts, progress and identities survive closing and opening. `open` opens the same log each time;
/// the one before has been dropped then.
pub fn survives_reopening(open: &dyn Fn() -> Box<dyn Log>, prefix: &str) {
    let topology = format!("{prefix}-reopen");
    let name: Arc<str> = format!("{prefix}.kept").into();
    let (kept, cut) = (TopicPartition::new(name.clone(), 0), TopicPartition::new(name.clone(), 1));
    let log = open();
    topic(log.as_ref(), &name, 2);
    let info = log.admin().expect("an admin").topic(&name).expect("describing");
    append(log.as_ref(), &[values(&name, 1, &["x", "y", "z"])]);
    log.admin().expect("an admin").truncate(&cut, 2).expect("truncating");
    let mut worker = Worker::alone(log.as_ref(), &topology, 2);
    worker.commit(&one(epoch(1, 7, vec![], vec![values(&name, 0, &["a", "b"])])));
    let _ = worker.membership.leave();
    drop(worker);
    drop(log);

    let log = open();
    assert_eq!(log.admin().expect("an admin").topic(&name).expect("describing"), info, "the topic is the same one");
    assert_eq!(texts(&read(log.as_ref(), &kept, 0, 2)), ["a", "b"]);
    assert_eq!(log.admin().expect("an admin").start(&cut).expect("start"), 2, "the start is remembered");
    assert_eq!(texts(&read(log.as_ref(), &cut, 2, 1)), ["z"]);
    let mut worker = Worker::alone(log.as_ref(), &topology, 2);
    assert_eq!((worker.number(TaskId(0)), worker.number(TaskId(1))), (0, 7), "progress is remembered");
    worker.commit(&one(epoch(1, 8, vec![], vec![values(&name, 0, &["c"])])));
    assert_eq!(texts(&read(log.as_ref(), &kept, 0, 3)), ["a", "b", "c"]);
}
