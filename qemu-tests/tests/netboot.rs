//! Machines start from the folder of `edge-build pxe`: by BIOS, by UEFI with and without Secure Boot, by U-Boot; each
//! is told what is meant for it.

use std::path::Path;
use std::time::Duration;

use anyhow::{Result, ensure};
use qemu_tests::hardware;
use qemu_tests::lab::{self, Lab};
use qemu_tests::lan::{self, Servers};
use qemu_tests::netboot::{self, SAYS};
use qemu_tests::vm::{Cable, Firmware, Vm, VmConfig};

/// From power on to the installer's first word, under emulation, on a busy machine.
const START: Duration = Duration::from_secs(600);

/// Numbers of cards: one that is named, and another.
const NAMED: u8 = 1;
const OTHER: u8 = 2;
const SERIAL: &str = "EDGE-77";

#[test]
fn pxe_by_bios() -> Result<()> {
    lan::case("pxe_by_bios", prepare_x86_64, |dir| {
        let lan = Lan::start(dir, "x86_64", Firmware::Bios, |conf| {
            lan::replaced(&conf, PLAIN_CARD)
        })?;
        lan.all_are_told_their_kickstart()?;
        lan.served("undionly.kpxe")
    })
}

/// The card's own program is an iPXE in QEMU. It is given what the programs of other cards get, and told apart by the
/// start of its option 175: bus id, version, and the first of its features.
const PLAIN_CARD: &[(&str, &str)] = &[
    (
        "dhcp-match=set:ipxe,175",
        "dhcp-match=set:card,175,b1:05:01:*:*:*:*:eb:03:01:00:00:17\ndhcp-match=set:ipxe,175",
    ),
    ("dhcp-boot=tag:ipxe,", "dhcp-boot=tag:ipxe,tag:!card,"),
    ("tag:!ipxe,tag:bios", "tag:card,tag:bios"),
];

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

/// QEMU's own network: its TFTP server gives the card's own iPXE the script and all that it names.
#[test]
fn pxe_by_the_tftp_of_qemu() -> Result<()> {
    lan::case("pxe_by_the_tftp_of_qemu", prepare_x86_64, |dir| {
        let lan = Lan::start(dir, "x86_64", Firmware::Bios, Ok)?;
        let cable = Cable::OwnWithTftp {
            dir: dir.join("pxe"),
            file: "boot.ipxe".to_owned(),
        };
        lan.starts("tftp", cable, "other")?.is("default")
    })
}

#[test]
fn pxe_by_uefi_on_arm64() -> Result<()> {
    let prepare = |lab: &Lab, dir: &Path| prepare(lab, dir, "aarch64");
    lan::case("pxe_by_uefi_on_arm64", prepare, |dir| {
        let lan = Lan::start(dir, "aarch64", Firmware::Plain, Ok)?;
        lan.all_are_told_their_kickstart()?;
        lan.served("grubaa64.efi")
    })
}

#[test]
fn pxe_by_ipxe_on_arm64() -> Result<()> {
    let prepare = |lab: &Lab, dir: &Path| prepare(lab, dir, "aarch64");
    lan::case("pxe_by_ipxe_on_arm64", prepare, |dir| {
        let ipxe = [("tag:arm64,shimaa64.efi", "tag:arm64,ipxe-arm64.efi")];
        let change = |conf: String| lan::replaced(&conf, &ipxe);
        let lan = Lan::start(dir, "aarch64", Firmware::Plain, change)?;
        lan.is_told_by_card()?;
        lan.served("ipxe-arm64.efi")
    })
}

/// U-Boot of QEMU has one address, whatever its card has; so the folder is made again, without a machine's own.
#[test]
fn pxe_by_uboot_on_armhf() -> Result<()> {
    const BOARD: &str = "armhf";
    const CARD: &str = "52:52:52:52:52:52";
    let prepare = |lab: &Lab, dir: &Path| {
        netboot::stand_in(lab, BOARD, dir)?;
        folder(dir, BOARD, &[format!("MAC={CARD}")])
    };
    lan::case("pxe_by_uboot_on_armhf", prepare, |dir| {
        let lan = Lan::start(dir, BOARD, Firmware::Plain, Ok)?;
        let cable = || Cable::Lan(lan::card(OTHER));
        let named = lan.starts("card", cable(), "other")?;
        named.is(&CARD.replace(':', "-"))?;
        folder(dir, BOARD, &[])?;
        lan.starts("default", cable(), "other")?.is("default")
    })
}

fn prepare_x86_64(lab: &Lab, dir: &Path) -> Result<()> {
    prepare(lab, dir, "x86_64")
}

/// A folder with a default, a machine by its card and one by its serial number.
fn prepare(lab: &Lab, dir: &Path, board: &str) -> Result<()> {
    netboot::stand_in(lab, board, dir)?;
    let card = format!("MAC={}", lan::card(NAMED).mac);
    folder(dir, board, &[card, format!("SERIAL={SERIAL}")])
}

/// With a default, and a kickstart for each of these machines.
fn folder(dir: &Path, board: &str, machines: &[String]) -> Result<()> {
    let kickstart = lab::workspace()?.join("kickstart/edge-node.ks");
    let kickstart = kickstart.display().to_string();
    let mut orders = vec!["--kickstart".to_owned(), kickstart.clone()];
    for machine in machines {
        orders.extend(["--host".to_owned(), format!("{machine}:{kickstart}")]);
    }
    let orders: Vec<&str> = orders.iter().map(String::as_str).collect();
    let installers = [netboot::installer_dir(dir, board)];
    netboot::folder(dir, &lan::url(), &installers, &orders).map(drop)
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
        self.is_told_by_card()?;
        let serial = self.starts("serial", Cable::Lan(lan::card(OTHER)), SERIAL)?;
        serial.is(&format!("serial-{SERIAL}"))?;
        self.is_told_the_default()
    }

    fn is_told_by_card(&self) -> Result<()> {
        let card = lan::card(NAMED);
        let name = card.mac.replace(':', "-");
        self.starts("card", Cable::Lan(card), "other")?.is(&name)
    }

    fn is_told_the_default(&self) -> Result<()> {
        let default = self.starts("default", Cable::Lan(lan::card(OTHER)), "other")?;
        default.is("default")
    }

    /// Powers on a machine with an empty disk and waits until the installer runs.
    fn starts(&self, name: &str, cable: Cable, serial: &str) -> Result<Told> {
        let dir = self.dir.join(name);
        std::fs::create_dir_all(&dir)?;
        let disk = netboot::empty_disk(&dir)?;
        let board = hardware::board(self.board)?;
        let config = VmConfig {
            firmware: self.firmware,
            serial: serial.to_owned(),
            cable,
            ..VmConfig::new(&board, dir, disk, self.dir.join("no-key"))?
        };
        let mut vm = Vm::start(config)?;
        let said = vm.console.wait_for("word of the installer", START, |line| {
            Some(line.split_once(SAYS)?.1.to_owned())
        });
        match said {
            Ok(said) => vm.quit().map(|()| Told(said)),
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

/// The arguments of the kernel that runs.
struct Told(String);

impl Told {
    fn is(&self, kickstart: &str) -> Result<()> {
        let wanted = format!("inst.ks={}/ks/{kickstart}.ks", lan::url());
        ensure!(
            self.0.split_whitespace().any(|word| word == wanted),
            "the machine was told '{}', not '{wanted}'",
            self.0
        );
        Ok(())
    }
}
