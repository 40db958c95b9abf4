//! The command line: what can be asked, and the exit codes.

mod bar;
mod bench;
mod campaign;
mod check;
mod cover;
mod explain;
mod interrupt;
mod mutants;
mod night;
mod one;
mod points;
mod real;
mod shrink;
mod week;

use std::ops::Range;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use anyhow::Context as _;
use clap::{Parser, Subcommand};
use lab::bugs;
use lab::plan::{Plan, Profile};
use lab::scenario::{Drawing, Scenario};

use crate::list;

/// Runs scenarios under fault injection in simulated time. Without a command: all scenarios, a few seeds each, and the
/// report.
///
/// Exit codes: 0 pass, 1 a broken safety rule or a panic, 2 usage, 3 a run that did not repeat, 4 a broken promise in
/// time, 5 the harness failed, 6 a run that says nothing. 130
/// interrupted, with a report of what was done. A sweep ends with the gravest: 5, 3, 1, 4, 6, 0.
#[derive(Parser)]
#[command(name = "cargo sim", bin_name = "cargo sim")]
struct Arguments {
    #[command(subcommand)]
    command: Option<Ask>,
}

#[derive(Subcommand)]
enum Ask {
    /// Names the scenarios and what each proves.
    List {
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Tells what a scenario does, with an example of a plan.
    Describe {
        /// The scenario.
        name: String,
    },
    /// Runs one seed of a scenario and tells all about it.
    Run(one::Run),
    /// Runs a plan from a file that `run --save` wrote.
    Replay(one::Replay),
    /// Writes a page that tells why a plan fails: reports/failures/SCENARIO-RULE/index.html.
    Explain(explain::Explain),
    /// Takes from a failing plan all that it does not need to fail.
    Shrink(shrink::Shrink),
    /// Runs a seed several times, here and in another process, and compares the traces.
    Check {
        /// The scenario.
        name: String,
        /// The seed.
        #[arg(long, value_parser = seed)]
        seed: u64,
    },
    /// Runs many seeds and writes the report.
    Sweep(campaign::Sweep),
    /// Runs with planted bugs and counts the seeds until each is found.
    Mutants(mutants::Mutants),
    /// Lets a broker die at every crash point, in every way.
    Points(points::Points),
    /// Runs the scenarios on real processes, ours or genuine ones: kill -9, SIGSTOP and a cutting proxy; reports/real.md.
    Real(real::Real),
    /// Puts the parts of a campaign together that `sweep --shard` ran on several machines.
    Merge(campaign::Merge),
    /// Lists what the last campaign never came to.
    Cover(cover::Cover),
    /// Runs a simulated week and tells how late anything was.
    Week(week::Week),
    /// Every planted bug, soak plans, and a campaign for the rest of the time.
    Night(night::Night),
    /// Measures the goals of the harness, N1 to N18.
    Bar(bar::Bar),
    /// Measures how fast the simulation is.
    Bench,
    /// Writes the report again from reports/summary.json, and the list of bugs from the capsules in scenarios/plans.
    Report,
    /// Prints the trace of one run, for `check`.
    #[command(hide = true)]
    Lines {
        /// The scenario.
        name: String,
        /// The seed.
        #[arg(long, value_parser = seed)]
        seed: u64,
    },
}

pub(crate) fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let told = match arguments.command {
        None => campaign::Sweep::usual().go(),
        Some(Ask::List { json }) => show_list(json),
        Some(Ask::Describe { name }) => find(&name).map(|scenario| describe(&scenario)),
        Some(Ask::Run(run)) => run.go(),
        Some(Ask::Replay(replay)) => replay.go(),
        Some(Ask::Explain(explain)) => explain.go(),
        Some(Ask::Shrink(shrink)) => shrink.go(),
        Some(Ask::Check { name, seed }) => find(&name).and_then(|scenario| check::check(&scenario, seed)),
        Some(Ask::Sweep(sweep)) => sweep.go(),
        Some(Ask::Mutants(mutants)) => mutants.go(),
        Some(Ask::Points(points)) => points.go(),
        Some(Ask::Real(real)) => real.go(),
        Some(Ask::Merge(merge)) => merge.go(),
        Some(Ask::Cover(cover)) => cover.go(),
        Some(Ask::Week(week)) => week.go(),
        Some(Ask::Night(night)) => night.go(),
        Some(Ask::Bar(bar)) => bar.go(),
        Some(Ask::Bench) => Ok(bench::bench()),
        Some(Ask::Report) => again(),
        Some(Ask::Lines { name, seed }) => find(&name).map(|scenario| check::lines(&scenario, seed)),
    };
    match told {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn find(name: &str) -> anyhow::Result<Scenario> {
    let all = list::all();
    let names: Vec<_> = all.iter().map(|scenario| scenario.name).collect();
    let found = all.iter().find(|scenario| scenario.name == name).copied();
    found.ok_or_else(|| anyhow::anyhow!("there is no scenario {name}; there are: {}", names.join(", ")))
}

fn show_list(json: bool) -> anyhow::Result<u8> {
    if json {
        let rows: Vec<_> = list::all()
            .iter()
            .map(|scenario| {
                let rules: Vec<_> = scenario.rules.iter().map(|rule| rule.id()).collect();
                serde_json::json!({ "name": scenario.name, "proves": scenario.proves, "hunts": scenario.hunts,
                    "upstream": scenario.upstream, "rules": rules })
            })
            .collect();
        say(&serde_json::to_string_pretty(&rows)?);
    } else {
        for scenario in list::all() {
            say(&format!("{}\n  {}", scenario.name, scenario.proves));
        }
    }
    Ok(0)
}

fn describe(scenario: &Scenario) -> u8 {
    say(&format!("{}\n\nProves: {}\nHunts: {}.", scenario.name, scenario.proves, scenario.hunts));
    if !scenario.upstream.is_empty() {
        say(&format!("Seen upstream: issues {}.", scenario.upstream.join(", ")));
    }
    say("\nRules it is about (all others are judged too):");
    for rule in scenario.rules {
        say(&format!("  {:<6} {}", rule.id(), rule.promise()));
    }
    say("\nPlanted bugs it must find:");
    for bug in scenario.kills.iter().filter_map(|id| bugs::find(id)) {
        let rules: Vec<_> = bug.rules.iter().map(|rule| rule.id()).collect();
        say(&format!("  {} by {}: {}", bug.id, rules.join(" or "), bug.what));
    }
    say(&format!("\nFor example, the {}", scenario.usual(1)));
    0
}

fn again() -> anyhow::Result<u8> {
    let folder = reports();
    let capsules = list::capsules().context("there are no capsules: run this in the workspace")?;
    std::fs::create_dir_all(&folder)?;
    std::fs::write(folder.join("bugs.md"), lab::capsule::bugs(&capsules))?;
    say("bugs: reports/bugs.md");
    let summary = campaign::read(&folder.join("summary.json"));
    let summary = summary.context("there is no summary to report from: run `cargo sim` first")?;
    campaign::write(&summary)?;
    say(lab::report::terminal(&summary).trim_end());
    Ok(0)
}

/// How plans are drawn from seeds.
#[derive(clap::Args, Clone, Copy)]
struct Draws {
    /// How large plans are: brief, quick, standard or soak.
    #[arg(long, value_parser = profile, default_value = "brief")]
    profile: Profile,
    /// With faults beyond all that anybody could get over; only what must never happen is judged.
    #[arg(long)]
    safety_only: bool,
}

impl Draws {
    /// Plans of a size, with faults that can be got over.
    fn usual(profile: Profile) -> Self {
        Self { profile, safety_only: false }
    }

    fn of(self, scenario: &Scenario, seed: u64) -> Plan {
        let Self { profile, safety_only } = self;
        scenario.draw(seed, Drawing { profile, safety_only })
    }
}

/// The profile of this name.
fn profile(text: &str) -> Result<Profile, String> {
    let known = Profile::ALL.into_iter().find(|profile| profile.name() == text);
    known.ok_or_else(|| format!("{text} is no profile: they are called brief, quick, standard and soak"))
}

/// A seed: decimal or 0x hexadecimal.
fn seed(text: &str) -> Result<u64, String> {
    let parsed = match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(digits) => u64::from_str_radix(digits, 16),
        None => text.parse(),
    };
    parsed.map_err(|error| format!("{text} is no seed, decimal or 0x hexadecimal: {error}"))
}

/// Seeds `A..B`, without B; `A..=B` with it.
fn seeds(text: &str) -> Result<Range<u64>, String> {
    let (from, to) =
        text.split_once("..").ok_or_else(|| format!("{text} is no range of seeds: write A..B"))?;
    let (to, whole) = to.strip_prefix('=').map_or((to, 0), |to| (to, 1));
    let (from, to) = (seed(from)?, seed(to)?.saturating_add(whole));
    if from < to { Ok(from..to) } else { Err(format!("{text} holds no seed")) }
}

/// The planted bug of this name.
fn plant(text: &str) -> Result<&'static str, String> {
    let bug = bugs::find(text)
        .ok_or_else(|| format!("{text} is no planted bug: they are called M01 to M62, B01.."))?;
    match bug.missing {
        None => Ok(bug.id),
        Some(feature) => Err(format!("{} is a bug of what is not there yet: {feature}", bug.id)),
    }
}

