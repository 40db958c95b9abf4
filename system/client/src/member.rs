//! One member of a consumer group at work: sharing queues, pulling, feeding the listener, committing.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use protocol::{Text, code, tag::Filter};
use runtime::sync::{Mutex, Notify, Semaphore};
use runtime::task::yield_now;
use runtime::time::{Instant, sleep, sleep_until, timeout};
use runtime::{buggify, planted, select, sometimes, tap};

use crate::calls::Pull;
use crate::instance::Instance;
use crate::session::{Phase, Session};
use crate::state::allocate::{sort_members, sort_queues};
use crate::state::offsets::{self, Facts, Start};
use crate::state::process_queue::Limits;
use crate::state::rebalance::{Difference, Rounds, difference};
use crate::state::route::MASTER;
use crate::work::{Job, Line};
use crate::{Allocation, Batch, CallError, Consumed, Fault, MessageQueue, PullStatus, Received, StartFrom};

/// The user's function, as it is kept.
pub(crate) type Listener = Box<dyn Fn(Batch) -> Pin<Box<dyn Future<Output = Consumed> + Send>> + Send + Sync>;

/// How a member behaves.
pub(crate) struct Manners {
    pub(crate) start_from: StartFrom,
    pub(crate) allocation: Allocation,
    pub(crate) concurrency: u32,
    pub(crate) batch_size: usize,
    pub(crate) pull_batch: u32,
    pub(crate) limits: Limits,
    pub(crate) consume_timeout: Duration,
    pub(crate) most_times: i32,
    pub(crate) shutdown_wait: Duration,
}

pub(crate) struct Member {
    pub(crate) instance: Arc<Instance>,
    pub(crate) group: Text,
    pub(crate) subscriptions: BTreeMap<Text, Filter>,
    pub(crate) retry_topic: Text,
    pub(crate) manners: Manners,
    pub(crate) listener: Listener,
    sessions: Mutex<Sessions>,
    line: Line,
    /// A permit per call of the listener that may run.
    idle: Semaphore,
    /// Somebody asks for a new round of sharing.
    pub(crate) wake: Notify,
}

#[derive(Default)]
struct Sessions {
    owned: BTreeMap<MessageQueue, Arc<Session>>,
    closing: bool,
}

impl Member {
    pub(crate) fn new(
        instance: Arc<Instance>,
        group: Text,
        subscriptions: BTreeMap<Text, Filter>,
        retry_topic: Text,
        manners: Manners,
        listener: Listener,
    ) -> Self {
        Self {
            instance,
            group,
            subscriptions,
            retry_topic,
            listener,
            sessions: Mutex::default(),
            line: Line::new(),
            idle: Semaphore::new(manners.concurrency as usize),
            wake: Notify::new(),
            manners,
        }
    }

    fn start(self: &Arc<Self>) {
        self.instance.spawn("rebalance", self.clone().share_queues());
        self.instance.spawn("commit", self.clone().commit_all_the_time());
        self.instance.spawn("overdue", self.clone().return_overdue());
        for _ in 0..self.manners.concurrency {
            self.instance.spawn("consume", self.clone().consume());
        }
    }

    /// Finds the topics, tells the brokers of this member, and starts its loops. What fails here is tried
    /// again by the loops.
    pub(crate) async fn join(self: &Arc<Self>) {
        let topics = self.subscriptions.keys().filter(|topic| **topic != self.retry_topic);
        join_all(topics.map(|topic| async move {
            if let Err(error) = self.instance.refresh(topic).await {
                tracing::warn!(group = %self.group, %topic, %error, "no route yet, it is asked for again");
            }
        }))
        .await;
        self.instance.beat_now().await;
        self.start();
    }

    /// Stops pulling, lets running calls of the listener finish, commits what is done, and leaves.
    pub(crate) async fn shutdown(&self) {
        let owned: Vec<_> = {
            let mut sessions = self.sessions.lock();
            if std::mem::replace(&mut sessions.closing, true) {
                return;
            }
            sessions.owned.values().cloned().collect()
        };
        for session in &owned {
            session.set_phase(Phase::Draining);
        }
        self.line.close();
        let all_idle = self.idle.acquire_many(self.manners.concurrency);
        if timeout(self.manners.shutdown_wait, all_idle).await.is_err() {
            tracing::warn!(group = %self.group, "the listener still works at shutdown: its messages will come again");
        }
        self.instance.stop_loops();
        let ended = owned.iter().filter(|session| session.set_phase(Phase::Dropped));
        join_all(ended.map(|session| self.commit(session))).await;
        self.instance.leave().await;
    }

