//! The faults of the run: when each was, what it changed, and on which lanes it lay.

use super::detail::Detail;
use crate::history::{History, Kind};
use crate::plan::{Plan, What};

/// One fault or operation.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// When it began; none: the run did not reach it.
    pub from_ns: Option<u64>,
    /// When it was over.
    pub until_ns: u64,
    /// Its kind.
    pub kind: &'static str,
    /// In words.
    pub what: String,
    /// The nodes it touches; none = all.
    pub nodes: Vec<String>,
    /// What it changed, and how often.
    pub effects: Vec<(String, u64)>,
    /// It has no counter of its own.
    pub felt: bool,
    /// A named point in the code, and whether the node came there; none: it waits for no point.
    pub point: Option<(String, bool)>,
}

/// The faults of a run, in the order of its plan.
#[must_use]
pub fn rows(plan: &Plan, history: &History, detail: &Detail) -> Vec<Row> {
    let mut on = vec![None; plan.steps.len()];
    for event in &history.events {
        match event.kind {
            Kind::StepOn { step } => on[step as usize] = Some((event.at_ns, None)),
            Kind::StepOff { step } => {
                if let Some((_, end)) = &mut on[step as usize] {
                    *end = Some(event.at_ns);
                }
            }
            _ => {}
        }
    }
    let end = history.events.last().map_or(0, |event| event.at_ns);
    let rows = plan.steps.iter().zip(on).zip(&history.steps).map(|((step, on), told)| {
        let nodes: Vec<String> = step.what.nodes().into_iter().map(str::to_owned).collect();
        let until_ns = on.map_or(0, |(_, until)| until.unwrap_or(end));
        let names = step.what.effects();
        let mut effects: Vec<(String, u64)> = Vec::new();
        for note in detail.notes.iter().filter(|note| note.kind == "effect") {
            let within = on.is_some_and(|(from, _)| (from..=until_ns).contains(&note.at_ns));
            let near = told.wide || nodes.iter().any(|node| node == detail.name(note.node));
            let name = String::from_utf8_lossy(&note.bytes);
            let torn = told.kills && TAKEN.contains(&&*name);
            if within && near && (names.contains(&&*name) || torn) {
                let count = note.numbers.first().copied().unwrap_or(1);
                match effects.iter_mut().find(|(known, _)| *known == name) {
                    Some((_, sum)) => *sum += count,
                    None => effects.push((name.into_owned(), count)),
                }
            }
        }
        let point = match &step.what {
            What::CrashAt { point, .. } => {
                Some((point.clone(), effects.iter().any(|(name, _)| name == "hook.point")))
            }
            _ => None,
        };
        Row {
            point,
            from_ns: on.map(|(from, _)| from),
            until_ns,
            kind: step.kind(),
            what: step.what.to_string(),
            nodes: if told.wide { Vec::new() } else { nodes },
            effects,
            felt: names.is_empty(),
        }
    });
    rows.collect()
}

/// How a node dies, and what a loss of power takes from its disk.
const TAKEN: [&str; 6] = [
    "node.crash",
    "node.power",
    "disk.lost_names",
    "disk.lost_sectors",
    "disk.intermediate_sectors",
    "disk.short_files",
];
