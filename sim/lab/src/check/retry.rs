//! RTY-1 and RTY-3 to RTY-5: messages that a group could not handle come again, and end as dead letters. RTY-2 is
//! judged with CON-2: it is about what a commit covers.

use std::collections::{BTreeMap, BTreeSet};

use super::consume::{Commits, passed_before_rewinds};
use super::silence::shaken;
use super::view::Delivery;
use super::{Judged, Rule, View, seconds, witness};
use crate::history::{GroupId, Kind, MessageId, NodeId, Outcome, QueueContent, Slot};
use crate::plan::FIRST_RETRY_LEVEL;

pub(super) fn check(view: &View<'_>, judged: &mut Judged) {
    let back = Back::collect(view);
    judge_back(view, &back, judged);
    counts(view, judged);
    in_time(view, judged);
    stuck(view, &back, judged);
    dead_letters(view, &back, judged);
    let calm = view.history.steps.is_empty();
    if calm {
        once(view, &back, judged);
    }
    conserved(view, &back, judged);
}

/// One message that a broker took back.
#[derive(Clone, Copy)]
struct Returned {
    event: usize,
    group: GroupId,
    slot: Slot,
    message: MessageId,
    /// Tries at this place, by what is stored there.
    had: u32,
    /// Tries by the broker's word.
    times: u32,
    level: u32,
    dead: bool,
    code: i32,
    /// Where it is stored, and up to where in the log.
    to: Slot,
    end: u64,
    /// Another may have been meant.
    mistaken: bool,
}

/// One copy that a client sent because nobody took the message back.
#[derive(Clone, Copy)]
struct Copied {
    event: usize,
    times: u32,
    to: NodeId,
    done: bool,
}

/// All that went back.
struct Back {
    all: Vec<Returned>,
    copies: BTreeMap<(GroupId, MessageId), Vec<Copied>>,
}

impl Back {
    fn collect(view: &View<'_>) -> Self {
        let (mut all, mut copies) = (Vec::new(), BTreeMap::new());
        // What each group found at each place last, and how many tries it had had. The listener's count grows also
        // with tries that the broker does not know of: the lowest one tells.
        let mut places: BTreeMap<(GroupId, Slot), (MessageId, u32)> = BTreeMap::new();
        // What is given back is named by its position in the log, which a loss of power may have given to another, and
        // by its unique key; that of a transaction has not the form of one here, and says nothing.
        let mut positions: BTreeMap<Slot, u64> = BTreeMap::new();
        let mut given: BTreeMap<(NodeId, u64), u32> = BTreeMap::new();
        let unnamed = view.history.messages.iter().any(|message| message.transactional);
        for (event, told) in view.history.events.iter().enumerate() {
            match told.kind {
                Kind::Enter { member, slot, message: Some(message), times, .. } => {
                    let group = view.history.members[member.index()].group;
                    let known = places.entry((group, slot)).or_insert((message, times));
                    *known =
                        if known.0 == message { (message, times.min(known.1)) } else { (message, times) };
                }
                Kind::Append { slot, position, .. } => {
                    positions.insert(slot, position);
                    *given.entry((told.node, position)).or_default() += 1;
                }
                Kind::SentBack { group, slot, times, level, dead, code, to, end } => {
                    let Some(&(message, had)) = places.get(&(group, slot)) else { continue };
                    let position = positions.get(&slot).map(|position| (told.node, *position));
                    let again = position.and_then(|position| given.get(&position)).is_some_and(|it| *it > 1);
                    all.push(Returned {
                        event,
                        group,
                        slot,
                        message,
                        had,
                        times,
                        level,
                        dead,
                        code,
                        to,
                        end,
                        mistaken: unnamed && again,
                    });
                }
                Kind::CopiedBack { group, slot, times, to, done } => {
                    let Some(&(message, _)) = places.get(&(group, slot)) else { continue };
                    let copied = Copied { event, times, to, done };
                    copies.entry((group, message)).or_insert_with(Vec::new).push(copied);
                }
                _ => {}
            }
        }
        Self { all, copies }
    }

    fn copies(&self, group: GroupId, message: MessageId) -> &[Copied] {
        self.copies.get(&(group, message)).map_or(&[], Vec::as_slice)
    }
}

fn group_of(view: &View<'_>, delivery: &Delivery) -> GroupId {
    view.history.members[delivery.member.index()].group
}

/// Deliveries of each message to each group, in order.
fn tries<'a>(view: &'a View<'_>) -> BTreeMap<(GroupId, MessageId), Vec<&'a Delivery>> {
    let mut tries: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for delivery in &view.deliveries {
        if let Some(message) = delivery.message {
            tries.entry((group_of(view, delivery), message)).or_default().push(delivery);
        }
    }
    tries
}

