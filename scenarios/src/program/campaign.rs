//! `sweep`, and the campaign of `cargo sim` alone: many seeds on all cores, a progress line, the report.

use std::io::{IsTerminal as _, Write as _};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use lab::drive::{self, Options};
use lab::outcome::{Run, Verdict, gravest};
use lab::plan::Profile;
use lab::report::{Beside, Canary, Matrix, Summary, github, html, junit, markdown, terminal};
use lab::scenario::Scenario;

use super::interrupt::{self, Interrupt};
use super::{Draws, command_line, explain, find, plant, provenance, reports, say, seeds};
use crate::list;

/// Runs many seeds and writes the report.
#[derive(clap::Args)]
pub(super) struct Sweep {
    /// The scenarios; all without a name.
    names: Vec<String>,
    /// The seeds, A..B without B or A..=B with it.
    #[arg(long, value_parser = seeds, default_value = "1..26")]
    seeds: Range<u64>,
    /// Runs at the same time; as many as there are cores.
    #[arg(long)]
    jobs: Option<usize>,
    #[command(flatten)]
    draws: Draws,
    /// Switches a planted bug on.
    #[arg(long, value_parser = plant)]
    plant: Vec<&'static str>,
    /// Runs each seed twice and compares the traces.
    #[arg(long)]
    check: bool,
    /// Does not write the report.
    #[arg(long)]
    no_report: bool,
    /// Only part I of N, from 0: every N-th run. `merge` puts the parts together.
    #[arg(long, value_name = "I/N", value_parser = shard, default_value = "0/1")]
    shard: (usize, usize),
    /// Writes a JUnit file too.
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
}

/// Puts the summaries of several parts of a campaign together and writes its report.
#[derive(clap::Args)]
pub(super) struct Merge {
    /// The summary.json of each part.
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// Writes a JUnit file too.
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
}

impl Merge {
    pub(super) fn go(self) -> anyhow::Result<u8> {
        let mut parts = self.files.iter().map(|file| read(file));
        let mut whole = parts.next().context("no part was named")??;
        whole.made_by = command_line();
        for part in parts {
            whole.merge(part?)?;
        }
        say(terminal(&whole).trim_end());
        write(&whole)?;
        tell_machines(&whole, self.junit.as_deref())?;
        say("report: reports/index.html");
        let unrepeated = whole.repeated.is_some_and(|(runs, same)| same < runs).then_some(3);
        Ok(gravest(whole.failures.iter().map(|failure| failure.first.exit_code()).chain(unrepeated)))
    }
}

/// Part I of N.
fn shard(text: &str) -> Result<(usize, usize), String> {
    let parts = text.split_once('/').and_then(|(i, n)| Some((i.parse().ok()?, n.parse().ok()?)));
    let parts = parts.filter(|(i, n)| i < n);
    parts.ok_or_else(|| format!("{text} is no part: write I/N with I from 0 to N-1"))
}

impl Sweep {
    /// What `cargo sim` alone does.
    pub(super) fn usual() -> Self {
        Self {
            names: Vec::new(),
            seeds: USUAL,
            jobs: None,
            draws: Draws::usual(Profile::Brief),
            plant: Vec::new(),
            check: false,
            no_report: false,
            shard: (0, 1),
            junit: None,
        }
    }

    /// Seeds of all scenarios, twice each to check them, for nobody but the caller.
    pub(super) fn beside_reports(seeds: Range<u64>, profile: Profile, check: bool) -> Self {
        let draws = Draws::usual(profile);
        Self { seeds, draws, check, no_report: true, ..Self::usual() }
    }

    pub(super) fn go(self) -> anyhow::Result<u8> {
        let asked = Interrupt::listen()?;
        let campaign = self.collect(&asked, None)?;
        say(terminal(&campaign.summary).trim_end());
        if !self.no_report {
            write(&campaign.summary)?;
            say("report: reports/index.html");
            explain::pages(&campaign.summary, self.draws, &self.plant)?;
        }
        tell_machines(&campaign.summary, self.junit.as_deref())?;
        Ok(if asked.is_asked() { interrupt::CODE } else { gravest(campaign.codes) })
    }

