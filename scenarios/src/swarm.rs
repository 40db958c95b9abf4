//! Everything at once, in any mixture: what the directed scenarios do one by one meets here.

use lab::check::Rule;
use lab::draw::Draw;
use lab::plan::{Mode, Plan, Profile, What};
use lab::scenario::Scenario;
use lab::swarm::{self, Class, Size};

use crate::{
    delay_with_restart_and_clock_jumps as delay, query_after_crash as query,
    rebalance_during_queue_expansion as rebalance, retry_to_dead_letter as retry,
    transaction_checkback as transaction,
};

/// A random subset of all features, settings and faults.
pub(crate) fn scenario() -> Scenario {
    Scenario {
        name: "swarm",
        proves: "Transactions, delays, retries, queues that come and go, queries and every kind of fault do not harm each \
                 other in any mixture.",
        hunts: "what nobody thought of: two features that are right alone and wrong together",
        upstream: &[],
        rules: Rule::ALL,
        kills: &["B05"],
        plan,
    }
}

fn plan(seed: u64, profile: Profile) -> Plan {
    let mut plan = swarm::base("swarm", seed, Size::QUICK, profile);
    let mut draw = Draw::new(seed, "features");
    // Where no message waits on a disk or is deleted, a disk may be lost, fill and rot.
    let bare = Draw::new(seed, "bare").chance(BARE);
    let mut with = |percent| draw.chance(percent);
    let features = [
        (with(45), transaction::feature as fn(&mut Plan)),
        (with(45), delay::feature),
        (with(45), retry::feature),
    ];
    let others = [(with(30), rebalance::feature as fn(&mut Plan)), (with(40), query::feature)];
    let features = features.into_iter().filter(|_| !bare);
    for (_, feature) in features.chain(others).filter(|(on, _)| *on) {
        feature(&mut plan);
    }
    if Draw::new(seed, "deletes").chance(30) && !bare {
        swarm::deletion(&mut plan);
    }
    let waits = plan.producers.iter().any(|producer| producer.delayed.is_some());
    if Draw::new(seed, "levels").chance(40) && waits {
        delay::levels(&mut plan);
    }
    if Draw::new(seed, "operator").chance(25) {
        swarm::orders(&mut plan);
    }
    if Draw::new(seed, "closed").chance(20) {
        swarm::read_only(&mut plan);
    }
    swarm::knobs(&mut plan);
    swarm::deaths(&mut plan, 30);
    // Small and large subsets are as likely: a fault that is always there hides what happens without it.
    let mut draw = Draw::new(seed, "classes");
    let some = draw.range(10, 60);
    let rate = |class: Class| if bare && OF_DISKS.contains(&class) { BARE_RATE } else { some };
    let mut classes: Vec<Class> =
        Class::ALL.iter().copied().filter(|class| draw.chance(rate(*class))).collect();
    classes.retain(|class| is_judged(&plan, *class));
    draw.shuffle(&mut classes);
    swarm::faults_of_each(&mut plan, &classes, (3, 12));
    spare_deleted(&mut plan);
    swarm::settle(&mut plan);
    if Draw::new(seed, "safety").chance(5) {
        swarm::storms(&mut plan);
    }
    plan
}

/// Whether the rules of what is in this plan know what this fault may take.
fn is_judged(plan: &Plan, class: Class) -> bool {
    let transactions = plan.producers.iter().any(|it| matches!(it.mode, Mode::Transaction { .. }));
    let waiting = plan.producers.iter().any(|it| it.delayed.is_some())
        || plan.groups.iter().any(|it| it.fails.is_some());
    match class {
        // Room is made with undecided half messages too.
        Class::DiskFull => !transactions,
        // A half message or a delayed one that rots is never seen.
        Class::Rot => !transactions && !waiting,
        // What waits on a disk, for its time or for a decision, is gone with it.
        Class::Lose => !transactions && !waiting,
        _ => true,
    }
}

/// Takes back the loss of disks from which a topic is deleted: where a log begins anew nobody can tell what was in the
/// deleted topic from what is in the later one.
fn spare_deleted(plan: &mut Plan) {
    let deleted = plan.steps.iter().filter_map(|step| match &step.what {
        What::DeleteTopic { brokers, .. } => Some(brokers.clone()),
        _ => None,
    });
    let deleted: Vec<String> = deleted.flatten().collect();
    plan.steps.retain(|step| !matches!(&step.what, What::Lose { node } if deleted.contains(node)));
}

/// So many of 100 plans are about messages that are sent and taken at once.
const BARE: u64 = 35;
/// Faults that cannot be judged in most other plans, and in how many of 100 of these they are drawn.
const OF_DISKS: &[Class] = &[Class::DiskFull, Class::Rot, Class::Lose];
const BARE_RATE: u64 = 75;
