//! TXN-1 to TXN-6: transactions end once, as their producers decided, and those who do not know are asked.

use std::collections::{BTreeMap, BTreeSet};

use super::{Judged, Rule, View, seconds, witness};
use crate::history::{HalfId, How, Kind, MessageId, NodeId, Outcome, Slot};

pub(super) fn check(view: &View<'_>, judged: &mut Judged) {
    if view.history.halves.is_empty() {
        return;
    }
    let ends = Ends::collect(view);
    hidden(view, &ends, judged);
    final_decision(view, &ends, judged);
    copies(view, &ends, judged);
    fulfilled(view, &ends, judged);
    asked(view, judged);
    passed(view, judged);
}

/// How transactions ended.
struct Ends {
    /// First event with which a producer said commit.
    committed: BTreeMap<MessageId, usize>,
    /// Accepted decisions of each half message, in order.
    accepted: Vec<Vec<(usize, bool)>>,
    given_up: BTreeMap<HalfId, Vec<(usize, u32)>>,
    halves: BTreeMap<MessageId, Vec<HalfId>>,
}

impl Ends {
    fn collect(view: &View<'_>) -> Self {
        let history = view.history;
        let mut ends = Self {
            committed: BTreeMap::new(),
            accepted: vec![Vec::new(); history.halves.len()],
            given_up: BTreeMap::new(),
            halves: BTreeMap::new(),
        };
        for (index, half) in history.halves.iter().enumerate() {
            if let Some(message) = half.message {
                ends.halves.entry(message).or_default().push(HalfId(index as u32));
            }
        }
        for (number, event) in history.events.iter().enumerate() {
            match event.kind {
                Kind::Decided { message, commit: Some(true) } => {
                    ends.committed.entry(message).or_insert(number);
                }
                Kind::Asked { half, commit: Some(true) } => {
                    if let Some(message) = history.halves[half.index()].message {
                        ends.committed.entry(message).or_insert(number);
                    }
                }
                Kind::HalfEnded { half, commit, .. } => ends.accepted[half.index()].push((number, commit)),
                Kind::HalfGivenUp { half, checks } => {
                    ends.given_up.entry(half).or_default().push((number, checks));
                }
                _ => {}
            }
        }
        ends
    }

    /// Accepted decisions of all half messages of a message, in order.
    fn of(&self, message: MessageId) -> Vec<(usize, bool)> {
        let halves = self.halves.get(&message).into_iter().flatten();
        let mut all: Vec<_> = halves.flat_map(|half| self.accepted[half.index()].iter().copied()).collect();
        all.sort_unstable();
        all
    }
}

/// Where and when transactional messages were seen in their topics; the audit comes last.
fn seen<'a>(view: &'a View<'_>) -> impl Iterator<Item = (MessageId, Slot, usize)> + 'a {
    let history = view.history;
    let delivered = view.deliveries.iter().filter_map(|it| Some((it.message?, it.slot, it.entered)));
    let read = view.audit.queues.iter().flat_map(|content| {
        let slot = |offset| Slot { queue: content.queue, offset };
        content.read.iter().filter_map(move |read| Some((read.message?, slot(read.offset), usize::MAX)))
    });
    delivered.chain(read).filter(|(message, slot, _)| {
        let message = history.messages[message.index()];
        message.transactional && message.topic == history.queues[slot.queue.index()].topic
    })
}

/// TXN-1: nobody sees a message before its producer said commit.
fn hidden(view: &View<'_>, ends: &Ends, judged: &mut Judged) {
    for (message, slot, event) in seen(view) {
        judged.count(Rule::Txn1, 1);
        if ends.committed.get(&message).is_some_and(|committed| *committed < event) {
            continue;
        }
        let event = event.min(view.last());
        let sentence = format!(
            "Message {} was seen at {} at {}, before any commit of it.",
            view.history.message_name(message),
            view.history.slot_name(slot),
            seconds(view.at(event))
        );
        let told = witness(view.history, Some(message), slot.queue, slot.offset);
        judged.broken(view, Rule::Txn1, event, told, sentence);
    }
}

