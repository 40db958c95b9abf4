//! L-11: a member that waits at the end of a queue gets the next message at once.

use std::collections::{BTreeMap, BTreeSet};

use super::live::WAITED;
use super::{Judged, Rule, SECOND, View, seconds};
use crate::history::{Kind, MessageId, NodeId, Outcome, QueueId, SessionId, Slot, TopicId};

/// A message that somebody who had everything before it waits for.
#[derive(Clone, Copy)]
struct Due {
    slot: Slot,
    since: u64,
    event: usize,
}

pub(super) fn check(view: &View<'_>, judged: &mut Judged) {
    let history = view.history;
    let mut messages: BTreeMap<Slot, MessageId> = BTreeMap::new();
    for content in &view.audit.queues {
        for read in &content.read {
            let slot = Slot { queue: content.queue, offset: read.offset };
            messages.extend(read.message.map(|message| (slot, message)));
        }
    }
    let troubles = view.troubles();
    let quiet = |node: NodeId, from: u64, until: u64| {
        !troubles.iter().any(|trouble| {
            trouble.touches(node) && trouble.from_ns <= until && trouble.until_ns.saturating_add(CALM) >= from
        })
    };
    waits(view, &quiet, judged);
    let mut next: Vec<u64> = view.sessions.iter().map(|session| session.offset).collect();
    let mut live: BTreeMap<QueueId, Vec<SessionId>> = BTreeMap::new();
    let mut due: BTreeMap<SessionId, Due> = BTreeMap::new();
    // Who was told that there is no such topic, or no such queue, asks again after a second.
    let mut made: BTreeMap<(TopicId, NodeId), u64> = BTreeMap::new();
    // Nor may anybody have read what nobody could write to a moment ago.
    let mut refused: BTreeMap<TopicId, u64> = BTreeMap::new();
    // What a member has of its queue and is not done with.
    let mut unfinished: BTreeMap<SessionId, BTreeSet<u64>> = BTreeMap::new();
    for (number, event) in history.events.iter().enumerate() {
        match event.kind {
            Kind::SessionStart { session, queue, .. } => live.entry(queue).or_default().push(session),
            Kind::TopicSet { topic, broker, .. } => drop(made.insert((topic, broker), event.at_ns)),
            Kind::Sent { message, outcome: Outcome::Failed, .. } => {
                refused.insert(history.messages[message.index()].topic, event.at_ns);
            }
            Kind::Dispatched { slot } => {
                let queue = history.queues[slot.queue.index()];
                let made = made.get(&(queue.topic, queue.broker)).into_iter();
                if made.chain(refused.get(&queue.topic)).any(|at| event.at_ns < at + YOUNG) {
                    continue;
                }
                for &session in live.get(&slot.queue).into_iter().flatten() {
                    let whole = view.sessions[session.index()];
                    let group = history.members[whole.member.index()].group;
                    // A filter makes the broker wait over what it refuses: only all that is taken is looked at.
                    let waits = history.groups[group.index()].tag.is_none()
                        && next[session.index()] == slot.offset
                        && !unfinished.get(&session).is_some_and(is_full);
                    if waits && whole.ended.is_none_or(|ended| ended > number) && messages.contains_key(&slot)
                    {
                        due.entry(session).or_insert(Due { slot, since: event.at_ns, event: number });
                    }
                }
            }
            Kind::Exit { member, slot, .. } => {
                for session in live.get(&slot.queue).into_iter().flatten() {
                    if view.sessions[session.index()].member == member
                        && let Some(offsets) = unfinished.get_mut(session)
                    {
                        offsets.remove(&slot.offset);
                    }
                }
            }
            Kind::Pulled { session, from, next: to, .. } => {
                next[session.index()] = to;
                let queue = view.sessions[session.index()].queue;
                let there =
                    (from..to).filter(|offset| messages.contains_key(&Slot { queue, offset: *offset }));
                unfinished.entry(session).or_default().extend(there);
                let Some(Due { slot, since, event: dispatched }) = due.remove(&session) else { continue };
                let whole = view.sessions[session.index()];
                let (member, broker) =
                    (history.members[whole.member.index()].node, history.queues[slot.queue.index()].broker);
                if !quiet(member, since, event.at_ns) || !quiet(broker, since, event.at_ns) {
                    continue;
                }
                judged.count(Rule::L11, 1);
                judged.worst(WAITED, (event.at_ns - since) / 1_000_000);
                if event.at_ns > since + BOUND {
                    let sentence = format!(
                        "{} waited for {}, which could be read from {} on, and got it {} later.",
                        history.node_name(member),
                        history.slot_name(slot),
                        seconds(since),
                        seconds(event.at_ns - since)
                    );
                    judged.broken(view, Rule::L11, dispatched, history.slot_name(slot), sentence);
                }
            }
            Kind::SessionEnd { session } => {
                due.remove(&session);
                live.entry(view.sessions[session.index()].queue)
                    .or_default()
                    .retain(|known| *known != session);
            }
            Kind::Down { .. } => {
                due.clear();
                let ended = |session: &SessionId| {
                    view.sessions[session.index()].ended.is_some_and(|ended| ended <= number)
                };
                live.values_mut().for_each(|sessions| sessions.retain(|session| !ended(session)));
            }
            _ => {}
        }
    }
}

