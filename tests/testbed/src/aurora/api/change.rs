//! Actions that change something: checks the parameters, and calls the control plane.

use super::fault;
use super::request::{ApiRequest, parse_identifier};
use crate::aurora::inventory::{
    ApiError, ClusterRecord, ControlPlane, InstanceRecord, NewCluster, NewInstance,
};

/// AWS's default promotion tier (RDS API reference, `CreateDBInstance`).
const TIER: u8 = 1;
/// The last tier.
const LAST_TIER: u8 = 15;
/// Longest identifier (RDS API reference, `CreateDBCluster`).
const LONGEST: usize = 63;

/// A name for something new: letters, digits and hyphens, a letter first, no two hyphens together, none at the end.
fn required_name(request: &ApiRequest, parameter: &str) -> Result<String, ApiError> {
    let name = request.require(parameter)?.to_ascii_lowercase();
    let good = name.len() <= LONGEST
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && name
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
        && !name.contains("--")
        && !name.ends_with('-');
    if good {
        Ok(name)
    } else {
        Err(fault::bad_value(format!(
            "The parameter {parameter} is not a valid identifier. Identifiers must begin with a letter; must \
             contain only ASCII letters, digits, and hyphens; and must not end with a hyphen or contain two \
             consecutive hyphens."
        )))
    }
}

fn required_engine(request: &ApiRequest) -> Result<String, ApiError> {
    let engine = request.require("Engine")?;
    if matches!(
        engine,
        "aurora-postgresql" | "aurora-mysql" | "postgres" | "mysql" | "docdb" | "neptune"
    ) {
        Ok(engine.to_owned())
    } else {
        Err(fault::bad_value(format!("Invalid DB engine: {engine}")))
    }
}

/// An identifier or ARN of something that is there.
fn required_identifier(
    request: &ApiRequest,
    parameter: &str,
    kind: &str,
) -> Result<String, ApiError> {
    let value = request.require(parameter)?;
    Ok(parse_identifier(value, kind).unwrap_or_else(|| value.to_owned()))
}

/// `CreateDBCluster`.
pub(super) fn create_cluster(
    request: &ApiRequest,
    plane: &dyn ControlPlane,
) -> Result<ClusterRecord, ApiError> {
    plane.create_cluster(&NewCluster {
        identifier: required_name(request, "DBClusterIdentifier")?,
        engine: required_engine(request)?,
    })
}

/// `CreateDBInstance`.
pub(super) fn create_instance(
    request: &ApiRequest,
    plane: &dyn ControlPlane,
) -> Result<InstanceRecord, ApiError> {
    let tier = match request.get("PromotionTier") {
        None => TIER,
        Some(text) => text
            .parse()
            .ok()
            .filter(|tier| *tier <= LAST_TIER)
            .ok_or_else(|| fault::bad_value(format!("Invalid promotion tier {text}")))?,
    };
    plane.create_instance(&NewInstance {
        identifier: required_name(request, "DBInstanceIdentifier")?,
        cluster: request.identifier("DBClusterIdentifier", "cluster"),
        class: request.require("DBInstanceClass")?.to_owned(),
        engine: required_engine(request)?,
        tier,
    })
}

/// `DeleteDBInstance`.
pub(super) fn delete_instance(
    request: &ApiRequest,
    plane: &dyn ControlPlane,
) -> Result<InstanceRecord, ApiError> {
    plane.delete_instance(&required_identifier(request, "DBInstanceIdentifier", "db")?)
}

/// `DeleteDBCluster`.
pub(super) fn delete_cluster(
    request: &ApiRequest,
    plane: &dyn ControlPlane,
) -> Result<ClusterRecord, ApiError> {
    plane.delete_cluster(&required_identifier(
        request,
        "DBClusterIdentifier",
        "cluster",
    )?)
}

/// `FailoverDBCluster`.
pub(super) fn failover_cluster(
    request: &ApiRequest,
    plane: &dyn ControlPlane,
) -> Result<ClusterRecord, ApiError> {
    let cluster = required_identifier(request, "DBClusterIdentifier", "cluster")?;
    let target = request.identifier("TargetDBInstanceIdentifier", "db");
    plane.failover(&cluster, target.as_deref())
}

/// `RebootDBInstance`.
pub(super) fn reboot_instance(
    request: &ApiRequest,
    plane: &dyn ControlPlane,
) -> Result<InstanceRecord, ApiError> {
    plane.reboot(&required_identifier(request, "DBInstanceIdentifier", "db")?)
}
