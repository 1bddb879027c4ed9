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
use std::time::Duration;

use async_trait::async_trait;
use kube::Client;
use tokio::time::Instant;

use super::{CommandPace, ConnectionReader, PodToRead};
use crate::exec::{self, ExecTarget, OutputLimits};
use dbbalance_core::evidence::{Socket, Unreadable, UnreadableReason};

/// What is kept of the standard error: enough to see whether only `tcp6` is missing.
const ERROR_BYTES: usize = 2048;

/// Number of templates that are remembered. The readers of a forgotten template are tried again.
const REMEMBERED: usize = 10_000;

/// How long a template is remembered to lack a program: its images do not change, but what was mounted may.
const LACKS_FOR: Duration = Duration::from_mins(10);

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
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
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
    templates: Mutex<HashMap<(String, String), TemplateMemory>>,
}

/// What is remembered of the pods of one template.
#[derive(Debug, Default)]
struct TemplateMemory {
    /// What has read.
    reads: Option<ReaderChoice>,
    /// What is not there, and since when that is known.
    lacks: HashMap<ReaderChoice, Instant>,
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
            templates: Mutex::default(),
        }
    }

    fn update_memory<T>(
        &self,
        pod: &PodToRead,
        change: impl FnOnce(&mut TemplateMemory) -> T,
    ) -> T {
        let mut templates = self
            .templates
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let key = (pod.namespace.clone(), pod.template.clone());
        if templates.len() >= REMEMBERED && !templates.contains_key(&key) {
            templates.clear();
        }
        change(templates.entry(key).or_default())
    }

    /// Returns what is tried, in order: what has read before, then each program in each container that is not known to
    /// lack it.
    fn list_choices(&self, pod: &PodToRead) -> Vec<ReaderChoice> {
        let every = ReaderProgram::ALL.iter().flat_map(|program| {
            pod.containers.iter().map(|container| ReaderChoice {
                container: container.clone(),
                program: *program,
            })
        });
        self.update_memory(pod, |memory| {
            memory.lacks.retain(|_, since| since.elapsed() < LACKS_FOR);
            let (first, rest): (Vec<_>, Vec<_>) =
                every.partition(|choice| memory.reads.as_ref() == Some(choice));
            let rest = rest.into_iter().filter(|c| !memory.lacks.contains_key(c));
            first.into_iter().chain(rest).collect()
        })
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

#[async_trait]
impl ConnectionReader for ProcNet {
    async fn read(
        &self,
        pod: &PodToRead,
        pace: &dyn CommandPace,
    ) -> Result<Vec<Socket>, Unreadable> {
        if let Some(refused) = &pod.refused {
            return Err(refused.clone());
        }
        let mut idle = None;
        for (index, choice) in self.list_choices(pod).into_iter().enumerate() {
            if index > 0 {
                pace.wait_for_command().await;
            }
            match self.try_choice(pod, &choice).await {
                Ok(sockets) => {
                    self.update_memory(pod, |memory| memory.reads = Some(choice));
                    return Ok(sockets);
                }
                Err(ReadFailure::NoProgram) => {
                    self.update_memory(pod, |memory| memory.lacks.insert(choice, Instant::now()));
                }
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
