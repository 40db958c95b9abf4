//! Reads the files of a broker's store without the store's own code: records, blanks, queue entries, and what lies
//! behind the end.

use std::collections::BTreeMap;

use crate::history::{History, Image, NodeId, QueueId, RECOVERED, Stored, Units};

/// Reads the files of the broker on `node`: path under the store's directory and content.
#[must_use]
pub fn read(
    history: &History,
    node: NodeId,
    at_ns: u64,
    when: &'static str,
    files: &[(String, Vec<u8>)],
) -> Image {
    let mut image = Image { node: node.0, at_ns, when, ..Image::default() };
    let mut log: Vec<(u64, &[u8])> = Vec::new();
    let mut queues: BTreeMap<QueueId, Vec<(u64, &[u8])>> = BTreeMap::new();
    let mut settled = BTreeMap::new();
    for (path, bytes) in files {
        let parts: Vec<&str> = path.split('/').collect();
        match parts[..] {
            ["config", "queues.json"] => settled = table(history, node, bytes),
            ["commitlog", name] => log.extend(name.parse().ok().map(|start| (start, bytes.as_slice()))),
            ["consumequeue", topic, number, name] => {
                let (Some(topic), Ok(number), Ok(start)) =
                    (history.known_topic(topic), number.parse(), name.parse())
                else {
                    continue;
                };
                if let Some(queue) = history.known_queue(topic, node, number) {
                    queues.entry(queue).or_default().push((start, bytes));
                }
            }
            _ => {}
        }
    }
    read_log(history, node, log, &mut image);
    for (queue, files) in queues {
        let mut units = read_queue(queue, files);
        if when == RECOVERED {
            // Behind what the table counts lies what a crash left of a write; the store makes it anew from the log.
            let max = settled.get(&queue).copied().unwrap_or(0);
            units.units.truncate(max.saturating_sub(units.first) as usize);
        }
        image.queues.push(units);
    }
    image
}

/// How far each queue is written, by the store's table.
fn table(history: &History, node: NodeId, text: &[u8]) -> BTreeMap<QueueId, u64> {
    let mut settled = BTreeMap::new();
    let json = text.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let Ok(table) = serde_json::from_slice::<serde_json::Value>(json) else { return settled };
    if table["rebuild"].as_bool() == Some(true) {
        return settled;
    }
    for (topic, queues) in table["topics"].as_object().into_iter().flatten() {
        let Some(topic) = history.known_topic(topic) else { continue };
        for (number, offsets) in queues.as_object().into_iter().flatten() {
            let queue = number.parse().ok().and_then(|number| history.known_queue(topic, node, number));
            settled.extend(queue.zip(offsets["max"].as_u64()));
        }
    }
    settled
}

/// Where the record ends that begins here, when a bit of it turned.
fn rotten_until(history: &History, image: &Image, position: u64) -> Option<u64> {
    let mut records = history.rotten.iter().filter_map(|it| it.in_log(NodeId(image.node), image.at_ns));
    records.find(|(from, _)| *from == position).map(|(_, until)| until)
}

fn read_log(history: &History, node: NodeId, mut files: Vec<(u64, &[u8])>, image: &mut Image) {
    files.sort_unstable_by_key(|file| file.0);
    image.start = files.first().map_or(0, |file| file.0);
    let mut ended = false;
    for (place, &(start, bytes)) in files.iter().enumerate() {
        if place > 0 && files[place - 1].0 + files[place - 1].1.len() as u64 != start {
            image.faults.push(format!("the log file {start} does not follow its predecessor"));
        }
        if ended {
            if bytes.iter().any(|byte| *byte != 0) {
                image
                    .behind
                    .push(format!("the log file {start} lies behind the end {} and is not empty", image.end));
            }
            continue;
        }
        let mut at = 0;
        loop {
            let position = start + at as u64;
            if let Some(until) = rotten_until(history, image, position) {
                at += (until - position) as usize;
                image.end = until;
                continue;
            }
            match record_at(history, node, &bytes[at..], position) {
                Found::Record(record) => {
                    at += record.size as usize;
                    image.records.push(record);
                    image.end = start + at as u64;
                }
                Found::Blank if at + 8 <= bytes.len() => {
                    image.end = start + bytes.len() as u64;
                    break;
                }
                Found::Damaged(why) => {
                    image.faults.push(format!("the record at {position} is damaged: {why}"));
                    ended = true;
                    break;
                }
                Found::Nothing | Found::Blank => {
                    image.end = position;
                    ended = true;
                    let rest = &bytes[at..];
                    if let Some(behind) = rest.iter().position(|byte| *byte != 0) {
                        let behind = position + behind as u64;
                        image.behind.push(format!(
                            "there are bytes at {behind}, behind the end {position} of the log"
                        ));
                    }
                    break;
                }
            }
        }
    }
}

