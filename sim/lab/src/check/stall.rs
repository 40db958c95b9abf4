//! L-9 and CON-8: nothing stands still, and nothing runs in circles.

use std::collections::{BTreeMap, BTreeSet};

use super::{Judged, Rule, SECOND, View, seconds};
use crate::history::{GroupId, Kind, NodeId, QueueId, Slot};

pub(super) fn check(view: &View<'_>, judged: &mut Judged) {
    stalls(view, judged);
    circles(view, judged);
    others_go_on(view, judged);
}

/// L-9: from the end of the faults to the end of the drain some call of a client returns in each minute.
fn stalls(view: &View<'_>, judged: &mut Judged) {
    let history = view.history;
    let (Some((healed, heal_ns)), Some((drained, ..))) = (view.heal, view.drained) else { return };
    let owns = |node: NodeId| !view.outside(node);
    let pulls = view.sessions.iter().any(|session| {
        owns(history.members[session.member.index()].node) && session.ended.is_none_or(|end| end > drained)
    });
    if !pulls {
        return; // nobody has anything to ask for
    }
    let mut latest = heal_ns;
    for (number, event) in (healed..).zip(&history.events[healed..=drained]) {
        let completes = matches!(
            event.kind,
            Kind::Sent { .. } | Kind::Pulled { .. } | Kind::Exit { .. } | Kind::Drained { .. }
        );
        if !completes {
            continue;
        }
        judged.count(Rule::L9, 1);
        if event.at_ns > latest + STALL {
            let sentence = format!(
                "From {} on no call of any client returned for {}, though the faults were over.",
                seconds(latest),
                seconds(event.at_ns - latest)
            );
            judged.broken(view, Rule::L9, number, "all clients".to_owned(), sentence);
        }
        latest = event.at_ns;
    }
}

/// L-9: no task is polled again and again while time stands.
fn circles(view: &View<'_>, judged: &mut Judged) {
    for (number, event) in view.history.events.iter().enumerate() {
        if event.kind == Kind::Spun {
            let name = view.history.node_name(event.node).to_owned();
            let sentence = format!("A task of {name} was polled 1,000 times at {}.", seconds(event.at_ns));
            judged.broken(view, Rule::L9, number, name, sentence);
        }
    }
}

