//! Runs one command in a container by `pods/exec` over a WebSocket, and returns how it ended.
//!
//! The output that is kept is limited. There is no timeout: a caller that drops the future closes the connection.

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Status;
use kube::api::AttachParams;
use kube::{Api, Client};
use tokio::io::{AsyncRead, AsyncReadExt};

use dbbalance_core::error_chain::format_error_chain;

/// Size of the stdout pipe buffer, in bytes. A page of a socket table fills it a few times.
const PIPE_BYTES: usize = 16 * 1024;

/// The container that a command runs in.
#[derive(Clone, Copy, Debug)]
pub struct ExecTarget<'a> {
    /// The pod's namespace.
    pub namespace: &'a str,
    /// The pod's name: exec knows pods by name only.
    pub pod: &'a str,
    /// The container.
    pub container: &'a str,
}

/// The bytes that are kept of each output. The rest is read and discarded.
#[derive(Clone, Copy, Debug)]
pub struct OutputLimits {
    /// Of the standard output.
    pub out: usize,
    /// Of the standard error.
    pub err: usize,
}

/// A command that was started and has ended.
#[derive(Clone, Debug)]
pub struct EndedCommand {
    /// The beginning of its standard output.
    pub out: String,
    /// The beginning of its standard error.
    pub err: String,
    /// Whether there was more output than was kept.
    pub cut: bool,
    /// How it ended, or why the container's runtime could not start it. `None`: the connection broke.
    pub status: Option<Status>,
}

impl EndedCommand {
    /// Returns its standard error or, if that is empty, its standard output.
    #[must_use]
    pub fn output_text(&self) -> &str {
        if self.err.is_empty() {
            &self.out
        } else {
            &self.err
        }
    }
}

/// A reason why the API server opened no connection to a command.
#[derive(Debug)]
pub enum ExecError {
    /// The API server or the kubelet refused.
    Refused(Box<kube::core::Status>),
    /// The request failed, or its answer could not be read.
    Broken(String),
}

/// Runs a command without input.
///
/// # Errors
/// When no connection to the command was opened.
pub async fn run_command(
    client: &Client,
    place: &ExecTarget<'_>,
    command: Vec<String>,
    limits: OutputLimits,
) -> Result<EndedCommand, ExecError> {
    let pods: Api<Pod> = Api::namespaced(client.clone(), place.namespace);
    let params = AttachParams::default()
        .container(place.container)
        .stdin(false)
        .stdout(true)
        .stderr(true)
        .max_stdout_buf_size(PIPE_BYTES);
    let mut process = match pods.exec(place.pod, command, &params).await {
        Ok(process) => process,
        Err(kube::Error::Api(status)) => return Err(ExecError::Refused(status)),
        Err(other) => return Err(ExecError::Broken(format_error_chain(&other))),
    };
    let status = process.take_status();
    let (stdout, stderr) = (process.stdout(), process.stderr());
    // All three at once: the connection stands still while a full output waits to be read.
    let ((out, cut), (err, _), status) = futures::join!(
        read_output(stdout, limits.out),
        read_output(stderr, limits.err),
        async {
            match status {
                Some(status) => status.await,
                None => None,
            }
        }
    );
    Ok(EndedCommand {
        out,
        err,
        cut,
        status,
    })
}

/// Reads a stream to its end. Returns its first `limit` bytes, and whether there were more.
async fn read_output(stream: Option<impl AsyncRead + Unpin>, limit: usize) -> (String, bool) {
    let Some(mut stream) = stream else {
        return (String::new(), false);
    };
    let mut kept = Vec::new();
    let most = u64::try_from(limit).unwrap_or(u64::MAX);
    // An error ends the output; the status says how the command ended.
    let _ = (&mut stream).take(most).read_to_end(&mut kept).await;
    let rest = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await;
    (
        String::from_utf8_lossy(&kept).into_owned(),
        rest.is_ok_and(|bytes| bytes > 0),
    )
}

/// Why a command could not be started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartFault {
    /// The pod has no container of that name.
    NoSuchContainer,
    /// The container has no such program.
    NoProgram,
    /// The container does not run now.
    NotRunning,
}

/// Classifies a message of API server, kubelet or container runtime about a command that was not started. `None`: the
/// message has another meaning.
#[must_use]
pub fn classify_start_error(said: &str) -> Option<StartFault> {
    if said.contains("is not valid for pod") {
        return Some(StartFault::NoSuchContainer);
    }
    // runc, crun and youki, each behind containerd or CRI-O.
    let missing = [
        "executable file not found",
        "no such file or directory",
        "executable file `",
    ];
    if said.contains("exec") && missing.iter().any(|s| said.contains(s)) {
        return Some(StartFault::NoProgram);
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
        .then_some(StartFault::NotRunning)
}

/// Returns whether the command ended with exit code 0, according to the status channel.
#[must_use]
pub fn is_success(status: &Status) -> bool {
    status.status.as_deref() == Some("Success")
}

/// Returns the exit code in the answer of the status channel, if it is not 0.
#[must_use]
pub fn exit_code(status: &Status) -> Option<i32> {
    if status.reason.as_deref() != Some("NonZeroExitCode") {
        return None;
    }
    let causes = status.details.as_ref()?.causes.as_ref()?;
    let cause = causes
        .iter()
        .find(|c| c.reason.as_deref() == Some("ExitCode"))?;
    cause.message.as_deref()?.parse().ok()
}

#[cfg(test)]
mod tests;
