//! Transactional producers. They speak the protocol themselves, without the client: so they can decide late, twice,
//! one way and then the other, or not at all until they are asked.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use net::{CallError, Client, Options, Peer, Reply, Service};
use protocol::body::{HeartbeatData, ProducerData};
use protocol::id::OffsetId;
use protocol::properties::{self, names};
use protocol::record::{self, Scan};
use protocol::rpc::{CheckTransactionState, EndTransaction, Heartbeat, SendMessageReply, SendMessageV2};
use protocol::{Command, Request as _, Text, json};
use runtime::clock;
use runtime::task::TaskSet;
use runtime::time::sleep;

use super::load::{self, Shared};
use super::recorder::{Made, key_name, make_body, parse_name};
use crate::draw::Draw;
use crate::history::{Kind, NodeId, Outcome};
use crate::op::{Fate, Letter, Op};
use crate::plan::{Mode, Plan, tag_name};

/// What becomes of a transaction: as its call is listed, or drawn for its name.
fn fate(plan: &Plan, producer: u32, serial: u32) -> Fate {
    if let Some(ops) = &plan.ops {
        let named = |op: &&Op| op.producer == producer && op.messages.iter().any(|it| it.serial == serial);
        return ops.iter().find(named).and_then(|op| op.fate).unwrap_or(Fate::COMMIT);
    }
    let mut draw = Draw::new(plan.seed, &format!("transaction p{producer}#{serial}"));
    let Mode::Transaction { rollback, unknown } = plan.producers[producer as usize].mode else {
        return Fate { truth: None, says_after_ms: None, again: None, unsure: 0 };
    };
    let truth = match draw.below(100) as u32 {
        lot if lot < unknown => None,
        lot if lot < unknown + rollback => Some(false),
        _ => Some(true),
    };
    let immunity_ms = plan.setting("transactionTimeOut", 6000);
    let after_ms = match draw.below(4) {
        0 => draw.spread(1, 3000),
        // As the first check is on its way.
        1 => (immunity_ms + draw.below(60)).saturating_sub(30),
        _ => 0,
    };
    let says_after_ms = (truth.is_some() && draw.chance(60)).then_some(after_ms);
    let again = match draw.below(100) {
        0..15 => truth,
        15..30 => truth.map(|commit| !commit),
        _ => None,
    };
    Fate { truth, says_after_ms, again, unsure: draw.below(3) as u32 }
}

/// The program of transactional producer `index` in its `incarnation`.
pub(super) async fn produce(shared: Shared, index: u32, incarnation: u32, stop: impl Future<Output = ()>) {
    let plan = shared.plan.clone();
    let home = shared.recorder.live().history.known_node(&format!("p{index}")).expect("producers are known");
    let tasks = TaskSet::new();
    let answers = Arc::new(Answers { shared: shared.clone(), home });
    let client = Arc::new(Client::new(&tasks, answers, Options::default()));
    tasks.spawn("beat", beat(shared.clone(), client.clone(), index));
    while shared.is_waiting() {
        sleep(Duration::from_millis(100)).await;
    }
    for worker in 0..shared.workers(index) {
        let draw = Draw::new(plan.seed, &format!("p{index} worker {worker} start {incarnation}"));
        tasks.spawn("worker", work(shared.clone(), client.clone(), (index, worker, home), draw));
    }
    stop.await;
    tasks.close().await;
}

/// Tells all brokers that this producer is there.
async fn beat(shared: Shared, client: Arc<Client>, index: u32) {
    let data = HeartbeatData {
        client_id: format!("transactor{index}").into(),
        producer_data_set: vec![ProducerData { group_name: group(&shared.plan, index) }],
        ..HeartbeatData::default()
    };
    let body = Bytes::from(json::to_vec(&data));
    loop {
        for broker in shared.brokers.iter() {
            drop(client.call(broker, &Heartbeat {}, body.clone(), TIMEOUT).await);
        }
        sleep(BEAT).await;
    }
}

