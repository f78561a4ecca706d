//! The whole main job on one virtual machine: compose, image, boot, upgrade to a second real
//! release, break, come back. Ends with what the device says of itself and with the measures.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Parser;
use edge_build::packages::mirrors::{self, MirrorOptions};
use edge_build::treefile::Suite;
use edge_ota::cmd::Cmd;
use edge_ota::types::{CommitChecksum, Slot};
use qemu_tests::figures::Figures;
use qemu_tests::hardware;
use qemu_tests::lab;
use qemu_tests::node::expect_settled;
use qemu_tests::site::{self, Site};
use qemu_tests::variant;
use qemu_tests::vm::{BOOT, Vm, VmConfig};
use qemu_tests::web::Web;

const POCKETS: [&str; 2] = ["trixie-updates", "trixie-security"];
const SUITE: &str = "trixie";

const PLAIN: &str = "plain mmdebstrap of the same packages";

const HEAD: &str =
    "# Figures\n\nThe last measures of `make figures`. Virtual machine: 512 MiB, 2 processors.";

/// Why the ratio is what it is.
const REMARKS: &str = "\
Compose does more than plain mmdebstrap: it packs the installed packages for the cache and unpacks them, chooses and
unpacks kernel modules, makes the initramfs, and compresses and checksums every file on one core. The nearer the
mirror, the more that weighs.
";

#[derive(Parser)]
#[command(about = "Compose, image, boot, upgrade, break and roll back a virtual machine")]
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
    let work = lab::target_dir(&workspace).join("demo");
    if work.exists() {
        fs::remove_dir_all(&work).with_context(|| format!("removing {}", work.display()))?;
    }
    fs::create_dir_all(&work)?;
    let demo = Demo {
        site: Site {
            board: site::board_under_test(),
            dir: work.join("site"),
            keys: work.join("keys"),
            builder: lab::builder(&workspace),
        },
        workspace,
        ssh_key: work.join("ssh/id"),
        work,
    };
    let mut figures = Figures::default();
    let (first, second) = demo.build(&mut figures)?;
    demo.live(&first, &second, &mut figures)?;
    println!("\n{}", figures.table());
    match figures_file {
        Some(file) => edge_ota::durable::write(file, figures.document(HEAD, REMARKS)?.as_bytes()),
        None => Ok(()),
    }
}

struct Demo {
    workspace: PathBuf,
    work: PathBuf,
    site: Site,
    ssh_key: PathBuf,
}

impl Demo {
    /// Two releases as Debian made them: the suite alone, then with its updates. The first is published
    /// and in the image.
    fn build(&self, figures: &mut Figures) -> Result<(CommitChecksum, CommitChecksum)> {
        Cmd::new(&self.site.builder)
            .args(["key", "generate", "--out"])
            .arg(&self.site.keys)
            .run()?;
        let old = self.treefile("first", &POCKETS)?;
        let first = figures.time("compose", || self.compose(&old))?;
        for (what, seconds) in self.timings()? {
            figures.note(&format!("compose: {what}"), format!("{seconds:.1} s"));
        }
        figures.time(PLAIN, || self.plain_mmdebstrap(&first))?;
        figures.ratio("compose", PLAIN, "≤ 1.6")?;
        figures.time("release", || self.site.release(&first))?;
        figures.time("image", || {
            self.site
                .edge_build("image")
                .args(["--board", &self.site.board, "--commit", first.as_str()])
                .args([
                    "--url",
                    "http://updates.example:8080",
                    "--format",
                    "qcow2",
                    "--out",
                ])
                .arg(self.work.join("image.qcow2"))
                .run()
        })?;
        let new = self.treefile("second", &[])?;
        let second = figures.time("compose with updates", || self.compose(&new))?;
        Ok((first, second))
    }

