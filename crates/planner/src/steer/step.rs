//! The step of a measured target: which of the pods that the balance names go now.
//!
//! Exempt from `maxUnavailable`, under the storm cap, are broken pods whose method takes nothing away from
//! them, and pods that are not Ready; all else is what the balance was told to be free.

use jiff::{SignedDuration, Timestamp};

use super::Known;
use crate::gate::{Gate, Held};
use crate::pods::{Scene, Stage};
use crate::runs::Pass;
use crate::steps::{stamp, trim_to_budget, within_budget};
use crate::{PodStep, Step};
use dbbalance_api::spec::Method;
use dbbalance_core::balance::Decision;
use dbbalance_core::budget::Load;
use dbbalance_core::pacing::{STORM_CAP_PER_SECOND, max_unavailable_pods};
use dbbalance_core::pod::PodFacts;
use dbbalance_core::stamp::Claim;

/// How many pods without effect are stamped in one pass.
const STAMP_AT_ONCE: usize = 50;

/// How many Ready pods may be taken: what `maxUnavailable` leaves, no more than the budget has room for,
/// and one before the method is verified.
pub(super) fn free(pass: &Pass, scene: &Scene, known: &Known, method: Method) -> usize {
    let wanted = scene.wanted();
    let missing = wanted.saturating_sub(scene.serving());
    let may = max_unavailable_pods(&pass.world.spec.pacing, wanted);
    let mut free = may.saturating_sub(missing + known.in_flight());
    if !scene.is_verified() {
        free = free.min(1);
    }
    let surges = method == Method::Evict;
    let fits = |pods: usize| {
        let adds = scene.load(pods);
        within_budget(pass.world, pass.own_in_flight, adds, surges).is_ok()
    };
    while free > 0 && !fits(free) {
        free -= 1;
    }
    free
}

/// The step, with what it may add; `None` if the balance has none now.
pub(super) fn next(
    pass: &Pass,
    scene: &Scene,
    decision: &Decision,
    method: Method,
    only_urgent: bool,
) -> Result<Option<(Step, Load)>, Held> {
    let (urgent, canary) = urgent(pass, scene, decision, method);
    let mut pods: Vec<(&PodFacts, u8)> = urgent;
    let mut canary = canary;
    // The excess waits for what is broken, as the balance decides; a run that only a failover lets through
    // the gates moves nothing else.
    if pods.is_empty() && !only_urgent {
        pods = named(scene, &decision.moves, pass.now);
        canary = !scene.is_verified() && !pods.is_empty();
    }
    if pods.is_empty() {
        return Ok(None);
    }
    if let Some(until) = storm(scene, pass.now) {
        let message = format!("at most {STORM_CAP_PER_SECOND} pods a second");
        return Err(Held::until(Gate::Pacing, message, until));
    }
    pods.truncate(STORM_CAP_PER_SECOND);
    let mut steps: Vec<(PodStep, bool)> = pods
        .into_iter()
        .map(|(pod, attempt)| {
            (
                pod_step(scene, pod, attempt, method, pass.now),
                attempt == 1,
            )
        })
        .collect();
    let adds = trim_to_budget(pass.world, scene, pass.own_in_flight, &mut steps)?;
    let step = Step::Pods {
        pods: steps.into_iter().map(|(step, _)| step).collect(),
        stamp: stamp(scene),
        canary,
        verify_key: scene.verify_key(),
    };
    Ok(Some((step, adds)))
}

/// The broken pods that may go now, and whether one of them is the canary.
fn urgent<'a>(
    pass: &Pass,
    scene: &Scene<'a>,
    decision: &Decision,
    method: Method,
) -> (Vec<(&'a PodFacts, u8)>, bool) {
    let takes_away = method == Method::Evict;
    let wanted = scene.wanted();
    let missing = wanted.saturating_sub(scene.serving());
    let begun = scene
        .counted
        .iter()
        .filter(|p| p.ready && scene.may_still_end(p, pass.now))
        .count();
    let mut free =
        max_unavailable_pods(&pass.world.spec.pacing, wanted).saturating_sub(missing + begun);
    let verified = scene.is_verified();
    let mut canary = false;
    let mut pods = named(scene, &decision.urgent, pass.now);
    pods.retain(|(pod, attempt)| {
        if !pod.ready {
            return true;
        }
        // One Ready pod shows first that the method works.
        if !verified && canary {
            return false;
        }
        if takes_away && *attempt <= 1 {
            if free == 0 {
                return false;
            }
            free -= 1;
        }
        canary = !verified;
        true
    });
    (pods, canary)
}

/// The pods of these UIDs that can be claimed, each with its attempt.
fn named<'a>(scene: &Scene<'a>, uids: &[String], now: Timestamp) -> Vec<(&'a PodFacts, u8)> {
    uids.iter()
        .filter_map(|uid| {
            let pod = scene.counted.iter().find(|p| p.uid == *uid)?;
            match scene.stage(pod, now) {
                Stage::Due(attempt) | Stage::FallbackDue(attempt) => Some((*pod, attempt)),
                Stage::InFlight | Stage::Failed => None,
            }
        })
        .collect()
}

fn pod_step(scene: &Scene, pod: &PodFacts, attempt: u8, method: Method, now: Timestamp) -> PodStep {
    PodStep {
        name: pod.name.clone(),
        uid: pod.uid.clone(),
        resource_version: pod.resource_version.clone(),
        claim: Claim {
            policy: scene.mark.clone(),
            epoch: scene.target.due_epoch,
            attempt,
            time: now,
        },
        method: if attempt >= Claim::FALLBACK {
            Method::Evict
        } else {
            method
        },
        recycles: pod.recycles.saturating_add(1),
        moved: scene.moved(pod, now),
    }
}

/// When the storm cap lets the next pods go, if it does not yet.
fn storm(scene: &Scene, now: Timestamp) -> Option<Timestamp> {
    let last = scene.running()?.last_step_time.as_ref()?.0;
    let at = last.saturating_add(SignedDuration::from_secs(1)).ok()?;
    (now < at).then_some(at)
}

/// The stamps of stale pods whose connections were measured since the epoch opened, and are where they
/// should be.
pub(super) fn stamps(scene: &Scene, known: &Known, now: Timestamp) -> Option<Step> {
    let opened = scene.target.open_time.as_ref().map(|t| t.0)?;
    let pods: Vec<_> = scene
        .stale
        .iter()
        .filter(|p| !scene.may_still_end(p, now) && known.is_placed(&p.uid, opened))
        .take(STAMP_AT_ONCE)
        .map(|p| (p.name.clone(), p.uid.clone(), p.resource_version.clone()))
        .collect();
    (!pods.is_empty()).then(|| Step::Stamp {
        pods,
        stamp: stamp(scene),
    })
}
