//! `shrink`: the smallest plan that still breaks the same rule.

use std::collections::BTreeSet;
use std::path::PathBuf;

use anyhow::{Context as _, bail};
use lab::check::Rule;
use lab::drive::{self, Options};
use lab::outcome::{Run, Verdict};
use lab::plan::Plan;

use super::interrupt::{self, Interrupt};
use super::{find, one, plant, reports, say, seed};

/// Takes from a failing plan all that it does not need to fail, faults first, and writes what is left for `replay`.
#[derive(clap::Args)]
pub(super) struct Shrink {
    /// The scenario.
    #[arg(required_unless_present = "plan", requires = "seed")]
    name: Option<String>,
    /// The seed that fails.
    #[arg(long, value_parser = seed)]
    seed: Option<u64>,
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
        let broken = rules(&first);
        let mut least = plan.steps.len();
        let shrunk = lab::shrink::shrink(&plan, self.tries, |candidate| {
            if asked.is_asked() {
                return false;
            }
            let run = drive::run(candidate, &options).run;
            // Another failure is another story.
            let alike =
                if broken.is_empty() { run.note == first.note } else { !rules(&run).is_disjoint(&broken) };
            let same = run.verdict == Verdict::Fail && alike;
            if same && candidate.steps.len() < least {
                least = candidate.steps.len();
                say(&format!("  {least} are enough"));
            }
            same
        });
        let file = self.save.unwrap_or_else(|| {
            reports().join("shrunk").join(format!("{}-{}.json", plan.scenario, plan.seed))
        });
        if let Some(folder) = file.parent() {
            std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        }
        one::save(&shrunk.plan, &file)?;
        say(&format!("\n{}", shrunk.plan.to_string().trim_end()));
        for violation in drive::run(&shrunk.plan, &options).run.violations {
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
            (Some(file), ..) => one::load(file),
            (None, Some(name), Some(seed)) => Ok((find(name)?.plan)(seed)),
            _ => bail!("name a scenario and --seed, or a --plan"),
        }
    }
}

fn rules(run: &Run) -> BTreeSet<Rule> {
    run.violations.iter().map(|violation| violation.rule).collect()
}
