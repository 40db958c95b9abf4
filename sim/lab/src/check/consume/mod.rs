//! CON-1 to CON-7: what a group of consumers gets, and what it says it got.

mod owners;
mod repeats;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use super::{Judged, Rule, SECOND, View, seconds, view::Delivery, witness};
use crate::history::{GroupId, How, Kind, MessageId, NodeId, QueueId, SessionId, Slot, TopicId};

pub(super) fn check(view: &View<'_>, judged: &mut Judged) {
    let commits = Commits::collect(view);
    at_least_once(view, &commits, judged);
    commit_safety(view, &commits, judged);
    passed_before_stored(view, judged);
    no_skip(view, &commits, judged);
    back_from_beyond(view, judged);
    repeats::check(view, judged);
    owners::check(view, judged);
    never_back(view, judged);
    never_told_back(view, judged);
    filtered(view, judged);
}

/// A committed offset from an event on; none = the broker holds no value.
#[derive(Clone, Copy)]
struct Commit {
    event: usize,
    offset: Option<u64>,
}

/// Committed offsets over time, by group and queue.
pub(super) struct Commits {
    values: BTreeMap<(GroupId, QueueId), Vec<Commit>>,
}

impl Commits {
    pub(super) fn collect(view: &View<'_>) -> Self {
        let mut values: BTreeMap<(GroupId, QueueId), Vec<Commit>> = BTreeMap::new();
        for (number, event) in view.history.events.iter().enumerate() {
            match event.kind {
                Kind::Stored { group, queue, offset } | Kind::Committed { group, queue, offset } => {
                    values
                        .entry((group, queue))
                        .or_default()
                        .push(Commit { event: number, offset: Some(offset) });
                }
                Kind::Loaded { group, queue, offset } => {
                    let values = values.entry((group, queue)).or_default();
                    // The start of the broker forgot everything; what it reads back replaces that.
                    values.pop_if(|last| last.offset.is_none());
                    values.push(Commit { event: number, offset: Some(offset) });
                }
                Kind::Up => {
                    let of_node = values
                        .iter_mut()
                        .filter(|((_, queue), _)| view.history.queues[queue.index()].broker == event.node);
                    of_node.for_each(|(_, values)| values.push(Commit { event: number, offset: None }));
                }
                Kind::TopicUnlisted { topic, broker } => {
                    let of_topic = values
                        .iter_mut()
                        .filter(|((_, queue), _)| view.history.queues[queue.index()].is_of(topic, broker));
                    of_topic.for_each(|(_, values)| values.push(Commit { event: number, offset: None }));
                }
                _ => {}
            }
        }
        Self { values }
    }

    fn of(&self, group: GroupId, queue: QueueId) -> &[Commit] {
        self.values.get(&(group, queue)).map_or(&[], Vec::as_slice)
    }

    /// The value at the end.
    fn last(&self, group: GroupId, queue: QueueId) -> u64 {
        self.of(group, queue).last().and_then(|last| last.offset).unwrap_or(0)
    }
}

/// Read queues of each topic on each broker before an event.
fn read_queues(view: &View<'_>, before: usize) -> BTreeMap<(TopicId, NodeId), u32> {
    let mut read_queues = BTreeMap::new();
    for event in &view.history.events[..before] {
        match event.kind {
            Kind::TopicSet { topic, broker, read, .. } => drop(read_queues.insert((topic, broker), read)),
            Kind::TopicUnlisted { topic, broker } => drop(read_queues.remove(&(topic, broker))),
            _ => {}
        }
    }
    read_queues
}

/// The places of a queue in tails that were lost after the group had gone past them.
pub(super) fn passed_before_rewinds(
    view: &View<'_>,
    commits: &Commits,
    group: GroupId,
    queue: QueueId,
) -> Vec<Range<u64>> {
    let rewinds = &view.lines[queue.index()].rewinds;
    if rewinds.is_empty() {
        return Vec::new();
    }
    let of_group = |session: SessionId| {
        let session = view.sessions[session.index()];
        session.queue == queue && view.history.members[session.member.index()].group == group
    };
    let committed =
        commits.of(group, queue).iter().filter_map(|value| Some((value.event, value.offset?))).collect();
    let pulled = view.history.events.iter().enumerate().filter_map(|(number, event)| match event.kind {
        Kind::Pulled { session, next, .. } if of_group(session) => Some((number, next)),
        _ => None,
    });
    let seen: Vec<(usize, u64)> = [committed, pulled.collect::<Vec<_>>()].concat();
    let content = view.audit.queues.iter().filter(|content| content.queue == queue);
    let content: BTreeMap<u64, Option<MessageId>> =
        content.flat_map(|content| &content.read).map(|read| (read.offset, read.message)).collect();
    // What was answered before the queue was cut off and read after that: the place has another message in the end.
    let replaced = |delivery: &&Delivery| content.get(&delivery.slot.offset) != Some(&delivery.message);
    let ours = |delivery: &&Delivery| {
        delivery.slot.queue == queue && view.history.members[delivery.member.index()].group == group
    };
    let stale: Vec<&Delivery> = view.deliveries.iter().filter(ours).filter(replaced).collect();
    let passed = rewinds.iter().map(|rewind| {
        let before = seen.iter().filter(|(event, _)| *event < rewind.event).map(|(_, next)| *next);
        let after = stale.iter().filter_map(|delivery| {
            let invoked = view.sends[delivery.message?.index()].invoked?;
            let lost = delivery.entered > rewind.event && invoked < rewind.event;
            (lost && (rewind.to..rewind.from).contains(&delivery.slot.offset))
                .then_some(delivery.slot.offset + 1)
        });
        rewind.to..before.chain(after).max().unwrap_or(0)
    });
    passed.collect()
}

