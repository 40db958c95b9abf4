//! The history of a run: what clients asked and were told, what listeners saw, what broke, and what nodes tell about
//! themselves (truth taps), in one order of (virtual time, event number).
//!
//! Names are held once and events refer to them by number, so that an event is a few words and a checker a few passes.

use std::collections::BTreeMap;

use protocol::name;

macro_rules! ids {
    ($($(#[doc = $doc:literal])+ $name:ident),+ $(,)?) => {$(
        $(#[doc = $doc])+
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub u32);

        impl $name {
            /// Its place in the table of its kind.
            #[must_use]
            pub fn index(self) -> usize {
                self.0 as usize
            }
        }
    )+};
}

ids! {
    /// A simulated machine.
    NodeId,
    /// A topic.
    TopicId,
    /// A queue: topic, broker and number.
    QueueId,
    /// A consumer group.
    GroupId,
    /// A member of a group.
    MemberId,
    /// A message: producer and serial.
    MessageId,
    /// One ownership of a queue by a member.
    SessionId,
    /// A half message: one attempt of a transaction at a broker.
    HalfId,
    /// Something that a server keeps for an operator.
    RegisterId,
}

/// What happened, when and where.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Event {
    /// Virtual time since the start of the run.
    pub at_ns: u64,
    /// Where it was seen; the lab itself is node 0.
    pub node: NodeId,
    /// What it was.
    pub kind: Kind,
}

/// What a send is known to have done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Outcome {
    /// Acknowledged: the promise of the durability class holds.
    Ok,
    /// Stored, but the promise was not met in time.
    Degraded,
    /// Refused before anything was stored.
    Failed,
    /// Nobody knows.
    Unknown,
}

impl Outcome {
    /// What an answer with this code says of a send. Whatever is not listed is unknown.
    #[must_use]
    pub fn of_code(code: i32) -> Self {
        match code {
            0 => Self::Ok,
            10..=12 => Self::Degraded, // flush-disk time-out, slave not available, flush-slave time-out
            2 | 13 | 14 | 16 | 17 => Self::Failed, // busy, illegal message, not available, no permission, no topic
            _ => Self::Unknown,
        }
    }

    /// Its name in tables.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Degraded => "degraded",
            Self::Failed => "failed",
            Self::Unknown => "unknown",
        }
    }
}

/// How well something read fits what was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Fit {
    /// The body is what was sent.
    pub body: bool,
    /// So are topic, tag, keys, user properties and flag, and it was born where and when it was sent.
    pub properties: bool,
}

impl Fit {
    /// All as it was sent.
    pub const WHOLE: Self = Self { body: true, properties: true };
}

/// How a node went down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum How {
    /// The process died; the page cache stayed.
    Process,
    /// Power loss: unsynced pages are lost in any subset.
    Power,
    /// It was asked to stop.
    Stop,
    /// Everything is lost that was on its disk.
    Disk,
}

/// Why a name server dropped an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Why {
    /// Not heard of for too long.
    Expired,
    /// Its connection closed.
    Closed,
    /// It said so.
    Unregistered,
}

/// What can happen.
#[derive(Clone, Copy, Debug, PartialEq, Hash)]
#[allow(missing_docs, reason = "the fields are the words of harness section 5")]
pub enum Kind {
    /// A producer calls send.
    Send { message: MessageId },
    /// The call returned.
    Sent { message: MessageId, outcome: Outcome, at: Option<Slot> },
    /// A listener got a message. None: nobody sent such a thing.
    Enter { member: MemberId, slot: Slot, message: Option<MessageId>, fit: Fit, times: u32 },
    /// The listener is done with it.
    Exit { member: MemberId, slot: Slot, ok: bool },
    /// A member's start returned.
    Joined { member: MemberId },
    /// A member's clean shutdown begins.
    Leaves { member: MemberId },
    /// A node went down.
    Down { how: How },
    /// A node was started (again).
    Up,
    /// A bit of what a broker has on its disk turned.
    Rotten { which: u32 },
    /// A broker has other delay levels when it starts again.
    Levels { set: u32 },
    /// Fault or operator step of the plan begins.
    StepOn { step: u32 },
    /// It is over, or healed.
    StepOff { step: u32 },
    /// The lab asked a name server which brokers it knows: bits by broker.
    Routes { asked_ns: u64, brokers: u64, whole_cluster: bool },
    /// What the route of a topic names: brokers that have queues, and brokers with an address, bits by broker.
    RouteTold { queues: u64, addresses: u64 },
    /// The queues that a broker has by the route of a topic, and what may be done with them: 4 = read, 2 = write.
    Offered { topic: TopicId, broker: NodeId, asked_ns: u64, read: u32, perm: u32 },
    /// The lab asked a broker for the ends of a queue.
    Range { queue: QueueId, asked_ns: u64, min: u64, max: u64 },
    /// A client asked for what comes behind the end of a queue, which its broker holds for so long, and has the answer,
    /// with or without a message; or there was none.
    Waited { queue: QueueId, asked_ns: u64, hold_ms: u32, found: bool },
    /// The lab asked the broker of an acknowledged message for its key: whether the message was among what came, and
    /// how much came that does not have the key.
    Queried { message: MessageId, slot: Slot, asked_ns: u64, found: bool, others: u32 },
    /// The lab asked for the newest messages with a key that many share.
    Newest { which: u32 },
    /// An operator orders a server to keep this value; none = nothing.
    Ordered { register: RegisterId, value: Option<u64> },
    /// The answer to the order: it is done, or it was refused, perhaps half done.
    Answered { register: RegisterId, value: Option<u64>, done: bool },
    /// A server was asked what it keeps.
    Shown { register: RegisterId, asked_ns: u64, value: Option<u64> },
    /// A broker was asked who is in a group: bits by member, and how many it named.
    Members { group: GroupId, members: u64, named: u32 },
    /// A client asked a broker to lock this queue of the group of those who lock, and was told whether it has it.
    Locks { queue: u32, client: u32, asked_ns: u64, held: bool },
    /// It gives it back, or (done) has its answer.
    Unlocks { queue: u32, client: u32, done: bool },
    /// All faults are over.
    Heal,
    /// The drain ended: nothing is left, or the bound was reached.
    Drained { rest: u64 },

