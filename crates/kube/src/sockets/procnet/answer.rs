//! What the end of a reading command means.
//!
//! Pure. What was read becomes sockets or a reason; its text goes nowhere.

use super::{AttemptFailure, table};
use crate::exec::{self, Ended, NotStarted, StartFault};
use crate::sockets::PodToRead;
use dbbalance_core::evidence::{Socket, Unreadable, UnreadableReason};

/// What gives the permission that a 403 misses.
const GRANT: &str = "evidence by ProcNet needs get and create on pods/exec: list this namespace in the chart's value \
                     evidence.namespaces, or set spec.evidence.source to None";

/// Shells and wrappers end so when a program is not there, or cannot be run.
const NO_PROGRAM: [i32; 2] = [126, 127];

/// The sockets, or why there are none.
pub(super) fn judge(
    ended: Result<Ended, NotStarted>,
    pod: &PodToRead,
    container: &str,
) -> Result<Vec<Socket>, AttemptFailure> {
    match ended {
        Ok(ended) => of_command(&ended, pod, container),
        Err(NotStarted::Broken(cause)) => Err(ends(UnreadableReason::Connection, pod, &cause)),
        Err(NotStarted::Refused(status)) => Err(refused(&status, pod, container)),
    }
}

fn ends(reason: UnreadableReason, pod: &PodToRead, why: &str) -> AttemptFailure {
    AttemptFailure::Ends(Unreadable::new(reason, format!("{}: {why}", pod.what())))
}

fn no_container(pod: &PodToRead, container: &str) -> AttemptFailure {
    let why = format!("it has no container {container} any more");
    ends(UnreadableReason::NoSuchContainer, pod, &why)
}

fn started(fault: StartFault, pod: &PodToRead, container: &str) -> AttemptFailure {
    match fault {
        StartFault::NoProgram => AttemptFailure::NoProgram,
        StartFault::NotRunning => AttemptFailure::NotRunning,
        StartFault::NoSuchContainer => no_container(pod, container),
    }
}

fn refused(status: &kube::core::Status, pod: &PodToRead, container: &str) -> AttemptFailure {
    let said = status.message.as_str();
    if let Some(fault) = exec::start_fault(said) {
        return started(fault, pod, container);
    }
    match status.code {
        404 => ends(UnreadableReason::Gone, pod, "it is not there any more"),
        403 if said.contains("is being terminated") => ends(
            UnreadableReason::Gone,
            pod,
            "its namespace is being deleted",
        ),
        401 | 403 => ends(
            UnreadableReason::NotGranted,
            pod,
            &format!("{said}; {GRANT}"),
        ),
        429 | 503 => ends(
            UnreadableReason::ApiServerBusy,
            pod,
            &format!("the API server is busy: {said}"),
        ),
        code => ends(
            UnreadableReason::ApiError,
            pod,
            &format!("the API server answered {code}: {said}"),
        ),
    }
}

fn of_command(
    ended: &Ended,
    pod: &PodToRead,
    container: &str,
) -> Result<Vec<Socket>, AttemptFailure> {
    let Some(status) = &ended.status else {
        let why = "the connection broke before the end";
        return Err(ends(UnreadableReason::Connection, pod, why));
    };
    let mut only_tcp6_is_missing = false;
    if !exec::is_success(status) {
        match exec::exit_code(status) {
            Some(code) if NO_PROGRAM.contains(&code) => return Err(AttemptFailure::NoProgram),
            // With IPv6 off there is no tcp6: cat says so, and has printed the other table.
            Some(_) if lacks_tcp6(&ended.err) => only_tcp6_is_missing = true,
            Some(code) => {
                let why = format!("the command that reads ended with {code} in {container}");
                return Err(ends(UnreadableReason::ApiError, pod, &why));
            }
            None => {
                let said = status.message.as_deref().unwrap_or_default();
                return Err(match exec::start_fault(said) {
                    Some(fault) => started(fault, pod, container),
                    None => ends(UnreadableReason::ApiError, pod, said),
                });
            }
        }
    }
    if ended.cut {
        let why = format!("its table of sockets is larger than {} bytes", table::LIMIT);
        return Err(ends(UnreadableReason::TableTooLarge, pod, &why));
    }
    let found = table::parse(&ended.out, pod.port).map_err(|error| {
        let why = format!("what container {container} printed is no table of sockets: {error}");
        ends(UnreadableReason::Garbled, pod, &why)
    })?;
    if only_tcp6_is_missing && found.tables != 1 {
        let why = format!("container {container} printed a table that it said was missing");
        return Err(ends(UnreadableReason::Garbled, pod, &why));
    }
    Ok(found.sockets)
}

/// Whether all that was complained about is the table of IPv6.
fn lacks_tcp6(err: &str) -> bool {
    let mut lines = err.lines().filter(|l| !l.trim().is_empty()).peekable();
    lines.peek().is_some() && lines.all(|l| l.contains("/proc/net/tcp6"))
}
