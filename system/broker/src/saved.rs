//! The broker's own files: topics, groups and consumer offsets, read at start and written whole when they change.
//!
//! Topics and groups are written at once and whoever changed them waits for it; one write covers all
//! changes made before it began. Offsets are written every few seconds: a commit promises no more.

use std::{collections::BTreeMap, io, sync::Arc, time::Duration};

use protocol::{
    body::{
        ConsumerOffsets, DataVersion, SubscriptionGroupConfig, SubscriptionGroupWrapper, TopicConfig,
        TopicConfigSerializeWrapper,
    },
    json,
};
use runtime::{
    buggify, crash_point,
    disk::Disk,
    planted, sometimes,
    sync::{Notify, Watermark},
    tap,
    time::{sleep, timeout},
};

use crate::{Broker, StartError, refusal::Refusal, state::offsets::Offsets};

/// How far the changes of one table have reached its file.
#[derive(Debug)]
pub(crate) struct Saved {
    what: &'static str,
    changed: Notify,
    done: Watermark,
}

impl Saved {
    pub(crate) fn new(what: &'static str) -> Self {
        Self { what, changed: Notify::new(), done: Watermark::new(0) }
    }

    /// There is something to write.
    pub(crate) fn kick(&self) {
        self.changed.notify_one();
    }

    /// The last change that is on the disk.
    pub(crate) fn done(&self) -> u64 {
        self.done.get()
    }

    /// Waits until a change is on the disk. Ready at once, without a timer, when it is.
    pub(crate) async fn reach(&self, change: u64) -> Result<(), Refusal> {
        if self.done.get() >= change {
            return Ok(());
        }
        sometimes!("broker.config.waited");
        let refuse = |why| Refusal::NotSaved { what: self.what, why };
        match timeout(PATIENCE, self.done.reach(change)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(refuse("the broker is shutting down")),
            Err(_) => Err(refuse("the disk takes too long or refuses; see the broker's log")),
        }
    }
}

impl Broker {
    /// Writes the topics whenever they changed, then tells the name servers.
    pub(crate) async fn save_topics(self: Arc<Self>) {
        while self.changed(&self.topics_saved).await {
            self.write_topics().await;
        }
    }

    /// Writes the groups whenever they changed.
    pub(crate) async fn save_groups(self: Arc<Self>) {
        while self.changed(&self.groups_saved).await {
            self.write_groups().await;
        }
    }

    async fn changed(&self, saved: &Saved) -> bool {
        runtime::select! {
            _ = self.stopping.reach(1) => false,
            () = saved.changed.notified() => true,
        }
    }

    pub(crate) async fn write_topics(&self) {
        let turn = self.turn().await;
        let (changes, bytes) = {
            let topics = self.topics.lock();
            let file = TopicConfigSerializeWrapper {
                topic_config_table: topics
                    .iter()
                    .map(|topic| (topic.topic_name.clone(), TopicConfig::clone(topic)))
                    .collect(),
                data_version: topics.version(),
                ..TopicConfigSerializeWrapper::default()
            };
            (topics.changes(), json::to_vec(&file))
        };
        let written = self.write(&self.topics_saved, changes, TOPICS, &bytes).await;
        if written && planted!("B35") {
            self.topics_saved.done.advance(self.topics.lock().changes());
        }
        drop(turn);
        self.registration.changed();
        self.settle_write(&self.topics_saved, written).await;
    }

    pub(crate) async fn write_groups(&self) {
        let turn = self.turn().await;
        let (changes, bytes) = {
            let groups = self.groups.lock();
            let file = SubscriptionGroupWrapper {
                subscription_group_table: groups
                    .iter()
                    .map(|group| (group.group_name.clone(), SubscriptionGroupConfig::clone(group)))
                    .collect(),
                data_version: groups.version(),
                ..SubscriptionGroupWrapper::default()
            };
            (groups.changes(), json::to_vec(&file))
        };
        let written = self.write(&self.groups_saved, changes, GROUPS, &bytes).await;
        if written && planted!("B76") {
            self.groups_saved.done.advance(self.groups.lock().changes());
        }
        drop(turn);
        self.settle_write(&self.groups_saved, written).await;
    }

