//! Writes the history while a run goes on: calls of the lab's clients, what the lab does, and what taps tell.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{Hash, Hasher};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
#[cfg(madsim)]
use std::time::Duration;

use client::MessageQueue;
use protocol::Text;
use runtime::clock;
use runtime::sync::Watermark;
#[cfg(madsim)]
use runtime::time::sleep;
#[cfg(madsim)]
use world::{Node, Tap, Value, World};

use super::marks::{Birth, Origins};
use crate::history::{
    Broker, Checks, Fit, GroupId, HALF, Half, HalfId, History, Keeps, Kind, Member, MemberId, Message,
    MessageId, Newest, NodeId, Outcome, QueueId, RegisterId, SCHEDULE, SessionId, Slot, Step, TopicId,
    Writer,
};
#[cfg(madsim)]
use crate::history::{Rotten, Why};
use crate::moment::Happening;
#[cfg(madsim)]
use crate::moment::Moment;
use crate::op::{Letter, Op};
use crate::plan::{Harm, Plan, What, tag_name};

/// Where a run happens: its clock, and who else is told of what is written into the history.
pub trait Place: std::fmt::Debug + Send + Sync {
    /// Time since the run began.
    fn elapsed_ns(&self) -> u64;

    /// The event of this number is written; `fold` stands for what it says.
    fn written(&self, number: u64, fold: u64);
}

/// The history in the making; clones write to the same one.
#[derive(Clone, Debug)]
pub struct Recorder {
    live: Arc<Mutex<Live>>,
}

/// The history and what the driver must know while it goes on.
#[derive(Debug)]
pub struct Live {
    /// What was written so far.
    pub history: History,
    place: Arc<dyn Place>,
    /// History's number of each node, by the world's.
    #[cfg(madsim)]
    nodes: Vec<NodeId>,
    addresses: BTreeMap<String, NodeId>,
    open: BTreeMap<(MemberId, QueueId), SessionId>,
    /// Messages by producer and serial.
    serials: Vec<BTreeMap<u32, MessageId>>,
    /// The serial of the next message of each producer.
    next: Vec<u32>,
    /// When the load began.
    began_ns: u64,
    /// What producers did under load.
    pub(crate) ops: Vec<Op>,
    /// What some step of the plan waits for, and how often it happened.
    awaited: BTreeMap<Counted, Arc<Watermark>>,
    /// What each message was made with.
    written: Vec<Written>,
    batches: u32,
    /// Undecided half messages by broker and offset.
    open_halves: BTreeMap<(NodeId, u64), HalfId>,
    /// What each broker is giving up, after so many checks: if it dies meanwhile, only its next start tells whether it has.
    #[cfg(madsim)]
    giving_up: BTreeMap<NodeId, (HalfId, u32)>,
    /// Brokers that have not told yet which half messages they found, and what they told so far.
    loading: BTreeMap<NodeId, BTreeMap<HalfId, u64>>,
    /// Producers that went away for good.
    gone: BTreeSet<u32>,
    /// Half messages by unique key and broker, and messages by unique key.
    halves: BTreeMap<(String, NodeId), HalfId>,
    keys: BTreeMap<String, MessageId>,
    /// Acknowledged messages and their places.
    pub(crate) placed: Vec<(MessageId, Slot)>,
    /// Offset ids and unique keys that producers were given.
    pub(crate) ids: Vec<(MessageId, String, String)>,
    /// By which names messages came to listeners that may give them back.
    pub(super) origins: Origins,
    committed: BTreeMap<(GroupId, QueueId), u64>,
    ends: BTreeMap<QueueId, u64>,
    /// How far queues of the schedule topic are delivered.
    delivered: BTreeMap<QueueId, u64>,
    /// Queues that a broker in the midst of recovery has told of.
    found: BTreeMap<NodeId, BTreeSet<QueueId>>,
    /// Brokers whose delay levels were changed, and which they have now.
    levels: BTreeMap<NodeId, u32>,
    /// Topics that a broker is deleting, and from which position of its log on records belong to later ones.
    #[cfg(madsim)]
    deleting: BTreeMap<(TopicId, NodeId), u64>,
    /// Topics that were deleted on a broker and not made again.
    gone_topics: BTreeSet<(TopicId, NodeId)>,
    /// Read and write queues of each topic on each broker.
    pub sizes: BTreeMap<(u32, NodeId), (u32, u32)>,
    /// The most of them there ever were.
    most_readable: BTreeMap<(u32, NodeId), u32>,
    /// Up to where each node found its log when it was started last.
    #[cfg(madsim)]
    recovered: BTreeMap<NodeId, u64>,
    /// How often each node has recovered its log.
    #[cfg(madsim)]
    pub(crate) recoveries: BTreeMap<NodeId, u32>,
    /// First acknowledgement of each producer after the faults were over.
    pub acknowledged: Vec<bool>,
    /// Nodes whose disk is out of order, and when others got well again.
    #[cfg(madsim)]
    sick: BTreeMap<NodeId, Option<u64>>,
    /// Programs that did not start.
    pub failed_starts: Vec<(u64, usize, String)>,
    healed: bool,
    /// Nodes that a fault has struck for good.
    pub(crate) outside: BTreeSet<NodeId>,
    silent: bool,
    /// Members by the ids that their clients tell brokers.
    clients: BTreeMap<String, MemberId>,
}

/// A place as clients name it, and where in the log of its broker the record stands.
pub(crate) struct At<'a> {
    pub(crate) topic: &'a str,
    pub(crate) broker: &'a str,
    pub(crate) number: u32,
    pub(crate) offset: u64,
    pub(crate) position: u64,
}

/// A message as a producer makes it.
pub(crate) struct Made {
    pub(crate) producer: u32,
    pub(crate) letter: Letter,
    pub(crate) topic: u32,
    pub(crate) attempts: u32,
    pub(crate) batch: Option<u32>,
    pub(crate) transactional: bool,
}

/// What is counted, see [`Happening`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Counted {
    Append(NodeId),
    Dispatch(NodeId),
    Answer(NodeId),
    Request { code: i32, from: NodeId, to: NodeId },
}

impl Counted {
    fn of(history: &mut History, happening: &Happening) -> Self {
        match happening {
            Happening::Append(broker) => Self::Append(history.node(broker)),
            Happening::Dispatch(broker) => Self::Dispatch(history.node(broker)),
            Happening::Answer(broker) => Self::Answer(history.node(broker)),
            Happening::Request { code, from, to } => {
                Self::Request { code: *code, from: history.node(from), to: history.node(to) }
            }
        }
    }
}

/// The first serial of each producer that no listed call has.
fn next_serials(plan: &Plan) -> Vec<u32> {
    let mut next = vec![0; plan.producers.len()];
    for op in plan.ops.iter().flatten() {
        for letter in &op.messages {
            let next = &mut next[op.producer as usize];
            *next = letter.serial.saturating_add(1).max(*next);
        }
    }
    next
}

