//! Half messages whose outcome is open: what is known of each, when it is looked at next, and how far the queues of
//! half messages and of their ends are done with.
//!
//! A half message is named by its root, the offset it was first stored at. Each check puts it back, so that it has
//! newer copies with offsets of their own; all of them are one message, which ends once. Times are milliseconds of a
//! clock that only goes forward.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
};

/// One undecided half message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Half {
    /// Offset of its newest copy in the half queue.
    pub(crate) offset: u64,
    /// Position of that copy in the log.
    pub(crate) position: u64,
    /// The producer group that can tell its outcome.
    pub(crate) group: Arc<str>,
    /// Checks counted.
    pub(crate) checks: u32,
    /// The last counted check could not be sent: it is made good without being counted again.
    pub(crate) owed: bool,
    /// When retention will take its record.
    pub(crate) kept_until_ms: u64,
    next: Next,
}

/// What an undecided half message waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    /// A time.
    At(u64),
    /// Any producer of its group.
    Producer,
}

/// A copy that was stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Copy {
    /// Its offset in the half queue.
    pub(crate) offset: u64,
    /// Its position in the log.
    pub(crate) position: u64,
    /// Position behind it.
    pub(crate) end: u64,
}

/// All undecided half messages.
#[derive(Debug)]
pub(crate) struct Halves {
    by_root: BTreeMap<u64, Half>,
    /// (when, root): the time that one waits for, or that its record is kept until when it waits for a producer.
    due: BTreeSet<(u64, u64)>,
    /// Roots of those that wait for a producer, by group.
    asleep: BTreeMap<Arc<str>, BTreeSet<u64>>,
    /// Groups and how many half messages they have.
    groups: BTreeMap<Arc<str>, usize>,
    progress: Progress,
}

impl Halves {
    /// An empty table; offsets of the half queue below `done` are done with.
    pub(crate) fn new(done: u64) -> Self {
        Self {
            by_root: BTreeMap::new(),
            due: BTreeSet::new(),
            asleep: BTreeMap::new(),
            groups: BTreeMap::new(),
            progress: Progress::new(done),
        }
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.by_root.len()
    }

    /// An undecided one.
    pub(crate) fn find(&self, root: u64) -> Option<&Half> {
        self.by_root.get(&root)
    }

    /// The one that was stored first.
    pub(crate) fn first(&self) -> Option<&Half> {
        self.by_root.values().next()
    }

    /// A half message was stored, or found at start.
    pub(crate) fn add(
        &mut self,
        root: u64,
        copy: Copy,
        group: &str,
        checks: u32,
        due_ms: u64,
        kept_until_ms: u64,
    ) {
        self.progress.opened(copy.offset);
        let group = match self.groups.get_key_value(group) {
            Some((name, _)) => name.clone(),
            None => group.into(),
        };
        *self.groups.entry(group.clone()).or_insert(0) += 1;
        let (offset, position) = (copy.offset, copy.position);
        // However long it is to be left alone: without its record it could not be given up.
        let due_ms = due_ms.min(kept_until_ms);
        let next = Next::At(due_ms);
        let half = Half { offset, position, group, checks, owed: false, kept_until_ms, next };
        self.due.insert((due_ms, root));
        let before = self.by_root.insert(root, half);
        assert!(before.is_none(), "a root is added once");
    }

    /// An offset of the half queue that holds no undecided message.
    pub(crate) fn pass(&mut self, offset: u64) {
        self.progress.opened(offset);
        self.progress.closed(offset, 0);
    }

    /// A copy was stored with one more check in it. The older one is done with when the newer is as durable.
    pub(crate) fn put_back(&mut self, root: u64, copy: Copy, checks: u32) {
        self.progress.opened(copy.offset);
        let half = self.by_root.get_mut(&root).expect("only an undecided half message is put back");
        self.progress.closed(half.offset, copy.end);
        (half.offset, half.position, half.checks) = (copy.offset, copy.position, checks);
    }

    /// It was decided, and the record that says so ends at `end`.
    pub(crate) fn ended(&mut self, root: u64, end: u64) {
        let Some(half) = self.by_root.remove(&root) else { return };
        self.unschedule(root, &half);
        self.progress.closed(half.offset, end);
        let count = self.groups.get_mut(&half.group).expect("its group is counted");
        *count -= 1;
        if *count == 0 {
            self.groups.remove(&half.group);
        }
    }

