//! The messages of one queue between pull and commit.
//!
//! The commit point is the lowest offset that is not finished: everything below it is done, so a crash
//! repeats messages and never skips one. A slow message therefore holds the commit point back.

use std::collections::BTreeMap;

/// Messages that were pulled and are not finished, by offset.
#[derive(Debug)]
pub(crate) struct ProcessQueue<M> {
    messages: BTreeMap<u64, Entry<M>>,
    bytes: usize,
    /// One more than the highest offset ever put.
    end: u64,
}

#[derive(Debug)]
struct Entry<M> {
    message: M,
    bytes: usize,
    /// Since when the listener has it; none before, and when somebody gives it back.
    started_ms: Option<u64>,
}

impl<M> ProcessQueue<M> {
    pub(crate) fn new() -> Self {
        Self { messages: BTreeMap::new(), bytes: 0, end: 0 }
    }

    /// Adds a message of so many bytes. One that is here already is left alone and `false` is the answer.
    pub(crate) fn put(&mut self, offset: u64, bytes: usize, message: M) -> bool {
        self.end = self.end.max(offset + 1);
        let std::collections::btree_map::Entry::Vacant(place) = self.messages.entry(offset) else {
            return false;
        };
        place.insert(Entry { message, bytes, started_ms: None });
        self.bytes += bytes;
        true
    }

    /// Takes finished messages out and tells the commit point; `None` when nothing was here to finish.
    pub(crate) fn finish(&mut self, offsets: impl IntoIterator<Item = u64>) -> Option<u64> {
        if self.messages.is_empty() {
            return None;
        }
        for offset in offsets {
            if let Some(entry) = self.messages.remove(&offset) {
                self.bytes -= entry.bytes;
            }
        }
        Some(self.commit_point())
    }

    /// The lowest unfinished offset, or one more than the highest ever put.
    pub(crate) fn commit_point(&self) -> u64 {
        self.messages.first_key_value().map_or(self.end, |(offset, _)| *offset)
    }

    /// Notes that the listener has a message since `now_ms`.
    pub(crate) fn start(&mut self, offset: u64, now_ms: u64) {
        if let Some(entry) = self.messages.get_mut(&offset) {
            entry.started_ms = Some(now_ms);
        }
    }

    /// Takes a message away from the listener, to give it back; false when it is not here, or when somebody else does.
    pub(crate) fn take(&mut self, offset: u64) -> bool {
        self.messages.get_mut(&offset).is_some_and(|entry| entry.started_ms.take().is_some())
    }

    /// Takes away the lowest message, if the listener has had it for longer than `limit_ms`; and tells since when.
    pub(crate) fn take_overdue(&mut self, now_ms: u64, limit_ms: u64) -> Option<(&M, u64)> {
        let mut entry = self.messages.first_entry()?;
        let started = entry.get().started_ms.filter(|started| now_ms.saturating_sub(*started) > limit_ms)?;
        entry.get_mut().started_ms = None;
        Some((&entry.into_mut().message, started))
    }

    pub(crate) fn contains(&self, offset: u64) -> bool {
        self.messages.contains_key(&offset)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// Messages and bytes.
    pub(crate) fn size(&self) -> (usize, usize) {
        (self.messages.len(), self.bytes)
    }

    /// True while the pull loop must wait.
    pub(crate) fn is_full(&self, limits: &Limits) -> bool {
        self.messages.len() > limits.count || self.bytes > limits.bytes || self.span() > limits.span
    }

    fn span(&self) -> u64 {
        let ends = self.messages.first_key_value().zip(self.messages.last_key_value());
        ends.map_or(0, |((first, _), (last, _))| last - first)
    }
}

/// How much of one queue may be between pull and commit.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) count: usize,
    pub(crate) bytes: usize,
    pub(crate) span: u64,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn filled(offsets: impl IntoIterator<Item = u64>) -> ProcessQueue<()> {
        let mut queue = ProcessQueue::new();
        offsets.into_iter().for_each(|o| assert!(queue.put(o, 10, ())));
        queue
    }

    #[test]
    fn a_slow_message_holds_the_commit_point_back() {
        let mut queue = filled(5..9);
        assert_eq!(queue.finish([6, 7]), Some(5));
        assert_eq!(queue.finish([5]), Some(8));
        assert_eq!(queue.finish([8]), Some(9));
        assert_eq!(queue.finish([8]), None);
        assert_eq!(queue.commit_point(), 9);
    }

    #[test]
    fn offsets_may_have_gaps_where_the_filter_took_messages_out() {
        let mut queue = filled([3, 10, 11]);
        assert_eq!(queue.finish([3]), Some(10));
        assert_eq!(queue.finish([10, 11]), Some(12));
    }

    #[test]
    fn each_limit_alone_stops_the_pull_loop() {
        let limits = Limits { count: 3, bytes: 1000, span: 2000 };
        assert!(!filled(0..3).is_full(&limits));
        assert!(filled(0..4).is_full(&limits));
        assert!(filled([0, 2001]).is_full(&limits));
        assert!(!filled([1, 2001]).is_full(&limits));
        let mut queue = filled([0]);
        queue.put(1, 991, ());
        assert!(queue.is_full(&limits));
        assert!(!queue.put(1, 991, ()), "a repeat is not counted twice");
        queue.finish([1]);
        assert!(!queue.is_full(&limits));
    }

    #[test]
    fn only_the_lowest_message_can_be_overdue() {
        let mut queue = filled(0..3);
        queue.start(1, 0);
        assert_eq!(queue.take_overdue(100, 10), None);
        queue.start(0, 95);
        assert_eq!(queue.take_overdue(105, 10), None);
        assert_eq!(queue.take_overdue(106, 10), Some((&(), 95)));
    }

    #[test]
    fn one_alone_gives_a_message_back() {
        let mut queue = filled(0..2);
        queue.start(0, 0);
        queue.start(1, 0);
        assert!(queue.take_overdue(100, 10).is_some());
        assert!(!queue.take(0), "it is on its way");
        queue.start(0, 0);
        assert!(queue.take(0), "it was in vain");
        assert_eq!(queue.take_overdue(100, 10), None, "its listener does");
        assert!(!queue.take(2));
    }

    proptest! {
        /// The obvious slow version: a list of what was put and a list of what was finished.
        #[test]
        fn the_commit_point_is_the_lowest_unfinished(steps in prop::collection::vec((any::<bool>(), 0u64..40), 1..120)) {
            let mut queue = ProcessQueue::new();
            let (mut put, mut open) = (Vec::new(), Vec::new());
            for (adds, offset) in steps {
                if adds {
                    queue.put(offset, 1, ());
                    put.push(offset);
                    if !open.contains(&offset) {
                        open.push(offset);
                    }
                } else {
                    let had = !open.is_empty();
                    let commit = queue.finish([offset]);
                    open.retain(|o| *o != offset);
                    let slow = open.iter().min().copied().or(put.iter().max().map(|o| o + 1));
                    prop_assert_eq!(commit, if had { slow } else { None });
                }
                prop_assert_eq!(queue.messages.len(), open.len());
                prop_assert_eq!(queue.bytes, open.len());
                let done = |o: &u64| put.contains(o) && !open.contains(o);
                prop_assert!(put.iter().filter(|o| **o < queue.commit_point()).all(done));
            }
        }
    }
}