    /// The queues this member owns.
    pub(crate) fn queues(&self) -> Vec<MessageQueue> {
        self.sessions.lock().owned.keys().cloned().collect()
    }

    pub(crate) fn session(&self, queue: &MessageQueue) -> Option<Arc<Session>> {
        self.sessions.lock().owned.get(queue).cloned()
    }

    pub(crate) fn sessions(&self) -> Vec<Arc<Session>> {
        self.sessions.lock().owned.values().cloned().collect()
    }

    // Sharing the queues

    async fn share_queues(self: Arc<Self>) {
        let mut rounds = Rounds::new();
        loop {
            let due = self.instance.instant(rounds.due_ms());
            select! {
                () = sleep_until(due) => {}
                () = self.wake.notified() => sleep_until(self.instance.instant(rounds.earliest_ms())).await,
                () = self.instance.changed.notified() => {
                    sleep_until(self.instance.instant(rounds.earliest_ms())).await;
                }
            }
            // The others have shared already (CON-5).
            if buggify!("client.share.late") {
                sleep(Duration::from_millis(700)).await;
            }
            // A round more, soon after one: shows queues that change hands between two commits (CON-4, CON-5).
            let balanced = self.round().await && !buggify!("client.rebalance.again");
            rounds.ended(self.instance.now_ms(), balanced);
        }
    }

    /// One round over all topics. False when a topic could not be shared and should be tried again soon.
    async fn round(self: &Arc<Self>) -> bool {
        let mut balanced = true;
        for topic in self.subscriptions.keys() {
            let shared = match self.share(topic).await {
                Ok(shared) => shared,
                // The retry topic comes into being with the first heartbeat; topics may come later, too.
                Err(CallError::NoRoute { .. }) => true,
                Err(error) => {
                    sometimes!("client.share.failed");
                    tracing::warn!(group = %self.group, %topic, %error, "cannot share the queues now");
                    false
                }
            };
            balanced &= shared || *topic == self.retry_topic;
        }
        balanced
    }

    /// False when the view of the cluster is not good enough to act on: what this member has stays.
    async fn share(self: &Arc<Self>, topic: &Text) -> Result<bool, CallError> {
        let mut queues = self.instance.readable(topic).await?.to_vec();
        let mut members = self.instance.members(&self.group, topic).await?;
        let me = &self.instance.client_id;
        if queues.is_empty() {
            return Ok(true);
        }
        if !members.contains(me) {
            sometimes!("client.share.unknown_here");
            tracing::debug!(group = %self.group, %topic, "no broker knows this member yet");
            self.instance.beat_soon();
            return Ok(false);
        }
        if queues[0].broker != queues[queues.len() - 1].broker && planted!("B13") {
            let first = queues[0].broker.clone();
            queues.retain(|queue| queue.broker == first);
        }
        sort_queues(&mut queues);
        sort_members(&mut members);
        if members.len() > 1 && planted!("M23") {
            members.sort_by_key(|member| member != me);
        }
        let want = self.manners.allocation.share(me, &members, &queues);
        self.apply(topic, want.into_iter().filter(|q| q.topic == *topic).collect()).await;
        Ok(true)
    }

    /// Lets go and takes, in this order: what goes is dropped at once and its commit point told, so that
    /// the next owner begins there.
    async fn apply(self: &Arc<Self>, topic: &Text, want: BTreeSet<MessageQueue>) {
        let (drop, add) = {
            let sessions = self.sessions.lock();
            let have = sessions.owned.keys().filter(|q| q.topic == *topic).cloned().collect();
            let Difference { drop, add } = difference(&have, &want);
            (drop.iter().map(|q| sessions.owned[q].clone()).collect::<Vec<_>>(), add)
        };
        sometimes!("client.share.let_go", !drop.is_empty());
        sometimes!("client.share.took_and_let_go", !drop.is_empty() && !add.is_empty());
        self.let_go(&drop).await;
        for queue in add {
            self.take(queue, TAKE_DELAY);
        }
    }

