//! Checks JSON against the schemas of an OpenAPI document, by the keywords that ours has.

use serde_json::{Map, Value};

/// What is only there to be read.
const NOTES: [&str; 2] = ["description", "format"];

/// Why a value does not fit a schema of the document: one line for each place. Nothing when it fits.
///
/// # Panics
///
/// At a keyword that this does not know, rather than leaving it out.
pub fn misfits(document: &Value, schema: &Value, value: &Value) -> Vec<String> {
    let mut checker = Checker { document, misfits: Vec::new() };
    checker.check(schema, value, "");
    checker.misfits
}

struct Checker<'a> {
    document: &'a Value,
    misfits: Vec<String>,
}

impl Checker<'_> {
    fn check(&mut self, schema: &Value, value: &Value, place: &str) {
        for (keyword, rule) in schema.as_object().expect("a schema is an object") {
            let problem = match keyword.as_str() {
                "$ref" => {
                    let pointer = rule.as_str().and_then(|at| at.strip_prefix('#')).expect("a reference");
                    let referred = self.document.pointer(pointer);
                    self.check(referred.unwrap_or_else(|| panic!("{rule} leads nowhere")), value, place);
                    None
                }
                "type" => (!has_type(rule, value)).then(|| format!("is {value}, not of type {rule}")),
                "const" => (rule != value).then(|| format!("is {value}, not {rule}")),
                "enum" => (!list(rule).contains(value)).then(|| format!("is {value}, not one of {rule}")),
                "required" => {
                    let is_missing = |name: &&Value| value.get(name.as_str().expect("a name")).is_none();
                    list(rule).iter().find(is_missing).map(|name| format!("has no {name}"))
                }
                "properties" => {
                    for (name, schema) in object(rule) {
                        if let Some(value) = value.get(name) {
                            self.check(schema, value, &format!("{place}/{name}"));
                        }
                    }
                    None
                }
                "additionalProperties" => self.check_others(schema, rule, value, place),
                "items" => {
                    for (index, item) in value.as_array().into_iter().flatten().enumerate() {
                        self.check(rule, item, &format!("{place}/{index}"));
                    }
                    None
                }
                note => {
                    assert!(NOTES.contains(&note), "the checker does not know the keyword {note}");
                    None
                }
            };
            self.misfits.extend(problem.map(|problem| format!("{place} {problem}")));
        }
    }

    /// What an object has besides its properties.
    fn check_others(&mut self, schema: &Value, rule: &Value, value: &Value, place: &str) -> Option<String> {
        let named = schema.get("properties").map(object);
        let is_named = |name: &str| named.is_some_and(|named| named.contains_key(name));
        let others = value.as_object().into_iter().flatten().filter(|(name, _)| !is_named(name));
        if rule == &Value::Bool(false) {
            let names: Vec<&String> = others.map(|(name, _)| name).collect();
            return (!names.is_empty()).then(|| format!("has {names:?}, which the document does not know"));
        }
        for (name, value) in others {
            self.check(rule, value, &format!("{place}/{name}"));
        }
        None
    }
}

fn has_type(rule: &Value, value: &Value) -> bool {
    let is = |name: &Value| match name.as_str() {
        Some("null") => value.is_null(),
        Some("boolean") => value.is_boolean(),
        Some("integer") => value.is_i64() || value.is_u64(),
        Some("number") => value.is_number(),
        Some("string") => value.is_string(),
        Some("array") => value.is_array(),
        Some("object") => value.is_object(),
        _ => panic!("{name} is no type"),
    };
    rule.as_array().map_or_else(|| is(rule), |names| names.iter().any(is))
}

fn list(rule: &Value) -> &Vec<Value> {
    rule.as_array().expect("a list")
}

fn object(rule: &Value) -> &Map<String, Value> {
    rule.as_object().expect("an object")
}
