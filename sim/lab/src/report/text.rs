//! The summary as text: for a terminal, and as Markdown.

use std::fmt::Write as _;

use super::{Summary, counts, grouped};
use crate::cover::properties;
use crate::outcome::Verdict;

/// A table for the terminal, and each kind of failure with the line that repeats it.
#[must_use]
pub fn terminal(summary: &Summary) -> String {
    let mut rows = vec![HEAD.map(str::to_owned).to_vec()];
    rows.extend(summary.scenarios.iter().map(|(name, scenario)| row(name, scenario, summary.kinds(name))));
    let mut widths = vec![0; HEAD.len()];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.chars().count().max(*width);
        }
    }
    let mut out = String::new();
    for row in &rows {
        for (place, (cell, width)) in row.iter().zip(&widths).enumerate() {
            let gap = width - cell.chars().count();
            let blanks = " ".repeat(gap);
            // The name is on the left, numbers on the right.
            let _ = if place == 0 { write!(out, "{cell}{blanks}") } else { write!(out, "  {blanks}{cell}") };
        }
        out.push('\n');
    }
    for (name, scenario) in summary.scenarios.iter().filter(|(_, scenario)| !scenario.worst.is_empty()) {
        let _ = writeln!(out, "{name}, the worst: {}", counts(&scenario.worst));
    }
    for failure in &summary.failures {
        let run = &failure.first;
        let _ = writeln!(out, "\n{} {} ({} runs)", run.verdict.name(), failure.signature, failure.runs);
        for violation in &run.violations {
            let _ = writeln!(out, "  {}: {}", violation.rule.id(), violation.sentence);
        }
        if !run.note.is_empty() {
            let _ = writeln!(out, "  {}", run.note);
        }
        let _ = writeln!(out, "  repeat: {}", run.repeat());
    }
    let (met, all) =
        (properties::all().count() - summary.coverage.unmet().count(), properties::all().count());
    let _ = writeln!(out, "\n{met} of {all} properties met; `cargo sim cover` lists the others");
    let _ = writeln!(out, "{}", headline(summary));
    out
}

/// The same for reading on a page.
#[must_use]
pub fn markdown(summary: &Summary) -> String {
    let mut out = format!("<!-- made by: {} -->\n# {}\n\n", summary.made_by, headline(summary));
    let _ =
        writeln!(out, "Commit {}, {}. Made by `{}`.\n", summary.commit, summary.toolchain, summary.made_by);
    let _ = writeln!(out, "| {} |", HEAD.join(" | "));
    let _ = writeln!(out, "|---|{}", "--:|".repeat(HEAD.len() - 1));
    for (name, scenario) in &summary.scenarios {
        let _ = writeln!(out, "| {} |", row(name, scenario, summary.kinds(name)).join(" | "));
    }
    for (name, scenario) in &summary.scenarios {
        let _ = writeln!(out, "\n## {name}\n");
        let _ = writeln!(out, "- seeds {}..{}", scenario.seeds.0, scenario.seeds.1);
        let _ = writeln!(out, "- sends: {}", counts(&scenario.sends));
        let _ = writeln!(out, "- repeats, all with a cause: {}", counts(&scenario.repeats));
        if !scenario.worst.is_empty() {
            let _ = writeln!(out, "- worst: {}", counts(&scenario.worst));
        }
        let _ = writeln!(out, "- faults planned: {}", counts(&scenario.planned));
        let _ = writeln!(out, "- effects seen: {}", counts(&scenario.effects));
        let tried = scenario.tried.iter().map(|(kind, runs)| {
            let idle = scenario.idle.get(kind).copied().unwrap_or(0);
            format!("{kind} {} of {runs}", runs - idle)
        });
        let _ =
            writeln!(out, "- runs in which a kind of fault struck: {}", tried.collect::<Vec<_>>().join(", "));
        let _ = writeln!(out, "- checks by rule: {}", counts(&scenario.checked));
    }
    let unmet = super::unmet(&summary.coverage);
    if !unmet.is_empty() {
        let _ = write!(out, "\n## Never met\n\n");
        for line in unmet.lines() {
            let _ = writeln!(out, "- {line}");
        }
    }
    if !summary.failures.is_empty() {
        out.push_str("\n## Failures\n");
    }
    for failure in &summary.failures {
        let run = &failure.first;
        let _ = writeln!(out, "\n### {} {} ({} runs)\n", run.verdict.name(), failure.signature, failure.runs);
        for violation in &run.violations {
            let _ = writeln!(out, "- {}: {}", violation.rule.id(), violation.sentence);
        }
        if !run.note.is_empty() {
            let _ = writeln!(out, "- {}", run.note);
        }
        let _ = writeln!(out, "\n```\n{}\n{}```", run.repeat(), run.plan);
    }
    out
}

/// The verdict and the sizes, in one line.
pub(super) fn headline(summary: &Summary) -> String {
    let repeated = match summary.repeated {
        Some((runs, same)) => format!(", {} of {} traces repeated", grouped(same), grouped(runs)),
        None => String::new(),
    };
    let interrupted = match summary.wanted > summary.seeds {
        true => format!(" (interrupted: {} were wanted)", grouped(summary.wanted)),
        false => String::new(),
    };
    format!(
        "{}: {} runs{interrupted}, {} failed, {} unknown, {:.1} simulated hours in {:.1} CPU-s ({:.0} s per CPU-s){repeated}",
        summary.verdict.name(),
        grouped(summary.seeds),
        summary.count(Verdict::Fail) + summary.count(Verdict::Error),
        summary.count(Verdict::Unknown),
        summary.simulated_s / 3600.0,
        summary.cpu_s,
        summary.simulated_s / summary.cpu_s.max(1e-9),
    )
}

pub(super) const HEAD: [&str; 12] = [
    "scenario", "runs", "pass", "fail", "unknown", "kinds", "acked", "consumed", "repeats", "faults",
    "CPU ms", "s/CPU-s",
];

pub(super) fn row(name: &str, scenario: &super::ScenarioSummary, kinds: usize) -> Vec<String> {
    vec![
        name.to_owned(),
        grouped(scenario.runs()),
        grouped(scenario.count(Verdict::Pass)),
        grouped(scenario.count(Verdict::Fail) + scenario.count(Verdict::Error)),
        grouped(scenario.count(Verdict::Unknown)),
        kinds.to_string(),
        grouped(scenario.sends.get("ok").copied().unwrap_or(0)),
        grouped(scenario.consumed),
        grouped(scenario.repeats.values().sum()),
        grouped(scenario.planned.values().sum()),
        format!("{:.0}", scenario.cpu_median_ms),
        format!("{:.0}", scenario.speed_median),
    ]
}
