//! The main job on one board, measured: two releases as Debian made them, an image of the first, a machine that
//! boots it and upgrades to the second.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use edge_ota::cmd::Cmd;
use edge_ota::types::{CommitChecksum, Slot};

use crate::figures::Figures;
use crate::hardware;
use crate::lab;
use crate::node::expect_settled;
use crate::site::Site;
use crate::usage;
use crate::vm::{BOOT, Vm, VmConfig};
use crate::web::Web;

/// As a raw file.
pub const IMAGE: &str = "image";
pub const COMPOSE: &str = "compose";
pub const INSTALLING: &str = "compose: installing packages";
pub const INITRAMFS: &str = "compose: making the initramfs";

const POCKETS: [&str; 2] = ["trixie-updates", "trixie-security"];

pub struct Journey {
    pub site: Site,
    work: PathBuf,
    pub ssh_key: PathBuf,
}

/// A published release and the next one, which is not published yet.
pub struct Releases {
    pub first: CommitChecksum,
    pub second: CommitChecksum,
}

impl Journey {
    /// In an empty folder of its own below `work`, with fresh keys.
    pub fn new(board: &str, work: &Path) -> Result<Self> {
        let work = work.join(board);
        if work.exists() {
            fs::remove_dir_all(&work).with_context(|| format!("removing {}", work.display()))?;
        }
        fs::create_dir_all(&work)?;
        let journey = Self {
            site: Site {
                board: board.to_owned(),
                dir: work.join("site"),
                keys: work.join("keys"),
                builder: lab::builder(&lab::workspace()?),
            },
            ssh_key: work.join("ssh/id"),
            work,
        };
        Cmd::new(&journey.site.builder)
            .args(["key", "generate", "--out"])
            .arg(&journey.site.keys)
            .run()?;
        Ok(journey)
    }

    /// The suite alone, published and in the image; then with its updates.
    pub fn build(&self, figures: &mut Figures) -> Result<Releases> {
        let board = &self.site.board;
        let old = self.treefile("first", &POCKETS)?;
        let first = figures.time(board, COMPOSE, || self.compose(&old))?;
        for (what, seconds) in self.timings()? {
            figures.seconds(board, &format!("{COMPOSE}: {what}"), seconds);
        }
        figures.time(board, "release", || self.site.release(&first))?;
        let ((), written) =
            figures.time(board, IMAGE, || usage::written(|| self.make_image(&first)))?;
        let allocated = fs::metadata(self.raw_image())?.blocks() * 512;
        let share = written as f64 / allocated as f64;
        figures.note(
            board,
            "image: bytes written ÷ allocated",
            format!("{share:.2}"),
        );
        let new = self.treefile("second", &[])?;
        let second = figures.time(board, "compose with updates", || self.compose(&new))?;
        Ok(Releases { first, second })
    }

    fn make_image(&self, commit: &CommitChecksum) -> Result<()> {
        self.site
            .edge_build("image")
            .args(["--board", &self.site.board, "--commit", commit.as_str()])
            .args(["--url", lab::NOWHERE, "--format", "raw", "--out"])
            .arg(self.raw_image())
            .run()
    }

    /// Power on, and the good verdict.
    pub fn boot(&self, first: &CommitChecksum, figures: &mut Figures) -> Result<Vm> {
        let board = hardware::board(&self.site.board)?;
        let dir = self.work.join("machine");
        lab::overlay_of("raw", &self.raw_image(), &self.image())?;
        let config = VmConfig::new(&board, dir, self.image(), self.ssh_key.clone())?;
        figures.time(&self.site.board, "first boot to good", || {
            let mut vm = Vm::start(config)?;
            self.settles(&mut vm, Slot::A, first)?;
            Ok(vm)
        })
    }

