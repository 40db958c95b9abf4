//! Looks through a stopped store's files and lists what they hold and what is wrong with them.
//!
//! It shares the judgement of single records with recovery but none of its state: it reads the whole log from
//! its first file and compares every unit of every queue with the record it points to.

use std::collections::BTreeMap;
use std::io;

use bytes::Bytes;
use protocol::record::RecordRef;
use runtime::disk::{Disk, File};

use crate::append::is_counted;
use crate::config::Config;
use crate::state::checkpoint::Checkpoint;
use crate::state::keys::Keys;
use crate::state::layout;
use crate::state::look::{Checks, Look, look};
use crate::state::table::{Offsets, Table};
use crate::state::unit::Unit;

/// What a stopped store's files hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Audit {
    /// The store was closed properly.
    pub clean: bool,
    /// First position of the log.
    pub min_position: u64,
    /// Behind the last record that can be read in one run.
    pub end: u64,
    /// Up to here the files themselves say that the log is on the disk.
    pub durable: u64,
    /// Up to here the queue files have all units.
    pub settled: u64,
    /// Every record, in the order of the log.
    pub records: Vec<Entry>,
    /// The queues as their files have them: smallest offset and the one behind the last.
    pub queues: BTreeMap<(String, i32), (u64, u64)>,
    /// What is wrong.
    pub problems: Vec<Problem>,
}

/// One record of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Where it starts.
    pub position: u64,
    /// Its bytes.
    pub size: u32,
    /// Topic.
    pub topic: String,
    /// Queue number.
    pub queue_id: i32,
    /// Offset in its queue.
    pub queue_offset: u64,
    /// When it was stored, ms.
    pub store_timestamp: i64,
    /// Checksum of its body.
    pub body_crc: u32,
    /// Its place in a queue: false for half messages and records of topics deleted later.
    pub counted: bool,
    tag: i64,
}

/// A broken rule of harness.md section 5.2.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The rule, as `LOG-5`.
    pub rule: &'static str,
    /// What is wrong and where.
    pub text: String,
}

/// Audits the store in `disk`, which no process may be using.
///
/// # Errors
/// When files cannot be read at all; broken rules are no errors.
pub async fn audit(disk: &Disk, config: &Config) -> io::Result<Audit> {
    let table = match small(disk, layout::TABLE).await? {
        None => Table::default(),
        Some(text) => Table::decode(&text).map_err(io::Error::other)?,
    };
    let checkpoint = small(disk, layout::CHECKPOINT).await?.and_then(|page| Checkpoint::decode(&page));
    let settled = if table.rebuild { 0 } else { table.position };
    let mut audit = Audit {
        clean: small(disk, layout::ABORT).await?.is_none(),
        durable: checkpoint.map_or(0, |c| c.flushed).max(settled),
        settled,
        ..Audit::default()
    };
    audit.read_log(disk, config, &table).await?;
    if audit.clean && audit.end != audit.durable {
        let text = format!(
            "closed properly with a log up to {}, which was flushed up to {}",
            audit.end, audit.durable
        );
        audit.problem("LOG-6", text);
    }
    if audit.clean && settled != audit.end {
        audit.problem(
            "LOG-6",
            format!("closed properly with queues up to {settled}, the log has {}", audit.end),
        );
    }
    if !table.rebuild {
        audit.read_queues(disk, config, &table).await?;
    }
    Ok(audit)
}

impl Audit {
    fn problem(&mut self, rule: &'static str, text: String) {
        self.problems.push(Problem { rule, text });
    }

    async fn read_log(&mut self, disk: &Disk, config: &Config, table: &Table) -> io::Result<()> {
        let mut bases: Vec<u64> =
            disk.list(layout::LOG).await?.iter().filter_map(|name| layout::file_start(name)).collect();
        bases.retain(|base| *base >= table.log_min);
        let Some(first) = bases.first().copied() else { return Ok(()) };
        self.min_position = first;
        self.end = first;
        let mut times = i64::MIN;
        for base in bases {
            if base != self.end {
                if self.durable > self.end {
                    self.problem(
                        "LOG-5",
                        format!("the log ends at {} inside a file, the next is {base}", self.end),
                    );
                }
                return Ok(());
            }
            let file = disk.open_file(&layout::segment(base)).await?;
            if file.len() != config.segment_bytes {
                if self.durable > base {
                    self.problem("LOG-5", format!("segment {base} has {} bytes", file.len()));
                }
                return Ok(());
            }
            self.read_segment(&file, base, config, table, &mut times).await?;
        }
        Ok(())
    }

