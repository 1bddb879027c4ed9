//! Many clusters that fail over at once, and the gates of their policies, by the real sampler and the real checks.

use std::collections::BTreeSet;

use dbbalance_api::rebalance_state::RebalanceState;
use dbbalance_api::status::Trigger;
use dbbalance_core::balance::{
    EndpointAnswer, Holdings, Inputs, OtherConnections, PodView, Pools, Reach, Settings,
    decide_balance,
};
use dbbalance_core::dns::DnsSample;
use dbbalance_core::dns::agreement::{
    AwaitedChange, ExpectedAnswers, check_agreement, check_pools,
};
use dbbalance_core::topology::InstanceId;
use dbbalance_core::weights::ReaderWeights;

use super::*;

static NOBODY: BTreeSet<InstanceId> = BTreeSet::new();

/// How long a cluster's records lead elsewhere after the failover.
const FOLLOWS: SignedDuration = SignedDuration::from_secs(3);
/// The hold of a blind policy, by default.
const HOLD: SignedDuration = SignedDuration::from_secs(5);
/// The least time between two blind steps of a failover: the hold, and a second.
const PACE: SignedDuration = SignedDuration::from_secs(6);

/// What its policy measures.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Evidence {
    None,
    ProcNet,
}

/// One cluster that fails over from b to a, and its policy: its epoch opens, then it takes its steps.
struct Failover {
    key: ClusterKey,
    view: ClusterView,
    namespace: String,
    evidence: Evidence,
    opened: bool,
    /// Steps still to take, and when the last one was taken.
    steps: usize,
    stepped: Option<Timestamp>,
    /// When its policy is reconciled next.
    wake: Timestamp,
}

impl Failover {
    fn new(name: &str, namespace: &str, evidence: Evidence, now: Timestamp) -> Self {
        let mut view = view("abc");
        view.topology.arn = format!("arn:aws:rds:eu-west-1:123456789012:cluster:{name}");
        view.endpoints.writer = Some(format!("{name}.cluster-zone"));
        view.endpoints.reader = Some(format!("{name}.cluster-ro-zone"));
        Self {
            key: key(name),
            view,
            namespace: namespace.into(),
            evidence,
            opened: false,
            // The canary, four quarters, and the step that is confirmed; or a sweep of all at once.
            steps: if evidence == Evidence::None { 6 } else { 2 },
            stepped: None,
            wake: now,
        }
    }

    fn name(&self, endpoint: &str) -> String {
        format!("{}.{endpoint}", self.key.cluster.0)
    }

    fn is_done(&self) -> bool {
        self.steps == 0
    }

    /// Reconciles the policy: takes what its gates let it take, and asks for the looks that it waits for.
    fn reconcile(&mut self, bed: &Bed, settled: Timestamp) {
        let now = (bed.clock)();
        let dns = bed.dns.view(&self.key);
        let mut wanted = None;
        if !self.opened {
            self.opened = self.check_opening(&dns, settled, now);
            wanted = (!self.opened).then_some((vec![Endpoint::Writer], LookUrgency::Awaited));
        }
        if self.opened && !self.is_done() {
            let both = vec![Endpoint::Writer, Endpoint::Reader];
            let paced = self.stepped.filter(|_| self.evidence == Evidence::None);
            let is_due = paced.is_none_or(|at| now >= at + PACE);
            let urgency = if !is_due {
                LookUrgency::Expected
            } else if self.check_step(&dns, now) {
                self.steps -= 1;
                self.stepped = Some(now);
                LookUrgency::Expected
            } else {
                LookUrgency::Awaited
            };
            wanted = (!self.is_done()).then_some((both, urgency));
        }
        let request = wanted.map(|(endpoints, urgency)| LookRequest {
            endpoints,
            urgency,
            until: now + SignedDuration::from_secs(15),
        });
        let requester = requester(&self.namespace);
        bed.dns
            .request_looks(&self.key, &requester, request.as_ref());
        let paced = self.stepped.filter(|_| self.evidence == Evidence::None);
        let soon = now + SignedDuration::from_millis(500);
        self.wake = paced.map_or(soon, |at| soon.max(at + PACE));
    }

