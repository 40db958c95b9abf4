//! What a run does through the clients' door, wherever it happens: the load and its history, the lab's own questions,
//! the drain, and the last reading. The simulator drives it, and so does whoever drives real processes.

mod asks;
mod load;
mod locks;
mod marks;
mod newest;
mod operator;
mod read;
mod reader;
mod recorder;
mod transact;
mod waits;

use std::time::Duration;

pub use asks::{Asker, Home, Server};
pub use load::{DONE, LOAD, SETTLE, Shared, WAIT, consume, produce};
pub use read::read_all;
pub use recorder::{Live, Place, Recorder};

use broker::Config;
use runtime::time::{Instant, sleep};

use crate::history::{Kind, NodeId};
use crate::plan::{Plan, What};

/// Waits for the brokers and makes the topics on them.
///
/// # Errors
/// In words, when they do not come or do not take the topics in time.
pub async fn set_up<H: Home>(shared: &Shared, asker: &Asker<H>) -> Result<(), String> {
    let deadline = Instant::now() + SET_UP;
    if !asker.all_registered(deadline).await {
        return Err("the brokers did not register in time, though nothing was wrong yet".to_owned());
    }
    for topic in &shared.plan.topics {
        for broker in shared.recorder.brokers() {
            if !asker.set_queues(broker, &topic.name, topic.queues, topic.queues, deadline).await {
                return Err(format!("topic {} could not be made, though nothing was wrong yet", topic.name));
            }
        }
    }
    Ok(())
}

/// Lets consumers catch up, until nothing is left or the bound is reached: that of L-4, if nobody is in a hurry.
pub async fn drain<H: Home>(shared: &Shared, asker: &Asker<H>, bound: Duration) {
    let (plan, recorder) = (&shared.plan, &shared.recorder);
    let untapped = recorder.live().history.untapped;
    let healed = Instant::now();
    let messages = recorder.live().history.messages.len() as u64;
    let deadline = healed + bound + Duration::from_millis(plan.backlog_ms(messages) + plan.chain_ms());
    // What a full disk made a broker delete, it deletes at its next look: not in the midst of the reading that follows.
    let fills = plan.steps.iter().any(|step| matches!(step.what, What::DiskFull { .. }));
    let deleted = if fills { next_look(plan) + SOON } else { Duration::ZERO };
    let least = healed + Duration::from_millis(plan.settle_ms).max(deleted);
    let producers_until = healed + PRODUCERS;
    loop {
        // Asked again and again: an order of the load phase may still be on its way and come after ours.
        put_queues_back(shared, asker).await;
        sleep(Duration::from_millis(500)).await;
        if untapped {
            asker.progress().await;
        }
        let (rest, acknowledged) = {
            let live = recorder.live();
            (live.rest(), live.acknowledged.iter().all(|it| *it))
        };
        let now = Instant::now();
        if (acknowledged || now > producers_until) && shared.phase() == SETTLE {
            shared.enter(DONE);
            continue; // what was sent last may not be stored yet
        }
        let over = shared.phase() == DONE;
        if over && now >= least && (rest == 0 || now >= deadline) {
            return recorder.push(NodeId(0), Kind::Drained { rest });
        }
    }
}

/// Queues that were taken away come back: what lies in them is due again.
async fn put_queues_back<H: Home>(shared: &Shared, asker: &Asker<H>) {
    let plan = &shared.plan;
    for (index, topic) in plan.topics.iter().enumerate() {
        let lost = plan.steps.iter().any(|step| matches!(step.what, What::Lose { .. }));
        if !plan.changes_queues(index as u32) && !lost {
            continue;
        }
        let most = plan.most_queues(index as u32);
        for broker in shared.recorder.brokers() {
            if shared.recorder.live().outside.contains(&broker) {
                continue;
            }
            let key = (index as u32, broker);
            let now = shared.recorder.live().sizes.get(&key).map(|(read, _)| *read);
            if now != Some(most) {
                asker.set_queues(broker, &topic.name, most, most, Instant::now() + SET_UP).await;
            }
        }
    }
}

/// The longest time from one look of a broker at old files to the next.
fn next_look(plan: &Plan) -> Duration {
    let given = plan.brokers.iter().flat_map(|broker| &broker.config);
    let given = given.filter(|(key, _)| key == "cleanResourceInterval").filter_map(|(_, ms)| ms.parse().ok());
    Duration::from_millis(given.max().unwrap_or(0).max(Config::default().clean_resource_interval))
}

/// What setting up may take when nothing is wrong.
const SET_UP: Duration = Duration::from_secs(60);
/// L-4's bound without backlog.
pub const DRAIN: Duration = Duration::from_secs(180);
const SOON: Duration = Duration::from_secs(2);
/// L-2's bound and a moment.
const PRODUCERS: Duration = Duration::from_secs(75);
