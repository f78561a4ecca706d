//! Treefile in, signed commit out.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use ed25519_dalek::SigningKey;
use edge_ota::board::{BoardFile, BootFlavour};
use edge_ota::cmd::Cmd;
use edge_ota::media::loader;
use edge_ota::trust;
use edge_ota::types::{BoardName, CommitChecksum, RefName};
use serde::Serialize;

use crate::board::{Board, Boot};
use crate::interrupt::{self, WorkDir};
use crate::lock::Lock;
use crate::packages::{self, Layer, Package, mirrors::MirrorOptions};
use crate::progress::Progress;
use crate::repo::{Description, Repo};
use crate::succession::{self, Succession};
use crate::tree::initramfs::{self, Drivers};
use crate::tree::kernel::{self, Kernel};
use crate::tree::modules::{self, Index, Kept};
use crate::tree::node::{self, AddFile, Node, OsRelease, Script};
use crate::tree::{abi, bios, dracut, layout, selinux, trim};
use crate::treefile::{InitramfsMaker, Treefile};
use crate::{accounts, sbom, sign};

/// The updater's units that every tree enables.
const UPDATER_UNITS: &[&str] = &[
    "edge-ota-boot.service",
    "edge-ota-deadline.service",
    "edge-ota-emergency.service",
    "edge-ota-health.service",
    "edge-ota-mark-good.service",
    "edge-ota-reset.service",
    "edge-ota-var.service",
    "edge-ota-finalize.service",
    "edge-ota.timer",
];

/// Arguments without which a hang would not end in a reboot.
const KERNEL_ARGUMENTS: &[&str] = &[
    "panic=5",
    "softlockup_panic=1",
    "hung_task_panic=1",
    "systemd.crash_action=reboot",
    "rw",
];

pub struct Request<'a> {
    pub treefile: &'a Treefile,
    pub board: &'a Board,
    pub repo: &'a Path,
    /// The folder of the root documents that the tree trusts.
    pub keys: &'a Path,
    /// The updater's package, and others that no mirror has.
    pub debs: &'a [PathBuf],
    pub mirrors: &'a MirrorOptions,
    pub lock: Option<&'a Lock>,
    pub cache: &'a Path,
    pub use_cache: bool,
    pub work: &'a WorkDir,
    /// Unix seconds: the commit's time.
    pub now: u64,
}

/// What came of it.
#[derive(Debug, Serialize)]
pub struct Composed {
    pub commit: CommitChecksum,
    #[serde(rename = "ref")]
    pub reference: RefName,
    pub version: String,
    pub board: BoardName,
    pub kernel: String,
    /// Bytes
    pub kernel_size: u64,
    pub initramfs_size: u64,
    /// The packages were not installed anew.
    pub from_cache: bool,
    pub packages: Vec<Package>,
}

/// Composes what follows the commit that the treefile's ref leads to, and signs it.
pub fn compose(request: &Request, key: &SigningKey, progress: &Progress) -> Result<Composed> {
    let root = request.work.sub("tree")?;
    let layer = match request.use_cache {
        true => packages::install(&packages_of(request), &root, progress)?,
        false => packages::install_afresh(&packages_of(request), &root, progress)?,
    };
    let repo = Repo::open_or_create(request.repo)?;
    let succession = succession::next(&repo, request.treefile, request.now)?;
    let composed = commit(request, &root, layer, &succession, &repo, progress)?;
    sign_commit(&repo, &composed.commit, key)?;
    Ok(composed)
}

/// Composes in the place of another commit, whose succession is given. The commit is not signed.
pub fn compose_again(
    request: &Request,
    succession: &Succession,
    progress: &Progress,
) -> Result<Composed> {
    let root = request.work.sub("tree")?;
    let layer = packages::install_afresh(&packages_of(request), &root, progress)?;
    let repo = Repo::open_or_create(request.repo)?;
    commit(request, &root, layer, succession, &repo, progress)
}

fn packages_of<'a>(request: &Request<'a>) -> packages::Request<'a> {
    packages::Request {
        treefile: request.treefile,
        board: request.board,
        local_debs: request.debs,
        mirrors: request.mirrors,
        lock: request.lock,
        cache: request.cache,
        work: request.work,
    }
}

