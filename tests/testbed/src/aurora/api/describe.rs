//! Which rows an answer holds: identifier, filters and paging over an estate. Pure.
//!
//! As AWS does: a filter's values are alternatives, several filters must all hold, unknown ids in a filter are
//! left out, an unknown identifier is an error, cases are not told apart, and clusters of Neptune and `DocumentDB`
//! are among the others (RDS API reference, `DescribeDBClusters` and `DescribeDBInstances`).

use super::fault;
use super::request::{Filter, Page, Request, identifier, marker};
use crate::aurora::estate::{Cluster, Estate, Fault, Instance};

/// Rows, and the marker if there are more.
#[derive(Debug)]
pub(super) struct Rows<'a, T> {
    pub(super) rows: Vec<&'a T>,
    pub(super) marker: Option<String>,
}

/// `DescribeDBClusters`.
pub(super) fn clusters<'a>(
    request: &Request,
    estate: &'a Estate,
) -> Result<Rows<'a, Cluster>, Fault> {
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
        && !estate.clusters.contains_key(only)
    {
        return Err(fault::no_cluster(only));
    }
    let rows = estate.clusters.iter().filter(|(id, cluster)| {
        only.as_ref().is_none_or(|only| only == *id)
            && filters
                .iter()
                .all(|filter| holds_for_cluster(filter, cluster))
    });
    Ok(cut(rows, &page))
}

/// `DescribeDBInstances`.
pub(super) fn instances<'a>(
    request: &Request,
    estate: &'a Estate,
) -> Result<Rows<'a, Instance>, Fault> {
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
        && !estate.instances.contains_key(only)
    {
        return Err(fault::no_instance(only));
    }
    let rows = estate.instances.iter().filter(|(id, instance)| {
        only.as_ref().is_none_or(|only| only == *id)
            && filters
                .iter()
                .all(|filter| holds_for_instance(filter, instance))
    });
    Ok(cut(rows, &page))
}

fn names(filter: &Filter, kind: &str, id: &str) -> bool {
    filter
        .values
        .iter()
        .any(|value| identifier(value, kind).as_deref() == Some(id))
}

fn says(filter: &Filter, word: &str) -> bool {
    filter
        .values
        .iter()
        .any(|value| value.eq_ignore_ascii_case(word))
}

fn holds_for_cluster(filter: &Filter, cluster: &Cluster) -> bool {
    match filter.name.as_str() {
        "db-cluster-id" => names(filter, "cluster", &cluster.identifier),
        "db-cluster-resource-id" => says(filter, &cluster.resource_id),
        "engine" => says(filter, &cluster.engine),
        // The testbed has neither clones nor Active Directory domains.
        _ => false,
    }
}

fn holds_for_instance(filter: &Filter, instance: &Instance) -> bool {
    match filter.name.as_str() {
        "db-cluster-id" => instance
            .cluster
            .as_ref()
            .is_some_and(|cluster| names(filter, "cluster", cluster)),
        "db-instance-id" => names(filter, "db", &instance.identifier),
        "dbi-resource-id" => says(filter, &instance.resource_id),
        "engine" => says(filter, &instance.engine),
        _ => false,
    }
}

fn cut<'a, T>(rows: impl Iterator<Item = (&'a String, &'a T)>, page: &Page) -> Rows<'a, T> {
    let mut rest = rows.filter(|(id, _)| page.after.as_ref().is_none_or(|after| *id > after));
    let told: Vec<(&String, &T)> = rest.by_ref().take(page.size).collect();
    let more = rest.next().is_some();
    Rows {
        marker: told.last().filter(|_| more).map(|(id, _)| marker(id)),
        rows: told.into_iter().map(|(_, row)| row).collect(),
    }
}
