//! The monotonic clock and waiting for it.

use std::future::{Future, IntoFuture};

pub use std::time::Duration;
pub use tokio::time::error::Elapsed;
pub use tokio::time::{Instant, Sleep};

/// Waits for `duration`.
pub fn sleep(duration: Duration) -> Sleep {
    tokio::time::sleep(duration)
}

/// Waits until `deadline`.
pub fn sleep_until(deadline: Instant) -> Sleep {
    tokio::time::sleep_until(deadline)
}

/// Waits for `future`, but no longer than `duration`.
pub fn timeout<F: IntoFuture>(
    duration: Duration,
    future: F,
) -> impl Future<Output = Result<F::Output, Elapsed>> + use<F> {
    tokio::time::timeout(duration, future)
}

/// Waits for `future`, but no longer than until `deadline`.
pub fn timeout_at<F: IntoFuture>(
    deadline: Instant,
    future: F,
) -> impl Future<Output = Result<F::Output, Elapsed>> + use<F> {
    tokio::time::timeout_at(deadline, future)
}
