//! DLY-1 to DLY-5: delayed messages come in time, once, whole and in order.

use std::collections::{BTreeMap, BTreeSet};

use super::view::{Outage, Trouble};
use super::{Judged, Rule, SECOND, View, seconds, waited};
use crate::history::{How, Kind, MessageId, NodeId, Outcome, QueueId, Slot, TopicId};

/// A message in the schedule topic.
#[derive(Clone, Copy)]
struct Waiting {
    since: u64,
    event: usize,
    target: Option<QueueId>,
    /// The last delivery: its event, and the place it went to.
    delivered: Option<(usize, Slot)>,
    skipped: bool,
    /// The log says that it was delivered, by a broker that died before it could tell.
    unheard: bool,
}

/// How many queues the topics of brokers have: now, and before the last change.
#[derive(Default)]
struct Sizes(BTreeMap<(TopicId, NodeId), Size>);

#[derive(Clone, Copy)]
struct Size {
    since: u64,
    now: (u32, u32),
    before: (u32, u32),
}

impl Sizes {
    fn set(&mut self, of: (TopicId, NodeId), at_ns: u64, now: (u32, u32)) {
        let before = self.0.get(&of).map_or(now, |size| size.now);
        self.0.insert(of, Size { since: at_ns, now, before });
    }

    /// A queue that is not there any more gives what was meant for it to one that is.
    fn explain(&self, view: &View<'_>, at_ns: u64, target: QueueId, to: QueueId) -> bool {
        let queue = |id: QueueId| &view.history.queues[id.index()];
        let (target, to) = (queue(target), queue(to));
        let Some(size) = self.0.get(&(target.topic, target.broker)) else { return false };
        let gone = |(read, write): (u32, u32)| {
            target.number >= read.max(write) && to.number == target.number % write.max(1)
        };
        let same = (target.topic, target.broker) == (to.topic, to.broker);
        same && (gone(size.now) || at_ns < size.since + SECOND && gone(size.before))
    }
}

pub(super) fn check(view: &View<'_>, judged: &mut Judged) {
    let history = view.history;
    let troubles = troubles(view);
    let mut waiting: BTreeMap<Slot, Waiting> = BTreeMap::new();
    let mut written: BTreeMap<QueueId, u64> = BTreeMap::new();
    let mut last: BTreeMap<QueueId, u64> = BTreeMap::new();
    let mut sizes = Sizes::default();
    for (number, event) in history.events.iter().enumerate() {
        match event.kind {
            Kind::TopicSet { topic, broker, read, write } => {
                sizes.set((topic, broker), event.at_ns, (read, write));
            }
            Kind::Append { slot, .. } if history.is_schedule(slot.queue) => {
                let (since, event) = (event.at_ns, number);
                let fresh =
                    Waiting { since, event, target: None, delivered: None, skipped: false, unheard: false };
                waiting.insert(slot, fresh);
            }
            Kind::DelayStored { slot, target } => {
                if let Some(waiting) = waiting.get_mut(&slot) {
                    waiting.target = Some(target);
                }
                let topic = history.queues[target.index()].topic;
                judged.count(Rule::Dly4, 1);
                if history.groups.iter().any(|group| group.dlq == topic) {
                    let sentence = format!("{} is a dead letter and waits.", history.slot_name(slot));
                    judged.broken(view, Rule::Dly4, number, history.slot_name(slot), sentence);
                }
            }
            Kind::DelayDelivered { from, to } => {
                let Some(waits) = waiting.get_mut(&from) else { continue };
                in_time(view, judged, &troubles, (from, waits.since), number);
                if let Some(before) = waits.delivered.replace((number, to)) {
                    let known = written.get(&from.queue).copied().unwrap_or(0);
                    repeated(view, judged, from, (before, number), known);
                }
                judged.count(Rule::Dly4, 1);
                let moved =
                    |target| target != to.queue && !sizes.explain(view, event.at_ns, target, to.queue);
                if waits.target.is_some_and(moved) {
                    let sentence = format!(
                        "{} was to go to {} and went to {}.",
                        history.slot_name(from),
                        history.queue_name(waits.target.unwrap_or(to.queue)),
                        history.queue_name(to.queue)
                    );
                    judged.broken(view, Rule::Dly4, number, history.slot_name(from), sentence);
                }
                judged.count(Rule::Dly5, 1);
                if let Some(before) =
                    last.insert(from.queue, from.offset).filter(|before| *before > from.offset)
                {
                    let sentence =
                        format!("{} was delivered after offset {before}.", history.slot_name(from));
                    judged.broken(view, Rule::Dly5, number, history.slot_name(from), sentence);
                }
            }
            Kind::DelaySkipped { from } => {
                if let Some(waiting) = waiting.get_mut(&from) {
                    waiting.skipped = true;
                }
            }
            Kind::DelayOffset { queue, offset, loaded: false } => {
                written.insert(queue, offset);
            }
            Kind::DelayOffset { queue, offset, loaded: true } => {
                // One at most: the next one is not delivered before the one before it is told of.
                let last = offset.checked_sub(1).map(|offset| Slot { queue, offset });
                if let Some(waits) = last.and_then(|last| waiting.get_mut(&last)) {
                    waits.unheard = was_due(view, queue, (waits.since, number));
                }
            }
            Kind::QueueRecovered { queue, max, .. } if history.is_schedule(queue) => {
                waiting.retain(|slot, _| slot.queue != queue || slot.offset < max);
            }
            Kind::Down { .. } => last.retain(|queue, _| history.queues[queue.index()].broker != event.node),
            _ => {}
        }
    }
    lost(view, judged, &waiting);
    came(view, judged);
    if history.untapped {
        not_early(view, judged);
        waited::check(view, judged);
    }
}

