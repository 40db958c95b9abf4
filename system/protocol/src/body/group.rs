//! Groups: heartbeats, members, locks, assignments, acknowledgements of popped messages.

use serde::{Deserializer, Serializer};

use super::*;
use crate::base64;
use crate::command::Language;

body! {
    /// Which groups a client is part of. A fingerprint other than 0 selects the second form, in which `without_sub`
    /// says that the subscriptions are the ones already known.
    HeartbeatData {
        "clientID"                    client_id:             Text,
        "consumerDataSet"             consumer_data_set:     Vec<ConsumerData>,
        "heartbeatFingerprint"        heartbeat_fingerprint: i32,
        "producerDataSet"             producer_data_set:     Vec<ProducerData>,
        "withoutSub" | "isWithoutSub" without_sub:           bool,
    }

    /// A group the client produces for.
    #[derive(Eq)]
    ProducerData {
        "groupName" group_name: Text,
    }

    /// A group the client consumes in.
    ConsumerData {
        "consumeFromWhere"    consume_from_where:    ConsumeFromWhere,
        "consumeType"         consume_type:          ConsumeType,
        "groupName"           group_name:            Text,
        "messageModel"        message_model:         MessageModel,
        "subscriptionDataSet" subscription_data_set: Vec<SubscriptionData>,
        "unitMode"            unit_mode:             bool,
    }

    /// What of a topic a group wants.
    #[derive(Eq)]
    SubscriptionData {
        "classFilterMode" class_filter_mode: bool,
        "codeSet"         code_set:          Vec<i32>,
        "expressionType"  expression_type:   Text = Text::from_static("TAG"),
        "subString"       sub_string:        Text,
        "subVersion"      sub_version:       i64,
        "tagsSet"         tags_set:          Vec<Text>,
        "topic"           topic:             Text,
    }

    /// The client ids of a group.
    GetConsumerListByGroupBody {
        "consumerIdList" consumer_id_list: Vec<Text>,
    }

    /// Queues to lock or to free.
    LockBatchBody {
        "clientId"       client_id:        Text,
        "consumerGroup"  consumer_group:   Text,
        "mqSet"          mq_set:           Vec<MessageQueue>,
        "onlyThisBroker" only_this_broker: bool,
    }

    /// The queues that were locked.
    LockBatchReplyBody {
        "lockOKMQSet" lock_ok_mq_set: Vec<MessageQueue>,
    }

    /// The question which queues a client should consume.
    QueryAssignmentBody {
        "clientId"      client_id:      Text,
        "consumerGroup" consumer_group: Text,
        "messageModel"  message_model:  MessageModel,
        "strategyName"  strategy_name:  Text,
        "topic"         topic:          Text,
    }

    /// The queues a client should consume; absent means that it keeps those it has.
    QueryAssignmentReplyBody {
        "messageQueueAssignments" message_queue_assignments: Option<Vec<MessageQueueAssignment>>,
    }

    /// One queue, and whether it is pulled or popped.
    #[derive(Eq)]
    MessageQueueAssignment {
        "attachments"  attachments:   Option<BTreeMap<Text, Text>>,
        "messageQueue" message_queue: MessageQueue,
        "mode"         mode:          MessageRequestMode,
    }

    /// A subscription to be checked.
    CheckClientBody {
        "clientId"         client_id:         Text,
        "group"            group:             Text,
        "namespace"        namespace:         Option<Text>,
        "subscriptionData" subscription_data: SubscriptionData,
    }

    /// Whether a group pulls or pops a topic.
    #[derive(Eq)]
    SetMessageRequestModeBody {
        "consumerGroup"     consumer_group:       Text,
        "mode"              mode:                 MessageRequestMode,
        "popShareQueueNum"  pop_share_queue_num:  i32,
        "topic"             topic:                Text,
    }

    /// Popped messages that were consumed.
    BatchAckBody {
        "acks"       acks:        Vec<BatchAck>,
        "brokerName" broker_name: Text,
    }

    /// Popped messages of one queue and one pop.
    #[derive(Eq)]
    BatchAck {
        "b"  | "bitSet"           bits:           AckBits,
        "c"  | "consumerGroup"    consumer_group: Text,
        "it" | "invisibleTime"    invisible_time: i64,
        "pt" | "popTime"          pop_time:       i64,
        "q"  | "queueId"          queue_id:       i32,
        "r"  | "retry"            retry:          Text,
        "rq" | "reviveQueueId"    revive_queue_id: i32,
        "so" | "startOffset"      start_offset:   i64,
        "t"  | "topic"            topic:          Text,
    }

    /// One group's configuration.
    #[derive(Eq)]
    SubscriptionGroupConfig {
        "attributes"                     attributes:                         BTreeMap<Text, Text>,
        "brokerId"                       broker_id:                          i64,
        "consumeBroadcastEnable"         consume_broadcast_enable:           bool = true,
        "consumeEnable"                  consume_enable:                     bool = true,
        "consumeFromMinEnable"           consume_from_min_enable:            bool = true,
        "consumeMessageOrderly"          consume_message_orderly:            bool,
        "consumeTimeoutMinute"           consume_timeout_minute:             i32 = 15,
        "groupName"                      group_name:                         Text,
        "groupRetryPolicy"               group_retry_policy:                 Option<GroupRetryPolicy>,
        "groupSysFlag"                   group_sys_flag:                     i32,
        "notifyConsumerIdsChangedEnable" notify_consumer_ids_changed_enable: bool = true,
        "retryMaxTimes"                  retry_max_times:                    i32 = 16,
        "retryQueueNums"                 retry_queue_nums:                   i32 = 1,
        "subscriptionDataSet"            subscription_data_set:              Option<Vec<SimpleSubscriptionData>>,
        "whichBrokerWhenConsumeSlowly"   which_broker_when_consume_slowly:   i64 = 1,
    }

    /// When a message is consumed again.
    #[derive(Eq)]
    GroupRetryPolicy {
        "customizedRetryPolicy"  customized_retry_policy:  Option<CustomizedRetryPolicy>,
        "exponentialRetryPolicy" exponential_retry_policy: Option<ExponentialRetryPolicy>,
        "type"                   kind:                     RetryPolicyType,
    }

    /// Delays one after the other, in milliseconds.
    #[derive(Eq)]
    CustomizedRetryPolicy {
        "next" next: Vec<i64>,
    }

    /// Delays that grow, in milliseconds.
    #[derive(Eq)]
    ExponentialRetryPolicy {
        "initial"    initial:    i64 = 5000,
        "max"        max:        i64 = 7_200_000,
        "multiplier" multiplier: i64 = 2,
    }

    /// A subscription that the broker keeps for a group.
    #[derive(Eq)]
    SimpleSubscriptionData {
        "expression"     expression:      Text,
        "expressionType" expression_type: Text,
        "topic"          topic:           Text,
        "version"        version:         i64,
    }

    /// All groups' configuration.
    SubscriptionGroupWrapper {
        "dataVersion"            data_version:             DataVersion,
        "forbiddenTable"         forbidden_table:          Option<BTreeMap<Text, BTreeMap<Text, i32>>>,
        "subscriptionGroupTable" subscription_group_table: BTreeMap<Text, SubscriptionGroupConfig>,
    }

    /// Groups to be made.
    SubscriptionGroupList {
        "groupConfigList" group_config_list: Vec<SubscriptionGroupConfig>,
    }

    /// Who is online in a consumer group, and how it consumes.
    ConsumerConnection {
        "connectionSet"     connection_set:     Vec<Connection>,
        "consumeFromWhere"  consume_from_where: ConsumeFromWhere,
        "consumeType"       consume_type:       ConsumeType,
        "messageModel"      message_model:      MessageModel,
        "subscriptionTable" subscription_table: BTreeMap<Text, SubscriptionData>,
    }

    /// Who is online in a producer group.
    ProducerConnection {
        "connectionSet" connection_set: Vec<Connection>,
    }

    /// One client's connection.
    #[derive(Eq)]
    Connection {
        "clientAddr" client_addr: Text,
        "clientId"   client_id:   Text,
        "language"   language:    Language,
        "version"    version:     i32,
    }

    /// All producers, by group.
    ProducerTableInfo {
        "data" data: BTreeMap<Text, Vec<ProducerInfo>>,
    }

    /// One producer.
    #[derive(Eq)]
    ProducerInfo {
        "clientId"            client_id:             Text,
        "language"            language:              Language,
        "lastUpdateTimestamp" last_update_timestamp: i64,
        "remoteIP"            remote_ip:             Text,
        "version"             version:               i32,
    }
}

