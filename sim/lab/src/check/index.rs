//! IDX-1: questions for a key.

use std::collections::{BTreeMap, BTreeSet};

use super::{Judged, Rule, SECOND, View, seconds, witness};
use crate::history::{Found, Kind, MessageId, Newest, NodeId, Outcome, Slot, TopicId};

pub(super) fn check(view: &View<'_>, judged: &mut Judged) {
    let history = view.history;
    // When each place could be read, since its broker came up last.
    let mut readable = BTreeMap::new();
    let sharing = if history.newest.is_empty() { BTreeMap::new() } else { sharing(view) };
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
            Kind::Newest { which } => {
                let asked = &history.newest[which as usize];
                judged.count(Rule::Idx1, 1);
                if let Some((about, sentence)) = wrong(view, asked, number, &readable, &sharing) {
                    judged.broken(view, Rule::Idx1, number, about, sentence);
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

/// An acknowledged message that shares its key, as it lies there in the end.
struct Sharing {
    message: MessageId,
    slot: Slot,
    stored_ms: i64,
    /// In the log, when taps tell.
    position: Option<u64>,
}

/// By topic, key and broker.
fn sharing(view: &View<'_>) -> BTreeMap<(TopicId, u32, NodeId), Vec<Sharing>> {
    let history = view.history;
    let positions: BTreeMap<Slot, u64> = history
        .events
        .iter()
        .filter_map(|event| match event.kind {
            Kind::Append { slot, position, .. } => Some((slot, position)),
            _ => None,
        })
        .collect();
    let mut sharing: BTreeMap<_, Vec<Sharing>> = BTreeMap::new();
    for content in &view.audit.queues {
        let queue = history.queues[content.queue.index()];
        for read in &content.read {
            let slot = Slot { queue: content.queue, offset: read.offset };
            let Some(message) = read.message else { continue };
            let send = view.sends[message.index()];
            let there = send.outcome == Some(Outcome::Ok) && send.at == Some(slot);
            let Some(key) = history.shared_key(message).filter(|_| there) else { continue };
            let position = positions.get(&slot).copied();
            let it = Sharing { message, slot, stored_ms: read.stored_ms, position };
            sharing.entry((queue.topic, key, queue.broker)).or_default().push(it);
        }
    }
    sharing
}

/// What is wrong with an answer to the question for the newest messages with a key. Records of one log do not go back
/// in time: so what is newer than something that came is among the newest of its own broker, and of all.
fn wrong(
    view: &View<'_>,
    asked: &Newest,
    number: usize,
    readable: &BTreeMap<Slot, u64>,
    sharing: &BTreeMap<(TopicId, u32, NodeId), Vec<Sharing>>,
) -> Option<(String, String)> {
    let history = view.history;
    let Newest { topic, key, ref brokers, most, stored_ms: (begin, end), asked_ns, ref found } = *asked;
    let question = format!(
        "the question at {} for the newest {most} messages with key {key} of {}",
        seconds(asked_ns),
        history.topic_name(topic)
    );
    let other =
        |id: &MessageId| history.shared_key(*id) != Some(key) || history.messages[id.index()].topic != topic;
    if let Some(other) = found.iter().filter_map(|it| it.message).find(other) {
        let name = history.message_name(other);
        return Some((
            name.clone(),
            format!("Message {name} does not have the key, and {question} found it."),
        ));
    }
    let outside = |it: &&Found| !(begin..=end).contains(&it.stored_ms);
    if let Some(Found { stored_ms, .. }) = found.iter().find(outside) {
        let sentence =
            format!("A message stored at {stored_ms} ms was not asked for, and {question} found it.");
        return Some((history.topic_name(topic).to_owned(), sentence));
    }
    let ordered = found.is_sorted_by_key(|it| it.stored_ms);
    let slots: BTreeSet<_> = found.iter().filter_map(|it| it.slot).collect();
    let once = slots.len() == found.iter().filter(|it| it.slot.is_some()).count();
    if found.len() > most as usize || !ordered || !once {
        let sentence = format!(
            "The answer to {question} has {} messages, {}.",
            found.len(),
            if !ordered {
                "a newer one before an older one"
            } else if once {
                "too many"
            } else {
                "one twice"
            }
        );
        return Some((history.topic_name(topic).to_owned(), sentence));
    }
    if brokers.iter().any(|broker| view.deletion_ordered(topic, *broker, number)) {
        return None;
    }
    let full = found.len() == most as usize;
    let oldest = found.iter().map(|it| (it.stored_ms, it.position)).min().unwrap_or_default();
    let newer = |it: &Sharing| match (brokers.as_slice(), it.position) {
        ([_], Some(position)) => (it.stored_ms, position) > oldest,
        _ => it.stored_ms > oldest.0,
    };
    let candidates = brokers.iter().filter_map(|broker| sharing.get(&(topic, key, *broker))).flatten();
    let missing = candidates.filter(|it| {
        let since = readable.get(&it.slot).copied().unwrap_or(u64::MAX);
        let send = view.sends[it.message.index()];
        // Another may have been in its place before.
        let since = send.returned.map_or(u64::MAX, |event| since.max(view.at(event)));
        since.saturating_add(LONG) < asked_ns
            && (begin..=end).contains(&it.stored_ms)
            && (!full || newer(it))
            && !slots.contains(&it.slot)
            && history.lives(it.slot.queue)
            && !view.excused(it.slot.queue, send.invoked.unwrap_or(0))
            && !view.made_room(it.slot)
            && !view.rots(it.slot)
    });
    missing.max_by_key(|it| it.stored_ms).map(|it| {
        let sentence = format!(
            "Message {} at {}, stored at {} ms, was not in the answer to {question}, which has {} messages, the oldest of {} ms.",
            history.message_name(it.message),
            history.slot_name(it.slot),
            it.stored_ms,
            found.len(),
            oldest.0
        );
        (witness(history, Some(it.message), it.slot.queue, it.slot.offset), sentence)
    })
}

/// The index follows the log so closely.
const MOMENT: u64 = SECOND;
/// Of the newest it may be without those of the last moments: small files of it are synced one after the other, by a disk
/// that may be slow.
const LONG: u64 = 30 * SECOND;

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

    /// Messages `a`, `b`, .. with one key lie in `q`, stored a second apart, and have been there for long.
    fn shared(s: &mut Script, count: u64) {
        s.share_keys();
        for (offset, name) in (0..count).zip(NAMES) {
            s.append("q", offset, offset * 100, offset * 100 + 100);
            s.ok(name, "q", offset);
            s.dispatched("q", offset);
        }
        s.holds("q", &NAMES[..count as usize]);
        s.last_content().read.iter_mut().for_each(|read| read.stored_ms = read.offset as i64 * 1000);
        s.wait(31.0);
    }

    #[test]
    fn of_many_messages_with_one_key_the_newest_are_found() {
        run("IDX-1", Expect::Broken, "the oldest", |s: &mut Script| {
            shared(s, 4);
            s.newest(2, i64::MAX, &[("a", 0), ("b", 1)]);
        });
        run("IDX-1", Expect::Broken, "one in the midst is left out", |s| {
            shared(s, 4);
            s.newest(2, i64::MAX, &[("b", 1), ("d", 3)]);
        });
        run("IDX-1", Expect::Broken, "fewer than there are", |s| {
            shared(s, 4);
            s.newest(3, i64::MAX, &[("c", 2), ("d", 3)]);
        });
        run("IDX-1", Expect::Broken, "none", |s| {
            shared(s, 1);
            s.newest(3, i64::MAX, &[]);
        });
        run("IDX-1", Expect::Broken, "more than were asked for", |s| {
            shared(s, 3);
            s.newest(2, i64::MAX, &[("a", 0), ("b", 1), ("c", 2)]);
        });
        run("IDX-1", Expect::Broken, "the newest first", |s| {
            shared(s, 2);
            s.newest(2, i64::MAX, &[("b", 1), ("a", 0)]);
        });
        run("IDX-1", Expect::Broken, "of a time that was not asked for", |s| {
            shared(s, 3);
            s.newest(2, 1000, &[("b", 1), ("c", 2)]);
        });
        run("IDX-1", Expect::Kept, "the newest, oldest first", |s| {
            shared(s, 4);
            s.newest(2, i64::MAX, &[("c", 2), ("d", 3)]);
            s.newest(5, i64::MAX, &[("a", 0), ("b", 1), ("c", 2), ("d", 3)]);
        });
        run("IDX-1", Expect::Kept, "those before a time", |s| {
            shared(s, 4);
            s.newest(2, 2000, &[("b", 1), ("c", 2)]);
        });
        run("IDX-1", Expect::Kept, "another came a moment ago", |s| {
            shared(s, 2);
            s.append("r", 0, 200, 300);
            s.ok("c", "r", 0);
            s.dispatched("r", 0);
            s.holds("r", &["c"]);
            s.last_content().read[0].stored_ms = 5000;
            s.wait(20.0);
            s.newest(1, i64::MAX, &[("b", 1)]);
        });
        run("IDX-1", Expect::Kept, "one that was lost with the power", |s| {
            shared(s, 2);
            s.crash("b0", How::Power);
            s.recovered("b0", &[("q", 1)]);
            s.wait(31.0);
            s.newest(1, i64::MAX, &[("a", 0)]);
        });
        run("IDX-1", Expect::Kept, "one whose place another had before it was lost", |s| {
            shared(s, 1);
            s.newest(1, i64::MAX, &[]);
            s.crash("b0", How::Disk);
            s.recovered("b0", &[("q", 0)]);
            s.append("q", 0, 0, 100);
            s.ok("b", "q", 0);
            s.dispatched("q", 0);
            s.holds("q", &["b"]);
        });
        run("IDX-1", Expect::Kept, "its topic is about to go", |s| {
            shared(s, 2);
            s.orders_deletion();
            s.newest(1, i64::MAX, &[("a", 0)]);
        });
    }

    const NAMES: [&str; 4] = ["a", "b", "c", "d"];
}
