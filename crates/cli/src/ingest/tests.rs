//! What an ingest does from mapping and file to records, and what it says when either is wrong.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use super::map_read::read_map;
use super::report::Report;
use super::target::{Sent, appends};
use super::*;
use arrow::array::{ArrayRef, Float64Array, Int32Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use parquet::arrow::ArrowWriter;
use serde_json::{Value, json};
use std::cell::RefCell;
use std::rc::Rc;
use ws_log::embedded::{EmbeddedConfig, EmbeddedLog};
use ws_stream::log::{End, Log, TopicPartition};
use ws_stream::partition::partition_of;

const MAP: &str = r#"
map: test
topic: bin.telemetry
tenant: t
time_zone: Europe/Vienna
received_after: 2s
empty: [NA]
fields:
  device_id: "bin-{id}"
  event_id: { hash: [id, day] }
  observed_at: { column: day, date: "%d.%m.%Y", at: "12:00" }
  filling_level: { column: level, scale: /10 }
  temperature_degc: { column: temp, unit: degf, optional: true }
refs:
  - topic: ref.device
    once_per: "{id}"
    fields: { device_id: "bin-{id}", container_id: "c-{id}", model: m, report_interval_s: 86400, calibration_version: 1 }
"#;

/// What was sent, in batches.
#[derive(Clone, Default)]
struct Shared(Rc<RefCell<Vec<Vec<Row>>>>);

impl Target for Shared {
    fn send(&mut self, rows: &[Row]) -> Result<Sent, IngestError> {
        self.0.borrow_mut().push(rows.to_vec());
        Ok(Sent::default())
    }
}

struct Ran {
    result: Result<Summary, IngestError>,
    rows: Vec<(String, Value)>,
    notes: String,
    out: String,
}

/// Writes map and file into a folder and runs the ingest with some flags.
fn ingest(map: &str, name: &str, content: &[u8], flags: &[&str]) -> Ran {
    #[derive(clap::Parser)]
    struct Cli {
        #[command(flatten)]
        args: IngestArgs,
    }
    let folder = tempfile::tempdir().unwrap();
    let (map_file, file) = (folder.path().join("map.yaml"), folder.path().join(name));
    std::fs::write(&map_file, map).unwrap();
    std::fs::write(&file, content).unwrap();
    let mut words = vec!["ingest", "--map", map_file.to_str().unwrap(), file.to_str().unwrap()];
    words.extend(flags);
    let args = <Cli as clap::Parser>::parse_from(words).args;
    let registry = Registry::embedded().unwrap();
    let (target, mut out, mut notes) = (Shared::default(), Vec::new(), Vec::new());
    let sent = target.clone();
    let result = run(&args, &registry, |_| Ok(Box::new(target)), &AtomicBool::new(false), &mut out, &mut notes);
    let place = format!("{}/", folder.path().display());
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap().replace(&place, "");
    let rows = sent.0.borrow().iter().flatten().map(|r| (r.topic.to_string(), registry.decode_to_json(&r.value).unwrap())).collect();
    Ran { result, rows, notes: text(notes), out: text(out) }
}

fn of<'a>(ran: &'a Ran, topic: &str) -> Vec<&'a Value> {
    ran.rows.iter().filter(|(t, _)| t == topic).map(|(_, v)| v).collect()
}

fn problems(map: &str) -> String {
    read_map("m.yaml", map, &Registry::embedded().unwrap(), &|_| None).unwrap_err().to_string()
}

const NOON_2_JAN: i64 = 1_704_193_200_000; // 2024-01-02 12:00 in Vienna
const DAY_MS: i64 = 86_400_000;

