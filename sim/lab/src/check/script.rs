//! Hand-written histories for the checkers' own tests: each call adds events, a millisecond apart.

use std::collections::BTreeMap;

use super::{Rule, judge};
use crate::history::{
    Audit, Broker, ById, Checks, Fit, Found, GroupId, HALF, Half, HalfId, History, How, Id, Image, Keeps,
    Kind, Member, MemberId, Message, MessageId, Newest, NodeId, Outcome, QueueContent, QueueId, Read, Rotten,
    SCHEDULE, Searched, SessionId, Slot, Step, Stored, Units, Why, Writer,
};

/// What a rule must say of a history.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Expect {
    /// It is broken.
    Broken,
    /// It holds.
    Kept,
}

/// Where in the log all ends of transactions stand.
pub(super) const END_AT: u64 = 1000;

/// Runs a script and compares what one rule says of it.
pub(super) fn run(rule: &str, expect: Expect, what: &str, script: impl FnOnce(&mut Script)) {
    let rule = *Rule::ALL.iter().find(|known| known.id() == rule).expect("a known rule");
    let mut made = Script::new();
    script(&mut made);
    let judged = judge(&made.history, &made.audit);
    let found: Vec<_> =
        judged.violations.iter().filter(|it| it.rule == rule).map(|it| &it.sentence).collect();
    match expect {
        Expect::Broken => assert!(!found.is_empty(), "{}, {what}: not noticed", rule.id()),
        Expect::Kept => assert!(found.is_empty(), "{}, {what}: false alarm: {found:?}", rule.id()),
    }
}

/// A history in the making. Topic `t` with queues `q` and `r` on `b0`, group `g` with `c0` and `c1`.
pub(super) struct Script {
    history: History,
    audit: Audit,
    now_ns: u64,
    messages: BTreeMap<String, MessageId>,
    open: BTreeMap<(String, String), SessionId>,
    stored_back: u64,
}

impl Script {
    pub(super) fn new() -> Self {
        let mut history = History::default();
        history.node("lab");
        let topic = history.topic("t");
        let broker = history.node("b0");
        history.brokers.push(Broker { node: broker, sync_flush: false });
        let node = history.node("p0");
        history.producers.push(Writer { node, group: 0, limit_ms: 3000, checks: 0 });
        history.topic(SCHEDULE);
        history.delays_ms = vec![vec![1000, 5000, 10_000, 30_000]];
        history.new_group("g", topic, 3).timeout_ms = 10_000;
        for member in ["c0", "c1"] {
            let node = history.node(member);
            history.members.push(Member { group: GroupId(0), node });
        }
        Self {
            history,
            audit: Audit::default(),
            now_ns: 0,
            messages: BTreeMap::new(),
            open: BTreeMap::new(),
            stored_back: 0,
        }
    }

    /// Nothing in the system tells about itself.
    pub(super) fn untapped(&mut self) {
        self.history.untapped = true;
        self.history.began_ms = BEGAN_MS;
    }

    /// What was last read was stored so long after the run began.
    pub(super) fn stored_after(&mut self, seconds: f64) {
        let stored_ms = BEGAN_MS + (seconds * 1e3) as i64;
        self.last_content().read.iter_mut().for_each(|read| read.stored_ms = stored_ms);
    }

    /// A producer chose a queue.
    pub(super) fn meant(&mut self, message: &str, queue: &str) {
        let (message, queue) = (self.message(message), self.queue(queue));
        self.history.meant.insert(message, queue);
    }

    /// What has to wait is acknowledged without a place.
    pub(super) fn acknowledged(&mut self, message: &str) {
        self.sent(message, Outcome::Ok, None);
    }

    /// A member says that a queue is its own, or no more.
    pub(super) fn says(&mut self, member: &str, queue: &str, on: bool) {
        let queue = self.queue(queue);
        let (member, node) = self.member(member);
        self.push(node, Kind::Holds { member, queue, on });
    }

    /// The system takes its rare ways.
    pub(super) fn rare_ways(&mut self) {
        self.history.rare_ways = true;
    }

    /// A broker told what the group had committed.
    pub(super) fn told(&mut self, queue: &str, offset: u64) {
        let queue = self.queue(queue);
        self.on_broker(Kind::Committed { group: GroupId(0), queue, offset });
    }

    /// A broker answered that it had taken the decision about a transaction.
    pub(super) fn answered(&mut self, message: &str, commit: bool) {
        let message = self.message(message);
        self.history.messages[message.index()].transactional = true;
        self.push(NodeId(0), Kind::Ended { message, commit });
    }

