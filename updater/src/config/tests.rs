use std::os::unix::fs::symlink;

use super::*;

/// A root with these files below it.
fn root(files: &[(&str, &str)]) -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    for (path, text) in files {
        let path = root.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    root
}

#[test]
fn an_empty_system_has_defaults() {
    let settings = load(root(&[]).path()).unwrap();
    assert_eq!(settings.source.channel.as_str(), "stable");
    assert_eq!(settings.trial.tries.get(), 3);
    assert_eq!(settings.trial.deadline, Duration::from_secs(600));
    assert_eq!(settings.trial.retry_delay, Duration::from_secs(3600));
    assert!(settings.source.url().is_err());
}

#[test]
fn the_documented_example_is_read() {
    let document = include_str!("../../../docs/formats.md");
    let example: String = document
        .lines()
        .skip_while(|line| *line != "    [source]")
        .take_while(|line| line.starts_with("    "))
        .map(|line| format!("{}\n", line.trim_start()))
        .collect();
    let root = root(&[("usr/lib/edge-ota/config.d/10-example.toml", &example)]);
    let settings = load(root.path()).unwrap();
    assert_eq!(
        settings.source.url().unwrap().to_string(),
        "http://updates.example:8080/"
    );
    assert_eq!(settings.health.units[0].as_str(), "ssh.service");
    let defaults = Fragment::default().settings();
    assert_eq!(
        (settings.trial, settings.network),
        (defaults.trial, defaults.network)
    );
}

#[test]
fn later_folders_and_names_win() {
    let root = root(&[
        (
            "usr/lib/edge-ota/config.d/10-a.toml",
            "[trial]\ntries = 1\ndeadline = '1s'",
        ),
        ("usr/lib/edge-ota/config.d/50-b.toml", "[trial]\ntries = 2"),
        ("etc/edge-ota/config.d/50-b.toml", "[trial]\ntries = 4"),
        (
            "run/edge-ota/config.d/20-c.toml",
            "[trial]\ntries = 5\nretry_delay = '2min'",
        ),
        ("run/edge-ota/config.d/note.txt", "not for us"),
    ]);
    let trial = load(root.path()).unwrap().trial;
    assert_eq!(trial.tries.get(), 4);
    assert_eq!(trial.deadline, Duration::from_secs(1));
    assert_eq!(trial.retry_delay, Duration::from_secs(120));

    symlink(
        "/dev/null",
        root.path().join("run/edge-ota/config.d/50-b.toml"),
    )
    .unwrap();
    assert_eq!(load(root.path()).unwrap().trial.tries.get(), 5);
}

#[test]
fn an_error_names_file_line_and_key() {
    let check = |text: &str, expected: &str| {
        let root = root(&[("etc/edge-ota/config.d/90-x.toml", text)]);
        let error = load(root.path()).unwrap_err().to_string();
        assert!(error.contains("config.d/90-x.toml"), "{error}");
        assert!(error.contains(expected), "{text}: {error}");
        assert!(!error.contains('\n'), "{error}");
    };
    check("\n[source]\nurk = 1", "line 3: unknown field `urk`");
    check("[sauce]", "unknown field `sauce`");
    check("[trial]\ntries = 10", "line 2: tries must be 1 to 9");
    check("[trial]\ntries = 0", "tries must be 1 to 9");
    check("[trial]\ntries = 300", "line 2");
    check("[trial]\ndeadline = 'soon'", "'soon' is not a duration");
    check("[trial]\ndeadline = '0s'", "a duration of zero");
    check("[source]\nurl = 'ftp://updates.example'", "ftp is not http");
    check("[source]\nchannel = 'a/b'", "'a/b' is not a channel name");
    check("[health]\nunits = ['--now']", "'--now' is not a unit name");
    check("[health]\nunits = ['ssh']", "'ssh' is not a unit name");
    check("[trial", "line 1");
}

#[test]
fn a_dangling_fragment_is_an_error() {
    let root = root(&[("etc/edge-ota/config.d/10-a.toml", "")]);
    symlink(
        "/nowhere",
        root.path().join("etc/edge-ota/config.d/20-b.toml"),
    )
    .unwrap();
    let error = load(root.path()).unwrap_err().to_string();
    assert!(error.contains("20-b.toml"), "{error}");
}
