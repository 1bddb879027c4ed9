//! A failover where nothing is measured: the gates of the operator, on the timeline of the testbed's `realistic` profile.
//!
//! What is counted: pools that were opened where they do not belong, and stay there. The caches are those of `dns`, two
//! levels deep where each node has its own; the operator asks as a pod of the first node does.

use std::collections::BTreeSet;
use std::net::IpAddr;

use fastrand::Rng;
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use crate::dns::{Millis, WINDOW};
use crate::figures::Spread;
use dbbalance_api::spec::Endpoint;
use dbbalance_api::status::Trigger;
use dbbalance_core::dns::agreement::{
    AwaitedChange, ExpectedAnswers, check_agreement, check_pools,
};
use dbbalance_core::dns::{AddressBook, DnsSample, DnsSamples, DnsView};
use dbbalance_core::topology::{InstanceId, MemberId, ResourceId, Topology};

/// The testbed's own figures.
const TIMELINE: &str = include_str!("../../testbed/src/aurora/timelines/realistic.json");
/// The nodes on which pods run.
const NODES: usize = 8;
/// The pods of a fleet; a failover recycles each once.
const PODS: usize = 20;
/// The shared caches: the usual two replicas of `CoreDNS`.
const SHARED: usize = 2;
/// How often the operator looks at each endpoint while it waits, and a node's other pods at most.
const LOOK: Millis = 125;
/// How often the operator looks otherwise.
const IDLE_LOOK: Millis = 5_000;
/// How often it plans while it waits.
const PASS: Millis = 500;
/// The default of `pacing.intervalSeconds`.
const INTERVAL: Millis = 10_000;
/// When a run is given up: nothing is held for so long on this timeline.
const END: Millis = 400_000;

/// What is simulated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlindFailover {
    /// Members of the cluster.
    pub members: usize,
    /// The writer's record goes new, old, new.
    pub flickers: bool,
    /// Each node has a cache of its own before the shared ones.
    pub has_node_caches: bool,
    /// Which pool the pods have.
    pub pool: Endpoint,
    /// The method is verified: steps take a quarter of the pods from the first one on.
    pub is_verified: bool,
    /// `dns.holdSeconds`; `None` opens by eight looks alone, as where connections are measured afterwards.
    pub hold: Option<i64>,
}

/// How a failover went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlindOutcome {
    /// Pools that were opened, in the end all.
    pub opened: usize,
    /// Pools that stay where they do not belong.
    pub wrong: usize,
    /// From the call of the failover until the epoch was open.
    pub epoch_opened: Millis,
    /// From the call of the failover until the last pool was opened.
    pub ended: Millis,
}

/// When the records change, in milliseconds from the call.
#[derive(Clone, Copy)]
struct Timeline {
    api: Millis,
    writer: [Millis; 3],
    readers: Millis,
}

impl Timeline {
    fn load(flickers: bool) -> Self {
        let file: Value = serde_json::from_str(TIMELINE).unwrap_or_default();
        let figure = |part: &str, name: &str| {
            let seconds = file[part][name]["seconds"].as_f64().unwrap_or_default();
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // a minute at most
            let millis = (seconds * 1000.0) as Millis;
            millis
        };
        let first = figure("failover", "dnsWriter");
        let back = first + figure("flicker", "back");
        let again = first + figure("flicker", "again");
        Self {
            api: figure("failover", "api"),
            writer: if flickers {
                [first, back, again]
            } else {
                [first, first, first]
            },
            readers: figure("failover", "dnsReaders"),
        }
    }

    /// What the authority answers: the number of a member, of which 0 was the writer and 1 is it now.
    fn draw(self, endpoint: Endpoint, now: Millis, members: usize, rng: &mut Rng) -> usize {
        let [first, back, again] = self.writer;
        match endpoint {
            Endpoint::Writer => usize::from((first..back).contains(&now) || now >= again),
            Endpoint::Reader => {
                let writer = usize::from(now >= self.readers);
                let reader = rng.usize(..members - 1);
                if reader < writer { reader } else { reader + 1 }
            }
        }
    }
}

#[derive(Clone, Copy, Default)]
struct CachedAnswer {
    member: usize,
    until: Millis,
}

/// The caches of one endpoint.
struct EndpointCaches {
    shared: [CachedAnswer; SHARED],
    nodes: Option<[CachedAnswer; NODES]>,
}

/// A run in progress.
struct BlindRun {
    case: BlindFailover,
    timeline: Timeline,
    rng: Rng,
    caches: [EndpointCaches; 2],
    samples: [DnsSamples; 2],
}

