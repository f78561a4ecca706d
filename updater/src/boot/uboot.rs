//! U-Boot: its script, and the records that it writes.

use super::envblk::{self, Vars};
use super::on_disk::{BOOTS_SECTOR, TRIAL_SECTORS};

const SCRIPT: &str = include_str!("uboot.cmd");

/// The script for a disk whose `edge-trial` begins at that sector. U-Boot writes records by sector, and some
/// builds cannot add two numbers.
pub fn script(trial_start: u64) -> String {
    let [one, other] = TRIAL_SECTORS;
    let sectors = [
        ("@EDGE_TRIAL_START@", 0),
        ("@EDGE_TRIAL_0@", one),
        ("@EDGE_TRIAL_1@", other),
        ("@EDGE_BOOTS@", BOOTS_SECTOR),
    ];
    sectors
        .into_iter()
        .fold(SCRIPT.to_owned(), |text, (mark, sector)| {
            text.replace(mark, &format!("{:x}", trial_start + sector))
        })
}

/// The source of the image that U-Boot loads, for `mkimage -f`. `name` is the script's file beside it. The checksum
/// is one that every build knows: a damaged script is not run.
pub fn fit_source(name: &str) -> String {
    format!(
        r#"/dts-v1/;
/ {{
    description = "edge-ota";
    images {{
        default = "script";
        script {{
            description = "chooses the slot to boot";
            data = /incbin/("{name}");
            type = "script";
            compression = "none";
            hash-1 {{ algo = "crc32"; }};
        }};
    }};
}};
"#
    )
}

/// A record as U-Boot reads it with `env import -t`: what it wrote itself (lines, then zeros, in one sector), or
/// an environment block of ours, whose first and last lines are comments to it.
pub fn parse_record(bytes: &[u8]) -> Option<Vars> {
    let sector = bytes.get(..SECTOR)?;
    let end = sector.iter().position(|&byte| byte == 0);
    envblk::parse_lines(sector.get(..end.unwrap_or(SECTOR))?)
}

const SECTOR: usize = 512;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::boot::Trial;
    use crate::types::Slot;

    /// As `env export -t -s 0x200` of U-Boot 2023.01 and 2025.01 was seen to write it; what follows the sector
    /// is left of the block that was there.
    fn exported(trial: &Trial) -> Vec<u8> {
        let (slot, commit, left) = (trial.slot, &trial.commit, trial.left);
        let mut bytes = format!(
            "trial_check={slot}/{commit}/{left}\ntrial_commit={commit}\ntrial_left={left}\ntrial_slot={slot}\n"
        )
        .into_bytes();
        bytes.resize(SECTOR, 0);
        bytes.resize(envblk::SIZE, b'#');
        bytes
    }

    fn read(bytes: &[u8]) -> Option<Trial> {
        parse_record(bytes).and_then(|vars| Trial::from_vars(&vars))
    }

    #[test]
    fn reads_what_either_side_writes_and_no_changed_byte_as_another_value() {
        let good = Trial::new(Slot::B, "ab".repeat(32).parse().unwrap(), 3);
        for bytes in [exported(&good), good.to_bytes()] {
            assert_eq!(read(&bytes), Some(good.clone()));
            for i in 0..bytes.len() {
                for flip in [1, 0x10, 0xff] {
                    let mut changed = bytes.clone();
                    changed[i] ^= flip;
                    assert!(read(&changed).is_none_or(|t| t == good), "byte {i}");
                }
            }
        }
    }

    #[test]
    fn a_record_cut_between_old_and_new_is_none() {
        let three = exported(&Trial::new(Slot::B, "ab".repeat(32).parse().unwrap(), 3));
        let two = exported(&Trial::new(Slot::B, "ab".repeat(32).parse().unwrap(), 2));
        for cut in 0..SECTOR {
            let torn = [&two[..cut], &three[cut..]].concat();
            let left = read(&torn).map(|t| t.left);
            assert!(
                torn == two || torn == three || left.is_none(),
                "{left:?} after {cut} bytes"
            );
        }
    }

    /// The commands of a line as words, without the shell's own; what stands between quotes is one word, or part
    /// of one.
    fn commands(line: &str) -> Vec<Vec<String>> {
        let shell = ["if", "elif", "then", "else", "fi", "for", "do", "done", "'"];
        let parts = line.split('"').enumerate();
        let unquoted: String = parts
            .map(|(n, part)| if n % 2 == 0 { part } else { "quoted" })
            .collect();
        let words = |command: &str| -> Vec<String> {
            command
                .split_whitespace()
                .skip_while(|word| shell.contains(word))
                .map(str::to_owned)
                .collect()
        };
        unquoted.split([';', '&']).map(words).collect()
    }

    /// CONFIG_SYS_MAXARGS is 16 on many boards, and a build without `setexpr` is one that we support; those that
    /// tests boot take more. Debian's am335x_evm has each of these but `booti`.
    #[test]
    fn the_script_asks_no_more_than_a_small_build_has() {
        let known = [
            "${devtype}",
            "${edge_medium}",
            "booti",
            "bootz",
            "echo",
            "env",
            "false",
            "fdt",
            "load",
            "mw.b",
            "part",
            "reset",
            "run",
            "setenv",
            "sleep",
            "test",
            "true",
            "n",
        ];
        let script = script(0x20800);
        let lines = script.lines().filter(|line| !line.trim().starts_with('#'));
        for words in lines.flat_map(commands) {
            assert!(words.len() <= 16, "{words:?}");
            if let Some(name) = words.first() {
                assert!(known.contains(&name.as_str()), "{words:?}");
            }
        }
        let found = commands(r#"then if test "a; b" = "${c}"/d; then"#);
        assert_eq!(found.iter().map(Vec::len).collect::<Vec<_>>(), [4, 0]);
    }

    #[test]
    fn the_script_holds_the_sectors_and_nothing_left_to_fill_in() {
        let script = script(0x20800);
        for sector in ["\"20800\"", "20807;", "2080f;", " 20817 1"] {
            assert!(script.contains(sector), "{sector}");
        }
        assert!(!script.contains('@'), "a mark is left");
    }
}
