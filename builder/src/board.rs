//! What a board is: data in `boards/*.toml`, known only here.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};
use edge_ota::types::BoardName;
use serde::Deserialize;

/// Where boards are looked for when the command line does not say: beside the treefiles of a checkout,
/// then as installed.
const PLACES: [&str; 3] = [
    "boards",
    "usr/local/share/edge-build/boards",
    "usr/share/edge-build/boards",
];

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Board {
    pub name: BoardName,
    pub arch: Arch,
    /// The package of the kernel.
    pub kernel: String,
    pub boot: Boot,
    /// The console's device and speed, `ttyS0,115200`.
    pub console: String,
    #[serde(default)]
    pub kernel_arguments: Vec<String>,
    /// The device tree that the kernel is given, below its `dtb/`; without it the firmware's own.
    pub fdt: Option<String>,
    /// What a tree that chooses its modules keeps for this board, in a treefile's words.
    #[serde(default)]
    pub kernel_modules: Vec<String>,
    #[serde(default)]
    pub firmware: Vec<Firmware>,
    /// For machines that start by BIOS; without it there are none.
    pub bios: Option<Bios>,
    /// Loaders for machines that start from the network, from Debian's packages; their files go into a folder that is
    /// served.
    #[serde(default)]
    pub netboot: Vec<Firmware>,
    /// Where partitions begin at the earliest, in bytes: room for firmware that no package brings.
    pub first_partition: Option<u64>,
    pub initramfs: Initramfs,
    /// What a tree of RPMs takes in the place of `kernel` and `firmware`.
    pub rpm: Option<Rpm>,
    pub qemu: Option<Qemu>,
}

/// The architecture in the words of both worlds.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Arch {
    /// `amd64`
    pub debian: String,
    /// `x86_64`
    pub rpm: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Boot {
    Grub,
    Uboot,
}

impl Boot {
    pub fn as_str(self) -> &'static str {
        match self {
            Boot::Grub => "grub",
            Boot::Uboot => "uboot",
        }
    }
}

/// A package that is unpacked for some of its files and not installed.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Firmware {
    pub package: String,
    /// Path in the package to path below `/usr/lib/ostree-boot/efi`.
    #[serde(default)]
    pub files: BTreeMap<String, String>,
    /// Path in the package to its place on the disk, in bytes from the start, outside of any partition.
    #[serde(default)]
    pub raw: BTreeMap<String, u64>,
}

/// A package of GRUB's modules for BIOS; it is unpacked, not installed.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bios {
    pub package: String,
    /// The folder of the modules in the package.
    pub modules: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rpm {
    /// The packages of the kernel and its modules.
    pub kernel: Vec<String>,
    /// A `*` in a path of a package stands for any name; the files must be one.
    #[serde(default)]
    pub firmware: Vec<Firmware>,
    pub bios: Option<Bios>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Initramfs {
    /// Kernel modules by name, dependencies not counted; one that is built in is no error.
    pub modules: Vec<String>,
}

/// How to run the board in QEMU.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Qemu {
    /// `x86_64` of `qemu-system-x86_64`.
    pub system: String,
    pub machine: String,
    pub cpu: String,
    /// MiB
    pub memory: u32,
    /// Where distributions put the firmware; the first that is there counts.
    pub firmware: Vec<QemuFirmware>,
    /// The watchdog device that the board's kernel has a driver for.
    pub watchdog: Option<String>,
}

/// Paths below `/`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QemuFirmware {
    pub code: String,
    /// Empty variables; firmware that keeps none has none.
    pub vars: Option<String>,
}

impl Qemu {
    /// The firmware that this machine has.
    pub fn firmware(&self, root: &Path) -> Result<&QemuFirmware> {
        let is_there = |f: &&QemuFirmware| {
            let mut paths = f.vars.iter().chain([&f.code]);
            paths.all(|path| root.join(path).exists())
        };
        self.firmware.iter().find(is_there).with_context(|| {
            let codes: Vec<&str> = self.firmware.iter().map(|f| f.code.as_str()).collect();
            format!(
                "no firmware for qemu-system-{}: none of /{} is here",
                self.system,
                codes.join(", /")
            )
        })
    }
}

