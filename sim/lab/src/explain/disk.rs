//! The disk of a broker at each of its deaths: what was written, what was synced, what was found afterwards.

use std::collections::BTreeMap;

use super::detail::{Detail, Fall, Fallen};
use super::focus::{Focus, lies_at};
use crate::history::{Audit, History, Kind, Slot, Stored};
use crate::image;

/// One death.
#[derive(Clone, Debug, PartialEq)]
pub struct Death {
    /// When.
    pub at_ns: u64,
    /// Whose.
    pub node: String,
    /// Its power went; else only the process died, and what was written stayed.
    pub power: bool,
    /// Files with something that was not synced.
    pub files: Vec<File>,
    /// How many others there were.
    pub others: usize,
    /// Records around the cut.
    pub records: Vec<Record>,
    /// Where the recovery found the end of the log.
    pub recovered: Option<u64>,
    /// What a look at the files afterwards said.
    pub audit: Vec<String>,
}

/// One file.
#[derive(Clone, Debug, PartialEq)]
pub struct File {
    /// Its path.
    pub path: String,
    /// How far something was written.
    pub written: usize,
    /// How far all of that was synced.
    pub synced: usize,
    /// Sectors that were not synced.
    pub at_risk: usize,
    /// Of those: as they were written.
    pub kept: usize,
    /// As they were synced.
    pub lost: usize,
    /// Neither: from in between.
    pub torn: usize,
    /// The file is not there any more.
    pub gone: bool,
}

/// One record of the log.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// Where in the log.
    pub position: u64,
    /// Up to where.
    pub end: u64,
    /// Where in its queue.
    pub place: String,
    /// Which message.
    pub message: String,
    /// It is the one the page is about.
    pub ours: bool,
    /// Its producer had been told OK by then.
    pub acknowledged: bool,
    /// It was synced as a whole.
    pub synced: bool,
    /// It was there afterwards, as a whole.
    pub after: bool,
}

/// The deaths of brokers that matter, the nearest to the witness first; a few.
#[must_use]
pub fn deaths(history: &History, audit: &Audit, detail: &Detail, focus: &Focus) -> Vec<Death> {
    let nodes: Vec<&str> = focus.nodes(history).into_iter().map(|node| history.node_name(node)).collect();
    let brokers = |fall: &&Fall| {
        nodes.contains(&fall.node.as_str())
            && history.brokers.iter().any(|broker| history.node_name(broker.node) == fall.node)
    };
    let heal =
        history.events.iter().find(|event| event.kind == Kind::Heal).map_or(u64::MAX, |event| event.at_ns);
    let mut falls: Vec<&Fall> =
        detail.falls.iter().filter(brokers).filter(|fall| fall.at_ns < heal).collect();
    falls.sort_by_key(|fall| (!fall.power, fall.at_ns));
    falls.truncate(MOST);
    falls.sort_by_key(|fall| fall.at_ns);
    falls.into_iter().map(|fall| death(history, audit, focus, fall)).collect()
}

fn death(history: &History, audit: &Audit, focus: &Focus, fall: &Fall) -> Death {
    let node = history.known_node(&fall.node);
    let after = history.events.iter().filter(|event| event.at_ns >= fall.at_ns && Some(event.node) == node);
    let recovered = after.filter_map(|event| match event.kind {
        Kind::Recovered { end } => Some(end),
        _ => None,
    });
    let images = audit
        .images
        .iter()
        .filter(|image| image.at_ns >= fall.at_ns && node.is_some_and(|node| node.0 == image.node));
    let said = images.take(1).flat_map(|image| {
        let head = format!(
            "{} at {:.3} s: {} records, the log ends at {}",
            image.when,
            image.at_ns as f64 / 1e9,
            image.records.len(),
            image.end
        );
        std::iter::once(head).chain(image.faults.iter().cloned()).chain(image.behind.iter().cloned())
    });
    let mut records = Vec::new();
    for file in fall.files.iter().filter(|file| file.path.contains("commitlog/")) {
        records.extend(log_records(history, audit, focus, fall, file));
    }
    Death {
        at_ns: fall.at_ns,
        node: fall.node.clone(),
        power: fall.power,
        files: fall.files.iter().map(file).collect(),
        others: fall.others,
        records,
        recovered: recovered.into_iter().next(),
        audit: said.collect(),
    }
}

