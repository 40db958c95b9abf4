//! TXN-1 to TXN-6: transactions end once, as their producers decided, and those who do not know are asked.
//!
//! What a broker stored is judged by the log: the death of a process takes nothing back, and a loss of power only what
//! was not flushed. So each rule holds in full but for the one record that may be gone.

use std::collections::{BTreeMap, BTreeSet};

use super::{Judged, Rule, SECOND, View, seconds, witness};
use crate::history::{HALF, HalfId, How, Kind, MessageId, NodeId, Outcome, Slot};

pub(super) fn check(view: &View<'_>, judged: &mut Judged) {
    if view.history.halves.is_empty() && !view.history.untapped {
        return;
    }
    let ends = Ends::collect(view);
    hidden(view, &ends, judged);
    final_decision(view, &ends, judged);
    copies(view, &ends, judged);
    let groups = Groups::collect(view);
    fulfilled(view, &ends, &groups, judged);
    asked(view, judged);
    answered(view, judged);
    let open = passed(view, &ends, judged);
    groups.judge(view, &open, judged);
}

/// How a half message came to an end, and up to where in the log that is told.
#[derive(Clone, Copy)]
struct End {
    event: usize,
    /// None: given up, after so many checks.
    commit: Option<bool>,
    checks: u32,
    end: u64,
}

/// How transactions ended.
struct Ends {
    /// First event with which a producer said commit.
    committed: BTreeMap<MessageId, usize>,
    /// Commits that a broker answered to have taken.
    taken: BTreeSet<MessageId>,
    /// Rollbacks that a broker answered to have taken.
    refused: BTreeSet<MessageId>,
    /// First event with which a producer said anything but "unknown".
    said: BTreeMap<MessageId, usize>,
    /// When each half message was stored, and up to where in the log.
    stored: BTreeMap<HalfId, (usize, u64)>,
    /// Ends of each half message, in order.
    all: BTreeMap<HalfId, Vec<End>>,
    halves: BTreeMap<MessageId, Vec<HalfId>>,
}

impl Ends {
    fn collect(view: &View<'_>) -> Self {
        let history = view.history;
        let mut ends = Self {
            committed: BTreeMap::new(),
            taken: BTreeSet::new(),
            refused: BTreeSet::new(),
            said: BTreeMap::new(),
            stored: BTreeMap::new(),
            all: BTreeMap::new(),
            halves: BTreeMap::new(),
        };
        for (index, half) in history.halves.iter().enumerate() {
            if let Some(message) = half.message {
                ends.halves.entry(message).or_default().push(HalfId(index as u32));
            }
        }
        for (event, told) in history.events.iter().enumerate() {
            let said = match told.kind {
                Kind::Decided { message, commit } => commit.map(|commit| (message, commit)),
                Kind::Asked { half, commit } => history.halves[half.index()].message.zip(commit),
                _ => None,
            };
            if let Some((message, commit)) = said {
                ends.said.entry(message).or_insert(event);
                if commit {
                    ends.committed.entry(message).or_insert(event);
                }
            }
            let (half, commit, checks, end) = match told.kind {
                Kind::Ended { message, commit: true } => {
                    ends.taken.insert(message);
                    continue;
                }
                Kind::Ended { message, commit: false } => {
                    ends.refused.insert(message);
                    continue;
                }
                Kind::HalfStored { half, end, .. } => {
                    ends.stored.entry(half).or_insert((event, end));
                    continue;
                }
                Kind::HalfEnded { half, commit, end, .. } => (half, Some(commit), 0, end),
                Kind::HalfGivenUp { half, checks, end } => (half, None, checks, end),
                _ => continue,
            };
            ends.all.entry(half).or_default().push(End { event, commit, checks, end });
        }
        ends
    }

    fn of(&self, half: HalfId) -> &[End] {
        self.all.get(&half).map_or(&[], Vec::as_slice)
    }

    /// True when a loss of power may have taken the half message back.
    fn half_may_be_lost(&self, view: &View<'_>, half: HalfId) -> bool {
        let broker = view.history.halves[half.index()].broker;
        self.stored.get(&half).is_none_or(|(event, end)| view.may_be_lost(broker, *event, *end))
    }
}

/// True when a loss of power may have taken this end back: the half message is undecided again then.
fn may_be_undone(view: &View<'_>, half: HalfId, end: &End) -> bool {
    view.may_be_lost(view.history.halves[half.index()].broker, end.event, end.end)
}

/// Where and when transactional messages were seen in their topics; the audit comes last.
fn seen<'a>(view: &'a View<'_>) -> impl Iterator<Item = (MessageId, Slot, usize)> + 'a {
    let history = view.history;
    let delivered = view.deliveries.iter().filter_map(|it| Some((it.message?, it.slot, it.entered)));
    let read = view.audit.queues.iter().flat_map(|content| {
        let slot = |offset| Slot { queue: content.queue, offset };
        content.read.iter().filter_map(move |read| Some((read.message?, slot(read.offset), usize::MAX)))
    });
    delivered.chain(read).filter(|(message, slot, _)| {
        let message = history.messages[message.index()];
        message.transactional && message.topic == history.queues[slot.queue.index()].topic
    })
}

/// TXN-1: nobody sees a message before its producer said commit.
fn hidden(view: &View<'_>, ends: &Ends, judged: &mut Judged) {
    for (message, slot, event) in seen(view) {
        judged.count(Rule::Txn1, 1);
        // Whoever said commit after that is told of by TXN-2.
        if ends.refused.contains(&message)
            || ends.committed.get(&message).is_some_and(|committed| *committed < event)
        {
            continue;
        }
        let event = event.min(view.last());
        let sentence = format!(
            "Message {} was seen at {} at {}, before any commit of it.",
            view.history.message_name(message),
            view.history.slot_name(slot),
            seconds(view.at(event))
        );
        let told = witness(view.history, Some(message), slot.queue, slot.offset);
        judged.broken(view, Rule::Txn1, event, told, sentence);
    }
}

