//! Consumer offsets: how far each group has come in each queue, and when a commit may go backwards.

use std::collections::BTreeMap;

/// Offsets by topic, then group, then queue.
#[derive(Debug, Default)]
pub(crate) struct Offsets {
    by_topic: BTreeMap<String, ByGroup>,
    /// Grows with every change; tells the loop that persists whether there is something to write.
    changes: u64,
}

type ByGroup = BTreeMap<String, BTreeMap<i32, i64>>;

/// The bounds of a queue at the time of a commit.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// Smallest offset that can be read.
    pub(crate) min: i64,
    /// Offset of the next message.
    pub(crate) max: i64,
    /// What stands for an offset beyond `max` ([`store::Queue::back_from_beyond`]).
    pub(crate) beyond: i64,
}

/// Who commits, as far as it decides about going backwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Committer {
    /// A member of the group. A late commit of a former owner must not lower the offset (CON-6).
    Member,
    /// The client that holds the queue's lock: orderly consumers roll back.
    LockHolder,
    /// A two-way call from a connection that is no consumer of the group: a tool that resets.
    Tool,
}

/// What a commit did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Committed {
    /// The offset stands as asked; it was higher, or the first.
    Stored,
    /// It was there already.
    Same,
    /// The offset went backwards for a reason that allows it.
    Lowered {
        /// What was stored before.
        from: i64,
        /// What is stored now.
        to: i64,
    },
    /// The commit was below the stored offset and nobody may do that: nothing changed.
    Ignored {
        /// What is stored.
        stored: i64,
    },
    /// The commit was beyond the queue's end, which only a client can send that knows messages that are gone: where
    /// those end that it may have had is stored.
    Capped {
        /// What is stored now.
        to: i64,
    },
}

/// A stored offset that lay beyond the end of its queue after recovery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Rewound {
    /// Topic of the queue.
    pub(crate) topic: String,
    /// Group whose offset it is.
    pub(crate) group: String,
    /// Queue number.
    pub(crate) queue: i32,
    /// What was stored.
    pub(crate) from: i64,
    /// The queue's end, stored now.
    pub(crate) to: i64,
}

impl Offsets {
    /// Takes over what a file held. Keys are `topic@group`; those of another form are left out and returned.
    pub(crate) fn load(table: BTreeMap<String, BTreeMap<i32, i64>>) -> (Self, Vec<String>) {
        let mut offsets = Self::default();
        let mut odd = Vec::new();
        for (key, queues) in table {
            match key.split_once('@') {
                Some((topic, group)) if !topic.is_empty() && !group.is_empty() => {
                    offsets.by_topic.entry(topic.to_owned()).or_default().insert(group.to_owned(), queues);
                }
                _ => odd.push(key),
            }
        }
        (offsets, odd)
    }

    /// The table as its file holds it.
    pub(crate) fn table(&self) -> BTreeMap<String, BTreeMap<i32, i64>> {
        let mut table = BTreeMap::new();
        for (topic, groups) in &self.by_topic {
            for (group, queues) in groups {
                table.insert(format!("{topic}@{group}"), queues.clone());
            }
        }
        table
    }

    /// Grows with every change.
    pub(crate) fn changes(&self) -> u64 {
        self.changes
    }

    /// The stored offset, if there is one.
    pub(crate) fn get(&self, topic: &str, group: &str, queue: i32) -> Option<i64> {
        self.by_topic.get(topic)?.get(group)?.get(&queue).copied()
    }

    /// The stored offsets of one group in one topic.
    pub(crate) fn of_group(&self, topic: &str, group: &str) -> BTreeMap<i32, i64> {
        self.by_topic.get(topic).and_then(|groups| groups.get(group)).cloned().unwrap_or_default()
    }

    /// Topics in which the group has an offset.
    pub(crate) fn topics_of(&self, group: &str) -> Vec<String> {
        self.by_topic
            .iter()
            .filter(|(_, groups)| groups.contains_key(group))
            .map(|(topic, _)| topic.clone())
            .collect()
    }

    /// Groups that have an offset in the topic.
    pub(crate) fn groups_of(&self, topic: &str) -> Vec<String> {
        self.by_topic.get(topic).map(|groups| groups.keys().cloned().collect()).unwrap_or_default()
    }

