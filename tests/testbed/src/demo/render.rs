//! Renders a snapshot as lines for a terminal, or as one line without a terminal. Pure.

use std::time::Duration;

use dbbalance_terminal::render::wrap_text;
use dbbalance_terminal::{Canvas, Tone, render};

use super::observer::{DemoSnapshot, InstanceView};
use super::setup::{NAMESPACE, PODS, POLICY};

/// Columns of a bar.
const BAR: usize = 36;
/// A page is for terminals of 80 columns.
pub(super) const WIDTH: usize = 78;

/// The first lines.
#[must_use]
pub fn render_title(keep: bool) -> Vec<String> {
    let end = if keep {
        "everything is left running (KEEP=1)"
    } else {
        "everything is deleted (KEEP=1 leaves it running)"
    };
    vec![
        "dbbalance: an Aurora cluster changes, and the pools of an app follow.".to_owned(),
        "Real Kubernetes, PostgreSQL, CoreDNS and HikariCP, on this machine.".to_owned(),
        format!("Stop with Ctrl-C at any time. At the end {end}."),
        String::new(),
    ]
}

/// Draws a bar of `part` of `whole`.
fn render_bar(part: usize, whole: usize) -> String {
    let part = if whole == 0 { 0 } else { part };
    let clamped = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    render::render_bar(clamped(part), clamped(whole), BAR)
}

fn role_name(instance: &InstanceView) -> &'static str {
    match instance.writer {
        Some(true) => "writer",
        Some(false) => "reader",
        None => "",
    }
}

/// What is worth saying of an instance beside its bar.
fn describe_instance(snapshot: &DemoSnapshot, instance: &InstanceView) -> String {
    let mut words = Vec::new();
    if instance.writer.is_none() {
        words.push("does not answer".to_owned());
    }
    if instance.status != "available" {
        words.push(instance.status.clone());
    } else if instance.writer == Some(false) && !instance.served {
        words.push("not in DNS yet".to_owned());
    }
    if instance.writer == Some(true) && instance.connections > 0 {
        words.push("wrong role".to_owned());
    }
    // Of interest while it differs from the databases.
    let leads = snapshot.endpoint.as_deref() == Some(&instance.name);
    if leads != (instance.writer == Some(true)) && leads {
        words.push("← DNS: writer".to_owned());
    }
    words.join(", ")
}

fn render_row(
    snapshot: &DemoSnapshot,
    instance: &InstanceView,
    largest: usize,
    canvas: Canvas,
) -> String {
    let reader = instance.writer == Some(false);
    let share = if reader {
        format!("{:>3} %", snapshot.percent(instance))
    } else {
        String::new()
    };
    let bar = render_bar(instance.connections, largest);
    let bar = match (reader, snapshot.is_within_band(instance)) {
        (false, _) => canvas.tint(Tone::Bad, &bar),
        (true, Some(true)) => canvas.tint(Tone::Good, &bar),
        (true, _) => canvas.tint(Tone::Warn, &bar),
    };
    let remark = describe_instance(snapshot, instance);
    format!(
        "  {:<10}{:<7} {bar} {:>4}  {share:<5} {}",
        instance.name,
        role_name(instance),
        instance.connections,
        canvas.tint(Tone::Faint, &remark)
    )
}

/// Thousands apart.
fn group_thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn render_failures(snapshot: &DemoSnapshot, canvas: Canvas) -> String {
    let queries = snapshot.queries();
    let text = format!("queries failed: {}", queries.failed);
    if queries.failed == 0 {
        canvas.tint(Tone::Good, &text)
    } else {
        canvas.tint(Tone::Bad, &text)
    }
}

/// What the policy says, in one text.
#[must_use]
pub fn describe_policy(snapshot: &DemoSnapshot) -> String {
    let policy = &snapshot.policy;
    let mut said = policy.shares.clone();
    if let Some(waits) = &policy.pending {
        said = format!("{said}; the next epoch waits: {waits}");
    }
    if !policy.plan.is_empty() {
        said = format!("{said}; plan: {}", policy.plan);
    }
    said.trim_start_matches("; ").to_owned()
}

