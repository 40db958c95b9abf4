//! A plan: everything a run will do, drawn from the seed before it begins. Printable on one screen, and data.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::moment::Moment;
use crate::op::Op;
use crate::swarm::{RECOVERY, Size};

/// The whole of one run: who takes part, what load they make, and what goes wrong when.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// The scenario that drew it.
    pub scenario: String,
    /// The seed it was drawn from.
    pub seed: u64,
    /// How large it was drawn.
    #[serde(default, skip_serializing_if = "Profile::is_usual")]
    pub profile: Profile,
    /// Its faults may be beyond all that the system promises to get over: only what must never happen is judged.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub safety_only: bool,
    /// How many name servers: `ns0`, `ns1`.
    pub name_servers: u32,
    /// The brokers `b0`, `b1`.
    pub brokers: Vec<Broker>,
    /// What is written to.
    pub topics: Vec<Topic>,
    /// Who writes, each on a node of its own: `p0`, `p1`.
    pub producers: Vec<Producer>,
    /// Who reads.
    pub groups: Vec<Group>,
    /// How links behave when nothing is wrong.
    pub network: Network,
    /// What happens when, in order of time.
    pub steps: Vec<Step>,
    /// How long each level holds a delayed message, until a step changes it; empty = as brokers are configured by default.
    #[serde(default)]
    pub delay_levels_s: Vec<u64>,
    /// Every call of the producers while they write, instead of draws.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ops: Option<Vec<Op>>,
    /// How long the producers write; all steps begin within this time.
    pub load_ms: u64,
    /// Per mille with which each in-code fault site of the system fires once it is chosen; 0 = none.
    pub buggify: u32,
    /// A rare way of the system that is nearly always taken, whatever the other sites do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rare: Option<Rare>,
    /// The lab asks name servers and brokers about this often.
    pub probe_ms: u64,
    /// And brokers for so many keys each time, and many more in the end.
    #[serde(default)]
    pub queries: u32,
    /// The messages of a topic share so many keys, by which the newest are asked for; 0 = each has only its own.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub shared_keys: u32,
    /// So many of 100 questions for messages go through a client.
    #[serde(default)]
    pub by_client: u32,
    /// About this often an operator looks at groups, and changes what servers keep for him; 0 = never.
    #[serde(default)]
    pub operator_ms: u64,
    /// About this often each of two clients locks queues, or unlocks them; 0 = never.
    #[serde(default)]
    pub lock_ms: u64,
    /// The run goes on for at least so long after the faults are over: ownership can be judged then.
    pub settle_ms: u64,
    /// Crash a broker once more after the drain and compare what it recovers.
    pub recover_twice: bool,
}

/// How large plans are drawn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Profile {
    /// As each scenario has it: a run takes a tenth of a second.
    #[default]
    Brief,
    /// At least 2,000 messages in 10 minutes, with 10 faults.
    Quick,
    /// At least 20,000 messages in 30 minutes, with 40 faults, on two name servers and two or three brokers.
    Standard,
    /// At least 500,000 messages in 12 hours, with 400 faults.
    Soak,
}

impl Profile {
    /// All of them, the smallest first.
    pub const ALL: [Self; 4] = [Self::Brief, Self::Quick, Self::Standard, Self::Soak];

    /// As it is asked for.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Brief => "brief",
            Self::Quick => "quick",
            Self::Standard => "standard",
            Self::Soak => "soak",
        }
    }

    #[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
    fn is_usual(&self) -> bool {
        *self == Self::Brief
    }

    /// Messages and length of the load, where a scenario asks for less.
    #[must_use]
    pub fn size(self, size: Size) -> Size {
        let (messages, load_ms) = match self {
            Self::Brief => return size,
            Self::Quick => (2_400, (600_000, 700_000)),
            Self::Standard => (24_000, (1_800_000, 2_000_000)),
            Self::Soak => (600_000, (43_200_000, 45_000_000)),
        };
        Size { messages: size.messages.max(messages), load_ms }
    }

    /// So many messages a plan has at least.
    #[must_use]
    pub fn least_messages(self) -> f64 {
        match self {
            Self::Brief => 0.0,
            Self::Quick => 2_000.0,
            Self::Standard => 20_000.0,
            Self::Soak => 500_000.0,
        }
    }

    /// So many faults more than a scenario asks for, and a plan with faults has so many at least.
    #[must_use]
    pub fn more_faults(self) -> u64 {
        match self {
            Self::Brief => 0,
            Self::Quick => 10,
            Self::Standard => 40,
            Self::Soak => 400,
        }
    }
}

/// A rare way that shows what it could bring to light only when it is taken again and again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Rare {
    /// Topics and groups are slowly written.
    SlowConfig,
    /// Committed offsets are slowly written, and often.
    SlowOffsets,
    /// Queues keep few of their newest entries in memory.
    ShortTails,
    /// Checks of half messages are slowly written.
    SlowChecks,
    /// Log files are slowly made: who writes waits for them.
    SlowFiles,
    /// Committed offsets can seldom be written.
    RefusedOffsets,
    /// Name servers slowly write what an operator tells them to keep.
    SlowTexts,
}

impl Rare {
    /// All of them.
    pub const ALL: &[Self] = &[
        Self::SlowConfig,
        Self::SlowOffsets,
        Self::ShortTails,
        Self::SlowChecks,
        Self::SlowFiles,
        Self::RefusedOffsets,
        Self::SlowTexts,
    ];
    /// Those that do something in any plan.
    pub const ANYWHERE: &[Self] = &[Self::SlowConfig, Self::SlowOffsets, Self::ShortTails];

