#![allow(clippy::unwrap_used, clippy::panic)]
use std::process::Command;

use serde_json::{Value, json};

use super::*;
use crate::exec::{EndedCommand, ExecError};

const TABLE: &str = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n   0: 0707000A:9C40 0200000A:1538 01 00000000:00000000 00:00000000 00000000   101        0 2 1 0 100 0 0 10 0\n";
const TABLE6: &str = "  sl  local_address                         remote_address                        st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n   0: 0000000000000000FFFF00000707000A:9C41 0000000000000000FFFF00000200000A:1538 01 00000000:00000000 00:00000000 00000000   101        0 2 1 0 100 0 0 10 0\n";

fn pod() -> PodToRead {
    PodToRead {
        namespace: "shop".to_owned(),
        name: "web-1".to_owned(),
        uid: "u-1".to_owned(),
        template: "t".to_owned(),
        port: 5432,
        containers: vec!["app".to_owned(), "log".to_owned()],
        refused: None,
    }
}

fn ended(out: &str, err: &str, status: &Value) -> EndedCommand {
    EndedCommand {
        out: out.to_owned(),
        err: err.to_owned(),
        cut: false,
        status: Some(serde_json::from_value(status.clone()).unwrap()),
    }
}

fn success() -> Value {
    json!({"metadata": {}, "status": "Success"})
}

fn exited(code: i32) -> Value {
    json!({
        "metadata": {}, "status": "Failure", "reason": "NonZeroExitCode",
        "message": format!("command terminated with non-zero exit code: exit status {code}"),
        "details": {"causes": [{"reason": "ExitCode", "message": code.to_string()}]}
    })
}

fn judged(ended: EndedCommand) -> Result<usize, ReadFailure> {
    answer::interpret_read(Ok(ended), &pod(), "app").map(|sockets| sockets.len())
}

fn reason(result: Result<usize, ReadFailure>) -> (UnreadableReason, String) {
    match result {
        Err(ReadFailure::Ends(why)) => (why.reason, why.message),
        other => panic!("{other:?}"),
    }
}

fn refused(code: u16, message: &str) -> Result<usize, ReadFailure> {
    let status = serde_json::from_value(json!({
        "metadata": {}, "status": "Failure", "code": code, "reason": "", "message": message
    }))
    .unwrap();
    let answer = Err(ExecError::Refused(Box::new(status)));
    answer::interpret_read(answer, &pod(), "app").map(|sockets| sockets.len())
}

#[test]
fn both_tables_are_counted_and_mapped_addresses_are_ipv4() {
    let both = format!("{TABLE}{TABLE6}");
    let sockets = answer::interpret_read(Ok(ended(&both, "", &success())), &pod(), "app").unwrap();
    let remotes: Vec<_> = sockets.iter().map(|s| s.remote.to_string()).collect();
    assert_eq!(remotes, ["10.0.0.2:5432", "10.0.0.2:5432"]);
}

#[test]
fn without_ipv6_one_table_is_whole() {
    let said = "cat: can't open '/proc/net/tcp6': No such file or directory\n";
    assert_eq!(judged(ended(TABLE, said, &exited(1))), Ok(1));
    let both = format!("{TABLE}{TABLE6}");
    let odd = reason(judged(ended(&both, said, &exited(1))));
    assert_eq!(odd.0, UnreadableReason::Garbled);
}

#[test]
fn a_command_that_failed_otherwise_is_unknown_whatever_it_printed() {
    for said in [
        "",
        "cat: /proc/net/tcp: Permission denied\n",
        "cat: can't open '/proc/net/tcp6': x\ncat: write error: y\n",
    ] {
        let (reason, message) = reason(judged(ended(TABLE, said, &exited(1))));
        assert_eq!(reason, UnreadableReason::ApiError, "{message}");
    }
}

