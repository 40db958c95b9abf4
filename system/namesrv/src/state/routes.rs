//! Which broker serves which topic.
//!
//! A broker is known by cluster and address, and each of its registrations by the connection it came on. What would
//! remove a broker because of something older than its last registration does nothing: an upstream defect (11043)
//! let a late removal wipe a fresh registration, and the broker's topics had no route for up to 30 s. What a broker
//! says on a connection that it has given up for a newer one was long under way and says nothing: the broker would be
//! removed when that connection closes.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use protocol::Text;
use protocol::body::{
    BrokerData, BrokerMemberGroup, ClusterInfo, DataVersion, QueueData, TopicConfig,
    TopicConfigSerializeWrapper, TopicQueueMappingInfo, TopicRouteData, perm,
};
use protocol::name::MEMBER_PREFIX;

/// All routes. Time is counted from the start of the name server.
#[derive(Debug, Default)]
pub(crate) struct Table {
    /// Topic, then broker name.
    topics: BTreeMap<Text, BTreeMap<Text, QueueData>>,
    /// By broker name.
    brokers: BTreeMap<Text, BrokerData>,
    /// Broker names by cluster.
    clusters: BTreeMap<Text, BTreeSet<Text>>,
    live: BTreeMap<Key, Live>,
    /// Filter servers, by the broker they belong to.
    filters: BTreeMap<Key, Vec<Text>>,
    /// Queues of static topics: topic, then broker name.
    mappings: BTreeMap<Text, BTreeMap<Text, TopicQueueMappingInfo>>,
    /// Which brokers each connection spoke for, until it closes.
    spoken_for: BTreeMap<u64, BTreeSet<Key>>,
}

/// One broker: cluster and address.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key {
    pub(crate) cluster: Text,
    pub(crate) address: Text,
}

#[derive(Debug)]
struct Live {
    last: Duration,
    timeout: Duration,
    version: DataVersion,
    /// The connection of the last sign of life. Numbers grow in the order in which connections are accepted.
    connection: u64,
    ha_address: Text,
}

/// What the configuration says about routes.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Rules {
    pub(crate) support_acting_master: bool,
    pub(crate) delete_topic_with_broker_registration: bool,
}

/// What a broker says about itself.
#[derive(Debug)]
pub(crate) struct Registration {
    pub(crate) key: Key,
    pub(crate) name: Text,
    pub(crate) id: i64,
    pub(crate) ha_address: Text,
    pub(crate) timeout: Duration,
    /// None from brokers that know nothing of acting masters.
    pub(crate) acting_master: Option<bool>,
    pub(crate) zone: Option<Text>,
    pub(crate) topics: TopicConfigSerializeWrapper,
    /// None leaves the filter servers as they are.
    pub(crate) filters: Option<Vec<Text>>,
}

/// What a registration is answered with.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Registered {
    pub(crate) ha_address: Option<Text>,
    pub(crate) master_address: Option<Text>,
    /// The registration lost against a newer one, of the same broker or of another with the same id: nothing was changed.
    pub(crate) overruled: bool,
    pub(crate) min_id: Option<MinIdChange>,
}

/// A first registration with one topic only: the rest of the topics would stay unknown until the next full one.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Incomplete;

/// The smallest id among the brokers of one name changed, and these should know.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct MinIdChange {
    pub(crate) name: Text,
    pub(crate) min_id: i64,
    pub(crate) min_address: Text,
    pub(crate) offline_address: Option<Text>,
    pub(crate) ha_address: Option<Text>,
    pub(crate) tell: Vec<Text>,
}

/// A broker that was removed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Removed {
    pub(crate) key: Key,
    pub(crate) name: Option<Text>,
    /// Where it was last heard.
    pub(crate) connection: Option<u64>,
    pub(crate) min_id: Option<MinIdChange>,
}

