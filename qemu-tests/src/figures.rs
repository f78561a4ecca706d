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

/// What is compared with what, and the goal for the ratio.
const RATIOS: [(&str, &str, &str); 1] = [(
    "compose",
    "plain mmdebstrap of the same packages",
    "≤ 1.6 (≤ 2.5 with dracut)",
)];

/// Why the ratio is what it is.
const COMPOSE: &str = "\
Compose does more than plain mmdebstrap: it packs the installed packages for the cache and unpacks them, chooses and
unpacks kernel modules, makes the initramfs, and compresses and checksums every file on one core. The nearer the
mirror, the more that weighs.
";

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
        for (what, against, goal) in RATIOS {
            if let (Some(a), Some(b)) = (self.seconds(what), self.seconds(against)) {
                text.push_str(&format!(
                    "| {what} ÷ {against} | {:.2} (goal {goal}) |\n",
                    a / b
                ));
            }
        }
        text
    }

    /// The table with the machine that it was measured on.
    pub fn document(&self) -> Result<String> {
        Ok(format!(
            "# Figures\n\nThe last measures of `make figures`. Virtual machine: 512 MiB, 2 processors. \
             Host: {}.\n\n{}\n{COMPOSE}",
            host()?,
            self.table()
        ))
    }

    fn seconds(&self, wanted: &str) -> Option<f64> {
        self.rows.iter().find_map(|(what, figure)| match figure {
            Figure::Time(time) if what == wanted => Some(time.as_secs_f64()),
            _ => None,
        })
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
        figures.note("peak", "9 MiB".to_owned());
        let table = figures.table();
        assert!(table.contains("| compose | 60.0 s |"), "{table}");
        assert!(table.contains("| 1.50 (goal"), "{table}");
        assert!(table.contains("| peak | 9 MiB |"), "{table}");
        assert!(host().unwrap().contains("GiB"));
    }
}
