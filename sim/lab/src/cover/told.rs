//! Properties that are told from the history of a run: what met whom, in which order.

use std::collections::{BTreeMap, BTreeSet};

use super::properties::Property;
use crate::check::View;
use crate::history::{
    Event, GroupId, HalfId, How, Kind, MemberId, MessageId, NodeId, Outcome, QueueId, Slot, TopicId, Why,
};

/// Those properties, in order.
pub(super) const TOLD: &[Property] = &[
    ("told.all_brokers_down", "Clients that give up while no broker is there: L-2, L-4."),
    ("told.all_name_servers_down", "Clients and brokers that need a name server for each step: L-1, L-2."),
    ("told.batch_unknown", "A batch nobody knows the outcome of, stored in part: ACK-7."),
    (
        "told.broker_died_starting",
        "A crash in the midst of a recovery, which leaves less than it found: LOG-6, ACK-1.",
    ),
    ("told.broker_died_thrice", "Crashes that wear away together what each alone leaves: ACK-1, LOG-6."),
    (
        "told.broker_process_then_power",
        "A loss of power after a crash that kept the page cache: ACK-1, LOG-6.",
    ),
    ("told.committed_then_died", "A crash behind a commit that was not persisted: CON-6, CON-4."),
    ("told.consumed_after_heal", "Messages of the time of faults that come when all is over: L-4, CON-1."),
    ("told.copies", "Two copies of one message at two places of its topic: ACK-6, ACK-8."),
    ("told.delay_after_restart", "A delayed message whose broker dies while it waits: DLY-2, DLY-1."),
    ("told.delay_offset_behind", "Progress of a level that a crash set back: DLY-2."),
    ("told.delay_other_level", "A message that waits while the delay of its level is changed: DLY-1, DLY-3."),
    ("told.delay_three_levels", "Levels that wait side by side and hold each other up: DLY-3, DLY-5."),
    ("told.dispatch_behind_death", "A crash between the log and its queues: LOG-2, CON-1."),
    ("told.flush_behind_power", "A loss of power with records that no sync covers: ACK-1, LOG-6."),
    (
        "told.half_asked_other",
        "A producer that is asked about the transaction of another of its group: TXN-4.",
    ),
    (
        "told.half_asked_unknown",
        "A producer that does not know, whose transaction is ended all the same: TXN-1, TXN-4.",
    ),
    ("told.half_checked_thrice", "Checks that are counted wrongly, or come too fast: TXN-5."),
    ("told.half_decided_by_check", "A transaction whose end was lost and which a check decides: TXN-4."),
    (
        "told.half_decided_then_died",
        "A crash between the decision of a producer and its end at the broker: TXN-4, TXN-3.",
    ),
    (
        "told.half_given_up",
        "A transaction that nobody decides, delivered or asked about for ever: TXN-4, TXN-1.",
    ),
    ("told.half_loaded", "An undecided half message that a restart must find: TXN-4, TXN-5."),
    ("told.half_loaded_ended", "A half message found by a restart and ended after it: TXN-3, TXN-4."),
    ("told.half_rolled_back", "A rolled back message that is delivered: TXN-2, TXN-1."),
    (
        "told.handed_back",
        "A queue that comes back to a member with what is left of its first time: CON-3, CON-4.",
    ),
    ("told.handed_over", "A queue that changes hands: CON-3, CON-4, CON-6."),
    ("told.handed_over_by_death", "A queue whose owner died: CON-1, CON-4."),
    ("told.handed_over_thrice", "A queue that goes through many hands and loses its place: CON-3, CON-6."),
    ("told.listener_died", "A member that dies with messages in its listener: CON-1, CON-2."),
    ("told.lock_lapsed", "A lock that goes to another client as its time is over: ORD-1."),
    ("told.member_left", "A member that leaves cleanly: its queues, its offsets: CON-4, L-3."),
    ("told.ns_closed", "A connection of a broker that closes at a name server: NS-1."),
    ("told.ns_knows_none", "A name server that has no brokers to tell of: NS-2, L-1."),
    ("told.ns_knows_some", "A route that lacks a broker whose queues are owned: CON-1, CON-5."),
    ("told.ns_registered_again", "A broker that comes back after it was dropped: NS-2, L-2."),
    ("told.offset_lost", "A committed offset that a crash took: CON-6, CON-4."),
    ("told.offsets_cut", "A crash while offsets are written: CON-6."),
    ("told.producer_died_sending", "A producer that dies with a call under way: ACK-3, ACK-6."),
    ("told.query_after_restart", "A key of a message from before the death of its broker: IDX-1, LOG-6."),
    ("told.query_found", "A question for a key that is answered: IDX-1."),
    ("told.queue_added", "A queue that is added under load: CON-1."),
    ("told.queue_removed", "A queue that is taken away under load: CON-1."),
    ("told.queue_rewound", "A queue that lost its end: LOG-1, CON-2, CON-3."),
    ("told.queue_rewound_acked", "An acknowledged message that a fault beyond its class took: ACK-1, LOG-1."),
    ("told.read_added_queue", "A queue that was added and is not read from its first message: CON-1."),
    (
        "told.repeated_after_death",
        "A message that comes again because its member died before it committed: CON-4.",
    ),
    (
        "told.repeated_after_handover",
        "A message that comes again because its queue changed hands: CON-4, CON-6.",
    ),
    ("told.retry_after_restart", "A retry whose broker dies while it waits: RTY-1, RTY-5."),
    ("told.retry_copied", "A retry that its client had to publish itself: RTY-1, RTY-4."),
    ("told.retry_dead", "A message that had all its tries: RTY-3."),
    ("told.retry_third_try", "A message that fails twice and is handled then: RTY-1, RTY-4."),
    ("told.retry_unsure", "A retry that is stored and not safe when its broker answers: RTY-2, RTY-5."),
    ("told.send_across_death", "A send whose broker dies before it is answered: ACK-1, ACK-4."),
    ("told.send_again", "A send that took several attempts: ACK-6, ACK-8."),
    ("told.send_degraded", "A message that is stored and not yet safe: ACK-5, ACK-6."),
    ("told.send_failed", "A message that was refused and is read all the same: ACK-4."),
    ("told.send_unknown_lost", "A send of unknown outcome that was not stored: ACK-4, ACK-6."),
    ("told.send_unknown_stored", "A send of unknown outcome that was stored: ACK-4, ACK-6."),
    ("told.topic_again", "A topic that is deleted and made again: LOG-1, CON-1, CON-2."),
    ("told.two_down", "Two nodes that are down at once: L-2, L-4."),
    ("told.two_owners", "A queue that is taken before its owner lets go: CON-5, CON-6."),
];

