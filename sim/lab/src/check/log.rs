//! LOG-1 to LOG-6: queues and the log under them, seen by clients, by taps and in the files.

use std::collections::{BTreeMap, BTreeSet};

use super::view::Session;
use super::{Judged, Rule, View, seconds, witness};
use crate::history::{
    AGAIN, END, How, Image, Kind, MessageId, NodeId, Outcome, QueueId, RECOVERED, Slot, TopicId, Units,
};

pub(super) fn check(view: &View<'_>, judged: &mut Judged) {
    one_value(view, judged);
    dense(view, judged);
    order(view, judged);
    one_order(view, judged);
    ends(view, judged);
    deletions(view, judged);
    for image in &view.audit.images {
        pointing(view, image, judged);
        physical(view, image, judged);
    }
    view.audit.images.iter().filter(|image| image.when == END).for_each(|it| beginnings(view, it, judged));
    recovered_twice(view, judged);
}

/// LOG-1: all who saw a place saw the same message there; one more for each tail that was lost.
fn one_value(view: &View<'_>, judged: &mut Judged) {
    let mut seen: Vec<(Slot, MessageId, usize)> = Vec::new();
    for (index, send) in view.sends.iter().enumerate() {
        if let (Some(slot), Some(event)) = (send.at, send.returned) {
            seen.push((slot, MessageId(index as u32), event));
        }
    }
    for delivery in &view.deliveries {
        seen.extend(delivery.message.map(|message| (delivery.slot, message, delivery.entered)));
    }
    for content in &view.audit.queues {
        for read in &content.read {
            let slot = Slot { queue: content.queue, offset: read.offset };
            seen.extend(read.message.map(|message| (slot, message, view.last())));
        }
    }
    seen.sort_unstable();
    seen.dedup_by_key(|(slot, message, _)| (*slot, *message));
    for values in seen.chunk_by(|a, b| a.0 == b.0) {
        judged.count(Rule::Log1, 1);
        let slot = values[0].0;
        let rewinds = &view.lines[slot.queue.index()].rewinds;
        let lost = rewinds.iter().filter(|rewind| rewind.to <= slot.offset).count();
        let lost = lost.max(usize::from(view.ever_excused(slot.queue))); // where taps are missing
        if values.len() > 1 + lost {
            let names: Vec<_> = values.iter().map(|value| view.history.message_name(value.1)).collect();
            let event = values.iter().map(|value| value.2).max().unwrap_or(0);
            let sentence =
                format!("{} was seen to hold {}.", view.history.slot_name(slot), names.join(" and "));
            judged.broken(view, Rule::Log1, event, view.history.slot_name(slot), sentence);
        }
    }
}

/// LOG-2 by taps: offsets are given out one by one.
fn dense(view: &View<'_>, judged: &mut Judged) {
    let history = view.history;
    // A queue that is made again begins anew.
    let again = |index| history.former(QueueId(index)).map(|_| 0);
    let mut next: Vec<Option<u64>> = (0..history.queues.len() as u32).map(again).collect();
    for (number, event) in history.events.iter().enumerate() {
        match event.kind {
            Kind::Append { slot, .. } => {
                judged.count(Rule::Log2, 1);
                let expected = next[slot.queue.index()];
                if expected.is_some_and(|expected| expected != slot.offset) {
                    let sentence = format!(
                        "A record was appended at {}, but the next offset was {}.",
                        history.slot_name(slot),
                        expected.unwrap_or(0)
                    );
                    judged.broken(view, Rule::Log2, number, history.slot_name(slot), sentence);
                }
                next[slot.queue.index()] = Some(slot.offset + 1);
            }
            Kind::Down { .. } => {
                for (index, next) in next.iter_mut().enumerate() {
                    if history.queues[index].broker == event.node {
                        *next = None;
                    }
                }
            }
            Kind::QueueRecovered { queue, max, .. } => next[queue.index()] = Some(max),
            _ => {}
        }
    }
    for content in &view.audit.queues {
        let rots = |offset| view.rots(Slot { queue: content.queue, offset });
        let begins = view.begins(content);
        let mut expected = begins;
        for read in &content.read {
            judged.count(Rule::Log2, 1);
            while read.offset > expected && rots(expected) {
                expected += 1;
            }
            if read.offset != expected {
                let slot = Slot { queue: content.queue, offset: read.offset };
                let sentence = format!(
                    "Reading {} in the end gave offset {} where {expected} was due.",
                    history.queue_name(content.queue),
                    read.offset
                );
                judged.broken(view, Rule::Log2, view.last(), history.slot_name(slot), sentence);
                break;
            }
            expected += 1;
        }
        let stopped = content.read.last().map_or(begins, |last| last.offset + 1) == expected;
        while stopped && expected < content.max && rots(expected) {
            expected += 1;
        }
        if expected < content.max && stopped {
            let name = history.queue_name(content.queue);
            let sentence = format!(
                "{name} says it ends at {}, but reading it in the end stopped at {expected}.",
                content.max
            );
            judged.broken(view, Rule::Log2, view.last(), name, sentence);
        }
    }
}

