//! Response codes.

/// The request was done.
pub const SUCCESS: i32 = 0;
/// Something failed; the remark says what.
pub const SYSTEM_ERROR: i32 = 1;
/// Overloaded: try again, or elsewhere.
pub const SYSTEM_BUSY: i32 = 2;
/// No handler for this request code.
pub const REQUEST_CODE_NOT_SUPPORTED: i32 = 3;
/// A transaction failed.
pub const TRANSACTION_FAILED: i32 = 4;
/// Stored, but the flush did not end in time.
pub const FLUSH_DISK_TIMEOUT: i32 = 10;
/// Stored, but there is no replica to copy it to.
pub const SLAVE_NOT_AVAILABLE: i32 = 11;
/// Stored, but the replicas did not confirm in time.
pub const FLUSH_SLAVE_TIMEOUT: i32 = 12;
/// The message breaks a rule.
pub const MESSAGE_ILLEGAL: i32 = 13;
/// The service does not take requests now.
pub const SERVICE_NOT_AVAILABLE: i32 = 14;
/// The peer's version is not supported.
pub const VERSION_NOT_SUPPORTED: i32 = 15;
/// Not allowed.
pub const NO_PERMISSION: i32 = 16;
/// No such topic, or no route to it.
pub const TOPIC_NOT_EXIST: i32 = 17;
/// The topic is there already.
pub const TOPIC_EXIST_ALREADY: i32 = 18;
/// A pull: no message yet.
pub const PULL_NOT_FOUND: i32 = 19;
/// A pull: nothing matched; ask again at once from the next offset.
pub const PULL_RETRY_IMMEDIATELY: i32 = 20;
/// A pull: the offset is outside the queue; the next offset is a right one.
pub const PULL_OFFSET_MOVED: i32 = 21;
/// What was asked for is not there.
pub const QUERY_NOT_FOUND: i32 = 22;
/// The subscription cannot be parsed.
pub const SUBSCRIPTION_PARSE_FAILED: i32 = 23;
/// The group has no subscription to the topic.
pub const SUBSCRIPTION_NOT_EXIST: i32 = 24;
/// The broker knows an older subscription.
pub const SUBSCRIPTION_NOT_LATEST: i32 = 25;
/// No such consumer group.
pub const SUBSCRIPTION_GROUP_NOT_EXIST: i32 = 26;
/// The compiled filter is not there.
pub const FILTER_DATA_NOT_EXIST: i32 = 27;
/// The compiled filter is old.
pub const FILTER_DATA_NOT_LATEST: i32 = 28;
/// A parameter is wrong.
pub const INVALID_PARAMETER: i32 = 29;
/// Unused by peers: the transaction should be committed.
pub const TRANSACTION_SHOULD_COMMIT: i32 = 200;
/// Unused by peers: the transaction should be rolled back.
pub const TRANSACTION_SHOULD_ROLLBACK: i32 = 201;
/// Unused by peers: the state of the transaction is unknown.
pub const TRANSACTION_STATE_UNKNOW: i32 = 202;
/// Unused by peers: the group does not own the transaction.
pub const TRANSACTION_STATE_GROUP_WRONG: i32 = 203;
/// No buyer id.
pub const NO_BUYER_ID: i32 = 204;
/// The request belongs to another unit.
pub const NOT_IN_CURRENT_UNIT: i32 = 205;
/// No consumer of the group is online.
pub const CONSUMER_NOT_ONLINE: i32 = 206;
/// The consumer did not answer in time.
pub const CONSUME_MSG_TIMEOUT: i32 = 207;
/// No such message.
pub const NO_MESSAGE: i32 = 208;
/// Too many polls wait already.
pub const POLLING_FULL: i32 = 209;
/// The poll ended without a message.
pub const POLLING_TIMEOUT: i32 = 210;
/// No such broker.
pub const BROKER_NOT_EXIST: i32 = 211;
/// Dispatch has not caught up.
pub const BROKER_DISPATCH_NOT_COMPLETE: i32 = 212;
/// The group consumes by broadcasting.
pub const BROADCAST_CONSUMPTION: i32 = 213;
/// Slow down.
pub const FLOW_CONTROL: i32 = 215;
/// This broker does not lead the queue (static topics).
pub const NOT_LEADER_FOR_QUEUE: i32 = 501;
/// The operation is not legal in this state.
pub const ILLEGAL_OPERATION: i32 = 604;
/// The server stops: connect elsewhere. Only for peers above [`crate::version::LAST_WITHOUT_GO_AWAY`].
pub const GO_AWAY: i32 = 1500;
/// Controller: the master epoch is old.
pub const CONTROLLER_FENCED_MASTER_EPOCH: i32 = 2000;
/// Controller: the epoch of the in-sync set is old.
pub const CONTROLLER_FENCED_SYNC_STATE_SET_EPOCH: i32 = 2001;
/// Controller: this is not the master.
pub const CONTROLLER_INVALID_MASTER: i32 = 2002;
/// Controller: the replicas are wrong.
pub const CONTROLLER_INVALID_REPLICAS: i32 = 2003;
/// Controller: there is no master.
pub const CONTROLLER_MASTER_NOT_AVAILABLE: i32 = 2004;
/// Controller: the request is wrong.
pub const CONTROLLER_INVALID_REQUEST: i32 = 2005;
/// Controller: the broker is not alive.
pub const CONTROLLER_BROKER_NOT_ALIVE: i32 = 2006;
/// Controller: ask the leader.
pub const CONTROLLER_NOT_LEADER: i32 = 2007;
/// Controller: the broker is unknown.
pub const CONTROLLER_BROKER_METADATA_NOT_EXIST: i32 = 2008;
/// Controller: these data cannot be cleaned.
pub const CONTROLLER_INVALID_CLEAN_BROKER_METADATA: i32 = 2009;
/// Controller: register first.
pub const CONTROLLER_BROKER_NEED_TO_BE_REGISTERED: i32 = 2010;
/// Controller: the master is still there.
pub const CONTROLLER_MASTER_STILL_EXIST: i32 = 2011;
/// Controller: the election failed.
pub const CONTROLLER_ELECT_MASTER_FAILED: i32 = 2012;
/// Controller: the in-sync set was not changed.
pub const CONTROLLER_ALTER_SYNC_STATE_SET_FAILED: i32 = 2013;
/// Controller: the broker id is wrong.
pub const CONTROLLER_BROKER_ID_INVALID: i32 = 2014;
/// Controller: an error of its own consensus.
pub const CONTROLLER_JRAFT_INTERNAL_ERROR: i32 = 2015;
/// Controller: nothing is known about the broker's life.
pub const CONTROLLER_BROKER_LIVE_INFO_NOT_EXISTS: i32 = 2016;
/// No such user.
pub const USER_NOT_EXIST: i32 = 3001;
/// No such policy.
pub const POLICY_NOT_EXIST: i32 = 3002;

