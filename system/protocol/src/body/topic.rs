//! Topics and their configuration.

use super::*;

body! {
    /// One topic as a broker has it.
    #[derive(Eq)]
    TopicConfig {
        "attributes"      attributes:        BTreeMap<Text, Text>,
        "order"           order:             bool,
        "perm"            perm:              i32 = 6,
        "readQueueNums"   read_queue_nums:   i32 = 16,
        "topicFilterType" topic_filter_type: TopicFilterType,
        "topicName"       topic_name:        Text,
        "topicSysFlag"    topic_sys_flag:    i32,
        "writeQueueNums"  write_queue_nums:  i32 = 16,
    }

    /// All topics of a broker.
    TopicConfigSerializeWrapper {
        "dataVersion"                data_version:                   DataVersion,
        "mappingDataVersion"         mapping_data_version:           Option<DataVersion>,
        "topicConfigTable"           topic_config_table:             BTreeMap<Text, TopicConfig>,
        "topicQueueMappingDetailMap" topic_queue_mapping_detail_map: Option<BTreeMap<Text, TopicQueueMappingDetail>>,
        "topicQueueMappingInfoMap"   topic_queue_mapping_info_map:   Option<BTreeMap<Text, TopicQueueMappingInfo>>,
    }

    /// Topics to be made.
    CreateTopicListBody {
        "topicConfigList" topic_config_list: Vec<TopicConfig>,
    }

    /// Names of topics.
    TopicList {
        "brokerAddr" broker_addr: Option<Text>,
        "topicList"  topic_list:  Vec<Text>,
    }
}

names! {
    /// How many tags a topic's messages have.
    TopicFilterType {
        #[default]
        SingleTag = "SINGLE_TAG",
        MultiTag = "MULTI_TAG",
    }
}
