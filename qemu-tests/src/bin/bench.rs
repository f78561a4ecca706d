//! What each architecture costs, in one run: the same node composed, imaged, booted and upgraded, beside what plain
//! mmdebstrap and dracut take for the same.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Parser;
use edge_build::packages::mirrors::{self, MirrorOptions};
use edge_build::repo::Repo;
use edge_build::size;
use edge_build::treefile::Suite;
use edge_ota::cmd::Cmd;
use edge_ota::types::CommitChecksum;
use qemu_tests::disc;
use qemu_tests::figures::Figures;
use qemu_tests::journey::{COMPOSE, IMAGE, INITRAMFS, INSTALLING, Journey};
use qemu_tests::lab;
use qemu_tests::usage;
use qemu_tests::variant;

/// The host's own architecture first: the others are compared with it.
const BOARDS: [&str; 3] = ["x86_64", "aarch64", "armhf"];
const RUNTIME: [&str; 3] = ["containerd", "containernetworking-plugins", "runc"];
const SUITE: &str = "trixie";

const PLAIN: &str = "plain mmdebstrap of the same packages";
const ONE_PACKAGE: &str = "compose with one package more, warm";
const ONE_FILE: &str = "compose with one file more, warm";
const COMMITTING: &str = "compose: committing";
const OSTREE_COMMIT: &str = "ostree commit --tree=dir of the same tree";
const MKE2FS: &str = "mke2fs -d of the same tree";
const INSTALLER: &str = "making the installer and a disc";
const DRACUT: &str = "dracut's initramfs of the same tree";

const HEAD: &str = "# Figures\n\nThe last measures of `make bench`, all of one run: edge-node, composed without the \
    cache. Virtual machines: 512 MiB, 2 processors.";

const REMARKS: &str = "\
Goals: compose ÷ plain mmdebstrap ≤ 1.6; compose ÷ compose of x86_64 ≤ 6 for aarch64 and ≤ 4 for armhf; initramfs
within 5 s and, on armhf, ≤ 12 MB; a warm compose with one package more ≤ 0.25 of a cold one, with one file more ≤ 10 s;
the commit ≤ 0.8 of ostree's; a raw image ≤ 1.2 of mke2fs -d; the tree of armhf without the container runtime ≤ 200 MB; first boot to good within
60 s on x86_64; peak memory of an upgrade ≤ 64 MiB; the installer ≤ 40 MB on x86_64 and ≤ 20 MB on armhf.

For another architecture than the host's, the packages' scripts and dpkg run under emulation: all of that is within
\"installing packages\", everything else is the host's own work. dracut's time is of a compose of its own, for the tree
needs the package. Peaks are of a cold compose, the package cache it writes included. ostree commits from a folder, with the
same compression, sizes and no fsync. Plain mmdebstrap neither chooses kernel modules, nor makes an initramfs, nor compresses and checksums
files; the nearer the mirror, the more that weighs. An image is made from compressed objects, which are inflated and
checksummed on the way; bytes written count those of the files in its work folder too.
";

#[derive(Parser)]
#[command(about = "Compose, boot and upgrade the same node on every architecture and measure it")]
struct Cli {
    /// Also write the measures into this file
    #[arg(long, value_name = "FILE")]
    figures: Option<PathBuf>,
}

fn main() -> ExitCode {
    lab::exit_code(run())
}

fn run() -> Result<()> {
    let cli = Cli::parse();
    let work = lab::target_dir(&lab::workspace()?).join("bench");
    let mut figures = Figures::default();
    for board in BOARDS {
        measure(board, &work, &mut figures)?;
    }
    println!("\n{}", figures.table());
    match cli.figures {
        Some(file) => edge_ota::durable::write(&file, figures.document(HEAD, REMARKS)?.as_bytes()),
        None => Ok(()),
    }
}

