//! Tests of episodes: batches, and how they end.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::super::testing::*;
use super::super::*;
use dbbalance_api::rebalance_state::{Episode, GaveUp, GaveUpReason, RebalanceState};

#[test]
fn a_batch_is_all_that_is_free_from_the_fullest_readers() {
    let mut stage = Stage::readers(&[10, 10, 0]);
    stage.answers(&["r02"; 8]);
    let decision = stage.decide();
    assert_eq!(decision.moves.len(), 5);
    let from = |name: &str| {
        let holds = |id: &&String| {
            let pod = stage.pods.iter().find(|p| p.id == **id);
            pod.and_then(|p| p.holds.as_ref())
                .is_some_and(|h| h.connections_to(&id_of(name)) > 0)
        };
        decision.moves.iter().filter(holds).count()
    };
    assert_eq!(
        from("r00").abs_diff(from("r01")),
        1,
        "as even as five can be"
    );
}

fn id_of(name: &str) -> crate::topology::InstanceId {
    id(name)
}

#[test]
fn no_more_than_what_gets_inside_the_band_is_taken() {
    let mut stage = Stage::readers(&[30, 30, 0]);
    stage.free = 60;
    stage.answers(&["r02"; 8]);
    assert_eq!(stage.decide().moves.len(), 14);
}

#[test]
fn a_batch_settles_and_is_measured_before_the_next() {
    let mut stage = Stage::readers(&[10, 10, 0]);
    stage.answers(&["r02"; 8]);
    let first = stage.pass().moves;
    for pod in &mut stage.pods {
        pod.in_flight = first.contains(&pod.id);
    }
    stage.later(2);
    stage.answers(&["r02"; 8]);
    let decision = stage.pass();
    assert!(decision.moves.is_empty());
    assert!(matches!(
        decision.wait,
        Some(Wait::Settling { in_flight: 5, .. })
    ));

    stage.land(&first, "r02");
    for pod in &mut stage.pods {
        pod.in_flight = false;
    }
    stage.now = at(5);
    stage.answers(&["r02"; 8]);
    let decision = stage.pass();
    assert!(decision.measure && decision.moves.is_empty());
    assert!(matches!(decision.wait, Some(Wait::MeasureFirst { .. })));

    stage.later(1);
    stage.answers(&["r02"; 8]);
    assert_eq!(stage.pass().moves.len(), 1, "8/7/5 lacks one");
}

#[test]
fn after_a_batch_of_one_every_pod_is_measured_anew() {
    let mut stage = Stage::readers(&[8, 7, 5]);
    stage.answers(&["r02"; 8]);
    assert_eq!(stage.pass().moves.len(), 1);
    // Nothing is in flight, and 20 of 20 pods have been read within 10 s, but before the batch settled.
    stage.now = at(4);
    stage.answers(&["r02"; 8]);
    let decision = stage.pass();
    assert!(decision.moves.is_empty() && decision.measure);
    assert!(matches!(
        decision.wait,
        Some(Wait::MeasureFirst { usable: 0, .. })
    ));
}

#[test]
fn the_same_memory_in_an_unchanged_world_moves_nothing_more() {
    let mut stage = Stage::readers(&[10, 10, 0]);
    stage.answers(&["r02"; 8]);
    assert_eq!(stage.pass().moves.len(), 5);
    let again = stage.pass();
    assert!(again.moves.is_empty());
    let memory = again.memory;
    assert_eq!(stage.pass().memory, memory, "and remembers the same");
}

#[test]
fn an_event_ahead_is_waited_for() {
    let mut stage = Stage::readers(&[10, 10, 0]);
    stage.event = Some(at(2));
    stage.answers(&["r02"; 8]);
    let decision = stage.pass();
    assert!(decision.moves.is_empty());
    assert_eq!(decision.wake, Some(at(2)));
}

#[test]
fn nothing_free_moves_nothing() {
    let mut stage = Stage::readers(&[10, 10, 0]);
    stage.free = 0;
    stage.answers(&["r02"; 8]);
    assert_eq!(stage.decide().wait, Some(Wait::NothingFree));
}

#[test]
fn pods_in_flight_in_cooldown_recycled_thrice_or_not_ours_are_left_alone() {
    let mut stage = Stage::readers(&[10, 10, 0]);
    stage.answers(&["r02"; 8]);
    for (i, pod) in stage.pods.iter_mut().enumerate() {
        match i {
            0..=9 => pod.recycles = 3,
            10..=14 => pod.movable = false,
            15..=18 => pod.last_recycled = Some(at(-30)),
            _ => {}
        }
    }
    assert_eq!(stage.decide().moves, ["pod-0019"]);
    stage.pods[19].last_recycled = Some(at(-20));
    let Some(Wait::PodCooldown { pods, until }) = stage.decide().wait else {
        panic!("five are in cool-down")
    };
    assert_eq!((pods, until), (5, at(5)));
}

