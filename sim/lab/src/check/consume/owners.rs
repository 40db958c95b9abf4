//! CON-5: once things are quiet, each queue of a group's topic has exactly one owner.

use std::collections::{BTreeMap, BTreeSet};

use super::read_queues;
use crate::check::{Judged, Rule, SECOND, View, seconds};
use crate::history::{Event, GroupId, How, Kind, MemberId, NodeId, QueueId};

pub(super) fn check(view: &View<'_>, judged: &mut Judged) {
    let holders = holders(view);
    goodbyes(view, &holders, judged);
    for (from, until) in quiet(view) {
        let live = live(view, from);
        members(view, (from, until), &live, judged);
        if holders.is_empty() {
            continue; // owners are not seen
        }
        for group in (0..view.history.groups.len() as u32).map(GroupId) {
            if live.iter().any(|member| view.history.members[member.index()].group == group) {
                one_owner_each(view, group, (from, until), &holders, judged);
            }
        }
    }
    if view.history.untapped && !holders.is_empty() {
        at_the_end(view, &holders, judged);
    }
}

/// When things are quiet each broker names the members of a group that are there, and nobody else.
fn members(view: &View<'_>, (from, until): (usize, usize), live: &BTreeSet<MemberId>, judged: &mut Judged) {
    let history = view.history;
    for (number, event) in history.events.iter().enumerate().take(until).skip(from) {
        let Kind::Members { group, members, named } = event.kind else { continue };
        let ours = live.iter().filter(|member| history.members[member.index()].group == group);
        let due = ours.fold(0, |bits, member| bits | 1_u64 << member.0);
        judged.count(Rule::Con5, 1);
        if members != due || named != due.count_ones() {
            let name = history.group_name(group);
            let sentence = format!(
                "At {} broker {} named {named} members of group {name}, {} of the {} that had been there for long.",
                seconds(event.at_ns),
                history.node_name(event.node),
                (members & due).count_ones(),
                due.count_ones()
            );
            judged.broken(view, Rule::Con5, number, name.to_owned(), sentence);
        }
    }
}

/// A member that owns a queue for a while.
struct Holder {
    member: MemberId,
    queue: QueueId,
    started: usize,
    ended: Option<usize>,
}

/// All owners: as taps tell, or else as members say.
fn holders(view: &View<'_>) -> Vec<Holder> {
    let history = view.history;
    let mut holders: Vec<Holder> = view
        .sessions
        .iter()
        .map(|it| Holder { member: it.member, queue: it.queue, started: it.started, ended: it.ended })
        .collect();
    for (number, event) in history.events.iter().enumerate() {
        let over = |holder: &Holder| match event.kind {
            Kind::Holds { member, queue, .. } => (holder.member, holder.queue) == (member, queue),
            Kind::Down { .. } => {
                history.untapped && history.members[holder.member.index()].node == event.node
            }
            _ => false,
        };
        if matches!(event.kind, Kind::Holds { .. } | Kind::Down { .. }) {
            let ended = holders.iter_mut().filter(|it| it.ended.is_none() && over(it));
            ended.for_each(|holder| holder.ended = Some(number));
        }
        if let Kind::Holds { member, queue, on: true } = event.kind {
            holders.push(Holder { member, queue, started: number, ended: None });
        }
    }
    holders
}

