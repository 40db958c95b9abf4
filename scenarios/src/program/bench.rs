//! `bench`: how much the simulation does with a CPU second.

use lab::drive::{self, Options};
use lab::outcome::Run;
use lab::plan::{Mode, Plan};
use lab::swarm::{self, Size};

use super::say;
use crate::list;

/// What a busy cluster without faults takes.
pub(super) struct Busy {
    pub(super) per_simulated_s: f64,
    pub(super) per_cpu_s: f64,
    /// CPU for a message, acknowledged and consumed.
    pub(super) each_us: f64,
    code: u8,
}

/// Medians of a few runs.
pub(super) fn busy() -> Busy {
    let runs: Vec<Run> =
        (1..=BUSY_RUNS).map(|seed| drive::run(&busy_plan(seed), &Options::default()).run).collect();
    Busy {
        per_simulated_s: median(runs.iter().map(|run| run.frames as f64 / (run.simulated_ns as f64 / 1e9))),
        per_cpu_s: median(runs.iter().map(|run| run.frames as f64 / seconds(run))),
        each_us: median(runs.iter().map(each)),
        code: runs.iter().map(Run::exit_code).max().unwrap_or(0),
    }
}

pub(super) fn bench() -> u8 {
    let Busy { per_simulated_s, per_cpu_s, each_us, mut code } = busy();
    say("busy, without faults:");
    say(&format!(
        "  {per_simulated_s:.0} pieces of data per simulated second, {per_cpu_s:.0} per CPU second"
    ));
    say(&format!("  {each_us:.1} us of CPU per message acknowledged and consumed"));
    for scenario in list::all() {
        let runs: Vec<Run> =
            (1..=QUICK_RUNS).map(|seed| drive::run(&scenario.usual(seed), &Options::default()).run).collect();
        code = code.max(runs.iter().map(Run::exit_code).max().unwrap_or(0));
        say(&format!("{}:", scenario.name));
        say(&format!(
            "  {:.0} simulated seconds per CPU second, {:.0} ms of CPU a run, {:.0} % of it checks",
            median(runs.iter().map(|run| run.simulated_ns as f64 / 1e9 / seconds(run))),
            median(runs.iter().map(|run| seconds(run) * 1e3)),
            100.0 * median(runs.iter().map(|run| run.check_ns as f64 / run.cpu_ns.max(1) as f64))
        ));
        say(&format!(
            "  {:.1} us of CPU per message acknowledged and consumed",
            median(runs.iter().map(each))
        ));
    }
    code
}

/// Much load for half a minute, nothing wrong.
fn busy_plan(seed: u64) -> Plan {
    let mut plan = swarm::plain("bench", seed, Size { messages: 1000, load_ms: (30_000, 30_000) });
    (plan.buggify, plan.rare) = (0, None);
    plan.recover_twice = false;
    plan.settle_ms = 0;
    plan.operator_ms = 0;
    plan.lock_ms = 0;
    plan.network.latency_us = (100, 500);
    plan.network.short_reads = false;
    plan.producers.truncate(1);
    let mut producer = plan.producers[0].clone();
    (producer.mode, producer.topic) = (Mode::Auto, 0);
    (producer.in_flight, producer.burst, producer.gap_ms, producer.body) = (8, 400, (100, 200), (100, 200));
    plan.producers = vec![producer.clone(), producer];
    plan.groups.truncate(1);
    let group = &mut plan.groups[0];
    (group.topic, group.tag, group.work_ms, group.slow_one_in, group.batch, group.threads) =
        (0, None, (0, 0), 0, 1, 20);
    group.members = vec![lab::plan::Member { joins_ms: 0, leaves_ms: None, dies: false }; 2];
    for broker in &mut plan.brokers {
        (broker.sync_flush, broker.log_file_bytes, broker.queue_file_units) = (false, 4 << 20, 20_000);
    }
    plan
}

fn seconds(run: &Run) -> f64 {
    run.cpu_ns.max(1) as f64 / 1e9
}

/// CPU microseconds for each message.
fn each(run: &Run) -> f64 {
    run.cpu_ns as f64 / 1e3 / run.consumed.max(1) as f64
}

pub(super) fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}

const BUSY_RUNS: u64 = 5;
const QUICK_RUNS: u64 = 15;
