//! Where machines find the folder by HTTP.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

/// `http://host[:port][/path]`, without a slash at its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Base(String);

#[derive(Debug, Error, PartialEq, Eq)]
#[error("'{url}' is no address of a folder: {rule}")]
pub struct BadUrl {
    url: String,
    rule: &'static str,
}

impl Base {
    /// What comes before the path: `http://host:port`.
    pub fn server(&self) -> &str {
        let host = self.0.find("://").map_or(0, |at| at + 3);
        let rest = self.0.get(host..).unwrap_or_default();
        let end = rest.find('/').map_or(self.0.len(), |at| host + at);
        self.0.get(..end).unwrap_or_default()
    }

    /// `/path`, empty at the root of the server.
    pub fn path(&self) -> &str {
        self.0.get(self.server().len()..).unwrap_or_default()
    }

    /// `host`, as a server's configuration names it.
    pub fn host(&self) -> &str {
        let host = self.server().split("://").nth(1).unwrap_or_default();
        match host.rsplit_once(':') {
            Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
            _ => host,
        }
    }

    pub fn port(&self) -> &str {
        let after = self.server().rsplit_once(':').map(|(_, port)| port);
        let usual = match self.0.starts_with("https:") {
            true => "443",
            false => "80",
        };
        after
            .filter(|port| !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()))
            .unwrap_or(usual)
    }
}

impl FromStr for Base {
    type Err = BadUrl;

    fn from_str(text: &str) -> Result<Self, BadUrl> {
        let bad = |rule| {
            Err(BadUrl {
                url: text.to_owned(),
                rule,
            })
        };
        let rest = match text.split_once("://") {
            Some(("http" | "https", rest)) => rest,
            _ => return bad("it begins with http:// or https://"),
        };
        let url = text.trim_end_matches('/');
        if rest.trim_start_matches('/').is_empty() || rest.starts_with(['/', ':']) {
            return bad("it names no server");
        }
        if !url.bytes().all(is_plain) {
            return bad("it has letters, digits and -._~:/[]%@+ only, no query");
        }
        Ok(Self(url.to_owned()))
    }
}

/// What loaders' scripts and the kernel's command line take as it is.
fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~:/[]%@+".contains(&byte)
}

impl fmt::Display for Base {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_and_its_parts() {
        let check = |text: &str, server: &str, path: &str, host: &str, port: &str| {
            let base: Base = text.parse().unwrap();
            let parts = (base.server(), base.path(), base.host(), base.port());
            assert_eq!(parts, (server, path, host, port), "{text}");
        };
        check(
            "http://pxe.example/pxe/",
            "http://pxe.example",
            "/pxe",
            "pxe.example",
            "80",
        );
        check(
            "https://pxe.example",
            "https://pxe.example",
            "",
            "pxe.example",
            "443",
        );
        check(
            "http://10.0.0.1:8080/a/b",
            "http://10.0.0.1:8080",
            "/a/b",
            "10.0.0.1",
            "8080",
        );
        check(
            "http://[fd00::1]/x",
            "http://[fd00::1]",
            "/x",
            "[fd00::1]",
            "80",
        );
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for text in [
            "pxe.example/pxe",
            "tftp://pxe.example/",
            "http://",
            "http:///",
            "http://:80/",
            "http://a/?b=c",
            "http://a b/",
            "http://a/${b}",
            "http://a/'b'",
        ] {
            assert!(text.parse::<Base>().is_err(), "{text}");
        }
    }
}
