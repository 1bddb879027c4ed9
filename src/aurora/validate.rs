//! Checks that an answer of the RDS API is complete, and turns it into a reading.
//!
//! The SDK accepts truncated XML, and answers contain clusters of other engines, so every field that a decision needs is
//! checked here. `dbbalance_core::tracker` decides whether a reading is a change.

use std::collections::BTreeMap;

use aws_sdk_rds::types::{DbCluster, DbClusterMember, DbInstance};

use super::error::ReadingError;
use dbbalance_core::budget::SERVERLESS_CLASS;
use dbbalance_core::topology::{
    ClusterId, Endpoints, InstanceId, MemberId, ResourceId, ServerlessCapacity,
};
use dbbalance_core::tracker::{ClusterReading, MemberReading};

/// The engines that are Aurora. The same API returns Multi-AZ clusters (`mysql`, `postgres`), Neptune and `DocumentDB`,
/// which behave differently.
const ENGINES: [&str; 2] = ["aurora-mysql", "aurora-postgresql"];

/// The status in which a cluster may have no writer for a moment.
const FAILING_OVER: &str = "failing-over";

/// The status of a cluster that is being deleted.
const DELETING: &str = "deleting";

/// The states of a cluster that was stopped. Its instances pass through the same ones, which is no change of topology.
const STOPPED: [&str; 3] = ["stopping", "stopped", "starting"];

/// Returns the text of a required field, or an error that names it.
fn required_text<'a>(value: Option<&'a str>, what: &str) -> Result<&'a str, String> {
    match value.map(str::trim) {
        Some(text) if !text.is_empty() => Ok(text),
        _ => Err(format!("{what} is missing")),
    }
}

/// Compares identifiers as RDS does, without regard to case.
fn is_same_id(id: Option<&str>, asked: &ClusterId) -> bool {
    id.is_some_and(|id| id.eq_ignore_ascii_case(&asked.0))
}

/// Returns whether this row is the requested cluster, has an Aurora engine and is neither being deleted nor stopped.
#[must_use]
pub fn is_followable(cluster: &DbCluster, asked: &ClusterId) -> bool {
    is_same_id(cluster.db_cluster_identifier(), asked)
        && cluster
            .engine()
            .is_some_and(|engine| ENGINES.contains(&engine))
        && cluster
            .status()
            .is_none_or(|status| status != DELETING && !STOPPED.contains(&status))
}

/// Builds the reading of the requested cluster from the rows of both answers. Rows of other clusters are ignored.
///
/// # Errors
/// When the cluster does not exist or the answer is incomplete. An error never is a change of topology.
pub fn build_reading(
    asked: &ClusterId,
    clusters: &[DbCluster],
    instances: &[DbInstance],
) -> Result<ClusterReading, ReadingError> {
    let not_whole = |detail| ReadingError::NotWhole {
        id: asked.clone(),
        detail,
    };
    let mut rows = clusters
        .iter()
        .filter(|c| is_same_id(c.db_cluster_identifier(), asked));
    let Some(cluster) = rows.next() else {
        return Err(ReadingError::NotFound(asked.clone()));
    };
    if rows.next().is_some() {
        return Err(not_whole("the cluster is listed twice".to_owned()));
    }
    let engine = required_text(cluster.engine(), "Engine").map_err(not_whole)?;
    if !ENGINES.contains(&engine) {
        let engine = engine.to_owned();
        return Err(ReadingError::NotAurora {
            id: asked.clone(),
            engine,
        });
    }
    let status = required_text(cluster.status(), "Status").map_err(not_whole)?;
    if status == DELETING {
        return Err(ReadingError::Deleting(asked.clone()));
    }
    if STOPPED.contains(&status) {
        return Err(ReadingError::Stopped {
            id: asked.clone(),
            status: status.to_owned(),
        });
    }
    let arn = required_text(cluster.db_cluster_arn(), "DBClusterArn").map_err(not_whole)?;
    let resource = required_text(cluster.db_cluster_resource_id(), "DbClusterResourceId")
        .map_err(not_whole)?;
    let flags = writer_flags(cluster.db_cluster_members()).map_err(not_whole)?;
    let rows = instances
        .iter()
        .filter(|i| is_same_id(i.db_cluster_identifier(), asked));
    let mut listed = instances_by_name(rows).map_err(not_whole)?;
    let capacity = serverless_capacity(cluster);
    for (_, member) in listed.values_mut() {
        if member.class.as_deref() == Some(SERVERLESS_CLASS) {
            member.serverless = capacity;
        }
    }
    if !flags.keys().eq(listed.keys()) {
        return Err(not_whole(format!(
            "its members are {}, but its instances are {}",
            join_names(flags.keys()),
            join_names(listed.keys())
        )));
    }
    let writer = sole_writer(&flags, status).map_err(not_whole)?;
    let writer = writer
        .and_then(|name| listed.get(name))
        .map(|(id, _)| id.clone());
    Ok(ClusterReading {
        arn: arn.to_owned(),
        resource: ResourceId(resource.to_owned()),
        status: status.to_owned(),
        engine: engine.to_owned(),
        endpoints: Endpoints {
            writer: host_name(cluster.endpoint()),
            reader: host_name(cluster.reader_endpoint()),
            port: cluster.port().and_then(|p| u16::try_from(p).ok()),
        },
        writer,
        members: listed.into_values().collect(),
    })
}

