//! The machine that QEMU is asked for.

use std::ffi::OsString;
use std::path::Path;

use anyhow::Result;

use crate::accel;
use crate::vm::{Firmware, VmConfig};

const CODE: &str = "/usr/share/OVMF/OVMF_CODE_4M.fd";
const CODE_SECURE: &str = "/usr/share/OVMF/OVMF_CODE_4M.ms.fd";
const VARS: &str = "/usr/share/OVMF/OVMF_VARS_4M.fd";
const VARS_SECURE: &str = "/usr/share/OVMF/OVMF_VARS_4M.ms.fd";

/// The firmware's variables as they leave the factory.
pub fn empty_variables(firmware: Firmware) -> &'static str {
    match firmware {
        Firmware::Plain => VARS,
        Firmware::SecureBoot => VARS_SECURE,
    }
}

pub fn arguments(
    config: &VmConfig,
    vars: &Path,
    socket: &Path,
    ssh_port: u16,
) -> Result<Vec<OsString>> {
    let secure = config.firmware == Firmware::SecureBoot;
    let accel = accel::find()?;
    let mut args = Args::default();
    args.pair(
        "-machine",
        format!(
            "q35,accel={accel},smm={}",
            if secure { "on" } else { "off" }
        ),
    );
    args.pair("-cpu", if accel == "kvm" { "host" } else { "max" });
    args.pair("-m", config.memory_mib.to_string())
        .pair("-smp", config.cpus.to_string());
    args.flag("-nodefaults").pair("-display", "none");
    if secure {
        args.pair("-global", "driver=cfi.pflash01,property=secure,value=on");
    }
    let code = if secure { CODE_SECURE } else { CODE };
    args.pair(
        "-drive",
        format!("if=pflash,format=raw,readonly=on,file={code}"),
    );
    args.pair(
        "-drive",
        format!("if=pflash,format=qcow2,file={}", vars.display()),
    );
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
    args.pair("-device", "i6300esb")
        .pair("-action", "watchdog=reset");
    for (id, file) in [("console", "console.log"), ("report", "report.log")] {
        args.pair(
            "-chardev",
            format!(
                "file,id={id},append=on,path={}",
                config.dir.join(file).display()
            ),
        );
        args.pair("-serial", format!("chardev:{id}"));
    }
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
