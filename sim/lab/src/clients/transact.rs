//! Transactional producers. Most speak the protocol themselves, without the client: so they can decide late, twice,
//! one way and then the other, or not at all until they are asked. Others are the client's own, and take their time for
//! a check.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use client::{Message, Received, SendStatus, StartError, TransactionProducer};
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
use super::recorder::{Made, key_name, make_body, make_flag, parse_name};
use crate::draw::Draw;
use crate::history::{Kind, MessageId, NodeId, Outcome};
use crate::op::{Fate, Letter, Op};
use crate::plan::{Checking, Mode, Plan, tag_name};

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

/// For how many seconds a transaction asks to be left alone: drawn for its name.
fn immunity_s(plan: &Plan, producer: u32, serial: u32) -> Option<u64> {
    let most_s = u64::from(plan.producers[producer as usize].immunity_s);
    let mut draw = Draw::new(plan.seed, &format!("immunity of p{producer}#{serial}"));
    (most_s > 0 && draw.chance(50)).then(|| draw.range(1, most_s))
}

/// What a producer sends half messages by, and tells their ends.
#[derive(Clone)]
enum Door {
    /// It speaks the protocol itself.
    Wire(Arc<Client>),
    /// The client's own producer.
    Client(TransactionProducer),
}

/// The program of transactional producer `index` in its `incarnation`.
pub(super) async fn produce(shared: Shared, index: u32, incarnation: u32, stop: impl Future<Output = ()>) {
    let plan = shared.plan.clone();
    let home = shared.recorder.live().history.known_node(&format!("p{index}")).expect("producers are known");
    let tasks = TaskSet::new();
    let door = match plan.producers[index as usize].checks {
        None => {
            let answers = Arc::new(Answers { shared: shared.clone(), home });
            let client = Arc::new(Client::new(&tasks, answers, Options::default()));
            tasks.spawn("beat", beat(shared.clone(), client.clone(), index));
            Door::Wire(client)
        }
        Some(checking) => match start_client(&shared, (index, home), checking).await {
            Ok(producer) => Door::Client(producer),
            Err(error) => return shared.recorder.failed_start(&format!("p{index}"), &error.to_string()),
        },
    };
    while shared.is_waiting() {
        sleep(Duration::from_millis(100)).await;
    }
    for worker in 0..shared.workers(index) {
        let draw = Draw::new(plan.seed, &format!("p{index} worker {worker} start {incarnation}"));
        tasks.spawn("worker", work(shared.clone(), door.clone(), (index, worker, home), draw));
    }
    stop.await;
    tasks.close().await;
    if let Door::Client(producer) = door {
        producer.shutdown().await;
    }
}

