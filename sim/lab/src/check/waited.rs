//! DLY-3 to DLY-5 where no taps tell: by where brokers stored what had waited, and by the times they gave it.

use std::collections::{BTreeMap, BTreeSet};

use super::delay::{LATE, LATE_AFTER_FAULT, MS, bound, troubles};
use super::{Judged, Rule, SECOND, View, seconds};
use crate::history::{Kind, MessageId, NodeId, Outcome, QueueId, Slot, TopicId};

/// A message in its own topic.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Copy {
    stored_ns: u64,
    slot: Slot,
}

pub(super) fn check(view: &View<'_>, judged: &mut Judged) {
    let copies = copies(view);
    places(view, judged, &copies);
    // A clock that is not ours says nothing of time.
    if view.history.began_ms > 0 {
        in_time(view, judged, &copies);
        in_order(view, judged, &copies);
    }
}

/// What had to wait and lies in its topic in the end, the first copy first.
fn copies(view: &View<'_>) -> BTreeMap<MessageId, Vec<Copy>> {
    let history = view.history;
    let mut copies: BTreeMap<MessageId, Vec<Copy>> = BTreeMap::new();
    for content in &view.audit.queues {
        let topic = history.queues[content.queue.index()].topic;
        for read in &content.read {
            let Some(id) = read.message else { continue };
            let message = history.messages[id.index()];
            if message.delay_level.is_some() && message.topic == topic {
                let since_ms = read.stored_ms.saturating_sub(history.began_ms);
                let stored_ns = u64::try_from(since_ms).unwrap_or(0) * MS;
                let slot = Slot { queue: content.queue, offset: read.offset };
                copies.entry(id).or_default().push(Copy { stored_ns, slot });
            }
        }
    }
    copies.values_mut().for_each(|all| all.sort_unstable());
    copies
}

/// DLY-4: what a producer sent to a queue lies there, unless the topic's queues changed.
fn places(view: &View<'_>, judged: &mut Judged, copies: &BTreeMap<MessageId, Vec<Copy>>) {
    let history = view.history;
    let mut sizes: BTreeMap<(TopicId, NodeId), BTreeSet<(u32, u32)>> = BTreeMap::new();
    for event in &history.events {
        if let Kind::TopicSet { topic, broker, read, write } = event.kind {
            sizes.entry((topic, broker)).or_default().insert((read, write));
        }
    }
    for (id, meant) in &history.meant {
        let queue = history.queues[meant.index()];
        if sizes.get(&(queue.topic, queue.broker)).is_some_and(|sizes| sizes.len() > 1) {
            continue;
        }
        for copy in copies.get(id).into_iter().flatten() {
            judged.count(Rule::Dly4, 1);
            if copy.slot.queue != *meant {
                let sentence = format!(
                    "Message {} was to go to {} and lies at {}.",
                    history.message_name(*id),
                    history.queue_name(*meant),
                    history.slot_name(copy.slot)
                );
                let witness = history.slot_name(copy.slot);
                judged.broken(view, Rule::Dly4, view.last(), witness, sentence);
            }
        }
    }
}

/// DLY-3: what was acknowledged came not long after its time.
fn in_time(view: &View<'_>, judged: &mut Judged, copies: &BTreeMap<MessageId, Vec<Copy>>) {
    let history = view.history;
    let troubles = troubles(view);
    for (id, all) in copies {
        let (send, Copy { stored_ns, slot }) = (view.sends[id.index()], all[0]);
        let (Some(Outcome::Ok), Some(invoked), Some(returned), Some(level)) =
            (send.outcome, send.invoked, send.returned, history.messages[id.index()].delay_level)
        else {
            continue;
        };
        let Some(broker) = only_broker(view, all) else { continue };
        judged.count(Rule::Dly3, 1);
        let event = history.events.partition_point(|event| event.at_ns <= stored_ns).saturating_sub(1);
        let due = view.at(returned) + view.most_delay_ms(broker, level, invoked, event) * MS;
        let (expected, bound) = bound(&troubles, broker, due, stored_ns);
        let late = stored_ns.saturating_sub(expected);
        let what = match bound {
            LATE => "delayed messages late in health, ms",
            _ => "delayed messages late after a fault, ms",
        };
        debug_assert!([LATE, LATE_AFTER_FAULT].contains(&bound), "there are two bounds");
        judged.worst(what, late / MS);
        if late > bound + SHARED {
            let sentence = format!(
                "Message {} came {} after its time.",
                history.message_name(*id),
                seconds(stored_ns - due.min(stored_ns))
            );
            judged.broken(view, Rule::Dly3, event, history.slot_name(slot), sentence);
        }
    }
}

