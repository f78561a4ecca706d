//! A provisioning template for Foreman, which gives each machine its own kickstart.

use std::collections::BTreeMap;

use super::template::{fill, words};
use super::{Installer, Plan, System};

pub fn files(plan: &Plan) -> BTreeMap<String, String> {
    let starts = plan
        .installers
        .iter()
        .filter(|one| one.system != System::Armhf);
    let starts: String = starts.map(|one| start(one, plan)).collect();
    let mut files = BTreeMap::new();
    if !starts.is_empty() {
        let text = fill(
            include_str!("templates/foreman.erb"),
            &[("STARTS", &starts)],
        );
        files.insert("examples/foreman-ipxe.erb".to_owned(), text);
    }
    files
}

fn start(one: &Installer, plan: &Plan) -> String {
    let arguments = words([&one.arguments, &plan.arguments]);
    format!(
        "<% if @host.architecture.to_s == '{}' -%>\n\
         kernel {url}/{} initrd=initramfs.img {arguments} inst.ks=<%= foreman_url('provision') %>\n\
         initrd --name initramfs.img {url}/{}\n<% end -%>\n",
        one.system,
        one.kernel(),
        one.initramfs(),
        url = plan.url,
    )
}
