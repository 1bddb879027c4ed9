//! Whether a pod's connections are new, and if not, why not as far as sockets tell.
//!
//! Pure: sockets before and after, in; a judgement and its words, out.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use dbbalance_api::spec::Method;
use dbbalance_core::evidence::{Addresses, Socket, fresh_sockets, kept_sockets};
use dbbalance_terminal::render::format_count;

/// What is known after a look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Proof {
    pub before: usize,
    pub after: usize,
    /// Connections of before that are still there.
    pub kept: usize,
    /// Connections that were not there.
    pub fresh: usize,
    /// Local ports before and after, ascending.
    pub ports: (Vec<u16>, Vec<u16>),
    /// Where they led and lead, by name or address.
    pub leads: BTreeMap<String, (u32, u32)>,
}

impl Proof {
    pub(super) fn compare(
        before: &[Socket],
        after: &[Socket],
        address_map: &dyn Addresses,
    ) -> Self {
        let ports = |sockets: &[Socket]| {
            let mut ports: Vec<u16> = sockets
                .iter()
                .filter(|s| s.is_connection())
                .map(|s| s.local.port())
                .collect();
            ports.sort_unstable();
            ports
        };
        let ports = (ports(before), ports(after));
        let mut leads: BTreeMap<String, (u32, u32)> = BTreeMap::new();
        let name = |s: &Socket| {
            let ip = s.remote.ip();
            address_map
                .of(ip)
                .map_or_else(|| ip.to_string(), |k| k.instance.0)
        };
        for socket in before.iter().filter(|s| s.is_connection()) {
            leads.entry(name(socket)).or_default().0 += 1;
        }
        for socket in after.iter().filter(|s| s.is_connection()) {
            leads.entry(name(socket)).or_default().1 += 1;
        }
        Self {
            before: ports.0.len(),
            after: ports.1.len(),
            kept: kept_sockets(before, after).len(),
            fresh: fresh_sockets(before, after).len(),
            ports,
            leads,
        }
    }

    /// No old connection is left, and at least one new is there.
    pub(super) fn is_proven(&self) -> bool {
        self.kept == 0 && self.fresh > 0
    }

    /// As many as before are back.
    pub(super) fn is_complete(&self) -> bool {
        self.is_proven() && self.fresh >= self.before
    }

    /// In a few words, for a line that is rewritten.
    pub(super) fn progress_text(&self) -> String {
        format!(
            "{} of {} old left, {} new",
            self.kept, self.before, self.fresh
        )
    }

    /// Figures: ports, and where they lead.
    pub(super) fn figures_text(&self) -> String {
        let mut out = String::new();
        let _ = writeln!(
            out,
            "  before  {}",
            describe_side(self.before, &self.ports.0)
        );
        let _ = writeln!(
            out,
            "  after   {}",
            describe_side(self.after, &self.ports.1)
        );
        let names = self
            .leads
            .keys()
            .map(|n| n.chars().count())
            .max()
            .unwrap_or(0);
        for (name, (before, after)) in &self.leads {
            let _ = writeln!(out, "  {name:<names$}  {before} → {after}");
        }
        out
    }

    /// Why it is not proven.
    pub(super) fn explain_failure(&self, method: Method, seconds: u64) -> String {
        let within = format!("within {seconds} s");
        if self.kept == self.before && self.fresh == 0 {
            let hint = match method {
                Method::Signal => {
                    "the process catches the signal, but what it does then renews no pool: install the handler \
                     in the process that holds the pool, and look at the app's log"
                }
                Method::Http => {
                    "the app answered the call, but renewed no pool: look at what the path does"
                }
                Method::Annotate => {
                    "the app does not follow its annotations: is the downward API volume mounted, and who \
                     reads it?"
                }
                Method::Evict | Method::Rollout => "the pod is still there",
            };
            return format!(
                "not one of {} changed {within}: {hint}",
                format_count(self.before, "connection")
            );
        }
        if self.kept == 0 {
            return format!(
                "all {} old connections are closed, and none was opened {within}: the pool opens them on \
                 demand, so verify under load",
                self.before
            );
        }
        format!(
            "{} of {} connections are still the old ones after {seconds} s ({} new): connections in use are closed \
             when they are given back, or the process has another pool that the hook does not know",
            self.kept, self.before, self.fresh
        )
    }