    /// Tap: a record is in the log.
    Append { slot: Slot, position: u64, end: u64 },
    /// Tap: a queue has its entry and readers see it.
    Dispatched { slot: Slot },
    /// Tap: a sync of the log returned.
    Flushed { end: u64 },
    /// Tap: a send is answered.
    Acked { slot: Slot, end: u64, code: i32 },
    /// Tap: the log was opened.
    Recovered { end: u64 },
    /// Tap: a queue was opened.
    QueueRecovered { queue: QueueId, min: u64, max: u64 },
    /// Tap: a broker took a committed offset into its table.
    Stored { group: GroupId, queue: QueueId, offset: u64 },
    /// Tap: a broker read a committed offset from its disk.
    Loaded { group: GroupId, queue: QueueId, offset: u64 },
    /// Tap: the table of committed offsets is about to be written.
    OffsetsTaken,
    /// Tap: that table is durable.
    OffsetsPersisted,
    /// Tap: a broker has these queues of a topic.
    TopicSet { topic: TopicId, broker: NodeId, read: u32, write: u32 },
    /// Tap: a broker lists a topic no more, and has forgotten what groups had committed there.
    TopicUnlisted { topic: TopicId, broker: NodeId },
    /// Tap: a broker has begun to delete the queues of a topic: they are there for nobody.
    TopicDeleting { topic: TopicId, broker: NodeId },
    /// Tap: the queues of a topic are deleted. One of this name that is made later has others.
    TopicDeleted { topic: TopicId, broker: NodeId },
    /// Tap: a message waits in the schedule topic.
    DelayStored { slot: Slot, target: QueueId },
    /// Tap: it came to the queue it is meant for.
    DelayDelivered { from: Slot, to: Slot },
    /// Tap: a delayed message is given up.
    DelaySkipped { from: Slot },
    /// Tap: how far a queue of the schedule topic is delivered, read at start or written.
    DelayOffset { queue: QueueId, offset: u64, loaded: bool },
    /// Tap: a message that a group could not handle is stored for another try, or as a dead letter.
    SentBack { group: GroupId, slot: Slot, times: u32, level: u32, dead: bool, code: i32, to: Slot, end: u64 },
    /// Tap: a client that could not give a message back sends a copy of it to a broker, or (done) has its answer.
    CopiedBack { group: GroupId, slot: Slot, times: u32, to: NodeId, done: bool },
    /// A producer knows the outcome of a transaction; none = it does not know either.
    Decided { message: MessageId, commit: Option<bool> },
    /// Tap: a check came to a client's own producer.
    CheckCame { half: HalfId },
    /// Its listener begins to look for the outcome of the transaction.
    Asking { half: HalfId },
    /// A producer was asked for the outcome of a transaction, and answered so.
    Asked { half: HalfId, commit: Option<bool> },
    /// Tap: a half message is stored; nobody is asked about it before its immunity is over.
    HalfStored { half: HalfId, offset: u64, end: u64, immunity_ms: u64 },
    /// Tap: a decision was accepted, now or (mended) found to have been when the broker started.
    HalfEnded { half: HalfId, commit: bool, mended: bool, end: u64 },
    /// Tap: a producer is asked.
    HalfChecked { half: HalfId, checks: u32 },
    /// Tap: an undecided half message is stored anew.
    HalfPutBack { half: HalfId, from: u64, offset: u64, end: u64, checks: u32 },
    /// Tap: nobody is asked any more.
    HalfGivenUp { half: HalfId, checks: u32, end: u64 },
    /// Tap: half messages below this need not be looked at any more.
    HalfOffset { offset: u64 },
    /// Tap: a broker that starts finds a copy of an undecided half message.
    HalfLoaded { half: HalfId, offset: u64, checks: u32 },
    /// Tap: it has found all of them.
    HalvesLoaded,
    /// Tap: a name server applied a registration, with this version of the broker's topics, made at this time.
    Registered { broker: NodeId, peer: u64, version: u64, made_ms: u64 },
    /// Tap: a name server heard that a broker lives, without a registration.
    Heard { broker: NodeId, peer: u64 },
    /// Tap: a name server dropped a broker.
    Removed { broker: NodeId, why: Why },
    /// Tap: a connection ends. So many calls are in its table that nobody waits for, one that is open should have been
    /// over for so long, and nothing has moved for so long.
    ConnectionEnds { left: u32, overdue_ms: u64, silent_ms: u64 },
    /// Tap: a broker closes the only connection of this client, which said nothing for too long.
    GivenUp { client: NodeId },
    /// Tap: a client has an answer of some name server to a question for the route of a topic, or that there is none.
    RouteAnswered { topic: TopicId, found: bool },
    /// Tap: a task was polled a thousand times while time stood.
    Spun,
    /// Tap: a connection of a name server closed.
    PeerClosed { peer: u64 },
    /// Tap: a member begins to pull a queue.
    SessionStart { session: SessionId, member: MemberId, queue: QueueId, offset: u64 },
    /// Tap: it drops the queue.
    SessionEnd { session: SessionId },
    /// Tap: somebody asked a broker for what lies beyond the end of a queue, and is to go on from there.
    ReadBeyond { queue: QueueId, asked: u64, next: u64 },
    /// Tap: a pull was answered.
    Pulled { session: SessionId, from: u64, next: u64, count: u32 },

    /// The lab asked a broker how far a group has consumed a queue.
    Committed { group: GroupId, queue: QueueId, offset: u64 },
    /// A broker answered that it has taken this decision, the first of its producer.
    Ended { message: MessageId, commit: bool },
    /// A member that is asked each second says that a queue is its own, or no more.
    Holds { member: MemberId, queue: QueueId, on: bool },
}

/// One place in a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slot {
    /// Which queue.
    pub queue: QueueId,
    /// Which offset in it.
    pub offset: u64,
}

