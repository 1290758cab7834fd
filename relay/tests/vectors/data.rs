//! The data model: what is valid DAG-CBOR, and what a relay does not judge.

use data_encoding::BASE64;
use relay::protocol::cbor::{self, Problem, Writer};
use relay::protocol::cid::Cid;
use serde_json::Value;

use super::indigo::{base64, bytes, cases, text};

/// DAG-CBOR of JSON, with links and bytes in their JSON form and whole numbers as integers.
fn encode_json(value: &Value, writer: &mut Writer<'_>) {
    match value {
        Value::Null => drop(writer.null()),
        Value::Bool(value) => drop(writer.bool(*value)),
        Value::String(value) => drop(writer.text(value)),
        Value::Number(number) => match (number.as_u64(), number.as_f64()) {
            (Some(value), _) => drop(writer.uint(value)),
            (None, Some(value)) if value.fract() == 0.0 => drop(writer.uint(value as u64)),
            (None, value) => drop(writer.raw(&[0xfb]).raw(&value.unwrap().to_be_bytes())),
        },
        Value::Array(values) => {
            writer.array(values.len());
            values.iter().for_each(|value| encode_json(value, writer));
        }
        Value::Object(_) if value["$link"].is_string() => {
            let cid = data_encoding::BASE32_NOPAD.decode(text(value, "$link")[1..].to_uppercase().as_bytes());
            writer.raw(&[0xd8, 0x2a]).bytes(&[&[0], &cid.unwrap()[..]].concat());
        }
        Value::Object(_) if value["$bytes"].is_string() => drop(writer.bytes(&base64(text(value, "$bytes")))),
        Value::Object(fields) => {
            let mut fields: Vec<_> = fields.iter().collect();
            fields.sort_by_key(|(key, _)| (key.len(), *key));
            writer.map(fields.len());
            for (key, value) in fields {
                writer.text(key);
                encode_json(value, writer);
            }
        }
    }
}

fn json_as_cbor(value: &Value) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode_json(value, &mut Writer::new(&mut bytes));
    bytes
}

/// Protocol 31.
#[test]
fn data_model() {
    let fixtures = cases("atproto/atdata/testdata/data-model-fixtures.json");
    for case in &fixtures {
        let bytes = base64(text(case, "cbor_base64"));
        assert_eq!(cbor::validate(&bytes), Ok(()), "{case}");
        assert_eq!(Cid::of(&bytes).to_string(), text(case, "cid"), "{case}");
        assert_eq!(BASE64.encode(&json_as_cbor(&case["json"])), BASE64.encode(&bytes), "{case}");
    }
    let valid = cases("atproto/atdata/testdata/data-model-valid.json");
    for case in &valid {
        assert_eq!(cbor::validate(&json_as_cbor(&case["json"])), Ok(()), "{case}");
    }
    let record = bytes("atproto/atdata/testdata/feedpost_record.cbor");
    assert_eq!(cbor::validate(&record), Ok(()), "a record");
    assert_eq!((fixtures.len(), valid.len()), (3, 5));
}

/// Protocol 30, 31: what is wrong as data is refused; what is wrong with a record alone is not for a relay to judge.
/// The cases that exist in JSON alone have no form in CBOR.
#[test]
fn invalid_data() {
    let mut found = Vec::new();
    for case in cases("atproto/atdata/testdata/data-model-invalid.json") {
        let verdict = match text(&case, "note") {
            "float" => Some(Err(Problem::Float)),
            "top-level not an object" => Some(Ok(())),
            "record with $type null" | "record with $type wrong type" | "record with empty $type string" => {
                Some(Ok(()))
            }
            "blob with string size" | "blob with missing key" => Some(Ok(())),
            "link with bogus CID" => {
                // A link whose CID has no bytes.
                assert_eq!(cbor::validate(b"\xd8\x2a\x41\x00").unwrap_err().problem, Problem::Link);
                None
            }
            "bytes with wrong field type" | "bytes with extra fields" => None,
            "link with wrong field type" | "link with extra fields" => None,
            other => panic!("a case that this test does not know: {other}"),
        };
        if let Some(expected) = verdict {
            let checked = cbor::validate(&json_as_cbor(&case["json"])).map_err(|error| error.problem);
            assert_eq!(checked, expected, "{case}");
        }
        found.push(verdict.is_some());
    }
    assert_eq!((found.len(), found.iter().filter(|is_cbor| **is_cbor).count()), (12, 7));
}
