//! The message record: what the commit log stores and what pulls return, byte for byte (wire.md 2.1).
//!
//! A record is encoded once, before the log's lock; what only the log knows (queue offset, position,
//! store time) is patched in afterwards with [`place`]. The checksum covers the body alone, so a
//! patch leaves it valid.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use bytes::{Buf, BufMut, Bytes};

use crate::{id::OffsetId, properties};

/// Magic of a record with a one-byte topic length.
pub const MAGIC_V1: u32 = 0xDAA3_20A7;
/// Magic of a record with a two-byte topic length, for topics longer than 127 bytes.
pub const MAGIC_V2: u32 = 0xDAA3_20AB;
/// Magic of the blank that fills a log file behind its last record.
pub const MAGIC_BLANK: u32 = 0xCBD4_3194;
/// Bytes a blank needs at least, so every record leaves room for one behind it.
pub const BLANK_SIZE: usize = 8;
/// Longest properties text: its length is a signed 16-bit number.
pub const MAX_PROPERTIES: usize = 32_767;

/// Bits of a record's sysFlag (wire.md 2.2).
pub mod sys_flag {
    /// The body is compressed; bits 8 to 10 say how.
    pub const COMPRESSED: i32 = 0x1;
    /// Two bits: 0 not transactional, prepared, commit, rollback.
    pub const TRANSACTION_MASK: i32 = 0xC;
    /// A half message.
    pub const PREPARED: i32 = 0x4;
    /// A committed message.
    pub const COMMIT: i32 = 0x8;
    /// A rolled-back message.
    pub const ROLLBACK: i32 = 0xC;
    /// The born host is an IPv6 address.
    pub const BORN_HOST_V6: i32 = 0x10;
    /// The store host is an IPv6 address.
    pub const STORE_HOST_V6: i32 = 0x20;
    /// Inner batch that needs unwrapping.
    pub const NEED_UNWRAP: i32 = 0x40;
    /// Inner batch record.
    pub const INNER_BATCH: i32 = 0x80;
    /// Bits that only a broker may set.
    pub const BROKER_OWNED: i32 = 0xF0;
}

/// A record to be encoded.
#[derive(Clone, Copy, Debug)]
pub struct NewRecord<'a> {
    /// Topic; longer than 127 bytes makes a V2 record.
    pub topic: &'a str,
    /// Queue number.
    pub queue_id: i32,
    /// The user's flag.
    pub flag: i32,
    /// sysFlag; the two host bits are set here from the addresses.
    pub sys_flag: i32,
    /// When the client made it, ms.
    pub born_timestamp: i64,
    /// Where it came from.
    pub born_host: SocketAddr,
    /// The broker that stored it.
    pub store_host: SocketAddr,
    /// How often it was retried.
    pub reconsume_times: i32,
    /// Position of the half message it belongs to, or 0.
    pub prepared_offset: i64,
    /// Body as sent, compressed or not.
    pub body: &'a [u8],
    /// Properties text.
    pub properties: &'a [u8],
    /// More pairs behind those, which win over theirs: what a broker adds to every message costs no copy of a
    /// client's text. Neither tags nor keys are among them: a store looks for those in the client's text alone.
    pub added: &'a [u8],
}

/// What the log adds to an encoded record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Offset in its queue.
    pub queue_offset: u64,
    /// Position in the log.
    pub position: u64,
    /// When it was stored, ms.
    pub store_timestamp: i64,
}

/// Checksum of a body as records carry it: CRC-32 without its top bit.
pub fn body_crc(body: &[u8]) -> u32 {
    crc32fast::hash(body) & 0x7FFF_FFFF
}

fn host_size(host: &SocketAddr) -> usize {
    if host.is_ipv4() { 8 } else { 20 }
}

