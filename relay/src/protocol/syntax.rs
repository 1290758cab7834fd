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
