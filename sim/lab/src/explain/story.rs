//! The life story of a witness: each step of the message, or of its queue, with what was out of order or never came.

use std::collections::{BTreeMap, BTreeSet};

use super::disk::Damage;
use super::focus::{Focus, lies_at};
use super::frames::{Fate, Frame};
use super::tell::{counted, place, queue_in_words, tell};
use crate::check::{Rule, Violation};
use crate::history::{
    Audit, Event, GroupId, HalfId, History, Kind, MessageId, NodeId, Outcome, QueueId, Slot,
};

/// What a step means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tone {
    /// As it should be.
    Plain,
    /// A fault, or what followed from one.
    Fault,
    /// Out of order, before anything else was.
    Wrong,
    /// It follows from that, or shows it.
    Noticed,
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
    /// What should have been, and what was, where it is out of order.
    pub verdict: Option<Verdict>,
}

/// What should have been, and what was.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Verdict {
    /// What the promise allows.
    pub expected: String,
    /// What happened instead.
    pub actual: String,
}

/// What a run told beside its history.
#[derive(Clone, Copy, Debug, Default)]
pub struct Beside<'a> {
    /// Requests and answers.
    pub frames: &'a [Frame],
    /// What deaths did to records of the story.
    pub damages: &'a [Damage],
    /// Log lines of the system.
    pub logs: &'a [String],
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
        self.lines.iter().filter(|line| matches!(line.tone, Tone::Wrong | Tone::Noticed | Tone::Missing))
    }

    /// Where it first went wrong; or else what never came, or what shows it.
    #[must_use]
    pub fn first(&self) -> Option<&Line> {
        let first = |tone| self.lines.iter().find(|line| line.tone == tone);
        first(Tone::Wrong).or_else(|| first(Tone::Missing)).or_else(|| first(Tone::Noticed))
    }

    /// From the first step to the last.
    #[must_use]
    pub fn span(&self) -> (u64, u64) {
        let first = self.lines.first().map_or(0, |line| line.at_ns);
        // What shows it may come long after what went wrong.
        let early =
            |line: &&Line| line.tone == Tone::Wrong || line.tone == Tone::Noticed && line.step != "noticed";
        let marked = self.wrong().filter(early).map(|line| line.at_ns).max();
        let aside = ["end", "read", "missing", "heal", "noticed", "log"];
        let last = self.lines.iter().rfind(|line| !aside.contains(&line.step));
        (first, last.map_or(first, |line| line.at_ns).max(marked.unwrap_or(0)))
    }
}

/// Tells it.
#[must_use]
pub fn story(
    history: &History,
    audit: &Audit,
    violation: &Violation,
    focus: &Focus,
    beside: Beside<'_>,
) -> Story {
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
        revived: false,
        nodes: focus.nodes(history),
        beside,
        passed: passed(history, violation, focus),
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
    story.lines.sort_by_key(|line| line.at_ns);
    mark(history, violation, &mut story);
    logs(history, violation, focus, beside.logs, &mut story);
    shorten(&mut story);
    story
}

/// The queue and offsets that a commit passed, when the story is of such a commit.
fn passed(history: &History, violation: &Violation, focus: &Focus) -> Option<(GroupId, QueueId, u64, u64)> {
    let Kind::Stored { group, queue, offset } = history.events.get(violation.event)?.kind else {
        return None;
    };
    let at = focus.at.filter(|slot| slot.queue == queue && slot.offset < offset)?;
    matches!(violation.rule, Rule::Con2 | Rule::Rty2).then_some((group, queue, at.offset, offset))
}

