//! Bit rot: chooses what it hits among what is surely on a broker's disk, and tells the history whose bytes they were.

use world::Node;

use super::audit::take_image;
use super::cluster::STORE;
use crate::clients::Shared;
use crate::draw::Draw;
use crate::history::{Image, QueueId, RECOVERED, Rotten, Slot};

/// Turns one bit of a message's record in the log, or of its entry in a queue. What a broker wrote since it was started
/// and reads from memory is not hit, nor what may be a torn end of the log when it is started the next time.
pub(super) fn strike(shared: &Shared, node: Node, queues: bool, step: u32) {
    let image = take_image(shared, node, RECOVERED);
    let mut draw = Draw::new(shared.plan.seed, &format!("rot of step {step}"));
    let chosen = if queues { entry(&image, &mut draw) } else { record(shared, node, &image, &mut draw) };
    let Some(Chosen { slot, record, folder, at, bytes }) = chosen else { return };
    let broker = shared.recorder.id(node);
    let folder = match folder {
        Some(queue) => {
            let live = shared.recorder.live();
            let facts = live.history.queues[queue.index()];
            format!("{STORE}/consumequeue/{}/{}/", live.history.topic_name(facts.topic), facts.number)
        }
        None => format!("{STORE}/commitlog/"),
    };
    let starts = node.disk().paths().into_iter().filter_map(|path| path.strip_prefix(&folder)?.parse().ok());
    let Some(start) = starts.filter(|start: &u64| *start <= at).max() else { return };
    let path = format!("{folder}{start:020}");
    if node.disk().rot(&path, at - start..at - start + bytes).is_some() {
        shared.recorder.rotten(Rotten { broker, slot, record, gone_ns: None });
    }
}

/// What is hit.
struct Chosen {
    slot: Slot,
    /// Begin and end of the record, when it is that.
    record: Option<(u64, u64)>,
    /// The queue in whose files it is; none: in the log.
    folder: Option<QueueId>,
    /// Where it begins there, and how long it is.
    at: u64,
    bytes: u64,
}

/// A record that is surely on the disk, with others behind it that are.
fn record(shared: &Shared, node: Node, image: &Image, draw: &mut Draw) -> Option<Chosen> {
    let durable = durable(&node.disk().contents(&format!("{STORE}/checkpoint"))?)?;
    let count = image.records.partition_point(|record| record.position + u64::from(record.size) <= durable);
    let sure = &image.records[..count.saturating_sub(BEHIND)];
    let found = if node.is_up() { shared.recorder.recovered(node) } else { u64::MAX };
    let known: Vec<_> = sure.iter().filter(|it| it.queue.is_some() && it.position < found).collect();
    if known.is_empty() {
        return None;
    }
    let record = **draw.pick(&known);
    let (from, until) = (record.position, record.position + u64::from(record.size));
    let slot = Slot { queue: record.queue?, offset: record.offset };
    // One in four hits the head.
    let (at, bytes) = match draw.below(4) {
        0 => *draw.pick(PLACE),
        _ => (HEAD, until - from - HEAD),
    };
    let at = from + at;
    Some(Chosen { slot, record: Some((from, until)), folder: None, at, bytes })
}

/// An entry of a queue.
fn entry(image: &Image, draw: &mut Draw) -> Option<Chosen> {
    let filled: Vec<_> = image.queues.iter().filter(|units| !units.units.is_empty()).collect();
    if filled.is_empty() {
        return None;
    }
    let units = *draw.pick(&filled);
    let offset = units.first + draw.below(units.units.len() as u64);
    let slot = Slot { queue: units.queue, offset };
    Some(Chosen { slot, record: None, folder: Some(units.queue), at: offset * UNIT, bytes: UNIT })
}

/// Up to where the log was on the disk, by the checkpoint's page: behind Java's five numbers, with its complement.
fn durable(page: &[u8]) -> Option<u64> {
    let word = |at: usize| page.get(at..)?.first_chunk::<8>().map(|bytes| u64::from_be_bytes(*bytes));
    let (flushed, check) = (word(48)?, word(56)?);
    (check == !flushed).then_some(flushed)
}

/// So many whole records are behind one that is hit: where nothing whole follows, a broker refuses to start.
const BEHIND: usize = 4;
/// Bytes of a record in front of its body.
const HEAD: u64 = 88;
/// Of those, where they begin and how many they are, what says where the record belongs: size and magic, checksum and queue,
/// offset and position. Nothing tells that the others rotted: its times, hosts, flags and counts.
const PLACE: &[(u64, u64)] = &[(0, 8), (8, 8), (20, 16)];
/// Bytes of an entry.
const UNIT: u64 = 20;