/// From a root file system with its packages to a commit.
fn commit(
    request: &Request,
    root: &Path,
    layer: Layer,
    succession: &Succession,
    repo: &Repo,
    progress: &Progress,
) -> Result<Composed> {
    let treefile = request.treefile;
    interrupt::check()?;
    let step = progress.step("laying the tree out");
    trim::apply(root, &treefile.remove_from_packages)
        .with_context(|| treefile.path.display().to_string())?;
    layout::scrub(root)?;
    accounts::settle(root, succession, treefile)
        .with_context(|| treefile.path.display().to_string())?;
    node::apply(root, &node_of(request, &succession.version)?)
        .with_context(|| treefile.path.display().to_string())?;
    let laid_out = layout::apply(root, request.board.fdt.as_deref())?;
    bios::place(root)?;
    check_kernel(root, &laid_out.kernel, treefile)?;
    let work = request.work.sub("loader")?;
    loader::make(root, flavour(request.board), &work, request.now)?;
    let arguments = [request.board.kargs(), treefile.kernel_arguments.clone()].concat();
    selinux::check(root, &arguments).with_context(|| treefile.path.display().to_string())?;
    abi::check(root, &request.board.arch.debian)
        .with_context(|| treefile.path.display().to_string())?;
    if treefile.readonly_executables {
        layout::make_executables_readonly(root)?;
    }
    step.done();
    interrupt::check()?;

    if chooses_modules(treefile) {
        let step = progress.step("choosing kernel modules");
        let kept = choose_modules(root, &laid_out.kernel, request)
            .with_context(|| treefile.path.display().to_string())?;
        step.done_with(&format!("{} of {}", kept.after, kept.before));
        interrupt::check()?;
    }

    let step = progress.step("making the initramfs");
    let image = make_initramfs(root, &laid_out.kernel, request)?;
    let path = root.join(&laid_out.kernel.dir).join("initramfs.img");
    fs::write(&path, &image).with_context(|| format!("writing {}", path.display()))?;
    step.done_with(&format!("{:.1} MB", image.len() as f64 / 1e6));
    interrupt::check()?;

    finalize(root, treefile)?;
    let step = progress.step("committing");
    let description = describe(request, root, &laid_out.kernel, &succession.version)?;
    let mut metadata = treefile.commit_metadata.clone();
    metadata.extend(sbom::hashes(&sbom::contents_of_tree(root, &description)?)?);
    let commit = repo.commit_after(
        succession.parent.as_ref(),
        root,
        &treefile.reference,
        &description,
        &metadata,
    )?;
    step.done_with(&format!("{} {}", treefile.reference, description.version));
    Ok(Composed {
        commit,
        reference: treefile.reference.clone(),
        version: description.version,
        board: description.board,
        kernel: description.kernel,
        kernel_size: description.kernel_size,
        initramfs_size: description.initramfs_size,
        from_cache: layer.from_cache,
        packages: layer.packages,
    })
}

/// Signs a commit of the repository and attaches the signature.
pub fn sign_commit(repo: &Repo, commit: &CommitChecksum, key: &SigningKey) -> Result<()> {
    let signature = sign::sign_commit(&repo.commit_bytes(commit)?, key).to_vec();
    let mut all = repo.signatures(commit)?;
    if !all.contains(&signature) {
        all.push(signature);
        repo.attach_signatures(commit, &all)?;
    }
    Ok(())
}

/// As rpm-ostree does: in the root of the tree, with the build machine's programs and without a wall around them.
fn finalize(root: &Path, treefile: &Treefile) -> Result<()> {
    let folder = treefile.path.parent().unwrap_or(Path::new(""));
    let folder = std::path::absolute(folder)?;
    for program in &treefile.finalize {
        interrupt::check()?;
        Cmd::new(std::path::absolute(program)?)
            .current_dir(root)
            .env("RPMOSTREE_WORKDIR", &folder)
            .run()
            .with_context(|| format!("finalize.d: {}", program.display()))?;
    }
    Ok(())
}

fn node_of(request: &Request, version: &str) -> Result<Node> {
    let treefile = request.treefile;
    let mut add_files: Vec<AddFile> = Vec::new();
    for file in &treefile.add_files {
        add_files.push(AddFile {
            source: file.source.clone(),
            to: format!("/{}", file.target.display()),
        });
    }
    if !treefile.health_units.is_empty() {
        let source = request.work.path().join("health.toml");
        let text = format!("[health]\nunits = {:?}\n", treefile.health_units);
        fs::write(&source, text).with_context(|| format!("writing {}", source.display()))?;
        add_files.push(AddFile {
            source,
            to: "/usr/lib/edge-ota/config.d/60-treefile.toml".to_owned(),
        });
    }
    let mut units = treefile.units.clone();
    units.extend(UPDATER_UNITS.iter().map(|&unit| unit.to_owned()));
    Ok(Node {
        sysctls: treefile.sysctls.clone(),
        modules: treefile.modules_load.clone(),
        board_json: board_json(request)?,
        roots: roots(request.keys)?,
        units,
        default_target: treefile.default_target.clone(),
        etc_group_members: treefile.etc_group_members.clone(),
        os_release: treefile.mutate_os_release.clone().map(|replace| OsRelease {
            replace,
            version: version.to_owned(),
        }),
        add_files,
        remove_files: treefile
            .remove_files
            .iter()
            .map(|path| format!("/{}", path.display()))
            .collect(),
        postprocess: scripts(treefile)?,
        arch: request.board.arch.debian.clone(),
    })
}

