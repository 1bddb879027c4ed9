//! The calls that change something: parameters checked, and handed to the control plane.

use super::fault;
use super::request::{Request, identifier};
use crate::aurora::estate::{Cluster, ControlPlane, Fault, Instance, NewCluster, NewInstance};

/// AWS's default promotion tier (RDS API reference, `CreateDBInstance`).
const TIER: u8 = 1;
/// The last tier.
const LAST_TIER: u8 = 15;
/// Longest identifier (RDS API reference, `CreateDBCluster`).
const LONGEST: usize = 63;

/// A name for something new: letters, digits and hyphens, a letter first, no two hyphens together, none at the end.
fn name(request: &Request, parameter: &str) -> Result<String, Fault> {
    let name = request.need(parameter)?.to_ascii_lowercase();
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

fn engine(request: &Request) -> Result<String, Fault> {
    let engine = request.need("Engine")?;
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
fn known(request: &Request, parameter: &str, kind: &str) -> Result<String, Fault> {
    let value = request.need(parameter)?;
    Ok(identifier(value, kind).unwrap_or_else(|| value.to_owned()))
}

/// `CreateDBCluster`.
pub(super) fn create_cluster(
    request: &Request,
    plane: &dyn ControlPlane,
) -> Result<Cluster, Fault> {
    plane.create_cluster(&NewCluster {
        identifier: name(request, "DBClusterIdentifier")?,
        engine: engine(request)?,
    })
}

/// `CreateDBInstance`.
pub(super) fn create_instance(
    request: &Request,
    plane: &dyn ControlPlane,
) -> Result<Instance, Fault> {
    let tier = match request.get("PromotionTier") {
        None => TIER,
        Some(text) => text
            .parse()
            .ok()
            .filter(|tier| *tier <= LAST_TIER)
            .ok_or_else(|| fault::bad_value(format!("Invalid promotion tier {text}")))?,
    };
    plane.create_instance(&NewInstance {
        identifier: name(request, "DBInstanceIdentifier")?,
        cluster: request.identifier("DBClusterIdentifier", "cluster"),
        class: request.need("DBInstanceClass")?.to_owned(),
        engine: engine(request)?,
        tier,
    })
}

/// `DeleteDBInstance`.
pub(super) fn delete_instance(
    request: &Request,
    plane: &dyn ControlPlane,
) -> Result<Instance, Fault> {
    plane.delete_instance(&known(request, "DBInstanceIdentifier", "db")?)
}

/// `DeleteDBCluster`.
pub(super) fn delete_cluster(
    request: &Request,
    plane: &dyn ControlPlane,
) -> Result<Cluster, Fault> {
    plane.delete_cluster(&known(request, "DBClusterIdentifier", "cluster")?)
}

/// `FailoverDBCluster`.
pub(super) fn failover(request: &Request, plane: &dyn ControlPlane) -> Result<Cluster, Fault> {
    let cluster = known(request, "DBClusterIdentifier", "cluster")?;
    let target = request.identifier("TargetDBInstanceIdentifier", "db");
    plane.failover(&cluster, target.as_deref())
}

/// `RebootDBInstance`.
pub(super) fn reboot(request: &Request, plane: &dyn ControlPlane) -> Result<Instance, Fault> {
    plane.reboot(&known(request, "DBInstanceIdentifier", "db")?)
}
