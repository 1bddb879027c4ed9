//! Builds the parts of the CRD's schema by hand for which the derived schema would exceed the API server's CEL cost
//! limit, or could not express the rule.

use schemars::{Schema, SchemaGenerator, json_schema};

/// Returns the schema of an absolute number of pods or a percentage, never zero.
#[must_use]
pub fn int_or_percent(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "x-kubernetes-int-or-string": true,
        "maxLength": 4,
        "x-kubernetes-validations": [{
            "rule": "type(self) == int ? (self >= 1 && self <= 1000) : string(self).matches('^([1-9][0-9]?|100)%$')",
            "message": "must be a number of pods from 1 to 1000 or a percentage from 1% to 100%"
        }]
    })
}

/// Returns the schema of a label selector with bounds. An empty selector is refused because it would select every
/// pod.
#[must_use]
pub fn label_selector(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "properties": {
            "matchLabels": {
                "description": "Labels that a pod must carry, each with this value.",
                "type": "object",
                "maxProperties": 16,
                "additionalProperties": { "type": "string", "maxLength": 63 }
            },
            "matchExpressions": {
                "description": "Requirements on a pod's labels; all must hold.",
                "type": "array",
                "maxItems": 16,
                "items": {
                    "type": "object",
                    "required": ["key", "operator"],
                    "properties": {
                        "key": {
                            "description": "The label's name.",
                            "type": "string", "minLength": 1, "maxLength": 317
                        },
                        "operator": {
                            "description": "How the label's value is compared.",
                            "type": "string",
                            "enum": ["In", "NotIn", "Exists", "DoesNotExist"]
                        },
                        "values": {
                            "description": "The values for In and NotIn; absent otherwise.",
                            "type": "array",
                            "maxItems": 64,
                            "items": { "type": "string", "maxLength": 63 }
                        }
                    }
                }
            }
        },
        "x-kubernetes-validations": [{
            "rule": "(has(self.matchLabels) && size(self.matchLabels) > 0) || (has(self.matchExpressions) && size(self.matchExpressions) > 0)",
            "message": "an empty selector would take every pod of the namespace: give matchLabels or matchExpressions"
        }]
    })
}

/// Returns the schema of certificates in PEM, encoded in base64.
#[must_use]
pub fn ca_bundle(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "format": "byte", "minLength": 1, "maxLength": 131_072 })
}
