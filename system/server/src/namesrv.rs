//! The name server as a program.

use std::{
    env,
    path::{Path, PathBuf},
};

pub(crate) use namesrv::Config;
use namesrv::{Namesrv, StartError};
use protocol::{Text, config::Key};
use runtime::{disk::Disk, task::TaskSet, time::Instant};

use crate::{
    asked_to_end, cli,
    failure::Failure,
    host, listen_for_signals, log, say,
    settings::{self, Given, Sources, Told},
};

/// Runs a name server as the flags say, until it is asked to end.
pub(crate) fn main(flags: cli::Namesrv) -> Result<(), Failure> {
    let common = &flags.common;
    let (config, told) = load(common)?;
    if common.print || common.print_important {
        let text = settings::print(&config, &told, |key| common.print || Key::is_important(key));
        return say(&text);
    }
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

fn load(flags: &cli::Common) -> Result<(Config, Told), Failure> {
    let mut given = Vec::new();
    for word in &flags.set {
        given.push(Given::parse(word)?);
    }
    let sources = Sources {
        environment: Vec::new(),
        file: flags.config.as_deref(),
        flags: given,
        lenient: flags.lenient_config,
        without_effect: namesrv::WITHOUT_EFFECT,
    };
    let mut config = Config::default();
    let told = sources.load(&mut config)?;
    Ok((config, told))
}

async fn serve(config: Config) -> Result<(), Failure> {
    let begun = Instant::now();
    let tasks = TaskSet::new();
    let bind_address = config.bind_address.clone();
    let (server, folder) = start(config, &tasks).await?;
    let signals = listen_for_signals().await;
    say(&ready(&server, &bind_address))?;
    say(&format!(
        "tables below {folder}, ready after {} ms, {} MiB in memory, process {}",
        begun.elapsed().as_millis(),
        host::resident_mib(),
        runtime::host::pid()
    ))?;
    asked_to_end(signals, &tasks).await;
    server.stop().await;
    tasks.close().await;
    Ok(())
}

/// Starts a name server; returns it with the folder its files are below.
pub(crate) async fn start(mut config: Config, tasks: &TaskSet) -> Result<(Namesrv, String), Failure> {
    let folder = place(&mut config)?;
    // The folder is made and tried now; the files are named from the root, as the configuration names them.
    let disk = Disk::open(&folder).and_then(|_| Disk::open("/")).map_err(|error| {
        Failure::start(format!(
            "the folder {folder} cannot be used: {error}. Set kvConfigPath and configStorePath to files below a folder \
             that this user may write"
        ))
    })?;
    let server = Namesrv::start(config, disk, tasks).await.map_err(|error| match error {
        StartError::BindAddress(_) => Failure::config(error.to_string()),
        _ => Failure::start(error.to_string()),
    })?;
    Ok((server, folder))
}

/// The sentence that RocketMQ's scripts and health checks wait for.
pub(crate) fn ready(server: &Namesrv, bind_address: &str) -> String {
    format!(
        "The Name Server boot success. serializeType=JSON, address {bind_address}:{}",
        server.address().port()
    )
}

/// The folder that both files of the configuration are below. Their paths begin at the root from here on: requests
/// print and keep them, and whoever reads them does not know the folder.
fn place(config: &mut Config) -> Result<String, Failure> {
    let home = host::in_home("");
    let [kv, store] = [&config.kv_config_path, &config.config_store_path]
        .map(|path| home.join(path.as_str()).components().collect::<PathBuf>());
    let parent = kv.parent().unwrap_or(Path::new("/"));
    let folder = parent.ancestors().find(|folder| store.starts_with(folder)).unwrap_or(Path::new("/"));
    for (key, path, given) in [
        ("kvConfigPath", &kv, &mut config.kv_config_path),
        ("configStorePath", &store, &mut config.config_store_path),
    ] {
        let whole = path.to_str().filter(|_| path != folder);
        *given = Text::from(whole.ok_or_else(|| {
            Failure::config(format!("{key} is {:?}: write the path of a file", given.as_str()))
        })?);
    }
    Ok(folder.display().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_files_of_the_configuration_share_a_folder() {
        let placed = |kv: &str, store: &str| {
            let mut config =
                Config { kv_config_path: kv.into(), config_store_path: store.into(), ..Config::default() };
            let folder = place(&mut config).unwrap();
            (folder, config.kv_config_path.to_string(), config.config_store_path.to_string())
        };
        let expected =
            |folder: &str, kv: &str, store: &str| (folder.to_owned(), kv.to_owned(), store.to_owned());
        assert_eq!(placed("/a/b/kv.json", "/a/c/d.conf"), expected("/a", "/a/b/kv.json", "/a/c/d.conf"));
        assert_eq!(placed("/a/b/kv.json", "/a/b/d.conf"), expected("/a/b", "/a/b/kv.json", "/a/b/d.conf"));
        assert_eq!(placed("/x/kv.json", "/y/d.conf"), expected("/", "/x/kv.json", "/y/d.conf"));
        assert_eq!(placed("/a//b/./kv.json", "/a/b/d.conf"), expected("/a/b", "/a/b/kv.json", "/a/b/d.conf"));
        let (folder, kv, _) = placed("namesrv/kv.json", "namesrv/d.conf");
        assert!(folder.ends_with("/namesrv") && kv == format!("{folder}/kv.json"), "{folder} {kv}");
    }
}
