//! What else must be known to tell what happens next: settings, progress of delay levels and groups, ends of
//! transactions, connected producers.

use std::collections::{BTreeMap, BTreeSet};

use protocol::{Text, name, properties::names};
use runtime::clock;

use super::{
    calls::{Cluster, Known, Stored},
    find::Found,
};

/// A message and all that its story needs.
#[derive(Debug, Default)]
pub(super) struct Case {
    pub(super) now_ms: i64,
    /// The topic it was sent to.
    pub(super) topic: String,
    pub(super) key: Option<String>,
    /// Oldest first.
    pub(super) records: Vec<Stored>,
    /// The brokers that have them, by address: name and what they say of themselves.
    pub(super) brokers: BTreeMap<Text, (String, Known)>,
    pub(super) transactions: Vec<Transaction>,
    /// What each delay level waits for, by broker and queue.
    pub(super) heads: BTreeMap<(Text, i32), Stored>,
    pub(super) progress: Vec<Progress>,
    /// How often a group may try a message.
    pub(super) most_tries: BTreeMap<String, i32>,
    /// What could not be found out.
    pub(super) notes: Vec<String>,
}

/// A half message with its copies. A producer that had to send twice has two.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Transaction {
    pub(super) broker: Text,
    /// Offset of the first copy.
    pub(super) root: i64,
    /// Oldest first.
    pub(super) copies: Vec<Stored>,
    /// The record of its end.
    pub(super) end: Option<Stored>,
    /// Producers of its group that are connected to its broker.
    pub(super) producers: Option<usize>,
    /// The broker is done with half messages below this offset.
    pub(super) done: Option<i64>,
}

/// How far a group has come in a queue.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Progress {
    pub(super) group: String,
    pub(super) broker: Text,
    pub(super) topic: String,
    pub(super) queue: i32,
    /// None when it has committed nothing there.
    pub(super) offset: Option<i64>,
}

/// Asks for everything that may matter; what cannot be had becomes a note.
pub(super) async fn gather(cluster: &Cluster, found: Found) -> Case {
    let Found { topic, key, records, notes } = found;
    let mut case = Case { now_ms: clock::now_ms(), topic, key, records, notes, ..Case::default() };
    let brokers: BTreeSet<Text> = case.records.iter().map(|record| record.broker.clone()).collect();
    for broker in brokers {
        let known = cluster.known(&broker).await;
        let known = known.unwrap_or_else(|why| {
            case.notes.push(format!("defaults are taken for settings that cannot be asked for: {why}"));
            Known::default()
        });
        case.brokers.insert(broker.clone(), (cluster.name(&broker), known));
    }
    transactions(cluster, &mut case).await;
    heads(cluster, &mut case).await;
    progress(cluster, &mut case).await;
    case
}

/// The half messages of a case by broker and first offset, each with its copies.
pub(super) fn halves(case: &Case) -> BTreeMap<(Text, i64), Vec<Stored>> {
    let mut all: BTreeMap<(Text, i64), Vec<Stored>> = BTreeMap::new();
    let mut first_of: BTreeMap<Text, i64> = BTreeMap::new();
    for copy in case.records.iter().filter(|record| record.topic == name::HALF_TOPIC) {
        let own = i64::try_from(copy.offset).unwrap_or(i64::MAX);
        let first = *first_of.entry(copy.broker.clone()).or_insert(own);
        let named = copy.number(names::TRANSACTION_PREPARED_OFFSET);
        // Copies of Java's brokers do not name what they are made from: they are one by their key.
        let root = if case.is_ours(&copy.broker) { named.unwrap_or(own) } else { first };
        all.entry((copy.broker.clone(), root)).or_default().push(copy.clone());
    }
    all
}

async fn transactions(cluster: &Cluster, case: &mut Case) {
    let all = halves(case);
    for ((broker, root), copies) in all {
        let group = copies[0].property(names::PRODUCER_GROUP).unwrap_or_default().to_owned();
        let mut or_note = Notes(&mut case.notes);
        let end = or_note.take(end_of(cluster, &broker, root, &copies).await).flatten();
        let producers = or_note.take(cluster.producers(&broker, &group).await);
        let done = cluster.committed(&broker, TRANSACTION_GROUP, (name::HALF_TOPIC, 0)).await;
        let done = or_note.take(done).flatten();
        case.transactions.push(Transaction { broker, root, copies, end, producers, done });
    }
}

/// The record that ends a half message: the first that names one of its copies, stored behind it.
async fn end_of(
    cluster: &Cluster,
    broker: &Text,
    root: i64,
    copies: &[Stored],
) -> Result<Option<Stored>, String> {
    let mut names: BTreeSet<i64> = copies.iter().filter_map(|copy| i64::try_from(copy.offset).ok()).collect();
    names.insert(root);
    let mut at = cluster.offset_at(broker, name::OP_HALF_TOPIC, 0, copies[0].stored_ms).await?;
    let mut looked = 0;
    loop {
        let (ends, next) = cluster.pull(broker, (name::OP_HALF_TOPIC, 0), at, 32).await?;
        looked += ends.len();
        for end in ends {
            let text = String::from_utf8_lossy(&end.body).into_owned();
            if text.split(',').any(|word| word.trim().parse().is_ok_and(|offset| names.contains(&offset))) {
                return Ok(Some(end));
            }
        }
        if next <= at {
            return Ok(None);
        }
        if looked >= MOST_ENDS {
            return Err(format!(
                "the first {MOST_ENDS} ends of transactions behind it do not name it; later ones were not looked at"
            ));
        }
        at = next;
    }
}

