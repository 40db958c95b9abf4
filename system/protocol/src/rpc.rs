//! Every RPC, one entry each: code, request fields, reply fields. The quoted words are the names on the wire, spelt
//! as the protocol spells them.
//!
//! A field is required unless it is an `Option` or has a default. Who reads a reply must find every required field,
//! so we always write them; a request without one is answered with code 1.

use crate::ext::ExtFields;
use crate::text::Text;

#[macro_use]
mod table;
mod send;

pub use send::{SendView, Sent};

header! {
    /// A header without fields.
    Empty {}
}

rpc! {
    // Name server

    /// Which brokers have queues of a topic. 17 when nobody has.
    105 GetRouteInfoByTopic {
        "topic"                  topic:                     Text,
        "acceptStandardJsonOnly" accept_standard_json_only: Option<bool>,
        "__ZONE_NAME"            zone_name:                 Option<Text>,
        "__ZONE_MODE"            zone_mode:                 Option<bool>,
    } -> Empty

    /// A broker says where it is and what topics it has.
    103 RegisterBroker {
        "brokerName"             broker_name:              Text,
        "brokerAddr"             broker_addr:              Text,
        "clusterName"            cluster_name:             Text,
        "haServerAddr"           ha_server_addr:           Text,
        "brokerId"               broker_id:                i64,
        "compressed"             compressed:               bool = false,
        "bodyCrc32"              body_crc32:               i32 = 0,
        "heartbeatTimeoutMillis" heartbeat_timeout_millis: Option<i64>,
        "enableActingMaster"     enable_acting_master:     Option<bool>,
        "__ZONE_NAME"            zone_name:                Option<Text>,
    } -> RegisterBrokerReply {
        "haServerAddr" ha_server_addr: Option<Text>,
        "masterAddr"   master_addr:    Option<Text>,
    }

    /// A broker leaves.
    104 UnregisterBroker {
        "brokerName"  broker_name:  Text,
        "brokerAddr"  broker_addr:  Text,
        "clusterName" cluster_name: Text,
        "brokerId"    broker_id:    i64,
    } -> Empty

    /// A broker asks whether its topics changed since they were last registered.
    322 QueryDataVersion {
        "brokerName"  broker_name:  Text,
        "brokerAddr"  broker_addr:  Text,
        "clusterName" cluster_name: Text,
        "brokerId"    broker_id:    i64,
    } -> QueryDataVersionReply {
        "changed" changed: bool,
    }

    /// A broker is alive.
    904 BrokerHeartbeat {
        "clusterName"           cluster_name:             Text,
        "brokerAddr"            broker_addr:              Text,
        "brokerName"            broker_name:              Text,
        "brokerId"              broker_id:                Option<i64>,
        "epoch"                 epoch:                    Option<i32>,
        "maxOffset"             max_offset:               Option<i64>,
        "confirmOffset"         confirm_offset:           Option<i64>,
        "heartbeatTimeoutMills" heartbeat_timeout_millis: Option<i64>,
        "electionPriority"      election_priority:        Option<i32>,
    } -> Empty

    /// Puts one topic into the routes without a broker's registration.
    217 RegisterTopicInNamesrv {
        "topic" topic: Text,
    } -> Empty

    /// The addresses of all brokers of one name.
    901 GetBrokerMemberGroup {
        "clusterName" cluster_name: Text,
        "brokerName"  broker_name:  Text,
    } -> Empty

    /// The name server tells brokers of one name that their smallest id changed.
    905 NotifyMinBrokerIdChange {
        "minBrokerId"       min_broker_id:       Option<i64>,
        "brokerName"        broker_name:         Option<Text>,
        "minBrokerAddr"     min_broker_addr:     Option<Text>,
        "offlineBrokerAddr" offline_broker_addr: Option<Text>,
        "haBrokerAddr"      ha_broker_addr:      Option<Text>,
    } -> Empty

    /// All clusters and all brokers.
    106 GetBrokerClusterInfo {} -> Empty

    /// All topics.
    206 GetAllTopicListFromNamesrv {} -> Empty

    /// All topics of a cluster.
    224 GetTopicsByCluster {
        "cluster" cluster: Text,
    } -> Empty

    /// The topics that stand for clusters and brokers, and one broker to ask for more.
    304 GetSystemTopicListFromNamesrv {} -> Empty

    /// Topics of a unit.
    311 GetUnitTopicList {} -> Empty

    /// Topics with subscriptions of a unit.
    312 GetHasUnitSubTopicList {} -> Empty

    /// Topics with subscriptions of a unit that are none of a unit themselves.
    313 GetHasUnitSubUnUnitTopicList {} -> Empty

    /// Sets a key of a namespace.
    100 PutKvConfig {
        "namespace" namespace: Text,
        "key"       key:       Text,
        "value"     value:     Text,
    } -> Empty

    /// Reads a key of a namespace. 22 when it is not there.
    101 GetKvConfig {
        "namespace" namespace: Text,
        "key"       key:       Text,
    } -> GetKvConfigReply {
        "value" value: Option<Text>,
    }

    /// Removes a key of a namespace.
    102 DeleteKvConfig {
        "namespace" namespace: Text,
        "key"       key:       Text,
    } -> Empty

    /// All keys of a namespace.
    219 GetKvListByNamespace {
        "namespace" namespace: Text,
    } -> Empty

    /// Takes the write permission from all topics of a broker.
    205 WipeWritePermOfBroker {
        "brokerName" broker_name: Text,
    } -> WipeWritePermOfBrokerReply {
        "wipeTopicCount" wipe_topic_count: i32,
    }

    /// Gives the write permission back.
    327 AddWritePermOfBroker {
        "brokerName" broker_name: Text,
    } -> AddWritePermOfBrokerReply {
        "addTopicCount" add_topic_count: i32,
    }

    /// Removes a topic from the routes, of one cluster or of all.
    216 DeleteTopicInNamesrv {
        "topic"       topic:        Text,
        "clusterName" cluster_name: Option<Text>,
    } -> Empty

    /// Changes the name server's configuration; the body is properties text.
    318 UpdateNamesrvConfig {} -> Empty

    /// The name server's configuration as properties text.
    319 GetNamesrvConfig {} -> Empty

    // Producer

    /// Append one message to a queue.
    10 SendMessage {
        "producerGroup"         producer_group:           Text,
        "topic"                 topic:                    Text,
        "defaultTopic"          default_topic:            Text,
        "defaultTopicQueueNums" default_topic_queue_nums: i32,
        "queueId"               queue_id:                 i32,
        "sysFlag"               sys_flag:                 i32,
        "bornTimestamp"         born_timestamp:           i64,
        "flag"                  flag:                     i32,
        "properties"            properties:               Option<Text>,
        "reconsumeTimes"        reconsume_times:          Option<i32>,
        "unitMode"              unit_mode:                Option<bool>,
        "batch"                 batch:                    Option<bool>,
        "maxReconsumeTimes"     max_reconsume_times:      Option<i32>,
    } -> SendMessageReply {
        "msgId"         msg_id:         Text,
        "queueId"       queue_id:       i32,
        "queueOffset"   queue_offset:   i64,
        "transactionId" transaction_id: Option<Text>,
        "batchUniqId"   batch_uniq_id:  Option<Text>,
        "recallHandle"  recall_handle:  Option<Text>,
        "MSG_REGION"    msg_region:     Option<Text>,
        "TRACE_ON"      trace_on:       Option<Text>,
    }

    /// Append one message to a queue, with short names; peers that send the long names under this code are understood.
    310 SendMessageV2 {
        "a" | "producerGroup"         producer_group:           Text,
        "b" | "topic"                 topic:                    Text,
        "c" | "defaultTopic"          default_topic:            Text,
        "d" | "defaultTopicQueueNums" default_topic_queue_nums: i32,
        "e" | "queueId"               queue_id:                 i32,
        "f" | "sysFlag"               sys_flag:                 i32,
        "g" | "bornTimestamp"         born_timestamp:           i64,
        "h" | "flag"                  flag:                     i32,
        "i" | "properties"            properties:               Option<Text>,
        "j" | "reconsumeTimes"        reconsume_times:          Option<i32>,
        "k" | "unitMode"              unit_mode:                Option<bool>,
        "l" | "maxReconsumeTimes"     max_reconsume_times:      Option<i32>,
        "m" | "batch"                 batch:                    Option<bool>,
        "n" | "bname"                 broker_name:              Option<Text>,
    } -> SendMessageReply

    /// Commit, roll back or leave open a half message; the remark tells why.
    37 EndTransaction {
        "producerGroup"        producer_group:          Text,
        "tranStateTableOffset" tran_state_table_offset: i64,
        "commitLogOffset"      commit_log_offset:       i64,
        "commitOrRollback"     commit_or_rollback:      i32,
        "fromTransactionCheck" from_transaction_check:  bool = false,
        "msgId"                msg_id:                  Text,
        "transactionId"        transaction_id:          Option<Text>,
        "topic"                topic:                   Option<Text>,
    } -> Empty

    /// Take a delayed message back.
    370 RecallMessage {
        "producerGroup" producer_group: Option<Text>,
        "topic"         topic:          Text,
        "recallHandle"  recall_handle:  Text,
    } -> RecallMessageReply {
        "msgId" msg_id: Text,
    }

    /// Which groups a client is part of, and that it lives. The version of the answer is the broker's for the client.
    34 Heartbeat {} -> HeartbeatReply {
        "IS_SUPPORT_HEART_BEAT_V2" is_support_heart_beat_v2: Option<bool>,
        "IS_SUB_CHANGE"            is_sub_change:            Option<bool>,
    }

    /// A client leaves its groups.
    35 UnregisterClient {
        "clientID"      client_id:      Text,
        "producerGroup" producer_group: Option<Text>,
        "consumerGroup" consumer_group: Option<Text>,
    } -> Empty

    // Consumer

    /// Read a run of messages from one queue, or wait for the next one.
    11 PullMessage {
        "consumerGroup"        consumer_group:          Text,
        "topic"                topic:                   Text,
        "queueId"              queue_id:                i32,
        "queueOffset"          queue_offset:            i64,
        "maxMsgNums"           max_msg_nums:            i32,
        "sysFlag"              sys_flag:                i32,
        "commitOffset"         commit_offset:           i64,
        "suspendTimeoutMillis" suspend_timeout_millis:  i64,
        "subscription"         subscription:            Option<Text>,
        "subVersion"           sub_version:             i64,
        "expressionType"       expression_type:         Option<Text>,
        "maxMsgBytes"          max_msg_bytes:           Option<i32>,
        "requestSource"        request_source:          Option<i32>,
        "proxyFrowardClientId" proxy_forward_client_id: Option<Text>,
    } -> PullMessageReply {
        "suggestWhichBrokerId" suggest_which_broker_id: i64,
        "nextBeginOffset"      next_begin_offset:       i64,
        "minOffset"            min_offset:              i64,
        "maxOffset"            max_offset:              i64,
        "offsetDelta"          offset_delta:            Option<i64>,
        "topicSysFlag"         topic_sys_flag:          Option<i32>,
        "groupSysFlag"         group_sys_flag:          Option<i32>,
        "forbiddenType"        forbidden_type:          Option<i32>,
    }

    /// How far a group has consumed a queue. 22 when it never did.
    14 QueryConsumerOffset {
        "consumerGroup"      consumer_group:        Text,
        "topic"              topic:                 Text,
        "queueId"            queue_id:              i32,
        "setZeroIfNotFound"  set_zero_if_not_found: Option<bool>,
    } -> QueryConsumerOffsetReply {
        "offset" offset: i64,
    }

    /// Record how far a group has consumed a queue.
    15 UpdateConsumerOffset {
        "consumerGroup" consumer_group: Text,
        "topic"         topic:          Text,
        "queueId"       queue_id:       i32,
        "commitOffset"  commit_offset:  i64,
    } -> Empty

    /// Consume a message again, later.
    36 ConsumerSendMsgBack {
        "offset"            offset:              i64,
        "group"             group:               Text,
        "delayLevel"        delay_level:         i32,
        "originMsgId"       origin_msg_id:       Option<Text>,
        "originTopic"       origin_topic:        Option<Text>,
        "unitMode"          unit_mode:           bool = false,
        "maxReconsumeTimes" max_reconsume_times: Option<i32>,
    } -> Empty

    /// The client ids of a consumer group.
    38 GetConsumerListByGroup {
        "consumerGroup" consumer_group: Text,
    } -> Empty

    /// Lock queues for orderly consumption; queues are in the body.
    41 LockBatchMq {} -> Empty

    /// Free locked queues.
    42 UnlockBatchMq {} -> Empty

    /// Is a subscription one that this broker can filter by?
    46 CheckClientConfig {} -> Empty

    /// The offset of the first or last message at a time.
    29 SearchOffsetByTimestamp {
        "topic"        topic:         Text,
        "queueId"      queue_id:      i32,
        "timestamp"    timestamp:     i64,
        "boundaryType" boundary_type: Option<Text>,
    } -> SearchOffsetByTimestampReply {
        "offset" offset: i64,
    }

    /// The end of a queue.
    30 GetMaxOffset {
        "topic"     topic:     Text,
        "queueId"   queue_id:  i32,
        "committed" committed: bool = true,
    } -> GetMaxOffsetReply {
        "offset" offset: i64,
    }

    /// The begin of a queue.
    31 GetMinOffset {
        "topic"   topic:    Text,
        "queueId" queue_id: i32,
    } -> GetMinOffsetReply {
        "offset" offset: i64,
    }

    /// When the first message of a queue was stored; -1 when it is empty.
    32 GetEarliestMsgStoretime {
        "topic"   topic:    Text,
        "queueId" queue_id: i32,
    } -> GetEarliestMsgStoretimeReply {
        "timestamp" timestamp: i64,
    }

    /// The record at a position of the log.
    33 ViewMessageById {
        "offset" offset: i64,
        "topic"  topic:  Option<Text>,
    } -> Empty

    /// Messages by key or unique id.
    12 QueryMessage {
        "topic"             topic:            Text,
        "key"               key:              Text,
        "maxNum"            max_num:          i32,
        "beginTimestamp"    begin_timestamp:  i64,
        "endTimestamp"      end_timestamp:    i64,
        "_UNIQUE_KEY_QUERY" unique_key_query: Option<bool>,
    } -> QueryMessageReply {
        "indexLastUpdateTimestamp" index_last_update_timestamp: i64,
        "indexLastUpdatePhyoffset" index_last_update_phyoffset: i64,
    }

    /// The queues a client should consume, as the broker divides them.
    400 QueryAssignment {} -> Empty

    // Pop

    /// Take messages of any member for a time.
    200050 PopMessage {
        "consumerGroup" consumer_group: Text,
        "topic"         topic:          Text,
        "queueId"       queue_id:       i32,
        "maxMsgNums"    max_msg_nums:   i32,
        "invisibleTime" invisible_time: i64,
        "pollTime"      poll_time:      i64,
        "bornTime"      born_time:      i64,
        "initMode"      init_mode:      i32,
        "expType"       exp_type:       Option<Text>,
        "exp"           exp:            Option<Text>,
        "order"         order:          bool = false,
        "attemptId"     attempt_id:     Option<Text>,
    } -> PopMessageReply {
        "popTime"         pop_time:          i64,
        "invisibleTime"   invisible_time:    i64,
        "reviveQid"       revive_qid:        i32,
        "restNum"         rest_num:          i64,
        "startOffsetInfo" start_offset_info: Option<Text>,
        "msgOffsetInfo"   msg_offset_info:   Option<Text>,
        "orderCountInfo"  order_count_info:  Option<Text>,
    }

    /// A popped message was consumed.
    200051 AckMessage {
        "consumerGroup" consumer_group: Text,
        "topic"         topic:          Text,
        "queueId"       queue_id:       i32,
        "extraInfo"     extra_info:     Text,
        "offset"        offset:         i64,
    } -> Empty

    /// Look at messages without taking them.
    200052 PeekMessage {
        "topic"         topic:          Text,
        "queueId"       queue_id:       i32,
        "maxMsgNums"    max_msg_nums:   i32,
        "consumerGroup" consumer_group: Text,
    } -> PopMessageReply

    /// Keep a popped message from others for another time.
    200053 ChangeMessageInvisibleTime {
        "consumerGroup" consumer_group: Text,
        "topic"         topic:          Text,
        "queueId"       queue_id:       i32,
        "extraInfo"     extra_info:     Text,
        "offset"        offset:         i64,
        "invisibleTime" invisible_time: i64,
    } -> ChangeMessageInvisibleTimeReply {
        "popTime"       pop_time:       i64,
        "invisibleTime" invisible_time: i64,
        "reviveQid"     revive_qid:     i32,
    }

    /// Wait until there is something to pop.
    200054 Notification {
        "consumerGroup" consumer_group: Text,
        "topic"         topic:          Text,
        "queueId"       queue_id:       i32,
        "pollTime"      poll_time:      i64,
        "bornTime"      born_time:      i64,
        "order"         order:          bool = false,
        "attemptId"     attempt_id:     Option<Text>,
    } -> NotificationReply {
        "hasMsg"      has_msg:      bool,
        "pollingFull" polling_full: Option<bool>,
    }

    /// How many polls wait.
    200055 PollingInfo {
        "consumerGroup" consumer_group: Text,
        "topic"         topic:          Text,
        "queueId"       queue_id:       i32,
    } -> PollingInfoReply {
        "pollingNum" polling_num: i32,
    }

    /// Exports pop records to the file store.
    200056 PopRollback {} -> Empty

    /// Many popped messages were consumed; the body tells which.
    200151 BatchAckMessage {} -> Empty

    /// Does a group pull or pop a topic?
    401 SetMessageRequestMode {} -> Empty

    // What a broker asks its clients

    /// What became of this half message?
    39 CheckTransactionState {
        "tranStateTableOffset" tran_state_table_offset: i64,
        "commitLogOffset"      commit_log_offset:       i64,
        "msgId"                msg_id:                  Option<Text>,
        "transactionId"        transaction_id:          Option<Text>,
        "offsetMsgId"          offset_msg_id:           Option<Text>,
        "topic"                topic:                   Option<Text>,
        "bname"                broker_name:             Option<Text>,
    } -> Empty

    /// The members of a group changed: rebalance.
    40 NotifyConsumerIdsChanged {
        "consumerGroup" consumer_group: Text,
    } -> Empty

    /// Consume from these offsets on.
    220 ResetConsumerClientOffset {
        "topic"     topic:     Text,
        "group"     group:     Text,
        "timestamp" timestamp: i64,
        "isForce"   is_force:  bool,
    } -> Empty

    /// Where does a client stand in its queues?
    221 GetConsumerStatusFromClient {
        "topic" topic: Text,
        "group" group: Text,
    } -> Empty

    /// What a consumer does now. Also asked of the broker, which passes it on.
    307 GetConsumerRunningInfo {
        "consumerGroup" consumer_group: Text,
        "clientId"      client_id:      Text,
        "jstackEnable"  jstack_enable:  Option<bool>,
    } -> Empty

    /// Have a client consume one message now. Also asked of the broker, which passes it on.
    309 ConsumeMessageDirectly {
        "consumerGroup" consumer_group: Text,
        "clientId"      client_id:      Option<Text>,
        "msgId"         msg_id:         Option<Text>,
        "brokerName"    broker_name:    Option<Text>,
        "topic"         topic:          Option<Text>,
        "topicSysFlag"  topic_sys_flag: Option<i32>,
        "groupSysFlag"  group_sys_flag: Option<i32>,
    } -> Empty

    /// The reply a requesting producer waits for.
    326 PushReplyMessageToClient {
        "producerGroup"         producer_group:           Text,
        "topic"                 topic:                    Text,
        "defaultTopic"          default_topic:            Text,
        "defaultTopicQueueNums" default_topic_queue_nums: i32,
        "queueId"               queue_id:                 i32,
        "sysFlag"               sys_flag:                 i32,
        "bornTimestamp"         born_timestamp:           i64,
        "flag"                  flag:                     i32,
        "properties"            properties:               Option<Text>,
        "reconsumeTimes"        reconsume_times:          Option<i32>,
        "unitMode"              unit_mode:                Option<bool>,
        "bornHost"              born_host:                Text,
        "storeHost"             store_host:               Text,
        "storeTimestamp"        store_timestamp:          i64,
    } -> Empty

    // Broker: topics, groups, configuration

    /// Makes or changes a topic.
    17 UpdateAndCreateTopic {
        "topic"           topic:             Text,
        "defaultTopic"    default_topic:     Text,
        "readQueueNums"   read_queue_nums:   i32,
        "writeQueueNums"  write_queue_nums:  i32,
        "perm"            perm:              i32,
        "topicFilterType" topic_filter_type: Text,
        "topicSysFlag"    topic_sys_flag:    Option<i32>,
        "order"           order:             bool = false,
        "attributes"      attributes:        Option<Text>,
        "force"           force:             Option<bool>,
    } -> Empty

    /// Makes or changes topics; they are in the body.
    18 UpdateAndCreateTopicList {} -> Empty

    /// Deletes a topic with its messages.
    215 DeleteTopicInBroker {
        "topic" topic: Text,
    } -> Empty

    /// All topics' configuration; new askers take it in pages.
    21 GetAllTopicConfig {
        "topicSeq"    topic_seq:     Option<i32>,
        "dataVersion" data_version:  Option<Text>,
        "maxTopicNum" max_topic_num: Option<i32>,
    } -> GetAllTopicConfigReply {
        "totalTopicNum" total_topic_num: Option<i32>,
    }

    /// One topic's configuration; 17 when there is none.
    351 GetTopicConfig {
        "topic" topic: Text,
        "lo"    lo:    Option<bool>,
    } -> Empty

    /// Makes or changes a consumer group; it is in the body.
    200 UpdateAndCreateSubscriptionGroup {} -> Empty

    /// Makes or changes consumer groups.
    225 UpdateAndCreateSubscriptionGroupList {} -> Empty

    /// All groups' configuration; new askers take it in pages.
    201 GetAllSubscriptionGroupConfig {
        "groupSeq"    group_seq:     Option<i32>,
        "dataVersion" data_version:  Option<Text>,
        "maxGroupNum" max_group_num: Option<i32>,
    } -> GetAllSubscriptionGroupConfigReply {
        "totalGroupNum" total_group_num: Option<i32>,
    }

    /// One group's configuration; 26 when there is none.
    352 GetSubscriptionGroupConfig {
        "group" group: Text,
    } -> Empty

    /// Deletes a group; 5.x says `cleanOffset`, 4.9 `removeOffset`: see [`DeleteSubscriptionGroup::removes_offsets`].
    207 DeleteSubscriptionGroup {
        "groupName"    group_name:    Text,
        "cleanOffset"  clean_offset:  Option<bool>,
        "removeOffset" remove_offset: Option<bool>,
    } -> Empty

    /// Sets and reads whether a group may read a topic.
    353 UpdateAndGetGroupForbidden {
        "group"    group:    Text,
        "topic"    topic:    Text,
        "readable" readable: Option<bool>,
    } -> Empty

    /// Changes the broker's configuration; the body is properties text.
    25 UpdateBrokerConfig {} -> Empty

    /// The broker's configuration as properties text.
    26 GetBrokerConfig {} -> GetBrokerConfigReply {
        "version" version: Text,
    }

    /// Numbers about the running broker.
    28 GetBrokerRuntimeInfo {} -> Empty

    /// The broker's own topics.
    305 GetSystemTopicListFromBroker {} -> Empty

    /// Removes queue files whose log is gone.
    306 CleanExpiredConsumeQueue {} -> Empty

    /// Removes queue files of topics that are gone.
    316 CleanUnusedTopic {} -> Empty

    /// Removes expired segments of the log.
    329 DeleteExpiredCommitLog {} -> Empty

    /// Have a half message checked again.
    323 ResumeCheckHalfMessage {
        "topic" topic:  Option<Text>,
        "msgId" msg_id: Option<Text>,
    } -> Empty

    // Broker: statistics and offsets

    /// Begin, end and last time of a topic's queues.
    202 GetTopicStatsInfo {
        "topic" topic: Text,
    } -> Empty

    /// Where a group stands in its queues; topics of the list are joined by semicolons.
    208 GetConsumeStats {
        "consumerGroup" consumer_group: Text,
        "topic"         topic:          Option<Text>,
        "topicList"     topic_list:     Option<Text>,
    } -> Empty

    /// Where all groups stand.
    317 GetBrokerConsumeStats {
        "isOrder" is_order: bool,
    } -> Empty

    /// One statistic over a minute, an hour, a day.
    315 ViewBrokerStatsData {
        "statsName" stats_name: Text,
        "statsKey"  stats_key:  Text,
    } -> Empty

    /// Times of the first, the last and the consumed message of each queue.
    303 QueryConsumeTimeSpan {
        "topic" topic: Text,
        "group" group: Text,
    } -> Empty

    /// Who consumes a topic?
    300 QueryTopicConsumeByWho {
        "topic" topic: Text,
    } -> Empty

    /// What does a group consume?
    343 QueryTopicsByConsumer {
        "group" group: Text,
    } -> Empty

    /// The subscription of a group to a topic.
    345 QuerySubscriptionByConsumer {
        "group" group: Text,
        "topic" topic: Option<Text>,
    } -> Empty

    /// Offsets that groups should have so that a filtered group does not lag.
    308 QueryCorrectionOffset {
        "filterGroups" filter_groups: Option<Text>,
        "compareGroup" compare_group: Text,
        "topic"        topic:         Text,
    } -> Empty

    /// Sets a group's offsets by time; -1 is the end.
    222 InvokeBrokerToResetOffset {
        "topic"     topic:     Text,
        "group"     group:     Text,
        "timestamp" timestamp: i64,
        "isForce"   is_force:  bool,
        "queueId"   queue_id:  i32 = -1,
        "offset"    offset:    Option<i64>,
    } -> Empty

    /// Where clients of a group stand, asked of the clients.
    223 InvokeBrokerToGetConsumerStatus {
        "topic"      topic:       Text,
        "group"      group:       Text,
        "clientAddr" client_addr: Option<Text>,
    } -> Empty

    /// Copies a group's offsets to another group.
    314 CloneGroupOffset {
        "srcGroup"  src_group:  Text,
        "destGroup" dest_group: Text,
        "topic"     topic:      Option<Text>,
        "offline"   offline:    Option<bool>,
    } -> Empty

    /// Units of a queue.
    321 QueryConsumeQueue {
        "topic"         topic:          Option<Text>,
        "queueId"       queue_id:       Option<i32>,
        "index"         index:          Option<i64>,
        "count"         count:          Option<i32>,
        "consumerGroup" consumer_group: Option<Text>,
    } -> Empty

    /// The file of consumer offsets.
    43 GetAllConsumerOffset {} -> Empty

    /// The file of delay offsets.
    45 GetAllDelayOffset {} -> Empty

    /// The file of request modes.
    402 GetAllMessageRequestMode {} -> Empty

    // Broker: connections

    /// Who is online in a consumer group? 206 when nobody.
    203 GetConsumerConnectionList {
        "consumerGroup" consumer_group: Text,
    } -> Empty

    /// Who is online in a producer group?
    204 GetProducerConnectionList {
        "producerGroup" producer_group: Text,
    } -> Empty

    /// All producers.
    328 GetAllProducerInfo {} -> Empty

    // Users and rights

    /// Makes a user.
    3001 AuthCreateUser {
        "username" username: Option<Text>,
    } -> Empty

    /// Changes a user.
    3002 AuthUpdateUser {
        "username" username: Option<Text>,
    } -> Empty

    /// Deletes a user.
    3003 AuthDeleteUser {
        "username" username: Option<Text>,
    } -> Empty

    /// One user.
    3004 AuthGetUser {
        "username" username: Option<Text>,
    } -> Empty

    /// Users.
    3005 AuthListUser {
        "filter" filter: Option<Text>,
    } -> Empty

    /// Makes rights.
    3006 AuthCreateAcl {
        "subject" subject: Option<Text>,
    } -> Empty

    /// Changes rights.
    3007 AuthUpdateAcl {
        "subject" subject: Option<Text>,
    } -> Empty

    /// Deletes rights.
    3008 AuthDeleteAcl {
        "subject"    subject:     Option<Text>,
        "policyType" policy_type: Option<Text>,
        "resource"   resource:    Option<Text>,
    } -> Empty

    /// Rights of one subject.
    3009 AuthGetAcl {
        "subject" subject: Option<Text>,
    } -> Empty

    /// Rights.
    3010 AuthListAcl {
        "subjectFilter"  subject_filter:  Option<Text>,
        "resourceFilter" resource_filter: Option<Text>,
    } -> Empty

    /// 4.x rights, to be refused: make or change an account.
    50 UpdateAndCreateAclConfig {
        "accessKey"          access_key:           Option<Text>,
        "secretKey"          secret_key:           Option<Text>,
        "whiteRemoteAddress" white_remote_address: Option<Text>,
        "admin"              admin:                Option<bool>,
        "defaultTopicPerm"   default_topic_perm:   Option<Text>,
        "defaultGroupPerm"   default_group_perm:   Option<Text>,
        "topicPerms"         topic_perms:          Option<Text>,
        "groupPerms"         group_perms:          Option<Text>,
    } -> Empty

    /// 4.x rights, to be refused: delete an account.
    51 DeleteAclConfig {
        "accessKey" access_key: Option<Text>,
    } -> Empty

    /// 4.x rights, to be refused: the version of the account file.
    52 GetBrokerClusterAclInfo {} -> GetBrokerClusterAclInfoReply {
        "version"           version:              Option<Text>,
        "allAclFileVersion" all_acl_file_version: Option<Text>,
        "brokerName"        broker_name:          Option<Text>,
        "brokerAddr"        broker_addr:          Option<Text>,
        "clusterName"       cluster_name:         Option<Text>,
    }

    /// 4.x rights, to be refused: addresses that need no account.
    53 UpdateGlobalWhiteAddrsConfig {
        "globalWhiteAddrs" global_white_addrs: Option<Text>,
        "aclFileFullPath"  acl_file_full_path: Option<Text>,
    } -> Empty

    /// 4.x rights, to be refused: the accounts.
    54 GetBrokerClusterAclConfig {} -> Empty

    // Rarely used

    /// The timer's checkpoint: seven 64-bit numbers.
    60 GetTimerCheckPoint {} -> Empty

    /// The timer's numbers.
    61 GetTimerMetrics {} -> Empty

    /// Makes a topic whose queues are mapped over brokers.
    513 UpdateAndCreateStaticTopic {
        "topic"           topic:             Text,
        "defaultTopic"    default_topic:     Text,
        "readQueueNums"   read_queue_nums:   i32,
        "writeQueueNums"  write_queue_nums:  i32,
        "perm"            perm:              i32,
        "topicFilterType" topic_filter_type: Text,
        "topicSysFlag"    topic_sys_flag:    Option<i32>,
        "order"           order:             bool = false,
        "attributes"      attributes:        Option<Text>,
        "force"           force:             Option<bool>,
    } -> Empty

    /// Brokers of one name tell each other where they replicate.
    906 ExchangeBrokerHaInfo {
        "masterHaAddress"   master_ha_address:   Option<Text>,
        "masterFlushOffset" master_flush_offset: Option<i64>,
        "masterAddress"     master_address:      Option<Text>,
    } -> ExchangeBrokerHaInfoReply {
        "masterHaAddress"   master_ha_address:   Option<Text>,
        "masterFlushOffset" master_flush_offset: Option<i64>,
        "masterAddress"     master_address:      Option<Text>,
    }

    /// The state of replication.
    907 GetBrokerHaStatus {} -> Empty

    /// Sets what a slave believes its master has flushed.
    908 ResetMasterFlushOffset {
        "masterFlushOffset" master_flush_offset: i64,
    } -> Empty

    /// Adds a broker to a container.
    902 AddBroker {
        "configPath" config_path: Option<Text>,
    } -> Empty

    /// Removes a broker from a container.
    903 RemoveBroker {
        "brokerName"        broker_name:         Text,
        "brokerClusterName" broker_cluster_name: Text,
        "brokerId"          broker_id:           i64,
    } -> Empty

    /// Controller: changes the in-sync set.
    1001 ControllerAlterSyncStateSet {
        "brokerName"     broker_name:      Option<Text>,
        "masterBrokerId" master_broker_id: Option<i64>,
        "masterEpoch"    master_epoch:     Option<i32>,
        "invokeTime"     invoke_time:      Option<i64>,
    } -> ControllerAlterSyncStateSetReply {
        "newSyncStateSetEpoch" new_sync_state_set_epoch: Option<i32>,
    }

    /// Controller: elects a master.
    1002 ControllerElectMaster {
        "clusterName"    cluster_name:    Text,
        "brokerName"     broker_name:     Text,
        "brokerId"       broker_id:       i64,
        "designateElect" designate_elect: bool,
        "invokeTime"     invoke_time:     Option<i64>,
    } -> ControllerElectMasterReply {
        "masterBrokerId"    master_broker_id:     Option<i64>,
        "masterAddress"     master_address:       Option<Text>,
        "masterEpoch"       master_epoch:         Option<i32>,
        "syncStateSetEpoch" sync_state_set_epoch: Option<i32>,
    }

    /// Controller: a broker registers.
    1003 ControllerRegisterBroker {
        "clusterName"   cluster_name:   Option<Text>,
        "brokerName"    broker_name:    Option<Text>,
        "brokerId"      broker_id:      Option<i64>,
        "brokerAddress" broker_address: Option<Text>,
        "invokeTime"    invoke_time:    Option<i64>,
    } -> ControllerRegisterBrokerReply {
        "clusterName"       cluster_name:         Option<Text>,
        "brokerName"        broker_name:          Option<Text>,
        "masterBrokerId"    master_broker_id:     Option<i64>,
        "masterAddress"     master_address:       Option<Text>,
        "masterEpoch"       master_epoch:         Option<i32>,
        "syncStateSetEpoch" sync_state_set_epoch: Option<i32>,
    }

    /// Controller: the replicas of a broker.
    1004 ControllerGetReplicaInfo {
        "brokerName" broker_name: Option<Text>,
    } -> ControllerGetReplicaInfoReply {
        "masterBrokerId" master_broker_id: Option<i64>,
        "masterAddress"  master_address:   Option<Text>,
        "masterEpoch"    master_epoch:     Option<i32>,
    }

    /// Controller: who leads?
    1005 ControllerGetMetadataInfo {} -> ControllerGetMetadataInfoReply {
        "group"                   group:                     Option<Text>,
        "controllerLeaderId"      controller_leader_id:      Option<Text>,
        "controllerLeaderAddress" controller_leader_address: Option<Text>,
        "isLeader"                is_leader:                 Option<bool>,
        "peers"                   peers:                     Option<Text>,
    }

    /// Controller: the in-sync sets of brokers.
    1006 ControllerGetSyncStateData {} -> Empty

    /// The epochs of a broker's log.
    1007 GetBrokerEpochCache {} -> Empty

    /// The controller tells brokers who is master.
    1008 NotifyBrokerRoleChanged {
        "masterAddress"     master_address:       Option<Text>,
        "masterEpoch"       master_epoch:         Option<i32>,
        "syncStateSetEpoch" sync_state_set_epoch: Option<i32>,
        "masterBrokerId"    master_broker_id:     Option<i64>,
    } -> Empty

    /// Changes the controller's configuration.
    1009 UpdateControllerConfig {} -> Empty

    /// The controller's configuration.
    1010 GetControllerConfig {} -> Empty

    /// Controller: forgets a broker.
    1011 CleanBrokerData {
        "clusterName"                cluster_name:                  Option<Text>,
        "brokerName"                 broker_name:                   Text,
        "brokerControllerIdsToClean" broker_controller_ids_to_clean: Option<Text>,
        "isCleanLivingBroker"        is_clean_living_broker:        Option<bool>,
        "invokeTime"                 invoke_time:                   Option<i64>,
    } -> Empty

    /// Controller: the next free broker id.
    1012 ControllerGetNextBrokerId {
        "clusterName" cluster_name: Option<Text>,
        "brokerName"  broker_name:  Option<Text>,
    } -> ControllerGetNextBrokerIdReply {
        "clusterName"  cluster_name:   Option<Text>,
        "brokerName"   broker_name:    Option<Text>,
        "nextBrokerId" next_broker_id: Option<i64>,
    }

    /// Controller: takes a broker id.
    1013 ControllerApplyBrokerId {
        "clusterName"       cluster_name:        Option<Text>,
        "brokerName"        broker_name:         Option<Text>,
        "appliedBrokerId"   applied_broker_id:   Option<i64>,
        "registerCheckCode" register_check_code: Option<Text>,
    } -> ControllerApplyBrokerIdReply {
        "clusterName" cluster_name: Option<Text>,
        "brokerName"  broker_name:  Option<Text>,
    }

    /// Cold data: changes limits.
    2001 UpdateColdDataFlowCtrConfig {} -> Empty

    /// Cold data: removes a group's limit.
    2002 RemoveColdDataFlowCtrConfig {} -> Empty

    /// Cold data: limits and use.
    2003 GetColdDataFlowCtrInfo {} -> Empty

    /// Cold data: how the log is read ahead.
    2004 SetCommitLogReadMode {} -> Empty

    /// Compares queues in files with those in a database.
    354 CheckRocksdbCqWriteProgress {
        "topic"          topic:            Text,
        "checkStoreTime" check_store_time: Option<i64>,
    } -> Empty

    /// Exports configuration from a database to JSON.
    355 ExportRocksdbConfigToJson {
        "typeName"   type_name:   Option<Text>,
        "configType" config_type: Text,
    } -> Empty

    same {
        /// Append the messages of a client's batch to a queue.
        320 SendBatchMessage = SendMessageV2;
        /// Answer a request message, with long names.
        324 SendReplyMessage = SendMessage;
        /// Answer a request message, with short names.
        325 SendReplyMessageV2 = SendMessageV2;
        /// A pull of a lite consumer.
        361 LitePullMessage = PullMessage;
    }
}

impl DeleteSubscriptionGroup {
    /// Whether the group's offsets go too, in whichever spelling.
    pub fn removes_offsets(&self) -> bool {
        self.clean_offset.or(self.remove_offset).unwrap_or(false)
    }
}

fn first_is_absent(ext: &ExtFields, keys: &[&str]) -> bool {
    keys.first().is_some_and(|key| ext.next(&mut 0, key).is_none())
}

#[cfg(test)]
mod tests;
