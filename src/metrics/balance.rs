//! Gauges of each policy's balance: the only series that name a policy. They exist as long as the leader has the policy.

use parking_lot::Mutex;
use std::collections::BTreeSet;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use dbbalance_api::conditions::ConditionStatus;
use dbbalance_api::status::{BalanceStatus, RoleStatus};

/// The balance of one policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyBalance {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub policy: String,
    /// Its condition `Balanced`.
    pub balanced: ConditionStatus,
    /// Its connections; `None` while nothing is measured, which differs from zero.
    pub figures: Option<BalanceSums>,
}

/// The connections of all targets of a policy, by where they lead.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BalanceSums {
    /// To the writer.
    pub writer: i64,
    /// To readers.
    pub reader: i64,
    /// To an instance of the wrong role.
    pub wrong_role: i64,
    /// To an instance that is not a member.
    pub no_member: i64,
    /// Above a reader's fair share.
    pub excess: i64,
}

impl BalanceSums {
    /// Adds up the targets that have figures; `None` if none has.
    #[must_use]
    pub fn sum_statuses(balance: &[BalanceStatus]) -> Option<Self> {
        let with_figures = balance.iter().filter(|b| !b.shares.is_empty());
        with_figures.fold(None, |sums: Option<Self>, target| {
            let mut sums = sums.unwrap_or_default();
            for share in &target.shares {
                let held = match share.role {
                    RoleStatus::Writer => &mut sums.writer,
                    RoleStatus::Reader => &mut sums.reader,
                };
                *held += i64::from(share.connections);
            }
            sums.wrong_role += i64::from(target.misplaced.wrong_role);
            sums.no_member += i64::from(target.misplaced.no_member);
            sums.excess += i64::from(target.misplaced.excess);
            Some(sums)
        })
    }
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, EncodeLabelSet)]
struct ByPolicy {
    namespace: String,
    policy: String,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, EncodeLabelSet)]
struct ByRole {
    namespace: String,
    policy: String,
    role: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, EncodeLabelSet)]
struct ByCause {
    namespace: String,
    policy: String,
    cause: &'static str,
}

/// The series that exist now, so that those of deleted policies can be removed.
#[derive(Debug, Default)]
struct ShownRows {
    policies: BTreeSet<ByPolicy>,
    roles: BTreeSet<ByRole>,
    causes: BTreeSet<ByCause>,
}

/// The gauges.
#[derive(Debug, Default)]
pub(super) struct BalanceGauges {
    balanced: Family<ByPolicy, Gauge>,
    connections: Family<ByRole, Gauge>,
    misplaced: Family<ByCause, Gauge>,
    shown: Mutex<ShownRows>,
}

impl BalanceGauges {
    #[rustfmt::skip] // one line each reads as the table it is
    pub(super) fn register_in(&self, r: &mut Registry) {
        r.register("balanced", "Condition Balanced of the policy: 1 if True, 0 if False, -1 if Unknown", self.balanced.clone());
        r.register("connections", "Measured connections of the policy's targets, by role of the instance", self.connections.clone());
        r.register("misplaced_connections", "Measured connections to the wrong instance, by cause", self.misplaced.clone());
    }

    /// Sets the series of these policies and removes all others. Series that stay are never missing in between.
    pub(super) fn set_policies(&self, policies: &[PolicyBalance]) {
        let mut now = ShownRows::default();
        for one in policies {
            let (namespace, policy) = (&one.namespace, &one.policy);
            let row = ByPolicy {
                namespace: namespace.clone(),
                policy: policy.clone(),
            };
            let value = match one.balanced {
                ConditionStatus::True => 1,
                ConditionStatus::False => 0,
                ConditionStatus::Unknown => -1,
            };
            self.balanced.get_or_create(&row).set(value);
            now.policies.insert(row);
            let Some(sums) = one.figures else { continue };
            for (role, value) in [("Writer", sums.writer), ("Reader", sums.reader)] {
                let row = ByRole {
                    namespace: namespace.clone(),
                    policy: policy.clone(),
                    role,
                };
                self.connections.get_or_create(&row).set(value);
                now.roles.insert(row);
            }
            for (cause, value) in [
                ("WrongRole", sums.wrong_role),
                ("NoMember", sums.no_member),
                ("Excess", sums.excess),
            ] {
                let row = ByCause {
                    namespace: namespace.clone(),
                    policy: policy.clone(),
                    cause,
                };
                self.misplaced.get_or_create(&row).set(value);
                now.causes.insert(row);
            }
        }
        let mut shown = self.shown.lock();
        for gone in shown.policies.difference(&now.policies) {
            self.balanced.remove(gone);
        }
        for gone in shown.roles.difference(&now.roles) {
            self.connections.remove(gone);
        }
        for gone in shown.causes.difference(&now.causes) {
            self.misplaced.remove(gone);
        }
        *shown = now;
    }
}
