//! moto and microburst alone on loopback: each rule of `rds::microburst`'s table does what the table says.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::time::{Duration, Instant};

use dbbalance_testbed::rds::microburst::Microburst;
use dbbalance_testbed::rds::moto::Moto;
use serde_json::{Value, json};

#[test]
fn every_documented_fault_works() {
    let moto = Moto::start().unwrap();
    moto.client()
        .create_cluster("orders", "aurora-postgresql")
        .unwrap();
    for instance in ["orders-1", "orders-2"] {
        moto.client()
            .add_instance("orders", instance, "db.r6g.large")
            .unwrap();
    }
    let proxy = Microburst::start(moto.endpoint()).unwrap();
    let client = proxy.client();
    let describe = || client.describe_cluster("orders");
    let fails_with = |rule: Value, words: &[&str]| {
        assert_eq!(proxy.set_rules(&rule).unwrap(), 1);
        let error = format!("{:#}", describe().unwrap_err());
        assert!(
            words.iter().all(|word| error.contains(word)),
            "{rule}: {error}"
        );
        assert!(!proxy.control().fired().unwrap().is_empty(), "{rule}");
        proxy.control().forget_fired().unwrap();
    };

    // Without rules it changes nothing.
    assert_eq!(
        describe().unwrap(),
        moto.client().describe_cluster("orders").unwrap()
    );
    assert_eq!(client.describe_instances("orders").unwrap().len(), 2);

    let throttled = json!({"service": "rds", "operation": "DescribeDBClusters", "times": 2, "error": {"code": "Throttling"}});
    fails_with(throttled, &["400", "Throttling"]);
    assert!(
        client.describe_instances("orders").is_ok(),
        "another operation passes"
    );
    assert!(describe().is_err(), "the second of two");
    assert!(describe().is_ok(), "the third");

    fails_with(
        json!({"service": "rds", "error": {"code": "AccessDenied"}}),
        &["403", "AccessDenied"],
    );
    fails_with(
        json!({"service": "rds", "error": {"code": "ExpiredToken"}}),
        &["ExpiredToken"],
    );
    fails_with(
        json!({"service": "rds", "error": {"code": "InternalFailure", "status": 500}}),
        &["500"],
    );
    fails_with(json!({"service": "rds", "reset": true}), &["failed"]);
    fails_with(
        json!({"service": "rds", "response": {"truncate_frac": 0.5}}),
        &["200", "middle of its XML"],
    );
    fails_with(
        json!({"service": "rds", "response": {"abort_frac": 0.5}}),
        &["failed"],
    );

    proxy
        .set_rules(&json!({"service": "rds", "latency": 300}))
        .unwrap();
    let started = Instant::now();
    describe().unwrap();
    assert!(started.elapsed() >= Duration::from_millis(300));

    assert_eq!(proxy.set_rules(&json!([])).unwrap(), 0);
    describe().unwrap();

    let endpoint = moto.endpoint().to_owned();
    drop(moto);
    assert!(
        dbbalance_testbed::rds::client::RdsClient::new(&endpoint, "eu-west-1")
            .describe_clusters()
            .is_err()
    );
}

#[test]
fn accounts_and_regions_are_apart() {
    let moto = Moto::start().unwrap();
    moto.client()
        .create_cluster("orders", "aurora-mysql")
        .unwrap();
    let elsewhere = dbbalance_testbed::rds::client::RdsClient::new(moto.endpoint(), "us-east-1");
    assert!(elsewhere.describe_clusters().unwrap().is_empty());
    let missing = moto
        .client()
        .describe_cluster("none")
        .unwrap_err()
        .to_string();
    assert!(
        missing.contains("404") && missing.contains("DBClusterNotFound"),
        "{missing}"
    );
}