    async fn let_go(&self, sessions: &[Arc<Session>]) {
        let mut ended = Vec::with_capacity(sessions.len());
        for session in sessions {
            tracing::info!(group = %self.group, queue = %session.queue, "let go of a queue");
            // One that was dropped before has told its offset, and it was not its commit point.
            if planted!("M21") || session.set_phase(Phase::Dropped) {
                ended.push(session);
            }
        }
        if !planted!("M20") {
            join_all(ended.into_iter().map(|session| self.commit(session))).await;
        }
        let mut table = self.sessions.lock();
        for session in sessions {
            if table.owned.get(&session.queue).is_some_and(|now| Arc::ptr_eq(now, session)) {
                table.owned.remove(&session.queue);
            }
        }
    }

    fn take(self: &Arc<Self>, queue: MessageQueue, delay: Duration) {
        let session = Arc::new(Session::new(self.group.clone(), queue.clone()));
        {
            let mut sessions = self.sessions.lock();
            if sessions.closing || sessions.owned.contains_key(&queue) {
                return;
            }
            sessions.owned.insert(queue, session.clone());
        }
        tracing::info!(group = %self.group, queue = %session.queue, "took a queue");
        let member = self.clone();
        self.instance.spawn("pull", async move {
            let mut pulls = pin!(member.pull_all(&session, delay));
            select! {
                () = session.ended() => {
                    if planted!("M24") {
                        pulls.await;
                    }
                }
                () = &mut pulls => {}
            }
        });
    }

    // Pulling

    /// The life of a session: find the start, then pull until somebody drops it.
    async fn pull_all(self: &Arc<Self>, session: &Arc<Session>, delay: Duration) {
        // The owner before has this long to tell its commit point.
        sleep(delay).await;
        // Nobody reads the queue for a while (CON-1).
        if buggify!("client.take.late") {
            sleep(Duration::from_secs(2)).await;
        }
        let start = loop {
            match self.start_offset(&session.queue).await {
                Ok(start) => break start,
                Err(error) => {
                    sometimes!("client.start.failed");
                    tracing::warn!(group = %self.group, queue = %session.queue, %error, "cannot find where to start");
                    sleep(AFTER_ERROR).await;
                }
            }
        };
        session.begin(start);
        let mut replica = MASTER;
        while session.phase() == Phase::Open {
            if session.is_full(&self.manners.limits) {
                session.room.notified().await;
                continue;
            }
            // Others are quicker (CON-3).
            if buggify!("client.pull.pauses") {
                sleep(Duration::from_millis(50)).await;
            }
            let asked = Instant::now();
            match self.pull_once(session, &mut replica).await {
                Ok(true) => {}
                // A broker that holds nothing answers at once: do not spin.
                Ok(false) if asked.elapsed() < SHORTEST_HOLD => sleep(SHORTEST_HOLD).await,
                Ok(false) => {}
                Err(CallError::Fault(Fault::Refused { code: code::FLOW_CONTROL, .. })) => {
                    sometimes!("client.pull.busy");
                    sleep(AFTER_FLOW_CONTROL).await
                }
                // The topic was deleted, and what is done of it says nothing of one that is made with its name.
                Err(CallError::Fault(Fault::Refused { code: code::TOPIC_NOT_EXIST, .. }))
                    if session.next() > 0 && !planted!("B22") =>
                {
                    sometimes!("client.pull.topic_gone");
                    tracing::warn!(group = %self.group, queue = %session.queue, "the topic was deleted");
                    session.set_phase(Phase::Dropped);
                    self.forget(session);
                    self.wake.notify_one();
                }
                Err(error) => {
                    sometimes!("client.pull.failed");
                    tracing::debug!(group = %self.group, queue = %session.queue, %error, "a pull failed");
                    if planted!("B25") {
                        for _ in 0..3000 {
                            yield_now().await;
                        }
                    }
                    sleep(AFTER_ERROR).await;
                }
            }
        }
    }

