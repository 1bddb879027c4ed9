//! Evidence: reads which pod holds how many connections to where.
//!
//! [`probe`] decides when which pod is read, and keeps what was read; [`procnet`] reads one. What the
//! readings mean is judged in `domain::evidence`.

pub mod pod;
pub mod probe;
pub mod procnet;

pub use pod::PodToRead;
pub use probe::{Freshness, Pace, Probe, ProbeConfig, TargetKey};

use async_trait::async_trait;

use crate::domain::evidence::{Socket, Unreadable};

/// Reads the sockets of one pod.
#[async_trait]
pub trait ConnectionReader: Send + Sync {
    /// The pod's sockets towards its target's port. The caller limits the time.
    async fn read(&self, pod: &PodToRead) -> Result<Vec<Socket>, Unreadable>;
}
