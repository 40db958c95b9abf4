//! Who is connected: producers and consumers by group, as their heartbeats said, and when they are given up.
//!
//! A membership is (group, connection). Times are milliseconds of a clock that only goes forward, so
//! that a jump of the wall clock expires nobody.

use std::collections::{BTreeMap, BTreeSet};

use protocol::{
    Language,
    body::{ConsumeFromWhere, ConsumeType, ConsumerData, MessageModel, SubscriptionData},
};

/// A connection, by the number that net gave it and, in the lowest bits, the port that it came to.
pub(crate) type PeerId = u64;

/// The number of a connection that came to `port` as the `nth` one there.
pub(crate) fn peer_id(nth: u64, port: u16) -> PeerId {
    nth << PORT_BITS | u64::from(port)
}

/// Whether `one` was opened after `other`; connections to different ports are not compared.
fn is_newer(one: PeerId, other: PeerId) -> bool {
    let port = |id: PeerId| id & ((1 << PORT_BITS) - 1);
    port(one) == port(other) && one > other
}

const PORT_BITS: u32 = 16;

/// One client in one group.
#[derive(Clone, Debug)]
pub(crate) struct Member {
    /// The client's own name.
    pub(crate) client_id: String,
    /// Language it said.
    pub(crate) language: Language,
    /// Version it said.
    pub(crate) version: i32,
    /// When it last sent a heartbeat.
    pub(crate) seen_ms: u64,
    /// Fingerprint of its subscriptions under the second form of heartbeats, else 0.
    pub(crate) fingerprint: i32,
}

/// A consumer group that has members now.
#[derive(Clone, Debug)]
pub(crate) struct ConsumerGroup {
    /// Push, pull or pop.
    pub(crate) consume_type: ConsumeType,
    /// Clustering or broadcasting.
    pub(crate) model: MessageModel,
    /// Where it starts without an offset.
    pub(crate) from_where: ConsumeFromWhere,
    /// What it wants, by topic.
    pub(crate) subscriptions: BTreeMap<String, SubscriptionData>,
    /// Its members by connection.
    pub(crate) members: BTreeMap<PeerId, Member>,
}

/// All memberships.
#[derive(Debug, Default)]
pub(crate) struct Clients {
    consumers: BTreeMap<String, ConsumerGroup>,
    producers: BTreeMap<String, BTreeMap<PeerId, Member>>,
}

/// What a change of memberships leads to.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Left {
    /// Consumer groups that lost a member and have others, who must be told.
    pub(crate) groups: BTreeSet<String>,
    /// Connections that were silent for too long and are to be closed.
    pub(crate) silent: BTreeSet<PeerId>,
}

impl Clients {
    /// A heartbeat of a consumer. True when the other members must be told: somebody new, or another set of topics.
    ///
    /// One that was long under way, on a connection that the client has given up for a newer one, says nothing: the
    /// membership would end when that connection does.
    pub(crate) fn consumer_seen(&mut self, peer: PeerId, member: Member, data: &ConsumerData) -> bool {
        let group = self.consumers.entry(data.group_name.to_string()).or_insert_with(|| ConsumerGroup {
            consume_type: data.consume_type,
            model: data.message_model,
            from_where: data.consume_from_where,
            subscriptions: BTreeMap::new(),
            members: BTreeMap::new(),
        });
        if group.members.iter().any(|(id, other)| other.client_id == member.client_id && is_newer(*id, peer))
        {
            return false;
        }
        group.consume_type = data.consume_type;
        group.model = data.message_model;
        group.from_where = data.consume_from_where;
        // A client that came back on a new connection before its old one was seen to close is one member, not two.
        group.members.retain(|id, other| *id == peer || other.client_id != member.client_id);
        let joined = group.members.insert(peer, member).is_none();
        let subscribed = group.subscribe(&data.subscription_data_set);
        joined || subscribed
    }

    /// A heartbeat without subscriptions: true when the member is known with this fingerprint, false
    /// when the client must send the full form.
    pub(crate) fn consumer_seen_again(&mut self, peer: PeerId, group: &str, print: i32, now_ms: u64) -> bool {
        let known = self.consumers.get_mut(group).and_then(|g| g.members.get_mut(&peer));
        match known {
            Some(member) if member.fingerprint == print => {
                member.seen_ms = now_ms;
                true
            }
            _ => false,
        }
    }

    /// A heartbeat of a producer.
    pub(crate) fn producer_seen(&mut self, peer: PeerId, member: Member, group: &str) {
        let members = match self.producers.get_mut(group) {
            Some(members) => members,
            None => self.producers.entry(group.to_owned()).or_default(),
        };
        members.insert(peer, member);
    }

