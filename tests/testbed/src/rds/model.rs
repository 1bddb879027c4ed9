//! Clusters and instances as the testbed's own commands and tests need them.

use anyhow::{Context as _, Result};
use serde::Serialize;

use super::xml::XmlElement;

/// One member of a cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RdsMember {
    /// `DBInstanceIdentifier`.
    pub instance: String,
    /// `IsClusterWriter`.
    pub writer: bool,
    /// `PromotionTier`.
    pub tier: Option<u8>,
}

/// One cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RdsCluster {
    /// `DBClusterIdentifier`.
    pub identifier: String,
    /// `DBClusterArn`.
    pub arn: String,
    /// `DbClusterResourceId`.
    pub resource_id: String,
    /// `Status`.
    pub status: String,
    /// `Engine`.
    pub engine: String,
    /// `Endpoint`: the writer's.
    pub endpoint: String,
    /// `ReaderEndpoint`.
    pub reader_endpoint: String,
    /// `DBClusterMembers`.
    pub members: Vec<RdsMember>,
}

impl RdsCluster {
    /// The writer's identifier, if there is exactly one.
    #[must_use]
    pub fn writer(&self) -> Option<&str> {
        let mut writers = self.members.iter().filter(|member| member.writer);
        match (writers.next(), writers.next()) {
            (Some(writer), None) => Some(&writer.instance),
            _ => None,
        }
    }

    /// The readers' identifiers.
    #[must_use]
    pub fn readers(&self) -> Vec<&str> {
        self.members
            .iter()
            .filter(|member| !member.writer)
            .map(|member| member.instance.as_str())
            .collect()
    }

    pub(super) fn read(element: &XmlElement) -> Result<Self> {
        Ok(Self {
            identifier: element
                .text("DBClusterIdentifier")
                .context("the reply's cluster has no identifier")?,
            arn: element.text("DBClusterArn").unwrap_or_default(),
            resource_id: element.text("DbClusterResourceId").unwrap_or_default(),
            status: element.text("Status").unwrap_or_default(),
            engine: element.text("Engine").unwrap_or_default(),
            endpoint: element.text("Endpoint").unwrap_or_default(),
            reader_endpoint: element.text("ReaderEndpoint").unwrap_or_default(),
            members: element
                .child("DBClusterMembers")
                .into_iter()
                .flat_map(|members| &members.children)
                .map(|member| {
                    Ok(RdsMember {
                        instance: member
                            .text("DBInstanceIdentifier")
                            .context("a member has no identifier")?,
                        writer: member
                            .text("IsClusterWriter")
                            .is_some_and(|text| text.eq_ignore_ascii_case("true")),
                        tier: member
                            .text("PromotionTier")
                            .and_then(|text| text.parse().ok()),
                    })
                })
                .collect::<Result<_>>()?,
        })
    }
}

/// One instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RdsInstance {
    /// `DBInstanceIdentifier`.
    pub identifier: String,
    /// `DbiResourceId`.
    pub resource_id: String,
    /// `DBInstanceStatus`.
    pub status: String,
    /// `DBInstanceClass`.
    pub class: String,
    /// `Endpoint.Address`, absent while it is created.
    pub address: Option<String>,
    /// `Endpoint.Port`.
    pub port: Option<u16>,
    /// `DBClusterIdentifier`.
    pub cluster: Option<String>,
}

impl RdsInstance {
    pub(super) fn read(element: &XmlElement) -> Result<Self> {
        let endpoint = element.child("Endpoint");
        Ok(Self {
            identifier: element
                .text("DBInstanceIdentifier")
                .context("the reply's instance has no identifier")?,
            resource_id: element.text("DbiResourceId").unwrap_or_default(),
            status: element.text("DBInstanceStatus").unwrap_or_default(),
            class: element.text("DBInstanceClass").unwrap_or_default(),
            address: endpoint.and_then(|endpoint| endpoint.text("Address")),
            port: endpoint
                .and_then(|endpoint| endpoint.text("Port"))
                .and_then(|port| port.parse().ok()),
            cluster: element.text("DBClusterIdentifier"),
        })
    }
}