impl NewRecord<'_> {
    /// Bytes of the encoded record.
    pub fn size(&self) -> usize {
        let topic_length = if self.is_v2() { 2 } else { 1 };
        // In the order of the table in wire.md 2.1.
        4 + 4
            + 4
            + 4
            + 4
            + 8
            + 8
            + 4
            + 8
            + host_size(&self.born_host)
            + 8
            + host_size(&self.store_host)
            + 4
            + 8
            + 4
            + self.body.len()
            + topic_length
            + self.topic.len()
            + 2
            + self.properties_size()
    }

    /// Bytes of all properties.
    pub fn properties_size(&self) -> usize {
        self.properties.len() + usize::from(self.is_unclosed()) + self.added.len()
    }

    /// The last pair of the properties must be closed before others follow.
    fn is_unclosed(&self) -> bool {
        !self.added.is_empty() && self.properties.last().is_some_and(|byte| *byte != properties::AFTER)
    }

    fn is_v2(&self) -> bool {
        self.topic.len() > 127
    }

    /// Appends the record with zeros where [`place`] will write, and returns its size.
    ///
    /// # Panics
    /// When a length does not fit its field: the caller checks the limits of messages first.
    pub fn encode(&self, out: &mut impl BufMut) -> usize {
        let size = self.size();
        let hosts = if self.born_host.is_ipv4() { 0 } else { sys_flag::BORN_HOST_V6 }
            | if self.store_host.is_ipv4() { 0 } else { sys_flag::STORE_HOST_V6 };
        let host_bits = sys_flag::BORN_HOST_V6 | sys_flag::STORE_HOST_V6;
        let body_length = u32::try_from(self.body.len()).expect("a body is within the message size limit");
        // Piece by piece on the stack: growing `out` by every number costs more than all the rest.
        let mut head = Head { bytes: [0; HEAD_MAX], at: 0 };
        head.put(u32::try_from(size).expect("a record is within the message size limit").to_be_bytes());
        head.put(if self.is_v2() { MAGIC_V2 } else { MAGIC_V1 }.to_be_bytes());
        head.put(body_crc(self.body).to_be_bytes());
        head.put(self.queue_id.to_be_bytes());
        head.put(self.flag.to_be_bytes());
        head.put([0; 16]);
        head.put(((self.sys_flag & !host_bits) | hosts).to_be_bytes());
        head.put(self.born_timestamp.to_be_bytes());
        head.put_host(&self.born_host);
        head.put([0; 8]);
        head.put_host(&self.store_host);
        head.put(self.reconsume_times.to_be_bytes());
        head.put(self.prepared_offset.to_be_bytes());
        head.put(body_length.to_be_bytes());
        out.put_slice(&head.bytes[..head.at]);
        out.put_slice(self.body);
        if self.is_v2() {
            out.put_u16(u16::try_from(self.topic.len()).expect("a topic is within its length limit"));
        } else {
            out.put_u8(u8::try_from(self.topic.len()).expect("a V1 topic has at most 127 bytes"));
        }
        out.put_slice(self.topic.as_bytes());
        out.put_i16(i16::try_from(self.properties_size()).expect("properties are within 32767 bytes"));
        out.put_slice(self.properties);
        if self.is_unclosed() {
            out.put_u8(properties::AFTER);
        }
        out.put_slice(self.added);
        size
    }
}

/// Writes what the log knows into an encoded record.
///
/// # Panics
/// When `record` is shorter than a record's fixed part.
pub fn place(record: &mut [u8], place: Place) {
    record[20..28].copy_from_slice(&place.queue_offset.to_be_bytes());
    record[28..36].copy_from_slice(&place.position.to_be_bytes());
    let flags = i32::from_be_bytes(record[36..40].try_into().expect("four bytes"));
    let at = if flags & sys_flag::BORN_HOST_V6 == 0 { 56 } else { 68 };
    record[at..at + 8].copy_from_slice(&place.store_timestamp.to_be_bytes());
}

/// The fields in front of the body.
struct Head {
    bytes: [u8; HEAD_MAX],
    at: usize,
}

impl Head {
    #[inline(always)]
    fn put<const N: usize>(&mut self, bytes: [u8; N]) {
        self.bytes[self.at..self.at + N].copy_from_slice(&bytes);
        self.at += N;
    }

    #[inline(always)]
    fn put_host(&mut self, host: &SocketAddr) {
        match host.ip() {
            IpAddr::V4(ip) => self.put(ip.octets()),
            IpAddr::V6(ip) => self.put(ip.octets()),
        }
        self.put(i32::from(host.port()).to_be_bytes());
    }
}

