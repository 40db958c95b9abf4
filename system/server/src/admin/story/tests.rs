//! Stories of messages in every state, word for word.

use std::collections::BTreeMap;

use bytes::Bytes;
use protocol::{Text, name, properties::names};

use super::*;
use crate::admin::{
    calls::{Known, Stored},
    facts::{Case, Progress, Transaction, halves},
};

const BROKER: Text = Text::from_static("10.0.0.1:10911");
/// When all was sent; the stories are told at NOW.
const SENT: i64 = 1_700_000_000_000;
const NOW: i64 = SENT + 60_000;

fn record(topic: &str, offset: u64, after_ms: i64, marks: &[(&str, &str)]) -> Stored {
    let mut properties: BTreeMap<String, String> =
        marks.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    properties.insert(names::UNIQ_KEY.to_owned(), "U1".to_owned());
    Stored {
        broker: BROKER,
        id: format!("id-of-{}", offset * 1000),
        topic: topic.to_owned(),
        queue: 0,
        offset,
        position: offset * 1000,
        stored_ms: SENT + after_ms,
        born_ms: SENT - 2,
        born_host: "10.0.0.9:4711".parse().expect("an address"),
        times: 0,
        prepared: 0,
        committed: false,
        size_bytes: 8,
        body: Bytes::from_static(b"a coffee"),
        properties,
    }
}

fn half(offset: u64, after_ms: i64, more: &[(&str, &str)]) -> Stored {
    let marks = [
        &[(names::REAL_TOPIC, "orders"), (names::REAL_QUEUE_ID, "3"), (names::PRODUCER_GROUP, "shop")],
        more,
    ];
    record(name::HALF_TOPIC, offset, after_ms, &marks.concat())
}

fn waiting(level: i32, offset: u64, after_ms: i64, target: &str) -> Stored {
    let marks = [(names::REAL_TOPIC, target), (names::REAL_QUEUE_ID, "2"), (names::RETRY_TOPIC, "orders")];
    Stored { queue: level - 1, ..record(name::SCHEDULE_TOPIC, offset, after_ms, &marks) }
}

fn case(records: Vec<Stored>) -> Case {
    let runtime =
        [("bootTimestamp", "0"), ("halfMessagesUndecided", "1"), ("scheduleMessageOffset_3", "5,9")];
    let runtime = runtime.map(|(key, value)| (Text::from(key), Text::from(value))).into();
    let known = Known { config: BTreeMap::new(), runtime };
    Case {
        now_ms: NOW,
        topic: "orders".to_owned(),
        key: Some("U1".to_owned()),
        records,
        brokers: BTreeMap::from([(BROKER, ("broker-a (10.0.0.1:10911)".to_owned(), known))]),
        ..Case::default()
    }
}

fn transaction(copies: Vec<Stored>, producers: usize, end: Option<Stored>) -> Case {
    let root = i64::try_from(copies[0].offset).expect("a small number");
    let t = Transaction {
        broker: BROKER,
        root,
        copies: copies.clone(),
        end,
        producers: Some(producers),
        done: Some(0),
    };
    Case { transactions: vec![t], ..case(copies) }
}

/// The lines behind the list of what is stored.
fn end_of(case: &Case) -> String {
    let told = tell(case);
    let at = told.find("\nNow:").unwrap_or_else(|| panic!("what is now is told: {told}"));
    told[at + 1..].to_owned()
}

#[test]
fn a_half_message_is_explained_from_its_first_second_to_its_end() {
    let copies = || {
        let counted =
            |checks| [(names::TRANSACTION_CHECK_TIMES, checks), (names::TRANSACTION_PREPARED_OFFSET, "7")];
        vec![half(7, 0, &[]), half(8, 6000, &counted("1")), half(9, 36_000, &counted("2"))]
    };
    insta::assert_snapshot!("half_checked", tell(&transaction(copies(), 2, None)));
    insta::assert_snapshot!("half_new", end_of(&transaction(vec![half(7, 59_000, &[])], 1, None)));
    insta::assert_snapshot!("half_without_producer", end_of(&transaction(copies(), 0, None)));
    let mut of_java = transaction(copies(), 0, None);
    of_java.brokers.get_mut(&BROKER).expect("the broker").1.runtime.clear();
    insta::assert_snapshot!("half_without_producer_java", end_of(&of_java));

    let end = record(name::OP_HALF_TOPIC, 1, 50_000, &[]);
    insta::assert_snapshot!("half_rolled_back", end_of(&transaction(copies(), 2, Some(end.clone()))));
    let mut committed = transaction(copies(), 2, Some(end));
    let message = Stored { committed: true, prepared: 8000, queue: 3, ..record("orders", 20, 50_000, &[]) };
    committed.records.push(message);
    insta::assert_snapshot!("half_committed", end_of(&committed));
    let mut given_up = transaction(copies(), 2, None);
    let marks = [(names::REAL_TOPIC, "orders")];
    given_up
        .records
        .push(Stored { prepared: 9000, ..record(name::TRANS_CHECK_MAX_TIME_TOPIC, 0, 55_000, &marks) });
    insta::assert_snapshot!("half_given_up", end_of(&given_up));
    let mut passed = transaction(copies(), 2, None);
    passed.transactions[0].done = Some(10);
    insta::assert_snapshot!("half_passed", end_of(&passed));
}

