//! Answers a request with XML: one match arm per action.

use super::document::XmlDocument;
use super::request::ApiRequest;
use super::{FOREIGN_KEY, change, describe, fault, rows};
use crate::aurora::inventory::{ApiError, ClusterRecord, ControlPlane, InstanceRecord, Inventory};

/// The API's version: the only one (RDS API reference).
const VERSION: &str = "2014-10-31";
/// Its name space.
const SPACE: &str = "http://rds.amazonaws.com/doc/2014-10-31/";
/// STS's.
const STS_SPACE: &str = "https://sts.amazonaws.com/doc/2011-06-15/";
/// STS's version.
const STS_VERSION: &str = "2011-06-15";
/// How long an assumed role lasts: STS's default.
const SESSION: jiff::SignedDuration = jiff::SignedDuration::from_hours(1);

/// Answers a request. The inventory is asked for once: an answer is of one moment, right or wrong.
pub(super) fn answer_request(
    request: &ApiRequest,
    plane: &dyn ControlPlane,
    id: &str,
) -> Result<String, ApiError> {
    let unknown = || fault::unknown_action(&request.action, &request.version);
    if request.version == STS_VERSION {
        return match request.action.as_str() {
            "AssumeRole" => assume_role(request, id),
            _ => Err(unknown()),
        };
    }
    if request.version != VERSION {
        return Err(unknown());
    }
    let inventory = || {
        // Another account or region is another inventory, an empty one.
        if request.is_home_region() {
            plane.inventory()
        } else {
            Inventory::default()
        }
    };
    match request.action.as_str() {
        "DescribeDBClusters" => {
            let inventory = inventory();
            let found = describe::describe_clusters(request, &inventory)?;
            Ok(render_result(&request.action, id, |document| {
                if let Some(marker) = &found.marker {
                    document.text("Marker", marker);
                }
                document.element("DBClusters", |document| {
                    for row in &found.rows {
                        document
                            .element("DBCluster", |document| rows::write_cluster(document, row));
                    }
                });
            }))
        }
        "DescribeDBInstances" => {
            let inventory = inventory();
            let found = describe::describe_instances(request, &inventory)?;
            Ok(render_result(&request.action, id, |document| {
                if let Some(marker) = &found.marker {
                    document.text("Marker", marker);
                }
                document.element("DBInstances", |document| {
                    for row in &found.rows {
                        document.element("DBInstance", |document| {
                            rows::write_instance(document, row, &inventory);
                        });
                    }
                });
            }))
        }
        _ => {
            let change = ChangeAction::of(&request.action).ok_or_else(unknown)?;
            if !request.is_home_region() {
                return Err(fault::foreign_account());
            }
            match change {
                ChangeAction::Cluster(call) => {
                    let cluster = call(request, plane)?;
                    Ok(render_result(&request.action, id, |document| {
                        document.element("DBCluster", |document| {
                            rows::write_cluster(document, &cluster);
                        });
                    }))
                }
                ChangeAction::Instance(call) => {
                    let instance = call(request, plane)?;
                    let inventory = plane.inventory();
                    Ok(render_result(&request.action, id, |document| {
                        document.element("DBInstance", |document| {
                            rows::write_instance(document, &instance, &inventory);
                        });
                    }))
                }
            }
        }
    }
}

/// A call that changes something, by what it answers with.
enum ChangeAction {
    Cluster(fn(&ApiRequest, &dyn ControlPlane) -> Result<ClusterRecord, ApiError>),
    Instance(fn(&ApiRequest, &dyn ControlPlane) -> Result<InstanceRecord, ApiError>),
}

impl ChangeAction {
    fn of(action: &str) -> Option<Self> {
        Some(match action {
            "CreateDBCluster" => Self::Cluster(change::create_cluster),
            "DeleteDBCluster" => Self::Cluster(change::delete_cluster),
            "FailoverDBCluster" => Self::Cluster(change::failover_cluster),
            "CreateDBInstance" => Self::Instance(change::create_instance),
            "DeleteDBInstance" => Self::Instance(change::delete_instance),
            "RebootDBInstance" => Self::Instance(change::reboot_instance),
            _ => return None,
        })
    }
}

fn render_result(action: &str, id: &str, content: impl FnOnce(&mut XmlDocument)) -> String {
    XmlDocument::root(&format!("{action}Response"), SPACE, |document| {
        document.element(&format!("{action}Result"), content);
        document.element("ResponseMetadata", |document| {
            document.text("RequestId", id);
        });
    })
}

/// An error as AWS writes it.
pub(super) fn render_error(fault: &ApiError, id: &str) -> String {
    let side = if fault.status < 500 {
        "Sender"
    } else {
        "Receiver"
    };
    XmlDocument::root("ErrorResponse", SPACE, |document| {
        document.element("Error", |document| {
            document.text("Type", side);
            document.text("Code", fault.code);
            document.text("Message", &fault.message);
        });
        document.text("RequestId", id);
    })
}

/// STS's `AssumeRole`, for clients that come with a role: whose account it is shows in the key, as no signature is
/// checked. No trust policy refuses anybody.
fn assume_role(request: &ApiRequest, id: &str) -> Result<String, ApiError> {
    let role = request.require("RoleArn")?;
    let session = request.require("RoleSessionName")?;
    let account = role
        .split(':')
        .nth(4)
        .filter(|account| account.len() == 12 && account.bytes().all(|b| b.is_ascii_digit()))
        .ok_or_else(|| fault::bad_value(format!("{role} is not the ARN of a role")))?;
    let name = role.rsplit('/').next().unwrap_or_default();
    let expires = jiff::Timestamp::now() + SESSION;
    Ok(XmlDocument::root(
        "AssumeRoleResponse",
        STS_SPACE,
        |document| {
            document.element("AssumeRoleResult", |document| {
                document.element("AssumedRoleUser", |document| {
                    document.text("AssumedRoleId", format!("AROALAB{account}:{session}"));
                    document.text(
                        "Arn",
                        format!("arn:aws:sts::{account}:assumed-role/{name}/{session}"),
                    );
                });
                document.element("Credentials", |document| {
                    document.text("AccessKeyId", format!("{FOREIGN_KEY}{account}"));
                    document.text("SecretAccessKey", "testbed");
                    document.text("SessionToken", "testbed");
                    document.text("Expiration", format!("{expires:.0}"));
                });
            });
            document.element("ResponseMetadata", |document| {
                document.text("RequestId", id);
            });
        },
    ))
}
