//! Carries out the steps of a plan: faults, members that come and go, and what operators do.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use runtime::sync::Watermark;
use runtime::task::TaskSet;
use runtime::time::{Instant, sleep, sleep_until};
use world::{Crash, Node, World, disk::Access, hooks::Arm};

use super::cluster::{Cluster, STORE};
use super::requests::{Requests, Sought};
use super::rot;
use crate::clients::Asker;
use crate::history::{How, Kind, MemberId, NodeId};
use crate::plan::{Plan, Step, What, parts};
use crate::swarm::RECOVERY;

/// The steps under way.
#[derive(Clone)]
pub(super) struct Steps {
    world: World,
    cluster: Arc<Cluster>,
    plan: Arc<Plan>,
    asker: Arc<Asker<Node>>,
    requests: Requests,
    on: Arc<Mutex<BTreeSet<u32>>>,
    /// By step: the death it has prepared at a crash point.
    arms: Arc<Mutex<BTreeMap<u32, Arm>>>,
    /// Members that are not there yet, or have left for good.
    away: Arc<Mutex<BTreeSet<MemberId>>>,
    /// Producers that never come back.
    gone: Arc<Mutex<BTreeSet<u32>>>,
    /// Steps whose moment has not come.
    missed: Arc<Mutex<BTreeSet<u32>>>,
}

impl Steps {
    pub(super) fn new(
        world: World,
        cluster: Arc<Cluster>,
        plan: Arc<Plan>,
        asker: Arc<Asker<Node>>,
        requests: Requests,
    ) -> Self {
        let (on, arms, away, gone) = Default::default();
        let waiting = (0..).zip(&plan.steps).filter(|(_, step)| step.on.is_some());
        let missed = Arc::new(Mutex::new(waiting.map(|(index, _)| index).collect()));
        Self { world, cluster, plan, asker, requests, on, arms, away, gone, missed }
    }

    /// Starts the members that are there from the beginning.
    pub(super) fn first_members(&self) {
        for (index, member) in self.members().into_iter().enumerate() {
            let id = MemberId(index as u32);
            if member.joins_ms == 0 {
                self.cluster.start_member(id);
            } else {
                held(&self.away).insert(id);
            }
        }
    }

    fn members(&self) -> Vec<crate::plan::Member> {
        self.plan.groups.iter().flat_map(|group| group.members.iter().copied()).collect()
    }

    /// Lets everything of the plan happen, counted from now.
    pub(super) fn begin(&self, tasks: &TaskSet) {
        let start = Instant::now();
        for (index, step) in self.plan.steps.iter().enumerate() {
            let (steps, step) = (self.clone(), step.clone());
            tasks.spawn("step", async move {
                match &step.on {
                    Some(moment) => steps.cluster.shared.recorder.moment(moment).await,
                    None => sleep_until(start + Duration::from_millis(step.at_ms)).await,
                }
                steps.step(index as u32, &step).await;
            });
        }
        for (index, producer) in (0..).zip(&self.plan.producers) {
            let (steps, Some(gone_ms)) = (self.clone(), producer.gone_ms) else { continue };
            tasks.spawn("producer", async move {
                sleep_until(start + Duration::from_millis(gone_ms)).await;
                steps.leave_for_good(index);
            });
        }
        for (index, member) in self.members().into_iter().enumerate() {
            let (steps, id) = (self.clone(), MemberId(index as u32));
            tasks.spawn("member", async move {
                if member.joins_ms > 0 {
                    sleep_until(start + Duration::from_millis(member.joins_ms)).await;
                    held(&steps.away).remove(&id);
                    steps.cluster.start_member(id);
                }
                if let Some(leaves_ms) = member.leaves_ms {
                    sleep_until(start + Duration::from_millis(leaves_ms)).await;
                    held(&steps.away).insert(id);
                    let node = steps.cluster.members[id.index()];
                    if member.dies && node.is_up() {
                        node.crash(Crash::Process);
                        steps.cluster.down(node, How::Process);
                    }
                    node.resume();
                    steps.cluster.stop(node).await;
                }
            });
        }
    }

