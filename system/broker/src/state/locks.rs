//! Queue locks of orderly consumers: at most one client of a group holds a queue, for 60 seconds at a time.

use std::collections::BTreeMap;

/// How long a lock holds without being renewed; clients renew every 20 s and distrust theirs after 30 s.
pub(crate) const LOCK_LIFE_MS: u64 = 60_000;

/// Who holds which queue. In memory only: after a restart everything is free.
#[derive(Debug, Default)]
pub(crate) struct Locks {
    by_group: BTreeMap<String, BTreeMap<(String, i32), Held>>,
}

#[derive(Debug)]
struct Held {
    client_id: String,
    renewed_ms: u64,
}

impl Held {
    fn is_live(&self, now_ms: u64) -> bool {
        now_ms.saturating_sub(self.renewed_ms) <= LOCK_LIFE_MS
    }
}

impl Locks {
    /// Takes or renews the lock of one queue. False: another client holds it.
    pub(crate) fn lock(&mut self, group: &str, topic: &str, queue: i32, client: &str, now_ms: u64) -> bool {
        let queues = self.by_group.entry(group.to_owned()).or_default();
        let held = queues
            .entry((topic.to_owned(), queue))
            .or_insert_with(|| Held { client_id: client.to_owned(), renewed_ms: now_ms });
        if held.client_id != client {
            if held.is_live(now_ms) {
                return false;
            }
            client.clone_into(&mut held.client_id);
        }
        held.renewed_ms = now_ms;
        true
    }

    /// Gives a queue back; another client's lock stays.
    pub(crate) fn unlock(&mut self, group: &str, topic: &str, queue: i32, client: &str) {
        let Some(queues) = self.by_group.get_mut(group) else { return };
        let key = (topic.to_owned(), queue);
        if queues.get(&key).is_some_and(|held| held.client_id == client) {
            queues.remove(&key);
        }
        if queues.is_empty() {
            self.by_group.remove(group);
        }
    }

    /// The live holder of a queue.
    pub(crate) fn holder(&self, group: &str, topic: &str, queue: i32, now_ms: u64) -> Option<&str> {
        let held = self.by_group.get(group)?.get(&(topic.to_owned(), queue))?;
        held.is_live(now_ms).then_some(held.client_id.as_str())
    }

    /// True when any queue of the group is locked: its consumers are orderly.
    pub(crate) fn any_live(&self, group: &str, now_ms: u64) -> bool {
        self.by_group.get(group).is_some_and(|queues| queues.values().any(|held| held.is_live(now_ms)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_queue_has_one_holder_until_its_lock_is_old() {
        let mut locks = Locks::default();
        assert!(locks.lock("g", "t", 0, "a", 0));
        assert!(!locks.lock("g", "t", 0, "b", 30_000));
        assert!(locks.lock("g", "t", 0, "a", 40_000), "the holder renews");
        assert!(!locks.lock("g", "t", 0, "b", 100_000));
        assert!(locks.lock("g", "t", 0, "b", 100_001), "60 s after the renewal it is free");
        assert_eq!(locks.holder("g", "t", 0, 100_001), Some("b"));
    }

    #[test]
    fn only_the_holder_unlocks() {
        let mut locks = Locks::default();
        assert!(locks.lock("g", "t", 1, "a", 0));
        locks.unlock("g", "t", 1, "b");
        assert!(locks.any_live("g", 1));
        locks.unlock("g", "t", 1, "a");
        assert!(!locks.any_live("g", 1));
        assert!(locks.lock("g", "t", 1, "b", 2));
    }

    #[test]
    fn groups_do_not_see_each_others_locks() {
        let mut locks = Locks::default();
        assert!(locks.lock("g", "t", 0, "a", 0));
        assert!(locks.lock("h", "t", 0, "b", 0));
    }
}