/// CON-8: a group goes on with a queue that nothing is wrong with, whatever befalls other brokers and other messages.
fn others_go_on(view: &View<'_>, judged: &mut Judged) {
    let history = view.history;
    let mut readable: BTreeMap<Slot, u64> = BTreeMap::new();
    let mut entered: BTreeMap<(GroupId, Slot), u64> = BTreeMap::new();
    let mut entries: BTreeMap<GroupId, Vec<u64>> = BTreeMap::new();
    // When the group could not handle something.
    let mut failing: BTreeMap<GroupId, Vec<u64>> = BTreeMap::new();
    let mut moves: BTreeMap<GroupId, Vec<u64>> = BTreeMap::new();
    for event in &history.events {
        match event.kind {
            Kind::Dispatched { slot } => drop(readable.entry(slot).or_insert(event.at_ns)),
            Kind::Enter { member, slot, .. } => {
                let group = history.members[member.index()].group;
                entered.entry((group, slot)).or_insert(event.at_ns);
                entries.entry(group).or_default().push(event.at_ns);
            }
            Kind::Exit { member, ok: false, .. } => {
                failing.entry(history.members[member.index()].group).or_default().push(event.at_ns);
            }
            Kind::Joined { member } | Kind::Leaves { member } => {
                moves.entry(history.members[member.index()].group).or_default().push(event.at_ns);
            }
            _ => {}
        }
    }
    let troubles = view.troubles();
    let stuck = stuck(view);
    let within = |times: Option<&Vec<u64>>, from: u64, until: u64| {
        let times = times.map_or(&[][..], Vec::as_slice);
        times.partition_point(|at| *at < until) - times.partition_point(|at| *at < from)
    };
    let end = view.heal.map_or(history.events.last().map_or(0, |last| last.at_ns), |(_, at_ns)| at_ns);
    let mut told: BTreeSet<(GroupId, QueueId)> = BTreeSet::new();
    for (index, group) in (0..).map(GroupId).zip(&history.groups) {
        let (group, topic) = (index, group.topic);
        let nodes: Vec<NodeId> =
            history.members.iter().filter(|it| it.group == group).map(|it| it.node).collect();
        for (slot, since) in
            readable.iter().filter(|(slot, _)| history.queues[slot.queue.index()].topic == topic)
        {
            let until = entered.get(&(group, *slot)).copied().unwrap_or(end).min(end);
            let Some(from) = until.checked_sub(GOES_ON).filter(|from| from >= since) else { continue };
            // A group that comes late, or stands still, finds it gone.
            if view.made_room(*slot) || view.before_start(group, *slot) {
                continue;
            }
            let broker = history.queues[slot.queue.index()].broker;
            let calm = from.saturating_sub(CALM);
            let touches = |node: NodeId| {
                let mut troubles = troubles.iter();
                troubles.any(|it| {
                    it.touches(node) && it.from_ns <= until && it.until_ns.saturating_add(CALM) >= from
                })
            };
            let elsewhere =
                troubles.iter().any(|it| it.node.is_some() && it.from_ns <= until && it.until_ns >= from)
                    || within(failing.get(&group), from, until) > 0;
            let moved = within(moves.get(&group), calm, until) > 0;
            // Who is stuck has a thread of its group.
            let held = stuck.iter().any(|it| it.0 == group && it.1 <= until && it.2 >= from);
            if !elsewhere || moved || held || touches(broker) || nodes.iter().any(|node| touches(*node)) {
                continue;
            }
            judged.count(Rule::Con8, 1);
            // A group that is busy with others comes to it later.
            let busy = within(entries.get(&group), from, until) >= FEW;
            let taken = view.sessions.iter().any(|session| {
                session.queue == slot.queue
                    && history.members[session.member.index()].group == group
                    && view.at(session.started) < from
                    && view.session_end(session) > until
            });
            let matches = history.groups[group.index()].tag.is_none();
            if !busy && taken && matches && told.insert((group, slot.queue)) {
                let number = history.events.partition_point(|event| event.at_ns < until);
                let name = history.slot_name(*slot);
                let sentence = format!(
                    "{name} could be read from {} on, and group {} got nothing of its queue until {}, though nothing was wrong with either; something was wrong elsewhere.",
                    seconds(*since),
                    history.group_name(group),
                    seconds(until)
                );
                judged.broken(view, Rule::Con8, number.min(view.last()), name, sentence);
            }
        }
    }
}

/// Groups whose listeners worked on one message for long: from when to when.
fn stuck(view: &View<'_>) -> Vec<(GroupId, u64, u64)> {
    let long = view.deliveries.iter().filter_map(|delivery| {
        let from = view.at(delivery.entered);
        let end = delivery.succeeded.or(delivery.deferred);
        let until = end.map_or(from + STUCK_MOST, |end| view.at(end));
        let group = view.history.members[delivery.member.index()].group;
        (until - from >= STUCK).then_some((group, from, until))
    });
    long.collect()
}

/// Some call returns within this.
const STALL: u64 = 60 * SECOND;
/// A message that waits in a queue that nothing is wrong with is taken within this.
const GOES_ON: u64 = 20 * SECOND;
/// Long enough after a fault for clients to know it is over, and after a change of members to share anew.
const CALM: u64 = 45 * SECOND;
/// A listener that works for so long is stuck.
const STUCK: u64 = 5 * SECOND;
/// One of which no end is known, because its member died with it, counts so long.
const STUCK_MOST: u64 = 60 * SECOND;
/// A group that takes so many messages meanwhile does not stand still.
const FEW: usize = 10;

#[cfg(test)]
mod tests {
    use super::super::script::{Expect, Script, run};

