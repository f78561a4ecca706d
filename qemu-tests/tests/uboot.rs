//! The real script in a real U-Boot makes the transitions of `Fake::power_on`: the same choice and the same
//! records. Kernels are stubs that say what was booted.

use std::fs;

use anyhow::{Context, Result, ensure};
use edge_ota::boot::fake::{self, Fake, TrialCopy};
use edge_ota::boot::on_disk::TRIAL_SECTORS;
use edge_ota::boot::records::BootsRecord;
use edge_ota::boot::uboot::parse_record;
use edge_ota::boot::{BootControl, BootSource, Boots, SlotFile, Trial};
use edge_ota::types::{CommitChecksum, Slot};
use qemu_tests::uboot::{BadSector, Booted, Cpu, Machine, Outcome, device_tree};

const OPTIONS: &str = "console=ttyAMA0,115200 panic=5 x={y} z=(a)&b|c #d";

fn commit(slot: Slot) -> CommitChecksum {
    match slot {
        Slot::A => "aa".repeat(32),
        Slot::B => "bb".repeat(32),
    }
    .parse()
    .unwrap()
}

fn stranger() -> CommitChecksum {
    "cc".repeat(32).parse().unwrap()
}

fn deployment(slot: Slot) -> String {
    format!("{}.0", commit(slot))
}

/// Both slots whole, slot a the default, no trial.
fn whole() -> Fake {
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

fn trial(slot: Slot, left: u8) -> TrialCopy {
    TrialCopy::Holds(Trial::new(slot, commit(slot), left))
}

/// Puts a state on the machine's disk by the updater's own code, then damages it by hand.
fn write(machine: &Machine, state: &Fake) -> Result<()> {
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
    let path = machine.boot_dir().join(name);
    match slot {
        Some(slot) => {
            let other = machine.boot_dir().join("other");
            let mut control = machine.control();
            let kept = fs::read(machine.boot_dir().join("default"));
            control.set_default(slot)?;
            fs::rename(machine.boot_dir().join(name), &other)?;
            if let Ok(kept) = kept {
                fs::write(machine.boot_dir().join("default"), kept)?;
            }
            fs::rename(other, path)?;
            Ok(())
        }
        None if name == "default" => Ok(fs::write(path, [0xa5; 1024])?),
        None => Ok(fs::write(path, "")?),
    }
}

fn install(machine: &Machine, slot: Slot, fdt: Option<&std::path::Path>) -> Result<SlotFile> {
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
fn seen(booted: Option<&Booted>) -> Result<fake::Booted> {
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
fn check(machine: &Machine, state: &Fake) -> Result<()> {
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

/// The state, and the same without the file or the kernel of either slot.
fn incomplete(state: &Fake) -> Vec<Fake> {
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

/// A copy that reads well and cannot be written: no trial, whichever copy it is.
#[test]
fn uboot_starts_no_trial_that_it_cannot_count() -> Result<()> {
    let machine = Machine::new(Cpu::Armv7)?;
    for sector in TRIAL_SECTORS {
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
        machine.damage_script(damaged)?;
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
