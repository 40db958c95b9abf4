//! What both disks promise: on the file system by `cargo test -p runtime`, in simulation by `cargo sim-test -p runtime`.
#![allow(clippy::unwrap_used, reason = "a test may")]

use std::io::ErrorKind;

use bytes::BytesMut;
use proptest::prelude::*;
use runtime::disk::{Disk, File, Space};

/// Runs the test in a folder of its own.
fn on_disk<F: Future<Output = ()> + Send + 'static>(test: impl FnOnce(Disk) -> F + Send + 'static) {
    on_disk_at(|disk, _| test(disk));
}

fn on_disk_at<F: Future<Output = ()> + Send + 'static>(
    test: impl FnOnce(Disk, String) -> F + Send + 'static,
) {
    #[cfg(not(madsim))]
    let folder = tempfile::tempdir().unwrap();
    #[cfg(not(madsim))]
    let root = folder.path().join("a/b").to_str().unwrap().to_owned();
    #[cfg(madsim)]
    let root = "/a/b".to_owned();
    runtime::run(Some(2), move || async move { test(Disk::open(&root).unwrap(), root).await });
}

/// What a file takes of the disk, in bytes.
#[cfg(not(madsim))]
async fn taken(root: &str, name: &str, _: (&Disk, Space)) -> u64 {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata(format!("{root}/{name}")).unwrap().blocks() * 512
}

/// What a file takes of the disk, in bytes; nobody else writes to it.
#[cfg(madsim)]
async fn taken(_: &str, _: &str, (disk, before): (&Disk, Space)) -> u64 {
    before.free - disk.space().await.unwrap().free
}

fn read(file: &File, at: u64, len: usize) -> Vec<u8> {
    let mut out = BytesMut::from(&b"before "[..]);
    file.read_into(&mut out, at, len).unwrap();
    assert_eq!(&out[..7], b"before ", "reading appends");
    out[7..].to_vec()
}

#[test]
fn a_created_file_is_zero_and_has_its_length() {
    on_disk(|disk| async move {
        let file = disk.create("new", 10_000).await.unwrap();
        assert_eq!((file.len(), file.is_empty()), (10_000, false));
        assert_eq!(read(&file, 0, 10_000), vec![0; 10_000]);
        assert_eq!(disk.create("empty", 0).await.unwrap().len(), 0);
        assert_eq!(disk.open_file("empty").await.unwrap().len(), 0);
        assert_eq!(disk.read_small("empty").await.unwrap(), b"");
    });
}

#[test]
fn what_is_written_is_read_back_by_every_way_and_every_handle() {
    on_disk(|disk| async move {
        let file = disk.create("f", 20_000).await.unwrap();
        let bytes: Vec<u8> = (0..9_000_u32).map(|i| (i % 251) as u8).collect();
        file.write_at(4_090, &bytes).unwrap();
        file.write_at(20_000, &[]).unwrap();
        let other = disk.open_file("f").await.unwrap();
        for file in [&file, &file.clone(), &other] {
            assert_eq!(read(file, 4_090, 9_000), bytes);
            assert_eq!(file.fetch(4_090, 9_000).await.unwrap(), bytes);
            assert_eq!(read(file, 4_086, 5), [0, 0, 0, 0, bytes[0]]);
            assert!(read(file, 20_000, 0).is_empty());
            assert_eq!(file.fetch(20_000, 0).await.unwrap(), b""[..]);
        }
        other.write_at(5_000, b"other").unwrap();
        file.populate(0, 8_192).await;
        file.populate(19_000, 1 << 40).await;
        file.populate(1 << 40, 1).await;
        assert_eq!(read(&file, 5_000, 5), b"other");
        file.sync().await.unwrap();
        assert_eq!(disk.read_small("f").await.unwrap()[5_000..5_005], b"other"[..]);
    });
}

#[test]
fn nothing_is_read_or_written_past_the_end() {
    on_disk(|disk| async move {
        let file = disk.create("f", 100).await.unwrap();
        let mut out = BytesMut::new();
        for (at, len) in [(99, 2), (101, 0), (u64::MAX, 1), (1, usize::MAX)] {
            assert_eq!(file.read_into(&mut out, at, len).unwrap_err().kind(), ErrorKind::UnexpectedEof);
            assert_eq!(file.fetch(at, len).await.unwrap_err().kind(), ErrorKind::UnexpectedEof);
        }
        assert!(out.is_empty());
        assert_eq!(file.write_at(99, b"12").unwrap_err().kind(), ErrorKind::InvalidInput);
        assert_eq!(file.write_at(u64::MAX, b"1").unwrap_err().kind(), ErrorKind::InvalidInput);
        assert_eq!(file.zero(99, 2).await.unwrap_err().kind(), ErrorKind::InvalidInput);
        assert_eq!(file.zero(1, u64::MAX).await.unwrap_err().kind(), ErrorKind::InvalidInput);
        file.zero(100, 0).await.unwrap();
        assert_eq!(read(&file, 0, 100), [0; 100]);
    });
}