    /// The sites in the code that take it.
    #[must_use]
    pub fn sites(self) -> &'static [&'static str] {
        match self {
            Self::SlowConfig => &["broker.config.slow"],
            Self::SlowOffsets => &["broker.offsets.slow", "broker.offsets.soon"],
            Self::ShortTails => &["store.settle.early", "store.tail.short"],
            Self::SlowChecks => &["broker.transaction.check_slow"],
            Self::SlowFiles => &["store.segment.slow"],
            Self::RefusedOffsets => &["broker.offsets.refused"],
            Self::SlowTexts => &["namesrv.file.slow"],
        }
    }
}

/// One broker and the settings that differ from the defaults.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Broker {
    /// Synchronous flush: an acknowledged message survives power loss.
    pub sync_flush: bool,
    /// Bytes of a commit log file.
    pub log_file_bytes: u64,
    /// Entries of a consume queue file.
    pub queue_file_units: u64,
    /// How long a sync of its disk takes.
    pub sync_us: (u64, u64),
    /// Wall clock against true time, at the start.
    pub clock_offset_ms: i64,
    /// Other settings by RocketMQ's own key.
    pub config: Vec<(String, String)>,
}

impl Broker {
    /// What a broker is configured with beside its name and addresses: RocketMQ's keys, and delay levels in seconds.
    #[must_use]
    pub fn properties(&self, levels_ms: &[u64]) -> Vec<(String, String)> {
        let flush = if self.sync_flush { "SYNC_FLUSH" } else { "ASYNC_FLUSH" };
        let slots = self.queue_file_units.clamp(20, 200);
        let own = [
            ("flushDiskType", flush.to_owned()),
            ("mappedFileSizeCommitLog", self.log_file_bytes.to_string()),
            ("mappedFileSizeConsumeQueue", (self.queue_file_units * 20).to_string()),
            ("maxHashSlotNum", slots.to_string()),
            ("maxIndexNum", (slots * 20).to_string()),
            ("maxMessageSize", MOST_BYTES.to_string()),
        ];
        let levels: Vec<_> = levels_ms.iter().map(|ms| format!("{}s", ms / 1000)).collect();
        let levels = (!levels.is_empty()).then(|| ("messageDelayLevel", levels.join(" ")));
        let own = own.into_iter().chain(levels).map(|(key, value)| (key.to_owned(), value));
        own.chain(self.config.iter().cloned()).collect()
    }
}

/// One topic, with the same queues on every broker.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Topic {
    /// Its name.
    pub name: String,
    /// Queues per broker at the start.
    pub queues: u32,
    /// How many different tags its messages carry, see [`tag_name`].
    pub tags: u32,
}

/// Whether a partition into these circles keeps one node from hearing the other: both are in circles, and in none together.
#[must_use]
pub fn parts(circles: &[Vec<String>], one: &str, other: &str) -> bool {
    let holds = |circle: &[String], node: &str| circle.iter().any(|it| it == node);
    let within = |node: &str| circles.iter().any(|circle| holds(circle, node));
    let together = circles.iter().any(|circle| holds(circle, one) && holds(circle, other));
    one != other && within(one) && within(other) && !together
}

/// The name of a tag. The first two have the same hash, which is all that a broker compares.
#[must_use]
pub fn tag_name(tag: u32) -> String {
    match tag {
        0 => "tagAa".to_owned(),
        1 => "tagBB".to_owned(),
        other => format!("tag{other}"),
    }
}

/// One producer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Producer {
    /// Index of its topic.
    pub topic: u32,
    /// How it chooses the queue.
    pub mode: Mode,
    /// Calls in flight at once.
    pub in_flight: u32,
    /// Calls in one burst.
    pub burst: u32,
    /// Pause between bursts.
    pub gap_ms: (u64, u64),
    /// Bytes of a body.
    pub body: (u64, u64),
    /// Time-out of one call.
    pub timeout_ms: u64,
    /// Further attempts the client may make by itself.
    pub retries: u32,
    /// Some messages are delayed.
    #[serde(default)]
    pub delayed: Option<Delayed>,
    /// The group of transactional producers that it belongs to: its members answer for each other.
    #[serde(default)]
    pub group: u32,
    /// When its process dies and never comes back, if it does.
    #[serde(default)]
    pub gone_ms: Option<u64>,
    /// Half of its transactions ask that nobody checks them for up to so many seconds; 0 = none.
    #[serde(default)]
    pub immunity_s: u32,
    /// Half of its calls go through another client of its process.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub twin: bool,
    /// Its transactions go through the client; none: it speaks the protocol itself, and answers checks at once.
    #[serde(default)]
    pub checks: Option<Checking>,
}

/// How the client's own transactional producer answers checks.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Checking {
    /// So many at once.
    pub concurrency: u32,
    /// Its listener needs up to so long for one, and mostly less.
    pub most_ms: u64,
}

/// Which messages of a producer are delayed.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Delayed {
    /// One in so many.
    pub one_in: u32,
    /// By a level from the first to this.
    pub most_level: u32,
}

/// Which messages the listeners of a group cannot handle.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Fails {
    /// One in so many, the same ones for every member.
    pub one_in: u32,
    /// So many tries fail at most; one that fails more often than the limit is never handled.
    pub most: u32,
    /// After so many tries a message is a dead letter.
    pub limit: u32,
}

/// Which messages the listeners of a group are stuck with at the first try, for two to three times as long as the client
/// lets them. In the end they cannot handle them.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Stuck {
    /// One in so many, the same ones for every member.
    pub one_in: u32,
    /// What a listener has for longer is given back.
    pub timeout_ms: u64,
}

impl Stuck {
    /// The longest that a listener is stuck.
    #[must_use]
    pub fn most_ms(&self) -> u64 {
        self.timeout_ms * 3
    }
}

/// How a producer sends.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum Mode {
    /// The client chooses the queue and tries another one when it fails.
    Auto,
    /// The program names the queue.
    Queue,
    /// Several messages in one call.
    Batch(u32),
    /// Transactions, of which so many of 100 are rolled back, and so many never known.
    Transaction {
        /// Of 100.
        rollback: u32,
        /// Of 100.
        unknown: u32,
    },
}

