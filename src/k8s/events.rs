//! Writes events on policies: one for each transition, and `EpochOpened`, whose creation time is the epoch's open time.
//!
//! An event that cannot be written is logged and dropped, except `EpochOpened`.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::events::v1::Event as ApiEvent;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use kube::api::PostParams;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use kube::{Api, Client, Resource};
use thiserror::Error;

use dbbalance_api::DbBalancePolicy;
use dbbalance_api::conditions::truncate_text;
use dbbalance_api::text::strip_control;
use dbbalance_core::hash::StableHash;

/// The longest note that the API accepts (`k8s.io/kubernetes`, events validation).
const MAX_NOTE_BYTES: usize = 1024;
/// The longest name of an object.
const MAX_NAME_BYTES: usize = 253;
/// The reporting controller of the events.
const CONTROLLER: &str = "dbbalance.io/operator";
/// How long the API server may take for `EpochOpened`. The client retries inside.
const TIMEOUT: Duration = Duration::from_secs(10);

/// The reason of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, strum::IntoStaticStr)]
pub enum EventReason {
    /// A policy saw its cluster for the first time.
    TopologyBaseline,
    /// A change has settled and raised the epoch.
    EpochSettled,
    /// An epoch opened; the event's creation is its open time.
    EpochOpened,
    /// The topology cannot be read any more.
    TopologyStale,
    /// A run has started.
    RunStarted,
    /// A run has left nothing stale.
    RunSucceeded,
    /// A run has stopped without a result.
    RunHalted,
    /// A run spent its recycles, and connections are still uneven.
    RunUneven,
    /// A newer epoch took over a run.
    RunSuperseded,
    /// The first pod of a run is fresh and ready.
    CanaryPassed,
    /// A method failed on a pod.
    RecycleFailed,
    /// A method failed on a pod, so its fallback was used.
    FallbackUsed,
    /// Another client removed the stamp of a pod template.
    RevertDetected,
    /// The status was lost.
    StatusLost,
    /// A user paused the policy.
    Paused,
    /// The pause ended.
    Resumed,
    /// An older policy owns the pods.
    TargetConflict,
    /// The spec is invalid.
    InvalidSpec,
    /// A user requested a run.
    RecycleRequested,
    /// A limit holds a run.
    LimitReached,
    /// A gate holds a run.
    Blocked,
    /// DNS works against the weights of the readers.
    #[allow(clippy::upper_case_acronyms)] // as Kubernetes writes such words
    WeightsFightDNS,
    /// The name of `spec.dns.steering` leads to one reader.
    Narrowed,
    /// It leads to Aurora's own answer again.
    Widened,
}

impl EventReason {
    /// Returns the reason as it stands in the event.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

/// Describes why the open time of an epoch is unknown. The epoch stays pending, and the next reconcile retries.
#[derive(Debug, Error)]
pub enum OpenEpochError {
    /// The policy does not come from the API server.
    #[error("the policy has no namespace, name or UID")]
    Unstored,
    /// The API server rejected the request.
    #[error(
        "cannot write or read the event {name} that dates the epoch: the operator needs create, \
         patch and get on events.k8s.io/events"
    )]
    Api {
        /// The event's name.
        name: String,
        /// The client's error.
        #[source]
        source: kube::Error,
    },
    /// The API server did not answer.
    #[error("no answer within {} s about the event {name} that dates the epoch", TIMEOUT.as_secs())]
    Timeout {
        /// The event's name.
        name: String,
    },
    /// The API server gave no creation time.
    #[error("the event {name} that dates the epoch has no creation time")]
    Undated {
        /// The event's name.
        name: String,
    },
}

/// Writes events. It is shared, so that repeated events become one series.
#[derive(Clone)]
pub struct Events {
    client: Client,
    recorder: Recorder,
    instance: String,
}

impl Events {
    /// Returns the writer; `instance` is this replica's identity, `client` the client with retries.
    #[must_use]
    pub fn new(client: Client, instance: &str) -> Self {
        let reporter = Reporter {
            controller: CONTROLLER.to_owned(),
            instance: Some(instance.to_owned()),
        };
        Self {
            recorder: Recorder::new(client.clone(), reporter),
            client,
            instance: instance.to_owned(),
        }
    }

