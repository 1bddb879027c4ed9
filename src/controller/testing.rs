//! A context for tests: caches that the test fills, an RDS API by script, DNS and pods that never answer, and an API
//! server that answers every request with 500.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use http::{Request, Response};
use jiff::Timestamp;
use kube::Client;
use kube::client::Body;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::context::Context;
use super::header_checks::HeaderChecks;
use super::ledger::Ledger;
use super::record_queue::RecordQueue;
use super::state_cache::StateCache;
use crate::aurora::dns::{IpFamily, LookupAnswer, LookupError, Resolve};
use crate::aurora::{
    Cadence, ClusterBindings, ClusterSource, DnsConfig, DnsWatch, NoStats, PollerConfig, Pollers,
    ReadingError, RoleAllowList, SourceError, SourceFactory, SourceKey,
};
use crate::k8s::events::Events;
use crate::k8s::lease::{Leadership, LeaseState};
use crate::k8s::steering::{AllowedRanges, DEFAULT_ALLOWED_CIDRS, SteeredNames, SteeringConfig};
use crate::k8s::watch::Stores;
use crate::k8s::watch::testing::FilledStores;
use crate::metrics::Metrics;
use crate::rate_limit::EffectLimiter;
use crate::sockets::{Probe, ProbeConfig};
use dbbalance_api::DbBalancePolicy;
use dbbalance_core::evidence::{Socket, Unreadable};
use dbbalance_core::topology::{ClusterId, Endpoints, InstanceId, MemberId, ResourceId};
use dbbalance_core::tracker::{ClusterReading, MemberReading};
use dbbalance_kube::clients::Clients;
use dbbalance_kube::methods::http::PodCaller;
use dbbalance_kube::sockets::{CommandPace, ConnectionReader, PodToRead};

/// An RDS API in which every cluster has the writer `a` and the readers `b` and `c`, whoever asks; or one that never
/// answers. DNS and pods never answer.
pub(super) struct FakeWorld {
    pub(super) answers: bool,
}

#[async_trait]
impl ClusterSource for FakeWorld {
    async fn read(
        &self,
        ids: &BTreeSet<ClusterId>,
    ) -> Result<BTreeMap<ClusterId, Result<ClusterReading, ReadingError>>, SourceError> {
        if !self.answers {
            return std::future::pending().await;
        }
        Ok(ids
            .iter()
            .map(|id| (id.clone(), Ok(cluster_reading(&id.0))))
            .collect())
    }
}

#[async_trait]
impl SourceFactory for FakeWorld {
    async fn make_source(&self, _: &SourceKey) -> Result<Arc<dyn ClusterSource>, SourceError> {
        Ok(Arc::new(Self {
            answers: self.answers,
        }))
    }
}

#[async_trait]
impl Resolve for FakeWorld {
    async fn resolve(&self, _: &str, _: IpFamily) -> Result<LookupAnswer, LookupError> {
        std::future::pending().await
    }
}

#[async_trait]
impl ConnectionReader for FakeWorld {
    async fn read(&self, _: &PodToRead, _: &dyn CommandPace) -> Result<Vec<Socket>, Unreadable> {
        std::future::pending().await
    }
}

fn cluster_reading(cluster: &str) -> ClusterReading {
    let member = |name: &str| MemberId {
        instance: InstanceId(name.to_owned()),
        resource: ResourceId(format!("db-{name}")),
    };
    let facts = |name: &str| MemberReading {
        status: "available".to_owned(),
        class: Some("db.r6g.large".to_owned()),
        endpoint: Some(format!("{name}.zone")),
        serverless: None,
    };
    ClusterReading {
        arn: format!("arn:aws:rds:eu-west-1:123456789012:cluster:{cluster}"),
        resource: ResourceId(format!("cluster-{cluster}")),
        status: "available".to_owned(),
        engine: "aurora-mysql".to_owned(),
        endpoints: Endpoints {
            writer: Some(format!("{cluster}.cluster-x.zone")),
            reader: Some(format!("{cluster}.cluster-ro-x.zone")),
            port: Some(3306),
        },
        writer: Some(member("a")),
        members: ["a", "b", "c"]
            .iter()
            .map(|name| (member(name), facts(name)))
            .collect(),
    }
}

