//! QEMU's machine protocol: one JSON document a line, answers and events mixed.

use std::collections::VecDeque;
use std::io::ErrorKind;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use super::lines::Lines;
use super::wait;

/// How long one command may take; `savevm` writes the guest's memory.
const ANSWER: Duration = Duration::from_secs(120);

pub struct Qmp {
    lines: Lines,
    events: VecDeque<Value>,
}

impl Qmp {
    /// Connects as soon as QEMU listens.
    pub fn connect(socket: &Path) -> Result<Self> {
        let stream = wait::until(
            "QMP socket",
            Duration::from_secs(30),
            || match UnixStream::connect(socket) {
                Ok(stream) => Ok(Some(stream)),
                Err(e)
                    if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused) =>
                {
                    Ok(None)
                }
                Err(e) => Err(e.into()),
            },
        )?;
        let mut qmp = Self {
            lines: Lines::new(stream),
            events: VecDeque::new(),
        };
        qmp.execute("qmp_capabilities", json!({}))?;
        Ok(qmp)
    }

    pub fn execute(&mut self, command: &str, arguments: Value) -> Result<Value> {
        let line = json!({"execute": command, "arguments": arguments}).to_string();
        self.lines
            .send(&line)
            .with_context(|| format!("sending {command} to QEMU"))?;
        let end = Instant::now() + ANSWER;
        while let Some(mut message) = self.read(end)? {
            if let Some(error) = message.get("error") {
                bail!("QEMU refused {command}: {error}");
            }
            match message.get_mut("return") {
                Some(value) => return Ok(value.take()),
                None => self.keep_event(message),
            }
        }
        bail!("no answer to {command} within {} s", ANSWER.as_secs())
    }

    /// A line for the human monitor, for what has no command of its own (`savevm`).
    pub fn monitor(&mut self, line: &str) -> Result<()> {
        let answer = self.execute("human-monitor-command", json!({"command-line": line}))?;
        match answer.as_str() {
            Some("") | None => Ok(()),
            Some(text) => bail!("QEMU answered '{line}' with: {}", text.trim()),
        }
    }

    /// As [`Qmp::monitor`], for a line that is answered.
    pub fn ask_monitor(&mut self, line: &str) -> Result<String> {
        let answer = self.execute("human-monitor-command", json!({"command-line": line}))?;
        Ok(answer.as_str().unwrap_or_default().to_owned())
    }

    /// The names of the events that nobody waited for.
    pub fn unheard_events(&mut self) -> Result<Vec<String>> {
        while let Some(message) = self.read(Instant::now() + Duration::from_millis(100))? {
            self.keep_event(message);
        }
        let names = self
            .events
            .iter()
            .filter_map(|event| event.get("event")?.as_str());
        Ok(names.map(str::to_owned).collect())
    }

    /// The next event of that name (`RESET`, `SHUTDOWN`, `WATCHDOG`); earlier others are dropped.
    pub fn wait_for_event(&mut self, name: &str, deadline: Duration) -> Result<Value> {
        let end = Instant::now() + deadline;
        loop {
            let event = match self.events.pop_front() {
                Some(event) => event,
                None => match self.read(end)? {
                    Some(message) => message,
                    None => bail!("no event {name} within {} s", deadline.as_secs()),
                },
            };
            if event.get("event").and_then(Value::as_str) == Some(name) {
                return Ok(event);
            }
        }
    }

    fn keep_event(&mut self, message: Value) {
        if message.get("event").is_some() {
            self.events.push_back(message);
        }
    }

    /// The next message, `None` at the deadline.
    fn read(&mut self, end: Instant) -> Result<Option<Value>> {
        let line = self.lines.next(end).context("listening to QEMU")?;
        let parse = |line: Vec<u8>| serde_json::from_slice(&line).context("parsing QEMU's answer");
        line.map(parse).transpose()
    }
}