/// A message some producer made.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Message {
    /// Index of the producer.
    pub producer: u32,
    /// Counted by the producer.
    pub serial: u32,
    /// Where it goes.
    pub topic: TopicId,
    /// Which tag it carries.
    pub tag: u32,
    /// How often at most the client may have sent it.
    pub attempts: u32,
    /// It waits at the broker first, on this level.
    pub delay_level: Option<u32>,
    /// It is sent in a transaction.
    pub transactional: bool,
    /// The batch it was sent in; its members have serials behind each other.
    pub batch: Option<u32>,
}

/// A queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Queue {
    /// Of this topic.
    pub topic: TopicId,
    /// On this broker.
    pub broker: NodeId,
    /// With this number.
    pub number: u32,
}

impl Queue {
    /// True for a queue of this topic on this broker.
    #[must_use]
    pub fn is_of(&self, topic: TopicId, broker: NodeId) -> bool {
        (self.topic, self.broker) == (topic, broker)
    }
}

/// Which of so many keys a message shares, if they share any: some come often, some seldom.
#[must_use]
pub fn shared_key(producer: u32, serial: u32, of: u32) -> Option<u32> {
    // fibonacci hashing: neighbours differ
    let word = (u64::from(producer) << 32 | u64::from(serial)).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40;
    let chosen = word.checked_rem(u64::from(of))?;
    Some(if word & 1 << 20 == 0 { chosen as u32 } else { 0 })
}

/// A consumer group: what it reads.
#[derive(Clone, Debug, PartialEq)]
pub struct Group {
    /// Its name.
    pub name: String,
    /// What it reads.
    pub topic: TopicId,
    /// Only this tag, or everything.
    pub tag: Option<u32>,
    /// Where its messages wait for another try.
    pub retry: TopicId,
    /// Where those are that had all their tries.
    pub dlq: TopicId,
    /// After so many tries a message is a dead letter.
    pub limit: u32,
    /// What a listener has for longer than this is given back.
    pub timeout_ms: u64,
    /// It begins at the end of queues that it finds, and what lies before is not for it.
    pub from_end: bool,
}

/// A member of a group on a node.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Member {
    /// Of this group.
    pub group: GroupId,
    /// On this node.
    pub node: NodeId,
}

/// The end of a queue whose topic was deleted.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Deletion {
    /// The event that tells of it.
    pub event: usize,
    /// Its records stand before this in the log of its broker, those of a later queue of the same name behind it.
    pub position: u64,
}

/// Something that a server keeps for an operator.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Register {
    /// On this server.
    pub server: NodeId,
    /// What it is.
    pub what: Keeps,
    /// Its name.
    pub name: String,
}

/// What a server may keep for an operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Keeps {
    /// A name server a text in its table.
    Text,
    /// A name server whether anybody may write to a broker, until that registers other topics or either ends.
    Writing,
    /// A broker a topic: how many queues it has.
    Topic,
    /// A broker the settings of a group: how many retries it has.
    Group,
    /// A broker how far a group has come in a queue: on its disk soon, and at once when it is deleted.
    Offset,
    /// A broker what clients may do, until it ends: 4 = read, 6 = write as well.
    Permission,
}

/// A producer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Writer {
    /// On this node.
    pub node: NodeId,
    /// Which of the groups of transactional producers it belongs to.
    pub group: u32,
    /// A send of it takes so long at most, with all its attempts.
    pub limit_ms: u64,
    /// It is the client's own transactional producer, which answers so many checks at once; 0 = it is not.
    pub checks: u32,
}

/// A half message.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Half {
    /// On this broker.
    pub broker: NodeId,
    /// What it is, when anybody who knows has told.
    pub message: Option<MessageId>,
}

/// Something on the disk of a broker of which a bit turned.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rotten {
    /// Whose disk.
    pub broker: NodeId,
    /// The place whose bytes they were.
    pub slot: Slot,
    /// From where to where its record stands in the log, when that was hit; none: the entry of its queue.
    pub record: Option<(u64, u64)>,
    /// When the disk was lost that it was on, if it was.
    pub gone_ns: Option<u64>,
}

impl Rotten {
    /// From where to where the log of this broker has a damaged record at this time, if it is that.
    #[must_use]
    pub fn in_log(&self, broker: NodeId, at_ns: u64) -> Option<(u64, u64)> {
        let there = self.broker == broker && self.gone_ns.is_none_or(|gone| at_ns < gone);
        self.record.filter(|_| there)
    }
}

/// A question for the newest messages with a key that many share, and what came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Newest {
    /// Of this topic.
    pub topic: TopicId,
    /// Which of its keys.
    pub key: u32,
    /// One broker was asked; or a client asked all, these among them.
    pub brokers: Vec<NodeId>,
    /// So many at most.
    pub most: u32,
    /// Stored between these times, ms since 1970.
    pub stored_ms: (i64, i64),
    /// When the question was asked.
    pub asked_ns: u64,
    /// In the order of the answer.
    pub found: Vec<Found>,
}

/// One message of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// None: nobody sent such a thing.
    pub message: Option<MessageId>,
    /// Where it lies, in a queue that is known.
    pub slot: Option<Slot>,
    /// And in the log of its broker.
    pub position: u64,
    /// When it was stored, ms since 1970.
    pub stored_ms: i64,
}

/// How brokers ask about transactions.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Checks {
    /// So often at most.
    pub most: u32,
    /// Once in this time at most for each.
    pub interval_ms: u64,
}

impl Default for Checks {
    fn default() -> Self {
        Self { most: 15, interval_ms: 30_000 }
    }
}

/// A broker and its promise.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Broker {
    /// Where it runs.
    pub node: NodeId,
    /// It acknowledges after the sync.
    pub sync_flush: bool,
}

