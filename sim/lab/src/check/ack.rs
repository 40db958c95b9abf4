//! ACK-1 to ACK-8: what a producer was told is true.

use std::collections::BTreeMap;

use super::{Judged, Rule, SECOND, View, seconds, witness};
use crate::history::{ById, Id, Kind, Message, MessageId, Outcome, QueueContent, QueueId, Read, Slot};

pub(super) fn check(view: &View<'_>, judged: &mut Judged) {
    acknowledged(view, judged);
    delivered(view, judged);
    brought_back(view, judged);
    copies(view, judged);
    by_id(view, judged);
    if view.history.messages.iter().any(|message| message.batch.is_some()) {
        let appends = view.appends();
        view.audit.queues.iter().for_each(|content| batches(view, &appends, content, judged));
    }
    honest(view, judged);
}

/// ACK-1 and ACK-2: the place that was returned holds the message, whole.
fn acknowledged(view: &View<'_>, judged: &mut Judged) {
    let history = view.history;
    let mut contents = vec![None; history.queues.len()];
    for content in &view.audit.queues {
        contents[content.queue.index()] = Some(content);
    }
    for (index, send) in view.sends.iter().enumerate() {
        let (Some(Outcome::Ok), Some(slot), Some(invoked), Some(returned)) =
            (send.outcome, send.at, send.invoked, send.returned)
        else {
            continue;
        };
        let message = MessageId(index as u32);
        let Some(content) = contents[slot.queue.index()] else { continue };
        judged.count(Rule::Ack1, 1);
        let place = content.read.binary_search_by_key(&slot.offset, |read| read.offset).ok();
        let found = place.map(|place| content.read[place]);
        let when = seconds(view.at(returned));
        match found {
            Some(read) if read.message == Some(message) => {
                judged.count(Rule::Ack2, 1);
                // A record's checksum covers its body alone.
                if !(read.fit.body && (read.fit.properties || view.rots(slot))) {
                    let part = if read.fit.body { "set of properties, or another birth" } else { "body" };
                    let sentence = format!(
                        "Message {} was acknowledged at {when} at {}; reading that place in the end gives another {part}.",
                        history.message_name(message),
                        history.slot_name(slot)
                    );
                    judged.broken(
                        view,
                        Rule::Ack2,
                        returned,
                        witness(history, Some(message), slot.queue, slot.offset),
                        sentence,
                    );
                }
            }
            _ if view.excused(slot.queue, invoked) || view.made_room(slot) || view.rots(slot) => {}
            other => {
                let instead = match other {
                    Some(read) => {
                        read.message.map_or("a message nobody sent".to_owned(), |id| history.message_name(id))
                    }
                    None if slot.offset >= content.max => {
                        format!("nothing: the queue ends at {}", content.max)
                    }
                    None => "nothing".to_owned(),
                };
                let sentence = format!(
                    "Message {} was acknowledged at {when} at {}, and in the end that place holds {instead}.",
                    history.message_name(message),
                    history.slot_name(slot)
                );
                judged.broken(
                    view,
                    Rule::Ack1,
                    returned,
                    witness(history, Some(message), slot.queue, slot.offset),
                    sentence,
                );
            }
        }
    }
}

/// ACK-3: nothing is delivered or readable that nobody sent, or that differs from what was sent.
fn delivered(view: &View<'_>, judged: &mut Judged) {
    let history = view.history;
    let mut look = |slot: Slot,
                    message: Option<MessageId>,
                    fit: crate::history::Fit,
                    event: usize,
                    how: &str| {
        judged.count(Rule::Ack3, 1);
        let known =
            message.filter(|id| view.sends[id.index()].invoked.is_some_and(|invoked| invoked <= event));
        let right_topic = known.is_some_and(|id| history.belongs(id, slot.queue));
        let wrong = match known {
            None => "it was never sent",
            Some(_) if !right_topic => "it was sent to another topic",
            Some(_) if !fit.body => "its body is not what was sent",
            Some(_) if !fit.properties && !view.rots(slot) => {
                "its properties or its birth are not what was sent"
            }
            Some(_) => return,
        };
        let name =
            message.map_or("A message".to_owned(), |id| format!("Message {}", history.message_name(id)));
        let sentence = format!("{name} was {how} from {}, but {wrong}.", history.slot_name(slot));
        judged.broken(view, Rule::Ack3, event, witness(history, message, slot.queue, slot.offset), sentence);
    };
    for delivery in &view.deliveries {
        look(delivery.slot, delivery.message, delivery.fit, delivery.entered, "delivered");
    }
    for content in &view.audit.queues {
        for read in &content.read {
            // A wrong body at an acknowledged place is ACK-2; at any other it shows here.
            look(
                Slot { queue: content.queue, offset: read.offset },
                read.message,
                read.fit,
                view.last(),
                "read in the end",
            );
        }
    }
}

