//! Episodes: gate, batches, and how they end.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::super::testing::*;
use super::super::*;
use crate::domain::balance::memory::{GaveUp, GaveUpReason};

const MIXED: [&str; 8] = ["r02", "r02", "r02", "r02", "r00", "r00", "r00", "r00"];

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
                .is_some_and(|h| h.to(&id_of(name)) > 0)
        };
        decision.moves.iter().filter(holds).count()
    };
    assert_eq!(
        from("r00").abs_diff(from("r01")),
        1,
        "as even as five can be"
    );
}

fn id_of(name: &str) -> crate::domain::topology::InstanceId {
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
fn the_gate_wants_every_look_at_first_and_a_little_more_than_chance_later() {
    let mut stage = Stage::readers(&[10, 10, 0]);
    stage.answers(&MIXED);
    let Some(Wait::GateClosed { share, need, .. }) = stage.pass().wait else {
        panic!("half of the looks are not all")
    };
    assert_eq!((share, need), (500, 1000));
    stage.later(20);
    stage.answers(&MIXED);
    assert!(stage.pass().moves.is_empty());
    stage.later(16);
    stage.answers(&MIXED);
    // 1 − (1 − (1/3 + 0.05)) · 16/20
    assert!(stage.pass().moves.is_empty(), "506 are needed");
    stage.later(1);
    stage.answers(&MIXED);
    assert_eq!(stage.pass().moves.len(), 5);
}

#[test]
fn the_canary_waits_for_no_more_than_chance() {
    let mut stage = Stage::readers(&[10, 10, 0]);
    (stage.canary, stage.free) = (true, 1);
    stage.answers(&["r00"; 8]);
    stage.pass();
    stage.answers(&["r02", "r02", "r02", "r00", "r00", "r01", "r00", "r00"]);
    assert!(
        stage.pass().moves.is_empty(),
        "383 of a thousand are needed"
    );
    stage.answers(&MIXED);
    assert_eq!(stage.pass().moves.len(), 1);
    assert!(
        stage.memory.batch.is_some_and(|b| !b.gated),
        "it is not held against the gate"
    );
}

#[test]
fn where_few_caches_are_known_patience_is_longer() {
    assert_eq!(Settings::new(15, Some(2)).patience.as_secs(), 40);
    assert_eq!(Settings::new(15, Some(3)).patience.as_secs(), 20);
    assert_eq!(Settings::new(15, None).patience.as_secs(), 20);
}

#[test]
fn a_reader_that_no_look_has_named_is_waited_for_and_then_said() {
    let mut stage = Stage::readers(&[10, 10, 0]);
    stage.answers(&["r00"; 8]);
    assert!(matches!(stage.pass().wait, Some(Wait::NeverNamed { .. })));
    stage.later(119);
    stage.answers(&["r01"; 8]);
    assert!(stage.pass().moves.is_empty());
    stage.later(1);
    stage.answers(&["r01"; 8]);
    let decision = stage.pass();
    assert_eq!(decision.unnamed, [id("r02")]);
    assert_eq!(
        decision.moves.len(),
        2,
        "without the gate a tenth of the pods"
    );
}

#[test]
fn where_no_look_up_is_answered_the_gate_is_not_dropped() {
    let mut stage = Stage::readers(&[10, 10, 0]);
    for seconds in [0, 119, 600] {
        stage.later(seconds);
        stage.answers(&["-"; 8]);
        assert!(stage.pass().moves.is_empty());
    }
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
fn an_answer_that_stays_at_chance_does_not_hold_for_ever() {
    let mut stage = Stage::readers(&[12, 8]);
    let half = ["r00", "r01", "r00", "r01", "r00", "r01", "r00", "r01"];
    for _ in 0..4 {
        stage.answers(&half);
        assert!(stage.pass().moves.is_empty(), "0.55 are needed");
        stage.later(40);
    }
    stage.answers(&half);
    assert_eq!(stage.pass().moves.len(), 1, "160 s later");
}

#[test]
fn without_a_resolver_a_batch_is_a_tenth_of_the_pods() {
    let mut stage = Stage::readers(&[10, 10, 0]);
    stage.reach = Reach::Unseen;
    assert_eq!(stage.decide().moves.len(), 2);
    stage.reach = Reach::Slow { resolver: false };
    assert_eq!(
        stage.decide().moves.len(),
        5,
        "evictions spread by themselves"
    );
}

#[test]
fn nothing_free_moves_nothing() {
    let mut stage = Stage::readers(&[10, 10, 0]);
    stage.free = 0;
    stage.answers(&["r02"; 8]);
    assert_eq!(stage.decide().wait, Some(Wait::NothingFree));
}

#[test]
fn looks_made_through_a_node_open_the_gate_for_the_pods_of_that_node() {
    let mut stage = Stage::readers(&[10, 10, 0]);
    for (i, pod) in stage.pods.iter_mut().enumerate() {
        pod.node = Some(if i % 10 < 3 { "near" } else { "far" }.into());
    }
    for (node, answer) in [("near", "r02"), ("far", "r00")] {
        stage
            .looks
            .extend(looks(stage.now, &[answer]).into_iter().map(|look| Look {
                via: Some(node.into()),
                ..look
            }));
    }
    let moves = stage.decide().moves;
    assert_eq!(moves.len(), 5);
    for pod in stage.pods.iter().filter(|p| moves.contains(&p.id)) {
        assert_eq!(pod.node.as_deref(), Some("near"));
    }
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

/// Takes, lands and measures until the rule takes no more; returns how many pods it took.
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
    let mut stage = Stage::readers(&[10, 10, 0]);
    stage.reach = Reach::Unseen;
    // Every pod lands where it should not.
    let taken = play(&mut stage, "r00");
    // ceil(4 · 6 / (1/3)) + 2
    assert_eq!(taken, 74);
    stage.answers(&["r00"; 8]);
    let decision = stage.pass();
    assert_eq!(
        decision.wait.as_ref().map(Wait::reason),
        Some("EpisodeBudgetSpent")
    );
    assert!(!decision.verdict.is_balanced());
}

#[test]
fn a_gate_that_predicts_no_better_than_chance_is_dropped_for_an_hour() {
    let mut stage = Stage::readers(&[10, 10, 0]);
    for batch in 0..5 {
        stage.answers(&["r02"; 8]);
        let moves = stage.pass().moves;
        assert!(!moves.is_empty(), "batch {batch}");
        let dropped = stage.memory.record.dropped_until.is_some();
        assert_eq!(dropped, batch == 4, "batch {batch}");
        assert_eq!(moves.len(), if dropped { 2 } else { 5 });
        stage.land(&moves, "r00");
        for pod in &mut stage.pods {
            pod.recycles = 0;
        }
        stage.later(40);
        stage.pass();
        stage.later(1);
    }
    stage.later(3601);
    stage.pass();
    assert_eq!(stage.memory.record.dropped_until, None);
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
    assert_eq!(stage.pass().memory.named, 0b111);
    stage.topology = topology(4);
    stage.looks.clear();
    let decision = stage.pass();
    assert_eq!(decision.memory.named, 0);
    assert!(decision.memory.episode.is_some());
}

#[test]
fn what_is_remembered_fits_a_status_and_survives_it() {
    let mut stage = Stage::readers(&[10, 10, 0]);
    stage.answers(&["r02"; 8]);
    stage.pass();
    let memory = Memory {
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
    assert_eq!(serde_json::from_str::<Memory>(&text).ok(), Some(memory));
    assert_eq!(
        serde_json::to_string(&Memory::default()).ok().as_deref(),
        Some("{}")
    );
}
