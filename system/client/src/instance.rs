//! One client towards a cluster: its identity, connections, routes and heartbeats.

use std::collections::BTreeSet;
use std::future::Future;
use std::sync::{Arc, OnceLock, Weak};

use bytes::Bytes;
use futures::StreamExt as _;
use futures::future::join_all;
use futures::stream::FuturesUnordered;
use net::{Client, Options, Peer, Reply};
use protocol::{Command, Header, Request, code, rpc};
use runtime::sync::{Mutex, Notify, Semaphore, watch};
use runtime::task::TaskSet;
use runtime::time::{Duration, Instant, sleep, sleep_until};
use runtime::{buggify, planted, random, select, sometimes, tap};

use crate::member::Member;
use crate::settings::Settings;
use crate::state::beats::Beats;
use crate::state::route::{Route, Routes};
use crate::transaction::Checks;
use crate::wire::{self, Role};
use crate::{CallError, Fault, MessageQueue, StartError, Text};

/// Connections, routes and heartbeats of one producer or consumer.
pub(crate) struct Instance {
    pub(crate) client_id: Text,
    pub(crate) role: Mutex<Role>,
    pub(crate) routes: Mutex<Routes>,
    /// A route changed, or a broker learned of this client.
    pub(crate) changed: Notify,
    tasks: TaskSet,
    net: Client,
    name_servers: Vec<Text>,
    /// The name server in use: others are asked only when it does not answer.
    chosen: Mutex<usize>,
    /// One question for the route of a new topic at a time: many senders wait for one answer.
    asking: Semaphore,
    beats: Mutex<Beats>,
    beat_due: Notify,
    epoch: Instant,
    stop: watch::Sender<bool>,
}

impl Instance {
    /// Starts the loops of a client; nothing is awaited, so a cluster that is not there yet is no error.
    pub(crate) fn start(settings: &Settings, role: Role) -> Result<(Arc<Self>, Arc<Requests>), StartError> {
        let name_servers = settings.check()?;
        let (tasks, requests) = (TaskSet::new(), Arc::new(Requests::default()));
        let mut draws = random::stream("client.instance");
        let (stop, _) = watch::channel(false);
        let instance = Arc::new(Self {
            client_id: settings.client_id(),
            role: Mutex::new(role),
            routes: Mutex::default(),
            changed: Notify::new(),
            net: Client::new(&tasks, requests.clone(), Options::default()),
            tasks,
            chosen: Mutex::new(draws.below(name_servers.len() as u64) as usize),
            name_servers,
            asking: Semaphore::new(1),
            beats: Mutex::default(),
            beat_due: Notify::new(),
            epoch: Instant::now(),
            stop,
        });
        requests.instance.set(Arc::downgrade(&instance)).expect("set once");
        if !instance.role.lock().is_visitor() {
            instance.spawn("heartbeat", instance.clone().beat());
        }
        instance.spawn("routes", instance.clone().poll_routes());
        Ok((instance, requests))
    }

    /// Starts a loop that ends when the client stops. Loops hold the instance, so they must end by this
    /// signal: the task set alone would never be dropped.
    pub(crate) fn spawn(&self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        let mut stop = self.stop.subscribe();
        self.tasks.spawn(name, async move {
            let stopped = async {
                while !*stop.borrow() {
                    if stop.changed().await.is_err() {
                        return;
                    }
                }
            };
            select! {
                () = stopped => {}
                () = task => {}
            }
        });
    }

    /// Ends all loops; calls that are under way still get their answers.
    pub(crate) fn stop_loops(&self) {
        self.stop.send_replace(true);
    }

    /// Tells every broker that this client leaves, and closes the connections.
    pub(crate) async fn leave(&self) {
        self.stop_loops();
        let brokers = self.beats.lock().addresses();
        let (producer_group, consumer_group) = self.role.lock().groups();
        let brokers = if self.role.lock().is_visitor() { Vec::new() } else { brokers };
        let request =
            rpc::UnregisterClient { client_id: self.client_id.clone(), producer_group, consumer_group };
        join_all(brokers.iter().map(|address| async {
            if let Err(fault) = self.call(address, &request, Bytes::new(), SHORT).await {
                tracing::debug!(%fault, "a broker was not told that this client leaves");
            }
        }))
        .await;
        self.net.shutdown(SHORT).await;
        self.tasks.close().await;
    }

