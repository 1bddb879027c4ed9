//! The RDS API inside a testbed: seen from the host side, from a pod, and through the faults.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use dbbalance_testbed::rds::{self, REGION, client::RdsClient};
use support::{ExclusiveMachine, OwnTestbed, deploy_testapp, run_testbed, utf8_text};

#[test]
fn a_testbed_has_an_rds_api_that_pods_reach() {
    let alone = ExclusiveMachine::on_this_machine();
    let own = OwnTestbed::up("t-rds");
    let testbed = |arguments: &[&str]| {
        let told = run_testbed(&[&["rds", "--testbed", "t-rds"], arguments].concat());
        assert!(
            told.status.success(),
            "testbed rds {arguments:?}: {}",
            utf8_text(&told.stderr)
        );
        utf8_text(&told.stdout)
    };
    testbed(&["up", "--faults"]);
    testbed(&["up", "--faults"]);
    testbed(&["create-cluster", "orders"]);
    for instance in ["orders-1", "orders-2", "orders-3"] {
        testbed(&["add-instance", "orders", instance]);
    }
    let client = RdsClient::in_testbed(&own.testbed, REGION);
    let cluster = client.describe_cluster("orders").unwrap();
    assert_eq!(cluster.writer(), Some("orders-1"));
    assert_eq!(cluster.readers(), ["orders-2", "orders-3"]);
    assert_eq!(cluster.status, "available");

    testbed(&["failover", "orders", "--to", "orders-3"]);
    assert_eq!(
        client.describe_cluster("orders").unwrap().writer(),
        Some("orders-3")
    );
    testbed(&["delete-instance", "orders-2"]);
    let shown = testbed(&["describe", "orders"]);
    assert!(
        shown.contains("orders-3") && !shown.contains("orders-2"),
        "{shown}"
    );
    // moto would take any instance, and leave two writers.
    let refused = run_testbed(&[
        "rds",
        "--testbed",
        "t-rds",
        "failover",
        "orders",
        "--to",
        "other-1",
    ]);
    assert!(
        utf8_text(&refused.stderr).contains("not a member"),
        "{}",
        utf8_text(&refused.stderr)
    );

    let pods = deploy_testapp(&own.testbed, 1);
    let ask = |port: u16| {
        let header = "Authorization: AWS4-HMAC-SHA256 Credential=testbed/20260101/eu-west-1/rds/aws4_request, \
                      SignedHeaders=host, Signature=0";
        let call = format!(
            "wget -q -O - --header '{header}' --post-data 'Action=DescribeDBClusters&Version=2014-10-31' \
             http://198.18.0.1:{port}/ 2>&1"
        );
        own.testbed
            .kubectl(&["exec", &pods[0], "--", "sh", "-c", &call])
    };
    assert!(
        ask(rds::MOTO_PORT)
            .unwrap()
            .contains("<DBClusterIdentifier>orders<")
    );
    assert!(
        ask(rds::FAULTS_PORT)
            .unwrap()
            .contains("<DBClusterIdentifier>orders<")
    );
    testbed(&[
        "rules",
        r#"[{"service":"rds","times":1,"error":{"code":"Throttling"}}]"#,
    ]);
    assert!(ask(rds::FAULTS_PORT).is_err());
    assert!(ask(rds::FAULTS_PORT).is_ok());

    testbed(&["down"]);
    assert!(client.describe_clusters().is_err());
    testbed(&["up"]);
    drop(own);
    alone.assert_nothing_left("t-rds");
}
