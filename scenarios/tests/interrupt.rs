//! The `sim` program, interrupted.
#![cfg(madsim)]
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test of the program on the real system"
)]

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

#[test]
fn an_interrupted_sweep_reports_what_it_did_and_exits_with_130() {
    let folder = tempfile::tempdir().unwrap();
    let mut sim = Command::new(env!("CARGO_BIN_EXE_sim"))
        .args(["sweep", "first_message", "--seeds", "1..1000000", "--jobs", "1"])
        .env("CARGO_MANIFEST_DIR", folder.path().join("scenarios"))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut output = BufReader::new(sim.stdout.take().unwrap());
    let mut first = String::new();
    output.read_line(&mut first).unwrap();
    assert!(first.starts_with("999999 runs"), "{first}");
    kill_process(Pid::from_child(&sim), Signal::INT).unwrap();
    let mut rest = String::new();
    output.read_to_string(&mut rest).unwrap();
    assert_eq!(sim.wait().unwrap().code(), Some(130), "{rest}");
    assert!(rest.contains("were wanted"), "{rest}");
    let report = std::fs::read_to_string(folder.path().join("reports/summary.md")).unwrap();
    assert!(report.contains("interrupted"), "{report}");
}
