//! A device under test: a running copy of the lab's machine and the web server it updates from.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use edge_ota::cmd::Cmd;
use edge_ota::types::{CommitChecksum, Slot};
use serde_json::Value;

use crate::hardware;
use crate::lab::{self, GOOD, Lab};
use crate::site::{self, Site};
use crate::status::{State, Status};
use crate::vm::{BOOT, Firmware, Vm, VmConfig};
use crate::web::Web;

pub struct Node {
    pub lab: Lab,
    pub site: Site,
    pub web: Web,
    pub vm: Vm,
    pub dir: PathBuf,
}

/// Runs one case on a machine that has just reached its good verdict. On failure the folder with the
/// logs and disks stays and the ends of the logs are printed.
pub fn case(name: &str, act: impl FnOnce(&mut Node) -> Result<()>) -> Result<()> {
    run(&site::board_under_test(), name, resumed, act)
}

/// As [`case`], on a board that the tests of every change run on beside the one under test.
pub fn case_on(board: &str, name: &str, act: impl FnOnce(&mut Node) -> Result<()>) -> Result<()> {
    run(board, name, resumed, act)
}

/// As [`case`], from power on with the firmware given.
pub fn case_from_power_on(
    name: &str,
    firmware: Firmware,
    act: impl FnOnce(&mut Node) -> Result<()>,
) -> Result<()> {
    run(
        &site::board_under_test(),
        name,
        |lab, dir| powered_on(lab, dir, firmware, Vec::new()),
        act,
    )
}

/// As [`case`], from power on with more disks beside the first; `more` makes them in the folder given.
pub fn case_with_disks(
    name: &str,
    more: impl FnOnce(&Lab, &Path) -> Result<Vec<PathBuf>>,
    act: impl FnOnce(&mut Node) -> Result<()>,
) -> Result<()> {
    let start = |lab: Lab, dir: PathBuf| {
        let disks = more(&lab, &dir)?;
        powered_on(lab, dir, Firmware::Plain, disks)
    };
    run(&site::board_under_test(), name, start, act)
}

impl Node {
    pub fn base(&self) -> CommitChecksum {
        self.lab.base.clone()
    }

    pub fn status(&self) -> Result<Status> {
        Status::parse(&self.vm.ask("edge-ota status --json")?)
    }

    pub fn history(&self) -> Result<Value> {
        let json = self.vm.ask("edge-ota history --json")?;
        serde_json::from_str(&json).with_context(|| format!("parsing the history '{json}'"))
    }

    /// Starts `edge-ota upgrade --reboot` as a user would and returns when the guest resets.
    pub fn upgrade(&mut self) -> Result<()> {
        let output = self.vm.ssh("edge-ota upgrade --reboot")?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        // The reboot cuts the connection, which ssh reports as 255.
        ensure!(
            matches!(output.status.code(), Some(0 | 255)),
            "the upgrade failed ({}): {said}",
            output.status
        );
        self.vm
            .wait_for_event("RESET", Duration::from_secs(120))
            .with_context(|| format!("the upgrade said: {said}"))
    }

    /// Waits, without asking anything of the guest, until it reports where it ended up.
    pub fn verdict(&mut self) -> Result<Status> {
        self.vm.wait_for_report(BOOT)
    }

    /// As [`Node::verdict`], and it must be this release in this slot, with nothing left on trial.
    pub fn expect(&mut self, slot: Slot, commit: &CommitChecksum) -> Result<Status> {
        let status = self.verdict()?;
        expect_settled(&status, slot, commit)?;
        self.vm.wait_for_ssh(BOOT)?;
        Ok(status)
    }

    /// Writes a settings fragment that wins over the image's.
    pub fn configure(&self, name: &str, toml: &str) -> Result<()> {
        let script = format!(
            "mkdir -p /etc/edge-ota/config.d && cat > /etc/edge-ota/config.d/{name}.toml <<'EOF'\n{toml}\nEOF"
        );
        self.vm.ask(&script).map(drop)
    }

    /// Power off and on again, as by pulling the plug.
    pub fn cut_power(&mut self) -> Result<()> {
        self.vm.kill()?;
        self.power_on()
    }

    /// Powers the machine on after QEMU has ended.
    pub fn power_on(&mut self) -> Result<()> {
        self.vm.power_on()
    }

