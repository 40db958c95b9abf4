//! Name rules of topics and groups (wire.md 3).

/// A name that is not allowed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{kind} {name:?} {why}")]
pub(crate) struct BadName {
    kind: &'static str,
    name: String,
    why: String,
}

pub(crate) fn check_topic(name: &str) -> Result<(), BadName> {
    let most = if name.starts_with(RETRY) || name.starts_with("%DLQ%") { 255 } else { 127 };
    check("topic", name, most)
}

pub(crate) fn check_group(name: &str) -> Result<(), BadName> {
    check("group", name, 120)
}

fn check(kind: &'static str, name: &str, most: usize) -> Result<(), BadName> {
    let bad = |why: String| Err(BadName { kind, name: name.to_owned(), why });
    if name.is_empty() {
        return bad("is empty".to_owned());
    }
    if name.len() > most {
        return bad(format!("has {} characters, more than {most}", name.len()));
    }
    match name.chars().find(|c| !c.is_ascii_alphanumeric() && !"%|-_".contains(*c)) {
        Some(c) => bad(format!("holds {c:?}: only letters, digits, % | - and _ are allowed")),
        None => Ok(()),
    }
}

pub(crate) fn retry_topic(group: &str) -> String {
    format!("{RETRY}{group}")
}

pub(crate) fn is_retry(topic: &str) -> bool {
    topic.starts_with(RETRY)
}

/// Topics that only brokers write to.
pub(crate) fn is_not_sendable(topic: &str) -> bool {
    NOT_SENDABLE.contains(&topic)
}

const RETRY: &str = "%RETRY%";
const NOT_SENDABLE: [&str; 6] = [
    "SCHEDULE_TOPIC_XXXX",
    "RMQ_SYS_TRANS_HALF_TOPIC",
    "RMQ_SYS_TRANS_OP_HALF_TOPIC",
    "TRANS_CHECK_MAX_TIME_TOPIC",
    "SELF_TEST_TOPIC",
    "OFFSET_MOVED_EVENT",
];
