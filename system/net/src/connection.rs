//! One connection, either end of it: a single task that writes, finishes what waited, and reads, in turns.
//!
//! All frames of one read are cut and handled before anything is written, so that their answers leave in one write;
//! a handler that has to wait stays in the connection's own set. Nothing here is done per message but decoding the
//! frame, polling its handler and encoding the answer.

use std::{
    future::{Future, poll_fn},
    io,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll, Waker},
};

use bytes::{Buf, BytesMut};
use protocol::{Command, Encoding, Splitter};
use runtime::{
    io::{AsyncReadExt, AsyncWrite},
    net::TcpStream,
    sometimes, tap,
    time::{Duration, Instant, sleep_until},
};
use tracing::Instrument;

use crate::{Limits, Peer, Reply, Service, waiting::Waiting};

/// Runs a connection until it has ended; the service has then been told.
pub(crate) async fn drive<S: Service>(stream: TcpStream, service: &S, peer: &Arc<Peer>) {
    // Also when this task is cancelled, nobody may wait for an answer.
    let _ended = Ended(peer);
    // Where nobody wants debug lines there are no spans, and this costs a look at a flag.
    let span = tracing::debug_span!("connection", peer = %peer.remote, id = peer.id);
    let mut connection = Connection::new(stream, service, peer, |command: Command| {
        let rpc = tracing::debug_span!("rpc", code = command.code, opaque = command.opaque);
        service.handle(peer, command).instrument(rpc)
    });
    span.in_scope(|| tracing::debug!("connection opened"));
    let why = poll_fn(|cx| span.in_scope(|| connection.poll(cx))).await;
    span.in_scope(|| tracing::debug!(why, "connection closed"));
}

struct Ended<'a>(&'a Peer);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        self.0.ended();
    }
}

struct Connection<'a, S, H, F> {
    stream: TcpStream,
    service: &'a S,
    peer: &'a Arc<Peer>,
    handle: H,
    splitter: Splitter,
    /// Encoded and not yet written.
    out: BytesMut,
    waiting: Waiting<F, Asked>,
    received: u64,
    moved_at: Instant,
    written_at: Instant,
    timer: Timer,
    /// The end of the peer's bytes was seen: what is in the splitter is all there is.
    end_of_file: bool,
    /// Writing failed: answers have nowhere to go.
    mute: bool,
    /// Set when no frame is read any more; what waits may still run to its end.
    ending: Option<&'static str>,
    /// Until when the peer may still send after this end closed.
    linger_until: Option<Instant>,
}

/// What is remembered of a request while its handler runs.
#[derive(Clone, Copy)]
struct Asked {
    code: i32,
    opaque: i32,
    encoding: Encoding,
    oneway: bool,
}

/// What a turn has done and how much it may do before other connections get theirs.
struct Turn {
    now: Instant,
    frames: usize,
    bytes: usize,
    most_frames: usize,
    most_bytes: usize,
}

