//! The lenient reader and the writers' dialects of JSON.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde::{Deserialize, Serialize};

use super::*;

#[derive(Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Queue {
    broker_name: String,
    queue_id: i32,
}

#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Body {
    by_number: BTreeMap<i64, String>,
    by_queue: BTreeMap<Queue, i64>,
    count: i32,
    list: Vec<i64>,
    on: bool,
    rate: f64,
    text: Option<String>,
    version: Option<Queue>,
}

fn body() -> Body {
    Body {
        by_number: [(0, "a".to_owned()), (-1, "b\"\\\u{1}ü".to_owned())].into(),
        by_queue: [(Queue { broker_name: "x".into(), queue_id: 1 }, 5)].into(),
        rate: 0.5,
        on: true,
        ..Body::default()
    }
}

#[test]
fn both_dialects_keep_objects_as_names_and_leave_nulls_out() {
    let standard = String::from_utf8(to_vec(&body())).unwrap();
    assert_eq!(
        standard,
        r#"{"byNumber":{"-1":"b\"\\\u0001ü","0":"a"},"byQueue":{{"brokerName":"x","queueId":1}:5},"count":0,"list":[],"on":true,"rate":0.5}"#
    );
    let old = String::from_utf8(to_vec_in(&body(), Dialect::UnquotedIntegers)).unwrap();
    assert!(old.starts_with(r#"{"byNumber":{-1:"b"#), "{old}");
    for written in [standard, old] {
        assert_eq!(from_slice::<Body>(written.as_bytes()), Ok(body()));
    }
}

#[test]
fn what_java_and_go_write_is_understood() {
    let read: Body = from_slice(
        br#" { "byNumber":{0:"a", "-1" : 7}, byQueue:{{"queueId":"1","brokerName":"x","more":{0:[{}]}}:"5"},
        "list":["1",2,3.0,null],"on":"TRUE","rate":"0.25","text":12,"version":null,"count":1,"count":"2","unknown":{{}:{}},} "#,
    )
    .unwrap();
    assert_eq!(read.by_number, [(0, "a".to_owned()), (-1, "7".to_owned())].into());
    assert_eq!(read.by_queue, [(Queue { broker_name: "x".into(), queue_id: 1 }, 5)].into());
    assert_eq!((read.list, read.on, read.rate), (vec![1, 2, 3, 0], true, 0.25));
    assert_eq!((read.text.as_deref(), read.version, read.count), (Some("12"), None, 2));
    let empty: Body =
        from_slice(br#"{"byNumber":null,"list":null,"count":null,"on":null,"rate":null}"#).unwrap();
    assert_eq!(empty, Body::default());
}

#[test]
fn references_are_resolved_or_refused_loudly() {
    let read: Body = from_slice(
        br#"{"text":"t","by":[{"b.x":{"queueId":3}}],"version":{"$ref":"$.by[0].b\\.x"},"byQueue":{{"$ref":"$.by[0]['b.x']"}:1}}"#,
    )
    .unwrap();
    let queue = || Queue { broker_name: String::new(), queue_id: 3 };
    assert_eq!((read.version, read.by_queue), (Some(queue()), [(queue(), 1)].into()));
    for path in ["$", "..", "@", "$.nothing", "$.version", "$.list[9]", "$.list[", "$[\"a\"x"] {
        let written = format!(r#"{{"list":[1],"version":{{"$ref":{path:?}}}}}"#);
        let error = from_slice::<Body>(written.as_bytes()).unwrap_err().to_string();
        assert!(error.contains("reference"), "{path}: {error}");
    }
}

#[test]
fn what_is_wrong_is_said() {
    for (written, said) in [
        (r#"{"count":"x"}"#, r#""x" where a number of 64 bits is expected"#),
        (r#"{"count":{}}"#, "an object where a number is expected"),
        (r#"{"count":1e300}"#, "64 bits"),
        (r#"{"list":5}"#, r#""5" where a list is expected"#),
        (r#"{"a":}"#, "no value at byte 5"),
        (r#"{"a":1"#, "no comma after a member at byte 6"),
        (r#"{"a":nope}"#, "neither text nor number at byte 5"),
        (r#"{"a":"\x"}"#, "an unknown escape"),
        ("{}{}", "something behind the value"),
        ("", "no value"),
    ] {
        let error = from_slice::<Body>(written.as_bytes()).unwrap_err().to_string();
        assert!(error.contains(said), "{written}: {error}");
    }
    let deep = "[".repeat(1 << 20);
    assert!(from_slice::<Body>(deep.as_bytes()).unwrap_err().to_string().contains("too deep"));
}

/// Pieces of which nearly-JSON is made.
fn scraps() -> impl Strategy<Value = String> {
    let scrap = prop::sample::select(vec![
        "{",
        "}",
        "[",
        "]",
        ",",
        ":",
        "\"",
        "\\",
        "\\u12",
        "\\ud800",
        "\"a\"",
        "\"$ref\"",
        "\"$.a\"",
        "null",
        "true",
        "-",
        "1",
        "1.5",
        "1e9",
        "a",
        " ",
        "ü",
        "\"count\"",
        "\"list\"",
        "\"byQueue\"",
    ]);
    prop::collection::vec(scrap, 0..40).prop_map(|scraps| scraps.concat())
}

proptest! {
    #[test]
    fn the_reader_is_total(scraps in scraps(), bytes in prop::collection::vec(any::<u8>(), 0..60)) {
        let _ = from_slice::<Body>(scraps.as_bytes());
        let _ = from_slice::<Body>(&bytes);
    }

    #[test]
    fn what_serde_json_writes_is_read_as_it_reads_it(
        numbers in prop::collection::btree_map(any::<i64>(), ".*", 0..5), count: i32, on: bool, eighths: i32,
        text in prop::option::of(".*"), list in prop::collection::vec(any::<i64>(), 0..5),
    ) {
        let rate = f64::from(eighths) / 8.0;
        let body = Body { by_number: numbers, count, on, rate, text, list, ..Body::default() };
        let theirs = serde_json::to_vec(&body).unwrap();
        prop_assert_eq!(&from_slice::<Body>(&theirs).unwrap(), &body);
        prop_assert_eq!(&serde_json::from_slice::<Body>(&to_vec(&body)).unwrap(), &body);
    }
}
