//! Builds the snapshot of one target's connections: pods by instances, and which pods are misplaced and why.
//!
//! `dbbalance_core::evidence` finds the instance of each address; this module counts and describes.

use std::collections::BTreeMap;
use std::net::IpAddr;

use jiff::Timestamp;
use serde::Serialize;

use super::address_map::AddressMap;
use super::band::{ConnectionBand, find_band};
use dbbalance_api::spec::TargetSpec;
use dbbalance_api::status::BalanceStatus;
use dbbalance_core::balance::{Holdings, Pools, count_wrong_role};
use dbbalance_core::evidence::{
    Addresses as _, ConnectionCount, Evidence, Measured, PodHoldings, PodMeasurement,
    attribute_connections,
};
use dbbalance_core::topology::{InstanceId, Role, Topology};

/// What a place is to the target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum PlaceKind {
    Writer,
    Reader,
    /// An instance that was a member, or a member's former address.
    Former,
    /// An address that was never a member's, as far as is known here.
    Unknown,
}

/// Where a place stands in the band.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum BandLevel {
    Below,
    Within,
    Above,
}

/// Where connections lead.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ConnectionPlace {
    /// The instance; the address of an unknown one.
    pub name: String,
    pub kind: PlaceKind,
    pub addresses: Vec<IpAddr>,
    pub connections: u32,
    /// Of all connections to members, in whole percent; for members.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub percent: Option<u32>,
    /// Where a reader stands in the band, if the band is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub level: Option<BandLevel>,
}

/// One pod.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PodRow {
    pub name: String,
    /// Connections to each place, in their order; empty if the pod could not be read.
    pub held: Vec<u32>,
    /// Connections to a wrong role or to no member.
    pub misplaced: u32,
    /// Who is misplaced and why, and what else is odd; why it could not be read.
    pub notes: Vec<String>,
    /// Whether it could be read.
    pub read: bool,
}

/// All that is shown of one target.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ConnectionSnapshot {
    pub namespace: String,
    pub policy: String,
    pub target: String,
    pub cluster: String,
    pub port: u16,
    pub time: Timestamp,
    pub places: Vec<ConnectionPlace>,
    pub pods: Vec<PodRow>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub band: Option<ConnectionBand>,
    /// What keeps the snapshot from being relied on, and other things to know.
    pub notes: Vec<String>,
}

/// The input of a snapshot.
pub(crate) struct SnapshotInput<'a> {
    pub namespace: &'a str,
    pub policy: &'a str,
    pub cluster: &'a str,
    pub target: &'a TargetSpec,
    pub port: u16,
    /// Name and UID of each counted pod.
    pub pods: &'a [(String, String)],
    pub measured: &'a Measured,
    pub address_map: &'a AddressMap,
    pub topology: &'a Topology,
    /// How far above the fair share a reader may be, in percent.
    pub tolerance: u32,
    pub balance: Option<&'a BalanceStatus>,
    pub time: Timestamp,
}

impl ConnectionSnapshot {
    pub(crate) fn pods_read(&self) -> usize {
        self.pods.iter().filter(|p| p.read).count()
    }

    pub(crate) fn total_connections(&self) -> u32 {
        self.places
            .iter()
            .fold(0, |sum, p| sum.saturating_add(p.connections))
    }
}

/// Builds the snapshot of one target.
pub(crate) fn build_snapshot(input: &SnapshotInput) -> ConnectionSnapshot {
    let uids = input.pods.iter().map(|(_, uid)| uid.as_str());
    let evidence = attribute_connections(uids, input.measured, input.address_map, input.topology);
    let pools = effective_pools(input.target, &evidence);
    let band = find_band(input, &evidence, pools);
    let places = list_places(input, &evidence, band);
    let mut pods: Vec<PodRow> = input
        .pods
        .iter()
        .map(|(name, uid)| build_row(input, (name, uid), &evidence, &places, pools))
        .collect();
    // Those with something to say first: a long list is cut.
    pods.sort_by(|a, b| {
        let key = |p: &PodRow| (p.misplaced == 0, p.read, p.notes.is_empty());
        key(a).cmp(&key(b)).then_with(|| a.name.cmp(&b.name))
    });
    ConnectionSnapshot {
        namespace: input.namespace.to_owned(),
        policy: input.policy.to_owned(),
        target: input.target.name.clone(),
        cluster: input.cluster.to_owned(),
        port: input.port,
        time: input.time,
        notes: collect_notes(input, &evidence),
        places,
        pods,
        band,
    }
}

