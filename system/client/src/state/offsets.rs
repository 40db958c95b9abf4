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

/// What is known of a queue when a member begins to read it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Facts {
    /// The group's committed offset. Brokers answer 0 for a young queue without one.
    pub(crate) stored: Option<u64>,
    /// The queue holds the group's own retries.
    pub(crate) retry_topic: bool,
    /// The queue was added while the group was active.
    pub(crate) added: bool,
}

/// Where to begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Start {
    At(u64),
    Min,
    Max,
    Time(i64),
}

/// Where a member begins to read a queue.
pub(crate) fn start(from: StartFrom, facts: Facts) -> Start {
    match (facts.stored, from) {
        (Some(offset), _) => Start::At(offset),
        // A retry queue holds only what this group asked for, and a queue added by expansion got messages
        // before any member heard of it: both are read from their first message.
        (None, _) if facts.retry_topic || facts.added => Start::Min,
        (None, StartFrom::First) => Start::Min,
        (None, StartFrom::Last) => Start::Max,
        (None, StartFrom::Time(ms)) => Start::Time(ms),
    }
}

/// The offset a member reports to the broker for one queue.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Commit {
    value: Option<u64>,
}

impl Commit {
    /// Moves up to `offset`; a lower value changes nothing. True when it moved.
    pub(crate) fn raise(&mut self, offset: u64) -> bool {
        let moves = self.value.is_none_or(|v| v < offset);
        if moves {
            self.value = Some(offset);
        }
        moves
    }

    pub(crate) fn value(self) -> Option<u64> {
        self.value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEW: Facts = Facts { stored: None, retry_topic: false, added: false };

    #[test]
    fn a_committed_offset_wins() {
        let facts = Facts { stored: Some(7), added: true, retry_topic: true };
        for from in [StartFrom::Last, StartFrom::First, StartFrom::Time(5)] {
            assert_eq!(start(from, facts), Start::At(7));
        }
    }

    #[test]
    fn a_new_group_begins_where_it_wants() {
        assert_eq!(start(StartFrom::Last, NEW), Start::Max);
        assert_eq!(start(StartFrom::First, NEW), Start::Min);
        assert_eq!(start(StartFrom::Time(5), NEW), Start::Time(5));
    }

    #[test]
    fn added_queues_and_retries_are_read_from_their_first_message() {
        for from in [StartFrom::Last, StartFrom::First, StartFrom::Time(5)] {
            assert_eq!(start(from, Facts { added: true, ..NEW }), Start::Min);
            assert_eq!(start(from, Facts { retry_topic: true, ..NEW }), Start::Min);
        }
    }

    #[test]
    fn a_commit_only_rises() {
        let mut commit = Commit::default();
        assert!(commit.raise(0));
        assert!(commit.raise(3) && !commit.raise(2) && !commit.raise(3));
        assert_eq!(commit.value(), Some(3));
    }
}
