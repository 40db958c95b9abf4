//! An operator who looks at groups, and changes what servers keep for him: texts in name servers, groups and their offsets
//! in brokers. One order at a time to each server, so that what it keeps then is known but for orders nobody answered.

use std::time::Duration;

use bytes::Bytes;
use net::{CallError, Client};
use protocol::body::{GetConsumerListByGroupBody, KvTable, SubscriptionGroupConfig};
use protocol::rpc::{
    DeleteKvConfig, DeleteSubscriptionGroup, GetConsumerListByGroup, GetKvConfig, GetKvListByNamespace,
    GetMaxOffset, GetSubscriptionGroupConfig, PutKvConfig, QueryConsumerOffset,
    UpdateAndCreateSubscriptionGroup, UpdateConsumerOffset,
};
use protocol::{Request, Text, json};
use runtime::time::sleep;

use super::asks::{Server, TIMEOUT, connect};
use super::load::Shared;
use crate::draw::Draw;
use crate::history::{GroupId, Keeps};

/// Puts, reads and deletes texts in the table of a name server.
pub(super) async fn name_server(shared: Shared, server: Server) {
    let (_tasks, client) = connect();
    let own = Own::new(&shared, &server);
    let mut draw = Draw::new(shared.plan.seed, &format!("texts of {}", own.server.address));
    let mut newest = 0;
    loop {
        own.pause(&mut draw).await;
        newest += 1;
        // Of a text whose order was not answered nobody knows: there are others later.
        let key = format!("k{}", (newest / 8 + draw.below(4)) % 1000);
        let (namespace, named) = (Text::from_static(NAMESPACE), Text::from(key.as_str()));
        match draw.below(10) {
            0..4 => {
                let put = PutKvConfig { namespace, key: named, value: newest.to_string().into() };
                let done = own.call(&client, &put, Bytes::new()).await.is_ok();
                own.ordered(Keeps::Text, &key, Some(newest), done);
            }
            4..6 => {
                let delete = DeleteKvConfig { namespace, key: named };
                let done = own.call(&client, &delete, Bytes::new()).await.is_ok();
                own.ordered(Keeps::Text, &key, None, done);
            }
            6..8 => {
                let get = GetKvConfig { namespace, key: named };
                match own.call(&client, &get, Bytes::new()).await {
                    Ok((reply, _)) => own.kept(Keeps::Text, &key, reply.value.as_deref().and_then(number)),
                    Err(CallError::Refused { code: NOT_FOUND, .. }) => own.kept(Keeps::Text, &key, None),
                    Err(_) => {}
                }
            }
            _ => {
                let table = match own.call(&client, &GetKvListByNamespace { namespace }, Bytes::new()).await {
                    Ok((_, body)) => json::from_slice(&body).unwrap_or_default(),
                    Err(CallError::Refused { code: NOT_FOUND, .. }) => KvTable::default(),
                    Err(_) => continue,
                };
                for key in own.known() {
                    own.kept(Keeps::Text, &key, table.table.get(&*key).and_then(|value| number(value)));
                }
            }
        }
    }
}

/// Sets, reads and deletes groups of its own on a broker, and asks it for the members of the others.
pub(super) async fn broker(shared: Shared, server: Server) {
    let (_tasks, client) = connect();
    let own = Own::new(&shared, &server);
    let mut draw = Draw::new(shared.plan.seed, &format!("groups of {}", own.server.address));
    // One that no operator deletes.
    let topic = (0..shared.plan.topics.len() as u32).find(|topic| !shared.plan.deletes(*topic));
    let topic = topic.map(|topic| Text::from(shared.plan.topics[topic as usize].name.as_str()));
    let mut newest = 0;
    loop {
        own.pause(&mut draw).await;
        own.ask_members(&client, &mut draw).await;
        let group = *draw.pick(GROUPS);
        newest += 1;
        match (draw.below(10), &topic) {
            (0..2, _) => {
                let settings = SubscriptionGroupConfig {
                    group_name: group.into(),
                    retry_max_times: newest as i32,
                    ..SubscriptionGroupConfig::default()
                };
                let body = Bytes::from(json::to_vec(&settings));
                let done = own.call(&client, &UpdateAndCreateSubscriptionGroup {}, body).await.is_ok();
                own.ordered(Keeps::Settings, group, Some(newest), done);
            }
            (2..5, Some(topic)) => own.commit(&client, group, topic, &mut draw).await,
            (5..7, _) => {
                let offsets = draw.chance(60);
                let delete = DeleteSubscriptionGroup {
                    group_name: group.into(),
                    clean_offset: Some(offsets),
                    remove_offset: None,
                };
                let done = own.call(&client, &delete, Bytes::new()).await.is_ok();
                own.ordered(Keeps::Settings, group, None, done);
                if offsets {
                    own.ordered(Keeps::Offset, group, None, done);
                }
            }
            (_, topic) => {
                if let Some(topic) = topic {
                    own.ask_offset(&client, group, topic).await;
                }
                let get = GetSubscriptionGroupConfig { group: group.into() };
                match own.call(&client, &get, Bytes::new()).await {
                    Ok((_, body)) => {
                        let settings: Option<SubscriptionGroupConfig> = json::from_slice(&body).ok();
                        let value = settings.and_then(|it| u64::try_from(it.retry_max_times).ok());
                        own.kept(Keeps::Settings, group, value);
                    }
                    Err(CallError::Refused { .. }) => own.kept(Keeps::Settings, group, None),
                    Err(_) => {}
                }
            }
        }
    }
}

