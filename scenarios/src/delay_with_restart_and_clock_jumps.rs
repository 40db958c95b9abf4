//! Delayed messages wait while brokers are restarted, crash, get other delay levels and have their clocks set.

use lab::check::Rule;
use lab::draw::Draw;
use lab::plan::{Broker, Fails, Plan, Profile, Step, What};
use lab::scenario::Scenario;
use lab::swarm::{self, Class, Size};

/// Messages of all levels, restarts of every kind, levels that change, and clocks that jump and drift.
pub(crate) fn scenario() -> Scenario {
    Scenario {
        name: "delay_with_restart_and_clock_jumps",
        proves: "A delayed message comes once, not before its time, at most a second late, 5 s after a fault; neither a \
                 restart nor a clock that is set loses it, repeats it or brings it early by more than the jump.",
        hunts: "levels that are dead after a recovery or a change of their number, messages delivered again in masses, \
                clocks that re-arm or skip, due times that are rounded, dead letters that wait once more",
        upstream: &["3473", "1869", "2357", "2724"],
        rules: &[Rule::Dly1, Rule::Dly2, Rule::Dly3, Rule::Dly4, Rule::Dly5, Rule::Con1],
        kills: &["M37", "M38", "M40", "M41", "M42", "B08", "B34", "B65", "B80"],
        plan,
    }
}

fn plan(seed: u64, profile: Profile) -> Plan {
    let size = Size { messages: 1200, load_ms: (100_000, 200_000) };
    let mut plan = swarm::base("delay_with_restart_and_clock_jumps", seed, size, profile);
    let mut draw = Draw::new(seed, "delays");
    delays(&mut plan, &mut draw, 100);
    if draw.chance(80) {
        clocks(&mut plan, &mut draw);
        restarts(&mut plan, &mut draw);
        if draw.chance(60) {
            unflushed(&mut plan, &mut draw);
        }
        swarm::faults(&mut plan, CLASSES, (2, 7));
        swarm::settle(&mut plan);
    }
    if draw.chance(60) {
        fails(&mut plan, &mut draw);
    }
    if draw.chance(40) {
        change_levels(&mut plan, &mut draw);
    }
    plan
}

/// Delayed messages, and brokers that note often how far they are.
pub(crate) fn feature(plan: &mut Plan) {
    delays(plan, &mut Draw::new(plan.seed, "delays"), 80);
}

/// Brokers are started with other levels.
pub(crate) fn levels(plan: &mut Plan) {
    change_levels(plan, &mut Draw::new(plan.seed, "other levels"));
}

fn delays(plan: &mut Plan, draw: &mut Draw, percent: u64) {
    plan.delay_levels_s = vec![1, 2, 3, 5, 8, 13, 21, 34];
    plan.delay_levels_s.truncate(draw.range(3, 8) as usize);
    swarm::delayed(plan, draw, percent);
    for broker in &mut plan.brokers {
        if draw.chance(60) {
            let interval_ms = *draw.pick(&[500, 2000, 5000]);
            set(broker, PROGRESS, interval_ms);
        }
    }
}

/// Some come back and wait again, and some of these die: with the mark of their delay or without.
fn fails(plan: &mut Plan, draw: &mut Draw) {
    let limit = draw.range(1, 3) as u32;
    let group = draw.below(plan.groups.len() as u64) as usize;
    plan.groups[group].fails = Some(Fails { one_in: draw.range(5, 20) as u32, most: limit + 2, limit });
}

/// Brokers are started with more levels or fewer, longer or shorter.
fn change_levels(plan: &mut Plan, draw: &mut Draw) {
    for _ in 0..draw.range(1, 3) {
        let mut last = 0;
        let levels = (0..draw.range(1, 10)).map(|_| {
            last += draw.spread(1, 12);
            last
        });
        let (levels_s, crash) = (levels.collect(), draw.chance(40));
        let for_ms = draw.range(500, 20_000);
        step(plan, draw, for_ms, |node| What::Levels { node, levels_s, crash });
    }
    swarm::settle(plan);
}

/// Clocks of brokers are set by half a second to a quarter of an hour.
fn clocks(plan: &mut Plan, draw: &mut Draw) {
    for _ in 0..draw.range(0, 3) {
        let by_ms = draw.spread(500, 900_000) as i64;
        let by_ms = if draw.chance(50) { by_ms } else { -by_ms };
        step(plan, draw, 0, |node| What::ClockJump { node, by_ms });
    }
}

/// A clean stop, which must repeat nothing, and an end between two steps of a delivery.
fn restarts(plan: &mut Plan, draw: &mut Draw) {
    if draw.chance(60) {
        let for_ms = draw.range(500, 20_000);
        step(plan, draw, for_ms, |node| What::Stop { node });
    }
    for _ in 0..draw.range(0, 2) {
        let (point, most) = *draw.pick(POINTS);
        let (nth, power) = (draw.spread(1, most), draw.chance(60));
        let for_ms = draw.range(500, 10_000);
        step(plan, draw, for_ms, |node| What::CrashAt { node, point: point.to_owned(), nth, power });
    }
}

/// Progress is written often and the log rarely, and then the power goes: what the log loses must not count as delivered.
fn unflushed(plan: &mut Plan, draw: &mut Draw) {
    let index = draw.below(plan.brokers.len() as u64) as usize;
    let broker = &mut plan.brokers[index];
    broker.sync_flush = false;
    set(broker, PROGRESS, 500);
    set(broker, LOG_FLUSH, 10_000);
    let (at_ms, for_ms) = (draw.range(10_000, plan.load_ms - 10_000), draw.range(500, 10_000));
    let (node, point) = (format!("b{index}"), "broker.delay.written".to_owned());
    let what = What::CrashAt { node, point, nth: draw.range(4, 20), power: true };
    plan.steps.push(Step::new(at_ms, for_ms, what));
}

fn set(broker: &mut Broker, key: &str, value: u64) {
    broker.config.retain(|(other, _)| other != key);
    broker.config.push((key.to_owned(), value.to_string()));
}

fn step(plan: &mut Plan, draw: &mut Draw, for_ms: u64, what: impl FnOnce(String) -> What) {
    let node = format!("b{}", draw.below(plan.brokers.len() as u64));
    let at_ms = draw.range(10_000, plan.load_ms - 10_000);
    plan.steps.push(Step::new(at_ms, for_ms, what(node)));
}

const PROGRESS: &str = "flushDelayOffsetInterval";
const LOG_FLUSH: &str = "flushIntervalCommitLog";

/// Points of a delivery, and how often they are passed at most before the end comes.
const POINTS: &[(&str, u64)] =
    &[("broker.delay.delivered", 60), ("broker.delay.write", 3), ("broker.delay.written", 3)];

const CLASSES: &[Class] = &[
    Class::BrokerCrash,
    Class::BrokerStop,
    Class::BrokerPower,
    Class::BrokerPoint,
    Class::Clock,
    Class::Drift,
    Class::Pause,
    Class::SlowSync,
    Class::SyncFails,
    Class::NamesFail,
    Class::TornWrite,
    Class::Cut,
];