/// LOG-3: what returned before something else began lies before it.
fn order(view: &View<'_>, judged: &mut Judged) {
    let history = view.history;
    let mut by_queue: BTreeMap<QueueId, Vec<(usize, usize, u64, MessageId)>> = BTreeMap::new();
    for (index, send) in view.sends.iter().enumerate() {
        let (Some(Outcome::Ok), Some(slot), Some(invoked), Some(returned)) =
            (send.outcome, send.at, send.invoked, send.returned)
        else {
            continue;
        };
        by_queue.entry(slot.queue).or_default().push((
            returned,
            invoked,
            slot.offset,
            MessageId(index as u32),
        ));
    }
    for (queue, mut sends) in by_queue {
        sends.sort_unstable();
        // By return: the highest offset until then, and the return and the message that had it.
        let mut highest: Vec<(usize, (u64, usize, MessageId))> = Vec::with_capacity(sends.len());
        for (returned, invoked, offset, message) in sends {
            judged.count(Rule::Log3, 1);
            let before = highest.partition_point(|(event, ..)| *event < invoked);
            if let Some((above, event, earlier)) = before.checked_sub(1).map(|last| highest[last].1) {
                let lost_tail =
                    view.rewound(Slot { queue, offset: above }, event) || view.excused(queue, event);
                if offset <= above && !lost_tail {
                    let sentence = format!(
                        "Message {} was sent to {} after {} had been acknowledged there at offset {above}, and got offset {offset}.",
                        history.message_name(message),
                        history.queue_name(queue),
                        history.message_name(earlier)
                    );
                    judged.broken(
                        view,
                        Rule::Log3,
                        returned,
                        witness(history, Some(message), queue, offset),
                        sentence,
                    );
                }
            }
            let own = (offset, returned, message);
            let top = highest.last().map_or(own, |last| last.1.max(own));
            highest.push((returned, top));
        }
    }
}

/// One thing that was done to a queue or asked of it: when it may have taken effect, and where it stands in the order
/// that its value gives.
#[derive(Clone, Copy)]
struct Operation {
    /// Two for each offset: its append, then what saw the queue end behind it.
    place: u64,
    from: usize,
    until: usize,
}

/// LOG-3 as linearizability: appends and questions for the end of a queue took effect one after the other, each
/// between its call and its return. The values tell the only order there can be, so one pass decides.
fn one_order(view: &View<'_>, judged: &mut Judged) {
    let history = view.history;
    let mut operations: Vec<Vec<Operation>> = vec![Vec::new(); history.queues.len()];
    for content in &view.audit.queues {
        for read in &content.read {
            let Some(send) = read.message.map(|id| view.sends[id.index()]) else { continue };
            let slot = Slot { queue: content.queue, offset: read.offset };
            // What is stored but not promised yet may be seen only after a restart.
            let acknowledged = send.at == Some(slot) && send.outcome == Some(Outcome::Ok);
            let until = send.returned.filter(|_| acknowledged);
            operations[content.queue.index()].push(Operation {
                place: read.offset * 2,
                from: send.invoked.unwrap_or(0),
                until: until.unwrap_or(usize::MAX),
            });
        }
    }
    for (number, event) in history.events.iter().enumerate() {
        if let Kind::Range { queue, asked_ns, max, .. } = event.kind
            && max > 0
        {
            let from = history.events.partition_point(|event| event.at_ns < asked_ns);
            operations[queue.index()].push(Operation { place: max * 2 - 1, from, until: number });
        }
    }
    for (index, mut operations) in operations.into_iter().enumerate() {
        let queue = QueueId(index as u32);
        if !view.lines[index].rewinds.is_empty() || view.ever_excused(queue) {
            continue; // places were given out twice
        }
        operations.sort_by_key(|operation| (operation.place, operation.from));
        let mut latest: Option<Operation> = None;
        for operation in operations {
            judged.count(Rule::Log3, 1);
            if let Some(before) = latest.filter(|before| operation.until < before.from) {
                let what = |operation: Operation| match operation.place % 2 {
                    0 => format!("the append of offset {}", operation.place / 2),
                    _ => format!("the answer that it ends at {}", operation.place / 2 + 1),
                };
                let name = history.queue_name(queue);
                let sentence = format!(
                    "In {name} {} was over at {}, before {} began at {}, which its value puts first.",
                    what(operation),
                    seconds(view.at(operation.until)),
                    what(before),
                    seconds(view.at(before.from))
                );
                judged.broken(view, Rule::Log3, operation.until, name, sentence);
                break;
            }
            if latest.is_none_or(|latest| latest.from < operation.from) {
                latest = Some(operation);
            }
        }
    }
}

/// LOG-4: no topic is deleted but by order.
fn deletions(view: &View<'_>, judged: &mut Judged) {
    let history = view.history;
    for (number, event) in history.events.iter().enumerate() {
        let Kind::TopicDeleted { topic, broker } = event.kind else { continue };
        judged.count(Rule::Log4, 1);
        if !view.deletion_ordered(topic, broker, number) {
            let name = format!("{} on {}", history.topic_name(topic), history.node_name(broker));
            let sentence = format!("The queues of {name} were deleted, and nobody had ordered that.");
            judged.broken(view, Rule::Log4, number, name, sentence);
        }
    }
}