impl Recorder {
    /// An empty history that knows who takes part.
    #[must_use]
    pub fn new(plan: &Plan, place: Arc<dyn Place>) -> Self {
        let mut history = History::default();
        history.node("lab");
        for topic in &plan.topics {
            history.topic(&topic.name);
        }
        for (index, broker) in plan.brokers.iter().enumerate() {
            let node = history.node(&format!("b{index}"));
            history.brokers.push(Broker { node, sync_flush: broker.sync_flush });
        }
        history.topic(SCHEDULE);
        history.topic(HALF);
        history.checks = Checks {
            most: plan.setting("transactionCheckMax", 15) as u32,
            interval_ms: plan.setting("transactionCheckInterval", 30_000),
        };
        history.delays_ms =
            plan.levels().map(|levels| levels.iter().map(|seconds| seconds * 1000).collect()).collect();
        let mut number = 0;
        for (index, group) in plan.groups.iter().enumerate() {
            let topic = history.topic(&plan.topics[group.topic as usize].name);
            let limit = group.fails.map_or(u32::MAX, |fails| fails.limit);
            let reads = history.new_group(&group.name, topic, limit);
            reads.tag = group.tag;
            reads.from_end = group.from_end;
            reads.timeout_ms = group.stuck.map_or(reads.timeout_ms, |stuck| stuck.timeout_ms);
            for _ in &group.members {
                let node = history.node(&format!("c{number}"));
                history.members.push(Member { group: GroupId(index as u32), node });
                number += 1;
            }
        }
        for step in &plan.steps {
            let nodes = step.what.nodes().into_iter().map(|name| history.node(name)).collect();
            let late = matches!(step.what, What::Request { harm: Harm::Late { .. }, .. });
            let slows =
                late || matches!(step.what, What::Pause { .. } | What::Slow { .. } | What::SlowSync { .. });
            let kills = step.what.kills();
            let clock = matches!(step.what, What::ClockJump { .. } | What::Drift { .. });
            let (mut jump_ms, mut drift_ppm) = (0, 0);
            match step.what {
                What::ClockJump { by_ms, .. } => jump_ms = by_ms,
                What::Drift { ppm, .. } => drift_ppm = ppm,
                _ => {}
            }
            let fills = matches!(step.what, What::DiskFull { .. });
            let loses = matches!(step.what, What::SyncFails { .. });
            let wide = matches!(
                step.what,
                What::Isolate { .. }
                    | What::Backlog { .. }
                    | What::Partition { .. }
                    | What::Permit { .. }
                    | What::Unwritable { .. }
                    | What::ReadOnly { .. }
                    | What::SetQueues { .. }
                    | What::DeleteTopic { .. }
            );
            let deletes = match step.what {
                What::DeleteTopic { topic, .. } => Some(TopicId(topic)),
                _ => None,
            };
            history.steps.push(Step {
                nodes,
                slows,
                kills,
                clock,
                jump_ms,
                drift_ppm,
                wide,
                loses,
                fills,
                stays: step.stays,
                deletes,
                what: step.what.to_string(),
            });
        }
        history.shared_keys = plan.shared_keys;
        history.rare_ways = plan.buggify > 0 || plan.rare.is_some();
        history.refuses = plan.buggify > 0;
        let silent = |broker: &crate::plan::Broker| {
            broker
                .config
                .iter()
                .any(|(key, value)| key == "notifyConsumerIdsChangedEnable" && value == "false")
        };
        history.notifies = !plan.brokers.iter().any(silent);
        for (index, producer) in plan.producers.iter().enumerate() {
            let node = history.node(&format!("p{index}"));
            history.producers.push(Writer {
                node,
                group: producer.group,
                limit_ms: producer.timeout_ms,
                checks: producer.checks.map_or(0, |checks| checks.concurrency),
            });
        }
        let moments = plan.steps.iter().filter_map(|step| step.on.as_ref());
        let awaited =
            moments.map(|moment| (Counted::of(&mut history, &moment.of), Arc::new(Watermark::new(0))));
        let awaited = awaited.collect();
        let live = Live {
            history,
            place,
            #[cfg(madsim)]
            nodes: Vec::new(),
            addresses: BTreeMap::new(),
            open: BTreeMap::new(),
            serials: vec![BTreeMap::new(); plan.producers.len()],
            next: next_serials(plan),
            began_ns: 0,
            ops: Vec::new(),
            awaited,
            written: Vec::new(),
            batches: 0,
            open_halves: BTreeMap::new(),
            #[cfg(madsim)]
            giving_up: BTreeMap::new(),
            loading: BTreeMap::new(),
            gone: BTreeSet::new(),
            halves: BTreeMap::new(),
            keys: BTreeMap::new(),
            placed: Vec::new(),
            ids: Vec::new(),
            origins: Origins::default(),
            committed: BTreeMap::new(),
            ends: BTreeMap::new(),
            delivered: BTreeMap::new(),
            found: BTreeMap::new(),
            levels: BTreeMap::new(),
            #[cfg(madsim)]
            deleting: BTreeMap::new(),
            gone_topics: BTreeSet::new(),
            sizes: BTreeMap::new(),
            most_readable: BTreeMap::new(),
            #[cfg(madsim)]
            recovered: BTreeMap::new(),
            #[cfg(madsim)]
            recoveries: BTreeMap::new(),
            acknowledged: vec![false; plan.producers.len()],
            #[cfg(madsim)]
            sick: BTreeMap::new(),
            failed_starts: Vec::new(),
            healed: false,
            outside: BTreeSet::new(),
            silent: false,
            clients: BTreeMap::new(),
        };
        Self { live: Arc::new(Mutex::new(live)) }
    }

    /// An empty history of a run in which no part of the system tells about itself.
    #[must_use]
    pub fn untapped(plan: &Plan, place: Arc<dyn Place>) -> Self {
        let elapsed_ms = (place.elapsed_ns() / 1_000_000) as i64;
        let recorder = Self::new(plan, place);
        let mut live = recorder.live();
        live.history.untapped = true;
        live.history.began_ms = clock::now_ms() - elapsed_ms;
        drop(live);
        recorder
    }

    /// A broker took an operator's order: a topic has these queues. Taps tell it themselves.
    pub(crate) fn ordered(&self, broker: NodeId, topic: &str, read: u32, write: u32) {
        let mut live = self.live();
        if let Some(topic) = live.history.known_topic(topic).filter(|_| live.history.untapped) {
            live.topic_set(topic, broker, read, write);
        }
    }

    /// The history in the making, held by the caller until it lets go.
    pub fn live(&self) -> MutexGuard<'_, Live> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes a node of the world known.
    #[cfg(madsim)]
    pub(crate) fn know(&self, node: Node) {
        let id = self.meet(&node.name(), &node.ip().to_string());
        let (mut live, place) = (self.live(), node.number() as usize);
        if live.nodes.len() <= place {
            live.nodes.resize(place + 1, NodeId(0));
        }
        live.nodes[place] = id;
    }

    /// The history's number of a node.
    #[cfg(madsim)]
    pub(crate) fn id(&self, node: Node) -> NodeId {
        self.live().nodes[node.number() as usize]
    }