impl BlindRun {
    fn new(case: BlindFailover, seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed ^ 0xb11d);
        let mut caches = || EndpointCaches {
            shared: [CachedAnswer::default(); SHARED].map(|c| CachedAnswer {
                member: 0,
                until: rng.u64(..WINDOW) + c.until,
            }),
            nodes: case.has_node_caches.then(|| {
                [CachedAnswer::default(); NODES].map(|_| CachedAnswer {
                    member: 0,
                    until: rng.u64(..WINDOW),
                })
            }),
        };
        let mut run = Self {
            case,
            timeline: Timeline::load(case.flickers),
            caches: [caches(), caches()],
            samples: [DnsSamples::default(), DnsSamples::default()],
            rng,
        };
        for caches in [0, 1] {
            let kept = run.caches[caches].shared;
            run.caches[caches].shared = kept.map(|c| CachedAnswer {
                member: usize::from(caches == 1),
                ..c
            });
        }
        run
    }

    /// One look-up from a node: the member that is answered, and for how long the answer is valid.
    fn ask(&mut self, endpoint: Endpoint, node: usize, now: Millis) -> CachedAnswer {
        let caches = &mut self.caches[index_of(endpoint)];
        let local = caches.nodes.as_ref().map(|nodes| nodes[node]);
        if let Some(local) = local.filter(|l| now < l.until) {
            return local;
        }
        let shared = &mut caches.shared[self.rng.usize(..SHARED)];
        if now >= shared.until {
            *shared = CachedAnswer {
                member: self
                    .timeline
                    .draw(endpoint, now, self.case.members, &mut self.rng),
                until: now + WINDOW,
            };
        }
        let mut answer = *shared;
        if let Some(nodes) = &mut caches.nodes {
            // The least time of the node's cache counts from its own question.
            answer.until = answer.until.max(now + WINDOW);
            nodes[node] = answer;
        }
        answer
    }

    fn look(&mut self, now: Millis) {
        for endpoint in [Endpoint::Writer, Endpoint::Reader] {
            let answer = self.ask(endpoint, 0, now);
            let left = answer.until.saturating_sub(now) / 1000;
            self.samples[index_of(endpoint)].push(DnsSample {
                at: simulated_time(now),
                address: Some(address_of(answer.member)),
                instance: Some(instance_of(answer.member)),
                ttl: u32::try_from(left).unwrap_or(0),
                failure: None,
            });
        }
    }

    /// What other pods ask keeps the caches warm, and as old as they may be.
    fn disturb(&mut self, now: Millis) {
        let node = self.rng.usize(1..NODES);
        for endpoint in [Endpoint::Writer, Endpoint::Reader] {
            self.ask(endpoint, node, now);
        }
    }

    fn view(&self) -> DnsView {
        let [writer, reader] = &self.samples;
        DnsView {
            writer: writer.to_vec(),
            writers_named: writer.by_address(),
            reader: reader.to_vec(),
            readers_named: reader.by_address(),
            since: writer.since().max(reader.since()),
            book: AddressBook::default(),
        }
    }

    fn is_right(&self, member: usize) -> bool {
        match self.case.pool {
            Endpoint::Writer => member == 1,
            Endpoint::Reader => member != 1,
        }
    }
}

const fn index_of(endpoint: Endpoint) -> usize {
    match endpoint {
        Endpoint::Writer => 0,
        Endpoint::Reader => 1,
    }
}

/// Runs one failover of a fleet.
#[must_use]
pub fn simulate_blind_failover(case: BlindFailover, seed: u64) -> BlindOutcome {
    let mut run = BlindRun::new(case, seed);
    // Two readings that agree, a second apart.
    let settled = run.timeline.api + run.rng.u64(1_000..=2_000);
    let topology = topology_after(case.members);
    let expected = ExpectedAnswers {
        topology: &topology,
        former: &BTreeSet::new(),
        leaving: &BTreeSet::new(),
        hold: case.hold.map(SignedDuration::from_secs),
        since: simulated_time(settled),
        after: None,
        leaving: &BTreeSet::new(),
    };
    let awaited = AwaitedChange {
        triggers: &[Trigger::Failover],
        added: &BTreeSet::new(),
        has_reader_pools: case.pool == Endpoint::Reader,
        expected,
    };
    let mut outcome = BlindOutcome {
        opened: 0,
        wrong: 0,
        epoch_opened: 0,
        ended: 0,
    };
    // The event by which the epoch opens, the start of the run and the first step are passes of their own.
    let mut next_step = None;
    let mut last_step = None;
    let mut pending: Vec<Millis> = vec![];
    let mut left = PODS;
    let mut now = 0;
    while now < END && (outcome.opened < PODS || left > 0) {
        let interval = if now < settled { IDLE_LOOK } else { LOOK };
        if now % interval == 0 {
            run.look(now);
        }
        run.disturb(now);
        let due: Vec<Millis> = pending.extract_if(.., |at| *at <= now).collect();
        for _ in due {
            let node = run.rng.usize(..NODES);
            let answer = run.ask(case.pool, node, now);
            outcome.opened += 1;
            outcome.wrong += usize::from(!run.is_right(answer.member));
            outcome.ended = now;
        }
        if now >= settled && now % PASS == 0 {
            let (view, time) = (run.view(), simulated_time(now));
            match next_step {
                None => {
                    if check_agreement(awaited, &view, time).is_ok() {
                        outcome.epoch_opened = now;
                        next_step = Some(now + 1_000 + run.rng.u64(..1_000));
                    }
                }
                Some(at) if now >= at && left > 0 => {
                    let quarter = PODS / 4;
                    let is_canary = last_step.is_none() && !case.is_verified;
                    let batch = if is_canary { 1 } else { quarter.min(left) };
                    let expected = ExpectedAnswers {
                        after: last_step.filter(|_| batch == left).map(simulated_time),
                        since: time,
                        ..expected
                    };
                    if case.hold.is_none()
                        || check_pools([case.pool], &expected, &view, time).is_ok()
                    {
                        for _ in 0..batch {
                            let takes = run.rng.u64(50..=300) + run.rng.u64(100..=2_000);
                            pending.push(now + takes);
                        }
                        left -= batch;
                        last_step = Some(now);
                        next_step = Some(now + INTERVAL);
                    }
                }
                Some(_) => {}
            }
        }
        now += LOOK;
    }
    outcome
}

