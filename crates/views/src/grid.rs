//! A grid of cells over the earth, and the walk through an ordered index that reads only the cells of a bounding box.
//!
//! Index entries sort by row, then column. A box covers one run of columns in each of its rows; from any entry the walk knows
//! the next entry that could lie inside and seeks there, so empty rows and far columns cost one seek each and no second copy of
//! the data is needed. Cells are 0.01°: about 1.1 km to the north, less to the east.

use serde::{Deserialize, Serialize};

/// Cells per degree.
const CELLS_PER_DEG: f64 = 100.0;
const LAST_ROW: u32 = 180 * 100;
const LAST_COLUMN: u32 = 360 * 100;

/// An area between two meridians and two parallels, in degrees; borders included.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct BoundingBox {
    /// Western border.
    pub min_longitude_deg: f64,
    /// Southern border.
    pub min_latitude_deg: f64,
    /// Eastern border.
    pub max_longitude_deg: f64,
    /// Northern border.
    pub max_latitude_deg: f64,
}

impl BoundingBox {
    /// Reads `minlon,minlat,maxlon,maxlat`.
    ///
    /// # Errors
    /// What is wrong with the text, in words for its writer.
    pub fn parse(text: &str) -> Result<Self, String> {
        let numbers: Vec<f64> =
            text.split(',').map(|piece| piece.trim().parse::<f64>().map_err(|_| format!("{piece:?} is not a number"))).collect::<Result<_, _>>()?;
        let [min_longitude_deg, min_latitude_deg, max_longitude_deg, max_latitude_deg] = numbers[..] else {
            return Err(format!("{} numbers instead of 4 (minlon,minlat,maxlon,maxlat)", numbers.len()));
        };
        if numbers.iter().any(|number| !number.is_finite()) {
            return Err("a border is not a finite number".into());
        }
        if min_latitude_deg > max_latitude_deg {
            return Err(format!("the southern border {min_latitude_deg} lies north of the northern border {max_latitude_deg}"));
        }
        if min_longitude_deg > max_longitude_deg {
            return Err(format!(
                "the western border {min_longitude_deg} lies east of the eastern border {max_longitude_deg}; ask twice across the 180th meridian"
            ));
        }
        Ok(Self { min_longitude_deg, min_latitude_deg, max_longitude_deg, max_latitude_deg })
    }

    /// Whether a place lies inside.
    pub fn contains(&self, latitude_deg: f64, longitude_deg: f64) -> bool {
        (self.min_latitude_deg..=self.max_latitude_deg).contains(&latitude_deg) && (self.min_longitude_deg..=self.max_longitude_deg).contains(&longitude_deg)
    }
}

/// One cell of the grid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cell {
    row: u32,
    column: u32,
}

impl Cell {
    /// The stored form of "no place known": sorts behind every cell.
    pub(crate) const UNPLACED: &str = "~unplaced";

    /// The cell of a place; none when it is not on earth.
    pub(crate) fn of(latitude_deg: f64, longitude_deg: f64) -> Option<Self> {
        let on_earth = (-90.0..=90.0).contains(&latitude_deg) && (-180.0..=180.0).contains(&longitude_deg);
        on_earth.then(|| Self::clamped(latitude_deg, longitude_deg))
    }

    fn clamped(latitude_deg: f64, longitude_deg: f64) -> Self {
        // Floats saturate when cast, so borders off the earth end at its edge.
        let index = |deg: f64, last: u32| ((deg * CELLS_PER_DEG).floor() as u32).min(last);
        Self { row: index(latitude_deg + 90.0, LAST_ROW), column: index(longitude_deg + 180.0, LAST_COLUMN) }
    }

    /// Ten digits that sort by row, then column.
    pub(crate) fn stored(self) -> String {
        format!("{:05}{:05}", self.row, self.column)
    }

