//! What an installation tells: lines on the console, and the same as JSON to whoever asked for it.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use reqwest::blocking::Client;
use reqwest::header::CONTENT_TYPE;
use serde::Serialize;

use crate::output;

/// For one report: nobody waits longer for a server that listens to it.
const PATIENCE: Duration = Duration::from_secs(5);

pub struct Report {
    to: Option<(Client, String)>,
    machine: Machine,
}

/// How a provisioning server tells machines apart.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Machine {
    #[serde(skip_serializing_if = "String::is_empty")]
    pub serial: String,
    /// Hardware addresses of its network cards.
    pub macs: Vec<String>,
}

#[derive(Serialize)]
struct Line<'a> {
    event: &'a str,
    detail: &'a str,
    #[serde(flatten)]
    machine: &'a Machine,
}

impl Report {
    pub fn new(url: Option<&str>, machine: Machine) -> Result<Self> {
        let client = || {
            let client = Client::builder()
                .timeout(PATIENCE)
                .connect_timeout(PATIENCE);
            client.build().context("preparing the web client")
        };
        let to = match url {
            None => None,
            Some(url) => Some((client()?, url.to_owned())),
        };
        Ok(Self { to, machine })
    }

    /// `event` is one word: `checking`, `installed`, `failed`.
    pub fn tell(&self, event: &str, detail: &str) {
        output::say(format_args!("edge-ota: {event}: {detail}"));
        let Some((client, url)) = &self.to else {
            return;
        };
        let line = Line {
            event,
            detail,
            machine: &self.machine,
        };
        // A report that is lost must not keep a machine from its system.
        if let Err(error) = post(client, url, &line) {
            output::say(format_args!("edge-ota: reporting to {url}: {error:#}"));
        }
    }
}

fn post(client: &Client, url: &str, line: &Line) -> Result<()> {
    let request = client.post(url).header(CONTENT_TYPE, "application/json");
    let answer = request.body(serde_json::to_string(line)?).send()?;
    answer.error_for_status()?;
    Ok(())
}

impl Machine {
    /// From `sys` below `root`.
    pub fn read(root: &Path) -> Self {
        let read = |path: &str| fs::read_to_string(root.join(path)).unwrap_or_default();
        let clean = |text: String| text.trim_matches(['\0', ' ', '\n']).to_owned();
        let serials = [
            "sys/class/dmi/id/product_serial",
            "sys/firmware/devicetree/base/serial-number",
        ];
        let mut serials = serials.map(|path| clean(read(path))).into_iter();
        let mut names: Vec<String> = fs::read_dir(root.join("sys/class/net"))
            .into_iter()
            .flatten()
            .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
            .collect();
        names.sort();
        let macs = names
            .iter()
            .map(|name| clean(read(&format!("sys/class/net/{name}/address"))));
        let real = |mac: &String| !mac.is_empty() && mac != "00:00:00:00:00:00";
        Self {
            serial: serials
                .find(|serial| !serial.is_empty())
                .unwrap_or_default(),
            macs: macs.filter(real).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;
    use std::thread;

    use super::*;

    #[test]
    fn a_machine_says_its_serial_number_and_its_cards() {
        let root = tempfile::tempdir().unwrap();
        let put = |path: &str, text: &str| {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        put("sys/firmware/devicetree/base/serial-number", "BBB-17\0");
        put("sys/class/net/eth0/address", "52:54:00:12:34:56\n");
        put("sys/class/net/lo/address", "00:00:00:00:00:00\n");
        let machine = Machine::read(root.path());
        assert_eq!(machine.serial, "BBB-17");
        assert_eq!(machine.macs, ["52:54:00:12:34:56"]);
    }

    #[test]
    fn reports_are_posted_and_a_server_that_is_gone_is_no_error() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/report", listener.local_addr().unwrap());
        let server = thread::spawn(move || {
            let (mut peer, _) = listener.accept().unwrap();
            let mut bytes = vec![0; 4096];
            let mut text = String::new();
            while !text.contains("52:54") {
                let n = peer.read(&mut bytes).unwrap();
                text.push_str(std::str::from_utf8(&bytes[..n]).unwrap());
            }
            peer.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").unwrap();
            text
        });
        let machine = Machine {
            serial: "S".into(),
            macs: vec!["52:54".into()],
        };
        let report = Report::new(Some(&url), machine).unwrap();
        report.tell("installed", "13.1");
        let text = server.join().unwrap();
        assert!(text.starts_with("POST /report "), "{text}");
        assert!(
            text.contains(r#"{"event":"installed","detail":"13.1","serial":"S","macs":["52:54"]}"#),
            "{text}"
        );
        report.tell("installed", "13.1");
    }
}
