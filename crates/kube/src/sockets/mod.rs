//! Reads the sockets of a pod to the port of its target.

pub mod pod;
pub mod procnet;

pub use pod::PodToRead;

use async_trait::async_trait;

use dbbalance_core::evidence::{Socket, Unreadable};

/// Reads the sockets of one pod.
#[async_trait]
pub trait ConnectionReader: Send + Sync {
    /// The pod's sockets towards its target's port. The caller limits the time.
    async fn read(&self, pod: &PodToRead) -> Result<Vec<Socket>, Unreadable>;
}