#[test]
fn when_no_pod_is_left_that_could_help_it_is_said() {
    let mut stage = Stage::readers(&[10, 10, 0]);
    stage.answers(&["r02"; 8]);
    for pod in &mut stage.pods {
        pod.recycles = 3;
    }
    let decision = stage.pass();
    let gave_up = GaveUp {
        reason: GaveUpReason::PodsExhausted,
        moved: 0,
    };
    assert_eq!(decision.wait, Some(Wait::GaveUp(gave_up)));
    assert_eq!(
        stage.pass().wait,
        Some(Wait::GaveUp(gave_up)),
        "and stays so"
    );
}

/// Takes, lands and measures pods until the rule takes no more; returns how many pods it took.
fn play(stage: &mut Stage, lands: &str) -> usize {
    let mut taken = 0;
    for _ in 0..200 {
        let names: Vec<String> = stage
            .topology
            .readers
            .iter()
            .map(|r| r.instance.0.clone())
            .collect();
        let all: Vec<&str> = names.iter().map(String::as_str).cycle().take(8).collect();
        stage.answers(&all);
        let decision = stage.pass();
        taken += decision.moves.len();
        stage.land(&decision.moves, lands);
        stage.later(40);
        for pod in &mut stage.pods {
            pod.recycles = 0;
        }
        if decision.memory.episode.is_none() {
            break;
        }
    }
    taken
}

#[test]
fn an_episode_that_has_spent_its_budget_ends_and_says_so() {
    let mut stage = Stage::readers(&[10, 9, 1]);
    stage.reach = Reach::Unseen;
    stage.pass();
    let episode = stage.memory.episode.as_mut().unwrap();
    episode.budget = Some(3);
    let moved = stage.memory.episode.as_ref().unwrap().moved;
    let mut taken = moved as usize + play(&mut stage, "r02");
    while stage.memory.episode.is_some() {
        taken += play(&mut stage, "r02");
    }
    assert_eq!(taken, 3);
    stage.answers(&["r00"; 8]);
    let decision = stage.pass();
    assert_eq!(
        decision.wait.as_ref().map(Wait::reason),
        Some("EpisodeBudgetSpent")
    );
    assert!(!decision.verdict.is_balanced());
}

#[test]
fn a_reader_that_no_pod_of_a_whole_episode_reaches_is_given_up_until_the_scope_changes() {
    let mut stage = Stage::readers(&[10, 10, 0]);
    stage.reach = Reach::Unseen;
    // ceil(4 · 6 / (1/3)) + 2
    assert_eq!(play(&mut stage, "r00"), 74);
    for hour in 0..24 {
        stage.later(3600);
        let decision = stage.pass();
        assert!(decision.moves.is_empty(), "hour {hour}");
        let reason = decision.wait.as_ref().map(Wait::reason);
        assert_eq!(reason, Some("Incurable"), "hour {hour}");
    }
    // A deploy changes nothing about it, an edit may.
    stage.event = Some(stage.now);
    assert!(stage.pass().moves.is_empty());
    stage.scope = "edited".into();
    stage.later(301);
    stage.pass();
    stage.later(301);
    assert!(!stage.pass().moves.is_empty());
}

#[test]
fn the_rest_after_episodes_without_success_doubles() {
    let mut stage = Stage::readers(&[10, 10, 0]);
    stage.reach = Reach::Unseen;
    for (failures, hours) in [(0, 1), (1, 2), (2, 4), (9, 32)] {
        stage.memory = RebalanceState {
            failures,
            event: stage.event,
            fingerprint: stage.topology.fingerprint().0,
            episode: Some(Episode {
                budget: Some(0),
                ..Episode::new(stage.now)
            }),
            ..RebalanceState::default()
        };
        stage.pass();
        let rest = stage.memory.rest_until.unwrap().duration_since(stage.now);
        assert_eq!(rest.as_hours(), hours, "{failures}");
    }
}

#[test]
fn without_an_event_only_a_lasting_drift_opens_an_episode() {
    let mut stage = Stage::readers(&[7, 8, 5]);
    stage.event = None;
    let decision = stage.pass();
    assert!(matches!(
        decision.wait,
        Some(Wait::NotTriggered { opens: None, .. })
    ));
    let mut stage = Stage::readers(&[9, 6, 5]);
    stage.event = None;
    stage.answers(&["r02"; 8]);
    let decision = stage.pass();
    assert_eq!(decision.wake, Some(at(301)));
    stage.later(299);
    stage.answers(&["r02"; 8]);
    assert!(stage.pass().moves.is_empty());
    stage.later(1);
    stage.answers(&["r02"; 8]);
    assert!(!stage.pass().moves.is_empty());
}

