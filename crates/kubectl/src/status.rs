//! `status`: one policy as a page, or all of a namespace as a table.
//!
//! The texts are those of the policy's status; nothing is measured.

mod balance;

use std::fmt::Write as _;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::ResourceExt;

use super::plan;
use dbbalance_api::annotations::{PAUSE_REASON, PAUSE_UNTIL};
use dbbalance_api::conditions::{self, ConditionType};
use dbbalance_api::spec::{Endpoint, Method, Mode, TargetSpec};
use dbbalance_api::status::{
    DbBalancePolicyStatus, RoleStatus, RunResult, RunStatus, TargetStatus, Trigger,
};
use dbbalance_api::text::hide_query;
use dbbalance_api::{DbBalancePolicy, DbBalancePolicySpec};
use dbbalance_terminal::render::{
    Cell, format_age, format_count, format_span, format_time, pad_right, render_table, wrap_text,
};
use dbbalance_terminal::{Canvas, Tone};

/// One policy, as a page.
pub(super) fn render_page(policy: &DbBalancePolicy, canvas: Canvas, now: Timestamp) -> String {
    let empty = DbBalancePolicyStatus::default();
    let status = policy.status.as_ref().unwrap_or(&empty);
    let parts = [
        render_head(policy, status, canvas, now),
        render_section(
            "conditions",
            &render_conditions(status, canvas, now),
            canvas,
        ),
        render_section(
            "targets",
            &render_targets(&policy.spec, status, canvas, now),
            canvas,
        ),
        render_section(
            "balance",
            &balance::render_balance(status, canvas, now),
            canvas,
        ),
        render_section("plan", &plan::render_plan(policy, canvas, now), canvas),
        render_section("last runs", &render_history(status, canvas, now), canvas),
    ];
    parts.concat()
}

fn render_section(title: &str, body: &str, canvas: Canvas) -> String {
    if body.is_empty() {
        return String::new();
    }
    format!("\n{}\n{body}", canvas.heading(title))
}

fn render_head(
    policy: &DbBalancePolicy,
    status: &DbBalancePolicyStatus,
    canvas: Canvas,
    now: Timestamp,
) -> String {
    let namespace = policy.namespace().unwrap_or_default();
    let mut out = format!(
        "{} in {namespace}: {}\n",
        canvas.heading(&policy.name_any()),
        policy_state(policy, canvas, now)
    );
    let cluster = &policy.spec.cluster;
    let region = cluster.region.as_deref().map(|r| format!(" in {r}"));
    let epoch = match (status.epoch, &status.topology) {
        (Some(epoch), Some(topology)) => format!(", epoch {epoch}-{}", topology.fingerprint),
        (Some(epoch), None) => format!(", epoch {epoch}"),
        (None, _) => ", not seen by an operator yet".to_owned(),
    };
    let _ = writeln!(
        out,
        "cluster {}{}{epoch}",
        cluster.identifier,
        region.unwrap_or_default()
    );
    if let Some(topology) = &status.topology {
        let mut members: Vec<_> = topology.members.iter().collect();
        members.sort_by_key(|m| (m.role != RoleStatus::Writer, &m.instance));
        let rows: Vec<_> = members
            .iter()
            .map(|m| {
                let (tone, role) = role_label(m.role);
                vec![
                    Cell(tone, role.to_owned()),
                    Cell::plain(&m.instance),
                    Cell(Tone::Faint, m.address.clone().unwrap_or_default()),
                ]
            })
            .collect();
        out.push_str(&render_table(canvas, 2, &rows));
    }
    if let Some(pending) = &status.pending_epoch {
        let text = format!("epoch {} is pending: {}", pending.epoch, pending.message);
        let text = wrap_text(&text, 0, 2, canvas.width);
        out.push_str(&canvas.tint(Tone::Warn, &text));
        out.push('\n');
    }
    out
}

pub(super) const fn role_label(role: RoleStatus) -> (Tone, &'static str) {
    match role {
        RoleStatus::Writer => (Tone::Writer, "writer"),
        RoleStatus::Reader => (Tone::Reader, "reader"),
    }
}

