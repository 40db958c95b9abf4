//! `run`: one seed, everything about it.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use lab::capsule::Capsule;
use lab::drive::{self, Done, Level, Options};
use lab::outcome::Verdict;
use lab::plan::Plan;

use super::{Draws, find, plant, provenance, say, seed, shrink};

/// Runs one seed of a scenario and tells all about it.
#[derive(clap::Args)]
pub(super) struct Run {
    /// The scenario.
    name: String,
    /// The seed, decimal or 0x hexadecimal; without it one is drawn, and printed first and last.
    #[arg(long, value_parser = seed)]
    seed: Option<u64>,
    /// Writes the plan into this file, for `replay`: of a run that fails, with the calls of its clients.
    #[arg(long, value_name = "FILE")]
    save: Option<PathBuf>,
    #[command(flatten)]
    draws: Draws,
    #[command(flatten)]
    look: Look,
}

/// Runs a plan from a file: what once failed stays as it was when seeds mean other plans.
#[derive(clap::Args)]
pub(super) struct Replay {
    /// The plan, as `run --save` writes it, or a capsule.
    file: PathBuf,
    #[command(flatten)]
    look: Look,
}

/// How closely to look at a run.
#[derive(clap::Args)]
struct Look {
    /// Switches a planted bug on.
    #[arg(long, value_parser = plant)]
    plant: Vec<&'static str>,
    /// Prints the system's log lines of this level and above with their simulated time.
    #[arg(long, value_name = "LEVEL", num_args = 0..=1, default_missing_value = "info")]
    trace: Option<Level>,
    /// Prints the whole history.
    #[arg(long)]
    history: bool,
}

impl Run {
    pub(super) fn go(self) -> anyhow::Result<u8> {
        let scenario = find(&self.name)?;
        let drawn = self.seed.is_none();
        let seed = self.seed.unwrap_or_else(any_seed);
        say(&format!("seed {seed}"));
        let plan = self.draws.of(&scenario, seed);
        let plants = self.look.plant.clone();
        let done =
            self.look.at(&plan, drawn.then_some(seed), lab::outcome::Run::repeat, lab::outcome::Run::explain);
        let Some(file) = self.save else { return Ok(done.run.exit_code()) };
        if done.run.verdict != Verdict::Fail {
            write(&file, serde_json::to_string_pretty(&plan)? + "\n")?;
            return Ok(done.run.exit_code());
        }
        // What failed is kept by what its clients did and by what its faults came after: code changes, and seeds with it.
        let options = Options { plants, ..Options::default() };
        let pinned = lab::shrink::pin(&plan, PINS, |candidate| {
            let again = drive::run(candidate, &options);
            shrink::alike(&done.run, &again.run).then(|| again.told())
        });
        save(&pinned.plan, &done.run, &file)?;
        Ok(done.run.exit_code())
    }
}

impl Replay {
    pub(super) fn go(self) -> anyhow::Result<u8> {
        let name = self.file.display().to_string();
        let (capsule, plan) = load(&self.file)?;
        if let Some(Capsule { broke, story, .. }) = capsule {
            let broke: Vec<_> = broke.iter().map(|rule| rule.id()).collect();
            say(&format!("once it broke {}: {story}\n", broke.join(", ")));
        }
        let again = |what: &str| {
            let plants: String = self.look.plant.iter().map(|bug| format!(" --plant {bug}")).collect();
            format!("cargo sim {what} {name}{plants}")
        };
        let (replay, explain) = (again("replay"), again("explain"));
        Ok(self.look.at(&plan, None, |_| replay.clone(), |_| explain.clone()).run.exit_code())
    }
}

impl Look {
    fn at(
        self,
        plan: &Plan,
        drawn: Option<u64>,
        repeat: impl Fn(&lab::outcome::Run) -> String,
        explain: impl Fn(&lab::outcome::Run) -> String,
    ) -> Done {
        say(plan.to_string().trim_end());
        let options = Options { plants: self.plant, trace: self.trace, ..Options::default() };
        let done = drive::run(plan, &options);
        if self.history {
            (0..done.history.events.len()).for_each(|number| say(&done.history.line(number)));
        }
        let run = &done.run;
        say(&format!(
            "\n{:.1} simulated s in {:.0} ms of CPU ({:.0} ms of it checks), {} events, {} pieces of data delivered{}",
            run.simulated_ns as f64 / 1e9,
            run.cpu_ns as f64 / 1e6,
            run.check_ns as f64 / 1e6,
            run.events,
            run.frames,
            peak_mib().map_or_else(String::new, |mib| format!(", {mib}{MEMORY}"))
        ));
        let table = |name: &str, counts: &std::collections::BTreeMap<String, u64>| {
            let parts: Vec<_> = counts.iter().map(|(name, count)| format!("{name} {count}")).collect();
            say(&format!("{name}: {}", if parts.is_empty() { "none".to_owned() } else { parts.join(", ") }));
        };
        table("sends", &run.sends);
        say(&format!("deliveries: {}, consumed {}", run.deliveries, run.consumed));
        table("repeats, by cause", &run.repeats);
        table("the worst", &run.worst);
        table("faults planned", &run.planned);
        table("effects", &run.effects);
        table("checks", &run.checked);
        if !run.planted.is_empty() {
            table("planted bugs met", &run.planted);
        }
        if run.verdict != Verdict::Pass {
            say("\nthe events around it:");
            run.last_events.iter().for_each(|line| say(line));
        }
        for violation in &run.violations {
            say(&format!(
                "\n{} broken at {:.3} s: {}",
                violation.rule.id(),
                violation.at_ns as f64 / 1e9,
                violation.sentence
            ));
            say(&format!("  the rule: {}", violation.rule.promise()));
        }
        if !run.note.is_empty() {
            say(&format!("\n{}", run.note));
        }
        if let Some(seed) = drawn {
            say(&format!("\nseed {seed}"));
        }
        if run.verdict == Verdict::Fail {
            say(&format!("explain with: {}", explain(run)));
        }
        if run.verdict != Verdict::Pass {
            say(&format!("repeat with: {}", repeat(run)));
        }
        say(&format!("trace {}", run.trace));
        say(&format!("verdict {}", run.verdict.name()));
        done
    }
}

/// Writes a plan that failed for `replay`, with what it broke.
pub(super) fn save(plan: &Plan, run: &lab::outcome::Run, file: &Path) -> anyhow::Result<()> {
    write(file, Capsule::of(run, &provenance().0, plan.clone()).write()?)
}

fn write(file: &Path, text: String) -> anyhow::Result<()> {
    std::fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))
}

/// Reads a capsule that [`save`] wrote, or a plan.
pub(super) fn load(file: &Path) -> anyhow::Result<(Option<Capsule>, Plan)> {
    let text = std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    Capsule::read(&text).with_context(|| format!("{} is neither a plan nor a capsule", file.display()))
}

/// The most memory that this process had, in MiB.
fn peak_mib() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    Some(line.split_whitespace().nth(1)?.parse::<u64>().ok()? / 1024)
}

/// A seed nobody chose.
fn any_seed() -> u64 {
    use std::hash::{BuildHasher as _, RandomState};
    RandomState::new().hash_one(0)
}

/// Behind the memory that a run took, in MiB.
pub(super) const MEMORY: &str = " MiB of memory at most";
/// Runs to find out how a plan that failed can be told without draws and times.
const PINS: usize = 40;
