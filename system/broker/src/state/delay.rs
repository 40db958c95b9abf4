//! Delayed messages: how long the levels hold them, when one is due, and how far each level has got.
//!
//! A delayed message waits in the queue of its level in the schedule topic. What is delivered from there names, in
//! the log, the place it was made from. So the log itself says what was delivered: the file of progress only saves
//! reading it from its start, and a crash repeats nothing.

use std::collections::{BTreeMap, VecDeque};

use protocol::properties::{self, names};

/// How long each level holds a message; level 1 is the first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Levels(Vec<i64>);

impl Levels {
    /// Reads `messageDelayLevel`: numbers with a unit of s, m, h or d, separated by blanks.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let delays: Result<Vec<i64>, String> = text.split_whitespace().map(delay_ms).collect();
        let delays = delays?;
        if !(1..=MOST_LEVELS).contains(&delays.len()) {
            return Err(format!("it has {} levels, 1 to {MOST_LEVELS} are possible", delays.len()));
        }
        Ok(Self(delays))
    }

    /// How many there are.
    pub(crate) fn count(&self) -> i32 {
        i32::try_from(self.0.len()).expect("levels are few")
    }

    /// The delays by queue of the schedule topic.
    pub(crate) fn delays_ms(&self) -> &[i64] {
        &self.0
    }

    /// How long a queue of the schedule topic holds a message. One that has no level any more holds it as long as
    /// the last level.
    pub(crate) fn of_queue(&self, queue: i32) -> i64 {
        let queue = usize::try_from(queue).unwrap_or(0).min(self.0.len() - 1);
        self.0[queue]
    }

    /// Makes a message wait: which queue of the schedule topic it goes to, with which properties. Levels above the
    /// last count as the last.
    pub(crate) fn schedule(&self, level: i32, topic: &str, queue: i32, text: &[u8]) -> Scheduled {
        let level = level.min(self.count());
        let marks = [
            (names::DELAY, &*level.to_string()),
            (names::REAL_TOPIC, topic),
            (names::REAL_QUEUE_ID, &*queue.to_string()),
        ];
        Scheduled { level, queue: level - 1, properties: with(text, &marks) }
    }
}

fn delay_ms(level: &str) -> Result<i64, String> {
    let wrong = || format!("{level:?} is no level: write a number and s, m, h or d, as 30s");
    let unit = level.chars().last().ok_or_else(wrong)?;
    let seconds = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3600,
        'd' => 86_400,
        _ => return Err(wrong()),
    };
    let number: u32 = level[..level.len() - 1].parse().map_err(|_| wrong())?;
    Ok(i64::from(number) * seconds * 1000)
}

/// Where a delayed message waits.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Scheduled {
    /// Its level.
    pub(crate) level: i32,
    /// The queue in the schedule topic.
    pub(crate) queue: i32,
    /// Its properties, with the place it is meant for.
    pub(crate) properties: Vec<u8>,
}

/// The level in the property DELAY; None when the message is not delayed, an error when it is no number.
pub(crate) fn level(value: &[u8]) -> Result<Option<i32>, String> {
    let text = String::from_utf8_lossy(value);
    let level: i32 = text.parse().map_err(|_| format!("the delay level {text:?} is no number"))?;
    Ok((level > 0).then_some(level))
}

/// The text with these properties in place of those of the same names.
pub(crate) fn with(text: &[u8], new: &[(&str, &str)]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len() + 64);
    for (name, value) in properties::pairs(text) {
        if new.iter().all(|(n, _)| n.as_bytes() != name) {
            properties::push_bytes(&mut out, name, value);
        }
    }
    for (name, value) in new {
        properties::push(&mut out, name, value);
    }
    out
}

/// The place in the schedule topic that a delivered message was made from; it stands in the record's field for
/// the half message, below zero, where no transaction's number can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Origin {
    /// Queue of the schedule topic.
    pub(crate) queue: i32,
    /// Offset there.
    pub(crate) offset: u64,
}

impl Origin {
    /// The number for the record.
    pub(crate) fn mark(self) -> i64 {
        let offset = i64::try_from(self.offset).expect("offsets stay below 2^63");
        assert!(offset < OFFSETS && self.queue < QUEUES, "a queue has at most 2^48 messages");
        -1 - (i64::from(self.queue) * OFFSETS + offset)
    }

    /// What a record's number says.
    pub(crate) fn read(mark: i64) -> Option<Self> {
        let number = -1 - mark; // cannot overflow: the smallest number becomes the largest
        let queue = i32::try_from(number.checked_div(OFFSETS)?).ok()?;
        (mark < 0 && queue < QUEUES)
            .then(|| Self { queue, offset: u64::try_from(number % OFFSETS).expect("not below zero") })
    }
}

/// What a level does next, in words: `waiting` messages, of which the one at offset `next` is due at `due_ms` and goes
/// to a queue of a topic.
pub(crate) fn explain(waiting: u64, next: u64, due_ms: i64, topic: &str, queue: &str, now_ms: i64) -> String {
    let when = match due_ms.saturating_sub(now_ms) {
        ms if ms > 0 => format!("is due in {ms} ms"),
        ms => format!("has been due for {} ms", -ms),
    };
    format!("{waiting} wait; the first, at offset {next}, {when} and goes to queue {queue} of {topic}")
}