    /// Publishes the second release and installs it; returns the server, which goes on serving.
    pub fn upgrade(
        &self,
        vm: &mut Vm,
        second: &CommitChecksum,
        figures: &mut Figures,
    ) -> Result<Web> {
        let board = &self.site.board;
        let web = Web::serve(&self.site.dir)?;
        let url = web.url_for_guests();
        vm.ask(&format!(
            "mkdir -p /etc/edge-ota/config.d && printf '[source]\\nurl = \"{url}\"\\n[trial]\\ntries = 1\\n' \
             > /etc/edge-ota/config.d/90-demo.toml"
        ))?;
        self.site.release(second)?;
        let peak = figures.time(board, "upgrade", || upgrade_measured(vm))?;
        figures.note(
            board,
            "peak memory of the upgrade",
            format!("{:.1} MiB", peak as f64 / 1024.0),
        );
        figures.time(board, "reboot into the new release to good", || {
            vm.ssh("systemctl reboot")?;
            self.settles(vm, Slot::B, second)
        })?;
        Ok(web)
    }

    /// Composes without the cache.
    pub fn compose(&self, treefile: &Path) -> Result<CommitChecksum> {
        self.compose_with(treefile, &["--no-cache"])
    }

    /// Composes with what the composes before have left in the cache.
    pub fn compose_warm(&self, treefile: &Path) -> Result<CommitChecksum> {
        self.compose_with(treefile, &[])
    }

    fn compose_with(&self, treefile: &Path, how: &[&str]) -> Result<CommitChecksum> {
        let architecture = hardware::board(&self.site.board)?.arch.debian;
        let printed = self
            .site
            .edge_build("compose")
            .args(how)
            .arg("--timings")
            .arg(self.timings_file())
            .args(["--board", &self.site.board, "--deb"])
            .arg(lab::updater_package(&lab::workspace()?, &architecture)?)
            .args(lab::mirror_arguments(&architecture))
            .arg(treefile)
            .text()?;
        Ok(printed.trim().parse()?)
    }

    /// Seconds by step of the last compose.
    pub fn timings(&self) -> Result<BTreeMap<String, f64>> {
        let path = self.timings_file();
        let text = fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
        Ok(serde_json::from_slice(&text)?)
    }

    /// edge-node with what tests need, over a copy of the treefiles, without some of the suites.
    pub fn treefile(&self, name: &str, without: &[&str]) -> Result<PathBuf> {
        let treefiles = self.work.join(name).join("treefiles");
        fs::create_dir_all(self.work.join(name))?;
        Cmd::new("cp")
            .arg("-a")
            .arg(lab::workspace()?.join("treefiles"))
            .arg(&treefiles)
            .run()?;
        let base = treefiles.join("base.yaml");
        let text = fs::read_to_string(&base)?;
        let kept: Vec<&str> = text
            .lines()
            .filter(|line| {
                !without
                    .iter()
                    .any(|suite| line.contains(&format!("suite: {suite},")))
            })
            .collect();
        ensure!(
            text.lines().count() == kept.len() + without.len(),
            "{} does not list {without:?}",
            base.display()
        );
        fs::write(&base, kept.join("\n") + "\n")?;
        let dir = self.work.join(name).join("tree");
        lab::write_edge_node(&treefiles, &dir, &self.ssh_key)
    }

    fn raw_image(&self) -> PathBuf {
        self.work.join("image.raw")
    }

    fn image(&self) -> PathBuf {
        self.work.join("image.qcow2")
    }

    fn timings_file(&self) -> PathBuf {
        self.work.join("timings.json")
    }

    fn settles(&self, vm: &mut Vm, slot: Slot, commit: &CommitChecksum) -> Result<()> {
        let report = vm.wait_for_report(BOOT);
        let settled = report.and_then(|status| expect_settled(&status, slot, commit));
        settled.or_else(|e| Err(e.context(vm.last_words()?)))?;
        vm.wait_for_ssh(BOOT)
    }
}

/// Upgrades without the reboot and returns the peak resident memory of `edge-ota` in KiB.
fn upgrade_measured(vm: &Vm) -> Result<u64> {
    let peak = vm.ask(
        "edge-ota upgrade >&2 & pid=$!; peak=0; \
         while now=$(sed -n 's/^VmHWM:[^0-9]*\\([0-9]*\\).*/\\1/p' /proc/$pid/status 2>/dev/null) && [ -n \"$now\" ]; \
         do peak=$now; sleep 0.1; done; wait $pid && echo $peak",
    )?;
    peak.parse()
        .with_context(|| format!("reading the peak memory '{peak}'"))
}
