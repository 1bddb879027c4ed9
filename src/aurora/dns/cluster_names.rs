//! The DNS of one cluster: its samples, the addresses of its instances, and when each name is due.
//!
//! Answers are recorded one after the other; [`DnsSignals`] says what has changed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

use super::limiter::LookupPriority;
use super::lookup::{IpFamily, LookupAnswer, LookupError};
use super::question::{DnsQuestion, QuestionState, question_interval};
use super::steered::SteeredLooks;
use dbbalance_core::dns::{AGREEING_LOOKS, AddressBook, DnsSample, DnsSamples, DnsView};
use dbbalance_core::narrow::{Led, NameLook};
use dbbalance_core::topology::{ClusterView, Endpoints, InstanceId};

/// How long DNS is sampled at the fast interval after it was ahead of the topology.
const SIGNAL_BOOST: Duration = Duration::from_secs(10);
/// Agreeing samples must be within this time; at the fast interval they take one second.
const AGREEING_SPAN: SignedDuration = SignedDuration::from_secs(5);
/// How long the endpoint of a removed instance is kept; its address is kept as long.
const HOST_RETENTION: SignedDuration = SignedDuration::from_hours(24);
/// The most unanswered lookups of one name.
const MAX_IN_FLIGHT: usize = 16;

/// What has changed with a sample.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct DnsSignals {
    pub(super) ahead_of_rds: bool,
    pub(super) wake: bool,
    /// The agreed writer differs from the one before.
    pub(super) writer_changed: bool,
}

/// What a gate decides by. Samples that do not change it are not reported.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct GateInputs {
    writer: BTreeSet<Option<InstanceId>>,
    agreed: Option<InstanceId>,
    readers: BTreeSet<InstanceId>,
    strangers: bool,
}

/// The endpoints of one cluster and their samples.
#[derive(Debug, Default)]
pub(super) struct ClusterNames {
    endpoints: Endpoints,
    instances: BTreeMap<InstanceId, String>,
    members: BTreeSet<InstanceId>,
    topology_writer: Option<InstanceId>,
    writer: DnsSamples,
    reader: DnsSamples,
    pub(super) steered: SteeredLooks,
    addresses: AddressBook,
    /// The instance of each host name, and when the RDS API last listed it.
    hosts: BTreeMap<String, (InstanceId, Timestamp)>,
    questions: BTreeMap<DnsQuestion, QuestionState>,
    boosted_until: Option<Instant>,
    gate_inputs: GateInputs,
    snapshot: Option<Arc<DnsView>>,
}

impl ClusterNames {
    /// Sets the last view of the cluster. Returns whether its names have changed.
    pub(super) fn set_view(&mut self, view: &ClusterView, now: Timestamp) -> bool {
        self.topology_writer = Some(view.topology.writer.instance.clone());
        self.members = view
            .topology
            .members()
            .map(|(m, _)| m.instance.clone())
            .collect();
        let instances: BTreeMap<InstanceId, String> = view
            .facts
            .iter()
            .filter_map(|(id, facts)| {
                Some((id.clone(), normalize_host(facts.endpoint.as_deref()?)))
            })
            .collect();
        for (id, name) in &instances {
            self.hosts.insert(name.clone(), (id.clone(), now));
        }
        self.hosts
            .retain(|_, (_, at)| now.duration_since(*at) <= HOST_RETENTION);
        let members = &self.members;
        self.addresses.keep_current(|id| members.contains(id));
        self.addresses.forget_old(now);
        self.snapshot = None;
        let has_changed = self.endpoints != view.endpoints || self.instances != instances;
        self.endpoints.clone_from(&view.endpoints);
        self.instances = instances;
        let questions = self.all_questions();
        self.questions.retain(|q, _| questions.contains(q));
        has_changed
    }

    /// Samples at the fast interval until then. Returns whether that is a change.
    pub(super) fn boost_until(&mut self, until: Instant) -> bool {
        let begins = !self.is_boosted(Instant::now());
        self.boosted_until = self.boosted_until.max(Some(until));
        begins
    }

    fn is_boosted(&self, now: Instant) -> bool {
        self.boosted_until.is_some_and(|until| now < until)
    }

    fn all_questions(&self) -> BTreeSet<DnsQuestion> {
        let mut questions = BTreeSet::new();
        if self.endpoints.writer.is_some() {
            questions.insert(DnsQuestion::Writer);
        }
        if self.endpoints.reader.is_some() {
            questions.insert(DnsQuestion::Reader);
        }
        for id in self.instances.keys() {
            questions.insert(DnsQuestion::Instance(id.clone(), IpFamily::V4));
            questions.insert(DnsQuestion::Instance(id.clone(), IpFamily::V6));
        }
        questions.extend(self.steered.questions());
        questions
    }

    /// Returns the host name to sample up.
    pub(super) fn name_of(&self, question: &DnsQuestion) -> Option<String> {
        match question {
            DnsQuestion::Writer => self.endpoints.writer.clone(),
            DnsQuestion::Reader => self.endpoints.reader.clone(),
            DnsQuestion::Instance(id, _) => self.instances.get(id).cloned(),
            DnsQuestion::Steered { name, .. } => Some(name.clone()),
        }
    }

