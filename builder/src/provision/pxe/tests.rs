use std::fs;

use edge_ota::cmd::Cmd;

use super::*;

const COMMIT: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

fn boards() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../boards")
}

/// A folder as `edge-build installer` makes it.
fn installer(dir: &Path, board: &str, arch: &str) -> Installer {
    let dir = dir.join(board);
    fs::create_dir_all(&dir).unwrap();
    fs::write(dir.join("vmlinuz"), format!("kernel of {board}")).unwrap();
    fs::write(dir.join("initramfs.img"), "initramfs").unwrap();
    let artefact = |name: &str| crate::summary::Artefact {
        path: name.to_owned(),
        ..crate::summary::artefact(&dir.join(name)).unwrap()
    };
    let document = crate::provision::installer::Installer {
        format: 1,
        board: board.parse().unwrap(),
        arch: arch.to_owned(),
        version: "1".to_owned(),
        commit: COMMIT.parse().unwrap(),
        kernel: artefact("vmlinuz"),
        initramfs: artefact("initramfs.img"),
        fdt: None,
        kernel_arguments: vec!["console=ttyS0".to_owned(), "inst.ks=file:/ks".to_owned()],
    };
    let text = serde_json::to_string(&document).unwrap();
    fs::write(dir.join("installer.json"), text).unwrap();
    installer::load(&dir, &boards()).unwrap()
}

fn all(dir: &Path) -> Vec<Installer> {
    vec![
        installer(dir, "x86_64", "x86_64"),
        installer(dir, "aarch64", "aarch64"),
        installer(dir, "armhf", "armv7hl"),
    ]
}

fn text<'a>(files: &'a BTreeMap<String, Content>, path: &str) -> &'a str {
    match files.get(path) {
        Some(Content::Text(text)) => text,
        other => panic!("{path}: {other:?}; there are {:?}", files.keys()),
    }
}

fn planned(installers: &[Installer]) -> BTreeMap<String, Content> {
    let url: Base = "http://pxe.example:8080/pxe".parse().unwrap();
    let mac = Key::Mac("52:54:00:AB:CD:EF".parse().unwrap());
    let serial = Key::Serial("ABC-1".parse().unwrap());
    files(&Plan {
        url: &url,
        installers,
        default: Some("inst.ks=http://pxe.example:8080/pxe/ks/default.ks".to_owned()),
        hosts: BTreeMap::from([
            (&mac, "inst.ks=mac".to_owned()),
            (&serial, "inst.ks=serial".to_owned()),
        ]),
        kickstarts: BTreeMap::from([("ks/default.ks".to_owned(), "zerombr\n".to_owned())]),
        arguments: "edge.report=http://r.example".to_owned(),
    })
}

#[test]
fn each_loader_finds_its_machine_and_the_kernel() {
    let dir = tempfile::tempdir().unwrap();
    let installers = all(dir.path());
    let files = planned(&installers);
    let kernels: Vec<String> = installers.iter().map(Installer::kernel).collect();

    assert!(text(&files, "autoexec.ipxe").starts_with("#!ipxe\n"));
    let ipxe = text(&files, "boot.ipxe");
    let arguments = "initrd=initramfs.img console=ttyS0 edge.report=http://r.example ${orders}";
    for kernel in &kernels[..2] {
        assert!(
            ipxe.contains(&format!("kernel {kernel} {arguments}")),
            "{ipxe}"
        );
    }
    assert_eq!(
        text(&files, "hosts/52-54-00-ab-cd-ef.ipxe"),
        "#!ipxe\nset orders inst.ks=mac\n"
    );
    assert!(text(&files, "hosts/serial-ABC-1.ipxe").contains("inst.ks=serial"));
    assert!(text(&files, "hosts/default.ipxe").contains("/ks/default.ks"));

    let grub = text(&files, "grub/boot.cfg");
    for kernel in &kernels[..2] {
        assert!(
            grub.contains(&format!("linux \"/{kernel}\" console=ttyS0")),
            "{grub}"
        );
    }
    assert!(text(&files, "grub/grub.cfg").contains("/ks/default.ks"));
    assert!(text(&files, "grub/grub.cfg-01-52-54-00-ab-cd-ef").contains("inst.ks=mac"));
    assert!(text(&files, "grub/serial-ABC-1.cfg").contains("inst.ks=serial"));

    let uboot = text(&files, "pxelinux.cfg/default-arm");
    let append = "append console=ttyS0 edge.report=http://r.example inst.ks=http";
    assert!(
        uboot.contains(&format!("kernel {}\n", kernels[2])),
        "{uboot}"
    );
    assert!(uboot.contains(append), "{uboot}");
    assert_eq!(text(&files, "pxelinux.cfg/default"), uboot);
    assert!(text(&files, "pxelinux.cfg/01-52-54-00-ab-cd-ef").contains("inst.ks=mac"));

    let foreman = text(&files, "examples/foreman-ipxe.erb");
    assert!(
        foreman.contains("inst.ks=<%= foreman_url('provision') %>"),
        "{foreman}"
    );
    assert_eq!(text(&files, "ks/default.ks"), "zerombr\n");
    assert_eq!(installers[0].carried.as_deref(), Some("inst.ks=file:/ks"));
}

