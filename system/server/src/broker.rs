//! The broker as a program.

use std::{
    env,
    io::ErrorKind,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
};

use broker::{Broker, Config, StartError};
use protocol::config::Key;
use runtime::{disk::Disk, task::TaskSet, time::Instant};

use crate::{
    asked_to_end, cli,
    failure::Failure,
    host, listen_for_signals, log, say,
    settings::{self, Given, Sources, Told},
};

/// Runs a broker as the flags say, until it is asked to end.
pub(crate) fn main(flags: cli::Broker) -> Result<(), Failure> {
    let (config, told) = load(&flags)?;
    let common = &flags.common;
    if common.print || common.print_important {
        let text = settings::print(&config, &told, |key| common.print || Key::is_important(key));
        return say(&text);
    }
    config.check().map_err(|error| Failure::config(error.to_string()))?;
    if common.config_check {
        told.warnings.iter().try_for_each(|warning| say(&format!("warning: {warning}")))?;
        return say("the configuration is good");
    }
    log::start(&common.log, env::var("REPRISE_LOG").ok())?;
    for warning in &told.warnings {
        tracing::warn!("{warning}");
    }
    runtime::run(common.threads, move || serve(config))
}

fn load(flags: &cli::Broker) -> Result<(Config, Told), Failure> {
    let mut given = Vec::new();
    for word in &flags.common.set {
        given.push(Given::parse(word)?);
    }
    if let Some(addresses) = &flags.namesrv_addr {
        given.push(Given::new("-n", "namesrvAddr", addresses));
    }
    if let Some(folder) = &flags.store {
        given.push(Given::new("--store", "storePathRootDir", &folder.display().to_string()));
    }
    let environment = env::var("NAMESRV_ADDR").ok().filter(|addresses| !addresses.is_empty());
    let sources = Sources {
        environment: environment
            .iter()
            .map(|addresses| Given::new("NAMESRV_ADDR", "namesrvAddr", addresses))
            .collect(),
        file: flags.common.config.as_deref(),
        flags: given,
        lenient: flags.common.lenient_config,
        without_effect: broker::WITHOUT_EFFECT,
    };
    let mut config = Config::default();
    let told = sources.load(&mut config)?;
    if config.store_path_root_dir.is_empty() {
        config.store_path_root_dir = host::in_home("store").display().to_string();
    }
    Ok((config, told))
}

async fn serve(config: Config) -> Result<(), Failure> {
    let tasks = TaskSet::new();
    let (namesrv, auto_create) = (config.namesrv_addr.clone(), config.auto_create_topic_enable);
    let (broker, summary) = start(config, &tasks).await?;
    let signals = listen_for_signals().await;
    say(&ready(&broker, &namesrv))?;
    say(&summary)?;
    advise(&broker, &namesrv, auto_create);
    asked_to_end(signals, &tasks).await;
    broker.stop().await;
    tasks.close().await;
    Ok(())
}

/// Starts a broker; returns it with a line about where it is and what it took.
pub(crate) async fn start(config: Config, tasks: &TaskSet) -> Result<(Arc<Broker>, String), Failure> {
    let begun = Instant::now();
    let folder = host::absolute(&PathBuf::from(&config.store_path_root_dir));
    let shown = folder.display().to_string();
    let disk = Disk::open(&shown).map_err(|error| {
        Failure::start(format!(
            "the store folder {shown} cannot be used: {error}. Give a folder that this user may write, with --store DIR \
             or storePathRootDir"
        ))
    })?;
    warn_when_full(&disk, &shown).await;
    let broker = Broker::start(config, disk, tasks).await.map_err(|error| explain(&error, &folder))?;
    let summary = format!(
        "advertised {}, store {shown}, ready after {} ms, {} MiB in memory, process {}",
        broker.address(),
        begun.elapsed().as_millis(),
        host::resident_mib(),
        runtime::host::pid()
    );
    Ok((broker, summary))
}

/// The sentence that RocketMQ's scripts and health checks wait for.
pub(crate) fn ready(broker: &Broker, namesrv: &str) -> String {
    let mut text =
        format!("The broker[{}, {}] boot success. serializeType=JSON", broker.name(), broker.address());
    if !namesrv.is_empty() {
        text.push_str(&format!(" and name server is {namesrv}"));
    }
    text
}

fn explain(error: &StartError, folder: &Path) -> Failure {
    let shown = folder.display();
    match error {
        StartError::Config(_) => Failure::config(error.to_string()),
        StartError::Store(store::OpenError::Locked) => {
            let lock = folder.join("lock");
            let by = match host::holder(&lock) {
                Some((pid, name)) => format!("process {pid} ({name})"),
                None => "another process".to_owned(),
            };
            Failure::start(format!(
                "the store {shown} is locked by {by}, which holds {}. Stop it, or give another folder with --store DIR",
                lock.display()
            ))
        }
        StartError::Store(store::OpenError::Io { source, .. }) if source.kind() == ErrorKind::StorageFull => {
            Failure::start(format!(
                "the broker cannot start on the store {shown}: {error}. Free some space on its disk; nothing of the store \
                 has to go"
            ))
        }
        StartError::Listen { .. } => Failure::start(error.to_string()),
        _ => Failure::start(format!("the broker cannot start on the store {shown}: {error}")),
    }
}

/// What an operator should change before others depend on it; each with the way to do so.
fn advise(broker: &Broker, namesrv: &str, auto_create: bool) {
    let advertised: Option<SocketAddr> = broker.address().parse().ok();
    if let Some((ip, why)) =
        advertised.and_then(|address| Some((address.ip(), host::unreachable(address.ip())?)))
    {
        tracing::warn!(
            "clients are told to connect to {ip}, and {why}: set brokerIP1 to an address they can reach"
        );
    }
    if namesrv.is_empty() {
        tracing::warn!("no name server is set, so clients do not find this broker: give addresses with -n");
    }
    if auto_create {
        tracing::warn!(
            "any send may create a topic, also one with a typing error in its name: in production set \
             autoCreateTopicEnable=false"
        );
    }
}

async fn warn_when_full(disk: &Disk, shown: &str) {
    let Ok(space) = disk.space().await else { return };
    if space.total > 0 && space.free < space.total / 4 {
        tracing::warn!(
            "the disk of {shown} has {} of {} GiB free: old messages are deleted early when it fills up, then sends are \
             refused",
            space.free >> 30,
            space.total >> 30
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_start_without_space_says_what_to_do() {
        let source = ErrorKind::StorageFull.into();
        let error = StartError::Store(store::OpenError::Io {
            what: "cannot write config/queues.json".into(),
            source,
        });
        let told = explain(&error, Path::new("/data/store")).to_string();
        assert!(told.contains("/data/store") && told.contains("config/queues.json"), "{told}");
        assert!(told.contains("Free some space"), "{told}");
    }
}
