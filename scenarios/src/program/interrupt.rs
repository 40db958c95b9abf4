//! Ctrl-C: what is under way is finished, what was to come is left out, and there is a report of what was done.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context as _;
use tokio::signal::unix::{SignalKind, signal};

/// Whether somebody asked the program to end; clones look at the same wish.
#[derive(Clone, Default)]
pub(super) struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// Listens from now on. A second Ctrl-C ends the program at once.
    pub(super) fn listen() -> anyhow::Result<Self> {
        let asked = Self::default();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
        let mut signals = {
            let _here = runtime.enter();
            signal(SignalKind::interrupt()).context("cannot listen for Ctrl-C")?
        };
        let listener = asked.clone();
        std::thread::spawn(move || {
            runtime.block_on(async {
                signals.recv().await;
                listener.0.store(true, Ordering::Relaxed);
                signals.recv().await;
                std::process::exit(i32::from(CODE));
            });
        });
        Ok(asked)
    }

    /// True when it was asked for.
    pub(super) fn is_asked(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// The exit code of a program that was interrupted.
pub(super) const CODE: u8 = 130;