/// When a member leaves in quiet times, the others are told, and take what it had well before they look by themselves.
fn goodbyes(view: &View<'_>, holders: &[Holder], judged: &mut Judged) {
    let history = view.history;
    if !history.notifies || history.rare_ways || history.untapped {
        return;
    }
    let client = |node: NodeId| history.members.iter().any(|it| it.node == node);
    let troubles = view.troubles();
    for (leaves, event) in history.events.iter().enumerate() {
        let Kind::Leaves { member } = event.kind else { continue };
        let group = history.members[member.index()].group;
        let had = holders.iter().filter(|it| it.member == member);
        let had = had.filter(|it| it.started < leaves && it.ended.is_none_or(|ended| ended > leaves));
        let ended = had.map(|it| it.ended).collect::<Option<Vec<_>>>();
        let Some(gone) = ended.and_then(|ended| ended.into_iter().max()) else { continue };
        let until_ns = view.at(gone) + TAKEN;
        let end = history.events.partition_point(|event| event.at_ns < until_ns);
        let live = live(view, leaves + 1);
        let heirs = live.iter().filter(|it| history.members[it.index()].group == group);
        let heirs: Vec<NodeId> = heirs.map(|it| history.members[it.index()].node).collect();
        let calm = troubles.iter().all(|it| {
            let late_ns = match it.node {
                Some(node) if node == event.node => view.at(gone),
                Some(node) if client(node) && !heirs.contains(&node) => return true,
                _ => until_ns,
            };
            it.until_ns.saturating_add(CALM) < event.at_ns || it.from_ns > late_ns
        });
        let since = history.events.partition_point(|it| it.at_ns + JUST < event.at_ns);
        let changes = history.events[since..end].iter().enumerate().any(|(place, it)| match it.kind {
            Kind::Joined { .. } | Kind::TopicSet { .. } | Kind::TopicUnlisted { .. } => true,
            Kind::Leaves { .. } => since + place != leaves,
            _ => false,
        });
        let unshared =
            |at: usize| owners_at(view, group, at, holders).into_iter().find(|(_, count)| *count != 1);
        if heirs.is_empty() || end == history.events.len() || !calm || changes || unshared(leaves).is_some() {
            continue;
        }
        judged.count(Rule::Con5, 1);
        if let Some((queue, 0)) = unshared(end - 1) {
            let name = history.queue_name(queue);
            let sentence = format!(
                "A member of group {} gave up its queues at {} and left, and {} later queue {name} has no owner.",
                history.group_name(group),
                seconds(view.at(gone)),
                seconds(TAKEN)
            );
            judged.broken(view, Rule::Con5, end - 1, name, sentence);
        }
    }
}

/// True when every queue has one owner at the last event.
pub(super) fn now(view: &View<'_>, judged: &mut Judged) -> bool {
    let (holders, at) = (holders(view), view.last());
    let groups = (0..view.history.groups.len() as u32).map(GroupId);
    groups.filter(|group| anyone_lives(view, *group, at)).all(|group| {
        let owners = owners_at(view, group, at, &holders);
        judged.count(Rule::Con5, owners.len() as u64);
        owners.values().all(|count| *count == 1)
    })
}

/// Runs on real machines end before things have been quiet for long. When each queue has one owner all the same, that
/// is seen; what is not so yet may still come, and the driver waits for it.
fn at_the_end(view: &View<'_>, holders: &[Holder], judged: &mut Judged) {
    let Some((drained, ..)) = view.drained else { return };
    let ends = |event: &Event| matches!(event.kind, Kind::Leaves { .. } | Kind::Down { .. });
    let after = view.history.events[drained..].iter().position(ends);
    let at = after.map_or(view.last(), |after| drained + after.saturating_sub(1));
    for group in (0..view.history.groups.len() as u32).map(GroupId) {
        if anyone_lives(view, group, at) {
            let owners = owners_at(view, group, at, holders);
            judged.count(Rule::Con5, owners.values().filter(|count| **count == 1).count() as u64);
        }
    }
}

/// How many owners each queue of a group has at an event.
fn owners_at(view: &View<'_>, group: GroupId, at: usize, holders: &[Holder]) -> BTreeMap<QueueId, i64> {
    let mut owners = due(view, group, at);
    let ours = |it: &&Holder| view.history.members[it.member.index()].group == group;
    for holder in holders.iter().filter(ours) {
        let owns = holder.started <= at && holder.ended.is_none_or(|ended| ended > at);
        if let Some(count) = owners.get_mut(&holder.queue).filter(|_| owns) {
            *count += 1;
        }
    }
    owners
}

