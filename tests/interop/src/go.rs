//! The unmodified Go client, version 2, against the release binaries: transactions, delays and retries, and all that it
//! can ask.

use std::{
    path::{Path, PathBuf},
    process::Command,
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use process::{Asker, LONG, Program};
use protocol::{
    body::GetConsumerListByGroupBody,
    json,
    rpc::{
        ConsumeMessageDirectly, GetConsumerListByGroup, GetConsumerRunningInfo, QueryConsumerOffset,
        QueryConsumerOffsetReply,
    },
};

use crate::{
    later,
    queries::{self, Sent},
    transactions,
};

/// The driver, built by the Go toolchain.
#[derive(Clone, Debug)]
pub(crate) struct Go {
    driver: PathBuf,
}

impl Go {
    /// Builds the driver with the modules of its go.sum, which Go downloads unless it has them.
    pub(crate) fn prepare() -> Result<Self> {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("go");
        let driver = golden::workspace().join("target/go/driver");
        let mut build = Command::new("go");
        build.args(["build", "-mod=readonly", "-buildvcs=false", "-o"]).arg(&driver).arg(".");
        let built = build
            .current_dir(source)
            .output()
            .context("go cannot be started: install Go (1.19 or newer), or run `cargo suite tools`")?;
        if !built.status.success() {
            bail!("the Go driver cannot be built:\n{}", String::from_utf8_lossy(&built.stderr));
        }
        Ok(Self { driver })
    }

    fn command(&self) -> Command {
        Command::new(&self.driver)
    }

    /// All runs; answers how many there were.
    pub(crate) async fn run(self, name_server: String, broker: String) -> Result<usize> {
        let later = {
            let (command, server) = (self.command(), name_server.clone());
            process::create_topic(&broker, "later-go", 4)?; // this client starts on no topic that is not there
            tokio::task::spawn_blocking(move || later::run(command, &server, "later-go", "G-later-go"))
        };
        self.queries(&name_server, &broker).await?;
        let topic = "tx-go";
        process::create_topic(&broker, topic, 4)?;
        transactions::to_rust("Go", self.command(), &name_server, topic, "tgo").await?;
        later.await??;
        Ok(3)
    }

    async fn queries(&self, name_server: &str, broker: &str) -> Result<()> {
        let (topic, group) = ("found-go", "G-found-go");
        let mut command = self.command();
        command.args(["queries", name_server, broker, topic, group, &queries::MESSAGES.to_string()]);
        let mut program = Program::start("go queries", &mut command)?;
        program.wait_for("ready", LONG)?;
        let sent = queries::sent(&program)?;
        ensure!(sent.len() == queries::MESSAGES, "{topic}: {} were sent", sent.len());
        queries::by_rust(name_server, topic, &sent).await?;
        let last = sent.last().context("messages were sent")?;
        let stored = QueryConsumerOffset {
            consumer_group: group.into(),
            topic: topic.into(),
            queue_id: last.queue.parse()?,
            set_zero_if_not_found: None,
        };
        let answer = Asker::connect(broker)?.ask(&stored, "")?;
        let stored: QueryConsumerOffsetReply = answer.header()?;
        ensure!(stored.offset == 3, "{topic}: {stored:?} is stored, not 3");
        asked(&mut program, broker, topic, &format!("{group}-asked"), last)?;
        program.finish(LONG)?;

        let lines = program.lines();
        let find = |head: &str| lines.iter().find(|line| line.split('\t').next() == Some(head));
        for expected in
            ["queues\t4", "offset\t3", "listed\ttrue", "group\tG-found-go\t16", "deleted\ttrue", "closed"]
        {
            let head = expected.split('\t').next().unwrap_or_default();
            ensure!(
                find(head).is_some_and(|line| line == expected),
                "{topic}: no {expected:?} in {lines:#?}"
            );
        }
        let beyond = find("beyond").context("a pull beyond the end was answered")?;
        let ends = sent.iter().filter(|sent| sent.queue == last.queue).count();
        ensure!(*beyond == format!("beyond\ttrue\t0\t{ends}\t{ends}"), "{topic}: {beyond}");
        let pulled: Vec<&String> = lines.iter().filter(|line| line.starts_with("pulled\t")).collect();
        ensure!(pulled.len() == sent.len(), "{topic}: {} of {} were pulled", pulled.len(), sent.len());
        for (n, (sent, pulled)) in sent.iter().zip(pulled).enumerate() {
            let expected = format!(
                "pulled\t{n}\t{}\t{}\t{}\t{}\tTag{}\tkey-{n} all\tbody {n}",
                sent.unique,
                sent.offset_id,
                sent.queue,
                sent.offset,
                n % 3
            );
            ensure!(*pulled == expected, "{topic}: {pulled:?}, not {expected:?}");
        }
        println!("ok {topic:<14} {} sent, found by the Go and the Rust client", sent.len());
        Ok(())
    }
}

/// What operators ask of a consumer goes through the broker: its state, and to consume a message now.
fn asked(program: &mut Program, broker: &str, topic: &str, group: &str, last: &Sent) -> Result<()> {
    let got = format!("got\t{}", last.unique);
    program.wait_for(&got, LONG)?;
    let mut asker = Asker::connect(broker)?;
    let list = asker.ask(&GetConsumerListByGroup { consumer_group: group.into() }, "")?;
    let list: GetConsumerListByGroupBody = json::from_slice(&list.body)?;
    let client = list.consumer_id_list.first().with_context(|| format!("{group} has no member"))?;
    let state = GetConsumerRunningInfo {
        consumer_group: group.into(),
        client_id: client.clone(),
        jstack_enable: Some(false),
    };
    let state = asker.ask(&state, "")?;
    let text = String::from_utf8_lossy(&state.body);
    ensure!(state.code == 0 && text.contains(topic), "{topic}: its state is {} {text}", state.code);
    let directly = ConsumeMessageDirectly {
        consumer_group: group.into(),
        client_id: Some(client.clone()),
        msg_id: Some(last.offset_id.as_str().into()),
        topic: Some(topic.into()),
        ..ConsumeMessageDirectly::default()
    };
    let done = asker.ask(&directly, "")?;
    let text = String::from_utf8_lossy(&done.body);
    ensure!(done.code == 0, "{topic}: consumed directly: {} {:?} {text}", done.code, done.remark);
    // The answer may overtake what the client prints.
    let again = || program.lines().iter().filter(|line| **line == got).count();
    let begun = Instant::now();
    while again() < 2 && begun.elapsed() < LONG {
        sleep(Duration::from_millis(20));
    }
    let times = again();
    ensure!(times == 2, "{topic}: {} was consumed {times} times: {text}", last.unique);
    Ok(())
}
