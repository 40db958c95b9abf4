//! The programs that make the load: producers that send, members that consume, both writing the history.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use client::{
    Batch, Consumed, Message, MessageQueue, Producer, PushConsumer, Received, SendError, SendReceipt,
    SendStatus, StartFrom,
};
use protocol::Text;
use protocol::id::OffsetId;
use runtime::task::TaskSet;
use runtime::time::sleep;

use super::marks;
use super::recorder::{At, Made, Recorder, key_name, make_body, make_flag, shared_key_name};
use super::transact;
use crate::draw::Draw;
use crate::history::{GroupId, Kind, MemberId, MessageId, Outcome, Slot, shared_key};
use crate::op::{Letter, Op};
use crate::plan::{Delayed, Fails, Mode, Plan, tag_name};

/// What the programs of all clients share.
#[derive(Clone, Debug)]
pub struct Shared {
    /// What is to be done.
    pub plan: Arc<Plan>,
    /// Where it is written down.
    pub recorder: Recorder,
    /// Addresses of the name servers, for whoever has this clone.
    pub name_servers: Arc<str>,
    /// And of the brokers.
    pub brokers: Arc<[Text]>,
    /// How far the run is, for all.
    pub phase: Arc<AtomicU8>,
}

/// Before the load begins.
pub const WAIT: u8 = 0;
/// All producers send.
pub const LOAD: u8 = 1;
/// The faults are over: each producer sends until it has one acknowledgement.
pub const SETTLE: u8 = 2;
/// Nobody sends.
pub const DONE: u8 = 3;

impl Shared {
    /// Nobody has begun yet.
    pub fn new(
        plan: Arc<Plan>,
        recorder: Recorder,
        name_servers: &[String],
        brokers: impl Iterator<Item = Text>,
    ) -> Self {
        let (name_servers, brokers) = (name_servers.join(";").into(), brokers.collect());
        Self { plan, recorder, name_servers, brokers, phase: Arc::new(AtomicU8::new(WAIT)) }
    }

    /// How far the run is.
    pub(super) fn phase(&self) -> u8 {
        self.phase.load(Ordering::Relaxed)
    }

    /// The load has not begun.
    pub(super) fn is_waiting(&self) -> bool {
        self.phase() == WAIT
    }

    /// Whether a producer goes on sending.
    pub(super) fn sends(&self, producer: u32) -> bool {
        match self.phase() {
            LOAD => true,
            SETTLE => !self.recorder.live().acknowledged[producer as usize],
            _ => false,
        }
    }

    /// The run comes to this phase.
    pub fn enter(&self, phase: u8) {
        if phase == LOAD {
            self.recorder.load_begins();
        }
        self.phase.store(phase, Ordering::Relaxed);
    }

    /// A producer begins a call: what it does under load can be listed later.
    pub(super) fn begins(&self, op: &Op) {
        if self.phase() == LOAD {
            self.recorder.begins(op);
        }
    }

    /// How many calls of a producer there may be at once.
    pub(super) fn workers(&self, producer: u32) -> u32 {
        let listed = self.plan.ops.iter().flatten().filter(|op| op.producer == producer);
        let listed = listed.map(|op| op.worker + 1).max();
        listed.unwrap_or(0).max(self.plan.producers[producer as usize].in_flight)
    }
}

/// The program of producer `index` in its `incarnation`, until it is asked to stop.
pub async fn produce(shared: Shared, index: u32, incarnation: u32, stop: impl Future<Output = ()>) {
    if matches!(shared.plan.producers[index as usize].mode, Mode::Transaction { .. }) {
        return transact::produce(shared, index, incarnation, stop).await;
    }
    let plan = shared.plan.clone();
    let settings = &plan.producers[index as usize];
    let builder = Producer::builder(format!("producer{index}"))
        .name_servers(&shared.name_servers)
        .send_timeout(Duration::from_millis(settings.timeout_ms))
        .retries(settings.retries);
    let mut producers = Vec::new();
    for _ in 0..1 + usize::from(settings.twin) {
        match builder.clone().start().await {
            Ok(producer) => producers.push(producer),
            Err(error) => return shared.recorder.failed_start(&format!("p{index}"), &error.to_string()),
        }
    }
    while shared.is_waiting() {
        sleep(Duration::from_millis(100)).await;
    }
    let tasks = TaskSet::new();
    for worker in 0..shared.workers(index) {
        let draw = Draw::new(plan.seed, &format!("p{index} worker {worker} start {incarnation}"));
        let producer = producers[worker as usize % producers.len()].clone();
        tasks.spawn("worker", work(shared.clone(), producer, (index, worker), draw));
    }
    stop.await;
    tasks.close().await;
    for producer in producers {
        producer.shutdown().await;
    }
}