/// RTY-1, RTY-3 and RTY-4 of each return: level, limit and count.
fn judge_back(view: &View<'_>, back: &Back, judged: &mut Judged) {
    let history = view.history;
    let mut held: BTreeMap<(GroupId, Slot), Vec<&Delivery>> = BTreeMap::new();
    for delivery in &view.deliveries {
        held.entry((group_of(view, delivery), delivery.slot)).or_default().push(delivery);
    }
    for &Returned { event, group, slot, message, had, times, level, dead, mistaken, .. } in &back.all {
        let limit = history.groups[group.index()].limit;
        let name = history.message_name(message);
        let levels = view.delays_ms(history.events[event].node, event).len() as u32;
        let told = || witness(history, Some(message), slot.queue, slot.offset);
        judged.count(Rule::Rty4, 1);
        if times != had + 1 {
            let sentence = format!("Message {name} had had {had} tries and was taken back after {times}.");
            judged.broken(view, Rule::Rty4, event, told(), sentence);
        }
        judged.count(Rule::Rty3, 1);
        if dead != (had >= limit) {
            let end = if dead { "became a dead letter" } else { "was to be tried again" };
            let sentence = format!("Message {name} {end} after {had} tries; the limit is {limit}.");
            judged.broken(view, Rule::Rty3, event, told(), sentence);
        } else if dead && level > 0 {
            let sentence = format!("The dead letter of message {name} is delayed by level {level}.");
            judged.broken(view, Rule::Rty3, event, told(), sentence);
        }
        // Who gives it back has failed with it, or its listener has had it for too long.
        let timeout_ns = history.groups[group.index()].timeout_ms * 1_000_000;
        let held = held.get(&(group, slot)).map_or(&[][..], Vec::as_slice);
        let failed = held.iter().any(|it| it.deferred.is_some_and(|deferred| deferred < event));
        let late = held.iter().any(|it| view.at(it.entered) + timeout_ns <= view.at(event));
        judged.count(Rule::Rty1, 1);
        if !failed && !late && !mistaken {
            let sentence = format!(
                "Message {name} was taken back at {}, when no listener had failed with it, nor had it for too long.",
                seconds(view.at(event))
            );
            judged.broken(view, Rule::Rty1, event, told(), sentence);
        }
        if !dead && levels > 0 {
            let wanted = (FIRST_RETRY_LEVEL + had).min(levels);
            // A message that a listener had for too long waits on the first level whatever tries it has had.
            if level != wanted && !(late && level == FIRST_RETRY_LEVEL.min(levels)) {
                let sentence = format!(
                    "Message {name} waits after {had} tries on level {level}; its level would be {wanted}."
                );
                judged.broken(view, Rule::Rty1, event, told(), sentence);
            }
        }
    }
}

/// RTY-4: who gets a message for the n-th time, or finds it with so many tries, can name the try before.
fn counts(view: &View<'_>, judged: &mut Judged) {
    let history = view.history;
    let mut seen: BTreeSet<(GroupId, MessageId, u32)> = BTreeSet::new();
    for delivery in &view.deliveries {
        let (Some(message), group) = (delivery.message, group_of(view, delivery)) else { continue };
        judged.count(Rule::Rty4, 1);
        let retried =
            history.queues[delivery.slot.queue.index()].topic == history.groups[group.index()].retry;
        let known = match delivery.times.checked_sub(1) {
            Some(before) => seen.contains(&(group, message, before)),
            None => !retried,
        };
        seen.insert((group, message, delivery.times));
        if !known {
            let sentence = format!(
                "Message {} came to group {} from {} after {} tries, and no try before that is known.",
                history.message_name(message),
                history.group_name(group),
                history.slot_name(delivery.slot),
                delivery.times
            );
            let told = witness(history, Some(message), delivery.slot.queue, delivery.slot.offset);
            judged.broken(view, Rule::Rty4, delivery.entered, told, sentence);
        }
    }
    let of = |group: GroupId| &history.groups[group.index()];
    for (group, content) in of_groups(view, |group| [of(group).retry, of(group).dlq]) {
        for read in &content.read {
            let Some(message) = read.message else { continue };
            judged.count(Rule::Rty4, 1);
            if read.times.checked_sub(1).is_none_or(|before| !seen.contains(&(group, message, before))) {
                let slot = Slot { queue: content.queue, offset: read.offset };
                let sentence = format!(
                    "Message {} lies at {} with {} tries, and the group never had the one before.",
                    history.message_name(message),
                    history.slot_name(slot),
                    read.times
                );
                let told = witness(history, Some(message), slot.queue, slot.offset);
                judged.broken(view, Rule::Rty4, view.last(), told, sentence);
            }
        }
    }
}

/// RTY-1: a retry comes after the delay of its level, whoever took the message back.
fn in_time(view: &View<'_>, judged: &mut Judged) {
    let history = view.history;
    // DLY-1 judges by how much a clock that is set brings a message forward.
    if history.steps.iter().any(|step| step.clock) {
        return;
    }
    let mut failed: BTreeMap<(GroupId, MessageId, u32), usize> = BTreeMap::new();
    let mut seen: BTreeSet<(GroupId, Slot, MessageId)> = BTreeSet::new();
    for delivery in &view.deliveries {
        let (Some(message), group) = (delivery.message, group_of(view, delivery)) else { continue };
        failed.entry((group, message, delivery.times)).or_insert(delivery.entered);
        let queue = history.queues[delivery.slot.queue.index()];
        let retried = queue.topic == history.groups[group.index()].retry;
        let Some(before) = delivery.times.checked_sub(1).filter(|_| retried) else { continue };
        // The same place once more is a try of the client's own, or of another owner.
        if !seen.insert((group, delivery.slot, message)) {
            continue;
        }
        let Some(&tried) = failed.get(&(group, message, before)) else { continue };
        judged.count(Rule::Rty1, 1);
        let level = FIRST_RETRY_LEVEL + before;
        let least_ms = |level| view.least_delay_ms(queue.broker, level, tried, delivery.entered);
        let overdue_ms = history.groups[group.index()].timeout_ms + least_ms(FIRST_RETRY_LEVEL);
        let delay_ms = least_ms(level).min(overdue_ms);
        let (since, at) = (view.at(tried), view.at(delivery.entered));
        if at + ROUNDING < since + delay_ms * 1_000_000 {
            let sentence = format!(
                "Message {} came to group {} again {} after try {before}; the delay of its level is {delay_ms} ms.",
                history.message_name(message),
                history.group_name(group),
                seconds(at - since)
            );
            let told = witness(history, Some(message), delivery.slot.queue, delivery.slot.offset);
            judged.broken(view, Rule::Rty1, delivery.entered, told, sentence);
        }
    }
}

