//! The unit of a consume queue: where a record is and its tag code, 20 bytes (broker-store.md 2.5).

use bytes::{Buf, BufMut};

/// One entry of a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Unit {
    /// Where the record starts in the log.
    pub(crate) position: u64,
    /// Bytes of the record.
    pub(crate) size: u32,
    /// Hash of its tags.
    pub(crate) tag: i64,
}

impl Unit {
    /// Bytes of a unit in a file.
    pub(crate) const SIZE: u64 = 20;

    /// The place of a record that was lost; Java fills the slots before a queue's first unit with it.
    pub(crate) fn void(position: u64) -> Self {
        Self { position, size: VOID_SIZE, tag: 0 }
    }

    /// No record stands behind this unit.
    pub(crate) fn is_void(&self) -> bool {
        self.size == VOID_SIZE || self.size == 0
    }

    /// Appends the unit as it stands in a file.
    pub(crate) fn encode(&self, out: &mut impl BufMut) {
        out.put_u64(self.position);
        out.put_u32(self.size);
        out.put_i64(self.tag);
    }

    /// Units that stand one after the other in a file.
    pub(crate) fn decode(bytes: &[u8]) -> impl Iterator<Item = Self> {
        bytes.chunks_exact(Self::SIZE as usize).map(|mut b| Self {
            position: b.get_u64(),
            size: b.get_u32(),
            tag: b.get_i64(),
        })
    }
}

const VOID_SIZE: u32 = 0x7FFF_FFFF;