    /// Whether the last counted check is still to be sent.
    pub(crate) fn set_owed(&mut self, root: u64, owed: bool) {
        if let Some(half) = self.by_root.get_mut(&root) {
            half.owed = owed;
        }
    }

    /// Looks at it again after a time, but before its record goes.
    pub(crate) fn look_after(&mut self, root: u64, now_ms: u64, wait_ms: u64) {
        let due = now_ms.saturating_add(wait_ms);
        let kept_until = self.by_root.get(&root).map(|half| half.kept_until_ms).filter(|kept| *kept > now_ms);
        self.reschedule(root, Next::At(due.min(kept_until.unwrap_or(due))));
    }

    /// Leaves it until a producer of its group is there, or its record is about to go.
    pub(crate) fn wait_for_producer(&mut self, root: u64) {
        self.reschedule(root, Next::Producer);
    }

    /// The one that has been due the longest.
    pub(crate) fn first_due(&self, now_ms: u64) -> Option<u64> {
        self.due.first().filter(|(due, _)| *due <= now_ms).map(|(_, root)| *root)
    }

    /// Groups whose half messages wait for a producer, and how many do.
    pub(crate) fn deserted(&self) -> impl Iterator<Item = (&Arc<str>, usize)> {
        self.asleep.iter().map(|(group, roots)| (group, roots.len()))
    }

    /// A producer of a group is there: what waited for it is due.
    pub(crate) fn producer_came(&mut self, group: &str, now_ms: u64) {
        for root in self.asleep.remove(group).unwrap_or_default() {
            let half = self.by_root.get_mut(&root).expect("those asleep are in the table");
            half.next = Next::At(now_ms);
            self.due.remove(&(half.kept_until_ms, root));
            self.due.insert((now_ms, root));
        }
    }

    /// How far the half queue is done with, when everything below `flushed` is on the disk.
    pub(crate) fn done(&mut self, flushed: u64) -> u64 {
        self.progress.done(flushed)
    }

    /// Behind the last offset of the half queue that is known here.
    pub(crate) fn end(&self) -> u64 {
        self.progress.end
    }

    fn reschedule(&mut self, root: u64, next: Next) {
        let Some(half) = self.by_root.get(&root).cloned() else { return };
        self.unschedule(root, &half);
        match next {
            Next::At(due) => {
                self.due.insert((due, root));
            }
            Next::Producer => {
                self.asleep.entry(half.group).or_default().insert(root);
                self.due.insert((half.kept_until_ms, root));
            }
        }
        self.by_root.get_mut(&root).expect("it was just found").next = next;
    }

    fn unschedule(&mut self, root: u64, half: &Half) {
        match half.next {
            Next::At(due) => {
                self.due.remove(&(due, root));
            }
            Next::Producer => {
                self.due.remove(&(half.kept_until_ms, root));
                if let Some(roots) = self.asleep.get_mut(&half.group) {
                    roots.remove(&root);
                    if roots.is_empty() {
                        self.asleep.remove(&half.group);
                    }
                }
            }
        }
    }
}

impl Half {
    /// Where it is and what happens next, for an operator.
    pub(crate) fn explain(&self, now_ms: u64, most_checks: u32) -> String {
        let Self { offset, position, group, checks, .. } = self;
        let seconds = |due: u64| due.saturating_sub(now_ms).div_ceil(1000);
        let stands = format!(
            "undecided at offset {offset} of the half queue (position {position}), checked {checks} of {most_checks} times"
        );
        match self.next {
            Next::Producer => format!("{stands}; waits for a producer of group {group}, none is connected"),
            Next::At(due) if *checks >= most_checks => {
                format!("{stands}; given up in {} s unless a producer of {group} ends it", seconds(due))
            }
            Next::At(due) => format!("{stands}; a producer of {group} is asked in {} s", seconds(due)),
        }
    }
}

/// Which offsets of the half queue are done with, and stay so after a loss of power.
#[derive(Debug)]
struct Progress {
    /// All below were seen here.
    next: u64,
    /// Seen before those in front of them: appends are told in another order than they were made.
    early: BTreeSet<u64>,
    /// Not done with.
    open: BTreeSet<u64>,
    /// (position, offset): done with once the log is on the disk up to the position.
    closing: BTreeSet<(u64, u64)>,
    end: u64,
}

