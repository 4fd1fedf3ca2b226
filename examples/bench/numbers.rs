//! What many measurements of one thing come to: a median with its spread, and how fast a run went from its
//! tenth to its nine tenths, which leaves start and end out.

use std::fmt;

/// The median of the rounds, and the least and the greatest.
#[derive(Debug, Clone, Copy)]
pub struct Spread {
    pub median: f64,
    least: f64,
    greatest: f64,
    decimals: usize,
}

/// How far a run was at which time: seconds since its start, and the fraction that was done.
#[derive(Debug, Default)]
pub struct Course {
    samples: Vec<(f64, f64)>,
}

impl Spread {
    /// `None` of no values. `decimals` are shown.
    pub fn of(values: impl IntoIterator<Item = f64>, decimals: usize) -> Option<Spread> {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let (&least, &greatest) = values.first().zip(values.last())?;
        Some(Spread { median: quantile(&values, 0.5), least, greatest, decimals })
    }

    /// In a table, where `None` is a dash.
    pub fn shown(spread: Option<Spread>) -> String {
        spread.map_or("–".to_owned(), |spread| spread.to_string())
    }
}

impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |number: f64| grouped(number, self.decimals);
        let (median, least, greatest) =
            (shown(self.median), shown(self.least), shown(self.greatest));
        if least == greatest {
            f.write_str(&median)
        } else {
            write!(f, "{median} ({least}–{greatest})")
        }
    }
}

impl Course {
    pub fn note(&mut self, seconds: f64, fraction: f64) {
        self.samples.push((seconds, fraction));
    }

    /// Fractions a second between the first samples at a tenth and at nine tenths; `None` where one sample
    /// is both.
    pub fn steady_per_second(&self) -> Option<f64> {
        let reached = |part: f64| self.samples.iter().find(|(_, fraction)| *fraction >= part);
        let ((from, low), (to, high)) = (reached(0.1)?, reached(0.9)?);
        (to > from).then(|| (high - low) / (to - from))
    }
}

/// The value that this part of the ascending values does not exceed; in the middle of two, their middle.
pub fn quantile(ascending: &[f64], part: f64) -> f64 {
    let count = ascending.len();
    if part == 0.5 && count.is_multiple_of(2) {
        return f64::midpoint(ascending[count / 2 - 1], ascending[count / 2]);
    }
    let rank = (part * count as f64).ceil() as usize;
    ascending[rank.max(1) - 1]
}

/// With commas between thousands.
pub fn grouped(number: f64, decimals: usize) -> String {
    let text = format!("{:.decimals$}", number.abs());
    let (whole, rest) = text.split_at(text.find('.').unwrap_or(text.len()));
    let mut shown = String::from(if number < 0.0 { "-" } else { "" });
    for (index, digit) in whole.chars().enumerate() {
        if index > 0 && (whole.len() - index).is_multiple_of(3) {
            shown.push(',');
        }
        shown.push(digit);
    }
    shown + rest
}
