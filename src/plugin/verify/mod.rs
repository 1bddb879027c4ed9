//! `verify`: recycles one pod by its target's method, and proves that its connections are new.
//!
//! Acts as the user, under a claim on the pod, so that the operator leaves it alone meanwhile. What is
//! proven is stamped as a recycle; what is not, is not.

mod checks;
mod effect;
mod proof;
mod replacement;

use std::time::{Duration, Instant};

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
use crate::api::DbBalancePolicy;
use crate::api::spec::{Method, TargetSpec};
use crate::api::status::{RoleStatus, TargetStatus, TopologyStatus};
use crate::domain::evidence::{PodMeasurement, Socket, UnreadableReason};
use crate::domain::stamp::{Claim, PolicyMark, Stamp};
use crate::domain::topology::Fingerprint;
use crate::evidence::ConnectionReader;
use crate::methods::annotate::{self, ClaimOutcome, StampOutcome, TopologyNote};
use crate::methods::{Fault, Outcome, PodRef};
use proof::Proof;

/// Between two looks at the pod's sockets. Each is an exec.
const LOOK: Duration = Duration::from_millis(500);
/// After the old connections are gone, so long for the pool to be as large as before.
const REFILL: Duration = Duration::from_secs(5);
/// The claim is renewed this often: the operator redoes one that is older than 35 s.
const RENEW: Duration = Duration::from_secs(10);
/// How many pods are read to find one with connections.
const TRIED: usize = 10;

/// What is asked of the user before a pod is touched; true: go on.
pub(super) type Ask<'a> = &'a mut dyn FnMut(&str) -> Result<bool, Error>;

/// Everything about the one pod.
struct Case<'a> {
    session: &'a Session,
    reader: &'a dyn ConnectionReader,
    target: &'a TargetSpec,
    port: u16,
    pod: &'a CountedPod<'a>,
    of: PodRef,
    before: Vec<Socket>,
    book: Book,
    claim: Claim,
    limit: Duration,
}

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
    let port = connections::port(target, args.port);
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
        attempt: 1,
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
        policy: PolicyMark::of(&policy.uid().unwrap_or_default()),
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