    pub(super) fn second_group(&mut self) {
        let topic = self.history.topic("t");
        self.history.new_group("h", topic, 3).timeout_ms = 10_000;
        let node = self.history.node("d0");
        self.history.members.push(Member { group: GroupId(1), node });
    }

    /// What was written so far.
    pub(super) fn history(&self) -> &History {
        &self.history
    }

    fn push(&mut self, node: NodeId, kind: Kind) {
        self.now_ns += 1_000_000;
        self.history.push(self.now_ns, node, kind);
    }

    fn queue(&mut self, name: &str) -> QueueId {
        let broker = self.history.node("b0");
        let (topic, number) = match name {
            "q" => ("t", 0),
            "r" => ("t", 1),
            "other" => ("u", 0),
            "retry" => ("%RETRY%g", 0),
            "dead" => ("%DLQ%g", 0),
            "second" => (SCHEDULE, 0),
            "ten" => (SCHEDULE, 2),
            "thirty" => (SCHEDULE, 3),
            _ => unreachable!("a queue of the script"),
        };
        let topic = self.history.topic(topic);
        self.history.queue(topic, broker, number)
    }

    fn slot(&mut self, queue: &str, offset: u64) -> Slot {
        Slot { queue: self.queue(queue), offset }
    }

    fn message(&mut self, name: &str) -> MessageId {
        if let Some(known) = self.messages.get(name) {
            return *known;
        }
        let topic = self.history.topic("t");
        let serial = self.messages.len() as u32;
        let message = Message {
            producer: 0,
            serial,
            topic,
            tag: 0,
            attempts: 1,
            batch: None,
            delay_level: None,
            transactional: false,
        };
        let id = self.history.message(message);
        self.messages.insert(name.to_owned(), id);
        id
    }

    fn member(&mut self, name: &str) -> (MemberId, NodeId) {
        let node = self.history.node(name);
        let member = self
            .history
            .members
            .iter()
            .position(|member| member.node == node)
            .expect("a member of the script");
        (MemberId(member as u32), node)
    }

    fn on_broker(&mut self, kind: Kind) {
        let broker = self.history.node("b0");
        self.push(broker, kind);
    }

    pub(super) fn wait(&mut self, seconds: f64) {
        self.now_ns += (seconds * 1e9) as u64;
    }

    pub(super) fn sync_flush(&mut self) {
        self.history.brokers[0].sync_flush = true;
    }

    pub(super) fn filter(&mut self, tag: u32) {
        self.history.groups[0].tag = Some(tag);
    }

    pub(super) fn tag(&mut self, message: &str, tag: u32) {
        let id = self.message(message);
        self.history.messages[id.index()].tag = tag;
    }

    pub(super) fn attempts(&mut self, message: &str, attempts: u32) {
        let id = self.message(message);
        self.history.messages[id.index()].attempts = attempts;
    }

    pub(super) fn batch(&mut self, messages: &[&str]) {
        for name in messages {
            let id = self.message(name);
            self.history.messages[id.index()].batch = Some(1);
            self.send(name);
        }
    }

    pub(super) fn last_content(&mut self) -> &mut QueueContent {
        self.audit.queues.last_mut().expect("a content")
    }

    pub(super) fn last_read(&mut self) -> &mut Read {
        self.audit.queues.last_mut().and_then(|content| content.read.last_mut()).expect("something read")
    }

    pub(super) fn by_id(&mut self, asked: &str, id: Id, found: Option<(&str, Fit)>) {
        let asked = self.message(asked);
        let found = found.map(|(name, fit)| (Some(self.message(name)), fit));
        self.audit.by_id.push(ById { asked, id, found });
    }

    pub(super) fn dispatched(&mut self, queue: &str, offset: u64) {
        let slot = self.slot(queue, offset);
        self.on_broker(Kind::Dispatched { slot });
    }

    pub(super) fn send(&mut self, message: &str) {
        let message = self.message(message);
        self.push(NodeId(0), Kind::Send { message });
    }

    pub(super) fn returned(&mut self, message: &str, outcome: Outcome, at: Option<(&str, u64)>) {
        let message = self.message(message);
        let at = at.map(|(queue, offset)| self.slot(queue, offset));
        self.push(NodeId(0), Kind::Sent { message, outcome, at });
    }

    pub(super) fn sent(&mut self, message: &str, outcome: Outcome, at: Option<(&str, u64)>) {
        self.send(message);
        self.returned(message, outcome, at);
    }

    pub(super) fn ok(&mut self, message: &str, queue: &str, offset: u64) {
        self.sent(message, Outcome::Ok, Some((queue, offset)));
    }

    pub(super) fn enter(&mut self, member: &str, queue: &str, offset: u64, message: &str) {
        self.enter_after(member, queue, offset, message, 0);
    }