    /// Steps whose moment did not come, or that wait in vain for the point where they strike.
    pub(super) fn missed(&self) -> Vec<u32> {
        held(&self.missed).iter().copied().collect()
    }

    /// A producer dies and is not started again.
    fn leave_for_good(&self, index: u32) {
        held(&self.gone).insert(index);
        self.cluster.shared.recorder.gone(index);
        let node = self.cluster.producers[index as usize];
        if node.is_up() {
            node.crash(Crash::Process);
            self.cluster.down(node, How::Process);
        }
    }

    /// Ends all faults: whatever is on is taken back, whoever is down is started.
    pub(super) async fn heal(&self) {
        self.requests.forget(None);
        let heals = |index: &u32| !self.plan.steps[*index as usize].stays;
        let on: BTreeSet<u32> = held(&self.on).extract_if(.., |index| heals(index)).collect();
        // Last of all those who were asked to end: they will, and must be down before they can be started again.
        let is_stop = |index: &u32| asked_to_end(&self.plan.steps[*index as usize].what).is_some();
        let (stops, others): (Vec<_>, Vec<_>) = on.iter().partition(|index| is_stop(index));
        for index in others.into_iter().chain(stops) {
            let step = &self.plan.steps[index as usize];
            if let Some(node) = asked_to_end(&step.what) {
                self.cluster.stop(self.cluster.node(node)).await;
            }
            self.undo(index, &step.what);
            self.cluster.shared.recorder.push(NodeId(0), Kind::StepOff { step: index });
        }
        for node in self.cluster.all() {
            if self.may_run(node) {
                self.cluster.up(node);
            }
        }
        for index in on {
            self.put_back(&self.plan.steps[index as usize].what, Instant::now() + WATCHED).await;
        }
        // What an operator said to a server that stood still may be heard only now, by one that serves its connections
        // in any order: he looks after it once more.
        let permits = |what: &What| {
            matches!(what, What::Permit { .. } | What::ReadOnly { .. } | What::Unwritable { .. })
        };
        if self.plan.steps.iter().any(|step| permits(&step.what)) {
            sleep(HEARD_LATE).await;
        }
        for step in self.plan.steps.iter().filter(|step| permits(&step.what)) {
            self.put_back(&step.what, Instant::now() + WATCHED).await;
        }
    }

    fn may_run(&self, node: Node) -> bool {
        let dead = |index: &u32| {
            let step = &self.plan.steps[*index as usize];
            step.stays && step.what.kills() && step.what.nodes().contains(&&*node.name())
        };
        if held(&self.on).iter().any(dead) {
            return false;
        }
        let (away, gone) = (held(&self.away), held(&self.gone));
        let mut members = self.cluster.members.iter().zip(0..);
        let mut producers = self.cluster.producers.iter().zip(0..);
        !members.any(|(member, id)| *member == node && away.contains(&MemberId(id)))
            && !producers.any(|(producer, index)| *producer == node && gone.contains(&index))
    }

    async fn step(&self, index: u32, step: &Step) {
        let recorder = &self.cluster.shared.recorder;
        if step.what.sickens() {
            step.what
                .nodes()
                .iter()
                .for_each(|name| recorder.sick(recorder.id(self.cluster.node(name)), true));
        }
        held(&self.on).insert(index);
        recorder.push(NodeId(0), Kind::StepOn { step: index });
        if !step.what.waits() {
            held(&self.missed).remove(&index);
        }
        self.act(index, step).await;
        self.undo(index, &step.what);
        // An operator tries until it is done, or the faults are over.
        self.put_back(&step.what, Instant::now() + UNTIL_DONE).await;
        held(&self.on).remove(&index);
        recorder.push(NodeId(0), Kind::StepOff { step: index });
    }

