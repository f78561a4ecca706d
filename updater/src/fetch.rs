//! Bytes in, with limits: from a web server, or from a folder such as a stick. Nothing that comes
//! from here is believed.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::{Duration, Instant};

use anyhow::Context;
use reqwest::blocking::{Client, Response};
use reqwest::header::{ETAG, IF_NONE_MATCH};
use reqwest::{StatusCode, Url, redirect};

const MAX_REDIRECTS: usize = 5;
const MAX_ETAG: usize = 256;
const CHUNK: usize = 64 * 1024;

/// Why nothing came. Only `Network` may pass by itself.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    #[error("fetching {url}: {reason}; trying again later may help")]
    Network { url: String, reason: String },
    #[error("fetching {url}: it is not there")]
    NotFound { url: String },
    #[error("fetching {url}: larger than the {cap} bytes allowed")]
    TooLarge { url: String, cap: u64 },
    #[error("fetching {url}: {reason}")]
    Refused { url: String, reason: String },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    pub connect: Duration,
    /// Without a byte for this long, the server has stalled.
    pub stall: Duration,
    /// For one file, however steadily it trickles.
    pub total: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(30),
            stall: Duration::from_secs(60),
            total: Duration::from_secs(900),
        }
    }
}

/// What holds `repo/`, `root/` and `channels/`: an `http(s)` or `file` URL, or a plain folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Location {
    Web(Url),
    Folder(PathBuf),
}

/// A [`Location`] ready to be read.
pub struct Source {
    location: Location,
    client: Client,
    limits: Limits,
}

#[derive(Debug, PartialEq, Eq)]
pub enum Answer {
    /// As it was when the server gave this ETag.
    Unchanged,
    Changed {
        bytes: Vec<u8>,
        etag: Option<String>,
    },
}

impl Source {
    pub fn new(location: Location, limits: Limits) -> anyhow::Result<Self> {
        // The blocking client applies `timeout` to the answer's head and to each read of its body.
        let client = Client::builder()
            .user_agent(concat!("edge-ota/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(limits.connect)
            .timeout(limits.stall)
            .redirect(redirect::Policy::custom(follow))
            .build()
            .context("preparing the web client")?;
        Ok(Self {
            location,
            client,
            limits,
        })
    }

    pub fn location(&self) -> &Location {
        &self.location
    }

    /// Reads the whole file at `path` below the location, of at most `cap` bytes.
    pub fn get(&self, path: &str, cap: u64) -> Result<Vec<u8>, FetchError> {
        match &self.location {
            Location::Folder(folder) => read_file(&folder.join(path), cap),
            Location::Web(base) => {
                let request = Request::new(base, path, cap, &self.limits)?;
                request.body(request.send(self.client.get(request.url.clone()))?)
            }
        }
    }

    /// Reads one file by its own URL, which may have a query.
    pub fn fetch_url(url: &Url, cap: u64, limits: Limits) -> anyhow::Result<Vec<u8>> {
        let request = Request {
            url: url.clone(),
            cap,
            total: limits.total,
            start: Instant::now(),
        };
        let source = Self::new(Location::Web(url.clone()), limits)?;
        let response = request.send(source.client.get(url.clone()))?;
        Ok(request.body(response)?)
    }

    /// As [`Source::get`]; `None` when there is no such file.
    pub fn get_if_there(&self, path: &str, cap: u64) -> Result<Option<Vec<u8>>, FetchError> {
        match self.get(path, cap) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(FetchError::NotFound { .. }) => Ok(None),
            Err(other) => Err(other),
        }
    }

    /// As [`Source::get`], with the ETag of the answer that the caller last acted upon, if any.
    pub fn get_if_changed(
        &self,
        path: &str,
        cap: u64,
        etag: Option<&str>,
    ) -> Result<Answer, FetchError> {
        let Location::Web(base) = &self.location else {
            let bytes = self.get(path, cap)?;
            return Ok(Answer::Changed { bytes, etag: None });
        };
        let request = Request::new(base, path, cap, &self.limits)?;
        let mut builder = self.client.get(request.url.clone());
        if let Some(etag) = etag {
            builder = builder.header(IF_NONE_MATCH, etag);
        }
        let response = request.send(builder)?;
        if etag.is_some() && response.status() == StatusCode::NOT_MODIFIED {
            return Ok(Answer::Unchanged);
        }
        let etag = etag_of(&response);
        let bytes = request.body(response)?;
        Ok(Answer::Changed { bytes, etag })
    }
}

/// The caller stores it, so a long one is as good as none.
fn etag_of(response: &Response) -> Option<String> {
    let etag = response.headers().get(ETAG)?.to_str().ok()?;
    (etag.len() <= MAX_ETAG).then(|| etag.to_owned())
}

/// One file on a web server.
struct Request {
    url: Url,
    cap: u64,
    total: Duration,
    start: Instant,
}

impl Request {
    fn new(base: &Url, path: &str, cap: u64, limits: &Limits) -> Result<Self, FetchError> {
        let url = format!("{}/{path}", base.as_str().trim_end_matches('/'));
        let url = Url::parse(&url).map_err(|e| FetchError::Refused {
            url: shown(base),
            reason: e.to_string(),
        })?;
        Ok(Self {
            url,
            cap,
            total: limits.total,
            start: Instant::now(),
        })
    }