#[test]
fn a_cut_table_and_a_broken_connection_are_unknown_and_never_fewer() {
    let cut = &TABLE[..TABLE.len() - 20];
    assert_eq!(
        reason(judged(ended(cut, "", &success()))).0,
        UnreadableReason::Garbled
    );
    let mut large = ended(TABLE, "", &success());
    large.cut = true;
    assert_eq!(reason(judged(large)).0, UnreadableReason::TableTooLarge);
    let mut broken = ended(TABLE, "", &success());
    broken.status = None;
    assert_eq!(reason(judged(broken)).0, UnreadableReason::Connection);
    assert_eq!(
        reason(judged(ended("", "", &success()))).0,
        UnreadableReason::Garbled,
        "nothing printed is no empty table"
    );
}

#[test]
fn what_was_read_is_in_no_message() {
    let secret = format!("{TABLE}hunter2\n");
    let (_, message) = reason(judged(ended(&secret, "", &success())));
    assert!(!message.contains("hunter2"), "{message}");
    assert!(message.contains("line 3"), "{message}");
}

#[test]
fn a_missing_program_is_tried_elsewhere() {
    let said = "failed to exec in container: OCI runtime exec failed: exec failed: unable to start container process: exec: \"cat\": executable file not found in $PATH: unknown";
    let missing =
        json!({"metadata": {}, "status": "Failure", "reason": "InternalError", "message": said});
    assert_eq!(judged(ended("", "", &missing)), Err(ReadFailure::NoProgram));
    assert_eq!(
        judged(ended("", "", &exited(127))),
        Err(ReadFailure::NoProgram)
    );
}

#[test]
fn refusals_are_told_apart() {
    let (granted, message) = reason(refused(403, "pods \"web-1\" is forbidden"));
    assert_eq!(granted, UnreadableReason::NotGranted);
    assert!(message.contains("evidence.namespaces"), "{message}");
    let of = |code, said| reason(refused(code, said)).0;
    assert_eq!(of(404, "pods \"web-1\" not found"), UnreadableReason::Gone);
    assert_eq!(of(429, "slow down"), UnreadableReason::ApiServerBusy);
    assert_eq!(of(500, "etcd"), UnreadableReason::ApiError);
    assert_eq!(
        of(400, "container app is not valid for pod web-1"),
        UnreadableReason::NoSuchContainer
    );
    let idle = refused(500, "unable to upgrade connection: container not found");
    assert_eq!(idle, Err(ReadFailure::NotRunning));
}

/// The shells that images have. Debian's `sh` is dash.
fn shells() -> Vec<Vec<&'static str>> {
    vec![vec!["dash"], vec!["bash"], vec!["busybox", "sh"]]
}

#[test]
fn the_script_prints_what_cat_prints_in_every_shell() {
    let heads = |text: &str| text.lines().filter(|l| l.contains("local_address")).count();
    let cat = Command::new("cat")
        .args(["/proc/net/tcp", "/proc/net/tcp6"])
        .output()
        .unwrap();
    let wanted = heads(&String::from_utf8_lossy(&cat.stdout));
    for shell in shells() {
        let out = Command::new(shell[0])
            .args(&shell[1..])
            .args(&ReaderProgram::Shell.command()[1..])
            .output()
            .unwrap_or_else(|e| panic!("{shell:?}: {e}: apt-get install {}", shell[0]));
        assert!(out.status.success(), "{shell:?}");
        let text = String::from_utf8(out.stdout).unwrap();
        assert_eq!(heads(&text), wanted, "{shell:?}");
        assert_eq!(
            table::parse_tables(&text, 1).unwrap().tables,
            wanted,
            "{shell:?}"
        );
    }
}

mod calls {
    use std::pin::pin;

    use http::{Request, Response};
    use kube::client::Body;
    use tower_test::mock;

    use super::*;
    use crate::sockets::NoPace;