/// For a terminal: always the same number of lines for the same instances, so that nothing jumps.
#[must_use]
pub fn render_lines(snapshot: &DemoSnapshot, passed: Duration, canvas: Canvas) -> Vec<String> {
    let connections = snapshot.instances.iter().map(|i| i.connections);
    let largest = connections
        .max()
        .unwrap_or_default()
        .max(snapshot.connections() / 2)
        .max(1);
    let mut lines = vec![String::new()];
    lines.extend(
        snapshot
            .instances
            .iter()
            .map(|i| render_row(snapshot, i, largest, canvas)),
    );
    lines.push(String::new());
    lines.push(format!(
        "  {:>5.1} s   pods recycled: {} of {PODS}   {}   {}",
        passed.as_secs_f64(),
        snapshot.recycled_pods(),
        render_failures(snapshot, canvas),
        canvas.tint(
            Tone::Faint,
            &format!("answered: {}", group_thousands(snapshot.queries().ok))
        ),
    ));
    let said = wrap_text(&describe_policy(snapshot), 0, 0, WIDTH - 12);
    let mut said: Vec<&str> = said.lines().collect();
    said.truncate(3);
    said.resize(3, "");
    for (index, text) in said.iter().enumerate() {
        let mode = if index == 0 {
            &snapshot.policy.mode
        } else {
            ""
        };
        lines.push(format!("  {:<9} {}", mode, canvas.tint(Tone::Faint, text)));
    }
    lines
}

/// Without a terminal.
#[must_use]
pub fn render_line(snapshot: &DemoSnapshot, passed: Duration) -> String {
    let instances: Vec<String> = snapshot
        .instances
        .iter()
        .map(|i| match i.writer {
            Some(true) => format!("{} writer {}", i.name, i.connections),
            Some(false) => format!("{} {} ({} %)", i.name, i.connections, snapshot.percent(i)),
            None => format!("{} does not answer", i.name),
        })
        .collect();
    format!(
        "  {:>5.1} s  {} | pods recycled: {} | queries failed: {}",
        passed.as_secs_f64(),
        instances.join(", "),
        snapshot.recycled_pods(),
        snapshot.queries().failed
    )
}

/// Returns the key of a snapshot: two with the same key are printed once.
#[must_use]
pub fn render_key(snapshot: &DemoSnapshot) -> String {
    render_line(snapshot, Duration::ZERO)
}

/// What a chapter came to.
#[must_use]
pub fn render_outcome(text: &str, passed: Duration, canvas: Canvas) -> String {
    format!(
        "  {} {text} {}",
        canvas.tint(Tone::Good, "✓"),
        canvas.tint(Tone::Faint, &format!("({:.0} s)", passed.as_secs_f64()))
    )
}

/// After `KEEP=1`. Inside the testbed's shell all of it works as written.
#[must_use]
pub fn render_next_steps(testbed: &str) -> Vec<String> {
    let sudo = if std::env::var_os("SUDO_USER").is_some() {
        "sudo -E "
    } else {
        ""
    };
    let program = std::env::args()
        .next()
        .unwrap_or_else(|| "testbed".to_owned());
    [
        String::new(),
        "Try:".to_owned(),
        format!("  {sudo}{program} shell --name {testbed}"),
        format!("  kubectl dbbalance connections {POLICY} -n {NAMESPACE} --watch"),
        format!("  kubectl dbbalance status {POLICY} -n {NAMESPACE}"),
        format!("  kubectl describe dbp {POLICY} -n {NAMESPACE}"),
        "  testbed aurora add-reader          # and watch".to_owned(),
        "  testbed aurora failover --flicker".to_owned(),
        "  testbed aurora status".to_owned(),
        format!(
            "  kubectl rollout restart deployment web -n {NAMESPACE}    # ends uneven; trimmed"
        ),
        String::new(),
    ]
    .to_vec()
}

#[cfg(test)]
mod tests;
