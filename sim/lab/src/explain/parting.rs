//! The nearest run that passes, and the first event in which the failing one parts from it.

use std::collections::BTreeMap;

use super::options::differences;
use super::tell::tell;
use crate::history::{Event, History, Kind, QueueId};
use crate::plan::Plan;

/// Two runs that differ in one thing.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Parting {
    /// In which, in words.
    pub without: String,
    /// When they part: the first event that only one of them has.
    pub at_ns: u64,
    /// Events before that.
    pub same: usize,
    /// What they do then, beside each other.
    pub rows: Vec<Row>,
    /// The first wrong step, and what the passing run did in its place.
    pub counterpart: Option<(String, String)>,
    /// Steps of the story, and whether each is out of order, in the failing run.
    pub ours: Vec<(String, bool)>,
    /// And in the passing one.
    pub theirs: Vec<(String, bool)>,
}

/// An event of one run, or of both.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// When it happens in the failing run.
    pub fails_ns: Option<u64>,
    /// When it happens in the passing run.
    pub passes_ns: Option<u64>,
    /// Where and what.
    pub what: String,
}

/// Compares them.
#[must_use]
pub fn part(without: &str, failing: &History, passing: &History) -> Parting {
    let (ours, theirs) = (told(failing), told(passing));
    let first = |told: &[Told], other: &[Told]| told.get(alone(told, other)).map(|(at_ns, _)| *at_ns);
    let at_ns = [first(&ours, &theirs), first(&theirs, &ours)].into_iter().flatten().min();
    let at_ns = at_ns.or(ours.last().map(|(at_ns, _)| *at_ns)).unwrap_or(0);
    let same = ours.partition_point(|(at, _)| *at < at_ns);
    let rows = rows(&ours[same..], &theirs[theirs.partition_point(|(at, _)| *at < at_ns)..]);
    Parting { without: without.to_owned(), at_ns, same, rows, ..Parting::default() }
}

/// Events of both in one order, what both have in one row.
fn rows(ours: &[Told], theirs: &[Told]) -> Vec<Row> {
    let (ours, theirs) = (&ours[..ours.len().min(NEXT * 4)], &theirs[..theirs.len().min(NEXT * 4)]);
    let mut used = vec![false; theirs.len()];
    let mut rows: Vec<Row> = Vec::new();
    for (at_ns, what) in ours {
        let found = (0..theirs.len()).find(|place| {
            !used[*place] && theirs[*place].1 == *what && theirs[*place].0.abs_diff(*at_ns) <= SLACK
        });
        if let Some(place) = found {
            used[place] = true;
        }
        let passes_ns = found.map(|place| theirs[place].0);
        rows.push(Row { fails_ns: Some(*at_ns), passes_ns, what: what.clone() });
    }
    for ((at_ns, what), _) in theirs.iter().zip(used).filter(|(_, used)| !used) {
        rows.push(Row { fails_ns: None, passes_ns: Some(*at_ns), what: what.clone() });
    }
    rows.sort_by_key(|row| row.fails_ns.or(row.passes_ns));
    rows.truncate(NEXT);
    rows
}

