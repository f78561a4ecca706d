//! What each architecture costs: the same node composed for x86_64, and for the others under emulation.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Parser;
use edge_build::repo::Repo;
use edge_build::size;
use edge_ota::cmd::Cmd;
use edge_ota::types::{CommitChecksum, Slot};
use qemu_tests::figures::Figures;
use qemu_tests::hardware;
use qemu_tests::lab;
use qemu_tests::node::expect_settled;
use qemu_tests::site::Site;
use qemu_tests::vm::{BOOT, Vm, VmConfig};

/// The boards, the host's own first, and the goals for their time against the first's.
const BOARDS: [(&str, &str); 3] = [("x86_64", ""), ("aarch64", "≤ 6"), ("armhf", "≤ 4")];
const RUNTIME: [&str; 3] = ["containerd", "containernetworking-plugins", "runc"];
const INSTALLING: &str = "installing packages";
const INITRAMFS: &str = "making the initramfs";

const HEAD: &str = "# Figures of the architectures\n\nThe last measures of `make bench`: edge-node, \
    composed without the cache. Virtual machine: 512 MiB, 2 processors.";

const REMARKS: &str = "\
Only the scripts of the packages run under emulation, as part of \"installing packages\"; everything else is the
host's own work on any board.
";

#[derive(Parser)]
#[command(about = "Compose the same node for every architecture and measure it")]
struct Cli {
    /// Also write the measures into this file
    #[arg(long, value_name = "FILE")]
    figures: Option<PathBuf>,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(cli.figures.as_deref()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("error: {e:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(figures_file: Option<&Path>) -> Result<()> {
    let workspace = lab::workspace()?;
    let work = lab::target_dir(&workspace).join("boards");
    if work.exists() {
        fs::remove_dir_all(&work).with_context(|| format!("removing {}", work.display()))?;
    }
    fs::create_dir_all(&work)?;
    let ssh_key = work.join("ssh/id");
    let treefiles = workspace.join("treefiles");
    let node = lab::write_edge_node(&treefiles, &work.join("tree"), &ssh_key)?;
    let mut figures = Figures::default();
    let (first, _) = BOARDS[0];
    for (board, goal) in BOARDS {
        let bench = Bench::new(&workspace, &work, board)?;
        let commit = bench.measure(&node, &mut figures)?;
        bench.boot(&commit, &ssh_key, &mut figures)?;
        if board != first {
            figures.ratio(&compose_of(board), &compose_of(first), goal)?;
        }
    }
    let dracut = work.join("dracut.yaml");
    let text = format!(
        "include: {}\npackages: [dracut-core]\nedge: {{initramfs: dracut}}\n",
        node.display()
    );
    fs::write(&dracut, text).with_context(|| format!("writing {}", dracut.display()))?;
    let bench = Bench::new(&workspace, &work, first)?;
    lab::step("compose with dracut", || bench.compose(&dracut))?;
    figures.note("dracut's initramfs of x86_64", bench.seconds(INITRAMFS)?);

    println!("\n{}", figures.table());
    match figures_file {
        Some(file) => edge_ota::durable::write(file, figures.document(HEAD, REMARKS)?.as_bytes()),
        None => Ok(()),
    }
}

fn compose_of(board: &str) -> String {
    format!("compose {board}")
}

struct Bench {
    site: Site,
    timings: PathBuf,
    updater: PathBuf,
    mirror: Vec<OsString>,
}

impl Bench {
    fn new(workspace: &Path, work: &Path, board: &str) -> Result<Self> {
        let site = Site {
            board: board.to_owned(),
            dir: work.join(board),
            keys: work.join("keys"),
            builder: lab::builder(workspace),
        };
        if !site.keys.exists() {
            Cmd::new(&site.builder)
                .args(["key", "generate", "--out"])
                .arg(&site.keys)
                .run()?;
        }
        fs::create_dir_all(&site.dir)?;
        let architecture = hardware::board(board)?.arch.debian;
        Ok(Self {
            timings: site.dir.join("timings.json"),
            updater: lab::updater_package(workspace, &architecture)?,
            mirror: lab::mirror_arguments(&architecture),
            site,
        })
    }

    fn measure(&self, treefile: &Path, figures: &mut Figures) -> Result<CommitChecksum> {
        let board = &self.site.board;
        let commit = figures.time(&compose_of(board), || self.compose(treefile))?;
        for step in [INSTALLING, INITRAMFS] {
            figures.note(&format!("{board}: {step}"), self.seconds(step)?);
        }
        let repo = Repo::open(&self.site.repo())?;
        let initramfs = repo.describe(&commit)?.initramfs_size;
        figures.note(&format!("{board}: initramfs"), megabytes(initramfs));
        let size = size::report(&repo, &commit, 1)?;
        let runtime: u64 = size
            .packages
            .iter()
            .filter(|share| RUNTIME.contains(&share.name.as_str()))
            .map(|share| share.bytes)
            .sum();
        figures.note(&format!("{board}: tree"), megabytes(size.total));
        figures.note(
            &format!("{board}: tree without {}", RUNTIME.join(", ")),
            megabytes(size.total - runtime),
        );
        Ok(commit)
    }

    /// From power on to the good verdict, on the machine that the tests run on.
    fn boot(&self, commit: &CommitChecksum, ssh_key: &Path, figures: &mut Figures) -> Result<()> {
        let disk = self.site.dir.join("image.qcow2");
        self.site
            .edge_build("image")
            .args(["--board", &self.site.board, "--commit", commit.as_str()])
            .args(["--url", lab::NOWHERE, "--format", "qcow2", "--out"])
            .arg(&disk)
            .run()?;
        let board = hardware::board(&self.site.board)?;
        let dir = self.site.dir.join("machine");
        let mut vm = Vm::start(VmConfig::new(&board, dir, disk, ssh_key.to_owned())?)?;
        figures.time(&format!("{}: first boot to good", board.name), || {
            let settled = vm
                .wait_for_report(BOOT)
                .and_then(|status| expect_settled(&status, Slot::A, commit));
            settled.or_else(|e| Err(e.context(vm.last_words()?)))
        })?;
        vm.quit()
    }

    fn compose(&self, treefile: &Path) -> Result<CommitChecksum> {
        let printed = self
            .site
            .edge_build("compose")
            .args(["--no-cache", "--timings"])
            .arg(&self.timings)
            .args(["--board", &self.site.board, "--deb"])
            .arg(&self.updater)
            .args(&self.mirror)
            .arg(treefile)
            .text()?;
        Ok(printed.trim().parse()?)
    }

    /// How long a step of the last compose took.
    fn seconds(&self, step: &str) -> Result<String> {
        let text = fs::read(&self.timings)
            .with_context(|| format!("reading {}", self.timings.display()))?;
        let steps: BTreeMap<String, f64> = serde_json::from_slice(&text)?;
        let seconds = steps.get(step).with_context(|| format!("no '{step}'"))?;
        Ok(format!("{seconds:.1} s"))
    }
}

fn megabytes(bytes: u64) -> String {
    format!("{:.1} MB", bytes as f64 / 1e6)
}
