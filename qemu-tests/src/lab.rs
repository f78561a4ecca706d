//! What all tests share, made once for each content of the work tree: keys, a published first
//! release, an image, and a machine that has booted from it and sleeps in a snapshot.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use edge_build::board::Board;
use edge_ota::cmd::Cmd;
use edge_ota::types::CommitChecksum;
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::hardware;
use crate::site::Site;
use crate::status::State;
use crate::vm::{BOOT, Firmware, Vm, VmConfig};

/// The snapshot of a machine that has booted to a good verdict.
pub const GOOD: &str = "good";
/// Where the image looks for updates before a test says otherwise.
pub const NOWHERE: &str = "http://updates.example:8080";

pub struct Lab {
    pub site: Site,
    /// The first release, in slot a of the image.
    pub base: CommitChecksum,
    pub ssh_key: PathBuf,
    /// Keys that no device trusts.
    pub strange_keys: PathBuf,
    /// The image as it was composed.
    pub image: PathBuf,
    /// A machine that sleeps in the snapshot [`GOOD`]: `disk.qcow2` over the image, and `vars.qcow2`.
    pub asleep: PathBuf,
    /// Room for the tests' own files.
    pub runs: PathBuf,
}

impl Lab {
    /// Opens the lab of a board, or makes it; another process that comes meanwhile waits.
    pub fn open(board: &str) -> Result<Self> {
        let workspace = workspace()?;
        let home = target_dir(&workspace).join("qemu-tests").join(board);
        fs::create_dir_all(&home)?;
        let lock = File::create(home.join("lock"))?;
        rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive)?;
        let board = hardware::board(board)?;
        let dir = home.join(content_key(&workspace, &board)?);
        if !dir.exists() {
            make(&workspace, &home, &dir, &board).context("making the lab for the tests")?;
        }
        let base = fs::read_to_string(dir.join("base"))?.trim().parse()?;
        Ok(Self {
            site: site(&workspace, &dir, &board),
            base,
            ssh_key: dir.join("ssh/id"),
            strange_keys: dir.join("strange-keys"),
            image: dir.join("image.qcow2"),
            asleep: dir.join("asleep"),
            runs: dir.join("runs"),
        })
    }
}

/// The folder with `Cargo.lock`.
pub fn workspace() -> Result<PathBuf> {
    let crate_dir = Path::new(env!("CARGO_MANIFEST_DIR"));
    Ok(crate_dir
        .parent()
        .context("the crate has no parent folder")?
        .to_owned())
}

pub fn target_dir(workspace: &Path) -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| workspace.join("target"), |dir| workspace.join(dir))
}

/// The release build of `edge-build`, or what `EDGE_BUILD` names.
pub fn builder(workspace: &Path) -> PathBuf {
    std::env::var_os("EDGE_BUILD").map_or_else(
        || target_dir(workspace).join("release/edge-build"),
        PathBuf::from,
    )
}

/// The package that `make updater` left for an architecture.
pub fn updater_package(workspace: &Path, debian: &str) -> Result<PathBuf> {
    let ending = format!("_{debian}.deb");
    let dir = target_dir(workspace).join("deb");
    for entry in fs::read_dir(&dir)
        .with_context(|| format!("listing {}: run 'make updater' first", dir.display()))?
    {
        let entry = entry?;
        if entry.file_name().to_string_lossy().ends_with(&ending) {
            return Ok(entry.path());
        }
    }
    bail!(
        "{} holds no package of {debian}: run 'make updater BOARD=…' first",
        dir.display()
    )
}

/// The mirror that `.ci/mirror` stands in with where the machine's own is not whole for an architecture.
pub fn mirror_arguments(debian: &str) -> Vec<OsString> {
    let options = [
        ("--mirror", "MIRROR"),
        ("--security-mirror", "SECURITY_MIRROR"),
        ("--mirror-keyring", "KEYRING"),
    ];
    let named = options.into_iter().filter_map(|(flag, name)| {
        let variable = format!("EDGE_TEST_{}_{name}", debian.to_uppercase());
        Some([flag.into(), std::env::var_os(variable)?])
    });
    named.flatten().collect()
}