/// ACK-3 once more: what went with its topic does not come from one that was made with the same name.
fn brought_back(view: &View<'_>, judged: &mut Judged) {
    let history = view.history;
    if history.deleted.is_empty() {
        return;
    }
    let mut broken = |slot: Slot, message: Option<MessageId>, event: usize, how: &str| {
        let name =
            message.map_or("A message".to_owned(), |id| format!("Message {}", history.message_name(id)));
        let sentence = format!(
            "{name} was {how} from {}, after the topic it lay in was deleted.",
            history.slot_name(slot)
        );
        judged.broken(view, Rule::Ack3, event, witness(history, message, slot.queue, slot.offset), sentence);
    };
    for delivery in view.deliveries.iter().filter(|_| !history.untapped) {
        let queue = delivery.slot.queue;
        let group = history.members[delivery.member.index()].group;
        let gone = history.deleted.get(&queue).is_some_and(|deletion| deletion.event < delivery.entered);
        let later = |of: &QueueId| history.queues[of.index()] == history.queues[queue.index()];
        let haunted = view.haunted.iter().any(|(of, queue)| *of == group && later(queue));
        if gone && delivery.session.is_none() && !haunted {
            broken(delivery.slot, delivery.message, delivery.entered, "delivered");
        }
    }
    // Of one attempt there is one copy, and that one was deleted.
    let deleted = |message: &MessageId| {
        let send = view.sends[message.index()];
        let once = history.messages[message.index()].attempts == 1 && send.outcome == Some(Outcome::Ok);
        once && send.at.is_some_and(|slot| !history.lives(slot.queue))
    };
    for content in &view.audit.queues {
        for read in &content.read {
            let slot = Slot { queue: content.queue, offset: read.offset };
            if let Some(message) = read.message.filter(deleted) {
                broken(slot, Some(message), view.last(), "read in the end");
            }
        }
    }
    for (number, event) in history.events.iter().enumerate() {
        let Kind::Queried { message, slot, found: true, .. } = event.kind else { continue };
        let gone = history.deleted.get(&slot.queue).is_some_and(|deletion| deletion.event < number);
        if gone && deleted(&message) {
            broken(slot, Some(message), number, "found by its key");
        }
    }
    for &ById { asked, id, found } in view.audit.by_id.iter().filter(|it| it.id == Id::Unique) {
        let (send, it) = (view.sends[asked.index()], found.and_then(|(message, _)| message));
        if let Some(slot) = send.at.filter(|_| it == Some(asked) && deleted(&asked)) {
            broken(slot, Some(asked), view.last(), &format!("found by its {} in the end", id.name()));
        }
    }
}

/// ACK-2 once more: the ids that an acknowledgement gave lead to its message.
fn by_id(view: &View<'_>, judged: &mut Judged) {
    let history = view.history;
    for &ById { asked, id, found } in &view.audit.by_id {
        judged.count(Rule::Ack2, 1);
        let send = view.sends[asked.index()];
        let (Some(slot), Some(invoked), Some(returned)) = (send.at, send.invoked, send.returned) else {
            continue;
        };
        let instead = match found {
            Some((Some(message), fit)) if message == asked && fit.body && fit.properties => continue,
            _ if view.excused(slot.queue, invoked) || view.made_room(slot) => continue,
            // Its bytes may stay in the log, or not.
            _ if !history.lives(slot.queue) => continue,
            _ if view.rots(slot) && found.is_none_or(|(_, fit)| fit.body) => continue,
            Some((Some(message), _)) if message == asked => "the message with another content".to_owned(),
            Some((Some(other), _)) => format!("message {}", history.message_name(other)),
            Some((None, _)) => "a message nobody sent".to_owned(),
            None => "nothing".to_owned(),
        };
        let sentence = format!(
            "The {} that the acknowledgement of message {} gave leads in the end to {instead}.",
            id.name(),
            history.message_name(asked)
        );
        let witness = witness(history, Some(asked), slot.queue, slot.offset);
        judged.broken(view, Rule::Ack2, returned, witness, sentence);
    }
}

