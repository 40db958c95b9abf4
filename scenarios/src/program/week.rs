//! `week`: a simulated week of modest load in which producers and brokers are restarted and cut off, clocks are set and
//! listeners fail, and how far the bounds of transactions and delays were used up.

use lab::check::{Budget, budget};
use lab::draw::Draw;
use lab::drive::{self, Options};
use lab::history::{History, Kind};
use lab::outcome::{Run, Verdict};
use lab::plan::{Broker, Delayed, Fails, Group, Member, Mode, Plan, Producer, Step, Topic, What};
use lab::swarm::{self, Size};

use super::{plant, say, seed, write_page};

/// Runs a simulated week and reports how late anything was; for some minutes of CPU.
#[derive(clap::Args)]
pub(super) struct Week {
    /// The seed, decimal or 0x hexadecimal.
    #[arg(long, value_parser = seed, default_value = "1")]
    seed: u64,
    /// So many days.
    #[arg(long, default_value_t = 7)]
    days: u64,
    /// Switches a planted bug on.
    #[arg(long, value_parser = plant)]
    plant: Vec<&'static str>,
}

impl Week {
    pub(super) fn go(self) -> anyhow::Result<u8> {
        let plan = plan(self.seed, self.days.max(1));
        let options = Options { plants: self.plant, ..Options::default() };
        let done = drive::run(&plan, &options);
        let budget = budget(&done.history);
        let told = tell(&plan, &done.run, &budget, &done.history);
        say(told.trim_end());
        write_page("week.md", "A simulated week", &format!("```\n{told}```\n"))?;
        let late = u8::from(!budget.late.is_empty());
        Ok(if done.run.verdict == Verdict::Pass { late } else { done.run.exit_code() })
    }
}

fn tell(plan: &Plan, run: &Run, budget: &Budget, history: &History) -> String {
    let mut lines = vec![format!(
        "{:.1} simulated days, seed {}, in {:.0} s of CPU, {:.0} s of it checks",
        run.simulated_ns as f64 / 86_400e9,
        run.seed,
        run.cpu_ns as f64 / 1e9,
        run.check_ns as f64 / 1e9
    )];
    let counts = |counts: &std::collections::BTreeMap<String, u64>| {
        let parts: Vec<_> = counts.iter().map(|(name, count)| format!("{name} {count}")).collect();
        parts.join(", ")
    };
    lines.push(format!("sends: {}; messages consumed: {}", counts(&run.sends), run.consumed));
    lines.push(format!("faults: {}", counts(&run.planned)));
    let all = budget.committed + budget.rolled_back + budget.given_up + budget.cut_off + budget.open;
    lines.push(format!(
        "half messages: {all}, of them committed {}, rolled back {}, given up after {} checks {}, cut off by a crash {}, \
         open in the end {}",
        budget.committed,
        budget.rolled_back,
        plan.setting("transactionCheckMax", 15),
        budget.given_up,
        budget.cut_off,
        budget.open
    ));
    lines.push(format!(
        "  undecided for at most {:.1} s in health, and {:.1} s around faults, without their time; the checks allow {:.1} s",
        budget.longest_ms as f64 / 1e3,
        budget.longest_shaken_ms as f64 / 1e3,
        budget.allowed_ms as f64 / 1e3
    ));
    lines.push(format!("delayed messages: {} delivered", run.checked.get("DLY-3").unwrap_or(&0)));
    for (what, ms) in &run.worst {
        lines.push(format!("  {what}: at most {ms}"));
    }
    lines.push("  (the bounds are 1000 ms in health and 5000 ms after a fault)".to_owned());
    let back = history.events.iter().filter_map(|event| match event.kind {
        Kind::SentBack { dead, .. } => Some(dead),
        _ => None,
    });
    let (dead, retried): (Vec<_>, Vec<_>) = back.partition(|dead| *dead);
    lines.push(format!("sent back by listeners: {} to be tried again, {} dead", retried.len(), dead.len()));
    for late in budget.late.iter().take(SHOWN) {
        lines.push(format!("LATE {late}"));
    }
    for violation in &run.violations {
        lines.push(format!("{} {}", violation.rule.id(), violation.sentence));
    }
    if !run.note.is_empty() {
        lines.push(run.note.clone());
    }
    let verdict = if budget.late.is_empty() { run.verdict.name() } else { "FAIL" };
    lines.push(format!("trace {}\nverdict {verdict}\n", run.trace));
    lines.join("\n")
}

