//! What several rules need of a history, collected in one pass.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::SECOND;
use crate::history::{
    Audit, Event, Fit, GroupId, History, How, Kind, MemberId, MessageId, NodeId, Outcome, QueueContent,
    QueueId, SessionId, Slot, TopicId,
};

/// A history with its audit, and what was collected from it.
pub struct View<'a> {
    /// The history.
    pub history: &'a History,
    /// What the stores hold in the end.
    pub audit: &'a Audit,
    /// By message.
    pub sends: Vec<Send>,
    /// In order of entering.
    pub deliveries: Vec<Delivery>,
    /// By session.
    pub sessions: Vec<Session>,
    /// By queue.
    pub lines: Vec<Line>,
    /// By node: when it was down.
    pub outages: Vec<Vec<Outage>>,
    /// Places of which a bit turned on the disk.
    pub rotten: BTreeSet<Slot>,
    /// By broker: from which event on it had which delay levels, when they changed.
    pub levels: BTreeMap<NodeId, Vec<(usize, u32)>>,
    /// When each step of the plan was on.
    pub steps: Vec<Option<(u64, u64)>>,
    /// What groups had committed was forgotten with a topic: event, topic and broker.
    pub unlisted: Vec<(usize, TopicId, NodeId)>,
    /// Queues of topics that were made again before all members of the group could know that they had been deleted:
    /// who goes on where it was skips what is there by then.
    pub haunted: BTreeSet<(GroupId, QueueId)>,
    /// Where groups have begun that begin at the end: what lies before is not for them.
    starts: BTreeMap<(GroupId, QueueId), u64>,
    /// When the faults were over: event number and time.
    pub heal: Option<(usize, u64)>,
    /// When the drain ended: event number, time, and how many messages were left.
    pub drained: Option<(usize, u64, u64)>,
}

/// What is known of the sending of a message.
#[derive(Clone, Copy, Debug, Default)]
pub struct Send {
    /// Event of the call.
    pub invoked: Option<usize>,
    /// Event of the return.
    pub returned: Option<usize>,
    /// What it said; none = it never returned.
    pub outcome: Option<Outcome>,
    /// Where it said the message is.
    pub at: Option<Slot>,
}

/// A message in a listener.
#[derive(Clone, Copy, Debug)]
pub struct Delivery {
    /// Event of entering.
    pub entered: usize,
    /// Event of a successful end.
    pub succeeded: Option<usize>,
    /// Event of an end in which the listener could not handle it.
    pub deferred: Option<usize>,
    /// Who.
    pub member: MemberId,
    /// Which place.
    pub slot: Slot,
    /// Which message.
    pub message: Option<MessageId>,
    /// How it fits.
    pub fit: Fit,
    /// How many tries it had had.
    pub times: u32,
    /// The ownership it came by, when taps tell.
    pub session: Option<SessionId>,
}

/// One ownership of a queue.
#[derive(Clone, Copy, Debug)]
pub struct Session {
    /// Whose.
    pub member: MemberId,
    /// Of which queue.
    pub queue: QueueId,
    /// From which offset.
    pub offset: u64,
    /// Event of its start.
    pub started: usize,
    /// Event of its end: dropped, or its node went down.
    pub ended: Option<usize>,
    /// The end was a crash of its node.
    pub crashed: bool,
}

/// The life of a queue.
#[derive(Clone, Debug, Default)]
pub struct Line {
    /// Recoveries that lost a tail: event and the offset the queue went back to.
    pub rewinds: Vec<Rewind>,
    /// One past the highest offset ever appended.
    pub appended: u64,
    /// The highest beginning that a broker ever told: what lies before it was deleted in the end.
    pub begins: u64,
}

/// A recovery that lost a tail of a queue.
#[derive(Clone, Copy, Debug)]
pub struct Rewind {
    /// Event of the recovery.
    pub event: usize,
    /// The next offset after it.
    pub to: u64,
    /// The next offset before it.
    pub from: u64,
    /// It followed a power loss.
    pub power: bool,
}

