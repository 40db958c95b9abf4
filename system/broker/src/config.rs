//! The settings of a broker: RocketMQ's keys and defaults (broker-store.md 5.2 and 5.3).

use std::time::Duration;

use protocol::name;
use protocol::{
    config,
    config::{BrokerRole, FlushDiskType},
    config_words,
};
use store::{FlushMode, OnDamage, Timed};

use crate::{StartError, state::delay::Levels};

config! {
    /// Settings of a broker and its store.
    pub struct Config {
        "brokerName"        broker_name:         String = String::new(), "The broker's name; empty: the host's name.", Important;
        "brokerClusterName" broker_cluster_name: String = "DefaultCluster".into(), "The cluster it is part of.", Important;
        "brokerId"          broker_id:           i64 = 0, "Its number among the brokers of its name; 0 is the master.", Important;
        "brokerRole"        broker_role:         BrokerRole = BrokerRole::AsyncMaster, "What it is among the brokers of its name; only ASYNC_MASTER works yet.", Important;
        "namesrvAddr"       namesrv_addr:        String = String::new(), "Name servers, host:port, separated by semicolons.", Important;
        "brokerIP1"         broker_ip1:          String = String::new(), "The address clients use; empty: the first of the host.", Important;
        "bindAddress"       bind_address:        String = "0.0.0.0".into(), "The address to listen on.";
        "listenPort"        listen_port:         u16 = 10911, "The port to listen on, the fast port is two below; 0: any free one, without a fast one.", Important;

        "brokerPermission"               broker_permission:              i32 = 6, "What clients may do: 4 read, 2 write, 6 both.", Live, Important;
        "autoCreateTopicEnable"          auto_create_topic_enable:       bool = true, "Whether a send may create its topic.", Live, Important;
        "autoCreateSubscriptionGroup"    auto_create_subscription_group: bool = true, "Whether a consumer may create its group.", Live, Important;
        "defaultTopicQueueNums"          default_topic_queue_nums:       i32 = 8, "Most queues of a topic that a send creates.";
        "clusterTopicEnable"             cluster_topic_enable:           bool = true, "Whether clients may use the topic named as the cluster.";
        "brokerTopicEnable"              broker_topic_enable:            bool = true, "Whether clients may use the topic named as the broker.";
        "traceTopicEnable"               trace_topic_enable:             bool = false, "Whether the topic for traces is there.";
        "msgTraceTopicName"              msg_trace_topic_name:           String = "RMQ_SYS_TRACE_TOPIC".into(), "The topic for traces.";
        "traceOn"                        trace_on:                       bool = true, "Whether clients are told to trace.", Live;
        "regionId"                       region_id:                      String = "DefaultRegion".into(), "The region clients are told.";
        "validateSystemTopicWhenUpdateTopic" validate_system_topic_when_update_topic: bool = true, "Whether the system's topics are closed to administrators.", Live;

        "registerBrokerTimeoutMills"     register_broker_timeout_mills:  u64 = 24_000, "Longest wait for a name server, at most 10 s are used.", Live;
        "registerNameServerPeriod"       register_name_server_period:    u64 = 30_000, "Pause between two registrations, 10 s to 60 s.", Live;
        "channelExpiredTimeout"          channel_expired_timeout:        u64 = 120_000, "A client silent for so long is given up.", Live;
        "notifyConsumerIdsChangedEnable" notify_consumer_ids_changed_enable: bool = true, "Whether members hear of each other.", Live;
        "longPollingEnable"              long_polling_enable:            bool = true, "Whether pulls wait as long as they ask.", Live;
        "shortPollingTimeMills"          short_polling_time_mills:       u64 = 1000, "How long they wait otherwise.", Live;
        "litePullMessageEnable"          lite_pull_message_enable:       bool = true, "Whether lite consumers may pull.", Live;
        "flushConsumerOffsetInterval"    flush_consumer_offset_interval: u64 = 5000, "Pause between two writes of the consumer offsets.", Live;

        "transactionTimeOut"             transaction_time_out:           u64 = 6000, "How long a half message is left alone before its producers are asked.", Live;
        "transactionCheckInterval"       transaction_check_interval:     u64 = 30_000, "Pause between two checks of a half message, 1 s at least.", Live;
        "transactionCheckMax"            transaction_check_max:          u32 = 15, "Checks after which a half message is given up.", Live;
        "rejectTransactionMessage"       reject_transaction_message:     bool = false, "Whether half messages are refused.", Live;

        "storePathRootDir"               store_path_root_dir:            String = String::new(), "Where everything is kept; empty: `store` in the home directory.", Important;
        "storePathCommitLog"             store_path_commit_log:          String = String::new(), "Where the commit log is kept; only `commitlog` below storePathRootDir works yet.";
        "flushDiskType"                  flush_disk_type:                FlushDiskType = FlushDiskType::AsyncFlush, "When a message is acknowledged: in the page cache, or on the disk.", Important;
        "flushIntervalCommitLog"         flush_interval_commit_log:      u64 = 500, "Pause between two flushes nobody waits for.";
        "syncFlushTimeout"               sync_flush_timeout:             u64 = 5000, "How long a send waits for the disk.";
        "flushConsumeQueueThoroughInterval" flush_consume_queue_thorough_interval: u64 = 60_000, "Pause between two writes of the queues.";
        "mappedFileSizeCommitLog"        mapped_file_size_commit_log:    u64 = 1 << 30, "Bytes of one file of the log.";
        "warmMapedFileEnable"            warm_maped_file_enable:         bool = false, "Whether a file of the log is brought into memory as a whole when it is made.";
        "mappedFileSizeConsumeQueue"     mapped_file_size_consume_queue: u64 = 6_000_000, "Bytes of one file of a queue, a multiple of 20.";
        "messageIndexEnable"             message_index_enable:           bool = true, "Whether messages can be found by their keys.";
        "messageIndexSafe"               message_index_safe:             bool = false, "Whether clients are served only when all messages can be found so.";
        "maxHashSlotNum"                 max_hash_slot_num:              u32 = 5_000_000, "Slots of one file of the index.";
        "maxIndexNum"                    max_index_num:                  u32 = 20_000_000, "Keys of one file of the index, 20 bytes each.";
        "maxMsgsNumBatch"                max_msgs_num_batch:             u32 = 64, "Most messages of an answer to a query by key.";
        "defaultQueryMaxNum"             default_query_max_num:          u32 = 32, "Most messages of an answer to a query by unique key.", Live;
        "maxMessageSize"                 max_message_size:               usize = 4 << 20, "Longest body of a message.";
        "maxTopicLength"                 max_topic_length:               usize = 127, "Longest name of a topic that is no retry topic.";
        "maxFilterMessageSize"           max_filter_message_size:        u64 = 16_000, "Bytes of queue a pull looks through at least.";
        "maxTransferBytesOnMessageInMemory" max_transfer_bytes_on_message_in_memory: u32 = 262_144, "Most bytes of an answer from memory.";
        "maxTransferCountOnMessageInMemory" max_transfer_count_on_message_in_memory: u32 = 32, "Most messages of an answer from memory.";
        "maxTransferBytesOnMessageInDisk" max_transfer_bytes_on_message_in_disk: u32 = 65_536, "Most bytes of an answer from the disk.";
        "maxTransferCountOnMessageInDisk" max_transfer_count_on_message_in_disk: u32 = 8, "Most messages of an answer from the disk.";
        "accessMessageInMemoryMaxRatio"  access_message_in_memory_max_ratio: u64 = 40, "Percent of the memory that the newest messages are expected in.";
        "fileReservedTime"               file_reserved_time:             u64 = 72, "Hours that messages are kept.", Important;
        "deleteWhen"                     delete_when:                    String = "04".into(), "Hours of the day at which expired files go, separated by semicolons.", Important;
        "cleanResourceInterval"          clean_resource_interval:        u64 = 10_000, "Pause between two looks for expired files.";
        "deleteFileBatchMax"             delete_file_batch_max:          usize = 10, "Most files deleted at a time.";
        "diskMaxUsedSpaceRatio"          disk_max_used_space_ratio:      u64 = 75, "Percent of the disk above which expired files go at any hour.";
        "diskSpaceCleanForciblyRatio"    disk_space_clean_forcibly_ratio: u64 = 85, "Percent of the disk above which files go before they expire.";
        "diskSpaceWarningLevelRatio"     disk_space_warning_level_ratio: u64 = 90, "Percent of the disk above which sends are refused.";
        "cleanFileForciblyEnable"        clean_file_forcibly_enable:     bool = true, "Whether files may go before they expire.";
        "damagedCommitLog"               damaged_commit_log:             DamagedCommitLog = DamagedCommitLog::Refuse, "What to do when messages that were on the disk cannot be read at start: REFUSE, or CUT the log there. Not a key of Java's.";

        "messageDelayLevel"              message_delay_level:            String = "1s 5s 10s 30s 1m 2m 3m 4m 5m 6m 7m 8m 9m 10m 20m 30m 1h 2h".into(), "How long each level holds a delayed message: numbers with s, m, h or d.", Important;
        "flushDelayOffsetInterval"       flush_delay_offset_interval:    u64 = 10_000, "Pause between two writes of how far the delay levels are.", Live;
        "slaveReadEnable"                slave_read_enable:              bool = false, "Whether consumers far behind are sent to a slave; told to tools, not used yet.";
        "filterServerNums"               filter_server_nums:             i32 = 0, "Told to old tools, not used.";
        "useTLS"                         use_tls:                        bool = false, "Told to tools, not used yet.";
    }
}