async fn work(
    shared: Shared,
    client: Arc<Client>,
    (index, worker, home): (u32, u32, NodeId),
    mut draw: Draw,
) {
    let plan = shared.plan.clone();
    if let Some(ops) = &plan.ops {
        let probe = |letter: Letter| {
            let broker = letter.serial % plan.brokers.len() as u32;
            let (to, fate) = (Some((format!("b{broker}"), 0)), Some(Fate::COMMIT));
            Op { messages: vec![letter], to, fate, ..Op::of(index, worker) }
        };
        let call = |op| transaction(&shared, &client, home, op);
        return load::play(&shared, ops, (index, worker), probe, call).await;
    }
    let settings = &plan.producers[index as usize];
    loop {
        for _ in 0..settings.burst.div_ceil(settings.in_flight) {
            if !shared.sends(index) {
                return;
            }
            let op = drawn(&shared, (index, worker), &mut draw);
            transaction(&shared, &client, home, op).await;
        }
        sleep(Duration::from_millis(load::gap(&shared, settings, &mut draw))).await;
    }
}

/// The next transaction of a worker.
fn drawn(shared: &Shared, (index, worker): (u32, u32), draw: &mut Draw) -> Op {
    let plan = &shared.plan;
    let settings = &plan.producers[index as usize];
    let topic = &plan.topics[settings.topic as usize];
    let (tag, bytes) =
        (draw.below(u64::from(topic.tags)) as u32, draw.range(settings.body.0, settings.body.1) as u32);
    let broker = draw.below(plan.brokers.len() as u64);
    let to = Some((format!("b{broker}"), draw.below(u64::from(topic.queues)) as u32));
    let serial = shared.recorder.serial(index);
    let (messages, fate) = (vec![Letter { serial, tag, bytes, level: 0 }], Some(fate(plan, index, serial)));
    Op { to, messages, fate, ..Op::of(index, worker) }
}

/// One half message, and what its producer says of it.
async fn transaction(shared: &Shared, client: &Client, home: NodeId, op: Op) {
    shared.begins(&op);
    let (plan, index) = (&shared.plan, op.producer);
    let settings = &plan.producers[index as usize];
    let topic = &plan.topics[settings.topic as usize];
    let (Some((broker, queue)), Some(fate), &[letter]) = (op.to, op.fate, &*op.messages) else {
        unreachable!("a transaction has one message, with a fate, and goes to a queue");
    };
    let Letter { serial, tag, bytes, .. } = letter;
    let broker: usize =
        broker.strip_prefix('b').and_then(|it| it.parse().ok()).expect("brokers are numbered");
    let id = shared.recorder.message(Made {
        producer: index,
        letter,
        topic: settings.topic,
        attempts: 1,
        batch: None,
        transactional: true,
    });
    let key = format!("T{index}-{serial}");
    shared.recorder.keyed(&key, id);
    let mut text = Vec::new();
    for (name, value) in [
        (names::TAGS, &*tag_name(tag)),
        (names::KEYS, &key_name(index, serial)),
        ("who", &format!("p{index}#{serial}")),
        (names::UNIQ_KEY, &key),
        ("TRAN_MSG", "true"),
        ("PGROUP", &*group(plan, index)),
    ] {
        properties::push(&mut text, name, value);
    }
    let request = SendMessageV2 {
        producer_group: group(plan, index),
        topic: topic.name.as_str().into(),
        default_topic: "TBW102".into(),
        default_topic_queue_nums: 4,
        queue_id: queue as i32,
        sys_flag: PREPARED,
        born_timestamp: clock::now_ms(),
        flag: 0,
        properties: Some(String::from_utf8(text).expect("names and values are text").into()),
        reconsume_times: Some(0),
        unit_mode: Some(false),
        max_reconsume_times: None,
        batch: Some(false),
        broker_name: None,
    };
    let body = make_body(plan.seed, index, serial, bytes).into();
    let limit = Duration::from_millis(settings.timeout_ms);
    let (outcome, reply) = match client.call(&shared.brokers[broker], &request, body, limit).await {
        Ok((reply, _)) => (Outcome::Ok, Some(reply)),
        Err(CallError::Refused { code, .. }) => (Outcome::of_code(code), None),
        Err(_) => (Outcome::Unknown, None),
    };
    shared.recorder.sent(id, outcome, 1, None);
    let Some(reply) = reply else { return };
    let (Some(after_ms), Some(commit)) = (fate.says_after_ms, fate.truth) else { return };
    sleep(Duration::from_millis(after_ms)).await;
    shared.recorder.push(home, Kind::Decided { message: id, commit: Some(commit) });
    let Some(end) = end_of(&reply, &key, group(plan, index)) else { return };
    let say = async |commit| {
        client.call(&shared.brokers[broker], &decided(&end, Some(commit)), Bytes::new(), limit).await.is_ok()
    };
    // Only who has the broker's word may say something else afterwards: the first accepted decision is known then.
    if say(commit).await {
        shared.recorder.ended(home, id, commit);
        if let Some(again) = fate.again {
            say(again).await;
        }
    }
}