    /// Makes known that a node has this address, perhaps one more.
    pub fn meet(&self, name: &str, ip: &str) -> NodeId {
        let mut live = self.live();
        let id = live.history.node(name);
        live.addresses.insert(ip.to_owned(), id);
        id
    }

    /// All brokers, in the order of the plan.
    pub(crate) fn brokers(&self) -> Vec<NodeId> {
        self.live().history.brokers.iter().map(|broker| broker.node).collect()
    }

    /// Something happened on a node.
    pub fn push(&self, node: NodeId, kind: Kind) {
        self.live().push(node, kind);
    }

    /// The history as it is now; nothing is added any more.
    #[must_use]
    pub fn finish(&self) -> History {
        let mut live = self.live();
        live.silent = true;
        std::mem::take(&mut live.history)
    }

    /// Time since the run began.
    pub(crate) fn elapsed_ns(&self) -> u64 {
        self.live().place.elapsed_ns()
    }

    /// A serial that no message of the producer has yet.
    pub(crate) fn serial(&self, producer: u32) -> u32 {
        let next = &mut self.live().next[producer as usize];
        *next += 1;
        *next - 1
    }

    /// A producer begins a call.
    pub(crate) fn begins(&self, op: &Op) {
        let since_us = self.since_us();
        self.live().ops.push(Op { at_us: since_us, ..op.clone() });
    }

    /// The load begins.
    pub(crate) fn load_begins(&self) {
        let now = self.elapsed_ns();
        self.live().began_ns = now;
    }

    /// How long ago the load began.
    pub(crate) fn since_us(&self) -> u64 {
        let now = self.elapsed_ns();
        (now - self.live().began_ns) / 1000
    }

    /// Waits for a moment that some step of the plan names.
    #[cfg(madsim)]
    pub(crate) async fn moment(&self, moment: &Moment) {
        let mark = {
            let live = &mut *self.live();
            live.awaited[&Counted::of(&mut live.history, &moment.of)].clone()
        };
        mark.reach(moment.nth).await.expect("nobody closes it");
        sleep(Duration::from_micros(moment.later_us)).await;
    }

    /// A request was seen on its way.
    #[cfg(madsim)]
    pub(crate) fn request(&self, code: i32, from: Node, to: Node) {
        let live = self.live();
        let node = |node: Node| live.nodes[node.number() as usize];
        live.count(Counted::Request { code, from: node(from), to: node(to) });
    }

    /// A new message of a producer, which calls send with it now.
    pub(crate) fn message(&self, made: Made) -> MessageId {
        let Made { producer, letter, topic, attempts, batch, transactional } = made;
        let Letter { serial, tag, bytes, level } = letter;
        let mut live = self.live();
        let topic = TopicId(topic); // topics are numbered in the order of the plan
        let delay_level = (level > 0).then_some(level);
        let id = live.history.message(Message {
            producer,
            serial,
            topic,
            tag,
            attempts,
            batch,
            delay_level,
            transactional,
        });
        live.serials[producer as usize].insert(serial, id);
        live.written.push(Written { bytes, from_ms: clock::now_ms(), until_ms: None });
        let node = live.history.producers[producer as usize].node;
        live.push(node, Kind::Send { message: id });
        id
    }

    /// A producer chose a queue for a message that has to wait first. Taps tell it themselves.
    pub(crate) fn meant(&self, id: MessageId, broker: &str, number: u32) {
        let mut live = self.live();
        let Some(broker) = live.history.known_node(broker) else { return };
        let Message { topic, delay_level, .. } = live.history.messages[id.index()];
        if live.history.untapped && delay_level.is_some() {
            let queue = live.history.queue(topic, broker, number);
            live.history.meant.insert(id, queue);
        }
    }

    /// A member says which queues it holds; `before` is what it said last.
    pub(crate) fn holds(&self, member: MemberId, before: &mut BTreeSet<QueueId>, now: &[MessageQueue]) {
        let mut live = self.live();
        let mut held = BTreeSet::new();
        for queue in now {
            let topic = live.history.known_topic(&queue.topic);
            if let Some((topic, broker)) = topic.zip(live.history.known_node(&queue.broker)) {
                held.insert(live.history.queue(topic, broker, queue.id as u32));
            }
        }
        let node = live.history.members[member.index()].node;
        for (queues, on) in [(before.difference(&held), false), (held.difference(before), true)] {
            for queue in queues {
                live.push(node, Kind::Holds { member, queue: *queue, on });
            }
        }
        *before = held;
    }

    /// A member's client tells brokers this id.
    pub(crate) fn client(&self, id: &str, member: MemberId) {
        self.live().clients.insert(id.to_owned(), member);
    }

    /// A broker names these clients as the members of a group.
    pub(crate) fn members(&self, broker: NodeId, group: GroupId, clients: &[Text]) {
        let mut live = self.live();
        let known = clients.iter().filter_map(|id| live.clients.get(&**id));
        let members = known.fold(0, |bits, member| bits | 1_u64.checked_shl(member.0).unwrap_or(0));
        live.push(broker, Kind::Members { group, members, named: clients.len() as u32 });
    }

    /// An operator gives a server an order.
    pub(crate) fn orders(&self, server: NodeId, what: Keeps, name: &str, value: Option<u64>) -> RegisterId {
        let mut live = self.live();
        let register = live.history.register(server, what, name);
        live.push(server, Kind::Ordered { register, value });
        register
    }

    /// A server that was asked says what it keeps.
    pub(crate) fn shown(
        &self,
        server: NodeId,
        (what, name): (Keeps, &str),
        asked_ns: u64,
        value: Option<u64>,
    ) {
        let mut live = self.live();
        let register = live.history.register(server, what, name);
        live.push(server, Kind::Shown { register, asked_ns, value });
    }

    /// The number of one more batch.
    pub(crate) fn batch(&self) -> u32 {
        let mut live = self.live();
        live.batches += 1;
        live.batches
    }

    /// An acknowledgement came with this offset id and this unique key.
    pub(crate) fn named(&self, id: MessageId, offset_id: &str, unique: &str) {
        self.live().ids.push((id, offset_id.to_owned(), unique.to_owned()));
    }

    /// Which message has this unique key.
    pub(crate) fn keyed(&self, key: &str, message: MessageId) {
        let live = &mut *self.live();
        live.keys.insert(key.to_owned(), message);
        for ((of, _), half) in &live.halves {
            if of == key {
                live.history.halves[half.index()].message = Some(message);
            }
        }
    }

    /// A transaction asks to be left alone for so many seconds.
    pub(crate) fn immune(&self, id: MessageId, seconds: Option<u64>) {
        self.live().history.immune_ms.extend(seconds.map(|seconds| (id, seconds * 1000)));
    }

    /// A producer looks for the outcome of a half message that the broker at this address asks about.
    pub(crate) fn asking(&self, producer: NodeId, key: &str, broker: IpAddr) {
        self.check(producer, key, broker, |half| Kind::Asking { half });
    }

    /// A producer was asked about the half message with this key by the broker at this address.
    pub(crate) fn asked(&self, producer: NodeId, key: &str, broker: IpAddr, commit: Option<bool>) {
        self.check(producer, key, broker, |half| Kind::Asked { half, commit });
    }

