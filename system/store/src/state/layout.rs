//! Names of the files of a store, as Java lays them out (broker-store.md 2).

/// Folder of the log's segments.
pub(crate) const LOG: &str = "commitlog";
/// Folder of the consume queues.
pub(crate) const QUEUES: &str = "consumequeue";
/// Folder of what is kept as JSON.
pub(crate) const CONFIG: &str = "config";
/// What the log cannot tell about queues.
pub(crate) const TABLE: &str = "config/queues.json";
/// Folder of the index files: Java reads every file in it, so nothing else may be there.
pub(crate) const INDEX: &str = "index";
/// How far the index is on the disk.
pub(crate) const INDEX_MARK: &str = "config/index.json";
/// How far the log was flushed.
pub(crate) const CHECKPOINT: &str = "checkpoint";
/// Exists while a store runs.
pub(crate) const ABORT: &str = "abort";
/// Held by the process that uses the directory.
pub(crate) const LOCK: &str = "lock";

/// A file's name: where it starts, as 20 digits.
pub(crate) fn file_name(start: u64) -> String {
    format!("{start:020}")
}

/// Where a file starts, from its name; None for names that are not 20 digits.
pub(crate) fn file_start(name: &str) -> Option<u64> {
    (name.len() == 20 && name.bytes().all(|b| b.is_ascii_digit())).then(|| name.parse().ok())?
}

/// Path of the segment that starts at `base`.
pub(crate) fn segment(base: u64) -> String {
    format!("{LOG}/{base:020}")
}

/// Folder of a topic's queues.
pub(crate) fn topic(topic: &str) -> String {
    format!("{QUEUES}/{topic}")
}

/// Folder of a queue's files.
pub(crate) fn queue(topic: &str, id: i32) -> String {
    format!("{QUEUES}/{topic}/{id}")
}

/// Path of the queue file that starts at byte `start`.
pub(crate) fn queue_file(topic: &str, id: i32, start: u64) -> String {
    format!("{QUEUES}/{topic}/{id}/{start:020}")
}

/// Whether a topic can be the name of a folder.
pub(crate) fn is_folder_name(topic: &str) -> bool {
    !topic.is_empty() && !matches!(topic, "." | "..") && !topic.bytes().any(|b| matches!(b, b'/' | 0))
}