/// Returns a leader's context with these caches, and with an RDS API that answers or hangs.
pub(super) fn context(stores: Stores, rds_answers: bool) -> Context {
    let (client, mut handle) = tower_test::mock::pair::<Request<Body>, Response<Body>>();
    tokio::spawn(async move {
        while let Some((_, answer)) = handle.next_request().await {
            let body = json!({"kind": "Status", "status": "Failure", "code": 500, "message": "etcd is down"});
            let body = Body::from(serde_json::to_vec(&body).unwrap());
            answer.send_response(Response::builder().status(500).body(body).unwrap());
        }
    });
    let client = Client::new(client, "default");
    let stop = CancellationToken::new();
    let (_, state) = watch::channel(LeaseState {
        holder: Some("a".into()),
        valid_until: tokio::time::Instant::now() + Duration::from_hours(1),
    });
    let fake = Arc::new(FakeWorld {
        answers: rds_answers,
    });
    let allowed = RoleAllowList::new([ROLE]);
    let poller = PollerConfig {
        factory: fake.clone(),
        cadence: Cadence::default(),
        allowed: allowed.clone(),
        clock: Arc::new(Timestamp::now),
        stats: Arc::new(NoStats),
    };
    let dns = DnsConfig {
        resolver: fake.clone(),
        lookups_per_second: 5,
        clock: Arc::new(Timestamp::now),
        stats: Arc::new(NoStats),
    };
    Context {
        events: Events::new(client.clone(), "a"),
        stores,
        leadership: Leadership::from_states("a", state),
        pollers: Pollers::new(poller, stop.clone()),
        dns: DnsWatch::new(dns, stop.clone()),
        names: SteeredNames::new(SteeringConfig {
            services: vec![("shop".to_owned(), "orders-ro".to_owned())],
            slices: Vec::new(),
            namespace: "dbbalance".to_owned(),
            ranges: AllowedRanges::parse(DEFAULT_ALLOWED_CIDRS).unwrap(),
            cluster_domain: "cluster.local".to_owned(),
            replicas: 2,
        }),
        allowed_roles: allowed,
        bindings: ClusterBindings::default(),
        signal_namespaces: Vec::new(),
        evidence_namespaces: Vec::new(),
        default_region: "eu-west-1".to_owned(),
        effect_limiter: EffectLimiter::new(10, 20),
        records: RecordQueue::default(),
        probe: Probe::new(ProbeConfig::new(fake), stop),
        pod_caller: PodCaller::new(client.clone()).unwrap(),
        metrics: Arc::new(Metrics::new()),
        state: StateCache::default(),
        header_checks: HeaderChecks::default(),
        ledger: Ledger::default(),
        failures: Mutex::default(),
        clock: Timestamp::now,
        clients: Clients {
            normal: client.clone(),
            effects: client,
            namespace: "default".to_owned(),
        },
    }
}

/// The one role that the context allows. It is of the account that the clusters belong to.
pub(super) const ROLE: &str = "arn:aws:iam::123456789012:role/reader";

/// Returns a policy on cluster `orders-db` with one target, Deployment `workload`, of so many connections a pod.
pub(super) fn policy(
    namespace: &str,
    name: &str,
    workload: &str,
    connections: u32,
) -> DbBalancePolicy {
    serde_json::from_value(json!({
        "apiVersion": "dbbalance.io/v1alpha1", "kind": "DbBalancePolicy",
        "metadata": {
            "namespace": namespace, "name": name, "uid": format!("{namespace}-{name}"), "resourceVersion": "7",
            "creationTimestamp": "2026-05-04T03:00:00Z", "generation": 1,
        },
        "spec": {
            "cluster": {"identifier": "orders-db"},
            "targets": [{
                "name": "web",
                "workloadRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": workload},
                "pools": [{"endpoint": "Reader", "connectionsPerPod": connections}],
                "recycle": {"method": "Evict"},
            }],
        },
    }))
    .unwrap()
}

/// Adds a Deployment of so many running pods to the caches.
pub(super) fn add_deployment(stores: &mut FilledStores, namespace: &str, name: &str, pods: usize) {
    stores.deployment(
        json!({
            "metadata": {"namespace": namespace, "name": name, "uid": format!("{namespace}-{name}"), "resourceVersion": "7", "generation": 1},
            "spec": {"replicas": pods, "selector": {}, "template": {}},
            "status": {"replicas": pods, "updatedReplicas": pods, "readyReplicas": pods, "observedGeneration": 1},
        }),
        json!({
            "metadata": {
                "namespace": namespace, "name": format!("{name}-1"), "uid": format!("{namespace}-{name}-1"),
                "ownerReferences": [{"apiVersion": "apps/v1", "kind": "Deployment", "name": name, "uid": "d", "controller": true}],
            },
        }),
    );
    for number in 0..pods {
        stores.pod(pod(namespace, name, number));
    }
}

/// Returns a running pod of a Deployment that [`add_deployment`] adds.
pub(super) fn pod(namespace: &str, deployment: &str, number: usize) -> Value {
    let name = format!("{deployment}-1-{number}");
    json!({
        "metadata": {
            "namespace": namespace, "name": name, "uid": format!("{namespace}-{name}"), "resourceVersion": "7",
            "creationTimestamp": "2026-05-04T03:00:00Z",
            "labels": {"app": deployment, "pod-template-hash": "1"}, "annotations": {},
            "ownerReferences": [{
                "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": format!("{deployment}-1"), "uid": "r", "controller": true,
            }],
        },
        "spec": {"containers": [{"name": "app"}]},
        "status": {
            "phase": "Running",
            "conditions": [{"type": "Ready", "status": "True"}],
            "containerStatuses": [{
                "name": "app", "image": "i", "imageID": "", "ready": true, "restartCount": 0,
                "state": {"running": {"startedAt": "2026-05-04T03:00:05Z"}},
            }],
        },
    })
}
