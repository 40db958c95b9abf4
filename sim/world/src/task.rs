//! Tasks, for the runtime crate's task sets.

use std::{
    cell::Cell,
    future::{Future, poll_fn},
    pin::pin,
    sync::atomic::Ordering::Relaxed,
    task::Poll,
};

use madsim::{
    runtime::Handle,
    task::{AbortHandle, JoinHandle},
};

use crate::{
    hooks::{Value, tap},
    node::Node,
    state::{State, with},
};

/// Ends a task from outside.
#[derive(Debug)]
pub struct Abort(AbortHandle);

impl Abort {
    /// The task is dropped when it would run next.
    pub fn abort(&self) {
        self.0.abort();
    }
}

/// Starts a task in the running process.
pub fn spawn(name: &'static str, future: impl Future<Output = ()> + Send + 'static) -> Abort {
    let task = madsim::task::spawn(watched(name, future));
    let prune = with(|state| {
        state.keep_track(&task);
        state.spawned += 1;
        state.spawned.is_multiple_of(PRUNE_EVERY).then(|| state.handle.clone())
    });
    if let Some(handle) = prune {
        // The executor keeps 168 bytes for each task until it is asked how many there are.
        let _ = Handle::metrics(&handle).num_tasks();
    }
    Abort(task.abort_handle())
}

/// Starts a task of the world itself.
pub(crate) fn spawn_on_driver(future: impl Future<Output = ()> + Send + 'static) {
    let driver =
        with(|state| state.handle.get_node(state.ids[Node::DRIVER.index()]).expect("the driver is a node"));
    let task = driver.spawn(future);
    with(|state| state.driver_tasks.push(task.abort_handle()));
}

impl State {
    /// The driver's tasks do not end with a node; the end of the run must know them.
    fn keep_track(&mut self, task: &JoinHandle<()>) {
        if self.here().node == Node::DRIVER {
            if self.driver_tasks.len().is_multiple_of(1024) {
                self.driver_tasks.retain(|task| !task.is_finished());
            }
            self.driver_tasks.push(task.abort_handle());
        }
    }
}

/// Lets others run first.
pub async fn yield_now() {
    let mut yielded = false;
    poll_fn(|cx| {
        if std::mem::replace(&mut yielded, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// Runs `work` inline: there is one thread. Others run first, as they would while a thread starts.
pub async fn spawn_blocking<R: Send + 'static>(work: impl FnOnce() -> R + Send + 'static) -> R {
    yield_now().await;
    work()
}

/// Notices tasks that run in circles: the time limit of the run does not, because it waits for a moment of rest.
pub(crate) async fn watched<T>(name: &'static str, future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    let (mut polls, mut since) = (0, 0);
    poll_fn(|cx| {
        count_poll(name);
        polls += 1;
        if polls == CIRCLE {
            polls = 0;
            look_for_circle(name, &mut since);
        }
        future.as_mut().poll(cx)
    })
    .await
}

thread_local! {
    static POLLS: Cell<u32> = const { Cell::new(0) };
    static LAST_LOOK: Cell<u64> = const { Cell::new(0) };
    static BUSY_LOOKS: Cell<u32> = const { Cell::new(0) };
}

#[inline]
fn count_poll(name: &'static str) {
    let polls = POLLS.get().wrapping_add(1);
    POLLS.set(polls);
    if polls.is_multiple_of(LOOK_EVERY) {
        look(name);
    }
}

/// A poll takes 50 to 100 ns of simulated time and nothing else does while all are busy. So many polls in a row without
/// a rest are no load but a loop.
#[cold]
fn look(name: &'static str) {
    let now = with(|state| {
        if state.given_up.load(Relaxed) {
            std::panic::panic_any(crate::run::GivenUp);
        }
        state.now()
    });
    let passed = now.saturating_sub(LAST_LOOK.replace(now));
    let busy = passed < u64::from(LOOK_EVERY) * 120;
    BUSY_LOOKS.set(if busy { BUSY_LOOKS.get() + 1 } else { 0 });
    assert!(BUSY_LOOKS.get() < 300, "tasks run in circles without letting time pass; the last was {name:?}");
}

/// Tells the observer of a task that was polled so often while next to no time passed, and nobody else had a turn.
#[cold]
fn look_for_circle(name: &'static str, since: &mut u64) {
    let now = with(|state| state.now());
    let passed = now - std::mem::replace(since, now);
    if passed < u64::from(CIRCLE) * 150 {
        tap("spin", &[("task", Value::Text(name.to_owned()))]);
    }
}

const CIRCLE: u32 = 1000;
const LOOK_EVERY: u32 = 1 << 16;
const PRUNE_EVERY: u64 = 4096;
