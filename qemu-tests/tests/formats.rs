//! One release in every format of a disk image: all of them hold the same disk, and machines run from it.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use edge_build::image::qemu_driver;
use edge_ota::cmd::Cmd;
use qemu_tests::hardware;
use qemu_tests::lab::{self, Lab};
use qemu_tests::status::State;
use qemu_tests::vm::{BOOT, Vm, VmConfig};

/// Their names, QEMU's word for each, and whether a machine boots from it here: qcow2 is what all other tests run from.
const FORMATS: [(&str, &str, bool); 6] = [
    ("qcow2", "qcow2", false),
    ("vhd", "vpc", true),
    ("vhd-fixed", "vpc", false),
    ("vhdx", "vhdx", true),
    ("vmdk", "vmdk", true),
    ("raw.zst", "raw", false),
];

#[test]
fn image_of_every_format_holds_the_disk_and_boots() -> Result<()> {
    let lab = Lab::open("x86_64")?;
    let dir = empty_folder(&lab, "formats")?;
    let raw = make(&lab, &dir, "raw")?;
    for (format, driver, boot) in FORMATS {
        let image = make(&lab, &dir, format)?;
        let image = match format {
            "raw.zst" => unpacked(&image)?,
            _ => image,
        };
        ensure!(
            qemu_driver(&image)? == driver,
            "{format} is known as another"
        );
        lab::step(&format!("compare {format} with raw"), || {
            same(&raw, driver, &image)
        })?;
        if boot {
            lab::step(&format!("boot {format}"), || boots(&lab, driver, &image))?;
        }
        fs::remove_file(&image)?;
    }
    fs::remove_dir_all(&dir).with_context(|| format!("removing {}", dir.display()))
}

/// `/var` on a partition of its own grows with the disk, the root does not; what is in it stays.
#[test]
fn image_of_a_disk_with_var_of_its_own() -> Result<()> {
    let lab = Lab::open("x86_64")?;
    let dir = empty_folder(&lab, "var")?;
    let image = make_with(&lab, &dir, "raw", &["--size", "2G", "--var", "300M"])?;
    let disk = dir.join("disk.qcow2");
    lab::overlay_of("raw", &image, &disk)?;
    let resize = Cmd::new("qemu-img").args(["resize", "-q", "-f", "qcow2"]);
    resize.arg(&disk).arg("3G").run()?;
    let mut vm = power_on(&lab, &dir, disk)?;
    good(&mut vm)?;
    vm.wait_for_ssh(BOOT)?;
    let label = "lsblk -no PARTLABEL $(findmnt -nvo SOURCE";
    ensure!(vm.ask(&format!("{label} /var)"))? == "edge-var");
    ensure!(vm.ask(&format!("{label} /sysroot)"))? == "edge-root");
    let mib = |mount: &str| -> Result<u64> {
        let bytes = vm.ask(&format!("findmnt -bno SIZE {mount}"))?;
        Ok(bytes.trim().parse::<u64>()? >> 20)
    };
    let (var, root) = (mib("/var")?, mib("/sysroot")?);
    ensure!((1100..1324).contains(&var), "/var has {var} MiB");
    ensure!((1200..1427).contains(&root), "the root has {root} MiB");
    vm.ask("echo kept > /var/lib/edge-test && sync && systemctl reboot")?;
    good(&mut vm)?;
    vm.wait_for_ssh(BOOT)?;
    ensure!(vm.ask("cat /var/lib/edge-test")? == "kept");
    vm.quit()?;
    fs::remove_dir_all(&dir).with_context(|| format!("removing {}", dir.display()))
}

fn empty_folder(lab: &Lab, name: &str) -> Result<PathBuf> {
    let dir = lab.runs.join(name);
    if dir.exists() {
        fs::remove_dir_all(&dir)?;
    }
    fs::create_dir_all(&dir)?;
    Ok(dir)
}

fn make(lab: &Lab, dir: &Path, format: &str) -> Result<PathBuf> {
    make_with(lab, dir, format, &[])
}

fn make_with(lab: &Lab, dir: &Path, format: &str, more: &[&str]) -> Result<PathBuf> {
    let image = dir.join(format!("image.{format}"));
    lab::step(&format!("make {format}"), || {
        lab.site
            .edge_build("image")
            .args(["--board", &lab.site.board, "--commit", lab.base.as_str()])
            .args(["--url", lab::NOWHERE, "--format", format])
            .args(more)
            .arg("--out")
            .arg(&image)
            .run()
    })?;
    Ok(image)
}

fn unpacked(image: &Path) -> Result<PathBuf> {
    let raw = image.with_extension("unpacked");
    let zstd = Cmd::new("zstd").args(["-q", "-d", "--rm", "-o"]);
    zstd.arg(&raw).arg(image).run()?;
    Ok(raw)
}

fn same(raw: &Path, driver: &str, image: &Path) -> Result<()> {
    let compare = Cmd::new("qemu-img").args(["compare", "-q", "-f", "raw", "-F", driver]);
    compare.arg(raw).arg(image).run()
}

fn boots(lab: &Lab, driver: &str, image: &Path) -> Result<()> {
    let dir = image.with_extension("machine");
    fs::create_dir_all(&dir)?;
    let disk = dir.join("disk.qcow2");
    lab::overlay_of(driver, image, &disk)?;
    let mut vm = power_on(lab, &dir, disk)?;
    good(&mut vm)?;
    vm.quit()
}

fn power_on(lab: &Lab, dir: &Path, disk: PathBuf) -> Result<Vm> {
    let board = hardware::board(&lab.site.board)?;
    let key = lab.ssh_key.clone();
    Vm::start(VmConfig::new(&board, dir.to_owned(), disk, key)?)
}

/// Waits for the verdict of a boot.
fn good(vm: &mut Vm) -> Result<()> {
    match vm.wait_for_report(BOOT) {
        Ok(report) if report.state == State::Good => Ok(()),
        Ok(report) => bail!("the boot ended in {report:?}\n{}", vm.last_words()?),
        Err(e) => Err(e.context(vm.last_words()?)),
    }
}
