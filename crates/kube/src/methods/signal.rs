//! Sends a signal to a process of one container, if that process catches it.
//!
//! By `pods/exec` and one script of shell builtins. Nothing that a user wrote is ever part of the
//! script: process, name and number of the signal are its arguments.

use std::time::Duration;

use k8s_openapi::api::core::v1::{Container, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Status;
use kube::Client;

use super::api_reply::{self, RequestError};
use super::{EffectFault, EffectOutcome, PodRef};
use crate::containers::{ContainerChoiceError, DEFAULT_CONTAINER, choose_container};
use crate::exec::{self, ExecError, StartFault};
use dbbalance_api::spec::{SignalName, SignalSpec};

/// How long the command in the container may take. It runs a few builtins; what takes longer is a
/// node in trouble.
pub const TIMEOUT: Duration = Duration::from_secs(10);

/// What of the command's output is kept: enough for one error message.
const OUTPUT_BYTES: usize = 2048;

const GRANT: &str = "method Signal needs create on pods/exec: list this namespace in the chart's \
                     value signal.namespaces, or choose another method";

// Exit codes of the script. From 41 on, away from those of shells (1, 2, 126, 127, 128+n).
const NO_SUCH_PROCESS: i32 = 41;
const UNREADABLE: i32 = 42;
const NOT_CAUGHT: i32 = 43;
const REFUSED: i32 = 44;

const NO_CHILD: i32 = 45;
const SEVERAL_CHILDREN: i32 = 46;

/// `$1` process, `$2` name, `$3` number of the signal, `$4` who gets it: `self`, or `child` for the process's only child.
///
/// Children are found by the parent in each process's status, as `/proc/PID/task/TID/children` is not everywhere. Zombies
/// do not count: an init has not yet collected them.
///
/// `SigCgt` is a 64-bit mask in hex. Of it only the last seven digits are looked at: 28 bits hold
/// every signal that can be named (`SIGWINCH` is 28), and shells with 32-bit arithmetic can count
/// with them. A process may end between the two steps: then `kill` fails and `/proc` says why.
pub const SCRIPT: &str = r#"
[ -d "/proc/$1" ] || { [ -d /proc/self ] && exit 41; exit 42; }
pid=$1
if [ "$4" = child ]; then
  pid=
  for entry in /proc/[0-9]*; do
    state= parent=
    while read -r key value rest; do
      case "$key" in State:) state=$value ;; PPid:) parent=$value; break ;; esac
    done 2>/dev/null < "$entry/status"
    [ "$parent" = "$1" ] || continue
    [ "$state" = Z ] && continue
    [ -z "$pid" ] || exit 46
    pid=${entry#/proc/}
  done
  [ -n "$pid" ] || exit 45
fi
caught=
while read -r key value; do
  case "$key" in SigCgt:) caught=$value; break ;; esac
done 2>/dev/null < "/proc/$pid/status"
[ -n "$caught" ] || exit 42
head=${caught%???????}
low=${caught#"$head"}
[ $(( (0x$low >> ($3 - 1)) & 1 )) -eq 1 ] || exit 43
kill -s "$2" "$pid" || { [ -d "/proc/$pid" ] || exit 41; exit 44; }
"#;

/// Chooses the container whose process gets the signal.
///
/// # Errors
/// The fault with its cause and what to do, if the pod's spec rules the signal out. Every pod of the template shares it, so
/// it can be said before the first recycle.
pub fn check_signal<'a>(
    pod: &'a Pod,
    spec: &SignalSpec,
) -> Result<&'a Container, (EffectFault, String)> {
    let container =
        choose_container(pod, spec.container.as_deref()).map_err(|error| match error {
            ContainerChoiceError::Missing(name) => (
                EffectFault::NoSuchContainer,
                format!("the pod has no container {name}: correct recycle.signal.container"),
            ),
            ContainerChoiceError::Ambiguous(names) => (
                EffectFault::ContainerNotNamed,
                format!(
                    "the pod has {} containers ({}), and none is named: set recycle.signal.container, or the pod's \
                     annotation {DEFAULT_CONTAINER}",
                    names.len(),
                    names.join(", ")
                ),
            ),
        })?;
    let of_pod = pod.spec.as_ref();
    if of_pod.is_some_and(|s| s.host_pid == Some(true)) {
        return Err((
            EffectFault::SharedProcesses,
            "the pod sees its node's processes (hostPID), of which none can be named safely: choose another method"
                .to_owned(),
        ));
    }
    // With a shared process namespace, process 1 is the pause program of the pod, and the parent of no app.
    if spec.process == 1 && of_pod.is_some_and(|s| s.share_process_namespace == Some(true)) {
        return Err((
            EffectFault::SharedProcesses,
            "the pod's containers share their processes (shareProcessNamespace), so that process 1 is not the app: set \
             recycle.signal.process, or choose another method"
                .to_owned(),
        ));
    }
    Ok(container)
}

