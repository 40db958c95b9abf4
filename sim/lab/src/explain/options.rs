//! All that was drawn for the run, one name and value for each, beside what is usual.

use serde_json::Value;

use super::focus::Focus;
use crate::check::Rule;
use crate::plan::{Broker, Group, Member, Mode, Network, Plan, Producer, Topic};

/// One value of a plan.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// Where in the plan.
    pub name: String,
    /// What was drawn.
    pub value: String,
    /// What is usual, when that differs; empty when nothing is usual.
    pub usual: Option<String>,
}

/// An option that decides what a promise allows.
#[derive(Clone, Debug, PartialEq)]
pub struct Hang {
    /// Its name.
    pub name: String,
    /// Its value, and the unit.
    pub value: String,
    /// What it decides.
    pub decides: &'static str,
}

/// The options that a rule hangs on: a few.
#[must_use]
pub fn hangs(plan: &Plan, rule: Rule, focus: &Focus) -> Vec<Hang> {
    let hang = |name: &str, value: String, decides| Hang { name: name.to_owned(), value, decides };
    let time = |name: &str, default: u64, decides| {
        hang(name, format!("{} ms", plan.setting(name, default)), decides)
    };
    let flush = || {
        let sync = plan.brokers.iter().all(|broker| broker.sync_flush);
        let (value, decides) = match (sync, plan.brokers.iter().any(|broker| broker.sync_flush)) {
            (true, _) => ("true", "OK is answered when the record is durable, and not before"),
            (_, false) => (
                "false",
                "OK is answered before the record is durable: a loss of power may take what was answered last",
            ),
            _ => (
                "not the same on all brokers",
                "where it is true, OK is answered only when the record is durable",
            ),
        };
        hang("sync_flush", value.to_owned(), decides)
    };
    let group = focus.group.and_then(|id| plan.groups.get(id.index())).or(plan.groups.first());
    let range = |(low, high): (u64, u64)| format!("{low} to {high} ms");
    match rule.id().split_once('-').map_or("", |(family, _)| family) {
        "TXN" => vec![
            time("transactionTimeOut", 6000, "nobody is asked for so long after the half message is stored"),
            time("transactionCheckInterval", 30_000, "the time between two questions"),
            hang(
                "transactionCheckMax",
                plan.setting("transactionCheckMax", 15).to_string(),
                "questions at most",
            ),
        ],
        // What was sent, and how often, has to do with no disk.
        "ACK" if matches!(rule, Rule::Ack3 | Rule::Ack6 | Rule::Ack7 | Rule::Ack8) => Vec::new(),
        "ACK" | "LOG" => {
            let broker = plan.brokers.first();
            let bytes = broker.map_or(0, |it| it.log_file_bytes);
            let mut all = vec![flush()];
            let set = |name: &str| plan.setting(name, u64::MAX) != u64::MAX;
            if set("flushIntervalCommitLog") {
                all.push(time("flushIntervalCommitLog", 0, "the log is synced this often"));
            }
            all.push(hang("log_file_bytes", bytes.to_string(), "the size of a file of the log"));
            all
        }
        "CON" | "RTY" => group.map_or_else(Vec::new, |group| {
            let mut all = vec![
                hang(
                    "threads",
                    group.threads.to_string(),
                    "listeners of a member that run at once, so messages may end out of order",
                ),
                hang("work_ms", range(group.work_ms), "how long a listener is at work on a message"),
            ];
            if group.slow_one_in > 0 {
                all.push(hang(
                    "slow_one_in",
                    group.slow_one_in.to_string(),
                    "one in so many messages takes ten times as long",
                ));
            }
            if let Some(fails) = group.fails {
                all.push(hang(
                    "limit",
                    fails.limit.to_string(),
                    "retries of a message that cannot be handled",
                ));
            }
            all
        }),
        "DLY" if !plan.delay_levels_s.is_empty() => {
            vec![hang(
                "delay_levels_s",
                format!("{:?}", plan.delay_levels_s),
                "how long each level waits, in seconds",
            )]
        }
        "NS" | "L" => {
            vec![time("registerNameServerPeriod", 30_000, "a broker registers this often")]
        }
        _ => Vec::new(),
    }
}

/// All values but the faults.
#[must_use]
pub fn rows(plan: &Plan) -> Vec<Row> {
    let usual = flat(&usual(plan));
    let drawn =
        flat(plan).into_iter().filter(|(name, _)| !name.starts_with("steps") && !name.starts_with("ops"));
    let rows = drawn.map(|(name, value)| {
        let known = usual.iter().find(|(other, _)| *other == name).map(|(_, value)| value.clone());
        // Names tell places apart; nothing is usual about them.
        let named = name.ends_with(".name") || matches!(&*name, "scenario" | "seed" | "load_ms");
        let differs = !named && known.as_ref() != Some(&value);
        Row { usual: differs.then(|| known.unwrap_or_default()), name, value }
    });
    rows.collect()
}

