//! The production disk: files reserved whole and mapped, appended to by copying into the mapping, made durable by sync.
//!
//! A page that is mapped but has no block behind it faults when the disk is full, and the signal comes after the
//! message was acknowledged. So every file has all its blocks before it is mapped, and `create` is where a full
//! disk is reported. Whatever may block runs on the blocking pool.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "this file is where the system touches the real file system"
)]

use std::fs;
use std::fs::OpenOptions;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use bytes::{Bytes, BytesMut};
use rustix::fs::FallocateFlags;

use self::mapping::Mapping;
use crate::task::spawn_blocking;

mod mapping;

/// A folder of the file system, under which all paths are taken; clones are the same folder.
#[derive(Clone, Debug)]
pub struct Disk {
    shared: Arc<Root>,
}

#[derive(Debug)]
struct Root {
    path: PathBuf,
    /// Two replacements of one file at once would write the same temporary file. Taken before the work goes to the
    /// pool, so that replacements happen in the order in which they were asked for.
    replacing: Arc<tokio::sync::Mutex<()>>,
    warned: AtomicBool,
}

/// An open file of fixed length; clones share the mapping.
#[derive(Clone, Debug)]
pub struct File {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    path: Box<str>,
    file: fs::File,
    len: u64,
    /// None: a file with holes, which is written and read by system calls.
    mapping: Option<Mapping>,
    syncs: Mutex<Syncs>,
    /// A sync has ended.
    returned: Condvar,
}

/// Handles opened for syncs. Linux reports a failed write-back once to each open file, so two syncs in flight on one
/// handle would hide it from one of them.
#[derive(Debug, Default)]
struct Syncs {
    idle: Vec<fs::File>,
    running: usize,
}

impl Syncs {
    fn keep(&mut self, handle: fs::File) {
        if self.idle.len() < IDLE_HANDLES {
            self.idle.push(handle);
        }
    }
}

/// A lock on a file, held until dropped or until the process dies.
#[derive(Debug)]
pub struct Lock {
    _file: OwnedFd,
}

/// Size of the file system and what an ordinary user may still take of it, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Space {
    /// All blocks.
    pub total: u64,
    /// Free blocks.
    pub free: u64,
}

impl Disk {
    /// Opens a folder, making it and its parents durably when they are missing. Blocks: for the start of a program.
    pub fn open(root: &str) -> io::Result<Self> {
        let path = PathBuf::from(root);
        make_folders(&path, Path::new("")).map_err(|e| explain("open the folder", root, &e))?;
        Ok(Self {
            shared: Arc::new(Root { path, replacing: Arc::default(), warned: AtomicBool::new(false) }),
        })
    }

    /// Creates a file of `len` zero bytes with all its blocks reserved. Fails when it exists or when there is no
    /// room. The name is durable after [`Disk::sync_dir`], the length after [`File::sync`].
    pub async fn create(&self, path: &str, len: u64) -> io::Result<File> {
        self.blocking("create", path, move |root, full, name| {
            let file = OpenOptions::new().read(true).write(true).create_new(true).open(full)?;
            root.reserve(&file, len, name).and_then(|()| File::map(name, file)).inspect_err(|_| {
                let _ = fs::remove_file(full); // the error is the answer; what is left behind is an empty file
            })
        })
        .await
    }

    /// Opens an existing file for reading and writing.
    pub async fn open_file(&self, path: &str) -> io::Result<File> {
        self.blocking("open", path, |root, full, name| {
            let file = OpenOptions::new().read(true).write(true).open(full)?;
            let meta = file.metadata()?;
            if meta.is_dir() {
                return Err(io::ErrorKind::IsADirectory.into());
            }
            // Files that other programs made may have holes.
            if meta.blocks() * BLOCK < meta.len() {
                root.reserve(&file, meta.len(), name)?;
            }
            File::map(name, file)
        })
        .await
    }

