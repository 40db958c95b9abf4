//! Batches meet the ends of log files, and clients that hear nothing send again.

use lab::check::Rule;
use lab::draw::Draw;
use lab::plan::{Mode, Plan, Profile, Step, What};
use lab::scenario::Scenario;
use lab::swarm::{self, Class, Size};

use crate::query_after_crash as query;

/// Batches of many sizes into small log files, and answers that come late or never.
pub(crate) fn scenario() -> Scenario {
    Scenario {
        name: "batch_and_client_retry",
        proves: "A batch is stored whole and in order, or not at all; a message that a client sends again keeps its unique \
                 key, each of its copies has a cause, and a call that is over leaves nothing behind.",
        hunts: "batches that are cut where a log file ends, retries that look like new messages, calls that time out and \
                stay in their table",
        upstream: &[],
        rules: &[Rule::Ack6, Rule::Ack7, Rule::Ack8, Rule::Idx1, Rule::L10, Rule::L13],
        kills: &["M60", "M61", "M62", "B92"],
        plan,
    }
}

fn plan(seed: u64, profile: Profile) -> Plan {
    let size = Size { messages: 1500, load_ms: (80_000, 140_000) };
    let mut plan = swarm::base("batch_and_client_retry", seed, size, profile);
    let mut draw = Draw::new(seed, "batches");
    query::feature(&mut plan);
    plan.network.latency_us = (1_000, 10_000);
    for broker in &mut plan.brokers {
        broker.log_file_bytes = 64 << 10;
        broker.sync_flush = draw.chance(70);
        broker.sync_us = *draw.pick(&[(2_000, 20_000), (20_000, 80_000)]);
    }
    for producer in &mut plan.producers {
        let batches = draw.chance(60);
        // A batch may be as large as one message: the largest of brokers here is 16 KiB.
        producer.body = (16, if batches { draw.spread(64, 1_500) } else { draw.spread(64, 8_192) });
        producer.mode = if batches { Mode::Batch(draw.range(2, 10) as u32) } else { Mode::Auto };
        // Calls that wait for each other and for the disk: some of them are in flight whenever a connection breaks.
        producer.in_flight = draw.range(4, 16) as u32;
        producer.timeout_ms = *draw.pick(&[500, 2_000, 5_000]);
        producer.retries = draw.range(1, 3) as u32;
    }
    swarm::faults(&mut plan, CLASSES, (5, 12));
    if Draw::new(seed, "slow dials").chance(30) {
        dials(&mut plan);
    }
    plan
}

/// Brokers stand still behind slow links: a connection takes a good part of a call's time, and then nobody answers.
fn dials(plan: &mut Plan) {
    let mut draw = Draw::new(plan.seed, "dials");
    let (at_ms, for_ms) = (draw.range(10_000, plan.load_ms - 40_000), draw.range(10_000, 20_000));
    // Nothing else keeps them from it.
    let until_ms = at_ms + for_ms + 5_000;
    plan.steps
        .retain(|step| step.at_ms > until_ms || !step.stays && step.at_ms + step.for_ms + 1_000 < at_ms);
    for producer in &mut plan.producers {
        producer.timeout_ms = *draw.pick(&[3_000, 5_000]);
    }
    for broker in (0..plan.brokers.len()).map(|index| format!("b{index}")) {
        for a in (0..plan.producers.len()).map(|index| format!("p{index}")) {
            let (b, max_ms) = (broker.clone(), draw.range(1_000, 1_600));
            let lag = What::Lag { a: a.clone(), b: b.clone(), max_ms, loss: 0 };
            plan.steps.push(Step::new(at_ms, until_ms - at_ms, lag));
            plan.steps.push(Step::new(at_ms + 3_000, 0, What::Reset { a, b }));
        }
        plan.steps.push(Step::new(at_ms + 2_000, for_ms, What::Pause { node: broker }));
    }
    swarm::settle(plan);
}

const CLASSES: &[Class] = &[
    Class::Lag,
    Class::Lag,
    Class::Pause,
    Class::Slow,
    Class::SlowSync,
    Class::Cut,
    Class::Reset,
    Class::Reset,
    Class::Reset,
    Class::Backlog,
    Class::CloseBehind,
    Class::CloseBehind,
    Class::BrokerCrash,
    Class::BrokerPower,
    Class::BrokerStop,
];
