//! The task of one cluster: waits, looks up due names, records the answers and notifies listeners.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use super::batches::WaitingCluster;
use super::cluster_names::DnsSignals;
use super::limiter::LookupPriority;
use super::lookup::LookupResult;
use super::question::{BOOSTED_INTERVAL, DnsQuestion};
use super::state::{DnsUpdate, SampledCluster, SamplerShared};
use dbbalance_core::dns::AGREEING_LOOKS;

/// How long to sleep when nothing is due; a change of the names ends it.
const IDLE_SLEEP: Duration = Duration::from_hours(1);

/// Samples until the cluster is stopped.
pub(super) async fn run_sampler(shared: Arc<SamplerShared>, sampled: Arc<SampledCluster>) {
    tokio::select! {
        () = sampled.stop.cancelled() => {}
        () = sample_forever(&shared, &sampled) => {}
    }
}

async fn sample_forever(shared: &Arc<SamplerShared>, sampled: &Arc<SampledCluster>) {
    // Dropping the set cancels the lookups.
    let mut asking = JoinSet::new();
    loop {
        let now = Instant::now();
        let (due, next) = sampled.lock_names().take_due(now);
        for question in due {
            let (shared, sampled) = (Arc::clone(shared), Arc::clone(sampled));
            asking.spawn(async move {
                shared.limiter.acquire(LookupPriority::Routine).await;
                sampled.lock_names().leave_queue(&question);
                ask_question(shared, sampled, question).await;
            });
        }
        if sampled.lock_names().start_batch(now) {
            asking.spawn(ask_batch(Arc::clone(shared), Arc::clone(sampled)));
        }
        tokio::select! {
            () = sleep_until(next.unwrap_or(now + IDLE_SLEEP)) => {}
            () = sampled.names_changed.notified() => {}
            Some(_) = asking.join_next() => {}
        }
    }
}

/// Waits for the cluster's turn, and looks the wanted endpoints up as often as must agree. If others wait, the next turn
/// may be long after, so that who waits for this one is told when it is answered.
async fn ask_batch(shared: Arc<SamplerShared>, sampled: Arc<SampledCluster>) {
    let mut asking = JoinSet::new();
    let mut is_contended = false;
    let cluster: Arc<dyn WaitingCluster> = Arc::<SampledCluster>::clone(&sampled);
    if let Some(batch) = shared.batches.acquire(cluster).await {
        for _ in 0..AGREEING_LOOKS {
            let began = Instant::now();
            if sampled.lock_names().wanted_batch(began).is_none() {
                break;
            }
            for question in &batch.questions {
                if !sampled.lock_names().may_ask(question) {
                    continue;
                }
                shared.limiter.acquire(LookupPriority::Awaited).await;
                let (shared, sampled) = (Arc::clone(&shared), Arc::clone(&sampled));
                asking.spawn(ask_question(shared, sampled, question.clone()));
            }
            sleep_until(began + BOOSTED_INTERVAL).await;
        }
        is_contended = shared.batches.is_contended();
    }
    sampled.lock_names().end_batch();
    sampled.names_changed.notify_one();
    while asking.join_next().await.is_some() {}
    if is_contended {
        let signals = DnsSignals {
            wake: true,
            ..DnsSignals::default()
        };
        notify_listeners(&shared, &sampled, &signals);
    }
}

/// Makes one lookup and records its answer.
async fn ask_question(
    shared: Arc<SamplerShared>,
    sampled: Arc<SampledCluster>,
    question: DnsQuestion,
) {
    let name = {
        let mut names = sampled.lock_names();
        names.mark_asked(&question, Instant::now());
        names.name_of(&question)
    };
    // Now the task knows when the question is due next.
    sampled.names_changed.notify_one();
    let Some(name) = name else { return };
    let at = (shared.config.clock)();
    let resolver = &shared.config.resolver;
    let answer = match &question {
        DnsQuestion::Steered { server, .. } => resolver.resolve_at(*server, &name).await,
        _ => resolver.resolve(&name, question.family()).await,
    };
    shared.config.stats.count_lookup(LookupResult::of(&answer));
    let now = Instant::now();
    let signals = sampled
        .lock_names()
        .record_answer(&question, at, answer, now);
    if signals.ahead_of_rds || signals.wake || signals.writer_changed {
        notify_listeners(&shared, &sampled, &signals);
    }
}

fn notify_listeners(shared: &SamplerShared, sampled: &Arc<SampledCluster>, signals: &DnsSignals) {
    let writer = sampled.lock_names().agreed_writer();
    for key in shared.keys_of(sampled) {
        shared.notify_listeners(&DnsUpdate {
            key,
            ahead_of_rds: signals.ahead_of_rds,
            writer: writer.clone(),
            wake: signals.wake,
        });
    }
}
