//! Writes stamps without effect and topology annotations, which only record something, behind the claims of all policies.
//!
//! A pass hands them over and does not wait: a deploy of hundreds of pods must neither delay the status of their policy
//! nor hold a reconcile that a failover needs. What is lost on a restart is planned again.

use tokio_util::sync::CancellationToken;

use super::recycle::report_lost;
use crate::controller::context::{Context, EffectContext};
use crate::controller::observe::planned_pod;
use crate::controller::record_queue::PodRecord;
use dbbalance_kube::methods::annotate;

/// Writes what is handed over until `stop` is cancelled. A write in progress is finished.
pub async fn write_records(ctx: &Context, stop: &CancellationToken) {
    let next = async || {
        ctx.records.wait().await;
        ctx.effect_limiter.acquire_record().await;
        ctx.records.take()
    };
    while let Some(record) = stop.run_until_cancelled(next()).await {
        // None: the queue was cleared meanwhile.
        if let Some(record) = record {
            write_record(&record, ctx.for_effects()).await;
        }
    }
}

async fn write_record(record: &PodRecord, ctx: EffectContext<'_>) {
    let PodRecord {
        guard,
        pod,
        version,
        topology,
        stamp,
    } = record;
    let planned = planned_pod(ctx.stores, &pod.namespace, &pod.name, &pod.uid, version);
    if planned.is_none() || !ctx.leadership.is_leading() || !guard.stands(ctx.stores) {
        return;
    }
    if let Some(stamp) = stamp {
        let text = stamp.to_string();
        let stamped =
            annotate::stamp_without_effect(ctx.client, pod, version, &text, topology).await;
        tracing::debug!(namespace = pod.namespace, pod = pod.name, %stamp, "Stamped pod without effect");
        report_lost(stamped, pod, "stamping");
    } else {
        let annotated = annotate::annotate_topology(ctx.client, pod, topology).await;
        report_lost(annotated, pod, "annotating");
    }
}
