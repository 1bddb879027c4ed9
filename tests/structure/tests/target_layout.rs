//! Checks the checker on a small workspace of the project's shape: it passes as it is, and each kind of violation is
//! found. Its tables are its own, as the small workspace has fewer modules than the real one.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

use std::process::Command;

use dbbalance_structure::dependencies::{DependencyRule, check_dependencies};
use dbbalance_structure::fixture::FixtureTree;
use dbbalance_structure::layers::{CrateLayers, RuleViolation, check_layers};
use dbbalance_structure::layout::IMPURE_CRATES;

const TARGET_LAYERS: &[CrateLayers] = &[
    CrateLayers {
        folder: "crates/planner",
        lines: &[
            "advance",
            "descriptions",
            "selection",
            "runs",
            "epochs | gates",
            "target",
            "world, policy",
            "types",
        ],
    },
    CrateLayers {
        folder: ".",
        lines: &["run, cli", "controller", "aurora | resolver"],
    },
];

const TARGET_DEPENDENCIES: &[DependencyRule] = &[
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
        package: "kubectl-dbbalance",
        may_use: &["dbbalance-api", "dbbalance-core", "dbbalance-kube"],
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
];

const ROOT_MANIFEST: &str = r#"
[workspace]
members = ["crates/*"]
exclude = ["vendor"]
resolver = "3"
[package]
name = "dbbalance"
version = "0.1.0"
edition = "2024"
[dependencies]
dbbalance-planner = { path = "crates/planner" }
dbbalance-kube = { path = "crates/kube" }
aws-config = { path = "vendor/aws-config" }
"#;

/// Writes the target's workspace; packages that crates.io has are stood in for by empty ones.
fn write_workspace() -> FixtureTree {
    let tree = FixtureTree::write_files(&[
        ("Cargo.toml", ROOT_MANIFEST),
        ("src/lib.rs", "mod run; mod cli; mod controller; mod aurora; mod resolver;"),
        ("src/main.rs", "fn main() { dbbalance::start(); }"),
        ("src/run.rs", "use crate::controller::reconcile::reconcile_policy;\nuse crate::cli::Flags;"),
        ("src/cli.rs", "use crate::run::start_operator;"),
        ("src/controller/mod.rs", "pub mod reconcile;"),
        ("src/controller/reconcile.rs", "use crate::aurora::Poller;"),
        ("src/aurora.rs", "pub struct Poller;"),
        ("src/resolver.rs", "pub struct Resolver;"),
        (
            "crates/planner/src/lib.rs",
            "mod advance; mod descriptions; mod selection; mod runs; mod epochs; mod gates;\n\
             mod target; mod world; mod policy; mod types;\npub use types::Plan;",
        ),
        ("crates/planner/src/advance.rs", "use crate::selection::by_stamp::select_pods;"),
        ("crates/planner/src/descriptions.rs", "use super::types::Plan;"),
        ("crates/planner/src/selection/mod.rs", "pub mod by_stamp; pub mod batch;"),
        ("crates/planner/src/selection/by_stamp.rs", "use super::batch::Batch; use crate::runs;"),
        ("crates/planner/src/selection/batch.rs", "use super::by_stamp::select_pods;"),
        ("crates/planner/src/runs.rs", "use crate::{epochs::Epoch, gates::Gate};"),
        ("crates/planner/src/epochs/mod.rs", "use crate::target::Target;"),
        (
            "crates/planner/src/gates.rs",
            "use crate::policy::Policy;\n#[cfg(test)]\nmod tests { use crate::advance::advance_target; }",
        ),
        ("crates/planner/src/target.rs", "use crate::world::World;"),
        ("crates/planner/src/world.rs", "use crate::policy::Policy;"),
        ("crates/planner/src/policy.rs", "use crate::world::World;"),
        ("crates/planner/src/types.rs", "pub struct Plan;"),
        ("crates/api/src/lib.rs", ""),
        ("crates/core/src/lib.rs", ""),
        ("crates/kube/src/lib.rs", ""),
        ("crates/kubectl/src/main.rs", "fn main() {}"),
    ])
    .unwrap();
    for name in ["tokio", "aws-config", "aws-lc-rs", "http"] {
        write_manifest(&tree, &format!("vendor/{name}"), name, &[]);
        tree.write_file(&format!("vendor/{name}/src/lib.rs"), "")
            .unwrap();
    }
    write_manifest(&tree, "crates/api", "dbbalance-api", &["http"]);
    write_manifest(&tree, "crates/core", "dbbalance-core", &["dbbalance-api"]);
    write_manifest(
        &tree,
        "crates/planner",
        "dbbalance-planner",
        &["dbbalance-core"],
    );
    let edge = ["dbbalance-core", "tokio", "aws-lc-rs"];
    write_manifest(&tree, "crates/kube", "dbbalance-kube", &edge);
    write_manifest(
        &tree,
        "crates/kubectl",
        "kubectl-dbbalance",
        &["dbbalance-kube"],
    );
    tree
}

