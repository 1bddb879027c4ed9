//! The contract with the RDS API: what the source makes of real answers, and of faults in between.
//!
//! Each test is held against two servers: moto, which nobody here wrote, and the testbed's own, on which failovers take
//! their time. An assertion that one of them alone would pass has no place here.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod servers;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use dbbalance::aurora::{
    Cadence, ClusterKey, ErrorClass, NoStats, ObservationState, PollerConfig, Pollers,
    ReadingError, RoleAllowList, RoleKey, SourceError, SourceFactory as _, SourceKey,
};
use dbbalance_core::topology::ClusterId;
use dbbalance_testbed::rds::REGION;
use serde_json::json;
use servers::{Backend, factory, faults, fired, own, read, read_one, set_rules, shown, source};
use tokio_util::sync::CancellationToken;

/// Makes two tests of each: one against moto, one against the testbed's server.
macro_rules! against_both {
    ($($test:ident),* $(,)?) => {
        mod moto {
            $(#[tokio::test]
            async fn $test() {
                super::$test(super::Backend::Moto).await;
            })*
        }
        mod testbed {
            $(#[tokio::test]
            async fn $test() {
                super::$test(super::Backend::Testbed).await;
            })*
        }
    };
}

against_both!(
    membership_and_roles_are_read_as_they_change,
    unknown_clusters_and_other_engines_do_not_take_the_others_down,
    more_clusters_than_a_call_takes_are_all_read,
    faults_are_told_apart_and_never_read_as_a_topology,
    slow_answer_is_waited_for_and_a_hanging_one_is_given_up,
    allowed_role_is_assumed_and_another_one_never,
    poller_follows_a_failover_through_faults,
);

async fn membership_and_roles_are_read_as_they_change(backend: Backend) {
    let (_running, rds) = backend.start();
    rds.create("orders", &["orders-1", "orders-2", "orders-3"])
        .await;
    // Members of other clusters must not get mixed in, whatever they are called.
    rds.create("orders-2", &["orders-21"]).await;
    let source = source(&rds.endpoint).await;

    let reading = read_one(&*source, "orders").await;
    assert_eq!(shown(&reading), "orders-1* orders-2 orders-3");
    assert_eq!(reading.engine, "aurora-postgresql");
    assert!(reading.arn.ends_with(":cluster:orders"), "{}", reading.arn);
    let reader = reading.members.values().last().unwrap();
    assert_eq!(reader.class.as_deref(), Some("db.r6g.large"));
    assert!(
        reader
            .endpoint
            .as_deref()
            .is_some_and(|host| host.starts_with("orders-3."))
    );

    rds.failover("orders", "orders-3").await;
    assert_eq!(
        shown(&read_one(&*source, "orders").await),
        "orders-1 orders-2 orders-3*"
    );

    rds.remove("orders-1").await;
    assert_eq!(
        shown(&read_one(&*source, "orders").await),
        "orders-2 orders-3*"
    );

    rds.remove("orders-3").await;
    assert_eq!(shown(&read_one(&*source, "orders").await), "orders-2*");

    rds.add("orders", "orders-4").await;
    assert_eq!(
        shown(&read_one(&*source, "orders").await),
        "orders-2* orders-4"
    );
}

async fn unknown_clusters_and_other_engines_do_not_take_the_others_down(backend: Backend) {
    let (_running, rds) = backend.start();
    rds.create("orders", &["orders-1"]).await;
    rds.create_cluster("empty", "aurora-mysql").await;
    rds.create_cluster("multiaz", "postgres").await;
    let source = source(&rds.endpoint).await;

    let answers = read(&*source, &["orders", "empty", "multiaz", "nowhere"])
        .await
        .unwrap();
    let reason = |id: &str| {
        answers[&ClusterId(id.to_owned())]
            .as_ref()
            .map_or_else(ReadingError::reason, |_| "whole")
    };
    assert_eq!(reason("orders"), "whole");
    assert_eq!(reason("empty"), "ReadingNotWhole");
    assert_eq!(reason("multiaz"), "NotAurora");
    assert_eq!(reason("nowhere"), "ClusterNotFound");

    let alone = read(&*source, &["nowhere"]).await.unwrap();
    let nowhere = ClusterId("nowhere".to_owned());
    assert_eq!(
        alone[&nowhere],
        Err(ReadingError::NotFound(nowhere.clone()))
    );
}