impl Table {
    /// Takes a broker's registration, which came on this connection.
    pub(crate) fn register(
        &mut self,
        registration: Registration,
        connection: u64,
        now: Duration,
        rules: Rules,
    ) -> Result<Registered, Incomplete> {
        let Registration { key, name, id, ha_address, timeout, acting_master, zone, topics, filters } =
            registration;
        if self.is_late(&key, connection) {
            return Ok(Registered { overruled: true, ..Registered::default() });
        }
        self.leave_other_places(&key, &name);
        self.clusters.entry(key.cluster.clone()).or_default().insert(name.clone());
        let mut first = !self.brokers.contains_key(&name);
        let broker = self.brokers.entry(name.clone()).or_insert_with(|| BrokerData {
            broker_name: name.clone(),
            cluster: key.cluster.clone(),
            ..BrokerData::default()
        });
        broker.enable_acting_master = acting_master.unwrap_or(false);
        broker.zone_name = zone;
        // An empty record counts as 0, so the first broker of a name is no change.
        let previous_min = broker.broker_addrs.keys().next().copied().unwrap_or(0);
        let min_changed = id < previous_min;
        // A slave that became master keeps one entry.
        broker.broker_addrs.retain(|other, address| *other == id || *address != key.address);

        let version = topics.data_version;
        if let Some(holder) = broker.broker_addrs.get(&id).filter(|holder| **holder != key.address) {
            let holder = Key { cluster: key.cluster.clone(), address: holder.clone() };
            if self.live.get(&holder).is_some_and(|live| live.version.state_version > version.state_version) {
                // Two brokers claim one id: the one in the newer term keeps it.
                self.live.remove(&key);
                return Ok(Registered { overruled: true, ..Registered::default() });
            }
        }
        if !broker.broker_addrs.contains_key(&id) && topics.topic_config_table.len() == 1 {
            self.forget_if_empty(&name);
            return Err(Incomplete);
        }
        first |= broker.broker_addrs.insert(id, key.address.clone()).is_none();

        let broker = broker.clone();
        let min = broker.broker_addrs.keys().next().copied();
        let prime_slave = acting_master.is_some() && id != MASTER && min == Some(id);
        if id == MASTER || prime_slave {
            let read_only = prime_slave && broker.enable_acting_master;
            let changed = first || self.live.get(&key).is_none_or(|live| live.version != version);
            self.take_topics(&name, topics, changed, read_only, rules);
        }

        let live = Live { last: now, timeout, version, connection, ha_address: ha_address.clone() };
        self.live.insert(key.clone(), live);
        self.spoken_for.entry(connection).or_default().insert(key.clone());
        match filters {
            Some(filters) if filters.is_empty() => drop(self.filters.remove(&key)),
            Some(filters) => drop(self.filters.insert(key.clone(), filters)),
            None => {}
        }

        let mut answer = Registered::default();
        if let Some(master) = broker.broker_addrs.get(&MASTER).filter(|_| id != MASTER) {
            let master = Key { cluster: key.cluster.clone(), address: master.clone() };
            if let Some(live) = self.live.get(&master) {
                answer.ha_address = Some(live.ha_address.clone());
                answer.master_address = Some(master.address);
            }
        }
        if min_changed && broker.enable_acting_master {
            answer.min_id = min_id_change(&broker, Some(ha_address), None);
        }
        Ok(answer)
    }

    /// An address belongs to one broker name, and a broker name to one cluster: the last registration tells which.
    fn leave_other_places(&mut self, key: &Key, name: &Text) {
        if let Some(other) = self.name_of(&key.address).filter(|other| other != name) {
            self.remove_address(&other, &key.address);
        }
        let Some(broker) = self.brokers.get_mut(name).filter(|broker| broker.cluster != key.cluster) else {
            return;
        };
        let cluster = std::mem::replace(&mut broker.cluster, key.cluster.clone());
        self.leave_cluster(&cluster, name);
    }

    fn take_topics(
        &mut self,
        name: &Text,
        wrapper: TopicConfigSerializeWrapper,
        changed: bool,
        read_only: bool,
        rules: Rules,
    ) {
        let mappings = wrapper.topic_queue_mapping_info_map.unwrap_or_default();
        if rules.delete_topic_with_broker_registration && mappings.is_empty() {
            self.topics.retain(|topic, queues| {
                if !wrapper.topic_config_table.contains_key(topic) {
                    queues.remove(name);
                }
                !queues.is_empty()
            });
        }
        for (topic, config) in wrapper.topic_config_table {
            let queues = self.topics.entry(topic).or_default();
            if changed || !queues.contains_key(name) {
                queues.insert(name.clone(), queue_data(name, &config, read_only));
            }
        }
        if changed {
            for (topic, mapping) in mappings {
                self.mappings.entry(topic).or_default().insert(mapping.broker_name.clone(), mapping);
            }
        }
    }

