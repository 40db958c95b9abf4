//! Handlers that wait on one connection, woken from many threads, often for nothing: none may sleep on.
#![cfg(not(madsim))]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    future::poll_fn,
    pin::{Pin, pin},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
    },
    task::Waker,
    thread,
    time::{Duration, Instant},
};

use net::{Client, Limits, Options, Peer, Reply, Server, Service};
use protocol::{Command, Text};
use runtime::{sync::oneshot, task::TaskSet};

const TIME: Duration = Duration::from_secs(3);
const CALLERS: usize = 32;

/// A request waits for an answer that another thread gives; a second thread wakes it again and again for no reason.
#[derive(Default)]
struct Program {
    asked: Mutex<Vec<oneshot::Sender<()>>>,
    woken: Mutex<Vec<Waker>>,
}

impl Service for Program {
    async fn handle(&self, _: &Arc<Peer>, _: Command) -> Reply {
        for _ in 0..2 {
            let (answer, answered) = oneshot::channel();
            self.asked.lock().unwrap().push(answer);
            let mut answered = pin!(answered);
            poll_fn(|cx| {
                self.woken.lock().unwrap().push(cx.waker().clone());
                // It only loads when its waker is known: whoever loses this wake-up waits for ever.
                Pin::new(&mut answered).poll(cx).map(|answered| answered.unwrap())
            })
            .await;
        }
        Reply::ok()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_wake_up_of_a_waiting_handler_is_lost() {
    let tasks = TaskSet::new();
    let program = Arc::new(Program::default());
    let server = Server::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let server = server.start(program.clone(), &tasks, Limits::server());
    let client = Client::new(&tasks, Arc::new(Program::default()), Options::default());
    let address = Text::from(server.local_addr().to_string());

    let over = Arc::new(AtomicBool::new(false));
    let threads = [true, false].map(|answers| {
        let (program, over) = (program.clone(), over.clone());
        thread::spawn(move || {
            while !over.load(SeqCst) {
                if answers {
                    let asked = std::mem::take(&mut *program.asked.lock().unwrap());
                    asked.into_iter().for_each(|answer| answer.send(()).unwrap_or_default());
                } else {
                    let woken = std::mem::take(&mut *program.woken.lock().unwrap());
                    woken.iter().for_each(Waker::wake_by_ref);
                }
                thread::yield_now();
            }
        })
    });
    let end = Instant::now() + TIME;
    let answers = Arc::new(AtomicU64::new(0));
    let mut callers = tokio::task::JoinSet::new();
    for _ in 0..CALLERS {
        let (client, address, answers) = (client.clone(), address.clone(), answers.clone());
        callers.spawn(async move {
            while Instant::now() < end {
                let request = Command { code: 1, ..Command::default() };
                client.call_raw(&address, request, Duration::from_secs(60)).await.expect("it is woken");
                answers.fetch_add(1, SeqCst);
            }
        });
    }
    while let Some(done) = callers.join_next().await {
        done.unwrap();
    }
    over.store(true, SeqCst);
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    assert!(answers.load(SeqCst) > 100, "{answers:?} answers");
    tasks.close().await;
}