/// TXN-2: one decision for each half message, and after a rollback nothing is seen.
fn final_decision(view: &View<'_>, ends: &Ends, judged: &mut Judged) {
    let history = view.history;
    for (index, accepted) in ends.accepted.iter().enumerate() {
        judged.count(Rule::Txn2, accepted.len() as u64);
        let Some((_, first)) = accepted.first() else { continue };
        let half = HalfId(index as u32);
        if lost(view, half) {
            continue;
        }
        // A decision that a crash cut off is found at the next start: the same once more is no change.
        if let Some((event, _)) = accepted.iter().find(|(_, commit)| commit != first) {
            let sentence = format!("{} was ended one way, and then the other way.", history.half_name(half));
            judged.broken(view, Rule::Txn2, *event, history.half_name(half), sentence);
        }
    }
    let mut rolled_back: BTreeSet<MessageId> = BTreeSet::new();
    for message in ends.halves.keys() {
        let decisions = ends.of(*message);
        let sure = !ends.halves[message].iter().any(|half| lost(view, *half));
        if sure && !decisions.is_empty() && decisions.iter().all(|(_, commit)| !commit) {
            rolled_back.insert(*message);
        }
    }
    for (message, slot, event) in seen(view).filter(|(message, ..)| rolled_back.contains(message)) {
        let event = event.min(view.last());
        let sentence = format!(
            "Message {} was rolled back and was seen at {}.",
            history.message_name(message),
            history.slot_name(slot)
        );
        judged.broken(
            view,
            Rule::Txn2,
            event,
            witness(history, Some(message), slot.queue, slot.offset),
            sentence,
        );
    }
}

/// TXN-3: one copy of each half message. A commit and its record are one append here, which no crash of the process
/// parts: the reference's allowance for such crashes is not needed.
fn copies(view: &View<'_>, ends: &Ends, judged: &mut Judged) {
    let history = view.history;
    let mut copies: BTreeMap<MessageId, Vec<Slot>> = BTreeMap::new();
    for (message, slot, event) in seen(view) {
        if event == usize::MAX {
            copies.entry(message).or_default().push(slot);
        }
    }
    for (message, slots) in copies {
        judged.count(Rule::Txn3, 1);
        let halves = ends.halves.get(&message).map_or(&[][..], Vec::as_slice);
        if halves.iter().any(|half| lost(view, *half)) {
            continue;
        }
        if slots.len() > halves.len().max(1) {
            let sentence = format!(
                "Transactional message {} has {} copies, last at {}.",
                history.message_name(message),
                slots.len(),
                history.slot_name(slots[slots.len() - 1])
            );
            let slot = slots[slots.len() - 1];
            judged.broken(
                view,
                Rule::Txn3,
                view.last(),
                witness(history, Some(message), slot.queue, slot.offset),
                sentence,
            );
        }
    }
}

/// TXN-4: a commit is fulfilled, and who never knows is given up after the last check, once.
fn fulfilled(view: &View<'_>, ends: &Ends, judged: &mut Judged) {
    let history = view.history;
    let visible: BTreeSet<MessageId> = seen(view).map(|(message, ..)| message).collect();
    for (half, given_up) in &ends.given_up {
        judged.count(Rule::Txn4, 1);
        let &(event, checks) = &given_up[given_up.len() - 1];
        let wrong = if checks != history.checks.most {
            Some(format!("after {checks} checks; {} are due", history.checks.most))
        } else if given_up.len() > 1 && view.outages_of(history.halves[half.index()].broker).is_empty() {
            Some(format!("{} times", given_up.len()))
        } else {
            None
        };
        if let Some(wrong) = wrong {
            let sentence = format!("{} was given up {wrong}.", history.half_name(*half));
            judged.broken(view, Rule::Txn4, event, history.half_name(*half), sentence);
        }
    }
    if view.drained.is_none_or(|(_, _, rest)| rest > 0) {
        return;
    }
    for (message, committed) in &ends.committed {
        let halves = ends.halves.get(message).map_or(&[][..], Vec::as_slice);
        // Only what was acknowledged as a half message binds the broker.
        let bound = view.sends[message.index()].outcome == Some(Outcome::Ok) && !halves.is_empty();
        let gone = halves.iter().any(|half| ends.given_up.contains_key(half) || lost(view, *half));
        if !bound || gone {
            continue;
        }
        judged.count(Rule::Txn4, 1);
        if !visible.contains(message) {
            let sentence = format!(
                "Transaction {} was committed by its producer at {}, and the message is nowhere.",
                history.message_name(*message),
                seconds(view.at(*committed))
            );
            judged.broken(view, Rule::Txn4, *committed, history.message_name(*message), sentence);
        }
    }
}

