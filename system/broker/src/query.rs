//! Finding messages by their keys.

use net::Reply;
use protocol::{
    code,
    rpc::{QueryMessage, QueryMessageReply},
};
use store::{Key, KeyQuery};

use crate::{
    Broker,
    refusal::{Answer, Refusal},
    send::wire,
};

impl Broker {
    /// The newest messages of a topic with a key, oldest first, as Java answers.
    pub(crate) async fn query_message(&self, h: QueryMessage) -> Answer {
        let unique = h.unique_key_query == Some(true);
        let asked = u32::try_from(h.max_num).unwrap_or(0);
        let query = KeyQuery {
            topic: &h.topic,
            key: if unique { Key::Unique(&h.key) } else { Key::Any(&h.key) },
            begin_ms: h.begin_timestamp,
            end_ms: h.end_timestamp,
            max: if unique { self.config().default_query_max_num } else { asked },
        };
        let found = self.store.query(&query).await.map_err(|error| Refusal::Failed(error.to_string()))?;
        let (time, position) = if found.count == 0 { (0, 0) } else { (found.last_time, found.last_position) };
        let header = QueryMessageReply {
            index_last_update_timestamp: time,
            index_last_update_phyoffset: wire(position),
        };
        let mut reply = Reply::with(&header).body(found.records);
        if found.count == 0 {
            let why = if h.begin_timestamp > h.end_timestamp {
                "the range of time ends before it begins"
            } else if !unique && asked == 0 {
                "no message was asked for, maxNum must be at least 1"
            } else {
                "maybe time range not correct"
            };
            reply = reply.code(code::QUERY_NOT_FOUND, format!("can not find message, {why}"));
        } else if let Some(why) = found.incomplete {
            reply.remark = Some(format!("there may be more messages: {why}").into());
        }
        Ok(reply)
    }
}