config_words! {
    /// What to do when messages that were on the disk cannot be read at start.
    pub enum DamagedCommitLog {
        /// Do not start: an operator decides.
        Refuse = "REFUSE",
        /// Cut the log in front of the damage.
        Cut = "CUT",
    }
}

impl Config {
    /// What no single key can tell.
    pub fn check(&self) -> Result<(), StartError> {
        let wrong = |text: String| Err(StartError::Config(text));
        if self.broker_role != BrokerRole::AsyncMaster || self.broker_id != 0 {
            return wrong(
                "replication is not supported yet: brokerRole must be ASYNC_MASTER and brokerId 0".into(),
            );
        }
        if !(0..=7).contains(&self.broker_permission) {
            return wrong(format!(
                "brokerPermission is {}: 4 reads, 2 writes, 6 both",
                self.broker_permission
            ));
        }
        if !(1..=65_535).contains(&self.default_topic_queue_nums) {
            return wrong(format!(
                "defaultTopicQueueNums is {}: 1 to 65535 are possible",
                self.default_topic_queue_nums
            ));
        }
        if self.flush_consumer_offset_interval == 0 {
            return wrong("flushConsumerOffsetInterval is 0: write milliseconds, such as 5000".into());
        }
        if self.flush_delay_offset_interval == 0 {
            return wrong("flushDelayOffsetInterval is 0: write milliseconds, such as 10000".into());
        }
        let log = format!("{}/commitlog", self.store_path_root_dir.trim_end_matches('/'));
        if !self.store_path_commit_log.is_empty() && self.store_path_commit_log.trim_end_matches('/') != log {
            return wrong(format!("storePathCommitLog must be {log}: another place is not supported yet"));
        }
        for (key, name) in
            [("brokerName", &self.broker_name), ("brokerClusterName", &self.broker_cluster_name)]
        {
            if name.contains(['\'', '"', ',', ';', '\\']) {
                return wrong(format!("{key} is {name:?}: quotes, commas and semicolons mislead clients"));
            }
        }
        self.store().map(|_| ())
    }