    /// A listener gets a message that has had so many tries.
    pub(super) fn enter_after(&mut self, member: &str, queue: &str, offset: u64, message: &str, times: u32) {
        let (message, slot) = (Some(self.message(message)), self.slot(queue, offset));
        let (member, node) = self.member(member);
        self.push(node, Kind::Enter { member, slot, message, fit: Fit::WHOLE, times });
    }

    fn entered(&mut self, member: &str, queue: &str, offset: u64, message: Option<MessageId>, fit: Fit) {
        let slot = self.slot(queue, offset);
        let (member, node) = self.member(member);
        self.push(node, Kind::Enter { member, slot, message, fit, times: 0 });
    }

    pub(super) fn exit(&mut self, member: &str, queue: &str, offset: u64) {
        let slot = self.slot(queue, offset);
        let (member, node) = self.member(member);
        self.push(node, Kind::Exit { member, slot, ok: true });
    }

    pub(super) fn deliver(&mut self, member: &str, queue: &str, offset: u64, message: &str) {
        self.enter(member, queue, offset, message);
        self.exit(member, queue, offset);
    }

    pub(super) fn deliver_as(&mut self, member: &str, queue: &str, offset: u64, message: &str, fit: Fit) {
        let message = self.message(message);
        self.entered(member, queue, offset, Some(message), fit);
        self.exit(member, queue, offset);
    }

    pub(super) fn deliver_unknown(&mut self, member: &str, queue: &str, offset: u64) {
        self.entered(member, queue, offset, None, Fit::WHOLE);
        self.exit(member, queue, offset);
    }

    pub(super) fn crash(&mut self, node: &str, how: How) {
        self.down(node, how);
        self.up(node);
    }

    pub(super) fn down(&mut self, node: &str, how: How) {
        let node = self.history.node(node);
        self.push(node, Kind::Down { how });
    }

    pub(super) fn up(&mut self, node: &str) {
        let node = self.history.node(node);
        self.push(node, Kind::Up);
    }

    pub(super) fn begin(&mut self, nodes: &[&str]) -> u32 {
        let nodes = nodes.iter().map(|name| self.history.node(name)).collect();
        let step = self.history.steps.len() as u32;
        self.history.steps.push(Step {
            nodes,
            slows: false,
            kills: false,
            clock: false,
            jump_ms: 0,
            drift_ppm: 0,
            loses: false,
            fills: false,
            wide: false,
            what: "a fault".to_owned(),
            stays: false,
            deletes: None,
        });
        self.push(NodeId(0), Kind::StepOn { step });
        step
    }

    /// One more broker.
    pub(super) fn broker(&mut self, name: &str) {
        let node = self.history.node(name);
        self.history.brokers.push(Broker { node, sync_flush: false });
    }

    /// A fault that is never healed.
    pub(super) fn stays(&mut self, nodes: &[&str]) {
        let step = self.begin(nodes);
        self.history.steps[step as usize].stays = true;
    }

    /// An operator orders the deletion of topic `t`.
    pub(super) fn orders_deletion(&mut self) {
        let step = self.begin(&["b0"]);
        self.history.steps[step as usize].deletes = self.history.known_topic("t");
    }

    /// The broker lists topic `t` no more.
    pub(super) fn unlists(&mut self) {
        let (topic, broker) = (self.history.topic("t"), self.history.node("b0"));
        self.on_broker(Kind::TopicUnlisted { topic, broker });
    }

    /// It begins to delete its queues.
    pub(super) fn begins_deletion(&mut self) {
        let (topic, broker) = (self.history.topic("t"), self.history.node("b0"));
        self.unlists();
        self.on_broker(Kind::TopicDeleting { topic, broker });
    }

    /// It lists it no more and has deleted its queues.
    pub(super) fn deletes(&mut self) {
        let (topic, broker) = (self.history.topic("t"), self.history.node("b0"));
        self.unlists();
        self.history.delete_queues(topic, broker, 1000);
        self.on_broker(Kind::TopicDeleted { topic, broker });
    }

    /// It has topic `t` again.
    pub(super) fn reads_beyond(&mut self, queue: &str, asked: u64, next: u64) {
        let queue = self.queue(queue);
        self.on_broker(Kind::ReadBeyond { queue, asked, next });
    }

    pub(super) fn makes_again(&mut self) {
        let (topic, broker) = (self.history.topic("t"), self.history.node("b0"));
        self.history.renew(topic, broker);
        self.history.queue(topic, broker, 0);
        self.on_broker(Kind::TopicSet { topic, broker, read: 1, write: 1 });
    }

