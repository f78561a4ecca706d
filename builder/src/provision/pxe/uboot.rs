//! U-Boot's `pxe` commands, which read the files of PXELINUX.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};
use edge_ota::boot::uboot;
use edge_ota::cmd::Cmd;

use super::host::Key;
use super::template::words;
use super::{Installer, Plan, System};
use crate::interrupt::WorkDir;

/// What U-Boot's boot target `dhcp` asks for: builds without a target `pxe` get there by it.
pub const SCRIPT: &str = "boot.scr.uimg";

pub fn files(plan: &Plan) -> BTreeMap<String, String> {
    let mut files = BTreeMap::new();
    let Some(one) = of_uboot(plan.installers) else {
        return files;
    };
    if let Some(orders) = &plan.default {
        // U-Boot asks for its own kind before the default of all.
        for name in ["default-arm", "default"] {
            files.insert(format!("pxelinux.cfg/{name}"), text(one, plan, orders));
        }
    }
    for (key, orders) in &plan.hosts {
        if let Key::Mac(mac) = key {
            let path = format!("pxelinux.cfg/01-{}", mac.hyphens());
            files.insert(path, text(one, plan, orders));
        }
    }
    files
}

/// U-Boot calls 32 and 64 bits `arm`, so that one kind has the files.
pub fn of_uboot(installers: &[Installer]) -> Option<&Installer> {
    let armhf = installers.iter().find(|one| one.system == System::Armhf);
    armhf.or_else(|| installers.iter().find(|one| !one.is_uefi))
}

fn text(one: &Installer, plan: &Plan, orders: &str) -> String {
    let arguments = words([&one.arguments, &plan.arguments, orders]);
    let tree = one.device_tree();
    let tree = tree.map_or(String::new(), |path| format!("  fdt {path}\n"));
    format!(
        "default edge-ota\nprompt 0\ntimeout 1\nlabel edge-ota\n  kernel {}\n  initrd {}\n{tree}  append {arguments}\n",
        one.kernel(),
        one.initramfs()
    )
}

/// Makes the script, a FIT image as every build takes it.
pub fn script(work: &WorkDir) -> Result<PathBuf> {
    let dir = work.sub("uboot")?;
    let put = |name: &str, text: &str| {
        fs::write(dir.join(name), text)
            .with_context(|| format!("writing {name} in {}", dir.display()))
    };
    put("boot.cmd", "pxe get && pxe boot\n")?;
    put("boot.its", &uboot::fit_source("boot.cmd"))?;
    Cmd::new("mkimage")
        .args(["-f", "boot.its", SCRIPT])
        .current_dir(&dir)
        // The same script makes the same file.
        .env("SOURCE_DATE_EPOCH", "1")
        .run()?;
    Ok(dir.join(SCRIPT))
}