/// TXN-2: one decision for each half message, and after a rollback nothing is seen.
fn final_decision(view: &View<'_>, ends: &Ends, judged: &mut Judged) {
    let history = view.history;
    let mut rolled_back: BTreeSet<MessageId> = BTreeSet::new();
    for (message, halves) in &ends.halves {
        let decided = |half: &HalfId| ends.of(*half).iter().filter(|end| end.commit.is_some());
        for half in halves {
            judged.count(Rule::Txn2, decided(half).count() as u64);
            // A decision that a crash cut off is found at the next start: the same once more is no change.
            let mut binding = decided(half).filter(|end| !may_be_undone(view, *half, end));
            let Some(first) = binding.next() else { continue };
            let later = decided(half).find(|end| end.event > first.event && end.commit != first.commit);
            if let Some(End { event, .. }) = later {
                let sentence =
                    format!("{} was ended one way, and then the other way.", history.half_name(*half));
                judged.broken(view, Rule::Txn2, *event, history.half_name(*half), sentence);
            }
        }
        let mut all = halves.iter().flat_map(decided);
        let sure = halves.iter().any(|half| {
            decided(half).any(|end| end.commit == Some(false) && !may_be_undone(view, *half, end))
        });
        if sure && all.all(|end| end.commit == Some(false)) {
            rolled_back.insert(*message);
        }
    }
    // Where no taps tell, what a broker answered is its first decision: producers say nothing else before they have it.
    let refused = ends.refused.difference(&ends.taken);
    judged.count(Rule::Txn2, refused.clone().count() as u64);
    rolled_back.extend(refused);
    for (message, slot, event) in seen(view).filter(|(message, ..)| rolled_back.contains(message)) {
        let event = event.min(view.last());
        let sentence = format!(
            "Message {} was rolled back and was seen at {}.",
            history.message_name(message),
            history.slot_name(slot)
        );
        let told = witness(history, Some(message), slot.queue, slot.offset);
        judged.broken(view, Rule::Txn2, event, told, sentence);
    }
}

/// TXN-3: one copy of each half message. A commit and its record are one append here: a crash of the process parts them
/// never, and what a loss of power parts is mended before anything else is stored. The reference's allowance for such
/// crashes is not needed.
fn copies(view: &View<'_>, ends: &Ends, judged: &mut Judged) {
    let history = view.history;
    let mut copies: BTreeMap<MessageId, Vec<Slot>> = BTreeMap::new();
    for (message, slot, event) in seen(view) {
        if event == usize::MAX {
            copies.entry(message).or_default().push(slot);
        }
    }
    for (message, slots) in copies {
        judged.count(Rule::Txn3, 1);
        let halves = ends.halves.get(&message).map_or(0, Vec::len);
        if slots.len() > halves.max(1) {
            let slot = slots[slots.len() - 1];
            let sentence = format!(
                "Transactional message {} has {} copies, last at {}.",
                history.message_name(message),
                slots.len(),
                history.slot_name(slot)
            );
            let told = witness(history, Some(message), slot.queue, slot.offset);
            judged.broken(view, Rule::Txn3, view.last(), told, sentence);
        }
    }
}

/// TXN-4: a commit is fulfilled, and who never knows is given up after the last check, once.
fn fulfilled(view: &View<'_>, ends: &Ends, groups: &Groups, judged: &mut Judged) {
    let history = view.history;
    let visible: BTreeSet<MessageId> = seen(view).map(|(message, ..)| message).collect();
    for (half, all) in &ends.all {
        let given_up: Vec<_> = all.iter().filter(|end| end.commit.is_none()).collect();
        judged.count(Rule::Txn4, given_up.len() as u64);
        let early = given_up.iter().find(|end| end.checks != history.checks.most);
        let binding = given_up.iter().position(|end| !may_be_undone(view, *half, end));
        let again = binding.and_then(|first| given_up.get(first + 1));
        let wrong = match (early, again) {
            (Some(end), _) => {
                Some((end.event, format!("after {} checks; {} are due", end.checks, history.checks.most)))
            }
            (None, Some(end)) => Some((end.event, format!("{} times", given_up.len()))),
            (None, None) => None,
        };
        if let Some((event, wrong)) = wrong {
            let sentence = format!("{} was given up {wrong}.", history.half_name(*half));
            judged.broken(view, Rule::Txn4, event, history.half_name(*half), sentence);
        }
    }
    let settled = view.drained.is_some_and(|(_, _, rest)| rest == 0);
    for (message, committed) in &ends.committed {
        let halves = ends.halves.get(message).map_or(&[][..], Vec::as_slice);
        // Only what was acknowledged as a half message binds the broker.
        let bound = view.sends[message.index()].outcome == Some(Outcome::Ok) && !halves.is_empty();
        let all = halves.iter().flat_map(|half| ends.of(*half).iter().map(move |end| (half, end)));
        let (mut accepted, mut given_up) = (ends.taken.contains(message), false);
        for (half, end) in all {
            accepted |= end.commit == Some(true) && !may_be_undone(view, *half, end);
            given_up |= end.commit.is_none();
        }
        let lost = halves.iter().any(|half| ends.half_may_be_lost(view, *half));
        let asked = settled && halves.iter().all(|half| groups.lives(view, *half));
        // Once the commit is accepted nobody needs to be asked.
        let due = accepted && view.drained.is_some() || bound && asked && !given_up && !lost;
        if !due {
            continue;
        }
        judged.count(Rule::Txn4, 1);
        let gone = halves.iter().any(|half| made_room(view, *half));
        if !visible.contains(message) && !gone {
            let sentence = format!(
                "Transaction {} was committed by its producer at {}, and the message is nowhere.",
                history.message_name(*message),
                seconds(view.at(*committed))
            );
            judged.broken(view, Rule::Txn4, *committed, history.message_name(*message), sentence);
        }
    }
}

/// True when the broker of a half message had no space: what is old goes first then.
fn made_room(view: &View<'_>, half: HalfId) -> bool {
    let broker = view.history.halves[half.index()].broker;
    view.history.steps.iter().any(|step| step.fills && step.nodes.contains(&broker))
}

/// When the producers of each group were there.
struct Groups {
    /// By group: events with which its first producer came, or (true) its last one went.
    changes: BTreeMap<u32, Vec<(usize, bool)>>,
    /// By group: events with which one of them lost its power, and told nobody.
    silent: BTreeMap<u32, Vec<usize>>,
}

impl Groups {
    fn collect(view: &View<'_>) -> Self {
        let history = view.history;
        let mut up: BTreeMap<u32, BTreeSet<NodeId>> = BTreeMap::new();
        for writer in &history.producers {
            up.entry(writer.group).or_default().insert(writer.node);
        }
        let mut changes: BTreeMap<u32, Vec<_>> = up.keys().map(|group| (*group, Vec::new())).collect();
        let mut silent: BTreeMap<u32, Vec<usize>> = BTreeMap::new();
        for (number, event) in history.events.iter().enumerate() {
            let how = match event.kind {
                Kind::Down { how } => Some(how),
                Kind::Up => None,
                _ => continue,
            };
            let Some(writer) = history.producers.iter().find(|writer| writer.node == event.node) else {
                continue;
            };
            if how == Some(How::Power) {
                silent.entry(writer.group).or_default().push(number);
            }
            let there = up.get_mut(&writer.group).expect("all groups are in it");
            let before = there.len();
            if how.is_some() {
                there.remove(&event.node);
            } else {
                there.insert(event.node);
            }
            if (before == 0) != there.is_empty() {
                changes.get_mut(&writer.group).expect("all groups are in it").push((number, how.is_some()));
            }
        }
        Self { changes, silent }
    }

