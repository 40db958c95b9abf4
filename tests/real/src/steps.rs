//! Carries out the steps of a plan on processes: kill -9, SIGTERM, SIGSTOP, the proxy's links, and an operator's orders.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use lab::clients::Asker;
use lab::history::{Kind, NodeId};
use lab::plan::{Plan, Step, What};
use runtime::time::Instant;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::Lie;
use crate::cluster::{Cluster, Here, held};
use crate::proxy::Sought;

/// The steps under way.
#[derive(Clone)]
pub(crate) struct Steps {
    cluster: Arc<Cluster>,
    plan: Arc<Plan>,
    asker: Arc<Asker<Here>>,
    lie: Option<Lie>,
    /// True when the load is over, and with it all faults.
    over: watch::Sender<bool>,
    /// Clients that are not there yet, or have left for good.
    away: Arc<Mutex<BTreeSet<String>>>,
}

impl Steps {
    pub(crate) fn new(cluster: Arc<Cluster>, asker: Arc<Asker<Here>>, lie: Option<Lie>) -> Self {
        let plan = cluster.shared.plan.clone();
        let (over, _) = watch::channel(false);
        Self { cluster, plan, asker, lie, over, away: Arc::default() }
    }

    /// Members in the order of their numbers.
    fn members(&self) -> impl Iterator<Item = (String, lab::plan::Member)> {
        let members = self.plan.groups.iter().flat_map(|group| group.members.iter().copied());
        members.enumerate().map(|(index, member)| (format!("c{index}"), member))
    }

    /// Starts the clients that are there from the beginning.
    pub(crate) async fn first_clients(&self) {
        for index in 0..self.plan.producers.len() {
            self.cluster.begin(&format!("p{index}")).await;
        }
        for (name, member) in self.members() {
            if member.joins_ms == 0 {
                self.cluster.begin(&name).await;
            } else {
                held(&self.away).insert(name);
            }
        }
    }

    /// Lets everything of the plan happen, counted from now.
    pub(crate) fn begin(&self, tasks: &mut JoinSet<()>) {
        for (index, step) in self.plan.steps.iter().cloned().enumerate() {
            let steps = self.clone();
            tasks.spawn(async move {
                if steps.wait(step.at_ms).await {
                    steps.step(index, &step).await;
                }
            });
        }
        let goes = self.plan.producers.iter().enumerate();
        for (index, gone_ms) in goes.filter_map(|(index, it)| Some((index as u32, it.gone_ms?))) {
            let steps = self.clone();
            tasks.spawn(async move {
                if steps.wait(gone_ms).await {
                    let name = format!("p{index}");
                    held(&steps.away).insert(name.clone());
                    steps.cluster.shared.recorder.gone(index);
                    steps.cluster.crash(&name).await;
                }
            });
        }
        for (name, member) in self.members() {
            let steps = self.clone();
            tasks.spawn(async move { steps.membership(&name, member).await });
        }
    }

    /// A member comes and goes.
    async fn membership(&self, name: &str, member: lab::plan::Member) {
        if member.joins_ms > 0 {
            if !self.wait(member.joins_ms).await {
                return;
            }
            held(&self.away).remove(name);
            self.cluster.begin(name).await;
        }
        let Some(leaves_ms) = member.leaves_ms else { return };
        if self.wait(leaves_ms - member.joins_ms).await {
            held(&self.away).insert(name.to_owned());
            self.cluster.pause(name, false);
            if member.dies {
                self.cluster.crash(name).await;
            }
            self.cluster.stop(name).await;
        }
    }

    /// Waits for so long; false when the load is over before.
    async fn wait(&self, ms: u64) -> bool {
        let mut over = self.over.subscribe();
        tokio::time::timeout(Duration::from_millis(ms), over.wait_for(|over| *over)).await.is_err()
    }

    /// Ends all faults: whatever is on is taken back, whoever is down is started.
    pub(crate) async fn heal(&self, tasks: JoinSet<()>) {
        self.over.send_replace(true);
        tasks.join_all().await;
        let clients = self.plan.client_nodes();
        for name in self.cluster.servers.keys().chain(&clients) {
            self.again(name).await;
        }
        // Who was down may not have heard the operator.
        for step in &self.plan.steps {
            self.put_back(&step.what).await;
        }
    }

    /// Starts a node that is down, unless it is to stay away.
    async fn again(&self, name: &str) {
        let away = held(&self.away).contains(name);
        if !away {
            self.cluster.up(name).await;
        }
    }

    async fn step(&self, index: usize, step: &Step) {
        let recorder = &self.cluster.shared.recorder;
        recorder.push(NodeId(0), Kind::StepOn { step: index as u32 });
        self.act(index, step).await;
        self.undo(&step.what).await;
        self.put_back(&step.what).await;
        recorder.push(NodeId(0), Kind::StepOff { step: index as u32 });
    }