/// One consumer group.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Group {
    /// Its name.
    pub name: String,
    /// Index of its topic.
    pub topic: u32,
    /// It takes only this tag.
    pub tag: Option<u32>,
    /// Its members, each on a node of its own: `c0`, `c1`, counted over all groups.
    pub members: Vec<Member>,
    /// How long the listener needs for one message.
    pub work_ms: (u64, u64),
    /// One in so many messages takes ten times as long; 0 = none.
    pub slow_one_in: u32,
    /// Messages handed to the listener at once.
    pub batch: u32,
    /// Listeners running at once.
    pub threads: u32,
    /// What its listeners cannot handle.
    #[serde(default)]
    pub fails: Option<Fails>,
    /// What its listeners are stuck with.
    #[serde(default)]
    pub stuck: Option<Stuck>,
    /// It comes when there is something to read already, and begins at the end of what is not young.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub from_end: bool,
}

/// One member of a group.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Member {
    /// When it joins; 0 = before the load.
    pub joins_ms: u64,
    /// When it leaves cleanly, if it does.
    pub leaves_ms: Option<u64>,
    /// It does not leave cleanly then: its process dies and never comes back.
    #[serde(default)]
    pub dies: bool,
}

/// How links behave when nothing is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Network {
    /// One way.
    pub latency_us: (u64, u64),
    /// Reads return fewer bytes than have arrived.
    pub short_reads: bool,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// Longest body; the smallest log files hold several such.
const MOST_BYTES: usize = 16 << 10;
/// Most records of an answer that come from the disk.
const COLD_COUNT: u64 = 8;
/// The level of the first retry.
pub const FIRST_RETRY_LEVEL: u32 = 3;
/// Listed calls that are shown with a plan.
const SHOWN: usize = 30;

/// One thing that happens.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// Counted from the start of the load.
    pub at_ms: u64,
    /// At this moment instead, whenever it comes. A run that does not come there says nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on: Option<Moment>,
    /// How long it lasts, or how long a node stays down.
    pub for_ms: u64,
    /// It is never healed: the rest of the cluster must do without what it struck.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub stays: bool,
    /// The manoeuvre of several steps that it is part of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub part: Option<Manoeuvre>,
    /// What it is.
    pub what: What,
}

/// Several steps that belong together.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum Manoeuvre {
    /// Some nodes are cut off one after the other, and come back in another order.
    Swizzle,
    /// One server after the other is stopped cleanly and started again.
    Rolling,
}

impl Step {
    /// A step at a time.
    #[must_use]
    pub fn new(at_ms: u64, for_ms: u64, what: What) -> Self {
        Self { at_ms, on: None, for_ms, stays: false, part: None, what }
    }

    /// Its kind, or that of the manoeuvre it belongs to.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self.part {
            Some(Manoeuvre::Swizzle) => "swizzle-clog",
            Some(Manoeuvre::Rolling) => "rolling restart",
            None => self.what.kind(),
        }
    }
}

/// The class of faults that a kind belongs to: those that are drawn together.
#[must_use]
pub fn class_of(kind: &str) -> &str {
    match kind {
        "lost request" | "late request" | "doubled request" | "request broken off" => "single request",
        "partition" | "bridge partition" | "ring partition" => "partition",
        "cut" | "one-way cut" => "cut",
        other => other,
    }
}

/// What somebody must be able to do who lets a step happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Need {
    /// End a process at once.
    Kill,
    /// Ask a process to end.
    Stop,
    /// Let a process stand still.
    Pause,
    /// Hold back, delay and break what goes over one link.
    Link,
    /// Give orders as an operator.
    Operator,
    /// Lose what was not synced.
    Power,
    /// End a process at a named point of its code, or in the midst of a write.
    Point,
    /// Let a process run slowly.
    Speed,
    /// Set one machine's wall clock.
    Clock,
    /// Let a disk fail, fill or rot.
    Disk,
    /// Limit how many connections wait to be accepted.
    Backlog,
}

