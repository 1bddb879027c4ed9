//! Sends a signal to a process of one container, if that process catches it.
//!
//! By `pods/exec` and one script of shell builtins. Nothing that a user wrote is ever part of the
//! script: process, name and number of the signal are its arguments.

use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Status;
use kube::api::AttachParams;
use kube::{Api, Client};
use tokio::io::{AsyncRead, AsyncReadExt};

use super::reply::{self, Failure};
use super::{Fault, Outcome, PodRef};
use crate::api::spec::{SignalName, SignalSpec};

/// How long the command in the container may take. It runs a few builtins; what takes longer is a
/// node in trouble.
pub const TIMEOUT: Duration = Duration::from_secs(10);

/// What of the command's output is kept: enough for one error message.
const OUTPUT_BYTES: u64 = 2048;

const GRANT: &str = "method Signal needs create on pods/exec: list this namespace in the chart's \
                     value signal.namespaces, or choose another method";

// Exit codes of the script. From 41 on, away from those of shells (1, 2, 126, 127, 128+n).
const NO_SUCH_PROCESS: i32 = 41;
const UNREADABLE: i32 = 42;
const NOT_CAUGHT: i32 = 43;
const REFUSED: i32 = 44;

/// `$1` process, `$2` name, `$3` number of the signal.
///
/// `SigCgt` is a 64-bit mask in hex. Of it only the last seven digits are looked at: 28 bits hold
/// every signal that can be named (`SIGWINCH` is 28), and shells with 32-bit arithmetic can count
/// with them. A process may end between the two steps: then `kill` fails and `/proc` says why.
const SCRIPT: &str = r#"
[ -d "/proc/$1" ] || { [ -d /proc/self ] && exit 41; exit 42; }
caught=
while read -r key value; do
  case "$key" in SigCgt:) caught=$value; break ;; esac
done 2>/dev/null < "/proc/$1/status"
[ -n "$caught" ] || exit 42
head=${caught%???????}
low=${caught#"$head"}
[ $(( (0x$low >> ($3 - 1)) & 1 )) -eq 1 ] || exit 43
kill -s "$2" "$1" || { [ -d "/proc/$1" ] || exit 41; exit 44; }
"#;

/// Sends the signal to the pod's process. `pod` must be the one that is claimed: exec knows pods by
/// name only, and the stamp that follows tests the uid.
pub async fn signal(client: &Client, pod: &Pod, spec: &SignalSpec) -> Outcome {
    let Some(of) = PodRef::of(pod) else {
        return Outcome::Gone;
    };
    let containers = pod.spec.as_ref().map_or(&[][..], |s| &s.containers[..]);
    let container = match &spec.container {
        Some(name) => containers.iter().find(|c| c.name == *name),
        None => containers.first(),
    };
    let Some(container) = container else {
        let wanted = spec.container.as_deref().unwrap_or("(the first)");
        return Outcome::failed(
            Fault::NoSuchContainer,
            format!(
                "pod {}/{} has no container {wanted}: correct recycle.signal.container",
                of.namespace, of.name
            ),
        );
    };
    let call = Call {
        client,
        pod: &of,
        container: &container.name,
        spec,
    };
    match tokio::time::timeout(TIMEOUT, call.run()).await {
        Ok(outcome) => outcome,
        Err(_) => reply::outcome(&Failure::Timeout(TIMEOUT), &call.what(), GRANT),
    }
}

struct Call<'a> {
    client: &'a Client,
    pod: &'a PodRef,
    container: &'a str,
    spec: &'a SignalSpec,
}

