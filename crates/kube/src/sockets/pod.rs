//! The part of a pod that its reader needs, so that a waiting read does not hold the whole object.

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;

use crate::containers::is_sidecar;
use dbbalance_core::evidence::{Unreadable, UnreadableReason};

/// The labels under which controllers name the template that a pod was made from.
const TEMPLATE_LABELS: [&str; 2] = ["pod-template-hash", "controller-revision-hash"];

/// One pod to read, and where in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodToRead {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// UID.
    pub uid: String,
    /// What all pods of its template share: they have the same containers and programs.
    pub template: String,
    /// The port that counts: the target's, else the cluster's.
    pub port: u16,
    /// The containers that may be read in, in order.
    pub containers: Vec<String>,
    /// Why it cannot be read at all, if that is known before trying.
    pub refused: Option<Unreadable>,
}

impl PodToRead {
    /// Reduces a pod; `None` for what no API server sends (no namespace, name or UID). `named` is the
    /// target's `evidenceContainer`.
    #[must_use]
    pub fn from_pod(pod: &Pod, port: u16, named: Option<&str>) -> Option<Self> {
        let (namespace, name) = (pod.namespace()?, pod.metadata.name.clone()?);
        let uid = pod.uid()?;
        let label = TEMPLATE_LABELS.iter().find_map(|l| pod.labels().get(*l));
        let template = label.unwrap_or(&uid).clone();
        let spec = pod.spec.as_ref();
        let mut containers: Vec<String> = spec.map_or_else(Vec::new, |s| {
            let sidecars = s.init_containers.iter().flatten().filter(|c| is_sidecar(c));
            s.containers
                .iter()
                .chain(sidecars)
                .map(|c| c.name.clone())
                .collect()
        });
        let what = format!("pod {namespace}/{name}");
        let mut refused = None;
        if let Some(named) = named {
            if !containers.iter().any(|c| c == named) {
                refused = Some(Unreadable::new(
                    UnreadableReason::NoSuchContainer,
                    format!("{what} has no container {named}: correct targets[].evidenceContainer"),
                ));
            }
            containers.retain(|c| c == named);
        }
        if spec.and_then(|s| s.host_network) == Some(true) {
            refused = Some(Unreadable::new(
                UnreadableReason::HostNetwork,
                format!(
                    "{what} uses its node's network, whose connections are not the pod's alone: evidence by ProcNet cannot tell them apart"
                ),
            ));
        }
        Some(Self {
            namespace,
            name,
            uid,
            template,
            port,
            containers,
            refused,
        })
    }

    /// Names the pod for messages, as in `pod shop/web-1`.
    #[must_use]
    pub fn describe(&self) -> String {
        format!("pod {}/{}", self.namespace, self.name)
    }
}

#[cfg(test)]
mod tests;