    /// Milliseconds since the client started.
    pub(crate) fn now_ms(&self) -> u64 {
        u64::try_from(self.epoch.elapsed().as_millis()).expect("less than 500 million years")
    }

    pub(crate) fn instant(&self, ms: u64) -> Instant {
        self.epoch + Duration::from_millis(ms)
    }

    // Calls

    /// A call whose every answer but code 0 is a fault.
    pub(crate) async fn call<R: Request>(
        &self,
        address: &Text,
        request: &R,
        body: Bytes,
        limit: Duration,
    ) -> Result<(R::Reply, Bytes), Fault> {
        self.net.call(address, request, body, limit).await.map_err(|e| fault(address, e))
    }

    /// A call whose answer may have any code.
    pub(crate) async fn call_any<R: Request>(
        &self,
        address: &Text,
        request: &R,
        body: Bytes,
        limit: Duration,
    ) -> Result<Command, Fault> {
        self.net
            .call_raw(address, Command::request(request, body), limit)
            .await
            .map_err(|e| fault(address, e))
    }

    pub(crate) async fn oneway<R: Request>(
        &self,
        address: &Text,
        request: &R,
        body: Bytes,
    ) -> Result<(), Fault> {
        self.net.oneway(address, request, body).await.map_err(|e| fault(address, e))
    }

    /// Closes the connection to a server: the next call dials again.
    pub(crate) fn close(&self, address: &Text) {
        self.net.close(address);
    }

    // Routes

    /// The queues of a topic to write to, asked for when they are not known. A topic without route gets
    /// that of the template topic: the broker makes it on its first message.
    pub(crate) async fn writable(
        &self,
        topic: &Text,
        queue_count: i32,
    ) -> Result<Arc<[MessageQueue]>, CallError> {
        let known = || Some(self.routes.lock().writable(topic)).filter(|q| !q.is_empty());
        if let Some(queues) = known() {
            return Ok(queues);
        }
        let _turn = self.asking.acquire().await.expect("never closed");
        if let Some(queues) = known() {
            return Ok(queues);
        }
        match self.refresh(topic).await {
            Err(CallError::NoRoute { .. }) => {
                let template = self.ask_route(&TEMPLATE_TOPIC).await.map_err(|error| match error {
                    CallError::NoRoute { .. } => {
                        no_route(topic, "no name server knows it, and no broker creates topics by itself")
                    }
                    other => other,
                })?;
                self.take_route(topic, template.for_new_topic(queue_count));
            }
            other => drop(other?),
        }
        known().ok_or_else(|| no_route(topic, "it has no queue that can be written to"))
    }

    /// The queues of a topic to read, asked for when they are not known.
    pub(crate) async fn readable(&self, topic: &Text) -> Result<Arc<[MessageQueue]>, CallError> {
        if let Some(queues) = self.routes.lock().readable(topic) {
            return Ok(queues);
        }
        self.refresh(topic).await?;
        Ok(self.routes.lock().readable(topic).unwrap_or_else(|| Vec::new().into()))
    }

    /// Asks for a topic's route and takes it over; true when it changed.
    pub(crate) async fn refresh(&self, topic: &Text) -> Result<bool, CallError> {
        let route = self.ask_route(topic).await?;
        Ok(self.take_route(topic, route))
    }

    fn take_route(&self, topic: &Text, route: Route) -> bool {
        let changed = self.routes.lock().update(topic, route);
        if changed {
            sometimes!("client.route.changed");
            tracing::debug!(%topic, "the route changed");
            self.update_brokers();
            self.changed.notify_one();
        }
        changed
    }

    fn update_brokers(&self) {
        let masters_only = self.role.lock().is_producer();
        let addresses = self.routes.lock().addresses(masters_only);
        self.beats.lock().keep(&addresses);
        self.beat_due.notify_one();
    }

