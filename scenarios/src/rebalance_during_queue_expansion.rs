//! Queues come and go under load while members join, leave and lose their links.

use lab::check::Rule;
use lab::draw::Draw;
use lab::plan::{Member, Plan, Profile, Rare, Step, What};
use lab::scenario::Scenario;
use lab::swarm::{self, Class, Size};

/// Expansion by topic update, and shrinking in its variants, while the group's membership changes.
pub(crate) fn scenario() -> Scenario {
    Scenario {
        name: "rebalance_during_queue_expansion",
        proves: "A queue that is added under load is consumed from its first message; one that is taken away is \
                 drained first, or its messages come when it returns; nothing is skipped, every repeat has a cause, \
                 and each queue ends with one owner.",
        hunts: "new queues started at their end, queues dropped without a commit, late commits over a new owner, \
                members that disagree on who owns what, an order that another one at the same time overrules, \
                a queue that two clients have locked",
        upstream: &["9307", "9083", "9535", "242", "10955"],
        rules: &[
            Rule::Con1,
            Rule::Con3,
            Rule::Con4,
            Rule::Con5,
            Rule::Con6,
            Rule::Con9,
            Rule::Adm1,
            Rule::Ord1,
        ],
        kills: &[
            "M20", "M21", "M22", "M23", "M24", "B12", "B13", "B22", "B23", "B24", "B35", "B36", "B37", "B45",
            "B62", "B69", "B76", "M45", "B78", "B79", "B83", "B86", "B89", "B98", "B101",
        ],
        plan,
    }
}

fn plan(seed: u64, profile: Profile) -> Plan {
    let mut plan = swarm::base(
        "rebalance_during_queue_expansion",
        seed,
        Size { messages: 2000, load_ms: (150_000, 260_000) },
        profile,
    );
    let mut draw = Draw::new(seed, "queues");
    membership(&mut plan, &mut draw);
    swarm::deaths(&mut plan, 30);
    if Draw::new(seed, "calm").chance(20) {
        return plan; // nothing changes: exactly once
    }
    changes(&mut plan, &mut draw);
    // In a few the topic goes as a whole, and comes again; the swarm does it more often.
    if Draw::new(seed, "deletion").chance(10) {
        plan.steps.clear();
        swarm::deletion(&mut plan);
    } else if Draw::new(seed, "waits").chance(40) {
        waits(&mut plan);
    }
    if Draw::new(seed, "operator").chance(40) {
        swarm::orders(&mut plan);
        // What is answered too early is not on the disk yet.
        swarm::rare(&mut plan, 60, &[Rare::SlowConfig]);
    }
    if Draw::new(seed, "closed").chance(20) {
        swarm::read_only(&mut plan);
    }
    if draw.chance(70) {
        for _ in 0..draw.range(1, 5) + profile.more_faults() {
            let class = *draw.pick(&[
                Class::Cut,
                Class::Reset,
                Class::ClientCrash,
                Class::Pause,
                Class::Lag,
                Class::BrokerCrash,
                Class::CloseBehind,
                Class::Backlog,
                Class::NamesFail,
                Class::Request,
                Class::Request,
                Class::Partition,
                Class::Swizzle,
                Class::Unwritable,
            ]);
            let at_ms = draw.range(5_000, plan.load_ms - 10_000);
            let steps = swarm::fault(&plan, &mut draw, class, at_ms);
            plan.steps.extend(steps);
        }
    }
    swarm::settle(&mut plan);
    plan
}

/// Queues that come and go, and members too.
pub(crate) fn feature(plan: &mut Plan) {
    let mut draw = Draw::new(plan.seed, "queues");
    membership(plan, &mut draw);
    changes(plan, &mut draw);
}

/// Messages that wait for longer than a change takes: their queue may be gone when they are due.
fn waits(plan: &mut Plan) {
    plan.delay_levels_s = vec![2, 10, 25, 45];
    swarm::delayed(plan, &mut Draw::new(plan.seed, "waiting"), 80);
}

/// One to three changes of the queues that the first group reads: first some are added.
fn changes(plan: &mut Plan, draw: &mut Draw) {
    let topic = plan.groups[0].topic;
    let mut now = plan.topics[topic as usize].queues;
    let mut at_ms = draw.range(15_000, 50_000);
    for number in 0..draw.range(1, 3) {
        let shrink = number > 0 && draw.chance(60) && now > 1;
        let next =
            if shrink { draw.range(1, u64::from(now) - 1) as u32 } else { now + draw.range(1, 6) as u32 };
        at_ms = change(plan, draw, topic, now, next, at_ms);
        now = next;
        if at_ms + 40_000 > plan.load_ms {
            break;
        }
    }
}

/// The first group has two to four members, some of which come late or go early.
fn membership(plan: &mut Plan, draw: &mut Draw) {
    let group = &mut plan.groups[0];
    group.members = vec![Member { joins_ms: 0, leaves_ms: None, dies: false }];
    for _ in 0..draw.range(1, 3) {
        group.members.push(swarm::member(draw, plan.load_ms));
    }
}

/// One change of the number of queues on every broker. Gives the time the next one may begin.
fn change(plan: &mut Plan, draw: &mut Draw, topic: u32, now: u32, next: u32, at_ms: u64) -> u64 {
    let brokers: Vec<String> = (0..plan.brokers.len()).map(|index| format!("b{index}")).collect();
    let gently = next < now && draw.chance(60);
    for broker in brokers {
        let at_ms = at_ms + draw.below(5_000);
        let mut set = |at_ms, read, write, after_drain| {
            let what = What::SetQueues { topic, broker: broker.clone(), read, write, after_drain };
            plan.steps.push(Step::new(at_ms, 60_000, what));
        };
        if gently {
            // Producers stop writing first; readers follow when nothing is left there.
            set(at_ms, now, next, false);
            set(at_ms + 35_000, next, next, true);
        } else {
            set(at_ms, next, next, false);
        }
    }
    at_ms + if gently { 100_000 } else { draw.range(20_000, 70_000) }
}