/// ACK-7: whoever reads a member of a batch finds its neighbours next to it.
fn batches(
    view: &View<'_>,
    appends: &BTreeMap<Slot, Vec<(usize, u64)>>,
    content: &QueueContent,
    judged: &mut Judged,
) {
    let history = view.history;
    // Tries after the first come one by one.
    let own = |message: &&Message| message.topic == history.queues[content.queue.index()].topic;
    let batch = |message: MessageId| history.messages.get(message.index()).filter(own)?.batch;
    for (place, read) in content.read.iter().enumerate() {
        let Some((message, number)) = read.message.and_then(|id| Some((id, batch(id)?))) else { continue };
        judged.count(Rule::Ack7, 1);
        let at = |place: Option<usize>| {
            place.and_then(|place| content.read.get(place)).and_then(|read| read.message)
        };
        let of_batch = |id: &MessageId| batch(*id) == Some(number);
        let before = message.0.checked_sub(1).map(MessageId).filter(of_batch);
        let after = Some(MessageId(message.0 + 1)).filter(of_batch);
        let rots = |offset| view.rots(Slot { queue: content.queue, offset });
        let missing = before
            .filter(|id| at(place.checked_sub(1)) != Some(*id) && !made_room_before(view, content, place))
            .filter(|_| !rots(read.offset.wrapping_sub(1)))
            .or_else(|| after.filter(|id| at(Some(place + 1)) != Some(*id) && !rots(read.offset + 1)));
        let Some(missing) = missing else { continue };
        // A loss of power cuts what was not flushed yet anywhere, also within a batch.
        let send = view.sends[message.index()];
        let slot = Slot { queue: content.queue, offset: read.offset };
        let acknowledged = send.outcome == Some(Outcome::Ok) && send.at == Some(slot);
        let broker = history.queues[content.queue.index()].broker;
        let cut = match appends.get(&slot).and_then(|appends| appends.last()) {
            Some((event, end)) => view.may_be_lost(broker, *event, *end),
            // Its broker died before it could tell of it.
            None => !acknowledged && view.may_be_lost(broker, send.invoked.unwrap_or(0), u64::MAX),
        };
        if cut && !(acknowledged && history.sync_flush(content.queue)) {
            continue;
        }
        let sentence = format!(
            "Message {} at {} was sent in a batch, but {} of the same batch is not next to it.",
            history.message_name(message),
            history.slot_name(slot),
            history.message_name(missing)
        );
        let event = send.returned.unwrap_or(view.last());
        let witness = witness(history, Some(message), slot.queue, slot.offset);
        judged.broken(view, Rule::Ack7, event, witness, sentence);
    }
}

fn made_room_before(view: &View<'_>, content: &QueueContent, place: usize) -> bool {
    let before = content.min.checked_sub(1).map(|offset| Slot { queue: content.queue, offset });
    place == 0 && before.is_some_and(|slot| view.made_room(slot))
}

/// ACK-4, ACK-6 and ACK-8: no copy of a refused message, no more copies than attempts, and all with one key.
fn copies(view: &View<'_>, judged: &mut Judged) {
    let history = view.history;
    // Those for another try, which are copies for a reason of their own, come last.
    let mut slots: Vec<(MessageId, bool, Slot, u64)> = Vec::new();
    for content in &view.audit.queues {
        let known = |read: &Read| {
            let (message, slot) = (read.message?, Slot { queue: content.queue, offset: read.offset });
            let tried = history.messages[message.index()].topic != history.queues[slot.queue.index()].topic;
            (!view.rots(slot)).then_some((message, tried, slot, read.unique))
        };
        slots.extend(content.read.iter().filter_map(known));
    }
    slots.sort_unstable();
    for all in slots.chunk_by(|a, b| a.0 == b.0) {
        let (message, _, slot, unique) = all[0];
        let send = view.sends[message.index()];
        let event = send.returned.or(send.invoked).unwrap_or(0);
        judged.count(Rule::Ack8, u64::from(all.len() > 1));
        if all.iter().any(|copy| copy.3 != unique) {
            let sentence = format!(
                "The {} copies of message {} carry different unique keys.",
                all.len(),
                history.message_name(message)
            );
            let told = witness(history, Some(message), slot.queue, slot.offset);
            judged.broken(view, Rule::Ack8, event, told, sentence);
        }
        let copies = &all[..all.partition_point(|copy| !copy.1)];
        let Some(&(_, _, Slot { queue, offset }, _)) = copies.last() else { continue };
        judged.count(Rule::Ack6, 1);
        if send.outcome == Some(Outcome::Failed) {
            judged.count(Rule::Ack4, 1);
            let sentence = format!(
                "Message {} was refused, and is readable at {}.",
                history.message_name(message),
                history.slot_name(Slot { queue, offset })
            );
            judged.broken(view, Rule::Ack4, event, witness(history, Some(message), queue, offset), sentence);
            continue;
        }
        let attempts = history.messages[message.index()].attempts;
        // DLY-2 and TXN-3 tell how often such a message comes.
        let Message { delay_level, transactional, .. } = history.messages[message.index()];
        if copies.len() > attempts as usize && delay_level.is_none() && !transactional {
            let sentence = format!(
                "Message {} was sent in at most {attempts} attempts and is stored {} times, last at {}.",
                history.message_name(message),
                copies.len(),
                history.slot_name(Slot { queue, offset })
            );
            judged.broken(view, Rule::Ack6, event, witness(history, Some(message), queue, offset), sentence);
        }
    }
}

