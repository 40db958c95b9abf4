//! Listeners fail: messages come again with growing delays, and those that never succeed end as dead letters.

use lab::check::Rule;
use lab::draw::Draw;
use lab::plan::{Fails, Member, Plan, Profile};
use lab::scenario::Scenario;
use lab::swarm::{self, Class, Size};

/// Chosen messages fail a chosen number of times, while members and brokers die.
pub(crate) fn scenario() -> Scenario {
    Scenario {
        name: "retry_to_dead_letter",
        proves: "A message that a listener cannot handle comes again after the delay of its level with one try more on its \
                 count; after the last try there is one dead letter, and nothing is lost or passed on the way.",
        hunts: "offsets that pass what could not be given back, counts that stand still, messages dropped at the limit, \
                dead letters that wait for hours",
        upstream: &["2724", "976"],
        rules: &[Rule::Rty1, Rule::Rty2, Rule::Rty3, Rule::Rty4, Rule::Rty5, Rule::Con1, Rule::Con2],
        kills: &[
            "M25", "M42", "M43", "M44", "B09", "B11", "B14", "B15", "B20", "B27", "B54", "B55", "B59", "B66",
            "B84", "B87",
        ],
        plan,
    }
}

fn plan(seed: u64, profile: Profile) -> Plan {
    let size = Size { messages: 800, load_ms: (90_000, 160_000) };
    let mut plan = swarm::base("retry_to_dead_letter", seed, size, profile);
    feature(&mut plan);
    swarm::faults(&mut plan, CLASSES, (3, 9));
    plan
}

/// Listeners that fail, and short delays.
pub(crate) fn feature(plan: &mut Plan) {
    let mut draw = Draw::new(plan.seed, "tries");
    plan.delay_levels_s = (0..draw.range(4, 9)).map(|level| 1 + level + draw.below(3)).collect();
    for group in &mut plan.groups {
        let limit = draw.range(1, 5) as u32;
        group.fails =
            Some(Fails { one_in: draw.range(2, 12) as u32, most: limit + draw.below(3) as u32, limit });
        if group.members.len() < 2 {
            group.members.push(Member { joins_ms: 0, leaves_ms: None, dies: false });
        }
    }
    swarm::stuck(plan);
    // Some are delayed when they are sent already: a dead letter must not keep that delay.
    swarm::delayed(plan, &mut draw, 30);
}

const CLASSES: &[Class] = &[
    Class::ClientCrash,
    Class::BrokerCrash,
    Class::BrokerPower,
    Class::BrokerPoint,
    Class::BrokerStop,
    Class::Cut,
    Class::Reset,
    Class::CloseBehind,
    Class::Pause,
    Class::SyncFails,
    Class::DiskFull,
    Class::Clock,
    Class::Request,
    Class::Partition,
    Class::Rolling,
    Class::Permit,
];
