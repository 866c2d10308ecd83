//! Networks as GeoJSON lines: read from what OpenStreetMap's tools write, written so that the same network comes back.
//!
//! A text is either one FeatureCollection or one Feature a line (RFC 8142, with or without the record separator), which is
//! what `osmium export -f geojsonseq` and `ogr2ogr -f GeoJSONSeq` produce. `docs/roads.md` tells the properties.

use super::build::{BuildError, GraphBuilder};
use super::geo::Place;
use super::graph::{Direction, RoadGraph};
use super::tags::{Passed, Tags};
use super::ways::{Line, cut};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::io::{BufRead, Write};

/// Bytes of one line at most; a whole collection on one line may be long.
const LINE_MAX_BYTES: usize = 1 << 30;

/// Why a network cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The text ends in the middle or the file cannot be read.
    #[error("cannot read the road network: {0}")]
    Io(#[from] std::io::Error),
    /// A line is no GeoJSON.
    #[error("line {line}: {what}; expected GeoJSON: one Feature a line, or one FeatureCollection")]
    Json {
        /// Number of the line, from 1.
        line: usize,
        /// What the parser says.
        what: String,
    },
    /// The roads make no network.
    #[error(transparent)]
    Build(#[from] BuildError),
}

/// How a network is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reading {
    /// Cut lines where they share points. `false` takes each line as a segment that ends at its ends.
    pub cut: bool,
}

impl Default for Reading {
    fn default() -> Reading {
        Reading { cut: true }
    }
}

/// A network with what was passed over on the way.
#[derive(Debug)]
pub struct Import {
    /// The network.
    pub graph: RoadGraph,
    /// Lines that are roads.
    pub lines: usize,
    /// Features that are no lines or no roads for vehicles.
    pub not_roads: usize,
    /// Roads closed to trucks or the public.
    pub no_trucks: usize,
}

#[derive(Deserialize)]
struct Feature {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    id: Option<Value>,
    #[serde(default)]
    geometry: Option<Geometry>,
    #[serde(default)]
    properties: Option<Map<String, Value>>,
    #[serde(default)]
    features: Vec<Feature>,
}

#[derive(Deserialize)]
struct Geometry {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    coordinates: Value,
}

#[derive(Default)]
struct Collected {
    lines: Vec<Line>,
    not_roads: usize,
    no_trucks: usize,
}

/// Reads a network.
pub fn read(mut text: impl BufRead, reading: Reading) -> Result<Import, ReadError> {
    let mut collected = Collected::default();
    let (mut number, mut line) = (0, Vec::new());
    // A collection may be spread over lines: what does not end yet is tried again with the next ones.
    let mut pending = String::new();
    let mut pending_from = 1;
    loop {
        line.clear();
        if read_line(&mut text, &mut line)? == 0 {
            break;
        }
        number += 1;
        let part = std::str::from_utf8(&line).map_err(|e| ReadError::Json { line: number, what: e.to_string() })?;
        let part = part.trim_matches(['\u{1e}', '\n', '\r', ' ', '\u{feff}']);
        if part.is_empty() {
            continue;
        }
        if pending.is_empty() {
            pending_from = number;
            match serde_json::from_str::<Feature>(part) {
                Ok(feature) => collected.take(feature, number),
                Err(e) if e.is_eof() => pending.push_str(part),
                Err(e) => return Err(ReadError::Json { line: number, what: e.to_string() }),
            }
        } else {
            pending.push('\n');
            pending.push_str(part);
        }
        if pending.len() > LINE_MAX_BYTES {
            return Err(ReadError::Json { line: pending_from, what: "the document is too long".to_owned() });
        }
    }
    if !pending.is_empty() {
        let feature = serde_json::from_str::<Feature>(&pending).map_err(|e| ReadError::Json { line: pending_from + e.line() - 1, what: e.to_string() })?;
        collected.take(feature, pending_from);
    }
    let lines = collected.lines.len();
    let mut builder = GraphBuilder::default();
    if reading.cut {
        for segment in cut(collected.lines) {
            builder.add(segment)?;
        }
    } else {
        for line in collected.lines {
            let (road, id) = (line.road, line.id);
            let segment = super::build::NewSegment {
                id,
                class: road.class,
                ways: road.ways,
                free_flow_mps: road.free_flow_mps,
                length_m: road.length_m,
                points: line.points,
            };
            builder.add(segment)?;
        }
    }
    Ok(Import { graph: builder.build()?, lines, not_roads: collected.not_roads, no_trucks: collected.no_trucks })
}

