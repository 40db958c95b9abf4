//! The nearest run that passes, and the first event in which the failing one parts from it.

use std::collections::BTreeMap;

use super::options::differences;
use super::tell::tell;
use crate::history::History;
use crate::plan::Plan;

/// Two runs that differ in one thing.
#[derive(Clone, Debug, PartialEq)]
pub struct Parting {
    /// In which, in words.
    pub without: String,
    /// When they part.
    pub at_ns: u64,
    /// Events that both have.
    pub same: usize,
    /// What the failing run does next.
    pub fails: Vec<String>,
    /// What the passing run does next.
    pub passes: Vec<String>,
    /// Steps of the story, and whether each is out of order, in the failing run.
    pub ours: Vec<(String, bool)>,
    /// And in the passing one.
    pub theirs: Vec<(String, bool)>,
}

/// Compares them.
#[must_use]
pub fn part(without: &str, failing: &History, passing: &History) -> Parting {
    let (ours, theirs) = (told(failing), told(passing));
    let (failing, passing) = (alone(&ours, &theirs), alone(&theirs, &ours));
    let next = |told: &[Told], from: usize| -> Vec<String> {
        let lines = told.iter().skip(from).take(NEXT);
        lines.map(|(at_ns, what)| format!("{:.6} s {what}", *at_ns as f64 / 1e9)).collect()
    };
    Parting {
        without: without.to_owned(),
        at_ns: ours.get(failing).or(ours.last()).map_or(0, |(at_ns, _)| *at_ns),
        same: failing,
        fails: next(&ours, failing),
        passes: next(&theirs, passing),
        ours: Vec::new(),
        theirs: Vec::new(),
    }
}

/// An event: when, and where and what.
type Told = (u64, String);

fn told(history: &History) -> Vec<Told> {
    let events = history.events.iter();
    let line = events
        .map(|event| (event.at_ns, format!("{}: {}", history.node_name(event.node), tell(history, event).1)));
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
    let words = told.iter().filter(|(name, _, _)| !name.starts_with("steps")).take(3);
    let words: Vec<_> = words
        .map(|(name, a, b)| match (a.is_empty(), b.is_empty()) {
            (false, false) => format!("{name} {b} instead of {a}"),
            (false, true) => format!("no {name}"),
            _ => format!("{name} {b}"),
        })
        .collect();
    let more = if told.len() > 3 { " and more" } else { "" };
    format!("with {}{more}", words.join(", "))
}

const NEXT: usize = 5;
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
        assert!(parting.fails[0].contains("up to 5") && parting.passes[0].contains("up to 9"));
    }
}
