//! The one seam to the outside world: tokio in production, the simulated world under cfg(madsim).

#[cfg(not(madsim))]
mod real {
    pub mod disk;
    pub mod task {
        //! Tasks and the blocking pool.

        /// Runs what may block on a thread of its own.
        #[allow(clippy::disallowed_methods, reason = "this is runtime::task")]
        pub async fn spawn_blocking<R: Send + 'static>(work: impl FnOnce() -> R + Send + 'static) -> R {
            match tokio::task::spawn_blocking(work).await {
                Ok(result) => result,
                Err(error) => std::panic::resume_unwind(error.into_panic()),
            }
        }
    }
}

#[cfg(not(madsim))]
pub use real::{disk, task};
