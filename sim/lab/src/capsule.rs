//! A capsule: a plan that once failed, with the rule that it broke and what became of it. Seeds change their meaning when
//! the generator changes; a capsule does not.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use crate::check::Rule;
use crate::plan::Plan;

/// A plan that once failed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Capsule {
    /// Of the format: 1.
    pub capsule: u32,
    /// What it found.
    pub found: Found,
    /// The rules that it broke; none when that was not noted.
    pub broke: Vec<Rule>,
    /// What went wrong, for whom, in a sentence or two.
    pub story: String,
    /// First line of the commit that mended it.
    pub mended: String,
    /// Everything the run does.
    pub plan: Plan,
}

/// What was wrong when a plan failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Found {
    /// The system.
    Bug,
    /// The rule, which blamed the system for what is right.
    Rule,
}

impl Capsule {
    /// Reads a capsule, or a plan alone.
    pub fn plan_of(text: &str) -> serde_json::Result<Plan> {
        #[derive(Deserialize)]
        struct Kind {
            capsule: Option<u32>,
        }
        match serde_json::from_str::<Kind>(text)?.capsule {
            Some(_) => serde_json::from_str::<Self>(text).map(|capsule| capsule.plan),
            None => serde_json::from_str(text),
        }
    }
}

/// The page that lists what capsules found, by the names of their files.
#[must_use]
pub fn bugs(capsules: &[(String, Capsule)]) -> String {
    let mut page = String::from(
        "# Bugs that the simulator found in our own code\n\n\
         Each line is a capsule in scenarios/plans: the run that found it, kept as it was. `cargo sim replay FILE` runs it, a test\n\
         runs all of them, and `cargo sim report` writes this page from them.\n",
    );
    let parts = [
        (Found::Bug, "In the system", "mended by"),
        (Found::Rule, "In the rules, which blamed the system for what is right", "corrected by"),
    ];
    for (found, title, verb) in parts {
        let rows = capsules.iter().filter(|(_, capsule)| capsule.found == found);
        let _ = write!(
            page,
            "\n## {title}\n\n| capsule | broke | what went wrong | {verb} |\n|---|---|---|---|\n"
        );
        for (name, Capsule { broke, story, mended, plan, .. }) in rows {
            let rules: Vec<_> = broke.iter().map(|rule| rule.id()).collect();
            let rules = if rules.is_empty() { "not noted".to_owned() } else { rules.join(", ") };
            let from = format!("{} seed {}", plan.scenario, plan.seed);
            let _ = writeln!(page, "| {name} ({from}) | {rules} | {story} | {mended} |");
        }
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::swarm::{Size, base};

    #[test]
    fn a_capsule_and_a_plan_alone_are_both_read() {
        let plan = base("first_message", 7, Size::QUICK);
        let capsule = Capsule {
            capsule: 1,
            found: Found::Bug,
            broke: vec![Rule::Ack1],
            story: "It was lost.".to_owned(),
            mended: "store: it is kept".to_owned(),
            plan: plan.clone(),
        };
        let text = serde_json::to_string(&capsule).unwrap();
        assert_eq!(serde_json::from_str::<Capsule>(&text).unwrap(), capsule);
        assert_eq!(Capsule::plan_of(&text).unwrap(), plan);
        assert_eq!(Capsule::plan_of(&serde_json::to_string(&plan).unwrap()).unwrap(), plan);
        assert!(Capsule::plan_of(&text.replace("\"story\"", "\"stroy\"")).is_err());
        assert!(
            bugs(&[("name".to_owned(), capsule)])
                .contains("| name (first_message seed 7) | ACK-1 | It was lost. | store: it is kept |")
        );
    }
}
