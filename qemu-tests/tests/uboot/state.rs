//! States of a machine: put on its disk, and compared with the model after a power-on.

use std::fs;

use anyhow::{Context, Result, ensure};
use edge_ota::boot::fake::{self, Fake, TrialCopy};
use edge_ota::boot::on_disk::TRIAL_SECTORS;
use edge_ota::boot::records::{self, BootsRecord};
use edge_ota::boot::uboot::parse_record;
use edge_ota::boot::{BootControl, BootSource, SlotFile, Trial};
use edge_ota::types::{CommitChecksum, Slot};
use qemu_tests::uboot::{BadSector, Booted, Machine, Outcome};

const OPTIONS: &str = "console=ttyAMA0,115200 panic=5 x={y} z=(a)&b|c #d";

pub fn commit(slot: Slot) -> CommitChecksum {
    match slot {
        Slot::A => "aa".repeat(32),
        Slot::B => "bb".repeat(32),
    }
    .parse()
    .unwrap()
}

pub fn stranger() -> CommitChecksum {
    "cc".repeat(32).parse().unwrap()
}

pub fn deployment(slot: Slot) -> String {
    format!("{}.0", commit(slot))
}

/// Both slots whole, slot a the default, no trial.
pub fn whole() -> Fake {
    let slot_file = |slot| SlotFile {
        slot,
        commit: commit(slot),
        deployment: deployment(slot),
        version: "1".into(),
        options: OPTIONS.into(),
        kernel_sha256: "0".repeat(64),
        initrd_sha256: "0".repeat(64),
        fdt: None,
    };
    Fake {
        slots: Slot::BOTH.map(|slot| (slot, slot_file(slot))).into(),
        defaults: [Some(Slot::A); 2],
        files: Slot::BOTH.map(deployment).into(),
        ..Fake::default()
    }
}

pub fn trial(slot: Slot, left: u8) -> TrialCopy {
    TrialCopy::Holds(Trial::new(slot, commit(slot), left))
}

/// Puts a state on the machine's disk by the updater's own code, then damages it by hand.
pub fn write(machine: &Machine, state: &Fake) -> Result<()> {
    machine.reset()?;
    for (slot, file) in &state.slots {
        install(machine, *slot, None)?;
        machine.control().write_slot_file(file)?;
        if !state.files.contains(&file.deployment) {
            let dir = machine.boot_dir().join("slots").join(&file.deployment);
            // Either of the two makes a slot incomplete.
            let lost = if *slot == Slot::A {
                "vmlinuz"
            } else {
                "initramfs.img"
            };
            fs::remove_file(dir.join(lost))?;
        }
    }
    for (copy, name) in ["default", "default.copy"].into_iter().enumerate() {
        write_default(machine, name, state.defaults.get(copy).copied().flatten())?;
    }
    for (copy, held) in state.trials.iter().enumerate() {
        match held {
            TrialCopy::Holds(trial) => machine.write_trial_copy(copy, &trial.to_bytes())?,
            TrialCopy::Empty | TrialCopy::Damaged => {}
        }
    }
    machine.write_boots(&BootsRecord {
        boots: state.boots,
        seq: "3".to_owned(),
    })
}

/// A default that is no longer readable is garbage, and its copy is empty.
fn write_default(machine: &Machine, name: &str, slot: Option<Slot>) -> Result<()> {
    let bytes = match slot {
        Some(slot) => records::default_to_bytes(slot),
        None if name == "default" => vec![0xa5; 1024],
        None => Vec::new(),
    };
    let path = machine.boot_dir().join(name);
    fs::write(&path, bytes).with_context(|| format!("writing {}", path.display()))
}

pub fn install(machine: &Machine, slot: Slot, fdt: Option<&std::path::Path>) -> Result<SlotFile> {
    let work = machine.work_dir();
    fs::write(
        work.join("vmlinuz"),
        machine.kernel(&format!("slot-{slot}"))?,
    )?;
    fs::write(
        work.join("initramfs"),
        format!("edge-initramfs=slot-{slot}\0"),
    )?;
    let source = BootSource {
        kernel: &work.join("vmlinuz"),
        initramfs: &work.join("initramfs"),
        fdt,
    };
    let keep = Slot::BOTH.map(deployment);
    let sums = machine
        .control()
        .install_files(&deployment(slot), &source, &keep)?;
    Ok(SlotFile {
        kernel_sha256: sums.kernel,
        initrd_sha256: sums.initramfs,
        fdt: sums.fdt,
        ..whole().slots.remove(&slot).context("no such slot")?
    })
}