/// Describes whether the policy acts, and if not, why.
pub(super) fn policy_state(policy: &DbBalancePolicy, canvas: Canvas, now: Timestamp) -> String {
    let mut words = vec![match policy.spec.mode {
        Mode::Enforce => "Enforce".to_owned(),
        Mode::Observe => canvas.tint(Tone::Warn, "Observe (plans and shows, changes nothing)"),
    }];
    if policy.spec.suspend {
        words.push(canvas.tint(Tone::Warn, "suspended"));
    }
    if let Some(text) = policy.annotations().get(PAUSE_UNTIL) {
        let reason = policy.annotations().get(PAUSE_REASON);
        let reason = reason.map(|r| format!(": {r}")).unwrap_or_default();
        match text.parse::<Timestamp>() {
            Ok(until) if until > now => words.push(canvas.tint(
                Tone::Warn,
                &format!(
                    "paused until {} (for {}){reason}",
                    format_time(until),
                    format_span(until.duration_since(now).as_secs())
                ),
            )),
            Ok(_) => {}
            Err(_) => words.push(canvas.tint(
                Tone::Bad,
                &format!("paused: {PAUSE_UNTIL} is {text:?}, which is not an RFC 3339 time"),
            )),
        }
    }
    words.join(", ")
}

/// What a condition's status means, as a mark and a tone. `Stalled` is bad while True, and
/// `Recycling` neither.
fn condition_mark(condition: &Condition) -> (Tone, &'static str) {
    let type_ = condition.type_.as_str();
    let neutral = [ConditionType::Recycling, ConditionType::Reconciling];
    if neutral.iter().any(|t| t.as_str() == type_) {
        return if condition.status == "True" {
            (Tone::Warn, "●")
        } else {
            (Tone::Faint, "○")
        };
    }
    let good = if type_ == ConditionType::Stalled.as_str() {
        "False"
    } else {
        "True"
    };
    match condition.status.as_str() {
        "Unknown" => (Tone::Warn, "?"),
        status if status == good => (Tone::Good, "✓"),
        _ => (Tone::Bad, "✗"),
    }
}

fn render_conditions(status: &DbBalancePolicyStatus, canvas: Canvas, now: Timestamp) -> String {
    let known = ConditionType::ALL
        .iter()
        .filter_map(|t| conditions::find_condition(&status.conditions, *t));
    let rows: Vec<&Condition> = known.collect();
    let types = rows.iter().map(|c| c.type_.len()).max().unwrap_or(0);
    let reasons = rows.iter().map(|c| c.reason.len()).max().unwrap_or(0);
    let mut out = String::new();
    for condition in rows {
        let (tone, sign) = condition_mark(condition);
        // The default status of the schema has a transition time of 0.
        let since = condition.last_transition_time.0;
        let since = if since.as_second() > 0 {
            format!(" (for {})", format_age(since, now))
        } else {
            String::new()
        };
        let indent = 4 + types + 2 + reasons + 2;
        let text = format!("{}{since}", condition.message);
        let _ = writeln!(
            out,
            "  {} {}  {}  {}",
            canvas.tint(tone, sign),
            pad_right(&condition.type_, types),
            canvas.tint(tone, &pad_right(&condition.reason, reasons)),
            wrap_text(&text, indent, indent, canvas.width)
        );
    }
    out
}

fn render_targets(
    spec: &DbBalancePolicySpec,
    status: &DbBalancePolicyStatus,
    canvas: Canvas,
    now: Timestamp,
) -> String {
    let mut out = String::new();
    for target in &spec.targets {
        let reference = target.workload_ref.as_ref().map_or_else(
            || "pods by selector".to_owned(),
            |r| format!("{:?} {}", r.kind, r.name),
        );
        let _ = writeln!(
            out,
            "  {}  {reference}, {}, by {}",
            canvas.heading(&target.name),
            describe_pools(target),
            describe_method(target)
        );
        let Some(found) = status.targets.iter().find(|t| t.name == target.name) else {
            out.push_str("    not seen by an operator yet\n");
            continue;
        };
        if !found.owned {
            let text = "its pods belong to an older policy, which this one leaves alone";
            let _ = writeln!(out, "    {}", canvas.tint(Tone::Warn, text));
            continue;
        }
        let _ = writeln!(out, "    {}", describe_pods(found, canvas, now));
        if let Some(run) = &found.run {
            let text = describe_run(run, now);
            let tone = result_tone(run.result);
            let text = wrap_text(&text, 4, 6, canvas.width);
            let _ = writeln!(out, "    {}", canvas.tint(tone, &text));
        }
    }
    out
}

fn describe_pools(target: &TargetSpec) -> String {
    let pools: Vec<String> = target
        .pools
        .iter()
        .map(|p| {
            let endpoint = match p.endpoint {
                Endpoint::Reader => "reader",
                Endpoint::Writer => "writer",
            };
            p.connections_per_pod
                .map_or_else(|| endpoint.to_owned(), |n| format!("{n} {endpoint}"))
        })
        .collect();
    format!("{} connections a pod", pools.join(" + "))
}