    /// Creates a file of `len` zero bytes without blocks behind them: for the many files that stay nearly empty. It
    /// is not mapped, so a disk that is full when a block is needed is an error of `write_at`.
    pub async fn create_sparse(&self, path: &str, len: u64) -> io::Result<File> {
        self.blocking("create", path, move |_, full, name| {
            let file = OpenOptions::new().read(true).write(true).create_new(true).open(full)?;
            file.set_len(len).and_then(|()| File::plain(name, file)).inspect_err(|_| {
                let _ = fs::remove_file(full); // the error is the answer; what is left behind is an empty file
            })
        })
        .await
    }

    /// Opens an existing file as [`Disk::create_sparse`] leaves it: not mapped.
    pub async fn open_sparse(&self, path: &str) -> io::Result<File> {
        self.blocking("open", path, |_, full, name| {
            let file = OpenOptions::new().read(true).write(true).open(full)?;
            if file.metadata()?.is_dir() {
                return Err(io::ErrorKind::IsADirectory.into());
            }
            File::plain(name, file)
        })
        .await
    }

    /// The names in a folder, sorted; `""` is the root.
    pub async fn list(&self, dir: &str) -> io::Result<Vec<String>> {
        self.blocking_dir("list", dir, |_, full, _| {
            let mut names = fs::read_dir(full)?
                .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
                .collect::<io::Result<Vec<_>>>()?;
            names.sort();
            Ok(names)
        })
        .await
    }

    /// Makes a folder and its parents, durably; one that exists is fine.
    pub async fn make_dir(&self, dir: &str) -> io::Result<()> {
        self.blocking_dir("make the folder", dir, |root, full, _| make_folders(full, &root.path)).await
    }

    /// Renames; a file that has the new name is replaced. Durable after [`Disk::sync_dir`].
    pub async fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let target = self.shared.below(to).map_err(|e| explain("rename to", to, &e))?;
        self.blocking("rename", from, move |_, full, _| fs::rename(full, target)).await
    }

    /// Removes a file or an empty folder. Open files stay readable. Durable after [`Disk::sync_dir`].
    pub async fn remove(&self, path: &str) -> io::Result<()> {
        self.blocking("remove", path, |_, full, _| {
            if fs::symlink_metadata(full)?.is_dir() { fs::remove_dir(full) } else { fs::remove_file(full) }
        })
        .await
    }

    /// Makes the names in this folder durable: what was created, renamed and removed in it before the call.
    pub async fn sync_dir(&self, dir: &str) -> io::Result<()> {
        self.blocking_dir("sync the folder", dir, |_, full, _| sync_folder(full)).await
    }

    /// Reads a whole file.
    pub async fn read_small(&self, path: &str) -> io::Result<Vec<u8>> {
        self.blocking("read", path, |_, full, _| fs::read(full)).await
    }

    /// Replaces a whole file, durably: after a crash there is the old content or the new one, never a part.
    pub async fn replace_small(&self, path: &str, bytes: &[u8]) -> io::Result<()> {
        let bytes = bytes.to_vec();
        let alone = self.shared.replacing.clone().lock_owned().await;
        self.blocking("replace", path, move |_, full, _| {
            let _alone = alone; // also when nobody waits for the result any more
            let mut temporary = full.as_os_str().to_owned();
            temporary.push(TEMPORARY);
            let written = fs::File::create(&temporary).and_then(|file| {
                file.write_all_at(&bytes, 0)?;
                file.sync_all()?;
                fs::rename(&temporary, full)
            });
            if let Err(error) = written {
                let _ = fs::remove_file(&temporary); // gives its blocks back when the disk is full
                return Err(error);
            }
            sync_folder(full.parent().expect("a path below the root has a parent"))
        })
        .await
    }

    /// Takes the lock on a file, making the file when missing; `WouldBlock` when somebody else holds it.
    pub async fn try_lock(&self, path: &str) -> io::Result<Lock> {
        self.blocking("lock", path, |_, full, _| {
            let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(full)?;
            mapping::lock(&file)?;
            Ok(Lock { _file: file.into() })
        })
        .await
    }

    /// What is free on the file system this folder is on, and how much that and what is used are together, as `df`
    /// reckons: blocks that nobody may use count as neither.
    pub async fn space(&self) -> io::Result<Space> {
        self.blocking_dir("measure", "", |_, full, _| Ok(reckon(&rustix::fs::statvfs(full)?))).await
    }

    async fn blocking<R: Send + 'static>(
        &self,
        what: &'static str,
        path: &str,
        work: impl FnOnce(&Root, &Path, &str) -> io::Result<R> + Send + 'static,
    ) -> io::Result<R> {
        self.shared.below(path).map_err(|e| explain(what, path, &e))?;
        self.blocking_dir(what, path, work).await
    }

    async fn blocking_dir<R: Send + 'static>(
        &self,
        what: &'static str,
        path: &str,
        work: impl FnOnce(&Root, &Path, &str) -> io::Result<R> + Send + 'static,
    ) -> io::Result<R> {
        let full = self.shared.at(path).map_err(|e| explain(what, path, &e))?;
        let (root, name) = (self.shared.clone(), path.to_owned());
        spawn_blocking(move || work(&root, &full, &name).map_err(|e| explain(what, &name, &e))).await
    }
}

