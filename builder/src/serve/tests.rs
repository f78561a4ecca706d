use std::net::TcpStream;
use std::os::unix::fs::symlink;

use super::*;

#[test]
fn ranges_follow_the_standard() {
    let part = |first, last| Range::Part { first, last };
    let table = [
        ("bytes=0-4", 10, part(0, 4)),
        ("bytes=5-", 10, part(5, 9)),
        ("bytes=-3", 10, part(7, 9)),
        ("bytes=-30", 10, part(0, 9)),
        ("bytes=0-99", 10, part(0, 9)),
        ("bytes=9-9", 10, part(9, 9)),
        ("bytes=10-", 10, Range::Outside),
        ("bytes=-0", 10, Range::Outside),
        ("bytes=0-", 0, Range::Outside),
        ("bytes=-1", 0, Range::Outside),
        ("bytes=5-4", 10, Range::Whole),
        ("bytes=0-1,3-4", 10, Range::Whole),
        ("bytes=-", 10, Range::Whole),
        ("lines=0-1", 10, Range::Whole),
        ("bytes=99999999999999999999-", 10, Range::Whole),
    ];
    for (text, size, expected) in table {
        assert_eq!(parse_range(text, size), expected, "{text} of {size}");
    }
}

#[test]
fn another_folder_takes_the_place_of_one() {
    let dir = tempfile::tempdir().unwrap();
    for (path, content) in [
        ("site/repo/f", "old"),
        ("site/g", "g"),
        ("other/repo/f", "new"),
    ] {
        let path = dir.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
    symlink("../../site/g", dir.path().join("other/repo/link")).unwrap();
    let root = dir.path().canonicalize().unwrap();
    let site = Site {
        root: root.join("site"),
        mounted: Some(("repo".to_owned(), root.join("other/repo"))),
    };
    let table = [
        ("/repo/f", 200),
        ("/g", 200),
        ("/repo/link", 404),
        ("/repo/../g", 404),
        ("/repository", 404),
    ];
    for (url, expected) in table {
        assert_eq!(reply(&site, url, None, None).status, expected, "{url}");
    }
    let (mut file, _) = open(&site, Path::new("repo/f")).unwrap();
    let mut content = String::new();
    file.read_to_string(&mut content).unwrap();
    assert_eq!(content, "new");
}

#[test]
fn nothing_outside_the_folder_is_served() {
    let dir = tempfile::tempdir().unwrap();
    let served = dir.path().join("served");
    fs::create_dir_all(served.join("sub")).unwrap();
    fs::write(dir.path().join("secret"), "secret").unwrap();
    fs::write(served.join("sub/a b"), "fine").unwrap();
    symlink("../secret", served.join("link")).unwrap();
    symlink("sub", served.join("inner")).unwrap();
    let site = Site {
        root: served.canonicalize().unwrap(),
        mounted: None,
    };
    let table = [
        ("/sub/a%20b", 200),
        ("/sub/a%20b?x#y", 200),
        ("/inner/a%20b", 200),
        ("//sub/a%20b", 200),
        ("/", 404),
        ("/sub", 404),
        ("/sub/none", 404),
        ("/link", 404),
        ("/../secret", 404),
        ("/sub/../../secret", 404),
        ("/%2e%2e/secret", 404),
        ("/..%2fsecret", 404),
        ("/sub/a%00", 404),
        ("/%zz", 404),
        ("/%2", 404),
        ("/%ff", 404),
    ];
    for (url, expected) in table {
        assert_eq!(reply(&site, url, None, None).status, expected, "{url}");
    }
}

/// The whole answer to one request.
fn ask(address: SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(
        stream,
        "{request}Host: updates.example\r\nConnection: close\r\n\r\n"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn files_are_served_whole_in_part_and_not_again() {
    let dir = tempfile::tempdir().unwrap();
    let large = "0123456789".repeat(10_000);
    fs::write(dir.path().join("f"), &large).unwrap();
    let serving = Serving::bind(dir.path(), 0).unwrap();
    assert_ne!(serving.address.port(), 0);
    thread::scope(|scope| {
        scope.spawn(|| serving.run());
        let whole = ask(serving.address, "GET /f HTTP/1.1\r\n");
        assert!(whole.starts_with("HTTP/1.1 200"), "{whole}");
        assert!(whole.contains("Content-Length: 100000\r\n"));
        assert!(whole.ends_with(&large));

        let head = ask(serving.address, "HEAD /f HTTP/1.1\r\n");
        assert!(head.contains("Content-Length: 100000\r\n"), "{head}");
        assert!(head.ends_with("\r\n\r\n"), "{head}");

        let part = ask(
            serving.address,
            "GET /f HTTP/1.1\r\nRange: bytes=99995-\r\n",
        );
        assert!(part.starts_with("HTTP/1.1 206"), "{part}");
        assert!(
            part.contains("Content-Range: bytes 99995-99999/100000\r\n"),
            "{part}"
        );
        assert!(part.ends_with("\r\n\r\n56789"), "{part}");

        let etag = head.lines().find_map(|l| l.strip_prefix("ETag: ")).unwrap();
        let again = format!("GET /f HTTP/1.1\r\nIf-None-Match: {etag}\r\n");
        assert!(ask(serving.address, &again).starts_with("HTTP/1.1 304"));
        fs::write(dir.path().join("new"), "new").unwrap();
        fs::rename(dir.path().join("new"), dir.path().join("f")).unwrap();
        assert!(ask(serving.address, &again).ends_with("\r\n\r\nnew"));

        assert!(ask(serving.address, "PUT /f HTTP/1.1\r\n").starts_with("HTTP/1.1 405"));
        serving.stop();
    });
}

#[test]
fn a_missing_folder_is_named() {
    let error = serve(Path::new("/nowhere"), 0, &mut Vec::new()).unwrap_err();
    assert!(
        format!("{error:#}").contains("serving /nowhere"),
        "{error:#}"
    );
}
