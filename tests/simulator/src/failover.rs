//! A failover with flicker: pods with writer pools on the old writer, and DNS that goes to the new one, back,
//! and there again.
//!
//! Pods were left on the old writer, which is a reader now. What is measured: until every connection is on the
//! new writer, and whether any pod was sent to the old one.

use std::collections::BTreeSet;

use fastrand::Rng;
use jiff::{SignedDuration, Timestamp};

use crate::dns::{Millis, WINDOW};
use crate::figures::Spread;
use dbbalance_api::rebalance_state::RebalanceState;
use dbbalance_core::balance::{
    self, EndpointAnswer, Holdings, Inputs, OtherConnections, PodView, Pools, Reach, Settings,
};
use dbbalance_core::topology::{InstanceId, MemberId, ResourceId, Topology};
use dbbalance_core::weights::ReaderWeights;

const PODS: usize = 20;
const CACHES: usize = 2;
const STEP: Millis = 250;

/// How a failover went.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct FailoverOutcome {
    /// Until the last connection was on the new writer.
    pub seconds: f64,
    /// Recycles that sent a pod to the old writer.
    pub sent_wrong: usize,
    /// Recycles.
    pub recycles: usize,
    /// All are right.
    pub is_right: bool,
}

struct WriterPod {
    view: PodView,
    is_right: bool,
    opens: Option<Millis>,
}

struct FailoverWorld {
    rng: Rng,
    /// The authority answers the new writer from `flips[0]`, the old one again from `flips[1]`, and the new one
    /// for good from `flips[2]`.
    flips: [Millis; 3],
    caches: [(bool, Millis); CACHES],
}

impl FailoverWorld {
    /// Whether an answer names the new writer.
    fn ask(&mut self, now: Millis) -> bool {
        let [first, back, last] = self.flips;
        let is_new = (first..back).contains(&now) || now >= last;
        let cache = &mut self.caches[self.rng.usize(..CACHES)];
        if now >= cache.1 {
            *cache = (is_new, now + WINDOW);
        }
        cache.0
    }
}

/// One failover; `looks` must agree.
#[must_use]
pub fn simulate_failover(seed: u64, looks: usize) -> FailoverOutcome {
    let mut rng = Rng::with_seed(seed ^ 0xfa11);
    let first = rng.u64(500..3_000);
    let back = first + rng.u64(500..4_000);
    let last = back + rng.u64(500..4_000);
    let phases = [rng.u64(..WINDOW), rng.u64(..WINDOW)];
    let mut world = FailoverWorld {
        rng,
        flips: [first, back, last],
        caches: phases.map(|until| (false, until)),
    };
    let settings = Settings {
        looks,
        ..Settings::default()
    };
    let topology = two_member_topology();
    let mut pods: Vec<WriterPod> = (0..PODS).map(stale_pod).collect();
    let mut memory = RebalanceState::default();
    let mut answers: Vec<EndpointAnswer> = vec![];
    let mut reading = Some(world.rng.u64(1_000..=3_000));
    let mut outcome = FailoverOutcome::default();
    let mut now = 0;
    while now < 120_000 && !pods.iter().all(|p| p.is_right) {
        for pod in pods
            .iter_mut()
            .filter(|p| p.opens.is_some_and(|at| at <= now))
        {
            pod.opens = None;
            pod.is_right = world.ask(now);
            pod.view.in_flight = false;
            pod.view.last_recycled = Some(simulated_time(now));
            outcome.sent_wrong += usize::from(!pod.is_right);
        }
        if now % 1_000 == 0 {
            answers.retain(|l| {
                l.at.duration_since(simulated_time(0)).as_millis() + 3_000 > i128::from(now)
            });
            for _ in 0..looks {
                let name = if world.ask(now) { "new" } else { "old" };
                answers.push(EndpointAnswer {
                    at: simulated_time(now),
                    instance: Some(InstanceId(name.into())),
                    via: None,
                });
            }
        }
        if reading.is_some_and(|at| at <= now) {
            reading = None;
            for pod in pods.iter_mut().filter(|p| p.opens.is_none()) {
                let name = if pod.is_right { "new" } else { "old" };
                let holds = Holdings {
                    by_instance: [(InstanceId(name.into()), 5)].into(),
                    ..Holdings::default()
                };
                pod.view.holds = Some(holds);
                pod.view.read_at = Some(simulated_time(now));
            }
        }
        let views: Vec<PodView> = pods.iter().map(|p| p.view.clone()).collect();
        let decision = balance::decide_balance(&Inputs {
            now: simulated_time(now),
            topology: &topology,
            leaving: &BTreeSet::new(),
            previous_writer: None,
            weights: &ReaderWeights::default(),
            others: &OtherConnections::default(),
            pools: Pools::Writer,
            pods: &views,
            looks: &[],
            writer_looks: &answers,
            free: 0,
            canary: false,
            event: Some(simulated_time(0)),
            reach: Reach::Prompt,
            name: None,
            settings: &settings,
            memory: &memory,
            scope: "",
            recent_change: false,
        });
        memory = decision.memory;
        for pod in pods
            .iter_mut()
            .filter(|p| decision.urgent.contains(&p.view.id))
        {
            let takes = world.rng.u64(50..=300) + world.rng.u64(100..=2_000);
            pod.opens = Some(now + takes);
            pod.view.in_flight = true;
            pod.view.recycles += 1;
            outcome.recycles += 1;
        }
        if reading.is_none() && decision.measure {
            reading = Some(now + world.rng.u64(1_000..=3_000));
        }
        now += STEP;
    }
    outcome.is_right = pods.iter().all(|p| p.is_right);
    outcome.seconds = millis_to_seconds(now);
    outcome
}

