//! Waiting for a condition, never for a time.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use crate::interrupt;

const BETWEEN_PROBES: Duration = Duration::from_millis(200);

/// Probes until there is a value; the deadline's error names `what` was awaited. A signal ends it as well.
pub fn until<T>(
    what: &str,
    deadline: Duration,
    mut probe: impl FnMut() -> Result<Option<T>>,
) -> Result<T> {
    let start = Instant::now();
    loop {
        if let Some(value) = probe()? {
            return Ok(value);
        }
        interrupt::check()?;
        if start.elapsed() > deadline {
            bail!("no {what} within {} s", deadline.as_secs());
        }
        thread::sleep(BETWEEN_PROBES);
    }
}