fn flavour(board: &Board) -> BootFlavour {
    match board.boot {
        Boot::Grub => BootFlavour::Grub,
        Boot::Uboot => BootFlavour::Uboot,
    }
}

fn board_json(request: &Request) -> Result<Vec<u8>> {
    let mut kargs = request.board.kargs();
    kargs.extend(KERNEL_ARGUMENTS.iter().map(|&arg| arg.to_owned()));
    if request.treefile.initramfs == InitramfsMaker::Dracut {
        kargs.extend(dracut::KERNEL_ARGUMENTS.iter().map(|&arg| arg.to_owned()));
    }
    kargs.extend(request.treefile.kernel_arguments.iter().cloned());
    let file = BoardFile {
        board: request.board.name.clone(),
        boot: flavour(request.board),
        kargs,
        fdt: request.board.fdt.clone(),
    };
    serde_json::to_vec_pretty(&file).context("writing board.json")
}

fn roots(keys: &Path) -> Result<Vec<PathBuf>> {
    let versions = trust::versions(keys)?;
    if versions.is_empty() {
        bail!(
            "no root document (1.root) in {}: make keys with 'edge-build key generate'",
            keys.display()
        );
    }
    Ok(versions
        .into_iter()
        .map(|version| keys.join(trust::file_name(version)))
        .collect())
}

fn scripts(treefile: &Treefile) -> Result<Vec<Script>> {
    let named = |n: usize| format!("{}, postprocess {}", treefile.path.display(), n + 1);
    let mut scripts: Vec<Script> = treefile
        .postprocess
        .iter()
        .enumerate()
        .map(|(n, text)| Script {
            name: named(n),
            text: text.clone().into_bytes(),
        })
        .collect();
    if let Some(path) = &treefile.postprocess_script {
        let text = fs::read(path).with_context(|| format!("reading {}", path.display()))?;
        scripts.push(Script {
            name: path.display().to_string(),
            text,
        });
    }
    Ok(scripts)
}

fn check_kernel(root: &Path, kernel: &Kernel, treefile: &Treefile) -> Result<()> {
    let options: Vec<String> = treefile
        .kernel_options
        .iter()
        .map(ToString::to_string)
        .collect();
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    kernel::check(
        root,
        kernel,
        &treefile.kernel_min_version.to_string(),
        &options,
    )
    .with_context(|| treefile.path.display().to_string())
}

fn chooses_modules(treefile: &Treefile) -> bool {
    let named = &treefile.kernel_modules;
    !named.is_empty() && !named.iter().any(|word| word == "all")
}

/// Keeps the modules that the treefile and the board name, with all that they need.
fn choose_modules(root: &Path, kernel: &Kernel, request: &Request) -> Result<Kept> {
    let (treefile, board) = (request.treefile, request.board);
    let words: Vec<&str> = treefile
        .kernel_modules
        .iter()
        .chain(&treefile.modules_load)
        .chain(&board.kernel_modules)
        .chain(&board.initramfs.modules)
        .map(String::as_str)
        .collect();
    let index = Index::read(root, kernel)?;
    let names = index.select(&words)?;
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    modules::keep_only(root, kernel, &index.closure(&names)?)
}

fn make_initramfs(root: &Path, kernel: &Kernel, request: &Request) -> Result<Vec<u8>> {
    let treefile = request.treefile;
    match treefile.initramfs {
        InitramfsMaker::Own => initramfs::build(root, kernel, &drivers(request.board)),
        InitramfsMaker::Dracut => {
            let board = request.board;
            let plan = dracut::Plan {
                arch: &board.arch.debian,
                drivers: &board.initramfs.modules,
                arguments: &treefile.initramfs_arguments,
                time: request.now,
            };
            dracut::build(root, kernel, &plan).with_context(|| treefile.path.display().to_string())
        }
    }
}

fn drivers(board: &Board) -> Drivers {
    Drivers {
        include: board.initramfs.modules.clone(),
        load: Vec::new(),
    }
}

fn describe(request: &Request, root: &Path, kernel: &Kernel, version: &str) -> Result<Description> {
    let size = |name: &str| -> Result<u64> {
        let path = root.join(&kernel.dir).join(name);
        Ok(fs::metadata(&path)
            .with_context(|| format!("asking for {}", path.display()))?
            .len())
    };
    Ok(Description {
        version: version.to_owned(),
        board: request.board.name.clone(),
        kernel: kernel.release.clone(),
        kernel_size: size("vmlinuz")?,
        initramfs_size: size("initramfs.img")?,
        timestamp: request.now,
    })
}