/// CON-1: what is in the queues in the end was consumed with success.
fn at_least_once(view: &View<'_>, commits: &Commits, judged: &mut Judged) {
    let history = view.history;
    let mut done: Vec<(GroupId, Slot, MessageId)> = Vec::new();
    for delivery in view.deliveries.iter().filter(|delivery| delivery.succeeded.is_some()) {
        if let Some(message) = delivery.message {
            done.push((history.members[delivery.member.index()].group, delivery.slot, message));
        }
    }
    // What a broker took back is the concern of the place it has now.
    let mut back: Vec<(GroupId, Slot)> =
        given_back(view).into_iter().map(|(_, group, slot)| (group, slot)).collect();
    back.sort_unstable();
    done.sort_unstable();
    let late = after_drain(view);
    let read_queues = read_queues(view, view.history.events.len());
    for content in &view.audit.queues {
        let queue = history.queues[content.queue.index()];
        let readable = read_queues.get(&(queue.topic, queue.broker)).is_none_or(|read| queue.number < *read);
        if !readable {
            continue;
        }
        for group in (0..history.groups.len() as u32).map(GroupId) {
            let committed = commits.last(group, content.queue);
            let passed = passed_before_rewinds(view, commits, group, content.queue);
            let left_behind = view.drained.is_some_and(|(_, _, rest)| rest > 0);
            for read in content.read.iter().filter(|_| history.reads(group, content.queue)) {
                let Some(message) = read.message.filter(|id| history.matches(group, *id)) else { continue };
                judged.count(Rule::Con1, 1);
                let slot = Slot { queue: content.queue, offset: read.offset };
                let waiting = left_behind && committed <= read.offset; // L-4 judges what was not reached in time
                if done.binary_search(&(group, slot, message)).is_ok()
                    || back.binary_search(&(group, slot)).is_ok()
                    || waiting
                    || late.binary_search(&slot).is_ok()
                    || view.before_start(group, slot)
                    || view.rots(slot)
                    || view.haunted.contains(&(group, slot.queue))
                    || passed.iter().any(|places| places.contains(&slot.offset))
                {
                    continue;
                }
                let sentence = format!(
                    "Message {} at {} was never consumed with success by group {}, whose committed offset is {committed}.",
                    history.message_name(message),
                    history.slot_name(slot),
                    history.group_name(group)
                );
                let event = view.sends[message.index()].returned.unwrap_or(view.last());
                judged.broken(
                    view,
                    Rule::Con1,
                    event,
                    witness(history, Some(message), slot.queue, slot.offset),
                    sentence,
                );
            }
        }
    }
}

/// What was stored when the drain was over: a copy that was still on its way, behind a link that had been cut.
fn after_drain(view: &View<'_>) -> Vec<Slot> {
    let Some((drained, _, _)) = view.drained else { return Vec::new() };
    let events = &view.history.events[drained..];
    let mut late: Vec<Slot> = events
        .iter()
        .filter_map(|event| match event.kind {
            Kind::Append { slot, .. } => Some(slot),
            _ => None,
        })
        .collect();
    late.sort_unstable();
    late
}

/// True when every queue has one owner now, as far as is told.
pub(super) fn owners_now(view: &View<'_>, judged: &mut Judged) -> bool {
    owners::now(view, judged)
}

/// Messages that a broker took back from a group, or a copy of them, with the event.
fn sent_back(view: &View<'_>) -> impl Iterator<Item = (usize, GroupId, Slot)> {
    view.history.events.iter().enumerate().filter_map(|(number, event)| match event.kind {
        Kind::SentBack { group, slot, code: 0, .. } | Kind::CopiedBack { group, slot, done: true, .. } => {
            Some((number, group, slot))
        }
        _ => None,
    })
}

/// The same, also where no taps tell: a copy of a message that a listener could not handle is among the retries or dead
/// letters of its group in the end, so it was taken back at some time after that.
fn given_back(view: &View<'_>) -> Vec<(usize, GroupId, Slot)> {
    let history = view.history;
    if !history.untapped {
        return sent_back(view).collect();
    }
    let mut copies: BTreeSet<(GroupId, MessageId, u32)> = BTreeSet::new();
    for content in &view.audit.queues {
        let topic = history.queues[content.queue.index()].topic;
        let own =
            history.groups.iter().zip(0..).filter(|(group, _)| group.retry == topic || group.dlq == topic);
        for (_, group) in own {
            let read =
                content.read.iter().filter_map(|read| Some((GroupId(group), read.message?, read.times)));
            copies.extend(read);
        }
    }
    let deferred = view.deliveries.iter().filter_map(|delivery| Some((delivery.deferred?, delivery)));
    let back = deferred.filter_map(|(event, delivery)| {
        let group = history.members[delivery.member.index()].group;
        copies.contains(&(group, delivery.message?, delivery.times + 1)).then_some((
            event,
            group,
            delivery.slot,
        ))
    });
    back.collect()
}

/// CON-2 once more: no message is stored at an offset that a group has passed already. A queue that lost its tail takes
/// the offsets of its groups along.
fn passed_before_stored(view: &View<'_>, judged: &mut Judged) {
    let history = view.history;
    let mut committed: BTreeMap<QueueId, BTreeMap<GroupId, u64>> = BTreeMap::new();
    for (number, event) in history.events.iter().enumerate() {
        match event.kind {
            Kind::Stored { group, queue, offset } | Kind::Loaded { group, queue, offset } => {
                committed.entry(queue).or_default().insert(group, offset);
            }
            Kind::Down { .. } => {
                committed.retain(|queue, _| history.queues[queue.index()].broker != event.node);
            }
            Kind::TopicUnlisted { topic, broker } => {
                committed.retain(|queue, _| !history.queues[queue.index()].is_of(topic, broker));
            }
            Kind::Append { slot, .. } => {
                let groups = committed.get(&slot.queue).into_iter().flatten();
                judged.count(Rule::Con2, 1);
                for (group, offset) in groups.filter(|(_, offset)| **offset > slot.offset) {
                    let sentence = format!(
                        "A message was stored at {}, but group {} had committed {offset} there before.",
                        history.slot_name(slot),
                        history.group_name(*group)
                    );
                    judged.broken(view, Rule::Con2, number, history.slot_name(slot), sentence);
                }
            }
            _ => {}
        }
    }
}