/// ACK-5: under sync flush OK is answered only for flushed bytes, and the answer is not later than its time-out.
fn honest(view: &View<'_>, judged: &mut Judged) {
    let history = view.history;
    let mut flushed = vec![0; history.events.iter().map(|event| event.node.index() + 1).max().unwrap_or(0)];
    let mut appended = BTreeMap::new();
    for (number, event) in history.events.iter().enumerate() {
        let at = &mut flushed[event.node.index()];
        match event.kind {
            Kind::Flushed { end } => *at = end.max(*at),
            Kind::Recovered { end } => *at = end, // recovery has synced what it kept
            Kind::Append { slot, .. } if history.sync_flush(slot.queue) => {
                appended.insert(slot, event.at_ns);
            }
            Kind::Acked { slot, end, code } if history.sync_flush(slot.queue) => {
                judged.count(Rule::Ack5, 1);
                let broker = history.node_name(event.node);
                if code == 0 && end > *at {
                    let sentence = format!(
                        "Broker {broker} flushes synchronously and answered OK for {} at {} when its log was flushed to {at} only, but the record ends at {end}.",
                        history.slot_name(slot),
                        seconds(event.at_ns)
                    );
                    judged.broken(view, Rule::Ack5, number, history.slot_name(slot), sentence);
                }
                let Some(since) = appended.remove(&slot) else { continue };
                let took = event.at_ns - since;
                if took > FLUSH_TIMEOUT && !view.slowed(event.node, since, event.at_ns) {
                    let sentence = format!(
                        "Broker {broker} answered for {} {} after storing it; the flush time-out is 5 s.",
                        history.slot_name(slot),
                        seconds(took)
                    );
                    judged.broken(view, Rule::Ack5, number, history.slot_name(slot), sentence);
                }
            }
            _ => {}
        }
    }
}

/// Flush time-out and what the rule allows above it.
const FLUSH_TIMEOUT: u64 = 5 * SECOND + SECOND / 10;

#[cfg(test)]
mod tests {
    use super::super::script::{Expect, Script, run};
    use crate::history::{Fit, How, Id, Outcome};

    #[test]
    fn an_acknowledged_message_must_be_there() {
        run("ACK-1", Expect::Broken, "the place is beyond the end", |s: &mut Script| {
            s.ok("a", "q", 0);
            s.holds("q", &[]);
        });
        run("ACK-1", Expect::Broken, "another message took the place", |s| {
            s.ok("a", "q", 0);
            s.ok("b", "q", 1);
            s.holds("q", &["b", "b"]);
        });
        run("ACK-1", Expect::Broken, "sync flush survives power loss", |s| {
            s.sync_flush();
            s.ok("a", "q", 0);
            s.crash("b0", How::Power);
            s.holds("q", &[]);
        });
        run("ACK-1", Expect::Broken, "a disk that was lost before the send does not excuse", |s| {
            s.crash("b0", How::Disk);
            s.sync_flush();
            s.ok("a", "q", 0);
            s.holds("q", &[]);
        });
        run("ACK-1", Expect::Kept, "sync flush does not survive the loss of the disk", |s| {
            s.sync_flush();
            s.ok("a", "q", 0);
            s.crash("b0", How::Disk);
            s.holds("q", &[]);
        });
        run("ACK-1", Expect::Kept, "power loss under async flush excuses", |s| {
            s.ok("a", "q", 0);
            s.crash("b0", How::Power);
            s.holds("q", &[]);
        });
        run("ACK-1", Expect::Broken, "sync flush survives a failed sync", |s| {
            s.sync_flush();
            s.ok("a", "q", 0);
            s.sync_fails();
            s.holds("q", &[]);
        });
        run("ACK-1", Expect::Broken, "a failed sync before the send does not excuse", |s| {
            s.sync_fails();
            s.recovered("b0", &[]);
            s.ok("a", "q", 0);
            s.crash("b0", How::Process);
            s.holds("q", &[]);
        });
        run(
            "ACK-1",
            Expect::Kept,
            "a sync failed under async flush, and the system forgot what it had",
            |s| {
                s.ok("a", "q", 0);
                s.sync_fails();
                s.holds("q", &[]);
            },
        );
        run("ACK-1", Expect::Kept, "nobody knows what became of it", |s| {
            s.sent("a", Outcome::Unknown, None);
            s.sent("b", Outcome::Degraded, Some(("q", 0)));
            s.holds("q", &[]);
        });
        run("ACK-1", Expect::Kept, "a full disk makes room by the oldest", |s| {
            s.ok("a", "q", 0);
            s.full("b0");
            s.holds_from("q", 1, &["b"]);
        });
        run("ACK-1", Expect::Broken, "a bit of its neighbour turned", |s| {
            s.ok("a", "q", 0);
            s.ok("b", "q", 1);
            s.rots("q", 1);
            s.holds_but("q", 0, &["a", "b"]);
        });
        run("ACK-1", Expect::Kept, "a bit of it turned", |s| {
            s.ok("a", "q", 0);
            s.ok("b", "q", 1);
            s.rots("q", 0);
            s.holds_but("q", 0, &["a", "b"]);
        });
        run("ACK-1", Expect::Broken, "room is made from the front only", |s| {
            s.ok("a", "q", 0);
            s.full("b0");
            s.holds("q", &[]);
        });
        run("ACK-1", Expect::Broken, "a power loss before the send does not excuse", |s| {
            s.crash("b0", How::Power);
            s.ok("a", "q", 0);
            s.holds("q", &[]);
        });
    }