/// True when a message was due before its broker went down the last time.
fn was_due(view: &View<'_>, queue: QueueId, (since, event): (u64, usize)) -> bool {
    let broker = view.history.queues[queue.index()].broker;
    let down = view.outages_of(broker).iter().rfind(|outage| outage.event < event);
    down.is_some_and(|down| {
        let ahead = ahead(view, broker, since, down.from_ns) + ROUNDING;
        since + view.held_ms(queue, down.event) * MS <= down.from_ns + ahead
    })
}

/// DLY-1 and DLY-3: not before its time, and not long after it.
fn in_time(
    view: &View<'_>,
    judged: &mut Judged,
    troubles: &[Trouble],
    (from, since): (Slot, u64),
    event: usize,
) {
    let history = view.history;
    let at = view.at(event);
    let broker = history.queues[from.queue.index()].broker;
    let held = view.held_ms(from.queue, event) * MS;
    let due = since + held;
    judged.count(Rule::Dly1, 1);
    judged.count(Rule::Dly3, 1);
    let early = due.saturating_sub(at);
    if early > ahead(view, broker, since, at) + ROUNDING {
        let sentence = format!(
            "{} came {} after it was stored, {} before its time.",
            history.slot_name(from),
            seconds(at - since),
            seconds(early)
        );
        judged.broken(view, Rule::Dly1, event, history.slot_name(from), sentence);
    }
    let (expected, bound) = bound(troubles, broker, due, at);
    let shaken = bound == LATE_AFTER_FAULT;
    // Then it waits once more after the restart, at the most.
    let unseen = set_back_unseen(view, troubles, broker, (since, at)).min(held);
    let late = at.saturating_sub(expected);
    let slowly = if view.history.rare_ways { SLOWLY } else { 0 };
    judged.worst(
        match (unseen, shaken) {
            (0, false) if slowly > 0 => "delayed messages late where rare ways are taken, ms",
            (0, false) => "delayed messages late in health, ms",
            (0, true) => "delayed messages late after a fault, ms",
            _ => "delayed messages late after a clock was set back unseen, ms",
        },
        late / MS,
    );
    if late > bound + unseen + slowly {
        let sentence = format!("{} came {} after its time.", history.slot_name(from), seconds(at - due));
        judged.broken(view, Rule::Dly3, event, history.slot_name(from), sentence);
    }
}

/// From when on what was due and came `at` this time is late, and by how much it may be.
pub(super) fn bound(troubles: &[Trouble], broker: NodeId, due: u64, at: u64) -> (u64, u64) {
    let over = troubles.iter().filter(|trouble| trouble.touches(broker) && trouble.from_ns <= at);
    let over = over.map(|trouble| trouble.until_ns.min(at)).max().unwrap_or(0);
    // So shortly after a fault the longer bound holds.
    let shaken = over > 0 && due < over + CALM;
    if shaken { (due.max(over), LATE_AFTER_FAULT) } else { (due, LATE) }
}

