//! A testbed's whole life: it starts in time, runs pods, and leaves nothing, however it ends.
//!
//! Needs root and `testbed tools`; without them these fail and say so.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};

use dbbalance_testbed::kubernetes::{Component, Layout, Testbed, TestbedOptions};
use dbbalance_testbed::{image, process};
use nix::sys::signal::Signal;
use support::{
    ExclusiveMachine, OwnTestbed, deploy_testapp, run_testbed, spawn_testbed, utf8_text,
    wait_eventually,
};

/// A start may take this long, tools and images being there.
const WARM_START: Duration = Duration::from_secs(15);

#[test]
fn pods_run_get_signals_and_nothing_is_left() {
    let alone = ExclusiveMachine::on_this_machine();
    let started = Instant::now();
    let own = OwnTestbed::up("t-life");
    let took = started.elapsed();
    println!("up in {:.1} s", took.as_secs_f64());
    assert!(took < WARM_START, "up took {took:?}");
    let testbed = &own.testbed;

    let started = Instant::now();
    let pods = deploy_testapp(testbed, 3);
    println!("3 pods Ready in {:.1} s", started.elapsed().as_secs_f64());
    assert_eq!(pods.len(), 3);
    let logs = |pod: &str| testbed.kubectl(&["logs", pod]).unwrap();

    // A signal from inside, as an operator sends it.
    testbed
        .kubectl(&["exec", &pods[0], "-c", "app", "--", "kill", "-HUP", "1"])
        .unwrap();
    wait_eventually("HUP in the log", || logs(&pods[0]).contains("signal HUP 1"));

    // A call from the host side to the pod's address.
    let ip = testbed
        .kubectl(&["get", "pod", &pods[1], "-o", "jsonpath={.status.podIP}"])
        .unwrap();
    let address: SocketAddr = format!("{ip}:8080").parse().unwrap();
    assert!(
        testbed
            .enter(|| TcpStream::connect_timeout(&address, Duration::from_secs(5)).is_ok())
            .unwrap()
    );

    // From outside a process can be stopped and killed, which process 1 cannot be from inside.
    testbed
        .signal_container("default", &pods[2], "app", Signal::SIGKILL)
        .unwrap();
    let restarts = "jsonpath={.status.containerStatuses[0].restartCount}";
    wait_eventually("a restart", || {
        testbed
            .kubectl(&["get", "pod", &pods[2], "-o", restarts])
            .unwrap()
            == "1"
    });

    // Cut off from the API server, and from nothing else.
    let reaches = |to: &str, port: &str| {
        let call = format!("echo | nc -w 1 {to} {port}");
        testbed
            .kubectl(&["exec", &pods[1], "--", "sh", "-c", &call])
            .is_ok()
    };
    assert!(reaches("198.19.0.1", "443"));
    testbed.cut_off(&ip).unwrap();
    testbed.cut_off(&ip).unwrap();
    assert!(!reaches("198.19.0.1", "443"));
    assert!(
        reaches("198.18.0.1", "10250"),
        "the kubelet's port stands for any other"
    );
    testbed.restore(&ip).unwrap();
    assert!(reaches("198.19.0.1", "443"));

    // A dynamic program runs in an image of it and its libraries: any will do in the operator's place. Not this
    // package's own, whose debug build is larger than an operator's image may be.
    let folder = tempfile::tempdir().unwrap();
    let archive = folder.path().join("operator.tar");
    image::build_operator_image(Path::new("/usr/bin/stat"), "t", &archive).unwrap();
    let names = testbed.load_image(&archive).unwrap();
    let image = format!("--image={}", names[0]);
    let never = "--image-pull-policy=Never";
    testbed
        .kubectl(&[
            "run",
            "tool",
            &image,
            never,
            "--restart=Never",
            "--",
            "--version",
        ])
        .unwrap();
    wait_eventually("the program's words", || {
        testbed
            .kubectl(&["logs", "tool"])
            .is_ok_and(|log| log.starts_with("stat (GNU coreutils)"))
    });

    // Who did what is on record.
    let audit = std::fs::read_to_string(testbed.audit_log()).unwrap();
    assert!(
        audit
            .lines()
            .any(|line| line.contains(r#""subresource":"exec""#)),
        "the audit log has no exec"
    );

    let started = Instant::now();
    Testbed::down("t-life").unwrap();
    println!("down in {:.1} s", started.elapsed().as_secs_f64());
    alone.assert_nothing_left("t-life");
}

#[test]
fn up_again_is_quick_and_repairs() {
    let alone = ExclusiveMachine::on_this_machine();
    let own = OwnTestbed::up("t-fix");
    let options = TestbedOptions {
        name: "t-fix".into(),
        ..TestbedOptions::default()
    };
    let started = Instant::now();
    Testbed::up(&options).unwrap();
    assert!(
        started.elapsed() < Duration::from_secs(1),
        "a second up took {:?}",
        started.elapsed()
    );

    // Killed parts come back, and with them what the store had.
    let pods = deploy_testapp(&own.testbed, 1);
    own.testbed
        .kubectl(&["create", "configmap", "kept"])
        .unwrap();
    for part in [Component::Etcd, Component::Kubelet, Component::Containerd] {
        let process = part.running(own.testbed.layout()).unwrap();
        process.signal(Signal::SIGKILL).unwrap();
        wait_eventually("its end", || !process.is_alive());
    }
    Testbed::up(&options).unwrap();
    assert!(
        Component::ALL
            .iter()
            .all(|part| part.running(own.testbed.layout()).is_some())
    );
    own.testbed.kubectl(&["get", "configmap", "kept"]).unwrap();

    // Its pods were not touched.
    own.testbed
        .kubectl(&["exec", &pods[0], "--", "true"])
        .unwrap();
    let restarts = [
        "get",
        "pod",
        &pods[0],
        "-o",
        "jsonpath={.status.containerStatuses[0].restartCount}",
    ];
    assert_eq!(own.testbed.kubectl(&restarts).unwrap(), "0");

    // After a reboot there are a folder with stale records, and nothing else.
    let layout = own.testbed.layout();
    let (key, value) = layout.mark();
    for process in process::find_marked_processes(&format!("{key}={value}")).unwrap() {
        process.signal(Signal::SIGKILL).unwrap();
    }
    dbbalance_testbed::mounts::unmount_below(&layout.folder()).unwrap();
    std::fs::write(
        layout.path("testbed.json"),
        r#"{"boot":"another","control_plane_only":false}"#,
    )
    .unwrap();
    Testbed::up(&options).unwrap();
    assert!(
        own.testbed.kubectl(&["get", "configmap", "kept"]).is_err(),
        "a new boot is a new testbed"
    );
    drop(own);
    alone.assert_nothing_left("t-fix");
}

#[test]
fn a_killed_or_interrupted_up_leaves_nothing() {
    let alone = ExclusiveMachine::on_this_machine();
    let layout = Layout::of("t-kill").unwrap();
    Testbed::down("t-kill").unwrap();
    // At once after the folder, in the middle, and with pods' programs running.
    for reached in [
        layout.path("testbed.json"),
        layout.pid("kube-apiserver"),
        layout.pid("kubelet"),
    ] {
        let mut up = spawn_testbed(&["up", "--name", "t-kill"]);
        wait_eventually("the start's progress", || reached.exists());
        up.kill().unwrap();
        up.wait().unwrap();
        assert!(run_testbed(&["down", "--name", "t-kill"]).status.success());
        alone.assert_nothing_left("t-kill");
    }

    // After a kill, up goes on; after ctrl-C it cleans up by itself.
    let mut up = spawn_testbed(&["up", "--name", "t-kill"]);
    wait_eventually("the start's progress", || layout.pid("containerd").exists());
    up.kill().unwrap();
    up.wait().unwrap();
    let again = run_testbed(&["up", "--name", "t-kill", "--control-plane-only"]);
    assert!(again.status.success(), "{}", utf8_text(&again.stderr));
    assert!(run_testbed(&["down", "--name", "t-kill"]).status.success());

    let mut up = spawn_testbed(&["up", "--name", "t-kill"]);
    wait_eventually("the start's progress", || {
        layout.pid("kube-apiserver").exists()
    });
    nix::sys::signal::kill(
        nix::unistd::Pid::from_raw(i32::try_from(up.id()).unwrap()),
        Signal::SIGINT,
    )
    .unwrap();
    assert!(!up.wait().unwrap().success());
    alone.assert_nothing_left("t-kill");
}

#[test]
fn two_testbeds_run_side_by_side() {
    let alone = ExclusiveMachine::on_this_machine();
    let one = OwnTestbed::up("t-one");
    // A name that begins with the other's: nothing may be found by a prefix.
    let two = OwnTestbed::up("t-one-2");
    one.testbed
        .kubectl(&["create", "configmap", "mine"])
        .unwrap();
    assert!(two.testbed.kubectl(&["get", "configmap", "mine"]).is_err());
    let (first, second) = (
        deploy_testapp(&one.testbed, 1),
        deploy_testapp(&two.testbed, 1),
    );

    // The end of one is not the end of the other, nor of its pods.
    drop(one);
    let process = two
        .testbed
        .container_process("default", &second[0], "app")
        .unwrap();
    assert!(process.is_alive());
    assert!(
        two.testbed
            .kubectl(&["exec", &second[0], "--", "true"])
            .is_ok()
    );
    assert!(
        two.testbed
            .container_pid("default", &first[0], "app")
            .is_err()
    );
    assert_eq!(
        dbbalance_testbed::kubernetes::leftovers::find_leftovers("t-one").unwrap(),
        Vec::<String>::new()
    );
    drop(two);
    alone.assert_nothing_left("t-one-2");
}

/// Pods keep the bridge's address in their ARP caches: when the pod goes that lent it, every connect and query of the
/// others is lost for half a minute.
#[test]
fn the_bridge_keeps_its_address_when_pods_come_and_go() {
    let _alone = ExclusiveMachine::on_this_machine();
    let own = OwnTestbed {
        testbed: Testbed::up(&TestbedOptions {
            name: "t-bridge".into(),
            control_plane_only: true,
        })
        .unwrap(),
    };
    let inside = |line: &str| {
        let told = own
            .testbed
            .command("sh")
            .args(["-c", line])
            .output()
            .unwrap();
        assert!(told.status.success(), "{line}: {}", utf8_text(&told.stderr));
        utf8_text(&told.stdout).trim().to_owned()
    };
    // Not from /sys, which shows the network of whoever mounted it.
    let address = "ip -o link show kb0 | sed 's/.*link.ether //; s/ .*//'";
    let before = inside(address);
    inside(
        "ip link add low0 address 02:00:00:00:00:01 type veth peer name low1 && ip link set low0 master kb0 up",
    );
    assert_eq!(inside(address), before, "a pod with a lower address came");
    inside("ip link del low0");
    assert_eq!(inside(address), before, "and went");
}

#[test]
fn a_shell_passes_arguments_output_and_exit_code_on() {
    let _alone = ExclusiveMachine::on_this_machine();
    assert!(
        !run_testbed(&["status", "--name", "t-shell"])
            .status
            .success()
    );
    let before = run_testbed(&["shell", "--name", "t-shell", "--", "true"]);
    assert!(
        utf8_text(&before.stderr).contains("testbed up --name t-shell"),
        "{}",
        utf8_text(&before.stderr)
    );

    let options = TestbedOptions {
        name: "t-shell".into(),
        control_plane_only: true,
    };
    let own = OwnTestbed {
        testbed: Testbed::up(&options).unwrap(),
    };
    let told = run_testbed(&[
        "shell",
        "--name",
        "t-shell",
        "--",
        "sh",
        "-c",
        "kubectl get namespace default -o name; exit 7",
    ]);
    assert_eq!(told.status.code(), Some(7), "{}", utf8_text(&told.stderr));
    assert_eq!(utf8_text(&told.stdout), "namespace/default\n");
    let status = run_testbed(&["status", "--name", "t-shell"]);
    assert!(status.status.success() && utf8_text(&status.stdout).contains("control plane only"));
    drop(own);
}
