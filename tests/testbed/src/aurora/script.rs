//! Scripts: the order and times in which databases act and the control plane publishes.
//!
//! Pure: a script is a list of steps with offsets, made from a [`super::timeline`] and the roles of the instances. The
//! order within a failover is that of the public records in the timeline's sources. [`super::fleet`] plays scripts.

use std::net::Ipv4Addr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::published_state::StateChange;
use super::timeline::TimingProfile;

/// What is done or said at an offset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScriptStep {
    /// Since the script's start.
    pub after: Duration,
    /// What.
    pub what: ScriptAction,
}

/// A step's content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ScriptAction {
    /// The API or the name server publishes a change.
    Say(StateChange),
    /// A database does something.
    Do(DatabaseAction),
}

/// What databases do. Connections end where the comment says so, and nowhere else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DatabaseAction {
    /// Becomes the first database of its cluster.
    Found(String),
    /// Copies the writer and follows it.
    Join(String),
    /// Shuts down cleanly: its connections end, and its port refuses.
    Stop(String),
    /// Restarts (its connections end) and is promoted; all other standbys follow it and keep theirs.
    Promote(String),
    /// Is promoted without a restart: its readers' connections become a writer's.
    PromoteLive(String),
    /// A former writer comes back as a standby, at its old address.
    Rejoin(String),
    /// Restarts in the same role: its connections end.
    Restart(String),
    /// Is killed and taken away with its data and address: its connections end.
    Remove(String),
}

impl DatabaseAction {
    /// Verb and instance, for events.
    #[must_use]
    pub fn describe(&self) -> (&'static str, &str) {
        match self {
            Self::Found(name) => ("founded", name),
            Self::Join(name) => ("joined", name),
            Self::Stop(name) => ("stopped", name),
            Self::Promote(name) | Self::PromoteLive(name) => ("promoted", name),
            Self::Rejoin(name) => ("rejoined", name),
            Self::Restart(name) => ("restarted", name),
            Self::Remove(name) => ("removed", name),
        }
    }
}

/// How a failover differs from the plain one.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct FailoverOptions {
    /// The writer's record goes new → old → new.
    pub flicker: bool,
    /// The records move this many seconds after the promotion, not when the timeline says.
    pub dns_delay: Option<f64>,
    /// `IsClusterWriter` moves this many seconds after the promotion.
    pub api_delay: Option<f64>,
    /// The target does not restart, so that what reader pools hold to it stays, and can write from then on.
    pub keep_target: bool,
}

/// Who plays which part in a failover.
#[derive(Clone, Copy, Debug)]
pub struct FailoverRoles<'a> {
    /// The writer until now.
    pub old: &'a str,
    /// The writer to be.
    pub target: &'a str,
    /// Has the old one died, so that nothing is left to stop?
    pub dead: bool,
}

fn publish_at(after: Duration, word: StateChange) -> ScriptStep {
    ScriptStep {
        after,
        what: ScriptAction::Say(word),
    }
}

fn perform_at(after: Duration, act: DatabaseAction) -> ScriptStep {
    ScriptStep {
        after,
        what: ScriptAction::Do(act),
    }
}

/// In the order of time; steps of one moment stay in the order they were written.
fn sort_steps(mut steps: Vec<ScriptStep>) -> Vec<ScriptStep> {
    steps.sort_by_key(|step| step.after);
    steps
}

/// Seconds of an option, refused values as none.
fn parse_delay(seconds: Option<f64>) -> Option<Duration> {
    seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
}

/// A failover. A dead writer's starts at the promotion's lead time before it: nothing is cut any more.
#[must_use]
pub fn failover_script(
    profile: &TimingProfile,
    options: &FailoverOptions,
    roles: FailoverRoles<'_>,
) -> Vec<ScriptStep> {
    let t = &profile.failover;
    let (old, target) = (roles.old.to_owned(), roles.target.to_owned());
    let promoted = t.promoted.after();
    let dns = parse_delay(options.dns_delay).map(|delay| promoted + delay);
    let dns_writer = dns.unwrap_or_else(|| t.dns_writer.after());
    let dns_readers = dns.map_or_else(|| t.dns_readers.after(), |dns| dns.max(t.rejoined.after()));
    let api =
        parse_delay(options.api_delay).map_or_else(|| t.api.after(), |delay| promoted + delay);
    let mut steps = vec![publish_at(
        t.status.after(),
        StateChange::Status("failing-over"),
    )];
    if !roles.dead {
        steps.push(perform_at(t.cut.after(), DatabaseAction::Stop(old.clone())));
    }
    let promote = if options.keep_target {
        DatabaseAction::PromoteLive(target.clone())
    } else {
        DatabaseAction::Promote(target.clone())
    };
    steps.extend([
        perform_at(promoted, promote),
        perform_at(t.rejoined.after(), DatabaseAction::Rejoin(old.clone())),
        publish_at(api, StateChange::Writer(target.clone())),
        publish_at(dns_writer, StateChange::DnsWriter(target.clone())),
        publish_at(
            t.available.after().max(api),
            StateChange::Status("available"),
        ),
        publish_at(dns_readers, StateChange::DnsReader(target.clone(), false)),
        publish_at(dns_readers, StateChange::DnsReader(old.clone(), true)),
    ]);
    if options.flicker {
        let flicker = &profile.flicker;
        steps.push(publish_at(
            dns_writer + flicker.back.after(),
            StateChange::DnsWriter(old),
        ));
        steps.push(publish_at(
            dns_writer + flicker.again.after(),
            StateChange::DnsWriter(target),
        ));
    }
    sort_steps(steps)
}