/// What the passing run did in the place of an event of the failing one.
#[must_use]
pub fn counterpart(failing: &History, event: usize, passing: &History) -> Option<(String, String)> {
    let wrong = failing.events.get(event)?;
    let at = |ns: u64| format!("{:.6} s", ns as f64 / 1e9);
    let node = failing.node_name(wrong.node);
    let told = |history: &History, event: &Event| format!("{}: {}", at(event.at_ns), tell(history, event).1);
    let same_node = |event: &Event| passing.node_name(event.node) == node;
    let queue = |history: &History, queue: QueueId| history.queue_name(queue);
    let ours = told(failing, wrong);
    let nearest = |is: &dyn Fn(&Event) -> bool| {
        let all = passing.events.iter().filter(|event| is(event));
        all.min_by_key(|event| event.at_ns.abs_diff(wrong.at_ns))
    };
    let found = match wrong.kind {
        Kind::HalfChecked { half, checks } => {
            let message = failing.halves[half.index()].message.map(|id| failing.message_name(id));
            nearest(&|event| match event.kind {
                Kind::HalfChecked { half, checks: number } => {
                    let of = passing.halves[half.index()].message.map(|id| passing.message_name(id));
                    of == message && number == checks
                }
                _ => false,
            })
        }
        Kind::Stored { group, queue: of, offset } => {
            let before = failing.events[..event].iter().rev().find_map(|event| match event.kind {
                Kind::Stored { group: by, queue: at, offset } if (by, at) == (group, of) => Some(offset),
                _ => None,
            });
            let of = queue(failing, of);
            let mut commits = passing.events.iter().filter(|event| match event.kind {
                Kind::Stored { group: by, queue: at, offset: to } => {
                    by == group
                        && queue(passing, at) == of
                        && to > before.unwrap_or(0)
                        && to <= offset.max(to)
                }
                _ => false,
            });
            commits.next()
        }
        Kind::Dispatched { slot } => {
            let name = failing.slot_name(slot);
            let again = failing.deleted.get(&slot.queue).is_some_and(|it| it.event < event);
            if again {
                let gone =
                    passing.events.iter().find(|event| matches!(event.kind, Kind::TopicDeleted { .. }));
                let gone =
                    gone.map_or(String::new(), |event| format!(" after the deletion at {}", at(event.at_ns)));
                return Some((ours, format!("That does not happen{gone}.")));
            }
            nearest(
                &|event| matches!(event.kind, Kind::Dispatched { slot } if passing.slot_name(slot) == name),
            )
        }
        Kind::Recovered { .. } => nearest(&|event| {
            matches!(event.kind, Kind::Recovered { .. })
                && same_node(event)
                && event.at_ns.abs_diff(wrong.at_ns) < NEAR
        }),
        Kind::Acked { slot, .. } => {
            let name = failing.slot_name(slot);
            nearest(
                &|event| matches!(event.kind, Kind::Acked { slot, .. } if passing.slot_name(slot) == name),
            )
        }
        _ => {
            let text = tell(failing, wrong).1;
            nearest(&|event| {
                same_node(event) && tell(passing, event).1 == text && event.at_ns.abs_diff(wrong.at_ns) < NEAR
            })
        }
    };
    Some((ours, found.map_or("That does not happen.".to_owned(), |event| told(passing, event))))
}

/// An event: when, and where and what.
type Told = (u64, String);

fn told(history: &History) -> Vec<Told> {
    let events = history.events.iter();
    let line = events.map(|event| {
        let (node, text) = (history.node_name(event.node), tell(history, event).1);
        let is_named = text.split(' ').next() == Some(node);
        (event.at_ns, if is_named { text } else { format!("{node}: {text}") })
    });
    line.collect()
}

/// The first event that does not happen in the other run, at about the same time: a fault less moves everything a
/// little, and what happens at once may change its order.
fn alone(told: &[Told], other: &[Told]) -> usize {
    let mut times: BTreeMap<&str, Vec<u64>> = BTreeMap::new();
    for (at_ns, what) in other {
        times.entry(what).or_default().push(*at_ns);
    }
    let there = |(at_ns, what): &Told| {
        times.get(what.as_str()).is_some_and(|times| times.iter().any(|at| at.abs_diff(*at_ns) <= SLACK))
    };
    told.iter().position(|told| !there(told)).unwrap_or(told.len())
}

