//! Reads policies and pods from the API server as the user, and writes annotations of policies.

use k8s_openapi::api::core::v1::Pod;
use kube::api::{ListParams, Patch, PatchParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config, ResourceExt};
use serde_json::{Map, Value, json};

use super::cli::ConnectArgs;
use super::error::PluginError;
use dbbalance_api::{DbBalancePolicy, GROUP};
use dbbalance_kube::clients::Clients;

/// The name under which the API server records what the plugin writes.
const MANAGER: &str = "kubectl-dbbalance";

/// The clients of one API server, as one user, in one namespace.
pub(super) struct Session {
    /// For reads.
    pub client: Client,
    /// For effects: without retries, as a 429 of an eviction is an answer.
    pub effects: Client,
    pub namespace: String,
}

impl Session {
    /// Reads the kubeconfig as `kubectl` does.
    pub(super) async fn open(args: &ConnectArgs) -> Result<Self, PluginError> {
        let options = KubeConfigOptions {
            context: args.context.clone(),
            ..KubeConfigOptions::default()
        };
        let config = match &args.kubeconfig {
            Some(path) => {
                let file = Kubeconfig::read_from(path)?;
                Config::from_custom_kubeconfig(file, &options).await?
            }
            None => Config::from_kubeconfig(&options).await?,
        };
        let clients = Clients::from_config(config).map_err(|e| {
            let cause = std::error::Error::source(&e).map(ToString::to_string);
            PluginError::Client(cause.unwrap_or_else(|| e.to_string()))
        })?;
        Ok(Self {
            namespace: args.namespace.clone().unwrap_or(clients.namespace),
            client: clients.normal,
            effects: clients.effects,
        })
    }

    fn policies(&self) -> Api<DbBalancePolicy> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    fn grant(&self, verb: &str) -> String {
        format!(
            "{verb} on dbbalancepolicies.{GROUP} in namespace {}",
            self.namespace
        )
    }

    /// One policy.
    pub(super) async fn get_policy(&self, name: &str) -> Result<DbBalancePolicy, PluginError> {
        let doing = format!("reading policy {}/{name}", self.namespace);
        match self.policies().get(name).await {
            Ok(policy) => Ok(policy),
            Err(error) => match PluginError::from_kube(error, &doing, &self.grant("get")) {
                PluginError::NotFound(_) => Err(self.policy_not_found(name).await),
                other => Err(other),
            },
        }
    }

    /// All policies of the namespace, by name.
    pub(super) async fn list_policies(&self) -> Result<Vec<DbBalancePolicy>, PluginError> {
        let doing = format!("listing the policies of namespace {}", self.namespace);
        let list = self
            .policies()
            .list(&ListParams::default())
            .await
            .map_err(|e| PluginError::from_kube(e, &doing, &self.grant("list")))?;
        let mut found = list.items;
        found.sort_by_key(ResourceExt::name_any);
        Ok(found)
    }

    async fn policy_not_found(&self, name: &str) -> PluginError {
        let namespace = &self.namespace;
        let names: Vec<String> = match self.list_policies().await {
            Ok(found) => found.iter().map(ResourceExt::name_any).collect(),
            Err(_) => {
                return PluginError::NotFound(format!(
                    "there is no policy {name} in namespace {namespace}"
                ));
            }
        };
        PluginError::NotFound(if names.is_empty() {
            format!(
                "there is no policy {name} in namespace {namespace}, and no other: pass the \
                 namespace with -n"
            )
        } else {
            format!(
                "there is no policy {name} in namespace {namespace}; policies there: {}",
                names.join(", ")
            )
        })
    }

    /// All pods of the namespace.
    pub(super) async fn list_pods(&self) -> Result<Vec<Pod>, PluginError> {
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), &self.namespace);
        let doing = format!("listing the pods of namespace {}", self.namespace);
        let grant = format!("list on pods in namespace {}", self.namespace);
        // From the API server's memory, as informers read: the plugin may ask every 2 s.
        let params = ListParams::default().match_any();
        let list = pods
            .list(&params)
            .await
            .map_err(|e| PluginError::from_kube(e, &doing, &grant))?;
        Ok(list.items)
    }

    /// Sets, or with `None` takes away, annotations of a policy.
    pub(super) async fn annotate_policy(
        &self,
        name: &str,
        notes: &[(&str, Option<&str>)],
    ) -> Result<DbBalancePolicy, PluginError> {
        let notes: Map<String, Value> = notes
            .iter()
            .map(|(key, value)| ((*key).to_owned(), json!(value)))
            .collect();
        let params = PatchParams {
            field_manager: Some(MANAGER.to_owned()),
            ..PatchParams::default()
        };
        let patch = Patch::Merge(json!({"metadata": {"annotations": notes}}));
        let doing = format!("annotating policy {}/{name}", self.namespace);
        self.policies()
            .patch(name, &params, &patch)
            .await
            .map_err(|e| PluginError::from_kube(e, &doing, &self.grant("patch")))
    }
}