    pub(super) fn defers(&mut self, member: &str, queue: &str, offset: u64) {
        let slot = self.slot(queue, offset);
        let (member, node) = self.member(member);
        self.push(node, Kind::Exit { member, slot, ok: false });
    }

    pub(super) fn sent_back(&mut self, queue: &str, offset: u64, times: u32, level: u32) {
        self.sent_back_with(queue, offset, times, level, 0);
    }

    /// What goes back is stored, and answered with this code.
    pub(super) fn sent_back_with(&mut self, queue: &str, offset: u64, times: u32, level: u32, code: i32) {
        let slot = self.slot(queue, offset);
        let (group, dead) = (GroupId(0), level == 0);
        self.stored_back += 1;
        // The second dead letter stands behind the first; what waits is of no matter here.
        let to = if dead { "dead" } else { "ten" };
        let to = self.slot(to, self.stored_back - 1);
        let end = to.offset * 100 + 100;
        self.on_broker(Kind::SentBack { group, slot, times, level, dead, code, to, end });
    }

    /// A client that cannot give a message back sends a copy to its broker, and may have an answer.
    pub(super) fn copied_back(&mut self, queue: &str, offset: u64, times: u32, done: bool) {
        let (slot, to) = (self.slot(queue, offset), self.history.node("b0"));
        let (_, node) = self.member("c0");
        self.push(node, Kind::CopiedBack { group: GroupId(0), slot, times, to, done });
    }

    pub(super) fn waits(&mut self, queue: &str, offset: u64, target: &str) {
        self.append(queue, offset, 0, 100);
        let (slot, target) = (self.slot(queue, offset), self.queue(target));
        self.on_broker(Kind::DelayStored { slot, target });
    }

    pub(super) fn delivered(&mut self, from: (&str, u64), to: (&str, u64)) {
        let (from, to) = (self.slot(from.0, from.1), self.slot(to.0, to.1));
        self.on_broker(Kind::DelayDelivered { from, to });
    }

    pub(super) fn delay_written(&mut self, queue: &str, offset: u64) {
        let queue = self.queue(queue);
        self.on_broker(Kind::DelayOffset { queue, offset, loaded: false });
    }

    pub(super) fn delay_loaded(&mut self, queue: &str, offset: u64) {
        let queue = self.queue(queue);
        self.on_broker(Kind::DelayOffset { queue, offset, loaded: true });
    }

    /// A message is sent to wait on a level.
    pub(super) fn delayed(&mut self, message: &str, level: u32) {
        let id = self.message(message);
        self.history.messages[id.index()].delay_level = Some(level);
    }

    /// A bit of a place turns on the disk of its broker.
    pub(super) fn rots(&mut self, queue: &str, offset: u64) {
        let (slot, broker) = (self.slot(queue, offset), self.history.node("b0"));
        let which = self.history.rotten.len() as u32;
        self.history.rotten.push(Rotten { broker, slot, record: None, gone_ns: None });
        self.on_broker(Kind::Rotten { which });
    }

    /// A bit of a half message turns.
    pub(super) fn rots_half(&mut self, offset: u64) {
        let (broker, topic) = (self.history.node("b0"), self.history.topic(HALF));
        let slot = Slot { queue: self.history.queue(topic, broker, 0), offset };
        let which = self.history.rotten.len() as u32;
        self.history.rotten.push(Rotten { broker, slot, record: None, gone_ns: None });
        self.on_broker(Kind::Rotten { which });
    }

    /// It turns in the log, in the record that stands there.
    pub(super) fn rots_in_log(&mut self, queue: &str, offset: u64, position: u64) {
        self.rots(queue, offset);
        let last = self.history.rotten.last_mut().expect("one that has just rotted");
        last.record = Some((position, position + 100));
    }

    /// A queue holds all of these in the end but the one at an offset.
    pub(super) fn holds_but(&mut self, queue: &str, offset: u64, messages: &[&str]) {
        self.holds(queue, messages);
        self.last_content().read.retain(|read| read.offset != offset);
    }

    /// The broker is started with other delay levels.
    pub(super) fn levels(&mut self, how: How, delays_ms: &[u64]) {
        self.down("b0", how);
        let set = self.history.delays_ms.len() as u32;
        self.history.delays_ms.push(delays_ms.to_vec());
        self.on_broker(Kind::Levels { set });
        self.up("b0");
    }

    /// A crash is planned that does not come.
    pub(super) fn armed(&mut self, node: &str) {
        let step = self.begin(&[node]);
        self.history.steps[step as usize].kills = true;
    }

    pub(super) fn jumps(&mut self, node: &str, by_ms: i64) {
        let step = self.begin(&[node]);
        let told = &mut self.history.steps[step as usize];
        (told.clock, told.jump_ms) = (true, by_ms);
        self.over(step);
    }