/// The command as it was typed.
fn command_line() -> String {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    ["cargo sim".to_owned()].into_iter().chain(arguments).collect::<Vec<_>>().join(" ")
}

/// The folder for reports: in the workspace when cargo tells where that is.
fn reports() -> PathBuf {
    let home = std::env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from);
    home.and_then(|home| home.parent().map(|root| root.join("reports")))
        .unwrap_or_else(|| PathBuf::from("reports"))
}

/// Writes a page among the reports, headed by what made it.
fn write_page(name: &str, title: &str, text: &str) -> anyhow::Result<()> {
    let (commit, toolchain) = provenance();
    let head =
        format!("<!-- made by: {} -->\n# {title}\n\nCommit {commit}, {toolchain}.\n\n", command_line());
    std::fs::create_dir_all(reports())?;
    std::fs::write(reports().join(name), head + text)?;
    Ok(())
}

/// Commit and toolchain, as far as they can be asked for.
fn provenance() -> (String, String) {
    let ask = |program: &str, arguments: &[&str]| {
        let output =
            Command::new(program).args(arguments).output().ok().filter(|output| output.status.success())?;
        Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let commit = ask("git", &["rev-parse", "--short=12", "HEAD"]).unwrap_or_else(|| "unknown".to_owned());
    let changed =
        ask("git", &["status", "--porcelain", "--untracked-files=no"]).is_some_and(|text| !text.is_empty());
    let toolchain = ask("rustc", &["--version"]).unwrap_or_else(|| "unknown".to_owned());
    (if changed { format!("{commit} with changes") } else { commit }, toolchain)
}

/// To the standard output.
#[allow(clippy::print_stdout, reason = "this is a program, and its output is for its user")]
fn say(line: &str) {
    use std::io::Write as _;
    // A closed pipe (`| head`) is no reason to fail.
    let _ = writeln!(std::io::stdout(), "{line}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_are_decimal_or_hexadecimal() {
        assert_eq!(seed("17"), Ok(17));
        assert_eq!(seed("0x1F"), Ok(31));
        assert!(seed("many").is_err());
        assert_eq!(seeds("3..0x10"), Ok(3..16));
        assert_eq!(seeds("3..=3"), Ok(3..4));
        assert!(seeds("3..3").is_err() && seeds("3").is_err());
    }

    #[test]
    fn the_command_line_is_sound() {
        use clap::CommandFactory as _;
        Arguments::command().debug_assert();
    }
}
