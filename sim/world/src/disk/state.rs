//! One simulated disk as plain data: names, contents, handles, locks and the faults a plan has put on it.
//!
//! Nothing here waits and nothing here knows the executor; a test can step it by hand.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::io::ErrorKind;

use super::Access;
use super::content::{Content, PAGE};
use super::names::{Names, TOP};
use crate::node::Crash;
use crate::random::Dice;

/// A disk and what its users have open.
pub(super) struct State {
    names: Names,
    /// By number; a number is never used again, so a stale handle finds nothing.
    files: Vec<Option<Box<FileState>>>,
    /// How often something may have come loose since files that nothing names were freed.
    loose: u32,
    next: u64,
    /// Counts the lives of the process on top: what an earlier one has open is dead.
    incarnation: u64,
    /// Set between a cut inside a write and the crash that follows it.
    pub(super) dead: bool,
    locks: BTreeSet<u64>,
    capacity: u64,
    rules: Vec<Rule>,
    pub(super) cut: Option<Cut>,
    crashes: Dice,
    faults: Dice,
    /// What faults have done since it was last asked for.
    pub(super) effects: Vec<(&'static str, u64)>,
    /// A write has reached the armed cut: the process on top must die so.
    pub(super) cut_reached: Option<Crash>,
}

struct FileState {
    content: Content,
    /// Whether only pages that hold something take space.
    sparse: bool,
    /// Whether the length survives a power loss: after the first sync.
    length_durable: bool,
    /// Names it has in the running system.
    links: u32,
    /// Handles of the living process.
    open: u32,
    /// Failed write-backs so far.
    errors: u64,
    /// Whether somebody was told of the latest.
    reported: bool,
}

struct Rule {
    access: Access,
    pattern: String,
    left: Option<u64>,
}

pub(super) struct Cut {
    pattern: String,
    left: u64,
    crash: Crash,
}

/// What an open file for syncs has been told already.
#[derive(Clone, Copy, Debug)]
pub(super) struct Told(u64);

impl State {
    /// An empty disk; `dice` gives the stream of its random choices for a purpose.
    pub(super) fn new(dice: impl Fn(&str) -> Dice) -> Self {
        Self {
            names: Names::new(),
            files: vec![None],
            loose: 0,
            next: TOP + 1,
            incarnation: 0,
            dead: false,
            locks: BTreeSet::new(),
            capacity: DEFAULT_CAPACITY,
            rules: Vec::new(),
            cut: None,
            crashes: dice("disk.power"),
            faults: dice("disk.faults"),
            effects: Vec::new(),
            cut_reached: None,
        }
    }

    /// The present life of the process on top, and the folder it works in, made durably when missing.
    pub(super) fn mount(&mut self, path: &str) -> io::Result<(u64, u64)> {
        let path = path.trim_matches('/');
        if let Ok(root) = self.names.folder(TOP, path) {
            return Ok((self.incarnation, root));
        }
        let root = self.names.make(TOP, path, &mut self.next)?;
        let mut below = path;
        while !below.is_empty() {
            below = above(below);
            self.names.make_durable(self.names.folder(TOP, below)?, self.names.latest());
        }
        Ok((self.incarnation, root))
    }

    /// An error when the process that asks is dead.
    pub(super) fn check(&self, incarnation: u64) -> io::Result<()> {
        if self.dead || incarnation != self.incarnation {
            return Err(io::Error::other("the process that opened it is dead"));
        }
        Ok(())
    }

    pub(super) fn create(&mut self, root: u64, path: &str, len: u64, sparse: bool) -> io::Result<u64> {
        // A real file system looks at the names before it looks for room.
        match self.names.find(root, path) {
            Ok(_) => return Err(ErrorKind::AlreadyExists.into()),
            Err(ErrorKind::NotFound) => self.names.folder(root, above(path))?,
            Err(other) => return Err(other.into()),
        };
        self.reserve(if sparse { 0 } else { len.checked_next_multiple_of(PAGE as u64).unwrap_or(u64::MAX) })?;
        let id = self.next;
        self.names.add(root, path, id)?;
        self.next += 1;
        let index = index(id);
        self.files.resize_with(index + 1, || None);
        self.files[index] = Some(Box::new(FileState {
            content: Content::new(len),
            sparse,
            length_durable: len == 0,
            links: 1,
            open: 0,
            errors: 0,
            reported: true,
        }));
        Ok(id)
    }

