//! What brokers may change of a message that waited or was tried before, and what they may not: the marks they leave on
//! it, and where and when it was born.

use std::collections::{BTreeMap, BTreeSet};

use client::Received;

use super::load::Shared;
use super::recorder::{Recorder, Seen, compare};
use crate::history::{Fit, Group, GroupId, History, MessageId, NodeId, SCHEDULE, Step, TopicId};

/// Which message came, and how it fits.
pub(super) type Answer = (Option<MessageId>, Fit);

/// Which message a client has received, and how it fits what was sent.
pub(super) fn answer(shared: &Shared, received: &Received) -> Answer {
    let seen = Seen {
        lies_in: &received.queue.topic,
        body: &received.body,
        tag: received.tag(),
        key: received.keys().next(),
        who: received.property("who"),
        flag: received.flag,
        born_ms: received.born_at_ms,
        born_ip: received.born_host.ip(),
    };
    let (id, mut fit) = compare(&shared.recorder, shared.plan.seed, &seen);
    fit.properties &= legitimate(&shared.recorder, id, received);
    (id, fit)
}

/// Which message a listener got, and how it fits. By what names it came, what is given back may call it.
pub(super) fn delivered(shared: &Shared, group: GroupId, received: &Received) -> Answer {
    let (id, fit) = answer(shared, received);
    let settings = &shared.plan.groups[group.index()];
    if let Some(id) = id
        && (settings.fails.is_some() || settings.stuck.is_some())
        && received.topic == received.queue.topic
    {
        shared.recorder.live().origins.came_as(id, [&received.message_id, &received.offset_id]);
    }
    (id, fit)
}

/// Whether a message comes with its own topic, wherever it waited or was tried before, and with no mark that would
/// send it elsewhere or make it wait once more.
fn legitimate(recorder: &Recorder, id: Option<MessageId>, message: &Received) -> bool {
    let marks = Marks {
        shown: &message.topic,
        lies_in: &message.queue.topic,
        level: message.property("DELAY").map_or(Some(0), |level| level.parse().ok()),
        real: message.property("REAL_TOPIC"),
    };
    let live = recorder.live();
    let names_its_first =
        |id| !marks.is_tried(&live.history) || live.origins.fit(id, message.property("ORIGIN_MESSAGE_ID"));
    id.is_none_or(|id| marks.fit(&live.history, id) && names_its_first(id))
}

/// By which names messages came to listeners that may give them back.
#[derive(Debug, Default)]
pub(super) struct Origins(BTreeMap<MessageId, BTreeSet<String>>);

impl Origins {
    fn came_as(&mut self, id: MessageId, names: [&str; 2]) {
        self.0.entry(id).or_default().extend(names.map(str::to_owned));
    }

    /// Whether what was given back may call the message so. Nobody knows of one that no listener has seen.
    fn fit(&self, id: MessageId, name: Option<&str>) -> bool {
        self.0.get(&id).is_none_or(|names| name.is_some_and(|name| names.contains(name)))
    }
}

/// What a message says of where it has been.
#[derive(Clone, Copy)]
struct Marks<'a> {
    /// The topic that listeners are told.
    shown: &'a str,
    /// The topic it is stored in.
    lies_in: &'a str,
    /// The level of its delay, 0 or below when it has none; none = not a number.
    level: Option<i64>,
    /// Where it was to go when it had waited.
    real: Option<&'a str>,
}

impl Marks<'_> {
    fn fit(self, history: &History, id: MessageId) -> bool {
        let message = history.messages[id.index()];
        let own = history.topic_name(message.topic);
        let (dead, retried) =
            (self.is_in(history, |group| group.dlq), self.is_in(history, |group| group.retry));
        let delay = match self.level {
            Some(level) if level <= 0 => true,
            // A dead letter that kept its level would wait once more when it is sent on.
            _ if dead => false,
            // Genuine brokers let listeners see the level that a message waited on, its own or that of its last try.
            Some(level) => {
                retried || message.delay_level.is_some_and(|asked| waits_on(history, asked, level))
            }
            None => false,
        };
        // A dead letter may still name the retry topic.
        let real = self.real.is_none_or(|real| real == self.lies_in || dead && real != SCHEDULE);
        self.shown == own && delay && real
    }

    /// Whether it was given back.
    fn is_tried(self, history: &History) -> bool {
        self.is_in(history, |group| group.retry) || self.is_in(history, |group| group.dlq)
    }

    fn is_in(self, history: &History, topic: impl Fn(&Group) -> TopicId) -> bool {
        history.groups.iter().any(|group| history.topic_name(topic(group)) == self.lies_in)
    }
}

