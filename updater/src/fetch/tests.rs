use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;

use super::*;

const CAP: u64 = 1000;

fn limits(stall: u64, total: u64) -> Limits {
    Limits {
        connect: Duration::from_secs(5),
        stall: Duration::from_millis(stall),
        total: Duration::from_millis(total),
    }
}

/// Answers each request by `answer`, which gets the head of the request, on a free port. Each
/// connection is for one request; an answer that another one follows must say so.
fn server(answer: impl Fn(&str, &mut TcpStream) -> io::Result<()> + Send + 'static) -> Location {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let mut stream = stream;
            let head = read_head(&stream);
            // The client hangs up on what it refuses.
            let _ = answer(&head, &mut stream);
        }
    });
    format!("http://{address}/base/").parse().unwrap()
}

fn read_head(stream: &TcpStream) -> String {
    let lines = BufReader::new(stream).lines().map_while(Result::ok);
    let head: Vec<_> = lines.take_while(|l| !l.is_empty()).collect();
    head.join("\n")
}

fn get(location: Location, limits: Limits) -> Result<Vec<u8>, FetchError> {
    Source::new(location, limits)
        .unwrap()
        .get("channels/stable/x86_64", CAP)
}

#[test]
fn a_file_is_read_from_below_the_base() {
    let location = server(|head, to| {
        assert!(
            head.starts_with("GET /base/channels/stable/x86_64 HTTP/1.1"),
            "{head}"
        );
        to.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")
    });
    assert_eq!(get(location, limits(5000, 5000)).unwrap(), b"hello");
}

#[test]
fn statuses_have_their_classes() {
    let check = |status: &'static str, class: fn(&FetchError) -> bool| {
        let location =
            server(move |_, to| write!(to, "HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n"));
        let error = get(location, limits(5000, 5000)).unwrap_err();
        assert!(class(&error), "{status}: {error}");
    };
    check("404 Not Found", |e| {
        matches!(e, FetchError::NotFound { .. })
    });
    check("403 Forbidden", |e| {
        matches!(e, FetchError::NotFound { .. })
    });
    check("503 Busy", |e| matches!(e, FetchError::Network { .. }));
    check("429 Too Many", |e| matches!(e, FetchError::Network { .. }));
    check("401 Who", |e| matches!(e, FetchError::Refused { .. }));
    check("206 Partial", |e| matches!(e, FetchError::Refused { .. }));
    check("304 Not Modified", |e| {
        matches!(e, FetchError::Refused { .. })
    });
}