    /// A broker says good-bye. Nothing happens if it registered again on a connection accepted after this one.
    pub(crate) fn unregister(&mut self, key: &Key, connection: u64) -> Option<Removed> {
        if self.is_late(key, connection) {
            return None;
        }
        self.remove(key)
    }

    /// Whether the broker was last heard on a connection accepted after this one.
    pub(crate) fn is_late(&self, key: &Key, connection: u64) -> bool {
        self.live.get(key).is_some_and(|live| live.connection > connection)
    }

    /// The brokers a connection spoke for; it is closed and forgotten.
    pub(crate) fn close(&mut self, connection: u64) -> BTreeSet<Key> {
        self.spoken_for.remove(&connection).unwrap_or_default()
    }

    /// Whether the broker was last heard on this connection.
    pub(crate) fn was_heard_on(&self, key: &Key, connection: u64) -> bool {
        self.live.get(key).is_some_and(|live| live.connection == connection)
    }

    /// Removes the brokers that have been silent for longer than they said they would be.
    pub(crate) fn expire(&mut self, now: Duration) -> Vec<Removed> {
        let silent = self.live.iter().filter(|(_, live)| live.last.saturating_add(live.timeout) < now);
        let silent: Vec<Key> = silent.map(|(key, _)| key.clone()).collect();
        silent.iter().filter_map(|key| self.remove(key)).collect()
    }

    /// Removes a broker, whatever it did since.
    pub(crate) fn remove(&mut self, key: &Key) -> Option<Removed> {
        let live = self.live.remove(key);
        self.filters.remove(key);
        let name = self.name_of(&key.address).filter(|name| self.brokers[name].cluster == key.cluster);
        let min_id = name.as_ref().and_then(|name| self.remove_address(name, &key.address));
        if live.is_none() && name.is_none() {
            return None;
        }
        Some(Removed { key: key.clone(), name, connection: live.map(|live| live.connection), min_id })
    }

    fn name_of(&self, address: &Text) -> Option<Text> {
        let holds = |broker: &&BrokerData| broker.broker_addrs.values().any(|held| held == address);
        self.brokers.values().find(holds).map(|broker| broker.broker_name.clone())
    }

    fn remove_address(&mut self, name: &Text, address: &Text) -> Option<MinIdChange> {
        let broker = self.brokers.get_mut(name)?;
        let previous_min = broker.broker_addrs.keys().next().copied();
        broker.broker_addrs.retain(|_, held| held != address);
        if self.forget_if_empty(name) {
            return None;
        }
        let broker = self.brokers.get(name).filter(|broker| broker.enable_acting_master)?;
        if !broker.broker_addrs.contains_key(&MASTER) {
            // Only a master takes writes; who acts for it does not.
            for queue in self.topics.values_mut().filter_map(|queues| queues.get_mut(name)) {
                queue.perm &= !perm::WRITE;
            }
        }
        let (min_id, min_address) = broker.broker_addrs.first_key_value()?;
        if Some(*min_id) == previous_min {
            return None;
        }
        let min_key = Key { cluster: broker.cluster.clone(), address: min_address.clone() };
        let ha_address = self.live.get(&min_key).map(|live| live.ha_address.clone());
        min_id_change(broker, ha_address, Some(address.clone()))
    }

    /// Forgets a broker name without addresses, with its queues; false if there are addresses.
    fn forget_if_empty(&mut self, name: &Text) -> bool {
        let Some(broker) = self.brokers.get(name) else { return true };
        if !broker.broker_addrs.is_empty() {
            return false;
        }
        let cluster = broker.cluster.clone();
        self.brokers.remove(name);
        self.leave_cluster(&cluster, name);
        self.topics.retain(|_, queues| {
            queues.remove(name);
            !queues.is_empty()
        });
        self.mappings.retain(|_, brokers| {
            brokers.remove(name);
            !brokers.is_empty()
        });
        true
    }

    fn leave_cluster(&mut self, cluster: &Text, name: &Text) {
        if let Some(names) = self.clusters.get_mut(cluster) {
            names.remove(name);
            if names.is_empty() {
                self.clusters.remove(cluster);
            }
        }
    }

