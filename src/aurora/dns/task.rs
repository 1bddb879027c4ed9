//! The task of one cluster: waits, looks up due names, records the answers and notifies listeners.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use super::limiter::LookupPriority;
use super::lookup::LookupResult;
use super::question::DnsQuestion;
use super::state::{DnsUpdate, SampledCluster, SamplerShared};

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
        for (question, priority) in due {
            asking.spawn(ask_question(
                Arc::clone(shared),
                Arc::clone(sampled),
                question,
                priority,
            ));
        }
        tokio::select! {
            () = sleep_until(next.unwrap_or(now + IDLE_SLEEP)) => {}
            () = sampled.names_changed.notified() => {}
            Some(_) = asking.join_next() => {}
        }
    }
}

async fn ask_question(
    shared: Arc<SamplerShared>,
    sampled: Arc<SampledCluster>,
    question: DnsQuestion,
    priority: LookupPriority,
) {
    shared.limiter.acquire(priority).await;
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
    let (signals, writer) = {
        let mut names = sampled.lock_names();
        let signals = names.record_answer(&question, at, answer, Instant::now());
        (signals, names.agreed_writer())
    };
    if signals.ahead_of_rds || signals.wake || signals.writer_changed {
        for key in shared.keys_of(&sampled) {
            shared.notify_listeners(&DnsUpdate {
                key,
                ahead_of_rds: signals.ahead_of_rds,
                writer: writer.clone(),
                wake: signals.wake,
            });
        }
    }
}