impl Root {
    /// A path that is not the root itself.
    fn below(&self, path: &str) -> io::Result<PathBuf> {
        if path.is_empty() { Err(io::ErrorKind::InvalidInput.into()) } else { self.at(path) }
    }

    fn at(&self, path: &str) -> io::Result<PathBuf> {
        let plain = |part: &str| !matches!(part, "" | "." | "..");
        if path.is_empty() {
            return Ok(self.path.clone());
        }
        if path.split('/').all(plain) {
            Ok(self.path.join(path))
        } else {
            Err(io::ErrorKind::InvalidInput.into())
        }
    }

    /// Gives every byte of the file a block, keeping what is there.
    fn reserve(&self, file: &fs::File, len: u64, name: &str) -> io::Result<()> {
        if len == 0 {
            return Ok(());
        }
        // An attempt that is sure to fail would still take all that is free, from everybody, before it fails.
        let missing = len.saturating_sub(file.metadata()?.blocks() * BLOCK);
        if missing > reckon(&rustix::fs::fstatvfs(file)?).free {
            return Err(io::ErrorKind::StorageFull.into());
        }
        match rustix::io::retry_on_intr(|| rustix::fs::fallocate(file, FallocateFlags::empty(), 0, len)) {
            Ok(()) if file.metadata()?.blocks() * BLOCK >= len => return Ok(()),
            Ok(()) => {}
            Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => {}
            Err(error) => return Err(error.into()),
        }
        if !self.warned.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                file = name,
                "this file system does not reserve space; files are filled with zeros instead, which is slower"
            );
        }
        if file.metadata()?.len() < len {
            file.set_len(len)?;
        }
        let zeros = vec![0; CHUNK];
        let mut found = vec![0; CHUNK];
        let mut at = 0;
        while at < len {
            let step = CHUNK.min(usize::try_from(len - at).unwrap_or(CHUNK));
            file.read_exact_at(&mut found[..step], at)?;
            if found[..step] == zeros[..step] {
                file.write_all_at(&zeros[..step], at)?;
            }
            at += step as u64;
        }
        Ok(())
    }
}

impl File {
    fn map(path: &str, file: fs::File) -> io::Result<Self> {
        let mapping = Mapping::new(&file)?;
        let opened = Self::new(path, file, mapping.len() as u64, Some(mapping));
        // Opened while a failure is a shortage that is tried again: a sync that fails is the end of a log.
        let handle = opened.shared.open_again()?;
        opened.shared.syncs().keep(handle);
        Ok(opened)
    }

    fn plain(path: &str, file: fs::File) -> io::Result<Self> {
        let len = file.metadata()?.len();
        Ok(Self::new(path, file, len, None))
    }

