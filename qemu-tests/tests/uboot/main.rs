//! The real script in a real U-Boot makes the transitions of `Fake::power_on`: the same choice and the same
//! records. Kernels are stubs that say what was booted.

#![allow(clippy::unwrap_used)]

mod image;
mod state;

use std::fs;

use anyhow::{Context, Result, ensure};
use edge_ota::boot::fake::{self, Fake, TrialCopy};
use edge_ota::boot::on_disk::TRIAL_SECTORS;
use edge_ota::boot::{BootControl, Boots, Trial};
use edge_ota::types::Slot;
use qemu_tests::uboot::{BadSector, Cpu, Machine, device_tree};

use state::{check, commit, deployment, incomplete, install, seen, stranger, trial, whole, write};

/// Each pair of copies of the trial record, in both orders: empty, of each number of tries, of another commit, of
/// the default slot, on a bad sector.
#[test]
fn uboot_takes_trials_as_the_model_does() -> Result<()> {
    let machine = Machine::new(Cpu::Armv7)?;
    let copies = [
        TrialCopy::Empty,
        trial(Slot::B, 0),
        trial(Slot::B, 1),
        trial(Slot::B, 3),
        TrialCopy::Holds(Trial::new(Slot::B, stranger(), 2)),
        trial(Slot::A, 2),
        TrialCopy::Damaged,
    ];
    for one in &copies {
        for other in &copies {
            if *one == TrialCopy::Damaged && one == other {
                continue;
            }
            let state = Fake {
                trials: [one.clone(), other.clone()],
                boots: Boots::Count(2),
                ..whole()
            };
            check(&machine, &state)?;
        }
    }
    Ok(())
}

/// Each pair of defaults, with and without a trial, with slots that miss their file or their kernel.
#[test]
fn uboot_takes_defaults_as_the_model_does() -> Result<()> {
    let machine = Machine::new(Cpu::Armv7)?;
    let readable = [Some(Slot::A), Some(Slot::B), None];
    for one in readable {
        for other in readable {
            for on_trial in [TrialCopy::Empty, trial(Slot::A, 2), trial(Slot::B, 2)] {
                for state in incomplete(&Fake {
                    defaults: [one, other],
                    trials: [on_trial.clone(), on_trial.clone()],
                    ..whole()
                }) {
                    // Beside a good first copy the second is not looked at.
                    if one.is_none() || other == Some(Slot::A) {
                        check(&machine, &state)?;
                    }
                }
            }
        }
    }
    Ok(())
}

/// The count of boots runs to five, then the other slot is tried once, if it is there.
#[test]
fn uboot_counts_boots_as_the_model_does() -> Result<()> {
    let machine = Machine::new(Cpu::Armv7)?;
    for boots in (0..=6).map(Boots::Count).chain([Boots::Fallback]) {
        for state in incomplete(&Fake { boots, ..whole() }) {
            check(&machine, &state)?;
        }
    }
    Ok(())
}

/// Three power-ons in a row on what the loader itself wrote, then the default again.
#[test]
fn uboot_counts_a_trial_down_and_goes_back() -> Result<()> {
    [Cpu::Armv7, Cpu::Armv8]
        .into_iter()
        .try_for_each(count_down)
}

fn count_down(cpu: Cpu) -> Result<()> {
    let machine = Machine::new(cpu)?;
    write(&machine, &whole())?;
    let armed = Trial::new(Slot::B, commit(Slot::B), 3);
    machine.control().set_trial(&armed)?;
    let mut tried = Vec::new();
    for _ in 0..4 {
        let booted = machine.power_on(None)?.booted.context("nothing booted")?;
        tried.push((
            booted.slot(),
            booted.value("edge_ota.trial").map(str::to_owned),
        ));
    }
    let on_trial = |left: &str| (Some(Slot::B), Some(left.to_owned()));
    assert_eq!(
        tried,
        [
            on_trial("2"),
            on_trial("1"),
            on_trial("0"),
            (Some(Slot::A), None)
        ]
    );
    assert_eq!(machine.control().boots()?, Boots::Count(1));
    machine.control().clear_trial()?;
    machine.control().reset_boots()?;
    assert_eq!(machine.control().trial()?, None);
    assert_eq!(machine.control().boots()?, Boots::Count(0));
    Ok(())
}

/// A copy that reads well and cannot be written: no trial, whichever copy it is. Later, when it can be written again,
/// the trial goes on: a count that was cut off between the two copies has cost one try.
#[test]
fn uboot_starts_no_trial_that_it_cannot_count() -> Result<()> {
    let machine = Machine::new(Cpu::Armv7)?;
    for (sector, left) in TRIAL_SECTORS.into_iter().zip([2, 1]) {
        write(&machine, &whole())?;
        machine
            .control()
            .set_trial(&Trial::new(Slot::B, commit(Slot::B), 3))?;
        let bad = BadSector {
            sector,
            reads: false,
        };
        let outcome = machine.power_on(Some(bad))?;
        ensure!(
            seen(outcome.booted.as_ref())? == fake::Booted::Default(Slot::A),
            "sector {sector}: {}",
            outcome.console
        );
        let outcome = machine.power_on(None)?;
        ensure!(
            seen(outcome.booted.as_ref())? == fake::Booted::Trial(Slot::B),
            "sector {sector}, good again: {}",
            outcome.console
        );
        let found = machine.control().trial()?.map(|trial| trial.left);
        ensure!(found == Some(left), "sector {sector}: {found:?}");
    }
    Ok(())
}

