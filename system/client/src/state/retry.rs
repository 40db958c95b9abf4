//! What to do after an attempt to send, and whether it may have stored the message.

use std::collections::BTreeSet;

use protocol::code;

use crate::SendStatus;

/// How an attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Attempt {
    /// The broker stored it.
    Stored(SendStatus),
    /// The broker answered with another code.
    Refused(i32),
    /// Nothing left this client.
    NotSent,
    /// No answer: a time-out, a broken connection, or an answer that cannot be read.
    NoAnswer,
    /// No address of the chosen broker is known.
    NoBroker,
}

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Tell the caller.
    Return,
    /// Try another broker while attempts and time remain.
    Again,
}

/// When to try another broker.
#[derive(Clone, Debug)]
pub(crate) struct Rules {
    /// Codes that another broker may answer differently.
    pub(crate) codes: BTreeSet<i32>,
    /// Also when the message was stored without all that was promised: makes a second copy.
    pub(crate) when_not_ok: bool,
}

impl Default for Rules {
    fn default() -> Self {
        let codes = [
            code::SYSTEM_ERROR,
            code::SYSTEM_BUSY,
            code::SERVICE_NOT_AVAILABLE,
            code::NO_PERMISSION,
            code::TOPIC_NOT_EXIST,
            code::NO_BUYER_ID,
            code::NOT_IN_CURRENT_UNIT,
            code::GO_AWAY,
        ];
        Self { codes: codes.into(), when_not_ok: false }
    }
}

impl Rules {
    pub(crate) fn next(&self, attempt: Attempt) -> Next {
        match attempt {
            Attempt::Stored(SendStatus::Ok) => Next::Return,
            Attempt::Stored(_) if self.when_not_ok => Next::Again,
            Attempt::Stored(_) => Next::Return,
            Attempt::Refused(code) if self.codes.contains(&code) => Next::Again,
            Attempt::Refused(_) => Next::Return,
            Attempt::NotSent | Attempt::NoAnswer | Attempt::NoBroker => Next::Again,
        }
    }
}

impl Attempt {
    /// False only where nothing can have been stored. Codes that are not known to be decided before the
    /// append count as perhaps stored.
    pub(crate) fn may_be_stored(self) -> bool {
        match self {
            Self::Stored(_) | Self::NoAnswer => true,
            Self::NotSent | Self::NoBroker => false,
            Self::Refused(code) => !BEFORE_APPEND.contains(&code),
        }
    }

    /// The latency to remember for the broker: an attempt that failed counts as a slow one.
    pub(crate) fn isolates(self) -> bool {
        matches!(self, Self::Refused(_) | Self::NotSent | Self::NoAnswer)
    }

    /// Whether the broker is worth another message soon.
    pub(crate) fn reachable(self) -> bool {
        !matches!(self, Self::Refused(_))
    }
}

const BEFORE_APPEND: [i32; 12] = [
    code::SYSTEM_BUSY,
    code::REQUEST_CODE_NOT_SUPPORTED,
    code::MESSAGE_ILLEGAL,
    code::SERVICE_NOT_AVAILABLE,
    code::NO_PERMISSION,
    code::TOPIC_NOT_EXIST,
    code::SUBSCRIPTION_GROUP_NOT_EXIST,
    code::INVALID_PARAMETER,
    code::NO_BUYER_ID,
    code::NOT_IN_CURRENT_UNIT,
    code::FLOW_CONTROL,
    code::GO_AWAY,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_step_is_the_one_of_the_table() {
        // client.md 6.1
        let rules = Rules::default();
        let again =
            [1, 2, 14, 16, 17, 204, 205, 1500].map(Attempt::Refused).into_iter().chain([Attempt::NoAnswer]);
        for attempt in again.chain([Attempt::NotSent, Attempt::NoBroker]) {
            assert_eq!(rules.next(attempt), Next::Again, "{attempt:?}");
        }
        let no = [3, 13, 26, 29, 215].map(Attempt::Refused).into_iter();
        for attempt in no.chain([SendStatus::Ok, SendStatus::FlushDiskTimeout].map(Attempt::Stored)) {
            assert_eq!(rules.next(attempt), Next::Return, "{attempt:?}");
        }
        let rules = Rules { when_not_ok: true, ..rules };
        assert_eq!(rules.next(Attempt::Stored(SendStatus::SlaveNotAvailable)), Next::Again);
        assert_eq!(rules.next(Attempt::Stored(SendStatus::Ok)), Next::Return);
    }

    #[test]
    fn what_is_not_surely_refused_may_be_stored() {
        for code in [1, 4, 99, -1] {
            assert!(Attempt::Refused(code).may_be_stored(), "{code}");
        }
        for code in [2, 13, 14, 16, 17] {
            assert!(!Attempt::Refused(code).may_be_stored(), "{code}");
        }
        assert!(Attempt::NoAnswer.may_be_stored() && !Attempt::NotSent.may_be_stored());
    }
}
