#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod fake;

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;
use tokio::time::sleep;

use super::*;
use crate::aurora::{
    Cadence, ObservationState, PollResult, RoleAllowList, RoleKey, SourceError, SourceKey,
};
use dbbalance_core::topology::ClusterId;
use fake::Fake;

fn pollers(fake: &Fake) -> Pollers {
    let config = PollerConfig {
        factory: Arc::new(fake.clone()),
        cadence: Cadence {
            jitter: 0.0,
            ..Cadence::default()
        },
        allowed: RoleAllowList::default(),
        clock: Arc::new(|| Timestamp::UNIX_EPOCH),
        stats: Arc::new(fake.clone()),
    };
    Pollers::new(config, CancellationToken::new())
}

fn key(region: &str, cluster: &str) -> ClusterKey {
    let source = SourceKey {
        role: None,
        region: region.to_owned(),
    };
    ClusterKey {
        source,
        cluster: ClusterId(cluster.to_owned()),
    }
}

fn throttled() -> SourceError {
    SourceError::Throttled {
        action: "rds:DescribeDBClusters",
        detail: "Throttling".to_owned(),
    }
}

async fn seconds(seconds: f64) {
    sleep(Duration::from_secs_f64(seconds)).await;
}

fn shown(pollers: &Pollers, key: &ClusterKey) -> String {
    let Some(view) = pollers.snapshot(key).view else {
        return String::new();
    };
    let names: Vec<_> = view
        .topology
        .members()
        .map(|(m, _)| m.instance.0.clone())
        .collect();
    names.join(" ")
}

#[tokio::test(start_paused = true)]
async fn new_cluster_is_read_at_once_and_confirmed_a_second_later() {
    let (fake, a) = (Fake::default(), key("r1", "a"));
    fake.say("a", "w1 r2");
    let pollers = pollers(&fake);
    pollers.watch(&a, None);
    assert_eq!(pollers.snapshot(&a), ClusterSnapshot::default());
    seconds(0.1).await;
    assert_eq!(
        (fake.polls(), pollers.snapshot(&a).observation),
        (1, ObservationState::Pending)
    );
    seconds(1.0).await;
    assert_eq!(shown(&pollers, &a), "a-1 a-2");
    assert_eq!(pollers.snapshot(&a).observation, ObservationState::Current);
    assert_eq!(
        pollers.snapshot(&a).last_read_ok,
        Some(Timestamp::UNIX_EPOCH)
    );
}

#[tokio::test(start_paused = true)]
async fn many_policies_on_one_source_are_one_read_a_poll() {
    let fake = Fake::default();
    let pollers = pollers(&fake);
    for policy in 0..300 {
        fake.say(&format!("c{}", policy % 30), "w1 r2");
        pollers.watch(&key("r1", &format!("c{}", policy % 30)), None);
    }
    seconds(0.1).await;
    fake.with("r1", |w| {
        assert_eq!((w.polls.len(), w.polls[0].1.len()), (1, 30));
    });
    seconds(60.0).await;
    // The first, one second later the second that confirms, then one every five seconds.
    assert_eq!(fake.polls(), 13);
    assert_eq!(fake.with("r1", |w| w.sources_made), 1);
}

#[tokio::test(start_paused = true)]
async fn reads_are_quick_while_something_moves_and_slow_when_quiet() {
    let (fake, a) = (Fake::default(), key("r1", "a"));
    fake.say("a", "w1 r2");
    let pollers = pollers(&fake);
    pollers.watch(&a, None);
    seconds(10.0).await;
    let before = fake.polls();
    seconds(20.0).await;
    assert_eq!(fake.polls() - before, 4);
    fake.say("a", "w1 r2 r3:creating");
    seconds(5.0).await;
    let before = fake.polls();
    seconds(20.0).await;
    assert_eq!(fake.polls() - before, 20);
    // An instance that does not move for minutes is not worth it.
    seconds(600.0).await;
    let before = fake.polls();
    seconds(20.0).await;
    assert_eq!(fake.polls() - before, 4);
}

#[tokio::test(start_paused = true)]
async fn newcomer_is_read_alone_and_at_once() {
    let fake = Fake::default();
    fake.say("a", "w1");
    fake.say("b", "w1");
    let pollers = pollers(&fake);
    pollers.watch(&key("r1", "a"), None);
    seconds(7.0).await;
    let before = fake.polls();
    pollers.watch(&key("r1", "b"), None);
    pollers.watch(&key("r1", "b"), None);
    seconds(0.1).await;
    fake.with("r1", |w| {
        assert_eq!(w.polls.len(), before + 1);
        assert_eq!(
            w.polls[before].1,
            BTreeSet::from([ClusterId("b".to_owned())])
        );
    });
    seconds(1.0).await;
    assert_eq!(shown(&pollers, &key("r1", "b")), "b-1");
}

