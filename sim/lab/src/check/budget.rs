//! How long half messages stayed undecided, against what their checks allow: for runs that are long enough to tell.

use std::collections::{BTreeMap, BTreeSet};

use super::{SECOND, View, seconds};
use crate::history::{Audit, HalfId, History, Kind, MessageId, NodeId};

/// How half messages fared. Times are simulated milliseconds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Budget {
    /// Half messages that were committed.
    pub committed: u64,
    /// That were rolled back.
    pub rolled_back: u64,
    /// That were given up after the last check.
    pub given_up: u64,
    /// That a crash took, or whose end was on its way when it struck.
    pub cut_off: u64,
    /// That were still open, in time, when the run ended.
    pub open: u64,
    /// The longest that one may be open when nothing is wrong.
    pub allowed_ms: u64,
    /// The longest that one was open, and nothing was wrong with its broker or a producer meanwhile.
    pub longest_ms: u64,
    /// The longest that another one was open, less the time in which something was wrong.
    pub longest_shaken_ms: u64,
    /// Those that were open for longer than their checks allow, in words.
    pub late: Vec<String>,
}

/// What is known of one half message.
struct Half {
    stored_ns: u64,
    immunity_ns: u64,
    /// When something was last heard of it.
    heard_ns: u64,
    /// A decision was last on its way, or all checks were done.
    ending_ns: Option<u64>,
    ended: Option<(u64, End)>,
}

#[derive(Clone, Copy)]
enum End {
    Committed,
    RolledBack,
    GivenUp,
}

/// Judges all half messages of a history.
#[must_use]
pub fn budget(history: &History) -> Budget {
    let audit = Audit::default();
    let view = View::new(history, &audit);
    let (halves, producers) = collect(history);
    let end_ns = history.events.last().map_or(0, |event| event.at_ns);
    let mut shaken: BTreeMap<NodeId, Vec<(u64, u64)>> = BTreeMap::new();
    for broker in &history.brokers {
        shaken.insert(broker.node, shaken_times(&view, broker.node, &producers));
    }
    let mut budget = Budget::default();
    for (id, half) in &halves {
        let broker = history.halves[id.index()].broker;
        let until = match half.ended {
            Some((at, end)) => {
                *match end {
                    End::Committed => &mut budget.committed,
                    End::RolledBack => &mut budget.rolled_back,
                    End::GivenUp => &mut budget.given_up,
                } += 1;
                at
            }
            None if is_cut_off(&view, broker, half) => {
                budget.cut_off += 1;
                continue;
            }
            None => {
                budget.open += 1;
                end_ns
            }
        };
        let allowed = allowed_ns(history, half);
        let wrong = overlap(&shaken[&broker], half.stored_ns, until);
        let open = (until - half.stored_ns).saturating_sub(wrong);
        budget.allowed_ms = budget.allowed_ms.max(allowed / MS);
        let longest = if wrong == 0 { &mut budget.longest_ms } else { &mut budget.longest_shaken_ms };
        *longest = (*longest).max(open / MS);
        if open > allowed {
            budget.late.push(format!(
                "{} was open for {} without faults, its checks allow {}",
                history.half_name(*id),
                seconds(open),
                seconds(allowed)
            ));
        }
    }
    budget
}

/// All half messages, and the nodes that decide about them.
fn collect(history: &History) -> (BTreeMap<HalfId, Half>, BTreeSet<NodeId>) {
    let mut halves: BTreeMap<HalfId, Half> = BTreeMap::new();
    let mut producers = BTreeSet::new();
    let mut of_message: BTreeMap<MessageId, Vec<HalfId>> = BTreeMap::new();
    for event in &history.events {
        let at_ns = event.at_ns;
        let mut heard = |half: HalfId, ending: bool, end: Option<End>| {
            let Some(known) = halves.get_mut(&half) else { return };
            known.heard_ns = at_ns;
            if ending {
                known.ending_ns = Some(at_ns);
            }
            if let Some(end) = end {
                known.ended.get_or_insert((at_ns, end));
            }
        };
        match event.kind {
            Kind::HalfStored { half, immunity_ms, .. } => {
                if let Some(message) = history.halves[half.index()].message {
                    of_message.entry(message).or_default().push(half);
                }
                let immunity_ns = immunity_ms * MS;
                let stored =
                    Half { stored_ns: at_ns, immunity_ns, heard_ns: at_ns, ending_ns: None, ended: None };
                halves.insert(half, stored);
            }
            Kind::Decided { message, commit } => {
                producers.insert(event.node);
                let ids = of_message.get(&message).into_iter().flatten();
                ids.for_each(|half| heard(*half, commit.is_some(), None));
            }
            Kind::Asked { half, commit } => {
                producers.insert(event.node);
                heard(half, commit.is_some(), None);
            }
            Kind::HalfChecked { half, checks } => heard(half, checks >= history.checks.most, None),
            Kind::HalfPutBack { half, .. } => heard(half, false, None),
            Kind::HalfEnded { half, commit, .. } => {
                heard(half, true, Some(if commit { End::Committed } else { End::RolledBack }));
            }
            Kind::HalfGivenUp { half, .. } => heard(half, true, Some(End::GivenUp)),
            _ => {}
        }
    }
    (halves, producers)
}

