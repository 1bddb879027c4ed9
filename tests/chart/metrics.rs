//! The metrics page is well-formed, and has what the chart's alerts ask for.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::sync::Arc;

use crate::fixture::ChartFixture;

pub async fn every_alert_asks_for_a_metric_that_is_there(fixture: Arc<ChartFixture>) {
    let leader = crate::leader::leader(&fixture).await;
    let page = fixture.fetch(&leader, 8080, "/metrics").await;
    let samples = parse(&page);
    println!(
        "  metrics: {} samples",
        samples.values().map(Vec::len).sum::<usize>()
    );
    let alerts = Path::new(env!("CARGO_MANIFEST_DIR")).join("charts/dbbalance/files/alerts.yaml");
    let alerts = fs::read_to_string(alerts).unwrap();
    let mut asked = BTreeSet::new();
    for (start, _) in alerts.match_indices("dbbalance_") {
        let rest = &alerts[start..];
        let end = rest
            .find(|c: char| !c.is_ascii_alphanumeric() && c != '_')
            .unwrap();
        let (name, after) = rest.split_at(end);
        asked.insert(name);
        let found = samples.get(name);
        let found = found.unwrap_or_else(|| panic!("an alert asks for {name}, which is not there"));
        let labels = after.strip_prefix('{').and_then(|a| a.split_once('}'));
        for label in labels.iter().flat_map(|(l, _)| l.split(',')) {
            let key = label.split(['=', '!']).next().unwrap().trim();
            let has = found
                .iter()
                .any(|labels| labels.contains(&format!("{key}=\"")));
            assert!(
                has,
                "an alert asks for {name} by {key}, which it has not: {found:?}"
            );
        }
    }
    assert!(asked.len() >= 5, "{asked:?}");
}

/// The samples' labels by name, from a page that keeps the rules of `OpenMetrics`.
fn parse(page: &str) -> BTreeMap<String, Vec<String>> {
    let body = page.strip_suffix("# EOF\n").expect("the page has an end");
    let mut types: BTreeMap<&str, &str> = BTreeMap::new();
    let mut samples: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for line in body.lines() {
        if let Some(meta) = line.strip_prefix("# ") {
            let mut words = meta.splitn(3, ' ');
            let (word, name, rest) = (words.next().unwrap(), words.next().unwrap(), words.next());
            assert!(["HELP", "TYPE", "UNIT"].contains(&word), "{line}");
            if word == "TYPE" {
                assert!(types.insert(name, rest.unwrap()).is_none(), "twice: {line}");
            }
            continue;
        }
        let (series, value) = line.rsplit_once(' ').expect("a sample has a value");
        assert!(value.parse::<f64>().is_ok(), "{line}");
        let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
        assert!(labels.ends_with('}'), "{line}");
        let suffixes = ["", "_total", "_bucket", "_sum", "_count", "_info"];
        let family = suffixes
            .iter()
            .find_map(|s| name.strip_suffix(s).and_then(|n| types.get(n)));
        let kind = family.unwrap_or_else(|| panic!("{name} has no type"));
        assert!(*kind != "counter" || name.ends_with("_total"), "{line}");
        samples
            .entry(name.to_owned())
            .or_default()
            .push(labels.to_owned());
    }
    samples
}