    async fn act(&self, index: u32, step: &Step) {
        let (net, cluster) = (self.world.net(), &self.cluster);
        let lasts = if step.stays { FOR_EVER } else { Duration::from_millis(step.for_ms) };
        match &step.what {
            What::Crash { node, power } => {
                let node = cluster.node(node);
                let (crash, how) = kind(*power);
                if node.is_up() {
                    node.crash(crash);
                    cluster.down(node, how);
                }
            }
            What::CrashAt { node, point, nth, power } => {
                let node = cluster.node(node);
                let (crash, how) = kind(*power);
                let restarts = point.starts_with(RECOVERY) && node.is_up();
                if restarts {
                    if point == AFTER_CLEAN_END {
                        cluster.stop(node).await;
                    } else {
                        node.crash(crash);
                        cluster.down(node, how);
                    }
                    sleep(Duration::from_millis(100)).await;
                }
                let arm = node.arm(point, *nth, crash);
                held(&self.arms).insert(index, arm);
                if restarts {
                    cluster.up(node);
                }
                if !self.dies(node, how, || arm.is_pending()).await {
                    return;
                }
                held(&self.missed).remove(&index);
            }
            What::TornWrite { node, files, nth, power } => {
                let node = cluster.node(node);
                let (crash, how) = kind(*power);
                node.disk().cut_write(&format!("{STORE}/{files}"), *nth, crash);
                if !self.dies(node, how, || node.disk().cut_is_pending()).await {
                    return;
                }
                held(&self.missed).remove(&index);
            }
            What::Stop { node } => cluster.stop(cluster.node(node)).await,
            What::Levels { node, crash, .. } => {
                let node = cluster.node(node);
                if *crash && node.is_up() {
                    node.crash(Crash::Process);
                    cluster.down(node, How::Process);
                }
                cluster.stop(node).await;
                let recorder = &cluster.shared.recorder;
                recorder.set_levels(recorder.id(node), &self.plan, index);
            }
            What::Pause { node } => cluster.node(node).pause(),
            What::Slow { node, factor } => cluster.node(node).slow(*factor),
            What::Cut { .. } | What::Isolate { .. } | What::Partition { .. } => {
                if let What::Isolate { node } = &step.what
                    && let (true, Some(index)) = (step.stays, node.strip_prefix('p'))
                {
                    // Nobody waits for it.
                    cluster.shared.recorder.gone(index.parse().expect("producers are numbered"));
                }
                self.ways(&step.what).into_iter().for_each(|(from, to)| net.block(from, to));
            }
            What::Reset { a, b } => {
                let (a, b, until) = (cluster.node(a), cluster.node(b), Instant::now() + WATCHED);
                // They may have no connection at the moment.
                while net.reset(a, b) == 0 && Instant::now() < until {
                    sleep(Duration::from_secs(1)).await;
                }
            }
            What::Lag { a, b, max_ms, loss } => {
                let (a, b) = (cluster.node(a), cluster.node(b));
                for (from, to) in [(a, b), (b, a)] {
                    net.link(from, to, |link| {
                        link.latency = Duration::from_millis(max_ms / 10)..Duration::from_millis(*max_ms + 1);
                        link.loss = f64::from(*loss) / 100.0;
                    });
                }
            }
            What::ClockJump { node, by_ms } => cluster.node(node).clock().jump_ms(*by_ms),
            What::SlowSync { node, ms } => {
                let latency = Duration::from_millis(ms / 2)..Duration::from_millis(ms * 3 / 2 + 1);
                cluster.node(node).disk().set_sync_latency(latency);
            }
            What::SyncFails { node } => {
                let log = format!("{STORE}/commitlog/*");
                let node = cluster.node(node);
                node.disk().fail(Access::Sync, &log, Some(1));
                sleep(lasts).await;
                return cluster.stop(node).await;
            }
            What::FetchFails { node, times, restart } => {
                let node = cluster.node(node);
                node.disk().fail(Access::Fetch, &format!("{STORE}/*"), Some(*times));
                if *restart && node.is_up() {
                    node.crash(Crash::Process);
                    cluster.down(node, How::Process);
                    sleep(Duration::from_millis(100)).await;
                    cluster.up(node);
                }
            }
            What::NamesFail { node } => {
                cluster.node(node).disk().fail(Access::Names, &format!("{STORE}/*"), None);
            }
            What::DiskFull { node, spare_kib } => {
                let disk = cluster.node(node).disk();
                disk.set_capacity(disk.used() + spare_kib * 1024);
            }
            What::Rot { node, queues, restart } => {
                let node = cluster.node(node);
                if *restart && node.is_up() {
                    node.crash(Crash::Process);
                    cluster.down(node, How::Process);
                }
                rot::strike(&cluster.shared, node, *queues, index);
            }
            What::Backlog { node, most } => {
                net.backlog(cluster.node(node), *most as usize);
                self.others(node, |node, other| {
                    net.reset(node, other);
                });
            }
            What::CloseBehind { from, to } => {
                net.close_after_next_delivery(cluster.node(from), cluster.node(to));
            }
            What::Drift { node, ppm } => cluster.node(node).clock().set_drift_ppm(*ppm),
            What::Request { from, to, code, answer, nth, harm } => {
                let (from, to, found) = (cluster.node(from), cluster.node(to), Arc::new(Watermark::new(0)));
                let (code, answer, left, harm) = (*code, *answer, *nth, *harm);
                self.requests.seek(Sought {
                    step: index,
                    from,
                    to,
                    code,
                    answer,
                    left,
                    harm,
                    found: found.clone(),
                });
                if found.reach(1).await.is_ok() {
                    held(&self.missed).remove(&index);
                }
            }
            What::Lose { node } => {
                let node = cluster.node(node);
                if runs(node, Instant::now() + WATCHED).await {
                    node.crash(Crash::Power);
                    node.disk().replace();
                    cluster.down(node, How::Disk);
                    cluster.shared.recorder.lost(node);
                }
            }
            What::Permit { topic, broker, perm } => {
                let (name, node) = (&self.plan.topics[*topic as usize], cluster.node(broker));
                let queues = self.plan.most_queues(*topic);
                let deadline = Instant::now() + lasts;
                if self
                    .asker
                    .set_topic(
                        cluster.shared.recorder.id(node),
                        &name.name,
                        (queues, queues),
                        *perm,
                        deadline,
                    )
                    .await
                {
                    world::effect(node, "operator.permit");
                }
                sleep_until(deadline).await;
                return;
            }
            What::Unwritable { broker } => {
                let deadline = Instant::now() + lasts;
                if self.asker.set_writable(broker, false, deadline).await {
                    world::effect(cluster.node(broker), "operator.unwritable");
                }
                sleep_until(deadline).await;
                return;
            }
            What::ReadOnly { broker } => {
                let (node, deadline) = (cluster.node(broker), Instant::now() + lasts);
                if self.asker.set_read_only(cluster.shared.recorder.id(node), true, deadline).await {
                    world::effect(node, "operator.read_only");
                }
                sleep_until(deadline).await;
                return;
            }
            What::SetQueues { topic, broker, read, write, after_drain } => {
                let name = &self.plan.topics[*topic as usize].name;
                let deadline = Instant::now() + lasts;
                if *after_drain && !self.drained_beyond(*topic, broker, *read, deadline).await {
                    return;
                }
                let broker = cluster.shared.recorder.id(cluster.node(broker));
                self.asker.set_queues(broker, name, *read, *write, deadline).await;
                return; // it lasts
            }
            What::Orders { broker, orders } => {
                self.asker.give(cluster.shared.recorder.id(cluster.node(broker)), orders).await;
            }
            What::DeleteTopic { topic, brokers, .. } => {
                let name = &self.plan.topics[*topic as usize].name;
                let deadline = Instant::now() + lasts;
                for broker in brokers {
                    let node = cluster.node(broker);
                    if self.asker.delete_topic(cluster.shared.recorder.id(node), name, deadline).await {
                        world::effect(node, "operator.delete");
                    }
                }
                if brokers.len() == cluster.brokers.len() {
                    self.asker.delete_route(name, deadline).await;
                }
                sleep_until(deadline).await;
                return;
            }
        }
        sleep(lasts).await;
    }

