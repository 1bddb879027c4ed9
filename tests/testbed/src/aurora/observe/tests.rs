use super::*;

fn test_session(port: u16, started: i64) -> DatabaseSession {
    DatabaseSession {
        client: "198.18.1.5".into(),
        port,
        user: "app".into(),
        application: "pod/reader".into(),
        started,
    }
}

fn one_instance(
    standby: bool,
    sessions: Vec<DatabaseSession>,
) -> BTreeMap<String, Option<(bool, Vec<DatabaseSession>)>> {
    [("a".to_owned(), Some((standby, sessions)))].into()
}

#[test]
fn a_connection_lives_from_its_first_to_its_last_sight() {
    let mut seen = Observation::default();
    seen.add_sample(
        1000,
        one_instance(true, vec![test_session(9, 900), test_session(7, 900)]),
    );
    seen.add_sample(1200, one_instance(false, vec![test_session(7, 900)]));
    seen.add_sample(1400, one_instance(false, vec![test_session(9, 1300)]));
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
    let nameless = DatabaseSession {
        application: String::new(),
        ..test_session(7, 900)
    };
    seen.add_sample(1000, one_instance(true, vec![nameless]));
    seen.add_sample(1200, one_instance(true, vec![test_session(7, 900)]));
    assert_eq!(seen.lives.len(), 1);
    assert_eq!(seen.lives[0].application, "pod/reader");
}

#[test]
fn an_instance_that_does_not_answer_is_unknown_not_empty() {
    let mut seen = Observation::default();
    seen.add_sample(1, [("a".to_owned(), None)].into());
    assert_eq!(seen.samples[0].connections("a"), None);
    seen.add_sample(2, one_instance(true, Vec::new()));
    assert_eq!(seen.samples[1].connections("a"), Some(0));
}