/// What comes after the first wrong step follows from it; and what shows the broken promise is told.
fn mark(history: &History, violation: &Violation, story: &mut Story) {
    let wrong = story.lines.iter().position(|line| line.tone == Tone::Wrong);
    for line in story.lines.iter_mut().skip(wrong.map_or(usize::MAX, |first| first + 1)) {
        if line.tone == Tone::Wrong {
            line.tone = Tone::Noticed;
        }
    }
    let Some(event) = history.events.get(violation.event) else { return };
    let is_known = story.wrong().next().is_some();
    // What is judged by the end of the run is told by what never came.
    let by_end = matches!(event.kind, Kind::Sent { .. }) || violation.rule.is_eventual();
    if is_known && by_end {
        return;
    }
    // That a call returned, or that the run was at its end, shows nothing.
    let aside = matches!(
        event.kind,
        Kind::Sent { .. } | Kind::Down { .. } | Kind::Heal | Kind::Drained { .. } | Kind::StepOff { .. }
    );
    if let Some(line) = story.lines.iter_mut().find(|line| line.event == violation.event && !aside) {
        if matches!(line.tone, Tone::Plain | Tone::Fault) {
            line.tone = Tone::Noticed;
        }
        return;
    }
    let (node, step, text) = match aside {
        true => ("lab".to_owned(), "noticed", violation.sentence.clone()),
        false => {
            let (step, text) = tell(history, event);
            (history.node_name(event.node).to_owned(), step, text)
        }
    };
    let at_ns = event.at_ns;
    let place = story.lines.partition_point(|line| line.at_ns <= at_ns && line.event < violation.event);
    let (event, tone, verdict) = (violation.event, Tone::Noticed, None);
    story.lines.insert(place, Line { event, at_ns, node, step, text, tone, verdict });
}

/// Warnings of the nodes that matter, each at its time.
fn logs(history: &History, violation: &Violation, focus: &Focus, logs: &[String], story: &mut Story) {
    let Some(first) = story.lines.first().map(|line| line.at_ns) else { return };
    let last = violation.at_ns.max(story.span().1);
    let centre = story.first().map_or(violation.at_ns, |line| line.at_ns);
    let nodes: Vec<&str> = focus.nodes(history).into_iter().map(|node| history.node_name(node)).collect();
    let parsed = logs.iter().filter_map(|line| {
        let mut words = line.split_whitespace();
        let (at, node, level) = (words.next()?, words.next()?, words.next()?);
        let at_ns = log_time(at).filter(|at| (first..=last).contains(at))?;
        let wanted = matches!(level, "WARN" | "ERROR") && nodes.contains(&node);
        let text = format!("{level} {}", words.collect::<Vec<_>>().join(" "));
        wanted.then(|| (at_ns, node.to_owned(), text))
    });
    let mut found: Vec<_> = parsed.collect();
    found.sort_by_key(|(at_ns, ..)| at_ns.abs_diff(centre));
    found.truncate(WARNINGS);
    found.sort_by_key(|(at_ns, ..)| *at_ns);
    for (at_ns, node, text) in found {
        let place = story.lines.partition_point(|line| line.at_ns < at_ns);
        let event = history.events.partition_point(|event| event.at_ns < at_ns);
        let (step, tone, verdict) = ("log", Tone::Fault, None);
        story.lines.insert(place, Line { event, at_ns, node, step, text, tone, verdict });
    }
}

/// A time of a log line, seconds with six places.
fn log_time(text: &str) -> Option<u64> {
    let (seconds, micros) = text.split_once('.')?;
    Some(seconds.parse::<u64>().ok()? * 1_000_000_000 + micros.parse::<u64>().ok()? * 1000)
}

