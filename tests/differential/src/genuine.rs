//! A genuine name server and broker, from their published artefacts.

use std::{fs, path::Path, time::Duration};

use anyhow::{Context, Result};
use golden::Java;
use process::{Program, free_port};

/// What both brokers are told beside addresses and paths.
pub(crate) const CONFIG: &[(&str, &str)] = &[
    ("mappedFileSizeCommitLog", "8388608"),
    ("mappedFileSizeConsumeQueue", "20000"),
    ("maxHashSlotNum", "1000"),
    ("maxIndexNum", "5000"),
    ("messageDelayLevel", "1s 2s 1s 1s 2s 1s"),
    ("transactionTimeOut", "1000"),
    ("transactionCheckInterval", "1000"),
    ("transactionCheckMax", "7"),
];

/// Both programs, until dropped.
pub(crate) struct Genuine {
    _namesrv: Program,
    broker: Program,
    dir: tempfile::TempDir,
    address: String,
    name_server: String,
}

impl Genuine {
    pub(crate) fn start(java: &Java) -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let home = dir.path();
        fs::create_dir_all(home.join("conf"))?;
        for file in ["logback_namesrv.xml", "logback_broker.xml"] {
            fs::write(
                home.join("conf").join(file),
                "<configuration><root level=\"ERROR\"/></configuration>",
            )?;
        }
        let (namesrv_port, port) = (free_port()?, free_port()?);
        let namesrv_file = home.join("namesrv.properties");
        let kv = home.join("kv.json");
        fs::write(&namesrv_file, format!("listenPort={namesrv_port}\nkvConfigPath={}\n", kv.display()))?;
        let broker_file = home.join("broker.properties");
        let mut text = format!(
            "brokerClusterName=TestCluster\nbrokerName=broker-a\nbrokerId=0\nbrokerIP1=127.0.0.1\n\
             namesrvAddr=127.0.0.1:{namesrv_port}\nlistenPort={port}\nhaListenPort={}\nstorePathRootDir={}\n\
             storePathCommitLog={}\n",
            free_port()?,
            home.join("store").display(),
            home.join("store/commitlog").display()
        );
        CONFIG.iter().for_each(|(key, value)| text.push_str(&format!("{key}={value}\n")));
        fs::write(&broker_file, text)?;
        let start = |class: &str, file: &Path, heap: &str| {
            let mut command = java.server(class, heap);
            command.arg("-c").arg(file).env("ROCKETMQ_HOME", home);
            let program = Program::start(class, &mut command);
            let mut program = program.context("install a JDK (17 or newer), or run `cargo suite tools`")?;
            program.wait_for("boot success", Duration::from_secs(60))?;
            anyhow::Ok(program)
        };
        let namesrv = start("org.apache.rocketmq.namesrv.NamesrvStartup", &namesrv_file, "256m")?;
        let broker = start("org.apache.rocketmq.broker.BrokerStartup", &broker_file, "1g")?;
        let address = format!("127.0.0.1:{port}");
        let name_server = format!("127.0.0.1:{namesrv_port}");
        Ok(Self { _namesrv: namesrv, broker, dir, address, name_server })
    }

    /// Ends the broker properly; its store is `store` in the folder.
    pub(crate) fn stop(mut self) -> Result<tempfile::TempDir> {
        self.broker.signal("TERM")?;
        self.broker.wait(Duration::from_secs(60))?;
        Ok(self.dir)
    }

    pub(crate) fn broker_address(&self) -> &str {
        &self.address
    }

    pub(crate) fn name_server(&self) -> &str {
        &self.name_server
    }
}