/// The method with what it needs, as in `Signal HUP, else Evict`.
pub(super) fn describe_method(target: &TargetSpec) -> String {
    let recycle = &target.recycle;
    let mut words = match (recycle.method, &recycle.signal, &recycle.http) {
        (Method::Signal, Some(signal), _) => {
            format!("Signal {}", format!("{:?}", signal.name).to_uppercase())
        }
        (Method::Http, _, Some(http)) => format!("HTTP {}", hide_query(&http.path)),
        (other, _, _) => other.as_str().to_owned(),
    };
    if let Some(fallback) = recycle.fallback {
        let _ = write!(words, ", else {fallback:?}");
    }
    words
}

fn describe_pods(target: &TargetStatus, canvas: Canvas, now: Timestamp) -> String {
    let total = usize::try_from(target.pods).unwrap_or(0);
    let stale = match target.stale {
        0 if target.pods == 0 => "none counted".to_owned(),
        0 => canvas.tint(Tone::Good, "all fresh"),
        n => canvas.tint(Tone::Warn, &format!("{n} stale")),
    };
    let since = if target.due_epoch > target.baseline_epoch {
        let by = describe_triggers(&target.triggers);
        let opened = target.open_time.as_ref();
        let opened = opened.map(|t| format!(", opened {} ago", format_age(t.0, now)));
        format!(
            "due epoch {}{by}{}",
            target.due_epoch,
            opened.unwrap_or_default()
        )
    } else {
        format!("epoch {} is its baseline", target.baseline_epoch)
    };
    format!("{}, {stale}; {since}", format_count(total, "pod"))
}

fn describe_triggers(triggers: &[Trigger]) -> String {
    if triggers.is_empty() {
        return String::new();
    }
    let words: Vec<&str> = triggers.iter().map(|t| t.as_str()).collect();
    format!(" ({})", words.join(", "))
}

const fn result_tone(result: RunResult) -> Tone {
    match result {
        RunResult::Running => Tone::Warn,
        RunResult::Succeeded => Tone::Plain,
        RunResult::Halted | RunResult::Uneven => Tone::Bad,
        RunResult::Superseded => Tone::Faint,
    }
}

fn describe_run(run: &RunStatus, now: Timestamp) -> String {
    let when = match &run.end_time {
        Some(end) => format!(
            ", took {}, ended {} ago",
            format_span(end.0.duration_since(run.start_time.0).as_secs()),
            format_age(end.0, now)
        ),
        None => format!(" for {}", format_age(run.start_time.0, now)),
    };
    let failed = match run.failed {
        0 => String::new(),
        n => format!(", {n} failed"),
    };
    let message = run.message.as_ref().map(|m| format!(": {m}"));
    format!(
        "run {}{}: {}{when}; {} of {} pods recycled{failed}{}",
        run.epoch,
        describe_triggers(&run.triggers),
        run.result.as_str(),
        run.recycled,
        run.pods,
        message.unwrap_or_default()
    )
}

fn render_history(status: &DbBalancePolicyStatus, canvas: Canvas, now: Timestamp) -> String {
    let mut out = String::new();
    for run in &status.history {
        let text = describe_run(run, now);
        let first = 2 + run.target.len() + 2;
        let _ = writeln!(
            out,
            "  {}  {}",
            run.target,
            canvas.tint(
                result_tone(run.result),
                &wrap_text(&text, first, 4, canvas.width)
            )
        );
    }
    out
}

/// All policies of a namespace, as a table.
pub(super) fn render_list(policies: &[DbBalancePolicy], canvas: Canvas, now: Timestamp) -> String {
    let header = [
        "NAME", "CLUSTER", "EPOCH", "STALE", "BALANCED", "READY", "STANDING",
    ];
    let mut rows = vec![header.map(|h| Cell(Tone::Faint, h.to_owned())).to_vec()];
    let empty = DbBalancePolicyStatus::default();
    for policy in policies {
        let status = policy.status.as_ref().unwrap_or(&empty);
        let cell = |type_| match conditions::find_condition(&status.conditions, type_) {
            Some(c) => Cell(condition_mark(c).0, c.status.clone()),
            None => Cell(Tone::Warn, "Unknown".to_owned()),
        };
        let dash = || "–".to_owned();
        let plain = Canvas {
            colour: false,
            ..canvas
        };
        rows.push(vec![
            Cell(Tone::Strong, policy.name_any()),
            Cell::plain(&policy.spec.cluster.identifier),
            Cell::plain(status.epoch.map_or_else(dash, |e| e.to_string())),
            Cell::plain(status.stale.clone().unwrap_or_else(dash)),
            cell(ConditionType::Balanced),
            cell(ConditionType::Ready),
            Cell::plain(policy_state(policy, plain, now)),
        ]);
    }
    render_table(canvas, 0, &rows)
}

#[cfg(test)]
mod tests;
