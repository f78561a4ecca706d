//! How an upgrade or an installation shows its progress: a bar on a terminal, plain lines otherwise; always on stderr.

use std::io::{IsTerminal, stderr};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use edge_ota::installer;
use edge_ota::output;
use edge_ota::repair;
use edge_ota::sysroot::PullProgress;
use edge_ota::upgrade::Step;
use indicatif::{HumanBytes, ProgressBar, ProgressStyle};

/// A line each time another tenth of the objects is here.
const LINES: u32 = 10;

pub fn reporter() -> impl Fn(Step) + Clone + 'static {
    let bar = stderr()
        .is_terminal()
        .then(|| Arc::new(Mutex::new(None::<ProgressBar>)));
    let told = Arc::new(AtomicU32::new(0));
    move |step| match &bar {
        Some(bar) => on_terminal(bar, step),
        None => in_lines(&told, step),
    }
}

/// The same for an installation.
pub fn installing() -> impl Fn(installer::Step) + Clone + 'static {
    installing_by(reporter())
}

/// In lines, for a console that is a terminal and has nobody before it.
pub fn installing_unattended() -> impl Fn(installer::Step) + Clone + 'static {
    let told = Arc::new(AtomicU32::new(0));
    installing_by(move |step| in_lines(&told, step))
}

fn installing_by(
    show: impl Fn(Step) + Clone + 'static,
) -> impl Fn(installer::Step) + Clone + 'static {
    move |step| match step {
        installer::Step::Partitioning => output::say("partitioning"),
        installer::Step::Pulling(progress) => show(Step::Pulling(progress)),
        installer::Step::Deploying => show(Step::Deploying),
        installer::Step::Customizing => output::say("writing the device's own settings"),
        installer::Step::MakingBootable => output::say("making it bootable"),
    }
}

fn on_terminal(bar: &Mutex<Option<ProgressBar>>, step: Step) {
    let Ok(mut bar) = bar.lock() else { return };
    match step {
        Step::Checking => output::say("checking the channel"),
        Step::Pulling(progress) => {
            let bar = bar.get_or_insert_with(|| new_bar("pulling"));
            bar.set_length(progress.requested.into());
            bar.set_position(progress.fetched.into());
            bar.set_message(HumanBytes(progress.bytes).to_string());
        }
        Step::Deploying => {
            if let Some(bar) = bar.take() {
                bar.finish();
            }
            output::say("deploying");
        }
    }
}

fn new_bar(act: &str) -> ProgressBar {
    let style = format!("{act} {{wide_bar}} {{pos}}/{{len}} objects {{msg}}");
    let style = ProgressStyle::with_template(&style);
    let bar = ProgressBar::new(0);
    match style {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

fn in_lines(told: &AtomicU32, step: Step) {
    match step {
        Step::Checking => output::say("checking the channel"),
        Step::Deploying => output::say("deploying"),
        Step::Pulling(PullProgress {
            fetched,
            requested,
            bytes,
        }) if requested > 0 => {
            let tenth = fetched.saturating_mul(LINES) / requested;
            if told.fetch_max(tenth, Ordering::Relaxed) < tenth {
                output::say(format_args!(
                    "pulling: {fetched} of {requested} objects, {}",
                    HumanBytes(bytes)
                ));
            }
        }
        Step::Pulling(_) => {}
    }
}

/// For a check of the objects.
pub fn checking() -> impl Fn(repair::Progress) {
    let bar = stderr().is_terminal().then(|| new_bar("checking"));
    let told = AtomicU32::new(0);
    move |progress| match &bar {
        Some(bar) => {
            bar.set_length(progress.of as u64);
            bar.set_position(progress.checked as u64 + 1);
        }
        None => check_in_lines(&told, progress),
    }
}

fn check_in_lines(told: &AtomicU32, progress: repair::Progress) {
    let tenth = (progress.checked + 1) * LINES as usize / progress.of.max(1);
    let tenth = u32::try_from(tenth).unwrap_or(LINES);
    if told.fetch_max(tenth, Ordering::Relaxed) < tenth {
        let (checked, of) = (progress.checked + 1, progress.of);
        output::say(format_args!("checking: {checked} of {of} objects"));
    }
}
