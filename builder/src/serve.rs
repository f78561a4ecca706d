//! A small web server for development: files of one folder, on loopback.
//!
//! tiny_http has had no release since 2022, but is synchronous, small, and enough for loopback;
//! devices in the field are served by any real web server.

use std::fs::{self, File, Metadata};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};
use std::thread;

use anyhow::{Context, Result};
use tiny_http::{Header, Method, Request, Response, Server, StatusCode};

const WORKERS: usize = 8;

pub struct Serving {
    server: Server,
    site: Site,
    address: SocketAddr,
}

/// A folder, all links in its path followed, and maybe another one in the place of a folder of it.
struct Site {
    root: PathBuf,
    mounted: Option<(String, PathBuf)>,
}

/// Serves `dir` on loopback until the program is interrupted. Port 0 takes a free one. The first
/// line on `out` is the URL.
pub fn serve(dir: &Path, port: u16, out: &mut impl Write) -> Result<()> {
    let serving = Serving::bind(dir, port)?;
    writeln!(out, "{}", serving.url())
        .and_then(|()| out.flush())
        .context("printing the URL")?;
    serving.run();
    Ok(())
}

impl Serving {
    pub fn bind(dir: &Path, port: u16) -> Result<Self> {
        let root = canonical(dir)?;
        Self::bind_site(
            Site {
                root,
                mounted: None,
            },
            port,
        )
    }

    /// As [`Serving::bind`], with `other` as the folder `name` of `dir`.
    pub fn bind_with(dir: &Path, name: &str, other: &Path, port: u16) -> Result<Self> {
        let site = Site {
            root: canonical(dir)?,
            mounted: Some((name.to_owned(), canonical(other)?)),
        };
        Self::bind_site(site, port)
    }

    fn bind_site(site: Site, port: u16) -> Result<Self> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let server = Server::http(address)
            .map_err(|e| anyhow::anyhow!("{e}"))
            .with_context(|| format!("listening on {address}"))?;
        let address = server.server_addr().to_ip().unwrap_or(address);
        Ok(Self {
            server,
            site,
            address,
        })
    }

    pub fn port(&self) -> u16 {
        self.address.port()
    }

    pub fn url(&self) -> String {
        format!("http://{}/", self.address)
    }

    /// Answers until [`Serving::stop`].
    pub fn run(&self) {
        thread::scope(|scope| {
            for _ in 0..WORKERS {
                scope.spawn(|| {
                    while let Ok(request) = self.server.recv() {
                        respond(&self.site, request);
                    }
                });
            }
        });
    }

    pub fn stop(&self) {
        for _ in 0..WORKERS {
            self.server.unblock();
        }
    }
}

fn canonical(dir: &Path) -> Result<PathBuf> {
    dir.canonicalize()
        .with_context(|| format!("serving {}", dir.display()))
}

/// What is sent, before any of it is.
#[derive(Debug)]
struct Reply {
    status: u16,
    headers: Vec<(&'static str, String)>,
    body: Body,
}

#[derive(Debug)]
enum Body {
    Text(&'static str),
    Part { file: File, len: u64 },
}

fn respond(site: &Site, request: Request) {
    let reply = match request.method() {
        Method::Get | Method::Head => {
            let header = |name| header(&request, name);
            let (none_match, range) = (header("If-None-Match"), header("Range"));
            reply(site, request.url(), none_match.as_deref(), range.as_deref())
        }
        _ => Reply::text(405, "only GET and HEAD"),
    };
    let line = format!("{} {} {}", reply.status, request.method(), request.url());
    // A client that hangs up is no concern of the server.
    if let Err(e) = reply.send(request) {
        eprintln!("{line}: {e}");
    }
}

impl Reply {
    fn text(status: u16, text: &'static str) -> Self {
        Self {
            status,
            headers: Vec::new(),
            body: Body::Text(text),
        }
    }

