//! The table of calls that wait for an answer on one connection, by number and by deadline.
//!
//! Every entry leaves in exactly one way: answered, expired, forgotten by its caller, or closed with the connection.

use std::collections::{BTreeMap, BTreeSet};

/// Open calls; `T` is a point in time, `W` is whoever waits.
#[derive(Debug)]
pub(crate) struct Calls<T, W> {
    open: BTreeMap<i32, Call<T, W>>,
    deadlines: BTreeSet<(T, i32)>,
    next: i32,
}

#[derive(Debug)]
struct Call<T, W> {
    deadline: T,
    waiter: W,
}

impl<T: Copy + Ord, W> Calls<T, W> {
    pub(crate) const fn new() -> Self {
        Self { open: BTreeMap::new(), deadlines: BTreeSet::new(), next: 0 }
    }

    /// Opens a call and returns its number, which no other open call has.
    pub(crate) fn begin(&mut self, deadline: T, waiter: W) -> i32 {
        let opaque = self.number();
        self.open.insert(opaque, Call { deadline, waiter });
        self.deadlines.insert((deadline, opaque));
        opaque
    }

    /// A number for a request that expects no answer.
    pub(crate) fn number(&mut self) -> i32 {
        loop {
            let opaque = self.next;
            self.next = self.next.wrapping_add(1);
            // After 2^32 calls a long poll of the first round may still be open.
            if !self.open.contains_key(&opaque) {
                return opaque;
            }
        }
    }

    /// The waiter of an answered call; nothing when the call is unknown, expired or was answered before.
    pub(crate) fn answer(&mut self, opaque: i32) -> Option<W> {
        let call = self.open.remove(&opaque)?;
        let known = self.deadlines.remove(&(call.deadline, opaque));
        assert!(known, "every open call has its deadline");
        Some(call.waiter)
    }

    /// The calls whose deadline has come, oldest deadline first.
    pub(crate) fn expire(&mut self, now: T) -> Vec<W> {
        let mut expired = Vec::new();
        while let Some(&(deadline, opaque)) = self.deadlines.first() {
            if deadline > now {
                break;
            }
            expired.extend(self.answer(opaque));
        }
        expired
    }

    /// When `expire` has something to do next.
    pub(crate) fn next_deadline(&self) -> Option<T> {
        self.deadlines.first().map(|&(deadline, _)| deadline)
    }

    /// Takes all open calls, in the order of their numbers.
    pub(crate) fn close(&mut self) -> Vec<W> {
        self.deadlines.clear();
        std::mem::take(&mut self.open).into_values().map(|call| call.waiter).collect()
    }

    /// Whoever waits, in the order of the calls' numbers.
    pub(crate) fn waiters(&self) -> impl Iterator<Item = &W> {
        self.open.values().map(|call| &call.waiter)
    }

    pub(crate) fn len(&self) -> usize {
        self.open.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answered_call_does_not_expire_and_an_expired_call_is_not_answered() {
        let mut calls = Calls::new();
        let early = calls.begin(3, "early");
        let late = calls.begin(9, "late");
        assert_eq!(calls.next_deadline(), Some(3));
        assert_eq!(calls.answer(early), Some("early"));
        assert_eq!(calls.answer(early), None, "the second answer finds nobody");
        assert_eq!(calls.expire(8), Vec::<&str>::new());
        assert_eq!(calls.expire(9), ["late"]);
        assert_eq!(calls.answer(late), None);
        assert_eq!((calls.len(), calls.next_deadline()), (0, None));
    }

    #[test]
    fn calls_expire_by_deadline_and_close_by_number() {
        let mut calls = Calls::new();
        for (deadline, name) in [(7, "c"), (5, "a"), (5, "b"), (9, "d")] {
            calls.begin(deadline, name);
        }
        assert_eq!(calls.expire(7), ["a", "b", "c"]);
        calls.begin(1, "e");
        assert_eq!(calls.close(), ["d", "e"]);
        assert_eq!((calls.len(), calls.next_deadline()), (0, None));
    }

    #[test]
    fn a_number_in_use_is_not_given_again() {
        let mut calls = Calls::new();
        calls.next = -1;
        let held = calls.begin(0, "held");
        calls.next = -1;
        assert_eq!((held, calls.number(), calls.begin(0, "other")), (-1, 0, 1));
    }
}
