//! The queues by topic and number, and the topics that were deleted.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use runtime::sync::Mutex;

use crate::log::Log;
use crate::queue::Queue;

/// All queues of a store.
#[derive(Debug)]
pub(crate) struct Topics {
    log: Arc<Log>,
    inner: Mutex<Inner>,
    /// How many deletions have begun.
    deletions: AtomicU64,
}

#[derive(Debug, Default)]
struct Inner {
    topics: BTreeMap<Arc<str>, Topic>,
    /// Records of these topics below these positions are no messages any more.
    deleted: BTreeMap<Arc<str>, Deleted>,
    /// A crash may have taken records, of queues that are not known any more as well.
    crashed: bool,
}

#[derive(Clone, Copy, Debug)]
struct Deleted {
    below: u64,
    /// The how-manieth deletion since the start; 0 = one before it.
    number: u64,
}

#[derive(Debug, Default)]
struct Topic {
    /// Its deletion is not on the disk yet: until then it takes no records, or old and new ones could not be told apart.
    deleting: bool,
    /// By number.
    queues: Vec<Arc<Queue>>,
}

impl Topics {
    pub(crate) fn new(log: Arc<Log>) -> Self {
        Self { log, inner: Mutex::default(), deletions: AtomicU64::new(0) }
    }

    /// The queue, if it is there; None while its topic is being deleted: what it holds belongs to nobody any more.
    pub(crate) fn find(&self, topic: &str, id: i32) -> Option<Arc<Queue>> {
        let inner = self.inner.lock();
        let queues = &inner.there(topic)?.queues;
        queues.binary_search_by_key(&id, |q| q.id).ok().map(|at| queues[at].clone())
    }

    /// The queue, made when missing; None while its topic is being deleted.
    pub(crate) fn find_or_make(&self, topic: &str, id: i32) -> Option<Arc<Queue>> {
        self.inner.lock().find_or_make(&self.log, topic, id)
    }

    /// The queue that a record at `position` belongs to; None when its topic was deleted after it.
    pub(crate) fn route(&self, topic: &str, id: i32, position: u64) -> Option<Arc<Queue>> {
        let mut inner = self.inner.lock();
        if inner.deleted.get(topic).is_some_and(|deleted| position < deleted.below) {
            return None;
        }
        inner.find_or_make(&self.log, topic, id)
    }

    /// Whether a record at `position` went with its topic.
    pub(crate) fn is_deleted(&self, topic: &str, position: u64) -> bool {
        self.inner.lock().deleted.get(topic).is_some_and(|deleted| position < deleted.below)
    }

    /// How many deletions have begun: who waits before it appends looks again with [`Topics::deleted_since`].
    pub(crate) fn deletions(&self) -> u64 {
        self.deletions.load(Ordering::Acquire)
    }

    /// Whether the deletion of a topic has begun when there had been so many. To be called under the lock of the log's end.
    pub(crate) fn deleted_since(&self, topic: &str, deletions: u64) -> bool {
        // Most appends meet none, and take no lock.
        self.deletions() > deletions
            && self.inner.lock().deleted.get(topic).is_some_and(|deleted| deleted.number > deletions)
    }

    /// Adds a queue whose files hold `min..max`.
    pub(crate) fn load(&self, topic: &str, id: i32, min: u64, max: u64) {
        let mut inner = self.inner.lock();
        let name = inner.name(topic);
        let queue = Arc::new(Queue::new(self.log.clone(), name.clone(), id, min, max));
        let queues = &mut inner.topics.entry(name).or_default().queues;
        match queues.binary_search_by_key(&id, |q| q.id) {
            Ok(at) => queues[at] = queue,
            Err(at) => queues.insert(at, queue),
        }
    }

    /// A crash may have taken the last records of each queue: their offsets are given again.
    pub(crate) fn give_again(&self) {
        let mut inner = self.inner.lock();
        inner.crashed = true;
        inner
            .topics
            .values()
            .flat_map(|topic| &topic.queues)
            .for_each(|queue| queue.gives_again(queue.max()));
    }

    /// Forgets all queues; the deleted topics stay.
    pub(crate) fn clear(&self) {
        self.inner.lock().topics.clear();
    }

    /// Every topic.
    pub(crate) fn names(&self) -> Vec<Arc<str>> {
        let inner = self.inner.lock();
        inner.topics.iter().filter(|(_, t)| !t.deleting).map(|(name, _)| name.clone()).collect()
    }

