//! Production: tokio, the system's clocks, its entropy and its signals.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "this is the place that the disallowed names are replaced by"
)]

use std::future::Future;

pub mod disk;
pub mod host;
pub mod net;
pub mod time;

/// This machine's wall clock, which may jump.
pub mod clock {
    use std::time::{SystemTime, UNIX_EPOCH};

    /// Milliseconds since 1970, UTC; negative when the clock is set before that.
    pub fn now_ms() -> i64 {
        match SystemTime::now().duration_since(UNIX_EPOCH) {
            Ok(since) => since.as_millis() as i64,
            Err(before) => -(before.duration().as_millis() as i64),
        }
    }
}

/// Being asked to end.
pub mod signal {
    use std::future::pending;
    use tokio::signal::unix::{SignalKind, signal};

    /// Waits for SIGTERM or SIGINT.
    pub async fn shutdown() {
        let (Ok(mut terminate), Ok(mut interrupt)) =
            (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
        else {
            tracing::warn!("signals cannot be received: end this program with kill -9");
            return pending().await;
        };
        crate::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    }
}

/// What a task set needs from the runtime below it.
pub(crate) mod task {
    use std::future::{Future, pending};

    pub(crate) use tokio::task::yield_now;

    #[derive(Debug)]
    pub(crate) struct Abort(tokio::task::AbortHandle);

    impl Abort {
        pub(crate) fn abort(&self) {
            self.0.abort();
        }
    }

    pub(crate) fn spawn(_name: &'static str, future: impl Future<Output = ()> + Send + 'static) -> Abort {
        Abort(tokio::spawn(future).abort_handle())
    }

    pub(crate) async fn spawn_blocking<R: Send + 'static>(work: impl FnOnce() -> R + Send + 'static) -> R {
        match tokio::task::spawn_blocking(work).await {
            Ok(result) => result,
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                Err(_) => pending().await, // the runtime is shutting down and will drop the caller too
            },
        }
    }
}

/// Runs `main` to its end on a new runtime with `workers` threads (as many as there are processors, if not told).
///
/// The one entry of programs and of tests. Tasks still alive at the end are cancelled.
///
/// # Panics
/// When the system cannot give threads or an event queue, and when `main` panics.
pub fn run<T, F>(workers: Option<usize>, main: impl FnOnce() -> F + Send + 'static) -> T
where
    T: Send + 'static,
    F: Future<Output = T> + Send + 'static,
{
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    if let Some(workers) = workers {
        builder.worker_threads(workers);
    }
    let runtime = builder.enable_all().build().expect("the system gives threads and an event queue");
    // On a worker, not on this thread: this thread would be woken through a lock for every step of `main`.
    let result = runtime.block_on(async move { tokio::spawn(async move { main().await }).await });
    match result {
        Ok(value) => value,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}

/// 32 bytes nobody can guess.
pub(crate) fn entropy() -> [u8; 32] {
    let mut key = [0_u8; 32];
    let mut filled = 0;
    while filled < key.len() {
        let rest = &mut key[filled..];
        #[allow(unsafe_code, reason = "the system call has no safe form among our dependencies")]
        // SAFETY: the pointer and length are those of `rest`, which lives across the call.
        let n = unsafe { libc::getrandom(rest.as_mut_ptr().cast(), rest.len(), 0) };
        match usize::try_from(n) {
            Ok(n) => filled += n,
            Err(_) => {
                let error = std::io::Error::last_os_error();
                assert!(
                    error.kind() == std::io::ErrorKind::Interrupted,
                    "no entropy from the system: {error}"
                );
            }
        }
    }
    key
}
