//! `explain`: from a failing seed or plan to a page that tells why it fails.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use lab::check::{Rule, Violation};
use lab::drive::{self, Done, Options};
use lab::explain::{Again, Case, Shrinking, explain, parting};
use lab::outcome::{Run, Verdict};
use lab::plan::Plan;
use lab::report::{Summary, failure_page};

use super::interrupt::Interrupt;
use super::{Draws, find, one, plant, provenance, reports, say, seed};

/// Writes a page that tells why a plan fails, after taking from the plan what it does not need to fail.
#[derive(clap::Args)]
pub(super) struct Explain {
    /// The scenario, or a plan from a file (FILE.json).
    what: String,
    /// The seed that fails.
    #[arg(long, value_parser = seed)]
    seed: Option<u64>,
    #[command(flatten)]
    draws: Draws,
    /// Switches a planted bug on.
    #[arg(long, value_parser = plant)]
    plant: Vec<&'static str>,
    /// The broken promise to explain, when there are several.
    #[arg(long, value_name = "RULE", value_parser = rule)]
    rule: Option<Rule>,
    /// Smaller plans to try at most; 0 = explain it as it is.
    #[arg(long, default_value_t = 300)]
    tries: usize,
}

impl Explain {
    pub(super) fn go(self) -> anyhow::Result<u8> {
        let file = Path::new(&self.what);
        let from_file = file.extension().is_some_and(|end| end == "json");
        let plan = match (from_file, self.seed) {
            (true, None) => one::load(file)?.1,
            (true, Some(_)) => bail!("a plan from a file has its seed in it: leave --seed out"),
            (false, Some(seed)) => self.draws.of(&find(&self.what)?, seed),
            (false, None) => bail!("name a seed with --seed, or a plan from a file"),
        };
        let seed_form = |run: &Run| (!from_file).then(|| run.repeat());
        let job = Job { plan: &plan, plants: &self.plant, rule: self.rule, tries: self.tries };
        let first = drive::run(&plan, &job.options()).run;
        if first.verdict != Verdict::Fail {
            say(&format!(
                "{} seed {} is {}: there is nothing to explain",
                plan.scenario,
                plan.seed,
                first.verdict.name()
            ));
            return Ok(first.exit_code());
        }
        let asked = Interrupt::listen()?;
        let told = job.explain(&first, seed_form(&first), &|| asked.is_asked())?;
        say(&format!("page: {}", told.page.display()));
        say(&format!("repeat with: {}", told.replay));
        Ok(first.exit_code())
    }
}

/// Pages for the kinds of failure of a campaign, a few, without making their plans smaller.
pub(super) fn pages(summary: &Summary, draws: Draws, plants: &[&'static str]) -> anyhow::Result<()> {
    let failed = summary.failures.iter().filter(|it| it.first.verdict == Verdict::Fail);
    for failure in failed.clone().take(PAGES) {
        let run = &failure.first;
        let plan = draws.of(&find(&run.scenario)?, run.seed);
        let job = Job { plan: &plan, plants, rule: None, tries: 0 };
        let told = job.explain(run, Some(run.repeat()), &|| false)?;
        say(&format!("{}: {}", failure.signature, told.page.display()));
        say(&format!("  its plan as it was drawn; made small by: {}", run.explain()));
    }
    let more = failed.count().saturating_sub(PAGES);
    if more > 0 {
        say(&format!("{more} more kinds of failure have no page yet: `cargo sim explain` writes one"));
    }
    Ok(())
}

/// A plan to explain.
struct Job<'a> {
    plan: &'a Plan,
    plants: &'a [&'static str],
    rule: Option<Rule>,
    tries: usize,
}

/// A page that was written.
struct Told {
    page: PathBuf,
    replay: String,
}

