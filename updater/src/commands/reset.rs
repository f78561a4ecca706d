//! `edge-ota reset`.

use std::io::{self, BufRead, IsTerminal};
use std::path::Path;

use anyhow::{Context, Result, bail};
use edge_ota::device::Device;
use edge_ota::reset::{self, Var};
use edge_ota::{output, verdict};

use crate::cli::Reset;

pub fn run(root: &Path, args: &Reset) -> Result<()> {
    let var = match args.wipe_var {
        true => Var::Wipe,
        false => Var::Keep,
    };
    let mut device = Device::open_to_write(root)?;
    if !args.yes {
        ask(var)?;
    }
    reset::prepare(&mut device, var)?;
    output::line("the next boot is the first of the reset system")?;
    drop(device);
    match args.reboot {
        true => verdict::reboot(),
        false => Ok(()),
    }
}

fn ask(var: Var) -> Result<()> {
    if !io::stdin().is_terminal() {
        bail!("nobody can be asked whether to reset this device: use --yes");
    }
    let lost = match var {
        Var::Keep => "all edits of /etc",
        Var::Wipe => "all edits of /etc and everything in /var",
    };
    output::say(format_args!("{lost} will be lost: type reset to go on"));
    let mut line = String::new();
    let mut stdin = io::stdin().lock();
    stdin.read_line(&mut line).context("reading the answer")?;
    match line.trim() {
        "reset" => Ok(()),
        _ => bail!("nothing was changed"),
    }
}