    /// Whether a producer of the half message's group lost its power before an event, and a broker may not know yet.
    fn silent(&self, view: &View<'_>, half: HalfId, event: usize) -> bool {
        let silent = view.history.producer_group(half).and_then(|group| self.silent.get(&group));
        silent.into_iter().flatten().any(|it| *it < event && view.at(event) <= view.at(*it) + EXPIRED)
    }

    /// The last change of a half message's group before an event: which, and whether the last producer went.
    fn before(&self, view: &View<'_>, half: HalfId, event: usize) -> Option<(usize, bool)> {
        let changes = self.changes.get(&view.history.producer_group(half)?)?;
        changes[..changes.partition_point(|(at, _)| *at < event)].last().copied()
    }

    /// True when somebody who can tell the outcome is there when the drain ends.
    fn lives(&self, view: &View<'_>, half: HalfId) -> bool {
        let end = view.drained.map_or(view.last(), |(event, ..)| event);
        self.before(view, half, end).is_none_or(|(_, gone)| !gone)
    }

    /// TXN-4: nothing is counted or stored anew for those whose producers are all gone, and the others do not wait for
    /// them. TXN-5: who is asked belongs to the group.
    fn judge(&self, view: &View<'_>, open: &BTreeSet<HalfId>, judged: &mut Judged) {
        let history = view.history;
        for (number, event) in history.events.iter().enumerate() {
            match event.kind {
                Kind::HalfPutBack { half, .. } => {
                    judged.count(Rule::Txn4, 1);
                    let Some((gone, true)) = self.before(view, half, number) else { continue };
                    let gone_ns = view.at(gone);
                    // Faults may keep the end of a connection back: of one that was given up while they lasted as well,
                    // whose end is sent again and again, more and more seldom.
                    let since = gone_ns.saturating_sub(HELD_BACK);
                    let late = view.disturbed(event.node, since, event.at_ns);
                    let over = event.at_ns > gone_ns + if late { EXPIRED } else { NOTICED };
                    // Who stands still for longer than that hears of all of it at once.
                    let over = over && !view.slowed(event.node, event.at_ns, event.at_ns);
                    if over && !self.silent(view, half, number) {
                        let sentence = format!(
                            "A check of {} was counted at {}; its last producer had been gone since {}.",
                            history.half_name(half),
                            seconds(event.at_ns),
                            seconds(gone_ns)
                        );
                        judged.broken(view, Rule::Txn4, number, history.half_name(half), sentence);
                    }
                }
                Kind::Asked { half, .. } => {
                    let asked = history.producers.iter().find(|writer| writer.node == event.node);
                    let Some((asked, group)) = asked.zip(history.producer_group(half)) else { continue };
                    judged.count(Rule::Txn5, 1);
                    if asked.group != group {
                        let sentence = format!(
                            "{} was asked about {}, which is of another group.",
                            history.node_name(event.node),
                            history.half_name(half)
                        );
                        judged.broken(view, Rule::Txn5, number, history.half_name(half), sentence);
                    }
                }
                _ => {}
            }
        }
        self.in_budget(view, open, judged);
    }

    /// TXN-4: what is undecided when the drain ends had not had its checks yet.
    fn in_budget(&self, view: &View<'_>, open: &BTreeSet<HalfId>, judged: &mut Judged) {
        let history = view.history;
        let (Some((event, drained_ns, _)), Some((_, healed_ns))) = (view.drained, view.heal) else { return };
        let mut since: BTreeMap<HalfId, (u64, u64)> = BTreeMap::new();
        for event in &history.events[..event] {
            if let Kind::HalfStored { half, immunity_ms, .. } = event.kind {
                since.insert(half, (event.at_ns, immunity_ms * MS));
            }
        }
        for half in open.iter().filter(|half| self.lives(view, **half) && !made_room(view, **half)) {
            let Some(&(stored_ns, immunity_ns)) = since.get(half) else { continue };
            judged.count(Rule::Txn4, 1);
            let broker = history.halves[half.index()].broker;
            let up =
                view.outages_of(broker).iter().map(|outage| outage.until_ns).filter(|at| *at < drained_ns);
            let came = self.before(view, *half, event).map_or(0, |(event, _)| view.at(event));
            let from = up.chain([stored_ns, healed_ns, came]).max().unwrap_or(0);
            let checks = u64::from(history.checks.most) + 1;
            let group = history.producer_group(*half);
            let by_client = history.producers.iter().any(|it| Some(it.group) == group && it.checks > 0);
            let settled = if by_client { CLIENT_SETTLED } else { SETTLED };
            let budget = immunity_ns + checks * (history.checks.interval_ms * MS + TICK) + settled;
            if drained_ns > from + budget {
                let sentence = format!(
                    "{} was stored at {} and is undecided at {}, past all its checks.",
                    history.half_name(*half),
                    seconds(stored_ns),
                    seconds(drained_ns)
                );
                judged.broken(view, Rule::Txn4, event, history.half_name(*half), sentence);
            }
        }
    }
}

/// What is known of the checks of a half message.
#[derive(Clone)]
struct Checked {
    stored: u64,
    immunity_ns: u64,
    /// Up to where in the log it is told.
    end: u64,
    /// When it was last asked about, and with which number.
    last: Option<(u64, u32)>,
    /// Counts, and up to where in the log each is told.
    counts: Vec<(u64, u32)>,
    /// The lowest count that a loss of power may have left.
    floor: u32,
    /// A loss of power took the last count: its broker cannot know when it asked.
    forgotten: bool,
    /// Up to where in the log its end is told.
    ended: Option<u64>,
}

impl Checked {
    /// A loss of power took back what was not flushed; false when that may be all of it.
    fn lose(&mut self, flushed: u64) -> bool {
        self.counts.retain(|(end, _)| *end <= flushed);
        let left = self.counts.last().map_or(0, |(_, checks)| *checks);
        self.floor = self.floor.min(left);
        self.forgotten |= self.last.is_some_and(|(_, checks)| left < checks);
        // The check itself may be known to its producer and to nobody else.
        self.ended = self.ended.filter(|end| *end <= flushed);
        self.end <= flushed
    }
}

