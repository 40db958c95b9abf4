//! The summary as one HTML page that needs nothing else: no script, no font, no network.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::text::{HEAD, headline, row};
use super::{Failure, Matrix, Summary, coverage, grouped, planted};
use crate::capsule::{Capsule, Found};
use crate::check::{RECOVERIES, Rule};
use crate::cover::properties;
use crate::outcome::Verdict;

/// What other commands left for the page of a campaign.
#[derive(Clone, Copy, Debug, Default)]
pub struct Beside<'a> {
    /// The matrix of planted bugs.
    pub planted: Option<&'a Matrix>,
    /// Bugs that were found before, by the names of their capsules.
    pub bugs: &'a [(String, Capsule)],
}

/// The page.
#[must_use]
pub fn html(summary: &Summary, beside: &Beside<'_>) -> String {
    let mut out = format!(
        "<!-- made by: {} -->\n<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>Simulation report: {}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<main>\n",
        escape(&summary.made_by).replace("--", "- -"),
        summary.verdict.name(),
    );
    head(&mut out, summary, beside);
    overview(&mut out, summary);
    recoveries(&mut out, summary);
    for failure in &summary.failures {
        failed(&mut out, failure);
    }
    canary(&mut out, summary);
    planted::section(&mut out, beside.planted);
    coverage::sections(&mut out, &summary.coverage, summary.seeds);
    log(&mut out, beside.bugs);
    for (name, scenario) in &summary.scenarios {
        let _ = write!(out, "<section id=\"{0}\">\n<h2>{0}</h2>\n", escape(name));
        let _ = writeln!(out, "<p>Seeds {} to {}.</p>", scenario.seeds.0, scenario.seeds.1);
        out.push_str("<div class=\"cards\">\n");
        table(&mut out, "Sends by outcome", "outcome", &scenario.sends);
        table(&mut out, "Repeated deliveries, each with a cause", "cause", &scenario.repeats);
        if !scenario.worst.is_empty() {
            table(&mut out, "The worst of all runs", "what", &scenario.worst);
        }
        table(&mut out, "Faults planned", "kind", &scenario.planned);
        table(&mut out, "What they changed", "effect", &scenario.effects);
        out.push_str("</div>\n");
        rules(&mut out, &scenario.checked, &summary.failures, name);
        out.push_str("</section>\n");
    }
    out.push_str(
        "<footer><p>Not simulated: TLS bytes, the real disk and kernel, races between threads. \
         Those are met by the tests on real processes.</p></footer>\n</main>\n</body>\n</html>\n",
    );
    out
}

fn head(out: &mut String, summary: &Summary, beside: &Beside<'_>) {
    let verdict = summary.verdict.name();
    let _ = writeln!(
        out,
        "<h1><span class=\"badge {}\">{verdict}</span> Simulation report</h1>",
        verdict.to_lowercase()
    );
    let _ = writeln!(out, "<p>{}</p>", escape(&headline(summary)));
    let facts = [
        ("command", summary.made_by.clone()),
        ("commit", summary.commit.clone()),
        ("toolchain", summary.toolchain.clone()),
        ("runs", grouped(summary.seeds)),
        ("simulated time", format!("{:.1} h", summary.simulated_s / 3600.0)),
        ("CPU time", format!("{:.2} h", summary.cpu_s / 3600.0)),
        ("simulated time for CPU time", format!("{:.0} : 1", summary.simulated_s / summary.cpu_s.max(1e-9))),
        ("wall time", format!("{:.1} s", summary.wall_s)),
        (
            "delivered pieces of data per CPU-s",
            grouped((summary.frames as f64 / summary.cpu_s.max(1e-9)) as u64),
        ),
        (
            "traces repeated",
            match summary.repeated {
                Some((runs, same)) => format!("{} of {}", grouped(same), grouped(runs)),
                None => "not tried (--check)".to_owned(),
            },
        ),
        (
            "planted bugs found",
            beside.planted.map_or_else(|| "not known (cargo sim mutants)".to_owned(), planted::headline),
        ),
        (
            "properties never met",
            format!("{} of {}", summary.coverage.unmet().count(), properties::all().count()),
        ),
    ];
    out.push_str("<dl>\n");
    for (name, value) in facts {
        let _ = writeln!(out, "<div><dt>{name}</dt><dd>{}</dd></div>", escape(&value));
    }
    out.push_str("</dl>\n");
}