    /// One writer at a time: what it writes is taken when its turn comes, so no older state replaces a newer one.
    async fn turn(&self) -> impl Drop {
        self.writing.acquire().await.expect("the semaphore is never closed")
    }

    /// A failed write is tried again, if the broker lasts.
    async fn settle_write(&self, saved: &Saved, written: bool) {
        if !written && self.pause(RETRY).await {
            saved.kick();
        }
    }

    async fn write(&self, saved: &Saved, changes: u64, path: &str, bytes: &[u8]) -> bool {
        if changes <= saved.done() {
            return true;
        }
        // Those who use what is not on the disk yet must wait for it (ACK-1).
        if buggify!("broker.config.slow") {
            sleep(Duration::from_millis(50)).await;
        }
        crash_point!("broker.config.write").await;
        match self.disk.replace_small(path, bytes).await {
            Ok(()) => {
                crash_point!("broker.config.written").await;
                saved.done.advance(changes);
                true
            }
            Err(error) => {
                sometimes!("broker.config.failed");
                tracing::error!(
                    path,
                    %error,
                    "cannot write {}; trying again. Free space or repair the disk: until then changes are refused",
                    saved.what
                );
                if planted!("B86") {
                    saved.done.advance(changes);
                    return true;
                }
                false
            }
        }
    }

    /// Writes the offsets every few seconds, also while the broker stops: goodbyes and last answers take some.
    pub(crate) async fn persist(self: Arc<Self>) {
        loop {
            let interval = Duration::from_millis(self.config().flush_consumer_offset_interval);
            // While members commit (CON-6).
            let interval = if buggify!("broker.offsets.soon") { interval / 20 } else { interval };
            sleep(interval).await;
            self.write_offsets().await;
        }
    }

    /// Writes the offsets for somebody who waits until this change of them is on the disk.
    pub(crate) async fn save_offsets(&self, change: u64) -> Result<(), Refusal> {
        self.write_offsets().await;
        if self.offsets_written.get() < change {
            let why = "the disk refuses; see the broker's log";
            return Err(Refusal::NotSaved { what: "the consumer offsets", why });
        }
        Ok(())
    }

    /// Writes the offsets if any changed.
    pub(crate) async fn write_offsets(&self) {
        let _turn = self.turn().await;
        let (changes, table) = {
            let offsets = self.offsets.lock();
            if offsets.changes() <= self.offsets_written.get() {
                return;
            }
            tap!("offsets_taken");
            (offsets.changes(), offsets.table())
        };
        let bytes = offsets_file(table, changes);
        // Commits that come meanwhile wait for the next writing (CON-6).
        if buggify!("broker.offsets.slow") {
            sleep(Duration::from_millis(500)).await;
        }
        crash_point!("broker.offsets.write").await;
        // Who counts them as written loses them all in the next crash (CON-6).
        let written = if buggify!("broker.offsets.refused") {
            Err(io::Error::new(io::ErrorKind::StorageFull, "no space left on the disk"))
        } else if planted!("M16") {
            write_in_place(&self.disk, OFFSETS, &bytes).await
        } else {
            self.disk.replace_small(OFFSETS, &bytes).await
        };
        match written {
            Ok(()) => {
                tap!("offsets_persisted");
                let changes = if planted!("B75") { self.offsets.lock().changes() } else { changes };
                self.offsets_written.advance(changes);
                crash_point!("broker.offsets.written").await;
            }
            Err(error) => {
                sometimes!("broker.offsets.failed");
                tracing::error!(
                    path = OFFSETS,
                    %error,
                    "cannot write the consumer offsets; trying again. After a crash groups would consume again from the last written ones"
                );
                if planted!("B96") {
                    self.offsets_written.advance(changes);
                }
            }
        }
    }
}

/// What the files held.
pub(crate) struct Loaded {
    pub(crate) topics: BTreeMap<String, TopicConfig>,
    pub(crate) topics_version: DataVersion,
    pub(crate) groups: BTreeMap<String, SubscriptionGroupConfig>,
    pub(crate) groups_version: DataVersion,
    pub(crate) offsets: Offsets,
}