    fn undo(&self, index: u32, what: &What) {
        let (net, cluster) = (self.world.net(), &self.cluster);
        match what {
            What::Crash { node, .. }
            | What::CrashAt { node, .. }
            | What::TornWrite { node, .. }
            | What::Lose { node }
            | What::Rot { node, restart: true, .. } => {
                let node = cluster.node(node);
                if let Some(arm) = held(&self.arms).remove(&index) {
                    arm.take_back();
                }
                if matches!(what, What::TornWrite { .. }) {
                    node.disk().take_back_cut();
                }
                node.disk().heal();
                self.usual_syncs(node);
                if self.may_run(node) {
                    cluster.up(node);
                }
            }
            // One that has not ended yet would end later, when nobody starts it again.
            What::Stop { node } | What::Levels { node, .. } => self.again(cluster.node(node)),
            What::Pause { node } => cluster.node(node).resume(),
            What::Slow { node, .. } => cluster.node(node).slow(1),
            What::Cut { .. } | What::Isolate { .. } | What::Partition { .. } => {
                // Another step may still hold a way.
                let others: Vec<u32> =
                    held(&self.on).iter().copied().filter(|other| *other != index).collect();
                let steps = others.into_iter().map(|other| &self.plan.steps[other as usize]);
                let cut: BTreeSet<_> = steps.flat_map(|step| self.ways(&step.what)).collect();
                let free = self.ways(what).into_iter().filter(|way| !cut.contains(way));
                free.for_each(|(from, to)| net.unblock(from, to));
            }
            What::Lag { a, b, .. } => {
                let (a, b) = (cluster.node(a), cluster.node(b));
                let (low, high) = self.plan.network.latency_us;
                for (from, to) in [(a, b), (b, a)] {
                    net.link(from, to, |link| {
                        link.latency = Duration::from_micros(low)..Duration::from_micros(high + 1);
                        link.loss = 0.0;
                    });
                }
            }
            What::SlowSync { node, .. } => self.usual_syncs(cluster.node(node)),
            What::SyncFails { node } | What::FetchFails { node, .. } | What::NamesFail { node } => {
                let node = cluster.node(node);
                node.disk().heal();
                self.usual_syncs(node);
                // After a failed sync a store takes no messages any more.
                if matches!(what, What::SyncFails { .. }) {
                    self.again(node);
                }
            }
            What::DiskFull { node, .. } => cluster.node(node).disk().set_capacity(ROOMY),
            What::Backlog { node, .. } => net.backlog(cluster.node(node), USUAL_BACKLOG),
            What::Drift { node, .. } => cluster.node(node).clock().set_drift_ppm(0),
            What::Request { .. }
            | What::Permit { .. }
            | What::Unwritable { .. }
            | What::ReadOnly { .. }
            | What::Reset { .. }
            | What::CloseBehind { .. }
            | What::Rot { .. }
            | What::ClockJump { .. }
            | What::DeleteTopic { .. }
            | What::Orders { .. }
            | What::SetQueues { .. } => {}
        }
        if what.sickens() {
            let recorder = &cluster.shared.recorder;
            what.nodes().iter().for_each(|name| recorder.sick(recorder.id(cluster.node(name)), false));
        }
    }