fn write_manifest(tree: &FixtureTree, folder: &str, name: &str, dependencies: &[&str]) {
    let lines = dependencies.iter().map(|dependency| {
        let path = match dependency.strip_prefix("dbbalance-") {
            Some(short) => format!("crates/{short}"),
            None => format!("vendor/{dependency}"),
        };
        format!("{dependency} = {{ path = \"../../{path}\" }}\n")
    });
    let text = format!(
        "[package]\nname = \"{name}\"\nversion = \"0.1.0\"\nedition = \"2024\"\n\n[dependencies]\n{}",
        lines.collect::<String>()
    );
    tree.write_file(&format!("{folder}/Cargo.toml"), &text)
        .unwrap();
}

fn check_target_layers(tree: &FixtureTree) -> Vec<RuleViolation> {
    check_layers(tree.root_folder(), TARGET_LAYERS).unwrap()
}

fn check_target_dependencies(tree: &FixtureTree) -> Vec<RuleViolation> {
    let output = Command::new(env!("CARGO"))
        .args(["generate-lockfile", "--offline"])
        .current_dir(tree.root_folder())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}");
    check_dependencies(tree.root_folder(), TARGET_DEPENDENCIES).unwrap()
}

/// Returns the text of the only violation.
fn only_text(violations: &[RuleViolation]) -> String {
    let texts: Vec<String> = violations.iter().map(ToString::to_string).collect();
    assert_eq!(texts.len(), 1, "{}", texts.join("\n"));
    texts.concat()
}

#[test]
fn the_target_layout_breaks_no_rule() {
    let tree = write_workspace();
    assert_eq!(check_target_layers(&tree), []);
    assert_eq!(check_target_dependencies(&tree), []);
}

#[test]
fn an_import_of_a_higher_layer_is_found_with_its_line_and_what_the_layer_may_import() {
    let tree = write_workspace();
    let text = "use crate::world::World;\n\nfn f() {\n    crate::runs::start_run()\n}";
    tree.write_file("crates/planner/src/target.rs", text)
        .unwrap();
    assert_eq!(
        only_text(&check_target_layers(&tree)),
        "crates/planner/src/target.rs:4: `target` imports `crate::runs::start_run` (module `runs`)\n  \
         rule: in dbbalance-planner the layer `target` is below `runs` and may import only itself \
         and, top to bottom, world, policy; types\n  \
         do:   move the item down into `target` or lower, or pass its value in from `runs`"
    );
}

#[test]
fn epochs_and_gates_may_not_import_each_other() {
    let tree = write_workspace();
    tree.write_file(
        "crates/planner/src/epochs/mod.rs",
        "use super::gates::Gate;",
    )
    .unwrap();
    let text = only_text(&check_target_layers(&tree));
    assert!(
        text.starts_with("crates/planner/src/epochs/mod.rs:1: `epochs` imports"),
        "{text}"
    );
    assert!(
        text.contains("`epochs` and `gates` are beside each other"),
        "{text}"
    );
    tree.write_file("crates/planner/src/epochs/mod.rs", "")
        .unwrap();
    tree.write_file(
        "crates/planner/src/gates.rs",
        "fn f() -> super::epochs::Epoch { todo!() }",
    )
    .unwrap();
    let text = only_text(&check_target_layers(&tree));
    assert!(
        text.contains("`gates` and `epochs` are beside each other"),
        "{text}"
    );
    assert!(
        text.contains("a layer below them: target; world, policy; types"),
        "{text}"
    );
}

#[test]
fn a_source_of_the_operator_may_not_import_its_controller() {
    let tree = write_workspace();
    tree.write_file("src/aurora.rs", "use crate::controller::{self, reconcile};")
        .unwrap();
    let violations = check_target_layers(&tree);
    let found: Vec<&str> = violations.iter().map(|x| x.found.as_str()).collect();
    assert_eq!(
        found,
        [
            "`aurora` imports `crate::controller` (module `controller`)",
            "`aurora` imports `crate::controller::reconcile` (module `controller::reconcile`)",
        ]
    );
}

#[test]
fn no_module_goes_around_the_layers_by_the_root_of_its_crate() {
    let tree = write_workspace();
    tree.write_file("crates/planner/src/world.rs", "use crate::Plan;")
        .unwrap();
    let text = only_text(&check_target_layers(&tree));
    assert!(
        text.contains("import the item from the module that defines it"),
        "{text}"
    );
}

