//! The limit of each instance: `max_connections`, as set by the user, by its class, or by its serverless capacity.

use std::collections::BTreeMap;

use crate::topology::{ClusterView, InstanceId, MemberFacts, ServerlessCapacity};
use dbbalance_api::spec::BudgetSpec;

/// The class of every Aurora Serverless v2 instance.
pub const SERVERLESS_CLASS: &str = "db.serverless";

/// Returns the limit of each instance, before headroom.
#[must_use]
pub fn find_instance_limits(
    view: &ClusterView,
    spec: &BudgetSpec,
) -> BTreeMap<InstanceId, Option<u64>> {
    view.topology
        .members()
        .map(|(member, _)| {
            let set = spec.max_connections.and_then(|n| u64::try_from(n).ok());
            let derived = || derive_limit(&view.engine, view.facts.get(&member.instance)?);
            (member.instance.clone(), set.or_else(derived))
        })
        .collect()
}

fn derive_limit(engine: &str, facts: &MemberFacts) -> Option<u64> {
    match facts.class.as_deref()? {
        SERVERLESS_CLASS => find_serverless_limit(engine, facts.serverless?),
        class => find_max_connections(engine, class),
    }
}

/// Returns `max_connections` of a Serverless v2 instance, by the tables of the Aurora user guides. It follows from the
/// maximum capacity and does not change with the current one. Between two entries of the table the smaller one counts.
#[must_use]
pub fn find_serverless_limit(engine: &str, capacity: ServerlessCapacity) -> Option<u64> {
    // Capacity units, MySQL, PostgreSQL.
    const TABLE: [(u32, u64, u64); 7] = [
        (1, 90, 189),
        (4, 135, 823),
        (8, 1000, 1669),
        (16, 2000, 3360),
        (32, 3000, 5000),
        (64, 4000, 5000),
        (128, 5000, 5000),
    ];
    // PostgreSQL instances that may shrink to half a unit, or pause, get no more.
    const SMALL_MINIMUM: u64 = 2000;
    let mut entries = TABLE.iter().rev();
    let (_, mysql, postgresql) = entries.find(|e| e.0 * 2 <= capacity.max_half_units)?;
    match engine {
        "aurora-mysql" => Some(*mysql),
        "aurora-postgresql" if capacity.min_half_units <= 1 => Some(SMALL_MINIMUM.min(*postgresql)),
        "aurora-postgresql" => Some(*postgresql),
        _ => None,
    }
}

/// Returns `max_connections` of an instance class, from the tables of the Aurora user guides; `None` for a class that
/// is not listed, because a limit is never guessed.
#[must_use]
pub fn find_max_connections(engine: &str, class: &str) -> Option<u64> {
    let (family, size) = class.strip_prefix("db.")?.split_once('.')?;
    // r7g and r8g have the memory of r6g; r6i and r5 have nearly the same. The smaller figure of r5 is used only for
    // the one size where the guide gives both.
    let memory_family = matches!(
        family,
        "r4" | "r5"
            | "r6g"
            | "r6gd"
            | "r6i"
            | "r6id"
            | "r7g"
            | "r7i"
            | "r8g"
            | "r8gd"
            | "r6idn"
            | "r6in"
    );
    let burst = matches!(family, "t3" | "t4g");
    match engine {
        "aurora-mysql" if burst => match size {
            "small" => Some(45),
            "medium" => Some(90),
            "large" => Some(135),
            _ => None,
        },
        "aurora-mysql" if memory_family => match size {
            "large" => Some(1000),
            "xlarge" => Some(2000),
            "2xlarge" => Some(3000),
            "4xlarge" => Some(4000),
            "8xlarge" => Some(5000),
            "12xlarge" | "16xlarge" => Some(6000),
            "24xlarge" => Some(7000),
            _ => None,
        },
        "aurora-postgresql" if burst => match size {
            "medium" => Some(405),
            "large" => Some(844),
            _ => None,
        },
        // The older r4 has less memory than the others of its size.
        "aurora-postgresql" if memory_family => match (family, size) {
            (_, "large") => Some(1600),
            ("r4", "xlarge") => Some(3200),
            (_, "xlarge") => Some(3479),
            (_, "2xlarge" | "4xlarge" | "8xlarge" | "12xlarge" | "16xlarge" | "24xlarge") => {
                Some(5000)
            }
            _ => None,
        },
        _ => None,
    }
}
