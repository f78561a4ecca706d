//! One release in every format of a disk image: all of them hold the same disk, and machines run from it.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
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
    let dir = lab.runs.join("formats");
    if dir.exists() {
        fs::remove_dir_all(&dir)?;
    }
    fs::create_dir_all(&dir)?;
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

fn make(lab: &Lab, dir: &Path, format: &str) -> Result<PathBuf> {
    let image = dir.join(format!("image.{format}"));
    lab::step(&format!("make {format}"), || {
        lab.site
            .edge_build("image")
            .args(["--board", &lab.site.board, "--commit", lab.base.as_str()])
            .args(["--url", lab::NOWHERE, "--format", format, "--out"])
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
    let board = hardware::board(&lab.site.board)?;
    let mut vm = Vm::start(VmConfig::new(&board, dir, disk, lab.ssh_key.clone())?)?;
    match vm.wait_for_report(BOOT) {
        Ok(report) if report.state == State::Good => vm.quit(),
        Ok(report) => anyhow::bail!("the first boot ended in {report:?}\n{}", vm.last_words()?),
        Err(e) => Err(e.context(vm.last_words()?)),
    }
}
