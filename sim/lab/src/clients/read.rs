//! Reads everything that the brokers hold in the end, through the clients' door.

use std::time::Duration;

use client::{MessageQueue, PullConsumer};
use runtime::time::{Instant, sleep};

use super::Shared;
use super::marks::answer;
use crate::draw::Draw;
use crate::history::{QueueContent, QueueId, Read, Searched};

/// Reads all queues of the lab's topics from the first to the last message. Runs on a client node.
pub async fn read_all(shared: Shared) -> Result<Vec<QueueContent>, String> {
    let reader =
        PullConsumer::builder("audit").name_servers(&shared.name_servers).without_joining().start().await;
    let reader = reader.map_err(|error| error.to_string())?;
    let deadline = Instant::now() + READ_WITHIN;
    let mut contents = Vec::new();
    let queues: Vec<QueueId> = shared.recorder.live().queues();
    for queue in queues {
        let name = {
            let live = shared.recorder.live();
            let facts = live.history.queues[queue.index()];
            let (topic, broker) =
                (live.history.topic_name(facts.topic), live.history.node_name(facts.broker));
            MessageQueue::new(topic, broker, facts.number as i32)
        };
        loop {
            match read_queue(&shared, &reader, queue, &name).await {
                Ok(content) => break contents.push(content),
                Err(error) if Instant::now() > deadline => {
                    return Err(format!("{name} could not be read in the end: {error}"));
                }
                Err(_) => sleep(Duration::from_millis(500)).await,
            }
        }
    }
    reader.shutdown().await;
    Ok(contents)
}

async fn read_queue(
    shared: &Shared,
    reader: &PullConsumer,
    queue: QueueId,
    name: &MessageQueue,
) -> Result<QueueContent, client::CallError> {
    let (min, max) = (reader.min_offset(name).await?, reader.max_offset(name).await?);
    let mut content = QueueContent { queue, min, max, read: Vec::new(), searched: Vec::new() };
    let mut offset = min;
    while offset < max {
        let mut tries = 0;
        // A broker may ask for a pause at each.
        let pulled = loop {
            tries += 1;
            match reader.pull(name, "*", offset, 32).await {
                Err(_) if tries < TRIES => sleep(Duration::from_millis(100)).await,
                pulled => break pulled?,
            }
        };
        // What came after the end was asked for is no part of it.
        for message in pulled.messages.iter().filter(|message| message.offset < max) {
            let (id, fit) = answer(shared, message);
            let unique = xxhash_rust::xxh3::xxh3_64(message.message_id.as_bytes());
            let times = u32::try_from(message.reconsume_times).unwrap_or(0);
            let (offset, stored_ms) = (message.offset, message.stored_at_ms);
            content.read.push(Read { offset, message: id, fit, unique, times, stored_ms });
        }
        if pulled.next <= offset {
            break;
        }
        offset = pulled.next;
    }
    search(shared, reader, name, &mut content).await?;
    Ok(content)
}

/// Asks for the first message of a time at which one was stored, and of the millisecond behind it; of a queue without
/// any, for the first of all.
async fn search(
    shared: &Shared,
    reader: &PullConsumer,
    name: &MessageQueue,
    content: &mut QueueContent,
) -> Result<(), client::CallError> {
    let mut draw = Draw::new(shared.plan.seed, &format!("searches of {name}"));
    for later_ms in 0..2 {
        let count = content.read.len() as u64;
        let stored_ms = if count > 0 { content.read[draw.below(count) as usize].stored_ms } else { 0 };
        let time_ms = stored_ms + later_ms;
        let offset = reader.offset_at(name, time_ms).await?;
        content.searched.push(Searched { time_ms, offset });
    }
    Ok(())
}

/// What reading everything may take: a name server that was restarted last hears of a broker after up to 60 s, the
/// longest period of registration that plans draw.
const READ_WITHIN: Duration = Duration::from_secs(90);
/// Pulls of one place at most before a queue is read anew.
const TRIES: u32 = 10;
