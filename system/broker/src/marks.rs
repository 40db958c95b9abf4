//! What a broker adds to the properties of each message that a client sends: cluster, region, and whether it traces.
//!
//! Consumers read the cluster to answer a request, and the rest to trace a message. The text is made once.

use protocol::properties::{self, names};

/// The pairs, with tracing off and on.
#[derive(Debug)]
pub(crate) struct Marks([Vec<u8>; 2]);

impl Marks {
    /// For a broker of a cluster and region.
    pub(crate) fn new(cluster: &str, region: &str) -> Self {
        Self(["false", "true"].map(|trace_on| {
            let mut text = Vec::new();
            properties::push(&mut text, names::MSG_REGION, region);
            properties::push(&mut text, names::TRACE_ON, trace_on);
            properties::push(&mut text, names::CLUSTER, cluster);
            text
        }))
    }

    /// The text to add.
    pub(crate) fn text(&self, trace_on: bool) -> &[u8] {
        &self.0[usize::from(trace_on)]
    }
}
