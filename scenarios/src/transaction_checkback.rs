//! Transactions end late, twice or never, and brokers ask back while producers and brokers die.

use lab::check::Rule;
use lab::draw::Draw;
use lab::plan::{Checking, Mode, Plan, Producer, Profile, Rare};
use lab::scenario::Scenario;
use lab::swarm::{self, Class, Size};

/// Commits, rollbacks and unknown outcomes under crashes of everybody, with checks that meet late ends.
pub(crate) fn scenario() -> Scenario {
    Scenario {
        name: "transaction_checkback",
        proves: "A transactional message is seen once and only after its commit, never after a rollback; who says nothing is \
                 asked in time and not too often, and what stays unknown is given up after the last check.",
        hunts: "half messages in the real topic, commits applied twice after a crash, later decisions that win, checks within \
                the immunity, checks that starve, half messages that are passed over",
        upstream: &["5574", "2694", "8311", "9500"],
        rules: &[Rule::Txn1, Rule::Txn2, Rule::Txn3, Rule::Txn4, Rule::Txn5, Rule::Txn6, Rule::Con1],
        kills: &[
            "M31", "M32", "M33", "M34", "M35", "M36", "B10", "B18", "B33", "B60", "B61", "B64", "B81", "B85",
        ],
        plan,
    }
}

fn plan(seed: u64, profile: Profile) -> Plan {
    let size = Size { messages: 800, load_ms: (90_000, 160_000) };
    let mut plan = swarm::base("transaction_checkback", seed, size, profile);
    feature(&mut plan);
    // Ends come while a check is being written.
    if Draw::new(seed, "slow checks").chance(30) {
        plan.rare = Some(Rare::SlowChecks);
    }
    swarm::faults(&mut plan, CLASSES, (3, 9));
    plan
}

/// Producers of transactions, and brokers that ask them soon.
pub(crate) fn feature(plan: &mut Plan) {
    let mut draw = Draw::new(plan.seed, "transactions");
    let most = draw.range(2, 6);
    let (interval_ms, immunity_ms) = (draw.range(1, 8) * 1000, draw.range(1, 8) * 1000);
    for broker in &mut plan.brokers {
        for (key, value) in [
            ("transactionCheckMax", most),
            ("transactionCheckInterval", interval_ms),
            ("transactionTimeOut", immunity_ms),
        ] {
            broker.config.push((key.to_owned(), value.to_string()));
        }
    }
    for (index, producer) in plan.producers.iter_mut().enumerate() {
        if index == 0 || draw.chance(60) {
            let (rollback, unknown) = (draw.range(5, 40) as u32, draw.range(0, 20) as u32);
            producer.mode = Mode::Transaction { rollback, unknown };
            producer.timeout_ms = 3000;
        }
    }
    checks(plan);
    deserters(plan);
}

/// Some producers ask for another immunity, and some are the client's own: it answers few checks at once, and takes its
/// time for each.
fn checks(plan: &mut Plan) {
    let mut draw = Draw::new(plan.seed, "checks");
    for producer in &mut plan.producers {
        let (asks, most_s) = (draw.chance(50), draw.range(2, 15) as u32);
        let (by_client, concurrency, most_ms) =
            (draw.chance(40), draw.range(1, 2) as u32, draw.spread(20, 3000));
        if matches!(producer.mode, Mode::Transaction { .. }) {
            producer.immunity_s = if asks { most_s } else { 0 };
            producer.checks = by_client.then_some(Checking { concurrency, most_ms });
        }
    }
}

/// Some plans have a group whose only producer disappears for good, with half messages that nobody ends: they must not
/// hold up those of others.
fn deserters(plan: &mut Plan) {
    let mut draw = Draw::new(plan.seed, "deserters");
    if !draw.chance(40) {
        return;
    }
    let gone_ms = draw.range(plan.load_ms / 5, plan.load_ms / 2);
    let mode = Mode::Transaction { rollback: 10, unknown: draw.range(30, 80) as u32 };
    let first = plan.producers[0].clone();
    plan.producers.push(Producer { mode, group: 1, gone_ms: Some(gone_ms), ..first });
}

const CLASSES: &[Class] = &[
    Class::ClientCrash,
    Class::ClientCrash,
    Class::BrokerCrash,
    Class::BrokerPower,
    Class::BrokerPoint,
    Class::BrokerPoint,
    Class::BrokerStop,
    Class::Cut,
    Class::Reset,
    Class::CloseBehind,
    Class::Pause,
    Class::SyncFails,
    Class::Clock,
    Class::Request,
    Class::Request,
    Class::Partition,
    Class::Rolling,
];
