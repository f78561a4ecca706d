//! The machine of a rehearsal, and the words it is driven by.

use std::collections::BTreeSet;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use tempfile::TempDir;

use super::driver;
use super::report::{self, Report, Said};
use crate::machine::lines::Lines;
use crate::machine::{Config, Machine};

pub struct Guest {
    machine: Machine,
    port: Lines,
    socket: TempDir,
    /// How long a boot may take to its verdict, and an upgrade to its end.
    patience: Duration,
}

/// Where an upgrade was when the power was cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Caught {
    InTheMiddle,
    /// It was too fast. Nothing is armed yet, so the old release must come up all the same.
    AtItsEnd,
}

impl Guest {
    /// Powers the machine on, with a port for the driver.
    pub fn power_on(mut config: Config, patience: Duration) -> Result<Self> {
        let socket = tempfile::tempdir()?;
        let path = socket.path().join("port");
        config.more.extend([
            "-chardev".into(),
            format!(
                "socket,id=rehearsal,server=on,wait=off,path={}",
                path.display()
            )
            .into(),
            "-device".into(),
            format!("virtserialport,chardev=rehearsal,name={}", driver::PORT).into(),
        ]);
        let machine = Machine::start(config)?;
        Ok(Self {
            machine,
            port: connect(&socket)?,
            socket,
            patience,
        })
    }

    /// Waits for the verdict of the boot under way. A trial that fails ends in another boot, whose verdict counts.
    pub fn verdict(&mut self) -> Result<Report> {
        let end = Instant::now() + self.patience;
        let (mut failed, mut log) = (BTreeSet::new(), Vec::new());
        loop {
            match self.said(end).context("waiting for the boot's verdict")? {
                Said::Failed(unit) => drop(failed.insert(unit)),
                Said::Log(line) => log.push(line),
                Said::Status(status) if status.state == edge_ota::decide::State::OnTrial => {
                    failed.clear();
                    log.clear();
                }
                Said::Status(status) => {
                    return Ok(Report {
                        status,
                        failed,
                        log,
                    });
                }
                // An answer that the reboot overtook.
                Said::Cut | Said::Done { .. } => {}
            }
        }
    }

    /// Has the channel's release installed into the other slot.
    pub fn upgrade(&mut self) -> Result<()> {
        self.order("upgrade")
    }

    /// Makes the release in the other slot the default again.
    pub fn rollback(&mut self) -> Result<()> {
        self.order("rollback")
    }

    pub fn reboot(&mut self) -> Result<Report> {
        self.port.send("reboot")?;
        self.verdict()
    }

    /// Begins an upgrade, and cuts the power while the slot is being written.
    pub fn cut_upgrade(&mut self) -> Result<Caught> {
        self.port.send("cut")?;
        let caught = match self.said(Instant::now() + self.patience)? {
            Said::Cut => Caught::InTheMiddle,
            Said::Done { code: 0, .. } => Caught::AtItsEnd,
            Said::Done { last_words, .. } => bail!("the upgrade failed: {last_words}"),
            other => bail!("the machine said {other:?} during an upgrade"),
        };
        self.machine.kill()?;
        Ok(caught)
    }

    /// Powers the machine on after the cut.
    pub fn power_on_again(&mut self) -> Result<Report> {
        self.machine.power_on()?;
        self.port = connect(&self.socket)?;
        self.verdict()
    }

    fn order(&mut self, word: &str) -> Result<()> {
        self.port.send(word)?;
        match self.said(Instant::now() + self.patience)? {
            Said::Done { code: 0, .. } => Ok(()),
            Said::Done { code, last_words } => {
                bail!("'edge-ota {word}' ended with {code}: {last_words}")
            }
            other => bail!("the machine answered '{word}' with {other:?}"),
        }
    }

    fn said(&mut self, end: Instant) -> Result<Said> {
        match self.port.next(end) {
            Ok(Some(line)) => report::parse(&String::from_utf8_lossy(&line)),
            Ok(None) => bail!(
                "nothing was heard for {}",
                humantime::format_duration(self.patience)
            ),
            Err(error) => Err(error.context(self.machine.last_complaint())),
        }
    }
}

/// QEMU listens before it answers on its control socket.
fn connect(socket: &TempDir) -> Result<Lines> {
    let path = socket.path().join("port");
    let stream = UnixStream::connect(&path);
    Ok(Lines::new(stream.with_context(|| {
        format!("connecting to {}", path.display())
    })?))
}