    #[test]
    fn the_returned_place_holds_the_same_message() {
        run("ACK-2", Expect::Broken, "the body changed", |s| {
            s.ok("a", "q", 0);
            s.holds_as("q", &[("a", Fit { body: false, properties: true })]);
        });
        run("ACK-2", Expect::Broken, "a property changed", |s| {
            s.ok("a", "q", 0);
            s.holds_as("q", &[("a", Fit { body: true, properties: false })]);
        });
        run("ACK-2", Expect::Kept, "whole", |s| {
            s.ok("a", "q", 0);
            s.holds("q", &["a"]);
        });
        run("ACK-2", Expect::Kept, "a copy at a place that was not returned is ACK-3's", |s| {
            s.attempts("a", 2);
            s.ok("a", "q", 1);
            s.holds_as("q", &[("a", Fit { body: false, properties: true }), ("a", Fit::WHOLE)]);
        });
    }

    #[test]
    fn nothing_is_delivered_that_nobody_sent() {
        run("ACK-3", Expect::Broken, "garbage", |s| {
            s.deliver_unknown("c0", "q", 0);
        });
        run("ACK-3", Expect::Broken, "before it was sent", |s| {
            s.deliver("c0", "q", 0, "a");
            s.ok("a", "q", 0);
        });
        run("ACK-3", Expect::Broken, "damaged", |s| {
            s.ok("a", "q", 0);
            s.deliver_as("c0", "q", 0, "a", Fit { body: false, properties: true });
        });
        run("ACK-3", Expect::Broken, "a bit of its body turned", |s| {
            s.ok("a", "q", 0);
            s.rots("q", 0);
            s.deliver_as("c0", "q", 0, "a", Fit { body: false, properties: true });
        });
        run("ACK-3", Expect::Kept, "a bit of its properties turned, which have no checksum", |s| {
            s.ok("a", "q", 0);
            s.rots("q", 0);
            s.deliver_as("c0", "q", 0, "a", Fit { body: true, properties: false });
        });
        run("ACK-3", Expect::Broken, "from another topic", |s| {
            s.ok("a", "q", 0);
            s.deliver("c0", "other", 0, "a");
        });
        run("ACK-3", Expect::Kept, "delivered while its sender still waits", |s| {
            s.send("a");
            s.deliver("c0", "q", 0, "a");
        });
        run("ACK-3", Expect::Kept, "its send timed out, but it arrived", |s| {
            s.sent("a", Outcome::Unknown, None);
            s.deliver("c0", "q", 0, "a");
        });
    }

