//! Where things stand: districts, sites with their containers, depots and disposal sites. Fixed for the life of a city.
//!
//! Positions are metres east and north of the centre; the conversion to degrees happens once, here.

use crate::config::CityConfig;
use crate::fill::FillSpec;
use crate::rng::Rng;
use ws_routing::roads::{self, Place, Plane};

/// Character of a zone: decides what is thrown away when.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum District {
    /// Homes: evenings and weekends.
    Residential,
    /// Shops and offices: working days.
    Commercial,
    /// Parks and shores: fine weekends.
    Park,
    /// Bars: Friday and Saturday nights.
    Nightlife,
}

/// Kind of waste a container takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stream {
    /// Residual waste.
    General,
    /// Paper and cardboard.
    Paper,
    /// Glass.
    Glass,
    /// Food and garden waste.
    Organic,
}

impl Stream {
    pub(crate) const ALL: [Stream; 4] = [Stream::General, Stream::Paper, Stream::Glass, Stream::Organic];

    /// Code as in `ref.waste-stream`.
    pub fn code(self) -> &'static str {
        match self {
            Stream::General => "residual",
            Stream::Paper => "paper",
            Stream::Glass => "glass",
            Stream::Organic => "organic",
        }
    }

    /// Usual density in the container, kg/l.
    pub(crate) fn density_kg_per_l(self) -> f64 {
        match self {
            Stream::General => 0.12,
            Stream::Paper => 0.06,
            Stream::Glass => 0.30,
            Stream::Organic => 0.28,
        }
    }
}

/// A point in metres east and north of the centre.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Point {
    pub x_m: f64,
    pub y_m: f64,
}

impl Point {
    /// Distance along a street grid, m: what plans reckon with before anybody drives.
    pub(crate) fn street_m(self, other: Point) -> f64 {
        (self.x_m - other.x_m).abs() + (self.y_m - other.y_m).abs()
    }

    pub(crate) fn air_m(self, other: Point) -> f64 {
        (self.x_m - other.x_m).hypot(self.y_m - other.y_m)
    }
}

#[derive(Debug, Clone)]
pub(crate) struct Zone {
    pub id: String,
    pub name: String,
    pub district: District,
    pub centre: Point,
    pub radius_m: f64,
}

#[derive(Debug, Clone)]
pub(crate) struct Site {
    pub id: String,
    pub name: String,
    pub zone: usize,
    pub at: Point,
    pub containers: Vec<usize>,
}

#[derive(Debug, Clone)]
pub(crate) struct Container {
    pub id: String,
    pub site: usize,
    pub stream: Stream,
    pub capacity_l: f64,
    pub height_m: f64,
    pub kind: &'static str,
    pub rfid: String,
    pub fill: FillSpec,
}

#[derive(Debug, Clone)]
pub(crate) struct Facility {
    pub id: String,
    pub name: String,
    pub at: Point,
}

/// The city at rest.
#[derive(Debug, Clone)]
pub(crate) struct Layout {
    pub zones: Vec<Zone>,
    pub sites: Vec<Site>,
    pub containers: Vec<Container>,
    pub depots: Vec<Facility>,
    pub disposals: Vec<Facility>,
    plane: Plane,
}

const BINS_PER_ZONE: usize = 160;

/// (kind, capacity in l, inner height in m, weight among containers)
const KINDS: [(&str, f64, f64, f64); 5] = [
    ("240l_wheeled", 240.0, 0.98, 1.0),
    ("660l_four_wheeled", 660.0, 1.10, 3.0),
    ("1100l_four_wheeled", 1_100.0, 1.25, 3.0),
    ("igloo", 2_500.0, 1.60, 1.0),
    ("underground", 3_000.0, 2.40, 1.0),
];

const PLACES: [&str; 16] = [
    "Harbour",
    "Mill",
    "Station",
    "Garden",
    "Orchard",
    "Market",
    "Chapel",
    "River",
    "Bridge",
    "Quarry",
    "Cedar",
    "Elm",
    "Foundry",
    "Observatory",
    "Lagoon",
    "Tramway",
];
const STREETS: [&str; 8] = ["Street", "Lane", "Road", "Square", "Parade", "Terrace", "Avenue", "Close"];

impl Layout {
    pub(crate) fn new(config: &CityConfig) -> Layout {
        let mut rng = Rng::derive(config.seed, "layout", 0);
        let zones = make_zones(config, &mut rng);
        let (sites, containers) = make_sites(config, &zones, &mut rng);
        let ring = |name: &str, prefix: &str, count: usize, distance: f64, rng: &mut Rng| -> Vec<Facility> {
            let turn = rng.unit();
            (0..count)
                .map(|index| {
                    let angle = std::f64::consts::TAU * (turn + index as f64 / count as f64);
                    let radius_m = config.radius_m * distance * rng.between(0.9, 1.1);
                    Facility {
                        id: format!("{prefix}-{}", index + 1),
                        name: format!("{name} {}", PLACES[(index * 5 + 3) % PLACES.len()]),
                        at: Point { x_m: radius_m * angle.cos(), y_m: radius_m * angle.sin() },
                    }
                })
                .collect()
        };
        let depots = ring("Depot", "depot", config.depots, 0.55, &mut rng);
        let disposals = ring("Transfer station", "disposal", config.disposal_sites, 0.95, &mut rng);
        Layout { zones, sites, containers, depots, disposals, plane: Plane::around(Place::new(config.latitude_deg, config.longitude_deg)) }
    }

    /// WGS 84 (latitude, longitude) of a point, degrees, to about 10 cm.
    pub(crate) fn degrees(&self, at: Point) -> (f64, f64) {
        let place = self.place(at);
        ((place.latitude_deg * 1e6).round() / 1e6, (place.longitude_deg * 1e6).round() / 1e6)
    }

