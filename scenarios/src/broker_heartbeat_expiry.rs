//! A broker that falls silent leaves the routes within its bound, its clients move on, and it comes back.

use lab::check::Rule;
use lab::draw::Draw;
use lab::plan::{Plan, Profile, Rare, Step, What};
use lab::scenario::Scenario;
use lab::swarm::{self, Class, Size};

/// Brokers that no name server hears for longer than the time-out, in several ways.
pub(crate) fn scenario() -> Scenario {
    Scenario {
        name: "broker_heartbeat_expiry",
        proves: "A broker that name servers no longer hear leaves their answers within 120 s and a scan, one whose \
                 connection closes within 1 s; clients go on with the others, and a broker that returns is listed again, for good.",
        hunts: "brokers that never expire, stale removals that wipe a fresh registration, clients that never move on, \
                heartbeats that end with a fault",
        upstream: &["11043", "4522", "5322"],
        rules: &[Rule::Ns1, Rule::Ns2, Rule::Ns3, Rule::Ns4, Rule::L2, Rule::L13],
        kills: &[
            "M28", "M29", "B19", "B26", "B31", "B32", "B45", "B46", "B47", "B48", "B49", "B52", "B53", "B72",
            "B82", "B88", "B99",
        ],
        plan,
    }
}

fn plan(seed: u64, profile: Profile) -> Plan {
    let mut plan = swarm::base(
        "broker_heartbeat_expiry",
        seed,
        Size { messages: 1500, load_ms: (240_000, 360_000) },
        profile,
    );
    let mut draw = Draw::new(seed, "silence");
    plan.probe_ms = 1000;
    if plan.brokers.len() == 1 {
        plan.brokers.push(plan.brokers[0].clone()); // somebody must be left
    }
    if Draw::new(seed, "forgotten").chance(10) {
        forgotten(&mut plan);
        return plan;
    }
    if draw.chance(20) {
        return plan;
    }
    let broker = format!("b{}", draw.below(2));
    // Long enough for the time-out, the scan and some more, with load before and after.
    let at_ms = draw.range(20_000, 60_000);
    let for_ms = draw.range(130_000, 170_000);
    for what in silence(&plan, &mut draw, &broker) {
        plan.steps.push(Step::new(at_ms, for_ms, what));
    }
    for _ in 0..draw.below(4) + profile.more_faults() {
        let class = *draw.pick(&[
            Class::Reset,
            Class::NamesrvCrash,
            Class::Cut,
            Class::BrokerCrash,
            Class::Lag,
            Class::Backlog,
            Class::CloseBehind,
            Class::Drift,
            Class::Request,
            Class::Partition,
            Class::Rolling,
            Class::Lose,
        ]);
        let at_ms = draw.range(5_000, plan.load_ms - 10_000);
        let steps = swarm::fault(&plan, &mut draw, class, at_ms);
        plan.steps.extend(steps);
    }
    lasting(&mut plan);
    texts(&mut plan);
    swarm::settle(&mut plan);
    plan
}

/// One of two name servers falls silent for so long that clients must have gone on to the other, and the run goes on for
/// longer than anybody may be silent: who is not heard again after a fault is given up by then.
fn lasting(plan: &mut Plan) {
    let mut draw = Draw::new(plan.seed, "lasting");
    let (long, silent, power) = (draw.chance(50), draw.chance(50), draw.chance(50));
    let (at_ms, for_ms) = (draw.range(20_000, 60_000), draw.range(100_000, 160_000));
    if long {
        plan.settle_ms = 170_000;
    }
    if silent && plan.name_servers > 1 {
        let node = format!("ns{}", draw.below(u64::from(plan.name_servers)));
        let what = if power { What::Crash { node, power } } else { What::Pause { node } };
        plan.steps.push(Step::new(at_ms, for_ms, what));
    }
}

/// A name server is slow to write down what an operator gives it to keep, and dies over it.
fn texts(plan: &mut Plan) {
    let mut draw = Draw::new(plan.seed, "texts");
    let (on, every_ms) = (draw.chance(40), draw.range(1_000, 3_000));
    let (at_ms, for_ms) = (draw.range(5_000, plan.load_ms / 2), draw.spread(5_000, 20_000));
    let (nth, power) = (draw.range(1, 4), draw.chance(50));
    if on {
        (plan.operator_ms, plan.rare) = (every_ms, Some(Rare::SlowTexts));
        let node = format!("ns{}", draw.below(u64::from(plan.name_servers)));
        let point = "namesrv.file.write".to_owned();
        plan.steps.push(Step::new(at_ms, for_ms, What::CrashAt { node, point, nth, power }));
    }
}

/// A broker registers a change that its disk refuses, dies behind a cut without a word, and comes back without it: to the name
/// servers it is the one they know, and as old.
fn forgotten(plan: &mut Plan) {
    let mut draw = Draw::new(plan.seed, "change");
    let at_ms = draw.range(5_000, plan.load_ms / 2);
    let (broker, more) = (format!("b{}", draw.below(plan.brokers.len() as u64)), draw.range(1, 4) as u32);
    let queues = plan.topics[0].queues + more;
    let node = || broker.clone();
    // Its disk is in order again when it is dead.
    let mut step = |after_ms, for_ms, what| plan.steps.push(Step::new(at_ms + after_ms, for_ms, what));
    step(0, 5_000, What::NamesFail { node: node() });
    let set = What::SetQueues { topic: 0, broker: node(), read: queues, write: queues, after_drain: false };
    step(500, 1_500, set);
    step(2_500, 6_000, What::Crash { node: node(), power: true });
    for server in 0..plan.name_servers {
        let (from, to) = (node(), format!("ns{server}"));
        plan.steps.push(Step::new(at_ms + 2_200, 30_000, What::Cut { from, to, both: true }));
    }
    plan.steps.sort_by_key(|step| step.at_ms);
}

/// Ways to be unheard: dead without a word, standing still, or cut off from name servers in one or both directions.
fn silence(plan: &Plan, draw: &mut Draw, broker: &str) -> Vec<What> {
    let node = broker.to_owned();
    let servers: Vec<String> = (0..plan.name_servers).map(|index| format!("ns{index}")).collect();
    match draw.below(10) {
        0..3 => vec![What::Crash { node, power: true }],
        3..5 => vec![What::Pause { node }],
        5..6 => vec![What::Isolate { node }],
        6..7 => vec![What::Crash { node, power: false }],
        7..9 => {
            let both = draw.chance(50);
            servers.into_iter().map(|to| What::Cut { from: node.clone(), to, both }).collect()
        }
        _ => vec![What::Cut { from: node, to: draw.pick(&servers).clone(), both: true }],
    }
}