names! {
    /// Who drives the consumption.
    ConsumeType {
        /// The application pulls.
        Actively = "CONSUME_ACTIVELY",
        /// The client calls the application.
        #[default]
        Passively = "CONSUME_PASSIVELY",
        /// The client pops.
        Pop = "CONSUME_POP",
    }

    /// Whether members of a group divide the messages or each get all.
    MessageModel {
        Broadcasting = "BROADCASTING",
        #[default]
        Clustering = "CLUSTERING",
    }

    /// Where a group begins in a queue it never consumed.
    ConsumeFromWhere {
        #[default]
        LastOffset = "CONSUME_FROM_LAST_OFFSET",
        LastOffsetAndFromMinWhenBootFirst = "CONSUME_FROM_LAST_OFFSET_AND_FROM_MIN_WHEN_BOOT_FIRST",
        MinOffset = "CONSUME_FROM_MIN_OFFSET",
        MaxOffset = "CONSUME_FROM_MAX_OFFSET",
        FirstOffset = "CONSUME_FROM_FIRST_OFFSET",
        Timestamp = "CONSUME_FROM_TIMESTAMP",
    }

    /// How a client gets its messages.
    MessageRequestMode {
        #[default]
        Pull = "PULL",
        Pop = "POP",
    }

    /// How delays between repeats grow.
    RetryPolicyType {
        Exponential = "EXPONENTIAL",
        #[default]
        Customized = "CUSTOMIZED",
    }
}

