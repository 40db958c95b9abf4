//! Servers and clients over real and simulated sockets: `cargo test -p net` and `cargo sim-test -p net`.
#![allow(clippy::unwrap_used, reason = "a test may")]

use std::{
    io::ErrorKind::UnexpectedEof,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
};

use bytes::{Bytes, BytesMut};
use futures::future::join;
use net::{
    CallError, Client, Deadlines, Limits, NotSent, Options, Peer, Reply, Running, Server, Service, TooLate,
    Unknown,
};
use protocol::{Command, Encoding, ExtFields, Header, HeaderError, Request, Splitter, Text, command::ONEWAY};
use runtime::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::{Mutex, Watermark},
    task::TaskSet,
    time::{Duration, Instant, sleep, timeout},
};

/// Answers with the request's body.
const ECHO: i32 = 1;
/// Waits for the gate; dropped when its connection closes.
const READ: i32 = 2;
/// Waits for the gate; runs to its end.
const WRITE: i32 = 3;
/// Calls the peer back with its own body and answers with the peer's answer.
const RELAY: i32 = 4;
/// Answers with 64 KiB.
const LARGE: i32 = 5;

struct Echo;

impl Header for Echo {
    fn read(_: &ExtFields) -> Result<Self, HeaderError> {
        Ok(Self)
    }
    fn write(&self, ext: &mut ExtFields) {
        ext.push("topic", "orders");
    }
}

impl Request for Echo {
    const CODE: i32 = ECHO;
    const NAME: &'static str = "Echo";
    type Reply = Self;
}

struct Program {
    gate: Watermark,
    started: AtomicUsize,
    ended: AtomicUsize,
    closed: AtomicUsize,
    peers: Mutex<Vec<Arc<Peer>>>,
}

impl Program {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            gate: Watermark::new(0),
            started: AtomicUsize::new(0),
            ended: AtomicUsize::new(0),
            closed: AtomicUsize::new(0),
            peers: Mutex::new(Vec::new()),
        })
    }

    /// Waits until `count` has reached `n`.
    async fn until(&self, count: &AtomicUsize, n: usize) {
        until(|| count.load(SeqCst) >= n).await;
    }
}

impl Service for Program {
    async fn handle(&self, peer: &Arc<Peer>, command: Command) -> Reply {
        self.started.fetch_add(1, SeqCst);
        let reply = match command.code {
            ECHO => Reply::ok().body(command.body),
            READ | WRITE => {
                self.gate.reach(1).await.unwrap();
                Reply::ok()
            }
            RELAY => match peer.call(&Echo, command.body, SECONDS(60)).await {
                Ok((_, body)) => Reply::ok().body(body),
                Err(error) => Reply::refuse(1, error.to_string()),
            },
            LARGE => Reply::ok().body(vec![5; 64 << 10]),
            other => Reply::unsupported(other),
        };
        self.ended.fetch_add(1, SeqCst);
        reply
    }

    fn closed(&self, peer: &Arc<Peer>) {
        self.peers.lock().push(peer.clone());
        self.closed.fetch_add(1, SeqCst);
    }

    fn survives_close(&self, code: i32) -> bool {
        code == WRITE
    }

    fn overloaded(&self, command: &Command) -> Option<Reply> {
        (command.code != ECHO).then(|| Reply::busy("[OVERLOAD]"))
    }
}

struct Setup {
    tasks: TaskSet,
    program: Arc<Program>,
    server: Running,
    client: Client,
    address: Text,
}

async fn setup(limits: Limits) -> Setup {
    setup_with(limits, Options::default()).await
}

async fn setup_with(limits: Limits, options: Options) -> Setup {
    setup_at("127.0.0.1:0", limits, options).await
}

async fn setup_at(address: &str, limits: Limits, options: Options) -> Setup {
    let tasks = TaskSet::new();
    let program = Program::new();
    let server = Server::bind(address.parse().unwrap()).await.unwrap();
    let server = server.start(program.clone(), &tasks, limits);
    let client = Client::new(&tasks, Program::new(), options);
    let address = Text::from(server.local_addr().to_string());
    Setup { tasks, program, server, client, address }
}

impl Setup {
    async fn ask(&self, code: i32, body: impl Into<Bytes>) -> Result<Command, CallError> {
        self.client.call_raw(&self.address, request(code, body), SECONDS(60)).await
    }

