//! Questions of operators that only a consumer can answer, passed on to it and back.

use std::time::Duration;

use bytes::Bytes;
use net::{CallError, NotSent, Reply, Unknown};
use protocol::{
    Command, code,
    id::{BadId, OffsetId},
    rpc::{ConsumeMessageDirectly, GetConsumerRunningInfo},
};

use crate::{
    Broker,
    refusal::{Answer, Refusal},
};

impl Broker {
    /// What a consumer does now, in its own words.
    pub(crate) async fn running_info(&self, asked: &Command, h: GetConsumerRunningInfo) -> Answer {
        let request = Command { ext: asked.ext.clone(), ..Command::request(&h, Bytes::new()) };
        self.relay(request, &h.consumer_group, &h.client_id).await
    }

    /// Has a consumer consume one message now, and answers what came of it.
    pub(crate) async fn consume_directly(&self, mut h: ConsumeMessageDirectly) -> Answer {
        let missing = |name: &str| Refusal::Parameter(format!("CONSUME_MESSAGE_DIRECTLY: {name} is missing"));
        let client = h.client_id.clone().ok_or_else(|| missing("clientId"))?;
        let id = h.msg_id.clone().ok_or_else(|| missing("msgId"))?;
        let place: OffsetId = id.parse().map_err(|error: BadId| Refusal::Parameter(error.to_string()))?;
        let position = i64::try_from(place.position).unwrap_or(-1);
        let Some(record) = self.record_at(position).await? else {
            return Err(Refusal::Failed(format!("can not find message by the offset, {position}")));
        };
        h.broker_name = Some(self.name.as_str().into());
        if let Some(topic) = &h.topic {
            let topic = self.topics.lock().get(topic).cloned();
            h.topic_sys_flag = Some(topic.map_or(0, |topic| topic.config.topic_sys_flag));
            let group = self.groups.lock().get(&h.consumer_group).cloned();
            h.group_sys_flag = Some(group.map_or(0, |group| group.group_sys_flag));
        }
        self.relay(Command::request(&h, record), &h.consumer_group, &client).await
    }

    /// Passes a question on; fields and body of the answer come back untouched.
    async fn relay(&self, request: Command, group: &str, client: &str) -> Answer {
        let peer = {
            let connected = self.connected.lock();
            let members = connected.clients.consumer_group(group).map(|group| &group.members);
            let found = members.and_then(|m| m.iter().find(|(_, member)| member.client_id == client));
            let old = found.is_some_and(|(_, member)| member.version < UNDERSTANDS);
            if old {
                return Err(Refusal::Failed(format!(
                    "The Consumer <{group}> <{client}> is too old to be asked: at least 3.1.8 is needed"
                )));
            }
            found.and_then(|(id, _)| connected.peer(*id)).cloned()
        };
        let Some(peer) = peer else {
            return Err(Refusal::Failed(format!("The Consumer <{group}> <{client}> not online")));
        };
        match peer.call_raw(request, PATIENCE).await {
            Ok(answer) => {
                Ok(Reply { code: answer.code, remark: answer.remark, ext: answer.ext, body: answer.body })
            }
            Err(CallError::Unknown(Unknown::TimedOut)) => Ok(Reply::refuse(
                code::CONSUME_MSG_TIMEOUT,
                format!("consumer <{group}> <{client}> Timeout: no answer within 10 s"),
            )),
            Err(CallError::NotSent(NotSent::Closed)) => {
                Err(Refusal::Failed(format!("The Consumer <{group}> <{client}> not online")))
            }
            Err(error) => Err(Refusal::Failed(format!("invoke consumer <{group}> <{client}>: {error}"))),
        }
    }
}

/// How long the consumer may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// The first version of clients that answers.
const UNDERSTANDS: i32 = 62;
