//! CON-4: a message that a group had consumed with success comes again only for a cause that can be named.
//!
//! A listener's success becomes durable in steps: the client keeps the lowest unfinished offset, tells the broker every
//! 5 s (first after 10 s) and when it gives a queue away, and the broker writes its table every 5 s (first after 10 s).
//! A crash may lose what had not gone all the way; a change of owner may overtake it by a moment.

use std::collections::{BTreeMap, BTreeSet};

use crate::check::view::{Delivery, Outage, Session};
use crate::check::{Judged, Rule, SECOND, View, seconds, witness};
use crate::history::{GroupId, Kind, MessageId, NodeId, Slot};

pub(super) fn check(view: &View<'_>, judged: &mut Judged) {
    let (ready, writings) = (Ready::collect(view), Writings::collect(view));
    let mut consumed: BTreeMap<(GroupId, Slot, MessageId), Delivery> = BTreeMap::new();
    let mut ends: Vec<(usize, usize)> = Vec::new(); // (event of success, delivery), in order of events
    ends.extend(view.deliveries.iter().enumerate().filter_map(|(index, it)| Some((it.succeeded?, index))));
    ends.sort_unstable();
    let mut ends = ends.into_iter().peekable();
    for delivery in &view.deliveries {
        while let Some((_, index)) = ends.next_if(|(event, _)| *event < delivery.entered) {
            let done = view.deliveries[index];
            if let Some(message) = done.message {
                consumed.insert((group_of(view, &done), done.slot, message), done);
            }
        }
        let Some(message) = delivery.message else { continue };
        judged.count(Rule::Con4, 1);
        let group = group_of(view, delivery);
        let Some(first) = consumed.get(&(group, delivery.slot, message)) else { continue };
        match cause(view, (&ready, &writings), first, delivery) {
            Some(cause) => *judged.repeats.entry(cause).or_default() += 1,
            None => {
                let sentence = format!(
                    "Message {} at {} was consumed by {} of group {} at {} and delivered again to {} at {} without a cause.",
                    view.history.message_name(message),
                    view.history.slot_name(delivery.slot),
                    view.history.member_name(first.member),
                    view.history.group_name(group),
                    seconds(view.at(first.succeeded.unwrap_or(first.entered))),
                    view.history.member_name(delivery.member),
                    seconds(view.at(delivery.entered)),
                );
                let witness = witness(view.history, Some(message), delivery.slot.queue, delivery.slot.offset);
                judged.broken(view, Rule::Con4, delivery.entered, witness, sentence);
            }
        }
    }
}

/// Why this delivery may follow that success.
fn cause(
    view: &View<'_>,
    (ready, writings): (&Ready, &Writings),
    first: &Delivery,
    again: &Delivery,
) -> Option<&'static str> {
    let history = view.history;
    let broker = history.queues[first.slot.queue.index()].broker;
    let done = first.succeeded.unwrap_or(first.entered);
    if view.rewound(first.slot, first.entered) {
        return Some("queue lost its tail");
    }
    if view.offsets_forgotten(first.slot.queue, first.entered, again.entered) {
        return Some("deletion of the topic that was begun and not ended");
    }
    let (Some(old), Some(new)) = (first.session, again.session) else {
        // Without taps an ownership is not seen: any change since then counts.
        let down = |outage: &Outage| outage.event > done && outage.event < again.entered;
        let touched = |node| view.disturbed(node, view.at(done), view.at(again.entered));
        // The success may be known to a broker that is dying, or to nobody when it comes after that.
        let late = |outage: &Outage| outage.until_ns >= view.at(done) && outage.event < again.entered;
        let changed = first.member != again.member
            || view.outages_of(broker).iter().any(down)
            || view.history.untapped
                && (touched(broker) || view.outages_of(broker).iter().any(late) || moved(view, first, again));
        return changed.then_some("change of owner or broker crash, not seen by taps");
    };
    if old == new {
        return None;
    }
    let (old_session, new_session) = (view.sessions[old.index()], view.sessions[new.index()]);
    let began = view.at(new_session.started);
    let Some(ready) = ready.at(old, first.slot.offset) else {
        return Some("above an unfinished message");
    };
    let (old_node, new_node) = (node_of(view, &old_session), node_of(view, &new_session));
    let ended = view.session_end(&old_session);
    let losable = |until: u64| ready + SLACK + persist_within(view, old_node, until) > until;
    if old_session.crashed && losable(ended) {
        return Some("crash of the consumer");
    }
    if !old_session.crashed && ready > ended {
        return Some("finished after the queue was given away");
    }
    if began < ended.saturating_add(COMMIT) && losable(began) {
        return Some("taken over before the commit arrived");
    }
    let lost_by = |outage: &Outage| {
        let both =
            persist_within(view, old_node, outage.from_ns) + persist_within(view, broker, outage.from_ns);
        outage.from_ns < began && outage.until_ns > ready && ready + both + SLACK > outage.from_ns
    };
    if view.outages_of(broker).iter().any(lost_by) {
        return Some("crash of the broker");
    }
    let refused = |outage: &Outage| {
        let on_its_way = ready + persist_within(view, old_node, outage.from_ns) + SLACK;
        let kept = writings.kept_in_vain(broker, outage.from_ns);
        outage.from_ns < began && outage.from_ns > ready && kept.is_some_and(|kept| on_its_way > kept)
    };
    if view.outages_of(broker).iter().any(refused) {
        return Some("end of a broker that could not write its offsets");
    }
    let not_reached =
        |outage: &Outage| outage.until_ns <= ready && ended < outage.until_ns.saturating_add(RECONNECT);
    if view.outages_of(broker).iter().any(not_reached) {
        return Some("given away before the broker that came back was reached");
    }
    let until = began.max(view.at(again.entered));
    if [old_node, new_node, broker].iter().any(|node| view.disturbed(*node, ready, until)) {
        return Some("fault on the way of the commit");
    }
    None
}