    async fn read_segment(
        &mut self,
        file: &File,
        base: u64,
        config: &Config,
        table: &Table,
        times: &mut i64,
    ) -> io::Result<()> {
        let end = base + file.len();
        let bytes = file.fetch(0, usize::try_from(file.len()).map_err(io::Error::other)?).await?;
        let mut at = base;
        while at < end {
            let rest = &bytes[usize::try_from(at - base).map_err(io::Error::other)?..];
            match look(rest, at, base, end, Checks { checksum: true, torn: at >= self.durable }) {
                Look::Record(record) => {
                    self.note_record(&record, config, table, times);
                    at += u64::from(record.size);
                    self.end = at;
                }
                Look::Blank => {
                    self.end = end;
                    return Ok(());
                }
                Look::Unwritten if at >= self.durable => {
                    self.end = at;
                    if self.clean && rest.iter().any(|b| *b != 0) {
                        self.problem("LOG-6", format!("bytes are left behind the end of the log at {at}"));
                    }
                    return Ok(());
                }
                found => {
                    self.end = at;
                    if at < self.durable || self.clean {
                        self.problem("LOG-5", format!("no record at {at}: {found:?}"));
                    }
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    fn note_record(&mut self, record: &RecordRef<'_>, config: &Config, table: &Table, times: &mut i64) {
        let (position, time) = (record.place.position, record.place.store_timestamp);
        if time < times.saturating_sub(1000) {
            self.problem(
                "LOG-5",
                format!("the record at {position} was stored at {time}, one before it at {times}"),
            );
        }
        *times = time.max(*times);
        let deleted = table.deleted.get(record.topic).is_some_and(|deleted| position < *deleted);
        self.records.push(Entry {
            position,
            size: record.size,
            topic: record.topic.to_owned(),
            queue_id: record.queue_id,
            queue_offset: record.place.queue_offset,
            store_timestamp: time,
            body_crc: record.body_crc,
            counted: is_counted(record.sys_flag) && !deleted,
            tag: {
                let keys = Keys::of(record.properties, record.sys_flag);
                config.tag(record.topic, record.queue_id, time, &keys)
            },
        });
    }

    async fn read_queues(&mut self, disk: &Disk, config: &Config, table: &Table) -> io::Result<()> {
        let mut wanted: BTreeMap<(String, i32), BTreeMap<u64, Entry>> = BTreeMap::new();
        let mut problems = Vec::new();
        for entry in self.records.iter().filter(|e| e.counted && e.position < self.settled) {
            let queue = wanted.entry((entry.topic.clone(), entry.queue_id)).or_default();
            if queue.insert(entry.queue_offset, entry.clone()).is_some() {
                problems.push(format!(
                    "queue {} of {} has two records with offset {}",
                    entry.queue_id, entry.topic, entry.queue_offset
                ));
            }
        }
        problems.drain(..).for_each(|text| self.problem("LOG-2", text));
        for (topic, queues) in &table.topics {
            for (id, Offsets { min, max }) in queues {
                self.queues.insert((topic.clone(), *id), (*min, *max));
                let entries = wanted.remove(&(topic.clone(), *id)).unwrap_or_default();
                let units = units(disk, config, topic, *id, *min, *max).await?;
                self.compare(topic, *id, *min, &units, entries);
            }
        }
        for ((topic, id), entries) in wanted {
            self.problem(
                "LOG-2",
                format!("queue {id} of {topic} is missing, with {} records", entries.len()),
            );
        }
        Ok(())
    }

    fn compare(&mut self, topic: &str, id: i32, min: u64, units: &[Unit], mut entries: BTreeMap<u64, Entry>) {
        for (index, unit) in units.iter().enumerate() {
            let offset = min + index as u64;
            let entry = entries.remove(&offset);
            let fits = entry
                .as_ref()
                .is_some_and(|e| (e.position, e.size, e.tag) == (unit.position, unit.size, unit.tag));
            if !fits {
                let text =
                    format!("offset {offset} of queue {id} of {topic} has {unit:?}, the log has {entry:?}");
                self.problem("LOG-2", text);
            }
        }
        // Records below the smallest offset may stand in a segment that is kept for others.
        for (offset, entry) in entries.range(min..) {
            let text = format!(
                "offset {offset} of queue {id} of {topic} has no unit, its record is at {}",
                entry.position
            );
            self.problem("LOG-2", text);
        }
    }
}

async fn units(
    disk: &Disk,
    config: &Config,
    topic: &str,
    id: i32,
    min: u64,
    max: u64,
) -> io::Result<Vec<Unit>> {
    let per_file = config.queue_file_bytes / Unit::SIZE;
    let mut units = Vec::new();
    let mut at = min;
    while at < max {
        let first = at - at % per_file;
        let count = (first + per_file).min(max) - at;
        let file = disk.open_sparse(&layout::queue_file(topic, id, first * Unit::SIZE)).await?;
        let length = usize::try_from(count * Unit::SIZE).map_err(io::Error::other)?;
        let bytes: Bytes = file.fetch((at - first) * Unit::SIZE, length).await?;
        units.extend(Unit::decode(&bytes));
        at += count;
    }
    Ok(units)
}

async fn small(disk: &Disk, path: &str) -> io::Result<Option<Vec<u8>>> {
    match disk.read_small(path).await {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
