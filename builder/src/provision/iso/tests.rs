use super::*;
use std::os::unix::fs::FileExt;

const GRUB: &str = "/usr/lib/grub/i386-pc";

struct Parts {
    dir: tempfile::TempDir,
    label: Label,
    commit: CommitChecksum,
    arguments: Vec<String>,
}

impl Parts {
    /// Files in another order each time: a folder remembers it.
    fn new(names: [&str; 3]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let put = |path: &str| {
            let path = dir.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, path.file_name().unwrap().as_encoded_bytes()).unwrap();
        };
        for name in names {
            put(&format!("served/repo/objects/{name}.filez"));
            put(&format!("efi/EFI/BOOT/{name}.efi"));
        }
        for path in [
            "served/root/1.root",
            "served/channels/stable/x86_64",
            "vmlinuz",
            "initramfs",
        ] {
            put(path);
        }
        Self {
            dir,
            label: "EDGE_TEST".parse().unwrap(),
            commit: "b9".repeat(32).parse().unwrap(),
            arguments: vec![
                "console=ttyS0,115200".to_owned(),
                "edge.x='".replace('\'', "$y"),
            ],
        }
    }

    fn write(&self, bios: Option<&Path>) -> Result<PathBuf> {
        let path = |name: &str| self.dir.path().join(name);
        let iso = Iso {
            title: "Install 13.1",
            kernel: &path("vmlinuz"),
            initramfs: &path("initramfs"),
            kernel_arguments: &self.arguments,
            efi: &path("efi"),
            bios,
            served: &path("served"),
            label: &self.label,
            commit: &self.commit,
            time: 1_790_000_000,
        };
        let out = path("out.iso");
        write(&iso, &WorkDir::new_in(&path("work"))?, &out)?;
        Ok(out)
    }
}

fn read(iso: &Path, path: &str) -> String {
    let out = iso.with_extension("read");
    Cmd::new("xorriso")
        .args(["-osirrox", "on", "-indev"])
        .arg(iso)
        .args(["-extract", path])
        .arg(&out)
        .run()
        .unwrap();
    let text = fs::read_to_string(&out).unwrap();
    fs::remove_file(&out).unwrap();
    text
}

#[test]
fn a_medium_holds_what_it_installs_and_comes_out_the_same_again() {
    let (one, other) = (Parts::new(["a", "b", "c"]), Parts::new(["c", "a", "b"]));
    let iso = one.write(Some(Path::new(GRUB))).unwrap();
    let again = other.write(Some(Path::new(GRUB))).unwrap();
    assert!(fs::read(&iso).unwrap() == fs::read(again).unwrap());
    assert_eq!(read(&iso, "/repo/objects/b.filez"), "b.filez");
    assert_eq!(read(&iso, "/channels/stable/x86_64"), "x86_64");
    assert_eq!(read(&iso, KERNEL), "vmlinuz");
    let menu = read(&iso, SCRIPT);
    let line = "linux /boot/vmlinuz 'console=ttyS0,115200' 'edge.x=$y'\n";
    assert!(menu.contains(line), "{menu}");
    // UEFI starts GRUB from the FAT file system, which then looks on the medium where that is a disc.
    let finder = read(&iso, "/EFI/debian/grub.cfg");
    assert!(finder.contains("--label EDGE_TEST"), "{finder}");
    let label = Cmd::new("blkid").args(["-p", "-o", "value", "-s", "LABEL"]);
    assert_eq!(label.arg(&iso).text().unwrap().trim(), "EDGE_TEST");
}

#[test]
fn both_ways_to_start_are_there_where_the_architecture_has_both() {
    let parts = Parts::new(["a", "b", "c"]);
    let boots = |iso: &Path| {
        let report = Cmd::new("xorriso").args(["-indev"]).arg(iso);
        report.args(["-report_el_torito", "plain"]).text().unwrap()
    };
    let iso = parts.write(Some(Path::new(GRUB))).unwrap();
    let both = boots(&iso);
    assert!(
        both.contains("BIOS  y") && both.contains("UEFI  y"),
        "{both}"
    );
    let table = Cmd::new("sfdisk").arg("--json").arg(&iso).text().unwrap();
    assert!(
        table.contains("C12A7328-F81F-11D2-BA4B-00A0C93EC93B"),
        "{table}"
    );
    let mut sector = [0; 512];
    fs::File::open(&iso)
        .unwrap()
        .read_exact_at(&mut sector, 0)
        .unwrap();
    assert!(sector[0] == 0xeb && sector.ends_with(&[0x55, 0xaa]));
    let uefi = boots(&parts.write(None).unwrap());
    assert!(
        !uefi.contains("BIOS  y") && uefi.contains("UEFI  y"),
        "{uefi}"
    );
}

#[test]
fn what_is_missing_is_named_and_nothing_is_left() {
    let check = |missing: &str, bios: &Path, said: &str| {
        let parts = Parts::new(["a", "b", "c"]);
        let path = parts.dir.path().join(missing);
        if !missing.is_empty() {
            fs::remove_dir_all(path).unwrap();
        }
        let error = format!("{:#}", parts.write(Some(bios)).unwrap_err());
        assert!(error.contains(said), "{error}");
        let left = fs::read_dir(parts.dir.path()).unwrap();
        let left = left.filter(|e| {
            e.as_ref()
                .unwrap()
                .file_name()
                .to_string_lossy()
                .contains("iso")
        });
        assert_eq!(left.count(), 0, "{missing}");
    };
    let grub = Path::new(GRUB);
    check("served/channels", grub, "holds no channels/");
    check("efi", grub, "holds no EFI/BOOT");
    check("", Path::new("/none"), "install grub-pc-bin");
}

#[test]
fn labels_need_no_quotes() {
    for (text, fine) in [
        ("EDGE", true),
        ("EDGE_13", true),
        ("", false),
        ("edge", false),
        ("A B", false),
        ("X$Y", false),
        ("ABCDEFGHIJKLMNOPQRSTUVWXYZ1234567", false),
    ] {
        assert_eq!(text.parse::<Label>().is_ok(), fine, "{text}");
    }
}
