//! `ProcNet`: reads a pod's sockets from `/proc/net/tcp` and `tcp6`, by exec in one of its containers.
//!
//! One read counts every container of the pod: they share a network namespace. It needs no credentials of the
//! database and nothing of the app but `cat` or `sh` in one container. What was read is never logged or reported.
//!
//! The table holds what the pod asked for, before any address is rewritten: masquerading and kube-proxy change nothing
//! in it. A mesh that redirects connections to a proxy in the pod shows each one twice, the app's and the proxy's; only the
//! proxy's leaves the pod, and only that counts.

mod answer;
pub mod table;

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use kube::Client;

use super::{ConnectionReader, PodToRead};
use crate::exec::{self, ExecTarget, OutputLimits};
use dbbalance_core::evidence::{Socket, Unreadable, UnreadableReason};

/// What is kept of the standard error: enough to see whether only `tcp6` is missing.
const ERROR_BYTES: usize = 2048;

/// Number of templates whose reader is remembered. The readers of a forgotten template are tried again.
const REMEMBERED: usize = 10_000;

/// A program that prints files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum ReaderProgram {
    Cat,
    /// For images with a shell and nothing else.
    Shell,
}

/// The commands that may be run in a container, in the order in which they are tried.
#[must_use]
pub fn reader_commands() -> [Vec<String>; 2] {
    ReaderProgram::ALL.map(ReaderProgram::command)
}

/// Builtins only. Nothing of a user's is in it.
const SCRIPT: &str = r#"
show() { while IFS= read -r line; do echo "$line"; done < "$1"; }
show /proc/net/tcp || exit 1
[ ! -r /proc/net/tcp6 ] || show /proc/net/tcp6
"#;

impl ReaderProgram {
    /// In the order in which they are tried, each in every container.
    const ALL: [Self; 2] = [Self::Cat, Self::Shell];

    fn command(self) -> Vec<String> {
        let words: &[&str] = match self {
            Self::Cat => &["cat", "/proc/net/tcp", "/proc/net/tcp6"],
            Self::Shell => &["sh", "-c", SCRIPT],
        };
        words.iter().map(|w| (*w).to_owned()).collect()
    }
}

/// What could read in the pods of a template.
#[derive(Clone, Debug, PartialEq, Eq)]
struct ReaderChoice {
    container: String,
    program: ReaderProgram,
}

/// How an attempt in one container failed.
#[derive(Debug, PartialEq, Eq)]
enum ReadFailure {
    /// This program is not there; another, or another container, may be.
    NoProgram,
    /// This container does not run now.
    NotRunning,
    /// It is settled for the pod.
    Ends(Unreadable),
}

/// Reads pods by exec.
pub struct ProcNet {
    client: Client,
    /// By namespace and template.
    choices: Mutex<HashMap<(String, String), ReaderChoice>>,
}

impl std::fmt::Debug for ProcNet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ProcNet").finish_non_exhaustive()
    }
}

impl ProcNet {
    /// A reader with this client, which must not retry: a read that comes late is of no use.
    #[must_use]
    pub fn new(client: Client) -> Self {
        Self {
            client,
            choices: Mutex::default(),
        }
    }

    fn remembered_choice(&self, pod: &PodToRead) -> Option<ReaderChoice> {
        let choices = self.choices.lock().unwrap_or_else(PoisonError::into_inner);
        choices
            .get(&(pod.namespace.clone(), pod.template.clone()))
            .filter(|c| pod.containers.contains(&c.container))
            .cloned()
    }

    fn remember_choice(&self, pod: &PodToRead, choice: ReaderChoice) {
        let mut choices = self.choices.lock().unwrap_or_else(PoisonError::into_inner);
        if choices.len() >= REMEMBERED {
            choices.clear();
        }
        choices.insert((pod.namespace.clone(), pod.template.clone()), choice);
    }

    async fn try_choice(
        &self,
        pod: &PodToRead,
        choice: &ReaderChoice,
    ) -> Result<Vec<Socket>, ReadFailure> {
        let place = ExecTarget {
            namespace: &pod.namespace,
            pod: &pod.name,
            container: &choice.container,
        };
        let limits = OutputLimits {
            out: table::LIMIT,
            err: ERROR_BYTES,
        };
        let ended = exec::run_command(&self.client, &place, choice.program.command(), limits).await;
        answer::interpret_read(ended, pod, &choice.container)
    }
}

/// What is tried, in order: what is remembered, then each program in each container.
fn list_choices(pod: &PodToRead, remembered: Option<&ReaderChoice>) -> Vec<ReaderChoice> {
    let mut choices: Vec<ReaderChoice> = remembered.cloned().into_iter().collect();
    for program in ReaderProgram::ALL {
        for container in &pod.containers {
            let choice = ReaderChoice {
                container: container.clone(),
                program,
            };
            if Some(&choice) != remembered {
                choices.push(choice);
            }
        }
    }
    choices
}

#[async_trait]
impl ConnectionReader for ProcNet {
    async fn read(&self, pod: &PodToRead) -> Result<Vec<Socket>, Unreadable> {
        if let Some(refused) = &pod.refused {
            return Err(refused.clone());
        }
        let remembered = self.remembered_choice(pod);
        let choices = list_choices(pod, remembered.as_ref());
        let mut idle = None;
        for choice in choices {
            match self.try_choice(pod, &choice).await {
                Ok(sockets) => {
                    if remembered.as_ref() != Some(&choice) {
                        self.remember_choice(pod, choice);
                    }
                    return Ok(sockets);
                }
                Err(ReadFailure::NoProgram) => {}
                Err(ReadFailure::NotRunning) => idle = Some(choice.container),
                Err(ReadFailure::Ends(why)) => return Err(why),
            }
        }
        Err(match idle {
            // It may well have a reader.
            Some(container) => Unreadable::new(
                UnreadableReason::NotRunning,
                format!("{}: container {container} does not run", pod.describe()),
            ),
            None => Unreadable::new(
                UnreadableReason::NoReader,
                format!(
                    "{}: no container has cat or sh ({}): add a sidecar that has, and name it in targets[].evidenceContainer",
                    pod.describe(),
                    pod.containers.join(", ")
                ),
            ),
        })
    }
}

#[cfg(test)]
mod tests;