impl<'a, S, H, F> Connection<'a, S, H, F>
where
    S: Service,
    H: Fn(Command) -> F,
    F: Future<Output = Reply>,
{
    fn new(stream: TcpStream, service: &'a S, peer: &'a Arc<Peer>, handle: H) -> Self {
        let now = Instant::now();
        Self {
            stream,
            service,
            peer,
            handle,
            splitter: Splitter::new(peer.limits.max_frame_bytes),
            out: BytesMut::new(),
            waiting: Waiting::new(),
            received: 0,
            moved_at: now,
            written_at: now,
            timer: Timer::default(),
            end_of_file: false,
            mute: false,
            ending: None,
            linger_until: None,
        }
    }

    /// One turn; ready with the reason when the connection is over.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<&'static str> {
        let mut turn = Turn::new(&self.peer.limits);
        let next_deadline = loop {
            let room = self.out.len() < self.peer.limits.max_unsent_bytes;
            let collected = self.peer.collect(cx.waker(), &mut self.out, room && !self.mute, self.received);
            if collected.closing && self.ending.is_none() && room {
                self.end("closed here");
            }
            let wrote = self.write(cx, turn.now);
            let finished = self.finish_waiting(cx, &mut turn);
            let read = self.read(cx, &mut turn);
            if let Some(why) = self.over(cx, turn.now) {
                return Poll::Ready(why);
            }
            if turn.is_spent() {
                sometimes!("net.turn_spent");
                cx.waker().wake_by_ref();
                break collected.next_deadline;
            }
            if !(wrote || finished || read) {
                break collected.next_deadline;
            }
        };
        // A turn without a reason changes nothing (L-9).
        if self.check_times(turn.now, next_deadline) || runtime::buggify!("net.woken_again") {
            cx.waker().wake_by_ref();
        }
        self.arm(cx, turn.now, next_deadline);
        Poll::Pending
    }

    /// Writes what the socket takes. True: it took something.
    fn write(&mut self, cx: &mut Context<'_>, now: Instant) -> bool {
        let mut wrote = false;
        while !self.out.is_empty() {
            // The peer must put the pieces together (ACK-3).
            let most =
                if runtime::buggify!("net.short_write") { 1 + self.out.len() / 3 } else { self.out.len() };
            match Pin::new(&mut self.stream).poll_write(cx, &self.out[..most.min(self.out.len())]) {
                Poll::Ready(Ok(0)) => self.fall_silent(&io::ErrorKind::WriteZero.into()),
                Poll::Ready(Ok(written)) => {
                    self.out.advance(written);
                    self.moved_at = now;
                    self.written_at = now;
                    wrote = true;
                }
                Poll::Ready(Err(error)) => self.fall_silent(&error),
                Poll::Pending => {
                    sometimes!("net.write_blocked");
                    return wrote;
                }
            }
        }
        if self.out.capacity() > LARGEST_KEPT {
            self.out = BytesMut::new();
        }
        // The clock of a stalled writer starts with the first byte it cannot write.
        self.written_at = now;
        wrote
    }

    fn fall_silent(&mut self, error: &io::Error) {
        sometimes!("net.write_failed");
        tracing::debug!(peer = %self.peer.remote, %error, "cannot write");
        self.mute = true;
        self.out.clear();
    }

    /// Polls the handlers that were woken. True: there were some.
    fn finish_waiting(&mut self, cx: &mut Context<'_>, turn: &mut Turn) -> bool {
        self.waiting.owned_by(cx.waker());
        let before = self.waiting.len();
        let mut any = false;
        // A finished handler may bring a large answer: their sum is bounded too.
        while self.out.len() < self.peer.limits.max_unsent_bytes * 8 && !turn.is_spent() {
            let Some(polled) = self.waiting.poll_next() else { break };
            any = true;
            turn.frames += 1;
            if let Some((reply, asked)) = polled {
                self.answer(reply, asked);
            }
        }
        if self.waiting.len() != before {
            self.peer.set_waiting(self.waiting.len());
        }
        any
    }

    /// Handles the frames at hand, then those of one read. True: there were some.
    fn read(&mut self, cx: &mut Context<'_>, turn: &mut Turn) -> bool {
        let mut any = false;
        let mut may_read = true;
        while self.ending.is_none() {
            while self.may_handle() && !turn.is_spent() {
                match self.splitter.next_frame() {
                    Ok(Some(frame)) => {
                        any = true;
                        turn.frames += 1;
                        turn.bytes += frame.len();
                        self.frame(frame);
                    }
                    Ok(None) => {
                        if self.end_of_file {
                            sometimes!("net.ended_in_frame", self.splitter.buffered() > 0);
                            self.end("closed by the peer");
                            return true;
                        }
                        break;
                    }
                    Err(error) => {
                        tracing::warn!(peer = %self.peer.remote, %error, "not the remoting protocol: connection closed");
                        self.end("bad frame");
                    }
                }
                if self.ending.is_some() {
                    return true;
                }
            }
            if !may_read || self.end_of_file || !self.may_handle() || turn.is_spent() {
                break;
            }
            // One read in a row: its answers are written before the next.
            may_read = false;
            let space = self.splitter.space();
            match pin!(self.stream.read_buf(space)).poll(cx) {
                Poll::Pending => break,
                Poll::Ready(Ok(0)) => self.end_of_file = true,
                Poll::Ready(Ok(read)) => {
                    any = true;
                    self.received += read as u64;
                    self.moved_at = turn.now;
                }
                Poll::Ready(Err(error)) => {
                    sometimes!("net.read_failed");
                    tracing::debug!(peer = %self.peer.remote, %error, "cannot read");
                    self.end_of_file = true;
                }
            }
        }
        any
    }

    fn may_handle(&self) -> bool {
        self.peer.limits.always_read || self.out.len() <= self.peer.limits.max_unsent_bytes
    }

    fn frame(&mut self, frame: BytesMut) {
        let command = match Command::decode(frame) {
            Ok(command) => command,
            Err(error) => {
                tracing::warn!(peer = %self.peer.remote, %error, "undecodable frame: connection closed");
                return self.end("bad frame");
            }
        };
        if command.is_response() {
            return self.peer.answered(command);
        }
        let asked = Asked {
            code: command.code,
            opaque: command.opaque,
            encoding: command.encoding,
            oneway: command.is_oneway(),
        };
        tracing::trace!(peer = %self.peer.remote, code = asked.code, opaque = asked.opaque, "request");
        if self.waiting.len() >= self.peer.limits.max_waiting
            && let Some(reply) = self.overloaded(&command)
        {
            return self.answer(reply, asked);
        }
        let future = (self.handle)(command);
        match self.waiting.start(future, asked) {
            Some(reply) => self.answer(reply, asked),
            None => self.peer.set_waiting(self.waiting.len()),
        }
    }

    fn overloaded(&self, command: &Command) -> Option<Reply> {
        if self.waiting.len() >= self.peer.limits.max_waiting * 2 {
            return Some(Reply::busy("[OVERLOAD] too many requests of this connection wait"));
        }
        self.service.overloaded(command)
    }

    fn answer(&mut self, reply: Reply, asked: Asked) {
        if !asked.oneway && !self.mute {
            reply.encode(asked.opaque, asked.encoding, &mut self.out);
        }
    }

    /// No frame is read any more: waiting reads are dropped, waiting writes run to their end.
    fn end(&mut self, why: &'static str) {
        if self.ending.is_some() {
            return;
        }
        self.ending = Some(why);
        tap!(
            "connection_ends",
            left = self.peer.forgotten_calls(),
            overdue_ms = self.peer.longest_overdue().as_millis() as u64,
            silent_ms = self.moved_at.elapsed().as_millis() as u64
        );
        self.peer.ended();
        let service = self.service;
        sometimes!("net.reads_dropped", self.waiting.len() > 0);
        self.waiting.retain(|asked| service.survives_close(asked.code));
        sometimes!("net.work_survives", self.waiting.len() > 0);
        service.closed(self.peer);
    }

    fn over(&mut self, cx: &mut Context<'_>, now: Instant) -> Option<&'static str> {
        let why = self.ending?;
        if self.waiting.len() > 0 || !self.out.is_empty() {
            return None;
        }
        if !self.mute && !self.end_of_file && !self.lingered(cx, now) {
            return None;
        }
        Some(why)
    }

    /// Says that nothing more comes and waits for the peer to close too: a socket that is closed over unread bytes is
    /// reset, and with it goes what the peer has not yet received.
    fn lingered(&mut self, cx: &mut Context<'_>, now: Instant) -> bool {
        if Pin::new(&mut self.stream).poll_shutdown(cx).is_pending() {
            return false;
        }
        let until = *self.linger_until.get_or_insert(now + LINGER);
        if now >= until {
            return true;
        }
        for _ in 0..READS_A_TURN {
            let space = self.splitter.space();
            space.clear();
            match pin!(self.stream.read_buf(space)).poll(cx) {
                Poll::Ready(Ok(read)) if read > 0 => {}
                Poll::Ready(_) => return true,
                Poll::Pending => return false,
            }
        }
        cx.waker().wake_by_ref();
        false
    }

    /// Looks at all deadlines. True: something changed and wants a turn.
    fn check_times(&mut self, now: Instant, next_deadline: Option<Instant>) -> bool {
        let limits = &self.peer.limits;
        if next_deadline.is_some_and(|at| at <= now) && !runtime::planted!("B48") && self.peer.expire(now) {
            sometimes!("net.silent");
            tracing::info!(peer = %self.peer.remote, "no answer and no sign of life in time: connection closed");
            return self.abandon("silent");
        }
        if !self.out.is_empty() && now >= self.written_at + limits.stalled {
            tracing::warn!(peer = %self.peer.remote, unsent = self.out.len(), "takes no bytes: connection closed");
            return self.abandon("stalled");
        }
        if self.ending.is_none() && now >= self.moved_at + limits.idle && !runtime::planted!("B47") {
            return self.abandon("idle");
        }
        false
    }

    /// Ends without waiting for the peer to take what is left.
    fn abandon(&mut self, why: &'static str) -> bool {
        self.mute = true;
        self.out.clear();
        self.end(why);
        true
    }

    fn arm(&mut self, cx: &mut Context<'_>, now: Instant, next_deadline: Option<Instant>) {
        let limits = &self.peer.limits;
        let mut at = self.moved_at + limits.idle;
        if !self.out.is_empty() {
            at = at.min(self.written_at + limits.stalled);
        }
        if let Some(deadline) = next_deadline {
            at = at.min(deadline);
        }
        if let Some(until) = self.linger_until {
            at = until;
        }
        if self.ending.is_none() || !self.out.is_empty() || self.linger_until.is_some() {
            self.timer.arm(cx, now, at);
        }
    }
}

