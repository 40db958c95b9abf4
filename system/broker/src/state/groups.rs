//! Subscription groups: what a consumer group may do and how often its messages are retried.

use std::{collections::BTreeMap, sync::Arc};

use protocol::{
    body::{DataVersion, SubscriptionGroupConfig},
    name::SYSTEM_GROUP_PREFIX,
};

/// Groups by name.
#[derive(Debug, Default)]
pub(crate) struct Groups {
    table: BTreeMap<String, Arc<SubscriptionGroupConfig>>,
    version: DataVersion,
    changes: u64,
}

impl Groups {
    /// Takes over what a file held and adds the groups that every broker has.
    pub(crate) fn load(table: BTreeMap<String, SubscriptionGroupConfig>, version: DataVersion) -> Self {
        let mut groups = Self::default();
        for (name, config) in table {
            let config = SubscriptionGroupConfig { group_name: name.as_str().into(), ..config };
            groups.table.insert(name, Arc::new(config));
        }
        for name in BUILT_IN {
            groups.table.entry((*name).to_owned()).or_insert_with(|| Arc::new(plain(name)));
        }
        groups.version = version;
        groups
    }

    /// The group, if it exists.
    pub(crate) fn get(&self, name: &str) -> Option<&Arc<SubscriptionGroupConfig>> {
        self.table.get(name)
    }

    /// The group, made with the defaults when it is new and that is allowed.
    pub(crate) fn ensure(
        &mut self,
        name: &str,
        automatic: bool,
        now_ms: i64,
    ) -> Option<Arc<SubscriptionGroupConfig>> {
        if let Some(known) = self.table.get(name) {
            return Some(known.clone());
        }
        (automatic || name.starts_with(SYSTEM_GROUP_PREFIX)).then(|| self.put(plain(name), now_ms))
    }

    /// Creates or replaces a group. An equal one stays as it is.
    pub(crate) fn put(
        &mut self,
        config: SubscriptionGroupConfig,
        now_ms: i64,
    ) -> Arc<SubscriptionGroupConfig> {
        if let Some(known) = self.table.get(config.group_name.as_ref())
            && **known == config
        {
            return known.clone();
        }
        self.touch(now_ms);
        let config = Arc::new(config);
        self.table.insert(config.group_name.to_string(), config.clone());
        config
    }

    /// Deletes a group. False: there was none.
    pub(crate) fn remove(&mut self, name: &str, now_ms: i64) -> bool {
        let removed = self.table.remove(name).is_some();
        if removed {
            self.touch(now_ms);
        }
        removed
    }

    fn touch(&mut self, now_ms: i64) {
        self.changes += 1;
        self.version = self.version.next(now_ms);
    }

    /// All groups in the order of their names.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Arc<SubscriptionGroupConfig>> {
        self.table.values()
    }

    /// The version of the table.
    pub(crate) fn version(&self) -> DataVersion {
        self.version
    }

    /// How often the table changed since start.
    pub(crate) fn changes(&self) -> u64 {
        self.changes
    }
}

fn plain(name: &str) -> SubscriptionGroupConfig {
    SubscriptionGroupConfig { group_name: name.into(), ..SubscriptionGroupConfig::default() }
}

const BUILT_IN: &[&str] = &[
    "TOOLS_CONSUMER",
    "FILTERSRV_CONSUMER",
    "SELF_TEST_C_GROUP",
    "SELF_TEST_P_GROUP",
    "CID_ONS-HTTP-PROXY",
    "CID_ONSAPI_PULL",
    "CID_ONSAPI_PERMISSION",
    "CID_ONSAPI_OWNER",
    "CID_RMQ_SYS_TRANS",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_is_made_on_first_use_where_that_is_allowed() {
        let mut groups = Groups::default();
        assert!(groups.ensure("g", false, 1).is_none());
        assert_eq!(groups.ensure("g", true, 1).unwrap().retry_max_times, 16);
        assert!(groups.ensure("g", false, 2).is_some(), "now it exists");
        assert!(groups.ensure("CID_RMQ_SYS_X", false, 2).is_some());
        assert_eq!(groups.changes(), 2);
    }

    #[test]
    fn built_in_groups_are_there_without_a_change() {
        let groups = Groups::load(BTreeMap::new(), DataVersion::default());
        assert!(groups.get("TOOLS_CONSUMER").is_some());
        assert_eq!(groups.changes(), 0);
    }
}
