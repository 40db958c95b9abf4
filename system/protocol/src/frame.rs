//! Cuts a stream of bytes into frames.

use bytes::{Buf, BytesMut};
use thiserror::Error;

/// What a peer may send at most in one frame, its length field included.
pub const MAX_BYTES: usize = 16 * 1024 * 1024;

/// The stream cannot be a stream of frames: the connection has to be closed, as nothing after this can be trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum FrameError {
    /// The length is shorter than what a frame must hold, or longer than allowed.
    #[error("a frame of {length} bytes is not between 4 and the limit of {limit}")]
    Length {
        /// What the length field says.
        length: u32,
        /// What it may say at most.
        limit: usize,
    },
    /// The header would be longer than its frame.
    #[error("a header of {header} bytes in a frame of {length}")]
    Header {
        /// What the header's length field says.
        header: u32,
        /// What the length field says.
        length: u32,
    },
    /// The header's encoding is none that we know.
    #[error("unknown header encoding {0}")]
    Encoding(u8),
}

/// Takes the bytes of one connection as they come and gives whole frames, without their length field.
#[derive(Debug)]
pub struct Splitter {
    buffer: BytesMut,
    max: usize,
    /// How large the next block is: it doubles when a read fills the room it was given, and halves when none did.
    step: usize,
    filled: bool,
    broken: Option<FrameError>,
}

impl Splitter {
    /// A splitter that refuses frames of more than `max` bytes, their length field included; see [`MAX_BYTES`].
    pub fn new(max: usize) -> Self {
        Self { buffer: BytesMut::new(), max, step: STEP_MIN, filled: false, broken: None }
    }

    /// The buffer to read into, with room for what the frame under way still needs (but never more than a step, so
    /// that a length alone costs no memory).
    ///
    /// A waiting request keeps the block alive that it came in. So blocks are small where little comes, and each is
    /// used nearly to its end: a thousand long polls, read one by one, must not hold a thousand blocks.
    pub fn space(&mut self) -> &mut BytesMut {
        let missing = match self.length() {
            Some(length) => (length as usize).saturating_add(4).saturating_sub(self.buffer.len()),
            None => 0,
        };
        let spare = self.buffer.capacity() - self.buffer.len();
        if spare == 0 && self.buffer.capacity() > 0 {
            self.filled = true;
        }
        if spare < missing.min(STEP_MAX).max(self.step / 4) {
            self.step = if self.filled { self.step * 2 } else { self.step / 2 }.clamp(STEP_MIN, STEP_MAX);
            self.filled = false;
            self.buffer.reserve(missing.clamp(self.step, STEP_MAX));
        }
        &mut self.buffer
    }

    /// Adds bytes that were read elsewhere.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// How many bytes wait for the rest of their frame, or to be cut.
    pub fn buffered(&self) -> usize {
        self.buffer.len()
    }

    /// The next whole frame, if it is there. After an error nothing but that error comes.
    pub fn next_frame(&mut self) -> Result<Option<BytesMut>, FrameError> {
        if let Some(error) = self.broken {
            return Err(error);
        }
        let cut = self.cut();
        if let Err(error) = cut {
            self.broken = Some(error);
        }
        cut.map(|length| {
            length.map(|length| {
                self.buffer.advance(4);
                self.buffer.split_to(length)
            })
        })
    }

    /// The length of the frame that lies whole at the front.
    fn cut(&self) -> Result<Option<usize>, FrameError> {
        let Some(length) = self.length() else { return Ok(None) };
        let size = length as usize;
        if size < 4 || size > self.max.saturating_sub(4) {
            return Err(FrameError::Length { length, limit: self.max.saturating_sub(4) });
        }
        if let Some((encoding, header)) = self.word(4).map(mark) {
            if encoding > 1 {
                return Err(FrameError::Encoding(encoding));
            }
            if header as usize > size - 4 {
                return Err(FrameError::Header { header, length });
            }
        }
        Ok((self.buffer.len() - 4 >= size).then_some(size))
    }

    fn length(&self) -> Option<u32> {
        self.word(0)
    }

    fn word(&self, at: usize) -> Option<u32> {
        let bytes = self.buffer.get(at..at + 4)?;
        Some(u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
    }
}

/// The word in front of a header: its encoding and its length.
pub(crate) fn mark(word: u32) -> (u8, u32) {
    (word.to_be_bytes()[0], word & 0x00FF_FFFF)
}

const STEP_MIN: usize = 4 * 1024;
const STEP_MAX: usize = 256 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_that_are_kept_share_their_blocks_though_each_was_read_alone() {
        let mut splitter = Splitter::new(MAX_BYTES);
        let mut frame = [0; 400];
        frame[3] = 140;
        frame[2] = 1;
        let (mut kept, mut blocks) = (Vec::new(), 0);
        let mut end = std::ptr::null();
        for _ in 0..1_000 {
            let space = splitter.space();
            blocks += usize::from(space.as_ptr() != end);
            space.extend_from_slice(&frame);
            kept.push(splitter.next_frame().expect("a frame").expect("it is whole"));
            end = splitter.buffer.as_ptr();
        }
        assert!(blocks <= 1_000 / 7, "{blocks} blocks hold 1,000 waiting frames");
    }
}
