//! Properties that hold for every input.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeMap;

use jiff::SignedDuration;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use super::testing::*;
use super::*;
use crate::topology::InstanceId;

/// Returns the name of a member, of a former member, or of an unknown instance.
fn name(i: usize) -> InstanceId {
    match i {
        0 => id("w"),
        1 => id("gone"),
        n => InstanceId(format!("r{:02}", n - 2)),
    }
}

fn a_holding() -> impl Strategy<Value = Holdings> {
    let held = vec((0_usize..8, 0_u32..40), 0..5);
    (held, 0_u32..3, 0_u32..3).prop_map(|(held, no_member, unknown)| Holdings {
        dead: 0,
        by_instance: held.into_iter().map(|(i, n)| (name(i), n)).collect(),
        no_member: no_member / 2,
        unknown,
        reopened: false,
    })
}

fn a_pod() -> impl Strategy<Value = PodView> {
    (
        option::weighted(0.97, a_holding()),
        option::weighted(0.98, 0_i64..60),
        option::weighted(0.4, 0_i64..60),
        0_u32..4,
        (
            any::<bool>(),
            prop::bool::weighted(0.1),
            prop::bool::weighted(0.9),
            any::<bool>(),
        ),
        option::of(0_usize..3),
    )
        .prop_map(|(holds, read, recycled, recycles, flags, node)| PodView {
            id: String::new(),
            node: node.map(|n| format!("n{n}")),
            holds,
            read_at: read.map(at),
            started: None,
            last_recycled: recycled.map(at),
            recycles,
            ready: flags.0,
            in_flight: flags.1,
            movable: flags.2,
            before_failover: flags.3,
            stale: false,
        })
}

fn some_looks() -> impl Strategy<Value = Vec<EndpointAnswer>> {
    let look = (
        45_i64..61,
        option::weighted(0.9, 0_usize..8),
        option::weighted(0.1, 0_usize..3),
    );
    vec(
        look.prop_map(|(seconds, i, node)| EndpointAnswer {
            at: at(seconds),
            instance: i.map(name),
            via: node.map(|n| format!("n{n}")),
        }),
        0..30,
    )
}

fn a_reach() -> impl Strategy<Value = Reach> {
    prop_oneof![
        Just(Reach::Prompt),
        any::<bool>().prop_map(|resolver| Reach::Slow { resolver }),
        Just(Reach::Unseen),
    ]
}

fn some_pools() -> impl Strategy<Value = Pools> {
    prop_oneof![
        4 => Just(Pools::Reader),
        1 => Just(Pools::Writer),
        1 => (0_u32..20, 0_u32..20).prop_map(|(reader, writer)| Pools::Both { reader, writer }),
    ]
}

/// Weights of the first readers: mostly none, otherwise any, also 0.
fn some_weights() -> impl Strategy<Value = Vec<i32>> {
    prop_oneof![
        1 => Just(vec![]),
        1 => vec(prop_oneof![1 => Just(0), 3 => 1_i32..=1000], 7),
    ]
}

fn a_stage() -> impl Strategy<Value = Stage> {
    (
        vec(a_pod(), 0..24),
        0_usize..7,
        some_pools(),
        (some_looks(), some_looks()),
        0_usize..12,
        (
            option::of(0_i64..70),
            a_reach(),
            option::of(0_usize..8),
            any::<bool>(),
        ),
        some_weights(),
    )
        .prop_map(
            |(
                mut pods,
                readers,
                pools,
                looked,
                free,
                (event, reach, previous, canary),
                weights,
            )| {
                for (i, pod) in pods.iter_mut().enumerate() {
                    pod.id = format!("pod-{i:04}");
                }
                let mut stage = Stage {
                    now: at(60),
                    pods,
                    looks: looked.0,
                    writer_looks: looked.1,
                    free,
                    canary,
                    event: event.map(at),
                    reach,
                    previous_writer: previous.map(name),
                    ..Stage::new(topology(readers), pools, vec![])
                };
                stage.weigh(&weights);
                stage
            },
        )
}

impl std::fmt::Debug for Stage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stage")
            .field("pools", &self.pools)
            .field("readers", &self.topology.readers.len())
            .field("reach", &self.reach)
            .field("free", &self.free)
            .field("event", &self.event)
            .field("pods", &self.pods)
            .field("looks", &self.looks)
            .field("writer_looks", &self.writer_looks)
            .field("weights", &self.weights)
            .field("memory", &self.memory)
            .finish_non_exhaustive()
    }
}