/// RTY-1: what a listener has for too long is given back, once everything before it in its queue is done, when nothing is
/// wrong and as long as its member has the queue.
fn stuck(view: &View<'_>, back: &Back, judged: &mut Judged) {
    let history = view.history;
    let troubles = view.troubles();
    let mut sessions: BTreeMap<_, Vec<&Delivery>> = BTreeMap::new();
    for delivery in &view.deliveries {
        if let Some(session) = delivery.session {
            sessions.entry(session).or_default().push(delivery);
        }
    }
    for (session, held) in &mut sessions {
        let dropped = view.session_end(&view.sessions[session.index()]);
        held.sort_by_key(|it| it.slot.offset);
        let mut free = 0; // when the last of those before it was done
        for delivery in held {
            let Some(ended) = delivery.succeeded.or(delivery.deferred) else { break };
            let (entered, ended) = (view.at(delivery.entered), view.at(ended));
            let group = group_of(view, delivery);
            let timeout_ns = history.groups[group.index()].timeout_ms * 1_000_000;
            let most = free.max(entered) + 2 * timeout_ns + GIVEN_BACK;
            free = free.max(ended);
            if ended.min(dropped) <= most {
                continue;
            }
            judged.count(Rule::Rty1, 1);
            let (member, queue) = (history.members[delivery.member.index()].node, delivery.slot.queue);
            let shaken = |node| shaken(&troubles, node, entered, ended);
            let asked = delivery.message.is_some_and(|message| !back.copies(group, message).is_empty());
            let returned =
                |it: &Returned| (it.group, it.slot) == (group, delivery.slot) && it.event > delivery.entered;
            if asked
                || shaken(member)
                || shaken(history.queues[queue.index()].broker)
                || back.all.iter().any(returned)
            {
                continue;
            }
            let sentence = format!(
                "A listener of group {} had what is at {} for {}, and it was not given back meanwhile.",
                history.group_name(group),
                history.slot_name(delivery.slot),
                seconds(ended - entered)
            );
            let told = witness(history, delivery.message, queue, delivery.slot.offset);
            judged.broken(view, Rule::Rty1, delivery.entered, told, sentence);
        }
    }
}

/// RTY-3: a dead letter for each that died, and none for which no last try failed.
fn dead_letters(view: &View<'_>, back: &Back, judged: &mut Judged) {
    let history = view.history;
    let mut contents: BTreeMap<_, &QueueContent> = BTreeMap::new();
    for content in &view.audit.queues {
        contents.insert(content.queue, content);
    }
    for died in back.all.iter().filter(|back| back.dead && back.code == 0) {
        judged.count(Rule::Rty3, 1);
        let broker = history.queues[died.to.queue.index()].broker;
        let there = contents.get(&died.to.queue).is_some_and(|content| {
            let mut at = content.read.iter().filter(|read| read.offset == died.to.offset);
            at.any(|read| read.message == Some(died.message))
        });
        let excused =
            view.may_be_lost(broker, died.event, died.end) || view.made_room(died.to) || view.rots(died.to);
        if !there && !excused && view.drained.is_some() {
            let sentence = format!(
                "Message {} of group {} died at {}, and there is no dead letter of it at {}.",
                history.message_name(died.message),
                history.group_name(died.group),
                seconds(view.at(died.event)),
                history.slot_name(died.to)
            );
            let told = witness(history, Some(died.message), died.slot.queue, died.slot.offset);
            judged.broken(view, Rule::Rty3, died.event, told, sentence);
        }
    }
    let tries = tries(view);
    let mistaken = back.all.iter().filter(|it| it.dead && it.mistaken);
    let mistaken: Vec<_> = mistaken.map(|it| (it.group, it.message)).collect();
    for ((group, message), count) in letters(view) {
        judged.count(Rule::Rty3, 1);
        let limit = history.groups[group.index()].limit;
        let all = tries.get(&(group, message)).map_or(&[][..], Vec::as_slice);
        let failed = all.iter().filter(|it| it.times >= limit && it.succeeded.is_none()).count();
        let failed = failed + mistaken.iter().filter(|it| **it == (group, message)).count();
        // Of one whose return was not answered there may be a copy as well.
        let copies = back.copies(group, message).iter().filter(|it| !it.done && it.times > limit).count();
        // Without taps nobody knows of which: of each, when something may have kept the answer.
        let copies = if history.untapped && !history.steps.is_empty() { failed } else { copies };
        if count > failed + copies {
            let sentence = format!(
                "There are {count} dead letters of message {} in group {}, whose last try failed {failed} times.",
                history.message_name(message),
                history.group_name(group)
            );
            let event = all.last().map_or(view.last(), |it| it.entered);
            judged.broken(view, Rule::Rty3, event, history.message_name(message), sentence);
        }
    }
}

