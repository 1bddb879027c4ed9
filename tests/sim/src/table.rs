//! The table: the cases, with what the study of steering found for each.

use crate::case::{Caches, Case, LookUps, ProcessCache, Strategy};
use crate::domain::balance::{Reach, Settings};

/// What the study found; `None`: it gives no figure.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Study {
    /// Percent of runs within the band at the end.
    pub even: Option<f64>,
    /// Seconds, mean.
    pub seconds: Option<f64>,
    /// Pods, mean.
    pub pods: Option<f64>,
}

const fn study(even: f64, seconds: f64, pods: f64) -> Study {
    Study {
        even: Some(even),
        seconds: Some(seconds),
        pods: Some(pods),
    }
}

/// A part of the table.
pub struct Part {
    /// Its heading.
    pub name: &'static str,
    /// Its rows.
    pub rows: Vec<(Case, Study)>,
}

/// All parts.
#[must_use]
pub fn parts() -> Vec<Part> {
    vec![key(), fleets(), caches(), trims(), failures()]
}

/// The key case, by strategy.
#[must_use]
pub fn key() -> Part {
    let evict = Strategy::Steered {
        reach: Reach::Slow { resolver: true },
        settings: Settings::default(),
        look_ups: LookUps::Own,
    };
    let row = |name: &str, strategy, found| (Case::key(name, strategy), found);
    let each = |name: &str, strategy, found| {
        let case = Case {
            look_up_each: true,
            ..Case::key(name, strategy)
        };
        (case, found)
    };
    Part {
        name: "20 pods of 10 connections, 2 readers become 3, 2 CoreDNS caches",
        rows: vec![
            row("nothing", Strategy::Nothing, study(0.0, 0.0, 0.0)),
            row(
                "rolling restart 25 %/25 %",
                Strategy::RollingRestart,
                study(6.0, 46.0, 20.0),
            ),
            row(
                "evict blind, 1 at a time",
                Strategy::EvictBlind(1),
                study(12.0, 302.0, 20.0),
            ),
            row(
                "evict blind, 25 %",
                Strategy::EvictBlind(5),
                study(8.0, 80.0, 20.0),
            ),
            row(
                "signal all at once",
                Strategy::SignalAll,
                study(0.0, 2.0, 20.0),
            ),
            row(
                "signal blind, one per 6 s",
                Strategy::SignalBlind(6_000),
                study(9.0, 101.0, 20.0),
            ),
            row(
                "totals, blind choice of pods",
                Strategy::Totals,
                study(100.0, 173.0, 51.0),
            ),
            row(
                "evidence, signal",
                Strategy::evidence_only(),
                study(100.0, 38.0, 19.3),
            ),
            row("evidence, evict", evict, study(100.0, 133.0, 22.1)),
            row(
                "evidence and gate, one look",
                Strategy::one_look(),
                study(100.0, 27.0, 10.5),
            ),
            row(
                "evidence and gate, all 8 agree",
                Strategy::all_agree(),
                study(100.0, 61.0, 6.7),
            ),
            row(
                "recommended",
                Strategy::recommended(),
                study(100.0, 50.0, 8.0),
            ),
            row(
                "recommended, patience 40 s",
                Strategy::gated(Settings::new(15, Some(2))),
                Study::default(),
            ),
            each(
                "look-up a connection: blind",
                Strategy::SignalBlind(6_000),
                Study {
                    even: Some(28.0),
                    ..Study::default()
                },
            ),
            each(
                "look-up a connection: recommended",
                Strategy::recommended(),
                study(100.0, 40.0, 7.0),
            ),
        ],
    }
}

/// The recommended rule, by fleet.
#[must_use]
pub fn fleets() -> Part {
    let row = |pods: usize, found| {
        let case = Case {
            pods,
            ..Case::key(&format!("{pods} pods"), Strategy::recommended())
        };
        (case, found)
    };
    Part {
        name: "recommended, by pods",
        rows: vec![
            row(5, study(100.0, 28.0, 1.3)),
            row(20, study(100.0, 51.0, 8.1)),
            row(60, study(100.0, 41.0, 19.0)),
            row(200, study(100.0, 43.0, 67.0)),
        ],
    }
}