/// Bytes in front of a body when both hosts are IPv6.
const HEAD_MAX: usize = 112;

/// A view of one record in somebody's bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordRef<'a> {
    /// Bytes of the whole record.
    pub size: u32,
    /// Checksum of the body as stored.
    pub body_crc: u32,
    /// Queue number.
    pub queue_id: i32,
    /// The user's flag.
    pub flag: i32,
    /// Where it stands.
    pub place: Place,
    /// sysFlag.
    pub sys_flag: i32,
    /// When the client made it, ms.
    pub born_timestamp: i64,
    /// Where it came from.
    pub born_host: SocketAddr,
    /// The broker that stored it.
    pub store_host: SocketAddr,
    /// How often it was retried.
    pub reconsume_times: i32,
    /// Position of the half message it belongs to, or 0.
    pub prepared_offset: i64,
    /// Body as stored.
    pub body: &'a [u8],
    /// Topic.
    pub topic: &'a str,
    /// Properties text.
    pub properties: &'a [u8],
}

/// Why bytes are no record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Damage {
    /// The magic is none of the known ones.
    #[error("unknown magic {0:#010x}")]
    Magic(u32),
    /// A length points outside the record.
    #[error("the {0} does not fit into the record")]
    Length(&'static str),
    /// The body does not match its checksum.
    #[error("the body has checksum {found:#x}, its record says {stored:#x}")]
    Checksum {
        /// Computed over the body.
        found: u32,
        /// Written in the record.
        stored: u32,
    },
    /// The topic is not UTF-8.
    #[error("the topic is not UTF-8")]
    Topic,
    /// A number that must not be negative is, or a port is above 65535.
    #[error("the {0} is out of range")]
    Range(&'static str),
}

/// What stands at the start of some bytes of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scan<'a> {
    /// A record; its checksum was compared if that was asked for.
    Record(RecordRef<'a>),
    /// The rest of the file is blank: this many bytes.
    Blank(u32),
    /// Zeros: nothing was written here.
    Unwritten,
    /// The bytes end before the record does; it says how many it has.
    Short(u32),
    /// Something else.
    Damaged(Damage),
}

/// Looks at the start of `bytes`. Total: any bytes give an answer.
pub fn scan(bytes: &[u8], verify_checksum: bool) -> Scan<'_> {
    let Some(size) = bytes.first_chunk::<4>().map(|b| u32::from_be_bytes(*b)) else {
        return if bytes.iter().all(|b| *b == 0) { Scan::Unwritten } else { Scan::Short(8) };
    };
    let Some(magic) = bytes[4..].first_chunk::<4>().map(|b| u32::from_be_bytes(*b)) else {
        return if bytes.iter().all(|b| *b == 0) { Scan::Unwritten } else { Scan::Short(8) };
    };
    match magic {
        0 if size == 0 => return Scan::Unwritten,
        MAGIC_BLANK if size as usize >= BLANK_SIZE => return Scan::Blank(size),
        MAGIC_V1 | MAGIC_V2 => {}
        other => return Scan::Damaged(Damage::Magic(other)),
    }
    if (size as usize) < MIN_SIZE {
        return Scan::Damaged(Damage::Length("record"));
    }
    let Some(record) = bytes.get(..size as usize) else { return Scan::Short(size) };
    match view(record, magic == MAGIC_V2) {
        Err(damage) => Scan::Damaged(damage),
        Ok(found) if verify_checksum => match found.check() {
            Err(damage) => Scan::Damaged(damage),
            Ok(()) => Scan::Record(found),
        },
        Ok(found) => Scan::Record(found),
    }
}

/// Records one after the other, as the body of a pull answer; stops at the first that cannot be read,
/// as Java readers do.
pub fn each(mut body: Bytes) -> impl Iterator<Item = Bytes> {
    std::iter::from_fn(move || match scan(&body, false) {
        Scan::Record(record) => Some(body.split_to(record.size as usize)),
        _ => None,
    })
}

