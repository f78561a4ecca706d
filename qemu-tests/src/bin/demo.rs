//! The whole main job on one virtual machine: compose, image, boot, upgrade to a second real
//! release, break, come back. Ends with what the device says of itself and with the measures.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Result, ensure};
use qemu_tests::figures::Figures;
use qemu_tests::journey::{Journey, Releases};
use qemu_tests::lab;
use qemu_tests::site;
use qemu_tests::vm::{BOOT, Vm};

fn main() -> ExitCode {
    lab::exit_code(run())
}

fn run() -> Result<()> {
    let work = lab::target_dir(&lab::workspace()?).join("demo");
    let journey = Journey::new(&site::board_under_test(), &work)?;
    let mut figures = Figures::default();
    let releases = journey.build(&mut figures)?;
    let mut vm = journey.boot(&releases.first, &mut figures)?;
    let _web = journey.upgrade(&mut vm, &releases.second, &mut figures)?;
    break_and_come_back(&journey, &releases, &mut vm, &mut figures)?;
    println!("\n{}", figures.table());
    vm.quit()
}

fn break_and_come_back(
    journey: &Journey,
    releases: &Releases,
    vm: &mut Vm,
    figures: &mut Figures,
) -> Result<()> {
    let bad = journey
        .site
        .publish_broken(&releases.second, "broken", |tree| {
            tree.write_program(
                "usr/lib/edge-ota/health.d/required.d/50-broken",
                "#!/bin/sh\necho this release is broken\nexit 1\n",
            )
        })?;
    lab::step("upgrade to a broken release", || {
        vm.ssh("edge-ota upgrade --reboot")
    })?;
    let what = "trial of a broken release and the way back";
    figures.time(&journey.site.board, what, || {
        let status = vm.wait_for_report(Duration::from_secs(900))?;
        ensure!(
            status.booted.commit == releases.second && status.trial.is_none(),
            "did not come back: {status:?}"
        );
        vm.wait_for_ssh(BOOT)
    })?;
    println!("\n$ edge-ota status\n{}", vm.ask("edge-ota status")?);
    println!("\n$ edge-ota history\n{}", vm.ask("edge-ota history")?);
    ensure!(
        vm.ask("edge-ota history --json")?.contains(bad.as_str()),
        "the history does not name {bad}"
    );
    Ok(())
}