impl Job<'_> {
    fn options(&self) -> Options {
        Options { plants: self.plants.to_vec(), ..Options::default() }
    }

    fn explain(
        &self,
        first: &Run,
        seed_form: Option<String>,
        stop: &dyn Fn() -> bool,
    ) -> anyhow::Result<Told> {
        let Some(chosen) = choose(first, self.rule) else {
            bail!(
                "no promise to explain: {}",
                if first.note.is_empty() { "another one is broken" } else { &first.note }
            );
        };
        let rule = chosen.rule;
        if self.tries > 0 {
            say(&format!("{} broken; looking for a smaller plan, in at most {} runs", rule.id(), self.tries));
        }
        let options = self.options();
        let mut passed: Vec<Plan> = Vec::new();
        let shrunk = lab::shrink::shrink(self.plan, self.tries, |candidate| {
            if stop() {
                return None;
            }
            let done = drive::run(candidate, &options);
            if keeps(&done.run, rule) {
                passed.push(candidate.clone());
            }
            breaks(&done.run, rule).then(|| done.told())
        });
        let plan = &shrunk.plan;
        let done = drive::run(plan, &Options { detail: true, ..options });
        let violation =
            choose(&done.run, Some(rule)).context("the plan does not fail any more in a replay")?.clone();
        let near = self.near(plan, rule, &passed);
        let shrinking = Shrinking {
            tried: shrunk.tried,
            minimal: shrunk.minimal && !stop(),
            skipped: self.tries == 0,
            simulated_ns: (first.simulated_ns, done.run.simulated_ns),
        };
        let folder = reports().join(done.run.folder(rule));
        std::fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        one::save(self.plan, first, &folder.join("original.json"))?;
        self.write(&folder, &done, &violation, (plan, &shrinking, &near), seed_form)
    }

    /// Runs nearby that keep the promise.
    fn near(&self, plan: &Plan, rule: Rule, passed: &[Plan]) -> Vec<(String, Done)> {
        let mut candidates: Vec<Plan> = Vec::new();
        for place in 0..plan.steps.len().min(NEAR) {
            let mut without = plan.clone();
            without.steps.remove(place);
            candidates.push(without);
        }
        // A shorter load leaves out what went wrong, and tells nothing.
        let close = passed.iter().rev().filter(|other| {
            let told = lab::explain::options::differences(plan, other);
            told.len() == 1 && told[0].0 != "load_ms"
        });
        for other in close {
            if !candidates.contains(other) && candidates.len() < NEAR + plan.steps.len() {
                candidates.push(other.clone());
            }
        }
        let mut near = Vec::new();
        for candidate in candidates {
            let done = drive::run(&candidate, &self.options());
            let name = parting::without(plan, &candidate);
            if keeps(&done.run, rule) && !name.is_empty() {
                near.push((name, done));
            }
        }
        if !self.plants.is_empty() {
            let done = drive::run(plan, &Options::default());
            if keeps(&done.run, rule) {
                let many = if self.plants.len() > 1 { "s" } else { "" };
                near.push((format!("without the planted bug{many} {}", self.plants.join(", ")), done));
            }
        }
        near
    }

    fn write(
        &self,
        folder: &Path,
        done: &Done,
        violation: &Violation,
        (plan, shrinking, near): (&Plan, &Shrinking, &[(String, Done)]),
        seed_form: Option<String>,
    ) -> anyhow::Result<Told> {
        let relative = format!("reports/{}", done.run.folder(violation.rule));
        let plants: String = self.plants.iter().map(|name| format!(" --plant {name}")).collect();
        let replay = format!("cargo sim replay {relative}/min.json{plants}");
        let (commit, toolchain) = provenance();
        let explain_line =
            format!("cargo sim explain {relative}/original.json --rule {}{plants}", violation.rule.id());
        let again =
            Again { replay: replay.clone(), seed: seed_form, explain: explain_line, commit, toolchain };
        // The longer two runs are the same, the less there is to compare.
        let latest =
            near.iter().max_by_key(|(name, other)| parting::part(name, &done.history, &other.history).at_ns);
        let needed: Vec<String> = near.iter().map(|(name, _)| format!("{name}.")).collect();
        let detail = done.detail.clone().unwrap_or_default();
        let page = explain(Case {
            plan,
            original: self.plan,
            run: &done.run,
            violation,
            history: &done.history,
            audit: &done.audit,
            detail: &detail,
            shrinking,
            passing: latest.map(|(name, other)| (name.as_str(), &other.history, &other.audit)),
            needed: &needed,
            again: &again,
        });
        one::save(plan, &done.run, &folder.join("min.json"))?;
        let lines: Vec<String> =
            (0..done.history.events.len()).map(|number| done.history.line(number)).collect();
        let put = |name: &str, text: String| {
            std::fs::write(folder.join(name), text)
                .with_context(|| format!("cannot write {name} in {}", folder.display()))
        };
        put("history.txt", lines.join("\n") + "\n")?;
        put("index.html", failure_page(&page))?;
        Ok(Told { page: folder.join("index.html"), replay })
    }
}