/// What the command line says, in the model's words; checks that kernel and initramfs are of the same slot.
pub fn seen(booted: Option<&Booted>) -> Result<fake::Booted> {
    let Some(booted) = booted else {
        return Ok(fake::Booted::Nothing);
    };
    let slot = booted.slot().context("no slot on the command line")?;
    let name = format!("slot-{slot}");
    ensure!(
        booted.kernel == name && booted.initramfs == name,
        "mixed slots: {booted:?}"
    );
    Ok(if booted.value("edge_ota.trial").is_some() {
        fake::Booted::Trial(slot)
    } else if booted.value("edge_ota.fallback").is_some() {
        fake::Booted::Fallback(slot)
    } else {
        fake::Booted::Default(slot)
    })
}

/// Powers on model and machine in the same state and compares choice and records.
pub fn check(machine: &Machine, state: &Fake) -> Result<()> {
    let act = || -> Result<()> {
        write(machine, state)?;
        let mut after = state.clone();
        let expected = after.power_on();
        let bad = state
            .trials
            .iter()
            .position(|copy| *copy == TrialCopy::Damaged)
            .and_then(|copy| TRIAL_SECTORS.get(copy))
            .map(|&sector| BadSector {
                sector,
                reads: true,
            });
        let outcome = machine.power_on(bad)?;
        let chosen = seen(outcome.booted.as_ref())?;
        ensure!(
            chosen == expected,
            "{chosen:?} instead of {expected:?}\n{}",
            outcome.console
        );
        ensure!(machine.control().boots()? == after.boots, "boots");
        compare_trials(machine, &after)?;
        compare_arguments(machine, &outcome, &after)
    };
    act().with_context(|| format!("{state:?}"))
}

fn compare_trials(machine: &Machine, after: &Fake) -> Result<()> {
    for (copy, expected) in after.trials.iter().enumerate() {
        let read =
            parse_record(&machine.trial_copy(copy)?).and_then(|vars| Trial::from_vars(&vars));
        match expected {
            TrialCopy::Holds(trial) => ensure!(read.as_ref() == Some(trial), "{copy}: {read:?}"),
            TrialCopy::Empty | TrialCopy::Damaged => ensure!(read.is_none(), "{copy}: {read:?}"),
        }
    }
    ensure!(machine.control().trial()? == after.trial()?, "trial");
    Ok(())
}

fn compare_arguments(machine: &Machine, outcome: &Outcome, after: &Fake) -> Result<()> {
    let Some(booted) = &outcome.booted else {
        return Ok(());
    };
    let slot = booted.slot().context("no slot on the command line")?;
    let line = booted.command_line.join(" ");
    let expected = [
        ("root", format!("PARTUUID={}", machine.root_uuid())),
        ("ostree", format!("/ostree/slot-{slot}")),
        ("edge_ota.seq", "4".to_owned()),
    ];
    for (key, value) in expected {
        ensure!(booted.value(key) == Some(&value), "{key} in '{line}'");
    }
    if let Some(left) = booted.value("edge_ota.trial") {
        let record = after.trial()?.context("a trial without a record")?;
        ensure!(left == record.left.to_string(), "tries in '{line}'");
    }
    ensure!(line.ends_with(OPTIONS), "options in '{line}'");
    Ok(())
}

/// The state, and the same without the file or the kernel of either slot.
pub fn incomplete(state: &Fake) -> Vec<Fake> {
    let mut all = vec![state.clone()];
    for slot in Slot::BOTH {
        let mut without_file = state.clone();
        without_file.slots.remove(&slot);
        let mut without_kernel = state.clone();
        without_kernel.files.remove(&deployment(slot));
        all.extend([without_file, without_kernel]);
    }
    let mut nothing = state.clone();
    nothing.slots.clear();
    all.push(nothing);
    all
}