/// True when a loss of power may have taken the half message or its end back.
fn lost(view: &View<'_>, half: HalfId) -> bool {
    let node = view.history.halves[half.index()].broker;
    let sync = view.history.brokers.iter().any(|broker| broker.node == node && broker.sync_flush);
    !sync && view.outages_of(node).iter().any(|outage| outage.how == How::Power)
}

/// What is known of the checks of a half message.
#[derive(Clone, Copy)]
struct Checked {
    stored: u64,
    immunity_ns: u64,
    last: Option<(u64, u32)>,
    ended: bool,
}

/// TXN-5: when and how often producers are asked.
fn asked(view: &View<'_>, judged: &mut Judged) {
    let history = view.history;
    let mut known: BTreeMap<HalfId, Checked> = BTreeMap::new();
    for (number, event) in history.events.iter().enumerate() {
        let (half, checks) = match event.kind {
            Kind::HalfStored { half, immunity_ms, .. } => {
                let immunity_ns = immunity_ms * MS;
                let stored = Checked { stored: event.at_ns, immunity_ns, last: None, ended: false };
                known.insert(half, stored);
                continue;
            }
            Kind::HalfEnded { half, .. } | Kind::HalfGivenUp { half, .. } => {
                known.entry(half).and_modify(|checked| checked.ended = true);
                continue;
            }
            // What the power takes, an end that is not flushed yet and the count of checks, is done again.
            Kind::Down { how: How::Power } => {
                known.retain(|half, _| history.halves[half.index()].broker != event.node);
                continue;
            }
            Kind::HalfChecked { half, checks } => (half, checks),
            _ => continue,
        };
        let Some(checked) = known.get_mut(&half) else { continue };
        judged.count(Rule::Txn5, 1);
        let broker = history.halves[half.index()].broker;
        let jumped = history.steps.iter().any(|step| step.clock && step.nodes.contains(&broker));
        let crashed = |since: u64| view.outages_of(broker).iter().any(|outage| outage.until_ns >= since);
        let wrong = if checked.ended {
            Some("after its end".to_owned())
        } else if event.at_ns + ROUNDING < checked.stored + checked.immunity_ns && !jumped {
            Some(format!("{} after it was stored", seconds(event.at_ns - checked.stored)))
        } else if checks > history.checks.most {
            Some(format!("for the {checks}. time"))
        } else {
            checked.last.and_then(|(at, before)| {
                let too_soon = event.at_ns + ROUNDING < at + history.checks.interval_ms * MS && !jumped;
                // What a crash took back is counted once more.
                let counted = checks == before + 1 || (checks <= before && crashed(at));
                if !counted {
                    Some(format!("as number {checks} after number {before}"))
                } else if too_soon && !crashed(at) {
                    Some(format!("again {} later", seconds(event.at_ns - at)))
                } else {
                    None
                }
            })
        };
        if let Some(wrong) = wrong {
            let sentence = format!("A producer was asked about {} {wrong}.", history.half_name(half));
            judged.broken(view, Rule::Txn5, number, history.half_name(half), sentence);
        }
        checked.last = Some((event.at_ns, checks));
    }
}

