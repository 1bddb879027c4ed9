//! The chart's admission policy allows exactly the commands that the operator runs in containers.
#![allow(clippy::expect_used)]

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
