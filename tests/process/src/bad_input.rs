//! Bad input of every kind to the real programs: each gets a clear answer and harms nothing else.

use std::{fs, path::Path, process::Command};

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use process::{Asker, Cluster, LONG, Program, free_port};
use protocol::{
    Command as Frame, code,
    rpc::{GetMaxOffset, GetRouteInfoByTopic, SendMessageV2},
};

type Check = fn(&Cluster) -> Result<String>;

const CHECKS: &[(&str, Check)] = &[
    ("garbage on a connection", garbage),
    ("a frame that is too long", too_long),
    ("a header longer than its frame", bad_header),
    ("unknown request code", unknown_code),
    ("a missing field", missing_field),
    ("a field that is no number", malformed_field),
    ("illegal topic names", illegal_topics),
    ("illegal group name", illegal_group),
    ("an oversize body", oversize),
    ("an unknown topic with auto-create off", unknown_topic),
    ("a route of an unknown topic", unknown_route),
    ("an unknown configuration key", unknown_key),
    ("a malformed configuration value", malformed_value),
    ("a port in use", port_in_use),
    ("a store that another process has locked", locked_store),
    ("a folder that cannot be written", unwritable),
    ("a configuration file that is not there", no_file),
    ("an unknown flag", unknown_flag),
];

/// Runs all; returns how many passed and failed.
pub(crate) fn all() -> Result<(usize, usize)> {
    let cluster = Cluster::start(&[("autoCreateTopicEnable", "false")])?;
    process::create_topic(&cluster.broker_address(), "good", 4)?;
    let (mut passed, mut failed) = (0, 0);
    for (name, check) in CHECKS {
        let result = check(&cluster).and_then(|answer| {
            alive(&cluster).context("the broker no longer serves others")?;
            Ok(answer)
        });
        match result {
            Ok(answer) => {
                passed += 1;
                println!("ok     {name}: {answer}");
            }
            Err(error) => {
                failed += 1;
                println!("FAILED {name}: {error:#}");
            }
        }
    }
    Ok((passed, failed))
}

/// A send to a good topic works.
fn alive(cluster: &Cluster) -> Result<()> {
    let answer =
        Asker::connect(&cluster.broker_address())?.ask(&send("good"), Bytes::from_static(b"hello"))?;
    ensure!(answer.code == code::SUCCESS, "a send was answered {} {:?}", answer.code, answer.remark);
    Ok(())
}

fn send(topic: &str) -> SendMessageV2 {
    SendMessageV2 {
        producer_group: "bad-input".into(),
        topic: topic.into(),
        default_topic: "TBW102".into(),
        default_topic_queue_nums: 4,
        queue_id: 0,
        sys_flag: 0,
        born_timestamp: 1_700_000_000_000,
        flag: 0,
        ..SendMessageV2::default()
    }
}

fn told(answer: &Frame) -> String {
    format!("code {} {}", answer.code, answer.remark.as_deref().unwrap_or("without a remark"))
}

/// An answer with one of the codes and a remark that names what is wrong.
fn refused(answer: &Frame, codes: &[i32], names: &str) -> Result<String> {
    let text = told(answer);
    ensure!(codes.contains(&answer.code), "expected one of the codes {codes:?}, got {text}");
    ensure!(text.contains(names), "the remark does not name {names:?}: {text}");
    Ok(text)
}

fn closes(cluster: &Cluster, bytes: &[u8]) -> Result<String> {
    for address in [cluster.broker_address(), cluster.name_server()] {
        let mut asker = Asker::connect(&address)?;
        asker.send(bytes)?;
        if let Some(answer) = asker.read()? {
            bail!("{address} answered {}", told(&answer));
        }
    }
    Ok("both servers close the connection without an answer".to_owned())
}

