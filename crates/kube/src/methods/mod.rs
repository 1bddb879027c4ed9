//! The methods: each makes one effect on one pod or workload and returns its outcome.
//!
//! A method never retries, never sleeps, and ends within its timeout. The caller must have asked the lease and the rate
//! limiter just before.

pub mod annotate;
mod api_reply;
pub mod evict;
pub mod http;
pub mod rollout;
pub mod signal;
#[cfg(test)]
pub(crate) mod testing;

use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;

use dbbalance_api::spec::RecycleSpec;
use dbbalance_api::text::strip_control;

/// Timeout of one request to the API server, from its first byte to the last byte of the answer.
///
/// Shorter than what is left of the default lease (12 s) after a renewal, so that an effect on a
/// hung API server has ended before another replica can lead.
pub const API_TIMEOUT: Duration = Duration::from_secs(8);

/// Returns why this recipe's method recycles no pod with this spec, and what to do; `None` if nothing is known against it.
///
/// The method itself refuses such a pod by the same check. Here it is asked before a failover needs the method.
#[must_use]
pub fn check_pod(pod: &Pod, recipe: &RecycleSpec) -> Option<String> {
    let refused = match (&recipe.signal, &recipe.http) {
        (Some(spec), _) => signal::check_signal(pod, spec).err(),
        (None, Some(spec)) => http::check_port(pod, spec).err(),
        (None, None) => None,
    };
    refused.map(|(_, why)| why)
}

/// A reference to one pod. A pod of the same name with another UID is another pod.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PodRef {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: String,
}

impl PodRef {
    /// Returns the reference of a pod from an API server. `None` if it lacks namespace, name or UID.
    #[must_use]
    pub fn from_pod(pod: &Pod) -> Option<Self> {
        Some(Self {
            namespace: pod.metadata.namespace.clone()?,
            name: pod.metadata.name.clone()?,
            uid: pod.metadata.uid.clone()?,
        })
    }
}

/// The outcome of one effect on one pod or workload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EffectOutcome {
    /// The effect was made. Whether it worked is judged by pods and connections.
    Done,
    /// Something temporary prevents it: a gate, not an error.
    Blocked {
        /// What holds it.
        by: BlockedBy,
        /// The message of the gate.
        message: String,
    },
    /// The pod or workload is not there any more, or another has its name: nothing to do.
    Gone,
    /// It was tried and failed.
    Failed {
        /// The kind of failure.
        fault: EffectFault,
        /// The message: object, cause, what to do.
        message: String,
    },
}

impl EffectOutcome {
    /// A failure with its message, of which the output of others may be a part.
    pub(crate) fn failed(fault: EffectFault, message: impl AsRef<str>) -> Self {
        Self::Failed {
            fault,
            message: strip_control(message.as_ref()).into_owned(),
        }
    }

    /// What holds the effect, with a message of which the words of others may be a part.
    pub(crate) fn blocked(by: BlockedBy, message: impl AsRef<str>) -> Self {
        Self::Blocked {
            by,
            message: strip_control(message.as_ref()).into_owned(),
        }
    }
}

/// What can hold an effect at the API server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, strum::IntoStaticStr, strum::VariantArray)]
pub enum BlockedBy {
    /// A `PodDisruptionBudget` allows no disruption now.
    DisruptionBudget,
    /// The pod matches more than one `PodDisruptionBudget`, so that it cannot be evicted at all.
    TooManyDisruptionBudgets,
    /// The API server sheds load.
    ApiServerBusy,
    /// The namespace is being deleted.
    NamespaceTerminating,
}

impl BlockedBy {
    /// All values.
    pub const ALL: &'static [Self] = <Self as strum::VariantArray>::VARIANTS;

    /// Returns the word for it in metrics and events.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

/// How an effect can fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, strum::IntoStaticStr)]
pub enum EffectFault {
    /// The operator's service account may not do this.
    Forbidden,
    /// The pod has no container of that name.
    NoSuchContainer,
    /// The pod has several containers, and neither the policy nor the pod says which one is meant.
    ContainerNotNamed,
    /// The pod shares its processes with its containers or its node, so that process 1 is not the container's.
    SharedProcesses,
    /// The container does not run now.
    ContainerNotRunning,
    /// The process does not catch the signal, which would do nothing or end it.
    SignalNotCaught,
    /// The signal was refused: the process belongs to another user.
    SignalRefused,
    /// The container has no such process.
    NoSuchProcess,
    /// The process has several children, and one was asked for.
    SeveralChildren,
    /// What the process catches cannot be read in `/proc`.
    ProcessUnreadable,
    /// The container has no `sh`.
    NoShell,
    /// The command in the container ended with an exit code that is not ours.
    NonZeroExit,
    /// It took too long.
    Timeout,
    /// The app answered with a status that is not 2xx.
    #[strum(serialize = "HTTPStatus")]
    HttpStatus,
    /// No connection, or it broke.
    Connection,
    /// No container of the pod declares the port.
    PortNotDeclared,
    /// The pod uses its node's network, so its address is the node's.
    HostNetwork,
    /// The Secret with the hook's header is not there, or has no value that can be one.
    NoSuchSecret,
    /// The pod has no address (yet), or one that must not be called.
    NoAddress,
    /// Another field manager owns the annotation.
    Conflict,
    /// The API server refused the object's content.
    Invalid,
    /// Any other error of the API server.
    #[strum(serialize = "APIError")]
    ApiError,
}

impl EffectFault {
    /// Returns the word for it in metrics and events.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.into()
    }

    /// True if the app itself has answered: it shows what the method does to others like it. A timeout, a broken connection
    /// or an error of the kubelet shows no more than that the pod cannot be reached.
    #[must_use]
    pub const fn is_answer(self) -> bool {
        matches!(
            self,
            Self::HttpStatus | Self::NonZeroExit | Self::NoSuchProcess
        )
    }

    /// True if every pod of this template would fail alike, so that neither another try nor another
    /// pod helps: the target is `Stalled`, and no fallback is used.
    #[must_use]
    pub const fn is_structural(self) -> bool {
        match self {
            Self::Forbidden
            | Self::NoSuchContainer
            | Self::ContainerNotNamed
            | Self::SharedProcesses
            | Self::SeveralChildren
            | Self::SignalNotCaught
            | Self::SignalRefused
            | Self::ProcessUnreadable
            | Self::NoShell
            | Self::PortNotDeclared
            | Self::HostNetwork
            | Self::NoSuchSecret
            | Self::Conflict
            | Self::Invalid => true,
            Self::ContainerNotRunning
            | Self::NoSuchProcess
            | Self::NonZeroExit
            | Self::Timeout
            | Self::HttpStatus
            | Self::Connection
            | Self::NoAddress
            | Self::ApiError => false,
        }
    }
}
