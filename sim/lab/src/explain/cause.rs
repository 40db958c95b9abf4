//! Where a promise first went wrong, beside what it allows; and where that was noticed.

use super::focus::Focus;
use super::options::{self, Hang};
use super::story::{Line, Story, Tone, Verdict};
use crate::check::{Rule, Violation};
use crate::plan::Plan;

/// The earliest step that is known to be out of order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Cause {
    /// False: the history does not tell more than what shows the broken promise.
    pub is_known: bool,
    /// When; none: it should have happened and never did.
    pub at_ns: Option<u64>,
    /// On which node.
    pub node: String,
    /// What happened there.
    pub text: String,
    /// What the promise allows.
    pub expected: String,
    /// What was instead.
    pub actual: String,
    /// The part of the promise that broke, when it has several.
    pub clause: Option<&'static str>,
    /// Options that decide what is allowed.
    pub hangs: Vec<Hang>,
    /// What followed from it, and what shows it.
    pub noticed: Vec<String>,
}

/// Reads it from the story.
#[must_use]
pub fn cause(plan: &Plan, violation: &Violation, focus: &Focus, story: &Story) -> Option<Cause> {
    let first = story.first()?;
    let verdict = first.verdict.clone().unwrap_or_else(|| Verdict {
        expected: violation.rule.promise().to_owned(),
        actual: violation.sentence.clone(),
    });
    let clause = clause(violation);
    let expected = match (&first.verdict, clause) {
        (None, Some(clause)) => clause.to_owned(),
        _ => verdict.expected,
    };
    let later = story.wrong().filter(|line| *line != first);
    Some(Cause {
        is_known: first.tone != Tone::Noticed,
        at_ns: (first.tone != Tone::Missing).then_some(first.at_ns),
        node: first.node.clone(),
        text: first.text.clone(),
        expected,
        actual: verdict.actual,
        clause,
        hangs: options::hangs(plan, violation.rule, focus),
        noticed: later.take(NOTICED).map(noticed).collect(),
    })
}

fn noticed(line: &Line) -> String {
    match line.tone == Tone::Missing || line.node.is_empty() {
        true => format!("In the end: {}", line.text),
        false => format!("At {:.6} s on {}: {}", line.at_ns as f64 / 1e9, line.node, line.text),
    }
}

/// The part of a promise that a violation is about.
#[must_use]
pub fn clause(violation: &Violation) -> Option<&'static str> {
    let says = |text: &str| violation.sentence.contains(text);
    Some(match violation.rule {
        Rule::Txn5 if says("after its end") => "Nobody is asked after the end of the transaction.",
        Rule::Txn5 if says("after it was stored") => "Nobody is asked before the immunity is over.",
        Rule::Txn5 if says(" later") => "Nobody is asked too fast: there is a time between two questions.",
        Rule::Txn5 if says("after number") => "Questions are counted one by one.",
        Rule::Txn5 => "Nobody is asked too often.",
        Rule::Txn4 if says("given up") => "What stays unknown is given up once, after the last check.",
        Rule::Txn4 if says("looked at nothing") => "Who is asked answers.",
        Rule::Txn4 => "What a producer committed is delivered.",
        Rule::Log2 if says("points to") => "Each entry of a queue points to its record.",
        Rule::Log2 if says("has no entry") => "Each record has its entry.",
        Rule::Log2 => "Entries of a queue run without gap or repeat.",
        Rule::Log5 if says("before its predecessor") => "Records of the log do not go back in time.",
        Rule::Log5 if says("says it is at") => "Records of the log say their own position.",
        Rule::Log5 => "Records of the log are whole.",
        Rule::Log6 if says("was killed when nothing was going on") => {
            "Recovering again gives the same state."
        }
        Rule::Log6 => "Recovery is complete: nothing is left behind the end of the log.",
        Rule::Ack3 if says("was deleted") => {
            "What is delivered was sent to this topic. What was sent before its deletion was sent to another of the same name."
        }
        Rule::Ack3 if says("never sent") => "What is delivered was sent by some producer.",
        Rule::Ack3 if says("another topic") => "What is delivered has the topic it was sent to.",
        Rule::Ack3 if says("its body") => "What is delivered has the body that was sent.",
        Rule::Ack3 => "What is delivered has the properties that were sent.",
        _ => return None,
    })
}

/// What is shown of that.
const NOTICED: usize = 3;