    fn send(self, request: Request) -> io::Result<()> {
        let headers = self.headers.iter();
        let headers = headers
            .filter_map(|(name, value)| Header::from_bytes(*name, value.as_bytes()).ok())
            .collect();
        let (reader, len): (Box<dyn Read + Send>, u64) = match self.body {
            Body::Text(text) => (Box::new(text.as_bytes()), text.len() as u64),
            Body::Part { file, len } => (Box::new(file.take(len)), len),
        };
        let len = usize::try_from(len).map_err(io::Error::other)?;
        let response = Response::new(StatusCode(self.status), headers, reader, Some(len), None);
        // With chunks the client would not learn the length.
        request.respond(response.with_chunked_threshold(usize::MAX))
    }
}

fn reply(site: &Site, url: &str, none_match: Option<&str>, range: Option<&str>) -> Reply {
    let Some((file, metadata)) = relative(url).and_then(|path| open(site, &path)) else {
        return Reply::text(404, "not here");
    };
    let etag = etag(&metadata);
    if none_match.is_some_and(|list| list == "*" || list.split(',').any(|e| e.trim() == etag)) {
        let headers = vec![("ETag", etag)];
        return Reply {
            headers,
            ..Reply::text(304, "")
        };
    }
    let size = metadata.len();
    let headers = vec![
        ("ETag", etag),
        ("Accept-Ranges", "bytes".to_owned()),
        ("Content-Type", "application/octet-stream".to_owned()),
    ];
    match range.map_or(Range::Whole, |range| parse_range(range, size)) {
        Range::Whole => Reply {
            status: 200,
            headers,
            body: Body::Part { file, len: size },
        },
        Range::Part { first, last } => part(file, first, last, size, headers),
        Range::Outside => Reply {
            headers: vec![("Content-Range", format!("bytes */{size}"))],
            ..Reply::text(416, "no such range")
        },
    }
}

fn part(
    mut file: File,
    first: u64,
    last: u64,
    size: u64,
    mut headers: Vec<(&'static str, String)>,
) -> Reply {
    if file.seek(SeekFrom::Start(first)).is_err() {
        return Reply::text(500, "the file can't be read");
    }
    headers.push(("Content-Range", format!("bytes {first}-{last}/{size}")));
    let len = last - first + 1;
    Reply {
        status: 206,
        headers,
        body: Body::Part { file, len },
    }
}

fn header(request: &Request, name: &'static str) -> Option<String> {
    let found = request.headers().iter().find(|h| h.field.equiv(name))?;
    Some(found.value.to_string())
}

/// The path that a URL names, if it has nothing but plain parts.
fn relative(url: &str) -> Option<PathBuf> {
    let path = url.split(['?', '#']).next()?;
    let path = PathBuf::from(decode(path.trim_start_matches('/'))?);
    let plain = path.components().all(|c| matches!(c, Component::Normal(_)));
    plain.then_some(path)
}

/// Undoes `%2f` and its like.
fn decode(text: &str) -> Option<String> {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let mut digit = || char::from(rest.next()?).to_digit(16);
        let value = digit()? * 16 + digit()?;
        bytes.push(u8::try_from(value).ok()?);
    }
    String::from_utf8(bytes).ok()
}

/// A plain file that lies below its folder also after its links are followed.
fn open(site: &Site, path: &Path) -> Option<(File, Metadata)> {
    let mounted = site.mounted.as_ref();
    let inside = mounted.and_then(|(name, dir)| Some((dir, path.strip_prefix(name).ok()?)));
    let (root, path) = inside.unwrap_or((&site.root, path));
    let path = root.join(path).canonicalize().ok()?;
    if !path.starts_with(root) || !fs::metadata(&path).ok()?.is_file() {
        return None;
    }
    let file = File::open(path).ok()?;
    let metadata = file.metadata().ok()?;
    Some((file, metadata))
}

/// Another one for each renamed file, also within one tick of the clock.
fn etag(metadata: &Metadata) -> String {
    let (s, ns) = (metadata.mtime(), metadata.mtime_nsec());
    format!("\"{:x}-{:x}-{s:x}-{ns:x}\"", metadata.ino(), metadata.len())
}

#[derive(Debug, PartialEq, Eq)]
enum Range {
    Whole,
    /// Both ends belong to it.
    Part {
        first: u64,
        last: u64,
    },
    Outside,
}

/// One range is served; what is not understood, or several, gives the whole file (RFC 9110, 14.2).
fn parse_range(text: &str, size: u64) -> Range {
    let parsed = || -> Option<(Option<u64>, Option<u64>)> {
        let (first, last) = text.strip_prefix("bytes=")?.trim().split_once('-')?;
        let number = |s: &str| match s {
            "" => Some(None),
            _ => s.parse().ok().map(Some),
        };
        Some((number(first)?, number(last)?))
    };
    let end = size.saturating_sub(1);
    match parsed() {
        Some((Some(first), last)) if last.is_none_or(|last| first <= last) => {
            let last = last.unwrap_or(end).min(end);
            if first < size {
                Range::Part { first, last }
            } else {
                Range::Outside
            }
        }
        Some((None, Some(0))) => Range::Outside,
        Some((None, Some(_))) if size == 0 => Range::Outside,
        Some((None, Some(n))) => Range::Part {
            first: size.saturating_sub(n),
            last: end,
        },
        _ => Range::Whole,
    }
}

#[cfg(test)]
mod tests;
