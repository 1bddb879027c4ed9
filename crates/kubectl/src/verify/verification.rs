//! Verifies one pod: recycles it, reads its sockets until the proof is complete, and stamps or releases it.

use std::time::{Duration, Instant};

use jiff::Timestamp;
use kube::ResourceExt;

use super::api_proxy::{ApiProxy, required_grant};
use super::proof::Proof;
use super::replacement;
use crate::connections::{self, address_map::AddressMap};
use crate::error::PluginError;
use crate::requests::ReportLine;
use crate::session::Session;
use crate::status;
use dbbalance_api::spec::Method;
use dbbalance_core::evidence::{PodMeasurement, Socket, UnreadableReason};
use dbbalance_core::stamp::Claim;
use dbbalance_kube::containers::compare_restarts;
use dbbalance_kube::methods::annotate::{ClaimOutcome, StampOutcome};
use dbbalance_kube::methods::{EffectFault, EffectOutcome};
use dbbalance_kube::recycle::PodRecycle;
use dbbalance_kube::sockets::ConnectionReader;

/// Between two looks at the pod's sockets. Each is an exec.
pub(super) const LOOK: Duration = Duration::from_millis(500);
/// After the old connections are gone, so long for the pool to be as large as before.
const REFILL: Duration = Duration::from_secs(5);
/// The claim is renewed this often: the operator redoes one that is older than 35 s.
const RENEW: Duration = Duration::from_secs(10);

/// The verification of one pod: its recycle, and what is needed to read its connections.
pub(super) struct Verification<'a> {
    pub(super) session: &'a Session,
    pub(super) reader: &'a dyn ConnectionReader,
    pub(super) recycle: PodRecycle<'a>,
    pub(super) port: u16,
    pub(super) before: Vec<Socket>,
    pub(super) address_map: AddressMap,
    pub(super) limit: Duration,
}

