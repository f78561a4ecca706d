//! What an installer is told by its kernel's arguments. Pure.

use anyhow::{Context, Result, bail};

use super::drives::Wish;
use crate::fetch::Location;
use crate::kickstart::Mac;
use crate::types::ChannelName;

/// `edge.…`, and `inst.ks` as Anaconda has it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Words {
    /// `inst.ks=`
    pub kickstart: Option<Place>,
    /// `edge.url=`: where the device reads its releases, now and later.
    pub url: Option<String>,
    /// `edge.bundle=`: where this installation takes the release from, instead of `url`.
    pub bundle: Option<Place>,
    /// `edge.channel=`
    pub channel: Option<ChannelName>,
    /// `edge.disk=`
    pub disk: Option<Wish>,
    /// `edge.report=`: gets what happens, as JSON by POST.
    pub report: Option<String>,
    pub action: Action,
    pub finish: Option<Finish>,
    /// `BOOTIF=`: the address of the card that the machine was booted from.
    pub boot_card: Option<Mac>,
    /// `edge.onerror=`: after an error that time does not heal.
    pub on_error: OnError,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Action {
    #[default]
    Install,
    Repair,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finish {
    Reboot,
    PowerOff,
    Halt,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum OnError {
    /// The console keeps the message, and an operator gets a shell.
    #[default]
    Shell,
    Reboot,
    PowerOff,
}

/// Where a file or a folder is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    Web(String),
    /// In the installer itself.
    File(String),
    /// On a file system of this machine: `LABEL=…`, `UUID=…` or a device, and a path on it.
    Medium {
        partition: String,
        path: String,
    },
}

impl Words {
    pub fn parse(cmdline: &str) -> Result<Self> {
        let mut words = Self::default();
        for word in cmdline.split_whitespace() {
            let (key, value) = word.split_once('=').unwrap_or((word, ""));
            words
                .take(key, value)
                .with_context(|| format!("kernel argument {word}"))?;
        }
        Ok(words)
    }

    fn take(&mut self, key: &str, value: &str) -> Result<()> {
        match key {
            "inst.ks" => self.kickstart = Some(place(value)?),
            "edge.url" => self.url = Some(url(value)?),
            "edge.bundle" => self.bundle = Some(place(value)?),
            "edge.channel" => self.channel = Some(value.parse()?),
            "edge.disk" => self.disk = Some(value.parse()?),
            "edge.report" => self.report = Some(url(value)?),
            "edge.action" => self.action = action(value)?,
            "edge.finish" => self.finish = Some(finish(value)?),
            // As PXELINUX writes it: the kind of hardware before it.
            "BOOTIF" => {
                let mac = value.split_once('-').map_or(value, |(_, mac)| mac);
                self.boot_card = Some(mac.replace('-', ":").parse()?);
            }
            "edge.onerror" => self.on_error = on_error(value)?,
            // Of a running system's loader, or of a newer installer: better no installation than half of what is meant.
            _ if key.starts_with("edge.") => bail!("there is no such argument"),
            _ => {}
        }
        Ok(())
    }
}

fn url(text: &str) -> Result<String> {
    match text.parse().map_err(anyhow::Error::msg)? {
        Location::Web(_) => Ok(text.to_owned()),
        Location::Folder(_) => bail!("'{text}' is not an http:// or https:// URL"),
    }
}

/// As Anaconda writes them: `http://…`, `file:/path`, `hd:LABEL=…:/path`; and `LABEL=…[:/path]`.
pub fn place(text: &str) -> Result<Place> {
    if text.starts_with("http://") || text.starts_with("https://") {
        return Ok(Place::Web(url(text)?));
    }
    if let Some(path) = text.strip_prefix("file:") {
        return match path.trim_start_matches("//").starts_with('/') {
            true => Ok(Place::File(path.trim_start_matches("//").to_owned())),
            false => bail!("'{path}' is not an absolute path"),
        };
    }
    let (partition, path) = {
        let text = text.strip_prefix("hd:").unwrap_or(text);
        text.split_once(':').unwrap_or((text, "/"))
    };
    let known = ["LABEL=", "UUID=", "/dev/"].iter().any(|start| {
        partition
            .strip_prefix(start)
            .is_some_and(|rest| !rest.is_empty())
    });
    if !known || !path.starts_with('/') {
        bail!(
            "use http://…, https://…, file:/path, hd:LABEL=…:/path, hd:UUID=…:/path or hd:/dev/…:/path"
        );
    }
    Ok(Place::Medium {
        partition: partition.to_owned(),
        path: path.to_owned(),
    })
}

fn action(text: &str) -> Result<Action> {
    match text {
        "install" => Ok(Action::Install),
        "repair" => Ok(Action::Repair),
        _ => bail!("it is install or repair"),
    }
}

fn finish(text: &str) -> Result<Finish> {
    match text {
        "reboot" => Ok(Finish::Reboot),
        "poweroff" => Ok(Finish::PowerOff),
        "halt" => Ok(Finish::Halt),
        _ => bail!("it is reboot, poweroff or halt"),
    }
}

fn on_error(text: &str) -> Result<OnError> {
    match text {
        "shell" => Ok(OnError::Shell),
        "reboot" => Ok(OnError::Reboot),
        "poweroff" => Ok(OnError::PowerOff),
        _ => bail!("it is shell, reboot or poweroff"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_read_and_others_passed_over() {
        let words = Words::parse(
            "console=ttyS0 quiet ip=dhcp inst.ks=http://mirror.example/a.ks edge.url=https://mirror.example/edge \
             edge.channel=beta edge.disk=serial=X1,size=8G.. edge.bundle=LABEL=EDGE edge.finish=poweroff \
             edge.onerror=reboot edge.action=install BOOTIF=01-52-54-00-12-34-56",
        )
        .unwrap();
        let web = Place::Web("http://mirror.example/a.ks".into());
        assert_eq!(words.kickstart, Some(web));
        assert_eq!(words.channel, Some("beta".parse().unwrap()));
        assert_eq!(words.disk, Some("serial=X1,size=8G..".parse().unwrap()));
        assert_eq!(words.finish, Some(Finish::PowerOff));
        assert_eq!(words.on_error, OnError::Reboot);
        assert_eq!(words.boot_card, Some("52:54:00:12:34:56".parse().unwrap()));
        assert_eq!(Words::parse("quiet ro").unwrap(), Words::default());
    }

    #[test]
    fn places_are_anacondas() {
        let medium = |partition: &str, path: &str| {
            Some(Place::Medium {
                partition: partition.into(),
                path: path.into(),
            })
        };
        let check = |text: &str, want: Option<Place>| assert_eq!(place(text).ok(), want, "{text}");
        check("file:/a.ks", Some(Place::File("/a.ks".into())));
        check("file:///a.ks", Some(Place::File("/a.ks".into())));
        check("hd:LABEL=EDGE:/a.ks", medium("LABEL=EDGE", "/a.ks"));
        check("hd:/dev/sdb1:/x/a.ks", medium("/dev/sdb1", "/x/a.ks"));
        check("LABEL=EDGE", medium("LABEL=EDGE", "/"));
        check("UUID=1-2:/edge", medium("UUID=1-2", "/edge"));
        for wrong in [
            "",
            "a.ks",
            "file:a",
            "LABEL=",
            "LABEL=X:a",
            "ftp://x/y",
            "nfs:x:/y",
        ] {
            check(wrong, None);
        }
    }

    #[test]
    fn mistakes_name_the_argument() {
        for (word, part) in [
            ("edge.disk=sda", "edge.disk=sda"),
            ("edge.finish=maybe", "reboot, poweroff or halt"),
            ("edge.url=/srv", "not an http"),
            ("edge.color=red", "no such argument"),
            ("edge.channel=a/b", "channel"),
        ] {
            let error = format!("{:#}", Words::parse(word).unwrap_err());
            assert!(error.contains(part), "{error}");
        }
    }
}
