//! ADM-1: what an operator was told is done stays done.

use std::collections::BTreeMap;

use super::{Judged, Rule, View, seconds};
use crate::history::{How, Kind, NodeId, SettingId, TopicId};

/// An order: when it was given, and when it was answered.
struct Order {
    value: u32,
    given: usize,
    done: Option<usize>,
}

/// ADM-1: nothing is stored in a queue that its topic does not have at that time.
fn places(view: &View<'_>, judged: &mut Judged) {
    let history = view.history;
    let mut shapes: BTreeMap<(TopicId, NodeId), u32> = BTreeMap::new();
    for (number, event) in history.events.iter().enumerate() {
        match event.kind {
            Kind::TopicSet { topic, broker, read, write } => {
                shapes.insert((topic, broker), read.max(write));
            }
            Kind::TopicDeleted { topic, broker } => drop(shapes.remove(&(topic, broker))),
            Kind::Down { how: How::Disk } => shapes.retain(|(_, broker), _| *broker != event.node),
            Kind::Append { slot, .. } => {
                let queue = history.queues[slot.queue.index()];
                let Some(count) = shapes.get(&(queue.topic, queue.broker)) else { continue };
                judged.count(Rule::Adm1, 1);
                if queue.number >= *count {
                    let name = history.slot_name(slot);
                    let sentence = format!(
                        "At {} a message was stored at {name}, and its topic had {count} queues.",
                        seconds(event.at_ns)
                    );
                    judged.broken(view, Rule::Adm1, number, name, sentence);
                }
            }
            _ => {}
        }
    }
}

pub(super) fn check(view: &View<'_>, judged: &mut Judged) {
    places(view, judged);
    registers(view, judged);
}

/// ADM-1: as a register. What is shown was ordered, and no later order was carried out before it was asked for.
fn registers(view: &View<'_>, judged: &mut Judged) {
    let history = view.history;
    let mut orders: BTreeMap<SettingId, Vec<Order>> = BTreeMap::new();
    for (number, event) in history.events.iter().enumerate() {
        match event.kind {
            Kind::Ordered { setting, value } => {
                orders.entry(setting).or_default().push(Order { value, given: number, done: None });
            }
            Kind::Done { setting, value } => {
                let given = orders.get_mut(&setting).into_iter().flatten();
                let mut open = given.filter(|it| it.value == value && it.done.is_none());
                open.next().expect("what was done was ordered").done = Some(number);
            }
            Kind::Shown { setting, asked_ns, value } => {
                judged.count(Rule::Adm1, 1);
                let orders = orders.get(&setting).map_or(&[][..], Vec::as_slice);
                let lost = lost(view, history.settings[setting.index()].broker, number);
                // Of those that were carried out before it was asked for, the one that was given last.
                let done = orders.iter().filter(|it| {
                    lost.is_none_or(|lost| it.given > lost)
                        && it.done.is_some_and(|done| view.at(done) < asked_ns)
                });
                let Some(last) = done.max_by_key(|it| it.given) else { continue };
                let may_be = |order: &Order| order.done.is_none_or(|done| done >= last.given);
                let right =
                    value.is_some_and(|value| orders.iter().any(|it| it.value == value && may_be(it)));
                if !right {
                    let name = history.setting_name(setting);
                    let shown = value.map_or("it is not there".to_owned(), |value| format!("it is {value}"));
                    let sentence = format!(
                        "It was answered at {} that {name} is {}, and at {} {shown}.",
                        seconds(view.at(last.done.unwrap_or(last.given))),
                        last.value,
                        seconds(event.at_ns)
                    );
                    judged.broken(view, Rule::Adm1, number, name, sentence);
                }
            }
            _ => {}
        }
    }
}

/// The last event before this one in which a broker lost its disk, and all orders with it.
fn lost(view: &View<'_>, broker: NodeId, before: usize) -> Option<usize> {
    let lost = view.outages_of(broker).iter().filter(|outage| outage.how == How::Disk);
    lost.map(|outage| outage.event).filter(|event| *event < before).max()
}

#[cfg(test)]
mod tests {
    use super::super::script::{Expect, Script, run};
    use crate::history::How;

    #[test]
    fn nothing_is_stored_beside_its_topic() {
        run("ADM-1", Expect::Broken, "behind the last queue", |s: &mut Script| {
            s.name_queue("q");
            s.queues("b0", 0, 0);
            s.append("q", 0, 0, 100);
        });
        run("ADM-1", Expect::Broken, "in one that was taken away", |s| {
            s.name_queue("q");
            s.queues("b0", 4, 4);
            s.append("q", 0, 0, 100);
            s.queues("b0", 0, 0);
            s.append("q", 1, 100, 200);
        });
        run("ADM-1", Expect::Kept, "in one that may still be read", |s| {
            s.name_queue("q");
            s.queues("b0", 4, 0);
            s.append("q", 0, 0, 100);
        });
        run("ADM-1", Expect::Kept, "in one that came back", |s| {
            s.name_queue("q");
            s.queues("b0", 0, 0);
            s.queues("b0", 4, 4);
            s.append("q", 0, 0, 100);
        });
    }

    #[test]
    fn what_was_carried_out_survives() {
        run("ADM-1", Expect::Broken, "it is gone after a crash", |s: &mut Script| {
            s.orders(1);
            s.done(1);
            s.crash("b0", How::Power);
            s.shown(None);
        });
        run("ADM-1", Expect::Broken, "it is as it was before", |s| {
            s.orders(1);
            s.done(1);
            s.orders(2);
            s.done(2);
            s.crash("b0", How::Process);
            s.shown(Some(1));
        });
        run("ADM-1", Expect::Broken, "it is what nobody ordered", |s| {
            s.orders(1);
            s.done(1);
            s.shown(Some(3));
        });
        run("ADM-1", Expect::Kept, "it is what was ordered last", |s| {
            s.orders(1);
            s.done(1);
            s.orders(2);
            s.done(2);
            s.crash("b0", How::Power);
            s.shown(Some(2));
        });
        run("ADM-1", Expect::Kept, "an order that nobody answered may come at any time", |s| {
            s.orders(1);
            s.orders(2);
            s.done(2);
            s.shown(Some(2));
            s.shown(Some(1));
        });
        run("ADM-1", Expect::Kept, "of two at once either may be the last", |s| {
            s.orders(1);
            s.orders(2);
            s.done(1);
            s.done(2);
            s.crash("b0", How::Process);
            s.shown(Some(1));
        });
        run("ADM-1", Expect::Kept, "what was not answered may be lost", |s| {
            s.orders(1);
            s.crash("b0", How::Process);
            s.shown(None);
        });
        run("ADM-1", Expect::Kept, "its disk was lost", |s| {
            s.orders(1);
            s.done(1);
            s.crash("b0", How::Disk);
            s.shown(None);
        });
    }
}