    /// Runs all there is to run; until then, if it shall end.
    pub(super) fn collect(&self, asked: &Interrupt, until: Option<Instant>) -> anyhow::Result<Campaign> {
        let scenarios = if self.names.is_empty() {
            list::all()
        } else {
            self.names.iter().map(|name| find(name)).collect::<anyhow::Result<_>>()?
        };
        let (part, parts) = self.shard;
        // A campaign that ends early has had all scenarios, and each part has some seeds of each.
        let all = self.seeds.clone().flat_map(|seed| {
            scenarios.iter().zip(seed as usize..).map(move |(scenario, place)| (place, *scenario, seed))
        });
        let mine = all.filter(|(place, ..)| place % parts == part);
        let work: Vec<(Scenario, u64)> = mine.map(|(_, scenario, seed)| (scenario, seed)).collect();
        let (commit, toolchain) = provenance();
        say(&format!("{} runs; Ctrl-C ends them early, with a report of those done", work.len()));
        let began = Instant::now();
        let campaign = Mutex::new(Campaign {
            summary: Summary::new(&command_line(), &commit, &toolchain),
            codes: Vec::new(),
            compared: (0, 0),
            done: 0,
            told: began,
        });
        let options = Options { plants: self.plant.clone(), ..Options::default() };
        in_parallel(&work, self.jobs, asked, |(scenario, seed)| {
            if until.is_some_and(|until| Instant::now() >= until) {
                return;
            }
            let plan = self.draws.of(scenario, *seed);
            let run = drive::run(&plan, &options).run;
            let again = self.check.then(|| drive::run(&plan, &options).run.trace);
            let mut campaign = campaign.lock().expect("no run panics outside its world");
            campaign.take(run, again.as_deref());
            campaign.progress(work.len(), began);
        });
        let mut campaign = campaign.into_inner().expect("no run panics outside its world");
        if std::io::stderr().is_terminal() {
            eprintln!();
        }
        if self.check {
            campaign.summary.repeated = Some(campaign.compared);
        }
        if self.plant.is_empty() && !asked.is_asked() {
            let canary = canary();
            campaign.codes.extend(canary.seed.is_none().then_some(5));
            campaign.summary.canary = Some(canary);
        }
        campaign.summary.wanted = if until.is_some() { campaign.summary.seeds } else { work.len() as u64 };
        campaign.summary.finish(began.elapsed().as_secs_f64());
        Ok(campaign)
    }
}

/// A campaign under way, or done.
pub(super) struct Campaign {
    pub(super) summary: Summary,
    codes: Vec<u8>,
    compared: (u64, u64),
    done: usize,
    told: Instant,
}

impl Campaign {
    /// Explains what failed; the summary, and the exit code.
    pub(super) fn close(self, profile: Profile) -> anyhow::Result<(Summary, u8)> {
        explain::pages(&self.summary, Draws::usual(profile), &[])?;
        Ok((self.summary, gravest(self.codes)))
    }

    fn take(&mut self, run: Run, again: Option<&str>) {
        self.done += 1;
        self.codes.push(run.exit_code());
        if let Some(again) = again {
            self.compared.0 += 1;
            if again == run.trace {
                self.compared.1 += 1;
            } else {
                self.codes.push(3);
                say(&format!("not repeated: cargo sim check {} --seed {}", run.scenario, run.seed));
            }
        }
        if run.verdict != Verdict::Pass && !std::io::stderr().is_terminal() {
            eprintln!("{} {}: {}", run.verdict.name(), run.signature(), run.repeat());
        }
        self.summary.add(&run);
    }