#[test]
fn rows_come_out_sorted_by_event_time_after_their_references() {
    let csv = "id,day,level,temp\n7,02.01.2024,6,50\n8,01.01.2024,0,NA\n7,01.01.2024,2,\n";
    let ran = ingest(MAP, "f.csv", csv.as_bytes(), &[]);
    let summary = ran.result.as_ref().unwrap();
    assert_eq!((summary.read_rows, summary.bad, summary.references), (3, 0, 2));
    let topics: Vec<&str> = ran.rows.iter().map(|(t, _)| t.as_str()).collect();
    assert_eq!(topics, ["ref.device", "ref.device", "bin.telemetry", "bin.telemetry", "bin.telemetry"]);
    let readings: Vec<(&str, i64, f64)> = of(&ran, "bin.telemetry")
        .iter()
        .map(|v| (v["device_id"].as_str().unwrap(), v["observed_at"].as_i64().unwrap(), v["filling_level"].as_f64().unwrap()))
        .collect();
    assert_eq!(readings, [("bin-8", NOON_2_JAN - DAY_MS, 0.0), ("bin-7", NOON_2_JAN - DAY_MS, 0.2), ("bin-7", NOON_2_JAN, 0.6)]);
    let first = of(&ran, "bin.telemetry")[2];
    assert_eq!((&first["temperature_degc"], &first["tenant"], &first["source"]), (&json!(10.0), &json!("t"), &json!("test")));
    assert_eq!(first["received_at"].as_i64().unwrap(), NOON_2_JAN + 2_000);
    assert_eq!(first["sent_at"].as_i64().unwrap(), NOON_2_JAN);
    for device in of(&ran, "ref.device") {
        assert_eq!(device["valid_from"].as_i64().unwrap(), NOON_2_JAN - 2 * DAY_MS, "a day before the first reading, not the first line");
    }
}

#[test]
fn streamed_rows_keep_the_order_of_the_file_and_references_follow_an_earlier_start() {
    let csv = "id,day,level,temp\n7,02.01.2024,6,\n7,01.01.2024,2,\n";
    let ran = ingest(MAP, "f.csv", csv.as_bytes(), &["--stream"]);
    let starts: Vec<i64> = of(&ran, "ref.device").iter().map(|v| v["valid_from"].as_i64().unwrap()).collect();
    assert_eq!(starts, [NOON_2_JAN - DAY_MS, NOON_2_JAN - 2 * DAY_MS]);
    let topics: Vec<&str> = ran.rows.iter().map(|(t, _)| t.as_str()).collect();
    assert_eq!(topics, ["ref.device", "bin.telemetry", "ref.device", "bin.telemetry"], "a reference is sent before the row that shows it");
}

#[test]
fn bad_rows_are_told_with_line_and_reason_and_the_others_are_sent() {
    let csv = b"id,day,level,temp\n7,31.02.2024,6,\n8,01.01.2024,full,\n,01.01.2024,1,\n9,01.01.2024\n9,01.01.2024,\xff,\n9,01.01.2024,4,\n";
    let ran = ingest(MAP, "f.csv", csv, &[]);
    let summary = ran.result.as_ref().unwrap();
    assert_eq!((summary.read_rows, summary.bad, of(&ran, "bin.telemetry").len()), (6, 5, 1));
    for expected in [
        "f.csv:2: observed_at: column `day`: `31.02.2024` is not a date of the form `%d.%m.%Y`",
        "f.csv:3: filling_level: column `level`: `full` is not a number",
        "f.csv:4: device_id: column `id` has no value",
        "f.csv:5: it has 2 fields, not 4",
        "f.csv:6: it is not UTF-8",
    ] {
        assert!(ran.notes.contains(expected), "{expected}\nin\n{}", ran.notes);
    }
    assert_eq!(of(&ran, "ref.device").len(), 1, "bad rows give no references");
}

#[test]
fn strict_sends_nothing_when_a_row_is_bad() {
    let csv = "id,day,level,temp\n7,01.01.2024,1,\n8,01.01.2024,full,\n";
    let ran = ingest(MAP, "f.csv", csv.as_bytes(), &["--strict"]);
    assert!(matches!(ran.result, Err(IngestError::Strict { bad: 1 })));
    assert!(ran.rows.is_empty());
    let streamed = ingest(MAP, "f.csv", csv.as_bytes(), &["--strict", "--stream"]);
    assert!(streamed.result.unwrap().failed(true));
}

