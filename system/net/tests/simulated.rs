//! Connections over networks that misbehave: `cargo sim-test -p net`.
#![cfg(madsim)]
#![allow(clippy::unwrap_used, reason = "a test may")]

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
};

use bytes::Bytes;
use net::{CallError, Client, Limits, NotSent, Options, Peer, Reply, Server, Service, Unknown};
use protocol::{Command, ExtFields, Header, HeaderError, Request, Text};
use runtime::{
    signal,
    sync::Watermark,
    task::TaskSet,
    time::{Duration, Instant, sleep},
};
use world::{Crash, Node, Setup, World};

struct Echo;

impl Header for Echo {
    fn read(_: &ExtFields) -> Result<Self, HeaderError> {
        Ok(Self)
    }
    fn write(&self, _: &mut ExtFields) {}
}

impl Request for Echo {
    const CODE: i32 = 1;
    const NAME: &'static str = "Echo";
    type Reply = Self;
}

/// Calls the peer back with its own body and answers with the peer's answer.
const RELAY: i32 = 2;
/// Never ends.
const NEVER: i32 = 3;

#[derive(Default)]
struct Program {
    handled: AtomicUsize,
}

impl Service for Program {
    async fn handle(&self, peer: &Arc<Peer>, command: Command) -> Reply {
        self.handled.fetch_add(1, SeqCst);
        match command.code {
            RELAY => match peer.call(&Echo, command.body, Duration::from_secs(600)).await {
                Ok((_, body)) => Reply::ok().body(body),
                Err(error) => Reply::refuse(1, error.to_string()),
            },
            NEVER => {
                Watermark::new(0).reach(1).await.unwrap();
                Reply::ok()
            }
            _ => Reply::ok().body(command.body),
        }
    }
}

#[derive(Clone)]
struct Cluster {
    world: World,
    server: Node,
    client: Node,
    address: Text,
    program: Arc<Program>,
}

/// Runs `main` beside a server on a node of its own; returns the hash of all events.
fn run<F: Future<Output = ()> + Send + 'static>(
    seed: u64,
    main: impl FnOnce(Cluster) -> F + Send + 'static,
) -> [u8; 16] {
    let outcome = world::run(Setup::seed(seed), |world| async move {
        let server = world.node("server", [10, 0, 0, 1].into());
        let client = world.node("client", [10, 0, 0, 2].into());
        let program = Arc::new(Program::default());
        let address = SocketAddr::from(([10, 0, 0, 1], 9876));
        let cluster =
            Cluster { world, server, client, address: address.to_string().into(), program: program.clone() };
        server.start(move || {
            let program = program.clone();
            async move {
                let tasks = TaskSet::new();
                let server = Server::bind(address).await.unwrap();
                let running = server.start(program, &tasks, Limits::server());
                signal::shutdown().await;
                running.stop(Duration::from_secs(5)).await;
            }
        });
        client.spawn(async { sleep(Duration::from_millis(10)).await }).await;
        main(cluster).await;
    });
    outcome.result.unwrap_or_else(|failure| panic!("seed {seed}: {failure}"));
    outcome.trace
}

fn request(code: i32, body: impl Into<Bytes>) -> Command {
    Command { code, body: body.into(), ..Command::default() }
}

impl Cluster {
    /// Runs code on the client's node.
    async fn at_client<T: Send + 'static, F: Future<Output = T> + Send + 'static>(
        &self,
        code: impl FnOnce(Client, Text) -> F + Send + 'static,
    ) -> T {
        let address = self.address.clone();
        let ended = self.client.spawn(async move {
            let tasks = TaskSet::new();
            let client = Client::new(&tasks, Arc::new(Program::default()), Options::default());
            code(client, address).await
        });
        ended.await.expect("the client's node lives")
    }
}

async fn relay_all(client: Client, address: Text, count: u8, size: usize) {
    let tasks = TaskSet::new();
    let done = Arc::new(AtomicUsize::new(0));
    for n in 0..count {
        let (client, address, done) = (client.clone(), address.clone(), done.clone());
        tasks.spawn("relay", async move {
            let body = vec![n; size];
            let answer = client
                .call_raw(&address, request(RELAY, body.clone()), Duration::from_secs(600))
                .await
                .unwrap();
            assert_eq!((answer.code, answer.remark.as_deref()), (0, None));
            assert!(answer.body == body, "another call's answer");
            done.fetch_add(1, SeqCst);
        });
    }
    while done.load(SeqCst) < usize::from(count) {
        sleep(Duration::from_millis(1)).await;
    }
}

