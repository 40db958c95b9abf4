//! What real runs came to: a line each, and a page in reports/.

use std::collections::BTreeMap;
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

/// Writes the page.
pub(crate) fn write(told: &[(Scenario, Told)], make: &Make) -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let command = ["cargo sim real".to_owned()].into_iter().chain(arguments).collect::<Vec<_>>().join(" ");
    let mut page = format!("<!-- made by: {command} -->\n# Real processes: {}\n\n", make.name());
    page += "The plans of the simulator, shortened, on real processes with real files and real time: kill -9, SIGTERM, \
             SIGSTOP and a proxy on every link. The same history, and the same rules.\n\n";
    runs(&mut page, told);
    rules(&mut page, told);
    left_out(&mut page, told);
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

/// Each rule: how much of it is judged here, how much it looked at, and what broke it.
fn rules(page: &mut String, told: &[(Scenario, Told)]) {
    let mut checked: BTreeMap<Rule, u64> = BTreeMap::new();
    for (rule, count) in told.iter().flat_map(|(_, told)| &told.checked) {
        *checked.entry(*rule).or_default() += count;
    }
    *page += "\n## Rules\n\nNo part of a real process tells about itself, so a rule is judged by what clients see, by what \
              servers answer, and by the files of stopped brokers.\n\n";
    *page += "| rule | judged | looked at | kept |\n|---|---|---|---|\n";
    for rule in Rule::ALL {
        let count = checked.get(rule).copied().unwrap_or(0);
        let broken = told.iter().flat_map(|(_, told)| &told.violations).filter(|it| it.rule == *rule).count();
        let (judged, blind) = match rule.without_taps() {
            Sight::Whole => ("in full".to_owned(), false),
            Sight::Part(how) => (format!("in part: {how}"), false),
            Sight::Blind(why) => (format!("no, it takes knowing {why}"), true),
        };
        let kept = match (broken, blind, count) {
            (1.., ..) => "**broken**",
            (0, true, _) => "",
            (0, false, 0) if !matches!(rule, Rule::L12 | Rule::Panic) => "nothing to look at",
            (0, false, _) => "yes",
        };
        let count = if blind { String::new() } else { count.to_string() };
        let _ = writeln!(page, "| {} | {judged} | {count} | {kept} |", rule.id());
    }
    if told.iter().all(|(_, told)| told.violations.is_empty()) {
        return;
    }
    *page += "\n## What was broken\n";
    for (scenario, told) in told.iter().filter(|(_, told)| !told.violations.is_empty()) {
        let _ = writeln!(page, "\n### {} seed {}\n", scenario.name, told.fit.plan.seed);
        for violation in &told.violations {
            let _ = writeln!(
                page,
                "- {} ({}) {}",
                violation.rule.id(),
                violation.rule.promise(),
                violation.sentence
            );
        }
        let _ = writeln!(page, "\n```\n{}```\n\n```\n{}\n```", told.fit.plan, told.around.join("\n"));
    }
}

fn left_out(page: &mut String, told: &[(Scenario, Told)]) {
    *page += "\n## What was left out of the plans\n\n";
    for (scenario, told) in told {
        let left_out: Vec<_> = told.fit.left_out.iter().map(String::as_str).collect();
        let _ = writeln!(page, "- {}: {}", scenario.name, left_out.join("; "));
    }
}