/// What can happen.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum What {
    /// The process dies; with `power`, unsynced pages are lost too.
    Crash {
        /// Who.
        node: String,
        /// Power loss instead of the death of the process.
        power: bool,
    },
    /// As Crash, at the n-th passage of a named point from now on.
    CrashAt {
        /// Who.
        node: String,
        /// Name of the point in the code.
        point: String,
        /// Which passage.
        nth: u64,
        /// Power loss instead of the death of the process.
        power: bool,
    },
    /// A clean stop.
    Stop {
        /// Who.
        node: String,
    },
    /// The process stands still.
    Pause {
        /// Who.
        node: String,
    },
    /// The process runs slowly.
    Slow {
        /// Who.
        node: String,
        /// How many times slower.
        factor: u32,
    },
    /// Nothing arrives from one at the other, and back if `both`.
    Cut {
        /// From here.
        from: String,
        /// To there.
        to: String,
        /// And back.
        both: bool,
    },
    /// Cut off from everybody.
    Isolate {
        /// Who.
        node: String,
    },
    /// All connections between the two break.
    Reset {
        /// One end.
        a: String,
        /// The other end.
        b: String,
    },
    /// The link is slow and loses packets.
    Lag {
        /// One end.
        a: String,
        /// The other end.
        b: String,
        /// At most so slow.
        max_ms: u64,
        /// So many of 100 packets are lost and sent again.
        loss: u32,
    },
    /// The wall clock jumps.
    ClockJump {
        /// Whose.
        node: String,
        /// By how much.
        by_ms: i64,
    },
    /// Syncs take long.
    SlowSync {
        /// Whose disk.
        node: String,
        /// How long each.
        ms: u64,
    },
    /// The next sync of the log fails, and the store takes no more messages. An operator restarts the broker.
    SyncFails {
        /// Whose disk.
        node: String,
    },
    /// Reads from the medium fail.
    FetchFails {
        /// Whose disk.
        node: String,
        /// So many.
        times: u64,
        /// The broker is killed at the beginning: its recovery reads the most.
        restart: bool,
    },
    /// No file can be made, renamed or removed.
    NamesFail {
        /// Whose disk.
        node: String,
    },
    /// The disk is full.
    DiskFull {
        /// Whose.
        node: String,
        /// But for so much.
        spare_kib: u64,
    },
    /// A write is cut in the middle by the end of the process.
    TornWrite {
        /// Whose disk.
        node: String,
        /// Files that match, from the top of the store.
        files: String,
        /// Which write from now on.
        nth: u64,
        /// Power loss instead of the death of the process.
        power: bool,
    },
    /// A bit turns that is on the disk.
    Rot {
        /// Whose.
        node: String,
        /// Of an entry of a queue, else of a record in the log.
        queues: bool,
        /// The broker is killed first and started afterwards.
        restart: bool,
    },
    /// All connections break and few may wait to be accepted: everybody dials at once, and some again.
    Backlog {
        /// Whom they dial.
        node: String,
        /// How many may wait.
        most: u32,
    },
    /// A connection closes right behind what arrives next.
    CloseBehind {
        /// From here.
        from: String,
        /// To there.
        to: String,
    },
    /// The wall clock runs fast or slow.
    Drift {
        /// Whose.
        node: String,
        /// By so many millionths.
        ppm: i64,
    },
    /// A broker ends and is started with other delay levels.
    Levels {
        /// Who.
        node: String,
        /// How long each level holds a message from then on.
        levels_s: Vec<u64>,
        /// It is killed instead of stopped cleanly.
        crash: bool,
    },
    /// Something happens to one request, or to the answer to it.
    Request {
        /// Who asks.
        from: String,
        /// Who is asked.
        to: String,
        /// Code of the request.
        code: i32,
        /// The answer is meant.
        answer: bool,
        /// Which one from now on.
        nth: u64,
        /// What happens to it.
        harm: Harm,
    },
    /// Nodes hear each other only when they are together in some of these circles; those that are in none hear all.
    Partition {
        /// What the circles make up.
        shape: Shape,
        /// Who hears whom.
        circles: Vec<Vec<String>>,
    },
    /// The process dies and its disk is lost; it comes back with an empty one.
    Lose {
        /// Who.
        node: String,
    },
    /// An operator takes permissions of a topic away on one broker, and gives them back.
    Permit {
        /// Index of the topic.
        topic: u32,
        /// Which broker.
        broker: String,
        /// What is left: 4 = read, 2 = write, 0 = nothing.
        perm: u32,
    },
    /// An operator lets name servers say that nobody may write to a broker, and takes it back.
    Unwritable {
        /// Which broker.
        broker: String,
    },
    /// An operator closes a broker for writing by its own setting, and opens it again.
    ReadOnly {
        /// Which broker.
        broker: String,
    },
    /// An operator sets the queues of a topic on one broker.
    SetQueues {
        /// Index of the topic.
        topic: u32,
        /// Which broker.
        broker: String,
        /// Read queues.
        read: u32,
        /// Write queues.
        write: u32,
        /// Not before the queues that go away are empty and consumed.
        after_drain: bool,
    },
    /// An operator makes and changes topics and groups that nothing else touches, all at once.
    Orders {
        /// On which broker.
        broker: String,
        /// What.
        orders: Vec<Order>,
    },
    /// An operator deletes a topic, on all brokers at the name servers too, and makes it again when the time is over.
    DeleteTopic {
        /// Index of the topic.
        topic: u32,
        /// On which brokers.
        brokers: Vec<String>,
        /// Queues per broker that it has then.
        queues: u32,
    },
}

/// One thing that an operator makes or changes.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Order {
    /// What it is.
    pub object: Object,
    /// Which of its kind.
    pub number: u32,
    /// What it is to hold: of a topic the number of its queues, of a group that of its retries.
    pub value: u32,
}

/// What an operator makes or changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Object {
    /// A topic.
    Topic,
    /// A topic that comes with its first message.
    Sent,
    /// A consumer group.
    Group,
}

impl Object {
    /// The name of one of its kind.
    #[must_use]
    pub fn name(self, number: u32) -> String {
        match self {
            Self::Topic => format!("ordered{number}"),
            Self::Sent => format!("sent{number}"),
            Self::Group => format!("kept{number}"),
        }
    }
}

/// What can happen to a request or an answer.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum Harm {
    /// It does not arrive.
    Lost,
    /// It, and all behind it on its connection, arrives later.
    Late {
        /// By so much.
        ms: u64,
    },
    /// It arrives twice.
    Twice,
    /// Its connection breaks instead.
    Broken,
}

impl Harm {
    /// The counter that moves.
    #[must_use]
    pub fn effect(self) -> &'static str {
        match self {
            Self::Lost => "request.lost",
            Self::Late { .. } => "request.late",
            Self::Twice => "request.twice",
            Self::Broken => "request.broken",
        }
    }
}

/// How a cluster is parted.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum Shape {
    /// Two parts that do not hear each other.
    Halves,
    /// Two parts with one node between them that hears both.
    Bridge,
    /// Each node hears a majority, and no two hear the same one.
    Ring,
}

impl What {
    /// A fault, as against something an operator does.
    #[must_use]
    pub fn is_fault(&self) -> bool {
        self.need() != Need::Operator
    }