    /// One pull; true when it moved the offset.
    async fn pull_once(
        self: &Arc<Self>,
        session: &Arc<Session>,
        replica: &mut i64,
    ) -> Result<bool, CallError> {
        let offset = session.next();
        let answer = self
            .instance
            .pull(Pull {
                group: &self.group,
                queue: &session.queue,
                offset,
                // One by one: a pull that does not begin where the one before ended shows (CON-3).
                most: if buggify!("client.pull.one") { 1 } else { self.manners.pull_batch },
                commit: session.commit_point(),
                hold: Some(HOLD),
                expression: None,
                version: 0,
                replica: *replica,
            })
            .await?;
        *replica = answer.replica;
        if answer.status == PullStatus::OffsetMoved {
            self.offset_moved(session, offset, answer.next).await;
            return Ok(true);
        }
        let Some(session) = self.receiver(session) else { return Ok(true) };
        session.tap_pulled(offset, answer.next, answer.messages.len());
        let filter = &self.subscriptions[&session.queue.topic];
        let mut messages = answer.messages;
        // The broker compared hashes only, and two tags may share one.
        sometimes!("client.pull.tag_collision", messages.iter().any(|m| !filter.accepts_tag(m.tag())));
        messages.retain(|m| filter.accepts_tag(m.tag()) || planted!("M26"));
        let fresh = session.put(messages, answer.next);
        if !fresh.is_empty() && planted!("M18") {
            session.raise(answer.next);
        }
        // One by one, and done in any order (CON-2).
        let batch_size = if buggify!("client.consume.one") { 1 } else { self.manners.batch_size };
        for messages in fresh.chunks(batch_size) {
            self.line.push(Job { session: session.clone(), messages: messages.to_vec() });
        }
        Ok(answer.next != offset)
    }

    /// Who gets what a pull of this session brought: nobody when it was dropped meanwhile.
    fn receiver(&self, session: &Arc<Session>) -> Option<Arc<Session>> {
        if !session.is_dropped() {
            return Some(session.clone());
        }
        if planted!("M24") { self.session(&session.queue) } else { None }
    }

    /// The broker's queue does not reach from here any more.
    async fn offset_moved(self: &Arc<Self>, session: &Arc<Session>, asked: u64, next: u64) {
        tracing::warn!(group = %self.group, queue = %session.queue, asked, next, "the offset is outside the queue");
        if next > asked {
            // The oldest messages were deleted. What was pulled before still counts.
            session.tap_pulled(asked, next, 0);
            session.put(Vec::new(), next);
            return;
        }
        // The queue lost its end. What was pulled from there is void, what is below is still to be done:
        // begin anew at the lowest of it.
        sometimes!("client.pull.rewound");
        let restart = if planted!("B91") { next } else { session.rewind_to(next) };
        session.set_phase(Phase::Dropped);
        let member = self.clone();
        let session = session.clone();
        // In a task of its own, because dropping the session ends this one.
        self.instance.spawn("rewind", async move {
            if let Err(error) = member.instance.commit(&member.group, &session.queue, restart).await {
                tracing::warn!(group = %member.group, queue = %session.queue, %error, "cannot tell the new offset");
            }
            member.forget(&session);
            member.wake.notify_one();
        });
    }

    /// Takes a dropped session out of the table.
    fn forget(&self, session: &Arc<Session>) {
        let mut sessions = self.sessions.lock();
        if sessions.owned.get(&session.queue).is_some_and(|now| Arc::ptr_eq(now, session)) {
            sessions.owned.remove(&session.queue);
        }
    }