async fn heads(cluster: &Cluster, case: &mut Case) {
    let levels: BTreeSet<(Text, i32)> = case
        .records
        .iter()
        .filter(|record| record.topic == name::SCHEDULE_TOPIC)
        .map(|record| (record.broker.clone(), record.queue))
        .collect();
    for (broker, queue) in levels {
        let Some(next) = case.level_next(&broker, queue) else { continue };
        let head = cluster.pull(&broker, (name::SCHEDULE_TOPIC, queue), next, 1).await;
        if let Some((records, _)) = Notes(&mut case.notes).take(head)
            && let Some(head) = records.into_iter().next()
        {
            case.heads.insert((broker, queue), head);
        }
    }
}

async fn progress(cluster: &Cluster, case: &mut Case) {
    let mut asked: BTreeSet<(Text, String, String, i32)> = BTreeSet::new();
    let mut groups: BTreeSet<(Text, String)> = BTreeSet::new();
    for record in &case.records {
        let place =
            |group: &str| (record.broker.clone(), group.to_owned(), record.topic.clone(), record.queue);
        if let Some(group) = name::group_of(record.target()) {
            groups.insert((record.broker.clone(), group.to_owned()));
            if record.topic.starts_with(name::RETRY_PREFIX) {
                asked.insert(place(group));
            }
        } else if record.topic == case.topic {
            let consumers = cluster.groups_of(&record.broker, &case.topic).await.unwrap_or_default();
            for group in consumers.iter().take(MOST_GROUPS) {
                groups.insert((record.broker.clone(), group.to_string()));
                asked.insert(place(group));
            }
        }
    }
    for (broker, group) in groups {
        if let Some(most) = cluster.most_tries(&broker, &group).await {
            case.most_tries.insert(group, most);
        }
    }
    for (broker, group, topic, queue) in asked {
        let offset = cluster.committed(&broker, &group, (&topic, queue)).await;
        if let Some(offset) = Notes(&mut case.notes).take(offset) {
            case.progress.push(Progress { group, broker, topic, queue, offset });
        }
    }
}

/// Keeps why something is not known.
struct Notes<'a>(&'a mut Vec<String>);

impl Notes<'_> {
    fn take<T>(&mut self, result: Result<T, String>) -> Option<T> {
        result
            .map_err(|why| {
                if !self.0.contains(&why) {
                    self.0.push(why);
                }
            })
            .ok()
    }
}

impl Case {
    /// A setting of a broker, as a number.
    pub(super) fn setting(&self, broker: &Text, key: &str, default: i64) -> i64 {
        let known = self.brokers.get(broker).and_then(|(_, known)| known.config.get(key));
        known.and_then(|value| value.trim().parse().ok()).unwrap_or(default)
    }

    /// A number that a broker tells of itself.
    pub(super) fn fact(&self, broker: &Text, key: &str) -> Option<&str> {
        self.brokers.get(broker).and_then(|(_, known)| known.runtime.get(key)).map(|value| &**value)
    }

    /// Java's brokers tell nothing of half messages in their numbers.
    pub(super) fn is_ours(&self, broker: &Text) -> bool {
        self.fact(broker, "halfMessagesUndecided").is_some()
    }

    /// The offset that a delay level delivers next.
    pub(super) fn level_next(&self, broker: &Text, queue: i32) -> Option<i64> {
        let told = self.fact(broker, &format!("scheduleMessageOffset_{}", queue + 1))?;
        told.split(',').next()?.trim().parse().ok()
    }

    /// How long a delay level holds its messages: name and milliseconds. Levels above the last are the last.
    pub(super) fn level(&self, broker: &Text, level: i32) -> (String, i64) {
        let config = self.brokers.get(broker).and_then(|(_, known)| known.config.get("messageDelayLevel"));
        let text = config.map_or(LEVELS, String::as_str);
        let words: Vec<&str> = text.split_whitespace().collect();
        let at = usize::try_from(level - 1).unwrap_or(0).min(words.len().saturating_sub(1));
        let word = words.get(at).copied().unwrap_or("0s");
        let unit_ms = match word.chars().last() {
            Some('s') => 1000,
            Some('m') => 60_000,
            Some('h') => 3_600_000,
            _ => 86_400_000,
        };
        let number = word.trim_end_matches(|c: char| !c.is_ascii_digit()).parse::<i64>().unwrap_or(0);
        (word.to_owned(), number.saturating_mul(unit_ms))
    }
}

/// Its offset in the half queue is how far the broker is done with it.
const TRANSACTION_GROUP: &str = "CID_RMQ_SYS_TRANS";
/// The levels of a broker that does not tell.
const LEVELS: &str = "1s 5s 10s 30s 1m 2m 3m 4m 5m 6m 7m 8m 9m 10m 20m 30m 1h 2h";
const MOST_ENDS: usize = 100_000;
/// Groups that are looked at for one message.
const MOST_GROUPS: usize = 20;
