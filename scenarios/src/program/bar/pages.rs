//! What other commands wrote before.

use super::super::campaign::planted;
use super::super::night::Told;
use super::{Row, Verdict, judged, not_known, reports};
use crate::list;

pub(super) fn planted_bugs() -> Row {
    let goal = "all >= 60 planted bugs found within 200 seeds, >= 90 % within 20, >= 60 % within 3; swarm alone >= 90 % within 200";
    let Some(planted_here) = planted("mutants.json") else {
        return not_known("N8", goal, "run `cargo sim mutants` first: reports/mutants.json is missing");
    };
    let scores = [3, 20, 200].map(|seeds| planted_here.score(None, seeds));
    let swarm = planted("mutants-swarm.json").map(|swarm| swarm.score(None, 200));
    let share = |(found, all): (usize, usize)| found as f64 / all.max(1) as f64;
    let told = swarm.map_or("not measured".to_owned(), |(found, all)| format!("{found} of {all} within 200"));
    let (all, least) = (scores[2].1, swarm.is_none_or(|swarm| share(swarm) >= 0.9));
    let enough = share(scores[2]) >= 1.0 && share(scores[1]) >= 0.9 && share(scores[0]) >= 0.6 && least;
    Row {
        id: "N8",
        goal,
        measured: format!(
            "{} of {all} within 3 seeds, {} within 20, {} within 200 (commit {}); swarm alone: {told}",
            scores[0].0, scores[1].0, scores[2].0, planted_here.commit
        ),
        verdict: match enough && all >= 60 {
            true if swarm.is_none() => {
                Verdict::NotMeasured("`cargo sim mutants --swarm` was not run".to_owned())
            }
            true => Verdict::Met,
            false if enough => {
                Verdict::Missed(format!("{all} bugs have their feature; the others wait for theirs"))
            }
            false => Verdict::Missed("reports/mutants.md and mutants-swarm.md tell which survive".to_owned()),
        },
    }
}

pub(super) fn attribution() -> Row {
    let goal = ">= 95 % of planted bugs are flagged by an expected rule first";
    let Some(planted) = planted("mutants.json") else {
        return not_known("N9", goal, "run `cargo sim mutants` first: reports/mutants.json is missing");
    };
    let (right, noticed) = planted.attributed();
    Row {
        id: "N9",
        goal,
        measured: format!("{right} of {noticed}"),
        verdict: judged(
            right as f64 >= 0.95 * noticed as f64 && noticed > 0,
            "reports/mutants.md tells which",
        ),
    }
}

pub(super) fn nightly() -> Row {
    let goal =
        "nightly: 8 h, seeds disjoint from all earlier nights, planted bugs <= 45 min, >= 20 soak seeds";
    let Some(night) = Told::last() else {
        return not_known("N16", goal, "run `cargo sim night` first: reports/night.json is missing");
    };
    let enough = night.planted_minutes <= 45.0 && night.soak >= 20;
    Row {
        id: "N16",
        goal,
        measured: format!(
            "night {}: {:.1} h, {} runs, {} of them soak, {} did not pass; planted bugs in {:.1} min (commit {})",
            night.number,
            night.hours,
            night.runs,
            night.soak,
            night.not_passed,
            night.planted_minutes,
            night.commit
        ),
        verdict: match night.hours >= 7.9 {
            false if enough => {
                Verdict::NotMeasured("it was shorter than a night; all else is met".to_owned())
            }
            _ => judged(enough, "fewer soak seeds, or more time for planted bugs, than there should be"),
        },
    }
}

/// Of what `cargo sim real` wrote, the row of each scenario: `| name | seed | PASS | ..`.
pub(super) fn real() -> Row {
    let goal = "every scenario whose needs can be met also runs on real processes";
    let Ok(text) = std::fs::read_to_string(reports().join("real.md")) else {
        return not_known("N17", goal, "reports/real.md is missing: `cargo sim real` writes it");
    };
    let ends = |name: &str, end: &str| {
        text.lines().filter(|line| line.starts_with(&format!("| {name} |")) && line.contains(end)).count()
    };
    let names: Vec<_> = list::all().iter().map(|scenario| scenario.name).collect();
    let kept = |name: &&&str| ends(name, "| PASS |") > 0 && ends(name, "| FAIL |") == 0;
    let (ran, kept) = (
        names.iter().filter(|name| ends(name, "") > 0).count(),
        names.iter().filter(|name| kept(name)).count(),
    );
    Row {
        id: "N17",
        goal,
        measured: format!(
            "{ran} of {} scenarios were run on real processes, {kept} kept all rules",
            names.len()
        ),
        verdict: judged(
            ran == names.len() && kept == ran,
            "reports/real.md tells which, and what was left out",
        ),
    }
}
