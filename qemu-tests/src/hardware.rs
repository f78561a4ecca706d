//! The machine that QEMU is asked for.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use edge_build::board::{self, Board, Qemu};

use crate::accel;
use crate::lab;
use crate::vm::{Firmware, VmConfig};

/// OVMF with Microsoft's keys.
const SECURE: (&str, &str) = (
    "usr/share/OVMF/OVMF_CODE_4M.ms.fd",
    "usr/share/OVMF/OVMF_VARS_4M.ms.fd",
);

/// Where guests report, `/dev/virtio-ports/` and this; the same on every board.
const REPORT_PORT: &str = "edge-test";

/// One of the project's boards.
pub fn board(name: &str) -> Result<Board> {
    let dir = lab::workspace()?.join("boards");
    board::load(&dir, &name.parse()?)
}

/// The firmware's variables as they leave the factory; none for firmware that keeps none.
pub fn empty_variables(config: &VmConfig) -> Result<Option<PathBuf>> {
    Ok(firmware(&config.qemu, config.firmware)?.vars)
}

/// What a machine starts with.
pub struct FirmwareFiles {
    pub code: PathBuf,
    pub vars: Option<PathBuf>,
}

/// From what `.ci/firmware` unpacked, if it is there, else from the host.
pub fn firmware(qemu: &Qemu, kind: Firmware) -> Result<FirmwareFiles> {
    let unpacked = lab::target_dir(&lab::workspace()?).join("firmware");
    let (unpacked, host) = (unpacked.as_path(), Path::new("/"));
    if kind == Firmware::SecureBoot {
        let there = |root: &&Path| root.join(SECURE.0).exists();
        let root = [unpacked, host].into_iter().find(there);
        let root = root.with_context(|| format!("no /{} is here", SECURE.0))?;
        return Ok(FirmwareFiles {
            code: root.join(SECURE.0),
            vars: Some(root.join(SECURE.1)),
        });
    }
    let (root, found) = match qemu.firmware(unpacked) {
        Ok(found) => (unpacked, found),
        Err(_) => (host, qemu.firmware(host)?),
    };
    Ok(FirmwareFiles {
        code: root.join(&found.code),
        vars: found.vars.as_ref().map(|vars| root.join(vars)),
    })
}

pub fn arguments(
    config: &VmConfig,
    vars: &Path,
    socket: &Path,
    ssh_port: u16,
) -> Result<Vec<OsString>> {
    let secure = config.firmware == Firmware::SecureBoot;
    let qemu = &config.qemu;
    let accel = accel::find(&qemu.system)?;
    let mut args = Args::default();
    let smm = match (qemu.machine.as_str(), secure) {
        ("q35", true) => ",smm=on",
        ("q35", false) => ",smm=off",
        _ => "",
    };
    args.pair("-machine", format!("{},accel={accel}{smm}", qemu.machine));
    args.pair("-cpu", if accel == "kvm" { "host" } else { &qemu.cpu });
    args.pair("-m", config.memory_mib.to_string())
        .pair("-smp", config.cpus.to_string());
    args.flag("-nodefaults").pair("-display", "none");
    if secure {
        args.pair("-global", "driver=cfi.pflash01,property=secure,value=on");
    }
    let files = firmware(qemu, config.firmware)?;
    if files.vars.is_some() {
        args.pair(
            "-drive",
            format!(
                "if=pflash,format=raw,readonly=on,file={}",
                files.code.display()
            ),
        );
        args.pair(
            "-drive",
            format!("if=pflash,format=qcow2,file={}", vars.display()),
        );
    } else {
        args.pair("-bios", files.code);
    }
    for (n, disk) in config.disks.iter().enumerate() {
        // `unsafe` drops flushes to the host's medium only: after the death of QEMU alone the host's
        // page cache still has what the guest flushed.
        args.pair(
            "-drive",
            format!(
                "if=none,id=disk{n},format=qcow2,cache=unsafe,file={}",
                disk.display()
            ),
        );
        let boot = if config.direct_kernel.is_some() {
            String::new()
        } else {
            format!(",bootindex={n}")
        };
        args.pair(
            "-device",
            format!("virtio-blk-pci,drive=disk{n},serial=edge-disk-{n}{boot}"),
        );
    }
    args.pair(
        "-netdev",
        format!("user,id=net,hostfwd=tcp:127.0.0.1:{ssh_port}-:22"),
    );
    // Without its option ROM, which would try to boot from the network.
    args.pair("-device", "virtio-net-pci,netdev=net,romfile=");
    args.pair("-device", "virtio-rng-pci");
    if let Some(watchdog) = &qemu.watchdog {
        args.pair("-device", watchdog)
            .pair("-action", "watchdog=reset");
    }
    for (id, file) in [("console", "console.log"), ("report", "report.log")] {
        args.pair(
            "-chardev",
            format!(
                "file,id={id},append=on,path={}",
                config.dir.join(file).display()
            ),
        );
    }
    args.pair("-serial", "chardev:console");
    args.pair("-device", "virtio-serial-pci").pair(
        "-device",
        format!("virtserialport,chardev=report,name={REPORT_PORT}"),
    );
    args.pair(
        "-qmp",
        format!("unix:{},server=on,wait=off", socket.display()),
    );
    if let Some(direct) = &config.direct_kernel {
        args.pair("-kernel", &direct.kernel)
            .pair("-initrd", &direct.initrd)
            .pair("-append", &direct.options);
    }
    Ok(args.0)
}

#[derive(Default)]
struct Args(Vec<OsString>);

impl Args {
    fn flag(&mut self, flag: &str) -> &mut Self {
        self.0.push(flag.into());
        self
    }

    fn pair(&mut self, flag: &str, value: impl Into<OsString>) -> &mut Self {
        self.0.push(flag.into());
        self.0.push(value.into());
        self
    }
}
