//! The test data that the reference implementation publishes in its Go module: from the folder that `INDIGO_DIR` names,
//! else from the module cache, where `go mod download` puts it.

#![allow(clippy::unwrap_used)]
#![allow(dead_code, reason = "every test file uses a part")]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::str::FromStr;
use std::sync::LazyLock;

use data_encoding::BASE64_NOPAD;
use relay::protocol::cid::Cid;
use relay::protocol::frame::{
    AccountFrame, Action, CommitFrame, IdentityFrame, RepoOp, SyncFrame, encode_account, encode_commit,
    encode_identity, encode_sync,
};
use serde_json::Value;

const MODULE: &str = "github.com/bluesky-social/indigo@v0.0.0-20260605210604-af2fec94f34c";

static DIR: LazyLock<PathBuf> = LazyLock::new(|| match std::env::var_os("INDIGO_DIR") {
    Some(dir) => dir.into(),
    None => {
        let output = Command::new("go")
            .args(["mod", "download", "-json", MODULE])
            .output()
            .expect("go, which fetches the published vectors; without it set INDIGO_DIR to the module's folder");
        let module: Value = serde_json::from_slice(&output.stdout).expect("go mod download prints JSON");
        module["Dir"].as_str().unwrap_or_else(|| panic!("cannot download {MODULE}: {module}")).into()
    }
});

/// A file that must be there and not empty.
pub fn bytes(path: impl AsRef<Path>) -> Vec<u8> {
    let path = DIR.join(path);
    let bytes = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    assert!(!bytes.is_empty(), "{} is empty", path.display());
    bytes
}

/// The same as text.
pub fn read(path: impl AsRef<Path>) -> String {
    String::from_utf8(bytes(path)).unwrap()
}

/// The same as JSON.
pub fn json(path: impl AsRef<Path>) -> Value {
    serde_json::from_str(&read(path)).unwrap()
}

/// The names of the files in a folder, in order.
pub fn names(folder: &str) -> Vec<String> {
    let path = DIR.join(folder);
    let entries = std::fs::read_dir(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let mut names: Vec<String> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    assert!(!names.is_empty(), "{} is empty", path.display());
    names
}

/// A list of cases, of which there must be some.
pub fn cases(path: &str) -> Vec<Value> {
    let Value::Array(cases) = json(path) else { panic!("{path}: not an array") };
    assert!(!cases.is_empty(), "{path}");
    cases
}

/// The lines of a list of examples, without comments; there must be some.
pub fn lines(path: &str) -> Vec<String> {
    let lines: Vec<String> =
        read(path).lines().filter(|line| !line.is_empty() && !line.starts_with('#')).map(str::to_owned).collect();
    assert!(!lines.is_empty(), "{path}");
    lines
}

/// A field that is text.
pub fn text<'v>(value: &'v Value, field: &str) -> &'v str {
    value[field].as_str().unwrap_or_else(|| panic!("{field} of {value}"))
}

/// Base64, with or without padding.
pub fn base64(value: &str) -> Vec<u8> {
    BASE64_NOPAD.decode(value.trim_end_matches('=').as_bytes()).unwrap()
}

/// An event as it is on the wire, from its JSON form: header and body.
pub fn event(frame: &Value) -> Vec<u8> {
    let (body, mut bytes) = (&frame["body"], Vec::new());
    let (seq, time) = (body["seq"].as_u64().unwrap(), text(body, "time"));
    match text(&frame["header"], "t") {
        "#commit" => return commit(body),
        "#sync" => {
            let blocks = base64(text(&body["blocks"], "$bytes"));
            let (did, rev) = (text(body, "did"), text(body, "rev"));
            encode_sync(&SyncFrame { seq, did, time, rev, blocks: &blocks, ..SyncFrame::default() }, &mut bytes);
        }
        "#identity" => {
            let (did, handle) = (text(body, "did"), body["handle"].as_str());
            encode_identity(&IdentityFrame { seq, did, time, handle, ..IdentityFrame::default() }, &mut bytes);
        }
        "#account" => {
            let (did, active, status) = (text(body, "did"), body["active"].as_bool().unwrap(), body["status"].as_str());
            let frame = AccountFrame { seq, did, time, active, status, ..AccountFrame::default() };
            encode_account(&frame, &mut bytes);
        }
        other => panic!("a message of another kind: {other}"),
    }
    bytes
}

/// A `#commit` as it is on the wire, from the JSON form of its body.
pub fn commit(body: &Value) -> Vec<u8> {
    let link = |value: &Value| value["$link"].as_str().map(|cid| Cid::from_str(cid).unwrap());
    let ops = body["ops"].as_array().unwrap().iter().map(|op| RepoOp {
        action: match text(op, "action") {
            "create" => Action::Create,
            "update" => Action::Update,
            _ => Action::Delete,
        },
        path: text(op, "path"),
        cid: link(&op["cid"]),
        prev: link(&op["prev"]),
    });
    let frame = CommitFrame {
        seq: body["seq"].as_u64().unwrap(),
        did: text(body, "repo"),
        time: text(body, "time"),
        rev: text(body, "rev"),
        since: body["since"].as_str(),
        commit: link(&body["commit"]).unwrap(),
        prev_data: link(&body["prevData"]),
        ops: ops.collect(),
        blocks: &base64(text(&body["blocks"], "$bytes")),
        too_big: body["tooBig"].as_bool().unwrap(),
        rebase: body["rebase"].as_bool().unwrap(),
        ..CommitFrame::default()
    };
    let mut bytes = Vec::new();
    encode_commit(&frame, &mut bytes);
    bytes
}
