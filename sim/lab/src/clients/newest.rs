//! The lab's questions for the newest messages with a key that many share: to one broker, or by a client to all of them.

use bytes::Bytes;
use net::Client;
use protocol::record::{self, Scan};
use protocol::rpc::QueryMessage;
use protocol::{Command, Text, code};

use super::asks::{Server, TIMEOUT, Wanted, read_record, wanted};
use super::load::Shared;
use super::marks::answer;
use super::reader::{Reader, knows};
use super::recorder::shared_key_name;
use crate::draw::Draw;
use crate::history::{Found, MessageId, Newest, NodeId, Slot, TopicId};

/// What is asked for.
struct Question<'a> {
    topic: TopicId,
    name: Text,
    key: u32,
    most: u32,
    brokers: &'a [Server],
}

/// Asks for the newest messages with some key, and then for those before them, as who reads page by page does.
pub(super) async fn ask(
    client: &Client,
    reader: &Reader,
    shared: &Shared,
    brokers: &[Server],
    draw: &mut Draw,
) {
    if shared.plan.shared_keys == 0 {
        return;
    }
    let Some(Wanted { message, slot, topic, broker, .. }) = wanted(shared, brokers, draw) else { return };
    let (most, by_client) = (draw.range(1, 8) as u32, draw.chance(reader.percent));
    let (of, key) = {
        let history = &shared.recorder.live().history;
        (history.queues[slot.queue.index()].topic, history.shared_key(message))
    };
    let Some(key) = key else { return };
    let question = Question { topic: of, name: topic, key, most, brokers };
    let mut until_ms = i64::MAX;
    for _ in 0..2 {
        let asked_ns = shared.recorder.elapsed_ns();
        let answered = match by_client {
            true => question.by_client(reader, shared, until_ms).await,
            false => question.by_broker(client, shared, broker, until_ms).await,
        };
        let Some((brokers, found)) = answered.filter(|(brokers, _)| !brokers.is_empty()) else { return };
        let oldest_ms = found.iter().map(|it| it.stored_ms).min();
        let stored_ms = (0, until_ms);
        shared.recorder.newest(Newest { topic: of, key, brokers, most, stored_ms, asked_ns, found });
        let Some(oldest_ms) = oldest_ms else { return };
        until_ms = oldest_ms;
    }
}

impl Question<'_> {
    /// One broker's answer; none: it does not say that this is all it has.
    async fn by_broker(
        &self,
        client: &Client,
        shared: &Shared,
        broker: &Server,
        until_ms: i64,
    ) -> Option<(Vec<NodeId>, Vec<Found>)> {
        let request = QueryMessage {
            topic: self.name.clone(),
            key: shared_key_name(self.key).into(),
            max_num: self.most as i32,
            begin_timestamp: 0,
            end_timestamp: until_ms,
            unique_key_query: None,
        };
        let request = Command::request(&request, Bytes::new());
        let answer = client.call_raw(&broker.address, request, TIMEOUT).await.ok()?;
        let found = match (answer.code, &answer.remark) {
            (code::SUCCESS, None) => record::each(answer.body),
            (code::QUERY_NOT_FOUND, _) => record::each(Bytes::new()),
            _ => return None,
        };
        let found = found.filter_map(|bytes| {
            let (message, _) = read_record(shared, &bytes);
            let Scan::Record(it) = record::scan(&bytes, false) else { return None };
            let at = At { broker: broker.id, number: it.queue_id, offset: it.place.queue_offset };
            Some(self.found(shared, message, at, it.place.position, it.place.store_timestamp))
        });
        Some((vec![broker.id], found.collect()))
    }

    /// What a client finds, with the brokers that it knew all the time; none: one of them does not say that this is all
    /// it has.
    async fn by_client(
        &self,
        reader: &Reader,
        shared: &Shared,
        until_ms: i64,
    ) -> Option<(Vec<NodeId>, Vec<Found>)> {
        let asking = reader.client.as_ref()?;
        let names: Vec<_> = {
            let live = shared.recorder.live();
            self.brokers.iter().map(|broker| live.history.node_name(broker.id).to_owned()).collect()
        };
        let known = async |of: Vec<usize>| {
            let mut known = Vec::new();
            for place in of {
                if knows(asking, &self.name, &names[place]).await {
                    known.push(place);
                }
            }
            known
        };
        let before = known((0..names.len()).collect()).await;
        let (key, times) = (shared_key_name(self.key), 0..=until_ms);
        let all = asking.query_by_key(&self.name, &key, times, self.most).await.ok()?;
        if all.incomplete.is_some() {
            return None;
        }
        let brokers = known(before).await.into_iter().map(|place| self.brokers[place].id).collect();
        let found = all.messages.iter().filter_map(|it| {
            let place = names.iter().position(|name| **name == *it.queue.broker)?;
            let at = At { broker: self.brokers[place].id, number: it.queue.id, offset: it.offset };
            let (message, _) = answer(shared, it);
            Some(self.found(shared, message, at, it.position, it.stored_at_ms))
        });
        Some((brokers, found.collect()))
    }

    fn found(
        &self,
        shared: &Shared,
        message: Option<MessageId>,
        At { broker, number, offset }: At,
        position: u64,
        stored_ms: i64,
    ) -> Found {
        let live = shared.recorder.live();
        let queue = live.history.known_queue_at(self.topic, broker, number as u32, position);
        Found { message, slot: queue.map(|queue| Slot { queue, offset }), position, stored_ms }
    }
}

/// Where a message lies.
struct At {
    broker: NodeId,
    number: i32,
    offset: u64,
}
