//! The nearest run that passes, and the first event in which the failing one parts from it.

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
    let told = |history: &History, number: usize| {
        let event = &history.events[number];
        (event.at_ns, history.node_name(event.node).to_owned(), tell(history, event).1)
    };
    let length = failing.events.len().min(passing.events.len());
    // What differs by less than a breath in time only is the same: a fault less moves everything a little.
    let what = |history: &History, number: usize| {
        let (_, node, text) = told(history, number);
        (node, text)
    };
    let same = (0..length).find(|&at| what(failing, at) != what(passing, at)).unwrap_or(length);
    let next = |history: &History| -> Vec<String> {
        let until = (same + NEXT).min(history.events.len());
        let lines = (same..until).map(|number| told(history, number));
        lines.map(|(at_ns, node, text)| format!("{:.6} s {node}: {text}", at_ns as f64 / 1e9)).collect()
    };
    let at_ns = failing.events.get(same).or(failing.events.last()).map_or(0, |event| event.at_ns);
    Parting {
        without: without.to_owned(),
        at_ns,
        same,
        fails: next(failing),
        passes: next(passing),
        ours: Vec::new(),
        theirs: Vec::new(),
    }
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