#[test]
fn no_name_of_a_template_is_left_over() {
    let dir = tempfile::tempdir().unwrap();
    for (path, content) in planned(&all(dir.path())) {
        let Content::Text(text) = content else {
            panic!("{path} is copied")
        };
        let foreman = text.replace("@host.", "");
        assert!(!foreman.contains('@'), "{path}: {text}");
        assert!(!text.contains("#if"), "{path}: {text}");
    }
}

#[test]
fn what_has_no_installer_has_no_files() {
    let dir = tempfile::tempdir().unwrap();
    let x86 = planned(&[installer(dir.path(), "x86_64", "x86_64")]);
    assert!(!x86.keys().any(|path| path.starts_with("pxelinux.cfg")));
    let dnsmasq = text(&x86, "examples/dnsmasq-dhcp.conf");
    assert!(
        dnsmasq.contains("shimx64") && !dnsmasq.contains("shimaa64"),
        "{dnsmasq}"
    );
    assert!(text(&x86, "boot.ipxe").contains("no installer for aarch64"));
    let armhf = planned(&[installer(dir.path(), "armhf", "armv7hl")]);
    let odd = armhf
        .keys()
        .find(|path| path.contains("ipxe") || path.contains("grub"));
    assert_eq!(odd, None);
}

#[test]
fn dnsmasq_reads_its_examples() {
    let dir = tempfile::tempdir().unwrap();
    let files = planned(&all(dir.path()));
    for name in ["dnsmasq-dhcp.conf", "dnsmasq-proxy.conf"] {
        let path = dir.path().join(name);
        fs::write(&path, text(&files, &format!("examples/{name}"))).unwrap();
        Cmd::new("dnsmasq")
            .arg("--test")
            .arg(format!("--conf-file={}", path.display()))
            .run()
            .unwrap();
    }
}

#[test]
fn grub_reads_its_scripts() {
    let dir = tempfile::tempdir().unwrap();
    let files = planned(&all(dir.path()));
    for (path, content) in files.iter().filter(|(path, _)| path.starts_with("grub/")) {
        let Content::Text(text) = content else {
            panic!("{path} is copied")
        };
        let checked = Cmd::new("grub-script-check").output_with_input(text.clone().into());
        checked.unwrap_or_else(|e| panic!("{path}: {e:#}"));
    }
}

#[test]
fn a_folder_that_is_no_installer_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    installer(dir.path(), "x86_64", "x86_64");
    let dir = dir.path().join("x86_64");
    let path = dir.join("installer.json");
    let good = fs::read_to_string(&path).unwrap();
    let table = [
        (
            good.replace("\"x86_64\",\"arch\"", "\"toaster\",\"arch\""),
            "no board 'toaster'",
        ),
        (
            good.replace("\"arch\":\"x86_64\"", "\"arch\":\"armv7hl\""),
            "key 'arch' is armv7hl",
        ),
        (good.replace("\"format\":1", "\"format\":2"), "newer"),
        (good.replace("ttyS0", "tty S0"), "no kernel argument"),
        (good.replace(COMMIT, "abc"), "installer.json"),
        (
            good.replace("\"sha256\":\"", "\"sha256\":\"0"),
            "make the folder again",
        ),
    ];
    for (text, expected) in table {
        fs::write(&path, text).unwrap();
        let error = format!("{:#}", installer::load(&dir, &boards()).unwrap_err());
        assert!(
            error.contains(expected) && error.contains("installer.json"),
            "{error}"
        );
    }
    fs::write(&path, good).unwrap();
    fs::remove_file(dir.join("initramfs.img")).unwrap();
    let error = format!("{:#}", installer::load(&dir, &boards()).unwrap_err());
    assert!(error.contains("initramfs.img"), "{error}");
    let error = installer::load(&dir.join("none"), &boards()).unwrap_err();
    assert!(
        error.to_string().contains("edge-build installer"),
        "{error}"
    );
}
