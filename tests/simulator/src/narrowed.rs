//! The name that the controller narrows: what stands of it, its look-ups, and the rule of `dbbalance_core::narrow` on them.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};

use crate::dns::Dns;
use dbbalance_core::balance::{NameLead, Reach};
use dbbalance_core::narrow::{
    Led, NameAction, NameLook, NarrowingInputs, NarrowingMemory, NarrowingRules, NarrowingStops,
    ObservedName, WantedLead, WidenReason, check_claim, decide_narrowing, find_own_claim, is_told,
};
use dbbalance_core::stamp::PolicyMark;
use dbbalance_core::topology::InstanceId;
use fastrand::Rng;

/// How many look-ups of the name are made in each tick of half a second: ten a second.
const LOOKS: i32 = 5;
/// How many look-ups are kept: more than the rule asks for.
const KEPT: usize = 40;
/// The greatest TTL of the name's answers: that of EKS's `kubernetes` plugin.
const TTL: u32 = 5;

/// A name that may be narrowed, in one run.
pub(crate) struct NarrowedName {
    rules: NarrowingRules,
    is_cached: bool,
    policy: PolicyMark,
    observed: ObservedName,
    looks: Vec<NameLook>,
    memory: NarrowingMemory,
    readers: BTreeSet<InstanceId>,
    names: Vec<InstanceId>,
    /// How long before the end of the hold the last batch is sent: what its pods take to come back.
    needs: SignedDuration,
}

impl NarrowedName {
    /// A name that leads to the authority's answer. `is_cached`: the caches before the pods keep it.
    pub(crate) fn new(names: &[InstanceId], hold: i64, is_cached: bool, reach: Reach) -> Self {
        Self {
            rules: NarrowingRules {
                hold: SignedDuration::from_secs(hold),
                settle: None,
                allows_single_operator: false,
            },
            is_cached,
            policy: PolicyMark::from_uid("simulate"),
            observed: ObservedName::Found {
                led: Led::Aurora,
                claim: None,
            },
            looks: Vec::new(),
            memory: NarrowingMemory::default(),
            readers: names.iter().cloned().collect(),
            names: names.to_vec(),
            needs: SignedDuration::from_secs(if matches!(reach, Reach::Slow { .. }) {
                30
            } else {
                3
            }),
        }
    }

    fn inputs(&self, now: Timestamp) -> NarrowingInputs<'_> {
        NarrowingInputs {
            now,
            observed: &self.observed,
            looks: &self.looks,
            greatest_ttl: Some(TTL),
            policy: &self.policy,
            generation: 1,
            rules: Some(&self.rules),
            stops: NarrowingStops::default(),
            readers: Some(&self.readers),
            rest_until: self.memory.rest_until,
        }
    }

    /// Whether too little of the hold is left to send a batch.
    fn is_ending(&self, now: Timestamp) -> bool {
        let claim = find_own_claim(&self.inputs(now)).cloned();
        claim.is_some_and(|c| now + self.needs > c.time + self.rules.hold)
    }

    /// Returns what the name tells the balance.
    pub(crate) fn lead(&self, now: Timestamp) -> NameLead<'_> {
        let inputs = self.inputs(now);
        let claim = find_own_claim(&inputs).filter(|c| check_claim(&inputs, c).is_ok());
        NameLead {
            narrowed_to: claim.map(|c| &c.instance),
            is_told: claim.is_some_and(|c| is_told(&inputs, c)) && !self.is_ending(now),
        }
    }

    /// Decides and acts. `has_batch`: pods are on their way to the receiver.
    pub(crate) fn steer(
        &mut self,
        receiver: Option<&InstanceId>,
        has_batch: bool,
        dns: &mut Dns,
        now: Timestamp,
    ) {
        let wanted = receiver.map(|receiver| WantedLead {
            run: 0,
            receiver: receiver.clone(),
        });
        let wanted = match &wanted {
            Some(_) if self.is_ending(now) && !has_batch => Err(WidenReason::HoldOver),
            Some(lead) => Ok(lead),
            None => Err(WidenReason::NothingLeft),
        };
        match decide_narrowing(&self.inputs(now), wanted) {
            NameAction::Keep => {}
            NameAction::Narrow(claim) => {
                let place = self.names.iter().position(|n| *n == claim.instance);
                dns.lead(place, self.is_cached);
                self.looks.clear();
                self.observed = ObservedName::Found {
                    led: Led::Instance(claim.instance.clone()),
                    claim: Some(claim),
                };
            }
            NameAction::Widen(reason) => {
                dns.lead(None, self.is_cached);
                if let Some(claim) = find_own_claim(&self.inputs(now)) {
                    self.memory =
                        self.memory
                            .after_widening(claim, reason, &self.rules, Some(TTL), now);
                }
                self.observed = ObservedName::Found {
                    led: Led::Aurora,
                    claim: None,
                };
            }
        }
    }

    /// Looks the name up while it is narrowed.
    pub(crate) fn look_up(&mut self, dns: &mut Dns, at: u64, now: Timestamp, rng: &mut Rng) {
        if find_own_claim(&self.inputs(now)).is_none() {
            return;
        }
        for n in (0..LOOKS).rev() {
            let (answer, is_led) = dns.ask_whence(0, at, rng);
            let led = self.names.get(answer).filter(|_| is_led).cloned();
            self.looks.push(NameLook {
                at: now - SignedDuration::from_millis(100) * n,
                led: Some(led.map_or(Led::Aurora, Led::Instance)),
                ttl: TTL,
            });
        }
        let surplus = self.looks.len().saturating_sub(KEPT);
        self.looks.drain(..surplus);
    }
}
