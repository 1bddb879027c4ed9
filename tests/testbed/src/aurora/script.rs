//! Scripts: in which order, and when, the databases act and the control plane speaks.
//!
//! Pure: a script is a list of steps with offsets, made from a [`super::timeline`] and who plays which part. The
//! order within a failover is that of the public records in the timeline's sources. Nothing is done here;
//! [`super::fleet`] plays a script.

use std::net::Ipv4Addr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::timeline::Profile;
use super::told::Word;

/// What is done or said at an offset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Since the script's start.
    pub after: Duration,
    /// What.
    pub what: What,
}

/// A step's content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// The API or the name server tells something else.
    Say(Word),
    /// A database does something.
    Do(Act),
}

/// What databases do. Connections end where the comment says so, and nowhere else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Act {
    /// Becomes the first database of its cluster.
    Found(String),
    /// Copies the writer and follows it.
    Join(String),
    /// Ends in good order: its connections end, and its port refuses.
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

impl Act {
    /// Verb and instance, for events.
    #[must_use]
    pub fn words(&self) -> (&'static str, &str) {
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
pub struct Cast<'a> {
    /// The writer until now.
    pub old: &'a str,
    /// The writer to be.
    pub target: &'a str,
    /// Has the old one died, so that nothing is left to stop?
    pub dead: bool,
}

fn say(after: Duration, word: Word) -> Step {
    Step {
        after,
        what: What::Say(word),
    }
}

fn act(after: Duration, act: Act) -> Step {
    Step {
        after,
        what: What::Do(act),
    }
}

/// In the order of time; steps of one moment stay in the order they were written.
fn ordered(mut steps: Vec<Step>) -> Vec<Step> {
    steps.sort_by_key(|step| step.after);
    steps
}

/// Seconds of an option, refused values as none.
fn delay(seconds: Option<f64>) -> Option<Duration> {
    seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
}

/// A failover. A dead writer's starts at the promotion's lead time before it: nothing is cut any more.
#[must_use]
pub fn failover(profile: &Profile, options: &FailoverOptions, cast: Cast<'_>) -> Vec<Step> {
    let t = &profile.failover;
    let (old, target) = (cast.old.to_owned(), cast.target.to_owned());
    let promoted = t.promoted.after();
    let dns = delay(options.dns_delay).map(|delay| promoted + delay);
    let dns_writer = dns.unwrap_or_else(|| t.dns_writer.after());
    let dns_readers = dns.map_or_else(|| t.dns_readers.after(), |dns| dns.max(t.rejoined.after()));
    let api = delay(options.api_delay).map_or_else(|| t.api.after(), |delay| promoted + delay);
    let mut steps = vec![say(t.status.after(), Word::Status("failing-over"))];
    if !cast.dead {
        steps.push(act(t.cut.after(), Act::Stop(old.clone())));
    }
    let promote = if options.keep_target {
        Act::PromoteLive(target.clone())
    } else {
        Act::Promote(target.clone())
    };
    steps.extend([
        act(promoted, promote),
        act(t.rejoined.after(), Act::Rejoin(old.clone())),
        say(api, Word::Writer(target.clone())),
        say(dns_writer, Word::DnsWriter(target.clone())),
        say(t.available.after().max(api), Word::Status("available")),
        say(dns_readers, Word::DnsReader(target.clone(), false)),
        say(dns_readers, Word::DnsReader(old.clone(), true)),
    ]);
    if options.flicker {
        let flicker = &profile.flicker;
        steps.push(say(dns_writer + flicker.back.after(), Word::DnsWriter(old)));
        steps.push(say(
            dns_writer + flicker.again.after(),
            Word::DnsWriter(target),
        ));
    }
    ordered(steps)
}

/// The failover before a writer is deleted: the old one does not come back.
#[must_use]
pub fn bequeath(profile: &Profile, cast: Cast<'_>) -> Vec<Step> {
    let mut steps = failover(profile, &FailoverOptions::default(), cast);
    let old = cast.old.to_owned();
    let back = [
        What::Do(Act::Rejoin(old.clone())),
        What::Say(Word::DnsReader(old, true)),
    ];
    steps.retain(|step| !back.contains(&step.what));
    steps
}

/// The creation of an instance: the first of its cluster becomes the writer, others readers.
#[must_use]
pub fn create(
    profile: &Profile,
    name: &str,
    address: Ipv4Addr,
    first: bool,
    dns_delay: Option<f64>,
) -> Vec<Step> {
    let t = &profile.create;
    let available = t.available.after();
    let mut steps = vec![
        if first {
            act(Duration::ZERO, Act::Found(name.to_owned()))
        } else {
            act(Duration::ZERO, Act::Join(name.to_owned()))
        },
        say(available, Word::Endpoint(name.to_owned(), address)),
        say(available, Word::Instance(name.to_owned(), "available")),
    ];
    steps.push(if first {
        say(available, Word::DnsWriter(name.to_owned()))
    } else {
        let dns = delay(dns_delay).unwrap_or_else(|| t.dns.after());
        say(available + dns, Word::DnsReader(name.to_owned(), true))
    });
    ordered(steps)
}

/// The deletion of an instance, which is `deleting` from the call on.
#[must_use]
pub fn delete(profile: &Profile, name: &str) -> Vec<Step> {
    let t = &profile.delete;
    ordered(vec![
        say(Duration::ZERO, Word::Instance(name.to_owned(), "deleting")),
        say(t.dns.after(), Word::DnsReader(name.to_owned(), false)),
        act(t.killed.after(), Act::Remove(name.to_owned())),
        say(t.killed.after(), Word::DnsGone(name.to_owned())),
        say(t.unlisted.after(), Word::Unlisted(name.to_owned())),
    ])
}

/// A reboot.
#[must_use]
pub fn reboot(profile: &Profile, name: &str) -> Vec<Step> {
    let t = &profile.reboot;
    ordered(vec![
        say(Duration::ZERO, Word::Instance(name.to_owned(), "rebooting")),
        act(t.restart.after(), Act::Restart(name.to_owned())),
        say(
            t.available.after(),
            Word::Instance(name.to_owned(), "available"),
        ),
    ])
}

/// What follows the death of a process: Aurora restarts it, or fails over if it was the writer and there is a target.
#[must_use]
pub fn crash(profile: &Profile, name: &str, target: Option<&str>) -> Vec<Step> {
    let t = &profile.crash;
    let Some(target) = target else {
        return vec![act(t.restarted.after(), Act::Restart(name.to_owned()))];
    };
    let cast = Cast {
        old: name,
        target,
        dead: true,
    };
    let mut steps = failover(profile, &FailoverOptions::default(), cast);
    for step in &mut steps {
        step.after += t.noticed.after();
    }
    steps
}

#[cfg(test)]
#[path = "script_tests.rs"]
mod tests;