    fn send(&self, builder: reqwest::blocking::RequestBuilder) -> Result<Response, FetchError> {
        let response = builder.send().map_err(|e| {
            if e.is_redirect() || e.is_builder() {
                self.refused(causes(&e))
            } else {
                self.network(causes(&e))
            }
        })?;
        match response.status() {
            StatusCode::OK | StatusCode::NOT_MODIFIED => Ok(response),
            // Buckets that may not be listed say 403 for what is not there.
            StatusCode::NOT_FOUND | StatusCode::GONE | StatusCode::FORBIDDEN => {
                Err(FetchError::NotFound {
                    url: shown(&self.url),
                })
            }
            status @ (StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS) => {
                Err(self.network(format!("the server says {status}")))
            }
            status if status.is_server_error() => {
                Err(self.network(format!("the server says {status}")))
            }
            status => Err(self.refused(format!("the server says {status}"))),
        }
    }

    fn body(&self, mut response: Response) -> Result<Vec<u8>, FetchError> {
        if response.status() != StatusCode::OK {
            return Err(self.refused(format!("the server says {}", response.status())));
        }
        if response.content_length().is_some_and(|n| n > self.cap) {
            return Err(self.too_large());
        }
        let mut bytes = Vec::new();
        let mut chunk = vec![0; CHUNK];
        loop {
            if self.start.elapsed() > self.total {
                return Err(self.network(format!("not done after {:?}", self.total)));
            }
            let n = match response.read(&mut chunk) {
                Ok(n) => n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) => return Err(self.network(causes(&e))),
            };
            if n == 0 {
                return Ok(bytes);
            }
            if bytes.len().saturating_add(n) as u64 > self.cap {
                return Err(self.too_large());
            }
            bytes.extend(chunk.iter().take(n));
        }
    }

    fn network(&self, reason: String) -> FetchError {
        FetchError::Network {
            url: shown(&self.url),
            reason,
        }
    }

    fn refused(&self, reason: String) -> FetchError {
        FetchError::Refused {
            url: shown(&self.url),
            reason,
        }
    }

    fn too_large(&self) -> FetchError {
        FetchError::TooLarge {
            url: shown(&self.url),
            cap: self.cap,
        }
    }
}

fn follow(attempt: redirect::Attempt<'_>) -> redirect::Action {
    if attempt.previous().len() > MAX_REDIRECTS {
        return attempt.error("too many redirects");
    }
    let from = attempt.previous().last().map_or("", Url::scheme);
    let to = attempt.url().scheme();
    if keeps_scheme(from, to) {
        return attempt.follow();
    }
    let refused = format!("a redirect from {from} to {to} is refused");
    attempt.error(refused)
}

fn keeps_scheme(from: &str, to: &str) -> bool {
    matches!((from, to), ("http" | "https", "https") | ("http", "http"))
}

fn read_file(path: &Path, cap: u64) -> Result<Vec<u8>, FetchError> {
    let url = path.display().to_string();
    let failed = |e: io::Error| match e.kind() {
        io::ErrorKind::NotFound => FetchError::NotFound { url: url.clone() },
        _ => FetchError::Refused {
            url: url.clone(),
            reason: e.to_string(),
        },
    };
    // A pipe would keep us waiting for ever.
    if !fs::metadata(path).map_err(failed)?.is_file() {
        let reason = "it is not a file".to_owned();
        return Err(FetchError::Refused { url, reason });
    }
    let mut bytes = Vec::new();
    let mut limited = File::open(path)
        .map_err(failed)?
        .take(cap.saturating_add(1));
    limited.read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > cap {
        return Err(FetchError::TooLarge { url, cap });
    }
    Ok(bytes)
}

/// An error with its causes on one line; reqwest's own text leaves them out and repeats the URL.
fn causes(error: &(dyn std::error::Error + 'static)) -> String {
    let texts: Vec<String> = std::iter::successors(error.source(), |e| e.source())
        .map(ToString::to_string)
        .collect();
    match texts.last() {
        Some(_) => texts.join(": "),
        None => error.to_string(),
    }
}

/// Without user name and password.
fn shown(url: &Url) -> String {
    let mut url = url.clone();
    // Only URLs that can't hold them refuse to have them removed.
    let _ = url.set_username("").and_then(|()| url.set_password(None));
    url.to_string()
}

impl FromStr for Location {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.starts_with('/') {
            return Ok(Location::Folder(text.into()));
        }
        let url = Url::parse(text).map_err(|e| format!("'{text}' is not a URL: {e}"))?;
        match url.scheme() {
            "file" => url
                .to_file_path()
                .map(Location::Folder)
                .map_err(|()| format!("'{text}' names another machine's file")),
            "http" | "https" if url.query().is_none() && url.fragment().is_none() => {
                Ok(Location::Web(url))
            }
            "http" | "https" => Err(format!("'{text}' must end with a path")),
            other => Err(format!("'{text}': {other} is not http, https or file")),
        }
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Location::Web(url) => f.write_str(&shown(url)),
            Location::Folder(folder) => folder.display().fmt(f),
        }
    }
}

#[cfg(test)]
mod tests;