    #[test]
    fn what_went_with_its_topic_does_not_come_back() {
        run("ACK-3", Expect::Broken, "it is in the topic that was made again", |s: &mut Script| {
            s.ok("a", "q", 0);
            s.orders_deletion();
            s.deletes();
            s.makes_again();
            s.holds("q", &["a"]);
        });
        run("ACK-3", Expect::Broken, "it is delivered to one that began later", |s| {
            s.ok("a", "q", 0);
            s.orders_deletion();
            s.deletes();
            s.deliver("c0", "q", 0, "a");
        });
        run("ACK-3", Expect::Broken, "its unique key leads to it", |s| {
            s.ok("a", "q", 0);
            s.orders_deletion();
            s.deletes();
            s.by_id("a", Id::Unique, Some(("a", Fit::WHOLE)));
        });
        run("ACK-3", Expect::Broken, "its unique key leads to it in place of a later one", |s| {
            s.ok("a", "q", 0);
            s.orders_deletion();
            s.deletes();
            s.makes_again();
            s.ok("b", "q", 0);
            s.holds("q", &["b"]);
            s.by_id("a", Id::Unique, Some(("a", Fit::WHOLE)));
        });
        run("ACK-3", Expect::Broken, "its key leads to it", |s| {
            s.ok("a", "q", 0);
            s.orders_deletion();
            s.deletes();
            s.queried("a", "q", 0, true, 0);
            s.makes_again();
        });
        run("ACK-3", Expect::Broken, "its key leads to it again after a start", |s| {
            s.ok("a", "q", 0);
            s.orders_deletion();
            s.deletes();
            s.queried("a", "q", 0, false, 0);
            s.crash("b0", How::Process);
            s.queried("a", "q", 0, true, 0);
        });
        run("ACK-3", Expect::Kept, "its key led to it before", |s| {
            s.ok("a", "q", 0);
            s.orders_deletion();
            s.queried("a", "q", 0, true, 0);
            s.deletes();
        });
        run("ACK-3", Expect::Kept, "its key leads to its second attempt", |s| {
            s.attempts("a", 2);
            s.ok("a", "q", 0);
            s.orders_deletion();
            s.deletes();
            s.queried("a", "q", 0, true, 0);
        });
        run("ACK-3", Expect::Kept, "its unique key leads nowhere", |s| {
            s.ok("a", "q", 0);
            s.orders_deletion();
            s.deletes();
            s.by_id("a", Id::Unique, None);
        });
        run("ACK-3", Expect::Kept, "its bytes are where its offset id says", |s| {
            s.ok("a", "q", 0);
            s.orders_deletion();
            s.deletes();
            s.by_id("a", Id::Offset, Some(("a", Fit::WHOLE)));
        });
        run("ACK-3", Expect::Kept, "its second attempt came later", |s| {
            s.attempts("a", 2);
            s.ok("a", "q", 0);
            s.orders_deletion();
            s.deletes();
            s.makes_again();
            s.holds("q", &["a"]);
        });
        run("ACK-3", Expect::Kept, "it was pulled before", |s| {
            s.session("c0", "q", 0);
            s.ok("a", "q", 0);
            s.orders_deletion();
            s.deletes();
            s.deliver("c0", "q", 0, "a");
        });
        run("ACK-1", Expect::Kept, "its place is another one", |s| {
            s.ok("a", "q", 0);
            s.orders_deletion();
            s.deletes();
            s.makes_again();
            s.ok("b", "q", 0);
            s.holds("q", &["b"]);
        });
        run("ACK-1", Expect::Broken, "the later one is missing", |s| {
            s.orders_deletion();
            s.deletes();
            s.makes_again();
            s.ok("b", "q", 0);
            s.holds("q", &[]);
        });
    }

    #[test]
    fn a_refused_message_is_never_readable() {
        run("ACK-4", Expect::Broken, "readable", |s| {
            s.sent("a", Outcome::Failed, None);
            s.holds("q", &["a"]);
        });
        run("ACK-4", Expect::Broken, "one of two is", |s| {
            s.sent("a", Outcome::Failed, None);
            s.ok("b", "q", 0);
            s.holds("q", &["b", "a"]);
        });
        run("ACK-4", Expect::Kept, "a time-out is not a refusal", |s| {
            s.sent("a", Outcome::Unknown, None);
            s.holds("q", &["a"]);
        });
        run("ACK-4", Expect::Kept, "refused and gone", |s| {
            s.sent("a", Outcome::Failed, None);
            s.holds("q", &[]);
        });
    }

