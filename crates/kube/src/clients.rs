//! Builds the two clients of the API server from one configuration: one for reads, and one for effects, which must
//! neither be retried nor hang.

use std::time::Duration;

use kube::{Client, Config};
use thiserror::Error;

/// Timeout of a connection to the API server. It is one network hop away; more means that packets are
/// dropped.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// Read timeout of effects and of the lease. Below what is left of
/// the lease after a renewal, and above the time-outs of ordinary admission webhooks' answers.
/// Each effect has its own timeout as well (`methods::API_TIMEOUT`).
const READ_TIMEOUT: Duration = Duration::from_secs(10);

/// A reason why the clients cannot be built.
#[derive(Debug, Error)]
pub enum ClientError {
    /// Neither a kubeconfig nor a service account was found.
    #[error(
        "cannot find the address of the Kubernetes API: run in a pod with a service account, or \
         set KUBECONFIG"
    )]
    Config(#[source] kube::config::InferConfigError),
    /// The configuration was found but cannot be used.
    #[error("cannot build a client of the Kubernetes API")]
    Build(#[source] kube::Error),
}

/// The two clients of one API server.
#[derive(Clone)]
pub struct Clients {
    /// For reads, watches, status and events: passing errors (429, 503, 504) are retried inside.
    pub normal: Client,
    /// For effects and the lease: no retries, since a 429 is an answer there (a disruption budget),
    /// and a read time-out, since a hung API server must not carry an effect past the lease.
    pub effects: Client,
    /// The namespace of the service account or of the kubeconfig's context.
    pub namespace: String,
}

impl Clients {
    /// Builds both from a kubeconfig or the pod's service account.
    ///
    /// # Errors
    /// When no configuration is found or it cannot be used.
    pub async fn infer() -> Result<Self, ClientError> {
        let config = Config::infer().await.map_err(ClientError::Config)?;
        Self::from_config(config)
    }

    /// Builds both from one configuration.
    ///
    /// # Errors
    /// When the configuration cannot be used.
    pub fn from_config(mut config: Config) -> Result<Self, ClientError> {
        config.connect_timeout = Some(CONNECT_TIMEOUT);
        let namespace = config.default_namespace.clone();
        let effects =
            Client::try_from(effects_config(config.clone())).map_err(ClientError::Build)?;
        let normal = Client::try_from(config).map_err(ClientError::Build)?;
        Ok(Self {
            normal,
            effects,
            namespace,
        })
    }
}

fn effects_config(mut config: Config) -> Config {
    config.default_retry = false;
    config.read_timeout = Some(READ_TIMEOUT);
    // Otherwise the time that a pooled connection was idle would count against the next request.
    config.reset_reader_on_write = true;
    config
}

#[cfg(test)]
mod tests;