/// Who waits in vain has his answer when his time is over.
fn waits(view: &View<'_>, quiet: &dyn Fn(NodeId, u64, u64) -> bool, judged: &mut Judged) {
    let history = view.history;
    for (number, event) in history.events.iter().enumerate() {
        let Kind::Waited { queue, asked_ns, hold_ms, found: false } = event.kind else { continue };
        if !quiet(event.node, asked_ns, event.at_ns) {
            continue;
        }
        judged.count(Rule::L11, 1);
        if event.at_ns > asked_ns + u64::from(hold_ms) * 1_000_000 + SECOND {
            let name = history.queue_name(queue);
            let sentence = format!(
                "Who asked at {} for what comes behind the end of {name}, and would wait for {hold_ms} ms, was told {} \
                 later that there is nothing.",
                seconds(asked_ns),
                seconds(event.at_ns - asked_ns)
            );
            judged.broken(view, Rule::L11, number, name, sentence);
        }
    }
}

/// A member that has so much of a queue asks for more only when some of it is done.
fn is_full(unfinished: &BTreeSet<u64>) -> bool {
    let span = unfinished.first().zip(unfinished.last()).map_or(0, |(first, last)| last - first);
    unfinished.len() > MOST_HELD || span > LONGEST_SPAN
}

/// So many messages of one queue a client has before it may stop to pull: a thousand, and of those that its listener failed
/// with some may still be there, as nobody has taken them back.
const MOST_HELD: usize = 900;
/// As far apart are the first and the last of them at most.
const LONGEST_SPAN: u64 = 2000;
/// The rule's own.
const BOUND: u64 = SECOND / 5;
/// So long after its topic was made or changed a queue is young.
const YOUNG: u64 = 2 * SECOND;
/// So long after a trouble connections and owners have been found again.
const CALM: u64 = 40 * SECOND;

#[cfg(test)]
mod tests {
    use super::super::script::{Expect, Script, run};
    use crate::history::{How, Outcome};

    #[test]
    fn who_waits_in_vain_is_told_when_his_time_is_over() {
        let after = |seconds: f64| {
            move |s: &mut Script| {
                s.name_queue("q");
                s.wait(20.0);
                s.waited("q", seconds, 3000);
            }
        };
        run("L-11", Expect::Broken, "long after it", after(15.0));
        run("L-11", Expect::Broken, "a little too late", after(4.1));
        run("L-11", Expect::Kept, "in time", after(3.01));
        run("L-11", Expect::Kept, "before it, as older brokers do", after(0.5));
        run("L-11", Expect::Kept, "its broker stands still", |s: &mut Script| {
            s.name_queue("q");
            let fault = s.begin(&["b0"]);
            s.wait(20.0);
            s.over(fault);
            s.waited("q", 15.0, 3000);
        });
    }