fn overview(out: &mut String, summary: &Summary) {
    out.push_str("<h2>Scenarios</h2>\n<div class=\"wide\"><table>\n<thead><tr>");
    for name in HEAD {
        let _ = write!(out, "<th scope=\"col\">{name}</th>");
    }
    out.push_str("</tr></thead>\n<tbody>\n");
    for (name, scenario) in &summary.scenarios {
        let bad = scenario.runs() != scenario.count(Verdict::Pass);
        let _ = write!(out, "<tr{}>", if bad { " class=\"bad\"" } else { "" });
        for (place, cell) in row(name, scenario, summary.kinds(name)).iter().enumerate() {
            let cell = escape(cell);
            let _ = match place {
                0 => write!(out, "<th scope=\"row\"><a href=\"#{cell}\">{cell}</a></th>"),
                _ => write!(out, "<td>{cell}</td>"),
            };
        }
        out.push_str("</tr>\n");
    }
    out.push_str("</tbody></table></div>\n");
}

/// How long things took after the faults were over, against what is promised.
fn recoveries(out: &mut String, summary: &Summary) {
    out.push_str(
        "<h2>Recovery</h2>\n<p>The longest of all runs, in seconds.</p>\n<div class=\"wide\"><table>\n<thead><tr><th \
         scope=\"col\">scenario</th>",
    );
    for (rule, what, bound_ms) in RECOVERIES {
        let bound = match bound_ms {
            Some(bound) => format!("at most {}", *bound as f64 / 1e3),
            None => "bound by the plan".to_owned(),
        };
        let _ = write!(out, "<th scope=\"col\">{}: {}<br>{bound}</th>", rule.id(), escape(what));
    }
    out.push_str("</tr></thead>\n<tbody>\n");
    for (name, scenario) in &summary.scenarios {
        let _ = write!(out, "<tr><th scope=\"row\">{}</th>", escape(name));
        for (_, what, bound_ms) in RECOVERIES {
            let worst = scenario.worst.get(*what);
            let late = worst.zip(bound_ms.as_ref()).is_some_and(|(worst, bound)| worst > bound);
            let class = if late { " class=\"late\"" } else { "" };
            let told = worst.map_or_else(|| "–".to_owned(), |worst| format!("{:.1}", *worst as f64 / 1e3));
            let _ = write!(out, "<td{class}>{told}</td>");
        }
        out.push_str("</tr>\n");
    }
    out.push_str("</tbody></table></div>\n");
}

/// Whether the campaign finds a bug that it must find.
fn canary(out: &mut String, summary: &Summary) {
    let told = match &summary.canary {
        None => "It was not asked.".to_owned(),
        Some(canary) => match canary.seed {
            Some(seed) => format!("It failed as it must, at seed {seed}: {}", canary.command),
            None => format!("It did not fail: nothing that this campaign says counts. {}", canary.command),
        },
    };
    let _ = writeln!(
        out,
        "<section id=\"canary\">\n<h2>Canary</h2>\n<p>A bug that is planted in every campaign. {}</p>\n</section>",
        escape(&told)
    );
}