fn read_line(text: &mut impl BufRead, line: &mut Vec<u8>) -> std::io::Result<usize> {
    let read = std::io::Read::take(text, LINE_MAX_BYTES as u64).read_until(b'\n', line)?;
    if read == LINE_MAX_BYTES {
        return Err(std::io::Error::new(std::io::ErrorKind::InvalidData, format!("a line of more than {LINE_MAX_BYTES} bytes")));
    }
    Ok(read)
}

impl Collected {
    fn take(&mut self, feature: Feature, number: usize) {
        if feature.kind == "FeatureCollection" {
            for (index, member) in feature.features.into_iter().enumerate() {
                self.take(member, index + 1);
            }
            return;
        }
        let properties = feature.properties.unwrap_or_default();
        let lines = feature.geometry.map(lines_of).unwrap_or_default();
        let tags = Tags::new(&properties);
        match tags.road() {
            _ if lines.is_empty() => self.not_roads += 1,
            Err(Passed::NotARoad) => self.not_roads += 1,
            Err(Passed::NoTrucks) => self.no_trucks += 1,
            Ok(road) => {
                let own = feature.id.as_ref().and_then(|id| id.as_str().map(str::to_owned).or_else(|| id.as_i64().map(|id| id.to_string())));
                let id = tags.text("segment_id").or(own).or_else(|| ["@id", "osm_id", "id"].iter().find_map(|name| tags.text(name)));
                let id = id.unwrap_or_else(|| format!("line-{number}"));
                let several = lines.len() > 1;
                for (part, points) in lines.into_iter().enumerate() {
                    let id = if several { format!("{id}.{}", part + 1) } else { id.clone() };
                    self.lines.push(Line { id, road: road.clone(), points });
                }
            }
        }
    }
}

/// The lines of a geometry; places that are no places stay for the builder to refuse by the segment's id.
fn lines_of(geometry: Geometry) -> Vec<Vec<Place>> {
    let line = |value: &Value| -> Vec<Place> {
        let pairs = value.as_array().map(Vec::as_slice).unwrap_or_default();
        pairs.iter().filter_map(|pair| Some(Place::new(pair.get(1)?.as_f64()?, pair.get(0)?.as_f64()?))).collect()
    };
    let mut lines = match geometry.kind.as_str() {
        "LineString" => vec![line(&geometry.coordinates)],
        "MultiLineString" => geometry.coordinates.as_array().map(|parts| parts.iter().map(line).collect()).unwrap_or_default(),
        _ => Vec::new(),
    };
    lines.retain(|points: &Vec<Place>| points.len() >= 2);
    lines
}

/// Writes a network, one Feature a line, in the order of its segments; [`read`] gives the same network back.
pub fn write(graph: &RoadGraph, mut to: impl Write) -> std::io::Result<()> {
    for segment in graph.all() {
        let open = |direction| graph.is_open(segment.edge(direction));
        let coordinates: Vec<[f64; 2]> = graph
            .shape(segment)
            .map(|point| {
                let place = graph.place(point);
                [round_to(place.longitude_deg, 1e7), round_to(place.latitude_deg, 1e7)]
            })
            .collect();
        let feature = json!({
            "type": "Feature",
            "geometry": { "type": "LineString", "coordinates": coordinates },
            "properties": {
                "segment_id": graph.id(segment),
                "class": graph.class(segment).name(),
                "oneway": match (open(Direction::Forward), open(Direction::Backward)) {
                    (true, false) => "yes",
                    (false, true) => "-1",
                    _ => "no",
                },
                "free_flow_mps": round_to(graph.free_flow_mps(segment), 1e3),
                "length_m": round_to(graph.length_m(segment), 1e2),
            },
        });
        serde_json::to_writer(&mut to, &feature)?;
        to.write_all(b"\n")?;
    }
    Ok(())
}

