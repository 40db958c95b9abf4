//! Compares the broker with the fastest possible one and with a genuine one, side by side in one run.
#![allow(clippy::print_stdout, reason = "a program that talks to a terminal")]

mod broker;
mod load;

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context, Result};
use broker::Kind;
use clap::{Parser, Subcommand};
use load::Load;
use memmap2::{Advice, MmapMut};
use process::{Cluster, Program, free_port};

#[derive(Parser)]
#[command(about = "The fastest possible broker, and a load generator that compares ours with it")]
struct Options {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Be the limit broker.
    Serve {
        /// Port on 127.0.0.1.
        #[arg(long)]
        port: u16,
        /// Folder of the log.
        #[arg(long)]
        dir: PathBuf,
        #[command(flatten)]
        kind: Kind,
    },
    /// Send to any broker and print the rate.
    Load {
        /// Address of the broker.
        address: String,
        /// Topic; created by the first send.
        #[arg(long, default_value = "limit")]
        topic: String,
        /// Bytes of a body.
        #[arg(long, default_value_t = 128)]
        body: usize,
        /// Sends in flight on each connection.
        #[arg(long, default_value_t = 64)]
        window: u64,
        /// Connections.
        #[arg(long, default_value_t = 1)]
        connections: usize,
        /// JSON headers; the limit broker understands binary ones only.
        #[arg(long)]
        json: bool,
        /// Seconds.
        #[arg(long, default_value_t = 5.0)]
        seconds: f64,
    },
    /// Ours, the limit, and a genuine 4.9.7 broker in turn; medians, ranges and ratios.
    Compare(Compare),
}

#[derive(clap::Args)]
struct Compare {
    /// Rounds.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Seconds of load for each broker in a round.
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
    /// Bytes of a body.
    #[arg(long, default_value_t = 128)]
    body: usize,
    /// Sends in flight on each connection.
    #[arg(long, default_value_t = 64)]
    window: u64,
    /// Connections.
    #[arg(long, default_value_t = 1)]
    connections: usize,
    /// Without the genuine broker.
    #[arg(long)]
    no_genuine: bool,
}

fn main() -> Result<()> {
    match Options::parse().what {
        What::Serve { port, dir, kind } => broker::serve(port, &dir, kind),
        What::Load { address, topic, body, window, connections, json, seconds } => {
            let load = Load { topic, body, window, connections, json };
            let round = load.send(&address, Duration::from_secs_f64(seconds))?;
            println!("{:.0} messages/s", round.messages as f64 / round.took.as_secs_f64());
            Ok(())
        }
        What::Compare(options) => compare(&options),
    }
}

struct Contender {
    name: &'static str,
    address: String,
    pid: u32,
    load: Load,
    warm_up: Duration,
    /// Messages per second and CPU microseconds per message of each round.
    rounds: Vec<(f64, f64)>,
}

