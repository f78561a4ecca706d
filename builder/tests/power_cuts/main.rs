//! The power goes at each change of the boot control, and afterwards the loader finds the old system or
//! the new one, whole. `device` does that to a real sysroot; `model` to everything that can happen to
//! the loader's records.

// The lint spares test functions but not what they call.
#![allow(clippy::unwrap_used)]

#[path = "../common/mod.rs"]
mod common;
mod device;
mod model;

use edge_ota::boot::BootControl;
use edge_ota::boot::fake::{Booted, Fake};
use edge_ota::decide::{HowBooted, Observed};
use edge_ota::types::Slot;

/// What a device would see that was booted like this.
fn observe(boot: &Fake, booted: Booted, staged: Option<Slot>) -> Observed {
    let how = HowBooted {
        slot: booted.slot(),
        on_trial: matches!(booted, Booted::Trial(_)),
        fallback: matches!(booted, Booted::Fallback(_)),
    };
    Observed {
        booted: booted.slot(),
        default: boot.default_slot().unwrap(),
        trial: boot.trial().unwrap(),
        boots: boot.boots().unwrap(),
        how,
        staged,
    }
}