#[test]
fn a_module_without_a_layer_and_a_row_without_a_module_are_violations() {
    let tree = write_workspace();
    tree.write_file(
        "src/lib.rs",
        "mod run; mod cli; mod controller; mod aurora; mod news;",
    )
    .unwrap();
    tree.write_file("src/news.rs", "").unwrap();
    let violations = check_target_layers(&tree);
    let found: Vec<&str> = violations.iter().map(|x| x.found.as_str()).collect();
    assert_eq!(
        found,
        [
            "the layers of dbbalance name `resolver`, which is not one of its modules",
            "the module `news` is in no layer",
        ]
    );
    assert_eq!(violations[1].place, "src/news.rs:1");
}

#[test]
fn a_row_whose_folder_does_not_exist_is_a_violation() {
    let tree = write_workspace();
    let gone = CrateLayers {
        folder: "crates/gone",
        lines: &["a"],
    };
    let text = only_text(&check_layers(tree.root_folder(), &[gone]).unwrap());
    assert!(text.starts_with("crates/gone/Cargo.toml: "), "{text}");
}

#[test]
fn a_runtime_in_a_pure_package_is_found_with_the_way_it_came_in() {
    let tree = write_workspace();
    write_manifest(
        &tree,
        "crates/planner",
        "dbbalance-planner",
        &["dbbalance-core", "http"],
    );
    write_manifest(&tree, "vendor/http", "http", &["tokio"]);
    let violations = check_target_dependencies(&tree);
    let found: Vec<&str> = violations.iter().map(|x| x.found.as_str()).collect();
    assert_eq!(
        found,
        [
            "tokio is a dependency: dbbalance-api -> http -> tokio",
            "tokio is a dependency: dbbalance-core -> dbbalance-api -> http -> tokio",
            "tokio is a dependency: dbbalance-planner -> dbbalance-core -> dbbalance-api -> http -> tokio",
        ]
    );
    assert_eq!(violations[0].place, "crates/api/Cargo.toml:7");
    assert_eq!(
        violations[0].rule,
        "dbbalance-api may never depend on `tokio`"
    );
}

#[test]
fn a_feature_that_only_another_package_turns_on_is_not_held_against_a_pure_one() {
    let tree = write_workspace();
    let http = "[package]\nname = \"http\"\nversion = \"0.1.0\"\nedition = \"2024\"\n[features]\nserver = \
                [\"dep:tokio\"]\n[dependencies]\ntokio = { path = \"../tokio\", optional = true }\n";
    tree.write_file("vendor/http/Cargo.toml", http).unwrap();
    let server = "http = { path = \"vendor/http\", features = [\"server\"] }\n";
    tree.write_file("Cargo.toml", &format!("{ROOT_MANIFEST}{server}"))
        .unwrap();
    assert_eq!(check_target_dependencies(&tree), []);
    let pure = "[package]\nname = \"dbbalance-api\"\nversion = \"0.1.0\"\nedition = \"2024\"\n[dependencies]\n\
                http = { path = \"../../vendor/http\", features = [\"server\"] }\n";
    tree.write_file("crates/api/Cargo.toml", pure).unwrap();
    assert_eq!(check_target_dependencies(&tree).len(), 3);
}

#[test]
fn the_plugin_may_use_neither_the_planner_nor_an_aws_sdk() {
    let tree = write_workspace();
    let uses = ["dbbalance-kube", "dbbalance-planner", "aws-config"];
    write_manifest(&tree, "crates/kubectl", "kubectl-dbbalance", &uses);
    let rules: Vec<String> = check_target_dependencies(&tree)
        .into_iter()
        .map(|x| format!("{}: {}", x.place, x.rule))
        .collect();
    assert_eq!(
        rules,
        [
            "crates/kubectl/Cargo.toml:9: kubectl-dbbalance may never depend on `aws-*`",
            "crates/kubectl/Cargo.toml:8: of this workspace, kubectl-dbbalance may use only \
             dbbalance-api, dbbalance-core, dbbalance-kube",
        ]
    );
}

#[test]
fn a_package_without_a_rule_and_a_rule_without_a_package_are_violations() {
    let tree = write_workspace();
    write_manifest(&tree, "crates/kubectl", "kubectl-other", &[]);
    let violations = check_target_dependencies(&tree);
    let found: Vec<&str> = violations.iter().map(|x| x.found.as_str()).collect();
    assert_eq!(
        found,
        [
            "kubectl-other has no rule for its dependencies",
            "the table of dependencies names kubectl-dbbalance, which is not a member",
        ]
    );
}