    /// Stores an offset, unless it would go backwards without a reason.
    ///
    /// A lower value is taken from a tool, from the holder of the queue's lock, or when the stored
    /// value lies outside the queue.
    pub(crate) fn commit(
        &mut self,
        topic: &str,
        group: &str,
        queue: i32,
        offset: i64,
        bounds: Bounds,
        who: Committer,
    ) -> Committed {
        let wanted = match who {
            // A tool means the end.
            Committer::Tool => offset.clamp(0, bounds.max),
            _ if offset > bounds.max => bounds.beyond,
            _ => offset.max(0),
        };
        let stored = self.get(topic, group, queue);
        let done = match stored {
            Some(stored) if wanted < stored => {
                let outside = stored < bounds.min || stored > bounds.max;
                if who == Committer::Member && !outside {
                    return Committed::Ignored { stored };
                }
                Committed::Lowered { from: stored, to: wanted }
            }
            Some(stored) if wanted == stored => return Committed::Same,
            _ if wanted < offset => Committed::Capped { to: wanted },
            _ => Committed::Stored,
        };
        self.put(topic, group, queue, wanted);
        done
    }

    fn put(&mut self, topic: &str, group: &str, queue: i32, offset: i64) {
        self.changes += 1;
        if let Some(queues) = self.by_topic.get_mut(topic).and_then(|groups| groups.get_mut(group)) {
            queues.insert(queue, offset);
            return;
        }
        self.by_topic
            .entry(topic.to_owned())
            .or_default()
            .entry(group.to_owned())
            .or_default()
            .insert(queue, offset);
    }

    /// Lowers every offset beyond the end of its queue. After a recovery that lost messages, new ones
    /// will stand below the old offsets and must not be skipped.
    pub(crate) fn rewind(&mut self, max: impl Fn(&str, i32) -> i64) -> Vec<Rewound> {
        let mut rewound = Vec::new();
        for (topic, groups) in &mut self.by_topic {
            for (group, queues) in groups {
                for (queue, offset) in queues {
                    let to = max(topic, *queue);
                    if *offset > to {
                        rewound.push(Rewound {
                            topic: topic.clone(),
                            group: group.clone(),
                            queue: *queue,
                            from: *offset,
                            to,
                        });
                        *offset = to;
                        self.changes += 1;
                    }
                }
            }
        }
        rewound
    }

    /// Forgets a deleted topic.
    pub(crate) fn forget_topic(&mut self, topic: &str) {
        if self.by_topic.remove(topic).is_some() {
            self.changes += 1;
        }
    }

    /// Forgets a deleted group in every topic.
    pub(crate) fn forget_group(&mut self, group: &str) {
        let mut gone = false;
        self.by_topic.retain(|_, groups| {
            gone |= groups.remove(group).is_some();
            !groups.is_empty()
        });
        self.changes += u64::from(gone);
    }