    /// What it needs of whoever lets it happen.
    #[must_use]
    pub fn need(&self) -> Need {
        match self {
            Self::Crash { power: true, .. } => Need::Power,
            Self::Crash { power: false, .. } | Self::Levels { crash: true, .. } => Need::Kill,
            Self::CrashAt { .. } | Self::TornWrite { .. } => Need::Point,
            Self::Stop { .. } | Self::Levels { crash: false, .. } => Need::Stop,
            Self::Pause { .. } => Need::Pause,
            Self::Slow { .. } => Need::Speed,
            Self::Cut { .. }
            | Self::Isolate { .. }
            | Self::Reset { .. }
            | Self::Lag { .. }
            | Self::Request { .. }
            | Self::Partition { .. }
            | Self::CloseBehind { .. } => Need::Link,
            Self::ClockJump { .. } | Self::Drift { .. } => Need::Clock,
            Self::SlowSync { .. }
            | Self::SyncFails { .. }
            | Self::FetchFails { .. }
            | Self::NamesFail { .. }
            | Self::DiskFull { .. }
            | Self::Lose { .. }
            | Self::Rot { .. } => Need::Disk,
            Self::Backlog { .. } => Need::Backlog,
            Self::SetQueues { .. }
            | Self::Permit { .. }
            | Self::Unwritable { .. }
            | Self::ReadOnly { .. }
            | Self::Orders { .. }
            | Self::DeleteTopic { .. } => Need::Operator,
        }
    }

    /// Its kind, in one word.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Crash { power: false, .. } => "crash",
            Self::Crash { power: true, .. } => "power loss",
            Self::CrashAt { .. } => "crash at a point",
            Self::Stop { .. } => "clean stop",
            Self::Pause { .. } => "pause",
            Self::Slow { .. } => "slow node",
            Self::Cut { both: false, .. } => "one-way cut",
            Self::Cut { both: true, .. } => "cut",
            Self::Isolate { .. } => "isolation",
            Self::Reset { .. } => "reset",
            Self::Lag { .. } => "slow link",
            Self::ClockJump { .. } => "clock jump",
            Self::SlowSync { .. } => "slow sync",
            Self::SyncFails { .. } => "failed sync",
            Self::FetchFails { .. } => "failed reads",
            Self::NamesFail { .. } => "failed names",
            Self::DiskFull { .. } => "full disk",
            Self::TornWrite { .. } => "torn write",
            Self::Rot { .. } => "bit rot",
            Self::Backlog { .. } => "short backlog",
            Self::CloseBehind { .. } => "close behind data",
            Self::Drift { .. } => "clock drift",
            Self::Levels { .. } => "other delay levels",
            Self::Request { harm: Harm::Lost, .. } => "lost request",
            Self::Request { harm: Harm::Late { .. }, .. } => "late request",
            Self::Request { harm: Harm::Twice, .. } => "doubled request",
            Self::Request { harm: Harm::Broken, .. } => "request broken off",
            Self::Partition { shape: Shape::Halves, .. } => "partition",
            Self::Partition { shape: Shape::Bridge, .. } => "bridge partition",
            Self::Partition { shape: Shape::Ring, .. } => "ring partition",
            Self::Lose { .. } => "lost disk",
            Self::Permit { .. } => "permission change",
            Self::Unwritable { .. } => "write permission wiped",
            Self::ReadOnly { .. } => "broker closed for writing",
            Self::SetQueues { .. } => "queue change",
            Self::Orders { .. } => "orders at once",
            Self::DeleteTopic { .. } => "topic deletion",
        }
    }

    /// Counters of effects of which one moves when it strikes; empty when it is felt without one.
    #[must_use]
    pub fn effects(&self) -> &'static [&'static str] {
        match self {
            Self::Crash { power: false, .. } => &["node.crash"],
            Self::Crash { power: true, .. } => &["node.power"],
            Self::CrashAt { point, .. } if point.starts_with(RECOVERY) => {
                &["hook.point", "node.crash", "node.power"]
            }
            Self::CrashAt { .. } => &["hook.point"],
            Self::Pause { .. } => &["node.pause"],
            Self::Slow { .. } => &["node.slow"],
            Self::Cut { .. } | Self::Isolate { .. } | Self::Partition { .. } => &["net.block"],
            Self::Request { harm: Harm::Lost, .. } => &["request.lost"],
            Self::Request { harm: Harm::Late { .. }, .. } => &["request.late"],
            Self::Request { harm: Harm::Twice, .. } => &["request.twice"],
            Self::Request { harm: Harm::Broken, .. } => &["request.broken"],
            // Nothing need be on the disk of a name server; that it forgets its brokers is felt.
            Self::Lose { node } if !node.starts_with('b') => &["disk.replaced", "node.power"],
            Self::Lose { .. } => &["disk.replaced"],
            Self::Permit { .. } => &["operator.permit"],
            Self::Unwritable { .. } => &["operator.unwritable"],
            Self::ReadOnly { .. } => &["operator.read_only"],
            Self::DeleteTopic { .. } => &["operator.delete"],
            Self::Stop { .. } => &["node.stop"],
            Self::Reset { .. } => &["net.reset"],
            Self::ClockJump { .. } => &["clock.jump"],
            Self::Drift { .. } => &["clock.drift"],
            Self::SyncFails { .. } => &["disk.failed_sync"],
            Self::FetchFails { .. } => &["disk.failed_fetch"],
            Self::NamesFail { .. } => &["disk.failed_names"],
            Self::DiskFull { .. } => &["disk.full"],
            Self::TornWrite { .. } => &["disk.cut_write"],
            Self::Rot { .. } => &["disk.rot"],
            Self::Backlog { .. } => &["net.backlog", "net.reset"],
            Self::CloseBehind { .. } => &["net.close"],
            Self::Lag { .. } => &["net.late", "net.loss"],
            Self::SlowSync { .. } | Self::Levels { .. } | Self::SetQueues { .. } | Self::Orders { .. } => &[],
        }
    }

    /// Its node is out of order while it lasts: a program that does not start then is started again later.
    #[must_use]
    pub fn sickens(&self) -> bool {
        matches!(
            self,
            Self::SyncFails { .. } | Self::FetchFails { .. } | Self::NamesFail { .. } | Self::DiskFull { .. }
        )
    }

    /// It strikes when the system comes to a certain point, if it does.
    #[must_use]
    pub fn waits(&self) -> bool {
        matches!(self, Self::CrashAt { .. } | Self::TornWrite { .. } | Self::Request { .. })
    }

    /// It ends a process, at once or at some moment.
    #[must_use]
    pub fn kills(&self) -> bool {
        matches!(
            self,
            Self::Crash { .. }
                | Self::CrashAt { .. }
                | Self::Stop { .. }
                | Self::TornWrite { .. }
                | Self::Levels { .. }
                | Self::Lose { .. }
                | Self::Rot { restart: true, .. }
        )
    }

    /// The nodes it touches.
    #[must_use]
    pub fn nodes(&self) -> Vec<&str> {
        match self {
            Self::Crash { node, .. }
            | Self::CrashAt { node, .. }
            | Self::Stop { node }
            | Self::Pause { node }
            | Self::Slow { node, .. }
            | Self::Isolate { node }
            | Self::ClockJump { node, .. }
            | Self::SlowSync { node, .. }
            | Self::SyncFails { node }
            | Self::FetchFails { node, .. }
            | Self::NamesFail { node }
            | Self::DiskFull { node, .. }
            | Self::TornWrite { node, .. }
            | Self::Rot { node, .. }
            | Self::Backlog { node, .. }
            | Self::Drift { node, .. }
            | Self::Levels { node, .. } => vec![node],
            Self::Cut { from, to, .. } | Self::CloseBehind { from, to } => vec![from, to],
            Self::Reset { a, b } | Self::Lag { a, b, .. } => vec![a, b],
            Self::Lose { node } => vec![node],
            Self::Request { from, to, .. } => vec![from, to],
            Self::Partition { circles, .. } => {
                let mut all: Vec<&str> = circles.iter().flatten().map(String::as_str).collect();
                all.sort_unstable();
                all.dedup();
                all
            }
            Self::SetQueues { broker, .. }
            | Self::Permit { broker, .. }
            | Self::Unwritable { broker }
            | Self::ReadOnly { broker }
            | Self::Orders { broker, .. } => vec![broker],
            Self::DeleteTopic { brokers, .. } => brokers.iter().map(String::as_str).collect(),
        }
    }
}

