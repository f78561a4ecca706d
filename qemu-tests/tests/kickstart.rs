//! What a kickstart file says of network, users and services is what a machine then has, and keeps.

use anyhow::{Context, Result, bail, ensure};
use edge_ota::kickstart::etc::{self, Content, Image};
use edge_ota::kickstart::{Kickstart, parse};
use edge_ota::types::Slot;
use qemu_tests::node::{Node, case};
use qemu_tests::vm::Vm;

/// The addresses are those of QEMU's user network.
const TEXT: &str = "\
network --device=MAC --bootproto=static --ip=10.0.2.15 --netmask=255.255.255.0 --gateway=10.0.2.2 \
--nameserver=10.0.2.3 --noipv6 --hostname=node7.site.example
timezone UTC --utc
timesource --ntp-server=10.0.2.2
user --name=admin --groups=sudo,ops(2000) --gecos=\"An Admin\"
sshkey --username=admin \"KEY\"
services --enabled=debug-shell --disabled=systemd-timesyncd
";

#[test]
fn a_kickstart_makes_the_node_it_says() -> Result<()> {
    case("kickstart", |node| {
        let base = node.base();
        let kickstart = read(node)?;
        change(&node.vm, &kickstart)?;
        let boot = node.vm.boot_id()?;
        node.vm.ssh("systemctl reboot")?;
        node.expect(Slot::A, &base)?;
        ensure!(node.vm.boot_id()? != boot, "it did not reboot");
        check(node)?;

        let next = node.site.publish(&base, "2", |tree| {
            tree.write("usr/share/edge-test/release", "2")
        })?;
        node.upgrade()?;
        node.expect(Slot::B, &next)?;
        check(node)
    })
}

fn read(node: &Node) -> Result<Kickstart> {
    let public = std::fs::read_to_string(node.lab.ssh_key.with_extension("pub"))?;
    let mac = node.vm.ask("cat /sys/class/net/e*/address")?;
    let text = TEXT.replace("KEY", public.trim()).replace("MAC", &mac);
    Ok(parse("test.ks", &text, &mut |_| {
        bail!("nothing is included")
    })?)
}

fn change(vm: &Vm, kickstart: &Kickstart) -> Result<()> {
    let image = Image {
        read: &|path| {
            let output = vm.ssh(&format!("cat /{path}"))?;
            let text = String::from_utf8(output.stdout).context("not a text")?;
            Ok(output.status.success().then_some(text))
        },
        has: &|path| matches!(vm.exit_code(&format!("test -e /{path}")), Ok(0)),
    };
    let changes = etc::changes(kickstart, &image, None)?;
    ensure!(changes.notes.is_empty(), "{:?}", changes.notes);
    for (path, content) in &changes.files {
        let at = format!("/etc/{path}");
        vm.ask(&match content {
            Content::Link(target) => {
                format!("mkdir -p $(dirname {at}) && ln -sfn {target} {at}")
            }
            // The owner and mode of a file that is there stay.
            Content::New { text, .. } | Content::Edited(text) => {
                format!("mkdir -p $(dirname {at}) && cat > {at} <<'EOF'\n{text}EOF")
            }
        })?;
    }
    Ok(())
}

fn check(node: &Node) -> Result<()> {
    let table = [
        ("hostname", "node7.site.example"),
        (
            "ip -4 -o address show scope global | awk '{print $4, ($0 ~ /dynamic/)}'",
            "10.0.2.15/24 0",
        ),
        (
            "ip -4 route show default | cut -d' ' -f1-3",
            "default via 10.0.2.2",
        ),
        ("ip -6 -o address show scope link | wc -l", "0"),
        ("grep ^NTP= /etc/systemd/timesyncd.conf.d/*", "NTP=10.0.2.2"),
        ("systemctl is-enabled systemd-timesyncd", "masked"),
        ("systemctl is-active debug-shell", "active"),
        ("stat -c '%U %G %a' /etc/shadow", "root shadow 640"),
    ];
    for (line, expected) in table {
        // Of a unit that is not active the words are the answer, not the exit code.
        let said = node.vm.ask(&format!("{line} || true"))?;
        ensure!(said == expected, "'{line}' says '{said}', not '{expected}'");
    }
    let said = node
        .vm
        .ask_as("admin", "id -nG; stat -c %a .; echo $SHELL")?;
    ensure!(
        said == "admin sudo ops\n700\n/bin/bash",
        "the user is told '{said}'"
    );
    Ok(())
}