/// Stretches of events in which membership and routes have been stable for long enough.
fn quiet(view: &View<'_>) -> Vec<(usize, usize)> {
    let mut stretches = Vec::new();
    let (mut settled, mut previous) = (SETTLE_MEMBERS, 0);
    let (mut faults, mut down) = (0, BTreeSet::new());
    for (number, event) in view.history.events.iter().enumerate() {
        let quiet = faults == 0 && down.is_empty();
        let settles = match event.kind {
            Kind::Joined { .. } | Kind::Leaves { .. } => SETTLE_MEMBERS,
            Kind::TopicSet { .. } | Kind::TopicUnlisted { .. } => SETTLE_ALL,
            Kind::StepOn { .. } => {
                faults += 1;
                SETTLE_ALL
            }
            Kind::StepOff { .. } => {
                faults -= 1;
                SETTLE_ALL
            }
            Kind::Down { how } => {
                // A server that is down changes routes when others find out; a member that left or died is just gone.
                let server = !view.history.members.iter().any(|member| member.node == event.node);
                if how != How::Stop && server {
                    down.insert(event.node);
                }
                // Without power nobody closes a connection: brokers count on the member until it has been silent for too long.
                let silent = matches!(how, How::Power | How::Disk) && !server;
                if silent { SILENT + SETTLE_MEMBERS } else { SETTLE_ALL }
            }
            Kind::Up => {
                down.remove(&event.node);
                SETTLE_ALL
            }
            _ => continue,
        };
        if quiet {
            // Others hear of a member before its own start returns, and make room for it.
            let until = match event.kind {
                Kind::Joined { .. } => {
                    let before = &view.history.events[..number];
                    before.partition_point(|it| it.at_ns + JOINS < event.at_ns).max(previous)
                }
                _ => number,
            };
            push(view, &mut stretches, settled, previous, until);
        }
        settled = settled.max(event.at_ns + settles);
        previous = number;
    }
    push(view, &mut stretches, settled, previous, view.history.events.len());
    stretches
}

fn push(view: &View<'_>, stretches: &mut Vec<(usize, usize)>, settled: u64, previous: usize, until: usize) {
    let from = previous + view.history.events[previous..until].partition_point(|event| event.at_ns < settled);
    if from < until {
        stretches.push((from, until));
    }
}

fn anyone_lives(view: &View<'_>, group: GroupId, at: usize) -> bool {
    live(view, at).iter().any(|member| view.history.members[member.index()].group == group)
}

/// The members that had joined before an event and were there yet.
fn live(view: &View<'_>, at: usize) -> BTreeSet<MemberId> {
    let mut live = BTreeSet::new();
    for event in &view.history.events[..at] {
        match event.kind {
            Kind::Joined { member } => drop(live.insert(member)),
            Kind::Leaves { member } => drop(live.remove(&member)),
            Kind::Down { .. } => {
                live.retain(|member| view.history.members[member.index()].node != event.node)
            }
            _ => {}
        }
    }
    live
}

/// The queues that must have an owner in a group, without owners yet.
fn due(view: &View<'_>, group: GroupId, from: usize) -> BTreeMap<QueueId, i64> {
    let history = view.history;
    let topic = history.groups[group.index()].topic;
    let readable = read_queues(view, from);
    let mut owners: BTreeMap<QueueId, i64> = BTreeMap::new();
    for (index, queue) in history.queues.iter().enumerate() {
        let id = QueueId(index as u32);
        let deleted = |id: &QueueId| history.deleted.get(id).map(|deletion| deletion.event);
        let there = deleted(&id).is_none_or(|event| event > from)
            && history.former(id).is_none_or(|former| deleted(&former).is_some_and(|event| event < from));
        if queue.topic == topic
            && there
            && !view.haunted.contains(&(group, id))
            && readable.get(&(topic, queue.broker)).is_some_and(|read| queue.number < *read)
        {
            owners.insert(id, 0);
        }
    }
    owners
}

