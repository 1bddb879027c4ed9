//! What the schema could not judge: cron, time zones, overlaps, the pause, the role.
//!
//! Pure. A problem holds the policy's effects and nothing else; other policies do not notice.

use jiff::Timestamp;

use super::world::World;
use dbbalance_core::window::Window;

/// Something that must be mended before the policy acts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// A word for the condition.
    pub reason: &'static str,
    /// The field's path, the cause and what to do.
    pub message: String,
}

/// The understood parts of a policy.
#[derive(Clone, Debug, Default)]
pub struct Valid {
    /// The windows.
    pub windows: Vec<Window>,
    /// Until when the policy is paused.
    pub paused_until: Option<Timestamp>,
    /// What is wrong; with any, nothing is done to pods.
    pub problems: Vec<Problem>,
}

/// Understands a policy.
#[must_use]
pub fn validate(world: &World) -> Valid {
    let mut valid = Valid::default();
    for (index, spec) in world.spec.windows.iter().enumerate() {
        match Window::parse(spec) {
            Ok(window) => valid.windows.push(window),
            Err((field, cause)) => valid.problems.push(Problem {
                reason: "InvalidSpec",
                message: format!("spec.windows[{index}].{field}: {cause}"),
            }),
        }
    }
    if let Some(text) = &world.policy.pause_until {
        match text.parse::<Timestamp>() {
            Ok(until) => valid.paused_until = Some(until),
            Err(_) => valid.problems.push(Problem {
                reason: "InvalidSpec",
                message: format!(
                    "metadata.annotations[dbbalance.io/pause-until]: {text:?} is not an RFC 3339 time such as 2026-05-04T03:02:01Z; the policy is paused until it can be read"
                ),
            }),
        }
    }
    if !world.role_allowed {
        let role = world.spec.cluster.role_arn.as_deref().unwrap_or_default();
        valid.problems.push(Problem {
            reason: "RoleNotAllowed",
            message: format!(
                "spec.cluster.roleARN: {role} is not on the operator's allow-list (chart value aws.allowedRoleARNs)"
            ),
        });
    }
    for (one, other, pod) in &world.overlaps {
        valid.problems.push(Problem {
            reason: "TargetOverlap",
            message: format!(
                "spec.targets: {one} and {other} both take pod {pod}: a pod belongs to one target"
            ),
        });
    }
    valid
}
