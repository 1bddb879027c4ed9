//! Describes evidence in text: one line for the connections of a pod to one place.

use std::fmt::Write as _;

use super::{ConnectionCount, PodHoldings};
use crate::topology::{InstanceId, Role, Topology};

/// How many ports a line lists.
const PORTS: usize = 5;

/// Returns the lines of a pod: one for each place, members first, each with its role and the local ports.
#[must_use]
pub fn describe_holdings(holdings: &PodHoldings, topology: &Topology) -> Vec<String> {
    let all = holdings.connections();
    let members = holdings.by_instance.iter().map(|(instance, held)| {
        let role = match find_role(instance, topology) {
            Some(Role::Writer) => "writer",
            Some(Role::Reader) => "reader",
            None => "no member",
        };
        describe_place(held, all, &format!("{instance} ({role})"))
    });
    let former = holdings.no_member.iter().map(|(instance, held)| {
        let what = match find_role(instance, topology) {
            Some(_) => "at a former address",
            None => "no member",
        };
        describe_place(held, all, &format!("{instance} ({what})"))
    });
    let unknown = holdings
        .unknown
        .iter()
        .map(|(address, held)| describe_place(held, all, &format!("{address} (unknown)")));
    let closed = (holdings.closed_by_server > 0).then(|| {
        format!(
            "{} sockets that the server has closed and the app still keeps",
            holdings.closed_by_server
        )
    });
    members.chain(former).chain(unknown).chain(closed).collect()
}

fn find_role(instance: &InstanceId, topology: &Topology) -> Option<Role> {
    topology
        .members()
        .find(|(m, _)| m.instance == *instance)
        .map(|(_, role)| role)
}

fn describe_place(held: &ConnectionCount, all: u32, place: &str) -> String {
    let ports: Vec<String> = held
        .local_ports
        .iter()
        .take(PORTS)
        .map(u16::to_string)
        .collect();
    let more = held.local_ports.len().saturating_sub(PORTS);
    let noun = if held.local_ports.len() == 1 {
        "port"
    } else {
        "ports"
    };
    let mut text = format!(
        "{} of {all} connections on {place}, local {noun} {}",
        held.connections,
        ports.join(", ")
    );
    if more > 0 {
        let _ = write!(text, " and {more} more");
    }
    if held.suspects > 0 {
        let which = if held.suspects == held.connections {
            String::new()
        } else {
            format!("{} of them ", held.suspects)
        };
        let seconds = held.retransmitting_for.as_secs();
        if held.retransmitting_for.is_zero() {
            let _ = write!(text, "; {which}without an answer to keep-alives");
        } else {
            let _ = write!(text, "; {which}retransmitting for {seconds} s");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::holdings::tests::{addresses, topology};
    use super::*;
    use crate::testing::socket;

    fn said(sockets: &[super::super::Socket]) -> Vec<String> {
        let topology = topology("orders-2", &["orders-1"]);
        describe_holdings(
            &PodHoldings::from_sockets(sockets, &addresses(), &topology),
            &topology,
        )
    }

    #[test]
    fn a_line_names_place_role_ports_and_silence() {
        let mut sockets: Vec<_> = [40112, 40120, 40114]
            .map(|port| socket(port, "10.0.0.2"))
            .into();
        for s in &mut sockets {
            (s.retransmits, s.unacknowledged) = (6, 17);
        }
        sockets.extend((1..=7).map(|port| socket(port, "10.0.0.1")));
        assert_eq!(
            said(&sockets),
            [
                "7 of 10 connections on orders-1 (reader), local ports 1, 2, 3, 4, 5 and 2 more",
                "3 of 10 connections on orders-2 (writer), local ports 40112, 40114, 40120; retransmitting for 12 s",
            ]
        );
    }

    #[test]
    fn some_suspects_among_others_are_counted() {
        let mut silent = socket(2, "10.0.0.9");
        silent.unanswered_probes = 5;
        assert_eq!(
            said(&[socket(1, "10.0.0.9"), silent]),
            [
                "2 of 2 connections on orders-9 (no member), local ports 1, 2; 1 of them without an answer to keep-alives"
            ]
        );
    }

    #[test]
    fn former_and_unknown_addresses_and_closed_sockets_are_told_apart() {
        let mut closed = socket(4, "10.0.0.1");
        closed.state = super::super::SocketState::ClosedByServer;
        let found = said(&[socket(1, "10.0.0.11"), socket(3, "127.0.0.1"), closed]);
        assert_eq!(
            found,
            [
                "1 of 2 connections on orders-1 (at a former address), local port 1",
                "1 of 2 connections on 127.0.0.1 (unknown), local port 3",
                "1 sockets that the server has closed and the app still keeps",
            ]
        );
        assert!(said(&[]).is_empty());
    }
}
