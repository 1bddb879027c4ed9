//! Selects the rows of an answer: identifier, filters and paging over an inventory. Pure.
//!
//! As AWS does it: values of one filter are alternatives, several filters must all match, unknown ids in a filter are
//! ignored, an unknown identifier is an error, comparison ignores case, and clusters of Neptune and `DocumentDB` are
//! listed with the others (RDS API reference, `DescribeDBClusters` and `DescribeDBInstances`).

use super::fault;
use super::request::{ApiRequest, PageRequest, RequestFilter, encode_marker, parse_identifier};
use crate::aurora::inventory::{ApiError, ClusterRecord, InstanceRecord, Inventory};

/// Rows, and the marker if there are more.
#[derive(Debug)]
pub(super) struct ResultPage<'a, T> {
    pub(super) rows: Vec<&'a T>,
    pub(super) marker: Option<String>,
}

/// `DescribeDBClusters`.
pub(super) fn describe_clusters<'a>(
    request: &ApiRequest,
    inventory: &'a Inventory,
) -> Result<ResultPage<'a, ClusterRecord>, ApiError> {
    let filters = request.filters(&[
        "clone-group-id",
        "db-cluster-id",
        "db-cluster-resource-id",
        "domain",
        "engine",
    ])?;
    let page = request.page()?;
    let only = request.identifier("DBClusterIdentifier", "cluster");
    if let Some(only) = &only
        && !inventory.clusters.contains_key(only)
    {
        return Err(fault::no_cluster(only));
    }
    let rows = inventory.clusters.iter().filter(|(id, cluster)| {
        only.as_ref().is_none_or(|only| only == *id)
            && filters
                .iter()
                .all(|filter| holds_for_cluster(filter, cluster))
    });
    Ok(cut_page(rows, &page))
}

/// `DescribeDBInstances`.
pub(super) fn describe_instances<'a>(
    request: &ApiRequest,
    inventory: &'a Inventory,
) -> Result<ResultPage<'a, InstanceRecord>, ApiError> {
    let filters = request.filters(&[
        "db-cluster-id",
        "db-instance-id",
        "dbi-resource-id",
        "domain",
        "engine",
    ])?;
    let page = request.page()?;
    let only = request.identifier("DBInstanceIdentifier", "db");
    if let Some(only) = &only
        && !inventory.instances.contains_key(only)
    {
        return Err(fault::no_instance(only));
    }
    let rows = inventory.instances.iter().filter(|(id, instance)| {
        only.as_ref().is_none_or(|only| only == *id)
            && filters
                .iter()
                .all(|filter| holds_for_instance(filter, instance))
    });
    Ok(cut_page(rows, &page))
}

fn filter_matches_id(filter: &RequestFilter, kind: &str, id: &str) -> bool {
    filter
        .values
        .iter()
        .any(|value| parse_identifier(value, kind).as_deref() == Some(id))
}

fn filter_has_value(filter: &RequestFilter, word: &str) -> bool {
    filter
        .values
        .iter()
        .any(|value| value.eq_ignore_ascii_case(word))
}

fn holds_for_cluster(filter: &RequestFilter, cluster: &ClusterRecord) -> bool {
    match filter.name.as_str() {
        "db-cluster-id" => filter_matches_id(filter, "cluster", &cluster.identifier),
        "db-cluster-resource-id" => filter_has_value(filter, &cluster.resource_id),
        "engine" => filter_has_value(filter, &cluster.engine),
        // The testbed has neither clones nor Active Directory domains.
        _ => false,
    }
}

fn holds_for_instance(filter: &RequestFilter, instance: &InstanceRecord) -> bool {
    match filter.name.as_str() {
        "db-cluster-id" => instance
            .cluster
            .as_ref()
            .is_some_and(|cluster| filter_matches_id(filter, "cluster", cluster)),
        "db-instance-id" => filter_matches_id(filter, "db", &instance.identifier),
        "dbi-resource-id" => filter_has_value(filter, &instance.resource_id),
        "engine" => filter_has_value(filter, &instance.engine),
        _ => false,
    }
}

fn cut_page<'a, T>(
    rows: impl Iterator<Item = (&'a String, &'a T)>,
    page: &PageRequest,
) -> ResultPage<'a, T> {
    let mut rest = rows.filter(|(id, _)| page.after.as_ref().is_none_or(|after| *id > after));
    let told: Vec<(&String, &T)> = rest.by_ref().take(page.size).collect();
    let more = rest.next().is_some();
    ResultPage {
        marker: told
            .last()
            .filter(|_| more)
            .map(|(id, _)| encode_marker(id)),
        rows: told.into_iter().map(|(_, row)| row).collect(),
    }
}