/// When something was wrong with a broker. A plan to kill it is nothing yet, and what was killed is well again when it
/// has recovered its log, or where no taps tell, when it answers again.
pub(super) fn troubles(view: &View<'_>) -> Vec<Trouble> {
    let mut troubles = Vec::new();
    for (step, on) in view.history.steps.iter().zip(&view.steps).filter(|(step, _)| !step.kills) {
        let Some((from_ns, until_ns)) = *on else { continue };
        let of = |node| Trouble { node, from_ns, until_ns, fills: false };
        troubles.extend(step.nodes.iter().map(|node| of(Some(*node))));
        troubles.extend(step.wide.then(|| of(None)));
    }
    let mut recovered: BTreeMap<NodeId, Vec<u64>> = BTreeMap::new();
    for event in &view.history.events {
        let well = match event.kind {
            Kind::Recovered { .. } => true,
            Kind::Range { .. } | Kind::Committed { .. } => view.history.untapped,
            _ => false,
        };
        if well {
            recovered.entry(event.node).or_default().push(event.at_ns);
        }
    }
    for broker in &view.history.brokers {
        for outage in view.outages_of(broker.node) {
            let recovered =
                recovered.get(&broker.node).and_then(|all| all.iter().find(|at| **at >= outage.until_ns));
            let until_ns = recovered.copied().unwrap_or(outage.until_ns);
            troubles.push(Trouble {
                node: Some(broker.node),
                from_ns: outage.from_ns,
                until_ns,
                fills: false,
            });
        }
    }
    troubles
}

/// By how much the clock of a broker was set back when the broker could not remember it: while it was down, or so
/// shortly before it died that nothing could be written. Nothing is left then that shows how long a message has waited.
fn set_back_unseen(view: &View<'_>, troubles: &[Trouble], broker: NodeId, (since, at): (u64, u64)) -> u64 {
    let steps = view.history.steps.iter().zip(&view.steps).filter(|(step, _)| step.nodes.contains(&broker));
    let back: Vec<_> = steps.filter_map(|(step, on)| Some((step, (*on)?))).collect();
    let mut unseen = 0;
    for outage in view.outages_of(broker) {
        // Until it has recovered its log it knows of no clock.
        let down = troubles.iter().filter(|it| it.node == Some(broker) && it.from_ns == outage.from_ns);
        let until_ns = down.map(|it| it.until_ns).max().unwrap_or(outage.until_ns);
        if until_ns < since || outage.from_ns > at {
            continue;
        }
        for (step, (start, end)) in &back {
            // What was stored while store times stood still had to be remembered, too.
            let news = if *start < outage.from_ns { since.max(*start) } else { *start };
            if step.jump_ms < 0
                && *start <= until_ns.min(at)
                && !could_write(troubles, broker, news, outage.from_ns)
            {
                unseen += step.jump_ms.unsigned_abs() * MS;
            }
            let shared = (*end).min(until_ns).saturating_sub((*start).max(outage.from_ns));
            unseen += shared / 1_000_000 * step.drift_ppm.min(0).unsigned_abs();
        }
    }
    unseen
}

/// True when the broker had a while without trouble between two moments.
fn could_write(troubles: &[Trouble], broker: NodeId, from: u64, until: u64) -> bool {
    let mut spans: Vec<_> = troubles
        .iter()
        .filter(|trouble| trouble.touches(broker) && trouble.until_ns > from && trouble.from_ns < until)
        .map(|trouble| (trouble.from_ns, trouble.until_ns))
        .collect();
    spans.sort_unstable();
    let mut free_since = from;
    for (start, end) in spans {
        if start >= free_since.saturating_add(WRITTEN) {
            return true;
        }
        free_since = free_since.max(end);
    }
    until >= free_since.saturating_add(WRITTEN)
}

