//! The policy as the planner reads it: its spec, each value parsed once into the type that it is used with.
//!
//! What the schema cannot check is found here: cron, time zones, overlaps, the pause, the role. A policy with problems
//! is planned as far as it can be read, as epochs are counted whatever is wrong; [`Gate::InvalidSpec`] holds its
//! effects.
//!
//! [`Gate::InvalidSpec`]: crate::types::Gate::InvalidSpec

mod target;

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};

use crate::times::add_duration;
use crate::world::{TargetOverlap, TopologyError, World};
use dbbalance_api::spec::{
    BalanceSpec, BudgetSpec, DbBalancePolicySpec, DnsSpec, EvidenceSource, Mode, OnTimeout, Pacing,
    RunLimits, SteeringSpec, SteeringVia, Triggers,
};
use dbbalance_api::status::{PendingEpochStatus, Trigger};
use dbbalance_core::epoch::is_enabled;
use dbbalance_core::narrow::NarrowingRules;
use dbbalance_core::pacing::{max_renewed_pods, max_unavailable_pods, next_step_time};
use dbbalance_core::window::Window;

#[cfg(test)]
pub(crate) use target::describe_reference;
pub use target::{Recipe, TargetPolicy, pool_loads};

/// Something that must be corrected before the policy acts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The reason of the condition.
    pub reason: &'static str,
    /// The field's path, the cause and what to do.
    pub message: String,
}

/// The problems of a policy, and what could be read nevertheless.
#[derive(Clone, Debug)]
pub struct Problems {
    /// The problems; at least one.
    pub list: Vec<Problem>,
    /// The policy as far as it can be read.
    pub readable: Policy,
}

/// A policy, parsed.
#[derive(Clone, Debug)]
pub struct Policy {
    /// Whether effects are made.
    pub mode: Mode,
    /// `spec.suspend`.
    pub suspend: bool,
    /// Until when the policy is paused.
    pub paused_until: Option<Timestamp>,
    /// The targets, in the order of the spec.
    pub targets: Vec<TargetPolicy>,
    /// Which changes start runs, and how long they must hold.
    pub triggers: Triggers,
    /// The pace within a run.
    pub pacing: PacingRules,
    /// How often runs may start.
    pub limits: RunLimitRules,
    /// How many connections each instance may get.
    pub budget: BudgetSpec,
    /// How a change waits for DNS.
    pub dns: DnsRules,
    /// The name that is narrowed while pods move.
    pub steering: Option<SteeringPolicy>,
    /// How connections are measured.
    pub evidence: EvidenceRules,
    /// How they are shared among the readers.
    pub balance: BalanceSpec,
    /// When runs may act.
    pub windows: Vec<Window>,
}

/// The pace within a run.
#[derive(Clone, Debug)]
pub struct PacingRules {
    spec: Pacing,
    /// The time between two steps, before jitter.
    pub interval: SignedDuration,
    /// How much of the interval is random, in percent.
    pub jitter_percent: i32,
    /// A run without progress for so long halts.
    pub progress_deadline: SignedDuration,
}

impl PacingRules {
    fn parse(spec: &Pacing) -> Self {
        Self {
            interval: seconds(spec.interval_seconds),
            jitter_percent: spec.jitter_percent,
            progress_deadline: seconds(spec.progress_deadline_seconds),
            spec: spec.clone(),
        }
    }

    /// Returns how many of so many pods may be unavailable at once, at least 1.
    pub(crate) fn max_unavailable(&self, total: usize) -> usize {
        max_unavailable_pods(&self.spec, total)
    }

    /// Returns how many of so many pods may be renewed at once after a failover by a method that takes none away.
    pub(crate) fn max_renewed(&self, total: usize) -> usize {
        max_renewed_pods(&self.spec, total)
    }

    /// Returns the time of the step after one at `last`. The jitter is derived from `key`.
    pub(crate) fn next_step(&self, last: Timestamp, key: &str) -> Timestamp {
        next_step_time(&self.spec, last, key)
    }
}

/// How often runs may start.
#[derive(Clone, Copy, Debug)]
pub struct RunLimitRules {
    /// The time between the end of a target's run and the start of its next.
    pub cooldown: SignedDuration,
    /// The most runs of a target that start within an hour.
    pub max_runs_per_hour: usize,
}

