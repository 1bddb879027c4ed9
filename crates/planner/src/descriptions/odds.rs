//! How likely recycling without evidence ends even, for targets whose connections are not measured.
//!
//! Nothing is decided by it. It stays the same for a whole run: it speaks of the run, not of what is left of it.

use jiff::SignedDuration;

use crate::target::TargetContext;
use dbbalance_api::spec::{Endpoint, Method};
use dbbalance_core::balance::{BlindRecycling, Settings};

/// The DNS caches that pods are assumed to ask: the CoreDNS Deployment of kubeadm and of most distributions has two
/// replicas.
const CACHES: usize = 2;
/// For so long each keeps an answer of the reader endpoint: the CoreDNS cache plugin's least TTL.
const WINDOW: SignedDuration = SignedDuration::from_secs(5);
/// A rollout of the workload's own pace: at best, no two pods share an answer.
const AT_BEST: SignedDuration = SignedDuration::from_hours(24);

/// Describes the odds, to add to the next step; empty where chance has no part.
pub(super) fn describe_odds(ctx: &TargetContext) -> String {
    let readers = ctx.pass.status.topology.as_ref();
    let readers = readers.map_or(0, |t| usize::try_from(t.reader_count).unwrap_or(0));
    let reads = ctx.policy.has_pool(Endpoint::Reader);
    if ctx.pass.policy.evidence.is_measured() || !reads || readers < 2 {
        return String::new();
    }
    let at_start = ctx.running().map_or(0, |r| r.stale);
    let pods = usize::try_from(at_start).unwrap_or(0).max(ctx.stale.len());
    let (duration, about) = if ctx.policy.recycle.method == Method::Rollout {
        (AT_BEST, "at most")
    } else {
        (time_between_steps(ctx, pods), "about")
    };
    let blind = BlindRecycling {
        pods,
        readers,
        caches: CACHES,
        window: WINDOW,
    };
    let tolerance = ctx.pass.policy.evidence.tolerance_percent;
    let settings = Settings::new(tolerance, Some(CACHES));
    let percent = blind.odds(duration, &settings).percent;
    let odds = if percent < 1.0 {
        "less than 1 %".to_owned()
    } else {
        format!("{about} {percent:.0} %")
    };
    format!("; without evidence, the odds that it ends even are {odds}")
}

/// Returns how long so many pods take, by the interval alone.
fn time_between_steps(ctx: &TargetContext, pods: usize) -> SignedDuration {
    let steps = pods.div_ceil(ctx.max_unavailable().max(1));
    let intervals = i64::try_from(steps.saturating_sub(1)).unwrap_or(i64::MAX);
    let interval = ctx.pass.policy.pacing.interval.as_secs();
    SignedDuration::from_secs(intervals.saturating_mul(interval))
}