/// A time in which something was wrong with a node, or with all.
#[derive(Clone, Copy, Debug)]
pub struct Trouble {
    /// With whom; none = with all.
    pub node: Option<NodeId>,
    /// When it began.
    pub from_ns: u64,
    /// When it was over.
    pub until_ns: u64,
    /// A disk was full, nothing else.
    pub fills: bool,
}

impl Trouble {
    /// True when it touches this node.
    #[must_use]
    pub fn touches(&self, node: NodeId) -> bool {
        self.node.is_none_or(|of| of == node)
    }
}

/// A time a node was down.
#[derive(Clone, Copy, Debug)]
pub struct Outage {
    /// Event of going down.
    pub event: usize,
    /// Time of going down.
    pub from_ns: u64,
    /// Time of the start after it.
    pub until_ns: u64,
    /// How.
    pub how: How,
    /// What was not flushed may be lost: with the power, or because a sync failed before.
    pub loses: bool,
    /// How far its log was surely on its disk, when it has one.
    pub flushed: u64,
}

impl<'a> View<'a> {
    /// Collects.
    #[must_use]
    pub fn new(history: &'a History, audit: &'a Audit) -> Self {
        let mut view = Self {
            history,
            audit,
            sends: vec![Send::default(); history.messages.len()],
            deliveries: Vec::new(),
            sessions: Vec::with_capacity(history.sessions as usize),
            lines: vec![Line::default(); history.queues.len()],
            outages: Vec::new(),
            rotten: history.rotten.iter().map(|rotten| rotten.slot).collect(),
            levels: BTreeMap::new(),
            steps: vec![None; history.steps.len()],
            unlisted: Vec::new(),
            haunted: BTreeSet::new(),
            starts: BTreeMap::new(),
            heal: None,
            drained: None,
        };
        view.collect();
        for content in &audit.queues {
            let begins = view.begins(content);
            let line = &mut view.lines[content.queue.index()];
            line.begins = line.begins.max(begins);
        }
        view.haunted = view.unnoticed();
        view.starts = view.ends_found();
        view
    }

    /// Where members began who found no offset of their group, and told their broker before they read anything. That
    /// happens again when the broker forgot it: it promises no more of an offset that it has not written yet. Of several
    /// the last place in the queue counts: what lies before it was not for the group once, though it may get it later.
    fn ends_found(&self) -> BTreeMap<(GroupId, QueueId), u64> {
        let history = self.history;
        let mut starts = BTreeMap::new();
        if history.groups.iter().all(|group| !group.from_end) {
            return starts;
        }
        let from_end = |group: GroupId| history.groups[group.index()].from_end;
        // What brokers know, and whether that is the first word since they knew nothing.
        let mut known: BTreeMap<(GroupId, QueueId), (u64, bool)> = BTreeMap::new();
        for event in &history.events {
            match event.kind {
                Kind::Stored { group, queue, offset } => {
                    let first = !known.contains_key(&(group, queue));
                    known.insert((group, queue), (offset, first));
                }
                Kind::Loaded { group, queue, offset } => drop(known.insert((group, queue), (offset, false))),
                Kind::Down { .. } => {
                    known.retain(|(_, queue), _| history.queues[queue.index()].broker != event.node);
                }
                Kind::SessionStart { member, queue, offset, .. } => {
                    let key = (history.members[member.index()].group, queue);
                    if from_end(key.0) && known.get(&key) == Some(&(offset, true)) {
                        let start = starts.entry(key).or_insert(offset);
                        *start = offset.max(*start);
                    }
                }
                _ => {}
            }
        }
        starts
    }

    /// True when what lies here is not for a group, as it began behind it.
    #[must_use]
    pub fn before_start(&self, group: GroupId, slot: Slot) -> bool {
        self.starts.get(&(group, slot.queue)).is_some_and(|start| slot.offset < *start)
    }