/// LOG-4: the end of a queue does not move back, over answers and over recoveries.
fn ends(view: &View<'_>, judged: &mut Judged) {
    let history = view.history;
    let mut answers: Vec<Vec<(u64, u64, u64)>> = vec![Vec::new(); history.queues.len()];
    let mut visible = vec![0; history.queues.len()];
    let place = |queue: QueueId| {
        let queue = history.queues[queue.index()];
        (queue.topic, queue.broker)
    };
    // A broker that lost its disk begins anew: what was asked before that tells nothing of it.
    let mut anew: BTreeMap<NodeId, u64> = BTreeMap::new();
    // Topics that are being deleted, and of what was asked until when nothing is said.
    let mut going: BTreeMap<(TopicId, NodeId), u64> = BTreeMap::new();
    for (number, event) in history.events.iter().enumerate() {
        match event.kind {
            Kind::Sent { outcome: Outcome::Ok, at: Some(slot), .. } | Kind::Enter { slot, .. } => {
                let visible = &mut visible[slot.queue.index()];
                *visible = (slot.offset + 1).max(*visible);
            }
            Kind::Pulled { session, next, .. } => {
                let Session { member, queue, .. } = view.sessions[session.index()];
                let group = history.members[member.index()].group;
                // To who was cut off an answer of the topic before may come late.
                if !view.haunted.contains(&(group, queue)) {
                    visible[queue.index()] = next.max(visible[queue.index()]);
                }
            }
            Kind::Down { how: How::Disk } => {
                anew.insert(event.node, event.at_ns);
                for (answers, queue) in answers.iter_mut().zip(&history.queues) {
                    if queue.broker == event.node {
                        answers.clear();
                    }
                }
            }
            // Until its deletion is on the disk, who asks for it is told of the topic that it will be.
            Kind::TopicDeleting { topic, broker } => drop(going.insert((topic, broker), u64::MAX)),
            Kind::TopicDeleted { topic, broker } => drop(going.remove(&(topic, broker))),
            Kind::Range { queue, asked_ns, .. }
                if going.get(&place(queue)).is_some_and(|it| asked_ns <= *it) => {}
            Kind::Range { queue, asked_ns, min, max } => {
                judged.count(Rule::Log4, 1);
                if anew.get(&history.queues[queue.index()].broker).is_some_and(|lost| asked_ns <= *lost) {
                    continue;
                }
                let answers = &mut answers[queue.index()];
                let before = answers.partition_point(|(at, ..)| *at < asked_ns);
                let (_, low, high) = before.checked_sub(1).map_or((0, 0, 0), |last| answers[last]);
                let lost = view.ever_excused(queue) || all_rotten(view, queue, max..high);
                let name = history.queue_name(queue);
                if max < high && !lost {
                    let sentence = format!(
                        "{name} ended at {max} at {}; before it had ended at {high}.",
                        seconds(event.at_ns)
                    );
                    judged.broken(view, Rule::Log4, number, name, sentence);
                } else if min < low {
                    let sentence = format!(
                        "{name} began at {min} at {}; before it had begun at {low}.",
                        seconds(event.at_ns)
                    );
                    judged.broken(view, Rule::Log4, number, name, sentence);
                }
                let top = answers
                    .last()
                    .map_or((event.at_ns, min, max), |last| (event.at_ns, last.1.max(min), last.2.max(max)));
                answers.push(top);
                visible[queue.index()] = max.max(visible[queue.index()]);
            }
            Kind::QueueRecovered { queue, max, .. } => {
                judged.count(Rule::Log4, 1);
                // A restart that finds a queue has forgotten that its topic was to be deleted.
                going.entry(place(queue)).and_modify(|until| *until = event.at_ns);
                let seen = visible[queue.index()];
                if max < seen && !view.ever_excused(queue) && !all_rotten(view, queue, max..seen) {
                    let name = history.queue_name(queue);
                    let sentence = format!(
                        "{name} was recovered to end at {max} at {}, but offset {} had been seen by a client.",
                        seconds(event.at_ns),
                        seen - 1
                    );
                    judged.broken(view, Rule::Log4, number, name, sentence);
                }
                visible[queue.index()] = max.min(seen);
            }
            _ => {}
        }
    }
}

/// True when bytes of all these places rotted.
fn all_rotten(view: &View<'_>, queue: QueueId, mut offsets: std::ops::Range<u64>) -> bool {
    offsets.all(|offset| view.rots(Slot { queue, offset }))
}

