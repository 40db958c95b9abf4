//! What tools ask for: statistics, offsets, running state, users and rights.

use super::*;

body! {
    /// Begin, end and last time of a topic's queues.
    TopicStatsTable {
        "offsetTable" offset_table:  BTreeMap<MessageQueue, TopicOffset>,
        "topicPutTps" topic_put_tps: f64,
    }

    /// Begin, end and last time of one queue.
    #[derive(Eq)]
    TopicOffset {
        "lastUpdateTimestamp" last_update_timestamp: i64,
        "maxOffset"           max_offset:            i64,
        "minOffset"           min_offset:            i64,
    }

    /// Where a group stands in its queues.
    ConsumeStats {
        "consumeTps"  consume_tps:  f64,
        "offsetTable" offset_table: BTreeMap<MessageQueue, OffsetWrapper>,
    }

    /// Where a group stands in one queue.
    #[derive(Eq)]
    OffsetWrapper {
        "brokerOffset"   broker_offset:   i64,
        "consumerOffset" consumer_offset: i64,
        "lastTimestamp"  last_timestamp:  i64,
        "pullOffset"     pull_offset:     i64,
    }

    /// Where all groups of a broker stand.
    ConsumeStatsList {
        "brokerAddr"        broker_addr:         Text,
        "consumeStatsList"  consume_stats_list:  Vec<BTreeMap<Text, Vec<ConsumeStats>>>,
        "totalDiff"         total_diff:          i64,
        "totalInflightDiff" total_inflight_diff: i64,
    }

    /// The offsets a group was set to.
    ResetOffsetBody {
        "offsetTable" offset_table: BTreeMap<MessageQueue, i64>,
    }

    /// The same for clients in C++, which read a list.
    ResetOffsetBodyForC {
        "offsetTable" offset_table: Vec<QueueOffsetForC>,
    }

    /// One queue and its offset.
    #[derive(Eq)]
    QueueOffsetForC {
        "brokerName" broker_name: Text,
        "offset"     offset:      i64,
        "queueId"    queue_id:    i32,
        "topic"      topic:       Text,
    }

    /// Where clients stand.
    GetConsumerStatusBody {
        "consumerTable"     consumer_table:      BTreeMap<Text, BTreeMap<MessageQueue, i64>>,
        "messageQueueTable" message_queue_table: BTreeMap<MessageQueue, i64>,
    }

    /// What a consumer does now.
    ConsumerRunningInfo {
        "jstack"           jstack:             Option<Text>,
        "mqPopTable"       mq_pop_table:       Option<BTreeMap<MessageQueue, PopProcessQueueInfo>>,
        "mqTable"          mq_table:           BTreeMap<MessageQueue, ProcessQueueInfo>,
        "properties"       properties:         BTreeMap<Text, Text>,
        "statusTable"      status_table:       BTreeMap<Text, ConsumeStatus>,
        "subscriptionSet"  subscription_set:   Vec<SubscriptionData>,
        "userConsumerInfo" user_consumer_info: Option<BTreeMap<Text, Text>>,
    }

    /// A consumer's part in one popped queue.
    #[derive(Eq)]
    PopProcessQueueInfo {
        "droped"           dropped:            bool,
        "lastPopTimestamp" last_pop_timestamp: i64,
        "waitAckCount"     wait_ack_count:     i32,
    }

    /// What a consumer holds of one queue.
    #[derive(Eq)]
    ProcessQueueInfo {
        "cachedMsgCount"          cached_msg_count:           i32,
        "cachedMsgMaxOffset"      cached_msg_max_offset:      i64,
        "cachedMsgMinOffset"      cached_msg_min_offset:      i64,
        "cachedMsgSizeInMiB"      cached_msg_size_in_mib:     i32,
        "commitOffset"            commit_offset:              i64,
        "droped" | "dropped"      dropped:                    bool,
        "lastConsumeTimestamp"    last_consume_timestamp:     i64,
        "lastLockTimestamp"       last_lock_timestamp:        i64,
        "lastPullTimestamp"       last_pull_timestamp:        i64,
        "locked"                  locked:                     bool,
        "transactionMsgCount"     transaction_msg_count:      i32,
        "transactionMsgMaxOffset" transaction_msg_max_offset: i64,
        "transactionMsgMinOffset" transaction_msg_min_offset: i64,
        "tryUnlockTimes"          try_unlock_times:           i64,
    }

    /// How fast a consumer is.
    ConsumeStatus {
        "consumeFailedMsgs" consume_failed_msgs: i64,
        "consumeFailedTPS"  consume_failed_tps:  f64,
        "consumeOKTPS"      consume_ok_tps:      f64,
        "consumeRT"         consume_rt:          f64,
        "pullRT"            pull_rt:             f64,
        "pullTPS"           pull_tps:            f64,
    }

    /// What became of a message consumed on demand.
    #[derive(Eq)]
    ConsumeMessageDirectlyResult {
        "autoCommit"     auto_commit:       bool = true,
        "consumeResult"  consume_result:    ConsumeResult,
        "order"          order:             bool,
        "remark"         remark:            Option<Text>,
        "spentTimeMills" spent_time_millis: i64,
    }

    /// Names of groups.
    GroupList {
        "groupList" group_list: Vec<Text>,
    }

    /// One statistic.
    BrokerStatsData {
        "statsDay"    stats_day:    BrokerStatsItem,
        "statsHour"   stats_hour:   BrokerStatsItem,
        "statsMinute" stats_minute: BrokerStatsItem,
    }

    /// One statistic over one stretch of time.
    BrokerStatsItem {
        "avgpt" average: f64,
        "sum"   sum:     i64,
        "tps"   tps:     f64,
    }

    /// Times of the queues of a topic.
    QueryConsumeTimeSpanBody {
        "consumeTimeSpanSet" consume_time_span_set: Vec<QueueTimeSpan>,
    }

    /// Times of the first, the last and the consumed message of one queue.
    #[derive(Eq)]
    QueueTimeSpan {
        "consumeTimeStamp" consume_timestamp: i64,
        "delayTime"        delay_time:        i64,
        "maxTimeStamp"     max_timestamp:     i64,
        "messageQueue"     message_queue:     MessageQueue,
        "minTimeStamp"     min_timestamp:     i64,
    }

    /// Offsets a group should have.
    QueryCorrectionOffsetBody {
        "correctionOffsets" correction_offsets: BTreeMap<i32, i64>,
    }

    /// Units of a queue.
    QueryConsumeQueueResponseBody {
        "filterData"       filter_data:       Option<Text>,
        "maxQueueIndex"    max_queue_index:   i64,
        "minQueueIndex"    min_queue_index:   i64,
        "queueData"        queue_data:        Vec<ConsumeQueueData>,
        "subscriptionData" subscription_data: Option<SubscriptionData>,
    }

    /// One unit of a queue.
    #[derive(Eq)]
    ConsumeQueueData {
        "bitMap"         bit_map:          Option<Text>,
        "eval"           eval:             bool,
        "extendDataJson" extend_data_json: Option<Text>,
        "msg"            message:          Option<Text>,
        "physicOffset"   physic_offset:    i64,
        "physicSize"     physic_size:      i32,
        "tagsCode"       tags_code:        i64,
    }

    /// The subscription of a group to a topic.
    QuerySubscriptionReplyBody {
        "group"            group:             Text,
        "subscriptionData" subscription_data: Option<SubscriptionData>,
        "topic"            topic:             Text,
    }

    /// Whether a group may read a topic.
    #[derive(Eq)]
    GroupForbidden {
        "group"    group:    Text,
        "readable" readable: bool = true,
        "topic"    topic:    Text,
    }

    /// Consumer offsets by `topic@group` and queue.
    ConsumerOffsets {
        "dataVersion" data_version: Option<DataVersion>,
        "offsetTable" offset_table: BTreeMap<Text, BTreeMap<i32, i64>>,
    }

    /// Delay offsets by level, counted from 1. Java knows no log position and passes it over: messages that were
    /// delivered later than that stand behind it in the log and name what they were made of. Nor does it know how far
    /// store times are ahead of the wall clock: by level, for what lies below an offset, in milliseconds.
    DelayOffsets {
        "ahead"       ahead:        Option<BTreeMap<i32, Vec<(u64, i64)>>>,
        "dataVersion" data_version: Option<DataVersion>,
        "logPosition" log_position: Option<u64>,
        "offsetTable" offset_table: BTreeMap<i32, i64>,
    }

    /// Request modes by topic and group.
    MessageRequestModes {
        "messageRequestModeMap" message_request_mode_map: BTreeMap<Text, BTreeMap<Text, SetMessageRequestModeBody>>,
    }

    /// A user.
    #[derive(Eq)]
    UserInfo {
        "password"   password:    Option<Text>,
        "userStatus" user_status: Option<Text>,
        "userType"   user_type:   Option<Text>,
        "username"   username:    Text,
    }

    /// The rights of a subject.
    #[derive(Eq)]
    AclInfo {
        "policies" policies: Vec<PolicyInfo>,
        "subject"  subject:  Text,
    }

    /// Rights of one kind.
    #[derive(Eq)]
    PolicyInfo {
        "entries"    entries:     Vec<PolicyEntryInfo>,
        "policyType" policy_type: Option<Text>,
    }

    /// One right.
    #[derive(Eq)]
    PolicyEntryInfo {
        "actions"   actions:    Vec<Text>,
        "decision"  decision:   Text,
        "resource"  resource:   Text,
        "sourceIps" source_ips: Vec<Text>,
    }

    /// The state of replication.
    HaRuntimeInfo {
        "haClientRuntimeInfo"      ha_client_runtime_info:      HaClientRuntimeInfo,
        "haConnectionInfo"         ha_connection_info:          Vec<HaConnectionRuntimeInfo>,
        "inSyncSlaveNums"          in_sync_slave_nums:          i32,
        "master"                   master:                      bool,
        "masterCommitLogMaxOffset" master_commit_log_max_offset: i64,
    }

    /// Replication as a slave sees it.
    #[derive(Eq)]
    HaClientRuntimeInfo {
        "lastReadTimestamp"       last_read_timestamp:        i64,
        "lastWriteTimestamp"      last_write_timestamp:       i64,
        "masterAddr"              master_addr:                Option<Text>,
        "masterFlushOffset"       master_flush_offset:        i64,
        "maxOffset"               max_offset:                 i64,
        "transferredByteInSecond" transferred_byte_in_second: i64,
    }

    /// Replication to one slave.
    #[derive(Eq)]
    HaConnectionRuntimeInfo {
        "addr"                    addr:                       Option<Text>,
        "diff"                    diff:                       i64,
        "inSync"                  in_sync:                    bool,
        "slaveAckOffset"          slave_ack_offset:           i64,
        "transferFromWhere"       transfer_from_where:        i64,
        "transferredByteInSecond" transferred_byte_in_second: i64,
    }

    /// The ids of brokers in sync.
    #[derive(Eq)]
    SyncStateSet {
        "syncStateSet"      sync_state_set:       Vec<i64>,
        "syncStateSetEpoch" sync_state_set_epoch: i32,
    }
}

names! {
    /// What a listener made of a message.
    ConsumeResult {
        #[default]
        Success = "CR_SUCCESS",
        Later = "CR_LATER",
        Rollback = "CR_ROLLBACK",
        Commit = "CR_COMMIT",
        ThrowException = "CR_THROW_EXCEPTION",
        ReturnNull = "CR_RETURN_NULL",
    }
}
