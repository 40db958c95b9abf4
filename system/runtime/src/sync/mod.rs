//! Locks, channels and the two ordered ways to wait for a value: [`watch`] and [`Watermark`].

pub use std::sync::MutexGuard;
use std::sync::PoisonError;

mod watermark;

pub mod watch;
pub use tokio::sync::{Notify, Semaphore, mpsc, oneshot};
pub use watermark::{Closed, Reach, Watermark};

/// A lock for short critical sections: lock, step, unlock, then await.
#[derive(Debug, Default)]
pub struct Mutex<T>(std::sync::Mutex<T>);

impl<T> Mutex<T> {
    /// Wraps `value`.
    pub const fn new(value: T) -> Self {
        Self(std::sync::Mutex::new(value))
    }

    /// Locks. A lock whose holder panicked panics too: what it guards may be half changed.
    ///
    /// Only code that runs while a panic is already on its way (and cleaning up after one) gets through, because a second
    /// panic there would abort the process and hide the first.
    #[inline]
    pub fn lock(&self) -> MutexGuard<'_, T> {
        self.0.lock().unwrap_or_else(poisoned)
    }

    /// The value inside, without locking.
    pub fn get_mut(&mut self) -> &mut T {
        self.0.get_mut().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the value out.
    pub fn into_inner(self) -> T {
        self.0.into_inner().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cold]
fn poisoned<G>(error: PoisonError<G>) -> G {
    #[cfg(madsim)]
    let over = world::is_over();
    #[cfg(not(madsim))]
    let over = false;
    assert!(over || std::thread::panicking(), "a task panicked while it held this lock");
    error.into_inner()
}