fn measure(board: &str, work: &Path, figures: &mut Figures) -> Result<()> {
    let (host, _) = BOARDS.split_first().context("no boards")?;
    let journey = Journey::new(board, work)?;
    let releases = journey.build(figures)?;
    sizes(&journey, &releases.first, figures)?;
    if board == *host {
        figures.time(board, PLAIN, || {
            plain_mmdebstrap(&journey, &releases.first, &work.join("plain"))
        })?;
        let ratio = figures.ratio((board, COMPOSE), (board, PLAIN))?;
        figures.note(board, &format!("{COMPOSE} ÷ {PLAIN}"), ratio);
        warm(&journey, figures)?;
        mke2fs(&journey, &releases.first, work, figures)?;
        ostree_commit(&journey, &releases.first, work, figures)?;
        peaks(&journey, work, figures)?;
    } else {
        for what in [COMPOSE, INSTALLING] {
            let ratio = figures.ratio((board, what), (host, what))?;
            figures.note(board, &format!("{what} ÷ the same on {host}"), ratio);
        }
    }
    installer(&journey, board == *host, work, figures)?;
    let mut vm = journey.boot(&releases.first, figures)?;
    journey.upgrade(&mut vm, &releases.second, figures)?;
    vm.quit()?;
    // Where it is not emulated: that is dracut at its best.
    if board == *host {
        lab::step(&format!("{board}: compose with dracut"), || {
            dracut(&journey, figures)
        })?;
        let ratio = figures.ratio((board, DRACUT), (board, INITRAMFS))?;
        figures.note(board, &format!("{DRACUT} ÷ ours"), ratio);
    }
    Ok(())
}

/// What a machine loads before it has a system; where it is emulated best, how long it takes until it has one.
fn installer(journey: &Journey, tried: bool, work: &Path, figures: &mut Figures) -> Result<()> {
    let board = &journey.site.board;
    let dir = work.join(format!("installer-{board}"));
    let disc = figures.time(board, INSTALLER, || {
        disc::make(&journey.site, lab::NOWHERE, &dir)
    })?;
    let bytes = |part: &str| disc.said[part]["bytes"].as_u64();
    let size = bytes("kernel").zip(bytes("initramfs"));
    let (kernel, initramfs) = size.context("the installer says no sizes")?;
    figures.note(
        board,
        "installer: kernel and initramfs",
        megabytes(kernel + initramfs),
    );
    if tried {
        let (vm, times) = disc::install(&disc, board, &journey.ssh_key, &dir)?;
        vm.quit()?;
        let seconds = |time: Duration| format!("{:.1} s", time.as_secs_f64());
        figures.note(
            board,
            "empty disk to good, from a disc, with 256 MiB",
            seconds(times.whole),
        );
        figures.note(board, "of it in the installer", seconds(times.installing));
    }
    fs::remove_dir_all(&dir).with_context(|| format!("removing {}", dir.display()))
}

fn sizes(journey: &Journey, commit: &CommitChecksum, figures: &mut Figures) -> Result<()> {
    let board = &journey.site.board;
    let repo = Repo::open(&journey.site.repo())?;
    let initramfs = repo.describe(commit)?.initramfs_size;
    figures.note(board, "initramfs", megabytes(initramfs));
    let size = size::report(&repo, commit, 1)?;
    let of_runtime = |share: &&size::Share| RUNTIME.contains(&share.name.as_str());
    let runtime = size.packages.iter().filter(of_runtime);
    let runtime: u64 = runtime.map(|share| share.bytes).sum();
    figures.note(board, "tree", megabytes(size.total));
    figures.note(
        board,
        &format!("tree without {}", RUNTIME.join(", ")),
        megabytes(size.total - runtime),
    );
    Ok(())
}

/// What a change costs once there was a compose.
fn warm(journey: &Journey, figures: &mut Figures) -> Result<()> {
    let board = &journey.site.board;
    let node = journey.treefile("warm", &[])?;
    journey.compose(&node)?;
    let package = beside(&node, "package", "packages: [lsof]\n")?;
    figures.time(board, ONE_PACKAGE, || journey.compose_warm(&package))?;
    let ratio = figures.ratio((board, ONE_PACKAGE), (board, COMPOSE))?;
    figures.note(board, &format!("{ONE_PACKAGE} ÷ {COMPOSE}"), ratio);
    let file = beside(
        &node,
        "file",
        "add-files: [[file.yaml, /usr/share/one-more]]\n",
    )?;
    figures.time(board, ONE_FILE, || journey.compose_warm(&file))?;
    Ok(())
}

/// A treefile with something more than `node` has.
fn beside(node: &Path, name: &str, more: &str) -> Result<PathBuf> {
    let treefile = node.with_file_name(format!("{name}.yaml"));
    let text = format!("include: {}\n{more}", node.display());
    fs::write(&treefile, text).with_context(|| format!("writing {}", treefile.display()))?;
    Ok(treefile)
}