/// One of the calls in flight: what the plan lists for it, or bursts with gaps between them.
async fn work(shared: Shared, producer: Producer, (index, worker): (u32, u32), mut draw: Draw) {
    let plan = shared.plan.clone();
    if let Some(ops) = &plan.ops {
        let probe = |letter| Op { messages: vec![letter], ..Op::of(index, worker) };
        return play(&shared, ops, (index, worker), probe, |op| call(&shared, &producer, op)).await;
    }
    let settings = &plan.producers[index as usize];
    let burst = settings.burst.div_ceil(settings.in_flight);
    loop {
        for _ in 0..burst {
            if !shared.sends(index) {
                return;
            }
            match drawn(&shared, &producer, (index, worker), &mut draw).await {
                Some(op) => call(&shared, &producer, op).await,
                None => sleep(Duration::from_millis(100)).await,
            }
        }
        sleep(Duration::from_millis(gap(&shared, settings, &mut draw))).await;
    }
}

/// Makes the calls that the plan lists for a worker, those that were made before its program died left out; then, as
/// everybody does, sends until something is acknowledged after the faults.
pub(super) async fn play<F: Future<Output = ()>>(
    shared: &Shared,
    ops: &[Op],
    (index, worker): (u32, u32),
    probe: impl Fn(Letter) -> Op,
    call: impl Fn(Op) -> F,
) {
    for op in ops.iter().filter(|op| (op.producer, op.worker) == (index, worker)) {
        if op.messages.iter().any(|letter| shared.recorder.live().find(index, letter.serial).is_some()) {
            continue;
        }
        sleep(Duration::from_micros(op.at_us.saturating_sub(shared.recorder.since_us()))).await;
        if shared.phase() != LOAD {
            break;
        }
        call(op.clone()).await;
    }
    while worker == 0 && shared.phase() != DONE {
        if shared.phase() == SETTLE && shared.sends(index) {
            let serial = shared.recorder.serial(index);
            call(probe(Letter { serial, tag: 0, bytes: 16, level: 0 })).await;
        }
        sleep(Duration::from_secs(1)).await;
    }
}

/// The pause after a burst, ms.
pub(super) fn gap(shared: &Shared, settings: &crate::plan::Producer, draw: &mut Draw) -> u64 {
    let gap = draw.range(settings.gap_ms.0, settings.gap_ms.1.max(settings.gap_ms.0));
    // In the end phase nobody waits for long.
    if shared.phase() == LOAD { gap } else { gap.min(1000) }
}

/// The next call of a worker; none: there is no queue to choose yet.
async fn drawn(
    shared: &Shared,
    producer: &Producer,
    (index, worker): (u32, u32),
    draw: &mut Draw,
) -> Option<Op> {
    let plan = &shared.plan;
    let settings = &plan.producers[index as usize];
    let topic = &plan.topics[settings.topic as usize];
    let letter = |draw: &mut Draw, may_wait: bool| {
        let bytes = draw.range(settings.body.0, settings.body.1) as u32;
        let tag = draw.below(u64::from(topic.tags)) as u32;
        let delayed = settings.delayed.filter(|_| may_wait);
        let level = delayed.map_or(0, |Delayed { one_in, most_level }| {
            let (chosen, level) = (draw.below(u64::from(one_in)) == 0, draw.range(1, u64::from(most_level)));
            if chosen { level as u32 } else { 0 }
        });
        Letter { serial: shared.recorder.serial(index), tag, bytes, level }
    };
    let mut op = Op::of(index, worker);
    match settings.mode {
        Mode::Auto => op.messages.push(letter(draw, true)),
        Mode::Queue => {
            let queue = some_queue(producer, &topic.name, draw).await?;
            op.to = Some((queue.broker.to_string(), queue.id as u32));
            op.messages.push(letter(draw, true));
        }
        Mode::Batch(most) => {
            let count = draw.range(1, u64::from(most));
            // A batch cannot be delayed.
            op.messages.extend((0..count).map(|_| letter(draw, false)));
        }
        Mode::Transaction { .. } => unreachable!("they have a program of their own"),
    }
    Some(op)
}

