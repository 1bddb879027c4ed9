//! From a request to the XML that answers it: one arm an action.

use super::document::Document;
use super::request::Request;
use super::{FOREIGN_KEY, change, describe, fault, rows};
use crate::aurora::estate::{Cluster, ControlPlane, Estate, Fault, Instance};

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

/// Answers a request. The estate is asked for once: an answer is of one moment, right or wrong.
pub(super) fn to(request: &Request, plane: &dyn ControlPlane, id: &str) -> Result<String, Fault> {
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
    let estate = || {
        // Another account or region is another estate, an empty one.
        if request.at_home() {
            plane.estate()
        } else {
            Estate::default()
        }
    };
    match request.action.as_str() {
        "DescribeDBClusters" => {
            let estate = estate();
            let found = describe::clusters(request, &estate)?;
            Ok(result(&request.action, id, |document| {
                if let Some(marker) = &found.marker {
                    document.text("Marker", marker);
                }
                document.element("DBClusters", |document| {
                    for row in &found.rows {
                        document.element("DBCluster", |document| rows::cluster(document, row));
                    }
                });
            }))
        }
        "DescribeDBInstances" => {
            let estate = estate();
            let found = describe::instances(request, &estate)?;
            Ok(result(&request.action, id, |document| {
                if let Some(marker) = &found.marker {
                    document.text("Marker", marker);
                }
                document.element("DBInstances", |document| {
                    for row in &found.rows {
                        document.element("DBInstance", |document| {
                            rows::instance(document, row, &estate);
                        });
                    }
                });
            }))
        }
        _ => {
            let change = Change::of(&request.action).ok_or_else(unknown)?;
            if !request.at_home() {
                return Err(fault::foreign());
            }
            match change {
                Change::Cluster(call) => {
                    let cluster = call(request, plane)?;
                    Ok(result(&request.action, id, |document| {
                        document.element("DBCluster", |document| {
                            rows::cluster(document, &cluster);
                        });
                    }))
                }
                Change::Instance(call) => {
                    let instance = call(request, plane)?;
                    let estate = plane.estate();
                    Ok(result(&request.action, id, |document| {
                        document.element("DBInstance", |document| {
                            rows::instance(document, &instance, &estate);
                        });
                    }))
                }
            }
        }
    }
}

/// A call that changes something, by what it answers with.
enum Change {
    Cluster(fn(&Request, &dyn ControlPlane) -> Result<Cluster, Fault>),
    Instance(fn(&Request, &dyn ControlPlane) -> Result<Instance, Fault>),
}

impl Change {
    fn of(action: &str) -> Option<Self> {
        Some(match action {
            "CreateDBCluster" => Self::Cluster(change::create_cluster),
            "DeleteDBCluster" => Self::Cluster(change::delete_cluster),
            "FailoverDBCluster" => Self::Cluster(change::failover),
            "CreateDBInstance" => Self::Instance(change::create_instance),
            "DeleteDBInstance" => Self::Instance(change::delete_instance),
            "RebootDBInstance" => Self::Instance(change::reboot),
            _ => return None,
        })
    }
}

fn result(action: &str, id: &str, content: impl FnOnce(&mut Document)) -> String {
    Document::root(&format!("{action}Response"), SPACE, |document| {
        document.element(&format!("{action}Result"), content);
        document.element("ResponseMetadata", |document| {
            document.text("RequestId", id);
        });
    })
}

/// An error as AWS writes it.
pub(super) fn error(fault: &Fault, id: &str) -> String {
    let side = if fault.status < 500 {
        "Sender"
    } else {
        "Receiver"
    };
    Document::root("ErrorResponse", SPACE, |document| {
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
fn assume_role(request: &Request, id: &str) -> Result<String, Fault> {
    let role = request.need("RoleArn")?;
    let session = request.need("RoleSessionName")?;
    let account = role
        .split(':')
        .nth(4)
        .filter(|account| account.len() == 12 && account.bytes().all(|b| b.is_ascii_digit()))
        .ok_or_else(|| fault::bad_value(format!("{role} is no role's ARN")))?;
    let name = role.rsplit('/').next().unwrap_or_default();
    let expires = jiff::Timestamp::now() + SESSION;
    Ok(Document::root(
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