/// How `other` differs from `plan`, in words, when it differs in little.
#[must_use]
pub fn without(plan: &Plan, other: &Plan) -> String {
    let gone: Vec<_> = plan.steps.iter().filter(|step| !other.steps.contains(step)).collect();
    if let [step] = gone[..]
        && other.steps.len() + 1 == plan.steps.len()
    {
        return format!("without the fault \"{}\"", step.what);
    }
    let told = differences(plan, other);
    let words = told.iter().filter(|(name, _, _)| !name.starts_with("steps") && !name.starts_with("ops"));
    let mut words: Vec<_> = words.map(|(name, a, b)| difference(name, a, b)).collect();
    for (place, (step, now)) in plan.steps.iter().zip(&other.steps).enumerate().filter(|(_, (a, b))| a != b) {
        if step.what != now.what {
            words.push(format!("the fault \"{}\" instead of \"{}\"", now.what, step.what));
            continue;
        }
        let of = format!("steps.{place}.");
        let inner = told.iter().filter_map(|(name, a, b)| Some((name.strip_prefix(&of)?, a, b)));
        let inner: Vec<_> = inner.map(|(name, a, b)| difference(name, a, b)).collect();
        words.push(format!("the fault \"{}\" changed: {}", step.what, inner.join(", ")));
    }
    if plan.ops != other.ops {
        words.push("other calls of the producers".to_owned());
    }
    let more = if words.len() > 3 { " and more" } else { "" };
    words.truncate(3);
    if words.is_empty() { String::new() } else { format!("with {}{more}", words.join(", ")) }
}

fn difference(name: &str, a: &str, b: &str) -> String {
    match (a.is_empty(), b.is_empty()) {
        (false, false) => format!("{name} {b} instead of {a}"),
        (false, true) => format!("no {name}"),
        _ => format!("{name} {b}"),
    }
}

/// Events that are shown.
const NEXT: usize = 10;
/// What happens so much earlier or later is another thing.
const NEAR: u64 = 5_000_000_000;
/// Nanoseconds by which the same event may come earlier or later.
const SLACK: u64 = 20_000_000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::{Kind, NodeId};

    #[test]
    fn two_runs_part_where_they_first_differ() {
        let run = |kinds: &[Kind]| {
            let mut history = History::default();
            history.node("lab");
            (1..).zip(kinds).for_each(|(at_ns, kind)| history.push(at_ns, NodeId(0), *kind));
            history
        };
        let failing = run(&[Kind::Heal, Kind::Flushed { end: 5 }, Kind::Drained { rest: 1 }]);
        let passing = run(&[Kind::Heal, Kind::Flushed { end: 9 }, Kind::Drained { rest: 1 }]);
        let parting = part("without it", &failing, &passing);
        assert_eq!((parting.same, parting.at_ns), (1, 2));
        let (ours, theirs) = (&parting.rows[0], &parting.rows[1]);
        assert!(ours.what.contains("up to 5") && ours.passes_ns.is_none());
        assert!(theirs.what.contains("up to 9") && theirs.fails_ns.is_none());
        assert!(parting.rows[2].fails_ns.is_some() && parting.rows[2].passes_ns.is_some());
    }

    #[test]
    fn the_run_that_is_first_to_differ_says_when_they_part() {
        let run = |times: &[(u64, u64)]| {
            let mut history = History::default();
            history.node("lab");
            times
                .iter()
                .for_each(|(at_ns, end)| history.push(*at_ns, NodeId(0), Kind::Flushed { end: *end }));
            history
        };
        let late = 3_000_000_000;
        let failing = run(&[(1, 1), (late, 2), (late + 5, 3)]);
        let passing = run(&[(1, 1), (late - 1_000_000_000, 7), (late, 2), (late + 5, 4)]);
        assert_eq!(part("", &failing, &passing).at_ns, late - 1_000_000_000);
        assert_eq!(part("", &passing, &failing).at_ns, late - 1_000_000_000);
    }

    #[test]
    fn a_fault_at_another_time_is_told() {
        let mut plan = crate::swarm::plain("any", 3, crate::swarm::Size::QUICK);
        let what = crate::plan::What::Crash { node: "b0".to_owned(), power: true };
        let step = crate::plan::Step { at_ms: 500, for_ms: 10, what, stays: false, on: None, part: None };
        plan.steps = vec![step];
        let mut other = plan.clone();
        other.steps[0].at_ms = 700;
        let told = without(&plan, &other);
        assert_eq!(told, "with the fault \"b0 loses power\" changed: at_ms 700 instead of 500");
        assert_eq!(without(&plan, &plan), "");
    }
}
