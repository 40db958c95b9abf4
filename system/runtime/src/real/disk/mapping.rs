//! A mapped file that may be written and read from several threads at once: the unsafe part of the disk.
//!
//! The system reads only what it has published as written, and that order is what makes it sound. Bytes are moved as
//! relaxed atomics all the same, so that a reader which breaks the rule sees old or new bytes on any machine there is;
//! the language's own rules do not cover it where the edge of one access overlaps a whole word of another.

#![allow(unsafe_code, reason = "mapped memory and record locks have no safe interface")]
#![allow(clippy::disallowed_types, reason = "this file is where the system touches the real file system")]

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering::Relaxed};

use bytes::BytesMut;
use memmap2::{Advice, MmapRaw};

/// A whole file in memory, shared with the page cache.
#[derive(Debug)]
pub(super) struct Mapping {
    map: MmapRaw,
}

impl Mapping {
    pub(super) fn new(file: &File) -> io::Result<Self> {
        Ok(Self { map: MmapRaw::map_raw(file)? })
    }

    pub(super) fn len(&self) -> usize {
        self.map.len()
    }

    /// Copies `bytes` to `at`. Panics when they do not fit.
    pub(super) fn write(&self, at: usize, bytes: &[u8]) {
        self.check(at, bytes.len());
        // SAFETY: `check` has shown that the range lies in the mapping, which lives as long as `self`.
        unsafe { store(self.map.as_mut_ptr().add(at), bytes) }
    }

    /// Appends `len` bytes from `at` to `out`. Panics when they are not all there.
    pub(super) fn read(&self, at: usize, len: usize, out: &mut BytesMut) {
        self.check(at, len);
        out.reserve(len);
        // SAFETY: `check` has shown that the source lies in the mapping; `reserve` has made room for `len` bytes
        // behind the present end of `out`; `load` writes every one of them before they become part of it.
        unsafe {
            load(self.map.as_mut_ptr().add(at), out.spare_capacity_mut().as_mut_ptr().cast(), len);
            out.set_len(out.len() + len);
        }
    }

    /// Makes the pages of a range present and writable.
    pub(super) fn populate(&self, at: usize, len: usize) {
        self.check(at, len);
        let Err(error) = self.map.advise_range(Advice::PopulateWrite, at, len) else { return };
        // Kernels before 5.14 do not know the advice. Any other error means that touching would be a signal.
        if error.kind() == io::ErrorKind::InvalidInput {
            // From the start of its first page: otherwise the last one could be missed.
            for page in (at - at % PAGE..at + len).step_by(PAGE) {
                // SAFETY: `check` has shown that the range lies in the mapping, and with it the start of its first
                // page; the byte is replaced by itself, and only when it has not changed meanwhile.
                let byte = unsafe { AtomicU8::from_ptr(self.map.as_mut_ptr().add(page)) };
                let found = byte.load(Relaxed);
                // Not `fetch_or(0)`, which is compiled to nothing. Failing is fine: a write was faster.
                let _ = byte.compare_exchange(found, found, Relaxed, Relaxed);
            }
        }
    }

    fn check(&self, at: usize, len: usize) {
        let fits = at.checked_add(len).is_some_and(|end| end <= self.map.len());
        assert!(fits, "{len} bytes at {at} do not lie in a mapping of {}", self.map.len());
    }
}

/// Takes the exclusive lock on the whole file, as an open-file lock: it also keeps out programs that use process
/// locks, as a Java broker does, and it goes when the file is closed.
pub(super) fn lock(file: &File) -> io::Result<()> {
    // SAFETY: zero is a valid value for every field of this plain C structure.
    let mut wanted: libc::flock = unsafe { std::mem::zeroed() };
    wanted.l_type = libc::F_WRLCK as libc::c_short;
    wanted.l_whence = libc::SEEK_SET as libc::c_short;
    // SAFETY: the descriptor is open and `wanted` is a valid structure that outlives the call.
    let result = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_SETLK, &raw const wanted) };
    if result == 0 {
        return Ok(());
    }
    let error = io::Error::last_os_error();
    match error.raw_os_error() {
        Some(libc::EAGAIN | libc::EACCES) => Err(io::ErrorKind::WouldBlock.into()),
        _ => Err(error),
    }
}

/// Copies `bytes` to memory that other threads may read and write through this module only.
///
/// # Safety
/// `to` must be valid for writes of `bytes.len()` bytes.
unsafe fn store(mut to: *mut u8, bytes: &[u8]) {
    let (head, rest) = bytes.split_at(to.align_offset(WORD).min(bytes.len()));
    let (words, tail) = rest.as_chunks::<WORD>();
    // Four at a time: the compiler does not do it for atomics.
    let (fours, rest) = words.as_chunks::<4>();
    // SAFETY: `to` runs through the range the caller vouches for, and is aligned to a word behind `head`.
    unsafe {
        for byte in head {
            AtomicU8::from_ptr(to).store(*byte, Relaxed);
            to = to.add(1);
        }
        for four in fours {
            for (at, word) in four.iter().enumerate() {
                AtomicU64::from_ptr(to.cast::<u64>().add(at)).store(u64::from_ne_bytes(*word), Relaxed);
            }
            to = to.add(4 * WORD);
        }
        for word in rest {
            AtomicU64::from_ptr(to.cast()).store(u64::from_ne_bytes(*word), Relaxed);
            to = to.add(WORD);
        }
        for byte in tail {
            AtomicU8::from_ptr(to).store(*byte, Relaxed);
            to = to.add(1);
        }
    }
}

/// Copies `len` bytes from memory that other threads may read and write through this module only.
///
/// # Safety
/// `from` must be valid for reads and `to` for writes of `len` bytes, and they must not overlap.
unsafe fn load(mut from: *mut u8, mut to: *mut u8, len: usize) {
    let head = from.align_offset(WORD).min(len);
    let (words, tail) = ((len - head) / WORD, (len - head) % WORD);
    // SAFETY: both pointers run through the ranges the caller vouches for; `from` is aligned to a word behind `head`.
    unsafe {
        for _ in 0..head {
            to.write(AtomicU8::from_ptr(from).load(Relaxed));
            (from, to) = (from.add(1), to.add(1));
        }
        for _ in 0..words {
            to.cast::<u64>().write_unaligned(AtomicU64::from_ptr(from.cast()).load(Relaxed));
            (from, to) = (from.add(WORD), to.add(WORD));
        }
        for _ in 0..tail {
            to.write(AtomicU8::from_ptr(from).load(Relaxed));
            (from, to) = (from.add(1), to.add(1));
        }
    }
}

const WORD: usize = size_of::<u64>();
const PAGE: usize = 4096;

#[cfg(test)]
mod tests;