#[test]
fn copies_belong_to_what_they_name_or_to_their_key() {
    let named = [(names::TRANSACTION_PREPARED_OFFSET, "7")];
    let mut case = case(vec![half(7, 0, &[]), half(8, 6000, &named), half(9, 7000, &[])]);
    let offsets = |case: &Case| -> Vec<Vec<u64>> {
        halves(case).values().map(|copies| copies.iter().map(|copy| copy.offset).collect()).collect()
    };
    assert_eq!(offsets(&case), [vec![7, 8], vec![9]], "the producer sent it twice");
    case.brokers.get_mut(&BROKER).expect("the broker").1.runtime.clear();
    assert_eq!(offsets(&case), [vec![7, 8, 9]], "a broker that does not tell");
}

#[test]
fn the_last_check_and_a_restart_are_told() {
    let last = [(names::TRANSACTION_CHECK_TIMES, "15"), (names::TRANSACTION_PREPARED_OFFSET, "7")];
    let told = end_of(&transaction(vec![half(9, 50_000, &last)], 1, None));
    assert!(
        told.contains("Next: it is given up, not before 2023-11-14 22:14:40.000 UTC (in 20 s), unless"),
        "{told}"
    );
    let mut restarted = transaction(vec![half(9, 0, &[])], 1, None);
    let runtime = &mut restarted.brokers.get_mut(&BROKER).expect("the broker").1.runtime;
    runtime.insert("bootTimestamp".into(), (NOW - 1000).to_string().into());
    let told = end_of(&restarted);
    assert!(
        told.contains("is asked for the outcome, not before 2023-11-14 22:14:25.000 UTC (in 5 s)"),
        "{told}"
    );
}

#[test]
fn a_delayed_message_is_explained_until_it_is_delivered() {
    insta::assert_snapshot!("delayed", tell(&case(vec![waiting(3, 6, 55_000, "orders")])));
    let mut late = case(vec![waiting(3, 6, 0, "orders")]);
    late.heads.insert((BROKER, 2), waiting(3, 5, 0, "payments"));
    insta::assert_snapshot!("delayed_behind_another", end_of(&late));
    let delivered = Stored { prepared: -1 - ((2 << 48) + 4), ..record("orders", 30, 10_003, &[]) };
    let other = record("orders", 29, 10_001, &[]);
    insta::assert_snapshot!("delivered", end_of(&case(vec![waiting(3, 4, 0, "orders"), other, delivered])));
    insta::assert_snapshot!("delayed_lost", end_of(&case(vec![waiting(3, 4, 0, "orders")])));
}

#[test]
fn tries_are_explained_for_each_group() {
    let mut retried = vec![record("orders", 20, 0, &[])];
    retried.push(Stored { times: 1, ..waiting(3, 6, 55_000, "%RETRY%kitchen") });
    let marks = [(names::RETRY_TOPIC, "orders"), (names::ORIGIN_MESSAGE_ID, "id-of-20000")];
    retried.push(Stored { times: 17, ..record("%DLQ%bar", 0, 56_000, &marks) });
    retried.push(Stored { times: 2, ..record("%RETRY%shop", 4, 57_000, &marks) });
    let mut case = case(retried);
    case.most_tries = BTreeMap::from([("kitchen".to_owned(), 16), ("shop".to_owned(), 2)]);
    let at = |group: &str, topic: &str, offset| Progress {
        group: group.to_owned(),
        broker: BROKER,
        topic: topic.to_owned(),
        queue: 0,
        offset,
    };
    case.progress = vec![
        at("kitchen", "orders", Some(21)),
        at("new", "orders", None),
        at("slow", "orders", Some(18)),
        at("shop", "%RETRY%shop", Some(4)),
    ];
    insta::assert_snapshot!("tries", tell(&case));
    case.progress[3].offset = Some(5);
    case.notes.push("what broker-b has of it is not known: it does not answer".to_owned());
    let told = end_of(&case);
    assert!(told.contains("group shop failed 2 times and is past retry 2 of 2"), "{told}");
    assert!(
        told.ends_with("Not known:\n  what broker-b has of it is not known: it does not answer"),
        "{told}"
    );
}
