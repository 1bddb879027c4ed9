//! Attribution: from sockets and addresses to holdings, and whether they may be relied on.
//!
//! Decides which connections lead to members, to former ones, or to nobody known. Who must move for it
//! is not decided here.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::{Measured, PodMeasurement, Socket, SocketState, UnreadableReason};
use crate::dns::AddressBook;
use crate::topology::{InstanceId, Topology};

/// The least part of the counted pods that must be read: below it, nothing is done on what the rest show.
pub const READ_PERCENT: usize = 90;

/// How many addresses a message names.
const EXAMPLES: usize = 3;

/// The instance behind an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddressOwner {
    /// Its name.
    pub instance: InstanceId,
    /// Whether it still has this address; else it once had.
    pub current: bool,
}

/// Tells whose an address is or was.
pub trait Addresses {
    /// The instance behind the address; `None`: nobody that was ever looked up.
    fn owner_of(&self, address: IpAddr) -> Option<AddressOwner>;
    /// Whether an address of this instance is known now.
    fn is_resolved(&self, instance: &InstanceId) -> bool;
}

impl Addresses for BTreeMap<IpAddr, AddressOwner> {
    fn owner_of(&self, address: IpAddr) -> Option<AddressOwner> {
        self.get(&address).cloned()
    }

    fn is_resolved(&self, instance: &InstanceId) -> bool {
        self.values().any(|k| k.current && k.instance == *instance)
    }
}

impl Addresses for AddressBook {
    fn owner_of(&self, address: IpAddr) -> Option<AddressOwner> {
        Self::record_of(self, address).map(|known| AddressOwner {
            instance: known.instance.clone(),
            current: known.current,
        })
    }

    fn is_resolved(&self, instance: &InstanceId) -> bool {
        self.current_addresses(instance).next().is_some()
    }
}

/// Connections that lead to one place.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConnectionCount {
    /// How many.
    pub connections: u32,
    /// Their local ports, ascending.
    pub local_ports: Vec<u16>,
    /// How many of them are suspected to be half-open.
    pub suspects: u32,
    /// The longest time, at least, that one of the suspects has been sending again in vain.
    pub retransmitting_for: std::time::Duration,
}

impl ConnectionCount {
    fn add(&mut self, socket: &Socket) {
        self.connections = self.connections.saturating_add(1);
        let port = socket.local.port();
        let place = self.local_ports.partition_point(|p| *p <= port);
        self.local_ports.insert(place, port);
        if socket.is_suspect() {
            self.suspects = self.suspects.saturating_add(1);
            self.retransmitting_for = self.retransmitting_for.max(socket.retransmitting_for());
        }
    }
}

/// The connections of one pod, by where they lead.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PodHoldings {
    /// To members, at their addresses of now.
    pub by_instance: BTreeMap<InstanceId, ConnectionCount>,
    /// To instances that are no members any more, or to a former address of one that is.
    pub no_member: BTreeMap<InstanceId, ConnectionCount>,
    /// To addresses that were never a member's, loopback (a pooler beside the app) included.
    pub unknown: BTreeMap<IpAddr, ConnectionCount>,
    /// Sockets that the server has closed and the app still keeps. They are no connections.
    pub closed_by_server: u32,
}

impl PodHoldings {
    /// Attributes the sockets of one pod.
    #[must_use]
    pub fn from_sockets(
        sockets: &[Socket],
        addresses: &dyn Addresses,
        topology: &Topology,
    ) -> Self {
        let mut sum = Self::default();
        for socket in sockets {
            if socket.state == SocketState::ClosedByServer {
                sum.closed_by_server = sum.closed_by_server.saturating_add(1);
                continue;
            }
            let remote = socket.remote.ip();
            // A tunnel on loopback is never a member, whatever a name has once been resolved to.
            let known = (!remote.is_loopback()).then(|| addresses.owner_of(remote));
            let held = match known.flatten() {
                Some(known) if known.current && is_member(topology, &known.instance) => {
                    sum.by_instance.entry(known.instance).or_default()
                }
                Some(known) => sum.no_member.entry(known.instance).or_default(),
                None => sum.unknown.entry(remote).or_default(),
            };
            held.add(socket);
        }
        sum
    }