    /// The groups of which some member went on over the deletion of a topic, or may have had something under way, and
    /// the queues that came after it.
    fn unnoticed(&self) -> BTreeSet<(GroupId, QueueId)> {
        let history = self.history;
        let queues = (0..history.queues.len() as u32).map(QueueId);
        let again = queues.filter_map(|queue| Some((history.former(queue)?, queue)));
        let mut unnoticed = BTreeSet::new();
        for (former, queue) in again {
            let facts = history.queues[queue.index()];
            let deleted = history.deleted[&former].event;
            let made = history.events[deleted..].iter().position(|event| {
                matches!(event.kind, Kind::TopicSet { topic, broker, .. } if facts.is_of(topic, broker))
            });
            let made = made.map_or(self.last(), |after| deleted + after);
            for group in (0..history.groups.len() as u32).map(GroupId).filter(|it| history.reads(*it, queue))
            {
                let ours = |member: MemberId| history.members[member.index()].group == group;
                let owned = self.sessions.iter().any(|it| {
                    it.queue == former
                        && ours(it.member)
                        && it.started < made
                        && it.ended.is_none_or(|end| end > made)
                });
                let members = history.members.iter().filter(|member| member.group == group);
                let mut nodes = members.map(|member| member.node).chain([facts.broker]);
                let (from, until) = (self.at(deleted).saturating_sub(AFTERMATH), self.at(made));
                // Who is refused lets go, and asks often enough.
                let ups = self.outages_of(facts.broker).iter().map(|outage| outage.until_ns);
                let since = ups.filter(|up| *up < until).max().unwrap_or(0).max(self.at(deleted));
                let owned = owned && until < since + NOTICED;
                if owned || nodes.any(|node| self.held_up(node, from, until)) {
                    unnoticed.insert((group, queue));
                }
            }
        }
        unnoticed
    }

    /// True when what comes from or goes to the node may have been held up at some moment from `from` to `until`.
    fn held_up(&self, node: NodeId, from: u64, until: u64) -> bool {
        let steps = self.steps.iter().zip(&self.history.steps);
        let mut steps = steps.filter_map(|(on, step)| {
            on.filter(|_| !step.kills && step.deletes.is_none() && step.nodes.contains(&node))
        });
        steps.any(|(start, end)| start <= until && end >= from)
    }