async fn call(shared: &Shared, producer: &Producer, op: Op) {
    shared.begins(&op);
    let plan = &shared.plan;
    let settings = &plan.producers[op.producer as usize];
    let topic = &plan.topics[settings.topic as usize];
    let attempts = settings.retries + 1;
    let batch = matches!(settings.mode, Mode::Batch(_)).then(|| shared.recorder.batch());
    let made = op.messages.iter().map(|&letter| {
        let Letter { serial, tag, bytes, level } = letter;
        let made = Made {
            producer: op.producer,
            letter,
            topic: settings.topic,
            attempts,
            batch,
            transactional: false,
        };
        let id = shared.recorder.message(made);
        if let Some((broker, number)) = &op.to {
            shared.recorder.meant(id, broker, *number);
        }
        let message = Message::new(&*topic.name, make_body(plan.seed, op.producer, serial, bytes))
            .tag(tag_name(tag))
            .key(&key_name(op.producer, serial))
            .property("who", format!("p{}#{serial}", op.producer))
            .flag(make_flag(serial));
        let shared_key = shared_key(op.producer, serial, plan.shared_keys);
        let message = shared_key.into_iter().fold(message, |it, key| it.key(&shared_key_name(key)));
        (id, if level > 0 { message.delay_level(level) } else { message })
    });
    let (ids, mut messages): (Vec<_>, Vec<_>) = made.unzip();
    let result = match (batch, op.to) {
        (Some(_), _) => producer.send_batch(messages).await,
        (None, to) => {
            let message = messages.pop().expect("a call sends something");
            let sent = match to {
                None => producer.send(message).await,
                Some((broker, id)) => {
                    let (topic, broker) = (topic.name.as_str().into(), broker.as_str().into());
                    producer.send_to(message, &MessageQueue { topic, broker, id: id as i32 }).await
                }
            };
            sent.map(|receipt| vec![receipt])
        }
    };
    returned(shared, &ids, result, attempts);
}

async fn some_queue(producer: &Producer, topic: &str, draw: &mut Draw) -> Option<MessageQueue> {
    let queues = producer.queues(topic).await.ok()?;
    (!queues.is_empty()).then(|| draw.pick(&queues).clone())
}

fn returned(shared: &Shared, ids: &[MessageId], result: Result<Vec<SendReceipt>, SendError>, most: u32) {
    match result {
        Ok(receipts) => {
            assert_eq!(receipts.len(), ids.len(), "each message of a call has a receipt");
            for (id, receipt) in ids.iter().zip(receipts) {
                let outcome = if receipt.status == SendStatus::Ok { Outcome::Ok } else { Outcome::Degraded };
                let queue = &receipt.queue;
                let at = At {
                    topic: &queue.topic,
                    broker: &queue.broker,
                    number: queue.id as u32,
                    offset: receipt.offset,
                    position: receipt.offset_id.parse().map_or(u64::MAX, |id: OffsetId| id.position),
                };
                // What is delayed gets its place later.
                let delayed = shared.recorder.live().history.messages[id.index()].delay_level.is_some();
                shared.recorder.sent(*id, outcome, receipt.attempts, (!delayed).then_some(at));
                if outcome == Outcome::Ok {
                    shared.recorder.named(*id, &receipt.offset_id, &receipt.message_id);
                }
            }
        }
        Err(error) => {
            let (outcome, attempts) = (outcome_of(&error), (error.attempts() as u32).max(1).min(most));
            for id in ids {
                shared.recorder.sent(*id, outcome, attempts, None);
            }
        }
    }
}

/// What an error says of a send: the client's word is taken, so that what it calls refused must not be stored.
pub(super) fn outcome_of(error: &SendError) -> Outcome {
    match error {
        SendError::Invalid(_)
        | SendError::NoRoute { .. }
        | SendError::Stopped
        | SendError::Refused { .. } => Outcome::Failed,
        SendError::Unknown { .. } => Outcome::Unknown,
    }
}

