//! The rules of the workspace: the layers of each package, and what packages may depend on.
//!
//! `tests/architecture.rs` holds the code to these tables, and the figures use them to report a circle
//! of imports inside one layer apart. To change a rule, edit its row.

use crate::dependencies::DependencyRule;
use crate::layers::CrateLayers;

/// Runtimes, servers, clients and SDKs: what a package of pure decisions must not depend on.
pub const IMPURE_CRATES: &[&str] = &[
    "tokio",
    "tokio-*",
    "hyper",
    "hyper-*",
    "reqwest",
    "reqwest-*",
    "hickory-*",
    "aws-*",
];

/// The layers of each package, from top to bottom. See [`CrateLayers::lines`] for the notation.
pub const LAYERS: &[CrateLayers] = &[CrateLayers {
    folder: ".",
    lines: &[
        "run | telemetry | failpoint",
        "controller | cli | http",
        "controller::reconcile",
        "controller::report | controller::wishes",
        "controller::apply",
        "controller::observe",
        "controller::context, controller::errors",
        "metrics | plugin",
        "evidence | methods | controller::memory",
        "aurora | k8s | controller::plan, controller::validate, controller::world",
        "api, domain",
    ],
}];

/// What each package may depend on. Each package outside of `tests/` needs a row.
pub const DEPENDENCIES: &[DependencyRule] = &[
    DependencyRule {
        package: "dbbalance",
        may_use: &[],
        never: &[],
        except: &[],
    },
    DependencyRule {
        package: "dbbalance-sim",
        may_use: &[],
        never: IMPURE_CRATES,
        except: &[],
    },
    DependencyRule {
        package: "dbbalance-structure",
        may_use: &[],
        never: IMPURE_CRATES,
        except: &[],
    },
];