impl Progress {
    fn new(done: u64) -> Self {
        Self {
            next: done,
            early: BTreeSet::new(),
            open: BTreeSet::new(),
            closing: BTreeSet::new(),
            end: done,
        }
    }

    fn opened(&mut self, offset: u64) {
        self.open.insert(offset);
        self.early.insert(offset);
        while self.early.remove(&self.next) {
            self.next += 1;
        }
        self.end = self.end.max(offset + 1);
    }

    fn closed(&mut self, offset: u64, end: u64) {
        self.closing.insert((end, offset));
    }

    fn done(&mut self, flushed: u64) -> u64 {
        while let Some((end, offset)) = self.closing.first().copied() {
            if end > flushed {
                break;
            }
            self.closing.pop_first();
            self.open.remove(&offset);
        }
        self.open.first().copied().unwrap_or(u64::MAX).min(self.next)
    }
}

/// How far the queue of ends is done with: no end below speaks of a half message that is not.
///
/// An end is stored after its half message. So what the two queues end at, looked at one after the other, makes a
/// mark: all ends below the one speak of half messages below the other.
#[derive(Debug, Default)]
pub(crate) struct Ends {
    /// (end of the queue of ends, end of the half queue), both growing.
    marks: VecDeque<(u64, u64)>,
    done: u64,
}

impl Ends {
    /// Ends below `done` are done with.
    pub(crate) fn new(done: u64) -> Self {
        Self { marks: VecDeque::new(), done }
    }

    /// Ends below `ends` speak of half messages below `halves`.
    pub(crate) fn mark(&mut self, ends: u64, halves: u64) {
        if self.marks.back().is_some_and(|(last, _)| *last >= ends) || ends <= self.done {
            return;
        }
        if self.marks.len() == MOST_MARKS {
            // A half message that stays open for long: coarser marks do.
            let mut keep = false;
            self.marks.retain(|_| {
                keep = !keep;
                keep
            });
        }
        self.marks.push_back((ends, halves));
    }

    /// How far the ends are done with when the half messages are up to `halves`.
    pub(crate) fn done(&mut self, halves: u64) -> u64 {
        while let Some((ends, below)) = self.marks.front().copied() {
            if below > halves {
                break;
            }
            self.marks.pop_front();
            self.done = ends;
        }
        self.done
    }
}

/// The offsets that the body of an end names: of all copies it settles. Java separates and closes them with commas.
pub(crate) fn named(body: &[u8]) -> impl Iterator<Item = u64> {
    body.split(|b| *b == b',').filter_map(|piece| std::str::from_utf8(piece).ok()?.trim().parse().ok())
}

