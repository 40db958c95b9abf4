//! Where topics live: the routes that name servers told, and the broker addresses in them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::allocate::sort_queues;
use crate::{MessageQueue, Text};

/// A topic's route, brought into one order so that equal routes compare equal.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Route {
    /// Queues by broker name.
    pub(crate) queues: BTreeMap<Text, Queues>,
    /// Addresses by broker name and broker id.
    pub(crate) brokers: BTreeMap<Text, BTreeMap<i64, Text>>,
    /// `brokerA:4;brokerB:8` for a topic whose order over brokers matters.
    pub(crate) order: Option<String>,
}

/// What one broker offers of a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Queues {
    pub(crate) read: i32,
    pub(crate) write: i32,
    pub(crate) permission: i32,
}

impl Route {
    /// The queues a producer may write to: those of brokers with a master.
    fn writable(&self, topic: &Text) -> Vec<MessageQueue> {
        if let Some(order) = self.order.as_deref().filter(|o| !o.is_empty()) {
            return ordered(topic, order);
        }
        let has_master = |broker: &Text| self.brokers.get(broker).is_some_and(|b| b.contains_key(&MASTER));
        let usable = self.queues.iter().filter(|(b, q)| q.permission & WRITE != 0 && has_master(b));
        let mut all = numbered(topic, usable.map(|(broker, queues)| (broker, queues.write)));
        sort_queues(&mut all);
        all
    }

    /// The queues a consumer reads.
    fn readable(&self, topic: &Text) -> Vec<MessageQueue> {
        let usable = self.queues.iter().filter(|(_, q)| q.permission & READ != 0);
        let mut all = numbered(topic, usable.map(|(broker, queues)| (broker, queues.read)));
        sort_queues(&mut all);
        all
    }

    /// The route of a topic that is to be created on its first message, made from that of the template topic.
    pub(crate) fn for_new_topic(mut self, queue_count: i32) -> Self {
        for queues in self.queues.values_mut() {
            let count = queue_count.min(queues.read);
            (queues.read, queues.write) = (count, count);
        }
        self
    }
}

fn numbered<'a>(topic: &Text, brokers: impl Iterator<Item = (&'a Text, i32)>) -> Vec<MessageQueue> {
    let queues = brokers.flat_map(|(broker, count)| (0..count).map(move |id| (broker, id)));
    queues.map(|(broker, id)| MessageQueue { topic: topic.clone(), broker: broker.clone(), id }).collect()
}

fn ordered(topic: &Text, order: &str) -> Vec<MessageQueue> {
    let brokers = order.split(';').filter_map(|part| part.split_once(':'));
    let queues =
        brokers.filter_map(|(broker, count)| Some((Text::from(broker), count.trim().parse::<i32>().ok()?)));
    queues.flat_map(|(broker, count)| numbered(topic, std::iter::once((&broker, count)))).collect()
}

/// All routes this client asked for.
#[derive(Debug, Default)]
pub(crate) struct Routes {
    topics: BTreeMap<Text, Known>,
    /// Also of brokers that left all routes: the name servers may have lost sight of one that lives, and
    /// who gives its queues up still has commit points to tell.
    brokers: BTreeMap<Text, BTreeMap<i64, Text>>,
}

#[derive(Debug)]
struct Known {
    route: Route,
    writable: Arc<[MessageQueue]>,
    readable: Arc<[MessageQueue]>,
    /// The readable queues when the topic was first seen: others were added since.
    first: BTreeSet<MessageQueue>,
}

impl Routes {
    /// Takes over a route; true when it differs from the one before.
    pub(crate) fn update(&mut self, topic: &Text, route: Route) -> bool {
        if self.topics.get(topic).is_some_and(|k| k.route == route) {
            return false;
        }
        self.brokers.extend(route.brokers.clone());
        let readable: Arc<[MessageQueue]> = route.readable(topic).into();
        let first = match self.topics.get(topic) {
            Some(known) if !known.first.is_empty() => known.first.clone(),
            _ => readable.iter().cloned().collect(),
        };
        let known = Known { writable: route.writable(topic).into(), readable, first, route };
        self.topics.insert(topic.clone(), known);
        true
    }

    /// The queues to write to; empty when the topic has no route yet.
    pub(crate) fn writable(&self, topic: &str) -> Arc<[MessageQueue]> {
        self.topics.get(topic).map_or_else(|| Vec::new().into(), |k| k.writable.clone())
    }

    /// The queues to read; `None` when the topic has no route yet.
    pub(crate) fn readable(&self, topic: &str) -> Option<Arc<[MessageQueue]>> {
        self.topics.get(topic).map(|k| k.readable.clone())
    }

    /// True for a queue that appeared after this client first saw its topic.
    pub(crate) fn was_added(&self, queue: &MessageQueue) -> bool {
        self.topics.get(&queue.topic).is_some_and(|k| !k.first.contains(queue))
    }

    /// The names of the brokers that have a topic.
    pub(crate) fn brokers_of(&self, topic: &str) -> Vec<Text> {
        self.topics.get(topic).map(|k| k.route.brokers.keys().cloned().collect()).unwrap_or_default()
    }

    /// The topics asked for so far.
    pub(crate) fn topics(&self) -> Vec<Text> {
        self.topics.keys().cloned().collect()
    }

    /// The address of a broker's master.
    pub(crate) fn master(&self, broker: &str) -> Option<Text> {
        self.brokers.get(broker)?.get(&MASTER).cloned()
    }

