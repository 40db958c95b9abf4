//! Finding single messages: by key, by unique id, by the place where they are stored.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use protocol::id::{BadId, OffsetId};
use protocol::{code, rpc};
use runtime::{planted, sometimes};

use crate::instance::{Instance, malformed, refused};
use crate::state::route::MASTER;
use crate::{CallError, PullConsumer, Received, Text, decode};

/// What brokers found for a key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Matches {
    /// The messages, oldest first.
    pub messages: Vec<Arc<Received>>,
    /// Why there may be more than these, in the words of a broker: its index of messages may be behind its log, or the
    /// search took too long. None: each broker found all it was asked for.
    pub incomplete: Option<String>,
}

impl PullConsumer {
    /// The newest messages of a topic that have a key, from all brokers together, oldest first. `stored_ms` are the
    /// times between which they were stored, ms since 1970; each broker has a limit of its own, 64 usually.
    ///
    /// # Errors
    /// Also when only one of the brokers cannot tell what it has.
    pub async fn query_by_key(
        &self,
        topic: &str,
        key: &str,
        stored_ms: RangeInclusive<i64>,
        most: u32,
    ) -> Result<Matches, CallError> {
        let mut found = self.instance().query(topic, key, stored_ms, most, false).await?;
        found.messages.retain(|message| message.keys().any(|word| word == key));
        found.messages.drain(..found.messages.len().saturating_sub(most as usize));
        Ok(found)
    }

    /// The message with the unique id that its sender gave it, the first one when it was stored more than once.
    ///
    /// # Errors
    /// As [`PullConsumer::query_by_key`], and [`CallError::Incomplete`] when it was not found where there may be more.
    pub async fn query_by_unique_key(
        &self,
        topic: &str,
        unique: &str,
    ) -> Result<Option<Arc<Received>>, CallError> {
        let found = self.instance().query(topic, unique, 0..=i64::MAX, MANY, true).await?;
        match (found.messages.into_iter().find(|message| message.message_id == *unique), found.incomplete) {
            (None, Some(why)) => Err(CallError::Incomplete { why }),
            (message, _) => Ok(message),
        }
    }

    /// The message at the place that its offset id names.
    ///
    /// # Errors
    /// Refused with code 1 when no message stands there.
    pub async fn view(&self, offset_id: &str) -> Result<Arc<Received>, CallError> {
        self.instance().view(offset_id).await
    }
}

impl Instance {
    async fn query(
        &self,
        topic: &str,
        key: &str,
        stored_ms: RangeInclusive<i64>,
        most: u32,
        unique: bool,
    ) -> Result<Matches, CallError> {
        let topic = Text::from(topic);
        self.readable(&topic).await?;
        let request = rpc::QueryMessage {
            topic: topic.clone(),
            key: key.into(),
            max_num: i32::try_from(most).unwrap_or(i32::MAX),
            begin_timestamp: *stored_ms.start(),
            end_timestamp: *stored_ms.end(),
            unique_key_query: Some(unique),
        };
        let mut brokers = self.routes.lock().brokers_of(&topic);
        if planted!("B50") {
            brokers.truncate(1);
        }
        let asked = brokers.iter().map(|broker| async {
            let (address, _) = self.for_reading(broker, MASTER)?;
            match self.call_any(&address, &request, Bytes::new(), LIMIT).await {
                Ok(answer) if answer.code == code::SUCCESS => {
                    let incomplete = answer.remark.map(|why| format!("{address}: {why}"));
                    Ok(Matches { messages: decode::messages(answer.body, broker), incomplete })
                }
                Ok(answer) if answer.code == code::QUERY_NOT_FOUND => Ok(Matches::default()),
                _ if planted!("B71") => Ok(Matches::default()),
                Ok(answer) => Err(CallError::from(refused(&address, &answer))),
                Err(fault) => Err(CallError::from(fault)),
            }
        });
        let mut all = Matches::default();
        for found in futures::future::join_all(asked).await {
            let Matches { messages, incomplete } = found?;
            all.messages.extend(messages);
            all.incomplete = all.incomplete.or(incomplete);
        }
        sometimes!("client.query.incomplete", all.incomplete.is_some());
        if planted!("B94") {
            all.messages.truncate(most as usize);
        }
        // The broker's topic, not the one a retried message came from.
        all.messages.retain(|message| message.queue.topic == topic);
        all.messages.sort_by_key(|message| message.stored_at_ms);
        Ok(all)
    }

    async fn view(&self, offset_id: &str) -> Result<Arc<Received>, CallError> {
        let place: OffsetId =
            offset_id.parse().map_err(|error: BadId| CallError::Invalid(error.to_string()))?;
        let mut address = Text::from(place.host.to_string());
        let offset = i64::try_from(place.position);
        let offset =
            offset.map_err(|_| CallError::Invalid(format!("{offset_id} names no place in a log")))?;
        if planted!("B51")
            && let Some(first) = self.routes.lock().addresses(true).into_iter().next()
        {
            address = first;
        }
        let request = rpc::ViewMessageById { offset, topic: None };
        let (_, body) = self.call(&address, &request, Bytes::new(), LIMIT).await?;
        let broker = self.routes.lock().broker_at(&address).unwrap_or_else(|| address.clone());
        let found = decode::messages(body, &broker).into_iter().next();
        found.ok_or_else(|| malformed(&address, "it holds no message"))
    }
}

const LIMIT: Duration = Duration::from_secs(18);
/// Copies of one message that are looked at.
const MANY: u32 = 32;