    /// A consumer says goodbye, perhaps on another connection than its heartbeats took. True when it was a member.
    pub(crate) fn consumer_left(&mut self, peer: PeerId, client_id: &str, group: &str) -> bool {
        let Some(found) = self.consumers.get_mut(group) else { return false };
        let before = found.members.len();
        found.members.retain(|id, member| *id != peer && member.client_id != client_id);
        let left = found.members.len() < before;
        if found.members.is_empty() {
            self.consumers.remove(group);
        }
        left
    }

    /// A producer says goodbye.
    pub(crate) fn producer_left(&mut self, peer: PeerId, client_id: &str, group: &str) {
        if let Some(members) = self.producers.get_mut(group) {
            members.retain(|id, member| *id != peer && member.client_id != client_id);
            if members.is_empty() {
                self.producers.remove(group);
            }
        }
    }

    /// A connection closed: all its memberships end.
    pub(crate) fn closed(&mut self, peer: PeerId) -> Left {
        self.remove(|id, _| id == peer)
    }

    /// Ends the memberships that were silent for longer than `life_ms`.
    pub(crate) fn expire(&mut self, now_ms: u64, life_ms: u64) -> Left {
        let mut silent = BTreeSet::new();
        let mut left = self.remove(|id, member| {
            let old = now_ms.saturating_sub(member.seen_ms) > life_ms;
            if old {
                silent.insert(id);
            }
            old
        });
        left.silent = silent;
        left
    }

    fn remove(&mut self, mut gone: impl FnMut(PeerId, &Member) -> bool) -> Left {
        let mut left = Left::default();
        self.consumers.retain(|name, group| {
            let before = group.members.len();
            group.members.retain(|id, member| !gone(*id, member));
            if group.members.len() < before && !group.members.is_empty() {
                left.groups.insert(name.clone());
            }
            !group.members.is_empty()
        });
        self.producers.retain(|_, members| {
            members.retain(|id, member| !gone(*id, member));
            !members.is_empty()
        });
        left
    }

    /// A group with members.
    pub(crate) fn consumer_group(&self, group: &str) -> Option<&ConsumerGroup> {
        self.consumers.get(group)
    }

    /// Consumer groups with members.
    pub(crate) fn consumer_groups(&self) -> impl Iterator<Item = (&str, &ConsumerGroup)> {
        self.consumers.iter().map(|(name, group)| (name.as_str(), group))
    }

    /// The producers of a group.
    pub(crate) fn producers(&self, group: &str) -> Option<&BTreeMap<PeerId, Member>> {
        self.producers.get(group)
    }

    /// All producer groups.
    pub(crate) fn producer_groups(&self) -> impl Iterator<Item = (&str, &BTreeMap<PeerId, Member>)> {
        self.producers.iter().map(|(name, members)| (name.as_str(), members))
    }
}

impl ConsumerGroup {
    /// Client ids of the members, sorted, each once: all members must compute with the same list.
    pub(crate) fn client_ids(&self) -> BTreeSet<&str> {
        self.members.values().map(|member| member.client_id.as_str()).collect()
    }

