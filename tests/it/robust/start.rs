//! What keeps a process from starting is said clearly, with what to do, before anything is touched.

use std::io::Write as _;
use std::net::{Ipv4Addr, TcpListener};
use std::time::Duration;

use crate::support::app::{App, run_to_end};
use crate::support::repository;

const LIMIT: Duration = Duration::from_secs(30);

#[test]
fn a_port_in_use_is_named_with_what_to_do() {
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let address = taken.local_addr().expect("its address");
    let (port, address) = (address.port().to_string(), address.to_string());
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().display().to_string();
    for command in [&["run"][..], &["demo", "--bins", "10", "--trucks", "1"]] {
        let args = [command, &["--data", &data, "--address", &address]].concat();
        let ended = run_to_end(&args, &[], LIMIT);
        assert_eq!(ended.code, 1, "{}", ended.output);
        let error = last_error(&ended.output);
        assert!(error.contains(&port), "{error}");
        assert!(error.contains("in use") && error.contains("--address"), "what it is and what to do: {error}");
        assert!(!folder.path().join("endpoint.json").exists(), "it says that it serves the folder, and does not");
    }
}

#[test]
fn a_second_owner_of_a_folder_is_refused_and_the_first_one_goes_on() {
    let mut app = App::start(&["run"], &[]);
    let data = app.data.display().to_string();
    for command in [&["run"][..], &["demo", "--bins", "10", "--trucks", "1", "--no-model"]] {
        let args = [command, &["--data", &data, "--address", "127.0.0.1:0"]].concat();
        let ended = run_to_end(&args, &[], LIMIT);
        assert_eq!(ended.code, 1, "{}", ended.output);
        let error = last_error(&ended.output);
        for part in [&*app.pid().to_string(), &app.url, "--data"] {
            assert!(error.contains(part), "{part} is not told: {error}");
        }
    }
    // Its endpoint file is unharmed: other commands still find it.
    let status = run_to_end(&["status", "--data", &data], &[], LIMIT);
    assert_eq!(status.code, 0, "{}", status.output);
    assert!(matches!(app.try_get("/readyz"), Ok((200, _))));
    assert_eq!(app.stop().code, 0);
    assert!(!app.data.join("endpoint.json").exists());
    let status = run_to_end(&["status", "--data", &data], &[], LIMIT);
    assert_eq!(status.code, 1, "{}", status.output);
    assert!(status.output.contains("no process serves"), "{}", status.output);
}

#[test]
fn a_broken_topology_is_refused_at_its_line() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("broken.yaml");
    let good = std::fs::read_to_string(repository().join("topologies/bin-fill.yaml"));
    let good = good.expect("bin-fill");
    let broken = good.replace("on: device_id\n", "on: device_idd\n");
    assert_ne!(good, broken);
    let line = 1 + broken.lines().position(|l| l.contains("device_idd")).expect("the broken line");
    let mut out = std::fs::File::create(&file).expect("a file");
    out.write_all(broken.as_bytes()).expect("written");

    let (path, data) = (file.display().to_string(), folder.path().join("data"));
    let data = data.display().to_string();
    let run = ["run", "--topology", &path, "--data", &data, "--address", "127.0.0.1:0"];
    let validate = ["topology", "validate", &path];
    for args in [&run[..], &validate] {
        let ended = run_to_end(args, &[], LIMIT);
        assert_ne!(ended.code, 0, "{}", ended.output);
        for part in [format!("broken.yaml:{line}"), "device_idd".into(), "device_id".into()] {
            assert!(ended.output.contains(&part), "{part} is not told:\n{}", ended.output);
        }
    }
    assert!(!folder.path().join("data/log").exists(), "a topology that cannot run must not make a log");
}

#[test]
fn a_configuration_that_cannot_be_used_is_told_whole() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("wastestream.toml");
    std::fs::write(&file, "[engine]\nworkers = 0\n[api]\naddress = \"0.0.0.0:80\"\n").expect("written");
    let path = file.display().to_string();
    for args in [&["config", "check", "--config", &path][..], &["run", "--config", &path]] {
        let ended = run_to_end(args, &[], LIMIT);
        assert_eq!(ended.code, 1, "{}", ended.output);
        for part in ["engine.workers", "api.address", "no authentication"] {
            assert!(ended.output.contains(part), "{part}:\n{}", ended.output);
        }
    }
    // The environment counts too, and by its name.
    let ended = run_to_end(&["config", "check"], &[("WS_ENGINE__WORKERS", "0")], LIMIT);
    assert_eq!(ended.code, 1, "{}", ended.output);
    assert!(ended.output.contains("engine.workers"), "{}", ended.output);
}

fn last_error(output: &str) -> &str {
    output.find("error: ").map_or(output, |at| &output[at..])
}
