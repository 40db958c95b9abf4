//! The rules of the harness, judged from a history and the audit of the stores. Pure: no clock, no randomness.
//!
//! One file per family. A checker never fails a run for what it cannot know: an unknown outcome may or may not have
//! happened, and a tap that is missing makes its rule silent, not red.

mod ack;
mod budget;
mod consume;
mod delay;
mod index;
mod leak;
mod live;
mod locks;
mod log;
mod names;
mod orders;
mod poll;
mod retry;
mod search;
mod sight;
mod silence;
mod stall;
mod transact;
mod view;
mod waited;

#[cfg(test)]
mod script;

use std::collections::BTreeMap;

pub use budget::{Budget, budget};
pub use live::RECOVERIES;
use serde::{Deserialize, Serialize};
pub use sight::Sight;
pub use view::{Outage, View};

use crate::cover::told;
use crate::history::{Audit, History, MessageId, QueueId};

macro_rules! rules {
    ($($rule:ident $id:literal $promise:literal)+) => {
        /// A rule of harness section 5.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
        pub enum Rule {
            $(
                #[doc = $promise]
                #[serde(rename = $id)]
                $rule,
            )+
        }

        impl Rule {
            /// All rules, in order.
            pub const ALL: &[Self] = &[$(Self::$rule),+];

            /// Its short name.
            #[must_use]
            pub fn id(self) -> &'static str {
                match self { $(Self::$rule => $id),+ }
            }

            /// What it promises, in one sentence.
            #[must_use]
            pub fn promise(self) -> &'static str {
                match self { $(Self::$rule => $promise),+ }
            }
        }
    };
}

rules! {
    Ack1 "ACK-1" "An acknowledged message is readable at its place in the end, unless a fault beyond its durability class came after."
    Ack2 "ACK-2" "Reading the returned place gives the message with the same body, keys, tags and properties."
    Ack3 "ACK-3" "Everything delivered was sent by some producer, with equal body, topic and properties, and so are all its copies."
    Ack4 "ACK-4" "A message that was refused is never readable."
    Ack5 "ACK-5" "A send under sync flush is answered OK only when its bytes are flushed, else degraded within the time-out."
    Ack6 "ACK-6" "A message has at most as many copies as it had attempts that may have succeeded."
    Ack7 "ACK-7" "The members of a batch stand behind each other in one queue, or none is stored."
    Ack8 "ACK-8" "All copies of a message carry the same unique key, those for another try as well."
    Dly1 "DLY-1" "A delayed message never comes before its time."
    Dly2 "DLY-2" "Each delayed message comes once, and again only when a crash lost how far its level was."
    Dly3 "DLY-3" "A delayed message is at most 1 s late, and 5 s after a fault of its broker."
    Dly4 "DLY-4" "A delayed message comes to the topic and queue it was sent to, with no mark of the delay left."
    Dly5 "DLY-5" "Messages of one level come in their order."
    Txn1 "TXN-1" "A transactional message is not readable before a commit for it was given."
    Txn2 "TXN-2" "The first accepted decision wins: what was rolled back is never delivered, and a later decision changes nothing."
    Txn3 "TXN-3" "A committed message has one copy, or one more for each crash in the midst of a commit."
    Txn4 "TXN-4" "What a producer committed is delivered, who is asked answers, and what stays unknown is given up once, after the last check."
    Txn5 "TXN-5" "Nobody is asked before the immunity is over, after the end, too often or too fast, and checks are counted one by one."
    Txn6 "TXN-6" "An undecided half message is passed only when its copy is stored as safely."
    Con1 "CON-1" "Every message of a group's queues is consumed with success by the end of the drain."
    Con2 "CON-2" "A committed offset never covers a message that is not consumed."
    Con3 "CON-3" "The pulls of one ownership are contiguous from the offset committed when it began."
    Con4 "CON-4" "A message is delivered again after success only for a cause that can be named."
    Con5 "CON-5" "With membership and route stable every queue has exactly one owner in the group."
    Con6 "CON-6" "A committed offset never falls, but to the last persisted value by a broker crash; a clean stop persists all."
    Con7 "CON-7" "A group gets only what its filter takes, also when tags share a hash."
    Con8 "CON-8" "One failing message or one dead broker does not hold up the other queues of a group."
    Con9 "CON-9" "What an operator sets or deletes of a group is so for all, also after a restart, and other groups are not touched."
    Ord1 "ORD-1" "A queue that one client of a group has locked is its own until it is unlocked, not renewed for 60 s, or its broker restarts."
    Log1 "LOG-1" "A place in a queue holds one value for ever."
    Log2 "LOG-2" "Entries of a queue run without gap or repeat, and each points to its record."
    Log3 "LOG-3" "If one send returned before another to the same queue began, its offset is smaller; appends and questions for a queue's end have one order."
    Log4 "LOG-4" "The ends of a queue never move back."
    Log5 "LOG-5" "Records of the log are whole, say their own position, and do not go back in time."
    Log6 "LOG-6" "Recovery is complete, and recovering again gives the same state."
    Log7 "LOG-7" "A search by time finds the first message that was stored at that time or later."
    Adm1 "ADM-1" "A topic is as the operator or the first message that made it was told, whatever crashes, and so is who may write to a broker; nothing is stored in a queue that its topic does not have."
    Idx1 "IDX-1" "A question for a key finds every readable message with it, and none with another."
    Ns1 "NS-1" "A silent broker leaves the answers in 120 s + 5 s, one whose connection closed in 1 s."
    Ns2 "NS-2" "A broker that registered within the last 30 s is in the answers."
    Ns3 "NS-3" "An answer names addresses and queues of the same brokers, as many as the broker registered last; a change of its topics is heard of in 8 s, and they do not become older."
    Ns4 "NS-4" "What an operator keeps in a name server is read until it is changed or deleted, also after a restart."
    L1 "L-1" "Every name server knows every broker 65 s after the faults are over, and again in 5 s when only their connection broke."
    L2 "L-2" "Every producer gets an acknowledgement within 70 s after the faults are over, and no send is refused while nothing is wrong with one of two brokers."
    L3 "L-3" "Who owns which queue is settled 110 s after the faults are over."
    L4 "L-4" "Every group has consumed everything 180 s and the time for the backlog after the faults are over."
    L9 "L-9" "Some call of a client returns in every minute after the faults, and no task runs in circles."
    L10 "L-10" "Nothing stays behind: a call that is over is in the table of its connection no more."
    L11 "L-11" "A member that waits for a message has it 200 ms after it can be read, when nothing is wrong."
    L12 "L-12" "A node that was started again serves, and one that is asked to stop ends."
    L13 "L-13" "Who is well is not given up as silent, and who is silent is not waited for: connections, calls, sends and name servers, of which a client hears again of each of its topics."
    Rty1 "RTY-1" "What a listener could not handle comes again after the delay of level 3 and the tries it had."
    Rty2 "RTY-2" "A message that could not be given back does not let the offset pass."
    Rty3 "RTY-3" "After the last try there is one dead letter, at once, and the group gets the message no more."
    Rty4 "RTY-4" "The count of tries grows by one with each."
    Rty5 "RTY-5" "In the end every message that could not be handled was handled after all, or is a dead letter."
    Panic "PANIC" "No part of the system panics."
}

