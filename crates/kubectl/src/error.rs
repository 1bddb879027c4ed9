//! The errors of the plugin: the object, the cause, and what to do. No command retries.

use dbbalance_core::error_chain::format_error_chain;
use kube::core::Status;

/// A reason why a command failed.
#[derive(Debug, thiserror::Error)]
pub enum PluginError {
    /// The kubeconfig, or its context.
    #[error("cannot use the kubeconfig: {0}: set KUBECONFIG, or pass --kubeconfig and --context")]
    Kubeconfig(#[from] kube::config::KubeconfigError),
    /// No client can be made of it.
    #[error("cannot build a client of the Kubernetes API: {0}")]
    Client(String),
    /// The API server did not answer.
    #[error("{doing}: cannot reach the API server: {cause}")]
    Unreachable {
        /// What was tried.
        doing: String,
        /// The cause.
        cause: String,
    },
    /// The cluster does not have the resource.
    #[error(
        "the cluster has no resource DbBalancePolicy: install the dbbalance Helm chart, or pass another \
         --context"
    )]
    NotInstalled,
    /// The object does not exist.
    #[error("{0}")]
    NotFound(String),
    /// A right is missing.
    #[error("{doing}: {said}: ask for a role with {grant}")]
    Forbidden {
        /// What was tried.
        doing: String,
        /// What the API server said.
        said: String,
        /// The right, as in "list on pods in namespace shop".
        grant: String,
    },
    /// The API server refused for another reason.
    #[error("{doing}: the API server answered {code}: {said}")]
    Refused {
        /// What was tried.
        doing: String,
        /// The status code.
        code: u16,
        /// What the API server said.
        said: String,
    },
    /// The plugin itself refuses, before anything was done.
    #[error("{0}")]
    Declined(String),
    /// A recycle was made, and the connections are not proven to be new.
    #[error("not proven: {0}")]
    NotProven(String),
    /// What was waited for did not come.
    #[error("{0}")]
    TimedOut(String),
    /// The run that was waited for ended badly.
    #[error("{0}")]
    Halted(String),
    /// Writing to the terminal, or reading from it.
    #[error("cannot write the output: {0}")]
    Terminal(#[from] std::io::Error),
    /// Ctrl-C.
    #[error("{0}")]
    Interrupted(String),
}

impl PluginError {
    /// The program's exit code; 2 is clap's.
    #[must_use]
    pub const fn exit_code(&self) -> u8 {
        match self {
            Self::NotProven(_) => 3,
            Self::Interrupted(_) => 130,
            _ => 1,
        }
    }

    /// From an answer of the API server. `grant` is the right that a 403 misses.
    pub(super) fn from_kube(error: kube::Error, doing: &str, grant: &str) -> Self {
        match error {
            kube::Error::Api(status) => Self::from_status(&status, doing, grant),
            other => Self::Unreachable {
                doing: doing.to_owned(),
                cause: format_error_chain(&other),
            },
        }
    }

    fn from_status(status: &Status, doing: &str, grant: &str) -> Self {
        let (doing, said) = (doing.to_owned(), status.message.clone());
        match status.code {
            403 => Self::Forbidden {
                doing,
                said,
                grant: grant.to_owned(),
            },
            401 => Self::Refused {
                doing,
                code: 401,
                said: "the credentials are invalid or have expired: log in again".to_owned(),
            },
            // An unknown resource has no details: the path itself is not there.
            404 if status.details.as_ref().is_none_or(|d| d.name.is_empty()) => Self::NotInstalled,
            404 => Self::NotFound(format!("{doing}: {said}")),
            code => Self::Refused { doing, code, said },
        }
    }
}

#[cfg(test)]
mod tests;