/// TXN-6: what is passed is decided, or has a copy that is as safe.
fn passed(view: &View<'_>, judged: &mut Judged) {
    let history = view.history;
    // Undecided half messages by broker and the offset they have now.
    let mut open: BTreeMap<(NodeId, u64), HalfId> = BTreeMap::new();
    let mut unsafe_until: BTreeMap<(NodeId, u64), (HalfId, u64)> = BTreeMap::new();
    for (number, event) in history.events.iter().enumerate() {
        let node = event.node;
        let sync = history.brokers.iter().any(|broker| broker.node == node && broker.sync_flush);
        match event.kind {
            Kind::HalfStored { half, offset, .. } => {
                open.insert((node, offset), half);
            }
            Kind::HalfPutBack { half, from, offset, end } => {
                open.remove(&(node, from));
                open.insert((node, offset), half);
                if sync {
                    unsafe_until.insert((node, from), (half, end));
                }
            }
            Kind::HalfEnded { half, .. } | Kind::HalfGivenUp { half, .. } => {
                open.retain(|(of, _), open| *of != node || *open != half);
                unsafe_until.retain(|(of, _), (open, _)| *of != node || *open != half);
            }
            Kind::Flushed { end } => unsafe_until.retain(|(of, _), (_, until)| *of != node || *until > end),
            Kind::Recovered { .. } => unsafe_until.retain(|(of, _), _| *of != node),
            Kind::QueueRecovered { queue, max, .. }
                if history.is_inner(queue) && !history.is_schedule(queue) =>
            {
                open.retain(|(of, at), _| *of != node || *at < max);
            }
            // A decision or a copy may be stored although its broker died before it could tell.
            Kind::Down { .. } => open.retain(|(of, _), _| *of != node),
            Kind::HalfOffset { offset } => {
                judged.count(Rule::Txn6, 1);
                let below = (node, 0)..(node, offset);
                let undecided = open.range(below.clone()).map(|(at, half)| (at.1, *half)).next();
                let unsafe_copy = unsafe_until.range(below).map(|(at, (half, _))| (at.1, *half)).next();
                if let Some((at, half)) = undecided.or(unsafe_copy) {
                    let sentence = format!(
                        "Halves below {offset} count as done at {}, but {} at {at} is undecided and has no safe copy.",
                        seconds(event.at_ns),
                        history.half_name(half)
                    );
                    judged.broken(view, Rule::Txn6, number, history.half_name(half), sentence);
                    open.retain(|(of, at), _| *of != node || *at >= offset);
                }
            }
            _ => {}
        }
    }
}

const MS: u64 = 1_000_000;
/// Times are told in whole milliseconds.
const ROUNDING: u64 = 2 * MS;

#[cfg(test)]
mod tests {
    use super::super::script::{Expect, Script, run};
    use crate::history::{How, Outcome};

    fn acknowledged(s: &mut Script, message: &str, offset: u64) -> crate::history::HalfId {
        let half = s.half(message, offset);
        s.returned(message, Outcome::Ok, None);
        half
    }

    #[test]
    fn nothing_is_seen_before_its_commit() {
        run("TXN-1", Expect::Broken, "delivered while undecided", |s: &mut Script| {
            s.half("a", 0);
            s.deliver("c0", "q", 0, "a");
        });
        run("TXN-1", Expect::Broken, "readable though nobody ever committed", |s| {
            let half = s.half("a", 0);
            s.decided("a", Some(false));
            s.ended(half, false);
            s.holds("q", &["a"]);
        });
        run("TXN-1", Expect::Kept, "delivered after its commit", |s| {
            let half = s.half("a", 0);
            s.decided("a", Some(true));
            s.ended(half, true);
            s.deliver("c0", "q", 0, "a");
            s.holds("q", &["a"]);
        });
        run("TXN-1", Expect::Kept, "seen before the broker had told of the end", |s| {
            let half = s.half("a", 0);
            s.decided("a", Some(true));
            s.deliver("c0", "q", 0, "a");
            s.ended(half, true);
        });
    }

    #[test]
    fn the_first_decision_wins() {
        run("TXN-2", Expect::Broken, "rolled back after its commit", |s: &mut Script| {
            let half = s.half("a", 0);
            s.decided("a", Some(true));
            s.ended(half, true);
            s.ended(half, false);
        });
        run("TXN-2", Expect::Broken, "delivered after its rollback", |s| {
            let half = s.half("a", 0);
            s.decided("a", Some(false));
            s.ended(half, false);
            s.deliver("c0", "q", 0, "a");
        });
        run("TXN-2", Expect::Kept, "a commit found once more at start", |s| {
            let half = s.half("a", 0);
            s.decided("a", Some(true));
            s.ended(half, true);
            s.crash("b0", How::Process);
            s.ended(half, true);
            s.deliver("c0", "q", 0, "a");
        });
        run("TXN-2", Expect::Kept, "rolled back and gone", |s| {
            let half = s.half("a", 0);
            s.decided("a", Some(false));
            s.ended(half, false);
            s.holds("q", &[]);
        });
    }

    #[test]
    fn a_commit_makes_one_copy() {
        run("TXN-3", Expect::Broken, "two copies", |s: &mut Script| {
            let half = s.half("a", 0);
            s.decided("a", Some(true));
            s.ended(half, true);
            s.holds("q", &["a", "a"]);
        });
        run("TXN-3", Expect::Broken, "two copies because of a crash", |s| {
            let half = s.half("a", 0);
            s.decided("a", Some(true));
            s.crash("b0", How::Process);
            s.ended(half, true);
            s.holds("q", &["a", "a"]);
        });
        run("TXN-3", Expect::Kept, "its end was lost with the power, under async flush", |s| {
            let half = s.half("a", 0);
            s.decided("a", Some(true));
            s.ended(half, true);
            s.crash("b0", How::Power);
            s.ended(half, true);
            s.holds("q", &["a", "a"]);
        });
        run("TXN-3", Expect::Kept, "one", |s| {
            let half = s.half("a", 0);
            s.decided("a", Some(true));
            s.ended(half, true);
            s.holds("q", &["a"]);
        });
    }