/// Real bugs that were found before.
fn log(out: &mut String, capsules: &[(String, Capsule)]) {
    if capsules.is_empty() {
        return;
    }
    out.push_str(
        "<section id=\"bugs\">\n<h2>Bugs found in our own code</h2>\n<p>Each is kept as the plan that found it, which every test \
         runs again: <code>cargo sim replay scenarios/plans/NAME.json</code>.</p>\n<div class=\"wide\"><table><thead><tr><th \
         scope=\"col\">capsule</th><th scope=\"col\" class=\"text\">found in</th><th scope=\"col\" class=\"text\">broke</th><th \
         scope=\"col\" class=\"text\">what went wrong</th><th scope=\"col\" class=\"text\">mended by</th></tr></thead><tbody>\n",
    );
    for (name, capsule) in capsules {
        let rules: Vec<_> = capsule.broke.iter().map(|rule| rule.id()).collect();
        let _ = writeln!(
            out,
            "<tr><th scope=\"row\">{}</th><td class=\"text\">{}, {} {}</td><td class=\"text\">{}</td><td class=\"text\">{}</td>\
             <td class=\"text\">{}</td></tr>",
            escape(name),
            if capsule.found == Found::Bug { "the system" } else { "a rule" },
            escape(&capsule.plan.scenario),
            capsule.plan.seed,
            rules.join(", "),
            escape(&capsule.story),
            escape(&capsule.mended)
        );
    }
    out.push_str("</tbody></table></div>\n</section>\n");
}

fn failed(out: &mut String, failure: &Failure) {
    let run = &failure.first;
    let verdict = run.verdict.name();
    let _ = write!(
        out,
        "<section class=\"failure\">\n<h2><span class=\"badge {}\">{verdict}</span> {}</h2>\n",
        verdict.to_lowercase(),
        escape(&failure.signature)
    );
    for violation in &run.violations {
        let _ = writeln!(
            out,
            "<p class=\"sentence\">{}</p>\n<p class=\"rule\">{} at {:.3} s: {}</p>",
            escape(&violation.sentence),
            violation.rule.id(),
            violation.at_ns as f64 / 1e9,
            escape(violation.rule.promise())
        );
    }
    if !run.note.is_empty() {
        let _ = writeln!(out, "<p class=\"sentence\">{}</p>", escape(&run.note));
    }
    let _ = writeln!(
        out,
        "<p>{} runs failed so; this is the one with the smallest seed. To repeat it:</p>\n<pre>{}</pre>",
        grouped(failure.runs),
        escape(&run.repeat())
    );
    if run.verdict == Verdict::Fail {
        let _ = writeln!(out, "<p>A page that tells why:</p>\n<pre>{}</pre>", escape(&run.explain()));
    }
    if !run.plan.is_empty() {
        let _ = writeln!(
            out,
            "<details open><summary>What was planned</summary><pre>{}</pre></details>",
            escape(&run.plan)
        );
    }
    if !run.last_events.is_empty() {
        let lines = escape(&run.last_events.join("\n"));
        let _ = writeln!(
            out,
            "<details open><summary>The events around it</summary><pre>{lines}</pre></details>"
        );
    }
    out.push_str("</section>\n");
}

fn table(out: &mut String, title: &str, column: &str, counts: &BTreeMap<String, u64>) {
    let _ = writeln!(out, "<div><h3>{title}</h3>");
    if counts.is_empty() {
        out.push_str("<p>None.</p></div>\n");
        return;
    }
    let _ = writeln!(
        out,
        "<table><thead><tr><th scope=\"col\">{column}</th><th scope=\"col\">count</th></tr></thead><tbody>"
    );
    for (name, count) in counts {
        let _ = writeln!(out, "<tr><th scope=\"row\">{}</th><td>{}</td></tr>", escape(name), grouped(*count));
    }
    out.push_str("</tbody></table></div>\n");
}

fn rules(out: &mut String, checked: &BTreeMap<String, u64>, failures: &[Failure], scenario: &str) {
    out.push_str(
        "<h3>Rules</h3>\n<div class=\"wide\"><table><thead><tr><th scope=\"col\">rule</th><th scope=\"col\">promise</th>\
         <th scope=\"col\">checks</th><th scope=\"col\">kinds of failure</th></tr></thead><tbody>\n",
    );
    for rule in Rule::ALL.iter().filter(|rule| **rule != Rule::Panic) {
        let breaks = |failure: &&Failure| {
            failure.first.scenario == scenario && failure.first.violations.iter().any(|it| it.rule == *rule)
        };
        let broken = failures.iter().filter(breaks).count();
        let _ = writeln!(
            out,
            "<tr{}><th scope=\"row\">{}</th><td class=\"text\">{}</td><td>{}</td><td>{broken}</td></tr>",
            if broken > 0 { " class=\"bad\"" } else { "" },
            rule.id(),
            escape(rule.promise()),
            grouped(checked.get(rule.id()).copied().unwrap_or(0)),
        );
    }
    out.push_str("</tbody></table></div>\n");
}