fn file(file: &Fallen) -> File {
    let written = |bytes: &[u8]| bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    let end = written(&file.before).max(written(&file.synced));
    let synced = file.before.iter().zip(&file.synced).position(|(now, then)| now != then).unwrap_or(end);
    let (mut at_risk, mut kept, mut lost, mut torn) = (0, 0, 0, 0);
    let nothing = Vec::new();
    let after = file.after.as_ref().unwrap_or(&nothing);
    for start in (0..file.before.len()).step_by(SECTOR) {
        let sector = |bytes: &[u8]| {
            let end = (start + SECTOR).min(file.before.len());
            let mut part = bytes.get(start..end.min(bytes.len())).unwrap_or_default().to_vec();
            part.resize(end - start, 0);
            part
        };
        let (before, durable, found) = (sector(&file.before), sector(&file.synced), sector(after));
        if before == durable {
            continue;
        }
        at_risk += 1;
        match () {
            () if found == before => kept += 1,
            () if found == durable => lost += 1,
            () => torn += 1,
        }
    }
    let path = file.path.clone();
    File { path, written: end, synced, at_risk, kept, lost, torn, gone: file.after.is_none() }
}

/// The records from a few before the first byte at risk on.
fn log_records(history: &History, audit: &Audit, focus: &Focus, fall: &Fall, file: &Fallen) -> Vec<Record> {
    let Some(node) = history.known_node(&fall.node) else { return Vec::new() };
    let name = file.path.rsplit('/').next().unwrap_or_default();
    let Ok(start) = name.parse::<u64>() else { return Vec::new() };
    let read = |bytes: &[u8]| {
        let files = [(format!("commitlog/{name}"), bytes.to_vec())];
        image::read(history, node, fall.at_ns, "", &files).records
    };
    let key = |record: &Stored| (record.position, record.size, record.queue, record.offset);
    let whole = |records: Vec<Stored>| -> BTreeMap<_, bool> {
        records.iter().map(|record| (key(record), record.intact)).collect()
    };
    let before = read(&file.before);
    let synced = whole(read(&file.synced));
    let after = whole(file.after.as_deref().map(read).unwrap_or_default());
    let cut =
        file.before.iter().zip(&file.synced).position(|(now, then)| now != then).unwrap_or(0) as u64 + start;
    let event = history.events.partition_point(|event| event.at_ns <= fall.at_ns);
    let first = before
        .partition_point(|record| record.position + u64::from(record.size) <= cut)
        .saturating_sub(BEFORE);
    let records = before.iter().skip(first).take(RECORDS).map(|record| {
        let slot = record.queue.map(|queue| Slot { queue, offset: record.offset });
        let message = slot.and_then(|slot| lies_at(history, audit, slot, event.saturating_sub(1)));
        let told = history.events[..event]
            .iter()
            .any(|event| matches!(event.kind, Kind::Acked { slot: at, code: 0, .. } if Some(at) == slot));
        Record {
            position: record.position,
            end: record.position + u64::from(record.size),
            place: slot
                .map_or("of no queue of the plan".to_owned(), |slot| super::tell::place(history, slot)),
            message: message.map_or("not known".to_owned(), |id| history.message_name(id)),
            ours: message.is_some() && message == focus.message,
            acknowledged: told,
            synced: synced.get(&key(record)) == Some(&true),
            after: after.get(&key(record)) == Some(&true),
        }
    });
    records.collect()
}

const SECTOR: usize = 512;
/// Deaths that are shown.
const MOST: usize = 4;
/// Records shown before the cut.
const BEFORE: usize = 3;
/// Records shown in all.
const RECORDS: usize = 24;
