//! What a serial port has said: a log file that QEMU appends to and we follow.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};

use super::wait;

/// A follower of one log. Each line is handed out once.
pub struct Console {
    path: PathBuf,
    read: u64,
    partial: Vec<u8>,
}

impl Console {
    /// Follows a log from its present end.
    pub fn follow(path: PathBuf) -> Self {
        let read = fs::metadata(&path).map_or(0, |m| m.len());
        Self {
            path,
            read,
            partial: Vec::new(),
        }
    }

    /// Reads on until `pick` takes a line.
    pub fn wait_for<T>(
        &mut self,
        what: &str,
        deadline: Duration,
        mut pick: impl FnMut(&str) -> Option<T>,
    ) -> Result<T> {
        wait::until(what, deadline, || {
            self.read_more()?;
            while let Some(end) = self.partial.iter().position(|&b| b == b'\n') {
                let line: Vec<u8> = self.partial.drain(..=end).collect();
                if let Some(value) = pick(String::from_utf8_lossy(&line).trim()) {
                    return Ok(Some(value));
                }
            }
            Ok(None)
        })
        .with_context(|| format!("following {}", self.path.display()))
    }

    /// Reads on until a line contains `text`.
    pub fn wait_for_text(&mut self, text: &str, deadline: Duration) -> Result<()> {
        self.wait_for(&format!("line with '{text}'"), deadline, |line| {
            line.contains(text).then_some(())
        })
    }

    fn read_more(&mut self) -> Result<()> {
        let mut file = match File::open(&self.path) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            other => other?,
        };
        file.seek(SeekFrom::Start(self.read))?;
        self.read += file.read_to_end(&mut self.partial)? as u64;
        Ok(())
    }
}

/// The last lines of a log, without the escapes that a terminal would act on.
pub fn tail(path: &Path, lines: usize) -> Result<String> {
    let bytes = fs::read(path).with_context(|| format!("reading {}", path.display()))?;
    let text = String::from_utf8_lossy(&bytes).replace(['\x1b', '\r'], "");
    let all: Vec<&str> = text.lines().collect();
    Ok(all
        .get(all.len().saturating_sub(lines)..)
        .unwrap_or(&[])
        .join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn hands_out_whole_lines_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        fs::write(&path, "old\n").unwrap();
        let mut console = Console::follow(path.clone());
        let mut file = fs::OpenOptions::new().append(true).open(&path).unwrap();
        write!(file, "one\r\ntwo\nthr").unwrap();
        console.wait_for_text("one", Duration::ZERO).unwrap();
        console.wait_for_text("two", Duration::ZERO).unwrap();
        assert!(console.wait_for_text("thr", Duration::ZERO).is_err());
        writeln!(file, "ee").unwrap();
        console.wait_for_text("three", Duration::ZERO).unwrap();
        assert_eq!(tail(&path, 2).unwrap(), "two\nthree");
    }
}
