//! Messages as they come.

use std::ops::Range;

use super::{
    AccountFrame, Action, BLOCKS_BYTES_MAX, CommitFrame, FRAME_BYTES_MAX, Frame, FrameError, INFO_TAG, IdentityFrame,
    Kind, OPS_MAX, Peek, RepoOp, SEQ_END, SyncFrame,
};
use crate::protocol::cbor::Reader;
use crate::protocol::syntax;

const OP_MESSAGE: i64 = 1;
const OP_ERROR: i64 = -1;

pub(super) enum Header {
    Event(Kind),
    Info,
    Error,
    Unknown,
}

/// Decodes one message, bounded and without copying.
pub fn decode(frame: &[u8]) -> Result<Frame<'_>, FrameError> {
    let (header, mut payload) = read_header(frame)?;
    let decoded = match header {
        Header::Event(Kind::Commit) => Frame::Commit(read_commit(&mut payload)?),
        Header::Event(Kind::Sync) => Frame::Sync(read_sync(&mut payload)?),
        Header::Event(Kind::Identity) => Frame::Identity(read_identity(&mut payload)?),
        Header::Event(Kind::Account) => Frame::Account(read_account(&mut payload)?),
        Header::Info => {
            let (name, message) = read_named_message(&mut payload, "name")?;
            Frame::Info { name, message }
        }
        Header::Error => {
            let (error, message) = read_named_message(&mut payload, "error")?;
            Frame::Error { error, message }
        }
        Header::Unknown => return Ok(Frame::Unknown),
    };
    payload.finish()?;
    Ok(decoded)
}

/// Reads only what it takes to route a message. The rest of it may still be malformed.
pub fn peek(frame: &[u8]) -> Result<Peek<'_>, FrameError> {
    let (header, mut payload) = read_header(frame)?;
    let Header::Event(kind) = header else { return Ok(Peek::Other) };
    let did_key = if kind == Kind::Commit { "repo" } else { "did" };
    let (mut seq, mut did) = (None, None);
    payload.map(|payload, key| {
        match key {
            "seq" => seq = Some(read_seq(payload)?.0),
            _ if key == did_key => did = Some(payload.text()?),
            _ => payload.skip()?,
        }
        Ok::<_, FrameError>(())
    })?;
    Ok(Peek::Event { kind, seq: required(seq, "seq")?, did: required(did, did_key)? })
}

/// When an event was made, as its host writes it. The rest of the message may be malformed.
pub fn time(frame: &[u8]) -> Option<&str> {
    let (Header::Event(_), mut payload) = read_header(frame).ok()? else { return None };
    let mut time = None;
    let read = payload.map(|payload, key| {
        match key {
            "time" => time = Some(payload.text()?),
            _ => payload.skip()?,
        }
        Ok::<_, FrameError>(())
    });
    read.ok().and(time)
}

/// Reads the header; the reader that is returned stands at the payload.
///
/// Its keys may come in any order, since it is not passed on.
pub(super) fn read_header(frame: &[u8]) -> Result<(Header, Reader<'_>), FrameError> {
    if frame.len() > FRAME_BYTES_MAX {
        return Err(FrameError::TooLarge { bytes: frame.len() });
    }
    let mut reader = Reader::new(frame);
    let (mut op, mut tag) = (None, None);
    for _ in 0..reader.map_head()? {
        match reader.text()? {
            "op" => op = Some(reader.int()?),
            "t" => tag = Some(reader.text()?),
            _ => reader.skip()?,
        }
    }
    let header = match (required(op, "op")?, tag) {
        (OP_MESSAGE, None) => return Err(FrameError::MissingField("t")),
        (OP_MESSAGE, Some("#commit")) => Header::Event(Kind::Commit),
        (OP_MESSAGE, Some("#sync")) => Header::Event(Kind::Sync),
        (OP_MESSAGE, Some("#identity")) => Header::Event(Kind::Identity),
        (OP_MESSAGE, Some("#account")) => Header::Event(Kind::Account),
        (OP_MESSAGE, Some(INFO_TAG)) => Header::Info,
        (OP_ERROR, _) => Header::Error,
        _ => Header::Unknown,
    };
    Ok((header, reader))
}