/// Where and when a message says that it was born.
#[derive(Clone, Copy)]
pub(super) struct Birth {
    /// None: nobody has this address.
    pub(super) home: Option<NodeId>,
    /// By the clock that is there.
    pub(super) at_ms: i64,
    /// The topic it is stored in.
    pub(super) lies_in: Option<TopicId>,
}

impl Birth {
    /// Whether its producer sent it from there and then: between what its clock said at the call and when it returned.
    pub(super) fn fits(
        self,
        history: &History,
        id: MessageId,
        (from_ms, until_ms): (i64, Option<i64>),
    ) -> bool {
        let producer = history.producers[history.messages[id.index()].producer as usize].node;
        if self.home != Some(producer) {
            return self.is_given_back(history);
        }
        let until_ms = until_ms.unwrap_or(i64::MAX - ROUNDING_MS);
        let in_time = (from_ms - ROUNDING_MS..=until_ms + ROUNDING_MS).contains(&self.at_ms);
        let set = |step: &Step| step.jump_ms != 0 && step.nodes.contains(&producer);
        in_time || history.steps.iter().any(set)
    }

    /// What nobody takes back a member sends anew: a copy for its group, born there.
    fn is_given_back(self, history: &History) -> bool {
        let tried = |id: GroupId| {
            let group = &history.groups[id.index()];
            [Some(group.retry), Some(group.dlq)].contains(&self.lies_in)
        };
        history.members.iter().any(|member| Some(member.node) == self.home && tried(member.group))
    }
}

/// Whether a message for one level may wait on another: the last one, as long as there are no more.
fn waits_on(history: &History, asked: u32, level: i64) -> bool {
    let mut levels = history.delays_ms.iter().map(|levels| levels.len() as i64);
    levels.any(|most| level == i64::from(asked).min(most))
}