impl Stage {
    fn pod(&self, id: &str) -> &PodView {
        self.pods.iter().find(|p| p.id == id).expect("it is ours")
    }
}

/// Returns the connections to readers without a share, and the sum of squared deviations from the shares of the others,
/// relative to them: computed independently of the code under test.
#[allow(clippy::cast_precision_loss)] // few connections
fn deviation(held: &BTreeMap<InstanceId, i64>, fair: &BTreeMap<InstanceId, f64>) -> (i64, f64) {
    let mut sum = (0, 0.0);
    for (reader, connections) in held {
        let fair = fair[reader];
        if fair > 0.0 {
            let gap = *connections as f64 - fair;
            sum.1 += gap * gap / fair;
        } else {
            sum.0 += connections;
        }
    }
    sum
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, ..ProptestConfig::default() })]

    /// A decision is total and deterministic, stays within what is free, and takes only pods that may be taken.
    #[test]
    fn a_decision_is_total_repeatable_and_bounded(stage in a_stage()) {
        let decision = stage.decide();
        prop_assert_eq!(&decision, &stage.decide());
        prop_assert!(decision.moves.len() <= stage.free);
        for id in decision.moves.iter().chain(&decision.urgent) {
            let pod = stage.pod(id);
            prop_assert!(pod.movable && !pod.in_flight && pod.recycles < 3);
            prop_assert!(pod.holds.is_some());
            prop_assert!(pod.last_recycled.is_none_or(|done| pod.read_at > Some(done)));
        }
        for id in &decision.moves {
            prop_assert!(!decision.urgent.contains(id));
            let rested = |done| stage.now >= done + SignedDuration::from_secs(35);
            prop_assert!(stage.pod(id).last_recycled.is_none_or(rested));
        }
        // Every wait can be formatted.
        if let Some(wait) = &decision.wait {
            prop_assert!(!wait.to_string().is_empty() && !wait.reason().is_empty());
        }
    }

    /// `Balanced` means within [lo, hi], or as near as whole pods allow, with nothing broken.
    #[test]
    fn balanced_is_within_the_band(stage in a_stage()) {
        let verdict = stage.decide().verdict;
        if let Some(figures) = verdict.figures() {
            let inside = figures.shares.iter().all(|s| {
                let c = f64::from(s.connections);
                c <= s.hi + 0.001 && c >= s.lo - 0.001
            });
            let broken = figures.misplaced.wrong_role + figures.misplaced.no_member > 0;
            match verdict {
                BalanceVerdict::Balanced { limited_by, .. } => {
                    prop_assert!(!broken);
                    let drained = figures.shares.iter().filter(|s| s.weight == 0);
                    prop_assert!(drained.map(|s| s.connections).sum::<u32>() == 0);
                    prop_assert!(inside || limited_by.is_some());
                }
                _ => prop_assert!(broken || !inside),
            }
        }
    }

    /// A pod is moved only if it holds connections of a reader above its fair share, and if it leaves a reader without
    /// weight, or the deviations from the fair shares fall where it is to land.
    #[test]
    fn no_pod_moves_whose_connections_are_where_they_should_be(stage in a_stage()) {
        let decision = stage.decide();
        if !decision.moves.is_empty() {
            prop_assert!(decision.urgent.is_empty());
            let figures = decision.verdict.figures().expect("it acts on evidence").clone();
            let fair: BTreeMap<InstanceId, f64> =
                figures.shares.iter().map(|s| (s.instance.clone(), s.fair)).collect();
            let mut held: BTreeMap<InstanceId, i64> = figures.shares.iter()
                .map(|s| (s.instance.clone(), i64::from(s.connections))).collect();
            for id in &decision.moves {
                let holds = stage.pod(id).holds.clone().unwrap_or_default();
                let above = held.iter().any(|(reader, sum)| {
                    #[allow(clippy::cast_precision_loss)]
                    let sum = *sum as f64;
                    holds.connections_to(reader) > 0 && sum > fair[reader]
                });
                prop_assert!(above, "{} holds nothing above the fair share", id);
                let before = deviation(&held, &fair);
                let mut total = 0;
                for (reader, sum) in &mut held {
                    let n = i64::from(holds.connections_to(reader));
                    *sum -= n;
                    total += n;
                }
                // The best of the readers that hold too little.
                let landed = |to: &InstanceId| {
                    let mut then = held.clone();
                    *then.entry(to.clone()).or_default() += total;
                    then
                };
                let to = figures.under.iter().min_by(|a, b| {
                    let (a, b) = (deviation(&landed(a), &fair), deviation(&landed(b), &fair));
                    a.1.total_cmp(&b.1)
                }).expect("one is under");
                prop_assert!(fair[to] > 0.0, "{} has no weight", to);
                let after = deviation(&landed(to), &fair);
                let improves = after.0 < before.0 || (after.0 == before.0 && after.1 < before.1);
                prop_assert!(improves, "{} would not lower the sum", id);
                held = landed(to);
            }
        }
    }

    /// A reader without weight never receives, and all that it holds is excess.
    #[test]
    fn a_reader_without_weight_never_receives(stage in a_stage()) {
        let verdict = stage.decide().verdict;
        if let Some(figures) = verdict.figures() {
            let drained = figures.shares.iter().filter(|s| s.weight == 0);
            let mut held = 0;
            for share in drained {
                prop_assert!(!figures.under.contains(&share.instance));
                held += share.connections;
            }
            prop_assert!(figures.misplaced.excess >= held);
        }
    }

    /// Fed with its own memory, the decision comes to rest.
    #[test]
    fn what_is_remembered_moves_nothing_more(mut stage in a_stage()) {
        stage.pass();
        let second = stage.pass();
        prop_assert!(second.moves.is_empty());
        let third = stage.pass();
        prop_assert_eq!(third.memory, second.memory);
    }

    /// From any spread, with pods that land anywhere, an episode ends, either even or with a reason; and it has moved
    /// no pod more than three times.
    #[test]
    fn every_episode_ends(
        pods in vec((0_usize..5, 1_u32..20), 1..30),
        readers in 1_usize..6,
        lands in vec(0_usize..1000, 200),
        reach in a_reach(),
        weights in some_weights(),
    ) {
        let holds = pods.iter().map(|(i, n)| {
            holdings([(format!("r{:02}", i % readers).as_str(), *n)])
        });
        let mut stage = Stage {
            reach,
            ..Stage::new(topology(readers), Pools::Reader, holds.collect())
        };
        stage.weigh(&weights);
        let sizes: BTreeMap<String, u32> =
            stage.pods.iter().zip(&pods).map(|(p, (_, n))| (p.id.clone(), *n)).collect();
        let mut lands = lands.into_iter().cycle();
        let mut taken = 0;
        for pass in 0.. {
            prop_assert!(pass < 2000, "no end after {} recycles", taken);
            let names: Vec<String> = (0..8).map(|i| {
                let spread = (pass + i) % readers;
                format!("r{spread:02}")
            }).collect();
            stage.answers(&names.iter().map(String::as_str).collect::<Vec<_>>());
            let decision = stage.pass();
            if decision.memory.episode.is_none() {
                let memory = &decision.memory;
                let ended = memory.gave_up.is_some() || memory.incurable.is_some();
                prop_assert!(decision.verdict.is_balanced() || ended);
                break;
            }
            taken += decision.moves.len();
            for id in &decision.moves {
                let to = format!("r{:02}", lands.next().unwrap_or(0) % readers);
                let now = stage.now;
                let pod = stage.pods.iter_mut().find(|p| p.id == *id).expect("it is ours");
                pod.holds = Some(holdings([(to.as_str(), sizes[id])]));
                pod.last_recycled = Some(now);
                pod.recycles += 1;
                prop_assert!(pod.recycles <= 3);
            }
            stage.later(7);
        }
    }

    /// A fleet inside the band is never touched, whatever is remembered or looked up.
    #[test]
    fn a_fleet_inside_the_band_is_left_alone(
        each in 2_usize..6,
        readers in 1_usize..6,
        looks in some_looks(),
        event in option::of(0_i64..60),
        reach in a_reach(),
    ) {
        let mut stage = Stage {
            looks,
            event: event.map(at),
            reach,
            ..Stage::readers(&vec![each; readers])
        };
        stage.later(58);
        let decision = stage.decide();
        prop_assert!(decision.verdict.is_balanced());
        prop_assert!(decision.moves.is_empty() && decision.urgent.is_empty());
        prop_assert!(decision.memory.episode.is_none() && decision.wait.is_none());
    }
}