/// Looks at the owners when the stretch begins, and at each change within it.
fn one_owner_each(
    view: &View<'_>,
    group: GroupId,
    (from, until): (usize, usize),
    holders: &[Holder],
    judged: &mut Judged,
) {
    let history = view.history;
    let mut owners = due(view, group, from);
    let mut changes: Vec<(usize, QueueId, i64)> = Vec::new();
    for session in holders {
        let ours = history.members[session.member.index()].group == group;
        let ended = session.ended.unwrap_or(usize::MAX);
        if !ours || ended <= from || session.started >= until {
            continue;
        }
        changes.push((session.started.max(from), session.queue, 1));
        if ended < until {
            changes.push((ended, session.queue, -1));
        }
    }
    changes.sort_unstable();
    let mut changes = changes.into_iter().peekable();
    let mut at = Some(from);
    while let Some(event) = at {
        while let Some((_, queue, change)) = changes.next_if(|(when, ..)| *when <= event) {
            *owners.entry(queue).or_default() += change;
        }
        judged.count(Rule::Con5, owners.len() as u64);
        if let Some((queue, count)) = owners.iter().find(|(_, count)| **count != 1) {
            let name = history.queue_name(*queue);
            let sentence = format!(
                "At {} queue {name} had {count} owners in group {}, though membership and routes had been stable.",
                seconds(view.at(event)),
                history.group_name(group)
            );
            judged.broken(view, Rule::Con5, event, name, sentence);
            return;
        }
        at = changes.peek().map(|change| change.0);
    }
}

/// The start of a member takes less when nothing is wrong.
const JOINS: u64 = 5 * SECOND;
/// Two rebalance periods and a moment, after a member came or went.
const SETTLE_MEMBERS: u64 = 45 * SECOND;
/// A member whose connection stays open is given up after two minutes of silence, of which brokers look every 10 s.
const SILENT: u64 = 130 * SECOND;
/// A queue is taken within this when its owner has said goodbye: others are told at once, wait for half a second, and ask
/// where to begin.
const TAKEN: u64 = 5 * SECOND;
/// So long before, nothing was wrong with anybody that it takes,
const CALM: u64 = 40 * SECOND;
/// and for so long nobody else came or went.
const JUST: u64 = 10 * SECOND;
/// After a fault or a change of routes: what L-3 allows.
const SETTLE_ALL: u64 = 110 * SECOND;

#[cfg(test)]
mod tests {
    use crate::check::script::{Expect, Script, run};
    use crate::history::How;

    /// Two members have had a queue each for long.
    fn one_each(s: &mut Script) {
        s.queues("b0", 2, 2);
        s.joined("c0");
        s.joined("c1");
        s.session("c0", "q", 0);
        s.session("c1", "r", 0);
        s.wait(120.0);
    }

    #[test]
    fn brokers_name_the_members_that_are_there() {
        let both = |s: &mut Script| {
            s.queues("b0", 1, 1);
            s.joined("c0");
            s.joined("c1");
        };
        run("CON-5", Expect::Broken, "one is missing", |s: &mut Script| {
            both(s);
            s.wait(111.0);
            s.names(0b01, 1);
        });
        run("CON-5", Expect::Broken, "one is named twice, as it was and as it is", |s| {
            both(s);
            s.wait(111.0);
            s.names(0b11, 3);
        });
        run("CON-5", Expect::Broken, "one that died without power is named for ever", |s| {
            both(s);
            s.down("c1", How::Power);
            s.wait(200.0);
            s.names(0b11, 2);
        });
        run("CON-5", Expect::Kept, "both, and one when the other has left", |s| {
            both(s);
            s.wait(111.0);
            s.names(0b11, 2);
            s.leaves("c1");
            s.down("c1", How::Stop);
            s.wait(111.0);
            s.names(0b01, 1);
        });
        run("CON-5", Expect::Kept, "one that died without power may be named for two minutes", |s| {
            both(s);
            s.down("c1", How::Power);
            s.wait(120.0);
            s.names(0b11, 2);
        });
    }

    #[test]
    fn who_stays_takes_what_a_leaver_had() {
        let left = |s: &mut Script| {
            one_each(s);
            s.leaves("c1");
            s.end("c1", "r");
            s.down("c1", How::Stop);
        };
        let late = |s: &mut Script| {
            s.wait(8.0);
            s.session("c0", "r", 0);
            s.wait(1.0);
            s.stored("r", 0);
        };
        run("CON-5", Expect::Broken, "long after it was told", |s: &mut Script| {
            s.notifies();
            left(s);
            late(s);
        });
        run("CON-5", Expect::Broken, "it is not taken at all", |s| {
            s.notifies();
            left(s);
            s.wait(6.0);
            s.stored("q", 0);
        });
        run("CON-5", Expect::Kept, "soon", |s| {
            s.notifies();
            left(s);
            s.wait(1.0);
            s.session("c0", "r", 0);
            s.wait(6.0);
            s.stored("r", 0);
        });
        run("CON-5", Expect::Kept, "brokers tell nobody", |s| {
            left(s);
            late(s);
        });
        run("CON-5", Expect::Kept, "its topic changes meanwhile", |s| {
            s.notifies();
            left(s);
            s.wait(1.0);
            s.queues("b0", 2, 2);
            late(s);
        });
    }