/// Returns a host name in lower case; `None` if it is missing or empty.
fn host_name(name: Option<&str>) -> Option<String> {
    name.filter(|n| !n.is_empty()).map(str::to_ascii_lowercase)
}

/// Returns the capacity between which the cluster's Serverless v2 instances scale.
fn serverless_capacity(cluster: &DbCluster) -> Option<ServerlessCapacity> {
    let scaling = cluster.serverless_v2_scaling_configuration()?;
    // Without a minimum the smallest is assumed, which has the smaller limit.
    let min = scaling.min_capacity().unwrap_or(0.0);
    ServerlessCapacity::from_units(min, scaling.max_capacity()?)
}

/// Returns the writer flag of each member.
fn writer_flags(members: &[DbClusterMember]) -> Result<BTreeMap<InstanceId, bool>, String> {
    if members.is_empty() {
        return Err("it has no members".to_owned());
    }
    let mut flags = BTreeMap::new();
    for member in members {
        let name = required_text(
            member.db_instance_identifier(),
            "a member's DBInstanceIdentifier",
        )?;
        let Some(writer) = member.is_cluster_writer() else {
            return Err(format!("IsClusterWriter of {name} is missing"));
        };
        if flags
            .insert(InstanceId(name.to_ascii_lowercase()), writer)
            .is_some()
        {
            return Err(format!("member {name} is listed twice"));
        }
    }
    Ok(flags)
}

/// Returns the instances by name.
fn instances_by_name<'a>(
    rows: impl Iterator<Item = &'a DbInstance>,
) -> Result<BTreeMap<InstanceId, (MemberId, MemberReading)>, String> {
    let mut listed = BTreeMap::new();
    for row in rows {
        let name = required_text(
            row.db_instance_identifier(),
            "an instance's DBInstanceIdentifier",
        )?;
        let resource = required_text(row.dbi_resource_id(), &format!("DbiResourceId of {name}"))?;
        let status = required_text(
            row.db_instance_status(),
            &format!("DBInstanceStatus of {name}"),
        )?;
        let instance = InstanceId(name.to_ascii_lowercase());
        let id = MemberId {
            instance: instance.clone(),
            resource: ResourceId(resource.to_owned()),
        };
        let facts = MemberReading {
            status: status.to_owned(),
            class: row.db_instance_class().map(str::to_owned),
            endpoint: host_name(row.endpoint().and_then(|e| e.address())),
            serverless: None,
        };
        if listed.insert(instance, (id, facts)).is_some() {
            return Err(format!("instance {name} is listed twice"));
        }
    }
    Ok(listed)
}

/// Returns the one writer; `None` only while the cluster is failing over.
fn sole_writer<'a>(
    flags: &'a BTreeMap<InstanceId, bool>,
    status: &str,
) -> Result<Option<&'a InstanceId>, String> {
    let mut writers = flags
        .iter()
        .filter(|(_, writer)| **writer)
        .map(|(name, _)| name);
    match (writers.next(), writers.next()) {
        (Some(one), Some(other)) => Err(format!("{one} and {other} are both writers")),
        (None, _) if status != FAILING_OVER => Err(format!(
            "no member is the writer, in status {status} (a secondary of a global database cannot be followed)"
        )),
        (writer, _) => Ok(writer),
    }
}

fn join_names<'a>(ids: impl Iterator<Item = &'a InstanceId>) -> String {
    let names: Vec<&str> = ids.map(|id| id.0.as_str()).collect();
    if names.is_empty() {
        "none".to_owned()
    } else {
        names.join(", ")
    }
}

#[cfg(test)]
mod tests;