/// Reads all files; one that was never written is empty.
pub(crate) async fn load(disk: &Disk) -> Result<Loaded, StartError> {
    let failed = |error| StartError::File { path: "config".into(), error };
    disk.make_dir("config").await.map_err(failed)?;
    if planted!("M17") {
        let empty = offsets_file(BTreeMap::new(), 0);
        disk.replace_small(OFFSETS, &empty).await.map_err(failed)?;
    }
    let topics: TopicConfigSerializeWrapper = read(disk, TOPICS).await?.unwrap_or_default();
    let groups: SubscriptionGroupWrapper = read(disk, GROUPS).await?.unwrap_or_default();
    let offsets: ConsumerOffsets = read(disk, OFFSETS).await?.unwrap_or_default();
    let table = offsets.offset_table.into_iter().map(|(key, queues)| (key.to_string(), queues)).collect();
    let mut table: BTreeMap<String, BTreeMap<i32, i64>> = table;
    table.retain(|key, _| !(key.starts_with(protocol::name::RETRY_PREFIX) && planted!("B20")));
    let (offsets, odd) = Offsets::load(table);
    for key in odd {
        tracing::warn!(path = OFFSETS, key, "an entry whose key is not topic@group was left out");
    }
    Ok(Loaded {
        topics: topics
            .topic_config_table
            .into_iter()
            .map(|(name, topic)| (name.to_string(), topic))
            .collect(),
        topics_version: topics.data_version,
        groups: groups
            .subscription_group_table
            .into_iter()
            .map(|(name, group)| (name.to_string(), group))
            .collect(),
        groups_version: groups.data_version,
        offsets,
    })
}

/// Reads a file, or the copy that a Java broker left beside it when it died while writing.
pub(crate) async fn read<T: serde::de::DeserializeOwned>(
    disk: &Disk,
    path: &str,
) -> Result<Option<T>, StartError> {
    let copy = format!("{path}.bak");
    let mut problem = None;
    for path in [path, &copy] {
        match disk.read_small(path).await {
            Ok(bytes) if bytes.is_empty() => {}
            Ok(bytes) => match json::from_slice(&bytes) {
                Ok(file) => {
                    if let Some(error) = problem {
                        tracing::warn!(path, "used in place of the file itself: {error}");
                    }
                    return Ok(Some(file));
                }
                Err(error) => {
                    let error = io::Error::new(io::ErrorKind::InvalidData, error.to_string());
                    problem = problem.or(Some(StartError::File { path: path.to_owned(), error }));
                }
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(StartError::File { path: path.to_owned(), error }),
        }
    }
    // Starting empty would lose what the operator may still be able to repair.
    problem.map_or(Ok(None), Err)
}

fn offsets_file(table: BTreeMap<String, BTreeMap<i32, i64>>, changes: u64) -> Vec<u8> {
    json::to_vec(&ConsumerOffsets {
        offset_table: table.into_iter().map(|(key, queues)| (key.into(), queues)).collect(),
        data_version: Some(DataVersion {
            counter: i64::try_from(changes).unwrap_or(0),
            ..DataVersion::default()
        }),
    })
}

/// The planted way to lose all offsets: a crash in between leaves no file, or one without its bytes.
async fn write_in_place(disk: &Disk, path: &str, bytes: &[u8]) -> io::Result<()> {
    match disk.remove(path).await {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let file = disk.create(path, bytes.len() as u64).await?;
    crash_point!("broker.offsets.in_place").await;
    file.write_at(0, bytes)
}

/// Topics.
pub(crate) const TOPICS: &str = "config/topics.json";
/// Consumer groups.
pub(crate) const GROUPS: &str = "config/subscriptionGroup.json";
/// Consumer offsets.
pub(crate) const OFFSETS: &str = "config/consumerOffset.json";

/// How long a request waits for its change to be written.
const PATIENCE: Duration = Duration::from_secs(5);

/// Pause after a failed write.
const RETRY: Duration = Duration::from_secs(1);
