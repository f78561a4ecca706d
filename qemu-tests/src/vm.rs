//! One virtual machine of a board: a disk or two, a network with SSH, a watchdog.

use std::ffi::OsString;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail, ensure};
use edge_build::board::{Board, Qemu};
pub use edge_build::machine::HOST;
use edge_build::machine::console::{self, Console};
use edge_build::machine::{Config, Machine, Network, qemu_of, wait};
use edge_ota::cmd::Cmd;
use serde_json::json;

use crate::hardware;
use crate::lan;
use crate::status::Status;

/// From power on to a verdict under emulation, on a busy machine.
pub const BOOT: Duration = Duration::from_secs(600);

/// Where guests report, `/dev/virtio-ports/` and this; the same on every board.
const REPORT_PORT: &str = "edge-test";

/// One SSH command. The handshake alone takes seconds under emulation, more on a busy host, hence the
/// generous `ConnectTimeout`s, which count it in.
const COMMAND_SECONDS: &str = "600";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Firmware {
    Plain,
    /// Microsoft's keys enrolled, Secure Boot on.
    SecureBoot,
    Bios,
}

/// Where a machine's card leads.
#[derive(Debug, Clone)]
pub enum Cable {
    /// QEMU's own network; SSH by a port of the loopback.
    Own,
    /// The same, with a file to boot that QEMU serves by TFTP.
    OwnWithTftp { dir: PathBuf, file: String },
    /// The network of [`crate::lan`].
    Lan(Card),
}

#[derive(Debug, Clone)]
pub struct Card {
    pub mac: String,
    /// What DHCP gives it.
    pub address: String,
}

/// What is in the machine beside its disks; it boots from it where they hold nothing.
#[derive(Debug, Clone)]
pub enum Medium {
    Disc(PathBuf),
    Stick(PathBuf),
}

#[derive(Debug, Clone)]
pub struct VmConfig {
    /// Holds `console.log`, `report.log` and the firmware's variables `vars.qcow2`.
    pub dir: PathBuf,
    /// qcow2 files; the first one is booted.
    pub disks: Vec<PathBuf>,
    pub qemu: Qemu,
    pub firmware: Firmware,
    pub cpus: u32,
    pub memory_mib: u32,
    pub cable: Cable,
    pub medium: Option<Medium>,
    /// In the firmware's tables.
    pub serial: String,
    /// Private key for root.
    pub ssh_key: PathBuf,
}

impl VmConfig {
    /// What the tests run on: 512 MiB and two processors.
    pub fn new(board: &Board, dir: PathBuf, disk: PathBuf, ssh_key: PathBuf) -> Result<Self> {
        let (firmware, cpus, memory_mib) = (Firmware::Plain, 2, 512);
        Ok(Self {
            dir,
            disks: vec![disk],
            qemu: qemu_of(board)?.clone(),
            firmware,
            cpus,
            memory_mib,
            cable: Cable::Own,
            medium: None,
            serial: "edge-0".to_owned(),
            ssh_key,
        })
    }

    pub fn boot_disk(&self) -> Result<&Path> {
        self.disks
            .first()
            .map(PathBuf::as_path)
            .context("the machine has no disk")
    }

    fn report_log(&self) -> PathBuf {
        self.dir.join("report.log")
    }

    fn network(&self, ssh: &Ssh) -> Network {
        match &self.cable {
            Cable::Own => Network::Own {
                forwards: vec![(ssh.port, 22)],
            },
            Cable::OwnWithTftp { dir, file } => Network::OwnWithTftp {
                dir: dir.clone(),
                file: file.clone(),
            },
            Cable::Lan(card) => Network::Tap {
                device: lan::TAP.to_owned(),
                mac: card.mac.clone(),
            },
        }
    }

    fn ssh(&self) -> Result<Ssh> {
        Ok(match &self.cable {
            Cable::Lan(card) => Ssh {
                host: card.address.clone(),
                port: 22,
            },
            _ => Ssh {
                host: "127.0.0.1".to_owned(),
                port: free_port()?,
            },
        })
    }

    fn machine(&self, ssh: &Ssh, extra: &[&str]) -> Result<Config> {
        let report = self.report_log();
        let mut more: Vec<OsString> = vec![
            "-chardev".into(),
            format!("file,id=report,append=on,path={}", report.display()).into(),
            "-device".into(),
            format!("virtserialport,chardev=report,name={REPORT_PORT}").into(),
        ];
        if self.qemu.system != "arm" {
            more.extend(["-smbios", &format!("type=1,serial={}", self.serial)].map(OsString::from));
        }
        if let Some(medium) = &self.medium {
            more.extend(medium.arguments(self.disks.len()));
        }
        more.extend(extra.iter().map(OsString::from));
        Ok(Config {
            dir: self.dir.clone(),
            disks: self.disks.clone(),
            qemu: self.qemu.clone(),
            firmware: hardware::firmware(&self.qemu, self.firmware)?,
            cpus: self.cpus,
            memory_mib: self.memory_mib,
            network: self.network(ssh),
            more,
        })
    }
}

