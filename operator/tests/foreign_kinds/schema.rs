//! Whether an API server would take an object: the structural schema of its definition, fields that the schema does not
//! have, and the CEL rules.

use kube_cel::Validator;
use regex::Regex;
use serde_json::{Map, Value, json};

/// Keywords that say nothing about whether a value is taken.
const REMARKS: [&str; 6] = [
    "description",
    "default",
    "format",
    "x-kubernetes-map-type",
    "x-kubernetes-list-map-keys",
    "x-kubernetes-validations",
];

/// What an API server would say against `object`, or drop of it in silence.
pub fn errors(schema: &Value, object: &Value) -> Vec<String> {
    let object = kube_cel::apply_defaults(schema, object);
    let mut errors = Vec::new();
    // Of the top level the API server checks these itself, with its own schema.
    let mut spec = object.clone();
    for field in ["apiVersion", "kind", "metadata"] {
        spec.as_object_mut().unwrap().remove(field);
    }
    // Some require it all the same.
    if schema["properties"]["metadata"].is_object() {
        spec["metadata"] = json!({});
    }
    check("", schema, &spec, &mut errors);
    if let Err(broken) = Validator::new().validate(schema, &object, None) {
        errors.extend(broken.into_vec().iter().map(ToString::to_string));
    }
    errors
}

fn check(path: &str, schema: &Value, value: &Value, errors: &mut Vec<String>) {
    let schema = schema.as_object().unwrap_or_else(|| panic!("{path}: a schema is an object"));
    for (keyword, limit) in schema {
        let is_kept = match keyword.as_str() {
            keyword if REMARKS.contains(&keyword) => true,
            "type" => is_of_type(limit.as_str().unwrap(), value),
            "x-kubernetes-int-or-string" => value.is_string() || value.is_i64(),
            "enum" => limit.as_array().unwrap().contains(value),
            "pattern" => value.as_str().is_none_or(|text| Regex::new(limit.as_str().unwrap()).unwrap().is_match(text)),
            "minLength" => value.as_str().is_none_or(|text| text.chars().count() >= size(limit)),
            "maxLength" => value.as_str().is_none_or(|text| text.chars().count() <= size(limit)),
            "minimum" => value.as_f64().is_none_or(|number| number >= limit.as_f64().unwrap()),
            "maximum" => value.as_f64().is_none_or(|number| number <= limit.as_f64().unwrap()),
            "minItems" => value.as_array().is_none_or(|items| items.len() >= size(limit)),
            "maxItems" => value.as_array().is_none_or(|items| items.len() <= size(limit)),
            "x-kubernetes-list-type" => limit == "atomic" || are_different(schema, value),
            "required" => limit.as_array().unwrap().iter().all(|name| !value[name.as_str().unwrap()].is_null()),
            "anyOf" => limit.as_array().unwrap().iter().any(|one| {
                let mut against = Vec::new();
                check(path, one, value, &mut against);
                against.is_empty()
            }),
            "properties" | "additionalProperties" | "items" => true, // below
            "x-kubernetes-preserve-unknown-fields" => true,
            other => panic!("{path}: the keyword {other} is not known here; add what it means"),
        };
        if !is_kept {
            errors.push(format!("{path}: {value} breaks {keyword} {limit}"));
        }
    }
    match value {
        Value::Object(fields) => check_fields(path, schema, fields, errors),
        Value::Array(items) => {
            for (at, item) in items.iter().enumerate() {
                check(&format!("{path}[{at}]"), &schema["items"], item, errors);
            }
        }
        _ => {}
    }
}

fn check_fields(path: &str, schema: &Map<String, Value>, fields: &Map<String, Value>, errors: &mut Vec<String>) {
    for (name, value) in fields {
        let path = format!("{path}.{name}");
        match schema.get("properties").and_then(|known| known.get(name)).or(schema.get("additionalProperties")) {
            Some(schema) => check(&path, schema, value, errors),
            None if schema.contains_key("x-kubernetes-preserve-unknown-fields") => {}
            None => errors.push(format!("{path}: no such field")),
        }
    }
}

