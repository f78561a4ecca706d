//! Kickstart files made for Anaconda and for our own installer.

mod describe;

use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use edge_ota::kickstart::{parse, quote};
use edge_ota::types::{BoardName, ChannelName, RefName};

pub use describe::describe;

/// Who reads the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Reader {
    /// Anaconda of Fedora 40
    F40,
    /// Anaconda of Fedora 44
    F44,
    /// Anaconda of RHEL 8
    Rhel8,
    /// Anaconda of RHEL 9
    Rhel9,
    /// Anaconda of RHEL 10
    Rhel10,
    /// The installer of 'edge-build installer'
    Edge,
}

impl Reader {
    pub fn as_str(self) -> &'static str {
        match self {
            Reader::F40 => "f40",
            Reader::F44 => "f44",
            Reader::Rhel8 => "rhel8",
            Reader::Rhel9 => "rhel9",
            Reader::Rhel10 => "rhel10",
            Reader::Edge => "edge",
        }
    }
}

pub struct Request<'a> {
    pub reader: Reader,
    /// What serves `repo/`, `root/` and `channels/`.
    pub url: &'a str,
    pub channel: &'a ChannelName,
    pub board: &'a BoardName,
    /// What the channel's release is of; Anaconda knows no channels.
    pub reference: Option<&'a RefName>,
    /// As kickstart names it, `sda`. Without one our installer takes the only disk there is.
    pub disk: Option<&'a str>,
    pub hostname: Option<&'a str>,
    /// Lines of `authorized_keys`, for root.
    pub ssh_keys: &'a [String],
    /// A script to run in the system that was installed.
    pub post: Option<&'a str>,
}

/// MiB: two releases and the one that comes.
const ROOT: u64 = 4096;

/// The partitions beside the root that `edge-ota adopt` takes over; the one for BIOS boot becomes that of the loader's
/// records.
const ADOPTED: [&str; 3] = [
    "part /boot/efi --fstype=efi --size=64",
    "part biosboot --fstype=biosboot --size=1",
    "part /boot --fstype=ext4 --size=512",
];
/// The image's own is put in place by `edge-ota adopt`.
const NO_LOADER: &str = "bootloader --location=none";

/// The file.
pub fn generate(request: &Request) -> Result<String> {
    let mut script = String::new();
    post(request.post, &mut script);
    check(&script).context("--kickstart-post")?;
    let text = match request.reader {
        Reader::Edge => for_edge(request),
        _ => for_anaconda(request)?,
    };
    check(&text)?;
    Ok(text)
}

fn for_edge(request: &Request) -> String {
    let mut text = head(request);
    text.push_str("text\n\n");
    let url = quote(request.url);
    let channel = request.channel;
    put(
        &mut text,
        &format!("ostreesetup --osname=edge --remote=edge --url={url} --ref=channel:{channel}"),
    );
    text.push('\n');
    erase(request.disk, &mut text);
    let on = request
        .disk
        .map_or_else(String::new, |disk| format!(" --ondisk={}", quote(disk)));
    put(
        &mut text,
        &format!("part / --fstype=ext4 --size={ROOT} --grow{on}"),
    );
    text.push('\n');
    machine(request, &mut text);
    post(request.post, &mut text);
    text
}