/// CON-2: at each stored commit, everything below it that the group takes had been consumed before.
fn commit_safety(view: &View<'_>, commits: &Commits, judged: &mut Judged) {
    let history = view.history;
    // Places known to hold something the group takes, with the event of the first success there.
    let mut due: BTreeMap<(GroupId, QueueId), BTreeMap<u64, usize>> = BTreeMap::new();
    let mut note = |slot: Slot, message: MessageId| {
        let groups = (0..history.groups.len() as u32).map(GroupId);
        for group in groups.filter(|id| history.matches(*id, message) && history.reads(*id, slot.queue)) {
            due.entry((group, slot.queue)).or_default().entry(slot.offset).or_insert(usize::MAX);
        }
    };
    for content in &view.audit.queues {
        for read in &content.read {
            if let Some(message) = read.message {
                note(Slot { queue: content.queue, offset: read.offset }, message);
            }
        }
    }
    for (index, send) in view.sends.iter().enumerate() {
        // What a rewind has taken is due no more: its place may hold a message that the filter refuses.
        if let (Some(slot), Some(returned)) = (send.at, send.returned)
            && !view.rewound(slot, returned)
        {
            note(slot, MessageId(index as u32));
        }
    }
    for delivery in &view.deliveries {
        if let Some(message) = delivery.message
            && !view.rewound(delivery.slot, delivery.entered)
        {
            note(delivery.slot, message);
        }
    }
    for delivery in &view.deliveries {
        let group = history.members[delivery.member.index()].group;
        if let (Some(done), Some(due)) = (delivery.succeeded, due.get_mut(&(group, delivery.slot.queue))) {
            due.entry(delivery.slot.offset).and_modify(|first| *first = done.min(*first));
        }
    }
    for (event, group, slot) in given_back(view) {
        if let Some(due) = due.get_mut(&(group, slot.queue)) {
            due.entry(slot.offset).and_modify(|first| *first = event.min(*first));
        }
    }
    let deferred: BTreeSet<Slot> = view
        .deliveries
        .iter()
        .filter(|delivery| delivery.deferred.is_some())
        .map(|delivery| delivery.slot)
        .collect();
    for (&(group, queue), values) in &commits.values {
        if view.haunted.contains(&(group, queue)) {
            continue;
        }
        let Some(due) = due.get(&(group, queue)) else { continue };
        let passed = passed_before_rewinds(view, commits, group, queue);
        // Running maximum: when everything up to here was consumed, and which place was the last.
        let mut latest = (0, 0);
        let mut prefix = Vec::with_capacity(due.len());
        for (&offset, &done) in due {
            let slot = Slot { queue, offset };
            let excused = view.made_room(slot)
                || view.before_start(group, slot)
                || view.rots(slot)
                || passed.iter().any(|places| places.contains(&offset));
            if done > latest.0 && !excused {
                latest = (done, offset);
            }
            prefix.push((offset, latest));
        }
        for &Commit { event, offset } in values {
            let Some(value) = offset else { continue };
            if matches!(history.events[event].kind, Kind::Loaded { .. }) {
                continue;
            }
            judged.count(Rule::Con2, 1);
            let below = prefix.partition_point(|(offset, _)| *offset < value);
            let Some((_, (done, offset))) = below.checked_sub(1).map(|last| prefix[last]) else { continue };
            if done < event {
                continue;
            }
            let slot = Slot { queue, offset };
            let then = if done == usize::MAX {
                "never".to_owned()
            } else {
                format!("only at {}", seconds(view.at(done)))
            };
            let sentence = format!(
                "At {} group {} committed {value} in {}, but offset {offset} was consumed {then}.",
                seconds(view.at(event)),
                history.group_name(group),
                history.queue_name(queue)
            );
            // Given back without success, and passed all the same: that is the other rule.
            let rule = if deferred.contains(&slot) { Rule::Rty2 } else { Rule::Con2 };
            judged.broken(view, rule, event, history.slot_name(slot), sentence);
            break;
        }
    }
}

/// CON-3: a session starts at a value the broker held just then, and its pulls follow each other.
fn no_skip(view: &View<'_>, commits: &Commits, judged: &mut Judged) {
    let history = view.history;
    for (index, session) in view.sessions.iter().enumerate() {
        judged.count(Rule::Con3, 1);
        let member = history.members[session.member.index()];
        let (started, broker) = (view.at(session.started), history.queues[session.queue.index()].broker);
        let long_ago = started.saturating_sub(60 * SECOND);
        let slow = view.slowed(member.node, long_ago, started) || view.slowed(broker, long_ago, started);
        let since = started.saturating_sub(if slow { 60 * SECOND } else { ASKED });
        let values = commits.of(member.group, session.queue);
        let mut before = values[..values.partition_point(|value| value.event < session.started)].iter().rev();
        let mut possible = Vec::new();
        loop {
            let value = before.next();
            possible.push(value.and_then(|value| value.offset).unwrap_or(0));
            if value.is_none_or(|value| view.at(value.event) < since) {
                break;
            }
        }
        let haunted = view.haunted.contains(&(member.group, session.queue));
        if !possible.contains(&session.offset) && !haunted {
            let name = history.queue_name(session.queue);
            let sentence = format!(
                "{} began at {} to pull {name} for group {} from offset {}, but the committed offset then was {}.",
                history.member_name(session.member),
                seconds(started),
                history.group_name(member.group),
                session.offset,
                possible[0]
            );
            judged.broken(view, Rule::Con3, session.started, format!("{name}, session {index}"), sentence);
        }
    }
    let mut expected: Vec<u64> = view.sessions.iter().map(|session| session.offset).collect();
    for (number, event) in history.events.iter().enumerate() {
        let Kind::Pulled { session, from, next, count } = event.kind else { continue };
        judged.count(Rule::Con3, 1);
        let expects = &mut expected[session.index()];
        let whole = view.sessions[session.index()];
        let filtered = history.groups[history.members[whole.member.index()].group.index()].tag.is_some();
        let rotten = (from..next).filter(|offset| view.rots(Slot { queue: whole.queue, offset: *offset }));
        let least = u64::from(count)..=u64::from(count) + rotten.count() as u64;
        let gap = !filtered
            && count > 0
            && !least.contains(&next.saturating_sub(from))
            && !view.forgets(whole.queue, event.at_ns);
        if from != *expects || next < from || gap {
            let name = history.queue_name(whole.queue);
            let sentence = format!(
                "{} pulled {name} from {from} to {next} with {count} messages at {}, but this session stood at {expects}.",
                history.member_name(whole.member),
                seconds(event.at_ns)
            );
            judged.broken(view, Rule::Con3, number, format!("{name}, session {}", session.0), sentence);
        }
        *expects = next;
    }
}