impl Plan {
    /// Faults planned, without what operators do.
    #[must_use]
    pub fn faults(&self) -> usize {
        self.steps.iter().filter(|step| step.what.is_fault()).count()
    }

    /// Most queues a topic ever has on a broker.
    #[must_use]
    pub fn most_queues(&self, topic: u32) -> u32 {
        let set = self.steps.iter().filter_map(|step| match step.what {
            What::SetQueues { topic: of, read, write, .. } if of == topic => Some(read.max(write)),
            What::DeleteTopic { topic: of, queues, .. } if of == topic => Some(queues),
            _ => None,
        });
        set.chain([self.topics[topic as usize].queues]).max().unwrap_or(1)
    }

    /// True when an operator changes the queues of the topic.
    #[must_use]
    pub fn changes_queues(&self, topic: u32) -> bool {
        let sets = |step: &Step| matches!(step.what, What::SetQueues { topic: of, .. } if of == topic);
        self.deletes(topic) || self.steps.iter().any(sets)
    }

    /// True when an operator deletes the topic and makes it again.
    #[must_use]
    pub fn deletes(&self, topic: u32) -> bool {
        self.steps.iter().any(|step| matches!(step.what, What::DeleteTopic { topic: of, .. } if of == topic))
    }

    /// Calls that a producer makes, about: each of those that are in flight at once has its share of every burst, one
    /// call at least.
    #[must_use]
    pub fn calls_of(&self, producer: &Producer) -> f64 {
        let gap_ms = (producer.gap_ms.0 + producer.gap_ms.1) as f64 / 2.0;
        let burst = producer.burst.next_multiple_of(producer.in_flight.max(1));
        self.load_ms as f64 / gap_ms.max(1.0) * f64::from(burst)
    }

    /// Messages that producers send, about.
    #[must_use]
    pub fn messages(&self) -> f64 {
        let each = |mode| if let Mode::Batch(most) = mode { f64::from(1 + most) / 2.0 } else { 1.0 };
        let stays = |it: &Producer| {
            it.gone_ms.map_or(1.0, |gone_ms| gone_ms.min(self.load_ms) as f64 / self.load_ms.max(1) as f64)
        };
        self.producers.iter().map(|it| self.calls_of(it) * each(it.mode) * stays(it)).sum()
    }

    /// How long the slowest group needs at most for so many messages: its listeners' time, and that of its pulls.
    #[must_use]
    pub fn backlog_ms(&self, messages: u64) -> u64 {
        let counts = self.brokers.iter().flat_map(|broker| &broker.config);
        let counts = counts.filter(|(key, _)| key == "maxTransferCountOnMessageInMemory");
        let at_once = counts.filter_map(|(_, count)| count.parse().ok()).fold(COLD_COUNT, u64::min).max(1);
        let there_and_back = 1 + 2 * self.network.latency_us.1 / 1000;
        let slowest = self.groups.iter().map(|group| {
            let slow = if group.slow_one_in > 0 { 1 + 10 / u64::from(group.slow_one_in) } else { 1 };
            let queues = u64::from(self.topics[group.topic as usize].queues).max(1);
            let stuck = group.stuck.map_or(0, |stuck| stuck.most_ms() / u64::from(stuck.one_in) + 1);
            messages * (group.work_ms.1 * slow + stuck) / u64::from(group.threads)
                + messages * there_and_back / (at_once * queues)
        });
        slowest.max().unwrap_or(0)
    }

