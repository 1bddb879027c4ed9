//! The testbed's RDS API over the wire: as boto3 and other clients use it, beside moto where the two agree.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeMap;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use dbbalance_testbed::aurora::api::rate_limit::RequestQuota;
use dbbalance_testbed::aurora::api::{self, ApiOptions, HttpFaults, rds_arn};
use dbbalance_testbed::aurora::inventory::{ControlPlane as _, NewCluster, NewInstance};
use dbbalance_testbed::aurora::static_control_plane::StaticControlPlane;
use dbbalance_testbed::cache::ToolCache;
use dbbalance_testbed::rds::REGION;
use dbbalance_testbed::rds::client::RdsClient;
use dbbalance_testbed::rds::moto::Moto;
use dbbalance_testbed::rds::xml::XmlElement;
use dbbalance_testbed::{program, tools};
use serde_json::Value;

struct ApiFixture {
    plane: Arc<StaticControlPlane>,
    server: api::ApiServer,
    client: RdsClient,
}

fn start_api(quota: RequestQuota) -> ApiFixture {
    let plane = Arc::new(StaticControlPlane::new());
    let options = ApiOptions {
        quota,
        ..ApiOptions::default()
    };
    let server = api::start_api(([127, 0, 0, 1], 0).into(), plane.clone(), options).unwrap();
    let client = RdsClient::new(&server.endpoint(), REGION);
    ApiFixture {
        plane,
        server,
        client,
    }
}

impl ApiFixture {
    fn cluster(&self, identifier: &str, engine: &str) {
        let new = NewCluster {
            identifier: identifier.into(),
            engine: engine.into(),
        };
        self.plane.create_cluster(&new).unwrap();
        let new = NewInstance {
            identifier: format!("{identifier}-1"),
            cluster: Some(identifier.into()),
            class: "db.r6g.large".into(),
            engine: engine.into(),
            tier: 1,
        };
        self.plane.create_instance(&new).unwrap();
    }

    /// The identifiers in an answer, and its marker.
    fn page(&self, action: &str, parameters: &[(&str, &str)]) -> (Vec<String>, Option<String>) {
        let (list, key) = match action {
            "DescribeDBClusters" => ("DBClusters", "DBClusterIdentifier"),
            _ => ("DBInstances", "DBInstanceIdentifier"),
        };
        let reply = self.client.call(action, parameters).unwrap();
        let rows = &reply.find(list).unwrap().children;
        let marker = reply.find("Marker").map(|marker| marker.value.clone());
        (
            rows.iter().map(|row| row.text(key).unwrap()).collect(),
            marker,
        )
    }

    fn ids(&self, action: &str, parameters: &[(&str, &str)]) -> Vec<String> {
        self.page(action, parameters).0
    }

    fn filtered(&self, action: &str, name: &str, values: &[&str]) -> Vec<String> {
        let keys: Vec<String> = (1..=values.len())
            .map(|number| format!("Filters.Filter.1.Values.Value.{number}"))
            .collect();
        let mut parameters = vec![("Filters.Filter.1.Name", name)];
        parameters.extend(keys.iter().map(String::as_str).zip(values.iter().copied()));
        self.ids(action, &parameters)
    }

    fn refused(&self, action: &str, parameters: &[(&str, &str)]) -> String {
        let error = self.client.call(action, parameters).unwrap_err();
        let error = error.to_string();
        let (_, told) = error.split_once("was refused with ").unwrap();
        told.split_once(':').unwrap().0.to_owned()
    }
}

fn run_boto3(endpoint: &str) -> Value {
    let python = tools::python::python_interpreter(&ToolCache::locate().unwrap()).unwrap();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/boto3_reads.py");
    let told = program::run_output(
        Command::new(python)
            .arg(script)
            .arg(endpoint)
            .env("NO_PROXY", "*")
            .env("no_proxy", "*"),
    );
    serde_json::from_str(&told.unwrap()).unwrap()
}