/// Sends the signal to the pod's process. `pod` must be the one that is claimed: exec knows pods by
/// name only, and the stamp that follows tests the uid.
pub async fn send_signal(client: &Client, pod: &Pod, spec: &SignalSpec) -> EffectOutcome {
    let Some(of) = PodRef::from_pod(pod) else {
        return EffectOutcome::Gone;
    };
    let container = match check_signal(pod, spec) {
        Ok(container) => container,
        Err((fault, why)) => {
            let what = format!("signalling pod {}/{}", of.namespace, of.name);
            return EffectOutcome::failed(fault, format!("{what}: {why}"));
        }
    };
    let call = SignalCall {
        client,
        pod: &of,
        container: &container.name,
        spec,
    };
    match tokio::time::timeout(TIMEOUT, call.run()).await {
        Ok(outcome) => outcome,
        Err(_) => {
            api_reply::classify_failure(&RequestError::Timeout(TIMEOUT), &call.describe(), GRANT)
        }
    }
}

struct SignalCall<'a> {
    client: &'a Client,
    pod: &'a PodRef,
    container: &'a str,
    spec: &'a SignalSpec,
}

impl SignalCall<'_> {
    async fn run(&self) -> EffectOutcome {
        let (name, number) = signal_of(self.spec.name);
        let command = [
            "sh".to_owned(),
            "-c".to_owned(),
            SCRIPT.to_owned(),
            "dbbalance".to_owned(),
            self.spec.process.to_string(),
            name.to_owned(),
            number.to_string(),
            if self.is_for_child() { "child" } else { "self" }.to_owned(),
        ];
        let command = command.into();
        let limits = exec::OutputLimits {
            out: OUTPUT_BYTES,
            err: OUTPUT_BYTES,
        };
        let place = exec::ExecTarget {
            namespace: &self.pod.namespace,
            pod: &self.pod.name,
            container: self.container,
        };
        match exec::run_command(self.client, &place, command, limits).await {
            Ok(ended) => match &ended.status {
                Some(status) => self.interpret_end(status, ended.output_text()),
                None => EffectOutcome::failed(
                    EffectFault::Connection,
                    format!("{}: the connection broke before the end", self.describe()),
                ),
            },
            Err(ExecError::Refused(status)) => {
                self.interpret_refusal(&RequestError::Refused(status))
            }
            Err(ExecError::Broken(cause)) => self.interpret_refusal(&RequestError::Broken(cause)),
        }
    }

    fn is_for_child(&self) -> bool {
        self.spec.child == Some(true)
    }

    fn describe(&self) -> String {
        format!(
            "signal {} to {} {} in container {} of pod {}/{}",
            signal_of(self.spec.name).0,
            if self.is_for_child() {
                "the child of process"
            } else {
                "process"
            },
            self.spec.process,
            self.container,
            self.pod.namespace,
            self.pod.name
        )
    }

    /// The API server or the kubelet did not start the command.
    fn interpret_refusal(&self, failure: &RequestError) -> EffectOutcome {
        if let RequestError::Refused(status) = failure {
            let said = status.message.as_str();
            if let Some(start) = exec::classify_start_error(said) {
                return EffectOutcome::failed(
                    fault_of_start(start),
                    format!("{}: {said}", self.describe()),
                );
            }
        }
        api_reply::classify_failure(failure, &self.describe(), GRANT)
    }

    /// The command ended, or could not be started by the container's runtime.
    fn interpret_end(&self, status: &Status, output: &str) -> EffectOutcome {
        if status.status.as_deref() == Some("Success") {
            return EffectOutcome::Done;
        }
        let what = self.describe();
        let said = status.message.as_deref().unwrap_or_default();
        let (kind, why) = match exec::exit_code(status) {
            Some(NO_SUCH_PROCESS) => (
                EffectFault::NoSuchProcess,
                "there is no such process: correct recycle.signal.process".to_owned(),
            ),
            Some(NO_CHILD) => (
                EffectFault::NoSuchProcess,
                "it has no child: correct recycle.signal.process, or remove recycle.signal.child"
                    .to_owned(),
            ),
            Some(SEVERAL_CHILDREN) => (
                EffectFault::SeveralChildren,
                "it has several children, and the signal is for one: correct \
                 recycle.signal.process, or choose another method"
                    .to_owned(),
            ),
            Some(UNREADABLE) => (
                EffectFault::ProcessUnreadable,
                "what the process catches cannot be read in /proc: choose another method"
                    .to_owned(),
            ),
            Some(NOT_CAUGHT) => (
                EffectFault::SignalNotCaught,
                "the process does not catch this signal, which would do nothing or end it; it was \
                 not sent. If the process is an init such as tini, set recycle.signal.child"
                    .to_owned(),
            ),
            Some(REFUSED) => (
                EffectFault::SignalRefused,
                format!("kill was refused: {}", output.trim()),
            ),
            Some(126 | 127) => (
                EffectFault::NoShell,
                "the container has no usable sh: choose another method".to_owned(),
            ),
            Some(code) => (
                EffectFault::NonZeroExit,
                format!("the command ended with {code}: {}", output.trim()),
            ),
            None => match exec::classify_start_error(said).map(fault_of_start) {
                Some(EffectFault::NoShell) => (
                    EffectFault::NoShell,
                    "the container has no sh: choose another method".to_owned(),
                ),
                Some(fault) => (fault, said.to_owned()),
                None => (EffectFault::ApiError, said.to_owned()),
            },
        };
        EffectOutcome::failed(kind, format!("{what}: {why}"))
    }
}

const fn fault_of_start(start: StartFault) -> EffectFault {
    match start {
        StartFault::NoSuchContainer => EffectFault::NoSuchContainer,
        StartFault::NoProgram => EffectFault::NoShell,
        StartFault::NotRunning => EffectFault::ContainerNotRunning,
    }
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
mod tests;
