//! Maps addresses to instances across the samples of one plugin session.
//!
//! The source is `status.topology`. An address that a member had in an earlier sample stays, as a former one.

use std::collections::BTreeMap;
use std::net::IpAddr;

use dbbalance_api::status::{RoleStatus, TopologyStatus};
use dbbalance_core::evidence::{AddressOwner, Addresses};
use dbbalance_core::topology::{InstanceId, MemberId, ResourceId, Topology};

/// The instance of each address.
#[derive(Clone, Debug, Default)]
pub(crate) struct AddressMap(BTreeMap<IpAddr, AddressOwner>);

impl AddressMap {
    /// Adds the current addresses, and marks all others as former.
    pub(crate) fn update(&mut self, topology: &TopologyStatus) {
        for known in self.0.values_mut() {
            known.current = false;
        }
        for member in &topology.members {
            let address = member.address.as_deref().and_then(|a| a.parse().ok());
            if let Some::<IpAddr>(address) = address {
                let known = AddressOwner {
                    instance: InstanceId(member.instance.clone()),
                    current: true,
                    last_seen: None,
                };
                self.0.insert(address.to_canonical(), known);
            }
        }
    }

    pub(crate) fn addresses_of(&self, instance: &InstanceId) -> Vec<IpAddr> {
        self.list_addresses(instance, true)
    }

    /// Returns the addresses that the instance had in earlier samples.
    pub(crate) fn former_addresses_of(&self, instance: &InstanceId) -> Vec<IpAddr> {
        self.list_addresses(instance, false)
    }

    fn list_addresses(&self, instance: &InstanceId, current: bool) -> Vec<IpAddr> {
        self.0
            .iter()
            .filter(|(_, k)| k.instance == *instance && k.current == current)
            .map(|(address, _)| *address)
            .collect()
    }
}

impl Addresses for AddressMap {
    fn owner_of(&self, address: IpAddr) -> Option<AddressOwner> {
        self.0.owner_of(address)
    }

    fn is_resolved(&self, instance: &InstanceId) -> bool {
        self.0.is_resolved(instance)
    }
}

/// The recorded topology as a value; `None` while there is no writer.
pub(crate) fn parse_topology(status: &TopologyStatus) -> Option<Topology> {
    let id = |instance: &str, resource: &str| MemberId {
        instance: InstanceId(instance.to_owned()),
        resource: ResourceId(resource.to_owned()),
    };
    let mut writer = None;
    let mut readers = std::collections::BTreeSet::new();
    for member in &status.members {
        let member_id = id(&member.instance, &member.resource_id);
        match member.role {
            RoleStatus::Writer => writer = Some(member_id),
            RoleStatus::Reader => {
                readers.insert(member_id);
            }
        }
    }
    Some(Topology {
        arn: status.cluster_arn.clone(),
        resource: ResourceId(status.cluster_resource_id.clone()),
        writer: writer?,
        readers,
    })
}
