//! Machines with an empty disk get their first system by the installer, without a hand at them.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use edge_ota::cmd::Cmd;
use edge_ota::types::{CommitChecksum, Slot};
use qemu_tests::disc::{self, INSTALL, MEMORY};
use qemu_tests::hardware;
use qemu_tests::lab::{Lab, NOWHERE};
use qemu_tests::lan::{self, Servers};
use qemu_tests::netboot;
use qemu_tests::node::expect_settled;
use qemu_tests::site::Site;
use qemu_tests::status::State;
use qemu_tests::vm::{BOOT, Cable, Firmware, HOST, Vm, VmConfig};
use qemu_tests::web::Web;

/// Where the site is served.
const PORT: u16 = 8080;

#[test]
fn a_machine_with_bios_installs_itself_over_the_network() -> Result<()> {
    lan::case(
        "a_machine_with_bios_installs_itself_over_the_network",
        prepare,
        |dir| {
            let lan = Lan::start(dir)?;
            let mut vm = lan.power_on("node", Firmware::Bios, &[netboot::empty_disk(dir)?])?;
            lan.installs_and_upgrades(&mut vm)
        },
    )
}

#[test]
fn install_over_the_network_by_uefi() -> Result<()> {
    lan::case("install_over_the_network_by_uefi", prepare, |dir| {
        let lan = Lan::start(dir)?;
        let mut vm = lan.power_on("node", Firmware::SecureBoot, &[netboot::empty_disk(dir)?])?;
        lan.installs_and_upgrades(&mut vm)
    })
}

/// Power goes when a third of the release is here; what is on the disk then is not booted.
#[test]
fn install_interrupted_begins_again() -> Result<()> {
    lan::case("install_interrupted_begins_again", prepare, |dir| {
        let lan = Lan::start(dir)?;
        let mut vm = lan.power_on("node", Firmware::Plain, &[netboot::empty_disk(dir)?])?;
        vm.console.wait_for_text("pulling: ", INSTALL)?;
        let many = |line: &str| pulled(line).filter(|percent| *percent >= 30);
        vm.console
            .wait_for("a third of the release", INSTALL, many)?;
        let config = vm.config().clone();
        vm.kill()?;
        lan.installs(&mut Vm::start(config)?)
    })
}

/// Two disks that could be meant: an error that names both, and neither is touched.
#[test]
fn install_never_guesses_between_two_disks() -> Result<()> {
    lan::case("install_never_guesses_between_two_disks", prepare, |dir| {
        let lan = Lan::start(dir)?;
        let disks = [disk(dir, "one", "4G")?, disk(dir, "two", "5G")?];
        let mut vm = lan.power_on("node", Firmware::Plain, &disks)?;
        lan.refuses(&mut vm, "could be /dev/vda")?;
        disks.iter().try_for_each(|disk| is_untouched(disk))
    })
}

#[test]
fn install_refuses_what_is_not_signed_for_it() -> Result<()> {
    let prepare = |lab: &Lab, dir: &Path| {
        prepare(lab, dir)?;
        // The site of somebody else, with the same release.
        let site = Site {
            keys: lab.strange_keys.clone(),
            ..site(lab, dir)?
        };
        fs::remove_file(site.manifest())?;
        fs::remove_dir_all(site.dir.join("root"))?;
        site.release_ungated(&lab.base)
    };
    lan::case(
        "install_refuses_what_is_not_signed_for_it",
        prepare,
        |dir| {
            let lan = Lan::start(dir)?;
            let disk = netboot::empty_disk(dir)?;
            let mut vm = lan.power_on("node", Firmware::Plain, std::slice::from_ref(&disk))?;
            lan.refuses(&mut vm, "manifest")?;
            is_untouched(&disk)
        },
    )
}

#[test]
fn install_refuses_a_disk_that_is_too_small() -> Result<()> {
    lan::case("install_refuses_a_disk_that_is_too_small", prepare, |dir| {
        let lan = Lan::start(dir)?;
        let disk = disk(dir, "small", "900M")?;
        let mut vm = lan.power_on("node", Firmware::Plain, std::slice::from_ref(&disk))?;
        lan.refuses(&mut vm, "bytes, ")?;
        is_untouched(&disk)
    })
}

/// The release comes from the disc; there is no network that could bring it.
#[test]
fn install_from_a_disc() -> Result<()> {
    let lab = Lab::open("x86_64")?;
    let dir = lab.runs.join("install_from_a_disc");
    let disc = disc::make(&lab.site, NOWHERE, &dir)?;
    let (mut vm, _) = disc::install(&disc, "x86_64", &lab.ssh_key, &dir)?;
    vm.wait_for_ssh(BOOT)?;
    let source = vm.ask("cat /etc/edge-ota/config.d/10-source.toml")?;
    ensure!(source.contains(NOWHERE), "{source}");
    vm.quit()?;
    fs::remove_dir_all(&dir).with_context(|| format!("removing {}", dir.display()))
}

/// The percentage in a line such as `pulling: 270 of 1188 objects`, once the number of objects is known.
fn pulled(line: &str) -> Option<u64> {
    let (_, rest) = line.split_once("pulling: ")?;
    let mut words = rest.split(' ');
    let here: u64 = words.next()?.parse().ok()?;
    let all: u64 = words.nth(1)?.parse().ok()?;
    (all > 3000).then(|| here * 100 / all)
}

