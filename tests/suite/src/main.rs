//! `cargo suite`: every check there is, one after the other, each with its time and a limit.
//!
//! Output of a step goes to target/suite/NAME.log; the end of it is shown when the step fails. A tool that
//! is missing fails its step: nothing is skipped silently.
#![allow(clippy::print_stdout, reason = "a program that talks to a terminal")]

mod pages;

use std::{
    fs::{self, File},
    io::Write,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use clap::Parser;

/// Runs every check; see README.md.
#[derive(Parser)]
struct Options {
    /// Only these steps.
    steps: Vec<String>,
    /// Leave these steps out.
    #[arg(long, value_name = "STEP")]
    skip: Vec<String>,
    /// Go on after a failure.
    #[arg(long)]
    keep_going: bool,
    /// Show the steps and their limits.
    #[arg(long)]
    list: bool,
}

/// One check: what it is called, what it may take cold on two cores, and the command.
struct Step {
    name: &'static str,
    /// Twice this is a failure, but never less than three minutes.
    minutes: f64,
    run: &'static [&'static str],
}

const STEPS: &[Step] = &[
    Step { name: "tools", minutes: 3.0, run: &["tools"] },
    Step { name: "fmt", minutes: 0.2, run: &["cargo", "fmt", "--all", "--check"] },
    Step {
        name: "clippy",
        minutes: 4.0,
        run: &["cargo", "clippy", "--workspace", "--all-targets", "--", "-D", "warnings"],
    },
    Step {
        name: "sim-clippy",
        minutes: 4.0,
        run: &["cargo", "sim-clippy", "--workspace", "--", "-D", "warnings"],
    },
    Step { name: "docs", minutes: 2.0, run: &["cargo", "doc", "--workspace", "--no-deps"] },
    Step { name: "sim-docs", minutes: 2.0, run: &["cargo", "sim-doc", "--workspace"] },
    Step { name: "test", minutes: 7.0, run: &["cargo", "test", "--workspace", "--no-fail-fast"] },
    // Programs, doc tests and examples are the same in both modes.
    Step {
        name: "sim-test",
        minutes: 9.0,
        run: &[
            "cargo",
            "sim-test",
            "--no-fail-fast",
            "--lib",
            "--bins",
            "--tests",
            "--package=runtime",
            "--package=protocol",
            "--package=net",
            "--package=namesrv",
            "--package=store",
            "--package=broker",
            "--package=client",
            "--package=world",
            "--package=lab",
            "--package=scenarios",
        ],
    },
    Step { name: "programs", minutes: 5.0, run: &["cargo", "build", "--release", "--workspace", "--bins"] },
    Step { name: "hooks", minutes: 0.2, run: &["hooks"] },
    Step {
        name: "determinism",
        minutes: 3.0,
        run: &["cargo", "sim", "sweep", "--seeds", "0..10", "--check", "--no-report"],
    },
    Step { name: "scenarios", minutes: 3.0, run: &["cargo", "sim"] },
    Step {
        name: "real",
        minutes: 4.0,
        run: &["cargo", "sim", "real", "first_message", "retry_to_dead_letter", "--prove"],
    },
    Step { name: "pages", minutes: 1.0, run: &["pages"] },
    Step { name: "mutants", minutes: 5.0, run: &["cargo", "sim", "mutants", "--minutes", "5"] },
    Step { name: "process", minutes: 2.0, run: &["cargo", "run", "--release", "--package", "process"] },
    Step { name: "interop", minutes: 4.0, run: &["cargo", "run", "--release", "--package", "interop"] },
    Step {
        name: "differential",
        minutes: 2.0,
        run: &["cargo", "run", "--release", "--package", "differential"],
    },
];