    fn collect(&mut self) {
        let mut open: BTreeMap<(MemberId, QueueId), SessionId> = BTreeMap::new();
        let mut running: BTreeMap<(MemberId, Slot), VecDeque<usize>> = BTreeMap::new();
        let mut last_appended: Vec<u64> = vec![0; self.history.queues.len()];
        let mut lost_power: BTreeMap<NodeId, bool> = BTreeMap::new();
        let mut flushed: BTreeMap<NodeId, u64> = BTreeMap::new();
        // Nodes whose page cache nobody can trust until they have recovered: syncs fail, or (true) did.
        let mut unsure: BTreeMap<NodeId, bool> = BTreeMap::new();
        for (number, &Event { at_ns, node, kind }) in self.history.events.iter().enumerate() {
            match kind {
                Kind::Send { message } => self.sends[message.index()].invoked = Some(number),
                Kind::Sent { message, outcome, at } => {
                    let send = &mut self.sends[message.index()];
                    (send.returned, send.outcome, send.at) = (Some(number), Some(outcome), at);
                }
                Kind::Enter { member, slot, message, fit, times } => {
                    let session = open.get(&(member, slot.queue)).copied();
                    running.entry((member, slot)).or_default().push_back(self.deliveries.len());
                    self.deliveries.push(Delivery {
                        entered: number,
                        succeeded: None,
                        deferred: None,
                        member,
                        slot,
                        message,
                        fit,
                        times,
                        session,
                    });
                }
                Kind::Exit { member, slot, ok } => {
                    // A call of an ownership that ended may still be at work beside one of the next: who began first
                    // is taken for the first to end.
                    let entered = running.get_mut(&(member, slot)).and_then(VecDeque::pop_front);
                    if let Some(delivery) = entered.map(|index| &mut self.deliveries[index]) {
                        let end = if ok { &mut delivery.succeeded } else { &mut delivery.deferred };
                        *end = Some(number);
                    }
                }
                Kind::Down { how } => {
                    let of_disk = |end: &u64| if how == How::Disk { 0 } else { *end };
                    let flushed = flushed.get(&node).map_or(0, of_disk);
                    let (event, from_ns) = (number, at_ns);
                    let loses = matches!(how, How::Power | How::Disk) || unsure.contains_key(&node);
                    self.went_down(node, Outage { event, from_ns, until_ns: u64::MAX, how, loses, flushed });
                    if matches!(how, How::Power | How::Disk) {
                        lost_power.insert(node, true);
                    }
                    let history = self.history;
                    running.retain(|&(member, _), _| history.members[member.index()].node != node);
                    let ended =
                        open.extract_if(.., |&(member, _), _| history.members[member.index()].node == node);
                    for (_, session) in ended.collect::<Vec<_>>() {
                        let session = &mut self.sessions[session.index()];
                        (session.ended, session.crashed) = (Some(number), how != How::Stop);
                    }
                }
                Kind::Up => {
                    if let Some(outage) = self.outages.get_mut(node.index()).and_then(|list| list.last_mut())
                    {
                        outage.until_ns = at_ns;
                    }
                }
                Kind::Levels { set } => self.levels.entry(node).or_default().push((number, set)),
                Kind::StepOn { step } => {
                    self.steps[step as usize] = Some((at_ns, u64::MAX));
                    let step = &self.history.steps[step as usize];
                    unsure.extend(step.nodes.iter().filter(|_| step.loses).map(|node| (*node, false)));
                }
                Kind::StepOff { step } => {
                    let of = &self.history.steps[step as usize];
                    unsure.extend(of.nodes.iter().filter(|_| of.loses).map(|node| (*node, true)));
                    if let Some((_, end)) = &mut self.steps[step as usize] {
                        *end = at_ns;
                    }
                }
                Kind::Range { queue, min, .. } => {
                    let line = &mut self.lines[queue.index()];
                    line.begins = line.begins.max(min);
                }
                Kind::Flushed { end } => {
                    let known = flushed.entry(node).or_default();
                    *known = end.max(*known);
                }
                // A recovery has synced what it kept.
                Kind::Recovered { end } => {
                    flushed.insert(node, end);
                    if unsure.get(&node) == Some(&true) {
                        unsure.remove(&node);
                    }
                }
                Kind::TopicUnlisted { topic, broker } => self.unlisted.push((number, topic, broker)),
                Kind::Heal => self.heal = Some((number, at_ns)),
                Kind::Drained { rest } => self.drained = Some((number, at_ns, rest)),
                Kind::Append { slot, .. } => {
                    last_appended[slot.queue.index()] = slot.offset + 1;
                    let line = &mut self.lines[slot.queue.index()];
                    line.appended = line.appended.max(slot.offset + 1);
                }
                Kind::QueueRecovered { queue, min, max } => {
                    let line = &mut self.lines[queue.index()];
                    line.begins = line.begins.max(min);
                    let before = last_appended[queue.index()];
                    if max < before {
                        let power = lost_power.get(&node).copied().unwrap_or(false);
                        let rewind = Rewind { event: number, to: max, from: before, power };
                        line.rewinds.push(rewind);
                        last_appended[queue.index()] = max;
                    }
                }
                Kind::SessionStart { session, member, queue, offset } => {
                    assert_eq!(session.index(), self.sessions.len(), "sessions are numbered in order");
                    let started =
                        Session { member, queue, offset, started: number, ended: None, crashed: false };
                    self.sessions.push(started);
                    if let Some(old) = open.insert((member, queue), session) {
                        self.sessions[old.index()].ended.get_or_insert(number);
                    }
                }
                Kind::SessionEnd { session } => {
                    let Session { member, queue, .. } = self.sessions[session.index()];
                    self.sessions[session.index()].ended.get_or_insert(number);
                    if open.get(&(member, queue)) == Some(&session) {
                        open.remove(&(member, queue));
                    }
                }
                _ => {}
            }
        }
    }