    /// All connections.
    #[must_use]
    pub fn connections(&self) -> u32 {
        let held = self.by_instance.values().chain(self.no_member.values());
        sum_connections(held.chain(self.unknown.values()))
    }

    /// Connections to one member.
    #[must_use]
    pub fn connections_to(&self, instance: &InstanceId) -> u32 {
        self.by_instance.get(instance).map_or(0, |h| h.connections)
    }

    /// Connections to former members and former addresses.
    #[must_use]
    pub fn to_no_member(&self) -> u32 {
        sum_connections(self.no_member.values())
    }

    /// Connections to addresses that nobody knows.
    #[must_use]
    pub fn to_unknown(&self) -> u32 {
        sum_connections(self.unknown.values())
    }

    /// Connections that are suspected to be half-open.
    #[must_use]
    pub fn suspects(&self) -> u32 {
        let held = self.by_instance.values().chain(self.no_member.values());
        held.chain(self.unknown.values())
            .fold(0, |sum, h| sum.saturating_add(h.suspects))
    }
}

fn sum_connections<'a>(held: impl Iterator<Item = &'a ConnectionCount>) -> u32 {
    held.fold(0, |sum, h| sum.saturating_add(h.connections))
}

fn is_member(topology: &Topology, instance: &InstanceId) -> bool {
    topology.members().any(|(m, _)| m.instance == *instance)
}

/// Whether what was measured may be relied on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EvidenceQuality {
    /// It may. There may be no connection at all.
    Whole,
    /// Too few pods could be read.
    Partial {
        /// How many, and why not the others.
        message: String,
    },
    /// A member's address is not known yet, so that its connections would look like anybody's.
    Unresolved {
        /// Which.
        message: String,
    },
    /// There are connections, and none leads to a member: a proxy, a pooler or a mesh is in between.
    Unattributable {
        /// How many, with examples.
        message: String,
    },
}

impl EvidenceQuality {
    /// The reason as the condition `Balanced` names it; `None` if there is nothing to say.
    #[must_use]
    pub const fn reason(&self) -> Option<&'static str> {
        match self {
            Self::Whole => None,
            Self::Partial { .. } => Some("EvidencePartial"),
            Self::Unresolved { .. } => Some("EvidenceUnresolved"),
            Self::Unattributable { .. } => Some("EvidenceUnattributable"),
        }
    }

    /// The verdict in words, if there is something to say.
    #[must_use]
    pub fn message(&self) -> Option<&str> {
        match self {
            Self::Whole => None,
            Self::Partial { message }
            | Self::Unresolved { message }
            | Self::Unattributable { message } => Some(message),
        }
    }
}

/// The evidence of one target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Evidence {
    /// The holdings of each counted pod that was read, by UID.
    pub pods: BTreeMap<String, PodHoldings>,
    /// The counted pods that are unknown, by UID.
    pub unread: BTreeMap<String, UnreadableReason>,
    /// Whether it may be relied on.
    pub verdict: EvidenceQuality,
}

/// Attributes what was measured on the counted pods of a target.
///
/// `measured` may hold other pods, which do not count here; a counted pod that it lacks was not read yet.
#[must_use]
pub fn attribute_connections<'a>(
    counted: impl IntoIterator<Item = &'a str>,
    measured: &Measured,
    addresses: &dyn Addresses,
    topology: &Topology,
) -> Evidence {
    let mut pods = BTreeMap::new();
    let mut unread = BTreeMap::new();
    let mut why: BTreeMap<UnreadableReason, (usize, &str)> = BTreeMap::new();
    for uid in counted {
        let (reason, said) = match measured.pods.get(uid) {
            Some(PodMeasurement::Read(reading)) => {
                let holdings = PodHoldings::from_sockets(&reading.sockets, addresses, topology);
                pods.insert(uid.to_owned(), holdings);
                continue;
            }
            Some(PodMeasurement::Unreadable { why, .. }) => (why.reason, why.message.as_str()),
            None => (UnreadableReason::NotReadYet, ""),
        };
        unread.insert(uid.to_owned(), reason);
        let seen = why.entry(reason).or_insert((0, said));
        seen.0 += 1;
    }
    let verdict = assess_quality(&pods, unread.len(), &why, addresses, topology);
    Evidence {
        pods,
        unread,
        verdict,
    }
}

