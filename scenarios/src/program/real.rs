//! `real`: the scenarios on real processes. This program is built for the simulator, so another one does that.

use std::ffi::OsString;
use std::process::Command;

use anyhow::Context as _;
use clap::Args;

use super::reports;

#[derive(Args)]
#[command(disable_help_flag = true)]
pub(super) struct Real {
    /// See `cargo sim real --help`.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<OsString>,
}

impl Real {
    /// Builds and runs that program, without the flags that make a simulation of everything.
    pub(super) fn go(self) -> anyhow::Result<u8> {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut command = Command::new(cargo);
        command.args(["run", "--quiet", "--release", "--package", "real", "--"]).args(self.arguments);
        for name in FLAGS {
            command.env_remove(name);
        }
        if let Some(root) = reports().parent().filter(|root| root.is_absolute()) {
            command.current_dir(root);
        }
        let status = command.status().context("cargo cannot be started")?;
        // One that a signal ended has panicked.
        Ok(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1))
    }
}

const FLAGS: [&str; 4] = ["RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS", "CARGO_BUILD_RUSTFLAGS", "REPRISE_SIM"];
