//! ORD-1, the broker's part: who was given the lock of a queue has it alone, for as long as that is sure.

use std::collections::{BTreeMap, BTreeSet};

use super::{Judged, Rule, SECOND, View, seconds};
use crate::history::{Kind, NodeId};

/// A queue of a broker, and a client that locks it.
type Holder = (NodeId, u32, u32);

/// A lock that was given.
#[derive(Clone, Copy)]
struct Held {
    /// When its answer came.
    at_ns: u64,
    /// It is sure until then.
    until_ns: u64,
}

pub(super) fn check(view: &View<'_>, judged: &mut Judged) {
    let history = view.history;
    let mut held: BTreeMap<Holder, Held> = BTreeMap::new();
    // An unlock that nobody answered may be carried out at any time, also by who was started meanwhile.
    let mut unsure: BTreeSet<Holder> = BTreeSet::new();
    // Locks are in memory.
    let mut restarted: BTreeMap<NodeId, u64> = BTreeMap::new();
    for (number, event) in history.events.iter().enumerate() {
        let at_ns = event.at_ns;
        match event.kind {
            Kind::Down { .. } | Kind::Up => {
                restarted.insert(event.node, at_ns);
                held.retain(|(broker, ..), _| *broker != event.node);
            }
            Kind::Unlocks { queue, client, done } => {
                let own = (event.node, queue, client);
                held.remove(&own);
                if done {
                    unsure.remove(&own);
                } else {
                    unsure.insert(own);
                }
            }
            // The answer of a broker that is down already.
            Kind::Locks { asked_ns, .. }
                if restarted.get(&event.node).is_some_and(|restarted| asked_ns <= *restarted) => {}
            Kind::Locks { queue, client, asked_ns, held: given } => {
                judged.count(Rule::Ord1, 1);
                let own = (event.node, queue, client);
                let locks = held.range((event.node, queue, 0)..=(event.node, queue, u32::MAX));
                let mut sure = locks.filter(|(_, lock)| at_ns < lock.until_ns);
                // Of another client when it was given, its own when it was not.
                if let Some((holder, lock)) = sure.find(|(holder, _)| (**holder == own) != given) {
                    let name = format!("queue {queue} of {}", history.node_name(event.node));
                    let sentence = format!(
                        "At {} the lock of {name} was {} client {client}, and client {} had been given it at {}.",
                        seconds(at_ns),
                        if given { "given to" } else { "refused to" },
                        holder.2,
                        seconds(lock.at_ns)
                    );
                    judged.broken(view, Rule::Ord1, number, name, sentence);
                    held.retain(|(broker, of, _), _| (*broker, *of) != (event.node, queue));
                }
                if given && !unsure.contains(&own) {
                    held.insert(own, Held { at_ns, until_ns: asked_ns + LIFE });
                }
            }
            _ => {}
        }
    }
}

/// How long a lock holds that is not renewed, but for what clocks leave out.
const LIFE: u64 = 60 * SECOND - SECOND / 10;

#[cfg(test)]
mod tests {
    use super::super::script::{Expect, Script, run};
    use crate::history::How;

    #[test]
    fn a_locked_queue_has_one_owner() {
        run("ORD-1", Expect::Broken, "two are given it", |s: &mut Script| {
            s.locks(0, 0.0, true);
            s.wait(59.0);
            s.locks(1, 0.1, true);
        });
        run("ORD-1", Expect::Broken, "a renewal holds it for as long", |s| {
            s.locks(0, 0.0, true);
            s.wait(40.0);
            s.locks(0, 0.0, true);
            s.wait(40.0);
            s.locks(1, 0.0, true);
        });
        run("ORD-1", Expect::Broken, "who has it is refused", |s| {
            s.locks(0, 0.0, true);
            s.wait(30.0);
            s.locks(0, 0.0, false);
        });
        run("ORD-1", Expect::Broken, "another one has unlocked it", |s| {
            s.locks(0, 0.0, true);
            s.unlocks(1, false);
            s.unlocks(1, true);
            s.locks(1, 0.0, true);
        });
        run("ORD-1", Expect::Broken, "another broker was restarted", |s| {
            s.broker("b1");
            s.locks(0, 0.0, true);
            s.crash("b1", How::Process);
            s.locks(1, 0.0, true);
        });
        run("ORD-1", Expect::Broken, "both were asked at once", |s| {
            s.wait(1.0);
            s.locks(0, 0.5, true);
            s.locks(1, 0.6, true);
        });
        run("ORD-1", Expect::Kept, "the other one is refused", |s| {
            s.locks(0, 0.0, true);
            s.locks(1, 0.0, false);
        });
        run("ORD-1", Expect::Kept, "its time is over", |s| {
            s.locks(0, 0.0, true);
            s.wait(60.1);
            s.locks(1, 0.0, true);
            s.locks(0, 0.0, false);
        });
        run("ORD-1", Expect::Kept, "its time began long before its answer came", |s| {
            s.wait(5.0);
            s.locks(0, 3.0, true);
            s.wait(58.0);
            s.locks(1, 0.0, true);
        });
        run("ORD-1", Expect::Kept, "it was given back, answered or not", |s| {
            s.locks(0, 0.0, true);
            s.unlocks(0, false);
            s.locks(1, 0.0, true);
            s.locks(0, 0.0, false);
        });
        run("ORD-1", Expect::Kept, "an unlock from before comes late", |s| {
            s.locks(0, 0.0, true);
            s.unlocks(0, false);
            s.locks(0, 0.0, true);
            s.locks(1, 0.0, true);
        });
        run("ORD-1", Expect::Kept, "its broker was restarted", |s| {
            s.locks(0, 0.0, true);
            s.crash("b0", How::Stop);
            s.locks(1, 0.0, true);
        });
        run("ORD-1", Expect::Kept, "its answer came when the broker was down", |s| {
            s.wait(1.0);
            s.down("b0", How::Process);
            s.locks(0, 0.1, true);
            s.up("b0");
            s.locks(1, 0.0, true);
        });
    }
}
