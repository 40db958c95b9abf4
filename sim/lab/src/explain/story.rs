//! The life story of a witness: each step of the message, or of its queue, with what was out of order or never came.

use std::collections::{BTreeMap, BTreeSet};

use super::focus::{Focus, lies_at};
use super::tell::{place, tell};
use crate::check::{Rule, Violation};
use crate::history::{Audit, Event, GroupId, History, Kind, MessageId, NodeId, Outcome, Slot};

/// What a step means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tone {
    /// As it should be.
    Plain,
    /// A fault, or what followed from one.
    Fault,
    /// Out of order.
    Wrong,
    /// It should have happened and never did.
    Missing,
}

/// One step.
#[derive(Clone, Debug, PartialEq)]
pub struct Line {
    /// Its event.
    pub event: usize,
    /// When.
    pub at_ns: u64,
    /// Where.
    pub node: String,
    /// What kind of step.
    pub step: &'static str,
    /// What happened.
    pub text: String,
    /// What it means.
    pub tone: Tone,
}

/// A story.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Story {
    /// Whose, in words.
    pub about: String,
    /// In order.
    pub lines: Vec<Line>,
    /// Steps that are not shown, as there are too many.
    pub left_out: usize,
}

impl Story {
    /// Steps that were out of order or never came.
    pub fn wrong(&self) -> impl Iterator<Item = &Line> {
        self.lines.iter().filter(|line| matches!(line.tone, Tone::Wrong | Tone::Missing))
    }

    /// From the first step to the last.
    #[must_use]
    pub fn span(&self) -> (u64, u64) {
        let first = self.lines.first().map_or(0, |line| line.at_ns);
        let marked = self.wrong().filter(|line| line.tone == Tone::Wrong).map(|line| line.at_ns).max();
        let last = self.lines.iter().rfind(|line| !matches!(line.step, "end" | "read" | "missing" | "heal"));
        (first, last.map_or(first, |line| line.at_ns).max(marked.unwrap_or(0)))
    }
}

/// Tells it.
#[must_use]
pub fn story(history: &History, audit: &Audit, violation: &Violation, focus: &Focus) -> Story {
    let mut teller = Teller {
        history,
        audit,
        rule: violation.rule,
        focus,
        lines: Vec::new(),
        flushed: BTreeMap::new(),
        ends: BTreeMap::new(),
        acknowledged: BTreeSet::new(),
        gone: BTreeSet::new(),
        done: BTreeSet::new(),
        committed: BTreeMap::new(),
        persists: BTreeSet::new(),
        sessions: BTreeMap::new(),
        decided: false,
        over: false,
        nodes: focus.nodes(history),
    };
    for (number, event) in history.events.iter().enumerate() {
        match focus.message.is_some() || !focus.slots.is_empty() {
            _ if teller.over && number != violation.event => {}
            true => teller.step(number, event),
            false => teller.wide(number, event),
        }
        teller.over |= matches!(event.kind, Kind::Drained { .. });
    }
    teller.end();
    let mut story = teller.finish();
    mark(history, violation, &mut story);
    shorten(violation, &mut story);
    story
}

/// The event that shows the broken promise is red when nothing else is.
fn mark(history: &History, violation: &Violation, story: &mut Story) {
    if story.wrong().next().is_some() {
        return;
    }
    if let Some(line) = story.lines.iter_mut().find(|line| line.event == violation.event) {
        return line.tone = Tone::Wrong;
    }
    let Some(event) = history.events.get(violation.event) else { return };
    let place = story.lines.partition_point(|line| line.event < violation.event);
    let (step, text) = tell(history, event);
    let node = history.node_name(event.node).to_owned();
    let line = Line { event: violation.event, at_ns: event.at_ns, node, step, text, tone: Tone::Wrong };
    story.lines.insert(place, line);
}

/// Keeps what is red, and of the rest what is nearest to the event that shows it.
fn shorten(violation: &Violation, story: &mut Story) {
    if story.lines.len() <= MOST {
        return;
    }
    let centre = story.lines.partition_point(|line| line.event < violation.event);
    let from = centre.saturating_sub(MOST * 2 / 3).min(story.lines.len() - MOST);
    let before = story.lines.len();
    let mut place = 0;
    story.lines.retain(|line| {
        place += 1;
        let near = (from..from + MOST).contains(&(place - 1));
        near || matches!(line.tone, Tone::Wrong | Tone::Missing) || matches!(line.step, "invoke" | "return")
    });
    story.left_out = before - story.lines.len();
}

