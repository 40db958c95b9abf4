//! The simulated disk: what `runtime::disk` is under the simulator, and what a plan can do to it.
//!
//! One medium per node outlives the processes on it. A process crash keeps the page cache; a power loss leaves of
//! what was not synced any mixture of old and new sectors, and of each folder's unsynced changes a first part.
//! What was synced is there, whatever happens.

use std::fmt;
use std::io;
use std::io::ErrorKind;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use xxhash_rust::xxh3::xxh3_64;

use self::state::{State, Told};
use crate::detail::{self, Fallen};
use crate::node::{Crash, Node};
use crate::random::Dice;
use crate::{here, task, time, trace};

mod content;
mod names;
mod state;

/// Where a plan can put an I/O error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Access {
    /// Reads from memory, `read_into`. For a file that is mapped it is a signal: the process dies there.
    Read,
    /// Reads from the medium: `fetch` and `read_small`.
    Fetch,
    /// Writes and zeroing; also those of `replace_small`. A write to a file that is mapped is a signal: the process
    /// dies in its midst.
    Write,
    /// Write-backs: the sync reports it and what it should have written is not durable, though it counts as clean.
    Sync,
    /// Creating, opening, listing, renaming, removing, syncing of folders.
    Names,
}

/// The disk of a node; clones are the same disk. It outlives the node's processes.
#[derive(Clone)]
pub struct Medium {
    shared: Arc<MediumShared>,
}

struct MediumShared {
    node: Node,
    state: Mutex<State>,
    latency: Mutex<Latency>,
}

struct Latency {
    sync: Range<Duration>,
    fetch: Range<Duration>,
    slow: bool,
    dice: Dice,
}

/// A folder of this node's disk, under which all paths are taken; clones are the same folder.
#[derive(Clone)]
pub struct Disk {
    medium: Medium,
    incarnation: u64,
    root: u64,
    path: Arc<str>,
    replacing: Arc<tokio::sync::Mutex<()>>,
}

/// An open file of fixed length; clones share the handle.
#[derive(Clone)]
pub struct File {
    shared: Arc<FileShared>,
}

struct FileShared {
    medium: Medium,
    incarnation: u64,
    id: u64,
    len: u64,
    /// From the top of the medium: what the patterns of a plan are compared with.
    path: Box<str>,
    /// Handles opened for syncs, as in production: each sync in flight has its own.
    idle: Mutex<Vec<Told>>,
}

/// A lock on a file, held until dropped or until the process dies.
pub struct Lock {
    medium: Medium,
    incarnation: u64,
    id: u64,
}

/// Size of the disk and what may still be taken of it, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Space {
    /// All blocks.
    pub total: u64,
    /// Free blocks.
    pub free: u64,
}

impl Disk {
    /// Opens a folder, making it and its parents durably when they are missing.
    pub fn open(root: &str) -> io::Result<Self> {
        let here = here();
        if !here.is_alive() {
            return Err(explain("open the folder", root, &io::Error::other("this process is dead")));
        }
        here.node.disk().mount(root)
    }

    /// Creates a file of `len` zero bytes with all its blocks reserved. Fails when it exists or when there is no
    /// room. The name is durable after [`Disk::sync_dir`], the length after [`File::sync`].
    pub async fn create(&self, path: &str, len: u64) -> io::Result<File> {
        self.create_as(path, len, false).await
    }

    /// Opens an existing file for reading and writing.
    pub async fn open_file(&self, path: &str) -> io::Result<File> {
        self.open_as(path, false).await
    }

    /// Creates a file of `len` zero bytes without blocks behind them: for the many files that stay nearly empty. A
    /// disk that is full when a block is needed is an error of `write_at`.
    pub async fn create_sparse(&self, path: &str, len: u64) -> io::Result<File> {
        self.create_as(path, len, true).await
    }

    /// Opens an existing file as [`Disk::create_sparse`] leaves it.
    pub async fn open_sparse(&self, path: &str) -> io::Result<File> {
        self.open_as(path, true).await
    }

