//! Any bytes as a message; an event stays what it was when it gets another seq.

#![no_main]

use libfuzzer_sys::fuzz_target;
use relay::protocol::frame::{Frame, Peek, SEQ_END, decode, peek, with_seq};

const NEW_SEQ: u64 = SEQ_END - 1;

fuzz_target!(|data: &[u8]| {
    let peeked = peek(data);
    let Ok(frame) = decode(data) else { return };
    let seq_span = match &frame {
        Frame::Commit(frame) => frame.seq_span.clone(),
        Frame::Sync(frame) => frame.seq_span.clone(),
        Frame::Identity(frame) => frame.seq_span.clone(),
        Frame::Account(frame) => frame.seq_span.clone(),
        Frame::Info { .. } | Frame::Error { .. } | Frame::Unknown => return,
    };
    let Ok(Peek::Event { kind, did, .. }) = peeked else { panic!("decode takes what peek does not") };
    let mut spliced = Vec::new();
    with_seq(data, seq_span, NEW_SEQ, &mut spliced);
    decode(&spliced).expect("an event stays an event");
    assert_eq!(peek(&spliced), Ok(Peek::Event { kind, seq: NEW_SEQ, did }));
});
