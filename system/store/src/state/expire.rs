//! Which segments may be deleted now (broker-store.md 2.11).

use crate::config::Config;

/// A full segment, oldest first.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Old {
    /// Store time of its last record or later, ms.
    pub(crate) stored_ms: i64,
    /// How long ago it was filled by a clock that does not jump, when this process saw it.
    pub(crate) age_ms: Option<u64>,
}

/// The moment of the decision.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Now {
    /// Wall clock, ms.
    pub(crate) ms: i64,
    /// Hour of the day, local time.
    pub(crate) hour: u8,
    /// Disk use, percent.
    pub(crate) used_percent: u64,
}

/// How many of the oldest segments go. `full` are the segments that are full and whose queues are on the disk: the
/// segment in use is never among them.
pub(crate) fn expire(full: &[Old], now: Now, config: &Config) -> usize {
    let batch = full.len().min(config.expire_batch);
    if config.force_expire && now.used_percent > config.disk_force_percent {
        return batch;
    }
    let due = config.delete_hours.contains(&now.hour) || now.used_percent > config.disk_max_percent;
    if !due {
        return 0;
    }
    let reserved = u64::try_from(config.reserved.as_millis()).unwrap_or(u64::MAX);
    let expired = |old: &Old| {
        // A wall clock that jumped must not delete what this process wrote a minute ago.
        let by_wall = u64::try_from(now.ms.saturating_sub(old.stored_ms)).is_ok_and(|age| age >= reserved);
        by_wall && old.age_ms.is_none_or(|age| age >= reserved)
    };
    full[..batch].iter().take_while(|old| expired(old)).count()
}

/// Whether appends are refused for want of space; between the two limits it stays as it was.
pub(crate) fn is_full(was: bool, used_percent: u64, config: &Config) -> bool {
    used_percent > config.disk_full_percent || (was && used_percent > config.disk_force_percent)
}

#[cfg(test)]
mod tests;