/// The key case, by caches.
#[must_use]
pub fn caches() -> Part {
    type Found = [(f64, f64); 4];
    const EVIDENCE: Found = [(19.7, 38.0), (19.3, 38.0), (19.1, 38.0), (19.3, 39.0)];
    const ONE: Found = [(6.3, 26.0), (10.5, 27.0), (14.2, 33.0), (14.7, 53.0)];
    const ALL: Found = [(6.3, 27.0), (6.7, 61.0), (8.2, 189.0), (14.7, 53.0)];
    const OWN: Found = [(6.3, 25.0), (8.0, 50.0), (11.0, 86.0), (14.6, 45.0)];
    let kinds = [
        Caches::Shared(1),
        Caches::Shared(2),
        Caches::Shared(4),
        Caches::NodeLocal,
    ];
    let mut rows = vec![];
    for (name, strategy, found) in [
        ("evidence only", Strategy::evidence_only(), EVIDENCE),
        ("gate, one look", Strategy::one_look(), ONE),
        ("gate, all 8 agree", Strategy::all_agree(), ALL),
        ("recommended", Strategy::recommended(), OWN),
    ] {
        for (caches, (pods, seconds)) in kinds.into_iter().zip(found) {
            let case = Case {
                caches,
                ..Case::key(&format!("{name}, {}", word(caches)), strategy.clone())
            };
            rows.push((case, study(100.0, seconds, pods)));
        }
    }
    let in_pod = Strategy::Steered {
        reach: Reach::Prompt,
        settings: Settings::default(),
        look_ups: LookUps::InPod,
    };
    let case = Case {
        caches: Caches::NodeLocal,
        ..Case::key("recommended, node-local, looked up in pods", in_pod)
    };
    rows.push((case, study(100.0, 19.0, 6.8)));
    Part {
        name: "20 pods, by DNS caches",
        rows,
    }
}

fn word(caches: Caches) -> String {
    match caches {
        Caches::Shared(n) => format!("{n} CoreDNS"),
        Caches::NodeLocal => "node-local".into(),
    }
}

/// After a rollout that left every pod on a random reader.
#[must_use]
pub fn trims() -> Part {
    let row = |after: usize, found| {
        let case = Case {
            before: 0,
            after,
            ..Case::key(&format!("trim, {after} readers"), Strategy::recommended())
        };
        (case, found)
    };
    Part {
        name: "trim after a rollout, 20 pods",
        rows: vec![
            row(2, study(100.0, 14.0, 1.9)),
            row(3, study(100.0, 28.0, 4.3)),
            row(4, study(100.0, 60.0, 7.3)),
        ],
    }
}

/// What goes wrong.
#[must_use]
pub fn failures() -> Part {
    let case = |name: &str, strategy| Case::key(name, strategy);
    let evidence = Strategy::evidence_only;
    let best = Strategy::recommended;
    let pods = |pods| Study {
        pods: Some(pods),
        ..Study::default()
    };
    Part {
        name: "failure modes",
        rows: vec![
            (
                Case {
                    late: 60_000,
                    ..case("absent from DNS for 60 s: evidence only", evidence())
                },
                pods(51.0),
            ),
            (
                Case {
                    late: 60_000,
                    ..case("absent from DNS for 60 s: recommended", best())
                },
                pods(9.4),
            ),
            (
                Case {
                    half_stale: true,
                    ..case("half of the answers stale: evidence only", evidence())
                },
                pods(38.0),
            ),
            (
                Case {
                    half_stale: true,
                    ..case("half of the answers stale: recommended", best())
                },
                study(100.0, 103.0, 11.4),
            ),
            (
                Case {
                    process: ProcessCache::Cold,
                    ..case("JVM cache 30 s, cold: recommended", best())
                },
                pods(6.4),
            ),
            (
                Case {
                    process: ProcessCache::Warm,
                    ..case("JVM cache 30 s, always warm: evidence only", evidence())
                },
                study(100.0, 41.0, 17.6),
            ),
            (
                Case {
                    process: ProcessCache::Warm,
                    ..case("JVM cache 30 s, always warm: recommended", best())
                },
                study(100.0, 87.0, 16.8),
            ),
            (
                Case {
                    reopen: 10_000,
                    ..case("pool reopens over 10 s: evidence only", evidence())
                },
                pods(16.6),
            ),
            (
                Case {
                    reopen: 10_000,
                    ..case("pool reopens over 10 s: recommended", best())
                },
                pods(11.4),
            ),
            (
                Case {
                    reopen: 30_000,
                    ..case("pool reopens over 30 s: evidence only", evidence())
                },
                pods(16.0),
            ),
            (
                Case {
                    reopen: 30_000,
                    ..case("pool reopens over 30 s: recommended", best())
                },
                study(100.0, 225.0, 14.0),
            ),
        ],
    }
}
