//! The store through its public door, on both disks.
#![allow(clippy::unwrap_used, reason = "a test may")]

#[cfg(madsim)]
mod crash;
mod index;
mod messages;

use runtime::disk::Disk;

/// Runs the test in a folder of its own.
fn on_disk<F: Future<Output = ()> + Send + 'static>(test: impl FnOnce(Disk) -> F + Send + 'static) {
    #[cfg(not(madsim))]
    let folder = tempfile::tempdir().unwrap();
    #[cfg(not(madsim))]
    let root = folder.path().to_str().unwrap().to_owned();
    #[cfg(madsim)]
    let root = "/store".to_owned();
    runtime::run(Some(2), move || async move { test(Disk::open(&root).unwrap()).await });
}