/// Keeps what is red, and of the rest what is nearest to the first of it.
fn shorten(story: &mut Story) {
    if story.lines.len() <= MOST {
        return;
    }
    let at_ns = story.first().map_or(u64::MAX, |line| line.at_ns);
    let centre = story.lines.partition_point(|line| line.at_ns < at_ns);
    let from = centre.saturating_sub(MOST * 2 / 3).min(story.lines.len() - MOST);
    let before = story.lines.len();
    let mut place = 0;
    story.lines.retain(|line| {
        place += 1;
        let near = (from..from + MOST).contains(&(place - 1));
        let red = matches!(line.tone, Tone::Wrong | Tone::Noticed | Tone::Missing);
        near || red || matches!(line.step, "invoke" | "return" | "log")
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
    committed: BTreeMap<(GroupId, QueueId), u64>,
    /// Brokers that hold a committed offset of interest and have not persisted it.
    persists: BTreeSet<NodeId>,
    sessions: BTreeMap<u32, (QueueId, GroupId)>,
    decided: bool,
    /// The lab stops all nodes one by one: what they do then is no part of the story.
    over: bool,
    /// A place of a deleted topic came back.
    revived: bool,
    nodes: BTreeSet<NodeId>,
    beside: Beside<'a>,
    passed: Option<(GroupId, QueueId, u64, u64)>,
}

impl Teller<'_> {
    fn add(&mut self, number: usize, event: &Event, tone: Tone, more: &str) {
        let (step, text) = tell(self.history, event);
        let text = if more.is_empty() { text } else { format!("{text} {more}") };
        let node = self.history.node_name(event.node).to_owned();
        self.lines.push(Line { event: number, at_ns: event.at_ns, node, step, text, tone, verdict: None });
    }

    /// A step that is out of order.
    fn wrong(&mut self, number: usize, event: &Event, more: &str, expected: String, actual: String) {
        self.add(number, event, Tone::Wrong, more);
        if let Some(line) = self.lines.last_mut() {
            line.verdict = Some(Verdict { expected, actual });
        }
    }

    /// The topic this place belongs to was deleted before.
    fn is_deleted(&self, slot: Slot, number: usize) -> bool {
        self.history.deleted.get(&slot.queue).is_some_and(|deletion| deletion.event < number)
    }

    /// What comes from a deleted topic.
    fn tone(&self, slot: Slot, number: usize) -> Tone {
        if self.revived && self.is_deleted(slot, number) { Tone::Noticed } else { Tone::Plain }
    }

    fn ours(&self, message: MessageId) -> bool {
        self.focus.message == Some(message)
    }

    fn has(&self, slot: Slot) -> bool {
        self.focus.slots.contains(&slot) && !self.gone.contains(&slot)
    }

    /// A place of the message in this queue.
    fn in_queue(&self, queue: QueueId) -> Option<Slot> {
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
                    if !self.acknowledged.contains(&slot) {
                        return self.add(number, event, Tone::Fault, &more);
                    }
                    let expected = format!("a place behind {}, which is taken", place(history, slot));
                    return self.wrong(number, event, &more, expected, format!("{name} is stored there"));
                }
                self.ends.insert(slot, (end, false));
                match self.is_secret(slot) {
                    true => {
                        let more = "That is its real topic, where consumers read: it must not be there before a commit.";
                        let expected = "nothing in the real topic before a commit".to_owned();
                        let actual = format!("a record of it at {}", place(history, slot));
                        self.wrong(number, event, more, expected, actual);
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
                    let expected = format!("an answer only when the log is durable up to {end}");
                    let actual = format!("answered when it was durable up to {flushed}");
                    return self.wrong(number, event, &more, expected, actual);
                }
                self.add(number, event, Tone::Plain, "");
            }
            Kind::Dispatched { slot } if self.has(slot) => self.dispatched(number, event, slot),
            Kind::Enter { slot, message, .. } if self.has(slot) => {
                if message.is_some_and(|id| self.focus.message.is_some_and(|ours| ours != id)) {
                    return;
                }
                match self.is_secret(slot) {
                    true => {
                        let more = "Nobody has committed the transaction yet: the consumer must not see it.";
                        let expected = "delivered after a commit, or never".to_owned();
                        self.wrong(number, event, more, expected, "delivered before any commit".to_owned());
                    }
                    false => self.add(number, event, self.tone(slot, number), ""),
                }
            }
            Kind::Enter { member, slot, .. } | Kind::Exit { member, slot, ok: true }
                if self.is_behind(history.members[member.index()].group, slot, number) =>
            {
                self.add(
                    number,
                    event,
                    Tone::Plain,
                    "That is a neighbour, behind the message of this story.",
                );
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
                if let Some(slot) = slot.copied() {
                    self.add(number, event, self.tone(slot, number), "The message is among them.");
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
            Kind::HalfChecked { half, checks }
                if number == self.focus.event
                    && self.rule == Rule::Txn5
                    && self.focus.halves.contains(&half) =>
            {
                let (expected, actual) = self.question(number, event, half, checks);
                self.wrong(number, event, "", expected, actual);
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
                if self.revived && max > slot.offset && self.is_deleted(slot, number) {
                    return self.add(
                        number,
                        event,
                        Tone::Noticed,
                        "A message of the deleted topic is among them.",
                    );
                }
                match !self.lines.is_empty() && max <= slot.offset && self.ends.contains_key(&slot) {
                    true => {
                        self.add(number, event, Tone::Fault, "The place of the message is not among them.")
                    }
                    false => self.add(number, event, Tone::Plain, ""),
                }
            }
            Kind::TopicUnlisted { topic, broker }
            | Kind::TopicDeleted { topic, broker }
            | Kind::TopicSet { topic, broker, .. }
                if !self.lines.is_empty() && self.is_home(topic, broker) =>
            {
                if let Kind::TopicUnlisted { .. } = event.kind {
                    self.committed
                        .retain(|(_, queue), _| !history.queues[queue.index()].is_of(topic, broker));
                }
                self.add(number, event, Tone::Fault, "");
            }
            _ => self.around(number, event),
        }
    }

    /// The message lies, or lay, in this topic on this broker.
    fn is_home(&self, topic: crate::history::TopicId, broker: NodeId) -> bool {
        let queues = self.focus.slots.iter().map(|slot| slot.queue).chain(self.focus.queue);
        queues.into_iter().any(|queue| self.history.queues[queue.index()].is_of(topic, broker))
    }

    /// A place that the commit of this story passed, behind that of the message.
    fn is_behind(&self, group: GroupId, slot: Slot, number: usize) -> bool {
        number < self.focus.event
            && self.passed.is_some_and(|(of, queue, from, until)| {
                of == group && queue == slot.queue && from < slot.offset && slot.offset < until
            })
    }

    fn dispatched(&mut self, number: usize, event: &Event, slot: Slot) {
        if self.is_secret(slot) {
            let more = "Nobody has committed the transaction yet: the message must stay hidden.";
            let expected = "hidden until a commit".to_owned();
            return self.wrong(number, event, more, expected, "it can be read before any commit".to_owned());
        }
        if self.is_deleted(slot, number) {
            let deletion = self.history.deleted[&slot.queue];
            let at = seconds(self.history.events[deletion.event].at_ns);
            let queue = self.history.queues[slot.queue.index()];
            let topic = self.history.topic_name(queue.topic);
            let record = self.history.events[..number].iter().rev().find_map(|event| match event.kind {
                Kind::Append { slot: of, position, end } if of == slot => {
                    Some(format!("{position} to {end}"))
                }
                _ => None,
            });
            let record = record.map_or_else(|| "the record".to_owned(), |at| format!("the record at {at}"));
            let more = format!(
                "But {topic} was deleted at {at}, and its message with it: {record} is from before, and is put back into a queue."
            );
            let expected = format!(
                "no entry for {record}: {topic} was deleted at {at}, and all its records before {} in the log with it",
                deletion.position
            );
            let actual = format!("{} can be read again", place(self.history, slot));
            self.revived = true;
            return self.wrong(number, event, &more, expected, actual);
        }
        self.add(number, event, Tone::Plain, "");
    }

    /// When a producer may be asked about a half message, and when it was.
    fn question(&self, number: usize, event: &Event, half: HalfId, checks: u32) -> (String, String) {
        let limits = self.history.checks;
        let (mut stored, mut last, mut ended) = (None, None, None);
        for before in &self.history.events[..number] {
            match before.kind {
                Kind::HalfStored { half: of, immunity_ms, .. } if of == half => {
                    stored = stored.or(Some((before.at_ns, immunity_ms)));
                }
                Kind::HalfChecked { half: of, checks } if of == half => last = Some((before.at_ns, checks)),
                Kind::HalfEnded { half: of, .. } | Kind::HalfGivenUp { half: of, .. } if of == half => {
                    ended = Some(before.at_ns);
                }
                _ => {}
            }
        }
        let asked = format!("asked at {}", seconds(event.at_ns));
        if let Some(ended) = ended {
            return (format!("no question after its end, which was at {}", seconds(ended)), asked);
        }
        let early = stored.filter(|(at, immunity_ms)| event.at_ns + ROUNDING < at + immunity_ms * 1_000_000);
        if let Some((at, immunity_ms)) = early {
            let due = at + immunity_ms * 1_000_000;
            return (
                format!(
                    "asked from {} on: {:.3} s after it was stored at {} (transactionTimeOut)",
                    seconds(due),
                    immunity_ms as f64 / 1e3,
                    seconds(at)
                ),
                format!("{asked}, {:.3} s after it was stored", (event.at_ns - at) as f64 / 1e9),
            );
        }
        if checks > limits.most {
            return (
                format!("at most {} (transactionCheckMax)", counted(u64::from(limits.most), "question")),
                format!("{asked}, as number {checks}"),
            );
        }
        let soon = last.filter(|(at, _)| event.at_ns + ROUNDING < at + limits.interval_ms * 1_000_000);
        match (soon, last) {
            (Some((at, before)), _) if checks == before + 1 => (
                format!(
                    "asked again from {} on: {:.3} s after the last question at {} (transactionCheckInterval)",
                    seconds(at + limits.interval_ms * 1_000_000),
                    limits.interval_ms as f64 / 1e3,
                    seconds(at)
                ),
                format!("{asked}, {:.3} s after it", (event.at_ns - at) as f64 / 1e9),
            ),
            (_, Some((_, before))) => {
                (format!("question number {}", before + 1), format!("{asked}, as number {checks}"))
            }
            _ => ("question number 1".to_owned(), format!("{asked}, as number {checks}")),
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
                    if let (Some(topic), Some(line)) = (step.deletes, self.lines.last_mut()) {
                        line.text = operator(self.history, number, event, topic, &step.what);
                    }
                }
            }
            Kind::Heal | Kind::Drained { .. } if begun => self.add(number, event, Tone::Plain, ""),
            _ => {}
        }
    }

    fn tells_routes(&self) -> bool {
        matches!(self.rule, Rule::Ns1 | Rule::Ns2 | Rule::Ns3 | Rule::L1 | Rule::L2)
    }

    fn tells_owners(&self) -> bool {
        matches!(
            self.rule,
            Rule::Con1 | Rule::Con2 | Rule::Con3 | Rule::Con4 | Rule::Con5 | Rule::Con6 | Rule::L3 | Rule::L4
        )
    }

    fn stored(&mut self, number: usize, event: &Event, (group, queue, offset): (GroupId, QueueId, u64)) {
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
                self.passes(number, event, (group, queue, offset), slot);
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

    /// A commit passes the message of this story: who sent it decided so, if that is known.
    fn passes(
        &mut self,
        number: usize,
        event: &Event,
        (group, queue, offset): (GroupId, QueueId, u64),
        slot: Slot,
    ) {
        let history = self.history;
        let allowed = self.allowed(group, queue, offset, number).unwrap_or(slot.offset).min(slot.offset);
        let lowest = Slot { queue, offset: allowed };
        let name = lies_at(history, self.audit, lowest, number);
        let name = name.map_or(String::new(), |id| format!(" ({})", history.message_name(id)));
        let got = history.events[..number].iter().rev().find_map(|event| match event.kind {
            Kind::Enter { slot, member, .. } if slot == lowest => Some((event.at_ns, member)),
            _ => None,
        });
        let since = got.map_or(", which no listener has got yet".to_owned(), |(at_ns, member)| {
            format!(
                ", which {} got at {} and is still at work on",
                history.member_name(member),
                seconds(at_ns)
            )
        });
        let why = format!("the listener is not through with {}{name}", place(history, lowest));
        let expected = format!("at most {allowed}, as {why}{since}");
        let actual = format!("{offset}: all below it counts as done");
        let Some(frame) = self.commit(group, queue, offset, event.at_ns) else {
            let more = format!(
                "But {why}, the message of this story: if the consumer dies now, nobody gets it again."
            );
            return self.wrong(number, event, &more, expected, actual);
        };
        let text = format!(
            "{} sends commitOffset {offset} of group {} for {} ({}, number {}). But {why}: if {} dies now, nobody gets it again.",
            frame.from,
            history.group_name(group),
            queue_in_words(history, queue),
            frame.name,
            frame.opaque,
            frame.from
        );
        self.lines.push(Line {
            event: history.events.partition_point(|event| event.at_ns <= frame.sent_ns),
            at_ns: frame.sent_ns,
            node: frame.from.clone(),
            step: "commit",
            text,
            tone: Tone::Wrong,
            verdict: Some(Verdict { expected, actual: format!("commitOffset {actual}") }),
        });
        self.add(number, event, Tone::Noticed, "It believes what it is told.");
    }

    /// The lowest offset that a listener of the group has got and is not through with.
    fn allowed(&self, group: GroupId, queue: QueueId, below: u64, number: usize) -> Option<u64> {
        let mut open = BTreeSet::new();
        for event in &self.history.events[..number] {
            match event.kind {
                Kind::Enter { member, slot, .. } if self.history.members[member.index()].group == group => {
                    open.insert(slot);
                }
                Kind::Exit { member, slot, ok: true }
                    if self.history.members[member.index()].group == group =>
                {
                    open.remove(&slot);
                }
                Kind::SentBack { group: of, slot, code: 0, .. } if of == group => drop(open.remove(&slot)),
                _ => {}
            }
        }
        open.iter().filter(|slot| slot.queue == queue && slot.offset < below).map(|slot| slot.offset).min()
    }

    /// The request with which a member told a broker this offset.
    fn commit(&self, group: GroupId, queue: QueueId, offset: u64, until_ns: u64) -> Option<&Frame> {
        let facts = self.history.queues[queue.index()];
        let (broker, number) = (self.history.node_name(facts.broker), facts.number.to_string());
        let (topic, offset) = (self.history.topic_name(facts.topic), offset.to_string());
        let group = self.history.group_name(group);
        let found = self.beside.frames.iter().rev().find(|frame| {
            frame.to == broker
                && frame.answers.is_none()
                && matches!(frame.fate, Fate::Arrived(at_ns) if at_ns <= until_ns)
                && frame.field("commitOffset") == Some(&offset)
                && frame.field("topic") == Some(topic)
                && frame.field("queueId") == Some(&number)
                && frame.field("consumerGroup") == Some(group)
        })?;
        // A long time ago somebody may have said the same.
        (found.sent_ns + LATE >= until_ns).then_some(found)
    }

    fn recovered(&mut self, number: usize, event: &Event, end: u64) {
        self.flushed.insert(event.node, end);
        if self.lines.is_empty() {
            return;
        }
        if let Some(damage) = self.kept(event, end) {
            let sectors = damage.sectors.iter().map(|(from, until)| format!("{from} to {until}"));
            let sectors = sectors.collect::<Vec<_>>().join(", ");
            let (position, until) = (damage.position, damage.end);
            let more = format!(
                "But the record at {position} to {until}, of {}, is not whole: the loss of power at {} took the sector at {sectors} \
                 from it. The recovery keeps it all the same.",
                place(self.history, damage.slot),
                seconds(damage.at_ns)
            );
            let expected =
                format!("the log ends at {position} at most, where the first damaged record begins");
            return self.wrong(
                number,
                event,
                &more,
                expected,
                format!("it ends at {end}, with that record in it"),
            );
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
        self.ends.remove(&slot);
        if answered && self.history.sync_flush(slot.queue) {
            let expected = format!("the log ends at {until} or later: all that was answered OK is durable");
            return self.wrong(number, event, &more, expected, format!("it ends at {end}"));
        }
        self.add(number, event, Tone::Fault, &more);
    }

    /// A record of the story that the last death damaged, and that is still in a log of this length.
    fn kept(&self, event: &Event, end: u64) -> Option<Damage> {
        let all = self.beside.damages.iter().filter(|it| it.node == event.node && it.at_ns <= event.at_ns);
        let last = all.clone().map(|it| it.at_ns).max()?;
        all.filter(|it| it.at_ns == last && end >= it.end).min_by_key(|it| it.position).cloned()
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
            Kind::Range { queue, .. } | Kind::Waited { queue, .. } => ours(queue),
            Kind::Append { slot, .. } => {
                ours(slot.queue) && matches!(self.rule, Rule::Log1 | Rule::Log2 | Rule::Log3 | Rule::Log4)
            }
            Kind::OffsetsPersisted => queue.is_some() && self.nodes.contains(&event.node),
            Kind::Registered { broker, .. } | Kind::Heard { broker, .. } | Kind::Removed { broker, .. } => {
                self.tells_routes() && queue.is_none() && self.nodes.contains(&broker)
            }
            Kind::Recovered { .. } => self.nodes.contains(&event.node),
            Kind::TopicUnlisted { topic, broker }
            | Kind::TopicDeleted { topic, broker }
            | Kind::TopicSet { topic, broker, .. } => self.is_home(topic, broker),
            Kind::Routes { .. } | Kind::RouteTold { .. } | Kind::Offered { .. } | Kind::PeerClosed { .. } => {
                self.tells_routes()
            }
            Kind::Down { .. } | Kind::Up => self.nodes.is_empty() || self.nodes.contains(&event.node),
            Kind::StepOn { .. } | Kind::StepOff { .. } | Kind::Heal | Kind::Drained { .. } => true,
            _ => queue.is_none() && self.nodes.is_empty() || number == self.focus.event,
        };
        if let Kind::Stored { group, queue, offset } = event.kind {
            let before = self.committed.insert((group, queue), offset).unwrap_or(0);
            if number == self.focus.event && self.rule == Rule::Con6 && offset < before {
                return self.wrong(
                    number,
                    event,
                    "",
                    format!("{before} or more"),
                    format!("it falls to {offset}"),
                );
            }
        }
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
            let body = self.audit.queues.iter().filter(|content| content.queue == slot.queue);
            let body = body.flat_map(|content| &content.read).find(|read| read.offset == slot.offset);
            if found == Some(message) && body.is_some_and(|read| !read.fit.body) {
                let at = place(self.history, slot);
                let text = format!("Whoever reads {at} in the end gets another body than was sent.");
                self.last("read", text, Tone::Noticed);
            } else if found == Some(message) {
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
                self.verdict(format!("the message at {at} in the end"), format!("{instead} is there"));
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
            let (expected, actual) = match tries(group) {
                Some(times) if times >= limit => (
                    format!("a dead letter after try {}, the last", times + 1),
                    "no dead letter by the end of the run",
                ),
                Some(times) => (
                    format!("try {}, a success or a dead letter", times + 2),
                    "nothing by the end of the run",
                ),
                None => (format!("a listener of group {name} gets it"), "none did by the end of the run"),
            };
            told.push((text, expected, actual));
        }
        for (text, expected, actual) in told {
            self.last("missing", text, Tone::Missing);
            self.verdict(expected, actual.to_owned());
        }
    }

    fn verdict(&mut self, expected: String, actual: String) {
        if let Some(line) = self.lines.last_mut() {
            line.verdict = Some(Verdict { expected, actual });
        }
    }

    fn last(&mut self, step: &'static str, text: String, tone: Tone) {
        let event = self.history.events.len();
        let at_ns = self.history.events.last().map_or(0, |event| event.at_ns);
        self.lines.push(Line { event, at_ns, node: String::new(), step, text, tone, verdict: None });
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
            (None, Some(queue)) => queue_in_words(history, queue),
            _ => self.focus.node.map_or("the run".to_owned(), |node| history.node_name(node).to_owned()),
        };
        Story { about, lines: self.lines, left_out: 0 }
    }
}

