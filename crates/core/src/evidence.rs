//! Holds measured connections of pods, and rates them.
//!
//! How a pod is read is not known here. A pod that was not read is unknown; unknown never turns into zero.

pub mod descriptions;
pub mod holdings;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use dbbalance_api::text::strip_control;

pub use holdings::{
    AddressOwner, Addresses, ConnectionCount, Evidence, EvidenceQuality, PodHoldings,
    attribute_connections,
};

/// The state of a socket, as far as it matters to a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum SocketState {
    /// ESTABLISHED: a connection, as far as the pod knows.
    Established,
    /// `CLOSE_WAIT`: the server has closed the connection and the app has not noticed. The pool still counts it, but
    /// the server holds no slot for it any more.
    ClosedByServer,
}

/// A socket of a pod to its target's port.
///
/// Sockets in other states are left out: those that the app has closed (`FIN_WAIT`, `LAST_ACK`, CLOSING, `TIME_WAIT`)
/// have left its pools, and one that is being opened (`SYN_SENT`) has not joined one yet.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Socket {
    /// The pod's address and port.
    pub local: SocketAddr,
    /// The server's address and port. Here and in `local`, IPv4 addresses that were written as IPv6 are converted to
    /// IPv4.
    pub remote: SocketAddr,
    /// State.
    pub state: SocketState,
    /// Bytes sent and not yet acknowledged.
    pub unacknowledged: u32,
    /// How often in a row the oldest of those bytes has been retransmitted without an answer.
    pub retransmits: u32,
    /// Consecutive probes without an answer: keep-alives or zero-window probes.
    pub unanswered_probes: u32,
    /// When the last reading of the pod started that did not have this socket, which was opened since. `None` if no reading
    /// without it is known, as for those of the first one.
    pub opened_after: Option<Timestamp>,
}

/// The number of retransmissions or unanswered probes from which a connection is suspected to be half-open.
///
/// Three mean 1.4 s without any answer, at Linux's minimum time-out of 200 ms, which doubles each time. That is
/// longer than one or two lost packets within a region take, where a round trip is about a millisecond.
pub const SUSPECT_AFTER: u32 = 3;

/// Linux's minimum and maximum retransmission time-out (`TCP_RTO_MIN`, `TCP_RTO_MAX` in include/net/tcp.h).
const RTO: (Duration, Duration) = (Duration::from_millis(200), Duration::from_mins(2));

impl Socket {
    /// Returns whether the socket is a connection.
    #[must_use]
    pub const fn is_connection(&self) -> bool {
        matches!(self.state, SocketState::Established)
    }

    /// Returns whether the server seems to be gone without having closed the connection.
    #[must_use]
    pub const fn is_suspect(&self) -> bool {
        self.is_connection()
            && ((self.retransmits >= SUSPECT_AFTER && self.unacknowledged > 0)
                || self.unanswered_probes >= SUSPECT_AFTER)
    }

    /// Returns the least time for which the socket has been retransmitting without an answer: each time-out is twice
    /// the previous one.
    #[must_use]
    pub fn retransmitting_for(&self) -> Duration {
        (0..self.retransmits.min(64)).fold(Duration::ZERO, |sum, n| {
            sum + RTO.0.saturating_mul(1 << n.min(16)).min(RTO.1)
        })
    }
}

/// The sockets of one pod at one time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodReading {
    /// When the reading started, by the operator's clock: nothing in it is older.
    pub at: Timestamp,
    /// Sockets to the target's port. Shared, because each pass looks at the readings of all pods.
    pub sockets: Arc<[Socket]>,
}

/// Why a pod could not be read.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    Hash,
    PartialOrd,
    Ord,
    strum::IntoStaticStr,
    strum::VariantArray,
    strum::Display,
)]
pub enum UnreadableReason {
    /// The operator's service account may not exec here.
    NotGranted,
    /// The pod uses its node's network, so that the socket table is the node's.
    HostNetwork,
    /// No container of the pod has a program that can read the socket table.
    NoReader,
    /// The pod has no container of the name that the target specifies.
    NoSuchContainer,
    /// No container that could read is running now.
    NotRunning,
    /// The table is larger than the operator accepts.
    TableTooLarge,
    /// The output is not a socket table, or is incomplete.
    Garbled,
    /// The reading took too long.
    Timeout,
    /// The connection to the API server or the kubelet broke.
    Connection,
    /// The API server is shedding load.
    ApiServerBusy,
    /// Any other error of the API server, the kubelet or the container runtime.
    ApiError,
    /// The pod does not exist any more.
    Gone,
    /// The pod has not been read yet.
    NotReadYet,
}