    #[test]
    fn ok_under_sync_flush_means_flushed() {
        run("ACK-5", Expect::Broken, "answered before the sync", |s| {
            s.sync_flush();
            s.append("q", 0, 0, 100);
            s.acked("q", 0, 100, 0);
            s.flushed("b0", 100);
        });
        run("ACK-5", Expect::Broken, "one byte short", |s| {
            s.sync_flush();
            s.append("q", 0, 0, 100);
            s.flushed("b0", 99);
            s.acked("q", 0, 100, 0);
        });
        run("ACK-5", Expect::Broken, "silent for longer than the time-out", |s| {
            s.sync_flush();
            s.append("q", 0, 0, 100);
            s.wait(5.2);
            s.acked("q", 0, 100, 10);
        });
        run("ACK-5", Expect::Kept, "flushed, then answered", |s| {
            s.sync_flush();
            s.append("q", 0, 0, 100);
            s.flushed("b0", 100);
            s.acked("q", 0, 100, 0);
        });
        run("ACK-5", Expect::Kept, "not flushed, and says so in time", |s| {
            s.sync_flush();
            s.append("q", 0, 0, 100);
            s.wait(5.0);
            s.acked("q", 0, 100, 10);
        });
        run("ACK-5", Expect::Kept, "async flush promises no such thing", |s| {
            s.append("q", 0, 0, 100);
            s.acked("q", 0, 100, 0);
        });
    }

    #[test]
    fn there_are_no_more_copies_than_attempts() {
        run("ACK-6", Expect::Broken, "one attempt, two copies", |s| {
            s.ok("a", "q", 0);
            s.holds("q", &["a", "a"]);
        });
        run("ACK-6", Expect::Broken, "copies in different queues count together", |s| {
            s.attempts("a", 2);
            s.ok("a", "q", 0);
            s.holds("q", &["a", "a"]);
            s.holds("r", &["a"]);
        });
        run("ACK-6", Expect::Kept, "as many as attempts", |s| {
            s.attempts("a", 2);
            s.ok("a", "q", 0);
            s.holds("q", &["a"]);
            s.holds("r", &["a"]);
        });
        run("ACK-6", Expect::Kept, "delivered twice is no second copy", |s| {
            s.ok("a", "q", 0);
            s.deliver("c0", "q", 0, "a");
            s.deliver("c1", "q", 0, "a");
            s.holds("q", &["a"]);
        });
    }

    #[test]
    fn an_id_leads_to_its_message() {
        for id in [Id::Offset, Id::Unique] {
            run("ACK-2", Expect::Broken, "to another message", |s: &mut Script| {
                s.ok("a", "q", 0);
                s.ok("b", "q", 1);
                s.holds("q", &["a", "b"]);
                s.by_id("a", id, Some(("b", Fit::WHOLE)));
            });
            run("ACK-2", Expect::Broken, "to nothing", |s| {
                s.ok("a", "q", 0);
                s.holds("q", &["a"]);
                s.by_id("a", id, None);
            });
            run("ACK-2", Expect::Broken, "to nothing, and the room was made for others", |s| {
                s.full("b0");
                s.ok("a", "q", 0);
                s.ok("b", "q", 1);
                s.holds_from("q", 1, &["b"]);
                s.by_id("b", id, None);
            });
            run("ACK-2", Expect::Kept, "to itself", |s| {
                s.ok("a", "q", 0);
                s.holds("q", &["a"]);
                s.by_id("a", id, Some(("a", Fit::WHOLE)));
            });
            run("ACK-2", Expect::Kept, "nowhere, after a loss of power under async flush", |s| {
                s.ok("a", "q", 0);
                s.crash("b0", How::Power);
                s.holds("q", &[]);
                s.by_id("a", id, None);
            });
            run("ACK-2", Expect::Kept, "nowhere, as it went for want of space", |s| {
                s.full("b0");
                s.ok("a", "q", 0);
                s.ok("b", "q", 1);
                s.holds_from("q", 1, &["b"]);
                s.by_id("a", id, None);
            });
        }
    }