    async fn start_offset(&self, queue: &MessageQueue) -> Result<u64, CallError> {
        let stored = self.instance.committed(&self.group, queue, true).await?;
        let seen_coming = self.instance.routes.lock().was_added(queue);
        if seen_coming && stored.unwrap_or(0) == 0 && planted!("M22") {
            return self.instance.max_offset(queue).await;
        }
        let added = stored.is_none() && (seen_coming || self.group_was_here(queue).await);
        let facts = Facts { stored, retry_topic: queue.topic == self.retry_topic, added };
        let start = match offsets::start(self.manners.start_from, facts) {
            Start::At(offset) => return Ok(offset),
            Start::Min => self.instance.min_offset(queue).await?,
            Start::Max => self.instance.max_offset(queue).await?,
            Start::Time(ms) => self.instance.offset_at(queue, ms).await?,
        };
        if planted!("B95") {
            return Ok(start);
        }
        // Told before the first pull: otherwise a crash before the first commit would begin at a later
        // end, and the messages between would be nobody's. The broker's word counts: an owner before may
        // have come further.
        self.instance.commit(&self.group, queue, start).await?;
        match self.instance.committed(&self.group, queue, false).await? {
            Some(offset) => Ok(offset),
            None => {
                Err(CallError::Invalid(format!("the broker did not take {start} as the offset of {queue}")))
            }
        }
    }

    /// Whether the group has committed in another queue of the topic: then this one was added later.
    /// Brokers that do not answer are passed over, or one dead broker would hold up all queues.
    async fn group_was_here(&self, queue: &MessageQueue) -> bool {
        let Ok(queues) = self.instance.readable(&queue.topic).await else { return false };
        for other in queues.iter().filter(|q| *q != queue) {
            if matches!(self.instance.committed(&self.group, other, false).await, Ok(Some(_))) {
                return true;
            }
        }
        false
    }

    // Consuming

    async fn consume(self: Arc<Self>) {
        while let Some(job) = self.line.next().await {
            let _running = self.idle.acquire().await.expect("never closed");
            // A shutdown holds all permits while it waits: a job that waited behind it is not begun.
            if self.line.is_closed() {
                return;
            }
            self.consume_one(job).await;
        }
    }

    async fn consume_one(self: &Arc<Self>, Job { session, mut messages }: Job) {
        // Its queue may go to another member meanwhile (CON-4).
        if buggify!("client.consume.late") {
            sleep(Duration::from_millis(200)).await;
        }
        if session.is_dropped() {
            sometimes!("client.consume.taken_before");
            return;
        }
        session.start(&mut messages, self.instance.now_ms());
        if messages.is_empty() {
            return;
        }
        let batch = Batch { queue: session.queue.clone(), messages: messages.clone() };
        let verdict = (self.listener)(batch).await;
        if session.is_dropped() {
            sometimes!("client.consume.taken_meanwhile");
            // The new owner gets them again.
            return;
        }
        let done = match verdict {
            Consumed::Ok => messages.len(),
            Consumed::Later => 0,
            Consumed::First(count) => count.min(messages.len()),
        };
        let failed = messages.split_off(done);
        if !failed.is_empty() && planted!("B27") {
            let member = self.clone();
            self.instance.spawn("hold", async move {
                let _all = member.idle.acquire_many(member.manners.concurrency).await;
                sleep(Duration::from_secs(25)).await;
            });
        }
        sometimes!("client.consume.partly", !failed.is_empty() && !messages.is_empty());
        // Who takes the queue over meanwhile gets what is on its way back again, and not what is done (CON-4).
        let done: Vec<u64> = messages.iter().map(|m| m.offset).collect();
        finish(&session, &done);
        // One that is overdue is given back already.
        for message in failed.into_iter().filter(|m| session.take(m.offset)) {
            match self.instance.send_back(&self.group, &message, 0, self.manners.most_times).await {
                Ok(()) => finish(&session, &[message.offset]),
                Err(error) => {
                    tracing::warn!(queue = %session.queue, offset = message.offset, %error,
                        "a message could not be given back, the listener gets it again here");
                    sometimes!("client.consume.back_failed");
                    if planted!("M25") {
                        finish(&session, &[message.offset]);
                    }
                    self.consume_again(&session, message);
                }
            }
            if session.is_dropped() {
                return;
            }
        }
    }

    /// The message stays unfinished, holds the commit point, and comes to the listener once more.
    fn consume_again(self: &Arc<Self>, session: &Arc<Session>, message: Arc<Received>) {
        let (member, session) = (self.clone(), session.clone());
        self.instance.spawn("consume_again", async move {
            sleep(CONSUME_AGAIN).await;
            let mut again = Received::clone(&message);
            again.reconsume_times = again.reconsume_times.saturating_add(1);
            member.line.push(Job { session, messages: vec![Arc::new(again)] });
        });
    }

