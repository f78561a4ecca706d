//! A bare U-Boot and a disk of ours, with stubs for kernels: what does the script boot, what does it write?

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use edge_ota::board::BootFlavour;
use edge_ota::boot::OnDisk;
use edge_ota::boot::on_disk::{BOOTS_SECTOR, TRIAL_SECTORS};
use edge_ota::boot::records::BootsRecord;
use edge_ota::cmd::Cmd;
use edge_ota::durable;
use edge_ota::media::{self, Place, filesystems, layout, layout::Layout, uboot};
use edge_ota::types::Slot;
use tempfile::TempDir;

mod stub;

pub use stub::device_tree;

/// Where Debian's u-boot-qemu has its builds. `EDGE_TEST_UBOOT` names another such folder.
const BUILDS: &str = "/usr/lib/u-boot";
const SECTOR: u64 = 512;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cpu {
    Armv7,
    Armv8,
}

/// A disk in the making: its partitions are a folder and a file until the power is on.
pub struct Machine {
    cpu: Cpu,
    dir: TempDir,
    layout: Layout,
}

/// What came of a power-on.
#[derive(Debug)]
pub struct Outcome {
    /// The command line of the kernel that ran; `None` where U-Boot reset in the end.
    pub booted: Option<Booted>,
    pub console: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Booted {
    /// What the stub, the initramfs and the device tree say of themselves.
    pub kernel: String,
    pub initramfs: String,
    pub tree: Option<String>,
    pub command_line: Vec<String>,
}

/// A sector of `edge-trial` that cannot be written, or neither written nor read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BadSector {
    pub sector: u64,
    pub reads: bool,
}

/// Of the files on the disk.
const TIME: u64 = 1_790_000_000;

