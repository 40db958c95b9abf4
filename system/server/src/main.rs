//! One program: reprise namesrv, broker and dev.

mod cli;
mod failure;
mod log;
mod settings;

use std::{env, process::ExitCode};

fn main() -> ExitCode {
    let cli = match cli::parse(env::args_os()) {
        Ok(cli) => cli,
        Err(error) => error.exit(),
    };
    let _ = cli;
    ExitCode::SUCCESS
}
