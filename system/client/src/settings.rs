//! What every kind of client is told about the cluster and about itself.

use std::net::{IpAddr, Ipv4Addr};

use protocol::name;
use runtime::{host, random};

use crate::{StartError, Text};

/// The setters that the builders of all clients have; their settings are in `common`.
macro_rules! common_setters {
    () => {
        /// Addresses of the name servers, separated by `;`.
        #[must_use]
        pub fn name_servers(mut self, addresses: &str) -> Self {
            addresses.clone_into(&mut self.common.name_servers);
            self
        }

        /// Part of the client id; without it a unique one is made. Members of a group must differ in it.
        #[must_use]
        pub fn instance_name(mut self, name: impl Into<crate::Text>) -> Self {
            self.common.instance_name = Some(name.into());
            self
        }

        /// Last part of the client id.
        #[must_use]
        pub fn unit(mut self, name: impl Into<crate::Text>) -> Self {
            self.common.unit = Some(name.into());
            self
        }

        /// The address in the client id and in the ids of messages; without it this machine's.
        #[must_use]
        pub fn client_ip(mut self, ip: std::net::IpAddr) -> Self {
            self.common.ip = Some(ip);
            self
        }
    };
}

pub(crate) use common_setters;

/// Settings all clients share.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) group: Text,
    pub(crate) name_servers: String,
    pub(crate) instance_name: Option<Text>,
    pub(crate) unit: Option<Text>,
    pub(crate) ip: Option<IpAddr>,
}

impl Settings {
    pub(crate) fn new(group: Text) -> Self {
        Self { group, name_servers: String::new(), instance_name: None, unit: None, ip: None }
    }

    /// Checks the group and the addresses; answers the name servers.
    pub(crate) fn check(&self) -> Result<Vec<Text>, StartError> {
        name::check_group(&self.group).map_err(|e| StartError::Invalid(e.to_string()))?;
        let servers: Vec<Text> = self
            .name_servers
            .split([';', ','])
            .map(str::trim)
            .filter(|a| !a.is_empty())
            .map(Text::from)
            .collect();
        if servers.is_empty() {
            return Err(StartError::NoNameServer);
        }
        match servers.iter().find(|a| !a.contains(':')) {
            Some(bad) => {
                Err(StartError::Invalid(format!("name server {bad:?} has no port: write host:9876")))
            }
            None => Ok(servers),
        }
    }

    pub(crate) fn address(&self) -> IpAddr {
        self.ip.unwrap_or_else(own_address)
    }

    /// `ip@instance` and the unit. Members of one group must differ, also within one process.
    pub(crate) fn client_id(&self) -> Text {
        let ip = match self.address() {
            IpAddr::V6(ip) => format!("[{ip}]"),
            IpAddr::V4(ip) => ip.to_string(),
        };
        let instance = match &self.instance_name {
            Some(name) => name.to_string(),
            None => format!("{}#{}", host::pid(), random::stream("client.instance").next_u64()),
        };
        match &self.unit {
            Some(unit) => format!("{ip}@{instance}@{unit}").into(),
            None => format!("{ip}@{instance}").into(),
        }
    }
}

/// The first public address, else the first private one, IPv4 before IPv6 as the list comes.
fn own_address() -> IpAddr {
    let all = host::addresses();
    let public = all.iter().find(|ip| match ip {
        IpAddr::V4(ip) => !ip.is_private() && !ip.is_link_local(),
        IpAddr::V6(ip) => ip.segments()[0] & 0xe000 == 0x2000,
    });
    public.or(all.first()).copied().unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST))
}