#[test]
fn zeroing_removes_exactly_its_range() {
    on_disk(|disk| async move {
        let file = disk.create("f", 20_000).await.unwrap();
        file.write_at(0, &[7; 20_000]).unwrap();
        file.zero(4_000, 9_001).await.unwrap();
        file.sync().await.unwrap();
        let bytes = read(&file, 0, 20_000);
        assert_eq!(bytes[..4_000], [7; 4_000]);
        assert_eq!(bytes[4_000..13_001], [0; 9_001]);
        assert_eq!(bytes[13_001..], [7; 6_999]);
        file.write_at(5_000, b"again").unwrap();
        assert_eq!(file.fetch(4_999, 7).await.unwrap(), b"\0again\0"[..]);
    });
}

#[test]
fn names_are_made_listed_in_order_renamed_and_removed() {
    on_disk(|disk| async move {
        disk.make_dir("log/deep").await.unwrap();
        disk.make_dir("log/deep").await.unwrap();
        disk.make_dir("").await.unwrap();
        for name in ["log/b", "log/a", "log/B", "log/c.d", "log/10", "log/9"] {
            disk.create(name, 1).await.unwrap();
        }
        assert_eq!(disk.list("log").await.unwrap(), ["10", "9", "B", "a", "b", "c.d", "deep"]);
        assert_eq!(disk.list("").await.unwrap(), ["log"]);
        disk.open_file("log/a").await.unwrap().write_at(0, b"a").unwrap();
        disk.rename("log/a", "log/deep/a").await.unwrap();
        assert_eq!(disk.read_small("log/deep/a").await.unwrap(), b"a");
        disk.rename("log/deep/a", "log/b").await.unwrap();
        assert_eq!(disk.read_small("log/b").await.unwrap(), b"a");
        disk.rename("log/b", "log/b").await.unwrap();
        disk.rename("log/deep", "log/flat").await.unwrap();
        for name in ["log/b", "log/B", "log/c.d", "log/10", "log/flat"] {
            disk.remove(name).await.unwrap();
        }
        assert_eq!(disk.list("log").await.unwrap(), ["9"]);
        disk.sync_dir("log").await.unwrap();
        disk.sync_dir("").await.unwrap();
    });
}

#[test]
fn a_file_that_lost_its_name_still_works_for_those_who_have_it_open() {
    on_disk(|disk| async move {
        let old = disk.create("name", 8_192).await.unwrap();
        old.write_at(0, b"old").unwrap();
        disk.remove("name").await.unwrap();
        let new = disk.create("name", 10).await.unwrap();
        new.write_at(0, b"new").unwrap();
        old.write_at(3, b"er").unwrap();
        old.sync().await.unwrap();
        assert_eq!(old.fetch(0, 5).await.unwrap(), b"older"[..]);
        assert_eq!(read(&new, 0, 5), b"new\0\0");
        let moved = disk.create("from", 3).await.unwrap();
        moved.write_at(0, b"mov").unwrap();
        disk.rename("from", "name").await.unwrap();
        let (first, second) = futures::join!(moved.sync(), moved.sync());
        first.and(second).unwrap();
        assert_eq!(disk.read_small("name").await.unwrap(), b"mov");
        assert_eq!(read(&new, 0, 3), b"new");
    });
}

