//! State that Aurora's control plane publishes: clusters, instances, names and addresses, as values.
//!
//! [`ControlPlane`] separates the databases with their timelines behind it from the RDS API and the name server in
//! front of it. An [`Inventory`] is what the API *reports*, which may be late, stale or wrong; a [`DnsZone`] is what
//! the name server answers; both may differ from what the databases do.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

use super::address::{HASH, ZONE};

/// All clusters and instances of the account and region, as in one answer of the API.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inventory {
    /// Clusters by `DBClusterIdentifier`.
    pub clusters: BTreeMap<String, ClusterRecord>,
    /// Instances by `DBInstanceIdentifier`; also those that are in no cluster.
    pub instances: BTreeMap<String, InstanceRecord>,
}

/// A cluster as `DescribeDBClusters` reports it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterRecord {
    /// `DBClusterIdentifier`.
    pub identifier: String,
    /// `DbClusterResourceId`.
    pub resource_id: String,
    /// `Status`: `available`, `failing-over`, …
    pub status: String,
    /// `Engine`: `aurora-postgresql`, `aurora-mysql`, `docdb`, `neptune`, …
    pub engine: String,
    /// `EngineVersion`.
    pub engine_version: String,
    /// `Port`.
    pub port: u16,
    /// `DBClusterMembers`, in the order of the answer. None or several may be writers: that is the point.
    pub members: Vec<ClusterMember>,
    /// `ClusterCreateTime`, RFC 3339.
    pub created: String,
}

/// A row of `DBClusterMembers`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterMember {
    /// `DBInstanceIdentifier`.
    pub instance: String,
    /// `IsClusterWriter`.
    pub writer: bool,
    /// `PromotionTier`, 0 to 15.
    pub tier: u8,
}

/// An instance as `DescribeDBInstances` reports it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstanceRecord {
    /// `DBInstanceIdentifier`.
    pub identifier: String,
    /// `DbiResourceId`.
    pub resource_id: String,
    /// `DBInstanceStatus`: `creating`, `available`, `rebooting`, `deleting`, …
    pub status: String,
    /// `DBInstanceClass`.
    pub class: String,
    /// `Engine`.
    pub engine: String,
    /// `DBClusterIdentifier`.
    pub cluster: Option<String>,
    /// Whether `Endpoint` is reported: not during creation.
    pub has_endpoint: bool,
    /// `Endpoint.Port`.
    pub port: u16,
    /// `AvailabilityZone`.
    pub zone: String,
    /// `PromotionTier`.
    pub tier: u8,
    /// `InstanceCreateTime`, RFC 3339.
    pub created: String,
}

/// What the name server answers with.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DnsZone {
    /// By cluster identifier.
    pub clusters: BTreeMap<String, EndpointTargets>,
    /// The A record of each instance, by instance identifier.
    pub instances: BTreeMap<String, Ipv4Addr>,
}

/// What a cluster's endpoints lead to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndpointTargets {
    /// The instance that the cluster endpoint leads to.
    pub writer: Option<String>,
    /// The instances that the reader endpoint may lead to: one at random an answer. None: the writer.
    pub readers: Vec<String>,
}

/// `orders.cluster-c0lab….eu-west-1.rds.amazonaws.com`
#[must_use]
pub fn cluster_endpoint(cluster: &str) -> String {
    format!("{cluster}.cluster-{HASH}.{ZONE}")
}

/// `orders.cluster-ro-c0lab….eu-west-1.rds.amazonaws.com`
#[must_use]
pub fn reader_endpoint(cluster: &str) -> String {
    format!("{cluster}.cluster-ro-{HASH}.{ZONE}")
}

/// `orders-1.c0lab….eu-west-1.rds.amazonaws.com`
#[must_use]
pub fn instance_endpoint(instance: &str) -> String {
    format!("{instance}.{HASH}.{ZONE}")
}

/// What `CreateDBCluster` asks for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewCluster {
    /// `DBClusterIdentifier`.
    pub identifier: String,
    /// `Engine`.
    pub engine: String,
}

/// What `CreateDBInstance` asks for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewInstance {
    /// `DBInstanceIdentifier`.
    pub identifier: String,
    /// `DBClusterIdentifier`.
    pub cluster: Option<String>,
    /// `DBInstanceClass`.
    pub class: String,
    /// `Engine`.
    pub engine: String,
    /// `PromotionTier`; AWS's default is 1.
    pub tier: u8,
}

/// An error of the RDS API: what the server writes into its `ErrorResponse`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {message}")]
pub struct ApiError {
    /// HTTP status: 400, 404, …
    pub status: u16,
    /// `Code`: `DBClusterNotFoundFault`, `InvalidDBClusterStateFault`, …
    pub code: &'static str,
    /// `Message`.
    pub message: String,
}

/// What is behind the RDS API and the name server.
pub trait ControlPlane: Send + Sync {
    /// Returns what the API reports at this call. Two calls may differ.
    fn inventory(&self) -> Inventory;

    /// Returns what the name server answers at this moment.
    fn dns_zone(&self) -> DnsZone;

    /// `CreateDBCluster`.
    fn create_cluster(&self, new: &NewCluster) -> Result<ClusterRecord, ApiError>;

    /// `CreateDBInstance`.
    fn create_instance(&self, new: &NewInstance) -> Result<InstanceRecord, ApiError>;

    /// `DeleteDBInstance`.
    fn delete_instance(&self, identifier: &str) -> Result<InstanceRecord, ApiError>;

    /// `DeleteDBCluster`.
    fn delete_cluster(&self, identifier: &str) -> Result<ClusterRecord, ApiError>;

    /// `FailoverDBCluster`, to the target or to the reader of the lowest tier.
    fn failover(&self, cluster: &str, target: Option<&str>) -> Result<ClusterRecord, ApiError>;

    /// `RebootDBInstance`.
    fn reboot(&self, identifier: &str) -> Result<InstanceRecord, ApiError>;
}