/// The name of a response code, for logs and reports.
pub fn name(code: i32) -> Option<&'static str> {
    NAMES.binary_search_by_key(&code, |(code, _)| *code).ok().map(|at| NAMES[at].1)
}

const NAMES: [(i32, &str); 43] = [
    (SUCCESS, "SUCCESS"),
    (SYSTEM_ERROR, "SYSTEM_ERROR"),
    (SYSTEM_BUSY, "SYSTEM_BUSY"),
    (REQUEST_CODE_NOT_SUPPORTED, "REQUEST_CODE_NOT_SUPPORTED"),
    (TRANSACTION_FAILED, "TRANSACTION_FAILED"),
    (FLUSH_DISK_TIMEOUT, "FLUSH_DISK_TIMEOUT"),
    (SLAVE_NOT_AVAILABLE, "SLAVE_NOT_AVAILABLE"),
    (FLUSH_SLAVE_TIMEOUT, "FLUSH_SLAVE_TIMEOUT"),
    (MESSAGE_ILLEGAL, "MESSAGE_ILLEGAL"),
    (SERVICE_NOT_AVAILABLE, "SERVICE_NOT_AVAILABLE"),
    (VERSION_NOT_SUPPORTED, "VERSION_NOT_SUPPORTED"),
    (NO_PERMISSION, "NO_PERMISSION"),
    (TOPIC_NOT_EXIST, "TOPIC_NOT_EXIST"),
    (TOPIC_EXIST_ALREADY, "TOPIC_EXIST_ALREADY"),
    (PULL_NOT_FOUND, "PULL_NOT_FOUND"),
    (PULL_RETRY_IMMEDIATELY, "PULL_RETRY_IMMEDIATELY"),
    (PULL_OFFSET_MOVED, "PULL_OFFSET_MOVED"),
    (QUERY_NOT_FOUND, "QUERY_NOT_FOUND"),
    (SUBSCRIPTION_PARSE_FAILED, "SUBSCRIPTION_PARSE_FAILED"),
    (SUBSCRIPTION_NOT_EXIST, "SUBSCRIPTION_NOT_EXIST"),
    (SUBSCRIPTION_NOT_LATEST, "SUBSCRIPTION_NOT_LATEST"),
    (SUBSCRIPTION_GROUP_NOT_EXIST, "SUBSCRIPTION_GROUP_NOT_EXIST"),
    (FILTER_DATA_NOT_EXIST, "FILTER_DATA_NOT_EXIST"),
    (FILTER_DATA_NOT_LATEST, "FILTER_DATA_NOT_LATEST"),
    (INVALID_PARAMETER, "INVALID_PARAMETER"),
    (NO_BUYER_ID, "NO_BUYER_ID"),
    (NOT_IN_CURRENT_UNIT, "NOT_IN_CURRENT_UNIT"),
    (CONSUMER_NOT_ONLINE, "CONSUMER_NOT_ONLINE"),
    (CONSUME_MSG_TIMEOUT, "CONSUME_MSG_TIMEOUT"),
    (NO_MESSAGE, "NO_MESSAGE"),
    (POLLING_FULL, "POLLING_FULL"),
    (POLLING_TIMEOUT, "POLLING_TIMEOUT"),
    (BROKER_NOT_EXIST, "BROKER_NOT_EXIST"),
    (BROKER_DISPATCH_NOT_COMPLETE, "BROKER_DISPATCH_NOT_COMPLETE"),
    (BROADCAST_CONSUMPTION, "BROADCAST_CONSUMPTION"),
    (FLOW_CONTROL, "FLOW_CONTROL"),
    (NOT_LEADER_FOR_QUEUE, "NOT_LEADER_FOR_QUEUE"),
    (ILLEGAL_OPERATION, "ILLEGAL_OPERATION"),
    (GO_AWAY, "GO_AWAY"),
    (CONTROLLER_NOT_LEADER, "CONTROLLER_NOT_LEADER"),
    (CONTROLLER_MASTER_STILL_EXIST, "CONTROLLER_MASTER_STILL_EXIST"),
    (USER_NOT_EXIST, "USER_NOT_EXIST"),
    (POLICY_NOT_EXIST, "POLICY_NOT_EXIST"),
];
