//! Messages are asked for by key while brokers crash in the midst of writing their index.

use lab::check::Rule;
use lab::draw::Draw;
use lab::plan::{Plan, Profile};
use lab::scenario::Scenario;
use lab::swarm::{self, Class, Size};

/// Small index files with few slots, so that keys collide and files are full, and crashes of every kind.
pub(crate) fn scenario() -> Scenario {
    Scenario {
        name: "query_after_crash",
        proves: "A question for a key finds every readable message with it and none with another, whatever became of the \
                 index: it is mended or made anew from the log.",
        hunts: "slots that point to a wrong record after a recovery, chains of colliding keys that are cut, keys compared by \
                their hash alone",
        upstream: &[],
        rules: &[Rule::Idx1, Rule::Ack2, Rule::Ack3],
        kills: &["M13", "B02", "B29", "B43", "B50", "B51", "B71", "B93", "B94", "B103"],
        plan,
    }
}

fn plan(seed: u64, profile: Profile) -> Plan {
    let size = Size { messages: 1200, load_ms: (90_000, 160_000) };
    let mut plan = swarm::base("query_after_crash", seed, size, profile);
    feature(&mut plan);
    swarm::faults(&mut plan, CLASSES, (3, 9));
    plan
}

/// Small index files and many questions.
pub(crate) fn feature(plan: &mut Plan) {
    let mut draw = Draw::new(plan.seed, "index");
    for broker in &mut plan.brokers {
        let (slots, keys) = (draw.spread(1, 200), draw.spread(20, 1000));
        broker.config.push(("maxHashSlotNum".to_owned(), slots.to_string()));
        broker.config.push(("maxIndexNum".to_owned(), keys.to_string()));
    }
    plan.probe_ms = 1000;
    plan.queries = draw.range(1, 4) as u32;
    let mut draw = Draw::new(plan.seed, "shared keys");
    let (on, keys, by_client) = (draw.chance(70), draw.spread(2, 60) as u32, draw.chance(50));
    if on {
        plan.shared_keys = keys;
        // Answers of several brokers are joined by a client alone.
        plan.by_client = if by_client { plan.by_client.max(50) } else { plan.by_client };
    }
}

const CLASSES: &[Class] = &[
    Class::BrokerCrash,
    Class::BrokerPower,
    Class::BrokerPoint,
    Class::BrokerStop,
    Class::SyncFails,
    Class::NamesFail,
    Class::DiskFull,
    Class::TornWrite,
    Class::Rot,
    Class::SlowSync,
    Class::FetchFails,
    Class::Rolling,
    Class::Lose,
];