    /// The names in a folder, sorted; `""` is the root.
    pub async fn list(&self, dir: &str) -> io::Result<Vec<String>> {
        self.folders("list", dir, |state, dir| state.list(self.root, dir)).await
    }

    /// Makes a folder and its parents, durably; one that exists is fine.
    pub async fn make_dir(&self, dir: &str) -> io::Result<()> {
        let what = "make the folder";
        let there = self.folders(what, dir, |state, dir| state.folders_there(self.root, steps(dir))).await?;
        // Each is durable before the next is made in it. The last of those that were there may be from a process that
        // died before its sync.
        for (number, (above, folder)) in steps(dir).enumerate().skip(there.saturating_sub(1)) {
            if number >= there {
                self.folders(what, folder, |state, folder| state.make_dir(self.root, folder)).await?;
            }
            self.sync_dir(above).await?;
        }
        Ok(())
    }

    /// Renames; a file that has the new name is replaced. Durable after [`Disk::sync_dir`].
    pub async fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        if to.is_empty() || !plain(to) {
            return Err(explain("rename to", to, &ErrorKind::InvalidInput.into()));
        }
        self.names("rename", from, |state, from| state.rename(self.root, from, to)).await
    }

    /// Removes a file or an empty folder. Open files stay readable. Durable after [`Disk::sync_dir`].
    pub async fn remove(&self, path: &str) -> io::Result<()> {
        self.names("remove", path, |state, path| state.remove(self.root, path)).await
    }

    /// Makes the names in this folder durable: what was created, renamed and removed in it before the call.
    pub async fn sync_dir(&self, dir: &str) -> io::Result<()> {
        let what = "sync the folder";
        if !plain(dir) {
            return Err(explain(what, dir, &ErrorKind::InvalidInput.into()));
        }
        let path = self.whole(dir);
        let (folder, covered) =
            self.medium.act(self.incarnation, what, &path, |state| state.begin_sync_dir(self.root, dir))?;
        self.medium.wait_sync().await;
        self.medium.act(self.incarnation, what, &path, |state| {
            state.obstruct(Access::Names, &path)?;
            state.end_sync_dir(folder, covered);
            Ok(())
        })?;
        self.medium.record("disk.sync_dir", &[folder, covered], b"");
        Ok(())
    }

    /// Reads a whole file.
    pub async fn read_small(&self, path: &str) -> io::Result<Vec<u8>> {
        let name = self.whole(path);
        self.checked("read", path)?;
        self.medium.wait_fetch().await;
        self.medium.act(self.incarnation, "read", &name, |state| {
            let id = state.find(self.root, path)?;
            let len = state.open(id);
            let mut bytes = Vec::new();
            let read =
                state.read(id, &name, Access::Fetch, (0, len as usize), |part| bytes.extend_from_slice(part));
            state.close(self.incarnation, id);
            read.map(|()| bytes)
        })
    }

    /// Replaces a whole file, durably: after a crash there is the old content or the new one, never a part.
    pub async fn replace_small(&self, path: &str, bytes: &[u8]) -> io::Result<()> {
        self.checked("replace", path)?;
        let _alone = self.replacing.lock().await;
        let temporary = format!("{path}{TEMPORARY}");
        let replaced = async {
            match self.remove(&temporary).await {
                Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            // Written by system calls, not by way of a mapping.
            let file = self.create_sparse(&temporary, bytes.len() as u64).await?;
            file.write_at(0, bytes)?;
            file.sync().await?;
            self.rename(&temporary, path).await
        };
        if let Err(error) = replaced.await {
            let _ = self.remove(&temporary).await; // gives its blocks back when the disk is full
            return Err(explain("replace", path, &error));
        }
        let above = path.rsplit_once('/').map_or("", |(above, _)| above);
        self.sync_dir(above).await.map_err(|error| explain("replace", path, &error))
    }

    /// Takes the lock on a file, making the file when missing; `WouldBlock` when somebody else holds it.
    pub async fn try_lock(&self, path: &str) -> io::Result<Lock> {
        let (root, medium, incarnation) = (self.root, self.medium.clone(), self.incarnation);
        self.names("lock", path, |state, path| {
            let id = match state.find(root, path) {
                Err(error) if error.kind() == ErrorKind::NotFound => state.create(root, path, 0, false)?,
                found => found?,
            };
            state.try_lock(id)?;
            state.open(id);
            Ok(Lock { medium, incarnation, id })
        })
        .await
    }

    /// Size of the disk, and what is free.
    pub async fn space(&self) -> io::Result<Space> {
        let (total, free) = self.folders("measure", "", |state, _| Ok(state.space())).await?;
        Ok(Space { total, free })
    }

    async fn create_as(&self, path: &str, len: u64, sparse: bool) -> io::Result<File> {
        let name = self.whole(path);
        let (root, medium, incarnation) = (self.root, self.medium.clone(), self.incarnation);
        self.names("create", path, |state, path| {
            let id = state.create(root, path, len, sparse)?;
            state.open(id);
            Ok(File::new(medium, incarnation, id, len, name))
        })
        .await
    }

    async fn open_as(&self, path: &str, sparse: bool) -> io::Result<File> {
        let name = self.whole(path);
        let (root, medium, incarnation) = (self.root, self.medium.clone(), self.incarnation);
        self.names("open", path, |state, path| {
            let id = state.find(root, path)?;
            if !sparse {
                state.fill(id)?;
            }
            let len = state.open(id);
            Ok(File::new(medium, incarnation, id, len, name))
        })
        .await
    }

    async fn names<R>(
        &self,
        what: &'static str,
        path: &str,
        step: impl FnOnce(&mut State, &str) -> io::Result<R>,
    ) -> io::Result<R> {
        self.checked(what, path)?;
        self.folders(what, path, step).await
    }

    async fn folders<R>(
        &self,
        what: &'static str,
        path: &str,
        step: impl FnOnce(&mut State, &str) -> io::Result<R>,
    ) -> io::Result<R> {
        let whole = self.whole(path);
        let step = || {
            let result = self.medium.act(self.incarnation, what, &whole, |state| {
                if !plain(path) {
                    return Err(ErrorKind::InvalidInput.into());
                }
                state.obstruct(Access::Names, &whole)?;
                step(state, path)
            });
            self.medium.record(
                "disk.names",
                &[u64::from(result.is_ok())],
                format!("{what} {whole}").as_bytes(),
            );
            result
        };
        // The effect may come at once or only just before the answer; the caller sees neither.
        let (early, pause) = {
            let mut latency = held(&self.medium.shared.latency);
            (latency.dice.chance(0.5), latency.dice.between(&NAMES))
        };
        if early {
            let result = step();
            time::pass(pause).await;
            result
        } else {
            time::pass(pause).await;
            step()
        }
    }

    fn checked(&self, what: &str, path: &str) -> io::Result<()> {
        if path.is_empty() || !plain(path) {
            return Err(explain(what, path, &ErrorKind::InvalidInput.into()));
        }
        Ok(())
    }

    fn whole(&self, path: &str) -> String {
        match (&*self.path, path) {
            ("", path) => path.to_owned(),
            (root, "") => root.to_owned(),
            (root, path) => format!("{root}/{path}"),
        }
    }
}