/// A step of the plan: what checkers need of it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Step {
    /// Nodes it touches.
    pub nodes: Vec<NodeId>,
    /// One of these may be late while it lasts: a node that stands still, or runs or syncs slowly.
    pub slows: bool,
    /// It ends a process: told by Down and Up as well.
    pub kills: bool,
    /// It moves a wall clock.
    pub clock: bool,
    /// By so much at once.
    pub jump_ms: i64,
    /// By so many millionths of the time.
    pub drift_ppm: i64,
    /// It touches others besides its nodes.
    pub wide: bool,
    /// A sync fails: the system may forget what was written and not synced, without a loss of power.
    pub loses: bool,
    /// It fills a disk: old messages may be deleted before their time.
    pub fills: bool,
    /// It is never healed.
    pub stays: bool,
    /// An operator deletes this topic on its nodes.
    pub deletes: Option<TopicId>,
    /// In words.
    pub what: String,
}

/// Everything that happened in one run, and what the words in it mean.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct History {
    /// In the order they happened.
    pub events: Vec<Event>,
    /// All messages.
    pub messages: Vec<Message>,
    /// All groups.
    pub groups: Vec<Group>,
    /// All members.
    pub members: Vec<Member>,
    /// All producers.
    pub producers: Vec<Writer>,
    /// All brokers.
    pub brokers: Vec<Broker>,
    /// All steps of the plan.
    pub steps: Vec<Step>,
    /// All queues seen.
    pub queues: Vec<Queue>,
    /// How many sessions there were.
    pub sessions: u32,
    /// How long each level delays a message: at first, and from each [`Kind::Levels`] on.
    pub delays_ms: Vec<Vec<u64>>,
    /// What rotted.
    pub rotten: Vec<Rotten>,
    /// All half messages.
    pub halves: Vec<Half>,
    /// Queues that were deleted with their topic.
    pub deleted: BTreeMap<QueueId, Deletion>,
    /// No part of the system told about itself: there are no taps, and rules see what clients see.
    pub untapped: bool,
    /// What the wall clock of all said when the run began, ms, where there are no taps.
    pub began_ms: i64,
    /// Queues that producers chose for what has to wait first.
    pub meant: BTreeMap<MessageId, QueueId>,
    /// The system takes rare ways: what is done at once elsewhere may take a while.
    pub rare_ways: bool,
    /// Brokers tell the members of a group at once that others have come or gone.
    pub notifies: bool,
    /// It takes any of them at random: a send may be refused for no cause that anybody sees.
    pub refuses: bool,
    /// How brokers ask about transactions.
    pub checks: Checks,
    /// Transactions that asked to be left alone for so long, in place of what brokers grant by themselves.
    pub immune_ms: BTreeMap<MessageId, u64>,
    /// What servers keep for an operator.
    pub registers: Vec<Register>,
    /// The messages of a topic share so many keys, transactions aside; 0 = each has only its own.
    pub shared_keys: u32,
    /// What was asked for by such keys.
    pub newest: Vec<Newest>,
    nodes: Names,
    topics: Names,
    queue_ids: BTreeMap<Queue, QueueId>,
}

impl History {
    /// Adds an event.
    pub fn push(&mut self, at_ns: u64, node: NodeId, kind: Kind) {
        debug_assert!(self.events.last().is_none_or(|last| last.at_ns <= at_ns), "time does not go back");
        if kind == (Kind::Down { how: How::Disk }) {
            for rotten in self.rotten.iter_mut().filter(|rotten| rotten.broker == node) {
                rotten.gone_ns.get_or_insert(at_ns);
            }
        }
        self.events.push(Event { at_ns, node, kind });
    }

    /// The number of a node, new or known.
    pub fn node(&mut self, name: &str) -> NodeId {
        NodeId(self.nodes.id(name))
    }

    /// A node is called so from now on; it is known by its former name as well.
    pub fn rename(&mut self, node: NodeId, name: &str) {
        self.nodes.names[node.index()] = name.to_owned();
        self.nodes.ids.insert(name.to_owned(), node.0);
    }

    /// The number of a topic, new or known.
    pub fn topic(&mut self, name: &str) -> TopicId {
        TopicId(self.topics.id(name))
    }

    /// The number of a node that is known.
    #[must_use]
    pub fn known_node(&self, name: &str) -> Option<NodeId> {
        self.nodes.ids.get(name).copied().map(NodeId)
    }

    /// The number of a topic that is known.
    #[must_use]
    pub fn known_topic(&self, name: &str) -> Option<TopicId> {
        self.topics.ids.get(name).copied().map(TopicId)
    }

    /// The number of a queue, new or known.
    pub fn queue(&mut self, topic: TopicId, broker: NodeId, number: u32) -> QueueId {
        let queue = Queue { topic, broker, number };
        *self.queue_ids.entry(queue).or_insert_with(|| {
            self.queues.push(queue);
            QueueId(self.queues.len() as u32 - 1)
        })
    }

    /// The queues that a topic has on a broker are deleted.
    pub fn delete_queues(&mut self, topic: TopicId, broker: NodeId, position: u64) {
        let event = self.events.len();
        let own = self.queue_ids.iter().filter(|(queue, _)| (queue.topic, queue.broker) == (topic, broker));
        for (_, id) in own {
            self.deleted.entry(*id).or_insert(Deletion { event, position });
        }
    }

    /// A deleted topic is made again: its queues are others from now on.
    pub fn renew(&mut self, topic: TopicId, broker: NodeId) {
        let deleted = &self.deleted;
        self.queue_ids
            .retain(|queue, id| (queue.topic, queue.broker) != (topic, broker) || !deleted.contains_key(id));
    }

    /// The number of the queue that has, or had, its record at this position of its broker's log, new or known.
    pub fn queue_at(&mut self, topic: TopicId, broker: NodeId, number: u32, position: u64) -> QueueId {
        self.known_queue_at(topic, broker, number, position)
            .unwrap_or_else(|| self.queue(topic, broker, number))
    }

    /// The same, of a queue that is known.
    #[must_use]
    pub fn known_queue_at(
        &self,
        topic: TopicId,
        broker: NodeId,
        number: u32,
        position: u64,
    ) -> Option<QueueId> {
        let queue = Queue { topic, broker, number };
        let mut former = self.deleted.iter().filter(|(id, _)| self.queues[id.index()] == queue);
        let before = former.find(|(_, deletion)| position < deletion.position).map(|(id, _)| *id);
        before.or_else(|| self.known_queue(topic, broker, number))
    }

