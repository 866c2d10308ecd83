//! The servers' guards themselves: a server comes up, survives what it should, and never outlives its test.

use std::io::BufRead as _;
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::support::process::{Guarded, is_running, within};
use crate::support::{Browser, Kafka, Redis};

const ORPHAN_MAKER: &str = "WS_TEST_ORPHAN_MAKER";

#[test]
fn a_broker_comes_back_on_its_address_and_goes_with_its_guard() {
    let Some(mut kafka) = Kafka::start(1) else {
        return;
    };
    let address = kafka.bootstrap.clone();
    assert!(TcpStream::connect(&address).is_ok(), "nobody listens on {address}");
    let first = kafka.pids();

    kafka.kill(0);
    assert!(TcpStream::connect(&address).is_err(), "a killed broker still listens");
    kafka.start_again(0);
    assert!(TcpStream::connect(&address).is_ok(), "the broker did not come back on {address}");
    kafka.restart();
    assert_eq!(kafka.bootstrap, address);
    let last = kafka.pids();
    assert_ne!(first, last);

    drop(kafka);
    assert!(!is_running(last[0]), "the broker outlived its guard");
}

#[test]
fn a_shared_broker_outlives_the_thread_that_started_it() {
    let starter = std::thread::Builder::new().name("servers::a_shared_broker".into());
    let Some(kafka) = starter.spawn(Kafka::shared).expect("a thread").join().expect("the starting thread") else {
        return;
    };
    std::thread::sleep(Duration::from_millis(300));
    assert!(kafka.pids().into_iter().all(is_running));
    assert!(TcpStream::connect(&kafka.bootstrap).is_ok());
}

#[test]
fn redis_answers_and_is_empty_after_a_restart() {
    let Some(mut redis) = Redis::start() else {
        return;
    };
    assert_eq!(redis.ask("SET bin 1").as_deref(), Some("+OK\r\n"));
    assert_eq!(redis.ask("DBSIZE").as_deref(), Some(":1\r\n"));
    redis.restart();
    assert_eq!(redis.ask("DBSIZE").as_deref(), Some(":0\r\n"));
    assert!(redis.url.starts_with("redis://127.0.0.1:"));
}

#[test]
fn the_browser_runs_a_pages_script() {
    let Some(browser) = Browser::find() else {
        return;
    };
    let page = "data:text/html,<p id=bin></p><script>bin.textContent='full in '+(2+3)+' h'</script>";
    let document = browser.document(page, 200);
    assert!(document.contains("full in 5 h"), "{document}");

    let picture = std::env::temp_dir().join(format!("ws-test-picture-{}.png", std::process::id()));
    browser.picture(page, &picture, (320, 200), 200);
    let bytes = std::fs::read(&picture).expect("the picture");
    std::fs::remove_file(&picture).expect("the picture is ours to remove");
    assert!(bytes.starts_with(b"\x89PNG"), "not a PNG");
}

#[test]
fn a_server_dies_with_a_killed_test_process() {
    // This same test, run in a process of its own, starts a server, tells its pid and waits to be killed.
    if std::env::var_os(ORPHAN_MAKER).is_some() {
        let dir = std::env::temp_dir().join(format!("ws-test-orphan-{}", std::process::id()));
        std::fs::create_dir_all(&dir).expect("a folder");
        let server = Guarded::start("server", &dir, &["sleep".to_owned(), "600".to_owned()]);
        println!("PID {} {}", server.pid(), dir.display());
        std::thread::sleep(Duration::from_secs(60));
        return;
    }
    let mut process = Command::new(std::env::current_exe().expect("this binary"))
        .args(["--exact", "servers::a_server_dies_with_a_killed_test_process", "--nocapture"])
        .env(ORPHAN_MAKER, "1")
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("a second test process");
    let output = std::io::BufReader::new(process.stdout.take().expect("its output"));
    let line = output.lines().map_while(Result::ok).find_map(|line| line.split_once("PID ").map(|(_, rest)| rest.to_owned())).expect("the server's pid");
    let (pid, dir) = line.split_once(' ').expect("pid and folder");
    let pid: u32 = pid.parse().expect("a pid");
    assert!(is_running(pid));

    process.kill().expect("the kill");
    process.wait().expect("its end");
    let gone = within(Duration::from_secs(10), || (!is_running(pid)).then_some(()));
    assert!(gone.is_some(), "the server outlived the process that started it");
    let removed = within(Duration::from_secs(10), || (!std::path::Path::new(dir).exists()).then_some(()));
    assert!(removed.is_some(), "{dir} was left behind");
}