#[test]
fn each_refusal_has_its_kind_and_names_the_file() {
    on_disk(|disk| async move {
        disk.create("file", 1).await.unwrap();
        disk.make_dir("dir/full").await.unwrap();
        disk.make_dir("other").await.unwrap();
        let kind = |result: std::io::Result<()>, name: &str| {
            let error = result.unwrap_err();
            assert!(error.to_string().contains(name), "{error} names {name}");
            error.kind()
        };
        macro_rules! refused {
            ($($call:expr, $name:literal => $kind:ident;)*) => {
                $(assert_eq!(kind($call.await.map(drop), $name), ErrorKind::$kind, stringify!($call));)*
            };
        }
        refused! {
            disk.open_file("none"), "none" => NotFound;
            disk.open_file("none/x"), "none/x" => NotFound;
            disk.open_file("file/x"), "file/x" => NotADirectory;
            disk.open_file("dir"), "dir" => IsADirectory;
            disk.create("file", 1), "file" => AlreadyExists;
            disk.create("dir", 1), "dir" => AlreadyExists;
            disk.create("none/x", 1), "none/x" => NotFound;
            disk.create("file/x", 1), "file/x" => NotADirectory;
            disk.list("none"), "none" => NotFound;
            disk.list("file"), "file" => NotADirectory;
            disk.make_dir("file"), "file" => AlreadyExists;
            disk.make_dir("file/x"), "file/x" => NotADirectory;
            disk.rename("none", "x"), "none" => NotFound;
            disk.rename("file", "none/x"), "file" => NotFound;
            disk.rename("file", "dir"), "file" => IsADirectory;
            disk.rename("other", "file"), "other" => NotADirectory;
            disk.rename("other", "dir"), "other" => DirectoryNotEmpty;
            disk.rename("dir", "dir/full/x"), "dir" => InvalidInput;
            disk.remove("none"), "none" => NotFound;
            disk.remove("dir"), "dir" => DirectoryNotEmpty;
            disk.sync_dir("none"), "none" => NotFound;
            disk.sync_dir("file"), "file" => NotADirectory;
            disk.read_small("none"), "none" => NotFound;
            disk.read_small("dir"), "dir" => IsADirectory;
            disk.replace_small("none/x", b""), "none/x" => NotFound;
            disk.replace_small("other", b""), "other" => IsADirectory;
            disk.try_lock("none/x"), "none/x" => NotFound;
            disk.try_lock("dir"), "dir" => IsADirectory;
        }
        for path in ["/file", "file/", "a//b", "./file", "../file", "dir/../file", ""] {
            assert_eq!(disk.open_file(path).await.unwrap_err().kind(), ErrorKind::InvalidInput, "{path}");
            assert_eq!(disk.create(path, 1).await.unwrap_err().kind(), ErrorKind::InvalidInput, "{path}");
            assert_eq!(disk.remove(path).await.unwrap_err().kind(), ErrorKind::InvalidInput, "{path}");
            assert_eq!(
                disk.rename("file", path).await.unwrap_err().kind(),
                ErrorKind::InvalidInput,
                "{path}"
            );
        }
        assert_eq!(disk.list("").await.unwrap(), ["dir", "file", "other"]);
    });
}

#[test]
fn a_small_file_is_replaced_whole_and_leaves_nothing_beside_it() {
    on_disk(|disk| async move {
        disk.make_dir("config").await.unwrap();
        for content in [&b"first"[..], b"", b"a longer one than before", b"short"] {
            disk.replace_small("config/topics.json", content).await.unwrap();
            assert_eq!(disk.read_small("config/topics.json").await.unwrap(), content);
        }
        disk.create("config/topics.json.tmp", 99).await.unwrap(); // as a crash leaves it
        let (a, b) = futures::join!(
            disk.replace_small("config/topics.json", b"one of two"),
            disk.replace_small("config/topics.json", b"one of two"),
        );
        a.and(b).unwrap();
        assert_eq!(disk.read_small("config/topics.json").await.unwrap(), b"one of two");
        assert_eq!(disk.list("config").await.unwrap(), ["topics.json"]);
    });
}

#[test]
fn a_lock_is_held_once_until_it_is_dropped() {
    on_disk(|disk| async move {
        let lock = disk.try_lock("lock").await.unwrap();
        assert_eq!(disk.try_lock("lock").await.unwrap_err().kind(), ErrorKind::WouldBlock);
        let other = disk.try_lock("other").await.unwrap();
        drop(lock);
        let again = disk.try_lock("lock").await.unwrap();
        assert_eq!(disk.list("").await.unwrap(), ["lock", "other"]);
        drop((again, other));
    });
}

#[test]
fn the_space_of_a_file_is_taken_when_it_is_created() {
    on_disk_at(|disk, root| async move {
        let before = disk.space().await.unwrap();
        assert!(0 < before.free && before.free <= before.total, "{before:?}");
        // More than there is: refused at once, and nothing stays behind.
        let error = disk.create("huge", before.total + (1 << 30)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::StorageFull, "{error}");
        assert!(disk.list("").await.unwrap().is_empty());
        let file = disk.create("large", 256 << 20).await.unwrap();
        let after = disk.space().await.unwrap();
        assert_eq!(after.total, before.total);
        assert!(taken(&root, "large", (&disk, before)).await >= 256 << 20, "{before:?} {after:?}");
        disk.remove("large").await.unwrap();
        drop(file);
    });
}

