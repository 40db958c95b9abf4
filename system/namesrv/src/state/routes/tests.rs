//! The route tables, stepped by hand.

use proptest::prelude::*;

use super::*;

const RULES: Rules = Rules { support_acting_master: false, delete_topic_with_broker_registration: false };
const ACTING: Rules = Rules { support_acting_master: true, ..RULES };

fn at(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn key(address: &str) -> Key {
    Key { cluster: "C".into(), address: address.into() }
}

/// The broker `name` with id 0 at the address `name:1`, with these topics.
fn broker(name: &str, topics: &[&str]) -> Registration {
    let config = |topic: &&str| {
        let config = TopicConfig {
            topic_name: (*topic).into(),
            read_queue_nums: 4,
            write_queue_nums: 4,
            ..TopicConfig::default()
        };
        (Text::from(*topic), config)
    };
    Registration {
        key: key(&format!("{name}:1")),
        name: name.into(),
        id: 0,
        ha_address: format!("{name}:2").into(),
        timeout: at(120),
        acting_master: None,
        zone: None,
        topics: TopicConfigSerializeWrapper {
            topic_config_table: topics.iter().map(config).collect(),
            ..TopicConfigSerializeWrapper::default()
        },
        filters: None,
    }
}

/// The same broker group, another member.
fn member(registration: Registration, id: i64) -> Registration {
    let address = format!("{}-{id}:1", registration.name);
    Registration {
        key: key(&address),
        id,
        ha_address: format!("ha-{id}").into(),
        acting_master: Some(true),
        ..registration
    }
}

fn versioned(mut registration: Registration, state_version: i64, counter: i64) -> Registration {
    registration.topics.data_version = DataVersion { counter, state_version, timestamp: 0 };
    registration
}

fn names(removed: &[Removed]) -> Vec<&str> {
    removed.iter().filter_map(|removed| removed.name.as_deref()).collect()
}

fn addresses(table: &Table, topic: &str, rules: Rules) -> Vec<(i64, String)> {
    let brokers = table.answer(topic, rules).map(|route| route.broker_datas).unwrap_or_default();
    brokers.iter().flat_map(|broker| &broker.broker_addrs).map(|(id, a)| (*id, a.to_string())).collect()
}

fn perms(table: &Table, topic: &str) -> Vec<i32> {
    table
        .answer(topic, RULES)
        .map(|route| route.queue_datas.iter().map(|q| q.perm).collect())
        .unwrap_or_default()
}

#[test]
fn a_broker_that_stays_silent_loses_its_topics() {
    let mut table = Table::default();
    table.register(broker("a", &["orders", "x"]), 1, at(0), RULES).unwrap();
    let millisecond = Duration::from_millis(1);
    for (now, silent) in [(at(119), false), (at(120), false), (at(120) + millisecond, true), (at(121), false)]
    {
        assert_eq!(!table.expire(now).is_empty(), silent, "{now:?}");
    }
    assert_eq!(table.answer("orders", RULES), None);
    assert_eq!(table.cluster_info(), ClusterInfo::default());
}

#[test]
fn the_limit_is_the_brokers_own_and_counts_from_its_last_sign_of_life() {
    let mut table = Table::default();
    table.register(Registration { timeout: at(10), ..broker("a", &["x", "y"]) }, 1, at(0), RULES).unwrap();
    table.register(broker("b", &["x", "y"]), 2, at(0), RULES).unwrap();
    table.refresh(&key("a:1"), 1, at(7));
    table.refresh(&key("none:1"), 1, at(7));
    assert_eq!(names(&table.expire(at(17))), [""; 0]);
    let removed = table.expire(at(18));
    assert_eq!((names(&removed), removed[0].connection), (vec!["a"], Some(1)));
    assert_eq!(addresses(&table, "x", RULES), [(0, "b:1".to_owned())]);
}

#[test]
fn what_is_older_than_the_last_registration_removes_nothing() {
    let mut table = Table::default();
    table.register(broker("a", &["x", "y"]), 1, at(0), RULES).unwrap();
    table.register(broker("a", &["x", "y"]), 2, at(1), RULES).unwrap();
    // The first connection ends late: the broker is heard on the second.
    let spoke_for = table.close(1);
    assert_eq!(spoke_for, [key("a:1")].into());
    assert!(!table.was_heard_on(&key("a:1"), 1));
    assert_eq!(table.unregister(&key("a:1"), 1), None);
    assert!(table.answer("x", RULES).is_some());
    assert!(table.was_heard_on(&key("a:1"), 2));
    // A good-bye on a newer connection is one, though the old connection is not known to be gone.
    assert!(table.unregister(&key("a:1"), 3).is_some());
    assert_eq!(table.answer("x", RULES), None);
    assert_eq!(table.unregister(&key("a:1"), 3), None);
}

#[test]
fn what_comes_late_on_the_connection_before_says_nothing() {
    let mut table = Table::default();
    table.register(versioned(broker("a", &["x", "y"]), 0, 2), 1, at(0), RULES).unwrap();
    table.register(versioned(broker("a", &["x", "y"]), 0, 2), 2, at(1), RULES).unwrap();
    assert!(table.register(versioned(broker("a", &["x", "z"]), 0, 1), 1, at(2), RULES).unwrap().overruled);
    assert!(!table.refresh(&key("a:1"), 1, at(2)));
    assert!(table.was_heard_on(&key("a:1"), 2), "the broker would go when the first connection closes");
    assert!(table.answer("y", RULES).is_some());
    assert_eq!(table.answer("z", RULES), None);
    assert!(table.refresh(&key("a:1"), 2, at(3)));
    assert!(table.refresh(&key("a:1"), 3, at(3)));
    // The newer connection is gone, and the broker with it.
    table.remove(&key("a:1"));
    assert!(!table.register(broker("a", &["x", "y"]), 1, at(4), RULES).unwrap().overruled);
}

#[test]
fn a_first_registration_with_one_topic_is_refused() {
    let mut table = Table::default();
    assert_eq!(table.register(broker("a", &["x"]), 1, at(0), RULES), Err(Incomplete));
    assert_eq!(table.cluster_info(), ClusterInfo::default());
    table.register(broker("a", &["x", "y"]), 1, at(0), RULES).unwrap();
    table.register(versioned(broker("a", &["z"]), 0, 2), 1, at(1), RULES).unwrap();
    assert_eq!(table.topics(), ["x", "y", "z"]);
}

#[test]
fn queues_change_with_the_version_and_missing_ones_are_added_without_it() {
    let mut table = Table::default();
    table.register(broker("a", &["x", "y"]), 1, at(0), RULES).unwrap();
    assert_eq!((table.wipe_write("a"), perms(&table, "x")), (2, vec![4]));
    table.register(broker("a", &["x", "y", "z"]), 1, at(1), RULES).unwrap();
    assert_eq!((perms(&table, "x"), perms(&table, "z")), (vec![4], vec![6]));
    assert_eq!((table.add_write("a"), perms(&table, "x")), (3, vec![6]));
    table.wipe_write("a");
    table.register(versioned(broker("a", &["x", "y"]), 0, 1), 1, at(2), RULES).unwrap();
    assert_eq!((perms(&table, "x"), perms(&table, "z")), (vec![6], vec![4]));
    let rules = Rules { delete_topic_with_broker_registration: true, ..RULES };
    table.register(versioned(broker("a", &["x", "y"]), 0, 2), 1, at(3), rules).unwrap();
    assert_eq!(table.topics(), ["x", "y"]);
    assert_eq!(table.version(&key("a:1")).map(|version| version.counter), Some(2));
}

#[test]
fn a_slave_learns_its_master_and_does_not_replace_it() {
    let mut table = Table::default();
    table.register(broker("a", &["x", "y"]), 1, at(0), RULES).unwrap();
    let slave = Registration { key: key("s:1"), id: 1, ..broker("a", &["x", "q"]) };
    let answer = table.register(slave, 2, at(1), RULES).unwrap();
    assert_eq!((answer.master_address.as_deref(), answer.ha_address.as_deref()), (Some("a:1"), Some("a:2")));
    assert_eq!(addresses(&table, "x", RULES), [(0, "a:1".to_owned()), (1, "s:1".to_owned())]);
    assert_eq!(table.answer("q", RULES), None, "a slave brings no topics");
    // The slave becomes master under its address: one entry is left.
    table.unregister(&key("a:1"), 1).unwrap();
    let promoted = Registration { key: key("s:1"), id: 0, ..broker("a", &["x", "y"]) };
    table.register(promoted, 2, at(2), RULES).unwrap();
    assert_eq!(addresses(&table, "x", RULES), [(0, "s:1".to_owned())]);
}

#[test]
fn a_registration_that_was_held_up_does_not_overrule_a_newer_one() {
    let mut table = Table::default();
    let topics = |names: &[&str], counter| versioned(broker("a", names), 0, counter);
    table.register(topics(&["x", "y", "new"], 2), 2, at(0), RULES).unwrap();
    // It was asked for the version first, and that was held up too.
    assert!(!table.refresh(&key("a:1"), 1, at(1)));
    assert!(table.register(topics(&["x", "y"], 1), 1, at(1), RULES).unwrap().overruled);
    assert_eq!(table.version(&key("a:1")).unwrap().counter, 2);
    // One that was started anew counts anew, and comes on a connection of its own.
    assert!(!table.register(topics(&["x", "y"], 1), 3, at(2), RULES).unwrap().overruled);
    assert_eq!(table.version(&key("a:1")).unwrap().counter, 1);
}

#[test]
fn of_two_masters_the_one_of_the_newer_term_stays() {
    let mut table = Table::default();
    table.register(versioned(broker("a", &["x", "y"]), 5, 0), 1, at(0), RULES).unwrap();
    let old = || Registration { key: key("old:1"), ..broker("a", &["x", "y"]) };
    assert!(table.register(versioned(old(), 4, 9), 2, at(1), RULES).unwrap().overruled);
    assert_eq!(addresses(&table, "x", RULES), [(0, "a:1".to_owned())]);
    assert!(!table.register(versioned(old(), 5, 0), 2, at(2), RULES).unwrap().overruled);
    assert_eq!(addresses(&table, "x", RULES), [(0, "old:1".to_owned())]);
}

#[test]
fn a_broker_that_changed_its_name_or_cluster_is_in_one_place() {
    let mut table = Table::default();
    table.register(broker("a", &["x", "y"]), 1, at(0), RULES).unwrap();
    table.register(Registration { key: key("a:1"), ..broker("b", &["x", "y"]) }, 1, at(1), RULES).unwrap();
    let info = table.cluster_info();
    assert_eq!((info.broker_addr_table.len(), &info.cluster_addr_table["C"]), (1, &vec!["b".into()]));
    let moved = Key { cluster: "D".into(), address: "a:1".into() };
    table.register(Registration { key: moved.clone(), ..broker("b", &["x", "y"]) }, 1, at(2), RULES).unwrap();
    assert_eq!(table.cluster_info().cluster_addr_table.keys().collect::<Vec<_>>(), ["D"]);
    table.remove(&moved).unwrap();
    table.remove(&key("a:1"));
    assert_eq!((table.cluster_info(), table.topics().len()), (ClusterInfo::default(), 0));
}

#[test]
fn without_master_the_smallest_id_acts_for_it_read_only() {
    let mut table = Table::default();
    let master = || Registration { acting_master: Some(true), ..broker("a", &["x", "y"]) };
    table.register(master(), 1, at(0), ACTING).unwrap();
    let second = table.register(member(broker("a", &["x", "y"]), 2), 2, at(0), ACTING).unwrap();
    assert_eq!(second.min_id, None, "a greater id is no news");
    table.register(member(broker("a", &["x", "y"]), 1), 3, at(0), ACTING).unwrap();

    let removed = table.unregister(&key("a:1"), 1).unwrap();
    let told = removed.min_id.unwrap();
    assert_eq!((told.min_id, &*told.min_address, told.ha_address.as_deref()), (1, "a-1:1", Some("ha-1")));
    assert_eq!((told.offline_address.as_deref(), told.tell.len()), (Some("a:1"), 2));
    assert_eq!(perms(&table, "x"), [4]);
    assert_eq!(addresses(&table, "x", ACTING), [(0, "a-1:1".to_owned()), (2, "a-2:1".to_owned())]);
    assert_eq!(addresses(&table, "x", RULES)[0].0, 1);

    let back = table.register(master(), 4, at(1), ACTING).unwrap().min_id.unwrap();
    assert_eq!((back.min_id, back.offline_address, back.tell.len()), (0, None, 2));
    assert_eq!(perms(&table, "x"), [6]);
}

#[test]
fn routes_show_filters_zones_and_mappings() {
    let mut table = Table::default();
    let mut a = Registration {
        zone: Some("z1".into()),
        filters: Some(vec!["f:1".into()]),
        ..broker("a", &["x", "y"])
    };
    let mapping = TopicQueueMappingInfo {
        broker_name: "a".into(),
        topic: "x".into(),
        ..TopicQueueMappingInfo::default()
    };
    a.topics.topic_queue_mapping_info_map = Some([("x".into(), mapping)].into());
    table.register(a, 1, at(0), RULES).unwrap();
    table
        .register(Registration { zone: Some("Z2".into()), ..broker("b", &["x", "y"]) }, 2, at(0), RULES)
        .unwrap();
    let mut route = table.answer("x", RULES).unwrap();
    assert_eq!(route.filter_server_table["a:1"], ["f:1"]);
    assert!(route.topic_queue_mapping_by_broker.clone().unwrap().contains_key("a"));
    assert_eq!(table.answer("y", RULES).unwrap().topic_queue_mapping_by_broker, None);
    keep_zone(&mut route, "z2");
    assert_eq!((route.broker_datas.len(), route.queue_datas.len()), (1, 1));
    assert_eq!((&*route.queue_datas[0].broker_name, route.filter_server_table.len()), ("b", 0));

    table
        .register(Registration { filters: Some(vec![]), ..broker("a", &["x", "y"]) }, 1, at(1), RULES)
        .unwrap();
    assert!(table.answer("x", RULES).unwrap().filter_server_table.is_empty());
}

#[test]
fn tools_list_and_change_topics() {
    let mut table = Table::default();
    table.register(broker("a", &["x", "y"]), 1, at(0), RULES).unwrap();
    let other = Key { cluster: "D".into(), address: "b:1".into() };
    table.register(Registration { key: other, ..broker("b", &["y", "z"]) }, 2, at(0), RULES).unwrap();
    assert_eq!(
        (table.topics_of("C"), table.topics_of("D")),
        (vec!["x".into(), "y".into()], vec!["y".into(), "z".into()])
    );
    assert_eq!(
        table.system_topics(),
        (vec!["C".into(), "D".into(), "a".into(), "b".into()], Some("a:1".into()))
    );
    assert_eq!(table.members(&"C".into(), &"a".into()).broker_addrs, [(0, "a:1".into())].into());
    assert!(table.members(&"D".into(), &"a".into()).broker_addrs.is_empty());

    let queue =
        |name: &str| QueueData { broker_name: name.into(), topic_sys_flag: 1, ..QueueData::default() };
    assert!(!table.register_topic("n".into(), vec![queue("a"), queue("unknown")]));
    assert!(table.register_topic("n".into(), vec![queue("a")]));
    assert_eq!(table.topics_with(|flag| flag & 1 != 0), ["n"]);

    table.delete_topic("y", Some("C"));
    table.delete_topic("y", Some("none"));
    assert_eq!(addresses(&table, "y", RULES), [(0, "b:1".to_owned())]);
    table.delete_topic("y", None);
    assert_eq!(table.answer("y", RULES), None);
}

/// What the table should know of a broker, kept the slow and plain way.
#[derive(Clone, Copy)]
struct Plain {
    last: u64,
    connection: u64,
}

proptest! {
    #[test]
    fn live_brokers_are_listed_and_others_are_not(steps in prop::collection::vec((0u8..5, 0usize..3, 1u64..5, 0u64..70), 1..60)) {
        let mut table = Table::default();
        let mut plain = BTreeMap::<usize, Plain>::new();
        let mut now = 0;
        for (step, broker_number, connection, pause) in steps {
            now += pause;
            let name = ["a", "b", "c"][broker_number];
            let key = key(&format!("{name}:1"));
            match step {
                0 => {
                    table.register(broker(name, &["x", name]), connection, at(now), RULES).unwrap();
                    let known = plain.entry(broker_number).or_insert(Plain { last: now, connection });
                    if known.connection <= connection {
                        *known = Plain { last: now, connection };
                    }
                }
                1 => {
                    table.refresh(&key, connection, at(now));
                    if let Some(known) = plain.get_mut(&broker_number).filter(|known| known.connection <= connection) {
                        *known = Plain { last: now, connection };
                    }
                }
                2 => {
                    table.unregister(&key, connection);
                    if plain.get(&broker_number).is_some_and(|known| known.connection <= connection) {
                        plain.remove(&broker_number);
                    }
                }
                3 => {
                    for key in table.close(connection) {
                        if table.was_heard_on(&key, connection) {
                            table.remove(&key);
                        }
                    }
                    plain.retain(|_, known| known.connection != connection);
                }
                _ => {
                    table.expire(at(now));
                    plain.retain(|_, known| known.last + 120 >= now);
                }
            }
            let expected: Vec<String> = plain.keys().map(|n| ["a:1", "b:1", "c:1"][*n].to_owned()).collect();
            let listed: Vec<String> = addresses(&table, "x", RULES).into_iter().map(|(_, address)| address).collect();
            prop_assert_eq!(&listed, &expected);
            let info = table.cluster_info();
            prop_assert_eq!(info.cluster_addr_table.get("C").map_or(0, Vec::len), expected.len());
            prop_assert_eq!(table.topics().len(), if expected.is_empty() { 0 } else { expected.len() + 1 });
        }
    }
}
