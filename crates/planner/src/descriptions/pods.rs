//! Which of a target's pods are not recycled, and why.

use dbbalance_api::spec::TargetSpec;
use dbbalance_core::pod::PodFacts;

/// Says why the target's method would recycle none of its pods, before a failover needs it; `None` if it would recycle
/// one, and while none is counted.
#[must_use]
pub fn describe_refused_method(spec: &TargetSpec, pods: &[PodFacts]) -> Option<String> {
    let mut counted = pods.iter().filter(|p| p.is_counted()).peekable();
    let why = counted.peek()?.method_refusal.as_ref()?;
    counted.all(|p| p.method_refusal.is_some()).then(|| {
        format!(
            "spec.targets[{}].recycle: {} recycles none of its pods: {why}",
            spec.name,
            spec.recycle.method.as_str()
        )
    })
}

#[cfg(test)]
mod tests;
