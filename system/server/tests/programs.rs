//! The program as a process: what it prints, how it ends, and what it says when it cannot start.
#![cfg(not(madsim))]
#![allow(clippy::unwrap_used, reason = "a test may")]

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Output, Stdio},
};

use bytes::BytesMut;
use protocol::{
    Request,
    rpc::{GetKvConfig, GetNamesrvConfig, PutKvConfig, UpdateNamesrvConfig},
};

fn reprise(words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_reprise"));
    command.args(words).env_remove("NAMESRV_ADDR").env_remove("REPRISE_LOG");
    command
}

fn ends(words: &[&str]) -> (i32, String, String) {
    let Output { status, stdout, stderr } = reprise(words).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status.code().unwrap(), text(stdout), text(stderr))
}

/// A program that runs, with the first lines it printed.
struct Running {
    child: Child,
    lines: Vec<String>,
}

impl Running {
    fn start(command: &mut Command, lines: usize) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let out = BufReader::new(child.stdout.as_mut().unwrap());
        let lines: Vec<_> = out.lines().take(lines).map(Result::unwrap).collect();
        if lines.is_empty() {
            let mut text = String::new();
            child.stderr.as_mut().unwrap().read_to_string(&mut text).unwrap();
            panic!("it ended: {text}");
        }
        Self { child, lines }
    }

    fn signal(&mut self, name: &str) {
        assert!(Command::new("kill").args([name, &self.child.id().to_string()]).status().unwrap().success());
    }

    fn wait(&mut self) -> Option<i32> {
        self.child.wait().unwrap().code()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A broker's flags: any port, files as small as possible.
fn broker(store: &Path) -> Vec<String> {
    let mut words = vec!["broker".to_owned(), "--store".to_owned(), store.display().to_string()];
    for set in [
        "brokerName=a",
        "brokerIP1=127.0.0.1",
        "bindAddress=127.0.0.1",
        "listenPort=0",
        "mappedFileSizeCommitLog=1048576",
    ] {
        words.extend(["--set".to_owned(), set.to_owned()]);
    }
    words
}

fn words(words: &[String]) -> Vec<&str> {
    words.iter().map(String::as_str).collect()
}

#[test]
fn both_servers_say_javas_sentences_and_end_with_0_when_asked() {
    let dir = tempfile::tempdir().unwrap();
    let kv = format!("kvConfigPath={}", dir.path().join("kv.json").display());
    let names = ["namesrv", "--set", "listenPort=0", "--set", &kv, "--set", "bindAddress=127.0.0.1"];
    let mut names = Running::start(&mut reprise(&names), 2);
    let address = names.lines[0]
        .strip_prefix("The Name Server boot success. serializeType=JSON, address ")
        .unwrap()
        .to_owned();
    assert!(address.starts_with("127.0.0.1:") && !address.ends_with(":0"), "{address}");

    let flags = broker(&dir.path().join("store"));
    let mut program = Running::start(reprise(&words(&flags)).args(["-n", &address]), 2);
    let line = program.lines[0].strip_prefix("The broker[a, 127.0.0.1:").unwrap();
    let (_port, rest) = line.split_once(']').unwrap();
    assert_eq!(rest, format!(" boot success. serializeType=JSON and name server is {address}"));
    assert!(
        program.lines[1].contains(&dir.path().join("store").display().to_string()),
        "{}",
        program.lines[1]
    );

    program.signal("-TERM");
    assert_eq!(program.wait(), Some(0));
    names.signal("-INT");
    assert_eq!(names.wait(), Some(0));
}

#[test]
fn a_log_file_takes_the_log_and_the_soft_limit_of_open_files_is_raised() {
    let dir = tempfile::tempdir().unwrap();
    let (kv, log) = (dir.path().join("kv.json"), dir.path().join("names.log"));
    let script = format!(
        "ulimit -Sn 100; exec {} namesrv --set listenPort=0 --set bindAddress=127.0.0.1 --set kvConfigPath={} --log-file {}",
        env!("CARGO_BIN_EXE_reprise"),
        kv.display(),
        log.display()
    );
    let mut names = Running::start(Command::new("sh").args(["-c", &script]).env_remove("REPRISE_LOG"), 2);
    let limits = fs::read_to_string(format!("/proc/{}/limits", names.child.id())).unwrap();
    let files: Vec<_> =
        limits.lines().find(|l| l.starts_with("Max open files")).unwrap().split_whitespace().collect();
    assert_eq!(files[3], files[4], "{limits}");
    names.signal("-TERM");
    assert_eq!(names.wait(), Some(0));
    let mut err = String::new();
    names.child.stderr.as_mut().unwrap().read_to_string(&mut err).unwrap();
    let log = fs::read_to_string(log).unwrap();
    assert!(err.is_empty() && log.contains("INFO"), "{err}\n{log}");

    let (code, _, err) = ends(&["namesrv", "--log-file", "/proc/reprise/log"]);
    assert_eq!(code, 255);
    assert!(err.contains("--log-file /proc/reprise/log: cannot be opened"), "{err}");
}

/// Asks a server one thing.
fn ask<R: Request>(address: &str, request: &R, body: &'static [u8]) -> protocol::Command {
    let mut frame = BytesMut::new();
    protocol::Command::request(request, body.into()).encode(&mut frame).unwrap();
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(&frame).unwrap();
    let mut length = [0; 4];
    stream.read_exact(&mut length).unwrap();
    let mut answer = BytesMut::zeroed(usize::try_from(u32::from_be_bytes(length)).unwrap());
    stream.read_exact(&mut answer).unwrap();
    protocol::Command::decode(answer).unwrap()
}

#[test]
fn a_name_server_can_be_started_with_the_settings_that_it_kept() {
    let dir = tempfile::tempdir().unwrap();
    let (kv, kept) = (dir.path().join("a/kv.json"), dir.path().join("kept/names.conf"));
    let start = |words: &[&str]| {
        let names = Running::start(
            reprise(&["namesrv", "--set", "listenPort=0", "--set", "bindAddress=127.0.0.1"]).args(words),
            2,
        );
        let address = names.lines[0].rsplit_once(' ').unwrap().1.to_owned();
        (names, address)
    };
    let (kv_path, kept_path) =
        (format!("kvConfigPath={}", kv.display()), format!("configStorePath={}", kept.display()));
    let (first, address) = start(&["--set", &kv_path, "--set", &kept_path]);
    let place = PutKvConfig { namespace: "n".into(), key: "k".into(), value: "v".into() };
    assert_eq!(ask(&address, &place, b"").code, 0);
    assert_eq!(ask(&address, &UpdateNamesrvConfig {}, b"orderMessageEnable=true\n").code, 0);
    let told = ask(&address, &GetNamesrvConfig {}, b"").body;
    assert!(String::from_utf8_lossy(&told).contains(&kv_path), "{told:?}");
    drop(first);

    let (_second, address) = start(&["-c", kept.to_str().unwrap()]);
    let answer = ask(&address, &GetKvConfig { namespace: "n".into(), key: "k".into() }, b"");
    assert_eq!(answer.ext.get("value"), Some("v"), "{:?}", answer.remark);
}

#[test]
fn a_locked_store_names_the_process_that_has_it() {
    let dir = tempfile::tempdir().unwrap();
    let flags = broker(dir.path());
    let first = Running::start(&mut reprise(&words(&flags)), 1);
    let (code, out, err) = ends(&words(&flags));
    assert_eq!((code, out.as_str()), (255, ""));
    assert!(err.contains(&format!("is locked by process {} (reprise)", first.child.id())), "{err}");
    assert!(err.contains(&dir.path().display().to_string()), "{err}");
}

#[test]
fn what_keeps_a_server_from_starting_is_one_clear_sentence() {
    let dir = tempfile::tempdir().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let listen = format!("listenPort={port}");

    let mut flags = broker(&dir.path().join("a"));
    flags.extend(["--set".to_owned(), listen.clone()]);
    let (code, _, err) = ends(&words(&flags));
    assert_eq!(code, 255);
    assert!(err.contains(&format!("cannot listen on 127.0.0.1:{port}: Address already in use")), "{err}");

    let kv = format!("kvConfigPath={}", dir.path().join("kv.json").display());
    let (code, _, err) = ends(&["namesrv", "--set", "bindAddress=127.0.0.1", "--set", &listen, "--set", &kv]);
    assert_eq!(code, 255);
    assert!(err.contains(&port.to_string()) && err.contains("in use"), "{err}");

    let (code, _, err) = ends(&["broker", "--store", "/proc/reprise"]);
    assert_eq!(code, 255);
    assert!(err.contains("the store folder /proc/reprise cannot be used"), "{err}");

    let (code, _, err) = ends(&["broker", "--set", "brokerRole=SLAVE"]);
    assert_eq!(code, 253);
    assert!(err.contains("brokerRole"), "{err}");
    assert!(!err.contains("panicked"), "{err}");
}

#[test]
fn the_configuration_is_printed_and_checked_without_starting() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("b.conf");
    fs::write(&file, "brokerName=x\nflushDiskType=SYNC_FLUSH\nuseEpollNativeSelector=true\n").unwrap();
    let file = file.to_str().unwrap();
    let (code, out, _) = ends(&["broker", "-c", file, "-p"]);
    assert_eq!(code, 0);
    assert!(
        out.contains(&format!("# {file}:2; the default is \"ASYNC_FLUSH\"\nflushDiskType=SYNC_FLUSH\n")),
        "{out}"
    );
    let (_, important, _) = ends(&["broker", "-c", file, "-m"]);
    assert!(important.len() < out.len() && important.contains("brokerName=x"), "{important}");

    // What was printed is a configuration that says the same.
    let again = dir.path().join("again.conf");
    fs::write(&again, &out).unwrap();
    let plain = |text: &str| {
        text.lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(plain(&ends(&["broker", "-c", again.to_str().unwrap(), "-p"]).1), plain(&out));

    let (code, out, _) = ends(&["broker", "-c", file, "--config-check"]);
    assert_eq!((code, out.lines().count()), (0, 2), "{out}");
    assert!(out.contains("useEpollNativeSelector` has no effect here"), "{out}");

    fs::write(file, "flushDiskTyp=SYNC_FLUSH\n").unwrap();
    let (code, _, err) = ends(&["broker", "-c", file, "--config-check"]);
    assert_eq!(code, 253);
    assert!(err.contains("b.conf:1: unknown key `flushDiskTyp`, did you mean `flushDiskType`?"), "{err}");
    assert_eq!(ends(&["broker", "-c", file, "--config-check", "--lenient-config"]).0, 0);
    assert_eq!(ends(&["broker", "--nonsense"]).0, 2);
}

#[test]
fn the_javas_names_of_the_programs_work_as_links() {
    let dir = tempfile::tempdir().unwrap();
    let link = dir.path().join("mqbroker");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_reprise"), &link).unwrap();
    let out = Command::new(&link).arg("-m").output().unwrap().stdout;
    assert!(String::from_utf8(out).unwrap().contains("brokerClusterName=DefaultCluster"));
}

#[test]
fn dev_is_a_name_server_and_a_broker_that_leave_nothing_behind() {
    let mut dev = Running::start(&mut reprise(&["dev", "--namesrv-port", "0", "--broker-port", "0"]), 4);
    assert!(dev.lines[0].starts_with("The Name Server boot success."), "{:?}", dev.lines);
    assert!(dev.lines[1].starts_with("The broker[dev, 127.0.0.1:"), "{:?}", dev.lines);
    let store = dev.lines[2].split("store ").nth(1).unwrap().split(',').next().unwrap().to_owned();
    assert!(Path::new(&store).join("commitlog").exists(), "{store}");
    dev.signal("-TERM");
    assert_eq!(dev.wait(), Some(0));
    assert!(!Path::new(&store).exists());
}