    fn went_down(&mut self, node: NodeId, outage: Outage) {
        if self.outages.len() <= node.index() {
            self.outages.resize(node.index() + 1, Vec::new());
        }
        self.outages[node.index()].push(outage);
    }

    /// Time of an event.
    #[must_use]
    pub fn at(&self, event: usize) -> u64 {
        self.history.events[event].at_ns
    }

    /// Number of the last event.
    #[must_use]
    pub fn last(&self) -> usize {
        self.history.events.len().saturating_sub(1)
    }

    /// Times this node was down.
    #[must_use]
    pub fn outages_of(&self, node: NodeId) -> &[Outage] {
        self.outages.get(node.index()).map_or(&[], Vec::as_slice)
    }

    /// How long each delay level of a broker held a message at this event, ms.
    #[must_use]
    pub fn delays_ms(&self, broker: NodeId, event: usize) -> &[u64] {
        let changes = self.levels.get(&broker).map_or(&[][..], Vec::as_slice);
        let set = changes.iter().rfind(|(since, _)| *since <= event).map_or(0, |(_, set)| *set);
        self.history.delays_ms.get(set as usize).map_or(&[], Vec::as_slice)
    }

    /// How long a queue of the schedule topic held a message at this event, ms: one without a level as the last level.
    #[must_use]
    pub fn held_ms(&self, queue: QueueId, event: usize) -> u64 {
        let queue = self.history.queues[queue.index()];
        let delays = self.delays_ms(queue.broker, event);
        delays.get(queue.number as usize).or(delays.last()).copied().unwrap_or(0)
    }

    /// How long a broker holds a message for this level at the least, from one event to another, ms: it may have come
    /// when there were fewer levels, and its level may have become shorter meanwhile.
    #[must_use]
    pub fn least_delay_ms(&self, broker: NodeId, level: u32, from: usize, until: usize) -> u64 {
        self.all_delays_ms(broker, level, from, until).into_iter().min().unwrap_or(0)
    }

    /// The same at the most.
    #[must_use]
    pub fn most_delay_ms(&self, broker: NodeId, level: u32, from: usize, until: usize) -> u64 {
        self.all_delays_ms(broker, level, from, until).into_iter().max().unwrap_or(0)
    }

    fn all_delays_ms(&self, broker: NodeId, level: u32, from: usize, until: usize) -> Vec<u64> {
        let changes = self.levels.get(&broker).map_or(&[][..], Vec::as_slice);
        let between = changes.iter().map(|(event, _)| *event).filter(|event| (from..until).contains(event));
        let sets: Vec<_> =
            [from].into_iter().chain(between).map(|event| self.delays_ms(broker, event)).collect();
        let stored = sets.iter().map(|set| (level as usize).min(set.len()));
        let held = stored.flat_map(|level| {
            sets.iter().filter_map(move |set| set.get(level.min(set.len()).checked_sub(1)?).copied())
        });
        held.collect()
    }

    /// True when a fault has struck the node for good: it is outside of what must go on.
    #[must_use]
    pub fn outside(&self, node: NodeId) -> bool {
        let mut steps = self.steps.iter().zip(&self.history.steps);
        steps.any(|(on, step)| on.is_some() && step.stays && step.nodes.contains(&node))
    }