async fn more_clusters_than_a_call_takes_are_all_read(backend: Backend) {
    let (_running, rds) = backend.start();
    let names: Vec<String> = (0..108).map(|i| format!("c{i}")).collect();
    for name in &names {
        rds.create(name, &[&format!("{name}-a")]).await;
    }
    // Through the proxy, so that requests are counted.
    let proxy = faults(&rds);
    set_rules(&proxy, &json!([{"service": "rds", "latency": 1}]));
    let source = source(proxy.endpoint()).await;
    let asked: Vec<&str> = names.iter().map(String::as_str).collect();
    let answers = read(&*source, &asked).await.unwrap();
    assert_eq!(answers.len(), 108);
    for (id, answer) in &answers {
        assert_eq!(shown(answer.as_ref().unwrap()), format!("{id}-a*"));
    }
    // Two batches, two calls each; a server may cut a page earlier.
    assert!((4..=6).contains(&fired(&proxy)), "{}", fired(&proxy));
}

async fn faults_are_told_apart_and_never_read_as_a_topology(backend: Backend) {
    let (_running, rds) = backend.start();
    rds.create("orders", &["orders-1", "orders-2", "orders-3"])
        .await;
    let proxy = faults(&rds);
    let source = source(proxy.endpoint()).await;
    let error = |code: &str| json!({"error": {"code": code}});
    let cases = [
        (error("Throttling"), ErrorClass::Throttled, "Throttled"),
        (
            error("ThrottlingException"),
            ErrorClass::Throttled,
            "Throttled",
        ),
        (
            error("RequestLimitExceeded"),
            ErrorClass::Throttled,
            "Throttled",
        ),
        (error("AccessDenied"), ErrorClass::Denied, "AccessDenied"),
        (
            error("ExpiredToken"),
            ErrorClass::Denied,
            "CredentialsExpired",
        ),
        (
            json!({"error": {"code": "InternalFailure", "status": 500}}),
            ErrorClass::Transient,
            "ReadFailed",
        ),
        (json!({"reset": true}), ErrorClass::Transient, "ReadFailed"),
        (
            json!({"response": {"abort_frac": 0.5}}),
            ErrorClass::Transient,
            "ReadFailed",
        ),
        (
            json!({"response": {"truncate_frac": 0.5}}),
            ErrorClass::NotWhole,
            "ReadingNotWhole",
        ),
    ];
    for operation in ["DescribeDBClusters", "DescribeDBInstances"] {
        for (effect, class, reason) in &cases {
            let mut rule = effect.clone();
            rule["service"] = json!("rds");
            rule["operation"] = json!(operation);
            set_rules(&proxy, &json!([rule]));
            let failed = read(&*source, &["orders"]).await.expect_err(reason);
            assert_eq!(
                (failed.class(), failed.reason()),
                (*class, *reason),
                "{operation} {effect}: {failed}"
            );
            // The source does not try again by itself: that would get past the bucket.
            assert_eq!(fired(&proxy), 1, "{operation} {effect}");
        }
    }
    set_rules(&proxy, &json!([]));
    assert_eq!(
        shown(&read_one(&*source, "orders").await),
        "orders-1* orders-2 orders-3"
    );
}

async fn slow_answer_is_waited_for_and_a_hanging_one_is_given_up(backend: Backend) {
    let (_running, rds) = backend.start();
    rds.create("orders", &["orders-1"]).await;
    let proxy = faults(&rds);
    let source = source(proxy.endpoint()).await;
    set_rules(&proxy, &json!([{"service": "rds", "latency": 300}]));
    assert_eq!(shown(&read_one(&*source, "orders").await), "orders-1*");

    set_rules(&proxy, &json!([{"service": "rds", "latency": 60_000}]));
    let started = Instant::now();
    let failed = read(&*source, &["orders"]).await.expect_err("a time-out");
    assert_eq!(failed.reason(), "ReadFailed", "{failed}");
    assert!(
        started.elapsed() < Duration::from_secs(9),
        "{:?}",
        started.elapsed()
    );
}

#[tokio::test]
async fn server_that_is_not_there_is_a_passing_failure() {
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let source = source(&format!("http://127.0.0.1:{port}")).await;
    let failed = read(&*source, &["orders"])
        .await
        .expect_err("nobody listens");
    assert_eq!(failed.class(), ErrorClass::Transient, "{failed}");
    assert!(failed.to_string().contains("refused"), "{failed}");
}