/// RTY-1 and RTY-3 when nothing goes wrong: what was taken back does not come again from the same place as long as its
/// queue stays with its owner, and what died comes no more.
fn once(view: &View<'_>, back: &Back, judged: &mut Judged) {
    let history = view.history;
    let tries = tries(view);
    // What was stored and not vouched for, and is given back again or copied: two chains.
    let forks = |unsure: &&Returned| {
        let again = |it: &Returned| it.slot == unsure.slot && it.group == unsure.group;
        unsure.code != 0
            && (back.all.iter().any(|it| it.event > unsure.event && again(it))
                || back.copies(unsure.group, unsure.message).iter().any(|it| it.event > unsure.event))
    };
    let forked = back.all.iter().filter(forks).map(|it| (it.group, it.message));
    // So is a copy that nobody vouched for: another follows it, or the listener gets the message again.
    let doubtful = |copies: &[Copied]| 2 * copies.iter().filter(|it| it.done).count() < copies.len();
    let copied = back.copies.iter().filter(|(_, copies)| doubtful(copies)).map(|(key, _)| *key);
    let forked: BTreeSet<_> = forked.chain(copied).collect();
    for back in back.all.iter().filter(|back| back.code == 0) {
        let Some(all) = tries.get(&(back.group, back.message)) else { continue };
        let (before, after) = all.split_at(all.partition_point(|it| it.entered < back.event));
        let session = before.iter().rev().find(|it| it.slot == back.slot).and_then(|it| it.session);
        let distinct = before.iter().map(|it| (it.slot, it.times)).collect::<BTreeSet<_>>().len();
        let one_chain = distinct == before.len()
            && history.messages[back.message.index()].attempts == 1
            && !forked.contains(&(back.group, back.message));
        let known = |it: &Delivery| before.iter().any(|before| before.slot == it.slot);
        // Who got an older one of its places once more gave that back as well.
        let first_new = after.iter().take_while(|it| !known(it)).find(|_| back.dead && one_chain);
        let same = |it: &&&Delivery| it.slot == back.slot && it.session.is_some() && it.session == session;
        let again = after.iter().find(same).or(first_new);
        let Some(again) = again else { continue };
        let (rule, how) =
            if back.dead { (Rule::Rty3, "died") } else { (Rule::Rty1, "was to be tried again later") };
        let sentence = format!(
            "Message {} {how} at {} and was delivered to group {} again at {}.",
            history.message_name(back.message),
            seconds(view.at(back.event)),
            history.group_name(back.group),
            seconds(view.at(again.entered))
        );
        let told = witness(history, Some(back.message), again.slot.queue, again.slot.offset);
        judged.broken(view, rule, again.entered, told, sentence);
    }
}

/// RTY-5: in the end each message that a listener failed with was handled after all, or is a dead letter.
fn conserved(view: &View<'_>, back: &Back, judged: &mut Judged) {
    let history = view.history;
    if view.drained.is_none_or(|(_, _, rest)| rest > 0) {
        return;
    }
    let letters = letters(view);
    let way = Way::collect(view);
    let mut returned: BTreeMap<(GroupId, MessageId), Vec<&Returned>> = BTreeMap::new();
    for back in &back.all {
        returned.entry((back.group, back.message)).or_default().push(back);
    }
    for (&(group, message), tries) in &tries(view) {
        let Some(failed) = tries.iter().rev().find(|it| it.deferred.is_some()) else { continue };
        judged.count(Rule::Rty5, 1);
        let handled = tries.iter().any(|it| it.succeeded.is_some());
        if handled || letters.contains_key(&(group, message)) {
            continue;
        }
        let returned = returned.get(&(group, message)).map_or(&[][..], Vec::as_slice);
        let excused = returned.iter().any(|back| way.lost(view, back))
            || back.copies(group, message).iter().any(|copied| may_be_lost(view, copied))
            || tries.iter().any(|it| way.lost_at_first(view, it, message))
            // Where a queue lost its tail a member from before that goes on beyond what nobody has given back.
            || returned.is_empty()
                && !back.copies(group, message).iter().any(|copied| copied.done)
                && view.ever_excused(failed.slot.queue);
        if excused {
            continue;
        }
        let sentence = format!(
            "Message {} failed in group {} at {}, {} times in all; in the end it was neither handled nor is it a dead letter.",
            history.message_name(message),
            history.group_name(group),
            seconds(view.at(failed.entered)),
            tries.len()
        );
        let told = witness(history, Some(message), failed.slot.queue, failed.slot.offset);
        judged.broken(view, Rule::Rty5, failed.entered, told, sentence);
    }
}

/// True when a loss of power beyond what its broker promised, or a full disk, may have taken a copy.
fn may_be_lost(view: &View<'_>, copied: &Copied) -> bool {
    let history = view.history;
    let safe = history.brokers.iter().any(|broker| broker.node == copied.to && broker.sync_flush);
    let mut outages = view.outages_of(copied.to).iter();
    copied.done && !safe && outages.any(|it| it.loses && it.event > copied.event)
        || copied.done && fills(view, copied.to)
}

fn fills(view: &View<'_>, broker: NodeId) -> bool {
    view.history.steps.iter().any(|step| step.fills && step.nodes.contains(&broker))
}

/// What became of messages on their way.
struct Way {
    /// From the schedule topic to the queue they are meant for.
    delivered: BTreeMap<Slot, Slot>,
    skipped: BTreeSet<Slot>,
    appends: BTreeMap<Slot, Vec<(usize, u64)>>,
    commits: Commits,
}

impl Way {
    fn collect(view: &View<'_>) -> Self {
        let (mut delivered, mut skipped) = (BTreeMap::new(), BTreeSet::new());
        for event in &view.history.events {
            match event.kind {
                Kind::DelayDelivered { from, to } => drop(delivered.insert(from, to)),
                Kind::DelaySkipped { from } => drop(skipped.insert(from)),
                _ => {}
            }
        }
        Self { delivered, skipped, appends: view.appends(), commits: Commits::collect(view) }
    }

    /// True when what a broker took back may be lost rightly: a loss of power took what was not flushed, or a full disk
    /// the oldest, or it came to a place that the group had passed before its queue was cut off.
    fn lost(&self, view: &View<'_>, back: &Returned) -> bool {
        let broker = view.history.queues[back.to.queue.index()].broker;
        let removed = self.skipped.contains(&back.to) && fills(view, broker) || view.made_room(back.to);
        let unseen = self.delivered.get(&back.to).is_some_and(|to| {
            let passed = passed_before_rewinds(view, &self.commits, back.group, to.queue);
            view.made_room(*to) || passed.iter().any(|places| places.contains(&to.offset))
        });
        removed || unseen || view.may_be_lost(broker, back.event, back.end)
    }