    /// Asks in a task of its own and puts the result's code into `codes`.
    fn ask_later(&self, code: i32, codes: &Arc<Mutex<Vec<i32>>>) {
        let (client, address, codes) = (self.client.clone(), self.address.clone(), codes.clone());
        self.tasks.spawn("ask", async move {
            let answer = client.call_raw(&address, request(code, ""), SECONDS(60)).await;
            codes.lock().push(answer.map_or(-1, |answer| answer.code));
        });
    }

    async fn raw(&self) -> TcpStream {
        TcpStream::connect(self.server.local_addr()).await.unwrap()
    }

    /// Waits until `n` connections are left: one that ends stays until its peer has closed too.
    async fn until_open(&self, n: usize) {
        until(|| self.server.connections().len() == n).await;
    }
}

/// Waits for what must come, however slow the machine is.
async fn until(mut holds: impl FnMut() -> bool) {
    timeout(SECONDS(120), async {
        while !holds() {
            sleep(Duration::from_millis(1)).await;
        }
    })
    .await
    .expect("it must come to that");
}

fn run<F: Future<Output = ()> + Send + 'static>(main: impl FnOnce() -> F + Send + 'static) {
    runtime::run(Some(2), main);
}

fn request(code: i32, body: impl Into<Bytes>) -> Command {
    Command { code, body: body.into(), ..Command::default() }
}

fn frame(command: &Command) -> BytesMut {
    let mut out = BytesMut::new();
    command.encode(&mut out).unwrap();
    out
}

async fn answer(stream: &mut TcpStream, splitter: &mut Splitter) -> Option<Command> {
    loop {
        if let Some(frame) = splitter.next_frame().unwrap() {
            return Some(Command::decode(frame).unwrap());
        }
        if stream.read_buf(splitter.space()).await.unwrap_or(0) == 0 {
            return None;
        }
    }
}

#[allow(non_snake_case, reason = "reads as a unit")]
const fn SECONDS(n: u64) -> Duration {
    Duration::from_secs(n)
}

#[test]
fn a_call_is_answered_in_either_encoding_and_an_unknown_code_with_3() {
    run(|| async {
        let s = setup(Limits::server()).await;
        for encoding in [Encoding::Json, Encoding::Binary] {
            let request = Command { encoding, ..request(ECHO, "hello") };
            let answer = s.client.call_raw(&s.address, request, SECONDS(3)).await.unwrap();
            assert_eq!((answer.code, &answer.body[..], answer.encoding), (0, &b"hello"[..], encoding));
        }
        let (_, body) = s.client.call(&s.address, &Echo, "typed".into(), SECONDS(3)).await.unwrap();
        assert_eq!(body, "typed");
        let unknown = s.ask(4_711, "").await.unwrap();
        assert_eq!((unknown.code, unknown.remark.as_deref()), (3, Some(" request type 4711 not supported")));
        assert_eq!(s.server.connections().len(), 1, "one connection carries all");
    });
}

#[test]
fn a_one_way_request_is_handled_and_never_answered() {
    run(|| async {
        let s = setup(Limits::server()).await;
        let mut stream = s.raw().await;
        let mut bytes = frame(&Command { flag: ONEWAY, opaque: 1, ..request(ECHO, "") });
        bytes.extend_from_slice(&frame(&Command { flag: ONEWAY, opaque: 2, ..request(4_711, "") }));
        bytes.extend_from_slice(&frame(&Command { opaque: 3, ..request(ECHO, "") }));
        stream.write_all(&bytes).await.unwrap();
        assert_eq!(answer(&mut stream, &mut Splitter::new(1 << 20)).await.unwrap().opaque, 3);
        s.client.oneway(&s.address, &Echo, Bytes::new()).await.unwrap();
        s.program.until(&s.program.started, 4).await;
    });
}

#[test]
fn a_request_whose_sender_closes_at_once_is_handled() {
    run(|| async {
        let s = setup(Limits::server()).await;
        let mut bytes = BytesMut::new();
        for code in [ECHO, WRITE, READ] {
            bytes.extend_from_slice(&frame(&Command { flag: ONEWAY, ..request(code, "") }));
        }
        let mut stream = s.raw().await;
        stream.write_all(&bytes).await.unwrap();
        drop(stream);
        s.program.until(&s.program.closed, 1).await;
        assert_eq!(s.program.started.load(SeqCst), 3, "all had started when the service heard of the end");
        assert_eq!(s.program.ended.load(SeqCst), 1);
        s.program.gate.advance(1);
        s.until_open(0).await;
        assert_eq!(
            s.program.ended.load(SeqCst),
            2,
            "the waiting read was dropped, the waiting write ran to its end"
        );
    });
}

