//! ADM-1, NS-4 and CON-9: what an operator was told is done stays done.

use std::collections::{BTreeMap, BTreeSet};

use super::{Judged, Rule, SECOND, View, seconds};
use crate::history::{How, Keeps, Kind, NodeId, RegisterId, TopicId, known};

pub(super) fn check(view: &View<'_>, judged: &mut Judged) {
    places(view, judged);
    registers(view, judged);
}

/// ADM-1: nothing is stored in a queue that its topic does not have at that time.
fn places(view: &View<'_>, judged: &mut Judged) {
    let history = view.history;
    let troubles = view.troubles();
    // How many queues, and since when.
    let mut shapes: BTreeMap<(TopicId, NodeId), (u32, u64)> = BTreeMap::new();
    for (number, event) in history.events.iter().enumerate() {
        match event.kind {
            Kind::TopicSet { topic, broker, read, write } => {
                shapes.insert((topic, broker), (read.max(write), event.at_ns));
            }
            Kind::TopicDeleted { topic, broker } => drop(shapes.remove(&(topic, broker))),
            Kind::Down { how: How::Disk } => shapes.retain(|(_, broker), _| *broker != event.node),
            Kind::Append { slot, .. } => {
                let queue = history.queues[slot.queue.index()];
                let Some((count, since)) = shapes.get(&(queue.topic, queue.broker)) else { continue };
                judged.count(Rule::Adm1, 1);
                // Where there is no room for a while, a send that came before the order waits for it.
                let waits = troubles.iter().any(|it| {
                    it.node == Some(queue.broker)
                        && it.from_ns <= *since
                        && *since <= it.until_ns.saturating_add(MADE_ROOM)
                        && event.at_ns <= since.saturating_add(MADE_ROOM)
                });
                if queue.number >= *count && !waits {
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

/// What is shown of a register was ordered, and no later order was carried out before it was asked for.
fn registers(view: &View<'_>, judged: &mut Judged) {
    let history = view.history;
    // Which brokers write their offsets, or could not.
    let mut offsets = BTreeSet::new();
    let mut registers: Vec<_> = history.registers.iter().map(|it| Orders::of(it.what)).collect();
    // Who may write to which broker, by the name server that tells.
    let mut writing: BTreeMap<(NodeId, NodeId), RegisterId> = BTreeMap::new();
    for (register, number) in history.registers.iter().zip(0..) {
        let broker = history.known_node(&register.name).filter(|_| register.what == Keeps::Writing);
        writing.extend(broker.map(|broker| ((register.server, broker), RegisterId(number))));
    }
    let mut versions: BTreeMap<(NodeId, NodeId), (u64, u64)> = BTreeMap::new();
    for (number, event) in history.events.iter().enumerate() {
        let mut shown = |register: RegisterId, asked_ns, value| {
            let (name, what) = (history.register_name(register), history.registers[register.index()].what);
            let rule = rule_of(what);
            judged.count(rule, 1);
            let orders = &registers[register.index()];
            let Some(last) = orders.last(view, asked_ns).filter(|last| !orders.may_be(last, value)) else {
                return;
            };
            let sentence = format!(
                "It was answered at {} that {name} is {}; who asked was told at {} that it is {}.",
                seconds(view.at(last.known().unwrap_or(last.given))),
                known(last.value),
                seconds(event.at_ns),
                known(value)
            );
            judged.broken(view, rule, number, name, sentence);
        };
        match event.kind {
            Kind::Ordered { register, value } => registers[register.index()].given(value, number),
            Kind::Answered { register, value, done } => {
                registers[register.index()].answered(value, done, number);
            }
            Kind::Shown { register, asked_ns, value } => {
                shown(register, asked_ns, value);
                registers[register.index()].seen(value, number);
            }
            // Where no taps tell, nobody knows what a broker has registered.
            Kind::Offered { broker, asked_ns, perm, .. } if !history.untapped => {
                if let Some(register) = writing.get(&(event.node, broker)) {
                    shown(*register, asked_ns, Some(u64::from(perm & WRITE != 0)));
                }
            }
            Kind::Registered { broker, version, made_ms, .. } => {
                let before = versions.insert((event.node, broker), (version, made_ms));
                let register = writing.get(&(event.node, broker));
                // What other topics may be written to is the broker's word.
                if let Some(register) = register.filter(|_| before != Some((version, made_ms))) {
                    registers[register.index()].lost = Some(number);
                }
            }
            Kind::Removed { broker, .. } => drop(versions.remove(&(event.node, broker))),
            Kind::Down { how } => {
                versions.retain(|(server, _), _| *server != event.node);
                let sync = history.brokers.iter().any(|it| it.node == event.node && it.sync_flush);
                let mut outages = view.outages_of(event.node).iter();
                let tail = !sync && outages.any(|outage| outage.event == number && outage.loses);
                let in_vain = offsets.remove(&event.node);
                let own = registers.iter_mut().zip(&history.registers);
                own.filter(|(_, it)| it.server == event.node)
                    .for_each(|(it, _)| it.falls((how, in_vain), tail, number));
            }
            Kind::OffsetsTaken => drop(offsets.insert(event.node)),
            Kind::OffsetsPersisted => drop(offsets.remove(&event.node)),
            _ => {}
        }
    }
}

fn rule_of(what: Keeps) -> Rule {
    match what {
        Keeps::Text => Rule::Ns4,
        Keeps::Group | Keeps::Offset => Rule::Con9,
        Keeps::Topic | Keeps::Writing | Keeps::Permission => Rule::Adm1,
    }
}

/// An order, and the event of its answer. One that was not answered may be carried out at any time.
#[derive(Clone, Copy)]
struct Order {
    value: Option<u64>,
    given: usize,
    answered: Option<usize>,
    done: bool,
    /// It was seen to be carried out, answered or not.
    seen: Option<usize>,
}

impl Order {
    /// Since when it is known to be carried out.
    fn known(&self) -> Option<usize> {
        let answered = self.answered.filter(|_| self.done);
        answered.into_iter().chain(self.seen).min()
    }
}

/// All orders about one register.
struct Orders {
    what: Keeps,
    all: Vec<Order>,
    /// Nobody knows what became of those before this event.
    lost: Option<usize>,
    /// A crash may have set it back to what it was, but not to before it was surely on the disk.
    set_back: Option<usize>,
}

impl Orders {
    /// What nobody has ordered yet is not there; what a server has by itself is not known.
    fn of(what: Keeps) -> Self {
        let absent = Order { value: None, given: 0, answered: Some(0), done: true, seen: None };
        let all = if is_volatile(what) { Vec::new() } else { vec![absent] };
        Self { what, all, lost: None, set_back: None }
    }

    fn given(&mut self, value: Option<u64>, event: usize) {
        self.all.push(Order { value, given: event, answered: None, done: false, seen: None });
    }

    fn answered(&mut self, value: Option<u64>, done: bool, event: usize) {
        // Of those that are alike the last: one before it may still be under way.
        let mut open = self.all.iter_mut().rev().filter(|it| it.value == value && it.answered.is_none());
        let order = open.next().expect("what was answered was ordered");
        (order.answered, order.done) = (Some(event), done);
    }

    /// The server says that it is so. A text that can be read is on the disk, whatever the answer to its order says.
    fn seen(&mut self, value: Option<u64>, event: usize) {
        let alike = |it: &&mut Order| it.value == value && value.is_some();
        let order = self.all.iter_mut().find(alike).filter(|it| it.known().is_none());
        if let Some(order) = order.filter(|_| self.what == Keeps::Text) {
            order.seen = Some(event);
        }
    }

    /// Its server goes down, perhaps after it tried in vain to write its offsets, and its queues may lose their `tail`.
    fn falls(&mut self, (how, in_vain): (How, bool), tail: bool, event: usize) {
        let offset = self.what == Keeps::Offset;
        // An offset beyond the end of a queue that lost its tail goes back to that.
        if how == How::Disk || is_volatile(self.what) || offset && tail {
            self.lost = Some(event);
        } else if offset && (how != How::Stop || in_vain) {
            self.set_back = Some(event);
        }
    }

    /// Of those that were surely carried out before somebody asked, and not set back, the one that was given last.
    fn last(&self, view: &View<'_>, asked_ns: u64) -> Option<&Order> {
        let before = |it: &&Order| it.known().is_some_and(|at| view.at(at) < asked_ns);
        let known = |it: &&Order| before(it) && self.lost.is_none_or(|lost| it.given > lost);
        let last = self.all.iter().filter(known).max_by_key(|it| it.given)?;
        if self.set_back.is_none_or(|crash| crash < last.given) {
            return Some(last);
        }
        let durable = |it: &&Order| self.what != Keeps::Offset || it.value.is_none();
        self.all.iter().filter(|it| known(it) && durable(it)).max_by_key(|it| it.given)
    }

    /// Whether the register may have this value, when that order was the last that was surely carried out.
    fn may_be(&self, last: &Order, value: Option<u64>) -> bool {
        let late = |it: &Order| it.answered.is_none_or(|at| at > last.given);
        value == last.value || self.all.iter().any(|it| it.value == value && late(it))
    }
}

/// It is in the memory of its server alone.
fn is_volatile(what: Keeps) -> bool {
    matches!(what, Keeps::Writing | Keeps::Permission)
}

const WRITE: u32 = 2;

/// What waited for room is stored within this when there is some.
const MADE_ROOM: u64 = 5 * SECOND;

#[cfg(test)]
mod tests {
    use super::super::script::{Expect, Script, run};
    use crate::history::{How, Keeps, Why};

    const TOPIC: (&str, Keeps, &str) = ("b0", Keeps::Topic, "x");

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
        run(
            "ADM-1",
            Expect::Broken,
            "in one that was taken away long after its broker was in trouble",
            |s| {
                s.name_queue("q");
                s.queues("b0", 4, 4);
                let fault = s.begin(&["b0"]);
                s.over(fault);
                s.wait(6.0);
                s.queues("b0", 0, 0);
                s.append("q", 0, 0, 100);
            },
        );
        run("ADM-1", Expect::Kept, "in one that was taken away while its broker had no room", |s| {
            s.name_queue("q");
            s.queues("b0", 4, 4);
            let fault = s.begin(&["b0"]);
            s.wait(6.0);
            s.over(fault);
            s.queues("b0", 0, 0);
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
            s.orders(TOPIC, Some(1));
            s.answers(TOPIC, Some(1), true);
            s.crash("b0", How::Power);
            s.shows(TOPIC, None);
        });
        run("ADM-1", Expect::Broken, "it is as it was before", |s| {
            s.orders(TOPIC, Some(1));
            s.answers(TOPIC, Some(1), true);
            s.orders(TOPIC, Some(2));
            s.answers(TOPIC, Some(2), true);
            s.crash("b0", How::Process);
            s.shows(TOPIC, Some(1));
        });
        run("ADM-1", Expect::Broken, "it is what nobody ordered", |s| {
            s.orders(TOPIC, Some(1));
            s.answers(TOPIC, Some(1), true);
            s.shows(TOPIC, Some(3));
        });
        run("ADM-1", Expect::Kept, "it is what was ordered last", |s| {
            s.orders(TOPIC, Some(1));
            s.answers(TOPIC, Some(1), true);
            s.orders(TOPIC, Some(2));
            s.answers(TOPIC, Some(2), true);
            s.crash("b0", How::Power);
            s.shows(TOPIC, Some(2));
        });
        run("ADM-1", Expect::Kept, "an order that nobody answered may come at any time", |s| {
            s.orders(TOPIC, Some(1));
            s.orders(TOPIC, Some(2));
            s.answers(TOPIC, Some(2), true);
            s.shows(TOPIC, Some(2));
            s.shows(TOPIC, Some(1));
        });
        run("ADM-1", Expect::Kept, "of two at once either may be the last", |s| {
            s.orders(TOPIC, Some(1));
            s.orders(TOPIC, Some(2));
            s.answers(TOPIC, Some(1), true);
            s.answers(TOPIC, Some(2), true);
            s.crash("b0", How::Process);
            s.shows(TOPIC, Some(1));
        });
        run("ADM-1", Expect::Kept, "what was not answered may be lost", |s| {
            s.orders(TOPIC, Some(1));
            s.crash("b0", How::Process);
            s.shows(TOPIC, None);
        });
        run("ADM-1", Expect::Kept, "its disk was lost", |s| {
            s.orders(TOPIC, Some(1));
            s.answers(TOPIC, Some(1), true);
            s.crash("b0", How::Disk);
            s.shows(TOPIC, None);
        });
    }

    #[test]
    fn a_text_is_what_was_put_last() {
        let text = ("ns0", Keeps::Text, "x");
        let put = |s: &mut Script, value| ordered(s, text, value);
        run("NS-4", Expect::Broken, "an older one after a restart", |s: &mut Script| {
            put(s, Some(1));
            put(s, Some(2));
            s.crash("ns0", How::Power);
            s.shows(text, Some(1));
        });
        run("NS-4", Expect::Broken, "it was deleted", |s| {
            put(s, Some(1));
            put(s, None);
            s.shows(text, Some(1));
        });
        run("NS-4", Expect::Broken, "another server lost its disk", |s| {
            put(s, Some(1));
            s.crash("ns1", How::Disk);
            s.shows(text, None);
        });
        run("NS-4", Expect::Broken, "what was refused before a later order comes after it", |s| {
            s.orders(text, Some(1));
            s.answers(text, Some(1), false);
            put(s, Some(2));
            s.shows(text, Some(1));
        });
        run("NS-4", Expect::Kept, "the last one", |s| {
            put(s, Some(1));
            put(s, Some(2));
            s.crash("ns0", How::Power);
            s.shows(text, Some(2));
        });
        run("NS-4", Expect::Kept, "the deletion was not answered", |s| {
            put(s, Some(1));
            s.orders(text, None);
            s.shows(text, None);
            s.shows(text, Some(1));
        });
        run("NS-4", Expect::Kept, "the deletion was refused, and carried out half", |s| {
            put(s, Some(1));
            s.orders(text, None);
            s.answers(text, None, false);
            s.shows(text, None);
            s.shows(text, Some(1));
        });
        run("NS-4", Expect::Kept, "its disk is lost", |s| {
            put(s, Some(1));
            s.crash("ns0", How::Disk);
            s.shows(text, None);
        });
        run("NS-4", Expect::Broken, "it could be read before it was on the disk", |s| {
            put(s, Some(1));
            s.orders(text, Some(2));
            s.shows(text, Some(2));
            s.crash("ns0", How::Process);
            s.shows(text, Some(1));
        });
        run("NS-4", Expect::Broken, "it was refused, could be read, and is gone", |s| {
            s.orders(text, Some(2));
            s.answers(text, Some(2), false);
            s.shows(text, Some(2));
            s.crash("ns0", How::Process);
            s.shows(text, None);
        });
        run("NS-4", Expect::Kept, "it was read, and another was put later", |s| {
            s.orders(text, Some(2));
            s.shows(text, Some(2));
            s.orders(text, Some(3));
            s.answers(text, Some(2), true);
            s.crash("ns0", How::Process);
            s.shows(text, Some(3));
        });
        run("NS-4", Expect::Kept, "nobody had read it", |s| {
            put(s, Some(1));
            s.orders(text, Some(2));
            s.crash("ns0", How::Process);
            s.shows(text, Some(1));
        });
    }

    #[test]
    fn a_deleted_group_is_gone_as_asked() {
        let offset = ("b0", Keeps::Offset, "x");
        let commit = |s: &mut Script, value| ordered(s, offset, value);
        run("CON-9", Expect::Broken, "its offset stays", |s: &mut Script| {
            commit(s, Some(5));
            commit(s, None);
            s.shows(offset, Some(5));
        });
        run("CON-9", Expect::Broken, "its offset is back after a crash", |s| {
            commit(s, Some(5));
            commit(s, None);
            s.crash("b0", How::Process);
            s.shows(offset, Some(5));
        });
        run("CON-9", Expect::Broken, "an offset is gone that nobody deleted", |s| {
            commit(s, Some(5));
            s.shows(offset, None);
        });
        run("CON-9", Expect::Kept, "the broker could not write its offsets when it was stopped", |s| {
            commit(s, Some(5));
            s.persisted("b0");
            commit(s, Some(7));
            s.taken("b0");
            s.crash("b0", How::Stop);
            s.shows(offset, Some(5));
        });
        run("CON-9", Expect::Broken, "it had written them", |s| {
            commit(s, Some(5));
            commit(s, Some(7));
            s.persisted("b0");
            s.crash("b0", How::Stop);
            s.shows(offset, Some(5));
        });
        run("CON-9", Expect::Broken, "so are settings, after a crash", |s| {
            let group = ("b0", Keeps::Group, "x");
            ordered(s, group, Some(7));
            s.crash("b0", How::Process);
            s.shows(group, None);
        });
        run("CON-9", Expect::Broken, "it was deleted when asked again, and is back after a crash", |s| {
            let group = ("b0", Keeps::Group, "x");
            ordered(s, group, Some(7));
            s.orders(group, None);
            s.answers(group, None, false);
            ordered(s, group, None);
            s.crash("b0", How::Process);
            s.shows(group, Some(7));
        });
        run("CON-9", Expect::Kept, "a crash took back what was not on the disk yet", |s| {
            commit(s, Some(5));
            commit(s, Some(6));
            s.crash("b0", How::Process);
            s.shows(offset, Some(5));
        });
        run("CON-9", Expect::Kept, "a failed sync took the tail of the queue", |s| {
            commit(s, Some(5));
            s.sync_fails();
            s.shows(offset, Some(3));
        });
        run("CON-9", Expect::Kept, "a loss of power took the tail of the queue", |s| {
            commit(s, Some(5));
            s.crash("b0", How::Power);
            s.shows(offset, Some(3));
        });
        run("CON-9", Expect::Kept, "made anew", |s| {
            commit(s, None);
            commit(s, Some(2));
            s.shows(offset, Some(2));
        });
    }

    #[test]
    fn nobody_writes_to_a_broker_that_is_to_be_drained() {
        let writing = ("ns0", Keeps::Writing, "b0");
        let wiped = |s: &mut Script| {
            s.registered_as(5);
            ordered(s, writing, Some(0));
        };
        run("ADM-1", Expect::Broken, "the next registration brings the right back", |s: &mut Script| {
            wiped(s);
            s.registered_as(5);
            s.offered("ns0", 4, 6);
        });
        run("ADM-1", Expect::Broken, "other topics of another broker say nothing", |s| {
            wiped(s);
            s.registered("ns0", "b1", 2);
            s.offered("ns0", 4, 6);
        });
        run("ADM-1", Expect::Broken, "it was given back", |s| {
            wiped(s);
            ordered(s, writing, Some(1));
            s.offered("ns0", 4, 4);
        });
        run("ADM-1", Expect::Kept, "the broker registers other topics", |s| {
            wiped(s);
            s.registered_as(6);
            s.offered("ns0", 4, 6);
        });
        run("ADM-1", Expect::Kept, "the broker was gone and comes back with the same", |s| {
            wiped(s);
            s.removed("ns0", "b0", Why::Closed);
            s.registered_as(5);
            s.offered("ns0", 4, 6);
        });
        run("ADM-1", Expect::Kept, "the name server was restarted", |s| {
            wiped(s);
            s.crash("ns0", How::Process);
            s.registered_as(5);
            s.offered("ns0", 4, 6);
        });
        run("ADM-1", Expect::Kept, "another name server was not told", |s| {
            wiped(s);
            s.offered("ns1", 4, 6);
        });
        run("ADM-1", Expect::Kept, "nobody has given it back yet", |s| {
            wiped(s);
            s.orders(writing, Some(1));
            s.offered("ns0", 4, 4);
            s.offered("ns0", 4, 6);
        });
    }

    #[test]
    fn a_broker_does_what_it_is_told_to_permit() {
        let may = ("b0", Keeps::Permission, "brokerPermission");
        run("ADM-1", Expect::Broken, "it takes a message that it must not", |s: &mut Script| {
            ordered(s, may, Some(4));
            s.shows(may, Some(6));
        });
        run("ADM-1", Expect::Broken, "it refuses one when it may take them again", |s| {
            ordered(s, may, Some(4));
            ordered(s, may, Some(6));
            s.shows(may, Some(4));
        });
        run("ADM-1", Expect::Kept, "the order is on its way", |s| {
            s.orders(may, Some(4));
            s.shows(may, Some(6));
            s.shows(may, Some(4));
        });
        run("ADM-1", Expect::Kept, "it was restarted, and has forgotten it", |s| {
            ordered(s, may, Some(4));
            s.crash("b0", How::Process);
            s.shows(may, Some(6));
        });
        run("ADM-1", Expect::Kept, "nobody has ordered anything", |s| s.shows(may, Some(6)));
    }

    /// An order that is carried out.
    fn ordered(s: &mut Script, register: (&str, Keeps, &str), value: Option<u64>) {
        s.orders(register, value);
        s.answers(register, value, true);
    }
}