fn garbage(cluster: &Cluster) -> Result<String> {
    closes(cluster, b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
}

fn too_long(cluster: &Cluster) -> Result<String> {
    closes(cluster, &[0x01, 0x00, 0x00, 0x00, 0, 0, 0, 2, b'{', b'}'])
}

fn bad_header(cluster: &Cluster) -> Result<String> {
    closes(cluster, &[0, 0, 0, 8, 0, 0, 0, 200, 1, 2, 3, 4])
}

fn unknown_code(cluster: &Cluster) -> Result<String> {
    let frame = Frame { code: 29_999, opaque: 5, ..Frame::default() };
    let mut text = String::new();
    for address in [cluster.broker_address(), cluster.name_server()] {
        let answer = Asker::connect(&address)?.ask_raw(&frame)?;
        text = refused(&answer, &[code::REQUEST_CODE_NOT_SUPPORTED], "29999")?;
    }
    Ok(text)
}

fn missing_field(cluster: &Cluster) -> Result<String> {
    let mut frame = Frame { code: 30, opaque: 6, ..Frame::default() };
    frame.ext.push("topic", "good");
    let answer = Asker::connect(&cluster.broker_address())?.ask_raw(&frame)?;
    refused(&answer, &[code::SYSTEM_ERROR], "queueId")
}

fn malformed_field(cluster: &Cluster) -> Result<String> {
    let mut frame = Frame { code: 30, opaque: 6, ..Frame::default() };
    frame.ext.push("topic", "good");
    frame.ext.push("queueId", "three");
    let answer = Asker::connect(&cluster.broker_address())?.ask_raw(&frame)?;
    refused(&answer, &[code::SYSTEM_ERROR], "queueId")
}

fn illegal_topics(cluster: &Cluster) -> Result<String> {
    let mut text = String::new();
    let long = "t".repeat(128);
    for topic in ["", "sp ace", "sla/sh", "../../etc", "grüße", long.as_str()] {
        let answer =
            Asker::connect(&cluster.broker_address())?.ask(&send(topic), Bytes::from_static(b"x"))?;
        let codes =
            [code::SYSTEM_ERROR, code::MESSAGE_ILLEGAL, code::INVALID_PARAMETER, code::TOPIC_NOT_EXIST];
        text = refused(&answer, &codes, "topic")?;
        ensure!(
            process::create_topic(&cluster.broker_address(), topic, 4).is_err(),
            "topic {topic:?} was created"
        );
    }
    let answer = Asker::connect(&cluster.broker_address())?
        .ask(&send("SCHEDULE_TOPIC_XXXX"), Bytes::from_static(b"x"))?;
    refused(&answer, &[code::NO_PERMISSION], "SCHEDULE_TOPIC_XXXX")?;
    Ok(text)
}

fn illegal_group(cluster: &Cluster) -> Result<String> {
    let body = r#"{"clientID":"id","consumerDataSet":[{"groupName":"sp ace/group","consumeType":"CONSUME_PASSIVELY",
        "messageModel":"CLUSTERING","consumeFromWhere":"CONSUME_FROM_LAST_OFFSET","subscriptionDataSet":[]}]}"#;
    let frame = Frame { code: 34, opaque: 8, body: Bytes::from(body), ..Frame::default() };
    let answer = Asker::connect(&cluster.broker_address())?.ask_raw(&frame)?;
    refused(
        &answer,
        &[code::SYSTEM_ERROR, code::INVALID_PARAMETER, code::SUBSCRIPTION_GROUP_NOT_EXIST],
        "group",
    )
}

fn oversize(cluster: &Cluster) -> Result<String> {
    let body = Bytes::from(vec![b'x'; (4 << 20) + 1]);
    let answer = Asker::connect(&cluster.broker_address())?.ask(&send("good"), body)?;
    refused(&answer, &[code::MESSAGE_ILLEGAL], "4194304")
}