    #[test]
    fn each_queue_has_one_owner_when_things_are_quiet() {
        run("CON-5", Expect::Broken, "nobody", |s: &mut Script| {
            s.queues("b0", 2, 2);
            s.joined("c0");
            s.session("c0", "q", 0);
            s.name_queue("r");
            s.wait(120.0);
            s.stored("q", 0);
        });
        run("CON-5", Expect::Broken, "two", |s| {
            s.queues("b0", 1, 1);
            s.joined("c0");
            s.joined("c1");
            s.session("c0", "q", 0);
            s.session("c1", "q", 0);
            s.wait(120.0);
            s.stored("q", 0);
        });
        run("CON-5", Expect::Broken, "given away in quiet times", |s| {
            s.queues("b0", 1, 1);
            s.joined("c0");
            s.session("c0", "q", 0);
            s.wait(120.0);
            s.stored("q", 0);
            s.end("c0", "q");
        });
        run("CON-5", Expect::Kept, "one each", |s| {
            one_each(s);
            s.stored("q", 0);
        });
        run("CON-5", Expect::Kept, "two for a moment after a member joined", |s| {
            s.queues("b0", 1, 1);
            s.joined("c0");
            s.session("c0", "q", 0);
            s.wait(120.0);
            s.joined("c1");
            s.session("c1", "q", 0);
            s.wait(20.0);
            s.end("c0", "q");
            s.wait(30.0);
            s.stored("q", 0);
        });
        run("CON-5", Expect::Kept, "given away to one whose start returns a moment later", |s| {
            s.queues("b0", 1, 1);
            s.joined("c0");
            s.session("c0", "q", 0);
            s.wait(120.0);
            s.stored("q", 0);
            s.end("c0", "q");
            s.joined("c1");
            s.session("c1", "q", 0);
            s.wait(60.0);
            s.stored("q", 0);
        });
        run("CON-5", Expect::Kept, "a queue that comes back later has no owner until then", |s| {
            s.queues("b0", 1, 1);
            s.name_queue("r");
            s.joined("c0");
            s.session("c0", "q", 0);
            s.wait(120.0);
            s.stored("q", 0);
            s.queues("b0", 2, 2);
            s.wait(20.0);
            s.session("c0", "r", 0);
        });
        run("CON-5", Expect::Kept, "its broker is silent for so long that routes leave it out", |s| {
            s.queues("b0", 1, 1);
            s.joined("c0");
            s.session("c0", "q", 0);
            let fault = s.begin(&["b0", "ns0"]);
            s.wait(130.0);
            s.end("c0", "q");
            s.wait(20.0);
            s.over(fault);
            s.wait(20.0);
            s.session("c0", "q", 0);
            s.wait(120.0);
            s.stored("q", 0);
        });
        // A member that is not there any more keeps its part of the queues for so long.
        let ghost = |how: How, wait: f64| {
            move |s: &mut Script| {
                one_each(s);
                s.crash("c1", how);
                s.wait(wait);
                s.stored("q", 0);
            }
        };
        run("CON-5", Expect::Broken, "a dead member's queue stays without owner", ghost(How::Process, 115.0));
        run("CON-5", Expect::Broken, "a silent member is counted on for ever", ghost(How::Power, 180.0));
        run("CON-5", Expect::Kept, "a silent member is counted on for two minutes", ghost(How::Power, 170.0));
        run("CON-5", Expect::Kept, "nobody lives", |s| {
            s.queues("b0", 1, 1);
            s.joined("c0");
            s.session("c0", "q", 0);
            s.wait(1.0);
            s.leaves("c0");
            s.end("c0", "q");
            s.wait(120.0);
            s.stored("q", 0);
        });
    }
}
