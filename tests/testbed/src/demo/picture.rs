//! How it looks: a sight as lines for a terminal, and as one line where there is none. Pure.

use std::time::Duration;

use super::screen::Ink;
use super::sight::{Instance, Sight};
use super::stage::{NAMESPACE, PODS, POLICY};

/// Columns of a bar.
const BAR: usize = 36;
/// A page is for terminals of 80 columns.
const WIDTH: usize = 78;
/// Of an eighth to seven eighths of a cell.
const EIGHTHS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];

/// The first lines.
#[must_use]
pub fn title(keep: bool) -> Vec<String> {
    let end = if keep {
        "all is left running (KEEP=1)"
    } else {
        "nothing stays (KEEP=1 leaves it running)"
    };
    vec![
        "dbbalance: an Aurora cluster changes, and the pools of an app follow.".to_owned(),
        "Real Kubernetes, PostgreSQL, CoreDNS and HikariCP, on this machine.".to_owned(),
        format!("Stop with Ctrl-C at any time. At the end {end}."),
        String::new(),
    ]
}

/// A bar of `part` of `whole`.
fn bar(part: usize, whole: usize) -> String {
    let eighths = (part * BAR * 8 + whole / 2)
        .checked_div(whole)
        .unwrap_or_default()
        .min(BAR * 8);
    let text = format!("{}{}", "█".repeat(eighths / 8), EIGHTHS[eighths % 8]);
    format!("{text:<BAR$}")
}

fn role(instance: &Instance) -> &'static str {
    match instance.writer {
        Some(true) => "writer",
        Some(false) => "reader",
        None => "",
    }
}

/// What is worth saying of an instance beside its bar.
fn remark(sight: &Sight, instance: &Instance) -> String {
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
    let leads = sight.endpoint.as_deref() == Some(&instance.name);
    if leads != (instance.writer == Some(true)) && leads {
        words.push("← DNS: writer".to_owned());
    }
    words.join(", ")
}

fn row(sight: &Sight, instance: &Instance, largest: usize, ink: Ink) -> String {
    let reader = instance.writer == Some(false);
    let share = if reader {
        format!("{:>3} %", sight.percent(instance))
    } else {
        String::new()
    };
    let bar = bar(instance.connections, largest);
    let bar = match (reader, sight.within(instance)) {
        (false, _) => ink.bad(&bar),
        (true, Some(true)) => ink.good(&bar),
        (true, _) => ink.uneven(&bar),
    };
    let remark = remark(sight, instance);
    format!(
        "  {:<10}{:<7} {bar} {:>4}  {share:<5} {}",
        instance.name,
        role(instance),
        instance.connections,
        ink.dim(&remark)
    )
}

