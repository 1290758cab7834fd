#![allow(clippy::unwrap_used)]

use super::*;
use proptest::prelude::*;

const SHA_512_PREFIX: [u8; 4] = [0x01, 0x71, 0x13, 0x40];

fn car(root: &Cid, blocks: &[&[u8]]) -> Vec<u8> {
    let cids: Vec<Cid> = blocks.iter().map(|block| Cid::of(block)).collect();
    let mut bytes = Vec::new();
    encode(root, cids.iter().zip(blocks.iter().copied()), &mut bytes);
    bytes
}

fn framed(parts: &[&[u8]]) -> Vec<u8> {
    let mut bytes = Vec::new();
    write_varint(parts.concat().len(), &mut bytes);
    [bytes, parts.concat()].concat()
}

/// Protocol 21.
#[test]
fn blocks_are_found_in_any_order_and_number() {
    let (a, b) = (&b"\xa0"[..], &b"\x80"[..]);
    let raw = Cid::of(b"blob");
    let bytes = [car(&Cid::of(a), &[b, a, b]), framed(&[&RAW_PREFIX, raw.digest(), b"blob"])].concat();
    let car = Car::parse(&bytes).unwrap();
    assert_eq!(*car.root(), Cid::of(a));
    assert_eq!([car.get(&Cid::of(a)), car.get(&Cid::of(b))], [Some(a), Some(b)]);
    assert_eq!(car.get(&raw), None, "a block of raw bytes is no node or record");
}

/// Protocol 21.
#[test]
fn malformed_files_are_refused() {
    let root = Cid::of(b"\xa0");
    let empty = car(&root, &[]);
    let at = empty.len();
    let after_header = |section: &[u8]| [&empty, section].concat();
    let broken = |place: usize| {
        let mut bytes = car(&root, &[b"\xa0"]);
        bytes[place] ^= 1;
        bytes
    };
    let large = vec![0; BLOCK_BYTES_MAX + 1];
    let cases = [
        (vec![], CarError::NoRoot, "empty file"),
        (framed(&[b"\xa2\x65roots\x80\x67version\x01"]), CarError::NoRoot, "no root"),
        (framed(&[b"\xa1\x67version\x02"]), CarError::Version, "version 2"),
        (vec![0x3a, 0xa2], CarError::Framing { at: 0 }, "header cut"),
        (vec![0xff; 10], CarError::Framing { at: 0 }, "endless length"),
        (after_header(&[0x80, 0x00]), CarError::Framing { at }, "length not in its shortest form"),
        (after_header(&[0x25, 0x01]), CarError::Framing { at }, "section cut"),
        (after_header(&framed(&[b"\x01"])), CarError::Cid { at }, "section without a CID"),
        (after_header(&framed(&[])), CarError::Cid { at }, "empty section"),
        (after_header(&framed(&[&SHA_512_PREFIX, &[0; 64]])), CarError::Cid { at }, "SHA-512"),
        (after_header(&framed(&[&RAW_PREFIX, &[0; 32], b"blob"])), CarError::Hash { at }, "changed raw block"),
        (broken(at + 1 + 36), CarError::Hash { at }, "changed block"),
        (broken(at + 1 + 35), CarError::Hash { at }, "changed CID"),
        (car(&root, &[&large]), CarError::BlockTooLarge { at }, "large block"),
    ];
    for (bytes, error, what) in cases {
        assert_eq!(Car::parse(&bytes).map(|car| car.blocks.len()), Err(error), "{what}");
    }
    let claim = framed(&[b"\xa2\x65roots\x9b\x10\0\0\0\0\0\0\0\x67version\x01"]);
    assert!(matches!(Car::parse(&claim), Err(CarError::Header(_))), "header that claims 2^60 roots");
}

proptest! {
    #[test]
    fn blocks_come_back(blocks in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..20)) {
        let slices: Vec<&[u8]> = blocks.iter().map(Vec::as_slice).collect();
        let bytes = car(&Cid::of(b""), &slices);
        let car = Car::parse(&bytes).unwrap();
        for block in slices {
            prop_assert_eq!(car.get(&Cid::of(block)), Some(block));
        }
    }

    /// Protocol 21.
    #[test]
    fn any_changed_bit_is_noticed(bit in 0..8usize, place in any::<prop::sample::Index>()) {
        let mut bytes = car(&Cid::of(b"\xa0"), &[b"\xa0", b"\x80"]);
        let place = place.index(bytes.len());
        bytes[place] ^= 1 << bit;
        let root = Car::parse(&bytes).map(|car| *car.root());
        prop_assert_ne!(root, Ok(Cid::of(b"\xa0")));
    }

    #[test]
    fn any_bytes_are_read_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = Car::parse(&bytes);
    }
}
