//! The classes of the members, recorded beside the topology where shares follow the capacity.
//!
//! So that a new leader, which has not read the cluster, weighs the readers as the one before did. They are not part of
//! the topology: another class raises no epoch.

use crate::world::World;
use dbbalance_api::spec::SharesBy;
use dbbalance_api::status::DbBalancePolicyStatus;
use dbbalance_core::topology::InstanceId;

/// Records the classes as RDS reports them now. What it does not report stays as it was.
pub(crate) fn record_classes(world: &World, shares: SharesBy, status: &mut DbBalancePolicyStatus) {
    let before = world.status.topology.as_ref();
    let view = world.topology.current();
    let members = status.topology.iter_mut().flat_map(|t| &mut t.members);
    for member in members {
        let read = view.and_then(|v| v.facts.get(&InstanceId(member.instance.clone())));
        let read = read.and_then(|facts| facts.class.clone());
        let kept = || {
            let mut members = before?.members.iter();
            let same = members
                .find(|m| m.instance == member.instance && m.resource_id == member.resource_id)?;
            same.class.clone()
        };
        member.class = match shares {
            SharesBy::Capacity => read.or_else(kept),
            SharesBy::Equal => None,
        };
    }
}