    /// A sign of life. The connection it came on is now the broker's. False when it says nothing: the broker is not
    /// known, or was heard on a newer connection since.
    pub(crate) fn refresh(&mut self, key: &Key, connection: u64, now: Duration) -> bool {
        let Some(live) = self.live.get_mut(key).filter(|live| live.connection <= connection) else {
            return false;
        };
        live.last = now;
        live.connection = connection;
        self.spoken_for.entry(connection).or_default().insert(key.clone());
        true
    }

    /// The version of the topics that a broker registered last.
    pub(crate) fn version(&self, key: &Key) -> Option<DataVersion> {
        self.live.get(key).map(|live| live.version)
    }

    /// The route of a topic, if a broker that is known has queues of it.
    pub(crate) fn answer(&self, topic: &str, rules: Rules) -> Option<TopicRouteData> {
        let queues = self.topics.get(topic)?;
        let brokers: Vec<&BrokerData> = queues.keys().filter_map(|name| self.brokers.get(name)).collect();
        if brokers.is_empty() {
            return None;
        }
        let mut route = TopicRouteData {
            queue_datas: queues.values().cloned().collect(),
            topic_queue_mapping_by_broker: self.mappings.get(topic).cloned(),
            ..TopicRouteData::default()
        };
        for broker in brokers {
            for address in broker.broker_addrs.values() {
                let key = Key { cluster: broker.cluster.clone(), address: address.clone() };
                if let Some(filters) = self.filters.get(&key) {
                    route.filter_server_table.insert(address.clone(), filters.clone());
                }
            }
            let mut broker = broker.clone();
            if rules.support_acting_master && !topic.starts_with(MEMBER_PREFIX) {
                show_acting_master(&mut broker, queues);
            }
            route.broker_datas.push(broker);
        }
        Some(route)
    }

    /// Takes the write permission from all topics of a broker name; how many those are.
    pub(crate) fn wipe_write(&mut self, name: &str) -> usize {
        self.each_queue(name, |queue| queue.perm &= !perm::WRITE)
    }

    /// Gives all topics of a broker name both permissions; how many those are.
    pub(crate) fn add_write(&mut self, name: &str) -> usize {
        self.each_queue(name, |queue| queue.perm = perm::READ | perm::WRITE)
    }

    fn each_queue(&mut self, name: &str, change: impl Fn(&mut QueueData)) -> usize {
        self.topics.values_mut().filter_map(|queues| queues.get_mut(name)).map(change).count()
    }

    /// Puts queues of a topic into the routes; nothing if one of their brokers is unknown.
    pub(crate) fn register_topic(&mut self, topic: Text, queues: Vec<QueueData>) -> bool {
        let known = queues.iter().all(|queue| self.brokers.contains_key(&queue.broker_name));
        if !known || queues.is_empty() {
            return false;
        }
        let brokers = self.topics.entry(topic).or_default();
        brokers.extend(queues.into_iter().map(|queue| (queue.broker_name.clone(), queue)));
        true
    }

    /// Takes a topic out of the routes, of one cluster or of all.
    pub(crate) fn delete_topic(&mut self, topic: &str, cluster: Option<&str>) {
        let Some(cluster) = cluster else {
            self.topics.remove(topic);
            self.mappings.remove(topic);
            return;
        };
        let (Some(queues), Some(names)) = (self.topics.get_mut(topic), self.clusters.get(cluster)) else {
            return;
        };
        queues.retain(|name, _| !names.contains(name));
        if queues.is_empty() {
            self.topics.remove(topic);
            self.mappings.remove(topic);
        }
    }

    /// All clusters and brokers.
    pub(crate) fn cluster_info(&self) -> ClusterInfo {
        ClusterInfo {
            broker_addr_table: self.brokers.clone(),
            cluster_addr_table: self
                .clusters
                .iter()
                .map(|(cluster, names)| (cluster.clone(), names.iter().cloned().collect()))
                .collect(),
        }
    }

