//! Peer versions: what we say we are, and from which version on a peer can do what.
//!
//! A version is the index in the reference's list, which has two entries (snapshot and release) per version.

/// The version in everything we send: 5.3.3. Clients switch features by it, it fits 16 bits (Go), and it lies below
/// the codec change of 5.4.
pub const OURS: i32 = 479;

/// 3.0.7: from here on clients understand the reset of their offsets and the question for their status.
pub const RESET_AND_STATUS: i32 = 28;
/// 3.0.11: from here on the body of a broker registration is the full one.
pub const FULL_REGISTRATION: i32 = 37;
/// 3.1.8: from here on clients answer for their running state and consume a message directly.
pub const RUNNING_INFO: i32 = 62;
/// 3.4.9: from here on the sender's maximum of repeats counts.
pub const MAX_RECONSUME_TIMES: i32 = 121;
/// 4.1.0: a Java client pulls with a filter expression only from brokers at least this new.
pub const FILTER_BY_EXPRESSION: i32 = 232;
/// 4.9.3: the last one that leaves `_UNIQUE_KEY_QUERY` out of its signature.
pub const SIGNS_WITHOUT_UNIQUE_KEY: i32 = 399;
/// 4.9.4: from here on route answers are standard JSON without asking for it.
pub const STANDARD_JSON_ROUTE: i32 = 401;
/// 5.0.0: from here on a compressed registration ends with the queue mappings.
pub const REGISTRATION_WITH_MAPPINGS: i32 = 413;
/// 5.3.1: the last one that does not know that a server says it goes away.
pub const LAST_WITHOUT_GO_AWAY: i32 = 475;

/// The version as people write it, for logs and lists of connections.
pub fn describe(version: i32) -> String {
    let known = RELEASES.iter().rev().find(|(ordinal, _)| *ordinal <= version);
    match known {
        Some((ordinal, name)) if *ordinal == version => (*name).to_owned(),
        Some((_, name)) => format!("{name}+ ({version})"),
        None => format!("({version})"),
    }
}

const RELEASES: [(i32, &str); 24] = [
    (28, "V3_0_7_SNAPSHOT"),
    (37, "V3_0_11"),
    (62, "V3_1_8_SNAPSHOT"),
    (121, "V3_4_9"),
    (232, "V4_1_0_SNAPSHOT"),
    (253, "V4_2_0"),
    (313, "V4_5_0"),
    (317, "V4_5_2"),
    (335, "V4_6_1"),
    (373, "V4_8_0"),
    (393, "V4_9_0"),
    (399, "V4_9_3"),
    (401, "V4_9_4"),
    (403, "V4_9_5"),
    (405, "V4_9_6"),
    (407, "V4_9_7"),
    (409, "V4_9_8"),
    (413, "V5_0_0"),
    (433, "V5_1_0"),
    (453, "V5_2_0"),
    (473, "V5_3_0"),
    (475, "V5_3_1"),
    (477, "V5_3_2"),
    (479, "V5_3_3"),
];