    fn check(&self, producer: NodeId, key: &str, broker: IpAddr, kind: impl FnOnce(HalfId) -> Kind) {
        let mut live = self.live();
        let Some(broker) = live.addresses.get(&broker.to_string()).copied() else { return };
        let half = live.half(key, broker);
        live.push(producer, kind(half));
    }

    /// A broker answered a producer that it has taken its decision. Taps tell more than that.
    pub(crate) fn ended(&self, producer: NodeId, message: MessageId, commit: bool) {
        let mut live = self.live();
        if live.history.untapped {
            live.push(producer, Kind::Ended { message, commit });
        }
    }

    /// A send returned.
    pub(crate) fn sent(&self, id: MessageId, outcome: Outcome, attempts: u32, at: Option<At<'_>>) {
        let mut live = self.live();
        let at = at.and_then(|at| live.slot(at));
        if outcome == Outcome::Ok {
            live.placed.extend(at.map(|slot| (id, slot)));
        }
        let message = &mut live.history.messages[id.index()];
        message.attempts = attempts.min(message.attempts).max(1);
        let producer = message.producer as usize;
        live.written[id.index()].until_ms = Some(clock::now_ms());
        if outcome == Outcome::Ok && live.healed {
            live.acknowledged[producer] = true;
        }
        let node = live.history.producers[producer].node;
        live.push(node, Kind::Sent { message: id, outcome, at });
    }

    /// A producer goes away for good: nobody waits for it any more.
    pub fn gone(&self, producer: u32) {
        let mut live = self.live();
        live.acknowledged[producer as usize] = true;
        live.gone.insert(producer);
    }

    /// Up to where a node found its log when it was started last.
    #[cfg(madsim)]
    pub(crate) fn recovered(&self, node: Node) -> u64 {
        let live = self.live();
        live.recovered.get(&live.nodes[node.number() as usize]).copied().unwrap_or(0)
    }

    /// True when a fault has struck a node for good.
    #[cfg(madsim)]
    pub(crate) fn is_outside(&self, node: Node) -> bool {
        let live = self.live();
        live.outside.contains(&live.nodes[node.number() as usize])
    }

    /// The disk of a node is lost: it has no topic any more.
    #[cfg(madsim)]
    pub(crate) fn lost(&self, node: Node) {
        let id = self.id(node);
        let mut live = self.live();
        live.sizes.retain(|(_, broker), _| *broker != id);
        live.most_readable.retain(|(_, broker), _| *broker != id);
    }

    /// The newest messages with a shared key were asked for.
    pub(crate) fn newest(&self, newest: Newest) {
        let mut live = self.live();
        let which = live.history.newest.len() as u32;
        let broker = newest.brokers[0];
        live.history.newest.push(newest);
        live.push(broker, Kind::Newest { which });
    }

    /// A bit turned on the disk of a broker.
    #[cfg(madsim)]
    pub(crate) fn rotten(&self, rotten: Rotten) {
        let mut live = self.live();
        let which = live.history.rotten.len() as u32;
        live.history.rotten.push(rotten);
        live.push(rotten.broker, Kind::Rotten { which });
    }

    /// A broker that is down has the delay levels of this step of the plan when it starts again.
    pub fn set_levels(&self, broker: NodeId, plan: &Plan, step: u32) {
        let before = plan.steps[..step as usize].iter();
        let set = 1 + before.filter(|step| matches!(step.what, What::Levels { .. })).count() as u32;
        let mut live = self.live();
        live.levels.insert(broker, set);
        live.push(broker, Kind::Levels { set });
    }

    /// How long each delay level of a broker that starts now holds a message, ms.
    #[must_use]
    pub fn levels(&self, broker: NodeId) -> Vec<u64> {
        let live = self.live();
        let set = live.levels.get(&broker).copied().unwrap_or(0);
        live.history.delays_ms[set as usize].clone()
    }

    /// The disk of a node is out of order from now on, or no longer.
    #[cfg(madsim)]
    pub(crate) fn sick(&self, node: NodeId, on: bool) {
        let now = self.elapsed_ns();
        self.live().sick.insert(node, if on { None } else { Some(now) });
    }

    /// True when the disk of a node was out of order at some moment since then.
    #[cfg(madsim)]
    pub(crate) fn was_sick(&self, node: NodeId, since_ns: u64) -> bool {
        self.live().sick.get(&node).is_some_and(|until| until.is_none_or(|until| until >= since_ns))
    }

    /// A program did not start, or did not do what it must.
    pub fn failed_start(&self, node: &str, why: &str) {
        let mut live = self.live();
        let at_ns = live.place.elapsed_ns();
        let event = live.history.events.len().saturating_sub(1);
        live.failed_starts.push((at_ns, event, format!("{node} does not serve: {why}.")));
    }

    /// Subscribes to the taps of a run.
    #[cfg(madsim)]
    pub(crate) fn listen(&self, world: World) {
        let recorder = self.clone();
        world.subscribe(move |tap| recorder.live().tap(tap));
    }
}

impl Live {
    fn push(&mut self, node: NodeId, kind: Kind) {
        if self.silent {
            return;
        }
        let at_ns = self.place.elapsed_ns();
        let mut fold = Fold(0);
        (node, kind).hash(&mut fold);
        self.place.written(self.history.events.len() as u64, fold.finish());
        self.healed |= kind == Kind::Heal;
        self.history.push(at_ns, node, kind);
        match kind {
            Kind::StepOn { step } if self.history.steps[step as usize].stays => {
                self.outside.extend(self.history.steps[step as usize].nodes.iter().copied());
            }
            Kind::Append { .. } => self.count(Counted::Append(node)),
            Kind::Dispatched { .. } => self.count(Counted::Dispatch(node)),
            Kind::Acked { .. } => self.count(Counted::Answer(node)),
            _ => {}
        }
    }

    fn count(&self, counted: Counted) {
        if let Some(mark) = self.awaited.get(&counted) {
            mark.advance(mark.get() + 1);
        }
    }

    fn topic_set(&mut self, topic: TopicId, broker: NodeId, read: u32, write: u32) {
        let again = self.gone_topics.remove(&(topic, broker));
        if again {
            self.history.renew(topic, broker);
            self.most_readable.remove(&(topic.0, broker));
        }
        let most = self.most_readable.entry((topic.0, broker)).or_default();
        *most = read.max(*most);
        if self.sizes.insert((topic.0, broker), (read, write)) == Some((read, write)) {
            return; // told again
        }
        for number in 0..read {
            self.history.queue(topic, broker, number);
        }
        self.push(broker, Kind::TopicSet { topic, broker, read, write });
        if again {
            self.go_on(topic, broker);
        }
    }

