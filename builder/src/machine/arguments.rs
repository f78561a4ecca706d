//! The machine that QEMU is asked for.

use std::ffi::OsString;
use std::path::Path;

use anyhow::Result;

use super::{Config, Network, accel};

/// `vars` are the machine's own variables, `socket` is for QEMU's machine protocol.
pub fn of(config: &Config, vars: &Path, socket: &Path) -> Result<Vec<OsString>> {
    let accel = accel::find(&config.qemu.system)?;
    let mut args = Args::default();
    processor(&mut args, config, accel);
    args.flag("-nodefaults").pair("-display", "none");
    firmware(&mut args, config, vars);
    disks(&mut args, config);
    network(&mut args, config);
    args.pair("-device", "virtio-rng-pci");
    if let Some(watchdog) = &config.qemu.watchdog {
        args.pair("-device", watchdog)
            .pair("-action", "watchdog=reset");
    }
    let console = config.console_log();
    args.pair(
        "-chardev",
        format!("file,id=console,append=on,path={}", console.display()),
    );
    args.pair("-serial", "chardev:console");
    args.pair("-device", "virtio-serial-pci");
    args.pair(
        "-qmp",
        format!("unix:{},server=on,wait=off", socket.display()),
    );
    args.0.extend(config.more.iter().cloned());
    Ok(args.0)
}

fn processor(args: &mut Args, config: &Config, accel: &str) {
    let qemu = &config.qemu;
    let smm = match (qemu.machine.as_str(), config.firmware.secure_boot) {
        ("q35", true) => ",smm=on",
        ("q35", false) => ",smm=off",
        _ => "",
    };
    args.pair("-machine", format!("{},accel={accel}{smm}", qemu.machine));
    args.pair("-cpu", if accel == "kvm" { "host" } else { &qemu.cpu });
    args.pair("-m", config.memory_mib.to_string())
        .pair("-smp", config.cpus.to_string());
}

fn firmware(args: &mut Args, config: &Config, vars: &Path) {
    let firmware = &config.firmware;
    if firmware.secure_boot {
        args.pair("-global", "driver=cfi.pflash01,property=secure,value=on");
    }
    let code = firmware.code.display();
    if firmware.vars.is_none() {
        args.pair("-bios", &firmware.code);
        return;
    }
    args.pair(
        "-drive",
        format!("if=pflash,format=raw,readonly=on,file={code}"),
    );
    args.pair(
        "-drive",
        format!("if=pflash,format=qcow2,file={}", vars.display()),
    );
}

fn disks(args: &mut Args, config: &Config) {
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
        args.pair(
            "-device",
            format!("virtio-blk-pci,drive=disk{n},serial=edge-disk-{n},bootindex={n}"),
        );
    }
}

fn network(args: &mut Args, config: &Config) {
    let boots = format!("bootindex={}{}", config.disks.len(), rom(config));
    let (network, card) = match &config.network {
        Network::Own { forwards } => {
            let forwards = forwards.iter();
            let forwards: String = forwards
                .map(|(host, guest)| format!(",hostfwd=tcp:127.0.0.1:{host}-:{guest}"))
                .collect();
            // Without its option ROM, which would try to boot from the network.
            (format!("user,id=net{forwards}"), "romfile=".to_owned())
        }
        Network::OwnWithTftp { dir, file } => {
            let dir = dir.display();
            (format!("user,id=net,tftp={dir},bootfile={file}"), boots)
        }
        Network::Tap { device, mac } => (
            format!("tap,id=net,ifname={device},script=no,downscript=no"),
            format!("mac={mac},{boots}"),
        ),
    };
    args.pair("-netdev", network);
    args.pair("-device", format!("virtio-net-pci,netdev=net,{card}"));
}

/// BIOS knows a network card by the card's own program alone; other firmware has a driver.
fn rom(config: &Config) -> &'static str {
    match (config.qemu.system.as_str(), &config.firmware.vars) {
        ("x86_64", None) => "",
        _ => ",romfile=",
    }
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