/// What a half message may be open for: nobody is asked before its immunity is over, then it is checked in turn, and
/// one turn behind the last check it is given up.
fn allowed_ns(history: &History, half: &Half) -> u64 {
    let turns = u64::from(history.checks.most) + 1;
    half.immunity_ns + turns * (history.checks.interval_ms * MS + TICK) + SLACK
}

/// When a broker or a producer was not well, each time until checks go on; in order, without overlap.
fn shaken_times(view: &View<'_>, broker: NodeId, producers: &BTreeSet<NodeId>) -> Vec<(u64, u64)> {
    let resume = view.history.checks.interval_ms * MS + BACK;
    let mut times: Vec<_> = view
        .troubles()
        .into_iter()
        .filter(|trouble| trouble.touches(broker) || producers.iter().any(|node| trouble.touches(*node)))
        .map(|trouble| (trouble.from_ns, trouble.until_ns.saturating_add(resume)))
        .collect();
    times.sort_unstable();
    let mut joined: Vec<(u64, u64)> = Vec::new();
    for (from, until) in times {
        match joined.last_mut() {
            Some((_, end)) if *end >= from => *end = until.max(*end),
            _ => joined.push((from, until)),
        }
    }
    joined
}

fn overlap(times: &[(u64, u64)], from: u64, until: u64) -> u64 {
    let first = times.partition_point(|(_, end)| *end <= from);
    let shared = times[first..].iter().take_while(|(start, _)| *start < until);
    shared.map(|(start, end)| (*end).min(until) - (*start).max(from)).sum()
}

/// A crash came between the last word about it and what its broker would have told next.
fn is_cut_off(view: &View<'_>, broker: NodeId, half: &Half) -> bool {
    let sync = view.history.brokers.iter().any(|it| it.node == broker && it.sync_flush);
    let mut after = view.outages_of(broker).iter().filter(|outage| outage.from_ns >= half.heard_ns);
    after.any(|outage| {
        let ending = half.ending_ns.is_some_and(|at| outage.from_ns.saturating_sub(at) < ON_ITS_WAY);
        ending || (!sync && outage.loses)
    })
}

const MS: u64 = 1_000_000;
/// Brokers look for what is due so often.
const TICK: u64 = SECOND;
/// Answers on their way, syncs.
const SLACK: u64 = 5 * SECOND;
/// After a fault producers are connected and have said hello again in this time.
const BACK: u64 = 30 * SECOND;
/// A decision takes effect within this time, or never.
const ON_ITS_WAY: u64 = 10 * SECOND;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::script::Script;
    use crate::history::How;

    fn judged(script: impl FnOnce(&mut Script)) -> Budget {
        let mut made = Script::new();
        script(&mut made);
        budget(made.history())
    }

    // The script's brokers check three times, every 30 s.

    #[test]
    fn a_half_message_is_open_no_longer_than_its_checks_take() {
        let kept = judged(|s| {
            let half = s.half("a", 0);
            s.wait(6.0);
            for check in 1..=3 {
                s.checked(half, check);
                s.wait(30.0);
            }
            s.given_up(half, 3);
        });
        assert_eq!((kept.given_up, kept.late.len(), kept.allowed_ms), (1, 0, 135_000));
        assert_eq!(kept.longest_ms, 96_004);
        let late = judged(|s| {
            let half = s.half("a", 0);
            s.wait(136.0);
            s.ended(half, true);
        });
        assert_eq!((late.committed, late.late.len()), (1, 1), "{late:?}");
        let forgotten = judged(|s| {
            s.half("a", 0);
            s.wait(136.0);
            s.drained(0);
        });
        assert_eq!((forgotten.open, forgotten.late.len()), (1, 1));
    }

    #[test]
    fn the_time_of_a_fault_does_not_count() {
        let kept = judged(|s| {
            let half = s.half("a", 0);
            s.down("b0", How::Process);
            s.wait(600.0);
            s.up("b0");
            s.wait(150.0);
            s.ended(half, false);
        });
        assert_eq!((kept.rolled_back, kept.longest_ms, kept.late.len()), (1, 0, 0), "{kept:?}");
        assert!((85_000..95_000).contains(&kept.longest_shaken_ms), "{kept:?}");
        let late = judged(|s| {
            s.half("a", 0);
            s.crash("b0", How::Process);
            s.wait(600.0);
            s.drained(0);
        });
        assert_eq!((late.open, late.late.len()), (1, 1), "forgotten by the start");
    }

    #[test]
    fn what_a_crash_cut_off_is_not_judged() {
        let cut = judged(|s| {
            let half = s.half("a", 0);
            s.decided("a", Some(true));
            s.crash("b0", How::Process);
            s.half("b", 1);
            s.crash("b0", How::Power);
            s.wait(600.0);
            s.drained(0);
            let _ = half;
        });
        assert_eq!((cut.cut_off, cut.open, cut.late.len()), (2, 0, 0), "{cut:?}");
    }
}