    /// Who pulled a queue when its topic was deleted, or took it since, pulls the one that has its name now.
    fn go_on(&mut self, topic: TopicId, broker: NodeId) {
        let history = &self.history;
        let of_topic =
            |queue: &QueueId| !history.lives(*queue) && history.queues[queue.index()].is_of(topic, broker);
        let owned = self.open.extract_if(.., |(_, queue), _| of_topic(queue)).collect::<Vec<_>>();
        for ((member, queue), old) in owned {
            let node = self.history.members[member.index()].node;
            let stands = self.history.events.iter().rev().find_map(|event| match event.kind {
                Kind::Pulled { session, next, .. } if session == old => Some(next),
                Kind::SessionStart { session, offset, .. } if session == old => Some(offset),
                _ => None,
            });
            let queue = self.history.queue(topic, broker, self.history.queues[queue.index()].number);
            let session = self.history.new_session();
            self.open.insert((member, queue), session);
            self.push(node, Kind::SessionEnd { session: old });
            self.push(node, Kind::SessionStart { session, member, queue, offset: stands.unwrap_or(0) });
        }
    }

    /// A broker was asked for the end of a queue, when nothing else tells of it.
    pub(super) fn ends_at(&mut self, queue: QueueId, max: u64) {
        if self.history.untapped {
            self.ends.insert(queue, max);
        }
    }

    /// A broker was asked how far a group is.
    pub(super) fn committed(&mut self, broker: NodeId, group: GroupId, queue: QueueId, offset: u64) {
        self.committed.insert((group, queue), offset);
        self.push(broker, Kind::Committed { group, queue, offset });
    }

    /// What each group still has to handle by the word of producers and listeners alone: what was acknowledged, and as
    /// a transaction committed as well.
    fn unhandled(&self) -> u64 {
        let history = &self.history;
        let (mut due, mut done) = (BTreeSet::new(), BTreeSet::new());
        let mut within: BTreeMap<(MemberId, Slot), (MessageId, u32)> = BTreeMap::new();
        for event in &history.events {
            match event.kind {
                Kind::Sent { message, outcome: Outcome::Ok, .. }
                    if !history.messages[message.index()].transactional =>
                {
                    due.insert(message);
                }
                Kind::Ended { message, commit: true } => drop(due.insert(message)),
                Kind::Asked { half, commit: Some(true) } => due.extend(history.halves[half.index()].message),
                Kind::Enter { member, slot, message: Some(message), times, .. } => {
                    within.insert((member, slot), (message, times));
                }
                Kind::Exit { member, slot, ok } => {
                    let group = history.members[member.index()].group;
                    let Some(&(message, times)) = within.get(&(member, slot)) else { continue };
                    if ok || times >= history.groups[group.index()].limit {
                        done.insert((group, message));
                    }
                }
                _ => {}
            }
        }
        let groups = (0..history.groups.len() as u32).map(GroupId);
        let open = |group: GroupId| {
            let takes = |message: &&MessageId| history.matches(group, **message);
            due.iter().filter(takes).filter(|message| !done.contains(&(group, **message))).count() as u64
        };
        groups.map(open).sum()
    }

    /// The queue of the lab's topics that is meant.
    #[cfg(madsim)]
    fn queue(&mut self, topic: &str, broker: &str, number: u32) -> Option<QueueId> {
        let topic = self.history.known_topic(topic)?;
        let broker = self.history.known_node(broker)?;
        Some(self.history.queue(topic, broker, number))
    }

    /// The place that is meant.
    pub(crate) fn slot(&mut self, at: At<'_>) -> Option<Slot> {
        let topic = self.history.known_topic(at.topic)?;
        let broker = self.history.known_node(at.broker)?;
        Some(Slot { queue: self.history.queue_at(topic, broker, at.number, at.position), offset: at.offset })
    }

    /// The message with this producer and serial.
    pub(crate) fn find(&self, producer: u32, serial: u32) -> Option<MessageId> {
        self.serials.get(producer as usize)?.get(&serial).copied()
    }

    /// Whether a message says that it was born where and when its producer sent it.
    fn is_born_right(&self, id: MessageId, seen: &Seen<'_>) -> bool {
        // Between real processes there are proxies.
        if self.history.untapped {
            return true;
        }
        let home = self.addresses.get(&seen.born_ip.to_string()).copied();
        let birth = Birth { home, at_ms: seen.born_ms, lies_in: self.history.known_topic(seen.lies_in) };
        let Written { from_ms, until_ms, .. } = self.written[id.index()];
        birth.fits(&self.history, id, (from_ms, until_ms))
    }

    /// Messages not yet covered by a commit, over all groups and readable queues.
    #[must_use]
    pub fn rest(&self) -> u64 {
        let mut rest = 0;
        for index in 0..self.history.groups.len() {
            for (queue, end) in &self.ends {
                let facts = self.history.queues[queue.index()];
                let size = self.sizes.get(&(facts.topic.0, facts.broker));
                let read = size.map_or(u32::MAX, |(read, _)| *read);
                let there = facts.number < read && !self.outside.contains(&facts.broker);
                if there && self.history.reads(GroupId(index as u32), *queue) {
                    let done = self.committed.get(&(GroupId(index as u32), *queue)).copied().unwrap_or(0);
                    rest += end.saturating_sub(done);
                }
            }
        }
        let waiting = self.ends.iter().filter(|(queue, _)| self.history.is_schedule(**queue));
        let waiting =
            waiting.map(|(queue, end)| end.saturating_sub(self.delivered.get(queue).copied().unwrap_or(0)));
        let undecided = self.open_halves.values().filter(|half| !self.is_deserted(**half)).count();
        if self.history.untapped {
            return rest.max(self.unhandled());
        }
        let loading = self.loading.keys().filter(|node| !self.outside.contains(node)).count();
        rest + waiting.sum::<u64>() + (undecided + loading) as u64
    }

    /// True when all who could tell the outcome of a half message went away for good.
    fn is_deserted(&self, half: HalfId) -> bool {
        let Some(group) = self.history.producer_group(half) else { return false };
        let mut members = self.history.producers.iter().zip(0..).filter(|(writer, _)| writer.group == group);
        members.all(|(_, index)| self.gone.contains(&index))
    }

    /// Messages beyond this queue number on a broker that some group has not covered by a commit.
    #[must_use]
    pub fn rest_beyond(&self, topic: u32, broker: NodeId, number: u32) -> u64 {
        let mut rest = 0;
        for (index, _) in self.history.groups.iter().enumerate().filter(|(_, group)| group.topic.0 == topic) {
            for (queue, end) in &self.ends {
                let facts = self.history.queues[queue.index()];
                if facts.topic.0 == topic && facts.broker == broker && facts.number >= number {
                    let done = self.committed.get(&(GroupId(index as u32), *queue)).copied().unwrap_or(0);
                    rest += end.saturating_sub(done);
                }
            }
        }
        rest
    }

    /// All queues that clients may read: not what a broker takes from a record that rotted, of a queue that never was.
    #[must_use]
    pub fn queues(&self) -> Vec<QueueId> {
        let all = (0..self.history.queues.len() as u32).map(QueueId);
        let there = |queue: &QueueId| {
            let facts = self.history.queues[queue.index()];
            let most = self.most_readable.get(&(facts.topic.0, facts.broker));
            let was = self.history.untapped || most.is_some_and(|most| facts.number < *most);
            was && !self.outside.contains(&facts.broker)
        };
        let clients = |queue: &QueueId| !self.history.is_inner(*queue) && self.history.lives(*queue);
        all.filter(|queue| clients(queue) && there(queue)).collect()
    }