    /// A client whose calls are answered in turn, each with a code and a message; tells the queries.
    fn answering(
        answers: Vec<(u16, &'static str)>,
    ) -> (Client, tokio::task::JoinHandle<Vec<String>>) {
        let (service, handle) = mock::pair::<Request<Body>, Response<Body>>();
        let seen = tokio::spawn(async move {
            let mut handle = pin!(handle);
            let mut seen = Vec::new();
            for (code, message) in answers {
                let (request, send) = handle.next_request().await.unwrap();
                let query = request.uri().query().unwrap_or_default();
                seen.push(query.to_owned());
                let status = json!({
                    "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
                    "code": code, "reason": "", "message": message
                });
                send.send_response(
                    Response::builder()
                        .status(code)
                        .body(Body::from(serde_json::to_vec(&status).unwrap()))
                        .unwrap(),
                );
            }
            seen
        });
        (Client::new(service, "default"), seen)
    }

    const MISSING: (u16, &str) = (500, "exec: \"x\": executable file not found in $PATH");

    #[tokio::test]
    async fn every_container_is_tried_with_cat_then_with_sh() {
        let (client, seen) = answering(vec![MISSING; 4]);
        let why = ProcNet::new(client)
            .read(&pod(), &NoPace)
            .await
            .unwrap_err();
        assert_eq!(why.reason, UnreadableReason::NoReader);
        assert!(
            why.message.contains("(app, log)")
                && why.message.contains("targets[].evidenceContainer"),
            "{}",
            why.message
        );
        let seen = seen.await.unwrap();
        let tried: Vec<_> = seen
            .iter()
            .map(|q| (q.contains("container=app"), q.contains("command=cat")))
            .collect();
        assert_eq!(
            tried,
            [(true, true), (false, true), (true, false), (false, false)]
        );
    }

    #[tokio::test]
    async fn a_refused_right_ends_the_search_at_once() {
        let (client, seen) = answering(vec![(403, "forbidden")]);
        let why = ProcNet::new(client)
            .read(&pod(), &NoPace)
            .await
            .unwrap_err();
        assert_eq!(why.reason, UnreadableReason::NotGranted);
        assert_eq!(seen.await.unwrap().len(), 1);
    }

    #[tokio::test]
    async fn a_pod_with_an_idle_container_may_yet_have_a_reader() {
        let idle = (500, "container not found (\"app\")");
        let (client, _seen) = answering(vec![idle, MISSING, idle, MISSING]);
        let why = ProcNet::new(client)
            .read(&pod(), &NoPace)
            .await
            .unwrap_err();
        assert_eq!(why.reason, UnreadableReason::NotRunning);
    }

    #[tokio::test]
    async fn what_is_refused_is_not_asked_for() {
        let (client, seen) = answering(vec![]);
        let mut pod = pod();
        pod.refused = Some(Unreadable::new(UnreadableReason::HostNetwork, "its node's"));
        let why = ProcNet::new(client).read(&pod, &NoPace).await.unwrap_err();
        assert_eq!(why.reason, UnreadableReason::HostNetwork);
        assert!(seen.await.unwrap().is_empty());
    }

    #[test]
    fn what_could_read_is_remembered_for_the_template_alone() {
        let (service, _handle) = mock::pair::<Request<Body>, Response<Body>>();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        let _inside = runtime.enter();
        let reader = ProcNet::new(Client::new(service, "default"));
        let choice = ReaderChoice {
            container: "log".to_owned(),
            program: ReaderProgram::Shell,
        };
        reader.update_memory(&pod(), |memory| memory.reads = Some(choice.clone()));
        assert_eq!(reader.list_choices(&pod()).first(), Some(&choice));
        let mut other = pod();
        other.template = "t2".to_owned();
        assert_ne!(reader.list_choices(&other).first(), Some(&choice));
        let mut narrowed = pod();
        narrowed.containers = vec!["app".to_owned()];
        let choices = reader.list_choices(&narrowed);
        assert!(
            choices.iter().all(|c| c.container == "app"),
            "another container is named now"
        );
        // What is known to be absent is not tried again, and what has read comes first.
        let absent = ReaderChoice {
            container: "app".to_owned(),
            program: ReaderProgram::Cat,
        };
        let now = Instant::now();
        reader.update_memory(&pod(), |memory| memory.lacks.insert(absent.clone(), now));
        let choices = reader.list_choices(&pod());
        assert_eq!(choices.first(), Some(&choice));
        assert!(!choices.contains(&absent));
    }
}
