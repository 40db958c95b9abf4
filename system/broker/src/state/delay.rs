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

/// What a level does next, in words: `waiting` messages, of which the one at offset `next` is due in `left_ms` and goes
/// to a queue of a topic.
pub(crate) fn explain(waiting: u64, next: u64, left_ms: i64, topic: &str, queue: &str) -> String {
    let when = match left_ms {
        ms if ms > 0 => format!("is due in {ms} ms"),
        ms => format!("has been due for {} ms", -ms),
    };
    format!("{waiting} wait; the first, at offset {next}, {when} and goes to queue {queue} of {topic}")
}

/// One moment on two clocks, ms. The steady clock showed the same as the wall clock when this process began and only
/// goes forward since; the wall clock may be set.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Now {
    /// What the wall clock shows.
    pub(crate) wall: i64,
    /// What the steady clock shows.
    pub(crate) steady: i64,
}

/// Whether a message is to be delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Due {
    /// Now.
    Now,
    /// Look again in so many milliseconds.
    In(u64),
}

/// What is known of store times, by queue of the schedule topic. A store time is what the wall clock showed, or that of
/// the record before when the clock was set back since. So a message whose time by the wall clock is far away may be
/// due all the same, and after a restart nothing but this knows it.
#[derive(Debug)]
pub(crate) struct StoreTimes {
    queues: BTreeMap<i32, Shifts>,
    /// How far the steady clock was ahead of the wall clock when this was saved.
    ahead_ms: i64,
    unsaved: bool,
}

/// Store times of one queue against the steady clock: what lies below an offset, and not below the one before it, has
/// store times that are at least so many ms ahead of the steady clock.
#[derive(Debug)]
struct Shifts {
    list: VecDeque<(u64, i64)>,
    step_ms: i64,
}

impl StoreTimes {
    /// Nothing is known of any queue of these levels.
    pub(crate) fn new(levels: &Levels, queues: impl IntoIterator<Item = i32>) -> Self {
        let shifts = |queue| {
            // Long delays are measured more coarsely, so that the shifts of a queue stay few.
            let step_ms = EXACT_MS.max(levels.of_queue(queue) / MOST_SHIFTS);
            (queue, Shifts { list: VecDeque::new(), step_ms })
        };
        Self { queues: queues.into_iter().map(shifts).collect(), ahead_ms: 0, unsaved: false }
    }

    /// Takes what was saved of a queue. It holds offsets below `max` now, the last of which was stored at `last_ms`: a
    /// wall clock that shows less was set back by the difference at least.
    pub(crate) fn load(&mut self, queue: i32, saved: &[(u64, i64)], max: u64, last_ms: i64, wall_ms: i64) {
        let Some(shifts) = self.queues.get_mut(&queue) else { return };
        let least = last_ms.saturating_sub(wall_ms).max(0);
        for (below, ahead_ms) in saved {
            // Behind the end of the queue others get the offsets now.
            let below = (*below).min(max);
            if shifts.list.back().is_none_or(|(last, _)| below > *last) {
                shifts.list.push_back((below, least.max(*ahead_ms)));
            }
        }
        shifts.list.push_back((max, least - ROUNDING_MS));
    }

    /// A message was stored, now, with this store time.
    pub(crate) fn stored(&mut self, queue: i32, offset: u64, stored_ms: i64, now: Now) {
        let Some(shifts) = self.queues.get_mut(&queue) else { return };
        if shifts.add(offset, stored_ms - now.steady) && stored_ms > now.wall + NOTICED_MS {
            self.unsaved = true;
        }
    }

    /// What lies below `next` is delivered.
    pub(crate) fn pass(&mut self, queue: i32, next: u64) {
        let Some(Shifts { list, .. }) = self.queues.get_mut(&queue) else { return };
        // The last one stays: it goes on for what comes next.
        while list.len() > 1 && list[0].0 <= next {
            list.pop_front();
        }
    }

