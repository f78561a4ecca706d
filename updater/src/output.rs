//! What people read: results on stdout, the rest on stderr. A reader that has gone (`edge-ota history | head`, a
//! connection that broke) stops neither an upgrade nor the reboot after it.

use std::fmt::Display;
use std::io::{self, ErrorKind, Write};

/// A result, with an end of line.
pub fn line(text: impl Display) -> io::Result<()> {
    print(format_args!("{text}\n"))
}

/// A result as it is.
pub fn print(text: impl Display) -> io::Result<()> {
    ignore_closed(write_to(&mut io::stdout().lock(), &text))
}

/// A word beside the results.
pub fn say(text: impl Display) {
    // Nobody is left to be told.
    let _ = write_to(&mut io::stderr().lock(), &format_args!("{text}\n"));
}

fn write_to(to: &mut impl Write, text: &impl Display) -> io::Result<()> {
    write!(to, "{text}")?;
    to.flush()
}

fn ignore_closed(written: io::Result<()>) -> io::Result<()> {
    match written {
        Err(e) if e.kind() == ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn only_a_closed_pipe_is_no_error() {
        let (reader, mut writer) = UnixStream::pair().unwrap();
        write_to(&mut writer, &"kept").unwrap();
        drop(reader);
        let written = write_to(&mut writer, &"lost");
        assert_eq!(written.as_ref().unwrap_err().kind(), ErrorKind::BrokenPipe);
        ignore_closed(written).unwrap();
        let full = io::Error::from(ErrorKind::StorageFull);
        assert!(ignore_closed(Err(full)).is_err());
    }
}
