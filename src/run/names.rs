//! Starts the watch of steered names, maps their changes to policies, and widens names that no policy would widen.

use std::sync::Arc;
use std::time::Duration;

use futures::{Stream, StreamExt, stream};
use kube::runtime::reflector::ObjectRef;
use tokio_util::sync::CancellationToken;

use super::triggers::find_policies;
use crate::cli::RunArgs;
use crate::controller::apply::{widen_before_exit, widen_orphans};
use crate::controller::context::Context;
use crate::controller::observe::steered_key;
use crate::k8s::steering::{NameKey, SteeredNames, SteeringConfig};
use crate::k8s::watch::WatchedPolicy;

/// How often it is checked whether a narrowed name has a policy that will widen it. It is a look into the caches.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// Returns the names that the flags list.
pub(super) fn list_names(args: &RunArgs, namespace: &str) -> SteeredNames {
    SteeredNames::new(SteeringConfig {
        services: args.steering_services.0.clone(),
        slices: args.steering_slices.0.clone(),
        namespace: namespace.to_owned(),
        ranges: args.steering_allowed_cidrs.clone(),
        cluster_domain: args.cluster_domain.clone(),
        replicas: args.replicas,
    })
}

/// Maps changes of names to the policies that steer them.
pub(super) fn name_policies(
    changes: impl Stream<Item = NameKey>,
    ctx: Arc<Context>,
) -> impl Stream<Item = ObjectRef<WatchedPolicy>> {
    changes.flat_map(move |key| {
        stream::iter(find_policies(&ctx.stores, |policy| {
            let namespace = policy.metadata.namespace.as_deref().unwrap_or_default();
            let status = policy.status.as_ref();
            steered_key(&ctx.names, namespace, &policy.spec, status) == Some(key.clone())
        }))
    })
}

/// Keeps names from staying narrowed without a policy that widens them, and reports for how long names are narrowed, until
/// `stop` is cancelled. Then it widens all.
pub(super) async fn keep_names(ctx: Arc<Context>, stop: CancellationToken) {
    let mut ticks = tokio::time::interval(CHECK_INTERVAL);
    while stop.run_until_cancelled(ticks.tick()).await.is_some() {
        widen_orphans(&ctx).await;
        let now = (ctx.clock)();
        let claims = ctx.names.claims().into_iter();
        let ages = claims.map(|(_, claim)| now.duration_since(claim.time).as_secs());
        let oldest = ages.max().filter(|_| ctx.leadership.is_leading());
        ctx.metrics.set_narrowed_seconds(oldest.unwrap_or(0));
    }
    widen_before_exit(&ctx).await;
}
