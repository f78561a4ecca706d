use anyhow::bail;

use super::*;

const DELAY: Duration = Duration::from_secs(3600);

fn commit(digit: &str) -> CommitChecksum {
    digit.repeat(64).parse().unwrap()
}

fn with_sequence(sequence: u64) -> State {
    State {
        sequence: Sequence(sequence),
        ..State::default()
    }
}

#[test]
fn what_is_saved_is_loaded() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().join("state");
    assert_eq!(load(&dir).state, State::default());
    assert_eq!(load(&dir).warning, None);
    let mut state = with_sequence(7);
    state.reject(commit("a"), "health check 10-net failed".to_owned(), 5);
    state.etag = Some(Etag {
        url: "http://updates.example/".to_owned(),
        value: "\"1\"".to_owned(),
    });
    state.staged = Some(Staged {
        commit: commit("b"),
        version: "13.1".to_owned(),
        sequence: Sequence(8),
        slot: Slot::B,
        deployment: format!("{}.0", commit("b")),
        etc: "x".to_owned(),
    });
    save(&dir, &state).unwrap();
    assert_eq!(load(&dir).state, state);
    assert_eq!(load(&dir).warning, None);
    assert_eq!(state.ready(), state.staged.as_ref());
    // The slot is being written.
    if let Some(staged) = &mut state.staged {
        staged.deployment.clear();
    }
    assert_eq!(state.ready(), None);
}

#[test]
fn a_cut_at_any_write_leaves_old_or_new() {
    for first in [State::default(), with_sequence(1)] {
        for failing in 0..=2 {
            let dir = tempfile::tempdir().unwrap();
            if first != State::default() {
                save(dir.path(), &first).unwrap();
            }
            let mut writes = 0;
            let outcome = save_by(dir.path(), &with_sequence(2), |path, bytes| {
                writes += 1;
                if writes > failing {
                    bail!("power cut");
                }
                durable::write(path, bytes)
            });
            assert_eq!(outcome.is_ok(), failing == 2);
            let loaded = load(dir.path());
            let expected = if failing == 0 {
                &first
            } else {
                &with_sequence(2)
            };
            assert_eq!(&loaded.state, expected, "after {failing} writes");
            assert_eq!(loaded.warning, None);
        }
    }
}

#[test]
fn one_damaged_copy_is_survived_and_reported() {
    let damage: [fn(&Path); 4] = [
        |path| fs::write(path, "").unwrap(),
        |path| fs::write(path, "{\"format\":1").unwrap(),
        |path| fs::write(path, [0; 4096]).unwrap(),
        |path| fs::write(path, r#"{"format":1,"critical":["new"]}"#).unwrap(),
    ];
    for damage in damage {
        let dir = tempfile::tempdir().unwrap();
        save(dir.path(), &with_sequence(7)).unwrap();
        damage(&dir.path().join(COPIES[0]));
        let loaded = load(dir.path());
        assert_eq!(loaded.state, with_sequence(7));
        assert!(loaded.warning.unwrap().contains("state.json"));

        damage(&dir.path().join(COPIES[1]));
        let loaded = load(dir.path());
        assert_eq!(loaded.state, State::default());
        assert!(loaded.warning.unwrap().contains("empty state"));
    }
}

#[test]
fn fields_of_a_newer_release_survive_an_older_one() {
    let dir = tempfile::tempdir().unwrap();
    let text = r#"{"format":1,"critical":[],"sequence":3,"news":{"x":[1]}}"#;
    fs::write(dir.path().join(COPIES[0]), text).unwrap();
    let mut state = load(dir.path()).state;
    assert_eq!(state.sequence, Sequence(3));
    state.issued = 9;
    save(dir.path(), &state).unwrap();
    let text = fs::read_to_string(dir.path().join(COPIES[1])).unwrap();
    let value: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(value["news"]["x"][0], 1);
    assert_eq!(value["issued"], 9);
}

#[test]
fn verdicts_decide_what_is_tried_again() {
    let mut state = State::default();
    let (bad, tired) = (commit("a"), commit("b"));
    assert_eq!(state.standing(&bad, DELAY), Standing::Clear);

    state.reject(bad.clone(), "health".to_owned(), 100);
    assert_eq!(state.standing(&bad, DELAY), Standing::Rejected);

    state.without_verdict(tired.clone(), 100);
    assert_eq!(state.standing(&tired, DELAY), Standing::RestsUntil(3700));
    state.without_verdict(tired.clone(), 5000);
    assert_eq!(state.standing(&tired, DELAY), Standing::Rejected);

    state.without_verdict(bad.clone(), 6000);
    assert_eq!(state.standing(&bad, DELAY), Standing::Rejected);
    state.forgive(&bad);
    assert_eq!(state.standing(&bad, DELAY), Standing::Clear);
}
