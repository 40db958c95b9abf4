//! Measures what one send and one pull of 32 messages cost inside the broker, without sockets:
//! `cargo run --release -p broker --example send_cost`.
#![allow(clippy::print_stdout, reason = "its output is its purpose")]

use broker::{Broker, Config};
use bytes::{Bytes, BytesMut};
use net::{Peer, Service};
use protocol::{
    Command, Request, Text,
    rpc::{PullMessage, SendMessageV2},
};
use runtime::{disk::Disk, task::TaskSet, time::Instant};

const SENDS: u32 = 500_000;
const PULLS: i64 = 10_000;

fn main() {
    let root = tempfile::tempdir().expect("a directory for temporary files");
    let path = root.path().join("store").to_string_lossy().into_owned();
    runtime::run(Some(1), move || async move {
        let tasks = TaskSet::new();
        let config = Config { broker_ip1: "127.0.0.1".into(), listen_port: 0, ..Config::default() };
        let disk = Disk::open(&path).expect("the directory can be used");
        let broker = Broker::start(config, disk, &tasks).await.expect("the broker starts");
        let here = "127.0.0.1:1".parse().expect("an address");
        let peer = Peer::detached(1, here, here);

        let send = SendMessageV2 {
            producer_group: "p".into(),
            topic: "orders".into(),
            default_topic: "TBW102".into(),
            default_topic_queue_nums: 4,
            properties: Some(Text::from_static(
                "UNIQ_KEY\u{1}7F00000100002A9F0000000000001000\u{2}WAIT\u{1}true\u{2}",
            )),
            ..SendMessageV2::default()
        };
        let send = received(&send, Bytes::from(vec![b'x'; 128]));
        let began = Instant::now();
        for n in 0..SENDS {
            // As a connection does after its turn.
            if n % 256 == 0 {
                runtime::task::yield_now().await;
            }
            let reply = broker.handle(&peer, send.clone()).await;
            assert_eq!(reply.code, 0, "{:?}", reply.remark);
        }
        println!("send  {:>6} ns", began.elapsed().as_nanos() / u128::from(SENDS));

        let mut pull = PullMessage {
            consumer_group: "g".into(),
            topic: "orders".into(),
            max_msg_nums: 32,
            sys_flag: 4,
            subscription: Some("*".into()),
            ..PullMessage::default()
        };
        // The last message is in its queue when a pull finds it.
        let last = PullMessage {
            queue_offset: i64::from(SENDS) - 1,
            sys_flag: 6,
            suspend_timeout_millis: 10_000,
            ..pull.clone()
        };
        broker.handle(&peer, received(&last, Bytes::new())).await;
        let began = Instant::now();
        for n in 0..PULLS {
            pull.queue_offset = n * 32;
            let reply = broker.handle(&peer, received(&pull, Bytes::new())).await;
            assert_eq!(reply.code, 0, "{:?}", reply.remark);
        }
        println!("pull  {:>6} ns of 32 messages", began.elapsed().as_nanos() / PULLS.unsigned_abs() as u128);
        broker.stop().await;
    });
}

/// The request as a connection hands it over.
fn received<R: Request>(request: &R, body: Bytes) -> Command {
    let mut frame = BytesMut::new();
    let mut command = Command::request(request, body);
    command.encoding = protocol::Encoding::Binary;
    command.encode(&mut frame).expect("a short frame");
    Command::decode(frame.split_off(4)).expect("our own frame")
}