    async fn act(&self, index: usize, step: &Step) {
        let (cluster, net) = (&self.cluster, &self.cluster.net);
        let lasts = Duration::from_millis(step.for_ms);
        match &step.what {
            What::Crash { node, .. } => {
                cluster.crash(node).await;
                if self.lie == Some(Lie::Forget) && node.starts_with('b') {
                    cluster.servers[node]
                        .forget_the_last_record()
                        .expect("the files of a broker can be written");
                }
            }
            What::Stop { node } => cluster.stop(node).await,
            What::Levels { node, crash, .. } => {
                if *crash {
                    cluster.crash(node).await;
                }
                cluster.stop(node).await;
                cluster.shared.recorder.set_levels(cluster.id(node), &self.plan, index as u32);
            }
            What::Pause { node } => cluster.pause(node, true),
            What::Cut { from, to, both } => {
                net.block(from, to, true);
                if *both {
                    net.block(to, from, true);
                }
            }
            What::Isolate { node } => net.isolate(node, true),
            What::Reset { a, b } => net.reset(a, b),
            What::Lag { a, b, max_ms, loss } => net.lag(a, b, Some((*max_ms, *loss))),
            What::CloseBehind { from, to } => net.close_behind(from, to),
            What::Partition { circles, .. } => net.part(circles, true),
            What::Request { from, to, code, answer, nth, harm } => {
                let (code, answer, left, harm) = (*code, *answer, *nth, *harm);
                net.seek(from, to, || Sought { step: index, code, answer, left, harm });
                let mut over = self.over.subscribe();
                let found = tokio::select! {
                    biased;
                    () = net.found(from, to, index) => true,
                    _ = over.wait_for(|over| *over) => false,
                };
                net.forget(from, to, index);
                if !found {
                    return;
                }
            }
            What::Permit { topic, broker, perm } => {
                let (name, queues) = (&self.plan.topics[*topic as usize].name, self.plan.most_queues(*topic));
                let (id, deadline) = (cluster.id(broker), Instant::now() + lasts);
                if self.asker.set_topic(id, name, (queues, queues), *perm, deadline).await {
                    cluster.count("permissions taken away");
                }
            }
            What::Unwritable { broker } => {
                if self.asker.set_writable(broker, false, Instant::now() + lasts).await {
                    cluster.count("write permissions wiped");
                }
            }
            What::SetQueues { topic, broker, read, write, after_drain } => {
                let deadline = Instant::now() + lasts;
                let id = cluster.id(broker);
                if !*after_drain || self.drained_beyond(*topic, id, *read, deadline).await {
                    let name = &self.plan.topics[*topic as usize].name;
                    self.asker.set_queues(id, name, *read, *write, deadline).await;
                }
                return; // it lasts
            }
            What::Orders { broker, orders } => self.asker.give(cluster.id(broker), orders).await,
            other => unreachable!("{other} does not fit"),
        }
        self.wait(step.for_ms).await;
    }

    async fn undo(&self, what: &What) {
        let (cluster, net) = (&self.cluster, &self.cluster.net);
        match what {
            What::Crash { node, .. } | What::Stop { node } | What::Levels { node, .. } => {
                self.again(node).await
            }
            What::Pause { node } => cluster.pause(node, false),
            What::Cut { from, to, both } => {
                net.block(from, to, false);
                if *both {
                    net.block(to, from, false);
                }
            }
            What::Isolate { node } => net.isolate(node, false),
            What::Partition { circles, .. } => net.part(circles, false),
            What::Lag { a, b, .. } => net.lag(a, b, None),
            _ => {}
        }
    }

    /// What an operator gives back when a step is over. He tries until he is heard.
    async fn put_back(&self, what: &What) {
        let deadline = Instant::now() + HEARD_WITHIN;
        match what {
            What::Permit { topic, broker, .. } => {
                let (name, queues) = (&self.plan.topics[*topic as usize].name, self.plan.most_queues(*topic));
                self.asker.set_queues(self.cluster.id(broker), name, queues, queues, deadline).await;
            }
            What::Unwritable { broker } => drop(self.asker.set_writable(broker, true, deadline).await),
            _ => {}
        }
    }

    /// Waits until every group has consumed what lies in queues that are about to go away.
    async fn drained_beyond(&self, topic: u32, broker: NodeId, number: u32, deadline: Instant) -> bool {
        let recorder = &self.cluster.shared.recorder;
        while Instant::now() < deadline {
            self.asker.progress().await;
            if recorder.live().rest_beyond(topic, broker, number) == 0 {
                return true;
            }
            if !self.wait(1000).await {
                break;
            }
        }
        false
    }
}

/// How long an operator tries to take an order back.
const HEARD_WITHIN: Duration = Duration::from_secs(30);
