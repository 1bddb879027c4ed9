//! Defines `spec.balance`: how the connections of reader pools are shared among the readers.
//!
//! Part of the policy's spec, with the rules that the schema can check. What a share means in connections is computed in
//! the crate `dbbalance-core`, in `weights`.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The weight of a reader that `balance.weights` does not name.
pub const DEFAULT_WEIGHT: u32 = 100;

/// How the connections of reader pools are shared among the readers.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct BalanceSpec {
    /// What the readers' shares follow. Equal: each gets the same. Capacity: in proportion to the
    /// vCPUs of their instance classes; if a class is not known, or serverless readers stand beside
    /// provisioned ones, shares are equal and the condition Balanced says so.
    #[serde(default)]
    pub shares: SharesBy,
    /// Weights of single readers, by which their shares are multiplied. A reader that is not listed
    /// has 100; one with 0 is emptied and receives nothing. Names of instances that the cluster
    /// does not have are kept.
    // Aurora: at most 15 readers; a promoted one may be listed as well.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["instance".to_owned()]))]
    pub weights: Vec<InstanceWeight>,
    /// How long a reader that came takes to its whole share, from a quarter of it on, in four
    /// steps: its caches are cold. 0 gives it all at once.
    #[serde(default)]
    #[schemars(range(min = 0, max = 3600))]
    pub ramp_seconds: i32,
}

// The schema shows this text instead of the field's.
/// What the readers' shares follow.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SharesBy {
    /// Each reader gets the same.
    #[default]
    Equal,
    /// In proportion to the vCPUs of the instance classes.
    Capacity,
}

/// The weight of one reader.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct InstanceWeight {
    /// The DB instance identifier, in lower case.
    #[schemars(
        length(min = 1, max = 63),
        regex(pattern = r"^[a-z]([a-z0-9]|-[a-z0-9])*$")
    )]
    pub instance: String,
    /// Its weight. 100 is an even share, 0 none.
    #[schemars(range(min = 0, max = 1000))]
    pub weight: i32,
}