    /// What an operator does when a step is over: a broker that lost its disk knows no topic. He tries until he is heard, but
    /// not by a broker that is down for good.
    async fn put_back(&self, what: &What, deadline: Instant) {
        let plan = &self.plan;
        match what {
            What::Lose { node } if node.starts_with('b') => {
                for topic in 0..plan.topics.len() as u32 {
                    self.make_topic(node, topic, plan.most_queues(topic), deadline).await;
                }
            }
            What::Permit { topic, broker, .. } => {
                self.make_topic(broker, *topic, plan.most_queues(*topic), deadline).await;
            }
            What::DeleteTopic { topic, brokers, queues } => {
                for broker in brokers {
                    self.make_topic(broker, *topic, *queues, deadline).await;
                }
            }
            What::Unwritable { broker } => drop(self.asker.set_writable(broker, true, deadline).await),
            What::ReadOnly { broker } => {
                let node = self.cluster.node(broker);
                if self.may_run(node) {
                    let broker = self.cluster.shared.recorder.id(node);
                    self.asker.set_read_only(broker, false, deadline).await;
                }
            }
            _ => {}
        }
    }

    async fn make_topic(&self, broker: &str, topic: u32, queues: u32, deadline: Instant) {
        let node = self.cluster.node(broker);
        if self.may_run(node) {
            let (id, name) = (self.cluster.shared.recorder.id(node), &self.plan.topics[topic as usize].name);
            self.asker.set_queues(id, name, queues, queues, deadline).await;
        }
    }

