//! Starts and stops the operator: clients, lease, caches, pollers, controller and probes.
//!
//! On shutdown, names are widened and all effects end before the lease is released, because a successor may act within a
//! second of that.

mod counters;
mod housekeeping;
mod names;
mod triggers;

use parking_lot::Mutex;
use std::sync::Arc;
use std::time::Duration;

use futures::channel::mpsc;
use futures::{StreamExt, stream};
use jiff::Timestamp;
use kube::runtime::controller::{Config, Controller};
use kube::runtime::reflector::ObjectRef;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::aurora::dns::resolver::{Resolver, ResolverError};
use crate::aurora::dns::{DnsConfig, DnsWatch};
use crate::aurora::factory::{RdsFactory, RdsOptions};
use crate::aurora::{
    BindingsError, Cadence, ClusterBindings, PollerConfig, Pollers, RoleAllowList,
};
use crate::cli::RunArgs;
use crate::controller::apply::{widen_before_exit, write_records};
use crate::controller::context::Context;
use crate::controller::header_checks::HeaderChecks;
use crate::controller::ledger::Ledger;
use crate::controller::reconcile::{on_error, reconcile_policy};
use crate::controller::record_queue::RecordQueue;
use crate::controller::state_cache::StateCache;
use crate::http::{HttpState, Readiness, bind_listener, serve_http};
use crate::k8s::events::Events;
use crate::k8s::lease::{Leadership, LeaseConfig, LeaseKeeper};
use crate::k8s::steering::{SteeredNames, watch_names};
use crate::k8s::watch::Stores;
use crate::metrics::Metrics;
use crate::rate_limit::EffectLimiter;
use crate::sockets::{Probe, ProbeConfig};
use counters::{LookupCounter, PollCounter};
use dbbalance_kube::clients::Clients;
use dbbalance_kube::methods::http::PodCaller;
use dbbalance_kube::sockets::procnet::ProcNet;
use housekeeping::{follow_leadership, run_housekeeping};
use names::{keep_names, list_names, name_policies};
use triggers::{all_policies, cluster_policies, dns_changes, object_policies};

/// How many policies are reconciled at once. Most of a reconcile is waiting for pods and the API server.
const CONCURRENCY: u16 = 16;
/// Triggers of one policy within this time are one reconcile. It is short because a failover waits for it.
const DEBOUNCE: Duration = Duration::from_millis(50);

