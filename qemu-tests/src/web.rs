//! A real web server on the loopback.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use edge_ota::cmd::Cmd;
use tempfile::TempDir;

use crate::vm::{self, HOST};
use crate::wait;

/// nginx over one folder; it ends with this value.
pub struct Web {
    process: Child,
    address: &'static str,
    port: u16,
    work: TempDir,
}

const LOOPBACK: &str = "127.0.0.1";

impl Web {
    pub fn serve(site: &Path) -> Result<Self> {
        let port = vm::free_port()?;
        Self::start(LOOPBACK, port, &server(LOOPBACK, port, site))
    }

    /// On the network of [`crate::lan`], where guests find it at the same address.
    pub fn serve_lan(site: &Path) -> Result<Self> {
        let port = vm::free_port()?;
        Self::start(HOST, port, &server(HOST, port, site))
    }

    /// What a configuration of its own describes, which listens on this port of any address.
    pub fn serve_as(server: &str, port: u16) -> Result<Self> {
        Self::start(LOOPBACK, port, server)
    }

    fn start(address: &'static str, port: u16, server: &str) -> Result<Self> {
        let work = tempfile::tempdir()?;
        let conf = work.path().join("nginx.conf");
        fs::write(&conf, configuration(server, work.path()))?;
        let log = File::create(work.path().join("stderr.log"))?;
        let process = Cmd::new("nginx")
            .arg("-p")
            .arg(work.path())
            .arg("-c")
            .arg(&conf)
            .spawn(Stdio::null(), Stdio::from(log))?;
        let mut web = Self {
            process,
            address,
            port,
            work,
        };
        web.wait_until_it_answers()?;
        Ok(web)
    }

    /// Where the guests find it.
    pub fn url_for_guests(&self) -> String {
        format!("http://{HOST}:{}", self.port)
    }

    pub fn url(&self) -> String {
        format!("http://{}:{}", self.address, self.port)
    }

    /// One line for each request so far.
    pub fn requests(&self) -> Result<Vec<String>> {
        let text = fs::read_to_string(self.work.path().join("access.log"))
            .context("reading nginx's log")?;
        Ok(text.lines().map(str::to_owned).collect())
    }

    fn wait_until_it_answers(&mut self) -> Result<()> {
        wait::until("answer of nginx", Duration::from_secs(20), || {
            if let Some(status) = self.process.try_wait()? {
                bail!(
                    "nginx ended ({status}): {}",
                    fs::read_to_string(self.work.path().join("stderr.log"))?.trim()
                );
            }
            Ok(std::net::TcpStream::connect((self.address, self.port))
                .ok()
                .map(drop))
        })
    }
}

impl Drop for Web {
    fn drop(&mut self) {
        // Both fail only for a process that has ended and been reaped.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// One process in the foreground, so that ending the child ends the server.
fn configuration(server: &str, work: &Path) -> String {
    let work = work.display();
    format!(
        "user root;\ndaemon off;\nmaster_process off;\npid {work}/pid;\nerror_log {work}/error.log;\nevents {{}}\n\
         http {{\n  access_log {work}/access.log;\n  default_type application/octet-stream;\n  sendfile on;\n  \
         client_body_temp_path {work}/body;\n  proxy_temp_path {work}/proxy;\n  fastcgi_temp_path {work}/fastcgi;\n  \
         uwsgi_temp_path {work}/uwsgi;\n  scgi_temp_path {work}/scgi;\n  \
         {server}}}\n"
    )
}

fn server(address: &str, port: u16, site: &Path) -> String {
    let site = site.display();
    format!("server {{\n    listen {address}:{port};\n    root {site};\n  }}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn serves_a_folder() {
        let site = tempfile::tempdir().unwrap();
        fs::write(site.path().join("hello"), "world").unwrap();
        let web = Web::serve(site.path()).unwrap();
        let mut stream = std::net::TcpStream::connect(("127.0.0.1", web.port)).unwrap();
        std::io::Write::write_all(&mut stream, b"GET /hello HTTP/1.0\r\n\r\n").unwrap();
        let mut answer = String::new();
        std::io::Read::read_to_string(&mut stream, &mut answer).unwrap();
        assert!(answer.ends_with("world"), "{answer}");
        assert_eq!(web.requests().unwrap().len(), 1);
    }
}