    #[test]
    fn what_was_committed_comes_and_what_nobody_knows_is_given_up() {
        run("TXN-4", Expect::Broken, "committed and nowhere", |s: &mut Script| {
            acknowledged(s, "a", 0);
            s.decided("a", Some(true));
            s.drained(0);
        });
        run("TXN-4", Expect::Broken, "given up too early", |s| {
            let half = acknowledged(s, "a", 0);
            s.given_up(half, 2);
        });
        run("TXN-4", Expect::Broken, "given up twice", |s| {
            let half = acknowledged(s, "a", 0);
            s.given_up(half, 3);
            s.given_up(half, 3);
        });
        run("TXN-4", Expect::Kept, "committed and there", |s| {
            let half = acknowledged(s, "a", 0);
            s.decided("a", Some(true));
            s.ended(half, true);
            s.holds("q", &["a"]);
            s.drained(0);
        });
        run("TXN-4", Expect::Kept, "never known, given up after the last check", |s| {
            let half = acknowledged(s, "a", 0);
            s.given_up(half, 3);
            s.drained(0);
        });
    }

    #[test]
    fn producers_are_asked_with_patience() {
        run("TXN-5", Expect::Broken, "within the immunity", |s: &mut Script| {
            let half = s.half("a", 0);
            s.wait(5.0);
            s.checked(half, 1);
        });
        run("TXN-5", Expect::Broken, "after the end", |s| {
            let half = s.half("a", 0);
            s.wait(10.0);
            s.ended(half, true);
            s.checked(half, 1);
        });
        run("TXN-5", Expect::Broken, "too soon after the last time", |s| {
            let half = s.half("a", 0);
            s.wait(10.0);
            s.checked(half, 1);
            s.wait(10.0);
            s.checked(half, 2);
        });
        run("TXN-5", Expect::Broken, "without counting", |s| {
            let half = s.half("a", 0);
            s.wait(10.0);
            s.checked(half, 1);
            s.wait(30.0);
            s.checked(half, 1);
        });
        run("TXN-5", Expect::Kept, "one by one", |s| {
            let half = s.half("a", 0);
            s.wait(6.0);
            s.checked(half, 1);
            s.wait(30.0);
            s.checked(half, 2);
        });
        run("TXN-5", Expect::Kept, "its end was lost with the power, under async flush", |s| {
            let half = s.half("a", 0);
            s.ended(half, true);
            s.crash("b0", How::Power);
            s.wait(10.0);
            s.checked(half, 1);
        });
        run("TXN-5", Expect::Kept, "a crash took the count back", |s| {
            let half = s.half("a", 0);
            s.wait(10.0);
            s.checked(half, 1);
            s.crash("b0", How::Process);
            s.wait(5.0);
            s.checked(half, 1);
        });
    }

    #[test]
    fn an_undecided_half_is_not_passed() {
        run("TXN-6", Expect::Broken, "undecided", |s: &mut Script| {
            s.half("a", 0);
            s.halves_done(1);
        });
        run("TXN-6", Expect::Broken, "its copy is not flushed under sync flush", |s| {
            s.sync_flush();
            let half = s.half("a", 0);
            s.put_back(half, 0, 1);
            s.halves_done(1);
        });
        run("TXN-6", Expect::Kept, "decided", |s| {
            let half = s.half("a", 0);
            s.ended(half, false);
            s.halves_done(1);
        });
        run("TXN-6", Expect::Kept, "its broker died while it stored the decision", |s| {
            s.half("a", 0);
            s.decided("a", Some(true));
            s.crash("b0", How::Process);
            s.halves_done(1);
        });
        run("TXN-6", Expect::Kept, "its copy is flushed", |s| {
            s.sync_flush();
            let half = s.half("a", 0);
            s.put_back(half, 0, 1);
            s.flushed("b0", 200);
            s.halves_done(1);
        });
    }
}