/// How far the clock of a node may have run ahead of the time between two moments: set forward, or fast.
fn ahead(view: &View<'_>, node: NodeId, from: u64, until: u64) -> u64 {
    let steps = view.history.steps.iter().zip(&view.steps).filter(|(step, _)| step.nodes.contains(&node));
    let ahead = steps.filter_map(|(step, on)| {
        let (start, end) = (*on)?;
        let shared = end.min(until).saturating_sub(start.max(from));
        let jump = if start <= until && start + SECOND >= from {
            step.jump_ms.max(0).unsigned_abs() * MS
        } else {
            0
        };
        Some(jump + shared / 1_000_000 * step.drift_ppm.max(0).unsigned_abs())
    });
    ahead.sum()
}

/// DLY-1, as clients see it: no listener gets a message before its delay has passed since it was sent.
fn not_early(view: &View<'_>, judged: &mut Judged) {
    let history = view.history;
    for delivery in view.deliveries.iter().filter(|delivery| delivery.times == 0) {
        let Some(message) = delivery.message else { continue };
        let (Some(level), Some(sent)) =
            (history.messages[message.index()].delay_level, view.sends[message.index()].invoked)
        else {
            continue;
        };
        judged.count(Rule::Dly1, 1);
        let broker = history.queues[delivery.slot.queue.index()].broker;
        let delay_ms = view.least_delay_ms(broker, level, sent, delivery.entered);
        let (sent_ns, at_ns) = (view.at(sent), view.at(delivery.entered));
        if at_ns + ahead(view, broker, sent_ns, at_ns) + ROUNDING < sent_ns + delay_ms * MS {
            let sentence = format!(
                "Message {} came {} after it was sent; the delay of its level is {delay_ms} ms.",
                history.message_name(message),
                seconds(at_ns - sent_ns)
            );
            let witness = history.slot_name(delivery.slot);
            judged.broken(view, Rule::Dly1, delivery.entered, witness, sentence);
        }
    }
}

/// DLY-2: a second delivery needs a crash that lost how far the level was, or the loss of the first one. A clean stop
/// loses nothing.
fn repeated(
    view: &View<'_>,
    judged: &mut Judged,
    from: Slot,
    ((before, first), again): ((usize, Slot), usize),
    written: u64,
) {
    let history = view.history;
    judged.count(Rule::Dly2, 1);
    let broker = history.queues[from.queue.index()].broker;
    let died = |outage: &Outage| outage.how != How::Stop && outage.event > before && outage.event < again;
    let crashed = view.outages_of(broker).iter().any(died);
    if (crashed && from.offset >= written) || view.rewound(first, before) {
        return;
    }
    let sentence = format!(
        "{} was delivered at {} and again at {}; the broker had written that it is at {written}.",
        history.slot_name(from),
        seconds(view.at(before)),
        seconds(view.at(again))
    );
    judged.broken(view, Rule::Dly2, again, history.slot_name(from), sentence);
}

/// DLY-2: what waited came, or its time has not come yet.
fn lost(view: &View<'_>, judged: &mut Judged, waiting: &BTreeMap<Slot, Waiting>) {
    let history = view.history;
    let Some((_, end, _)) = view.drained else { return };
    for (slot, waits) in waiting {
        judged.count(Rule::Dly2, 1);
        let due = waits.since + view.held_ms(slot.queue, view.last()) * MS;
        let fills = view
            .history
            .steps
            .iter()
            .any(|step| step.fills && step.nodes.contains(&history.queues[slot.queue.index()].broker));
        // What the log lost again did not come. The message itself is there: what was lost of its queue is forgotten.
        let delivered = waits.delivered.is_some_and(|(event, to)| !view.rewound(to, event));
        let overdue = !delivered && !waits.unheard && due + OVERDUE < end;
        if (overdue || waits.skipped) && !fills {
            let sentence = format!(
                "{} was stored at {} and due at {}; it never came.",
                history.slot_name(*slot),
                seconds(waits.since),
                seconds(due)
            );
            judged.broken(view, Rule::Dly2, waits.event, history.slot_name(*slot), sentence);
        }
    }
}

