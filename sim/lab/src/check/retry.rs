//! RTY-1 and RTY-3 to RTY-5: messages that a group could not handle come again, and end as dead letters. RTY-2 is
//! judged with CON-2: it is about what a commit covers.

use std::collections::{BTreeMap, BTreeSet};

use super::{Judged, Rule, View, seconds, witness};
use crate::history::{GroupId, Kind, MessageId, QueueContent, Slot};
use crate::plan::FIRST_RETRY_LEVEL;

pub(super) fn check(view: &View<'_>, judged: &mut Judged) {
    let stored = Stored::collect(view);
    let back = Back::collect(view, &stored);
    judge_back(view, &back, judged);
    counts(view, &back, judged);
    dead_letters(view, &back, judged);
    conserved(view, &back, judged);
}

/// What is known of places: which message, and how many tries it had had.
struct Stored {
    at: BTreeMap<Slot, (MessageId, u32)>,
}

impl Stored {
    fn collect(view: &View<'_>) -> Self {
        let mut at = BTreeMap::new();
        for delivery in &view.deliveries {
            // The listener's count grows also with tries the broker does not know of: the first one tells.
            if let Some(message) = delivery.message {
                at.entry(delivery.slot).or_insert((message, delivery.times));
            }
        }
        for content in &view.audit.queues {
            for read in &content.read {
                let slot = Slot { queue: content.queue, offset: read.offset };
                at.extend(read.message.map(|message| (slot, (message, read.times))));
            }
        }
        Self { at }
    }
}

/// One message that a broker took back.
#[derive(Clone, Copy)]
struct Returned {
    event: usize,
    group: GroupId,
    slot: Slot,
    message: MessageId,
    /// Tries at this place, by what is stored there.
    had: u32,
    /// Tries by the broker's word.
    times: u32,
    level: u32,
    dead: bool,
    code: i32,
}

/// All that was taken back.
struct Back {
    all: Vec<Returned>,
    messages: BTreeSet<(GroupId, MessageId)>,
}

impl Back {
    fn collect(view: &View<'_>, stored: &Stored) -> Self {
        let mut all = Vec::new();
        for (event, told) in view.history.events.iter().enumerate() {
            let Kind::SentBack { group, slot, times, level, dead, code } = told.kind else { continue };
            let Some(&(message, had)) = stored.at.get(&slot) else { continue };
            // A place that was given out twice says nothing of who was there first.
            if view.lines[slot.queue.index()].rewinds.is_empty() {
                all.push(Returned { event, group, slot, message, had, times, level, dead, code });
            }
        }
        let messages = all.iter().map(|back| (back.group, back.message)).collect();
        Self { all, messages }
    }
}

/// RTY-1, RTY-3 and RTY-4 of each return: level, limit and count.
fn judge_back(view: &View<'_>, back: &Back, judged: &mut Judged) {
    let history = view.history;
    let levels = history.delays_ms.len() as u32;
    for &Returned { event, group, slot, message, had, times, level, dead, .. } in &back.all {
        let limit = history.groups[group.index()].limit;
        let name = history.message_name(message);
        let told = || witness(history, Some(message), slot.queue, slot.offset);
        judged.count(Rule::Rty4, 1);
        if times != had + 1 {
            let sentence = format!("Message {name} had had {had} tries and was taken back after {times}.");
            judged.broken(view, Rule::Rty4, event, told(), sentence);
        }
        judged.count(Rule::Rty3, 1);
        if dead != (had >= limit) {
            let end = if dead { "became a dead letter" } else { "was to be tried again" };
            let sentence = format!("Message {name} {end} after {had} tries; the limit is {limit}.");
            judged.broken(view, Rule::Rty3, event, told(), sentence);
        } else if dead && level > 0 {
            let sentence = format!("The dead letter of message {name} is delayed by level {level}.");
            judged.broken(view, Rule::Rty3, event, told(), sentence);
        }
        if !dead && levels > 0 {
            judged.count(Rule::Rty1, 1);
            let wanted = (FIRST_RETRY_LEVEL + had).min(levels);
            if level != wanted {
                let sentence = format!(
                    "Message {name} waits after {had} tries on level {level}; its level would be {wanted}."
                );
                judged.broken(view, Rule::Rty1, event, told(), sentence);
            }
        }
    }
}