    /// Returns the due questions, which are marked as queued, and when the next one is due.
    pub(super) fn take_due(
        &mut self,
        now: Instant,
    ) -> (Vec<(DnsQuestion, LookupPriority)>, Option<Instant>) {
        let wanted = self.is_boosted(now);
        let (mut due, mut next) = (Vec::new(), None::<Instant>);
        for question in self.all_questions() {
            let turn = self.questions.entry(question.clone()).or_default();
            let at = turn.asked.map_or(now, |asked| {
                asked + question_interval(&question, turn, wanted)
            });
            if at > now {
                next = Some(next.map_or(at, |n| n.min(at)));
            } else if !turn.queued && turn.open < MAX_IN_FLIGHT {
                turn.queued = true;
                let priority = match question {
                    DnsQuestion::Steered { .. } => LookupPriority::Awaited,
                    DnsQuestion::Writer | DnsQuestion::Reader if wanted => LookupPriority::Awaited,
                    _ => LookupPriority::Routine,
                };
                due.push((question, priority));
            }
        }
        // The interval changes when the boost ends.
        let pause = self.boosted_until.filter(|_| wanted);
        (due, [next, pause].into_iter().flatten().min())
    }

    /// Records that a question is asked now.
    pub(super) fn mark_asked(&mut self, question: &DnsQuestion, now: Instant) {
        if let Some(turn) = self.questions.get_mut(question) {
            turn.queued = false;
            turn.open += 1;
            turn.asked = Some(now);
        }
    }

    /// Records the answer to a question asked at `at`, and returns what has changed.
    pub(super) fn record_answer(
        &mut self,
        question: &DnsQuestion,
        at: Timestamp,
        answer: Result<LookupAnswer, LookupError>,
        tick: Instant,
    ) -> DnsSignals {
        if let Some(turn) = self.questions.get_mut(question) {
            turn.open = turn.open.saturating_sub(1);
            let ttl = answer.as_ref().map_or(0, |a| a.ttl);
            turn.ttl = Duration::from_secs(ttl.into());
            turn.has_no_address = matches!(answer, Err(LookupError::NoAddress));
        }
        self.snapshot = None;
        let ahead_of_rds = match (question, answer) {
            (DnsQuestion::Instance(id, _), Ok(answer)) => {
                self.addresses.record_lookup(id, &answer.addresses, at);
                false
            }
            (DnsQuestion::Instance(..), Err(_)) => return DnsSignals::default(),
            (DnsQuestion::Steered { name, .. }, answer) => {
                let look = self.to_name_look(name, at, answer);
                return DnsSignals {
                    wake: self.steered.record(name, look),
                    ..DnsSignals::default()
                };
            }
            (DnsQuestion::Writer, answer) => {
                let sample = self.to_sample(at, answer);
                let ahead_of_rds = self.is_other_writer(&sample);
                self.writer.push(sample);
                ahead_of_rds
            }
            (DnsQuestion::Reader, answer) => {
                let sample = self.to_sample(at, answer);
                let ahead_of_rds = self.is_new_reader(&sample);
                self.reader.push(sample);
                ahead_of_rds
            }
        };
        let wanted = self.is_boosted(tick);
        if ahead_of_rds {
            self.boosted_until = self.boosted_until.max(Some(tick + SIGNAL_BOOST));
        }
        let gate_inputs = self.gate_inputs();
        let before = std::mem::replace(&mut self.gate_inputs, gate_inputs);
        let has_news = self.gate_inputs.writer != before.writer
            || self.gate_inputs.agreed != before.agreed
            || self.gate_inputs.strangers != before.strangers
            || !self.gate_inputs.readers.is_subset(&before.readers);
        DnsSignals {
            ahead_of_rds,
            wake: ahead_of_rds || (wanted && has_news),
            writer_changed: self.gate_inputs.agreed != before.agreed,
        }
    }

    /// Returns the instance that all of the last samples of the cluster endpoint named.
    pub(super) fn agreed_writer(&self) -> Option<InstanceId> {
        self.gate_inputs.agreed.clone()
    }

    /// Records the addresses of an instance's endpoint, looked up out of turn.
    pub(super) fn record_instance(
        &mut self,
        instance: &InstanceId,
        addresses: &[std::net::IpAddr],
        at: Timestamp,
    ) {
        self.addresses.record_lookup(instance, addresses, at);
        self.snapshot = None;
    }

    /// Returns the endpoint of an instance, as the RDS API last gave it.
    pub(super) fn endpoint_of(&self, instance: &InstanceId) -> Option<String> {
        self.instances.get(instance).cloned()
    }

    /// Returns the samples and addresses, shared until they change.
    pub(super) fn view(&mut self) -> Arc<DnsView> {
        let view = self.snapshot.take().unwrap_or_else(|| {
            Arc::new(DnsView {
                writer: self.writer.to_vec(),
                writers_named: self.writer.by_address(),
                reader: self.reader.to_vec(),
                readers_named: self.reader.by_address(),
                since: self.writer.since().max(self.reader.since()),
                book: self.addresses.clone(),
            })
        });
        self.snapshot = Some(Arc::clone(&view));
        view
    }