/// What this history came to, and how often.
#[must_use]
pub fn told(view: &View<'_>) -> BTreeMap<&'static str, u64> {
    let mut met = Tally(BTreeMap::new());
    sends(view, &mut met);
    deliveries(view, &mut met);
    sessions(view, &mut met);
    deaths(view, &mut met);
    Told { view, met: &mut met, state: State::default() }.all();
    met.0
}

struct Tally(BTreeMap<&'static str, u64>);

impl Tally {
    fn note(&mut self, holds: bool, name: &'static str) {
        if holds {
            debug_assert!(TOLD.iter().any(|(known, _)| *known == name), "{name} has no line");
            *self.0.entry(name).or_default() += 1;
        }
    }
}

fn sends(view: &View<'_>, met: &mut Tally) {
    let history = view.history;
    let (mut delivered, mut places) = (BTreeSet::new(), BTreeMap::new());
    for delivery in &view.deliveries {
        let Some(message) = delivery.message else { continue };
        delivered.insert(message);
        // Those in a group's retry topic are no copies.
        if history.queues[delivery.slot.queue.index()].topic == history.messages[message.index()].topic {
            let first = *places.entry(message).or_insert(delivery.slot);
            met.note(first != delivery.slot, "told.copies");
        }
    }
    let broker_deaths: Vec<_> = history.brokers.iter().flat_map(|it| crashes(view, it.node)).collect();
    for ((index, send), message) in view.sends.iter().enumerate().zip(&history.messages) {
        let delivered = delivered.contains(&MessageId(index as u32));
        let unknown = send.outcome == Some(Outcome::Unknown);
        met.note(send.outcome == Some(Outcome::Degraded), "told.send_degraded");
        met.note(send.outcome == Some(Outcome::Failed), "told.send_failed");
        met.note(unknown && delivered, "told.send_unknown_stored");
        met.note(unknown && !delivered, "told.send_unknown_lost");
        met.note(unknown && message.batch.is_some(), "told.batch_unknown");
        met.note(send.outcome == Some(Outcome::Ok) && message.attempts > 1, "told.send_again");
        let Some(invoked) = send.invoked else { continue };
        let during =
            |event: &usize| *event > invoked && send.returned.is_none_or(|returned| *event < returned);
        met.note(send.returned.is_some() && broker_deaths.iter().any(during), "told.send_across_death");
        let writer = history.producers[message.producer as usize].node;
        met.note(
            send.returned.is_none() && crashes(view, writer).any(|event| event > invoked),
            "told.producer_died_sending",
        );
    }
}

fn deliveries(view: &View<'_>, met: &mut Tally) {
    let history = view.history;
    let heal = view.heal.map_or(usize::MAX, |(event, _)| event);
    let mut done: BTreeMap<(GroupId, Slot), (MemberId, usize)> = BTreeMap::new();
    for delivery in &view.deliveries {
        let member = history.members[delivery.member.index()];
        let unfinished = delivery.succeeded.is_none() && delivery.deferred.is_none();
        met.note(
            unfinished && crashes(view, member.node).any(|it| it > delivery.entered),
            "told.listener_died",
        );
        met.note(delivery.entered > heal, "told.consumed_after_heal");
        met.note(delivery.times >= 2 && delivery.succeeded.is_some(), "told.retry_third_try");
        let key = (member.group, delivery.slot);
        if let Some((before, at)) = done.get(&key) {
            let node = history.members[before.index()].node;
            let died = crashes(view, node).any(|event| event > *at && event < delivery.entered);
            met.note(died, "told.repeated_after_death");
            met.note(!died && *before != delivery.member, "told.repeated_after_handover");
        }
        if let Some(at) = delivery.succeeded {
            done.insert(key, (delivery.member, at));
        }
    }
}

fn sessions(view: &View<'_>, met: &mut Tally) {
    let mut owners: BTreeMap<(GroupId, QueueId), Vec<usize>> = BTreeMap::new();
    for (index, session) in view.sessions.iter().enumerate() {
        let group = view.history.members[session.member.index()].group;
        let before = owners.entry((group, session.queue)).or_default();
        if let Some(last) =
            before.last().map(|index| view.sessions[*index]).filter(|it| it.member != session.member)
        {
            met.note(true, "told.handed_over");
            met.note(last.crashed, "told.handed_over_by_death");
            met.note(last.ended.is_none_or(|ended| ended > session.started), "told.two_owners");
            let earlier = before.iter().any(|index| view.sessions[*index].member == session.member);
            met.note(earlier, "told.handed_back");
            met.note(before.len() >= 3, "told.handed_over_thrice");
        }
        before.push(index);
    }
}

fn deaths(view: &View<'_>, met: &mut Tally) {
    for broker in &view.history.brokers {
        let all = view.outages.get(broker.node.index()).map_or(&[][..], Vec::as_slice);
        let hard: Vec<_> = all.iter().filter(|outage| is_death(view, outage.event, outage.how)).collect();
        met.note(hard.len() >= 3, "told.broker_died_thrice");
        let pair = |pair: &[&crate::check::Outage]| pair[0].how == How::Process && pair[1].how == How::Power;
        met.note(hard.windows(2).any(pair), "told.broker_process_then_power");
    }
}

/// Events of the deaths of a node while faults happened, by process or power.
fn crashes(view: &View<'_>, node: NodeId) -> impl Iterator<Item = usize> {
    let all = view.outages.get(node.index()).map_or(&[][..], Vec::as_slice);
    all.iter().filter(|outage| is_death(view, outage.event, outage.how)).map(|outage| outage.event)
}

/// Not a clean stop, and not one of the tests that come when all is over.
fn is_death(view: &View<'_>, event: usize, how: How) -> bool {
    how != How::Stop && view.heal.is_none_or(|(heal, _)| event < heal)
}

/// One walk over the events, for what depends on their order.
struct Told<'a> {
    view: &'a View<'a>,
    met: &'a mut Tally,
    state: State,
}

/// What must be remembered of what came before.
#[derive(Default)]
struct State {
    down: BTreeSet<NodeId>,
    /// Brokers that were started and have not recovered.
    starting: BTreeSet<NodeId>,
    /// Crashes of each broker so far, and changes of its delay levels.
    deaths: BTreeMap<NodeId, u32>,
    changes: BTreeMap<NodeId, u32>,
    appended: BTreeMap<NodeId, u64>,
    flushed: BTreeMap<NodeId, u64>,
    undispatched: BTreeMap<NodeId, u64>,
    ends: BTreeMap<QueueId, u64>,
    acked: BTreeMap<QueueId, u64>,
    stored: BTreeMap<(GroupId, QueueId), u64>,
    unpersisted: BTreeSet<NodeId>,
    taken: BTreeSet<NodeId>,
    /// Who was given the lock of a queue last and has not given it back.
    locks: BTreeMap<(NodeId, u32), u32>,
    widths: BTreeMap<(TopicId, NodeId), u32>,
    /// Topics that were deleted and not made again.
    deleted: BTreeSet<(TopicId, NodeId)>,
    added: BTreeSet<QueueId>,
    removed: BTreeSet<NodeId>,
    /// Messages that wait for their time: deaths and changes of levels of their broker before.
    waiting: BTreeMap<Slot, (u32, u32)>,
    delivered: BTreeMap<QueueId, u64>,
    levels: BTreeSet<QueueId>,
    decided: BTreeMap<MessageId, u32>,
    asked: BTreeSet<HalfId>,
    loaded: BTreeSet<HalfId>,
    /// Acknowledged messages: deaths of their broker before.
    placed: BTreeMap<MessageId, u32>,
}

impl Told<'_> {
    fn all(mut self) {
        for event in &self.view.history.events {
            match event.kind {
                // Nodes are stopped and tried in the end.
                Kind::Drained { .. } => break,
                Kind::Down { how } => self.goes_down(event.node, how),
                Kind::Up => {
                    self.state.down.remove(&event.node);
                    self.state.starting.insert(event.node);
                }
                Kind::Recovered { .. } => drop(self.state.starting.remove(&event.node)),
                _ => {
                    self.stores(event);
                    self.commits(event);
                    self.routes(event);
                    self.waits(event);
                    self.decides(event);
                }
            }
        }
    }

    fn broker_of(&self, slot: Slot) -> NodeId {
        self.view.history.queues[slot.queue.index()].broker
    }

    fn deaths(&self, broker: NodeId) -> u32 {
        self.state.deaths.get(&broker).copied().unwrap_or(0)
    }

    fn goes_down(&mut self, node: NodeId, how: How) {
        let history = self.view.history;
        let state = &mut self.state;
        let starting = state.starting.remove(&node);
        state.locks.retain(|(broker, _), _| *broker != node);
        state.down.insert(node);
        let mut servers = ["ns0", "ns1"].into_iter().filter_map(|name| history.known_node(name)).peekable();
        let served = servers.peek().is_none() || servers.any(|server| !state.down.contains(&server));
        self.met.note(!served, "told.all_name_servers_down");
        self.met.note(state.down.len() > 1, "told.two_down");
        if how == How::Stop || history.brokers.iter().all(|broker| broker.node != node) {
            return;
        }
        let all = history.brokers.iter().all(|broker| state.down.contains(&broker.node));
        self.met.note(all, "told.all_brokers_down");
        *state.deaths.entry(node).or_default() += 1;
        self.met.note(starting, "told.broker_died_starting");
        self.met.note(state.taken.remove(&node), "told.offsets_cut");
        self.met.note(state.unpersisted.remove(&node), "told.committed_then_died");
        self.met.note(state.undispatched.remove(&node).unwrap_or(0) > 0, "told.dispatch_behind_death");
        let flushed = state.flushed.get(&node).copied().unwrap_or(0);
        let unflushed = state.appended.get(&node).is_some_and(|end| *end > flushed);
        self.met.note(how == How::Power && unflushed, "told.flush_behind_power");
        let decided = std::mem::take(&mut state.decided);
        self.met.note(!decided.is_empty(), "told.half_decided_then_died");
    }

    fn stores(&mut self, event: &Event) {
        let Event { node, kind, .. } = *event;
        let state = &mut self.state;
        match kind {
            Kind::Append { slot, end, .. } => {
                state.appended.insert(node, end);
                state.ends.insert(slot.queue, slot.offset + 1);
                *state.undispatched.entry(node).or_default() += 1;
            }
            Kind::Dispatched { .. } => {
                let left = state.undispatched.entry(node).or_default();
                *left = left.saturating_sub(1);
            }
            Kind::Flushed { end } => drop(state.flushed.insert(node, end)),
            Kind::Acked { slot, code: 0, .. } => drop(state.acked.insert(slot.queue, slot.offset + 1)),
            Kind::QueueRecovered { queue, max, .. } => {
                let lost = state.ends.insert(queue, max).is_some_and(|end| max < end);
                self.met.note(lost, "told.queue_rewound");
                let acked = state.acked.remove(&queue).is_some_and(|end| max < end);
                self.met.note(acked, "told.queue_rewound_acked");
            }
            Kind::TopicDeleted { topic, broker } => drop(state.deleted.insert((topic, broker))),
            Kind::TopicSet { topic, broker, read, .. } => {
                self.met.note(state.deleted.remove(&(topic, broker)), "told.topic_again");
                let before = state.widths.insert((topic, broker), read);
                let Some(before) = before else { return };
                self.met.note(read > before, "told.queue_added");
                self.met.note(read < before, "told.queue_removed");
                let history = self.view.history;
                state
                    .added
                    .extend((before..read).filter_map(|number| history.known_queue(topic, broker, number)));
            }
            Kind::Enter { slot, .. } => {
                self.met.note(state.added.contains(&slot.queue), "told.read_added_queue")
            }
            Kind::Sent { message, outcome: Outcome::Ok, at: Some(slot) } => {
                let deaths = self.deaths(self.broker_of(slot));
                self.state.placed.insert(message, deaths);
            }
            Kind::Queried { found: true, message, slot, .. } => {
                self.met.note(true, "told.query_found");
                let now = self.deaths(self.broker_of(slot));
                let before = self.state.placed.get(&message).is_some_and(|before| *before < now);
                self.met.note(before, "told.query_after_restart");
            }
            _ => {}
        }
    }

    fn commits(&mut self, event: &Event) {
        let state = &mut self.state;
        match event.kind {
            Kind::Stored { group, queue, offset } => {
                state.stored.insert((group, queue), offset);
                state.unpersisted.insert(event.node);
            }
            Kind::Loaded { group, queue, offset } => {
                let before = state.stored.insert((group, queue), offset);
                self.met.note(before.is_some_and(|before| offset < before), "told.offset_lost");
            }
            Kind::OffsetsTaken => {
                state.taken.insert(event.node);
                state.unpersisted.remove(&event.node);
            }
            Kind::OffsetsPersisted => drop(state.taken.remove(&event.node)),
            Kind::Leaves { .. } => self.met.note(true, "told.member_left"),
            Kind::Locks { queue, client, held: true, .. } => {
                let before = state.locks.insert((event.node, queue), client);
                self.met.note(before.is_some_and(|before| before != client), "told.lock_lapsed");
            }
            Kind::Unlocks { queue, client, .. } if state.locks.get(&(event.node, queue)) == Some(&client) => {
                state.locks.remove(&(event.node, queue));
            }
            _ => {}
        }
    }

    fn routes(&mut self, event: &Event) {
        match event.kind {
            Kind::Registered { broker, .. } => {
                self.met.note(self.state.removed.remove(&broker), "told.ns_registered_again");
            }
            Kind::Removed { broker, why } => {
                self.state.removed.insert(broker);
                self.met.note(why == Why::Closed, "told.ns_closed");
            }
            Kind::Routes { brokers, .. } => {
                let known = brokers.count_ones() as usize;
                self.met.note(known == 0, "told.ns_knows_none");
                self.met.note(known > 0 && known < self.view.history.brokers.len(), "told.ns_knows_some");
            }
            _ => {}
        }
    }

    fn waits(&mut self, event: &Event) {
        let node = event.node;
        let now = (self.deaths(node), self.state.changes.get(&node).copied().unwrap_or(0));
        let state = &mut self.state;
        match event.kind {
            Kind::Levels { .. } => *state.changes.entry(node).or_default() += 1,
            Kind::DelayStored { slot, .. } => {
                state.waiting.insert(slot, now);
                state.levels.insert(slot.queue);
                self.met.note(state.levels.len() >= 3, "told.delay_three_levels");
            }
            Kind::DelayDelivered { from, to } => {
                let Some(before) = state.waiting.remove(&from) else { return };
                let topic = self.view.history.queues[to.queue.index()].topic;
                let retry = self.view.history.groups.iter().any(|group| group.retry == topic);
                self.met.note(!retry && before.0 < now.0, "told.delay_after_restart");
                self.met.note(retry && before.0 < now.0, "told.retry_after_restart");
                self.met.note(before.1 < now.1, "told.delay_other_level");
                state.delivered.insert(from.queue, from.offset + 1);
            }
            Kind::DelayOffset { queue, offset, loaded: true } => {
                let behind = state.delivered.insert(queue, offset).is_some_and(|before| offset < before);
                self.met.note(behind, "told.delay_offset_behind");
            }
            Kind::SentBack { dead, code, .. } => {
                self.met.note(dead, "told.retry_dead");
                self.met.note(code != 0, "told.retry_unsure");
            }
            Kind::CopiedBack { done: true, .. } => self.met.note(true, "told.retry_copied"),
            _ => {}
        }
    }

    fn decides(&mut self, event: &Event) {
        let history = self.view.history;
        let state = &mut self.state;
        match event.kind {
            Kind::Decided { message, commit: Some(_) } => drop(state.decided.insert(message, 0)),
            Kind::Asked { half, commit } => {
                self.met.note(commit.is_none(), "told.half_asked_unknown");
                if commit.is_some() {
                    state.asked.insert(half);
                }
                let producer =
                    history.halves[half.index()].message.map(|id| history.messages[id.index()].producer);
                let node = producer.map(|producer| history.producers[producer as usize].node);
                self.met.note(node.is_some_and(|node| node != event.node), "told.half_asked_other");
            }
            Kind::HalfChecked { checks, .. } => self.met.note(checks >= 3, "told.half_checked_thrice"),
            Kind::HalfLoaded { half, .. } => {
                state.loaded.insert(half);
                self.met.note(true, "told.half_loaded");
            }
            Kind::HalfGivenUp { .. } => self.met.note(true, "told.half_given_up"),
            Kind::HalfEnded { half, commit, .. } => {
                self.met.note(!commit, "told.half_rolled_back");
                self.met.note(state.asked.remove(&half), "told.half_decided_by_check");
                self.met.note(state.loaded.remove(&half), "told.half_loaded_ended");
                if let Some(message) = history.halves[half.index()].message {
                    state.decided.remove(&message);
                }
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::{Audit, Broker, History};

    #[test]
    fn the_table_is_in_order() {
        assert!(TOLD.is_sorted(), "sort it");
    }

    #[test]
    fn a_crash_between_commit_and_persist_is_told_and_one_after_it_is_not() {
        let run = |persisted: bool| {
            let mut history = History::default();
            let b0 = history.node("b0");
            history.brokers.push(Broker { node: b0, sync_flush: false });
            let topic = history.topic("topic0");
            let queue = history.queue(topic, b0, 0);
            history.push(1, b0, Kind::Stored { group: GroupId(0), queue, offset: 5 });
            if persisted {
                history.push(2, b0, Kind::OffsetsTaken);
                history.push(3, b0, Kind::OffsetsPersisted);
            }
            history.push(4, b0, Kind::Down { how: How::Process });
            history.push(5, b0, Kind::Up);
            history.push(
                6,
                b0,
                Kind::Loaded { group: GroupId(0), queue, offset: if persisted { 5 } else { 2 } },
            );
            let audit = Audit::default();
            told(&View::new(&history, &audit)).into_keys().collect::<Vec<_>>()
        };
        assert_eq!(run(true), ["told.all_brokers_down"]);
        assert_eq!(run(false), ["told.all_brokers_down", "told.committed_then_died", "told.offset_lost"]);
    }

    #[test]
    fn a_loss_of_power_is_told_by_what_it_can_take() {
        let mut history = History::default();
        let b0 = history.node("b0");
        history.brokers.push(Broker { node: b0, sync_flush: true });
        let topic = history.topic("topic0");
        let queue = history.queue(topic, b0, 0);
        let slot = |offset| Slot { queue, offset };
        history.push(1, b0, Kind::Append { slot: slot(0), position: 0, end: 100 });
        history.push(2, b0, Kind::Dispatched { slot: slot(0) });
        history.push(3, b0, Kind::Acked { slot: slot(0), end: 100, code: 0 });
        history.push(4, b0, Kind::Append { slot: slot(1), position: 100, end: 200 });
        history.push(5, b0, Kind::Down { how: How::Power });
        history.push(6, b0, Kind::Up);
        history.push(7, b0, Kind::QueueRecovered { queue, min: 0, max: 0 });
        let audit = Audit::default();
        let met = told(&View::new(&history, &audit));
        for name in ["dispatch_behind_death", "flush_behind_power", "queue_rewound", "queue_rewound_acked"] {
            assert_eq!(met.get(&*format!("told.{name}")), Some(&1), "{met:?}");
        }
    }
}