impl File {
    fn new(medium: Medium, incarnation: u64, id: u64, len: u64, path: String) -> Self {
        detail::note(medium.shared.node, "disk.open", &[id], path.as_bytes());
        let shared = FileShared { medium, incarnation, id, len, path: path.into(), idle: Mutex::default() };
        Self { shared: Arc::new(shared) }
    }

    /// The length, fixed when the file was created.
    pub fn len(&self) -> u64 {
        self.shared.len
    }

    /// Whether the file has no bytes, as one whose creation a power loss cut off.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Copies into the page cache: survives the death of the process, not the loss of power.
    pub fn write_at(&self, at: u64, bytes: &[u8]) -> io::Result<()> {
        let FileShared { medium, incarnation, id, path, .. } = &*self.shared;
        medium.act(*incarnation, "write", path, |state| state.write(*id, path, at, bytes))?;
        medium.record("disk.write", &[*id, at, bytes.len() as u64, xxh3_64(bytes)], b"");
        Ok(())
    }

    /// Appends `len` bytes of the file to `out`, from memory.
    pub fn read_into(&self, out: &mut BytesMut, at: u64, len: usize) -> io::Result<()> {
        let FileShared { medium, incarnation, id, path, .. } = &*self.shared;
        medium.act(*incarnation, "read", path, |state| {
            state.read(*id, path, Access::Read, (at, len), |part| out.extend_from_slice(part))
        })
    }

