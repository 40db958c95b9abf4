//! What a broken promise is about: the message, the places it lay in, the queue, the group, the broker.

use std::collections::BTreeSet;

use crate::check::{Rule, Violation};
use crate::history::{Audit, GroupId, HALF, HalfId, History, Kind, MessageId, NodeId, QueueId, Slot};

/// What to look at.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Focus {
    /// The message, when there is one.
    pub message: Option<MessageId>,
    /// Its half messages.
    pub halves: BTreeSet<HalfId>,
    /// All places it lay in.
    pub slots: BTreeSet<Slot>,
    /// The place that the witness names.
    pub at: Option<Slot>,
    /// The queue that it names.
    pub queue: Option<QueueId>,
    /// The consumer group it is about.
    pub group: Option<GroupId>,
    /// A node that the witness names.
    pub node: Option<NodeId>,
    /// The event that shows it.
    pub event: usize,
}

impl Focus {
    /// Reads it from the words of a violation, and follows the message to all its places.
    #[must_use]
    pub fn of(history: &History, audit: &Audit, violation: &Violation) -> Self {
        let mut focus = Self { event: violation.event, ..Self::default() };
        let slot = focus.read(history, &violation.witness);
        let mut said = Self::default();
        let said_slot = said.read(history, &violation.sentence);
        focus.message = focus.message.or(said.message);
        focus.queue = focus.queue.or(said.queue);
        focus.group = focus.group.or(said.group);
        focus.node = focus.node.or(said.node);
        focus.halves.append(&mut said.halves);
        if violation.rule == Rule::L4 && focus.queue.is_none() {
            focus.lagging(history);
        }
        // An offset in the sentence belongs to the queue that the witness names.
        let offset = focus.queue.and_then(|queue| offset_in(&violation.sentence, queue));
        let record = || record_in(history, audit, violation, focus.node?);
        focus.at = slot.or(said_slot).or(offset).or_else(record).or(focus.slots.first().copied());
        focus.slots.extend(focus.at);
        let at = focus.at;
        focus.message =
            focus.message.or_else(|| at.and_then(|slot| lies_at(history, audit, slot, focus.event)));
        let from_half = focus.halves.iter().find_map(|half| history.halves[half.index()].message);
        focus.message = focus.message.or(from_half);
        focus.follow(history, audit);
        focus
    }

    /// True when the node may matter: it holds the queue, or is named, or sent or got the message.
    #[must_use]
    pub fn nodes(&self, history: &History) -> BTreeSet<NodeId> {
        let mut nodes: BTreeSet<NodeId> = self.node.into_iter().collect();
        let queues = self.slots.iter().map(|slot| slot.queue).chain(self.queue);
        nodes.extend(queues.map(|queue| history.queues[queue.index()].broker));
        nodes.extend(self.halves.iter().map(|half| history.halves[half.index()].broker));
        let producer = self.message.map(|id| history.messages[id.index()].producer);
        nodes.extend(producer.and_then(|index| history.producers.get(index as usize)).map(|it| it.node));
        nodes.extend(history.events.iter().filter_map(|event| match event.kind {
            Kind::Enter { member, slot, .. } if self.slots.contains(&slot) => {
                Some(history.members[member.index()].node)
            }
            _ => None,
        }));
        nodes
    }

    /// All queues with one of the places, the named one first.
    #[must_use]
    pub fn queues(&self) -> Vec<QueueId> {
        let mut queues: Vec<QueueId> = self.queue.into_iter().collect();
        for slot in &self.slots {
            if !queues.contains(&slot.queue) {
                queues.push(slot.queue);
            }
        }
        queues
    }