    fn expected<'a>(&'a self, former: &'a BTreeSet<std::net::IpAddr>) -> ExpectedAnswers<'a> {
        ExpectedAnswers {
            topology: &self.view.topology,
            former,
            leaving: &NOBODY,
            hold: (self.evidence == Evidence::None).then_some(HOLD),
            // Each check says since when.
            since: Timestamp::MAX,
            after: None,
        }
    }

    fn check_opening(&self, dns: &DnsView, settled: Timestamp, now: Timestamp) -> bool {
        let former = BTreeSet::new();
        let awaited = AwaitedChange {
            triggers: &[Trigger::Failover],
            added: &BTreeSet::new(),
            has_reader_pools: true,
            expected: ExpectedAnswers {
                since: settled,
                ..self.expected(&former)
            },
        };
        check_agreement(awaited, dns, now).is_ok()
    }

    fn check_step(&self, dns: &DnsView, now: Timestamp) -> bool {
        if self.evidence == Evidence::ProcNet {
            return self.has_sweep(dns, now, Pools::Writer, "b")
                && self.has_sweep(dns, now, Pools::Reader, "a");
        }
        let former = BTreeSet::new();
        let expected = ExpectedAnswers {
            since: now,
            after: self.stepped.filter(|_| self.steps == 1),
            ..self.expected(&former)
        };
        check_pools([Endpoint::Writer, Endpoint::Reader], &expected, dns, now).is_ok()
    }
}

impl Failover {
    /// Whether a pod whose connections a failover has left on this instance is taken now.
    fn has_sweep(&self, dns: &DnsView, now: Timestamp, pools: Pools, on: &str) -> bool {
        let answers = |looks: &[DnsSample]| {
            let answer = |look: &DnsSample| EndpointAnswer {
                at: look.at,
                instance: dns.instance_of(look),
                via: None,
            };
            looks.iter().map(answer).collect::<Vec<_>>()
        };
        let pod = PodView {
            id: "web-0".into(),
            node: None,
            holds: Some(Holdings {
                by_instance: BTreeMap::from([(InstanceId(on.into()), 10)]),
                ..Holdings::default()
            }),
            read_at: Some(now),
            ready: true,
            in_flight: false,
            started: None,
            last_recycled: None,
            recycles: 0,
            movable: true,
            before_failover: true,
            stale: true,
        };
        let decision = decide_balance(&Inputs {
            now,
            topology: &self.view.topology,
            leaving: &NOBODY,
            previous_writer: None,
            weights: &ReaderWeights::default(),
            others: &OtherConnections::default(),
            pools,
            pods: &[pod],
            looks: &answers(&dns.reader),
            writer_looks: &answers(&dns.writer),
            free: 0,
            canary: false,
            event: None,
            reach: Reach::Prompt,
            name: None,
            settings: &Settings::default(),
            memory: &RebalanceState::default(),
            scope: "",
            recent_change: true,
        });
        !decision.urgent.is_empty()
    }
}

/// Clusters that fail over at once, each with its policy. Returns how long each takes; `None`: longer than ten minutes.
async fn fail_over(bed: &Bed, mut all: Vec<Failover>) -> Vec<Option<SignedDuration>> {
    let began = (bed.clock)();
    for one in &all {
        bed.script.set(&one.name("cluster-zone"), "b");
        bed.script.set(&one.name("cluster-ro-zone"), "b");
        bed.dns.watch(&one.key, &one.view);
    }
    let mut updates = bed.dns.updates();
    let mut took = vec![None; all.len()];
    while (bed.clock)().duration_since(began) < SignedDuration::from_mins(10)
        && took.contains(&None)
    {
        let now = (bed.clock)();
        if now.duration_since(began) >= FOLLOWS {
            for one in all.iter().filter(|one| !one.namespace.starts_with("stuck")) {
                bed.script.set(&one.name("cluster-zone"), "a");
                bed.script.set(&one.name("cluster-ro-zone"), "bcbcb");
            }
        }
        let woken: HashSet<ClusterKey> = drain(&mut updates)
            .into_iter()
            .filter(|update| update.wake)
            .map(|update| update.key)
            .collect();
        for (one, took) in all.iter_mut().zip(&mut took) {
            if one.wake <= now || woken.contains(&one.key) {
                one.reconcile(bed, began);
            }
            if one.is_done() && took.is_none() {
                *took = Some(now.duration_since(began));
            }
        }
        sleep(Duration::from_millis(100)).await;
    }
    took
}

