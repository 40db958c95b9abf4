//! How the members of a group share the queues: every member computes the same answer from the same lists.

/// How the members of a group share the queues of a topic. All members must use the same.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Allocation {
    /// Runs of neighbouring queues, as equal as can be.
    #[default]
    Average,
    /// One queue after the other in a circle.
    Circle,
    /// By a hash ring of ten points per member: few queues move when a member comes or goes.
    ConsistentHash,
    /// Always exactly these queues.
    Fixed(Vec<crate::MessageQueue>),
}