    /// True until the topic of a queue is deleted.
    #[must_use]
    pub fn lives(&self, queue: QueueId) -> bool {
        !self.deleted.contains_key(&queue)
    }

    /// The queue of the same name that was deleted before this one was made.
    #[must_use]
    pub fn former(&self, queue: QueueId) -> Option<QueueId> {
        let same = |id: &QueueId| self.queues[id.index()] == self.queues[queue.index()];
        self.deleted.range(..queue).map(|(id, _)| *id).rfind(same)
    }

    /// The number of a queue that is known.
    #[must_use]
    pub fn known_queue(&self, topic: TopicId, broker: NodeId, number: u32) -> Option<QueueId> {
        self.queue_ids.get(&Queue { topic, broker, number }).copied()
    }

    /// The group of this name.
    #[must_use]
    pub fn group(&self, name: &str) -> Option<GroupId> {
        self.groups.iter().position(|group| group.name == name).map(|index| GroupId(index as u32))
    }

    /// The member of a group that runs on a node.
    #[must_use]
    pub fn member(&self, group: GroupId, node: NodeId) -> Option<MemberId> {
        let found = self.members.iter().position(|member| member.group == group && member.node == node);
        found.map(|index| MemberId(index as u32))
    }

    /// A fresh session.
    pub fn new_session(&mut self) -> SessionId {
        self.sessions += 1;
        SessionId(self.sessions - 1)
    }

    /// Adds a message.
    pub fn message(&mut self, message: Message) -> MessageId {
        self.messages.push(message);
        MessageId(self.messages.len() as u32 - 1)
    }

    /// The name of a node.
    #[must_use]
    pub fn node_name(&self, node: NodeId) -> &str {
        self.nodes.name(node.0)
    }

    /// The name of a topic.
    #[must_use]
    pub fn topic_name(&self, topic: TopicId) -> &str {
        self.topics.name(topic.0)
    }

    /// A queue in words: topic, broker and number.
    #[must_use]
    pub fn queue_name(&self, queue: QueueId) -> String {
        let Queue { topic, broker, number } = self.queues[queue.index()];
        let again = if self.former(queue).is_some() { " (made again)" } else { "" };
        format!("{}/{}/{number}{again}", self.topic_name(topic), self.node_name(broker))
    }

    /// A place in a queue in words.
    #[must_use]
    pub fn slot_name(&self, slot: Slot) -> String {
        format!("{} offset {}", self.queue_name(slot.queue), slot.offset)
    }

    /// A new group that reads a topic, and where its retries and dead letters go.
    pub fn new_group(&mut self, name: &str, topic: TopicId, limit: u32) -> &mut Group {
        let (retry, dlq) = (self.topic(&name::retry_topic(name)), self.topic(&name::dlq_topic(name)));
        let (name, timeout_ms) = (name.to_owned(), CONSUME_TIMEOUT_MS);
        self.groups.push(Group { name, topic, tag: None, retry, dlq, limit, timeout_ms, from_end: false });
        self.groups.last_mut().expect("it was just added")
    }

    /// What a server keeps, in words.
    #[must_use]
    pub fn register_name(&self, register: RegisterId) -> String {
        let Register { server, what, name } = &self.registers[register.index()];
        let what = match what {
            Keeps::Text => "the text",
            Keeps::Writing => "the right to write to",
            Keeps::Topic => "topic",
            Keeps::Group => "the settings of group",
            Keeps::Offset => "the offset of group",
            Keeps::Permission => "the setting",
        };
        format!("{what} {name} on {}", self.node_name(*server))
    }

    /// The number of something that a server keeps, new or known.
    pub fn register(&mut self, server: NodeId, what: Keeps, name: &str) -> RegisterId {
        let same = |it: &Register| (it.server, it.what, &*it.name) == (server, what, name);
        let place = self.registers.iter().position(same).unwrap_or_else(|| {
            self.registers.push(Register { server, what, name: name.to_owned() });
            self.registers.len() - 1
        });
        RegisterId(place as u32)
    }

    /// A message in words: producer and serial.
    #[must_use]
    pub fn message_name(&self, message: MessageId) -> String {
        let Message { producer, serial, .. } = self.messages[message.index()];
        format!("p{producer}#{serial}")
    }

    /// Which of the keys of its topic a message shares with others.
    #[must_use]
    pub fn shared_key(&self, message: MessageId) -> Option<u32> {
        let Message { producer, serial, transactional, .. } = self.messages[message.index()];
        (!transactional).then(|| shared_key(producer, serial, self.shared_keys)).flatten()
    }

    /// A half message in words.
    #[must_use]
    pub fn half_name(&self, half: HalfId) -> String {
        let message = self.halves[half.index()].message.map(|id| self.message_name(id));
        format!("half {} ({})", half.0, message.unwrap_or_else(|| "of an unknown message".to_owned()))
    }

    /// The name of a group.
    #[must_use]
    pub fn group_name(&self, group: GroupId) -> &str {
        &self.groups[group.index()].name
    }

    /// A member in words: its node.
    #[must_use]
    pub fn member_name(&self, member: MemberId) -> &str {
        self.node_name(self.members[member.index()].node)
    }

    /// The promise of the broker a queue is on.
    #[must_use]
    pub fn sync_flush(&self, queue: QueueId) -> bool {
        let node = self.queues[queue.index()].broker;
        self.brokers.iter().any(|broker| broker.node == node && broker.sync_flush)
    }

    /// True when the group takes messages with this message's topic and tag.
    #[must_use]
    pub fn matches(&self, group: GroupId, message: MessageId) -> bool {
        let (group, message) = (&self.groups[group.index()], &self.messages[message.index()]);
        group.topic == message.topic && group.tag.is_none_or(|tag| tag == message.tag)
    }