/// Whatever else it breaks, it keeps this promise.
fn keeps(run: &Run, rule: Rule) -> bool {
    matches!(run.verdict, Verdict::Pass | Verdict::Fail) && !breaks(run, rule)
}

fn breaks(run: &Run, rule: Rule) -> bool {
    run.verdict == Verdict::Fail && run.violations.iter().any(|violation| violation.rule == rule)
}

/// The broken promise to explain: of the rule that was asked for, or else one that the scenario is about.
fn choose(run: &Run, wanted: Option<Rule>) -> Option<&Violation> {
    if let Some(rule) = wanted {
        return run.violations.iter().find(|violation| violation.rule == rule);
    }
    let about: BTreeSet<Rule> =
        find(&run.scenario).map(|it| it.rules.iter().copied().collect()).unwrap_or_default();
    run.violations.iter().find(|violation| about.contains(&violation.rule)).or(run.violations.first())
}

/// The rule of this name.
fn rule(text: &str) -> Result<Rule, String> {
    let found = Rule::ALL.iter().find(|rule| rule.id().eq_ignore_ascii_case(text)).copied();
    found.ok_or_else(|| format!("{text} is no rule: they are called ACK-1, CON-2 and so on"))
}

/// Pages that a sweep writes at most.
const PAGES: usize = 5;
/// Runs nearby that are looked at.
const NEAR: usize = 8;

#[cfg(test)]
mod tests {
    use lab::report::failure_page;

    use super::*;

    #[test]
    fn what_is_kept_for_a_page_changes_nothing() {
        let plan = find("first_message").unwrap().usual(3);
        let plain = drive::run(&plan, &Options::default());
        let kept = drive::run(&plan, &Options { detail: true, ..Options::default() });
        assert_eq!(plain.run.trace, kept.run.trace);
        assert_eq!(plain.history, kept.history);
        let detail = kept.detail.unwrap();
        assert!(plain.detail.is_none() && !detail.cut_off);
        assert!(detail.notes.iter().any(|note| note.kind == "sent"));
    }

    /// One page of a planted bug: what its reader needs to name the cause.
    fn told(scenario: &str, bug: &'static str, rule: Rule) -> String {
        // Seeds change their meaning: the first that breaks the rule will do.
        let options = Options { plants: vec![bug], detail: true, ..Options::default() };
        let runs = (1..=20).map(|seed| find(scenario).unwrap().usual(seed));
        let mut runs = runs.map(|plan| (drive::run(&plan, &options), plan));
        let (done, plan) = runs.find(|(done, _)| breaks(&done.run, rule)).unwrap();
        let violation = choose(&done.run, Some(rule)).unwrap();
        let page = explain(Case {
            plan: &plan,
            original: &plan,
            run: &done.run,
            violation,
            history: &done.history,
            audit: &done.audit,
            detail: done.detail.as_ref().unwrap(),
            shrinking: &Shrinking::default(),
            passing: None,
            needed: &[],
            again: &Again::default(),
        });
        assert!(!page.space.near.arrows.is_empty(), "somebody told somebody something");
        let html = failure_page(&page);
        assert!(html.len() < 5 << 20, "{} bytes", html.len());
        let (head, _) = html.split_once("id=\"repeat\"").unwrap();
        head.to_owned()
    }

    #[test]
    fn the_head_of_a_page_names_the_cause_of_a_planted_bug() {
        for (scenario, bug, rule, cause) in [
            ("first_message", "M01", Rule::Ack5, "it answered before the sync"),
            ("crash_before_offset_commit", "M19", Rule::Con2, "the listener is not through with"),
            ("transaction_checkback", "M31", Rule::Txn1, "Nobody has committed the transaction yet"),
            ("retry_to_dead_letter", "M44", Rule::Con1, "A dead letter must be stored then"),
        ] {
            let head = told(scenario, bug, rule);
            assert!(head.contains(cause), "{bug}: {head}");
        }
    }
}
