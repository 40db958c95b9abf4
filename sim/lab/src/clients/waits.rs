//! Clients that wait at the ends of queues for what comes next, each as long as it likes.

use std::time::Duration;

use client::{CallError, Fault, PullConsumer, PullStatus};
use runtime::time::sleep;

use super::asks::{Server, named};
use super::load::Shared;
use crate::draw::Draw;
use crate::history::Kind;

/// One of them; it is at one queue at a time.
pub(super) async fn client(shared: Shared, brokers: Vec<Server>, number: u32) {
    let mut draw = Draw::new(shared.plan.seed, &format!("waits {number}"));
    let hold_ms = draw.spread(500, 12_000) as u32;
    let builder = PullConsumer::builder("waiting").name_servers(&shared.name_servers).without_joining();
    let Ok(client) = builder.hold(Duration::from_millis(u64::from(hold_ms))).start().await else { return };
    loop {
        sleep(Duration::from_millis(draw.range(500, 5_000))).await;
        let queues = shared.recorder.live().queues();
        if queues.is_empty() {
            continue;
        }
        let queue = *draw.pick(&queues);
        let (name, broker) = named(&shared, queue);
        if brokers.iter().all(|known| known.id != broker) {
            continue;
        }
        let Ok(max) = client.max_offset(&name).await else { continue };
        let asked_ns = shared.recorder.elapsed_ns();
        let found = match client.pull_wait(&name, "*", max, 1).await {
            Ok(pulled) => pulled.status != PullStatus::NothingNew,
            Err(CallError::Fault(Fault::NoAnswer { .. })) => false,
            Err(_) => continue,
        };
        shared.recorder.push(broker, Kind::Waited { queue, asked_ns, hold_ms, found });
    }
}

/// So many of them.
pub(super) const CLIENTS: u32 = 2;
