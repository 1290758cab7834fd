//! Names of collections in text that was written for people: `llms.txt` and other Markdown, plain lists.

use std::collections::BTreeSet;
use std::ops::Bound;

use crate::protocol::nsid::Nsid;

/// Names that are taken from one text; there are some thousand in the network.
pub(super) const NAMES_MAX: usize = 50_000;
/// Ends of domain names that are not the last word of an NSID, but for those that begin like one.
const DOMAIN_ENDS: [&str; 18] = [
    "ai", "app", "blue", "club", "co", "com", "dev", "edu", "eu", "gov", "io", "me", "net", "network", "org", "social",
    "uk", "us",
];
/// Ends of domain names that are no collection's last word at all.
const DOMAIN_ENDS_ALWAYS: [&str; 3] = ["com", "net", "org"];
/// Ends of file names.
const FILE_ENDS: [&str; 18] = [
    "css", "gif", "gz", "htm", "html", "jpeg", "jpg", "js", "json", "md", "pdf", "png", "svg", "toml", "txt", "xml",
    "yaml", "yml",
];
/// What a word ends at: quotes and brackets of Markdown, HTML and JSON.
const BREAKS: &[char] = &['<', '>', '"', '\'', '`', '(', ')', '[', ']', '{', '}', '|', ',', ';'];

/// The collections that a text names.
///
/// In Markdown, as in the `llms.txt` of lexicon garden, names are found in code, in links and the paths of their URLs, in
/// tables, headings of the second level and below, and sentences. In a plain text there is one on each line, and lines
/// that begin with `#` are comments.
///
/// Not every name with dots is an NSID: hosts of URLs, handles, files, wildcards such as `com.example.*` and namespaces
/// of other names in the text are left out. A domain name in a sentence may look exactly like an NSID; where that cannot
/// be decided it is taken, since asking for a collection that nobody has costs a request, and missing one costs all its
/// accounts.
pub fn nsids(text: &str) -> BTreeSet<Nsid> {
    let mut found = BTreeSet::new();
    let mut listed = BTreeSet::new();
    for line in text.lines() {
        let line = line.trim();
        if line.starts_with('#') && !line.starts_with("##") {
            continue;
        }
        for name in names(line) {
            if found.len() >= NAMES_MAX {
                break;
            }
            if line.trim_start_matches(['-', '*', '+', ' ', '`']).trim_end_matches('`') == name.as_str() {
                listed.insert(name.clone());
            }
            found.insert(name);
        }
    }
    let is_namespace = |name: &Nsid| {
        let prefix = format!("{name}.");
        found
            .range::<str, _>((Bound::Included(prefix.as_str()), Bound::Unbounded))
            .next()
            .is_some_and(|next| next.as_str().starts_with(&prefix))
    };
    found.iter().filter(|name| listed.contains(*name) || !is_namespace(name)).cloned().collect()
}

/// The names on a line.
fn names(line: &str) -> impl Iterator<Item = Nsid> {
    let is_part = |char: char| char.is_ascii_alphanumeric() || char == '.' || char == '-';
    let mut at = 0;
    std::iter::from_fn(move || {
        let start = at + line[at..].find(is_part)?;
        let end = line[start..].find(|char| !is_part(char)).map_or(line.len(), |length| start + length);
        at = end;
        Some((start, end))
    })
    .filter_map(|(start, end)| {
        let (before, run, after) = (&line[..start], &line[start..end], &line[end..]);
        if is_elsewhere(before, after) {
            return None;
        }
        let text = match run.strip_suffix('.') {
            // The end of a sentence, not the begin of a wildcard.
            Some(text) if !after.starts_with(['*', '<', '{', '[', '$']) => text,
            Some(_) => return None,
            None => run,
        };
        Nsid::parse(text).ok().filter(is_collection)
    })
}

/// Whether what is between is part of something that is no NSID: a host, a handle, a DID, code.
fn is_elsewhere(before: &str, after: &str) -> bool {
    let word = before.rsplit(|char: char| char.is_whitespace() || BREAKS.contains(&char)).next().unwrap_or_default();
    let is_port = |rest: &str| rest.starts_with(|char: char| char.is_ascii_digit());
    word.ends_with("//")
        || word.ends_with("did:web:")
        || before.ends_with(['@', '_', '%', '\\', '$', '~'])
        || after.starts_with(['@', '_', '%', '\\', '#', '('])
        || after.starts_with("://")
        || after.strip_prefix(':').is_some_and(is_port)
}