    /// The half message with this unique key on a broker.
    fn half(&mut self, key: &str, broker: NodeId) -> HalfId {
        let next = HalfId(self.history.halves.len() as u32);
        let half = *self.halves.entry((key.to_owned(), broker)).or_insert(next);
        if half == next {
            let message = self.keys.get(key).copied();
            self.history.halves.push(Half { broker, message });
        }
        half
    }

    /// Forgets what a dead node's memory held.
    pub fn forget(&mut self, node: NodeId) {
        if self.history.brokers.iter().any(|broker| broker.node == node) {
            self.loading.insert(node, BTreeMap::new());
        }
        self.found.remove(&node);
        let members = &self.history.members;
        self.open.retain(|(member, _), _| members[member.index()].node != node);
    }
}

#[cfg(madsim)]
impl Live {
    fn tap(&mut self, tap: &Tap<'_>) {
        let Some(&node) = self.nodes.get(tap.node.number() as usize) else { return };
        let fields = Fields(tap);
        match tap.name {
            "append" => {
                let (Some(queue), offset) = (self.tapped_queue(&fields, node), fields.number("offset"))
                else {
                    return;
                };
                let (position, end) = (fields.number("position"), fields.number("end"));
                // A batch is one append of several records; its members stand behind each other.
                for offset in offset..offset + fields.number("count").max(1) {
                    self.push(node, Kind::Append { slot: Slot { queue, offset }, position, end });
                    self.ends.insert(queue, offset + 1);
                }
            }
            "flush" | "flushed" => self.push(node, Kind::Flushed { end: fields.number("end") }),
            "recovered" => {
                self.deleted_or_not(node);
                self.nothing_left(node);
                *self.recoveries.entry(node).or_default() += 1;
                let end = fields.number("end");
                self.recovered.insert(node, end);
                self.push(node, Kind::Recovered { end });
            }
            "queue_recovered" => {
                let Some(queue) = self.tapped_queue(&fields, node) else { return };
                let (min, max) = (fields.number("min"), fields.number("max"));
                self.ends.insert(queue, max);
                self.found.entry(node).or_default().insert(queue);
                self.push(node, Kind::QueueRecovered { queue, min, max });
            }
            "dispatch" => {
                let Some(queue) = self.tapped_queue(&fields, node) else { return };
                self.push(node, Kind::Dispatched { slot: Slot { queue, offset: fields.number("offset") } });
            }
            "acked" => {
                let Some(topic) = self.history.known_topic(fields.text("topic")) else { return };
                let Ok(number) = u32::try_from(fields.signed("queue")) else { return };
                let (end, code) = (fields.number("end"), fields.signed("code") as i32);
                let queue = self.history.queue_at(topic, node, number, end.saturating_sub(1));
                let slot = Slot { queue, offset: fields.number("offset") };
                self.push(node, Kind::Acked { slot, end, code });
            }
            "offset_stored" | "offset_loaded" => {
                let group = self.history.group(fields.text("group"));
                let (Some(group), Some(queue)) = (group, self.tapped_queue(&fields, node)) else { return };
                let offset = fields.number("offset");
                self.committed.insert((group, queue), offset);
                let loaded = tap.name == "offset_loaded";
                let kind = if loaded {
                    Kind::Loaded { group, queue, offset }
                } else {
                    Kind::Stored { group, queue, offset }
                };
                self.push(node, kind);
            }
            "delay_stored" => {
                let Some(target) = self.tapped_queue(&fields, node) else { return };
                let Some(queue) = self.schedule_queue(&fields, node) else { return };
                let slot = Slot { queue, offset: fields.number("offset") };
                self.push(node, Kind::DelayStored { slot, target });
            }
            "delay_delivered" => {
                let Some(target) = self.tapped_queue(&fields, node) else { return };
                let Some(queue) = self.schedule_queue(&fields, node) else { return };
                let (from, to) = (fields.number("from"), fields.number("offset"));
                self.delivered.insert(queue, from + 1);
                let (from, to) = (Slot { queue, offset: from }, Slot { queue: target, offset: to });
                self.push(node, Kind::DelayDelivered { from, to });
            }
            "delay_skipped" => {
                let Some(queue) = self.schedule_queue(&fields, node) else { return };
                let offset = fields.number("offset");
                self.delivered.insert(queue, offset + 1);
                self.push(node, Kind::DelaySkipped { from: Slot { queue, offset } });
            }
            "delay_offset" => {
                let Some(queue) = self.schedule_queue(&fields, node) else { return };
                let (offset, loaded) = (fields.number("offset"), fields.text("why") == "loaded");
                if loaded {
                    self.delivered.insert(queue, offset);
                }
                self.push(node, Kind::DelayOffset { queue, offset, loaded });
            }
            "sent_back" => {
                let group = self.history.group(fields.text("group"));
                let (Some(group), Some(queue)) = (group, self.tapped_queue(&fields, node)) else { return };
                let slot = Slot { queue, offset: fields.number("offset") };
                let dlq = self.history.groups[group.index()].dlq;
                let dead = self.history.known_topic(fields.text("to")) == Some(dlq);
                let (times, level) = (fields.number("times") as u32, fields.number("level") as u32);
                let code = fields.signed("code") as i32;
                let to = match level {
                    0 => self.history.queue(dlq, node, fields.number("to_queue") as u32),
                    _ => self.schedule_queue(&fields, node).expect("its topic is known"),
                };
                let to = Slot { queue: to, offset: fields.number("at") };
                let end = fields.number("end");
                self.push(node, Kind::SentBack { group, slot, times, level, dead, code, to, end });
            }
            "client.copied_back" => {
                let group = self.history.group(fields.text("group"));
                let queue = u32::try_from(fields.signed("queue")).ok();
                let queue = queue.and_then(|it| self.queue(fields.text("topic"), fields.text("broker"), it));
                let to = self.history.known_node(fields.text("to"));
                let (Some(group), Some(queue), Some(to)) = (group, queue, to) else { return };
                let slot = Slot { queue, offset: fields.number("offset") };
                let (times, done) = (fields.number("times") as u32, fields.number("done") == 1);
                self.push(node, Kind::CopiedBack { group, slot, times, to, done });
            }
            "client.check_came" => {
                let Some(broker) = self.history.known_node(fields.text("broker")) else { return };
                let half = self.half(fields.text("key"), broker);
                self.push(node, Kind::CheckCame { half });
            }
            "half_stored" => {
                let half = self.half(fields.text("key"), node);
                let (offset, end) = (fields.number("offset"), fields.number("end"));
                let immunity_ms = fields.number("immunity_ms");
                self.open_halves.insert((node, offset), half);
                self.push(node, Kind::HalfStored { half, offset, end, immunity_ms });
            }
            "half_ended" => {
                let half = self.half(fields.text("key"), node);
                let (commit, mended) = (fields.text("decision") == "commit", fields.number("mended") == 1);
                self.close(half, node);
                self.push(node, Kind::HalfEnded { half, commit, mended, end: fields.number("end") });
            }
            "half_checked" => {
                let half = self.half(fields.text("key"), node);
                self.push(node, Kind::HalfChecked { half, checks: fields.number("checks") as u32 });
            }
            "half_put_back" => {
                let half = self.half(fields.text("key"), node);
                let (from, offset, end) =
                    (fields.number("from"), fields.number("offset"), fields.number("end"));
                self.open_halves.retain(|_, open| *open != half);
                self.open_halves.insert((node, offset), half);
                let checks = fields.number("checks") as u32;
                self.push(node, Kind::HalfPutBack { half, from, offset, end, checks });
            }
            "half_giving_up" => {
                let half = self.half(fields.text("key"), node);
                self.giving_up.insert(node, (half, fields.number("checks") as u32));
            }
            "half_given_up" => {
                let half = self.half(fields.text("key"), node);
                self.close(half, node);
                let (checks, end) = (fields.number("checks") as u32, fields.number("end"));
                self.push(node, Kind::HalfGivenUp { half, checks, end });
            }
            "half_loaded" => {
                let half = self.half(fields.text("key"), node);
                let (offset, checks) = (fields.number("offset"), fields.number("checks") as u32);
                self.loading.entry(node).or_default().insert(half, offset);
                self.push(node, Kind::HalfLoaded { half, offset, checks });
            }
            "halves_loaded" => {
                self.open_halves.retain(|(of, _), _| *of != node);
                let found = self.loading.remove(&node).unwrap_or_default();
                if let Some((half, checks)) = self.giving_up.remove(&node)
                    && !found.contains_key(&half)
                {
                    self.push(node, Kind::HalfGivenUp { half, checks, end: 0 });
                }
                self.open_halves.extend(found.into_iter().map(|(half, offset)| ((node, offset), half)));
                self.push(node, Kind::HalvesLoaded);
            }
            "read_beyond" => {
                let Some(queue) = self.tapped_queue(&fields, node) else { return };
                let (asked, next) = (fields.number("asked"), fields.number("next"));
                self.push(node, Kind::ReadBeyond { queue, asked, next });
            }
            "half_offset" => self.push(node, Kind::HalfOffset { offset: fields.number("offset") }),
            "offsets_taken" => self.push(node, Kind::OffsetsTaken),
            "offsets_persisted" => self.push(node, Kind::OffsetsPersisted),
            "topic_set" => {
                let Some(topic) = self.history.known_topic(fields.text("topic")) else { return };
                let (read, write) = (fields.number("read") as u32, fields.number("write") as u32);
                self.topic_set(topic, node, read, write);
            }
            "topic_unlisted" => {
                let Some(topic) = self.history.known_topic(fields.text("topic")) else { return };
                self.sizes.remove(&(topic.0, node));
                let queues = &self.history.queues;
                self.committed.retain(|(_, queue), _| !queues[queue.index()].is_of(topic, node));
                self.push(node, Kind::TopicUnlisted { topic, broker: node });
            }
            "delete_topic" => {
                let Some(topic) = self.history.known_topic(fields.text("topic")) else { return };
                self.deleting.insert((topic, node), fields.number("position"));
                self.push(node, Kind::TopicDeleting { topic, broker: node });
            }
            "topic_deleted" => {
                let Some(topic) = self.history.known_topic(fields.text("topic")) else { return };
                self.topic_deleted(topic, node);
            }
            "route.register" | "route.heard" | "route.remove" => {
                let Some(broker) = self.at_address(fields.text("address")) else { return };
                let peer = fields.number("peer");
                let kind = match (tap.name, fields.text("why")) {
                    ("route.register", _) => {
                        let (version, made_ms) = (fields.number("version"), fields.number("made_ms"));
                        Kind::Registered { broker, peer, version, made_ms }
                    }
                    ("route.heard", _) => Kind::Heard { broker, peer },
                    (_, "expired") => Kind::Removed { broker, why: Why::Expired },
                    (_, "unregistered") => Kind::Removed { broker, why: Why::Unregistered },
                    _ => Kind::Removed { broker, why: Why::Closed },
                };
                self.push(node, kind);
            }
            "connection_ends" => {
                let left = fields.number("left") as u32;
                let (overdue_ms, silent_ms) = (fields.number("overdue_ms"), fields.number("silent_ms"));
                self.push(node, Kind::ConnectionEnds { left, overdue_ms, silent_ms });
            }
            "client.given_up" => {
                let client = self.at_address(fields.text("address"));
                if let Some(client) = client.filter(|_| fields.number("alone") == 1) {
                    self.push(node, Kind::GivenUp { client });
                }
            }
            "client.route_answered" => {
                let Some(topic) = self.history.known_topic(fields.text("topic")) else { return };
                self.push(node, Kind::RouteAnswered { topic, found: fields.number("found") == 1 });
            }
            "spin" => self.push(node, Kind::Spun),
            "route.peer_closed" => self.push(node, Kind::PeerClosed { peer: fields.number("peer") }),
            "client.session" => self.session(&fields, node),
            "client.pulled" => {
                let Some((_, open)) = self.member_and_session(&fields, node) else { return };
                let Some(session) = open else { return };
                let (from, next) = (fields.number("from"), fields.number("next"));
                self.push(node, Kind::Pulled { session, from, next, count: fields.number("count") as u32 });
            }
            _ => {}
        }
    }

