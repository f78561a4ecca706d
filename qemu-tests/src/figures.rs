//! Measures of one run, as a table for people: a row for each measure, a column for each board.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::lab;

#[derive(Default)]
pub struct Figures {
    columns: Vec<String>,
    rows: Vec<Row>,
}

struct Row {
    what: String,
    /// Column and value.
    cells: Vec<(String, Figure)>,
}

#[derive(Clone)]
enum Figure {
    Time(Duration),
    Text(String),
}

impl Figures {
    /// Does a step, says so, and keeps its time.
    pub fn time<T>(
        &mut self,
        column: &str,
        what: &str,
        act: impl FnOnce() -> Result<T>,
    ) -> Result<T> {
        let start = Instant::now();
        let value = lab::step(&format!("{column}: {what}"), act)?;
        self.put(column, what, Figure::Time(start.elapsed()));
        Ok(value)
    }

    pub fn seconds(&mut self, column: &str, what: &str, seconds: f64) {
        self.put(
            column,
            what,
            Figure::Time(Duration::from_secs_f64(seconds.max(0.0))),
        );
    }

    pub fn note(&mut self, column: &str, what: &str, value: String) {
        self.put(column, what, Figure::Text(value));
    }

    /// How many times as long as `other` something took, both of them measured in this run.
    pub fn ratio(
        &self,
        (column, what): (&str, &str),
        (other_column, other): (&str, &str),
    ) -> Result<String> {
        let ratio = self.measured(column, what)? / self.measured(other_column, other)?;
        Ok(format!("{ratio:.2}"))
    }

    /// Markdown.
    pub fn table(&self) -> String {
        let mut text = format!("| measure | {} |\n", self.columns.join(" | "));
        text.push_str(&format!("|---|{}\n", "---|".repeat(self.columns.len())));
        for row in &self.rows {
            text.push_str(&format!("| {} |", row.what));
            for column in &self.columns {
                let cell = row.cells.iter().find(|(name, _)| name == column);
                match cell.map(|(_, figure)| figure) {
                    Some(Figure::Time(time)) => {
                        text.push_str(&format!(" {:.1} s |", time.as_secs_f64()))
                    }
                    Some(Figure::Text(value)) => text.push_str(&format!(" {value} |")),
                    None => text.push_str(" |"),
                }
            }
            text.push('\n');
        }
        text
    }

    /// The table with the machine that it was measured on, between what was done and remarks.
    pub fn document(&self, head: &str, remarks: &str) -> Result<String> {
        Ok(format!(
            "{head} Host: {}.\n\n{}\n{remarks}",
            host()?,
            self.table()
        ))
    }

    fn put(&mut self, column: &str, what: &str, figure: Figure) {
        if !self.columns.iter().any(|c| c == column) {
            self.columns.push(column.to_owned());
        }
        let cell = (column.to_owned(), figure);
        match self.rows.iter_mut().find(|row| row.what == what) {
            Some(row) => row.cells.push(cell),
            None => self.rows.push(Row {
                what: what.to_owned(),
                cells: vec![cell],
            }),
        }
    }

    fn measured(&self, column: &str, what: &str) -> Result<f64> {
        let row = self.rows.iter().find(|row| row.what == what);
        let cell = row.and_then(|row| row.cells.iter().find(|(name, _)| name == column));
        match cell {
            Some((_, Figure::Time(time))) => Some(time.as_secs_f64()),
            _ => None,
        }
        .with_context(|| format!("'{what}' was not timed on {column}"))
    }
}

fn host() -> Result<String> {
    let read = |path: &str| fs::read_to_string(path).with_context(|| format!("reading {path}"));
    let cpus = read("/proc/cpuinfo")?;
    let model = cpus
        .lines()
        .find_map(|l| l.strip_prefix("model name"))
        .unwrap_or("unknown");
    let count = cpus.lines().filter(|l| l.starts_with("processor")).count();
    let memory = read("/proc/meminfo")?;
    let kib: u64 = memory
        .split_whitespace()
        .nth(1)
        .context("/proc/meminfo is empty")?
        .parse()?;
    let system = read("/etc/os-release")?;
    let name = system
        .lines()
        .find_map(|l| l.strip_prefix("PRETTY_NAME="))
        .unwrap_or("unknown");
    Ok(format!(
        "{count} × {}, {} GiB, {}",
        model.trim_start_matches([' ', '\t', ':']),
        kib >> 20,
        name.trim_matches('"')
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_column_for_each_board_and_ratios_of_what_was_timed() {
        let mut figures = Figures::default();
        figures.seconds("x86_64", "compose", 40.0);
        figures.seconds("armhf", "compose", 60.0);
        figures.note("armhf", "peak", "9 MiB".to_owned());
        let ratio = figures.ratio(("armhf", "compose"), ("x86_64", "compose"));
        assert_eq!(ratio.unwrap(), "1.50");
        assert!(
            figures
                .ratio(("armhf", "peak"), ("x86_64", "compose"))
                .is_err()
        );
        assert_eq!(
            figures.table(),
            "| measure | x86_64 | armhf |\n|---|---|---|\n\
             | compose | 40.0 s | 60.0 s |\n| peak | | 9 MiB |\n"
        );
        assert!(host().unwrap().contains("GiB"));
    }
}
