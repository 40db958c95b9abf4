//! Logs go to standard error, so that standard output has only what scripts wait for.

use std::io;

use tracing_subscriber::{EnvFilter, fmt, util::SubscriberInitExt};

use crate::{
    cli::{Log, LogFormat},
    failure::Failure,
};

/// Starts logging for the whole program.
pub(crate) fn start(log: &Log, from_environment: Option<String>) -> Result<(), Failure> {
    let filter = log.log.clone().or(from_environment).unwrap_or_else(|| "info".to_owned());
    let filter = EnvFilter::try_new(&filter).map_err(|error| {
        Failure::config(format!(
            "--log {filter}: {error}. Write a level (error, warn, info, debug, trace), or parts such as info,net=debug"
        ))
    })?;
    let lines = fmt().with_env_filter(filter).with_writer(io::stderr).with_target(false);
    let started = match log.log_format {
        LogFormat::Text => lines.with_ansi(io::IsTerminal::is_terminal(&io::stderr())).finish().try_init(),
        LogFormat::Json => lines.json().flatten_event(true).finish().try_init(),
    };
    started.map_err(|error| Failure::start(format!("logging cannot be started: {error}")))
}