impl Machine {
    /// A partitioned disk with the script, no slots, and empty records.
    pub fn new(cpu: Cpu) -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let layout = layout::layout(1 << 30, "uboot", &[])?.for_uboot();
        let disk = dir.path().join("blank.raw");
        fs::File::create(&disk)?.set_len(layout.size)?;
        media::partition(&disk, &layout)?;
        uboot::write_fat(
            &Place::in_image(&disk, &layout.esp),
            &uboot::make_script(&layout, dir.path())?,
            TIME,
        )?;
        let machine = Self { cpu, dir, layout };
        machine.reset()?;
        Ok(machine)
    }

    /// Empty records, no slots and a whole script again.
    pub fn reset(&self) -> Result<()> {
        match fs::remove_dir_all(self.boot_dir()) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(e.into()),
            _ => fs::create_dir(self.boot_dir())?,
        }
        let script = self.dir.path().join(uboot::SCRIPT);
        fs::copy(&script, self.boot_dir().join(uboot::SCRIPT))?;
        uboot::write_fat(
            &Place::in_image(&self.dir.path().join("blank.raw"), &self.layout.esp),
            &script,
            TIME,
        )?;
        filesystems::write_trial(&self.trial_file(), self.dir.path(), TIME)
    }

    /// Puts other bytes in the place of the script on the FAT partition, until the next [`Machine::reset`].
    pub fn put_script(&self, bytes: &[u8]) -> Result<()> {
        let dir = tempfile::tempdir()?;
        let script = dir.path().join(uboot::SCRIPT);
        fs::write(&script, bytes)?;
        uboot::write_fat(
            &Place::in_image(&self.dir.path().join("blank.raw"), &self.layout.esp),
            &script,
            TIME,
        )
    }

    /// The script for a disk whose `edge-trial` lies elsewhere.
    pub fn script_of_another_disk(&self) -> Result<Vec<u8>> {
        let mut layout = self.layout.clone();
        layout.trial.start += SECTOR;
        let dir = tempfile::tempdir()?;
        fs::read(uboot::make_script(&layout, dir.path())?).context("reading the script")
    }

    pub fn script(&self) -> Result<Vec<u8>> {
        fs::read(self.dir.path().join(uboot::SCRIPT)).context("reading the script")
    }

    /// As Linux sees the disk while the machine is off.
    pub fn control(&self) -> OnDisk {
        OnDisk::in_folder(BootFlavour::Uboot, &self.boot_dir(), &self.trial_file())
    }

    /// What becomes `edge-boot`.
    pub fn boot_dir(&self) -> PathBuf {
        self.dir.path().join("boot")
    }

    pub fn trial_file(&self) -> PathBuf {
        self.dir.path().join("trial.img")
    }

    /// A kernel that says its name.
    pub fn kernel(&self, name: &str) -> Result<Vec<u8>> {
        stub::kernel(self.cpu, name)
    }

    /// Room for a test's own files.
    pub fn work_dir(&self) -> &Path {
        self.dir.path()
    }

    /// Where the loader looks for the root file system.
    pub fn root_uuid(&self) -> String {
        self.layout.root.uuid.to_lowercase()
    }

    pub fn write_trial_copy(&self, copy: usize, bytes: &[u8]) -> Result<()> {
        let sector = TRIAL_SECTORS.get(copy).context("there are two copies")?;
        durable::overwrite(&self.trial_file(), sector * SECTOR, bytes)
    }

    pub fn write_boots(&self, record: &BootsRecord) -> Result<()> {
        durable::overwrite(
            &self.trial_file(),
            BOOTS_SECTOR * SECTOR,
            &record.to_bytes(),
        )
    }

    pub fn trial_copy(&self, copy: usize) -> Result<Vec<u8>> {
        let sector = TRIAL_SECTORS.get(copy).context("there are two copies")?;
        let bytes = fs::read(self.trial_file())?;
        let start = usize::try_from(sector * SECTOR)?;
        bytes
            .get(start..start + 1024)
            .map(<[u8]>::to_vec)
            .context("the partition is too small")
    }

    /// Powers on, until the stub of a kernel switches off or U-Boot resets.
    pub fn power_on(&self, bad: Option<BadSector>) -> Result<Outcome> {
        let disk = self.dir.path().join("disk.raw");
        Cmd::new("cp")
            .arg("--sparse=always")
            .arg(self.dir.path().join("blank.raw"))
            .arg(&disk)
            .run()?;
        let before = fs::read(self.trial_file())?;
        durable::overwrite(&disk, self.layout.trial.start, &before)?;
        filesystems::write_boot(
            &Place::in_image(&disk, &self.layout.boot),
            &self.boot_dir(),
            TIME,
        )?;
        let console = self.run(&disk, bad)?;
        self.take_records(&disk, &before)?;
        outcome(console)
    }

    /// The records as U-Boot left them; nothing else of the partition may have changed.
    fn take_records(&self, disk: &Path, before: &[u8]) -> Result<()> {
        let copy = self.trial_file();
        Cmd::new("dd")
            .args(["bs=1M", "count=1", "status=none"])
            .arg(format!("if={}", disk.display()))
            .arg(format!("skip={}", self.layout.trial.start >> 20))
            .arg(format!("of={}", copy.display()))
            .run()?;
        let after = fs::read(&copy)?;
        let sectors = before.chunks(512).zip(after.chunks(512)).enumerate();
        for (n, (before, after)) in sectors {
            let ours = TRIAL_SECTORS
                .into_iter()
                .chain([BOOTS_SECTOR])
                .any(|sector| sector == n as u64);
            ensure!(ours || before == after, "U-Boot changed sector {n}");
        }
        Ok(())
    }

    /// Powers on with a whole disk that was made elsewhere, a raw image.
    pub fn power_on_disk(&self, disk: &Path) -> Result<Outcome> {
        outcome(self.run(disk, None)?)
    }

    /// Virtual time is counted in instructions, so that waiting for a key takes none.
    fn run(&self, disk: &Path, bad: Option<BadSector>) -> Result<String> {
        let rules = self.dir.path().join("blkdebug.conf");
        fs::write(&rules, bad.map_or(String::new(), |bad| self.rules(bad)))?;
        let builds = std::env::var("EDGE_TEST_UBOOT").unwrap_or_else(|_| BUILDS.to_owned());
        let (system, cpu, build) = match self.cpu {
            Cpu::Armv7 => ("qemu-system-arm", "cortex-a15", "qemu_arm"),
            Cpu::Armv8 => ("qemu-system-aarch64", "cortex-a53", "qemu_arm64"),
        };
        let drive = format!(
            "if=none,id=disk,format=raw,werror=report,rerror=report,file=blkdebug:{}:{}",
            rules.display(),
            disk.display()
        );
        let output = Cmd::new("timeout")
            .args(["120", system, "-M", "virt", "-cpu", cpu])
            .args(["-m", "512", "-nographic", "-nic", "none", "-no-reboot"])
            .args(["-icount", "shift=10", "-drive", &drive, "-bios"])
            .arg(format!("{builds}/{build}/u-boot.bin"))
            .args(["-device", "virtio-blk-device,drive=disk"])
            .complete()?;
        let console = String::from_utf8_lossy(&output.stdout).replace('\r', "");
        ensure!(
            output.status.success(),
            "U-Boot did not come to an end ({}):\n{console}\n{}",
            output.status,
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(console)
    }

    /// QEMU's blkdebug: every request that touches the sector fails.
    fn rules(&self, bad: BadSector) -> String {
        let sector = self.layout.trial.start / SECTOR + bad.sector;
        let kinds: &[&str] = if bad.reads {
            &["read", "write"]
        } else {
            &["write"]
        };
        let rule = |kind: &&str| {
            format!(
                "[inject-error]\nevent = \"none\"\niotype = \"{kind}\"\nerrno = \"5\"\nsector = \"{sector}\"\n"
            )
        };
        kinds.iter().map(rule).collect()
    }
}

fn outcome(console: String) -> Result<Outcome> {
    let line = |mark: &str| {
        console
            .lines()
            .find_map(|line| Some(line.trim().strip_prefix(mark)?.to_owned()))
    };
    let booted = match line("edge-kernel=") {
        Some(kernel) => Some(Booted {
            kernel,
            initramfs: line("edge-initramfs=").context("the stub found no initramfs")?,
            tree: line("edge-tree="),
            command_line: line("root=")
                .map(|rest| format!("root={rest}"))
                .context("the stub found no command line")?
                .split_whitespace()
                .map(str::to_owned)
                .collect(),
        }),
        None if console.contains("resetting ...") => None,
        None => bail!("neither a kernel nor a reset:\n{console}"),
    };
    Ok(Outcome { booted, console })
}

impl Booted {
    pub fn slot(&self) -> Option<Slot> {
        self.value("edge_ota.slot")?.parse().ok()
    }

    /// The value of the argument.
    pub fn value(&self, key: &str) -> Option<&str> {
        self.command_line
            .iter()
            .find_map(|word| word.strip_prefix(key)?.strip_prefix('='))
    }
}