    /// Reads from the medium.
    pub async fn fetch(&self, at: u64, len: usize) -> io::Result<Bytes> {
        let FileShared { medium, incarnation, id, path, .. } = &*self.shared;
        medium.wait_fetch().await;
        let mut out = BytesMut::new();
        medium.act(*incarnation, "read", path, |state| {
            state.read(*id, path, Access::Fetch, (at, len), |part| out.extend_from_slice(part))
        })?;
        medium.record("disk.fetch", &[*id, at, len as u64], b"");
        Ok(out.freeze())
    }

    /// Brings a range into memory, ready to be written. Only a hint.
    pub async fn populate(&self, _at: u64, _len: u64) {
        task::yield_now().await;
    }

    /// Writes zeros over a range; a file without holes keeps its blocks. Durable after [`File::sync`].
    pub async fn zero(&self, at: u64, len: u64) -> io::Result<()> {
        let FileShared { medium, incarnation, id, path, .. } = &*self.shared;
        medium.act(*incarnation, "zero", path, |state| state.zero(*id, path, at, len))?;
        medium.record("disk.zero", &[*id, at, len], b"");
        task::yield_now().await;
        Ok(())
    }

    /// When this is `Ok`, everything written before the call is durable. After an error nothing is known about any
    /// byte written since the last success, and a later success does not cover those bytes.
    pub async fn sync(&self) -> io::Result<()> {
        let FileShared { medium, incarnation, id, path, idle, .. } = &*self.shared;
        let (told, covered, pages) = medium.act(*incarnation, "sync", path, |state| {
            let told = held(idle).pop().unwrap_or_else(|| state.open_for_sync(*id));
            let (covered, pages) = state.begin_sync(*id);
            Ok((told, covered, pages))
        })?;
        detail::note(medium.shared.node, "disk.sync_begin", &[*id, covered], b"");
        medium.wait_sync().await;
        let ended = medium.act(*incarnation, "sync", path, |state| state.end_sync(*id, path, told, covered));
        medium.record("disk.sync", &[*id, covered, pages, u64::from(ended.is_ok())], b"");
        ended?; // a handle that was told of an error is not used again
        let mut idle = held(idle);
        if idle.len() < IDLE_HANDLES {
            idle.push(told);
        }
        Ok(())
    }
}

impl Drop for FileShared {
    fn drop(&mut self) {
        held(&self.medium.shared.state).close(self.incarnation, self.id);
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        let mut state = held(&self.medium.shared.state);
        state.unlock(self.incarnation, self.id);
        state.close(self.incarnation, self.id);
    }
}

impl Medium {
    /// An empty disk; `dice` gives the stream of its random choices for a purpose.
    pub(crate) fn new(node: Node, dice: impl Fn(&str) -> Dice) -> Self {
        let latency = Latency { sync: SYNC, fetch: FETCH, slow: false, dice: dice("disk.latency") };
        let state = Mutex::new(State::new(dice));
        Self { shared: Arc::new(MediumShared { node, state, latency: Mutex::new(latency) }) }
    }

    /// A folder of this disk, for the process that now runs on it.
    fn mount(&self, root: &str) -> io::Result<Disk> {
        let path = root.trim_matches('/');
        let (incarnation, root) =
            held(&self.shared.state).mount(path).map_err(|e| explain("open the folder", root, &e))?;
        Ok(Disk { medium: self.clone(), incarnation, root, path: path.into(), replacing: Arc::default() })
    }