/// How a settled change waits for DNS.
#[derive(Clone, Copy, Debug)]
pub struct DnsRules {
    /// What to do when DNS has not followed within the timeout.
    pub on_timeout: OnTimeout,
    /// How long DNS may take, from the moment the change has settled.
    pub timeout: SignedDuration,
    /// How long caches may keep an answer that disagreed, where nothing is measured afterwards.
    pub hold: SignedDuration,
}

impl DnsRules {
    fn parse(spec: &DnsSpec) -> Self {
        Self {
            on_timeout: spec.on_timeout,
            timeout: seconds(spec.timeout_seconds),
            hold: seconds(spec.hold_seconds),
        }
    }

    /// Returns when the wait of a pending epoch times out; `None` if it does not say since when it waits.
    pub(crate) fn deadline(&self, pending: &PendingEpochStatus) -> Option<Timestamp> {
        let since = pending.settled_time.as_ref()?;
        Some(add_duration(since.0, self.timeout))
    }
}

/// A name that is narrowed while pods move.
#[derive(Clone, Debug)]
pub struct SteeringPolicy {
    /// By which object.
    pub via: SteeringVia,
    /// The Service.
    pub reader: String,
    /// How it may be narrowed.
    pub rules: NarrowingRules,
}

impl SteeringPolicy {
    fn parse(spec: &SteeringSpec) -> Self {
        let settle = Some(spec.settle_seconds).filter(|s| *s > 0).map(seconds);
        Self {
            via: spec.via,
            reader: spec.reader.clone(),
            rules: NarrowingRules {
                hold: seconds(spec.hold_seconds),
                settle,
                allows_single_operator: spec.allow_single_operator,
            },
        }
    }
}

/// How connections are measured.
#[derive(Clone, Copy, Debug)]
pub struct EvidenceRules {
    /// Where measurements come from.
    pub source: EvidenceSource,
    /// How far above its fair share a reader may be, in percent.
    pub tolerance_percent: u32,
}

impl EvidenceRules {
    /// Whether connections are measured.
    #[must_use]
    pub fn is_measured(&self) -> bool {
        self.source != EvidenceSource::None
    }
}

/// What a policy's problems depend on besides its spec.
#[derive(Clone, Copy, Debug)]
pub struct PolicyFindings<'a> {
    /// The value of `dbbalance.io/pause-until`.
    pub pause_until: Option<&'a str>,
    /// The policy's namespace, if it may not name the cluster by its role.
    pub unbound_namespace: Option<&'a str>,
    /// Whether the role, if the spec names one, may be assumed.
    pub role_allowed: bool,
    /// Pods that two of its targets select.
    pub overlaps: &'a [TargetOverlap],
}

impl<'a> PolicyFindings<'a> {
    /// Returns what a pass has found.
    #[must_use]
    pub fn of(world: &'a World) -> Self {
        Self {
            pause_until: world.policy.pause_until.as_deref(),
            unbound_namespace: (!world.cluster_allowed).then_some(&world.policy.namespace),
            role_allowed: world.role_allowed,
            overlaps: &world.overlaps,
        }
    }
}

/// A policy, or its problems with what can be read of it.
pub type ParsedPolicy = Result<Policy, Box<Problems>>;

impl Policy {
    /// Parses a spec.
    ///
    /// # Errors
    /// All problems, in the order of the spec, with the policy as far as it can be read.
    pub fn try_from_spec(spec: &DbBalancePolicySpec, findings: PolicyFindings) -> ParsedPolicy {
        let mut problems = Vec::new();
        let windows = parse_windows(spec, &mut problems);
        let paused_until = parse_pause(findings.pause_until, &mut problems);
        if let Some(namespace) = findings.unbound_namespace {
            problems.push(Problem {
                reason: TopologyError::CLUSTER_NOT_ALLOWED,
                message: describe_unbound(spec, namespace),
            });
        }
        if !findings.role_allowed {
            let role = spec.cluster.role_arn.as_deref().unwrap_or_default();
            problems.push(Problem {
                reason: "RoleNotAllowed",
                message: format!(
                    "spec.cluster.roleARN: {role} is not on the operator's allow-list (chart value aws.allowedRoleARNs)"
                ),
            });
        }
        find_shared_workloads(spec, &mut problems);
        problems.extend(findings.overlaps.iter().map(|overlap| Problem {
            reason: "TargetOverlap",
            message: format!(
                "spec.targets: {} and {} both take pod {}: a pod belongs to one target",
                overlap.first, overlap.second, overlap.pod
            ),
        }));
        let policy = Self {
            mode: spec.mode,
            suspend: spec.suspend,
            paused_until,
            targets: spec.targets.iter().map(TargetPolicy::parse).collect(),
            triggers: spec.triggers.clone(),
            pacing: PacingRules::parse(&spec.pacing),
            limits: parse_limits(&spec.limits),
            budget: spec.budget.clone(),
            dns: DnsRules::parse(&spec.dns),
            steering: spec.dns.steering.as_ref().map(SteeringPolicy::parse),
            evidence: EvidenceRules {
                source: spec.evidence.source,
                tolerance_percent: count_u32(spec.evidence.tolerance_percent),
            },
            balance: spec.balance.clone(),
            windows,
        };
        if problems.is_empty() {
            return Ok(policy);
        }
        Err(Box::new(Problems {
            list: problems,
            readable: policy,
        }))
    }