fn topology_after(members: usize) -> Topology {
    let member = |n: usize| MemberId {
        instance: instance_of(n),
        resource: ResourceId(format!("db-{n}")),
    };
    Topology {
        arn: "arn".into(),
        resource: ResourceId("cluster".into()),
        writer: member(1),
        readers: (0..members).filter(|n| *n != 1).map(member).collect(),
    }
}

fn instance_of(member: usize) -> InstanceId {
    InstanceId(format!("instance-{member}"))
}

fn address_of(member: usize) -> IpAddr {
    IpAddr::from([10, 0, 0, u8::try_from(member).unwrap_or(u8::MAX)])
}

fn simulated_time(at: Millis) -> Timestamp {
    let ms = SignedDuration::from_millis(i64::try_from(at).unwrap_or(i64::MAX));
    Timestamp::UNIX_EPOCH
        .saturating_add(ms)
        .unwrap_or(Timestamp::MAX)
}

/// Many blind failovers.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BlindFigures {
    /// In the table.
    pub name: String,
    /// Failovers.
    pub runs: u64,
    /// Pools that were opened.
    pub opened: usize,
    /// Pools that stay where they do not belong.
    pub wrong: usize,
    /// From the call until the epoch was open.
    pub epoch_opened: Spread,
    /// From the call until the last pool was opened.
    pub seconds: Spread,
}

/// Runs the seeds `0..runs`.
#[must_use]
#[allow(clippy::cast_precision_loss)] // minutes, and counts of runs
pub fn measure_blind_failovers(case: BlindFailover, runs: u64) -> BlindFigures {
    let outcomes: Vec<BlindOutcome> = (0..runs)
        .map(|seed| simulate_blind_failover(case, seed))
        .collect();
    let seconds = |of: fn(&BlindOutcome) -> Millis| {
        Spread::of(outcomes.iter().map(|o| of(o) as f64 / 1000.0).collect())
    };
    BlindFigures {
        name: case.describe(),
        runs,
        opened: outcomes.iter().map(|o| o.opened).sum(),
        wrong: outcomes.iter().map(|o| o.wrong).sum(),
        epoch_opened: seconds(|o| o.epoch_opened),
        seconds: seconds(|o| o.ended),
    }
}

impl BlindFailover {
    /// Returns every combination with this hold.
    #[must_use]
    pub fn all(hold: Option<i64>) -> Vec<Self> {
        let mut all = vec![];
        for pool in [Endpoint::Writer, Endpoint::Reader] {
            for members in [2, 3] {
                for flickers in [false, true] {
                    for has_node_caches in [false, true] {
                        for is_verified in [false, true] {
                            all.push(Self {
                                members,
                                flickers,
                                has_node_caches,
                                pool,
                                is_verified,
                                hold,
                            });
                        }
                    }
                }
            }
        }
        all
    }

    fn describe(self) -> String {
        let pool = match self.pool {
            Endpoint::Writer => "writer pools",
            Endpoint::Reader => "reader pools",
        };
        let says = |is: bool, what: &'static str| if is { what } else { "" };
        format!(
            "{pool}, {} members{}{}{}, {}",
            self.members,
            says(self.flickers, ", flicker"),
            says(self.has_node_caches, ", node caches"),
            says(self.is_verified, ", verified"),
            self.hold
                .map_or("eight looks alone".to_owned(), |h| format!("hold {h} s")),
        )
    }
}
