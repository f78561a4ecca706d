//! iPXE: a script that asks for a machine's orders and starts the installer.

use std::collections::BTreeMap;

use super::template::{fill, words};
use super::{Installer, Plan, System};

pub fn files(plan: &Plan) -> BTreeMap<String, String> {
    let mut files = BTreeMap::new();
    if plan
        .installers
        .iter()
        .all(|one| one.system == System::Armhf)
    {
        return files;
    }
    let url = plan.url.to_string();
    let values = [("URL", url.as_str())];
    files.insert(
        "autoexec.ipxe".to_owned(),
        fill(include_str!("templates/autoexec.ipxe"), &values),
    );
    files.insert("boot.ipxe".to_owned(), boot(plan));
    for (key, orders) in &plan.hosts {
        files.insert(format!("hosts/{}.ipxe", key.file_name()), tell(orders));
    }
    if let Some(orders) = &plan.default {
        files.insert("hosts/default.ipxe".to_owned(), tell(orders));
    }
    files
}

/// Sets the orders and nothing else: a script that fails half-way must not lead to another machine's orders.
fn tell(orders: &str) -> String {
    format!("#!ipxe\nset orders {orders}\n")
}

fn boot(plan: &Plan) -> String {
    let start = |system| {
        let found = plan.installer(system).map(|one| start(one, plan));
        found.unwrap_or_else(|| format!("echo edge-ota: no installer for {system}\ngoto failed\n"))
    };
    fill(
        include_str!("templates/boot.ipxe"),
        &[
            ("X86_64", &start(System::X86_64)),
            ("AARCH64", &start(System::Aarch64)),
        ],
    )
}

fn start(one: &Installer, plan: &Plan) -> String {
    let (kernel, initramfs) = (one.kernel(), one.initramfs());
    let arguments = words([&one.arguments, &plan.arguments]);
    format!(
        "kernel {kernel} initrd=initramfs.img {arguments} ${{orders}} || goto failed\n\
         initrd --name initramfs.img {initramfs} || goto failed\nboot || goto failed\n"
    )
}
