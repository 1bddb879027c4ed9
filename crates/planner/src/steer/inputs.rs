//! What the balance decides from: a target's world, as `domain::balance` takes it.
//!
//! Only brings values over. What is misplaced, and who moves for it, is decided there.

use jiff::{SignedDuration, Timestamp};

use crate::pods::{Scene, Stage};
use crate::world::{TargetEvidence, World};
use dbbalance_api::rebalance_state::RebalanceState;
use dbbalance_api::spec::{Fallback, Method};
use dbbalance_core::balance::{EndpointAnswer, Holdings, Inputs, PodView, Pools, Reach, Settings};
use dbbalance_core::dns::{self, DnsView};
use dbbalance_core::evidence::{Evidence, PodHoldings, Socket, kept_sockets};
use dbbalance_core::pod::PodFacts;
use dbbalance_core::topology::{InstanceId, Topology};

/// A recycled pod whose pools have not come back by then is measured as it is.
const SETTLE: SignedDuration = SignedDuration::from_secs(30);
/// From the claim to the moment from which on a reading can show the new connections: the effect itself,
/// and what the app needs to begin.
pub(super) const REOPENING: SignedDuration = SignedDuration::from_millis(500);
/// How much of its former connections a pod must hold to be back, in percent: a pool may be lazy.
const BACK_PERCENT: usize = 90;

/// The values that the inputs borrow.
pub(super) struct Gathered {
    pub topology: Topology,
    pub previous_writer: Option<InstanceId>,
    pub pools: Pools,
    pub pods: Vec<PodView>,
    pub looks: Vec<EndpointAnswer>,
    pub writer_looks: Vec<EndpointAnswer>,
    pub canary: bool,
    pub event: Option<Timestamp>,
    pub reach: Reach,
    pub settings: Settings,
    pub memory: RebalanceState,
}

impl Gathered {
    pub(super) fn inputs(&self, free: usize, now: Timestamp) -> Inputs<'_> {
        Inputs {
            now,
            topology: &self.topology,
            previous_writer: self.previous_writer.as_ref(),
            pools: self.pools,
            pods: &self.pods,
            looks: &self.looks,
            writer_looks: &self.writer_looks,
            free,
            canary: self.canary,
            event: self.event,
            reach: self.reach,
            settings: &self.settings,
            memory: &self.memory,
        }
    }
}

/// The method by which single pods move; `None`: none does.
pub(super) fn method(scene: &Scene) -> Option<Method> {
    match (scene.spec.recycle.method, scene.spec.recycle.fallback) {
        (Method::Rollout, Some(Fallback::Evict)) => Some(Method::Evict),
        (Method::Rollout, None) => None,
        (method, _) => Some(method),
    }
}

/// Gathers them; `topology` is the settled one.
pub(super) fn gather(
    world: &World,
    scene: &Scene,
    topology: Topology,
    found: &TargetEvidence,
    evidence: &Evidence,
    now: Timestamp,
) -> Gathered {
    let view = &world.dns;
    let sees = view.is_available();
    let reach = match method(scene) {
        Some(Method::Evict) | None => Reach::Slow { resolver: sees },
        Some(_) if sees => Reach::Prompt,
        Some(_) => Reach::Unseen,
    };
    let event = event(scene);
    Gathered {
        previous_writer: previous_writer(scene),
        topology,
        pools: Pools::from_specs(&scene.spec.pools, most_held(evidence)),
        pods: scene
            .counted
            .iter()
            .map(|pod| pod_view(scene, pod, found, evidence, now))
            .collect(),
        canary: !scene.is_verified(),
        looks: looks(view, &view.reader),
        writer_looks: looks(view, &view.writer),
        reach,
        settings: Settings::new(
            u32::try_from(world.spec.evidence.tolerance_percent).unwrap_or(0),
            None,
        ),
        memory: memory(scene, event),
        event,
    }
}