#[test]
fn frames_arrive_whole_wherever_they_are_cut() {
    run(|| async {
        let s = setup(Limits::server()).await;
        let bytes = frame(&Command { opaque: 7, ..request(ECHO, "body") });
        let twice = [&bytes[..], &bytes[..]].concat();
        let mut stream = s.raw().await;
        stream.set_nodelay(true).unwrap();
        let mut splitter = Splitter::new(1 << 20);
        for cut in 1..twice.len() {
            stream.write_all(&twice[..cut]).await.unwrap();
            sleep(Duration::from_micros(200)).await;
            stream.write_all(&twice[cut..]).await.unwrap();
            for _ in 0..2 {
                let answer = answer(&mut stream, &mut splitter).await.unwrap();
                assert_eq!((answer.opaque, &answer.body[..]), (7, &b"body"[..]));
            }
        }
    });
}

#[test]
fn garbage_closes_only_its_own_connection() {
    run(|| async {
        let s = setup(Limits::server()).await;
        s.ask(ECHO, "before").await.unwrap();
        let whole = frame(&request(ECHO, "x"));
        let mut bad_json = whole.clone();
        bad_json[10] = 0xff;
        let over_long = (16_u32 << 20).to_be_bytes().to_vec();
        for garbage in [
            b"GET / HTTP/1.1\r\n\r\n".to_vec(),
            vec![0x16, 3, 1, 2, 0],
            over_long,
            bad_json.to_vec(),
            vec![0; 4],
        ] {
            let mut stream = s.raw().await;
            stream.write_all(&garbage).await.unwrap();
            let mut got = Vec::new();
            timeout(SECONDS(60), stream.read_to_end(&mut got)).await.expect("the server closes").unwrap();
            assert!(got.is_empty(), "no answer to {garbage:?}");
        }
        s.program.until(&s.program.closed, 5).await;
        s.until_open(1).await;
        s.ask(ECHO, "after").await.unwrap();
        assert_eq!(s.program.closed.load(SeqCst), 5);
    });
}

#[test]
fn a_flood_of_small_requests_is_answered_in_order() {
    run(|| async {
        let s = setup(Limits::server()).await;
        let mut stream = s.raw().await;
        let (count, mut next) = (100_000, 0);
        let mut splitter = Splitter::new(1 << 20);
        for _ in 0..10 {
            let mut bytes = BytesMut::new();
            for n in 0..count / 10 {
                Command { opaque: next + n, encoding: Encoding::Binary, ..request(ECHO, "") }
                    .encode(&mut bytes)
                    .unwrap();
            }
            stream.write_all(&bytes).await.unwrap();
            for _ in 0..count / 10 {
                assert_eq!(answer(&mut stream, &mut splitter).await.unwrap().opaque, next);
                next += 1;
            }
        }
    });
}

#[test]
fn nothing_more_is_read_from_a_peer_that_reads_nothing() {
    run(|| async {
        let s = setup(Limits::server()).await;
        let mut stream = s.raw().await;
        let count = 1_000;
        let mut bytes = BytesMut::new();
        for opaque in 0..count {
            Command { opaque, encoding: Encoding::Binary, ..request(LARGE, "") }.encode(&mut bytes).unwrap();
        }
        stream.write_all(&bytes).await.unwrap();
        s.program.until(&s.program.ended, 16).await;
        sleep(Duration::from_millis(100)).await;
        // 64 MiB of answers are asked for; the sockets' buffers hold a few.
        let ended = s.program.ended.load(SeqCst);
        assert!(ended < 400, "{ended} answers made for a peer that takes none");
        let mut splitter = Splitter::new(1 << 20);
        for opaque in 0..count {
            assert_eq!(answer(&mut stream, &mut splitter).await.unwrap().opaque, opaque);
        }
    });
}