/// CON-3: who is beyond the end of a queue, as a crash took messages from there or its topic was deleted, goes on over none
/// of those that came since.
fn back_from_beyond(view: &View<'_>, judged: &mut Judged) {
    let history = view.history;
    // Which brokers died last time, and where the queues ended that they found when they came back.
    let mut died: BTreeSet<NodeId> = BTreeSet::new();
    let mut found: BTreeMap<QueueId, u64> = BTreeMap::new();
    // On an empty disk nothing tells that there ever was more.
    let mut blank: BTreeSet<NodeId> = BTreeSet::new();
    for (number, event) in history.events.iter().enumerate() {
        match event.kind {
            Kind::Down { how } => {
                found.retain(|queue, _| history.queues[queue.index()].broker != event.node);
                match how {
                    How::Process | How::Power => drop(died.insert(event.node)),
                    How::Stop => drop(died.remove(&event.node)),
                    How::Disk => drop(blank.insert(event.node)),
                }
            }
            Kind::QueueRecovered { queue, max, .. } => drop(found.insert(queue, max)),
            Kind::ReadBeyond { queue, asked, next } if !blank.contains(&event.node) => {
                judged.count(Rule::Con3, 1);
                let again = match found.get(&queue) {
                    Some(end) => died.contains(&event.node).then_some(*end),
                    None => (died.contains(&event.node) || history.former(queue).is_some()).then_some(0),
                };
                let Some(again) = again else { continue };
                if next > again.max(view.lines[queue.index()].begins) {
                    let name = history.queue_name(queue);
                    let sentence = format!(
                        "Who asked at {} for offset {asked} of {name} was sent to {next}, and the offsets from {again} on are those of new messages.",
                        seconds(event.at_ns)
                    );
                    judged.broken(view, Rule::Con3, number, name, sentence);
                }
            }
            _ => {}
        }
    }
}

/// CON-6: committed offsets never fall but by what a crash of the broker may lose.
fn never_back(view: &View<'_>, judged: &mut Judged) {
    let history = view.history;
    let mut now: BTreeMap<(GroupId, QueueId), u64> = BTreeMap::new();
    let mut dirty: BTreeMap<NodeId, BTreeMap<(GroupId, QueueId), u64>> = BTreeMap::new();
    // Since when there is something that no writing of the table has taken.
    let mut unwritten: BTreeMap<NodeId, u64> = BTreeMap::new();
    let mut taken: BTreeMap<NodeId, BTreeMap<(GroupId, QueueId), u64>> = BTreeMap::new();
    // When it was last begun to write the table.
    let mut begun: BTreeMap<NodeId, u64> = BTreeMap::new();
    let mut durable: BTreeMap<(GroupId, QueueId), u64> = BTreeMap::new();
    // What a broker that came back has read of its table; it serves when it has read all.
    let mut reading: BTreeMap<NodeId, BTreeSet<(GroupId, QueueId)>> = BTreeMap::new();
    for (number, event) in history.events.iter().enumerate() {
        if let Kind::Down { how } = event.kind
            // What a writing took that failed is in none.
            && let Some(left) = dirty.get(&event.node).filter(|_| !taken.contains_key(&event.node))
            && let Some(((group, queue), offset)) = left.first_key_value()
        {
            let since = unwritten.get(&event.node).copied().unwrap_or(event.at_ns);
            judged.count(Rule::Con6, 1);
            let ended = match how {
                How::Stop => Some("was stopped cleanly"),
                _ if view.slowed(event.node, since, event.at_ns) => None,
                _ => (event.at_ns > since + WRITTEN).then_some("died"),
            };
            if let Some(ended) = ended {
                let name = history.queue_name(*queue);
                let sentence = format!(
                    "{} {ended} at {} and had not begun to write offset {offset} of group {} in {name}, nor any other committed in the last {}.",
                    history.node_name(event.node),
                    seconds(event.at_ns),
                    history.group_name(*group),
                    seconds(event.at_ns - since)
                );
                judged.broken(view, Rule::Con6, number, name, sentence);
            }
        }
        // Who cannot write tries again.
        if let Kind::Down { .. } = event.kind
            && let Some(since) = begun.remove(&event.node)
            && let Some(((group, queue), offset)) = taken.get(&event.node).and_then(BTreeMap::first_key_value)
        {
            judged.count(Rule::Con6, 1);
            if event.at_ns > since + WRITTEN && !view.slowed(event.node, since, event.at_ns) {
                let name = history.queue_name(*queue);
                let sentence = format!(
                    "{} ended at {} and had not written offset {offset} of group {} in {name}: it began to at {}, and not again.",
                    history.node_name(event.node),
                    seconds(event.at_ns),
                    history.group_name(*group),
                    seconds(since)
                );
                judged.broken(view, Rule::Con6, number, name, sentence);
            }
        }
        match event.kind {
            Kind::Down { .. } => drop(reading.insert(event.node, BTreeSet::new())),
            Kind::Loaded { group, queue, .. } => {
                reading.entry(event.node).or_default().insert((group, queue));
            }
            // What the node says of itself; an answer may come when it is down already.
            Kind::Stored { .. } | Kind::OffsetsTaken | Kind::Acked { .. } => {
                if let Some(read) = reading.remove(&event.node) {
                    let all = durable
                        .keys()
                        .filter(|(_, queue)| history.queues[queue.index()].broker == event.node);
                    if let Some((group, queue)) = all.into_iter().find(|key| !read.contains(*key)) {
                        let sentence = format!(
                            "When {} came back it had no committed offset of group {} in {}; {} was persisted before.",
                            history.node_name(event.node),
                            history.group_name(*group),
                            history.queue_name(*queue),
                            durable[&(*group, *queue)]
                        );
                        judged.broken(view, Rule::Con6, number, history.queue_name(*queue), sentence);
                    }
                }
            }
            _ => {}
        }
        let (group, queue, offset, loaded) = match event.kind {
            Kind::Stored { group, queue, offset } => (group, queue, offset, false),
            Kind::Loaded { group, queue, offset } => (group, queue, offset, true),
            Kind::OffsetsTaken => {
                unwritten.remove(&event.node);
                begun.insert(event.node, event.at_ns);
                // What a failed write was to keep is in the next one as well.
                taken.entry(event.node).or_default().extend(dirty.remove(&event.node).unwrap_or_default());
                continue;
            }
            Kind::OffsetsPersisted => {
                durable.extend(taken.remove(&event.node).unwrap_or_default());
                continue;
            }
            Kind::Down { how } => {
                dirty.remove(&event.node);
                unwritten.remove(&event.node);
                taken.remove(&event.node);
                // What was not durable may be gone: the floor is what was persisted.
                let of_node = |queue: &QueueId| history.queues[queue.index()].broker == event.node;
                durable.retain(|(_, queue), _| how != How::Disk || !of_node(queue));
                now.retain(|(_, queue), _| !of_node(queue));
                now.extend(
                    durable
                        .iter()
                        .filter(|((_, queue), _)| of_node(queue))
                        .map(|(key, value)| (*key, *value)),
                );
                continue;
            }
            // Between the two a member that stood in it may still commit.
            Kind::TopicUnlisted { topic, broker } | Kind::TopicDeleted { topic, broker } => {
                let tables = [&mut now, &mut durable].into_iter();
                let tables = tables.chain(dirty.get_mut(&broker)).chain(taken.get_mut(&broker));
                tables.for_each(|table| {
                    table.retain(|(_, queue), _| !history.queues[queue.index()].is_of(topic, broker));
                });
                continue;
            }
            _ => continue,
        };
        // A start may read what was not written anew yet, and forgets it again.
        if history.deleted.get(&queue).is_some_and(|deletion| deletion.event < number) {
            continue;
        }
        judged.count(Rule::Con6, 1);
        let key = (group, queue);
        let floor = now.get(&key).copied().unwrap_or(0);
        let rewinds = &view.lines[queue.index()].rewinds;
        let clipped = rewinds.iter().any(|rewind| rewind.event <= number && rewind.to <= offset);
        if offset < floor && !clipped {
            let before = if loaded { "persisted before the crash" } else { "committed before" };
            let sentence = format!(
                "At {} the committed offset of group {} in {} fell to {offset}; {floor} was {before}.",
                seconds(event.at_ns),
                history.group_name(group),
                history.queue_name(queue)
            );
            judged.broken(view, Rule::Con6, number, history.queue_name(queue), sentence);
        }
        now.insert(key, offset);
        if loaded {
            durable.insert(key, offset);
        } else {
            dirty.entry(event.node).or_default().insert(key, offset);
            unwritten.entry(event.node).or_insert(event.at_ns);
        }
    }
}

