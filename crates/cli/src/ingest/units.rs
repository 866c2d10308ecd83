//! Units of columns → units of fields. Field names carry their unit (`height_m`, `temperature_degc`), so a mapping
//! names the column's unit only.

/// One step of arithmetic. Division is kept apart from multiplication: 6 / 10 is 0.6, 6 × 0.1 is not.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Step {
    /// Multiply.
    Times(f64),
    /// Divide.
    By(f64),
    /// Add.
    Plus(f64),
}

impl Step {
    /// Applies it.
    pub fn apply(self, x: f64) -> f64 {
        match self {
            Step::Times(f) => x * f,
            Step::By(f) => x / f,
            Step::Plus(f) => x + f,
        }
    }
}

type Unit = (&'static str, &'static [Step]);

/// Field ending, and the units it can be made of.
const UNITS: &[(&str, &[Unit])] = &[
    (
        "_m",
        &[
            ("m", &[]),
            ("mm", &[Step::By(1e3)]),
            ("cm", &[Step::By(100.0)]),
            ("km", &[Step::Times(1e3)]),
            ("in", &[Step::Times(0.0254)]),
            ("ft", &[Step::Times(0.3048)]),
            ("mi", &[Step::Times(1609.344)]),
        ],
    ),
    ("_kg", &[("kg", &[]), ("g", &[Step::By(1e3)]), ("t", &[Step::Times(1e3)]), ("lb", &[Step::Times(0.453_592_37)])]),
    ("_l", &[("l", &[]), ("ml", &[Step::By(1e3)]), ("m3", &[Step::Times(1e3)]), ("gal", &[Step::Times(3.785_411_784)])]),
    ("_degc", &[("degc", &[]), ("degf", &[Step::Plus(-32.0), Step::By(1.8)]), ("kelvin", &[Step::Plus(-273.15)])]),
    ("_v", &[("v", &[]), ("mv", &[Step::By(1e3)])]),
    ("_mps", &[("mps", &[]), ("kmh", &[Step::By(3.6)]), ("mph", &[Step::Times(0.447_04)]), ("knots", &[Step::Times(0.514_444_444_444_444_4)])]),
    ("_s", &[("s", &[]), ("ms", &[Step::By(1e3)]), ("min", &[Step::Times(60.0)]), ("h", &[Step::Times(3600.0)]), ("d", &[Step::Times(86_400.0)])]),
    ("_h", &[("h", &[]), ("s", &[Step::By(3600.0)]), ("min", &[Step::By(60.0)]), ("d", &[Step::Times(24.0)])]),
    ("_level", &[("share", &[]), ("%", &[Step::By(100.0)])]),
    ("_share", &[("share", &[]), ("%", &[Step::By(100.0)])]),
];

/// Steps from `unit` to the unit in the name of `field`.
///
/// # Errors
/// What is wrong, and what to write.
pub fn steps(field: &str, unit: &str) -> Result<&'static [Step], (String, String)> {
    let Some((ending, units)) = UNITS.iter().find(|(ending, _)| field.ends_with(ending)) else {
        return Err((format!("`{field}` has no unit in its name"), "use `scale: /10` or `scale: 0.1`, and `offset`".into()));
    };
    units.iter().find(|(name, _)| *name == unit).map(|(_, steps)| *steps).ok_or_else(|| {
        let known: Vec<&str> = units.iter().map(|(name, _)| *name).collect();
        (format!("`{unit}` cannot become `{ending}` of `{field}`"), format!("one of {}", known.join(", ")))
    })
}

/// A factor as written: `/10`, `*0.1`, or a number.
pub fn scale(text: &str) -> Option<Step> {
    let number = |t: &str| t.trim().parse::<f64>().ok().filter(|x| x.is_finite() && *x != 0.0);
    match text.trim().split_at_checked(1)? {
        ("/", rest) => number(rest).map(Step::By),
        ("*", rest) => number(rest).map(Step::Times),
        _ => number(text).map(Step::Times),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn run(field: &str, unit: &str, x: f64) -> f64 {
        steps(field, unit).unwrap().iter().fold(x, |x, s| s.apply(x))
    }

    #[test]
    fn a_column_comes_out_in_the_unit_of_the_field() {
        assert_eq!(run("height_m", "cm", 150.0), 1.5);
        assert_eq!(run("temperature_degc", "degf", 212.0), 100.0);
        assert_eq!(run("speed_mps", "kmh", 36.0), 10.0);
        assert_eq!(run("filling_level", "%", 60.0), 0.6);
        assert_eq!(run("report_interval_s", "h", 24.0), 86_400.0);
    }

    #[test]
    fn a_unit_that_does_not_fit_is_told_with_those_that_do() {
        assert!(steps("height_m", "kg").unwrap_err().1.contains("cm"));
        assert!(steps("device_id", "cm").unwrap_err().0.contains("no unit"));
    }

    #[test]
    fn a_tenth_is_exact() {
        assert_eq!(scale("/10").unwrap().apply(6.0), 0.6);
        assert_eq!(scale("0.5"), Some(Step::Times(0.5)));
        assert_eq!(scale(" *2 "), Some(Step::Times(2.0)));
        for wrong in ["", "/", "/0", "ten", "NaN"] {
            assert_eq!(scale(wrong), None, "{wrong}");
        }
    }
}