    /// The ways that a step cuts.
    fn ways(&self, what: &What) -> Vec<(Node, Node)> {
        let nodes = self.cluster.all();
        match what {
            What::Cut { from, to, both } => {
                let (from, to) = (self.cluster.node(from), self.cluster.node(to));
                if *both { vec![(from, to), (to, from)] } else { vec![(from, to)] }
            }
            What::Isolate { node } => {
                let node = self.cluster.node(node);
                let others = nodes.into_iter().filter(|other| *other != node);
                others.flat_map(|other| [(node, other), (other, node)]).collect()
            }
            What::Partition { circles, .. } => {
                let ways = nodes.iter().flat_map(|a| nodes.iter().map(move |b| (*a, *b)));
                ways.filter(|(a, b)| parts(circles, &a.name(), &b.name())).collect()
            }
            _ => Vec::new(),
        }
    }

    /// Waits until a node has died where it was to die, which is `pending` until then; false when it does not run any more.
    async fn dies(&self, node: Node, how: How, pending: impl Fn() -> bool) -> bool {
        // When it ended for another reason it may come there after it has been started again.
        while self.may_run(node) {
            if !node.is_up() {
                sleep(Duration::from_millis(10)).await;
                continue;
            }
            node.stopped().await;
            if !pending() {
                self.cluster.down(node, how);
                return true;
            }
        }
        false
    }

    /// Ends what is left of a node's program and starts it anew.
    fn again(&self, node: Node) {
        if node.is_up() {
            node.crash(Crash::Process);
            self.cluster.down(node, How::Process);
        }
        if self.may_run(node) {
            self.cluster.up(node);
        }
    }

    /// Syncs of a broker take what its plan says.
    fn usual_syncs(&self, node: Node) {
        if let Some(index) = self.cluster.brokers.iter().position(|broker| *broker == node) {
            let (low, high) = self.plan.brokers[index].sync_us;
            node.disk().set_sync_latency(Duration::from_micros(low)..Duration::from_micros(high + 1));
        }
    }

    fn others(&self, node: &str, act: impl Fn(Node, Node)) {
        let node = self.cluster.node(node);
        self.cluster.all().into_iter().filter(|other| *other != node).for_each(|other| act(node, other));
    }

    /// Waits until every group has consumed what lies in queues that are about to go away.
    async fn drained_beyond(&self, topic: u32, broker: &str, number: u32, deadline: Instant) -> bool {
        let recorder = &self.cluster.shared.recorder;
        let broker = recorder.id(self.cluster.node(broker));
        while Instant::now() < deadline {
            if recorder.live().rest_beyond(topic, broker, number) == 0 {
                return true;
            }
            sleep(Duration::from_secs(1)).await;
        }
        false
    }
}

/// Waits until a node is up; false when it is not by then.
async fn runs(node: Node, until: Instant) -> bool {
    while !node.is_up() {
        if Instant::now() >= until {
            return false;
        }
        sleep(Duration::from_millis(10)).await;
    }
    true
}

/// Who is asked to end.
fn asked_to_end(what: &What) -> Option<&str> {
    match what {
        What::Stop { node } | What::Levels { node, crash: false, .. } => Some(node),
        _ => None,
    }
}

fn kind(power: bool) -> (Crash, How) {
    if power { (Crash::Power, How::Power) } else { (Crash::Process, How::Process) }
}

fn held<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Longer than any run.
const FOR_EVER: Duration = Duration::from_secs(1_000_000_000);
/// The size of a disk that is not full.
const ROOMY: u64 = 64 << 30;
/// Connections that may usually wait to be accepted.
const USUAL_BACKLOG: usize = 1024;
/// The one point of a recovery that is passed after a clean end alone.
const AFTER_CLEAN_END: &str = "store.recover.begun";
/// How long a connection may take to be there, a node to run, and an operator to be heard: longer than the period of
/// heartbeats and registrations.
const WATCHED: Duration = Duration::from_secs(65);
/// Longer than a request waits in a broker that goes on.
const HEARD_LATE: Duration = Duration::from_secs(2);
/// Longer than any load.
const UNTIL_DONE: Duration = Duration::from_secs(24 * 3600);
