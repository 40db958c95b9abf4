//! DLY-1 to DLY-5: delayed messages come in time, once, whole and in order.

use std::collections::BTreeMap;

use super::view::Trouble;
use super::{Judged, Rule, SECOND, View, seconds};
use crate::history::{Kind, NodeId, QueueId, Slot};

/// A message in the schedule topic.
#[derive(Clone, Copy)]
struct Waiting {
    since: u64,
    event: usize,
    target: Option<QueueId>,
    /// Deliveries: the event of the last.
    delivered: Option<usize>,
    skipped: bool,
}

pub(super) fn check(view: &View<'_>, judged: &mut Judged) {
    let history = view.history;
    let troubles = view.troubles();
    let mut waiting: BTreeMap<Slot, Waiting> = BTreeMap::new();
    let mut written: BTreeMap<QueueId, u64> = BTreeMap::new();
    let mut last: BTreeMap<QueueId, u64> = BTreeMap::new();
    for (number, event) in history.events.iter().enumerate() {
        match event.kind {
            Kind::Append { slot, .. } if history.is_schedule(slot.queue) => {
                let (since, event) = (event.at_ns, number);
                waiting.insert(slot, Waiting { since, event, target: None, delivered: None, skipped: false });
            }
            Kind::DelayStored { slot, target } => {
                if let Some(waiting) = waiting.get_mut(&slot) {
                    waiting.target = Some(target);
                }
            }
            Kind::DelayDelivered { from, to } => {
                let Some(waits) = waiting.get_mut(&from) else { continue };
                in_time(view, judged, &troubles, (from, waits.since), number);
                if let Some(before) = waits.delivered.replace(number) {
                    let known = written.get(&from.queue).copied().unwrap_or(0);
                    repeated(view, judged, from, (before, number), known);
                }
                judged.count(Rule::Dly4, 1);
                if waits.target.is_some_and(|target| target != to.queue) {
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
            Kind::QueueRecovered { queue, max, .. } if history.is_schedule(queue) => {
                waiting.retain(|slot, _| slot.queue != queue || slot.offset < max);
            }
            Kind::Down { .. } => last.retain(|queue, _| history.queues[queue.index()].broker != event.node),
            _ => {}
        }
    }
    lost(view, judged, &waiting);
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
    let due = since + history.held_ms(from.queue) * MS;
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
    let over = troubles.iter().filter(|trouble| trouble.touches(broker) && trouble.from_ns <= at);
    let over = over.map(|trouble| trouble.until_ns.min(at)).max().unwrap_or(0);
    // So shortly after a fault the longer bound holds.
    let shaken = due < over + CALM;
    let bound = if shaken && over > 0 { due.max(over) + LATE_AFTER_FAULT } else { due + LATE };
    if at > bound {
        let sentence = format!("{} came {} after its time.", history.slot_name(from), seconds(at - due));
        judged.broken(view, Rule::Dly3, event, history.slot_name(from), sentence);
    }
}

/// How far the clock of a node may have run ahead of the time between two moments.
fn ahead(view: &View<'_>, node: NodeId, from: u64, until: u64) -> u64 {
    let steps = view.history.steps.iter().zip(&view.steps).filter(|(step, _)| step.nodes.contains(&node));
    let ahead = steps.filter_map(|(step, on)| {
        let (start, end) = (*on)?;
        let shared = end.min(until).saturating_sub(start.max(from));
        let jump =
            if start <= until && start + SECOND >= from { step.jump_ms.unsigned_abs() * MS } else { 0 };
        Some(jump + shared / 1_000_000 * step.drift_ppm.unsigned_abs())
    });
    ahead.sum()
}

/// DLY-2: a second delivery needs a crash that lost how far the level was.
fn repeated(view: &View<'_>, judged: &mut Judged, from: Slot, (before, again): (usize, usize), written: u64) {
    let history = view.history;
    judged.count(Rule::Dly2, 1);
    let broker = history.queues[from.queue.index()].broker;
    let crashed = view.outages_of(broker).iter().any(|outage| outage.event > before && outage.event < again);
    if crashed && from.offset >= written {
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
        let due = waits.since + history.held_ms(slot.queue) * MS;
        let fills = view
            .history
            .steps
            .iter()
            .any(|step| step.fills && step.nodes.contains(&history.queues[slot.queue.index()].broker));
        let overdue = waits.delivered.is_none() && due + OVERDUE < end;
        if (overdue || waits.skipped) && !fills && !view.ever_excused(slot.queue) {
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

const MS: u64 = 1_000_000;
/// Store times are whole milliseconds.
const ROUNDING: u64 = 2 * MS;
/// The rule's own.
const LATE: u64 = SECOND;
const LATE_AFTER_FAULT: u64 = 5 * SECOND;
/// So long after a fault it may still be felt.
const CALM: u64 = 5 * SECOND;
/// When something is called lost.
const OVERDUE: u64 = 60 * SECOND;

#[cfg(test)]
mod tests {
    use super::super::script::{Expect, Script, run};
    use crate::history::How;

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
        run("DLY-2", Expect::Broken, "never", |s| {
            s.waits("second", 0, "q");
            s.wait(100.0);
            s.drained(0);
        });
        run("DLY-2", Expect::Kept, "again after a crash, before it was written", |s| {
            s.waits("second", 0, "q");
            s.wait(1.0);
            s.delivered(("second", 0), ("q", 0));
            s.crash("b0", How::Process);
            s.delivered(("second", 0), ("q", 1));
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
        run("DLY-3", Expect::Broken, "ten seconds after its broker came back", |s| {
            s.waits("second", 0, "q");
            s.crash("b0", How::Process);
            s.wait(10.0);
            s.delivered(("second", 0), ("q", 0));
        });
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
        run("DLY-4", Expect::Broken, "to another topic", |s| {
            s.waits("second", 0, "q");
            s.wait(1.0);
            s.delivered(("second", 0), ("other", 0));
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