#[test]
fn boto3_sees_the_same_as_with_moto() {
    let api = start_api(RequestQuota::default());
    let moto = Moto::start().unwrap();
    let (testbed, moto) = (
        run_boto3(&api.server.endpoint()),
        run_boto3(moto.endpoint()),
    );
    for (what, fact) in testbed["facts"].as_object().unwrap() {
        assert_eq!(*fact, moto["facts"][what], "{what}");
    }
    for row in ["cluster", "instance"] {
        let fields = |of: &Value| -> BTreeMap<String, Value> {
            serde_json::from_value(of["types"][row].clone()).unwrap()
        };
        let (testbed, moto) = (fields(&testbed), fields(&moto));
        let both: Vec<_> = testbed
            .iter()
            .filter(|(field, _)| moto.contains_key(*field))
            .collect();
        // Both tell much the same: a field under another name would be in neither's common part.
        assert!(both.len() >= 20, "{row}: {both:?}");
        for (field, kind) in both {
            assert_eq!(*kind, moto[field], "{row}.{field}");
        }
    }
}

#[test]
fn more_than_a_hundred_clusters_are_paged() {
    let api = start_api(RequestQuota::default());
    let names: Vec<String> = (0..130).map(|number| format!("c{number:03}")).collect();
    for name in &names {
        api.cluster(name, "aurora-postgresql");
    }
    for (action, suffix) in [("DescribeDBClusters", ""), ("DescribeDBInstances", "-1")] {
        let wanted: Vec<String> = names.iter().map(|name| format!("{name}{suffix}")).collect();
        for size in [None, Some("20"), Some("100")] {
            let (mut seen, mut pages, mut marker) = (Vec::new(), Vec::new(), None::<String>);
            loop {
                let mut parameters = Vec::new();
                parameters.extend(size.map(|size| ("MaxRecords", size)));
                parameters.extend(marker.as_deref().map(|marker| ("Marker", marker)));
                let (rows, next) = api.page(action, &parameters);
                pages.push(rows.len());
                seen.extend(rows);
                marker = next;
                if marker.is_none() {
                    break;
                }
            }
            assert_eq!(seen, wanted);
            let expected: &[usize] = match size {
                Some("20") => &[20, 20, 20, 20, 20, 20, 10],
                _ => &[100, 30],
            };
            assert_eq!(pages, expected, "{action} {size:?}");
        }
    }
    // A page that ends exactly with the list has no marker.
    api.plane.edit(|inventory| {
        while inventory.clusters.len() > 100 {
            inventory.clusters.pop_last();
        }
    });
    assert_eq!(api.page("DescribeDBClusters", &[]).1, None);
}

#[test]
fn filters_take_identifiers_arns_and_resource_ids() {
    let api = start_api(RequestQuota::unlimited());
    api.cluster("orders", "aurora-postgresql");
    api.cluster("bills", "aurora-mysql");
    api.cluster("papers", "docdb");
    let inventory = api.plane.inventory();
    let (clusters, instances) = ("DescribeDBClusters", "DescribeDBInstances");
    let orders = rds_arn("cluster", "orders");
    assert_eq!(
        api.filtered(clusters, "db-cluster-id", &[&orders, "BILLS", "nowhere"]),
        ["bills", "orders"]
    );
    assert_eq!(
        api.filtered(instances, "db-cluster-id", &[&orders]),
        ["orders-1"]
    );
    assert_eq!(
        api.filtered(instances, "db-cluster-id", &[&rds_arn("db", "orders")]),
        [""; 0]
    );
    assert_eq!(
        api.filtered(
            instances,
            "db-instance-id",
            &[&rds_arn("db", "bills-1"), "orders-1"]
        ),
        ["bills-1", "orders-1"]
    );
    let resource = &inventory.clusters["orders"].resource_id;
    assert_eq!(
        api.filtered(clusters, "db-cluster-resource-id", &[resource]),
        ["orders"]
    );
    let resource = &inventory.instances["bills-1"].resource_id;
    assert_eq!(
        api.filtered(instances, "dbi-resource-id", &[resource]),
        ["bills-1"]
    );
    assert_eq!(api.filtered(clusters, "engine", &["docdb"]), ["papers"]);
    // DocumentDB is among the others, unless it is filtered out.
    assert_eq!(api.ids(clusters, &[]), ["bills", "orders", "papers"]);
    assert_eq!(
        api.filtered(instances, "db-cluster-id", &["papers", "orders"]),
        ["orders-1", "papers-1"]
    );
    // Identifier and filter: both must hold.
    let by_arn = [("DBClusterIdentifier", orders.as_str())];
    assert_eq!(api.ids(clusters, &by_arn), ["orders"]);
    let both = [
        by_arn[0],
        ("Filters.Filter.1.Name", "engine"),
        ("Filters.Filter.1.Values.Value.1", "docdb"),
    ];
    assert_eq!(api.ids(clusters, &both), [""; 0]);
    let reply = api.client.call(clusters, &[]).unwrap();
    let endpoint = reply.find("DBClusters").unwrap().children[2].text("Endpoint");
    assert!(endpoint.unwrap().ends_with(".docdb.amazonaws.com"));
}