/// DLY-2, as clients see it: what was acknowledged and is due lies in its topic in the end.
fn came(view: &View<'_>, judged: &mut Judged) {
    let history = view.history;
    let Some((_, end, _)) = view.drained.filter(|_| !view.audit.queues.is_empty()) else { return };
    if history.steps.iter().any(|step| step.fills) {
        return;
    }
    let mut there = BTreeSet::new();
    for content in &view.audit.queues {
        let topic = history.queues[content.queue.index()].topic;
        let own = |id: &MessageId| history.messages[id.index()].topic == topic;
        there.extend(content.read.iter().filter_map(|read| read.message.filter(own)));
    }
    for (index, message) in history.messages.iter().enumerate() {
        let (id, send) = (MessageId(index as u32), view.sends[index]);
        let (Some(level), Some(Outcome::Ok), Some(invoked), Some(returned)) =
            (message.delay_level, send.outcome, send.invoked, send.returned)
        else {
            continue;
        };
        judged.count(Rule::Dly2, 1);
        // Nobody knows which broker has it.
        let held = history.brokers.iter().map(|broker| {
            let delays = view.delays_ms(broker.node, view.last());
            delays.get(level as usize - 1).or(delays.last()).copied().unwrap_or(0)
        });
        let due = view.at(returned) + held.max().unwrap_or(0) * MS;
        let lost = history.brokers.iter().filter(|broker| !broker.sync_flush).any(|broker| {
            let outages = view.outages_of(broker.node);
            outages.iter().any(|outage| outage.loses && outage.event > invoked)
        });
        if due + OVERDUE < end && !lost && !there.contains(&id) {
            let sentence = format!(
                "Message {} was acknowledged at {} and due at {}; it never came.",
                history.message_name(id),
                seconds(view.at(returned)),
                seconds(due)
            );
            judged.broken(view, Rule::Dly2, returned, history.message_name(id), sentence);
        }
    }
}

pub(super) const MS: u64 = 1_000_000;
/// Store times are whole milliseconds.
const ROUNDING: u64 = 2 * MS;
/// The rule's own.
pub(super) const LATE: u64 = SECOND;
pub(super) const LATE_AFTER_FAULT: u64 = 5 * SECOND;
/// Where rare ways are taken two files of the log may be made slowly, one after the other, or a delivery may be refused
/// some times in a row, and after a long trouble each waits for two seconds.
const SLOWLY: u64 = 9 * SECOND / 2;
/// So long after a fault it may still be felt.
const CALM: u64 = 5 * SECOND;
/// A broker that is well remembers within this time that its clock was set back.
const WRITTEN: u64 = 3 * SECOND;
/// When something is called lost.
const OVERDUE: u64 = 60 * SECOND;

#[cfg(test)]
mod tests {
    use super::super::script::{Expect, Script, run};
    use crate::history::{How, Outcome};

    #[test]
    fn a_delayed_message_does_not_come_early() {
        run("DLY-1", Expect::Broken, "half a second early", |s: &mut Script| {
            s.waits("ten", 0, "q");
            s.wait(9.5);
            s.delivered(("ten", 0), ("q", 0));
        });
        run("DLY-1", Expect::Broken, "by more than the clock jumped", |s| {
            s.waits("ten", 0, "q");
            s.jumps("b0", 3000);
            s.wait(5.0);
            s.delivered(("ten", 0), ("q", 0));
        });
        run("DLY-1", Expect::Broken, "its clock was set back, which brings nothing early", |s| {
            s.waits("ten", 0, "q");
            s.jumps("b0", -3000);
            s.wait(7.5);
            s.delivered(("ten", 0), ("q", 0));
        });
        run("DLY-1", Expect::Broken, "before the time of its level, which is longer now", |s| {
            s.waits("ten", 0, "q");
            s.levels(How::Stop, &[1000, 5000, 20_000]);
            s.wait(15.0);
            s.delivered(("ten", 0), ("q", 0));
        });
        run("DLY-1", Expect::Kept, "in the time of the last level, as its own is no more", |s| {
            s.waits("ten", 0, "q");
            s.levels(How::Process, &[1000, 2000]);
            s.wait(2.0);
            s.delivered(("ten", 0), ("q", 0));
        });
        run("DLY-1", Expect::Kept, "in time", |s| {
            s.waits("ten", 0, "q");
            s.wait(10.0);
            s.delivered(("ten", 0), ("q", 0));
        });
        run("DLY-1", Expect::Kept, "by what the clock jumped", |s| {
            s.waits("ten", 0, "q");
            s.jumps("b0", 3000);
            s.wait(7.5);
            s.delivered(("ten", 0), ("q", 0));
        });
    }