#[test]
fn a_dry_run_prints_the_first_records_and_sends_nothing() {
    let csv = "id,day,level,temp\n7,01.01.2024,1,\n7,02.01.2024,2,\n7,03.01.2024,3,\n";
    let ran = ingest(MAP, "f.csv", csv.as_bytes(), &["--dry-run", "--show", "2"]);
    assert!(ran.rows.is_empty());
    let lines: Vec<&str> = ran.out.lines().collect();
    assert_eq!(lines.len(), 3, "one reference, two readings: {}", ran.out);
    assert!(lines[0].starts_with("ref.device bin-7 {") && lines[1].contains("\"filling_level\":0.1"), "{}", ran.out);
    let summary = ran.result.unwrap();
    assert!(summary.to_string().contains("would send 4 (1 references): bin.telemetry 3, ref.device 1"), "{summary}");
}

#[test]
fn too_many_rows_to_sort_are_refused_with_what_to_do() {
    let csv = "id,day,level,temp\n7,01.01.2024,1,\n7,02.01.2024,2,\n";
    let ran = ingest(MAP, "f.csv", csv.as_bytes(), &["--max-rows", "1"]);
    let error = ran.result.unwrap_err().to_string();
    assert!(error.contains("more than 1 rows") && error.contains("--stream"), "{error}");
    assert!(ran.rows.is_empty());
}

#[test]
fn a_column_that_is_absent_is_told_before_anything_is_read() {
    let ran = ingest(MAP, "f.csv", b"id,day,levels\n7,01.01.2024,1\n", &[]);
    let error = ran.result.unwrap_err().to_string();
    assert!(error.contains("f.csv: it has no column `level`; hint: did you mean `levels`?"), "{error}");
}

#[test]
fn json_lines_are_read_by_name_and_along_dots() {
    let map = MAP
        .replace("column: level, scale: /10", "column: payload.level, unit: \"%\"")
        .replace("{ column: day, date: \"%d.%m.%Y\", at: \"12:00\" }", "{ column: ts, date: unix_s }")
        .replace("[id, day]", "[id, ts]");
    let lines = "{\"id\":7,\"ts\":1704193200,\"payload\":{\"level\":60}}\n\n[1]\n{\"id\":7,\"ts\":1704279600,\"payload\":{}}\n{\"id\":7\n";
    let ran = ingest(&map, "f.jsonl", lines.as_bytes(), &[]);
    let readings = of(&ran, "bin.telemetry");
    assert_eq!(readings.len(), 1);
    assert_eq!((&readings[0]["device_id"], &readings[0]["filling_level"], &readings[0]["observed_at"]), (&json!("bin-7"), &json!(0.6), &json!(NOON_2_JAN)));
    for expected in [
        "f.jsonl:3: it is no JSON object",
        "one object a line",
        "f.jsonl:4: filling_level: column `payload.level` has no value",
        "f.jsonl:5: it is no JSON object",
    ] {
        assert!(ran.notes.contains(expected), "{expected}\nin\n{}", ran.notes);
    }
}

#[test]
fn parquet_gives_the_same_records_as_csv() {
    let columns: [(&str, ArrayRef); 4] = [
        ("id", Arc::new(Int32Array::from(vec![7, 8]))),
        ("day", Arc::new(StringArray::from(vec!["02.01.2024", "01.01.2024"]))),
        ("level", Arc::new(Float64Array::from(vec![Some(6.0), None]))),
        ("moment", Arc::new(TimestampMicrosecondArray::from(vec![(NOON_2_JAN + 3_600_000) * 1000; 2]))),
    ];
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let mut file = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut file, batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    let ran = ingest(MAP, "f.parquet", &file, &[]);
    assert_eq!(ran.result.as_ref().unwrap().bad, 1);
    assert!(ran.notes.contains("f.parquet:2: filling_level: column `level` has no value"), "{}", ran.notes);
    let csv = ingest(MAP, "f.csv", b"id,day,level,temp\n7,02.01.2024,6,\n", &[]);
    assert_eq!(ran.rows, csv.rows);
    let by_moment = MAP.replace("{ column: day, date: \"%d.%m.%Y\", at: \"12:00\" }", "\"{moment}\"");
    let ran = ingest(&by_moment, "f.parquet", &file, &[]);
    assert_eq!(of(&ran, "bin.telemetry")[0]["observed_at"], json!(NOON_2_JAN), "a moment without a zone is read in the mapping's zone");
    assert!(ingest(MAP, "f.parquet", b"no parquet", &[]).result.unwrap_err().to_string().contains("is it a Parquet file"));
}