    /// A line that is written over on a terminal, and one a minute elsewhere.
    fn progress(&mut self, all: usize, began: Instant) {
        let terminal = std::io::stderr().is_terminal();
        if !terminal && self.told.elapsed() < EACH_LINE {
            return;
        }
        self.told = Instant::now();
        let bad = self.summary.seeds - self.summary.count(Verdict::Pass);
        let line = format!(
            "{}/{all} runs, {:.1} seeds/s, {:.1} simulated h, {bad} not passed, {} kinds of failure",
            self.done,
            self.done as f64 / began.elapsed().as_secs_f64(),
            self.summary.simulated_s / 3600.0,
            self.summary.failures.len()
        );
        let line = if terminal { format!("\r{line} ") } else { format!("{line}\n") };
        let mut out = std::io::stderr();
        let _ = out.write_all(line.as_bytes()).and_then(|()| out.flush());
    }
}

/// Whether a bug is found that every campaign must find (R5).
fn canary() -> Canary {
    let (scenario, bug) = (list::canary(), "M01");
    let options = Options { plants: vec![bug], ..Options::default() };
    let fails = |seed: &u64| drive::run(&scenario.usual(*seed), &options).run.verdict == Verdict::Fail;
    let seed = (1..=CANARY_SEEDS).find(fails);
    Canary {
        command: format!("cargo sim run {} --seed {} --plant {bug}", scenario.name, seed.unwrap_or(1)),
        seed,
    }
}

/// Works through the list on several threads, in order as far as that goes, until somebody interrupts.
pub(super) fn in_parallel<W: Sync>(
    work: &[W],
    jobs: Option<usize>,
    asked: &Interrupt,
    act: impl Fn(&W) + Sync,
) {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..jobs.unwrap_or(cores).max(1) {
            scope.spawn(|| {
                while !asked.is_asked()
                    && let Some(item) = work.get(next.fetch_add(1, Ordering::Relaxed))
                {
                    act(item);
                }
            });
        }
    });
}

/// Reads the summary of a campaign.
pub(super) fn read(file: &Path) -> anyhow::Result<Summary> {
    let text = std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    serde_json::from_str(&text).with_context(|| format!("{} is no summary", file.display()))
}

/// A JUnit file when one is wanted; on GitHub's runners annotations and the summary of the job.
fn tell_machines(summary: &Summary, file: Option<&Path>) -> anyhow::Result<()> {
    if let Some(file) = file {
        std::fs::write(file, junit(summary)?).with_context(|| format!("cannot write {}", file.display()))?;
    }
    if std::env::var_os("GITHUB_ACTIONS").is_some() {
        say(github(summary).trim_end());
    }
    if let Some(page) = std::env::var_os("GITHUB_STEP_SUMMARY") {
        let page = std::fs::OpenOptions::new().append(true).create(true).open(page);
        page.and_then(|mut page| page.write_all(markdown(summary).as_bytes()))
            .context("cannot write the summary of the job")?;
    }
    Ok(())
}

/// What was found of planted bugs, when that is known.
pub(super) fn planted(name: &str) -> Option<Matrix> {
    serde_json::from_str(&std::fs::read_to_string(reports().join(name)).ok()?).ok()
}

/// Writes the report in its three forms.
pub(super) fn write(summary: &Summary) -> anyhow::Result<()> {
    let folder = reports();
    std::fs::create_dir_all(&folder)?;
    std::fs::write(folder.join("summary.json"), serde_json::to_string_pretty(summary)?)?;
    std::fs::write(folder.join("summary.md"), markdown(summary))?;
    let (planted, bugs) = (planted("mutants.json"), list::capsules().unwrap_or_default());
    let beside = Beside { planted: planted.as_ref(), bugs: &bugs };
    std::fs::write(folder.join("index.html"), html(summary, &beside))?;
    Ok(())
}

/// Between two lines of progress where nobody can write over one.
const EACH_LINE: Duration = Duration::from_secs(60);
/// The canary is found in one of the first.
const CANARY_SEEDS: u64 = 10;
/// Seeds of each scenario when nothing is asked for.
const USUAL: Range<u64> = 1..26;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_counted_from_0() {
        assert_eq!([shard("0/1"), shard("2/3")], [Ok((0, 1)), Ok((2, 3))]);
        assert!(["3/3", "1", "/2", "-1/2", "0/0"].iter().all(|text| shard(text).is_err()));
    }
}
