//! What an installer is told: by a kickstart, or by arguments alone.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use edge_ota::kickstart;
use edge_ota::types::ChannelName;

use super::url::Base;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Orders {
    /// A file that is copied into the folder.
    Kickstart(PathBuf),
    Arguments {
        /// Where the installer finds `repo/`, `root/` and `channels/`.
        source: Base,
        channel: ChannelName,
        /// The device to install to, `/dev/disk/by-id/…`.
        disk: String,
    },
}

impl Orders {
    /// The kernel's arguments for the machine whose files have this name.
    pub fn arguments(&self, name: &str, url: &Base) -> String {
        match self {
            Self::Kickstart(_) => format!("inst.ks={url}/{}", kickstart_path(name)),
            Self::Arguments {
                source,
                channel,
                disk,
            } => format!("edge.url={source} edge.channel={channel} edge.disk={disk}"),
        }
    }
}

/// Below the folder.
pub fn kickstart_path(name: &str) -> String {
    format!("ks/{name}.ks")
}

/// Reads a kickstart and says what is wrong with it before a machine meets it.
pub fn read_kickstart(path: &Path) -> Result<String> {
    let text = fs::read_to_string(path)
        .with_context(|| format!("reading the kickstart {}", path.display()))?;
    check_kickstart(&path.display().to_string(), &text)?;
    Ok(text)
}

/// By the installer's own reader. What is included is another machine's file or a URL: only the lines are judged then.
fn check_kickstart(name: &str, text: &str) -> Result<()> {
    let mut included = false;
    kickstart::pre_scripts(name, text, &mut |_| {
        included = true;
        Ok(String::new())
    })?;
    if !included {
        kickstart::parse(name, text, &mut |_| Ok(String::new()))?;
    }
    Ok(())
}

/// A word for the kernel's command line that no loader's script changes on its way.
pub fn argument(text: &str) -> Result<String, String> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~:/[]%@+=,".contains(&byte);
    match !text.is_empty() && text.bytes().all(plain) {
        true => Ok(text.to_owned()),
        false => Err(format!(
            "'{text}' is no kernel argument that all loaders pass on: letters, digits and -._~:/[]%@+=, only"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_become_arguments() {
        let url: Base = "http://pxe.example/pxe".parse().unwrap();
        let kickstart = Orders::Kickstart("/somewhere/x.cfg".into());
        assert_eq!(
            kickstart.arguments("default", &url),
            "inst.ks=http://pxe.example/pxe/ks/default.ks"
        );
        let orders = Orders::Arguments {
            source: "http://updates.example/fleet/".parse().unwrap(),
            channel: "stable".parse().unwrap(),
            disk: "/dev/vda".to_owned(),
        };
        assert_eq!(
            orders.arguments("default", &url),
            "edge.url=http://updates.example/fleet edge.channel=stable edge.disk=/dev/vda"
        );
    }

    #[test]
    fn a_kickstart_is_judged_by_its_reader() {
        let ready = include_str!("../../../../kickstart/edge-node.ks");
        check_kickstart("edge-node.ks", ready).unwrap();
        check_kickstart("a.ks", "%include http://pxe.example/rest.ks\n").unwrap();
        let error = |text: &str| check_kickstart("a.ks", text).unwrap_err().to_string();
        let wrong = error(&format!("{ready}\nmake-coffee\n"));
        assert!(
            wrong.contains("make-coffee") && wrong.starts_with("a.ks:"),
            "{wrong}"
        );
    }

    #[test]
    fn arguments_are_words() {
        let check = |text: &str, good: bool| assert_eq!(argument(text).is_ok(), good, "{text}");
        check("console=ttyS1,115200", true);
        check("", false);
        check("a b", false);
        check("a=$b", false);
        check("a;b", false);
    }
}
