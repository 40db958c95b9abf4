//! What a producer is told is true and what it was told reaches every group, whatever crashes, freezes or is cut off.

use lab::check::Rule;
use lab::plan::{Plan, Profile};
use lab::scenario::Scenario;
use lab::swarm::{self, Class, Size};

/// Crashes, power loss, partitions and resets while producers and consumers run.
pub(crate) fn scenario() -> Scenario {
    Scenario {
        name: "first_message",
        proves: "An acknowledged message survives what its durability class says and reaches every group; nothing is \
                 invented, reordered or repeated without a cause.",
        hunts: "answers before the sync, torn records served after recovery, lost tails, holes in queues, phantom copies",
        upstream: &["1434", "467", "678", "10666", "10017"],
        rules: &[Rule::Ack1, Rule::Ack3, Rule::Ack5, Rule::Log2, Rule::Log5, Rule::Con1],
        kills: &["M10", "M26", "M27", "B07", "B25", "B68", "B102"],
        plan,
    }
}

fn plan(seed: u64, profile: Profile) -> Plan {
    let mut plan = swarm::base("first_message", seed, Size::QUICK, profile);
    swarm::faults(&mut plan, CLASSES, (4, 10));
    plan
}

const CLASSES: &[Class] = &[
    Class::BrokerCrash,
    // Three times: what the store promises is about losing power.
    Class::BrokerPower,
    Class::BrokerPower,
    Class::BrokerPower,
    Class::BrokerPoint,
    Class::BrokerStop,
    Class::NamesrvCrash,
    Class::ClientCrash,
    Class::Pause,
    Class::Slow,
    Class::Cut,
    Class::Isolate,
    Class::Reset,
    Class::Lag,
    Class::Clock,
    Class::SlowSync,
    Class::SyncFails,
    Class::FetchFails,
    Class::NamesFail,
    Class::DiskFull,
    Class::TornWrite,
    Class::Rot,
    Class::Backlog,
    Class::CloseBehind,
    Class::Drift,
    Class::Request,
    Class::Partition,
    Class::Swizzle,
    Class::Rolling,
    Class::Lose,
    Class::Permit,
    Class::Unwritable,
];
