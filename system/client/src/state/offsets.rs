//! Where a group begins in a queue, and how its commit point moves.

/// Where a group begins in a queue it has no committed offset for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StartFrom {
    /// Behind the last message of queues that existed before the group; young queues from their first message.
    #[default]
    Last,
    /// At the first message.
    First,
    /// At the first message stored at or after this time, ms since 1970.
    Time(i64),
}