pub(super) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for char in text.chars() {
        match char {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            other => out.push(other),
        }
    }
    out
}

const STYLE: &str = "
:root { color-scheme: light dark; --ink: #1b1f24; --paper: #fff; --soft: #f4f5f7; --line: #d5d9df; --dim: #57606a;
  --pass: #1a7f37; --fail: #c62828; --unknown: #9a6700; --bad: #fdecea; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e8eb; --paper: #14171a; --soft: #1e2328; --line: #363c43;
  --dim: #9aa4af; --pass: #3fb950; --fail: #ff7b72; --unknown: #d8a028; --bad: #3a1d1d; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink); font: 15px/1.5 system-ui, sans-serif; }
main { max-width: 76rem; margin: 0 auto; padding: 1.5rem; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.25rem; margin-top: 2.2rem; } h3 { font-size: 1rem; margin: 1rem 0 .4rem; }
a { color: inherit; }
.badge { color: var(--paper); border-radius: .3rem; padding: .1em .5em; font-size: .8em; background: var(--dim); }
.badge.pass { background: var(--pass); } .badge.fail, .badge.error { background: var(--fail); }
.badge.unknown { background: var(--unknown); }
dl { display: flex; flex-wrap: wrap; gap: .5rem 2rem; } dt { color: var(--dim); font-size: .85rem; } dd { margin: 0; }
.wide, .cards > div { overflow-x: auto; max-width: 100%; } .cards { display: flex; flex-wrap: wrap; gap: 0 2.5rem; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .3rem .7rem; border-bottom: 1px solid var(--line); text-align: right; vertical-align: top; }
thead th { color: var(--dim); font-weight: 600; background: var(--soft); }
th:first-child, td.text { text-align: left; } tbody th { font-weight: 500; white-space: nowrap; }
tr.bad { background: var(--bad); }
.failure { border-left: .3rem solid var(--fail); padding-left: 1rem; }
.sentence { font-size: 1.05rem; font-weight: 600; margin-bottom: 0; } .rule { color: var(--dim); margin-top: .2rem; }
pre { background: var(--soft); border: 1px solid var(--line); border-radius: .3rem; padding: .7rem; overflow-x: auto;
  font: 13px/1.45 ui-monospace, monospace; }
td.late { color: var(--fail); font-weight: 700; }
td { white-space: nowrap; } th.text, td.text { text-align: left; } td.text { white-space: normal; min-width: 11rem; }
.heat td { text-align: center; background: color-mix(in srgb, var(--pass) calc(var(--heat, 0) * 60%), transparent); }
.heat td.none { background: repeating-linear-gradient(45deg, var(--bad) 0 4px, transparent 4px 8px); }
.upright { vertical-align: bottom; } .upright span { white-space: nowrap; writing-mode: vertical-rl; transform: rotate(180deg); }
.knobs { display: block; } .knobs div { margin: .5rem 0; } .knobs dd { display: flex; flex-wrap: wrap; gap: .3rem; }
.knobs span { border: 1px solid var(--line); border-radius: .25rem; padding: 0 .4rem; font-size: .85rem; overflow-wrap: anywhere;
  background: linear-gradient(to right, color-mix(in srgb, var(--pass) 35%, transparent) var(--part), transparent var(--part)); }
.knobs small { color: var(--dim); }
summary { cursor: pointer; margin: .5rem 0; }
footer { margin-top: 3rem; color: var(--dim); font-size: .9rem; }
@media print { body { font-size: 11px; } details { break-inside: avoid; } }
";