/// The site that is served, an installer of its release, and what makes machines start it.
fn prepare(lab: &Lab, dir: &Path) -> Result<()> {
    let site = site(lab, dir)?;
    let kickstart = dir.join("node.ks");
    fs::write(
        &kickstart,
        format!(
            "ostreesetup --osname=edge --remote=edge --url=http://{HOST}:{PORT} --ref=channel:stable\n\
             zerombr\nclearpart --all --initlabel\nbootloader --append=\"edgetest=1\"\n\
             network --bootproto=dhcp --hostname=node7\nrootpw --lock\nreboot\n\
             %post\necho by-post > /etc/edge-test-post\n%end\n"
        ),
    )?;
    let installer = dir.join("installer");
    site.edge_build("installer")
        .args(["--board", &site.board, "--out"])
        .arg(&installer)
        .run()?;
    let kickstart = kickstart.display().to_string();
    let orders = ["--kickstart", kickstart.as_str()];
    netboot::folder(dir, &lan::url(), &[installer], &orders)?;
    fs::write(dir.join("base"), lab.base.as_str())?;
    fs::copy(&lab.ssh_key, dir.join("id"))?;
    Ok(())
}

fn site(lab: &Lab, dir: &Path) -> Result<Site> {
    lab.site.copy_to(&dir.join("site"))
}

struct Lan {
    dir: PathBuf,
    servers: Servers,
    _web: Web,
}

impl Lan {
    fn start(dir: &Path) -> Result<Self> {
        let folder = dir.join("pxe");
        let root = dir.join("site");
        let server = format!(
            "server {{\n    listen {PORT};\n    root {};\n  }}\n",
            root.display()
        );
        Ok(Self {
            dir: dir.to_owned(),
            servers: Servers::start(&folder, dir, &[lan::card(1)], Ok)?,
            _web: Web::serve_as(&server, PORT)?,
        })
    }

    fn power_on(&self, name: &str, firmware: Firmware, disks: &[PathBuf]) -> Result<Vm> {
        let dir = self.dir.join(name);
        fs::create_dir_all(&dir)?;
        let first = disks.first().context("no disk")?.clone();
        let config = VmConfig {
            disks: disks.to_vec(),
            firmware,
            memory_mib: MEMORY,
            cable: Cable::Lan(lan::card(1)),
            ..VmConfig::new(&hardware::board("x86_64")?, dir, first, self.dir.join("id"))?
        };
        Vm::start(config)
    }

    fn installs_and_upgrades(&self, vm: &mut Vm) -> Result<()> {
        self.installs(vm)?;
        let base = self.base()?;
        let next = self.site()?.publish(&base, "2", |tree| {
            tree.write("usr/share/edge-test/release", "2")
        })?;
        let output = vm.ssh("edge-ota upgrade --reboot")?;
        ensure!(
            matches!(output.status.code(), Some(0 | 255)),
            "the upgrade failed: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        let status = vm.wait_for_report(BOOT)?;
        expect_settled(&status, Slot::B, &next)?;
        vm.wait_for_ssh(BOOT)?;
        // What the kickstart file said is the device's own.
        let cmdline = vm.ask("cat /proc/cmdline")?;
        ensure!(cmdline.contains("edgetest=1"), "{cmdline}");
        vm.ask("test \"$(cat /etc/hostname)\" = node7 && test \"$(cat /etc/edge-test-post)\" = by-post")?;
        Ok(())
    }

    /// Up to a good verdict from the disk.
    fn installs(&self, vm: &mut Vm) -> Result<()> {
        let act = |vm: &mut Vm| -> Result<()> {
            vm.console.wait_for_text("edge-ota: installed: ", INSTALL)?;
            let status = vm.wait_for_report(BOOT)?;
            ensure!(
                status.state == State::Good,
                "the first boot ended in {status:?}"
            );
            expect_settled(&status, Slot::A, &self.base()?)?;
            vm.wait_for_ssh(BOOT)?;
            let history = vm.ask("edge-ota history")?;
            ensure!(history.contains("installed"), "{history}");
            Ok(())
        };
        act(vm).or_else(|error| self.explain(vm, error))
    }

    fn refuses(&self, vm: &mut Vm, why: &str) -> Result<()> {
        let failed = |line: &str| line.contains("edge-ota: failed: ").then(|| line.to_owned());
        let line = vm.console.wait_for("a refusal", INSTALL, failed);
        let line = line.or_else(|error| self.explain(vm, error))?;
        ensure!(
            line.contains(why),
            "it was refused, but not for '{why}': {line}"
        );
        vm.kill()
    }

    fn explain<T>(&self, vm: &mut Vm, error: anyhow::Error) -> Result<T> {
        let words = vm.last_words()?;
        Err(error.context(format!("{words}\n--- servers\n{}", self.servers.log()?)))
    }

    fn base(&self) -> Result<CommitChecksum> {
        Ok(fs::read_to_string(self.dir.join("base"))?.parse()?)
    }

    fn site(&self) -> Result<Site> {
        let lab = Lab::open("x86_64")?;
        Ok(Site {
            dir: self.dir.join("site"),
            ..lab.site
        })
    }
}

fn disk(dir: &Path, name: &str, size: &str) -> Result<PathBuf> {
    let disk = dir.join(format!("{name}.qcow2"));
    Cmd::new("qemu-img")
        .args(["create", "-q", "-f", "qcow2"])
        .arg(&disk)
        .arg(size)
        .run()?;
    Ok(disk)
}

/// Nothing was ever written to it.
fn is_untouched(disk: &Path) -> Result<()> {
    let map = Cmd::new("qemu-img")
        .args(["map", "--output=json"])
        .arg(disk)
        .text()?;
    ensure!(
        !map.contains("\"data\": true"),
        "{} was written: {map}",
        disk.display()
    );
    Ok(())
}