/// DLY-5: of two messages that wait in one queue, and of which one was acknowledged before the other was sent, that one
/// comes first.
fn in_order(view: &View<'_>, judged: &mut Judged, copies: &BTreeMap<MessageId, Vec<Copy>>) {
    let history = view.history;
    /// When it was sent, when it had surely been stored to wait, and its first copy.
    type Sent = (usize, Option<usize>, Copy, MessageId);
    let mut lines: BTreeMap<(NodeId, u64), Vec<Sent>> = BTreeMap::new();
    for (id, all) in copies {
        let send = view.sends[id.index()];
        let (Some(broker), Some(invoked), Some(level)) =
            (only_broker(view, all), send.invoked, history.messages[id.index()].delay_level)
        else {
            continue;
        };
        let returned = send.returned.filter(|_| send.outcome == Some(Outcome::Ok));
        // A message waits on the last level there is, when its own is none.
        let levels = |event| view.delays_ms(broker, event).len() as u64;
        let most = levels(invoked);
        if levels(returned.unwrap_or(view.last())) == most {
            lines
                .entry((broker, u64::from(level).min(most)))
                .or_default()
                .push((invoked, returned, all[0], *id));
        }
    }
    for mut line in lines.into_values() {
        let mut stored: Vec<(usize, Copy, MessageId)> =
            line.iter().filter_map(|(_, returned, copy, id)| Some(((*returned)?, *copy, *id))).collect();
        stored.sort_unstable_by_key(|(returned, ..)| *returned);
        line.sort_unstable_by_key(|(invoked, ..)| *invoked);
        let mut before = stored.into_iter().peekable();
        let mut latest: Option<(Copy, MessageId)> = None;
        let mut highest: BTreeMap<QueueId, (Copy, MessageId)> = BTreeMap::new();
        for (invoked, _, copy, id) in line {
            while let Some((_, first, of)) = before.next_if(|(returned, ..)| *returned < invoked) {
                if latest.is_none_or(|(copy, _)| copy.stored_ns < first.stored_ns) {
                    latest = Some((first, of));
                }
                let of_queue = highest.entry(first.slot.queue).or_insert((first, of));
                if of_queue.0.slot.offset < first.slot.offset {
                    *of_queue = (first, of);
                }
            }
            judged.count(Rule::Dly5, u64::from(latest.is_some()));
            let later = latest.filter(|(first, _)| first.stored_ns > copy.stored_ns);
            let behind = highest.get(&copy.slot.queue).copied();
            let behind = behind.filter(|(first, _)| first.slot.offset > copy.slot.offset);
            if let Some((first, of)) = later.or(behind) {
                let sentence = format!(
                    "Message {} had been acknowledged before {} of the same level was sent; it came to {}, after the other one to {}.",
                    history.message_name(of),
                    history.message_name(id),
                    history.slot_name(first.slot),
                    history.slot_name(copy.slot)
                );
                judged.broken(view, Rule::Dly5, invoked, history.slot_name(copy.slot), sentence);
            }
        }
    }
}

/// The broker that has all copies.
fn only_broker(view: &View<'_>, copies: &[Copy]) -> Option<NodeId> {
    let broker = |copy: &Copy| view.history.queues[copy.slot.queue.index()].broker;
    let first = broker(copies.first()?);
    copies.iter().all(|copy| broker(copy) == first).then_some(first)
}

/// What a machine that others use as well may take.
const SHARED: u64 = SECOND;

#[cfg(test)]
mod tests {
    use super::super::script::{Expect, Script, run};
    use crate::history::How;

    fn unseen(rule: &str, expect: Expect, what: &str, script: impl FnOnce(&mut Script)) {
        run(rule, expect, what, |s| {
            s.untapped();
            script(s);
        });
    }

    /// A message for level 1, a second, that is sent at once and stored so many seconds after the start.
    fn stored(s: &mut Script, seconds: f64) {
        s.wait(200.0);
        s.holds("q", &["a"]);
        s.stored_after(seconds);
    }