/// What an image costs beside its root file system alone.
fn mke2fs(
    journey: &Journey,
    commit: &CommitChecksum,
    work: &Path,
    figures: &mut Figures,
) -> Result<()> {
    let (board, tree, disk) = (&journey.site.board, work.join("tree"), work.join("root"));
    Cmd::new("ostree")
        .args(["checkout", "--repo"])
        .arg(journey.site.repo())
        .arg(commit.as_str())
        .arg(&tree)
        .run()?;
    figures.time(board, MKE2FS, || {
        Cmd::new("mke2fs")
            .args(["-q", "-F", "-t", "ext4", "-d"])
            .arg(&tree)
            .arg(&disk)
            .arg("4G")
            .run()
    })?;
    let ratio = figures.ratio((board, IMAGE), (board, MKE2FS))?;
    figures.note(board, &format!("{IMAGE} ÷ {MKE2FS}"), ratio);
    fs::remove_dir_all(&tree).with_context(|| format!("removing {}", tree.display()))?;
    fs::remove_file(&disk).with_context(|| format!("removing {}", disk.display()))
}

fn ostree_commit(
    journey: &Journey,
    commit: &CommitChecksum,
    work: &Path,
    figures: &mut Figures,
) -> Result<()> {
    let board = &journey.site.board;
    let (from, to, tree) = (journey.site.repo(), work.join("ostree"), work.join("tree"));
    let ostree =
        |command: &str, repo: &Path| Cmd::new("ostree").arg(command).arg("--repo").arg(repo);
    ostree("checkout", &from)
        .arg(commit.as_str())
        .arg(&tree)
        .run()?;
    fs::create_dir_all(&to)?;
    ostree("init", &to).arg("--mode=archive").run()?;
    // The same compression.
    fs::copy(from.join("config"), to.join("config"))?;
    figures.time(board, OSTREE_COMMIT, || {
        ostree("commit", &to)
            .args(["--branch=b", "--generate-sizes", "--fsync=false"])
            .arg(format!("--tree=dir={}", tree.display()))
            .run()
    })?;
    let ratio = figures.ratio((board, COMMITTING), (board, OSTREE_COMMIT))?;
    figures.note(board, &format!("{COMMITTING} ÷ {OSTREE_COMMIT}"), ratio);
    for dir in [to, tree] {
        fs::remove_dir_all(&dir).with_context(|| format!("removing {}", dir.display()))?;
    }
    Ok(())
}

fn peaks(journey: &Journey, work: &Path, figures: &mut Figures) -> Result<()> {
    let board = &journey.site.board;
    let node = journey.treefile("peaks", &[])?;
    let (_, peak) = lab::step(&format!("{board}: compose, watched"), || {
        usage::watch(work, || journey.compose(&node))
    })?;
    figures.note(board, "peak memory of a compose", megabytes(peak.memory));
    figures.note(board, "peak disk of a compose", megabytes(peak.disk));
    Ok(())
}

/// How long dracut took, in a compose that differs in nothing else.
fn dracut(journey: &Journey, figures: &mut Figures) -> Result<()> {
    let node = journey.treefile("dracut", &[])?;
    let more = "packages: [dracut-core]\nedge: {initramfs: dracut}\n";
    let treefile = beside(&node, "dracut", more)?;
    journey.compose(&treefile)?;
    let timings = journey.timings()?;
    let seconds = timings.get("making the initramfs");
    let seconds = seconds.context("the compose made no initramfs")?;
    figures.seconds(&journey.site.board, DRACUT, *seconds);
    Ok(())
}

fn plain_mmdebstrap(journey: &Journey, commit: &CommitChecksum, root: &Path) -> Result<()> {
    let status = variant::read_file(&journey.site.repo(), commit, "usr/lib/sysimage/dpkg/status")?;
    let status = String::from_utf8(status).context("dpkg's status is not UTF-8")?;
    // Our own package is in no repository.
    let names: Vec<&str> = status
        .lines()
        .filter_map(|l| l.strip_prefix("Package: "))
        .filter(|n| *n != "edge-ota")
        .collect();
    let suite = Suite {
        name: SUITE.to_owned(),
        components: vec!["main".to_owned()],
        mirror: None,
        signed_by: None,
    };
    let options = MirrorOptions::default().or_environment();
    let mirror = mirrors::resolve(&suite, &options, &mirrors::of_this_machine()?)?;
    Cmd::new("mmdebstrap")
        .args([
            "--quiet",
            "--variant=essential",
            &format!("--include={}", names.join(",")),
        ])
        .args(["--aptopt=APT::Install-Recommends \"false\"", SUITE])
        .arg(root)
        .arg(mirror)
        // No initramfs on either side: ours is made after the packages.
        .env("INITRD", "No")
        .run()?;
    fs::remove_dir_all(root).with_context(|| format!("removing {}", root.display()))
}

fn megabytes(bytes: u64) -> String {
    format!("{:.1} MB", bytes as f64 / 1e6)
}