/// True when the group's members or their links changed so that queues may have gone to another member and come back,
/// unseen without taps.
fn moved(view: &View<'_>, first: &Delivery, again: &Delivery) -> bool {
    let history = view.history;
    let group = group_of(view, first);
    let since = view.at(first.entered).saturating_sub(REBALANCED);
    let begun = history.events.partition_point(|event| event.at_ns < since);
    let member = |node| history.members.iter().any(|it| it.group == group && it.node == node);
    let nodes = history.members.iter().filter(|it| it.group == group).map(|it| it.node);
    let changes =
        |kind| matches!(kind, Kind::Joined { .. } | Kind::Leaves { .. } | Kind::Down { .. } | Kind::Up);
    let mut events = history.events[begun..again.entered].iter();
    let routes = view.troubles().into_iter().any(|trouble| {
        trouble.node.is_none() && trouble.from_ns <= view.at(again.entered) && trouble.until_ns >= since
    });
    routes
        || events.any(|event| member(event.node) && changes(event.kind))
        || nodes.into_iter().any(|node| view.disturbed(node, since, view.at(again.entered)))
}

/// The longest time a change stays with this node before the next periodic write covers it.
fn persist_within(view: &View<'_>, node: NodeId, at: u64) -> u64 {
    let started =
        view.outages_of(node).iter().map(|outage| outage.until_ns).filter(|up| *up <= at).max().unwrap_or(0);
    if at - started < FIRST + EVERY + SLACK { FIRST } else { EVERY }
}

fn group_of(view: &View<'_>, delivery: &Delivery) -> GroupId {
    view.history.members[delivery.member.index()].group
}

fn node_of(view: &View<'_>, session: &Session) -> NodeId {
    view.history.members[session.member.index()].node
}

/// By broker: when it began to write its table of offsets, and whether that succeeded.
struct Writings(BTreeMap<NodeId, Vec<(u64, bool)>>);

impl Writings {
    fn collect(view: &View<'_>) -> Self {
        let mut writings: BTreeMap<NodeId, Vec<(u64, bool)>> = BTreeMap::new();
        for event in &view.history.events {
            match event.kind {
                Kind::OffsetsTaken => writings.entry(event.node).or_default().push((event.at_ns, false)),
                Kind::OffsetsPersisted => {
                    let last = writings.get_mut(&event.node).and_then(|list| list.last_mut());
                    last.into_iter().for_each(|last| last.1 = true);
                }
                _ => {}
            }
        }
        Self(writings)
    }

    /// When the broker took the last table before this time that it could write, if it tried in vain to write a later one.
    fn kept_in_vain(&self, broker: NodeId, before: u64) -> Option<u64> {
        let all = self.0.get(&broker)?;
        let before = &all[..all.partition_point(|(at, _)| *at < before)];
        let in_vain = before.last().is_some_and(|(_, done)| !done);
        in_vain.then(|| before.iter().rfind(|(_, done)| *done).map_or(0, |(at, _)| *at))
    }
}

/// By session: from when on everything up to an offset was finished, so that a commit could cover it.
struct Ready(Vec<Vec<(u64, Option<u64>)>>);