impl Verification<'_> {
    pub(super) fn pod_name(&self) -> &str {
        &self.recycle.pod_ref.name
    }

    pub(super) async fn claim_pod(&self) -> Result<(), PluginError> {
        let name = self.pod_name();
        match self.recycle.claim().await {
            ClaimOutcome::Claimed => Ok(()),
            ClaimOutcome::LostRace => Err(PluginError::Declined(format!(
                "pod {name} has changed meanwhile and was not recycled: try again"
            ))),
            ClaimOutcome::Gone => Err(PluginError::Declined(format!("pod {name} is gone"))),
            ClaimOutcome::Failed { fault, message } => Err(self.effect_error(
                fault,
                &message,
                format!(
                    "patch on pods in namespace {}",
                    self.recycle.pod_ref.namespace
                ),
            )),
        }
    }

    /// A failure of an effect in the user's words: the methods' speak of the operator's rights.
    pub(super) fn effect_error(
        &self,
        fault: EffectFault,
        message: &str,
        grant: String,
    ) -> PluginError {
        let text = message.rsplit_once("; ").map_or(message, |(said, _)| said);
        if fault == EffectFault::Forbidden {
            let doing = format!("recycling pod {}", self.pod_name());
            return PluginError::Forbidden {
                doing,
                said: text.to_owned(),
                grant,
            };
        }
        PluginError::Declined(message.to_owned())
    }

    /// Makes the effect and looks until it is proven, or the time is over.
    pub(super) async fn recycle_and_prove(
        &mut self,
        all: &[k8s_openapi::api::core::v1::Pod],
        say: ReportLine<'_>,
    ) -> Result<Proof, PluginError> {
        let began = Instant::now();
        let proxy = ApiProxy(self.recycle.client);
        let outcome = self.recycle.make_effect(&proxy).await;
        let method = status::describe_method(self.recycle.target);
        match outcome {
            EffectOutcome::Done => say(&format!("pod {}: {method} done", self.pod_name())),
            EffectOutcome::Gone => {
                return Err(PluginError::Declined(format!(
                    "pod {} is gone",
                    self.pod_name()
                )));
            }
            EffectOutcome::Blocked { message, .. } => {
                return Err(PluginError::Declined(format!(
                    "{message}: the pod was not recycled"
                )));
            }
            EffectOutcome::Failed { fault, message } => {
                let grant = required_grant(self.recycle.target, &self.recycle.pod_ref.namespace);
                return Err(self.effect_error(fault, &message, grant));
            }
        }
        if self.recycle.method == Method::Evict {
            return replacement::wait_for_replacement(self, all, began, say).await;
        }
        if self.recycle.method == Method::Annotate {
            self.stamp(say).await;
        }
        let proof = self.watch_connections(began, say).await?;
        self.refuse_restart().await?;
        Ok(proof)
    }

    async fn watch_connections(
        &mut self,
        began: Instant,
        say: ReportLine<'_>,
    ) -> Result<Proof, PluginError> {
        let method = self.recycle.method;
        let mut last: Option<Proof> = None;
        let mut proven: Option<Instant> = None;
        loop {
            match self.read_sockets(self.recycle.pod).await? {
                Ok(sockets) => {
                    let proof = Proof::compare(&self.before, &sockets, &self.address_map);
                    if last
                        .as_ref()
                        .is_none_or(|l| l.progress_text() != proof.progress_text())
                    {
                        let at = began.elapsed().as_secs_f64();
                        say(&format!("  {at:>5.1} s  {}", proof.progress_text()));
                    }
                    if proof.is_proven() {
                        let since = *proven.get_or_insert_with(Instant::now);
                        if proof.is_complete() || since.elapsed() >= REFILL {
                            let seconds = since.duration_since(began).as_secs_f64();
                            say(proof.figures_text().trim_end());
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
                    return Err(PluginError::NotProven(format!(
                        "the pod could not be read within {seconds} s after its recycle"
                    )));
                };
                say(proof.figures_text().trim_end());
                return Err(PluginError::NotProven(
                    proof.explain_failure(method, seconds),
                ));
            }
            tokio::time::sleep(LOOK).await;
            self.renew_claim().await;
        }
    }

    /// One look at a pod: its sockets, or why it cannot be read now.
    pub(super) async fn read_sockets(
        &self,
        pod: &k8s_openapi::api::core::v1::Pod,
    ) -> Result<Result<Vec<Socket>, String>, PluginError> {
        let named = self.recycle.target.evidence_container.as_deref();
        match connections::read_pod(self.reader, pod, self.port, named).await {
            PodMeasurement::Read(reading) => Ok(Ok(reading.sockets.to_vec())),
            PodMeasurement::Unreadable { why, .. } if why.reason == UnreadableReason::Gone => {
                Err(PluginError::NotProven(format!(
                    "pod {} was deleted while its connections were read",
                    self.pod_name()
                )))
            }
            PodMeasurement::Unreadable { why, .. } => Ok(Err(why.message)),
        }
    }

    /// Refuses a proof by a restart: the connections of a restarted process are new, but its pool did not renew them.
    pub(super) async fn refuse_restart(&self) -> Result<(), PluginError> {
        let pods = self.session.list_pods().await?;
        let found = pods
            .iter()
            .find(|p| p.uid().as_deref() == Some(&self.recycle.pod_ref.uid));
        let since = found.and_then(compare_restarts);
        if let Some(container) = since.as_ref().and_then(|s| s.ended.first()) {
            return Err(PluginError::NotProven(format!(
                "container {container} of pod {} restarted: the connections are new because the process is. The method \
                 ends the app instead of renewing its pools",
                self.pod_name()
            )));
        }
        Ok(())
    }

    /// The operator redoes a claim that is too old.
    pub(super) async fn renew_claim(&mut self) {
        let now = Timestamp::now();
        let age = now.duration_since(self.recycle.claim.time).unsigned_abs();
        if age < RENEW || self.recycle.method == Method::Annotate {
            return;
        }
        let next = Claim {
            time: now,
            ..self.recycle.claim.clone()
        };
        if self.recycle.replace_claim(&next).await == StampOutcome::Stamped {
            self.recycle.claim = next;
        }
    }

    /// The end of a proof.
    pub(super) async fn finish(&self, say: ReportLine<'_>) {
        match self.recycle.method {
            // The stamp was the effect; an evicted pod takes its claim along.
            Method::Annotate | Method::Evict => {}
            _ => self.stamp(say).await,
        }
    }

    pub(super) async fn stamp(&self, say: ReportLine<'_>) {
        match self.recycle.stamp().await {
            StampOutcome::Stamped => say(&format!(
                "pod {}: stamped {}",
                self.pod_name(),
                self.recycle.stamp
            )),
            StampOutcome::Gone | StampOutcome::LostRace => say(&format!(
                "pod {}: not stamped, because it has changed meanwhile; the operator recycles it if it is stale",
                self.pod_name()
            )),
            StampOutcome::Failed { message, .. } => say(&format!("not stamped: {message}")),
        }
    }

    /// Nothing is proven: the pod is left to the operator as it was found.
    pub(super) async fn release_claim(&self, say: ReportLine<'_>) {
        if let StampOutcome::Failed { message, .. } = self.recycle.release().await {
            let claim = self.recycle.claim.to_string();
            say(&format!(
                "the claim {claim:?} stays on pod {}: {message}",
                self.pod_name()
            ));
        }
    }
}