    #[test]
    fn some_call_returns_in_each_minute() {
        run("L-9", Expect::Broken, "nobody pulls any more", |s: &mut Script| {
            s.session("c0", "q", 0);
            s.heal();
            s.pulled("q", 0, 0, 0);
            s.wait(61.0);
            s.drained(0);
        });
        run("L-9", Expect::Broken, "a pause between two pulls", |s| {
            s.session("c0", "q", 0);
            s.heal();
            s.wait(70.0);
            s.pulled("q", 0, 0, 0);
            s.drained(0);
        });
        run("L-9", Expect::Broken, "a task runs in circles", |s| s.spun("b0"));
        run("L-9", Expect::Broken, "one of a client does, while others work", |s| {
            s.ok("a", "q", 0);
            s.spun("c0");
            s.deliver("c0", "q", 0, "a");
        });
        run("L-9", Expect::Kept, "pulls that find nothing", |s| {
            s.session("c0", "q", 0);
            s.heal();
            for _ in 0..10 {
                s.wait(20.0);
                s.pulled("q", 0, 0, 0);
            }
            s.drained(0);
        });
        run("L-9", Expect::Kept, "faults are still on", |s| {
            s.session("c0", "q", 0);
            s.wait(100.0);
            s.heal();
            s.pulled("q", 0, 0, 0);
            s.drained(0);
        });
        run("L-9", Expect::Kept, "the only one who owns a queue is cut off for good", |s| {
            s.session("c0", "q", 0);
            s.stays(&["c0"]);
            s.heal();
            s.wait(100.0);
            s.drained(0);
        });
    }

    /// The group owns a queue, and another broker is in trouble for so long.
    fn elsewhere(s: &mut Script, seconds: f64) {
        s.session("c0", "q", 0);
        s.wait(60.0);
        let fault = s.begin(&["b1"]);
        s.wait(1.0);
        s.dispatched("q", 0);
        s.wait(seconds);
        s.deliver("c0", "q", 0, "a");
        s.over(fault);
    }

    #[test]
    fn other_queues_go_on() {
        run("CON-8", Expect::Broken, "a group waits for another broker", |s: &mut Script| elsewhere(s, 21.0));
        run("CON-8", Expect::Broken, "a message that fails holds up another queue", |s| {
            s.session("c0", "q", 0);
            s.session("c0", "r", 0);
            s.wait(60.0);
            s.dispatched("q", 0);
            s.dispatched("r", 0);
            s.enter("c0", "r", 0, "b");
            s.defers("c0", "r", 0);
            s.wait(10.0);
            s.enter("c0", "r", 0, "b");
            s.defers("c0", "r", 0);
            s.wait(15.0);
            s.deliver("c0", "q", 0, "a");
        });
        run("CON-8", Expect::Broken, "a disk was full before, and it is there", |s| {
            s.full("b0");
            elsewhere(s, 21.0);
            s.range("q", 0, 1);
        });
        run("CON-8", Expect::Kept, "room was made with it", |s| {
            s.full("b0");
            elsewhere(s, 21.0);
            s.range("q", 1, 1);
        });
        run("CON-8", Expect::Broken, "its listener worked for a moment", |s| {
            s.enter("c0", "q", 7, "b");
            s.wait(4.0);
            s.exit("c0", "q", 7);
            elsewhere(s, 21.0);
        });
        run("CON-8", Expect::Kept, "its listener is stuck with another message", |s| {
            s.enter("c0", "q", 7, "b");
            elsewhere(s, 21.0);
            s.exit("c0", "q", 7);
        });
        run("CON-8", Expect::Kept, "a moment", |s| elsewhere(s, 19.0));
        run("CON-8", Expect::Kept, "its member stands still", |s| {
            s.begin(&["c0"]);
            elsewhere(s, 30.0);
        });
        run("CON-8", Expect::Kept, "it is the broker in trouble", |s| {
            s.begin(&["b0"]);
            elsewhere(s, 30.0);
        });
        run("CON-8", Expect::Kept, "a member came", |s| {
            s.wait(60.0);
            s.joined("c1");
            s.session("c0", "q", 0);
            let fault = s.begin(&["b1"]);
            s.dispatched("q", 0);
            s.wait(25.0);
            s.deliver("c0", "q", 0, "a");
            s.over(fault);
        });
    }
}