/// Two brokers, two transactional producers, one that delays, one that does not; a fault every few hours.
fn plan(seed: u64, days: u64) -> Plan {
    let load_ms = days * DAY_MS;
    let mut plan = swarm::plain("week", seed, Size { messages: 1, load_ms: (load_ms, load_ms) });
    plan.name_servers = 1;
    plan.brokers = [true, false].map(broker).into();
    plan.topics = vec![Topic { name: "topic0".to_owned(), queues: 2, tags: 2 }];
    let transaction = Mode::Transaction { rollback: 20, unknown: 5 };
    let producer = |mode, gap_s: u64, delayed| Producer {
        topic: 0,
        mode,
        in_flight: 1,
        burst: 1,
        gap_ms: (gap_s * 500, gap_s * 1500),
        body: (32, 400),
        timeout_ms: 3000,
        retries: 2,
        delayed,
        group: 0,
        gone_ms: None,
        immunity_s: 0,
        twin: false,
        checks: None,
    };
    let most_level = LEVELS_S.len() as u32;
    plan.producers = vec![
        producer(transaction, 120, None),
        producer(transaction, 120, None),
        producer(Mode::Auto, 30, Some(Delayed { one_in: 1, most_level })),
        producer(Mode::Auto, 300, None),
    ];
    plan.groups = vec![Group {
        name: "group0".to_owned(),
        topic: 0,
        tag: None,
        members: vec![Member { joins_ms: 0, leaves_ms: None, dies: false }],
        work_ms: (0, 20),
        slow_one_in: 0,
        batch: 1,
        threads: 2,
        // Some of a day's die, most come again once or twice.
        fails: Some(Fails { one_in: 15, most: 4, limit: 3 }),
        stuck: None,
        from_end: false,
    }];
    plan.delay_levels_s = LEVELS_S.to_vec();
    (plan.buggify, plan.rare) = (0, None);
    plan.recover_twice = false;
    plan.settle_ms = 0;
    plan.probe_ms = 600_000;
    plan.operator_ms = 0;
    plan.lock_ms = 0;
    plan.steps = steps(seed, load_ms);
    plan
}

fn broker(sync_flush: bool) -> Broker {
    Broker {
        sync_flush,
        log_file_bytes: 1 << 20,
        queue_file_units: 2000,
        sync_us: (500, 5000),
        clock_offset_ms: 0,
        config: vec![
            // Nothing goes by age: in the end all of the week is looked at.
            ("fileReservedTime".to_owned(), "1000".to_owned()),
            // So rarely that a clean stop has something to write.
            ("flushDelayOffsetInterval".to_owned(), "60000".to_owned()),
        ],
    }
}

/// A fault every two hours, and once a day nobody is there who could tell the outcome of a transaction.
fn steps(seed: u64, load_ms: u64) -> Vec<Step> {
    let mut draw = Draw::new(seed, "week");
    let mut steps = Vec::new();
    let mut at_ms = draw.range(HOUR_MS / 2, 2 * HOUR_MS);
    while at_ms + 3 * HOUR_MS < load_ms {
        let node = if draw.chance(50) { "b0" } else { "b1" }.to_owned();
        let producer = format!("p{}", draw.below(2));
        let down_ms = draw.spread(1000, HOUR_MS / 2);
        let by_ms = draw.spread(500, 900_000) as i64;
        let (what, for_ms) = match draw.below(12) {
            0..2 => (What::Crash { node, power: false }, down_ms),
            // A loss of power takes back what async flush acknowledged, and with it what could be judged.
            2 => (What::Crash { node: "b0".to_owned(), power: true }, down_ms),
            3..5 => (What::Stop { node }, down_ms),
            5 => (What::Pause { node }, draw.spread(1000, 60_000)),
            6 => (What::Cut { from: producer, to: node, both: true }, draw.spread(1000, 600_000)),
            7 => (What::Crash { node: "ns0".to_owned(), power: false }, draw.spread(1000, 600_000)),
            8 => (What::Crash { node: producer, power: false }, down_ms),
            9 => (What::ClockJump { node, by_ms }, 0),
            10 => (What::ClockJump { node, by_ms: -by_ms }, 0),
            _ => (What::Reset { a: producer, b: node }, 0),
        };
        steps.push(Step::new(at_ms, for_ms, what));
        at_ms += draw.range(HOUR_MS, 3 * HOUR_MS);
    }
    for day in 0..load_ms / DAY_MS {
        let at_ms = day * DAY_MS + draw.range(DAY_MS / 4, DAY_MS / 2);
        let for_ms = draw.range(HOUR_MS, 3 * HOUR_MS);
        for producer in ["p0", "p1"] {
            let node = producer.to_owned();
            steps.push(Step::new(at_ms, for_ms, What::Crash { node, power: false }));
        }
    }
    steps.sort_by_key(|step| step.at_ms);
    steps
}

/// From a second to the longest of the reference.
const LEVELS_S: [u64; 6] = [1, 10, 60, 600, 3600, 7200];
const HOUR_MS: u64 = 3_600_000;
const DAY_MS: u64 = 24 * HOUR_MS;
/// Half messages that are named.
const SHOWN: usize = 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_week_has_faults_of_producers_and_brokers_and_ends_well() {
        for seed in 0..50 {
            let plan = plan(seed, 7);
            assert_eq!(plan, super::plan(seed, 7));
            assert!(
                plan.steps.len() > 40
                    && plan.steps.iter().all(|step| step.at_ms + step.for_ms < plan.load_ms)
            );
            let meets = |node: &str| plan.steps.iter().any(|step| step.what.nodes().contains(&node));
            assert!(["b0", "b1", "p0", "p1"].into_iter().all(meets));
        }
    }
}
