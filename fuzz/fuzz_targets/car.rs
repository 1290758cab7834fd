//! Any bytes as a CAR; one that is taken can be written and read again.

#![no_main]

use libfuzzer_sys::fuzz_target;
use relay::protocol::car::{Car, encode};

fuzz_target!(|data: &[u8]| {
    let Ok(car) = Car::parse(data) else { return };
    let mut encoded = Vec::new();
    encode(car.root(), car.iter(), &mut encoded);
    let again = Car::parse(&encoded).expect("what was read can be read again");
    assert_eq!(again.root(), car.root());
    assert!(again.iter().eq(car.iter()));
});
