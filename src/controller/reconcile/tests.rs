#![allow(clippy::unwrap_used)]
use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;

use async_trait::async_trait;
use http::{Request, Response};
use jiff::Timestamp;
use kube::Client;
use kube::client::Body;
use kube::core::DeserializeGuard;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing_subscriber::fmt::MakeWriter;

use super::*;
use crate::aurora::dns::{IpFamily, LookupAnswer, LookupError, Resolve};
use crate::aurora::{
    Cadence, ClusterSource, DnsConfig, DnsWatch, NoStats, PollerConfig, Pollers, ReadingError,
    RoleAllowList, SourceError, SourceFactory, SourceKey,
};
use crate::controller::state_cache::StateCache;
use crate::k8s::events::Events;
use crate::k8s::lease::{Leadership, LeaseState};
use crate::k8s::watch::Stores;
use crate::metrics::Metrics;
use crate::rate_limit::Bucket;
use crate::sockets::{Probe, ProbeConfig};
use crate::telemetry::build_subscriber;
use dbbalance_core::evidence::{Socket, Unreadable};
use dbbalance_core::topology::ClusterId;
use dbbalance_core::tracker::ClusterReading;
use dbbalance_kube::clients::Clients;
use dbbalance_kube::methods::http::PodCaller;
use dbbalance_kube::sockets::{ConnectionReader, PodToRead};

/// AWS, DNS and pods that never answer.
struct Silent;

#[async_trait]
impl ClusterSource for Silent {
    async fn read(
        &self,
        _: &BTreeSet<ClusterId>,
    ) -> Result<BTreeMap<ClusterId, Result<ClusterReading, ReadingError>>, SourceError> {
        std::future::pending().await
    }
}

#[async_trait]
impl SourceFactory for Silent {
    async fn make_source(&self, _: &SourceKey) -> Result<Arc<dyn ClusterSource>, SourceError> {
        Ok(Arc::new(Self))
    }
}

#[async_trait]
impl Resolve for Silent {
    async fn resolve(&self, _: &str, _: IpFamily) -> Result<LookupAnswer, LookupError> {
        std::future::pending().await
    }
}

#[async_trait]
impl ConnectionReader for Silent {
    async fn read(&self, _: &PodToRead) -> Result<Vec<Socket>, Unreadable> {
        std::future::pending().await
    }
}

/// A leader's context whose API server answers every request with 500.
fn failing_context() -> Arc<Context> {
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
    let poller = PollerConfig {
        factory: Arc::new(Silent),
        cadence: Cadence::default(),
        allowed: RoleAllowList::default(),
        clock: Arc::new(Timestamp::now),
        stats: Arc::new(NoStats),
    };
    let dns = DnsConfig {
        resolver: Arc::new(Silent),
        lookups_per_second: 5,
        clock: Arc::new(Timestamp::now),
        stats: Arc::new(NoStats),
    };
    Arc::new(Context {
        events: Events::new(client.clone(), "a"),
        stores: Stores::watch(&client, &[], &stop, &TaskTracker::new()),
        leadership: Leadership::from_states("a", state),
        pollers: Pollers::new(poller, stop.clone()),
        dns: DnsWatch::new(dns, stop.clone()),
        allowed_roles: RoleAllowList::default(),
        signal_namespaces: Vec::new(),
        evidence_namespaces: Vec::new(),
        default_region: "eu-west-1".to_owned(),
        effect_limiter: Bucket::default(),
        probe: Probe::new(ProbeConfig::new(Arc::new(Silent)), stop),
        pod_caller: PodCaller::new(client.clone()).unwrap(),
        metrics: Arc::new(Metrics::new()),
        state: StateCache::default(),
        budget_lock: Mutex::new(()),
        failures: Mutex::default(),
        clock: Timestamp::now,
        clients: Clients {
            normal: client.clone(),
            effects: client,
            namespace: "default".to_owned(),
        },
    })
}

fn policy() -> Arc<WatchedPolicy> {
    let policy = json!({
        "apiVersion": "dbbalance.io/v1alpha1", "kind": "DbBalancePolicy",
        "metadata": {"namespace": "shop", "name": "orders", "uid": "u", "resourceVersion": "7"},
        "spec": {"cluster": {"identifier": "orders-db"}, "targets": []},
        "status": {"epoch": 4}
    });
    Arc::new(DeserializeGuard(
        Ok(serde_json::from_value(policy).unwrap()),
    ))
}

/// Collects log lines.
#[derive(Clone, Default)]
struct LogLines(Arc<Mutex<Vec<u8>>>);

impl Write for LogLines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for LogLines {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

/// Returns the log lines of one failed reconcile, and what a line inside of it looks like.
async fn log_failed_reconcile(json: bool) -> Vec<String> {
    let lines = LogLines::default();
    let subscriber = build_subscriber(json, false, "warn", lines.clone()).unwrap();
    let _guard = tracing::subscriber::set_default(subscriber);
    let ctx = failing_context();
    let error = reconcile_policy(policy(), Arc::clone(&ctx))
        .await
        .unwrap_err();
    assert_eq!(error.reason(), "KubernetesAPI");
    on_error(policy(), &error, ctx);
    let text = String::from_utf8(lines.0.lock().clone()).unwrap();
    text.lines().map(str::to_owned).collect()
}

#[tokio::test]
async fn a_failed_reconcile_is_found_by_its_namespace_and_policy_in_json() {
    let lines = log_failed_reconcile(true).await;
    let line = lines
        .iter()
        .find(|l| l.contains("Reconcile failed"))
        .unwrap();
    let line: Value = serde_json::from_str(line).unwrap();
    assert_eq!(line["level"], "WARN");
    assert_eq!(line["namespace"], "shop");
    assert_eq!(line["policy"], "orders");
    assert_eq!(line["reason"], "KubernetesAPI");
    let error = line["error"].as_str().unwrap();
    assert!(
        error.contains("shop/orders") && error.contains("etcd is down"),
        "{error}"
    );
}

#[tokio::test]
async fn a_failed_reconcile_is_found_by_its_namespace_and_policy_in_text() {
    let lines = log_failed_reconcile(false).await;
    let line = lines
        .iter()
        .find(|l| l.contains("Reconcile failed"))
        .unwrap();
    assert!(
        line.contains("namespace=\"shop\"") && line.contains("policy=\"orders\""),
        "{line}"
    );
}

#[tokio::test]
async fn a_line_inside_of_a_reconcile_carries_the_policy_cluster_and_epoch() {
    let lines = LogLines::default();
    let subscriber = build_subscriber(true, false, "debug", lines.clone()).unwrap();
    let _guard = tracing::subscriber::set_default(subscriber);
    let _ = reconcile_policy(policy(), failing_context()).await;
    let text = String::from_utf8(lines.0.lock().clone()).unwrap();
    let of_policy = text
        .lines()
        .map(|l| serde_json::from_str::<Value>(l).unwrap())
        .find(|l| l["message"] == "Reconciling policy")
        .unwrap();
    let span = &of_policy["span"];
    assert_eq!(span["name"], "reconcile");
    assert_eq!(span["namespace"], "shop");
    assert_eq!(span["policy"], "orders");
    assert_eq!(span["cluster"], "orders-db");
    assert_eq!(span["epoch"], 4);
}