    #[test]
    fn a_delayed_message_comes_once() {
        run("DLY-2", Expect::Broken, "twice without a crash", |s: &mut Script| {
            s.waits("second", 0, "q");
            s.wait(1.0);
            s.delivered(("second", 0), ("q", 0));
            s.delivered(("second", 0), ("q", 1));
        });
        run("DLY-2", Expect::Broken, "again though the broker had written that it was past", |s| {
            s.waits("second", 0, "q");
            s.wait(1.0);
            s.delivered(("second", 0), ("q", 0));
            s.delay_written("second", 1);
            s.crash("b0", How::Process);
            s.delivered(("second", 0), ("q", 1));
        });
        run("DLY-2", Expect::Broken, "again after a clean stop", |s| {
            s.waits("second", 0, "q");
            s.wait(1.0);
            s.delivered(("second", 0), ("q", 0));
            s.crash("b0", How::Stop);
            s.delivered(("second", 0), ("q", 1));
        });
        run("DLY-2", Expect::Kept, "again, because the log lost the first one", |s| {
            s.waits("second", 0, "q");
            s.wait(1.0);
            s.append("q", 0, 100, 200);
            s.delivered(("second", 0), ("q", 0));
            s.crash("b0", How::Stop);
            s.recovered("b0", &[("q", 0), ("second", 1)]);
            s.delivered(("second", 0), ("q", 0));
        });
        run("DLY-2", Expect::Broken, "never", |s| {
            s.waits("second", 0, "q");
            s.wait(100.0);
            s.drained(0);
        });
        run("DLY-2", Expect::Broken, "never, from a level that became shorter", |s| {
            s.waits("thirty", 0, "q");
            s.levels(How::Stop, &[1000]);
            s.wait(65.0);
            s.drained(0);
        });
        run("DLY-2", Expect::Kept, "not yet, from a level that became longer", |s| {
            s.waits("thirty", 0, "q");
            s.levels(How::Stop, &[1000, 5000, 10_000, 200_000]);
            s.wait(150.0);
            s.drained(0);
        });
        run("DLY-2", Expect::Broken, "acknowledged, and in the end not there", |s| {
            s.delayed("a", 1);
            s.sent("a", Outcome::Ok, None);
            s.wait(100.0);
            s.drained(0);
            s.holds("q", &[]);
        });
        run("DLY-2", Expect::Broken, "passed by a broker that died before it was due", |s| {
            s.waits("second", 0, "q");
            s.crash("b0", How::Process);
            s.delay_loaded("second", 1);
            s.wait(100.0);
            s.drained(0);
        });
        run("DLY-2", Expect::Broken, "one of two that a broker is past when it comes back", |s| {
            s.waits("second", 0, "q");
            s.waits("second", 1, "q");
            s.wait(1.0);
            s.crash("b0", How::Process);
            s.delay_loaded("second", 2);
            s.wait(100.0);
            s.drained(0);
        });
        run("DLY-2", Expect::Kept, "its broker died before it could tell", |s| {
            s.waits("second", 0, "q");
            s.wait(1.0);
            s.crash("b0", How::Process);
            s.delay_loaded("second", 1);
            s.wait(100.0);
            s.drained(0);
        });
        run("DLY-2", Expect::Kept, "acknowledged, and there", |s| {
            s.delayed("a", 1);
            s.sent("a", Outcome::Ok, None);
            s.wait(100.0);
            s.drained(0);
            s.holds("q", &["a"]);
        });
        run("DLY-2", Expect::Kept, "acknowledged under async flush when the power went", |s| {
            s.delayed("a", 1);
            s.sent("a", Outcome::Ok, None);
            s.crash("b0", How::Power);
            s.wait(100.0);
            s.drained(0);
            s.holds("q", &[]);
        });
        run("DLY-2", Expect::Kept, "again after a crash, before it was written", |s| {
            s.waits("second", 0, "q");
            s.wait(1.0);
            s.delivered(("second", 0), ("q", 0));
            s.crash("b0", How::Process);
            s.delivered(("second", 0), ("q", 1));
            s.drained(0);
        });
        run("DLY-2", Expect::Broken, "the log lost it again, and it is passed", |s| {
            s.waits("second", 0, "q");
            s.wait(1.0);
            s.append("q", 0, 100, 200);
            s.delivered(("second", 0), ("q", 0));
            s.crash("b0", How::Power);
            s.recovered("b0", &[("q", 0), ("second", 1)]);
            s.wait(100.0);
            s.drained(0);
        });
        run("DLY-2", Expect::Kept, "the log lost it again, and it came again", |s| {
            s.waits("second", 0, "q");
            s.wait(1.0);
            s.append("q", 0, 100, 200);
            s.delivered(("second", 0), ("q", 0));
            s.crash("b0", How::Power);
            s.recovered("b0", &[("q", 0), ("second", 1)]);
            s.delivered(("second", 0), ("q", 0));
            s.wait(100.0);
            s.drained(0);
        });
        run("DLY-2", Expect::Broken, "stored after the loss of power, and passed", |s| {
            s.crash("b0", How::Power);
            s.waits("second", 0, "q");
            s.wait(100.0);
            s.drained(0);
        });
        run("DLY-2", Expect::Kept, "lost with the tail of its queue", |s| {
            s.waits("second", 0, "q");
            s.crash("b0", How::Power);
            s.recovered("b0", &[("second", 0)]);
            s.wait(100.0);
            s.drained(0);
        });
    }

