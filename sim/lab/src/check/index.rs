//! IDX-1: questions for a key.

use super::{Judged, Rule, SECOND, View, seconds, witness};
use crate::history::Kind;

pub(super) fn check(view: &View<'_>, judged: &mut Judged) {
    let history = view.history;
    // When each place could be read, since its broker came up last.
    let mut readable = std::collections::BTreeMap::new();
    for (number, event) in history.events.iter().enumerate() {
        match event.kind {
            Kind::Dispatched { slot } => {
                readable.insert(slot, event.at_ns);
            }
            // Without taps: who sees a message knows that it can be read.
            Kind::Enter { slot, .. } if history.untapped => {
                readable.entry(slot).or_insert(event.at_ns);
            }
            // What was recovered is in the index before anybody is served.
            Kind::QueueRecovered { queue, max, .. } => {
                for (slot, since) in &mut readable {
                    if slot.queue == queue {
                        *since = if slot.offset < max { event.at_ns } else { u64::MAX };
                    }
                }
            }
            Kind::Queried { message, slot, asked_ns, found, others } => {
                judged.count(Rule::Idx1, 1);
                let told = || witness(history, Some(message), slot.queue, slot.offset);
                if others > 0 {
                    let sentence = format!(
                        "A question for the key of message {} was answered with {others} messages that do not have it.",
                        history.message_name(message)
                    );
                    judged.broken(view, Rule::Idx1, number, told(), sentence);
                }
                // What goes with its topic is not to be found: ACK-3. The disk may take its time for that.
                let queue = history.queues[slot.queue.index()];
                let goes = view.deletion_ordered(queue.topic, queue.broker, number);
                if goes && history.former(slot.queue).is_none() {
                    continue;
                }
                let since = readable.get(&slot).copied().unwrap_or(u64::MAX);
                let due = since.saturating_add(MOMENT) < asked_ns;
                let invoked = view.sends[message.index()].invoked.unwrap_or(0);
                let excused = view.excused(slot.queue, invoked) || view.made_room(slot) || view.rots(slot);
                if due && !found && !excused {
                    let sentence = format!(
                        "Message {} could be read at {} from {} on; the question for its key at {} did not find it.",
                        history.message_name(message),
                        history.slot_name(slot),
                        seconds(since),
                        seconds(asked_ns)
                    );
                    judged.broken(view, Rule::Idx1, number, told(), sentence);
                }
            }
            _ => {}
        }
    }
}

/// The index follows the log so closely.
const MOMENT: u64 = SECOND;

#[cfg(test)]
mod tests {
    use super::super::script::{Expect, Script, run};
    use crate::history::How;

    #[test]
    fn a_key_leads_to_its_messages() {
        run("IDX-1", Expect::Broken, "not found", |s: &mut Script| {
            s.ok("a", "q", 0);
            s.dispatched("q", 0);
            s.wait(2.0);
            s.queried("a", "q", 0, false, 0);
        });
        run("IDX-1", Expect::Broken, "found, and others with it", |s| {
            s.ok("a", "q", 0);
            s.dispatched("q", 0);
            s.wait(2.0);
            s.queried("a", "q", 0, true, 1);
        });
        run("IDX-1", Expect::Broken, "not found after a recovery", |s| {
            s.append("q", 0, 0, 100);
            s.ok("a", "q", 0);
            s.dispatched("q", 0);
            s.crash("b0", How::Process);
            s.recovered("b0", &[("q", 1)]);
            s.wait(2.0);
            s.queried("a", "q", 0, false, 0);
        });
        run("IDX-1", Expect::Broken, "not found, and its topic went later", |s| {
            s.ok("a", "q", 0);
            s.dispatched("q", 0);
            s.wait(2.0);
            s.queried("a", "q", 0, false, 0);
            s.orders_deletion();
            s.deletes();
        });
        run("IDX-1", Expect::Kept, "its broker made room, and its topic went later", |s| {
            s.full("b0");
            s.ok("a", "q", 0);
            s.dispatched("q", 0);
            s.wait(2.0);
            s.queried("a", "q", 0, false, 0);
            s.orders_deletion();
            s.deletes();
        });
        run("IDX-1", Expect::Broken, "not found in the topic that was made again", |s| {
            s.name_queue("q");
            s.orders_deletion();
            s.deletes();
            s.makes_again();
            s.ok("a", "q", 0);
            s.dispatched("q", 0);
            s.wait(2.0);
            s.queried("a", "q", 0, false, 0);
        });
        run("IDX-1", Expect::Kept, "the disk does not take the deletion of its topic yet", |s| {
            s.ok("a", "q", 0);
            s.dispatched("q", 0);
            s.orders_deletion();
            s.wait(2.0);
            s.queried("a", "q", 0, false, 0);
        });
        run("IDX-1", Expect::Kept, "it went with its topic", |s| {
            s.ok("a", "q", 0);
            s.dispatched("q", 0);
            s.orders_deletion();
            s.deletes();
            s.wait(2.0);
            s.queried("a", "q", 0, false, 0);
        });
        run("IDX-1", Expect::Kept, "asked in the moment it came", |s| {
            s.ok("a", "q", 0);
            s.dispatched("q", 0);
            s.queried("a", "q", 0, false, 0);
        });
        run("IDX-1", Expect::Kept, "lost with the power, under async flush", |s| {
            s.append("q", 0, 0, 100);
            s.ok("a", "q", 0);
            s.dispatched("q", 0);
            s.crash("b0", How::Power);
            s.recovered("b0", &[("q", 0)]);
            s.wait(2.0);
            s.queried("a", "q", 0, false, 0);
        });
        run("IDX-1", Expect::Kept, "deleted for want of space by the time it was asked for", |s| {
            s.full("b0");
            s.ok("a", "q", 0);
            s.dispatched("q", 0);
            s.holds("q", &["a"]);
            s.wait(2.0);
            s.queried("a", "q", 0, false, 0);
            s.range("q", 1, 1);
        });
        run("IDX-1", Expect::Kept, "found", |s| {
            s.ok("a", "q", 0);
            s.dispatched("q", 0);
            s.wait(2.0);
            s.queried("a", "q", 0, true, 0);
        });
    }
}