fn compare(options: &Compare) -> Result<()> {
    let dir = tempfile::tempdir()?;
    let load = Load {
        topic: "limit".into(),
        body: options.body,
        window: options.window,
        connections: options.connections,
        json: false,
    };
    let json = Load { json: true, ..load.clone() };
    let limit = Limit::start(&dir.path().join("limit"), Kind::default())?;
    let whole = Limit::start(&dir.path().join("whole"), Kind { whole: true, ..Kind::default() })?;
    let growing = Limit::start(&dir.path().join("growing"), Kind { grows: true, ..Kind::default() })?;
    let ours = Cluster::start(&[("flushDiskType", "ASYNC_FLUSH")])?;
    let warm = start_warm(&load)?;
    let java = if options.no_genuine { None } else { Some(Genuine::start(dir.path())?) };
    let contender = |name, address: &str, pid, load: &Load, warm_up| {
        let warm_up = Duration::from_secs(warm_up);
        Contender { name, address: address.into(), pid, load: load.clone(), warm_up, rounds: vec![] }
    };
    let mut all = vec![
        contender("limit", &limit.address, limit.program.pid(), &load, 2),
        contender("whole", &whole.address, whole.program.pid(), &load, 2),
        contender("growing", &growing.address, growing.program.pid(), &load, 2),
        contender(OURS, &ours.broker_address(), ours.broker.pid(), &load, 2),
        contender(WARM, &warm.broker_address(), warm.broker.pid(), &load, 1),
        contender("reprise, JSON", &ours.broker_address(), ours.broker.pid(), &json, 1),
    ];
    if let Some(java) = &java {
        // Enough sends for its compiler.
        all.push(contender("4.9.7", &java.address, java.broker.pid(), &load, 15));
    }
    for one in &all {
        one.load.send(&one.address, one.warm_up).with_context(|| format!("warming up {}", one.name))?;
    }
    let time = Duration::from_secs_f64(options.seconds);
    let mut pages = Vec::new();
    for _ in 0..options.rounds {
        pages.push(new_page()?);
        for one in &mut all {
            let before = process::cpu(one.pid)?;
            let round = one.load.send(&one.address, time).with_context(|| one.name)?;
            let cpu = process::cpu(one.pid)? - before;
            let messages = round.messages as f64;
            one.rounds.push((messages / round.took.as_secs_f64(), cpu.as_secs_f64() * 1e6 / messages));
        }
    }
    println!(
        "{} connection(s), {} in flight on each, {} B, async flush, {} rounds of {time:?}, interleaved",
        options.connections, options.window, options.body, options.rounds
    );
    print(&all);
    let page = spread(pages.into_iter());
    println!(
        "a new page of memory costs {:.2} us [{:.2}..{:.2}]: who writes where nothing was written before pays for one \
         each {PAGE} bytes",
        page.1, page.0, page.2
    );
    let files = fs::read_dir(warm.folder().join("store/commitlog"))?.count();
    if files > WARM_FILES {
        println!("{WARM} outgrew its first file: some of its memory was brought in during the rounds");
    }
    Ok(())
}

/// CPU microseconds for a page of memory, which a host that takes back what is free makes dear.
fn new_page() -> Result<f64> {
    let before = process::cpu(std::process::id())?;
    MmapMut::map_anon(PAGES * PAGE)?.advise(Advice::PopulateWrite)?;
    Ok((process::cpu(std::process::id())? - before).as_secs_f64() * 1e6 / PAGES as f64)
}

const PAGE: usize = 4096;
/// As many as a broker takes in a second of load.
const PAGES: usize = 64 << 10;

const OURS: &str = "reprise";
const WARM: &str = "reprise, warm";
/// The file in use and the next one.
const WARM_FILES: usize = 2;
const WARM_FILE_BYTES: &str = "3221225472";

/// Our broker with its log in memory before it is written, as the limit's is: a file that takes all rounds, and
/// `warmMapedFileEnable`. Returns when the file, and the one that is always ready behind it, are in memory.
fn start_warm(load: &Load) -> Result<Cluster> {
    let config = [
        ("flushDiskType", "ASYNC_FLUSH"),
        ("mappedFileSizeCommitLog", WARM_FILE_BYTES),
        ("warmMapedFileEnable", "true"),
    ];
    let mut cluster = Cluster::start(&config)?;
    // The first message makes the files.
    load.send(&cluster.broker_address(), Duration::ZERO)?;
    for base in ["0".repeat(20), format!("{WARM_FILE_BYTES:0>20}")] {
        cluster.broker.wait_for(&format!("{IN_MEMORY} file=\"commitlog/{base}\""), process::LONG)?;
    }
    Ok(cluster)
}

/// What our broker says of a file.
const IN_MEMORY: &str = "the commit log file is in memory";

