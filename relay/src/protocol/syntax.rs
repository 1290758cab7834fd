//! Syntax of the names in the protocol: what is well-formed, not what exists.

/// Longest DID that is accepted, in bytes.
const DID_BYTES_MAX: usize = 2048;
/// Longest NSID, in bytes: a domain name of 253, a dot and a name of 63.
const NSID_BYTES_MAX: usize = 317;
/// Longest record key, in bytes.
const RECORD_KEY_BYTES_MAX: usize = 512;
/// Longest DNS name, in bytes (RFC 1035).
const DOMAIN_BYTES_MAX: usize = 253;
/// Longest label of a DNS name and longest last segment of an NSID, in bytes.
const LABEL_BYTES_MAX: usize = 63;

/// Whether `text` is a DID of any method: `did:method:identifier`.
pub fn is_did(text: &str) -> bool {
    let Some((method, identifier)) = text.strip_prefix("did:").and_then(|rest| rest.split_once(':')) else {
        return false;
    };
    let is_identifier_byte = |byte: u8| byte.is_ascii_alphanumeric() || b"._:%-".contains(&byte);
    text.len() <= DID_BYTES_MAX
        && !method.is_empty()
        && method.bytes().all(|byte| byte.is_ascii_lowercase())
        && identifier.bytes().all(is_identifier_byte)
        && !matches!(identifier.as_bytes().last(), None | Some(b':' | b'%'))
}

/// Whether `text` is an NSID, the name of a collection: `com.example.fooBar`.
pub fn is_nsid(text: &str) -> bool {
    let Some((authority, name)) = text.rsplit_once('.') else { return false };
    text.len() <= NSID_BYTES_MAX
        && authority.contains('.')
        && authority.split('.').all(is_label)
        && starts_with_letter(authority)
        && (1..=LABEL_BYTES_MAX).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric())
        && starts_with_letter(name)
}

/// Whether `text` is a record key.
pub fn is_record_key(text: &str) -> bool {
    let is_key_byte = |byte: u8| byte.is_ascii_alphanumeric() || b"_~.:-".contains(&byte);
    (1..=RECORD_KEY_BYTES_MAX).contains(&text.len()) && text.bytes().all(is_key_byte) && text != "." && text != ".."
}

/// Splits the path of a record, `collection/rkey`, when both are well-formed (protocol 24).
pub fn check_path(path: &str) -> Option<(&str, &str)> {
    path.split_once('/').filter(|(collection, record_key)| is_nsid(collection) && is_record_key(record_key))
}

/// Whether `text` is a handle: a DNS name of at least two labels whose last does not start with a digit, so that no
/// IPv4 address is one.
pub fn is_handle(text: &str) -> bool {
    text.len() <= DOMAIN_BYTES_MAX
        && text.split('.').all(is_label)
        && text.rsplit_once('.').is_some_and(|(_, last)| starts_with_letter(last))
}

/// Longest datetime, in bytes.
const DATETIME_BYTES_MAX: usize = 64;
/// Most digits of a fraction of a second.
const FRACTION_DIGITS_MAX: usize = 20;

/// Whether `text` is a datetime: what RFC 3339 and ISO 8601 have in common, with a time zone, and no time before year 0.
pub fn is_datetime(text: &str) -> bool {
    text.len() <= DATETIME_BYTES_MAX && read_datetime(text.as_bytes()).is_some()
}

fn read_datetime(text: &[u8]) -> Option<()> {
    let (date_time, rest) = text.split_first_chunk::<19>()?;
    let number = |from: usize, to: usize| digits(&date_time[from..to]);
    let [year, month, day] = [number(0, 4)?, number(5, 7)?, number(8, 10)?];
    let [hour, minute, second] = [number(11, 13)?, number(14, 16)?, number(17, 19)?];
    let is_punctuated =
        [(4, b'-'), (7, b'-'), (10, b'T'), (13, b':'), (16, b':')].map(|(at, byte)| date_time[at] == byte);
    let is_date = (1..=12).contains(&month) && (1..=days(year, month)).contains(&day);
    let is_time = hour < 24 && minute < 60 && second < 60;
    let offset = read_offset(skip_fraction(rest)?)?;
    let is_before_year_0 = (year, month, day) == (0, 1, 1) && hour * 60 + minute < offset;
    (is_punctuated == [true; 5] && is_date && is_time && !is_before_year_0).then_some(())
}

/// What follows the fraction of a second, if there is one.
fn skip_fraction(text: &[u8]) -> Option<&[u8]> {
    let Some(fraction) = text.strip_prefix(b".") else { return Some(text) };
    let length = fraction.iter().take_while(|byte| byte.is_ascii_digit()).count();
    (1..=FRACTION_DIGITS_MAX).contains(&length).then(|| &fraction[length..])
}

/// By how many minutes a time zone is ahead of UTC.
fn read_offset(text: &[u8]) -> Option<i32> {
    match *text {
        [b'Z'] => Some(0),
        [sign @ (b'+' | b'-'), h1, h2, b':', m1, m2] => {
            let (hours, minutes) = (digits(&[h1, h2])?, digits(&[m1, m2])?);
            let offset = hours * 60 + minutes;
            match sign {
                _ if hours >= 24 || minutes >= 60 => None,
                b'+' => Some(offset),
                // ISO 8601 has no negative zero.
                _ => (offset > 0).then_some(-offset),
            }
        }
        _ => None,
    }
}

fn digits(text: &[u8]) -> Option<i32> {
    let digit = |number: i32, byte: &u8| byte.is_ascii_digit().then(|| number * 10 + i32::from(byte - b'0'));
    text.iter().try_fold(0, digit)
}

fn days(year: i32, month: i32) -> i32 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

fn is_label(label: &str) -> bool {
    (1..=LABEL_BYTES_MAX).contains(&label.len())
        && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        && !label.starts_with('-')
        && !label.ends_with('-')
}

fn starts_with_letter(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_alphabetic())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Protocol 2.
    #[test]
    fn datetimes_are_of_days_that_exist() {
        let cases = [
            ("2024-02-29T23:59:59Z", true),
            ("2023-02-29T23:59:59Z", false),
            ("2000-02-29T00:00:00Z", true),
            ("1900-02-29T00:00:00Z", false),
            ("2024-04-31T00:00:00Z", false),
            ("0000-01-01T01:00:00+01:00", true),
            ("0000-01-01T00:59:00+01:00", false),
            ("2024-01-01T00:00:00+24:00", false),
            ("2024-01-01T00:00:00.123456789012345678901Z", false),
            ("2024-01-01T00:00:0é", false),
            ("", false),
        ];
        for (text, expected) in cases {
            assert_eq!(is_datetime(text), expected, "{text:?}");
        }
    }

    /// Protocol 24.
    #[test]
    fn paths_have_two_well_formed_parts() {
        assert_eq!(check_path("com.example.post/3jzfcijpj2z2a"), Some(("com.example.post", "3jzfcijpj2z2a")));
        let cases = [
            ("com.example.post", "no record key"),
            ("com.example.post/", "empty record key"),
            ("com.example.post/.", "reserved record key"),
            ("com.example.post/..", "reserved record key"),
            ("com.example.post/a/b", "three parts"),
            ("/com.example.post/a", "leading slash"),
            ("example.post/a", "NSID of two segments"),
            ("com.example.post/a b", "space"),
        ];
        for (path, what) in cases {
            assert_eq!(check_path(path), None, "{what}: {path:?}");
        }
        assert_eq!(check_path(&format!("com.example.post/{}", "a".repeat(513))), None, "record key of 513 bytes");
    }
}
