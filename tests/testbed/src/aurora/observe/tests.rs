use super::*;

fn session(port: u16, started: i64) -> Session {
    Session {
        client: "198.18.1.5".into(),
        port,
        user: "app".into(),
        application: "pod/reader".into(),
        started,
    }
}

fn told(standby: bool, sessions: Vec<Session>) -> BTreeMap<String, Option<(bool, Vec<Session>)>> {
    [("a".to_owned(), Some((standby, sessions)))].into()
}

#[test]
fn a_connection_lives_from_its_first_to_its_last_sight() {
    let mut seen = Observation::default();
    seen.add(1000, told(true, vec![session(9, 900), session(7, 900)]));
    seen.add(1200, told(false, vec![session(7, 900)]));
    seen.add(1400, told(false, vec![session(9, 1300)]));
    let held = &seen.samples[0].instances["a"]
        .as_ref()
        .map(|seen| &seen.clients["198.18.1.5"]);
    assert_eq!(
        held.map(|held| (held.count, held.ports.clone())),
        Some((2, vec![7, 9]))
    );
    let lives: Vec<_> = seen
        .lives
        .iter()
        .map(|life| {
            (
                life.port,
                life.first,
                life.last,
                life.standby_first,
                life.standby_last,
            )
        })
        .collect();
    // The reused port is another connection; the one that stayed was promoted under its reader pool.
    assert_eq!(
        lives,
        [
            (9, 1000, 1000, true, true),
            (7, 1000, 1200, true, false),
            (9, 1400, 1400, false, false)
        ]
    );
    assert_eq!(seen.since(1000).lives[2].started, 300);
}

#[test]
fn a_session_that_is_seen_before_its_name_is_set_gets_it() {
    let mut seen = Observation::default();
    let nameless = Session {
        application: String::new(),
        ..session(7, 900)
    };
    seen.add(1000, told(true, vec![nameless]));
    seen.add(1200, told(true, vec![session(7, 900)]));
    assert_eq!(seen.lives.len(), 1);
    assert_eq!(seen.lives[0].application, "pod/reader");
}

#[test]
fn an_instance_that_does_not_answer_is_unknown_not_empty() {
    let mut seen = Observation::default();
    seen.add(1, [("a".to_owned(), None)].into());
    assert_eq!(seen.samples[0].connections("a"), None);
    seen.add(2, told(true, Vec::new()));
    assert_eq!(seen.samples[1].connections("a"), Some(0));
}
