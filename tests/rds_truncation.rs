//! Answers that end early: cut at each byte, they are an error, and never another topology.
//!
//! The answers were recorded from moto 5.2.5, with a resource id of its own for each instance, as AWS has it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use aws_credential_types::Credentials;
use aws_sdk_rds::config::retry::RetryConfig;
use aws_sdk_rds::config::{BehaviorVersion, Region};
use aws_smithy_http_client::test_util::{ReplayEvent, StaticReplayClient};
use aws_smithy_types::body::SdkBody;
use dbbalance::aurora::rds::RdsSource;
use dbbalance::aurora::{ClusterSource, ErrorClass, ReadingError, SourceError};
use dbbalance::rate_limit::Bucket;
use dbbalance_core::topology::ClusterId;
use dbbalance_core::tracker::ClusterReading;

const CLUSTERS: &str = include_str!("fixtures/describe-db-clusters.xml");
const INSTANCES: &str = include_str!("fixtures/describe-db-instances.xml");

/// Answers each request with the next of these bodies.
fn source(bodies: &[&str]) -> (RdsSource, StaticReplayClient) {
    let event = |body: &&str| {
        ReplayEvent::new(
            http::Request::builder()
                .uri("https://rds")
                .body(SdkBody::empty())
                .unwrap(),
            http::Response::builder()
                .status(200)
                .body(SdkBody::from(*body))
                .unwrap(),
        )
    };
    let replay = StaticReplayClient::new(bodies.iter().map(event).collect());
    let config = aws_sdk_rds::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("eu-west-1"))
        .credentials_provider(Credentials::new(
            "AKIDLAB", "testbed", None, None, "testbed",
        ))
        .retry_config(RetryConfig::disabled())
        .http_client(replay.clone());
    let source = RdsSource::new(config, Arc::new(Bucket::new(Duration::ZERO, 1)));
    (source, replay)
}

async fn read(bodies: &[&str]) -> Result<Result<ClusterReading, ReadingError>, SourceError> {
    let orders = ClusterId("orders".to_owned());
    let mut answers = source(bodies)
        .0
        .read(&BTreeSet::from([orders.clone()]))
        .await?;
    Ok(answers.remove(&orders).expect("an entry for each asked id"))
}

/// Reads with the last of the bodies cut at each byte. None may pass: each lacks its end.
async fn cut(before: &[&str], body: &str) {
    let orders = BTreeSet::from([ClusterId("orders".to_owned())]);
    // A source for many cuts: to make one takes longer than to read. Not for all, as it keeps all answers.
    let ends: Vec<usize> = (0..body.len()).collect();
    for ends in ends.chunks(1000) {
        let bodies: Vec<&str> = ends
            .iter()
            .flat_map(|end| before.iter().copied().chain([&body[..*end]]))
            .collect();
        let (source, replay) = source(&bodies);
        for end in ends {
            // Above all, it is never a statement about the cluster, such as that it does not exist.
            let error = source
                .read(&orders)
                .await
                .expect_err(&format!("cut at byte {end}"));
            assert_eq!(
                error.class(),
                ErrorClass::NotWhole,
                "cut at byte {end}: {error}"
            );
        }
        assert_eq!(
            replay.actual_requests().count(),
            bodies.len(),
            "each cut was read once"
        );
    }
}

#[tokio::test]
async fn recorded_answers_are_a_whole_topology() {
    let reading = read(&[CLUSTERS, INSTANCES]).await.unwrap().unwrap();
    assert_eq!(reading.writer.as_ref().unwrap().instance.0, "orders-1");
    assert_eq!(reading.members.len(), 3);
    let resources: BTreeSet<_> = reading.members.keys().map(|id| &id.resource).collect();
    assert_eq!(resources.len(), 3);
}

#[tokio::test]
async fn cut_list_of_clusters_is_never_another_topology() {
    cut(&[], CLUSTERS).await;
}

#[tokio::test]
async fn cut_list_of_instances_is_never_another_topology() {
    cut(&[CLUSTERS], INSTANCES).await;
}

#[tokio::test]
async fn pages_are_followed_to_the_end_and_asked_with_their_marker() {
    // The list of three instances as three pages.
    let (head, rest) = INSTANCES.split_once("<DBInstance>").unwrap();
    let (rows, tail) = rest.rsplit_once("</DBInstance>").unwrap();
    let rows: Vec<&str> = rows.split("</DBInstance><DBInstance>").collect();
    let page = |row: &str, marker: &str| {
        let (list_end, end) = tail.split_once("</DBInstances>").unwrap();
        let marker = if marker.is_empty() {
            String::new()
        } else {
            format!("<Marker>{marker}</Marker>")
        };
        format!("{head}<DBInstance>{row}</DBInstance>{list_end}</DBInstances>{marker}{end}")
    };
    let pages = [
        page(rows[0], "two"),
        page(rows[1], "three"),
        page(rows[2], ""),
    ];
    let (source, replay) = source(&[CLUSTERS, &pages[0], &pages[1], &pages[2]]);
    let orders = ClusterId("orders".to_owned());
    let answers = source
        .read(&BTreeSet::from([orders.clone()]))
        .await
        .unwrap();
    assert_eq!(answers[&orders].as_ref().unwrap().members.len(), 3);
    let asked: Vec<String> = replay
        .actual_requests()
        .map(|r| String::from_utf8(r.body().bytes().unwrap().to_vec()).unwrap())
        .collect();
    assert_eq!(asked.len(), 4);
    assert!(
        asked[0].contains("Filters.Filter.1.Name=db-cluster-id"),
        "{}",
        asked[0]
    );
    assert!(
        asked[0].contains("Filters.Filter.1.Values.Value.1=orders"),
        "{}",
        asked[0]
    );
    assert!(!asked[1].contains("Marker="), "{}", asked[1]);
    assert!(asked[2].contains("Marker=two") && asked[3].contains("Marker=three"));

    // A page that repeats would be read for ever.
    let again = page(rows[0], "two");
    let endless = read(&[CLUSTERS, &again, &again])
        .await
        .expect_err("endless pages");
    assert_eq!(endless.class(), ErrorClass::NotWhole, "{endless}");
}
