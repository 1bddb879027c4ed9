//! Which of a target's pods are not recycled, and why.

use dbbalance_api::spec::{Method, TargetSpec};
use dbbalance_api::status::TargetStatus;
use dbbalance_core::pod::PodFacts;
use dbbalance_core::stamp::PolicyMark;

/// How many pods a message names.
const NAMED_PODS: usize = 3;

/// Says why the target's method would recycle none of its pods, before a failover needs it; `None` if it would recycle
/// one, and while none is counted.
#[must_use]
pub fn describe_refused_method(spec: &TargetSpec, pods: &[PodFacts]) -> Option<String> {
    let mut counted = pods.iter().filter(|p| p.is_counted()).peekable();
    let method = spec.recycle.method;
    let why = find_refusal(method, counted.peek()?)?;
    counted.all(|p| find_refusal(method, p).is_some()).then(|| {
        format!(
            "spec.targets[{}].recycle: {} recycles none of its pods: {why}",
            spec.name,
            method.as_str()
        )
    })
}

/// Says which of the running pods the method would not recycle, and why; `None` if it takes all of them.
pub(crate) fn describe_pods_refused_by(method: Method, pods: &[PodFacts]) -> Option<String> {
    let mut running: Vec<&PodFacts> = pods.iter().filter(|p| p.is_counted()).collect();
    running.sort_by(|a, b| a.name.cmp(&b.name));
    let refused = running.iter().filter_map(|pod| {
        let why = find_refusal(method, pod)?;
        Some((pod.name.as_str(), why))
    });
    let refused: Vec<(&str, String)> = refused.collect();
    let (_, why) = refused.first()?;
    let method = method.as_str();
    if refused.len() == running.len() {
        return Some(format!("{method} recycles none of its pods: {why}"));
    }
    let named = refused.iter().take(NAMED_PODS);
    let named: Vec<String> = named.map(|(pod, why)| format!("{pod} ({why})")).collect();
    let more = match refused.len() - named.len() {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    Some(format!(
        "{method} does not recycle {}{more}",
        named.join(", ")
    ))
}

fn find_refusal(method: Method, pod: &PodFacts) -> Option<String> {
    match method {
        Method::Evict => pod.eviction_refusal().map(|why| why.to_string()),
        _ => pod.method_refusal.clone(),
    }
}

/// Says which stale pods are left as they are, because their method may not take them; `None` if there are none.
pub(crate) fn describe_refused_pods(stale: &[&PodFacts]) -> Option<String> {
    let named = stale.iter().take(NAMED_PODS).filter_map(|pod| {
        let why = pod.eviction_refusal()?;
        Some(format!("{} ({why})", pod.name))
    });
    let named: Vec<String> = named.collect();
    if named.is_empty() {
        return None;
    }
    let more = match stale.len() - named.len() {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    Some(format!(
        "{} of its stale pods are not evicted: {}{more}",
        stale.len(),
        named.join(", ")
    ))
}

/// The value of the condition `Fresh` that pods which no run takes give rise to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UntakenPods {
    /// Whether the target is fresh in spite of them: none of them holds pools of before its due epoch.
    pub is_fresh: bool,
    /// Which pods, and why.
    pub message: String,
}

/// Says which of a target's pods no run takes, and why: those that are stale and may not be evicted; or, if the target
/// counts no pod, all that match it. `None` if every pod is counted, or none matches.
#[must_use]
pub fn describe_untaken_pods(
    spec: &TargetSpec,
    status: &TargetStatus,
    mark: &PolicyMark,
    pods: &[PodFacts],
) -> Option<UntakenPods> {
    let evicts = spec.recycle.method == Method::Evict;
    let running = pods.iter().filter(|p| p.is_counted());
    let refused = running.filter(|p| evicts && p.eviction_refusal().is_some());
    let refused: Vec<&PodFacts> = refused.collect();
    let mut stale = refused.clone();
    stale.retain(|p| !p.is_fresh(mark, status));
    stale.sort_by(|a, b| a.name.cmp(&b.name));
    if let Some(text) = describe_refused_pods(&stale) {
        return Some(UntakenPods {
            is_fresh: false,
            message: format!("{}: {text}", spec.name),
        });
    }
    if status.pods > 0 || pods.is_empty() {
        return None;
    }
    let count = |why: &str, is_so: &dyn Fn(&PodFacts) -> bool| {
        let pods = pods.iter().filter(|p| is_so(p)).count();
        (pods > 0).then(|| format!("{pods} {why}"))
    };
    // Each pod by its first reason.
    let stays = |p: &PodFacts| !p.finished && !p.terminating;
    let parts = [
        count("finished", &|p| p.finished),
        count("being deleted", &|p| p.terminating && !p.finished),
        count("ignored", &|p| p.ignored && stays(p)),
        count("without a running container", &|p| {
            p.started.is_none() && !p.ignored && stays(p)
        }),
        count("that Evict may not take", &|p| {
            p.is_counted() && refused.iter().any(|r| r.uid == p.uid)
        }),
    ];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    Some(UntakenPods {
        is_fresh: true,
        message: format!(
            "{}: none of the {} pods that match is recycled: {}",
            spec.name,
            pods.len(),
            if parts.is_empty() {
                "its workload is ignored".to_owned()
            } else {
                parts.join(", ")
            }
        ),
    })
}

#[cfg(test)]
mod tests;
