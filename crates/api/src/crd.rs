//! Builds the `CustomResourceDefinition` to install: the derived one, made readable, with a default status.
//!
//! `make crds` writes it to `crds/` and to the chart; a test checks that both are equal to this definition.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSON, JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};
use kube::CustomResourceExt;
use serde_json::{Map, Value, json};
use serde_yaml_ng::Value as Yaml;

use super::spec::DbBalancePolicy;

/// Returns the definition to install.
#[must_use]
pub fn build_crd() -> CustomResourceDefinition {
    let mut crd = DbBalancePolicy::crd();
    for version in &mut crd.spec.versions {
        let schema = version
            .schema
            .as_mut()
            .and_then(|s| s.open_api_v3_schema.as_mut());
        let Some(schema) = schema else { continue };
        tidy_schema(schema);
        let status = schema.properties.as_mut().and_then(|p| p.get_mut("status"));
        if let Some(status) = status {
            // kstatus and `kubectl wait` treat an object without conditions as done. With this condition, an object
            // that the operator has not seen yet reads as pending.
            status.default = Some(JSON(json!({
                "conditions": [{
                    "type": "Ready",
                    "status": "Unknown",
                    "reason": "Pending",
                    "message": "Waiting for the dbbalance operator",
                    "lastTransitionTime": "1970-01-01T00:00:00Z"
                }]
            })));
        }
    }
    crd
}

/// Removes what the derive adds and users of `kubectl` do not need.
fn tidy_schema(schema: &mut JSONSchemaProps) {
    // CEL would treat a null as present and the operator as absent; without `nullable` the server drops it.
    schema.nullable = None;
    schema.title = None;
    // The API server does not know the formats of Rust's unsigned numbers, and warns about each at every apply.
    if schema
        .format
        .as_ref()
        .is_some_and(|f| f.starts_with("uint"))
    {
        schema.format = None;
    }
    schema.description = schema
        .description
        .take()
        // Go's documentation of the type, which does not describe the field.
        .filter(|text| !text.starts_with("Time is a wrapper"))
        .map(|text| text.replace('`', "").replace('\n', " "));
    for property in schema.properties.iter_mut().flat_map(|p| p.values_mut()) {
        tidy_schema(property);
    }
    match &mut schema.items {
        Some(JSONSchemaPropsOrArray::Schema(items)) => tidy_schema(items),
        Some(JSONSchemaPropsOrArray::Schemas(items)) => items.iter_mut().for_each(tidy_schema),
        None => {}
    }
    if let Some(JSONSchemaPropsOrBool::Schema(values)) = &mut schema.additional_properties {
        tidy_schema(values);
    }
    // The fields' own defaults are stated once, at the fields. But the server checks a default against the rules as
    // it is written.
    let ruled = schema.x_kubernetes_validations.is_some();
    if !ruled && schema.default.is_some() && schema.default == collect_defaults(schema).map(JSON) {
        schema.default = Some(JSON(json!({})));
    }
}

/// Returns the value that the server defaults an empty object of this schema to; `None` if the schema is not an
/// object.
fn collect_defaults(schema: &JSONSchemaProps) -> Option<Value> {
    let mut object = Map::new();
    for (name, property) in schema.properties.as_ref()? {
        let value = match (&property.default, collect_defaults(property)) {
            (Some(JSON(Value::Object(given))), Some(Value::Object(mut all))) => {
                all.extend(given.clone());
                Value::Object(all)
            }
            (Some(JSON(given)), _) => given.clone(),
            (None, _) => continue,
        };
        object.insert(name.clone(), value);
    }
    Some(Value::Object(object))
}

/// Sorts all fields, whose order otherwise depends on how the program was built, and writes bounds as whole numbers,
/// although their type holds floats.
fn normalize_yaml(value: Yaml) -> Yaml {
    match value {
        Yaml::Sequence(items) => items.into_iter().map(normalize_yaml).collect(),
        Yaml::Mapping(fields) => {
            let mut fields: Vec<_> = fields.into_iter().collect();
            fields.sort_by(|(a, _), (b, _)| a.as_str().cmp(&b.as_str()));
            let fields = fields
                .into_iter()
                .map(|(name, v)| (name, normalize_yaml(v)));
            Yaml::Mapping(fields.collect())
        }
        Yaml::Number(number) => {
            let whole = number
                .as_f64()
                .and_then(|n| n.to_string().parse::<i64>().ok());
            whole.map_or(Yaml::Number(number), Yaml::from)
        }
        other => other,
    }
}

/// Formats the definition as YAML, with a line that says where it comes from.
///
/// # Errors
/// If the definition cannot be written as YAML, which would be a defect of this program.
pub fn render_crd() -> Result<String, serde_yaml_ng::Error> {
    let body = serde_yaml_ng::to_string(&normalize_yaml(serde_yaml_ng::to_value(build_crd())?))?;
    Ok(format!(
        "# Generated by `make crds` from crates/api. Do not edit.\n{body}"
    ))
}
