//! One member's ownership of one queue, from taking it to letting it go.
//!
//! All that belongs to the ownership is in here, so that what comes late, a pull answer or a listener's
//! verdict, finds a dropped session and has no effect: another member owns the queue by then.

use std::sync::Arc;

use runtime::sync::{Mutex, Notify, watch};
use runtime::{sometimes, tap};

use crate::state::offsets::Commit;
use crate::state::process_queue::{Limits, ProcessQueue};
use crate::{MessageQueue, Received, Text};

pub(crate) struct Session {
    pub(crate) group: Text,
    pub(crate) queue: MessageQueue,
    state: Mutex<State>,
    /// Messages were finished: a full queue may have room.
    pub(crate) room: Notify,
    phase: watch::Sender<Phase>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    /// Pulls and consumes.
    Open,
    /// Pulls no more, but what the listener finishes counts.
    Draining,
    /// The queue is somebody else's: nothing has an effect any more.
    Dropped,
}

struct State {
    process: ProcessQueue<Arc<Received>>,
    commit: Commit,
    /// Where the next pull begins.
    next: u64,
}

impl Session {
    pub(crate) fn new(group: Text, queue: MessageQueue) -> Self {
        let state = State { process: ProcessQueue::new(), commit: Commit::default(), next: 0 };
        Self {
            group,
            queue,
            state: Mutex::new(state),
            room: Notify::new(),
            phase: watch::channel(Phase::Open).0,
        }
    }

    pub(crate) fn phase(&self) -> Phase {
        *self.phase.borrow()
    }

    pub(crate) fn is_dropped(&self) -> bool {
        self.phase() == Phase::Dropped
    }

    /// Moves on; false when the session is dropped already, which nothing changes.
    pub(crate) fn set_phase(&self, phase: Phase) -> bool {
        let mut before = Phase::Dropped;
        self.phase.send_modify(|now| {
            before = *now;
            *now = phase.max(before);
        });
        let moved = before != Phase::Dropped;
        if moved && phase == Phase::Dropped {
            sometimes!("client.session.uncommitted", self.cached().0 > 0);
            self.tap("drop", self.next());
        }
        moved
    }

    /// Waits until nothing is to be pulled any more.
    pub(crate) async fn ended(&self) {
        let mut phase = self.phase.subscribe();
        while *phase.borrow() == Phase::Open {
            if phase.changed().await.is_err() {
                return;
            }
        }
    }

    /// Pulls begin at this offset.
    pub(crate) fn begin(&self, start: u64) {
        self.state.lock().next = start;
        self.tap("start", start);
    }

    pub(crate) fn next(&self) -> u64 {
        self.state.lock().next
    }

    pub(crate) fn is_full(&self, limits: &Limits) -> bool {
        self.state.lock().process.is_full(limits)
    }

    /// Takes over what a pull brought. Returns the messages that were not here already.
    pub(crate) fn put(&self, messages: Vec<Arc<Received>>, next: u64) -> Vec<Arc<Received>> {
        let mut state = self.state.lock();
        state.next = next;
        let mut fresh = Vec::with_capacity(messages.len());
        for message in messages {
            if state.process.put(message.offset, message.body.len(), message.clone()) {
                fresh.push(message);
            }
        }
        // Everything before `next` is finished or was not wanted.
        if state.process.is_empty() {
            state.commit.raise(next);
        }
        fresh
    }

    /// The listener gets these messages now; those that were taken away meanwhile are left out.
    pub(crate) fn start(&self, messages: &mut Vec<Arc<Received>>, now_ms: u64) {
        let mut state = self.state.lock();
        messages.retain(|m| state.process.contains(m.offset));
        messages.iter().for_each(|m| state.process.start(m.offset, now_ms));
    }

    /// Takes a message away from the listener, to give it back; false when it is finished, or when somebody else does.
    pub(crate) fn take(&self, offset: u64) -> bool {
        self.state.lock().process.take(offset)
    }

    /// Messages are finished: the commit point moves to the lowest one that is not.
    pub(crate) fn finish(&self, offsets: &[u64]) {
        let mut state = self.state.lock();
        if let Some(point) = state.process.finish(offsets.iter().copied()) {
            state.commit.raise(point);
        }
        drop(state);
        self.room.notify_one();
    }

    /// Moves the commit point whatever is unfinished.
    pub(crate) fn raise(&self, offset: u64) {
        self.state.lock().commit.raise(offset);
    }

    /// Takes away the lowest message, if the listener has had it for too long; and tells since when.
    pub(crate) fn take_overdue(&self, now_ms: u64, limit_ms: u64) -> Option<(Arc<Received>, u64)> {
        let mut state = self.state.lock();
        state.process.take_overdue(now_ms, limit_ms).map(|(message, started)| (message.clone(), started))
    }

    /// It was given back in vain: the listener still has it.
    pub(crate) fn leave(&self, offset: u64, started_ms: u64) {
        self.state.lock().process.start(offset, started_ms);
    }

    /// What the broker may be told: everything below it is done.
    pub(crate) fn commit_point(&self) -> Option<u64> {
        self.state.lock().commit.value()
    }

    /// Messages between pull and commit, and their bytes.
    pub(crate) fn cached(&self) -> (usize, usize) {
        self.state.lock().process.size()
    }

    /// Where another session must go on when the broker's queue now ends at `end`.
    pub(crate) fn rewind_to(&self, end: u64) -> u64 {
        let state = self.state.lock();
        if state.process.is_empty() { end } else { state.process.commit_point().min(end) }
    }

    /// Tells an observer what a pull brought.
    pub(crate) fn tap_pulled(&self, from: u64, next: u64, count: usize) {
        let MessageQueue { topic, broker, id } = &self.queue;
        tap!(
            "client.pulled",
            group = &*self.group,
            topic = &**topic,
            broker = &**broker,
            queue = *id,
            from = from,
            next = next,
            count = count
        );
    }

    fn tap(&self, what: &'static str, offset: u64) {
        let MessageQueue { topic, broker, id } = &self.queue;
        tap!(
            "client.session",
            what = what,
            group = &*self.group,
            topic = &**topic,
            broker = &**broker,
            queue = *id,
            offset = offset
        );
    }
}
