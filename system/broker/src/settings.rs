//! What administrators do with the broker's configuration.

use bytes::Bytes;
use net::Reply;
use protocol::{
    config::{self, Source, read_properties},
    json, name,
    rpc::GetBrokerConfigReply,
};
use runtime::{clock, planted};

use crate::{
    Broker, Config,
    refusal::{Answer, Refusal},
    state::topics::template,
};

impl Broker {
    /// All settings as properties text.
    pub(crate) fn broker_config(&self) -> Answer {
        let version = json::to_vec(&self.topics.lock().version());
        let version = String::from_utf8(version).expect("the writer gives UTF-8");
        let text = config::print(&[&*self.config()]);
        Ok(Reply::with(&GetBrokerConfigReply { version: version.into() }).body(text))
    }

    /// Changes settings until the next start: all that are asked for, or none.
    pub(crate) fn update_broker_config(&self, request: &Bytes) -> Answer {
        if let Some(entry) =
            read_properties(request).into_iter().find(|entry| CLOSED.contains(&entry.key.as_str()))
        {
            return Err(Refusal::Forbidden(format!("{} cannot be changed from afar", entry.key)));
        }
        let changes = {
            let mut current = self.config.lock();
            let mut changed = Config::clone(&current);
            let changes = config::update(&mut [&mut changed], &Source::strict("request"), request);
            let changes = changes.map_err(|problems| Refusal::Parameter(problems.to_string()))?;
            changed.check().map_err(|error| Refusal::Parameter(error.to_string()))?;
            let permits = changed.broker_permission != current.broker_permission;
            if !(permits && planted!("B69")) {
                self.send_settings.set(&changed);
            }
            *current = changed.into();
            changes
        };
        for change in &changes {
            tracing::info!(
                key = change.key,
                from = change.from,
                to = change.to,
                "setting changed until the next start"
            );
        }
        // Permissions are part of the routes.
        if changes.iter().any(|change| change.key == PERMISSION) {
            self.topics.lock().touch(clock::now_ms());
            self.topics_saved.kick();
        }
        if changes.iter().any(|change| change.key == AUTO_CREATE) {
            self.add_template();
        }
        Ok(Reply::ok())
    }

    /// A broker that was started without automatic topics has no topic to make them from.
    fn add_template(&self) {
        let config = self.config();
        let added = {
            let mut topics = self.topics.lock();
            let missing = config.auto_create_topic_enable && topics.get(name::AUTO_CREATE_TOPIC).is_none();
            missing.then(|| topics.put(template(config.default_topic_queue_nums), clock::now_ms()))
        };
        if let Some(topic) = added {
            self.topic_set(&topic);
        }
    }
}

const PERMISSION: &str = "brokerPermission";
const AUTO_CREATE: &str = "autoCreateTopicEnable";

/// Keys that no request may change.
const CLOSED: [&str; 2] = ["configBlackList", "brokerConfigPath"];
