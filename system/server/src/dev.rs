//! A name server and a broker in one process, with small files: for development and tests.

use std::{
    env, fs,
    net::{IpAddr, Ipv4Addr},
    path::{Path, PathBuf},
};

use protocol::Text;
use runtime::task::TaskSet;

use crate::{
    asked_to_end, broker, cli,
    failure::Failure,
    host, listen_for_signals, log, namesrv, say,
    settings::{Given, Sources},
};

/// Runs both, until the program is asked to end.
pub(crate) fn main(flags: cli::Dev) -> Result<(), Failure> {
    log::start(&flags.log, env::var("REPRISE_LOG").ok().or_else(|| Some("warn".to_owned())))?;
    let (folder, temporary) = match &flags.store {
        Some(folder) => (folder.clone(), false),
        None => (env::temp_dir().join(format!("reprise-dev-{}", std::process::id())), true),
    };
    let ended = run(&flags, &folder);
    if temporary {
        let _ = fs::remove_dir_all(&folder);
    }
    ended
}

fn run(flags: &cli::Dev, folder: &Path) -> Result<(), Failure> {
    let folder = host::absolute(folder);
    let names = namesrv::Config {
        bind_address: Text::from(everywhere_or_here(flags.ip).to_string()),
        listen_port: flags.namesrv_port,
        kv_config_path: inside(&folder, "namesrv/kvConfig.json"),
        config_store_path: inside(&folder, "namesrv/namesrv.properties"),
        ..namesrv::Config::default()
    };
    let store = folder.join("store");
    let mut config = ::broker::Config {
        broker_name: "dev".to_owned(),
        bind_address: everywhere_or_here(flags.ip).to_string(),
        broker_ip1: flags.ip.to_string(),
        listen_port: flags.broker_port,
        store_path_root_dir: store.display().to_string(),
        mapped_file_size_commit_log: 16 << 20,
        mapped_file_size_consume_queue: 20 * 10_000,
        max_hash_slot_num: 50_000,
        max_index_num: 200_000,
        ..::broker::Config::default()
    };
    let flags = flags.set.iter().map(|word| Given::parse(word)).collect::<Result<_, _>>()?;
    let sources = Sources { flags, without_effect: ::broker::WITHOUT_EFFECT, ..Sources::default() };
    let told = sources.load(&mut config)?;
    for warning in &told.warnings {
        tracing::warn!("{warning}");
    }
    runtime::run(None, move || serve(names, config))
}

async fn serve(names: namesrv::Config, mut config: ::broker::Config) -> Result<(), Failure> {
    let tasks = TaskSet::new();
    let bind_address = names.bind_address.clone();
    let (name_server, _) = namesrv::start(names, &tasks).await?;
    let signals = listen_for_signals().await;
    say(&namesrv::ready(&name_server, &bind_address))?;
    if config.namesrv_addr.is_empty() {
        config.namesrv_addr = format!("{}:{}", config.broker_ip1, name_server.address().port());
    }
    let addresses = config.namesrv_addr.clone();
    let (broker, summary) = broker::start(config, &tasks).await?;
    say(&broker::ready(&broker, &addresses))?;
    say(&summary)?;
    say(&format!("connect clients to name server {addresses}; Ctrl-C ends both"))?;
    asked_to_end(signals, &tasks).await;
    broker.stop().await;
    name_server.stop().await;
    tasks.close().await;
    Ok(())
}

/// A development server that only this machine is told of listens only here.
fn everywhere_or_here(advertised: IpAddr) -> IpAddr {
    if advertised.is_loopback() { advertised } else { Ipv4Addr::UNSPECIFIED.into() }
}

fn inside(folder: &Path, name: &str) -> Text {
    let path: PathBuf = folder.join(name);
    Text::from(path.display().to_string())
}