    /// How long each level holds a delayed message: at first, and from each step on that changes it.
    pub fn levels(&self) -> impl Iterator<Item = &[u64]> {
        let set = self.steps.iter().filter_map(|step| match &step.what {
            What::Levels { levels_s, .. } => Some(&**levels_s),
            _ => None,
        });
        [&*self.delay_levels_s].into_iter().chain(set)
    }

    /// How long the longest chain of retries takes, and the longest delay.
    #[must_use]
    pub fn chain_ms(&self) -> u64 {
        let level = |level: u32| {
            let longest = self.levels().filter_map(|levels| {
                let place = (level as usize).min(levels.len()).checked_sub(1)?;
                Some(levels[place] * 1000)
            });
            longest.max().unwrap_or(0)
        };
        let chains = self.groups.iter().filter_map(|group| group.fails);
        let chain =
            chains.map(|fails| (0..fails.limit).map(|times| level(FIRST_RETRY_LEVEL + times) + 5000).sum());
        let delays = self.producers.iter().filter_map(|producer| producer.delayed);
        let delay = delays.map(|delayed| (1..=delayed.most_level).map(level).max().unwrap_or(0));
        chain.max().unwrap_or(0) + delay.max().unwrap_or(0)
    }

    /// Nodes that some fault strikes for good.
    pub fn outside(&self) -> impl Iterator<Item = &str> {
        self.steps.iter().filter(|step| step.stays).flat_map(|step| step.what.nodes())
    }

    /// A number that all brokers are configured with, or its default.
    #[must_use]
    pub fn setting(&self, key: &str, default: u64) -> u64 {
        let settings = self.brokers.iter().flat_map(|broker| &broker.config);
        let mut set = settings.filter(|(known, _)| known == key).filter_map(|(_, value)| value.parse().ok());
        set.next().unwrap_or(default)
    }