/// TXN-5: when and how often producers are asked.
fn asked(view: &View<'_>, judged: &mut Judged) {
    let history = view.history;
    let mut known: BTreeMap<HalfId, Checked> = BTreeMap::new();
    for (number, event) in history.events.iter().enumerate() {
        let (half, checks) = match event.kind {
            Kind::HalfStored { half, immunity_ms, end, .. } => {
                // What its producer asked for counts, and what the broker grants when it asked for nothing.
                let asked_ms = history.halves[half.index()].message.and_then(|it| history.immune_ms.get(&it));
                let (stored, immunity_ns) = (event.at_ns, asked_ms.copied().unwrap_or(immunity_ms) * MS);
                let (last, counts, floor, forgotten, ended) = (None, Vec::new(), u32::MAX, false, None);
                known.insert(
                    half,
                    Checked { stored, immunity_ns, end, last, counts, floor, forgotten, ended },
                );
                continue;
            }
            Kind::HalfPutBack { half, end, checks, .. } => {
                known.entry(half).and_modify(|checked| checked.counts.push((end, checks)));
                continue;
            }
            Kind::HalfEnded { half, end, .. } | Kind::HalfGivenUp { half, end, .. } => {
                known.entry(half).and_modify(|checked| checked.ended = Some(end));
                continue;
            }
            Kind::Down { .. } => {
                let outage = view.outages_of(event.node).iter().find(|outage| outage.event == number);
                if let Some(outage) = outage.filter(|outage| outage.loses) {
                    known.retain(|half, checked| {
                        history.halves[half.index()].broker != event.node || checked.lose(outage.flushed)
                    });
                }
                continue;
            }
            Kind::HalfChecked { half, checks } => (half, checks),
            _ => continue,
        };
        let Some(checked) = known.get_mut(&half) else { continue };
        judged.count(Rule::Txn5, 1);
        let broker = history.halves[half.index()].broker;
        let restarted = |since: u64| view.outages_of(broker).iter().any(|outage| outage.from_ns >= since);
        let wrong = if checked.ended.is_some() {
            Some("after its end".to_owned())
        } else if event.at_ns + ROUNDING < checked.stored + checked.immunity_ns {
            Some(format!(
                "{} after it was stored; it may be asked from {} on",
                seconds(event.at_ns - checked.stored),
                seconds(checked.immunity_ns)
            ))
        } else if checks > history.checks.most {
            Some(format!("{checks} times; {} are the most", history.checks.most))
        } else {
            checked.last.and_then(|(at, before)| {
                // A start does not know whether the last one went out and sends it once more.
                let lowest = if restarted(at) { before.min(checked.floor) } else { before + 1 };
                if !(lowest..=before + 1).contains(&checks) {
                    Some(format!("as number {checks} after number {before}"))
                } else if !checked.forgotten && event.at_ns + ROUNDING < at + history.checks.interval_ms * MS
                {
                    Some(format!(
                        "again {} later; {} must be between",
                        seconds(event.at_ns - at),
                        seconds(history.checks.interval_ms * MS)
                    ))
                } else {
                    None
                }
            })
        };
        if let Some(wrong) = wrong {
            let sentence = format!("A producer was asked about {} {wrong}.", history.half_name(half));
            judged.broken(view, Rule::Txn5, number, history.half_name(half), sentence);
        }
        checked.last = Some((event.at_ns, checks));
        checked.floor = u32::MAX;
        checked.forgotten = false;
    }
}

/// The checks of a client's own producer.
#[derive(Default)]
struct Desk {
    waiting: Vec<HalfId>,
    /// Listeners that look.
    busy: u32,
    /// Event since which one waits though a listener is free.
    idle: Option<usize>,
}

/// TXN-4: a check that came to a producer waits while its listeners are busy, and for nothing else.
fn answered(view: &View<'_>, judged: &mut Judged) {
    let history = view.history;
    let listeners: BTreeMap<NodeId, u32> =
        history.producers.iter().filter(|it| it.checks > 0).map(|it| (it.node, it.checks)).collect();
    if listeners.is_empty() {
        return;
    }
    let mut desks: BTreeMap<NodeId, Desk> = BTreeMap::new();
    let mut forgotten = |node: NodeId, desk: &mut Desk, until: u64| {
        let Some(since) = desk.idle.take() else { return };
        let from = view.at(since);
        if until > from + TURN && !view.slowed(node, from, until) {
            let (name, half) = (history.node_name(node), history.half_name(desk.waiting[0]));
            let sentence = format!(
                "A check of {half} came to {name}, which looked at nothing from {} to {}.",
                seconds(from),
                seconds(until)
            );
            judged.broken(view, Rule::Txn4, since, half, sentence);
        }
    };
    let mut came = 0;
    for (number, event) in history.events.iter().enumerate() {
        let Some(most) = listeners.get(&event.node) else { continue };
        let desk = desks.entry(event.node).or_default();
        match event.kind {
            Kind::CheckCame { half } => {
                came += 1;
                desk.waiting.push(half);
            }
            Kind::Asking { half } => {
                forgotten(event.node, desk, event.at_ns);
                let place = desk.waiting.iter().position(|waits| *waits == half);
                place.map(|place| desk.waiting.remove(place));
                desk.busy += 1;
            }
            Kind::Asked { .. } => desk.busy = desk.busy.saturating_sub(1),
            Kind::Down { .. } => {
                forgotten(event.node, desk, event.at_ns);
                *desk = Desk::default();
            }
            _ => continue,
        }
        let idle = !desk.waiting.is_empty() && desk.busy < *most;
        desk.idle = idle.then(|| desk.idle.unwrap_or(number));
    }
    desks.iter_mut().for_each(|(node, desk)| forgotten(*node, desk, view.at(view.last())));
    judged.count(Rule::Txn4, came);
}

/// What stands where in the half queues.
#[derive(Default)]
struct Queue {
    /// Undecided half messages by the offset they have now.
    open: BTreeMap<(NodeId, u64), HalfId>,
    /// Half messages that have an end or a newer copy, by the offset that is done with once that is flushed.
    closing: BTreeMap<(NodeId, u64), (HalfId, u64)>,
    /// Checks counted of each.
    checks: BTreeMap<HalfId, u32>,
    /// What a broker that starts has found.
    found: BTreeMap<NodeId, BTreeMap<HalfId, u64>>,
}