#[test]
fn a_peer_that_takes_nothing_for_too_long_is_closed() {
    run(|| async {
        let s = setup(Limits { stalled: Duration::from_millis(200), ..Limits::server() }).await;
        let mut stream = s.raw().await;
        let mut bytes = BytesMut::new();
        for _ in 0..1_000 {
            Command { encoding: Encoding::Binary, ..request(LARGE, "") }.encode(&mut bytes).unwrap();
        }
        stream.write_all(&bytes).await.unwrap();
        s.program.until(&s.program.closed, 1).await;
        s.ask(ECHO, "others go on").await.unwrap();
    });
}

#[test]
fn a_connection_on_which_nothing_moves_is_closed() {
    run(|| async {
        let idle = Duration::from_millis(200);
        let s = setup(Limits { idle, ..Limits::server() }).await;
        s.ask(ECHO, "busy").await.unwrap();
        let mut quiet = s.raw().await;
        let (mut last, mut longest_pause) = (Instant::now(), Duration::ZERO);
        while s.program.closed.load(SeqCst) == 0 {
            sleep(Duration::from_millis(20)).await;
            let asked = s.ask(ECHO, "busy").await;
            longest_pause = longest_pause.max(last.elapsed());
            last = Instant::now();
            // A machine that stood still for so long has made the busy one quiet too.
            assert!(asked.is_ok() || longest_pause >= idle / 2, "{asked:?} after {longest_pause:?}");
        }
        assert_eq!(timeout(SECONDS(60), quiet.read_u8()).await.unwrap().unwrap_err().kind(), UnexpectedEof);
        let closed = s.program.closed.load(SeqCst);
        assert!(closed == 1 || longest_pause >= idle / 2, "the quiet one only");
    });
}

#[test]
fn a_thousand_waiting_pulls_hold_up_no_heartbeat() {
    run(|| async {
        let s = setup(Limits::server()).await;
        let codes = Arc::new(Mutex::new(Vec::new()));
        for _ in 0..1_000 {
            s.ask_later(READ, &codes);
        }
        s.program.until(&s.program.started, 1_000).await;
        for _ in 0..10 {
            s.ask(ECHO, "heartbeat").await.unwrap();
        }
        assert_eq!(s.server.connections()[0].waiting(), 1_000);
        assert!(codes.lock().is_empty());
        s.program.gate.advance(1);
        s.program.until(&s.program.ended, 1_010).await;
        until(|| codes.lock().len() == 1_000).await;
        assert_eq!(*codes.lock(), vec![0; 1_000]);
        assert_eq!(s.server.connections()[0].waiting(), 0);
    });
}

#[test]
fn too_many_waiting_handlers_are_refused_but_heartbeats_are_not() {
    run(|| async {
        let s = setup(Limits { max_waiting: 8, ..Limits::server() }).await;
        let codes = Arc::new(Mutex::new(Vec::new()));
        for _ in 0..8 {
            s.ask_later(READ, &codes);
        }
        s.program.until(&s.program.started, 8).await;
        assert_eq!(s.ask(READ, "").await.unwrap().code, 2);
        assert_eq!(s.ask(ECHO, "heartbeat").await.unwrap().code, 0);
        assert!(codes.lock().is_empty());
    });
}

#[test]
fn large_calls_both_ways_at_once_do_not_wait_for_each_other() {
    run(|| async {
        let s = setup(Limits::server()).await;
        let bodies = Arc::new(AtomicUsize::new(0));
        for n in 0..64_u8 {
            let (client, address, bodies) = (s.client.clone(), s.address.clone(), bodies.clone());
            s.tasks.spawn("ask", async move {
                let body = vec![n; 60_000];
                let answer =
                    client.call_raw(&address, request(RELAY, body.clone()), SECONDS(60)).await.unwrap();
                assert_eq!(answer.remark, None);
                assert_eq!(answer.body, body);
                bodies.fetch_add(1, SeqCst);
            });
        }
        s.program.until(&bodies, 64).await;
    });
}