#[test]
fn large_calls_both_ways_over_a_window_of_four_kibibytes_all_end() {
    for seed in 0..10 {
        run(seed, move |c| async move {
            c.world.buggify("net.", 0.5, 0.3);
            c.world.net().all_links(|link| {
                link.window = 4 << 10;
                link.short_reads = seed % 2 == 0;
            });
            c.at_client(|client, address| relay_all(client, address, 64, 50_000)).await;
        });
    }
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let mixed = |c: Cluster| async move {
        c.world.buggify("net.", 0.5, 0.3);
        c.world.net().all_links(|link| {
            link.short_reads = true;
            link.loss = 0.01;
        });
        c.at_client(|client, address| relay_all(client, address, 32, 3_000)).await;
    };
    assert_eq!(run(7, mixed), run(7, mixed));
    assert_ne!(run(7, mixed), run(8, mixed));
}

#[test]
fn a_one_way_request_delivered_right_before_the_end_is_handled() {
    run(1, |c| async move {
        c.world.net().close_after_next_delivery(c.client, c.server);
        c.at_client(|client, address| async move {
            client.oneway(&address, &Echo, "bye".into()).await.unwrap();
            sleep(Duration::from_millis(100)).await;
        })
        .await;
        assert_eq!(c.program.handled.load(SeqCst), 1);
    });
}

#[test]
fn after_a_cut_link_calls_work_again_on_a_new_connection() {
    run(2, |c| async move {
        let world = c.world;
        let (a, b) = (c.client, c.server);
        let cut = move |on: bool| {
            for (from, to) in [(a, b), (b, a)] {
                if on { world.net().block(from, to) } else { world.net().unblock(from, to) }
            }
        };
        let during = c.at_client(|client, address| async move {
            client.call(&address, &Echo, Bytes::new(), Duration::from_secs(3)).await.unwrap();
            sleep(Duration::from_secs(5)).await;
            let error = client.call(&address, &Echo, Bytes::new(), Duration::from_secs(3)).await.err();
            assert_eq!(error, Some(CallError::Unknown(Unknown::TimedOut)));
            let begun = Instant::now();
            let error =
                client.call(&address, &Echo, Bytes::new(), Duration::from_secs(10)).await.err().unwrap();
            assert!(matches!(error, CallError::NotSent(NotSent::Connect { .. })), "{error}");
            assert_eq!(begun.elapsed().as_secs(), 3, "an attempt to connect is bounded");
            sleep(Duration::from_secs(60)).await;
            let begun = Instant::now();
            client.call(&address, &Echo, Bytes::new(), Duration::from_secs(3)).await.unwrap();
            assert!(
                begun.elapsed() < Duration::from_millis(100),
                "not on the old connection, whose packets come late"
            );
        });
        let turn = async {
            sleep(Duration::from_secs(2)).await;
            cut(true);
            sleep(Duration::from_secs(30)).await;
            cut(false);
        };
        futures::future::join(during, turn).await;
    });
}

#[test]
fn a_crashed_server_breaks_its_calls_and_a_dead_machine_lets_them_time_out() {
    for (kind, expected) in [(Crash::Process, Unknown::Broken), (Crash::Power, Unknown::TimedOut)] {
        run(3, move |c| async move {
            let server = c.server;
            let asking = c.at_client(move |client, address| async move {
                let answer = client.call_raw(&address, request(NEVER, ""), Duration::from_secs(8)).await;
                assert_eq!(answer, Err(CallError::Unknown(expected)));
                sleep(Duration::from_secs(20)).await;
                client.call(&address, &Echo, Bytes::new(), Duration::from_secs(3)).await.unwrap();
            });
            let killing = async {
                sleep(Duration::from_secs(1)).await;
                server.crash(kind);
                sleep(Duration::from_secs(10)).await;
                server.restart();
            };
            futures::future::join(asking, killing).await;
        });
    }
}

#[test]
fn entries_of_calls_that_timed_out_are_seen_when_they_stay() {
    for planted in [false, true] {
        run(4, move |c| async move {
            if planted {
                c.world.plant("M62");
            }
            let left = c.at_client(|client, address| async move {
                let peer = client.peer(&address).await.unwrap();
                let call = peer.call_raw(request(NEVER, ""), Duration::from_millis(100));
                let signs_of_life = async {
                    sleep(Duration::from_millis(50)).await;
                    peer.call(&Echo, Bytes::new(), Duration::from_secs(1)).await.unwrap();
                };
                assert!(futures::future::join(call, signs_of_life).await.0.is_err());
                peer.open_calls()
            });
            assert_eq!(left.await, usize::from(planted));
        });
    }
}
