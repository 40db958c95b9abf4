//! Finding single messages: by key, by unique id, by the place where they are stored.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use protocol::id::{BadId, OffsetId};
use protocol::{code, rpc};
use runtime::planted;

use crate::instance::{Instance, malformed};
use crate::state::route::MASTER;
use crate::{CallError, Fault, PullConsumer, Received, Text, decode};

impl PullConsumer {
    /// The newest messages of a topic that have a key, from all brokers together, oldest first. `stored_ms` are the
    /// times between which they were stored, ms since 1970; each broker has a limit of its own, 64 usually.
    ///
    /// # Errors
    /// Also when only one of the brokers cannot tell: what is missing may be there.
    pub async fn query_by_key(
        &self,
        topic: &str,
        key: &str,
        stored_ms: RangeInclusive<i64>,
        most: u32,
    ) -> Result<Vec<Arc<Received>>, CallError> {
        let mut found = self.instance().query(topic, key, stored_ms, most, false).await?;
        found.retain(|message| message.keys().any(|word| word == key));
        found.drain(..found.len().saturating_sub(most as usize));
        Ok(found)
    }

    /// The message with the unique id that its sender gave it, the first one when it was stored more than once.
    ///
    /// # Errors
    /// As [`PullConsumer::query_by_key`].
    pub async fn query_by_unique_key(
        &self,
        topic: &str,
        unique: &str,
    ) -> Result<Option<Arc<Received>>, CallError> {
        let found = self.instance().query(topic, unique, 0..=i64::MAX, MANY, true).await?;
        Ok(found.into_iter().find(|message| message.message_id == *unique))
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
    ) -> Result<Vec<Arc<Received>>, CallError> {
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
            match self.call(&address, &request, Bytes::new(), LIMIT).await {
                Ok((_, body)) => Ok(decode::messages(body, broker)),
                Err(Fault::Refused { code: code::QUERY_NOT_FOUND, .. }) => Ok(Vec::new()),
                Err(_) if planted!("B71") => Ok(Vec::new()),
                Err(fault) => Err(CallError::from(fault)),
            }
        });
        let answers: Result<Vec<_>, _> = futures::future::join_all(asked).await.into_iter().collect();
        let mut found = answers?.concat();
        if planted!("B94") {
            found.truncate(most as usize);
        }
        // The broker's topic, not the one a retried message came from.
        found.retain(|message| message.queue.topic == topic);
        found.sort_by_key(|message| message.stored_at_ms);
        Ok(found)
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