fn read_commit<'a>(payload: &mut Reader<'a>) -> Result<CommitFrame<'a>, FrameError> {
    let mut frame = CommitFrame::default();
    let (mut seq, mut did, mut time, mut rev, mut since) = (None, None, None, None, None);
    let (mut commit, mut ops, mut blocks, mut too_big, mut rebase) = (None, None, None, None, None);
    let mut has_blobs = false;
    payload.map(|payload, key| {
        match key {
            "seq" => seq = Some(read_seq(payload)?),
            "repo" => did = Some(payload.text()?),
            "time" => time = Some(read_time(payload)?),
            "rev" => rev = Some(payload.text()?),
            "since" => since = Some(payload.nullable(Reader::text)?),
            "commit" => commit = Some(payload.cid()?),
            "prevData" => frame.prev_data = payload.nullable(Reader::cid)?,
            "ops" => ops = Some(read_ops(payload)?),
            "blocks" => blocks = Some(read_blocks(payload)?),
            "tooBig" => too_big = Some(payload.bool()?),
            "rebase" => rebase = Some(payload.bool()?),
            "blobs" => has_blobs = skip_array(payload)?,
            _ => payload.skip()?,
        }
        Ok::<_, FrameError>(())
    })?;
    (frame.seq, frame.seq_span) = required(seq, "seq")?;
    frame.did = required(did, "repo")?;
    frame.time = required(time, "time")?;
    frame.rev = required(rev, "rev")?;
    frame.since = required(since, "since")?;
    frame.commit = required(commit, "commit")?;
    frame.ops = required(ops, "ops")?;
    frame.blocks = required(blocks, "blocks")?;
    frame.too_big = required(too_big, "tooBig")?;
    frame.rebase = required(rebase, "rebase")?;
    required(has_blobs.then_some(()), "blobs")?;
    Ok(frame)
}

fn read_ops<'a>(payload: &mut Reader<'a>) -> Result<Vec<RepoOp<'a>>, FrameError> {
    let count = payload.array()?;
    let length = usize::try_from(count).ok().filter(|length| *length <= OPS_MAX);
    let mut ops = Vec::with_capacity(length.ok_or(FrameError::TooManyOps { ops: count })?);
    for _ in 0..count {
        ops.push(read_op(payload)?);
    }
    Ok(ops)
}

fn read_op<'a>(payload: &mut Reader<'a>) -> Result<RepoOp<'a>, FrameError> {
    let (mut action, mut path, mut cid, mut prev) = (None, None, None, None);
    payload.map(|payload, key| {
        match key {
            "action" => {
                action = Some(match payload.text()? {
                    "create" => Action::Create,
                    "update" => Action::Update,
                    "delete" => Action::Delete,
                    _ => return Err(FrameError::Action),
                });
            }
            "path" => path = Some(payload.text()?),
            "cid" => cid = Some(payload.nullable(Reader::cid)?),
            "prev" => prev = payload.nullable(Reader::cid)?,
            _ => payload.skip()?,
        }
        Ok(())
    })?;
    Ok(RepoOp {
        action: required(action, "ops.action")?,
        path: required(path, "ops.path")?,
        cid: required(cid, "ops.cid")?,
        prev,
    })
}