    /// The delay levels.
    pub(crate) fn delay_levels(&self) -> Result<Levels, StartError> {
        Levels::parse(&self.message_delay_level).map_err(|why| {
            StartError::Config(format!("messageDelayLevel is {:?}: {why}", self.message_delay_level))
        })
    }

    /// The store's part.
    pub(crate) fn store(&self) -> Result<store::Config, StartError> {
        let hours: Result<Vec<u8>, _> = self
            .delete_when
            .split(';')
            .map(str::trim)
            .filter(|hour| !hour.is_empty())
            .map(str::parse)
            .collect();
        let hours = hours.ok().filter(|hours| hours.iter().all(|hour| *hour < 24));
        let delete_hours = hours.ok_or_else(|| {
            let text = format!(
                "deleteWhen is {:?}: write hours from 00 to 23, separated by semicolons",
                self.delete_when
            );
            StartError::Config(text)
        })?;
        Ok(store::Config {
            segment_bytes: self.mapped_file_size_commit_log,
            warm: self.warm_maped_file_enable,
            queue_file_bytes: self.mapped_file_size_consume_queue,
            flush: match self.flush_disk_type {
                FlushDiskType::AsyncFlush => FlushMode::Async,
                FlushDiskType::SyncFlush => FlushMode::Sync,
            },
            flush_interval: Duration::from_millis(self.flush_interval_commit_log),
            sync_flush_timeout: Duration::from_millis(self.sync_flush_timeout),
            settle_interval: Duration::from_millis(self.flush_consume_queue_thorough_interval),
            index: self.message_index_enable,
            index_slots: self.max_hash_slot_num,
            index_entries: self.max_index_num,
            query_count: self.max_msgs_num_batch,
            max_message_bytes: self.max_message_size,
            max_topic_bytes: self.max_topic_length,
            max_filter_bytes: self.max_filter_message_size,
            memory_read_bytes: self.max_transfer_bytes_on_message_in_memory,
            memory_read_count: self.max_transfer_count_on_message_in_memory,
            disk_read_bytes: self.max_transfer_bytes_on_message_in_disk,
            disk_read_count: self.max_transfer_count_on_message_in_disk,
            memory_percent: self.access_message_in_memory_max_ratio,
            reserved: Duration::from_secs(self.file_reserved_time.saturating_mul(3600)),
            delete_hours,
            expire_interval: Duration::from_millis(self.clean_resource_interval),
            expire_batch: self.delete_file_batch_max,
            disk_max_percent: self.disk_max_used_space_ratio,
            disk_force_percent: self.disk_space_clean_forcibly_ratio,
            disk_full_percent: self.disk_space_warning_level_ratio,
            force_expire: self.clean_file_forcibly_enable,
            on_damage: match self.damaged_commit_log {
                DamagedCommitLog::Refuse => OnDamage::Refuse,
                DamagedCommitLog::Cut => OnDamage::Cut,
            },
            timed: Some(Timed {
                topic: name::SCHEDULE_TOPIC.into(),
                delays_ms: self.delay_levels()?.delays_ms().to_vec(),
            }),
            ..store::Config::default()
        })
    }
}

