//! Makes a plan of the simulator fit for real time and real processes: shorter, with fewer messages, and without what
//! nobody can do to a process. What is left out is listed.

use std::collections::BTreeSet;

use lab::plan::{Harm, Mode, Need, Plan, Step, What};

use crate::servers::{Make, Running};

/// A plan that can be carried out, and what is not done of it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Fit {
    pub(crate) plan: Plan,
    /// Each in words, once.
    pub(crate) left_out: BTreeSet<String>,
}

/// Fits a plan for servers of this make.
pub(crate) fn fit(mut plan: Plan, make: &Make) -> Fit {
    let mut left_out = BTreeSet::new();
    if let Make::Running(running) = make {
        adopt(&mut plan, running, &mut left_out);
    }
    let short = |ms: u64, load_ms: u64| ms * LOAD_MS / load_ms.max(1);
    let load_ms = plan.load_ms.max(1);
    messages(&mut plan);
    for producer in &mut plan.producers {
        producer.gone_ms = producer.gone_ms.map(|at| short(at, load_ms));
        let by_client = producer.checks.take().is_some();
        if by_client | (std::mem::take(&mut producer.immunity_s) > 0) {
            left_out.insert(
                "transactions by the client, or with an immunity of their own: taps alone tell how they are asked"
                    .to_owned(),
            );
        }
    }
    for group in &mut plan.groups {
        if group.stuck.take().is_some() {
            left_out.insert("listeners that are stuck: that takes longer than there is time".to_owned());
        }
        if std::mem::take(&mut group.from_end) {
            left_out
                .insert("groups that begin at the end of queues: taps alone tell where that was".to_owned());
        }
        for member in &mut group.members {
            member.joins_ms = short(member.joins_ms, load_ms);
            member.leaves_ms = member.leaves_ms.map(|at| short(at, load_ms));
        }
    }
    if !matches!(make, Make::Running(_)) {
        plan.delay_levels_s.iter_mut().for_each(|level| *level = (*level).min(LONGEST_DELAY_S));
    }
    let steps = std::mem::take(&mut plan.steps);
    for step in steps {
        let Some(what) = replaced(&step.what, &mut left_out) else { continue };
        if step.stays {
            left_out.insert("faults that never end: they end with the load".to_owned());
        }
        let most_ms = if matches!(what.need(), Need::Link | Need::Operator) { 6000 } else { 3000 };
        let for_ms = match what {
            // The deadline of an order; what routes say, which clients ask for seldom; and how long a lost request is felt.
            What::SetQueues { .. } | What::Unwritable { .. } | What::Request { .. } => step.for_ms,
            _ if step.for_ms == 0 => 0,
            _ => short(step.for_ms, load_ms).clamp(500, most_ms),
        };
        plan.steps.push(Step::new(short(step.at_ms, load_ms), for_ms, what));
    }
    plan.steps.truncate(MOST_STEPS);
    plan.load_ms = LOAD_MS;
    brokers(&mut plan, &mut left_out);
    if plan.buggify > 0 || plan.rare.is_some() {
        left_out.insert("sites in the code that choose the rare way".to_owned());
    }
    left_out.insert("latency of links and of syncs as planned: they are what this machine has".to_owned());
    if std::mem::take(&mut plan.shared_keys) > 0 {
        left_out.insert(
            "the newest of many messages with one key: taps alone tell what could be found".to_owned(),
        );
    }
    if plan.operator_ms > 0 {
        left_out.insert("groups and texts that an operator changes".to_owned());
    }
    plan.operator_ms = 0;
    if plan.lock_ms > 0 {
        left_out.insert("clients that lock queues".to_owned());
    }
    plan.lock_ms = 0;
    (plan.buggify, plan.rare) = (0, None);
    plan.probe_ms = 1000;
    // What is undecided may be asked about until then.
    plan.settle_ms = if plan.producers.iter().any(|it| matches!(it.mode, Mode::Transaction { .. })) {
        let (interval, most) =
            (plan.setting("transactionCheckInterval", 30_000), plan.setting("transactionCheckMax", 15));
        (plan.setting("transactionTimeOut", 6000) + (most + 1) * (interval + 1000) + 2000).min(60_000)
    } else {
        0
    };
    Fit { plan, left_out }
}

