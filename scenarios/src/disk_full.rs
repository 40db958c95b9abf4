//! Disks fill up under load: old files go, messages are refused, and what was acknowledged stays.

use lab::check::Rule;
use lab::draw::Draw;
use lab::plan::{Plan, Profile, Step, What};
use lab::scenario::Scenario;
use lab::swarm::{self, Class, Size};

/// Little or no space is left again and again, with small files, deaths and restarts.
pub(crate) fn scenario() -> Scenario {
    Scenario {
        name: "disk_full",
        proves: "A message that found no room is refused; where old files are deleted to make some, queues begin at \
                 their first message that is left, and service returns by itself.",
        hunts: "messages that are acknowledged without room, records cut at the end of the space, queues whose smallest \
                offset does not follow what was deleted",
        upstream: &[],
        rules: &[Rule::Ack1, Rule::Log2, Rule::Log4, Rule::Log5, Rule::L2, Rule::L4],
        kills: &["M14", "M15", "B03", "B28"],
        plan,
    }
}

fn plan(seed: u64, profile: Profile) -> Plan {
    let mut plan =
        swarm::base("disk_full", seed, Size { messages: 1500, load_ms: (100_000, 160_000) }, profile);
    let mut draw = Draw::new(seed, "space");
    for broker in &mut plan.brokers {
        broker.log_file_bytes = *draw.pick(&[64 << 10, 128 << 10]);
        broker.queue_file_units = draw.spread(50, 200);
        if draw.chance(50) {
            broker.config.push(("cleanResourceInterval".to_owned(), draw.range(1_000, 20_000).to_string()));
        }
    }
    for producer in &mut plan.producers {
        producer.body = (16, *draw.pick(&[2_000, 8_192]));
    }
    if draw.chance(20) {
        // There is space, and then nothing goes wrong, or a clock does.
        if Draw::new(seed, "days").chance(60) {
            days(&mut plan);
        }
        return plan;
    }
    for _ in 0..draw.range(2, 4) + profile.more_faults() {
        let node = format!("b{}", draw.below(plan.brokers.len() as u64));
        let (at_ms, for_ms) = (draw.range(10_000, plan.load_ms - 20_000), draw.range(8_000, 40_000));
        let spare_kib = if draw.chance(50) { 0 } else { draw.spread(1, 512) };
        plan.steps.push(Step::new(at_ms, for_ms, What::DiskFull { node, spare_kib }));
    }
    for _ in 0..draw.below(4) {
        let class =
            *draw.pick(&[Class::BrokerCrash, Class::BrokerPower, Class::BrokerStop, Class::ClientCrash]);
        let at_ms = draw.range(10_000, plan.load_ms - 10_000);
        let steps = swarm::fault(&plan, &mut draw, class, at_ms);
        plan.steps.extend(steps);
    }
    swarm::settle(&mut plan);
    plan
}

/// The clock of a broker jumps by days, at an hour at which old files go: what was stored a minute ago is not old.
fn days(plan: &mut Plan) {
    let mut draw = Draw::new(plan.seed, "jump");
    let hours: Vec<_> = (0..24).map(|hour| format!("{hour:02}")).collect();
    for broker in &mut plan.brokers {
        broker.config.push(("deleteWhen".to_owned(), hours.join(";")));
    }
    let node = format!("b{}", draw.below(plan.brokers.len() as u64));
    let (at_ms, by_ms) = (draw.range(20_000, plan.load_ms - 20_000), draw.range(73, 400) as i64 * 3_600_000);
    plan.steps.push(Step::new(at_ms, 0, What::ClockJump { node, by_ms }));
    // A process that was started later knows the age of files by the wall clock alone.
    plan.recover_twice = false;
}