fn main() -> ExitCode {
    match suite(&Options::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            println!("suite: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn suite(options: &Options) -> Result<bool> {
    if options.list {
        for step in STEPS {
            println!("{:12} {:4.1} min  {}", step.name, step.minutes, step.run.join(" "));
        }
        return Ok(true);
    }
    for name in options.steps.iter().chain(&options.skip) {
        if !STEPS.iter().any(|s| s.name == name) {
            bail!("there is no step {name:?}; `cargo suite --list` shows all");
        }
    }
    let root = workspace()?;
    let logs = root.join("target/suite");
    fs::create_dir_all(&logs)?;
    let begun = Instant::now();
    let (mut passed, mut failed, mut broken) = (0, 0, Vec::new());
    for step in STEPS {
        let wanted = options.steps.is_empty() || options.steps.iter().any(|s| s == step.name);
        if !wanted || options.skip.iter().any(|s| s == step.name) {
            continue;
        }
        print!("{:12} ", step.name);
        std::io::stdout().flush()?;
        let log = logs.join(format!("{}.log", step.name));
        let started = Instant::now();
        let result = run(step, &root, &log);
        let took = started.elapsed();
        let counted = counts(&log);
        passed += counted.0;
        failed += counted.1;
        let result = result.and_then(|()| within(step, took));
        match result {
            Ok(()) => println!("ok     {:7.1} s{}", took.as_secs_f64(), tests(counted)),
            Err(error) => {
                println!("FAILED {:7.1} s{}  {error:#}", took.as_secs_f64(), tests(counted));
                println!("{}\n    the whole log: {}", tail(&log, 60), log.display());
                broken.push(step.name);
                if !options.keep_going {
                    break;
                }
            }
        }
    }
    println!("all          {:14.1} s", begun.elapsed().as_secs_f64());
    if !broken.is_empty() {
        println!("failed: {}", broken.join(", "));
    }
    println!("{passed} passed, {} failed", failed + broken.len());
    Ok(broken.is_empty())
}

fn run(step: &Step, root: &Path, log: &Path) -> Result<()> {
    let out = File::create(log)?;
    match step.run {
        ["tools"] => return tools(out),
        ["hooks"] => return hooks(root, out),
        ["pages"] => return pages::look(root, out),
        _ => {}
    }
    let [program, arguments @ ..] = step.run else { bail!("the step has no command") };
    let mut command = Command::new(program);
    if step.name == "docs" {
        // Only here: in the environment it would defeat the flags of the simulator's aliases.
        command.env("RUSTDOCFLAGS", "-D warnings");
    }
    let status = command
        .args(arguments)
        .current_dir(root)
        .stdin(std::process::Stdio::null())
        .stdout(out.try_clone()?)
        .stderr(out)
        .status()
        .with_context(|| format!("{program} cannot be started"))?;
    if !status.success() {
        bail!("`{}` ended with {status}", step.run.join(" "));
    }
    Ok(())
}

fn within(step: &Step, took: Duration) -> Result<()> {
    // A short step is not measured to the second: a machine may pause.
    let limit = Duration::from_secs_f64((step.minutes * 120.0).max(180.0));
    if took > limit {
        bail!("took longer than {:.0} s, far more than its share", limit.as_secs_f64());
    }
    Ok(())
}

/// What the later steps need beside the Rust toolchain: a browser, a JDK, Maven and Go, installed by the system's package
/// manager when that is possible.
fn tools(mut log: File) -> Result<()> {
    pages::install(&mut log)?;
    let have = |program: &str, argument: &str| {
        Command::new(program).arg(argument).output().is_ok_and(|o| o.status.success())
    };
    let java = || have("javac", "-version") && have("java", "-version") && have("mvn", "-version");
    let go = || have("go", "version");
    let mut missing = Vec::new();
    if !java() {
        missing.extend(["openjdk-17-jdk-headless", "maven"]);
    }
    if !go() {
        missing.push("golang-go");
    }
    if missing.is_empty() {
        return Ok(());
    }
    let install = [&["install", "-y", "--no-install-recommends"], &missing[..]].concat();
    for arguments in [&["update"][..], &install] {
        let done = Command::new("apt-get").args(arguments).env("DEBIAN_FRONTEND", "noninteractive").output();
        match done {
            Ok(done) => log.write_all(&[done.stdout, done.stderr].concat())?,
            Err(error) => writeln!(log, "apt-get {}: {error}", arguments.join(" "))?,
        }
    }
    if !java() || !go() {
        bail!(
            "the interop and differential tests need a JDK (17 or newer), Maven and Go (1.19 or newer): install {}",
            missing.join(", ")
        );
    }
    Ok(())
}

/// Names of hooks must not reach a production binary.
fn hooks(root: &Path, mut log: File) -> Result<()> {
    let binary = root.join("target/release/reprise");
    let bytes = fs::read(&binary)
        .with_context(|| format!("{} is missing: run the step `programs`", binary.display()))?;
    let mut names = Vec::new();
    for file in rust_files(&root.join("system"))? {
        let text = fs::read_to_string(&file)?;
        for hook in ["crash_point!(", "buggify!(", "planted!(", "sometimes!("] {
            let names_behind =
                text.split(hook).skip(1).filter_map(|rest| rest.trim_start().strip_prefix('"'));
            names.extend(names_behind.filter_map(|rest| rest.split('"').next()).map(str::to_owned));
        }
    }
    names.sort();
    names.dedup();
    // As text, because std's search for text is quick also in a debug build. Two or three letters and digits may stand
    // in a binary by chance; a dotted name cannot.
    let bytes = String::from_utf8_lossy(&bytes);
    let found: Vec<_> = names.iter().filter(|name| name.len() > 6 && bytes.contains(name.as_str())).collect();
    writeln!(log, "{} hook names, in the binary: {found:?}", names.len())?;
    if names.is_empty() {
        bail!("no hook was found in system/: this check looks in the wrong place");
    }
    if !found.is_empty() {
        bail!("hooks of the simulator are in the production binary: {found:?}");
    }
    Ok(())
}

fn rust_files(dir: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.is_dir() {
            files.extend(rust_files(&path)?);
        } else if path.extension().is_some_and(|e| e == "rs") {
            files.push(path);
        }
    }
    Ok(files)
}

/// Passed and failed tests, from the closing lines of cargo's test runner.
fn counts(log: &Path) -> (usize, usize) {
    let text = fs::read(log).map(|b| String::from_utf8_lossy(&b).into_owned()).unwrap_or_default();
    let number = |line: &str, word: &str| {
        line.split([';', '.']).find_map(|part| part.trim().strip_suffix(word)?.trim().parse::<usize>().ok())
    };
    text.lines().filter(|line| line.starts_with("test result:")).fold((0, 0), |(ok, bad), line| {
        (ok + number(line, "passed").unwrap_or(0), bad + number(line, "failed").unwrap_or(0))
    })
}

fn tests((passed, failed): (usize, usize)) -> String {
    match (passed, failed) {
        (0, 0) => String::new(),
        (passed, 0) => format!("  {passed} tests"),
        (passed, failed) => format!("  {passed} tests, {failed} failed"),
    }
}

fn tail(log: &Path, lines: usize) -> String {
    let text = fs::read(log).map(|b| String::from_utf8_lossy(&b).into_owned()).unwrap_or_default();
    let all: Vec<_> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].iter().map(|l| format!("    | {l}\n")).collect()
}

fn workspace() -> Result<PathBuf> {
    let here = std::env::current_dir()?;
    here.ancestors()
        .find(|dir| dir.join("rust-toolchain.toml").exists())
        .map(Path::to_path_buf)
        .context("run this inside the project's folder")
}
