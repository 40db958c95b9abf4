//! Sends: what is answered, and what is stored.

use anyhow::Result;
use bytes::{Bytes, BytesMut};
use protocol::batch::Item;
use protocol::properties;
use protocol::rpc::{SendBatchMessage, SendMessage, SendMessageV2, ViewMessageById};

use super::{message, position, store, view};
use crate::side::{Side, field};

pub(crate) fn send(side: &mut Side) -> Result<()> {
    let topic = "diff-send";
    let plain = message(topic, 0, &[("TAGS", "a"), ("KEYS", "k1 k2"), ("UNIQ_KEY", "u1"), ("own", "yes")]);
    let cases = [
        ("plain", plain.clone()),
        ("no unique key", message(topic, 1, &[("own", "1")])),
        ("no properties", SendMessageV2 { properties: None, ..message(topic, 1, &[]) }),
        ("user flag", SendMessageV2 { flag: 77, ..message(topic, 2, &[("UNIQ_KEY", "u2")]) }),
        ("compressed bit", SendMessageV2 { sys_flag: 1, ..message(topic, 2, &[("UNIQ_KEY", "u3")]) }),
        ("waits not for the disk", message(topic, 3, &[("WAIT", "false"), ("UNIQ_KEY", "u5")])),
        ("waits for the disk", message(topic, 3, &[("WAIT", "true"), ("UNIQ_KEY", "u6")])),
        ("unit mode", SendMessageV2 { unit_mode: Some(true), ..message(topic, 3, &[("UNIQ_KEY", "u7")]) }),
        ("a name twice", message(topic, 0, &[("own", "1"), ("own", "2"), ("UNIQ_KEY", "u8")])),
        (
            "unclosed properties",
            SendMessageV2 {
                properties: Some("UNIQ_KEY\u{1}u9\u{2}a\u{1}b".into()),
                ..message(topic, 0, &[])
            },
        ),
        (
            "trace and region",
            message(topic, 0, &[("MSG_REGION", "mine"), ("TRACE_ON", "false"), ("UNIQ_KEY", "u10")]),
        ),
        (
            "reconsumed",
            SendMessageV2 { reconsume_times: Some(3), ..message(topic, 0, &[("UNIQ_KEY", "u11")]) },
        ),
        ("cluster property", message(topic, 0, &[("CLUSTER", "other"), ("UNIQ_KEY", "u12")])),
        ("old delay level 0", message(topic, 0, &[("DELAY", "0"), ("UNIQ_KEY", "u13")])),
    ];
    for (label, request) in cases {
        let answer = store(side, label, &request, "body grüße")?;
        view(side, &format!("{label}, stored"), position(&field(&answer, "msgId")))?;
    }
    let long = SendMessage {
        producer_group: "producers".into(),
        topic: topic.into(),
        default_topic: "TBW102".into(),
        default_topic_queue_nums: 4,
        queue_id: 1,
        born_timestamp: plain.born_timestamp,
        properties: plain.properties,
        ..SendMessage::default()
    };
    side.ask("long names", &long, "x")?;
    let mut body = BytesMut::new();
    for number in 0..3 {
        let mut text = Vec::new();
        properties::push(&mut text, "UNIQ_KEY", &format!("b{number}"));
        properties::push(&mut text, "KEYS", "batch");
        let item =
            Item { flag: number, body: Bytes::from(format!("item {number}")), properties: text.into() };
        item.encode(&mut body);
    }
    let batch =
        SendBatchMessage(SendMessageV2 { batch: Some(true), ..message(topic, 2, &[("own", "outer")]) });
    let answer = side.ask("batch", &batch, body.freeze())?;
    for (number, id) in field(&answer, "msgId").split(',').enumerate() {
        view(side, &format!("batch {number}, stored"), position(&id.into()))?;
    }
    Ok(())
}

pub(crate) fn refused(side: &mut Side) -> Result<()> {
    let topic = "diff-refused";
    side.ask("first", &message(topic, 0, &[("UNIQ_KEY", "u1")]), "x")?;
    let no_template = |queue_id| SendMessageV2 {
        default_topic: "nobody".into(),
        ..message("diff-unknown", queue_id, &[("UNIQ_KEY", "u")])
    };
    let cases = [
        ("queue beyond", message(topic, 99, &[]), 1),
        ("no such topic", no_template(0), 1),
        ("empty body", message(topic, 0, &[]), 0),
        ("body too long", message(topic, 0, &[]), (4 << 20) + 1),
        ("long properties", message(topic, 0, &[("a", &"v".repeat(33_000))]), 1),
        ("illegal topic", message("diff refused", 0, &[]), 1),
        ("empty topic", message("", 0, &[]), 1),
        ("long topic", message(&"t".repeat(128), 0, &[]), 1),
        ("system topic", message("SCHEDULE_TOPIC_XXXX", 0, &[]), 1),
        ("half topic", message("RMQ_SYS_TRANS_HALF_TOPIC", 0, &[]), 1),
        ("template topic", message("TBW102", 0, &[]), 1),
    ];
    for (label, request, length) in cases {
        side.ask(label, &request, vec![b'x'; length])?;
    }
    side.ask("batch that is none", &SendBatchMessage(message(topic, 0, &[])), "no batch")?;
    for offset in [-1, 0x7FFF_FFFF_FFFF, 3] {
        side.ask(format!("view {offset}"), &ViewMessageById { offset, topic: None }, "")?;
    }
    Ok(())
}
