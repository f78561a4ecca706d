//! `edge-build pxe`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::{Result, bail};
use edge_build::interrupt;
use edge_build::packages::mirrors::MirrorOptions;
use edge_build::progress::Progress;
use edge_build::provision::pxe::host::Key;
use edge_build::provision::pxe::orders::Orders;
use edge_build::provision::pxe::{self, Request};
use edge_ota::output;

use super::{boards_dir, work_dir};
use crate::cli::{self, Cli};

pub fn pxe(cli: &Cli, args: &cli::Pxe) -> Result<()> {
    interrupt::install()?;
    let mirrors = MirrorOptions {
        mirror: args.mirror.clone(),
        security_mirror: None,
        keyring: args.mirror_keyring.clone(),
    };
    let request = Request {
        installers: &args.installers,
        boards: &boards_dir(cli)?,
        url: &args.url,
        default: default(args),
        hosts: hosts(args)?,
        arguments: &args.arguments,
        loaders: args.loaders.as_deref(),
        mirrors: &mirrors.or_environment(),
        out: &args.out,
        work: &work_dir(cli)?,
    };
    let summary = pxe::make(&request, &Progress::new("pxe"))?;
    match args.json {
        true => output::line(serde_json::to_string_pretty(&summary)?)?,
        false => output::line(args.out.display())?,
    }
    Ok(())
}

fn default(args: &cli::Pxe) -> Option<Orders> {
    let kickstart = args.kickstart.clone().map(Orders::Kickstart);
    kickstart.or_else(|| {
        Some(Orders::Arguments {
            source: args.source.clone()?,
            channel: args.channel.clone(),
            disk: args.disk.clone()?,
        })
    })
}

fn hosts(args: &cli::Pxe) -> Result<BTreeMap<Key, Orders>> {
    let mut hosts = BTreeMap::new();
    for (key, file) in &args.hosts {
        let orders = Orders::Kickstart(PathBuf::from(file));
        if hosts.insert(key.clone(), orders).is_some() {
            bail!("--host {key}: the machine is named twice");
        }
    }
    Ok(hosts)
}
