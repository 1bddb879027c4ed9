//! Compares the sockets of a pod before and after its recycle: whether its connections are new, and if not, why not.

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
                .owner_of(ip)
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
mod tests;