    fn new(path: &str, file: fs::File, len: u64, mapping: Option<Mapping>) -> Self {
        Self {
            shared: Arc::new(Shared {
                path: path.into(),
                file,
                len,
                mapping,
                syncs: Mutex::default(),
                returned: Condvar::new(),
            }),
        }
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
        let Some(start) = self.range(at, bytes.len() as u64) else {
            return Err(explain(
                "write past the end of",
                &self.shared.path,
                &io::ErrorKind::InvalidInput.into(),
            ));
        };
        match &self.shared.mapping {
            Some(mapping) => mapping.write(start, bytes),
            None => {
                let written = self.shared.file.write_all_at(bytes, at);
                written.map_err(|e| explain("write", &self.shared.path, &e))?;
            }
        }
        Ok(())
    }

    /// Appends `len` bytes of the file to `out`, from the mapping: for what is likely in memory.
    pub fn read_into(&self, out: &mut BytesMut, at: u64, len: usize) -> io::Result<()> {
        let Some(start) = self.range(at, len as u64) else { return Err(self.past_end()) };
        match &self.shared.mapping {
            Some(mapping) => mapping.read(start, len, out),
            None => {
                let before = out.len();
                out.resize(before + len, 0);
                if let Err(error) = self.shared.file.read_exact_at(&mut out[before..], at) {
                    out.truncate(before);
                    return Err(explain("read", &self.shared.path, &error));
                }
            }
        }
        Ok(())
    }

    /// Reads on the blocking pool: for what is likely not in memory. A broken disk is an error here, not a signal.
    pub async fn fetch(&self, at: u64, len: usize) -> io::Result<Bytes> {
        if self.range(at, len as u64).is_none() {
            return Err(self.past_end());
        }
        self.blocking("read", move |shared| {
            let mut found = BytesMut::zeroed(len);
            shared.file.read_exact_at(&mut found, at)?;
            Ok(found.freeze())
        })
        .await
    }

    /// Brings a range into memory, ready to be written, so that appends to it do not fault. Only a hint.
    pub async fn populate(&self, at: u64, len: u64) {
        let end = at.saturating_add(len).min(self.len());
        let (Ok(start), Ok(end)) = (usize::try_from(at), usize::try_from(end)) else { return };
        if start < end {
            let shared = self.shared.clone();
            spawn_blocking(move || {
                if let Some(mapping) = &shared.mapping {
                    mapping.populate(start, end - start);
                }
            })
            .await;
        }
    }

    /// Writes zeros over a range; a file without holes keeps its blocks. Durable after [`File::sync`].
    pub async fn zero(&self, at: u64, len: u64) -> io::Result<()> {
        if self.range(at, len).is_none() {
            return Err(explain(
                "zero past the end of",
                &self.shared.path,
                &io::ErrorKind::InvalidInput.into(),
            ));
        }
        if len == 0 {
            return Ok(());
        }
        self.blocking("zero", move |shared| {
            // A file with holes gets more of them: the other way would reserve what it was made not to.
            let how = match shared.mapping {
                Some(_) => FallocateFlags::ZERO_RANGE,
                None => FallocateFlags::PUNCH_HOLE,
            };
            let flags = how | FallocateFlags::KEEP_SIZE;
            match rustix::io::retry_on_intr(|| rustix::fs::fallocate(&shared.file, flags, at, len)) {
                Ok(()) => return Ok(()),
                Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => {}
                Err(error) => return Err(error.into()),
            }
            let zeros = vec![0; CHUNK];
            let mut done = 0;
            while done < len {
                let step = CHUNK.min(usize::try_from(len - done).unwrap_or(CHUNK));
                shared.file.write_all_at(&zeros[..step], at + done)?;
                done += step as u64;
            }
            Ok(())
        })
        .await
    }

    /// When this is `Ok`, everything written before the call is durable. After an error nothing is known about any
    /// byte written since the last success, and a later success does not cover those bytes.
    pub async fn sync(&self) -> io::Result<()> {
        self.blocking("sync", |shared| {
            let handle = shared.take_handle()?;
            let synced = handle.sync_data();
            shared.sync_ended(synced.is_ok().then_some(handle)); // one that saw an error is not used again
            synced
        })
        .await
    }