    #[test]
    fn who_waits_gets_the_message_at_once() {
        run("L-11", Expect::Broken, "found when the next one came", |s: &mut Script| {
            s.session("c0", "q", 0);
            s.ok("a", "q", 0);
            s.dispatched("q", 0);
            s.wait(1.0);
            s.pulled("q", 0, 1, 1);
            s.holds("q", &["a"]);
        });
        run("L-11", Expect::Broken, "found when the time was over", |s| {
            s.session("c0", "q", 0);
            s.ok("a", "q", 0);
            s.dispatched("q", 0);
            s.pulled("q", 0, 1, 1);
            s.ok("b", "q", 1);
            s.dispatched("q", 1);
            s.wait(15.0);
            s.pulled("q", 1, 2, 1);
            s.holds("q", &["a", "b"]);
        });
        // So long before the message there was this.
        let after = |what: fn(&mut Script), before: f64| {
            move |s: &mut Script| {
                s.session("c0", "q", 0);
                what(s);
                s.wait(before);
                s.ok("a", "q", 0);
                s.dispatched("q", 0);
                s.wait(0.9);
                s.pulled("q", 0, 1, 1);
                s.holds("q", &["a"]);
            }
        };
        let made = |before: f64| after(|s| s.queues("b0", 4, 4), before);
        let refused = |before: f64| after(|s| s.sent("b", Outcome::Failed, None), before);
        run("L-11", Expect::Broken, "its topic took no messages long before", refused(3.0));
        run("L-11", Expect::Kept, "its topic took no messages a moment before", refused(0.1));
        run("L-11", Expect::Broken, "its topic was made long before", made(3.0));
        run("L-11", Expect::Kept, "its topic was made a moment before", made(0.1));
        // It has so many, and its listener is done with some of them.
        let busy = |has: u64, done: std::ops::Range<u64>| {
            move |s: &mut Script| {
                let names: Vec<String> = (0..=has).map(|offset| format!("m{offset}")).collect();
                s.session("c0", "q", 0);
                s.pulled("q", 0, has, has as u32);
                for offset in done.clone() {
                    s.deliver("c0", "q", offset, &names[offset as usize]);
                }
                s.dispatched("q", has);
                s.wait(5.0);
                s.pulled("q", has, has + 1, 1);
                s.holds("q", &names.iter().map(String::as_str).collect::<Vec<_>>());
            }
        };
        run("L-11", Expect::Broken, "it had room for more", busy(900, 0..0));
        run("L-11", Expect::Broken, "it was done with enough", busy(1900, 0..1000));
        run("L-11", Expect::Broken, "its first one takes long, but not that long", busy(2001, 1..2000));
        run("L-11", Expect::Kept, "it had nearly all that it takes", busy(901, 0..0));
        run("L-11", Expect::Kept, "it was done with too few", busy(1900, 0..999));
        run("L-11", Expect::Kept, "its first one takes long", busy(2002, 1..2001));
        run("L-11", Expect::Kept, "at once", |s| {
            s.session("c0", "q", 0);
            s.ok("a", "q", 0);
            s.dispatched("q", 0);
            s.wait(0.15);
            s.pulled("q", 0, 1, 1);
            s.holds("q", &["a"]);
        });
        run("L-11", Expect::Kept, "it had more to do before", |s| {
            s.session("c0", "q", 0);
            s.ok("a", "q", 0);
            s.ok("b", "q", 1);
            s.dispatched("q", 1);
            s.wait(5.0);
            s.pulled("q", 0, 1, 1);
            s.pulled("q", 1, 2, 1);
            s.holds("q", &["a", "b"]);
        });
        run("L-11", Expect::Kept, "the broker had just come back", |s| {
            s.session("c0", "q", 0);
            s.crash("b0", How::Process);
            s.ok("a", "q", 0);
            s.dispatched("q", 0);
            s.wait(3.0);
            s.pulled("q", 0, 1, 1);
            s.holds("q", &["a"]);
        });
    }
}