impl Ready {
    fn collect(view: &View<'_>) -> Self {
        let mut sessions: Vec<Vec<(u64, Option<u64>)>> = vec![Vec::new(); view.sessions.len()];
        // A filter passes these.
        let mut wanted: BTreeSet<(GroupId, Slot)> = BTreeSet::new();
        for delivery in &view.deliveries {
            wanted.insert((group_of(view, delivery), delivery.slot));
            if let Some(session) = delivery.session {
                sessions[session.index()]
                    .push((delivery.slot.offset, delivery.succeeded.map(|event| view.at(event))));
            }
        }
        for (finished, session) in sessions.iter_mut().zip(&view.sessions) {
            let group = view.history.members[session.member.index()].group;
            let filtered = view.history.groups[group.index()].tag.is_some();
            finished.sort_unstable();
            let (mut next, mut latest) = (session.offset, Some(0));
            let slot = |offset| (group, Slot { queue: session.queue, offset });
            for (offset, at) in finished.iter_mut() {
                let hole =
                    *offset > next && (!filtered || wanted.range(slot(next)..slot(*offset)).next().is_some());
                next = *offset + 1;
                latest = if hole { None } else { latest.zip(*at).map(|(latest, at)| latest.max(at)) };
                *at = latest;
            }
        }
        Self(sessions)
    }

    fn at(&self, session: crate::history::SessionId, offset: u64) -> Option<u64> {
        let finished = &self.0[session.index()];
        let place = finished.binary_search_by_key(&offset, |entry| entry.0).ok()?;
        finished[place].1
    }
}

/// So long after a change of members queues go from hand to hand.
const REBALANCED: u64 = 60 * SECOND;
/// What a commit takes on its way when nothing is wrong.
const COMMIT: u64 = SECOND / 5;
/// So long a client may wait before it tries a broker again that it could not reach.
const RECONNECT: u64 = 5 * SECOND / 2 + COMMIT;
/// First periodic write after a start, of client and broker.
const FIRST: u64 = 10 * SECOND;
/// Period after that.
const EVERY: u64 = 5 * SECOND;
/// For the way, the turn and the disk.
const SLACK: u64 = 2 * SECOND;

#[cfg(test)]
mod tests {
    use crate::check::script::{Expect, Script, run};
    use crate::history::How;

