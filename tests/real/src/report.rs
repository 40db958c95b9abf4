//! What real runs came to: a line each, and a page in reports/.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;

use anyhow::Result;
use lab::check::{Rule, Sight};
use lab::scenario::Scenario;

use crate::run::Told;
use crate::servers::Make;

/// The page among the reports.
pub(crate) const FILE: &str = "real.md";

/// One run in a line, with what it broke below.
pub(crate) fn line(scenario: &Scenario, told: &Told) -> String {
    let plan = &told.fit.plan;
    let verdict = verdict(told);
    let mut line = format!(
        "{verdict:7} {} seed {}: {} acknowledged, {} consumed, {} faults, {:.0} s",
        scenario.name,
        plan.seed,
        told.sends.get("ok").copied().unwrap_or(0),
        told.consumed,
        plan.faults(),
        told.took.as_secs_f64()
    );
    let left_out: Vec<_> = told.fit.left_out.iter().map(String::as_str).collect();
    let _ = write!(line, "\n    left out: {}", left_out.join("; "));
    for violation in &told.violations {
        let _ = write!(line, "\n    {}: {}", violation.rule.id(), violation.sentence);
    }
    if !told.violations.is_empty() {
        let _ = write!(line, "\n{plan}");
        told.around.iter().for_each(|event| line += &format!("\n    {event}"));
    }
    line
}

fn verdict(told: &Told) -> &'static str {
    match (told.violations.is_empty(), told.says_something()) {
        (false, _) => "FAIL",
        (true, false) => "UNKNOWN",
        (true, true) => "PASS",
    }
}

/// What the runs against servers of one make came to.
pub(crate) type Of = (Make, Vec<(Scenario, Told)>);

/// Writes the page.
pub(crate) fn write(all: &[Of]) -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let command = ["cargo sim real".to_owned()].into_iter().chain(arguments).collect::<Vec<_>>().join(" ");
    let names: Vec<String> = all.iter().map(|(make, _)| make.name()).collect();
    let mut page = format!("<!-- made by: {command} -->\n# Real processes: {}\n\n", names.join(", "));
    page += "The plans of the simulator, shortened, on real processes with real files and real time: kill -9, SIGTERM, \
             SIGSTOP and a proxy on every link. The same history, and the same rules.\n";
    for (make, told) in all {
        let _ = writeln!(page, "\n## Runs against {}\n", make.name());
        runs(&mut page, told);
    }
    rules(&mut page, all);
    broken(&mut page, all);
    left_out(&mut page, all);
    let folder = golden::workspace().join("reports");
    fs::create_dir_all(&folder)?;
    Ok(fs::write(folder.join(FILE), page)?)
}

fn runs(page: &mut String, told: &[(Scenario, Told)]) {
    *page += "| scenario | seed | verdict | acknowledged | unknown | delivered | consumed | faults | what they did | time |\n";
    *page += "|---|---|---|---|---|---|---|---|---|---|\n";
    for (scenario, told) in told {
        let effects: Vec<_> = told.effects.iter().map(|(what, count)| format!("{count} {what}")).collect();
        let sends = |outcome: &str| told.sends.get(outcome).copied().unwrap_or(0);
        let _ = writeln!(
            page,
            "| {} | {} | {} | {} | {} | {} | {} | {} | {} | {:.0} s |",
            scenario.name,
            told.fit.plan.seed,
            verdict(told),
            sends("ok"),
            sends("unknown"),
            told.deliveries,
            told.consumed,
            told.fit.plan.faults(),
            effects.join(", "),
            told.took.as_secs_f64()
        );
    }
}

/// Each rule: how much of it is judged here, and for each make how much it looked at, and whether that broke it.
fn rules(page: &mut String, all: &[Of]) {
    *page += "\n## Rules\n\nNo part of a real process tells about itself, so a rule is judged by what clients see, by what \
              servers answer, and by the files of stopped brokers.\n\n";
    *page += "| rule | judged |";
    for (make, _) in all {
        let _ = write!(page, " {}: looked at | kept |", make.name());
    }
    let _ = writeln!(page, "\n|---|---|{}", "---|---|".repeat(all.len()));
    for rule in Rule::ALL {
        let (judged, blind) = match rule.without_taps() {
            Sight::Whole => ("in full".to_owned(), false),
            Sight::Part(how) => (format!("in part: {how}"), false),
            Sight::Blind(why) => (format!("no, it takes knowing {why}"), true),
        };
        let _ = write!(page, "| {} | {judged} |", rule.id());
        for (_, told) in all {
            let count: u64 = told.iter().filter_map(|(_, told)| told.checked.get(rule)).sum();
            let violations = told.iter().flat_map(|(_, told)| &told.violations);
            let kept = match (violations.filter(|it| it.rule == *rule).count(), blind, count) {
                (1.., ..) => "**broken**",
                (0, true, _) => "",
                (0, false, 0) if !matches!(rule, Rule::L12 | Rule::Panic) => "nothing to look at",
                (0, false, _) => "yes",
            };
            let count = if blind { String::new() } else { count.to_string() };
            let _ = write!(page, " {count} | {kept} |");
        }
        *page += "\n";
    }
}

/// What was broken, the plan that did it, and what happened to the first message or queue that shows it, for each rule.
fn broken(page: &mut String, all: &[Of]) {
    let runs =
        all.iter().flat_map(|(make, told)| told.iter().map(move |(scenario, told)| (make, scenario, told)));
    let mut broken = runs.filter(|(.., told)| !told.violations.is_empty()).peekable();
    if broken.peek().is_none() {
        return;
    }
    *page += "\n## What was broken\n";
    for (make, scenario, told) in broken {
        let _ = writeln!(page, "\n### {}: {} seed {}\n", make.name(), scenario.name, told.fit.plan.seed);
        for violation in &told.violations {
            let (id, promise) = (violation.rule.id(), violation.rule.promise());
            let _ = writeln!(page, "- {id} ({promise}) {}", violation.sentence);
        }
        let _ = writeln!(page, "\n```\n{}```", told.fit.plan);
        for (rule, lines) in &told.evidence {
            let _ = writeln!(page, "\n{}, what happened:\n\n```\n{}\n```", rule.id(), lines.join("\n"));
        }
        if told.evidence.is_empty() {
            let _ = writeln!(page, "\n```\n{}\n```", told.around.join("\n"));
        }
    }
}

fn left_out(page: &mut String, all: &[Of]) {
    *page += "\n## What was left out of the plans\n\n";
    let mut told_of = BTreeSet::new();
    for (scenario, told) in all.iter().flat_map(|(_, told)| told) {
        let left_out: Vec<_> = told.fit.left_out.iter().map(String::as_str).collect();
        let line = format!("- {}: {}", scenario.name, left_out.join("; "));
        if told_of.insert(line.clone()) {
            let _ = writeln!(page, "{line}");
        }
    }
}