    /// Names of the nodes clients run on, consumers in the order of groups and members.
    #[must_use]
    pub fn client_nodes(&self) -> Vec<String> {
        let members = self.groups.iter().map(|group| group.members.len()).sum::<usize>();
        (0..self.producers.len())
            .map(|index| format!("p{index}"))
            .chain((0..members).map(|index| format!("c{index}")))
            .collect()
    }
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Crash { node, power: false } => write!(f, "{node} is killed"),
            Self::Crash { node, power: true } => write!(f, "{node} loses power"),
            Self::CrashAt { node, point, nth, power } => {
                let how = if *power { "loses power" } else { "is killed" };
                write!(f, "{node} {how} at passage {nth} of {point}")
            }
            Self::Stop { node } => write!(f, "{node} is stopped cleanly"),
            Self::Pause { node } => write!(f, "{node} stands still"),
            Self::Slow { node, factor } => write!(f, "{node} runs {factor} times slower"),
            Self::Cut { from, to, both: false } => write!(f, "{from} does not reach {to}"),
            Self::Cut { from, to, both: true } => write!(f, "{from} and {to} are cut off from each other"),
            Self::Isolate { node } => write!(f, "{node} is cut off from everybody"),
            Self::Reset { a, b } => write!(f, "connections between {a} and {b} break"),
            Self::Lag { a, b, max_ms, loss } => {
                write!(f, "link {a}-{b} takes up to {max_ms} ms and loses {loss} %")
            }
            Self::ClockJump { node, by_ms } => write!(f, "the clock of {node} jumps by {by_ms} ms"),
            Self::SlowSync { node, ms } => write!(f, "each sync of {node} takes {ms} ms"),
            Self::SyncFails { node } => write!(f, "the next sync of {node} fails; later it is restarted"),
            Self::FetchFails { node, times, restart } => {
                let restart = if *restart { ", which is killed first" } else { "" };
                write!(f, "the next {times} reads from the disk of {node} fail{restart}")
            }
            Self::NamesFail { node } => write!(f, "no file of {node} can be made, renamed or removed"),
            Self::DiskFull { node, spare_kib } => {
                write!(f, "the disk of {node} is full but for {spare_kib} KiB")
            }
            Self::TornWrite { node, files, nth, power } => {
                let how = if *power { "loses power" } else { "is killed" };
                write!(f, "{node} {how} in the midst of write {nth} to {files}")
            }
            Self::Rot { node, queues, restart } => {
                let place = if *queues { "an entry of a queue" } else { "a record in the log" };
                let restart = if *restart { ", which is killed first" } else { "" };
                write!(f, "a bit of {place} turns on the disk of {node}{restart}")
            }
            Self::Backlog { node, most } => {
                write!(f, "all connections to {node} break and only {most} at once may wait to come back")
            }
            Self::CloseBehind { from, to } => {
                write!(f, "a connection closes behind what next arrives from {from} at {to}")
            }
            Self::Drift { node, ppm } => write!(f, "the clock of {node} drifts by {ppm} ppm"),
            Self::Levels { node, levels_s, crash } => {
                let how = if *crash { "killed" } else { "stopped cleanly" };
                write!(f, "{node} is {how} and started with delay levels {levels_s:?} s")
            }
            Self::Request { from, to, code, answer, nth, harm } => {
                let what = if *answer { "the answer to request" } else { "request" };
                write!(f, "{what} {nth} with code {code} from {from} to {to} ")?;
                match harm {
                    Harm::Lost => write!(f, "is lost"),
                    Harm::Late { ms } => write!(f, "comes {ms} ms late"),
                    Harm::Twice => write!(f, "comes twice"),
                    Harm::Broken => write!(f, "breaks its connection"),
                }
            }
            Self::Partition { circles, .. } => {
                let circles: Vec<String> = circles.iter().map(|circle| circle.join(" ")).collect();
                write!(f, "only these hear each other: {}", circles.join(" | "))
            }
            Self::Lose { node } => write!(f, "{node} dies and comes back with an empty disk"),
            Self::Permit { topic, broker, perm } => {
                let left = match perm {
                    4 => "only be read",
                    2 => "only be written",
                    _ => "neither be read nor written",
                };
                write!(f, "topic {topic} on {broker} may {left}")
            }
            Self::Unwritable { broker } => write!(f, "name servers say that nobody may write to {broker}"),
            Self::ReadOnly { broker } => write!(f, "{broker} is closed for writing"),
            Self::SetQueues { topic, broker, read, write, after_drain } => {
                let when = if *after_drain { " once drained" } else { "" };
                write!(f, "topic {topic} on {broker} gets {read} read and {write} write queues{when}")
            }
            Self::Orders { broker, orders } => {
                let told = orders.iter().map(|it| format!("{} {}", it.object.name(it.number), it.value));
                write!(f, "{broker} is ordered at once: {}", told.collect::<Vec<_>>().join(", "))
            }
            Self::DeleteTopic { topic, brokers, queues } => {
                let brokers = brokers.join(" and ");
                let many = if *queues == 1 { "" } else { "s" };
                write!(f, "topic {topic} is deleted on {brokers}, and made again with {queues} queue{many}")
            }
        }
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "plan of {} seed {}", self.scenario, self.seed)?;
        if self.profile != Profile::Brief {
            write!(f, ", {}", self.profile.name())?;
        }
        writeln!(f, "{}", if self.safety_only { ", for safety only" } else { "" })?;
        let Network { latency_us: (low, high), short_reads } = self.network;
        let short = if short_reads { ", short reads" } else { "" };
        writeln!(
            f,
            "  {} name servers; links {low}..{high} us{short}; load {} s",
            self.name_servers,
            self.load_ms / 1000
        )?;
        for (index, broker) in self.brokers.iter().enumerate() {
            let flush = if broker.sync_flush { "sync" } else { "async" };
            write!(
                f,
                "  b{index}: {flush} flush, log files {} KiB, queue files {} entries, sync {}..{} us, clock {:+} ms",
                broker.log_file_bytes / 1024,
                broker.queue_file_units,
                broker.sync_us.0,
                broker.sync_us.1,
                broker.clock_offset_ms
            )?;
            for (key, value) in &broker.config {
                write!(f, ", {key}={value}")?;
            }
            writeln!(f)?;
        }
        if !self.delay_levels_s.is_empty() {
            writeln!(f, "  delay levels {:?} s", self.delay_levels_s)?;
        }
        for topic in &self.topics {
            writeln!(f, "  topic {}: {} queues per broker, {} tags", topic.name, topic.queues, topic.tags)?;
        }
        for (index, producer) in self.producers.iter().enumerate() {
            writeln!(
                f,
                "  p{index}: to {} {:?}, bursts of {} ({} in flight) every {}..{} ms, bodies {}..{} B, time-out {} ms, {} retries",
                self.topics[producer.topic as usize].name,
                producer.mode,
                producer.burst,
                producer.in_flight,
                producer.gap_ms.0,
                producer.gap_ms.1,
                producer.body.0,
                producer.body.1,
                producer.timeout_ms,
                producer.retries
            )?;
            if let Some(Delayed { one_in, most_level }) = producer.delayed {
                writeln!(f, "      one in {one_in} is delayed by a level up to {most_level}")?;
            }
            if producer.group > 0 {
                writeln!(f, "      of group {}", producer.group)?;
            }
            if let Some(gone_ms) = producer.gone_ms {
                writeln!(f, "      gone for good at {:.1} s", gone_ms as f64 / 1e3)?;
            }
        }
        let mut node = 0;
        for group in &self.groups {
            let tag = group.tag.map_or("*".to_owned(), tag_name);
            write!(
                f,
                "  group {} on {} ({tag}), {} threads, batches of {}, work {}..{} ms",
                group.name,
                self.topics[group.topic as usize].name,
                group.threads,
                group.batch,
                group.work_ms.0,
                group.work_ms.1
            )?;
            if group.slow_one_in > 0 {
                write!(f, " (one in {} ten times that)", group.slow_one_in)?;
            }
            if let Some(Fails { one_in, most, limit }) = group.fails {
                write!(f, ", one in {one_in} fails up to {most} times of {limit}")?;
            }
            if group.from_end {
                write!(f, ", from the end")?;
            }
            if let Some(Stuck { one_in, timeout_ms }) = group.stuck {
                write!(f, ", one in {one_in} is stuck for longer than {timeout_ms} ms")?;
            }
            write!(f, ":")?;
            for member in &group.members {
                write!(f, " c{node}")?;
                if member.joins_ms > 0 {
                    write!(f, " from {:.1} s", member.joins_ms as f64 / 1e3)?;
                }
                if let Some(leaves) = member.leaves_ms {
                    let how = if member.dies { "dies at" } else { "until" };
                    write!(f, " {how} {:.1} s", leaves as f64 / 1e3)?;
                }
                node += 1;
            }
            writeln!(f)?;
        }
        if self.steps.is_empty() {
            writeln!(f, "  no faults")?;
        }
        for step in &self.steps {
            let (at, lasts) = (step.at_ms as f64 / 1e3, step.for_ms as f64 / 1e3);
            let lasts = if step.stays { "for ever".to_owned() } else { format!("{lasts:.1} s") };
            match &step.on {
                Some(moment) => writeln!(f, "  {moment}, {} ({lasts})", step.what)?,
                None => writeln!(f, "  {at:>7.1} s  {} ({lasts})", step.what)?,
            }
        }
        if let Some(ops) = &self.ops {
            writeln!(f, "  {} calls are listed", ops.len())?;
            ops.iter().take(SHOWN).try_for_each(|op| writeln!(f, "  {op}"))?;
        }
        Ok(())
    }
}