    /// True when the group reads this queue: of its topic, or of its retries.
    #[must_use]
    pub fn reads(&self, group: GroupId, queue: QueueId) -> bool {
        let (group, topic) = (&self.groups[group.index()], self.queues[queue.index()].topic);
        topic == group.topic || topic == group.retry
    }

    /// True when a message may lie in this queue: in its topic, or where a group that takes it keeps its retries.
    #[must_use]
    pub fn belongs(&self, message: MessageId, queue: QueueId) -> bool {
        let (message, topic) = (&self.messages[message.index()], self.queues[queue.index()].topic);
        let back =
            |group: &Group| group.topic == message.topic && (topic == group.retry || topic == group.dlq);
        topic == message.topic || self.groups.iter().any(back)
    }

    /// True for a queue of a topic that belongs to brokers alone.
    #[must_use]
    pub fn is_inner(&self, queue: QueueId) -> bool {
        self.is_schedule(queue) || self.topic_name(self.queues[queue.index()].topic) == HALF
    }

    /// True for a queue of the topic in which delayed messages wait.
    #[must_use]
    pub fn is_schedule(&self, queue: QueueId) -> bool {
        self.topic_name(self.queues[queue.index()].topic) == SCHEDULE
    }

    /// The group of producers that a half message belongs to.
    #[must_use]
    pub fn producer_group(&self, half: HalfId) -> Option<u32> {
        let producer = self.messages[self.halves[half.index()].message?.index()].producer;
        Some(self.producers.get(producer as usize)?.group)
    }

    /// One event as a line.
    #[must_use]
    pub fn line(&self, number: usize) -> String {
        let Event { at_ns, node, kind } = self.events[number];
        format!(
            "{:>12.6} s #{number:<6} {:<4} {}",
            at_ns as f64 / 1e9,
            self.node_name(node),
            self.words(kind)
        )
    }

