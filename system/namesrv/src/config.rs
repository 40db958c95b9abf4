//! What can be set in the name server's file, by RocketMQ's own keys.

use protocol::Text;

protocol::config! {
    /// Settings of a name server.
    pub struct Config {
        "bindAddress" bind_address: Text = Text::from_static("0.0.0.0"),
            "The address to listen at.";
        "listenPort" listen_port: u16 = 9876,
            "The port that brokers and clients connect to.", Important;
        "rocketmqHome" rocketmq_home: Text = Text::default(),
            "The folder of the installation; nothing is read from it.";
        "kvConfigPath" kv_config_path: Text = Text::from_static("namesrv/kvConfig.json"),
            "The file of the KV table.", Important;
        "configStorePath" config_store_path: Text = Text::from_static("namesrv/namesrv.properties"),
            "The file that changed settings are written to.", Important;
        "scanNotActiveBrokerInterval" scan_not_active_broker_interval: u64 = 5_000,
            "Milliseconds between two looks for silent brokers.", Live;
        "unRegisterBrokerQueueCapacity" unregister_broker_queue_capacity: i32 = 3_000,
            "Without effect: brokers that leave are removed at once.", Live;
        "orderMessageEnable" order_message_enable: bool = false,
            "Whether routes tell on which brokers how many queues of an ordered topic are.", Live, Important;
        "returnOrderTopicConfigToBroker" return_order_topic_config_to_broker: bool = true,
            "Whether a registration is answered with the configuration of ordered topics.", Live;
        "supportActingMaster" support_acting_master: bool = false,
            "Whether the smallest id of a broker name without master is shown as its master.", Live;
        "notifyMinBrokerIdChanged" notify_min_broker_id_changed: bool = false,
            "Whether brokers are told that the smallest id of their name changed.", Live;
        "deleteTopicWithBrokerRegistration" delete_topic_with_broker_registration: bool = false,
            "Whether a topic that a broker no longer registers leaves its route.", Live;
        "enableAllTopicList" enable_all_topic_list: bool = true,
            "Whether the list of all topics is given out.", Live;
        "enableTopicList" enable_topic_list: bool = true,
            "Whether other lists of topics are given out.", Live;
        "needWaitForService" need_wait_for_service: bool = false,
            "Whether routes are refused for a time after the start, so that brokers can register first.", Live;
        "waitSecondsForService" wait_seconds_for_service: u64 = 45,
            "For how many seconds routes are refused after the start.", Live;
        "configBlackList" config_black_list: Text = Text::from_static("configBlackList;configStorePath;kvConfigPath"),
            "Keys that cannot be changed while the program runs, separated by semicolons.";
    }
}

/// Keys of the reference that mean nothing here: thread pools, buffers and modes that do not exist.
pub const WITHOUT_EFFECT: &[&str] = &[
    "clientAsyncSemaphoreValue",
    "clientCallbackExecutorThreads",
    "clientChannelMaxIdleTimeSeconds",
    "clientCloseSocketIfTimeout",
    "clientOnewaySemaphoreValue",
    "clientPooledByteBufAllocatorEnable",
    "clientRequestThreadPoolNums",
    "clientRequestThreadPoolQueueCapacity",
    "clientSocketRcvBufSize",
    "clientSocketSndBufSize",
    "clientWorkerThreads",
    "clusterTest",
    "connectTimeoutMillis",
    "defaultThreadPoolNums",
    "defaultThreadPoolQueueCapacity",
    "enableControllerInNamesrv",
    "productEnvName",
    "serverAsyncSemaphoreValue",
    "serverCallbackExecutorThreads",
    "serverChannelMaxIdleTimeSeconds",
    "serverNettyWorkerGroupEnable",
    "serverOnewaySemaphoreValue",
    "serverPooledByteBufAllocatorEnable",
    "serverSelectorThreads",
    "serverSocketBacklog",
    "serverSocketRcvBufSize",
    "serverSocketSndBufSize",
    "serverWorkerThreads",
    "shutdownWaitTimeSeconds",
    "useEpollNativeSelector",
    "useTLS",
    "writeBufferHighWaterMark",
    "writeBufferLowWaterMark",
];