fn unknown_topic(cluster: &Cluster) -> Result<String> {
    let answer =
        Asker::connect(&cluster.broker_address())?.ask(&send("nowhere"), Bytes::from_static(b"x"))?;
    refused(&answer, &[code::TOPIC_NOT_EXIST], "nowhere")?;
    let header = GetMaxOffset { topic: "nowhere".into(), queue_id: 0, ..GetMaxOffset::default() };
    let other = Asker::connect(&cluster.broker_address())?.ask(&header, Bytes::new())?;
    ensure!(
        other.code == code::SUCCESS || other.code == code::TOPIC_NOT_EXIST,
        "max offset: {}",
        told(&other)
    );
    Ok(told(&answer))
}

fn unknown_route(cluster: &Cluster) -> Result<String> {
    let header = GetRouteInfoByTopic { topic: "nowhere".into(), ..GetRouteInfoByTopic::default() };
    let answer = Asker::connect(&cluster.name_server())?.ask(&header, Bytes::new())?;
    refused(&answer, &[code::TOPIC_NOT_EXIST], "nowhere")
}

/// Runs a program that must end by itself with an error, and returns what it said.
fn fails(arguments: &[&str], must_say: &[&str]) -> Result<String> {
    let mut program = Program::start("reprise", Command::new(process::binary()?).args(arguments))?;
    let status = program.wait(LONG)?;
    let text = program.lines().join("\n");
    ensure!(status != 0, "it ended with 0 and said {text:?}");
    for word in must_say {
        ensure!(text.contains(word), "it does not say {word:?} but: {text}");
    }
    ensure!(!text.contains("panicked"), "it panicked: {text}");
    Ok(format!("exit code {status}, {}", text.lines().next_back().unwrap_or_default()))
}

/// A broker with a configuration file of the given text; must end with an error.
fn broker_fails(cluster: &Cluster, text: &str, must_say: &[&str]) -> Result<String> {
    let dir = cluster.folder().join("bad");
    fs::create_dir_all(&dir)?;
    let file = dir.join("bad.properties");
    let store = dir.join("store");
    let common =
        format!("brokerIP1=127.0.0.1\nlistenPort={}\nstorePathRootDir={}\n", free_port()?, store.display());
    // Later lines win, so a test can say another port or folder.
    fs::write(&file, format!("{common}{text}"))?;
    fails(&["broker", "-c", path(&file)], must_say)
}

fn path(path: &Path) -> &str {
    path.to_str().unwrap_or_default()
}

fn unknown_key(cluster: &Cluster) -> Result<String> {
    broker_fails(cluster, "flushDiskTyp=SYNC_FLUSH\n", &["bad.properties:4", "flushDiskTyp", "flushDiskType"])
}

fn malformed_value(cluster: &Cluster) -> Result<String> {
    broker_fails(
        cluster,
        "fileReservedTime=three days\n",
        &["bad.properties:4", "fileReservedTime", "three days"],
    )
}

fn port_in_use(cluster: &Cluster) -> Result<String> {
    let address = cluster.broker_address();
    let port = address.rsplit(':').next().unwrap_or_default();
    broker_fails(cluster, &format!("listenPort={port}\n"), &[port, "in use"])
}

fn locked_store(cluster: &Cluster) -> Result<String> {
    let store = cluster.folder().join("store");
    broker_fails(cluster, &format!("storePathRootDir={}\n", store.display()), &[path(&store), "lock"])
}

fn unwritable(cluster: &Cluster) -> Result<String> {
    // /proc refuses new folders even to root.
    broker_fails(cluster, "storePathRootDir=/proc/reprise\n", &["/proc/reprise"])
}

fn no_file(cluster: &Cluster) -> Result<String> {
    let file = cluster.folder().join("absent.properties");
    fails(&["broker", "-c", path(&file)], &["absent.properties"])
}

fn unknown_flag(_: &Cluster) -> Result<String> {
    fails(&["broker", "--storre", "x"], &["--storre", "--store"])
}