/// Times are told in whole milliseconds.
const ROUNDING_MS: i64 = 1;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::{Member, Message, Writer};

    /// Topic `t` of group `g`; message 0 waits on level 2, message 1 does not.
    fn history() -> History {
        let mut history = History::default();
        let topic = history.topic("t");
        history.delays_ms = vec![vec![1000, 5000, 10_000], vec![1000]];
        history.new_group("g", topic, 3);
        for name in ["p0", "c0", "b0"] {
            history.node(name);
        }
        history.producers.push(Writer { node: PRODUCER, group: 0, limit_ms: 3000, checks: 0 });
        history.members.push(Member { group: GroupId(0), node: MEMBER });
        for delay_level in [Some(2), None] {
            history.message(Message {
                producer: 0,
                serial: 0,
                topic: TopicId(0),
                tag: 0,
                attempts: 1,
                delay_level,
                transactional: false,
                batch: None,
            });
        }
        history
    }

    const PRODUCER: NodeId = NodeId(0);
    const MEMBER: NodeId = NodeId(1);
    const BROKER: NodeId = NodeId(2);
    const WAITED: MessageId = MessageId(0);
    const PLAIN: MessageId = MessageId(1);
    const BARE: Marks<'_> = Marks { shown: "t", lies_in: "t", level: Some(0), real: None };

    #[test]
    fn what_waited_carries_the_marks_of_its_own_delay() {
        let fits = |marks: Marks<'_>, id| marks.fit(&history(), id);
        let waited = Marks { level: Some(2), real: Some("t"), ..BARE };
        assert!(fits(waited, WAITED));
        assert!(!fits(waited, PLAIN), "it was never delayed");
        assert!(fits(Marks { level: Some(1), ..waited }, WAITED), "there was one level only for a while");
        assert!(!fits(Marks { level: Some(3), ..waited }, WAITED), "not its level");
        assert!(!fits(Marks { level: None, ..waited }, WAITED), "no level at all");
        assert!(!fits(Marks { real: Some("u"), ..waited }, WAITED), "it was to go elsewhere");
        assert!(!fits(Marks { shown: "SCHEDULE_TOPIC_XXXX", ..waited }, WAITED), "another topic is shown");
        assert!(fits(BARE, PLAIN) && fits(Marks { real: Some("t"), ..BARE }, PLAIN));
    }

    #[test]
    fn what_was_tried_carries_the_marks_of_its_tries() {
        let fits = |marks: Marks<'_>, id| marks.fit(&history(), id);
        let tried = Marks { lies_in: "%RETRY%g", level: Some(3), real: Some("%RETRY%g"), ..BARE };
        assert!(fits(tried, PLAIN) && fits(tried, WAITED));
        assert!(!fits(Marks { shown: "%RETRY%g", ..tried }, PLAIN), "listeners know its own topic only");
        assert!(!fits(Marks { real: Some("t"), ..tried }, PLAIN), "it was to go elsewhere");
        let dead = Marks { lies_in: "%DLQ%g", real: Some("%RETRY%g"), ..BARE };
        assert!(fits(dead, PLAIN) && fits(Marks { level: Some(-1), ..dead }, WAITED));
        assert!(!fits(Marks { level: Some(3), ..dead }, PLAIN), "it would wait once more");
    }

    #[test]
    fn what_was_tried_names_the_message_that_came_first() {
        let mut origins = Origins::default();
        assert!(origins.fit(PLAIN, Some("copy")), "no listener has seen it");
        origins.came_as(PLAIN, ["key", "id"]);
        assert!(origins.fit(PLAIN, Some("key")) && origins.fit(PLAIN, Some("id")));
        assert!(!origins.fit(PLAIN, Some("copy")) && !origins.fit(PLAIN, None));
        origins.came_as(PLAIN, ["key", "id of what was sent again"]);
        assert!(origins.fit(PLAIN, Some("id")) && origins.fit(PLAIN, Some("id of what was sent again")));
    }

    /// Whether a message that its producer sent from 1000 on fits, returned at 1200 when it has.
    fn is_born(history: &History, home: NodeId, at_ms: i64, lies_in: &str, returned: bool) -> bool {
        let birth = Birth { home: Some(home), at_ms, lies_in: history.known_topic(lies_in) };
        birth.fits(history, PLAIN, (1000, returned.then_some(1200)))
    }

    #[test]
    fn a_message_and_its_copies_were_born_when_it_was_sent() {
        let history = history();
        for lies_in in ["t", "%RETRY%g", "%DLQ%g"] {
            let at = |at_ms, returned| is_born(&history, PRODUCER, at_ms, lies_in, returned);
            assert!(at(1000, true) && at(1200, true) && at(1201, true));
            assert!(!at(998, true) && !at(998, false), "before it was sent");
            assert!(!at(1202, true), "when its send was over: the time of a copy");
            assert!(at(9000, false), "its send has not returned");
        }
        let mut set = history;
        set.steps.push(Step { nodes: vec![PRODUCER], jump_ms: -500, ..Step::default() });
        assert!(is_born(&set, PRODUCER, 500, "t", true), "the clock of its producer is set");
        assert!(!is_born(&set, BROKER, 1100, "t", true), "that moves nobody");
    }

    #[test]
    fn a_message_and_its_copies_were_born_where_it_was_sent() {
        let history = history();
        for lies_in in ["t", "%RETRY%g", "%DLQ%g"] {
            assert!(!is_born(&history, BROKER, 1100, lies_in, true), "a broker makes none of its own");
            let given_back = is_born(&history, MEMBER, 5000, lies_in, true);
            assert_eq!(given_back, lies_in != "t", "a copy of a member's own is for its group");
        }
        let nowhere = Birth { home: None, at_ms: 1100, lies_in: history.known_topic("t") };
        assert!(!nowhere.fits(&history, PLAIN, (1000, Some(1200))));
    }
}