impl Medium {
    fn arguments(&self, boot_index: usize) -> Vec<OsString> {
        let (image, devices) = match self {
            Medium::Disc(image) => (image, &["ide-cd"][..]),
            Medium::Stick(image) => (image, &["qemu-xhci", "usb-storage"][..]),
        };
        let drive = format!(
            "if=none,id=medium,format=raw,readonly=on,file={}",
            image.display()
        );
        let mut arguments = vec!["-drive".into(), drive.into()];
        for device in devices {
            let options = match *device {
                "qemu-xhci" => String::new(),
                _ => format!(",drive=medium,bootindex={boot_index}"),
            };
            arguments.extend(["-device".into(), format!("{device}{options}").into()]);
        }
        arguments
    }
}

pub struct Vm {
    config: VmConfig,
    machine: Machine,
    pub console: Console,
    reports: Console,
    ssh: Ssh,
}

/// Where a guest answers.
struct Ssh {
    host: String,
    port: u16,
}

impl Vm {
    /// Powers a machine on.
    pub fn start(config: VmConfig) -> Result<Self> {
        Self::launch(config, &[])
    }

    /// Starts a machine from the snapshot that [`Vm::save`] left in its disks, its clock set right.
    pub fn resume(config: VmConfig, snapshot: &str) -> Result<Self> {
        let mut vm = Self::launch(config, &["-loadvm", snapshot])?;
        vm.wait_for_ssh(Duration::from_secs(60))?;
        vm.set_clock()?;
        Ok(vm)
    }

    /// Freezes the running machine into a snapshot and ends it.
    pub fn save(mut self, snapshot: &str) -> Result<()> {
        let qmp = &mut self.machine.qmp;
        qmp.execute("stop", json!({}))?;
        qmp.monitor(&format!("savevm {snapshot}"))?;
        self.quit()
    }

    /// A power cut: what the guest has not written out is lost.
    pub fn kill(&mut self) -> Result<()> {
        self.machine.kill()
    }

    /// Powers the same machine on again after its end.
    pub fn power_on(&mut self) -> Result<()> {
        ensure!(self.machine.ended()?.is_some(), "the machine still runs");
        *self = Self::start(self.config.clone())?;
        Ok(())
    }

    /// Ends QEMU and waits until its disks are closed.
    pub fn quit(self) -> Result<()> {
        self.machine.quit()
    }

    /// From now on a reboot of the guest ends QEMU, so that its disks can be changed between two boots.
    pub fn stop_at_reboot(&mut self) -> Result<()> {
        self.machine
            .qmp
            .execute("set-action", json!({"reboot": "shutdown"}))
            .map(drop)
    }

    pub fn wait_for_exit(&mut self, deadline: Duration) -> Result<()> {
        self.machine.wait_for_exit(deadline)
    }

    /// Waits for `RESET`, `SHUTDOWN` or `WATCHDOG`.
    pub fn wait_for_event(&mut self, name: &str, deadline: Duration) -> Result<()> {
        self.machine.qmp.wait_for_event(name, deadline).map(drop)
    }

    /// The next thing the guest says about itself on its second serial port, once in each boot after
    /// the verdict: nothing is asked of the guest.
    pub fn wait_for_report(&mut self, deadline: Duration) -> Result<Status> {
        let line = self
            .reports
            .wait_for("report of the guest", deadline, |line| {
                line.starts_with('{').then(|| line.to_owned())
            })?;
        Status::parse(&line)
    }

    /// Waits for a line of the guest on its second serial port.
    pub fn wait_for_mark(&mut self, mark: &str, deadline: Duration) -> Result<()> {
        self.reports.wait_for_text(mark, deadline)
    }

    pub fn wait_for_ssh(&mut self, deadline: Duration) -> Result<()> {
        wait::until("answer over SSH", deadline, || {
            if let Some(status) = self.machine.ended()? {
                bail!(
                    "QEMU ended ({status}): {}",
                    console::tail(&self.machine.config().qemu_log(), 5)?
                );
            }
            let output = self
                .ssh_command("true", &["-o", "ConnectTimeout=30"])
                .complete()?;
            Ok(output.status.success().then_some(()))
        })
    }

    /// Runs a shell line as root; its status is the caller's to judge.
    pub fn ssh(&self, line: &str) -> Result<Output> {
        self.ssh_command(line, &["-o", "ConnectTimeout=60"])
            .complete()
    }

