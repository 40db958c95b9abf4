//! One program: reprise namesrv, broker and dev.

mod broker;
mod cli;
mod dev;
mod failure;
mod host;
mod log;
mod namesrv;
mod settings;

use std::{
    env,
    io::{self, Write},
    process::{ExitCode, exit},
};

use cli::Program;
use failure::Failure;
use runtime::{signal, task::TaskSet};

fn main() -> ExitCode {
    let cli = match cli::parse(env::args_os()) {
        Ok(cli) => cli,
        Err(error) => error.exit(),
    };
    let ended = match cli.program {
        Program::Namesrv(flags) => namesrv::main(flags),
        Program::Broker(flags) => broker::main(flags),
        Program::Dev(flags) => dev::main(flags),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            for line in failure.to_string().lines() {
                let _ = writeln!(io::stderr(), "reprise: {line}");
            }
            ExitCode::from(failure.code)
        }
    }
}

/// Says something on standard output; scripts wait for it, so it leaves at once.
fn say(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    writeln!(out, "{}", text.trim_end_matches('\n'))
        .and_then(|()| out.flush())
        .map_err(|error| Failure::start(format!("standard output cannot be written: {error}")))
}

/// Waits for SIGTERM or SIGINT; from then on a second one ends the program at once.
async fn asked_to_end(tasks: &TaskSet) {
    signal::shutdown().await;
    tracing::info!("asked to end; ask again to end at once");
    tasks.spawn("second signal", async {
        signal::shutdown().await;
        tracing::warn!("ended at once: the next start recovers as after a crash");
        exit(130);
    });
}