    #[test]
    fn a_delayed_message_is_not_late() {
        run("DLY-3", Expect::Broken, "two seconds", |s: &mut Script| {
            s.waits("second", 0, "q");
            s.wait(3.0);
            s.delivered(("second", 0), ("q", 0));
        });
        let rare = |seconds: f64| {
            move |s: &mut Script| {
                s.rare_ways();
                s.waits("ten", 0, "q");
                s.wait(10.0 + seconds);
                s.delivered(("ten", 0), ("q", 0));
            }
        };
        run("DLY-3", Expect::Kept, "it was refused some times before", rare(5.0));
        run("DLY-3", Expect::Broken, "longer than that", rare(6.0));
        run("DLY-3", Expect::Broken, "ten seconds after its broker came back", |s| {
            s.waits("second", 0, "q");
            s.crash("b0", How::Process);
            s.wait(10.0);
            s.delivered(("second", 0), ("q", 0));
        });
        run("DLY-3", Expect::Broken, "while a crash is only planned", |s| {
            s.waits("second", 0, "q");
            s.armed("b0");
            s.wait(3.0);
            s.delivered(("second", 0), ("q", 0));
        });
        run("DLY-3", Expect::Broken, "its clock was set back long before it was restarted", |s| {
            s.waits("ten", 0, "q");
            s.jumps("b0", -600_000);
            s.wait(5.0);
            s.crash("b0", How::Process);
            s.wait(10.5);
            s.delivered(("ten", 0), ("q", 0));
        });
        run("DLY-3", Expect::Broken, "later than its clock was set back while it was down", |s| {
            s.waits("ten", 0, "q");
            s.down("b0", How::Power);
            s.jumps("b0", -2000);
            s.up("b0");
            s.wait(13.5);
            s.delivered(("ten", 0), ("q", 0));
        });
        run("DLY-3", Expect::Broken, "due at once after a change of its level, and long after", |s| {
            s.waits("thirty", 0, "q");
            s.wait(10.0);
            s.levels(How::Stop, &[1000]);
            s.wait(6.0);
            s.delivered(("thirty", 0), ("q", 0));
        });
        run("DLY-3", Expect::Kept, "due at once after a change of its level, and soon after", |s| {
            s.waits("thirty", 0, "q");
            s.wait(10.0);
            s.levels(How::Stop, &[1000]);
            s.wait(4.0);
            s.delivered(("thirty", 0), ("q", 0));
        });
        run("DLY-3", Expect::Kept, "its clock was set back while it was down", |s| {
            s.waits("ten", 0, "q");
            s.wait(9.0);
            s.down("b0", How::Power);
            s.jumps("b0", -600_000);
            s.up("b0");
            s.wait(10.5);
            s.delivered(("ten", 0), ("q", 0));
        });
        run("DLY-3", Expect::Kept, "its clock was set back while it started", |s| {
            s.waits("ten", 0, "q");
            s.wait(9.0);
            s.crash("b0", How::Process);
            s.jumps("b0", -600_000);
            s.recovered("b0", &[]);
            s.wait(10.5);
            s.delivered(("ten", 0), ("q", 0));
        });
        run("DLY-3", Expect::Kept, "it died when its clock had just been set back", |s| {
            s.waits("ten", 0, "q");
            s.wait(9.0);
            s.jumps("b0", -600_000);
            s.wait(1.0);
            s.crash("b0", How::Process);
            s.wait(10.5);
            s.delivered(("ten", 0), ("q", 0));
        });
        run(
            "DLY-3",
            Expect::Kept,
            "it was stored just before its broker died, and the clock stood behind",
            |s| {
                s.jumps("b0", -600_000);
                s.wait(20.0);
                s.waits("ten", 0, "q");
                s.wait(1.0);
                s.crash("b0", How::Process);
                s.wait(16.5);
                s.delivered(("ten", 0), ("q", 0));
            },
        );
        run("DLY-3", Expect::Kept, "within the second", |s| {
            s.waits("second", 0, "q");
            s.wait(1.9);
            s.delivered(("second", 0), ("q", 0));
        });
        run("DLY-3", Expect::Kept, "its broker was down", |s| {
            s.waits("second", 0, "q");
            s.down("b0", How::Process);
            s.wait(20.0);
            s.up("b0");
            s.wait(4.0);
            s.delivered(("second", 0), ("q", 0));
        });
    }