async fn allowed_role_is_assumed_and_another_one_never(backend: Backend) {
    let (_running, rds) = backend.start();
    rds.create("orders", &["orders-1"]).await;
    let proxy = faults(&rds);
    // moto keeps accounts apart: the role's own account has no cluster.
    let arn = "arn:aws:iam::210987654321:role/topology";
    let role = RoleKey {
        arn: arn.to_owned(),
        external_id: Some("shop".to_owned()),
    };
    let key = SourceKey {
        role: Some(role),
        region: REGION.to_owned(),
    };
    let factory = factory(proxy.endpoint(), RoleAllowList::new([arn]));
    // moto loads its STS at the first call, for longer than the source waits on a busy machine.
    for _ in 0..5 {
        let source = factory.make_source(&key).await.unwrap();
        if read(&*source, &["orders"]).await.is_ok() {
            break;
        }
    }
    set_rules(
        &proxy,
        &json!([{"service": "sts", "operation": "AssumeRole", "latency": 1}]),
    );
    let source = factory.make_source(&key).await.unwrap();
    let answers = read(&*source, &["orders"]).await.unwrap();
    let orders = ClusterId("orders".to_owned());
    assert_eq!(
        answers[&orders],
        Err(ReadingError::NotFound(orders.clone()))
    );
    assert_eq!(fired(&proxy), 1, "the role was assumed");

    set_rules(
        &proxy,
        &json!([{"service": "sts", "error": {"code": "AccessDenied"}}]),
    );
    let source = factory.make_source(&key).await.unwrap();
    let failed = read(&*source, &["orders"])
        .await
        .expect_err("the role's trust policy");
    assert_eq!(failed.reason(), "NoCredentials", "{failed}");
    assert!(failed.to_string().contains("sts:AssumeRole"), "{failed}");

    set_rules(&proxy, &json!([{"service": "sts", "reset": true}]));
    let source = factory.make_source(&key).await.unwrap();
    let failed = read(&*source, &["orders"])
        .await
        .expect_err("STS is cut off");
    assert_eq!(
        failed.class(),
        ErrorClass::Transient,
        "it passes by itself: {failed}"
    );

    let mut other = key.clone();
    other.role = Some(RoleKey {
        arn: format!("{arn}-2"),
        external_id: None,
    });
    set_rules(&proxy, &json!([{"latency": 1}]));
    let refused = factory.make_source(&other).await.err();
    assert_eq!(
        refused,
        Some(SourceError::RoleNotAllowed {
            arn: format!("{arn}-2")
        })
    );
    assert_eq!(fired(&proxy), 0, "nothing was asked");
}

async fn poller_follows_a_failover_through_faults(backend: Backend) {
    let (_running, rds) = backend.start();
    rds.create("orders", &["orders-1", "orders-2"]).await;
    let proxy = faults(&rds);
    let pollers = Pollers::new(
        PollerConfig {
            factory: Arc::new(factory(proxy.endpoint(), RoleAllowList::default())),
            cadence: Cadence {
                quiet: Duration::from_millis(400),
                moving: Duration::from_millis(100),
                backoff: Duration::from_millis(100),
                ..Cadence::default()
            },
            allowed: RoleAllowList::default(),
            clock: Arc::new(jiff::Timestamp::now),
            stats: Arc::new(NoStats),
        },
        CancellationToken::new(),
    );
    let key = ClusterKey {
        source: own(),
        cluster: ClusterId("orders".to_owned()),
    };
    pollers.watch(&key, None);
    let writer = || {
        let view = pollers.snapshot(&key).view;
        view.map(|view| view.topology.writer.instance.0.clone())
            .unwrap_or_default()
    };
    until("the first topology", || writer() == "orders-1").await;

    set_rules(
        &proxy,
        &json!([{"service": "rds", "response": {"truncate_frac": 0.6}}]),
    );
    let failing = |wanted: &str| matches!(pollers.snapshot(&key).observation, ObservationState::Failing { reason, .. } if reason == wanted);
    until("answers that are not whole", || failing("ReadingNotWhole")).await;
    assert_eq!(writer(), "orders-1");

    rds.failover("orders", "orders-2").await;
    set_rules(
        &proxy,
        &json!([{"service": "rds", "error": {"code": "Throttling"}}]),
    );
    until("throttling", || failing("Throttled")).await;
    assert_eq!(writer(), "orders-1", "nothing changes on a failed read");

    set_rules(&proxy, &json!([]));
    until("the failover", || writer() == "orders-2").await;
    assert_eq!(
        pollers.snapshot(&key).observation,
        ObservationState::Current
    );
    pollers.retain(&HashSet::new());
}

/// Waits for a condition, at most half a minute.
async fn until(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !condition() {
        assert!(Instant::now() < deadline, "{what} did not come within 30 s");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
