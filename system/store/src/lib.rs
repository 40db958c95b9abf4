//! Commit log, consume queues, flush, dispatch and recovery.
