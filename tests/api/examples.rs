//! Each example is a policy that the server takes as it stands.

use std::collections::BTreeSet;
use std::fs;

use serde::Deserialize as _;
use serde_json::Value;

use dbbalance_testkit::api_server::KubeApiServer;

/// Applies each, in the namespaces that it names.
pub fn all_apply(server: &KubeApiServer<'_>) -> usize {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/examples");
    let mut files: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|end| end == "yaml"))
        .collect();
    files.sort();
    let mut namespaces = BTreeSet::new();
    for file in &files {
        let text = fs::read_to_string(file).unwrap();
        let mut policies = 0;
        for document in serde_yaml_ng::Deserializer::from_str(&text) {
            let object = Value::deserialize(document).unwrap();
            policies += usize::from(object["kind"] == "DbBalancePolicy");
            let namespace = object["metadata"]["namespace"].as_str().unwrap_or_default();
            if !namespace.is_empty() && namespaces.insert(namespace.to_owned()) {
                server.kubectl(&["create", "namespace", namespace]);
            }
        }
        assert!(policies > 0, "{} holds no policy", file.display());
        let file = file.to_str().unwrap();
        server.kubectl(&["apply", "--server-side", "--validate=strict", "-f", file]);
        // Some are alternatives, of one name.
        server.kubectl(&["delete", "-f", file]);
    }
    assert!(files.len() >= 10, "only {} examples", files.len());
    files.len()
}

/// Applies what the chart renders, without a trace: the server compiles the rules of the admission policies.
pub fn the_base_applies(server: &KubeApiServer<'_>) -> usize {
    let base = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/base/operator.yaml");
    server.kubectl(&["create", "namespace", "dbbalance"]);
    let applied = server.kubectl(&[
        "apply",
        "--server-side",
        "--validate=strict",
        "--dry-run=server",
        "-f",
        base,
    ]);
    server.kubectl(&["delete", "namespace", "dbbalance", "--wait=false"]);
    let policies = applied
        .lines()
        .filter(|line| line.starts_with("validatingadmissionpolicy.") && line.contains("dbbalance"))
        .count();
    assert_eq!(policies, 3, "{applied}");
    applied.lines().count()
}