/// Whether an NSID is one that a collection may have: it begins with a top-level domain and does not end like another
/// kind of name.
fn is_collection(name: &Nsid) -> bool {
    let Some((authority, last)) = name.as_str().rsplit_once('.') else { return false };
    let first = authority.split('.').next().unwrap_or_default();
    let is_top_level =
        first.len() >= 2 && first.bytes().all(|byte| byte.is_ascii_lowercase()) || first.starts_with("xn--");
    let begins_like_nsid = first.len() == 2 || DOMAIN_ENDS.contains(&first);
    let is_domain =
        DOMAIN_ENDS_ALWAYS.contains(&last) || first == "www" || DOMAIN_ENDS.contains(&last) && !begins_like_nsid;
    let is_lowercase = !authority.bytes().any(|byte| byte.is_ascii_uppercase());
    is_lowercase && is_top_level && !is_domain && !FILE_ENDS.contains(&last)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::*;

    fn found(text: &str) -> Vec<String> {
        nsids(text).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn names_are_found_in_an_llms_txt() {
        let text = "\
# Lexicon Garden, see com.example.titleOnly

> Discover the schemas of the AT Protocol. Docs are at docs.example.com and https://www.lexicon.garden/index.html.

## Lexicons

- [app.bsky.feed.post](https://lexicon.garden/lexicon/did:plc:4v4y5r3lwsbtmsxhile2ljac/app.bsky.feed.post): A post.
- [`games.gamesgamesgamesgames.actor.stats`](https://lexicon.garden/lexicon/did:web:gamesgamesgamesgames.games/games.gamesgamesgamesgames.actor.stats/docs)
- [Session](https://lexicon.garden/lexicon/did:plc:mqmcsjuerbjhu65mpmvkcuw2/run.tiles.chat.sessionSnapshot)
- **community.lexicon.calendar.event** by [a person](https://bsky.app/profile/somebody.bsky.social)

### fm.plyr.track

| name | used by |
|---|---|
| cx.vmx.matadisco | NIIIFTY, since v1.2.3 |

It is in `sh.tangled.repo`. Ask me@mail.example.social, or @handle.bsky.social.
";
        let expected = [
            "app.bsky.feed.post",
            "community.lexicon.calendar.event",
            "cx.vmx.matadisco",
            "fm.plyr.track",
            "games.gamesgamesgamesgames.actor.stats",
            "run.tiles.chat.sessionSnapshot",
            "sh.tangled.repo",
        ];
        assert_eq!(found(text), expected);
    }

    #[test]
    fn names_are_found_in_a_plain_list() {
        let text = "# com.example.comment\ncom.example.one\r\n  com.example.two  \n\n#com.example.three\ncom.example\n\
                    com.example.one\ncom.example.one.more";
        assert_eq!(found(text), ["com.example.one", "com.example.one.more", "com.example.two"]);
    }

    #[test]
    fn what_is_no_name_of_a_collection_is_left_out() {
        let texts = [
            "example.com. And index.html, e.g. this; 1.2.3, v1.2.x, 127.0.0.1",
            "https://docs.example.dev/path/to.some.json?url=docs.example.com",
            "http://app.bsky.feed.post:80/",
            "see www.example.blue or api.docs.example.org",
            "did:web:com.example.app",
            "`app.bsky.feed.*`, `app.bsky.feed.<name>`, app.bsky.feed.{post,like}, app.bsky.feed.…",
            "app.bsky.feed.defs#postView",
            "com.example.app://callback",
            "this.is.code() Foo.Bar.baz com.example.method(x)",
            "_lexicon.feed.bsky.app com.example.snake_case first.last.name@example.com",
            "com.example.app:8080",
            "lexicons/app.bsky.feed.post.json",
            "a.b.c",
            "com..example.post .com.example.post -com.example.post",
        ];
        for text in texts {
            let found = found(text);
            let is_ellipsis = found == ["app.bsky.feed"];
            assert!(found.is_empty() || is_ellipsis && text.contains('…'), "{text}: {found:?}");
        }
    }

    #[test]
    fn names_are_found_wherever_they_stand() {
        let texts = [
            "com.example.post",
            "* com.example.post",
            "It is com.example.post.",
            "(com.example.post)",
            "\"id\": \"com.example.post\",",
            "<a href=\"/lexicon/com.example.post\">",
            "at://did:plc:4v4y5r3lwsbtmsxhile2ljac/com.example.post/3k2a",
            "https://relay.example.com/xrpc/x?collection=com.example.post&limit=1",
            "repo:com.example.post",
            "*com.example.post*: posts",
            "com.example.post, com.example.post; com.example.post: ü",
        ];
        for text in texts {
            assert_eq!(found(text), ["com.example.post"], "{text}");
        }
        assert_eq!(
            found("dev.example.app io.example.me com.example.co"),
            ["com.example.co", "dev.example.app", "io.example.me"]
        );
    }

    #[test]
    fn a_namespace_is_no_name_unless_it_is_listed() {
        assert_eq!(found("In `app.bsky.feed` there is `app.bsky.feed.post`."), ["app.bsky.feed.post"]);
        assert_eq!(found("- `app.bsky.feed`\n- `app.bsky.feed.post`"), ["app.bsky.feed", "app.bsky.feed.post"]);
        assert_eq!(found("In app.bsky.feed, see app.bsky.feed-x.y"), ["app.bsky.feed", "app.bsky.feed-x.y"]);
    }

    #[test]
    fn no_more_names_are_taken_than_there_may_be() {
        let text: String = (0..NAMES_MAX + 10).map(|number| format!("com.example.name{number}\n")).collect();
        assert_eq!(nsids(&text).len(), NAMES_MAX);
    }

    proptest! {
        #[test]
        fn whatever_is_found_is_in_the_text(text in ".{0,200}") {
            for name in nsids(&text) {
                prop_assert!(text.contains(name.as_str()));
            }
        }

        #[test]
        fn whatever_is_found_in_what_looks_like_a_list_is_in_it(text in "([a-z.:/#*`_@\n -]|com\\.|app\\.){0,100}") {
            for name in nsids(&text) {
                prop_assert!(text.contains(name.as_str()));
            }
        }

        #[test]
        fn a_list_of_names_is_found_again(names in prop::collection::btree_set("(com|app|sh)\\.[a-z]{3,9}\\.[a-z]{2,5}[A-Z]", 0..20)) {
            let text = names.iter().cloned().collect::<Vec<_>>().join("\n");
            prop_assert_eq!(found(&text), names.into_iter().collect::<Vec<_>>());
        }
    }
}