impl RecordRef<'_> {
    /// Compares the body with its checksum.
    pub fn check(&self) -> Result<(), Damage> {
        let found = body_crc(self.body);
        if found == self.body_crc { Ok(()) } else { Err(Damage::Checksum { found, stored: self.body_crc }) }
    }

    /// The id that tells where it stands.
    pub fn offset_id(&self) -> OffsetId {
        OffsetId { host: self.store_host, position: self.place.position }
    }

    /// A property by name.
    pub fn property(&self, name: &str) -> Option<&str> {
        properties::get_str(self.properties, name)
    }
}

/// Smallest record: both hosts IPv4, empty body, topic and properties.
const MIN_SIZE: usize = 91;

fn view(record: &[u8], v2: bool) -> Result<RecordRef<'_>, Damage> {
    let (head, mut r) = record.split_first_chunk::<48>().ok_or(Damage::Length("record"))?;
    let mut h = &head[..];
    let size = h.get_u32();
    h.advance(4);
    let body_crc = h.get_u32();
    let queue_id = h.get_i32();
    let flag = h.get_i32();
    let queue_offset = h.get_u64();
    let position = h.get_u64();
    let sys_flag = h.get_i32();
    let born_timestamp = h.get_i64();
    let born_host = host(&mut r, sys_flag & sys_flag::BORN_HOST_V6 != 0, "born host")?;
    let store_timestamp = r.try_get_i64().map_err(|_| Damage::Length("store time"))?;
    let store_host = host(&mut r, sys_flag & sys_flag::STORE_HOST_V6 != 0, "store host")?;
    if r.len() < 16 {
        return Err(Damage::Length("body length"));
    }
    let reconsume_times = r.get_i32();
    let prepared_offset = r.get_i64();
    let length = r.get_u32() as usize;
    let body = take(&mut r, length, "body")?;
    let length = if v2 { r.try_get_u16().map(usize::from) } else { r.try_get_u8().map(usize::from) };
    let topic = take(&mut r, length.map_err(|_| Damage::Length("topic length"))?, "topic")?;
    let topic = std::str::from_utf8(topic).map_err(|_| Damage::Topic)?;
    let length = r.try_get_i16().map_err(|_| Damage::Length("properties length"))?;
    let length = usize::try_from(length).map_err(|_| Damage::Range("properties length"))?;
    let properties = take(&mut r, length, "properties")?;
    if !r.is_empty() {
        return Err(Damage::Length("record's end"));
    }
    if i64::try_from(queue_offset).is_err() || i64::try_from(position).is_err() {
        return Err(Damage::Range("queue offset or position"));
    }
    Ok(RecordRef {
        size,
        body_crc,
        queue_id,
        flag,
        place: Place { queue_offset, position, store_timestamp },
        sys_flag,
        born_timestamp,
        born_host,
        store_host,
        reconsume_times,
        prepared_offset,
        body,
        topic,
        properties,
    })
}

fn take<'a>(r: &mut &'a [u8], length: usize, what: &'static str) -> Result<&'a [u8], Damage> {
    let (head, tail) = r.split_at_checked(length).ok_or(Damage::Length(what))?;
    *r = tail;
    Ok(head)
}

fn host(r: &mut &[u8], v6: bool, what: &'static str) -> Result<SocketAddr, Damage> {
    let ip = if v6 {
        let (ip, rest) = r.split_first_chunk::<16>().ok_or(Damage::Length(what))?;
        *r = rest;
        IpAddr::V6(Ipv6Addr::from(*ip))
    } else {
        let (ip, rest) = r.split_first_chunk::<4>().ok_or(Damage::Length(what))?;
        *r = rest;
        IpAddr::V4(Ipv4Addr::from(*ip))
    };
    let port = r.try_get_u32().map_err(|_| Damage::Length(what))?;
    Ok(SocketAddr::new(ip, u16::try_from(port).map_err(|_| Damage::Range(what))?))
}

/// The eight bytes that fill a file's end: the size of what is left, and the blank's magic.
pub fn blank(size: u32) -> [u8; BLANK_SIZE] {
    let mut bytes = [0; BLANK_SIZE];
    bytes[..4].copy_from_slice(&size.to_be_bytes());
    bytes[4..].copy_from_slice(&MAGIC_BLANK.to_be_bytes());
    bytes
}

#[cfg(test)]
mod tests;