    /// The process on this disk is gone, in whatever way: its handles and locks are dead from now on.
    pub(crate) fn crash(&self, crash: Crash) {
        let before = detail::is_on().then(|| held(&self.shared.state).look());
        held(&self.shared.state).crash(crash);
        if let Some(files) = before {
            let state = held(&self.shared.state);
            let found = files.into_iter().map(|(path, before, synced)| {
                let after = state.contents(&path);
                Fallen { path, before, synced, after }
            });
            let found = found.collect();
            drop(state);
            detail::fall(self.shared.node, crash, found);
        }
        self.tell();
    }

    /// The disk is lost, and a new, empty one put in. For a node whose process is down.
    pub fn replace(&self) {
        held(&self.shared.state).replace();
        self.record("disk.replace", &[], b"");
        self.tell();
    }

    /// From now on this access to files that match fails: so many times, or until [`Medium::heal`]. In a pattern
    /// each `*` stands for any characters; paths begin at the top of the disk.
    pub fn fail(&self, access: Access, pattern: &str, times: Option<u64>) {
        self.record("disk.fail", &[access as u64, times.unwrap_or(u64::MAX)], pattern.as_bytes());
        held(&self.shared.state).add_rule(access, pattern, times);
    }

    /// No access fails any more, and syncs and reads take their usual time.
    pub fn heal(&self) {
        self.record("disk.heal", &[], b"");
        held(&self.shared.state).clear_rules();
        let mut latency = held(&self.shared.latency);
        (latency.sync, latency.fetch, latency.slow) = (SYNC, FETCH, false);
    }

    /// How long a sync takes from now on.
    pub fn set_sync_latency(&self, latency: Range<Duration>) {
        self.record("disk.sync_latency", &nanos(&latency), b"");
        let mut held = held(&self.shared.latency);
        held.slow = latency.end > SYNC.end;
        held.sync = latency;
    }

    /// How long a read from the medium takes from now on.
    pub fn set_fetch_latency(&self, latency: Range<Duration>) {
        self.record("disk.fetch_latency", &nanos(&latency), b"");
        held(&self.shared.latency).fetch = latency;
    }

    /// The size of the disk. Below what is in use, nothing more can be created.
    pub fn set_capacity(&self, bytes: u64) {
        self.record("disk.capacity", &[bytes], b"");
        held(&self.shared.state).set_capacity(bytes);
    }

    /// What files take of the disk.
    pub fn used(&self) -> u64 {
        let (total, free) = held(&self.shared.state).space();
        total - free
    }

    /// The `writes`-th write from now on to a file that matches is cut: a first part of it is done, then the process
    /// is dead and the world is told to end it. Another end before it changes nothing.
    pub fn cut_write(&self, pattern: &str, writes: u64, crash: Crash) {
        self.record("disk.cut_write", &[writes, u64::from(crash == Crash::Power)], pattern.as_bytes());
        held(&self.shared.state).arm_cut(pattern, writes, crash);
    }

    /// Whether a write is still to be cut.
    pub fn cut_is_pending(&self) -> bool {
        held(&self.shared.state).cut.is_some()
    }

    /// Whether the process on top has died in a write or a read, and only has to be ended.
    pub fn is_dead(&self) -> bool {
        held(&self.shared.state).dead
    }

    /// No write is cut any more.
    pub fn take_back_cut(&self) {
        self.record("disk.take_back_cut", &[], b"");
        held(&self.shared.state).cut = None;
    }

    /// Turns one durable bit within a range of one of the files that match. Answers where, or nothing when no
    /// durable byte was found there.
    pub fn rot(&self, pattern: &str, range: Range<u64>) -> Option<(String, u64)> {
        let found = held(&self.shared.state).rot(pattern, range.start, range.end);
        if let Some((path, at)) = &found {
            self.record("disk.rot", &[*at], path.as_bytes());
        }
        self.tell();
        found
    }

    /// The paths of all files, from the top of the disk, in order.
    pub fn paths(&self) -> Vec<String> {
        held(&self.shared.state).paths()
    }

