//! The probe and `ProcNet`, as the operator has them, for one target.

use std::sync::Arc;

use dbbalance::sockets::{MaxAge, Probe, ProbeConfig, TargetKey};
use dbbalance_core::evidence::Measured;
use dbbalance_kube::sockets::PodToRead;
use dbbalance_kube::sockets::procnet::ProcNet;
use futures::StreamExt as _;
use futures::channel::mpsc;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::Client;
use tokio_util::sync::CancellationToken;

use super::server::PORT;

/// A probe with the limits out of the way, and what it reads.
pub struct Reader {
    probe: Probe,
    news: mpsc::UnboundedReceiver<TargetKey>,
    key: TargetKey,
    pods: Vec<PodToRead>,
}

impl Reader {
    pub fn new(client: Client, pods: Vec<PodToRead>) -> Self {
        let mut config = ProbeConfig::new(Arc::new(ProcNet::new(client)));
        config.per_second = 1000;
        let probe = Probe::new(config, CancellationToken::new());
        Self {
            news: probe.changes(),
            probe,
            key: TargetKey {
                namespace: "ev".to_owned(),
                policy: "p".to_owned(),
                uid: "u".to_owned(),
                target: "web".to_owned(),
            },
            pods,
        }
    }

    /// Reads all pods once. News of a heartbeat may come in between, so what counts is when each was read.
    pub async fn measure(&mut self) -> Measured {
        let since = Timestamp::now();
        let want = MaxAge::Since(since);
        self.probe.measure(&self.key, self.pods.clone(), want);
        loop {
            let measured = self.probe.measured(&self.key);
            let fresh = measured.pods.values().filter(|p| p.at() >= since);
            if fresh.count() == self.pods.len() {
                return measured;
            }
            self.news.next().await.unwrap();
        }
    }
}

/// The pods as the probe takes them. `named` is the container.
pub fn to_read(pods: &[Pod], named: Option<&str>) -> Vec<PodToRead> {
    let read = |pod| PodToRead::from_pod(pod, PORT, named).unwrap();
    pods.iter().map(read).collect()
}