/// LOG-2 in the files: each entry points to its record, and in quiet times each record has its entry.
fn pointing(view: &View<'_>, image: &Image, judged: &mut Judged) {
    let history = view.history;
    let event = history.events.partition_point(|event| event.at_ns <= image.at_ns).saturating_sub(1);
    let mut entries: BTreeMap<QueueId, &Units> = BTreeMap::new();
    // A record that rotted may tell of another place, and queues that are made anew believe it.
    let in_log = history.rotten.iter().filter_map(|it| it.in_log(NodeId(image.node), image.at_ns));
    let rotten: Vec<u64> = in_log.map(|(from, _)| from).collect();
    for units in &image.queues {
        entries.insert(units.queue, units);
        for (offset, &(position, size, tag_hash)) in (units.first..).zip(&units.units) {
            if position < image.start {
                continue; // its record went with an old file of the log, and it goes with its own
            }
            if view.rots(Slot { queue: units.queue, offset }) || rotten.contains(&position) {
                continue;
            }
            judged.count(Rule::Log2, 1);
            let place = image.records.binary_search_by_key(&position, |record| record.position);
            let record = place.ok().map(|place| image.records[place]);
            let wrong = match record {
                None => "there is no record".to_owned(),
                Some(record) if record.queue != Some(units.queue) => {
                    "the record is of another queue".to_owned()
                }
                Some(record) if record.offset != offset => format!("the record has offset {}", record.offset),
                Some(record) if record.size != size => {
                    format!("the record is {} bytes long, not {size}", record.size)
                }
                // In the schedule topic the place of the hash holds a time.
                Some(record) if record.tag_hash != tag_hash && !history.is_schedule(units.queue) => {
                    "the record has another tag".to_owned()
                }
                Some(_) => continue,
            };
            let name = history.slot_name(Slot { queue: units.queue, offset });
            let sentence = format!(
                "In the files ({}) the entry of {name} points to {position}, where {wrong}.",
                image.when
            );
            judged.broken(view, Rule::Log2, event, name, sentence);
            break;
        }
    }
    if image.when == RECOVERED {
        return; // dispatch may still be on its way
    }
    for record in &image.records {
        let Some(queue) = record.queue.filter(|queue| history.lives(*queue)) else { continue };
        if view.rots(Slot { queue, offset: record.offset }) {
            continue;
        }
        judged.count(Rule::Log2, 1);
        let unit = entries.get(&queue).and_then(|entries| {
            let place = record.offset.checked_sub(entries.first)?;
            entries.units.get(place as usize)
        });
        if unit.is_none_or(|unit| unit.0 != record.position) {
            let name = history.slot_name(Slot { queue, offset: record.offset });
            let sentence = format!(
                "In the files ({}) the record of {name} at {} has no entry in its queue.",
                image.when, record.position
            );
            judged.broken(view, Rule::Log2, event, name, sentence);
            break;
        }
    }
}

/// LOG-5 and the first half of LOG-6: the log's records are whole and in place, and nothing lies behind its end.
fn physical(view: &View<'_>, image: &Image, judged: &mut Judged) {
    let node = NodeId(image.node);
    let name = view.history.node_name(node);
    let event = view.history.events.partition_point(|event| event.at_ns <= image.at_ns).saturating_sub(1);
    let mut fail = |rule, what: String| {
        let sentence = format!("In the files of {name} ({}) {what}.", image.when);
        judged.broken(view, rule, event, name.to_owned(), sentence);
    };
    for fault in &image.faults {
        fail(Rule::Log5, fault.clone());
    }
    for fault in &image.behind {
        fail(Rule::Log6, fault.clone());
    }
    let clock_jumped = view.history.steps.iter().any(|step| step.clock && step.nodes.contains(&node));
    let mut latest = 0;
    for record in &image.records {
        if !record.intact {
            fail(Rule::Log5, format!("the record at {} does not fit its checksum", record.position));
        } else if record.says_position != record.position {
            fail(
                Rule::Log5,
                format!("the record at {} says it is at {}", record.position, record.says_position),
            );
        } else if record.stored_ms + 1000 < latest && !clock_jumped {
            fail(
                Rule::Log5,
                format!(
                    "the record at {} was stored {} ms before its predecessor",
                    record.position,
                    latest - record.stored_ms
                ),
            );
        }
        latest = record.stored_ms.max(latest);
    }
    judged.count(Rule::Log5, image.records.len() as u64);
    judged.count(Rule::Log6, 1);
}

/// LOG-4: no queue begins behind a message that the log still holds.
fn beginnings(view: &View<'_>, image: &Image, judged: &mut Judged) {
    let history = view.history;
    let mut oldest = BTreeMap::new();
    for record in &image.records {
        if let Some(queue) = record.queue {
            oldest.entry(queue).or_insert(record.offset);
        }
    }
    for content in &view.audit.queues {
        let Some(&oldest) = oldest.get(&content.queue) else { continue };
        judged.count(Rule::Log4, 1);
        if oldest < content.min && !view.rots(Slot { queue: content.queue, offset: oldest }) {
            let name = history.queue_name(content.queue).to_owned();
            let sentence = format!(
                "The log still holds the message at offset {oldest} of {name}, but the queue begins at {}.",
                content.min
            );
            judged.broken(view, Rule::Log4, view.last(), name, sentence);
        }
    }
}

/// Where this broker appended records after this time.
fn appended_since(view: &View<'_>, node: NodeId, at_ns: u64) -> BTreeSet<u64> {
    let events = &view.history.events;
    let since = &events[events.partition_point(|event| event.at_ns <= at_ns)..];
    let positions = since.iter().filter(|event| event.node == node).filter_map(|event| match event.kind {
        Kind::Append { position, .. } => Some(position),
        _ => None,
    });
    positions.collect()
}

/// Whether queues are the same but for entries of these records.
fn same_queues(before: &[Units], again: &[Units], grown: &BTreeSet<u64>) -> bool {
    if grown.is_empty() {
        return before == again;
    }
    let old = |units: &Units| {
        let mut units = units.clone();
        units.units.retain(|unit| !grown.contains(&unit.0));
        Some(units).filter(|units| !units.units.is_empty())
    };
    before.iter().filter_map(old).eq(again.iter().filter_map(old))
}