    /// Names of things in a text. Gives the place, when a queue is followed by an offset.
    fn read(&mut self, history: &History, text: &str) -> Option<Slot> {
        let mut slot = None;
        let words: Vec<&str> =
            text.split_whitespace().map(|word| word.trim_matches([',', '.', ':', ';', '(', ')'])).collect();
        for (place, word) in words.iter().enumerate() {
            let next = |ahead: usize| words.get(place + ahead).copied().unwrap_or_default();
            if let Some(message) = message_named(history, word) {
                self.message.get_or_insert(message);
            } else if let Some((queue, again)) =
                queue_named(history, word, (next(1), next(2)) == ("made", "again"))
            {
                if self.queue.is_none() {
                    self.queue = Some(queue);
                    let ahead = if again { 3 } else { 1 };
                    let offset = (next(ahead) == "offset").then(|| next(ahead + 1).parse().ok()).flatten();
                    slot = offset.map(|offset| Slot { queue, offset });
                }
            } else if *word == "half" {
                let half = next(1).parse().ok().filter(|half: &u32| (*half as usize) < history.halves.len());
                self.halves.extend(half.map(HalfId));
            } else if *word == "group" {
                self.group = self.group.or_else(|| history.group(next(1)));
            } else if let Some(node) = history.known_node(word).filter(|node| node.0 > 0) {
                self.node.get_or_insert(node);
            }
        }
        slot
    }

    /// The queue that most messages are left in.
    fn lagging(&mut self, history: &History) {
        let mut ends = std::collections::BTreeMap::new();
        let mut done = std::collections::BTreeMap::new();
        for event in &history.events {
            match event.kind {
                Kind::Dispatched { slot } => drop(ends.insert(slot.queue, slot.offset + 1)),
                Kind::Stored { group, queue, offset } => drop(done.insert((group, queue), offset)),
                _ => {}
            }
        }
        let groups = (0..history.groups.len() as u32).map(GroupId);
        let pairs = groups.flat_map(|group| ends.iter().map(move |(queue, end)| (group, *queue, *end)));
        let left =
            pairs.filter(|(group, queue, _)| history.reads(*group, *queue)).map(|(group, queue, end)| {
                let done = done.get(&(group, queue)).copied().unwrap_or(0);
                (end.saturating_sub(done), group, queue, done)
            });
        if let Some((left, group, queue, done)) = left.max_by_key(|it| it.0).filter(|it| it.0 > 0) {
            debug_assert!(left > 0, "filtered");
            (self.group, self.queue) = (Some(group), Some(queue));
            self.slots.insert(Slot { queue, offset: done });
        }
    }

    /// Follows the message to all places it lay in: retries, delays, halves, dead letters.
    fn follow(&mut self, history: &History, audit: &Audit) {
        let Some(message) = self.message else { return self.chain(history) };
        let told = history.events.iter().filter_map(|event| match event.kind {
            Kind::Sent { message: of, at: Some(slot), .. } if of == message => Some(slot),
            Kind::Enter { slot, message: Some(of), .. } if of == message => Some(slot),
            _ => None,
        });
        self.slots.extend(told);
        for content in &audit.queues {
            let found = content.read.iter().filter(|read| read.message == Some(message));
            self.slots.extend(found.map(|read| Slot { queue: content.queue, offset: read.offset }));
        }
        let halves = (0_u32..).zip(&history.halves).filter(|(_, half)| half.message == Some(message));
        self.halves.extend(halves.map(|(index, _)| HalfId(index)));
        for event in &history.events {
            if let Kind::HalfStored { half, offset, .. } | Kind::HalfPutBack { half, offset, .. } = event.kind
                && self.halves.contains(&half)
            {
                let topic = history.known_topic(HALF);
                let broker = history.halves[half.index()].broker;
                let queue = topic.and_then(|topic| history.known_queue(topic, broker, 0));
                self.slots.extend(queue.map(|queue| Slot { queue, offset }));
            }
        }
        self.chain(history);
    }