    /// A transaction whose half message is stored at this offset.
    pub(super) fn half(&mut self, message: &str, offset: u64) -> HalfId {
        self.history.checks = Checks { most: 3, interval_ms: 30_000 };
        let id = self.message(message);
        self.history.messages[id.index()].transactional = true;
        self.push(NodeId(0), Kind::Send { message: id });
        let (half, broker) = (HalfId(self.history.halves.len() as u32), self.history.node("b0"));
        self.history.halves.push(Half { broker, message: Some(id) });
        self.on_broker(Kind::HalfStored { half, offset, end: offset * 100 + 100, immunity_ms: 6000 });
        half
    }

    pub(super) fn decided(&mut self, message: &str, commit: Option<bool>) {
        let message = self.message(message);
        self.push(NodeId(0), Kind::Decided { message, commit });
    }

    pub(super) fn ended(&mut self, half: HalfId, commit: bool) {
        self.on_broker(Kind::HalfEnded { half, commit, mended: false, end: END_AT });
    }

    pub(super) fn checked(&mut self, half: HalfId, checks: u32) {
        self.on_broker(Kind::HalfChecked { half, checks });
    }

    pub(super) fn put_back(&mut self, half: HalfId, from: u64, offset: u64) {
        let (end, checks) = (offset * 100 + 100, offset as u32);
        self.on_broker(Kind::HalfPutBack { half, from, offset, end, checks });
    }

    pub(super) fn given_up(&mut self, half: HalfId, checks: u32) {
        self.on_broker(Kind::HalfGivenUp { half, checks, end: END_AT });
    }

    /// A broker that starts has found these undecided ones.
    pub(super) fn halves_loaded(&mut self, found: &[(HalfId, u64)]) {
        for &(half, offset) in found {
            self.on_broker(Kind::HalfLoaded { half, offset, checks: offset as u32 });
        }
        self.on_broker(Kind::HalvesLoaded);
    }

    /// One more producer, of this group.
    pub(super) fn producer(&mut self, name: &str, group: u32) {
        let node = self.history.node(name);
        self.history.producers.push(Writer { node, group, limit_ms: 3000, checks: 0 });
    }

    /// One more that is the client's own, and answers so many checks at once.
    pub(super) fn listeners(&mut self, name: &str, checks: u32) {
        let node = self.history.node(name);
        self.history.producers.push(Writer { node, group: 0, limit_ms: 3000, checks });
    }

    /// A transaction asks to be left alone.
    pub(super) fn immune(&mut self, message: &str, ms: u64) {
        let message = self.message(message);
        self.history.immune_ms.insert(message, ms);
    }

    pub(super) fn check_came(&mut self, producer: &str, half: HalfId) {
        let node = self.history.node(producer);
        self.push(node, Kind::CheckCame { half });
    }

    pub(super) fn asking(&mut self, producer: &str, half: HalfId) {
        let node = self.history.node(producer);
        self.push(node, Kind::Asking { half });
    }

    pub(super) fn asked(&mut self, producer: &str, half: HalfId) {
        let node = self.history.node(producer);
        self.push(node, Kind::Asked { half, commit: None });
    }

    pub(super) fn halves_done(&mut self, offset: u64) {
        self.on_broker(Kind::HalfOffset { offset });
    }

    pub(super) fn queried(&mut self, message: &str, queue: &str, offset: u64, found: bool, others: u32) {
        let (message, slot, asked_ns) = (self.message(message), self.slot(queue, offset), self.now_ns + 1);
        self.on_broker(Kind::Queried { message, slot, asked_ns, found, others });
    }

    /// All messages have one key besides their own.
    pub(super) fn share_keys(&mut self) {
        self.history.shared_keys = 1;
    }

    /// The broker is asked for the newest messages with that key, and answers with these of queue `q`, each stored a
    /// second after the one before it.
    pub(super) fn newest(&mut self, most: u32, until_ms: i64, found: &[(&str, u64)]) {
        let found = found.iter().map(|(name, offset)| Found {
            message: Some(self.message(name)),
            slot: Some(self.slot("q", *offset)),
            position: offset * 100,
            stored_ms: *offset as i64 * 1000,
        });
        let found = found.collect();
        let (topic, broker) = (self.history.topic("t"), self.history.node("b0"));
        let (brokers, asked_ns, which) = (vec![broker], self.now_ns + 1, self.history.newest.len() as u32);
        let stored_ms = (0, until_ms);
        self.history.newest.push(Newest { topic, key: 0, brokers, most, stored_ms, asked_ns, found });
        self.on_broker(Kind::Newest { which });
    }

