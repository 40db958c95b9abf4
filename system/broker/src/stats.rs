//! Numbers for operators: bounds of topics, progress of groups, and how the broker does.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use net::Reply;
use protocol::{
    Text,
    body::{ConsumeStats, KvTable, MessageQueue, OffsetWrapper, TopicOffset, TopicStatsTable},
    json,
    rpc::{GetConsumeStats, GetTopicStatsInfo},
    version,
};
use runtime::sync::Mutex;

use crate::{
    Broker,
    pull::no_topic,
    refusal::{Answer, Refusal},
    state::rates::Rates,
};

/// What the broker counts; numbers only grow.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    put: AtomicU64,
    put_bytes: AtomicU64,
    got: AtomicU64,
    got_bytes: AtomicU64,
    missed: AtomicU64,
    commits_ignored: AtomicU64,
    rates: Mutex<[Rates; 3]>,
}

impl Counters {
    pub(crate) fn stored(&self, messages: usize, bytes: usize) {
        self.put.fetch_add(messages as u64, Ordering::Relaxed);
        self.put_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(crate) fn pulled(&self, messages: u32, bytes: usize) {
        self.got.fetch_add(u64::from(messages), Ordering::Relaxed);
        self.got_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(crate) fn missed(&self) {
        self.missed.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn commit_ignored(&self) {
        self.commits_ignored.fetch_add(1, Ordering::Relaxed);
    }
}

impl Broker {
    /// Notes the counters every ten seconds, for the rates.
    pub(crate) async fn sample(self: Arc<Self>) {
        loop {
            let now = self.uptime_ms();
            let counters = &self.counters;
            let counts = [&counters.put, &counters.got, &counters.missed].map(|c| c.load(Ordering::Relaxed));
            for (rates, count) in counters.rates.lock().iter_mut().zip(counts) {
                rates.sample(now, count);
            }
            if !self.pause(SAMPLE).await {
                return;
            }
        }
    }

    /// The bounds of all queues of a topic.
    pub(crate) async fn topic_stats(&self, h: GetTopicStatsInfo) -> Answer {
        let topic = self.topics.lock().get(&h.topic).cloned();
        let config = topic.ok_or_else(|| no_topic(&h.topic))?.config;
        self.store.catch_up().await;
        let mut table = TopicStatsTable::default();
        for queue_id in 0..config.write_queue_nums.max(config.read_queue_nums) {
            let bounds = self.bounds(&h.topic, queue_id);
            let last = self.store_time(&h.topic, queue_id, bounds.max - 1).await;
            let offsets =
                TopicOffset { min_offset: bounds.min, max_offset: bounds.max, last_update_timestamp: last };
            table.offset_table.insert(self.queue(&h.topic, queue_id), offsets);
        }
        Ok(Reply::ok().body(json::to_vec(&table)))
    }

    /// How far a group is behind, in the topics asked for or all it knows.
    pub(crate) async fn consume_stats(&self, h: GetConsumeStats) -> Answer {
        let asked = h.topic.iter().chain(&h.topic_list).flat_map(|list| list.split(';'));
        let mut topics: Vec<String> = asked.filter(|topic| !topic.is_empty()).map(str::to_owned).collect();
        if topics.is_empty() {
            topics = self.offsets.lock().topics_of(&h.consumer_group);
        }
        {
            // While members are connected only what they subscribe to counts.
            let connected = self.connected.lock();
            if let Some(group) = connected.clients.consumer_group(&h.consumer_group) {
                topics.retain(|topic| group.subscriptions.contains_key(topic.as_str()));
            }
        }
        self.store.catch_up().await;
        let mut stats = ConsumeStats::default();
        for topic in &topics {
            let Some(config) = self.topics.lock().get(topic).map(|topic| topic.config.clone()) else {
                continue;
            };
            let offsets = self.offsets.lock().of_group(topic, &h.consumer_group);
            for queue_id in 0..config.read_queue_nums {
                let consumed = offsets.get(&queue_id).copied().unwrap_or(0);
                let wrapper = OffsetWrapper {
                    broker_offset: self.bounds(topic, queue_id).max,
                    consumer_offset: consumed,
                    pull_offset: consumed,
                    last_timestamp: self.store_time(topic, queue_id, consumed - 1).await,
                };
                stats.offset_table.insert(self.queue(topic, queue_id), wrapper);
            }
        }
        Ok(Reply::ok().body(json::to_vec(&stats)))
    }

    fn queue(&self, topic: &str, queue_id: i32) -> MessageQueue {
        MessageQueue::new(topic, self.name.as_str(), queue_id)
    }

    /// When a message was stored; 0 when there is none.
    async fn store_time(&self, topic: &str, queue_id: i32, offset: i64) -> i64 {
        match (self.store.queue(topic, queue_id), u64::try_from(offset)) {
            (Some(queue), Ok(offset)) => queue.store_time(offset).await.ok().flatten().unwrap_or(0),
            _ => 0,
        }
    }

    /// How the broker does, in the words of Java's (wire.md 7.5).
    pub(crate) async fn runtime_info(&self) -> Answer {
        let health = self.store.health();
        let flushed = self.store.flushed().get();
        let unflushed = self.store.written().get() - flushed;
        let earliest = self.store.earliest_store_time().await.ok().flatten().unwrap_or(-1);
        let space = self.disk.space().await;
        let space =
            space.map_err(|error| Refusal::Failed(format!("cannot see how full the disk is: {error}")))?;
        let used = 1.0 - space.free as f64 / space.total.max(1) as f64;
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let (put, got) = (count(&self.counters.put), count(&self.counters.got));
        let average = count(&self.counters.put_bytes) as f64 / put.max(1) as f64;
        let rates = {
            let rates = self.counters.rates.lock();
            let [put, got, missed] = &*rates;
            let total: Vec<String> = (got.per_second().iter().zip(missed.per_second()))
                .map(|(found, missed)| format!("{:.1}", found + missed))
                .collect();
            [put.text(), got.text(), missed.text(), total.join(" ")]
        };
        let [put_rate, got_rate, missed_rate, total_rate] = rates;
        let mut table: BTreeMap<&str, String> = BTreeMap::new();
        for key in ZEROS {
            table.insert(key, "0".into());
        }
        table.extend(self.transaction_facts());
        table.extend([
            ("bootTimestamp", self.boot_ms.to_string()),
            ("brokerActive", "true".into()),
            ("brokerVersion", version::OURS.to_string()),
            ("brokerVersionDesc", version::describe(version::OURS)),
            ("commitIgnoredTimes", count(&self.counters.commits_ignored).to_string()),
            (
                "commitLogDirCapacity",
                format!("Total : {}, Free : {}.", bytes(space.total), bytes(space.free)),
            ),
            ("commitLogDiskRatio", format!("{used:.4}")),
            ("commitLogMaxOffset", self.store.max_position().to_string()),
            ("commitLogMinOffset", self.store.min_position().to_string()),
            ("consumeQueueDiskRatio", format!("{used:.4}")),
            ("dispatchBehindBytes", health.dispatch_behind.to_string()),
            ("earliestMessageTimeStamp", earliest.to_string()),
            ("getFoundTps", got_rate.clone()),
            ("getMissTps", missed_rate),
            ("getTotalTps", total_rate),
            ("getTransferedTps", got_rate.clone()),
            ("getTransferredTps", got_rate),
            ("msgGetTotalTodayNow", got.to_string()),
            ("msgPutTotalTodayNow", put.to_string()),
            ("putLatency99", "0.00".into()),
            ("putLatency999", "0.00".into()),
            ("putMessageAverageSize", format!("{average:.1}")),
            ("putMessageDistributeTime", String::new()),
            ("putMessageSizeTotal", count(&self.counters.put_bytes).to_string()),
            ("putMessageTimesTotal", put.to_string()),
            ("putTps", put_rate),
            ("remainHowManyDataToFlush", bytes(unflushed)),
            ("runtime", lasted(self.uptime_ms())),
            ("storePoisoned", health.poisoned.unwrap_or_default()),
        ]);
        let mut table: BTreeMap<Text, Text> =
            table.into_iter().map(|(key, value)| (Text::from(key), Text::from(value))).collect();
        for (level, next, end) in self.delays.stand(&self.store) {
            table.insert(format!("scheduleMessageOffset_{level}").into(), format!("{next},{end}").into());
        }
        for (level, words) in self.explain_delays().await {
            table.insert(format!("delayLevel_{level}").into(), words.into());
        }
        Ok(Reply::ok().body(json::to_vec(&KvTable { table })))
    }
}

fn bytes(count: u64) -> String {
    match count {
        0..1_048_576 => format!("{count} B"),
        1_048_576..1_073_741_824 => format!("{:.1} MiB", count as f64 / 1_048_576.0),
        _ => format!("{:.1} GiB", count as f64 / 1_073_741_824.0),
    }
}

fn lasted(uptime_ms: u64) -> String {
    let seconds = uptime_ms / 1000;
    format!(
        "[ {} days, {} hours, {} minutes, {} seconds ]",
        seconds / 86_400,
        seconds / 3600 % 24,
        seconds / 60 % 60,
        seconds % 60
    )
}

/// Keys that tools want to find and that mean nothing here: there are no pools with queues.
const ZEROS: [&str; 33] = [
    "EndTransactionQueueSize",
    "EndTransactionThreadPoolQueueCapacity",
    "ackThreadPoolQueueCapacity",
    "ackThreadPoolQueueHeadWaitTimeMills",
    "ackThreadPoolQueueSize",
    "dispatchMaxBuffer",
    "getMessageEntireTimeMax",
    "litePullThreadPoolQueueCapacity",
    "litePullThreadPoolQueueHeadWaitTimeMills",
    "litePullThreadPoolQueueSize",
    "msgGetTotalTodayMorning",
    "msgGetTotalYesterdayMorning",
    "msgPutTotalTodayMorning",
    "msgPutTotalYesterdayMorning",
    "pageCacheLockTimeMills",
    "pullThreadPoolQueueCapacity",
    "pullThreadPoolQueueHeadWaitTimeMills",
    "pullThreadPoolQueueSize",
    "putMessageEntireTimeMax",
    "putMessageFailedTimes",
    "queryThreadPoolQueueCapacity",
    "queryThreadPoolQueueHeadWaitTimeMills",
    "queryThreadPoolQueueSize",
    "remainTransientStoreBufferNumbs",
    "sendThreadPoolQueueCapacity",
    "sendThreadPoolQueueHeadWaitTimeMills",
    "sendThreadPoolQueueSize",
    "startAcceptSendRequestTimeStamp",
    "timerCongestNum",
    "timerOffsetBehind",
    "timerReadBehind",
    "timerDequeueTps",
    "timerEnqueueTps",
];

const SAMPLE: Duration = Duration::from_secs(10);
