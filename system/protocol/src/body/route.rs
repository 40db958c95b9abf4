//! Routes: which brokers have queues of a topic.

use super::*;

body! {
    /// The route of one topic.
    TopicRouteData {
        "brokerDatas"               broker_datas:                  Vec<BrokerData>,
        "filterServerTable"         filter_server_table:           BTreeMap<Text, Vec<Text>>,
        "orderTopicConf"            order_topic_conf:              Option<Text>,
        "queueDatas"                queue_datas:                   Vec<QueueData>,
        "topicQueueMappingByBroker" topic_queue_mapping_by_broker: Option<BTreeMap<Text, TopicQueueMappingInfo>>,
    }

    /// The brokers of one name, by id; the master has id 0.
    #[derive(Eq)]
    BrokerData {
        "brokerAddrs"        broker_addrs:         BTreeMap<i64, Text>,
        "brokerName"         broker_name:          Text,
        "cluster"            cluster:              Text,
        "enableActingMaster" enable_acting_master: bool,
        "zoneName"           zone_name:            Option<Text>,
    }

    /// The queues of one topic on the brokers of one name.
    #[derive(Eq)]
    QueueData {
        "brokerName"                    broker_name:      Text,
        "perm"                          perm:             i32,
        "readQueueNums"                 read_queue_nums:  i32,
        "topicSysFlag" | "topicSynFlag" topic_sys_flag:   i32,
        "writeQueueNums"                write_queue_nums: i32,
    }

    /// Which queues of a static topic a broker has.
    #[derive(Eq)]
    TopicQueueMappingInfo {
        "bname"       broker_name:  Text,
        "currIdMap"   curr_id_map:  BTreeMap<i32, i32>,
        "dirty"       dirty:        bool,
        "epoch"       epoch:        i64,
        "scope"       scope:        Text = Text::from_static("__global__"),
        "topic"       topic:        Text,
        "totalQueues" total_queues: i32,
    }

    /// The same with the history of each queue.
    #[derive(Eq)]
    TopicQueueMappingDetail {
        "bname"        broker_name:   Text,
        "currIdMap"    curr_id_map:   BTreeMap<i32, i32>,
        "dirty"        dirty:         bool,
        "epoch"        epoch:         i64,
        "hostedQueues" hosted_queues: BTreeMap<i32, Vec<LogicQueueMappingItem>>,
        "scope"        scope:         Text = Text::from_static("__global__"),
        "topic"        topic:         Text,
        "totalQueues"  total_queues:  i32,
    }

    /// A stretch of a static topic's queue.
    #[derive(Eq)]
    LogicQueueMappingItem {
        "bname"       broker_name:   Text,
        "endOffset"   end_offset:    i64 = -1,
        "gen"         generation:    i32,
        "logicOffset" logic_offset:  i64,
        "queueId"     queue_id:      i32,
        "startOffset" start_offset:  i64,
        "timeOfEnd"   time_of_end:   i64 = -1,
        "timeOfStart" time_of_start: i64 = -1,
    }

    /// All clusters and all brokers.
    ClusterInfo {
        "brokerAddrTable"  broker_addr_table:  BTreeMap<Text, BrokerData>,
        "clusterAddrTable" cluster_addr_table: BTreeMap<Text, Vec<Text>>,
    }

    /// The answer to the question for the brokers of one name.
    GetBrokerMemberGroupBody {
        "brokerMemberGroup" broker_member_group: Option<BrokerMemberGroup>,
    }

    /// The brokers of one name.
    #[derive(Eq)]
    BrokerMemberGroup {
        "brokerAddrs" broker_addrs: BTreeMap<i64, Text>,
        "brokerName"  broker_name:  Text,
        "cluster"     cluster:      Text,
    }
}

/// Bits of a topic's permission.
pub mod perm {
    /// Topics made by sending take this topic as their template.
    pub const INHERIT: i32 = 1;
    /// May be written.
    pub const WRITE: i32 = 2;
    /// May be read.
    pub const READ: i32 = 4;
    /// Has priority.
    pub const PRIORITY: i32 = 8;
}