/// What differs between two plans: where, and both values. A value that one of them does not have is empty.
#[must_use]
pub fn differences(a: &Plan, b: &Plan) -> Vec<(String, String, String)> {
    let (a, b) = (flat(a), flat(b));
    let find = |rows: &[(String, String)], name: &str| {
        rows.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone()).unwrap_or_default()
    };
    let mut names: Vec<&String> = a.iter().chain(&b).map(|(name, _)| name).collect();
    names.sort();
    names.dedup();
    let both = names.into_iter().map(|name| (name.clone(), find(&a, name), find(&b, name)));
    both.filter(|(_, a, b)| a != b).collect()
}

/// All values of a plan, by where in it they stand.
pub(crate) fn flat(plan: &Plan) -> Vec<(String, String)> {
    let mut out = Vec::new();
    walk("", &serde_json::to_value(plan).unwrap_or_default(), &mut out);
    out
}

fn walk(name: &str, value: &Value, out: &mut Vec<(String, String)>) {
    let inner = |key: &str| if name.is_empty() { key.to_owned() } else { format!("{name}.{key}") };
    match value {
        Value::Object(fields) => fields.iter().for_each(|(key, value)| walk(&inner(key), value, out)),
        // A range or a setting: one value.
        Value::Array(items)
            if items.len() == 2 && items.iter().all(|item| !item.is_object() && !item.is_array()) =>
        {
            let parts: Vec<String> = items.iter().map(plain).collect();
            let (first, second) = (&parts[0], &parts[1]);
            match items[0].is_string() {
                true => out.push((
                    format!("{} {first}", name.rsplit_once('.').map_or(name, |(of, _)| of)),
                    second.clone(),
                )),
                false => out.push((name.to_owned(), format!("{first} to {second}"))),
            }
        }
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(at, item)| walk(&inner(&at.to_string()), item, out));
        }
        other => out.push((name.to_owned(), plain(other))),
    }
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// The same cluster and load without anything unusual: how brokers and clients are when nobody sets anything.
fn usual(plan: &Plan) -> Plan {
    let broker = Broker {
        sync_flush: false,
        log_file_bytes: 1 << 30,
        queue_file_units: 300_000,
        sync_us: (100, 1000),
        clock_offset_ms: 0,
        config: Vec::new(),
    };
    let producer = |of: &Producer| Producer {
        topic: of.topic,
        mode: Mode::Auto,
        in_flight: 1,
        burst: 1,
        gap_ms: of.gap_ms,
        body: of.body,
        timeout_ms: 3000,
        retries: 2,
        delayed: None,
        group: 0,
        gone_ms: None,
        immunity_s: 0,
        twin: false,
        checks: None,
    };
    let group = |of: &Group| Group {
        tag: None,
        slow_one_in: 0,
        batch: 1,
        threads: 20,
        fails: None,
        stuck: None,
        from_end: false,
        work_ms: (0, 0),
        members: vec![Member { joins_ms: 0, leaves_ms: None, dies: false }; of.members.len()],
        ..of.clone()
    };
    Plan {
        name_servers: 1,
        brokers: vec![broker; plan.brokers.len()],
        topics: plan.topics.iter().map(|of| Topic { queues: 4, tags: 1, ..of.clone() }).collect(),
        producers: plan.producers.iter().map(producer).collect(),
        groups: plan.groups.iter().map(group).collect(),
        network: Network { latency_us: (100, 500), short_reads: false },
        steps: Vec::new(),
        delay_levels_s: Vec::new(),
        buggify: 0,
        rare: None,
        probe_ms: 3000,
        queries: 0,
        shared_keys: 0,
        by_client: 0,
        operator_ms: 0,
        lock_ms: 0,
        settle_ms: 0,
        recover_twice: false,
        ..plan.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::swarm;

    #[test]
    fn what_is_unusual_is_told_by_its_place_in_the_plan() {
        let mut plan = swarm::plain("any", 3, swarm::Size::QUICK);
        plan.groups[0].slow_one_in = 5;
        plan.brokers[0].config = vec![("transientStorePoolEnable".to_owned(), "true".to_owned())];
        let rows = rows(&plan);
        let find = |name: &str| rows.iter().find(|row| row.name == name).cloned().unwrap();
        assert_eq!(find("groups.0.slow_one_in").usual.as_deref(), Some("0"));
        assert_eq!(find("brokers.0.config transientStorePoolEnable").usual.as_deref(), Some(""));
        assert_eq!(find("seed").usual, None);
        assert!(!rows.iter().any(|row| row.name.starts_with("steps")));
    }

    #[test]
    fn two_plans_differ_where_they_differ() {
        let plan = swarm::plain("any", 3, swarm::Size::QUICK);
        let mut other = plan.clone();
        other.groups[0].slow_one_in += 1;
        let told = differences(&plan, &other);
        assert_eq!(told.len(), 1);
        assert_eq!(told[0].0, "groups.0.slow_one_in");
        assert_eq!(differences(&plan, &plan), []);
    }
}
