//! Checks whether DNS serves the readers that hold too few connections, and whether it leads broken pods to the right
//! members.
//!
//! It rates answers. Of pods it knows only which cache they ask.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

use super::inputs::{EndpointAnswer, Inputs, PodView, Settings};
use super::shares::{round_to_permille, to_f64};
use super::verdict::add_saturating;
use crate::topology::InstanceId;
use dbbalance_api::rebalance_state::{Batch, GateRecord};

/// The newest answers, by the cache that gave them.
pub(super) struct RecentAnswers<'a> {
    shared: Vec<Option<&'a InstanceId>>,
    by_node: BTreeMap<&'a str, Vec<Option<&'a InstanceId>>>,
}

impl<'a> RecentAnswers<'a> {
    /// Keeps the newest `settings.looks` answers of each cache that are recent enough to tell what is answered next.
    pub(super) fn from_fresh(looks: &'a [EndpointAnswer], now: Timestamp, by: &Settings) -> Self {
        Self::of_age(looks, now, by, by.look_age)
    }

    /// Keeps the newest `settings.looks` answers of each cache that are recent enough where all must agree.
    pub(super) fn to_agree(looks: &'a [EndpointAnswer], now: Timestamp, by: &Settings) -> Self {
        Self::of_age(looks, now, by, by.agreement_age)
    }

    fn of_age(
        looks: &'a [EndpointAnswer],
        now: Timestamp,
        by: &Settings,
        age: SignedDuration,
    ) -> Self {
        let mut young: Vec<&EndpointAnswer> = looks
            .iter()
            .filter(|l| l.at <= now && now <= add_saturating(l.at, age))
            .collect();
        young.sort_by_key(|l| std::cmp::Reverse(l.at));
        let mut answers = Self {
            shared: vec![],
            by_node: BTreeMap::new(),
        };
        for look in young {
            let list = match &look.via {
                Some(node) => answers.by_node.entry(node.as_str()).or_default(),
                None => &mut answers.shared,
            };
            if list.len() < by.looks {
                list.push(look.instance.as_ref());
            }
        }
        answers
    }

    fn all(&self) -> impl Iterator<Item = Option<&'a InstanceId>> {
        self.shared
            .iter()
            .chain(self.by_node.values().flatten())
            .copied()
    }

    /// Returns the answers of this pod's cache: lookups through its node where nodes have their own caches.
    pub(super) fn for_pod(&self, pod: &PodView) -> &[Option<&'a InstanceId>] {
        if self.by_node.is_empty() {
            return &self.shared;
        }
        pod.node
            .as_deref()
            .and_then(|node| self.by_node.get(node))
            .map_or(&[], Vec::as_slice)
    }

    /// Returns how many answers are enough to decide: one is enough of a node's own cache.
    pub(super) fn required_answers(&self, by: &Settings) -> usize {
        if self.by_node.is_empty() {
            by.looks.max(1)
        } else {
            1
        }
    }

    /// Returns the best share of any cache.
    pub(super) fn best_share(&self, wanted: impl Fn(&InstanceId) -> bool) -> u32 {
        std::iter::once(&self.shared)
            .filter(|_| self.by_node.is_empty())
            .chain(self.by_node.values())
            .map(|list| compute_share(list, &wanted))
            .max()
            .unwrap_or(0)
    }

    /// Returns how many answers are right, and how many named an instance.
    pub(super) fn count_agreeing(&self, right: impl Fn(&InstanceId) -> bool) -> (usize, usize) {
        let known = self.all().flatten().count();
        let agree = self.all().flatten().filter(|id| right(id)).count();
        (agree, known)
    }

    /// Returns the number of failed lookups and unknown addresses.
    pub(super) fn count_unknown(&self) -> usize {
        self.all().filter(Option::is_none).count()
    }
}

/// Returns the share of wanted answers, in thousandths. A failed lookup is not wanted.
pub(super) fn compute_share(
    answers: &[Option<&InstanceId>],
    wanted: impl Fn(&InstanceId) -> bool,
) -> u32 {
    let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    let hits = answers.iter().flatten().filter(|id| wanted(id)).count();
    round_to_permille(count(hits), count(answers.len()))
}

/// Returns the share of answers, in thousandths, that must name a reader with too few connections: all of them while
/// patience lasts, then fewer and fewer, down to a little more than chance. The canary only needs the latter.
pub(super) fn required_share(
    since: Timestamp,
    under: usize,
    places: usize,
    inputs: &Inputs,
) -> u32 {
    let by = inputs.settings;
    let waited = inputs.now.duration_since(since).as_secs_f64();
    let beyond = waited - by.patience.as_secs_f64();
    let floor = (to_f64(under) / to_f64(places.max(1)) + 0.05).min(1.0);
    let fallen = if inputs.canary {
        1.0
    } else {
        (beyond / by.yielding.as_secs_f64().max(0.001)).clamp(0.0, 1.0)
    };
    to_permille(1.0 - (1.0 - floor) * fallen)
}

/// Scores a batch: the connections that its receivers gained, relative to those that it moved.
pub(super) fn score_batch(
    record: GateRecord,
    batch: &Batch,
    held: u32,
    chance: u32,
    by: &Settings,
) -> GateRecord {
    let gained = held.saturating_sub(batch.held).min(batch.connections);
    let mut record = GateRecord {
        batches: record.batches.saturating_add(1),
        landed: record
            .landed
            .saturating_add(round_to_permille(gained, batch.connections)),
        chance: record.chance.saturating_add(chance),
        dropped_until: None,
    };
    if record.batches < by.judged_batches.max(1) {
        return record;
    }
    if record.landed <= record.chance {
        return GateRecord {
            dropped_until: Some(add_saturating(batch.settled.unwrap_or(batch.at), by.rest)),
            ..GateRecord::default()
        };
    }
    if record.batches >= by.judged_batches.saturating_mul(2) {
        // The recent half weighs more, and the record stays small.
        record.batches /= 2;
        record.landed /= 2;
        record.chance /= 2;
    }
    record
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // within 0..=1000
fn to_permille(x: f64) -> u32 {
    (x.clamp(0.0, 1.0) * 1000.0).round() as u32
}
