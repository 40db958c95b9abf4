//! Texts that operators keep in the name server, by namespace and key.

use std::collections::BTreeMap;

use protocol::{Text, json};
use serde::{Deserialize, Serialize};

/// All namespaces. Its file has the shape of the reference's, so either reads the other's.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Kv {
    config_table: BTreeMap<Text, BTreeMap<Text, Text>>,
}

impl Kv {
    pub(crate) fn from_file(bytes: &[u8]) -> Result<Self, json::Error> {
        json::from_slice(bytes)
    }

    pub(crate) fn to_file(&self) -> Vec<u8> {
        json::to_vec(self)
    }

    pub(crate) fn put(&mut self, namespace: Text, key: Text, value: Text) {
        self.config_table.entry(namespace).or_default().insert(key, value);
    }

    pub(crate) fn get(&self, namespace: &str, key: &str) -> Option<&Text> {
        self.config_table.get(namespace)?.get(key)
    }

    pub(crate) fn delete(&mut self, namespace: &str, key: &str) {
        if let Some(keys) = self.config_table.get_mut(namespace) {
            keys.remove(key);
        }
    }

    pub(crate) fn list(&self, namespace: &str) -> Option<&BTreeMap<Text, Text>> {
        self.config_table.get(namespace)
    }
}

/// The namespace in which ordered topics say on which brokers how many queues they have.
pub(crate) const ORDER_TOPIC_CONFIG: &str = "ORDER_TOPIC_CONFIG";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_is_the_references() {
        let mut kv = Kv::default();
        kv.put("ORDER_TOPIC_CONFIG".into(), "T".into(), "broker-a:4".into());
        kv.put("ns".into(), "k".into(), "v".into());
        kv.delete("ns", "k");
        kv.delete("none", "k");
        let file = kv.to_file();
        assert_eq!(
            String::from_utf8(file.clone()).unwrap(),
            r#"{"configTable":{"ORDER_TOPIC_CONFIG":{"T":"broker-a:4"},"ns":{}}}"#
        );
        assert_eq!(Kv::from_file(&file), Ok(kv.clone()));
        assert_eq!(kv.get(ORDER_TOPIC_CONFIG, "T").map(Text::as_str), Some("broker-a:4"));
        assert_eq!((kv.get("ns", "k"), kv.list("none")), (None, None));
    }
}
