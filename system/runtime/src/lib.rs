//! The one seam to the outside world: tokio in production, the simulated world under cfg(madsim).
//!
//! Both modes offer the same names with the same signatures and pass one conformance test. Nothing else in the
//! system names tokio's runtime, madsim, or the clocks, files, sockets and threads of std.

#[cfg(not(madsim))]
const _: () = assert!(
    option_env!("REPRISE_SIM").is_none(),
    "simulator asked for, but --cfg madsim is missing: unset RUSTFLAGS"
);

pub mod hooks;
pub mod random;
pub mod sync;
pub mod task;

#[cfg(not(madsim))]
mod real;
#[cfg(not(madsim))]
pub use real::{clock, disk, host, net, run, signal, time};

#[cfg(madsim)]
mod sim;
#[cfg(madsim)]
pub use sim::{clock, disk, host, net, run, signal, time};

/// Asynchronous reading and writing of bytes: tokio's traits in both modes, they hold no runtime.
pub mod io {
    pub use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
}

#[doc(hidden)]
pub use tokio as __tokio;

/// Waits for the first of several branches, always trying them in the order they are written.
///
/// tokio's unbiased choice draws from a counter of the whole process, which no seed can replay.
#[macro_export]
macro_rules! select {
    ($($branches:tt)*) => { $crate::__tokio::select! { biased; $($branches)* } };
}
