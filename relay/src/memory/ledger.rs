//! The ledger: who holds how much, and how each is given its share.

use super::{Owner, Plan};

type Count = Box<dyn Fn() -> u64 + Send + Sync>;
type Resize = Box<dyn Fn(u64) + Send + Sync>;
type Follow = Box<dyn Fn(&Plan) + Send + Sync>;

/// What an owner holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Held {
    /// Who.
    pub owner: Owner,
    /// Bytes.
    pub bytes: u64,
    /// Whether they come from the allocator: then they are a part of what it has given out.
    pub is_heap: bool,
}

/// All that hold memory and say how much.
#[derive(Default)]
pub struct Ledger {
    entries: Vec<Entry>,
    followers: Vec<Follow>,
}

struct Entry {
    owner: Owner,
    is_heap: bool,
    count: Count,
    resize: Option<Resize>,
}

impl Ledger {
    /// Enters an owner that counts its heap bytes, and is bounded by something other than bytes.
    pub fn count(&mut self, owner: Owner, count: impl Fn() -> u64 + Send + Sync + 'static) {
        self.entries.push(Entry { owner, is_heap: true, count: Box::new(count), resize: None });
    }

    /// Enters an owner that counts bytes outside of the heap.
    pub fn count_outside(&mut self, owner: Owner, count: impl Fn() -> u64 + Send + Sync + 'static) {
        self.entries.push(Entry { owner, is_heap: false, count: Box::new(count), resize: None });
    }

    /// Enters an owner that counts its heap bytes and takes another share while it runs.
    pub fn bound(
        &mut self,
        owner: Owner,
        count: impl Fn() -> u64 + Send + Sync + 'static,
        resize: impl Fn(u64) + Send + Sync + 'static,
    ) {
        self.entries.push(Entry { owner, is_heap: true, count: Box::new(count), resize: Some(Box::new(resize)) });
    }

    /// Enters somebody who takes something other than a share from a plan, like a number of connections.
    pub fn follow(&mut self, follow: impl Fn(&Plan) + Send + Sync + 'static) {
        self.followers.push(Box::new(follow));
    }

    /// What each owner holds now.
    pub fn held(&self) -> Vec<Held> {
        let held = |entry: &Entry| Held { owner: entry.owner, bytes: (entry.count)(), is_heap: entry.is_heap };
        self.entries.iter().map(held).collect()
    }

    /// Gives each owner its share of `plan`, and the others what they take from it. The same plan again changes nothing.
    pub fn apply(&self, plan: &Plan) {
        for Entry { owner, resize, .. } in &self.entries {
            if let Some(resize) = resize {
                resize(plan.share(*owner));
            }
        }
        for follow in &self.followers {
            follow(plan);
        }
    }
}