impl Case<'_> {
    async fn claim_it(&self) -> Result<(), Error> {
        let value = self.claim.to_string();
        match annotate::claim(&self.session.effects, self.pod.object, &value, None).await {
            ClaimOutcome::Claimed => Ok(()),
            ClaimOutcome::LostRace => Err(Error::Declined(format!(
                "pod {} has changed meanwhile, nothing was done: try again",
                self.of.name
            ))),
            ClaimOutcome::Gone => Err(Error::Declined(format!("pod {} is gone", self.of.name))),
            ClaimOutcome::Failed { fault, message } => Err(self.failed(
                fault,
                &message,
                format!("patch on pods in namespace {}", self.of.namespace),
            )),
        }
    }

    /// A failure of an effect in the user's words: the methods' speak of the operator's rights.
    fn failed(&self, fault: Fault, message: &str, grant: String) -> Error {
        let text = message.rsplit_once("; ").map_or(message, |(said, _)| said);
        if fault == Fault::Forbidden {
            let doing = format!("recycling pod {}", self.of.name);
            return Error::Forbidden {
                doing,
                said: text.to_owned(),
                grant,
            };
        }
        Error::Declined(message.to_owned())
    }

    /// Makes the effect and looks until it is proven, or the time is over.
    async fn recycle(
        &mut self,
        all: &[k8s_openapi::api::core::v1::Pod],
        stamp: &Stamp,
        note: &TopologyNote,
        say: Say<'_>,
    ) -> Result<Proof, Error> {
        let restarts = restarts(self.pod.object);
        let began = Instant::now();
        let outcome = effect::act(
            &self.session.effects,
            self.target,
            self.pod.object,
            &self.of,
        )
        .await;
        let method = status::method(self.target);
        match outcome {
            Outcome::Done => say(&format!("pod {}: {method} done", self.of.name)),
            Outcome::Gone => {
                return Err(Error::Declined(format!("pod {} is gone", self.of.name)));
            }
            Outcome::Blocked { message, .. } => {
                return Err(Error::Declined(format!("{message}: nothing was done")));
            }
            Outcome::Failed { fault, message } => {
                let grant = effect::grant(self.target, &self.of.namespace);
                return Err(self.failed(fault, &message, grant));
            }
        }
        if self.target.recycle.method == Method::Evict {
            return replacement::wait(self, all, began, say).await;
        }
        if self.target.recycle.method == Method::Annotate {
            self.stamp(stamp, note, say).await;
        }
        let proof = self.watch(began, say).await?;
        self.refuse_restart(restarts).await?;
        Ok(proof)
    }

    async fn watch(&mut self, began: Instant, say: Say<'_>) -> Result<Proof, Error> {
        let method = self.target.recycle.method;
        let mut last: Option<Proof> = None;
        let mut proven: Option<Instant> = None;
        loop {
            match self.look(self.pod.object).await? {
                Ok(sockets) => {
                    let proof = Proof::of(&self.before, &sockets, &self.book);
                    if last
                        .as_ref()
                        .is_none_or(|l| l.progress() != proof.progress())
                    {
                        let at = began.elapsed().as_secs_f64();
                        say(&format!("  {at:>5.1} s  {}", proof.progress()));
                    }
                    if proof.is_proven() {
                        let since = *proven.get_or_insert_with(Instant::now);
                        if proof.is_complete() || since.elapsed() >= REFILL {
                            let seconds = since.duration_since(began).as_secs_f64();
                            say(proof.figures().trim_end());
                            say(&format!(
                                "proven: all {} old connections are gone after {seconds:.1} s, and {} new",
                                proof.before,
                                if proof.fresh == 1 {
                                    "1 is".to_owned()
                                } else {
                                    format!("{} are", proof.fresh)
                                }
                            ));
                            return Ok(proof);
                        }
                    }
                    last = Some(proof);
                }
                Err(why) => say(&format!("  cannot be read now: {why}")),
            }
            if began.elapsed() >= self.limit {
                let seconds = self.limit.as_secs();
                let Some(proof) = last else {
                    return Err(Error::NotProven(format!(
                        "the pod could not be read within {seconds} s after its recycle"
                    )));
                };
                say(proof.figures().trim_end());
                return Err(Error::NotProven(proof.why_not(method, seconds)));
            }
            tokio::time::sleep(LOOK).await;
            self.renew().await;
        }
    }

    /// One look at a pod: its sockets, or why it cannot be read now.
    async fn look(
        &self,
        pod: &k8s_openapi::api::core::v1::Pod,
    ) -> Result<Result<Vec<Socket>, String>, Error> {
        let named = self.target.evidence_container.as_deref();
        match connections::read_pod(self.reader, pod, self.port, named).await {
            PodMeasurement::Read(reading) => Ok(Ok(reading.sockets)),
            PodMeasurement::Unreadable { why, .. } if why.reason == UnreadableReason::Gone => {
                Err(Error::NotProven(format!(
                    "pod {} went away while it was looked at",
                    self.of.name
                )))
            }
            PodMeasurement::Unreadable { why, .. } => Ok(Err(why.message)),
        }
    }

    /// Connections of a process that was started anew are new, but that is no pool renewing itself.
    async fn refuse_restart(&self, before: i32) -> Result<(), Error> {
        let pods = self.session.pods().await?;
        let found = pods
            .iter()
            .find(|p| p.uid().as_deref() == Some(&self.of.uid));
        if found.is_some_and(|p| restarts(p) > before) {
            return Err(Error::NotProven(format!(
                "a container of pod {} restarted: the connections are new because the process is. The method ends \
                 the app instead of renewing its pools",
                self.of.name
            )));
        }
        Ok(())
    }

    /// The operator redoes a claim that is too old.
    async fn renew(&mut self) {
        let now = Timestamp::now();
        let age = now.duration_since(self.claim.time).unsigned_abs();
        if age < RENEW || self.target.recycle.method == Method::Annotate {
            return;
        }
        let next = Claim {
            time: now,
            ..self.claim.clone()
        };
        let (old, new) = (self.claim.to_string(), next.to_string());
        let renewed = annotate::replace_claim(&self.session.effects, &self.of, &old, &new).await;
        if renewed == StampOutcome::Stamped {
            self.claim = next;
        }
    }

    /// The end of a proof.
    async fn conclude(&self, stamp: &Stamp, note: &TopologyNote, say: Say<'_>) {
        match self.target.recycle.method {
            // The stamp was the effect; an evicted pod takes its claim along.
            Method::Annotate | Method::Evict => {}
            _ => self.stamp(stamp, note, say).await,
        }
    }

    async fn stamp(&self, stamp: &Stamp, note: &TopologyNote, say: Say<'_>) {
        let outcome = annotate::stamp(
            &self.session.effects,
            &self.of,
            &self.claim.to_string(),
            &stamp.to_string(),
            note,
            self.pod.facts.recycles.saturating_add(1),
        )
        .await;
        match outcome {
            StampOutcome::Stamped => say(&format!("pod {}: stamped {stamp}", self.of.name)),
            StampOutcome::Gone | StampOutcome::LostRace => say(&format!(
                "pod {}: not stamped, as it has changed meanwhile; the operator sees to it",
                self.of.name
            )),
            StampOutcome::Failed { message, .. } => say(&format!("not stamped: {message}")),
        }
    }

    /// Nothing is proven: the pod is left to the operator as it was found.
    async fn release(&self, say: Say<'_>) {
        let claim = self.claim.to_string();
        let outcome = annotate::release(&self.session.effects, &self.of, &claim).await;
        if let StampOutcome::Failed { message, .. } = outcome {
            say(&format!(
                "the claim {claim:?} stays on pod {}: {message}",
                self.of.name
            ));
        }
    }
}

fn restarts(pod: &k8s_openapi::api::core::v1::Pod) -> i32 {
    let statuses = pod
        .status
        .as_ref()
        .and_then(|s| s.container_statuses.as_ref());
    statuses
        .into_iter()
        .flatten()
        .map(|c| c.restart_count)
        .sum()
}