    /// Numbers of a topic's queues; none while it is being deleted.
    pub(crate) fn ids(&self, topic: &str) -> Vec<i32> {
        let inner = self.inner.lock();
        inner.there(topic).map_or_else(Vec::new, |topic| topic.queues.iter().map(|queue| queue.id).collect())
    }

    /// Every queue of the topics that are not being deleted, in order.
    pub(crate) fn all(&self) -> Vec<Arc<Queue>> {
        let inner = self.inner.lock();
        inner.topics.values().filter(|t| !t.deleting).flat_map(|t| t.queues.iter().cloned()).collect()
    }

    /// Refuses records of a topic from now on and makes those below `position` no messages. To be called under the
    /// lock of the log's end. False when there is no such topic, or it has begun before.
    pub(crate) fn begin_delete(&self, topic: &str, position: u64) -> bool {
        let mut inner = self.inner.lock();
        if inner.topics.get(topic).is_some_and(|topic| topic.deleting) {
            return false;
        }
        // Its first record may be waiting for its place.
        let (name, number) = (inner.name(topic), self.deletions.fetch_add(1, Ordering::AcqRel) + 1);
        inner.deleted.insert(name, Deleted { below: position, number });
        let Some(found) = inner.topics.get_mut(topic) else { return false };
        found.deleting = true;
        for queue in &found.queues {
            queue.deleted.store(true, Ordering::Release);
        }
        true
    }

    /// Topics whose deletion has begun and is not on the disk.
    pub(crate) fn deleting(&self) -> Vec<Arc<str>> {
        let inner = self.inner.lock();
        inner.topics.iter().filter(|(_, topic)| topic.deleting).map(|(name, _)| name.clone()).collect()
    }

    /// Below which position the records of a topic are no messages, if its deletion has begun and is not on the disk.
    pub(crate) fn deleting_below(&self, topic: &str) -> Option<u64> {
        let inner = self.inner.lock();
        inner.topics.get(topic).filter(|topic| topic.deleting)?;
        inner.deleted.get(topic).map(|deleted| deleted.below)
    }

    /// The deletion is on the disk: the name is free again. Returns the queues that were there.
    pub(crate) fn finish_delete(&self, topic: &str) -> Vec<Arc<Queue>> {
        self.inner.lock().topics.remove(topic).map_or_else(Vec::new, |t| t.queues)
    }

    /// Deleted topics and the positions of their deletion.
    pub(crate) fn deleted(&self) -> BTreeMap<String, u64> {
        self.inner.lock().deleted.iter().map(|(name, it)| (name.to_string(), it.below)).collect()
    }

    /// Takes over deletions from the disk. Positions behind the log's end cannot stand: records that come there are new.
    pub(crate) fn set_deleted(&self, deleted: &BTreeMap<String, u64>, end: u64) {
        let mut inner = self.inner.lock();
        let known = |at: u64| Deleted { below: at.min(end), number: 0 };
        inner.deleted = deleted.iter().map(|(name, at)| (name.as_str().into(), known(*at))).collect();
    }

    /// Forgets deletions that no record of the log is old enough for.
    pub(crate) fn forget_deleted(&self, log_min: u64) {
        self.inner.lock().deleted.retain(|_, deleted| deleted.below > log_min);
    }
}

impl Inner {
    /// A topic that is not being deleted.
    fn there(&self, topic: &str) -> Option<&Topic> {
        self.topics.get(topic).filter(|topic| !topic.deleting)
    }

    fn name(&self, topic: &str) -> Arc<str> {
        self.topics.get_key_value(topic).map_or_else(|| topic.into(), |(name, _)| name.clone())
    }

    fn find_or_make(&mut self, log: &Arc<Log>, topic: &str, id: i32) -> Option<Arc<Queue>> {
        let make = |name| {
            let queue = Arc::new(Queue::new(log.clone(), name, id, 0, 0));
            if self.crashed || self.deleted.contains_key(topic) {
                queue.gives_again(0);
            }
            queue
        };
        if let Some(found) = self.topics.get_mut(topic) {
            if found.deleting {
                return None;
            }
            match found.queues.binary_search_by_key(&id, |q| q.id) {
                Ok(at) => return Some(found.queues[at].clone()),
                Err(at) => {
                    let queue = make(found.queues.first().map_or_else(|| topic.into(), |q| q.topic.clone()));
                    found.queues.insert(at, queue.clone());
                    return Some(queue);
                }
            }
        }
        let queue = make(topic.into());
        self.topics.insert(queue.topic.clone(), Topic { deleting: false, queues: vec![queue.clone()] });
        Some(queue)
    }
}