impl Queue {
    /// What was at these offsets has an end now, or a newer copy, up to a position of the log.
    fn close(&mut self, node: NodeId, half: HalfId, end: u64) {
        let places = self.open.extract_if(.., |(of, _), open| *of == node && *open == half);
        let places: Vec<_> = places.map(|(place, _)| place).collect();
        self.closing.extend(places.into_iter().map(|place| (place, (half, end))));
        if let Some(found) = self.found.get_mut(&node) {
            found.remove(&half);
        }
    }

    fn of(&self, node: NodeId) -> impl Iterator<Item = (u64, HalfId)> {
        self.open.range((node, 0)..=(node, u64::MAX)).map(|((_, offset), half)| (*offset, *half))
    }
}

/// TXN-6: what is passed is decided, or has a copy that is as safe; what is undecided when a broker goes down is so when
/// it starts. Gives the half messages that nobody ended.
fn passed(view: &View<'_>, ends: &Ends, judged: &mut Judged) -> BTreeSet<HalfId> {
    let history = view.history;
    let mut queue = Queue::default();
    let mut flushed: BTreeMap<NodeId, u64> = BTreeMap::new();
    let end = view.drained.map_or(usize::MAX, |(event, ..)| event);
    for (number, event) in history.events.iter().enumerate().take_while(|(number, _)| *number <= end) {
        let node = event.node;
        match event.kind {
            Kind::HalfStored { half, offset, .. } => drop(queue.open.insert((node, offset), half)),
            Kind::HalfPutBack { half, offset, end, checks, .. } => {
                queue.close(node, half, end);
                queue.open.insert((node, offset), half);
                queue.checks.insert(half, checks);
            }
            Kind::HalfEnded { half, end, .. } | Kind::HalfGivenUp { half, end, .. } => {
                queue.close(node, half, end);
            }
            Kind::Flushed { end } => {
                let known = flushed.entry(node).or_default();
                *known = end.max(*known);
            }
            Kind::Recovered { end } => drop(flushed.insert(node, end)),
            Kind::HalfLoaded { half, offset, checks } => {
                queue.found.entry(node).or_default().insert(half, offset);
                queue.checks.insert(half, checks);
            }
            Kind::HalvesLoaded => loaded(view, ends, &mut queue, (number, node), judged),
            Kind::Down { .. } => drop(queue.found.remove(&node)),
            Kind::HalfOffset { offset } => {
                judged.count(Rule::Txn6, 1);
                let flushed = flushed.get(&node).copied().unwrap_or(0);
                queue.closing.retain(|(of, _), (_, end)| *of != node || *end > flushed);
                let below = (node, 0)..(node, offset);
                let undecided = queue.open.range(below.clone()).map(|(at, half)| (at.1, *half)).next();
                // As safe as the half message itself: that may be lost as well while it is not flushed.
                let safe = |half: &HalfId| ends.stored.get(half).is_some_and(|(_, end)| *end <= flushed);
                let mut closing = queue.closing.range(below).map(|(at, (half, _))| (at.1, *half));
                let Some((at, half)) = undecided.or_else(|| closing.find(|(_, half)| safe(half))) else {
                    continue;
                };
                let sentence = format!(
                    "Halves below {offset} count as done at {}, but {} at {at} has no end and no newer copy that is as safe.",
                    seconds(event.at_ns),
                    history.half_name(half)
                );
                judged.broken(view, Rule::Txn6, number, history.half_name(half), sentence);
                queue.open.retain(|(of, at), _| *of != node || *at >= offset);
                queue.closing.retain(|(of, at), _| *of != node || *at >= offset);
            }
            _ => {}
        }
    }
    queue.open.into_values().collect()
}

/// A broker has read its queues: what it does not know any more had an end that it could not tell, or was lost.
fn loaded(
    view: &View<'_>,
    ends: &Ends,
    queue: &mut Queue,
    (number, node): (usize, NodeId),
    judged: &mut Judged,
) {
    let history = view.history;
    let found = queue.found.remove(&node).unwrap_or_default();
    let rots = |offset: u64| {
        view.rotten.iter().any(|slot| {
            let facts = history.queues[slot.queue.index()];
            facts.broker == node && slot.offset == offset && history.topic_name(facts.topic) == HALF
        })
    };
    for (offset, half) in queue.of(node).filter(|(_, half)| !found.contains_key(half)) {
        judged.count(Rule::Txn6, 1);
        let message = history.halves[half.index()].message;
        let said = message.and_then(|message| ends.said.get(&message)).is_some_and(|said| *said < number);
        let all_checked = queue.checks.get(&half).is_some_and(|checks| *checks >= history.checks.most);
        let lost = ends.half_may_be_lost(view, half) || made_room(view, half) || rots(offset);
        if said || all_checked || lost {
            continue;
        }
        let sentence = format!(
            "{} was undecided when {} went down; nobody ended it, and after the start it is not known.",
            history.half_name(half),
            history.node_name(node)
        );
        judged.broken(view, Rule::Txn6, number, history.half_name(half), sentence);
    }
    queue.open.retain(|(of, _), _| *of != node);
    queue.closing.retain(|(of, _), _| *of != node);
    queue.open.extend(found.into_iter().map(|(half, offset)| ((node, offset), half)));
}

const MS: u64 = 1_000_000;
/// Times are told in whole milliseconds.
const ROUNDING: u64 = 2 * MS;
/// How long a broker may take to notice that a connection was closed ...
const NOTICED: u64 = 10 * SECOND;
/// ... and when nothing closed it.
const EXPIRED: u64 = 135 * SECOND;
/// So long after a fault the end of a connection may still be on its way.
const HELD_BACK: u64 = 60 * SECOND;
/// Brokers look so often for what is due, and a moment.
const TICK: u64 = 2 * SECOND;
/// Producers say hello every 10 s, and a call to a broker that is gone takes 3 s.
const SETTLED: u64 = 30 * SECOND;
/// The client's own ask for routes every 30 s, and say hello as often.
const CLIENT_SETTLED: u64 = 75 * SECOND;
/// A listener that is free takes what waits at once.
const TURN: u64 = SECOND;

#[cfg(test)]
mod tests {
    use super::super::script::{END_AT, Expect, Script, run};
    use crate::history::{How, Outcome};

    fn acknowledged(s: &mut Script, message: &str, offset: u64) -> crate::history::HalfId {
        let half = s.half(message, offset);
        s.returned(message, Outcome::Ok, None);
        half
    }

