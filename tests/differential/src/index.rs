//! Index files of a genuine broker and ours, made of the same log: the same bytes, and each reads the other's.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use process::{Asker, Program, free_port};
use protocol::rpc::QueryMessage;

use crate::genuine::{CONFIG, Genuine};

/// What was compared.
pub(crate) struct Compared {
    pub(crate) what: String,
    /// Whether the index that ours made of the log has the same bytes.
    pub(crate) same: bool,
}

/// Ends a genuine broker properly and opens its store with ours, once as it is and once without its index.
pub(crate) fn compare(genuine: Genuine) -> Result<Compared> {
    let stopped = genuine.stop()?;
    let store = stopped.path().join("store");
    let made = files(&store)?;
    ensure!(!made.is_empty(), "the genuine broker has made no index file");
    let namesrv_port = free_port()?;
    let mut same = false;
    for keep in [true, false] {
        let dir = tempfile::tempdir()?;
        let copy = dir.path().join("store");
        golden::run(Command::new("cp").arg("-r").arg(&store).arg(&copy))?;
        if !keep {
            fs::remove_dir_all(copy.join("index"))?;
        }
        open_and_close(dir.path(), namesrv_port)?;
        let ours = files(&copy)?;
        if keep {
            ensure!(ours == made, "the genuine index was not taken over as it is");
        } else {
            // Names are times of making.
            same = ours.values().eq(made.values());
        }
    }
    let bytes: usize = made.values().map(Vec::len).sum();
    Ok(Compared { what: format!("{} index files, {bytes} bytes", made.len()), same })
}

/// Index files by name.
fn files(store: &Path) -> Result<BTreeMap<String, Vec<u8>>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(store.join("index"))? {
        let entry = entry?;
        found.insert(entry.file_name().to_string_lossy().into_owned(), fs::read(entry.path())?);
    }
    Ok(found)
}

/// Runs our broker on a store until its index is complete.
fn open_and_close(dir: &Path, namesrv_port: u16) -> Result<()> {
    let port = free_port()?;
    let mut text = format!(
        "brokerClusterName=TestCluster\nbrokerName=broker-a\nnamesrvAddr=127.0.0.1:{namesrv_port}\n\
         listenPort={port}\nbrokerIP1=127.0.0.1\nstorePathRootDir={}\nmessageIndexSafe=true\n",
        dir.join("store").display()
    );
    CONFIG.iter().for_each(|(key, value)| text.push_str(&format!("{key}={value}\n")));
    let file = dir.join("broker.properties");
    fs::write(&file, text)?;
    let mut broker =
        Program::start("broker", Command::new(process::binary()?).arg("broker").arg("-c").arg(&file))?;
    broker.wait_for("boot success", Duration::from_secs(30))?;
    let query = QueryMessage {
        topic: "diff-query".into(),
        key: "by3-1".into(),
        max_num: 10,
        begin_timestamp: 0,
        end_timestamp: i64::MAX,
        unique_key_query: Some(false),
    };
    let answer = Asker::connect(&format!("127.0.0.1:{port}"))?.ask(&query, Bytes::new())?;
    ensure!(answer.code == 0 && !answer.body.is_empty(), "nothing is found: {:?}", answer.remark);
    broker.signal("TERM")?;
    let code = broker.wait(Duration::from_secs(30)).context("our broker")?;
    ensure!(code == 0, "our broker ended with {code}");
    Ok(())
}