fn is_of_type(type_: &str, value: &Value) -> bool {
    match type_ {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        other => panic!("the type {other} is not known here"),
    }
}

/// Whether no two items are the same one: in a map by its keys, in a set altogether.
fn are_different(schema: &Map<String, Value>, value: &Value) -> bool {
    let identity = |item: &Value| match schema.get("x-kubernetes-list-map-keys").and_then(Value::as_array) {
        Some(keys) => json!(keys.iter().map(|key| &item[key.as_str().unwrap()]).collect::<Vec<_>>()),
        None => item.clone(),
    };
    let items: Vec<Value> = value.as_array().into_iter().flatten().map(identity).collect();
    items.iter().enumerate().all(|(at, item)| !items[..at].contains(item))
}

fn size(limit: &Value) -> usize {
    usize::try_from(limit.as_u64().unwrap()).unwrap()
}

#[test]
fn what_an_api_server_refuses_is_refused() {
    let text = json!({"type": "string", "minLength": 2, "maxLength": 4, "pattern": "^[a-z]+$"});
    let ports = json!({
        "type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"], "maxItems": 2,
        "items": {"type": "object", "required": ["name"], "properties": {
            "name": text, "port": {"anyOf": [{"type": "integer"}, {"type": "string"}], "x-kubernetes-int-or-string": true},
        }},
    });
    let schema = json!({"type": "object", "properties": {"spec": {
        "type": "object",
        "x-kubernetes-validations": [{"rule": "!has(self.size) || self.size != 3", "message": "not three"}],
        "properties": {
            "ports": ports,
            "size": {"type": "integer", "minimum": 1, "maximum": 5},
            "mode": {"type": "string", "enum": ["A", "B"], "default": "A"},
            "labels": {"type": "object", "additionalProperties": {"type": "string"}},
            "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
        },
        "required": ["mode"],
    }}});
    let against =
        |spec: Value| errors(&schema, &json!({"apiVersion": "a/v1", "kind": "A", "metadata": {}, "spec": spec}));
    for good in [
        json!({}),
        json!({"ports": [{"name": "ab", "port": 1}, {"name": "ac", "port": "x"}], "size": 5, "mode": "B"}),
        json!({"labels": {"a": "b"}, "free": {"x": [1, {"y": 2}]}}),
    ] {
        assert_eq!(against(good.clone()), Vec::<String>::new(), "{good}");
    }
    #[rustfmt::skip]
    let bad = [
        (json!({"size": "1"}), "breaks type"),
        (json!({"size": 0}), "breaks minimum"),
        (json!({"size": 6}), "breaks maximum"),
        (json!({"size": 3}), "not three"),
        (json!({"mode": "C"}), "breaks enum"),
        (json!({"labels": {"a": 1}}), ".spec.labels.a"),
        (json!({"other": 1}), "no such field"),
        (json!({"ports": [{"name": "ab", "extra": 1}]}), "no such field"),
        (json!({"ports": [{"port": 1}]}), "breaks required"),
        (json!({"ports": [{"name": "ab", "port": true}]}), "breaks anyOf"),
        (json!({"ports": [{"name": "ab"}, {"name": "ab"}]}), "breaks x-kubernetes-list-type"),
        (json!({"ports": [{"name": "ab"}, {"name": "ac"}, {"name": "ad"}]}), "breaks maxItems"),
        (json!({"ports": [{"name": "a"}]}), "breaks minLength"),
        (json!({"ports": [{"name": "abcde"}]}), "breaks maxLength"),
        (json!({"ports": [{"name": "a1"}]}), "breaks pattern"),
    ];
    for (spec, sentence) in bad {
        let errors = against(spec.clone());
        assert!(errors.iter().any(|error| error.contains(sentence)), "{spec}: {errors:?}");
    }
}
