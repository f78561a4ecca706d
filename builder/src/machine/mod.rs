//! One virtual machine of a board: disks, a network, a watchdog, and a console that is kept in a file.

mod accel;
mod arguments;
pub mod console;
pub mod lines;
pub mod qmp;
pub mod wait;

use std::ffi::OsString;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use edge_ota::cmd::Cmd;
use serde_json::json;
use tempfile::TempDir;

use crate::board::{Board, Qemu};
use qmp::Qmp;

/// Where a guest finds the host's loopback.
pub const HOST: &str = "10.0.2.2";

#[derive(Debug, Clone)]
pub struct Config {
    /// Holds `console.log`, `qemu.log` and the firmware's variables `vars.qcow2`.
    pub dir: PathBuf,
    /// qcow2 files; the first one is booted.
    pub disks: Vec<PathBuf>,
    pub qemu: Qemu,
    pub firmware: Firmware,
    pub cpus: u32,
    pub memory_mib: u32,
    pub network: Network,
    /// Further arguments for QEMU.
    pub more: Vec<OsString>,
}

/// Where the machine's card leads.
#[derive(Debug, Clone)]
pub enum Network {
    /// QEMU's own network, which reaches the host at [`HOST`].
    Own {
        /// Ports of the host's loopback, and where they lead in the guest.
        forwards: Vec<(u16, u16)>,
    },
    /// As [`Network::Own`]; the machine boots from a file that QEMU serves by TFTP, where its disks hold nothing.
    OwnWithTftp { dir: PathBuf, file: String },
    /// A tap device of the host's; the machine boots from the network where its disks hold nothing.
    Tap { device: String, mac: String },
}

#[derive(Debug, Clone)]
pub struct Firmware {
    pub code: PathBuf,
    /// As they leave the factory; none for firmware that keeps none.
    pub vars: Option<PathBuf>,
    pub secure_boot: bool,
}

impl Firmware {
    /// What is installed below `root`.
    pub fn installed(qemu: &Qemu, root: &Path) -> Result<Self> {
        let found = qemu.firmware(root)?;
        Ok(Self {
            code: root.join(&found.code),
            vars: found.vars.as_ref().map(|vars| root.join(vars)),
            secure_boot: false,
        })
    }
}

impl Config {
    pub fn console_log(&self) -> PathBuf {
        self.dir.join("console.log")
    }

    /// What QEMU itself complains of.
    pub fn qemu_log(&self) -> PathBuf {
        self.dir.join("qemu.log")
    }
}

/// How QEMU runs a board.
pub fn qemu_of(board: &Board) -> Result<&Qemu> {
    let qemu = board.qemu.as_ref();
    qemu.with_context(|| {
        format!(
            "board {} has no [qemu] section: it runs on hardware only",
            board.name
        )
    })
}

/// A machine that was powered on. It ends with this value.
pub struct Machine {
    config: Config,
    process: Process,
    pub qmp: Qmp,
    /// Holds the control socket as long as QEMU may be asked.
    _sockets: TempDir,
}

impl Machine {
    pub fn start(config: Config) -> Result<Self> {
        fs::create_dir_all(&config.dir)
            .with_context(|| format!("creating {}", config.dir.display()))?;
        let vars = config.dir.join("vars.qcow2");
        if let Some(empty) = config.firmware.vars.as_ref().filter(|_| !vars.exists()) {
            Cmd::new("qemu-img")
                .args(["convert", "-O", "qcow2"])
                .arg(empty)
                .arg(&vars)
                .run()?;
        }
        // A path of a socket has at most 107 bytes.
        let sockets = tempfile::tempdir()?;
        let socket = sockets.path().join("qmp");
        let log = File::create(config.qemu_log())?;
        let process = Process(
            Cmd::new(format!("qemu-system-{}", config.qemu.system))
                .args(arguments::of(&config, &vars, &socket)?)
                .spawn(Stdio::null(), Stdio::from(log))?,
        );
        let qmp = Qmp::connect(&socket).with_context(|| complaint(&config))?;
        Ok(Self {
            config,
            process,
            qmp,
            _sockets: sockets,
        })
    }

    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Whether QEMU has ended, and how.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        self.process.0.try_wait().context("asking for QEMU")
    }

    /// What QEMU said last, for an error's context.
    pub fn last_complaint(&self) -> String {
        complaint(&self.config)
    }

    /// A power cut: what the guest has not written out is lost.
    pub fn kill(&mut self) -> Result<()> {
        self.process.0.kill().context("killing QEMU")?;
        self.process.0.wait().context("waiting for QEMU").map(drop)
    }

    /// Powers the same machine on again after its end.
    pub fn power_on(&mut self) -> Result<()> {
        ensure!(self.ended()?.is_some(), "the machine still runs");
        *self = Self::start(self.config.clone())?;
        Ok(())
    }

    /// Ends QEMU and waits until its disks are closed.
    pub fn quit(mut self) -> Result<()> {
        self.qmp.execute("quit", json!({}))?;
        self.wait_for_exit(Duration::from_secs(60))
    }

    pub fn wait_for_exit(&mut self, deadline: Duration) -> Result<()> {
        wait::until("end of QEMU", deadline, || Ok(self.ended()?.map(drop)))
    }
}

/// Ends with its owner, whatever happens in between. It is in our process group: a signal for that ends both.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        // Both fail only for a process that has ended and been reaped.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn complaint(config: &Config) -> String {
    let said = console::tail(&config.qemu_log(), 5).unwrap_or_else(|e| format!("{e:#}"));
    format!("running QEMU, which said '{}'", said.replace('\n', " | "))
}
