//! `edge-build`: parses, dispatches, and maps an error to an exit code.

mod cli;
mod commands;

use std::path::Path;
use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;
use edge_build::{interrupt, serve, vm};
use edge_ota::output;

use cli::{Cli, Command};

fn main() -> ExitCode {
    keep_deployments_mutable();
    let cli = Cli::parse();
    match run(&cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) if interrupt::happened() => {
            output::say("edge-build: interrupted; nothing half done is left");
            ExitCode::from(interrupt::EXIT_CODE as u8)
        }
        Err(error) => {
            output::say(format_args!("edge-build: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

/// libostree would set the immutable flag on the deployments of an image in the making, and then the
/// work folder could not be removed.
#[allow(unsafe_code)]
fn keep_deployments_mutable() {
    // SAFETY: called before any other thread is started.
    unsafe { std::env::set_var("OSTREE_SYSROOT_DEBUG", "mutable-deployments") }
}

fn run(cli: &Cli) -> Result<()> {
    match &cli.command {
        Command::Key(cli::Key::Generate { out }) => commands::generate_keys(out),
        Command::Board(cli::Board::List) => commands::list_boards(cli),
        Command::Board(cli::Board::Check { boards }) => commands::check_boards(cli, boards),
        Command::Check(args) => commands::check(cli, args),
        Command::Lock(args) => commands::lock(cli, args),
        Command::Compose(args) => commands::compose(cli, args),
        Command::Verify(args) => commands::verify(cli, args),
        Command::Size(args) => commands::print_size(args),
        Command::Diff(args) => commands::print_diff(args),
        Command::Sbom(args) => commands::print_sbom(args),
        Command::Sign(args) => commands::sign(args),
        Command::Rehearse(args) => commands::rehearse(cli, args),
        Command::Release(args) => commands::publish(args),
        Command::Image(args) => commands::image(cli, args),
        Command::Pxe(args) => commands::pxe(cli, args),
        Command::Installer(args) => commands::installer(cli, args),
        Command::Kickstart(cli::kickstart::Kickstart::Generate(args)) => {
            commands::kickstart::generate(cli, args)
        }
        Command::Kickstart(cli::kickstart::Kickstart::Check(args)) => {
            commands::kickstart::check(args)
        }
        Command::Serve(args) => serve::serve(&args.dir, args.port, &mut std::io::stdout()),
        Command::Vm(args) => vm::run(
            Path::new("/"),
            &commands::board(cli, &args.board)?,
            &args.image,
            args.keep,
            &commands::work_dir(cli)?,
        ),
    }
}
