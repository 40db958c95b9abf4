//! `shrink`: the smallest plan that still breaks the same rule.

use std::collections::BTreeSet;
use std::path::PathBuf;

use anyhow::{Context as _, bail};
use lab::check::Rule;
use lab::drive::{self, Options};
use lab::outcome::{Run, Verdict};
use lab::plan::Plan;

use super::interrupt::{self, Interrupt};
use super::{Draws, find, one, plant, reports, say, seed};

/// Takes from a failing plan all that it does not need to fail, faults first, and writes what is left for `replay`.
#[derive(clap::Args)]
pub(super) struct Shrink {
    /// The scenario.
    #[arg(required_unless_present = "plan", requires = "seed")]
    name: Option<String>,
    /// The seed that fails.
    #[arg(long, value_parser = seed)]
    seed: Option<u64>,
    #[command(flatten)]
    draws: Draws,
    /// A plan from a file instead, as `run --save` writes it.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["name", "seed"])]
    plan: Option<PathBuf>,
    /// Switches a planted bug on.
    #[arg(long, value_parser = plant)]
    plant: Vec<&'static str>,
    /// Writes the plan that is left into this file; without it into reports/shrunk.
    #[arg(long, value_name = "FILE")]
    save: Option<PathBuf>,
    /// Plans to try at most.
    #[arg(long, default_value_t = 1000)]
    tries: usize,
}

impl Shrink {
    pub(super) fn go(self) -> anyhow::Result<u8> {
        let plan = self.whole()?;
        let options = Options { plants: self.plant.clone(), ..Options::default() };
        let first = drive::run(&plan, &options).run;
        if first.verdict != Verdict::Fail {
            bail!(
                "{} seed {} is {}: there is nothing to shrink",
                plan.scenario,
                plan.seed,
                first.verdict.name()
            );
        }
        say(&format!("{} faults and operations break {}", plan.steps.len(), first.signature()));
        let asked = Interrupt::listen()?;
        let size = |plan: &Plan| (plan.steps.len(), plan.ops.as_ref().map_or(usize::MAX, Vec::len));
        let mut least = size(&plan);
        let shrunk = lab::shrink::shrink(&plan, self.tries, |candidate| {
            if asked.is_asked() {
                return None;
            }
            let done = drive::run(candidate, &options);
            let same = alike(&first, &done.run);
            if same && size(candidate) < least {
                least = size(candidate);
                let calls =
                    candidate.ops.as_ref().map_or(String::new(), |ops| format!(" with {} calls", ops.len()));
                say(&format!("  {}{calls} are enough", least.0));
            }
            same.then(|| done.told())
        });
        let file = self.save.unwrap_or_else(|| {
            reports().join("shrunk").join(format!("{}-{}.json", plan.scenario, plan.seed))
        });
        if let Some(folder) = file.parent() {
            std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        }
        say(&format!("\n{}", shrunk.plan.to_string().trim_end()));
        let last = drive::run(&shrunk.plan, &options).run;
        one::save(&shrunk.plan, &last, &file)?;
        for violation in last.violations {
            say(&format!("{}: {}", violation.rule.id(), violation.sentence));
        }
        let whole = shrunk.minimal && !asked.is_asked();
        let left = match shrunk.plan.steps.len() {
            _ if !whole => "not all was tried",
            0 => "no fault is needed",
            _ => "without any one of its faults it passes",
        };
        say(&format!("{} plans were tried; {left}", shrunk.tried));
        let plants: String = self.plant.iter().map(|name| format!(" --plant {name}")).collect();
        say(&format!("repeat with: cargo sim replay {}{plants}", file.display()));
        Ok(if asked.is_asked() { interrupt::CODE } else { 0 })
    }

    fn whole(&self) -> anyhow::Result<Plan> {
        match (&self.plan, &self.name, self.seed) {
            (Some(file), ..) => one::load(file).map(|(_, plan)| plan),
            (None, Some(name), Some(seed)) => Ok(self.draws.of(&find(name)?, seed)),
            _ => bail!("name a scenario and --seed, or a --plan"),
        }
    }
}

/// Whether a run failed as the first one did: by one of its rules. Another failure is another story.
pub(super) fn alike(first: &Run, run: &Run) -> bool {
    let broken = rules(first);
    let same = if broken.is_empty() { run.note == first.note } else { !rules(run).is_disjoint(&broken) };
    run.verdict == Verdict::Fail && same
}

fn rules(run: &Run) -> BTreeSet<Rule> {
    run.violations.iter().map(|violation| violation.rule).collect()
}
