//! `verify`: recycles one pod by its target's method, and proves that its connections are new.
//!
//! Acts as the user, under a claim on the pod, so that the operator leaves it alone meanwhile. What is
//! proven is stamped as a recycle; what is not, is not.

mod api_proxy;
mod checks;
mod proof;
mod replacement;
mod verification;

use jiff::Timestamp;
use kube::ResourceExt;

use super::cli::VerifyArgs;
use super::connections::{self, address_map::AddressMap};
use super::error::PluginError;
use super::pods::{self, CountedPod};
use super::requests::ReportLine;
use super::session::Session;
use super::status;
use dbbalance_api::DbBalancePolicy;
use dbbalance_api::spec::{Method, TargetSpec};
use dbbalance_api::status::{TargetStatus, TopologyStatus};
use dbbalance_core::evidence::{PodMeasurement, Socket, UnreadableReason};
use dbbalance_core::stamp::{Attempt, Claim, PolicyMark, Stamp};
use dbbalance_core::topology::Fingerprint;
use dbbalance_kube::methods::PodRef;
use dbbalance_kube::methods::annotate::TopologyNote;
use dbbalance_kube::recycle::PodRecycle;
use dbbalance_kube::sockets::ConnectionReader;
use dbbalance_terminal::render::format_count;
use verification::Verification;

/// How many pods are read to find one with connections.
const TRIED: usize = 10;

/// What is asked of the user before a pod is touched; true: go on.
pub(super) type Confirm<'a> = &'a mut dyn FnMut(&str) -> Result<bool, PluginError>;

/// Recycles one pod and proves it.
pub(super) async fn verify_pod(
    session: &Session,
    args: &VerifyArgs,
    reader: &dyn ConnectionReader,
    say: ReportLine<'_>,
    ask: Confirm<'_>,
) -> Result<(), PluginError> {
    let policy = session.get_policy(&args.policy).await?;
    let target = checks::select_target(&policy, args.target.as_deref())?;
    let found = checks::check_policy(&policy, target)?;
    let topology = connections::recorded_topology(&policy)?;
    let mut address_map = AddressMap::default();
    address_map.update(topology);
    let port = connections::effective_port(target, topology, args.port);
    let all = session.list_pods().await?;
    let counted = pods::counted_pods(&all, target);
    let candidates = checks::list_candidates(target, &counted, args.pod.as_deref())?;
    let (pod, before) =
        find_pod_with_connections(session, reader, target, port, &candidates).await?;
    let stamp = due_stamp(&policy, found, topology);
    refuse_same_stamp(target, pod, &stamp)?;
    let of = PodRef {
        namespace: session.namespace.clone(),
        name: pod.facts.name.clone(),
        uid: pod.facts.uid.clone(),
    };
    if !args.yes && !ask(&format_question(target, &of, &before))? {
        return Err(PluginError::Declined("nothing was done".to_owned()));
    }
    let recycle = PodRecycle {
        client: &session.effects,
        target,
        pod: pod.object,
        pod_ref: of,
        method: target.recycle.method,
        claim: Claim {
            policy: stamp.policy.clone(),
            epoch: stamp.epoch,
            attempt: Attempt::First,
            time: Timestamp::now(),
        },
        moved: None,
        stamp,
        topology: TopologyNote::from_status(Some(topology)),
        recycles: pod.facts.recycles.saturating_add(1),
    };
    let mut verification = Verification {
        session,
        reader,
        recycle,
        port,
        before,
        address_map,
        limit: args.timeout.unsigned_abs(),
    };
    verification.claim_pod().await?;
    // From here on the claim is taken away whatever happens.
    let ended = tokio::select! {
        ended = verification.recycle_and_prove(&all, say) => ended,
        _ = tokio::signal::ctrl_c() => Err(PluginError::Interrupted(
            "interrupted: the pod may have been recycled; nothing was proven".to_owned(),
        )),
    };
    match ended {
        Ok(proof) => {
            verification.finish(say).await;
            if let Some(remark) = proof.remark(reader_count(topology)) {
                say(&remark);
            }
            Ok(())
        }
        Err(error) => {
            verification.release_claim(say).await;
            Err(error)
        }
    }
}

fn reader_count(topology: &TopologyStatus) -> usize {
    usize::try_from(topology.reader_count).unwrap_or(0)
}

/// The first candidate that holds connections.
async fn find_pod_with_connections<'c, 'a>(
    session: &Session,
    reader: &dyn ConnectionReader,
    target: &TargetSpec,
    port: u16,
    candidates: &[&'c CountedPod<'a>],
) -> Result<(&'c CountedPod<'a>, Vec<Socket>), PluginError> {
    let named = target.evidence_container.as_deref();
    let mut last = PluginError::Declined(format!("target {} has no pods", target.name));
    for pod in candidates.iter().take(TRIED) {
        let name = &pod.facts.name;
        match connections::read_pod(reader, pod.object, port, named).await {
            PodMeasurement::Read(reading) => {
                if reading.sockets.iter().any(Socket::is_connection) {
                    return Ok((pod, reading.sockets.to_vec()));
                }
                last = PluginError::Declined(format!(
                    "pod {name} holds no connection to port {port}, so there is nothing to prove: send it \
                     load, or pass another --pod or --port"
                ));
            }
            PodMeasurement::Unreadable { why, .. } => {
                if why.reason == UnreadableReason::NotGranted {
                    return Err(connections::exec_forbidden(
                        &why.message,
                        &session.namespace,
                    ));
                }
                last = PluginError::Declined(format!(
                    "the connections of pod {name} cannot be read, so that nothing could be proven: {}",
                    why.message
                ));
            }
        }
    }
    Err(last)
}

/// The stamp of the epoch that the target is due to: its pods are at least as new after this.
fn due_stamp(policy: &DbBalancePolicy, target: &TargetStatus, topology: &TopologyStatus) -> Stamp {
    let fingerprint = if target.fingerprint.is_empty() {
        &topology.fingerprint
    } else {
        &target.fingerprint
    };
    Stamp {
        policy: PolicyMark::from_uid(&policy.uid().unwrap_or_default()),
        epoch: target.due_epoch.max(target.baseline_epoch),
        fingerprint: Fingerprint(fingerprint.clone()),
    }
}

/// An app that follows the stamp sees nothing if it stays the same.
fn refuse_same_stamp(
    target: &TargetSpec,
    pod: &CountedPod,
    stamp: &Stamp,
) -> Result<(), PluginError> {
    if target.recycle.method == Method::Annotate && pod.facts.stamp.as_ref() == Some(stamp) {
        return Err(PluginError::Declined(format!(
            "pod {} carries the stamp {stamp} already, so that writing it again would not notify the app: request a \
             run instead: kubectl dbbalance recycle",
            pod.facts.name
        )));
    }
    Ok(())
}

fn format_question(target: &TargetSpec, of: &PodRef, before: &[Socket]) -> String {
    let held = before.iter().filter(|s| s.is_connection()).count();
    let what = if target.recycle.method == Method::Evict {
        "is evicted now, and another takes its place"
    } else {
        "is recycled now: its pools must close them and open new ones"
    };
    format!(
        "pod {}/{} holds {}. It {what}, by {}. Go on?",
        of.namespace,
        of.name,
        format_count(held, "connection"),
        status::describe_method(target)
    )
}