/// The program of a member of a group: joins, consumes until it is asked to stop, leaves.
pub async fn consume(
    shared: Shared,
    member: MemberId,
    node: String,
    incarnation: u32,
    stop: impl Future<Output = ()>,
) {
    let plan = shared.plan.clone();
    let group = {
        let live = shared.recorder.live();
        live.history.members[member.index()].group
    };
    let settings = &plan.groups[group.index()];
    let expression = settings.tag.map_or("*".to_owned(), tag_name);
    let listener = shared.clone();
    let calls = Arc::new(std::sync::atomic::AtomicU32::new(0));
    let builder = PushConsumer::builder(&*settings.name)
        .name_servers(&shared.name_servers)
        .subscribe(&*plan.topics[settings.topic as usize].name, &expression)
        // Either way a young queue is read from its first message.
        .start_from(if group.index() % 2 == 0 && !settings.from_end {
            StartFrom::First
        } else {
            StartFrom::Last
        })
        .concurrency(settings.threads)
        .batch_size(settings.batch as usize)
        .listen(move |batch| {
            let call = calls.fetch_add(1, Ordering::Relaxed);
            let draw = Draw::new(listener.plan.seed, &format!("{node} start {incarnation} call {call}"));
            listen(listener.clone(), member, batch, draw)
        });
    let builder = match settings.stuck {
        Some(stuck) => builder.consume_timeout(Duration::from_millis(stuck.timeout_ms)),
        None => builder,
    };
    let builder = match settings.fails {
        Some(fails) => builder.max_reconsume_times(fails.limit as u16),
        None => builder,
    };
    let consumer = match builder.start().await {
        Ok(consumer) => consumer,
        Err(error) => {
            let name = shared.recorder.live().history.member_name(member).to_owned();
            return shared.recorder.failed_start(&name, &error.to_string());
        }
    };
    shared.recorder.client(consumer.client_id(), member);
    let home = shared.recorder.live().history.members[member.index()].node;
    shared.recorder.push(home, Kind::Joined { member });
    if shared.recorder.live().history.untapped {
        let mut told = BTreeSet::new();
        let tells = async {
            loop {
                shared.recorder.holds(member, &mut told, &consumer.queues());
                sleep(Duration::from_secs(1)).await;
            }
        };
        runtime::select! {
            () = stop => {}
            () = tells => {}
        }
    } else {
        stop.await;
    }
    shared.recorder.push(home, Kind::Leaves { member });
    consumer.shutdown().await;
}

async fn listen(shared: Shared, member: MemberId, batch: Batch, mut draw: Draw) -> Consumed {
    let (home, slots) = {
        let mut live = shared.recorder.live();
        let home = live.history.members[member.index()].node;
        let queue = &batch.queue;
        let at = |message: &Arc<Received>| At {
            topic: &queue.topic,
            broker: &queue.broker,
            number: queue.id as u32,
            offset: message.offset,
            position: message.position,
        };
        (home, batch.messages.iter().filter_map(|message| live.slot(at(message))).collect::<Vec<Slot>>())
    };
    let group = shared.recorder.live().history.members[member.index()].group;
    let (mut done, mut failing, mut stuck_ms) = (0, None, 0);
    for (message, slot) in batch.messages.iter().zip(&slots) {
        let (id, fit) = marks::delivered(&shared, group, message);
        let times = u32::try_from(message.reconsume_times).unwrap_or(0);
        shared.recorder.push(home, Kind::Enter { member, slot: *slot, message: id, fit, times });
        let stuck = id.and_then(|id| stuck(&shared, group, id, times));
        stuck_ms += stuck.unwrap_or(0);
        if failing.is_none() && id.is_some_and(|id| stuck.is_some() || fails(&shared, group, id, times)) {
            failing = Some(done);
        }
        done += 1;
    }
    let settings = &shared.plan.groups[group.index()];
    let mut work_ms = draw.range(settings.work_ms.0, settings.work_ms.1);
    if settings.slow_one_in > 0 && draw.below(u64::from(settings.slow_one_in)) == 0 {
        work_ms *= 10;
    }
    work_ms += stuck_ms;
    if work_ms > 0 {
        sleep(Duration::from_millis(work_ms)).await;
    }
    for (index, slot) in slots.into_iter().enumerate() {
        let ok = failing.is_none_or(|failing| index < failing);
        shared.recorder.push(home, Kind::Exit { member, slot, ok });
    }
    match failing {
        None => Consumed::Ok,
        Some(0) => Consumed::Later,
        Some(first) => Consumed::First(first),
    }
}

/// Whether this try of a message fails: the plan chose the message, and how often it fails.
fn fails(shared: &Shared, group: GroupId, message: MessageId, times: u32) -> bool {
    let Some(Fails { one_in, most, .. }) = shared.plan.groups[group.index()].fails else { return false };
    let name = format!("group {} fails {}", group.0, shared.recorder.live().history.message_name(message));
    let mut draw = Draw::new(shared.plan.seed, &name);
    draw.below(u64::from(one_in)) == 0 && u64::from(times) < draw.range(1, u64::from(most))
}

/// For how long a listener is stuck with this try of a message, if it is: the plan chose the message.
fn stuck(shared: &Shared, group: GroupId, message: MessageId, times: u32) -> Option<u64> {
    let stuck = shared.plan.groups[group.index()].stuck.filter(|_| times == 0)?;
    let name =
        format!("group {} is stuck with {}", group.0, shared.recorder.live().history.message_name(message));
    let mut draw = Draw::new(shared.plan.seed, &name);
    (draw.below(u64::from(stuck.one_in)) == 0).then(|| draw.range(stuck.timeout_ms * 2, stuck.most_ms()))
}
