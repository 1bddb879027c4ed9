//! Writes a plan as text that depends on public words alone, not on the names of Rust types, variants or fields.
//!
//! Every type is taken apart field by field, without `..`: a new field does not compile until somebody has decided how
//! it is written. Fingerprints are named by the order of their appearance, and the readers that the balance remembers
//! by their names, so that neither a longer hash nor another encoding of readers changes the text.

use std::fmt::{Display, Write};

use jiff::Timestamp;
use serde_json::Value;

use super::recorder::{StoryNames, describe_duration, describe_time};
use crate::{ClosedGate, Notice, Opening, Plan, PodStep, Step, TargetPlan};
use dbbalance_api::rebalance_state::{
    Batch, Episode, GateRecord, GaveUp, GaveUpReason, Incurable, RebalanceState, Sweep,
};
use dbbalance_api::spec::Triggers;
use dbbalance_api::status::{DbBalancePolicyStatus, Trigger};
use dbbalance_core::budget::Load;
use dbbalance_core::change::Change;
use dbbalance_core::debounce::SettlingChanges;
use dbbalance_core::narrow::NameAction;
use dbbalance_core::pod::PodKey;
use dbbalance_core::stamp::Stamp;

/// Writes a plan but for its status, one value a line.
pub(super) fn describe_plan(plan: &Plan, names: &mut StoryNames) -> String {
    let Plan {
        // By `describe_status`: it seldom changes from plan to plan.
        status: _,
        settling,
        open,
        name_action,
        targets,
        notices,
        wake,
    } = plan;
    let mut out = Lines::default();
    describe_settling(&mut out, settling);
    if *name_action != NameAction::Keep {
        out.put("name", format!("{name_action:?}"));
    }
    if let Some(Opening { epoch, note }) = open {
        out.put("open.epoch", epoch);
        out.put("open.note", note);
    }
    for (index, target) in targets.iter().enumerate() {
        describe_target(&mut out, index, target, names);
    }
    for notice in notices {
        describe_notice(&mut out, notice);
    }
    if let Some(wake) = wake {
        out.put("wake", describe_time(*wake));
    }
    out.0
}

/// The text so far.
#[derive(Default)]
struct Lines(String);

impl Lines {
    fn put(&mut self, key: impl Display, value: impl Display) {
        writeln!(self.0, "{key} = {value}").unwrap();
    }

    fn put_time(&mut self, key: impl Display, time: Option<Timestamp>) {
        if let Some(time) = time {
            self.put(key, describe_time(time));
        }
    }
}

/// Writes a status by its JSON, but for fingerprints and what the balance remembers.
pub(super) fn describe_status(status: &DbBalancePolicyStatus, names: &mut StoryNames) -> String {
    let mut out = Lines::default();
    let mut json = serde_json::to_value(status).unwrap();
    // What the JSON cannot hold, as parts of a second, would be lost with the write.
    let read_back: DbBalancePolicyStatus = serde_json::from_value(json.clone()).unwrap();
    out.put("status reads back as written", read_back == *status);
    for target in json["targets"].as_array_mut().into_iter().flatten() {
        target.as_object_mut().unwrap().remove("balance");
    }
    describe_json(&mut out, "status", &json, names);
    for target in &status.targets {
        if let Some(memory) = &target.balance {
            let key = format!("status.balance memory of {}", target.name);
            describe_memory(&mut out, &key, memory, names);
        }
    }
    out.0
}

/// Any JSON, its keys sorted: with a feature of another crate maps keep the order of insertion.
fn describe_json(out: &mut Lines, path: &str, json: &Value, names: &mut StoryNames) {
    match json {
        Value::Object(map) if !map.is_empty() => {
            let mut entries: Vec<_> = map.iter().collect();
            entries.sort_unstable_by_key(|(key, _)| *key);
            for (key, value) in entries {
                let path = format!("{path}.{key}");
                match value.as_str() {
                    Some(text) if key == "fingerprint" => {
                        out.put(path, names.name_fingerprint(text));
                    }
                    _ => describe_json(out, &path, value, names),
                }
            }
        }
        Value::Array(list) if !list.is_empty() => {
            for (index, value) in list.iter().enumerate() {
                describe_json(out, &format!("{path}[{index}]"), value, names);
            }
        }
        other => out.put(path, other),
    }
}

