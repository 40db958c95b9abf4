//! The names the runtime crate passes on to the system in simulation.

/// The node's wall clock, which may jump, drift and be wrong.
pub mod clock {
    use crate::state::with;

    /// Milliseconds since 1970, UTC.
    pub fn now_ms() -> i64 {
        with(|state| {
            let node = state.here().node;
            state.wall_ms(node)
        })
    }
}

/// Facts about the machine and the process.
pub mod host {
    use std::net::IpAddr;

    use crate::host::fact;

    /// The number of this process.
    pub fn pid() -> u32 {
        fact(|facts| facts.pid)
    }

    /// Simulated processes have as many files and connections as they want.
    pub fn raise_file_limit() -> Option<u64> {
        None
    }

    /// The machine's name.
    pub fn name() -> String {
        crate::here().node.name()
    }

    /// Addresses of its interfaces, without loopback.
    pub fn addresses() -> Vec<IpAddr> {
        fact(|facts| facts.addresses.clone())
    }

    /// The machine's memory.
    pub fn memory_bytes() -> u64 {
        fact(|facts| facts.memory_bytes)
    }

    /// How many tasks could run at the same time.
    pub fn cpus() -> usize {
        fact(|facts| facts.cpus)
    }

    /// How far local time is ahead of UTC.
    pub fn utc_offset_seconds() -> i32 {
        fact(|facts| facts.utc_offset_seconds)
    }
}

/// The disk, without what only a plan may do to it.
pub mod disk {
    pub use crate::disk::{Disk, File, Lock, Space};
}

/// TCP.
pub mod net {
    pub use crate::net::{TcpListener, TcpStream, resolve};
}

/// Being asked to end.
pub mod signal {
    /// Waits until the plan asks this process to end.
    pub async fn shutdown() {
        crate::node::asked_to_stop().await;
    }
}

/// The monotonic clock and waiting for it.
pub mod time {
    pub use crate::time::{Duration, Elapsed, Instant, Sleep, sleep, sleep_until, timeout, timeout_at};
}

/// Runs `main` on the only node of a small world: what programs and unit tests do in simulation.
///
/// # Panics
/// When `main` panics or does not end.
pub fn run<T, F>(_workers: Option<usize>, main: impl FnOnce() -> F + Send + 'static) -> T
where
    T: Send + 'static,
    F: Future<Output = T> + Send + 'static,
{
    let outcome = crate::run(crate::Setup::seed(0), |world| {
        let node = world.node("host", std::net::Ipv4Addr::new(10, 0, 0, 1).into());
        async move { node.spawn(async move { main().await }).await }
    });
    match outcome.result {
        Ok(Some(value)) => value,
        Ok(None) => panic!("the node died"),
        Err(failure) => panic!("{failure}"),
    }
}