    /// A half message has come to its end.
    fn close(&mut self, half: HalfId, node: NodeId) {
        self.open_halves.retain(|_, open| *open != half);
        self.giving_up.retain(|_, (open, _)| *open != half);
        if let Some(found) = self.loading.get_mut(&node) {
            found.remove(&half);
        }
    }

    /// The deletion of a topic is durable.
    fn topic_deleted(&mut self, topic: TopicId, broker: NodeId) {
        let Some(position) = self.deleting.remove(&(topic, broker)) else { return };
        self.history.delete_queues(topic, broker, position);
        let history = &self.history;
        self.ends.retain(|queue, _| history.lives(*queue));
        self.push(broker, Kind::TopicDeleted { topic, broker });
        if self.sizes.contains_key(&(topic.0, broker)) {
            // It was made again while the disk refused the deletion.
            self.history.renew(topic, broker);
        } else {
            self.gone_topics.insert((topic, broker));
        }
    }

    /// What a broker had begun to delete when it died is deleted, unless it has found a queue of it.
    fn deleted_or_not(&mut self, broker: NodeId) {
        let begun = self.deleting.keys().filter(|(_, of)| *of == broker).map(|(topic, _)| *topic);
        for topic in begun.collect::<Vec<_>>() {
            let found = self.found.get(&broker).into_iter().flatten();
            if found.into_iter().any(|queue| self.history.queues[queue.index()].topic == topic) {
                self.deleting.remove(&(topic, broker));
            } else {
                self.topic_deleted(topic, broker);
            }
        }
    }

