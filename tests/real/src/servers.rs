//! Name servers and brokers as processes: ours or genuine ones, in a folder each.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use golden::Java;
use process::{Asker, Program};
use protocol::rpc::GetBrokerClusterInfo;
use protocol::{body, json};

/// Whose servers.
#[derive(Clone, Debug)]
pub(crate) enum Make {
    /// The release binary.
    Ours(PathBuf),
    /// Published artefacts.
    Genuine(Java),
    /// Somebody's, who runs them already: nobody here ends or stops them.
    Running(Running),
}

/// Servers that run already.
#[derive(Clone, Debug)]
pub(crate) struct Running {
    /// Where the name servers are.
    pub(crate) name_servers: Vec<SocketAddr>,
    /// Names and addresses of the brokers that take messages.
    pub(crate) brokers: Vec<(String, SocketAddr)>,
}

impl Running {
    /// Those that these name servers know.
    pub(crate) fn find(addresses: &str) -> Result<Self> {
        let name_servers: Vec<SocketAddr> = addresses
            .split(';')
            .map(|address| address.parse().with_context(|| format!("{address} is no address: write IP:PORT")))
            .collect::<Result<_>>()?;
        let answer = Asker::connect(addresses.split(';').next().unwrap_or_default())?
            .ask(&GetBrokerClusterInfo {}, Vec::new())?;
        let info: body::ClusterInfo = json::from_slice(&answer.body)?;
        let masters = info.broker_addr_table.iter().filter_map(|(name, data)| {
            let (_, address) = data.broker_addrs.iter().find(|(id, _)| **id == 0)?;
            Some((name.to_string(), address.parse().ok()?))
        });
        let brokers: Vec<_> = masters.collect();
        ensure!(!brokers.is_empty(), "the name server {addresses} knows no broker that takes messages");
        Ok(Self { name_servers, brokers })
    }
}

impl Make {
    /// In words.
    pub(crate) fn name(&self) -> String {
        match self {
            Self::Ours(_) => "Reprise".to_owned(),
            Self::Genuine(java) => format!("RocketMQ {}", java.version()),
            Self::Running(running) => {
                let names: Vec<_> = running.brokers.iter().map(|(name, _)| name.as_str()).collect();
                format!("the running brokers {}", names.join(", "))
            }
        }
    }
}

/// What a server is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// It knows who serves what.
    NameServer,
    /// It keeps messages.
    Broker,
}

/// One server; clones are the same.
#[derive(Clone, Debug)]
pub(crate) struct Server {
    make: Make,
    role: Role,
    folder: PathBuf,
    program: Arc<Mutex<Option<Program>>>,
}

impl Server {
    /// One that does not run yet, in a folder of its own.
    pub(crate) fn new(make: Make, role: Role, folder: PathBuf) -> Result<Self> {
        fs::create_dir_all(folder.join("conf"))?;
        // Genuine servers write their logs where these say.
        for file in LOGBACK {
            let silent = "<configuration><root level=\"ERROR\"/></configuration>";
            fs::write(folder.join("conf").join(file), silent)?;
        }
        Ok(Self { make, role, folder, program: Arc::default() })
    }

    /// Where a broker keeps its messages.
    pub(crate) fn store(&self) -> PathBuf {
        self.folder.join("store")
    }

    fn program(&self) -> MutexGuard<'_, Option<Program>> {
        self.program.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts the process and waits until it serves.
    pub(crate) fn start(&self, settings: &[(String, String)]) -> Result<()> {
        let file = self.folder.join("server.properties");
        let mut text = match self.role {
            Role::NameServer => format!("kvConfigPath={}\n", self.folder.join("kv.json").display()),
            Role::Broker => format!("storePathRootDir={}\n", self.store().display()),
        };
        if matches!(self.make, Make::Genuine(_)) && self.role == Role::Broker {
            text += &format!("storePathCommitLog={}\n", self.store().join("commitlog").display());
        }
        settings.iter().for_each(|(key, value)| text += &format!("{key}={value}\n"));
        fs::write(&file, text)?;
        let mut program = Program::start("server", &mut self.command(&file))?;
        let served = program.wait_for("boot success", STARTS_WITHIN);
        *self.program() = Some(program);
        served
    }

