//! What a kickstart file changes below `/etc` of the system that was installed.

mod accounts;
mod firewall;
mod networkd;
mod units;

use std::collections::BTreeMap;

use anyhow::{Result, bail};

use super::{Kickstart, Mac, Selinux, TimeSource, Timezone};

pub use accounts::{AccountFiles, Added, add as add_accounts};
pub use networkd::files as network_files;

/// Where sshd looks for keys that a machine alone has.
const KEYS: &str = "edge-ota/ssh";

/// The deployment, before anything is changed; paths are below its root.
pub struct Image<'a> {
    /// The text of a file; `None`: there is none.
    pub read: &'a dyn Fn(&str) -> Result<Option<String>>,
    /// Whether there is anything at a path.
    pub has: &'a dyn Fn(&str) -> bool,
}

/// Below `/etc`, by path.
pub type Files = BTreeMap<String, Content>;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// Root's, with this mode.
    New { text: String, mode: u32 },
    /// In the place of the image's file, whose owner and mode stay.
    Edited(String),
    /// A symbolic link to this.
    Link(String),
}

/// What to write, and what a person should know of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changes {
    pub files: Files,
    pub notes: Vec<String>,
}

/// Everything that goes into `/etc`; an error where the image lacks what a line needs. `boot_card` is the network card
/// that the machine was booted from, for `network --device=bootif`.
pub fn changes(kickstart: &Kickstart, image: &Image, boot_card: Option<&Mac>) -> Result<Changes> {
    let mut changes = Changes::default();
    let system = &kickstart.system;
    if let Some(name) = &kickstart.network.hostname {
        changes.put("hostname", format!("{name}\n"));
    }
    changes
        .files
        .extend(networkd::files(&kickstart.network, boot_card)?);
    if let Some(zone) = &system.timezone {
        changes.timezone(zone, image)?;
    }
    changes.time_source(&system.time_source, image)?;
    changes.language(system.lang.as_deref(), image);
    changes.keymap(system.keymap.as_deref(), image);
    changes.files.extend(units::links(&system.services, image)?);
    changes
        .files
        .extend(firewall::files(&system.firewall, image)?);
    if system.selinux == Selinux::Enforcing && !(image.has)("etc/selinux/config") {
        bail!("selinux --enforcing: the image has no policy: say it in the treefile");
    }
    changes.accounts(kickstart, image)?;
    Ok(changes)
}

impl Changes {
    fn put(&mut self, path: &str, text: String) {
        let content = Content::New { text, mode: 0o644 };
        self.files.insert(path.to_owned(), content);
    }

    fn link(&mut self, path: &str, target: impl Into<String>) {
        self.files
            .insert(path.to_owned(), Content::Link(target.into()));
    }

    fn timezone(&mut self, timezone: &Timezone, image: &Image) -> Result<()> {
        let zone = timezone.zone.as_str();
        if (image.has)(&format!("usr/share/zoneinfo/{zone}")) {
            self.link("localtime", format!("../usr/share/zoneinfo/{zone}"));
        } else if !matches!(zone, "UTC" | "Etc/UTC") {
            bail!(
                "timezone {zone}: the image does not know it: add the package tzdata in the treefile"
            );
        }
        if timezone.local_clock && !matches!(zone, "UTC" | "Etc/UTC") {
            // hwclock(8)
            self.put("adjtime", "0.0 0 0.0\n0\nLOCAL\n".into());
        }
        Ok(())
    }

    fn time_source(&mut self, source: &TimeSource, image: &Image) -> Result<()> {
        const UNIT: &str = "systemd-timesyncd.service";
        let there = (image.has)(&format!("usr/lib/systemd/system/{UNIT}"));
        match source {
            TimeSource::Servers(_) if !there => {
                bail!("timesource: the image has no {UNIT}: add its package in the treefile")
            }
            TimeSource::Servers(names) => {
                let text = format!("[Time]\nNTP={}\n", names.join(" "));
                self.put("systemd/timesyncd.conf.d/50-edge-kickstart.conf", text);
            }
            TimeSource::None if there => self.link(&units::path(UNIT), "/dev/null"),
            TimeSource::None | TimeSource::OfImage => {}
        }
        Ok(())
    }

    fn language(&mut self, lang: Option<&str>, image: &Image) {
        let Some(lang) = lang else { return };
        self.put("locale.conf", format!("LANG={lang}\n"));
        let compiled = lang.replace("UTF-8", "utf8");
        let places = [
            format!("usr/lib/locale/{compiled}"),
            format!("usr/lib/locale/{lang}"),
            "usr/lib/locale/locale-archive".into(),
        ];
        if lang != "C" && lang != "POSIX" && !places.iter().any(|path| (image.has)(path)) {
            self.notes.push(format!(
                "lang {lang}: the image does not have it; programs use C"
            ));
        }
    }

    fn keymap(&mut self, keymap: Option<&str>, image: &Image) {
        let Some(keymap) = keymap else { return };
        self.put("vconsole.conf", format!("KEYMAP={keymap}\n"));
        if !(image.has)("usr/bin/loadkeys") {
            let note = format!(
                "keyboard {keymap}: the image has no loadkeys; the console has the kernel's keymap"
            );
            self.notes.push(note);
        }
    }

    fn accounts(&mut self, kickstart: &Kickstart, image: &Image) -> Result<()> {
        let before = AccountFiles::of(image)?;
        let added = accounts::add(&kickstart.accounts, &before, image)?;
        for (name, old, new) in before.pairs(&added.files) {
            if old != new {
                self.files
                    .insert(name.to_owned(), Content::Edited(new.to_owned()));
            }
        }
        if !added.homes.is_empty() {
            self.put("tmpfiles.d/edge-kickstart.conf", added.homes.concat());
        }
        self.ssh_keys(kickstart, image)
    }

    fn ssh_keys(&mut self, kickstart: &Kickstart, image: &Image) -> Result<()> {
        let mut keys: BTreeMap<&str, String> = BTreeMap::new();
        for key in &kickstart.accounts.ssh_keys {
            keys.entry(key.user.as_str())
                .or_default()
                .push_str(&format!("{}\n", key.key));
        }
        if keys.is_empty() {
            return Ok(());
        }
        let place = format!("/etc/{KEYS}/%u.pub");
        let config = (image.read)("etc/ssh/sshd_config.d/50-edge.conf")?.unwrap_or_default();
        if !config.contains(&place) {
            bail!(
                "sshkey: the image's sshd does not read {place}: say it in its AuthorizedKeysFile"
            );
        }
        for (user, text) in keys {
            self.put(&format!("{KEYS}/{user}.pub"), text);
        }
        Ok(())
    }
}

impl Kickstart {
    /// What the kernel is given beside the image's own arguments.
    pub fn kargs(&self) -> Vec<String> {
        let selinux = match self.system.selinux {
            Selinux::Disabled => Some("selinux=0"),
            Selinux::Permissive => Some("enforcing=0"),
            Selinux::Enforcing | Selinux::OfImage => None,
        };
        let own = self.kernel_arguments.iter().cloned();
        own.chain(selinux.map(str::to_owned)).collect()
    }
}

#[cfg(test)]
mod tests;