/// One server, and what is written down of it.
struct Own<'a> {
    shared: &'a Shared,
    server: &'a Server,
}

impl<'a> Own<'a> {
    fn new(shared: &'a Shared, server: &'a Server) -> Self {
        Self { shared, server }
    }

    async fn pause(&self, draw: &mut Draw) {
        let every_ms = self.shared.plan.operator_ms;
        sleep(Duration::from_millis(draw.range(every_ms / 2, every_ms * 3 / 2))).await;
    }

    async fn call<R: Request>(
        &self,
        client: &Client,
        request: &R,
        body: Bytes,
    ) -> Result<(R::Reply, Bytes), CallError> {
        client.call(&self.server.address, request, body, TIMEOUT).await
    }

    fn ordered(&self, what: Keeps, name: &str, value: Option<u64>, done: bool) {
        self.shared.recorder.orders(self.server.id, what, name, value, done);
    }

    fn kept(&self, what: Keeps, name: &str, value: Option<u64>) {
        self.shared.recorder.kept(self.server.id, what, name, value);
    }

    /// Names of the texts that there ever were orders about.
    fn known(&self) -> Vec<String> {
        let live = self.shared.recorder.live();
        let own = live.history.keepings.iter();
        let own = own.filter(|it| it.server == self.server.id && it.what == Keeps::Text);
        own.map(|it| it.name.clone()).collect()
    }

    /// Moves the offset of a group in the first queue of a topic to any place there, back as well.
    async fn commit(&self, client: &Client, group: &str, topic: &Text, draw: &mut Draw) {
        let ask = GetMaxOffset { topic: topic.clone(), queue_id: 0, committed: true };
        let Ok((max, _)) = self.call(client, &ask, Bytes::new()).await else { return };
        let Some(max) = u64::try_from(max.offset).ok().filter(|max| *max > 0) else { return };
        let offset = draw.range(1, max);
        let commit = UpdateConsumerOffset {
            consumer_group: group.into(),
            topic: topic.clone(),
            queue_id: 0,
            commit_offset: offset as i64,
        };
        match self.call(client, &commit, Bytes::new()).await {
            Ok(_) => self.ordered(Keeps::Offset, group, Some(offset), true),
            // There is no such group.
            Err(CallError::Refused { .. }) => {}
            Err(_) => self.ordered(Keeps::Offset, group, Some(offset), false),
        }
    }

    async fn ask_offset(&self, client: &Client, group: &str, topic: &Text) {
        let ask = QueryConsumerOffset {
            consumer_group: group.into(),
            topic: topic.clone(),
            queue_id: 0,
            set_zero_if_not_found: None,
        };
        match self.call(client, &ask, Bytes::new()).await {
            // Where a group has no offset the answer may be the beginning.
            Ok((reply, _)) => {
                self.kept(Keeps::Offset, group, u64::try_from(reply.offset).ok().filter(|it| *it > 0))
            }
            Err(CallError::Refused { code: NOT_FOUND, .. }) => self.kept(Keeps::Offset, group, None),
            Err(_) => {}
        }
    }

    /// Who is in one of the groups of the load?
    async fn ask_members(&self, client: &Client, draw: &mut Draw) {
        let groups = &self.shared.plan.groups;
        let group = draw.below(groups.len() as u64) as u32;
        let ask = GetConsumerListByGroup { consumer_group: groups[group as usize].name.as_str().into() };
        let list = match self.call(client, &ask, Bytes::new()).await {
            Ok((_, body)) => json::from_slice(&body).unwrap_or_default(),
            Err(CallError::Refused { code: 1, .. }) => GetConsumerListByGroupBody::default(), // it has no member
            Err(_) => return,
        };
        self.shared.recorder.members(self.server.id, GroupId(group), &list.consumer_id_list);
    }
}

fn number(text: &str) -> Option<u64> {
    text.parse().ok()
}

const NAMESPACE: &str = "LAB";
/// Names of which one begins with another.
const GROUPS: &[&str] = &["kept", "kept-too", "other"];
/// The code of an answer that there is nothing.
const NOT_FOUND: i32 = 22;