fn for_anaconda(request: &Request) -> Result<String> {
    let reference = request.reference.context(
        "Anaconda knows no channels: name what the channel's release is of by --ref, or by --repo and --keys",
    )?;
    let disk = request
        .disk
        .context("--disk is missing: Anaconda would erase every disk there is")?;
    let quoted = quote(disk);
    let mut text = head(request);
    text.push_str("# Read by pykickstart; Anaconda itself has not run it.\n\ntext\nlang en_US.UTF-8\nkeyboard us\nfirstboot --disable\n\n");
    erase(Some(disk), &mut text);
    for part in ADOPTED {
        put(&mut text, &format!("{part} --ondisk={quoted}"));
    }
    put(
        &mut text,
        &format!("part / --fstype=ext4 --size={ROOT} --grow --ondisk={quoted}"),
    );
    text.push_str("# 'edge-ota adopt' below puts the image's own boot loader in place.\n");
    put(&mut text, &format!("{NO_LOADER} --boot-drive={quoted}"));
    text.push_str(
        "\n# --nogpg: releases are not signed by GPG. 'edge-ota adopt' checks their signatures before anything of them \
         runs\n# from the disk.\n",
    );
    let url = quote(&format!("{}/repo", request.url.trim_end_matches('/')));
    put(
        &mut text,
        &format!("ostreesetup --osname=edge --remote=edge --url={url} --ref={reference} --nogpg"),
    );
    text.push('\n');
    machine(request, &mut text);
    post(request.post, &mut text);
    text.push_str("\n%post --erroronfail --log=/var/log/edge-ota-adopt.log\n");
    let url = shell_quote(request.url);
    put(
        &mut text,
        &format!(
            "edge-ota adopt --url {url} --channel {} --board {}",
            request.channel, request.board
        ),
    );
    text.push_str("%end\n");
    Ok(text)
}

fn head(request: &Request) -> String {
    format!(
        "# A node of board {}. Made by 'edge-build kickstart generate --for {}'.\n",
        request.board,
        request.reader.as_str()
    )
}

fn put(text: &mut String, line: &str) {
    text.push_str(line);
    text.push('\n');
}

fn erase(disk: Option<&str>, text: &mut String) {
    text.push_str("zerombr\n");
    let Some(disk) = disk.map(quote) else {
        text.push_str("clearpart --all --initlabel --disklabel=gpt\n");
        return;
    };
    put(text, &format!("ignoredisk --only-use={disk}"));
    put(
        text,
        &format!("clearpart --all --drives={disk} --initlabel --disklabel=gpt"),
    );
}

fn machine(request: &Request, text: &mut String) {
    let hostname = request
        .hostname
        .map(|name| format!(" --hostname={}", quote(name)));
    let hostname = hostname.unwrap_or_default();
    put(
        text,
        &format!("network --bootproto=dhcp --device=link --onboot=yes --activate{hostname}"),
    );
    text.push_str("timezone UTC --utc\nrootpw --lock\n");
    for key in request.ssh_keys {
        put(text, &format!("sshkey --username=root {}", quote(key)));
    }
    text.push_str("reboot\n");
}

/// Before the adoption, which carries `/etc` over.
fn post(script: Option<&str>, text: &mut String) {
    let Some(script) = script else { return };
    let first = script.lines().next().unwrap_or_default();
    let interpreter = first
        .strip_prefix("#!")
        .map(str::trim)
        .filter(|path| *path != "/bin/sh");
    let interpreter = interpreter.map(|path| format!(" --interpreter={}", quote(path)));
    let interpreter = interpreter.unwrap_or_default();
    let end = if script.ends_with('\n') { "" } else { "\n" };
    text.push_str(&format!(
        "\n%post --erroronfail{interpreter}\n{script}{end}%end\n"
    ));
}

/// What our reader takes is right for the others too. It is shown all but what its own layout has anyway.
fn check(text: &str) -> Result<()> {
    let foreign = |line: &&str| {
        ADOPTED
            .iter()
            .chain([&NO_LOADER])
            .any(|start| line.starts_with(start))
    };
    let shown: String = text
        .split_inclusive('\n')
        .filter(|line| !foreign(line))
        .collect();
    let read = parse("", &shown, &mut |_| bail!("the file is to be one"));
    match read {
        Ok(_) => Ok(()),
        Err(mistakes) => {
            let messages: Vec<&str> = mistakes.0.iter().map(|m| m.message.as_str()).collect();
            bail!("{}", messages.join("; "))
        }
    }
}

fn shell_quote(text: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"/:._-".contains(&b);
    match text.bytes().all(plain) {
        true => text.to_owned(),
        false => format!("'{}'", text.replace('\'', r"'\''")),
    }
}

#[cfg(test)]
mod tests;