    #[test]
    fn a_delayed_message_comes_where_it_was_sent() {
        run("DLY-4", Expect::Broken, "to another queue", |s: &mut Script| {
            s.waits("second", 0, "q");
            s.wait(1.0);
            s.delivered(("second", 0), ("r", 0));
        });
        run("DLY-4", Expect::Broken, "to another queue, though its own is still there", |s| {
            s.queues("b0", 2, 1);
            s.waits("second", 0, "r");
            s.wait(1.0);
            s.delivered(("second", 0), ("q", 0));
        });
        run("DLY-4", Expect::Kept, "to another queue, as its own is gone", |s| {
            s.queues("b0", 2, 2);
            s.waits("second", 0, "r");
            s.queues("b0", 1, 1);
            s.wait(1.0);
            s.delivered(("second", 0), ("q", 0));
        });
        run("DLY-4", Expect::Broken, "to another topic", |s| {
            s.waits("second", 0, "q");
            s.wait(1.0);
            s.delivered(("second", 0), ("other", 0));
        });
        run("DLY-4", Expect::Broken, "a dead letter", |s| {
            s.waits("second", 0, "dead");
        });
        run("DLY-4", Expect::Kept, "a retry", |s| {
            s.waits("second", 0, "retry");
        });
        run("DLY-4", Expect::Kept, "there", |s| {
            s.waits("second", 0, "q");
            s.wait(1.0);
            s.delivered(("second", 0), ("q", 0));
        });
        run("DLY-4", Expect::Kept, "its broker died before it could tell where it goes", |s| {
            s.append("second", 0, 0, 100);
            s.wait(1.0);
            s.delivered(("second", 0), ("r", 0));
        });
    }

    #[test]
    fn a_level_keeps_its_order() {
        run("DLY-5", Expect::Broken, "the second first", |s: &mut Script| {
            s.waits("second", 0, "q");
            s.waits("second", 1, "q");
            s.wait(1.0);
            s.delivered(("second", 1), ("q", 0));
            s.delivered(("second", 0), ("q", 1));
        });
        run("DLY-5", Expect::Broken, "over different target queues", |s| {
            s.waits("second", 0, "q");
            s.waits("second", 1, "r");
            s.wait(1.0);
            s.delivered(("second", 1), ("r", 0));
            s.delivered(("second", 0), ("q", 0));
        });
        run("DLY-5", Expect::Kept, "two levels are two orders", |s| {
            s.waits("ten", 0, "q");
            s.waits("second", 0, "q");
            s.wait(1.0);
            s.delivered(("second", 0), ("q", 0));
            s.wait(9.0);
            s.delivered(("ten", 0), ("q", 1));
        });
        run("DLY-5", Expect::Kept, "a restart begins anew", |s| {
            s.waits("second", 0, "q");
            s.waits("second", 1, "q");
            s.wait(1.0);
            s.delivered(("second", 0), ("q", 0));
            s.delivered(("second", 1), ("q", 1));
            s.crash("b0", How::Process);
            s.delivered(("second", 0), ("q", 2));
        });
    }
}
