//! The last known state of each steered object, shared by its watch, its writer and the reconciles.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures::channel::mpsc;
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::ResourceExt;
use parking_lot::Mutex;

use super::observed::normalize_host;
use super::ranges::AllowedRanges;
use dbbalance_api::annotations;
use dbbalance_api::spec::SteeringVia;
use dbbalance_core::narrow::NarrowClaim;

/// What the chart has listed.
#[derive(Clone, Debug)]
pub struct SteeringConfig {
    /// Services that may be narrowed, as namespace and name.
    pub services: Vec<(String, String)>,
    /// Slices that may be narrowed, as name and the reader endpoint that DNS answers by it.
    pub slices: Vec<(String, String)>,
    /// The operator's own namespace, where the slices are.
    pub namespace: String,
    /// The ranges of addresses that may be written into a slice.
    pub ranges: AllowedRanges,
    /// The domain of the cluster's Services.
    pub cluster_domain: String,
    /// The number of replicas of the operator.
    pub replicas: u32,
}

/// A steered object.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct NameKey {
    /// Its kind.
    pub via: SteeringVia,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

/// What the last read of an object showed.
#[derive(Clone, Debug, Default)]
pub enum NameState {
    /// It was not read yet, or the last read failed.
    #[default]
    Unread,
    /// There is no such object.
    Missing,
    /// The API server has refused to show or change it.
    Forbidden,
    /// The Service.
    Service(Arc<Service>),
    /// The slice.
    Slice {
        /// The operator's own.
        slice: Arc<EndpointSlice>,
        /// The names of other slices of the same Service, as last listed.
        others: Vec<String>,
    },
}

impl NameState {
    /// Returns the resource version as a number; `None` without an object.
    pub(super) fn version(&self) -> Option<u64> {
        let version = match self {
            Self::Service(service) => service.resource_version(),
            Self::Slice { slice, .. } => slice.resource_version(),
            Self::Unread | Self::Missing | Self::Forbidden => None,
        };
        version?.parse().ok()
    }

    fn annotations(&self) -> Option<&BTreeMap<String, String>> {
        match self {
            Self::Service(service) => service.metadata.annotations.as_ref(),
            Self::Slice { slice, .. } => slice.metadata.annotations.as_ref(),
            Self::Unread | Self::Missing | Self::Forbidden => None,
        }
    }

    /// Returns who has narrowed the name; `None` if nobody has.
    #[must_use]
    pub fn claim(&self) -> Option<NarrowClaim> {
        let text = self.annotations()?.get(annotations::NARROWED)?;
        Some(NarrowClaim::parse(text))
    }

    /// Returns the host that the name led to before it was narrowed.
    #[must_use]
    pub fn widens_to(&self) -> Option<&str> {
        let host = self.annotations()?.get(annotations::WIDENS_TO)?;
        Some(host.as_str())
    }
}

/// The steered objects. Clones share them.
#[derive(Clone, Debug)]
pub struct SteeredNames {
    pub(super) shared: Arc<NamesShared>,
}

#[derive(Debug)]
pub(super) struct NamesShared {
    pub(super) config: SteeringConfig,
    states: Mutex<HashMap<NameKey, NameState>>,
    listeners: Mutex<Vec<mpsc::UnboundedSender<NameKey>>>,
    is_closed: AtomicBool,
}

impl SteeredNames {
    /// Returns the names that the chart lists, none of which was read yet.
    #[must_use]
    pub fn new(config: SteeringConfig) -> Self {
        let services = config.services.iter().map(|(namespace, name)| NameKey {
            via: SteeringVia::Service,
            namespace: namespace.clone(),
            name: name.clone(),
        });
        let slices = config.slices.iter().map(|(name, _)| NameKey {
            via: SteeringVia::Slice,
            namespace: config.namespace.clone(),
            name: name.clone(),
        });
        let states = services.chain(slices).map(|key| (key, NameState::Unread));
        Self {
            shared: Arc::new(NamesShared {
                states: Mutex::new(states.collect()),
                listeners: Mutex::default(),
                is_closed: AtomicBool::new(false),
                config,
            }),
        }
    }