    #[test]
    fn a_message_that_waited_is_not_late_by_its_store_time() {
        let sent = |s: &mut Script| {
            s.delayed("a", 1);
            s.acknowledged("a");
        };
        unseen("DLY-3", Expect::Broken, "four seconds", |s| {
            sent(s);
            stored(s, 5.0);
        });
        unseen("DLY-3", Expect::Broken, "ten seconds after its broker answered again", |s| {
            sent(s);
            s.crash("b0", How::Process);
            s.told("q", 0);
            stored(s, 11.0);
        });
        unseen("DLY-3", Expect::Broken, "somebody else was struck", |s| {
            sent(s);
            let fault = s.begin(&["c0"]);
            s.wait(5.0);
            s.over(fault);
            stored(s, 5.0);
        });
        unseen("DLY-3", Expect::Kept, "within the second", |s| {
            sent(s);
            stored(s, 1.9);
        });
        unseen("DLY-3", Expect::Kept, "its broker took long to start", |s| {
            sent(s);
            s.crash("b0", How::Process);
            s.wait(9.0);
            s.told("q", 0);
            stored(s, 12.0);
        });
        unseen("DLY-3", Expect::Kept, "its broker stood still", |s| {
            sent(s);
            let fault = s.begin(&["b0"]);
            s.wait(9.0);
            s.over(fault);
            stored(s, 12.0);
        });
        unseen("DLY-3", Expect::Kept, "nobody knows when it was stored to wait", |s| {
            s.delayed("a", 1);
            s.send("a");
            stored(s, 9.0);
        });
        unseen("DLY-3", Expect::Kept, "the first copy is in time", |s| {
            sent(s);
            s.wait(200.0);
            s.holds("q", &["a", "a"]);
            s.stored_after(30.0);
            s.last_content().read[0].stored_ms -= 28_000;
        });
    }

    #[test]
    fn a_message_that_waited_lies_where_it_was_sent() {
        let lies = |s: &mut Script, queue: &str| {
            s.delayed("a", 1);
            s.meant("a", "q");
            s.acknowledged("a");
            s.wait(2.0);
            s.holds(queue, &["a"]);
        };
        unseen("DLY-4", Expect::Broken, "in another queue", |s| {
            s.queues("b0", 2, 2);
            lies(s, "r");
        });
        unseen("DLY-4", Expect::Broken, "in another queue, and the topic was set once more as it is", |s| {
            s.queues("b0", 2, 2);
            s.queues("b0", 2, 2);
            lies(s, "r");
        });
        unseen("DLY-4", Expect::Kept, "there", |s| {
            s.queues("b0", 2, 2);
            lies(s, "q");
        });
        unseen("DLY-4", Expect::Kept, "in another queue, as there were others for a while", |s| {
            s.queues("b0", 2, 2);
            s.queues("b0", 3, 3);
            lies(s, "r");
        });
    }

    #[test]
    fn a_level_keeps_its_order_by_store_times() {
        let two = |s: &mut Script, levels: [u32; 2]| {
            for (name, level) in ["a", "b"].into_iter().zip(levels) {
                s.delayed(name, level);
                s.acknowledged(name);
            }
            s.wait(100.0);
        };
        let each = |s: &mut Script, first: f64, second: f64| {
            s.holds("q", &["a"]);
            s.stored_after(first);
            s.holds("r", &["b"]);
            s.stored_after(second);
        };
        unseen("DLY-5", Expect::Broken, "the second first", |s| {
            two(s, [1, 1]);
            each(s, 1.2, 1.1);
        });
        unseen("DLY-5", Expect::Broken, "in one queue, at the same time", |s| {
            two(s, [1, 1]);
            s.holds("q", &["b", "a"]);
            s.stored_after(1.1);
        });
        unseen("DLY-5", Expect::Kept, "in order", |s| {
            two(s, [1, 1]);
            each(s, 1.1, 1.2);
        });
        unseen("DLY-5", Expect::Kept, "two levels are two orders", |s| {
            two(s, [2, 1]);
            each(s, 5.1, 1.1);
        });
        unseen("DLY-5", Expect::Kept, "they were sent at the same time", |s| {
            ["a", "b"].into_iter().for_each(|name| s.delayed(name, 1));
            s.send("a");
            s.send("b");
            ["a", "b"].into_iter().for_each(|name| s.returned(name, crate::history::Outcome::Ok, None));
            s.wait(100.0);
            each(s, 1.2, 1.1);
        });
        unseen("DLY-5", Expect::Kept, "the second came once more after a crash", |s| {
            two(s, [1, 1]);
            s.holds("q", &["a", "b", "a", "b"]);
            s.stored_after(1.1);
        });
    }
}
