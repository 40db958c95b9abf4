//! The log, record by record: for whoever can derive from it what a crash took.

use std::io;

use protocol::record::RecordRef;

use crate::state::look::{Checks, Look, look, next_candidate};
use crate::store::Store;

impl Store {
    /// Shows `visit` every record from position `from` to the end of what may be read, and returns that end. Positions
    /// that are not in the log any more are passed over, and so is what is damaged: its neighbours are not.
    ///
    /// # Errors
    /// When the disk reports one, or a file is gone.
    pub async fn walk(&self, from: u64, mut visit: impl FnMut(&RecordRef<'_>) + Send) -> io::Result<u64> {
        let limit = self.log.readable_end();
        let segment_bytes = self.log.config.segment_bytes;
        let mut at = from.max(self.log.min());
        let mut wanted = WINDOW;
        while at < limit {
            let base = at - at % segment_bytes;
            let end = base + segment_bytes;
            let length = wanted.min(limit.min(end) - at);
            let bytes = self.log.fetch(at, usize::try_from(length).expect("a window is small")).await?;
            let bytes = bytes.ok_or_else(|| damaged(at, "its file is gone"))?;
            let mut rest = &bytes[..];
            while !rest.is_empty() {
                let skip = match look(rest, at, base, end, Checks { checksum: false, torn: false }) {
                    Look::Record(record) => {
                        visit(&record);
                        record.size as usize
                    }
                    Look::Blank => {
                        at = end;
                        break;
                    }
                    Look::More(size) if size as u64 <= limit.min(end) - at => {
                        wanted = WINDOW.max(size as u64);
                        break;
                    }
                    Look::More(_) | Look::Unwritten | Look::Damaged(_) => {
                        let skip = skip_damage(rest, at, end, limit);
                        tracing::error!(
                            position = at,
                            bytes = skip,
                            "the commit log is damaged here: passed over"
                        );
                        skip
                    }
                };
                at += skip as u64;
                rest = &rest[skip..];
            }
        }
        Ok(at)
    }
}

fn damaged(at: u64, reason: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("no record at {at} of the commit log: {reason}"))
}

/// How much of `rest`, which stands at `at`, to pass over: up to what may be a record, or nearly all.
fn skip_damage(rest: &[u8], at: u64, end: u64, limit: u64) -> usize {
    let last = at + rest.len() as u64 >= limit.min(end);
    let all = if last { rest.len() } else { rest.len().saturating_sub(OVERLAP).max(1) };
    next_candidate(rest, at, end).unwrap_or(all)
}

const WINDOW: u64 = 1 << 20;
/// So that no head of a record is missed between two windows.
const OVERLAP: usize = 64;