    /// Gives every byte of a file its space.
    pub(super) fn fill(&mut self, id: u64) -> io::Result<()> {
        let file = self.file(id);
        if file.sparse {
            self.reserve(file.content.len().next_multiple_of(PAGE as u64) - file.space())?;
            self.file_mut(id).sparse = false;
        }
        Ok(())
    }

    /// The file that has this name.
    pub(super) fn find(&self, root: u64, path: &str) -> io::Result<u64> {
        let id = self.names.find(root, path)?;
        if self.names.is_folder(id) { Err(ErrorKind::IsADirectory.into()) } else { Ok(id) }
    }

    pub(super) fn open(&mut self, id: u64) -> u64 {
        let file = self.file_mut(id);
        file.open += 1;
        file.content.len()
    }

    pub(super) fn close(&mut self, incarnation: u64, id: u64) {
        if self.check(incarnation).is_ok() {
            let file = self.file_mut(id);
            file.open -= 1;
            if file.open == 0 && file.links == 0 {
                self.came_loose();
            }
        }
    }

    pub(super) fn list(&self, root: u64, path: &str) -> io::Result<Vec<String>> {
        Ok(self.names.list(root, path)?)
    }

    /// How many of the folders on a way are there.
    pub(super) fn folders_there<'p>(
        &self,
        root: u64,
        way: impl Iterator<Item = (&'p str, &'p str)>,
    ) -> io::Result<usize> {
        let mut way = way.map(|(_, folder)| folder).peekable();
        let mut there = 0;
        while let Some(folder) = way.next() {
            match self.names.find(root, folder) {
                Ok(found) if self.names.is_folder(found) => there += 1,
                Ok(_) if way.peek().is_none() => return Err(ErrorKind::AlreadyExists.into()),
                Ok(_) => return Err(ErrorKind::NotADirectory.into()),
                Err(ErrorKind::NotFound) => break,
                Err(other) => return Err(other.into()),
            }
        }
        Ok(there)
    }

    pub(super) fn make_dir(&mut self, root: u64, path: &str) -> io::Result<()> {
        self.names.make(root, path, &mut self.next)?;
        Ok(())
    }

    pub(super) fn rename(&mut self, root: u64, from: &str, to: &str) -> io::Result<()> {
        let (_, replaced) = self.names.rename(root, from, to)?;
        if let Some(old) = replaced {
            self.unlink(old);
        }
        Ok(())
    }

    pub(super) fn remove(&mut self, root: u64, path: &str) -> io::Result<()> {
        let id = self.names.remove(root, path)?;
        self.unlink(id);
        Ok(())
    }

    /// The folder, and up to which change a sync that starts now covers it.
    pub(super) fn begin_sync_dir(&self, root: u64, path: &str) -> io::Result<(u64, u64)> {
        Ok((self.names.folder(root, path)?, self.names.latest()))
    }

    pub(super) fn end_sync_dir(&mut self, folder: u64, covered: u64) {
        self.names.make_durable(folder, covered);
        self.came_loose();
    }

    pub(super) fn write(&mut self, id: u64, path: &str, at: u64, bytes: &[u8]) -> io::Result<()> {
        if !within(self.file(id), at, bytes.len() as u64) {
            return Err(ErrorKind::InvalidInput.into());
        }
        if self.cut.is_some() && self.cut_here(path) {
            self.effects.push(("disk.cut_write", 1));
            return Err(self.die_writing(id, at, bytes));
        }
        if let Err(error) = self.obstruct(Access::Write, path) {
            if self.file(id).sparse {
                return Err(error);
            }
            self.cut_reached = Some(Crash::Process);
            return Err(self.die_writing(id, at, bytes));
        }
        let file = self.file(id);
        if file.sparse {
            let missing = file.content.missing_pages(at, bytes.len() as u64);
            if missing > 0 {
                self.reserve(missing * PAGE as u64)?;
            }
        }
        self.file_mut(id).content.write(at, bytes);
        Ok(())
    }

