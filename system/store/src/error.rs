//! What a store may answer instead of success; whoever maps these to the wire knows what took effect.

use std::io;

/// Why an append had no effect.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// The body is longer than allowed.
    #[error("the body has {size} bytes, at most {max} are allowed")]
    BodyTooLong {
        /// Of the body, or of the whole batch.
        size: usize,
        /// Allowed.
        max: usize,
    },
    /// The properties text is longer than a record can hold.
    #[error("the properties have {size} bytes, at most {max} are allowed")]
    PropertiesTooLong {
        /// Found.
        size: usize,
        /// Allowed.
        max: usize,
    },
    /// The properties text holds a zero byte: recovery could not tell such a record from one whose sectors were lost.
    #[error("the properties hold a zero byte, which no record may")]
    PropertiesHoldZero,
    /// The topic is empty, longer than allowed, or cannot name a folder.
    #[error("the topic has {size} bytes, 1 to {max} are allowed, none of them a slash")]
    TopicLength {
        /// Found.
        size: usize,
        /// Allowed.
        max: usize,
    },
    /// A batch without messages, or with more than one queue in it.
    #[error("a batch must hold at least one message, all of one queue")]
    BadBatch,
    /// The topic is being deleted right now.
    #[error("topic {0} is being deleted")]
    TopicDeleted(String),
    /// The disk is full; service returns by itself when there is space.
    #[error("the disk is full: {0}")]
    DiskFull(String),
    /// A sync or a write of the log failed; the store takes no more records until it is opened again.
    #[error("the commit log failed and takes no more messages: {0}")]
    Poisoned(String),
    /// The store is shutting down.
    #[error("the store is shut down")]
    Closed,
    /// No new log file could be made.
    #[error("no new commit log file: {0}")]
    NoSegment(String),
}

/// Why an appended record is not known to be durable. It is stored, and a crash may take it back.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Undurable {
    /// The sync took longer than the time allowed.
    #[error("not on the disk within {0} ms")]
    Timeout(u128),
    /// The sync failed, or the store was closed.
    #[error("not on the disk: {0}")]
    Failed(String),
}

/// Why a queue could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The disk reported an error.
    #[error("{what} at {position}: {source}")]
    Io {
        /// What was read.
        what: &'static str,
        /// Where in the log, or offset in the queue.
        position: u64,
        /// The disk's words.
        source: io::Error,
    },
    /// The commit log failed, and what was written there cannot be read: a restart tells what became of it.
    #[error("the record at {position} cannot be read since the commit log failed: restart the broker")]
    InDoubt {
        /// Where in the log.
        position: u64,
    },
}

/// Why a store could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process uses the directory.
    #[error("the store is in use by another process (its file `lock` is held)")]
    Locked,
    /// A file operation failed.
    #[error("{what}: {source}")]
    Io {
        /// What was tried, with the path.
        what: String,
        /// The disk's words.
        source: io::Error,
    },
    /// The files contradict each other or the configuration.
    #[error("{0}")]
    Inconsistent(String),
    /// Records that were durable are unreadable and nothing valid follows.
    #[error(
        "the commit log is damaged at position {position} ({reason}) although everything up to {durable} was \
         on the disk; restore the file, or set the damage rule to cut, which drops {lost} bytes"
    )]
    Damaged {
        /// First unreadable byte.
        position: u64,
        /// What is wrong there.
        reason: String,
        /// Up to here the log was known to be on the disk.
        durable: u64,
        /// Bytes between the two.
        lost: u64,
    },
    /// The configuration cannot work.
    #[error("{0}")]
    Config(String),
}