    /// True when the message may have been lost rightly where it was at first.
    fn lost_at_first(&self, view: &View<'_>, delivery: &Delivery, message: MessageId) -> bool {
        let (history, slot) = (view.history, delivery.slot);
        let queue = history.queues[slot.queue.index()];
        let appends = self.appends.get(&slot).map_or(&[][..], Vec::as_slice);
        // What its sender was not told of, nobody promised.
        let send = &view.sends[message.index()];
        let acknowledged = send.outcome == Some(Outcome::Ok);
        // Another may have taken its place before the listener got it.
        let told = send.returned.filter(|_| acknowledged).unwrap_or(delivery.entered);
        let before = appends.iter().rfind(|(event, _)| *event < delivery.entered.min(told));
        let known = before.filter(|_| queue.topic == history.messages[message.index()].topic);
        view.made_room(slot)
            || (!acknowledged || view.ever_excused(slot.queue))
                && known.is_some_and(|(event, end)| view.may_be_lost(queue.broker, *event, *end))
    }
}

/// Dead letters of each message, by group.
fn letters(view: &View<'_>) -> BTreeMap<(GroupId, MessageId), usize> {
    let mut letters = BTreeMap::new();
    for (group, content) in of_groups(view, |group| [view.history.groups[group.index()].dlq]) {
        for message in content.read.iter().filter_map(|read| read.message) {
            *letters.entry((group, message)).or_default() += 1;
        }
    }
    letters
}

/// Contents of each group's own topics.
fn of_groups<'a, const N: usize>(
    view: &'a View<'a>,
    topics: impl Fn(GroupId) -> [crate::history::TopicId; N],
) -> Vec<(GroupId, &'a QueueContent)> {
    let groups = (0..view.history.groups.len() as u32).map(GroupId);
    groups
        .flat_map(|group| {
            let topics = topics(group);
            let queues = view.audit.queues.iter();
            queues
                .filter(move |content| topics.contains(&view.history.queues[content.queue.index()].topic))
                .map(move |content| (group, content))
        })
        .collect()
}

/// Times of brokers are whole milliseconds.
const ROUNDING: u64 = 2_000_000;
/// What it may take to give a message back.
const GIVEN_BACK: u64 = 10_000_000_000;

#[cfg(test)]
mod tests {
    use super::super::script::{Expect, Script, run};
    use crate::history::How;

    fn defer(s: &mut Script, queue: &str, offset: u64, message: &str) {
        s.enter("c0", queue, offset, message);
        s.defers("c0", queue, offset);
    }

    /// A try that failed, of one that had had so many.
    fn tried(s: &mut Script, queue: &str, offset: u64, message: &str, times: u32) {
        s.enter_after("c0", queue, offset, message, times);
        s.defers("c0", queue, offset);
    }

    #[test]
    fn a_try_comes_after_the_delay_of_its_level() {
        run("RTY-1", Expect::Broken, "at once, though it was taken back", |s: &mut Script| {
            s.ok("a", "q", 0);
            s.session("c0", "q", 0);
            defer(s, "q", 0, "a");
            s.sent_back("q", 0, 1, 3);
            s.deliver("c0", "q", 0, "a");
        });
        run("RTY-1", Expect::Broken, "before the delay of its level was over", |s| {
            s.ok("a", "q", 0);
            tried(s, "q", 0, "a", 0);
            s.copied_back("q", 0, 1, true);
            s.wait(9.0);
            tried(s, "retry", 0, "a", 1);
        });
        run("RTY-1", Expect::Kept, "after the delay of its level", |s| {
            s.ok("a", "q", 0);
            tried(s, "q", 0, "a", 0);
            s.copied_back("q", 0, 1, true);
            s.wait(10.0);
            tried(s, "retry", 0, "a", 1);
        });
        run(
            "RTY-1",
            Expect::Broken,
            "before the delay of its level was over, which was set meanwhile",
            |s| {
                s.ok("a", "q", 0);
                tried(s, "q", 0, "a", 0);
                s.copied_back("q", 0, 1, true);
                s.levels(How::Stop, &[1000, 5000, 8000]);
                s.wait(7.0);
                tried(s, "retry", 0, "a", 1);
            },
        );
        run("RTY-1", Expect::Kept, "its level became shorter", |s| {
            s.ok("a", "q", 0);
            tried(s, "q", 0, "a", 0);
            s.copied_back("q", 0, 1, true);
            s.levels(How::Stop, &[1000, 5000]);
            s.wait(5.0);
            tried(s, "retry", 0, "a", 1);
        });
        run("RTY-1", Expect::Broken, "a level that there is no more", |s| {
            s.ok("a", "q", 0);
            s.levels(How::Stop, &[1000, 5000]);
            defer(s, "q", 0, "a");
            s.sent_back("q", 0, 1, 3);
        });
        run("RTY-1", Expect::Kept, "the last level that there still is", |s| {
            s.ok("a", "q", 0);
            s.levels(How::Stop, &[1000, 5000]);
            defer(s, "q", 0, "a");
            s.sent_back("q", 0, 1, 2);
        });
        run("RTY-1", Expect::Kept, "the queue has another owner", |s| {
            s.ok("a", "q", 0);
            s.session("c0", "q", 0);
            defer(s, "q", 0, "a");
            s.sent_back("q", 0, 1, 3);
            s.end("c0", "q");
            s.session("c1", "q", 0);
            s.deliver("c1", "q", 0, "a");
        });
        run("RTY-1", Expect::Broken, "the level of the next try", |s: &mut Script| {
            s.ok("a", "q", 0);
            defer(s, "q", 0, "a");
            s.sent_back("q", 0, 1, 4);
        });
        run("RTY-1", Expect::Broken, "always the same level", |s| {
            s.ok("a", "q", 0);
            defer(s, "q", 0, "a");
            s.sent_back("q", 0, 1, 3);
            s.holds("retry", &["a"]);
            s.last_read().times = 1;
            tried(s, "retry", 0, "a", 1);
            s.sent_back("retry", 0, 2, 3);
        });
        run("RTY-1", Expect::Kept, "level by level", |s| {
            s.ok("a", "q", 0);
            defer(s, "q", 0, "a");
            s.sent_back("q", 0, 1, 3);
            s.wait(10.0);
            s.holds("retry", &["a"]);
            s.last_read().times = 1;
            tried(s, "retry", 0, "a", 1);
            s.sent_back("retry", 0, 2, 4);
        });
        run("RTY-1", Expect::Kept, "not beyond the last level", |s| {
            s.ok("a", "q", 0);
            s.holds("retry", &["a"]);
            s.last_read().times = 2;
            tried(s, "retry", 0, "a", 2);
            s.sent_back("retry", 0, 3, 4);
        });
    }

