//! Development runner.
fn main() {
    let a: Vec<String> = std::env::args().collect();
    let n = |i: usize, d: u64| a.get(i).and_then(|s| s.parse().ok()).unwrap_or(d);
    let mut o = match a.get(5).map(String::as_str) {
        Some("bins") => ws_sim::SimOptions::bin_fill().expect("plan"),
        Some("std") => ws_sim::SimOptions::standard().expect("plan"),
        _ => ws_sim::SimOptions::default(),
    };
    match a.get(4).map(String::as_str) {
        Some("calm") => o.profile = |_| ws_sim::Profile::calm(),
        Some("trust_unknown") => o.planted.trust_unknown = true,
        Some("keep_state") => o.planted.keep_state_on_abort = true,
        Some("accept_stale") => o.planted.accept_stale = true,
        Some("ignore_lost") => o.planted.ignore_lost = true,
        Some("forget_pending") => o.planted.forget_pending = true,
        Some("no_rewind") => o.planted.no_rewind = true,
        _ => {}
    }
    let s = ws_sim::run_many(n(1, 0)..n(2, 4), &o, n(3, 2) as usize);
    println!("{s}");
}
