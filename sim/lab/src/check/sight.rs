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
            Self::Con3 | Self::Con5 | Self::L3 => Blind("which member owns which queue when"),
            Self::Dly3 | Self::Dly4 | Self::Dly5 => Blind("when and where the broker delivered"),
            Self::Txn2 => Blind("which decision was taken first; TXN-1 holds what was rolled back"),
            Self::Txn6 => Blind("where undecided half messages are"),
            Self::L11 => Blind("when a message could be read"),
        }
    }
}