    pub(crate) fn words(&self, kind: Kind) -> String {
        let slot_name = |slot| self.slot_name(slot);
        match kind {
            Kind::Send { message } => format!("send {}", self.message_name(message)),
            Kind::Sent { message, outcome, at } => {
                let at = at.map_or(String::new(), |slot| format!(" at {}", self.slot_name(slot)));
                format!("sent {}: {}{at}", self.message_name(message), outcome.name())
            }
            Kind::Enter { member, slot, message, .. } => {
                let message = message.map_or("a message nobody sent".to_owned(), |id| self.message_name(id));
                let group = self.group_name(self.members[member.index()].group);
                format!("listener of {group} gets {message} from {}", slot_name(slot))
            }
            Kind::Exit { member, slot, ok } => {
                let group = self.group_name(self.members[member.index()].group);
                let end = if ok { "is done with" } else { "defers" };
                format!("listener of {group} {end} {}", slot_name(slot))
            }
            Kind::Joined { member } => {
                format!("joined {}", self.group_name(self.members[member.index()].group))
            }
            Kind::Leaves { member } => {
                format!("leaves {}", self.group_name(self.members[member.index()].group))
            }
            Kind::Down { how: How::Process } => "killed".to_owned(),
            Kind::Down { how: How::Power } => "loses power".to_owned(),
            Kind::Down { how: How::Stop } => "stopped".to_owned(),
            Kind::Down { how: How::Disk } => "dies and loses its disk".to_owned(),
            Kind::Up => "started".to_owned(),
            Kind::Rotten { which } => {
                let Rotten { slot, record, .. } = self.rotten[which as usize];
                match record {
                    Some((from, until)) => {
                        format!("a bit of {} turns in the log, at {from}..{until}", slot_name(slot))
                    }
                    None => format!("a bit of {} turns in its queue", slot_name(slot)),
                }
            }
            Kind::Levels { set } => {
                format!("will start with delay levels {:?} ms", self.delays_ms[set as usize])
            }
            Kind::StepOn { step } => format!("begins: {}", self.steps[step as usize].what),
            Kind::StepOff { step } => format!("ends: {}", self.steps[step as usize].what),
            Kind::Routes { brokers, whole_cluster, .. } => {
                let known = self.brokers.iter().enumerate().filter(|(index, _)| brokers & (1 << index) != 0);
                let names: Vec<_> = known.map(|(_, broker)| self.node_name(broker.node)).collect();
                let what = if whole_cluster { "cluster" } else { "route" };
                format!("{what} answer: [{}]", names.join(" "))
            }
            Kind::Range { queue, min, max, .. } => format!("{} holds {min}..{max}", self.queue_name(queue)),
            Kind::Waited { queue, hold_ms, found, .. } => {
                let found = if found { "a message" } else { "nothing" };
                format!("{found} comes behind {}, with {hold_ms} ms to wait", self.queue_name(queue))
            }
            Kind::Queried { message, found, others, .. } => {
                let found = if found { "finds it" } else { "does not find it" };
                format!("the key of {} {found}, and {others} others", self.message_name(message))
            }
            Kind::Newest { which } => {
                let Newest { topic, key, most, found, .. } = &self.newest[which as usize];
                let topic = self.topic_name(*topic);
                format!("the newest {most} with key {key} of {topic}: {} are found", found.len())
            }
            Kind::Ordered { register, value } => {
                format!("{} is to be {}", self.register_name(register), known(value))
            }
            Kind::Answered { register, value, done } => {
                let done = if done { "was set" } else { "is refused to be set" };
                format!("{} {done} to {}", self.register_name(register), known(value))
            }
            Kind::Shown { register, value, .. } => {
                format!("{} is {}", self.register_name(register), known(value))
            }
            Kind::Members { group, named, .. } => {
                format!("{} has {named} members", self.group_name(group))
            }
            Kind::Locks { queue, client, held, .. } => {
                let held = if held { "has" } else { "does not get" };
                format!("client {client} {held} the lock of queue {queue}")
            }
            Kind::Unlocks { queue, client, done } => {
                let how = if done { "has unlocked" } else { "unlocks" };
                format!("client {client} {how} queue {queue}")
            }
            Kind::ConnectionEnds { left, overdue_ms, silent_ms } => format!(
                "a connection ends with {left} calls that nobody waits for, {overdue_ms} ms overdue, silent for {silent_ms} ms"
            ),
            Kind::GivenUp { client } => format!("{} said nothing for too long", self.node_name(client)),
            Kind::RouteAnswered { topic, found } => {
                let what = if found { "a route" } else { "no route" };
                format!("is told {what} of {}", self.topic_name(topic))
            }
            Kind::Heal => "all faults are over".to_owned(),
            Kind::Drained { rest } => format!("drain ended, {rest} left"),
            Kind::Append { slot, position, end } => {
                format!("append {} at {position}..{end}", slot_name(slot))
            }
            Kind::Dispatched { slot } => format!("{} can be read", slot_name(slot)),
            Kind::Flushed { end } => format!("flushed to {end}"),
            Kind::Acked { slot, end, code } => format!("answers {code} for {} end {end}", slot_name(slot)),
            Kind::Recovered { end } => format!("log recovered to {end}"),
            Kind::ReadBeyond { queue, asked, next } => {
                format!("offset {asked} of {} is beyond its end; on from {next}", self.queue_name(queue))
            }
            Kind::QueueRecovered { queue, min, max } => {
                format!("{} recovered {min}..{max}", self.queue_name(queue))
            }
            Kind::Stored { group, queue, offset } => {
                format!("committed {} of {} = {offset}", self.group_name(group), self.queue_name(queue))
            }
            Kind::Loaded { group, queue, offset } => {
                format!("loaded {} of {} = {offset}", self.group_name(group), self.queue_name(queue))
            }
            Kind::OffsetsTaken => "takes offsets to persist".to_owned(),
            Kind::OffsetsPersisted => "offsets persisted".to_owned(),
            Kind::TopicSet { topic, broker, read, write } => {
                let (topic, broker) = (self.topic_name(topic), self.node_name(broker));
                format!("{topic} on {broker} has {read} read and {write} write queues")
            }
            Kind::TopicUnlisted { topic, broker } => {
                format!("{} lists topic {} no more", self.node_name(broker), self.topic_name(topic))
            }
            Kind::TopicDeleting { topic, broker } => {
                format!("{} begins to delete topic {}", self.node_name(broker), self.topic_name(topic))
            }
            Kind::TopicDeleted { topic, broker } => {
                format!("the queues of {} on {} are deleted", self.topic_name(topic), self.node_name(broker))
            }
            Kind::DelayStored { slot, target } => {
                format!("{} waits for {}", slot_name(slot), self.queue_name(target))
            }
            Kind::DelayDelivered { from, to } => format!("{} goes to {}", slot_name(from), slot_name(to)),
            Kind::DelaySkipped { from } => format!("{} is given up", slot_name(from)),
            Kind::DelayOffset { queue, offset, loaded } => {
                let how = if loaded { "loaded" } else { "written" };
                format!("{} is delivered to {offset}: {how}", self.queue_name(queue))
            }
            Kind::SentBack { group, slot, times, level, dead, code, to, .. } => {
                let how = if dead { "is dead".to_owned() } else { format!("waits on level {level}") };
                let (slot, to, group) = (slot_name(slot), slot_name(to), self.group_name(group));
                format!("{slot} of {group} {how} after {times} tries at {to}: {code}")
            }
            Kind::CopiedBack { group, slot, times, to, done } => {
                let how = if done { "has taken" } else { "is sent" };
                let (slot, to, group) = (slot_name(slot), self.node_name(to), self.group_name(group));
                format!("{to} {how} a copy of {slot} for {group} after {times} tries")
            }
            Kind::Decided { message, commit } => {
                format!("transaction {}: {}", self.message_name(message), decision(commit))
            }
            Kind::CheckCame { half } => format!("a check of {} came", self.half_name(half)),
            Kind::Asking { half } => format!("looks for the outcome of {}", self.half_name(half)),
            Kind::Asked { half, commit } => {
                format!("asked about {}, says {}", self.half_name(half), decision(commit))
            }
            Kind::HalfStored { half, offset, end, immunity_ms } => format!(
                "{} stored as half {offset} end {end}, immune for {immunity_ms} ms",
                self.half_name(half)
            ),
            Kind::HalfEnded { half, commit, mended, .. } => {
                let mended = if mended { ", found at start" } else { "" };
                format!("{} ends: {}{mended}", self.half_name(half), decision(Some(commit)))
            }
            Kind::HalfChecked { half, checks } => format!("check {checks} of {}", self.half_name(half)),
            Kind::HalfPutBack { half, from, offset, end, checks } => {
                format!(
                    "{} put back from {from} to {offset} end {end} for check {checks}",
                    self.half_name(half)
                )
            }
            Kind::HalfGivenUp { half, checks, .. } => {
                format!("{} given up after {checks} checks", self.half_name(half))
            }
            Kind::HalfOffset { offset } => format!("halves below {offset} are done"),
            Kind::HalfLoaded { half, offset, checks } => {
                format!("{} found at {offset}, undecided after {checks} checks", self.half_name(half))
            }
            Kind::HalvesLoaded => "all undecided halves are found".to_owned(),
            Kind::Registered { broker, peer, version, .. } => {
                format!("{} registered version {version} on #{peer}", self.node_name(broker))
            }
            Kind::Spun => "a task runs in circles".to_owned(),
            Kind::RouteTold { queues, addresses } => {
                format!("route answer: queues of {queues:b}, addresses of {addresses:b}")
            }
            Kind::Offered { topic, broker, read, perm, .. } => {
                let (topic, broker) = (self.topic_name(topic), self.node_name(broker));
                format!("route answer: {topic} on {broker} has {read} read queues, permission {perm}")
            }
            Kind::Heard { broker, peer } => format!("{} heard on #{peer}", self.node_name(broker)),
            Kind::Removed { broker, why } => format!("{} removed: {why:?}", self.node_name(broker)),
            Kind::PeerClosed { peer } => format!("connection #{peer} closed"),
            Kind::Committed { group, queue, offset } => {
                format!("{} has committed {offset} of {}", self.group_name(group), self.queue_name(queue))
            }
            Kind::Ended { message, commit } => {
                let name = self.message_name(message);
                format!("transaction {name} is ended: {}", decision(Some(commit)))
            }
            Kind::Holds { member, queue, on } => {
                let (member, queue) = (self.member_name(member), self.queue_name(queue));
                if on { format!("{member} holds {queue}") } else { format!("{member} holds {queue} no more") }
            }
            Kind::SessionStart { session, queue, offset, .. } => {
                format!("session {} pulls {} from {offset}", session.0, self.queue_name(queue))
            }
            Kind::SessionEnd { session } => format!("session {} ends", session.0),
            Kind::Pulled { session, from, next, count } => {
                format!("session {} pulled {from}..{next} ({count})", session.0)
            }
        }
    }
}