/// The most connections that any pod holds: what a pool without a number may hold.
fn effective_pools(target: &TargetSpec, evidence: &Evidence) -> Pools {
    let held = evidence.pods.values().map(PodHoldings::connections);
    Pools::from_specs(&target.pools, held.max().unwrap_or(0))
}

fn list_places(
    input: &SnapshotInput,
    evidence: &Evidence,
    band: Option<ConnectionBand>,
) -> Vec<ConnectionPlace> {
    let sum = |of: &dyn Fn(&PodHoldings) -> u32| {
        evidence
            .pods
            .values()
            .fold(0_u32, |sum, p| sum.saturating_add(of(p)))
    };
    let mut members: Vec<(&InstanceId, Role)> = input
        .topology
        .members()
        .map(|(m, role)| (&m.instance, role))
        .collect();
    members.sort_by_key(|(id, role)| (*role, natural_key(&id.0)));
    let to_members = members.iter().fold(0_u32, |all, (id, _)| {
        all.saturating_add(sum(&|p| p.connections_to(id)))
    });
    let mut places: Vec<ConnectionPlace> = members
        .iter()
        .map(|(id, role)| {
            let connections = sum(&|p| p.connections_to(id));
            let level = band.filter(|_| *role == Role::Reader).map(|b| {
                if connections < b.lowest {
                    BandLevel::Below
                } else if connections > b.highest {
                    BandLevel::Above
                } else {
                    BandLevel::Within
                }
            });
            ConnectionPlace {
                name: id.0.clone(),
                kind: match role {
                    Role::Writer => PlaceKind::Writer,
                    Role::Reader => PlaceKind::Reader,
                },
                addresses: input.address_map.addresses_of(id),
                connections,
                percent: Some(percent_of(connections, to_members)),
                level,
            }
        })
        .collect();
    let mut former: BTreeMap<&InstanceId, u32> = BTreeMap::new();
    let mut unknown: BTreeMap<IpAddr, u32> = BTreeMap::new();
    for pod in evidence.pods.values() {
        for (id, held) in &pod.no_member {
            *former.entry(id).or_default() += held.connections;
        }
        for (address, held) in &pod.unknown {
            *unknown.entry(*address).or_default() += held.connections;
        }
    }
    places.extend(former.into_iter().map(|(id, connections)| ConnectionPlace {
        name: id.0.clone(),
        kind: PlaceKind::Former,
        addresses: input.address_map.former_addresses_of(id),
        connections,
        percent: None,
        level: None,
    }));
    places.extend(
        unknown
            .into_iter()
            .map(|(address, connections)| ConnectionPlace {
                name: address.to_string(),
                kind: PlaceKind::Unknown,
                addresses: vec![address],
                connections,
                percent: None,
                level: None,
            }),
    );
    places
}

/// Sorts `orders-10` after `orders-9`.
fn natural_key(name: &str) -> (&str, u64, &str) {
    let stem = name.trim_end_matches(|c: char| c.is_ascii_digit());
    let number = name[stem.len()..].parse().unwrap_or(0);
    (stem, number, name)
}

fn percent_of(part: u32, whole: u32) -> u32 {
    let rounded = (u64::from(part) * 100 + u64::from(whole) / 2).checked_div(u64::from(whole));
    rounded.and_then(|p| u32::try_from(p).ok()).unwrap_or(0)
}

