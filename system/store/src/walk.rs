//! The log, record by record: for whoever can derive from it what a crash took.

use std::io;

use protocol::record::RecordRef;

use crate::state::look::{Checks, Look, look};
use crate::store::Store;

impl Store {
    /// Shows `visit` every record from position `from`, where one must start, to the end of what may be read, and
    /// returns that end. Positions that are not in the log any more are passed over.
    ///
    /// # Errors
    /// When the disk reports one, or something else than a record stands in the way.
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
            let start = at;
            let mut rest = &bytes[..];
            while !rest.is_empty() {
                match look(rest, at, base, end, Checks { checksum: false, torn: false }) {
                    Look::Record(record) => {
                        visit(&record);
                        at += u64::from(record.size);
                        rest = &rest[record.size as usize..];
                    }
                    Look::Blank => {
                        at = end;
                        break;
                    }
                    Look::More(size) if at > start || size as u64 > length => {
                        wanted = WINDOW.max(size as u64);
                        break;
                    }
                    Look::More(_) => return Err(damaged(at, "a record ends behind the log")),
                    Look::Unwritten => return Err(damaged(at, "nothing is written there")),
                    Look::Damaged(reason) => return Err(damaged(at, &reason)),
                }
            }
        }
        Ok(at)
    }
}

fn damaged(at: u64, reason: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("no record at {at} of the commit log: {reason}"))
}

const WINDOW: u64 = 1 << 20;