enum Found {
    Record(Stored),
    Blank,
    Nothing,
    Damaged(&'static str),
}

fn record_at(history: &History, node: NodeId, bytes: &[u8], position: u64) -> Found {
    let mut cursor = Cursor { bytes, at: 0 };
    let (Some(size), Some(magic)) = (cursor.u32(), cursor.u32()) else { return Found::Nothing };
    match magic {
        BLANK if size as usize == bytes.len() => return Found::Blank,
        BLANK => return Found::Damaged("a blank that does not reach the end of its file"),
        V1 | V2 if (size as usize) <= bytes.len() => {}
        V1 | V2 => return Found::Damaged("it is longer than its file"),
        _ if size == 0 && magic == 0 => return Found::Nothing,
        _ => return Found::Damaged("it does not begin like a record"),
    }
    match fields(history, node, position, size, magic == V2, cursor) {
        Some(record) => Found::Record(record),
        None => Found::Damaged("its parts do not fill it"),
    }
}

/// The fields behind size and magic, in the order of the file format.
fn fields(
    history: &History,
    node: NodeId,
    position: u64,
    size: u32,
    long_topic: bool,
    mut cursor: Cursor<'_>,
) -> Option<Stored> {
    let crc = cursor.u32()?;
    let number = cursor.u32()?;
    cursor.skip(4)?; // flag
    let (offset, says_position) = (cursor.u64()?, cursor.u64()?);
    let sys_flag = cursor.u32()?;
    cursor.skip(8)?; // born time
    cursor.skip(if sys_flag & BORN_V6 == 0 { 8 } else { 20 })?;
    let stored_ms = cursor.u64()? as i64;
    cursor.skip(if sys_flag & STORE_V6 == 0 { 8 } else { 20 })?;
    cursor.skip(4 + 8)?; // times consumed, prepared transaction
    let length = cursor.u32()? as usize;
    let body = cursor.skip(length)?;
    let length = if long_topic { cursor.u16()? as usize } else { cursor.skip(1)?[0] as usize };
    let topic = std::str::from_utf8(cursor.skip(length)?).ok().and_then(|topic| history.known_topic(topic));
    let length = cursor.u16()? as usize;
    let properties = cursor.skip(length)?;
    (cursor.at == size as usize).then(|| Stored {
        position,
        size,
        queue: topic.and_then(|topic| history.known_queue_at(topic, node, number, position)),
        offset,
        tag_hash: tag_hash(properties),
        stored_ms,
        intact: crc32fast::hash(body) & 0x7fff_ffff == crc,
        says_position,
    })
}

fn read_queue(queue: QueueId, mut files: Vec<(u64, &[u8])>) -> Units {
    files.sort_unstable_by_key(|file| file.0);
    let mut first = files.first().map_or(0, |file| file.0 / UNIT as u64);
    let mut units: Vec<(u64, u32, i64)> = Vec::new();
    'files: for (start, bytes) in files {
        if start / UNIT as u64 != first + units.len() as u64 {
            break;
        }
        for unit in bytes.chunks_exact(UNIT) {
            let mut cursor = Cursor { bytes: unit, at: 0 };
            let (Some(position), Some(size), Some(tag)) = (cursor.u64(), cursor.u32(), cursor.u64()) else {
                break;
            };
            // Of an entry that was written a bit may have turned in its size.
            if unit.iter().all(|byte| *byte == 0) {
                break 'files;
            }
            // A filler before the first entry of a queue that begins within a file; later it is where a record was lost.
            if size == 0x7fff_ffff && units.is_empty() {
                first += 1;
                continue;
            }
            units.push((position, size, tag as i64));
        }
    }
    Units { queue, first, units }
}

/// Java's hash of the tag, as queue entries hold it; 0 without tag.
fn tag_hash(properties: &[u8]) -> i64 {
    let mut pairs = properties.split(|byte| *byte == 2);
    let tag =
        pairs.find_map(|pair| pair.strip_prefix(b"TAGS\x01")).and_then(|tag| std::str::from_utf8(tag).ok());
    let hash = |tag: &str| {
        tag.encode_utf16().fold(0i32, |hash, unit| hash.wrapping_mul(31).wrapping_add(i32::from(unit)))
    };
    tag.filter(|tag| !tag.is_empty()).map_or(0, |tag| i64::from(hash(tag)))
}

struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    fn skip(&mut self, count: usize) -> Option<&'a [u8]> {
        let taken = self.bytes.get(self.at..self.at.checked_add(count)?)?;
        self.at += count;
        Some(taken)
    }

    fn u16(&mut self) -> Option<u16> {
        self.skip(2)?.try_into().ok().map(u16::from_be_bytes)
    }

    fn u32(&mut self) -> Option<u32> {
        self.skip(4)?.try_into().ok().map(u32::from_be_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.skip(8)?.try_into().ok().map(u64::from_be_bytes)
    }
}

const V1: u32 = 0xDAA3_20A7;
const V2: u32 = 0xDAA3_20AB;
const BLANK: u32 = 0xCBD4_3194;
const BORN_V6: u32 = 1 << 4;
const STORE_V6: u32 = 1 << 5;
const UNIT: usize = 20;

#[cfg(test)]
mod tests;