    fn parse(stored: &str) -> Option<Self> {
        let (row, column) = stored.split_at_checked(5)?;
        Some(Self { row: row.parse().ok()?, column: column.parse().ok()? })
    }
}

/// What to do at an index entry.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// The entry's cell touches the box.
    Inside,
    /// Nothing before this cell can lie inside: seek there.
    Seek(String),
    /// Nothing after this entry can lie inside.
    End,
}

/// The cells that a box touches.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CellRange {
    low: Cell,
    high: Cell,
}

impl CellRange {
    pub(crate) fn of(bounds: &BoundingBox) -> Self {
        Self { low: Cell::clamped(bounds.min_latitude_deg, bounds.min_longitude_deg), high: Cell::clamped(bounds.max_latitude_deg, bounds.max_longitude_deg) }
    }

    /// Where the walk starts.
    pub(crate) fn start(&self) -> String {
        self.low.stored()
    }

    /// What to do at the entry with this stored cell.
    pub(crate) fn step(&self, stored: &str) -> Step {
        let Some(cell) = Cell::parse(stored) else {
            return Step::End;
        };
        if cell.row > self.high.row {
            Step::End
        } else if cell.row < self.low.row {
            Step::Seek(self.low.stored())
        } else if cell.column < self.low.column {
            Step::Seek(Cell { row: cell.row, column: self.low.column }.stored())
        } else if cell.column > self.high.column {
            if cell.row == self.high.row { Step::End } else { Step::Seek(Cell { row: cell.row + 1, column: self.low.column }.stored()) }
        } else {
            Step::Inside
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_walk_finds_what_a_full_scan_finds() {
        // Places on a coarse lattice around a box, walked in index order.
        let bounds = BoundingBox::parse("12.305,48.105,12.405,48.205").unwrap();
        let range = CellRange::of(&bounds);
        let mut cells: Vec<String> = Vec::new();
        for row in -8..30 {
            for column in -8..30 {
                cells.push(Cell::of(48.0 + f64::from(row) * 0.013, 12.2 + f64::from(column) * 0.017).unwrap().stored());
            }
        }
        cells.sort();
        cells.push(Cell::UNPLACED.into());
        let inside_by_scan: Vec<&String> = cells.iter().filter(|cell| range.step(cell) == Step::Inside).collect();
        assert!(inside_by_scan.len() > 20, "the lattice must cover the box");

        let (mut at, mut found, mut looked_at) = (range.start(), Vec::new(), 0);
        while let Some(position) = cells.iter().position(|cell| *cell >= at) {
            looked_at += 1;
            match range.step(&cells[position]) {
                Step::Inside => {
                    found.push(&cells[position]);
                    // Equal cells follow each other: move on by one entry.
                    let mut next = position + 1;
                    while next < cells.len() && cells[next] == cells[position] {
                        found.push(&cells[next]);
                        next += 1;
                    }
                    at = format!("{}!", cells[position]);
                }
                Step::Seek(to) => {
                    assert!(to > cells[position], "a seek must move on");
                    at = to;
                }
                Step::End => break,
            }
        }
        assert_eq!(found, inside_by_scan);
        assert!(looked_at < cells.len() / 3, "{looked_at} of {} entries were looked at", cells.len());
    }

    #[test]
    fn boxes_are_read_strictly() {
        assert!(BoundingBox::parse("1,2,3").is_err());
        assert!(BoundingBox::parse("1,2,3,x").is_err());
        assert!(BoundingBox::parse("1,2,3,NaN").is_err());
        assert!(BoundingBox::parse("3,2,1,4").unwrap_err().contains("180th"));
        assert!(BoundingBox::parse("-180,-90,180,90").unwrap().contains(0.0, 0.0));
    }

    #[test]
    fn places_off_the_earth_have_no_cell() {
        assert_eq!(Cell::of(f64::NAN, 0.0), None);
        assert_eq!(Cell::of(91.0, 0.0), None);
        assert!(Cell::of(90.0, 180.0).is_some());
    }
}