#[test]
fn files_without_a_header_are_read_by_position_or_given_names() {
    let by_position = MAP
        .replace("{id}", "{1}")
        .replace("[id, day]", "[1, 2]")
        .replace("column: day", "column: 2")
        .replace("column: level", "column: 3")
        .replace("column: temp", "column: 4")
        + "csv: { header: false, delimiter: \";\" }\n";
    let ran = ingest(&by_position, "f.csv", b"7;01.01.2024;6;50\n", &[]);
    assert_eq!(of(&ran, "bin.telemetry")[0]["temperature_degc"], json!(10.0), "{}", ran.notes);
    let named = format!("{MAP}csv: {{ header: false, columns: [id, day, level, temp] }}\n");
    assert_eq!(of(&ingest(&named, "f.csv", b"7,01.01.2024,6,50\n", &[]), "bin.telemetry").len(), 1);
    assert!(
        problems(&format!("{MAP}csv: {{ header: false, columns: [id, day, fill, temp] }}\n")).contains("column `level` is used but is not in `csv.columns`")
    );
}

#[test]
fn filters_choose_rows_and_doubted_ones_are_counted() {
    let map = format!("{MAP}only: {{ id: {{ not: [9] }} }}\nskip: {{ level: {{ above: 10 }} }}\nsuspect: {{ level: [0, 10] }}\n");
    let ran = ingest(&map, "f.csv", b"id,day,level,temp\n7,01.01.2024,10.0,\n7,02.01.2024,6,\n9,01.01.2024,6,\n7,03.01.2024,73,\n", &[]);
    let summary = ran.result.as_ref().unwrap();
    assert_eq!((summary.skipped_rows, summary.suspect_rows, of(&ran, "bin.telemetry").len()), (2, 1, 2));
}

#[test]
fn a_mapping_is_refused_with_all_its_problems_at_their_lines() {
    let text = problems(
        r#"map: m
topic: bin.telemetry
tenants: t
fields:
  device_id: "bin-{id"
  event_id: { hash: id }
  observed_at: { column: day, date: "%d.%m.%Y" }
  filing_level: "{level}"
  raw_value: { column: level, unit: cm }
  raw_unit: { column: unit, scale: 2 }
  sequence: many
  battery_v: { scale: 2 }
  schema_version: 1.5
"#,
    );
    for expected in [
        "m.yaml:3:1: unknown field `tenants` in the mapping",
        "did you mean `tenant`?",
        "m.yaml:5:14: `bin-{id` has a single `{`",
        "m.yaml:6:21: `hash` wants a list of columns",
        "m.yaml:7:37: dates of the form `%d.%m.%Y` have no time zone",
        "m.yaml:8:3: bin.telemetry has no field `filing_level`",
        "did you mean `filling_level`?",
        "m.yaml:9:37: `raw_value` has no unit in its name",
        "m.yaml:10:29: `scale` is for numbers, and `raw_unit` is text",
        "m.yaml:11:13: `many` is not a number",
        "m.yaml:12:14: `battery_v` needs one of `column`, `value`, `hash`, `after`",
        "m.yaml:13:19: `1.5` is not a whole number",
        "m.yaml:5:3: bin.telemetry needs `filling_level`",
        "m.yaml:5:3: bin.telemetry needs `tenant`",
        "add `tenant: NAME` at the top of the mapping",
    ] {
        assert!(text.contains(expected), "{expected}\nin\n{text}");
    }
}

