//! The table of requests and its typed headers.

use super::*;
use crate::ext::Header;
use crate::ext::{HeaderError, Request};

#[test]
fn the_table_has_each_code_once() {
    let mut codes = CODES.to_vec();
    codes.sort_unstable();
    codes.dedup();
    assert_eq!(codes.len(), CODES.len());
    assert_eq!(name(320), Some("SendBatchMessage"));
    assert_eq!(name(4711), None);
    assert_eq!(SendBatchMessage::CODE, 320);
}

#[test]
fn a_send_is_read_by_short_and_by_long_names() {
    let sent = SendMessageV2 {
        producer_group: "PG".into(),
        topic: "T".into(),
        queue_id: -1,
        properties: Some("k\u{1}v\u{2}".into()),
        batch: Some(true),
        ..SendMessageV2::default()
    };
    let mut short = ExtFields::new();
    sent.write(&mut short);
    assert_eq!(SendMessageV2::read(&short), Ok(sent.clone()));

    let mut long = ExtFields::new();
    for (key, value) in [
        ("topic", "T"),
        ("producerGroup", "PG"),
        ("queueId", "-1"),
        ("defaultTopic", ""),
        ("defaultTopicQueueNums", "0"),
        ("sysFlag", "0"),
        ("bornTimestamp", "0"),
        ("flag", "0"),
        ("properties", "k\u{1}v\u{2}"),
        ("batch", "TRUE"),
    ] {
        long.push(key, value);
    }
    assert_eq!(SendMessageV2::read(&long), Ok(sent));
    assert_eq!(SendMessage::read(&long).map(|sent| sent.properties), Ok(Some("k\u{1}v\u{2}".into())));
}

#[test]
fn a_missing_and_a_wrong_field_are_named() {
    let mut ext = ExtFields::new();
    ext.push("topic", "T");
    ext.push("unknown", "x");
    assert_eq!(GetMinOffset::read(&ext), Err(HeaderError::Missing("queueId")));
    ext.push("queueId", "1.5");
    let wrong = HeaderError::Invalid { field: "queueId", value: "1.5".into() };
    assert_eq!(wrong.to_string(), "the header field `queueId` cannot be \"1.5\"");
    assert_eq!(GetMinOffset::read(&ext), Err(wrong));
}

#[test]
fn defaults_stand_for_absent_fields() {
    let mut ext = ExtFields::new();
    GetMaxOffset { topic: "T".into(), queue_id: 1, committed: false }.write(&mut ext);
    assert!(!GetMaxOffset::read(&ext).unwrap().committed);
    let mut ext = ExtFields::new();
    ext.push("queueId", "1");
    ext.push("topic", "T");
    assert!(GetMaxOffset::read(&ext).unwrap().committed);
    assert!(GetMaxOffset::default().committed);
}

#[test]
fn both_spellings_of_removing_offsets_count() {
    for key in ["cleanOffset", "removeOffset"] {
        let mut ext = ExtFields::new();
        ext.push("groupName", "G");
        ext.push(key, "true");
        assert!(DeleteSubscriptionGroup::read(&ext).unwrap().removes_offsets());
    }
}
