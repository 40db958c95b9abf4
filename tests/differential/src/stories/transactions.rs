//! Half messages and what becomes of them.

use anyhow::Result;
use process::create_topic;
use protocol::body::{HeartbeatData, ProducerData};
use protocol::record::sys_flag;
use protocol::rpc::{CheckTransactionState, EndTransaction, Heartbeat, SendMessageV2};
use protocol::{Command, json, name};

use super::{arrives, by_key, ends_at, message, now, position, view};
use crate::side::{Client, Side, field};

const TOPIC: &str = "diff-transactions";
const GROUP: &str = "diff-transaction-group";

pub(crate) fn transactions(side: &mut Side) -> Result<()> {
    create_topic(&side.address, TOPIC, 4)?;
    let mut producer = side.connect()?;
    let data = HeartbeatData {
        client_id: "producer@1".into(),
        producer_data_set: vec![ProducerData { group_name: GROUP.into() }],
        ..HeartbeatData::default()
    };
    side.ask_on(&mut producer, "heartbeat", &Heartbeat {}, json::to_vec(&data))?;
    // Both wait for checks: together they take half the time.
    send(side, "asked", 2)?;
    send(side, "deserted", 3)?;
    let committed = committed(side)?;
    let rolled_back = rolled_back(side)?;
    checked(side, &mut producer)?;
    by_key(side, "given up", name::TRANS_CHECK_MAX_TIME_TOPIC, "deserted", true)?;
    ends_at(side, "what was given up is not delivered", TOPIC, 3)?;
    ended_again(side, "committed", &committed)?;
    ended_again(side, "rolled back", &rolled_back)?;
    refused(side)
}

/// A half message with these properties beside the usual ones.
pub(super) fn half(queue_id: i32, key: &str, more: &[(&str, &str)]) -> SendMessageV2 {
    let mut pairs =
        vec![("TRAN_MSG", "true"), ("PGROUP", GROUP), ("UNIQ_KEY", key), ("KEYS", "k"), ("TAGS", "t")];
    pairs.extend_from_slice(more);
    SendMessageV2 {
        producer_group: GROUP.into(),
        sys_flag: sys_flag::PREPARED,
        // A genuine broker counts from here until it asks.
        born_timestamp: now(),
        ..message(TOPIC, queue_id, &pairs)
    }
}

/// Sends a half message, and looks at it where it waits.
fn send(side: &mut Side, name: &str, queue_id: i32) -> Result<Command> {
    let answer = side.ask(name, &half(queue_id, name, &[("own", "yes")]), name.to_owned())?;
    side.leave_out("field queueOffset"); // it counts the copies that checks of others left behind
    view(side, &format!("{name}, stored"), position(&field(&answer, "msgId")))?;
    Ok(answer)
}

/// The end of a half message whose send was answered so.
pub(super) fn end(name: &str, sent: &Command, decision: i32) -> EndTransaction {
    EndTransaction {
        producer_group: GROUP.into(),
        tran_state_table_offset: field(sent, "queueOffset").parse().unwrap_or(-1),
        commit_log_offset: position(&field(sent, "msgId")),
        commit_or_rollback: decision,
        from_transaction_check: false,
        msg_id: name.into(),
        transaction_id: Some(name.into()),
        topic: Some(TOPIC.into()),
    }
}

fn committed(side: &mut Side) -> Result<Command> {
    let name = "committed";
    let sent = send(side, name, 0)?;
    side.ask("commit", &end(name, &sent, sys_flag::COMMIT), "")?;
    arrives(side, "committed, come", TOPIC, 0, 0)?;
    Ok(sent)
}

fn rolled_back(side: &mut Side) -> Result<Command> {
    let name = "rolled back";
    let sent = send(side, name, 1)?;
    side.ask("rollback", &end(name, &sent, sys_flag::ROLLBACK), "")?;
    ends_at(side, "what was rolled back is not delivered", TOPIC, 1)?;
    Ok(sent)
}

fn ended_again(side: &mut Side, name: &str, sent: &Command) -> Result<()> {
    for (label, decision) in [("commit", sys_flag::COMMIT), ("rollback", sys_flag::ROLLBACK)] {
        side.ask(format!("{name}: {label} again"), &end(name, sent, decision), "")?;
    }
    Ok(())
}

/// What is no half message, or no end of one.
fn refused(side: &mut Side) -> Result<()> {
    let name = "refused";
    let sent = send(side, name, 1)?;
    let good = end(name, &sent, sys_flag::COMMIT);
    let cases = [
        ("end of a foreign group", EndTransaction { producer_group: "other".into(), ..good.clone() }),
        ("end of another offset", EndTransaction { tran_state_table_offset: 1 << 40, ..good.clone() }),
        ("end beyond the log", EndTransaction { commit_log_offset: 1 << 40, ..good.clone() }),
        ("end below zero", EndTransaction { commit_log_offset: -1, ..good.clone() }),
        (
            "end of another key",
            EndTransaction { msg_id: "u".into(), transaction_id: Some("u".into()), ..good.clone() },
        ),
        ("end of another topic", EndTransaction { topic: Some("other".into()), ..good.clone() }),
        (
            "end without a topic",
            EndTransaction { topic: None, commit_or_rollback: sys_flag::ROLLBACK, ..good },
        ),
    ];
    for (label, request) in cases {
        side.ask(label, &request, "")?;
    }
    let no_template = SendMessageV2 {
        topic: "diff-no-transactions".into(),
        default_topic: "nobody".into(),
        ..half(0, "nowhere", &[])
    };
    side.ask("half for no topic", &no_template, "x")?;
    side.ask("half without a body", &half(1, "empty", &[]), "")?;
    let unmarked =
        SendMessageV2 { sys_flag: sys_flag::PREPARED, ..message(TOPIC, 1, &[("UNIQ_KEY", "unmarked")]) };
    side.ask("half without its property", &unmarked, "x")?;
    side.ask("half with a delay level", &half(1, "late", &[("DELAY", "1")]), "x")?;
    Ok(())
}

/// Asked twice before it is committed.
fn checked(side: &mut Side, producer: &mut Client) -> Result<()> {
    let name = "asked";
    let is_ours = |command: &Command| {
        command.code == <CheckTransactionState as protocol::Request>::CODE
            && *field(command, "msgId") == *name
    };
    side.told(producer, "first check", is_ours)?;
    let check = side.told(producer, "second check", is_ours)?;
    let commit = EndTransaction {
        tran_state_table_offset: field(&check, "tranStateTableOffset").parse().unwrap_or(-1),
        commit_log_offset: field(&check, "commitLogOffset").parse().unwrap_or(-1),
        from_transaction_check: true,
        ..end(name, &check, sys_flag::COMMIT)
    };
    side.ask_on(producer, "commit after checks", &commit, "")?;
    arrives(side, "asked, come", TOPIC, 2, 0)?;
    Ok(())
}
