//! Brokers die while one log file ends and the next begins, and again while they recover.

use lab::check::Rule;
use lab::draw::Draw;
use lab::plan::{Plan, Profile, Step, What};
use lab::scenario::Scenario;
use lab::swarm::{self, Class, Size};

use crate::query_after_crash as query;

/// Small files and rare flushes of the queues, so that a recovery has several files of the log to read again.
pub(crate) fn scenario() -> Scenario {
    Scenario {
        name: "crash_during_roll_over_and_recovery",
        proves: "Whatever a recovery finds, it ends the log at its last whole record, gives every record one place in its \
                 queue, and a second recovery finds the same.",
        hunts: "recoveries that read too little, holes and repeats in queues where files begin, torn records that are \
                served, garbage between records, a crash that is taken for a clean stop",
        upstream: &["1434", "467", "678"],
        rules: &[Rule::Log2, Rule::Log4, Rule::Log5, Rule::Log6, Rule::Idx1, Rule::Ack1],
        kills: &["M05", "M06", "M07", "M08", "M09", "M10", "M11", "M12", "M13", "B01", "B04", "B16"],
        plan,
    }
}

fn plan(seed: u64, profile: Profile) -> Plan {
    let size = Size { messages: 1500, load_ms: (80_000, 140_000) };
    let mut plan = swarm::base("crash_during_roll_over_and_recovery", seed, size, profile);
    let mut draw = Draw::new(seed, "files");
    query::feature(&mut plan);
    for broker in &mut plan.brokers {
        // What a loss of power takes or tears is there only where a sync is rare.
        broker.sync_flush = draw.chance(25);
        broker.config.retain(|(key, _)| key != "flushIntervalCommitLog");
        let interval_ms = draw.pick(&[500, 10_000]);
        broker.config.push(("flushIntervalCommitLog".to_owned(), interval_ms.to_string()));
        broker.log_file_bytes = *draw.pick(&[64 << 10, 64 << 10, 128 << 10]);
        broker.queue_file_units = draw.spread(50, 200);
        broker.config.retain(|(key, _)| key != "flushConsumeQueueThoroughInterval");
        let interval_ms = draw.pick(&[2_000, 30_000, 60_000]);
        broker.config.push(("flushConsumeQueueThoroughInterval".to_owned(), interval_ms.to_string()));
    }
    for producer in &mut plan.producers {
        producer.body = (16, *draw.pick(&[1_000, 4_000, 8_192]));
    }
    plan.recover_twice = draw.chance(60);
    let calm = draw.chance(20);
    if calm {
        return plan;
    }
    let classes = [
        Class::BrokerPower,
        Class::BrokerPower,
        Class::BrokerPower,
        Class::TornWrite,
        Class::BrokerCrash,
        Class::BrokerStop,
    ];
    for _ in 0..draw.range(4, 9) + profile.more_faults() {
        let at_ms = draw.range(10_000, plan.load_ms - 10_000);
        let steps = if draw.chance(40) {
            vec![at_a_seam(&plan, &mut draw, at_ms)]
        } else {
            let class = *draw.pick(&classes);
            swarm::fault(&plan, &mut draw, class, at_ms)
        };
        plan.steps.extend(steps);
    }
    swarm::settle(&mut plan);
    plan
}

/// A death where one file follows another, where queues and their table are written, or in the midst of a recovery.
fn at_a_seam(plan: &Plan, draw: &mut Draw, at_ms: u64) -> Step {
    let seams: Vec<_> =
        swarm::POINTS.iter().filter(|point| SEAMS.iter().any(|it| point.starts_with(it))).collect();
    let node = format!("b{}", draw.below(plan.brokers.len() as u64));
    let point = (**draw.pick(&seams)).to_owned();
    let (nth, power) = (draw.spread(1, 3), draw.chance(70));
    Step::new(at_ms, draw.spread(1_000, 15_000), What::CrashAt { node, point, nth, power })
}

const SEAMS: &[&str] = &["store.segment.", "store.queue.", "store.table.", "store.settle.", "store.recover."];
