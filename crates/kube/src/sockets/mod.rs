//! Reads the sockets of a pod to the port of its target.

pub mod pod;
pub mod procnet;

pub use pod::PodToRead;

use async_trait::async_trait;

use dbbalance_core::evidence::{Socket, Unreadable};

/// Reads the sockets of one pod.
#[async_trait]
pub trait ConnectionReader: Send + Sync {
    /// The pod's sockets towards its target's port. The caller limits the time, and has admitted the first command; each
    /// further one waits for `pace`.
    async fn read(
        &self,
        pod: &PodToRead,
        pace: &dyn CommandPace,
    ) -> Result<Vec<Socket>, Unreadable>;
}

/// Limits how many commands are run in pods.
#[async_trait]
pub trait CommandPace: Send + Sync {
    /// Waits until one more command may be run.
    async fn wait_for_command(&self);
}

/// No limit, for the reads that one user asks for.
#[derive(Clone, Copy, Debug)]
pub struct NoPace;

#[async_trait]
impl CommandPace for NoPace {
    async fn wait_for_command(&self) {}
}