/// What evening out remembers of a target.
fn describe_memory(out: &mut Lines, key: &str, memory: &RebalanceState, names: &mut StoryNames) {
    let RebalanceState {
        fingerprint,
        event,
        episode,
        batch,
        record,
        seen_in_dns,
        drift_since,
        rest_until,
        gave_up,
        scope: _,
        weights,
        sweep,
        missed,
        failures,
        incurable,
    } = memory;
    if let Some(sweep) = sweep {
        let Sweep {
            broken,
            recycled,
            fleet,
            at,
        } = sweep;
        let words = format!("{recycled} of {broken} broken, {fleet} pods");
        out.put(format!("{key}: sweep"), words);
        out.put(format!("{key}: sweep at"), describe_time(*at));
    }
    if !weights.is_empty() {
        out.put(format!("{key}: weights"), weights);
    }
    out.put(format!("{key}: missed"), missed);
    out.put(format!("{key}: failures"), failures);
    if let Some(Incurable { cause, recycled }) = incurable {
        out.put(format!("{key}: incurable"), format!("{cause:?} {recycled}"));
    }
    out.put(
        format!("{key}: topology"),
        names.name_fingerprint(fingerprint),
    );
    out.put_time(format!("{key}: event"), *event);
    if let Some(episode) = episode {
        let Episode {
            since,
            budget,
            moved,
            waiting_since,
        } = episode;
        out.put(format!("{key}: episode since"), describe_time(*since));
        if let Some(budget) = budget {
            out.put(format!("{key}: episode budget"), budget);
        }
        out.put(format!("{key}: episode moved"), moved);
        out.put_time(format!("{key}: episode waits since"), *waiting_since);
    }
    if let Some(batch) = batch {
        let Batch {
            at,
            settled,
            fleet,
            pods,
            connections,
            receiver_names,
            held,
            gated,
        } = batch;
        out.put(format!("{key}: batch at"), describe_time(*at));
        out.put_time(format!("{key}: batch settled"), *settled);
        out.put(format!("{key}: batch of pods"), fleet);
        out.put(format!("{key}: batch takes"), pods);
        out.put(format!("{key}: batch connections"), connections);
        out.put(
            format!("{key}: batch receivers"),
            name_readers(receiver_names),
        );
        out.put(format!("{key}: batch held"), held);
        out.put(format!("{key}: batch gated"), gated);
    }
    let GateRecord {
        batches,
        landed,
        chance,
        dropped_until,
    } = record;
    out.put(
        format!("{key}: record"),
        format!("{batches} batches, {landed} landed, {chance} by chance"),
    );
    out.put_time(format!("{key}: record dropped until"), *dropped_until);
    out.put(format!("{key}: named"), name_readers(seen_in_dns));
    out.put_time(format!("{key}: drift since"), *drift_since);
    out.put_time(format!("{key}: rest until"), *rest_until);
    if let Some(GaveUp { reason, moved }) = gave_up {
        let reason = match reason {
            GaveUpReason::BudgetSpent => "BudgetSpent",
            GaveUpReason::PodsExhausted => "PodsExhausted",
            GaveUpReason::ReaderUnnamed => "ReaderUnnamed",
        };
        out.put(format!("{key}: gave up"), format!("{reason} after {moved}"));
    }
}

fn name_readers(names: &[String]) -> String {
    format!("[{}]", names.join(" "))
}

/// Which changes settle, and when each will have settled with the default settle times.
fn describe_settling(out: &mut Lines, settling: &SettlingChanges) {
    let changes = settling.unsettled(&Triggers::default(), Timestamp::MIN);
    let mut lines: Vec<(String, String)> = changes
        .into_iter()
        .map(|(change, time)| {
            let text = match &change {
                Change::ReaderAdded(m) => format!("added {} {}", m.instance, m.resource),
                Change::ReaderRemoved(m) => format!("removed {} {}", m.instance, m.resource),
                Change::Failover(m) => format!("writer {} {}", m.instance, m.resource),
                Change::Replaced(id) => format!("replaced by {id}"),
            };
            (text, describe_time(time))
        })
        .collect();
    lines.sort_unstable();
    for (change, time) in lines {
        out.put(format!("settling {change}"), time);
    }
}