/// Starts the client's own producer, whose listener looks for some time before it knows.
async fn start_client(
    shared: &Shared,
    (index, home): (u32, NodeId),
    Checking { concurrency, most_ms }: Checking,
) -> Result<TransactionProducer, StartError> {
    let (plan, listener) = (&shared.plan, shared.clone());
    let settings = &plan.producers[index as usize];
    TransactionProducer::builder(group(plan, index))
        .name_servers(&shared.name_servers)
        .topic(&*plan.topics[settings.topic as usize].name)
        .producer(|producer| producer.send_timeout(Duration::from_millis(settings.timeout_ms)).retries(0))
        .check_concurrency(concurrency)
        .check(move |half| look_up(listener.clone(), home, most_ms, half))
        .start()
        .await
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

async fn work(shared: Shared, door: Door, (index, worker, home): (u32, u32, NodeId), mut draw: Draw) {
    let plan = shared.plan.clone();
    if let Some(ops) = &plan.ops {
        let probe = |letter: Letter| {
            let broker = letter.serial % plan.brokers.len() as u32;
            let (to, fate) = (Some((format!("b{broker}"), 0)), Some(Fate::COMMIT));
            Op { messages: vec![letter], to, fate, ..Op::of(index, worker) }
        };
        let call = |op| transaction(&shared, &door, home, op);
        return load::play(&shared, ops, (index, worker), probe, call).await;
    }
    let settings = &plan.producers[index as usize];
    loop {
        for _ in 0..settings.burst.div_ceil(settings.in_flight) {
            if !shared.sends(index) {
                return;
            }
            let op = drawn(&shared, (index, worker), &mut draw);
            transaction(&shared, &door, home, op).await;
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

/// A transaction whose message is known.
struct Transaction {
    id: MessageId,
    home: NodeId,
    key: String,
    fate: Fate,
}

impl Transaction {
    /// What its producer says when it is time, if it does not wait to be asked.
    async fn decide(&self, shared: &Shared) -> Option<bool> {
        let (after_ms, commit) = (self.fate.says_after_ms?, self.fate.truth?);
        sleep(Duration::from_millis(after_ms)).await;
        shared.recorder.push(self.home, Kind::Decided { message: self.id, commit: Some(commit) });
        Some(commit)
    }

    /// Sends its message by the client, which tells the outcome one way and does not look back.
    async fn by_client(self, shared: &Shared, producer: &TransactionProducer, message: Message) {
        let local = |_| async {
            shared.recorder.sent(self.id, Outcome::Ok, 1, None);
            outcome(self.decide(shared).await)
        };
        match producer.send_in_transaction(message, local).await {
            Ok(receipt) if receipt.half.status == SendStatus::Ok => {}
            Ok(_) => {
                shared.recorder.sent(self.id, Outcome::Degraded, 1, None);
                shared.recorder.push(self.home, Kind::Decided { message: self.id, commit: Some(false) });
            }
            Err(error) => shared.recorder.sent(self.id, load::outcome_of(&error), 1, None),
        }
    }
}

fn outcome(commit: Option<bool>) -> client::Outcome {
    match commit {
        Some(true) => client::Outcome::Commit,
        Some(false) => client::Outcome::Rollback,
        None => client::Outcome::Unknown,
    }
}

/// One half message, and what its producer says of it.
async fn transaction(shared: &Shared, door: &Door, home: NodeId, op: Op) {
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
    let key = unique_key(index, serial);
    shared.recorder.keyed(&key, id);
    let immunity_s = immunity_s(plan, index, serial);
    shared.recorder.immune(id, immunity_s);
    let own = [
        (names::TAGS, tag_name(tag)),
        (names::KEYS, key_name(index, serial)),
        ("who", format!("p{index}#{serial}")),
        (names::UNIQ_KEY, key.clone()),
    ];
    let immunity = immunity_s.map(|seconds| (names::CHECK_IMMUNITY_TIME, seconds.to_string()));
    let own = own.into_iter().chain(immunity);
    let body = make_body(plan.seed, index, serial, bytes);
    let it = Transaction { id, home, key, fate };
    let client = match door {
        Door::Wire(client) => client,
        Door::Client(producer) => {
            let message = Message::new(&*topic.name, body).flag(make_flag(serial));
            let message = own.fold(message, |message, (name, value)| message.property(name, value));
            return it.by_client(shared, producer, message).await;
        }
    };
    let mut text = Vec::new();
    let whose = [("TRAN_MSG", "true".to_owned()), ("PGROUP", group(plan, index).to_string())];
    for (name, value) in own.chain(whose) {
        properties::push(&mut text, name, &value);
    }
    let request = SendMessageV2 {
        producer_group: group(plan, index),
        topic: topic.name.as_str().into(),
        default_topic: "TBW102".into(),
        default_topic_queue_nums: 4,
        queue_id: queue as i32,
        sys_flag: PREPARED,
        born_timestamp: clock::now_ms(),
        flag: make_flag(serial),
        properties: Some(String::from_utf8(text).expect("names and values are text").into()),
        reconsume_times: Some(0),
        unit_mode: Some(false),
        max_reconsume_times: None,
        batch: Some(false),
        broker_name: None,
    };
    let limit = Duration::from_millis(settings.timeout_ms);
    let (outcome, reply) = match client.call(&shared.brokers[broker], &request, body.into(), limit).await {
        Ok((reply, _)) => (Outcome::Ok, Some(reply)),
        Err(CallError::Refused { code, .. }) => (Outcome::of_code(code), None),
        Err(_) => (Outcome::Unknown, None),
    };
    shared.recorder.sent(id, outcome, 1, None);
    let Some(reply) = reply else { return };
    let Some(commit) = it.decide(shared).await else { return };
    let Some(end) = end_of(&reply, &it.key, group(plan, index)) else { return };
    let say = async |commit| {
        client.call(&shared.brokers[broker], &decided(&end, Some(commit)), Bytes::new(), limit).await.is_ok()
    };
    // Only who has the broker's word may say something else afterwards: the first accepted decision is known then.
    if say(commit).await {
        shared.recorder.ended(home, id, commit);
        if let Some(again) = it.fate.again {
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
        let (shared, key) = (&self.shared, unique_key(producer, serial));
        let commit = verdict(&shared.plan, (producer, serial), record.property(TIMES));
        shared.recorder.asked(self.home, &key, peer.remote.ip(), commit);
        let end = EndTransaction {
            producer_group: group(&shared.plan, producer),
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

/// The listener of the client's own producer: it looks for some time, and then knows as much as everybody.
async fn look_up(shared: Shared, home: NodeId, most_ms: u64, half: Arc<Received>) -> client::Outcome {
    let Some(name) = half.property("who").and_then(parse_name) else { return client::Outcome::Unknown };
    let (key, broker): (_, IpAddr) = (unique_key(name.0, name.1), half.store_host.ip());
    let times = half.property(TIMES);
    shared.recorder.asking(home, &key, broker);
    let mut draw = Draw::new(shared.plan.seed, &format!("check {} of {key}", times.unwrap_or_default()));
    sleep(Duration::from_millis(draw.spread(1, most_ms))).await;
    let commit = verdict(&shared.plan, name, times);
    shared.recorder.asked(home, &key, broker, commit);
    outcome(commit)
}

/// What is known of a transaction at a check, which carries its number.
fn verdict(plan: &Plan, (producer, serial): (u32, u32), times: Option<&str>) -> Option<bool> {
    fate(plan, producer, serial).answer(times.and_then(|times| times.parse().ok()).unwrap_or(0))
}

fn unique_key(producer: u32, serial: u32) -> String {
    format!("T{producer}-{serial}")
}

/// The group of a producer: whoever is in it answers for all of it.
fn group(plan: &Plan, producer: u32) -> Text {
    format!("transactors{}", plan.producers[producer as usize].group).into()
}

/// The property that says how often was asked.
const TIMES: &str = "TRANSACTION_CHECK_TIMES";
/// Bits of a message's flags.
const PREPARED: i32 = 4;
const COMMIT: i32 = 8;
const ROLLBACK: i32 = 12;
const BEAT: Duration = Duration::from_secs(10);
const TIMEOUT: Duration = Duration::from_secs(3);
