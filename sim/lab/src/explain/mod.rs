//! Why a run failed, for somebody who never saw the project: from its history and details to what a page shows. Pure.

pub mod cause;
pub mod detail;
pub mod disk;
pub mod focus;
pub mod frames;
pub mod grid;
pub mod options;
pub mod parting;
pub mod schedule;
pub mod space;
pub mod story;
mod tell;

#[cfg(test)]
mod tests;

use cause::Cause;
use detail::Detail;
use disk::Death;
use focus::Focus;
use grid::Grid;
use parting::Parting;
use space::Space;
use story::{Beside, Story, Tone};

use crate::check::{Rule, Violation};
use crate::history::{Audit, History};
use crate::outcome::Run;
use crate::plan::Plan;

/// All that is known of one failure.
#[derive(Clone, Copy, Debug)]
pub struct Case<'a> {
    /// The plan that was run in the end.
    pub plan: &'a Plan,
    /// The one that failed first.
    pub original: &'a Plan,
    /// What it came to.
    pub run: &'a Run,
    /// The promise to explain, of those it broke.
    pub violation: &'a Violation,
    /// What happened.
    pub history: &'a History,
    /// What the stores held in the end.
    pub audit: &'a Audit,
    /// And what else was kept.
    pub detail: &'a Detail,
    /// How the plan became small.
    pub shrinking: &'a Shrinking,
    /// The nearest run that passes: how its plan differs, and its history.
    pub passing: Option<(&'a str, &'a History, &'a Audit)>,
    /// Changes of the plan with which it passes.
    pub needed: &'a [String],
    /// How to run it again.
    pub again: &'a Again,
}

/// How a plan became small.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Shrinking {
    /// Runs that were made.
    pub tried: usize,
    /// No one of its faults can be left out.
    pub minimal: bool,
    /// It was not wanted.
    pub skipped: bool,
    /// The minimal plan still breaks this rule and no other counts.
    pub simulated_ns: (u64, u64),
}

/// How to run it again.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Again {
    /// From the saved plan.
    pub replay: String,
    /// From the seed, when there is one.
    pub seed: Option<String>,
    /// Makes this page again.
    pub explain: String,
    /// Of the code that ran.
    pub commit: String,
    /// That compiled it.
    pub toolchain: String,
}

