//! A tree of RPMs: composed from a signed repository, imaged, booted, upgraded and gone back from.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use edge_build::lock::{Lock, Locked};
use edge_ota::cmd::Cmd;
use edge_ota::types::{CommitChecksum, Slot};
use qemu_tests::hardware;
use qemu_tests::lab::{self, Lab, NOWHERE};
use qemu_tests::node::{Node, expect_settled};
use qemu_tests::rpms;
use qemu_tests::site::Site;
use qemu_tests::vm::{BOOT, Vm, VmConfig};
use qemu_tests::web::Web;

#[test]
fn a_tree_of_rpms_boots_upgrades_and_goes_back() -> Result<()> {
    let lab = Lab::open("x86_64")?;
    let dir = tempfile::tempdir_in(&lab.runs)?;
    let mut tree = Tree::new(&lab, "x86_64", dir.path())?;
    let first = tree.compose(&[])?;
    look(&tree, &first)?;
    tree.refuses_what_is_not_signed()?;
    let lock = dir.path().join("rpm.lock.json");
    tree.command("lock", &tree.treefile, &["--out".as_ref(), lock.as_ref()])?
        .run()?;
    // From here on there is no repository.
    tree.repository = None;
    let locked: [&OsStr; 3] = ["--no-cache".as_ref(), "--locked".as_ref(), lock.as_ref()];
    ensure!(
        tree.compose(&locked)? == first,
        "composed by its lock it is another commit"
    );

    tree.site.release(&first)?;
    let mut node = tree.boot(lab, &first)?;
    let booted = walk(&mut node, &first);
    booted.or_else(|e| Err(e.context(node.vm.last_words()?)))
}

/// Scriptlets run under emulation; machines of this architecture are booted with Debian's packages.
#[test]
fn a_tree_of_rpms_of_another_architecture_is_composed() -> Result<()> {
    let lab = Lab::open("x86_64")?;
    let dir = tempfile::tempdir_in(&lab.runs)?;
    let tree = Tree::new(&lab, "aarch64", dir.path())?;
    let commit = tree.compose(&[])?;
    look(&tree, &commit)?;
    // The gate is passed.
    tree.site.release(&commit)
}

/// To a next release and back.
fn walk(node: &mut Node, first: &CommitChecksum) -> Result<()> {
    let status = node.vm.wait_for_report(BOOT)?;
    expect_settled(&status, Slot::A, first)?;
    node.vm.wait_for_ssh(BOOT)?;
    let capabilities = node.vm.ask("getcap /usr/bin/ping")?;
    ensure!(
        capabilities.contains("cap_net_raw"),
        "ping has '{capabilities}'"
    );
    let url = node.web.url_for_guests();
    node.configure("90-test", &format!("[source]\nurl = \"{url}\""))?;
    let second = node
        .site
        .publish(first, "2", |tree| tree.write("usr/etc/motd", "2\n"))?;
    node.upgrade()?;
    node.expect(Slot::B, &second)?;
    node.vm.ssh("edge-ota rollback --reboot")?;
    node.expect(Slot::A, first).map(drop)
}

/// What dpkg would not have brought.
fn look(tree: &Tree, commit: &CommitChecksum) -> Result<()> {
    let packages = tree.print("sbom", commit, &["--format", "spdx"])?;
    ensure!(
        packages.contains("pkg:rpm/") && packages.contains(rpms::KERNEL),
        "the SBOM names no RPMs"
    );
    let sizes = tree.print("size", commit, &["--lines", "400"])?;
    ensure!(
        sizes.contains("    kernel-core\n"),
        "no size of the kernel: {sizes}"
    );
    Ok(())
}

struct Tree {
    site: Site,
    dir: PathBuf,
    updater: PathBuf,
    treefile: PathBuf,
    repository: Option<Web>,
}

impl Tree {
    fn new(lab: &Lab, board: &str, dir: &Path) -> Result<Self> {
        let arch = hardware::board(board)?.arch;
        let debs = debian_packages(lab, board, dir)?;
        let repository = rpms::repository(&debs.files, &arch.rpm)?;
        let web = Web::serve(&repository.join("repo"))?;
        let tree = dir.join("rpm");
        let treefiles = lab::workspace()?.join("treefiles");
        lab::write_treefile(&treefiles, &tree, &lab.ssh_key)?;
        let repo = rpms::repo_file(&repository, &web.url());
        fs::write(tree.join("test.repo"), repo)?;
        let treefile = tree.join("rpm-node.yaml");
        let text = fs::read_to_string(&treefile)?
            .replace("../../treefiles/", &format!("{}/", treefiles.display()));
        fs::write(
            &treefile,
            format!("{text}packages: [{}]\n", debs.names.join(", ")),
        )?;
        let site = Site {
            dir: dir.join("site"),
            board: board.to_owned(),
            keys: lab.site.keys.clone(),
            builder: lab.site.builder.clone(),
        };
        Ok(Self {
            site,
            dir: dir.to_owned(),
            treefile,
            updater: updater(&repository, &arch.rpm)?,
            repository: Some(web),
        })
    }

    fn compose(&self, more: &[&OsStr]) -> Result<CommitChecksum> {
        let where_to = self.where_to();
        let where_to: Vec<&OsStr> = where_to.iter().map(|path| path.as_os_str()).collect();
        let printed = self
            .command("compose", &self.treefile, &[&where_to[..], more].concat())?
            .text()?;
        Ok(printed.trim().parse()?)
    }