/// Returns the longest time of those that must end, in seconds.
fn longest(took: &[Option<SignedDuration>]) -> i64 {
    let ended: Option<Vec<i64>> = took.iter().map(|t| t.map(|t| t.as_secs())).collect();
    let ended = ended.unwrap_or_else(|| panic!("some are held without end: {took:?}"));
    ended.into_iter().max().unwrap()
}

async fn fail_over_together(clusters: usize, evidence: Evidence) -> i64 {
    let bed = Bed::new(true, 50);
    let now = (bed.clock)();
    let all = (0..clusters).map(|n| Failover::new(&format!("c{n}"), "shop", evidence, now));
    let longest = longest(&fail_over(&bed, all.collect()).await);
    println!("{clusters} clusters, evidence {evidence:?}: all in {longest} s");
    longest
}

#[tokio::test(start_paused = true)]
async fn a_cluster_that_fails_over_alone_waits_for_no_turn() {
    assert!(fail_over_together(1, Evidence::ProcNet).await <= 10);
    assert!(fail_over_together(1, Evidence::None).await <= 50);
}

#[tokio::test(start_paused = true)]
async fn clusters_that_fail_over_together_do_not_hold_each_other_by_their_looks() {
    for (clusters, blind, measured) in [(8, 60, 20), (20, 90, 40), (60, 240, 120)] {
        assert!(fail_over_together(clusters, Evidence::None).await <= blind);
        assert!(fail_over_together(clusters, Evidence::ProcNet).await <= measured);
    }
}

#[tokio::test(start_paused = true)]
async fn a_hundred_clusters_of_one_namespace_whose_dns_is_stuck_delay_those_of_others_little() {
    for evidence in [Evidence::None, Evidence::ProcNet] {
        let bed = Bed::new(true, 50);
        let now = (bed.clock)();
        let stuck = (0..100).map(|n| Failover::new(&format!("s{n}"), "stuck", evidence, now));
        let other = (0..3).map(|n| Failover::new(&format!("c{n}"), "shop", evidence, now));
        let took = fail_over(&bed, other.chain(stuck).collect()).await;
        let longest = longest(&took[..3]);
        println!("beside 100 stuck clusters, evidence {evidence:?}: all in {longest} s");
        assert!(longest <= 90);
    }
}

#[tokio::test(start_paused = true)]
async fn at_the_lowest_rate_looks_are_fresh_when_they_are_made() {
    let bed = Bed::new(true, 5);
    let now = (bed.clock)();
    for evidence in [Evidence::None, Evidence::ProcNet] {
        let all = (0..3).map(|n| Failover::new(&format!("c{n}"), "shop", evidence, now));
        let longest = longest(&fail_over(&bed, all.collect()).await);
        println!("3 clusters at 5 look-ups/s, evidence {evidence:?}: all in {longest} s");
        assert!(longest <= 240);
    }
}

#[tokio::test(start_paused = true)]
async fn names_that_are_narrowed_delay_no_failover() {
    for evidence in [Evidence::None, Evidence::ProcNet] {
        let bed = Bed::new(true, 50);
        let now = (bed.clock)();
        let narrowed = (0..10).map(|n| Failover::new(&format!("n{n}"), "other", evidence, now));
        for one in narrowed {
            bed.dns.watch(&one.key, &one.view);
            bed.dns.look_at(&one.key, &one.name("cluster-ro-zone"));
        }
        let all = vec![Failover::new("c0", "shop", evidence, now)];
        let longest = longest(&fail_over(&bed, all).await);
        println!("beside 10 narrowed names, evidence {evidence:?}: {longest} s");
        assert!(longest <= if evidence == Evidence::None { 50 } else { 10 });
    }
}
