//! How much of each rule can be judged where no part of the system tells about itself.

use super::Rule;

/// How much of a rule is judged without taps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sight {
    /// All of it: it is about what clients see, or about what the stopped store holds.
    Whole,
    /// This much.
    Part(&'static str),
    /// Nothing: this is what would have to be known.
    Blind(&'static str),
}

impl Rule {
    /// How much of it is judged without taps.
    #[must_use]
    pub fn without_taps(self) -> Sight {
        use Sight::{Blind, Part, Whole};
        match self {
            Self::Ack1 | Self::Ack2 | Self::Ack3 | Self::Ack4 | Self::Ack6 | Self::Ack7 | Self::Ack8 => Whole,
            Self::Con1 | Self::Con7 | Self::Log1 | Self::Log3 | Self::Log5 | Self::Txn1 | Self::Txn3 => Whole,
            Self::Rty5 | Self::L2 | Self::L4 | Self::L12 | Self::Panic => Whole,
            Self::Log7 => Whole,
            Self::Adm1 | Self::Con9 => Part("by what brokers show when asked"),
            Self::L1 => Part("after the faults, by what name servers list"),
            Self::Con2 | Self::Rty2 => Part("by the commits that brokers told when asked"),
            Self::Con4 => Part("changes of owner are not seen, so any trouble of the group is a cause"),
            Self::Con6 => Part("by the commits that brokers told when asked, while a broker stays up"),
            Self::Log2 => Part("by reading everything, and by the stopped store"),
            Self::Log4 => Part("by the ends that brokers told when asked"),
            Self::Log6 => Part("by the stopped store, and by a second recovery where the plan has one"),
            Self::Idx1 => Part("messages that a listener had seen must be found"),
            Self::Ns1 => Part("brokers whose process died"),
            Self::Ns2 => Part("brokers that were listed and to which nothing happened"),
            Self::Dly1 => Part("from the call of the sender to the listener"),
            Self::Dly2 => Part("what was acknowledged lies in its topic in the end"),
            Self::Txn4 => Part("commits that a broker answered to have taken"),
            Self::Txn5 => Part("who is asked belongs to the group"),
            Self::Rty1 => Part("from the failed try to the next one"),
            Self::Rty3 => Part("dead letters against the last tries"),
            Self::Rty4 => Part("by the counts that listeners and readers see"),
            Self::Ack5 => Blind("what was flushed when a send was answered"),
            Self::Ns3 => Part("by the routes that were asked for"),
            Self::Con8 => Blind("since when a message could be read, and who owned its queue"),
            Self::L9 => Blind("which pulls were answered, and how often tasks ran"),
            Self::Con3 => Blind("which pulls were answered"),
            Self::Con5 => Part("by what members say each second, in the end"),
            Self::L3 => Part("by what members say each second"),
            Self::Dly3 => Part("from the acknowledgement to the time that the stored message tells"),
            Self::Dly4 => Part("messages for a queue that the producer chose"),
            Self::Dly5 => Part("by store times, where one was acknowledged before the next was sent"),
            Self::Txn2 => Part("rollbacks that a broker answered to have taken"),
            Self::Txn6 => Blind("where undecided half messages are"),
            Self::L10 => Blind("which calls a connection still holds"),
            Self::Ns4 => Blind("what an operator orders: none is there"),
            Self::Ord1 => Blind("who locks queues: nobody does"),
            Self::L13 => Blind("when somebody is given up, and what a connection waits for"),
            Self::L11 => Blind("when a message could be read"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::script::{Expect, Script, run};
    use crate::history::How;

    /// A run in which nothing tells about itself.
    fn unseen(rule: &str, expect: Expect, what: &str, script: impl FnOnce(&mut Script)) {
        run(rule, expect, what, |s| {
            s.untapped();
            script(s);
        });
    }

    #[test]
    fn commits_are_judged_by_what_brokers_say() {
        unseen("CON-2", Expect::Broken, "over a message that nobody had", |s| {
            s.ok("a", "q", 0);
            s.told("q", 1);
        });
        unseen("CON-2", Expect::Broken, "over one that is consumed later", |s| {
            s.ok("a", "q", 0);
            s.enter("c0", "q", 0, "a");
            s.told("q", 1);
            s.exit("c0", "q", 0);
        });
        unseen("CON-2", Expect::Kept, "over what was consumed", |s| {
            s.ok("a", "q", 0);
            s.deliver("c0", "q", 0, "a");
            s.told("q", 1);
        });
        unseen("CON-6", Expect::Broken, "it falls", |s| {
            s.told("q", 5);
            s.told("q", 4);
        });
        unseen("CON-6", Expect::Broken, "it falls after a restart of somebody else", |s| {
            s.told("q", 5);
            s.crash("ns0", How::Process);
            s.told("q", 4);
        });
        unseen("CON-6", Expect::Kept, "the broker was killed meanwhile", |s| {
            s.told("q", 5);
            s.crash("b0", How::Process);
            s.told("q", 4);
        });
        unseen("CON-6", Expect::Kept, "it stands still", |s| {
            s.told("q", 5);
            s.told("q", 5);
        });
    }

    #[test]
    fn what_was_given_back_is_known_by_its_copy() {
        let given_back = |s: &mut Script, copy: &[&str]| {
            s.ok("a", "q", 0);
            s.enter("c0", "q", 0, "a");
            s.defers("c0", "q", 0);
            s.told("q", 1);
            s.holds("q", &["a"]);
            s.holds("retry", copy);
            if let Some(read) = s.last_content().read.first_mut() {
                read.times = 1;
            }
            s.drained(0);
        };
        unseen("RTY-2", Expect::Broken, "there is no copy", |s| given_back(s, &[]));
        unseen("CON-1", Expect::Broken, "there is no copy", |s| given_back(s, &[]));
        unseen("RTY-2", Expect::Kept, "there is one", |s| given_back(s, &["a"]));
        unseen("RTY-3", Expect::Broken, "three dead letters of one failed try", |s| {
            s.ok("a", "q", 0);
            let fault = s.begin(&["b0"]);
            s.over(fault);
            s.enter_after("c0", "retry", 0, "a", 3);
            s.defers("c0", "retry", 0);
            s.holds("dead", &["a", "a", "a"]);
        });
        unseen("RTY-3", Expect::Kept, "two, when an answer may have been lost", |s| {
            s.ok("a", "q", 0);
            let fault = s.begin(&["b0"]);
            s.over(fault);
            s.enter_after("c0", "retry", 0, "a", 3);
            s.defers("c0", "retry", 0);
            s.holds("dead", &["a", "a"]);
        });
    }

    #[test]
    fn a_repeat_needs_some_trouble_of_the_group() {
        unseen("CON-4", Expect::Broken, "nothing happened", |s| {
            s.ok("a", "q", 0);
            s.deliver("c0", "q", 0, "a");
            s.wait(100.0);
            s.deliver("c0", "q", 0, "a");
        });
        unseen("CON-4", Expect::Broken, "a member came long ago", |s| {
            s.joined("c1");
            s.wait(100.0);
            s.ok("a", "q", 0);
            s.deliver("c0", "q", 0, "a");
            s.wait(1.0);
            s.deliver("c0", "q", 0, "a");
        });
        unseen("CON-4", Expect::Kept, "a member came, and the queue may have gone to it and back", |s| {
            s.ok("a", "q", 0);
            s.deliver("c0", "q", 0, "a");
            s.joined("c1");
            s.deliver("c0", "q", 0, "a");
        });
        unseen("CON-4", Expect::Kept, "the broker was down when the listener was done", |s| {
            s.ok("a", "q", 0);
            s.enter("c0", "q", 0, "a");
            s.down("b0", How::Process);
            s.exit("c0", "q", 0);
            s.up("b0");
            s.deliver("c0", "q", 0, "a");
        });
    }

    #[test]
    fn name_servers_are_judged_by_who_lives() {
        unseen("NS-1", Expect::Broken, "a dead broker is listed", |s| {
            s.routes("ns0", &["b0"]);
            s.down("b0", How::Process);
            s.wait(1.5);
            s.routes("ns0", &["b0"]);
        });
        unseen("NS-1", Expect::Kept, "for a moment", |s| {
            s.routes("ns0", &["b0"]);
            s.down("b0", How::Process);
            s.wait(0.5);
            s.routes("ns0", &["b0"]);
        });
        unseen("NS-1", Expect::Kept, "the name server does not hear that it is dead", |s| {
            s.begin(&["b0", "ns0"]);
            s.down("b0", How::Process);
            s.wait(3.0);
            s.routes("ns0", &["b0"]);
        });
        unseen("NS-2", Expect::Broken, "a living broker is listed no more", |s| {
            s.routes("ns0", &["b0"]);
            s.wait(20.0);
            s.routes("ns0", &[]);
        });
        unseen("NS-2", Expect::Kept, "it says good-bye before it is gone", |s| {
            s.routes("ns0", &["b0"]);
            s.routes("ns0", &[]);
            s.wait(0.1);
            s.down("b0", How::Stop);
        });
        unseen("NS-2", Expect::Kept, "the name server was restarted", |s| {
            s.routes("ns0", &["b0"]);
            s.crash("ns0", How::Process);
            s.routes("ns0", &[]);
        });
    }

    #[test]
    fn delays_and_decisions_are_judged_by_what_clients_see() {
        let delayed = |s: &mut Script, seconds: f64| {
            s.delayed("a", 3);
            s.ok("a", "q", 0);
            s.wait(seconds);
            s.deliver("c0", "q", 0, "a");
        };
        unseen("DLY-1", Expect::Broken, "early", |s| delayed(s, 9.0));
        unseen("DLY-1", Expect::Kept, "in time", |s| delayed(s, 10.0));
        unseen("TXN-4", Expect::Broken, "a commit was taken, and the message is nowhere", |s| {
            s.decided("a", Some(true));
            s.answered("a", true);
            s.drained(0);
        });
        unseen("TXN-4", Expect::Kept, "it was delivered", |s| {
            s.decided("a", Some(true));
            s.answered("a", true);
            s.deliver("c0", "q", 0, "a");
            s.drained(0);
        });
        unseen("TXN-2", Expect::Broken, "a rollback was taken, and the message is delivered", |s| {
            s.decided("a", Some(false));
            s.answered("a", false);
            s.deliver("c0", "q", 0, "a");
        });
        unseen("TXN-2", Expect::Broken, "a rollback was taken, and the message is there in the end", |s| {
            s.decided("a", Some(false));
            s.answered("a", false);
            s.holds("q", &["a"]);
        });
        unseen("TXN-2", Expect::Kept, "a commit was taken", |s| {
            s.decided("a", Some(true));
            s.answered("a", true);
            s.deliver("c0", "q", 0, "a");
        });
        unseen("TXN-2", Expect::Kept, "a rollback was taken, and it is gone", |s| {
            s.decided("a", Some(false));
            s.answered("a", false);
            s.ok("b", "q", 0);
            s.holds("q", &["b"]);
        });
        unseen("TXN-4", Expect::Kept, "nobody answered", |s| {
            s.decided("a", Some(true));
            s.drained(0);
        });
    }

    #[test]
    fn owners_are_known_by_what_members_say() {
        unseen("CON-5", Expect::Broken, "two members say so", |s| {
            s.queues("b0", 1, 1);
            s.joined("c0");
            s.joined("c1");
            s.says("c0", "q", true);
            s.says("c1", "q", true);
            s.wait(120.0);
            s.drained(0);
        });
        unseen("CON-5", Expect::Broken, "nobody says so any more", |s| {
            s.queues("b0", 1, 1);
            s.joined("c0");
            s.says("c0", "q", true);
            s.says("c0", "q", false);
            s.wait(120.0);
            s.drained(0);
        });
        unseen("CON-5", Expect::Kept, "one does, and the one before died with its process", |s| {
            s.queues("b0", 1, 1);
            s.joined("c0");
            s.joined("c1");
            s.says("c1", "q", true);
            s.down("c1", How::Process);
            s.says("c0", "q", true);
            s.wait(120.0);
            s.drained(0);
        });
        unseen("CON-5", Expect::Kept, "two do, shortly after one came", |s| {
            s.queues("b0", 1, 1);
            s.joined("c0");
            s.says("c0", "q", true);
            s.joined("c1");
            s.says("c1", "q", true);
            s.wait(10.0);
            s.drained(0);
        });
        let later = |seconds: f64| {
            move |s: &mut Script| {
                s.says("c0", "q", true);
                s.heal();
                s.wait(seconds);
                s.says("c0", "q", false);
                s.says("c1", "q", true);
            }
        };
        unseen("L-3", Expect::Broken, "two minutes later a queue changes hands", later(120.0));
        unseen("L-3", Expect::Broken, "just after the bound", later(111.5));
        unseen("L-3", Expect::Kept, "within the bound", later(100.0));
        unseen("L-3", Expect::Kept, "within the bound, and told a moment later", later(110.5));
    }

    #[test]
    fn what_a_listener_had_can_be_found_by_its_key() {
        unseen("IDX-1", Expect::Broken, "it is not found", |s| {
            s.ok("a", "q", 0);
            s.deliver("c0", "q", 0, "a");
            s.wait(2.0);
            s.queried("a", "q", 0, false, 0);
        });
        unseen("IDX-1", Expect::Kept, "nobody had it yet", |s| {
            s.ok("a", "q", 0);
            s.wait(2.0);
            s.queried("a", "q", 0, false, 0);
        });
    }
}