#[allow(clippy::cast_precision_loss)] // two minutes at most
fn millis_to_seconds(ms: Millis) -> f64 {
    ms as f64 / 1000.0
}

fn stale_pod(i: usize) -> WriterPod {
    WriterPod {
        view: PodView {
            id: format!("pod-{i:02}"),
            node: None,
            holds: None,
            read_at: None,
            ready: true,
            in_flight: false,
            started: None,
            last_recycled: None,
            recycles: 0,
            movable: true,
            before_failover: true,
            stale: false,
        },
        is_right: false,
        opens: None,
    }
}

fn two_member_topology() -> Topology {
    let member = |name: &str| MemberId {
        instance: InstanceId(name.into()),
        resource: ResourceId(name.into()),
    };
    Topology {
        arn: "arn".into(),
        resource: ResourceId("cluster".into()),
        writer: member("new"),
        readers: [member("old")].into(),
    }
}

fn simulated_time(at: Millis) -> Timestamp {
    let ms = SignedDuration::from_millis(i64::try_from(at).unwrap_or(i64::MAX));
    Timestamp::UNIX_EPOCH
        .saturating_add(ms)
        .unwrap_or(Timestamp::MAX)
}

/// Many failovers.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FailoverFigures {
    /// In the table.
    pub name: String,
    /// Runs.
    pub runs: u64,
    /// Runs in percent in which every connection ended on the new writer.
    pub right_percent: f64,
    /// Runs in percent in which a pod was sent to the old writer.
    pub sent_wrong_percent: f64,
    /// Until the last connection was on the new writer.
    pub seconds: Spread,
    /// Recycles.
    pub recycles: Spread,
}

/// Runs the seeds `0..runs`.
#[must_use]
#[allow(clippy::cast_precision_loss)] // counts of runs
pub fn measure_failovers(looks: usize, runs: u64) -> FailoverFigures {
    let outcomes: Vec<FailoverOutcome> = (0..runs)
        .map(|seed| simulate_failover(seed, looks))
        .collect();
    let percent = |is: fn(&FailoverOutcome) -> bool| {
        100.0 * outcomes.iter().filter(|o| is(o)).count() as f64 / runs.max(1) as f64
    };
    FailoverFigures {
        name: format!("failover with flicker, {looks} of {looks} looks agree"),
        runs,
        right_percent: percent(|o| o.is_right),
        sent_wrong_percent: percent(|o| o.sent_wrong > 0),
        seconds: Spread::of(outcomes.iter().map(|o| o.seconds).collect()),
        recycles: Spread::of(outcomes.iter().map(|o| o.recycles as f64).collect()),
    }
}