impl Board {
    /// The board's kernel arguments, the console last.
    pub fn kargs(&self) -> Vec<String> {
        let mut kargs = self.kernel_arguments.clone();
        kargs.push(format!("console={}", self.console));
        kargs
    }

    /// Why nothing can be composed for this board.
    pub fn refusal(&self) -> Option<&'static str> {
        let (debian, rpm) = (self.arch.debian.as_str(), self.arch.rpm.as_str());
        match rpm {
            _ if debian == "armel" => Some(NO_ARMV6),
            "armv5tel" | "armv6l" | "armv6hl" => Some(NO_ARMV6),
            _ => None,
        }
    }
}

const NO_ARMV6: &str = "its processor is older than ARMv7, which Debian's armhf and Kubernetes need; \
                        armel, which would run on it, has no kernel and no Kubernetes any more";

/// The packages that are unpacked, not installed.
pub fn unpacked<'a>(firmware: &'a [Firmware], bios: Option<&'a Bios>) -> Vec<&'a str> {
    let packages = firmware.iter().map(|firmware| &firmware.package);
    packages
        .chain(bios.map(|bios| &bios.package))
        .map(String::as_str)
        .collect()
}

/// The folder of the boards: `./boards` if it is there, else the installed one below `root`.
pub fn default_dir(cwd: &Path, root: &Path) -> Result<PathBuf> {
    let [near, local, installed] = PLACES;
    let candidates = [cwd.join(near), root.join(local), root.join(installed)];
    let found = candidates.iter().find(|dir| dir.is_dir());
    found.cloned().ok_or_else(|| {
        let [near, local, installed] = &candidates;
        anyhow!(
            "no boards in {}, {} or {}: give --boards DIR",
            near.display(),
            local.display(),
            installed.display()
        )
    })
}

/// Reads a board that can be composed for.
pub fn load(dir: &Path, name: &BoardName) -> Result<Board> {
    let board = read(dir, name)?;
    match board.refusal() {
        Some(reason) => bail!("board '{name}' is not supported: {reason}"),
        None => Ok(board),
    }
}

/// Reads a board file, also of a board that is refused.
pub fn read(dir: &Path, name: &BoardName) -> Result<Board> {
    let path = dir.join(format!("{name}.toml"));
    let text = match fs::read_to_string(&path) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            let known: Vec<String> = list(dir)?.iter().map(ToString::to_string).collect();
            bail!(
                "no board '{name}' in {} (there are: {})",
                dir.display(),
                known.join(", ")
            );
        }
        text => text.with_context(|| format!("reading {}", path.display()))?,
    };
    let board = parse(&text).map_err(|e| anyhow!("{}:{e}", path.display()))?;
    if board.name != *name {
        bail!(
            "{}: key 'name' is '{}', it must be the file's name",
            path.display(),
            board.name
        );
    }
    Ok(board)
}

/// The boards of a folder, sorted.
pub fn list(dir: &Path) -> Result<Vec<BoardName>> {
    let act = || -> Result<Vec<BoardName>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(dir)? {
            let path = entry?.path();
            if path.extension().is_some_and(|e| e == "toml") {
                let stem = path
                    .file_stem()
                    .and_then(|s| s.to_str())
                    .unwrap_or_default();
                names.push(stem.parse()?);
            }
        }
        names.sort();
        Ok(names)
    };
    act().with_context(|| format!("listing the boards in {}", dir.display()))
}

