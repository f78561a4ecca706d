//! Lines that come and go over a socket.

use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::interrupt;

/// How often somebody who waits looks whether a signal came.
const LOOK: Duration = Duration::from_secs(1);

pub struct Lines {
    stream: BufReader<UnixStream>,
    partial: Vec<u8>,
}

impl Lines {
    pub fn new(stream: UnixStream) -> Self {
        Self {
            stream: BufReader::new(stream),
            partial: Vec::new(),
        }
    }

    pub fn send(&mut self, line: &str) -> Result<()> {
        let sent = self
            .stream
            .get_mut()
            .write_all(format!("{line}\n").as_bytes());
        sent.context("writing to the socket")
    }

    /// The next line with its end, `None` at the deadline.
    pub fn next(&mut self, end: Instant) -> Result<Option<Vec<u8>>> {
        loop {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            interrupt::check()?;
            let stream = self.stream.get_ref();
            stream.set_read_timeout(Some(left.min(LOOK)))?;
            match self.stream.read_until(b'\n', &mut self.partial) {
                Ok(0) => bail!("QEMU closed the socket"),
                Ok(_) if self.partial.ends_with(b"\n") => {
                    return Ok(Some(std::mem::take(&mut self.partial)));
                }
                Ok(_) => {}
                Err(e)
                    if matches!(
                        e.kind(),
                        ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted
                    ) => {}
                Err(e) => return Err(e).context("reading from the socket"),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_come_whole_or_not_at_all() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let mut lines = Lines::new(ours);
        theirs.write_all(b"one\ntw").unwrap();
        let soon = || Instant::now() + Duration::from_millis(20);
        assert_eq!(lines.next(soon()).unwrap().as_deref(), Some(&b"one\n"[..]));
        assert_eq!(lines.next(soon()).unwrap(), None);
        theirs.write_all(b"o\n").unwrap();
        assert_eq!(lines.next(soon()).unwrap().as_deref(), Some(&b"two\n"[..]));
        lines.send("three").unwrap();
        let mut said = String::new();
        BufReader::new(theirs.try_clone().unwrap())
            .read_line(&mut said)
            .unwrap();
        assert_eq!(said, "three\n");
        theirs.shutdown(std::net::Shutdown::Both).unwrap();
        assert!(lines.next(soon()).is_err());
    }
}