    /// A file as a running process would read it.
    pub fn contents(&self, path: &str) -> Option<Vec<u8>> {
        held(&self.shared.state).contents(path)
    }

    /// A file as it would be if the power went now and nothing unsynced survived; its name may not.
    pub fn durable(&self, path: &str) -> Option<Vec<u8>> {
        held(&self.shared.state).durable(path)
    }

    /// Puts a file there, as if it had always been: with its folders, durable.
    pub fn put(&self, path: &str, bytes: &[u8]) -> io::Result<()> {
        self.record("disk.put", &[bytes.len() as u64, xxh3_64(bytes)], path.as_bytes());
        held(&self.shared.state).put(path, bytes).map_err(|e| explain("put", path, &e))
    }

    fn act<R>(
        &self,
        incarnation: u64,
        what: &str,
        path: &str,
        step: impl FnOnce(&mut State) -> io::Result<R>,
    ) -> io::Result<R> {
        let mut state = held(&self.shared.state);
        let result = state.check(incarnation).and_then(|()| step(&mut state));
        let tell = !state.effects.is_empty() || state.cut_reached.is_some();
        drop(state);
        if tell {
            self.tell();
        }
        result.map_err(|error| explain(what, path, &error))
    }

    /// Without the lock: a cut ends the process, which ends here again.
    fn tell(&self) {
        let mut state = held(&self.shared.state);
        let (effects, cut) = (std::mem::take(&mut state.effects), state.cut_reached.take());
        drop(state);
        for (name, count) in effects {
            trace::effects(self.shared.node, name, count);
        }
        if let Some(crash) = cut {
            self.shared.node.crash(crash);
        }
    }

    fn record(&self, kind: &'static str, numbers: &[u64], bytes: &[u8]) {
        trace::record(self.shared.node, kind, numbers, bytes);
    }

    async fn wait_sync(&self) {
        let (wait, slow) = {
            let mut latency = held(&self.shared.latency);
            let range = latency.sync.clone();
            (latency.dice.between(&range), latency.slow)
        };
        if slow {
            trace::effects(self.shared.node, "disk.slow_sync", 1);
        }
        time::pass(wait).await;
    }

    async fn wait_fetch(&self) {
        let wait = {
            let mut latency = held(&self.shared.latency);
            let range = latency.fetch.clone();
            latency.dice.between(&range)
        };
        time::pass(wait).await;
    }
}

impl fmt::Debug for Medium {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Medium").finish_non_exhaustive()
    }
}

impl fmt::Debug for Disk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Disk").field("path", &self.path).finish_non_exhaustive()
    }
}

impl fmt::Debug for File {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("File").field("path", &self.shared.path).finish_non_exhaustive()
    }
}

impl fmt::Debug for Lock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lock").field("file", &self.id).finish_non_exhaustive()
    }
}

/// A path part by part from the top: each folder on the way with the one it is in.
fn steps(path: &str) -> impl Iterator<Item = (&str, &str)> {
    let ends = path.match_indices('/').map(|(at, _)| at).chain((!path.is_empty()).then_some(path.len()));
    ends.map(|end| {
        let step = &path[..end];
        (step.rsplit_once('/').map_or("", |(above, _)| above), step)
    })
}

fn nanos(range: &Range<Duration>) -> [u64; 2] {
    [range.start.as_nanos() as u64, range.end.as_nanos() as u64]
}

fn plain(path: &str) -> bool {
    path.is_empty() || path.split('/').all(|part| !matches!(part, "" | "." | ".."))
}

fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn explain(what: &str, path: &str, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("cannot {what} {path:?}: {error}"))
}

/// What a solid-state disk takes on a quiet and on a busy machine.
const SYNC: Range<Duration> = Duration::from_micros(100)..Duration::from_micros(4_000);
const FETCH: Range<Duration> = Duration::from_micros(20)..Duration::from_micros(300);
const NAMES: Range<Duration> = Duration::from_micros(5)..Duration::from_micros(200);
const IDLE_HANDLES: usize = 4;
const TEMPORARY: &str = ".tmp";