#[test]
fn a_call_that_times_out_has_an_unknown_effect_and_leaves_nothing_behind() {
    run(|| async {
        let s = setup(Limits::server()).await;
        let peer = s.client.peer(&s.address).await.unwrap();
        let (begun, within) = (Instant::now(), Duration::from_millis(300));
        let call = peer.call_raw(request(READ, ""), within);
        let sign_of_life = async {
            s.program.until(&s.program.started, 1).await;
            s.ask(ECHO, "").await.map(|_| begun.elapsed())
        };
        let (answer, alive) = join(call, sign_of_life).await;
        assert_eq!(answer, Err(CallError::Unknown(Unknown::TimedOut)));
        assert!(begun.elapsed() >= within);
        let in_time = matches!(alive, Ok(after) if after < within);
        if !in_time && cfg!(not(madsim)) {
            // A machine so slow makes the peer look silent.
            return;
        }
        assert!(!peer.is_closed(), "the peer gave a sign of life");
        // One that is given up by its caller goes too.
        let call = peer.call_raw(request(READ, ""), SECONDS(100));
        assert!(timeout(Duration::from_millis(50), call).await.is_err());
        assert_eq!(peer.open_calls(), 0);
        s.program.gate.advance(1);
        s.ask(ECHO, "late answers are dropped").await.unwrap();
    });
}

#[test]
fn a_peer_that_stays_silent_during_a_call_is_dialled_anew() {
    run(|| async {
        let s = setup(Limits::server()).await;
        let peer = s.client.peer(&s.address).await.unwrap();
        let answer = s.client.call_raw(&s.address, request(READ, ""), Duration::from_millis(50)).await;
        assert_eq!(answer.unwrap_err(), CallError::Unknown(Unknown::TimedOut));
        s.ask(ECHO, "").await.unwrap();
        assert!(peer.is_closed());
    });
}

#[test]
fn a_call_tells_whether_it_may_have_taken_effect() {
    run(|| async {
        let s = setup(Limits::server()).await;
        let codes = Arc::new(Mutex::new(Vec::new()));
        let peer = s.client.peer(&s.address).await.unwrap();
        s.ask_later(WRITE, &codes);
        s.program.until(&s.program.started, 1).await;
        s.server.connections()[0].close();
        s.program.until(&s.program.closed, 1).await;
        assert!(codes.lock().is_empty());
        s.program.gate.advance(1);
        until(|| !codes.lock().is_empty()).await;
        assert_eq!(*codes.lock(), [0], "a waiting write still gets its answer out");
        // The server's end of the connection follows its last answer.
        until(|| peer.is_closed()).await;
        assert_eq!(
            peer.call_raw(request(ECHO, ""), SECONDS(1)).await,
            Err(CallError::NotSent(NotSent::Closed))
        );

        let too_long = s.ask(ECHO, vec![0; 17 << 20]).await.unwrap_err();
        assert!(matches!(too_long, CallError::NotSent(NotSent::TooLong { .. })), "{too_long}");
        let typed = s.client.call(&s.address, &Refused, Bytes::new(), SECONDS(3)).await;
        assert!(matches!(typed, Err(CallError::Refused { code: 3, .. })));
    });
}

struct Refused;

impl Header for Refused {
    fn read(_: &ExtFields) -> Result<Self, HeaderError> {
        Ok(Self)
    }
    fn write(&self, _: &mut ExtFields) {}
}

impl Request for Refused {
    const CODE: i32 = 4_711;
    const NAME: &'static str = "Refused";
    type Reply = Self;
}

#[test]
fn a_call_under_way_when_the_server_vanishes_has_an_unknown_effect() {
    run(|| async {
        // An address of its own: its port must still be free when it is bound again.
        let s = setup_at("127.0.0.2:0", Limits::server(), Options::default()).await;
        let client_tasks = TaskSet::new();
        let client = Client::new(&client_tasks, Program::new(), Options::default());
        let (address, program) = (s.address.clone(), s.program.clone());
        let result = Arc::new(Mutex::new(None));
        let told = result.clone();
        let asking = client.clone();
        client_tasks.spawn("ask", async move {
            let answer = asking.call_raw(&address, request(WRITE, ""), SECONDS(60)).await;
            *told.lock() = Some(answer);
        });
        program.until(&program.started, 1).await;
        s.tasks.close().await;
        until(|| result.lock().is_some()).await;
        assert_eq!(result.lock().take().unwrap(), Err(CallError::Unknown(Unknown::Broken)));
        let error = client.call(&s.address, &Echo, Bytes::new(), SECONDS(3)).await.err().unwrap();
        assert!(matches!(error, CallError::NotSent(NotSent::Connect { .. })), "{error}");
        let failed_at = Instant::now();
        let error = client.call(&s.address, &Echo, Bytes::new(), SECONDS(3)).await.err().unwrap();
        let pausing = matches!(error, CallError::NotSent(NotSent::Pausing { .. }));
        assert!(pausing || failed_at.elapsed() >= Duration::from_millis(50), "{error}");

        let address: SocketAddr = s.address.parse().unwrap();
        let again = Server::bind(address).await.unwrap();
        let tasks = TaskSet::new();
        let _running = again.start(Program::new(), &tasks, Limits::server());
        while let Err(error) = client.call(&s.address, &Echo, Bytes::new(), SECONDS(60)).await {
            let CallError::NotSent(NotSent::Pausing { wait_ms, .. }) = error else { panic!("{error}") };
            sleep(Duration::from_millis(wait_ms + 1)).await;
        }
    });
}

