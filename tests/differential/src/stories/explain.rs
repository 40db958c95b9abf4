//! What `reprise admin explain` tells of messages that a genuine broker keeps, and of the same in ours.

use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use process::{Asker, create_topic};
use protocol::name;
use protocol::record::sys_flag;
use protocol::rpc::{ConsumerSendMsgBack, EndTransaction, GetRouteInfoByTopic, QueryMessage, SendMessageV2};

use super::transactions::{end, half};
use super::{arrives, message, position, store};
use crate::side::{PATIENCE, Side, field};

const TOPIC: &str = "diff-explained";

pub(crate) fn explain(side: &mut Side) -> Result<()> {
    create_topic(&side.address, TOPIC, 4)?;
    store(side, "sent", &message(TOPIC, 0, &[("UNIQ_KEY", "plain"), ("KEYS", "k")]), "plain")?;
    registered(side)?;
    side.ask("delayed", &message(TOPIC, 1, &[("UNIQ_KEY", "delayed"), ("DELAY", "1")]), "delayed")?;
    side.leave_out("field queueOffset"); // other stories delay messages too
    arrives(side, "delayed, come", TOPIC, 1, 0)?;
    found(side, name::SCHEDULE_TOPIC, "delayed")?;
    found(side, TOPIC, "delayed")?;
    tell(side, "delayed")?;
    found(side, TOPIC, "plain")?;
    tell(side, "plain")?;

    let sent = store(side, "hard", &message(TOPIC, 2, &[("UNIQ_KEY", "hard")]), "hard")?;
    let back = ConsumerSendMsgBack {
        offset: position(&field(&sent, "msgId")),
        group: GROUP.into(),
        delay_level: -1,
        origin_topic: Some(TOPIC.into()),
        ..ConsumerSendMsgBack::default()
    };
    side.ask("given back", &back, "")?;
    found(side, &format!("%DLQ%{GROUP}"), "hard")?;
    found(side, TOPIC, "hard")?;
    tell(side, "hard")?;

    for (key, decision) in [("committed", sys_flag::COMMIT), ("rolled back", sys_flag::ROLLBACK)] {
        let sent =
            side.ask(key, &SendMessageV2 { topic: TOPIC.into(), ..half(3, key, &[]) }, key.to_owned())?;
        side.leave_out("field queueOffset");
        found(side, name::HALF_TOPIC, key)?;
        side.ask("ended", &EndTransaction { topic: Some(TOPIC.into()), ..end(key, &sent, decision) }, "")?;
        if decision == sys_flag::COMMIT {
            found(side, TOPIC, key)?;
        }
        tell(side, key)?;
    }
    Ok(())
}

const GROUP: &str = "diff-explained-readers";

/// Waits until the broker finds the message by its unique key, as the program will ask it to.
fn found(side: &mut Side, topic: &str, key: &str) -> Result<()> {
    let query = QueryMessage {
        topic: topic.into(),
        key: key.into(),
        max_num: 10,
        begin_timestamp: 0,
        end_timestamp: i64::MAX,
        unique_key_query: Some(true),
    };
    side.wait(key, &query, |answer| answer.code == 0 && !answer.body.is_empty())?;
    Ok(())
}

/// Waits until the name server knows the broker and its topic: the genuine one tells it when it has time.
fn registered(side: &Side) -> Result<()> {
    let mut asker = Asker::connect(&side.name_server)?;
    let route = GetRouteInfoByTopic { topic: TOPIC.into(), ..GetRouteInfoByTopic::default() };
    let begun = Instant::now();
    while asker.ask(&route, "")?.code != 0 {
        ensure!(begun.elapsed() < PATIENCE, "{} has no route of {TOPIC}", side.name_server);
        sleep(Duration::from_millis(50));
    }
    Ok(())
}

/// Runs the program, and notes what it says.
fn tell(side: &mut Side, key: &str) -> Result<()> {
    let mut command = Command::new(process::binary()?);
    command.args(["admin", "explain", "-n", &side.name_server, "--topic", TOPIC, "--unique-key", key]);
    let told = command.output()?;
    let text = String::from_utf8_lossy(&told.stdout);
    ensure!(told.status.success(), "explain {key}: {}", String::from_utf8_lossy(&told.stderr));
    side.note_text(&format!("{key}, explained"), &steady(&text));
    Ok(())
}

/// A text without what differs between any two runs: times, ids, places in the log, lengths of time.
fn steady(text: &str) -> String {
    let line = |line: &str| {
        let mut words: Vec<&str> = Vec::new();
        for word in line.split(' ') {
            let kept = word.trim_end_matches(|c: char| c.is_ascii_punctuation());
            let after_number = words.last() == Some(&"#");
            if kept.contains(|c: char| c.is_ascii_digit()) || after_number && UNITS.contains(&kept) {
                if !after_number {
                    words.push("#");
                }
            } else {
                words.push(word);
            }
        }
        words.join(" ")
    };
    text.lines().map(line).collect::<Vec<_>>().join("\n")
}

const UNITS: [&str; 7] = ["ms", "s", "min", "h", "day", "days", "UTC"];
