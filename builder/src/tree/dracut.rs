//! dracut's initramfs, for machines whose root file system is on LVM, LUKS, RAID or multipath: made in the
//! tree by the tree's own dracut, so under emulation where the board's architecture is another.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};

use super::kernel::Kernel;
use super::node::{self, Script};
use super::{cpio, initramfs, rooted};

/// What makes dracut's emergency mode reset the machine instead of waiting for somebody.
pub const KERNEL_ARGUMENTS: &[&str] = &["rd.shell=0", "rd.emergency=reboot", "rd.timeout=90"];

const PROGRAM: &str = "usr/bin/dracut";

/// Where dracut leaves the image.
const IMAGE: &str = ".edge-initramfs";

/// What dracut is told.
pub struct Plan<'a> {
    /// Debian's word for the tree's architecture.
    pub arch: &'a str,
    pub drivers: &'a [String],
    /// More of its own arguments.
    pub arguments: &'a [String],
    /// For whatever it dates.
    pub time: u64,
}

/// Makes the initramfs of a laid out tree and checks what is in it.
pub fn build(root: &Path, kernel: &Kernel, plan: &Plan) -> Result<Vec<u8>> {
    if rooted::resolve(root, Path::new(PROGRAM))?.is_none() {
        bail!("initramfs is dracut, but the tree has no /{PROGRAM}: add the package dracut-core");
    }
    let text = script(&kernel.release, plan);
    let name = "dracut".to_owned();
    node::run_script(root, plan.arch, &Script { name, text })
        .context("making the initramfs with dracut")?;
    let path = root.join(IMAGE);
    let image = fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
    rooted::remove(&path)?;
    let paths = cpio::names(&image).context("reading what dracut made")?;
    let paths: Vec<&str> = paths.iter().map(String::as_str).collect();
    let mut missing = initramfs::missing(&paths);
    let has = |name: &str| paths.iter().any(|path| path.contains(name));
    if has("/systemd-udevd") && !has("/libkmod.so.") {
        missing.push("libkmod, which systemd loads drivers with");
    }
    if !missing.is_empty() {
        bail!("dracut's initramfs lacks {}", missing.join(", "));
    }
    Ok(image)
}

/// Not for the machine that composes; without zstd in the tree dracut would take gzip in silence. systemd opens libkmod
/// when it needs it, without being linked to it, and dracut (106) packs only what programs are linked to: without it
/// no driver would be loaded.
fn script(release: &str, plan: &Plan) -> Vec<u8> {
    let (drivers, time) = (plan.drivers.join(" "), plan.time);
    let quoted = |text: &String| format!(" '{}'", text.replace('\'', "'\\''"));
    let more: String = plan.arguments.iter().map(quoted).collect();
    format!(
        "#!/bin/sh\nset -eu\nexport SOURCE_DATE_EPOCH={time}\ncommand -v zstd >/dev/null || {{ \
         echo 'the tree has no zstd: add the package' >&2; exit 1; }}\n\
         kmod=$(find /usr/lib -name 'libkmod.so.2' | head -n 1)\nexec dracut --force --no-hostonly \
         --no-hostonly-cmdline --reproducible --zstd --tmpdir /tmp --kver '{release}' --add ostree \
         --add-drivers '{drivers}' --filesystems ext4 ${{kmod:+--install \"$kmod\"}}{more} /{IMAGE}\n"
    )
    .into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use edge_ota::cmd::Cmd;

    fn plan() -> Plan<'static> {
        Plan {
            arch: "amd64",
            drivers: &[],
            arguments: &[],
            time: 7,
        }
    }

    #[test]
    fn the_script_parses() {
        let (drivers, arguments) = (
            ["virtio_blk".into(), "ext4".into()],
            ["--add".into(), "it's".into()],
        );
        let plan = Plan {
            drivers: &drivers,
            arguments: &arguments,
            ..plan()
        };
        let text = script("6.12.1", &plan);
        let text = String::from_utf8(text).unwrap();
        Cmd::new("sh").args(["-n", "-c", &text]).run().unwrap();
        assert!(
            text.contains("--add-drivers 'virtio_blk ext4' --filesystems"),
            "{text}"
        );
    }

    #[test]
    fn a_tree_without_dracut_says_what_to_add() {
        let root = tempfile::tempdir().unwrap();
        let kernel = Kernel {
            release: "6".into(),
            dir: "usr/lib/modules/6".into(),
        };
        let error = build(root.path(), &kernel, &plan()).unwrap_err();
        assert!(
            error.to_string().contains("add the package dracut-core"),
            "{error}"
        );
    }
}