    #[test]
    fn who_has_a_message_for_too_long_loses_it() {
        // After 10 s.
        let enters = |s: &mut Script| {
            s.ok("a", "q", 0);
            s.session("c0", "q", 0);
            s.enter("c0", "q", 0, "a");
        };
        run("RTY-1", Expect::Broken, "its listener works yet, and not for long", |s: &mut Script| {
            enters(s);
            s.wait(6.0);
            s.sent_back("q", 0, 1, 3);
        });
        run("RTY-1", Expect::Broken, "it was done with it", |s| {
            enters(s);
            s.exit("c0", "q", 0);
            s.sent_back("q", 0, 1, 3);
        });
        run("RTY-1", Expect::Broken, "its listener is stuck, and nothing happens", |s| {
            enters(s);
            s.wait(40.0);
            s.exit("c0", "q", 0);
        });
        let loses = |after_s: f64| {
            move |s: &mut Script| {
                enters(s);
                s.wait(after_s);
                s.end("c0", "q");
                s.wait(40.0 - after_s);
                s.exit("c0", "q", 0);
            }
        };
        run("RTY-1", Expect::Broken, "its member loses the queue when it is too late", loses(38.0));
        run("RTY-1", Expect::Kept, "its member loses the queue", loses(1.0));
        // Somebody had what was at this position before the power took it.
        let for_another = |how, position: u64| {
            move |s: &mut Script| {
                s.half("t", 0);
                s.append("r", 0, position, position + 100);
                s.crash("b0", how);
                enters(s);
                s.append("q", 0, 300, 400);
                s.exit("c0", "q", 0);
                s.sent_back("q", 0, 1, 3);
            }
        };
        run("RTY-1", Expect::Broken, "nobody had another from there", for_another(How::Power, 100));
        run("RTY-1", Expect::Kept, "somebody had another from there", for_another(How::Power, 300));
        run("RTY-1", Expect::Kept, "it is taken from it in time", |s| {
            enters(s);
            s.wait(12.0);
            s.sent_back("q", 0, 1, 3);
            s.wait(28.0);
            s.exit("c0", "q", 0);
        });
        run("RTY-1", Expect::Kept, "it takes long, but not so long that somebody must see it", |s| {
            enters(s);
            s.wait(25.0);
            s.exit("c0", "q", 0);
        });
        run("RTY-1", Expect::Kept, "something before it is not done", |s| {
            s.ok("b", "q", 1);
            enters(s);
            s.enter("c0", "q", 1, "b");
            s.wait(12.0);
            s.sent_back("q", 0, 1, 3);
            s.wait(28.0);
            s.exit("c0", "q", 1);
            s.exit("c0", "q", 0);
        });
    }

    #[test]
    fn what_cannot_be_given_back_holds_the_offset() {
        run("RTY-2", Expect::Broken, "passed without a word of the broker", |s: &mut Script| {
            s.ok("a", "q", 0);
            defer(s, "q", 0, "a");
            s.stored("q", 1);
        });
        run("RTY-2", Expect::Broken, "passed before the word came", |s| {
            s.ok("a", "q", 0);
            defer(s, "q", 0, "a");
            s.stored("q", 1);
            s.sent_back("q", 0, 1, 3);
        });
        run("RTY-2", Expect::Kept, "the broker had it", |s| {
            s.ok("a", "q", 0);
            defer(s, "q", 0, "a");
            s.sent_back("q", 0, 1, 3);
            s.stored("q", 1);
        });
        run("RTY-2", Expect::Broken, "a copy was sent and not answered", |s| {
            s.ok("a", "q", 0);
            defer(s, "q", 0, "a");
            s.copied_back("q", 0, 1, false);
            s.stored("q", 1);
        });
        run("RTY-2", Expect::Kept, "a copy of it is stored", |s| {
            s.ok("a", "q", 0);
            defer(s, "q", 0, "a");
            s.copied_back("q", 0, 1, true);
            s.stored("q", 1);
        });
        run("RTY-2", Expect::Kept, "handled here in the end", |s| {
            s.ok("a", "q", 0);
            defer(s, "q", 0, "a");
            s.deliver("c0", "q", 0, "a");
            s.stored("q", 1);
        });
    }

