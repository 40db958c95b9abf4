//! Why a request is refused: one response code and one sentence each.

use net::Reply;
use protocol::{HeaderError, code};
use thiserror::Error;

/// What a handler returns: the reply, or why there is none.
pub(crate) type Answer = Result<Reply, Refusal>;

/// A refusal. Nothing was changed, unless the variant says otherwise.
#[derive(Debug, Error)]
pub enum Refusal {
    /// A header field is missing or malformed.
    #[error("{request}: {error}")]
    Header {
        /// Name of the request.
        request: &'static str,
        /// Which field.
        error: HeaderError,
    },
    /// The body cannot be read.
    #[error("the body of {request} cannot be read: {why}")]
    Body {
        /// Name of the request.
        request: &'static str,
        /// What is wrong with it.
        why: String,
    },
    /// A value is outside its range.
    #[error("{0}")]
    Parameter(String),
    /// A topic or group name breaks the rules.
    #[error("{0}")]
    Name(String),
    /// There is no such topic.
    #[error("topic[{topic}] not exist, apply first please! {why}")]
    NoTopic {
        /// The topic.
        topic: String,
        /// Why it was not created.
        why: &'static str,
    },
    /// There is no such queue in the topic.
    #[error("queueId[{queue}] is illegal, topic:[{topic}] has {count} queues")]
    NoQueue {
        /// The topic.
        topic: String,
        /// The queue asked for.
        queue: i32,
        /// How many there are.
        count: i32,
    },
    /// There is no such consumer group.
    #[error("subscription group [{0}] does not exist")]
    NoGroup(String),
    /// Not allowed.
    #[error("{0}")]
    Forbidden(String),
    /// The message breaks a rule.
    #[error("{0}")]
    Message(String),
    /// The store takes no messages now.
    #[error("service not available now: {0}")]
    Unavailable(String),
    /// Too much to do; try again.
    #[error("{0}")]
    Busy(String),
    /// Something that was stored cannot be read, or the like.
    #[error("{0}")]
    Failed(String),
    /// A change was made in memory but is not on the disk: whether it lasts is unknown.
    #[error("{what} is not on the disk yet: {why}")]
    NotSaved {
        /// What was changed.
        what: &'static str,
        /// Why it is not saved.
        why: &'static str,
    },
    /// The subscription expression cannot be read.
    #[error("{0}")]
    Expression(String),
    /// The group has not subscribed to the topic.
    #[error("{0}")]
    NoSubscription(String),
    /// The subscription known here is older than the pull's.
    #[error("the subscription of {group} to {topic} is not the latest: {known} here, {asked} asked")]
    OldSubscription {
        /// The group.
        group: String,
        /// The topic.
        topic: String,
        /// Version known.
        known: i64,
        /// Version of the pull.
        asked: i64,
    },
    /// No stored offset.
    #[error("{0}")]
    NotFound(String),
    /// Nobody of the group is connected.
    #[error("{0}")]
    NotOnline(String),
    /// The broker stops.
    #[error("the broker {0} is shutting down")]
    Stopping(String),
}

impl Refusal {
    /// The response code.
    pub fn code(&self) -> i32 {
        match self {
            Self::Header { .. } | Self::Body { .. } | Self::Failed(_) | Self::NotSaved { .. } => {
                code::SYSTEM_ERROR
            }
            Self::Parameter(_) | Self::Name(_) | Self::NoQueue { .. } => code::INVALID_PARAMETER,
            Self::NoTopic { .. } => code::TOPIC_NOT_EXIST,
            Self::NoGroup(_) => code::SUBSCRIPTION_GROUP_NOT_EXIST,
            Self::Forbidden(_) => code::NO_PERMISSION,
            Self::Message(_) => code::MESSAGE_ILLEGAL,
            Self::Unavailable(_) | Self::Stopping(_) => code::SERVICE_NOT_AVAILABLE,
            Self::Busy(_) => code::SYSTEM_BUSY,
            Self::Expression(_) => code::SUBSCRIPTION_PARSE_FAILED,
            Self::NoSubscription(_) => code::SUBSCRIPTION_NOT_EXIST,
            Self::OldSubscription { .. } => code::SUBSCRIPTION_NOT_LATEST,
            Self::NotFound(_) => code::QUERY_NOT_FOUND,
            Self::NotOnline(_) => code::CONSUMER_NOT_ONLINE,
        }
    }

    pub(crate) fn reply(&self) -> Reply {
        Reply::refuse(self.code(), self.to_string().trim_end())
    }
}
