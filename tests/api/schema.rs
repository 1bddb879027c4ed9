//! The schema by itself, without a server: that the files hold what the types say, and that it reads well.

use std::fs;

use dbbalance_api::crd;
use serde_json::Value;

/// The schema as it is written to the files.
fn root() -> Value {
    let all: Value = serde_yaml_ng::from_str(&crd::render_crd().unwrap()).unwrap();
    all["spec"]["versions"][0]["schema"]["openAPIV3Schema"].clone()
}

/// The schema of the spec.
pub fn spec() -> Value {
    root()["properties"]["spec"].take()
}

/// Going through a schema.
pub trait Walk {
    /// Calls `see` for each field below, with its path; lists and maps add nothing to it.
    fn walk(&self, path: &str, see: &mut dyn FnMut(&str, &Value));
}

impl Walk for Value {
    fn walk(&self, path: &str, see: &mut dyn FnMut(&str, &Value)) {
        for (name, field) in self["properties"].as_object().into_iter().flatten() {
            let path = format!("{path}/{name}");
            see(&path, field);
            field.walk(&path, see);
        }
        for inner in ["items", "additionalProperties"] {
            if self[inner].is_object() {
                self[inner].walk(path, see);
            }
        }
    }
}

#[test]
fn the_files_are_what_the_types_say() {
    let generated = crd::render_crd().unwrap();
    for file in [
        "crds/dbbalancepolicies.yaml",
        "charts/dbbalance/files/dbbalancepolicies.yaml",
    ] {
        let path = format!("{}/{file}", env!("CARGO_MANIFEST_DIR"));
        let held = fs::read_to_string(&path).unwrap_or_default();
        assert!(
            held == generated,
            "{file} is not what src/api says: run: make crds"
        );
    }
}

#[test]
fn each_field_is_described_in_plain_words() {
    let mut fields = 0;
    root().walk("", &mut |path, field| {
        fields += 1;
        let text = field["description"].as_str().unwrap_or_default();
        assert!(text.len() >= 8, "{path} has no description: {text:?}");
        assert!(
            text.ends_with('.'),
            "{path} ends without a full stop: {text:?}"
        );
        for bad in [
            "`",
            "\n",
            "  - ",
            "**",
            "[`",
            "Auto-generated",
            "wrapper around",
            "Option",
        ] {
            assert!(!text.contains(bad), "{path} says {bad:?}: {text:?}");
        }
    });
    assert!(fields > 100, "{fields} fields were seen");
}

#[test]
fn no_name_or_word_is_a_switch_in_yaml() {
    // YAML 1.1 reads these as true and false, whatever their case.
    const SWITCHES: [&str; 8] = ["y", "n", "yes", "no", "on", "off", "true", "false"];
    root().walk("", &mut |path, field| {
        let words = field["enum"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str);
        for word in words.chain(path.rsplit('/').take(1)) {
            assert!(
                !SWITCHES.contains(&word.to_lowercase().as_str()),
                "{path}: {word}"
            );
        }
    });
}

#[test]
fn the_spec_has_limits_and_no_oddities() {
    let limit = |path: &str, field: &Value| {
        let needed: &[&str] = match field["type"].as_str() {
            Some("integer") => &["minimum", "maximum"],
            Some("string") if field.get("enum").is_none() => &["maxLength"],
            Some("array") => &["maxItems"],
            Some("number") => panic!("{path} is a float"),
            _ => &[],
        };
        for key in needed {
            assert!(field[key].is_u64(), "{path} has no {key}");
        }
        if field["additionalProperties"].is_object() {
            assert!(
                field["maxProperties"].is_u64(),
                "{path} has no maxProperties"
            );
        }
        for odd in [
            "nullable",
            "title",
            "oneOf",
            "anyOf",
            "x-kubernetes-preserve-unknown-fields",
        ] {
            assert!(field.get(odd).is_none(), "{path} has {odd}");
        }
        let unsigned = field["format"].as_str().is_some_and(|f| f.starts_with('u'));
        assert!(
            !unsigned,
            "{path} has a format that Kubernetes does not know"
        );
        // Nested defaults are each said once, by their own field; where a rule judges the whole, it needs all.
        let repeats = field["default"]
            .as_object()
            .is_some_and(|default| !default.is_empty());
        let ruled = field["x-kubernetes-validations"].is_array();
        assert!(!repeats || ruled, "{path} repeats its fields' defaults");
    };
    spec().walk("", &mut |path, field| {
        limit(path, field);
        if field["items"].is_object() {
            limit(path, &field["items"]);
        }
    });
}
