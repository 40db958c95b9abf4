//! `reprise admin explain` against real servers: what an operator is told of a message in each of its states.
#![cfg(not(madsim))]
#![allow(clippy::unwrap_used, reason = "a test may")]

use std::{
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use client::{
    Consumed, Message, Outcome, Producer, PushConsumer, SendReceipt, StartFrom, TransactionProducer,
};
use runtime::time::sleep;

const LONG: Duration = Duration::from_secs(120);

/// A development server whose half messages are left alone, but for those that ask for a check.
struct Servers {
    child: Child,
    names: String,
}

impl Servers {
    fn start() -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_reprise"));
        command.args(["dev", "--namesrv-port", "0", "--broker-port", "0"]);
        for set in [
            "messageDelayLevel=1s 1h 1s 1h",
            "transactionTimeOut=3600000",
            "transactionCheckMax=1",
            "transactionCheckInterval=1000",
        ] {
            command.args(["--set", set]);
        }
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.as_mut().unwrap()).lines();
        let lines: Vec<String> = lines.take(4).map(Result::unwrap).collect();
        let names = lines[3].split("name server ").nth(1).unwrap().split(';').next().unwrap().to_owned();
        Self { child, names }
    }

    /// What the program says, and its exit code.
    fn explain(&self, words: &[&str]) -> (String, i32) {
        explain(&["-n", &self.names], words)
    }

    /// Asks until the answer holds all of `texts`: what is told follows the broker, which needs its time.
    async fn until(&self, words: &[&str], texts: &[&str]) -> String {
        let begun = Instant::now();
        loop {
            let (told, code) = self.explain(words);
            if code == 0 && texts.iter().all(|text| told.contains(text)) {
                return told;
            }
            assert!(begun.elapsed() < LONG, "{texts:?} is missing, exit code {code}:\n{told}");
            sleep(Duration::from_millis(100)).await;
        }
    }
}

impl Drop for Servers {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn explain(before: &[&str], words: &[&str]) -> (String, i32) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_reprise"));
    command.args(["admin", "explain"]).args(before).args(words).env_remove("NAMESRV_ADDR");
    let output = command.output().unwrap();
    let told = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    (told, output.status.code().unwrap())
}

async fn transactor(group: &str, names: &str) -> TransactionProducer {
    let builder = TransactionProducer::builder(group).name_servers(names).topic("orders");
    builder.check(|_| async { Outcome::Unknown }).start().await.unwrap()
}

async fn transact(producer: &TransactionProducer, key: &str, outcome: Outcome) -> SendReceipt {
    transact_with(producer, Message::new("orders", "a coffee").key(key), outcome).await
}

async fn transact_with(producer: &TransactionProducer, message: Message, outcome: Outcome) -> SendReceipt {
    producer.send_in_transaction(message, |_| async move { outcome }).await.unwrap().half
}

#[test]
fn an_operator_learns_what_becomes_of_a_transaction() {
    runtime::run(None, || async {
        let servers = Servers::start();
        let producer = transactor("shop", &servers.names).await;
        let orders = |key| ["--topic", "orders", "--key", key];

        let open = transact(&producer, "open", Outcome::Unknown).await;
        let told = servers
            .until(
                &orders("open"),
                &[
                    "its transaction is open",
                    "It was checked 0 of 1 times",
                    "Next: its one connected producer is asked",
                ],
            )
            .await;
        assert!(told.contains("That is check 1 of 1") && told.contains("not before"), "{told}");
        assert!(told.contains("a half message, meant for queue"), "{told}");
        let unique = ["--topic", "orders", "--unique-key", &open.message_id];
        servers.until(&unique, &["its transaction is open", "keys open"]).await;
        servers.until(&["--id", &open.offset_id], &["its transaction is open", &open.offset_id]).await;

        transact(&producer, "done", Outcome::Commit).await;
        let told = servers
            .until(&orders("done"), &["group shop committed its transaction", "consumers of orders see it"])
            .await;
        assert!(told.contains("the committed message") && !told.contains("Not known"), "{told}");

        transact(&producer, "undone", Outcome::Rollback).await;
        servers.until(&orders("undone"), &["rolled its transaction back", "Consumers never see it"]).await;

        let asked = Message::new("orders", "x").key("asked").property("CHECK_IMMUNITY_TIME_IN_SECONDS", "0");
        transact_with(&producer, asked, Outcome::Unknown).await;
        let told = servers.until(&orders("asked"), &["was given up", "after 1 check", "Next: nothing"]).await;
        assert!(told.contains("resumeCheckHalfMessage -t TRANS_CHECK_MAX_TIME_TOPIC -i 7F0000"), "{told}");

        let leaves = transactor("leaves", &servers.names).await;
        transact(&leaves, "left", Outcome::Unknown).await;
        leaves.shutdown().await;
        servers
            .until(
                &orders("left"),
                &["Next: nothing until a producer of group leaves connects", "Meanwhile no check is counted"],
            )
            .await;
        producer.shutdown().await;
    });
}