/// Errors are `<line>: <what>`.
fn parse(text: &str) -> Result<Board> {
    let board: Board = toml::from_str(text).map_err(|e| {
        let before = e
            .span()
            .and_then(|span| text.get(..span.start))
            .unwrap_or_default();
        let message = e.message().replace('\n', " ");
        anyhow!("{}: {message}", before.matches('\n').count() + 1)
    })?;
    check_firmware(&board.firmware, is_plain_path)?;
    check_bios(board.bios.as_ref())?;
    check_firmware(&board.netboot, is_plain_path)?;
    if let Some(rpm) = &board.rpm {
        check_bios(rpm.bios.as_ref())?;
        check_firmware(&rpm.firmware, |path| is_plain_path(&path.replace('*', "x")))?;
        if let Some(name) = rpm.kernel.iter().find(|name| !is_plain_path(name)) {
            bail!("1: rpm: kernel: '{name}' is not a package name");
        }
    }
    if let Some(path) = board.fdt.as_ref().filter(|path| !is_plain_path(path)) {
        bail!("1: fdt: '{path}' is not a plain relative path");
    }
    Ok(board)
}

/// `is_source` is asked about paths in packages.
fn check_firmware(firmware: &[Firmware], is_source: impl Fn(&str) -> bool) -> Result<()> {
    for part in firmware {
        let from = part.files.keys().chain(part.raw.keys());
        let bad_source = from.into_iter().find(|path| !is_source(path));
        let to = part.files.values().chain([&part.package]);
        let bad = bad_source.or_else(|| to.into_iter().find(|path| !is_plain_path(path)));
        if let Some(path) = bad {
            bail!("1: firmware: '{path}' is not a plain relative path");
        }
    }
    Ok(())
}

fn check_bios(bios: Option<&Bios>) -> Result<()> {
    let mut paths = bios.into_iter().flat_map(|b| [&b.package, &b.modules]);
    match paths.find(|path| !is_plain_path(path)) {
        Some(path) => bail!("1: bios: '{path}' is not a plain relative path"),
        None => Ok(()),
    }
}

fn is_plain_path(path: &str) -> bool {
    !path.starts_with('-')
        && path
            .split('/')
            .all(|part| !part.is_empty() && part != "." && part != "..")
        && path
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"/._+-".contains(&b))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn boards() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../boards")
    }

    #[test]
    fn every_board_of_ours_loads() {
        let names = list(&boards()).unwrap();
        assert!(names.iter().any(|n| n.as_str() == "x86_64"));
        for name in names {
            read(&boards(), &name).unwrap();
        }
    }

    #[test]
    fn armv6_is_refused_with_the_reason() {
        let error = load(&boards(), &"raspberry-pi-b".parse().unwrap()).unwrap_err();
        let text = error.to_string();
        assert!(
            text.contains("not supported") && text.contains("ARMv7"),
            "{text}"
        );
    }

    #[test]
    fn the_console_is_the_last_argument() {
        let board = load(&boards(), &"x86_64".parse().unwrap()).unwrap();
        assert_eq!(board.kargs(), ["console=tty0", "console=ttyS0,115200"]);
        assert_eq!(board.boot, Boot::Grub);
    }

    #[test]
    fn errors_are_one_line() {
        let good = fs::read_to_string(boards().join("x86_64.toml")).unwrap();
        let table = [
            (
                good.replace("kernel = ", "kernal = "),
                "3: unknown field `kernal`",
            ),
            (
                good.replace("\"grub\"", "\"lilo\""),
                "4: unknown variant `lilo`",
            ),
            (
                good.replace("usr/lib/shim/shim", "../shim"),
                "1: firmware: '../shim",
            ),
            (
                good.replace("usr/lib/grub/i386-pc", "/usr/lib/grub"),
                "1: bios: '/usr/lib/grub'",
            ),
            (good.replace("= 1024", "= x"), ""),
        ];
        for (text, expected) in table {
            let error = parse(&text).unwrap_err().to_string();
            assert!(
                error.starts_with(expected) && !error.contains('\n'),
                "{error}"
            );
        }
        let error = load(&boards(), &"toaster".parse().unwrap())
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("no board 'toaster'") && error.contains("x86_64"),
            "{error}"
        );
    }
}