    #[test]
    fn nothing_is_seen_before_its_commit() {
        run("TXN-1", Expect::Broken, "delivered while undecided", |s: &mut Script| {
            s.half("a", 0);
            s.deliver("c0", "q", 0, "a");
        });
        run("TXN-1", Expect::Broken, "readable though nobody ever committed", |s| {
            let half = s.half("a", 0);
            s.decided("a", Some(false));
            s.ended(half, false);
            s.holds("q", &["a"]);
        });
        run("TXN-1", Expect::Kept, "delivered after its commit", |s| {
            let half = s.half("a", 0);
            s.decided("a", Some(true));
            s.ended(half, true);
            s.deliver("c0", "q", 0, "a");
            s.holds("q", &["a"]);
        });
        run("TXN-1", Expect::Kept, "seen before the broker had told of the end", |s| {
            let half = s.half("a", 0);
            s.decided("a", Some(true));
            s.deliver("c0", "q", 0, "a");
            s.ended(half, true);
        });
    }

    #[test]
    fn the_first_decision_wins() {
        run("TXN-2", Expect::Broken, "rolled back after its commit", |s: &mut Script| {
            let half = s.half("a", 0);
            s.decided("a", Some(true));
            s.ended(half, true);
            s.ended(half, false);
        });
        run("TXN-2", Expect::Broken, "delivered after its rollback", |s| {
            let half = s.half("a", 0);
            s.decided("a", Some(false));
            s.ended(half, false);
            s.deliver("c0", "q", 0, "a");
        });
        run("TXN-2", Expect::Kept, "a commit found once more at start", |s| {
            let half = s.half("a", 0);
            s.decided("a", Some(true));
            s.ended(half, true);
            s.crash("b0", How::Process);
            s.ended(half, true);
            s.deliver("c0", "q", 0, "a");
        });
        run("TXN-2", Expect::Broken, "delivered after a rollback that no loss of power took", |s| {
            let half = s.half("a", 0);
            s.decided("a", Some(false));
            s.ended(half, false);
            s.flushed("b0", END_AT);
            s.crash("b0", How::Power);
            s.deliver("c0", "q", 0, "a");
        });
        run("TXN-2", Expect::Broken, "another end, and only a process had died", |s| {
            let half = s.half("a", 0);
            s.ended(half, false);
            s.crash("b0", How::Process);
            s.ended(half, true);
        });
        run("TXN-2", Expect::Kept, "the rollback was lost with the power before it was flushed", |s| {
            let half = s.half("a", 0);
            s.decided("a", Some(false));
            s.ended(half, false);
            s.flushed("b0", END_AT - 1);
            s.crash("b0", How::Power);
            s.decided("a", Some(true));
            s.ended(half, true);
            s.deliver("c0", "q", 0, "a");
        });
        run("TXN-2", Expect::Kept, "rolled back and gone", |s| {
            let half = s.half("a", 0);
            s.decided("a", Some(false));
            s.ended(half, false);
            s.holds("q", &[]);
        });
    }

    #[test]
    fn a_commit_makes_one_copy() {
        run("TXN-3", Expect::Broken, "two copies", |s: &mut Script| {
            let half = s.half("a", 0);
            s.decided("a", Some(true));
            s.ended(half, true);
            s.holds("q", &["a", "a"]);
        });
        run("TXN-3", Expect::Broken, "two copies because of a crash", |s| {
            let half = s.half("a", 0);
            s.decided("a", Some(true));
            s.crash("b0", How::Process);
            s.ended(half, true);
            s.holds("q", &["a", "a"]);
        });
        run("TXN-3", Expect::Broken, "two copies because of a loss of power", |s| {
            let half = s.half("a", 0);
            s.decided("a", Some(true));
            s.ended(half, true);
            s.crash("b0", How::Power);
            s.ended(half, true);
            s.holds("q", &["a", "a"]);
        });
        run("TXN-3", Expect::Kept, "the first was lost with the power", |s| {
            let half = s.half("a", 0);
            s.decided("a", Some(true));
            s.ended(half, true);
            s.deliver("c0", "q", 0, "a");
            s.crash("b0", How::Power);
            s.ended(half, true);
            s.holds("q", &["a"]);
        });
        run("TXN-3", Expect::Kept, "one", |s| {
            let half = s.half("a", 0);
            s.decided("a", Some(true));
            s.ended(half, true);
            s.holds("q", &["a"]);
        });
    }

