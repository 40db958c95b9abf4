//! The deadlines of everything that waits in one node: one ordered table, one timer.
//!
//! A long poll or a wait for the disk that made a timer of its own would pay for it on every message, and in
//! simulation a timer is never taken back.

use std::{
    collections::BTreeMap,
    future::Future,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll, Waker},
};

use runtime::{
    planted, select,
    sync::{Mutex, Notify},
    task::TaskSet,
    time::{Instant, sleep_until},
};

/// The deadlines of one node. Clones share the table.
#[derive(Clone)]
pub struct Deadlines {
    shared: Arc<Shared>,
}

struct Shared {
    table: Mutex<Table>,
    earlier: Notify,
}

struct Table {
    waiting: BTreeMap<(Instant, u64), Waker>,
    next: u64,
    /// What the timer is set to: it needs to hear only of earlier deadlines.
    armed: Option<Instant>,
}

/// The time was over first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the deadline has passed")]
pub struct TooLate;

impl Deadlines {
    /// Starts the timer as a task of `tasks`.
    pub fn new(tasks: &TaskSet) -> Self {
        let table = Table { waiting: BTreeMap::new(), next: 0, armed: None };
        let shared = Arc::new(Shared { table: Mutex::new(table), earlier: Notify::new() });
        tasks.spawn("deadlines", watch(shared.clone()));
        Self { shared }
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.shared.table.lock().waiting.len()
    }

    /// Whether nobody waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Ready when `at` has come. It enters the table when it is first polled and leaves it when it is dropped.
    pub fn at(&self, at: Instant) -> Deadline<'_> {
        Deadline { shared: &self.shared, at, number: None }
    }

    /// The output of `future`, or `TooLate` when `at` comes first.
    pub async fn limit<F: Future>(&self, at: Instant, future: F) -> Result<F::Output, TooLate> {
        let mut future = pin!(future);
        let mut deadline = self.at(at);
        std::future::poll_fn(|cx| match future.as_mut().poll(cx) {
            Poll::Ready(output) => Poll::Ready(Ok(output)),
            Poll::Pending => Pin::new(&mut deadline).poll(cx).map(|()| Err(TooLate)),
        })
        .await
    }
}

/// A point in time to wait for.
pub struct Deadline<'a> {
    shared: &'a Shared,
    at: Instant,
    number: Option<u64>,
}

impl Future for Deadline<'_> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let (shared, at) = (self.shared, self.at);
        let mut table = shared.table.lock();
        if let Some(number) = self.number {
            // The timer has taken the entry out: the time has come.
            let Some(waker) = table.waiting.get_mut(&(at, number)) else { return Poll::Ready(()) };
            waker.clone_from(cx.waker());
            return Poll::Pending;
        }
        if at <= Instant::now() {
            return Poll::Ready(());
        }
        let number = table.next;
        table.next += 1;
        table.waiting.insert((at, number), cx.waker().clone());
        let earlier = table.armed.is_none_or(|armed| at < armed && !planted!("B102"));
        if earlier {
            table.armed = Some(at);
        }
        drop(table);
        self.number = Some(number);
        if earlier {
            shared.earlier.notify_one();
        }
        Poll::Pending
    }
}

impl Drop for Deadline<'_> {
    fn drop(&mut self) {
        if let Some(number) = self.number {
            self.shared.table.lock().waiting.remove(&(self.at, number));
        }
    }
}

async fn watch(shared: Arc<Shared>) {
    loop {
        let armed = shared.wake_due(Instant::now());
        match armed {
            Some(at) => select! {
                () = shared.earlier.notified() => {}
                () = sleep_until(at) => {}
            },
            None => shared.earlier.notified().await,
        }
    }
}

impl Shared {
    /// Wakes what is due, in order, and says when there is more to do.
    fn wake_due(&self, now: Instant) -> Option<Instant> {
        let mut table = self.table.lock();
        let mut due = Vec::new();
        while let Some(entry) = table.waiting.first_entry() {
            if entry.key().0 > now {
                break;
            }
            due.push(entry.remove());
        }
        table.armed = table.waiting.keys().next().map(|&(at, _)| at);
        let armed = table.armed;
        drop(table);
        due.into_iter().for_each(Waker::wake);
        armed
    }
}
