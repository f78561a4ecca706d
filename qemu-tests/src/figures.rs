//! Measures of one run, as a table for people.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::lab;

#[derive(Default)]
pub struct Figures {
    rows: Vec<(String, Figure)>,
}

enum Figure {
    Time(Duration),
    Text(String),
}

impl Figures {
    /// Does a step, says so, and keeps its time.
    pub fn time<T>(&mut self, what: &str, act: impl FnOnce() -> Result<T>) -> Result<T> {
        let start = Instant::now();
        let value = lab::step(what, act)?;
        self.rows
            .push((what.to_owned(), Figure::Time(start.elapsed())));
        Ok(value)
    }

    pub fn note(&mut self, what: &str, value: String) {
        self.rows.push((what.to_owned(), Figure::Text(value)));
    }

    /// Compares the times of two steps that were done.
    pub fn ratio(&mut self, what: &str, against: &str, goal: &str) -> Result<()> {
        let ratio = self.seconds(what)? / self.seconds(against)?;
        self.note(
            &format!("{what} ÷ {against}"),
            format!("{ratio:.2} (goal {goal})"),
        );
        Ok(())
    }

    /// Markdown.
    pub fn table(&self) -> String {
        let mut text = String::from("| measure | value |\n|---|---|\n");
        for (what, figure) in &self.rows {
            let value = match figure {
                Figure::Time(time) => format!("{:.1} s", time.as_secs_f64()),
                Figure::Text(value) => value.clone(),
            };
            text.push_str(&format!("| {what} | {value} |\n"));
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

    fn seconds(&self, wanted: &str) -> Result<f64> {
        let found = self.rows.iter().find_map(|(what, figure)| match figure {
            Figure::Time(time) if what == wanted => Some(time.as_secs_f64()),
            _ => None,
        });
        found.with_context(|| format!("'{wanted}' was not timed"))
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
    fn ratios_follow_the_times() {
        let mut figures = Figures::default();
        for (what, seconds) in [
            ("compose", 60),
            ("plain mmdebstrap of the same packages", 40),
        ] {
            figures
                .rows
                .push((what.to_owned(), Figure::Time(Duration::from_secs(seconds))));
        }
        figures
            .ratio("compose", "plain mmdebstrap of the same packages", "≤ 1.6")
            .unwrap();
        assert!(figures.ratio("compose", "nothing", "").is_err());
        figures.note("peak", "9 MiB".to_owned());
        let table = figures.table();
        assert!(table.contains("| compose | 60.0 s |"), "{table}");
        assert!(table.contains("| 1.50 (goal"), "{table}");
        assert!(table.contains("| peak | 9 MiB |"), "{table}");
        assert!(host().unwrap().contains("GiB"));
    }
}