fn describe_target(out: &mut Lines, index: usize, target: &TargetPlan, names: &mut StoryNames) {
    let TargetPlan {
        target,
        action,
        held,
        step,
        annotate,
        in_flight: Load { reader, writer },
        // Others reckon with it; it changes nothing that this policy does.
        shares: _,
        running,
        max_reading_age,
        watch_pods,
        boost_dns,
    } = target;
    let key = format!("target[{index}]");
    out.put(format!("{key}.name"), target);
    out.put(format!("{key}.action"), action);
    if let Some(held) = held {
        let ClosedGate {
            gate,
            message,
            until,
        } = held;
        out.put(format!("{key}.held by"), gate.as_str());
        out.put(format!("{key}.held because"), message);
        out.put_time(format!("{key}.held until"), *until);
    }
    if let Some(step) = step {
        describe_step(out, &format!("{key}.step"), step, names);
    }
    for PodKey {
        name,
        uid,
        version: _,
    } in annotate
    {
        out.put(format!("{key}.annotate"), format!("{name} {uid}"));
    }
    out.put(
        format!("{key}.in flight"),
        format!("{reader} reader, {writer} writer"),
    );
    out.put(format!("{key}.running"), running);
    if let Some(age) = max_reading_age {
        out.put(format!("{key}.measure"), describe_duration(*age));
    }
    for uid in watch_pods {
        out.put(format!("{key}.closely"), uid);
    }
    out.put(format!("{key}.look"), boost_dns);
}

fn describe_step(out: &mut Lines, key: &str, step: &Step, names: &mut StoryNames) {
    match step {
        Step::Pods {
            pods,
            stamp,
            canary,
            verify_key,
        } => {
            out.put(key, "recycle pods");
            out.put(format!("{key}.stamp"), describe_stamp(stamp, names));
            out.put(format!("{key}.canary"), canary);
            out.put(format!("{key}.verify key"), verify_key);
            for (index, pod) in pods.iter().enumerate() {
                describe_pod_step(out, &format!("{key}.pod[{index}]"), pod);
            }
        }
        Step::Stamp { pods, stamp } => {
            out.put(key, "stamp pods");
            out.put(format!("{key}.stamp"), describe_stamp(stamp, names));
            for PodKey { name, uid, version } in pods {
                out.put(format!("{key}.pod"), format!("{name} {uid} {version}"));
            }
        }
        Step::Rollout { kind, name, stamp } => {
            out.put(key, "stamp template");
            out.put(
                format!("{key}.kind"),
                serde_json::to_value(kind).unwrap().as_str().unwrap(),
            );
            out.put(format!("{key}.name"), name);
            out.put(format!("{key}.stamp"), describe_stamp(stamp, names));
        }
    }
}

fn describe_pod_step(out: &mut Lines, key: &str, step: &PodStep) {
    let PodStep {
        name,
        uid,
        resource_version,
        claim,
        method,
        recycles,
        moved,
    } = step;
    out.put(key, format!("{name} {uid} {resource_version}"));
    out.put(format!("{key}.claim"), claim);
    out.put(format!("{key}.method"), method.as_str());
    out.put(format!("{key}.recycles"), recycles);
    if let Some(moved) = moved {
        out.put(format!("{key}.moved"), moved);
    }
}

/// A stamp as it is written on pods, its fingerprint named.
fn describe_stamp(stamp: &Stamp, names: &mut StoryNames) -> String {
    let text = stamp.to_string();
    let (epoch, fingerprint) = text.rsplit_once('-').unwrap();
    format!("{epoch}-{}", names.name_fingerprint(fingerprint))
}

fn describe_notice(out: &mut Lines, notice: &Notice) {
    let none: &[Trigger] = &[];
    let (kind, text, triggers) = match notice {
        Notice::Baseline(text) => ("baseline", text, none),
        Notice::StatusLost(text) => ("status lost", text, none),
        Notice::Settled(text) => ("settled", text, none),
        Notice::DnsLate(text) => ("DNS late", text, none),
        Notice::Requested(text) => ("requested", text, none),
        Notice::RunStarted(text) => ("run started", text, none),
        Notice::CanaryPassed(text) => ("canary passed", text, none),
        Notice::RunSucceeded(text, triggers) => ("run succeeded", text, triggers.as_slice()),
        Notice::RunUneven(text, triggers) => ("run uneven", text, triggers.as_slice()),
        Notice::RunHalted(text, triggers) => ("run halted", text, triggers.as_slice()),
        Notice::RunSuperseded(text, triggers) => ("run superseded", text, triggers.as_slice()),
        Notice::RevertDetected(text) => ("revert detected", text, none),
        Notice::WeightsFightDns(text) => ("weights fight DNS", text, none),
        Notice::Conflict(text) => ("conflict", text, none),
        Notice::FallbackUsed(text) => ("fallback used", text, none),
        Notice::RecycleFailed(text) => ("recycle failed", text, none),
        Notice::Narrowed(text) => ("narrowed", text, none),
        Notice::Widened(text) => ("widened", text, none),
    };
    let triggers: Vec<&str> = triggers.iter().map(|t| t.as_str()).collect();
    out.put(
        format!("notice {kind}"),
        format!("{text} [{}]", triggers.join(" ")),
    );
}