/// How long the messages of one queue have waited at least, told by a clock that only goes forward. The wall clock
/// may be set back, and a message that this process saw wait for its whole delay is due all the same.
#[derive(Debug)]
pub(crate) struct Waits {
    delay_ms: u64,
    step_ms: u64,
    /// Everything below the offset was there at the time.
    marks: VecDeque<(u64, u64)>,
}

/// Whether a message is to be delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Due {
    /// Now.
    Now,
    /// Look again in so many milliseconds.
    In(u64),
}

impl Waits {
    /// For a queue that holds its messages so long.
    pub(crate) fn new(delay_ms: i64) -> Self {
        let delay_ms = u64::try_from(delay_ms).unwrap_or(0);
        Self { delay_ms, step_ms: STEP_MS.max(delay_ms / MOST_MARKS), marks: VecDeque::new() }
    }

    /// Notes that the queue ends at `end`, and forgets what lies below `next`.
    pub(crate) fn note(&mut self, next: u64, end: u64, uptime_ms: u64) {
        while self.marks.front().is_some_and(|(below, _)| *below <= next) {
            self.marks.pop_front();
        }
        let known = self.marks.back().map_or(next, |(below, _)| *below);
        let fresh = self.marks.back().is_none_or(|(_, at)| uptime_ms >= at + self.step_ms);
        if end > known && fresh {
            self.marks.push_back((end, uptime_ms));
        }
    }

    /// Whether the message at `offset`, which is due at `due_ms` of the wall clock, is due now.
    pub(crate) fn due(&self, offset: u64, due_ms: i64, wall_ms: i64, uptime_ms: u64) -> Due {
        let seen = self.marks.iter().find(|(below, _)| offset < *below);
        let waited = seen.map_or(0, |(_, at)| uptime_ms.saturating_sub(*at));
        if wall_ms >= due_ms || (seen.is_some() && waited >= self.delay_ms) {
            return Due::Now;
        }
        let by_wall = u64::try_from(due_ms - wall_ms).unwrap_or(u64::MAX);
        // Never long without a look: the clock may jump, and messages that come meanwhile are to be noted.
        Due::In(by_wall.min((self.delay_ms - waited.min(self.delay_ms)).max(1)).min(self.step_ms))
    }
}

/// How far each queue of the schedule topic has got.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    queues: BTreeMap<i32, At>,
    changes: u64,
}

#[derive(Clone, Copy, Debug, Default)]
struct At {
    /// The next offset to deliver.
    next: u64,
    /// Messages are being delivered that `next` does not count yet; all of them stand behind this position.
    behind: Option<u64>,
}

impl Progress {
    /// Where a queue goes on.
    pub(crate) fn next(&self, queue: i32) -> u64 {
        self.queues.get(&queue).map_or(0, |at| at.next)
    }

    /// Deliveries begin; the log ends at `position` now.
    pub(crate) fn begin(&mut self, queue: i32, position: u64) {
        self.queues.entry(queue).or_default().behind = Some(position);
    }

    /// They have ended, and the queue goes on at `next`.
    pub(crate) fn end(&mut self, queue: i32, next: u64) {
        self.set(queue, next);
        self.queues.entry(queue).or_default().behind = None;
    }

    /// The queue goes on at `next`.
    pub(crate) fn set(&mut self, queue: i32, next: u64) {
        let at = self.queues.entry(queue).or_default();
        if at.next != next {
            at.next = next;
            self.changes += 1;
        }
    }

    /// A delivered message was found in the log.
    pub(crate) fn found(&mut self, origin: Origin) {
        let next = self.next(origin.queue).max(origin.offset + 1);
        self.set(origin.queue, next);
    }

    /// What to write while the log ends at `position`: the offsets, and the position behind which deliveries may
    /// stand that they do not count.
    pub(crate) fn snapshot(&self, position: u64) -> (BTreeMap<i32, u64>, u64) {
        let behind = self.queues.values().filter_map(|at| at.behind).min();
        let table = self.queues.iter().map(|(queue, at)| (*queue, at.next)).collect();
        (table, behind.map_or(position, |behind| behind.min(position)))
    }

    /// The queues it knows.
    pub(crate) fn queues(&self) -> impl Iterator<Item = i32> {
        self.queues.keys().copied()
    }

    /// How often it changed.
    pub(crate) fn changes(&self) -> u64 {
        self.changes
    }
}

const MOST_LEVELS: usize = 1000;

/// A mark holds a queue number below this ...
const QUEUES: i32 = 1 << 14;
/// ... and an offset below this.
const OFFSETS: i64 = 1 << 48;

/// Longest pause between two looks at a queue in which something waits.
const STEP_MS: u64 = 500;
/// Long delays are measured more coarsely, so that the marks of a queue stay few.
const MOST_MARKS: u64 = 20_000;

#[cfg(test)]
mod tests;
