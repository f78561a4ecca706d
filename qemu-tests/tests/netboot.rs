//! Machines start from the folder of `edge-build pxe`: by BIOS, by UEFI with and without Secure Boot, by U-Boot; each
//! is told what is meant for it.

use std::path::Path;
use std::time::Duration;

use anyhow::{Result, ensure};
use qemu_tests::hardware;
use qemu_tests::lab::Lab;
use qemu_tests::lan::{self, Servers};
use qemu_tests::netboot::{self, SAYS};
use qemu_tests::vm::{Firmware, Vm, VmConfig};

/// From power on to the installer's first word, under emulation, on a busy machine.
const START: Duration = Duration::from_secs(600);

/// Numbers of cards: one that is named, and another.
const NAMED: u8 = 1;
const OTHER: u8 = 2;
const SERIAL: &str = "EDGE-77";

#[test]
fn pxe_by_bios() -> Result<()> {
    lan::case("pxe_by_bios", prepare_x86_64, |dir| {
        let lan = Lan::start(dir, "x86_64", Firmware::Bios, Ok)?;
        lan.all_are_told_their_kickstart()
    })
}

#[test]
fn pxe_by_uefi() -> Result<()> {
    lan::case("pxe_by_uefi", prepare_x86_64, |dir| {
        let ipxe = [("tag:x64,shimx64.efi", "tag:x64,snponly.efi")];
        let change = |conf: String| lan::replaced(&conf, &ipxe);
        let lan = Lan::start(dir, "x86_64", Firmware::Plain, change)?;
        lan.all_are_told_their_kickstart()?;
        lan.served("snponly.efi")
    })
}

#[test]
fn pxe_by_uefi_with_secure_boot() -> Result<()> {
    lan::case("pxe_by_uefi_with_secure_boot", prepare_x86_64, |dir| {
        let lan = Lan::start(dir, "x86_64", Firmware::SecureBoot, Ok)?;
        lan.all_are_told_their_kickstart()?;
        lan.served("shimx64.efi")
    })
}

fn prepare_x86_64(lab: &Lab, dir: &Path) -> Result<()> {
    prepare(lab, dir, "x86_64")
}

/// A folder with a default, a machine by its card and one by its serial number.
fn prepare(lab: &Lab, dir: &Path, board: &str) -> Result<()> {
    let installer = netboot::stand_in(lab, board, dir)?;
    let kickstart = dir.join("node.ks");
    std::fs::write(&kickstart, "zerombr\n")?;
    let file = kickstart.display();
    let (card, serial) = (
        format!("MAC={NAMED}:{file}"),
        format!("SERIAL={SERIAL}:{file}"),
    );
    let orders = [
        "--kickstart",
        &file.to_string(),
        "--host",
        &card,
        "--host",
        &serial,
    ];
    netboot::folder(lab, dir, &lan::url(), &[installer], &orders).map(drop)
}

struct Lan<'a> {
    dir: &'a Path,
    board: &'static str,
    firmware: Firmware,
    servers: Servers,
}

impl<'a> Lan<'a> {
    fn start(
        dir: &'a Path,
        board: &'static str,
        firmware: Firmware,
        change: impl FnOnce(String) -> Result<String>,
    ) -> Result<Self> {
        let servers = Servers::start(
            &dir.join("pxe"),
            dir,
            &[NAMED, OTHER].map(lan::card),
            change,
        )?;
        Ok(Self {
            dir,
            board,
            firmware,
            servers,
        })
    }

    /// By its card, by its serial number, and by nothing.
    fn all_are_told_their_kickstart(&self) -> Result<()> {
        let card = lan::card(NAMED).mac.replace(':', "-");
        self.is_told(NAMED, "other", &card)?;
        self.is_told(OTHER, SERIAL, &format!("serial-{SERIAL}"))?;
        self.is_told(OTHER, "other", "default")
    }

    fn is_told(&self, card: u8, serial: &str, kickstart: &str) -> Result<()> {
        let said = self.starts(kickstart, card, serial)?;
        let wanted = format!("inst.ks={}/ks/{kickstart}.ks", lan::url());
        ensure!(
            said.split_whitespace().any(|word| word == wanted),
            "the machine was told '{said}', not '{wanted}'"
        );
        Ok(())
    }

    /// What a machine with an empty disk says once the installer runs.
    fn starts(&self, name: &str, card: u8, serial: &str) -> Result<String> {
        let dir = self.dir.join(name);
        std::fs::create_dir_all(&dir)?;
        let disk = netboot::empty_disk(&dir)?;
        let board = hardware::board(self.board)?;
        let config = VmConfig {
            firmware: self.firmware,
            serial: serial.to_owned(),
            ..lan::machine(&board, dir, disk, self.dir.join("no-key"), lan::card(card))?
        };
        let mut vm = Vm::start(config)?;
        let said = vm.console.wait_for("word of the installer", START, |line| {
            Some(line.split_once(SAYS)?.1.to_owned())
        });
        match said {
            Ok(said) => vm.quit().map(|()| said),
            Err(e) => {
                let words = vm.last_words()?;
                Err(e.context(format!("{words}\n--- servers\n{}", self.servers.log()?)))
            }
        }
    }

    /// The machines have fetched this file by TFTP.
    fn served(&self, file: &str) -> Result<()> {
        let log = self.servers.log()?;
        let sent = log
            .lines()
            .any(|line| line.contains("sent") && line.contains(file));
        ensure!(sent, "nobody has fetched {file}: {log}");
        Ok(())
    }
}
