#![allow(clippy::unwrap_used)]
use super::*;
use serde_json::Value;

fn figures(value: &Value, path: &str, into: &mut Vec<(String, f64, String)>) {
    let Some(object) = value.as_object() else {
        return;
    };
    if let (Some(seconds), Some(source)) = (object.get("seconds"), object.get("source")) {
        into.push((
            path.to_owned(),
            seconds.as_f64().unwrap(),
            source.as_str().unwrap().to_owned(),
        ));
    }
    for (key, child) in object {
        figures(child, &format!("{path}.{key}"), into);
    }
}

#[test]
fn every_profile_loads_and_every_figure_has_its_source() {
    for (name, text) in FILES {
        assert_eq!(TimingProfile::named(name).unwrap().profile, name);
        let mut found = Vec::new();
        figures(&serde_json::from_str(text).unwrap(), name, &mut found);
        assert_eq!(found.len(), 19, "{name}");
        for (path, seconds, source) in found {
            assert!(seconds >= 0.0, "{path}");
            assert!(source.len() > 10, "{path} has no source");
        }
    }
    assert!(
        TimingProfile::named("none")
            .unwrap_err()
            .to_string()
            .contains("quick")
    );
}

#[test]
fn the_order_of_a_failover_is_the_same_in_every_profile() {
    for name in TimingProfile::names() {
        let told = TimingProfile::named(name).unwrap().failover;
        let order = [
            &told.status,
            &told.cut,
            &told.promoted,
            &told.rejoined,
            &told.api,
            &told.dns_writer,
            &told.available,
            &told.dns_readers,
        ];
        assert!(
            order
                .windows(2)
                .all(|pair| pair[0].seconds < pair[1].seconds),
            "{name}"
        );
    }
}