    #[test]
    fn a_batch_stays_together() {
        run("ACK-7", Expect::Broken, "the second part is missing", |s: &mut Script| {
            s.batch(&["a", "b", "c"]);
            s.holds("q", &["a", "b"]);
        });
        run("ACK-7", Expect::Broken, "another message in between", |s| {
            s.batch(&["a", "b"]);
            s.ok("x", "q", 1);
            s.holds("q", &["a", "x", "b"]);
        });
        run("ACK-7", Expect::Broken, "split over two queues", |s| {
            s.batch(&["a", "b"]);
            s.holds("q", &["a"]);
            s.holds("r", &["b"]);
        });
        run("ACK-7", Expect::Kept, "one of them is tried again", |s| {
            s.batch(&["a", "b"]);
            s.holds("q", &["a", "b"]);
            s.holds("retry", &["b"]);
        });
        run("ACK-7", Expect::Kept, "whole, and once more by a retry", |s| {
            s.batch(&["a", "b"]);
            s.holds("q", &["a", "b", "a", "b"]);
        });
        run("ACK-7", Expect::Kept, "not stored at all", |s| {
            s.batch(&["a", "b"]);
            s.holds("q", &[]);
        });
        run(
            "ACK-7",
            Expect::Broken,
            "it was flushed when the power went, though nobody had promised it",
            |s| {
                s.batch(&["a", "b"]);
                s.append("q", 0, 0, 200);
                s.append("q", 1, 0, 200);
                s.flushed("b0", 200);
                s.crash("b0", How::Power);
                s.holds("q", &["a"]);
            },
        );
        run("ACK-7", Expect::Broken, "a process died, nothing else", |s| {
            s.batch(&["a", "b"]);
            s.append("q", 0, 0, 200);
            s.crash("b0", How::Process);
            s.holds("q", &["a"]);
        });
        run("ACK-7", Expect::Kept, "half of it was flushed when the power went", |s| {
            s.batch(&["a", "b"]);
            s.append("q", 0, 0, 200);
            s.append("q", 1, 0, 200);
            s.flushed("b0", 100);
            s.crash("b0", How::Power);
            s.holds("q", &["a"]);
        });
        run("ACK-7", Expect::Broken, "it was promised when the power went", |s| {
            s.sync_flush();
            s.batch(&["a", "b"]);
            s.append("q", 0, 0, 200);
            s.append("q", 1, 0, 200);
            s.returned("a", Outcome::Ok, Some(("q", 0)));
            s.returned("b", Outcome::Ok, Some(("q", 1)));
            s.crash("b0", How::Power);
            s.holds("q", &["a"]);
        });
        run("ACK-7", Expect::Broken, "it was acknowledged without a trace in the log", |s| {
            s.batch(&["a", "b"]);
            s.returned("a", Outcome::Ok, Some(("q", 0)));
            s.crash("b0", How::Power);
            s.holds("q", &["a"]);
        });
        run(
            "ACK-7",
            Expect::Kept,
            "an attempt that nobody had promised, of a batch that is elsewhere",
            |s| {
                s.sync_flush();
                s.batch(&["a", "b"]);
                s.append("q", 0, 0, 200);
                s.append("q", 1, 0, 200);
                s.append("r", 0, 200, 400);
                s.append("r", 1, 200, 400);
                s.crash("b0", How::Power);
                s.returned("a", Outcome::Ok, Some(("r", 0)));
                s.returned("b", Outcome::Ok, Some(("r", 1)));
                s.holds("q", &["a"]);
                s.holds("r", &["a", "b"]);
            },
        );
        run("ACK-7", Expect::Kept, "nobody had promised it when the power went", |s| {
            s.sync_flush();
            s.batch(&["a", "b"]);
            s.crash("b0", How::Power);
            s.holds("q", &["a"]);
        });
    }

    #[test]
    fn copies_carry_one_key() {
        run("ACK-8", Expect::Broken, "a retry made a new key", |s: &mut Script| {
            s.attempts("a", 2);
            s.ok("a", "q", 1);
            s.holds("q", &["a", "a"]);
            s.last_read().unique = 7;
        });
        run("ACK-8", Expect::Broken, "in another queue", |s| {
            s.attempts("a", 2);
            s.ok("a", "q", 0);
            s.holds("q", &["a"]);
            s.holds("r", &["a"]);
            s.last_read().unique = 7;
        });
        run("ACK-8", Expect::Broken, "a try has another key", |s| {
            s.ok("a", "q", 0);
            s.holds("q", &["a"]);
            s.holds("retry", &["a"]);
            s.last_read().unique = 7;
        });
        run("ACK-8", Expect::Broken, "two dead letters, and the message itself is gone", |s| {
            s.ok("a", "q", 0);
            s.holds("dead", &["a", "a"]);
            s.last_read().unique = 7;
        });
        run("ACK-8", Expect::Kept, "two tries with its key", |s| {
            s.ok("a", "q", 0);
            s.holds("q", &["a"]);
            s.holds("retry", &["a", "a"]);
        });
        run("ACK-8", Expect::Kept, "of a try that rotted", |s| {
            s.ok("a", "q", 0);
            s.holds("q", &["a"]);
            s.rots("retry", 0);
            s.holds("retry", &["a"]);
            s.last_read().unique = 7;
        });
        run("ACK-8", Expect::Kept, "the same key twice", |s| {
            s.attempts("a", 2);
            s.ok("a", "q", 1);
            s.holds("q", &["a", "a"]);
        });
        run("ACK-8", Expect::Kept, "two messages have two keys", |s| {
            s.ok("a", "q", 0);
            s.ok("b", "q", 1);
            s.holds("q", &["a", "b"]);
            s.last_read().unique = 7;
        });
    }
}
