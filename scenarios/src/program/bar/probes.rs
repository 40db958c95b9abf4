//! What takes runs of its own: memory, exactness, shrinking, the failure page, the gate of a change, crash points.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use lab::capsule::Capsule;
use lab::drive::{self, Options};
use lab::outcome::{Run, Verdict as Ended};
use lab::report::Summary;

use super::super::bench::median;
use super::super::find;
use super::super::one::MEMORY;
use super::{Row, Verdict, judged, not_known};
use crate::list;

/// A folder for one probe, gone with it.
struct Folder(PathBuf);

impl Folder {
    fn new() -> anyhow::Result<Self> {
        let folder = std::env::temp_dir().join(format!("reprise-bar-{}", std::process::id()));
        std::fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        Ok(Self(folder))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Runs this program with these arguments, beside the reports of this campaign; what it printed, and how long it took.
fn program(arguments: &[&str], folder: &Path) -> anyhow::Result<(String, Duration)> {
    let began = Instant::now();
    let output = Command::new(std::env::current_exe()?)
        .args(arguments)
        .current_dir(folder)
        .env_remove("CARGO_MANIFEST_DIR")
        .env("SOMETHING", "else")
        .output()
        .context("this program cannot be started once more")?;
    Ok((String::from_utf8_lossy(&output.stdout).into_owned(), began.elapsed()))
}

/// The number in front of these words, in what a program printed.
fn number_before(words: &str, text: &str) -> Option<u64> {
    let line = text.lines().find(|line| line.contains(words))?;
    line.split(words).next()?.split_whitespace().next_back()?.parse().ok()
}

fn with(scenario: &str, bug: &'static str, seed: u64) -> Option<Run> {
    let options = Options { plants: vec![bug], ..Options::default() };
    Some(drive::run(&find(scenario).ok()?.usual(seed), &options).run)
}

fn fails(scenario: &str, bug: &'static str, seed: u64) -> bool {
    with(scenario, bug, seed).is_some_and(|run| run.verdict == Ended::Fail)
}

pub(super) fn memory(quick: bool) -> anyhow::Result<Row> {
    let folder = Folder::new()?;
    let mut most = None;
    for scenario in list::all().iter().take(if quick { 1 } else { usize::MAX }) {
        let arguments = ["run", scenario.name, "--seed", "1", "--profile", "standard"];
        most = most.max(number_before(MEMORY, &program(&arguments, &folder.0)?.0));
    }
    Ok(Row {
        id: "N4",
        goal: "<= 256 MiB of memory for a standard seed",
        measured: most.map_or("the system does not tell".to_owned(), |mib| {
            format!("{mib} MiB at most, a standard seed of each scenario in a process of its own")
        }),
        verdict: match most {
            Some(mib) => judged(mib <= 256, "runs keep more than they should"),
            None => Verdict::NotMeasured("there is no /proc".to_owned()),
        },
    })
}

pub(super) fn exactness(campaign: &Summary, quick: bool) -> anyhow::Result<Row> {
    let (runs, same) = campaign.repeated.unwrap_or((0, 0));
    let (fresh, failing) = if quick { (3_u64, 3) } else { (100, 100) };
    let (mut asked, mut alike) = (0, 0);
    let folder = Folder::new()?;
    for scenario in list::all() {
        for seed in 1..=fresh.div_ceil(list::all().len() as u64) {
            let here = drive::run(&scenario.usual(seed), &Options::default()).run.trace;
            let (text, _) = program(&["run", scenario.name, "--seed", &seed.to_string()], &folder.0)?;
            asked += 1;
            alike += u64::from(text.contains(&format!("trace {here}")));
        }
    }
    let found = |run: &Run| {
        let told = run.violations.iter().map(|it| (it.rule, it.at_ns, it.sentence.clone()));
        (run.trace.clone(), told.collect::<Vec<_>>())
    };
    let (mut failed, mut again) = (0, 0);
    for (seed, (scenario, bug)) in (1..200).flat_map(|seed| HUNTS.iter().map(move |hunt| (seed, *hunt))) {
        let Some(run) = with(scenario, bug, seed).filter(|run| run.verdict == Ended::Fail) else { continue };
        failed += 1;
        again += u64::from(with(scenario, bug, seed).is_some_and(|second| found(&second) == found(&run)));
        if failed == failing {
            break;
        }
    }
    Ok(Row {
        id: "N5",
        goal: "1,000 of 1,000 seeds have the same trace: fresh process, changed folder and environment, in parallel; 100 of 100 failing ones \
               fail again by the same rule, witness and time",
        measured: format!(
            "{same} of {runs} repeated in parallel, {alike} of {asked} in a fresh process with another folder and environment, {again} of \
             {failed} failures"
        ),
        verdict: match same == runs && alike == asked && again == failed {
            false => {
                Verdict::Missed("a run does not repeat: `cargo sim check` shows where it parts".to_owned())
            }
            true if runs < 1000 => {
                Verdict::NotMeasured(format!("only {runs} seeds were run; without --quick there are more"))
            }
            true => Verdict::Met,
        },
    })
}

/// As long as `check` takes to put two traces side by side.
pub(super) fn divergence() -> Row {
    let options = Options { lines: true, ..Options::default() };
    let plan = list::canary().usual(1);
    let began = Instant::now();
    let (one, other) = (drive::run(&plan, &options).lines, drive::run(&plan, &options).lines);
    let same = one.iter().zip(&other).take_while(|(a, b)| a == b).count();
    let took = began.elapsed().as_secs_f64();
    Row {
        id: "N6",
        goal: "the first differing event is named within 60 s",
        measured: format!(
            "{took:.1} s for two traces of {} events, kept and compared line by line ({same} alike)",
            one.len()
        ),
        verdict: judged(took <= 60.0, "traces are too long"),
    }
}

pub(super) fn shrinking(quick: bool) -> anyhow::Result<Row> {
    let folder = Folder::new()?;
    let (mut times, mut tried, mut small) = (Vec::new(), 0, 0);
    for (scenario, bug) in HUNTS.iter().take(if quick { 1 } else { HUNTS.len() }) {
        let Some(seed) = (1..20).find(|seed| fails(scenario, bug, *seed)).map(|seed| seed.to_string()) else {
            continue;
        };
        let arguments =
            ["shrink", scenario, "--seed", &seed, "--plant", bug, "--save", "small.json", "--tries", "300"];
        let (text, took) = program(&arguments, &folder.0)?;
        times.push(took.as_secs_f64());
        tried = tried.max(number_before(" plans were tried", &text).unwrap_or(0));
        let plan = Capsule::read(&std::fs::read_to_string(folder.0.join("small.json"))?)?.1;
        small += usize::from(plan.faults() <= 5 && plan.ops.is_some_and(|ops| ops.len() <= 20));
    }
    let (middle, most) = (median(times.iter().copied()), times.iter().copied().fold(0.0, f64::max));
    Ok(Row {
        id: "N7",
        goal: "shrinking: median <= 60 s, p95 <= 5 min, <= 300 runs; >= 90 % of planted bugs end with <= 5 faults and <= 20 calls of clients; \
               1-minimal",
        measured: format!(
            "{} planted bugs: median {middle:.0} s, longest {most:.0} s, at most {tried} runs; {small} end with <= 5 faults and <= 20 calls",
            times.len(),
        ),
        verdict: match times.is_empty() {
            true => Verdict::NotMeasured("no planted bug was found to shrink".to_owned()),
            false => judged(
                middle <= 60.0 && most <= 300.0 && small * 10 >= times.len() * 9,
                "plans stay large, or it takes long",
            ),
        },
    })
}

pub(super) fn failure_page() -> anyhow::Result<Row> {
    let goal = "a failure page in <= 2 s, self-contained, <= 5 MiB";
    let folder = Folder::new()?;
    let seed = (1..20).find(|seed| fails("first_message", "M01", *seed)).unwrap_or(1).to_string();
    let arguments = ["explain", "first_message", "--seed", &seed, "--plant", "M01", "--tries", "0"];
    let (_, took) = program(&arguments, &folder.0)?;
    let mut pages = Vec::new();
    if let Ok(found) = std::fs::read_dir(folder.0.join("reports/failures")) {
        pages.extend(
            found.filter_map(|entry| std::fs::read_to_string(entry.ok()?.path().join("index.html")).ok()),
        );
    }
    let Some(page) = pages.pop() else {
        return Ok(not_known("N14", goal, "no page was written"));
    };
    let alone = !page.contains("src=\"http") && !page.contains("href=\"http");
    Ok(Row {
        id: "N14",
        goal,
        measured: format!(
            "{:.1} s with the runs that it shows, {} KiB",
            took.as_secs_f64(),
            page.len() / 1024
        ),
        verdict: judged(
            took.as_secs_f64() <= 2.0 && page.len() <= 5 << 20 && alone,
            "the run and its nearest neighbours are run again for the page",
        ),
    })
}

/// What a change must pass before it is merged, without the time of its build.
pub(super) fn gate(quick: bool) -> anyhow::Result<Row> {
    let goal = "the gate of a change takes <= 10 min: all capsules, 10 seeds of each scenario twice, 200 seeds of the swarm, 15 planted bugs in \
                5 seeds each, canary";
    if quick {
        return Ok(not_known("N15", goal, "left out by --quick"));
    }
    let folder = Folder::new()?;
    let plants: Vec<_> = lab::bugs::ALL.iter().filter(|bug| bug.missing.is_none()).take(15).collect();
    let mut mutants = vec!["mutants", "--seeds", "5"];
    mutants.extend(plants.iter().flat_map(|bug| ["--plant", bug.id]));
    let began = Instant::now();
    let capsules = list::capsules()?;
    for (name, capsule) in &capsules {
        let run = drive::run(&capsule.plan, &Options::default()).run;
        anyhow::ensure!(run.verdict == Ended::Pass, "{name} is {}", run.verdict.name());
    }
    let all = ["sweep", "--seeds", "1..11", "--check", "--no-report"];
    let swarm = ["sweep", "swarm", "--seeds", "1..201", "--no-report"];
    for arguments in [&all[..], &swarm[..], &mutants[..]] {
        program(arguments, &folder.0)?;
    }
    let took = began.elapsed().as_secs_f64();
    Ok(Row {
        id: "N15",
        goal,
        measured: format!("{:.1} min with {} capsules, without building", took / 60.0, capsules.len()),
        verdict: judged(took <= 600.0, "runs take too long"),
    })
}

pub(super) fn points(quick: bool) -> anyhow::Result<Row> {
    let goal =
        "100 % of crash points x {process, power} x {first, some, last}: recover and pass, in <= 3 min";
    if quick {
        return Ok(not_known("N18", goal, "left out by --quick: `cargo sim points` alone takes minutes"));
    }
    let folder = Folder::new()?;
    let (text, took) = program(&["points"], &folder.0)?;
    let Some(line) = text.lines().rev().find(|line| line.contains(" deaths: ")) else {
        return Ok(not_known("N18", goal, "`cargo sim points` did not come to its end"));
    };
    let well = line.contains(", 0 broke a rule,")
        && !text.contains(
            "| not reached | not reached | not reached | not reached | not reached | not reached |",
        );
    Ok(Row {
        id: "N18",
        goal,
        measured: format!("{line}, in {:.0} s", took.as_secs_f64()),
        verdict: match (well, took <= Duration::from_secs(180)) {
            (true, true) => Verdict::Met,
            (true, false) => {
                Verdict::Missed("it takes longer, on a machine as busy as this one was".to_owned())
            }
            (false, _) => Verdict::Missed("reports/points.md tells which".to_owned()),
        },
    })
}

/// Planted bugs whose failures are repeated and shrunk: of the store, the broker, the name server and the client.
const HUNTS: &[(&str, &str)] = &[
    ("first_message", "M01"),
    ("crash_before_offset_commit", "M18"),
    ("transaction_checkback", "M31"),
    ("crash_during_roll_over_and_recovery", "M07"),
    ("broker_heartbeat_expiry", "M28"),
    ("rebalance_during_queue_expansion", "M23"),
    ("retry_to_dead_letter", "M43"),
    ("delay_with_restart_and_clock_jumps", "M40"),
    ("query_after_crash", "M13"),
    ("batch_and_client_retry", "M61"),
];