#[test]
fn an_operator_learns_when_a_message_comes() {
    runtime::run(None, || async {
        let servers = Servers::start();
        let producer = Producer::builder("shop").name_servers(&servers.names).start().await.unwrap();
        let orders = |key| ["-t", "orders", "-k", key];
        let send = async |key: &str, level: u32| {
            let message = Message::new("orders", "a coffee").key(key);
            let message = if level > 0 { message.delay_level(level) } else { message };
            producer.send(message).await.unwrap()
        };

        send("later", 2).await;
        let told = servers
            .until(
                &orders("later"),
                &["Now: it waits for its time, by level 2 (1h)", "Next: it comes to queue"],
            )
            .await;
        assert!(told.contains("(in 1 h)") || told.contains("(in 59 min"), "{told}");

        send("soon", 1).await;
        servers
            .until(
                &orders("soon"),
                &["its delay of 1s (level 1) is over: it was delivered", "consumers of orders see it"],
            )
            .await;

        let waiting = ["-t", "SCHEDULE_TOPIC_XXXX", "-k", "soon"];
        let told = servers.until(&waiting, &["sent to topic orders", "it was delivered"]).await;
        assert!(!told.contains("no message was made of it"), "{told}");

        // A group that handles nothing: the first retry comes after a second, the second after an hour.
        let consumer = |group: &str, most| {
            PushConsumer::builder(group)
                .name_servers(&servers.names)
                .subscribe("orders", "*")
                .start_from(StartFrom::First)
                .max_reconsume_times(most)
                .listen(|_| async { Consumed::Later })
        };
        let kitchen = consumer("kitchen", 16).start().await.unwrap();
        send("hard", 0).await;
        let told = servers
            .until(
                &orders("hard"),
                &["group kitchen could not handle it: it waits for retry 2 of 16, by level 4 (1h)"],
            )
            .await;
        assert!(told.contains("Next: group kitchen gets it again at"), "{told}");
        kitchen.shutdown().await;

        let morgue = consumer("morgue", 0).start().await.unwrap();
        let dead = send("dead", 0).await;
        let told = servers.until(&orders("dead"), &["group morgue gave it up", "it is a dead letter"]).await;
        assert!(told.contains(&format!("first message {} of topic orders", dead.offset_id)), "{told}");
        assert!(told.contains("Who reads topic %DLQ%morgue gets it"), "{told}");
        morgue.shutdown().await;
        producer.shutdown().await;
    });
}

#[test]
fn who_asks_wrongly_is_told_what_to_do() {
    runtime::run(None, || async {
        let servers = Servers::start();
        let producer = Producer::builder("shop").name_servers(&servers.names).start().await.unwrap();
        let mut ids = Vec::new();
        for _ in 0..2 {
            ids.push(producer.send(Message::new("orders", "x").key("twice")).await.unwrap());
        }
        servers.until(&["--id", &ids[0].offset_id], &["keys twice", "consumers of orders see it"]).await;
        let failed = |words: &[&str], text: &str| {
            let (told, code) = servers.explain(words);
            assert!(
                code == 1 && told.contains(text),
                "{words:?} must say {text:?}, said, with code {code}:\n{told}"
            );
            assert!(told.lines().all(|line| line.starts_with("reprise: ")), "{told}");
            told
        };
        let told = failed(&["-t", "orders", "-k", "twice"], "2 messages of topic orders have the key twice");
        assert!(ids.iter().all(|sent| told.contains(&format!("--id {}", sent.offset_id))), "{told}");
        assert!(!told.contains("older ones"), "{told}");
        let many: Vec<_> = (0..70).map(|_| Message::new("orders", "x").key("often")).collect();
        producer.send_batch(many).await.unwrap();
        let often = ["-t", "orders", "-k", "often"];
        while servers.explain(&often).0.matches("--id ").count() < 64 {
            sleep(Duration::from_millis(100)).await;
        }
        failed(&often, "There may be older ones");
        failed(&["-t", "orders", "-k", "none"], "no message that was sent to topic orders has the key none");
        failed(&["-t", "ordres", "-k", "twice"], "the name server knows no topic ordres");
        failed(&["--id", "12"], "\"12\" is no offset message id");
        failed(&["--id", &ids[0].message_id], "ask with --topic TOPIC --unique-key");
        let nowhere = format!("{}FFFF", &ids[0].offset_id[..28]);
        failed(&["--id", &nowhere], "no message begins at position 65535");

        let id = ["--id", &*ids[0].offset_id];
        let (told, code) = explain(&["-n", "127.0.0.1:1"], &id);
        assert!(code == 1 && told.contains("name server 127.0.0.1:1 cannot be reached"), "{told}");
        let (told, code) = explain(&["-n", "nowhere"], &id);
        assert!(code == 1 && told.contains("nowhere is no address: write host:port"), "{told}");
        let (told, code) = explain(&[], &id);
        assert!(code == 1 && told.contains("write -n HOST:PORT"), "{told}");
        producer.shutdown().await;
    });
}
