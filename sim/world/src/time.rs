//! The monotonic clock of the run, the same for all nodes, and waiting for it.

use std::{
    fmt,
    future::{Future, IntoFuture, poll_fn},
    ops::{Add, AddAssign, Sub, SubAssign},
    pin::{Pin, pin},
    task::{Context, Poll},
};

pub use std::time::Duration;

use crate::{
    state::{try_with, with},
    timer::{Event, Key},
};

/// A point of the run's time.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant {
    nanos: u64,
}

/// The wait was longer than allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("deadline has elapsed")]
pub struct Elapsed;

impl From<Elapsed> for std::io::Error {
    fn from(_: Elapsed) -> Self {
        std::io::ErrorKind::TimedOut.into()
    }
}

impl Instant {
    /// Now.
    pub fn now() -> Self {
        Self { nanos: BEFORE_THE_RUN + try_with(|state| state.now()).unwrap_or(0) }
    }

    /// How long ago this was.
    pub fn elapsed(&self) -> Duration {
        Self::now().duration_since(*self)
    }

    /// The time from `earlier` to this; zero when that is later.
    pub fn duration_since(&self, earlier: Self) -> Duration {
        Duration::from_nanos(self.nanos.saturating_sub(earlier.nanos))
    }

    /// The time from `earlier` to this; zero when that is later.
    pub fn saturating_duration_since(&self, earlier: Self) -> Duration {
        self.duration_since(earlier)
    }

    /// The time from `earlier` to this, unless that is later.
    pub fn checked_duration_since(&self, earlier: Self) -> Option<Duration> {
        self.nanos.checked_sub(earlier.nanos).map(Duration::from_nanos)
    }

    /// This much later, if that can be told.
    pub fn checked_add(&self, duration: Duration) -> Option<Self> {
        let nanos = self.nanos.checked_add(u64::try_from(duration.as_nanos()).ok()?)?;
        Some(Self { nanos })
    }

    /// This much earlier, if that can be told.
    pub fn checked_sub(&self, duration: Duration) -> Option<Self> {
        let nanos = self.nanos.checked_sub(u64::try_from(duration.as_nanos()).ok()?)?;
        Some(Self { nanos })
    }

    fn since_start(self) -> u64 {
        self.nanos.saturating_sub(BEFORE_THE_RUN)
    }
}

impl fmt::Debug for Instant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", Duration::from_nanos(self.since_start()))
    }
}

impl Add<Duration> for Instant {
    type Output = Self;
    fn add(self, duration: Duration) -> Self {
        self.checked_add(duration).expect("a time within 500 years")
    }
}

impl AddAssign<Duration> for Instant {
    fn add_assign(&mut self, duration: Duration) {
        *self = *self + duration;
    }
}

impl Sub<Duration> for Instant {
    type Output = Self;
    fn sub(self, duration: Duration) -> Self {
        self.checked_sub(duration).expect("not more than a day before the run")
    }
}

impl SubAssign<Duration> for Instant {
    fn sub_assign(&mut self, duration: Duration) {
        *self = *self - duration;
    }
}

impl Sub for Instant {
    type Output = Duration;
    fn sub(self, earlier: Self) -> Duration {
        self.duration_since(earlier)
    }
}

/// A wait until a point of time. It leaves no timer behind when it is dropped.
#[derive(Debug)]
#[must_use = "futures do nothing unless they are awaited"]
pub struct Sleep {
    at: u64,
    key: Option<Key>,
}

/// Waits for `duration`, at least a millisecond, as tokio's clock ticks.
pub fn sleep(duration: Duration) -> Sleep {
    sleep_until(Instant::now().checked_add(duration).unwrap_or(FAR))
}

/// Waits until `deadline`, at least a millisecond; one that has passed is ready at once.
pub fn sleep_until(deadline: Instant) -> Sleep {
    let (now, at) = (with(|state| state.now()), deadline.since_start());
    // What is due at this moment waits for the next tick, as with tokio: rounding up is the rule of its clock.
    let at = if at < now { at } else { at.max(now + TICK) };
    Sleep { at, key: None }
}

/// Waits for exactly `duration`: what the network and the disk take.
pub fn pass(duration: Duration) -> Sleep {
    Sleep { at: with(|state| state.now()) + duration.as_nanos() as u64, key: None }
}

/// Time since the run began.
pub fn elapsed() -> Duration {
    Duration::from_nanos(with(|state| state.now()))
}

impl Sleep {
    /// When it ends.
    pub fn deadline(&self) -> Instant {
        Instant { nanos: BEFORE_THE_RUN + self.at }
    }

    /// Whether its time has come.
    pub fn is_elapsed(&self) -> bool {
        with(|state| state.now()) >= self.at
    }

    /// Waits until `deadline` instead.
    pub fn reset(mut self: Pin<&mut Self>, deadline: Instant) {
        self.forget();
        self.at = deadline.since_start();
    }

    fn forget(&mut self) {
        if let Some(key) = self.key.take() {
            let event = try_with(|state| state.timers.remove(key));
            drop(event); // here, where nothing is borrowed: it may be the last owner of a task
        }
    }
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let (at, old) = (self.at, self.key);
        let (key, replaced) = with(|state| {
            if state.now() >= at {
                return (None, None);
            }
            match old.and_then(|key| state.timers.get_mut(key)) {
                Some(Event::Wake(waker)) if waker.will_wake(cx.waker()) => (old, None),
                Some(event) => (old, Some(std::mem::replace(event, Event::Wake(cx.waker().clone())))),
                None => (Some(state.at(at, Event::Wake(cx.waker().clone()))), None),
            }
        });
        drop(replaced);
        if key.is_none() {
            self.forget();
            return Poll::Ready(());
        }
        self.key = key;
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        self.forget();
    }
}

/// Waits for `future`, but no longer than `duration`.
pub fn timeout<F: IntoFuture>(
    duration: Duration,
    future: F,
) -> impl Future<Output = Result<F::Output, Elapsed>> + use<F> {
    limited(sleep(duration), future.into_future())
}

/// Waits for `future`, but no longer than until `deadline`.
pub fn timeout_at<F: IntoFuture>(
    deadline: Instant,
    future: F,
) -> impl Future<Output = Result<F::Output, Elapsed>> + use<F> {
    limited(sleep_until(deadline), future.into_future())
}

async fn limited<F: Future>(mut limit: Sleep, future: F) -> Result<F::Output, Elapsed> {
    let mut future = pin!(future);
    poll_fn(|cx| match future.as_mut().poll(cx) {
        Poll::Ready(value) => Poll::Ready(Ok(value)),
        Poll::Pending => Pin::new(&mut limit).poll(cx).map(|()| Err(Elapsed)),
    })
    .await
}

/// Instants begin a day after zero, so that code may look a while back from the start.
const BEFORE_THE_RUN: u64 = 86_400_000_000_000;
const TICK: u64 = 1_000_000;
const FAR: Instant = Instant { nanos: u64::MAX / 2 };
