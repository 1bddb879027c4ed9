//! The table: the cases, with what the study of steering found for each.

use crate::case::{Caches, LookUps, ProcessCache, RecycleStrategy, SimulationCase};
use dbbalance_core::balance::{Reach, Settings};

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
pub struct TablePart {
    /// Its heading.
    pub name: &'static str,
    /// Its rows.
    pub rows: Vec<TableRow>,
}

/// A row.
pub struct TableRow {
    /// The case.
    pub case: SimulationCase,
    /// What the study found.
    pub study: Study,
    /// Where this simulator is known to find something else: what, and why.
    pub differs: Option<(Study, &'static str)>,
}

impl TableRow {
    const fn new(case: SimulationCase, study: Study) -> Self {
        Self {
            case,
            study,
            differs: None,
        }
    }

    fn differs(self, found: Study, why: &'static str) -> Self {
        Self {
            differs: Some((found, why)),
            ..self
        }
    }

    /// What the row is held against.
    #[must_use]
    pub fn expected(&self) -> Study {
        self.differs.map_or(self.study, |(found, _)| found)
    }
}

/// All parts.
#[must_use]
pub fn all_parts() -> Vec<TablePart> {
    vec![
        key_part(),
        narrowed_part(),
        fleet_sizes(),
        cache_kinds(),
        trim_cases(),
        failure_cases(),
    ]
}

/// The key case, by strategy.
#[must_use]
pub fn key_part() -> TablePart {
    let evict = RecycleStrategy::Steered {
        reach: Reach::Slow { resolver: true },
        settings: Settings::default(),
        look_ups: LookUps::Own,
        landing: None,
    };
    let row =
        |name: &str, strategy, found| TableRow::new(SimulationCase::key(name, strategy), found);
    let each = |name: &str, strategy, found| {
        let case = SimulationCase {
            look_up_each: true,
            ..SimulationCase::key(name, strategy)
        };
        TableRow::new(case, found)
    };
    TablePart {
        name: "20 pods of 10 connections, 2 readers become 3, 2 CoreDNS caches",
        rows: vec![
            row("nothing", RecycleStrategy::Nothing, study(0.0, 0.0, 0.0)),
            row("rolling restart 25 %/25 %", RecycleStrategy::RollingRestart, study(6.0, 46.0, 20.0)),
            row("evict blind, 1 at a time", RecycleStrategy::EvictBlind(1), study(12.0, 302.0, 20.0))
                .differs(study(12.0, 402.0, 20.0), "20 starts of 10 to 30 s each, one after the other"),
            row("evict blind, 25 %", RecycleStrategy::EvictBlind(5), study(8.0, 80.0, 20.0)),
            row("signal all at once", RecycleStrategy::SignalAll, study(0.0, 2.0, 20.0)),
            row("signal blind, one per 6 s", RecycleStrategy::SignalBlind(6_000), study(9.0, 101.0, 20.0)),
            row("totals, blind choice of pods", RecycleStrategy::Totals, study(100.0, 173.0, 51.0)),
            row("evidence, signal", RecycleStrategy::evidence_only(), study(100.0, 38.0, 19.3)),
            row("evidence, evict", evict, study(100.0, 133.0, 22.1)).differs(
                study(100.0, 170.0, 18.5),
                "a batch is no larger than what would get inside the band, so fewer pods in more batches",
            ),
            row("evidence and gate, one look", RecycleStrategy::one_look(), study(100.0, 27.0, 10.5)),
            row("evidence and gate, all 8 agree", RecycleStrategy::all_agree(), study(100.0, 61.0, 6.7)),
            row("recommended", RecycleStrategy::recommended(), study(100.0, 50.0, 8.0)),
            row(
                "recommended, patience 40 s",
                RecycleStrategy::gated(Settings::new(15, Some(2))),
                Study::default(),
            ),
            each("look-up a connection: blind", RecycleStrategy::SignalBlind(6_000), Study { even: Some(28.0), ..Study::default() }),
            each("look-up a connection: recommended", RecycleStrategy::recommended(), study(100.0, 40.0, 7.0))
                .differs(study(100.0, 53.0, 7.3), "the gate waits as long as for one look-up a pool"),
        ],
    }
}

/// The key case by a narrowed name, and where it meets other caches and fleets. The prototype on real name servers measured 6
/// pods; without the canary, which is not simulated, 7.1 s behind caches and 3.7 s by a server block of its own.
#[must_use]
pub fn narrowed_part() -> TablePart {
    let evict = Reach::Slow { resolver: true };
    let row = |name: &str, reach, is_cached, pods| {
        let strategy = RecycleStrategy::narrowed(reach, is_cached);
        let case = SimulationCase::key(name, strategy);
        let study = Study {
            even: Some(100.0),
            seconds: None,
            pods: Some(pods),
        };
        TableRow::new(case, study)
    };
    let with = |mut row: TableRow, change: fn(&mut SimulationCase)| {
        change(&mut row.case);
        row
    };
    let prompt = Reach::Prompt;
    let rows = vec![
        row(
            "Signal or HTTP, Service behind caches of 5 s",
            prompt,
            true,
            6.0,
        ),
        row(
            "Signal or HTTP, Slice by a block of its own",
            prompt,
            false,
            6.0,
        ),
        row("Evict, Service behind caches of 5 s", evict, true, 6.0),
        row("Evict, Slice by a block of its own", evict, false, 6.0),
        with(row("Signal, 60 pods", prompt, true, 14.0), |c| c.pods = 60),
        with(row("Signal, 2 readers become 4", prompt, true, 10.0), |c| {
            c.after = 4;
        }),
        with(row("Signal, 1 reader becomes 2", prompt, true, 9.0), |c| {
            (c.before, c.after) = (1, 2);
        }),
        with(
            row("Signal, a rollout before, 3 readers", prompt, true, 4.0),
            |c| {
                (c.before, c.is_rolled) = (3, true);
            },
        ),
        with(
            row("Signal, JVM cache 30 s, cold", prompt, true, 6.0),
            |c| {
                c.process = ProcessCache::Cold;
            },
        ),
        with(
            row("Signal, JVM cache 30 s, always warm", prompt, true, 12.0),
            |c| {
                c.process = ProcessCache::Warm;
            },
        ),
    ];
    TablePart {
        name: "20 pods of 10 connections, 2 readers become 3, by a narrowed name",
        rows,
    }
}

/// The recommended rule, by fleet.
#[must_use]
pub fn fleet_sizes() -> TablePart {
    let row = |pods: usize, found| {
        let case = SimulationCase {
            pods,
            ..SimulationCase::key(&format!("{pods} pods"), RecycleStrategy::recommended())
        };
        TableRow::new(case, found)
    };
    TablePart {
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
pub fn cache_kinds() -> TablePart {
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
        ("evidence only", RecycleStrategy::evidence_only(), EVIDENCE),
        ("gate, one look", RecycleStrategy::one_look(), ONE),
        ("gate, all 8 agree", RecycleStrategy::all_agree(), ALL),
        ("recommended", RecycleStrategy::recommended(), OWN),
    ] {
        for (caches, (pods, seconds)) in kinds.into_iter().zip(found) {
            let case = SimulationCase {
                caches,
                ..SimulationCase::key(
                    &format!("{name}, {}", describe_caches(caches)),
                    strategy.clone(),
                )
            };
            let row = TableRow::new(case, study(100.0, seconds, pods));
            rows.push(if caches == Caches::Shared(1) && name == "evidence only" {
                row.differs(
                    study(97.5, 49.0, 21.5),
                    "a batch every 4 s asks the one cache that keeps its answer for 5 s: repeats, and pods used up",
                )
            } else {
                row
            });
        }
    }
    let in_pod = RecycleStrategy::Steered {
        reach: Reach::Prompt,
        settings: Settings::default(),
        look_ups: LookUps::InPod,
        landing: None,
    };
    let case = SimulationCase {
        caches: Caches::NodeLocal,
        ..SimulationCase::key("recommended, node-local, looked up in pods", in_pod)
    };
    rows.push(TableRow::new(case, study(100.0, 19.0, 6.8)).differs(
        study(100.0, 10.0, 6.7),
        "a gate a node: some node's cache is open at any time, so nobody waits",
    ));
    TablePart {
        name: "20 pods, by DNS caches",
        rows,
    }
}

fn describe_caches(caches: Caches) -> String {
    match caches {
        Caches::Shared(n) => format!("{n} CoreDNS"),
        Caches::NodeLocal => "node-local".into(),
    }
}

/// After a rolling restart.
#[must_use]
pub fn trim_cases() -> TablePart {
    let row = |after: usize, found| {
        let case = SimulationCase {
            before: after,
            after,
            is_rolled: true,
            ..SimulationCase::key(
                &format!("trim, {after} readers"),
                RecycleStrategy::recommended(),
            )
        };
        TableRow::new(case, found)
    };
    TablePart {
        name: "trim after a rollout, 20 pods",
        rows: vec![
            row(2, study(100.0, 14.0, 1.9)),
            row(3, study(100.0, 28.0, 4.3)),
            row(4, study(100.0, 60.0, 7.3)),
        ],
    }
}

/// What goes wrong: evidence only, then the recommended rule.
#[must_use]
pub fn failure_cases() -> TablePart {
    let pods = |pods| Study {
        pods: Some(pods),
        ..Study::default()
    };
    let some_exhausted = |even, pods| Study {
        even: Some(even),
        pods: Some(pods),
        seconds: None,
    };
    let row = |name: &str, strategy, change: fn(&mut SimulationCase), found| {
        let mut case = SimulationCase::key(name, strategy);
        change(&mut case);
        TableRow::new(case, found)
    };
    let alone = |name: &str, change, found| {
        let name = format!("{name}: evidence only");
        row(&name, RecycleStrategy::evidence_only(), change, found)
    };
    let best = |name: &str, change, found| {
        let name = format!("{name}: recommended");
        row(&name, RecycleStrategy::recommended(), change, found)
    };
    let late: fn(&mut SimulationCase) = |case| case.late = 60_000;
    let half: fn(&mut SimulationCase) = |case| case.half_stale = true;
    let cold: fn(&mut SimulationCase) = |case| case.process = ProcessCache::Cold;
    let warm: fn(&mut SimulationCase) = |case| case.process = ProcessCache::Warm;
    let lazy: fn(&mut SimulationCase) = |case| case.reopen = 10_000;
    let very_lazy: fn(&mut SimulationCase) = |case| case.reopen = 30_000;
    let rows = vec![
        alone("absent from DNS for 60 s", late, pods(51.0)).differs(
            some_exhausted(76.0, 48.3),
            "three recycles a pod: one run of four has no pod left",
        ),
        best("absent from DNS for 60 s", late, pods(9.4)).differs(
            pods(8.1),
            "a reader that nobody names is waited for, so its absence costs nothing",
        ),
        alone("half of the answers stale", half, pods(38.0)).differs(
            some_exhausted(78.0, 34.3),
            "three recycles a pod: one run of five has no pod left",
        ),
        best("half of the answers stale", half, study(100.0, 103.0, 11.4)),
        best("JVM cache 30 s, cold", cold, pods(6.4)).differs(
            pods(7.6),
            "no pod goes twice within 35 s, so a cold cache changes nothing",
        ),
        alone(
            "JVM cache 30 s, always warm",
            warm,
            study(100.0, 41.0, 17.6),
        ),
        best(
            "JVM cache 30 s, always warm",
            warm,
            study(100.0, 87.0, 16.8),
        ),
        alone("pool reopens over 10 s", lazy, pods(16.6)),
        best("pool reopens over 10 s", lazy, pods(11.4)),
        alone("pool reopens over 30 s", very_lazy, pods(16.0)),
        best(
            "pool reopens over 30 s",
            very_lazy,
            study(100.0, 225.0, 14.0),
        ),
    ];
    TablePart {
        name: "failure modes",
        rows,
    }
}