fn print(all: &[Contender]) {
    println!(
        "{:14} {:>34} {:>34}",
        "", "messages/s: median [range]", "broker CPU us/message: median [range]"
    );
    for one in all {
        let rate = spread(one.rounds.iter().map(|r| r.0));
        let cpu = spread(one.rounds.iter().map(|r| r.1));
        println!(
            "{:14} {:>34} {:>34}",
            one.name,
            format!("{:.0} [{:.0}..{:.0}]", rate.1, rate.0, rate.2),
            format!("{:.3} [{:.3}..{:.3}]", cpu.1, cpu.0, cpu.2)
        );
    }
    let (ours, others): (Vec<_>, Vec<_>) = all.iter().partition(|one| one.name.starts_with(OURS));
    for (ours, other) in ours.iter().flat_map(|ours| others.iter().map(move |other| (ours, other))) {
        let rate = spread(ours.rounds.iter().zip(&other.rounds).map(|(a, b)| a.0 / b.0));
        let cpu = spread(ours.rounds.iter().zip(&other.rounds).map(|(a, b)| a.1 / b.1));
        println!(
            "{:14} / {:8} rate {:.2} [{:.2}..{:.2}]   CPU per message {:.3} [{:.3}..{:.3}]",
            ours.name, other.name, rate.1, rate.0, rate.2, cpu.1, cpu.0, cpu.2
        );
    }
}

/// Smallest, median, largest.
fn spread(values: impl Iterator<Item = f64>) -> (f64, f64, f64) {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    (values[0], values[values.len() / 2], values[values.len() - 1])
}

/// A limit broker in a process of its own.
struct Limit {
    program: Program,
    address: String,
}

impl Limit {
    fn start(dir: &Path, kind: Kind) -> Result<Self> {
        fs::create_dir_all(dir)?;
        let port = free_port()?;
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["serve", "--port", &port.to_string(), "--dir"]).arg(dir);
        for (flag, set) in [("--grows", kind.grows), ("--whole", kind.whole)] {
            if set {
                command.arg(flag);
            }
        }
        let mut program = Program::start("limit", &mut command)?;
        program.wait_for("boot success", Duration::from_secs(60))?;
        Ok(Self { program, address: format!("127.0.0.1:{port}") })
    }
}

/// A genuine name server and broker, from their published artefacts.
struct Genuine {
    _namesrv: Program,
    broker: Program,
    address: String,
}

impl Genuine {
    fn start(dir: &Path) -> Result<Self> {
        let java = golden::Java::prepare_server("4.9.7")?;
        let home = dir.join("genuine");
        fs::create_dir_all(home.join("conf"))?;
        for file in ["logback_namesrv.xml", "logback_broker.xml"] {
            fs::write(
                home.join("conf").join(file),
                "<configuration><root level=\"ERROR\"/></configuration>",
            )?;
        }
        let (namesrv_port, port) = (free_port()?, free_port()?);
        let namesrv_file = home.join("namesrv.properties");
        fs::write(
            &namesrv_file,
            format!("listenPort={namesrv_port}\nkvConfigPath={}\n", home.join("kv.json").display()),
        )?;
        let broker_file = home.join("broker.properties");
        fs::write(
            &broker_file,
            format!(
                "brokerName=genuine\nbrokerIP1=127.0.0.1\nnamesrvAddr=127.0.0.1:{namesrv_port}\nlistenPort={port}\n\
                 haListenPort={}\nstorePathRootDir={}\nstorePathCommitLog={}\n",
                free_port()?,
                home.join("store").display(),
                home.join("store/commitlog").display()
            ),
        )?;
        let start = |class: &str, file: &Path, heap: &str| {
            let mut command = java.server(class, heap);
            command.arg("-c").arg(file).env("ROCKETMQ_HOME", &home);
            let mut program = Program::start(class, &mut command)?;
            program.wait_for("boot success", Duration::from_secs(60))?;
            anyhow::Ok(program)
        };
        let namesrv = start("org.apache.rocketmq.namesrv.NamesrvStartup", &namesrv_file, "512m")?;
        let broker = start("org.apache.rocketmq.broker.BrokerStartup", &broker_file, "2g")?;
        Ok(Self { _namesrv: namesrv, broker, address: format!("127.0.0.1:{port}") })
    }
}
