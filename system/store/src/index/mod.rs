//! Finding records by key: index files as Java lays them out, made from the log by a loop of their own.
//!
//! Nothing waits for the index but queries. Dispatch, which has each record at hand, puts its keys into the file in use,
//! in memory (`join`). A loop does the rest: it reads the log where dispatch could not, up to where the two meet
//! (`follow`), and writes the keys from time to time (`write`). When anything goes wrong it starts anew from what
//! is surely on the disk (`load`); sends and queues never notice. `query` walks the chains and compares real keys.

mod follow;
mod join;
mod load;
mod query;
mod write;

use std::sync::Arc;

use runtime::disk::File;
use runtime::sync::{Mutex, Watermark};

use crate::state::index::{Header, Table};

pub use crate::state::keys::Key;
pub(crate) use join::Joined;
pub use query::{KeyQuery, Matches, QueryError};

/// What dispatch, the index's loop and queries share.
#[derive(Debug)]
pub(crate) struct Index {
    files: Mutex<Files>,
    /// A query waits for the index to come here: the loop does not linger.
    wanted: Watermark,
}

/// The files of the index as they are now.
#[derive(Debug)]
struct Files {
    /// Oldest first.
    full: Vec<Arc<Full>>,
    last: Option<Last>,
    /// All records below are in. It starts anew with each load.
    indexed: Arc<Watermark>,
    /// The loop reads records itself: nobody else puts keys in.
    following: bool,
    /// Why the loop is not at work.
    trouble: Option<String>,
    /// A query found this file damaged.
    suspect: Option<String>,
}

/// A file that takes no more keys; all of it is on the disk.
#[derive(Debug)]
struct Full {
    name: String,
    file: File,
    header: Header,
}

/// The file in use.
#[derive(Debug)]
struct Last {
    name: String,
    file: File,
    table: Table,
    /// The log has to be read from here if the file is lost.
    from: u64,
}

impl Index {
    pub(crate) fn new() -> Self {
        let files = Files {
            full: Vec::new(),
            last: None,
            indexed: Arc::new(Watermark::new(0)),
            following: false,
            trouble: Some("it is being read".to_owned()),
            suspect: None,
        };
        Self { files: Mutex::new(files), wanted: Watermark::new(0) }
    }
}

impl Files {
    /// Head of the newest file that has entries.
    fn newest(&self) -> Option<Header> {
        let last = self.last.as_ref().map(|last| last.table.header).filter(|header| header.next > 1);
        last.or_else(|| self.full.last().map(|full| full.header))
    }
}
