//! Interprets the end of a reading command: sockets, or a reason why there are none. The text itself is kept nowhere.

use super::table::TableError;
use super::{ReadFailure, table};
use crate::exec::{self, EndedCommand, ExecError, StartFault};
use crate::sockets::PodToRead;
use dbbalance_core::evidence::{Socket, Unreadable, UnreadableReason};

/// What gives the permission that a 403 misses.
const GRANT: &str = "evidence by ProcNet needs get and create on pods/exec: list this namespace in the chart's value \
                     evidence.namespaces, or set spec.evidence.source to None";

/// Exit codes of shells and wrappers for a program that does not exist or cannot be run.
const NO_PROGRAM: [i32; 2] = [126, 127];

/// The sockets, or why there are none.
pub(super) fn interpret_read(
    ended: Result<EndedCommand, ExecError>,
    pod: &PodToRead,
    container: &str,
) -> Result<Vec<Socket>, ReadFailure> {
    match ended {
        Ok(ended) => interpret_command(&ended, pod, container),
        Err(ExecError::Broken(cause)) => {
            Err(final_error(UnreadableReason::Connection, pod, &cause))
        }
        Err(ExecError::Refused(status)) => Err(interpret_refusal(&status, pod, container)),
    }
}

fn final_error(reason: UnreadableReason, pod: &PodToRead, why: &str) -> ReadFailure {
    ReadFailure::Ends(Unreadable::new(
        reason,
        format!("{}: {why}", pod.describe()),
    ))
}

fn missing_container(pod: &PodToRead, container: &str) -> ReadFailure {
    let why = format!("it has no container {container} any more");
    final_error(UnreadableReason::NoSuchContainer, pod, &why)
}

fn start_failure(fault: StartFault, pod: &PodToRead, container: &str) -> ReadFailure {
    match fault {
        StartFault::NoProgram => ReadFailure::NoProgram,
        StartFault::NotRunning => ReadFailure::NotRunning,
        StartFault::NoSuchContainer => missing_container(pod, container),
    }
}

fn interpret_refusal(status: &kube::core::Status, pod: &PodToRead, container: &str) -> ReadFailure {
    let said = status.message.as_str();
    if let Some(fault) = exec::classify_start_error(said) {
        return start_failure(fault, pod, container);
    }
    match status.code {
        404 => final_error(UnreadableReason::Gone, pod, "it is not there any more"),
        403 if said.contains("is being terminated") => final_error(
            UnreadableReason::Gone,
            pod,
            "its namespace is being deleted",
        ),
        401 | 403 => final_error(
            UnreadableReason::NotGranted,
            pod,
            &format!("{said}; {GRANT}"),
        ),
        429 | 503 => final_error(
            UnreadableReason::ApiServerBusy,
            pod,
            &format!("the API server is busy: {said}"),
        ),
        code => final_error(
            UnreadableReason::ApiError,
            pod,
            &format!("the API server answered {code}: {said}"),
        ),
    }
}

fn interpret_command(
    ended: &EndedCommand,
    pod: &PodToRead,
    container: &str,
) -> Result<Vec<Socket>, ReadFailure> {
    let Some(status) = &ended.status else {
        let why = "the connection broke before the end";
        return Err(final_error(UnreadableReason::Connection, pod, why));
    };
    let mut only_tcp6_is_missing = false;
    if !exec::is_success(status) {
        match exec::exit_code(status) {
            Some(code) if NO_PROGRAM.contains(&code) => return Err(ReadFailure::NoProgram),
            // With IPv6 off there is no tcp6: cat says so, and has printed the other table.
            Some(_) if lacks_tcp6(&ended.err) => only_tcp6_is_missing = true,
            Some(code) => {
                let why = format!("the command that reads ended with {code} in {container}");
                return Err(final_error(UnreadableReason::ApiError, pod, &why));
            }
            None => {
                let said = status.message.as_deref().unwrap_or_default();
                return Err(match exec::classify_start_error(said) {
                    Some(fault) => start_failure(fault, pod, container),
                    None => final_error(UnreadableReason::ApiError, pod, said),
                });
            }
        }
    }
    if ended.cut {
        let why = format!("its table of sockets is larger than {} bytes", table::LIMIT);
        return Err(final_error(UnreadableReason::TableTooLarge, pod, &why));
    }
    let found = table::parse_tables(&ended.out, pod.port).map_err(|error| match error {
        TableError::TooMany => {
            let why = format!(
                "the table of sockets that container {container} printed is too large: {error} {}",
                pod.port
            );
            final_error(UnreadableReason::TableTooLarge, pod, &why)
        }
        TableError::NoHead | TableError::Line { .. } | TableError::CutOff => {
            let why =
                format!("what container {container} printed is not a table of sockets: {error}");
            final_error(UnreadableReason::Garbled, pod, &why)
        }
    })?;
    if only_tcp6_is_missing && found.tables != 1 {
        let why = format!("container {container} printed a table that it said was missing");
        return Err(final_error(UnreadableReason::Garbled, pod, &why));
    }
    Ok(found.sockets)
}

/// Whether all that was complained about is the table of IPv6.
fn lacks_tcp6(err: &str) -> bool {
    let mut lines = err.lines().filter(|l| !l.trim().is_empty()).peekable();
    lines.peek().is_some() && lines.all(|l| l.contains("/proc/net/tcp6"))
}
