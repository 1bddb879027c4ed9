//! `plan`: what would be done next for each target, and the first gate that holds it.
//!
//! The texts are the operator's, from `status.plan`.

use std::fmt::Write as _;

use jiff::Timestamp;
use kube::ResourceExt;
use serde_json::{Value, json};

use super::status::policy_state;
use dbbalance_api::DbBalancePolicy;
use dbbalance_terminal::render::{format_span, format_time, wrap_text};
use dbbalance_terminal::{Canvas, Tone};

/// The page of `plan`.
pub(super) fn render_page(policy: &DbBalancePolicy, canvas: Canvas, now: Timestamp) -> String {
    let standing = policy_state(policy, canvas, now);
    format!(
        "{} in {}: {standing}\n{}",
        canvas.heading(&policy.name_any()),
        policy.namespace().unwrap_or_default(),
        render_plan(policy, canvas, now)
    )
}

/// A target a paragraph.
pub(super) fn render_plan(policy: &DbBalancePolicy, canvas: Canvas, now: Timestamp) -> String {
    let plans = policy.status.iter().flat_map(|s| &s.plan);
    let mut out = String::new();
    for target in &policy.spec.targets {
        let name = &target.name;
        let first = 2 + name.len() + 2;
        let _ = write!(out, "  {}  ", canvas.heading(name));
        let Some(plan) = plans.clone().find(|p| p.target == *name) else {
            out.push_str(match policy.status.as_ref().and_then(|s| s.epoch) {
                Some(_) => "nothing to do\n",
                None => "nothing yet: no operator has seen the policy\n",
            });
            continue;
        };
        let action = if plan.action.is_empty() {
            "nothing to do"
        } else {
            &plan.action
        };
        out.push_str(&wrap_text(action, first, 4, canvas.width));
        out.push('\n');
        let Some(gate) = &plan.waiting_for else {
            continue;
        };
        let opens = plan.not_before.as_ref().map(|t| {
            let left = t.0.duration_since(now).as_secs();
            if left > 0 {
                format!(" (until {}, in {})", format_time(t.0), format_span(left))
            } else {
                String::new()
            }
        });
        let message = plan.message.as_ref().map(|m| format!(": {m}"));
        let text = format!(
            "waits for {gate}{}{}",
            opens.unwrap_or_default(),
            message.unwrap_or_default()
        );
        let text = wrap_text(&text, 4, 6, canvas.width);
        let _ = writeln!(out, "    {}", canvas.tint(Tone::Warn, &text));
    }
    out
}

/// The same for machines.
pub(super) fn plan_json(policy: &DbBalancePolicy) -> Value {
    let status = policy.status.as_ref();
    json!({
        "policy": policy.name_any(),
        "namespace": policy.namespace(),
        "epoch": status.and_then(|s| s.epoch),
        "plan": status.map(|s| &s.plan),
    })
}
