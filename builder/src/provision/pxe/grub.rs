//! GRUB over the network: what starts under Secure Boot, as the distribution signed it.

use std::collections::BTreeMap;

use super::host::Key;
use super::template::{fill, words};
use super::{Installer, Plan, System};

pub fn files(plan: &Plan) -> BTreeMap<String, String> {
    let mut files = BTreeMap::new();
    if !plan.installers.iter().any(|one| one.is_uefi) {
        return files;
    }
    files.insert("grub/boot.cfg".to_owned(), boot(plan));
    let default = [("ORDERS", plan.default.as_deref().unwrap_or_default())];
    files.insert(
        "grub/grub.cfg".to_owned(),
        fill(include_str!("templates/grub.cfg"), &default),
    );
    for (key, orders) in &plan.hosts {
        let (name, text) = match key {
            Key::Mac(mac) => (
                format!("grub.cfg-01-{}", mac.hyphens()),
                format!("{}source \"$prefix/boot.cfg\"\n", tell(orders)),
            ),
            Key::Serial(_) => (format!("{}.cfg", key.file_name()), tell(orders)),
        };
        files.insert(format!("grub/{name}"), text);
    }
    files
}

fn tell(orders: &str) -> String {
    format!("set orders=\"{orders}\"\n")
}

fn boot(plan: &Plan) -> String {
    let start = |system| match plan.installer(system) {
        Some(one) => start(one, plan),
        None => format!("  echo \"edge-ota: no installer for {system}\"\n"),
    };
    fill(
        include_str!("templates/boot.cfg"),
        &[
            ("X86_64", start(System::X86_64).trim_end()),
            ("AARCH64", start(System::Aarch64).trim_end()),
        ],
    )
}

fn start(one: &Installer, plan: &Plan) -> String {
    let (kernel, initramfs) = (one.kernel(), one.initramfs());
    let arguments = words([&one.arguments, &plan.arguments]);
    format!(
        "  if linux \"/{kernel}\" {arguments} $orders; then\n    \
         if initrd \"/{initramfs}\"; then boot; fi\n  fi\n"
    )
}
