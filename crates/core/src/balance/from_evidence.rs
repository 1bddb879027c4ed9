//! Converts the API's pools and attributed connections to the inputs of the balance.

use crate::balance::{Holdings, Pools};
use crate::evidence::PodHoldings;
use dbbalance_api::spec::{Endpoint, PoolSpec};

impl From<&PodHoldings> for Holdings {
    fn from(held: &PodHoldings) -> Self {
        let members = held.by_instance.iter();
        Self {
            by_instance: members
                .map(|(instance, held)| (instance.clone(), held.connections))
                .collect(),
            no_member: held.to_no_member(),
            unknown: held.to_unknown(),
            dead: held.dead,
            reopened: false,
        }
    }
}

impl Pools {
    /// Converts the pools that a target declares. A pool without a number gets `unsaid` connections.
    #[must_use]
    pub fn from_specs(declared: &[PoolSpec], unsaid: u32) -> Self {
        let of = |endpoint| {
            let pool = declared.iter().find(|p| p.endpoint == endpoint)?;
            let said = pool.connections_per_pod;
            Some(said.map_or(unsaid, |n| u32::try_from(n).unwrap_or(0)))
        };
        match (of(Endpoint::Reader), of(Endpoint::Writer)) {
            (Some(reader), Some(writer)) => Self::Both { reader, writer },
            (None, Some(_)) => Self::Writer,
            (_, None) => Self::Reader,
        }
    }
}