/// CON-6 by answers alone: what a broker said a group had committed does not fall while the broker stays up.
fn never_told_back(view: &View<'_>, judged: &mut Judged) {
    let history = view.history;
    let mut told: BTreeMap<(GroupId, QueueId), u64> = BTreeMap::new();
    for (number, event) in history.events.iter().enumerate() {
        match event.kind {
            Kind::Down { .. } => {
                told.retain(|(_, queue), _| history.queues[queue.index()].broker != event.node)
            }
            Kind::Committed { group, queue, offset } => {
                judged.count(Rule::Con6, 1);
                let before = told.insert((group, queue), offset).unwrap_or(0);
                if offset < before {
                    let sentence = format!(
                        "At {} the committed offset of group {} in {} had fallen from {before} to {offset}, and the broker had not been restarted.",
                        seconds(event.at_ns),
                        history.group_name(group),
                        history.queue_name(queue)
                    );
                    judged.broken(view, Rule::Con6, number, history.queue_name(queue), sentence);
                }
            }
            _ => {}
        }
    }
}

/// CON-7: nothing is delivered that the filter refuses.
fn filtered(view: &View<'_>, judged: &mut Judged) {
    let history = view.history;
    for delivery in &view.deliveries {
        let group = history.members[delivery.member.index()].group;
        let Some(message) = delivery.message.filter(|_| history.groups[group.index()].tag.is_some()) else {
            continue;
        };
        judged.count(Rule::Con7, 1);
        if !history.matches(group, message) {
            let sentence = format!(
                "Message {} with tag {} was delivered to group {}, which takes tag {} only.",
                history.message_name(message),
                history.messages[message.index()].tag,
                history.group_name(group),
                history.groups[group.index()].tag.unwrap_or_default()
            );
            let witness = witness(history, Some(message), delivery.slot.queue, delivery.slot.offset);
            judged.broken(view, Rule::Con7, delivery.entered, witness, sentence);
        }
    }
}

/// A broker begins to write its table of offsets so soon after a commit: its period, and time to get there.
const WRITTEN: u64 = 8 * SECOND;
/// How long before a session began its offset may have been asked for.
const ASKED: u64 = 8 * SECOND;

#[cfg(test)]
mod tests {
    use super::super::script::{Expect, Script, run};
    use crate::history::{How, Outcome};

    /// The group has consumed a message, and its topic is deleted and made again after so many seconds.
    fn made_again(s: &mut Script, after: f64) {
        s.session("c0", "q", 0);
        s.ok("a", "q", 0);
        s.deliver("c0", "q", 0, "a");
        s.stored("q", 1);
        s.orders_deletion();
        s.wait(1.0);
        s.deletes();
        s.wait(after);
        s.makes_again();
    }