/// Makes it a plan for servers that run already, with topics and groups that nobody has.
fn adopt(plan: &mut Plan, running: &Running, left_out: &mut BTreeSet<String>) {
    plan.name_servers = running.name_servers.len() as u32;
    let broker = plan.brokers[0].clone();
    plan.brokers = running.brokers.iter().map(|_| broker.clone()).collect();
    plan.brokers.iter_mut().for_each(|broker| broker.config.clear());
    left_out.insert("settings of brokers: they have their own".to_owned());
    plan.recover_twice = false;
    // As brokers have them by default: nothing that takes long is waited for.
    plan.delay_levels_s = vec![1, 5, 10, 30];
    let unique = runtime::random::stream("names").next_u64();
    plan.topics.iter_mut().for_each(|topic| topic.name += &format!("-{unique:x}"));
    for group in &mut plan.groups {
        group.name += &format!("-{unique:x}");
        if let Some(fails) = &mut group.fails {
            fails.limit = 1;
        }
    }
    for delayed in plan.producers.iter_mut().filter_map(|producer| producer.delayed.as_mut()) {
        delayed.most_level = delayed.most_level.min(3);
    }
    let servers = (0..plan.name_servers).map(|index| format!("ns{index}"));
    let brokers = (0..plan.brokers.len()).map(|index| format!("b{index}"));
    let servers: Vec<_> = servers.chain(brokers).collect();
    let clients = plan.client_nodes();
    plan.steps.retain(|step| {
        let process =
            matches!(step.what.need(), Need::Kill | Need::Stop | Need::Pause | Need::Power | Need::Point);
        // That would touch what others have there.
        let process = process || matches!(step.what, What::Unwritable { .. } | What::Orders { .. });
        let fits = step.what.nodes().iter().all(|node| {
            clients.iter().any(|it| it == node) || !process && servers.iter().any(|it| it == node)
        });
        if !fits {
            left_out.insert(format!("{} of a server: it is not ours", step.what.kind()));
        }
        fits
    });
}

/// What is done in place of a step: the same, something weaker, or nothing.
fn replaced(what: &What, left_out: &mut BTreeSet<String>) -> Option<What> {
    let instead = match what {
        What::Crash { node, power: true } | What::CrashAt { node, .. } | What::TornWrite { node, .. } => {
            left_out.insert(format!("{}: kill -9 instead, at some moment", what.kind()));
            What::Crash { node: node.clone(), power: false }
        }
        What::Levels { node, levels_s, crash } => {
            let levels_s = levels_s.iter().map(|level| (*level).min(LONGEST_DELAY_S)).collect();
            What::Levels { node: node.clone(), levels_s, crash: *crash }
        }
        What::Request { from, to, code, answer, nth, harm } => {
            // There are fewer of them, and less time.
            let harm = match harm {
                Harm::Late { ms } => Harm::Late { ms: (*ms).min(LONGEST_LAG_MS) },
                other => *other,
            };
            let (from, to, nth) = (from.clone(), to.clone(), (*nth).div_ceil(FEWER));
            What::Request { from, to, code: *code, answer: *answer, nth, harm }
        }
        What::DeleteTopic { .. } | What::ReadOnly { .. } => {
            left_out.insert(format!("{}: not made with processes yet", what.kind()));
            return None;
        }
        other => other.clone(),
    };
    let can = matches!(instead.need(), Need::Kill | Need::Stop | Need::Pause | Need::Link | Need::Operator);
    if !can {
        left_out.insert(format!("{}: nobody can do that to a process here", what.kind()));
    }
    can.then_some(instead)
}