    #[test]
    fn what_was_committed_comes_and_what_nobody_knows_is_given_up() {
        run("TXN-4", Expect::Broken, "committed and nowhere", |s: &mut Script| {
            acknowledged(s, "a", 0);
            s.decided("a", Some(true));
            s.drained(0);
        });
        run("TXN-4", Expect::Broken, "given up too early", |s| {
            let half = acknowledged(s, "a", 0);
            s.given_up(half, 2);
        });
        run("TXN-4", Expect::Broken, "given up twice", |s| {
            let half = acknowledged(s, "a", 0);
            s.given_up(half, 3);
            s.given_up(half, 3);
        });
        run("TXN-4", Expect::Broken, "given up twice, and only a process had died", |s| {
            let half = acknowledged(s, "a", 0);
            s.given_up(half, 3);
            s.crash("b0", How::Process);
            s.given_up(half, 3);
        });
        run("TXN-4", Expect::Broken, "a flushed commit went with the power", |s| {
            let half = acknowledged(s, "a", 0);
            s.decided("a", Some(true));
            s.ended(half, true);
            s.flushed("b0", END_AT);
            s.crash("b0", How::Power);
            s.drained(0);
        });
        run("TXN-4", Expect::Broken, "an accepted commit of somebody who left", |s| {
            let half = acknowledged(s, "a", 0);
            s.decided("a", Some(true));
            s.ended(half, true);
            s.down("p0", How::Process);
            s.drained(0);
        });
        run("TXN-4", Expect::Broken, "undecided long after its last check was due", |s| {
            s.half("a", 0);
            s.heal();
            s.wait(400.0);
            s.drained(1);
        });
        run("TXN-4", Expect::Broken, "counted though nobody is there to be asked", |s| {
            let half = acknowledged(s, "a", 0);
            s.down("p0", How::Process);
            s.wait(20.0);
            s.put_back(half, 0, 1);
        });
        run("TXN-4", Expect::Kept, "counted before anybody noticed that the producer had lost power", |s| {
            let half = acknowledged(s, "a", 0);
            s.down("p0", How::Power);
            s.wait(20.0);
            s.put_back(half, 0, 1);
        });
        let lost_power_before = |ago_s: f64| {
            move |s: &mut Script| {
                let half = acknowledged(s, "a", 0);
                s.crash("p0", How::Power);
                s.wait(ago_s);
                s.down("p0", How::Process);
                s.wait(20.0);
                s.put_back(half, 0, 1);
            }
        };
        run(
            "TXN-4",
            Expect::Broken,
            "counted long after its producer had lost power",
            lost_power_before(120.0),
        );
        run("TXN-4", Expect::Kept, "counted as its producer had lost power before", lost_power_before(60.0));
        let cut_before = |gone_s: f64| {
            move |s: &mut Script| {
                let half = acknowledged(s, "a", 0);
                let cut = s.begin(&["b0"]);
                s.wait(20.0);
                s.over(cut);
                s.wait(gone_s);
                s.down("p0", How::Process);
                s.wait(20.0);
                s.put_back(half, 0, 1);
            }
        };
        run("TXN-4", Expect::Broken, "counted though a fault was over long before", cut_before(90.0));
        run(
            "TXN-4",
            Expect::Kept,
            "counted as an older connection of its producer has not ended",
            cut_before(10.0),
        );
        let stood_before = |ago_s: f64| {
            move |s: &mut Script| {
                let half = acknowledged(s, "a", 0);
                let pause = s.slow(&["b0"]);
                s.wait(20.0);
                s.down("p0", How::Process);
                s.wait(140.0);
                s.over(pause);
                s.wait(ago_s);
                s.put_back(half, 0, 1);
            }
        };
        run("TXN-4", Expect::Broken, "counted long after its broker stood still", stood_before(10.0));
        run("TXN-4", Expect::Kept, "counted as its broker is awake again", stood_before(0.0));
        run("TXN-4", Expect::Kept, "another producer of the group is there", |s| {
            s.producer("p1", 0);
            let half = acknowledged(s, "a", 0);
            s.down("p0", How::Process);
            s.wait(20.0);
            s.put_back(half, 0, 1);
        });
        run("TXN-4", Expect::Kept, "undecided for ever, as its producers are gone", |s| {
            s.producer("p1", 1);
            acknowledged(s, "a", 0);
            s.decided("a", Some(true));
            s.down("p0", How::Process);
            s.heal();
            s.wait(400.0);
            s.drained(0);
        });
        run("TXN-4", Expect::Kept, "the half message went with the power before it was flushed", |s| {
            acknowledged(s, "a", 0);
            s.crash("b0", How::Power);
            s.halves_loaded(&[]);
            s.decided("a", Some(true));
            s.drained(0);
        });
        run("TXN-4", Expect::Kept, "committed and there", |s| {
            let half = acknowledged(s, "a", 0);
            s.decided("a", Some(true));
            s.ended(half, true);
            s.holds("q", &["a"]);
            s.drained(0);
        });
        run("TXN-4", Expect::Kept, "never known, given up after the last check", |s| {
            let half = acknowledged(s, "a", 0);
            s.given_up(half, 3);
            s.drained(0);
        });
    }

    #[test]
    fn producers_are_asked_with_patience() {
        run("TXN-5", Expect::Broken, "within the immunity", |s: &mut Script| {
            let half = s.half("a", 0);
            s.wait(5.0);
            s.checked(half, 1);
        });
        run(
            "TXN-5",
            Expect::Broken,
            "within the immunity that it asked for, though its broker forgot that",
            |s| {
                s.immune("a", 12_000);
                let half = s.half("a", 0);
                s.crash("b0", How::Process);
                s.wait(7.0);
                s.checked(half, 1);
            },
        );
        run("TXN-5", Expect::Kept, "soon, as it asked for it", |s| {
            s.immune("a", 1000);
            let half = s.half("a", 0);
            s.wait(1.0);
            s.checked(half, 1);
        });
        run("TXN-5", Expect::Kept, "after the long time that it asked for", |s| {
            s.immune("a", 12_000);
            let half = s.half("a", 0);
            s.wait(12.0);
            s.checked(half, 1);
        });
        run("TXN-5", Expect::Broken, "as soon as another one asked for", |s| {
            s.immune("b", 1000);
            let half = s.half("a", 0);
            s.half("b", 1);
            s.wait(1.0);
            s.checked(half, 1);
        });
        run("TXN-5", Expect::Broken, "after the end", |s| {
            let half = s.half("a", 0);
            s.wait(10.0);
            s.ended(half, true);
            s.checked(half, 1);
        });
        run("TXN-5", Expect::Broken, "too soon after the last time", |s| {
            let half = s.half("a", 0);
            s.wait(10.0);
            s.checked(half, 1);
            s.wait(10.0);
            s.checked(half, 2);
        });
        run("TXN-5", Expect::Broken, "without counting", |s| {
            let half = s.half("a", 0);
            s.wait(10.0);
            s.checked(half, 1);
            s.wait(30.0);
            s.checked(half, 1);
        });
        run("TXN-5", Expect::Kept, "one by one", |s| {
            let half = s.half("a", 0);
            s.wait(6.0);
            s.checked(half, 1);
            s.wait(30.0);
            s.checked(half, 2);
        });
        run("TXN-5", Expect::Broken, "after its end, which was flushed when the power went", |s| {
            let half = s.half("a", 0);
            s.ended(half, true);
            s.flushed("b0", END_AT);
            s.crash("b0", How::Power);
            s.wait(10.0);
            s.checked(half, 1);
        });
        run("TXN-5", Expect::Broken, "too soon after a start", |s| {
            let half = s.half("a", 0);
            s.wait(10.0);
            s.checked(half, 1);
            s.crash("b0", How::Process);
            s.wait(10.0);
            s.checked(half, 1);
        });
        run("TXN-5", Expect::Kept, "soon after a start, as the power took the count", |s| {
            let half = s.half("a", 0);
            s.flushed("b0", 100);
            s.wait(10.0);
            s.put_back(half, 0, 1);
            s.checked(half, 1);
            s.crash("b0", How::Power);
            s.wait(10.0);
            s.checked(half, 1);
        });
        run("TXN-5", Expect::Broken, "a process died and a count was forgotten", |s| {
            let half = s.half("a", 0);
            s.wait(10.0);
            s.checked(half, 1);
            s.wait(30.0);
            s.checked(half, 2);
            s.crash("b0", How::Process);
            s.wait(30.0);
            s.checked(half, 1);
        });
        run("TXN-5", Expect::Broken, "a flushed count was forgotten", |s| {
            let half = s.half("a", 0);
            s.wait(10.0);
            s.put_back(half, 0, 1);
            s.flushed("b0", 200);
            s.checked(half, 1);
            s.crash("b0", How::Power);
            s.wait(30.0);
            s.checked(half, 0);
        });
        run("TXN-5", Expect::Broken, "somebody of another group", |s| {
            s.producer("p1", 1);
            let half = s.half("a", 0);
            s.asked("p1", half);
        });
        run("TXN-5", Expect::Kept, "somebody else of the group", |s| {
            s.producer("p1", 0);
            let half = s.half("a", 0);
            s.asked("p1", half);
        });
        run("TXN-5", Expect::Kept, "its end was lost with the power, under async flush", |s| {
            let half = s.half("a", 0);
            s.ended(half, true);
            s.crash("b0", How::Power);
            s.wait(10.0);
            s.checked(half, 1);
        });
        run("TXN-5", Expect::Kept, "a start does not know whether it went out", |s| {
            let half = s.half("a", 0);
            s.wait(10.0);
            s.checked(half, 1);
            s.crash("b0", How::Process);
            s.wait(30.0);
            s.checked(half, 1);
        });
        run("TXN-5", Expect::Kept, "the power took counts that were not flushed", |s| {
            let half = s.half("a", 0);
            s.wait(10.0);
            s.put_back(half, 0, 1);
            s.flushed("b0", 200);
            s.checked(half, 1);
            s.wait(30.0);
            s.put_back(half, 1, 2);
            s.checked(half, 2);
            s.crash("b0", How::Power);
            s.wait(30.0);
            s.checked(half, 1);
        });
    }

