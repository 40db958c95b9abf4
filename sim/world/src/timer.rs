//! The world's own timers, which can be taken back.
//!
//! The executor's cannot: every poll of a pending sleep adds one more, and each stays until its time. Here an entry is
//! made once, changed in place and removed when its owner is dropped. One task, the ticker, wakes at the earliest
//! entry; only for that an executor's timer is made.

use std::{
    collections::{BTreeMap, BTreeSet},
    future::poll_fn,
    pin::Pin,
    task::{Context, Poll, Waker},
    time::Duration,
};

use madsim::time::TimeHandle;

use crate::{
    net,
    state::{State, with},
};

/// What happens when an entry's time has come.
#[derive(Debug)]
pub(crate) enum Event {
    /// A task goes on.
    Wake(Waker),
    /// The first packet in flight from an end of a connection arrives.
    Arrive { connection: u32, end: usize },
    /// An end of a connection gives up: nobody acknowledged what it sent.
    GiveUp { connection: u32, end: usize },
    /// The run has lasted long enough.
    Limit,
}

/// Names an entry; by time, then by order of entry.
pub(crate) type Key = (u64, u64);

#[derive(Default)]
pub(crate) struct Timers {
    queue: BTreeMap<Key, Event>,
    next: u64,
    /// The times at which the executor will wake the ticker.
    armed: BTreeSet<u64>,
    ticker: Option<Waker>,
}

impl Timers {
    pub(crate) fn add(&mut self, time: &TimeHandle, at: u64, event: Event) -> Key {
        let key = (at, self.next);
        self.next += 1;
        self.queue.insert(key, event);
        if self.armed.first().is_none_or(|&first| at < first) {
            self.arm(time, at);
        }
        key
    }

    /// Takes an entry back. The event is returned so that its waker is dropped where nothing is borrowed.
    pub(crate) fn remove(&mut self, key: Key) -> Option<Event> {
        self.queue.remove(&key)
    }

    pub(crate) fn get_mut(&mut self, key: Key) -> Option<&mut Event> {
        self.queue.get_mut(&key)
    }

    fn arm(&mut self, time: &TimeHandle, at: u64) {
        let Some(ticker) = &self.ticker else { return }; // it arms the first entry itself when it starts
        self.armed.insert(at);
        let missing = Duration::from_nanos(at).saturating_sub(time.elapsed());
        let deadline = time.now_instant() + missing;
        let mut sleep = time.sleep_until(deadline);
        Pin::new(&mut sleep).reset(deadline); // undoes the executor's least sleep of 1 ms
        if Pin::new(&mut sleep).poll(&mut Context::from_waker(ticker)).is_ready() {
            ticker.wake_by_ref();
        }
    }

    fn pop(&mut self, now: u64) -> Option<Event> {
        let first = self.queue.first_entry()?;
        (first.key().0 <= now).then(|| first.remove())
    }
}

impl State {
    pub(crate) fn at(&mut self, at: u64, event: Event) -> Key {
        self.timers.add(&self.time, at, event)
    }
}

/// The task that makes the world's events happen.
pub(crate) async fn ticker() {
    poll_fn(|cx| {
        loop {
            let event = with(|state| {
                let now = state.now();
                state.timers.pop(now)
            });
            match event {
                Some(Event::Wake(waker)) => waker.wake(),
                Some(Event::Arrive { connection, end }) => net::arrive(connection, end),
                Some(Event::GiveUp { connection, end }) => net::give_up(connection, end),
                Some(Event::Limit) => std::panic::panic_any(crate::run::TimeIsUp),
                None => break,
            }
        }
        with(|state| {
            let now = state.now();
            let timers = &mut state.timers;
            if !timers.ticker.as_ref().is_some_and(|ticker| ticker.will_wake(cx.waker())) {
                timers.ticker = Some(cx.waker().clone());
            }
            timers.armed = timers.armed.split_off(&(now + 1));
            if let Some((&(first, _), _)) = timers.queue.first_key_value()
                && timers.armed.first().is_none_or(|&armed| first < armed)
            {
                timers.arm(&state.time, first);
            }
        });
        Poll::<()>::Pending
    })
    .await
}
