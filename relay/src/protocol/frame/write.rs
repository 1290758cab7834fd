//! Messages as they go.

use std::ops::Range;

use super::read::{Header, read_header};
use super::{AccountFrame, CommitFrame, INFO_TAG, IdentityFrame, Kind, SyncFrame};
use crate::protocol::cbor::Writer;

/// `{op: -1}`
const ERROR_HEADER: &[u8] = b"\xa1\x62op\x20";

/// Appends `frame` to `out` with another seq and the header in canonical form; all other bytes stay as they are
/// (protocol 8). The frame and the span are those of an event that [`decode`] has accepted.
pub fn with_seq(frame: &[u8], seq_span: Range<usize>, seq: u64, out: &mut Vec<u8>) {
    let payload_start = match read_header(frame) {
        Ok((Header::Event(kind), payload)) => {
            write_header(kind.tag(), out);
            payload.position()
        }
        _ => 0,
    };
    out.extend_from_slice(&frame[payload_start..seq_span.start]);
    Writer::new(out).uint(seq);
    out.extend_from_slice(&frame[seq_span.end..]);
}

/// Appends a `#commit` message; returns where its seq stands.
pub fn encode_commit(frame: &CommitFrame<'_>, out: &mut Vec<u8>) -> Range<usize> {
    write_header(Kind::Commit.tag(), out);
    let mut writer = Writer::new(out);
    writer.map(if frame.prev_data.is_some() { 12 } else { 11 });
    writer.text("ops").array(frame.ops.len());
    for op in &frame.ops {
        writer.map(if op.prev.is_some() { 4 } else { 3 });
        writer.text("cid").nullable_cid(op.cid.as_ref());
        writer.text("path").text(op.path);
        if let Some(prev) = &op.prev {
            writer.text("prev").cid(prev);
        }
        writer.text("action").text(op.action.name());
    }
    writer.text("rev").text(frame.rev);
    let seq_span = write_seq(frame.seq, &mut writer);
    writer.text("repo").text(frame.did);
    writer.text("time").text(frame.time);
    writer.text("blobs").array(0);
    writer.text("since");
    match frame.since {
        Some(since) => writer.text(since),
        None => writer.null(),
    };
    writer.text("blocks").bytes(frame.blocks);
    writer.text("commit").cid(&frame.commit);
    writer.text("rebase").bool(frame.rebase);
    writer.text("tooBig").bool(frame.too_big);
    if let Some(prev_data) = &frame.prev_data {
        writer.text("prevData").cid(prev_data);
    }
    seq_span
}

/// Appends a `#sync` message; returns where its seq stands.
pub fn encode_sync(frame: &SyncFrame<'_>, out: &mut Vec<u8>) -> Range<usize> {
    write_header(Kind::Sync.tag(), out);
    let mut writer = Writer::new(out);
    writer.map(5).text("did").text(frame.did).text("rev").text(frame.rev);
    let seq_span = write_seq(frame.seq, &mut writer);
    writer.text("time").text(frame.time).text("blocks").bytes(frame.blocks);
    seq_span
}

/// Appends an `#identity` message; returns where its seq stands.
pub fn encode_identity(frame: &IdentityFrame<'_>, out: &mut Vec<u8>) -> Range<usize> {
    write_header(Kind::Identity.tag(), out);
    let mut writer = Writer::new(out);
    writer.map(if frame.handle.is_some() { 4 } else { 3 }).text("did").text(frame.did);
    let seq_span = write_seq(frame.seq, &mut writer);
    writer.text("time").text(frame.time);
    if let Some(handle) = frame.handle {
        writer.text("handle").text(handle);
    }
    seq_span
}

/// Appends an `#account` message; returns where its seq stands.
pub fn encode_account(frame: &AccountFrame<'_>, out: &mut Vec<u8>) -> Range<usize> {
    write_header(Kind::Account.tag(), out);
    let mut writer = Writer::new(out);
    writer.map(if frame.status.is_some() { 5 } else { 4 }).text("did").text(frame.did);
    let seq_span = write_seq(frame.seq, &mut writer);
    writer.text("time").text(frame.time).text("active").bool(frame.active);
    if let Some(status) = frame.status {
        writer.text("status").text(status);
    }
    seq_span
}

/// Appends an `#info` message (protocol 3).
pub fn encode_info(name: &str, message: Option<&str>, out: &mut Vec<u8>) {
    write_header(INFO_TAG, out);
    write_named_message("name", name, message, out);
}

/// Appends an error message (protocol 3).
pub fn encode_error(error: &str, message: Option<&str>, out: &mut Vec<u8>) {
    Writer::new(out).raw(ERROR_HEADER);
    write_named_message("error", error, message, out);
}

fn write_header(tag: &str, out: &mut Vec<u8>) {
    Writer::new(out).map(2).text("t").text(tag).text("op").uint(1);
}

fn write_seq(seq: u64, writer: &mut Writer<'_>) -> Range<usize> {
    let start = writer.text("seq").position();
    start..writer.uint(seq).position()
}

fn write_named_message(name_key: &str, name: &str, message: Option<&str>, out: &mut Vec<u8>) {
    let mut writer = Writer::new(out);
    writer.map(if message.is_some() { 2 } else { 1 }).text(name_key).text(name);
    if let Some(message) = message {
        writer.text("message").text(message);
    }
}