#[test]
fn what_is_wrong_is_refused_as_aws_does() {
    let api = start_api(RequestQuota::unlimited());
    api.cluster("orders", "aurora-postgresql");
    let nowhere = [("DBClusterIdentifier", "nowhere")];
    for (action, parameters, expected) in [
        (
            "DescribeDBClusters",
            &nowhere[..],
            "404 DBClusterNotFoundFault",
        ),
        (
            "DescribeDBInstances",
            &[("DBInstanceIdentifier", "nowhere")],
            "404 DBInstanceNotFound",
        ),
        (
            "DescribeDBClusters",
            &[("MaxRecords", "10")],
            "400 InvalidParameterValue",
        ),
        (
            "DescribeDBClusters",
            &[("Marker", "x")],
            "400 InvalidParameterValue",
        ),
        ("FailoverDBCluster", &[], "400 MissingParameter"),
        ("FailoverDBCluster", &nowhere, "404 DBClusterNotFoundFault"),
        (
            "FailoverDBCluster",
            &[("DBClusterIdentifier", "orders")],
            "400 InvalidDBClusterStateFault",
        ),
        (
            "FailoverDBCluster",
            &[
                ("DBClusterIdentifier", "orders"),
                ("TargetDBInstanceIdentifier", "orders-1"),
            ],
            "400 InvalidDBInstanceState",
        ),
        (
            "DeleteDBCluster",
            &[("DBClusterIdentifier", "orders")],
            "400 InvalidDBClusterStateFault",
        ),
        (
            "CreateDBCluster",
            &[("DBClusterIdentifier", "a--b"), ("Engine", "aurora-mysql")],
            "400 InvalidParameterValue",
        ),
        (
            "CreateDBInstance",
            &[
                ("DBInstanceIdentifier", "orders-2"),
                ("DBClusterIdentifier", "orders"),
                ("DBInstanceClass", "db.r6g.large"),
                ("Engine", "aurora-mysql"),
            ],
            "400 InvalidParameterCombination",
        ),
        (
            "CreateDBCluster",
            &[
                ("DBClusterIdentifier", "Orders"),
                ("Engine", "aurora-mysql"),
            ],
            "400 DBClusterAlreadyExistsFault",
        ),
        ("DescribeNothing", &[], "400 InvalidAction"),
    ] {
        assert_eq!(
            api.refused(action, parameters),
            expected,
            "{action} {parameters:?}"
        );
    }
    // Another region of the account is empty, and takes nothing.
    let elsewhere = RdsClient::new(&api.server.endpoint(), "us-east-1");
    assert!(elsewhere.describe_clusters().unwrap().is_empty());
    let error = elsewhere
        .create_cluster("orders", "aurora-mysql")
        .unwrap_err();
    assert!(error.to_string().contains("403 AccessDenied"), "{error}");
}

#[test]
fn instance_that_is_created_has_no_endpoint_yet() {
    let api = start_api(RequestQuota::unlimited());
    api.cluster("orders", "aurora-postgresql");
    let told = api
        .client
        .add_instance("orders", "orders-2", "db.r6g.large")
        .unwrap();
    assert_eq!((told.status.as_str(), told.address), ("creating", None));
    let told = &api.client.describe_instances("orders").unwrap()[1];
    assert_eq!(told.status, "available");
    assert!(told.address.as_ref().unwrap().starts_with("orders-2."));
    // What a real control plane shows for a moment: no writer, two of them, a word that nobody knows.
    api.plane.edit(|inventory| {
        let cluster = inventory.clusters.get_mut("orders").unwrap();
        cluster.status = "failing-over".into();
        for member in &mut cluster.members {
            member.writer = true;
        }
    });
    let cluster = api.client.describe_cluster("orders").unwrap();
    assert_eq!(
        (cluster.status.as_str(), cluster.writer()),
        ("failing-over", None)
    );
}

