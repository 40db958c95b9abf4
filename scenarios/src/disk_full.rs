//! Disks fill up under load: old files go, messages are refused, and what was acknowledged stays.

use lab::check::Rule;
use lab::draw::Draw;
use lab::plan::{Group, Member, Mode, Plan, Producer, Profile, Rare, Step, Topic, What};
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
        rules: &[Rule::Ack1, Rule::Log2, Rule::Log4, Rule::Log5, Rule::Con9, Rule::L2, Rule::L4],
        kills: &[
            "M14", "M15", "B03", "B28", "B38", "B39", "B40", "B41", "B42", "B63", "B67", "B89", "B90", "B97",
        ],
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
    if Draw::new(seed, "files").chance(50) {
        plan.rare = Some(Rare::SlowFiles);
        bursts(&mut plan);
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
    if Draw::new(seed, "deletes").chance(40) {
        swarm::deletion(&mut plan);
    }
    if Draw::new(seed, "quiet").chance(40) {
        quiet(&mut plan);
    }
    swarm::settle(&mut plan);
    dies(&mut plan);
    plan
}

/// Somebody writes more at once than there are files for: who waits for the next one meets what is known of the space.
fn bursts(plan: &mut Plan) {
    let mut draw = Draw::new(plan.seed, "bursts");
    for broker in &mut plan.brokers {
        broker.log_file_bytes = 64 << 10;
    }
    let writer = draw.below(plan.producers.len() as u64) as usize;
    let writer = &mut plan.producers[writer];
    let (burst, calls) = (draw.range(25, 40) as u32, u64::from(writer.burst));
    let longer = |ms: u64| ms * u64::from(burst) / calls;
    writer.gap_ms = (longer(writer.gap_ms.0), longer(writer.gap_ms.1));
    (writer.mode, writer.burst, writer.in_flight) = (Mode::Auto, burst, 16);
    // One refusal is one too many.
    (writer.body, writer.timeout_ms, writer.retries) = ((6_000, 12_000), 5_000, 0);
}

/// A broker dies in the moment in which its disk has room again: what it refused to save is in its memory alone.
fn dies(plan: &mut Plan) {
    let mut draw = Draw::new(plan.seed, "dies");
    let (on, power) = (draw.chance(40), draw.chance(30));
    let ends = plan.steps.iter().filter_map(|step| match &step.what {
        What::DiskFull { node, .. } => Some((step.at_ms + step.for_ms, node.clone())),
        _ => None,
    });
    let ends: Vec<_> = ends.filter(|(end_ms, _)| end_ms + 10_000 < plan.load_ms).collect();
    if on && !ends.is_empty() {
        let (at_ms, node) = draw.pick(&ends).clone();
        plan.steps.push(Step::new(at_ms, 1000, What::Crash { node, power }));
        plan.steps.sort_by_key(|step| step.at_ms);
    }
}

/// A topic that hardly anybody writes to: room is made with all its messages, and who comes late finds nothing there.
fn quiet(plan: &mut Plan) {
    let mut draw = Draw::new(plan.seed, "rarely");
    let (topic, pause_ms) = (plan.topics.len() as u32, draw.range(30_000, 60_000));
    plan.topics.push(Topic { name: format!("topic{topic}"), queues: draw.range(1, 3) as u32, tags: 1 });
    plan.producers.push(Producer {
        topic,
        mode: Mode::Auto,
        in_flight: 1,
        burst: 3,
        gap_ms: (pause_ms, pause_ms * 2),
        body: (16, 200),
        timeout_ms: 3000,
        retries: 1,
        delayed: None,
        group: 0,
        gone_ms: None,
        immunity_s: 0,
        twin: false,
        checks: None,
    });
    let late_ms = draw.range(40_000, plan.load_ms - 20_000);
    for index in plan.groups.len()..plan.groups.len() + 2 {
        // Every second one begins at the first message there is, and may come when others are gone.
        let joins_ms = if index % 2 == 0 { late_ms } else { 0 };
        plan.groups.push(Group {
            name: format!("group{index}"),
            topic,
            tag: None,
            members: vec![Member { joins_ms, leaves_ms: None, dies: false }],
            work_ms: (0, 5),
            slow_one_in: 0,
            batch: 1,
            threads: 2,
            fails: None,
            stuck: None,
            from_end: false,
        });
    }
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