    fn command(&self, file: &Path) -> Command {
        let mut command = match (&self.make, self.role) {
            (Make::Ours(binary), role) => {
                let mut command = Command::new(binary);
                command.arg(if role == Role::Broker { "broker" } else { "namesrv" });
                command
            }
            (Make::Genuine(java), Role::NameServer) => {
                java.server("org.apache.rocketmq.namesrv.NamesrvStartup", "128m")
            }
            (Make::Genuine(java), Role::Broker) => {
                java.server("org.apache.rocketmq.broker.BrokerStartup", "512m")
            }
            (Make::Running(_), _) => unreachable!("they run already"),
        };
        command.arg("-c").arg(file).env("ROCKETMQ_HOME", &self.folder);
        command
    }

    /// True while its process is there.
    pub(crate) fn is_up(&self) -> bool {
        self.program().as_mut().is_some_and(|program| !program.has_ended())
    }

    /// kill -9; false when there was nothing to kill.
    pub(crate) fn kill(&self) -> Result<bool> {
        let Some(mut program) = self.program().take() else { return Ok(false) };
        let running = !program.has_ended();
        program.kill()?;
        Ok(running)
    }

    /// SIGTERM, and waits for its end.
    pub(crate) fn stop(&self) -> Result<()> {
        let Some(mut program) = self.program().take() else { return Ok(()) };
        program.signal("TERM")?;
        program.wait(STOPS_WITHIN).map(|_| ())
    }

    /// Lets it stand still, or go on.
    pub(crate) fn pause(&self, on: bool) -> Result<()> {
        let program = self.program();
        let program = program.as_ref().context("it does not run")?;
        program.signal(if on { "STOP" } else { "CONT" })
    }

    /// Fails with its last words when it ended though nobody ended it, or said that it panicked.
    pub(crate) fn is_well(&self) -> Result<()> {
        let mut program = self.program();
        let Some(program) = program.as_mut() else { return Ok(()) };
        let ended = program.has_ended();
        let lines = program.lines();
        let panicked = lines.iter().find(|line| line.contains("panicked at"));
        ensure!(panicked.is_none(), "it panicked: {}", panicked.map_or("", String::as_str));
        ensure!(!ended, "it ended by itself: {}", lines.last().map_or("", String::as_str));
        Ok(())
    }

    /// The files of a broker's store by which it is audited: path below the store and content.
    pub(crate) fn files(&self) -> Result<Vec<(String, Vec<u8>)>> {
        let mut files = Vec::new();
        for folder in ["commitlog", "consumequeue"] {
            collect(&self.store(), &self.store().join(folder), &mut files)?;
        }
        let table = self.store().join("config/queues.json");
        if table.exists() {
            files.push(("config/queues.json".to_owned(), fs::read(table)?));
        }
        files.sort();
        Ok(files)
    }

    /// Zeroes the last record of the log of a broker that is down, as if it had acknowledged what it never wrote.
    pub(crate) fn forget_the_last_record(&self) -> Result<()> {
        let mut files = Vec::new();
        collect(&self.store(), &self.store().join("commitlog"), &mut files)?;
        files.sort();
        let file = files.iter_mut().rev().find_map(|(path, bytes)| {
            let last = bytes.windows(4).rposition(|word| word == RECORD)?;
            bytes[last - 4..].fill(0);
            Some((path, bytes))
        });
        let (path, bytes) = file.context("there is no record in the log")?;
        Ok(fs::write(self.store().join(path), bytes)?)
    }
}

fn collect(root: &Path, folder: &Path, files: &mut Vec<(String, Vec<u8>)>) -> Result<()> {
    if !folder.exists() {
        return Ok(());
    }
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            collect(root, &path, files)?;
        } else {
            let name = path.strip_prefix(root)?.to_string_lossy().into_owned();
            files.push((name, fs::read(&path)?));
        }
    }
    Ok(())
}

const LOGBACK: [&str; 4] =
    ["logback_namesrv.xml", "logback_broker.xml", "rmq.namesrv.logback.xml", "rmq.broker.logback.xml"];
/// The word behind the length of a record.
const RECORD: [u8; 4] = [0xda, 0xa3, 0x20, 0xa7];
/// L-12's bounds, and room for a slow machine.
const STARTS_WITHIN: Duration = Duration::from_secs(60);
const STOPS_WITHIN: Duration = Duration::from_secs(60);