/// LOG-6: what a second recovery finds is what the first one left.
fn recovered_twice(view: &View<'_>, judged: &mut Judged) {
    let images = &view.audit.images;
    for again in images.iter().filter(|image| image.when == AGAIN) {
        let Some(before) = images.iter().find(|image| image.node == again.node && image.when == END) else {
            continue;
        };
        judged.count(Rule::Log6, 1);
        let name = view.history.node_name(NodeId(again.node));
        // What was to be deleted when the disk was full, and could not be yet, goes at the start.
        let node = NodeId(again.node);
        let makes_room = view.history.steps.iter().any(|step| step.fills && step.nodes.contains(&node));
        let from = if makes_room { again.start } else { 0 };
        let kept = before.records.iter().filter(|record| record.position >= from);
        // A request that was under way for long may be carried out in between, and so may what follows of it.
        let grown = appended_since(view, node, before.at_ns);
        let found = again.records.iter().filter(|record| !grown.contains(&record.position));
        let wrong = if !kept.eq(found) {
            format!(
                "{} records ending at {}, before {} ending at {}",
                again.records.len(),
                again.end,
                before.records.len(),
                before.end
            )
        } else if before.start == again.start && !same_queues(&before.queues, &again.queues, &grown) {
            "the same log, but other queues".to_owned()
        } else {
            continue;
        };
        let sentence = format!("Broker {name} was killed when nothing was going on and recovered {wrong}.");
        judged.broken(view, Rule::Log6, view.last(), name.to_owned(), sentence);
    }
}

#[cfg(test)]
mod tests {
    use super::super::script::{Expect, Script, run};
    use crate::history::{AGAIN, END, How, Outcome, RECOVERED};

    #[test]
    fn a_place_holds_one_value() {
        run("LOG-1", Expect::Broken, "two acknowledgements of one place", |s: &mut Script| {
            s.ok("a", "q", 0);
            s.ok("b", "q", 0);
        });
        run("LOG-1", Expect::Broken, "delivered as one, read as another", |s| {
            s.send("a");
            s.send("b");
            s.deliver("c0", "q", 0, "a");
            s.holds("q", &["b"]);
        });
        run("LOG-1", Expect::Kept, "the same value for all", |s| {
            s.ok("a", "q", 0);
            s.deliver("c0", "q", 0, "a");
            s.holds("q", &["a"]);
        });
        run("LOG-1", Expect::Kept, "a lost tail was written anew", |s| {
            s.append("q", 0, 0, 100);
            s.ok("a", "q", 0);
            s.crash("b0", How::Power);
            s.recovered("b0", &[("q", 0)]);
            s.append("q", 0, 0, 100);
            s.ok("b", "q", 0);
        });
        run("LOG-1", Expect::Broken, "one lost tail does not excuse three values", |s| {
            s.append("q", 0, 0, 100);
            s.ok("a", "q", 0);
            s.crash("b0", How::Power);
            s.recovered("b0", &[("q", 0)]);
            s.append("q", 0, 0, 100);
            s.ok("b", "q", 0);
            s.ok("c", "q", 0);
        });
    }

    #[test]
    fn a_topic_that_is_made_again_is_another_one() {
        run("LOG-4", Expect::Broken, "nobody ordered its deletion", |s: &mut Script| s.deletes());
        run("LOG-4", Expect::Broken, "it was ordered later", |s| {
            s.deletes();
            s.orders_deletion();
        });
        run("LOG-4", Expect::Kept, "by order", |s| {
            s.orders_deletion();
            s.deletes();
        });
        run("LOG-4", Expect::Broken, "its deletion was refused", |s| {
            s.range("q", 0, 9);
            s.orders_deletion();
            s.unlists();
            s.range("q", 0, 1);
        });
        run("LOG-4", Expect::Broken, "its deletion was begun, and is forgotten", |s| {
            s.range("q", 0, 9);
            s.orders_deletion();
            s.begins_deletion();
            s.crash("b0", How::Process);
            s.recovered("b0", &[("q", 9)]);
            s.wait(1.0);
            s.range("q", 0, 1);
        });
        run("LOG-4", Expect::Kept, "its deletion was begun", |s| {
            s.range("q", 0, 9);
            s.orders_deletion();
            s.begins_deletion();
            s.range("q", 0, 1);
        });
        run("LOG-4", Expect::Kept, "its later queue ends before", |s| {
            s.range("q", 0, 9);
            s.orders_deletion();
            s.deletes();
            s.makes_again();
            s.range("q", 0, 1);
        });
        let late_answer = |cut: bool| {
            move |s: &mut Script| {
                s.session("c0", "q", 0);
                s.ok("a", "q", 0);
                let fault = s.begin(if cut { &["c0"] } else { &["p0"] });
                s.orders_deletion();
                s.wait(1.0);
                s.deletes();
                s.wait(11.0);
                s.makes_again();
                s.over(fault);
                s.session("c0", "q", 0);
                s.pulled("q", 0, 1, 1);
                s.crash("b0", How::Process);
                s.recovered("b0", &[("q", 0)]);
            }
        };
        run("LOG-4", Expect::Kept, "an answer of the topic before came late", late_answer(true));
        run("LOG-4", Expect::Broken, "a member that heard all saw more of it", late_answer(false));
        run("LOG-1", Expect::Kept, "the place is another one", |s| {
            s.ok("a", "q", 0);
            s.orders_deletion();
            s.deletes();
            s.makes_again();
            s.ok("b", "q", 0);
        });
        run("LOG-1", Expect::Broken, "the deletion was begun only", |s| {
            s.ok("a", "q", 0);
            s.orders_deletion();
            s.unlists();
            s.ok("b", "q", 0);
        });
        run("LOG-2", Expect::Broken, "offsets go on", |s| {
            s.append("q", 0, 0, 100);
            s.orders_deletion();
            s.deletes();
            s.makes_again();
            s.append("q", 1, 1000, 1100);
        });
        run("LOG-2", Expect::Kept, "offsets begin anew", |s| {
            s.append("q", 0, 0, 100);
            s.orders_deletion();
            s.deletes();
            s.makes_again();
            s.append("q", 0, 1000, 1100);
        });
    }