/// Garbage is no record, keeps nothing from booting, and is written over.
#[test]
fn uboot_takes_garbage_for_no_record() -> Result<()> {
    let machine = Machine::new(Cpu::Armv7)?;
    let good = Trial::new(Slot::B, commit(Slot::B), 3).to_bytes();
    let cases = [
        vec![0; 1024],
        vec![0xff; 1024],
        b"trial_slot\ntrial_slot=b;reset\nbootcmd\n".to_vec(),
        // Torn: the last tries with an older check.
        String::from_utf8(good.clone())?
            .replace("trial_left=3", "trial_left=1")
            .into_bytes(),
    ];
    for garbage in cases {
        write(&machine, &whole())?;
        machine.write_trial_copy(0, &garbage)?;
        machine.write_trial_copy(1, &garbage)?;
        let chosen = seen(machine.power_on(None)?.booted.as_ref())?;
        ensure!(chosen == fake::Booted::Default(Slot::A), "{chosen:?}");
        machine.write_trial_copy(1, &good)?;
        let chosen = seen(machine.power_on(None)?.booted.as_ref())?;
        ensure!(chosen == fake::Booted::Trial(Slot::B), "{chosen:?}");
        let left = machine.control().trial()?.map(|trial| trial.left);
        ensure!(left == Some(2), "{left:?}");
    }
    Ok(())
}

/// A kernel or a device tree that is there and cannot be booted: the other slot.
#[test]
fn uboot_leaves_a_slot_that_does_not_load() -> Result<()> {
    let machine = Machine::new(Cpu::Armv7)?;
    for broken in ["vmlinuz", "board.dtb"] {
        write(&machine, &whole())?;
        let tree = machine.work_dir().join("board.dtb");
        fs::write(&tree, device_tree("ours", machine.work_dir())?)?;
        let file = install(&machine, Slot::A, Some(&tree))?;
        machine.control().write_slot_file(&file)?;
        ensure!(machine.control().files_intact(&file)?);
        let copy = machine
            .boot_dir()
            .join("slots")
            .join(deployment(Slot::A))
            .join(broken);
        fs::write(copy, "rubbish")?;
        ensure!(!machine.control().files_intact(&file)?);
        let outcome = machine.power_on(None)?;
        ensure!(
            seen(outcome.booted.as_ref())? == fake::Booted::Fallback(Slot::B),
            "{broken}: {}",
            outcome.console
        );
    }
    Ok(())
}

/// The kernel gets the slot's device tree, or the firmware's where the slot names none.
#[test]
fn uboot_hands_over_the_device_tree() -> Result<()> {
    [Cpu::Armv7, Cpu::Armv8].into_iter().try_for_each(hand_over)
}

fn hand_over(cpu: Cpu) -> Result<()> {
    let machine = Machine::new(cpu)?;
    write(&machine, &whole())?;
    let booted = machine.power_on(None)?.booted.context("nothing booted")?;
    assert_eq!(booted.tree, None);
    let tree = machine.work_dir().join("board.dtb");
    fs::write(&tree, device_tree("ours", machine.work_dir())?)?;
    let file = install(&machine, Slot::A, Some(&tree))?;
    machine.control().write_slot_file(&file)?;
    let booted = machine.power_on(None)?.booted.context("nothing booted")?;
    assert_eq!(booted.tree.as_deref(), Some("ours"));
    assert_eq!(booted.slot(), Some(Slot::A));
    Ok(())
}

/// A damaged script is not run half: the one on `edge-boot` takes over.
#[test]
fn uboot_finds_the_other_script() -> Result<()> {
    let machine = Machine::new(Cpu::Armv7)?;
    let whole_script = machine.script()?;
    let mut changed = whole_script.clone();
    let middle = changed.len() / 2;
    changed[middle] ^= 1;
    for damaged in [changed.as_slice(), &whole_script[..middle], &[]] {
        write(&machine, &whole())?;
        machine.put_script(damaged)?;
        let outcome = machine.power_on(None)?;
        ensure!(
            seen(outcome.booted.as_ref())? == fake::Booted::Default(Slot::A),
            "{} bytes: {}",
            damaged.len(),
            outcome.console
        );
    }
    Ok(())
}

/// Sectors that are not those of the records are never written, and then there is no trial.
#[test]
fn uboot_writes_only_where_the_records_are() -> Result<()> {
    let machine = Machine::new(Cpu::Armv7)?;
    let state = Fake {
        trials: [trial(Slot::B, 3), trial(Slot::B, 3)],
        boots: Boots::Count(2),
        ..whole()
    };
    write(&machine, &state)?;
    machine.put_script(&machine.script_of_another_disk()?)?;
    let before = fs::read(machine.trial_file())?;
    let outcome = machine.power_on(None)?;
    ensure!(
        seen(outcome.booted.as_ref())? == fake::Booted::Default(Slot::A),
        "{}",
        outcome.console
    );
    ensure!(
        fs::read(machine.trial_file())? == before,
        "something was written"
    );
    Ok(())
}
