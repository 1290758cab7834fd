//! The tokens, and the file that they may be changed in while the relay runs.

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use sha2::{Digest, Sha256};

use super::tries::Tries;

/// The token file is looked at this often.
const FILE_INTERVAL: Duration = Duration::from_secs(2);
/// Who holds a token without a name.
const UNNAMED: &str = "admin";

/// A token as its hash: a comparison then takes the same time whatever the length and content of what is offered.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Token {
    hash: [u8; 32],
    name: Arc<str>,
}

/// The tokens of the admin API: several make a rotation possible, none closes it.
#[derive(Debug)]
pub struct Tokens {
    file: Option<PathBuf>,
    fixed: Vec<Token>,
    from_file: RwLock<Vec<Token>>,
    pub(super) tries: Tries,
}

impl Token {
    fn new(token: &str, name: &str) -> Token {
        Token { hash: Sha256::digest(token).into(), name: name.into() }
    }
}

impl Tokens {
    /// The token that was set, and those of the file: one on each line, with the name of its holder behind it if it has
    /// one.
    pub fn new(token: Option<&str>, file: Option<PathBuf>) -> Tokens {
        let fixed = token.into_iter().filter(|token| !token.is_empty()).map(|token| Token::new(token, UNNAMED));
        let tokens = Tokens { file, fixed: fixed.collect(), from_file: RwLock::default(), tries: Tries::default() };
        tokens.warn_of(&tokens.read_file());
        tokens
    }

    /// Follows changes of the file, for as long as the relay runs. One that cannot be read changes nothing.
    pub async fn follow_file(&self) {
        if self.file.is_none() {
            return;
        }
        let mut was_readable = true;
        loop {
            tokio::time::sleep(FILE_INTERVAL).await;
            // Some bytes from the page cache: no work for another thread.
            let read = self.read_file();
            if was_readable {
                self.warn_of(&read);
            }
            was_readable = read.is_ok();
            if let Ok(true) = read {
                tracing::info!("the admin tokens have changed");
            }
        }
    }

    fn warn_of(&self, read: &io::Result<bool>) {
        if let (Err(error), Some(path)) = (read, &self.file) {
            tracing::warn!(path = %path.display(), %error, "admin-token-file cannot be read; its last tokens stay");
        }
    }

    /// Reads the file; says whether something has changed.
    fn read_file(&self) -> io::Result<bool> {
        let Some(path) = &self.file else { return Ok(false) };
        let tokens = parse(&std::fs::read_to_string(path)?);
        let mut current = self.from_file.write().unwrap_or_else(PoisonError::into_inner);
        let changed = *current != tokens;
        *current = tokens;
        Ok(changed)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.fixed.is_empty() && self.from_file.read().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    /// Name of the token that was offered, if it is one of ours.
    pub(super) fn holder(&self, offered: &[u8]) -> Option<Arc<str>> {
        let offered: [u8; 32] = Sha256::digest(offered).into();
        let from_file = self.from_file.read().unwrap_or_else(PoisonError::into_inner);
        let mut tokens = self.fixed.iter().chain(from_file.iter());
        let token = tokens.find(|token| verify_slices_are_equal(&token.hash, &offered).is_ok())?;
        Some(Arc::clone(&token.name))
    }
}

/// Lines of `TOKEN` or `TOKEN NAME`, the order that SSH's authorized_keys has; a token in a header has no space in it.
fn parse(text: &str) -> Vec<Token> {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let token = |line: &str| match line.split_once(char::is_whitespace) {
        Some((token, name)) => Token::new(token, name.trim()),
        None => Token::new(line, UNNAMED),
    };
    lines.map(token).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_file_holds_a_token_on_each_line_and_perhaps_its_holder() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("tokens");
        std::fs::write(&path, "new  Ada Lovelace\n\n old== \n").expect("a file");
        let tokens = Tokens::new(Some("flag"), Some(path.clone()));
        let holder = |token: &str| tokens.holder(token.as_bytes()).map(|name| name.to_string());
        assert_eq!(holder("new").as_deref(), Some("Ada Lovelace"));
        assert_eq!(holder("old==").as_deref(), Some("admin"));
        assert_eq!(holder("flag").as_deref(), Some("admin"));
        assert_eq!(holder("Lovelace"), None);
        assert_eq!(holder(""), None);

        std::fs::write(&path, "newer\n").expect("a file");
        assert!(tokens.read_file().expect("a file"), "it has changed");
        assert_eq!((holder("new"), holder("newer").as_deref()), (None, Some("admin")));
        assert!(!tokens.read_file().expect("a file"), "it has not");

        std::fs::remove_file(&path).expect("a file");
        assert!(tokens.read_file().is_err());
        assert!(holder("newer").is_some(), "a file that is not there takes no token away");
    }

    #[test]
    fn no_token_at_all_closes_the_api() {
        assert!(Tokens::new(None, None).is_empty());
        assert!(Tokens::new(Some(""), None).is_empty(), "an empty token is none");
        assert!(!Tokens::new(Some("token"), None).is_empty());
    }
}