    /// The name of the broker with an address.
    pub(crate) fn broker_at(&self, address: &str) -> Option<Text> {
        let mut brokers = self.brokers.iter();
        brokers.find(|(_, replicas)| replicas.values().any(|at| at == address)).map(|(name, _)| name.clone())
    }

    /// The address of the wanted replica, else of the next one, else of any; and whether it is the master.
    pub(crate) fn for_reading(&self, broker: &str, wanted: i64) -> Option<(Text, bool)> {
        let replicas = self.brokers.get(broker)?;
        let next = if wanted == MASTER { None } else { replicas.get_key_value(&(wanted + 1)) };
        let found = replicas.get_key_value(&wanted).or(next).or_else(|| replicas.first_key_value());
        found.map(|(id, address)| (address.clone(), *id == MASTER))
    }

    /// Every address of some route; of masters only when `masters` says so.
    pub(crate) fn addresses(&self, masters: bool) -> BTreeSet<Text> {
        let replicas = self.topics.values().flat_map(|known| known.route.brokers.values()).flatten();
        replicas.filter(|(id, _)| !masters || **id == MASTER).map(|(_, address)| address.clone()).collect()
    }
}

pub(crate) const MASTER: i64 = 0;
const READ: i32 = 4;
const WRITE: i32 = 2;

#[cfg(test)]
mod tests {
    use super::*;

    fn route(brokers: &[(&str, i32, i32, i32)]) -> Route {
        let queues = brokers.iter().map(|(name, read, write, permission)| {
            (Text::from(*name), Queues { read: *read, write: *write, permission: *permission })
        });
        let addresses = brokers.iter().map(|(name, ..)| {
            (
                Text::from(*name),
                BTreeMap::from([(0, Text::from(format!("{name}:1"))), (1, format!("{name}:2").into())]),
            )
        });
        Route { queues: queues.collect(), brokers: addresses.collect(), order: None }
    }

    fn ids(queues: &[MessageQueue]) -> Vec<String> {
        queues.iter().map(|q| format!("{}{}", q.broker, q.id)).collect()
    }

    #[test]
    fn permissions_counts_and_masters_decide_which_queues_there_are() {
        let topic = Text::from("t");
        let mut with = route(&[("b", 1, 2, 6), ("a", 2, 1, 6), ("c", 1, 1, 4), ("d", 1, 1, 2)]);
        assert_eq!(ids(&with.writable(&topic)), ["a0", "b0", "b1", "d0"]);
        assert_eq!(ids(&with.readable(&topic)), ["a0", "a1", "b0", "c0"]);
        with.brokers.get_mut("b").unwrap().remove(&0);
        assert_eq!(ids(&with.writable(&topic)), ["a0", "d0"]);
        assert_eq!(ids(&with.readable(&topic)), ["a0", "a1", "b0", "c0"]);
        with.order = Some("z:2;a:1".into());
        assert_eq!(ids(&with.writable(&topic)), ["z0", "z1", "a0"]);
    }

    #[test]
    fn queues_that_come_later_are_known_as_added() {
        let (mut routes, topic) = (Routes::default(), Text::from("t"));
        assert!(routes.update(&topic, route(&[("a", 0, 0, 6)])), "a topic without queues is not yet there");
        assert!(routes.update(&topic, route(&[("a", 2, 2, 6)])));
        assert!(!routes.update(&topic, route(&[("a", 2, 2, 6)])));
        assert!(routes.update(&topic, route(&[("a", 3, 3, 6), ("b", 1, 1, 6)])));
        let added: Vec<_> = routes.readable("t").unwrap().iter().map(|q| routes.was_added(q)).collect();
        assert_eq!(added, [false, false, true, true]);
    }

    #[test]
    fn a_template_route_has_at_most_the_wanted_queues() {
        let made = route(&[("a", 8, 8, 7), ("b", 2, 2, 7)]).for_new_topic(4);
        assert_eq!(ids(&made.writable(&"t".into())), ["a0", "a1", "a2", "a3", "b0", "b1"]);
    }

    #[test]
    fn a_broker_that_left_all_routes_gets_no_heartbeats_but_can_be_told_the_last_offsets() {
        let (mut routes, topic) = (Routes::default(), Text::from("t"));
        routes.update(&topic, route(&[("a", 1, 1, 6), ("b", 1, 1, 6)]));
        assert_eq!(routes.addresses(true), ["a:1", "b:1"].map(Text::from).into());
        routes.update(&topic, route(&[("b", 1, 1, 6)]));
        assert_eq!(routes.addresses(false), ["b:1", "b:2"].map(Text::from).into());
        assert_eq!(routes.for_reading("a", MASTER), Some(("a:1".into(), true)));
    }

    #[test]
    fn a_reader_goes_where_it_was_sent_if_it_can() {
        let (mut routes, topic) = (Routes::default(), Text::from("t"));
        let mut with = route(&[("a", 1, 1, 6)]);
        routes.update(&topic, with.clone());
        assert_eq!(routes.for_reading("a", 1), Some(("a:2".into(), false)));
        assert_eq!(routes.for_reading("a", 0), Some(("a:1".into(), true)));
        assert_eq!(routes.for_reading("a", 5), Some(("a:1".into(), true)));
        with.brokers.get_mut("a").unwrap().remove(&0);
        routes = Routes::default();
        routes.update(&topic, with);
        assert_eq!(routes.for_reading("a", 0), Some(("a:2".into(), false)));
        assert_eq!(routes.for_reading("x", 0), None);
    }
}
