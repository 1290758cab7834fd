//! Lists of collections that others have written.

use relay::backfill::nsids;
use relay::protocol::nsid::Nsid;

/// Any text as a list of collections: what is found is in it, and is found again where it stands alone.
pub fn names(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let found = nsids(text);
    for name in &found {
        assert!(text.contains(name.as_str()), "{name} is not in the text");
        assert_eq!(Nsid::parse(name.as_str()).as_ref(), Ok(name));
    }
    let lines: String = found.iter().map(|name| format!("{name}\n")).collect();
    assert_eq!(nsids(&lines), found);
}
