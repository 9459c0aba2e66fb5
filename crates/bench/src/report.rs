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
        let mut values = self.values.get(name)?.clone();
        values.sort_by(f64::total_cmp);
        values.get(values.len() / 2).copied()
    }

    /// A Markdown table: median, least and most of each figure.
    #[must_use]
    pub fn table(&self) -> String {
        let mut table = String::from("| figure | median | least | most |\n|---|---:|---:|---:|\n");
        for name in &self.order {
            let values = &self.values[name];
            let least = values.iter().copied().fold(f64::INFINITY, f64::min);
            let most = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let median = self.median(name).unwrap_or(f64::NAN);
            let digits = if most >= 1_000.0 { 0 } else { 2 };
            // Writing to a text cannot fail.
            writeln!(table, "| {name} | {median:.digits$} | {least:.digits$} | {most:.digits$} |")
                .ok();
        }
        table
    }
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
}