/// Writes the test node's treefile over the treefiles in `treefiles`, with a fresh SSH key for root
/// beside it; returns the treefile.
pub fn write_treefile(treefiles: &Path, dir: &Path, ssh_key: &Path) -> Result<PathBuf> {
    fs::create_dir_all(dir)?;
    if !ssh_key.exists() {
        fs::create_dir_all(ssh_key.parent().context("the key has no folder")?)?;
        Cmd::new("ssh-keygen")
            .args(["-q", "-t", "ed25519", "-N", "", "-C", "edge-test", "-f"])
            .arg(ssh_key)
            .run()?;
    }
    fs::copy(ssh_key.with_extension("pub"), dir.join("authorized_keys"))?;
    let source = workspace()?.join("qemu-tests/treefiles");
    for entry in fs::read_dir(&source)? {
        let name = entry?.file_name();
        fs::copy(source.join(&name), dir.join(&name))?;
    }
    let treefile = dir.join("test-node.yaml");
    let text = fs::read_to_string(&treefile)?;
    ensure!(
        text.contains("../../treefiles/"),
        "{} includes no treefile",
        treefile.display()
    );
    fs::write(
        &treefile,
        text.replace("../../treefiles/", &format!("{}/", treefiles.display())),
    )?;
    Ok(treefile)
}

/// As [`write_treefile`], over `edge-node.yaml`.
pub fn write_edge_node(treefiles: &Path, dir: &Path, ssh_key: &Path) -> Result<PathBuf> {
    let treefile = write_treefile(treefiles, dir, ssh_key)?;
    let text = fs::read_to_string(&treefile)?;
    ensure!(
        text.contains("/base.yaml"),
        "{} includes another treefile",
        treefile.display()
    );
    fs::write(&treefile, text.replace("/base.yaml", "/edge-node.yaml"))?;
    Ok(treefile)
}

/// Says what a long step does, does it, and says how long it took.
pub fn step<T>(what: &str, act: impl FnOnce() -> Result<T>) -> Result<T> {
    eprintln!("==> {what}");
    let start = Instant::now();
    let value = act().with_context(|| what.to_owned())?;
    eprintln!("    {what}: {:.1} s", start.elapsed().as_secs_f64());
    Ok(value)
}

/// For the end of a program: an error on one line.
pub fn exit_code(result: Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("error: {e:#}");
            ExitCode::FAILURE
        }
    }
}

fn site(workspace: &Path, dir: &Path, board: &Board) -> Site {
    Site {
        board: board.name.to_string(),
        dir: dir.join("site"),
        keys: dir.join("keys"),
        builder: builder(workspace),
    }
}

/// Composes a treefile for the site's board, with the updater that `make updater` left.
pub fn compose(site: &Site, treefile: &Path) -> Result<CommitChecksum> {
    let architecture = hardware::board(&site.board)?.arch.debian;
    let composed = site
        .edge_build("compose")
        .args(["--json", "--board", &site.board, "--deb"])
        .arg(updater_package(&workspace()?, &architecture)?)
        .args(mirror_arguments(&architecture))
        .arg(treefile)
        .output()?;
    let composed: Value = serde_json::from_slice(&composed)?;
    let commit = composed["commit"].as_str().context("it names no commit")?;
    Ok(commit.parse()?)
}

/// Makes everything beside its final place and renames it whole.
fn make(workspace: &Path, home: &Path, dir: &Path, board: &Board) -> Result<()> {
    for entry in fs::read_dir(home)? {
        let path = entry?.path();
        if path.is_dir() {
            fs::remove_dir_all(&path)
                .with_context(|| format!("removing the old {}", path.display()))?;
        }
    }
    let new = dir.with_extension("new");
    fs::create_dir_all(&new)?;
    let (site, ssh_key) = (site(workspace, &new, board), new.join("ssh/id"));
    for keys in [&site.keys, &new.join("strange-keys")] {
        Cmd::new(&site.builder)
            .args(["key", "generate", "--out"])
            .arg(keys)
            .run()?;
    }
    let treefile = write_treefile(&workspace.join("treefiles"), &new.join("tree"), &ssh_key)?;
    let base = step("compose the test node", || compose(&site, &treefile))?;
    let released = step("release it", || {
        site.release_command(&site.board, &base)
            .arg("--json")
            .output()
    })?;
    check_artefact(&released, &site.manifest())?;
    let image = new.join("image.qcow2");
    let made = step("make its image", || {
        site.edge_build("image")
            .args(["--json", "--board", &site.board, "--commit", base.as_str()])
            .args(["--url", NOWHERE, "--format", "qcow2", "--out"])
            .arg(&image)
            .output()
    })?;
    check_artefact(&made, &image)?;
    step("boot it to a good verdict", || {
        put_to_sleep(&new.join("asleep"), &ssh_key, board)
    })?;
    fs::write(new.join("base"), base.as_str())?;
    fs::create_dir(new.join("runs"))?;
    fs::rename(&new, dir).with_context(|| format!("renaming {}", new.display()))
}

