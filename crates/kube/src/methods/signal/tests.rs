//! The script in real shells, and the meaning of answers.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use serde_json::{Value, json};

use super::super::testing::{client_answering, failure_body, pod_ref, silent_client};
use super::*;

const SHELLS: [&[&str]; 4] = [&["sh"], &["dash"], &["bash", "--posix"], &["busybox", "sh"]];

/// The shells of this machine.
fn shells() -> impl Iterator<Item = &'static [&'static str]> {
    SHELLS.into_iter().filter(|shell| {
        Command::new(shell[0])
            .args(&shell[1..])
            .args(["-c", ":"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|s| s.success())
    })
}

fn run(shell: &[&str], process: u32, name: SignalName) -> i32 {
    run_for(shell, process, name, "self")
}

fn run_for(shell: &[&str], process: u32, name: SignalName, who: &str) -> i32 {
    let (signal, number) = signal_of(name);
    Command::new(shell[0])
        .args(&shell[1..])
        .args(["-c", SCRIPT, "dbbalance"])
        .args([&process.to_string(), signal, &number.to_string(), who])
        .stderr(Stdio::null())
        .status()
        .unwrap()
        .code()
        .unwrap()
}

/// A process that catches the signal, says so, and ends with 7 on it.
struct Catcher(Child);

impl Catcher {
    fn of(signal: &str) -> Self {
        let script =
            format!("trap 'exit 7' {signal}; echo ready; while :; do read -r x || :; done");
        // A shell cannot trap a signal that it was started to ignore, as by nohup.
        let mut child = Command::new("env")
            .args(["--default-signal", "bash", "-c", &script])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        assert_eq!(line, "ready\n");
        Self(child)
    }
}

impl Drop for Catcher {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_caught_signal_is_sent_in_every_shell() {
    for shell in shells() {
        for (name, trap) in [
            (SignalName::Hup, "HUP"),
            (SignalName::Usr2, "USR2"),
            (SignalName::Winch, "WINCH"),
        ] {
            let mut process = Catcher::of(trap);
            assert_eq!(run(shell, process.0.id(), name), 0, "{shell:?} {trap}");
            assert_eq!(
                process.0.wait().unwrap().code(),
                Some(7),
                "{shell:?} {trap}"
            );
        }
    }
}

#[test]
fn a_signal_that_is_not_caught_is_not_sent_in_any_shell() {
    for shell in shells() {
        let mut process = Catcher::of("HUP");
        for name in [SignalName::Usr1, SignalName::Term, SignalName::Winch] {
            assert_eq!(run(shell, process.0.id(), name), NOT_CAUGHT, "{shell:?}");
        }
        assert!(process.0.try_wait().unwrap().is_none(), "{shell:?}");
    }
}

#[test]
fn a_process_that_is_not_there_is_said_in_every_shell() {
    for shell in shells() {
        // Above the kernel's greatest process id.
        assert_eq!(
            run(shell, 4_194_305, SignalName::Hup),
            NO_SUCH_PROCESS,
            "{shell:?}"
        );
    }
}

/// A process that, like an init such as tini, catches nothing and has these children: apps that end on HUP, and a zombie.
struct Init {
    process: Catcher,
    apps: Vec<u32>,
}

impl Init {
    fn with_apps(count: usize) -> Self {
        let app = "trap 'exit 7' HUP; echo $$; while :; do sleep 0.05; done";
        let apps = r#"bash -c "$APP" & "#.repeat(count);
        let init = format!("(exit 0) & {apps} exec sleep 1000");
        let mut child = Command::new("env")
            .args(["--default-signal", "bash", "-c", &init])
            .env("APP", app)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let apps = lines.take(count).map(|line| line.unwrap().parse().unwrap());
        let apps = apps.collect();
        let process = Catcher(child);
        wait_until(|| name_of(process.0.id()) == "sleep");
        Self { process, apps }
    }

    fn is_running(app: u32) -> bool {
        let status = std::fs::read_to_string(format!("/proc/{app}/status"));
        status.is_ok_and(|text| !text.contains("State:\tZ"))
    }
}

impl Drop for Init {
    fn drop(&mut self) {
        for app in self.apps.iter().filter(|app| Self::is_running(**app)) {
            let _ = Command::new("kill")
                .args(["-s", "KILL", &app.to_string()])
                .status();
        }
    }
}

fn name_of(process: u32) -> String {
    let name = std::fs::read_to_string(format!("/proc/{process}/comm"));
    name.unwrap_or_default().trim().to_owned()
}

fn wait_until(holds: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !holds() {
        assert!(Instant::now() < deadline, "not within 10 s");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn the_only_child_of_an_init_is_signalled_in_every_shell() {
    for shell in shells() {
        let init = Init::with_apps(1);
        let (process, app) = (init.process.0.id(), init.apps[0]);
        assert_eq!(run(shell, process, SignalName::Hup), NOT_CAUGHT, "the init");
        let child = |name| run_for(shell, process, name, "child");
        assert_eq!(child(SignalName::Usr1), NOT_CAUGHT, "{shell:?}");
        assert!(Init::is_running(app), "{shell:?}");
        assert_eq!(child(SignalName::Hup), 0, "{shell:?}");
        wait_until(|| !Init::is_running(app));
        assert_eq!(child(SignalName::Hup), NO_CHILD, "{shell:?}: zombies alone");
    }
}

#[test]
fn of_several_children_none_is_signalled_in_any_shell() {
    for shell in shells() {
        let init = Init::with_apps(2);
        let process = init.process.0.id();
        let ended = run_for(shell, process, SignalName::Hup, "child");
        assert_eq!(ended, SEVERAL_CHILDREN, "{shell:?}");
        assert!(init.apps.iter().all(|app| Init::is_running(*app)));
    }
}

#[test]
fn a_mask_with_its_highest_bits_set_is_read_right() {
    // As the script cuts it, with 0x2 = SIGINT at the low end.
    let cut = r#"caught=$1; head=${caught%???????}; low=${caught#"$head"}
[ $(( (0x$low >> ($2 - 1)) & 1 )) -eq 1 ]"#;
    assert!(SCRIPT.contains(r"head=${caught%???????}"));
    for shell in shells() {
        for (mask, number, caught) in [
            ("ffffffffffffffff", "28", true),
            ("8000000000000002", "2", true),
            ("fffffffff0000000", "28", false),
            ("0000000008000000", "28", true),
            ("fffffffe7ffbfeff", "1", true),
        ] {
            let status = Command::new(shell[0])
                .args(&shell[1..])
                .args(["-c", cut, "x", mask, number])
                .status()
                .unwrap();
            assert_eq!(status.success(), caught, "{shell:?} {mask} {number}");
        }
    }
}

fn spec(container: Option<&str>) -> SignalSpec {
    SignalSpec {
        name: SignalName::Hup,
        container: container.map(str::to_owned),
        process: 1,
        child: None,
    }
}

fn pod() -> Pod {
    serde_json::from_value(json!({
        "metadata": {"namespace": "shop", "name": "web-1", "uid": "u-1"},
        "spec": {
            "containers": [{"name": "app"}, {"name": "proxy"}],
            "initContainers": [{"name": "setup"}, {"name": "proxysql", "restartPolicy": "Always"}]
        }
    }))
    .unwrap()
}

async fn answered(code: u16, message: &str) -> EffectFault {
    let (client, _seen) = client_answering(code, failure_body(code, "", message));
    match send_signal(&client, &pod(), &spec(Some("app"))).await {
        EffectOutcome::Failed { fault, .. } => fault,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn user_words_are_arguments_and_never_script() {
    let (client, seen) = client_answering(403, failure_body(403, "Forbidden", "no"));
    let EffectOutcome::Failed { fault, message } =
        send_signal(&client, &pod(), &spec(Some("proxy"))).await
    else {
        panic!("not a failure");
    };
    assert_eq!(fault, EffectFault::Forbidden);
    assert!(message.contains("signal.namespaces"), "{message}");
    let uri = seen.await.unwrap().uri;
    assert!(uri.contains("/api/v1/namespaces/shop/pods/web-1/exec?"));
    assert!(uri.contains("container=proxy"));
    assert!(uri.contains("command=sh&command=-c&command="));
    assert!(
        uri.ends_with("command=dbbalance&command=1&command=HUP&command=1&command=self"),
        "{uri}"
    );
}

#[tokio::test]
async fn a_container_that_the_pod_lacks_is_refused_without_a_request() {
    let EffectOutcome::Failed { fault, .. } =
        send_signal(&silent_client(), &pod(), &spec(Some("none"))).await
    else {
        panic!("not a failure");
    };
    assert_eq!(fault, EffectFault::NoSuchContainer);
}

fn refused(pod: &Pod, spec: &SignalSpec) -> (EffectFault, String) {
    check_signal(pod, spec).expect_err("a refusal")
}

fn annotated(container: &str) -> Pod {
    let mut pod = pod();
    let note = (DEFAULT_CONTAINER.to_owned(), container.to_owned());
    pod.metadata.annotations = Some(std::iter::once(note).collect());
    pod
}

#[test]
fn of_several_containers_none_is_signalled_unless_one_is_named() {
    let (fault, why) = refused(&pod(), &spec(None));
    assert_eq!(fault, EffectFault::ContainerNotNamed);
    assert!(fault.is_structural());
    assert!(why.contains("app, proxy") && why.contains("recycle.signal.container"));
    let (fault, _) = refused(&annotated("gone"), &spec(None));
    assert_eq!(fault, EffectFault::ContainerNotNamed);
    let only = |pod: &Pod| check_signal(pod, &spec(None)).unwrap().name.clone();
    assert_eq!(only(&annotated("proxy")), "proxy");
    let mut single = pod();
    single.spec.as_mut().unwrap().containers.pop();
    assert_eq!(only(&single), "app", "a native sidecar does not count");
}

#[test]
fn a_native_sidecar_can_be_named_and_another_init_container_cannot() {
    let named = |name| check_signal(&pod(), &spec(Some(name))).map(|c| c.name.clone());
    assert_eq!(named("proxysql").unwrap(), "proxysql");
    assert_eq!(named("setup").unwrap_err().0, EffectFault::NoSuchContainer);
}

#[test]
fn process_1_that_is_not_the_container_s_own_is_refused() {
    let app = spec(Some("app"));
    let other = SignalSpec {
        process: 7,
        ..app.clone()
    };
    let mut shared = pod();
    shared.spec.as_mut().unwrap().share_process_namespace = Some(true);
    let (fault, why) = refused(&shared, &app);
    assert_eq!(fault, EffectFault::SharedProcesses);
    assert!(why.contains("recycle.signal.process"));
    assert!(check_signal(&shared, &other).is_ok());
    let mut on_node = pod();
    on_node.spec.as_mut().unwrap().host_pid = Some(true);
    assert_eq!(refused(&on_node, &app).0, EffectFault::SharedProcesses);
    assert_eq!(refused(&on_node, &other).0, EffectFault::SharedProcesses);
}

#[tokio::test]
async fn refusals_before_the_start_are_told_apart() {
    assert_eq!(
        answered(400, "container x is not valid for pod web-1").await,
        EffectFault::NoSuchContainer
    );
    assert_eq!(
        answered(
            500,
            "unable to upgrade connection: container not found (\"app\")"
        )
        .await,
        EffectFault::ContainerNotRunning
    );
    assert_eq!(
        answered(500, "etcdserver: leader changed").await,
        EffectFault::ApiError
    );
}

#[tokio::test]
async fn a_pod_that_left_is_gone() {
    let (client, _seen) = client_answering(
        404,
        failure_body(404, "NotFound", "pods \"web-1\" not found"),
    );
    assert_eq!(
        send_signal(&client, &pod(), &spec(Some("app"))).await,
        EffectOutcome::Gone
    );
}

#[tokio::test(start_paused = true)]
async fn a_hung_exec_ends_in_a_time_out() {
    let EffectOutcome::Failed { fault, .. } =
        send_signal(&silent_client(), &pod(), &spec(Some("app"))).await
    else {
        panic!("not a failure");
    };
    assert_eq!(fault, EffectFault::Timeout);
}

fn ended(status: Value) -> EffectOutcome {
    let (pod, spec) = (pod_ref(), spec(None));
    let client = silent_client();
    let call = SignalCall {
        client: &client,
        pod: &pod,
        container: "app",
        spec: &spec,
    };
    call.interpret_end(&serde_json::from_value(status).unwrap(), "")
}

fn exited(code: i32) -> Value {
    json!({
        "metadata": {}, "status": "Failure", "reason": "NonZeroExitCode",
        "message": format!("command terminated with non-zero exit code: exit status {code}"),
        "details": {"causes": [{"reason": "ExitCode", "message": code.to_string()}]}
    })
}

#[tokio::test]
async fn exit_codes_of_the_script_are_told_apart() {
    assert_eq!(
        ended(json!({"metadata": {}, "status": "Success"})),
        EffectOutcome::Done
    );
    for (code, wanted) in [
        (NO_SUCH_PROCESS, EffectFault::NoSuchProcess),
        (UNREADABLE, EffectFault::ProcessUnreadable),
        (NOT_CAUGHT, EffectFault::SignalNotCaught),
        (REFUSED, EffectFault::SignalRefused),
        (NO_CHILD, EffectFault::NoSuchProcess),
        (SEVERAL_CHILDREN, EffectFault::SeveralChildren),
        (127, EffectFault::NoShell),
        (2, EffectFault::NonZeroExit),
    ] {
        let EffectOutcome::Failed { fault, .. } = ended(exited(code)) else {
            panic!("{code}");
        };
        assert_eq!(fault, wanted);
    }
}

#[tokio::test]
async fn a_missing_shell_is_known_by_the_runtime_s_words() {
    for said in [
        "error executing command in container: failed to exec in container: failed to start exec \
         \"x\": OCI runtime exec failed: exec failed: unable to start container process: exec: \
         \"sh\": executable file not found in $PATH: unknown",
        "exec failed: container_linux.go:380: exec: \"sh\": stat sh: no such file or directory",
    ] {
        let status = json!({
            "metadata": {}, "status": "Failure", "reason": "InternalError", "message": said
        });
        let EffectOutcome::Failed { fault, .. } = ended(status) else {
            panic!("not a failure");
        };
        assert_eq!(fault, EffectFault::NoShell);
        assert!(fault.is_structural());
    }
}