    /// Where the updater has the boot partition mounted in the guest, read-only.
    pub fn boot_partition(&self) -> Result<String> {
        self.vm.ask(
            "edge-ota status >/dev/null && findmnt -nro TARGET -S PARTLABEL=edge-boot | head -n 1",
        )
    }

    /// As [`Node::boot_partition`], made writable until the next boot.
    pub fn writable_boot_partition(&self) -> Result<String> {
        let at = self.boot_partition()?;
        self.vm.ask(&format!("mount -o remount,rw {at}"))?;
        Ok(at)
    }
}

/// A good system in this slot that boots again.
pub fn expect_settled(status: &Status, slot: Slot, commit: &CommitChecksum) -> Result<()> {
    ensure!(
        status.booted.slot == slot,
        "slot {} was booted, not {slot}: {status:?}",
        status.booted.slot
    );
    ensure!(
        &status.booted.commit == commit,
        "{} was booted, not {commit}",
        status.booted.commit
    );
    ensure!(
        status.state == State::Good && status.trial.is_none() && status.default == slot,
        "not settled: {status:?}"
    );
    Ok(())
}

fn run(
    board: &str,
    name: &str,
    start: impl FnOnce(Lab, PathBuf) -> Result<Node>,
    act: impl FnOnce(&mut Node) -> Result<()>,
) -> Result<()> {
    let lab = Lab::open(board)?;
    let dir = lab.runs.join(name);
    if dir.exists() {
        fs::remove_dir_all(&dir)?;
    }
    fs::create_dir_all(&dir)?;
    let mut node = start(lab, dir.clone())
        .with_context(|| format!("starting the machine, see {}", dir.display()))?;
    match act(&mut node) {
        Ok(()) => {
            drop(node);
            fs::remove_dir_all(&dir).with_context(|| format!("removing {}", dir.display()))
        }
        Err(e) => {
            eprintln!(
                "{}\n--- all logs are in {}",
                node.vm.last_words()?,
                dir.display()
            );
            Err(e)
        }
    }
}

fn resumed(lab: Lab, dir: PathBuf) -> Result<Node> {
    let disk = dir.join("disk.qcow2");
    // The snapshot lives in the files themselves, so they are copied and not overlaid.
    for entry in fs::read_dir(&lab.asleep)? {
        let path = entry?.path();
        if path.extension().is_some_and(|e| e == "qcow2") {
            let name = path.file_name().context("a file without a name")?;
            fs::copy(&path, dir.join(name))
                .with_context(|| format!("copying {}", path.display()))?;
        }
    }
    rebase(&lab, &disk)?;
    let vm = Vm::resume(config(&lab, &dir, disk)?, GOOD)?;
    finish(lab, dir, vm)
}

fn powered_on(lab: Lab, dir: PathBuf, firmware: Firmware, more: Vec<PathBuf>) -> Result<Node> {
    let disk = dir.join("disk.qcow2");
    lab::overlay(&lab.image, &disk)?;
    let mut machine = VmConfig {
        firmware,
        ..config(&lab, &dir, disk)?
    };
    machine.disks.extend(more);
    let mut vm = Vm::start(machine)?;
    if let Err(e) = vm.wait_for_ssh(BOOT) {
        return Err(e.context(vm.last_words()?));
    }
    finish(lab, dir, vm)
}

fn config(lab: &Lab, dir: &Path, disk: PathBuf) -> Result<VmConfig> {
    let board = hardware::board(&lab.site.board)?;
    VmConfig::new(&board, dir.to_owned(), disk, lab.ssh_key.clone())
}

fn finish(lab: Lab, dir: PathBuf, vm: Vm) -> Result<Node> {
    let site = lab.site.copy_to(&dir.join("site"))?;
    let web = Web::serve(&site.dir)?;
    let node = Node {
        lab,
        site,
        web,
        vm,
        dir,
    };
    node.configure(
        "90-test",
        &format!("[source]\nurl = \"{}\"", node.web.url_for_guests()),
    )?;
    Ok(node)
}

/// Only the name of the backing file changes.
fn rebase(lab: &Lab, disk: &Path) -> Result<()> {
    Cmd::new("qemu-img")
        .args(["rebase", "-u", "-F", "qcow2", "-b"])
        .arg(&lab.image)
        .arg(disk)
        .run()
}