    /// What to know though it is proven.
    pub(super) fn remark(&self, readers: usize) -> Option<String> {
        let before: Vec<&String> = self
            .leads
            .iter()
            .filter(|(_, n)| n.0 > 0)
            .map(|(n, _)| n)
            .collect();
        let after: Vec<&String> = self
            .leads
            .iter()
            .filter(|(_, n)| n.1 > 0)
            .map(|(n, _)| n)
            .collect();
        if readers > 1 && before == after && after.len() == 1 {
            return Some(format!(
                "all new connections lead to {} again: one answer of DNS serves all look-ups of about 5 s, so that is \
                 common; if it is always so, the app keeps answers for longer (JVM: networkaddress.cache.ttl)",
                after[0]
            ));
        }
        None
    }
}

fn describe_side(n: usize, ports: &[u16]) -> String {
    const SHOWN: usize = 10;
    let mut names: Vec<String> = ports.iter().take(SHOWN).map(u16::to_string).collect();
    if ports.len() > SHOWN {
        names.push(format!("… {} more", ports.len() - SHOWN));
    }
    if names.is_empty() {
        return format_count(n, "connection");
    }
    format!(
        "{}, local ports {}",
        format_count(n, "connection"),
        names.join(" ")
    )
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use dbbalance_core::evidence::Known;
    use dbbalance_core::testing::socket;
    use dbbalance_core::topology::InstanceId;
    use std::net::IpAddr;

    fn address_map() -> BTreeMap<IpAddr, Known> {
        let known = |name: &str| Known {
            instance: InstanceId(name.to_owned()),
            current: true,
        };
        BTreeMap::from([
            ("10.0.0.1".parse().unwrap(), known("orders-2")),
            ("10.0.0.2".parse().unwrap(), known("orders-3")),
        ])
    }

    fn proof(before: &[(u16, &str)], after: &[(u16, &str)]) -> Proof {
        let sockets = |all: &[(u16, &str)]| -> Vec<Socket> {
            all.iter().map(|(port, to)| socket(*port, to)).collect()
        };
        Proof::compare(&sockets(before), &sockets(after), &address_map())
    }

    #[test]
    fn connections_with_other_ports_are_a_proof() {
        let proof = proof(
            &[(1, "10.0.0.1"), (2, "10.0.0.1")],
            &[(3, "10.0.0.1"), (4, "10.0.0.2")],
        );
        assert!(proof.is_proven() && proof.is_complete());
        assert_eq!(
            proof.figures_text(),
            "  before  2 connections, local ports 1 2\n  after   2 connections, local ports 3 4\n  orders-2  2 → 1\n  orders-3  0 → 1\n"
        );
        assert_eq!(proof.remark(2), None);
    }

    #[test]
    fn a_pool_that_comes_back_smaller_is_proven_but_not_complete() {
        let proof = proof(&[(1, "10.0.0.1"), (2, "10.0.0.1")], &[(3, "10.0.0.1")]);
        assert!(proof.is_proven() && !proof.is_complete());
        assert!(proof.remark(2).unwrap().contains("orders-2 again"));
        assert_eq!(proof.remark(1), None, "there is no other reader");
    }

    #[test]
    fn a_hook_that_does_nothing_is_told_from_one_that_closes_only_idle_connections() {
        let same = [(1, "10.0.0.1"), (2, "10.0.0.1")];
        let nothing = proof(&same, &same);
        assert!(!nothing.is_proven());
        let said = nothing.explain_failure(Method::Signal, 30);
        assert!(
            said.starts_with("not one of 2 connections changed within 30 s: the process catches"),
            "{said}"
        );
        let half = proof(&same, &[(2, "10.0.0.1"), (3, "10.0.0.2")]);
        assert!(!half.is_proven());
        assert!(
            half.explain_failure(Method::Http, 30)
                .starts_with("1 of 2 connections are still the old ones")
        );
    }

    #[test]
    fn closed_and_not_reopened_is_no_proof() {
        let closed = proof(&[(1, "10.0.0.1")], &[]);
        assert!(!closed.is_proven());
        assert!(
            closed
                .explain_failure(Method::Signal, 5)
                .contains("verify under load")
        );
    }
}
