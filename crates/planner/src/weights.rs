//! The weights of the readers, as the policy asks for them and the status knows the readers.

use std::collections::BTreeMap;

use crate::target::PassContext;
use dbbalance_api::status::ReaderDirection;
use dbbalance_core::topology::{InstanceId, Topology};
use dbbalance_core::weights::{ReaderFacts, ReaderWeights};

/// Computes the weights of the settled topology's readers. Classes are those of the status, so that a new leader, which
/// has not read the cluster, weighs them alike.
pub(crate) fn compute_weights(
    pass: &PassContext,
    topology: &Topology,
    drained: &[InstanceId],
) -> ReaderWeights {
    let status = pass.status;
    let members = status.topology.iter().flat_map(|t| &t.members);
    let classes: BTreeMap<&str, &str> = members
        .filter_map(|m| Some((m.instance.as_str(), m.class.as_deref()?)))
        .collect();
    let came = |instance: &str| {
        let mut changes = status.reader_changes.iter().rev();
        let last = changes.find(|c| c.instance == instance)?;
        (last.direction == ReaderDirection::Added).then_some(last.time.0)
    };
    let readers: Vec<ReaderFacts> = topology
        .readers
        .iter()
        .map(|reader| ReaderFacts {
            instance: &reader.instance,
            class: classes.get(reader.instance.0.as_str()).copied(),
            came: came(&reader.instance.0),
        })
        .collect();
    ReaderWeights::compute(&pass.policy.balance, &readers, drained, pass.now)
}
