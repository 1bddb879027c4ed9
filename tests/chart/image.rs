//! The image is small, and needs no more than the strictest clusters give.

use std::fs;
use std::sync::Arc;

use dbbalance_testbed::image::{NONROOT, OPERATOR_LIMIT};

use crate::fixture::{ChartFixture, HOME};
use crate::objects::text;

pub async fn it_is_small_and_runs_restricted(fixture: Arc<ChartFixture>) {
    let size = fs::metadata(&fixture.image).unwrap().len();
    println!("  image: {} KiB", size >> 10);
    assert!(size < OPERATOR_LIMIT);

    let home = fixture
        .get(&format!("/api/v1/namespaces/{HOME}"))
        .await
        .unwrap();
    assert_eq!(
        home["metadata"]["labels"]["pod-security.kubernetes.io/enforce"],
        "restricted"
    );
    let pods = fixture.pods(HOME).await;
    assert_eq!(pods.len(), 2);
    for pod in pods {
        let name = text(&pod["metadata"]["name"]);
        let ready = pod["status"]["containerStatuses"][0]["ready"].as_bool();
        assert_eq!(ready, Some(true), "{name}: a standby is Ready too");
        let pid = fixture
            .testbed
            .container_pid(HOME, &name, "dbbalance")
            .unwrap();
        let read = |file: &str| fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap();
        let status = read("status");
        let line = |key: &str| {
            let line = status.lines().find(|l| l.starts_with(key)).unwrap();
            line.split_whitespace()
                .skip(1)
                .map(str::to_owned)
                .collect::<Vec<_>>()
        };
        let user = NONROOT.to_string();
        for key in ["Uid:", "Gid:"] {
            assert!(
                line(key).iter().all(|id| *id == user),
                "{name}: {key} {:?}",
                line(key)
            );
        }
        assert_eq!(line("CapEff:"), ["0000000000000000"], "{name}");
        assert_eq!(line("NoNewPrivs:"), ["1"], "{name}");
        assert_eq!(line("Seccomp:"), ["2"], "{name}");
        let mounts = read("mountinfo");
        let root = mounts
            .lines()
            .map(|l| l.split(' ').collect::<Vec<_>>())
            .find(|fields| fields[4] == "/")
            .unwrap();
        assert!(root[5].split(',').any(|o| o == "ro"), "{name}: {root:?}");
    }
}
