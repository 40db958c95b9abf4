//! Clients that lock queues as orderly consumers do: they take some, renew them, give them back, and also try to give back
//! what is another's. Now and then one is silent until its locks are old.

use std::time::Duration;

use bytes::Bytes;
use protocol::body::{LockBatchBody, LockBatchReplyBody, MessageQueue};
use protocol::json;
use protocol::rpc::{LockBatchMq, UnlockBatchMq};
use runtime::time::sleep;

use super::asks::{Server, TIMEOUT, connect};
use super::load::Shared;
use crate::draw::Draw;
use crate::history::Kind;

/// One client of a broker.
pub(super) async fn client(shared: Shared, server: Server, mut number: u32) {
    let (_tasks, client) = connect();
    let mut draw = Draw::new(shared.plan.seed, &format!("locks {number} of {}", server.address));
    let every_ms = shared.plan.lock_ms;
    let push = |kind| shared.recorder.push(server.id, kind);
    loop {
        let silent = draw.chance(10);
        let (least, most) =
            if silent { (LIFE_MS / 2, LIFE_MS * 5 / 4) } else { (every_ms / 2, every_ms * 3 / 2) };
        sleep(Duration::from_millis(draw.range(least, most))).await;
        let (unlocks, some) = (draw.chance(25), draw.range(1, (1 << QUEUES) - 1));
        let queues: Vec<u32> = (0..QUEUES).filter(|queue| some & (1 << queue) != 0).collect();
        let topic = shared.plan.topics[0].name.as_str();
        let named = |queue: &u32| MessageQueue::new(topic, "", *queue as i32);
        let body = Bytes::from(json::to_vec(&LockBatchBody {
            client_id: format!("locks{number}").into(),
            consumer_group: "orderly".into(),
            mq_set: queues.iter().map(named).collect(),
            only_this_broker: false,
        }));
        if unlocks {
            let told = |done| {
                let kinds = queues.iter().map(|queue| Kind::Unlocks { queue: *queue, client: number, done });
                kinds.for_each(push);
            };
            told(false);
            if client.call(&server.address, &UnlockBatchMq {}, body, TIMEOUT).await.is_ok() {
                told(true);
            } else {
                // It may come late: what it would unlock then must be another's.
                number += CLIENTS;
            }
            continue;
        }
        let asked_ns = shared.recorder.elapsed_ns();
        // One that is not answered may be carried out at any time: it says nothing.
        let Ok((_, body)) = client.call(&server.address, &LockBatchMq {}, body, TIMEOUT).await else {
            continue;
        };
        let Ok(LockBatchReplyBody { lock_ok_mq_set: own }) = json::from_slice(&body) else { continue };
        for queue in queues {
            let held = own.iter().any(|own| own.queue_id == queue as i32);
            push(Kind::Locks { queue, client: number, asked_ns, held });
        }
    }
}

/// Of one broker.
pub(super) const CLIENTS: u32 = 2;
const QUEUES: u32 = 3;
/// How long a lock holds that is not renewed.
const LIFE_MS: u64 = 60_000;
