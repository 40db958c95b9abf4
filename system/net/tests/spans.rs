//! What a debug log can tell of connections and requests: a test program of its own, as it listens to all spans.
#![cfg(not(madsim))]
#![allow(clippy::unwrap_used, reason = "a test may")]

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::SeqCst},
};

use net::{Client, Limits, Options, Peer, Reply, Server, Service};
use protocol::{Command, Text};
use runtime::{sync::Mutex, task::TaskSet, time::Duration};
use tracing::{
    Event, Metadata, Subscriber,
    span::{Attributes, Id, Record},
};

/// Notes the names of spans, and in how many spans the handler ran.
#[derive(Clone, Default)]
struct Listener {
    spans: Arc<Mutex<Vec<&'static str>>>,
    next: Arc<AtomicU64>,
    handled_in: Arc<Mutex<Vec<&'static str>>>,
    entered: Arc<Mutex<Vec<(std::thread::ThreadId, u64)>>>,
}

impl Subscriber for Listener {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("net") || metadata.target() == "spans"
    }
    fn new_span(&self, span: &Attributes<'_>) -> Id {
        self.spans.lock().push(span.metadata().name());
        Id::from_u64(self.next.fetch_add(1, SeqCst) + 1)
    }
    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn event(&self, event: &Event<'_>) {
        if event.metadata().target() == "spans" {
            let here = std::thread::current().id();
            let spans = self.spans.lock().clone();
            let within = self.entered.lock().clone();
            let names = within.iter().filter(|(thread, _)| *thread == here);
            *self.handled_in.lock() = names.map(|(_, id)| spans[*id as usize - 1]).collect();
        }
    }
    fn enter(&self, id: &Id) {
        self.entered.lock().push((std::thread::current().id(), id.into_u64()));
    }
    fn exit(&self, id: &Id) {
        let here = (std::thread::current().id(), id.into_u64());
        let mut entered = self.entered.lock();
        let at = entered.iter().rposition(|it| *it == here).unwrap();
        entered.remove(at);
    }
}

struct Program;

impl Service for Program {
    async fn handle(&self, _: &Arc<Peer>, _: Command) -> Reply {
        tracing::debug!(target: "spans", "handled");
        Reply::ok()
    }
}

#[test]
fn a_line_of_a_handler_stands_in_its_connection_and_its_request() {
    let listener = Listener::default();
    tracing::subscriber::set_global_default(listener.clone()).unwrap();
    runtime::run(Some(2), move || async move {
        let tasks = TaskSet::new();
        let server = Server::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let server = server.start(Arc::new(Program), &tasks, Limits::server());
        let client = Client::new(&tasks, Arc::new(Program), Options::default());
        let address = Text::from(server.local_addr().to_string());
        let request = Command { code: 7, ..Command::default() };
        client.call_raw(&address, request, Duration::from_secs(60)).await.unwrap();
        assert_eq!(*listener.handled_in.lock(), ["connection", "rpc"]);
        let spans = listener.spans.lock().clone();
        let count = |name| spans.iter().filter(|span| **span == name).count();
        assert_eq!((count("connection"), count("rpc")), (2, 1), "one at each end, one request");
        tasks.close().await;
    });
}
