//! The chart's admission policy allows exactly the commands that the operator runs in containers, and the annotations that
//! it writes on pods.
#![allow(clippy::expect_used)]

use dbbalance_api::annotations;
use dbbalance_kube::methods::signal;
use dbbalance_kube::sockets::procnet;
use serde_json::{Value, json};

#[test]
fn the_admission_policy_knows_the_commands_as_they_are() {
    let allowed: Value = serde_json::from_str(include_str!(
        "../../../charts/dbbalance/files/exec-commands.json"
    ))
    .expect("JSON");
    let [cat, shell] = procnet::reader_commands();
    assert_eq!(
        allowed,
        json!({
            "readSockets": cat,
            "readSocketsByShell": shell,
            "signalScript": signal::SCRIPT,
        }),
        "charts/dbbalance/files/exec-commands.json must follow the operator's commands"
    );
}

#[test]
fn the_admission_policy_knows_the_annotations_that_are_written_on_pods() {
    let policy = include_str!("../../../charts/dbbalance/templates/admission-policy.yaml");
    let (_, own) = policy.split_once("- name: own").expect("the list");
    let (own, _) = own.split_once("- name:").expect("the next variable");
    let mut allowed: Vec<&str> = own.split('"').skip(1).step_by(2).collect();
    allowed.sort_unstable();
    let mut written = [
        annotations::CLAIM,
        annotations::EPOCH,
        annotations::MOVED,
        annotations::READERS,
        annotations::RECYCLES,
        annotations::RESTARTS,
        annotations::WRITER,
    ];
    written.sort_unstable();
    assert_eq!(allowed, written);
}
