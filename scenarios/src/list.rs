//! All scenarios: a new one is a file and a line here.

use lab::scenario::Scenario;

use crate::{
    broker_heartbeat_expiry, crash_before_offset_commit, delay_with_restart_and_clock_jumps, first_message,
    query_after_crash, rebalance_during_queue_expansion, retry_to_dead_letter, transaction_checkback,
};

/// Every scenario, in the order they run.
pub(crate) fn all() -> Vec<Scenario> {
    vec![
        first_message::scenario(),
        broker_heartbeat_expiry::scenario(),
        rebalance_during_queue_expansion::scenario(),
        crash_before_offset_commit::scenario(),
        query_after_crash::scenario(),
        transaction_checkback::scenario(),
        delay_with_restart_and_clock_jumps::scenario(),
        retry_to_dead_letter::scenario(),
    ]
}
