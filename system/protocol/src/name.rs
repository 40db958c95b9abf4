//! Names of topics and groups: which are allowed, which belong to the system, and how names are built.

use thiserror::Error;

use crate::text::Text;

/// Prefix of the topic a group's failed messages wait in.
pub const RETRY_PREFIX: &str = "%RETRY%";
/// Prefix of the topic a group's given-up messages end in.
pub const DLQ_PREFIX: &str = "%DLQ%";
/// Prefix of the queues of light topics.
pub const LMQ_PREFIX: &str = "%LMQ%";
/// The topic that topics made by sending take as their template.
pub const AUTO_CREATE_TOPIC: &str = "TBW102";
/// Delayed messages wait here.
pub const SCHEDULE_TOPIC: &str = "SCHEDULE_TOPIC_XXXX";
/// Half messages wait here.
pub const HALF_TOPIC: &str = "RMQ_SYS_TRANS_HALF_TOPIC";
/// What became of half messages.
pub const OP_HALF_TOPIC: &str = "RMQ_SYS_TRANS_OP_HALF_TOPIC";
/// Half messages that were checked too often.
pub const TRANS_CHECK_MAX_TIME_TOPIC: &str = "TRANS_CHECK_MAX_TIME_TOPIC";
/// For the broker's own checks.
pub const SELF_TEST_TOPIC: &str = "SELF_TEST_TOPIC";
/// Offsets that were out of range.
pub const OFFSET_MOVED_EVENT: &str = "OFFSET_MOVED_EVENT";
/// For benchmarks.
pub const BENCHMARK_TOPIC: &str = "BenchmarkTest";
/// Traces of messages.
pub const TRACE_TOPIC: &str = "RMQ_SYS_TRACE_TOPIC";
/// The timer's checkpoint.
pub const CHECKPOINT_TOPIC: &str = "CHECKPOINT_TOPIC";
/// Messages with a delivery time wait here.
pub const TIMER_TOPIC: &str = "rmq_sys_wheel_timer";
/// Prefix of the system's newer topics.
pub const SYSTEM_PREFIX: &str = "rmq_sys_";
/// Asking for the route of this prefix and a broker's name gives the brokers of that name.
pub const MEMBER_PREFIX: &str = "rmq_sys_SYNC_BROKER_MEMBER_";
/// Prefix of the system's groups.
pub const SYSTEM_GROUP_PREFIX: &str = "CID_RMQ_SYS_";
/// The producer of messages that clients send back themselves.
pub const CLIENT_INNER_PRODUCER: &str = "CLIENT_INNER_PRODUCER";

/// The longest topic that is not one of the built names.
pub const TOPIC_MAX: usize = 127;
/// The longest retry or dead-letter topic.
pub const BUILT_TOPIC_MAX: usize = 255;
/// The longest group.
pub const GROUP_MAX: usize = 120;

/// A name that breaks a rule.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum NameError {
    /// Nothing, or only blanks.
    #[error("the {0} is blank")]
    Blank(&'static str),
    /// Too many characters.
    #[error("the {what} {name:?} has {length} characters, more than the {max} allowed")]
    TooLong {
        /// Topic or group.
        what: &'static str,
        /// Its beginning.
        name: String,
        /// How long it is.
        length: usize,
        /// How long it may be.
        max: usize,
    },
    /// A character outside the allowed set.
    #[error(
        "the {what} {name:?} contains {character:?}; only A-Z, a-z, 0-9, '%', '|', '-' and '_' are allowed"
    )]
    Character {
        /// Topic or group.
        what: &'static str,
        /// Its beginning.
        name: String,
        /// The first character that is not allowed.
        character: char,
    },
}

/// Is this a topic that clients may name?
pub fn check_topic(topic: &str) -> Result<(), NameError> {
    let built = topic.starts_with(RETRY_PREFIX) || topic.starts_with(DLQ_PREFIX);
    check("topic", topic, if built { BUILT_TOPIC_MAX } else { TOPIC_MAX }, allowed)
}

/// Is this a topic that may exist? Retry topics of pop also have a `+`, which clients may not use.
pub fn check_stored_topic(topic: &str) -> Result<(), NameError> {
    if topic.starts_with(RETRY_PREFIX) {
        return check("topic", topic, BUILT_TOPIC_MAX, |c| allowed(c) || c == '+');
    }
    check_topic(topic)
}

/// Is this a group that clients may name?
pub fn check_group(group: &str) -> Result<(), NameError> {
    check("group", group, GROUP_MAX, allowed)
}

/// Whether a topic is the system's own. The names of cluster and broker are topics too, known to the broker only.
pub fn is_system_topic(topic: &str) -> bool {
    SYSTEM_TOPICS.contains(&topic) || topic.starts_with(SYSTEM_PREFIX)
}

/// Whether clients may not send to a topic.
pub fn is_closed_topic(topic: &str) -> bool {
    CLOSED_TOPICS.contains(&topic)
}

/// Whether a group is the system's own.
pub fn is_system_group(group: &str) -> bool {
    SYSTEM_GROUPS.contains(&group) || group.starts_with(SYSTEM_GROUP_PREFIX)
}

/// The topic a group's failed messages wait in.
pub fn retry_topic(group: &str) -> Text {
    format!("{RETRY_PREFIX}{group}").into()
}