#[test]
fn a_drift_that_passes_is_forgotten() {
    let mut stage = Stage::readers(&[9, 6, 5]);
    stage.event = None;
    stage.pass();
    assert!(stage.memory.drift_since.is_some());
    let even = Stage::readers(&[7, 7, 6]);
    stage.pods = even.pods;
    stage.later(10);
    stage.pass();
    assert_eq!(stage.memory.drift_since, None);
}

#[test]
fn an_event_counts_once() {
    let mut stage = Stage::readers(&[7, 7, 6]);
    assert!(stage.pass().memory.episode.is_none(), "even at once");
    stage.pods = Stage::readers(&[8, 7, 5]).pods;
    stage.answers(&["r02"; 8]);
    assert!(stage.pass().moves.is_empty(), "the event was before");
    stage.event = Some(at(1));
    assert_eq!(stage.pass().moves.len(), 1);
}

#[test]
fn a_new_topology_starts_the_count_of_named_readers_anew() {
    let mut stage = Stage::readers(&[10, 10, 0]);
    stage.answers(&["r00", "r01", "r02", "r00", "r01", "r02", "r00", "r01"]);
    assert_eq!(stage.pass().memory.seen_in_dns, ["r00", "r01", "r02"]);
    stage.topology = topology(4);
    stage.looks.clear();
    let decision = stage.pass();
    assert!(decision.memory.seen_in_dns.is_empty());
    assert!(decision.memory.episode.is_some());
}

#[test]
fn what_is_remembered_fits_a_status_and_survives_it() {
    let mut stage = Stage::readers(&[10, 10, 0]);
    stage.answers(&["r02"; 8]);
    stage.pass();
    let memory = RebalanceState {
        drift_since: Some(at(1)),
        rest_until: Some(at(2)),
        gave_up: Some(GaveUp {
            reason: GaveUpReason::PodsExhausted,
            moved: 7,
        }),
        ..stage.memory
    };
    let text = serde_json::to_string(&memory).expect("it can be written");
    assert!(text.len() <= 1024, "{} bytes", text.len());
    assert_eq!(
        serde_json::from_str::<RebalanceState>(&text).ok(),
        Some(memory)
    );
    assert_eq!(
        serde_json::to_string(&RebalanceState::default())
            .ok()
            .as_deref(),
        Some("{}")
    );
}

#[test]
fn a_status_of_an_older_version_is_read_and_recycles_nothing() {
    for pods in [[10, 10, 0], [7, 7, 6]] {
        let mut stage = Stage::readers(&pods);
        stage.answers(&["r02"; 8]);
        // Four digits, and readers as bits.
        stage.memory = serde_json::from_value(serde_json::json!({
            "fingerprint": "3f9c",
            "event": stage.event,
            "named": 5,
            "batch": {
                "at": at(0), "settled": at(0), "fleet": 20, "connections": 40, "receivers": 4, "held": 0, "gated": true
            },
            "record": {"batches": 3, "landed": 2900, "chance": 1000},
        }))
        .expect("it is read");
        let decision = stage.pass();
        assert!(decision.moves.is_empty() && decision.urgent.is_empty());
        assert!(stage.memory.episode.is_none() && stage.memory.batch.is_none());
        assert_eq!(
            stage.memory.seen_in_dns,
            ["r02"],
            "it starts with today's answers"
        );
        assert_eq!(stage.memory.record.batches, 3);
        assert_eq!(stage.memory.fingerprint, stage.topology.fingerprint().0);
    }
}

#[test]
fn an_episode_of_an_older_version_goes_on_with_a_new_count() {
    let mut stage = Stage::readers(&[10, 10, 0]);
    stage.memory = serde_json::from_value(serde_json::json!({
        "fingerprint": "3f9c",
        "event": stage.event,
        "named": 7,
        "episode": {"since": at(0), "budget": 30, "moved": 4},
    }))
    .expect("it is read");
    let decision = stage.pass();
    assert!(decision.moves.is_empty(), "no answer has named r02 yet");
    let Some(Wait::NeverNamed { readers, .. }) = decision.wait else {
        panic!("it waits for DNS")
    };
    assert_eq!(readers, [id("r02")]);
    assert_eq!(stage.memory.episode.as_ref().map(|e| e.moved), Some(0));
}