/// RTY-4: whatever lies in a retry queue was put there with that count.
fn counts(view: &View<'_>, back: &Back, judged: &mut Judged) {
    let history = view.history;
    let known: BTreeSet<(GroupId, MessageId, u32)> =
        back.all.iter().map(|back| (back.group, back.message, back.times)).collect();
    for (group, content) in of_groups(view, |view, group| view.history.groups[group.index()].retry) {
        if !view.lines[content.queue.index()].rewinds.is_empty() || view.ever_excused(content.queue) {
            continue;
        }
        for read in &content.read {
            let Some(message) = read.message.filter(|id| back.messages.contains(&(group, *id))) else {
                continue;
            };
            judged.count(Rule::Rty4, 1);
            if !known.contains(&(group, message, read.times)) {
                let slot = Slot { queue: content.queue, offset: read.offset };
                let sentence = format!(
                    "Message {} lies at {} with {} tries, and was never taken back after so many.",
                    history.message_name(message),
                    history.slot_name(slot),
                    read.times
                );
                let told = witness(history, Some(message), slot.queue, slot.offset);
                judged.broken(view, Rule::Rty4, view.last(), told, sentence);
            }
        }
    }
}

/// RTY-3: one dead letter for each that died, and when nothing went wrong, not more.
fn dead_letters(view: &View<'_>, back: &Back, judged: &mut Judged) {
    let history = view.history;
    let letters = letters(view);
    let calm = history.steps.is_empty();
    let mut first: BTreeMap<(GroupId, MessageId), &Returned> = BTreeMap::new();
    for died in back.all.iter().filter(|back| back.dead && back.code == 0) {
        first.entry((died.group, died.message)).or_insert(died);
    }
    for (&(group, message), died) in &first {
        judged.count(Rule::Rty3, 1);
        let count = letters.get(&(group, message)).copied().unwrap_or(0);
        let told = witness(history, Some(message), died.slot.queue, died.slot.offset);
        if count == 0 && !view.ever_excused(died.slot.queue) && view.drained.is_some() {
            let sentence = format!(
                "Message {} of group {} died at {}, and there is no dead letter of it.",
                history.message_name(message),
                history.group_name(group),
                seconds(view.at(died.event))
            );
            judged.broken(view, Rule::Rty3, died.event, told, sentence);
        } else if count > 1 && calm && history.messages[message.index()].attempts == 1 {
            let sentence =
                format!("There are {count} dead letters of message {}.", history.message_name(message));
            judged.broken(view, Rule::Rty3, died.event, told, sentence);
        }
    }
    if !calm {
        return;
    }
    for delivery in &view.deliveries {
        let group = history.members[delivery.member.index()].group;
        let Some(message) = delivery.message else { continue };
        let Some(died) = first.get(&(group, message)).filter(|died| died.event < delivery.entered) else {
            continue;
        };
        if history.messages[message.index()].attempts == 1 {
            let sentence = format!(
                "Message {} died at {} and was delivered to group {} again at {}.",
                history.message_name(message),
                seconds(view.at(died.event)),
                history.group_name(group),
                seconds(view.at(delivery.entered))
            );
            let told = witness(history, Some(message), delivery.slot.queue, delivery.slot.offset);
            judged.broken(view, Rule::Rty3, delivery.entered, told, sentence);
        }
    }
}

/// RTY-5: in the end each message that came back was handled after all, or is a dead letter.
fn conserved(view: &View<'_>, back: &Back, judged: &mut Judged) {
    let history = view.history;
    if view.drained.is_none_or(|(_, _, rest)| rest > 0) {
        return;
    }
    let letters = letters(view);
    let handled: BTreeSet<(GroupId, MessageId)> = view
        .deliveries
        .iter()
        .filter(|delivery| delivery.succeeded.is_some())
        .filter_map(|delivery| Some((history.members[delivery.member.index()].group, delivery.message?)))
        .collect();
    for back in back.all.iter().filter(|back| back.code == 0) {
        judged.count(Rule::Rty5, 1);
        let key = (back.group, back.message);
        if handled.contains(&key) || letters.contains_key(&key) || view.ever_excused(back.slot.queue) {
            continue;
        }
        let sentence = format!(
            "Message {} was taken back from group {} at {}; in the end it was neither handled nor is it a dead letter.",
            history.message_name(back.message),
            history.group_name(back.group),
            seconds(view.at(back.event))
        );
        let told = witness(history, Some(back.message), back.slot.queue, back.slot.offset);
        judged.broken(view, Rule::Rty5, back.event, told, sentence);
    }
}

