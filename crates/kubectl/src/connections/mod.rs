//! `connections`: measures which pod holds how many connections to which instance, with the user's rights.
//!
//! Changes nothing. [`snapshot`] computes what is shown, [`page`] draws it.

pub(super) mod address_map;
mod band;
pub(super) mod page;
pub(super) mod snapshot;

use std::time::Duration;

use futures::{StreamExt, stream};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;

use super::cli::ConnectionsArgs;
use super::error::PluginError;
use super::pods::{self, CountedPod};
use super::session::Session;
use address_map::AddressMap;
use dbbalance_api::DbBalancePolicy;
use dbbalance_api::spec::TargetSpec;
use dbbalance_api::status::TopologyStatus;
use dbbalance_core::evidence::{
    Measured, PodMeasurement, PodReading, Unreadable, UnreadableReason,
};
use dbbalance_kube::sockets::{ConnectionReader, NoPace, PodToRead};
use snapshot::{ConnectionSnapshot, SnapshotInput, build_snapshot};

/// Pods read at once. Each is an exec, which holds a connection of API server and kubelet.
const AT_ONCE: usize = 8;
/// How long one pod may take: as long as a signal.
const READ_TIMEOUT: Duration = dbbalance_kube::methods::signal::TIMEOUT;
/// The port of Aurora PostgreSQL, for a target without a port and a status without the port of the cluster.
const DEFAULT_PORT: u16 = 5432;

/// Measures the connections of each requested target.
pub(super) async fn measure_connections(
    session: &Session,
    args: &ConnectionsArgs,
    reader: &dyn ConnectionReader,
    address_map: &mut AddressMap,
) -> Result<Vec<ConnectionSnapshot>, PluginError> {
    let policy = session.get_policy(&args.policy).await?;
    let targets = select_targets(&policy, args.target.as_deref())?;
    let status = recorded_topology(&policy)?;
    address_map.update(status);
    let topology = address_map::parse_topology(status).ok_or_else(|| missing_writer(&policy))?;
    let all = session.list_pods().await?;
    let mut snapshots = Vec::new();
    for target in targets {
        let port = effective_port(target, status, args.port);
        let counted = pods::counted_pods(&all, target);
        let measured = read_pods(reader, &counted, target, port, &session.namespace).await?;
        let names: Vec<(String, String)> = counted
            .iter()
            .map(|p| (p.facts.name.clone(), p.facts.uid.clone()))
            .collect();
        let balance = policy.status.iter().flat_map(|s| &s.balance);
        snapshots.push(build_snapshot(&SnapshotInput {
            namespace: &session.namespace,
            policy: &args.policy,
            cluster: &policy.spec.cluster.identifier,
            target,
            port,
            pods: &names,
            measured: &measured,
            address_map,
            topology: &topology,
            tolerance: u32::try_from(policy.spec.evidence.tolerance_percent).unwrap_or(0),
            balance: balance.into_iter().find(|b| b.target == target.name),
            time: Timestamp::now(),
        }));
    }
    Ok(snapshots)
}

/// The targets meant: the named one, else all.
pub(super) fn select_targets<'p>(
    policy: &'p DbBalancePolicy,
    name: Option<&str>,
) -> Result<Vec<&'p TargetSpec>, PluginError> {
    let targets = &policy.spec.targets;
    let Some(name) = name else {
        return Ok(targets.iter().collect());
    };
    let found = targets.iter().find(|t| t.name == name);
    found.map(|t| vec![t]).ok_or_else(|| {
        let names: Vec<&str> = targets.iter().map(|t| t.name.as_str()).collect();
        PluginError::NotFound(format!(
            "policy {} has no target {name}; its targets: {}",
            policy.name_any(),
            names.join(", ")
        ))
    })
}

/// The recorded topology.
pub(super) fn recorded_topology(policy: &DbBalancePolicy) -> Result<&TopologyStatus, PluginError> {
    let topology = policy.status.as_ref().and_then(|s| s.topology.as_ref());
    topology.ok_or_else(|| {
        let name = policy.name_any();
        PluginError::Declined(format!(
            "policy {name} has no topology recorded yet, so its addresses are unknown: see kubectl dbbalance \
             status {name}"
        ))
    })
}

fn missing_writer(policy: &DbBalancePolicy) -> PluginError {
    PluginError::Declined(format!(
        "the recorded topology of policy {} has no writer: a failover is in progress, try again",
        policy.name_any()
    ))
}

/// The port that counts: the one that the user gives, else the target's, else the cluster's.
pub(super) fn effective_port(
    target: &TargetSpec,
    topology: &TopologyStatus,
    given: Option<u16>,
) -> u16 {
    let own = target.port.or(topology.port);
    let own = own.and_then(|p| u16::try_from(p).ok());
    given.or(own).unwrap_or(DEFAULT_PORT)
}

/// Reads all pods.
///
/// # Errors
/// When the user may not exec in any of them, which no snapshot would tell better.
async fn read_pods(
    reader: &dyn ConnectionReader,
    counted: &[CountedPod<'_>],
    target: &TargetSpec,
    port: u16,
    namespace: &str,
) -> Result<Measured, PluginError> {
    let named = target.evidence_container.as_deref();
    let readings = stream::iter(counted)
        .map(|pod| async move {
            let measured = read_pod(reader, pod.object, port, named).await;
            (pod.facts.uid.clone(), measured)
        })
        .buffer_unordered(AT_ONCE)
        .collect::<Vec<_>>()
        .await;
    let pods: std::collections::BTreeMap<_, _> = readings.into_iter().collect();
    let mut refusals = pods.values().map(|m| match m {
        PodMeasurement::Unreadable { why, .. } if why.reason == UnreadableReason::NotGranted => {
            Some(why.message.clone())
        }
        _ => None,
    });
    if !pods.is_empty()
        && let Some(Some(said)) = refusals.clone().next()
        && refusals.all(|r| r.is_some())
    {
        return Err(exec_forbidden(&said, namespace));
    }
    Ok(Measured { pods })
}

/// The right to exec is missing.
pub(super) fn exec_forbidden(said: &str, namespace: &str) -> PluginError {
    PluginError::Forbidden {
        doing: "reading the connections of pods".to_owned(),
        said: said.to_owned(),
        grant: format!("create on pods/exec in namespace {namespace}"),
    }
}

/// Reads the connections of one pod, within 10 s.
pub(super) async fn read_pod(
    reader: &dyn ConnectionReader,
    pod: &Pod,
    port: u16,
    named: Option<&str>,
) -> PodMeasurement {
    let at = Timestamp::now();
    let unreadable = |reason, message: String| PodMeasurement::Unreadable {
        at,
        why: Unreadable::new(reason, message),
    };
    let Some(to_read) = PodToRead::from_pod(pod, port, named) else {
        return unreadable(
            UnreadableReason::Gone,
            "the pod does not exist any more".to_owned(),
        );
    };
    if let Some(why) = to_read.refused.clone() {
        return PodMeasurement::Unreadable { at, why };
    }
    match tokio::time::timeout(READ_TIMEOUT, reader.read(&to_read, &NoPace)).await {
        Ok(Ok(sockets)) => PodMeasurement::Read(PodReading {
            at,
            sockets: sockets.into(),
        }),
        Ok(Err(why)) => PodMeasurement::Unreadable { at, why },
        Err(_) => unreadable(
            UnreadableReason::Timeout,
            format!("no answer within {} s", READ_TIMEOUT.as_secs()),
        ),
    }
}
