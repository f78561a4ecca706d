//! Examples for the servers that lead machines to the folder.

use std::collections::BTreeMap;

use super::template::fill;
use super::{Plan, System};

pub fn files(plan: &Plan) -> BTreeMap<String, String> {
    let url = plan.url.to_string();
    let values = [
        ("URL", url.as_str()),
        ("HOST", plan.url.host()),
        ("PORT", plan.url.port()),
        ("LOCATION", plan.url.path()),
    ];
    let make = |template: &str| fill(&only(template, plan), &values);
    BTreeMap::from([
        (
            "examples/dnsmasq-dhcp.conf".to_owned(),
            make(include_str!("templates/dnsmasq-dhcp.conf")),
        ),
        (
            "examples/dnsmasq-proxy.conf".to_owned(),
            make(include_str!("templates/dnsmasq-proxy.conf")),
        ),
        (
            "examples/nginx.conf".to_owned(),
            make(include_str!("templates/nginx.conf")),
        ),
    ])
}

/// Without the parts between `#if <system>` and `#end` of systems that have no installer.
fn only(template: &str, plan: &Plan) -> String {
    let mut kept = String::new();
    let mut taken = true;
    for line in template.lines() {
        match line.strip_prefix("#if ") {
            Some(system) => taken = has(plan, system),
            None if line == "#end" => taken = true,
            None if taken => {
                kept.push_str(line);
                kept.push('\n');
            }
            None => {}
        }
    }
    kept
}

fn has(plan: &Plan, system: &str) -> bool {
    let systems = [System::X86_64, System::Aarch64, System::Armhf];
    let asked = systems.into_iter().find(|one| one.as_str() == system);
    asked.is_some_and(|system| plan.installer(system).is_some())
}
