//! Batches that AWS refuses for one of their ids: the others are read all the same, and at a bounded price.
//!
//! The RDS API is documented to leave unknown ids out of a filtered answer; this is for the day when it does not.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_credential_types::Credentials;
use aws_sdk_rds::config::{BehaviorVersion, Region};
use aws_smithy_http_client::test_util::infallible_client_fn;
use aws_smithy_types::body::SdkBody;
use dbbalance::aurora::rds::RdsSource;
use dbbalance::aurora::{ClusterSource, ReadingError, SourceError};
use dbbalance::rate_limit::Bucket;
use dbbalance_core::topology::ClusterId;
use dbbalance_core::tracker::ClusterReading;

/// A server that refuses a whole request when it names one of these ids.
#[derive(Clone, Default)]
struct Server(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    /// The bad ids, and the code they are refused with.
    bad: BTreeMap<String, &'static str>,
    calls: usize,
}

impl Server {
    fn with(bad: &[(&str, &'static str)]) -> Self {
        let server = Self::default();
        server.set(bad);
        server
    }

    fn set(&self, bad: &[(&str, &'static str)]) {
        self.0.lock().unwrap().bad = bad
            .iter()
            .map(|(id, code)| ((*id).to_owned(), *code))
            .collect();
    }

    /// The calls since this was last asked.
    fn calls(&self) -> usize {
        std::mem::take(&mut self.0.lock().unwrap().calls)
    }

    fn answer(&self, form: &str) -> (u16, String) {
        let mut state = self.0.lock().unwrap();
        state.calls += 1;
        let asked: Vec<&str> = form
            .split('&')
            .filter(|pair| pair.contains("Values"))
            .filter_map(|pair| pair.split_once('=').map(|(_, id)| id))
            .collect();
        assert!(asked.len() <= 100, "AWS takes a hundred ids in a filter");
        if let Some(code) = asked.iter().find_map(|id| state.bad.get(*id)) {
            let status = if code.contains("NotFound") { 404 } else { 400 };
            let error = format!(
                "<Error><Type>Sender</Type><Code>{code}</Code><Message>no</Message></Error>"
            );
            return (status, format!("<ErrorResponse>{error}</ErrorResponse>"));
        }
        let (action, list, row): (_, _, fn(&str) -> String) = if form.contains("DescribeDBClusters")
        {
            ("DescribeDBClusters", "DBClusters", cluster)
        } else {
            ("DescribeDBInstances", "DBInstances", instance)
        };
        let rows: String = asked.iter().map(|id| row(id)).collect();
        let result = format!("<{action}Result><{list}>{rows}</{list}></{action}Result>");
        (
            200,
            format!("<{action}Response>{result}</{action}Response>"),
        )
    }

    fn source(&self) -> RdsSource {
        let server = self.clone();
        let client = infallible_client_fn(move |request| {
            let form = String::from_utf8(request.body().bytes().unwrap().to_vec()).unwrap();
            let (status, body) = server.answer(&form);
            http::Response::builder()
                .status(status)
                .body(SdkBody::from(body))
                .unwrap()
        });
        let config = aws_sdk_rds::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new("eu-west-1"))
            .credentials_provider(Credentials::new(
                "AKIDLAB", "testbed", None, None, "testbed",
            ))
            .http_client(client);
        RdsSource::new(config, Arc::new(Bucket::new(Duration::ZERO, 1)))
    }
}

fn cluster(id: &str) -> String {
    format!(
        "<DBCluster><DBClusterIdentifier>{id}</DBClusterIdentifier><DBClusterArn>arn:{id}</DBClusterArn>\
         <DbClusterResourceId>c-{id}</DbClusterResourceId><Status>available</Status>\
         <Engine>aurora-mysql</Engine><DBClusterMembers><DBClusterMember><IsClusterWriter>true</IsClusterWriter>\
         <DBInstanceIdentifier>{id}-1</DBInstanceIdentifier></DBClusterMember></DBClusterMembers></DBCluster>"
    )
}

fn instance(id: &str) -> String {
    format!(
        "<DBInstance><DBInstanceIdentifier>{id}-1</DBInstanceIdentifier><DbiResourceId>db-{id}</DbiResourceId>\
         <DBClusterIdentifier>{id}</DBClusterIdentifier><DBInstanceStatus>available</DBInstanceStatus></DBInstance>"
    )
}

fn ids(count: usize) -> BTreeSet<ClusterId> {
    (0..count).map(|i| ClusterId(format!("c{i}"))).collect()
}

type Answers = BTreeMap<ClusterId, Result<ClusterReading, ReadingError>>;

fn reasons(answers: &Answers) -> BTreeMap<&str, &'static str> {
    let failed = answers
        .iter()
        .filter_map(|(id, answer)| Some((id.0.as_str(), answer.as_ref().err()?)));
    failed.map(|(id, error)| (id, error.reason())).collect()
}

#[tokio::test]
async fn hundreds_of_clusters_are_two_calls_a_hundred() {
    let server = Server::default();
    let source = server.source();
    for (count, calls) in [(1, 2), (30, 2), (100, 2), (101, 4), (250, 6)] {
        let answers = source.read(&ids(count)).await.unwrap();
        assert_eq!((answers.len(), reasons(&answers).len()), (count, 0));
        assert_eq!(server.calls(), calls, "{count} clusters");
        let counted = usize::try_from(source.count_last_calls()).unwrap();
        assert_eq!(counted, calls, "the source tells its cadence: {count}");
    }
}

#[tokio::test]
async fn refused_id_is_found_once_and_then_asked_for_alone() {
    for (code, reason) in [
        ("DBClusterNotFoundFault", "ClusterNotFound"),
        ("InvalidParameterValue", "RequestRejected"),
    ] {
        let server = Server::with(&[("c42", code)]);
        let source = server.source();
        let answers = source.read(&ids(100)).await.unwrap();
        assert_eq!(reasons(&answers), BTreeMap::from([("c42", reason)]));
        assert!(server.calls() <= 17, "found by halves");
        for _ in 0..3 {
            let answers = source.read(&ids(100)).await.unwrap();
            assert_eq!(reasons(&answers), BTreeMap::from([("c42", reason)]));
            assert_eq!(server.calls(), 3, "one more than without it");
        }
    }
}

#[tokio::test]
async fn refused_id_is_not_forgotten_by_a_poll_of_new_clusters_alone() {
    let server = Server::with(&[("c42", "DBClusterNotFoundFault")]);
    let source = server.source();
    source.read(&ids(100)).await.unwrap();
    source.read(&ids(1)).await.unwrap();
    server.calls();
    let answers = source.read(&ids(100)).await.unwrap();
    assert_eq!(reasons(&answers).len(), 1);
    assert_eq!(server.calls(), 3, "it is not looked for by halves again");
}

#[tokio::test]
async fn refused_ids_take_turns_and_come_back() {
    let not_found = "DBClusterNotFoundFault";
    let server = Server::with(&[("c1", not_found), ("c2", not_found), ("c3", not_found)]);
    let source = server.source();
    let mut found = source.read(&ids(4)).await;
    for _ in 0..3 {
        found = source.read(&ids(4)).await;
    }
    assert_eq!(reasons(&found.unwrap()).len(), 3);
    server.set(&[("c2", not_found)]);
    server.calls();
    for _ in 0..3 {
        source.read(&ids(4)).await.unwrap();
        assert!(server.calls() <= 3);
    }
    let answers = source.read(&ids(4)).await.unwrap();
    assert_eq!(
        reasons(&answers),
        BTreeMap::from([("c2", "ClusterNotFound")])
    );
}

#[tokio::test]
async fn server_that_refuses_everything_costs_a_bounded_number_of_calls() {
    let names: Vec<String> = ids(300).into_iter().map(|id| id.0).collect();
    let all: Vec<(&str, &'static str)> = names
        .iter()
        .map(|id| (id.as_str(), "InvalidParameterValue"))
        .collect();
    let server = Server::with(&all);
    let failed = server
        .source()
        .read(&ids(300))
        .await
        .expect_err("nothing could be read");
    assert!(matches!(failed, SourceError::Rejected { .. }), "{failed}");
    assert!(server.calls() <= 20);
}
