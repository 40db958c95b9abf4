//! The other end of a connection, as the program sees it: who it is, and requests to it.
//!
//! Requests are encoded into one buffer under a short lock; the connection's own task takes the buffer and writes it
//! whole, so that whatever waits leaves in one write.

use std::{
    fmt,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    task::Waker,
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use protocol::{
    Command, Encoding, Request, Text,
    command::{self, TooLong},
};
use runtime::{
    sometimes,
    sync::{Mutex, Notify, oneshot},
    time::{Instant, timeout_at},
};

use crate::{CallError, Limits, NotSent, Unknown, state::calls::Calls};

/// One end of a connection. Shared; it stays valid when the connection is gone, calls then fail.
pub struct Peer {
    /// Unlike any other connection of the same server or client.
    pub id: u64,
    /// Address of the other end.
    pub remote: SocketAddr,
    /// Address of this end.
    pub local: SocketAddr,
    /// What this end dialled, as it was named: `host:port`. None where the other end dialled.
    pub dialled: Option<Text>,
    encoding: Encoding,
    pub(crate) limits: Limits,
    outbox: Mutex<Outbox>,
    room: Notify,
    waiting: AtomicUsize,
    dropped: AtomicU64,
}

struct Outbox {
    phase: Phase,
    bytes: BytesMut,
    frames: usize,
    /// Requests put into `bytes` so far, and how many of them the writer has taken.
    queued: u64,
    taken: u64,
    /// Bytes that came from the peer.
    received: u64,
    calls: Calls<Instant, Waiter>,
    driver: Option<Waker>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Open,
    /// This end wants to close: what is queued is still written.
    Closing,
    Closed,
}

struct Waiter {
    answer: oneshot::Sender<Result<Command, CallError>>,
    /// Its place among the requests ever queued.
    order: u64,
    /// Bytes received from the peer when the call began.
    received: u64,
}

/// What the connection's task learns when it looks into the outbox.
pub(crate) struct Collected {
    pub(crate) closing: bool,
    pub(crate) next_deadline: Option<Instant>,
}

impl Peer {
    pub(crate) fn new(
        id: u64,
        remote: SocketAddr,
        local: SocketAddr,
        dialled: Option<Text>,
        encoding: Encoding,
        limits: Limits,
    ) -> Arc<Self> {
        Arc::new(Self {
            id,
            remote,
            local,
            dialled,
            encoding,
            limits,
            outbox: Mutex::new(Outbox {
                phase: Phase::Open,
                bytes: BytesMut::new(),
                frames: 0,
                queued: 0,
                taken: 0,
                received: 0,
                calls: Calls::new(),
                driver: None,
            }),
            room: Notify::new(),
            waiting: AtomicUsize::new(0),
            dropped: AtomicU64::new(0),
        })
    }

    /// A peer without a connection, for tests of handlers: what is sent to it stays in its queue.
    pub fn detached(id: u64, remote: SocketAddr, local: SocketAddr) -> Arc<Self> {
        Self::new(id, remote, local, None, Encoding::Json, Limits::server())
    }

    /// Calls the peer and reads its answer. An answer with a code other than 0 is `CallError::Refused`.
    pub async fn call<R: Request>(
        &self,
        request: &R,
        body: Bytes,
        timeout: Duration,
    ) -> Result<(R::Reply, Bytes), CallError> {
        let answer = self.call_raw(self.command(request, body), timeout).await?;
        read_answer::<R>(answer)
    }

    /// Calls the peer; any answer is a success here, also one with a code other than 0.
    pub async fn call_raw(&self, mut command: Command, timeout: Duration) -> Result<Command, CallError> {
        let deadline = Instant::now() + timeout;
        let (opaque, answer) = loop {
            let room = self.room.notified();
            match self.begin(&mut command, deadline) {
                Err(CallError::NotSent(NotSent::QueueFull)) if self.limits.wait_for_room => {
                    if timeout_at(deadline, room).await.is_err() {
                        return Err(CallError::NotSent(NotSent::QueueFull));
                    }
                }
                begun => break begun?,
            }
        };
        // A caller that gives up must not leave its entry behind.
        let mut forget = Forget { peer: self, opaque: Some(opaque) };
        let answer = answer.await.unwrap_or(Err(CallError::Unknown(Unknown::Broken)));
        forget.opaque = None;
        answer
    }

    /// Queues a request that nobody answers. False: the queue was full or the connection is gone; it was dropped and,
    /// in the first case, counted.
    pub fn oneway<R: Request>(&self, request: &R, body: Bytes) -> bool {
        match self.try_oneway(&mut self.command(request, body)) {
            Ok(()) => true,
            Err(NotSent::QueueFull) => {
                self.dropped.fetch_add(1, Ordering::Relaxed);
                false
            }
            Err(_) => false,
        }
    }

    /// Closes the connection when all that is queued has been written; waiting calls fail.
    pub fn close(&self) {
        let mut outbox = self.outbox.lock();
        if outbox.phase == Phase::Open {
            outbox.phase = Phase::Closing;
            outbox.wake();
        }
    }

    /// Whether nothing can be sent any more.
    pub fn is_closed(&self) -> bool {
        self.outbox.lock().phase != Phase::Open
    }

    /// Handlers of this connection that wait.
    pub fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    /// Calls to the peer that wait for an answer.
    pub fn open_calls(&self) -> usize {
        self.outbox.lock().calls.len()
    }

    /// One-way requests dropped because the queue was full.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Sends a request that nobody answers, waiting for room where the limits say so.
    pub(crate) async fn send(&self, mut command: Command, deadline: Instant) -> Result<(), NotSent> {
        loop {
            let room = self.room.notified();
            match self.try_oneway(&mut command) {
                Err(NotSent::QueueFull) if self.limits.wait_for_room => {
                    if timeout_at(deadline, room).await.is_err() {
                        return Err(NotSent::QueueFull);
                    }
                }
                sent => return sent,
            }
        }
    }

    pub(crate) fn command<R: Request>(&self, request: &R, body: Bytes) -> Command {
        let mut command = Command::request(request, body);
        // The binary header has 16 bits for the code.
        if i16::try_from(command.code).is_ok() {
            command.encoding = self.encoding;
        }
        command
    }

    fn try_oneway(&self, command: &mut Command) -> Result<(), NotSent> {
        command.flag |= command::ONEWAY;
        let mut outbox = self.outbox.lock();
        outbox.admit(&self.limits)?;
        command.opaque = outbox.calls.number();
        outbox.queue(command)
    }

    fn begin(
        &self,
        command: &mut Command,
        deadline: Instant,
    ) -> Result<(i32, oneshot::Receiver<Result<Command, CallError>>), CallError> {
        let mut outbox = self.outbox.lock();
        outbox.admit(&self.limits).map_err(CallError::NotSent)?;
        let (answer, answered) = oneshot::channel();
        let waiter = Waiter { answer, order: outbox.queued + 1, received: outbox.received };
        command.opaque = outbox.calls.begin(deadline, waiter);
        if let Err(error) = outbox.queue(command) {
            outbox.calls.answer(command.opaque);
            return Err(CallError::NotSent(error));
        }
        Ok((command.opaque, answered))
    }

    /// Hands what is queued to the connection's task, which will be woken for more.
    pub(crate) fn collect(&self, driver: &Waker, out: &mut BytesMut, room: bool, received: u64) -> Collected {
        let mut outbox = self.outbox.lock();
        outbox.received = received;
        if !outbox.driver.as_ref().is_some_and(|known| known.will_wake(driver)) {
            outbox.driver = Some(driver.clone());
        }
        let taken = room && outbox.frames > 0;
        if taken {
            outbox.frames = 0;
            outbox.taken = outbox.queued;
            if out.is_empty() {
                std::mem::swap(out, &mut outbox.bytes);
            } else {
                out.extend_from_slice(&outbox.bytes);
                outbox.bytes.clear();
            }
        }
        let collected = Collected {
            closing: outbox.phase == Phase::Closing,
            next_deadline: outbox.calls.next_deadline(),
        };
        drop(outbox);
        if taken && self.limits.wait_for_room {
            self.room.notify_waiters();
        }
        collected
    }

    /// An answer arrived; one that nobody waits for is dropped.
    pub(crate) fn answered(&self, answer: Command) {
        let waiter = self.outbox.lock().calls.answer(answer.opaque);
        sometimes!("net.late_answer", waiter.is_none());
        if let Some(waiter) = waiter {
            let _ = waiter.answer.send(Ok(answer));
        }
    }

    /// Fails the calls whose time is over. True: the peer was silent all the time of one of them, and nothing more is
    /// sent to it where the limits say so.
    pub(crate) fn expire(&self, now: Instant) -> bool {
        let mut outbox = self.outbox.lock();
        let received = outbox.received;
        let expired = outbox.calls.expire(now);
        if runtime::planted!("M62") {
            for _ in &expired {
                let waiter = Waiter { answer: oneshot::channel().0, order: 0, received };
                outbox.calls.begin(now + Duration::from_secs(1 << 30), waiter);
            }
        }
        let silent =
            self.limits.close_when_silent && expired.iter().any(|waiter| waiter.received == received);
        if silent {
            // Before its caller learns it: the next call must not take this connection.
            outbox.phase = Phase::Closing;
        }
        drop(outbox);
        for waiter in expired {
            sometimes!("net.timed_out");
            let _ = waiter.answer.send(Err(CallError::Unknown(Unknown::TimedOut)));
        }
        silent
    }

    /// Calls in the table that nobody waits for any more. Whoever stops waiting takes the entry along: there are none.
    pub(crate) fn forgotten_calls(&self) -> usize {
        self.outbox.lock().calls.waiters().filter(|waiter| waiter.answer.is_closed()).count()
    }

    /// For how long some open call should have been over.
    pub(crate) fn longest_overdue(&self) -> Duration {
        self.outbox.lock().calls.next_deadline().map_or(Duration::ZERO, |at| at.elapsed())
    }

    /// Nothing can be sent any more; every open call fails.
    pub(crate) fn ended(&self) {
        let mut outbox = self.outbox.lock();
        outbox.phase = Phase::Closed;
        outbox.driver = None;
        outbox.bytes = BytesMut::new();
        outbox.frames = 0;
        let taken = outbox.taken;
        let calls = outbox.calls.close();
        drop(outbox);
        for waiter in calls {
            let error = if waiter.order > taken {
                CallError::NotSent(NotSent::Closed)
            } else {
                sometimes!("net.broken");
                CallError::Unknown(Unknown::Broken)
            };
            let _ = waiter.answer.send(Err(error));
        }
        self.room.notify_waiters();
        self.waiting.store(0, Ordering::Relaxed);
    }

    pub(crate) fn set_waiting(&self, waiting: usize) {
        self.waiting.store(waiting, Ordering::Relaxed);
    }
}

impl Outbox {
    fn admit(&self, limits: &Limits) -> Result<(), NotSent> {
        if self.phase != Phase::Open {
            return Err(NotSent::Closed);
        }
        if self.frames >= limits.max_queued_frames || self.bytes.len() >= limits.max_queued_bytes {
            return Err(NotSent::QueueFull);
        }
        Ok(())
    }

    fn queue(&mut self, command: &Command) -> Result<(), NotSent> {
        command.encode(&mut self.bytes).map_err(|TooLong { bytes }| NotSent::TooLong { bytes })?;
        self.frames += 1;
        self.queued += 1;
        self.wake();
        Ok(())
    }

    fn wake(&self) {
        if let Some(driver) = &self.driver {
            driver.wake_by_ref();
        }
    }
}

impl fmt::Debug for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Peer").field("id", &self.id).field("remote", &self.remote).finish_non_exhaustive()
    }
}

/// Reads the typed answer to `R`.
pub(crate) fn read_answer<R: Request>(answer: Command) -> Result<(R::Reply, Bytes), CallError> {
    if answer.code != protocol::code::SUCCESS {
        return Err(CallError::Refused { code: answer.code, remark: answer.remark });
    }
    match answer.header::<R::Reply>() {
        Ok(reply) => Ok((reply, answer.body)),
        Err(error) => Err(CallError::Unknown(Unknown::Malformed(Text::from(error.to_string())))),
    }
}

/// Removes the entry of a call whose caller stopped waiting.
struct Forget<'a> {
    peer: &'a Peer,
    opaque: Option<i32>,
}

impl Drop for Forget<'_> {
    fn drop(&mut self) {
        if let Some(opaque) = self.opaque {
            self.peer.outbox.lock().calls.answer(opaque);
        }
    }
}