#[tokio::test(start_paused = true)]
async fn failures_back_off_and_keep_the_last_good_topology() {
    let (fake, a) = (Fake::default(), key("r1", "a"));
    fake.say("a", "w1 r2");
    let pollers = pollers(&fake);
    pollers.watch(&a, None);
    seconds(3.0).await;
    fake.fail(Some(throttled()));
    let (started, before) = (Instant::now(), fake.polls());
    seconds(4.0).await;
    assert_eq!(
        pollers.snapshot(&a).observation,
        ObservationState::Current,
        "once is no failure yet"
    );
    assert_eq!(pollers.snapshot(&a).failures, 1);
    seconds(110.0).await;
    let waits: Vec<u64> = fake.with("r1", |w| {
        w.polls[before..]
            .iter()
            .map(|(at, _)| at.duration_since(started).as_secs())
            .collect()
    });
    assert_eq!(waits, [3, 5, 9, 17, 33, 63, 93]);
    let ObservationState::Failing { reason, message } = pollers.snapshot(&a).observation else {
        panic!()
    };
    assert_eq!(reason, "Throttled");
    assert!(message.contains("quota"), "{message}");
    assert_eq!(shown(&pollers, &a), "a-1 a-2");
    fake.fail(None);
    seconds(30.0).await;
    assert_eq!(pollers.snapshot(&a).observation, ObservationState::Current);
    assert!(fake.with("r1", |w| w.results.contains(&PollResult::Throttled)));
}

#[tokio::test(start_paused = true)]
async fn source_that_fails_is_not_asked_sooner_for_newcomers() {
    let fake = Fake::default();
    fake.fail(Some(throttled()));
    let pollers = pollers(&fake);
    pollers.watch(&key("r1", "a"), None);
    seconds(20.0).await;
    let before = fake.polls();
    for i in 0..100 {
        pollers.watch(&key("r1", &format!("n{i}")), None);
        seconds(0.05).await;
    }
    assert_eq!(fake.polls(), before);
}

#[tokio::test(start_paused = true)]
async fn bad_cluster_does_not_stop_the_others() {
    let fake = Fake::default();
    fake.say("good", "w1 r2");
    fake.say("torn", "!");
    let pollers = pollers(&fake);
    for cluster in ["good", "torn", "gone"] {
        pollers.watch(&key("r1", cluster), None);
    }
    seconds(10.0).await;
    let reason = |cluster: &str| match pollers.snapshot(&key("r1", cluster)).observation {
        ObservationState::Failing { reason, .. } => reason,
        ObservationState::Current => "current",
        ObservationState::Pending => "pending",
    };
    assert_eq!(
        ["good", "torn", "gone"].map(reason),
        ["current", "ReadingNotWhole", "ClusterNotFound"]
    );
    assert!(fake.with("r1", |w| {
        w.results.iter().all(|r| *r == PollResult::NotWhole)
    }));
}

#[tokio::test(start_paused = true)]
async fn source_that_hangs_holds_up_no_other_and_is_given_up() {
    let fake = Fake::default();
    fake.with("r2", |w| w.hangs = true);
    fake.say("a", "w1");
    let pollers = pollers(&fake);
    pollers.watch(&key("r2", "a"), None);
    pollers.watch(&key("r1", "a"), None);
    seconds(3.0).await;
    assert_eq!(shown(&pollers, &key("r1", "a")), "a-1");
    seconds(300.0).await;
    assert!(matches!(
        pollers.snapshot(&key("r2", "a")).observation,
        ObservationState::Failing { .. }
    ));
}

#[tokio::test(start_paused = true)]
async fn expired_credentials_are_fetched_anew() {
    let (fake, a) = (Fake::default(), key("r1", "a"));
    fake.say("a", "w1");
    fake.fail(Some(SourceError::CredentialsExpired {
        detail: "ExpiredToken".to_owned(),
    }));
    let pollers = pollers(&fake);
    pollers.watch(&a, None);
    seconds(3.0).await;
    assert_eq!(fake.with("r1", |w| w.sources_made), 2);
    fake.fail(None);
    seconds(10.0).await;
    assert_eq!(pollers.snapshot(&a).observation, ObservationState::Current);
}

#[tokio::test(start_paused = true)]
async fn changes_tell_what_a_reconcile_must_see_and_nothing_else() {
    let (fake, a) = (Fake::default(), key("r1", "a"));
    fake.say("a", "w1 r2");
    let pollers = pollers(&fake);
    let mut changes = pollers.changes();
    drop(pollers.changes());
    pollers.watch(&a, None);
    seconds(2.0).await;
    let mut drain = || std::iter::from_fn(|| changes.try_recv().ok()).collect::<Vec<_>>();
    assert_eq!(
        drain(),
        [a.clone(), a.clone()],
        "first unconfirmed, then confirmed"
    );
    seconds(100.0).await;
    assert_eq!(drain(), []);
    fake.say("a", "w2 r1");
    seconds(10.0).await;
    assert_eq!(drain().len(), 2);
    fake.say("a", "!");
    seconds(60.0).await;
    assert_eq!(drain().len(), 1, "failing is told once");
}