fn round_to(value: f64, parts: f64) -> f64 {
    (value * parts).round() / parts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::roads::testing::random_city;

    #[test]
    fn a_network_comes_back_as_it_was_written() {
        let graph = random_city(5, 80);
        let mut text = Vec::new();
        write(&graph, &mut text).unwrap();
        let again = read(text.as_slice(), Reading::default()).unwrap().graph;
        assert_eq!((again.nodes(), again.segments()), (graph.nodes(), graph.segments()));
        for segment in graph.all() {
            let same = again.segment(graph.id(segment)).unwrap();
            assert!((again.length_m(same) - graph.length_m(segment)).abs() < 0.01);
            assert!((again.free_flow_mps(same) - graph.free_flow_mps(segment)).abs() < 0.001);
            assert_eq!(again.class(same), graph.class(segment));
            for direction in [Direction::Forward, Direction::Backward] {
                assert_eq!(again.is_open(same.edge(direction)), graph.is_open(segment.edge(direction)));
            }
        }
        // From then on to the last bit.
        let mut second = Vec::new();
        write(&again, &mut second).unwrap();
        let third = read(second.as_slice(), Reading { cut: false }).unwrap().graph;
        let mut last = Vec::new();
        write(&third, &mut last).unwrap();
        assert_eq!(String::from_utf8(second).unwrap(), String::from_utf8(last).unwrap());
    }

    #[test]
    fn collections_sequences_and_pretty_printed_texts_are_read() {
        let feature = |id: &str, highway: &str, from: f64| {
            format!(
                r#"{{"type":"Feature","id":"{id}","geometry":{{"type":"LineString","coordinates":[[{from},0.0],[{},0.0]]}},"properties":{{"highway":"{highway}"}}}}"#,
                from + 0.001
            )
        };
        let features = [feature("w1", "primary", 0.0), feature("w2", "footway", 0.001), feature("w3", "service", 0.001)];
        let point = r#"{"type":"Feature","geometry":{"type":"Point","coordinates":[0,0]},"properties":{"highway":"crossing"}}"#;
        let sequence = format!("\u{1e}{}\n\u{1e}{}\n{}\n\n{point}\n", features[0], features[1], features[2]);
        let collection = format!(r#"{{"type":"FeatureCollection","features":[{},{point}]}}"#, features.join(","));
        let pretty = serde_json::to_string_pretty(&serde_json::from_str::<Value>(&collection).unwrap()).unwrap();
        for text in [sequence, collection, pretty] {
            let import = read(text.as_bytes(), Reading::default()).unwrap();
            assert_eq!((import.lines, import.not_roads, import.no_trucks), (2, 2, 0));
            assert_eq!((import.graph.segments(), import.graph.nodes()), (2, 3));
            assert!(import.graph.segment("w1").is_some() && import.graph.segment("w3").is_some());
        }
    }

    #[test]
    fn what_is_wrong_is_said_with_its_line() {
        let message = |text: &str| read(text.as_bytes(), Reading::default()).unwrap_err().to_string();
        assert!(message("{\"type\":\"Feature\"}\nnonsense\n").starts_with("line 2: "));
        assert!(message("{\"type\": \"FeatureCollection\",\n\"features\": [\n").contains("EOF"));
        assert!(message("").contains("no segment"));
        assert!(
            message(r#"{"type":"Feature","geometry":{"type":"LineString","coordinates":[[0,0],[0,95]]},"properties":{"highway":"primary"}}"#)
                .contains("is no place")
        );
    }
}