    /// Returns the key of the name that a policy of this namespace steers.
    #[must_use]
    pub fn key_of(&self, via: SteeringVia, namespace: &str, reader: &str) -> NameKey {
        let namespace = match via {
            SteeringVia::Service => namespace,
            SteeringVia::Slice => &self.shared.config.namespace,
        };
        NameKey {
            via,
            namespace: namespace.to_owned(),
            name: reader.to_owned(),
        }
    }

    /// Returns all names.
    #[must_use]
    pub fn keys(&self) -> Vec<NameKey> {
        self.shared.states.lock().keys().cloned().collect()
    }

    /// Returns the last state of an object; `None` if the chart does not list it.
    #[must_use]
    pub fn state(&self, key: &NameKey) -> Option<NameState> {
        self.shared.states.lock().get(key).cloned()
    }

    /// Returns the names that somebody has narrowed, with their claims.
    #[must_use]
    pub fn claims(&self) -> Vec<(NameKey, NarrowClaim)> {
        let states = self.shared.states.lock();
        let claimed = |(key, state): (&NameKey, &NameState)| Some((key.clone(), state.claim()?));
        states.iter().filter_map(claimed).collect()
    }

    /// Returns whether a slice stands for this reader endpoint. A Service is in the policy's own namespace and shows by
    /// its own host name what it stands for.
    #[must_use]
    pub fn may_serve(&self, key: &NameKey, reader_endpoint: &str) -> bool {
        let endpoint = normalize_host(reader_endpoint);
        key.via == SteeringVia::Service
            || self
                .shared
                .config
                .slices
                .iter()
                .any(|(name, host)| *name == key.name && normalize_host(host) == endpoint)
    }

    /// Returns the name that pods look up: of a Service its own, of a slice Aurora's.
    #[must_use]
    pub fn looked_up_name(&self, key: &NameKey) -> Option<String> {
        let config = &self.shared.config;
        match key.via {
            SteeringVia::Service => Some(format!(
                "{}.{}.svc.{}",
                key.name, key.namespace, config.cluster_domain
            )),
            SteeringVia::Slice => {
                let mut slices = config.slices.iter();
                let (_, endpoint) = slices.find(|(name, _)| *name == key.name)?;
                Some(endpoint.clone())
            }
        }
    }

    /// Returns what the chart has listed.
    #[must_use]
    pub fn config(&self) -> &SteeringConfig {
        &self.shared.config
    }

    /// Refuses to narrow any name from now on: the operator ends.
    pub fn close(&self) {
        self.shared.is_closed.store(true, Ordering::Release);
    }

    /// Returns whether no name may be narrowed any more.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.shared.is_closed.load(Ordering::Acquire)
    }

    /// Returns the names that have changed, from now on.
    #[must_use]
    pub fn changes(&self) -> mpsc::UnboundedReceiver<NameKey> {
        let (sender, receiver) = mpsc::unbounded();
        self.shared.listeners.lock().push(sender);
        receiver
    }

    /// Records what a read or a write has shown. An object that is older than the recorded one is not recorded: the
    /// watch may be behind a write of this replica.
    pub(crate) fn record(&self, key: &NameKey, state: NameState) {
        {
            let mut states = self.shared.states.lock();
            let Some(known) = states.get_mut(key) else {
                return;
            };
            if let (Some(old), Some(new)) = (known.version(), state.version())
                && new < old
            {
                return;
            }
            *known = state;
        }
        // Closed channels are removed.
        self.shared
            .listeners
            .lock()
            .retain(|listener| listener.unbounded_send(key.clone()).is_ok());
    }
}

#[cfg(test)]
mod tests;