/// A few hundred messages in the time there is.
fn messages(plan: &mut Plan) {
    let sends = |producer: &lab::plan::Producer| {
        let each = if let Mode::Batch(most) = producer.mode { u64::from(most) } else { 1 };
        let gap_ms = (producer.gap_ms.0 + producer.gap_ms.1) / 2;
        plan.load_ms / gap_ms.max(1) * u64::from(producer.burst) * each
    };
    let planned = plan.producers.iter().map(sends).sum::<u64>().max(1);
    let load_ms = plan.load_ms.max(1);
    for producer in &mut plan.producers {
        let scaled =
            |ms: u64| (ms * LOAD_MS / load_ms * planned.max(MESSAGES) / MESSAGES).clamp(1, LOAD_MS / 4);
        producer.gap_ms = (scaled(producer.gap_ms.0), scaled(producer.gap_ms.1));
    }
}

/// Settings of brokers that would take longer than there is time.
fn brokers(plan: &mut Plan, left_out: &mut BTreeSet<String>) {
    for broker in &mut plan.brokers {
        if broker.clock_offset_ms != 0 {
            broker.clock_offset_ms = 0;
            left_out.insert("clocks that differ from broker to broker".to_owned());
        }
        for (key, value) in &mut broker.config {
            let most = SHORTER.iter().find(|(known, _)| known == key).map(|(_, most)| *most);
            if let Some((most, number)) = most.zip(value.parse::<u64>().ok()) {
                *value = number.min(most).to_string();
            }
        }
        let hears = ("registerNameServerPeriod".to_owned(), "10000".to_owned());
        broker.config.retain(|(key, _)| *key != hears.0);
        broker.config.push(hears);
    }
}

/// How many different kinds of faults a plan has.
pub(crate) fn kinds(plan: &Plan) -> usize {
    plan.steps.iter().map(|step| step.what.kind()).collect::<BTreeSet<_>>().len()
}

/// How long the load lasts.
const LOAD_MS: u64 = 18_000;
/// About so many messages.
const MESSAGES: u64 = 500;
const MOST_STEPS: usize = 8;
const LONGEST_DELAY_S: u64 = 3;
/// A request is late by so much at most.
const LONGEST_LAG_MS: u64 = 5000;
/// Of requests that a plan counts there are so many times fewer.
const FEWER: u64 = 4;
/// Settings and the most they may be.
const SHORTER: [(&str, u64); 3] =
    [("transactionCheckInterval", 2000), ("transactionTimeOut", 2000), ("transactionCheckMax", 3)];

#[cfg(test)]
mod tests {
    use super::*;

    fn ours() -> Make {
        Make::Ours("reprise".into())
    }

    #[test]
    fn every_scenario_fits_into_real_time() {
        for scenario in scenarios::list::all() {
            for seed in 0..200 {
                let Fit { plan, .. } = fit(scenario.usual(seed), &ours());
                assert!(plan.steps.iter().all(|step| step.at_ms < plan.load_ms), "{plan}");
                assert!(plan.steps.iter().all(|step| replaced(&step.what, &mut BTreeSet::new()).is_some()));
            }
        }
    }

    #[test]
    fn what_cannot_be_done_is_listed() {
        let mut plan = scenarios::list::all()[0].usual(1);
        let step = |what| Step::new(1000, 1000, what);
        plan.steps = vec![
            step(What::Crash { node: "b0".to_owned(), power: true }),
            step(What::ClockJump { node: "b0".to_owned(), by_ms: 5 }),
        ];
        let Fit { plan, left_out } = fit(plan, &ours());
        assert_eq!(plan.steps.len(), 1);
        assert_eq!(plan.steps[0].what, What::Crash { node: "b0".to_owned(), power: false });
        assert!(left_out.iter().any(|it| it.starts_with("power loss")), "{left_out:?}");
        assert!(left_out.iter().any(|it| it.starts_with("clock jump")), "{left_out:?}");
    }
}
