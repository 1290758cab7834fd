//! The reference of a kind as Markdown, from its schema.

use std::fmt::Write;

use serde_json::Value;

/// One table for the spec, one for the status, a row per field.
pub fn markdown(crd: &Value) -> String {
    let names = &crd["spec"]["names"];
    let version = &crd["spec"]["versions"][0];
    let schema = &version["schema"]["openAPIV3Schema"];
    let mut page = String::new();
    let (group, kind) = (text(&crd["spec"]["group"]), text(&names["kind"]));
    let _ = writeln!(page, "# {kind}\n\n`{group}/{}`. {}\n", text(&version["name"]), text(&schema["description"]));
    let _ = writeln!(page, "Generated from the schema; `kubectl explain {}` says the same.", text(&names["singular"]));
    for part in ["spec", "status"] {
        let _ = writeln!(page, "\n## {part}\n\n| field | type | default | meaning |\n|---|---|---|---|");
        rows(&mut page, "", &schema["properties"][part]);
    }
    page
}

fn rows(page: &mut String, path: &str, schema: &Value) {
    let Some(properties) = schema["properties"].as_object() else { return };
    for (name, field) in properties {
        // Kubernetes' own types are without text here, and explained elsewhere.
        if field["description"].is_null() {
            continue;
        }
        let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        let required = schema["required"].as_array().is_some_and(|names| names.contains(&Value::from(name.as_str())));
        let default = match &field["default"] {
            _ if required => "required".into(),
            Value::Null | Value::Object(_) => String::new(),
            value => format!("`{}`", value.to_string().trim_matches('"')),
        };
        let _ = writeln!(page, "| `{path}` | {} | {default} | {} |", type_of(field), meaning(field));
        if field["type"] == "array" {
            // The fields of a condition are Kubernetes' own.
            if name != "conditions" {
                rows(page, &format!("{path}[]"), &field["items"]);
            }
        } else {
            rows(page, &path, field);
        }
    }
}

fn type_of(field: &Value) -> String {
    match &field["enum"] {
        Value::Array(values) => {
            let values = values.iter().filter(|value| !value.is_null());
            values.map(|value| format!("`{}`", text(value))).collect::<Vec<_>>().join(", ")
        }
        _ if field["type"] == "array" => format!("list of {}", text(&field["items"]["type"])),
        _ if !field["additionalProperties"].is_null() => "map".into(),
        _ => text(&field["type"]).into(),
    }
}

fn meaning(field: &Value) -> String {
    let mut meaning = text(&field["description"]).replace('\n', " ");
    for rule in field["x-kubernetes-validations"].as_array().into_iter().flatten() {
        let _ = write!(meaning, " *Rule: {}.*", text(&rule["message"]));
    }
    meaning.replace('|', "\\|")
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}