impl Call<'_> {
    async fn run(&self) -> Outcome {
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), &self.pod.namespace);
        let (name, number) = signal_of(self.spec.name);
        let command = [
            "sh".to_owned(),
            "-c".to_owned(),
            SCRIPT.to_owned(),
            "dbbalance".to_owned(),
            self.spec.process.to_string(),
            name.to_owned(),
            number.to_string(),
        ];
        let params = AttachParams::default()
            .container(self.container)
            .stdin(false)
            .stdout(true)
            .stderr(true);
        let mut process = match pods.exec(&self.pod.name, command, &params).await {
            Ok(process) => process,
            Err(kube::Error::Api(status)) => return self.refused(&Failure::Refused(status)),
            Err(other) => return self.refused(&Failure::Broken(reply::chain(&other))),
        };
        let status = process.take_status();
        let (stdout, stderr) = (process.stdout(), process.stderr());
        // All three at once: the connection stands still while a full output waits to be read.
        let (out, err, status) = futures::join!(read(stdout), read(stderr), async {
            match status {
                Some(status) => status.await,
                None => None,
            }
        });
        match status {
            Some(status) => self.ended(&status, if err.is_empty() { &out } else { &err }),
            None => Outcome::failed(
                Fault::Connection,
                format!("{}: the connection broke before the end", self.what()),
            ),
        }
    }

    fn what(&self) -> String {
        format!(
            "signal {} to process {} in container {} of pod {}/{}",
            signal_of(self.spec.name).0,
            self.spec.process,
            self.container,
            self.pod.namespace,
            self.pod.name
        )
    }

    /// The API server or the kubelet did not start the command.
    fn refused(&self, failure: &Failure) -> Outcome {
        if let Failure::Refused(status) = failure {
            let said = status.message.as_str();
            if let Some(fault) = start_fault(said) {
                return Outcome::failed(fault, format!("{}: {said}", self.what()));
            }
        }
        reply::outcome(failure, &self.what(), GRANT)
    }

    /// The command ended, or could not be started by the container's runtime.
    fn ended(&self, status: &Status, output: &str) -> Outcome {
        if status.status.as_deref() == Some("Success") {
            return Outcome::Done;
        }
        let what = self.what();
        let said = status.message.as_deref().unwrap_or_default();
        let (fault, why) = match exit_code(status) {
            Some(NO_SUCH_PROCESS) => (
                Fault::NoSuchProcess,
                "there is no such process: correct recycle.signal.process".to_owned(),
            ),
            Some(UNREADABLE) => (
                Fault::ProcessUnreadable,
                "what the process catches cannot be read in /proc: choose another method"
                    .to_owned(),
            ),
            Some(NOT_CAUGHT) => (
                Fault::SignalNotCaught,
                "the process does not catch this signal, which would do nothing or end it; it was \
                 not sent"
                    .to_owned(),
            ),
            Some(REFUSED) => (
                Fault::SignalRefused,
                format!("kill was refused: {}", output.trim()),
            ),
            Some(126 | 127) => (
                Fault::NoShell,
                "the container has no usable sh: choose another method".to_owned(),
            ),
            Some(code) => (
                Fault::NonZeroExit,
                format!("the command ended with {code}: {}", output.trim()),
            ),
            None => match start_fault(said) {
                Some(Fault::NoShell) => (
                    Fault::NoShell,
                    "the container has no sh: choose another method".to_owned(),
                ),
                Some(fault) => (fault, said.to_owned()),
                None => (Fault::ApiError, said.to_owned()),
            },
        };
        Outcome::failed(fault, format!("{what}: {why}"))
    }
}

/// What a message of API server, kubelet or runtime means that says why no command was started.
fn start_fault(said: &str) -> Option<Fault> {
    if said.contains("is not valid for pod") {
        return Some(Fault::NoSuchContainer);
    }
    // runc, crun and youki, each behind containerd or CRI-O.
    let shell = [
        "executable file not found",
        "no such file or directory",
        "executable file `sh`",
    ];
    if said.contains("exec") && shell.iter().any(|s| said.contains(s)) {
        return Some(Fault::NoShell);
    }
    let idle = [
        "container not found",
        "completed pod",
        "is not running",
        "not created or running",
        "does not have a host assigned",
    ];
    idle.iter()
        .any(|s| said.contains(s))
        .then_some(Fault::ContainerNotRunning)
}

/// The exit code in the status channel's answer.
fn exit_code(status: &Status) -> Option<i32> {
    if status.reason.as_deref() != Some("NonZeroExitCode") {
        return None;
    }
    let causes = status.details.as_ref()?.causes.as_ref()?;
    let cause = causes
        .iter()
        .find(|c| c.reason.as_deref() == Some("ExitCode"))?;
    cause.message.as_deref()?.parse().ok()
}

/// Reads all there is and keeps its beginning.
async fn read(stream: Option<impl AsyncRead + Unpin>) -> String {
    let Some(mut stream) = stream else {
        return String::new();
    };
    let mut kept = Vec::new();
    // An error ends the output; the status says how the command ended.
    let _ = (&mut stream)
        .take(OUTPUT_BYTES)
        .read_to_end(&mut kept)
        .await;
    let _ = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await;
    String::from_utf8_lossy(&kept).into_owned()
}

/// Name and number, the latter as on all platforms that Kubernetes runs on (x86, Arm, POWER, s390x,
/// RISC-V; signal(7)).
const fn signal_of(name: SignalName) -> (&'static str, u8) {
    match name {
        SignalName::Hup => ("HUP", 1),
        SignalName::Int => ("INT", 2),
        SignalName::Quit => ("QUIT", 3),
        SignalName::Usr1 => ("USR1", 10),
        SignalName::Usr2 => ("USR2", 12),
        SignalName::Term => ("TERM", 15),
        SignalName::Cont => ("CONT", 18),
        SignalName::Ttin => ("TTIN", 21),
        SignalName::Ttou => ("TTOU", 22),
        SignalName::Winch => ("WINCH", 28),
    }
}

#[cfg(test)]
#[path = "signal_tests.rs"]
mod tests;
