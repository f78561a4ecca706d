//! What the machine of a rehearsal runs beside its release: a unit in `/etc`, where no release has files of its own and
//! every upgrade carries it over. The trees stay what they are.

use edge_ota::birth::EtcFile;

/// The name of the port, `/dev/virtio-ports/` and this.
pub const PORT: &str = "edge-rehearsal";

const SCRIPT: &str = include_str!("driver.sh");
/// Static, so that no preset takes it away; after the verdict, whatever that is.
const UNIT: &str = "\
[Unit]
Description=Tell a rehearsal where this boot ended up, and do what it says
After=multi-user.target boot-complete.target edge-ota-health.service edge-ota-mark-good.service

[Service]
Type=exec
ExecStart=/bin/sh /etc/edge-rehearsal.sh
";

/// The timer would upgrade by itself, between the steps.
pub fn files() -> Vec<EtcFile> {
    let units = "/etc/systemd/system";
    vec![
        EtcFile::text("edge-rehearsal.sh", SCRIPT),
        EtcFile::text("systemd/system/edge-rehearsal.service", UNIT),
        EtcFile::link(
            "systemd/system/multi-user.target.wants/edge-rehearsal.service",
            format!("{units}/edge-rehearsal.service"),
        ),
        EtcFile::link("systemd/system/edge-ota.timer", "/dev/null"),
    ]
}
