//! The `CustomResourceDefinition` as installed: the derived one, made readable, with a default status.
//!
//! `make crds` writes it to `crds/` and the chart; a test holds both equal to this.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSON, JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};
use kube::CustomResourceExt;
use serde_json::{Map, Value, json};
use serde_yaml_ng::Value as Yaml;

use super::spec::DbBalancePolicy;

/// The definition to install.
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
            // kstatus and `kubectl wait` read an object without conditions as done; with this one
            // an object that no operator has seen reads as pending.
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

/// Takes out what the derive adds for other readers than users of `kubectl`.
fn tidy_schema(schema: &mut JSONSchemaProps) {
    // A null would count as present in CEL and be absent to the operator: without this the server drops it.
    schema.nullable = None;
    schema.title = None;
    // Rust's unsigned numbers are of no format that the API server knows; it warns of each at every apply.
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
        // The docs of Go's type, which says nothing of the field.
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
    // What the fields' own defaults give anyway is said once, by them; but the server holds a default to
    // the rules as it stands.
    let ruled = schema.x_kubernetes_validations.is_some();
    if !ruled && schema.default.is_some() && schema.default == collect_defaults(schema).map(JSON) {
        schema.default = Some(JSON(json!({})));
    }
}

/// What the server makes of an empty object of this schema; `None` if it is no object.
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

/// Sorts all fields, whose order is else a matter of how the program was built, and writes bounds as the whole
/// numbers as which they are meant; the type holds them as floats.
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

/// The definition as YAML, with a line that says where it comes from.
///
/// # Errors
/// When the definition cannot be written as YAML, which would be a defect of this program.
pub fn render_crd() -> Result<String, serde_yaml_ng::Error> {
    let body = serde_yaml_ng::to_string(&normalize_yaml(serde_yaml_ng::to_value(build_crd())?))?;
    Ok(format!(
        "# Generated by `make crds` from src/api. Do not edit.\n{body}"
    ))
}
