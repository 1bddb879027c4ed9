//! The gate: whether DNS serves, now, the readers that hold too little; and whether it leads broken
//! pods where they belong.
//!
//! Judges answers. It knows nothing of pods but through which cache they ask.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::inputs::{Inputs, Look, PodView, Settings};
use super::shares::{permille, real};
use super::verdict::after;
use crate::topology::InstanceId;
use dbbalance_api::rebalance_state::{Batch, Record};

/// The newest answers, by the cache they came through.
pub(super) struct Answers<'a> {
    shared: Vec<Option<&'a InstanceId>>,
    by_node: BTreeMap<&'a str, Vec<Option<&'a InstanceId>>>,
}

impl<'a> Answers<'a> {
    /// Keeps the newest `settings.looks` of each cache that are young enough.
    pub(super) fn fresh(looks: &'a [Look], now: Timestamp, by: &Settings) -> Self {
        let mut young: Vec<&Look> = looks
            .iter()
            .filter(|l| l.at <= now && now <= after(l.at, by.look_age))
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

    /// What this pod's cache has answered: looks through its node where there are any of nodes.
    pub(super) fn of(&self, pod: &PodView) -> &[Option<&'a InstanceId>] {
        if self.by_node.is_empty() {
            return &self.shared;
        }
        pod.node
            .as_deref()
            .and_then(|node| self.by_node.get(node))
            .map_or(&[], Vec::as_slice)
    }

    /// The looks that are enough to judge by: one tells all of a node's own cache.
    pub(super) fn least(&self, by: &Settings) -> usize {
        if self.by_node.is_empty() {
            by.looks.max(1)
        } else {
            1
        }
    }

    /// The best share of any cache.
    pub(super) fn best(&self, wanted: impl Fn(&InstanceId) -> bool) -> u32 {
        std::iter::once(&self.shared)
            .filter(|_| self.by_node.is_empty())
            .chain(self.by_node.values())
            .map(|list| share(list, &wanted))
            .max()
            .unwrap_or(0)
    }

    /// How many answers are right, of how many that named an instance.
    pub(super) fn agreement(&self, right: impl Fn(&InstanceId) -> bool) -> (usize, usize) {
        let known = self.all().flatten().count();
        let agree = self.all().flatten().filter(|id| right(id)).count();
        (agree, known)
    }

    /// Failed look-ups and unknown addresses.
    pub(super) fn unknown(&self) -> usize {
        self.all().filter(Option::is_none).count()
    }
}

/// Answers of a thousand that are wanted. One that failed is not.
pub(super) fn share(answers: &[Option<&InstanceId>], wanted: impl Fn(&InstanceId) -> bool) -> u32 {
    let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    let hits = answers.iter().flatten().filter(|id| wanted(id)).count();
    permille(count(hits), count(answers.len()))
}

/// Answers of a thousand that must name a reader with too few connections: all, for as long as patience
/// lasts; then ever fewer, down to a little more than chance, which is enough for the canary.
pub(super) fn need(since: Timestamp, under: usize, places: usize, inputs: &Inputs) -> u32 {
    let by = inputs.settings;
    let waited = inputs.now.duration_since(since).as_secs_f64();
    let beyond = waited - by.patience.as_secs_f64();
    let floor = (real(under) / real(places.max(1)) + 0.05).min(1.0);
    let fallen = if inputs.canary {
        1.0
    } else {
        (beyond / by.yielding.as_secs_f64().max(0.001)).clamp(0.0, 1.0)
    };
    thousandths(1.0 - (1.0 - floor) * fallen)
}

/// Scores a batch: what its receivers gained of what it moved.
pub(super) fn score(
    record: Record,
    batch: &Batch,
    held: u32,
    chance: u32,
    by: &Settings,
) -> Record {
    let gained = held.saturating_sub(batch.held).min(batch.connections);
    let mut record = Record {
        batches: record.batches.saturating_add(1),
        landed: record
            .landed
            .saturating_add(permille(gained, batch.connections)),
        chance: record.chance.saturating_add(chance),
        dropped_until: None,
    };
    if record.batches < by.judged_batches.max(1) {
        return record;
    }
    if record.landed <= record.chance {
        return Record {
            dropped_until: Some(after(batch.settled.unwrap_or(batch.at), by.rest)),
            ..Record::default()
        };
    }
    if record.batches >= by.judged_batches.saturating_mul(2) {
        // The younger half weighs more, and the record stays small.
        record.batches /= 2;
        record.landed /= 2;
        record.chance /= 2;
    }
    record
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // within 0..=1000
fn thousandths(x: f64) -> u32 {
    (x.clamp(0.0, 1.0) * 1000.0).round() as u32
}
