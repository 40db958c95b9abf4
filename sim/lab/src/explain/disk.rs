//! The disk of a broker at each of its deaths: what was written, what was synced, what was found afterwards.

use std::collections::BTreeSet;

use super::detail::{Detail, Fall, Fallen};
use super::focus::{Focus, lies_at};
use crate::history::{Audit, History, Kind, NodeId, Slot, Stored};
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
    /// Sectors that are not as they were written, a few.
    pub sectors: Vec<Sector>,
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

/// A sector that is not as it was written, or some in a row.
#[derive(Clone, Debug, PartialEq)]
pub struct Sector {
    /// The file it is in.
    pub path: String,
    /// Where it begins: in the log, or else in its file.
    pub from: u64,
    /// And ends.
    pub until: u64,
    /// What it holds now is what was synced; else something older than the last write.
    pub synced: bool,
    /// Records that it belongs to.
    pub of: Vec<String>,
}

/// What became of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum After {
    /// It is whole, and in the log.
    There,
    /// It was whole, and the recovery cut it off.
    CutOff,
    /// It is not whole, and the recovery kept it.
    Kept,
    /// It is not whole, and the recovery cut it off.
    Gone,
}

/// A record that a death changed on the disk.
#[derive(Clone, Debug, PartialEq)]
pub struct Damage {
    /// When.
    pub at_ns: u64,
    /// Whose disk.
    pub node: NodeId,
    /// Which record.
    pub slot: Slot,
    /// Where it begins in the log.
    pub position: u64,
    /// And ends.
    pub end: u64,
    /// Sectors of it that are not as they were written, as positions in the log.
    pub sectors: Vec<(u64, u64)>,
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
    /// Its broker says OK when it is synced, and not before.
    pub promised: bool,
    /// It was synced as a whole.
    pub synced: bool,
    /// What became of it.
    pub after: After,
}