    /// True when two nodes cannot hear each other any more: a fault has struck one of them for good, or the way between them.
    #[must_use]
    pub fn parted(&self, a: NodeId, b: NodeId) -> bool {
        let lasting =
            self.steps.iter().zip(&self.history.steps).filter(|(on, step)| on.is_some() && step.stays);
        let mut struck = lasting.map(|(_, step)| &step.nodes);
        struck.any(|nodes| match &nodes[..] {
            [node] => [a, b].contains(node),
            nodes => nodes.contains(&a) && nodes.contains(&b),
        })
    }

    /// True when a fault other than a crash touched the node at some moment from `from` to `until`, or just before.
    #[must_use]
    pub fn disturbed(&self, node: NodeId, from: u64, until: u64) -> bool {
        let from = from.saturating_sub(AFTERMATH);
        let steps = self.steps.iter().zip(&self.history.steps);
        let mut steps =
            steps.filter_map(|(on, step)| on.filter(|_| !step.kills && step.nodes.contains(&node)));
        steps.any(|(start, end)| start <= until && end >= from)
    }

    /// True when the node could have been late at some moment from `from` to `until`: it stood still or ran slowly.
    #[must_use]
    pub fn slowed(&self, node: NodeId, from: u64, until: u64) -> bool {
        let steps = self.steps.iter().zip(&self.history.steps);
        let mut slow = steps.filter_map(|(on, step)| on.filter(|_| step.slows && step.nodes.contains(&node)));
        slow.any(|(start, end)| start <= until && end.saturating_add(AFTERMATH) >= from)
    }

    /// True when an operator had ordered the deletion of a topic on a broker before this event.
    #[must_use]
    pub fn deletion_ordered(&self, topic: TopicId, broker: NodeId, event: usize) -> bool {
        let mut steps = self.steps.iter().zip(&self.history.steps);
        steps.any(|(on, step)| {
            let begun = on.is_some_and(|(start, _)| start <= self.at(event));
            begun && step.deletes == Some(topic) && step.nodes.contains(&broker)
        })
    }

    /// True when what groups had committed in the queue was forgotten between these events, as its topic was to be deleted.
    #[must_use]
    pub fn offsets_forgotten(&self, queue: QueueId, from: usize, until: usize) -> bool {
        let queue = self.history.queues[queue.index()];
        self.unlisted
            .iter()
            .any(|(event, topic, broker)| (from..until).contains(event) && queue.is_of(*topic, *broker))
    }

    /// True when a tail of the queue that included this offset was lost by a recovery after that event.
    #[must_use]
    pub fn rewound(&self, slot: Slot, after: usize) -> bool {
        let rewinds = &self.lines[slot.queue.index()].rewinds;
        rewinds.iter().any(|rewind| rewind.to <= slot.offset && rewind.event > after)
    }

    /// True when a fault beyond what its broker promises struck it after this event: loss of its disk, or power loss or a
    /// failed sync without sync flush.
    #[must_use]
    pub fn excused(&self, queue: QueueId, after: usize) -> bool {
        let broker = self.history.queues[queue.index()].broker;
        let promised = self.history.sync_flush(queue);
        let beyond = |outage: &&Outage| outage.how == How::Disk || outage.loses && !promised;
        self.outages_of(broker).iter().any(|outage| outage.event > after && beyond(&outage))
    }

    /// True when a loss of power or a failed sync may have taken back what a broker stored at this event up to this position of its
    /// log. What was flushed before survives, whatever the broker promises; the death of a process takes nothing.
    #[must_use]
    pub fn may_be_lost(&self, broker: NodeId, event: usize, end: u64) -> bool {
        let mut outages = self.outages_of(broker).iter();
        outages.any(|outage| outage.loses && outage.event > event && outage.flushed < end)
    }