/// What a page shows.
#[derive(Clone, Debug)]
pub struct Page {
    /// What happened, in one sentence.
    pub sentence: String,
    /// Where and when.
    pub place: String,
    /// The rule.
    pub rule: Rule,
    /// What was out of order first.
    pub cause: Option<Cause>,
    /// Other promises that the same run broke.
    pub others: Vec<(Rule, String)>,
    /// How to run it again.
    pub again: Again,
    /// Its scenario and seed.
    pub run: (String, u64),
    /// Faults.
    pub faults: Vec<schedule::Row>,
    /// How long the run was, and when the load and the faults were over.
    pub length_ns: (u64, Option<u64>),
    /// What, before and now.
    pub counts: Vec<(&'static str, String, String)>,
    /// How it became small.
    pub shrinking: Shrinking,
    /// Changes with which it passes.
    pub needed: Vec<String>,
    /// The diagram.
    pub space: Space,
    /// The story.
    pub story: Story,
    /// The queues.
    pub grids: Vec<Grid>,
    /// The disks.
    pub deaths: Vec<Death>,
    /// The nearest run that passes.
    pub parting: Option<Parting>,
    /// All options.
    pub options: Vec<options::Row>,
    /// What the system logged before the event, on the nodes that matter.
    pub logs: Vec<String>,
    /// There was more than was kept.
    pub cut_off: bool,
}

/// Makes the page of a failure.
#[must_use]
pub fn explain(case: Case<'_>) -> Page {
    let Case { plan, run, violation, history, audit, detail, .. } = case;
    let focus = Focus::of(history, audit, violation);
    let faults = schedule::rows(plan, history, detail);
    let frames = frames::read(detail);
    let damages = disk::damages(history, detail, &focus.slots);
    let beside = Beside { frames: &frames, damages: &damages, logs: &detail.logs };
    let story = story::story(history, audit, violation, &focus, beside);
    let space = space::space(space::Sources {
        history,
        detail,
        frames: &frames,
        faults: &faults,
        focus: &focus,
        story: &story,
        violation,
    });
    let others = run.violations.iter().filter(|other| *other != violation);
    let red = story.lines.iter().filter(|line| matches!(line.tone, Tone::Wrong | Tone::Noticed));
    let marked: Vec<usize> = red.map(|line| line.event).collect();
    Page {
        sentence: violation.sentence.clone(),
        place: whereabouts(history, violation, &focus),
        rule: violation.rule,
        cause: cause::cause(plan, violation, &focus, &story),
        others: others.map(|other| (other.rule, other.sentence.clone())).collect(),
        again: case.again.clone(),
        run: (run.scenario.clone(), run.seed),
        faults,
        length_ns: (run.simulated_ns, heal(history)),
        counts: counts(&case),
        shrinking: case.shrinking.clone(),
        needed: case.needed.to_vec(),
        space,
        grids: grid::grids(history, audit, &focus, &marked),
        deaths: disk::deaths(history, audit, detail, &focus),
        parting: case.passing.map(|passing| parting(&case, passing, &story)),
        options: options::rows(plan),
        logs: logs(history, detail, violation, &focus),
        story,
        cut_off: detail.cut_off,
    }
}

fn whereabouts(history: &History, violation: &Violation, focus: &Focus) -> String {
    let mut parts = Vec::new();
    parts.extend(focus.message.map(|id| format!("message {}", history.message_name(id))));
    match (focus.at, focus.queue) {
        (Some(slot), _) => parts.push(tell::place(history, slot)),
        (None, Some(queue)) => parts.push(tell::queue_in_words(history, queue)),
        _ => parts.extend(focus.node.map(|node| history.node_name(node).to_owned())),
    }
    parts.extend(focus.group.map(|group| format!("group {}", history.group_name(group))));
    parts.push(format!("{:.3} s after the start of the run", violation.at_ns as f64 / 1e9));
    parts.join(", ")
}

fn heal(history: &History) -> Option<u64> {
    let healed = history.events.iter().find(|event| event.kind == crate::history::Kind::Heal);
    healed.map(|event| event.at_ns)
}

fn counts(case: &Case<'_>) -> Vec<(&'static str, String, String)> {
    let (before, now) = (case.original, case.plan);
    let members = |plan: &Plan| plan.groups.iter().map(|group| group.members.len()).sum::<usize>();
    let row = |what, of: &dyn Fn(&Plan) -> usize| (what, of(before).to_string(), of(now).to_string());
    let (first_ns, last_ns) = case.shrinking.simulated_ns;
    vec![
        row("faults and operations", &|plan| plan.steps.len()),
        row("name servers", &|plan| plan.name_servers as usize),
        row("brokers", &|plan| plan.brokers.len()),
        row("producers", &|plan| plan.producers.len()),
        row("consumer groups", &|plan| plan.groups.len()),
        row("consumers", &members),
        (
            "load",
            format!("{:.1} s", before.load_ms as f64 / 1e3),
            format!("{:.1} s", now.load_ms as f64 / 1e3),
        ),
        (
            "simulated time",
            format!("{:.1} s", first_ns as f64 / 1e9),
            format!("{:.1} s", last_ns as f64 / 1e9),
        ),
    ]
}

/// The same story in the run that passes, next to ours.
fn parting(case: &Case<'_>, (without, passing, audit): (&str, &History, &Audit), failing: &Story) -> Parting {
    let mut parting = parting::part(without, case.history, passing);
    let focus = Focus::of(passing, audit, case.violation);
    let theirs = story::story(passing, audit, case.violation, &focus, Beside::default());
    let wrong = failing.lines.iter().find(|line| line.tone == Tone::Wrong);
    // A request is no event: what its receiver did with it is.
    let event = wrong.filter(|line| !line.text.contains("sends commitOffset")).map(|line| line.event);
    let event = event.unwrap_or(case.violation.event);
    parting.counterpart = parting::counterpart(case.history, event, passing);
    (parting.ours, parting.theirs) = (steps(failing), steps(&theirs));
    parting
}

/// Where the story went, in few words.
fn steps(story: &Story) -> Vec<(String, bool)> {
    let mut steps: Vec<(String, bool)> = Vec::new();
    for line in story.lines.iter().filter(|line| line.tone != Tone::Fault || line.step == "fault") {
        let wrong = matches!(line.tone, Tone::Wrong | Tone::Noticed | Tone::Missing);
        let step =
            if line.node.is_empty() { line.step.to_owned() } else { format!("{} {}", line.node, line.step) };
        if steps.len() < STEPS && steps.last() != Some(&(step.clone(), wrong)) {
            steps.push((step, wrong));
        }
    }
    steps
}

/// The last lines before the event, of the nodes that matter.
fn logs(history: &History, detail: &Detail, violation: &Violation, focus: &Focus) -> Vec<String> {
    let nodes: Vec<&str> = focus.nodes(history).into_iter().map(|node| history.node_name(node)).collect();
    let until = violation.at_ns as f64 / 1e9 + 0.5;
    let wanted = detail.logs.iter().filter(|line| {
        let mut words = line.split_whitespace();
        let before = words.next().and_then(|at| at.parse::<f64>().ok()).is_none_or(|at| at <= until);
        before && words.next().is_some_and(|node| nodes.is_empty() || nodes.contains(&node))
    });
    let mut lines: Vec<String> = wanted.cloned().collect();
    lines.drain(..lines.len().saturating_sub(LOGS));
    lines
}

const LOGS: usize = 60;
const STEPS: usize = 24;