    pub(super) fn read(
        &mut self,
        id: u64,
        path: &str,
        access: Access,
        (at, len): (u64, usize),
        out: impl FnMut(&[u8]),
    ) -> io::Result<()> {
        if !within(self.file(id), at, len as u64) {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        if let Err(error) = self.obstruct(access, path) {
            if access == Access::Read && !self.file(id).sparse {
                self.cut_reached = Some(Crash::Process);
                self.dead = true;
                return Err(io::Error::other("the process has died in this read"));
            }
            return Err(error);
        }
        self.file(id).content.read(at, len, out);
        Ok(())
    }

    /// A first part of the bytes is written; then the process is dead.
    fn die_writing(&mut self, id: u64, at: u64, bytes: &[u8]) -> io::Error {
        let part = self.faults.below(bytes.len() as u64 + 1) as usize;
        self.file_mut(id).content.write(at, &bytes[..part]);
        self.dead = true;
        io::Error::other("the process has died in this write")
    }

    pub(super) fn zero(&mut self, id: u64, path: &str, at: u64, len: u64) -> io::Result<()> {
        if !within(self.file(id), at, len) {
            return Err(ErrorKind::InvalidInput.into());
        }
        self.obstruct(Access::Write, path)?;
        self.file_mut(id).content.zero(at, len);
        Ok(())
    }

    /// Opens a file once more, for syncs. An earlier failure that nobody was told of will be told to it.
    pub(super) fn open_for_sync(&self, id: u64) -> Told {
        let file = self.file(id);
        Told(file.errors - u64::from(!file.reported))
    }

    /// Up to which write a sync that starts now covers, and how many pages it has to write.
    pub(super) fn begin_sync(&self, id: u64) -> (u64, u64) {
        let content = &self.file(id).content;
        (content.latest(), content.dirty_pages() as u64)
    }

    /// The sync ends: what it covers is durable, or the write-back has failed and this handle is told, now or of an
    /// earlier failure. The pages count as clean either way.
    pub(super) fn end_sync(&mut self, id: u64, path: &str, told: Told, covered: u64) -> io::Result<()> {
        let failed = self.obstruct(Access::Sync, path).is_err();
        let file = self.files[index(id)].as_mut().expect("a living handle keeps its file");
        let (mut lost, mut evicted) = (0, 0);
        if failed {
            lost = file.content.fail_write_back(covered);
            evicted = file.content.evict(&mut self.faults);
            file.errors += 1;
            file.reported = false;
        } else {
            file.content.make_durable(covered);
            file.length_durable = true;
        }
        let unseen = file.errors != told.0;
        file.reported |= unseen;
        if lost > 0 {
            self.effects.push(("disk.lost_write_back", lost));
        }
        if evicted > 0 {
            self.effects.push(("disk.evicted", evicted));
        }
        if unseen { Err(broken()) } else { Ok(()) }
    }

    pub(super) fn try_lock(&mut self, id: u64) -> io::Result<()> {
        if self.locks.insert(id) { Ok(()) } else { Err(ErrorKind::WouldBlock.into()) }
    }

    pub(super) fn unlock(&mut self, incarnation: u64, id: u64) {
        if incarnation == self.incarnation {
            self.locks.remove(&id);
        }
    }

    /// Capacity and what is free of it.
    pub(super) fn space(&self) -> (u64, u64) {
        let used = self.files.iter().flatten().filter(|file| file.links > 0 || file.open > 0);
        let used = used.map(|file| file.space()).sum::<u64>();
        (self.capacity, self.capacity.saturating_sub(used))
    }

    /// An I/O error when the plan wants one here.
    pub(super) fn obstruct(&mut self, access: Access, path: &str) -> io::Result<()> {
        if self.rules.is_empty() {
            return Ok(());
        }
        let hit = self.rules.iter().position(|rule| rule.access == access && matches(&rule.pattern, path));
        let Some(hit) = hit else { return Ok(()) };
        if let Some(left) = &mut self.rules[hit].left {
            *left -= 1;
            if *left == 0 {
                self.rules.remove(hit);
            }
        }
        self.effects.push((access.effect(), 1));
        Err(broken())
    }

    // What follows is for plans, not for the process on top.

    /// The process on top is gone, and perhaps the power too.
    pub(super) fn crash(&mut self, crash: Crash) {
        self.incarnation += 1;
        self.dead = false;
        self.cut_reached = None;
        self.locks.clear();
        let mut evicted = 0;
        for file in self.files.iter_mut().flatten() {
            file.open = 0;
            if file.errors > 0 {
                evicted += file.content.evict(&mut self.faults);
            }
        }
        if evicted > 0 {
            self.effects.push(("disk.evicted", evicted));
        }
        if crash == Crash::Power {
            self.lose_power();
        }
        self.collect();
    }

    fn lose_power(&mut self) {
        let rate = match self.crashes.below(4) {
            0 => 0.0,
            1 => 1.0,
            _ => self.crashes.below(1_000) as f64 / 1_000.0,
        };
        let names = self.names.lose_power(rate, &mut self.crashes);
        self.collect();
        let mut links = BTreeMap::<u64, u32>::new();
        for (_, id) in self.names.files() {
            *links.entry(id).or_default() += 1;
        }
        let (mut lost, mut between, mut lengths) = (0, 0, 0);
        for (id, file) in (0_u64..).zip(&mut self.files) {
            let Some(file) = file else { continue };
            file.links = links.get(&id).copied().unwrap_or(0);
            let loss = file.content.lose_power(rate, &mut self.crashes);
            (lost, between) = (lost + loss.lost, between + loss.between);
            if !file.length_durable && !self.crashes.chance(rate) {
                // Space is reserved piece by piece, and the length follows.
                let pages = file.content.len() / PAGE as u64;
                let kept = if self.crashes.chance(0.5) { 0 } else { self.crashes.below(pages + 1) };
                let kept = (kept * PAGE as u64).min(file.content.len());
                lengths += u64::from(kept < file.content.len());
                file.content.truncate(kept);
            }
            file.length_durable = true;
            (file.errors, file.reported) = (0, true);
        }
        let effects = [
            ("disk.lost_names", names),
            ("disk.lost_sectors", lost),
            ("disk.intermediate_sectors", between),
            ("disk.short_files", lengths),
        ];
        self.effects.extend(effects.into_iter().filter(|(_, count)| *count > 0));
    }

    /// A new disk is put in, empty. What is open on the old one is dead.
    pub(super) fn replace(&mut self) {
        if !self.names.files().is_empty() {
            self.effects.push(("disk.replaced", 1));
        }
        self.crash(Crash::Process);
        self.names = Names::new();
        self.files.iter_mut().for_each(|slot| *slot = None);
        // Numbers of the old disk are not used again.
        self.files.resize_with(index(self.next), || None);
    }

    pub(super) fn set_capacity(&mut self, bytes: u64) {
        self.capacity = bytes;
    }

    pub(super) fn add_rule(&mut self, access: Access, pattern: &str, times: Option<u64>) {
        if times != Some(0) {
            self.rules.push(Rule { access, pattern: pattern.to_owned(), left: times });
        }
    }

    pub(super) fn clear_rules(&mut self) {
        self.rules.clear();
    }

    pub(super) fn arm_cut(&mut self, pattern: &str, writes: u64, crash: Crash) {
        self.cut = Some(Cut { pattern: pattern.to_owned(), left: writes, crash });
    }

    /// Turns one durable bit in a range of the files that match. Answers where.
    pub(super) fn rot(&mut self, pattern: &str, from: u64, to: u64) -> Option<(String, u64)> {
        let mut files = self.names.files();
        files.retain(|(path, _)| matches(pattern, path));
        while !files.is_empty() {
            let chosen = self.faults.below(files.len() as u64) as usize;
            let (path, id) = files.swap_remove(chosen);
            let file = self.files[index(id)].as_mut().expect("a named file exists");
            if let Some(at) = file.content.rot(from, to, &mut self.faults) {
                self.effects.push(("disk.rot", 1));
                return Some((path, at));
            }
        }
        None
    }

    /// Paths of all files, in order.
    pub(super) fn paths(&self) -> Vec<String> {
        self.names.files().into_iter().map(|(path, _)| path).collect()
    }

    /// A file as the running system sees it.
    pub(super) fn contents(&self, path: &str) -> Option<Vec<u8>> {
        let content = &self.file(self.find(TOP, path).ok()?).content;
        let mut bytes = Vec::new();
        content.read(0, content.len() as usize, |part| bytes.extend_from_slice(part));
        Some(bytes)
    }

    /// Each file as the running system sees it, and what of it is durable.
    pub(super) fn look(&self) -> Vec<(String, Vec<u8>, Vec<u8>)> {
        let seen = self.paths().into_iter().filter_map(|path| {
            let (now, durable) = (self.contents(&path)?, self.durable(&path)?);
            Some((path, now, durable))
        });
        seen.collect()
    }

    /// The durable bytes of a file.
    pub(super) fn durable(&self, path: &str) -> Option<Vec<u8>> {
        let content = &self.file(self.find(TOP, path).ok()?).content;
        Some(content.durable(0, content.len() as usize))
    }

    /// Puts a file there, durably, as if it had always been.
    pub(super) fn put(&mut self, path: &str, bytes: &[u8]) -> io::Result<()> {
        if let Some((above, _)) = path.rsplit_once('/') {
            self.make_dir(TOP, above)?;
        }
        if self.find(TOP, path).is_ok() {
            self.remove(TOP, path)?;
        }
        let id = self.create(TOP, path, bytes.len() as u64, false)?;
        let file = self.file_mut(id);
        file.content.write(0, bytes);
        file.content.make_durable(file.content.latest());
        file.length_durable = true;
        self.names.settle();
        self.collect();
        Ok(())
    }

    fn reserve(&mut self, bytes: u64) -> io::Result<()> {
        if bytes > self.space().1 {
            self.effects.push(("disk.full", 1));
            return Err(ErrorKind::StorageFull.into());
        }
        Ok(())
    }

    fn cut_here(&mut self, path: &str) -> bool {
        let Some(cut) = &mut self.cut else { return false };
        if !matches(&cut.pattern, path) {
            return false;
        }
        cut.left = cut.left.saturating_sub(1);
        if cut.left > 0 {
            return false;
        }
        self.cut_reached = Some(cut.crash);
        self.cut = None;
        true
    }

    fn unlink(&mut self, id: u64) {
        if let Some(Some(file)) = self.files.get_mut(index(id)) {
            file.links -= 1;
        }
        self.came_loose();
    }

    /// Looking at all names costs too much for each one that goes.
    fn came_loose(&mut self) {
        self.loose += 1;
        if self.loose >= MANY_LOOSE {
            self.collect();
        }
    }

    /// Frees what no name, no handle and no possible power loss can bring back.
    fn collect(&mut self) {
        self.loose = 0;
        let named = self.names.collect();
        for (id, slot) in (0_u64..).zip(&mut self.files) {
            if slot.as_ref().is_some_and(|file| file.open == 0 && !named.contains(&id)) {
                *slot = None;
            }
        }
    }

    fn file(&self, id: u64) -> &FileState {
        self.files[index(id)].as_ref().expect("a living handle keeps its file")
    }

    fn file_mut(&mut self, id: u64) -> &mut FileState {
        self.files[index(id)].as_mut().expect("a living handle keeps its file")
    }
}

impl FileState {
    /// What it takes of the disk, in bytes.
    fn space(&self) -> u64 {
        match self.sparse {
            true => self.content.pages() * PAGE as u64,
            false => self.content.len().next_multiple_of(PAGE as u64),
        }
    }
}

impl Access {
    fn effect(self) -> &'static str {
        match self {
            Self::Read => "disk.failed_read",
            Self::Fetch => "disk.failed_fetch",
            Self::Write => "disk.failed_write",
            Self::Sync => "disk.failed_sync",
            Self::Names => "disk.failed_names",
        }
    }
}

/// Whether `path` fits `pattern`, in which each `*` stands for any characters, slashes too.
pub(super) fn matches(pattern: &str, path: &str) -> bool {
    let Some((head, mut rest)) = pattern.split_once('*') else { return pattern == path };
    let Some(mut path) = path.strip_prefix(head) else { return false };
    while let Some((part, behind)) = rest.split_once('*') {
        let Some(found) = path.find(part) else { return false };
        path = &path[found + part.len()..];
        rest = behind;
    }
    path.ends_with(rest)
}

fn above(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(above, _)| above)
}

fn within(file: &FileState, at: u64, len: u64) -> bool {
    at.checked_add(len).is_some_and(|end| end <= file.content.len())
}

fn index(id: u64) -> usize {
    usize::try_from(id).expect("files are counted from 1")
}

fn broken() -> io::Error {
    io::Error::from_raw_os_error(EIO)
}

const EIO: i32 = 5;
const DEFAULT_CAPACITY: u64 = 64 << 30;
/// So often something comes loose before files that nothing names are freed.
const MANY_LOOSE: u32 = 32;

#[cfg(test)]
mod tests;
