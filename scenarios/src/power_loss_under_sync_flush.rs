//! Brokers that flush synchronously lose power while producers wait for their answers, and syncs fail.

use lab::check::Rule;
use lab::draw::Draw;
use lab::plan::{Plan, Profile};
use lab::scenario::Scenario;
use lab::swarm::{self, Class, Size};

/// Power is cut right behind appends and around syncs that take long, with many sends in flight.
pub(crate) fn scenario() -> Scenario {
    Scenario {
        name: "power_loss_under_sync_flush",
        proves: "Under sync flush an answer means that the message is on the disk: it is there after every loss of power, \
                 and what a failed sync leaves unknown is never called safe.",
        hunts: "answers before the sync, groups of waiters woken beyond what was synced, a position that moves before the \
                sync returns, a failed sync that a later success covers",
        upstream: &[],
        rules: &[Rule::Ack1, Rule::Ack5, Rule::Log5],
        kills: &["M01", "M02", "M03", "M04", "B17"],
        plan,
    }
}

fn plan(seed: u64, profile: Profile) -> Plan {
    let size = Size { messages: 1200, load_ms: (80_000, 140_000) };
    let mut plan = swarm::base("power_loss_under_sync_flush", seed, size, profile);
    let mut draw = Draw::new(seed, "sync flush");
    for broker in &mut plan.brokers {
        broker.sync_flush = true;
        // Long enough to be caught in: appends go on while a sync is under way.
        broker.sync_us = *draw.pick(&[(500, 5_000), (2_000, 20_000), (10_000, 60_000)]);
        if draw.chance(60) {
            broker.config.push(("syncFlushTimeout".to_owned(), draw.range(100, 1_000).to_string()));
        }
    }
    for producer in &mut plan.producers {
        producer.in_flight = draw.range(4, 16) as u32;
    }
    swarm::faults(&mut plan, CLASSES, (4, 10));
    plan
}

const CLASSES: &[Class] = &[
    Class::BrokerPower,
    Class::BrokerPower,
    Class::BrokerPower,
    Class::SyncFails,
    Class::SyncFails,
    Class::SlowSync,
    Class::SlowSync,
    Class::SlowSync,
    Class::BrokerPoint,
    Class::TornWrite,
    Class::BrokerCrash,
];