#[test]
fn a_file_with_holes_takes_space_only_where_it_is_written() {
    on_disk_at(|disk, root| async move {
        let before = disk.space().await.unwrap();
        let file = disk.create_sparse("queue", 512 << 20).await.unwrap();
        assert_eq!(file.len(), 512 << 20);
        file.write_at(300 << 20, b"unit").unwrap();
        file.populate(0, 1 << 20).await;
        file.sync().await.unwrap();
        assert!(taken(&root, "queue", (&disk, before)).await < 1 << 20);
        let again = disk.open_sparse("queue").await.unwrap();
        assert_eq!(read(&again, (300 << 20) - 1, 6), b"\0unit\0");
        assert_eq!(again.fetch(0, 4).await.unwrap(), [0; 4][..]);
        again.zero(100 << 20, 300 << 20).await.unwrap();
        assert_eq!(read(&file, 300 << 20, 4), [0; 4]);
        assert!(taken(&root, "queue", (&disk, before)).await < 1 << 20);
        let past = file.read_into(&mut BytesMut::new(), 512 << 20, 1).unwrap_err();
        assert_eq!(past.kind(), ErrorKind::UnexpectedEof);
        assert_eq!(disk.create_sparse("queue", 1).await.unwrap_err().kind(), ErrorKind::AlreadyExists);
        assert_eq!(disk.open_sparse("none").await.unwrap_err().kind(), ErrorKind::NotFound);
        disk.make_dir("dir").await.unwrap();
        assert_eq!(disk.open_sparse("dir").await.unwrap_err().kind(), ErrorKind::IsADirectory);
    });
}

#[test]
fn clones_are_the_same_folder() {
    on_disk(|disk| async move {
        let same = disk.clone();
        same.create("f", 1).await.unwrap().write_at(0, b"x").unwrap();
        assert_eq!(disk.read_small("f").await.unwrap(), b"x");
        assert_eq!(disk.create("f", 1).await.unwrap_err().kind(), ErrorKind::AlreadyExists);
    });
}

#[derive(Clone, Debug)]
enum Step {
    Write(usize, Vec<u8>),
    Zero(usize, usize),
    Read(usize, usize),
    Fetch(usize, usize),
    Sync,
    Populate(usize, usize),
}

const LEN: usize = 30_000;

fn step() -> impl Strategy<Value = Step> {
    let at = 0..LEN - 5_000;
    prop_oneof![
        4 => (at.clone(), proptest::collection::vec(any::<u8>(), 0..5_000)).prop_map(|(at, b)| Step::Write(at, b)),
        1 => (at.clone(), 0..5_000_usize).prop_map(|(at, len)| Step::Zero(at, len)),
        2 => (at.clone(), 0..5_000_usize).prop_map(|(at, len)| Step::Read(at, len)),
        1 => (at.clone(), 0..5_000_usize).prop_map(|(at, len)| Step::Fetch(at, len)),
        1 => Just(Step::Sync),
        1 => (at, 0..5_000_usize).prop_map(|(at, len)| Step::Populate(at, len)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]
    #[test]
    fn a_file_is_an_array_of_bytes(steps in proptest::collection::vec(step(), 1..40)) {
        on_disk(|disk| async move {
            let file = disk.create("f", LEN as u64).await.unwrap();
            let mut array = vec![0; LEN];
            for step in steps {
                match step {
                    Step::Write(at, bytes) => {
                        file.write_at(at as u64, &bytes).unwrap();
                        array[at..at + bytes.len()].copy_from_slice(&bytes);
                    }
                    Step::Zero(at, len) => {
                        file.zero(at as u64, len as u64).await.unwrap();
                        array[at..at + len].fill(0);
                    }
                    Step::Read(at, len) => assert_eq!(read(&file, at as u64, len), array[at..at + len]),
                    Step::Fetch(at, len) => {
                        assert_eq!(file.fetch(at as u64, len).await.unwrap(), array[at..at + len]);
                    }
                    Step::Sync => file.sync().await.unwrap(),
                    Step::Populate(at, len) => file.populate(at as u64, len as u64).await,
                }
            }
            assert_eq!(disk.read_small("f").await.unwrap(), array);
        });
    }
}