#[tokio::test(start_paused = true)]
async fn clusters_that_nobody_watches_are_not_read() {
    let (fake, a, b) = (Fake::default(), key("r1", "a"), key("r1", "b"));
    fake.say("a", "w1");
    fake.say("b", "w1");
    let pollers = pollers(&fake);
    pollers.watch(&a, None);
    pollers.watch(&b, None);
    seconds(7.0).await;
    pollers.retain(&HashSet::from([a.clone()]));
    assert!(fake.with("r1", |w| w.counted));
    seconds(5.0).await;
    fake.with("r1", |w| assert_eq!(w.polls.last().unwrap().1.len(), 1));
    assert_eq!(pollers.snapshot(&b), ClusterSnapshot::default());
    pollers.retain(&HashSet::new());
    assert!(!fake.with("r1", |w| w.counted));
    let before = fake.polls();
    seconds(60.0).await;
    assert_eq!(fake.polls(), before);
    pollers.watch(&a, None);
    seconds(2.0).await;
    assert_eq!(
        shown(&pollers, &a),
        "a-1",
        "watched again, it is read again"
    );
}

#[tokio::test(start_paused = true)]
async fn hint_keeps_members_that_words_do_not_decide() {
    let (fake, a) = (Fake::default(), key("r1", "a"));
    fake.say("a", "w1 r2 r3");
    let before = pollers(&fake);
    before.watch(&a, None);
    seconds(2.0).await;
    let hint = before.snapshot(&a).view.unwrap().topology.clone();
    fake.say("a", "w1 r2:stopped r3:modifying r4:modifying");
    let after = pollers(&fake);
    // Another policy without a status may be the first to watch.
    after.watch(&a, None);
    after.watch(&a, Some(hint.clone()));
    seconds(2.0).await;
    assert_eq!(after.snapshot(&a).view.unwrap().topology, hint);
}

#[tokio::test(start_paused = true)]
async fn role_that_is_not_allowed_is_never_used() {
    let fake = Fake::default();
    let mut a = key("r1", "a");
    a.source.role = Some(RoleKey {
        arn: "arn:aws:iam::1:role/x".to_owned(),
        external_id: None,
    });
    let pollers = pollers(&fake);
    pollers.watch(&a, None);
    let observation = pollers.snapshot(&a).observation;
    assert!(matches!(
        observation,
        ObservationState::Failing {
            reason: "RoleNotAllowed",
            ..
        }
    ));
    seconds(60.0).await;
    assert_eq!(fake.with("r1", |w| (w.polls.len(), w.sources_made)), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn cancelling_stops_all_pollers() {
    let fake = Fake::default();
    fake.say("a", "w1");
    let stop = CancellationToken::new();
    let pollers = Pollers::new(pollers(&fake).shared.config.clone(), stop.clone());
    pollers.watch(&key("r1", "a"), None);
    seconds(2.0).await;
    stop.cancel();
    let before = fake.polls();
    seconds(60.0).await;
    assert_eq!(fake.polls(), before);
}

#[tokio::test(start_paused = true)]
async fn a_poke_reads_at_once_and_what_dns_agrees_on_needs_one_reading() {
    let (fake, a) = (Fake::default(), key("r1", "a"));
    fake.say("a", "w1 r2");
    let pollers = pollers(&fake);
    pollers.watch(&a, None);
    seconds(30.0).await;
    fake.say("a", "r1 w2");
    let before = fake.polls();
    pollers.set_dns_writer(&a, Some(InstanceId("a-2".to_owned())));
    pollers.poll_now(&a);
    seconds(0.01).await;
    assert_eq!(fake.polls(), before + 1);
    assert_eq!(shown(&pollers, &a), "a-2 a-1");
}

#[tokio::test(start_paused = true)]
async fn a_source_that_fails_is_not_read_sooner_for_a_poke() {
    let (fake, a) = (Fake::default(), key("r1", "a"));
    fake.say("a", "w1 r2");
    let pollers = pollers(&fake);
    pollers.watch(&a, None);
    seconds(30.0).await;
    fake.fail(Some(throttled()));
    seconds(10.0).await;
    let before = fake.polls();
    for _ in 0..100 {
        pollers.poll_now(&a);
    }
    seconds(0.1).await;
    assert!(fake.polls() <= before + 1);
}