    #[test]
    fn a_message_dies_once() {
        run("RTY-3", Expect::Broken, "before its last try", |s: &mut Script| {
            s.ok("a", "q", 0);
            defer(s, "q", 0, "a");
            s.sent_back("q", 0, 1, 0);
            s.holds("dead", &["a"]);
        });
        run("RTY-3", Expect::Broken, "two letters", |s| {
            s.ok("a", "q", 0);
            s.holds("retry", &["a"]);
            s.last_read().times = 3;
            tried(s, "retry", 0, "a", 3);
            s.sent_back("retry", 0, 4, 0);
            s.holds("dead", &["a", "a"]);
        });
        run("RTY-3", Expect::Broken, "no letter", |s| {
            s.ok("a", "q", 0);
            s.holds("retry", &["a"]);
            s.last_read().times = 3;
            tried(s, "retry", 0, "a", 3);
            s.sent_back("retry", 0, 4, 0);
            s.drained(0);
        });
        run("RTY-3", Expect::Broken, "tried again afterwards", |s| {
            s.ok("a", "q", 0);
            s.holds("retry", &["a"]);
            s.last_read().times = 3;
            tried(s, "retry", 0, "a", 3);
            s.sent_back("retry", 0, 4, 0);
            s.holds("dead", &["a"]);
            s.enter("c0", "retry", 1, "a");
        });
        // It fails, is given back with these codes, dies, and comes again from another place.
        let again = |codes: &'static [i32], copied: bool| {
            move |s: &mut Script| {
                s.ok("a", "q", 0);
                tried(s, "q", 0, "a", 0);
                for code in codes {
                    s.sent_back_with("q", 0, 1, 3, *code);
                }
                if copied {
                    s.copied_back("q", 0, 1, true);
                }
                tried(s, "retry", 0, "a", 3);
                s.sent_back("retry", 0, 4, 0);
                tried(s, "retry", 1, "a", 1);
            }
        };
        run("RTY-3", Expect::Broken, "its return was vouched for, and it went twice", again(&[0, 0], false));
        run("RTY-3", Expect::Broken, "its return was not vouched for, but it went once", again(&[10], false));
        run("RTY-3", Expect::Broken, "vouched for at first", again(&[0, 10], false));
        run("RTY-3", Expect::Broken, "another message went twice", |s| {
            s.ok("b", "q", 1);
            tried(s, "q", 1, "b", 0);
            s.sent_back_with("q", 1, 1, 3, 10);
            s.sent_back("q", 1, 1, 3);
            again(&[0], false)(s);
        });
        run("RTY-3", Expect::Broken, "it went twice, and comes from where it died", |s| {
            s.ok("a", "q", 0);
            s.session("c0", "retry", 0);
            tried(s, "q", 0, "a", 0);
            s.sent_back_with("q", 0, 1, 3, 10);
            s.sent_back("q", 0, 1, 3);
            tried(s, "retry", 0, "a", 3);
            s.sent_back("retry", 0, 4, 0);
            tried(s, "retry", 0, "a", 3);
        });
        run(
            "RTY-3",
            Expect::Kept,
            "its return was not vouched for, and it went twice",
            again(&[10, 0], false),
        );
        run("RTY-3", Expect::Kept, "its return was not vouched for, and a copy went", again(&[10], true));
        let copies = |vouched: &'static [bool]| {
            move |s: &mut Script| {
                s.ok("a", "q", 0);
                tried(s, "q", 0, "a", 0);
                for done in vouched {
                    s.copied_back("q", 0, 1, false);
                    if *done {
                        s.copied_back("q", 0, 1, true);
                    }
                }
                tried(s, "retry", 0, "a", 3);
                s.sent_back("retry", 0, 4, 0);
                s.holds("dead", &["a"]);
                s.enter("c0", "retry", 1, "a");
            }
        };
        run("RTY-3", Expect::Broken, "its copy was vouched for", copies(&[true]));
        run(
            "RTY-3",
            Expect::Kept,
            "its first copy was not vouched for, and another went",
            copies(&[false, true]),
        );
        run("RTY-3", Expect::Kept, "its copy was not vouched for, and the listener got it", copies(&[false]));
        run("RTY-3", Expect::Kept, "after its last try, once", |s| {
            s.ok("a", "q", 0);
            s.holds("retry", &["a"]);
            s.last_read().times = 3;
            tried(s, "retry", 0, "a", 3);
            s.sent_back("retry", 0, 4, 0);
            s.holds("dead", &["a"]);
            s.drained(0);
        });
        let tried_anew = |first_again: bool| {
            move |s: &mut Script| {
                s.ok("a", "q", 0);
                tried(s, "q", 0, "a", 0);
                s.sent_back("q", 0, 1, 3);
                s.holds("retry", &["a"]);
                s.last_read().times = 3;
                tried(s, "retry", 0, "a", 3);
                s.sent_back("retry", 0, 4, 0);
                if first_again {
                    s.enter_after("c1", "q", 0, "a", 0);
                    s.defers("c1", "q", 0);
                    s.sent_back("q", 0, 1, 3);
                }
                tried(s, "retry", 1, "a", 3);
                s.sent_back("retry", 1, 4, 0);
                s.holds("dead", &["a", "a"]);
            }
        };
        run("RTY-3", Expect::Broken, "it died and comes from a new place", tried_anew(false));
        run("RTY-3", Expect::Kept, "its first place changed hands, and it was tried anew", tried_anew(true));
        run("RTY-3", Expect::Kept, "twice, as its last try failed twice", |s| {
            s.ok("a", "q", 0);
            s.holds("retry", &["a"]);
            s.last_read().times = 3;
            tried(s, "retry", 0, "a", 3);
            s.sent_back("retry", 0, 4, 0);
            tried(s, "retry", 0, "a", 3);
            s.sent_back("retry", 0, 4, 0);
            s.holds("dead", &["a", "a"]);
        });
        run("RTY-3", Expect::Broken, "two letters of one failure, in spite of a fault", |s| {
            let step = s.begin(&["b0"]);
            s.over(step);
            s.ok("a", "q", 0);
            tried(s, "retry", 0, "a", 3);
            s.sent_back("retry", 0, 4, 0);
            s.holds("dead", &["a", "a"]);
        });
        run("RTY-3", Expect::Kept, "the answer was lost, and a copy followed", |s| {
            s.ok("a", "q", 0);
            tried(s, "retry", 0, "a", 3);
            s.sent_back("retry", 0, 4, 0);
            s.copied_back("retry", 0, 4, false);
            s.holds("dead", &["a", "a"]);
        });
        run("RTY-3", Expect::Broken, "the power took a letter that was flushed", |s| {
            s.ok("a", "q", 0);
            s.holds("retry", &["a"]);
            s.last_read().times = 3;
            tried(s, "retry", 0, "a", 3);
            s.flushed("b0", 1000);
            s.sent_back("retry", 0, 4, 0);
            s.crash("b0", How::Power);
            s.drained(0);
        });
        let rots = |offset: u64| {
            move |s: &mut Script| {
                s.ok("a", "q", 0);
                s.holds("retry", &["a"]);
                s.last_read().times = 3;
                tried(s, "retry", 0, "a", 3);
                s.sent_back("retry", 0, 4, 0);
                s.rots("dead", offset);
                s.drained(0);
            }
        };
        run("RTY-3", Expect::Broken, "another place rotted", rots(1));
        run("RTY-3", Expect::Kept, "its letter rotted", rots(0));
        run("RTY-3", Expect::Kept, "the power took a letter that was not", |s| {
            s.ok("a", "q", 0);
            s.holds("retry", &["a"]);
            s.last_read().times = 3;
            tried(s, "retry", 0, "a", 3);
            s.sent_back("retry", 0, 4, 0);
            s.crash("b0", How::Power);
            s.drained(0);
        });
    }

    #[test]
    fn tries_are_counted_one_by_one() {
        run("RTY-4", Expect::Broken, "the count stands still", |s: &mut Script| {
            s.ok("a", "q", 0);
            defer(s, "q", 0, "a");
            s.sent_back("q", 0, 0, 3);
        });
        run("RTY-4", Expect::Broken, "the copy has another count", |s| {
            s.ok("a", "q", 0);
            defer(s, "q", 0, "a");
            s.sent_back("q", 0, 1, 3);
            s.holds("retry", &["a"]);
            s.last_read().times = 2;
        });
        run("RTY-4", Expect::Broken, "a try was left out", |s| {
            s.ok("a", "q", 0);
            tried(s, "q", 0, "a", 0);
            tried(s, "retry", 0, "a", 2);
        });
        run("RTY-4", Expect::Broken, "a dead letter that counts one too many", |s| {
            s.ok("a", "q", 0);
            tried(s, "q", 0, "a", 0);
            s.holds("dead", &["a"]);
            s.last_read().times = 2;
        });
        run("RTY-4", Expect::Kept, "a copy that was made after a try here", |s| {
            s.ok("a", "q", 0);
            tried(s, "q", 0, "a", 0);
            tried(s, "q", 0, "a", 1);
            s.copied_back("q", 0, 2, true);
            tried(s, "retry", 0, "a", 2);
        });
        run("RTY-4", Expect::Kept, "one more", |s| {
            s.ok("a", "q", 0);
            defer(s, "q", 0, "a");
            s.sent_back("q", 0, 1, 3);
            s.holds("retry", &["a"]);
            s.last_read().times = 1;
        });
        run("RTY-4", Expect::Kept, "given back twice because the first answer was lost", |s| {
            s.ok("a", "q", 0);
            defer(s, "q", 0, "a");
            s.sent_back("q", 0, 1, 3);
            s.sent_back("q", 0, 1, 3);
        });
    }

    #[test]
    fn nothing_that_came_back_is_forgotten() {
        run("RTY-5", Expect::Broken, "it never came again", |s: &mut Script| {
            s.ok("a", "q", 0);
            defer(s, "q", 0, "a");
            s.sent_back("q", 0, 1, 3);
            s.drained(0);
        });
        run("RTY-5", Expect::Broken, "dropped at the limit", |s| {
            s.ok("a", "q", 0);
            s.holds("retry", &["a"]);
            s.last_read().times = 3;
            tried(s, "retry", 0, "a", 3);
            s.sent_back("retry", 0, 4, 0);
            s.drained(0);
        });
        run("RTY-5", Expect::Broken, "dropped without a word", |s| {
            s.ok("a", "q", 0);
            tried(s, "retry", 0, "a", 3);
            s.drained(0);
        });
        run("RTY-5", Expect::Broken, "a loss of power before it was taken back", |s| {
            s.crash("b0", How::Power);
            s.ok("a", "q", 0);
            defer(s, "q", 0, "a");
            s.sent_back("q", 0, 1, 3);
            s.drained(0);
        });
        let never_given_back = |how| {
            move |s: &mut Script| {
                s.ok("b", "r", 0);
                s.crash("b0", how);
                s.ok("a", "q", 0);
                defer(s, "q", 0, "a");
                s.drained(0);
            }
        };
        run("RTY-5", Expect::Broken, "never given back after a death", never_given_back(How::Process));
        run(
            "RTY-5",
            Expect::Kept,
            "never given back in a queue that lost its tail",
            never_given_back(How::Power),
        );
        run("RTY-5", Expect::Kept, "the power took what was not flushed", |s| {
            s.ok("a", "q", 0);
            defer(s, "q", 0, "a");
            s.sent_back("q", 0, 1, 3);
            s.crash("b0", How::Power);
            s.drained(0);
        });
        let replaced = |how| {
            move |s: &mut Script| {
                s.ok("a", "q", 0);
                s.crash("b0", how);
                s.ok("b", "q", 0);
                defer(s, "q", 0, "a");
                s.copied_back("q", 0, 1, false);
                s.drained(0);
            }
        };
        run("RTY-5", Expect::Broken, "another is where it was after a death", replaced(How::Process));
        run("RTY-5", Expect::Kept, "another is where the power took it", replaced(How::Power));
        run("RTY-5", Expect::Kept, "handled at the second try", |s| {
            s.ok("a", "q", 0);
            defer(s, "q", 0, "a");
            s.sent_back("q", 0, 1, 3);
            s.deliver("c1", "retry", 0, "a");
            s.drained(0);
        });
        run("RTY-5", Expect::Kept, "a dead letter", |s| {
            s.ok("a", "q", 0);
            s.holds("retry", &["a"]);
            s.last_read().times = 3;
            tried(s, "retry", 0, "a", 3);
            s.sent_back("retry", 0, 4, 0);
            s.holds("dead", &["a"]);
            s.drained(0);
        });
    }
}