fn read_sync<'a>(payload: &mut Reader<'a>) -> Result<SyncFrame<'a>, FrameError> {
    let (mut seq, mut did, mut time, mut rev, mut blocks) = (None, None, None, None, None);
    payload.map(|payload, key| {
        match key {
            "seq" => seq = Some(read_seq(payload)?),
            "did" => did = Some(payload.text()?),
            "time" => time = Some(read_time(payload)?),
            "rev" => rev = Some(payload.text()?),
            "blocks" => blocks = Some(read_blocks(payload)?),
            _ => payload.skip()?,
        }
        Ok::<_, FrameError>(())
    })?;
    let (seq, seq_span) = required(seq, "seq")?;
    Ok(SyncFrame {
        seq,
        seq_span,
        did: required(did, "did")?,
        time: required(time, "time")?,
        rev: required(rev, "rev")?,
        blocks: required(blocks, "blocks")?,
    })
}

fn read_identity<'a>(payload: &mut Reader<'a>) -> Result<IdentityFrame<'a>, FrameError> {
    let (mut seq, mut did, mut time, mut handle) = (None, None, None, None);
    payload.map(|payload, key| {
        match key {
            "seq" => seq = Some(read_seq(payload)?),
            "did" => did = Some(payload.text()?),
            "time" => time = Some(read_time(payload)?),
            "handle" => handle = payload.nullable(Reader::text)?,
            _ => payload.skip()?,
        }
        Ok::<_, FrameError>(())
    })?;
    let (seq, seq_span) = required(seq, "seq")?;
    Ok(IdentityFrame { seq, seq_span, did: required(did, "did")?, time: required(time, "time")?, handle })
}

fn read_account<'a>(payload: &mut Reader<'a>) -> Result<AccountFrame<'a>, FrameError> {
    let (mut seq, mut did, mut time, mut active, mut status) = (None, None, None, None, None);
    payload.map(|payload, key| {
        match key {
            "seq" => seq = Some(read_seq(payload)?),
            "did" => did = Some(payload.text()?),
            "time" => time = Some(read_time(payload)?),
            "active" => active = Some(payload.bool()?),
            "status" => status = payload.nullable(Reader::text)?,
            _ => payload.skip()?,
        }
        Ok::<_, FrameError>(())
    })?;
    let (seq, seq_span) = required(seq, "seq")?;
    Ok(AccountFrame {
        seq,
        seq_span,
        did: required(did, "did")?,
        time: required(time, "time")?,
        active: required(active, "active")?,
        status,
    })
}

/// Payload of `#info` and of errors: a name under `name_key`, and a message for people.
fn read_named_message<'a>(
    payload: &mut Reader<'a>,
    name_key: &'static str,
) -> Result<(&'a str, Option<&'a str>), FrameError> {
    let (mut name, mut message) = (None, None);
    payload.map(|payload, key| {
        match key {
            "message" => message = payload.nullable(Reader::text)?,
            _ if key == name_key => name = Some(payload.text()?),
            _ => payload.skip()?,
        }
        Ok::<_, FrameError>(())
    })?;
    Ok((required(name, name_key)?, message))
}

fn read_seq(payload: &mut Reader<'_>) -> Result<(u64, Range<usize>), FrameError> {
    let start = payload.position();
    match payload.uint()? {
        seq @ 1..SEQ_END => Ok((seq, start..payload.position())),
        seq => Err(FrameError::Seq(seq)),
    }
}

fn read_time<'a>(payload: &mut Reader<'a>) -> Result<&'a str, FrameError> {
    let time = payload.text()?;
    if syntax::is_datetime(time) { Ok(time) } else { Err(FrameError::Time) }
}

fn read_blocks<'a>(payload: &mut Reader<'a>) -> Result<&'a [u8], FrameError> {
    let blocks = payload.bytes()?;
    if blocks.len() > BLOCKS_BYTES_MAX {
        return Err(FrameError::BlocksTooLarge { bytes: blocks.len() });
    }
    Ok(blocks)
}

fn skip_array(payload: &mut Reader<'_>) -> Result<bool, FrameError> {
    for _ in 0..payload.array()? {
        payload.skip()?;
    }
    Ok(true)
}

fn required<T>(field: Option<T>, name: &'static str) -> Result<T, FrameError> {
    field.ok_or(FrameError::MissingField(name))
}
