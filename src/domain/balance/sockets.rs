//! Whether a pod's connections are new: the proof that a recycle worked.
//!
//! Compares two readings of one pod. A connection is the same only if all of its four ends are; the local
//! address is the pod's. A kernel may give a port out again, but hardly to the same remote end within
//! the seconds between two readings (about 28,000 ephemeral ports on Linux).

use std::collections::BTreeSet;
use std::net::IpAddr;

/// One established connection of a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Socket {
    /// The pod's port.
    pub local_port: u16,
    /// The other side's address.
    pub remote: IpAddr,
    /// The other side's port.
    pub remote_port: u16,
}

/// What became of a pod's connections between two readings.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Renewal {
    /// Those that were there before.
    pub kept: BTreeSet<Socket>,
    /// Those that were not.
    pub new: BTreeSet<Socket>,
    /// Those that are gone.
    pub gone: BTreeSet<Socket>,
}

impl Renewal {
    /// Compares a reading from before a recycle with one from after it.
    #[must_use]
    pub fn between(before: &[Socket], after: &[Socket]) -> Self {
        let before: BTreeSet<Socket> = before.iter().copied().collect();
        let after: BTreeSet<Socket> = after.iter().copied().collect();
        Self {
            kept: before.intersection(&after).copied().collect(),
            new: after.difference(&before).copied().collect(),
            gone: before.difference(&after).copied().collect(),
        }
    }

    /// Whether every connection is new, and there is one. A pod that holds none has proved nothing yet:
    /// its pool may be lazy.
    #[must_use]
    pub fn is_proved(&self) -> bool {
        self.kept.is_empty() && !self.new.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn socket(local_port: u16, remote: [u8; 4]) -> Socket {
        Socket {
            local_port,
            remote: IpAddr::from(remote),
            remote_port: 5432,
        }
    }

    const A: [u8; 4] = [10, 0, 0, 1];
    const B: [u8; 4] = [10, 0, 0, 2];

    #[test]
    fn a_recycle_is_proved_when_every_connection_is_new() {
        let renewal =
            Renewal::between(&[socket(1, A), socket(2, A)], &[socket(3, A), socket(4, B)]);
        assert!(renewal.is_proved());
        assert_eq!(renewal.gone.len(), 2);
    }

    #[test]
    fn one_connection_that_stayed_disproves_it() {
        let renewal =
            Renewal::between(&[socket(1, A), socket(2, A)], &[socket(2, A), socket(3, B)]);
        assert!(!renewal.is_proved());
        assert_eq!(renewal.kept.into_iter().collect::<Vec<_>>(), [socket(2, A)]);
    }

    #[test]
    fn a_pod_without_connections_proves_nothing() {
        assert!(!Renewal::between(&[socket(1, A)], &[]).is_proved());
    }

    #[test]
    fn the_same_local_port_to_another_instance_is_a_new_connection() {
        assert!(Renewal::between(&[socket(1, A)], &[socket(1, B)]).is_proved());
    }
}