    fn to_sample(&self, at: Timestamp, answer: Result<LookupAnswer, LookupError>) -> DnsSample {
        match answer {
            Ok(answer) => {
                let address = answer.addresses.first().map(std::net::IpAddr::to_canonical);
                let by_name = answer
                    .aliases
                    .iter()
                    .rev()
                    .find_map(|a| self.instance_of_alias(a));
                DnsSample {
                    at,
                    address,
                    instance: by_name
                        .or_else(|| Some(self.addresses.record_of(address?)?.instance.clone())),
                    ttl: answer.ttl,
                    failure: None,
                }
            }
            Err(failure) => DnsSample {
                at,
                address: None,
                instance: None,
                ttl: 0,
                failure: Some(failure.describe()),
            },
        }
    }

    /// Returns where an answer to a steered name leads. One that came by way of the reader endpoint leads to Aurora's own
    /// answer, whichever instance that was: its chain of aliases has the endpoint, or the name asked for is the endpoint.
    fn to_name_look(
        &self,
        name: &str,
        at: Timestamp,
        answer: Result<LookupAnswer, LookupError>,
    ) -> NameLook {
        let is_reader = |host: &str| {
            let reader = self.endpoints.reader.as_deref();
            reader.is_some_and(|reader| normalize_host(reader) == normalize_host(host))
        };
        let is_aurora = answer.as_ref().is_ok_and(|answer| {
            answer.aliases.iter().any(|alias| is_reader(alias))
                || (is_reader(name) && !answer.aliases.is_empty())
        });
        let sample = self.to_sample(at, answer);
        NameLook {
            at,
            ttl: sample.ttl,
            led: match (sample.failure, sample.instance) {
                (Some(_), _) => None,
                (None, _) if is_aurora => Some(Led::Aurora),
                (None, Some(instance)) => Some(Led::Instance(instance)),
                (None, None) => Some(Led::Unknown),
            },
        }
    }

    /// Returns the instance of an endpoint's name: a listed one, or one of the same form (a member that was removed
    /// before the operator started).
    fn instance_of_alias(&self, alias: &str) -> Option<InstanceId> {
        let alias = normalize_host(alias);
        if let Some((id, _)) = self.hosts.get(&alias) {
            return Some(id.clone());
        }
        let (label, zone) = alias.split_once('.')?;
        let is_alike = |(name, (id, _)): (&String, &(InstanceId, Timestamp))| {
            name.split_once('.')
                .is_some_and(|(l, z)| l == id.0 && z == zone)
        };
        self.hosts
            .iter()
            .any(is_alike)
            .then(|| InstanceId(label.to_owned()))
    }

    /// Returns whether the cluster endpoint has moved since the last sample, and not to the known writer.
    fn is_other_writer(&self, sample: &DnsSample) -> bool {
        if sample.address.is_none() {
            return false;
        }
        let is_known = sample.instance.is_some() && sample.instance == self.topology_writer;
        let same = |before: &DnsSample| {
            before.instance == sample.instance
                && (sample.instance.is_some() || before.address == sample.address)
        };
        !is_known
            && !last_sample_with_address(&self.writer)
                .as_ref()
                .is_some_and(same)
    }

    /// Returns whether the reader endpoint names an instance that is not a member and was not named recently.
    fn is_new_reader(&self, sample: &DnsSample) -> bool {
        let Some(address) = sample.address else {
            return false;
        };
        let is_member = sample
            .instance
            .as_ref()
            .is_some_and(|id| self.members.contains(id));
        let lately = self.reader.to_vec().iter().any(|before| {
            before.instance == sample.instance
                && (sample.instance.is_some() || before.address == Some(address))
        });
        !is_member && !lately
    }

    fn gate_inputs(&self) -> GateInputs {
        let last = |samples: &DnsSamples| {
            let samples = samples.to_vec();
            samples[samples.len().saturating_sub(AGREEING_LOOKS)..].to_vec()
        };
        let is_member = |sample: &DnsSample| {
            sample
                .instance
                .as_ref()
                .is_some_and(|i| self.members.contains(i))
        };
        GateInputs {
            writer: last(&self.writer).into_iter().map(|l| l.instance).collect(),
            agreed: self.writer.agreed_instance(AGREEING_SPAN).cloned(),
            readers: self
                .reader
                .to_vec()
                .into_iter()
                .filter_map(|l| l.instance)
                .collect(),
            strangers: !last(&self.reader).iter().all(is_member),
        }
    }
}

fn last_sample_with_address(samples: &DnsSamples) -> Option<DnsSample> {
    let samples = samples.to_vec();
    samples.into_iter().rev().find(|l| l.address.is_some())
}

/// Returns a host name in lower case, without the trailing dot.
fn normalize_host(name: &str) -> String {
    name.trim_end_matches('.').to_ascii_lowercase()
}