    /// The brokers of one name.
    pub(crate) fn members(&self, cluster: &Text, name: &Text) -> BrokerMemberGroup {
        let broker = self.brokers.get(name).filter(|broker| broker.cluster == *cluster);
        BrokerMemberGroup {
            broker_addrs: broker.map(|broker| broker.broker_addrs.clone()).unwrap_or_default(),
            broker_name: name.clone(),
            cluster: cluster.clone(),
        }
    }

    /// All topics.
    pub(crate) fn topics(&self) -> Vec<Text> {
        self.topics.keys().cloned().collect()
    }

    /// All topics of a cluster.
    pub(crate) fn topics_of(&self, cluster: &str) -> Vec<Text> {
        let Some(names) = self.clusters.get(cluster) else { return Vec::new() };
        let of = |queues: &BTreeMap<Text, QueueData>| queues.keys().any(|name| names.contains(name));
        self.topics.iter().filter(|(_, queues)| of(queues)).map(|(topic, _)| topic.clone()).collect()
    }

    /// The topics whose flags, on their first broker, fit.
    pub(crate) fn topics_with(&self, fits: impl Fn(i32) -> bool) -> Vec<Text> {
        let first =
            |queues: &BTreeMap<Text, QueueData>| queues.values().next().map(|queue| queue.topic_sys_flag);
        self.topics
            .iter()
            .filter(|(_, queues)| first(queues).is_some_and(&fits))
            .map(|(topic, _)| topic.clone())
            .collect()
    }

    /// The names of clusters and brokers, which are topics of their own, and one broker's address.
    pub(crate) fn system_topics(&self) -> (Vec<Text>, Option<Text>) {
        let names: BTreeSet<&Text> =
            self.clusters.iter().flat_map(|(cluster, names)| std::iter::once(cluster).chain(names)).collect();
        let address = self.brokers.values().find_map(|broker| broker.broker_addrs.values().next());
        (names.into_iter().cloned().collect(), address.cloned())
    }
}

/// Keeps of a route the brokers of a zone, and those without a master, from which all zones consume.
pub(crate) fn keep_zone(route: &mut TopicRouteData, zone: &str) {
    let outside = |broker: &BrokerData| {
        let same = broker.zone_name.as_ref().is_some_and(|name| name.eq_ignore_ascii_case(zone));
        broker.broker_addrs.contains_key(&MASTER) && !same
    };
    let (dropped, kept) = std::mem::take(&mut route.broker_datas).into_iter().partition(outside);
    route.broker_datas = kept;
    let dropped: Vec<BrokerData> = dropped;
    for broker in dropped {
        route.queue_datas.retain(|queue| queue.broker_name != broker.broker_name);
        route.filter_server_table.retain(|address, _| !broker.broker_addrs.values().any(|of| of == address));
    }
}

/// Without a master, and if the queues are read only, the smallest id is shown as the master.
fn show_acting_master(broker: &mut BrokerData, queues: &BTreeMap<Text, QueueData>) {
    let writable = queues.get(&broker.broker_name).is_none_or(|queue| queue.perm & perm::WRITE != 0);
    if !broker.enable_acting_master || broker.broker_addrs.contains_key(&MASTER) || writable {
        return;
    }
    if let Some((_, address)) = broker.broker_addrs.pop_first() {
        broker.broker_addrs.insert(MASTER, address);
    }
}

fn queue_data(name: &Text, config: &TopicConfig, read_only: bool) -> QueueData {
    QueueData {
        broker_name: name.clone(),
        perm: if read_only { config.perm & !perm::WRITE } else { config.perm },
        read_queue_nums: config.read_queue_nums,
        topic_sys_flag: config.topic_sys_flag,
        write_queue_nums: config.write_queue_nums,
    }
}

/// Who is to be told: all, but of a new smallest id not that broker itself.
fn min_id_change(
    broker: &BrokerData,
    ha_address: Option<Text>,
    offline: Option<Text>,
) -> Option<MinIdChange> {
    let (min_id, min_address) = broker.broker_addrs.first_key_value()?;
    let tell = |address: &&Text| offline.is_some() || *address != min_address;
    Some(MinIdChange {
        name: broker.broker_name.clone(),
        min_id: *min_id,
        min_address: min_address.clone(),
        tell: broker.broker_addrs.values().filter(tell).cloned().collect(),
        offline_address: offline,
        ha_address,
    })
}

const MASTER: i64 = 0;

#[cfg(test)]
mod tests;