    #[test]
    fn offsets_go_with_their_topic() {
        run("CON-2", Expect::Broken, "a member goes on where it was", |s: &mut Script| {
            made_again(s, 11.0);
            s.ok("b", "q", 0);
            s.stored("q", 1);
        });
        run("CON-2", Expect::Kept, "it had no time to hear of it", |s| {
            made_again(s, 5.0);
            s.ok("b", "q", 0);
            s.stored("q", 1);
        });
        run("CON-2", Expect::Kept, "it was cut off", |s| {
            let cut = s.begin(&["c0"]);
            made_again(s, 20.0);
            s.over(cut);
            s.ok("b", "q", 0);
            s.stored("q", 1);
        });
        run("CON-3", Expect::Broken, "a member begins where the one before was", |s| {
            made_again(s, 11.0);
            s.wait(10.0);
            s.session("c0", "q", 1);
        });
        run("CON-3", Expect::Kept, "it begins with the first", |s| {
            made_again(s, 11.0);
            s.wait(10.0);
            s.session("c0", "q", 0);
        });
        run("CON-1", Expect::Broken, "the first of the later topic is passed over", |s| {
            made_again(s, 11.0);
            s.ok("b", "q", 0);
            s.stored("q", 1);
            s.holds("q", &["b"]);
            s.drained(0);
        });
        let beyond = |next: u64| {
            move |s: &mut Script| {
                let cut = s.begin(&["c0"]);
                made_again(s, 20.0);
                s.over(cut);
                s.append("q", 0, 0, 100);
                s.append("q", 1, 100, 200);
                s.reads_beyond("q", 9, next);
            }
        };
        run("CON-3", Expect::Broken, "who was away is sent over what came since", beyond(2));
        run("CON-3", Expect::Kept, "who was away is sent to the first", beyond(0));
        let lost_tail = |how: How, next: u64| {
            move |s: &mut Script| {
                s.crash("b0", how);
                s.recovered("b0", &[("q", 5)]);
                s.append("q", 5, 500, 600);
                s.reads_beyond("q", 9, next);
            }
        };
        run("CON-3", Expect::Broken, "sent over what came after a crash", lost_tail(How::Process, 6));
        run("CON-3", Expect::Kept, "sent to what came after a crash", lost_tail(How::Process, 5));
        run("CON-3", Expect::Kept, "nothing was lost", lost_tail(How::Stop, 6));
        run("CON-3", Expect::Kept, "all was lost, with the disk", |s| {
            s.crash("b0", How::Disk);
            lost_tail(How::Power, 6)(s);
        });
        run("CON-1", Expect::Kept, "nobody asks for what was deleted", |s| {
            s.ok("a", "q", 0);
            s.orders_deletion();
            s.deletes();
            s.makes_again();
            s.holds("q", &[]);
            s.drained(0);
        });
        run("CON-4", Expect::Broken, "again without a deletion", |s| {
            s.deliver("c0", "q", 0, "a");
            s.orders_deletion();
            s.deliver("c0", "q", 0, "a");
        });
        run("CON-4", Expect::Kept, "a deletion that was begun took the offsets", |s| {
            s.deliver("c0", "q", 0, "a");
            s.orders_deletion();
            s.unlists();
            s.deliver("c0", "q", 0, "a");
        });
    }