#[test]
fn references_are_checked_like_rows() {
    let text = problems(&MAP.replace("model: m, ", "").replace("topic: ref.device\n", "topic: ref.devices\n"));
    assert!(text.contains("no schema for topic `ref.devices`") && text.contains("did you mean `ref.device`"), "{text}");
    let text = problems(&MAP.replace("model: m, ", "").replace("    once_per: \"{id}\"\n", ""));
    assert!(text.contains("ref.device needs `model`") && text.contains("a reference lacks `once_per`"), "{text}");
    assert!(problems(&MAP.replace("ref.device\n    once_per", "ref.container\n    once_per")).contains("has no field `device_id`"));
}

#[test]
fn the_same_file_gives_the_same_event_ids() {
    let csv = b"id,day,level,temp\n7,02.01.2024,6,\n7,03.01.2024,6,\n";
    let ids = |ran: &Ran| ran.rows.iter().map(|(_, v)| v["event_id"].as_str().unwrap().to_owned()).collect::<BTreeSet<_>>();
    let (once, again) = (ingest(MAP, "f.csv", csv, &[]), ingest(MAP, "g.csv", csv, &["--stream"]));
    assert_eq!(ids(&once), ids(&again));
    assert_eq!(ids(&once).len(), 3);
}

#[test]
fn pacing_spreads_batches_over_wall_time() {
    let csv = b"id,day,level,temp\n7,01.01.2024,1,\n7,02.01.2024,2,\n";
    let began = Instant::now();
    let ran = ingest(MAP, "f.csv", csv, &["--speed", "864000"]);
    assert_eq!(ran.result.unwrap().sent["bin.telemetry"], 2);
    assert!(began.elapsed() >= Duration::from_millis(95), "a day at 864000 takes 100 ms");
}

#[test]
fn a_log_gets_rows_in_the_partition_of_their_key() {
    let folder = tempfile::tempdir().unwrap();
    let log = EmbeddedLog::open(EmbeddedConfig::new(folder.path())).unwrap();
    let registry = Registry::embedded().unwrap();
    let map = read_map("m.yaml", MAP, &registry, &|_| None).unwrap();
    let mut target = LogTarget::new(&log, &topics(&map), 3).unwrap();
    let row = Row { topic: "bin.telemetry".into(), key: "bin-7".into(), value: Box::from(*b"v"), time_ms: 5, line: 1, suspect: false };
    target.send(&[row.clone(), Row { topic: "ref.device".into(), ..row }]).unwrap();
    let at = TopicPartition::new("bin.telemetry", partition_of(b"bin-7", 3));
    let mut admin = log.admin().unwrap();
    assert_eq!(admin.topic("ref.device").unwrap().unwrap().partitions, 3);
    assert_eq!(admin.end(&at, End::Stable).unwrap(), 1);
}

#[test]
fn appends_keep_the_order_within_a_topic() {
    let row = |topic: &str, key: &str| Row { topic: topic.into(), key: key.into(), value: Box::from(*b"v"), time_ms: 5, line: 1, suspect: false };
    let sets = appends(&[row("b", "1"), row("a", "2"), row("b", "3")], 9, |_| 0);
    assert_eq!(sets.iter().map(|s| &*s.topic).collect::<Vec<_>>(), ["b", "a"]);
    assert_eq!((sets[0].row(1).0, sets[0].rows[1].timestamp_ms), (Some(&b"3"[..]), 9));
}

