//! Tasks that belong to somebody: a set cancels its tasks when its owner lets go of it.

use std::{
    collections::BTreeMap,
    future::{Future, poll_fn},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use crate::sync::Mutex;

#[cfg(not(madsim))]
use crate::real::task as backend;
#[cfg(madsim)]
use crate::sim::task as backend;

/// The tasks of one owner. Clones are the same set; when the last clone is dropped, all its tasks are cancelled.
///
/// A task that keeps a clone of its own set keeps the set alive: end such a set with [`TaskSet::close`].
#[derive(Clone, Debug, Default)]
pub struct TaskSet {
    owner: Arc<Owner>,
}

#[derive(Debug, Default)]
struct Owner {
    set: Arc<Mutex<Set>>,
}

#[derive(Debug, Default)]
struct Set {
    next: u64,
    /// None while the task is just being spawned.
    tasks: BTreeMap<u64, Option<backend::Abort>>,
    closed: bool,
    closing: Vec<Waker>,
    panicked: Option<&'static str>,
}

impl TaskSet {
    /// An empty set.
    pub fn new() -> Self {
        Self::default()
    }

    /// Starts a task. `name` is for logs and for the simulator. After [`TaskSet::close`] the future is dropped unrun.
    pub fn spawn(&self, name: &'static str, future: impl Future<Output = ()> + Send + 'static) {
        let set = &self.owner.set;
        let id = {
            let mut state = set.lock();
            if state.closed {
                return;
            }
            let id = state.next;
            state.next += 1;
            state.tasks.insert(id, None);
            id
        };
        let task = Running { future: Box::pin(future), member: Member { set: set.clone(), id, name } };
        // Without the lock: a runtime that is shutting down drops the task, and with it the member, at once.
        let abort = backend::spawn(name, task);
        let mut state = set.lock();
        if state.closed {
            abort.abort();
        }
        if let Some(place) = state.tasks.get_mut(&id) {
            *place = Some(abort);
        }
    }

    /// Cancels all tasks and waits until they are gone. Called from one of them, it ends the caller too.
    ///
    /// # Panics
    /// When one of the tasks panicked: the owner must not go on as if it had ended well.
    pub async fn close(&self) {
        self.owner.set.cancel();
        poll_fn(|cx| {
            let mut state = self.owner.set.lock();
            if state.tasks.is_empty() {
                return Poll::Ready(());
            }
            state.closing.push(cx.waker().clone());
            Poll::Pending
        })
        .await;
        let panicked = self.owner.set.lock().panicked;
        assert!(panicked.is_none(), "task {} panicked", panicked.unwrap_or_default());
    }

    /// How many tasks are alive.
    pub fn len(&self) -> usize {
        self.owner.set.lock().tasks.len()
    }

    /// Whether no task is alive.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Mutex<Set> {
    fn cancel(&self) {
        let aborts: Vec<_> = {
            let mut state = self.lock();
            state.closed = true;
            state.tasks.values_mut().filter_map(Option::take).collect()
        };
        aborts.iter().for_each(backend::Abort::abort);
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.set.cancel();
    }
}

/// A task of a set. Boxed, because each layer of async code around a future would hold it twice.
struct Running {
    future: Pin<Box<dyn Future<Output = ()> + Send>>,
    #[expect(dead_code, reason = "it acts when it is dropped")]
    member: Member,
}

impl Future for Running {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.future.as_mut().poll(cx)
    }
}

/// Lives beside the future and is dropped after it; takes it out of the set however it ends.
struct Member {
    set: Arc<Mutex<Set>>,
    id: u64,
    name: &'static str,
}

impl Drop for Member {
    fn drop(&mut self) {
        let closing = {
            let mut state = self.set.lock();
            state.tasks.remove(&self.id);
            if std::thread::panicking() {
                state.panicked.get_or_insert(self.name);
            }
            if state.tasks.is_empty() { std::mem::take(&mut state.closing) } else { Vec::new() }
        };
        closing.into_iter().for_each(Waker::wake);
    }
}

/// Lets others run first.
pub async fn yield_now() {
    backend::yield_now().await;
}

/// Runs a function that blocks, away from the threads that run tasks. In simulation it runs inline.
pub async fn spawn_blocking<R: Send + 'static>(work: impl FnOnce() -> R + Send + 'static) -> R {
    backend::spawn_blocking(work).await
}