    /// Returns the names of the targets that an epoch with these triggers concerns, as decided when it is raised:
    /// enabling a trigger later recycles nothing.
    pub(crate) fn concerned_targets(&self, triggers: &BTreeSet<Trigger>) -> Vec<String> {
        let enabled = |t: &&Trigger| is_enabled(&self.triggers, **t);
        let targets = self.targets.iter().filter(|target| {
            let mut enabled = triggers.iter().filter(enabled);
            enabled.any(|t| target.is_concerned_by(*t))
        });
        targets.map(|t| t.name.clone()).collect()
    }
}

/// Returns the policy of either result: what a policy with problems can still be planned by.
pub(crate) fn readable_policy(parsed: &ParsedPolicy) -> &Policy {
    match parsed {
        Ok(policy) => policy,
        Err(problems) => &problems.readable,
    }
}

/// Describes that the namespace may not name the cluster. It says nothing about whether the cluster exists.
#[must_use]
pub fn describe_unbound(spec: &DbBalancePolicySpec, namespace: &str) -> String {
    let role = spec.cluster.role_arn.as_deref();
    let role = role.map_or_else(String::new, |role| format!(" by role {role}"));
    format!(
        "spec.cluster: namespace {namespace} may not name cluster {}{role}; the operator's administrator binds clusters to namespaces (chart value clusters)",
        spec.cluster.identifier
    )
}

fn parse_windows(spec: &DbBalancePolicySpec, problems: &mut Vec<Problem>) -> Vec<Window> {
    let mut windows = Vec::new();
    for (index, spec) in spec.windows.iter().enumerate() {
        match Window::parse(spec) {
            Ok(window) => windows.push(window),
            Err((field, cause)) => problems.push(Problem {
                reason: "InvalidSpec",
                message: format!("spec.windows[{index}].{field}: {cause}"),
            }),
        }
    }
    windows
}

/// Finds targets whose workload an earlier target names, whether its pods exist or not. The schema refuses them as well;
/// policies that are older than its rule are refused here.
fn find_shared_workloads(spec: &DbBalancePolicySpec, problems: &mut Vec<Problem>) {
    for (index, target) in spec.targets.iter().enumerate() {
        let Some(workload) = &target.workload_ref else {
            continue;
        };
        let mut earlier = spec.targets.iter().take(index);
        if let Some(other) = earlier.find(|t| t.workload_ref.as_ref() == Some(workload)) {
            problems.push(Problem {
                reason: "InvalidSpec",
                message: format!(
                    "spec.targets[{index}].workloadRef: {} names {:?} {} already: give its pools in one target",
                    other.name, workload.kind, workload.name
                ),
            });
        }
    }
}

fn parse_pause(text: Option<&str>, problems: &mut Vec<Problem>) -> Option<Timestamp> {
    let text = text?;
    let until = text.parse().ok();
    if until.is_none() {
        problems.push(Problem {
            reason: "InvalidSpec",
            message: format!(
                "metadata.annotations[dbbalance.io/pause-until]: {text:?} is not an RFC 3339 time such as 2026-05-04T03:02:01Z; the policy is paused until it can be read"
            ),
        });
    }
    until
}

fn parse_limits(spec: &RunLimits) -> RunLimitRules {
    RunLimitRules {
        cooldown: seconds(spec.cooldown_seconds),
        // The schema asks for 1 or more; less is no limit.
        max_runs_per_hour: usize::try_from(spec.max_runs_per_hour).unwrap_or(usize::MAX),
    }
}

fn seconds(seconds: i32) -> SignedDuration {
    SignedDuration::from_secs(seconds.into())
}

/// A number that the schema keeps from being negative.
fn count_u32(number: i32) -> u32 {
    u32::try_from(number).unwrap_or(0)
}
