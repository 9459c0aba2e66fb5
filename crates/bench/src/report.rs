//! Figures of several runs, as a table.

use std::collections::BTreeMap;
use std::fmt::Write;

/// Figures by name, a value for each run, in the order in which they first came.
#[derive(Debug, Default)]
pub struct Report {
    order: Vec<String>,
    values: BTreeMap<String, Vec<f64>>,
}

impl Report {
    /// Adds a run's figure.
    pub fn add(&mut self, name: &str, value: f64) {
        if !self.values.contains_key(name) {
            self.order.push(name.to_owned());
        }
        println!("  {name}: {value:.2}");
        self.values.entry(name.to_owned()).or_default().push(value);
    }

    /// The median of a figure.
    #[must_use]
    pub fn median(&self, name: &str) -> Option<f64> {
        median(self.values.get(name)?)
    }

    /// One figure as a share of another, each run's by itself, as the machine is another one from
    /// run to run: median, least and most, in words.
    #[must_use]
    pub fn ratio(&self, name: &str, of: &str) -> Option<String> {
        let pairs = self.values.get(name)?.iter().zip(self.values.get(of)?);
        let ratios: Vec<f64> = pairs.map(|(one, other)| one / other).collect();
        let (least, most) = bounds(&ratios);
        Some(format!("{:.2} ({least:.2} to {most:.2})", median(&ratios)?))
    }

    /// A Markdown table: median, least and most of each figure.
    #[must_use]
    pub fn table(&self) -> String {
        let mut table = String::from("| figure | median | least | most |\n|---|---:|---:|---:|\n");
        for name in &self.order {
            let values = &self.values[name];
            let (least, most) = bounds(values);
            let median = median(values).unwrap_or(f64::NAN);
            let digits = if median >= 1_000.0 { 0 } else { 2 };
            // Writing to a text cannot fail.
            writeln!(table, "| {name} | {median:.digits$} | {least:.digits$} | {most:.digits$} |")
                .ok();
        }
        table
    }
}

fn median(values: &[f64]) -> Option<f64> {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}

/// The least and the most.
fn bounds(values: &[f64]) -> (f64, f64) {
    let least = values.iter().copied().fold(f64::INFINITY, f64::min);
    (least, values.iter().copied().fold(f64::NEG_INFINITY, f64::max))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_shows_the_median_of_the_runs() {
        let mut report = Report::default();
        for value in [3.0, 1.0, 2.0] {
            report.add("figure", value);
        }
        assert!(report.table().contains("| figure | 2.00 | 1.00 | 3.00 |"), "{}", report.table());
    }

    #[test]
    fn a_ratio_compares_what_was_measured_in_the_same_run() {
        let mut report = Report::default();
        for (ours, limit) in [(8.0, 10.0), (6.0, 20.0), (27.0, 30.0)] {
            report.add("ours", ours);
            report.add("limit", limit);
        }
        assert_eq!(report.ratio("ours", "limit").unwrap(), "0.80 (0.30 to 0.90)");
        assert_eq!(report.ratio("ours", "none"), None);
    }
}