    #[test]
    fn queues_are_dense_and_point_to_their_records() {
        run("LOG-2", Expect::Broken, "an offset is left out", |s: &mut Script| {
            s.append("q", 0, 0, 100);
            s.append("q", 2, 100, 200);
        });
        run("LOG-2", Expect::Broken, "an offset is given twice", |s| {
            s.append("q", 0, 0, 100);
            s.append("q", 0, 100, 200);
        });
        run("LOG-2", Expect::Broken, "an entry points to nothing", |s| {
            s.image("b0", END, &[("q", 0, 0)], &[("q", 0, &[0, 100])]);
        });
        run("LOG-2", Expect::Broken, "a record has no entry", |s| {
            s.image("b0", END, &[("q", 0, 0), ("q", 1, 100)], &[("q", 0, &[0])]);
        });
        run("LOG-2", Expect::Broken, "a hole beside what rotted", |s| {
            s.rots("q", 0);
            s.holds_but("q", 1, &["a", "b", "c"]);
        });
        run("LOG-2", Expect::Broken, "the end is missing, and only half of it rotted", |s| {
            s.rots("q", 1);
            s.holds("q", &["a", "b", "c"]);
            s.last_content().read.truncate(1);
        });
        run("LOG-2", Expect::Kept, "a hole where a bit turned", |s| {
            s.rots("q", 1);
            s.holds_but("q", 1, &["a", "b", "c"]);
        });
        let first_rots = |full: bool| {
            move |s: &mut Script| {
                if full {
                    s.full("b0");
                }
                for (offset, message) in ["a", "b", "c"].iter().enumerate() {
                    s.ok(message, "q", offset as u64);
                }
                s.rots("q", 0);
                s.holds("q", &["a", "b", "c"]);
                s.last_content().read.clear();
            }
        };
        run("LOG-2", Expect::Broken, "the first rotted, and the rest is missing", first_rots(false));
        run("LOG-2", Expect::Kept, "room was made, and the queue begins at what rotted", first_rots(true));
        run("LOG-2", Expect::Kept, "the last one rotted", |s| {
            s.rots("q", 2);
            s.holds_but("q", 2, &["a", "b", "c"]);
        });
        run("LOG-2", Expect::Broken, "an entry beside what rotted points to nothing", |s| {
            s.rots_in_log("q", 1, 100);
            s.image("b0", END, &[("q", 0, 0)], &[("q", 0, &[0]), ("r", 1, &[200])]);
        });
        run("LOG-2", Expect::Broken, "an entry points to what rotted on another disk", |s| {
            s.broker("b1");
            s.rots_in_log("q", 1, 100);
            s.image("b1", END, &[], &[("r", 1, &[100])]);
        });
        run("LOG-2", Expect::Broken, "an entry points to what rotted on a disk that was lost", |s| {
            s.rots_in_log("q", 1, 100);
            s.crash("b0", How::Disk);
            s.wait(1.0);
            s.image("b0", END, &[("q", 0, 0)], &[("q", 0, &[0]), ("r", 1, &[100])]);
        });
        run("LOG-2", Expect::Kept, "what rotted tells of another queue", |s| {
            s.rots_in_log("q", 1, 100);
            s.image("b0", END, &[("q", 0, 0)], &[("q", 0, &[0]), ("r", 1, &[100])]);
        });
        run("LOG-2", Expect::Kept, "each entry has its record", |s| {
            s.append("q", 0, 0, 100);
            s.append("q", 1, 100, 200);
            s.image("b0", END, &[("q", 0, 0), ("q", 1, 100)], &[("q", 0, &[0, 100])]);
        });
        run("LOG-2", Expect::Kept, "dispatch lags behind under load", |s| {
            s.image("b0", RECOVERED, &[("q", 0, 0), ("q", 1, 100)], &[("q", 0, &[0])]);
        });
        run("LOG-2", Expect::Kept, "a crash lost an unacknowledged tail", |s| {
            s.append("q", 0, 0, 100);
            s.crash("b0", How::Power);
            s.recovered("b0", &[("q", 0)]);
            s.append("q", 0, 0, 100);
        });
    }