#[test]
fn one_way_requests_to_a_peer_that_does_not_read_are_dropped_and_counted() {
    run(|| async {
        let s = setup(Limits { max_queued_frames: 16, max_unsent_bytes: 64 << 10, ..Limits::server() }).await;
        let mut stream = s.raw().await;
        stream.write_all(&frame(&request(ECHO, ""))).await.unwrap();
        s.program.until(&s.program.ended, 1).await;
        let peer = s.server.connections()[0].clone();
        // Until the sockets' buffers are full too: the writer takes nothing more.
        let mut sent = 0;
        let full = loop {
            while peer.oneway(&Echo, vec![0; 32 << 10].into()) {
                sent += 1;
            }
            match peer.call(&Echo, Bytes::new(), Duration::from_millis(50)).await.err().unwrap() {
                CallError::Unknown(Unknown::TimedOut) => sent += 1,
                full => break full,
            }
            assert!(sent < 10_000);
        };
        assert_eq!(full, CallError::NotSent(NotSent::QueueFull));
        assert!(peer.dropped() > 0);
        let mut splitter = Splitter::new(1 << 20);
        for _ in 0..=sent {
            answer(&mut stream, &mut splitter).await.unwrap();
        }
    });
}

#[test]
fn a_server_that_stops_lets_waiting_writes_end() {
    run(|| async {
        let s = setup(Limits::server()).await;
        let codes = Arc::new(Mutex::new(Vec::new()));
        s.ask_later(WRITE, &codes);
        s.ask_later(READ, &codes);
        s.program.until(&s.program.started, 2).await;
        let program = s.program.clone();
        s.tasks.spawn("open the gate", async move {
            program.until(&program.closed, 1).await;
            program.gate.advance(1);
        });
        s.server.stop(SECONDS(60)).await;
        assert_eq!(s.server.connections().len(), 0);
        assert_eq!(s.program.ended.load(SeqCst), 1);
        until(|| codes.lock().len() == 2).await;
        codes.lock().sort_unstable();
        assert_eq!(*codes.lock(), [-1, 0]);
    });
}

#[test]
fn a_client_that_shuts_down_sends_what_it_took() {
    run(|| async {
        let s = setup(Limits::server()).await;
        for _ in 0..100 {
            s.client.oneway(&s.address, &Echo, vec![1; 10_000].into()).await.unwrap();
        }
        s.client.shutdown(SECONDS(60)).await;
        s.program.until(&s.program.ended, 100).await;
    });
}

#[test]
fn deadlines_come_in_order_and_early_ends_leave_nothing() {
    run(|| async {
        let tasks = TaskSet::new();
        let deadlines = Deadlines::new(&tasks);
        let order = Arc::new(Mutex::new(Vec::new()));
        let begun = Instant::now();
        for ms in [60_u64, 20, 40] {
            let (deadlines, order) = (deadlines.clone(), order.clone());
            tasks.spawn("wait", async move {
                deadlines.at(begun + Duration::from_millis(ms)).await;
                assert!(begun.elapsed() >= Duration::from_millis(ms));
                order.lock().push(ms);
            });
        }
        assert_eq!(deadlines.limit(begun + SECONDS(100), std::future::ready(5)).await, Ok(5));
        let never = deadlines.limit(begun + Duration::from_millis(100), std::future::pending::<()>());
        assert_eq!(never.await, Err(TooLate));
        assert!(begun.elapsed() >= Duration::from_millis(100));
        until(|| order.lock().len() == 3).await;
        // Tasks on threads push in the order in which they get to run.
        let mut order = order.lock().clone();
        if cfg!(not(madsim)) {
            order.sort_unstable();
        }
        assert_eq!(order, [20, 40, 60]);
        assert_eq!(deadlines.len(), 0);
    });
}