    /// Copies one group's offsets to another, for the topics of `only` or all.
    pub(crate) fn clone_group(&mut self, from: &str, to: &str, only: Option<&str>) {
        for (topic, groups) in &mut self.by_topic {
            if only.is_some_and(|name| name != topic) {
                continue;
            }
            if let Some(queues) = groups.get(from).cloned() {
                groups.insert(to.to_owned(), queues);
                self.changes += 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const WIDE: Bounds = Bounds { min: 0, max: 1000, beyond: 1000 };

    fn stored_at(offset: i64) -> Offsets {
        let mut offsets = Offsets::default();
        offsets.commit("t", "g", 0, offset, WIDE, Committer::Member);
        offsets
    }

    #[test]
    fn a_late_commit_of_a_former_owner_changes_nothing() {
        let mut offsets = stored_at(50);
        let done = offsets.commit("t", "g", 0, 40, WIDE, Committer::Member);
        assert_eq!(done, Committed::Ignored { stored: 50 });
        assert_eq!(offsets.get("t", "g", 0), Some(50));
    }

    #[test]
    fn tools_and_lock_holders_go_back() {
        for who in [Committer::Tool, Committer::LockHolder] {
            let mut offsets = stored_at(50);
            let done = offsets.commit("t", "g", 0, 40, WIDE, who);
            assert_eq!(done, Committed::Lowered { from: 50, to: 40 });
            assert_eq!(offsets.get("t", "g", 0), Some(40));
        }
    }

    #[test]
    fn an_offset_outside_its_queue_is_corrected_by_anybody() {
        let mut offsets = stored_at(50);
        let after_rewind = Bounds { min: 0, max: 30, beyond: 30 };
        assert_eq!(
            offsets.commit("t", "g", 0, 30, after_rewind, Committer::Member),
            Committed::Lowered { from: 50, to: 30 }
        );
        assert_eq!(offsets.get("t", "g", 0), Some(30));
    }

    #[test]
    fn a_commit_beyond_the_end_stores_the_end() {
        let mut offsets = Offsets::default();
        let done = offsets.commit("t", "g", 0, 90, Bounds { min: 0, max: 30, beyond: 30 }, Committer::Member);
        assert_eq!(done, Committed::Capped { to: 30 });
        assert_eq!(offsets.get("t", "g", 0), Some(30));
    }

    #[test]
    fn who_knows_messages_that_are_gone_does_not_pass_over_those_that_came_since() {
        let bounds = Bounds { min: 0, max: 95, beyond: 80 };
        let mut offsets = Offsets::default();
        let mut commit = |offset, who| offsets.commit("t", "g", 0, offset, bounds, who);
        assert_eq!(commit(100, Committer::Member), Committed::Capped { to: 80 });
        assert_eq!(commit(100, Committer::Member), Committed::Same);
        assert_eq!(commit(90, Committer::Member), Committed::Stored);
        assert_eq!(commit(100, Committer::Member), Committed::Ignored { stored: 90 });
        assert_eq!(commit(100, Committer::Tool), Committed::Capped { to: 95 });
    }

    #[test]
    fn recovery_lowers_offsets_to_the_end_of_their_queues() {
        let mut offsets = stored_at(50);
        offsets.commit("t", "h", 0, 7, WIDE, Committer::Member);
        let rewound = offsets.rewind(|_, _| 10);
        assert_eq!(rewound, [Rewound { topic: "t".into(), group: "g".into(), queue: 0, from: 50, to: 10 }]);
        assert_eq!(offsets.get("t", "g", 0), Some(10));
        assert_eq!(offsets.get("t", "h", 0), Some(7));
    }

    #[test]
    fn an_unchanged_commit_is_no_change() {
        let mut offsets = stored_at(50);
        let before = offsets.changes();
        assert_eq!(offsets.commit("t", "g", 0, 50, WIDE, Committer::Member), Committed::Same);
        assert_eq!(offsets.changes(), before);
    }

    #[test]
    fn the_file_form_comes_back() {
        let mut offsets = stored_at(50);
        offsets.commit("%RETRY%g", "g", 0, 3, WIDE, Committer::Member);
        let (again, odd) = Offsets::load(offsets.table());
        assert_eq!(again.table(), offsets.table());
        assert!(odd.is_empty());
        let (_, odd) = Offsets::load([("no-separator".to_owned(), BTreeMap::new())].into());
        assert_eq!(odd, ["no-separator"]);
    }

    #[test]
    fn deleted_groups_and_topics_are_forgotten() {
        let mut offsets = stored_at(50);
        offsets.commit("t", "h", 1, 5, WIDE, Committer::Member);
        offsets.forget_group("g");
        assert_eq!(offsets.get("t", "g", 0), None);
        assert_eq!(offsets.groups_of("t"), ["h"]);
        offsets.forget_topic("t");
        assert_eq!(offsets.topics_of("h"), Vec::<String>::new());
    }

    proptest! {
        /// Whatever members send, the stored offset is the highest of their commits.
        #[test]
        fn members_only_raise(commits in proptest::collection::vec(0i64..1000, 1..40)) {
            let mut offsets = Offsets::default();
            let mut highest = 0;
            for offset in commits {
                offsets.commit("t", "g", 0, offset, WIDE, Committer::Member);
                highest = highest.max(offset);
                prop_assert_eq!(offsets.get("t", "g", 0), Some(highest));
            }
        }
    }
}
