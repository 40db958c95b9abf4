//! `check`: the same seed again, after and beside another seed, with all log lines, and in a fresh process, must give
//! the same trace.

use std::process::Command;

use lab::drive::{self, Done, Level, Options};
use lab::scenario::Scenario;

use super::say;

pub(super) fn check(scenario: &Scenario, seed: u64) -> anyhow::Result<u8> {
    let run = |seed, lines| {
        let options = Options { lines, ..Options::default() };
        drive::run(&scenario.usual(seed), &options)
    };
    run(seed.wrapping_add(1), false);
    let after_another = run(seed, false).run.trace;
    let beside_another = std::thread::scope(|scope| {
        let other = scope.spawn(|| run(seed.wrapping_add(2), false).run.trace);
        let trace = run(seed, false).run.trace;
        drop(other.join());
        trace
    });
    let logging = Options { logs: Some(Level::TRACE), ..Options::default() };
    let with_logs = drive::run(&scenario.usual(seed), &logging).run.trace;
    let with_lines = run(seed, true);
    let output = Command::new(std::env::current_exe()?)
        .args(["lines", scenario.name, "--seed", &seed.to_string()])
        .output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let mut fresh: Vec<&str> = text.lines().collect();
    let fresh_trace =
        fresh.pop().and_then(|line| line.strip_prefix("trace ")).unwrap_or("missing").to_owned();
    let traces = [
        ("here, after another seed", &after_another),
        ("here, beside another seed on a second thread", &beside_another),
        ("here, with all log lines", &with_logs),
        ("here, with its trace kept", &with_lines.run.trace),
        ("in a fresh process", &fresh_trace),
    ];
    for (how, trace) in traces {
        say(&format!("{trace} {how}"));
    }
    if traces.iter().all(|(_, trace)| *trace == &after_another) {
        say(&format!(
            "the trace of {} seed {seed} repeats, {} events",
            scenario.name,
            with_lines.lines.len()
        ));
        return Ok(0);
    }
    let known = fresh_trace != with_lines.run.trace && differs(&with_lines, &fresh);
    if !known {
        // It parts within this process: the same once more shows where.
        let again = run(seed, true);
        let again: Vec<&str> = again.lines.iter().map(String::as_str).collect();
        if !differs(&with_lines, &again) {
            say("the traces differ, but two runs that keep them do not");
        }
    }
    Ok(3)
}

/// Shows the first event in which a trace differs from the one that was kept.
fn differs(kept: &Done, other: &[&str]) -> bool {
    let same = kept.lines.iter().zip(other).take_while(|(a, b)| a == b).count();
    if same == kept.lines.len() && same == other.len() {
        return false;
    }
    say(&format!("\nthe first differing event is number {same}; before it:"));
    for line in &kept.lines[same.saturating_sub(8)..same] {
        say(&format!("  {line}"));
    }
    let line = |lines: Option<&str>| lines.unwrap_or("(the trace ends)").to_owned();
    say(&format!("- {}", line(kept.lines.get(same).map(String::as_str))));
    say(&format!("+ {}", line(other.get(same).copied())));
    let number =
        kept.lines.get(same).and_then(|line| line.split(" history ").nth(1)?.split(' ').next()?.parse().ok());
    if let Some(number) = number.filter(|number| *number < kept.history.events.len()) {
        say(&format!("which is {}", kept.history.line(number)));
    }
    true
}

/// The trace of one run, event by event, and its hash last.
pub(super) fn lines(scenario: &Scenario, seed: u64) -> u8 {
    let options = Options { lines: true, ..Options::default() };
    let done = drive::run(&scenario.usual(seed), &options);
    done.lines.iter().for_each(|line| say(line));
    say(&format!("trace {}", done.run.trace));
    0
}