    /// Gives messages back that the listener has had for too long, so that they do not hold the commit
    /// point for ever.
    async fn return_overdue(self: Arc<Self>) {
        let limit = u64::try_from(self.manners.consume_timeout.as_millis()).unwrap_or(u64::MAX);
        loop {
            sleep(self.manners.consume_timeout.min(OVERDUE_PERIOD)).await;
            let limit = if planted!("B55") { limit.min(1000) } else { limit };
            for session in self.sessions() {
                while let Some((message, started)) = session.take_overdue(self.instance.now_ms(), limit) {
                    if planted!("B54") {
                        session.finish(&[message.offset]);
                        continue;
                    }
                    let back = self.instance.send_back(
                        &self.group,
                        &message,
                        OVERDUE_LEVEL,
                        self.manners.most_times,
                    );
                    if let Err(error) = back.await {
                        tracing::warn!(queue = %session.queue, offset = message.offset, %error,
                            "an overdue message could not be given back");
                        session.leave(message.offset, started);
                        break;
                    }
                    if session.is_dropped() {
                        break;
                    }
                    session.finish(&[message.offset]);
                }
            }
        }
    }

    // Committing

    async fn commit_all_the_time(self: Arc<Self>) {
        loop {
            sleep(COMMIT_PERIOD).await;
            // Once more, between any two messages (CON-2, CON-6).
            if buggify!("client.commit.soon") {
                self.commit_all().await;
                sleep(COMMIT_PERIOD / 50).await;
            }
            self.commit_all().await;
        }
    }

    async fn commit_all(&self) {
        let sessions = self.sessions();
        join_all(sessions.iter().filter(|s| !s.is_dropped()).map(|session| self.commit(session))).await;
    }

    /// Tells the broker a session's commit point. Repeated although nothing changed: it heals a broker
    /// that lost its last seconds of offsets.
    async fn commit(&self, session: &Session) {
        let Some(offset) = session.commit_point() else { return };
        let MessageQueue { topic, broker, id } = &session.queue;
        tap!(
            "client.commit",
            group = &*self.group,
            topic = &**topic,
            broker = &**broker,
            queue = *id,
            offset = offset
        );
        if let Err(error) = self.instance.commit(&self.group, &session.queue, offset).await {
            sometimes!("client.commit.failed");
            tracing::warn!(group = %self.group, queue = %session.queue, offset, %error, "a commit failed");
        }
    }

    /// Begins anew at given offsets, whatever is unfinished.
    pub(crate) async fn reset(self: &Arc<Self>, offsets: Vec<(MessageQueue, u64)>) {
        for (queue, offset) in offsets {
            let Some(session) = self.session(&queue) else { continue };
            session.set_phase(Phase::Dropped);
            if let Err(error) = self.instance.commit(&self.group, &queue, offset).await {
                tracing::warn!(group = %self.group, %queue, offset, %error, "a reset offset could not be told");
            }
            self.forget(&session);
        }
        self.wake.notify_one();
    }
}

/// New owners pull so much later than they learn of the queue.
const TAKE_DELAY: Duration = Duration::from_millis(500);
const HOLD: Duration = Duration::from_secs(15);
const SHORTEST_HOLD: Duration = Duration::from_millis(100);
const AFTER_ERROR: Duration = Duration::from_secs(1);
const AFTER_FLOW_CONTROL: Duration = Duration::from_millis(20);
const CONSUME_AGAIN: Duration = Duration::from_secs(5);
const OVERDUE_PERIOD: Duration = Duration::from_secs(60);
/// Overdue messages come again after 10 s: delay level 3.
const OVERDUE_LEVEL: i32 = 3;
const COMMIT_PERIOD: Duration = Duration::from_secs(5);

/// Messages that need not come again.
fn finish(session: &Session, offsets: &[u64]) {
    session.finish(offsets);
    let highest = offsets.iter().max().map(|highest| highest + 1);
    if let Some(highest) = highest
        && session.commit_point() < Some(highest)
        && planted!("M19")
    {
        session.raise(highest);
    }
}
