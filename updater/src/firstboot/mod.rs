//! What a device does once, at its first boot, beside the chores of its disk: the configuration that somebody put on a
//! medium, and the name it gets where it has none.

pub mod hostname;
pub mod medium;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rustix::mount::MountFlags;

use crate::cmd::Cmd;
use crate::device::Device;
use crate::disk::PART_ESP;
use crate::history::Event;
use crate::installer::target::Mounted;
use crate::output;
use medium::Configuration;

/// In the updater's own folder, once it is done.
pub const NOTE: &str = "first-boot";
/// Beside it: what a device without a name is called.
const GIVEN: &str = "given-name";
/// A file system with this label, or this folder on the first partition of the device's own disk.
const LABEL: &str = "EDGE-CONFIG";
const FOLDER: &str = "edge-config";
const WORK: &str = "run/edge-ota/config";

/// Applies what is found, and never again: whoever puts a stick in later configures nothing.
pub fn run(device: &Device) -> Result<()> {
    if device.note(NOTE)?.is_some() {
        return Ok(());
    }
    let applied = match find(device) {
        Ok(Some((place, configuration))) => {
            configuration.apply(&device.root)?;
            format!("{} from {place}", configuration.summary())
        }
        Ok(None) => "no configuration on a medium".to_owned(),
        Err(error) => {
            // To be corrected and tried again at the next boot.
            device.record(
                Event::Refused,
                None,
                None,
                "",
                &format!("configuration: {error:#}"),
            )?;
            return Err(error);
        }
    };
    let name = name(device)?;
    let detail = format!("{applied}; {name}");
    device.record(Event::FirstBoot, None, None, "", &detail)?;
    device.write_note(NOTE, &detail)
}

/// At each boot, for a device without a name, until DHCP says another. What it is called at first is remembered: later
/// on the network cards may not be there yet, or be others.
pub fn name(device: &Device) -> Result<String> {
    if let Some(said) = hostname::current(&device.root)? {
        return Ok(said);
    }
    let (name, source) = match device.note(GIVEN)? {
        Some(name) => (name, "its first boot"),
        None => match hostname::from_serial(&device.root) {
            Some(found) => found,
            None => return Ok("no hostname: no serial number and no network card".to_owned()),
        },
    };
    rustix::system::sethostname(name.as_bytes()).context("setting the hostname")?;
    device.write_note(GIVEN, &name)?;
    Ok(format!("hostname {name} from {source}"))
}

fn find(device: &Device) -> Result<Option<(String, Configuration)>> {
    settle();
    for (place, partition, folder) in places(device)? {
        let mounted = mount(&device.root, &partition);
        let mounted = match mounted {
            Ok(mounted) => mounted,
            Err(error) => {
                output::say(format_args!("edge-ota: {error:#}"));
                continue;
            }
        };
        let folder = mounted.at().join(folder);
        if !folder.is_dir() {
            continue;
        }
        let configuration = medium::read(&folder).with_context(|| place.clone());
        mounted.unmount()?;
        let configuration = configuration?;
        if !configuration.is_empty() {
            return Ok(Some((place, configuration)));
        }
    }
    Ok(None)
}

/// Sticks may take a moment. What has not come by then is not there.
fn settle() {
    if let Err(error) = Cmd::new("udevadm").args(["settle", "--timeout=10"]).run() {
        output::say(format_args!("edge-ota: {error:#}"));
    }
}

/// What to call it, the device, and the folder in it. A medium that was put in comes before the device's own disk.
fn places(device: &Device) -> Result<Vec<(String, PathBuf, &'static str)>> {
    let mut places = Vec::new();
    let labelled = Cmd::new("blkid").args(["-c", "/dev/null", "-o", "device", "-t"]);
    let labelled = labelled.arg(format!("LABEL={LABEL}")).complete()?;
    for line in String::from_utf8_lossy(&labelled.stdout).lines() {
        places.push((format!("{LABEL} ({line})"), PathBuf::from(line), ""));
    }
    places.sort();
    let esp = device.disk.partition(PART_ESP)?.device.clone();
    places.push((format!("{FOLDER} on {}", esp.display()), esp, FOLDER));
    Ok(places)
}

/// FAT, ext4 or ISO 9660, read-only.
fn mount(root: &Path, partition: &Path) -> Result<Mounted> {
    let kind = Cmd::new("blkid").args(["-p", "-o", "value", "-s", "TYPE"]);
    let kind = kind.arg(partition).text()?;
    let at = root.join(WORK);
    fs::create_dir_all(&at).with_context(|| format!("making {}", at.display()))?;
    let flags = MountFlags::RDONLY | MountFlags::NODEV | MountFlags::NOSUID | MountFlags::NOEXEC;
    Mounted::with_flags(partition, &at, kind.trim(), flags)
}