    #[test]
    fn a_check_waits_for_a_busy_listener_only() {
        run("TXN-4", Expect::Broken, "nobody looks", |s: &mut Script| {
            s.listeners("p1", 1);
            let half = s.half("a", 0);
            s.check_came("p1", half);
            s.wait(2.0);
            s.drained(0);
        });
        run("TXN-4", Expect::Broken, "one of two listeners looks no more", |s| {
            s.listeners("p1", 2);
            let (half, other) = (s.half("a", 0), s.half("b", 1));
            s.check_came("p1", half);
            s.asking("p1", half);
            s.check_came("p1", other);
            s.wait(2.0);
            s.asked("p1", half);
            s.asking("p1", other);
        });
        run("TXN-4", Expect::Broken, "it had looked until then", |s| {
            s.listeners("p1", 1);
            let half = s.half("a", 0);
            s.check_came("p1", half);
            s.asking("p1", half);
            s.wait(20.0);
            s.check_came("p1", half);
            s.asked("p1", half);
            s.wait(2.0);
            s.down("p1", How::Process);
        });
        run("TXN-4", Expect::Kept, "its turn comes when the one before is done", |s| {
            s.listeners("p1", 1);
            let (half, other) = (s.half("a", 0), s.half("b", 1));
            s.check_came("p1", half);
            s.asking("p1", half);
            s.check_came("p1", other);
            s.wait(20.0);
            s.asked("p1", half);
            s.asking("p1", other);
            s.wait(20.0);
            s.asked("p1", other);
        });
        run("TXN-4", Expect::Kept, "its producer died and began anew", |s| {
            s.listeners("p1", 1);
            let half = s.half("a", 0);
            s.check_came("p1", half);
            s.asking("p1", half);
            s.crash("p1", How::Process);
            s.check_came("p1", half);
            s.asking("p1", half);
            s.wait(5.0);
            s.asked("p1", half);
        });
        run("TXN-4", Expect::Kept, "its producer stood still", |s| {
            s.listeners("p1", 1);
            let half = s.half("a", 0);
            s.slow(&["p1"]);
            s.check_came("p1", half);
            s.wait(2.0);
            s.asking("p1", half);
        });
    }

    #[test]
    fn an_undecided_half_is_not_passed() {
        run("TXN-6", Expect::Broken, "undecided", |s: &mut Script| {
            s.half("a", 0);
            s.halves_done(1);
        });
        run("TXN-6", Expect::Broken, "its copy is not flushed under sync flush", |s| {
            s.sync_flush();
            let half = s.half("a", 0);
            s.flushed("b0", 100);
            s.put_back(half, 0, 1);
            s.halves_done(1);
        });
        run("TXN-6", Expect::Broken, "its end is not flushed, and it is itself", |s| {
            let half = s.half("a", 0);
            s.flushed("b0", 100);
            s.ended(half, true);
            s.halves_done(1);
        });
        run("TXN-6", Expect::Broken, "a broker that starts does not know it any more", |s| {
            s.half("a", 0);
            s.crash("b0", How::Process);
            s.halves_loaded(&[]);
        });
        run("TXN-6", Expect::Broken, "the power does not take what is flushed", |s| {
            s.half("a", 0);
            s.flushed("b0", 100);
            s.crash("b0", How::Power);
            s.halves_loaded(&[]);
        });
        run("TXN-6", Expect::Broken, "undecided still after a start", |s| {
            let half = s.half("a", 0);
            s.crash("b0", How::Process);
            s.halves_loaded(&[(half, 0)]);
            s.halves_done(1);
        });
        run("TXN-6", Expect::Kept, "a start finds a copy that was not told of", |s| {
            let half = s.half("a", 0);
            s.crash("b0", How::Process);
            s.halves_loaded(&[(half, 0), (half, 1)]);
            s.halves_done(1);
        });
        run("TXN-6", Expect::Kept, "the power took it before it was flushed", |s| {
            s.half("a", 0);
            s.crash("b0", How::Power);
            s.halves_loaded(&[]);
            s.halves_done(1);
        });
        run("TXN-6", Expect::Broken, "another one rots", |s| {
            s.half("a", 0);
            s.half("b", 1);
            s.flushed("b0", 200);
            s.rots_half(1);
            s.crash("b0", How::Process);
            s.halves_loaded(&[]);
        });
        run("TXN-6", Expect::Kept, "it rots", |s| {
            s.half("a", 0);
            s.flushed("b0", 100);
            s.rots_half(0);
            s.crash("b0", How::Process);
            s.halves_loaded(&[]);
        });
        run("TXN-6", Expect::Kept, "decided", |s| {
            let half = s.half("a", 0);
            s.ended(half, false);
            s.halves_done(1);
        });
        run("TXN-6", Expect::Kept, "its broker died while it stored the decision", |s| {
            s.half("a", 0);
            s.decided("a", Some(true));
            s.crash("b0", How::Process);
            s.halves_loaded(&[]);
            s.halves_done(1);
        });
        run("TXN-6", Expect::Kept, "its copy is flushed", |s| {
            s.sync_flush();
            let half = s.half("a", 0);
            s.flushed("b0", 100);
            s.put_back(half, 0, 1);
            s.flushed("b0", 200);
            s.halves_done(1);
        });
    }
}