    /// A queue holds a message of each of these times in the end, and a question by time is answered so.
    pub(super) fn searched(&mut self, queue: &str, stored_ms: &[i64], time_ms: i64, offset: u64) {
        let names: Vec<_> = (0..stored_ms.len()).map(|number| format!("stored {number}")).collect();
        self.holds(queue, &names.iter().map(|name| &**name).collect::<Vec<_>>());
        let content = self.last_content();
        content.read.iter_mut().zip(stored_ms).for_each(|(read, ms)| read.stored_ms = *ms);
        content.searched.push(Searched { time_ms, offset });
    }

    /// An operator gives a server an order about something of this name.
    pub(super) fn orders(&mut self, (server, what, name): (&str, Keeps, &str), value: Option<u64>) {
        let server = self.history.node(server);
        let register = self.history.register(server, what, name);
        self.push(server, Kind::Ordered { register, value });
    }

    /// The server answers that it is done, or refuses.
    pub(super) fn answers(
        &mut self,
        (server, what, name): (&str, Keeps, &str),
        value: Option<u64>,
        done: bool,
    ) {
        let server = self.history.node(server);
        let register = self.history.register(server, what, name);
        self.push(server, Kind::Answered { register, value, done });
    }

    /// It is asked.
    pub(super) fn shows(&mut self, (server, what, name): (&str, Keeps, &str), value: Option<u64>) {
        let (server, asked_ns) = (self.history.node(server), self.now_ns + 1);
        let register = self.history.register(server, what, name);
        self.push(server, Kind::Shown { register, asked_ns, value });
    }

    /// By the route of topic `t` that a name server tells, the broker has so many queues, with these permissions.
    pub(super) fn offered(&mut self, server: &str, read: u32, perm: u32) {
        let (server, broker, topic) =
            (self.history.node(server), self.history.node("b0"), self.history.topic("t"));
        let asked_ns = self.now_ns + 1;
        self.push(server, Kind::Offered { topic, broker, asked_ns, read, perm });
    }

    pub(super) fn calls_left(&mut self, left: u32) {
        self.connection_ends(left, 0, 0);
    }

    /// A connection of the broker ends: with so many forgotten calls, one so late, and silent for so long.
    pub(super) fn connection_ends(&mut self, left: u32, overdue_ms: u64, silent_ms: u64) {
        self.on_broker(Kind::ConnectionEnds { left, overdue_ms, silent_ms });
    }

    /// The broker gives a client up.
    pub(super) fn gives_up(&mut self, client: &str) {
        let client = self.history.node(client);
        self.on_broker(Kind::GivenUp { client });
    }

    /// There are so many name servers.
    pub(super) fn name_servers(&mut self, count: u32) {
        for index in 0..count {
            self.history.node(&format!("ns{index}"));
        }
    }

    /// A client is told the route of a topic, or that there is none.
    pub(super) fn route_answered(&mut self, client: &str, topic: &str, found: bool) {
        let (node, topic) = (self.history.node(client), self.history.topic(topic));
        self.push(node, Kind::RouteAnswered { topic, found });
    }

    /// The broker names members of the group by their places, and so many in all.
    pub(super) fn names(&mut self, members: u64, named: u32) {
        self.on_broker(Kind::Members { group: GroupId(0), members, named });
    }

    /// A client waited in vain behind the end of a queue for so many seconds, and would have for so many ms.
    pub(super) fn waited(&mut self, queue: &str, seconds: f64, hold_ms: u32) {
        let queue = self.queue(queue);
        let asked_ns = self.now_ns - (seconds * 1e9) as u64;
        self.on_broker(Kind::Waited { queue, asked_ns, hold_ms, found: false });
    }

    /// Brokers tell at once who comes and goes.
    pub(super) fn notifies(&mut self) {
        self.history.notifies = true;
    }

    /// A client asked a broker so many seconds ago to lock a queue, and is told whether it has it.
    pub(super) fn locks(&mut self, client: u32, asked_before: f64, held: bool) {
        let asked_ns = self.now_ns - (asked_before * 1e9) as u64;
        self.on_broker(Kind::Locks { queue: 0, client, asked_ns, held });
    }

    /// It gives it back, or has its answer.
    pub(super) fn unlocks(&mut self, client: u32, done: bool) {
        self.on_broker(Kind::Unlocks { queue: 0, client, done });
    }

    /// Some nodes may be late from now on.
    pub(super) fn slow(&mut self, nodes: &[&str]) -> u32 {
        let step = self.begin(nodes);
        self.history.steps[step as usize].slows = true;
        step
    }

    pub(super) fn full(&mut self, node: &str) {
        let step = self.fills_up(node);
        self.over(step);
    }