impl Rule {
    /// Of what must be so in the end: beyond all tolerance it is not promised.
    #[must_use]
    pub fn is_eventual(self) -> bool {
        self.is_liveness()
            || matches!(self, Self::Con1 | Self::Dly2 | Self::Dly3 | Self::Txn4 | Self::Rty1 | Self::Rty5)
    }

    /// A promise that something happens in time, not that something never happens.
    #[must_use]
    pub fn is_liveness(self) -> bool {
        matches!(
            self,
            Self::L1 | Self::L2 | Self::L3 | Self::L4 | Self::L9 | Self::L11 | Self::L12 | Self::L13
        )
    }
}

/// A broken promise and its witness.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Violation {
    /// Which rule.
    pub rule: Rule,
    /// Virtual time of the event that shows it.
    pub at_ns: u64,
    /// That event's number, or that of the last one.
    pub event: usize,
    /// The message or queue it is about, in words.
    pub witness: String,
    /// What happened, in one sentence.
    pub sentence: String,
}

/// What the checkers found.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Judged {
    /// In the order of rules, and of time within a rule; at most a few of each rule.
    pub violations: Vec<Violation>,
    /// How many things each rule looked at.
    pub checked: BTreeMap<Rule, u64>,
    /// Repeated deliveries, by cause.
    pub repeats: BTreeMap<&'static str, u64>,
    /// The largest of what is bounded, by what it is.
    pub worst: BTreeMap<&'static str, u64>,
    /// Properties that the history came to, by name.
    pub told: BTreeMap<&'static str, u64>,
    broken: BTreeMap<Rule, usize>,
}

impl Judged {
    /// Counts things a rule looked at.
    fn count(&mut self, rule: Rule, things: u64) {
        *self.checked.entry(rule).or_default() += things;
    }

    /// Something that is bounded was so large.
    fn worst(&mut self, what: &'static str, size: u64) {
        let worst = self.worst.entry(what).or_default();
        *worst = size.max(*worst);
    }

    /// A rule is broken.
    fn broken(&mut self, view: &View<'_>, rule: Rule, event: usize, witness: String, sentence: String) {
        let kept = self.broken.entry(rule).or_default();
        *kept += 1;
        if *kept <= KEPT {
            let at_ns = view.history.events.get(event).map_or(0, |event| event.at_ns);
            self.violations.push(Violation { rule, at_ns, event, witness, sentence });
        }
    }
}

/// Judges a history by all rules.
#[must_use]
pub fn judge(history: &History, audit: &Audit) -> Judged {
    let view = View::new(history, audit);
    let mut judged = Judged::default();
    ack::check(&view, &mut judged);
    consume::check(&view, &mut judged);
    log::check(&view, &mut judged);
    names::check(&view, &mut judged);
    orders::check(&view, &mut judged);
    search::check(&view, &mut judged);
    locks::check(&view, &mut judged);
    leak::check(&view, &mut judged);
    silence::check(&view, &mut judged);
    live::check(&view, &mut judged);
    poll::check(&view, &mut judged);
    stall::check(&view, &mut judged);
    delay::check(&view, &mut judged);
    retry::check(&view, &mut judged);
    transact::check(&view, &mut judged);
    index::check(&view, &mut judged);
    judged.told = told(&view);
    judged.violations.sort_by_key(|violation| (violation.rule, violation.event));
    judged
}

/// True when every queue of each group that has a member has one owner, as far as members have told.
#[must_use]
pub fn owned_once(history: &History) -> bool {
    let (audit, mut judged) = Default::default();
    consume::owners_now(&View::new(history, &audit), &mut judged)
}

/// A message and a place, for a witness.
fn witness(history: &History, message: Option<MessageId>, queue: QueueId, offset: u64) -> String {
    let message = message.map_or("an unknown message".to_owned(), |id| history.message_name(id));
    format!("{message} at {} offset {offset}", history.queue_name(queue))
}

/// Virtual seconds, for a sentence.
fn seconds(ns: u64) -> String {
    format!("{:.3} s", ns as f64 / 1e9)
}

/// Violations of one rule that are kept.
const KEPT: usize = 5;
/// One second of virtual time.
const SECOND: u64 = 1_000_000_000;