/// Describes why the operator cannot run.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// There is no configuration for the API server.
    #[error(transparent)]
    Client(#[from] dbbalance_kube::clients::ClientError),
    /// The bindings of clusters to namespaces cannot be used.
    #[error(transparent)]
    Bindings(#[from] BindingsError),
    /// The HTTP client for pods' hooks cannot be built.
    #[error("cannot build the HTTP client for pods' hooks")]
    Caller(#[from] reqwest::Error),
    /// The DNS resolver cannot be built.
    #[error(transparent)]
    Dns(#[from] ResolverError),
    /// Metrics and probes cannot be served.
    #[error(transparent)]
    Http(#[from] crate::http::HttpError),
    /// The process cannot receive signals.
    #[error("cannot handle signals")]
    Signals(#[from] std::io::Error),
    /// A watch ended before its first list was read.
    #[error("the caches stopped before they had synced")]
    Caches,
}

/// Runs the operator until SIGTERM or SIGINT.
///
/// # Errors
/// When it cannot start.
pub async fn run_operator(args: RunArgs) -> Result<(), RunError> {
    let stop = CancellationToken::new();
    let tasks = TaskTracker::new();
    listen_to_signals(&stop)?;
    let clients = Clients::infer().await?;
    let lease = LeaseConfig {
        namespace: args
            .lease_namespace
            .clone()
            .unwrap_or_else(|| clients.namespace.clone()),
        name: args.lease_name.clone(),
        identity: args.identity(),
        duration: args.lease_duration(),
        renew: args.lease_renew(),
    };
    let metrics = Arc::new(Metrics::new());
    let (keeper, leadership) = LeaseKeeper::new(clients.effects.clone(), lease.clone());
    let ready = Readiness::default();
    let listener = bind_listener(args.listen_address).await?;
    let probes = HttpState::new(
        Arc::clone(&metrics),
        leadership.clone(),
        ready.clone(),
        &lease,
    );
    let probes_stop = CancellationToken::new();
    let probing = tokio::spawn(serve_http(listener, probes, probes_stop.clone()));
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        identity = lease.identity,
        lease = format!("{}/{}", lease.namespace, lease.name),
        region = args.aws_region.as_deref().unwrap_or("(none)"),
        namespaces = if args.watch_namespaces.0.is_empty() {
            "(all)".to_owned()
        } else {
            args.watch_namespaces.0.join(",")
        },
        "Starting dbbalance"
    );

    let bindings = match &args.clusters_file {
        Some(path) => ClusterBindings::read(path)?,
        None => ClusterBindings::default(),
    };
    let mut stores = Stores::watch(&clients.normal, &args.watch_namespaces.0, &stop, &tasks);
    if bindings.has_selectors() {
        stores = stores.with_namespace_labels(&clients.normal, &stop, &tasks);
    }
    let names = list_names(&args, &lease.namespace);
    watch_names(&names, &clients.normal, &stop, &tasks);
    tokio::select! {
        ready = stores.wait_until_ready() => ready.map_err(|_| RunError::Caches)?,
        () = stop.cancelled() => return Ok(()),
    }
    ready.set(true);
    // The lease is acquired only after the caches have synced, so that a leader can act.
    let lease_stop = CancellationToken::new();
    let keeping = tokio::spawn(keeper.run(lease_stop.clone()));

    let parts = ControllerParts {
        clients,
        stores,
        names,
        leadership,
        metrics,
        bindings,
        identity: lease.identity,
    };
    run_controller(&args, parts, &stop, &tasks).await?;
    stop.cancel();
    ready.set(false);
    tasks.close();
    tasks.wait().await;
    lease_stop.cancel();
    let _ = keeping.await;
    probes_stop.cancel();
    let _ = probing.await;
    tracing::info!("Stopped dbbalance");
    Ok(())
}

/// What the controller is made of, besides what it starts itself.
struct ControllerParts {
    clients: Clients,
    stores: Stores,
    names: SteeredNames,
    leadership: Leadership,
    metrics: Arc<Metrics>,
    bindings: ClusterBindings,
    /// The name of this replica, for events.
    identity: String,
}

/// Runs the controller until `stop` is cancelled. Returns when no effect is in progress any more.
async fn run_controller(
    args: &RunArgs,
    parts: ControllerParts,
    stop: &CancellationToken,
    tasks: &TaskTracker,
) -> Result<(), RunError> {
    let ControllerParts {
        clients,
        stores,
        names,
        leadership,
        metrics,
        bindings,
        identity,
    } = parts;
    let roles = args.allowed_role_arns.0.iter().cloned();
    let allowed = RoleAllowList::new(roles.chain(bindings.roles()));
    let pollers = start_pollers(args, allowed.clone(), &metrics, stop);
    let poked = pollers.changes();
    let secrets = clients.effects.clone();
    let reader = Arc::new(ProcNet::new(clients.effects.clone()));
    let probe = Probe::new(ProbeConfig::new(reader), stop.clone());
    let measured = probe.changes();
    let dns = start_dns(args, &metrics, stop)?;
    let looked = dns.updates();
    let renamed = names.changes();
    let ctx = Arc::new(Context {
        events: Events::new(clients.normal.clone(), &identity),
        clients,
        stores: stores.clone(),
        leadership,
        pollers,
        dns,
        names,
        allowed_roles: allowed,
        bindings,
        signal_namespaces: args.signal_namespaces.0.clone(),
        evidence_namespaces: args.evidence_namespaces.0.clone(),
        default_region: args.aws_region.clone().unwrap_or_default(),
        effect_limiter: EffectLimiter::new(args.actions_per_second, args.actions_burst),
        records: RecordQueue::default(),
        probe,
        pod_caller: PodCaller::new(secrets)?,
        metrics,
        state: StateCache::default(),
        header_checks: HeaderChecks::default(),
        ledger: Ledger::default(),
        failures: Mutex::default(),
        clock: Timestamp::now,
    });
    let (elected, elections) = mpsc::unbounded();
    tasks.spawn(
        stop.clone()
            .run_until_cancelled_owned(follow_leadership(Arc::clone(&ctx), elected)),
    );
    tasks.spawn(
        stop.clone()
            .run_until_cancelled_owned(run_housekeeping(Arc::clone(&ctx))),
    );
    tasks.spawn(keep_names(Arc::clone(&ctx), stop.clone()));
    let (writing, until) = (Arc::clone(&ctx), stop.clone());
    tasks.spawn(async move { write_records(&writing, &until).await });
    let stopping = stop.clone();
    Controller::for_stream(stream::pending(), stores.policy_store())
        .with_config(
            Config::default()
                .debounce(DEBOUNCE)
                .concurrency(CONCURRENCY),
        )
        .reconcile_on(object_policies(stores.clone()))
        .reconcile_on(cluster_policies(poked, Arc::clone(&ctx)))
        .reconcile_on(measured.map(|key| ObjectRef::new(&key.policy).within(&key.namespace)))
        .reconcile_on(cluster_policies(
            dns_changes(looked, ctx.pollers.clone()),
            Arc::clone(&ctx),
        ))
        .reconcile_on(name_policies(renamed, Arc::clone(&ctx)))
        .reconcile_on(all_policies(elections, stores))
        .graceful_shutdown_on(async move { stopping.cancelled().await })
        .run(reconcile_policy, on_error, Arc::clone(&ctx))
        .for_each(|_| futures::future::ready(()))
        .await;
    // A reconcile that was in progress may have narrowed a name just before that was refused.
    widen_before_exit(&ctx).await;
    Ok(())
}

fn listen_to_signals(stop: &CancellationToken) -> Result<(), std::io::Error> {
    let mut term = signal(SignalKind::terminate())?;
    let mut int = signal(SignalKind::interrupt())?;
    let stop = stop.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = term.recv() => {}
            _ = int.recv() => {}
        }
        tracing::info!("Shutting down: waiting for in-flight effects");
        stop.cancel();
    });
    Ok(())
}

fn start_pollers(
    args: &RunArgs,
    allowed: RoleAllowList,
    metrics: &Arc<Metrics>,
    stop: &CancellationToken,
) -> Pollers {
    let options = RdsOptions {
        rds_endpoint: args.rds_endpoint_url.clone(),
        sts_endpoint: args.sts_endpoint_url.clone(),
        credentials: None,
    };
    let config = PollerConfig {
        factory: Arc::new(RdsFactory::new(options, allowed.clone())),
        cadence: Cadence {
            quiet: Duration::from_secs(args.poll_quiet_seconds),
            moving: Duration::from_secs(args.poll_moving_seconds),
            ..Cadence::default()
        },
        allowed,
        clock: Arc::new(Timestamp::now),
        stats: Arc::new(PollCounter::new(Arc::clone(metrics))),
    };
    Pollers::new(config, stop.clone())
}

fn start_dns(
    args: &RunArgs,
    metrics: &Arc<Metrics>,
    stop: &CancellationToken,
) -> Result<DnsWatch, ResolverError> {
    let config = DnsConfig {
        resolver: Arc::new(Resolver::new(&args.dns_servers.0)?),
        lookups_per_second: args.dns_lookups_per_second,
        clock: Arc::new(Timestamp::now),
        stats: Arc::new(LookupCounter(Arc::clone(metrics))),
    };
    Ok(DnsWatch::new(config, stop.clone()))
}
