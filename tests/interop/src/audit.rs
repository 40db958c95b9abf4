//! What must hold between what was sent and what was delivered.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Result, bail, ensure};

use crate::member::{Got, Sent};

/// Nothing lost, nothing repeated, nothing invented, contents intact, places as the producer was told.
pub(crate) fn exactly_once(what: &str, sent: &[Sent], got: &[Got]) -> Result<()> {
    at_least_once(what, sent, got)?;
    let mut seen = BTreeSet::new();
    for g in got {
        if !seen.insert((&g.queue, g.offset)) {
            bail!(
                "{what}: {} {} at {} offset {} was delivered twice",
                g.producer,
                g.serial,
                g.queue,
                g.offset
            );
        }
    }
    Ok(())
}

/// Nothing lost, nothing invented, contents intact, places as the producer was told.
pub(crate) fn at_least_once(what: &str, sent: &[Sent], got: &[Got]) -> Result<()> {
    let places: BTreeMap<(&str, u32), (&str, u64)> =
        sent.iter().map(|s| ((s.producer.as_str(), s.serial), (s.queue.as_str(), s.offset))).collect();
    ensure!(places.len() == sent.len(), "{what}: a serial was sent twice");
    let mut used = BTreeSet::new();
    for s in sent {
        ensure!(
            used.insert((&s.queue, s.offset)),
            "{what}: two sends were given {} offset {}",
            s.queue,
            s.offset
        );
    }
    for g in got {
        if let Some(wrong) = &g.wrong {
            bail!("{what}: {} {} {wrong}", g.producer, g.serial);
        }
        match places.get(&(g.producer.as_str(), g.serial)) {
            None => bail!("{what}: {} {} was never sent", g.producer, g.serial),
            Some(place) if *place != (g.queue.as_str(), g.offset) => bail!(
                "{what}: {} {} was delivered from {} offset {}, its send was answered {place:?}",
                g.producer,
                g.serial,
                g.queue,
                g.offset
            ),
            Some(_) => {}
        }
        ensure!(g.reconsumed == 0, "{what}: {} {} says it was retried", g.producer, g.serial);
    }
    let delivered: BTreeSet<_> = got.iter().map(|g| (g.producer.as_str(), g.serial)).collect();
    let lost: Vec<_> = places.keys().filter(|p| !delivered.contains(*p)).take(5).collect();
    ensure!(
        lost.is_empty(),
        "{what}: {} of {} were not delivered, among them {lost:?}",
        places.len() - delivered.len(),
        places.len()
    );
    Ok(())
}

/// One producer that sent one message after the other: in each queue offsets rise with serials.
pub(crate) fn in_order(what: &str, sent: &[Sent]) -> Result<()> {
    let mut last: BTreeMap<&str, u64> = BTreeMap::new();
    let mut sorted: Vec<&Sent> = sent.iter().collect();
    sorted.sort_by_key(|s| s.serial);
    for s in sorted {
        if let Some(before) = last.insert(&s.queue, s.offset) {
            ensure!(
                before < s.offset,
                "{what}: serial {} got offset {} after {before} in {}",
                s.serial,
                s.offset,
                s.queue
            );
        }
    }
    Ok(())
}

/// A repeat is allowed where a queue changed its owner: two different members, and only in queues that moved.
pub(crate) fn repeats_have_a_cause(what: &str, members: &[(String, Vec<Got>)]) -> Result<usize> {
    let mut owners: BTreeMap<(&str, u64), Vec<&str>> = BTreeMap::new();
    let mut by_queue: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for (name, got) in members {
        for g in got {
            owners.entry((&g.queue, g.offset)).or_default().push(name);
            by_queue.entry(&g.queue).or_default().insert(name);
        }
    }
    let mut repeats = 0;
    for ((queue, offset), names) in owners.iter().filter(|(_, names)| names.len() > 1) {
        let different: BTreeSet<_> = names.iter().collect();
        ensure!(
            different.len() == names.len() && by_queue[queue].len() > 1,
            "{what}: {queue} offset {offset} was delivered again to {names:?} without a change of owner"
        );
        repeats += names.len() - 1;
    }
    Ok(repeats)
}