    /// Writes an event on the policy. A repeated reason and note increments the series of the first event; another note
    /// is another event.
    pub async fn publish(
        &self,
        policy: &DbBalancePolicy,
        type_: EventType,
        reason: EventReason,
        note: &str,
    ) {
        let note = strip_control(note);
        let note = truncate_text(&note, MAX_NOTE_BYTES);
        let event = Event {
            type_,
            reason: reason.as_str().to_owned(),
            note: Some(note.to_owned()),
            action: event_action(reason, note),
            secondary: None,
        };
        let regarding = policy.object_ref(&());
        let written = self.recorder.publish(&event, &regarding);
        let error = match tokio::time::timeout(TIMEOUT, written).await {
            Ok(Ok(())) => return,
            Ok(Err(error)) => error.to_string(),
            Err(_) => "no answer".to_owned(),
        };
        tracing::warn!(reason = reason.as_str(), note, error, "Cannot write event");
    }

    /// Opens an epoch: creates the event `EpochOpened` and returns its creation time, by the API server's clock and in
    /// whole seconds. The name is the same for each attempt. If the event exists already, as after a crash, its time is
    /// returned.
    ///
    /// # Errors
    /// When the event can neither be created nor read.
    pub async fn open_epoch(
        &self,
        policy: &DbBalancePolicy,
        epoch: i64,
        note: &str,
    ) -> Result<Timestamp, OpenEpochError> {
        let meta = &policy.metadata;
        let (Some(namespace), Some(name), Some(uid)) = (&meta.namespace, &meta.name, &meta.uid)
        else {
            return Err(OpenEpochError::Unstored);
        };
        let name = epoch_event_name(name, uid, epoch, note);
        let event = self.epoch_event(policy, namespace, &name, note);
        let events: Api<ApiEvent> = Api::namespaced(self.client.clone(), namespace);
        let dated = tokio::time::timeout(TIMEOUT, async {
            match events.create(&PostParams::default(), &event).await {
                Err(kube::Error::Api(status)) if status.is_already_exists() => {
                    events.get(&name).await
                }
                other => other,
            }
        });
        match dated.await {
            Ok(Ok(event)) => match event.metadata.creation_timestamp {
                Some(created) => Ok(created.0),
                None => Err(OpenEpochError::Undated { name }),
            },
            Ok(Err(source)) => Err(OpenEpochError::Api { name, source }),
            Err(_) => Err(OpenEpochError::Timeout { name }),
        }
    }

    fn epoch_event(
        &self,
        policy: &DbBalancePolicy,
        namespace: &str,
        name: &str,
        note: &str,
    ) -> ApiEvent {
        let reason = EventReason::EpochOpened.as_str();
        ApiEvent {
            metadata: ObjectMeta {
                namespace: Some(namespace.to_owned()),
                name: Some(name.to_owned()),
                ..ObjectMeta::default()
            },
            // Informative only: the open time is the creation time, which the API server sets.
            event_time: Some(MicroTime(Timestamp::now())),
            type_: Some("Normal".to_owned()),
            reason: Some(reason.to_owned()),
            action: Some(reason.to_owned()),
            note: Some(truncate_text(&strip_control(note), MAX_NOTE_BYTES).to_owned()),
            regarding: Some(policy.object_ref(&())),
            reporting_controller: Some(CONTROLLER.to_owned()),
            // The API's limit for this field is 128 characters.
            reporting_instance: Some(truncate_text(&self.instance, 128).to_owned()),
            ..ApiEvent::default()
        }
    }
}

/// Returns the action of an event. The recorder treats events of one type, reason and action as repeats and drops the
/// later note, so the action, which tools do not show, contains a hash of the note.
fn event_action(reason: EventReason, note: &str) -> String {
    format!(
        "{}-{}",
        reason.as_str(),
        StableHash::from_texts([note]).short_hex()
    )
}

/// Returns `<policy>.<first 8 of UID>.epoch-<n>-<hash of the note>`, with the policy's name truncated if it is too long.
/// The note says what raised the epoch: after a lost status, the same number may be used for another change, which must
/// not get the old open time.
fn epoch_event_name(policy: &str, uid: &str, epoch: i64, note: &str) -> String {
    let hash = StableHash::from_texts([note]).short_hex();
    let rest = format!(".{}.epoch-{epoch}-{hash}", truncate_text(uid, 8));
    let head = truncate_text(policy, MAX_NAME_BYTES.saturating_sub(rest.len()));
    format!("{}{rest}", head.trim_end_matches(['-', '.']))
}

#[cfg(test)]
mod tests;
