//! Odds in the plan: how likely recycling blindly ends even, for targets whose connections are not measured.
//!
//! Words alone; nothing is decided by them. They stay the same for a whole run: they speak of the run, not of what
//! is left of it.

use jiff::SignedDuration;

use super::pods::Scene;
use crate::world::World;
use dbbalance_api::spec::{Endpoint, Method};
use dbbalance_core::balance::{BlindRecycling, Settings};
use dbbalance_core::pacing::max_unavailable_pods;

/// The DNS caches that pods are taken to ask, as nobody tells: kubeadm's and most distributions' CoreDNS Deployment
/// has two replicas.
const CACHES: usize = 2;
/// For so long each keeps an answer of the reader endpoint: the CoreDNS cache plugin's least TTL.
const WINDOW: SignedDuration = SignedDuration::from_secs(5);
/// A rollout of the workload's own pace: at best, no two pods share an answer.
const AT_BEST: SignedDuration = SignedDuration::from_hours(24);

/// What to add to the next step; nothing where chance has no part.
pub(super) fn words(world: &World, scene: &Scene) -> String {
    let readers = scene.status.topology.as_ref().map_or(0, |t| t.reader_count);
    let readers = usize::try_from(readers).unwrap_or(0);
    let reads = scene
        .spec
        .pools
        .iter()
        .any(|p| p.endpoint == Endpoint::Reader);
    if scene.is_measured || !reads || readers < 2 {
        return String::new();
    }
    let begun = scene.running().map(|r| r.stale);
    let begun = begun.and_then(|n| usize::try_from(n).ok());
    let pods = begun.unwrap_or(0).max(scene.stale.len());
    let (duration, about) = if scene.spec.recycle.method == Method::Rollout {
        (AT_BEST, "at most")
    } else {
        let step = max_unavailable_pods(&world.spec.pacing, scene.wanted()).max(1);
        let pauses = i64::try_from(pods.div_ceil(step).saturating_sub(1)).unwrap_or(i64::MAX);
        let seconds = pauses.saturating_mul(world.spec.pacing.interval_seconds.into());
        (SignedDuration::from_secs(seconds), "about")
    };
    let blind = BlindRecycling {
        pods,
        readers,
        caches: CACHES,
        window: WINDOW,
    };
    let tolerance = u32::try_from(world.spec.evidence.tolerance_percent).unwrap_or(0);
    let percent = blind
        .odds(duration, &Settings::new(tolerance, Some(CACHES)))
        .percent;
    let odds = if percent < 1.0 {
        "less than 1 %".to_owned()
    } else {
        format!("{about} {percent:.0} %")
    };
    format!("; without evidence, the odds that it ends even are {odds}")
}
