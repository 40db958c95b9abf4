//! One value, many who wait for its next change, woken in the order they came.
//!
//! tokio's channel of this name wakes in an order drawn from a counter of the whole process, which no seed can replay.

use std::{
    collections::BTreeMap,
    future::poll_fn,
    ops::Deref,
    sync::{Arc, MutexGuard},
    task::{Poll, Waker},
};

use super::Mutex;

/// Makes a channel that holds `value`.
pub fn channel<T>(value: T) -> (Sender<T>, Receiver<T>) {
    let state = State { value, version: 0, senders: 1, next: 0, waiters: BTreeMap::new() };
    let shared = Arc::new(Mutex::new(state));
    (Sender { shared: shared.clone() }, Receiver { shared, seen: 0, ticket: None })
}

/// The side that changes the value. When the last clone is gone, waiting receivers learn it.
#[derive(Debug)]
pub struct Sender<T> {
    shared: Arc<Mutex<State<T>>>,
}

/// The side that waits for changes.
#[derive(Debug)]
pub struct Receiver<T> {
    shared: Arc<Mutex<State<T>>>,
    seen: u64,
    ticket: Option<u64>,
}

/// All senders are gone: the value will not change any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the sender is gone")]
pub struct Closed;

/// The value, locked: let go of it before you await.
#[derive(Debug)]
pub struct Ref<'a, T>(MutexGuard<'a, State<T>>);

#[derive(Debug)]
struct State<T> {
    value: T,
    version: u64,
    senders: usize,
    next: u64,
    waiters: BTreeMap<u64, Waker>,
}

impl<T> Deref for Ref<'_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.0.value
    }
}

impl<T> Sender<T> {
    /// Puts `value` in place of the old one and wakes all who wait.
    pub fn send_replace(&self, value: T) -> T {
        let mut old = None;
        self.send_modify(|place| old = Some(std::mem::replace(place, value)));
        old.expect("the closure has run")
    }

    /// Changes the value in place and wakes all who wait.
    pub fn send_modify(&self, change: impl FnOnce(&mut T)) {
        let waiters = {
            let mut state = self.shared.lock();
            change(&mut state.value);
            state.version += 1;
            std::mem::take(&mut state.waiters)
        };
        waiters.into_values().for_each(Waker::wake);
    }

    /// The value as it is.
    pub fn borrow(&self) -> Ref<'_, T> {
        Ref(self.shared.lock())
    }

    /// A receiver that has seen the value as it is now.
    pub fn subscribe(&self) -> Receiver<T> {
        let seen = self.shared.lock().version;
        Receiver { shared: self.shared.clone(), seen, ticket: None }
    }
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        self.shared.lock().senders += 1;
        Self { shared: self.shared.clone() }
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        let waiters = {
            let mut state = self.shared.lock();
            state.senders -= 1;
            if state.senders > 0 { BTreeMap::new() } else { std::mem::take(&mut state.waiters) }
        };
        waiters.into_values().for_each(Waker::wake);
    }
}

impl<T> Receiver<T> {
    /// Waits until the value differs (by number of changes) from the one last seen here.
    pub async fn changed(&mut self) -> Result<(), Closed> {
        poll_fn(|cx| {
            let mut state = self.shared.lock();
            if let Some(ticket) = self.ticket.take() {
                state.waiters.remove(&ticket);
            }
            if state.version != self.seen {
                self.seen = state.version;
                return Poll::Ready(Ok(()));
            }
            if state.senders == 0 {
                return Poll::Ready(Err(Closed));
            }
            let ticket = state.next;
            state.next += 1;
            state.waiters.insert(ticket, cx.waker().clone());
            self.ticket = Some(ticket);
            Poll::Pending
        })
        .await
    }

    /// The value as it is, which counts as seen.
    pub fn borrow_and_update(&mut self) -> Ref<'_, T> {
        let state = self.shared.lock();
        self.seen = state.version;
        Ref(state)
    }

    /// The value as it is, without marking it seen.
    pub fn borrow(&self) -> Ref<'_, T> {
        Ref(self.shared.lock())
    }
}

impl<T> Clone for Receiver<T> {
    fn clone(&self) -> Self {
        Self { shared: self.shared.clone(), seen: self.seen, ticket: None }
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket {
            let waker = self.shared.lock().waiters.remove(&ticket);
            drop(waker); // without the lock: it may be the last owner of a task
        }
    }
}