/// Folds a text between words.
fn fold(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

/// Thousands apart.
fn grouped(number: u64) -> String {
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

fn failed(sight: &Sight, ink: Ink) -> String {
    let queries = sight.queries();
    let text = format!("queries failed: {}", queries.failed);
    if queries.failed == 0 {
        ink.good(&text)
    } else {
        ink.bad(&text)
    }
}

/// What the policy says, in one text.
#[must_use]
pub fn said(sight: &Sight) -> String {
    let policy = &sight.policy;
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
pub fn lines(sight: &Sight, passed: Duration, ink: Ink) -> Vec<String> {
    let connections = sight.instances.iter().map(|i| i.connections);
    let largest = connections
        .max()
        .unwrap_or_default()
        .max(sight.connections() / 2)
        .max(1);
    let mut lines = vec![String::new()];
    lines.extend(sight.instances.iter().map(|i| row(sight, i, largest, ink)));
    lines.push(String::new());
    lines.push(format!(
        "  {:>5.1} s   pods recycled: {} of {PODS}   {}   {}",
        passed.as_secs_f64(),
        sight.recycled(),
        failed(sight, ink),
        ink.dim(&format!("answered: {}", grouped(sight.queries().ok))),
    ));
    let mut said = fold(&said(sight), WIDTH - 12);
    said.truncate(3);
    said.resize(3, String::new());
    for (index, text) in said.iter().enumerate() {
        let mode = if index == 0 { &sight.policy.mode } else { "" };
        lines.push(format!("  {:<9} {}", mode, ink.dim(text)));
    }
    lines
}

/// Without a terminal.
#[must_use]
pub fn line(sight: &Sight, passed: Duration) -> String {
    let instances: Vec<String> = sight
        .instances
        .iter()
        .map(|i| match i.writer {
            Some(true) => format!("{} writer {}", i.name, i.connections),
            Some(false) => format!("{} {} ({} %)", i.name, i.connections, sight.percent(i)),
            None => format!("{} does not answer", i.name),
        })
        .collect();
    format!(
        "  {:>5.1} s  {} | pods recycled: {} | queries failed: {}",
        passed.as_secs_f64(),
        instances.join(", "),
        sight.recycled(),
        sight.queries().failed
    )
}

/// Two sights with the same key are told once.
#[must_use]
pub fn key(sight: &Sight) -> String {
    line(sight, Duration::ZERO)
}

/// What a chapter came to.
#[must_use]
pub fn outcome(text: &str, passed: Duration, ink: Ink) -> String {
    format!(
        "  {} {text} {}",
        ink.good("✓"),
        ink.dim(&format!("({:.0} s)", passed.as_secs_f64()))
    )
}

/// After `KEEP=1`. Inside the testbed's shell all of it works as written.
#[must_use]
pub fn what_to_try(testbed: &str) -> Vec<String> {
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
        "Go in, and try:".to_owned(),
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
mod tests {
    use super::*;

    fn sight() -> Sight {
        let instance = |name: &str, writer, connections| Instance {
            name: name.into(),
            writer,
            connections,
            status: "available".into(),
            served: true,
        };
        let mut sight = Sight {
            instances: vec![
                instance("orders-1", Some(true), 0),
                instance("orders-2", Some(false), 53),
                instance("orders-3", Some(false), 67),
            ],
            endpoint: Some("orders-1".into()),
            ..Sight::default()
        };
        sight.policy.mode = "Observe".into();
        sight
    }

    #[test]
    fn a_bar_is_as_long_as_its_part_and_never_longer_than_its_place() {
        assert_eq!(bar(0, 10).trim_end(), "");
        assert_eq!(bar(10, 10), "█".repeat(BAR));
        assert_eq!(bar(20, 10).chars().count(), BAR);
        assert_eq!(bar(5, 10).trim_end(), "█".repeat(BAR / 2));
        assert_eq!(bar(1, 0).trim_end(), "");
    }

    #[test]
    fn the_picture_keeps_its_height_whatever_the_policy_says() {
        let mut sight = sight();
        let height = lines(&sight, Duration::ZERO, Ink::default()).len();
        sight.policy.shares = "many words ".repeat(60);
        assert_eq!(lines(&sight, Duration::ZERO, Ink::default()).len(), height);
    }

    #[test]
    fn without_colours_there_is_no_escape_in_it() {
        let text = lines(&sight(), Duration::ZERO, Ink::default()).join("\n");
        assert!(!text.contains('\u{1b}'), "{text}");
        assert!(text.contains("orders-3  reader"), "{text}");
        assert!(text.contains("56 %"), "{text}");
    }

    #[test]
    fn a_connection_of_a_reader_pool_to_the_writer_is_called_wrong() {
        let mut sight = sight();
        sight.instances[0].connections = 3;
        let text = lines(&sight, Duration::ZERO, Ink::default()).join("\n");
        assert!(text.contains("wrong role"), "{text}");
    }

    #[test]
    fn the_seconds_alone_make_no_news() {
        assert_eq!(key(&sight()), key(&sight()));
        let mut other = sight();
        other.instances[1].connections = 52;
        assert_ne!(key(&sight()), key(&other));
    }

    #[test]
    fn thousands_are_apart() {
        assert_eq!(grouped(1_234_567), "1,234,567");
        assert_eq!(grouped(12), "12");
    }
}
