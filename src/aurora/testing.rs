//! Readings for unit tests, in words.

use std::collections::BTreeMap;

use dbbalance_core::topology::{InstanceId, MemberId, ResourceId};
use dbbalance_core::tracker::{ClusterReading, MemberReading};

/// `"w1 r2 r3:creating"`: the writer and the readers, each with a status word if it is not `available`.
pub(super) fn parse_reading(cluster: &str, text: &str) -> ClusterReading {
    let mut writer = None;
    let mut members = BTreeMap::new();
    for part in text.split_whitespace() {
        let (tag, status) = part.split_once(':').unwrap_or((part, "available"));
        let (role, name) = tag.split_at(1);
        let id = MemberId {
            instance: InstanceId(format!("{cluster}-{name}")),
            resource: ResourceId(format!("db-{cluster}-{name}")),
        };
        if role == "w" {
            writer = Some(id.clone());
        }
        members.insert(
            id,
            MemberReading {
                status: status.to_owned(),
                ..MemberReading::default()
            },
        );
    }
    ClusterReading {
        arn: format!("arn:{cluster}"),
        resource: ResourceId(format!("cluster-{cluster}")),
        status: "available".to_owned(),
        engine: "aurora-postgresql".to_owned(),
        endpoints: dbbalance_core::topology::Endpoints::default(),
        writer,
        members,
    }
}
