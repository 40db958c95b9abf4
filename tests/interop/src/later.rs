//! Delay levels, retries and dead letters as unmodified Java and Go clients see them: times, counts and properties are
//! those that genuine 4.9.7, 5.3.3 and 5.5.0 brokers gave to the same programs.

use std::{collections::BTreeMap, process::Command};

use anyhow::{Context, Result, bail, ensure};

/// One delivery.
#[derive(Clone, Debug)]
struct Seen {
    what: String,
    body: String,
    topic: String,
    times: i32,
    stored: i64,
    id: String,
    properties: BTreeMap<String, String>,
}

/// Runs a client's program and compares what it saw.
pub(crate) fn run(mut command: Command, name_server: &str, topic: &str, group: &str) -> Result<()> {
    command.args(["later", name_server, topic, group]);
    let output = golden::run(&mut command)?;
    judge(&output, topic, group).with_context(|| format!("{topic}:\n{output}"))?;
    println!("ok {topic:<14} delays of two levels, 3 retries, 2 dead letters");
    Ok(())
}

fn judge(output: &str, topic: &str, group: &str) -> Result<()> {
    let mut sent: BTreeMap<&str, (String, String, String)> = BTreeMap::new();
    let mut seen = Vec::new();
    for line in output.lines() {
        let f: Vec<&str> = line.split('\t').collect();
        match f[..] {
            ["sent", body, "SEND_OK", queue, id, offset_id] => {
                sent.insert(body, (queue.to_owned(), id.to_owned(), offset_id.to_owned()));
            }
            ["got" | "dead", body, topic, times, stored, id, "TagA", _, properties] => seen.push(Seen {
                what: f[0].to_owned(),
                body: body.to_owned(),
                topic: topic.to_owned(),
                times: times.parse()?,
                stored: stored.parse()?,
                id: id.to_owned(),
                properties: properties
                    .split(' ')
                    .filter_map(|pair| pair.split_once('='))
                    .map(|(name, value)| (name.to_owned(), value.to_owned()))
                    .collect(),
            }),
            ["closed"] => {}
            _ if f[0] == "late" || f[0] == "sent" || f[0] == "got" || f[0] == "dead" => bail!("{line}"),
            _ => {}
        }
    }
    let retry = format!("%RETRY%{group}");
    let dead = format!("%DLQ%{group}");
    let chain = |body: &str| -> Vec<Seen> { seen.iter().filter(|s| s.body == body).cloned().collect() };
    for (body, level, delay) in
        [("level 1", Some("1"), 1000), ("level 2", Some("2"), 5000), ("level 0", Some("0"), 0)]
    {
        let come = chain(body);
        ensure!(come.len() == 1, "{body} came {} times", come.len());
        let (queue, id, _) = &sent[body];
        expect(&come[0], "got", topic, 0, id)?;
        marks(&come[0], level, (delay > 0).then_some((topic, queue.as_str())), None)?;
        if delay > 0 {
            let now = chain("level 0")[0].stored; // it was sent behind those that wait
            ensure!(come[0].stored + 500 >= now + delay, "{body} came after {} ms", come[0].stored - now);
        }
    }
    for (body, level, tries) in [("hard", "1", 2), ("once", "3", 1)] {
        let come: Vec<Seen> = chain(body).into_iter().filter(|s| s.what == "got").collect();
        ensure!(come.len() == tries + 1, "{body} came {} times", come.len());
        let (_, id, offset_id) = &sent[body];
        for (times, one) in come.iter().enumerate() {
            expect(one, "got", topic, i32::try_from(times)?, id)?;
            if times == 0 {
                marks(one, None, None, None)?;
            } else {
                marks(one, Some(level), Some((&retry, "0")), Some((topic, offset_id)))?;
                let wait = if level == "1" { 1000 } else { 10_000 };
                let took = one.stored - come[times - 1].stored;
                ensure!(took >= wait, "{body} was retried after {took} ms");
            }
        }
    }
    let letters: Vec<&Seen> = seen.iter().filter(|s| s.what == "dead").collect();
    ensure!(letters.len() == 2, "{} dead letters", letters.len());
    for (body, times, last) in [("hopeless", 1, None), ("hard", 3, Some((retry.as_str(), "0")))] {
        let letter =
            letters.iter().find(|s| s.body == body).with_context(|| format!("{body} did not die"))?;
        let (_, id, offset_id) = &sent[body];
        expect(letter, "dead", &dead, times, id)?;
        marks(letter, Some("0"), last, Some((topic, offset_id)))?;
    }
    Ok(())
}

fn expect(seen: &Seen, what: &str, topic: &str, times: i32, id: &str) -> Result<()> {
    let is = (seen.what.as_str(), seen.topic.as_str(), seen.times, seen.id.as_str());
    ensure!(
        is == (what, topic, times, id),
        "{seen:?}, expected {what} in {topic} as try {times} with id {id}"
    );
    ensure!(seen.properties.get("mine").is_some_and(|v| v == "yes"), "{seen:?} lost a property");
    Ok(())
}

/// Compares the properties that a broker adds.
fn marks(
    seen: &Seen,
    level: Option<&str>,
    real: Option<(&str, &str)>,
    first: Option<(&str, &str)>,
) -> Result<()> {
    let expected = [
        ("DELAY", level),
        ("REAL_TOPIC", real.map(|r| r.0)),
        ("REAL_QID", real.map(|r| r.1)),
        ("RETRY_TOPIC", first.map(|f| f.0)),
        ("ORIGIN_MESSAGE_ID", first.map(|f| f.1)),
        ("WAIT", Some(if first.is_some() { "false" } else { "true" })),
        ("CLUSTER", Some("TestCluster")),
        ("MSG_REGION", Some("DefaultRegion")),
        ("TRACE_ON", Some("true")),
    ];
    for (name, value) in expected {
        let is = seen.properties.get(name).map(String::as_str);
        // The consumers of 4.9 do not show a WAIT that is true.
        let silent = name == "WAIT" && value == Some("true") && is.is_none();
        ensure!(is == value || silent, "{name} is {is:?}, expected {value:?}: {seen:?}");
    }
    Ok(())
}