#[test]
fn an_endless_body_ends_at_the_cap() {
    let endless = server(|_, to| {
        to.write_all(b"HTTP/1.1 200 OK\r\n\r\n")?;
        loop {
            to.write_all(&[b'x'; 4096])?;
        }
    });
    let error = get(endless, limits(5000, 60_000)).unwrap_err();
    assert!(
        matches!(error, FetchError::TooLarge { cap: CAP, .. }),
        "{error}"
    );
    let announced =
        server(|_, to| to.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 5000000000\r\n\r\n"));
    let error = get(announced, limits(5000, 60_000)).unwrap_err();
    assert!(matches!(error, FetchError::TooLarge { .. }), "{error}");
}

#[test]
fn the_cap_itself_is_allowed() {
    let location = server(|_, to| {
        to.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")?;
        to.write_all(&[b'x'; 1000])
    });
    assert_eq!(get(location, limits(5000, 5000)).unwrap().len(), 1000);
}

#[test]
fn a_cut_body_is_an_error() {
    let location =
        server(|_, to| to.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello"));
    let error = get(location, limits(5000, 5000)).unwrap_err();
    assert!(matches!(error, FetchError::Network { .. }), "{error}");
}

#[test]
fn silence_ends_at_the_stall_limit() {
    for head in [
        "",
        "HTTP/1.1 200 OK\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab",
    ] {
        let location = server(move |_, to| {
            to.write_all(head.as_bytes())?;
            // Until the client gives up.
            to.read(&mut [0; 1]).map(drop)
        });
        let error = get(location, limits(100, 60_000)).unwrap_err();
        assert!(
            matches!(error, FetchError::Network { .. }),
            "{head:?}: {error}"
        );
        assert!(error.to_string().contains("timed out"), "{error}");
    }
}

#[test]
fn a_trickle_ends_at_the_total_limit() {
    let location = server(|_, to| {
        to.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\n")?;
        for _ in 0..900 {
            to.write_all(b"x")?;
            thread::park_timeout(Duration::from_millis(20));
        }
        Ok(())
    });
    let error = get(location, limits(60_000, 200)).unwrap_err();
    assert!(error.to_string().contains("not done after"), "{error}");
}

#[test]
fn redirects_stay_on_their_scheme() {
    let target = server(|_, to| to.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"));
    let check = |to: String, expected: Result<&[u8], &str>| {
        let location = server(move |_, stream| {
            write!(
                stream,
                "HTTP/1.1 302 Found\r\nConnection: close\r\nLocation: {to}\r\nContent-Length: 0\r\n\r\n"
            )
        });
        let found = get(location, limits(5000, 5000));
        match (&found, expected) {
            (Ok(found), Ok(bytes)) if found == bytes => {}
            (Err(e @ FetchError::Refused { .. }), Err(text)) if e.to_string().contains(text) => {}
            _ => panic!("{found:?}, expected {expected:?}"),
        }
    };
    check(target.to_string(), Ok(b"ok"));
    check("/loop".to_owned(), Err("too many redirects"));
    check(
        "ftp://updates.example/".to_owned(),
        Err("from http to ftp is refused"),
    );
}

#[test]
fn a_redirect_from_https_to_http_is_refused() {
    let check = |from: &str, to: &str, expected: bool| {
        assert_eq!(keeps_scheme(from, to), expected, "{from} to {to}");
    };
    check("https", "http", false);
    check("https", "https", true);
    check("http", "https", true);
    check("http", "http", true);
    check("https", "file", false);
}

#[test]
fn an_etag_is_sent_and_heeded() {
    let location = server(|head, to| {
        if head.to_lowercase().contains("if-none-match: \"1\"") {
            to.write_all(b"HTTP/1.1 304 Not Modified\r\nConnection: close\r\nETag: \"1\"\r\n\r\n")
        } else {
            to.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\nETag: \"1\"\r\nContent-Length: 2\r\n\r\nhi")
        }
    });
    let source = Source::new(location, limits(5000, 5000)).unwrap();
    let first = source.get_if_changed("m", CAP, None).unwrap();
    let etag = Some("\"1\"".to_owned());
    assert_eq!(
        first,
        Answer::Changed {
            bytes: b"hi".to_vec(),
            etag
        }
    );
    let second = source.get_if_changed("m", CAP, Some("\"1\"")).unwrap();
    assert_eq!(second, Answer::Unchanged);
}

#[test]
fn a_captive_portal_fails_at_the_envelope() {
    use crate::signed::{Domain, Envelope};
    let location = server(|_, to| {
        let page = "<!DOCTYPE html><html>Log in</html>";
        write!(
            to,
            "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{page}",
            page.len()
        )
    });
    let page = get(location, limits(5000, 5000)).unwrap();
    let error = Envelope::parse(Domain::Manifest, &page).unwrap_err();
    assert!(error.to_string().contains("captive portal"), "{error}");
}

#[test]
fn nobody_listening_is_worth_another_try() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let location = format!("http://name:secret@{}", listener.local_addr().unwrap());
    drop(listener);
    let error = get(location.parse().unwrap(), limits(5000, 5000)).unwrap_err();
    assert!(matches!(error, FetchError::Network { .. }), "{error}");
    assert!(!error.to_string().contains("secret"), "{error}");
}

#[test]
fn folders_are_read_alike() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir_all(dir.path().join("root")).unwrap();
    fs::write(dir.path().join("root/1.root"), [b'x'; 1000]).unwrap();
    fs::write(dir.path().join("large"), [b'x'; 1001]).unwrap();
    for text in [
        dir.path().display().to_string(),
        format!("file://{}", dir.path().display()),
    ] {
        let source = Source::new(text.parse().unwrap(), limits(1, 1)).unwrap();
        assert_eq!(source.get("root/1.root", CAP).unwrap().len(), 1000);
        assert_eq!(source.get_if_there("root/2.root", CAP).unwrap(), None);
        let error = source.get("large", CAP).unwrap_err();
        assert!(matches!(error, FetchError::TooLarge { .. }), "{error}");
        let error = source.get("root", CAP).unwrap_err();
        assert!(matches!(error, FetchError::Refused { .. }), "{error}");
    }
}

#[test]
fn locations_are_urls_or_folders() {
    let check = |text: &str, expected: Option<&str>| {
        let found = text.parse::<Location>().ok().map(|l| l.to_string());
        assert_eq!(found.as_deref(), expected, "{text}");
    };
    check(
        "http://updates.example:8080",
        Some("http://updates.example:8080/"),
    );
    check(
        "https://u:p@updates.example/a",
        Some("https://updates.example/a"),
    );
    check("/run/media/stick", Some("/run/media/stick"));
    check("file:///run/media/stick", Some("/run/media/stick"));
    check("ftp://updates.example", None);
    check("http://updates.example/?x", None);
    check("updates", None);
    check("", None);
}