const MOST_MARKS: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn copy(offset: u64) -> Copy {
        Copy { offset, position: offset * 100, end: offset * 100 + 100 }
    }

    fn with(offsets: &[u64]) -> Halves {
        let mut halves = Halves::new(0);
        for offset in offsets {
            halves.add(*offset, copy(*offset), "g", 0, 6000, u64::MAX);
        }
        halves
    }

    #[test]
    fn the_queue_is_done_with_up_to_the_first_open_message() {
        let mut halves = with(&[0, 1, 2]);
        assert_eq!(halves.done(1000), 0);
        halves.ended(1, 400);
        assert_eq!(halves.done(1000), 0);
        halves.ended(0, 500);
        assert_eq!(halves.done(450), 0, "the end of 0 may yet be lost with the power");
        assert_eq!(halves.done(500), 2);
        halves.put_back(2, copy(3), 1);
        assert_eq!(halves.done(399), 2, "the copy is not as durable as the original");
        assert_eq!(halves.done(400), 3);
        assert_eq!(halves.find(2).unwrap().offset, 3);
        halves.ended(2, 0);
        assert_eq!((halves.done(400), halves.len()), (4, 0));
        assert!(halves.groups.is_empty() && halves.due.is_empty());
    }

    #[test]
    fn an_append_that_is_told_late_is_not_passed() {
        let mut halves = with(&[1]);
        halves.ended(1, 0);
        assert_eq!((halves.done(1000), halves.end()), (0, 2));
        halves.add(0, copy(0), "g", 0, 6000, u64::MAX);
        halves.ended(0, 0);
        assert_eq!(halves.done(1000), 2);
    }

    #[test]
    fn nobody_is_asked_before_the_time_and_while_no_producer_is_there() {
        let mut halves = with(&[0]);
        assert_eq!(halves.first_due(5999), None);
        assert_eq!(halves.first_due(6000), Some(0));
        let told = |halves: &Halves| halves.find(0).map(|half| half.explain(1000, 15)).unwrap();
        assert!(told(&halves).ends_with("a producer of g is asked in 5 s"), "{}", told(&halves));
        halves.wait_for_producer(0);
        assert_eq!(halves.first_due(u64::MAX - 1), None);
        assert_eq!(halves.first_due(u64::MAX), Some(0), "before its record goes");
        assert_eq!(halves.deserted().map(|(g, n)| (g.to_string(), n)).collect::<Vec<_>>(), [("g".into(), 1)]);
        assert!(told(&halves).contains("waits for a producer of group g"), "{}", told(&halves));
        halves.producer_came("other", 7000);
        assert_eq!(halves.first_due(7000), None);
        halves.producer_came("g", 7000);
        assert_eq!(halves.first_due(7000), Some(0));
        halves.look_after(0, 7000, 30_000);
        assert_eq!(halves.first_due(36_999), None);
        halves.wait_for_producer(0);
        halves.ended(0, 0);
        assert_eq!(halves.deserted().count(), 0);
    }

    #[test]
    fn nothing_waits_longer_than_its_record_is_kept() {
        let mut halves = Halves::new(0);
        for (offset, immunity) in [(0, 6000), (1, u64::MAX)] {
            halves.add(offset, copy(offset), "g", 0, immunity, 10_000);
        }
        assert_eq!(halves.first_due(6000), Some(0));
        halves.wait_for_producer(0);
        assert_eq!(halves.first_due(9999), None);
        assert_eq!(halves.first_due(10_000), Some(0));
        halves.look_after(0, 9000, 30_000);
        assert_eq!(halves.first_due(10_000), Some(0));
        // What fails then is tried again, and stands in nobody's way.
        halves.look_after(0, 10_000, 30_000);
        assert_eq!(halves.first_due(10_000), Some(1));
        halves.ended(1, 0);
        assert_eq!((halves.first_due(39_999), halves.first_due(40_000)), (None, Some(0)));
        halves.wait_for_producer(0);
        halves.ended(0, 0);
        assert!(halves.due.is_empty() && halves.asleep.is_empty());
    }

    #[test]
    fn ends_are_done_with_when_all_they_speak_of_is() {
        let mut ends = Ends::new(0);
        ends.mark(3, 5);
        ends.mark(3, 6);
        ends.mark(8, 9);
        assert_eq!(ends.done(4), 0);
        assert_eq!(ends.done(5), 3);
        assert_eq!(ends.done(9), 8);
        for at in 10..5000 {
            ends.mark(at, at);
        }
        assert!(ends.marks.len() <= MOST_MARKS);
        assert_eq!(ends.done(u64::MAX), 4999);
    }

    #[test]
    fn the_bodies_of_ends_are_read_as_java_writes_them() {
        assert_eq!(named(b"1,0,").collect::<Vec<_>>(), [1, 0]);
        assert_eq!(named(b"12").collect::<Vec<_>>(), [12]);
        assert_eq!(named(b"x,-1,,7").collect::<Vec<_>>(), [7]);
    }

    proptest! {
        /// Whatever happens in whatever order, the queue is done with up to the first offset that is not.
        #[test]
        fn progress_is_the_slow_answer(steps in proptest::collection::vec((0u64..12, 0u64..40, any::<bool>()), 0..60)) {
            let mut progress = Progress::new(0);
            let mut slow: BTreeMap<u64, Option<u64>> = BTreeMap::new();
            let mut flushed = 0;
            for (offset, end, flush) in steps {
                if flush {
                    flushed = flushed.max(end);
                } else if let Some(state) = slow.get_mut(&offset) {
                    if state.is_none() {
                        progress.closed(offset, end);
                        *state = Some(end);
                    }
                } else {
                    progress.opened(offset);
                    slow.insert(offset, None);
                }
                let expected = (0..).find(|o| !matches!(slow.get(o), Some(Some(end)) if *end <= flushed)).unwrap();
                prop_assert_eq!(progress.done(flushed), expected);
            }
        }
    }
}