/// The failover before a writer is deleted: the old one does not come back.
#[must_use]
pub fn handover_script(profile: &TimingProfile, roles: FailoverRoles<'_>) -> Vec<ScriptStep> {
    let mut steps = failover_script(profile, &FailoverOptions::default(), roles);
    let old = roles.old.to_owned();
    let back = [
        ScriptAction::Do(DatabaseAction::Rejoin(old.clone())),
        ScriptAction::Say(StateChange::DnsReader(old, true)),
    ];
    steps.retain(|step| !back.contains(&step.what));
    steps
}

/// The creation of an instance: the first of its cluster becomes the writer, others readers.
#[must_use]
pub fn create_script(
    profile: &TimingProfile,
    name: &str,
    address: Ipv4Addr,
    first: bool,
    dns_delay: Option<f64>,
) -> Vec<ScriptStep> {
    let t = &profile.create;
    let available = t.available.after();
    let mut steps = vec![
        if first {
            perform_at(Duration::ZERO, DatabaseAction::Found(name.to_owned()))
        } else {
            perform_at(Duration::ZERO, DatabaseAction::Join(name.to_owned()))
        },
        publish_at(available, StateChange::Endpoint(name.to_owned(), address)),
        publish_at(
            available,
            StateChange::Instance(name.to_owned(), "available"),
        ),
    ];
    steps.push(if first {
        publish_at(available, StateChange::DnsWriter(name.to_owned()))
    } else {
        let dns = parse_delay(dns_delay).unwrap_or_else(|| t.dns.after());
        publish_at(
            available + dns,
            StateChange::DnsReader(name.to_owned(), true),
        )
    });
    sort_steps(steps)
}

/// The deletion of an instance, which is `deleting` from the call on.
#[must_use]
pub fn delete_script(profile: &TimingProfile, name: &str) -> Vec<ScriptStep> {
    let t = &profile.delete;
    sort_steps(vec![
        publish_at(
            Duration::ZERO,
            StateChange::Instance(name.to_owned(), "deleting"),
        ),
        publish_at(
            t.dns.after(),
            StateChange::DnsReader(name.to_owned(), false),
        ),
        perform_at(t.killed.after(), DatabaseAction::Remove(name.to_owned())),
        publish_at(t.killed.after(), StateChange::DnsGone(name.to_owned())),
        publish_at(t.unlisted.after(), StateChange::Unlisted(name.to_owned())),
    ])
}

/// A reboot.
#[must_use]
pub fn reboot_script(profile: &TimingProfile, name: &str) -> Vec<ScriptStep> {
    let t = &profile.reboot;
    sort_steps(vec![
        publish_at(
            Duration::ZERO,
            StateChange::Instance(name.to_owned(), "rebooting"),
        ),
        perform_at(t.restart.after(), DatabaseAction::Restart(name.to_owned())),
        publish_at(
            t.available.after(),
            StateChange::Instance(name.to_owned(), "available"),
        ),
    ])
}

/// What follows the death of a process: Aurora restarts it, or fails over if it was the writer and there is a target.
#[must_use]
pub fn crash_script(profile: &TimingProfile, name: &str, target: Option<&str>) -> Vec<ScriptStep> {
    let t = &profile.crash;
    let Some(target) = target else {
        return vec![perform_at(
            t.restarted.after(),
            DatabaseAction::Restart(name.to_owned()),
        )];
    };
    let roles = FailoverRoles {
        old: name,
        target,
        dead: true,
    };
    let mut steps = failover_script(profile, &FailoverOptions::default(), roles);
    for step in &mut steps {
        step.after += t.noticed.after();
    }
    steps
}

#[cfg(test)]
mod tests;