impl Turn {
    fn new(limits: &Limits) -> Self {
        let most_frames = if runtime::buggify!("net.short_turn") { 1 } else { limits.turn_frames };
        // After any few bytes (L-9).
        let most_bytes = if runtime::buggify!("net.small_turn") { 1 } else { limits.turn_bytes };
        Self { now: Instant::now(), frames: 0, bytes: 0, most_frames, most_bytes }
    }

    fn is_spent(&self) -> bool {
        self.frames >= self.most_frames || self.bytes >= self.most_bytes
    }
}

/// One timer for all deadlines of a connection. It may come too early, never too late, and is polled as rarely as
/// possible: in simulation each poll costs an entry of the world's timer heap.
#[derive(Default)]
struct Timer {
    armed: Option<Armed>,
}

struct Armed {
    at: Instant,
    waker: Waker,
    /// Kept, as dropping it would take the timer back.
    _sleep: Pin<Box<dyn Future<Output = ()> + Send>>,
}

impl Timer {
    fn arm(&mut self, cx: &mut Context<'_>, now: Instant, at: Instant) {
        if let Some(armed) = &self.armed
            && armed.at <= at
            && armed.at > now
            && armed.waker.will_wake(cx.waker())
        {
            return;
        }
        // Too early: nothing may be given up (ACK-4).
        let at = if runtime::buggify!("net.early_timer") { now } else { at };
        let at = at.max(now + Duration::from_millis(1));
        let mut sleep: Pin<Box<dyn Future<Output = ()> + Send>> = Box::pin(sleep_until(at));
        if sleep.as_mut().poll(cx).is_ready() {
            cx.waker().wake_by_ref();
            self.armed = None;
        } else {
            self.armed = Some(Armed { at, waker: cx.waker().clone(), _sleep: sleep });
        }
    }
}

const READS_A_TURN: usize = 16;
const LINGER: Duration = Duration::from_secs(1);
const LARGEST_KEPT: usize = 1 << 20;
