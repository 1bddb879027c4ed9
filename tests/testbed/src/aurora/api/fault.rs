//! Errors that the API itself detects, with AWS's codes, statuses and messages.
//!
//! Codes and statuses: the RDS API reference, "Errors" of each action and "Common Errors". Errors that depend on the
//! state of a cluster come from the control plane.

use crate::aurora::inventory::ApiError;

fn api_error(status: u16, code: &'static str, message: String) -> ApiError {
    ApiError {
        status,
        code,
        message,
    }
}

/// The account's quota is used up.
pub(super) fn throttling_error() -> ApiError {
    api_error(400, "Throttling", "Rate exceeded".into())
}

/// No such cluster.
#[must_use]
pub fn no_cluster(identifier: &str) -> ApiError {
    api_error(
        404,
        "DBClusterNotFoundFault",
        format!("DBCluster {identifier} not found."),
    )
}

/// No such instance.
#[must_use]
pub fn no_instance(identifier: &str) -> ApiError {
    api_error(
        404,
        "DBInstanceNotFound",
        format!("DBInstance {identifier} not found."),
    )
}

/// The cluster's state does not allow it.
#[must_use]
pub fn cluster_state(message: impl Into<String>) -> ApiError {
    api_error(400, "InvalidDBClusterStateFault", message.into())
}

/// The instance's state does not allow it.
#[must_use]
pub fn instance_state(message: impl Into<String>) -> ApiError {
    api_error(400, "InvalidDBInstanceState", message.into())
}

/// The name is taken.
#[must_use]
pub fn cluster_exists() -> ApiError {
    api_error(
        400,
        "DBClusterAlreadyExistsFault",
        "DB Cluster already exists".into(),
    )
}

/// The name is taken.
#[must_use]
pub fn instance_exists() -> ApiError {
    api_error(
        400,
        "DBInstanceAlreadyExists",
        "DB instance already exists".into(),
    )
}

/// A parameter's value is none that it may have.
#[must_use]
pub fn bad_value(message: impl Into<String>) -> ApiError {
    api_error(400, "InvalidParameterValue", message.into())
}

/// Parameters that do not go together.
#[must_use]
pub fn bad_combination(message: impl Into<String>) -> ApiError {
    api_error(400, "InvalidParameterCombination", message.into())
}

pub(super) fn missing_parameter(name: &str) -> ApiError {
    api_error(
        400,
        "MissingParameter",
        format!("The request must contain the parameter {name}"),
    )
}

pub(super) fn missing_action() -> ApiError {
    api_error(
        400,
        "MissingAction",
        "The request must contain the parameter Action".into(),
    )
}

pub(super) fn unknown_action(action: &str, version: &str) -> ApiError {
    api_error(
        400,
        "InvalidAction",
        format!("Could not find operation {action} for version {version}"),
    )
}

pub(super) fn missing_signature() -> ApiError {
    api_error(
        403,
        "MissingAuthenticationToken",
        "Request is missing Authentication Token".into(),
    )
}

pub(super) fn foreign_account() -> ApiError {
    api_error(
        403,
        "AccessDenied",
        "the testbed's API holds databases of one account and region only".into(),
    )
}

pub(super) fn internal_failure(message: impl Into<String>) -> ApiError {
    api_error(500, "InternalFailure", message.into())
}