    /// By place: when a record was stored there, and up to where in the log; more than once where a tail was lost.
    #[must_use]
    pub fn appends(&self) -> BTreeMap<Slot, Vec<(usize, u64)>> {
        let mut appends: BTreeMap<Slot, Vec<(usize, u64)>> = BTreeMap::new();
        for (number, event) in self.history.events.iter().enumerate() {
            if let Kind::Append { slot, end, .. } = event.kind {
                appends.entry(slot).or_default().push((number, end));
            }
        }
        appends
    }

    /// When something was wrong: with one node, or with all.
    #[must_use]
    pub fn troubles(&self) -> Vec<Trouble> {
        let mut troubles = Vec::new();
        for (step, on) in self.history.steps.iter().zip(&self.steps) {
            if let Some((from_ns, until_ns)) = *on {
                let of = |node| Trouble { node, from_ns, until_ns, fills: step.fills };
                troubles.extend(step.nodes.iter().map(|node| of(Some(*node))));
                // One that is cut off from everybody, or an order of an operator, touches others too.
                troubles.extend(step.wide.then(|| of(None)));
            }
        }
        for (index, outages) in self.outages.iter().enumerate() {
            let node = Some(NodeId(index as u32));
            troubles.extend(outages.iter().map(|outage| Trouble {
                node,
                from_ns: outage.from_ns,
                until_ns: outage.until_ns,
                fills: false,
            }));
        }
        troubles
    }

    /// True when that power loss lies anywhere in the run.
    #[must_use]
    pub fn ever_excused(&self, queue: QueueId) -> bool {
        self.excused(queue, 0)
    }

    /// Where a queue begins in the end, as it says. Where room was made and its first entry rotted, it takes that one for
    /// one that leads to a message: what can be read tells then.
    #[must_use]
    pub fn begins(&self, content: &QueueContent) -> u64 {
        let read = content.read.first().map_or(content.max, |read| read.offset);
        let rots = self.rots(Slot { queue: content.queue, offset: content.min });
        if rots && self.fills(content.queue) { read } else { content.min }
    }

    /// True when the disk of a queue's broker was full.
    fn fills(&self, queue: QueueId) -> bool {
        let broker = self.history.queues[queue.index()].broker;
        self.history.steps.iter().any(|step| step.fills && step.nodes.contains(&broker))
    }

    /// True when this place was given up for want of space: the disk of its broker was full, and in the end its queue
    /// begins behind it. Of one that was deleted nobody knows where it began.
    #[must_use]
    pub fn made_room(&self, slot: Slot) -> bool {
        self.fills(slot.queue)
            && (slot.offset < self.lines[slot.queue.index()].begins || !self.history.lives(slot.queue))
    }

    /// True when bytes of this place rotted, in the log or in its queue: beyond what any broker promises.
    #[must_use]
    pub fn rots(&self, slot: Slot) -> bool {
        self.rotten.contains(&slot)
    }

    /// True when the page cache of a queue's broker may have forgotten what was not synced, though the process lives: a sync
    /// has failed, and nobody has started it again. Under sync flush nobody sees what was not synced.
    #[must_use]
    pub fn forgets(&self, queue: QueueId, at_ns: u64) -> bool {
        let broker = self.history.queues[queue.index()].broker;
        let mut steps = self.steps.iter().zip(&self.history.steps);
        let mut on = |(start, end): (u64, u64)| start <= at_ns && at_ns <= end;
        !self.history.sync_flush(queue)
            && steps
                .any(|(when, step)| step.loses && step.nodes.contains(&broker) && when.is_some_and(&mut on))
    }

    /// The end of a session in time; the end of the run when it still lives.
    #[must_use]
    pub fn session_end(&self, session: &Session) -> u64 {
        session.ended.map_or(u64::MAX, |event| self.at(event))
    }
}

/// A member that nothing holds up hears within this that a topic is gone.
const NOTICED: u64 = 10 * SECOND;
/// How long after a fault its consequences are still put down to it: a broken connection is noticed, dialled again,
/// and the client has said hello.
const AFTERMATH: u64 = 5 * SECOND;