/// What is remembered. Evidence that is new to a target takes what has happened before as it is: only what
/// is stale, or drifts, moves then.
fn memory(scene: &Scene, event: Option<Timestamp>) -> RebalanceState {
    scene
        .target
        .balance
        .clone()
        .unwrap_or_else(|| RebalanceState {
            event: event.filter(|_| scene.stale.is_empty()),
            ..RebalanceState::default()
        })
}

/// When the last thing happened that calls for even connections: an epoch opened, a rollout ended, or a run
/// began, which leaves them even whatever began it.
fn event(scene: &Scene) -> Option<Timestamp> {
    let target = &scene.target;
    let opened = target
        .open_time
        .as_ref()
        .filter(|_| target.due_epoch > target.baseline_epoch)
        .map(|t| t.0);
    let began = scene.running().map(|r| r.start_time.0);
    opened
        .max(target.template_time.as_ref().map(|t| t.0))
        .max(began)
}

fn previous_writer(scene: &Scene) -> Option<InstanceId> {
    let topology = scene.status.topology.as_ref()?;
    topology.previous_writer.clone().map(InstanceId)
}

/// The most connections that any pod holds.
pub(super) fn most_held(evidence: &Evidence) -> u32 {
    let pods = evidence.pods.values();
    pods.map(PodHoldings::connections).max().unwrap_or(0)
}

fn looks(view: &DnsView, looks: &[dns::DnsSample]) -> Vec<EndpointAnswer> {
    looks
        .iter()
        .map(|look| EndpointAnswer {
            at: look.at,
            instance: view.instance_of(look),
            via: None,
        })
        .collect()
}

fn pod_view(
    scene: &Scene,
    pod: &PodFacts,
    found: &TargetEvidence,
    evidence: &Evidence,
    now: Timestamp,
) -> PodView {
    let moved = scene.moved_in_run(pod, now);
    let evicts = method(scene) == Some(Method::Evict);
    PodView {
        id: pod.uid.clone(),
        node: None,
        holds: evidence.pods.get(&pod.uid).map(Holdings::from),
        read_at: found.measured.pods.get(&pod.uid).and_then(|m| {
            let reading = m.reading()?;
            Some(reading.at)
        }),
        ready: pod.ready,
        in_flight: is_in_flight(scene, pod, found, now),
        last_recycled: moved.map(|m| m.time),
        recycles: moved.map_or(0, |m| m.count),
        movable: method(scene).is_some()
            && !(evicts && scene.is_lone())
            && scene.stage(pod, now) != Stage::Failed,
        before_failover: pod.is_urgent(&scene.mark, &scene.target),
    }
}

/// Whether a pod is being recycled, or was, and its pools have not come back: a reading after the recycle
/// shows as many connections as before, all of them new.
fn is_in_flight(scene: &Scene, pod: &PodFacts, found: &TargetEvidence, now: Timestamp) -> bool {
    if scene.may_still_end(pod, now) {
        return true;
    }
    let Some(moved) = scene.moved_in_run(pod, now) else {
        return false;
    };
    if now.duration_since(moved.time) >= SETTLE {
        return false;
    }
    let after = moved.time.saturating_add(REOPENING).unwrap_or(moved.time);
    let reading = found.measured.pods.get(&pod.uid).and_then(|m| m.reading());
    let Some(reading) = reading.filter(|r| r.at >= after) else {
        return true;
    };
    let before = found.before.get(&pod.uid).map_or(&[][..], Vec::as_slice);
    !is_back(scene, before, &reading.sockets)
}

fn is_back(scene: &Scene, before: &[Socket], after: &[Socket]) -> bool {
    let connections = |sockets: &[Socket]| sockets.iter().filter(|s| s.is_connection()).count();
    let declared = scene
        .spec
        .pools
        .iter()
        .filter_map(|p| p.connections_per_pod);
    let declared: usize = declared.filter_map(|n| usize::try_from(n).ok()).sum();
    let expected = match connections(before) {
        0 => declared.max(1),
        before => before,
    };
    let held = connections(after);
    held * 100 >= expected * BACK_PERCENT && kept_sockets(before, after).is_empty()
}