/// What a pipeline reads of a file is what sha256sum says.
fn check_artefact(summary: &[u8], file: &Path) -> Result<()> {
    let summary: Value = serde_json::from_slice(summary)?;
    let sum = Cmd::new("sha256sum").arg(file).text()?;
    let said = summary["artefact"]["sha256"].as_str();
    ensure!(
        said.is_some_and(|said| sum.starts_with(said)),
        "the summary of {} says {summary}, sha256sum {sum}",
        file.display()
    );
    Ok(())
}

fn put_to_sleep(dir: &Path, ssh_key: &Path, board: &Board) -> Result<()> {
    fs::create_dir_all(dir)?;
    let disk = dir.join("disk.qcow2");
    overlay(Path::new("../image.qcow2"), &disk)?;
    let config = VmConfig {
        firmware: Firmware::Plain,
        ..VmConfig::new(board, dir.to_owned(), disk, ssh_key.to_owned())?
    };
    let mut vm = Vm::start(config)?;
    let booted = || -> Result<()> {
        let report = vm.wait_for_report(BOOT)?;
        ensure!(
            report.state == State::Good,
            "the first boot ended in {report:?}"
        );
        vm.wait_for_ssh(BOOT)
    };
    match { booted }() {
        Ok(()) => vm.save(GOOD),
        Err(e) => Err(e.context(vm.last_words()?)),
    }
}

/// A qcow2 that keeps only what differs from the qcow2 `backing`, which is looked up beside it.
pub fn overlay(backing: &Path, disk: &Path) -> Result<()> {
    overlay_of("qcow2", backing, disk)
}

/// As [`overlay`], over a file of another format.
pub fn overlay_of(format: &str, backing: &Path, disk: &Path) -> Result<()> {
    Cmd::new("qemu-img")
        .args(["create", "-q", "-f", "qcow2", "-F", format, "-b"])
        .arg(backing)
        .arg(disk)
        .run()
}

/// SHA-256 over what goes into the image and the machine, shortened: programs, and the data they read.
fn content_key(workspace: &Path, board: &Board) -> Result<String> {
    let builder = builder(workspace);
    ensure!(
        builder.exists(),
        "{} is missing: run 'make build' first",
        builder.display()
    );
    let mut hash = Sha256::new();
    add_to_key(&mut hash, &builder)?;
    for part in ["treefiles", "qemu-tests/treefiles", "updater"] {
        add_to_key(&mut hash, &workspace.join(part))?;
    }
    let board_file = format!("boards/{}.toml", board.name);
    add_to_key(&mut hash, &workspace.join(board_file))?;
    add_to_key(&mut hash, &updater_package(workspace, &board.arch.debian)?)?;
    // The machine that sleeps has its firmware in memory.
    if let Some(qemu) = &board.qemu {
        add_to_key(&mut hash, &hardware::firmware(qemu, Firmware::Plain)?.code)?;
    }
    Ok(hash
        .finalize()
        .iter()
        .take(8)
        .map(|byte| format!("{byte:02x}"))
        .collect())
}

fn add_to_key(hash: &mut Sha256, path: &Path) -> Result<()> {
    hash.update(
        path.file_name()
            .context("a path without a name")?
            .as_encoded_bytes(),
    );
    if path.is_dir() {
        let mut entries = fs::read_dir(path)?
            .map(|e| Ok(e?.path()))
            .collect::<Result<Vec<_>>>()?;
        entries.sort();
        return entries.iter().try_for_each(|entry| add_to_key(hash, entry));
    }
    if path.exists() {
        let mut bytes = Vec::new();
        File::open(path)
            .and_then(|mut f| f.read_to_end(&mut bytes))
            .with_context(|| format!("reading {}", path.display()))?;
        hash.update((bytes.len() as u64).to_le_bytes());
        hash.update(&bytes);
    }
    Ok(())
}