    #[test]
    fn what_returned_before_lies_before() {
        run("LOG-3", Expect::Broken, "a later send got a smaller offset", |s: &mut Script| {
            s.ok("a", "q", 5);
            s.ok("b", "q", 4);
        });
        run("LOG-3", Expect::Broken, "hidden behind a third", |s| {
            s.ok("a", "q", 5);
            s.ok("b", "q", 6);
            s.ok("c", "q", 3);
        });
        run("LOG-3", Expect::Kept, "at the same time, any order", |s| {
            s.send("b");
            s.ok("a", "q", 5);
            s.returned("b", Outcome::Ok, Some(("q", 4)));
        });
        run("LOG-3", Expect::Kept, "the tail was lost in between", |s| {
            s.append("q", 0, 0, 100);
            s.append("q", 1, 100, 200);
            s.ok("a", "q", 1);
            s.ok("b", "q", 0);
            s.crash("b0", How::Power);
            s.recovered("b0", &[("q", 0)]);
            s.append("q", 0, 0, 100);
            s.ok("c", "r", 0);
            s.ok("d", "q", 0);
        });
        run("LOG-3", Expect::Kept, "different queues", |s| {
            s.ok("a", "q", 5);
            s.ok("b", "r", 4);
        });
    }

    #[test]
    fn appends_and_questions_have_one_order() {
        run("LOG-3", Expect::Broken, "the end was told before the message was sent", |s: &mut Script| {
            s.range("q", 0, 1);
            s.ok("a", "q", 0);
            s.holds("q", &["a"]);
        });
        run("LOG-3", Expect::Broken, "an acknowledged message is not seen at the end", |s| {
            s.ok("a", "q", 0);
            s.ok("b", "q", 1);
            s.range("q", 0, 1);
            s.holds("q", &["a", "b"]);
        });
        run("LOG-3", Expect::Kept, "a send that nobody knows of may have happened between", |s| {
            s.ok("a", "q", 0);
            s.sent("b", Outcome::Unknown, None);
            s.range("q", 0, 1);
            s.range("q", 0, 2);
            s.holds("q", &["a", "b"]);
        });
        run("LOG-3", Expect::Kept, "stored without its promise, it is seen later", |s| {
            s.sent("a", Outcome::Degraded, Some(("q", 0)));
            s.range("q", 0, 0);
            s.range("q", 0, 1);
            s.holds("q", &["a"]);
        });
        run("LOG-3", Expect::Kept, "asked while it was being sent", |s| {
            s.ok("a", "q", 0);
            s.send("b");
            s.range("q", 0, 1);
            s.returned("b", Outcome::Ok, Some(("q", 1)));
            s.range("q", 0, 2);
            s.holds("q", &["a", "b"]);
        });
    }

    #[test]
    fn the_ends_of_a_queue_do_not_move_back() {
        run("LOG-4", Expect::Broken, "the end moved back", |s: &mut Script| {
            s.range("q", 0, 5);
            s.range("q", 0, 4);
        });
        run("LOG-4", Expect::Broken, "a killed process lost what a client had seen", |s| {
            s.append("q", 0, 0, 100);
            s.ok("a", "q", 0);
            s.crash("b0", How::Process);
            s.recovered("b0", &[("q", 0)]);
        });
        run("LOG-4", Expect::Broken, "the end moved back by more than what rotted", |s| {
            s.append("q", 0, 0, 100);
            s.append("q", 1, 100, 200);
            s.ok("a", "q", 0);
            s.ok("b", "q", 1);
            s.rots("q", 1);
            s.crash("b0", How::Process);
            s.recovered("b0", &[("q", 0)]);
        });
        run("LOG-4", Expect::Kept, "the last one rotted", |s| {
            s.append("q", 0, 0, 100);
            s.append("q", 1, 100, 200);
            s.ok("a", "q", 0);
            s.ok("b", "q", 1);
            s.rots("q", 1);
            s.crash("b0", How::Process);
            s.recovered("b0", &[("q", 1)]);
        });
        run("LOG-4", Expect::Broken, "the beginning moved back over a loss of power", |s| {
            s.range("q", 3, 5);
            s.crash("b0", How::Power);
            s.range("q", 0, 5);
        });
        run("LOG-4", Expect::Kept, "the disk was lost with all that was on it", |s| {
            s.sync_flush();
            s.range("q", 3, 5);
            s.crash("b0", How::Disk);
            s.range("q", 0, 1);
        });
        run("LOG-4", Expect::Broken, "it begins behind a message that is there", |s| {
            s.holds_from("q", 3, &["d"]);
            s.image("b0", END, &[("q", 2, 0), ("q", 3, 100)], &[("q", 2, &[0, 100])]);
        });
        run("LOG-4", Expect::Kept, "it begins where its messages do", |s| {
            s.holds_from("q", 2, &["c", "d"]);
            s.image("b0", END, &[("q", 2, 0), ("q", 3, 100)], &[("q", 2, &[0, 100])]);
        });
        run("LOG-4", Expect::Kept, "growing", |s| {
            s.range("q", 0, 4);
            s.range("q", 0, 4);
            s.range("q", 1, 9);
        });
        run("LOG-4", Expect::Kept, "power loss without sync flush", |s| {
            s.append("q", 0, 0, 100);
            s.ok("a", "q", 0);
            s.crash("b0", How::Power);
            s.recovered("b0", &[("q", 0)]);
        });
    }