/// The request that ends a transaction, without the decision.
fn end_of(reply: &SendMessageReply, key: &str, group: Text) -> Option<EndTransaction> {
    let OffsetId { position, .. } = reply.msg_id.parse().ok()?;
    Some(EndTransaction {
        producer_group: group,
        tran_state_table_offset: reply.queue_offset,
        commit_log_offset: position as i64,
        commit_or_rollback: 0,
        from_transaction_check: false,
        msg_id: key.into(),
        transaction_id: Some(reply.transaction_id.clone().unwrap_or_else(|| key.into())),
        topic: None,
    })
}

fn decided(end: &EndTransaction, commit: Option<bool>) -> EndTransaction {
    let commit_or_rollback = match commit {
        Some(true) => COMMIT,
        Some(false) => ROLLBACK,
        None => 0,
    };
    EndTransaction { commit_or_rollback, ..end.clone() }
}

/// Answers brokers that ask for the outcome of a transaction, of whichever producer.
struct Answers {
    shared: Shared,
    home: NodeId,
}

impl Service for Answers {
    async fn handle(&self, peer: &Arc<Peer>, command: Command) -> Reply {
        if command.code != CheckTransactionState::CODE {
            return Reply::unsupported(command.code);
        }
        let Ok(asked) = command.header::<CheckTransactionState>() else {
            return Reply::unsupported(command.code);
        };
        if let Some((end, commit)) = self.answer(&asked, &command.body, peer) {
            peer.oneway(&decided(&end, commit), Bytes::new());
        }
        Reply::ok()
    }
}

impl Answers {
    fn answer(
        &self,
        asked: &CheckTransactionState,
        half: &[u8],
        peer: &Peer,
    ) -> Option<(EndTransaction, Option<bool>)> {
        let Scan::Record(record) = record::scan(half, true) else { return None };
        let (producer, serial) = parse_name(record.property("who")?)?;
        let checks =
            record.property("TRANSACTION_CHECK_TIMES").and_then(|times| times.parse().ok()).unwrap_or(0);
        let commit = fate(&self.shared.plan, producer, serial).answer(checks);
        let key = format!("T{producer}-{serial}");
        self.shared.recorder.asked(self.home, &key, peer.remote.ip(), commit);
        let end = EndTransaction {
            producer_group: group(&self.shared.plan, producer),
            tran_state_table_offset: asked.tran_state_table_offset,
            commit_log_offset: asked.commit_log_offset,
            commit_or_rollback: 0,
            from_transaction_check: true,
            msg_id: asked.msg_id.clone().unwrap_or_else(|| key.as_str().into()),
            transaction_id: asked.transaction_id.clone(),
            topic: None,
        };
        Some((end, commit))
    }
}

/// The group of a producer: whoever is in it answers for all of it.
fn group(plan: &Plan, producer: u32) -> Text {
    format!("transactors{}", plan.producers[producer as usize].group).into()
}

/// Bits of a message's flags.
const PREPARED: i32 = 4;
const COMMIT: i32 = 8;
const ROLLBACK: i32 = 12;
const BEAT: Duration = Duration::from_secs(10);
const TIMEOUT: Duration = Duration::from_secs(3);