    fn live(
        &self,
        first: &CommitChecksum,
        second: &CommitChecksum,
        figures: &mut Figures,
    ) -> Result<()> {
        let web = Web::serve(&self.site.dir)?;
        let config = VmConfig::new(
            &hardware::board(&self.site.board)?,
            self.work.join("machine"),
            self.work.join("image.qcow2"),
            self.ssh_key.clone(),
        )?;
        let mut vm = figures.time("first boot to good", || {
            let mut vm = Vm::start(config)?;
            self.settles(&mut vm, Slot::A, first)?;
            Ok(vm)
        })?;
        let url = web.url_for_guests();
        vm.ask(&format!(
            "mkdir -p /etc/edge-ota/config.d && printf '[source]\\nurl = \"{url}\"\\n[trial]\\ntries = 1\\n' \
             > /etc/edge-ota/config.d/90-demo.toml"
        ))?;

        self.site.release(second)?;
        let peak = figures.time("upgrade", || upgrade_measured(&vm))?;
        figures.note(
            "peak memory of the upgrade",
            format!("{:.1} MiB", peak as f64 / 1024.0),
        );
        figures.time("reboot into the new release to good", || {
            vm.ssh("systemctl reboot")?;
            self.settles(&mut vm, Slot::B, second)
        })?;

        let bad = self.site.publish_broken(second, "broken", |tree| {
            tree.write_program(
                "usr/lib/edge-ota/health.d/required.d/50-broken",
                "#!/bin/sh\necho this release is broken\nexit 1\n",
            )
        })?;
        lab::step("upgrade to a broken release", || {
            vm.ssh("edge-ota upgrade --reboot")
        })?;
        figures.time("trial of a broken release and the way back", || {
            self.comes_back(&mut vm, second)
        })?;
        println!("\n$ edge-ota status\n{}", vm.ask("edge-ota status")?);
        println!("\n$ edge-ota history\n{}", vm.ask("edge-ota history")?);
        ensure!(
            vm.ask("edge-ota history --json")?.contains(bad.as_str()),
            "the history does not name {bad}"
        );
        vm.quit()
    }

    fn compose(&self, treefile: &Path) -> Result<CommitChecksum> {
        let printed = self
            .site
            .edge_build("compose")
            .args(["--no-cache", "--timings"])
            .arg(self.timings_file())
            .args(["--board", &self.site.board, "--deb"])
            .arg(lab::updater_package(
                &self.workspace,
                &hardware::board(&self.site.board)?.arch.debian,
            )?)
            .arg(treefile)
            .text()?;
        Ok(printed.trim().parse()?)
    }

    fn timings_file(&self) -> PathBuf {
        self.work.join("timings.json")
    }

    /// Seconds by step of the last compose.
    fn timings(&self) -> Result<BTreeMap<String, f64>> {
        let path = self.timings_file();
        let text = fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
        Ok(serde_json::from_slice(&text)?)
    }

    /// The test node over a copy of the treefiles, without some of the suites.
    fn treefile(&self, name: &str, without: &[&str]) -> Result<PathBuf> {
        let treefiles = self.work.join(name).join("treefiles");
        fs::create_dir_all(self.work.join(name))?;
        Cmd::new("cp")
            .arg("-a")
            .arg(self.workspace.join("treefiles"))
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

    fn plain_mmdebstrap(&self, commit: &CommitChecksum) -> Result<()> {
        let status = variant::read_file(&self.site.repo(), commit, "usr/lib/sysimage/dpkg/status")?;
        let status = String::from_utf8(status).context("dpkg's status is not UTF-8")?;
        // Our own package is in no repository.
        let names: Vec<&str> = status
            .lines()
            .filter_map(|l| l.strip_prefix("Package: "))
            .filter(|n| *n != "edge-ota")
            .collect();
        let root = self.work.join("plain");
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
            .arg(&root)
            .arg(mirror)
            // No initramfs on either side: ours is made after the packages.
            .env("INITRD", "No")
            .run()?;
        fs::remove_dir_all(&root).with_context(|| format!("removing {}", root.display()))
    }

    fn settles(&self, vm: &mut Vm, slot: Slot, commit: &CommitChecksum) -> Result<()> {
        let report = vm.wait_for_report(BOOT);
        let settled = report.and_then(|status| expect_settled(&status, slot, commit));
        settled.or_else(|e| Err(e.context(vm.last_words()?)))?;
        vm.wait_for_ssh(BOOT)
    }

    fn comes_back(&self, vm: &mut Vm, commit: &CommitChecksum) -> Result<()> {
        let status = vm.wait_for_report(Duration::from_secs(900))?;
        ensure!(
            &status.booted.commit == commit && status.trial.is_none(),
            "did not come back: {status:?}"
        );
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