    /// Takes over newer subscriptions and drops topics that are no longer listed.
    fn subscribe(&mut self, wanted: &[SubscriptionData]) -> bool {
        let mut changed = false;
        for new in wanted {
            match self.subscriptions.get_mut(new.topic.as_ref()) {
                Some(old) if new.sub_version > old.sub_version => *old = new.clone(),
                Some(_) => {}
                None => {
                    self.subscriptions.insert(new.topic.to_string(), new.clone());
                    changed = true;
                }
            }
        }
        let before = self.subscriptions.len();
        self.subscriptions.retain(|topic, _| wanted.iter().any(|new| *new.topic == **topic));
        changed || self.subscriptions.len() < before
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(client: &str, seen_ms: u64) -> Member {
        Member { client_id: client.into(), language: Language::Java, version: 479, seen_ms, fingerprint: 0 }
    }

    fn group(topics: &[&str], version: i64) -> ConsumerData {
        ConsumerData {
            group_name: "g".into(),
            consume_type: ConsumeType::Passively,
            message_model: MessageModel::Clustering,
            consume_from_where: ConsumeFromWhere::LastOffset,
            subscription_data_set: topics
                .iter()
                .map(|topic| SubscriptionData {
                    topic: (*topic).into(),
                    sub_string: "*".into(),
                    sub_version: version,
                    ..SubscriptionData::default()
                })
                .collect(),
            ..ConsumerData::default()
        }
    }

    fn ids(clients: &Clients) -> Vec<&str> {
        clients.consumer_group("g").map(|g| g.client_ids().into_iter().collect()).unwrap_or_default()
    }

    #[test]
    fn only_changes_are_told() {
        let mut clients = Clients::default();
        assert!(clients.consumer_seen(1, member("a", 0), &group(&["t"], 1)), "the first member");
        assert!(!clients.consumer_seen(1, member("a", 1), &group(&["t"], 1)), "nothing new");
        assert!(clients.consumer_seen(2, member("b", 1), &group(&["t"], 1)), "a second member");
        assert!(clients.consumer_seen(1, member("a", 2), &group(&["t", "u"], 2)), "another topic");
        assert_eq!(ids(&clients), ["a", "b"]);
    }

    #[test]
    fn the_newer_subscription_wins_and_unlisted_topics_go() {
        let mut clients = Clients::default();
        clients.consumer_seen(1, member("a", 0), &group(&["t", "u"], 5));
        assert!(clients.consumer_seen(1, member("a", 0), &group(&["t"], 4)), "a topic less");
        let subscriptions = &clients.consumer_group("g").unwrap().subscriptions;
        assert_eq!(subscriptions.len(), 1);
        assert_eq!(subscriptions["t"].sub_version, 5, "an older version changes nothing");
    }

    #[test]
    fn a_client_that_reconnects_is_one_member() {
        let mut clients = Clients::default();
        clients.consumer_seen(1, member("a", 0), &group(&["t"], 1));
        assert!(clients.consumer_seen(2, member("a", 1), &group(&["t"], 1)));
        assert_eq!(ids(&clients), ["a"]);
        assert_eq!(clients.closed(1), Left::default(), "the old connection no longer counts");
        assert_eq!(ids(&clients), ["a"]);
    }

    #[test]
    fn a_heartbeat_that_comes_late_on_the_connection_before_changes_nothing() {
        let [old, new, elsewhere] = [(1, 10_911), (2, 10_911), (1, 10_909)].map(|(n, port)| peer_id(n, port));
        let mut clients = Clients::default();
        clients.consumer_seen(old, member("a", 0), &group(&["t"], 1));
        clients.consumer_seen(new, member("a", 5), &group(&["t"], 1));
        assert!(!clients.consumer_seen(old, member("a", 6), &group(&["u"], 2)), "it was sent before");
        assert_eq!(clients.consumer_group("g").unwrap().members[&new].seen_ms, 5);
        assert!(clients.consumer_group("g").unwrap().subscriptions.contains_key("t"));
        assert_eq!(clients.closed(old), Left::default());
        assert_eq!(ids(&clients), ["a"], "the connection in use still counts");
        assert!(
            clients.consumer_seen(elsewhere, member("a", 7), &group(&["t"], 1)),
            "ports are not compared"
        );
    }

    #[test]
    fn a_closed_connection_ends_its_memberships_and_the_others_are_told() {
        let mut clients = Clients::default();
        clients.consumer_seen(1, member("a", 0), &group(&["t"], 1));
        clients.consumer_seen(2, member("b", 0), &group(&["t"], 1));
        clients.producer_seen(1, member("a", 0), "p");
        assert_eq!(clients.closed(1).groups, BTreeSet::from(["g".to_owned()]));
        assert!(clients.producers("p").is_none());
        assert_eq!(clients.closed(2), Left::default(), "nobody is left to be told");
        assert!(clients.consumer_group("g").is_none());
    }

    #[test]
    fn a_silent_client_is_given_up_after_its_time() {
        let mut clients = Clients::default();
        clients.consumer_seen(1, member("a", 0), &group(&["t"], 1));
        clients.consumer_seen(2, member("b", 60_000), &group(&["t"], 1));
        assert_eq!(clients.expire(120_000, 120_000), Left::default());
        let left = clients.expire(120_001, 120_000);
        assert_eq!(left.silent, BTreeSet::from([1]));
        assert_eq!(left.groups, BTreeSet::from(["g".to_owned()]));
        assert_eq!(ids(&clients), ["b"]);
    }

    #[test]
    fn goodbye_counts_on_any_connection_of_the_client() {
        let mut clients = Clients::default();
        clients.consumer_seen(1, member("a", 0), &group(&["t"], 1));
        assert!(clients.consumer_left(7, "a", "g"));
        assert!(!clients.consumer_left(7, "a", "g"));
    }

    #[test]
    fn a_short_heartbeat_counts_only_with_the_known_fingerprint() {
        let mut clients = Clients::default();
        clients.consumer_seen(1, Member { fingerprint: 9, ..member("a", 0) }, &group(&["t"], 1));
        assert!(clients.consumer_seen_again(1, "g", 9, 5));
        assert!(!clients.consumer_seen_again(1, "g", 8, 5));
        assert!(!clients.consumer_seen_again(2, "g", 9, 5));
        assert_eq!(clients.consumer_group("g").unwrap().members[&1].seen_ms, 5);
    }
}
