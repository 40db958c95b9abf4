//! One program: reprise namesrv, broker, dev and admin.

mod admin;
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
    future::{Future, poll_fn, ready},
    io::{self, Write},
    pin::Pin,
    process::{ExitCode, exit},
    task::Poll,
};

use cli::Program;
use failure::Failure;
use runtime::{signal, task::TaskSet};

fn main() -> ExitCode {
    let cli = match cli::parse(env::args_os()) {
        Ok(cli) => cli,
        Err(error) => error.exit(),
    };
    // A connection takes a file handle, and the usual soft limit is for small programs.
    runtime::host::raise_file_limit();
    let ended = match cli.program {
        Program::Namesrv(flags) => namesrv::main(flags),
        Program::Broker(flags) => broker::main(flags),
        Program::Dev(flags) => dev::main(flags),
        Program::Admin(flags) => admin::main(flags),
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

/// Listens for SIGTERM and SIGINT from now on. Called before the ready line: who reads it may send one at once, and
/// without a listener that kills the process.
async fn listen_for_signals() -> Pin<Box<dyn Future<Output = ()> + Send>> {
    let mut first = Box::pin(signal::shutdown());
    let came = poll_fn(|cx| Poll::Ready(first.as_mut().poll(cx).is_ready())).await;
    if came { Box::pin(ready(())) } else { first }
}

/// Waits for the first signal; from then on a second one ends the program at once.
async fn asked_to_end(first: Pin<Box<dyn Future<Output = ()> + Send>>, tasks: &TaskSet) {
    first.await;
    tracing::info!("asked to end; ask again to end at once");
    tasks.spawn("second signal", async {
        signal::shutdown().await;
        tracing::warn!("ended at once: the next start recovers as after a crash");
        exit(130);
    });
}