    fn range(&self, at: u64, len: u64) -> Option<usize> {
        if at.checked_add(len)? <= self.len() { usize::try_from(at).ok() } else { None }
    }

    fn past_end(&self) -> io::Error {
        explain("read past the end of", &self.shared.path, &io::ErrorKind::UnexpectedEof.into())
    }

    async fn blocking<R: Send + 'static>(
        &self,
        what: &'static str,
        work: impl FnOnce(&Shared) -> io::Result<R> + Send + 'static,
    ) -> io::Result<R> {
        let shared = self.shared.clone();
        spawn_blocking(move || work(&shared).map_err(|e| explain(what, &shared.path, &e))).await
    }
}

impl Shared {
    /// An idle handle or a new one; when none can be opened, that of a sync which ends.
    fn take_handle(&self) -> io::Result<fs::File> {
        let mut syncs = self.syncs();
        loop {
            if let Some(handle) = syncs.idle.pop() {
                syncs.running += 1;
                return Ok(handle);
            }
            match self.open_again() {
                Ok(handle) => {
                    syncs.running += 1;
                    return Ok(handle);
                }
                Err(error) if syncs.running == 0 => return Err(error),
                Err(_) => syncs = self.returned.wait(syncs).unwrap_or_else(PoisonError::into_inner),
            }
        }
    }

    fn sync_ended(&self, handle: Option<fs::File>) {
        let mut syncs = self.syncs();
        // In one step: who finds neither a handle nor a sync that will give one back gives up.
        syncs.running -= 1;
        handle.into_iter().for_each(|handle| syncs.keep(handle));
        drop(syncs);
        self.returned.notify_all();
    }

    /// Not by its path: it may have been renamed or removed since.
    fn open_again(&self) -> io::Result<fs::File> {
        fs::File::open(format!("/proc/self/fd/{}", self.file.as_raw_fd()))
    }

    fn syncs(&self) -> MutexGuard<'_, Syncs> {
        self.syncs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Makes a folder and those above it, each durably before the next is made in it. The lowest that is there already may
/// be from a process that died before its sync; `top` and what is above it are not.
fn make_folders(path: &Path, top: &Path) -> io::Result<()> {
    let parent = |path: &Path| match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    };
    let below_top = path.ancestors().take_while(|p| *p != top && !p.as_os_str().is_empty());
    let (missing, there): (Vec<_>, Vec<_>) = below_top.partition(|p| !p.exists());
    if missing.is_empty() && !path.is_dir() {
        return Err(io::ErrorKind::AlreadyExists.into());
    }
    if let Some(lowest) = there.first().filter(|lowest| lowest.parent().is_some()) {
        match sync_folder(&parent(lowest)) {
            // Then it is somebody else's, who made it long ago.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {}
            synced => synced?,
        }
    }
    for folder in missing.into_iter().rev() {
        match fs::create_dir(folder) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && folder.is_dir() => {}
            made => made?,
        }
        sync_folder(&parent(folder))?;
    }
    Ok(())
}

/// As `df` reckons: blocks that an ordinary user may not take count as neither used nor free.
fn reckon(found: &rustix::fs::StatVfs) -> Space {
    let used = found.f_blocks.saturating_sub(found.f_bfree);
    Space {
        total: (used + found.f_bavail).saturating_mul(found.f_frsize),
        free: found.f_bavail.saturating_mul(found.f_frsize),
    }
}

fn sync_folder(path: &Path) -> io::Result<()> {
    OpenOptions::new().read(true).custom_flags(libc::O_DIRECTORY).open(path)?.sync_all()
}

fn explain(what: &str, path: &str, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("cannot {what} {path:?}: {error}"))
}

/// `st_blocks` counts these, whatever the file system's own block size is.
const BLOCK: u64 = 512;
const CHUNK: usize = 1 << 20;
const IDLE_HANDLES: usize = 4;
const TEMPORARY: &str = ".tmp";