/// What an operator does with a topic, as far as it has come.
fn operator(
    history: &History,
    number: usize,
    event: &Event,
    topic: crate::history::TopicId,
    what: &str,
) -> String {
    if matches!(event.kind, Kind::StepOn { .. }) {
        return format!("An operator begins: {what}.");
    }
    let before = history.events[..number].iter().rev();
    let last = before.filter_map(|event| match event.kind {
        Kind::TopicSet { topic: of, .. } if of == topic => Some(true),
        Kind::TopicUnlisted { topic: of, .. } | Kind::TopicDeleted { topic: of, .. } if of == topic => {
            Some(false)
        }
        _ => None,
    });
    let name = history.topic_name(topic);
    match last.into_iter().next() {
        Some(false) => format!("The time for that is over; {name} is deleted, and not made again yet."),
        _ => format!("The operator is done: {name} is there again."),
    }
}

fn seconds(ns: u64) -> String {
    format!("{:.6} s", ns as f64 / 1e9)
}

/// Steps of a story that are shown.
const MOST: usize = 80;
/// Warnings of the system that are shown in it.
const WARNINGS: usize = 10;
/// Times are told in whole milliseconds at some places.
const ROUNDING: u64 = 2_000_000;
/// A request that came so long before has nothing to do with it.
const LATE: u64 = 1_000_000_000;
