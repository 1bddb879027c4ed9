//! Attributes sockets to instances by address, and rates whether the result can be relied on.
//!
//! Connections lead to members, to former members, or to unknown addresses. Which pods must move because of it is
//! decided in `balance`.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use jiff::{SignedDuration, Timestamp};

use super::{Measured, PodMeasurement, Socket, SocketState, UnreadableReason};
use crate::dns::AddressBook;
use crate::topology::{InstanceId, Topology};

/// The least percentage of the counted pods that must be read. Below it the operator does not act on the rest.
pub const READ_PERCENT: usize = 90;

/// How long after the last answer of DNS an address is still taken for its former owner's, for sockets that are opened then
/// (docs/adr/0013-evidence-outranks-stamps.md).
const REUSED_AFTER: SignedDuration = SignedDuration::from_mins(10);

/// How many addresses a message lists.
const EXAMPLES: usize = 3;

/// The instance behind an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddressOwner {
    /// Its name.
    pub instance: InstanceId,
    /// Whether the instance has this address now, rather than earlier.
    pub current: bool,
    /// When the instance's endpoint last resolved to this address; `None` if that is not known.
    pub last_seen: Option<Timestamp>,
}

impl AddressOwner {
    /// Whether a socket leads to the instance: one to a former address does not, if it was opened so long after that the
    /// subnet may have given the address to somebody else.
    #[must_use]
    pub fn is_reached_by(&self, socket: &Socket) -> bool {
        let reused = self.last_seen.filter(|_| !self.current);
        let reused = reused.and_then(|seen| seen.checked_add(REUSED_AFTER).ok());
        match (reused, socket.opened_after) {
            (Some(reused), Some(opened_after)) => opened_after < reused,
            _ => true,
        }
    }
}

/// Maps addresses to the instances that have or had them.
pub trait Addresses {
    /// Returns the instance behind the address; `None` if the address was never resolved from an endpoint.
    fn owner_of(&self, address: IpAddr) -> Option<AddressOwner>;
    /// Returns whether a current address of this instance is known.
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
            last_seen: Some(known.last_seen),
        })
    }

    fn is_resolved(&self, instance: &InstanceId) -> bool {
        self.current_addresses(instance).next().is_some()
    }
}

/// Connections that lead to one place.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConnectionCount {
    /// Number of connections.
    pub connections: u32,
    /// Their local ports, ascending.
    pub local_ports: Vec<u16>,
    /// Number of connections that are suspected to be half-open.
    pub suspects: u32,
    /// The longest time for which one of the suspects has at least been retransmitting without an answer.
    pub retransmitting_for: std::time::Duration,
}

impl ConnectionCount {
    fn add(&mut self, socket: &Socket) {
        self.connections = self.connections.saturating_add(1);
        self.local_ports.push(socket.local.port());
        if socket.is_suspect() {
            self.suspects = self.suspects.saturating_add(1);
            self.retransmitting_for = self.retransmitting_for.max(socket.retransmitting_for());
        }
    }
}

/// The connections of one pod, grouped by where they lead.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PodHoldings {
    /// To members, at their current addresses.
    pub by_instance: BTreeMap<InstanceId, ConnectionCount>,
    /// To instances that are not members any more, or to a former address of a member.
    pub no_member: BTreeMap<InstanceId, ConnectionCount>,
    /// To addresses that were never a member's, or may be another's by now; loopback (a pooler beside the app) included.
    pub unknown: BTreeMap<IpAddr, ConnectionCount>,
    /// Sockets that the server has closed and the app still keeps. They do not count as connections.
    pub closed_by_server: u32,
    /// Sockets to an address that a member has or had that lead nowhere: the server has closed them, or they are
    /// suspected to be half-open. The pool still counts them, and the next queries on them fail. Suspects at a member's
    /// current address are also among the connections to it; those at other addresses are in `no_member` alone.
    pub dead: u32,
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
            let remote = socket.remote.ip();
            // A tunnel on loopback never leads to a member, even if a name was once resolved to loopback.
            let known = (!remote.is_loopback()).then(|| addresses.owner_of(remote));
            let known = known.flatten().filter(|k| k.is_reached_by(socket));
            if socket.state == SocketState::ClosedByServer {
                sum.closed_by_server = sum.closed_by_server.saturating_add(1);
                sum.dead = sum.dead.saturating_add(u32::from(known.is_some()));
                continue;
            }
            let held = match known {
                Some(known) if known.current && is_member(topology, &known.instance) => {
                    sum.dead = sum.dead.saturating_add(u32::from(socket.is_suspect()));
                    sum.by_instance.entry(known.instance).or_default()
                }
                Some(known) => sum.no_member.entry(known.instance).or_default(),
                None => sum.unknown.entry(remote).or_default(),
            };
            held.add(socket);
        }
        let by_place = sum.by_instance.values_mut();
        let by_place = by_place.chain(sum.no_member.values_mut());
        for held in by_place.chain(sum.unknown.values_mut()) {
            held.local_ports.sort_unstable();
        }
        sum
    }

    /// Returns the number of all connections.
    #[must_use]
    pub fn connections(&self) -> u32 {
        let held = self.by_instance.values().chain(self.no_member.values());
        sum_connections(held.chain(self.unknown.values()))
    }

    /// Returns the number of connections to one member.
    #[must_use]
    pub fn connections_to(&self, instance: &InstanceId) -> u32 {
        self.by_instance.get(instance).map_or(0, |h| h.connections)
    }

    /// Returns the number of connections to former members and former addresses.
    #[must_use]
    pub fn to_no_member(&self) -> u32 {
        sum_connections(self.no_member.values())
    }

    /// Returns the number of connections to unknown addresses.
    #[must_use]
    pub fn to_unknown(&self) -> u32 {
        sum_connections(self.unknown.values())
    }

    /// Returns the number of connections that are suspected to be half-open.
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

/// Whether the measurements can be relied on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EvidenceQuality {
    /// They can. There may be no connections at all.
    Whole,
    /// Too few pods could be read.
    Partial {
        /// How many were read, and why the others were not.
        message: String,
    },
    /// The address of a member is not known yet, so that its connections look like those to unknown
    /// addresses.
    Unresolved {
        /// Which members.
        message: String,
    },
    /// There are connections, but none leads to a member: a proxy, a pooler or a mesh is in between.
    Unattributable {
        /// How many, with examples.
        message: String,
    },
}

impl EvidenceQuality {
    /// Returns the reason as the condition `Balanced` names it; `None` if the evidence is whole.
    #[must_use]
    pub const fn reason(&self) -> Option<&'static str> {
        match self {
            Self::Whole => None,
            Self::Partial { .. } => Some("EvidencePartial"),
            Self::Unresolved { .. } => Some("EvidenceUnresolved"),
            Self::Unattributable { .. } => Some("EvidenceUnattributable"),
        }
    }

    /// Returns the message; `None` if the evidence is whole.
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
    /// Whether the evidence can be relied on.
    pub verdict: EvidenceQuality,
}

/// Attributes the measured connections of a target's counted pods.
///
/// Other pods in `measured` are ignored. A counted pod that is missing from it has not been read yet.
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
    // Without unknown addresses, none of the connections can be the missing member's.
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
    // One example, of the most frequent reason that has a message.
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

/// Returns the members that no connection of the evidence leads to, for messages.
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