/// Dead letters of each message, by group.
fn letters(view: &View<'_>) -> BTreeMap<(GroupId, MessageId), usize> {
    let mut letters = BTreeMap::new();
    for (group, content) in of_groups(view, |view, group| view.history.groups[group.index()].dlq) {
        for message in content.read.iter().filter_map(|read| read.message) {
            *letters.entry((group, message)).or_default() += 1;
        }
    }
    letters
}

/// Contents of one of each group's own topics.
fn of_groups<'a>(
    view: &'a View<'a>,
    topic: impl Fn(&View<'_>, GroupId) -> crate::history::TopicId,
) -> Vec<(GroupId, &'a QueueContent)> {
    let groups = (0..view.history.groups.len() as u32).map(GroupId);
    groups
        .flat_map(|group| {
            let topic = topic(view, group);
            let queues = view.audit.queues.iter();
            queues
                .filter(move |content| view.history.queues[content.queue.index()].topic == topic)
                .map(move |content| (group, content))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::script::{Expect, Script, run};

    fn defer(s: &mut Script, queue: &str, offset: u64, message: &str) {
        s.enter("c0", queue, offset, message);
        s.defers("c0", queue, offset);
    }

    #[test]
    fn a_try_comes_after_the_delay_of_its_level() {
        run("RTY-1", Expect::Broken, "the level of the next try", |s: &mut Script| {
            s.ok("a", "q", 0);
            defer(s, "q", 0, "a");
            s.sent_back("q", 0, 1, 4);
        });
        run("RTY-1", Expect::Broken, "always the same level", |s| {
            s.ok("a", "q", 0);
            defer(s, "q", 0, "a");
            s.sent_back("q", 0, 1, 3);
            s.holds("retry", &["a"]);
            s.last_read().times = 1;
            defer(s, "retry", 0, "a");
            s.sent_back("retry", 0, 2, 3);
        });
        run("RTY-1", Expect::Kept, "level by level", |s| {
            s.ok("a", "q", 0);
            defer(s, "q", 0, "a");
            s.sent_back("q", 0, 1, 3);
            s.holds("retry", &["a"]);
            s.last_read().times = 1;
            defer(s, "retry", 0, "a");
            s.sent_back("retry", 0, 2, 4);
        });
        run("RTY-1", Expect::Kept, "not beyond the last level", |s| {
            s.ok("a", "q", 0);
            s.holds("retry", &["a"]);
            s.last_read().times = 2;
            defer(s, "retry", 0, "a");
            s.sent_back("retry", 0, 3, 4);
        });
    }

    #[test]
    fn what_cannot_be_given_back_holds_the_offset() {
        run("RTY-2", Expect::Broken, "passed without a word of the broker", |s: &mut Script| {
            s.ok("a", "q", 0);
            defer(s, "q", 0, "a");
            s.stored("q", 1);
        });
        run("RTY-2", Expect::Broken, "passed before the word came", |s| {
            s.ok("a", "q", 0);
            defer(s, "q", 0, "a");
            s.stored("q", 1);
            s.sent_back("q", 0, 1, 3);
        });
        run("RTY-2", Expect::Kept, "the broker had it", |s| {
            s.ok("a", "q", 0);
            defer(s, "q", 0, "a");
            s.sent_back("q", 0, 1, 3);
            s.stored("q", 1);
        });
        run("RTY-2", Expect::Kept, "handled here in the end", |s| {
            s.ok("a", "q", 0);
            defer(s, "q", 0, "a");
            s.deliver("c0", "q", 0, "a");
            s.stored("q", 1);
        });
    }

    #[test]
    fn a_message_dies_once() {
        run("RTY-3", Expect::Broken, "before its last try", |s: &mut Script| {
            s.ok("a", "q", 0);
            defer(s, "q", 0, "a");
            s.sent_back("q", 0, 1, 0);
            s.holds("dead", &["a"]);
        });
        run("RTY-3", Expect::Broken, "two letters", |s| {
            s.ok("a", "q", 0);
            s.holds("retry", &["a"]);
            s.last_read().times = 3;
            defer(s, "retry", 0, "a");
            s.sent_back("retry", 0, 4, 0);
            s.holds("dead", &["a", "a"]);
        });
        run("RTY-3", Expect::Broken, "no letter", |s| {
            s.ok("a", "q", 0);
            s.holds("retry", &["a"]);
            s.last_read().times = 3;
            defer(s, "retry", 0, "a");
            s.sent_back("retry", 0, 4, 0);
            s.drained(0);
        });
        run("RTY-3", Expect::Broken, "tried again afterwards", |s| {
            s.ok("a", "q", 0);
            s.holds("retry", &["a"]);
            s.last_read().times = 3;
            defer(s, "retry", 0, "a");
            s.sent_back("retry", 0, 4, 0);
            s.holds("dead", &["a"]);
            s.enter("c0", "retry", 1, "a");
        });
        run("RTY-3", Expect::Kept, "after its last try, once", |s| {
            s.ok("a", "q", 0);
            s.holds("retry", &["a"]);
            s.last_read().times = 3;
            defer(s, "retry", 0, "a");
            s.sent_back("retry", 0, 4, 0);
            s.holds("dead", &["a"]);
            s.drained(0);
        });
        run("RTY-3", Expect::Kept, "twice, after a fault", |s| {
            let step = s.begin(&["b0"]);
            s.over(step);
            s.ok("a", "q", 0);
            s.holds("retry", &["a"]);
            s.last_read().times = 3;
            defer(s, "retry", 0, "a");
            s.sent_back("retry", 0, 4, 0);
            s.sent_back("retry", 0, 4, 0);
            s.holds("dead", &["a", "a"]);
        });
    }

    #[test]
    fn tries_are_counted_one_by_one() {
        run("RTY-4", Expect::Broken, "the count stands still", |s: &mut Script| {
            s.ok("a", "q", 0);
            defer(s, "q", 0, "a");
            s.sent_back("q", 0, 0, 3);
        });
        run("RTY-4", Expect::Broken, "the copy has another count", |s| {
            s.ok("a", "q", 0);
            defer(s, "q", 0, "a");
            s.sent_back("q", 0, 1, 3);
            s.holds("retry", &["a"]);
            s.last_read().times = 2;
        });
        run("RTY-4", Expect::Kept, "one more", |s| {
            s.ok("a", "q", 0);
            defer(s, "q", 0, "a");
            s.sent_back("q", 0, 1, 3);
            s.holds("retry", &["a"]);
            s.last_read().times = 1;
        });
        run("RTY-4", Expect::Kept, "given back twice because the first answer was lost", |s| {
            s.ok("a", "q", 0);
            defer(s, "q", 0, "a");
            s.sent_back("q", 0, 1, 3);
            s.sent_back("q", 0, 1, 3);
        });
    }

    #[test]
    fn nothing_that_came_back_is_forgotten() {
        run("RTY-5", Expect::Broken, "it never came again", |s: &mut Script| {
            s.ok("a", "q", 0);
            defer(s, "q", 0, "a");
            s.sent_back("q", 0, 1, 3);
            s.drained(0);
        });
        run("RTY-5", Expect::Broken, "dropped at the limit", |s| {
            s.ok("a", "q", 0);
            s.holds("retry", &["a"]);
            s.last_read().times = 3;
            defer(s, "retry", 0, "a");
            s.sent_back("retry", 0, 4, 0);
            s.drained(0);
        });
        run("RTY-5", Expect::Kept, "handled at the second try", |s| {
            s.ok("a", "q", 0);
            defer(s, "q", 0, "a");
            s.sent_back("q", 0, 1, 3);
            s.deliver("c1", "retry", 0, "a");
            s.drained(0);
        });
        run("RTY-5", Expect::Kept, "a dead letter", |s| {
            s.ok("a", "q", 0);
            s.holds("retry", &["a"]);
            s.last_read().times = 3;
            defer(s, "retry", 0, "a");
            s.sent_back("retry", 0, 4, 0);
            s.holds("dead", &["a"]);
            s.drained(0);
        });
    }
}
