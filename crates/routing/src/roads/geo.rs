//! Places on the globe and points in metres: one flat projection a network, good to a few parts in ten thousand over a
//! city (equirectangular around its middle), so that everything after loading is plane geometry.

/// A place by WGS 84 degrees.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Place {
    /// Latitude, −90 to 90.
    pub latitude_deg: f64,
    /// Longitude, −180 to 180.
    pub longitude_deg: f64,
}

impl Place {
    /// A place by latitude and longitude.
    pub fn new(latitude_deg: f64, longitude_deg: f64) -> Place {
        Place { latitude_deg, longitude_deg }
    }

    /// Whether both degrees are numbers within their range.
    pub fn is_valid(self) -> bool {
        self.latitude_deg.abs() <= 90.0 && self.longitude_deg.abs() <= 180.0
    }

    /// Great-circle distance, m (haversine).
    pub fn distance_m(self, other: Place) -> f64 {
        let (a, b) = (self.latitude_deg.to_radians(), other.latitude_deg.to_radians());
        let half = |from: f64, to: f64| ((to - from) / 2.0).sin().powi(2);
        let h = half(a, b) + a.cos() * b.cos() * half(self.longitude_deg.to_radians(), other.longitude_deg.to_radians());
        2.0 * EARTH_RADIUS_M * h.min(1.0).sqrt().asin()
    }
}

/// Mean radius of the earth, m.
const EARTH_RADIUS_M: f64 = 6_371_008.8;

/// A point in metres east and north of a plane's origin.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Point {
    /// Metres to the east.
    pub x_m: f64,
    /// Metres to the north.
    pub y_m: f64,
}

impl Point {
    /// Distance, m.
    pub fn distance_m(self, other: Point) -> f64 {
        (self.x_m - other.x_m).hypot(self.y_m - other.y_m)
    }

    /// Course from here to there, degrees clockwise from north, 0 to 360; 0 for the same point.
    pub fn bearing_deg(self, other: Point) -> f64 {
        (other.x_m - self.x_m).atan2(other.y_m - self.y_m).to_degrees().rem_euclid(360.0)
    }

    /// The point at a share of the way to another.
    pub fn towards(self, other: Point, share: f64) -> Point {
        Point { x_m: self.x_m + (other.x_m - self.x_m) * share, y_m: self.y_m + (other.y_m - self.y_m) * share }
    }
}

/// A plane that touches the globe at an origin.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Plane {
    origin: Place,
    metres_per_degree_east: f64,
}

const METRES_PER_DEGREE: f64 = EARTH_RADIUS_M * std::f64::consts::PI / 180.0;

impl Plane {
    /// The plane around a place. Within 2° of a pole east and west lose their meaning; no city is there.
    pub fn around(origin: Place) -> Plane {
        Plane { origin, metres_per_degree_east: METRES_PER_DEGREE * origin.latitude_deg.to_radians().cos().max(0.03) }
    }

    /// The place in the origin.
    pub fn origin(&self) -> Place {
        self.origin
    }

    /// A place as a point.
    pub fn point(&self, place: Place) -> Point {
        // Across the date line the short way round.
        let east_deg = (place.longitude_deg - self.origin.longitude_deg + 540.0).rem_euclid(360.0) - 180.0;
        Point { x_m: east_deg * self.metres_per_degree_east, y_m: (place.latitude_deg - self.origin.latitude_deg) * METRES_PER_DEGREE }
    }

    /// A point as a place.
    pub fn place(&self, point: Point) -> Place {
        let longitude_deg = self.origin.longitude_deg + point.x_m / self.metres_per_degree_east;
        Place { latitude_deg: self.origin.latitude_deg + point.y_m / METRES_PER_DEGREE, longitude_deg: (longitude_deg + 540.0).rem_euclid(360.0) - 180.0 }
    }
}

/// Smallest angle between two courses, 0 to 180 degrees.
pub fn turn_deg(a_deg: f64, b_deg: f64) -> f64 {
    let turn = (a_deg - b_deg).rem_euclid(360.0);
    turn.min(360.0 - turn)
}

/// The nearest point on a straight piece: (share of the way from `a` to `b`, distance in m).
pub fn nearest_on(a: Point, b: Point, point: Point) -> (f64, f64) {
    let (east, north) = (b.x_m - a.x_m, b.y_m - a.y_m);
    let square = east * east + north * north;
    let share = if square > 0.0 { (((point.x_m - a.x_m) * east + (point.y_m - a.y_m) * north) / square).clamp(0.0, 1.0) } else { 0.0 };
    (share, a.towards(b, share).distance_m(point))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_plane_keeps_distances_of_a_city() {
        let plane = Plane::around(Place::new(-37.81, 144.96));
        for (north, east) in [(0.05, 0.0), (0.0, 0.05), (-0.08, 0.07), (0.1, -0.1)] {
            let place = Place::new(-37.81 + north, 144.96 + east);
            let flat_m = plane.point(place).distance_m(Point::default());
            let round_m = plane.origin().distance_m(place);
            assert!((flat_m / round_m - 1.0).abs() < 1e-3, "{flat_m} {round_m}");
            let back = plane.place(plane.point(place));
            assert!(back.distance_m(place) < 1e-3);
        }
    }

    #[test]
    fn the_date_line_is_no_wall() {
        let plane = Plane::around(Place::new(-17.0, 179.99));
        let beyond = Place::new(-17.0, -179.99);
        assert!(plane.point(beyond).x_m > 2_000.0 && plane.point(beyond).x_m < 2_300.0);
        assert!((plane.place(plane.point(beyond)).longitude_deg + 179.99).abs() < 1e-9);
    }

    #[test]
    fn bearings_turn_clockwise_from_north() {
        let at = |x_m, y_m| Point { x_m, y_m };
        for (to, bearing) in [(at(0.0, 9.0), 0.0), (at(9.0, 0.0), 90.0), (at(0.0, -9.0), 180.0), (at(-9.0, 0.0), 270.0)] {
            assert!((Point::default().bearing_deg(to) - bearing).abs() < 1e-9);
        }
        assert_eq!(turn_deg(350.0, 10.0), 20.0);
        assert_eq!(turn_deg(10.0, 200.0), 170.0);
    }

    #[test]
    fn the_nearest_point_stays_on_the_piece() {
        let (a, b) = (Point::default(), Point { x_m: 10.0, y_m: 0.0 });
        assert_eq!(nearest_on(a, b, Point { x_m: 4.0, y_m: 3.0 }), (0.4, 3.0));
        assert_eq!(nearest_on(a, b, Point { x_m: 13.0, y_m: 4.0 }), (1.0, 5.0));
        assert_eq!(nearest_on(a, a, Point { x_m: 3.0, y_m: 4.0 }), (0.0, 5.0));
    }
}