struct Teller<'a> {
    history: &'a History,
    audit: &'a Audit,
    rule: Rule,
    focus: &'a Focus,
    lines: Vec<Line>,
    flushed: BTreeMap<NodeId, u64>,
    /// Where the record of a place ends in the log of its broker, until it is flushed or lost.
    ends: BTreeMap<Slot, (u64, bool)>,
    acknowledged: BTreeSet<Slot>,
    /// Places that other messages have now.
    gone: BTreeSet<Slot>,
    /// Places that a group is through with.
    done: BTreeSet<(GroupId, Slot)>,
    committed: BTreeMap<(GroupId, crate::history::QueueId), u64>,
    /// Brokers that hold a committed offset of interest and have not persisted it.
    persists: BTreeSet<NodeId>,
    sessions: BTreeMap<u32, (crate::history::QueueId, GroupId)>,
    decided: bool,
    /// The lab stops all nodes one by one: what they do then is no part of the story.
    over: bool,
    nodes: BTreeSet<NodeId>,
}

impl Teller<'_> {
    fn add(&mut self, number: usize, event: &Event, tone: Tone, more: &str) {
        let (step, text) = tell(self.history, event);
        let text = if more.is_empty() { text } else { format!("{text} {more}") };
        let node = self.history.node_name(event.node).to_owned();
        self.lines.push(Line { event: number, at_ns: event.at_ns, node, step, text, tone });
    }

    fn ours(&self, message: MessageId) -> bool {
        self.focus.message == Some(message)
    }

    fn has(&self, slot: Slot) -> bool {
        self.focus.slots.contains(&slot) && !self.gone.contains(&slot)
    }

    /// A place of the message in this queue.
    fn in_queue(&self, queue: crate::history::QueueId) -> Option<Slot> {
        self.focus.slots.iter().find(|slot| slot.queue == queue && self.has(**slot)).copied()
    }

    /// The message is transactional and nobody has said commit yet.
    fn is_secret(&self, slot: Slot) -> bool {
        let message = self.focus.message.map(|id| self.history.messages[id.index()]);
        let real = message
            .is_some_and(|it| it.transactional && it.topic == self.history.queues[slot.queue.index()].topic);
        real && !self.decided
    }

    fn step(&mut self, number: usize, event: &Event) {
        let history = self.history;
        match event.kind {
            Kind::Send { message } | Kind::Sent { message, .. } if self.ours(message) => {
                if let Kind::Sent { outcome: Outcome::Ok, at: Some(slot), .. } = event.kind {
                    self.acknowledged.insert(slot);
                }
                self.add(number, event, Tone::Plain, "");
            }
            Kind::Append { slot, end, .. } if self.has(slot) => {
                let other = self.other_at(slot, number);
                if let Some(name) = other {
                    let more = format!("Now this place is given to {name}: what stood there is gone.");
                    self.gone.insert(slot);
                    let tone = if self.acknowledged.contains(&slot) { Tone::Wrong } else { Tone::Fault };
                    return self.add(number, event, tone, &more);
                }
                self.ends.insert(slot, (end, false));
                match self.is_secret(slot) {
                    true => {
                        let more = "That is its real topic, where consumers read: it must not be there before a commit.";
                        self.add(number, event, Tone::Wrong, more);
                    }
                    false => self.add(number, event, Tone::Plain, ""),
                }
            }
            Kind::Flushed { end } => {
                let known = self.flushed.entry(event.node).or_default();
                *known = end.max(*known);
                let known = *known;
                let brokers = |slot: &Slot| history.queues[slot.queue.index()].broker;
                let covered = self
                    .ends
                    .iter()
                    .filter(|(slot, (end, told))| !told && brokers(slot) == event.node && *end <= known);
                let covered: Vec<Slot> = covered.map(|(slot, _)| *slot).collect();
                for slot in &covered {
                    self.ends.entry(*slot).and_modify(|it| it.1 = true);
                }
                if !covered.is_empty() {
                    self.add(number, event, Tone::Plain, "That covers the record.");
                }
            }
            Kind::Acked { slot, end, code } if self.has(slot) => {
                let flushed = self.flushed.get(&event.node).copied().unwrap_or(0);
                if code == 0 && history.sync_flush(slot.queue) && flushed < end {
                    let more = format!(
                        "It promised to answer only when the record is durable. But the record ends at {end} and the log is \
                         durable up to {flushed} only: it answered before the sync. A loss of power now takes the message."
                    );
                    return self.add(number, event, Tone::Wrong, &more);
                }
                self.add(number, event, Tone::Plain, "");
            }
            Kind::Dispatched { slot } if self.has(slot) => match self.is_secret(slot) {
                true => {
                    let more = "Nobody has committed the transaction yet: the message must stay hidden.";
                    self.add(number, event, Tone::Wrong, more);
                }
                false => self.add(number, event, Tone::Plain, ""),
            },
            Kind::Enter { slot, message, .. } if self.has(slot) => {
                if message.is_some_and(|id| self.focus.message.is_some_and(|ours| ours != id)) {
                    return;
                }
                match self.is_secret(slot) {
                    true => {
                        let more = "Nobody has committed the transaction yet: the consumer must not see it.";
                        self.add(number, event, Tone::Wrong, more);
                    }
                    false => self.add(number, event, Tone::Plain, ""),
                }
            }
            Kind::Exit { member, slot, ok } if self.has(slot) => {
                if ok {
                    self.done.insert((history.members[member.index()].group, slot));
                }
                self.add(number, event, Tone::Plain, "");
            }
            Kind::SentBack { slot, group, code, .. } if self.has(slot) => {
                if code == 0 {
                    self.done.insert((group, slot));
                }
                self.add(number, event, Tone::Plain, "");
            }
            Kind::CopiedBack { slot, group, done, .. } if self.has(slot) => {
                if done {
                    self.done.insert((group, slot));
                }
                self.add(number, event, Tone::Plain, "");
            }
            Kind::Stored { group, queue, offset } => self.stored(number, event, (group, queue, offset)),
            Kind::Loaded { group, queue, offset } if self.in_queue(queue).is_some() => {
                let before = self.committed.insert((group, queue), offset);
                if self.focus.group.is_none_or(|of| of == group) && before != Some(offset) {
                    self.add(number, event, Tone::Plain, "");
                }
            }
            Kind::OffsetsPersisted if self.persists.remove(&event.node) => {
                self.add(number, event, Tone::Plain, "");
            }
            Kind::SessionStart { session, member, queue, .. } => {
                self.sessions.insert(session.0, (queue, history.members[member.index()].group));
                if self.tells_owners() && self.in_queue(queue).is_some() {
                    self.add(number, event, Tone::Plain, "");
                }
            }
            Kind::SessionEnd { session } => {
                let ours = self.sessions.get(&session.0).is_some_and(|it| self.in_queue(it.0).is_some());
                if ours && self.tells_owners() {
                    self.add(number, event, Tone::Plain, "");
                }
            }
            Kind::Pulled { session, from, next, .. } => {
                let queue = self.sessions.get(&session.0).map(|it| it.0);
                let slot = queue.and_then(|queue| {
                    self.focus
                        .slots
                        .iter()
                        .find(|slot| slot.queue == queue && (from..next).contains(&slot.offset))
                });
                if slot.is_some() {
                    self.add(number, event, Tone::Plain, "The message is among them.");
                }
            }
            Kind::DelayStored { slot, .. } | Kind::DelaySkipped { from: slot } if self.has(slot) => {
                self.add(number, event, Tone::Plain, "");
            }
            Kind::DelayDelivered { from, to } if self.has(from) || self.has(to) => {
                self.add(number, event, Tone::Plain, "");
            }
            Kind::Decided { message, commit } if self.ours(message) => {
                self.decided |= commit == Some(true);
                self.add(number, event, Tone::Plain, "");
            }
            Kind::Asked { half, commit } if self.focus.halves.contains(&half) => {
                self.decided |= commit == Some(true);
                self.add(number, event, Tone::Plain, "");
            }
            Kind::HalfEnded { half, commit, .. } if self.focus.halves.contains(&half) => {
                self.decided |= commit;
                self.add(number, event, Tone::Plain, "");
            }
            Kind::HalfStored { half, .. }
            | Kind::HalfChecked { half, .. }
            | Kind::HalfPutBack { half, .. }
            | Kind::HalfGivenUp { half, .. }
            | Kind::HalfLoaded { half, .. }
                if self.focus.halves.contains(&half) =>
            {
                self.add(number, event, Tone::Plain, "");
            }
            Kind::Queried { message, .. } if self.rule == Rule::Idx1 && self.ours(message) => {
                self.add(number, event, Tone::Plain, "");
            }
            Kind::Recovered { end } if self.nodes.contains(&event.node) => self.recovered(number, event, end),
            Kind::QueueRecovered { queue, max, .. } if self.in_queue(queue).is_some() => {
                let slot = self.in_queue(queue).expect("just found");
                match !self.lines.is_empty() && max <= slot.offset && self.ends.contains_key(&slot) {
                    true => {
                        self.add(number, event, Tone::Fault, "The place of the message is not among them.")
                    }
                    false => self.add(number, event, Tone::Plain, ""),
                }
            }
            _ => self.around(number, event),
        }
    }

    /// Faults of nodes that matter, from the message's beginning on.
    fn around(&mut self, number: usize, event: &Event) {
        let begun = !self.lines.is_empty();
        match event.kind {
            Kind::Down { .. } | Kind::Up if begun && self.nodes.contains(&event.node) => {
                self.add(number, event, Tone::Fault, "");
            }
            Kind::StepOn { step } | Kind::StepOff { step } => {
                let step = &self.history.steps[step as usize];
                // The death itself is an event of its own.
                let told =
                    !step.kills && (step.wide || step.nodes.iter().any(|node| self.nodes.contains(node)));
                if told && begun {
                    self.add(number, event, Tone::Fault, "");
                }
            }
            Kind::Heal | Kind::Drained { .. } if begun => self.add(number, event, Tone::Plain, ""),
            _ => {}
        }
    }

    fn tells_owners(&self) -> bool {
        matches!(
            self.rule,
            Rule::Con1 | Rule::Con2 | Rule::Con3 | Rule::Con4 | Rule::Con5 | Rule::Con6 | Rule::L3 | Rule::L4
        )
    }

    fn stored(
        &mut self,
        number: usize,
        event: &Event,
        (group, queue, offset): (GroupId, crate::history::QueueId, u64),
    ) {
        let before = self.committed.insert((group, queue), offset).unwrap_or(0);
        let wanted = self.focus.group.is_none_or(|of| of == group);
        let slots = self.focus.slots.iter().filter(|slot| wanted && slot.queue == queue && self.has(**slot));
        for slot in slots.copied().collect::<Vec<_>>() {
            let passes = before <= slot.offset && offset > slot.offset;
            let falls = before > slot.offset && offset <= slot.offset;
            if !passes && !falls {
                continue;
            }
            let takes = self.focus.message.is_none_or(|id| {
                let of = &self.history.groups[group.index()];
                self.history.matches(group, id) || self.history.queues[queue.index()].topic == of.retry
            });
            if passes && takes && !self.done.contains(&(group, slot)) && self.ends.contains_key(&slot) {
                let more = format!(
                    "But the listener is not through with {}, the message of this story: if the consumer dies now, nobody \
                     gets it again.",
                    place(self.history, slot)
                );
                self.add(number, event, Tone::Wrong, &more);
            } else if takes {
                let more = if falls {
                    "That is below the message: it may come again."
                } else {
                    "The message is below it."
                };
                self.add(number, event, Tone::Plain, more);
            }
            self.persists.insert(event.node);
        }
    }

    fn recovered(&mut self, number: usize, event: &Event, end: u64) {
        self.flushed.insert(event.node, end);
        if self.lines.is_empty() {
            return;
        }
        let lost = self.ends.iter().find(|(slot, (until, _))| {
            self.history.queues[slot.queue.index()].broker == event.node && *until > end
        });
        let Some((&slot, &(until, _))) = lost else { return self.add(number, event, Tone::Plain, "") };
        let answered = self.acknowledged.contains(&slot);
        let more = format!(
            "The record of the message ended at {until}: it is gone{}.",
            if answered { ", though its producer was told that it is stored" } else { "" }
        );
        let tone = if answered && self.history.sync_flush(slot.queue) { Tone::Wrong } else { Tone::Fault };
        self.ends.remove(&slot);
        self.add(number, event, tone, &more);
    }

    /// The name of another message that is stored at a place of ours.
    fn other_at(&self, slot: Slot, number: usize) -> Option<String> {
        let ours = self.focus.message?;
        let found = lies_at(self.history, self.audit, slot, number)?;
        (found != ours
            && !self.history.is_inner(slot.queue)
            && self.lines.iter().any(|line| line.step == "append"))
        .then(|| self.history.message_name(found))
    }

    /// The story of a queue, a node, or of everything when nothing is named.
    fn wide(&mut self, number: usize, event: &Event) {
        let queue = self.focus.queue;
        let ours = |of| queue == Some(of);
        if let Kind::SessionStart { session, queue, member, .. } = event.kind {
            self.sessions.insert(session.0, (queue, self.history.members[member.index()].group));
        }
        let of_session = |session: crate::history::SessionId| self.sessions.get(&session.0).map(|it| it.0);
        let told = match event.kind {
            Kind::SessionStart { queue, .. } | Kind::QueueRecovered { queue, .. } => ours(queue),
            Kind::Stored { group, queue, .. } | Kind::Loaded { group, queue, .. } => {
                ours(queue) && self.focus.group.is_none_or(|of| of == group)
            }
            Kind::SessionEnd { session } | Kind::Pulled { session, .. } => {
                of_session(session).is_some_and(ours)
            }
            Kind::Range { queue, .. } => ours(queue),
            Kind::Append { slot, .. } => {
                ours(slot.queue) && matches!(self.rule, Rule::Log1 | Rule::Log2 | Rule::Log3 | Rule::Log4)
            }
            Kind::OffsetsPersisted => queue.is_some() && self.nodes.contains(&event.node),
            Kind::Registered { broker, .. } | Kind::Heard { broker, .. } | Kind::Removed { broker, .. } => {
                queue.is_none() && self.nodes.contains(&broker)
            }
            Kind::Routes { .. } | Kind::RouteTold { .. } | Kind::PeerClosed { .. } => {
                matches!(self.rule, Rule::Ns1 | Rule::Ns2 | Rule::Ns3 | Rule::L2)
            }
            Kind::Down { .. } | Kind::Up => self.nodes.is_empty() || self.nodes.contains(&event.node),
            Kind::StepOn { .. } | Kind::StepOff { .. } | Kind::Heal | Kind::Drained { .. } => true,
            _ => queue.is_none() && self.nodes.is_empty() || number == self.focus.event,
        };
        if told {
            let fault = matches!(
                event.kind,
                Kind::Down { .. } | Kind::Up | Kind::StepOn { .. } | Kind::StepOff { .. }
            );
            self.add(number, event, if fault { Tone::Fault } else { Tone::Plain }, "");
        }
    }

    /// What is there in the end, and what never came.
    fn end(&mut self) {
        let Some(message) = self.focus.message else { return };
        let finals: Vec<(Slot, Option<MessageId>)> = self
            .audit
            .queues
            .iter()
            .flat_map(|content| {
                let slots = self
                    .focus
                    .slots
                    .iter()
                    .filter(|slot| slot.queue == content.queue && slot.offset >= content.min);
                slots
                    .map(|slot| {
                        let read = content.read.iter().find(|read| read.offset == slot.offset);
                        (*slot, read.and_then(|read| read.message))
                    })
                    .collect::<Vec<_>>()
            })
            .collect();
        let mut dead = BTreeSet::new();
        for (slot, found) in finals {
            let topic = self.history.queues[slot.queue.index()].topic;
            if found == Some(message) {
                let letters = self.history.groups.iter().zip(0..).filter(|(group, _)| group.dlq == topic);
                dead.extend(letters.map(|(_, index)| GroupId(index)));
                let at = place(self.history, slot);
                self.last("read", format!("Whoever reads {at} in the end finds it there."), Tone::Plain);
            } else if self.acknowledged.contains(&slot) && self.rule != Rule::Con2 {
                let instead = found.map_or("nothing".to_owned(), |id| self.history.message_name(id));
                let at = place(self.history, slot);
                let text = format!(
                    "{at}: the producer was told that its message is stored there. In the end {instead} is there."
                );
                self.last("missing", text, Tone::Missing);
            }
        }
        self.unfinished(message, &dead);
        let transactional = self.history.messages[message.index()].transactional;
        let delivered = self.lines.iter().any(|line| line.step == "listener");
        if transactional && self.decided && !delivered && self.rule == Rule::Txn4 {
            self.last("missing", "It was committed, and never came to a consumer.".to_owned(), Tone::Missing);
        }
    }

    /// Groups that take the message and never were through with it.
    fn unfinished(&mut self, message: MessageId, dead: &BTreeSet<GroupId>) {
        let judged =
            matches!(self.rule, Rule::Ack1 | Rule::Con1 | Rule::L4) || self.rule.id().starts_with("RTY");
        let drained = self.history.events.iter().any(|event| matches!(event.kind, Kind::Drained { .. }));
        if !judged || !drained {
            return;
        }
        let history = self.history;
        let tries = |group: GroupId| {
            let entered = history.events.iter().filter_map(|event| match event.kind {
                Kind::Enter { member, message: Some(of), times, .. } if of == message => {
                    (history.members[member.index()].group == group).then_some(times)
                }
                _ => None,
            });
            entered.max()
        };
        let ended: BTreeSet<GroupId> = self
            .history
            .events
            .iter()
            .filter_map(|event| match event.kind {
                Kind::Exit { member, slot, ok: true } if self.focus.slots.contains(&slot) => {
                    Some(self.history.members[member.index()].group)
                }
                _ => None,
            })
            .collect();
        let mut told = Vec::new();
        for group in (0..self.history.groups.len() as u32).map(GroupId) {
            let takes = self.history.matches(group, message);
            if !takes
                || ended.contains(&group)
                || dead.contains(&group)
                || self.focus.group.is_some_and(|of| of != group)
            {
                continue;
            }
            let name = self.history.group_name(group);
            let limit = self.history.groups[group.index()].limit;
            let text = match tries(group) {
                None => format!("Group {name} takes this message, and its listener never got it."),
                Some(times) if times >= limit => format!(
                    "Try {} of group {name} was the last ({limit} retries are allowed), and it failed. A dead letter must be \
                     stored then: there is none in {}. The message is lost to the group.",
                    times + 1,
                    self.history.topic_name(self.history.groups[group.index()].dlq)
                ),
                Some(times) => format!(
                    "After try {} the listener of group {name} never got it again: no further try, no success, no dead letter.",
                    times + 1
                ),
            };
            told.push(text);
        }
        for text in told {
            self.last("missing", text, Tone::Missing);
        }
    }

    fn last(&mut self, step: &'static str, text: String, tone: Tone) {
        let event = self.history.events.len();
        let at_ns = self.history.events.last().map_or(0, |event| event.at_ns);
        self.lines.push(Line { event, at_ns, node: String::new(), step, text, tone });
    }

    fn finish(self) -> Story {
        let history = self.history;
        let about = match (self.focus.message, self.focus.queue) {
            (Some(id), _) => {
                let message = &history.messages[id.index()];
                let kind = match (message.transactional, message.delay_level) {
                    (true, _) => ", sent in a transaction",
                    (_, Some(_)) => ", sent with a delay",
                    _ => "",
                };
                format!("message {} to {}{kind}", history.message_name(id), history.topic_name(message.topic))
            }
            (None, Some(queue)) => super::tell::queue_in_words(history, queue),
            _ => self.focus.node.map_or("the run".to_owned(), |node| history.node_name(node).to_owned()),
        };
        Story { about, lines: self.lines, left_out: 0 }
    }
}

/// Steps of a story that are shown.
const MOST: usize = 80;