    /// Runs a shell line as root that must succeed, and returns what it printed.
    pub fn ask(&self, line: &str) -> Result<String> {
        let output = self.ssh(line)?;
        let stderr = String::from_utf8_lossy(&output.stderr);
        ensure!(
            output.status.success(),
            "'{line}' failed in the guest ({}): {}",
            output.status,
            stderr.trim()
        );
        Ok(String::from_utf8_lossy(&output.stdout)
            .trim_end()
            .to_owned())
    }

    /// As [`Vm::ask`], by another user who has root's key.
    pub fn ask_as(&self, user: &str, line: &str) -> Result<String> {
        let text = self
            .ssh_command_as(user, line, &["-o", "ConnectTimeout=60"])
            .text();
        Ok(text?.trim_end().to_owned())
    }

    /// Runs a shell line as root, for its exit code.
    pub fn exit_code(&self, line: &str) -> Result<i32> {
        let output = self.ssh(line)?;
        match output.status.code() {
            None | Some(124 | 255) => bail!(
                "'{line}' did not reach the guest: {}",
                String::from_utf8_lossy(&output.stderr).trim()
            ),
            Some(code) => Ok(code),
        }
    }

    pub fn boot_id(&self) -> Result<String> {
        self.ask("cat /proc/sys/kernel/random/boot_id")
    }

    /// Waits until the guest answers from another boot than `old`.
    pub fn wait_for_new_boot(&mut self, old: &str, deadline: Duration) -> Result<String> {
        wait::until("other boot id", deadline, || {
            let output = self
                .ssh_command(
                    "cat /proc/sys/kernel/random/boot_id",
                    &["-o", "ConnectTimeout=30"],
                )
                .complete()?;
            let id = String::from_utf8_lossy(&output.stdout).trim().to_owned();
            Ok((output.status.success() && id != old).then_some(id))
        })
    }

    /// A guest that slept in a snapshot believes in the time of its sleep.
    pub fn set_clock(&self) -> Result<()> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
        self.ask(&format!("date -s @{now}")).map(drop)
    }

    pub fn config(&self) -> &VmConfig {
        &self.config
    }

    /// The ends of its logs, for the report of a failed test.
    pub fn last_words(&mut self) -> Result<String> {
        let console = console::tail(&self.machine.config().console_log(), 40)?;
        let reports = console::tail(&self.config.report_log(), 5)?;
        let machine = self
            .processors()
            .unwrap_or_else(|e| format!("QEMU does not answer: {e:#}"));
        Ok(format!(
            "--- console\n{console}\n--- reports\n{reports}\n--- machine\n{machine}"
        ))
    }

    /// Where its processors are: a machine that hangs says nothing itself.
    fn processors(&mut self) -> Result<String> {
        let events = self.machine.qmp.unheard_events()?.join(" ");
        let registers = self.machine.qmp.ask_monitor("info registers -a")?;
        let places = registers.lines().filter(|line| {
            ["CPU#", "RIP=", "EIP=", " PC=", "R15=", "PSR="]
                .iter()
                .any(|what| line.contains(what))
        });
        let places: Vec<&str> = places.map(str::trim).collect();
        Ok(format!("events: {events}\n{}", places.join("\n")))
    }

    fn launch(config: VmConfig, extra: &[&str]) -> Result<Self> {
        let ssh = config.ssh()?;
        let machine = config.machine(&ssh, extra)?;
        Ok(Self {
            console: Console::follow(machine.console_log()),
            reports: Console::follow(config.report_log()),
            machine: Machine::start(machine)?,
            ssh,
            config,
        })
    }

    fn ssh_command(&self, line: &str, options: &[&str]) -> Cmd {
        self.ssh_command_as("root", line, options)
    }

    fn ssh_command_as(&self, user: &str, line: &str, options: &[&str]) -> Cmd {
        Cmd::new("timeout")
            .args([
                COMMAND_SECONDS,
                "ssh",
                "-q",
                "-F",
                "/dev/null",
                "-o",
                "BatchMode=yes",
            ])
            .args([
                "-o",
                "StrictHostKeyChecking=no",
                "-o",
                "UserKnownHostsFile=/dev/null",
            ])
            .args(["-o", "ServerAliveInterval=5", "-o", "ServerAliveCountMax=6"])
            .args(options)
            .arg("-i")
            .arg(&self.config.ssh_key)
            .args(["-p", &self.ssh.port.to_string(), "-l", user])
            .args([&self.ssh.host, line])
    }
}

/// A port that is free on the loopback at this moment.
pub fn free_port() -> Result<u16> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).context("looking for a free port")?;
    Ok(listener.local_addr()?.port())
}