/// What the client allows a listener when nobody says otherwise.
const CONSUME_TIMEOUT_MS: u64 = 15 * 60_000;

/// A value of a register in words.
pub(crate) fn known(value: Option<u64>) -> String {
    value.map_or("nothing".to_owned(), |value| value.to_string())
}

fn decision(commit: Option<bool>) -> &'static str {
    match commit {
        Some(true) => "commit",
        Some(false) => "rollback",
        None => "unknown",
    }
}

/// The topic of half messages.
pub const HALF: &str = "RMQ_SYS_TRANS_HALF_TOPIC";
/// The topic in which delayed messages wait.
pub const SCHEDULE: &str = "SCHEDULE_TOPIC_XXXX";

/// Names with a number each.
#[derive(Clone, Debug, Default, PartialEq)]
struct Names {
    names: Vec<String>,
    ids: BTreeMap<String, u32>,
}

impl Names {
    fn id(&mut self, name: &str) -> u32 {
        if let Some(&id) = self.ids.get(name) {
            return id;
        }
        let id = self.names.len() as u32;
        self.names.push(name.to_owned());
        self.ids.insert(name.to_owned(), id);
        id
    }

    fn name(&self, id: u32) -> &str {
        self.names.get(id as usize).map_or("lab", |name| name)
    }
}

/// What the store holds in the end, read through the clients' door, and what the files of brokers held when nobody
/// wrote.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Audit {
    /// By queue.
    pub queues: Vec<QueueContent>,
    /// Messages asked for by what acknowledgements named them.
    pub by_id: Vec<ById>,
    /// Files of brokers at some times.
    pub images: Vec<Image>,
    /// What faults changed between their begin and the heal, by effect.
    pub struck: BTreeMap<&'static str, u64>,
    /// Steps of the plan whose moment did not come.
    pub missed: Vec<u32>,
}

/// What a queue holds in the end.
#[derive(Clone, Debug, PartialEq)]
pub struct QueueContent {
    /// Which queue.
    pub queue: QueueId,
    /// Its smallest offset.
    pub min: u64,
    /// The offset the next message will get.
    pub max: u64,
    /// What reading it from `min` gave, in the order it came.
    pub read: Vec<Read>,
    /// What was asked by time just after.
    pub searched: Vec<Searched>,
}

/// One message read in the end.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Read {
    /// At this offset.
    pub offset: u64,
    /// None: nobody sent such a thing.
    pub message: Option<MessageId>,
    /// Against what was sent.
    pub fit: Fit,
    /// A hash of the unique key its client gave it.
    pub unique: u64,
    /// How many tries it had had.
    pub times: u32,
    /// When its broker says it stored it, ms since 1970.
    pub stored_ms: i64,
}

/// A question for the first message that was stored at some time or later.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Searched {
    /// The time, ms since 1970.
    pub time_ms: i64,
    /// The answer.
    pub offset: u64,
}

/// What a message is asked for by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Id {
    /// Its broker's address and its position in the log.
    Offset,
    /// The key its client made.
    Unique,
}

impl Id {
    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Offset => "offset id",
            Self::Unique => "unique key",
        }
    }
}

/// What asking for a message by an id gave in the end.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ById {
    /// The message whose acknowledgement named the id.
    pub asked: MessageId,
    /// Which one.
    pub id: Id,
    /// What came, and how it fits; none: nothing.
    pub found: Option<(Option<MessageId>, Fit)>,
}

/// The files of one broker at one time.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Image {
    /// Index of the broker's node.
    pub node: u32,
    /// When.
    pub at_ns: u64,
    /// Why it was taken: [`RECOVERED`], [`END`] or [`AGAIN`].
    pub when: &'static str,
    /// Where the first file of the log begins.
    pub start: u64,
    /// Records of the log in order.
    pub records: Vec<Stored>,
    /// The position after the last valid record or blank.
    pub end: u64,
    /// What is wrong with the shape of the log, in words: a damaged record, a wrong blank.
    pub faults: Vec<String>,
    /// What lies behind the end of the log and should not, in words.
    pub behind: Vec<String>,
    /// Entries of each queue: from the first offset on.
    pub queues: Vec<Units>,
}

/// One record in a log file.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Stored {
    /// Where it begins.
    pub position: u64,
    /// How long it is.
    pub size: u32,
    /// Its queue, when it is one of the lab's topics.
    pub queue: Option<QueueId>,
    /// Its offset in the queue.
    pub offset: u64,
    /// Hash of its tag, as queues hold it.
    pub tag_hash: i64,
    /// When it was stored.
    pub stored_ms: i64,
    /// Its checksum fits its body.
    pub intact: bool,
    /// Its own position field.
    pub says_position: u64,
}

/// Entries of one queue.
#[derive(Clone, Debug, PartialEq)]
pub struct Units {
    /// Which queue.
    pub queue: QueueId,
    /// The offset of the first entry.
    pub first: u64,
    /// Position, size and tag hash of each.
    pub units: Vec<(u64, u32, i64)>,
}

/// An image right after a recovery, with load going on.
pub const RECOVERED: &str = "after a recovery";
/// The image at the end.
pub const END: &str = "at the end";
/// The image after one more crash and recovery without load.
pub const AGAIN: &str = "after one more recovery";