    #[test]
    fn everything_is_consumed_at_least_once() {
        run("CON-1", Expect::Broken, "never delivered, but passed over", |s: &mut Script| {
            s.ok("a", "q", 0);
            s.ok("b", "q", 1);
            s.deliver("c0", "q", 1, "b");
            s.stored("q", 2);
            s.holds("q", &["a", "b"]);
            s.drained(0);
        });
        run("CON-1", Expect::Broken, "the listener never ended well", |s| {
            s.ok("a", "q", 0);
            s.enter("c0", "q", 0, "a");
            s.holds("q", &["a"]);
            s.drained(0);
        });
        run("CON-1", Expect::Broken, "an unknown send that was stored counts too", |s| {
            s.sent("a", Outcome::Unknown, None);
            s.holds("q", &["a"]);
            s.drained(0);
        });
        run("CON-1", Expect::Broken, "stored just before the drain was over", |s| {
            s.ok("a", "q", 0);
            s.append("q", 0, 0, 100);
            s.drained(0);
            s.holds("q", &["a"]);
        });
        run("CON-1", Expect::Kept, "a second copy that comes when the drain is over", |s| {
            s.ok("a", "q", 0);
            s.deliver("c0", "q", 0, "a");
            s.drained(0);
            s.append("r", 0, 100, 200);
            s.holds("q", &["a"]);
            s.holds("r", &["a"]);
        });
        run("CON-1", Expect::Kept, "its entry rotted", |s| {
            s.ok("a", "q", 0);
            s.rots("q", 0);
            s.holds("q", &["a"]);
            s.drained(0);
        });
        run("CON-1", Expect::Kept, "consumed by the second member after the first died", |s| {
            s.ok("a", "q", 0);
            s.enter("c0", "q", 0, "a");
            s.crash("c0", How::Process);
            s.deliver("c1", "q", 0, "a");
            s.holds("q", &["a"]);
            s.drained(0);
        });
        run("CON-1", Expect::Kept, "its queue is not read any more", |s| {
            s.ok("a", "r", 0);
            s.queues("b0", 1, 1);
            s.holds("r", &["a"]);
            s.drained(0);
        });
        run("CON-1", Expect::Kept, "a new message below what was consumed before a rewind", |s| {
            s.append("q", 0, 0, 100);
            s.ok("a", "q", 0);
            s.deliver("c0", "q", 0, "a");
            s.stored("q", 1);
            s.crash("b0", How::Power);
            s.recovered("b0", &[("q", 0)]);
            s.append("q", 0, 0, 100);
            s.ok("b", "q", 0);
            s.holds("q", &["b"]);
            s.drained(0);
        });
        let rewound = |delivered: &'static [&'static str]| {
            move |s: &mut Script| {
                s.append("q", 0, 0, 100);
                s.ok("a", "q", 0);
                s.session("c0", "q", 0);
                s.crash("b0", How::Power);
                s.recovered("b0", &[("q", 0)]);
                s.append("q", 0, 0, 100);
                s.ok("b", "q", 0);
                s.append("q", 1, 100, 200);
                s.ok("c", "q", 1);
                for (message, offset) in delivered.iter().zip(0..) {
                    s.deliver("c0", "q", offset, message);
                }
                s.holds("q", &["b", "c"]);
                s.drained(0);
            }
        };
        run("CON-1", Expect::Kept, "an answer from before a rewind was read after it", rewound(&["a", "c"]));
        run("CON-1", Expect::Kept, "what was there after it was delivered", rewound(&["b", "c"]));
        run("CON-1", Expect::Broken, "the second message after a rewind is passed over", rewound(&["a"]));
    }

    #[test]
    fn a_commit_covers_only_what_is_done() {
        run("CON-2", Expect::Broken, "highest finished instead of lowest unfinished", |s: &mut Script| {
            s.ok("a", "q", 0);
            s.ok("b", "q", 1);
            s.enter("c0", "q", 0, "a");
            s.deliver("c0", "q", 1, "b");
            s.stored("q", 2);
            s.exit("c0", "q", 0);
        });
        run("CON-2", Expect::Broken, "before the message was stored", |s| {
            s.append("q", 0, 0, 100);
            s.deliver("c0", "q", 0, "a");
            s.stored("q", 1);
            s.crash("b0", How::Power);
            s.recovered("b0", &[("q", 0)]);
            s.loaded("q", 1);
            s.append("q", 0, 0, 100);
        });
        run("CON-2", Expect::Kept, "the offset went back with the end of its queue", |s| {
            s.append("q", 0, 0, 100);
            s.deliver("c0", "q", 0, "a");
            s.stored("q", 1);
            s.crash("b0", How::Power);
            s.recovered("b0", &[("q", 0)]);
            s.loaded("q", 1);
            s.stored("q", 0);
            s.append("q", 0, 0, 100);
        });
        run("CON-2", Expect::Broken, "before the listener returned", |s| {
            s.ok("a", "q", 0);
            s.enter("c0", "q", 0, "a");
            s.stored("q", 1);
            s.exit("c0", "q", 0);
        });
        run("CON-2", Expect::Broken, "a message whose send timed out is due as well", |s| {
            s.sent("a", Outcome::Unknown, None);
            s.ok("b", "q", 1);
            s.deliver("c0", "q", 1, "b");
            s.stored("q", 2);
            s.holds("q", &["a", "b"]);
        });
        run("CON-2", Expect::Broken, "a neighbour of what rotted", |s| {
            s.ok("a", "q", 0);
            s.ok("b", "q", 1);
            s.rots("q", 1);
            s.stored("q", 2);
        });
        run("CON-2", Expect::Kept, "what rotted is passed", |s| {
            s.ok("a", "q", 0);
            s.rots("q", 0);
            s.stored("q", 1);
        });
        run("CON-2", Expect::Kept, "up to the lowest unfinished", |s| {
            s.ok("a", "q", 0);
            s.ok("b", "q", 1);
            s.deliver("c0", "q", 0, "a");
            s.enter("c0", "q", 1, "b");
            s.stored("q", 1);
        });
        run("CON-2", Expect::Kept, "given back, and the broker has it", |s| {
            s.ok("a", "q", 0);
            s.enter("c0", "q", 0, "a");
            s.defers("c0", "q", 0);
            s.sent_back("q", 0, 1, 3);
            s.stored("q", 1);
        });
        run("CON-2", Expect::Kept, "done by another member", |s| {
            s.ok("a", "q", 0);
            s.deliver("c1", "q", 0, "a");
            s.stored("q", 1);
        });
        run("CON-2", Expect::Kept, "it was lost, and the filter refuses what took its place", |s| {
            s.filter(0);
            s.tag("b", 1);
            s.append("q", 0, 0, 100);
            s.ok("a", "q", 0);
            s.crash("b0", How::Power);
            s.recovered("b0", &[("q", 0)]);
            s.append("q", 0, 0, 100);
            s.ok("b", "q", 0);
            s.stored("q", 1);
            s.holds("q", &["b"]);
        });
        run("CON-2", Expect::Kept, "what the filter refuses is not due", |s| {
            s.filter(0);
            s.tag("a", 1);
            s.ok("a", "q", 0);
            s.stored("q", 1);
        });
    }

    #[test]
    fn a_session_skips_nothing() {
        run("CON-3", Expect::Broken, "it starts beyond what was committed", |s: &mut Script| {
            s.stored("q", 5);
            s.wait(20.0);
            s.session("c0", "q", 7);
        });
        run("CON-3", Expect::Broken, "a fresh queue does not start at its end", |s| {
            s.session("c0", "q", 3);
        });
        run("CON-3", Expect::Broken, "a hole between two pulls", |s| {
            s.session("c0", "q", 0);
            s.pulled("q", 0, 4, 4);
            s.pulled("q", 5, 6, 1);
        });
        run("CON-3", Expect::Broken, "fewer messages than offsets", |s| {
            s.session("c0", "q", 0);
            s.pulled("q", 0, 4, 3);
        });
        run("CON-3", Expect::Broken, "what was synced is not forgotten when a sync fails", |s| {
            s.sync_flush();
            s.session("c0", "q", 0);
            s.sync_failing();
            s.pulled("q", 0, 4, 3);
        });
        run("CON-3", Expect::Kept, "the page cache has forgotten one since a sync failed", |s| {
            s.session("c0", "q", 0);
            s.sync_failing();
            s.pulled("q", 0, 4, 3);
        });
        run("CON-3", Expect::Kept, "contiguous from the committed offset", |s| {
            s.stored("q", 5);
            s.session("c0", "q", 5);
            s.pulled("q", 5, 9, 4);
            s.pulled("q", 9, 10, 1);
        });
        run("CON-3", Expect::Kept, "a commit overtook the answer", |s| {
            s.stored("q", 5);
            s.wait(1.0);
            s.stored("q", 6);
            s.session("c0", "q", 5);
        });
        run("CON-3", Expect::Kept, "the broker lost an unpersisted commit", |s| {
            s.stored("q", 5);
            s.persisted("b0");
            s.stored("q", 6);
            s.crash("b0", How::Process);
            s.loaded("q", 5);
            s.wait(9.0);
            s.session("c0", "q", 5);
        });
    }

    #[test]
    fn a_committed_offset_does_not_fall() {
        run("CON-6", Expect::Broken, "a late commit of a former owner", |s: &mut Script| {
            s.stored("q", 5);
            s.stored("q", 3);
        });
        run("CON-6", Expect::Broken, "less than was persisted", |s| {
            s.stored("q", 5);
            s.persisted("b0");
            s.crash("b0", How::Process);
            s.loaded("q", 3);
        });
        run("CON-6", Expect::Broken, "the whole table is gone", |s| {
            s.stored("q", 5);
            s.persisted("b0");
            s.crash("b0", How::Power);
            s.stored("q", 2);
        });
        run("CON-6", Expect::Broken, "persisted by the second of two writes", |s| {
            s.stored("q", 5);
            s.taken("b0");
            s.persisted("b0");
            s.crash("b0", How::Process);
            s.loaded("q", 3);
        });
        run("CON-6", Expect::Broken, "a clean stop leaves a commit behind", |s| {
            s.stored("q", 5);
            s.persisted("b0");
            s.stored("q", 9);
            s.crash("b0", How::Stop);
        });
        run("CON-6", Expect::Broken, "a commit was never written, for long", |s| {
            s.stored("q", 5);
            s.taken("b0");
            s.stored("q", 9);
            s.persisted_at_last("b0");
            s.wait(9.0);
            s.crash("b0", How::Process);
        });
        run("CON-6", Expect::Broken, "what could not be written was not tried again", |s| {
            s.stored("q", 5);
            s.taken("b0");
            s.wait(9.0);
            s.crash("b0", How::Process);
        });
        run("CON-6", Expect::Broken, "nor at a clean stop", |s| {
            s.stored("q", 5);
            s.persisted("b0");
            s.stored("q", 9);
            s.taken("b0");
            s.wait(60.0);
            s.crash("b0", How::Stop);
        });
        run("CON-6", Expect::Kept, "what could not be written was tried again, in vain", |s| {
            s.stored("q", 5);
            s.taken("b0");
            s.wait(60.0);
            s.taken("b0");
            s.wait(5.0);
            s.crash("b0", How::Process);
        });
        run("CON-6", Expect::Kept, "what could not be written was written at last", |s| {
            s.stored("q", 5);
            s.taken("b0");
            s.wait(5.0);
            s.persisted("b0");
            s.wait(60.0);
            s.crash("b0", How::Process);
        });
        run("CON-6", Expect::Kept, "a node that stood still wrote nothing", |s| {
            s.stored("q", 5);
            s.taken("b0");
            let step = s.slow(&["b0"]);
            s.wait(60.0);
            s.over(step);
            s.crash("b0", How::Process);
        });
        run("CON-6", Expect::Kept, "it died before it could write", |s| {
            s.stored("q", 5);
            s.persisted("b0");
            s.stored("q", 9);
            s.wait(7.0);
            s.crash("b0", How::Process);
        });
        run("CON-6", Expect::Kept, "stopped cleanly, and the disk took nothing", |s| {
            s.stored("q", 5);
            s.taken("b0");
            s.stored("q", 9);
            s.crash("b0", How::Stop);
        });
        run("CON-6", Expect::Kept, "stopped cleanly, with all written", |s| {
            s.stored("q", 5);
            s.persisted("b0");
            s.crash("b0", How::Stop);
            s.loaded("q", 5);
        });
        run("CON-6", Expect::Kept, "to what was persisted", |s| {
            s.stored("q", 5);
            s.persisted("b0");
            s.stored("q", 9);
            s.crash("b0", How::Process);
            s.loaded("q", 5);
            s.stored("q", 6);
        });
        run("CON-6", Expect::Kept, "to the end of a queue that lost its tail", |s| {
            s.append("q", 0, 0, 100);
            s.append("q", 1, 100, 200);
            s.stored("q", 2);
            s.persisted("b0");
            s.crash("b0", How::Power);
            s.recovered("b0", &[("q", 1)]);
            s.loaded("q", 2);
            s.stored("q", 1);
        });
        run("CON-6", Expect::Kept, "an answer comes when its broker is down already", |s| {
            s.stored("q", 5);
            s.persisted("b0");
            s.down("b0", How::Power);
            s.range("q", 0, 5);
            s.up("b0");
            s.loaded("q", 5);
        });
        run("CON-6", Expect::Broken, "nothing of the table was read", |s| {
            s.stored("q", 5);
            s.persisted("b0");
            s.crash("b0", How::Process);
            s.stored("q", 7);
        });
        run("CON-6", Expect::Kept, "the table was lost with the disk", |s| {
            s.stored("q", 5);
            s.persisted("b0");
            s.crash("b0", How::Disk);
            s.stored("q", 1);
        });
        run("CON-6", Expect::Kept, "never persisted, so nothing is promised", |s| {
            s.stored("q", 5);
            s.crash("b0", How::Process);
            s.stored("q", 1);
        });
    }

    #[test]
    fn what_lies_behind_the_end_that_a_group_found_is_for_it() {
        let found = |told: bool, next: u64| {
            move |s: &mut Script| {
                s.begins_at_end();
                s.holds("q", &["a", "b"]);
                s.ok("a", "q", 0);
                if told {
                    s.stored("q", 1);
                }
                s.session("c0", "q", 1);
                s.crash("c0", How::Process);
                s.ok("b", "q", 1);
                s.session("c1", "q", next);
                if next == 1 {
                    s.deliver("c1", "q", 1, "b");
                }
            }
        };
        run("CON-1", Expect::Broken, "its next owner begins at the end of then", found(true, 2));
        run("CON-1", Expect::Broken, "nobody was told where it begins", found(false, 2));
        run("CON-3", Expect::Broken, "it reads before it has told", found(false, 1));
        run("CON-1", Expect::Kept, "what lies before it is not", found(true, 1));
        run("CON-3", Expect::Kept, "its next owner goes on there", found(true, 1));
        run("CON-1", Expect::Kept, "its broker forgot it, and it begins anew", |s| {
            found(true, 1)(s);
            s.holds("r", &["c"]);
            s.ok("c", "r", 0);
            s.stored("r", 0);
            s.session("c1", "r", 0);
            s.crash("b0", How::Process);
            s.end("c1", "r");
            s.stored("r", 1);
            s.session("c1", "r", 1);
        });
        let again = |next: u64| {
            move |s: &mut Script| {
                found(true, next)(s);
                s.stored("q", 2);
                s.crash("b0", How::Process);
                s.end("c1", "q");
                s.stored("q", 0);
                s.session("c1", "q", 0);
                s.deliver("c1", "q", 0, "a");
                s.deliver("c1", "q", 1, "b");
            }
        };
        run("CON-2", Expect::Kept, "its broker forgot it, and it begins with the first", again(1));
        run("CON-2", Expect::Broken, "what came since had not been consumed", again(2));
    }

    #[test]
    fn a_group_gets_what_its_filter_takes() {
        run("CON-7", Expect::Broken, "another tag", |s: &mut Script| {
            s.filter(0);
            s.tag("a", 1);
            s.ok("a", "q", 0);
            s.deliver("c0", "q", 0, "a");
        });
        run("CON-7", Expect::Broken, "among others that are right", |s| {
            s.filter(1);
            s.tag("a", 1);
            s.ok("a", "q", 0);
            s.ok("b", "q", 1);
            s.deliver("c0", "q", 0, "a");
            s.deliver("c0", "q", 1, "b");
        });
        run("CON-7", Expect::Kept, "its tag", |s| {
            s.filter(1);
            s.tag("a", 1);
            s.ok("a", "q", 0);
            s.deliver("c0", "q", 0, "a");
        });
        run("CON-7", Expect::Kept, "no filter", |s| {
            s.tag("a", 1);
            s.ok("a", "q", 0);
            s.deliver("c0", "q", 0, "a");
        });
    }
}
