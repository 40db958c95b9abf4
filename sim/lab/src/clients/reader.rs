//! The lab's questions for messages through the client's own door, for a share of them: the answers are judged as those to
//! the lab's own requests are.

use client::{CallError, Fault, PullConsumer};

use super::asks::{Server, Wanted, named, place_of, wanted};
use super::load::Shared;
use super::marks::{Answer, answer};
use crate::draw::Draw;
use crate::history::{Kind, MessageId, QueueId};

/// A client that is asked in place of a request of the lab's own, now and then.
pub(super) struct Reader {
    pub(super) client: Option<PullConsumer>,
    pub(super) percent: u64,
    draw: Draw,
}

impl Reader {
    /// One whose turns follow from the plan and from what it is for.
    pub(super) async fn start(shared: &Shared, purpose: &str) -> Self {
        let percent = u64::from(shared.plan.by_client);
        let builder = PullConsumer::builder("reader").name_servers(&shared.name_servers).without_joining();
        let client = if percent > 0 { builder.start().await.ok() } else { None };
        Self { client, percent, draw: Draw::new(shared.plan.seed, &format!("{purpose} by client")) }
    }

    /// Whether the next question is for it.
    pub(super) fn is_next(&mut self) -> bool {
        self.client.is_some() && self.draw.chance(self.percent)
    }

    /// Asks for the key of some acknowledged message, at any time and then of the millisecond in which it was stored. False:
    /// it was not its turn.
    pub(super) async fn ask_key(&mut self, shared: &Shared, brokers: &[Server], draw: &mut Draw) -> bool {
        if !self.is_next() {
            return false;
        }
        let Some(client) = &self.client else { return false };
        let asked_ns = shared.recorder.elapsed_ns();
        let Some(Wanted { message, slot, lives, topic, key, broker }) = wanted(shared, brokers, draw) else {
            return true;
        };
        let name = shared.recorder.live().history.node_name(broker.id).to_owned();
        let mut times = 0..=i64::MAX;
        for _ in 0..2 {
            if !knows(client, &topic, &name).await {
                return true;
            }
            let Ok(all) = client.query_by_key(&topic, &key, times, 32).await else { return true };
            let all = all.messages;
            let read: Vec<Answer> = all.iter().map(|received| answer(shared, received)).collect();
            let found = read.iter().any(|(id, _)| *id == Some(message));
            let others = read.iter().filter(|(id, _)| *id != Some(message)).count() as u32;
            if shared.recorder.live().history.lives(slot.queue) != lives {
                return true;
            }
            shared.recorder.push(broker.id, Kind::Queried { message, slot, asked_ns, found, others });
            let stored = all.iter().find(|it| *it.queue.broker == *name).map(|it| it.stored_at_ms);
            let Some(stored_ms) = stored.filter(|_| found && others == 0) else { return true };
            times = stored_ms..=stored_ms;
        }
        true
    }

    /// Asks for the ends of a queue. False: it was not its turn.
    pub(super) async fn ask_queue(&mut self, shared: &Shared, brokers: &[Server], queue: QueueId) -> bool {
        if !self.is_next() {
            return false;
        }
        let Some(client) = &self.client else { return false };
        let asked_ns = shared.recorder.elapsed_ns();
        let (name, broker) = named(shared, queue);
        if brokers.iter().all(|known| known.id != broker) {
            return true;
        }
        let (Ok(min), Ok(max)) = (client.min_offset(&name).await, client.max_offset(&name).await) else {
            return true;
        };
        if shared.recorder.live().history.lives(queue) {
            shared.recorder.push(broker, Kind::Range { queue, asked_ns, min, max });
        }
        true
    }

    /// What an offset id leads to; none: nobody answers.
    pub(super) async fn by_offset(&self, shared: &Shared, id: &str) -> Option<Option<Answer>> {
        match self.client.as_ref()?.view(id).await {
            Ok(found) => Some(Some(answer(shared, &found))),
            Err(CallError::Fault(Fault::Refused { .. })) => Some(None),
            Err(_) => None,
        }
    }

    /// What the unique key of a message leads to, where it is known where the message is; none: nobody answers.
    pub(super) async fn by_unique(
        &self,
        shared: &Shared,
        brokers: &[Server],
        asked: MessageId,
        unique: &str,
    ) -> Option<Option<Answer>> {
        let (topic, broker) = place_of(shared, brokers, asked)?;
        let broker = shared.recorder.live().history.node_name(broker.id).to_owned();
        let client = self.client.as_ref()?;
        if !knows(client, &topic, &broker).await {
            return None;
        }
        // A refusal says that it could not be looked for.
        let found = client.query_by_unique_key(&topic, unique).await.ok()?;
        Some(found.map(|received| answer(shared, &received)))
    }

    /// Closes its connections.
    pub(super) async fn stop(self) {
        if let Some(client) = self.client {
            client.shutdown().await;
        }
    }
}

/// Whether a client knows of a broker: who does not cannot find what is there.
pub(super) async fn knows(client: &PullConsumer, topic: &str, broker: &str) -> bool {
    client.queues(topic).await.is_ok_and(|queues| queues.iter().any(|queue| *queue.broker == *broker))
}
