//! Heartbeats, goodbyes, closed connections, and who is told when a group changes.

use std::{collections::BTreeMap, net::IpAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use net::{Peer, Reply};
use protocol::{
    Command, Text,
    body::{
        CheckClientBody, GetConsumerListByGroupBody, HeartbeatData, LockBatchBody, LockBatchReplyBody,
        MessageModel, SubscriptionGroupConfig,
    },
    json, name,
    rpc::{GetConsumerListByGroup, HeartbeatReply, NotifyConsumerIdsChanged, UnregisterClient},
    tag::Filter,
};
use runtime::{buggify, clock, planted, sometimes, tap, time::sleep};

use crate::{
    Broker,
    refusal::{Answer, Refusal},
    state::{
        clients::{Clients, Left, Member, PeerId, peer_id},
        topics::Topic,
    },
};

/// The memberships, and the connections behind them.
#[derive(Debug, Default)]
pub(crate) struct Connected {
    pub(crate) clients: Clients,
    peers: BTreeMap<PeerId, Arc<Peer>>,
}

impl Connected {
    /// Connections of a group's members.
    pub(crate) fn members(&self, group: &str) -> Vec<Arc<Peer>> {
        let Some(found) = self.clients.consumer_group(group) else { return Vec::new() };
        found.members.keys().filter_map(|id| self.peers.get(id)).cloned().collect()
    }

    /// Connections of a group's producers.
    pub(crate) fn producers(&self, group: &str) -> Vec<Arc<Peer>> {
        if planted!("B10") {
            return self.peers.values().cloned().collect();
        }
        let Some(found) = self.clients.producers(group) else { return Vec::new() };
        found.keys().filter_map(|id| self.peers.get(id)).filter(|peer| !peer.is_closed()).cloned().collect()
    }

    /// Whether a producer of the group is here.
    pub(crate) fn has_producer(&self, group: &str) -> bool {
        let open = |id| self.peers.get(id).is_some_and(|peer| !peer.is_closed());
        self.clients.producers(group).is_some_and(|found| found.keys().any(open))
    }

    /// Whether a client of this machine is here.
    fn has_client_at(&self, machine: IpAddr) -> bool {
        self.peers.values().any(|peer| peer.remote.ip() == machine)
    }

    pub(crate) fn peer(&self, id: PeerId) -> Option<&Arc<Peer>> {
        self.peers.get(&id)
    }
}

impl Broker {
    /// A client says which groups it is in. All members of a changed group, the new one too, hear of it before the
    /// answer goes out.
    pub(crate) async fn heartbeat(&self, peer: &Arc<Peer>, command: &Command) -> Answer {
        let data: HeartbeatData = body("HEART_BEAT", &command.body)?;
        if data.client_id.is_empty() {
            return Err(Refusal::Body { request: "HEART_BEAT", why: "clientID is missing".into() });
        }
        for group in data.consumer_data_set.iter().map(|c| &c.group_name) {
            check_group(group)?;
        }
        for group in data.producer_data_set.iter().map(|p| &p.group_name) {
            check_group(group)?;
        }
        let now = self.uptime_ms();
        let member = || Member {
            client_id: data.client_id.to_string(),
            language: command.language,
            version: command.version,
            seen_ms: now,
            fingerprint: data.heartbeat_fingerprint,
        };
        let short = data.heartbeat_fingerprint != 0 && data.without_sub;
        let mut known = true;
        let mut newest = None;
        let mut changed = Vec::new();
        self.connected.lock().peers.insert(key(peer), peer.clone());
        for consumer in &data.consumer_data_set {
            if short {
                let print = data.heartbeat_fingerprint;
                known &= self.connected.lock().clients.consumer_seen_again(
                    key(peer),
                    &consumer.group_name,
                    print,
                    now,
                );
                continue;
            }
            // Where groups are made by administrators only, an unknown one may stay connected; its pulls are refused.
            let group = self.group(&consumer.group_name).ok();
            if let Some(group) = &group {
                newest = self
                    .retry_topic(group, consumer.unit_mode)
                    .filter(|topic| topic.change > self.topics_saved.done())
                    .or(newest);
            }
            let news = self.connected.lock().clients.consumer_seen(key(peer), member(), consumer);
            if news {
                tracing::info!(group = %consumer.group_name, client = %data.client_id, "consumer group changed");
                sometimes!("broker.group.changed");
                changed.push((consumer.group_name.clone(), group));
            }
        }
        for producer in &data.producer_data_set {
            self.connected.lock().clients.producer_seen(key(peer), member(), &producer.group_name);
        }
        for (group, config) in changed {
            self.tell(&group, config.as_deref());
        }
        // The new member asks for the route of its retry topic right away.
        if let Some(topic) = newest {
            self.topics_saved.reach(topic.change).await?;
            self.registered(topic.change, NEW_TOPIC_IN_ROUTES).await;
        }
        Ok(Reply::with(&HeartbeatReply { is_support_heart_beat_v2: Some(true), is_sub_change: Some(!known) }))
    }

    /// The retry topic of a group whose consumers are here.
    fn retry_topic(&self, group: &SubscriptionGroupConfig, unit: bool) -> Option<Topic> {
        let topic = name::retry_topic(&group.group_name);
        (group.retry_queue_nums > 0).then(|| self.ensure_topic(&topic, group.retry_queue_nums, unit))
    }

    /// Sends the change notification to all members of a group.
    fn tell(&self, group: &str, config: Option<&SubscriptionGroupConfig>) {
        let allowed = config.is_none_or(|config| config.notify_consumer_ids_changed_enable);
        // The notice is lost: the members share queues by the clock (CON-5, L-3).
        let lost = buggify!("broker.group.not_told");
        if lost || !self.config().notify_consumer_ids_changed_enable || !allowed {
            return;
        }
        let members = {
            let connected = self.connected.lock();
            if connected.clients.consumer_group(group).is_none_or(|g| g.model == MessageModel::Broadcasting) {
                return;
            }
            connected.members(group)
        };
        let notice = NotifyConsumerIdsChanged { consumer_group: Text::from(group) };
        for peer in members {
            if !peer.oneway(&notice, Bytes::new()) {
                tracing::debug!(group, client = %peer.remote, "change of the group could not be told");
            }
        }
    }

    fn tell_others(&self, left: &Left) {
        for group in &left.groups {
            let config = self.groups.lock().get(group).cloned();
            self.tell(group, config.as_deref());
        }
    }

    /// A client leaves one of its groups, or one as producer and one as consumer.
    pub(crate) fn unregister_client(&self, peer: &Peer, h: &UnregisterClient) -> Answer {
        if let Some(group) = h.producer_group.as_deref().filter(|group| !group.is_empty()) {
            self.connected.lock().clients.producer_left(key(peer), &h.client_id, group);
        }
        if let Some(group) = h.consumer_group.as_deref().filter(|group| !group.is_empty()) {
            let left = self.connected.lock().clients.consumer_left(key(peer), &h.client_id, group);
            if left {
                sometimes!("broker.group.left");
                tracing::info!(group, client = %h.client_id, "consumer left");
                if planted!("B101") {
                    return Ok(Reply::ok());
                }
                let config = self.groups.lock().get(group).cloned();
                self.tell(group, config.as_deref());
            }
        }
        Ok(Reply::ok())
    }

    /// A connection is gone, and with it what its client was a member of.
    pub(crate) fn peer_closed(&self, peer: &Peer) {
        if planted!("B21") {
            return;
        }
        let left = {
            let mut connected = self.connected.lock();
            connected.peers.remove(&key(peer));
            connected.clients.closed(key(peer))
        };
        sometimes!("broker.group.lost", !left.groups.is_empty());
        self.tell_others(&left);
    }

    /// Gives up clients that were silent for too long.
    pub(crate) async fn expire(self: Arc<Self>) {
        while self.pause(SCAN).await {
            let life = self.config().channel_expired_timeout;
            let now = if planted!("B34") { self.wall_uptime_ms() } else { self.uptime_ms() };
            let left = self.connected.lock().clients.expire(now, life);
            for id in &left.silent {
                sometimes!("broker.group.silent");
                let peer = self.connected.lock().peers.remove(id);
                if let Some(peer) = peer {
                    let alone = || !self.connected.lock().has_client_at(peer.remote.ip());
                    tap!("client.given_up", address = &*peer.remote.to_string(), alone = alone());
                    tracing::warn!(client = %peer.remote, "client gave no sign of life for {life} ms; closing its connection");
                    peer.close();
                }
            }
            self.tell_others(&left);
        }
    }

    /// The client ids of a group, sorted: what members divide the queues among.
    pub(crate) fn consumer_list(&self, peer: &Peer, h: &GetConsumerListByGroup) -> Answer {
        let connected = self.connected.lock();
        let Some(group) = connected.clients.consumer_group(&h.consumer_group) else {
            sometimes!("broker.group.unknown");
            return Err(Refusal::Failed(format!(
                "no consumer for this group, {} (asked from {})",
                h.consumer_group, peer.remote
            )));
        };
        let list = GetConsumerListByGroupBody {
            consumer_id_list: group.client_ids().into_iter().map(Text::from).collect(),
        };
        Ok(Reply::ok().body(json::to_vec(&list)))
    }

    /// A client asks whether its subscription would be understood.
    pub(crate) fn check_client_config(&self, request: &Bytes) -> Answer {
        let asked: CheckClientBody = body("CHECK_CLIENT_CONFIG", request)?;
        let subscription = asked.subscription_data;
        match subscription.expression_type.as_str() {
            "" | "TAG" => {}
            other => {
                return Err(Refusal::Failed(format!(
                    "The broker does not support consumer to filter message by {other}"
                )));
            }
        }
        Filter::parse(&subscription.sub_string).map_err(|error| Refusal::Expression(error.to_string()))?;
        Ok(Reply::ok())
    }

    /// An orderly consumer takes or renews the locks of its queues; the answer lists those it holds.
    pub(crate) fn lock_batch(&self, request: &Bytes) -> Answer {
        let asked: LockBatchBody = body("LOCK_BATCH_MQ", request)?;
        let now = if planted!("B80") { self.wall_uptime_ms() } else { self.uptime_ms() };
        let mut locks = self.locks.lock();
        let held = asked
            .mq_set
            .into_iter()
            .filter(|mq| {
                let (group, topic, client) = (&*asked.consumer_group, &*mq.topic, &*asked.client_id);
                if planted!("B79") && locks.holder(group, topic, mq.queue_id, now) == Some(client) {
                    return true;
                }
                locks.lock(group, topic, mq.queue_id, client, now) | planted!("M45")
            })
            .collect();
        Ok(Reply::ok().body(json::to_vec(&LockBatchReplyBody { lock_ok_mq_set: held })))
    }

    /// An orderly consumer gives queues back.
    pub(crate) fn unlock_batch(&self, request: &Bytes) -> Answer {
        let asked: LockBatchBody = body("UNLOCK_BATCH_MQ", request)?;
        let mut locks = self.locks.lock();
        for mq in &asked.mq_set {
            let (group, topic) = (&*asked.consumer_group, &*mq.topic);
            let holder = || locks.holder(group, topic, mq.queue_id, self.uptime_ms()).map(str::to_owned);
            let holder = planted!("B78").then(holder).flatten();
            locks.unlock(group, topic, mq.queue_id, holder.as_deref().unwrap_or(&asked.client_id));
        }
        Ok(Reply::ok())
    }

    /// The uptime as a wall clock tells it, which may be set: some planted bugs go by it.
    fn wall_uptime_ms(&self) -> u64 {
        u64::try_from(clock::now_ms() - self.boot_ms).unwrap_or(0)
    }

    /// The configuration of a group; makes it with defaults when that is allowed.
    pub(crate) fn group(&self, group: &str) -> Result<Arc<SubscriptionGroupConfig>, Refusal> {
        let known = self.groups.lock().get(group).cloned();
        if let Some(known) = known {
            return Ok(known);
        }
        check_group(group)?;
        let automatic = self.config().auto_create_subscription_group;
        let made = self.groups.lock().ensure(group, automatic, clock::now_ms());
        let made = made.ok_or_else(|| Refusal::NoGroup(group.to_owned()))?;
        self.groups_saved.kick();
        tracing::info!(group, "consumer group created by its first use");
        Ok(made)
    }

    /// Waits, unless the broker stops meanwhile: then false.
    pub(crate) async fn pause(&self, time: Duration) -> bool {
        runtime::select! {
            _ = self.stopping.reach(1) => false,
            () = sleep(time) => true,
        }
    }
}

/// A number for a connection that no other one of this broker has: each of its servers counts its own.
pub(crate) fn key(peer: &Peer) -> PeerId {
    peer_id(peer.id, peer.local.port())
}

/// Reads a JSON body.
pub(crate) fn body<T: serde::de::DeserializeOwned>(
    request: &'static str,
    bytes: &[u8],
) -> Result<T, Refusal> {
    json::from_slice(bytes).map_err(|error| Refusal::Body { request, why: error.to_string() })
}

/// Refuses an illegal group name.
pub(crate) fn check_group(group: &str) -> Result<(), Refusal> {
    name::check_group(group).map_err(|error| Refusal::Name(error.to_string()))
}

/// How often silent clients are looked for.
const SCAN: Duration = Duration::from_secs(10);

/// How long an answer may wait for name servers to know a new topic.
const NEW_TOPIC_IN_ROUTES: Duration = Duration::from_secs(1);