/// A set of offsets relative to the first one of a pop: bit i of byte i / 8, lowest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AckBits(Vec<u8>);

impl AckBits {
    /// The set of these bits; ones above the limit of a pop are left out.
    pub fn new(bits: impl IntoIterator<Item = u32>) -> Self {
        let mut bytes = Vec::new();
        for bit in bits {
            let at = (bit / 8) as usize;
            if at < ACK_BYTES_MAX {
                bytes.resize(bytes.len().max(at + 1), 0);
                bytes[at] |= 1 << (bit % 8);
            }
        }
        Self(bytes)
    }

    /// The bits in the set, ascending.
    pub fn iter(&self) -> impl Iterator<Item = u32> {
        let bits = u32::try_from(self.0.len() * 8).unwrap_or(u32::MAX);
        (0..bits).filter(|bit| self.0[(bit / 8) as usize] & 1 << (bit % 8) != 0)
    }
}

impl Serialize for AckBits {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&base64::encode(&self.0))
    }
}

// Text in base 64, or numbers of signed bytes, which other writers of the same class give.
impl<'de> Deserialize<'de> for AckBits {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use serde::de::{Error, SeqAccess, Visitor};
        struct Bits;
        impl<'de> Visitor<'de> for Bits {
            type Value = AckBits;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("bits in base 64 or as a list of bytes")
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<AckBits, E> {
                base64::decode(text).map(AckBits).ok_or_else(|| E::custom("bits that are not base 64"))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<AckBits, A::Error> {
                let mut bytes = Vec::new();
                while let Some(byte) = list.next_element::<i64>()? {
                    bytes.push(byte.to_le_bytes()[0]);
                }
                Ok(AckBits(bytes))
            }
            fn visit_unit<E: Error>(self) -> Result<AckBits, E> {
                Ok(AckBits::default())
            }
        }
        deserializer.deserialize_any(Bits)
    }
}

// A pop takes at most 32 messages; filtered ones may lie between them.
const ACK_BYTES_MAX: usize = 4096;