    fn chain(&mut self, history: &History) {
        loop {
            let before = self.slots.len();
            for event in &history.events {
                let (from, to) = match event.kind {
                    Kind::SentBack { slot, to, code: 0, .. } => (slot, to),
                    Kind::DelayDelivered { from, to } => (from, to),
                    _ => continue,
                };
                if self.slots.contains(&from) {
                    self.slots.insert(to);
                } else if self.slots.contains(&to) && history.is_schedule(from.queue) {
                    self.slots.insert(from);
                }
            }
            if self.slots.len() == before {
                return;
            }
        }
    }
}

/// Which message lay at a place when an event happened.
#[must_use]
pub fn lies_at(history: &History, audit: &Audit, slot: Slot, event: usize) -> Option<MessageId> {
    let mut before = None;
    let mut after = None;
    for (number, told) in history.events.iter().enumerate() {
        let found = match told.kind {
            Kind::Sent { message, at: Some(at), .. } if at == slot => Some(message),
            Kind::Enter { message, slot: at, .. } if at == slot => message,
            _ => None,
        };
        if found.is_some() {
            *(if number <= event { &mut before } else { &mut after }) = found;
            if number > event {
                break;
            }
        }
    }
    let content = audit.queues.iter().find(|content| content.queue == slot.queue);
    let read = content.and_then(|content| content.read.iter().find(|read| read.offset == slot.offset));
    // A send returns after its place was filled: what is told first afterwards fits an append.
    let filled = match history.events.get(event).map(|it| it.kind) {
        Some(Kind::Append { slot: at, .. } | Kind::Acked { slot: at, .. }) => at == slot,
        _ => false,
    };
    let told = if filled { after.or(before) } else { before.or(after) };
    told.or(read.and_then(|read| read.message))
}

fn message_named(history: &History, word: &str) -> Option<MessageId> {
    let (producer, serial) = word.strip_prefix('p')?.split_once('#')?;
    let (producer, serial): (u32, u32) = (producer.parse().ok()?, serial.parse().ok()?);
    let found = history.messages.iter().position(|it| (it.producer, it.serial) == (producer, serial));
    found.map(|index| MessageId(index as u32))
}

/// The queue of this name, and whether it is one that was made again: a topic that was deleted had queues of the same name.
fn queue_named(history: &History, word: &str, again: bool) -> Option<(QueueId, bool)> {
    let mut parts = word.rsplitn(3, '/');
    let (number, broker, topic) = (parts.next()?.parse().ok()?, parts.next()?, parts.next()?);
    let (topic, broker) = (history.known_topic(topic)?, history.known_node(broker)?);
    let queue = crate::history::Queue { topic, broker, number };
    let mut same =
        (0..history.queues.len() as u32).map(QueueId).filter(|id| history.queues[id.index()] == queue);
    let found = same.rfind(|id| history.former(*id).is_some() == again);
    found.map(|id| (id, again)).or_else(|| Some((history.known_queue(topic, broker, number)?, again)))
}

/// The place whose record stands at the position that the sentence names.
fn record_in(history: &History, audit: &Audit, violation: &Violation, node: NodeId) -> Option<Slot> {
    if !matches!(violation.rule, Rule::Log2 | Rule::Log5 | Rule::Log6) {
        return None;
    }
    let (_, rest) = violation.sentence.split_once("record at ")?;
    let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
    let position: u64 = digits.parse().ok()?;
    let images = audit.images.iter().filter(|image| image.node == node.0);
    let stored = images.flat_map(|image| &image.records).find(|record| record.position == position);
    let stored = stored.and_then(|it| Some(Slot { queue: it.queue?, offset: it.offset }));
    stored.or_else(|| {
        let mut events = history.events.iter().rev();
        events.find_map(|event| match event.kind {
            Kind::Append { slot, position: from, end }
                if event.node == node && (from..end).contains(&position) =>
            {
                Some(slot)
            }
            _ => None,
        })
    })
}

/// The number behind the word "offset".
fn offset_in(text: &str, queue: QueueId) -> Option<Slot> {
    let (_, rest) = text.split_once("offset ")?;
    let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().ok().map(|offset| Slot { queue, offset })
}