    fn where_to(&self) -> [PathBuf; 4] {
        let (repo, keys) = (self.site.repo(), self.site.keys.clone());
        ["--repo".into(), repo, "--keys".into(), keys]
    }

    /// The same time, and so the same commit.
    fn command(&self, command: &str, treefile: &Path, more: &[&OsStr]) -> Result<Cmd> {
        // Versions count on from the commit before.
        let arch = hardware::board(&self.site.board)?.arch.rpm;
        let refs = self
            .site
            .repo()
            .join(format!("refs/heads/edge/13/{arch}/rpm"));
        if refs.exists() {
            fs::remove_file(&refs)?;
        }
        Ok(Cmd::new(&self.site.builder)
            .arg(command)
            .args(["--board", &self.site.board, "--rpm"])
            .arg(&self.updater)
            .args(more)
            .arg(treefile)
            .current_dir(lab::workspace()?)
            .env("SOURCE_DATE_EPOCH", "1790000000"))
    }

    fn print(&self, command: &str, commit: &CommitChecksum, more: &[&str]) -> Result<String> {
        Cmd::new(&self.site.builder)
            .arg(command)
            .arg("--repo")
            .arg(self.site.repo())
            .args(["--commit", commit.as_str()])
            .args(more)
            .text()
    }

    /// With another key in the place of the repository's, nothing is installed.
    fn refuses_what_is_not_signed(&self) -> Result<()> {
        let dir = self.dir.join("strange");
        Cmd::new("cp")
            .arg("-r")
            .arg(self.treefile.parent().context("no folder")?)
            .arg(&dir)
            .run()?;
        let strange = rpms::strange_key(&dir)?;
        let repo = dir.join("test.repo");
        let text = fs::read_to_string(&repo)?;
        let lines: Vec<String> = text
            .lines()
            .map(|line| match line.starts_with("gpgkey=") {
                true => format!("gpgkey={}", strange.display()),
                false => line.to_owned(),
            })
            .collect();
        fs::write(&repo, lines.join("\n"))?;
        let name = self.treefile.file_name().context("no name")?;
        let where_to = self.where_to();
        let where_to: Vec<&OsStr> = where_to.iter().map(|path| path.as_os_str()).collect();
        let refused = self
            .command("compose", &dir.join(name), &where_to)?
            .complete()?;
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        ensure!(
            !refused.status.success() && said.contains("gpgkey"),
            "packages of another key were taken: {said}"
        );
        Ok(())
    }

    fn boot(&self, lab: Lab, commit: &CommitChecksum) -> Result<Node> {
        let image = self.dir.join("image.qcow2");
        self.site
            .edge_build("image")
            .args([
                "--board",
                &self.site.board,
                "--url",
                NOWHERE,
                "--format",
                "qcow2",
                "--commit",
            ])
            .arg(commit.as_str())
            .arg("--out")
            .arg(&image)
            .run()?;
        let dir = self.dir.join("machine");
        let board = hardware::board(&self.site.board)?;
        let vm = Vm::start(VmConfig::new(
            &board,
            dir.clone(),
            image,
            lab.ssh_key.clone(),
        )?)?;
        let site = self.site.copy_to(&self.dir.join("published"))?;
        Ok(Node {
            web: Web::serve(&site.dir)?,
            site,
            vm,
            dir,
            lab,
        })
    }
}

/// What `make rpm` left; of another architecture the one that the repository has.
fn updater(repository: &Path, arch: &str) -> Result<PathBuf> {
    if arch != std::env::consts::ARCH {
        return rpms::updater(repository);
    }
    let dir = lab::target_dir(&lab::workspace()?).join("rpm");
    let listed = fs::read_dir(&dir);
    let mut listed =
        listed.with_context(|| format!("listing {}: run 'make rpm' first", dir.display()))?;
    let first = listed.next().context("run 'make rpm' first")?;
    Ok(first?.path())
}

struct Debs {
    names: Vec<String>,
    files: Vec<PathBuf>,
}

/// What the test node is made of otherwise, in the cache.
fn debian_packages(lab: &Lab, board: &str, dir: &Path) -> Result<Debs> {
    let arch = hardware::board(board)?.arch.debian;
    let updater = lab::updater_package(&lab::workspace()?, &arch)?;
    let treefiles = lab::workspace()?.join("treefiles");
    let treefile = lab::write_treefile(&treefiles, &dir.join("debian"), &lab.ssh_key)?;
    let path = dir.join("debian.lock.json");
    Cmd::new(&lab.site.builder)
        .args(["lock", "--download", "--board", board, "--deb"])
        .arg(&updater)
        .args(lab::mirror_arguments(&arch))
        .arg("--out")
        .arg(&path)
        .arg(treefile)
        .current_dir(lab::workspace()?)
        .run()?;
    let lock = Lock::load(&path)?.context("there is no lock")?;
    let cache = std::env::var_os("EDGE_BUILD_CACHE").unwrap_or("/var/cache/edge-build".into());
    let file = |package: &Locked| Path::new(&cache).join(format!("debs/{}.deb", package.sha256));
    let is_kernel = |package: &&Locked| package.name.starts_with("linux-image-");
    let names = lock.packages.iter().filter(|package| !is_kernel(package));
    let all = lock.packages.iter().chain(&lock.firmware);
    Ok(Debs {
        names: names.map(|package| package.name.clone()).collect(),
        files: all.map(file).chain([updater]).collect(),
    })
}
