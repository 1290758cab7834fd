//! Random lives of a log, against a list of what it has confirmed.

use std::fs::File;
use std::io::Write;
use std::sync::Arc;

use proptest::prelude::*;
use proptest::test_runner::TestCaseError;

use super::*;

/// What may happen to a log.
#[derive(Debug, Clone)]
enum Step {
    /// Events of these sizes, in bytes.
    Append(Vec<usize>),
    Commit,
    Close,
    /// The process dies while it commits: this share (of 255) of the pending bytes reaches the file.
    Kill(u8),
    /// The machine dies: this share (of 255) of a segment that was never synced is lost.
    PowerLoss(u8),
    Retain(u64),
    /// The sealed segments are compressed.
    Pack,
    /// The process dies while it compresses: this share (of 255) of the new file is written, or it has its name
    /// already, or the plain one is only not removed yet.
    KillPacking(u8, Moment),
    Read {
        after: u64,
        max_bytes: usize,
    },
}

/// How far a compression has come.
#[derive(Debug, Clone, Copy)]
enum Moment {
    Writing,
    Named,
    Placed,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => prop::collection::vec(0_usize..300, 1..6).prop_map(Step::Append),
        4 => Just(Step::Commit),
        1 => Just(Step::Close),
        1 => any::<u8>().prop_map(Step::Kill),
        1 => any::<u8>().prop_map(Step::PowerLoss),
        1 => (0_u64..5000).prop_map(Step::Retain),
        1 => Just(Step::Pack),
        1 => (any::<u8>(), prop_oneof![Just(Moment::Writing), Just(Moment::Named), Just(Moment::Placed)])
            .prop_map(|(share, moment)| Step::KillPacking(share, moment)),
        2 => (any::<u64>(), 0_usize..100_000).prop_map(|(after, max_bytes)| Step::Read { after, max_bytes }),
    ]
}

/// A log and what is known of it.
struct Life {
    options: Options,
    /// None while it is opened again.
    log: Option<(Log, Reader)>,
    pending: Vec<Event>,
    /// Committed, and not removed since.
    kept: Vec<Event>,
    /// Greatest seq ever committed.
    taken: u64,
}

impl Life {
    fn new(options: Options) -> Life {
        let log = Some(open(options.clone()));
        Life { options, log, pending: Vec::new(), kept: Vec::new(), taken: 0 }
    }

    fn log(&mut self) -> &mut Log {
        &mut self.log.as_mut().unwrap().0
    }

    fn reader(&self) -> Reader {
        self.log.as_ref().unwrap().1.clone()
    }

    fn apply(&mut self, step: &Step) -> Result<(), TestCaseError> {
        match step {
            Step::Append(sizes) => {
                for bytes in sizes {
                    let event = event_of_size(self.log().next_seq(), *bytes);
                    append(self.log(), &event);
                    self.pending.push(event);
                }
            }
            Step::Commit => {
                let events = self.log().commit().unwrap();
                prop_assert_eq!(&events, &self.pending, "a commit returns what was appended");
                self.confirm();
            }
            Step::Close => {
                self.confirm();
                self.log.take().unwrap().0.close().unwrap();
                self.reopen()?;
            }
            Step::Kill(share) => self.kill(*share)?,
            Step::PowerLoss(share) => self.lose_power(*share)?,
            Step::Retain(max_bytes) => {
                let retention = Retention { oldest_ms: i64::MIN, max_bytes: *max_bytes, keep_after_seq: u64::MAX };
                self.log().retain(retention).unwrap();
                let first_seq = self.reader().first_seq();
                self.kept.retain(|event| event.header.seq >= first_seq);
            }
            Step::Pack => {
                let dir = self.options.dir.clone();
                super::compress::pack_sealed(&dir, self.log());
                self.check_read(0, 0)?;
            }
            Step::KillPacking(share, moment) => self.kill_packing(*share, *moment)?,
            Step::Read { after, max_bytes } => self.check_read(after % (self.taken + 2), *max_bytes)?,
        }
        Ok(())
    }

    fn confirm(&mut self) {
        self.kept.append(&mut self.pending);
        self.taken = self.kept.last().map_or(self.taken, |event| event.header.seq);
    }

    fn kill(&mut self, share: u8) -> Result<(), TestCaseError> {
        let active = self.log().active.as_ref().map(|active| Arc::clone(&active.segment));
        self.log = None;
        if let Some(segment) = active {
            let mut records = Vec::new();
            let mut ends = Vec::new();
            for (position, event) in self.pending.iter().enumerate() {
                record::encode(&event.header, position as u32, segment.header.salt, &event.wire, &mut records);
                ends.push(records.len());
            }
            let written = records.len() * usize::from(share) / 255;
            File::options().append(true).open(segment.plain_path()).unwrap().write_all(&records[..written]).unwrap();
            // What was written whole is found again: no other event was ever seen under its seq.
            self.pending.truncate(ends.partition_point(|end| *end <= written));
            self.confirm();
        }
        self.reopen()
    }

