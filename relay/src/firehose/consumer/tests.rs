use super::*;

#[test]
fn a_consumer_starts_where_protocol_4_says() {
    let cases = [
        ("without cursor", None, 5, 9, Start::Live),
        ("last seq", Some(9), 5, 9, Start::After(9)),
        ("ahead", Some(10), 5, 9, Start::Future),
        ("in the window", Some(7), 5, 9, Start::After(7)),
        ("just before the window: nothing is missing", Some(4), 5, 9, Start::After(4)),
        ("before the window", Some(3), 5, 9, Start::Outdated),
        ("zero: the whole window, no info", Some(0), 5, 9, Start::After(0)),
        ("empty log", Some(0), 1, 0, Start::After(0)),
        ("empty log, ahead", Some(1), 1, 0, Start::Future),
        ("empty log that starts high", Some(7), 1000, 999, Start::Outdated),
        ("greatest", Some(u64::MAX), 5, 9, Start::Future),
    ];
    for (name, cursor, first, last, expected) in cases {
        assert_eq!(Start::new(cursor, first, last), expected, "{name}");
    }
}
