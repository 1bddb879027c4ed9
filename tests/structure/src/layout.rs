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
pub const LAYERS: &[CrateLayers] = &[
    CrateLayers {
        folder: "crates/planner",
        lines: &[
            "advance | prepared",
            "descriptions",
            "selection",
            "drain",
            "runs",
            "epochs | gates | weights",
            "target",
            "name",
            "world, policy",
            "types, gate_names, times",
        ],
    },
    CrateLayers {
        folder: ".",
        lines: &[
            "run | telemetry | failpoint",
            "controller | cli | http",
            "controller::reconcile",
            "controller::report | controller::sampling",
            "controller::apply",
            "controller::observe",
            "controller::context, controller::errors",
            "metrics",
            "controller::record_queue",
            "controller::guard",
            "sockets | aurora | k8s | controller::state_cache | controller::ledger | controller::header_checks",
            "aurora::poller | aurora::dns | aurora::factory",
            "aurora::poller::task | aurora::dns::task | aurora::dns::resolver | aurora::rds | sockets::task",
            "aurora::poller::state | aurora::dns::state | sockets::state",
            "aurora::dns::cluster_names | aurora::snapshot | aurora::rds_fault | aurora::validate | sockets::schedule",
            "aurora::dns::steered",
            "aurora::dns::question",
            "aurora::dns::lookup | aurora::dns::limiter | aurora::source | aurora::whole_body | aurora::cadence",
            "aurora::stats | aurora::account_buckets | aurora::bindings",
            "aurora::access",
            "aurora::error",
            "rate_limit | clock",
        ],
    },
];

/// What each package may depend on. Each package outside of `tests/` needs a row.
pub const DEPENDENCIES: &[DependencyRule] = &[
    DependencyRule {
        package: "dbbalance-api",
        may_use: &[],
        never: IMPURE_CRATES,
        except: &[],
    },
    DependencyRule {
        package: "dbbalance-core",
        may_use: &["dbbalance-api"],
        never: IMPURE_CRATES,
        except: &[],
    },
    DependencyRule {
        package: "dbbalance-planner",
        may_use: &["dbbalance-api", "dbbalance-core"],
        never: IMPURE_CRATES,
        except: &[],
    },
    DependencyRule {
        package: "dbbalance-kube",
        may_use: &["dbbalance-api", "dbbalance-core"],
        never: &["aws-*", "hickory-*"],
        // The cryptography under the TLS of the Kubernetes client.
        except: &["aws-lc-*"],
    },
    DependencyRule {
        package: "dbbalance-terminal",
        may_use: &[],
        never: IMPURE_CRATES,
        except: &[],
    },
    DependencyRule {
        package: "kubectl-dbbalance",
        may_use: &[
            "dbbalance-api",
            "dbbalance-core",
            "dbbalance-kube",
            "dbbalance-terminal",
        ],
        never: &["aws-*", "hickory-*"],
        except: &["aws-lc-*"],
    },
    DependencyRule {
        package: "dbbalance",
        may_use: &[
            "dbbalance-api",
            "dbbalance-core",
            "dbbalance-kube",
            "dbbalance-planner",
        ],
        never: &[],
        except: &[],
    },
    DependencyRule {
        package: "dbbalance-figures",
        may_use: &[],
        never: IMPURE_CRATES,
        except: &[],
    },
    DependencyRule {
        package: "dbbalance-simulator",
        may_use: &["dbbalance-api", "dbbalance-core", "dbbalance-figures"],
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
