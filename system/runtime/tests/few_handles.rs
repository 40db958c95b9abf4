//! A process that has no file handle left: a test program of its own, as it takes them all.
#![cfg(not(madsim))]
#![allow(clippy::unwrap_used, reason = "a test may")]
#![allow(clippy::disallowed_types, reason = "takes handles without the disk")]

use runtime::{disk::Disk, task::TaskSet};

#[test]
fn a_sync_needs_no_new_handle() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().to_str().unwrap().to_owned();
    runtime::run(Some(2), move || async move {
        let disk = Disk::open(&root).unwrap();
        let file = disk.create("log", 1 << 20).await.unwrap();
        let mut all = Vec::new();
        while let Ok(handle) = std::fs::File::open("/dev/null") {
            all.push(handle);
            assert!(all.len() < 2_000_000);
        }
        assert!(disk.create("next", 1 << 20).await.is_err(), "a shortage that is tried again");
        let tasks = TaskSet::new();
        let (done, mut ends) = runtime::sync::mpsc::channel(16);
        // Often: one that begins just when another ends must find its handle.
        for _ in 0..100 {
            for n in 0..16 {
                let (file, done) = (file.clone(), done.clone());
                tasks.spawn("sync", async move {
                    file.write_at(n * 4096, b"x").unwrap();
                    done.send(file.sync().await.map_err(|error| error.to_string())).await.unwrap();
                });
            }
            for _ in 0..16 {
                assert_eq!(ends.recv().await.unwrap(), Ok(()));
            }
        }
        drop(all);
        disk.create("next", 1 << 20).await.unwrap();
    });
}