    #[test]
    fn a_repeat_needs_a_cause() {
        run("CON-4", Expect::Broken, "twice in one ownership", |s: &mut Script| {
            s.ok("a", "q", 0);
            s.session("c0", "q", 0);
            s.deliver("c0", "q", 0, "a");
            s.deliver("c0", "q", 0, "a");
        });
        run("CON-4", Expect::Broken, "finished long before the consumer died", |s| {
            s.ok("a", "q", 0);
            s.wait(30.0);
            s.session("c0", "q", 0);
            s.deliver("c0", "q", 0, "a");
            s.wait(30.0);
            s.crash("c0", How::Process);
            s.session("c1", "q", 0);
            s.deliver("c1", "q", 0, "a");
        });
        run("CON-4", Expect::Broken, "the queue was given away without a commit", |s| {
            s.ok("a", "q", 0);
            s.session("c0", "q", 0);
            s.deliver("c0", "q", 0, "a");
            s.wait(1.0);
            s.end("c0", "q");
            s.wait(2.0);
            s.session("c1", "q", 0);
            s.deliver("c1", "q", 0, "a");
        });
        run("CON-4", Expect::Broken, "nor was it half a second later", |s| {
            s.ok("a", "q", 0);
            s.session("c0", "q", 0);
            s.deliver("c0", "q", 0, "a");
            s.end("c0", "q");
            s.wait(0.5);
            s.session("c1", "q", 0);
            s.deliver("c1", "q", 0, "a");
        });
        run("CON-4", Expect::Kept, "the commit was still on its way", |s| {
            s.ok("a", "q", 0);
            s.session("c0", "q", 0);
            s.deliver("c0", "q", 0, "a");
            s.end("c0", "q");
            s.wait(0.1);
            s.session("c1", "q", 0);
            s.deliver("c1", "q", 0, "a");
        });
        run("CON-4", Expect::Kept, "the consumer died before its next commit", |s| {
            s.ok("a", "q", 0);
            s.session("c0", "q", 0);
            s.deliver("c0", "q", 0, "a");
            s.wait(4.0);
            s.crash("c0", How::Process);
            s.wait(20.0);
            s.session("c1", "q", 0);
            s.deliver("c1", "q", 0, "a");
        });
        run("CON-4", Expect::Kept, "a slow message held the commit back", |s| {
            s.ok("a", "q", 0);
            s.ok("b", "q", 1);
            s.session("c0", "q", 0);
            s.enter("c0", "q", 0, "a");
            s.deliver("c0", "q", 1, "b");
            s.wait(60.0);
            s.crash("c0", How::Process);
            s.session("c1", "q", 0);
            s.deliver("c1", "q", 1, "b");
        });
        let filtered = |first: u32| {
            move |s: &mut Script| {
                s.filter(1);
                s.ok("a", "q", 0);
                s.ok("b", "q", 1);
                s.tag("a", first);
                s.tag("b", 1);
                s.session("c0", "q", 0);
                s.deliver("c0", "q", 1, "b");
                s.end("c0", "q");
                s.wait(2.0);
                s.session("c1", "q", 0);
                if first == 1 {
                    s.deliver("c1", "q", 0, "a");
                }
                s.deliver("c1", "q", 1, "b");
            }
        };
        run("CON-4", Expect::Kept, "one that the filter passes had not come to the listener", filtered(1));
        run("CON-4", Expect::Broken, "the filter refuses the one below", filtered(2));
        run("CON-4", Expect::Kept, "finished after the queue was given away", |s| {
            s.ok("a", "q", 0);
            s.session("c0", "q", 0);
            s.enter("c0", "q", 0, "a");
            s.end("c0", "q");
            s.wait(2.0);
            s.exit("c0", "q", 0);
            s.session("c1", "q", 0);
            s.deliver("c1", "q", 0, "a");
        });
        let twice_at_once = |ends: usize| {
            move |s: &mut Script| {
                s.ok("a", "q", 0);
                s.session("c0", "q", 0);
                s.enter("c0", "q", 0, "a");
                s.end("c0", "q");
                s.wait(1.0);
                s.session("c0", "q", 0);
                s.enter("c0", "q", 0, "a");
                s.wait(1.0);
                (0..ends).for_each(|_| s.exit("c0", "q", 0));
                s.wait(1.0);
                s.end("c0", "q");
                s.wait(1.0);
                s.session("c1", "q", 0);
                s.deliver("c1", "q", 0, "a");
            }
        };
        run("CON-4", Expect::Kept, "the success was that of an ownership before", twice_at_once(1));
        run("CON-4", Expect::Broken, "both had ended well", twice_at_once(2));
        run("CON-4", Expect::Kept, "the broker was down when the queue was given away", |s| {
            s.ok("a", "q", 0);
            s.session("c0", "q", 0);
            s.wait(60.0);
            s.enter("c0", "q", 0, "a");
            s.down("b0", How::Process);
            s.exit("c0", "q", 0);
            s.wait(30.0);
            s.end("c0", "q");
            s.up("b0");
            s.wait(5.0);
            s.session("c0", "q", 0);
            s.deliver("c0", "q", 0, "a");
        });
        let given_away_after = |seconds: f64| {
            move |s: &mut Script| {
                s.ok("a", "q", 0);
                s.session("c0", "q", 0);
                s.wait(60.0);
                s.enter("c0", "q", 0, "a");
                s.down("b0", How::Stop);
                s.wait(30.0);
                s.up("b0");
                s.exit("c0", "q", 0);
                s.wait(seconds);
                s.end("c0", "q");
                s.wait(5.0);
                s.session("c1", "q", 0);
                s.deliver("c1", "q", 0, "a");
            }
        };
        run("CON-4", Expect::Kept, "the broker had come back and was not reached yet", given_away_after(2.0));
        run("CON-4", Expect::Broken, "it was reached again long before", given_away_after(3.0));
        let broker_ends = |written: bool| {
            move |s: &mut Script| {
                s.ok("a", "q", 0);
                s.session("c0", "q", 0);
                s.deliver("c0", "q", 0, "a");
                s.stored("q", 1);
                s.wait(60.0);
                if written {
                    s.persisted("b0")
                } else {
                    s.taken("b0")
                }
                s.crash("b0", How::Process);
                s.wait(60.0);
                s.end("c0", "q");
                s.session("c1", "q", 0);
                s.deliver("c1", "q", 0, "a");
            }
        };
        run("CON-4", Expect::Kept, "the broker could not write its offsets", broker_ends(false));
        run("CON-4", Expect::Broken, "it had written them", broker_ends(true));
        run("CON-4", Expect::Kept, "two groups are two consumers", |s| {
            s.second_group();
            s.ok("a", "q", 0);
            s.deliver("c0", "q", 0, "a");
            s.deliver("d0", "q", 0, "a");
        });
    }
}
