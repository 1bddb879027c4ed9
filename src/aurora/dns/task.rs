//! The task of one cluster: wait, ask what is due, fold in what was answered, tell who must know.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use super::names::Question;
use super::{DnsNews, LookupResult, Seat, Shared};

/// How long to sleep when nothing is due: until somebody stirs.
const LONG: Duration = Duration::from_hours(1);

/// Looks until the seat is stopped.
pub(super) async fn run(shared: Arc<Shared>, seat: Arc<Seat>) {
    tokio::select! {
        () = seat.stop.cancelled() => {}
        () = go_on(&shared, &seat) => {}
    }
}

async fn go_on(shared: &Arc<Shared>, seat: &Arc<Seat>) {
    // With the task end its questions.
    let mut asking = JoinSet::new();
    loop {
        let now = Instant::now();
        let (due, next) = seat.names().due(now);
        for question in due {
            asking.spawn(ask(Arc::clone(shared), Arc::clone(seat), question));
        }
        tokio::select! {
            () = sleep_until(next.unwrap_or(now + LONG)) => {}
            () = seat.stirred.notified() => {}
            Some(_) = asking.join_next() => {}
        }
    }
}

async fn ask(shared: Arc<Shared>, seat: Arc<Seat>, question: Question) {
    shared.bucket.take().await;
    let name = {
        let mut names = seat.names();
        names.asks(&question, Instant::now());
        names.name(&question)
    };
    // Now that it is asked, its next turn has a time.
    seat.stirred.notify_one();
    let Some(name) = name else { return };
    let at = (shared.config.clock)();
    let answer = shared
        .config
        .resolver
        .resolve(&name, question.family())
        .await;
    let result = match &answer {
        Ok(_) => LookupResult::Ok,
        Err(failure) => LookupResult::Failed(*failure),
    };
    shared.config.stats.looked_up(result);
    let (heard, writer) = {
        let mut names = seat.names();
        let heard = names.answered(&question, at, answer, Instant::now());
        (heard, names.agreed())
    };
    if heard.sensed || heard.wake || heard.turned {
        shared.tell(&DnsNews {
            key: seat.key.clone(),
            sensed: heard.sensed,
            writer,
            wake: heard.wake,
        });
    }
}
