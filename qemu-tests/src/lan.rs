//! A network of a test's own: network and process namespaces that hold the test, its servers and its machine. Whatever
//! ends the test, nothing of them is left.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use edge_ota::cmd::Cmd;

use crate::lab::Lab;
use crate::vm::{Card, HOST};
use crate::wait;
use crate::web::Web;

/// The machine's end of the cable.
pub const TAP: &str = "edge-tap";

/// Names the folder of the case to the process inside.
const INSIDE: &str = "EDGE_TEST_LAN";

/// Runs the test of this name again, by itself in a network of its own: `prepare` outside, where mirrors are, `act`
/// inside. Both get a folder of the case, which stays when it fails.
pub fn case(
    test: &str,
    prepare: impl FnOnce(&Lab, &Path) -> Result<()>,
    act: impl FnOnce(&Path) -> Result<()>,
) -> Result<()> {
    if let Some(dir) = std::env::var_os(INSIDE) {
        plug_in()?;
        return act(Path::new(&dir));
    }
    let lab = Lab::open("x86_64")?;
    let dir = lab.runs.join(test);
    if dir.exists() {
        fs::remove_dir_all(&dir)?;
    }
    fs::create_dir_all(&dir)?;
    prepare(&lab, &dir)?;
    run_inside(test, &dir)?;
    fs::remove_dir_all(&dir).with_context(|| format!("removing {}", dir.display()))
}

fn run_inside(test: &str, dir: &Path) -> Result<()> {
    let output = Cmd::new("setpriv")
        .args(["--pdeathsig", "KILL", "unshare", "--net", "--pid", "--fork"])
        .args(["--kill-child", "--mount-proc"])
        .arg(std::env::current_exe().context("looking for this program")?)
        .args(["--exact", test, "--nocapture"])
        .env(INSIDE, dir)
        .complete()?;
    ensure!(
        output.status.success(),
        "{}\n{}\n--- all logs are in {}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
        dir.display()
    );
    Ok(())
}

/// The host has the address that it has in QEMU's own network.
fn plug_in() -> Result<()> {
    let ip = |line: &str| Cmd::new("ip").args(line.split(' ')).run();
    ip("link set lo up")?;
    ip(&format!("tuntap add dev {TAP} mode tap"))?;
    ip(&format!("address add {HOST}/24 dev {TAP}"))?;
    ip(&format!("link set {TAP} up"))
}

/// The folder of `edge-build pxe` behind dnsmasq and nginx, configured as its examples say.
pub struct Servers {
    dnsmasq: Child,
    pub web: Web,
    log: PathBuf,
}

/// Where [`Servers`] have the folder: what `--url` was.
pub fn url() -> String {
    format!("http://{HOST}/pxe")
}

impl Servers {
    /// DHCP, TFTP and HTTP; each card gets its address. `change` may edit the example for dnsmasq further.
    pub fn start(
        folder: &Path,
        dir: &Path,
        cards: &[Card],
        change: impl FnOnce(String) -> Result<String>,
    ) -> Result<Self> {
        let example = |name: &str| {
            let path = folder.join("examples").join(name);
            fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))
        };
        let nginx = replaced(&example("nginx.conf")?, &[("/srv/pxe/", &slashed(folder))])?;
        let web = Web::serve_as(&nginx, 80)?;
        let conf = change(replaced(
            &example("dnsmasq-dhcp.conf")?,
            &[
                ("interface=eth1", &format!("interface={TAP}")),
                ("192.0.2.100,192.0.2.200", "10.0.2.50,10.0.2.99"),
                (
                    "tftp-root=/srv/pxe",
                    &format!("tftp-root={}", folder.display()),
                ),
            ],
        )?)?;
        let (path, log) = (dir.join("dnsmasq.conf"), dir.join("dnsmasq.log"));
        fs::write(&path, conf + &ours(dir, cards))?;
        let dnsmasq = Cmd::new("dnsmasq")
            .args(["--keep-in-foreground", "--log-facility=-"])
            .arg(format!("--conf-file={}", path.display()))
            .spawn(Stdio::null(), Stdio::from(File::create(&log)?))?;
        let mut servers = Self { dnsmasq, web, log };
        servers.wait_until_they_answer()?;
        Ok(servers)
    }

    /// What dnsmasq has said.
    pub fn log(&self) -> Result<String> {
        fs::read_to_string(&self.log).context("reading dnsmasq's log")
    }

    fn wait_until_they_answer(&mut self) -> Result<()> {
        wait::until("dnsmasq", Duration::from_secs(20), || {
            if let Some(status) = self.dnsmasq.try_wait()? {
                bail!("dnsmasq ended ({status}): {}", self.log()?.trim());
            }
            Ok(self.log()?.contains("DHCP, IP range").then_some(()))
        })
    }
}

/// A card of this network by a number of its own.
pub fn card(number: u8) -> Card {
    Card {
        mac: format!("52:54:00:ed:9e:{number:02x}"),
        address: format!("10.0.2.{}", 50 + number),
    }
}

impl Drop for Servers {
    fn drop(&mut self) {
        // Both fail only for a process that has ended and been reaped.
        let _ = self.dnsmasq.kill();
        let _ = self.dnsmasq.wait();
    }
}

fn slashed(folder: &Path) -> String {
    format!("{}/", folder.display())
}

/// What no example says.
fn ours(dir: &Path, cards: &[Card]) -> String {
    let dir = dir.display();
    let hosts = cards
        .iter()
        .map(|card| format!("dhcp-host={},{}\n", card.mac, card.address));
    let hosts: String = hosts.collect();
    format!(
        "\nuser=root\npid-file={dir}/dnsmasq.pid\ndhcp-leasefile={dir}/leases\nlog-dhcp\n{hosts}"
    )
}

/// Each of them is in the text.
pub fn replaced(text: &str, all: &[(&str, &str)]) -> Result<String> {
    let mut text = text.to_owned();
    for (old, new) in all {
        ensure!(text.contains(old), "the example has no '{old}': {text}");
        text = text.replace(old, new);
    }
    Ok(text)
}
