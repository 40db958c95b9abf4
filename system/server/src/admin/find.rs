//! From what an operator knows of a message to everything that is stored of it.

use std::collections::{BTreeMap, BTreeSet};

use protocol::{Text, id::OffsetId, name};

use super::{
    calls::{Cluster, MOST_FOUND, Stored},
    words::count,
};
use crate::failure::Failure;

/// What an operator knows of a message.
pub(super) enum Wanted {
    /// Where it is stored.
    Id(String),
    /// The id that its producer gave it.
    Unique { topic: String, key: String },
    /// A key that others may have too.
    Key { topic: String, key: String },
}

/// A message and all that is stored of it, oldest first.
#[derive(Debug)]
pub(super) struct Found {
    /// The topic it was sent to.
    pub(super) topic: String,
    /// Its unique key.
    pub(super) key: Option<String>,
    pub(super) records: Vec<Stored>,
    /// What could not be looked at.
    pub(super) notes: Vec<String>,
}

/// Finds the message.
pub(super) async fn find(cluster: &Cluster, wanted: &Wanted) -> Result<Found, Failure> {
    match wanted {
        Wanted::Id(id) => by_id(cluster, id).await,
        Wanted::Unique { topic, key } => {
            let found = all(cluster, topic, key, true).await;
            match found.records.first().map(Stored::sent_to) {
                None => Err(nothing(topic, "unique key", key, &found.notes)),
                // It was found where it waits, or where it ended.
                Some(first) if first != topic => Ok(all(cluster, first, key, true).await),
                Some(_) => Ok(found),
            }
        }
        Wanted::Key { topic, key } => by_key(cluster, topic, key).await,
    }
}

async fn by_id(cluster: &Cluster, text: &str) -> Result<Found, Failure> {
    let instead = format!(
        "If it is the unique key that a producer was told, ask with --topic TOPIC --unique-key {text}"
    );
    let id: OffsetId =
        text.parse().map_err(|error: protocol::id::BadId| Failure::answer(format!("{error}\n{instead}")))?;
    let broker = Text::from(id.host.to_string());
    if !cluster.addresses.contains(&broker) {
        let known: Vec<&str> = cluster.addresses.iter().map(|address| &**address).collect();
        return Err(Failure::answer(format!(
            "{text} would be stored on {broker}, where this cluster has no broker: it has {}\n{instead}",
            known.join(", ")
        )));
    }
    let position = i64::try_from(id.position).unwrap_or(i64::MAX);
    let first = cluster.view(&broker, position).await.map_err(Failure::answer)?;
    let first = first.ok_or_else(|| {
        Failure::answer(format!(
            "no message begins at position {} of the log of {}: retention removed it, or the id is wrong",
            id.position,
            cluster.name(&broker)
        ))
    })?;
    let topic = first.sent_to().to_owned();
    let mut found = match first.unique_key() {
        Some(key) => all(cluster, &topic, key, true).await,
        None => Found { topic, key: None, records: Vec::new(), notes: Vec::new() },
    };
    found.records.push(first);
    tidy(&mut found.records);
    Ok(found)
}

async fn by_key(cluster: &Cluster, topic: &str, key: &str) -> Result<Found, Failure> {
    let found = all(cluster, topic, key, false).await;
    let mut messages: BTreeMap<&str, Vec<&Stored>> = BTreeMap::new();
    for record in &found.records {
        messages.entry(record.unique_key().unwrap_or(&record.id)).or_default().push(record);
    }
    let mut keys = messages.keys();
    match (keys.next(), keys.next()) {
        (None, _) => Err(nothing(topic, "key", key, &found.notes)),
        (Some(only), None) => match messages[only][0].unique_key() {
            Some(unique) => Ok(all(cluster, messages[only][0].sent_to(), unique, true).await),
            None => Ok(found),
        },
        _ => Err(candidates(cluster, topic, key, &messages)),
    }
}

/// Several messages have the key: the operator chooses.
fn candidates(cluster: &Cluster, topic: &str, key: &str, messages: &BTreeMap<&str, Vec<&Stored>>) -> Failure {
    let mut rows: Vec<_> = messages.values().map(|records| records[0]).collect();
    rows.sort_by_key(|record| record.stored_ms);
    let mut text = format!(
        "{} of topic {topic} have the key {key}. Ask for one of them with --id, oldest first:",
        count(rows.len() as u64, "message")
    );
    for record in rows {
        text.push_str(&format!(
            "\n  --id {}  stored {} on {} as offset {} of queue {} of {}",
            record.id,
            super::words::utc(record.stored_ms),
            cluster.name(&record.broker),
            record.offset,
            record.queue,
            record.topic
        ));
    }
    if messages.len() >= usize::try_from(MOST_FOUND).unwrap_or(usize::MAX) {
        text.push_str("\nThere may be older ones: a broker is asked for its newest ones only");
    }
    Failure::answer(text)
}

fn nothing(topic: &str, what: &str, key: &str, notes: &[String]) -> Failure {
    let mut text = format!("no message that was sent to topic {topic} has the {what} {key}");
    if notes.is_empty() {
        text.push_str(": it was never stored, or retention removed it");
    }
    for note in notes {
        text.push_str(&format!("\n{note}"));
    }
    Failure::answer(text)
}

/// Everything that is stored of messages with a key, under whatever topic it waits.
async fn all(cluster: &Cluster, topic: &str, key: &str, unique: bool) -> Found {
    let mut found = Found {
        topic: topic.to_owned(),
        key: unique.then(|| key.to_owned()),
        records: Vec::new(),
        notes: Vec::new(),
    };
    let brokers = match cluster.brokers_of(topic).await {
        Ok(Some(brokers)) => brokers,
        Ok(None) => {
            found.notes.push(format!("the name server knows no topic {topic}: all brokers were asked"));
            cluster.brokers.keys().cloned().collect()
        }
        Err(why) => {
            found.notes.push(why);
            cluster.brokers.keys().cloned().collect()
        }
    };
    for broker in &brokers {
        if let Err(why) = look(cluster, broker, &mut found, (key, unique)).await {
            found.notes.push(format!("what {} has of it is not known: {why}", cluster.name(broker)));
        }
    }
    tidy(&mut found.records);
    found
}

async fn look(
    cluster: &Cluster,
    broker: &Text,
    found: &mut Found,
    (key, unique): (&str, bool),
) -> Result<(), String> {
    let mut topics: BTreeSet<Text> =
        [name::HALF_TOPIC, name::SCHEDULE_TOPIC, name::TRANS_CHECK_MAX_TIME_TOPIC].map(Text::from).into();
    topics.insert(found.topic.as_str().into());
    for group in cluster.groups_of(broker, &found.topic).await? {
        topics.extend([name::retry_topic(&group), name::dlq_topic(&group)]);
    }
    for topic in topics {
        let mut records = cluster.query(broker, &topic, key, unique).await?;
        records.retain(|record| record.sent_to() == found.topic || record.topic == found.topic);
        found.records.extend(records);
    }
    Ok(())
}

fn tidy(records: &mut Vec<Stored>) {
    records.sort_by(|a, b| (a.stored_ms, &a.broker, a.position).cmp(&(b.stored_ms, &b.broker, b.position)));
    records.dedup_by(|a, b| a.broker == b.broker && a.position == b.position);
}