    /// The place of a point.
    pub(crate) fn place(&self, at: Point) -> Place {
        self.plane.place(roads::Point { x_m: at.x_m, y_m: at.y_m })
    }

    /// The point of a place.
    pub(crate) fn point(&self, place: Place) -> Point {
        let point = self.plane.point(place);
        Point { x_m: point.x_m, y_m: point.y_m }
    }

    /// The stream that most of a site's volume takes: what its schedule speaks of.
    pub(crate) fn main_stream(&self, site: usize) -> Stream {
        let volume = |stream: Stream| -> f64 {
            self.sites[site].containers.iter().filter(|c| self.containers[**c].stream == stream).map(|c| self.containers[*c].capacity_l).sum()
        };
        let mut best = Stream::General;
        for stream in Stream::ALL {
            if volume(stream) > volume(best) {
                best = stream;
            }
        }
        best
    }
}

/// Zones on a sunflower spiral: nightlife and offices in the middle, homes and parks outside.
fn make_zones(config: &CityConfig, rng: &mut Rng) -> Vec<Zone> {
    let count = (config.bins / BINS_PER_ZONE).clamp(4, 40);
    (0..count)
        .map(|index| {
            let share = (index as f64 + 0.5) / count as f64;
            let angle = index as f64 * 2.399_963;
            let radius_m = config.radius_m * 0.82 * share.sqrt();
            let district = if share < 0.13 {
                District::Nightlife
            } else if share < 0.42 {
                District::Commercial
            } else if index % 5 == 3 {
                District::Park
            } else {
                District::Residential
            };
            let centre = Point { x_m: radius_m * angle.cos() + rng.between(-300.0, 300.0), y_m: radius_m * angle.sin() + rng.between(-300.0, 300.0) };
            Zone {
                id: format!("zone-{:02}", index + 1),
                name: format!("{} {}", PLACES[index % PLACES.len()], ["Hill", "Side", "Field"][index / PLACES.len() % 3]),
                district,
                centre,
                radius_m: config.radius_m / (count as f64).sqrt() * rng.between(0.45, 0.6),
            }
        })
        .collect()
}

fn make_sites(config: &CityConfig, zones: &[Zone], rng: &mut Rng) -> (Vec<Site>, Vec<Container>) {
    // Dense in the middle: zones near the centre get more sites.
    let weights: Vec<f64> = zones.iter().map(|zone| 1.0 + 1.5 * (1.0 - zone.centre.air_m(Point { x_m: 0.0, y_m: 0.0 }) / config.radius_m)).collect();
    let (mut sites, mut containers) = (Vec::new(), Vec::new());
    while containers.len() < config.bins {
        let zone_index = rng.weighted(&weights);
        let zone = &zones[zone_index];
        let site = sites.len();
        let at = loop {
            let at = Point { x_m: zone.centre.x_m + zone.radius_m * rng.normal(), y_m: zone.centre.y_m + zone.radius_m * rng.normal() };
            if at.x_m.hypot(at.y_m) <= config.radius_m {
                // Roughly along lines; the nearest street takes it in when there are streets.
                break if rng.chance(0.5) { Point { x_m: (at.x_m / 60.0).round() * 60.0, ..at } } else { Point { y_m: (at.y_m / 60.0).round() * 60.0, ..at } };
            }
        };
        let wanted = 1 + rng.weighted(&[4.0, 3.0, 2.0, 1.0]);
        let here = wanted.min(config.bins - containers.len());
        let site_pace = rng.lognormal(1.0, 0.6);
        let own: Vec<usize> = (0..here)
            .map(|position| {
                let index = containers.len();
                containers.push(make_container(config, index, site, position, zone_index, zone.district, site_pace, rng));
                index
            })
            .collect();
        let name = format!("{} {} {}", rng.int(1, 240), PLACES[rng.index(PLACES.len())], STREETS[rng.index(STREETS.len())]);
        sites.push(Site { id: format!("site-{:05}", site + 1), name, zone: zone_index, at, containers: own });
    }
    (sites, containers)
}

#[allow(clippy::too_many_arguments)]
fn make_container(
    config: &CityConfig,
    index: usize,
    site: usize,
    position: usize,
    zone: usize,
    district: District,
    site_pace: f64,
    rng: &mut Rng,
) -> Container {
    // The first container of a site takes general waste; parks and bars have little else than theirs.
    let stream = match (position, district) {
        (0, District::Nightlife) if rng.chance(0.3) => Stream::Glass,
        (0, _) => Stream::General,
        (_, District::Nightlife) => [Stream::Glass, Stream::General, Stream::Paper, Stream::Organic][rng.weighted(&[5.0, 3.0, 2.0, 1.0])],
        (_, District::Park) => [Stream::General, Stream::Paper, Stream::Glass][rng.weighted(&[3.0, 2.0, 1.0])],
        (1, _) => Stream::Paper,
        (_, _) => [Stream::Glass, Stream::Organic, Stream::General, Stream::Paper][rng.weighted(&[3.0, 3.0, 2.0, 1.0])],
    };
    let weights = KINDS.map(|kind| kind.3);
    let (kind, capacity_l, height_m, _) = if district == District::Park { KINDS[rng.index(3)] } else { KINDS[rng.weighted(&weights)] };
    let days = (config.median_fill_days * site_pace * rng.lognormal(1.0, 0.3)).clamp(0.5, 14.0);
    Container {
        id: format!("bin-{:05}", index + 1),
        site,
        stream,
        capacity_l,
        height_m,
        kind,
        rfid: format!("E200{:08X}", rng.word() as u32),
        fill: FillSpec { rate_per_h: 1.0 / (24.0 * days), zone, district, stream, salt: rng.word() },
    }
}