    /// In how many milliseconds the message at `offset`, stored at `stored_ms` with a delay of `delay_ms`, is due; below
    /// zero when it has been.
    pub(crate) fn left_ms(
        &mut self,
        queue: i32,
        offset: u64,
        stored_ms: i64,
        delay_ms: i64,
        now: Now,
    ) -> i64 {
        let by_wall = stored_ms.saturating_add(delay_ms).saturating_sub(now.wall);
        let Some(shifts) = self.queues.get_mut(&queue) else { return by_wall };
        let ahead_ms = shifts.of(offset).unwrap_or_else(|| {
            // Nobody told when it was stored: it waits from now on.
            shifts.add(offset, stored_ms - now.steady);
            stored_ms - now.steady
        });
        let waited = now.steady.saturating_sub(stored_ms).saturating_add(ahead_ms);
        by_wall.min(delay_ms.saturating_sub(waited))
    }

    /// True when the wall clock was set back, or a message got a store time of the future, since this was saved.
    pub(crate) fn is_unsaved(&mut self, now: Now) -> bool {
        let ahead_ms = now.steady - now.wall;
        self.ahead_ms = self.ahead_ms.min(ahead_ms);
        self.unsaved || ahead_ms > self.ahead_ms + NOTICED_MS
    }

    /// What a restart must know: how far store times are ahead of the wall clock as it is now, where they are.
    pub(crate) fn save(&mut self, now: Now) -> BTreeMap<i32, Vec<(u64, i64)>> {
        (self.ahead_ms, self.unsaved) = (now.steady - now.wall, false);
        let ahead = self.ahead_ms;
        let told = |shifts: &Shifts| {
            let list: Vec<_> = shifts.list.iter().map(|(below, it)| (*below, it + ahead)).collect();
            list.iter().any(|(below, it)| *below > 0 && *it > NOTICED_MS).then_some(list)
        };
        self.queues.iter().filter_map(|(queue, shifts)| Some((*queue, told(shifts)?))).collect()
    }

    /// It could not be written, and if there was news it still is.
    pub(crate) fn not_saved(&mut self, news: bool) {
        self.unsaved |= news;
    }
}

impl Shifts {
    /// Store times of what lies up to this offset are so far ahead; true when nothing known says so.
    fn add(&mut self, offset: u64, ahead_ms: i64) -> bool {
        let below = offset + 1;
        let mut less = ROUNDING_MS;
        match self.list.back_mut() {
            // Two senders may tell in another order than they stored.
            Some((last, _)) if *last >= below => return false,
            Some((last, known)) if (*known..=*known + 2 * self.step_ms).contains(&ahead_ms) => {
                *last = below;
                return false;
            }
            // Store times stand still while a clock that was set back catches up: so it holds for the next ones too.
            Some((_, known)) if ahead_ms < *known => less = self.step_ms,
            _ => {}
        }
        self.list.push_back((below, ahead_ms - less));
        true
    }

    fn of(&self, offset: u64) -> Option<i64> {
        self.list.iter().find(|(below, _)| offset < *below).map(|(_, ahead_ms)| *ahead_ms)
    }
}

impl Due {
    /// For a message that is due in so many milliseconds. Never long without a look: the clock may jump.
    pub(crate) fn after(ms: i64) -> Self {
        u64::try_from(ms.min(LOOK_MS)).ok().filter(|ms| *ms > 0).map_or(Self::Now, Self::In)
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
const LOOK_MS: i64 = 500;
/// How exactly the wait of messages is known that came while a clock that was set back catches up.
const EXACT_MS: i64 = 100;
/// Both clocks show whole milliseconds.
const ROUNDING_MS: i64 = 2;
/// Shifts of one queue, about, while a clock that was set back catches up.
const MOST_SHIFTS: i64 = 20_000;
/// A clock that is set back by less is not worth a word.
const NOTICED_MS: i64 = 300;

#[cfg(test)]
mod tests;
