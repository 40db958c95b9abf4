//! Members and brokers die between processing, commit and persist.

use lab::check::Rule;
use lab::draw::Draw;
use lab::plan::{Member, Plan, Profile, Rare, Step, What};
use lab::scenario::Scenario;
use lab::swarm::{self, Class, Size};

/// Deaths of consumers and brokers while messages are being worked on and offsets are on their way.
pub(crate) fn scenario() -> Scenario {
    Scenario {
        name: "crash_before_offset_commit",
        proves: "Every message is consumed at least once, no commit ever covers an unprocessed message, and after a \
                 crash only what was not yet committed comes again.",
        hunts: "commits before processing, commits of the highest instead of the lowest unfinished offset, tables \
                lost or torn by a crash, offsets that fall",
        upstream: &["6881", "3503", "1825", "2705", "2181"],
        rules: &[Rule::Con1, Rule::Con2, Rule::Con4, Rule::Con6, Rule::Con9],
        kills: &[
            "M16", "M17", "M18", "M19", "M21", "B06", "B21", "B30", "B56", "B57", "B58", "B70", "B75", "B77",
            "B91", "B95", "B96", "B100",
        ],
        plan,
    }
}

fn plan(seed: u64, profile: Profile) -> Plan {
    let mut plan = swarm::base(
        "crash_before_offset_commit",
        seed,
        Size { messages: 1500, load_ms: (100_000, 200_000) },
        profile,
    );
    let mut draw = Draw::new(seed, "work");
    for group in &mut plan.groups {
        // Work long enough to be caught in the midst of it, several at once, some much slower than others.
        group.work_ms = (0, draw.spread(20, 300));
        group.slow_one_in = draw.range(5, 30) as u32;
        group.threads = draw.range(4, 20) as u32;
        while group.members.len() < 2 {
            group.members.push(Member { joins_ms: 0, leaves_ms: None, dies: false });
        }
    }
    let last = plan.load_ms * 2 / 3;
    for group in &mut plan.groups {
        let second = &mut group.members[1];
        if draw.chance(40) && second.joins_ms == 0 {
            second.leaves_ms = Some(draw.range(30_000, last));
        }
    }
    swarm::rare(&mut plan, 60, &[Rare::SlowOffsets, Rare::ShortTails, Rare::RefusedOffsets]);
    swarm::deaths(&mut plan, 70);
    // Who works so slowly is no match for larger loads.
    if profile == Profile::Brief && Draw::new(seed, "lag").chance(25) {
        behind(&mut plan);
        return plan;
    }
    // Who begins at the end needs a broker that keeps what it is told.
    if plan.rare != Some(Rare::RefusedOffsets) {
        swarm::from_end(&mut plan, 40);
    }
    swarm::faults(&mut plan, CLASSES, (4, 12));
    plan
}

/// Brokers that save late lose power for a moment, and members have much to do of what came before: they are sent back
/// while they work on it.
fn behind(plan: &mut Plan) {
    let mut draw = Draw::new(plan.seed, "behind");
    for broker in &mut plan.brokers {
        broker.sync_flush = false;
        let every_ms = *draw.pick(&[4_000, 8_000, 15_000]);
        broker.config.retain(|(key, _)| key != "flushIntervalCommitLog");
        broker.config.push(("flushIntervalCommitLog".to_owned(), every_ms.to_string()));
    }
    for group in &mut plan.groups {
        // Longer than it takes to be sent back.
        group.work_ms = (1_000, draw.range(4_000, 10_000));
        (group.slow_one_in, group.batch) = (0, 1);
    }
    for _ in 0..draw.range(2, 6) {
        let node = format!("b{}", draw.below(plan.brokers.len() as u64));
        let (at_ms, for_ms) = (draw.range(15_000, plan.load_ms - 10_000), draw.spread(100, 2_000));
        plan.steps.push(Step::new(at_ms, for_ms, What::Crash { node, power: true }));
    }
    swarm::settle(plan);
}

const CLASSES: &[Class] = &[
    Class::ClientCrash,
    Class::ClientCrash,
    Class::BrokerCrash,
    Class::BrokerPower,
    Class::BrokerPoint,
    Class::BrokerStop,
    Class::Pause,
    Class::Reset,
    Class::Cut,
    Class::SyncFails,
    Class::NamesFail,
    Class::DiskFull,
    Class::TornWrite,
    Class::CloseBehind,
    Class::Request,
    Class::Swizzle,
    Class::Rolling,
    Class::Lose,
];
