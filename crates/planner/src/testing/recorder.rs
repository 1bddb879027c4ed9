//! Records every plan of a story as text and keeps its hash, so that two planners can be compared.
//!
//! The text itself is written in `describe`.

use jiff::{SignedDuration, Timestamp};

use super::at;
use super::describe::{describe_plan, describe_status};
use crate::Plan;
use dbbalance_api::status::DbBalancePolicyStatus;
use dbbalance_core::hash::StableHash;

/// Records the plans of one story.
pub(crate) struct PlanRecorder {
    hash: StableHash,
    plans: usize,
    names: StoryNames,
    /// The last status with its text, which costs most of the time: it seldom changes from plan to plan.
    last: Option<(DbBalancePolicyStatus, String)>,
    /// The text of all plans, where it is kept.
    text: Option<String>,
}

/// A story's plans in short: as many, with this hash over their texts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PlanDigest {
    pub(crate) plans: usize,
    pub(crate) hash: u64,
}

impl PlanRecorder {
    /// Starts a record; `keeps_text` keeps the full text besides the hash.
    pub(crate) fn new(keeps_text: bool) -> Self {
        Self {
            hash: StableHash::from_texts([]),
            plans: 0,
            names: StoryNames::default(),
            last: None,
            text: keeps_text.then(String::new),
        }
    }

    /// Records a plan that was made at this time.
    pub(crate) fn record_plan(&mut self, plan: &Plan, now: Timestamp) {
        self.plans += 1;
        let status = self.status_text(&plan.status);
        let rest = describe_plan(plan, &mut self.names);
        let time = describe_time(now);
        let text = format!("# plan {} at {time}\n{status}{rest}", self.plans);
        self.hash.write(&text);
        if let Some(all) = &mut self.text {
            all.push_str(&text);
            all.push('\n');
        }
    }

    fn status_text(&mut self, status: &DbBalancePolicyStatus) -> String {
        if let Some((last, text)) = &self.last
            && last == status
        {
            return text.clone();
        }
        let text = describe_status(status, &mut self.names);
        self.last = Some((status.clone(), text.clone()));
        text
    }

    /// The record so far.
    pub(crate) fn digest(&self) -> PlanDigest {
        PlanDigest {
            plans: self.plans,
            hash: self.hash.value(),
        }
    }

    /// The text of all plans; empty where it was not kept.
    pub(crate) fn text(&self) -> &str {
        self.text.as_deref().unwrap_or_default()
    }
}

/// Names of a story that do not depend on how topologies are hashed.
#[derive(Default)]
pub(super) struct StoryNames {
    /// Fingerprints in the order of their first appearance.
    fingerprints: Vec<String>,
}

impl StoryNames {
    /// A fingerprint's name in this story: F1 for the first, F2 for the second; nothing for none.
    pub(super) fn name_fingerprint(&mut self, fingerprint: &str) -> String {
        if fingerprint.is_empty() {
            return String::new();
        }
        let known = self.fingerprints.iter().position(|f| f == fingerprint);
        let index = known.unwrap_or_else(|| {
            self.fingerprints.push(fingerprint.to_owned());
            self.fingerprints.len() - 1
        });
        format!("F{}", index + 1)
    }
}

/// A time, in seconds since the tests' beginning of time.
pub(super) fn describe_time(time: Timestamp) -> String {
    describe_duration(time.duration_since(at(0)))
}

/// A duration in seconds, with milliseconds or finer where it has any.
pub(super) fn describe_duration(duration: SignedDuration) -> String {
    let seconds = duration.as_secs();
    match duration.subsec_nanos() {
        0 => format!("{seconds}s"),
        nanos => format!("{seconds}s{nanos:+}ns"),
    }
}
