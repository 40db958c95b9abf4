//! The line of batches in front of the listener, first come first served.

use std::collections::VecDeque;
use std::sync::Arc;

use runtime::sync::{Mutex, Semaphore};

use crate::Received;
use crate::session::Session;

/// Messages of one queue for one call of the listener.
pub(crate) struct Job {
    pub(crate) session: Arc<Session>,
    pub(crate) messages: Vec<Arc<Received>>,
}

/// Bounded by the limits of the queues whose messages wait here.
pub(crate) struct Line {
    jobs: Mutex<VecDeque<Job>>,
    waiting: Semaphore,
}

impl Line {
    pub(crate) fn new() -> Self {
        Self { jobs: Mutex::default(), waiting: Semaphore::new(0) }
    }

    pub(crate) fn push(&self, job: Job) {
        self.jobs.lock().push_back(job);
        self.waiting.add_permits(1);
    }

    /// The next job; `None` when the line is closed.
    pub(crate) async fn next(&self) -> Option<Job> {
        self.waiting.acquire().await.ok()?.forget();
        self.jobs.lock().pop_front()
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.waiting.is_closed()
    }

    /// No further job is begun.
    pub(crate) fn close(&self) {
        self.waiting.close();
        self.jobs.lock().clear();
    }
}