    async fn ask_route(&self, topic: &Text) -> Result<Route, CallError> {
        let request = rpc::GetRouteInfoByTopic {
            topic: topic.clone(),
            accept_standard_json_only: Some(true),
            zone_name: None,
            zone_mode: None,
        };
        // The other one, which may not know the same (CON-5).
        if buggify!("client.route.other_first") {
            let mut chosen = self.chosen.lock();
            *chosen = (*chosen + 1) % self.name_servers.len();
        }
        let mut last = None;
        for _ in 0..self.name_servers.len() {
            let chosen = *self.chosen.lock();
            let address = &self.name_servers[chosen];
            match self.call(address, &request, Bytes::new(), SHORT).await {
                Ok((_, body)) => {
                    sometimes!("client.route.from_other", last.is_some());
                    tap!("client.route_answered", topic = &**topic, found = true);
                    return wire::route(&body).map_err(|why| malformed(address, why));
                }
                Err(Fault::Refused { code: code::TOPIC_NOT_EXIST, remark, .. }) => {
                    sometimes!("client.route.missing");
                    tap!("client.route_answered", topic = &**topic, found = false);
                    return Err(no_route(topic, &remark));
                }
                Err(Fault::Refused { peer, code, remark }) => {
                    return Err(Fault::Refused { peer, code, remark }.into());
                }
                Err(fault) if planted!("B49") => return Err(fault.into()),
                Err(fault) => {
                    sometimes!("client.route.other_server");
                    tracing::debug!(%fault, "asking the next name server");
                    last = Some(fault);
                    // Somebody else may have moved on already: then stay with that one.
                    let mut now = self.chosen.lock();
                    if *now == chosen {
                        *now = (chosen + 1) % self.name_servers.len();
                    }
                }
            }
        }
        Err(last.expect("there is at least one name server").into())
    }

    async fn poll_routes(self: Arc<Self>) {
        loop {
            // In the midst of a change (CON-5).
            sleep(if buggify!("client.route.soon") { ROUTE_PERIOD / 10 } else { ROUTE_PERIOD }).await;
            let mut topics: BTreeSet<Text> = self.routes.lock().topics().into_iter().collect();
            topics.extend(self.role.lock().topics());
            let mut topics = topics.into_iter().peekable();
            while let Some(topic) = topics.next() {
                if planted!("B12") {
                    continue;
                }
                match self.refresh(&topic).await {
                    Err(CallError::NoRoute { .. }) if topics.peek().is_some() && planted!("B70") => break,
                    Ok(_) | Err(CallError::NoRoute { .. }) => {}
                    Err(error) => {
                        sometimes!("client.route.old");
                        tracing::warn!(%topic, %error, "cannot refresh the route; the old one stays in use")
                    }
                }
            }
        }
    }

    // Heartbeats

    /// Sends the heartbeats that are due and waits for their answers.
    pub(crate) async fn beat_now(&self) {
        let due = self.beats.lock().due(self.now_ms());
        join_all(due.into_iter().map(|address| self.beat_one(address))).await;
    }

    /// Makes the next heartbeats due at once.
    pub(crate) fn beat_soon(&self) {
        self.beats.lock().all_due();
        self.beat_due.notify_one();
    }

    async fn beat(self: Arc<Self>) {
        // A broker that does not answer keeps no other one waiting.
        let (mut calls, mut being_told) = (FuturesUnordered::new(), BTreeSet::new());
        loop {
            for address in self.beats.lock().due(self.now_ms()) {
                if being_told.insert(address.clone()) {
                    calls.push(self.beat_one(address));
                }
            }
            let next = self.beats.lock().next_ms(&being_told).map(|ms| self.instant(ms));
            // Nobody to tell yet: the first route wakes this loop.
            let next = next.unwrap_or_else(|| Instant::now() + ROUTE_PERIOD);
            // Twice (CON-5).
            if buggify!("client.beat.soon") {
                self.beats.lock().all_due();
                sleep(Duration::from_millis(100)).await;
                continue;
            }
            select! {
                Some(address) = calls.next() => drop(being_told.remove(&address)),
                () = self.beat_due.notified() => {}
                () = sleep_until(next) => {}
            }
        }
    }