#[test]
fn the_mappings_of_this_project_are_valid() {
    let registry = Registry::embedded().unwrap();
    for name in ["wyndham", "jersey-city"] {
        let path = PathBuf::from(format!("../../topologies/maps/{name}.yaml"));
        let map = load_map(&path, &registry).unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(map.name, name);
    }
    let mut notes = Vec::new();
    let mut report = Report::new("w.csv", 5, &mut notes);
    let map = load_map(Path::new("../../topologies/maps/wyndham.yaml"), &registry).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("w.csv");
    std::fs::write(&file, "Bin ID,Fullness,fullnessThreshold,timestamp,reason\n1510830,10,6,13-08-2018,ALERT\n").unwrap();
    let rows = read::open(file.to_str().unwrap(), None, &map).unwrap();
    let (references, rows) = sorted(&map, &registry, rows, 10, &mut report, |_| Ok(false)).unwrap();
    assert_eq!((references.len(), rows.len(), rows[0].suspect), (3, 1, true));
    assert_eq!(rows[0].time_ms, 1_534_125_600_000, "noon in Melbourne");
}

/// Answers one request after the other with what it is given, and hands over the bodies.
fn server(answers: Vec<(&'static str, String)>) -> (String, std::thread::JoinHandle<Vec<String>>) {
    use std::io::{BufRead, BufReader, Read};
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let thread = std::thread::spawn(move || {
        let mut bodies = Vec::new();
        for (status, answer) in answers {
            let (mut stream, _) = listener.accept().unwrap();
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            let (mut length, mut line) = (0, String::new());
            while reader.read_line(&mut line).unwrap() > 2 {
                if let Some(n) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                    length = n.trim().parse().unwrap();
                }
                line.clear();
            }
            let mut body = vec![0; length];
            reader.read_exact(&mut body).unwrap();
            bodies.push(String::from_utf8(body).unwrap());
            write!(stream, "HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{answer}", answer.len()).unwrap();
        }
        bodies
    });
    (url, thread)
}

fn encoded(n: usize) -> Vec<Row> {
    let registry = Registry::embedded().unwrap();
    let map = read_map("m.yaml", MAP, &registry, &|_| None).unwrap();
    let csv: String = (0..n).map(|i| format!("{i},01.01.2024,1,\n")).collect();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("f.csv");
    std::fs::write(&file, format!("id,day,level,temp\n{csv}")).unwrap();
    let mut notes = Vec::new();
    let mut report = Report::new("f.csv", 5, &mut notes);
    sorted(&map, &registry, read::open(file.to_str().unwrap(), None, &map).unwrap(), n, &mut report, |_| Ok(false)).unwrap().1
}

#[test]
fn the_owner_gets_json_lines_and_refused_ones_are_named_by_row() {
    let rows = encoded(3);
    let (url, server) = server(vec![("503 Service Unavailable", "busy".into()), ("200 OK", r#"{"appended":2,"bad":[{"line":2,"error":"no"}]}"#.into())]);
    let mut target = HttpTarget::new(&url, Arc::new(Registry::embedded().unwrap()));
    assert_eq!(target.send(&rows).unwrap().refused, [(1, "no".to_owned())]);
    let bodies = server.join().unwrap();
    assert_eq!(bodies[0], bodies[1], "what was not taken is sent again");
    let lines: Vec<Value> = bodies[1].lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    assert_eq!(lines.len(), 3);
    assert_eq!((&lines[0]["topic"], &lines[0]["key"], &lines[0]["value"]["filling_level"]), (&json!("bin.telemetry"), &json!("bin-0"), &json!(0.1)));
}

#[test]
fn large_batches_are_posted_in_several_bodies() {
    let rows = encoded(3_000);
    let answer = |n: usize| ("200 OK", format!("{{\"appended\":{n}}}"));
    let registry = Registry::embedded().unwrap();
    let line = json!({ "topic": "bin.telemetry", "key": "bin-1000", "value": registry.decode_to_json(&rows[1_000].value).unwrap() }).to_string().len();
    let (url, server) = server(vec![answer(0); 1]);
    let mut target = HttpTarget::new(&url, Arc::new(registry));
    let error = target.send(&rows).unwrap_err().to_string();
    assert!(error.contains("it took 0 and refused 0 of"), "rows that are not accounted for are an error: {error}");
    let bodies = server.join().unwrap();
    assert!(bodies[0].len() < (512 << 10) && bodies[0].len() + 2 * line > (512 << 10), "{} bytes", bodies[0].len());
}
