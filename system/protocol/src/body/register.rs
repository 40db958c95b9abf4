//! What a broker tells the name servers about its topics, plain or in the compressed layout.

use bytes::{Buf, BufMut, Bytes};
use thiserror::Error;

use super::*;
use crate::compression::Compression;
use crate::json;
use crate::version;

body! {
    /// The topics of a broker. An absent list of filter servers leaves the known one as it is.
    RegisterBrokerBody {
        "filterServerList"            filter_server_list:             Option<Vec<Text>>,
        "topicConfigSerializeWrapper" topic_config_serialize_wrapper: TopicConfigSerializeWrapper,
    }
}

/// A registration that cannot be understood.
#[derive(Debug, Error)]
pub enum BadRegistration {
    /// The body is not what was sent.
    #[error("crc32 not match: the header says {header}, the body has {body}")]
    Checksum {
        /// What the header says.
        header: i32,
        /// What the body has.
        body: i32,
    },
    /// The compressed bytes do not inflate.
    #[error("register broker body: {0}")]
    Inflate(#[from] std::io::Error),
    /// The inflated bytes are no registration.
    #[error("register broker body ends in or breaks its {0}")]
    Layout(&'static str),
    /// The JSON is no registration.
    #[error(transparent)]
    Json(#[from] json::Error),
}

impl RegisterBrokerBody {
    /// Reads the body of a registration from a broker of this version. Whether it is compressed is told by its first
    /// byte: 5.x brokers compress it and say that they did not.
    pub fn decode(body: &[u8], crc: i32, peer_version: i32) -> Result<Self, BadRegistration> {
        if crc != 0 && crc != crc31(body) {
            return Err(BadRegistration::Checksum { header: crc, body: crc31(body) });
        }
        if body.is_empty() {
            return Ok(Self::default());
        }
        if peer_version < version::FULL_REGISTRATION {
            let topic_config_serialize_wrapper = json::from_slice(body)?;
            return Ok(Self { filter_server_list: None, topic_config_serialize_wrapper });
        }
        if body[0] == ZLIB {
            let raw = Compression::Zlib.decompress(body, INFLATED_MAX)?;
            return Self::decode_raw(raw.into(), peer_version);
        }
        Ok(json::from_slice(body)?)
    }

    /// Writes the compressed layout for a name server that goes by `our_version`. What it has no place for is lost:
    /// a topic's flags and whether it is ordered.
    pub fn encode_compressed(&self, our_version: i32) -> Vec<u8> {
        let wrapper = &self.topic_config_serialize_wrapper;
        let mut raw = Vec::new();
        put_block(&mut raw, &json::to_vec(&wrapper.data_version));
        put_count(&mut raw, wrapper.topic_config_table.len());
        for topic in wrapper.topic_config_table.values() {
            let line = format!(
                "{} {} {} {} {} {}",
                topic.topic_name,
                topic.read_queue_nums,
                topic.write_queue_nums,
                topic.perm,
                topic.topic_filter_type,
                String::from_utf8_lossy(&json::to_vec(&topic.attributes))
            );
            put_block(&mut raw, line.as_bytes());
        }
        put_block(&mut raw, &json::to_vec(self.filter_server_list.as_deref().unwrap_or_default()));
        if our_version >= version::REGISTRATION_WITH_MAPPINGS {
            let mappings = wrapper.topic_queue_mapping_info_map.iter().flatten();
            put_count(&mut raw, mappings.clone().count());
            for (_, mapping) in mappings {
                put_block(&mut raw, &json::to_vec(mapping));
            }
        }
        Compression::Zlib.compress(&raw, 9).expect("writing into memory does not fail")
    }

    fn decode_raw(mut raw: Bytes, peer_version: i32) -> Result<Self, BadRegistration> {
        let mut body = Self::default();
        let wrapper = &mut body.topic_config_serialize_wrapper;
        wrapper.data_version = json::from_slice(&take_block(&mut raw, "version")?)?;
        for _ in 0..take_number(&mut raw, "number of topics")? {
            let line = take_block(&mut raw, "topics")?;
            let topic = std::str::from_utf8(&line)
                .ok()
                .and_then(topic_of)
                .ok_or(BadRegistration::Layout("topics"))?;
            wrapper.topic_config_table.insert(topic.topic_name.clone(), topic);
        }
        body.filter_server_list = json::from_slice(&take_block(&mut raw, "filter servers")?)?;
        if peer_version >= version::REGISTRATION_WITH_MAPPINGS {
            let mut mappings = BTreeMap::new();
            for _ in 0..take_number(&mut raw, "number of mappings")? {
                let mapping: TopicQueueMappingInfo = json::from_slice(&take_block(&mut raw, "mappings")?)?;
                mappings.insert(mapping.topic.clone(), mapping);
            }
            wrapper.topic_queue_mapping_info_map = Some(mappings);
        }
        Ok(body)
    }
}

/// `topic readQueues writeQueues perm filterType {attributes}`; 4.9 has no attributes.
fn topic_of(line: &str) -> Option<TopicConfig> {
    let mut parts = line.splitn(6, ' ');
    let topic_name = Text::from(parts.next()?);
    let read_queue_nums = parts.next()?.parse().ok()?;
    let write_queue_nums = parts.next()?.parse().ok()?;
    let perm = parts.next()?.parse().ok()?;
    let topic_filter_type = TopicFilterType::from_name(parts.next()?).unwrap_or_default();
    let attributes = match parts.next() {
        Some(attributes) => json::from_slice(attributes.as_bytes()).ok()?,
        None => BTreeMap::new(),
    };
    Some(TopicConfig {
        attributes,
        perm,
        read_queue_nums,
        topic_filter_type,
        topic_name,
        write_queue_nums,
        ..TopicConfig::default()
    })
}

fn put_block(out: &mut Vec<u8>, block: &[u8]) {
    put_count(out, block.len());
    out.put_slice(block);
}

fn put_count(out: &mut Vec<u8>, count: usize) {
    out.put_i32(i32::try_from(count).expect("a registration is shorter than a frame"));
}

fn take_number(raw: &mut Bytes, what: &'static str) -> Result<i32, BadRegistration> {
    raw.try_get_i32().map_err(|_| BadRegistration::Layout(what))
}

fn take_block(raw: &mut Bytes, what: &'static str) -> Result<Bytes, BadRegistration> {
    let length = usize::try_from(take_number(raw, what)?).unwrap_or(usize::MAX);
    if length > raw.len() {
        return Err(BadRegistration::Layout(what));
    }
    Ok(raw.split_to(length))
}

/// How a zlib stream begins; JSON begins with a brace.
const ZLIB: u8 = 0x78;
/// Ten thousand topics take about a megabyte.
const INFLATED_MAX: usize = 64 * 1024 * 1024;