    /// Tells one broker; which one it was.
    async fn beat_one(&self, address: Text) -> Text {
        self.beats.lock().begun(&address);
        let body = wire::heartbeat(&self.client_id, &self.role.lock());
        let result = self.call(&address, &rpc::Heartbeat {}, body, SHORT).await;
        if let Err(fault) = &result {
            sometimes!("client.beat.failed");
            tracing::debug!(%fault, "a heartbeat failed");
        }
        if self.beats.lock().ended(&address, result.is_ok(), self.now_ms()) {
            self.changed.notify_one();
            // Not the one of the start.
            if self.now_ms() > 10_000 && planted!("B45") {
                self.beats.lock().ended(&address, true, self.now_ms() + 86_400_000);
            }
        }
        address
    }

    /// A broker that is used does not know this client.
    pub(crate) fn unknown(&self, address: &Text) {
        self.beats.lock().unknown(address);
        self.beat_due.notify_one();
    }

    /// The connection to this address broke.
    fn lost(&self, address: &str) {
        self.beats.lock().lost(address);
        self.beat_due.notify_one();
    }
}

/// Answers what brokers ask this client.
#[derive(Default)]
pub(crate) struct Requests {
    instance: OnceLock<Weak<Instance>>,
    pub(crate) member: OnceLock<Weak<Member>>,
    pub(crate) checks: OnceLock<Weak<Checks>>,
}

impl net::Service for Requests {
    async fn handle(&self, peer: &Arc<Peer>, command: Command) -> Reply {
        let checks = self.checks.get().filter(|_| command.code == rpc::CheckTransactionState::CODE);
        if let Some(checks) = checks.and_then(Weak::upgrade) {
            // Asked one way; the verdict is a request of its own.
            checks.answer(peer, command).await;
            return Reply::ok();
        }
        let Some(member) = self.member.get().and_then(Weak::upgrade) else {
            return Reply::unsupported(command.code);
        };
        member.answer(command).await
    }

    fn closed(&self, peer: &Arc<Peer>) {
        if let Some(instance) = self.instance.get().and_then(Weak::upgrade)
            && let Some(address) = &peer.dialled
        {
            instance.lost(address);
        }
    }
}

/// Reads the header of an answer that should have one.
pub(crate) fn header<H: Header>(address: &Text, answer: &Command) -> Result<H, Fault> {
    answer.header().map_err(|e| Fault::Malformed { peer: address.clone(), why: e.to_string() })
}

pub(crate) fn malformed(address: &Text, why: impl Into<String>) -> CallError {
    Fault::Malformed { peer: address.clone(), why: why.into() }.into()
}

pub(crate) fn refused(address: &Text, answer: &Command) -> Fault {
    let remark = answer.remark.clone().unwrap_or_default();
    Fault::Refused { peer: address.clone(), code: answer.code, remark }
}

fn fault(address: &Text, error: net::CallError) -> Fault {
    let peer = address.clone();
    match error {
        net::CallError::Refused { code, remark } => {
            Fault::Refused { peer, code, remark: remark.unwrap_or_default() }
        }
        net::CallError::NotSent(why) => Fault::NotSent { peer, why: why.to_string() },
        net::CallError::Unknown(why) => Fault::NoAnswer { peer, why: why.to_string() },
    }
}

fn no_route(topic: &Text, why: &str) -> CallError {
    CallError::NoRoute { topic: topic.clone(), why: why.to_owned() }
}

/// Limit of routes, heartbeats, member lists and leaving.
pub(crate) const SHORT: Duration = Duration::from_secs(3);
const ROUTE_PERIOD: Duration = Duration::from_secs(30);
/// Its route is what a topic gets that the broker makes on its first message.
const TEMPLATE_TOPIC: Text = Text::from_static("TBW102");
