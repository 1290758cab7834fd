use super::*;
use proptest::prelude::*;

#[test]
fn values_of_the_data_model_are_valid() {
    let cases: [(&[u8], &str); 10] = [
        (b"\xa0", "empty map"),
        (b"\xa2\x61b\x01\x62aa\x02", "short keys before long ones"),
        (b"\x83\x01\x20\xf6", "array of 1, -1, null"),
        (b"\x1b\x7f\xff\xff\xff\xff\xff\xff\xff", "largest integer"),
        (b"\x3b\x7f\xff\xff\xff\xff\xff\xff\xff", "smallest integer"),
        (b"\x18\x18", "24"),
        (b"\x65hello", "text"),
        (b"\x43\x00\xff\x80", "bytes"),
        (b"\xd8\x2a\x45\x00\x01\x55\x00\x00", "link to an identity CID"),
        (b"\xf5", "true"),
    ];
    for (bytes, what) in cases {
        assert_eq!(validate(bytes), Ok(()), "{what}");
    }
}

/// Protocol 31.
#[test]
fn other_encodings_are_refused() {
    let cases: [(&[u8], Problem, &str); 24] = [
        (b"", Problem::Truncated, "nothing"),
        (b"\x18\x17", Problem::NotShortest, "23 in two bytes"),
        (b"\x19\x00\xff", Problem::NotShortest, "255 in three bytes"),
        (b"\x1a\x00\x00\xff\xff", Problem::NotShortest, "65535 in five bytes"),
        (b"\x1b\x00\x00\x00\x00\xff\xff\xff\xff", Problem::NotShortest, "2^32-1 in nine bytes"),
        (b"\x1b\x80\x00\x00\x00\x00\x00\x00\x00", Problem::Integer, "2^63"),
        (b"\x3b\x80\x00\x00\x00\x00\x00\x00\x00", Problem::Integer, "-2^63-1"),
        (b"\x78\x01a", Problem::NotShortest, "length 1 in two bytes"),
        (b"\xfb\x3f\xf0\x00\x00\x00\x00\x00\x00", Problem::Float, "double"),
        (b"\xfa\x3f\x80\x00\x00", Problem::Float, "float"),
        (b"\xf9\x3c\x00", Problem::Float, "half"),
        (b"\xf7", Problem::Type, "undefined"),
        (b"\xe0", Problem::Type, "simple value"),
        (b"\x9f\xff", Problem::Indefinite, "indefinite array"),
        (b"\x7f\xff", Problem::Indefinite, "indefinite text"),
        (b"\xa2\x61b\x01\x61a\x02", Problem::KeyOrder, "keys out of order"),
        (b"\xa2\x61a\x01\x61a\x02", Problem::KeyOrder, "key twice"),
        (b"\xa1\x01\x01", Problem::Type, "integer key"),
        (b"\xc0\x60", Problem::Type, "date tag"),
        (b"\xd8\x2a\x42\x01\x71", Problem::Link, "link without the multibase code"),
        (b"\x62\xc3\x28", Problem::Utf8, "broken UTF-8"),
        (b"\x5b\x10\x00\x00\x00\x00\x00\x00\x00", Problem::Truncated, "claim of 2^60 bytes"),
        (b"\x9b\x10\x00\x00\x00\x00\x00\x00\x00", Problem::Truncated, "claim of 2^60 values"),
        (b"\x01\x01", Problem::Trailing, "two values"),
    ];
    for (bytes, problem, what) in cases {
        assert_eq!(validate(bytes).map_err(|error| error.problem), Err(problem), "{what}");
    }
}

/// Protocol 31.
#[test]
fn depth_is_bounded() {
    let nested = |levels: usize| [vec![0x81; levels], vec![0x01]].concat();
    assert_eq!(validate(&nested(DEPTH_MAX)), Ok(()));
    let error = validate(&nested(DEPTH_MAX + 1)).expect_err("one level too many");
    assert_eq!((error.at, error.problem), (DEPTH_MAX, Problem::Depth));
    assert!(validate(&vec![0x81; 1_000_000]).is_err(), "a million levels");
}

proptest! {
    #[test]
    fn integers_are_written_in_their_one_form(value in any::<u64>(), shift in 0..64u32) {
        let value = value >> shift;
        let mut bytes = Vec::new();
        Writer::new(&mut bytes).uint(value);
        let mut reader = Reader::new(&bytes);
        prop_assert_eq!((reader.uint(), reader.finish()), (Ok(value), Ok(())));
    }

    #[test]
    fn any_bytes_are_read_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = validate(&bytes);
    }
}
