//! Starts, kills and watches the real programs: what the process and interop tests stand on.

mod ask;

pub use ask::{Asker, create_topic};

use std::{
    fs,
    hash::{BuildHasher, Hasher, RandomState},
    io::{BufRead, BufReader},
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex, MutexGuard},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};

/// The release binary; built first, so that a test never runs an old one.
pub fn binary() -> Result<PathBuf> {
    let root = golden::workspace();
    let mut build = Command::new("cargo");
    build.args(["build", "--quiet", "--release", "--package", "server"]).current_dir(&root);
    golden::run(&mut build)?;
    Ok(root.join("target/release/reprise"))
}

/// A running program whose output is collected line by line.
#[derive(Debug)]
pub struct Program {
    name: String,
    child: Child,
    lines: Arc<Mutex<Vec<String>>>,
}

impl Program {
    /// Starts a command; standard output and error are collected, standard input stays open.
    pub fn start(name: &str, command: &mut Command) -> Result<Self> {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("{name} cannot be started: {command:?}"))?;
        let lines = Arc::new(Mutex::new(Vec::new()));
        let outputs: [Box<dyn std::io::Read + Send>; 2] = [
            Box::new(child.stdout.take().context("stdout was asked for")?),
            Box::new(child.stderr.take().context("stderr was asked for")?),
        ];
        for output in outputs {
            let lines = lines.clone();
            thread::spawn(move || {
                for line in BufReader::new(output).split(b'\n').map_while(Result::ok) {
                    lines.lock().expect("no reader panics").push(String::from_utf8_lossy(&line).into_owned());
                }
            });
        }
        Ok(Self { name: name.to_owned(), child, lines })
    }

    /// Everything it printed so far.
    pub fn lines(&self) -> MutexGuard<'_, Vec<String>> {
        self.lines.lock().expect("no reader panics")
    }

    /// Waits for a line that contains `text`.
    pub fn wait_for(&mut self, text: &str, limit: Duration) -> Result<()> {
        let begun = Instant::now();
        loop {
            if self.lines().iter().any(|line| line.contains(text)) {
                return Ok(());
            }
            if let Some(status) = self.child.try_wait()? {
                thread::sleep(Duration::from_millis(50)); // the readers may still have the last lines
                bail!(
                    "{} ended with {status} before it said {text:?}:\n{}",
                    self.name,
                    self.lines().join("\n")
                );
            }
            if begun.elapsed() > limit {
                bail!("{} did not say {text:?} within {limit:?}:\n{}", self.name, self.lines().join("\n"));
            }
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// SIGKILL; returns when it is gone.
    pub fn kill(&mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Sends a signal by name, such as TERM or STOP.
    pub fn signal(&self, name: &str) -> Result<()> {
        golden::run(Command::new("kill").arg(format!("-{name}")).arg(self.pid().to_string()))?;
        Ok(())
    }

    /// Closes its standard input and waits for its end.
    pub fn finish(&mut self, limit: Duration) -> Result<()> {
        drop(self.child.stdin.take());
        self.wait(limit).map(|_| ())
    }

    /// True when it has ended, whoever ended it.
    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().is_ok_and(|status| status.is_some())
    }

    /// Waits for its end and returns the exit code.
    pub fn wait(&mut self, limit: Duration) -> Result<i32> {
        let begun = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait()? {
                thread::sleep(Duration::from_millis(50));
                return Ok(status.code().unwrap_or(-1));
            }
            if begun.elapsed() > limit {
                bail!("{} did not end within {limit:?}:\n{}", self.name, self.lines().join("\n"));
            }
            thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// CPU time that a process used so far, user and system.
pub fn cpu(pid: u32) -> Result<Duration> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks: u64 = fields[11].parse::<u64>()? + fields[12].parse::<u64>()?;
    Ok(Duration::from_millis(ticks * 10)) // Linux counts in hundredths of a second for user space
}

/// A port that is free now, with the port two below it free too (the broker's fast port). It is none of those that the
/// system gives to outgoing connections: one of them could take it before the program binds it, or binds it again.
pub fn free_port() -> Result<u16> {
    let range = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
    let first_outgoing = range.split_whitespace().next().and_then(|n| n.parse().ok()).unwrap_or(32_768);
    let end = if first_outgoing > 16_384 { first_outgoing } else { 60_000 };
    for _ in 0..100 {
        let draw = RandomState::new().build_hasher().finish() % u64::from(end - LOWEST_PORT);
        let port = LOWEST_PORT + u16::try_from(draw)?;
        if TcpListener::bind(("0.0.0.0", port)).is_ok() && TcpListener::bind(("0.0.0.0", port - 2)).is_ok() {
            return Ok(port);
        }
    }
    bail!("no free port was found")
}

const LOWEST_PORT: u16 = 12_000;

/// One name server and one broker in a folder of their own.
#[derive(Debug)]
pub struct Cluster {
    binary: PathBuf,
    dir: tempfile::TempDir,
    namesrv_port: u16,
    broker_port: u16,
    config: Vec<(String, String)>,
    /// The name server.
    pub namesrv: Program,
    /// The broker; killed and started again by some tests.
    pub broker: Program,
}

/// Longer than any pause of a slow machine.
pub const LONG: Duration = Duration::from_secs(180);

impl Cluster {
    /// Starts both; `config` are keys of the broker beside addresses and paths.
    pub fn start(config: &[(&str, &str)]) -> Result<Self> {
        let binary = binary()?;
        let dir = tempfile::tempdir()?;
        let (namesrv_port, broker_port) = (free_port()?, free_port()?);
        let namesrv_file = dir.path().join("namesrv.properties");
        fs::write(
            &namesrv_file,
            format!("listenPort={namesrv_port}\nkvConfigPath={}\n", dir.path().join("kv.json").display()),
        )?;
        let mut namesrv =
            Program::start("namesrv", Command::new(&binary).arg("namesrv").arg("-c").arg(&namesrv_file))?;
        namesrv.wait_for("boot success", LONG)?;
        let config: Vec<_> = config.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let broker = broker(&binary, dir.path(), namesrv_port, broker_port, &config)?;
        Ok(Self { binary, dir, namesrv_port, broker_port, config, namesrv, broker })
    }

    /// Address of the name server.
    pub fn name_server(&self) -> String {
        format!("127.0.0.1:{}", self.namesrv_port)
    }

    /// Address of the broker.
    pub fn broker_address(&self) -> String {
        format!("127.0.0.1:{}", self.broker_port)
    }

    /// The folder of the cluster; the broker's store is `store` in it.
    pub fn folder(&self) -> &Path {
        self.dir.path()
    }

    /// Starts the broker again on the same store and port.
    pub fn restart_broker(&mut self) -> Result<()> {
        self.broker =
            broker(&self.binary, self.dir.path(), self.namesrv_port, self.broker_port, &self.config)?;
        Ok(())
    }
}

fn broker(
    binary: &Path,
    dir: &Path,
    namesrv: u16,
    port: u16,
    config: &[(String, String)],
) -> Result<Program> {
    let file = dir.join("broker.properties");
    let mut text = format!(
        "brokerClusterName=TestCluster\nbrokerName=broker-a\nbrokerId=0\nnamesrvAddr=127.0.0.1:{namesrv}\n\
         listenPort={port}\nbrokerIP1=127.0.0.1\nstorePathRootDir={}\n",
        dir.join("store").display()
    );
    for (key, value) in config {
        text.push_str(&format!("{key}={value}\n"));
    }
    fs::write(&file, text)?;
    let mut program = Program::start("broker", Command::new(binary).arg("broker").arg("-c").arg(&file))?;
    program.wait_for("boot success", LONG)?;
    Ok(program)
}