    #[test]
    fn records_are_whole_and_in_place() {
        run("LOG-5", Expect::Broken, "a damaged record", |s: &mut Script| {
            s.image("b0", END, &[("q", 0, 0)], &[("q", 0, &[0])]);
            s.last_image().records[0].intact = false;
        });
        run("LOG-5", Expect::Broken, "a record from elsewhere", |s| {
            s.image("b0", END, &[("q", 0, 0)], &[("q", 0, &[0])]);
            s.last_image().records[0].says_position = 100;
        });
        run("LOG-5", Expect::Broken, "two seconds back in time", |s| {
            s.image("b0", END, &[("q", 0, 0), ("q", 1, 100)], &[("q", 0, &[0, 100])]);
            s.last_image().records[0].stored_ms = 2000;
        });
        run("LOG-5", Expect::Kept, "one second back is tolerated", |s| {
            s.image("b0", END, &[("q", 0, 0), ("q", 1, 100)], &[("q", 0, &[0, 100])]);
            s.last_image().records[0].stored_ms = 1000;
        });
        run("LOG-5", Expect::Kept, "whole", |s| {
            s.image("b0", END, &[("q", 0, 0)], &[("q", 0, &[0])]);
        });
    }

    #[test]
    fn recovery_is_complete_and_repeatable() {
        run("LOG-6", Expect::Broken, "a record came back from behind the end", |s: &mut Script| {
            s.image("b0", END, &[("q", 0, 0)], &[("q", 0, &[0])]);
            s.image("b0", AGAIN, &[("q", 0, 0), ("q", 1, 100)], &[("q", 0, &[0, 100])]);
        });
        run("LOG-6", Expect::Broken, "the queues differ", |s| {
            s.image("b0", END, &[("q", 0, 0)], &[("q", 0, &[0])]);
            s.image("b0", AGAIN, &[("q", 0, 0)], &[]);
        });
        run("LOG-6", Expect::Broken, "garbage behind the end", |s| {
            s.image("b0", END, &[("q", 0, 0)], &[("q", 0, &[0])]);
            s.last_image().behind.push("there are bytes behind the end".to_owned());
        });
        run("LOG-6", Expect::Kept, "the same again", |s| {
            s.image("b0", END, &[("q", 0, 0)], &[("q", 0, &[0])]);
            s.image("b0", AGAIN, &[("q", 0, 0)], &[("q", 0, &[0])]);
        });
        run("LOG-6", Expect::Broken, "a record is lost while another comes", |s| {
            s.image("b0", END, &[("q", 0, 0), ("q", 1, 100)], &[("q", 0, &[0, 100])]);
            s.wait(1.0);
            s.append("q", 1, 200, 300);
            s.image("b0", AGAIN, &[("q", 0, 0), ("q", 1, 200)], &[("q", 0, &[0, 200])]);
        });
        run("LOG-6", Expect::Broken, "a record comes, and a queue lost another", |s| {
            s.image("b0", END, &[("q", 0, 0), ("q", 1, 100)], &[("q", 0, &[0, 100])]);
            s.wait(1.0);
            s.append("q", 2, 200, 300);
            s.image("b0", AGAIN, &[("q", 0, 0), ("q", 1, 100), ("q", 2, 200)], &[("q", 0, &[0, 200])]);
        });
        run("LOG-6", Expect::Kept, "a record comes late", |s| {
            s.image("b0", END, &[("q", 0, 0)], &[("q", 0, &[0])]);
            s.wait(1.0);
            s.append("q", 1, 100, 200);
            s.image("b0", AGAIN, &[("q", 0, 0), ("q", 1, 100)], &[("q", 0, &[0, 100])]);
        });
        run("LOG-6", Expect::Kept, "a record comes late into a queue that was empty", |s| {
            s.image("b0", END, &[("q", 0, 0)], &[("q", 0, &[0])]);
            s.wait(1.0);
            s.append("r", 0, 100, 200);
            s.image("b0", AGAIN, &[("q", 0, 0), ("r", 0, 100)], &[("q", 0, &[0]), ("r", 0, &[100])]);
        });
        run("LOG-6", Expect::Broken, "a full disk does not excuse a lost end", |s| {
            s.full("b0");
            s.image("b0", END, &[("q", 0, 0), ("q", 1, 100)], &[("q", 0, &[0, 100])]);
            s.image("b0", AGAIN, &[("q", 0, 0)], &[("q", 0, &[0])]);
        });
        run("LOG-6", Expect::Kept, "what a full disk let go went at the start", |s| {
            s.full("b0");
            s.image("b0", END, &[("q", 0, 0), ("q", 1, 100)], &[("q", 0, &[0, 100])]);
            s.image("b0", AGAIN, &[("q", 1, 100)], &[("q", 1, &[100])]);
            s.last_image().start = 100;
        });
        run("LOG-6", Expect::Kept, "images under load need not be equal", |s| {
            s.image("b0", RECOVERED, &[("q", 0, 0)], &[("q", 0, &[0])]);
            s.image("b0", END, &[("q", 0, 0), ("q", 1, 100)], &[("q", 0, &[0, 100])]);
        });
    }
}
