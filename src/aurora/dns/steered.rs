//! Looks at names that are narrowed: only while they are, because a name that nobody asks is in no cache, and a change of it
//! is seen at once.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::question::DnsQuestion;
use dbbalance_core::dns::KEPT_LOOKS;
use dbbalance_core::narrow::{Led, NameLook, TOLD_LOOKS};

/// What is known of a name that may be narrowed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NameLooks {
    /// The last looks since it was narrowed, oldest first, over all name servers.
    pub looks: Vec<NameLook>,
    /// The greatest TTL, in seconds, that any look at it was answered with since the operator has started; `None` if
    /// none was answered.
    pub greatest_ttl: Option<u32>,
}

/// The looks at the steered names of one cluster.
#[derive(Debug, Default)]
pub(super) struct SteeredLooks {
    /// The names that are looked at now.
    names: BTreeMap<String, VecDeque<NameLook>>,
    /// Kept while a name is not looked at: it bounds how long caches keep an answer.
    greatest_ttls: BTreeMap<String, u32>,
    servers: usize,
}

impl SteeredLooks {
    /// Looks at this name from now on, by so many name servers. Returns whether that is a change.
    pub(super) fn start(&mut self, name: &str, servers: usize) -> bool {
        self.servers = servers;
        if self.names.contains_key(name) {
            return false;
        }
        self.names.insert(name.to_owned(), VecDeque::new());
        true
    }

    /// Looks at this name no more, and forgets its looks.
    pub(super) fn stop(&mut self, name: &str) {
        self.names.remove(name);
    }

    /// Returns what is to be asked.
    pub(super) fn questions(&self) -> BTreeSet<DnsQuestion> {
        let of_name = |name: &String| {
            let name = name.clone();
            (0..self.servers).map(move |server| DnsQuestion::Steered {
                name: name.clone(),
                server,
            })
        };
        self.names.keys().flat_map(of_name).collect()
    }

    /// Records a look. Returns whether a reconcile may decide differently: the newest looks agree or disagree anew, or
    /// begin or cease to fail.
    pub(super) fn record(&mut self, name: &str, look: NameLook) -> bool {
        // An answer to a name that was widened meanwhile teaches its TTL as well.
        if look.led.is_some() {
            let greatest = self.greatest_ttls.entry(name.to_owned()).or_insert(0);
            *greatest = look.ttl.max(*greatest);
        }
        let Some(looks) = self.names.get_mut(name) else {
            return false;
        };
        let before = judge(looks);
        // Answers may arrive in any order; they are kept in the order in which they were asked.
        let place = looks.iter().rposition(|known| known.at <= look.at);
        looks.insert(place.map_or(0, |at| at + 1), look);
        if looks.len() > KEPT_LOOKS {
            looks.pop_front();
        }
        judge(looks) != before
    }

    /// Returns what is known of a name.
    pub(super) fn view(&self, name: &str) -> NameLooks {
        NameLooks {
            looks: self
                .names
                .get(name)
                .map(|looks| looks.iter().cloned().collect())
                .unwrap_or_default(),
            greatest_ttl: self.greatest_ttls.get(name).copied(),
        }
    }
}

/// Where all of the newest looks lead, and whether the newest one has failed. More looks that agree change no decision.
fn judge(looks: &VecDeque<NameLook>) -> (Option<Led>, bool) {
    let is_failing = looks.back().is_some_and(|look| look.led.is_none());
    let agreed = looks.len().checked_sub(TOLD_LOOKS).and_then(|from| {
        let led = looks.get(from)?.led.as_ref()?;
        let mut newest = looks.range(from..);
        newest
            .all(|look| look.led.as_ref() == Some(led))
            .then(|| led.clone())
    });
    (agreed, is_failing)
}
