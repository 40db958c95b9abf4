//! All scenarios: a new one is a file and a line here.

use std::path::PathBuf;

use anyhow::Context as _;
use lab::capsule::Capsule;
use lab::scenario::Scenario;

use crate::{
    batch_and_client_retry, broker_heartbeat_expiry, crash_before_offset_commit,
    crash_during_roll_over_and_recovery, delay_with_restart_and_clock_jumps, disk_full, first_message,
    power_loss_under_sync_flush, query_after_crash, rebalance_during_queue_expansion, retry_to_dead_letter,
    swarm, transaction_checkback,
};

/// Every scenario, in the order they run.
#[must_use]
pub fn all() -> Vec<Scenario> {
    vec![
        first_message::scenario(),
        power_loss_under_sync_flush::scenario(),
        crash_during_roll_over_and_recovery::scenario(),
        disk_full::scenario(),
        batch_and_client_retry::scenario(),
        broker_heartbeat_expiry::scenario(),
        rebalance_during_queue_expansion::scenario(),
        crash_before_offset_commit::scenario(),
        query_after_crash::scenario(),
        transaction_checkback::scenario(),
        delay_with_restart_and_clock_jumps::scenario(),
        retry_to_dead_letter::scenario(),
        swarm::scenario(),
    ]
}

/// The one in which a bug is planted that every campaign must find.
#[must_use]
pub fn canary() -> Scenario {
    first_message::scenario()
}

/// Runs that once failed, by name, in order.
///
/// # Errors
/// When the folder or a file of it cannot be read.
pub fn capsules() -> anyhow::Result<Vec<(String, Capsule)>> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/plans");
    let files = std::fs::read_dir(folder).with_context(|| format!("cannot read {folder}"))?;
    let mut files: Vec<_> = files.map(|entry| entry.map(|entry| entry.path())).collect::<Result<_, _>>()?;
    files.sort();
    let capsule = |file: &PathBuf| {
        let text = std::fs::read_to_string(file)?;
        let capsule =
            serde_json::from_str(&text).with_context(|| format!("{} is no capsule", file.display()))?;
        Ok((file.file_stem().unwrap_or_default().to_string_lossy().into_owned(), capsule))
    };
    files.iter().map(capsule).collect()
}
