//! Processes by identity: a pid alone may be reused before it is signalled, a pid with its start time is unique.
//!
//! No signal is sent to a pid whose start time differs from the recorded one.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};
use nix::errno::Errno;
pub use nix::sys::signal::Signal;
use nix::sys::signal::kill;
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::Pid;

use crate::wait;

/// Position of `starttime` in `/proc/PID/stat`, counted after the command's closing bracket (field 22 in proc(5)).
const START_TIME: usize = 19;

/// One process, for good: the kernel never gives the same pid and start time twice in one boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ProcessIdentity {
    /// Process id.
    pub pid: i32,
    /// Clock ticks since boot at its start.
    pub start: u64,
}

/// What `/proc/PID/stat` says: state letter and start time. The command may contain brackets and spaces.
fn read_stat(pid: i32) -> Option<(char, u64)> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    parse_stat(&text)
}

fn parse_stat(text: &str) -> Option<(char, u64)> {
    let fields: Vec<&str> = text
        .get(text.rfind(')')? + 1..)?
        .split_whitespace()
        .collect();
    Some((
        fields.first()?.chars().next()?,
        fields.get(START_TIME)?.parse().ok()?,
    ))
}

impl ProcessIdentity {
    /// The process that has this pid now.
    #[must_use]
    pub fn of(pid: i32) -> Option<Self> {
        read_stat(pid).map(|(_, start)| Self { pid, start })
    }

    /// Alive: same start time and neither zombie nor dead. Our own ended children are reaped on the way.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        match read_stat(self.pid) {
            Some((state, start)) if start == self.start => {
                if matches!(state, 'Z' | 'X') {
                    let _ = waitpid(Pid::from_raw(self.pid), Some(WaitPidFlag::WNOHANG));
                    return false;
                }
                true
            }
            _ => false,
        }
    }

    /// Sends a signal, if it is still this process.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        if !self.is_alive() {
            return Ok(());
        }
        match kill(Pid::from_raw(self.pid), signal) {
            Ok(()) | Err(Errno::ESRCH) => Ok(()),
            Err(e) => {
                Err(e).with_context(|| format!("cannot send {signal} to process {}", self.pid))
            }
        }
    }

    /// Ends it: asks first, and insists after `grace`.
    pub fn stop(&self, grace: Duration) -> Result<()> {
        let what = format!("end of process {}", self.pid);
        let gone = || Ok((!self.is_alive()).then_some(()));
        self.signal(Signal::SIGTERM)?;
        if wait::poll_uninterrupted(&what, grace, gone).is_err() {
            self.signal(Signal::SIGKILL)?;
            // A killed process only lingers while the kernel frees its memory or a device.
            wait::poll_uninterrupted(&what, Duration::from_secs(10), gone)?;
        }
        Ok(())
    }

    /// Reads an identity written by [`ProcessIdentity::write_to`].
    #[must_use]
    pub fn read_from(file: &Path) -> Option<Self> {
        let text = fs::read_to_string(file).ok()?;
        let (pid, start) = text.trim().split_once(' ')?;
        Some(Self {
            pid: pid.parse().ok()?,
            start: start.parse().ok()?,
        })
    }

    /// Writes it down, whole or not at all.
    pub fn write_to(&self, file: &Path) -> Result<()> {
        let partial = file.with_extension("partial");
        fs::write(&partial, format!("{} {}\n", self.pid, self.start))
            .and_then(|()| fs::rename(&partial, file))
            .with_context(|| format!("cannot record a process in {}", file.display()))
    }
}

/// All processes now.
pub fn list_processes() -> Result<Vec<ProcessIdentity>> {
    let entries = fs::read_dir("/proc").context("cannot read /proc")?;
    Ok(entries
        .filter_map(Result::ok)
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter_map(ProcessIdentity::of)
        .collect())
}

/// Living processes, but this one, that work in this folder or below it: a PostgreSQL, whose children overwrite their
/// environment, is found by it.
pub fn find_processes_in(folder: &Path) -> Result<Vec<ProcessIdentity>> {
    let me = i32::try_from(std::process::id()).unwrap_or_default();
    Ok(list_processes()?
        .into_iter()
        .filter(|process| process.pid != me && process.is_alive())
        .filter(|process| {
            fs::read_link(format!("/proc/{}/cwd", process.pid))
                .is_ok_and(|cwd| cwd.starts_with(folder))
        })
        .collect())
}

/// Living processes, but this one, that carry the environment entry `mark`: also those whose pid nobody wrote down.
pub fn find_marked_processes(mark: &str) -> Result<Vec<ProcessIdentity>> {
    let me = i32::try_from(std::process::id()).unwrap_or_default();
    Ok(list_processes()?
        .into_iter()
        .filter(|process| process.pid != me && process.is_alive())
        .filter(|process| {
            fs::read(PathBuf::from(format!("/proc/{}/environ", process.pid))).is_ok_and(|environ| {
                environ
                    .split(|byte| *byte == 0)
                    .any(|entry| entry == mark.as_bytes())
            })
        })
        .collect())
}

#[cfg(test)]
mod tests;