    /// Leaves what a process leaves that dies while it compresses its oldest sealed segment.
    fn kill_packing(&mut self, share: u8, moment: Moment) -> Result<(), TestCaseError> {
        let is_plain =
            |segment: &&Arc<segment::Segment>| segment.sealed().is_some() && segment.packed_bytes().is_none();
        let oldest = self.log().shared.segments().iter().find(is_plain).cloned();
        if let Some(segment) = oldest {
            let plain = std::fs::read(segment.plain_path()).unwrap();
            let folder = File::open(&self.options.dir).unwrap();
            crate::log::compress::pack(&segment, &folder, &Default::default(), &Default::default()).unwrap();
            std::fs::write(segment.plain_path(), plain).unwrap();
            let packed = std::fs::read(segment.packed_path()).unwrap();
            let part = &packed[..packed.len() * usize::from(share) / 256];
            match moment {
                Moment::Writing => {
                    std::fs::remove_file(segment.packed_path()).unwrap();
                    std::fs::write(segment.new_path(), part).unwrap();
                }
                Moment::Named => std::fs::write(segment.packed_path(), part).unwrap(),
                Moment::Placed => {}
            }
        }
        self.log = None;
        self.reopen()
    }

    fn lose_power(&mut self, share: u8) -> Result<(), TestCaseError> {
        self.log = None;
        if self.options.durability == Durability::Os
            && let Some(last) = files(&self.options.dir).pop().filter(|last| last.exists())
        {
            let bytes = last.metadata().unwrap().len();
            let file = File::options().write(true).open(last).unwrap();
            file.set_len(bytes - bytes * u64::from(share) / 255).unwrap();
            let first_seq = segment::list(&self.options.dir).unwrap().pop().unwrap();
            let sealed = self.kept.partition_point(|event| event.header.seq < first_seq);
            self.log = Some(open(self.options.clone()));
            let survived = drain(&mut self.reader().cursor(0)).unwrap();
            prop_assert!(self.kept.starts_with(&survived), "what survives is a prefix of what was committed");
            prop_assert!(survived.len() >= sealed, "a sealed segment survives");
            self.kept = survived;
        }
        self.reopen()
    }

    fn reopen(&mut self) -> Result<(), TestCaseError> {
        self.log = None;
        self.pending.clear();
        self.log = Some(open(self.options.clone()));
        let (next_seq, taken) = (self.log().next_seq(), self.taken);
        prop_assert!(next_seq > taken, "seq {} would come again, {} was committed", next_seq, taken);
        if self.options.durability == Durability::Sync {
            prop_assert_eq!(next_seq, taken + 1, "with sync there is no gap");
        }
        self.check_read(0, 0)
    }

    fn check_read(&self, after: u64, max_bytes: usize) -> Result<(), TestCaseError> {
        let mut cursor = self.reader().cursor(after);
        let mut read = Vec::new();
        let mut before = 1;
        while read.len() != before {
            before = read.len();
            cursor.read(max_bytes, &mut read).unwrap();
        }
        let from = self.kept.partition_point(|event| event.header.seq <= after);
        prop_assert_eq!(&read, &self.kept[from..], "a cursor at {} gives exactly what follows", after);
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn a_compressed_segment_gives_the_same_events_from_any_cursor(
        sizes in prop::collection::vec(prop_oneof![0_usize..2000, 0_usize..300_000], 1..60),
        cursors in prop::collection::vec((any::<prop::sample::Index>(), 0_usize..2_000_000), 1..10),
    ) {
        let dir = folder();
        let (mut log, reader) = open(Options { segment_bytes: 1 << 20, ..Options::new(dir.path()) });
        let events: Vec<Event> = (1..).zip(&sizes).map(|(seq, bytes)| event_of_size(seq, *bytes)).collect();
        for event in &events {
            append(&mut log, event);
            log.commit().unwrap();
        }
        super::compress::pack_sealed(dir.path(), &log);
        for (after, max_bytes) in cursors {
            let after = after.index(events.len() + 1);
            let mut cursor = reader.cursor(after as u64);
            let mut read = Vec::new();
            let mut before = 1;
            while read.len() != before {
                before = read.len();
                cursor.read(max_bytes, &mut read).unwrap();
            }
            prop_assert_eq!(&read, &events[after..], "a cursor at {} gives exactly what follows", after);
        }
    }
}

proptest! {
    #[test]
    fn whatever_happens_committed_events_stay_and_no_seq_comes_twice(
        steps in prop::collection::vec(step(), 1..60),
        segment_bytes in 100_u64..3000,
        durability in prop_oneof![Just(Durability::Sync), Just(Durability::Os)],
    ) {
        let dir = folder();
        let mut life = Life::new(Options { segment_bytes, durability, ..Options::new(dir.path()) });
        for step in &steps {
            life.apply(step)?;
        }
        life.reopen()?;
    }

    #[test]
    fn a_record_is_read_as_it_was_written_and_no_flipped_bit_goes_unnoticed(
        seq in 1..=MAX_SEQ, bytes in 0_usize..200, unsynced: u32, salt: u32, flip: prop::sample::Index,
    ) {
        let event = event_of_size(seq, bytes);
        let mut encoded = Vec::new();
        record::encode(&event.header, unsynced, salt, &event.wire, &mut encoded);
        let read = record::Record::check(&encoded, salt, seq).unwrap();
        prop_assert_eq!((read.header, read.unsynced, read.len()), (event.header, unsynced, encoded.len()));
        let bit = flip.index(encoded.len() * 8);
        encoded[bit / 8] ^= 1 << (bit % 8);
        prop_assert!(record::Record::check(&encoded, salt, seq).is_err());
    }
}