    /// A queue that a recovery did not find has lost everything: the broker itself cannot tell of it.
    fn nothing_left(&mut self, node: NodeId) {
        let found = self.found.remove(&node).unwrap_or_default();
        let history = &self.history;
        let lost = self.ends.iter().filter(|(queue, end)| {
            **end > 0 && history.queues[queue.index()].broker == node && !found.contains(queue)
        });
        for queue in lost.map(|(queue, _)| *queue).collect::<Vec<_>>() {
            self.ends.insert(queue, 0);
            self.push(node, Kind::QueueRecovered { queue, min: 0, max: 0 });
        }
    }

    /// The broker at an address.
    fn at_address(&self, address: &str) -> Option<NodeId> {
        let ip = address.rsplit_once(':')?.0;
        self.addresses.get(ip).copied()
    }

    fn session(&mut self, fields: &Fields<'_>, node: NodeId) {
        let Some(((member, queue), open)) = self.member_and_session(fields, node) else { return };
        match fields.text("what") {
            "start" => {
                let session = self.history.new_session();
                self.open.insert((member, queue), session);
                let offset = fields.number("offset");
                self.push(node, Kind::SessionStart { session, member, queue, offset });
            }
            _ => {
                if let Some(session) = open {
                    self.open.remove(&(member, queue));
                    self.push(node, Kind::SessionEnd { session });
                }
            }
        }
    }

    fn member_and_session(
        &mut self,
        fields: &Fields<'_>,
        node: NodeId,
    ) -> Option<((MemberId, QueueId), Option<SessionId>)> {
        let group = self.history.group(fields.text("group"))?;
        let member = self.history.member(group, node)?;
        let number = u32::try_from(fields.signed("queue")).ok()?;
        let queue = self.queue(fields.text("topic"), fields.text("broker"), number)?;
        Some(((member, queue), self.open.get(&(member, queue)).copied()))
    }

    /// The queue of the schedule topic for a level.
    fn schedule_queue(&mut self, fields: &Fields<'_>, node: NodeId) -> Option<QueueId> {
        let topic = self.history.known_topic(SCHEDULE)?;
        let number = u32::try_from(fields.signed("level") - 1).ok()?;
        Some(self.history.queue(topic, node, number))
    }

    fn tapped_queue(&mut self, fields: &Fields<'_>, node: NodeId) -> Option<QueueId> {
        let topic = self.history.known_topic(fields.text("topic"))?;
        let number = u32::try_from(fields.signed("queue")).ok()?;
        Some(self.history.queue(topic, node, number))
    }
}

/// What a message was made with.
#[derive(Clone, Copy, Debug)]
struct Written {
    /// Of its body.
    bytes: u32,
    /// What the clock of its producer said at the call.
    from_ms: i64,
    /// And when it returned, if it did.
    until_ms: Option<i64>,
}

/// A message as somebody reads it.
pub(super) struct Seen<'a> {
    /// The topic it is stored in.
    pub(super) lies_in: &'a str,
    pub(super) body: &'a [u8],
    pub(super) tag: Option<&'a str>,
    pub(super) key: Option<&'a str>,
    pub(super) who: Option<&'a str>,
    pub(super) flag: i32,
    pub(super) born_ms: i64,
    pub(super) born_ip: IpAddr,
}

/// How a message that came back fits what was sent: all of it, and what does not change from a message to its copies.
pub(super) fn compare(recorder: &Recorder, seed: u64, seen: &Seen<'_>) -> (Option<MessageId>, Fit) {
    let live = recorder.live();
    let claimed = seen.who.and_then(parse_name);
    let in_body = seen.body.first_chunk::<8>().map(|head| {
        (
            u32::from_be_bytes([head[0], head[1], head[2], head[3]]),
            u32::from_be_bytes([head[4], head[5], head[6], head[7]]),
        )
    });
    let known = |name: Option<(u32, u32)>| {
        name.and_then(|(producer, serial)| live.find(producer, serial).map(|found| (producer, serial, found)))
    };
    let Some((producer, serial, id)) = known(in_body).or_else(|| known(claimed)) else {
        return (None, Fit { body: false, properties: false });
    };
    let message = live.history.messages[id.index()];
    let fit = Fit {
        body: seen.body == make_body(seed, producer, serial, live.written[id.index()].bytes),
        properties: claimed == Some((producer, serial))
            && seen.key == Some(&*key_name(producer, serial))
            && seen.tag == Some(&*tag_name(message.tag))
            && seen.flag == make_flag(serial)
            && live.is_born_right(id, seen),
    };
    (Some(id), fit)
}

/// The body of a message: who it is, and bytes that nothing else has.
pub(crate) fn make_body(seed: u64, producer: u32, serial: u32, length: u32) -> Vec<u8> {
    let mut body = Vec::with_capacity(length as usize + 8);
    body.extend_from_slice(&producer.to_be_bytes());
    body.extend_from_slice(&serial.to_be_bytes());
    let first = seed ^ u64::from(producer) << 32 ^ u64::from(serial);
    // Of some the words come again and again: large ones can be compressed.
    let words = if serial.is_multiple_of(3) { 16 } else { u64::MAX };
    for word in (1..=words).cycle() {
        if body.len() >= length as usize {
            break;
        }
        // splitmix64: each word differs from those of all other messages
        let word = first.wrapping_add(word.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let mut mixed = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        body.extend_from_slice(&(mixed ^ (mixed >> 31)).to_be_bytes());
    }
    body.truncate(length.max(8) as usize);
    body
}

/// The flag of a message: of one digit, as that of a message without one.
pub(super) fn make_flag(serial: u32) -> i32 {
    (serial % 10) as i32
}

/// The key of a message.
pub(crate) fn key_name(producer: u32, serial: u32) -> String {
    format!("k{producer}-{serial}")
}

/// A key that many messages of a topic have.
pub(crate) fn shared_key_name(key: u32) -> String {
    format!("s{key}")
}

pub(crate) fn parse_name(name: &str) -> Option<(u32, u32)> {
    let (producer, serial) = name.strip_prefix('p')?.split_once('#')?;
    Some((producer.parse().ok()?, serial.parse().ok()?))
}

/// The fields of a tap.
#[cfg(madsim)]
struct Fields<'a>(&'a Tap<'a>);

#[cfg(madsim)]
impl Fields<'_> {
    fn signed(&self, name: &str) -> i64 {
        self.0.number(name).unwrap_or(-1)
    }

    fn number(&self, name: &str) -> u64 {
        u64::try_from(self.signed(name)).unwrap_or(0)
    }

    fn text(&self, name: &str) -> &str {
        match self.0.field(name) {
            Some(Value::Text(text)) => text,
            _ => "",
        }
    }
}

/// A small hasher without keys: the same in every process.
struct Fold(u64);

impl Hasher for Fold {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }

    fn write_u32(&mut self, number: u32) {
        self.write_u64(u64::from(number));
    }

    fn write_u64(&mut self, number: u64) {
        self.0 = (self.0.rotate_left(5) ^ number).wrapping_mul(0x517c_c1b7_2722_0a95);
    }

    fn write_isize(&mut self, number: isize) {
        self.write_u64(number as u64);
    }
}