impl Record {
    /// What its producer was told does not hold.
    #[must_use]
    pub fn is_broken(&self) -> bool {
        self.after == After::Kept || self.acknowledged && self.promised && self.after != After::There
    }
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
    let recovered = recovered.into_iter().next();
    let mut records = Vec::new();
    for file in fall.files.iter().filter(|file| log_start(file).is_some()) {
        records.extend(log_records(history, audit, focus, (fall, recovered), file));
    }
    let sectors = fall.files.iter().flat_map(|file| sectors(file, &records)).take(SECTORS).collect();
    Death {
        at_ns: fall.at_ns,
        node: fall.node.clone(),
        power: fall.power,
        files: fall.files.iter().map(file).collect(),
        others: fall.others,
        sectors,
        records,
        recovered,
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

/// Where a file of the log begins.
fn log_start(file: &Fallen) -> Option<u64> {
    let (folder, name) = file.path.rsplit_once('/')?;
    if folder.ends_with("commitlog") { name.parse().ok() } else { None }
}

/// The records of a file of the log.
fn read(history: &History, node: NodeId, fall: &Fall, file: &Fallen, bytes: &[u8]) -> Vec<Stored> {
    let name = file.path.rsplit('/').next().unwrap_or_default();
    let files = [(format!("commitlog/{name}"), bytes.to_vec())];
    image::read(history, node, fall.at_ns, "", &files).records
}

/// A part of a file; what is behind its end is empty.
fn part(bytes: &[u8], from: usize, until: usize) -> Vec<u8> {
    let mut part = bytes.get(from.min(bytes.len())..until.min(bytes.len())).unwrap_or_default().to_vec();
    part.resize(until - from, 0);
    part
}

/// Sectors of a file that are not as they were written, as places in it.
fn changed(file: &Fallen) -> impl Iterator<Item = (usize, usize)> {
    let after = file.after.as_deref().unwrap_or_default();
    let length = file.before.len();
    let all = (0..length).step_by(SECTOR).map(move |from| (from, (from + SECTOR).min(length)));
    all.filter(move |(from, until)| part(&file.before, *from, *until) != part(after, *from, *until))
}

fn sectors(file: &Fallen, records: &[Record]) -> Vec<Sector> {
    let start = log_start(file);
    let sector = |(from, until): (usize, usize)| {
        let after = file.after.as_deref().unwrap_or_default();
        let (low, high) = (start.unwrap_or(0) + from as u64, start.unwrap_or(0) + until as u64);
        let of = records.iter().filter(|it| start.is_some() && it.position < high && low < it.end);
        Sector {
            path: file.path.clone(),
            from: low,
            until: high,
            synced: part(after, from, until) == part(&file.synced, from, until),
            of: of.map(|it| format!("{} at {} to {}", it.message, it.position, it.end)).collect(),
        }
    };
    let mut sectors: Vec<Sector> = Vec::new();
    for sector in changed(file).map(sector) {
        match sectors.last_mut().filter(|last| last.until == sector.from) {
            Some(last) if (last.synced, &last.of) == (sector.synced, &sector.of) => last.until = sector.until,
            _ => sectors.push(sector),
        }
    }
    sectors
}

/// Records at these places that deaths changed.
#[must_use]
pub fn damages(history: &History, detail: &Detail, slots: &BTreeSet<Slot>) -> Vec<Damage> {
    let mut damages = Vec::new();
    for fall in &detail.falls {
        let Some(node) = history.known_node(&fall.node) else { continue };
        for file in &fall.files {
            let Some(start) = log_start(file) else { continue };
            let lost: Vec<(u64, u64)> =
                changed(file).map(|(from, until)| (start + from as u64, start + until as u64)).collect();
            for record in read(history, node, fall, file, &file.before) {
                let (position, end) = (record.position, record.position + u64::from(record.size));
                let Some(slot) = record.queue.map(|queue| Slot { queue, offset: record.offset }) else {
                    continue;
                };
                let sectors = lost.iter().filter(|(from, until)| *from < end && position < *until);
                let sectors: Vec<_> = sectors.copied().collect();
                let (from, until) = ((position - start) as usize, (end - start) as usize);
                let after = file.after.as_deref().unwrap_or_default();
                let whole = part(&file.before, from, until) == part(after, from, until);
                if slots.contains(&slot) && record.intact && !whole {
                    damages.push(Damage { at_ns: fall.at_ns, node, slot, position, end, sectors });
                }
            }
        }
    }
    damages
}

/// The records from a few before the first byte at risk on.
fn log_records(
    history: &History,
    audit: &Audit,
    focus: &Focus,
    (fall, recovered): (&Fall, Option<u64>),
    file: &Fallen,
) -> Vec<Record> {
    let Some(node) = history.known_node(&fall.node) else { return Vec::new() };
    let Some(start) = log_start(file) else { return Vec::new() };
    let before = read(history, node, fall, file, &file.before);
    let after = file.after.as_deref().unwrap_or_default();
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
        let end = record.position + u64::from(record.size);
        let (from, until) = ((record.position - start) as usize, (end - start) as usize);
        let written = part(&file.before, from, until);
        let whole = file.after.is_some() && written == part(after, from, until);
        let kept = recovered.is_none_or(|recovered| recovered > record.position);
        Record {
            position: record.position,
            end,
            place: slot
                .map_or("of no queue of the plan".to_owned(), |slot| super::tell::place(history, slot)),
            message: message.map_or("not known".to_owned(), |id| history.message_name(id)),
            ours: slot.is_some_and(|slot| focus.slots.contains(&slot)),
            acknowledged: told,
            promised: slot.is_some_and(|slot| history.sync_flush(slot.queue)),
            synced: written == part(&file.synced, from, until),
            after: match (whole, kept) {
                (true, true) => After::There,
                (true, false) => After::CutOff,
                // Without a start nobody has kept anything.
                (false, true) if recovered.is_some() => After::Kept,
                (false, _) => After::Gone,
            },
        }
    });
    records.collect()
}

const SECTOR: usize = 512;
/// Deaths that are shown.
const MOST: usize = 4;
/// Records shown before the cut.
const BEFORE: usize = 3;
/// Sectors that are shown.
const SECTORS: usize = 16;
/// Records shown in all.
const RECORDS: usize = 24;