    /// A disk is full from now on.
    pub(super) fn fills_up(&mut self, node: &str) -> u32 {
        let step = self.begin(&[node]);
        self.history.steps[step as usize].fills = true;
        step
    }

    /// A sync has failed, and the process goes on.
    pub(super) fn sync_failing(&mut self) -> u32 {
        let step = self.begin(&["b0"]);
        self.history.steps[step as usize].loses = true;
        step
    }

    /// A sync of the broker's log fails, and it is restarted.
    pub(super) fn sync_fails(&mut self) {
        let step = self.sync_failing();
        self.down("b0", How::Stop);
        self.up("b0");
        self.over(step);
    }

    pub(super) fn over(&mut self, step: u32) {
        self.push(NodeId(0), Kind::StepOff { step });
    }

    pub(super) fn recovered(&mut self, node: &str, ends: &[(&str, u64)]) {
        let node = self.history.node(node);
        self.push(node, Kind::Recovered { end: 0 });
        for (queue, max) in ends {
            let queue = self.queue(queue);
            self.push(node, Kind::QueueRecovered { queue, min: 0, max: *max });
        }
    }

    pub(super) fn append(&mut self, queue: &str, offset: u64, position: u64, end: u64) {
        let slot = self.slot(queue, offset);
        self.on_broker(Kind::Append { slot, position, end });
    }

    pub(super) fn acked(&mut self, queue: &str, offset: u64, end: u64, code: i32) {
        let slot = self.slot(queue, offset);
        self.on_broker(Kind::Acked { slot, end, code });
    }

    pub(super) fn flushed(&mut self, node: &str, end: u64) {
        let node = self.history.node(node);
        self.push(node, Kind::Flushed { end });
    }

    pub(super) fn stored(&mut self, queue: &str, offset: u64) {
        let (group, queue) = (self.history.group("g").expect("made by the script"), self.queue(queue));
        self.on_broker(Kind::Stored { group, queue, offset });
    }

    pub(super) fn loaded(&mut self, queue: &str, offset: u64) {
        let (group, queue) = (self.history.group("g").expect("made by the script"), self.queue(queue));
        self.on_broker(Kind::Loaded { group, queue, offset });
    }

    pub(super) fn persisted(&mut self, node: &str) {
        let node = self.history.node(node);
        self.push(node, Kind::OffsetsTaken);
        self.push(node, Kind::OffsetsPersisted);
    }

    /// The group begins at the end of queues.
    pub(super) fn begins_at_end(&mut self) {
        self.history.groups[0].from_end = true;
    }

    /// A writing of the offsets ends that had begun before.
    pub(super) fn persisted_at_last(&mut self, node: &str) {
        let node = self.history.node(node);
        self.push(node, Kind::OffsetsPersisted);
    }

    pub(super) fn taken(&mut self, node: &str) {
        let node = self.history.node(node);
        self.push(node, Kind::OffsetsTaken);
    }

    pub(super) fn name_queue(&mut self, queue: &str) {
        self.queue(queue);
    }

    pub(super) fn queues(&mut self, broker: &str, read: u32, write: u32) {
        let (topic, broker) = (self.history.topic("t"), self.history.node(broker));
        self.push(broker, Kind::TopicSet { topic, broker, read, write });
    }

    pub(super) fn joined(&mut self, member: &str) {
        let (member, node) = self.member(member);
        self.push(node, Kind::Joined { member });
    }

    pub(super) fn leaves(&mut self, member: &str) {
        let (member, node) = self.member(member);
        self.push(node, Kind::Leaves { member });
    }

    pub(super) fn session(&mut self, member: &str, queue: &str, offset: u64) {
        let session = self.history.new_session();
        self.open.insert((member.to_owned(), queue.to_owned()), session);
        let queue = self.queue(queue);
        let (member, node) = self.member(member);
        self.push(node, Kind::SessionStart { session, member, queue, offset });
    }

    pub(super) fn end(&mut self, member: &str, queue: &str) {
        let session = self.open.remove(&(member.to_owned(), queue.to_owned())).expect("an open session");
        let (_, node) = self.member(member);
        self.push(node, Kind::SessionEnd { session });
    }

    pub(super) fn pulled(&mut self, queue: &str, from: u64, next: u64, count: u32) {
        let session = *self.open.get(&("c0".to_owned(), queue.to_owned())).expect("an open session of c0");
        let (_, node) = self.member("c0");
        self.push(node, Kind::Pulled { session, from, next, count });
    }

    pub(super) fn registered(&mut self, server: &str, broker: &str, peer: u64) {
        let (server, broker) = (self.history.node(server), self.history.node(broker));
        self.push(server, Kind::Registered { broker, peer, version: 1, made_ms: 0 });
    }