fn build_row(
    input: &SnapshotInput,
    (name, uid): (&str, &str),
    evidence: &Evidence,
    places: &[ConnectionPlace],
    pools: Pools,
) -> PodRow {
    let Some(holdings) = evidence.pods.get(uid) else {
        let why = match input.measured.pods.get(uid) {
            Some(PodMeasurement::Unreadable { why, .. }) => why.message.clone(),
            Some(PodMeasurement::Read(_)) | None => "no measurement yet".to_owned(),
        };
        return PodRow {
            name: name.to_owned(),
            held: Vec::new(),
            misplaced: 0,
            notes: vec![format!("not read: {why}")],
            read: false,
        };
    };
    let connections = |held: Option<&ConnectionCount>| held.map_or(0, |h| h.connections);
    let held = places
        .iter()
        .map(|place| {
            let id = InstanceId(place.name.clone());
            match place.kind {
                PlaceKind::Writer | PlaceKind::Reader => holdings.connections_to(&id),
                PlaceKind::Former => connections(holdings.no_member.get(&id)),
                PlaceKind::Unknown => place
                    .addresses
                    .iter()
                    .map(|a| connections(holdings.unknown.get(a)))
                    .sum(),
            }
        })
        .collect();
    let (misplaced, notes) = find_causes(input, holdings, places, pools);
    PodRow {
        name: name.to_owned(),
        held,
        misplaced,
        notes,
        read: true,
    }
}

/// Who is misplaced, and why.
fn find_causes(
    input: &SnapshotInput,
    holdings: &PodHoldings,
    places: &[ConnectionPlace],
    pools: Pools,
) -> (u32, Vec<String>) {
    let mut notes = Vec::new();
    let wrong = count_wrong_role(pools, input.topology, None, &Holdings::from(holdings));
    if wrong.count() > 0 {
        let which = if wrong.on_writer >= wrong.on_readers {
            "the writer"
        } else {
            "readers"
        };
        notes.push(format!("{} on {which} (wrong role)", wrong.count()));
    }
    for (id, held) in &holdings.no_member {
        let is_member = input.topology.members().any(|(m, _)| m.instance == *id);
        notes.push(if is_member {
            format!("{} to a former address of {id}", held.connections)
        } else {
            format!("{} to {id} (no member)", held.connections)
        });
    }
    for place in places.iter().filter(|p| p.level == Some(BandLevel::Above)) {
        let n = holdings.connections_to(&InstanceId(place.name.clone()));
        if n > 0 {
            notes.push(format!("{n} on {} (too many)", place.name));
        }
    }
    if holdings.suspects() > 0 {
        notes.push(format!("{} get no answer: half-open?", holdings.suspects()));
    }
    if holdings.closed_by_server > 0 {
        notes.push(format!(
            "{} closed by the server and kept by the app",
            holdings.closed_by_server
        ));
    }
    (wrong.count().saturating_add(holdings.to_no_member()), notes)
}

fn collect_notes(input: &SnapshotInput, evidence: &Evidence) -> Vec<String> {
    let mut notes: Vec<String> = evidence
        .verdict
        .message()
        .map(str::to_owned)
        .into_iter()
        .collect();
    let missing: Vec<&str> = input
        .topology
        .members()
        .filter(|(m, _)| !input.address_map.is_resolved(&m.instance))
        .map(|(m, _)| m.instance.0.as_str())
        .collect();
    if !missing.is_empty() && notes.is_empty() {
        notes.push(format!(
            "the operator has not recorded an address of {}: connections to it would show as unknown",
            missing.join(", ")
        ));
    }
    let total = evidence
        .pods
        .values()
        .fold(0_u32, |sum, p| sum.saturating_add(p.connections()));
    if total == 0 && !evidence.pods.is_empty() && input.target.port.is_none() {
        notes.push(format!(
            "no pod holds a connection to port {}: for another port set targets[].port, or pass --port",
            input.port
        ));
    }
    notes
}
