//! `verify`: recycles one pod by its target's method, and proves that its connections are new.
//!
//! Acts as the user, under a claim on the pod, so that the operator leaves it alone meanwhile. What is
//! proven is stamped as a recycle; what is not, is not.

mod case;
mod checks;
mod effect;
mod proof;
mod replacement;

use jiff::Timestamp;
use kube::ResourceExt;

use super::cli::VerifyArgs;
use super::connections::{self, book::Book};
use super::error::Error;
use super::pods::{self, CountedPod};
use super::session::Session;
use super::status;
use super::text::count;
use super::wish::Say;
use case::Case;
use dbbalance_api::DbBalancePolicy;
use dbbalance_api::spec::{Method, TargetSpec};
use dbbalance_api::status::{RoleStatus, TargetStatus, TopologyStatus};
use dbbalance_core::evidence::{PodMeasurement, Socket, UnreadableReason};
use dbbalance_core::stamp::{Attempt, Claim, PolicyMark, Stamp};
use dbbalance_core::topology::Fingerprint;
use dbbalance_kube::methods::PodRef;
use dbbalance_kube::methods::annotate::TopologyNote;
use dbbalance_kube::sockets::ConnectionReader;

/// How many pods are read to find one with connections.
const TRIED: usize = 10;

/// What is asked of the user before a pod is touched; true: go on.
pub(super) type Ask<'a> = &'a mut dyn FnMut(&str) -> Result<bool, Error>;

/// Recycles one pod and proves it.
pub(super) async fn verify(
    session: &Session,
    args: &VerifyArgs,
    reader: &dyn ConnectionReader,
    say: Say<'_>,
    ask: Ask<'_>,
) -> Result<(), Error> {
    let policy = session.policy(&args.policy).await?;
    let target = checks::target(&policy, args.target.as_deref())?;
    let found = checks::standing(&policy, target)?;
    let topology = connections::topology(&policy)?;
    let mut book = Book::default();
    book.update(topology);
    let port = connections::port(target, topology, args.port);
    let all = session.pods().await?;
    let counted = pods::of_target(&all, target);
    let candidates = checks::candidates(target, &counted, args.pod.as_deref())?;
    let (pod, before) = with_connections(session, reader, target, port, &candidates).await?;
    let stamp = stamp(&policy, found, topology);
    refuse_same_stamp(target, pod, &stamp)?;
    let of = PodRef {
        namespace: session.namespace.clone(),
        name: pod.facts.name.clone(),
        uid: pod.facts.uid.clone(),
    };
    if !args.yes && !ask(&question(target, &of, &before))? {
        return Err(Error::Declined("nothing was done".to_owned()));
    }
    let claim = Claim {
        policy: stamp.policy.clone(),
        epoch: stamp.epoch,
        attempt: Attempt::First,
        time: Timestamp::now(),
    };
    let mut case = Case {
        session,
        reader,
        target,
        port,
        pod,
        of,
        before,
        book,
        claim,
        limit: args.timeout.unsigned_abs(),
    };
    let note = note(topology);
    case.claim_it().await?;
    // From here on the claim is taken away whatever happens.
    let ended = tokio::select! {
        ended = case.recycle(&all, &stamp, &note, say) => ended,
        _ = tokio::signal::ctrl_c() => Err(Error::Interrupted(
            "interrupted: the pod may have been recycled; nothing was proven".to_owned(),
        )),
    };
    match ended {
        Ok(proof) => {
            case.conclude(&stamp, &note, say).await;
            if let Some(remark) = proof.remark(readers(topology)) {
                say(&remark);
            }
            Ok(())
        }
        Err(error) => {
            case.release(say).await;
            Err(error)
        }
    }
}

fn readers(topology: &TopologyStatus) -> usize {
    usize::try_from(topology.reader_count).unwrap_or(0)
}

/// The first candidate that holds connections.
async fn with_connections<'c, 'a>(
    session: &Session,
    reader: &dyn ConnectionReader,
    target: &TargetSpec,
    port: u16,
    candidates: &[&'c CountedPod<'a>],
) -> Result<(&'c CountedPod<'a>, Vec<Socket>), Error> {
    let named = target.evidence_container.as_deref();
    let mut last = Error::Declined(format!("target {} has no pods", target.name));
    for pod in candidates.iter().take(TRIED) {
        let name = &pod.facts.name;
        match connections::read_pod(reader, pod.object, port, named).await {
            PodMeasurement::Read(reading) => {
                if reading.sockets.iter().any(Socket::is_connection) {
                    return Ok((pod, reading.sockets));
                }
                last = Error::Declined(format!(
                    "pod {name} holds no connection to port {port}, so that there is nothing to prove: give it \
                     load, or name another --pod or --port"
                ));
            }
            PodMeasurement::Unreadable { why, .. } => {
                if why.reason == UnreadableReason::NotGranted {
                    return Err(connections::exec_forbidden(
                        &why.message,
                        &session.namespace,
                    ));
                }
                last = Error::Declined(format!(
                    "the connections of pod {name} cannot be read, so that nothing could be proven: {}",
                    why.message
                ));
            }
        }
    }
    Err(last)
}

/// The stamp of the epoch that the target is due to: its pods are at least as new after this.
fn stamp(policy: &DbBalancePolicy, target: &TargetStatus, topology: &TopologyStatus) -> Stamp {
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

/// The topology as pods are told it.
fn note(topology: &TopologyStatus) -> TopologyNote {
    let mut readers: Vec<&str> = topology
        .members
        .iter()
        .filter(|m| m.role == RoleStatus::Reader)
        .map(|m| m.instance.as_str())
        .collect();
    readers.sort_unstable();
    TopologyNote {
        writer: topology.writer.clone().unwrap_or_default(),
        readers: readers.join(","),
    }
}

/// An app that follows the stamp sees nothing if it stays the same.
fn refuse_same_stamp(target: &TargetSpec, pod: &CountedPod, stamp: &Stamp) -> Result<(), Error> {
    if target.recycle.method == Method::Annotate && pod.facts.stamp.as_ref() == Some(stamp) {
        return Err(Error::Declined(format!(
            "pod {} carries the stamp {stamp} already, so that writing it again would tell the app nothing: ask for a \
             run instead, kubectl dbbalance recycle",
            pod.facts.name
        )));
    }
    Ok(())
}

fn question(target: &TargetSpec, of: &PodRef, before: &[Socket]) -> String {
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
        count(held, "connection"),
        status::method(target)
    )
}