impl UnreadableReason {
    /// Returns the reason as a word for conditions, metrics and events.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.into()
    }

    /// Returns whether the reason lasts until the pod, the policy or a permission changes, so that an early retry is
    /// useless.
    #[must_use]
    pub const fn is_structural(self) -> bool {
        matches!(
            self,
            Self::NotGranted
                | Self::HostNetwork
                | Self::NoReader
                | Self::NoSuchContainer
                | Self::TableTooLarge
        )
    }
}

/// A pod that could not be read: its connections are unknown, never zero.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreadable {
    /// The reason.
    pub reason: UnreadableReason,
    /// The reason as a sentence: object, cause, what to do. It never contains the output that was read.
    pub message: String,
}

impl Unreadable {
    /// Creates the value from a reason and its message.
    #[must_use]
    pub fn new(reason: UnreadableReason, message: impl AsRef<str>) -> Self {
        Self {
            reason,
            message: strip_control(message.as_ref()).into_owned(),
        }
    }
}

/// The result of the last attempt to read one pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PodMeasurement {
    /// The pod was read.
    Read(PodReading),
    /// The attempt failed; the pod's connections are unknown.
    Unreadable {
        /// When it was tried.
        at: Timestamp,
        /// Why it failed.
        why: Unreadable,
    },
}

impl PodMeasurement {
    /// Returns when the pod was read or tried.
    #[must_use]
    pub const fn at(&self) -> Timestamp {
        match self {
            Self::Read(reading) => reading.at,
            Self::Unreadable { at, .. } => *at,
        }
    }

    /// Returns the reading; `None` if the attempt failed.
    #[must_use]
    pub const fn reading(&self) -> Option<&PodReading> {
        match self {
            Self::Read(reading) => Some(reading),
            Self::Unreadable { .. } => None,
        }
    }
}

/// The last measurements of a target's pods, by UID. A pod without an entry has not been read yet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Measured {
    /// The last attempt on each pod.
    pub pods: BTreeMap<String, PodMeasurement>,
}

impl Measured {
    /// Returns the addresses that connections lead to, for reverse lookups.
    #[must_use]
    pub fn remotes(&self) -> BTreeSet<IpAddr> {
        let readings = self.pods.values().filter_map(PodMeasurement::reading);
        readings
            .flat_map(|r| r.sockets.iter().map(|s| s.remote.ip()))
            .collect()
    }
}

/// Returns the connections of `after` that are not in `before`, compared by both ends.
///
/// A renewed pool has only such connections. The local port makes the comparison safe: the kernel does not reuse a
/// port that the pod closed for the same server within a minute (`TIME_WAIT`).
#[must_use]
pub fn fresh_sockets<'a>(before: &[Socket], after: &'a [Socket]) -> Vec<&'a Socket> {
    let old: BTreeSet<_> = list_connections(before)
        .map(|s| (s.local, s.remote))
        .collect();
    list_connections(after)
        .filter(|s| !old.contains(&(s.local, s.remote)))
        .collect()
}

/// Dates the sockets of a reading by the one before it: what was not there has been opened since. Sockets are the same if
/// both ends are; a port that was reused in between makes a socket look older, never younger.
pub fn date_sockets(sockets: &mut [Socket], former: &PodReading) {
    let known: BTreeMap<_, _> = former
        .sockets
        .iter()
        .map(|s| ((s.local, s.remote), s.opened_after))
        .collect();
    for socket in sockets {
        let same = known.get(&(socket.local, socket.remote));
        socket.opened_after = same.map_or(Some(former.at), |opened_after| *opened_after);
    }
}

/// Returns the connections of `before` that are still in `after`.
#[must_use]
pub fn kept_sockets<'a>(before: &'a [Socket], after: &[Socket]) -> Vec<&'a Socket> {
    let now: BTreeSet<_> = list_connections(after)
        .map(|s| (s.local, s.remote))
        .collect();
    list_connections(before)
        .filter(|s| now.contains(&(s.local, s.remote)))
        .collect()
}

fn list_connections(sockets: &[Socket]) -> impl Iterator<Item = &Socket> {
    sockets.iter().filter(|s| s.is_connection())
}

#[cfg(test)]
mod tests;
