//! The ABI of a tree's programs and libraries: all are of the board's architecture, and on 32-bit ARM
//! they pass floating point numbers in registers.

use std::fs::{self, File};
use std::io::Read;
use std::path::Path;

use anyhow::{Context, Result, bail};
use goblin::elf::header::{EM_AARCH64, EM_ARM, EM_X86_64, ET_DYN, ET_EXEC, Header};
use goblin::elf::{Elf, header};

use super::{elf, rooted};

/// "ELF for the ARM Architecture": the version of the EABI and the two ways to pass floating point numbers.
const EABI_MASK: u32 = 0xff00_0000;
const EABI5: u32 = 0x0500_0000;
const SOFT_FLOAT: u32 = 0x200;
const HARD_FLOAT: u32 = 0x400;

/// How many files an error names.
const NAMED: usize = 5;

/// What programs of a Debian architecture look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Abi {
    machine: u16,
    is_64: bool,
}

fn abi_of(debian: &str) -> Option<Abi> {
    let (machine, is_64) = match debian {
        "amd64" => (EM_X86_64, true),
        "arm64" => (EM_AARCH64, true),
        "armhf" => (EM_ARM, false),
        _ => return None,
    };
    Some(Abi { machine, is_64 })
}

/// Checks every ELF program and library of a tree; says how many there are.
pub fn check(root: &Path, debian: &str) -> Result<usize> {
    let Some(abi) = abi_of(debian) else {
        bail!("the ABI of architecture {debian} is not known");
    };
    let mut found = Found::default();
    look(root, Path::new("usr"), abi, &mut found)?;
    if found.wrong.is_empty() {
        return Ok(found.count);
    }
    let more = match found.wrong.len().saturating_sub(NAMED) {
        0 => String::new(),
        n => format!(" and {n} more"),
    };
    found.wrong.truncate(NAMED);
    bail!(
        "not programs of {debian}: {}{more}; take them out of the tree or use packages of {debian}",
        found.wrong.join(", ")
    )
}

#[derive(Default)]
struct Found {
    count: usize,
    wrong: Vec<String>,
}

fn look(root: &Path, dir: &Path, abi: Abi, found: &mut Found) -> Result<()> {
    for name in rooted::names(&root.join(dir))? {
        let inner = dir.join(&name);
        let path = root.join(&inner);
        let kind = fs::symlink_metadata(&path)
            .with_context(|| format!("asking for {}", path.display()))?
            .file_type();
        if kind.is_dir() {
            look(root, &inner, abi, found)?;
        } else if kind.is_file() {
            let right = judge(&path, abi)?;
            found.count += usize::from(right.is_some());
            if right == Some(false) {
                found.wrong.push(format!("/{}", inner.display()));
            }
        }
    }
    Ok(())
}

/// Whether a file is as `abi` says; `None` when it is neither a program nor a library.
fn judge(path: &Path, abi: Abi) -> Result<Option<bool>> {
    let act = || -> Result<Option<bool>> {
        let mut start = Vec::new();
        File::open(path)?
            .take(header::header64::SIZEOF_EHDR as u64)
            .read_to_end(&mut start)?;
        let Some(header) = program_header(&start) else {
            return Ok(None);
        };
        let is_64 = header.e_ident.get(header::EI_CLASS) == Some(&header::ELFCLASS64);
        let right = header.e_machine == abi.machine && is_64 == abi.is_64;
        if !right || header.e_machine != EM_ARM {
            return Ok(Some(right));
        }
        let says_nothing = header.e_flags & (SOFT_FLOAT | HARD_FLOAT) == 0;
        // Go's linker does not say, which matters only to code that calls libraries.
        let lone = says_nothing && is_static(path)?;
        Ok(Some(
            is_eabi5(header.e_flags) && (lone || is_hard_float(header.e_flags)),
        ))
    };
    act().with_context(|| format!("reading {}", path.display()))
}

/// Object files and kernel modules are not meant: they are linked for their own purpose.
fn program_header(start: &[u8]) -> Option<Header> {
    let header = Elf::parse_header(start).ok()?;
    matches!(header.e_type, ET_EXEC | ET_DYN).then_some(header)
}

fn is_static(path: &Path) -> Result<bool> {
    let needs = elf::needs(&fs::read(path)?)?;
    Ok(needs.is_some_and(|needs| needs.interpreter.is_none() && needs.libraries.is_empty()))
}

fn is_eabi5(flags: u32) -> bool {
    flags & EABI_MASK == EABI5
}

fn is_hard_float(flags: u32) -> bool {
    flags & (SOFT_FLOAT | HARD_FLOAT) == HARD_FLOAT
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The start of a 32-bit ELF program: identification, type, machine, flags.
    fn arm_program(flags: u32) -> Vec<u8> {
        let mut bytes = vec![0; 52];
        bytes[..7].copy_from_slice(b"\x7fELF\x01\x01\x01");
        bytes[16..18].copy_from_slice(&ET_EXEC.to_le_bytes());
        bytes[18..20].copy_from_slice(&EM_ARM.to_le_bytes());
        bytes[20] = 1;
        bytes[36..40].copy_from_slice(&flags.to_le_bytes());
        bytes[40] = 52;
        bytes
    }

    #[test]
    fn hard_float_is_what_counts_on_arm() {
        let table = [
            (0x0500_0400, true),
            (0x0500_0200, false),
            (0x0400_0400, false),
            // A program of Go that needs no library.
            (0x0500_0002, true),
        ];
        let dir = tempfile::tempdir().unwrap();
        for (flags, expected) in table {
            let path = dir.path().join("usr/bin/x");
            rooted::put(&path, arm_program(flags)).unwrap();
            let result = check(dir.path(), "armhf");
            assert_eq!(result.is_ok(), expected, "{flags:x} {result:?}");
        }
    }

    #[test]
    fn a_program_of_the_host_is_named_in_a_foreign_tree() {
        let dir = tempfile::tempdir().unwrap();
        rooted::put(&dir.path().join("usr/share/text"), "no program").unwrap();
        assert_eq!(check(dir.path(), "armhf").unwrap(), 0);
        let own = fs::read(std::env::current_exe().unwrap()).unwrap();
        rooted::put(&dir.path().join("usr/bin/own"), own).unwrap();
        let error = check(dir.path(), "armhf").unwrap_err().to_string();
        assert!(error.contains("/usr/bin/own"), "{error}");
        assert!(check(dir.path(), "mips").is_err());
    }
}