/// The topic a group's given-up messages end in.
pub fn dlq_topic(group: &str) -> Text {
    format!("{DLQ_PREFIX}{group}").into()
}

/// The topic popped messages of `topic` wait in when `group` failed on them, in the newer form.
pub fn pop_retry_topic(topic: &str, group: &str) -> Text {
    format!("{RETRY_PREFIX}{group}+{topic}").into()
}

/// The same in the older form, which cannot be taken apart for certain.
pub fn pop_retry_topic_v1(topic: &str, group: &str) -> Text {
    format!("{RETRY_PREFIX}{group}_{topic}").into()
}

/// The topic replies to requests are stored in.
pub fn reply_topic(cluster: &str) -> Text {
    format!("{cluster}_REPLY_TOPIC").into()
}

/// The topic of pop's own records.
pub fn revive_topic(cluster: &str) -> Text {
    format!("rmq_sys_REVIVE_LOG_{cluster}").into()
}

/// The topic whose route gives the brokers of one name.
pub fn member_topic(broker_name: &str) -> Text {
    format!("{MEMBER_PREFIX}{broker_name}").into()
}

/// The group of a retry or dead-letter topic.
pub fn group_of(topic: &str) -> Option<&str> {
    topic.strip_prefix(RETRY_PREFIX).or_else(|| topic.strip_prefix(DLQ_PREFIX))
}

fn check(
    what: &'static str,
    name: &str,
    max: usize,
    allowed: impl Fn(char) -> bool,
) -> Result<(), NameError> {
    if name.trim().is_empty() {
        return Err(NameError::Blank(what));
    }
    let shown = || name.chars().take(40).collect();
    // The rules count characters, but all allowed ones have one byte.
    if name.len() > max {
        return Err(NameError::TooLong { what, name: shown(), length: name.chars().count(), max });
    }
    match name.chars().find(|c| !allowed(*c)) {
        Some(character) => Err(NameError::Character { what, name: shown(), character }),
        None => Ok(()),
    }
}

fn allowed(character: char) -> bool {
    character.is_ascii_alphanumeric() || matches!(character, '%' | '|' | '-' | '_')
}

const CLOSED_TOPICS: [&str; 6] = [
    SCHEDULE_TOPIC,
    HALF_TOPIC,
    OP_HALF_TOPIC,
    TRANS_CHECK_MAX_TIME_TOPIC,
    SELF_TEST_TOPIC,
    OFFSET_MOVED_EVENT,
];

const SYSTEM_TOPICS: [&str; 10] = [
    AUTO_CREATE_TOPIC,
    SCHEDULE_TOPIC,
    BENCHMARK_TOPIC,
    HALF_TOPIC,
    TRACE_TOPIC,
    OP_HALF_TOPIC,
    TRANS_CHECK_MAX_TIME_TOPIC,
    SELF_TEST_TOPIC,
    OFFSET_MOVED_EVENT,
    CHECKPOINT_TOPIC,
];

const SYSTEM_GROUPS: [&str; 13] = [
    "DEFAULT_CONSUMER",
    "DEFAULT_PRODUCER",
    "TOOLS_CONSUMER",
    "SCHEDULE_CONSUMER",
    "FILTERSRV_CONSUMER",
    "__MONITOR_CONSUMER",
    CLIENT_INNER_PRODUCER,
    "SELF_TEST_P_GROUP",
    "SELF_TEST_C_GROUP",
    "CID_ONS-HTTP-PROXY",
    "CID_ONSAPI_PERMISSION",
    "CID_ONSAPI_OWNER",
    "CID_ONSAPI_PULL",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_follow_the_rules() {
        for good in ["T", "a-b_c|d%e9", &"x".repeat(127), &format!("%RETRY%{}", "g".repeat(248)), "%DLQ%g"] {
            assert_eq!(check_topic(good), Ok(()), "{good}");
        }
        assert_eq!(check_topic(" \t"), Err(NameError::Blank("topic")));
        for (bad, said) in [
            ("a b", "contains ' '"),
            ("a.b", "contains '.'"),
            ("日", "contains '日'"),
            (&"x".repeat(128), "has 128 characters, more than the 127 allowed"),
            (&format!("%RETRY%{}", "g".repeat(249)), "has 256 characters"),
            ("%RETRY%g+T", "contains '+'"),
        ] {
            let error = check_topic(bad).unwrap_err().to_string();
            assert!(error.contains(said), "{bad}: {error}");
        }
        assert_eq!(check_stored_topic(&pop_retry_topic("T", "g")), Ok(()));
    }

    #[test]
    fn groups_and_system_names() {
        assert_eq!(check_group(&"g".repeat(120)), Ok(()));
        assert!(check_group(&"g".repeat(121)).is_err());
        assert!(is_system_topic("TBW102") && is_system_topic("rmq_sys_anything") && !is_system_topic("T"));
        assert!(is_closed_topic(SCHEDULE_TOPIC) && !is_closed_topic("TBW102"));
        assert!(is_system_group("CID_RMQ_SYS_TRANS") && !is_system_group("g"));
        assert_eq!(group_of(&retry_topic("g")), Some("g"));
        assert_eq!(group_of(&dlq_topic("g")), Some("g"));
        assert_eq!(group_of("g"), None);
    }
}