    pub(super) fn registered_as(&mut self, version: u64) {
        self.registered_over(1, version);
    }

    pub(super) fn registered_over(&mut self, peer: u64, version: u64) {
        let (server, broker) = (self.history.node("ns0"), self.history.node("b0"));
        self.push(server, Kind::Registered { broker, peer, version, made_ms: 0 });
    }

    /// The route names queues of brokers and addresses of brokers, bits by broker.
    pub(super) fn route_told(&mut self, queues: u64, addresses: u64) {
        let server = self.history.node("ns0");
        self.push(server, Kind::RouteTold { queues, addresses });
    }

    /// A task runs in circles.
    pub(super) fn spun(&mut self, node: &str) {
        let node = self.history.node(node);
        self.push(node, Kind::Spun);
    }

    pub(super) fn peer_closed(&mut self, server: &str, peer: u64) {
        let server = self.history.node(server);
        self.push(server, Kind::PeerClosed { peer });
    }

    pub(super) fn removed(&mut self, server: &str, broker: &str, why: Why) {
        let (server, broker) = (self.history.node(server), self.history.node(broker));
        self.push(server, Kind::Removed { broker, why });
    }

    pub(super) fn routes(&mut self, server: &str, brokers: &[&str]) {
        let asked_ns = self.now_ns + 1;
        let server = self.history.node(server);
        let listed: Vec<_> = brokers.iter().map(|name| self.history.node(name)).collect();
        let known =
            self.history.brokers.iter().enumerate().filter(|(_, broker)| listed.contains(&broker.node));
        let bits = known.map(|(index, _)| 1u64 << index).sum();
        self.push(server, Kind::Routes { asked_ns, brokers: bits, whole_cluster: true });
    }

    pub(super) fn range(&mut self, queue: &str, min: u64, max: u64) {
        let (queue, asked_ns) = (self.queue(queue), self.now_ns + 1);
        self.on_broker(Kind::Range { queue, asked_ns, min, max });
    }

    pub(super) fn heal(&mut self) {
        self.push(NodeId(0), Kind::Heal);
    }

    pub(super) fn drained(&mut self, rest: u64) {
        self.push(NodeId(0), Kind::Drained { rest });
    }

    pub(super) fn holds(&mut self, queue: &str, messages: &[&str]) {
        let whole: Vec<_> = messages.iter().map(|name| (*name, Fit::WHOLE)).collect();
        self.holds_as(queue, &whole);
    }

    pub(super) fn holds_as(&mut self, queue: &str, messages: &[(&str, Fit)]) {
        self.content(queue, 0, messages);
    }

    pub(super) fn holds_from(&mut self, queue: &str, min: u64, messages: &[&str]) {
        let whole: Vec<_> = messages.iter().map(|name| (*name, Fit::WHOLE)).collect();
        self.content(queue, min, &whole);
    }

    fn content(&mut self, queue: &str, min: u64, messages: &[(&str, Fit)]) {
        let mut read = Vec::new();
        for (offset, (name, fit)) in (min..).zip(messages) {
            let message = Some(self.message(name));
            read.push(Read { offset, message, fit: *fit, unique: 0, times: 0, stored_ms: 0 });
        }
        let (queue, max, searched) = (self.queue(queue), min + messages.len() as u64, Vec::new());
        self.audit.queues.push(QueueContent { queue, min, max, read, searched });
    }

    pub(super) fn image(
        &mut self,
        node: &str,
        when: &'static str,
        records: &[(&str, u64, u64)],
        queues: &[(&str, u64, &[u64])],
    ) {
        let node = self.history.node(node).0;
        let stored = |(queue, offset, position): &(&str, u64, u64)| Stored {
            position: *position,
            size: 100,
            queue: Some(self.queue(queue)),
            offset: *offset,
            tag_hash: 7,
            stored_ms: 0,
            intact: true,
            says_position: *position,
        };
        let records: Vec<_> = records.iter().map(stored).collect();
        let end = records.last().map_or(0, |last| last.position + 100);
        let mut units = Vec::new();
        for (queue, first, positions) in queues {
            let entries = positions.iter().map(|position| (*position, 100, 7)).collect();
            units.push(Units { queue: self.queue(queue), first: *first, units: entries });
        }
        let at_ns = self.now_ns;
        self.audit.images.push(Image { node, at_ns, when, records, end, queues: units, ..Image::default() });
    }

    pub(super) fn last_image(&mut self) -> &mut Image {
        self.audit.images.last_mut().expect("an image")
    }
}

/// The wall clock when a run without taps begins.
const BEGAN_MS: i64 = 1_000_000;
