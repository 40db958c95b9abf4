//! The marks that brokers leave on messages which waited or were tried before: which of them are legitimate.

use client::Received;

use super::recorder::Recorder;
use crate::history::{History, MessageId, SCHEDULE};

/// Whether a message comes with its own topic, wherever it waited or was tried before, and with no mark that would
/// send it elsewhere or make it wait once more.
pub(super) fn legitimate(recorder: &Recorder, id: Option<MessageId>, message: &Received) -> bool {
    let marks = Marks {
        shown: &message.topic,
        lies_in: &message.queue.topic,
        level: message.property("DELAY").map_or(Some(0), |level| level.parse().ok()),
        real: message.property("REAL_TOPIC"),
    };
    id.is_none_or(|id| marks.fit(&recorder.live().history, id))
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
        let named = |name: &dyn Fn(&crate::history::Group) -> crate::history::TopicId| {
            history.groups.iter().any(|group| history.topic_name(name(group)) == self.lies_in)
        };
        let (dead, retried) = (named(&|group| group.dlq), named(&|group| group.retry));
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
}

/// Whether a message for one level may wait on another: the last one, as long as there are no more.
fn waits_on(history: &History, asked: u32, level: i64) -> bool {
    let mut levels = history.delays_ms.iter().map(|levels| levels.len() as i64);
    levels.any(|most| level == i64::from(asked).min(most))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::{Message, TopicId};

    /// Topic `t` of group `g`; message 0 waits on level 2, message 1 does not.
    fn history() -> History {
        let mut history = History::default();
        let topic = history.topic("t");
        history.delays_ms = vec![vec![1000, 5000, 10_000], vec![1000]];
        history.new_group("g", topic, 3);
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
}