#[test]
fn quota_is_300_at_once_and_12_a_second_for_each_account() {
    let api = start_api(RequestQuota::default());
    api.cluster("orders", "aurora-postgresql");
    let started = Instant::now();
    let mut passed = 0_u32;
    let error = loop {
        match api.client.describe_cluster("orders") {
            Ok(_) => passed += 1,
            Err(e) => break e.to_string(),
        }
    };
    let took = started.elapsed().as_secs_f64();
    assert!(error.contains("400 Throttling: Rate exceeded"), "{error}");
    let most = 300.0 + took * 12.0 + 1.0;
    assert!(
        (300.0..=most).contains(&f64::from(passed)),
        "{passed} in {took} s"
    );
    // Another account has its own.
    let other = RdsClient::new(&api.server.endpoint(), REGION).access_key("ASIALAB210987654321");
    assert!(other.describe_clusters().unwrap().is_empty());
    let calls = api.server.calls();
    assert_eq!(calls.throttled, 1);
    assert_eq!(calls.by_action["DescribeDBClusters"], u64::from(passed) + 2);
}

#[test]
fn faults_change_while_it_runs() {
    let api = start_api(RequestQuota::unlimited());
    api.cluster("orders", "aurora-postgresql");
    let describe = || api.client.describe_cluster("orders");
    let set = |faults: HttpFaults| api.server.faults().set(faults);
    // Cut at each of many bytes, it is status 200 and no XML: the client says "answered 200".
    for end in (0..2000).step_by(37) {
        set(HttpFaults {
            truncate_at: Some(end),
            ..HttpFaults::default()
        });
        let error = format!("{:#}", describe().unwrap_err());
        assert!(error.contains("answered 200"), "{end}: {error}");
    }
    set(HttpFaults {
        truncate_at: Some(1_000_000),
        ..HttpFaults::default()
    });
    describe().unwrap();
    set(HttpFaults {
        broken: true,
        action: Some("DescribeDBInstances".into()),
        ..HttpFaults::default()
    });
    describe().unwrap();
    let error = api.client.describe_instances("orders").unwrap_err();
    assert!(error.to_string().contains("500 InternalFailure"), "{error}");
    set(HttpFaults {
        latency_ms: 300,
        ..HttpFaults::default()
    });
    let started = Instant::now();
    describe().unwrap();
    assert!(started.elapsed() >= Duration::from_millis(300));
    set(HttpFaults::default());
    describe().unwrap();
}

#[test]
fn server_ends_with_its_value_and_with_nobody_served_any_more() {
    let api = start_api(RequestQuota::unlimited());
    api.server.faults().set(HttpFaults {
        latency_ms: 60_000,
        ..HttpFaults::default()
    });
    let client = api.client.clone();
    let waiting = std::thread::spawn(move || client.describe_clusters().is_err());
    dbbalance_testbed::wait::poll_until("a request under way", Duration::from_secs(10), || {
        Ok((!api.server.calls().by_action.is_empty()).then_some(()))
    })
    .unwrap();
    let ApiFixture { server, client, .. } = api;
    let started = Instant::now();
    drop(server);
    assert!(started.elapsed() < Duration::from_secs(2));
    assert!(waiting.join().unwrap());
    assert!(client.describe_clusters().is_err());
}

#[test]
fn role_of_another_account_has_that_account() {
    let api = start_api(RequestQuota::unlimited());
    // As the SDKs ask: the answer is an XML of STS.
    let form = "Action=AssumeRole&Version=2011-06-15&RoleSessionName=s\
                &RoleArn=arn:aws:iam::210987654321:role/topology";
    let authorization = "AWS4-HMAC-SHA256 Credential=testbed/20260101/eu-west-1/sts/aws4_request, SignedHeaders=host, Signature=0";
    let mut reply = ureq::post(api.server.endpoint())
        .config()
        .proxy(None)
        .build()
        .header("Authorization", authorization)
        .send(form)
        .unwrap();
    let reply = XmlElement::parse(&reply.body_mut().read_to_string().unwrap()).unwrap();
    assert_eq!(
        reply.find("AccessKeyId").unwrap().value,
        "ASIALAB210987654321"
    );
    assert_eq!(
        reply.find("Arn").unwrap().value,
        "arn:aws:sts::210987654321:assumed-role/topology/s"
    );
}
