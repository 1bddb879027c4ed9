//! Writes a cluster or an instance as a row of an answer.
//!
//! Names and order of the fields: the RDS API reference, data types `DBCluster` and `DBInstance`. Fields that no
//! client here depends on have the values of an Aurora of the testbed's size.

use super::document::XmlDocument;
use super::rds_arn;
use crate::aurora::inventory::{
    ClusterRecord, InstanceRecord, Inventory, cluster_endpoint, instance_endpoint, reader_endpoint,
};

/// The hosted zone of RDS endpoints: a plausible one, as nothing asks Route 53 for it.
const HOSTED_ZONE: &str = "Z0LAB0RDS0ENDPOINTS";

/// `DocumentDB` and Neptune are reported by the same API, with endpoints of their own domains.
fn engine_domain(engine: &str, name: &str) -> String {
    match engine {
        "docdb" | "neptune" => name.replace(".rds.", &format!(".{engine}.")),
        _ => name.to_owned(),
    }
}

fn write_security_group(document: &mut XmlDocument) {
    document.element("VpcSecurityGroups", |document| {
        document.element("VpcSecurityGroupMembership", |document| {
            document.text("VpcSecurityGroupId", "sg-0lab0");
            document.text("Status", "active");
        });
    });
}

/// The content of a `DBCluster`.
pub(super) fn write_cluster(document: &mut XmlDocument, cluster: &ClusterRecord) {
    let id = &cluster.identifier;
    document.text("AllocatedStorage", 1);
    document.element("AvailabilityZones", |document| {
        for zone in ["a", "b", "c"] {
            document.text("AvailabilityZone", format!("{}{zone}", super::REGION));
        }
    });
    document.text("BackupRetentionPeriod", 1);
    document.text("DBClusterIdentifier", id);
    document.text(
        "DBClusterParameterGroup",
        format!("default.{}", cluster.engine),
    );
    document.text("DBSubnetGroup", "default");
    document.text("Status", &cluster.status);
    document.text(
        "Endpoint",
        engine_domain(&cluster.engine, &cluster_endpoint(id)),
    );
    document.text(
        "ReaderEndpoint",
        engine_domain(&cluster.engine, &reader_endpoint(id)),
    );
    document.text("MultiAZ", cluster.members.len() > 1);
    document.text("Engine", &cluster.engine);
    document.text("EngineVersion", &cluster.engine_version);
    document.text("Port", cluster.port);
    document.text("MasterUsername", "testbed");
    document.text("PreferredBackupWindow", "03:00-03:30");
    document.text("PreferredMaintenanceWindow", "sun:04:00-sun:04:30");
    document.empty("ReadReplicaIdentifiers");
    document.element("DBClusterMembers", |document| {
        for member in &cluster.members {
            document.element("DBClusterMember", |document| {
                document.text("DBInstanceIdentifier", &member.instance);
                document.text("IsClusterWriter", member.writer);
                document.text("DBClusterParameterGroupStatus", "in-sync");
                document.text("PromotionTier", member.tier);
            });
        }
    });
    write_security_group(document);
    document.text("HostedZoneId", HOSTED_ZONE);
    document.text("StorageEncrypted", false);
    document.text("DbClusterResourceId", &cluster.resource_id);
    document.text("DBClusterArn", rds_arn("cluster", id));
    document.empty("AssociatedRoles");
    document.text("IAMDatabaseAuthenticationEnabled", false);
    document.text("ClusterCreateTime", &cluster.created);
    document.empty("EnabledCloudwatchLogsExports");
    document.text("EngineMode", "provisioned");
    document.text("DeletionProtection", false);
    document.text("HttpEndpointEnabled", false);
    document.text("CopyTagsToSnapshot", false);
    document.text("CrossAccountClone", false);
    document.empty("DomainMemberships");
    document.empty("TagList");
    document.text("AutoMinorVersionUpgrade", true);
    document.text("NetworkType", "IPV4");
}

/// The content of a `DBInstance`.
pub(super) fn write_instance(
    document: &mut XmlDocument,
    instance: &InstanceRecord,
    inventory: &Inventory,
) {
    let id = &instance.identifier;
    document.text("DBInstanceIdentifier", id);
    document.text("DBInstanceClass", &instance.class);
    document.text("Engine", &instance.engine);
    document.text("DBInstanceStatus", &instance.status);
    document.text("MasterUsername", "testbed");
    if instance.has_endpoint {
        document.element("Endpoint", |document| {
            document.text(
                "Address",
                engine_domain(&instance.engine, &instance_endpoint(id)),
            );
            document.text("Port", instance.port);
            document.text("HostedZoneId", HOSTED_ZONE);
        });
        // AWS reports the time together with the endpoint: when the instance is available.
        document.text("InstanceCreateTime", &instance.created);
    }
    document.text("AllocatedStorage", 1);
    document.text("PreferredBackupWindow", "03:00-03:30");
    document.text("BackupRetentionPeriod", 1);
    document.empty("DBSecurityGroups");
    write_security_group(document);
    document.element("DBParameterGroups", |document| {
        document.element("DBParameterGroup", |document| {
            document.text(
                "DBParameterGroupName",
                format!("default.{}", instance.engine),
            );
            document.text("ParameterApplyStatus", "in-sync");
        });
    });
    document.text("AvailabilityZone", &instance.zone);
    document.text("PreferredMaintenanceWindow", "sun:04:00-sun:04:30");
    document.empty("PendingModifiedValues");
    document.text("MultiAZ", false);
    let cluster = instance.cluster.as_ref();
    if let Some(cluster) = cluster.and_then(|cluster| inventory.clusters.get(cluster)) {
        document.text("EngineVersion", &cluster.engine_version);
    }
    document.text("AutoMinorVersionUpgrade", true);
    document.empty("ReadReplicaDBInstanceIdentifiers");
    document.text("LicenseModel", "postgresql-license");
    document.empty("OptionGroupMemberships");
    document.text("PubliclyAccessible", false);
    document.empty("StatusInfos");
    document.text("StorageType", "aurora");
    document.text("DbInstancePort", 0);
    if let Some(cluster) = cluster {
        document.text("DBClusterIdentifier", cluster);
    }
    document.text("StorageEncrypted", false);
    document.text("DbiResourceId", &instance.resource_id);
    document.text("CACertificateIdentifier", "rds-ca-rsa2048-g1");
    document.empty("DomainMemberships");
    document.text("CopyTagsToSnapshot", false);
    document.text("MonitoringInterval", 0);
    document.text("PromotionTier", instance.tier);
    document.text("DBInstanceArn", rds_arn("db", id));
    document.text("IAMDatabaseAuthenticationEnabled", false);
    document.text("PerformanceInsightsEnabled", false);
    document.empty("EnabledCloudwatchLogsExports");
    document.text("DeletionProtection", false);
    document.empty("AssociatedRoles");
    document.empty("TagList");
    document.text("NetworkType", "IPV4");
}
