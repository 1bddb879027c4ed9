#![allow(clippy::unwrap_used, clippy::panic)]
use super::*;

#[test]
fn a_file_says_what_happens_when() {
    let scenario = Scenario::parse(
        r#"{"name": "flicker", "steps": [
                {"at": 5, "order": {"do": "add-reader", "cluster": "orders"}},
                {"wait": {"dnsReader": "orders-4"}, "limit": 60,
                 "order": {"do": "failover", "cluster": "orders", "options": {"flicker": true}}},
                {"wait": {"connections": {"instance": "orders-4", "atLeast": 10}}},
                {"wait": "idle", "kubectl": ["annotate", "dbp", "orders", "a=b"]}
            ]}"#,
    )
    .unwrap();
    assert_eq!(scenario.cluster, "orders");
    assert!(
        matches!(&scenario.steps[1].order, Some(FleetCommand::Failover { options, .. }) if options.flicker)
    );
    assert_eq!(scenario.steps[3].wait, Some(WaitCondition::Idle));
    let again = serde_json::to_string(&scenario).unwrap();
    assert_eq!(Scenario::parse(&again).unwrap(), scenario);
}

#[test]
fn the_files_that_come_with_the_testbed_are_readable() {
    let folder = crate::tools::crate_folder().join("scenarios");
    let mut read = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        Scenario::parse(&text).unwrap_or_else(|e| panic!("{}: {e:#}", path.display()));
        read += 1;
    }
    assert!(read > 0);
}

#[test]
fn a_word_that_is_no_step_is_refused() {
    assert!(Scenario::parse(r#"{"name": "x", "steps": [{"after": 5}]}"#).is_err());
}