fn assess_quality(
    pods: &BTreeMap<String, PodHoldings>,
    unread: usize,
    why: &BTreeMap<UnreadableReason, (usize, &str)>,
    addresses: &dyn Addresses,
    topology: &Topology,
) -> EvidenceQuality {
    let (read, all) = (pods.len(), pods.len() + unread);
    if read * 100 < all * READ_PERCENT {
        return EvidenceQuality::Partial {
            message: describe_partial(read, all, why),
        };
    }
    let missing: Vec<&str> = topology
        .members()
        .filter(|(m, _)| !addresses.is_resolved(&m.instance))
        .map(|(m, _)| m.instance.0.as_str())
        .collect();
    let connections: u32 = pods
        .values()
        .fold(0, |sum, p| sum.saturating_add(p.connections()));
    let unknown: u32 = pods
        .values()
        .fold(0, |sum, p| sum.saturating_add(p.to_unknown()));
    // Without an unknown address nothing can be the missing member's.
    if !missing.is_empty() && unknown > 0 {
        return EvidenceQuality::Unresolved {
            message: format!(
                "{unknown} connections lead to addresses that nobody knows, and the address of {} is not known yet",
                missing.join(", ")
            ),
        };
    }
    if connections > 0 && unknown == connections {
        return EvidenceQuality::Unattributable {
            message: describe_unattributable(connections, pods),
        };
    }
    EvidenceQuality::Whole
}

fn describe_partial(
    read: usize,
    all: usize,
    why: &BTreeMap<UnreadableReason, (usize, &str)>,
) -> String {
    let mut reasons: Vec<_> = why
        .iter()
        .map(|(reason, (count, said))| (*count, *reason, *said))
        .collect();
    reasons.sort_by(|a, b| b.0.cmp(&a.0).then(a.1.cmp(&b.1)));
    let counts: Vec<String> = reasons
        .iter()
        .map(|(count, reason, _)| format!("{count} {reason}"))
        .collect();
    let mut text = format!(
        "{read} of {all} pods read, {READ_PERCENT} % are needed: {}",
        counts.join(", ")
    );
    // One example, of the most frequent reason that has words.
    if let Some((_, _, said)) = reasons.iter().find(|(_, _, said)| !said.is_empty()) {
        text.push_str("; ");
        text.push_str(said);
    }
    text
}

fn describe_unattributable(connections: u32, pods: &BTreeMap<String, PodHoldings>) -> String {
    let mut remotes: BTreeMap<IpAddr, u32> = BTreeMap::new();
    for (address, held) in pods.values().flat_map(|p| &p.unknown) {
        let sum = remotes.entry(*address).or_default();
        *sum = sum.saturating_add(held.connections);
    }
    let local = remotes.keys().all(IpAddr::is_loopback);
    let mut often: Vec<_> = remotes.into_iter().collect();
    often.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(&b.0)));
    let examples: Vec<String> = often
        .iter()
        .take(EXAMPLES)
        .map(|(address, count)| format!("{count} to {address}"))
        .collect();
    let more = often.len().saturating_sub(EXAMPLES);
    let rest = if more > 0 {
        format!(" and {more} more addresses")
    } else {
        String::new()
    };
    let cause = if local {
        "a pooler or a proxy beside the app is in between"
    } else {
        "an RDS Proxy, a pooler or a service mesh is in between, or targets[].port is another database's"
    };
    format!(
        "{connections} connections, none to a member of the cluster ({}{rest}): {cause}",
        examples.join(", ")
    )
}

/// The members that no connection of the evidence leads to, for whoever shows it.
#[must_use]
pub fn find_unused_members(evidence: &Evidence, topology: &Topology) -> BTreeSet<InstanceId> {
    topology
        .members()
        .map(|(m, _)| m.instance.clone())
        .filter(|i| evidence.pods.values().all(|p| p.connections_to(i) == 0))
        .collect()
}

#[cfg(test)]
pub(super) mod tests;
