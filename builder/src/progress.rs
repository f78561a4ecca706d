//! What a person sees while they wait: steps with their durations on stderr, as bars on a terminal
//! and as plain lines elsewhere. Stdout is for results.

use std::collections::BTreeMap;
use std::io::{IsTerminal, stderr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

/// A plain log shows life at most this often.
const PLAIN_NOTE_EVERY: Duration = Duration::from_secs(10);

/// The steps of one command.
#[derive(Clone)]
pub struct Progress {
    command: String,
    bars: Option<MultiProgress>,
    timings: Timings,
}

/// Seconds by step.
#[derive(Clone, Default)]
struct Timings(Arc<Mutex<BTreeMap<String, f64>>>);

impl Timings {
    fn add(&self, title: &str, took: Duration) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *all.entry(title.to_owned()).or_default() += took.as_secs_f64();
    }
}

/// A step under way. Dropped before [`Step::done`], it leaves no line: the error speaks.
pub struct Step {
    command: String,
    title: String,
    timings: Timings,
    started: Instant,
    noted: Instant,
    bar: Option<ProgressBar>,
}

impl Progress {
    /// Bars where stderr is a terminal, lines otherwise.
    pub fn new(command: &str) -> Self {
        let bars = stderr()
            .is_terminal()
            .then(|| MultiProgress::with_draw_target(ProgressDrawTarget::stderr()));
        Self {
            command: command.to_owned(),
            bars,
            timings: Timings::default(),
        }
    }

    /// Plain lines, whatever stderr is.
    pub fn plain(command: &str) -> Self {
        Self {
            command: command.to_owned(),
            bars: None,
            timings: Timings::default(),
        }
    }

    /// How long the steps that are done took, in seconds.
    pub fn timings(&self) -> BTreeMap<String, f64> {
        let all = self.timings.0.lock();
        all.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A step of unknown length.
    pub fn step(&self, title: &str) -> Step {
        self.start(title, "{spinner} {msg} {elapsed:.dim}", None)
    }

    /// A step over `total` bytes.
    pub fn bytes(&self, title: &str, total: u64) -> Step {
        self.start(
            title,
            "{spinner} {msg} {bar:30} {bytes}/{total_bytes} {eta:.dim}",
            Some(total),
        )
    }

    /// A step over `total` things.
    pub fn count(&self, title: &str, total: u64) -> Step {
        self.start(title, "{spinner} {msg} {bar:30} {pos}/{len}", Some(total))
    }

    /// A line that stays, between the steps.
    pub fn say(&self, text: &str) {
        let line = format!("{}: {text}", self.command);
        match &self.bars {
            // A terminal that went away is no reason to stop the work.
            Some(bars) => drop(bars.println(line)),
            None => eprintln!("{line}"),
        }
    }

    fn start(&self, title: &str, template: &str, total: Option<u64>) -> Step {
        let bar = self.bars.as_ref().map(|bars| {
            let bar = match total {
                Some(total) => ProgressBar::new(total),
                None => ProgressBar::new_spinner(),
            };
            let style = ProgressStyle::with_template(template)
                .unwrap_or_else(|_| ProgressStyle::default_spinner());
            let bar = bars.add(bar.with_style(style).with_message(title.to_owned()));
            bar.enable_steady_tick(Duration::from_millis(120));
            bar
        });
        let now = Instant::now();
        Step {
            command: self.command.clone(),
            title: title.to_owned(),
            timings: self.timings.clone(),
            started: now,
            noted: now,
            bar,
        }
    }
}

impl Step {
    /// What the step is doing now.
    pub fn note(&mut self, text: &str) {
        match &self.bar {
            Some(bar) => bar.set_message(format!("{}: {text}", self.title)),
            None if self.noted.elapsed() >= PLAIN_NOTE_EVERY => {
                self.noted = Instant::now();
                eprintln!("{}: {}: {text}", self.command, self.title);
            }
            None => {}
        }
    }

    pub fn advance(&self, by: u64) {
        if let Some(bar) = &self.bar {
            bar.inc(by);
        }
    }

    /// Ends the step, leaves its line and returns how long it took.
    pub fn done(self) -> Duration {
        self.end("")
    }

    /// As [`Step::done`], with a word on the result, `from the cache`.
    pub fn done_with(self, result: &str) -> Duration {
        self.end(&format!(" ({result})"))
    }

    fn end(mut self, result: &str) -> Duration {
        let took = self.started.elapsed();
        self.timings.add(&self.title, took);
        let line = format!(
            "{}: {}{result} … {}",
            self.command,
            self.title,
            seconds(took)
        );
        match self.bar.take() {
            Some(bar) => {
                bar.set_style(
                    ProgressStyle::with_template("{msg}")
                        .unwrap_or_else(|_| ProgressStyle::default_spinner()),
                );
                bar.finish_with_message(line);
            }
            None => eprintln!("{line}"),
        }
        took
    }
}

impl Drop for Step {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// `0.4 s`, `31.2 s`, `2 min 5 s`.
pub fn seconds(took: Duration) -> String {
    match took.as_secs() {
        0..120 => format!("{:.1} s", took.as_secs_f64()),
        whole => format!("{} min {} s", whole / 60, whole % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_well() {
        let table = [
            (400, "0.4 s"),
            (31_240, "31.2 s"),
            (119_900, "119.9 s"),
            (125_000, "2 min 5 s"),
        ];
        for (millis, expected) in table {
            assert_eq!(seconds(Duration::from_millis(millis)), expected);
        }
    }

    #[test]
    fn a_plain_step_measures_itself() {
        let progress = Progress::plain("compose");
        let mut step = progress.bytes("unpacking", 10);
        step.note("nothing is printed this early");
        step.advance(10);
        assert!(progress.timings().is_empty());
        let took = step.done();
        assert!(took < Duration::from_secs(5));
        assert_eq!(progress.timings()["unpacking"], took.as_secs_f64());
    }
}
