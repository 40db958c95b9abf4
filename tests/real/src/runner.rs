//! A client that can be killed, stopped and frozen though it shares the driver's process: it has a thread and a runtime of
//! its own.

use std::future::Future;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::sync::{Notify, oneshot};

/// A running client.
#[derive(Debug)]
pub(crate) struct Runner {
    thread: JoinHandle<()>,
    stop: Option<oneshot::Sender<()>>,
    kill: oneshot::Sender<()>,
    gate: Arc<Gate>,
}

/// Where a client stands still.
#[derive(Debug, Default)]
struct Gate {
    closed: Mutex<bool>,
    opened: Condvar,
    freeze: Notify,
}

impl Gate {
    fn set(&self, closed: bool) {
        *self.closed.lock().unwrap_or_else(PoisonError::into_inner) = closed;
        self.opened.notify_all();
        self.freeze.notify_one();
    }

    /// Holds the client's only thread, and with it all that the client does.
    async fn watch(&self) {
        loop {
            self.freeze.notified().await;
            let closed = self.closed.lock().unwrap_or_else(PoisonError::into_inner);
            drop(self.opened.wait_while(closed, |closed| *closed));
        }
    }
}

impl Runner {
    /// Starts a program, which is given what asks it to end.
    pub(crate) fn start<P, F>(program: P) -> Self
    where
        P: FnOnce(Stop) -> F + Send + 'static,
        F: Future<Output = ()>,
    {
        let (stop, asked) = oneshot::channel();
        let (kill, killed) = oneshot::channel::<()>();
        let gate = Arc::new(Gate::default());
        let own = gate.clone();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let runtime = runtime.expect("the system gives an event queue");
            runtime.spawn(async move { own.watch().await });
            runtime.block_on(async {
                tokio::select! {
                    biased;
                    _ = killed => {}
                    () = program(Stop(asked)) => {}
                }
            });
        });
        Self { thread, stop: Some(stop), kill, gate }
    }

    /// True when its program has ended.
    pub(crate) fn has_ended(&self) -> bool {
        self.thread.is_finished()
    }

    /// Lets it stand still.
    pub(crate) fn pause(&self) {
        self.gate.set(true);
    }

    /// Lets it go on.
    pub(crate) fn resume(&self) {
        self.gate.set(false);
    }

    /// Ends it at once: its connections close, and nothing it does goes on. False when it had panicked.
    pub(crate) fn kill(self) -> bool {
        let _ = self.kill.send(());
        self.gate.set(false);
        self.thread.join().is_ok()
    }

    /// Asks it to end and waits; false when it did not end in time.
    pub(crate) async fn stop(&mut self, limit: Duration) -> bool {
        drop(self.stop.take());
        let begun = Instant::now();
        while !self.has_ended() && begun.elapsed() < limit {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        self.has_ended()
    }
}

/// Comes when a client is asked to end.
#[derive(Debug)]
pub(crate) struct Stop(oneshot::Receiver<()>);

impl Stop {
    /// Waits for it.
    pub(crate) async fn asked(self) {
        let _ = self.0.await;
    }
}