/// Keys of Java's broker that mean nothing here: there are no thread pools with queues, no memory pools, no second
/// storage engine; or what they set is not offered yet. They are warned of, never refused.
#[rustfmt::skip]
pub const WITHOUT_EFFECT: &[&str] = &[
    "ackMessageThreadPoolNums", "ackThreadPoolQueueCapacity", "aclEnable", "adminBrokerThreadPoolNums",
    "adminBrokerThreadPoolQueueCapacity", "allAckInSyncStateSet", "allowRecallWhenBrokerNotWriteable",
    "asyncSendEnable", "authenticationEnabled", "authorizationEnabled", "autoMessageVersionOnTopicLen",
    "bitMapLengthConsumeQueueExt", "broadcastOffsetExpireMaxSecond", "broadcastOffsetExpireSecond",
    "brokerConfigPath", "brokerFastFailureEnable", "brokerHeartbeatInterval", "brokerIP2",
    "brokerNotActiveTimeoutMillis", "checkCRCOnRecover", "checkSyncStateSetPeriod",
    "clearRetryTopicWhenDeleteTopic", "clientManageThreadPoolNums", "clientManagerThreadPoolQueueCapacity",
    "coldDataFlowControlEnable", "commitCommitLogLeastPages", "commitCommitLogThoroughInterval",
    "commitIntervalCommitLog", "compactionCqMappedFileSize", "compactionMappedFileSize",
    "compactionScheduleInternal", "compactionThreadNum", "compatibleWithOldNameSrv", "compressedRegister",
    "configBlackList", "consumerFallbehindThreshold", "consumerManageThreadPoolNums",
    "consumerManagerThreadPoolQueueCapacity", "consumerOffsetUpdateVersionStep", "controllerAddr",
    "controllerHeartBeatTimeoutMills", "dLegerGroup", "dLegerPeers", "dLegerSelfId",
    "defaultMessageRequestMode", "defaultPopShareQueueNum",
    "delayOffsetUpdateVersionStep", "deleteCommitLogFilesInterval", "deleteConsumeQueueFilesInterval",
    "destroyMapedFileIntervalForcibly", "disableConsumeIfConsumerReadSlowly", "diskFallRecorded",
    "duplicationEnable", "enableAutoInSyncReplicas", "enableBroadcastOffsetStore",
    "enableBuildConsumeQueueConcurrently", "enableCalcFilterBitMap", "enableCompaction",
    "enableConsumeQueueExt", "enableControllerMode", "enableCreateSysGroup", "enableDLegerCommitLog",
    "enableDetailStat", "enableLmq", "enableMixedMessageType", "enableMultiDispatch",
    "enableNetWorkFlowControl", "enablePopBufferMerge", "enablePropertyFilter", "enableRegisterProducer",
    "enableRemoteEscape", "enableRetryTopicV2", "enableScheduleAsyncDeliver", "enableSingleTopicRegister",
    "enableSlaveActingMaster", "enableSplitRegistration", "enabledAppendPropCRC",
    "endTransactionPoolQueueCapacity", "endTransactionThreadPoolNums", "expectConsumerNumUseFilter",
    "fastFailIfNoBufferInStorePool", "fetchNameSrvAddrByDnsLookup", "fetchNamesrvAddrByAddressServer",
    "fetchNamesrvAddrInterval", "filterDataCleanTimeSpan", "filterSupportRetry", "flushCommitLogLeastPages",
    "flushCommitLogThoroughInterval", "flushCommitLogTimed", "flushConsumeQueueLeastPages",
    "flushConsumerOffsetHistoryInterval", "flushIntervalConsumeQueue",
    "flushLeastPagesWhenWarmMapedFile", "forceRegister", "forceVerifyPropCRC", "forwardTimeout",
    "haFlowControlEnable", "haHousekeepingInterval", "haListenPort", "haMasterAddress", "haMaxGapNotInSync",
    "haMaxTimeSlaveNotCatchup", "haSendHeartbeatInterval", "haSlaveFallbehindMax", "haTransferBatchSize",
    "heartbeatThreadPoolNums", "heartbeatThreadPoolQueueCapacity", "inSyncReplicas",
    "initPopOffsetByCheckMsgInMem", "litePullMessageThreadPoolNums", "litePullThreadPoolQueueCapacity",
    "loadBalanceProcessorThreadPoolNums", "loadBalanceThreadPoolQueueCapacity", "lockInStrictMode",
    "mappedFileSizeConsumeQueueExt", "mappedFileSizeTimerLog", "mapperFileSizeBatchConsumeQueue",
    "maxErrorRateOfBloomFilter", "maxHaTransferByteInSecond",
    "maxLmqConsumeQueueNum", "maxOffsetMapSize", "maxPopPollingSize", "metricsExporterType", "metricsPromExporterPort",
    "minInSyncReplicas", "offsetCheckInSlave", "osPageCacheBusyTimeOutMills", "popCkMaxBufferSize",
    "popCkOffsetMaxQueueSize", "popCkStayBufferTime", "popCkStayBufferTimeOut", "popFromRetryProbability",
    "popPollingMapExpireTimeSeconds", "popPollingMapSize", "popPollingSize", "popReviveMaxAttemptTimes",
    "processReplyMessageThreadPoolNums", "pullBatchMaxMessageCount", "pullMessageThreadPoolNums",
    "pullThreadPoolQueueCapacity", "putConsumeQueueDataByFileChannel", "putMessageFutureThreadPoolNums",
    "putMessageTimeout", "putThreadPoolQueueCapacity", "queryMessageThreadPoolNums",
    "queryThreadPoolQueueCapacity", "readOnlyCommitLogStorePaths", "readUnCommitted",
    "realTimeNotifyConsumerChange", "recallMessageEnable", "recoverConcurrently", "recoverThreadPoolNums",
    "redeleteHangedFileInterval", "rejectPullConsumerEnable",
    "replyThreadPoolQueueCapacity", "retrieveMessageFromPopRetryTopicV1", "reviveAckWaitMs",
    "reviveInterval", "reviveMaxSlow", "reviveQueueNum", "reviveScanTime", "rocketmqHome",
    "scheduleAsyncDeliverMaxPendingLimit", "scheduleAsyncDeliverMaxResendNum2Blocked",
    "sendHeartbeatTimeoutMillis", "sendMessageThreadPoolNums", "sendThreadPoolQueueCapacity",
    "serverAsyncSemaphoreValue", "serverCallbackExecutorThreads", "serverChannelMaxIdleTimeSeconds",
    "serverLoadBalancerEnable", "serverOnewaySemaphoreValue", "serverPooledByteBufAllocatorEnable",
    "serverSelectorThreads", "serverSocketBacklog", "serverSocketRcvBufSize", "serverSocketSndBufSize",
    "serverWorkerThreads", "skipPreOnline", "skipWhenCKRePutReachMaxTimes", "slaveTimeout",
    "splitRegistrationSize", "startAcceptSendRequestTimeStamp", "storePathEpochFile",
    "storeReplyMessageEnable", "storeType", "subscriptionExpiredTimeout", "syncBrokerMetadataPeriod",
    "syncControllerMetadataPeriod", "timerCongestNumEachSlot", "timerEnableRetryUntilSuccess",
    "timerFlushIntervalMs", "timerGetMessageThreadNum", "timerInterceptDelayLevel", "timerMaxDelaySec",
    "timerPrecisionMs", "timerPutMessageThreadNum", "timerRollWindowSlot", "timerSkipUnknownError",
    "timerStopDequeue", "timerStopEnqueue", "timerWheelEnable", "topicQueueLockNum", "totalReplicas",
    "transactionOpBatchInterval", "transactionOpMsgMaxSize", "transferMsgByHeap", "transientStorePoolEnable",
    "transientStorePoolSize", "travelCqFileNumWhenGetMessage", "updateNameServerAddrPeriod", "useABSLock",
    "useEpollNativeSelector", "useReentrantLockWhenPutMessage", "useServerSideResetOffset",
    "waitTimeMillsInAckQueue", "waitTimeMillsInAdminBrokerQueue", "waitTimeMillsInHeartbeatQueue",
    "waitTimeMillsInLitePullQueue", "waitTimeMillsInPullQueue", "waitTimeMillsInSendQueue",
    "waitTimeMillsInTransactionQueue", "writeBufferHighWaterMark",
    "writeBufferLowWaterMark", "writeWithoutMmap",
];
